#include "dns/dnsbl.h"

#include "base/bug.h"
#include "base/log.h"

#include <string.h>

enum {
    DISABLED_MS = 10 * 60 * 1000,
    PUBLIC_LABELS = 3,      /* "zen.spamhaus.org": up to so many labels, a zone is shown whole */
    SECRET_LABEL_LEAST = 8, /* and in longer ones a first label from this length on may be a customer's key */
};

struct dnsbl_health {
    size_t count;
    int64_t *disabled_until_ms; /* one a list */
};

struct wait {
    struct dnsbl_query *query;
    struct dnsbl_hit *hit;
    struct dns_token *token;
};

struct dnsbl_query {
    struct dnsbl_health *health;
    int64_t now_ms;
    struct dnsbl_hit *hits;
    struct wait *waits; /* one a list, and one more for the turn of the loop when no list is to be asked */
    size_t count, pending;
    struct dnsbl_answer answer;
    dnsbl_done_fn *done;
    void *arg;
};

/* ---- health ---- */

struct dnsbl_health *dnsbl_health_new(struct arena *mem, const struct dnsbl_list *lists, size_t count)
{
    struct dnsbl_health *health = ARENA_NEW(mem, struct dnsbl_health);

    (void)lists; /* only their number: a reload makes a new health with its new lists */
    health->count = count;
    health->disabled_until_ms = ARENA_ARRAY(mem, int64_t, count);
    return health;
}

/* Zones of paid lists begin with the customer's key ("KEY.zen.dq.spamhaus.net"), which is not for logs. */
static struct str public_zone(const char *zone, const char **prefix_out)
{
    struct str all = str_of(zone), first, rest, label, tail = all;
    size_t labels = 1;

    *prefix_out = "";
    while (str_cut(tail, '.', &label, &tail))
        labels++;
    str_cut(all, '.', &first, &rest);
    if (labels <= PUBLIC_LABELS || first.n < SECRET_LABEL_LEAST)
        return all;
    *prefix_out = "*.";
    return rest;
}

static void disable(struct dnsbl_query *q, size_t i, const struct ip *code)
{
    int64_t *until_ms = &q->health->disabled_until_ms[i];
    char text[IP_TEXT_MAX];
    const char *prefix;
    struct str zone = public_zone(q->hits[i].list->zone, &prefix);

    if (*until_ms <= q->now_ms) /* the first to see it tells it */
        log_note(LOG_WARNING, "dnsbl-disabled",
                 "list %s%.*s answers %s, which is none of its declared codes: not asked for 10 minutes",
                 prefix, STR_ARG(zone), ip_format(code, text));
    *until_ms = q->now_ms + DISABLED_MS;
}

/* ---- what an answer means ---- */

static bool is_declared(const struct dnsbl_list *list, const struct ip *code)
{
    for (size_t i = 0; i < list->codes_count; i++)
        if (memcmp(code->b, list->codes[i].first.b, 4) >= 0 && memcmp(code->b, list->codes[i].last.b, 4) <= 0)
            return true;
    return false;
}

/* 127.255.255.0/24 is how lists say that they do not serve us (open resolver, over quota), whatever the
 * settings say. */
static bool is_listing(const struct dnsbl_list *list, const struct ip *code)
{
    static const unsigned char refusal[3] = {127, 255, 255};

    return code->family == 4 && memcmp(code->b, refusal, sizeof(refusal)) != 0 && is_declared(list, code);
}

/* One declared code is enough for a listing; one that is not makes the whole answer an error (RFC 5782 2.1,
 * 5). */
static void judge(struct dnsbl_hit *hit, const struct dns_answer *answer)
{
    hit->status = answer->status;
    if (dns_is_void(answer->status))
        hit->result = DNSBL_CLEAN;
    if (answer->status != DNS_OK)
        return;
    hit->result = DNSBL_LISTED;
    hit->code = answer->records[0].ip;
    for (size_t i = 0; i < answer->count; i++) {
        if (is_listing(hit->list, &answer->records[i].ip))
            continue;
        hit->result = DNSBL_ERROR;
        hit->code = answer->records[i].ip;
        return;
    }
}

