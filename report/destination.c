#include "report/destination.h"

#include "auth/dmarc_record.h"
#include "smtp/address.h"
#include "smtp/mailbox.h"

#include <stdlib.h>
#include <string.h>

struct destination_query {
    struct arena *mem;
    struct loop *loop;
    struct dns *dns;
    const char *policy_domain;
    const char *policy_org; /* NULL: not asked for yet */
    const char *const *uris;
    size_t uris_count;
    struct destinations result;
    struct destination list[DESTINATIONS_LOOKED_AT];
    size_t good;
    struct dmarc_query *walk; /* at most one of these three is under way */
    struct dns_token *consent;
    struct later end;
    destination_done_fn *done;
    void *arg;
};

const char *destination_verdict_name(enum destination_verdict verdict)
{
    static const char *const names[] = {"good", "invalid", "repeated", "surplus", "no-consent", "temperror"};

    return names[verdict];
}

/* ---- an address ---- */

/* RFC 3986 2.1; %00 and what is no hexadecimal makes the address invalid further down. */
static struct str percent_decoded(struct arena *mem, struct str text)
{
    char *p = arena_alloc(mem, text.n + 1);
    size_t n = 0;

    for (size_t i = 0; i < text.n; i++) {
        int high = text.p[i] == '%' && i + 2 < text.n ? ascii_hex(text.p[i + 1]) : -1;
        int low = high >= 0 ? ascii_hex(text.p[i + 2]) : -1;

        p[n++] = low >= 0 ? (char)(high << 4 | low) : text.p[i];
        i += low >= 0 ? 2 : 0;
    }
    return str_make(p, n);
}

/* "!10m" (RFC 7489 6.4): what is no size is none. */
static uint64_t size_of(struct str text)
{
    static const char units[] = "kmgt";
    unsigned shift = 0;
    uint64_t number;

    for (unsigned i = 0; i < 4; i++)
        if (text.n > 0 && ascii_lower(text.p[text.n - 1]) == units[i])
            shift = 10 * (i + 1);
    if (!str_to_u64(str_upto(text, text.n - (shift > 0)), (uint64_t)1 << 40, &number))
        return 0;
    return number > UINT64_MAX >> shift ? 0 : number << shift;
}

bool destination_parse(struct arena *mem, const char *uri, struct destination *d)
{
    struct str text = str_trim(str_of(uri)), size, rest;
    struct smtp_address address;
    const char *host;

    *d = (struct destination){.uri = uri, .verdict = DESTINATION_INVALID};
    if (!str_starts_same(text, STR("mailto:")))
        return false;
    str_cut(str_from(text, strlen("mailto:")), '!', &text, &size);
    str_cut(text, '?', &text, &rest);
    if (!smtp_mailbox_parse(percent_decoded(mem, text), false, &address) ||
        address.kind != SMTP_DOMAIN_NAME || str_has(address.text, '\0') ||
        (host = mailbox_domain_to_ascii(mem, address.domain)) == NULL)
        return false;
    d->host = host;
    d->address = str_fmt(mem, "%.*s@%s", STR_ARG(address.local), host);
    d->size_max = size_of(size);
    d->verdict = DESTINATION_GOOD;
    return true;
}

/* ---- one after the other ---- */

static void go_on(struct destination_query *q);

static void on_end(void *arg)
{
    struct destination_query *q = arg;

    q->done(&q->result, q->arg); /* last act */
}

static struct destination *current(struct destination_query *q)
{
    return &q->list[q->result.count - 1];
}

static void decide(struct destination_query *q, enum destination_verdict verdict)
{
    current(q)->verdict = verdict;
    q->good += verdict == DESTINATION_GOOD;
    go_on(q);
}

/* ---- consent ---- */

/* The owner of the host may name another address there, on the same host (RFC 9990 4). */
static void take_override(struct destination_query *q, struct str rua)
{
    struct destination *d = current(q), other;
    struct str first;

    str_cut(rua, ',', &first, &rua);
    if (first.n > 0 && destination_parse(q->mem, str_dup(q->mem, first), &other) &&
        strcmp(other.host, d->host) == 0)
        d->address = other.address;
}

