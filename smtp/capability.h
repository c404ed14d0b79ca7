/*
 * smtp/capability.h - what a backend says it can do, in its reply to EHLO or LHLO    RFC 5321 4.1.1.1
 *
 * Pure and total: what is not understood is left out. Nothing points into the reply, so that it can be
 * remembered between connections.
 */
#ifndef SMTP_CAPABILITY_H
#define SMTP_CAPABILITY_H

#include "smtp/command.h"
#include "smtp/xclient.h"

enum { SMTP_CAPABILITY_AUTH_MAX = 256 };

struct smtp_capabilities {
    bool esmtp; /* there was a reply to EHLO at all */
    bool pipelining, size, eightbitmime, smtputf8, chunking, binarymime, dsn, starttls, requiretls, enhanced;
    bool xclient; /* with ADDR, without which nobody can be introduced */
    bool xforward, limits;
    uint64_t size_max;                   /* 0: no fixed limit (RFC 1870 4) */
    unsigned xclient_fields;             /* SMTP_XCLIENT_… */
    unsigned xforward_fields;            /* those of XFORWARD */
    unsigned rcpt_max;                   /* LIMITS (RFC 9422 4): recipients a message, 0: none given */
    unsigned mail_max;                   /* messages a connection */
    unsigned rcpt_domain_max;            /* domains of recipients a message */
    char auth[SMTP_CAPABILITY_AUTH_MAX]; /* mechanisms, "PLAIN LOGIN"; what does not fit is left out */
};

/* `text` of the reply: a name in its first line, then a keyword with its words in each. */
void smtp_capabilities_parse(struct str text, struct smtp_capabilities *capabilities_out);

bool smtp_capabilities_has_auth(const struct smtp_capabilities *c, struct str mechanism);

/* As smtp_command_pass_on() wants to know it. */
struct smtp_offer smtp_capabilities_offer(const struct smtp_capabilities *c);

#endif
