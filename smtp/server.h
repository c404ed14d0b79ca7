/*
 * smtp/server.h - the dialogue with one client, without sockets       RFC 5321, 1870, 2034, 2920, 3207, 4954
 *
 * Bytes go in by smtp_server_feed(), events come out by smtp_server_next(), the octets of a message go to the
 * `body` sink as they are, replies gather in `out`. What needs no judgement is answered inside (NOOP, RSET,
 * VRFY, HELP, syntax and sequence errors); what does is an event, and the dialogue stands still until
 * smtp_server_answer(). Replies to a pipelined group gather until the client must wait for us.
 *
 * Ownership  The server owns its input buffer. `out` is the caller's; the caller sends and consumes it.
 *            Views in an event are good until the next call of smtp_server_next() or _answer().
 * Limits     Input that waits is bounded (smtp_server_is_full: stop reading). Command lines: 512 octets,
 *            more for MAIL and RCPT as their extensions say, 12,288 within AUTH; a longer line is 500 and its tail is skipped;
 *            beyond 64 KiB the session ends. Errors: after `errors_max` 421 and SMTP_EV_CLOSE.
 * State      After STARTTLS, EHLO, RSET and the end of a message nothing of the transaction is left.
 */
#ifndef SMTP_SERVER_H
#define SMTP_SERVER_H

#include "smtp/chunk.h"
#include "smtp/command.h"
#include "smtp/data.h"
#include "smtp/reply.h"

struct smtp_server;

struct smtp_server_settings {
    const char *hostname;
    uint64_t message_bytes_max; /* offered as SIZE */
    unsigned recipients_max;
    unsigned errors_max;
    size_t line_bytes_max; /* of data */
    bool drops_bare_ends;  /* a bare CR, LF or NUL in a command ends the session with 521 */
    /* `requiretls` holds under TLS only (RFC 8689 4); `auth` is not read: see smtp_server_offer_auth(). */
    struct smtp_offer offer;
};

enum smtp_event_kind {
    SMTP_EV_NEED_INPUT, /* nothing to do: flush `out`, then feed */
    SMTP_EV_HELO,       /* `command` (EHLO or HELO) waits for an answer */
    SMTP_EV_STARTTLS,   /* waits: answer 220 and start the handshake, or 454 */
    SMTP_EV_MAIL,       /* waits */
    SMTP_EV_RCPT,       /* waits */
    /* waits: answer 354 to take the message, or refuse. Of BDAT the first chunk asks likewise */
    SMTP_EV_DATA,
    SMTP_EV_MESSAGE, /* the end of the message waits for its answer; see `fault` and `too_big` */
    /* waits: answer 334 with a challenge (base64, perhaps empty), 235, or refuse */
    SMTP_EV_AUTH,
    SMTP_EV_RESPONSE, /* to that challenge; waits likewise. "*", which cancels, when `response` is no base64 */
    SMTP_EV_XCLIENT,  /* waits: answer 220 and greet anew, as if that client had just connected, or refuse */
    SMTP_EV_RESET, /* RSET or EHLO ended the transaction; no answer. Of QUIT and STARTTLS the caller knows */
    SMTP_EV_CLOSE, /* flush `out` and close: QUIT, too many errors, another protocol */
};

struct smtp_event {
    enum smtp_event_kind kind;
    const struct smtp_command *command; /* HELO, MAIL, RCPT, AUTH */
    struct str response;                /* RESPONSE */
    enum smtp_data_fault fault;         /* MESSAGE */
    bool too_big;                       /* MESSAGE: beyond message_bytes_max */
    uint64_t bytes;                     /* MESSAGE: octets of the message */
    const char *why;                    /* CLOSE: "quit", "too many errors", "foreign protocol", … */
};

/* settings are copied; body is called from inside smtp_server_next(), and never feeds or answers. */
struct smtp_server *smtp_server_new(const struct smtp_server_settings *settings, struct buf *out,
                                    smtp_data_sink_fn *body, void *body_arg);
void smtp_server_free(struct smtp_server **server);

/* The first line of a greeting of several ("220-…"), while its end is not due yet: who answers to it does not
 * read replies. A refusal afterwards is a line with a code of its own, as postscreen does it. */
void smtp_server_tease(struct smtp_server *server);
/* 220, whose words are its own; or 421 or 554. */
void smtp_server_greet(struct smtp_server *server, int code, const char *enhanced, const char *text);
void smtp_server_offer_starttls(struct smtp_server *server, bool offer); /* in EHLO, from now on */
void smtp_server_offer_xclient(struct smtp_server *server, bool offer);
/* AUTH with these mechanisms ("PLAIN LOGIN", copied), in EHLO under TLS, from now on; without TLS it is 538. NULL
 * or "": no. */
void smtp_server_offer_auth(struct smtp_server *server, const char *mechanisms);
void smtp_server_require_tls(struct smtp_server *server, bool require); /* MAIL before TLS is 530 5.7.0 */

/* What holds from the next EHLO on, where what is offered depends on somebody else. Not within a transaction. */
void smtp_server_offer(struct smtp_server *server, const struct smtp_server_settings *settings);

/* Lends bytes to the dialogue: they are read in place by smtp_server_next(), so that a body is not copied
 * here. Before the lender takes them back it calls smtp_server_keep(), which copies what is still unread
 * (commands that wait behind a pending answer). False: more than the input buffer holds; the caller did
 * not stop reading when smtp_server_is_full() said so. */
void smtp_server_feed(struct smtp_server *server, const char *bytes, size_t n);
bool smtp_server_keep(struct smtp_server *server);
bool smtp_server_is_full(const struct smtp_server *server);
/* Bytes the client sent that are not answered yet: before the greeting, an early talker. */
size_t smtp_server_waiting(const struct smtp_server *server);

void smtp_server_next(struct smtp_server *server, struct smtp_event *event_out);

/* The answer to the event that waits. Codes of 400 and above leave the dialogue's state as it was before
 * the command (a refused MAIL is no transaction); those of 500 and above count as errors (a greylisted
 * client has made none). 421 and 521 end the session. EHLO's 250 ignores text: the server
 * writes its extensions. */
void smtp_server_answer(struct smtp_server *server, int code, const char *enhanced, struct str text);

/* TLS is up: forgets everything the client said before, unread input included (RFC 3207 4.2). */
void smtp_server_tls_started(struct smtp_server *server);

bool smtp_server_in_transaction(const struct smtp_server *server);
bool smtp_server_is_authenticated(const struct smtp_server *server);
bool smtp_server_awaits_response(const struct smtp_server *server); /* the challenge that was answered went out */
bool smtp_server_is_esmtp(const struct smtp_server *server);
unsigned smtp_server_errors(const struct smtp_server *server);
void smtp_server_count_error(struct smtp_server *server); /* for faults that the caller found */

#endif
