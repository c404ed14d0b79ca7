/*
 * What askers may rely on, and c-ares does not promise: a question is an object of ours that waits for a
 * flight; a flight belongs to the transport until that calls back, which may be at once or long after nobody
 * waits; and an answer always reaches its asker from the loop, never from within the transport. So askers may
 * ask again, cancel, or free the resolver.
 */
#include "base/hash.h"

#include "dns/resolver.h"

#include "base/bug.h"
#include "base/log.h"
#include "dns/cache.h"
#include "dns/health.h"
#include "dns/measure.h"
#include "dns/transport.h"

#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

enum {
    CACHE_BYTES_AN_ENTRY = 512,
    SCRATCH_BYTES = 16 * 1024,
    CANARY_MS = 30 * 1000,
    CANARY_HASTE = 6, /* times as often after a failure */
};

TAILQ_HEAD(question_list, question);

struct question {
    struct dns_token token; /* first: what the asker holds */
    TAILQ_ENTRY(question) link;
    struct question_list *list; /* a flight's, or the resolver's `ready` */
    struct later later;
    struct dns_reply *reply;
    uint32_t ttl_s;
    bool cached;
    enum dns_type type;
    dns_done_fn *done;
    void *arg;
    char name[];
};

struct flight {
    UT_hash_handle hh;
    struct resolver *resolver;
    struct transport_query query;
    struct timer deadline;
    struct question_list waiting;
    bool over;     /* nobody waits, and it is not in the table: only the transport still holds it */
    bool is_probe; /* of the canary, whoever else waits for it */
    int64_t since_ms;
    struct dns_question question;
};

struct resolver {
    struct dns dns; /* first */
    struct loop *loop;
    struct transport *transport;
    struct flight *flights;
    struct question_list ready;
    struct dns_cache *cache;
    struct arena *scratch;
    int64_t deadline_ms;
    bool closing;
    struct dns_health health;
    bool was_sick;
    char *canary;
    int64_t canary_ms;
    struct timer probe;
    size_t entries_told; /* to the metric */
    struct resolver_counts counts;
};

/* ---- answers on their way to the askers ---- */

static void leave_list(struct question *q)
{
    TAILQ_REMOVE(q->list, q, link);
    q->list = NULL;
}

static void join_list(struct question *q, struct question_list *list)
{
    TAILQ_INSERT_TAIL(list, q, link);
    q->list = list;
}

static void on_deliver(void *arg)
{
    struct question *q = arg;
    struct dns_answer answer = q->reply->answer;

    leave_list(q);
    answer.type = q->type;
    answer.name = q->name;
    answer.ttl_s = q->ttl_s;
    answer.cached = q->cached;
    q->done(&answer, q->arg); /* the resolver may be gone now */
    dns_reply_release(&q->reply);
    free(q);
}

/* Takes the reply. */
static void deliver_later(struct resolver *r, struct question *q, struct dns_reply *reply, uint32_t ttl_s,
                          bool cached)
{
    join_list(q, &r->ready);
    q->reply = reply;
    q->ttl_s = ttl_s;
    q->cached = cached;
    later_start(&q->later, r->loop, on_deliver, q);
}

static struct dns_reply *reply_of_status(enum dns_status status)
{
    return dns_reply_new(&(struct dns_answer){.status = status});
}

static void drop_question(struct question *q)
{
    leave_list(q);
    later_cancel(&q->later);
    dns_reply_release(&q->reply);
    free(q);
}

/* ---- flights ---- */

static void tell_entries(struct resolver *r)
{
    size_t now = dns_cache_entries(r->cache);

    if (now != r->entries_told)
        dns_measure_entries((int64_t)now - (int64_t)r->entries_told);
    r->entries_told = now;
}

/* An answer that only tells of trouble gives way to an expired one (RFC 8767 4). */
static struct dns_reply *prefer_stale(struct resolver *r, const struct dns_question *question,
                                      struct dns_reply *reply)
{
    struct dns_reply *stale;

    if (!dns_is_temporary(reply->answer.status))
        return dns_reply_hold(reply);
    stale = dns_cache_revive(r->cache, question, loop_now_ms(r->loop));
    if (stale == NULL)
        return dns_reply_hold(reply);
    r->counts.stale++;
    dns_measure_cache(DNS_CACHE_STALE);
    return stale;
}

static enum dns_type type_of(const struct dns_question *question)
{
    return (enum dns_type)(question->key[0] << 8 | question->key[1]);
}

static void learn_health(struct flight *f, enum dns_status status);

/* Tells all who wait; the flight itself goes when the transport has called back. */
static void end_flight(struct flight *f, struct dns_reply *reply)
{
    struct resolver *r = f->resolver;
    struct dns_reply *best = prefer_stale(r, &f->question, reply);
    struct question *q;

    timer_stop(&f->deadline);
    HASH_DEL(r->flights, f);
    f->over = true;
    transport_abandon(&f->query);
    dns_measure_query(type_of(&f->question), reply->answer.status, loop_now_ms(r->loop) - f->since_ms);
    learn_health(f, reply->answer.status);
    while ((q = TAILQ_FIRST(&f->waiting)) != NULL) {
        leave_list(q);
        deliver_later(r, q, dns_reply_hold(best), best->answer.ttl_s, best->answer.stale);
    }
    dns_reply_release(&best);
}

