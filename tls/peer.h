/*
 * tls/peer.h - what a server's certificate says, and whether it is good for a name      RFC 5280, 9525
 *
 * For who shows it to people: connections are verified by their engine (tls/tls.h), which ends them. This one looks at
 * a chain that has been taken, whatever it is worth, and judges as an engine with TLS_VERIFY_NAME and the system's
 * authorities would, with 112 bits of security at least.
 *
 * Ownership  All comes from `mem`.
 * Limits     TLS_PEER_NAMES_MAX names of a certificate are told; all are compared.
 * Errors     -1 and a fail for a chain that is empty or cannot be read. Whatever is wrong with a certificate that can be
 *            read is an answer.
 *
 * Names and issuer are the certificate's: they may hold any octet, and are made harmless by who prints them.
 */
#ifndef TLS_PEER_H
#define TLS_PEER_H

#include "base/arena.h"
#include "base/fail.h"
#include "base/str.h"

enum { TLS_PEER_NAMES_MAX = 100 };

struct tls_peer {
    bool trusted; /* signed, through the chain, by an authority of the system's; a server's, and in force */
    const char *distrust; /* why it is not, in a few words; NULL when it is */
    bool has_name;
    const struct str *names; /* of hosts, and addresses as text; the common name where there are none */
    size_t names_count;
    struct str issuer; /* "C = XX, O = Example, CN = One" */
    int64_t not_before_unix, not_after_unix;
    const char *key; /* "rsa", "ec", "ed25519", …; "unknown" */
    int bits;        /* of the key */
};

/* `chain` in DER, the server's own first, as tls_engine_chain() gives it; `name` of a host, or an address as text. */
int tls_peer_read(struct arena *mem, const struct str *chain, size_t count, const char *name,
                  int64_t now_unix, struct tls_peer *peer_out, struct fail *fail);

#endif
