/*
 * proxy/relay_in.h - what the files of a relay share; for proxy/relay.c and proxy/relay_send.c only
 *
 * relay.c is the transaction: who is asked, what is answered, what is tried again. relay_send.c is the message on its way.
 */
#ifndef PROXY_RELAY_IN_H
#define PROXY_RELAY_IN_H

#include "proxy/addressees.h"
#include "proxy/link.h"
#include "proxy/relay.h"
#include "smtp/data.h"

enum relay_state {
    RELAY_UNUSED,
    RELAY_WAITS_RCPT,
    RELAY_OPEN,
    RELAY_LEFT,       /* as open, but the backend did not want to wait for the message any longer */
    RELAY_REPLAYS,    /* it hears MAIL and RCPT once more */
    RELAY_WAITS_NOOP, /* the message is there, the reply to NOOP not yet */
    RELAY_WAITS_DATA,
    RELAY_SENDING,
    RELAY_WAITS_MESSAGE,
    RELAY_OVER
};

/* What a message needs and a backend has not. */
struct lack {
    int code;
    const char *enhanced, *text;
};

struct accepted {
    struct str recipient, dsn;
    struct accepted *next;
};

struct relay {
    struct arena *mem;
    struct backends *backends;
    struct relay_ask ask;
    relay_fn *answer;
    void *arg;
    enum relay_state state;
    struct backend *backend; /* the last one asked */
    struct link *link;
    struct str recipient, recipient_dsn; /* the one whose answer is due */
    struct str domain;                   /* his */
    unsigned accepted;                   /* recipients, so far */
    struct accepted *first, **end;       /* they */
    unsigned replays_due;                /* replies to their second RCPT */
    bool *tried;                         /* for each backend, whether it was asked for this transaction */
    const struct lack *lack;             /* of the last backend that could be reached; NULL: none */
    bool unreached;                      /* another one could not be, and may have what is lacking */
    bool answered;    /* at least one reply went to the session: no second connection any more */
    int refused_code; /* the backend's answer to MAIL, when it was a refusal: each recipient gets it */
    const char *refused_enhanced;
    struct str refused_text;
    struct addressees addressees; /* LMTP: those that were accepted */
    struct partial_query *asking; /* LMTP: must the recipient travel alone, has he the message already? */
    bool alone;                   /* he must */
    struct later again;           /* answers that need no waiting, and connections that must be tried anew */
    struct relay_reply aside;     /* such an answer, which says nothing of the backend's state */
    const char *trouble;
    struct relay_message message;
    size_t next_piece;
    struct smtp_data_encoder encoder;
    bool by_chunk; /* BDAT: the octets leave as they are */
    struct str unsent;
};

/* It has ended: our own words follow as the answer, which are relay->trouble when that is set. */
void relay_over(struct relay *relay);

/* relay_send.c: the message, by BDAT where the backend has CHUNKING, else by DATA. Then its reply comes, or the link breaks. */
void relay_send(struct relay *relay);
void relay_send_lines(struct relay *relay); /* the backend has said 354 */
void relay_send_on(struct relay *relay);    /* the link takes more, or the spool has more; at any time */

#endif
