/*
 * cli/records.h - the records of decisions, for the verbs that read them: history, explain, replay
 *
 * The daemon need not run. What is printed of a record goes through cli_print(): strangers wrote parts of it.
 */
#ifndef CLI_RECORDS_H
#define CLI_RECORDS_H

#include "cli/cli.h"
#include "proxy/decision.h"
#include "record/reader.h"

#include <getopt.h>

/* Which records; what is not given is not looked at. */
struct cli_filter {
    int64_t since_unix;
    const char *from, *to; /* an address, "@domain" for all of it, or "<>" */
    const char *address;   /* either of them, or the Message-ID */
    const char *id;        /* of a session: of all its transactions, too; in any case */
    const char *action;    /* of the message, or of one of its recipients */
    struct net net;        /* family 0: any client */
};

struct cli_records {
    const char *verb;
    const char *config_file;
    struct cli_lookup lookup;
    const char *folder;
    bool json;
    uint64_t limit; /* 0: none */
    struct cli_filter filter;
};

/* Reads the settings and finds the folder: an exit code, said why. */
int cli_records_open(struct cli_records *records);
void cli_records_close(struct cli_records *records); /* fine after a failed open, too */

/* Options that these verbs share, with their numbers; a verb's own begin at CLI_RECORDS_OWN. Reads all options, of which
 * `take` (NULL: there are none) gets the verb's own with optarg and says whether it understands: an exit code, said why. */
enum { CLI_RECORDS_JSON = 1000, CLI_RECORDS_LIMIT, CLI_RECORDS_SINCE, CLI_RECORDS_OWN };
typedef bool cli_records_take_fn(int option, struct cli_records *records);
int cli_records_options(struct cli_records *records, int argc, char **argv, const struct option *options,
                        uint64_t limit_most, cli_records_take_fn *take);

/* `line` is the record itself; both are good until the call returns. False: enough. */
typedef bool cli_record_fn(const struct decision *decision, struct str line, void *arg);
int cli_records_each(struct cli_records *records, enum record_order order, cli_record_fn *each, void *arg);

/* What became of it: the message's answer, else the last refusal of a recipient. NULL: neither, the client went. */
const struct decision_outcome *cli_record_outcome(const struct decision *decision);
const char *cli_record_action(const struct decision *decision); /* "accept", …, or "gone" */

/* "2026-11-29 08:41:59Z" */
const char *cli_time_text(struct arena *mem, int64_t time_unix);

#endif
