/*
 * auth/dkim_key.h - key records, public keys and hashes                  (the door to OpenSSL for signatures)
 *                                                                        RFC 6376 3.6, 8301, 8463
 *
 * Ownership  dkim_key_new() and dkim_hash_new() give what dkim_key_free() and dkim_hash_end() or _drop()
 *            take. A key of dkim_keys_get() is borrowed, until the next dkim_keys_get() of the same cache.
 * Limits     Records of DKIM_RECORD_MAX octets; RSA exponents of 64 bits (a longer one makes verifying as
 *            slow as signing). The size of keys is judged by the caller, who knows the settings.
 * Errors     A broken record is a key with a `fault`: the reason of a permerror (RFC 6376 6.1.2).
 * Threads    A cache, its keys and a hash belong to one thread.
 */
#ifndef AUTH_DKIM_KEY_H
#define AUTH_DKIM_KEY_H

#include "auth/dkim_signature.h"

struct dkim_keys; /* see auth/dkim.h */

enum { DKIM_RECORD_MAX = 4096 };

struct dkim_record {
    bool ed25519;    /* k=; RSA otherwise */
    bool testing;    /* t=y */
    bool strict;     /* t=s: the domain of i= must be d= itself */
    struct str data; /* p=, base64 */
};

/* NULL when the record can serve for e-mail signed over SHA-256, otherwise why it cannot. */
const char *dkim_record_parse(struct str text, struct dkim_record *record_out);

struct dkim_key {
    const char *fault; /* NULL when the key can be used */
    bool ed25519, testing, strict;
    unsigned bits;
};

struct dkim_key *dkim_key_new(struct str record);
void dkim_key_free(struct dkim_key **key);
bool dkim_key_verify(const struct dkim_key *key, const uint8_t hash[DKIM_HASH_BYTES],
                     const uint8_t *signature, size_t n);

const struct dkim_key *dkim_keys_get(struct dkim_keys *keys, struct str record);
size_t dkim_keys_count(const struct dkim_keys *keys);

/* SHA-256 of what is added. */
struct dkim_hash;
struct dkim_hash *dkim_hash_new(void);
void dkim_hash_add(struct dkim_hash *hash, const char *p, size_t n);
void dkim_hash_restart(struct dkim_hash *hash, uint8_t hash_out[DKIM_HASH_BYTES]); /* like _end and _new */
struct dkim_hash *
dkim_hash_fork(const struct dkim_hash *hash); /* another that has had all that this one had */
void dkim_hash_end(struct dkim_hash **hash, uint8_t hash_out[DKIM_HASH_BYTES]);
void dkim_hash_drop(struct dkim_hash **hash); /* NULL is fine; leaves NULL */

#endif
