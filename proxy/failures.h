/*
 * proxy/failures.h - failure reports on their way: from a judged message to a mail             RFC 9991
 *
 * One of these for each service, on the worker's loop: nothing in it blocks. A report is a courtesy: what the
 * limits, the DNS, the store or the backend do not let through at once is dropped, counted and logged, never
 * queued.
 *
 * Ownership  failures_add() copies all that a job needs.
 * Timing     failures_add() asks the store how many were sent, and returns: whatever follows is on later
 *            turns of the loop, when the client has had its answer.
 * Limits     FAILURES_AT_ONCE jobs a worker; reports.failure.per_domain_per_hour for each policy domain and
 *            FAILURES_AN_HOUR in all, counted in the store, so by all that share it.
 */
#ifndef PROXY_FAILURES_H
#define PROXY_FAILURES_H

#include "auth/dkim_keyring.h"
#include "config/config.h"
#include "report/failure.h"

enum { FAILURES_AT_ONCE = 16, FAILURES_AN_HOUR = 1000 };

struct failures;

/* What is given is borrowed and outlives it; keyring may be NULL. NULL when the settings want no reports. */
struct failures *failures_new(struct loop *loop, const struct config *config, struct dns *dns,
                              struct store *store, struct dkim_keyring *keyring);
void failures_free(struct failures **failures); /* what is on its way is dropped; NULL is fine; leaves NULL */

/* `from`, `to` and `redact` of `failure` are filled in here. */
void failures_add(struct failures *failures, const struct dmarc_discovery *discovery,
                  const struct failure *failure);

#endif
