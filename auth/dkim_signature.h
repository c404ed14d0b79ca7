/*
 * auth/dkim_signature.h - tag lists, and the DKIM-Signature field     RFC 6376 3.2, 3.5, RFC 8616
 *
 * Ownership  Tags are views into the text; what a field's parse had to decode comes from `mem`.
 * Limits     DKIM_TAGS_MAX tags, DKIM_NAMES_MAX names in h=, DKIM_B_MAX characters in b= (RSA-4096 needs
 *            700).
 * Errors     A parse returns NULL when all is well, or a sentence: which is then the reason of a permerror.
 */
#ifndef AUTH_DKIM_SIGNATURE_H
#define AUTH_DKIM_SIGNATURE_H

#include "auth/dkim_canon.h"

enum { DKIM_TAGS_MAX = 64, DKIM_NAMES_MAX = 256, DKIM_B_MAX = 4096, DKIM_HASH_BYTES = 32 };

struct dkim_tag {
    struct str name;
    struct str value; /* without the blanks around it */
    struct str whole; /* with them: all between "=" and ";" */
};

struct dkim_tags {
    size_t count;
    struct dkim_tag tags[DKIM_TAGS_MAX];
};

const char *dkim_tags_parse(struct str text, struct dkim_tags *tags_out);
const struct dkim_tag *dkim_tags_find(const struct dkim_tags *tags, const char *name);

/* One word of a colon-separated list, blanks allowed around each, ASCII case ignored. */
bool dkim_list_has(struct str list, const char *word);

enum dkim_algorithm { DKIM_RSA_SHA256, DKIM_ED25519_SHA256, DKIM_RSA_SHA1 };

struct dkim_field {
    const char *domain, *selector; /* lower case A-labels; "" when they could not be read */
    const char *identity;          /* i= decoded, or "@" and d= */
    const char *algorithm_name;    /* a= in lower case, known or not; "" when it is no word */
    enum dkim_algorithm algorithm;
    enum dkim_canon header_canon, body_canon;
    struct str names;   /* h=: between its blanks and colons valid field names, From among them */
    struct str b_whole; /* what is cut out of the field before it is hashed */
    struct str b_prefix;
    const uint8_t *signature;
    size_t signature_bytes;
    uint8_t body_hash[DKIM_HASH_BYTES];
    bool below_domain;    /* the domain of i= is a true subdomain of d=: t=s of the key forbids it */
    bool has_length;      /* l= is there */
    uint64_t length;      /* l=; here and below, numbers too large to hold are the largest that can be held */
    int64_t signed_unix;  /* t=; 0 when absent */
    int64_t expires_unix; /* x=; INT64_MAX when absent */
};

/* What could be read is filled in even when the answer is a fault. rsa-sha1 is none: it is for policy. */
const char *dkim_field_parse(struct arena *mem, struct str value, struct dkim_field *field_out);

/* The two signatures of ARC are DKIM's with less: no v=, i= is a number that the caller reads, h= may be
 * empty and without From; a seal has no body and no h=, and is always relaxed (RFC 8617 4.1.2, 4.1.3). */
enum dkim_field_kind { DKIM_FIELD_ARC_MESSAGE, DKIM_FIELD_ARC_SEAL };
const char *dkim_field_parse_arc(struct arena *mem, const struct dkim_tags *tags, enum dkim_field_kind kind,
                                 struct dkim_field *field_out);

#endif