static void sum_up(struct dnsbl_query *q)
{
    q->answer = (struct dnsbl_answer){.count = q->count, .hits = q->hits};
    for (size_t i = 0; i < q->count; i++)
        if (q->hits[i].result == DNSBL_LISTED)
            q->answer.score += q->hits[i].list->score;
}

/* ---- asking ---- */

static void finish_one(struct dnsbl_query *q)
{
    if (--q->pending > 0)
        return;
    sum_up(q);
    q->done(&q->answer, q->arg); /* last act: q may be gone now */
}

static void on_answer(const struct dns_answer *answer, void *arg)
{
    struct wait *wait = arg;
    struct dnsbl_query *q = wait->query;

    wait->token = NULL;
    judge(wait->hit, answer);
    if (wait->hit->result == DNSBL_ERROR)
        disable(q, (size_t)(wait->hit - q->hits), &wait->hit->code);
    finish_one(q);
}

static void on_turn(const struct dns_answer *answer, void *arg)
{
    struct wait *wait = arg;

    (void)answer;
    wait->token = NULL;
    finish_one(wait->query);
}

static void ask(struct dnsbl_query *q, struct dns *dns, size_t i, const struct ip *client)
{
    char name[DNS_NAME_MAX + 1];

    dns_reverse_name(client, q->hits[i].list->zone, name);
    q->pending++;
    q->waits[i].token = dns_query(dns, DNS_A, name, on_answer, &q->waits[i]);
}

struct dnsbl_query *dnsbl_start(struct arena *mem, struct dns *dns, struct dnsbl_health *health,
                                const struct dnsbl_list *lists, size_t count, const struct ip *client,
                                int64_t now_ms, dnsbl_done_fn *done, void *arg)
{
    struct dnsbl_query *q = ARENA_NEW(mem, struct dnsbl_query);

    if (count != health->count)
        bug("%zu lists with the health of %zu", count, health->count);
    *q = (struct dnsbl_query){.health = health, .now_ms = now_ms, .count = count, .done = done, .arg = arg};
    q->hits = ARENA_ARRAY(mem, struct dnsbl_hit, count);
    q->waits = ARENA_ARRAY(mem, struct wait, count + 1);
    for (size_t i = 0; i <= count; i++)
        q->waits[i].query = q;
    for (size_t i = 0; i < count; i++) {
        bool disabled = health->disabled_until_ms[i] > now_ms;

        q->hits[i] = (struct dnsbl_hit){
            .list = &lists[i], .result = disabled ? DNSBL_DISABLED : DNSBL_UNANSWERED, .status = DNS_TIMEOUT};
        q->waits[i].hit = &q->hits[i];
        if (!disabled)
            ask(q, dns, i, client);
    }
    /* Nobody to ask, and yet not before we return: the empty name is never sent, and answered on the next
     * turn. */
    if (q->pending == 0) {
        q->pending = 1;
        q->waits[count].token = dns_query(dns, DNS_A, "", on_turn, &q->waits[count]);
    }
    return q;
}

void dnsbl_cancel(struct dnsbl_query **query)
{
    struct dnsbl_query *q = *query;

    *query = NULL;
    if (q == NULL)
        return;
    for (size_t i = 0; i <= q->count; i++)
        dns_cancel(&q->waits[i].token);
}

const struct dnsbl_answer *dnsbl_finish(struct dnsbl_query **query)
{
    struct dnsbl_query *q = *query;

    dnsbl_cancel(query);
    sum_up(q);
    return &q->answer;
}

const char *dnsbl_result_name(enum dnsbl_result result)
{
    static const char *const names[] = {
        [DNSBL_UNANSWERED] = "unanswered", [DNSBL_CLEAN] = "clean",       [DNSBL_LISTED] = "listed",
        [DNSBL_ERROR] = "error",           [DNSBL_DISABLED] = "disabled",
    };

    if ((size_t)result >= COUNT(names))
        bug("DNS list result %d", (int)result);
    return names[result];
}

struct str dnsbl_public_zone(const char *zone)
{
    const char *prefix;

    return public_zone(zone, &prefix);
}
