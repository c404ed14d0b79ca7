#include "proxy/session_in.h"

#include "report/bounce.h"
#include "report/failure.h"
#include "report/ourselves.h"
#include "report/send.h"
#include "report/suppress.h"

#include <string.h>

/*
 * What one message has to say to the owner of its From domain (RFC 9991), when the record has ruf=. The client
 * has its answer then; sending is failures.c's matter.
 */

static struct report_identity ourselves(const struct session *s)
{
    const struct report_settings *settings = &s->service->config->reports;
    const char *at = strrchr(settings->from, '@');

    return (struct report_identity){.org_name = settings->org_name,
                                    .email = settings->from,
                                    .submitter = at != NULL ? at + 1 : "",
                                    .hostname = s->service->config->hostname};
}

/* Reports about reports would go to and fro for ever. */
bool feedback_is_about_reports(const struct session *s)
{
    struct report_identity us = ourselves(s);

    return s->tx->recipients != NULL &&
           ourselves_is_report_mail(s->tx->mem, &s->tx->intake->header, s->facts.message.from_domain,
                                    s->tx->recipients->address, &us);
}

/* ---- the facts, as the report wants them ---- */

static enum failure_delivery delivery_of(const struct session *s, int code)
{
    if (code >= 500)
        return FAILURE_REJECT;
    return decide_dmarc_disposition(s->service->config, &s->facts) == DMARC_POLICY_QUARANTINE
               ? FAILURE_SPAM
               : FAILURE_DELIVERED;
}

/* The signature that the report is about: the first that did not pass. */
static const struct dkim_signature *failed_signature(const struct dkim_answer *dkim)
{
    for (size_t i = 0; dkim != NULL && i < dkim->count; i++)
        if (dkim->signatures[i].result != DKIM_PASS)
            return &dkim->signatures[i];
    return NULL;
}

static const char *authentication_results(struct session *s)
{
    struct str name, value;
    struct buf field;

    buf_init(&field, 64 * 1024);
    trace_authres(s, &field);
    str_cut(buf_str(&field), ':', &name, &value);
    value = str_copy(s->tx->mem, str_trim(value));
    buf_fini(&field);
    return str_dup(s->tx->mem, value);
}

/* Its beginning. One that lies in a file is not read again for a courtesy. */
static struct str body_of(struct session *s)
{
    struct spool *spool = s->tx->intake->spool;
    struct str piece, body;
    struct buf gathered;

    if (!spool_is_in_memory(spool))
        return (struct str){0};
    buf_init(&gathered, FAILURE_BODY_MAX);
    spool_rewind(spool);
    while (gathered.n < FAILURE_BODY_MAX && spool_read(spool, &piece) == SPOOL_PIECE)
        buf_add_str(&gathered, str_upto(piece, FAILURE_BODY_MAX - gathered.n));
    body = str_copy(s->tx->mem, buf_str(&gathered));
    buf_fini(&gathered);
    return body;
}

static struct failure failure_of(struct session *s, enum failure_kind kind, int code)
{
    const struct message_facts *m = &s->facts.message;
    const struct spf_answer *spf = s->facts.transaction.spf;
    struct arena *mem = s->tx->mem;
    bool spf_is_told = spf != NULL && spf->result != SPF_PASS && kind != FAILURE_DKIM;

    return (struct failure){
        .now_unix = clock_unix(s->service->clock),
        .id = session_message_id(s),
        .kind = kind,
        .header_from = m->from_domain,
        .source = s->facts.session.client,
        .mail_from = str_dup(mem, s->facts.transaction.sender.text),
        .rcpt_to = str_dup(mem, s->tx->recipients->address),
        .dkim_aligned = m->dmarc->dkim_aligned,
        .spf_aligned = m->dmarc->spf_aligned,
        .delivery = delivery_of(s, code),
        .authentication_results = authentication_results(s),
        .dkim = kind != FAILURE_SPF ? failed_signature(m->dkim) : NULL,
        .spf_domain = spf_is_told ? spf->domain : NULL,
        .header = s->tx->intake->section,
        .body = s->service->config->reports.failure_body ? body_of(s) : (struct str){0},
    };
}

/* ---- is it wanted? ---- */

/* Somebody must be there who wrote it, and its fate must be known: what is deferred comes again. */
static bool may_be_told(const struct session *s, int code)
{
    const struct message_facts *m = &s->facts.message;

    return s->service->failures != NULL && m->dmarc != NULL && m->discovery != NULL &&
           m->discovery->found == DMARC_FOUND && m->discovery->record_domain != NULL &&
           s->tx->recipients != NULL && (code < 400 || code >= 500) && !s->facts.transaction.null_sender;
}

void feedback_message(struct session *s, int code)
{
    const struct message_facts *m = &s->facts.message;
    enum failure_kind kind;
    struct failure failure;

    if (!may_be_told(s, code))
        return;
    kind = failure_wanted(m->discovery->record, m->dmarc, s->facts.transaction.spf, m->dkim);
    if (kind == FAILURE_NONE || feedback_is_about_reports(s) ||
        ourselves_is_automatic(s->tx->mem, &s->tx->intake->header))
        return;
    failure = failure_of(s, kind, code);
    failures_add(s->service->failures, m->discovery, &failure);
}

/* ---- a report of ours that comes back ---- */

struct bounced {
    struct arena *mem;
    const char *id, *address;
};

static void on_learnt(bool ours, void *arg)
{
    struct bounced *b = arg;
    struct arena *mem = b->mem; /* b is in it */
    struct log_line line;

    log_line_begin(&line, ours ? LOG_INFO : LOG_DEBUG, b->id, ours ? "report.bounced" : "report.not-ours");
    log_put_z(&line, "to", b->address);
    log_line_end(&line);
    arena_free(&mem);
}

static void learn_bounce(struct session *s, const char *address, const char *token)
{
    struct arena *mem = arena_new(0);
    struct bounced *b = ARENA_NEW(mem, struct bounced);

    *b = (struct bounced){mem, str_dup(mem, str_of(session_message_id(s))), str_dup(mem, str_of(address))};
    suppress_learn_bounce(s->service->store, s->service->loop, address, token, clock_unix(s->service->clock),
                          on_learnt, b);
}

void feedback_bounce(struct session *s)
{
    const struct report_settings *settings = &s->service->config->reports;
    const char *address, *token;

    if ((!settings->aggregate && !settings->failure) || !s->facts.transaction.null_sender ||
        s->tx->recipients == NULL || s->tx->recipients->next != NULL)
        return;
    address = send_verp_read(s->tx->mem, settings->from, s->tx->recipients->address);
    token = address != NULL ? bounce_read(s->tx->mem, &s->tx->intake->header, body_of(s)) : NULL;
    if (token != NULL)
        learn_bounce(s, address, token);
}
