/*
 * report/destination.h - where a domain's reports may go                  RFC 9990 3, 4; RFC 9991 4
 *
 * A record can name any address in the world. Below another organisation it must have consented:
 * <policy domain>._report._dmarc.<host> has a TXT record that begins with v=DMARC1 (a wildcard there answers
 * as in any DNS). No answer is no consent; trouble in the DNS is none for now.
 *
 * Ownership  Memory from `mem`; the addresses asked for are borrowed until the answer.
 * Timing     `done` exactly once, never before the start has returned, never after cancel.
 * Limits     The first DESTINATIONS_LOOKED_AT addresses of a record are looked at, the first
 * DESTINATIONS_MOST that are good are used (RFC 9990 3 wants two at least). For each: a walk of 8 queries and
 * one question; of the policy domain one walk.
 */
#ifndef REPORT_DESTINATION_H
#define REPORT_DESTINATION_H

#include "auth/dmarc.h"
#include "base/loop.h"

enum { DESTINATIONS_MOST = 2, DESTINATIONS_LOOKED_AT = 4 };

enum destination_verdict {
    DESTINATION_GOOD,
    DESTINATION_INVALID,   /* no mailto, or no address in it */
    DESTINATION_REPEATED,  /* it was there already */
    DESTINATION_SURPLUS,   /* good ones enough */
    DESTINATION_REFUSED,   /* no consent */
    DESTINATION_TEMPERROR, /* the DNS did not say: another time */
};

struct destination {
    const char *uri;
    const char *address; /* NULL when invalid; the domain is in lower-case A-labels */
    const char *host;
    uint64_t size_max; /* octets of the report as attached, of an obsolete "!10m"; 0: none */
    enum destination_verdict verdict;
    bool external; /* consent was asked for */
};

struct destinations {
    size_t count;
    const struct destination *list;
};

struct destination_query;
typedef void destination_done_fn(const struct destinations *destinations, void *arg);

struct destination_query *destination_start(struct arena *mem, struct loop *loop, struct dns *dns,
                                            const char *policy_domain, const char *const *uris, size_t count,
                                            destination_done_fn *done, void *arg);
void destination_cancel(struct destination_query **query);

/* "mailto:dmarc@example.org!10m"; false: no address that a report could go to. Pure. */
bool destination_parse(struct arena *mem, const char *uri, struct destination *destination_out);

const char *destination_verdict_name(enum destination_verdict verdict); /* "no-consent" */

#endif
