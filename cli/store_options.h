/*
 * cli/store_options.h - what the store verbs have in common: their options, and the settings
 */
#ifndef CLI_STORE_OPTIONS_H
#define CLI_STORE_OPTIONS_H

#include "cli/cli.h"

struct cli_store {
    const char *verb;
    struct cli_lookup lookup;
    bool json;
    const char *config_file;
    const char *url;       /* --store, else the settings' */
    const char *from, *to; /* or NULL */
    const char *file;      /* the word behind the options, or NULL */
};

/* 0 or an exit code, said why; cli_lookup_close() after either. */
int cli_store_options(struct cli_store *s, const char *verb, int argc, char **argv);

#endif
