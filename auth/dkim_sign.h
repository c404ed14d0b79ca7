/*
 * auth/dkim_sign.h - DKIM-Signature fields for a message that leaves          RFC 6376 5, 8301, 8463
 *
 * Use        dkim_sign_start() when the header is as it will leave, dkim_sign_body() for each piece of the
 *            body, dkim_sign_end() gives the fields, which go on top. The body is hashed once for all keys.
 * Ownership  Memory from `mem`; header, settings and keys must live until the end. OpenSSL's memory is held
 *            until dkim_sign_end() or dkim_sign_cancel().
 * Promises   Nothing is signed that has not exactly one From field with an address in it. Every occurrence
 *            of a listed field is signed, and those of `oversign` once more than they occur, so that nobody
 *            can add one (RFC 6376 8.15). The whole body is signed: there is no l=. Lines have 78 columns
 *            at most unless a name is longer. Each field verifies with auth/dkim.h.
 * Limits     256 names in h=, so a message with more such fields is not signed.
 */
#ifndef AUTH_DKIM_SIGN_H
#define AUTH_DKIM_SIGN_H

#include "auth/dkim_private.h"

struct dkim_sign_settings {
    enum dkim_canon header_canon, body_canon;
    const char *const *fields; /* signed as often as they occur; From always is. count 0: the default list */
    size_t fields_count;
    const char *const *oversign;
    size_t oversign_count;
    bool with_time;        /* t= */
    int64_t valid_s;       /* x= that long after now; 0: no x= */
    bool even_when_signed; /* without this a key whose valid signature is there already signs nothing */
};

struct dkim_sign_key {
    const char *domain, *selector; /* lower case A-labels */
    const char *identity;          /* i=; NULL or outside of `domain`: no i= (as OpenDKIM does) */
    const struct dkim_private *key;
};

struct dkim_signer;

/* NULL, with a sentence, when nothing may be signed. `keys` is copied, not what it points to. */
struct dkim_signer *dkim_sign_start(struct arena *mem, const struct dkim_sign_settings *settings,
                                    const struct header *header, const struct dkim_sign_key *keys,
                                    size_t count, int64_t now_unix, const char **why_out);
void dkim_sign_body(struct dkim_signer *signer, struct str piece);
/* The fields, each with its CRLF, the first key's on top; empty when all keys have signed already. */
struct str dkim_sign_end(struct dkim_signer **signer);
void dkim_sign_cancel(struct dkim_signer **signer); /* NULL is fine; both leave NULL */

/* What is signed by default (RFC 6376 5.4.1, RFC 8058 4), in the order of h=. */
extern const char *const dkim_sign_fields[];
extern const size_t dkim_sign_fields_count;

#endif
