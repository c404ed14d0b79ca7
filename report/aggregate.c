#include "report/aggregate.h"

#include "base/bug.h"
#include "base/hash.h"
#include "report/gzip.h"
#include "report/xml.h"
#include "smtp/address.h"

#include <inttypes.h>
#include <string.h>

enum { RECORDS_MAX = 16 };

static const char namespace_9990[] = "urn:ietf:params:xml:ns:dmarc-2.0";

/* ---- the first reading: which records, how much ---- */

struct survey {
    uint64_t hashes[RECORDS_MAX], counts[RECORDS_MAX];
    size_t records; /* beyond RECORDS_MAX they cannot be the most frequent for long: not looked at */
    uint64_t rows_max;
    uint64_t rows, messages; /* of the first rows_max rows */
    uint64_t left_out;       /* messages of the rows behind them */
};

static bool on_survey(const struct history_entry *entry, uint64_t record_hash, uint64_t count, void *arg)
{
    struct survey *s = arg;
    size_t i = 0;

    (void)entry;
    if (s->rows < s->rows_max) {
        s->rows++;
        s->messages += count;
    } else {
        s->left_out += count;
    }
    while (i < s->records && s->hashes[i] != record_hash)
        i++;
    if (i == RECORDS_MAX)
        return true;
    if (i == s->records) {
        s->hashes[i] = record_hash;
        s->records++;
    }
    s->counts[i] += count;
    return true;
}

static uint64_t most_frequent(const struct survey *s)
{
    size_t best = 0;

    for (size_t i = 1; i < s->records; i++)
        if (s->counts[i] > s->counts[best] ||
            (s->counts[i] == s->counts[best] && s->hashes[i] < s->hashes[best]))
            best = i;
    return s->hashes[best];
}

/* ---- the words ---- */

struct writing {
    struct xml xml;
    struct gzip *gzip;
    struct arena *mem;
    const struct aggregate_ask *ask;
    struct aggregate *result;
    uint64_t rows_left;
    bool several_records;
};

static bool is_9990(const struct writing *w)
{
    return w->ask->format == AGGREGATE_RFC9990;
}

/* pct is history (RFC 9989 removed it), but the old shape wants it. */
static const char *published_percent(struct arena *mem, struct str record)
{
    struct str tag, name, value;
    uint64_t percent;
    bool more = true;

    while (more) {
        more = str_cut(record, ';', &tag, &record);
        if (str_cut(tag, '=', &name, &value) && str_same_z(str_trim(name), "pct") &&
            str_to_u64(str_trim(value), 100, &percent))
            return str_fmt(mem, "%" PRIu64, percent);
    }
    return "100";
}

static void put_policy(struct writing *w)
{
    const struct dmarc_record *r = w->result->record;
    struct xml *x = &w->xml;

    xml_open(x, "policy_published");
    xml_put_z(x, "domain", w->ask->domain);
    xml_put_z(x, "adkim", r->adkim_strict ? "s" : "r");
    xml_put_z(x, "aspf", r->aspf_strict ? "s" : "r");
    xml_put_z(x, "p", dmarc_policy_name(r->policy));
    xml_put_z(x, "sp", dmarc_policy_name(r->subdomain_policy));
    if (is_9990(w)) {
        xml_put_z(x, "np", dmarc_policy_name(r->nonexistent_policy));
        xml_put_z(x, "testing", r->testing ? "y" : "n");
        xml_put_z(x, "discovery_method", "treewalk");
    } else {
        xml_put_z(x, "pct", published_percent(w->mem, r->text));
    }
    xml_put_z(x, "fo", r->fo != NULL && r->fo[0] != '\0' ? r->fo : "0");
    xml_close(x);
}

/* One element at the most (RFC 9990's schema). */
static void put_error(struct writing *w)
{
    const char *changed = w->several_records
                              ? "the record changed during the day: policy_published is the one "
                                "that most messages were judged by"
                              : "";

    if (w->result->left_out > 0)
        xml_put_z(&w->xml, "error",
                  str_fmt(w->mem, "%" PRIu64 " more messages are left out: too many distinct rows%s%s",
                          w->result->left_out, w->several_records ? "; " : "", changed));
    else if (w->several_records)
        xml_put_z(&w->xml, "error", changed);
}