static void on_consent(const struct dns_answer *answer, void *arg)
{
    struct destination_query *q = arg;
    enum destination_verdict verdict = DESTINATION_REFUSED;
    struct dmarc_tags tags;

    q->consent = NULL;
    for (size_t i = 0; i < answer->count && verdict != DESTINATION_GOOD; i++)
        if (dmarc_tags_read(answer->records[i].text, &tags)) {
            verdict = DESTINATION_GOOD;
            take_override(q, tags.rua);
        }
    if (verdict != DESTINATION_GOOD && dns_is_temporary(answer->status))
        verdict = DESTINATION_TEMPERROR;
    decide(q, verdict);
}

static void ask_for_consent(struct destination_query *q)
{
    q->consent =
        dns_query(q->dns, DNS_TXT,
                  str_fmt(q->mem, "%s._report._dmarc.%s", q->policy_domain, current(q)->host), on_consent, q);
}

/* ---- the same organisation? ---- */

/* A walk that met trouble decides nothing: then consent is asked for. */
static const char *organisation(const struct dmarc_discovery *found)
{
    bool known = found->found != DMARC_FOUND_TEMPERROR && found->org_domain != NULL;

    return known ? found->org_domain : "";
}

static void on_host_walk(const struct dmarc_discovery *found, void *arg)
{
    struct destination_query *q = arg;
    const char *org = organisation(found);

    q->walk = NULL;
    if (org[0] != '\0' && strcmp(org, q->policy_org) == 0) {
        current(q)->external = false;
        decide(q, DESTINATION_GOOD);
    } else {
        ask_for_consent(q);
    }
}

static void walk_host(struct destination_query *q)
{
    if (q->policy_org[0] == '\0')
        ask_for_consent(q);
    else
        q->walk = dmarc_start(q->mem, q->dns, current(q)->host, on_host_walk, q);
}

static void on_policy_walk(const struct dmarc_discovery *found, void *arg)
{
    struct destination_query *q = arg;

    q->walk = NULL;
    q->policy_org = organisation(found);
    walk_host(q);
}

static void check_organisation(struct destination_query *q)
{
    current(q)->external = true;
    if (q->policy_org == NULL)
        q->walk = dmarc_start(q->mem, q->dns, q->policy_domain, on_policy_walk, q);
    else
        walk_host(q);
}

/* ---- the list ---- */

static bool is_repeated(const struct destination_query *q, const struct destination *d)
{
    for (size_t i = 0; i + 1 < q->result.count; i++)
        if (q->list[i].address != NULL && str_same_z(str_of(q->list[i].address), d->address))
            return true;
    return false;
}

/* Takes the next addresses, up to one for which the DNS must be asked. */
static void go_on(struct destination_query *q)
{
    while (q->result.count < q->uris_count && q->result.count < DESTINATIONS_LOOKED_AT) {
        struct destination *d = &q->list[q->result.count];

        if (!destination_parse(q->mem, q->uris[q->result.count++], d))
            continue;
        if (is_repeated(q, d)) {
            d->verdict = DESTINATION_REPEATED;
        } else if (q->good == DESTINATIONS_MOST) {
            d->verdict = DESTINATION_SURPLUS;
        } else if (strcmp(d->host, q->policy_domain) == 0) {
            q->good++;
        } else {
            check_organisation(q);
            return;
        }
    }
    later_start(&q->end, q->loop, on_end, q);
}

struct destination_query *destination_start(struct arena *mem, struct loop *loop, struct dns *dns,
                                            const char *policy_domain, const char *const *uris, size_t count,
                                            destination_done_fn *done, void *arg)
{
    struct destination_query *q = ARENA_NEW(mem, struct destination_query);

    *q = (struct destination_query){.mem = mem,
                                    .loop = loop,
                                    .dns = dns,
                                    .policy_domain = policy_domain,
                                    .uris = uris,
                                    .uris_count = count,
                                    .done = done,
                                    .arg = arg};
    q->result.list = q->list;
    go_on(q);
    return q;
}

void destination_cancel(struct destination_query **query)
{
    struct destination_query *q = *query;

    if (q == NULL)
        return;
    dmarc_cancel(&q->walk);
    if (q->consent != NULL)
        dns_cancel(&q->consent);
    later_cancel(&q->end);
    *query = NULL;
}
