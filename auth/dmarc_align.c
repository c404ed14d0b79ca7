#include "auth/dmarc.h"
#include "auth/dmarc_walk.h"

#include <string.h>

/* More passing identifiers than this are not looked at; dkim.max_signatures is far below. */
enum { IDENTIFIERS_MAX = 32 };

struct dmarc_alignment {
    struct arena *mem;
    struct dmarc_ask ask;
    struct dmarc_walk walk;
    struct dns_token *turn;
    struct dmarc_identifier undecided[IDENTIFIERS_MAX]; /* passed, and names alone do not tell */
    size_t count, at;
    bool has_doubt; /* a DNS trouble may hide an aligned identifier */
    const char *aligned_by;
    struct dmarc_evaluation result;
    dmarc_done_fn *done;
    void *arg;
};

/* ---- what names alone decide (RFC 9989 4.10.2, note) ---- */

enum kinship { APART, ALIGNED, UNDECIDED };

static bool is_below(const char *name, const char *parent)
{
    size_t n = strlen(name), m = strlen(parent);

    return n > m + 1 && name[n - m - 1] == '.' && strcmp(name + n - m, parent) == 0;
}

/* Relaxed: whoever has the author's organisational domain stands at it or below it. At it there is no
 * question left: the walk that chose it would choose it again from there. A single label is no organisation
 * for two different names: a top-level domain that forgot psd=y must not vouch for all below it. */
static enum kinship kinship_by_name(const struct dmarc_discovery *d, const char *domain, bool strict)
{
    if (strcmp(domain, d->from_domain) == 0)
        return ALIGNED;
    if (strict)
        return APART;
    if (d->org_domain == NULL)
        return UNDECIDED;
    if (strchr(d->org_domain, '.') == NULL)
        return APART;
    if (strcmp(domain, d->org_domain) == 0)
        return ALIGNED;
    return is_below(domain, d->org_domain) ? UNDECIDED : APART;
}

/* Lower case, without a final dot; NULL when it has an empty label and so is no name. */
static const char *normal_name(struct arena *mem, const char *domain)
{
    struct str name = str_of(domain);

    if (name.n > 0 && name.p[name.n - 1] == '.')
        name.n--;
    if (name.n == 0 || name.n > 255 || name.p[0] == '.' || name.p[name.n - 1] == '.')
        return NULL;
    domain = str_dup_lower(mem, name);
    return strstr(domain, "..") == NULL ? domain : NULL;
}

static void set_aligned(struct dmarc_alignment *a, const struct dmarc_identifier *id)
{
    if (id->is_spf)
        a->result.spf_aligned = true;
    else
        a->result.dkim_aligned = true;
    if (a->aligned_by == NULL)
        a->aligned_by = str_fmt(a->mem, "%s of %s is aligned", id->is_spf ? "SPF" : "DKIM", id->domain);
}

static void add_passed(struct dmarc_alignment *a, const char *domain, bool is_spf, bool strict)
{
    struct dmarc_identifier id = {normal_name(a->mem, domain), is_spf};
    enum kinship kinship = id.domain != NULL ? kinship_by_name(a->ask.discovery, id.domain, strict) : APART;

    if (kinship == ALIGNED)
        set_aligned(a, &id);
    else if (kinship == UNDECIDED && a->count < IDENTIFIERS_MAX)
        a->undecided[a->count++] = id;
}

/* Could it have been aligned, had the DNS answered? */
static void add_temperror(struct dmarc_alignment *a, const char *domain, bool strict)
{
    domain = normal_name(a->mem, domain);
    if (domain != NULL && kinship_by_name(a->ask.discovery, domain, strict) != APART)
        a->has_doubt = true;
}

/* A signature that covers a part of the body vouches for nothing that was appended to it (RFC 6376 8.2). A
 * key in testing counts: its owner's mail would else fail for having been careful, and nobody treats it so.
 */
static void add_identifiers(struct dmarc_alignment *a)
{
    const struct dmarc_record *record = a->ask.discovery->record;
    const struct spf_answer *spf = a->ask.spf;
    const struct dkim_answer *dkim = a->ask.dkim;

    if (spf != NULL && spf->result == SPF_PASS)
        add_passed(a, spf->domain, true, record->aspf_strict);
    else if (spf != NULL && spf->result == SPF_TEMPERROR)
        add_temperror(a, spf->domain, record->aspf_strict);
    for (size_t i = 0; dkim != NULL && i < dkim->count; i++) {
        const struct dkim_signature *s = &dkim->signatures[i];

        if (s->result == DKIM_PASS && !s->partial)
            add_passed(a, s->domain, false, record->adkim_strict);
        else if (s->result == DKIM_TEMPERROR)
            add_temperror(a, s->domain, record->adkim_strict);
    }
}