static void put_metadata(struct writing *w)
{
    struct xml *x = &w->xml;
    int64_t begin = w->ask->day * HISTORY_DAY_S;

    xml_put_z(x, "version", "1.0");
    xml_open(x, "report_metadata");
    xml_put_z(x, "org_name", w->ask->identity->org_name);
    xml_put_z(x, "email", w->ask->identity->email);
    xml_put_z(x, "report_id", w->result->report_id);
    xml_open(x, "date_range");
    xml_put_number(x, "begin", (uint64_t)begin);
    xml_put_number(x, "end", (uint64_t)(begin + HISTORY_DAY_S - 1));
    xml_close(x);
    put_error(w);
    if (is_9990(w))
        xml_put_z(x, "generator", "smtpguard " VERSION);
    xml_close(x);
}

/* ---- a row ---- */

/* RFC 9990 calls it "pass" when an enforcing policy found nothing to do. */
static bool passed_enforcing(const struct writing *w, const struct history_entry *e)
{
    const struct dmarc_record *r = w->result->record;
    enum dmarc_policy policy =
        str_same_z(str_of(e->header_from), w->ask->domain) ? r->policy : r->subdomain_policy;

    if (r->testing && policy != DMARC_POLICY_NONE)
        policy--;
    return e->disposition == DMARC_POLICY_NONE && (e->dkim_aligned || e->spf_aligned) &&
           policy != DMARC_POLICY_NONE;
}

/* RFC 7489 has no word for policy_test_mode. */
static void put_reason(struct writing *w, const struct history_entry *e)
{
    bool unnamed = !is_9990(w) && e->override == HISTORY_TEST_MODE;
    const char *comment = unnamed && e->comment[0] == '\0' ? "policy_test_mode" : e->comment;

    if (e->override == HISTORY_AS_PUBLISHED)
        return;
    xml_open(&w->xml, "reason");
    xml_put_z(&w->xml, "type", unnamed ? "other" : history_override_name(e->override));
    if (comment[0] != '\0')
        xml_put_z(&w->xml, "comment", comment);
    xml_close(&w->xml);
}

static void put_row(struct writing *w, const struct history_entry *e, uint64_t count)
{
    struct xml *x = &w->xml;
    char ip[IP_TEXT_MAX];

    xml_open(x, "row");
    xml_put_z(x, "source_ip", ip_format(&e->source, ip));
    xml_put_number(x, "count", count);
    xml_open(x, "policy_evaluated");
    xml_put_z(x, "disposition",
              is_9990(w) && passed_enforcing(w, e) ? "pass" : dmarc_policy_name(e->disposition));
    xml_put_z(x, "dkim", e->dkim_aligned ? "pass" : "fail");
    xml_put_z(x, "spf", e->spf_aligned ? "pass" : "fail");
    put_reason(w, e);
    xml_close(x);
    xml_close(x);
}

static void put_identifiers(struct writing *w, const struct history_entry *e)
{
    struct xml *x = &w->xml;

    xml_open(x, "identifiers");
    if (e->envelope_to[0] != '\0')
        xml_put_z(x, "envelope_to", e->envelope_to);
    xml_put_z(x, "envelope_from", e->envelope_from);
    xml_put_z(x, "header_from", e->header_from);
    xml_close(x);
}

/* Readers want an SPF result in any case: of a message that was not checked it is none, for the domain that
 * would have been. RFC 9990 has no word for the scope helo. */
static void put_spf(struct writing *w, const struct history_entry *e)
{
    struct xml *x = &w->xml;
    bool was_checked = e->spf_domain[0] != '\0';
    const char *instead = e->envelope_from[0] != '\0' ? e->envelope_from : e->header_from;
    enum spf_scope scope = was_checked ? e->spf_scope : SPF_MFROM;

    xml_open(x, "spf");
    xml_put_z(x, "domain", was_checked ? e->spf_domain : instead);
    if (!is_9990(w) || scope == SPF_MFROM)
        xml_put_z(x, "scope", spf_scope_name(scope));
    xml_put_z(x, "result", spf_result_name(was_checked ? e->spf_result : SPF_NONE));
    xml_close(x);
}

static void put_results(struct writing *w, const struct history_entry *e)
{
    struct xml *x = &w->xml;

    xml_open(x, "auth_results");
    for (size_t i = 0; i < e->dkim_count; i++) {
        if (e->dkim[i].domain[0] == '\0')
            continue; /* it could not be read */
        xml_open(x, "dkim");
        xml_put_z(x, "domain", e->dkim[i].domain);
        if (is_9990(w) || e->dkim[i].selector[0] != '\0')
            xml_put_z(x, "selector", e->dkim[i].selector);
        xml_put_z(x, "result", dkim_result_name(e->dkim[i].result));
        xml_close(x);
    }
    put_spf(w, e);
    xml_close(x);
}

