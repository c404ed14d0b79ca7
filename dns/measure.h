/*
 * dns/measure.h - what /metrics says of the DNS; counted by all workers together
 */
#ifndef DNS_MEASURE_H
#define DNS_MEASURE_H

#include "dns/dns.h"

/* JOINED: the same question was out already. STALE: an expired answer, since there was no newer one. */
enum dns_cache_result { DNS_CACHE_HIT, DNS_CACHE_MISS, DNS_CACHE_JOINED, DNS_CACHE_STALE };

void dns_measure_query(enum dns_type type, enum dns_status status, int64_t ms); /* asked outside */
void dns_measure_cache(enum dns_cache_result result);
void dns_measure_entries(int64_t change); /* of the caches */
void dns_measure_sick(int change);        /* +1: one more worker's resolver is sick, -1: one less */
int64_t dns_measured_sick(void);          /* how many are */

#endif
