#include "base/hash.h"

#include "dns/cache.h"

#include <stdlib.h>
#include <string.h>

enum { TTL_LEAST_S = 1, TTL_MOST_S = 24 * 3600 };

struct entry {
    UT_hash_handle hh;
    struct entry *newer, *older; /* by last use */
    struct dns_reply *reply;
    int64_t expires_ms;
    int64_t gone_ms; /* when it is of no use as a stale answer either */
    size_t bytes;    /* of the entry and its reply */
    size_t key_n;
    unsigned char key[]; /* the question's */
};

struct dns_cache {
    struct entry *table;
    struct entry *newest, *oldest;
    size_t entries_max, bytes_max, bytes;
    int64_t stale_ms;
};

/* ---- replies ---- */

static size_t bytes_of(const struct dns_answer *answer)
{
    size_t bytes = sizeof(struct dns_reply) + answer->count * sizeof(struct dns_record);

    for (size_t i = 0; i < answer->count; i++) {
        bytes += answer->records[i].text.n;
        if (answer->records[i].name != NULL)
            bytes += strlen(answer->records[i].name) + 1;
    }
    return bytes;
}

struct dns_reply *dns_reply_new(const struct dns_answer *answer)
{
    size_t bytes = bytes_of(answer);
    struct dns_reply *reply = malloc(bytes);
    struct dns_record *records;
    char *tail;

    if (reply == NULL)
        out_of_memory();
    *reply = (struct dns_reply){1, bytes, *answer};
    records = (struct dns_record *)(reply + 1);
    tail = (char *)(records + answer->count);
    reply->answer.name = NULL;
    reply->answer.records = records;
    for (size_t i = 0; i < answer->count; i++) {
        records[i] = answer->records[i];
        if (records[i].text.n > 0)
            memcpy(tail, records[i].text.p, records[i].text.n);
        records[i].text.p = tail;
        tail += records[i].text.n;
        if (records[i].name != NULL) {
            size_t n = strlen(records[i].name) + 1;

            records[i].name = memcpy(tail, records[i].name, n);
            tail += n;
        }
    }
    return reply;
}

struct dns_reply *dns_reply_hold(struct dns_reply *reply)
{
    reply->holders++;
    return reply;
}

void dns_reply_release(struct dns_reply **reply)
{
    if (*reply != NULL && --(*reply)->holders == 0)
        free(*reply);
    *reply = NULL;
}

/* ---- the order of last use ---- */

static void unlink_entry(struct dns_cache *cache, struct entry *e)
{
    *(e->newer != NULL ? &e->newer->older : &cache->newest) = e->older;
    *(e->older != NULL ? &e->older->newer : &cache->oldest) = e->newer;
}

static void link_newest(struct dns_cache *cache, struct entry *e)
{
    e->newer = NULL;
    e->older = cache->newest;
    *(cache->newest != NULL ? &cache->newest->newer : &cache->oldest) = e;
    cache->newest = e;
}

static void forget(struct dns_cache *cache, struct entry *e)
{
    HASH_DEL(cache->table, e);
    unlink_entry(cache, e);
    cache->bytes -= e->bytes;
    dns_reply_release(&e->reply);
    free(e);
}

/* ---- the cache ---- */

struct dns_cache *dns_cache_new(size_t entries_max, size_t bytes_max, int64_t stale_ms)
{
    struct dns_cache *cache = calloc(1, sizeof(*cache));

    if (cache == NULL)
        out_of_memory();
    cache->entries_max = entries_max;
    cache->bytes_max = bytes_max;
    cache->stale_ms = stale_ms;
    return cache;
}

void dns_cache_free(struct dns_cache **cache)
{
    if (*cache == NULL)
        return;
    while ((*cache)->oldest != NULL)
        forget(*cache, (*cache)->oldest);
    free(*cache);
    *cache = NULL;
}

static struct entry *find(const struct dns_cache *cache, const struct dns_question *question)
{
    struct entry *e;

    HASH_FIND(hh, cache->table, question->key, question->n, e);
    return e;
}

void dns_cache_put(struct dns_cache *cache, const struct dns_question *question, struct dns_reply *reply,
                   int64_t now_ms)
{
    uint32_t ttl_s = reply->answer.ttl_s;
    struct entry *e = find(cache, question);
    size_t entry_bytes = sizeof(*e) + question->n, bytes = entry_bytes + reply->bytes;

    if (e != NULL)
        forget(cache, e);
    if (cache->entries_max == 0 || bytes > cache->bytes_max)
        return;
    while (HASH_COUNT(cache->table) >= cache->entries_max || cache->bytes + bytes > cache->bytes_max)
        forget(cache, cache->oldest);
    e = malloc(entry_bytes);
    if (e == NULL)
        out_of_memory();
    ttl_s = ttl_s < TTL_LEAST_S ? TTL_LEAST_S : ttl_s > TTL_MOST_S ? TTL_MOST_S : ttl_s;
    e->reply = dns_reply_hold(reply);
    e->expires_ms = now_ms + (int64_t)ttl_s * 1000;
    e->gone_ms = e->expires_ms + (reply->answer.status == DNS_OK ? cache->stale_ms : 0);
    e->bytes = bytes;
    e->key_n = question->n;
    memcpy(e->key, question->key, question->n);
    HASH_ADD_KEYPTR(hh, cache->table, e->key, e->key_n, e);
    link_newest(cache, e);
    cache->bytes += bytes;
}

static struct dns_reply *use(struct dns_cache *cache, struct entry *e, int64_t now_ms, uint32_t *ttl_s_out)
{
    if (e != cache->newest) {
        unlink_entry(cache, e);
        link_newest(cache, e);
    }
    *ttl_s_out = (uint32_t)((e->expires_ms - now_ms + 999) / 1000);
    return dns_reply_hold(e->reply);
}

struct dns_reply *dns_cache_find(struct dns_cache *cache, const struct dns_question *question, int64_t now_ms,
                                 uint32_t *ttl_s_out)
{
    struct entry *e = find(cache, question);

    if (e == NULL)
        return NULL;
    if (e->gone_ms <= now_ms)
        forget(cache, e);
    else if (e->expires_ms > now_ms)
        return use(cache, e, now_ms, ttl_s_out);
    return NULL;
}

struct dns_reply *dns_cache_revive(struct dns_cache *cache, const struct dns_question *question,
                                   int64_t now_ms)
{
    struct entry *e = find(cache, question);
    struct dns_reply *old;
    struct dns_answer answer;

    if (e == NULL || e->gone_ms <= now_ms)
        return NULL;
    if (e->expires_ms > now_ms) /* another question for it was answered meanwhile */
        return dns_reply_hold(e->reply);
    old = e->reply;
    answer = old->answer;
    answer.stale = true;
    answer.ttl_s = DNS_STALE_TTL_S;
    e->reply = dns_reply_new(&answer);
    dns_reply_release(&old); /* who holds it keeps it */
    e->expires_ms = now_ms + DNS_STALE_TTL_S * 1000;
    if (e->expires_ms > e->gone_ms)
        e->expires_ms = e->gone_ms;
    return dns_reply_hold(e->reply);
}

size_t dns_cache_entries(const struct dns_cache *cache)
{
    return HASH_COUNT(cache->table);
}

size_t dns_cache_bytes(const struct dns_cache *cache)
{
    return cache->bytes;
}
