#include "cli/report.h"

#include "config/value.h"
#include "report/journal.h"
#include "store/redis_url.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { MAX_BYTES = 10 * 1024 * 1024, MAX_BYTES_MOST = 100 * 1024 * 1024, DAILY_CAP = 1000 };

enum {
    JSON = 1000,
    DNS,
    STORE,
    FROM,
    ORG_NAME,
    HOSTNAME,
    BACKEND,
    DRY_RUN,
    REASON,
    REMOVE,
    DAY,
    KEEP,
    CAP,
    MAX_SIZE,
    MAIL,
    FORMAT,
    NULL_SENDER
};

static const struct option options[] = {{"json", no_argument, NULL, JSON},
                                        {"config", required_argument, NULL, 'c'},
                                        {"dns", required_argument, NULL, DNS},
                                        {"store", required_argument, NULL, STORE},
                                        {"from", required_argument, NULL, FROM},
                                        {"org-name", required_argument, NULL, ORG_NAME},
                                        {"hostname", required_argument, NULL, HOSTNAME},
                                        {"backend", required_argument, NULL, BACKEND},
                                        {"dry-run", required_argument, NULL, DRY_RUN},
                                        {"reason", required_argument, NULL, REASON},
                                        {"remove", no_argument, NULL, REMOVE},
                                        {"day", required_argument, NULL, DAY},
                                        {"keep", required_argument, NULL, KEEP},
                                        {"daily-cap", required_argument, NULL, CAP},
                                        {"max-size", required_argument, NULL, MAX_SIZE},
                                        {"mail", no_argument, NULL, MAIL},
                                        {"format", required_argument, NULL, FORMAT},
                                        {"null-sender", no_argument, NULL, NULL_SENDER},
                                        {0}};

/* ---- values ---- */

int64_t cli_report_yesterday(void)
{
    return clock_unix(clock_system()) / HISTORY_DAY_S - 1;
}

static bool read_day(const char *text, int64_t *day_out)
{
    struct tm tm = {0};
    const char *end = strptime(text, "%Y-%m-%d", &tm);
    char again[HISTORY_DATE_MAX];

    if (end == NULL || *end != '\0')
        return false;
    *day_out = timegm(&tm) / HISTORY_DAY_S;
    return *day_out >= 0 && strcmp(history_date(*day_out, again), text) == 0;
}

static bool read_format(const char *text, enum aggregate_format *format_out)
{
    *format_out = strcmp(text, "rfc9990") == 0 ? AGGREGATE_RFC9990 : AGGREGATE_RFC7489;
    return *format_out == AGGREGATE_RFC9990 || strcmp(text, "rfc7489") == 0;
}

static bool take_text(int option, struct cli_report_options *o)
{
    const struct {
        int option;
        const char **place;
    } places[] = {{'c', &o->config_file},   {DNS, &o->dns},
                  {STORE, &o->store_url},   {FROM, &o->from},
                  {ORG_NAME, &o->org_name}, {HOSTNAME, &o->hostname},
                  {BACKEND, &o->backend},   {DRY_RUN, &o->dry_run_dir},
                  {REASON, &o->reason}};

    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++)
        if (places[i].option == option) {
            *places[i].place = optarg;
            return true;
        }
    return false;
}

static bool take_option(const char *verb, int option, struct cli_report_options *o)
{
    bool is_import = strcmp(verb, "report import") == 0;

    if (option == FROM && is_import) {
        o->input_format = optarg;
        return strcmp(optarg, "opendmarc") == 0;
    }
    if (take_text(option, o))
        return true;
    switch (option) {
    case JSON:
        return o->json = true;
    case REMOVE:
        return o->remove = true;
    case MAIL:
        return o->mail = true;
    case NULL_SENDER:
        return o->null_sender = true;
    case DAY:
        return read_day(optarg, &o->day);
    case KEEP:
        return str_to_u64(str_of(optarg), HISTORY_KEEP_DAYS, &o->keep_days);
    case CAP:
        return str_to_u64(str_of(optarg), 1000000, &o->daily_cap);
    case MAX_SIZE:
        return str_to_u64(str_of(optarg), MAX_BYTES_MOST, &o->max_bytes) && o->max_bytes >= 1024;
    case FORMAT:
        return read_format(optarg, &o->format);
    default:
        return false;
    }
}

int cli_report_read_options(const char *verb, int argc, char **argv, int words_most,
                            struct cli_report_options *o)
{
    int option;

