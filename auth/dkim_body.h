/*
 * auth/dkim_body.h - the hashes of a body while it streams, each made once        RFC 6376 3.4, 3.7
 *
 * Ownership  Memory from `mem`; OpenSSL's, which the arena does not know, from dkim_bodies_want() until
 *            dkim_bodies_end() or dkim_bodies_drop().
 * Limits     `most` distinct hashes; a distinct (canonicalization, length) is one, and each canonicalization
 *            goes over the body once.
 */
#ifndef AUTH_DKIM_BODY_H
#define AUTH_DKIM_BODY_H

#include "auth/dkim_key.h"

struct dkim_body_hash {
    enum dkim_canon canon;
    bool has_length;
    uint64_t length, left;
    struct dkim_hash *hash; /* until the end */
    uint8_t digest[DKIM_HASH_BYTES];
};

struct dkim_bodies;
struct dkim_bodies *dkim_bodies_new(struct arena *mem, size_t most);
/* Before the first piece. Without has_length all of the body counts. */
const struct dkim_body_hash *dkim_bodies_want(struct dkim_bodies *bodies, enum dkim_canon canon,
                                              bool has_length, uint64_t length);
void dkim_bodies_add(struct dkim_bodies *bodies, struct str piece);
void dkim_bodies_end(struct dkim_bodies *bodies);  /* the digests are there */
void dkim_bodies_drop(struct dkim_bodies *bodies); /* fine at any time, also twice */

/* After the end: how long the whole body is in this form, which somebody wanted. */
uint64_t dkim_bodies_length(const struct dkim_bodies *bodies, enum dkim_canon canon);

#endif
