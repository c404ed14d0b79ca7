/*
 * cli/cli.h - the verbs of the command line
 *
 * One file a verb; main.c has the table. Every verb knows --json and --help; its exit code is one of these.
 * With --json exactly one JSON object goes to standard output; messages for people go to standard error.
 */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include "config/config.h"

enum {
    CLI_FINE = 0,
    CLI_NO = 1, /* the answer is "no" */
    CLI_USAGE = 64,
    CLI_BAD_INPUT = 65,
    CLI_UNREACHABLE = 69, /* the daemon */
    CLI_TEMPORARY = 75,   /* DNS */
    CLI_SETTINGS = 78,
};

#define CLI_CONFIG_FILE "/etc/smtpguard/smtpguard.yaml"

/* argv[0] is the verb's last word; the rest are its own arguments (getopt_long may be used from there). */
struct cli_verb {
    const char *words;    /* "test spf" */
    const char *synopsis; /* "[--dns IP:PORT] --ip IP [--helo NAME] …" */
    const char *summary;  /* one sentence */
    int (*run)(int argc, char **argv);
    const char *codes; /* what the exit codes mean, where they are an answer; or NULL */
};

int cli_run(int argc, char **argv);
int cli_check_config(int argc, char **argv);
int cli_config_show(int argc, char **argv);
int cli_config_migrate(int argc, char **argv);
int cli_test_spf(int argc, char **argv);
int cli_test_message(int argc, char **argv);
int cli_test_dmarc(int argc, char **argv);
int cli_test_dnsbl(int argc, char **argv);
int cli_test_helo(int argc, char **argv);
int cli_test_tls(int argc, char **argv);
int cli_dkim_genkey(int argc, char **argv);
int cli_dkim_txt(int argc, char **argv);
int cli_dkim_check(int argc, char **argv);
int cli_dkim_sign(int argc, char **argv);
int cli_doctor(int argc, char **argv);
int cli_status(int argc, char **argv);
int cli_top(int argc, char **argv);
int cli_reload(int argc, char **argv);
int cli_upgrade(int argc, char **argv);
int cli_drain(int argc, char **argv);
int cli_explain(int argc, char **argv);
int cli_history(int argc, char **argv);
int cli_replay(int argc, char **argv);
int cli_sink(int argc, char **argv);
int cli_greylist_list(int argc, char **argv);
int cli_greylist_show(int argc, char **argv);
int cli_greylist_allow(int argc, char **argv);
int cli_greylist_forget(int argc, char **argv);
int cli_greylist_stats(int argc, char **argv);
int cli_greylist_import(int argc, char **argv);
int cli_store_ping(int argc, char **argv);
int cli_store_backup(int argc, char **argv);
int cli_store_migrate(int argc, char **argv);
int cli_report_list(int argc, char **argv);
int cli_report_status(int argc, char **argv);
int cli_report_preview(int argc, char **argv);
int cli_report_send(int argc, char **argv);
int cli_report_suppress(int argc, char **argv);
int cli_report_export(int argc, char **argv);
int cli_report_import(int argc, char **argv);
int cli_report_expire(int argc, char **argv);
int cli_report_show(int argc, char **argv);
int cli_version(int argc, char **argv);

extern const struct cli_verb cli_verbs[];
extern const size_t cli_verbs_count;
extern const struct cli_verb *cli_current; /* the one that runs; NULL in unit tests */

/* "smtpguard test spf: …" and the synopsis on standard error; returns CLI_USAGE. */
int cli_usage(const char *words, const char *format, ...) __attribute__((format(printf, 2, 3)));

void cli_print_time(int64_t time_unix); /* in UTC, as 2026-03-02 10:00:00Z */

/* What every test verb needs: a loop with a resolver (--dns IP:PORT or the settings') on this thread. */
struct cli_lookup {
    struct arena *mem;
    struct loop *loop;
    struct dns *dns;
    const struct config *config; /* -c FILE, or the built-in defaults */
};
int cli_lookup_open(struct cli_lookup *lookup, const char *config_file,
                    const char *dns_server); /* 0 or an exit code, said why */
void cli_lookup_close(struct cli_lookup *lookup);

/* Closes, and returns the code of a verb that has asked. When that is CLI_TEMPORARY, standard error is told whether the
 * resolver itself is the one that does not answer, and what to do. */
int cli_lookup_end(struct cli_lookup *lookup, int code);

/* Asks, and waits for the answer, which lives in lookup->mem. */
struct dns_answer cli_lookup_ask(struct cli_lookup *lookup, enum dns_type type, const char *name);

#endif
