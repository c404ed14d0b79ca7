/*
 * dns/health.h - is the resolver itself sick?
 *
 * What is asked outside ends well or in trouble; whether trouble is the domain's or the resolver's shows in
 * how many have it. Of each domain (the last two labels) only the newest end counts: nobody makes our
 * resolver look sick with questions below one broken name of their own, and a dead DNS list is one domain,
 * not the world.
 *
 *   sick  when of at least 20 domains within 30 s more than half ended in trouble, or when the canary, a
 *         name of our own that is asked all the time, ended in trouble twice in a row
 *   well  by itself, as soon as neither is so any more
 *
 * Pure: no I/O, and the time comes from the caller.
 */
#ifndef DNS_HEALTH_H
#define DNS_HEALTH_H

#include "dns/dns.h"

enum { DNS_HEALTH_LAST = 64, DNS_HEALTH_LEAST = 20, DNS_HEALTH_WINDOW_MS = 30 * 1000, DNS_HEALTH_CANARY = 2 };

struct dns_end {
    uint64_t domain; /* its hash */
    int64_t at_ms;
    bool trouble;
};

/* Zeroed at birth. */
struct dns_health {
    struct dns_end ends[DNS_HEALTH_LAST];
    size_t count, oldest;
    unsigned canary_failures; /* in a row */
    char reason[160];
};

void dns_health_end(struct dns_health *health, const char *name, enum dns_status status, int64_t now_ms);
void dns_health_canary(struct dns_health *health, bool trouble);
const char *dns_health_reason(struct dns_health *health, int64_t now_ms); /* NULL: it is well */

#endif
