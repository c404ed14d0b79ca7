#include "cli/report_opendmarc.h"

#include "base/hash.h"

#include <inttypes.h>
#include <string.h>

enum { ROWS_MOST = 1000000, LINE_MAX_BYTES = 8192, RUA_MAX = 2000, TOGETHER_MAX = 1000 };

/* Messages that a report cannot tell apart, counted here first. */
struct row {
    UT_hash_handle hh;
    struct history_entry entry;
    uint64_t count;
};

/* The message that is being read, and all that were. */
struct reading {
    struct arena *mem; /* of the whole file */
    struct row *rows;
    uint64_t origin; /* 0: no message yet */
    uint64_t messages, skipped;

    bool in_message;
    char job[128], reporter[256];
    int64_t received;
    struct history_entry e;
    unsigned p, sp, adkim, aspf, pct;
    char rua[RUA_MAX];
};

/* ---- numbers of OpenDMARC ---- */

/* libopendmarc's ARES results, for SPF and DKIM alike. */
static enum spf_result spf_of(uint64_t n)
{
    static const enum spf_result results[] = {SPF_PASS,      SPF_NONE,      SPF_SOFTFAIL, SPF_NEUTRAL,
                                              SPF_TEMPERROR, SPF_PERMERROR, SPF_NONE,     SPF_FAIL};

    return n < COUNT(results) ? results[n] : SPF_NONE;
}

static enum dkim_result dkim_of(uint64_t n)
{
    static const enum dkim_result results[] = {DKIM_PASS,    DKIM_NONE,      DKIM_FAIL,
                                               DKIM_NEUTRAL, DKIM_TEMPERROR, DKIM_PERMERROR,
                                               DKIM_NONE,    DKIM_FAIL,      DKIM_POLICY};

    return n < COUNT(results) ? results[n] : DKIM_NONE;
}

enum { ACTION_REJECT = 0, ACTION_DISCARD = 1, ACTION_QUARANTINE = 4, ALIGN_PASS = 4 };

static void set_action(struct history_entry *e, uint64_t action)
{
    e->accepted = action != ACTION_REJECT && action != ACTION_DISCARD;
    e->disposition = !e->accepted                  ? DMARC_POLICY_REJECT
                     : action == ACTION_QUARANTINE ? DMARC_POLICY_QUARANTINE
                                                   : DMARC_POLICY_NONE;
}

static const char *policy_word(unsigned letter)
{
    return letter == 'r' ? "reject" : letter == 'q' ? "quarantine" : "none";
}

/* ---- a message ---- */

static void make_record(struct reading *r)
{
    r->e.record = str_of(str_fmt(r->mem, "v=DMARC1; p=%s; sp=%s; adkim=%c; aspf=%c; pct=%u; rua=%s",
                                 policy_word(r->p), policy_word(r->sp != 0 ? r->sp : r->p),
                                 r->adkim == 's' ? 's' : 'r', r->aspf == 's' ? 's' : 'r', r->pct, r->rua));
}

/* Everything that tells two rows apart. */
static const char *row_key(struct arena *mem, const struct history_entry *e)
{
    char ip[IP_TEXT_MAX];
    const char *key =
        str_fmt(mem, "%" PRId64 "|%s|%s|%s|%d|%d|%d|%d|%s|%s|%s|%d", e->day, e->policy_domain, e->record.p,
                ip_format(&e->source, ip), (int)e->disposition, e->dkim_aligned, e->spf_aligned, e->accepted,
                e->header_from, e->envelope_from, e->spf_domain, (int)e->spf_result);

    for (size_t i = 0; i < e->dkim_count; i++)
        key =
            str_fmt(mem, "%s|%s|%s|%d", key, e->dkim[i].domain, e->dkim[i].selector, (int)e->dkim[i].result);
    return key;
}

static bool is_reportable(const struct reading *r)
{
    return r->received > 0 && r->received <= (cli_report_yesterday() + 3) * HISTORY_DAY_S && r->rua[0] != '\0' && r->e.source.family != 0 && r->e.policy_domain != NULL &&
           r->e.header_from != NULL;
}

static void end_message(struct reading *r)
{
    struct row *row;
    const char *key;

    if (!r->in_message)
        return;
    r->in_message = false;
    r->messages++;
    if (r->origin == 0) {
        const char *first = str_fmt(r->mem, "%s %s %" PRId64, r->job, r->reporter, r->received);

        r->origin = hash_stable(first, strlen(first), 6);
    }
    if (!is_reportable(r)) {
        r->skipped++;
        return;
    }
    r->e.day = r->received / HISTORY_DAY_S;
    r->e.envelope_from = r->e.envelope_from != NULL ? r->e.envelope_from : "";
    r->e.spf_domain = r->e.envelope_from;
    make_record(r);
    key = row_key(r->mem, &r->e);
    HASH_FIND_STR(r->rows, key, row);
    if (row == NULL && HASH_COUNT(r->rows) < ROWS_MOST) {
        row = ARENA_NEW(r->mem, struct row);
        row->entry = r->e;
        HASH_ADD_KEYPTR(hh, r->rows, key, strlen(key), row);
    }
    if (row == NULL)
        r->skipped++;
    else
        row->count++;
}

