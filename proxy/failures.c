#include "proxy/failures.h"

#include "base/bug.h"
#include "base/metric.h"
#include "proxy/signing.h"
#include "report/destination.h"
#include "report/send.h"
#include "report/suppress.h"

#include <stdlib.h>
#include <string.h>

/*
 * The life of a job: may one more be sent? (store) -> where to? (DNS) -> for each address: is it suppressed?
 * (store) -> the mail. Each step ends in the next one or in end_job().
 */

enum { MAIL_MAX = 2 * 1024 * 1024 };

/* What became of a job, or of its mail to one address. */
enum fate { SENT, REFUSED, LATER, LIMITED, NO_DESTINATION, SUPPRESSED, DROPPED, FATES };

static const char *const fate_names[FATES] = {"sent",           "refused",    "later",  "limited",
                                              "no-destination", "suppressed", "dropped"};

struct job {
    struct failures *owner;
    struct job *next, *previous;
    struct arena *mem;
    struct failure failure;
    const char *policy_domain;
    const char *const *ruf;
    size_t ruf_count;
    struct failure_token *counting;
    struct destination_query *query;
    struct store_token *suppressing;
    struct send *send;
    struct destinations destinations;
    size_t at; /* the destination that is being served */
    bool found;
    struct buf mail;
};

struct failures {
    struct loop *loop;
    const struct config *config;
    struct dns *dns;
    struct store *store;
    struct dkim_keyring *keyring;
    struct arena *mem;
    struct report_identity identity;
    struct job *jobs;
    size_t count;
    struct metric *fates[FATES];
};

/* ---- the end of a job ---- */

static void tell(struct failures *f, const char *id, const char *domain, enum fate fate, const char *to,
                 const char *why)
{
    struct log_line line;

    metric_add(f->fates[fate], 1);
    log_line_begin(&line, fate == SENT || fate == REFUSED ? LOG_INFO : LOG_DEBUG, id, "failure-report");
    log_put_z(&line, "action", fate_names[fate]);
    log_put_z(&line, "domain", domain);
    log_put_z(&line, "to", to);
    log_put_z(&line, "reason", why);
    log_line_end(&line);
}

static void tell_job(const struct job *job, enum fate fate, const char *to, const char *why)
{
    tell(job->owner, job->failure.id, job->policy_domain, fate, to, why);
}

static void free_job(struct job *job)
{
    struct failures *f = job->owner;
    struct arena *mem = job->mem; /* the job is in it */

    if (job->previous != NULL)
        job->previous->next = job->next;
    else
        f->jobs = job->next;
    if (job->next != NULL)
        job->next->previous = job->previous;
    f->count--;
    failure_cancel(&job->counting);
    destination_cancel(&job->query);
    store_cancel(&job->suppressing);
    send_cancel(&job->send);
    buf_fini(&job->mail);
    arena_free(&mem);
}

/* ---- one address after the other ---- */

static void next_destination(struct job *job);

static void on_sent(const struct send_outcome *outcome, void *arg)
{
    static const enum fate fates[] = {
        [SEND_DELIVERED] = SENT, [SEND_REFUSED] = REFUSED, [SEND_REJECTED] = REFUSED, [SEND_LATER] = LATER};
    struct job *job = arg;
    const char *address = job->destinations.list[job->at].address;
    enum fate fate = fates[outcome->result];

    job->send = NULL;
    tell_job(job, fate, address, outcome->text);
    if (fate != LATER)
        suppress_learn(job->owner->store, job->owner->loop, address, fate == REFUSED, job->failure.now_unix,
                       outcome->text, NULL, NULL);
    job->at++;
    next_destination(job);
}

static void write_mail(struct job *job)
{
    struct failures *f = job->owner;
    struct str fields = STR("");
    struct buf report;

    buf_init(&report, MAIL_MAX);
    failure_write(job->mem, &report, &job->failure);
    if (f->keyring != NULL)
        fields =
            signing_whole(job->mem, f->keyring, &f->config->signing, buf_str(&report), job->failure.now_unix);
    buf_clear(&job->mail);
    buf_add_str(&job->mail, fields);
    buf_add_str(&job->mail, buf_str(&report));
    if (report.overflow || job->mail.overflow)
        bug("a failure report of more than %d octets", MAIL_MAX);
    buf_fini(&report);
}

static void on_suppression(enum store_status status, const void *result, void *arg)
{
    struct job *job = arg;
    struct failures *f = job->owner;
    const struct destination *to = &job->destinations.list[job->at];
    struct send_ask ask;

    job->suppressing = NULL;
    if (status != STORE_DONE || *(const bool *)result) {
        tell_job(job, status == STORE_DONE ? SUPPRESSED : LATER, to->address, "");
        job->at++;
        next_destination(job);
        return;
    }
    job->failure.to = to->address;
    write_mail(job);
    ask = (struct send_ask){config_report_backend(f->config)->endpoint, f->config->hostname,
                            send_verp(job->mem, f->identity.email, to->address), to->address,
                            buf_str(&job->mail)};
    job->send = send_start(f->loop, &ask, on_sent, job);
}

