/*
 * auth/arc.h - what did those say who passed this message on?                          RFC 8617
 *
 * Use        As auth/dkim.h: arc_verify_start() when the header section is complete, arc_verify_body() for
 *            each piece of the body, arc_verify_end() at its end; `done` runs when keys and body are both
 *            there.
 * Ownership  Memory from `mem`; `header` and the bytes it views must live until the answer. OpenSSL's
 *            memory is held from the start to arc_verify_end() only.
 * Timing     `done` exactly once, never before arc_verify_end() has returned, never after
 *            arc_verify_cancel() or arc_verify_finish(), which are safe at any later time. The caller has
 *            the deadline.
 * Limits     50 sets, or fewer by max_sets; a key of one name is asked for once; RSA keys of min_rsa_bits
 *            to 4096. Of the message signatures below the last one, which only oldest_pass asks for, ten
 *            are looked at.
 * Result     A chain that a key's DNS trouble leaves open is ARC_TEMPERROR: RFC 8601 has no such word for
 *            ARC, and RFC 8617 leaves it to local policy. A broken key is fail. Nothing here is ever sealed.
 */
#ifndef AUTH_ARC_H
#define AUTH_ARC_H

#include "auth/dkim.h"

enum arc_result { ARC_NONE, ARC_PASS, ARC_FAIL, ARC_TEMPERROR };

struct arc_settings {
    enum mode mode;
    unsigned max_sets;
    unsigned min_rsa_bits;
};

/* What one hop said of the message as it came there. Only worth something in a chain that passes. */
struct arc_set {
    const char *seal_domain, *seal_selector; /* of its ARC-Seal; "" when they could not be read */
    const char *message_domain;              /* d= of its ARC-Message-Signature */
    struct str results;     /* its ARC-Authentication-Results behind "i=N;", folded as it came */
    const char *dmarc;      /* "pass", …; "" when it says nothing of DMARC, or two things */
    const char *dmarc_from; /* the domain that it says this of; "" when it does not name it */
};

struct arc_answer {
    enum arc_result result;
    size_t instances; /* the highest i=; `sets` has as many, instance 1 first */
    const struct arc_set *sets;
    unsigned oldest_pass; /* from this instance on the message is unchanged; 0: from the first (8617 5.2) */
    const char *sealer;   /* d= of the last seal; "" when there is none */
    const char *reason;   /* one sentence; "" on pass and none */
};

struct arc_verifier;
typedef void arc_done_fn(const struct arc_answer *answer, void *arg);

/* `keys` may be NULL, and may be that of DKIM. `settings` are copied. */
struct arc_verifier *arc_verify_start(struct arena *mem, struct dns *dns, struct dkim_keys *keys,
                                      const struct arc_settings *settings, const struct header *header,
                                      int64_t now_unix);
void arc_verify_body(struct arc_verifier *verifier, struct str piece);
void arc_verify_end(struct arc_verifier *verifier, arc_done_fn *done, void *arg);
const struct arc_answer *arc_verify_finish(struct arc_verifier **verifier); /* after arc_verify_end() */
void arc_verify_cancel(struct arc_verifier **verifier);

/* Does a trusted hop say that DMARC passed for this From domain when the message came to it? True when the
 * chain passes, and going back from the last set, all sealers being trusted, one has dmarc=pass for that
 * domain. */
bool arc_vouches(const struct arc_answer *answer, const char *const *trusted_sealers, size_t trusted_count,
                 const char *from_domain);

const char *arc_result_name(enum arc_result r);

#endif
