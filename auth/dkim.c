#include "auth/dkim.h"

#include "auth/dkim_key.h"
#include "base/bug.h"

#include <string.h>

enum {
    GRACE_S = 300,       /* for clocks that do not agree */
    RECORDS_TRIED = 4,   /* key records of one name */
    RSA_BITS_MAX = 4096, /* RFC 8301 3.2 wants these; what is longer only costs time */
};

/* One pass over the body, shared by all signatures with the same canonicalization and the same l=. */
struct body_hash {
    enum dkim_canon canon;
    bool has_length;
    uint64_t length, left;
    struct dkim_hash *hash; /* until dkim_verify_end() */
    uint8_t digest[DKIM_HASH_BYTES];
};

/* One signature that is evaluated. */
struct check {
    struct dkim_verifier *verifier;
    const struct dkim_field *field;
    struct dkim_signature *answer; /* pass or fail until the body has its say */
    const struct body_hash *body;
    struct dns_token *pending; /* the key */
    uint8_t header_digest[DKIM_HASH_BYTES];
};

struct dkim_verifier {
    struct arena *mem;
    struct dns *dns;
    struct dkim_keys *keys;
    struct dkim_settings settings;
    const struct header *header;
    const uint32_t *name_hashes; /* of each field, for h= */
    size_t *taken_by;            /* of each field: the check that hashed it last, counted from 1 */

    size_t checks_count, bodies_count, waiting; /* waiting: keys not there yet */
    struct check *checks;
    struct body_hash *bodies;
    struct dkim_canon_body *canons[2]; /* by enum dkim_canon; NULL when no signature wants it */

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
    uint64_t length = c->verifier->canons[c->body->canon]->out.bytes;

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

static void judge_by_key(const struct check *c, const struct dkim_key *key, struct dkim_signature *answer)
{
    const struct dkim_field *field = c->field;

    answer->testing = key->testing;
    answer->bits = key->bits;
    if (key->fault != NULL)
        settle(answer, DKIM_PERMERROR, key->fault);
    else if (key->ed25519 != (field->algorithm == DKIM_ED25519_SHA256))
        settle(answer, DKIM_PERMERROR, "the key is of another type than a=");
    else if (key->strict && field->below_domain)
        settle(answer, DKIM_PERMERROR, "the key demands that i= is at d= itself");
    else if (!key->ed25519 && key->bits < c->verifier->settings.min_rsa_bits)
        settle(answer, DKIM_POLICY, "the RSA key is too short");
    else if (!key->ed25519 && key->bits > RSA_BITS_MAX)
        settle(answer, DKIM_POLICY, "the RSA key is too long");
    else if (!dkim_key_verify(key, c->header_digest, field->signature, field->signature_bytes))
        settle(answer, DKIM_FAIL, "the signature does not fit the header");
    else
        settle(answer, DKIM_PASS, "");
}

static void judge_by_record(const struct check *c, struct str record, struct dkim_signature *answer)
{
    struct dkim_keys *keys = c->verifier->keys;
    struct dkim_key *own = NULL;

    if (keys == NULL)
        own = dkim_key_new(record);
    judge_by_key(c, own != NULL ? own : dkim_keys_get(keys, record), answer);
    dkim_key_free(&own);
}

/* Of several records any may be the key, and a stray TXT is none: the first that verifies decides, else the
 * first that was a key at all, so that the order of an answer does not matter (RFC 6376 6.1.2, step 4). */
static void judge_by_records(const struct check *c, const struct dns_answer *found)
{
    struct dkim_signature best = *c->answer;

    for (size_t i = 0; i < found->count && i < RECORDS_TRIED; i++) {
        struct dkim_signature tried = *c->answer;

        judge_by_record(c, found->records[i].text, &tried);
        if (i == 0 || tried.result == DKIM_PASS ||
            (best.result == DKIM_PERMERROR && tried.result != DKIM_PERMERROR))
            best = tried;
        if (best.result == DKIM_PASS)
            break;
    }
    *c->answer = best;
}

static void on_key(const struct dns_answer *found, void *arg)
{
    struct check *c = arg;
    struct dkim_verifier *v = c->verifier;

    c->pending = NULL;
    v->waiting--;
    if (found->status == DNS_OK)
        judge_by_records(c, found);
    else if (dns_is_temporary(found->status))
        settle(c->answer, DKIM_TEMPERROR, "the DNS did not answer for the key");
    else
        settle(c->answer, DKIM_PERMERROR, "there is no key");
    if (v->ended && v->waiting == 0)
        finish(v);
}

static void start_lookup(struct check *c)
{
    struct dkim_verifier *v = c->verifier;
    const char *name = str_fmt(v->mem, "%s._domainkey.%s", c->field->selector, c->field->domain);

    settle(c->answer, DKIM_TEMPERROR, "the DNS did not answer for the key");
    c->pending = dns_query(v->dns, DNS_TXT, name, on_key, c);
    v->waiting++;
}

/* ---- the hash of the header (RFC 6376 3.7, 5.4.2) ---- */

static uint32_t name_hash(struct str name)
{
    uint32_t hash = 2166136261u; /* FNV-1a; names with equal hashes are compared, so collisions cost little */

    for (size_t i = 0; i < name.n; i++)
        hash = (hash ^ (uint8_t)ascii_lower(name.p[i])) * 16777619u;
    return hash;
}

static void index_names(struct dkim_verifier *v)
{
    uint32_t *hashes = ARENA_ARRAY(v->mem, uint32_t, v->header->count);

    for (size_t i = 0; i < v->header->count; i++)
        hashes[i] = name_hash(v->header->fields[i].name);
    v->name_hashes = hashes;
    v->taken_by = ARENA_ARRAY(v->mem, size_t, v->header->count);
}

/* The lowest field of that name that this check has not hashed yet; NULL: it signs the absence of one. */
static const struct header_field *take_field(struct dkim_verifier *v, struct str name, size_t check)
{
    uint32_t hash = name_hash(name);

    for (size_t i = v->header->count; i-- > 0;)
        if (v->name_hashes[i] == hash && v->taken_by[i] != check &&
            str_same(v->header->fields[i].name, name)) {
            v->taken_by[i] = check;
            return &v->header->fields[i];
        }
    return NULL;
}

static void to_hash(void *arg, const char *p, size_t n)
{
    dkim_hash_add(arg, p, n);
}

static void hash_header(struct check *c, size_t check, size_t own_index, struct dkim_hash *hash)
{
    struct dkim_verifier *v = c->verifier;
    const struct dkim_field *field = c->field;
    struct dkim_canon_out out;
    struct str name, rest = field->names;
    bool more = true;

    dkim_canon_out_init(&out, to_hash, hash);
    v->taken_by[own_index] = check; /* the signature itself comes last, never by h= (RFC 6376 3.5, h=) */
    while (more) {
        const struct header_field *signed_field;

        more = str_cut(rest, ':', &name, &rest);
        signed_field = take_field(v, str_trim(name), check);
        if (signed_field != NULL)
            dkim_canon_header(&out, field->header_canon, signed_field);
    }
    dkim_canon_signature(&out, field->header_canon, &v->header->fields[own_index], field->b_whole);
    dkim_canon_flush(&out);
    dkim_hash_restart(hash, c->header_digest);
}

/* ---- the hashes of the body ---- */

/* Each hash takes what l= has left for it. */
static void feed_bodies(struct dkim_verifier *v, enum dkim_canon canon, const char *p, size_t n)
{
    for (size_t i = 0; i < v->bodies_count; i++) {
        struct body_hash *body = &v->bodies[i];
        size_t part = body->left < n ? (size_t)body->left : n;

        if (body->canon != canon || part == 0)
            continue;
        dkim_hash_add(body->hash, p, part);
        body->left -= part;
    }
}

static void on_simple(void *arg, const char *p, size_t n)
{
    feed_bodies(arg, DKIM_SIMPLE, p, n);
}

static void on_relaxed(void *arg, const char *p, size_t n)
{
    feed_bodies(arg, DKIM_RELAXED, p, n);
}

static struct body_hash *body_hash_for(struct dkim_verifier *v, const struct dkim_field *field)
{
    struct dkim_canon_body **canon = &v->canons[field->body_canon];
    struct body_hash *body;

