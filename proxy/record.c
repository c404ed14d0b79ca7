#include "proxy/session_in.h"

#include "base/bug.h"
#include "base/metric.h"

#include <pthread.h>
#include <stdio.h>

/*
 * One line an event; the last line of a transaction carries the verdict and its reason. The words are listed
 * in docs/logging.md. Counters have labels from closed sets only: never an address, a domain or a host.
 */

enum { ACTIONS = ACTION_DROP + 1, RESULTS = 7 };

static struct {
    struct metric *connections, *connections_total, *refused_connections, *messages[ACTIONS],
        *recipients[ACTIONS], *logins[ACTIONS];
    struct metric *spf[RESULTS], *dkim[RESULTS], *dmarc[RESULTS], *grey[GREY_UNANSWERED + 1];
    struct metric *seconds, *bytes;
} counters;

static void make_result_counters(struct metric *metrics[], size_t count, const char *name, const char *help,
                                 const char *(*word)(size_t))
{
    char labels[64];

    for (size_t i = 0; i < count; i++) {
        snprintf(labels, sizeof(labels), "result=\"%s\"", word(i));
        metrics[i] = metric_counter(name, help, labels);
    }
}

static const char *spf_word(size_t i)
{
    return spf_result_name((enum spf_result)i);
}
static const char *dkim_word(size_t i)
{
    return dkim_result_name((enum dkim_result)i);
}
static const char *dmarc_word(size_t i)
{
    return dmarc_result_name((enum dmarc_result)i);
}
static const char *grey_word(size_t i)
{
    return grey_verdict_name((enum grey_verdict)i);
}

static void make_counters(void)
{
    static const double seconds[] = {0.01, 0.05, 0.1, 0.5, 1, 2, 5, 10, 30, 60, 300};
    static const double bytes[] = {1000, 10000, 100000, 1000000, 10000000};
    char labels[64];

    counters.connections = metric_gauge("smtpguard_connections", "Sessions that are open.", "");
    counters.connections_total = metric_counter("smtpguard_connections_total", "Sessions begun.", "");
    counters.refused_connections =
        metric_counter("smtpguard_connections_refused_total", "Connections refused by the limits.", "");
    for (int i = 0; i < ACTIONS; i++) {
        snprintf(labels, sizeof(labels), "action=\"%s\"", action_name((enum action)i));
        counters.messages[i] =
            metric_counter("smtpguard_messages_total", "Messages, by what became of them.", labels);
        counters.recipients[i] =
            metric_counter("smtpguard_recipients_total", "Recipients, by what became of them.", labels);
        counters.logins[i] = metric_counter("smtpguard_logins_total",
                                            "Attempts to log in (AUTH), by what became of them.", labels);
    }
    make_result_counters(counters.spf, RESULTS, "smtpguard_spf_results_total", "SPF results of MAIL FROM.",
                         spf_word);
    make_result_counters(counters.dkim, RESULTS, "smtpguard_dkim_results_total",
                         "DKIM results, one a signature.", dkim_word);
    make_result_counters(counters.dmarc, DMARC_PERMERROR + 1, "smtpguard_dmarc_results_total",
                         "DMARC results.", dmarc_word);
    make_result_counters(counters.grey, GREY_UNANSWERED + 1, "smtpguard_greylist_decisions_total",
                         "Greylist answers.", grey_word);
    counters.seconds = metric_histogram("smtpguard_session_duration_seconds", "Length of sessions.", "",
                                        seconds, COUNT(seconds));
    counters.bytes =
        metric_histogram("smtpguard_message_size_bytes", "Size of messages.", "", bytes, COUNT(bytes));
}

/* Finding a counter by its labels takes longer than all counting, and a storm is refused by one check: each worker keeps
 * the last that it found. The names of checks and stages are literals. */
static void count_refusal(const struct verdict *v, const char *stage)
{
    static _Thread_local struct {
        struct metric *metric;
        const char *check, *stage;
        int code;
    } last;
    char labels[128];

    if (last.metric == NULL || last.check != v->check || last.stage != stage || last.code != v->code) {
        snprintf(labels, sizeof(labels), "check=\"%s\",stage=\"%s\",code=\"%d\"", v->check, stage, v->code);
        last.metric = metric_counter("smtpguard_rejects_total", "Refusals, by the check that decided.", labels);
        last.check = v->check;
        last.stage = stage;
        last.code = v->code;
    }
    metric_add(last.metric, 1);
}

