/*
 * auth/authres.h - the Authentication-Results field               RFC 8601
 *
 * authres_write() makes the one field that we put on top; authres_claims() finds the forged ones that
 * carry our own name, however they are written (case, comments, quotes, a version, blanks).
 */
#ifndef AUTH_AUTHRES_H
#define AUTH_AUTHRES_H

#include "auth/arc.h"
#include "auth/dmarc.h"
#include "base/buf.h"

struct authres {
    const char *authserv_id;
    const struct spf_answer *spf; /* NULL: left out */
    const char *mail_from;        /* smtp.mailfrom (or smtp.helo by spf->scope) */
    const char *helo;
    const struct dkim_answer *dkim;
    const struct arc_answer *arc;
    const struct dmarc_evaluation *dmarc;
    const struct dmarc_discovery *discovery;
    const char *from_domain;   /* header.from */
    enum dmarc_policy applied; /* what was done: policy.applied / disposition comment */
    const char *iprev;         /* "pass", "fail", … or NULL; policy.iprev is the address */
    const char *client_ip;
};

/* The whole field with name, folding and final CRLF, at most 998 octets a line. Nothing from outside can
 * break out of it. */
void authres_write(struct buf *out, const struct authres *a);

/* Does this field (value as in the header, folded or not) claim to come from `authserv_id`? (RFC 8601 5).
 * What cannot be parsed but could be read so by somebody is claimed too. */
bool authres_claims(struct str value, const char *authserv_id);

#endif
