/*
 * cli/report.h - what the report verbs share: the store, and who reports
 *
 * Verbs work on the store beside a running daemon: every change is a transaction, and domains are leased.
 */
#ifndef CLI_REPORT_H
#define CLI_REPORT_H

#include "cli/store_open.h"
#include "report/daily.h"
#include "report/history.h"

struct cli_report_options {
    const char *config_file, *dns, *store_url;
    const char *from, *org_name, *hostname, *backend, *dry_run_dir, *reason, *input_format;
    int64_t day; /* -1: not given */
    uint64_t keep_days, daily_cap, max_bytes;
    bool json, mail, remove, null_sender;
    enum aggregate_format format;
    const char *words[2]; /* arguments that are no options */
    int words_count;
};

struct cli_report {
    struct cli_report_options options;
    struct cli_lookup lookup; /* settings, loop and resolver */
    struct store *store;
    struct history history;
    struct daily_settings daily;
    struct cli_waiting waiting;
};

/* Takes the options of all report verbs; `words_most` is how many other arguments there may be. */
int cli_report_read_options(const char *verb, int argc, char **argv, int words_most,
                            struct cli_report_options *options);
/* 0 or an exit code, said why. */
int cli_report_open(const char *verb, struct cli_report *report);
void cli_report_close(struct cli_report *report);
/* All of a verb that asks for no more: options, store, work. */
int cli_report_run(const char *verb, int argc, char **argv, int words_most,
                   int (*work)(struct cli_report *report));

int64_t cli_report_yesterday(void);

#endif
