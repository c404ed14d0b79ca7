/*
 * tests/dkimsign.h - signs messages for tests, in the plainest way             RFC 6376, 8463
 *
 * Shares no line with auth/: what it canonicalizes octet by octet, on whole strings, is the other opinion
 * that the verifier is tested against. Everything is allocated from `mem` but keys. Fails the test on
 * whatever goes wrong.
 */
#ifndef TESTS_DKIMSIGN_H
#define TESTS_DKIMSIGN_H

#include "base/str.h"

struct dkimsign_key;
struct dkimsign_key *dkimsign_key_rsa(unsigned bits);
struct dkimsign_key *dkimsign_key_ed25519(void);
void dkimsign_key_free(struct dkimsign_key **key);

enum dkimsign_form { DKIMSIGN_SPKI, DKIMSIGN_BARE }; /* bare: RSAPublicKey without the wrapping */
const char *dkimsign_p(struct arena *mem, const struct dkimsign_key *key, enum dkimsign_form form);
/* "v=DKIM1; k=…; p=…" */
const char *dkimsign_record(struct arena *mem, const struct dkimsign_key *key);

struct dkimsign {
    const struct dkimsign_key *key;
    const char *d, *s;
    const char *c; /* NULL: simple/simple, and no c= */
    const char *h;
    const char *extra; /* more tags, "l=3; t=1; "; NULL for none. l= is obeyed. */
    const char *a;     /* claims another algorithm than it uses; NULL for the true one */
};

/* The DKIM-Signature field with its CRLF. b= is folded and stands before bh=. */
struct str dkimsign_field(struct arena *mem, const struct dkimsign *how, struct str section, struct str body);
/* The section with the field on top. */
struct str dkimsign_section(struct arena *mem, const struct dkimsign *how, struct str section,
                            struct str body);

/* b= over a text that is canonical already, and bh= of a body; for the fields of ARC. */
const char *dkimsign_b(struct arena *mem, const struct dkimsign_key *key, struct str text);
const char *dkimsign_bh(struct arena *mem, struct str canonical_body);

/* The other opinions themselves. */
struct str dkimsign_relaxed_field(struct arena *mem, struct str field);
struct str dkimsign_relaxed_body(struct arena *mem, struct str body);
struct str dkimsign_simple_body(struct arena *mem, struct str body);

#endif
