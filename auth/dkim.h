/*
 * auth/dkim.h - whose signatures does this message carry?             RFC 6376, 8301, 8463, 8616
 *
 * Use        dkim_verify_start() when the header section is complete (key lookups begin), dkim_verify_body()
 *            for each piece of the body as it comes, dkim_verify_end() at its end. `done` runs when keys and
 *            body are both there.
 * Ownership  Memory from `mem`; `header` and the bytes it views must live until the answer. Body pieces are
 *            read at once and not kept. OpenSSL's memory, which the arena does not know, is held from the
 *            start to dkim_verify_end() only: before `mem` goes, a verifier was ended, finished or cancelled.
 * Timing     `done` exactly once, never before dkim_verify_end() has returned, never after
 *            dkim_verify_cancel() or dkim_verify_finish(). These two are safe at any later time, also after
 *            `done`, while `mem` lives. The caller has the deadline; dkim_verify_finish() takes what is
 *            there, unanswered keys are temperror.
 * Limits     `max_signatures` are evaluated (aligned domains first, duplicates skipped), the rest is reported
 *            as policy. RSA keys min_rsa_bits to 4096, else policy; rsa-sha1 is never judged. 256 names in
 *            h=, 4,096 characters in b=, 4,096 octets a key record; of several records for a key the first
 *            four are tried. Each distinct (canonicalisation, hash, l=) is hashed once.
 */
#ifndef AUTH_DKIM_H
#define AUTH_DKIM_H

#include "base/clock.h"
#include "base/mode.h"
#include "dns/dns.h"
#include "smtp/header.h"

enum dkim_result {
    DKIM_NONE,
    DKIM_PASS,
    DKIM_FAIL,
    DKIM_POLICY,
    DKIM_NEUTRAL,
    DKIM_TEMPERROR,
    DKIM_PERMERROR,
};

/* What an rsa-sha1 signature is: never a pass, nor a fail (RFC 8301 3.1). */
enum dkim_sha1 { DKIM_SHA1_POLICY, DKIM_SHA1_NEUTRAL };

struct dkim_settings {
    enum mode mode;
    unsigned min_rsa_bits;
    unsigned max_signatures;
    enum dkim_sha1 sha1;
};

struct dkim_signature {
    enum dkim_result result;
    const char *domain;    /* d=, lower case A-labels; "" when it could not be read */
    const char *selector;  /* s= */
    const char *identity;  /* i=, or "@" and d= */
    const char *algorithm; /* a= */
    unsigned bits;         /* of the key; 0 when there was none */
    bool testing;          /* key has t=y: treat the message as if unsigned (RFC 6376 3.6.1) */
    bool partial;          /* l= is shorter than the body: never counts for alignment */
    struct str b_prefix;   /* first 8 characters of b=, for header.b (RFC 6008) */
    const char *reason;    /* one sentence; "" on pass */
};

struct dkim_answer {
    size_t count;
    const struct dkim_signature *signatures; /* in the order of the header, top down */
};

/* Parsed public keys, one cache a worker. Keyed by the text of the record: a changed record is another key.
 * The least recently used one goes when `entries_max` are there, and all that were not used for a day. */
struct dkim_keys;
struct dkim_keys *dkim_keys_new(size_t entries_max, const struct clock *clock);
void dkim_keys_free(struct dkim_keys **keys);

struct dkim_verifier;
typedef void dkim_done_fn(const struct dkim_answer *answer, void *arg);

/* from_domain: of the From field, to evaluate aligned signatures first; NULL when there is none. `keys` may
 * be NULL. `settings` are copied. */
struct dkim_verifier *dkim_verify_start(struct arena *mem, struct dns *dns, struct dkim_keys *keys,
                                        const struct dkim_settings *settings, const struct header *header,
                                        const char *from_domain, int64_t now_unix);
void dkim_verify_body(struct dkim_verifier *verifier, struct str piece);
void dkim_verify_end(struct dkim_verifier *verifier, dkim_done_fn *done, void *arg);
/* After dkim_verify_end(); without `done`. */
const struct dkim_answer *dkim_verify_finish(struct dkim_verifier **verifier);
/* NULL is fine; both leave NULL. To be called at the end of a transaction in every case; the answer stays. */
void dkim_verify_cancel(struct dkim_verifier **verifier);

const char *dkim_result_name(enum dkim_result r); /* RFC 8601 2.7.1 */

#endif
