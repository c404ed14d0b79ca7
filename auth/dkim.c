#include "auth/dkim.h"

#include "auth/dkim_body.h"
#include "auth/dkim_fields.h"
#include "auth/dkim_judge.h"
#include "base/bug.h"

#include <string.h>

enum { GRACE_S = 300 }; /* for clocks that do not agree */

/* One signature that is evaluated. */
struct check {
    struct dkim_verifier *verifier;
    const struct dkim_field *field;
    struct dkim_signature *answer; /* pass or fail until the body has its say */
    const struct dkim_body_hash *body;
    struct dns_token *pending; /* the key */
    uint8_t header_digest[DKIM_HASH_BYTES];
};

struct dkim_verifier {
    struct arena *mem;
    struct dns *dns;
    struct dkim_keys *keys;
    struct dkim_settings settings;
    const struct header *header;

    size_t checks_count, waiting; /* waiting: keys not there yet */
    struct check *checks;
    struct dkim_bodies *bodies; /* NULL: nothing to check */

    bool ended;
    struct dns_token *next_turn;
    dkim_done_fn *done;
    void *arg;
    struct dkim_answer answer;
};

const char *dkim_result_name(enum dkim_result r)
{
    static const char *const names[] = {
        [DKIM_NONE] = "none",          [DKIM_PASS] = "pass",       [DKIM_FAIL] = "fail",
        [DKIM_POLICY] = "policy",      [DKIM_NEUTRAL] = "neutral", [DKIM_TEMPERROR] = "temperror",
        [DKIM_PERMERROR] = "permerror"};

    return names[r];
}

static void settle(struct dkim_signature *answer, enum dkim_result result, const char *reason)
{
    answer->result = result;
    answer->reason = reason;
}

/* ---- the answer ---- */

/* A body shorter than l= lost something; a longer one may have got anything (RFC 6376 8.2). */
static void judge_by_body(struct check *c)
{
    struct dkim_signature *answer = c->answer;
    uint64_t length = dkim_bodies_length(c->verifier->bodies, c->body->canon);

    answer->partial = c->body->has_length && c->body->length < length;
    if (answer->result != DKIM_PASS && answer->result != DKIM_FAIL)
        return;
    if (c->body->has_length && c->body->length > length)
        settle(answer, DKIM_FAIL, "the body is shorter than l=");
    else if (memcmp(c->body->digest, c->field->body_hash, DKIM_HASH_BYTES) != 0)
        settle(answer, DKIM_FAIL, "the body hash does not fit the body");
}

/* Judging twice is the same as judging once. */
static void conclude(struct dkim_verifier *v)
{
    for (size_t i = 0; i < v->checks_count; i++)
        judge_by_body(&v->checks[i]);
}

static void finish(struct dkim_verifier *v)
{
    conclude(v);
    v->done(&v->answer, v->arg); /* last act: v may be gone now */
}

static void on_next_turn(const struct dns_answer *answer, void *arg)
{
    struct dkim_verifier *v = arg;

    (void)answer;
    v->next_turn = NULL;
    finish(v);
}

/* ---- the key: does it verify the hash of the header? ---- */

static void on_key(const struct dns_answer *found, void *arg)
{
    struct check *c = arg;
    struct dkim_verifier *v = c->verifier;
    struct dkim_claim claim = {c->field, c->header_digest, v->settings.min_rsa_bits};
    struct dkim_verdict verdict;

    c->pending = NULL;
    v->waiting--;
    verdict = dkim_judge(&claim, v->keys, found);
    settle(c->answer, verdict.result, verdict.reason);
    c->answer->bits = verdict.bits;
    c->answer->testing = verdict.testing;
    if (v->ended && v->waiting == 0)
        finish(v);
}

static void start_lookup(struct check *c)
{
    struct dkim_verifier *v = c->verifier;
    const char *name = dkim_key_name(v->mem, c->field->selector, c->field->domain);

    settle(c->answer, DKIM_TEMPERROR, "the DNS did not answer for the key");
    c->pending = dns_query(v->dns, DNS_TXT, name, on_key, c);
    v->waiting++;
}

/* ---- which signatures to evaluate ---- */

static bool is_within(struct str domain, struct str parent)
{
    return str_ends_same(domain, parent) &&
           (domain.n == parent.n || domain.p[domain.n - parent.n - 1] == '.');
}

static bool is_aligned(const char *domain, const char *from_domain)
{
    struct str d = str_of(domain), from = str_of(from_domain);

    return from.n > 0 && (is_within(d, from) || is_within(from, d));
}

/* What the field alone tells: true when it takes a key to know more. */
static bool judge_by_field(struct dkim_verifier *v, struct dkim_signature *answer,
                           const struct header_field *written, struct dkim_field *field, int64_t now_unix)
{
    const char *fault = dkim_field_parse(v->mem, written->value, field);

    answer->domain = field->domain;
    answer->selector = field->selector;
    answer->identity = field->identity;
    answer->algorithm = field->algorithm_name;
    answer->b_prefix = field->b_prefix;
    if (fault != NULL)
        settle(answer, DKIM_PERMERROR, fault);
    else if (field->algorithm == DKIM_RSA_SHA1)
        settle(answer, v->settings.sha1 == DKIM_SHA1_NEUTRAL ? DKIM_NEUTRAL : DKIM_POLICY,
               "rsa-sha1 proves nothing any more"); /* RFC 8301 3.1 */
    else if (field->signed_unix - GRACE_S > now_unix)
        settle(answer, DKIM_POLICY, "the signature is from the future");
    else if (field->expires_unix < now_unix - GRACE_S)
        settle(answer, DKIM_FAIL, "the signature has expired");
    else
        return true;
    return false;
}

