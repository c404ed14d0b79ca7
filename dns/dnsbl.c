#include "dns/dnsbl.h"

#include "base/bug.h"
#include "base/log.h"
#include "smtp/address.h"
#include "smtp/mailbox.h"

#include <limits.h>
#include <string.h>

enum {
    DISABLED_MS = 10 * 60 * 1000,
    PUBLIC_LABELS = 3,      /* "zen.spamhaus.org": up to so many labels, a zone is shown whole */
    SECRET_LABEL_LEAST = 8, /* and in longer ones a first label from this length on may be a customer's key */
};

struct dnsbl_health {
    size_t count;
    int64_t *disabled_until_ms; /* one a list, as are: */
    const char **illness;       /* found by the self-test */
};

struct wait {
    struct dnsbl_query *query;
    struct dnsbl_hit *hit;
    const char *name; /* NULL: the client */
    struct dns_token *token;
};

struct dnsbl_query {
    struct dnsbl_health *health;
    int64_t now_ms;
    struct dnsbl_hit *hits;
    size_t *unanswered; /* one a list: questions to it */
    struct wait *waits; /* one a question; the first is the turn of the loop when there is no other */
    size_t count, waits_count, pending;
    int enough; /* dnsbl_enough() */
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
    health->illness = ARENA_ARRAY(mem, const char *, count);
    return health;
}

void dnsbl_health_set(struct dnsbl_health *health, size_t list, const char *illness)
{
    if (list >= health->count)
        bug("list %zu of %zu", list, health->count);
    health->illness[list] = illness;
}

