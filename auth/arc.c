#include "auth/arc.h"

#include "auth/arc_set.h"
#include "auth/dkim_body.h"
#include "auth/dkim_fields.h"
#include "auth/dkim_judge.h"
#include "base/bug.h"

#include <string.h>

enum {
    GRACE_S = 300,    /* for clocks that do not agree */
    OLDER_TRIED = 10, /* message signatures below the last one */
};

/* One signature: a seal, or a message signature. */
struct check {
    const struct dkim_field *field;
    const struct key *key;
    const struct dkim_body_hash *body; /* NULL: a seal */
    struct dkim_verdict verdict;       /* temperror until the key is there */
    uint8_t header_digest[DKIM_HASH_BYTES];
};

/* One question to the DNS, for all signatures by that key. */
struct key {
    struct arc_verifier *verifier;
    const struct dkim_field *field; /* one of them */
    struct dns_token *pending;
};

struct arc_verifier {
    struct arena *mem;
    struct dns *dns;
    struct dkim_keys *keys;
    struct arc_settings settings;
    struct arc_chain chain;

    struct check *seals, *messages; /* one a set; the oldest messages have field NULL */
    struct dkim_bodies *bodies;     /* NULL: the form is wrong already, or there is no ARC */
    struct key *key_list;
    size_t keys_count, waiting; /* waiting: keys not there yet */

    bool ended;
    struct dns_token *next_turn;
    arc_done_fn *done;
    void *arg;
    struct arc_answer answer;
};

const char *arc_result_name(enum arc_result r)
{
    static const char *const names[] = {
        [ARC_NONE] = "none", [ARC_PASS] = "pass", [ARC_FAIL] = "fail", [ARC_TEMPERROR] = "temperror"};

    return names[r];
}

/* ---- the answer (RFC 8617 5.2, steps 4 to 7) ---- */

static bool body_fits(const struct arc_verifier *v, const struct check *c)
{
    /* What l= leaves out could be anybody's, so it must leave out nothing. */
    if (c->body->has_length && c->body->length != dkim_bodies_length(v->bodies, c->body->canon))
        return false;
    return memcmp(c->body->digest, c->field->body_hash, DKIM_HASH_BYTES) == 0;
}

static void settle(struct arc_verifier *v, enum arc_result result, const char *reason)
{
    v->answer.result = result;
    v->answer.reason = reason;
}

/* A definite failure of any part outweighs what could not be answered. */
static void add_verdict(struct arc_verifier *v, const struct check *c, const char *what, size_t instance)
{
    enum arc_result result = c->verdict.result == DKIM_TEMPERROR ? ARC_TEMPERROR : ARC_FAIL;

    if (c->verdict.result == DKIM_PASS || v->answer.result == ARC_FAIL)
        return;
    if (result == ARC_FAIL || v->answer.result == ARC_PASS)
        settle(v, result, str_fmt(v->mem, "%s i=%zu: %s", what, instance, c->verdict.reason));
}

static unsigned oldest_pass(const struct arc_verifier *v)
{
    for (size_t i = v->chain.count - 1; i-- > 0;) {
        const struct check *c = &v->messages[i];

        if (c->field == NULL || c->verdict.result != DKIM_PASS || !body_fits(v, c))
            return (unsigned)i + 2;
    }
    return 0;
}

/* Judging twice is the same as judging once. */
static void conclude(struct arc_verifier *v)
{
    size_t last = v->chain.count;
    struct check *message;

    if (v->bodies == NULL)
        return;
    message = &v->messages[last - 1];
    settle(v, ARC_PASS, "");
    add_verdict(v, message, "ARC-Message-Signature", last);
    if (v->answer.result != ARC_FAIL && !body_fits(v, message))
        settle(v, ARC_FAIL, str_fmt(v->mem, "ARC-Message-Signature i=%zu: the body was changed", last));
    for (size_t i = last; i-- > 0;)
        add_verdict(v, &v->seals[i], "ARC-Seal", i + 1);
    v->answer.oldest_pass = v->answer.result == ARC_PASS ? oldest_pass(v) : 0;
}

static void finish(struct arc_verifier *v)
{
    conclude(v);
    v->done(&v->answer, v->arg); /* last act: v may be gone now */
}

static void on_next_turn(const struct dns_answer *answer, void *arg)
{
    struct arc_verifier *v = arg;

    (void)answer;
    v->next_turn = NULL;
    finish(v);
}