static void on_deadline(void *arg)
{
    struct flight *f = arg;
    struct dns_reply *reply = reply_of_status(DNS_TIMEOUT);

    f->resolver->counts.timeouts++;
    end_flight(f, reply);
    dns_reply_release(&reply);
}

static struct dns_reply *read_reply(struct resolver *r, const struct dns_question *question,
                                    const unsigned char *packet, size_t n)
{
    struct dns_answer answer;
    struct dns_reply *reply;

    dns_message_parse(r->scratch, question, packet, n, &answer);
    answer.authenticated = answer.authenticated && transport_is_local(r->transport);
    reply = dns_reply_new(&answer);
    arena_reset(r->scratch);
    r->counts.servfails += answer.status == DNS_SERVFAIL;
    if (!dns_is_temporary(answer.status))
        dns_cache_put(r->cache, question, reply, loop_now_ms(r->loop));
    tell_entries(r);
    return reply;
}

/* The last of a flight, in resolver_free() as well. */
static void on_packet(const struct transport_reply *came, void *arg)
{
    struct flight *f = arg;
    struct resolver *r = f->resolver;
    struct dns_reply *reply;

    if (r->closing) {
        free(f);
        return;
    }
    if (came->packet != NULL) {
        reply = read_reply(r, &f->question, came->packet, came->n); /* a late one still serves the cache */
    } else {
        reply = reply_of_status(came->failure);
        r->counts.timeouts += !f->over && came->failure == DNS_TIMEOUT;
    }
    if (!f->over)
        end_flight(f, reply);
    dns_reply_release(&reply);
    free(f);
}

static void send_flight(struct flight *f)
{
    transport_ask(f->resolver->transport, &f->query, &f->question, on_packet,
                  f); /* last act: f may be gone now */
}

static struct flight *find_flight(const struct resolver *r, const struct dns_question *question)
{
    struct flight *f;

    HASH_FIND(hh, r->flights, question->key, question->n, f);
    return f;
}

static struct flight *new_flight(struct resolver *r, const struct dns_question *question)
{
    struct flight *f = calloc(1, sizeof(*f));

    if (f == NULL)
        out_of_memory();
    f->resolver = r;
    f->since_ms = loop_now_ms(r->loop);
    f->question = *question;
    TAILQ_INIT(&f->waiting);
    HASH_ADD_KEYPTR(hh, r->flights, f->question.key, f->question.n, f);
    timer_start(&f->deadline, r->loop, r->deadline_ms, on_deadline, f);
    return f;
}

/* ---- health ---- */

static void probe_later(struct resolver *r, int64_t after_ms);

static void name_of(const struct dns_question *question, char name_out[DNS_NAME_MAX + 1])
{
    const unsigned char *p = question->key + 2;
    char *out = name_out;

    for (; *p != 0; p += 1 + *p) {
        if (out > name_out)
            *out++ = '.';
        memcpy(out, p + 1, *p);
        out += *p;
    }
    *out = '\0';
}

static void tell_health(struct resolver *r, const char *reason)
{
    if (r->was_sick == (reason != NULL))
        return;
    r->was_sick = reason != NULL;
    dns_measure_sick(r->was_sick ? 1 : -1);
    if (reason != NULL)
        log_note(LOG_WARNING, "dns-sick",
                 "the DNS does not answer (%s): nobody is refused for good by what it says", reason);
    else
        log_note(LOG_WARNING, "dns-well", "the DNS answers again");
}

static void learn_health(struct flight *f, enum dns_status status)
{
    struct resolver *r = f->resolver;
    int64_t now_ms = loop_now_ms(r->loop);
    char name[DNS_NAME_MAX + 1];

    name_of(&f->question, name);
    dns_health_end(&r->health, name, status, now_ms);
    if (f->is_probe) {
        dns_health_canary(&r->health, dns_is_temporary(status));
        probe_later(r, dns_is_temporary(status) ? r->canary_ms / CANARY_HASTE : r->canary_ms);
    }
    tell_health(r, dns_health_reason(&r->health, now_ms));
}

/* Outside, whatever the cache knows: it is the way there that is to be proved. */
static void on_probe_due(void *arg)
{
    struct resolver *r = arg;
    struct dns_question question;
    struct flight *f;

    if (!dns_question_init(&question, DNS_A, r->canary))
        return; /* the settings' own check has said so */
    f = find_flight(r, &question);
    if (f != NULL) {
        f->is_probe = true;
        return;
    }
    f = new_flight(r, &question);
    f->is_probe = true;
    send_flight(f);
}

static void probe_later(struct resolver *r, int64_t after_ms)
{
    timer_start(&r->probe, r->loop, after_ms, on_probe_due, r);
}

/* ---- the interface ---- */

static const struct dns_ops resolver_ops;