static void begin_message(struct reading *r, struct str job)
{
    end_message(r);
    r->in_message = true;
    r->e = (struct history_entry){.spf_scope = SPF_MFROM, .spf_result = SPF_NONE, .envelope_to = ""};
    r->received = 0;
    r->p = r->sp = r->adkim = r->aspf = 0;
    r->pct = 100;
    r->rua[0] = r->reporter[0] = '\0';
    snprintf(r->job, sizeof(r->job), "%.*s", STR_ARG(job));
}

static void add_rua(struct reading *r, struct str uri)
{
    size_t n = strlen(r->rua);

    if (!str_eq_z(uri, "-") && n + uri.n + 2 < sizeof(r->rua) && !str_has(uri, ';'))
        snprintf(r->rua + n, sizeof(r->rua) - n, "%s%.*s", n > 0 ? "," : "", STR_ARG(uri));
}

static void add_dkim(struct reading *r, struct str value)
{
    struct str domain, selector, result;
    uint64_t number = 6;

    str_cut(value, ' ', &domain, &value);
    str_cut(value, ' ', &selector, &result);
    if (result.n == 0) { /* before 1.3.2 there was no selector */
        result = selector;
        selector = STR("");
    }
    str_to_u64(result, 100, &number);
    if (r->e.dkim_count < HISTORY_DKIM_MAX)
        r->e.dkim[r->e.dkim_count++] =
            (struct history_dkim){str_dup_lower(r->mem, domain), str_dup(r->mem, selector), dkim_of(number)};
}

static bool take_number(struct reading *r, struct str name, uint64_t n)
{
    const struct {
        const char *name;
        unsigned *place;
    } places[] = {{"p", &r->p}, {"sp", &r->sp}, {"adkim", &r->adkim}, {"aspf", &r->aspf}, {"pct", &r->pct}};

    for (size_t i = 0; i < COUNT(places); i++)
        if (str_eq_z(name, places[i].name)) {
            *places[i].place = n <= 255 ? (unsigned)n : 0;
            return true;
        }
    if (str_eq_z(name, "received"))
        r->received = (int64_t)n;
    else if (str_eq_z(name, "spf"))
        r->e.spf_result = spf_of(n);
    else if (str_eq_z(name, "align_dkim"))
        r->e.dkim_aligned = n == ALIGN_PASS;
    else if (str_eq_z(name, "align_spf"))
        r->e.spf_aligned = n == ALIGN_PASS;
    else if (str_eq_z(name, "action"))
        set_action(&r->e, n);
    else
        return false;
    return true;
}

/* What is unknown (arc, policy, …) does not concern a report. */
static void take_line(struct reading *r, struct str line)
{
    struct str name, value;
    uint64_t number;

    str_cut(line, ' ', &name, &value);
    if (str_eq_z(name, "job")) {
        begin_message(r, value);
        return;
    }
    if (!r->in_message || (str_to_u64(value, (uint64_t)1 << 40, &number) && take_number(r, name, number)))
        return;
    if (str_eq_z(name, "reporter"))
        snprintf(r->reporter, sizeof(r->reporter), "%.*s", STR_ARG(value));
    else if (str_eq_z(name, "ipaddr"))
        ip_parse(value, &r->e.source);
    else if (str_eq_z(name, "from"))
        r->e.header_from = str_dup_lower(r->mem, value);
    else if (str_eq_z(name, "mfrom"))
        r->e.envelope_from = str_dup_lower(r->mem, value);
    else if (str_eq_z(name, "pdomain"))
        r->e.policy_domain = str_dup_lower(r->mem, value);
    else if (str_eq_z(name, "rua"))
        add_rua(r, value);
    else if (str_eq_z(name, "dkim"))
        add_dkim(r, value);
}

/* ---- the file ---- */

static void on_counted(enum history_outcome outcome, void *arg)
{
    cli_on_change(outcome == HISTORY_UNAVAILABLE ? STORE_UNAVAILABLE : STORE_DONE, NULL, arg);
}

static int keep(struct reading *r, struct cli_report *report)
{
    int together = 0, code = CLI_FINE;

    for (const struct row *row = r->rows; row != NULL; row = row->hh.next) {
        report->waiting.count++;
        history_set(&report->history, report->lookup.loop, &row->entry, r->origin, row->count, on_counted,
                    &report->waiting);
        if (++together % TOGETHER_MAX == 0 && code == CLI_FINE)
            code = cli_wait(&report->waiting);
    }
    return code == CLI_FINE ? cli_wait(&report->waiting) : code;
}

int cli_report_import_opendmarc(struct cli_report *report, FILE *file)
{
    static struct reading r;
    char line[LINE_MAX_BYTES];
    unsigned rows;
    int code;

    r = (struct reading){.mem = report->lookup.mem};
    while (fgets(line, sizeof(line), file) != NULL)
        take_line(&r, str_trim(str_of(line)));
    end_message(&r);
    if (r.messages == 0) {
        fprintf(stderr,
                "smtpguard report import: this is no history file of OpenDMARC: it has no line \"job …\"\n");
        return CLI_BAD_INPUT;
    }
    rows = HASH_COUNT(r.rows);
    code = keep(&r, report);
    HASH_CLEAR(hh, r.rows);
    if (report->options.json)
        printf("{\"messages\":%" PRIu64 ",\"skipped\":%" PRIu64 ",\"rows\":%u}\n", r.messages, r.skipped,
               rows);
    else
        fprintf(stderr,
                "%" PRIu64 " messages, %" PRIu64 " of them for nobody who asks for reports, %u rows\n",
                r.messages, r.skipped, rows);
    return code;
}
