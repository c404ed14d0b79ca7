/*
 * dns/dnsbl_selftest.h - do the lists answer as lists do?           RFC 5782 5
 *
 * Each list must list a test entry (127.0.0.2; of domains "test" or the settings' name) and must not list
 * another (127.0.0.1; "invalid"). One that fails is not asked until it passes again, with a line in the log
 * at either turn: a list that lists all would refuse all, a list that refuses us or lists nobody is of no
 * use, and a silent one holds each client up to the deadline. Silence must come twice in a row: it may be the
 * network's.
 *
 * Ownership  lists, health and dns outlive the test. Lists marked `untested` are left in peace.
 * Timing     All lists are tested on the next turn of the loop, and again every `interval_ms`; those that
 *            failed after a tenth of it.
 */
#ifndef DNS_DNSBL_SELFTEST_H
#define DNS_DNSBL_SELFTEST_H

#include "base/loop.h"
#include "dns/dnsbl.h"

enum { DNSBL_SELFTEST_MS = 30 * 60 * 1000 };

struct dnsbl_selftest;

struct dnsbl_selftest *dnsbl_selftest_start(struct loop *loop, struct dns *dns, struct dnsbl_health *health,
                                            const struct dnsbl_list *lists, size_t count,
                                            int64_t interval_ms);
void dnsbl_selftest_stop(struct dnsbl_selftest **selftest); /* NULL is fine; leaves NULL */

/* What a list's two answers mean: NULL, well; or what is wrong with it. `silent_out`: nothing but that they
 * did not come. Pure. */
const char *dnsbl_selftest_verdict(const struct dnsbl_list *list, const struct dns_answer *listed,
                                   const struct dns_answer *unlisted, bool *silent_out);

/* The two names asked. */
void dnsbl_selftest_names(const struct dnsbl_list *list, char listed_out[DNS_NAME_MAX + 1],
                          char unlisted_out[DNS_NAME_MAX + 1]);

#endif