static struct question *new_question(enum dns_type type, const char *name, dns_done_fn *done, void *arg)
{
    size_t n = strnlen(name, DNS_NAME_MAX + 1); /* longer ones are answered DNS_BADNAME, cut */
    struct question *q = malloc(sizeof(*q) + n + 1);

    if (q == NULL)
        out_of_memory();
    *q = (struct question){.type = type, .done = done, .arg = arg};
    memcpy(q->name, name, n);
    q->name[n] = '\0';
    return q;
}

static struct dns_token *resolver_query(struct dns *dns, enum dns_type type, const char *name,
                                        dns_done_fn *done, void *arg)
{
    struct resolver *r = (struct resolver *)dns;
    struct question *q = new_question(type, name, done, arg);
    struct dns_question question;
    struct dns_reply *reply;
    struct flight *f;
    uint32_t ttl_s;

    r->counts.asked++;
    if (!dns_question_init(&question, type, name)) {
        deliver_later(r, q, reply_of_status(DNS_BADNAME), 0, false);
    } else if ((reply = dns_cache_find(r->cache, &question, loop_now_ms(r->loop), &ttl_s)) != NULL) {
        r->counts.from_cache++;
        dns_measure_cache(DNS_CACHE_HIT);
        deliver_later(r, q, reply, ttl_s, true);
    } else if ((f = find_flight(r, &question)) != NULL) {
        r->counts.joined++;
        dns_measure_cache(DNS_CACHE_JOINED);
        join_list(q, &f->waiting);
    } else {
        dns_measure_cache(DNS_CACHE_MISS);
        f = new_flight(r, &question);
        join_list(q, &f->waiting);
        send_flight(f); /* last act: f may be gone now */
    }
    return &q->token;
}

static void resolver_cancel(struct dns *dns, struct dns_token *token)
{
    struct question *q = (struct question *)token;

    (void)dns;
    if (q->list == NULL)
        bug("dns_cancel of a question that was answered");
    drop_question(q); /* its flight goes on, for the cache */
}

static const struct dns_ops resolver_ops = {resolver_query, resolver_cancel};

/* ---- birth and death ---- */

static void start_canary(struct resolver *r, const struct dns_settings *settings)
{
    if (settings->canary == NULL || *settings->canary == '\0')
        return;
    r->canary_ms = settings->canary_ms > 0 ? settings->canary_ms : CANARY_MS;
    r->canary = strdup(settings->canary);
    if (r->canary == NULL)
        out_of_memory();
    probe_later(r, 0);
}

struct dns *resolver_new(struct loop *loop, const struct dns_settings *settings, struct fail *fail)
{
    struct resolver *r = calloc(1, sizeof(*r));
    struct dns *dns;

    if (r == NULL)
        out_of_memory();
    dns = &r->dns;
    dns->ops = &resolver_ops;
    r->loop = loop;
    r->deadline_ms = settings->timeout_ms * settings->tries;
    TAILQ_INIT(&r->ready);
    r->cache = dns_cache_new(settings->cache_entries, settings->cache_entries * CACHE_BYTES_AN_ENTRY,
                             settings->stale_ms);
    r->scratch = arena_new(SCRATCH_BYTES);
    r->transport = transport_new(loop, settings, fail);
    if (r->transport == NULL)
        resolver_free(&dns);
    else
        start_canary(r, settings);
    return dns;
}

static void drop_questions(struct question_list *list)
{
    while (!TAILQ_EMPTY(list))
        drop_question(TAILQ_FIRST(list));
}

void resolver_free(struct dns **dns)
{
    struct resolver *r = (struct resolver *)*dns;
    struct flight *f, *next;

    *dns = NULL;
    if (r == NULL)
        return;
    r->closing = true;
    drop_questions(&r->ready);
    HASH_ITER(hh, r->flights, f, next)
    {
        drop_questions(&f->waiting);
        timer_stop(&f->deadline);
        HASH_DEL(r->flights, f);
    }
    timer_stop(&r->probe);
    transport_free(&r->transport); /* calls on_packet for each flight, which frees it */
    if (r->was_sick)
        dns_measure_sick(-1);
    dns_measure_entries(-(int64_t)r->entries_told);
    dns_cache_free(&r->cache);
    arena_free(&r->scratch);
    free(r->canary);
    free(r);
}

struct resolver_counts resolver_counts(const struct dns *dns)
{
    const struct resolver *r = (const struct resolver *)dns;
    struct transport_counts carried = transport_counts(r->transport);
    struct resolver_counts counts = r->counts;

    counts.answered = carried.answered;
    counts.other_case = carried.other_case;
    counts.cache_entries = dns_cache_entries(r->cache);
    return counts;
}

struct resolver_health resolver_health(struct dns *dns)
{
    struct resolver *r = (struct resolver *)dns;
    const char *reason;

    if (dns->ops != &resolver_ops)
        return (struct resolver_health){false, NULL};
    reason = dns_health_reason(&r->health, loop_now_ms(r->loop));
    tell_health(r, reason);
    return (struct resolver_health){reason != NULL, reason};
}

size_t resolver_servers(const struct dns *dns, struct endpoint *servers_out, size_t most)
{
    return transport_servers(((const struct resolver *)dns)->transport, servers_out, most);
}