static bool is_same_signature(const struct dkim_field *a, const struct dkim_field *b)
{
    return strcmp(a->domain, b->domain) == 0 && strcmp(a->selector, b->selector) == 0 &&
           a->algorithm == b->algorithm && a->signature_bytes == b->signature_bytes &&
           memcmp(a->signature, b->signature, a->signature_bytes) == 0;
}

struct candidate {
    struct dkim_field field;
    size_t index; /* in the header */
    bool open;    /* neither settled nor chosen yet */
};

static void start_check(struct dkim_verifier *v, const struct candidate *it, struct dkim_signature *answer,
                        struct dkim_fields *fields, struct dkim_hash *hash)
{
    struct dkim_own own = {&v->header->fields[it->index], it->field.b_whole};
    struct check *c = &v->checks[v->checks_count++];

    c->verifier = v;
    c->field = &it->field;
    c->answer = answer;
    c->body = dkim_bodies_want(v->bodies, c->field->body_canon, c->field->has_length, c->field->length);
    dkim_fields_hash(fields, c->field->header_canon, c->field->names, &own, hash, c->header_digest);
    start_lookup(c);
}

static bool is_checked_already(const struct dkim_verifier *v, const struct dkim_field *field)
{
    for (size_t i = 0; i < v->checks_count; i++)
        if (is_same_signature(v->checks[i].field, field))
            return true;
    return false;
}

/* Aligned domains first, for DMARC asks for no others; then in the order of the header. */
static void start_checks(struct dkim_verifier *v, struct dkim_signature *answers,
                         struct candidate *candidates, const char *from_domain)
{
    size_t most = v->settings.max_signatures < v->answer.count ? v->settings.max_signatures : v->answer.count;
    struct dkim_fields *fields = dkim_fields_new(v->mem, v->header);
    struct dkim_hash *hash = dkim_hash_new();

    v->checks = ARENA_ARRAY(v->mem, struct check, most);
    v->bodies = dkim_bodies_new(v->mem, most);
    for (int round = 0; round < 2; round++)
        for (size_t i = 0; i < v->answer.count && v->checks_count < most; i++) {
            struct candidate *it = &candidates[i];

            if (!it->open || (round == 0 && !is_aligned(it->field.domain, from_domain)))
                continue;
            it->open = false;
            if (is_checked_already(v, &it->field))
                settle(&answers[i], DKIM_POLICY, "not evaluated: the same signature is there twice");
            else
                start_check(v, it, &answers[i], fields, hash);
        }
    dkim_hash_drop(&hash);
}

struct dkim_verifier *dkim_verify_start(struct arena *mem, struct dns *dns, struct dkim_keys *keys,
                                        const struct dkim_settings *settings, const struct header *header,
                                        const char *from_domain, int64_t now_unix)
{
    struct dkim_verifier *v = ARENA_NEW(mem, struct dkim_verifier);
    struct dkim_signature *answers;
    struct candidate *candidates;
    size_t n = 0, open = 0;

    v->mem = mem;
    v->dns = dns;
    v->keys = keys;
    v->settings = *settings;
    v->header = header;
    v->answer.count = header_count(header, "DKIM-Signature");
    if (v->answer.count == 0)
        return v;
    v->answer.signatures = answers = ARENA_ARRAY(mem, struct dkim_signature, v->answer.count);
    candidates = ARENA_ARRAY(mem, struct candidate, v->answer.count);
    for (size_t i = 0; i < header->count; i++) {
        if (!str_same_z(header->fields[i].name, "DKIM-Signature"))
            continue;
        settle(&answers[n], DKIM_POLICY, "not evaluated: there are too many signatures");
        candidates[n].index = i;
        candidates[n].open =
            judge_by_field(v, &answers[n], &header->fields[i], &candidates[n].field, now_unix);
        open += candidates[n++].open ? 1 : 0;
    }
    if (open > 0)
        start_checks(v, answers, candidates, from_domain);
    return v;
}

/* ---- the course of the message ---- */

void dkim_verify_body(struct dkim_verifier *v, struct str piece)
{
    if (v->ended)
        bug("dkim_verify_body after dkim_verify_end");
    if (v->bodies != NULL)
        dkim_bodies_add(v->bodies, piece);
}

void dkim_verify_end(struct dkim_verifier *v, dkim_done_fn *done, void *arg)
{
    if (v->ended)
        bug("dkim_verify_end twice");
    if (v->bodies != NULL)
        dkim_bodies_end(v->bodies);
    v->ended = true;
    v->done = done;
    v->arg = arg;
    /* All keys are there, but `done` must not run before we return: the empty name is no question to the
     * network, and its answer comes on the next turn of the loop, which is all that is wanted of it
     * (dns/dns.h, Timing). */
    if (v->waiting == 0)
        v->next_turn = dns_query(v->dns, DNS_TXT, "", on_next_turn, v);
}

/* No callback comes after this, and OpenSSL holds nothing for us. */
static void stop(struct dkim_verifier *v)
{
    dns_cancel(&v->next_turn);
    for (size_t i = 0; i < v->checks_count; i++)
        dns_cancel(&v->checks[i].pending);
    if (v->bodies != NULL)
        dkim_bodies_drop(v->bodies);
}

const struct dkim_answer *dkim_verify_finish(struct dkim_verifier **verifier)
{
    struct dkim_verifier *v = *verifier;

    if (!v->ended)
        bug("dkim_verify_finish before dkim_verify_end");
    stop(v);
    conclude(v);
    *verifier = NULL;
    return &v->answer;
}

void dkim_verify_cancel(struct dkim_verifier **verifier)
{
    if (*verifier != NULL)
        stop(*verifier);
    *verifier = NULL;
}
