#include "cli/records.h"

#include "config/value.h"
#include "record/files.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

/* ---- where they are ---- */

/* The store's file of this host. */
static const char *file_of(const struct store_settings *store)
{
    return str_starts(str_of(store->url), STR("sqlite:")) ? store->url + strlen("sqlite:") : store->local;
}

int cli_records_open(struct cli_records *records)
{
    const char *file = records->config_file != NULL ? records->config_file : CLI_CONFIG_FILE;
    int code = cli_lookup_open(&records->lookup, file, NULL);

    if (code == CLI_FINE)
        records->folder = record_folder(records->lookup.mem, file_of(&records->lookup.config->store));
    return code;
}

void cli_records_close(struct cli_records *records)
{
    cli_lookup_close(&records->lookup);
}

/* Durations count back from now. */
static bool take_since(struct cli_records *records, const char *text)
{
    struct fail fail;
    int64_t ms;

    if (value_duration_ms(str_of(text), &ms, &fail) != 0)
        return false;
    records->filter.since_unix = clock_unix(clock_system()) - ms / 1000;
    return true;
}

static bool take_option(int option, struct cli_records *records, uint64_t limit_most,
                        cli_records_take_fn *take)
{
    switch (option) {
    case CLI_RECORDS_JSON:
        return records->json = true;
    case 'c':
        records->config_file = optarg;
        return true;
    case CLI_RECORDS_LIMIT:
        return str_to_u64(str_of(optarg), limit_most, &records->limit) && records->limit > 0;
    case CLI_RECORDS_SINCE:
        return take_since(records, optarg);
    default:
        return take != NULL && option >= CLI_RECORDS_OWN && take(option, records);
    }
}

int cli_records_options(struct cli_records *records, int argc, char **argv, const struct option *options,
                        uint64_t limit_most, cli_records_take_fn *take)
{
    int option;

    opterr = 0;
    while ((option = getopt_long(argc, argv, "c:", options, NULL)) != -1)
        if (!take_option(option, records, limit_most, take))
            return cli_usage(records->verb, "\"%s\" is not understood", argv[optind - 1]);
    return CLI_FINE;
}

/* ---- which of them ---- */

/* Whether a line has this text somewhere, in any case: reading it whole takes a hundred times as long. */
static bool has_text(struct str line, const char *text)
{
    struct str wanted = str_of(text);
    const char first = ascii_lower(wanted.p[0]);

    for (size_t i = 0; i + wanted.n <= line.n; i++)
        if (ascii_lower(line.p[i]) == first && str_same(str_make(line.p + i, wanted.n), wanted))
            return true;
    return false;
}

/* JSON may have written other letters in another way. */
static bool is_plain(const char *text)
{
    for (; *text != '\0'; text++)
        if (*text <= ' ' || *text > '~' || *text == '"' || *text == '\\')
            return false;
    return true;
}

static bool may_match(const struct cli_filter *f, struct str line)
{
    const char *const texts[] = {f->from, f->to, f->address, f->id, f->action};

    for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++)
        if (texts[i] != NULL && *texts[i] != '\0' && strcmp(texts[i], "<>") != 0 &&
            strcmp(texts[i], "gone") != 0 && is_plain(texts[i]) && !has_text(line, texts[i]))
            return false;
    return true;
}

/* "<>" is the null sender; "@domain" everybody there. */
static bool is_address(const char *wanted, const char *address)
{
    if (address == NULL)
        return false;
    if (strcmp(wanted, "<>") == 0)
        return *address == '\0';
    return wanted[0] == '@' ? str_ends_same(str_of(address), str_of(wanted))
                            : strcasecmp(wanted, address) == 0;
}

static bool is_recipient(const struct decision *d, const char *wanted)
{
    for (size_t i = 0; i < d->recipients_count; i++)
        if (is_address(wanted, d->recipients[i].to))
            return true;
    return false;
}

static bool is_message_id(const struct decision *d, const char *wanted)
{
    struct str id = str_of(d->message_id), text = str_of(wanted);

    return str_eq(id, text) || (id.n == text.n + 2 && str_eq(str_upto(str_from(id, 1), text.n), text));
}

static bool is_id(const char *wanted, const char *id)
{
    size_t n = strlen(wanted);

    return strncasecmp(wanted, id, n) == 0 &&
           (id[n] == '\0' || (id[n] == '.' && strchr(wanted, '.') == NULL));
}

static bool has_action(const struct decision *d, const char *wanted)
{
    if (strcmp(wanted, cli_record_action(d)) == 0)
        return true;
    for (size_t i = 0; i < d->recipients_count; i++)
        if (d->recipients[i].outcome.code != 0 &&
            strcmp(wanted, action_name(d->recipients[i].outcome.action)) == 0)
            return true;
    return false;
}

static bool matches(const struct cli_filter *f, const struct decision *d)
{
    return d->time_unix >= f->since_unix && (f->from == NULL || is_address(f->from, d->from)) &&
           (f->to == NULL || is_recipient(d, f->to)) &&
           (f->address == NULL || is_address(f->address, d->from) || is_recipient(d, f->address) ||
            is_message_id(d, f->address)) &&
           (f->id == NULL || is_id(f->id, d->id)) && (f->action == NULL || has_action(d, f->action)) &&
           (f->net.ip.family == 0 || net_has(&f->net, &d->facts.session.client));
}

struct reading {
    const struct cli_filter *filter;
    struct arena *mem; /* of one record */
    cli_record_fn *each;
    void *arg;
};

static bool on_line(struct str line, void *arg)
{
    struct reading *r = arg;
    struct decision decision;

    if (!may_match(r->filter, line))
        return true;
    arena_reset(r->mem);
    return !decision_read(r->mem, line, &decision) || !matches(r->filter, &decision) ||
           r->each(&decision, line, r->arg);
}

int cli_records_each(struct cli_records *records, enum record_order order, cli_record_fn *each, void *arg)
{
    struct reading reading = {
        .filter = &records->filter, .mem = arena_new(16 * 1024), .each = each, .arg = arg};
    struct fail fail;
    int result = record_each(records->folder, records->filter.since_unix, order, on_line, &reading, &fail);

    arena_free(&reading.mem);
    if (result == 0)
        return CLI_FINE;
    fprintf(stderr, "smtpguard %s: %s\n", records->verb, fail.text);
    return CLI_BAD_INPUT;
}

/* ---- what became of it ---- */

const struct decision_outcome *cli_record_outcome(const struct decision *d)
{
    if (d->outcome.code != 0)
        return &d->outcome;
    for (size_t i = d->recipients_count; i-- > 0;)
        if (d->recipients[i].outcome.action != ACTION_ACCEPT)
            return &d->recipients[i].outcome;
    return NULL;
}

const char *cli_record_action(const struct decision *d)
{
    const struct decision_outcome *outcome = cli_record_outcome(d);

    return outcome != NULL ? action_name(outcome->action) : "gone";
}

const char *cli_time_text(struct arena *mem, int64_t time_unix)
{
    time_t time = (time_t)time_unix;
    char text[32];
    struct tm tm;

    gmtime_r(&time, &tm);
    strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%SZ", &tm);
    return str_dup(mem, str_of(text));
}
