/*
 * smtp/client.h - the dialogue with one backend, without sockets    RFC 5321, 2920, 2033, 4954, XCLIENT_README
 *
 * The caller sends what gathers in `out`, feeds what arrives, and takes events. The dialogue knows
 * which replies are due: a reply nobody waits for, or that came before its command, a 3xx but for 354 to
 * DATA, or garbage is SMTP_CLIENT_BROKEN, after which the connection is only good for closing.
 *
 * Order      open: greeting, EHLO (HELO when refused), STARTTLS and EHLO again, XCLIENT and EHLO again;
 *            AUTH; then transactions: mail, rcpt…, data, message, or reset.
 * Secrets    What is said within AUTH is wiped here once it is in `out`, which is the caller's to wipe.
 * Pipelining Commands that may be pipelined leave without waiting when the backend offers it.
 * LMTP       LHLO instead of EHLO, and nothing instead of HELO. The end of the message is answered once for each
 *            recipient that was accepted, in their order (RFC 2033 4.2). CHUNKING is not used: where a chunk is
 *            refused, the number of replies is anybody's guess.
 */
#ifndef SMTP_CLIENT_H
#define SMTP_CLIENT_H

#include "smtp/capability.h"
#include "smtp/reply.h"

struct smtp_client;

enum smtp_client_event_kind {
    SMTP_CLIENT_NEED_INPUT,
    SMTP_CLIENT_STARTTLS,   /* start the handshake, then call smtp_client_tls_started() */
    SMTP_CLIENT_READY,      /* greeting and EHLO are done; transactions may begin */
    SMTP_CLIENT_IDENTIFIED, /* XCLIENT and the EHLO behind it, or XFORWARD, are done: `reply` */
    SMTP_CLIENT_CHALLENGE,  /* 334 within AUTH: `reply`, whose text is base64 or empty */
    SMTP_CLIENT_AUTH,       /* AUTH has ended: `reply` */
    SMTP_CLIENT_MAIL,       /* `reply` */
    SMTP_CLIENT_RCPT,       /* `reply`, in the order of smtp_client_rcpt() */
    SMTP_CLIENT_DATA,       /* `reply`: 354 sends the message now; else the transaction ends with it */
    SMTP_CLIENT_MESSAGE,    /* `reply` to the end of the message: the one that counts; LMTP: one each */
    SMTP_CLIENT_RESET,      /* RSET was answered 250: ready for the next transaction */
    SMTP_CLIENT_NOOP,       /* NOOP was answered, whatever with */
    SMTP_CLIENT_REFUSED,    /* greeting, EHLO or XCLIENT got 4xx or 5xx: `reply` */
    SMTP_CLIENT_BROKEN,     /* `why` */
};

struct smtp_client_event {
    enum smtp_client_event_kind kind;
    struct smtp_reply reply;
    const char *why;
    bool closed; /* BROKEN: it said 421, unasked */
};

enum smtp_protocol { PROTOCOL_SMTP, PROTOCOL_LMTP };

struct smtp_client *smtp_client_new(enum smtp_protocol protocol, const char *hostname, bool want_tls,
                                    struct buf *out);
void smtp_client_free(struct smtp_client **client);

/* For who shows the dialogue: `heard` is told of each reply as it is taken, before its event, with what it answers:
 * "greeting", "EHLO", "STARTTLS", …, or "nothing". */
typedef void smtp_client_heard_fn(const char *command, const struct smtp_reply *reply, void *arg);
void smtp_client_listen(struct smtp_client *client, smtp_client_heard_fn *heard, void *arg);

void smtp_client_feed(struct smtp_client *client, const char *bytes, size_t n);
void smtp_client_next(struct smtp_client *client, struct smtp_client_event *event_out);
void smtp_client_tls_started(struct smtp_client *client);

void smtp_client_identify(struct smtp_client *client, const struct smtp_identity *identity); /* XCLIENT */
/* XFORWARD, where the backend names attributes of it: for the next transaction. */
void smtp_client_forward(struct smtp_client *client, const struct smtp_identity *identity);
/* `initial` as smtp_command has it: empty when there is none. Each challenge wants one response: base64, "*", or
 * nothing. */
void smtp_client_auth(struct smtp_client *client, struct str mechanism, struct str initial);
void smtp_client_respond(struct smtp_client *client, struct str response);
/* size 0: unknown. `parameters` as smtp_command_pass_on() writes them: empty, or each with a space in front.
 * */
void smtp_client_mail(struct smtp_client *client, struct str path, uint64_t size, bool eightbit,
                      struct str parameters);
void smtp_client_rcpt(struct smtp_client *client, struct str path, struct str parameters);
void smtp_client_data(struct smtp_client *client);
/* Between the 354 and this call the caller writes the dot-stuffed message to the connection itself; this adds
 * the final dot to `out` (with the CRLF before it when `ends_with_crlf` is false). When something has come
 * that nobody asked for there is no dot, no reply due, and the next event is SMTP_CLIENT_BROKEN. */
void smtp_client_message_sent(struct smtp_client *client, bool ends_with_crlf);
/* Instead of DATA, where the backend has CHUNKING: so many octets follow, which the caller writes as they
 * are. What comes next is SMTP_CLIENT_MESSAGE. */
void smtp_client_bdat(struct smtp_client *client, uint64_t bytes);
void smtp_client_reset(struct smtp_client *client);
/* At any time but within AUTH or a message; only when it was answered may a message begin. */
void smtp_client_noop(struct smtp_client *client);
void smtp_client_quit(struct smtp_client *client);

/* What the backend said it can do; the caller remembers it between connections. */
const struct smtp_capabilities *smtp_client_capabilities(const struct smtp_client *client);
bool smtp_client_is_idle(const struct smtp_client *client); /* ready, no reply due, nothing unread */
unsigned smtp_client_replies_due(const struct smtp_client *client);

#endif