/* ---- the keys ---- */

static void judge_one(struct check *c, const struct key *key, const struct dns_answer *found)
{
    const struct arc_verifier *v = key->verifier;
    struct dkim_claim claim = {c->field, c->header_digest, v->settings.min_rsa_bits};

    if (c->key == key)
        c->verdict = dkim_judge(&claim, v->keys, found);
}

static void on_key(const struct dns_answer *found, void *arg)
{
    struct key *key = arg;
    struct arc_verifier *v = key->verifier;

    key->pending = NULL;
    v->waiting--;
    for (size_t i = 0; i < v->chain.count; i++) {
        judge_one(&v->seals[i], key, found);
        judge_one(&v->messages[i], key, found);
    }
    if (v->ended && v->waiting == 0)
        finish(v);
}

static const struct key *key_for(struct arc_verifier *v, const struct dkim_field *field)
{
    struct key *key;

    for (size_t i = 0; i < v->keys_count; i++) {
        key = &v->key_list[i];
        if (strcmp(key->field->selector, field->selector) == 0 &&
            strcmp(key->field->domain, field->domain) == 0)
            return key;
    }
    key = &v->key_list[v->keys_count++];
    key->verifier = v;
    key->field = field;
    key->pending =
        dns_query(v->dns, DNS_TXT, dkim_key_name(v->mem, field->selector, field->domain), on_key, key);
    v->waiting++;
    return key;
}

static void start_lookup(struct arc_verifier *v, struct check *c)
{
    c->verdict =
        (struct dkim_verdict){.result = DKIM_TEMPERROR, .reason = "the DNS did not answer for the key"};
    c->key = key_for(v, c->field);
}

/* ---- what each signature covers ---- */

/* A seal covers all sets up to its own, each as results, message signature, seal, whatever their order in the
 * header; the last seal without b= (RFC 8617 5.1.1). What lies below is hashed once for all. */
static void hash_seals(struct arc_verifier *v)
{
    struct dkim_hash *below = dkim_hash_new(), *own;
    struct dkim_canon_out out;

    dkim_canon_out_init(&out, dkim_to_hash, below);
    for (size_t i = 0; i < v->chain.count; i++) {
        struct arc_fields *set = &v->chain.sets[i];
        struct check *c = &v->seals[i];

        c->field = &set->seal;
        dkim_canon_header(&out, DKIM_RELAXED, set->of[ARC_RESULTS]);
        dkim_canon_header(&out, DKIM_RELAXED, set->of[ARC_MESSAGE]);
        dkim_canon_flush(&out);
        own = dkim_hash_fork(below);
        out.arg = own;
        dkim_canon_signature(&out, DKIM_RELAXED, set->of[ARC_SEAL], set->seal.b_whole);
        dkim_canon_flush(&out);
        dkim_hash_end(&own, c->header_digest);
        out.arg = below;
        dkim_canon_header(&out, DKIM_RELAXED, set->of[ARC_SEAL]);
        start_lookup(v, c);
    }
    dkim_hash_drop(&below);
}

static void hash_messages(struct arc_verifier *v, const struct header *header)
{
    struct dkim_fields *fields = dkim_fields_new(v->mem, header);
    struct dkim_hash *hash = dkim_hash_new();

    for (size_t i = v->chain.count, tried = 0; i-- > 0 && tried <= OLDER_TRIED; tried++) {
        struct arc_fields *set = &v->chain.sets[i];
        const struct dkim_field *field = &set->message;
        struct dkim_own own = {set->of[ARC_MESSAGE], field->b_whole};
        struct check *c = &v->messages[i];

        c->field = field;
        c->body = dkim_bodies_want(v->bodies, field->body_canon, field->has_length, field->length);
        dkim_fields_hash(fields, field->header_canon, field->names, &own, hash, c->header_digest);
        start_lookup(v, c);
    }
    dkim_hash_drop(&hash);
}

/* ---- the start ---- */