static bool on_row(const struct history_entry *e, uint64_t record_hash, uint64_t count, void *arg)
{
    struct writing *w = arg;

    (void)record_hash;
    if (w->rows_left == 0)
        return false;
    w->rows_left--;
    xml_open(&w->xml, "record");
    put_row(w, e, count);
    put_identifiers(w, e);
    put_results(w, e);
    xml_close(&w->xml);
    return true;
}

/* ---- the report ---- */

bool report_domain_is_plain(const char *domain)
{
    return smtp_is_domain(str_of(domain));
}

/* The same for the same day, domain, submitter and host. */
static void name_report(struct arena *mem, const struct aggregate_ask *ask, struct aggregate *result)
{
    const struct report_identity *who = ask->identity;
    int64_t begin = ask->day * HISTORY_DAY_S, end = begin + HISTORY_DAY_S - 1;
    struct str text =
        str_of(str_fmt(mem, "%s %" PRId64 " %s %s", ask->domain, begin, who->submitter, who->hostname));
    uint64_t unique = hash_stable(text.p, text.n, 4);

    result->report_id = str_fmt(mem, "%" PRId64 ".%016" PRIx64, begin, unique);
    result->file_name = str_fmt(mem, "%s!%s!%" PRId64 "!%" PRId64 "!%016" PRIx64 ".xml.gz", who->submitter,
                                ask->domain, begin, end, unique);
}

static void on_xml(struct str piece, void *arg)
{
    gzip_write(arg, piece);
}

static int write_report(struct writing *w, struct buf *gz, struct fail *fail)
{
    int outcome;

    buf_clear(gz);
    w->gzip = gzip_new(gz);
    xml_begin(&w->xml, on_xml, w->gzip, "feedback", is_9990(w) ? namespace_9990 : NULL);
    put_metadata(w);
    put_policy(w);
    outcome = history_each_row(w->ask->store, w->ask->day, w->ask->domain, on_row, w, fail);
    xml_end(&w->xml);
    gzip_end(&w->gzip);
    return outcome;
}

static enum aggregate_outcome look(struct arena *mem, const struct aggregate_ask *ask, uint64_t rows_max,
                                   struct aggregate *result, bool *several_records_out, struct fail *fail)
{
    struct survey survey = {.rows_max = rows_max};
    struct str record;
    const char *why;

    *result = (struct aggregate){0};
    name_report(mem, ask, result);
    if (history_each_row(ask->store, ask->day, ask->domain, on_survey, &survey, fail) != 0 ||
        history_left_out(ask->store, ask->day, ask->domain, &result->left_out, fail) != 0)
        return AGGREGATE_FAILED;
    if (survey.rows == 0)
        return AGGREGATE_NOTHING;
    if (history_record(ask->store, mem, ask->day, ask->domain, most_frequent(&survey), &record, fail) != 0)
        return AGGREGATE_FAILED;
    result->record = dmarc_record_parse(mem, record, &why);
    result->rows = survey.rows;
    result->messages = survey.messages;
    result->left_out += survey.left_out;
    *several_records_out = survey.records > 1;
    return result->record != NULL ? AGGREGATE_BUILT : AGGREGATE_NOTHING;
}

enum aggregate_outcome aggregate_look(struct arena *mem, const struct aggregate_ask *ask,
                                      struct aggregate *result, struct fail *fail)
{
    bool several_records;

    return look(mem, ask, UINT64_MAX, result, &several_records, fail);
}

enum aggregate_outcome aggregate_build(struct arena *mem, const struct aggregate_ask *ask, struct buf *gz,
                                       struct aggregate *result, struct fail *fail)
{
    enum aggregate_outcome outcome = AGGREGATE_FAILED;
    uint64_t rows_max = UINT64_MAX;

    if (!report_domain_is_plain(ask->domain)) {
        fail_set(fail, "\"%.100s\" is no name for a report", ask->domain);
        return AGGREGATE_FAILED;
    }
    do {
        struct writing w = {.mem = mem, .ask = ask, .result = result};

        outcome = look(mem, ask, rows_max, result, &w.several_records, fail);
        w.rows_left = result->rows;
        if (outcome == AGGREGATE_BUILT && write_report(&w, gz, fail) != 0)
            outcome = AGGREGATE_FAILED;
        rows_max = result->rows / 2;
    } while (outcome == AGGREGATE_BUILT && gz->overflow && rows_max > 0);
    if (outcome == AGGREGATE_BUILT && gz->overflow) {
        fail_set(fail, "not one row fits into %zu bytes", gz->max);
        return AGGREGATE_FAILED;
    }
    return outcome;
}
