/*
 * proxy/relay.h - one message's way to a backend, over a kept-open connection when there is one
 *
 * Promise 1 lives here: the answers a session gets are the backend's own, and a 250 for a message is only
 * ever the backend's 250 for exactly that message. Whatever goes wrong on our side of it is 451.
 *
 * Use        relay_open() once a transaction, relay_rcpt() for each recipient (the first one connects and
 *            says MAIL), relay_message() at most once, relay_close() always.
 * Timing     Each answer comes exactly once, never before the asking call has returned, never after
 *            relay_close().
 * Deadlines  Those of proxy/link.h.
 * Retry      A kept-open connection that turns out dead before it answered anything is replaced silently; a
 *            backend that cannot be reached is left alone for a while (with backoff) and the next one is
 *            tried. Both only before the first recipient was answered. After it, where the backend had enough of
 *            waiting for the next recipient or the message (which may come slowly), it hears MAIL and RCPT again on
 *            another connection; all recipients must be taken again, else it is 451.
 * Domains    The backend is one for the first recipient's domain. Once one was accepted, those whose domain it is
 *            not for get 451 4.5.3: the client sends them the message next (RFC 5321 4.5.3.1.10).
 */
#ifndef PROXY_RELAY_H
#define PROXY_RELAY_H

#include "proxy/backends.h"
#include "proxy/spool.h"
#include "smtp/xclient.h"

struct link;

struct relay_reply {
    int code;
    const char *enhanced; /* "" when the backend gave none */
    struct str text;      /* good until the callback returns */
    bool of_sender;       /* MAIL was refused, not this recipient */
    bool ours;            /* not the backend's words: it was gone, silent or drunk */
    const char *backend;  /* its address as in the settings, or NULL */
};

typedef void relay_fn(const struct relay_reply *reply, void *arg);

struct relay_ask {
    struct smtp_identity client; /* of XCLIENT */
    struct str mail_from;
    uint64_t size;
    bool eightbit;
    /* What a backend must have to take it: BINARYMIME and CHUNKING, else 554 5.6.3; SMTPUTF8, else 550 5.6.7;
     * link_keeps_requiretls(), else 550 5.7.30: when all were asked. While one cannot be reached, it is 451. */
    bool binary, smtputf8, requiretls;
    /* The one connection that may carry it, to be lent, because its client has logged in there; *own is NULL
     * when it is gone. NULL: any. */
    struct link *const *own;
    /* Parameters of DSN for MAIL, as smtp_command_pass_on() writes them; dropped where there is no DSN. */
    struct str dsn;
};

/* What relay_message() sends: pieces in front, then the spool. */
struct relay_message {
    const struct str *pieces;
    size_t count;
    struct spool *spool; /* relay_spool_ready() is called when it has something to read again */
    struct str digest;   /* partial_message(), when relay_wants_digest() (proxy/partial.h) */
};

struct relay;
struct relay *relay_open(struct arena *mem, struct backends *backends, const struct relay_ask *ask,
                         relay_fn *answer, void *arg);
/* What they are given is borrowed until the answer. */
void relay_rcpt(struct relay *relay, struct str recipient, struct str dsn);
bool relay_wants_digest(const struct relay *relay); /* of the message, now that its recipients are there */
void relay_message(struct relay *relay, const struct relay_message *message);
void relay_spool_ready(struct relay *relay);
/* While the message comes slowly: a connection that is a login's own, and cannot be replaced, has something to answer. */
void relay_keep_alive(struct relay *relay);
/* In the middle of a transaction: RSET; in the middle of a message: the connection is cut. */
void relay_close(struct relay **relay);

#endif
