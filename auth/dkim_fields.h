/*
 * auth/dkim_fields.h - the header as a signature sees it: by name, from below     RFC 6376 3.7, 5.4.2
 *
 * Ownership  From `mem`; the header and the bytes it views live as long.
 * Limits     A name costs one pass over the hashes of the header's names.
 */
#ifndef AUTH_DKIM_FIELDS_H
#define AUTH_DKIM_FIELDS_H

#include "auth/dkim_key.h"

struct dkim_fields;
struct dkim_fields *dkim_fields_new(struct arena *mem, const struct header *header);

/* The signature whose hash is made. */
struct dkim_own {
    const struct header_field *field; /* of this very header, or one that is not in it yet */
    struct str b_whole;               /* a view into its value: what is cut out */
};

/* The hash of the fields that `names` (h=) asks for, then of the signature's own field, which no name of the
 * list can mean. A name that has no field left signs the absence of one. */
void dkim_fields_hash(struct dkim_fields *fields, enum dkim_canon canon, struct str names,
                      const struct dkim_own *own, struct dkim_hash *hash, uint8_t hash_out[DKIM_HASH_BYTES]);

/* A dkim_canon's sink into a struct dkim_hash. */
void dkim_to_hash(void *hash, const char *p, size_t n);

#endif
