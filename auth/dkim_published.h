/*
 * auth/dkim_published.h - can the world see this key?                   RFC 6376 3.6.1, 6.1.2
 *
 * Pure: what the DNS answered for SELECTOR._domainkey.DOMAIN, compared with a private key. What the signer
 * asks before it uses a key, and what `smtpguard dkim check` prints.
 */
#ifndef AUTH_DKIM_PUBLISHED_H
#define AUTH_DKIM_PUBLISHED_H

#include "auth/dkim_private.h"
#include "dns/dns.h"

enum dkim_published_state {
    DKIM_PUBLISHED,   /* the record is there and, if a key was given, it is that key's */
    DKIM_UNPUBLISHED, /* no such name, or no TXT record there */
    DKIM_OTHER_KEY,   /* the record is another key's */
    DKIM_REVOKED,     /* p= is empty */
    DKIM_BROKEN,      /* verifiers cannot use the record */
    DKIM_AMBIGUOUS,   /* several records: a verifier may take any of them (RFC 6376 3.6.2.2) */
    DKIM_UNANSWERED,  /* the DNS had trouble: it says nothing about the key */
};

struct dkim_published {
    enum dkim_published_state state;
    const char *reason;  /* one sentence */
    const char *warning; /* the key can be used, but …; NULL: nothing to say */
    bool ed25519;        /* of the record; here and below false and 0 when there is none to be used */
    unsigned bits;
};

/* `key` may be NULL: then only the record is judged. */
struct dkim_published dkim_published_judge(const struct dkim_private *key, const struct dns_answer *answer);

const char *dkim_published_name(enum dkim_published_state state); /* "published", "other-key", … */

#endif