static void count_observed(const struct verdict *v)
{
    char labels[64];

    for (size_t i = 0; i < v->observed_count; i++) {
        snprintf(labels, sizeof(labels), "check=\"%s\"", v->observed[i]);
        metric_add(metric_counter("smtpguard_observed_total",
                                  "What checks in mode observe would have refused.", labels),
                   1);
    }
}

/* ---- lines ---- */

static void put_observed(struct log_line *line, const struct verdict *v)
{
    char text[256];
    int n = 0;

    text[0] = '\0';
    for (size_t i = 0; i < v->observed_count && n < (int)sizeof(text) - 40; i++)
        n += snprintf(text + n, sizeof(text) - (size_t)n, "%s%s", i > 0 ? "," : "", v->observed[i]);
    log_put_z(line, "observed", text);
}

static void put_client(struct log_line *line, const struct session *s)
{
    const struct session_facts *f = &s->facts.session;
    char ip[IP_TEXT_MAX];

    log_put_z(line, "client", ip_format(&f->client, ip));
    log_put_z(line, "rdns", f->rdns_name);
    log_put_z(line, "fcrdns", rdns_state_name(f->rdns));
    log_put_z(line, "helo", f->helo);
    if (conn_tls(s->conn) != NULL)
        log_put_z(line, "tls", tls_engine_version(conn_tls(s->conn)));
    if (s->facts.session.authenticated)
        log_put_z(line, "auth", s->mechanism);
}

static void put_checks(struct log_line *line, const struct session *s)
{
    const struct facts *f = &s->facts;

    if (f->transaction.spf != NULL)
        log_put_z(line, "spf", spf_result_name(f->transaction.spf->result));
    if (f->message.dkim != NULL) {
        const struct dkim_answer *dkim = f->message.dkim;
        enum dkim_result best = dkim->count > 0 ? dkim->signatures[0].result : DKIM_NONE;

        for (size_t i = 0; i < dkim->count; i++)
            if (dkim->signatures[i].result == DKIM_PASS)
                best = DKIM_PASS;
        log_put_z(line, "dkim", dkim_result_name(best));
    }
    if (f->message.arc != NULL)
        log_put_z(line, "arc", arc_result_name(f->message.arc->result));
    if (f->message.dmarc != NULL)
        log_put_z(line, "dmarc", dmarc_result_name(f->message.dmarc->result));
    if (f->session.dnsbl != NULL || f->transaction.domains != NULL)
        log_put_int(line, "rbl", decide_list_score(f));
    if (f->recipient.grey != NULL)
        log_put_z(line, "grey", grey_verdict_name(f->recipient.grey->verdict));
}

void record_connect(const struct session *s)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    struct log_line line;
    char ip[IP_TEXT_MAX];

    pthread_once(&once, make_counters);
    metric_add(counters.connections, 1);
    metric_add(counters.connections_total, 1);
    log_line_begin(&line, LOG_DEBUG, s->id, "connect");
    log_put_z(&line, "client", ip_format(&s->facts.session.client, ip));
    log_put_int(&line, "port", s->facts.session.client_port);
    log_put_z(&line, "listener", s->listen->name);
    log_line_end(&line);
}

/* Of a greeting or a command before MAIL there is something to tell when a check refused it, or would have.
 * */
void record_stage(const struct session *s, const char *moment)
{
    const struct verdict *v = &s->verdict;
    struct log_line line;

    count_observed(v);
    if (verdict_refuses(v))
        count_refusal(v, moment);
    else if (v->observed_count == 0)
        return;
    log_line_begin(&line, LOG_INFO, s->id, moment);
    put_client(&line, s);
    log_put_z(&line, "action", action_name(v->action));
    if (verdict_refuses(v)) {
        log_put_int(&line, "reply", v->code);
        log_put_z(&line, "check", v->check);
        log_put_z(&line, "reason", v->text);
    }
    put_observed(&line, v);
    log_line_end(&line);
}

static enum action action_of(int code)
{
    return code < 400 ? ACTION_ACCEPT : code < 500 ? ACTION_DEFER : ACTION_REJECT;
}

/* Of what was said within AUTH there is nothing but the mechanism and the reply's code: the rest may be secret. */
void record_login(const struct session *s)
{
    enum action action = action_of(s->reply_code);
    struct log_line line;

    metric_add(counters.logins[action], 1);
    log_line_begin(&line, LOG_INFO, s->id, "login");
    put_client(&line, s);
    log_put_z(&line, "mechanism", s->mechanism);
    log_put_z(&line, "action", action_name(action));
    log_put_int(&line, "reply", s->reply_code);
    log_line_end(&line);
}

