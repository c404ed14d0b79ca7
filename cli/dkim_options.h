/*
 * cli/dkim_options.h - what the dkim verbs have in common: their options, and how a record is shown
 */
#ifndef CLI_DKIM_OPTIONS_H
#define CLI_DKIM_OPTIONS_H

#include "auth/dkim_private.h"
#include "cli/cli.h"

#include <stdio.h>

struct dkim_options {
    const char *config_file, *dns;
    const char *domain, *selector; /* lower case A-labels */
    const char *key, *type, *dir;
    const char *canonicalization, *identity;
    const char *oversign;
    int64_t now_unix; /* -1: the clock's */
    uint64_t expire_s;
    const char *operand; /* the one word that is no option; NULL: none */
    bool json;
};

/* `allowed`: the long options of this verb, one blank between two. Strings come from `mem`. */
int dkim_options_read(struct arena *mem, const char *words, const char *allowed, int argc, char **argv,
                      struct dkim_options *options_out);
/* CLI_FINE when both are there. */
int dkim_options_need_name(const char *words, const struct dkim_options *options);

/* Reads a key and tells on standard error of its warning; NULL when that failed, which is told, too. */
struct dkim_private *dkim_options_key(struct arena *mem, const char *path);

/* As a zone file has it: strings of 255 octets at the most, in parentheses (RFC 1035 3.3.14, 5.1). */
const char *dkim_record_as_zone(struct arena *mem, const char *name, const char *record);

#endif
