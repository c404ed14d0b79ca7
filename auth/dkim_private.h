/*
 * auth/dkim_private.h - private keys: files, records, signatures         RFC 6376 3.3, 3.6.1, 8301, 8463
 *
 * Ownership  dkim_private_parse(), _read() and _generate() give what dkim_private_free() takes.
 * Form       PEM (PKCS#8, or PKCS#1 for RSA), not encrypted; or base64 alone, as OpenDKIM's KeyTable and
 *            dkimpy have it: DER, or the 32 octets of an Ed25519 key.
 * Limits     Files of 64 KiB; RSA of 1024 to 4096 bits (RFC 8301 3.2), Ed25519.
 * Threads    A key does not change: any number of threads may sign with it.
 */
#ifndef AUTH_DKIM_PRIVATE_H
#define AUTH_DKIM_PRIVATE_H

#include "auth/dkim_key.h"
#include "base/fail.h"

enum dkim_private_type { DKIM_PRIVATE_RSA_2048, DKIM_PRIVATE_RSA_4096, DKIM_PRIVATE_ED25519 };
enum { DKIM_SIGNATURE_MAX = 512 }; /* octets; RSA-4096 */

struct dkim_private;

struct dkim_private *dkim_private_parse(struct str text, struct fail *fail);
/* warning_out: a sentence when others than the owner can read the file, else NULL; from `mem`. */
struct dkim_private *dkim_private_read(struct arena *mem, const char *path, const char **warning_out,
                                       struct fail *fail);
struct dkim_private *dkim_private_generate(enum dkim_private_type type);
void dkim_private_free(struct dkim_private **key); /* NULL is fine; leaves NULL */

/* A new PEM file (PKCS#8), mode 0600, on disk when this returns; never over an old one. */
int dkim_private_write(const struct dkim_private *key, const char *path, struct fail *fail);

bool dkim_private_is_ed25519(const struct dkim_private *key);
unsigned dkim_private_bits(const struct dkim_private *key);

/* "v=DKIM1; k=…; p=…", what the DNS is to show. */
const char *dkim_private_record(struct arena *mem, const struct dkim_private *key);

/* The octets of the signature; DKIM_SIGNATURE_MAX is room enough. */
size_t dkim_private_sign(const struct dkim_private *key, const uint8_t hash[DKIM_HASH_BYTES],
                         uint8_t *signature_out);

/* Is this the key of that record? */
bool dkim_private_fits(const struct dkim_private *key, const struct dkim_key *record);

#endif