    for (size_t i = 0; i < v->bodies_count; i++) {
        body = &v->bodies[i];
        if (body->canon == field->body_canon && body->has_length == field->has_length &&
            body->length == field->length)
            return body;
    }
    if (*canon == NULL) {
        *canon = ARENA_NEW(v->mem, struct dkim_canon_body);
        dkim_canon_body_init(*canon, field->body_canon,
                             field->body_canon == DKIM_SIMPLE ? on_simple : on_relaxed, v);
    }
    body = &v->bodies[v->bodies_count++];
    body->canon = field->body_canon;
    body->has_length = field->has_length;
    body->length = field->length;
    body->left = field->has_length ? field->length : UINT64_MAX;
    body->hash = dkim_hash_new();
    return body;
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
        settle(answer, DKIM_POLICY, "rsa-sha1 proves nothing any more"); /* RFC 8301 3.1 */
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
                        struct dkim_hash *hash)
{
    struct check *c = &v->checks[v->checks_count++];

    c->verifier = v;
    c->field = &it->field;
    c->answer = answer;
    c->body = body_hash_for(v, c->field);
    hash_header(c, v->checks_count, it->index, hash);
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
    struct dkim_hash *hash = dkim_hash_new();

    index_names(v);
    v->checks = ARENA_ARRAY(v->mem, struct check, most);
    v->bodies = ARENA_ARRAY(v->mem, struct body_hash, most);
    for (int round = 0; round < 2; round++)
        for (size_t i = 0; i < v->answer.count && v->checks_count < most; i++) {
            struct candidate *it = &candidates[i];

            if (!it->open || (round == 0 && !is_aligned(it->field.domain, from_domain)))
                continue;
            it->open = false;
            if (is_checked_already(v, &it->field))
                settle(&answers[i], DKIM_POLICY, "not evaluated: the same signature is there twice");
            else
                start_check(v, it, &answers[i], hash);
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
    for (size_t i = 0; i < COUNT(v->canons); i++)
        if (v->canons[i] != NULL)
            dkim_canon_body_add(v->canons[i], piece);
}

void dkim_verify_end(struct dkim_verifier *v, dkim_done_fn *done, void *arg)
{
    if (v->ended)
        bug("dkim_verify_end twice");
    for (size_t i = 0; i < COUNT(v->canons); i++)
        if (v->canons[i] != NULL)
            dkim_canon_body_end(v->canons[i]);
    for (size_t i = 0; i < v->bodies_count; i++)
        dkim_hash_end(&v->bodies[i].hash, v->bodies[i].digest);
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
    for (size_t i = 0; i < v->bodies_count; i++)
        dkim_hash_drop(&v->bodies[i].hash);
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