    *o = (struct cli_report_options){
        .day = -1, .daily_cap = DAILY_CAP, .max_bytes = MAX_BYTES, .keep_days = HISTORY_KEEP_DAYS};
    opterr = 0;
    while ((option = getopt_long(argc, argv, "c:", options, NULL)) != -1)
        if (!take_option(verb, option, o))
            return cli_usage(verb, "\"%s\" is not understood", argv[optind - 1]);
    for (; optind < argc; optind++) {
        if (o->words_count == words_most)
            return cli_usage(verb, "\"%s\" is one word too many", argv[optind]);
        o->words[o->words_count++] = argv[optind];
    }
    return CLI_FINE;
}

/* ---- the store and who reports ---- */

/* With --store the settings are not needed. */
static int open_lookup(struct cli_report *r)
{
    const struct cli_report_options *o = &r->options;
    const char *file = o->config_file != NULL ? o->config_file
                       : o->store_url != NULL ? NULL
                                              : CLI_CONFIG_FILE;

    return cli_lookup_open(&r->lookup, file, o->dns);
}

static int set_backend(const char *verb, struct cli_report *r)
{
    const struct config *config = r->lookup.config;
    struct fail fail;

    if (r->options.backend != NULL)
        return value_endpoint(str_of(r->options.backend), 25, &r->daily.backend, &fail) == 0
                   ? CLI_FINE
                   : cli_usage(verb, "--backend: %s", fail.text);
    if (config_report_backend(config) != NULL)
        r->daily.backend = config_report_backend(config)->endpoint;
    return CLI_FINE;
}

/* What the settings do not say yet is an option. */
static int set_daily(const char *verb, struct cli_report *r)
{
    struct cli_report_options *o = &r->options;
    const struct report_settings *settings = &r->lookup.config->reports;
    const char *hostname = r->lookup.config->hostname, *at;

    if (o->from == NULL && settings->from != NULL && *settings->from != '\0')
        o->from = settings->from;
    if (o->org_name == NULL && settings->org_name != NULL && *settings->org_name != '\0')
        o->org_name = settings->org_name;
    at = o->from != NULL ? strrchr(o->from, '@') : NULL;
    if (o->hostname != NULL)
        hostname = o->hostname;
    if (hostname == NULL || hostname[0] == '\0')
        hostname = "localhost";
    if (o->from != NULL && (at == NULL || !report_domain_is_plain(at + 1)))
        return cli_usage(verb, "--from %s is no address", o->from);
    r->daily.identity = (struct report_identity){.org_name = o->org_name,
                                                 .email = o->from != NULL ? o->from : "",
                                                 .submitter = at != NULL ? at + 1 : hostname,
                                                 .hostname = hostname};
    if (o->org_name == NULL)
        r->daily.identity.org_name = r->daily.identity.submitter;
    r->daily.format = o->format;
    r->daily.max_bytes = o->max_bytes;
    r->daily.daily_cap = (unsigned)o->daily_cap;
    r->daily.verp = !o->null_sender;
    r->daily.dry_run_dir = o->dry_run_dir;
    r->daily.suppress = settings->suppress;
    r->daily.suppress_count = settings->suppress_count;
    return set_backend(verb, r);
}

/* A journal is told by the host's own file. Where hosts share a Redis, what it holds is for that one, and for no other store that
 * --store names, the file itself included. */
static bool has_journal(const struct cli_report *r)
{
    const char *settings = r->lookup.config->store.url, *url = r->options.store_url;

    return url == NULL || strcmp(url, settings) == 0 ||
           (!redis_url_is(str_of(url)) && !redis_url_is(str_of(settings)));
}

int cli_report_open(const char *verb, struct cli_report *r)
{
    int code = open_lookup(r);

    if (code != CLI_FINE)
        return code;
    code = set_daily(verb, r);
    if (code != CLI_FINE)
        return code;
    r->waiting.loop = r->lookup.loop;
    r->store = cli_store_open(verb, &r->lookup.config->store, r->options.store_url, &code);
    if (r->store == NULL)
        return code;
    history_init(&r->history, r->store, r->daily.identity.hostname);
    if (has_journal(r) && !journal_catch_up(r->lookup.loop, &r->history))
        fprintf(stderr, "smtpguard %s: messages of the last moments are not in the counters yet\n", verb);
    return CLI_FINE;
}

void cli_report_close(struct cli_report *r)
{
    store_close(&r->store);
    cli_lookup_close(&r->lookup);
}

int cli_report_run(const char *verb, int argc, char **argv, int words_most,
                   int (*work)(struct cli_report *report))
{
    struct cli_report r = {0};
    int code = cli_report_read_options(verb, argc, argv, words_most, &r.options);

    if (code == CLI_FINE)
        code = cli_report_open(verb, &r);
    if (code == CLI_FINE)
        code = work(&r);
    cli_report_close(&r);
    return code;
}
