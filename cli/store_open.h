/*
 * cli/store_open.h - the store, for verbs that work on it beside a running daemon or without one
 *
 * Every change is one transaction of its own, which a running daemon sees with its next question: it keeps no rows in
 * memory. The file is never set aside under its feet, and one that is made here belongs to the owner of its folder.
 */
#ifndef CLI_STORE_OPEN_H
#define CLI_STORE_OPEN_H

#include "cli/cli.h"

/* NULL, said why, with the exit code. `url` NULL: the settings'. */
struct store *cli_store_open(const char *verb, const struct store_settings *settings, const char *url,
                             int *code_out);

/* Changes that were begun and not yet answered: each adds one to `count` and is begun with cli_on_change and this.
 * cli_wait() waits for all: 0 or an exit code, said why. */
struct cli_waiting {
    struct loop *loop;
    int count;
    bool failed; /* one of them found no store */
};
void cli_on_change(enum store_status status, const void *result, void *waiting);
int cli_wait(struct cli_waiting *waiting);

/* What a terminal might obey becomes "?". */
void cli_print(struct str text);

#endif
