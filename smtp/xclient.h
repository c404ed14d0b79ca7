/*
 * smtp/xclient.h - who the true client is, told and heard       Postfix XCLIENT_README, XFORWARD_README
 *
 * XCLIENT makes the receiver take the sender's word for the client, for the whole session; XFORWARD tells it
 * for the log of one message. Whether a peer may say so is not judged here.
 *
 * Ownership  What was parsed stands decoded in `mem`.
 * Limits     A value has at most 255 octets, decoded; each attribute may be given once.
 * Errors     Any octets give a client or a sentence for the 501 reply, which begins with 5.5.4.
 */
#ifndef SMTP_XCLIENT_H
#define SMTP_XCLIENT_H

#include "base/buf.h"
#include "base/ip.h"

/* Attributes, as a server names them behind XCLIENT or XFORWARD in its EHLO reply. */
enum {
    SMTP_XCLIENT_NAME = 1,
    SMTP_XCLIENT_ADDR = 2,
    SMTP_XCLIENT_PORT = 4,
    SMTP_XCLIENT_PROTO = 8,
    SMTP_XCLIENT_HELO = 16,
    SMTP_XCLIENT_LOGIN = 32, /* these three: XCLIENT only */
    SMTP_XCLIENT_DESTADDR = 64,
    SMTP_XCLIENT_DESTPORT = 128,
    SMTP_XFORWARD_IDENT = 256, /* these two: XFORWARD only */
    SMTP_XFORWARD_SOURCE = 512,

    SMTP_XCLIENT_ALL = 0x0FF,
    SMTP_XFORWARD_ALL = 0x31F,
};

unsigned smtp_xclient_attribute(struct str name); /* of both; 0: an unknown one */

/* ---- told ---- */

/* Who the true client is. Texts from outside are encoded as xtext (RFC 3461 4). */
struct smtp_identity {
    const char *name; /* verified host name; NULL: [UNAVAILABLE] */
    const char *addr; /* "192.0.2.1", "2001:db8::1" (IPV6: is added) */
    uint16_t port;
    const char *helo;
    bool esmtp;
    const char *login;     /* NULL: not authenticated */
    const char *dest_addr; /* where the client connected to; NULL: not told */
    uint16_t dest_port;
    const char *ident; /* our own id of the message; NULL: [UNAVAILABLE] */
    bool is_local;     /* one of ours, and no stranger */
};

/* Those of the `named` attributes that XCLIENT has, each with a space in front: what one command says. */
void smtp_xclient_write(const struct smtp_identity *who, unsigned named, struct buf *out);

/* XFORWARD commands with their CRLF, at most 512 octets each. Returns how many: so many replies are due. */
unsigned smtp_xforward_write(const struct smtp_identity *who, unsigned named, struct buf *out);

/* ---- heard ---- */

struct smtp_xclient {
    unsigned given;       /* SMTP_XCLIENT_…: what the command speaks of; what it does not stays as it is */
    unsigned unavailable; /* of these: [UNAVAILABLE] or [TEMPUNAVAIL] */
    bool name_temporary;  /* NAME=[TEMPUNAVAIL]: the name could not be looked up for the time being */
    struct str name, helo, login;
    struct ip addr, dest_addr; /* canonical */
    uint16_t port, dest_port;
    bool esmtp;
};

bool smtp_xclient_parse(struct arena *mem, struct str argument, struct smtp_xclient *xclient_out,
                        const char **why_out);

#endif
