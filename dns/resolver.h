/*
 * dns/resolver.h - the real resolver: c-ares on a loop, with a cache           (the door to c-ares)
 *
 * One a worker, no locks. Identical questions in flight are asked once. Answers are kept for their TTL
 * (1 s to 1 day), negative ones for the SOA's (RFC 2308), in at most `cache_entries`.
 * Without any reachable server every question ends in DNS_TIMEOUT or DNS_REFUSED within its deadline.
 */
#ifndef DNS_RESOLVER_H
#define DNS_RESOLVER_H

#include "base/loop.h"
#include "dns/dns.h"

struct dns_settings {
    const struct endpoint *servers; /* none: those of /etc/resolv.conf */
    size_t servers_count;
    int64_t timeout_ms; /* a try */
    unsigned tries;
    size_t cache_entries;
};

struct dns *resolver_new(struct loop *loop, const struct dns_settings *settings, struct fail *fail);
void resolver_free(struct dns **dns); /* answers no one any more */

struct resolver_counts {
    uint64_t asked, from_cache, joined, answered, timeouts, servfails;
    size_t cache_entries;
};
struct resolver_counts resolver_counts(const struct dns *dns);

#endif
