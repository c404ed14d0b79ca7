/*
 * dns/resolver.h - the real resolver: questions, and a cache of their answers
 *
 * One a worker, no locks. Identical questions in flight are asked once. Answers are kept for their TTL (1 s
 * to 1 day), negative ones for the SOA's (RFC 2308), in at most `cache_entries` and 512 octets for each of
 * them. Without any reachable server every question ends in DNS_TIMEOUT or DNS_REFUSED within its deadline.
 *
 * Forgers  An answer from another machine must match the id, the port, and the case of each letter of the
 *          question (RFC 5452; draft-vixie-dnsext-dns0x20). Questions are spread over several ports, and an
 *          answer in another case is asked for again by TCP. To a server on loopback there is nobody between:
 *          one socket stays open there, and letters stay small.
 * Stale    While the DNS does not answer, what had been there is served up to `stale_ms` after its end, with
 *          `stale` set (RFC 8767). Nothing negative is.
 * Health   resolver_health() says when it is the resolver that is sick (dns/health.h).
 */
#ifndef DNS_RESOLVER_H
#define DNS_RESOLVER_H

#include "base/loop.h"
#include "dns/dns.h"

enum dns_forgers { DNS_FORGERS_AUTO, DNS_FORGERS_EXPECTED, DNS_FORGERS_NONE };

struct dns_settings {
    const struct endpoint *servers; /* none: those of /etc/resolv.conf */
    size_t servers_count;
    int64_t timeout_ms; /* a try */
    unsigned tries;
    size_t cache_entries;
    int64_t stale_ms;         /* 0: nothing expired is served */
    enum dns_forgers forgers; /* auto: none when all servers are on loopback */
    const char *canary;       /* a name of ours that is asked all the time; NULL or "": none */
    int64_t canary_ms;        /* between two questions for it, a sixth of it after a failure; 0: 30 s */
};

struct dns *resolver_new(struct loop *loop, const struct dns_settings *settings, struct fail *fail);
void resolver_free(struct dns **dns); /* answers no one any more */

/* While it is sick, nobody may be refused for good by what the DNS said or did not say. A struct dns of
 * another make is always well. `reason` is good until the next call. */
struct resolver_health {
    bool sick;
    const char *reason; /* NULL: it is well */
};
struct resolver_health resolver_health(struct dns *dns);

/* Whom it asks, in their order; returns how many there are, of which at most `most` were written. */
size_t resolver_servers(const struct dns *dns, struct endpoint *servers_out, size_t most);

struct resolver_counts {
    uint64_t asked, from_cache, joined, answered, timeouts, servfails, stale, other_case;
    size_t cache_entries;
};
struct resolver_counts resolver_counts(const struct dns *dns);

#endif
