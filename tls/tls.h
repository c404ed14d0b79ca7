/*
 * tls/tls.h - TLS as an engine: bytes in, bytes out             (the door to OpenSSL for connections)
 *
 * No sockets. What came from the wire goes in by tls_receive(), plaintext for the wire by tls_send(); both
 * leave what is to be written in `wire`.
 * Threads    Contexts are immutable, reference-counted and shared by threads; an engine belongs to one thread
 *            and holds its context, so a reload lets old engines live on.
 * Limits     TLS 1.2 at least by default; no renegotiation, no compression; 100 handshake messages in the life of
 *            an engine, key updates among them. An engine between messages keeps no buffers
 *            (SSL_MODE_RELEASE_BUFFERS).
 *            Plaintext never passes the max of `plain`: when it is full, tls_receive() keeps what it was
 *            given and tls_has_more() is true; empty `plain`, call tls_receive() with nothing, and read no
 *            more from the wire until it is false.
 *            `wire` needs a max with room for the plaintext of one tls_send(), 40 octets for each 16 KiB of
 *            it, and 32 KiB for a handshake; beyond it the engine fails.
 * Errors     A failed engine stays failed. What it left in `wire` is the alert that tells the other side why:
 *            send it, then close.
 */
#ifndef TLS_TLS_H
#define TLS_TLS_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/fail.h"
#include "base/str.h"

enum tls_version { TLS_1_2, TLS_1_3 };

struct tls_pair {
    const char *cert, *key; /* PEM files; the certificate first, then its chain */
};

struct tls_settings {
    struct tls_pair pair;        /* used when no name matches; cert NULL or "": no TLS */
    const struct tls_pair *more; /* chosen by SNI */
    size_t more_count;
    enum tls_version min_version;
    const char *ciphers; /* OpenSSL list for TLS 1.2; "": the default for port 25 */
};

struct tls_context;

/* Reads files and checks that each key fits its certificate. NULL and a fail when one does not: keep the old
 * context. An expired certificate is served (mail clients seldom check): look at its expiry and warn. */
struct tls_context *tls_server_context(const struct tls_settings *settings, struct fail *fail);

/* TLS_VERIFY_PIN: the server's key is one of those; names, signatures and dates of its certificate say nothing more (as
 * DANE-EE, RFC 7671 5.1). */
enum tls_verify { TLS_VERIFY_NOTHING, TLS_VERIFY_NAME, TLS_VERIFY_PIN };

struct tls_pin {
    uint8_t sha256[32]; /* of the SubjectPublicKeyInfo */
};

struct tls_client_settings {
    enum tls_verify verify;
    const char *ca;             /* TLS_VERIFY_NAME: PEM file of who may sign; NULL or "": the system's */
    const struct tls_pin *pins; /* TLS_VERIFY_PIN; copied */
    size_t pins_count;
};
struct tls_context *tls_verifying_context(const struct tls_client_settings *settings, struct fail *fail);
/* Likewise, with the system's authorities. */
struct tls_context *tls_client_context(enum tls_verify verify, struct fail *fail);
struct tls_context *tls_context_ref(struct tls_context *context);
void tls_context_unref(struct tls_context **context);
/* The soonest expiry of its certificates; 0 for a client. */
int64_t tls_context_not_after_unix(const struct tls_context *context);
bool tls_context_has_name(const struct tls_context *context,
                          const char *host); /* does one of them name it? */

struct tls_engine;
struct tls_engine *tls_server_engine(struct tls_context *context);
/* NULL: no SNI. With TLS_VERIFY_NAME the name (or IP address) that the certificate must have. */
struct tls_engine *tls_client_engine(struct tls_context *context, const char *server_name);
void tls_engine_free(struct tls_engine **engine);

enum tls_status {
    TLS_HANDSHAKING, /* more is needed from the other side */
    TLS_OPEN,
    TLS_ENDED,  /* the other side said close_notify */
    TLS_FAILED, /* see tls_engine_why() */
};

/* Client engines begin with tls_receive() of nothing. Plaintext that came out is appended to `plain`.
 * tls_send() is for engines whose handshake is over. */
enum tls_status tls_receive(struct tls_engine *engine, const char *bytes, size_t n, struct buf *plain,
                            struct buf *wire);
enum tls_status tls_send(struct tls_engine *engine, const char *plain, size_t n, struct buf *wire);
bool tls_has_more(const struct tls_engine *engine);           /* plaintext waits for room in `plain` */
void tls_finish(struct tls_engine *engine, struct buf *wire); /* close_notify */

/* "TLSv1.3", and the cipher's name; "" before the handshake is over. */
const char *tls_engine_version(const struct tls_engine *engine);
const char *tls_engine_cipher(const struct tls_engine *engine);
const char *tls_engine_sni(const struct tls_engine *engine); /* or NULL */
const char *tls_engine_why(const struct tls_engine *engine); /* a sentence once it failed, else "" */

/* The certificates that the other side has shown, in DER, its own first; copies in `mem`. Returns how many: 0 before the
 * handshake is over, and of a client that has none. tls/peer.h tells what they say. */
enum { TLS_CHAIN_MAX = 32 };
size_t tls_engine_chain(const struct tls_engine *engine, struct arena *mem, const struct str **chain_out);

const char *tls_library_version(void); /* "3.0.22" */

#endif