void record_recipient(const struct session *s)
{
    const struct verdict *v = &s->verdict;
    bool refused = verdict_refuses(v);
    int code = refused ? v->code : s->reply_code;
    enum action action = refused ? v->action : action_of(code);
    struct log_line line;

    metric_add(counters.recipients[action], 1);
    count_observed(v);
    if (s->facts.recipient.grey != NULL)
        metric_add(counters.grey[s->facts.recipient.grey->verdict], 1);
    if (refused)
        count_refusal(v, "rcpt");
    log_line_begin(&line, action == ACTION_ACCEPT ? LOG_DEBUG : LOG_INFO, session_message_id(s), "rcpt");
    put_client(&line, s);
    log_put_z(&line, "action", action_name(action));
    log_put_int(&line, "reply", code);
    log_put_z(&line, "check", refused ? v->check : action != ACTION_ACCEPT ? "backend" : NULL);
    put_checks(&line, s);
    put_observed(&line, v);
    log_put_z(&line, "suspicion", s->tx->suspicion);
    log_put_address(&line, "from", s->facts.transaction.sender.text);
    log_put_address(&line, "to", s->facts.recipient.address.text);
    log_put_words(&line, "reason", refused ? str_of(v->text) : s->reply_text);
    log_line_end(&line);
}

static void count_message(const struct session *s, enum action action)
{
    const struct facts *f = &s->facts;

    metric_add(counters.messages[action], 1);
    metric_observe(counters.bytes, (double)f->message.bytes);
    if (f->transaction.spf != NULL)
        metric_add(counters.spf[f->transaction.spf->result], 1);
    for (size_t i = 0; f->message.dkim != NULL && i < f->message.dkim->count; i++)
        metric_add(counters.dkim[f->message.dkim->signatures[i].result], 1);
    if (f->message.dmarc != NULL)
        metric_add(counters.dmarc[f->message.dmarc->result], 1);
}

void record_message(const struct session *s, int code, const char *text)
{
    const struct verdict *v = &s->verdict;
    enum action action = verdict_refuses(v) ? v->action : action_of(code);
    const struct header_field *id = header_find(&s->tx->intake->header, "message-id");
    struct log_line line;

    count_message(s, action);
    count_observed(v);
    if (verdict_refuses(v))
        count_refusal(v, "message");
    log_line_begin(&line, LOG_INFO, session_message_id(s), "message");
    put_client(&line, s);
    log_put_z(&line, "action", action_name(action));
    log_put_int(&line, "reply", code);
    log_put_z(&line, "check", verdict_refuses(v) ? v->check : action != ACTION_ACCEPT ? "backend" : NULL);
    put_checks(&line, s);
    put_observed(&line, v);
    log_put_z(&line, "signed", s->tx->intake->signatures.n > 0 ? "yes" : s->tx->unsigned_why);
    log_put_z(&line, "backend", s->tx->backend);
    log_put_int(&line, "nrcpt", s->tx->accepted);
    log_put_int(&line, "bytes", (int64_t)s->facts.message.bytes);
    log_put_int(&line, "ms", loop_now_ms(s->service->loop) - s->tx->begun_ms);
    log_put_address(&line, "from", s->facts.transaction.sender.text);
    if (s->tx->recipients != NULL)
        log_put_address(&line, "to", s->tx->recipients->address);
    log_put_z(&line, "header_from", s->facts.message.from_domain);
    if (id != NULL)
        log_put(&line, "msgid", str_upto(str_trim(id->value), 200));
    log_put_words(&line, "reason", str_of(text));
    log_line_end(&line);
}

void record_end(const struct session *s)
{
    int64_t ms = loop_now_ms(s->service->loop) - s->begun_ms;
    struct log_line line;

    metric_add(counters.connections, -1);
    metric_observe(counters.seconds, (double)ms / 1000);
    log_line_begin(&line, LOG_INFO, s->id, "session");
    put_client(&line, s);
    log_put_int(&line, "messages", s->messages);
    log_put_int(&line, "commands", s->commands);
    log_put_int(&line, "errors", s->server != NULL ? smtp_server_errors(s->server) : 0);
    log_put_int(&line, "ms", ms);
    log_put_z(&line, "reason", s->end_why);
    log_line_end(&line);
}
