/*
 * proxy/backends.h - the backends of one worker: which to ask, how they are, what they can do
 *
 * Ownership  One for each snapshot of settings on each worker (proxy/service.h). A backend lives as long as
 *            its `backends`; links (proxy/link.h) and relays point to it.
 * Choosing   By the recipient's domain, then in the settings' order. One that failed is left alone for a while, with backoff, unless all the
 *            others were asked already.
 */
#ifndef PROXY_BACKENDS_H
#define PROXY_BACKENDS_H

#include "base/loop.h"
#include "base/metric.h"
#include "config/config.h"
#include "proxy/partial.h"
#include "smtp/capability.h"
#include "tls/tls.h"

struct backends;
struct backends_parts {
    struct loop *loop;
    const struct config *config;
    struct tls_context *tls;   /* referenced; NULL: no TLS */
    struct partials *partials; /* shared */
    struct dns *dns;           /* for those that have a name */
};
struct backends *backends_new(const struct backends_parts *parts);
void backends_free(struct backends **backends); /* closes connections that rest; nobody may hold one */

/* What every backend can do that we have spoken to: learnt from their EHLO and remembered. Nothing before the
 * first. */
struct backends_offer {
    bool known, eightbitmime, smtputf8, dsn;
    bool binarymime;   /* with CHUNKING */
    bool requiretls;   /* on links whose TLS is verified */
    uint64_t size_max; /* the least of them; 0: none names one */
    unsigned rcpt_max; /* likewise: recipients a message (LIMITS) */
    /* Mechanisms of AUTH that all have who have AUTH, and that a client can use through us; "" when none. */
    char auth[SMTP_CAPABILITY_AUTH_MAX];
};
struct backends_offer backends_offer(const struct backends *backends);

/* ---- for links and relays ---- */

struct link;

struct backend {
    const struct backend_settings *settings;
    size_t number; /* in the settings' list */
    struct loop *loop;
    struct dns *dns;
    struct endpoint works_at; /* where it answered last */
    const char *hostname;     /* ours */
    struct tls_context *tls;  /* to speak TLS with; NULL: not possible */

    bool is_known;                         /* we have heard its EHLO */
    int64_t heard_ms;                      /* the last time */
    bool keeps_requiretls;                 /* it offers REQUIRETLS, on a verified link */
    bool is_private;                       /* on a link that a password may cross */
    struct smtp_capabilities capabilities; /* the last one heard */
    bool xclient_refused, xclient_missing; /* and that was said: once, not at every connection */
    int64_t no_tls_until_ms;               /* its TLS failed, where TLS is only an opportunity */

    int64_t down_until_ms;
    unsigned failures; /* in a row */
    struct metric *up, *opened;

    struct link *pool; /* links that rest, the most recently used first */
    unsigned pooled;
    struct link *resetting; /* links that nobody holds, and that wait for the answer to RSET */
};

struct loop *backends_loop(const struct backends *backends);
struct partials *backends_partials(const struct backends *backends);
size_t backends_count(const struct backends *backends);
/* One that could be reached at the last try, and of which we had better hear what AUTH it has: its EHLO was never heard, or
 * AUTH_ABSENT_MS ago and had none. NULL when there is none. */
enum { AUTH_ABSENT_MS = 5000 };
struct backend *backends_unknown(const struct backends *backends);
struct backend *backends_unheard(const struct backends *backends); /* likewise, but only one that was never heard */
/* Whether it is one for recipients of this domain: of those that name it, else of those that name none. "" (a bare
 * postmaster, a login) is for those that name none, else for any. */
bool backends_serve(const struct backends *backends, const struct backend *backend, struct str domain);
/* The next of those to ask, and marks it in `tried` (one for each backend). NULL: all of them were asked. */
struct backend *backends_choose(struct backends *backends, bool *tried, struct str domain);

void backend_failed(struct backend *backend, const char *why);
void backend_works(struct backend *backend);

#endif
