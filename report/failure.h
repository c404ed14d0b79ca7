/*
 * report/failure.h - a report on one message that failed              RFC 9991, 6591, 5965; RFC 6590
 * (redaction)
 *
 * Pure but for the rate limit: facts go in, the octets of a mail come out. It is for the owner of the From
 * domain, who gets to see mail of our users: so it carries header fields only unless told otherwise, local
 * parts can be replaced, and a public suffix (psd=y) never gets one.
 *
 * Limits  FAILURE_HEADER_MAX octets of the header section and FAILURE_BODY_MAX of the body; the rest is cut.
 */
#ifndef REPORT_FAILURE_H
#define REPORT_FAILURE_H

#include "report/aggregate.h"

enum { FAILURE_HEADER_MAX = 64 * 1024, FAILURE_BODY_MAX = 64 * 1024 };

enum failure_kind { FAILURE_NONE, FAILURE_DMARC, FAILURE_DKIM, FAILURE_SPF };

enum failure_delivery { FAILURE_DELIVERED, FAILURE_SPAM, FAILURE_POLICY, FAILURE_REJECT, FAILURE_OTHER };

/* Does the record ask (ruf= and fo=) for a report on a message with these results (RFC 9991 3)? */
enum failure_kind failure_wanted(const struct dmarc_record *record, const struct dmarc_evaluation *evaluation,
                                 const struct spf_answer *spf, const struct dkim_answer *dkim);

struct failure {
    const struct report_identity *from;
    const char *to;
    int64_t now_unix;
    const char *id; /* of the transaction: letters and digits; makes the Message-ID */
    enum failure_kind kind;
    const char *header_from; /* the domain */
    struct ip source;
    const char *mail_from, *rcpt_to; /* addresses; "" for the null sender, NULL: not told */
    bool dkim_aligned, spf_aligned;
    enum failure_delivery delivery;
    const char *authentication_results; /* the field's value, folded or not; NULL: none */
    const struct dkim_signature *dkim;  /* of FAILURE_DKIM: the one that failed; NULL: none */
    const char *spf_domain;             /* of FAILURE_SPF; NULL: none */
    struct str header;                  /* the section, CRLF lines */
    struct str body;                    /* p == NULL: header fields only */
    bool redact;
};

void failure_write(struct arena *mem, struct buf *out, const struct failure *failure);

/* ---- not too many of them (RFC 9991 6) ---- */

/* `bounces`: the key of this store's tokens; when it is allowed. */
typedef void failure_allowed_fn(bool allowed, const struct bounce_key *bounces, void *arg);
struct failure_limit {
    struct store *store;
    struct loop *loop;
    unsigned per_domain, in_all; /* an hour */
    int64_t now_unix;
};
struct failure_token;
/* Counts one; without an answer of the store it is not allowed. As store_update() in all else. */
struct failure_token *failure_ask(const struct failure_limit *limit, const char *domain,
                                  failure_allowed_fn *done, void *arg);
void failure_cancel(struct failure_token **token); /* NULL is fine; leaves NULL */

#endif