const char *dnsbl_health_illness(const struct dnsbl_health *health, size_t list, int64_t now_ms)
{
    if (list >= health->count)
        bug("list %zu of %zu", list, health->count);
    if (health->disabled_until_ms[list] > now_ms)
        return "it answered with a code that is not declared";
    return health->illness[list];
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

static bool is_ip4(const struct ip *ip, unsigned char b, unsigned char c, unsigned char d)
{
    return ip->b[1] == b && ip->b[2] == c && ip->b[3] == d;
}

/* How lists say that they do not serve us (open resolver, over quota, an address put to a list of domains),
 * whatever the settings say. */
static bool is_refusal(const struct dnsbl_list *list, const struct ip *code)
{
    return (code->b[1] == 255 && code->b[2] == 255) || is_ip4(code, 0, 0, 1) ||
           (list->kind == DNSBL_OF_DOMAINS && is_ip4(code, 0, 1, 255));
}

static bool is_listing(const struct dnsbl_list *list, const struct ip *code)
{
    return code->family == 4 && code->b[0] == 127 && !is_refusal(list, code) && is_declared(list, code);
}

/* One declared code is enough for a listing; one that is not makes the whole answer an error (RFC 5782 2.1,
 * 5). A listing that has expired is doubt. */
enum dnsbl_result dnsbl_judge(const struct dnsbl_list *list, const struct dns_answer *answer,
                              struct ip *code_out)
{
    *code_out = (struct ip){.family = 0};
    if (dns_is_void(answer->status))
        return DNSBL_CLEAN;
    if (answer->status != DNS_OK || answer->stale)
        return DNSBL_UNANSWERED;
    *code_out = answer->records[0].ip;
    for (size_t i = 0; i < answer->count; i++) {
        if (is_listing(list, &answer->records[i].ip))
            continue;
        *code_out = answer->records[i].ip;
        return DNSBL_ERROR;
    }
    return DNSBL_LISTED;
}

static void sum_up(struct dnsbl_query *q)
{
    q->answer = (struct dnsbl_answer){.count = q->count, .hits = q->hits};
    for (size_t i = 0; i < q->count; i++)
        if (q->hits[i].result == DNSBL_LISTED)
            q->answer.score += q->hits[i].list->score;
}

/* What the sum is at the least, when all allow lists that can still answer list the client. */
static int lowest_score(const struct dnsbl_query *q)
{
    int score = 0;

    for (size_t i = 0; i < q->count; i++) {
        const struct dnsbl_hit *hit = &q->hits[i];
        bool may_come = hit->result == DNSBL_UNANSWERED || hit->result == DNSBL_NOT_ASKED;

        if (hit->result == DNSBL_LISTED || (may_come && hit->list->score < 0))
            score += hit->list->score;
    }
    return score;
}

/* ---- asking ---- */

static void cancel_rest(struct dnsbl_query *q)
{
    for (size_t i = 0; i < q->waits_count; i++)
        dns_cancel(&q->waits[i].token);
}

static void finish_one(struct dnsbl_query *q)
{
    if (--q->pending > 0 && lowest_score(q) < q->enough)
        return;
    cancel_rest(q);
    sum_up(q);
    q->done(&q->answer, q->arg); /* last act: q may be gone now */
}

/* Of several answers of one list an error outweighs a listing, and that what is not known yet. */
static void take(struct dnsbl_query *q, struct wait *wait, const struct dns_answer *answer)
{
    struct dnsbl_hit *hit = wait->hit;
    size_t i = (size_t)(hit - q->hits);
    struct ip code;
    enum dnsbl_result result = dnsbl_judge(hit->list, answer, &code);

    if (result == DNSBL_CLEAN && --q->unanswered[i] > 0)
        return;
    if (result == DNSBL_ERROR)
        disable(q, i, &code);
    else if (hit->result != DNSBL_UNANSWERED)
        return;
    hit->result = result;
    hit->status = answer->status;
    hit->code = code;
    hit->name = result == DNSBL_LISTED ? wait->name : NULL;
}

static void on_answer(const struct dns_answer *answer, void *arg)
{
    struct wait *wait = arg;
    struct dnsbl_query *q = wait->query;

    wait->token = NULL;
    take(q, wait, answer);
    finish_one(q);
}

static void on_turn(const struct dns_answer *answer, void *arg)
{
    struct wait *wait = arg;

    (void)answer;
    wait->token = NULL;
    finish_one(wait->query);
}

static struct dnsbl_query *new_query(struct arena *mem, struct dnsbl_health *health,
                                     const struct dnsbl_list *lists, size_t count, size_t names_count,
                                     int64_t now_ms)
{
    struct dnsbl_query *q = ARENA_NEW(mem, struct dnsbl_query);

    if (count != health->count)
        bug("%zu lists with the health of %zu", count, health->count);
    *q = (struct dnsbl_query){
        .health = health, .now_ms = now_ms, .count = count, .waits_count = 1, .enough = INT_MAX};
    q->hits = ARENA_ARRAY(mem, struct dnsbl_hit, count);
    q->unanswered = ARENA_ARRAY(mem, size_t, count);
    q->waits = ARENA_ARRAY(mem, struct wait, 1 + count * names_count);
    q->waits[0].query = q;
    for (size_t i = 0; i < count; i++)
        q->hits[i] = (struct dnsbl_hit){.list = &lists[i], .result = DNSBL_NOT_ASKED, .status = DNS_TIMEOUT};
    return q;
}

/* Is this list one to be asked now? */
static bool is_asked(struct dnsbl_query *q, size_t i, enum dnsbl_kind kind)
{
    struct dnsbl_hit *hit = &q->hits[i];

    if (hit->list->kind != kind)
        return false;
    hit->result = dnsbl_health_illness(q->health, i, q->now_ms) != NULL ? DNSBL_DISABLED : DNSBL_UNANSWERED;
    return hit->result == DNSBL_UNANSWERED;
}

static void ask(struct dnsbl_query *q, struct dns *dns, size_t i, const char *name, const char *asked)
{
    struct wait *wait = &q->waits[q->waits_count++];

    *wait = (struct wait){.query = q, .hit = &q->hits[i], .name = name};
    q->pending++;
    q->unanswered[i]++;
    wait->token = dns_query(dns, DNS_A, asked, on_answer, wait);
}

/* With nobody to ask, still not before we return: the empty name is never sent, and answered on the next
 * turn. */
static struct dnsbl_query *start(struct dnsbl_query *q, struct dns *dns, dnsbl_done_fn *done, void *arg)
{
    q->done = done;
    q->arg = arg;
    if (q->pending == 0) {
        q->pending = 1;
        q->waits[0].token = dns_query(dns, DNS_A, "", on_turn, &q->waits[0]);
    }
    return q;
}

struct dnsbl_query *dnsbl_start(struct arena *mem, struct dns *dns, struct dnsbl_health *health,
                                const struct dnsbl_list *lists, size_t count, const struct ip *client,
                                int64_t now_ms, dnsbl_done_fn *done, void *arg)
{
    struct dnsbl_query *q = new_query(mem, health, lists, count, 1, now_ms);
    char asked[DNS_NAME_MAX + 1];

    for (size_t i = 0; i < count; i++)
        if (is_asked(q, i, DNSBL_OF_ADDRESSES)) {
            dns_reverse_name(client, lists[i].zone, asked);
            ask(q, dns, i, NULL, asked);
        }
    return start(q, dns, done, arg);
}

void dnsbl_enough(struct dnsbl_query *query, int score)
{
    query->enough = score;
}

/* ---- lists of domains ---- */

struct names {
    size_t count;
    const char *name[DNSBL_NAMES_MAX];
};

static void add_name(struct names *names, const char *name)
{
    for (size_t i = 0; i < names->count; i++)
        if (strcmp(names->name[i], name) == 0)
            return;
    if (names->count < DNSBL_NAMES_MAX)
        names->name[names->count++] = name;
}

static bool is_number(struct str label)
{
    for (size_t i = 0; i < label.n; i++)
        if (!ascii_is_digit(label.p[i]))
            return false;
    return true;
}

/* No address, no literal of one, and nothing that ends like one: DBL answers for those with an error. */
static const char *domain_of(struct arena *mem, const char *name)
{
    struct str text = str_of(name);
    const char *domain;

    if (text.n > 0 && text.p[text.n - 1] == '.')
        text.n--;
    domain = text.n <= DNS_NAME_MAX ? mailbox_domain_to_ascii(mem, text) : NULL;
    return domain != NULL && smtp_is_domain(str_of(domain)) && strchr(domain, '.') != NULL &&
                   !is_number(str_of(strrchr(domain, '.') + 1))
               ? domain
               : NULL;
}

/* The names themselves come first: a long one's parents must not push another name out. */
static void collect_names(struct arena *mem, const char *const *from, size_t count, struct names *names)
{
    for (size_t i = 0; i < count; i++) {
        const char *domain = from[i] != NULL ? domain_of(mem, from[i]) : NULL;

        if (domain != NULL)
            add_name(names, domain);
    }
    for (size_t i = 0, own = names->count; i < own; i++)
        for (const char *dot = strchr(names->name[i], '.'); strchr(dot + 1, '.') != NULL;
             dot = strchr(dot + 1, '.'))
            add_name(names, dot + 1);
}

struct dnsbl_query *dnsbl_domain_start(struct arena *mem, struct dns *dns, struct dnsbl_health *health,
                                       const struct dnsbl_list *lists, size_t count, const char *const *names,
                                       size_t names_count, int64_t now_ms, dnsbl_done_fn *done, void *arg)
{
    struct names all = {.count = 0};
    struct dnsbl_query *q;

    collect_names(mem, names, names_count, &all);
    q = new_query(mem, health, lists, count, all.count, now_ms);
    for (size_t i = 0; i < count; i++) {
        if (all.count == 0 || !is_asked(q, i, DNSBL_OF_DOMAINS))
            continue;
        for (size_t n = 0; n < all.count; n++)
            ask(q, dns, i, all.name[n], str_fmt(mem, "%s.%s", all.name[n], lists[i].zone));
    }
    return start(q, dns, done, arg);
}

/* ---- the end ---- */

void dnsbl_cancel(struct dnsbl_query **query)
{
    struct dnsbl_query *q = *query;

    *query = NULL;
    if (q != NULL)
        cancel_rest(q);
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
        [DNSBL_ERROR] = "error",           [DNSBL_DISABLED] = "disabled", [DNSBL_NOT_ASKED] = "not-asked",
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