/* ---- what needs a walk ---- */

static void judge_walk(struct dmarc_alignment *a)
{
    if (dmarc_walk_has_trouble(&a->walk))
        a->has_doubt = true;
    else if (strcmp(dmarc_walk_org(&a->walk), a->ask.discovery->org_domain) == 0)
        set_aligned(a, &a->undecided[a->at]);
}

static bool is_needed(const struct dmarc_alignment *a)
{
    return a->undecided[a->at].is_spf ? !a->result.spf_aligned : !a->result.dkim_aligned;
}

/* True: none is left. False: a walk is under way. */
static bool walk_undecided(struct dmarc_alignment *a)
{
    for (; a->at < a->count; a->at++) {
        if (!is_needed(a))
            continue;
        if (!dmarc_walk_go(&a->walk, a->undecided[a->at].domain))
            return false;
        judge_walk(a);
    }
    return true;
}

/* ---- the result ---- */

/* p= at the author domain itself, else sp= or np= (RFC 9989 4.10.1); t=y asks for one step less (4.7). */
static enum dmarc_policy policy_of(const struct dmarc_discovery *d)
{
    const struct dmarc_record *r = d->record;
    enum dmarc_policy policy = r->policy;

    if (strcmp(d->record_domain, d->from_domain) != 0)
        policy = d->from_exists ? r->subdomain_policy : r->nonexistent_policy;
    return r->testing && policy > DMARC_POLICY_NONE ? policy - 1 : policy;
}

static enum dmarc_result result_of(const struct dmarc_alignment *a, const char **reason_out)
{
    if (a->aligned_by != NULL) {
        *reason_out = a->aligned_by;
        return DMARC_PASS;
    }
    if (a->ask.discovery->found == DMARC_FOUND_TEMPERROR) {
        *reason_out = a->ask.discovery->reason;
        return DMARC_TEMPERROR;
    }
    if (a->has_doubt) {
        *reason_out = "the DNS did not answer for an identifier that may be aligned";
        return DMARC_TEMPERROR;
    }
    *reason_out = "neither SPF nor DKIM passed for an aligned domain";
    return DMARC_FAIL;
}

static void conclude(struct dmarc_alignment *a)
{
    const struct dmarc_discovery *d = a->ask.discovery;

    if (d->record != NULL) {
        a->result.policy = policy_of(d);
        a->result.result = result_of(a, &a->result.reason);
    } else {
        a->result.reason = d->reason;
        a->result.result = d->found == DMARC_FOUND_TEMPERROR   ? DMARC_TEMPERROR
                           : d->found == DMARC_FOUND_PERMERROR ? DMARC_PERMERROR
                                                               : DMARC_NONE;
    }
    a->done(&a->result, a->arg); /* last act: a may be gone now */
}

static void on_walked(struct dmarc_walk *walk)
{
    struct dmarc_alignment *a = walk->owner;

    judge_walk(a);
    a->at++;
    if (walk_undecided(a))
        conclude(a);
}

static void on_turn(const struct dns_answer *reply, void *arg)
{
    struct dmarc_alignment *a = arg;

    (void)reply;
    a->turn = NULL;
    if (walk_undecided(a))
        conclude(a);
}

struct dmarc_alignment *dmarc_align_start(struct arena *mem, struct dns *dns, const struct dmarc_ask *ask,
                                          dmarc_done_fn *done, void *arg)
{
    struct dmarc_alignment *a = ARENA_NEW(mem, struct dmarc_alignment);

    *a = (struct dmarc_alignment){.mem = mem, .ask = *ask, .done = done, .arg = arg};
    a->walk = (struct dmarc_walk){
        .mem = mem, .dns = dns, .done = on_walked, .owner = a, .known = ask->discovery->known};
    if (ask->discovery->record != NULL)
        add_identifiers(a);
    if (ask->discovery->found != DMARC_FOUND)
        a->count = 0; /* without the author's organisational domain there is nothing to compare with */
    a->turn = dns_query(dns, DNS_TXT, "", on_turn, a); /* never sent, yet answered on a later turn */
    return a;
}

void dmarc_align_cancel(struct dmarc_alignment **alignment)
{
    if (*alignment != NULL) {
        dmarc_walk_cancel(&(*alignment)->walk);
        dns_cancel(&(*alignment)->turn);
    }
    *alignment = NULL;
}

const char *dmarc_result_name(enum dmarc_result r)
{
    static const char *const names[] = {"none", "pass", "fail", "temperror", "permerror"};

    return names[r];
}