static void tell_sets(struct arc_verifier *v)
{
    struct arc_set *sets = ARENA_ARRAY(v->mem, struct arc_set, v->chain.count);

    for (size_t i = 0; i < v->chain.count; i++) {
        const struct arc_fields *from = &v->chain.sets[i];
        struct arc_dmarc dmarc = arc_dmarc_parse(v->mem, from->results);

        sets[i].seal_domain = from->seal.domain != NULL ? from->seal.domain : "";
        sets[i].seal_selector = from->seal.selector != NULL ? from->seal.selector : "";
        sets[i].message_domain = from->message.domain != NULL ? from->message.domain : "";
        sets[i].results = from->results;
        sets[i].dmarc = dmarc.result;
        sets[i].dmarc_from = dmarc.from;
    }
    v->answer.instances = v->chain.count;
    v->answer.sets = sets;
    if (v->chain.count > 0)
        v->answer.sealer = sets[v->chain.count - 1].seal_domain;
}

struct arc_verifier *arc_verify_start(struct arena *mem, struct dns *dns, struct dkim_keys *keys,
                                      const struct arc_settings *settings, const struct header *header,
                                      int64_t now_unix)
{
    struct arc_verifier *v = ARENA_NEW(mem, struct arc_verifier);
    const char *fault;

    v->mem = mem;
    v->dns = dns;
    v->keys = keys;
    v->settings = *settings;
    v->answer.sealer = v->answer.reason = "";
    fault = arc_chain_parse(mem, header, settings->max_sets, &v->chain);
    tell_sets(v);
    if (fault == NULL && v->chain.count > 0 &&
        v->chain.sets[v->chain.count - 1].message.expires_unix < now_unix - GRACE_S)
        fault = "the last ARC-Message-Signature has expired";
    if (fault != NULL)
        settle(v, ARC_FAIL, fault);
    if (fault != NULL || v->chain.count == 0)
        return v;
    v->seals = ARENA_ARRAY(mem, struct check, v->chain.count);
    v->messages = ARENA_ARRAY(mem, struct check, v->chain.count);
    v->bodies = dkim_bodies_new(mem, OLDER_TRIED + 1);
    v->key_list = ARENA_ARRAY(mem, struct key, v->chain.count + OLDER_TRIED + 1);
    hash_seals(v);
    hash_messages(v, header);
    return v;
}

/* ---- the course of the message ---- */

void arc_verify_body(struct arc_verifier *v, struct str piece)
{
    if (v->ended)
        bug("arc_verify_body after arc_verify_end");
    if (v->bodies != NULL)
        dkim_bodies_add(v->bodies, piece);
}

void arc_verify_end(struct arc_verifier *v, arc_done_fn *done, void *arg)
{
    if (v->ended)
        bug("arc_verify_end twice");
    if (v->bodies != NULL)
        dkim_bodies_end(v->bodies);
    v->ended = true;
    v->done = done;
    v->arg = arg;
    /* As in auth/dkim.c: the empty name is no question to the network, only the next turn of the loop. */
    if (v->waiting == 0)
        v->next_turn = dns_query(v->dns, DNS_TXT, "", on_next_turn, v);
}

/* No callback comes after this, and OpenSSL holds nothing for us. */
static void stop(struct arc_verifier *v)
{
    dns_cancel(&v->next_turn);
    for (size_t i = 0; i < v->keys_count; i++)
        dns_cancel(&v->key_list[i].pending);
    if (v->bodies != NULL)
        dkim_bodies_drop(v->bodies);
}

const struct arc_answer *arc_verify_finish(struct arc_verifier **verifier)
{
    struct arc_verifier *v = *verifier;

    if (!v->ended)
        bug("arc_verify_finish before arc_verify_end");
    stop(v);
    conclude(v);
    *verifier = NULL;
    return &v->answer;
}

void arc_verify_cancel(struct arc_verifier **verifier)
{
    if (*verifier != NULL)
        stop(*verifier);
    *verifier = NULL;
}

/* ---- whom to believe ---- */

static bool is_trusted(const char *domain, const char *const *trusted, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (str_same_z(str_of(domain), trusted[i]))
            return true;
    return false;
}

bool arc_vouches(const struct arc_answer *answer, const char *const *trusted_sealers, size_t trusted_count,
                 const char *from_domain)
{
    if (answer->result != ARC_PASS || from_domain == NULL)
        return false;
    for (size_t i = answer->instances; i-- > 0;) {
        const struct arc_set *set = &answer->sets[i];

        if (!is_trusted(set->seal_domain, trusted_sealers, trusted_count))
            return false;
        if (strcmp(set->dmarc, "pass") == 0 && str_same_z(str_of(set->dmarc_from), from_domain))
            return true;
    }
    return false;
}
