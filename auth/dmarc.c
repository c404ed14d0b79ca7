#include "auth/dmarc.h"
#include "auth/dmarc_record.h"
#include "auth/dmarc_walk.h"

#include <string.h>

struct dmarc_query {
    struct arena *mem;
    struct dns *dns;
    struct dmarc_walk walk;
    struct dns_token *pending; /* the question whether the domain exists, or the next turn */
    struct dmarc_discovery found;
    dmarc_found_fn *done;
    void *arg;
};

/* Anything that has labels: a name that the DNS cannot hold still has parents with a policy. */
static bool has_labels(const char *name)
{
    size_t n = strlen(name);

    return n > 0 && n <= 255 && name[0] != '.' && name[0] != '[' && name[n - 1] != '.' &&
           strstr(name, "..") == NULL;
}

/* ---- discovery ---- */

static void answer(struct dmarc_query *q, enum dmarc_found found, const char *reason)
{
    q->found.found = found;
    q->found.reason = reason;
    q->found.known = q->walk.known;
    q->found.queries = q->walk.asked;
    q->found.queries_count = q->walk.asked_count;
    q->done(&q->found, q->arg); /* last act: q may be gone now */
}

static void answer_found(struct dmarc_query *q)
{
    answer(q, DMARC_FOUND, str_fmt(q->mem, "the record at %s applies", q->found.record_domain));
}

static const struct dmarc_known *record_at(const struct dmarc_query *q, const char *name)
{
    const struct dmarc_known *known = name != NULL ? dmarc_walk_find(q->walk.known, name) : NULL;

    return known != NULL && known->state == DMARC_KNOWN_RECORD ? known : NULL;
}

/* The author domain's own record, else its organisation's, else that of the public suffix, where the walk
 * stopped (RFC 9989 4.10.1). */
static const struct dmarc_known *choose(const struct dmarc_query *q)
{
    const struct dmarc_known *own = record_at(q, q->found.from_domain);
    const struct dmarc_known *organisation = record_at(q, q->found.org_domain);

    if (own != NULL)
        return own;
    return organisation != NULL ? organisation : record_at(q, q->walk.at);
}

/* False: the record gives no policy, so there is no DMARC for this message; none is looked for further up. */
static bool take_record(struct dmarc_query *q, const struct dmarc_known *known, const char **why_out)
{
    const char *why;

    q->found.record = dmarc_record_parse(q->mem, known->text, &why);
    if (q->found.record == NULL) {
        *why_out = str_fmt(q->mem, "the record at %s is not usable: %s", known->name, why);
        return false;
    }
    q->found.record_domain = known->name;
    return true;
}

/* Only NXDOMAIN makes a domain non-existent (RFC 9989 3.2.13); doubt is not guilt, so trouble means that it
 * exists. A name that cannot be asked cannot exist. */
static void on_exists(const struct dns_answer *reply, void *arg)
{
    struct dmarc_query *q = arg;

    q->pending = NULL;
    q->found.from_exists = reply->status != DNS_NXDOMAIN && reply->status != DNS_BADNAME;
    answer_found(q);
}

/* np= differs from sp=, and the walk has not seen that the name exists. */
static bool must_ask_exists(const struct dmarc_query *q)
{
    const struct dmarc_record *r = q->found.record;

    return strcmp(q->found.record_domain, q->found.from_domain) != 0 &&
           r->nonexistent_policy != r->subdomain_policy &&
           !dmarc_walk_find(q->walk.known, q->found.from_domain)->exists;
}

/* An own record is kept even then: a pass of the very same domain needs nothing from further up. */
static void answer_trouble(struct dmarc_query *q)
{
    const struct dmarc_known *own = record_at(q, q->found.from_domain);
    const char *why;

    if (own != NULL)
        take_record(q, own, &why);
    answer(q, DMARC_FOUND_TEMPERROR, str_fmt(q->mem, "the DNS gave no answer for _dmarc.%s", q->walk.at));
}

static void on_walked(struct dmarc_walk *walk)
{
    struct dmarc_query *q = walk->owner;
    const struct dmarc_known *chosen;
    const char *why = str_fmt(q->mem, "no DMARC record at %s or above it", q->found.from_domain);

    if (dmarc_walk_has_trouble(walk)) {
        answer_trouble(q);
        return;
    }
    q->found.org_domain = dmarc_walk_org(walk);
    chosen = choose(q);
    if (chosen == NULL || !take_record(q, chosen, &why)) {
        answer(q, DMARC_NOT_FOUND, why);
        return;
    }
    if (must_ask_exists(q))
        q->pending = dns_query(q->dns, DNS_A, q->found.from_domain, on_exists, q);
    else
        answer_found(q);
}

static void on_no_domain(const struct dns_answer *reply, void *arg)
{
    struct dmarc_query *q = arg;

    (void)reply;
    q->pending = NULL;
    answer(q, DMARC_FOUND_PERMERROR, "the author domain is not a domain name");
}

struct dmarc_query *dmarc_start(struct arena *mem, struct dns *dns, const char *from_domain,
                                dmarc_found_fn *done, void *arg)
{
    struct dmarc_query *q = ARENA_NEW(mem, struct dmarc_query);

    *q = (struct dmarc_query){.mem = mem, .dns = dns, .done = done, .arg = arg};
    q->walk = (struct dmarc_walk){.mem = mem, .dns = dns, .keep_text = true, .done = on_walked, .owner = q};
    q->found.from_domain = str_dup_lower(mem, str_of(from_domain));
    q->found.from_exists = true;
    if (has_labels(q->found.from_domain))
        dmarc_walk_go(&q->walk, q->found.from_domain); /* nothing is known yet, so it waits */
    else
        q->pending =
            dns_query(dns, DNS_TXT, "", on_no_domain, q); /* never sent, yet answered on a later turn */
    return q;
}

void dmarc_cancel(struct dmarc_query **query)
{
    if (*query != NULL) {
        dmarc_walk_cancel(&(*query)->walk);
        dns_cancel(&(*query)->pending);
    }
    *query = NULL;
}

const char *dmarc_found_name(enum dmarc_found f)
{
    static const char *const names[] = {"found", "none", "temperror", "permerror"};

    return names[f];
}
