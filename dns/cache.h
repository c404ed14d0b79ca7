/*
 * dns/cache.h - answers that are remembered for their TTL          RFC 1035 7.4, 2308, 8767
 *
 * Ownership  A `struct dns_reply` is one block that holds an answer and all it points to, counted by its
 *            holders: the cache, and every question that waits for its delivery.
 * Limits     `entries_max` and `bytes_max`; what was not used for the longest time goes first. A TTL counts
 *            as 1 s at the least (one message asks the same question more than once) and 1 day at the most.
 * Stale      What a name had is kept `stale_ms` longer, for the time when the DNS does not answer. What it
 *            had not is never served again: an old "no such domain" would refuse mail, and doubt is no guilt.
 * Errors     None. Answers that are only trouble (dns_is_temporary) are not to be put here.
 */
#ifndef DNS_CACHE_H
#define DNS_CACHE_H

#include "dns/message.h"

struct dns_reply {
    size_t holders;
    size_t bytes;             /* of the block */
    struct dns_answer answer; /* without `name`: each asker has its own spelling */
};

struct dns_reply *dns_reply_new(const struct dns_answer *answer); /* copies; held once */
struct dns_reply *dns_reply_hold(struct dns_reply *reply);
void dns_reply_release(struct dns_reply **reply); /* NULL is fine; leaves NULL */

struct dns_cache;
struct dns_cache *dns_cache_new(size_t entries_max, size_t bytes_max, int64_t stale_ms);
void dns_cache_free(struct dns_cache **cache);

void dns_cache_put(struct dns_cache *cache, const struct dns_question *question, struct dns_reply *reply,
                   int64_t now_ms); /* in place of an older one; holds the reply itself */

/* Held for the caller, with what is left of its TTL; or NULL. */
struct dns_reply *dns_cache_find(struct dns_cache *cache, const struct dns_question *question, int64_t now_ms,
                                 uint32_t *ttl_s_out);

/* The question went unanswered: the expired answer, marked as stale, or NULL. It stands in the cache again
 * for DNS_STALE_TTL_S, so that not everybody waits for a server that is away (RFC 8767 5). */
enum { DNS_STALE_TTL_S = 30 };
struct dns_reply *dns_cache_revive(struct dns_cache *cache, const struct dns_question *question,
                                   int64_t now_ms);

size_t dns_cache_entries(const struct dns_cache *cache);
size_t dns_cache_bytes(const struct dns_cache *cache);

#endif
