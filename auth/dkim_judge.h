/*
 * auth/dkim_judge.h - does the key that the DNS gave verify this signature?       RFC 6376 6.1.2, 6.1.3
 *
 * Pure, but for the cache of keys. Of several records the first four are tried: the first that verifies
 * decides, else the first that is a key at all.
 */
#ifndef AUTH_DKIM_JUDGE_H
#define AUTH_DKIM_JUDGE_H

#include "auth/dkim.h"
#include "auth/dkim_key.h"

struct dkim_claim {
    const struct dkim_field *field;
    const uint8_t *header_digest;
    unsigned min_rsa_bits;
};

struct dkim_verdict {
    enum dkim_result result; /* pass: the header's signature holds; the body has its say elsewhere */
    const char *reason;
    unsigned bits;
    bool testing;
};

/* `keys` may be NULL. */
struct dkim_verdict dkim_judge(const struct dkim_claim *claim, struct dkim_keys *keys,
                               const struct dns_answer *found);

/* Where the key of this signature is published. */
const char *dkim_key_name(struct arena *mem, const char *selector, const char *domain);

#endif
