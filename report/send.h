/*
 * report/send.h - one mail of ours through the backend              RFC 5321, 2852
 *
 * The backend queues and signs it like any other mail; what it answers here is all that we learn at once.
 * Bounces go to the VERP sender's mailbox, or nowhere when the sender is null.
 *
 * Ownership  What `ask` points to lives until `done` or send_cancel().
 * Timing     `done` exactly once, never before send_start() has returned, never after send_cancel().
 *            Connecting has SEND_CONNECT_MS, each reply SEND_REPLY_MS, each piece of the message as well.
 * Limits     One connection, one transaction; the connection carries no TLS: the backend is meant to be on
 *            this host or on a network of the operator's own.
 */
#ifndef REPORT_SEND_H
#define REPORT_SEND_H

#include "base/loop.h"
#include "base/stream.h"

enum { SEND_CONNECT_MS = 30000, SEND_REPLY_MS = 300000, SEND_TEXT_MAX = 200 };

enum send_result {
    SEND_DELIVERED,
    SEND_REFUSED,  /* 5xx for the recipient: this address does not want it */
    SEND_REJECTED, /* 5xx for the message: no use in trying it again */
    SEND_LATER,    /* everything else: 4xx, no connection, a backend that does not take mail from us */
};

struct send_ask {
    struct endpoint backend;
    const char *hostname;  /* for EHLO */
    const char *mail_from; /* "" : the null sender */
    const char *recipient;
    struct str message; /* CRLF lines */
};

struct send_outcome {
    enum send_result result;
    int code;         /* of the reply that decided; 0: there was none */
    const char *text; /* of it, or what went wrong; printable */
    bool was_ready;   /* the backend was there, and took EHLO; else nobody was asked anything */
};

struct send;
typedef void send_done_fn(const struct send_outcome *outcome, void *arg);

struct send *send_start(struct loop *loop, const struct send_ask *ask, send_done_fn *done, void *arg);
void send_cancel(struct send **send); /* NULL is fine; leaves NULL */

const char *send_result_name(enum send_result result);

/* "dmarc+user=example.org@reports.example.net" for mails to user@example.org; "" (the null sender) when that
 * would be too long. */
const char *send_verp(struct arena *mem, const char *our_address, const char *recipient);
/* The recipient that such a sender was made for, or NULL. */
const char *send_verp_read(struct arena *mem, const char *our_address, struct str sender);

#endif
