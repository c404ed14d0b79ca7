/*
 * cli/lookup_options.h - the options of verbs that ask the DNS: --json, -c FILE, --dns IP:PORT, and a few of each verb's own
 */
#ifndef CLI_LOOKUP_OPTIONS_H
#define CLI_LOOKUP_OPTIONS_H

#include "cli/cli.h"

#include <getopt.h>

enum { LOOKUP_OPTION_JSON = 1000, LOOKUP_OPTION_DNS, LOOKUP_OPTION_OWN /* and up: a verb's own */, LOOKUP_OWN_MAX = 8 };

struct lookup_options {
    const char *config_file, *dns; /* or NULL */
    bool json;
};

/* One option of the verb's own, with its value in `optarg`: 0 or an exit code, said why. */
typedef int lookup_own_fn(int option, void *arg);

/* `own`: those of the verb, LOOKUP_OWN_MAX at the most, ended by {0}; NULL: it has none. 0 or CLI_USAGE, said why; `optind`
 * is then at the first word that is no option. Fields that no option sets stay as they are. */
int lookup_options_read(const char *words, int argc, char **argv, const struct option *own, lookup_own_fn *take,
                        void *arg, struct lookup_options *options_out);

#endif