static void next_destination(struct job *job)
{
    struct failures *f = job->owner;
    const struct report_settings *s = &f->config->reports;

    for (; job->at < job->destinations.count; job->at++) {
        const struct destination *to = &job->destinations.list[job->at];

        if (to->verdict != DESTINATION_GOOD || strcmp(to->host, f->identity.submitter) == 0)
            continue;
        job->found = true;
        if (suppress_is_listed(s->suppress, s->suppress_count, job->policy_domain, to->address)) {
            tell_job(job, SUPPRESSED, to->address, "");
            continue;
        }
        job->suppressing =
            suppress_ask(f->store, f->loop, job->policy_domain, to->address, on_suppression, job);
        return;
    }
    if (!job->found)
        tell_job(job, NO_DESTINATION, "", "");
    free_job(job);
}

static void on_destinations(const struct destinations *found, void *arg)
{
    struct job *job = arg;

    job->query = NULL;
    job->destinations = *found;
    next_destination(job);
}

static void on_allowed(bool allowed, const struct bounce_key *bounces, void *arg)
{
    struct job *job = arg;
    struct failures *f = job->owner;

    job->counting = NULL;
    if (!allowed) {
        tell_job(job, LIMITED, "", "");
        free_job(job);
        return;
    }
    f->identity.bounces = *bounces;
    job->query = destination_start(job->mem, f->loop, f->dns, job->policy_domain, job->ruf, job->ruf_count,
                                   on_destinations, job);
}

/* ---- beginning ---- */

static const char *copied(struct arena *mem, const char *text)
{
    return text != NULL ? str_dup(mem, str_of(text)) : NULL;
}

static const struct dkim_signature *copied_signature(struct arena *mem, const struct dkim_signature *from)
{
    struct dkim_signature *to;

    if (from == NULL)
        return NULL;
    to = ARENA_NEW(mem, struct dkim_signature);
    to->domain = copied(mem, from->domain);
    to->selector = copied(mem, from->selector);
    to->identity = copied(mem, from->identity);
    return to;
}

static void fill_failure(struct job *job, const struct failure *from)
{
    const struct report_settings *s = &job->owner->config->reports;
    struct arena *mem = job->mem;
    struct failure *to = &job->failure;

    *to = *from;
    to->from = &job->owner->identity;
    to->redact = s->failure_redact;
    to->id = copied(mem, from->id);
    to->header_from = copied(mem, from->header_from);
    to->mail_from = copied(mem, from->mail_from);
    to->rcpt_to = copied(mem, from->rcpt_to);
    to->authentication_results = copied(mem, from->authentication_results);
    to->dkim = copied_signature(mem, from->dkim);
    to->spf_domain = copied(mem, from->spf_domain);
    to->header = str_copy(mem, str_upto(from->header, FAILURE_HEADER_MAX));
    if (from->body.p != NULL)
        to->body = str_copy(mem, str_upto(from->body, FAILURE_BODY_MAX));
}

static const char *const *copied_list(struct arena *mem, const char *const *list, size_t count)
{
    const char **copy = arena_alloc(mem, (count + 1) * sizeof(*copy));

    for (size_t i = 0; i < count; i++)
        copy[i] = copied(mem, list[i]);
    return copy;
}

void failures_add(struct failures *f, const struct dmarc_discovery *discovery, const struct failure *failure)
{
    const struct dmarc_record *record = discovery->record;
    struct arena *mem;
    struct job *job;
    struct failure_limit limit = {f->store, f->loop, f->config->reports.failure_per_domain, FAILURES_AN_HOUR,
                                  failure->now_unix};

    if (f->count >= FAILURES_AT_ONCE) {
        tell(f, failure->id, discovery->record_domain, DROPPED, "", "too many are on their way");
        return;
    }
    mem = arena_new(8 * 1024);
    job = ARENA_NEW(mem, struct job);
    *job = (struct job){.owner = f, .next = f->jobs, .mem = mem};
    buf_init(&job->mail, MAIL_MAX);
    if (f->jobs != NULL)
        f->jobs->previous = job;
    f->jobs = job;
    f->count++;
    fill_failure(job, failure);
    job->policy_domain = copied(mem, discovery->record_domain);
    job->ruf_count = record->ruf_count < DESTINATIONS_LOOKED_AT ? record->ruf_count : DESTINATIONS_LOOKED_AT;
    job->ruf = copied_list(mem, record->ruf, job->ruf_count);
    job->counting = failure_ask(&limit, job->policy_domain, on_allowed, job);
}

struct failures *failures_new(struct loop *loop, const struct config *config, struct dns *dns,
                              struct store *store, struct dkim_keyring *keyring)
{
    const struct report_settings *s = &config->reports;
    struct arena *mem;
    struct failures *f;

    if (!s->failure)
        return NULL;
    mem = arena_new(0);
    f = ARENA_NEW(mem, struct failures);
    *f = (struct failures){
        .loop = loop, .config = config, .dns = dns, .store = store, .keyring = keyring, .mem = mem};
    f->identity = (struct report_identity){.org_name = s->org_name,
                                           .email = s->from,
                                           .submitter = str_dup_lower(mem, str_of(strrchr(s->from, '@') + 1)),
                                           .hostname = config->hostname};
    for (int i = 0; i < FATES; i++)
        f->fates[i] =
            metric_counter("smtpguard_failure_reports_total", "Failure reports, by what became of them.",
                           str_fmt(mem, "result=\"%s\"", fate_names[i]));
    return f;
}

void failures_free(struct failures **failures)
{
    struct failures *f = *failures;
    struct arena *mem;

    if (f == NULL)
        return;
    *failures = NULL;
    while (f->jobs != NULL)
        free_job(f->jobs);
    mem = f->mem;
    arena_free(&mem);
}
