/*
 * dns/dnsbl.h - what DNS lists say about a client                  RFC 5782
 *
 * All lists are asked side by side. An answer counts only when its address is within the codes that the
 * settings declare for that list; any other answer, and all of 127.255.255.0/24, is a query error of the
 * list, never a listing (a blocked resolver must not bounce the world's mail).
 *
 * Timing  `done` exactly once, not before dnsbl_start() returned, not after dnsbl_cancel(); the caller has
 *         the deadline: dnsbl_finish() takes what is there and counts the unanswered lists as nothing.
 */
#ifndef DNS_DNSBL_H
#define DNS_DNSBL_H

#include "dns/dns.h"

struct dnsbl_codes {
    struct ip first, last; /* IPv4, both included */
};

struct dnsbl_list {
    const char *zone;
    int score; /* negative: an allow list */
    const struct dnsbl_codes *codes;
    size_t codes_count;
};

enum dnsbl_result { DNSBL_UNANSWERED, DNSBL_CLEAN, DNSBL_LISTED, DNSBL_ERROR, DNSBL_DISABLED };

struct dnsbl_hit {
    const struct dnsbl_list *list;
    enum dnsbl_result result;
    struct ip code;           /* of a listing or an error answer */
    enum dns_status status;
};

struct dnsbl_answer {
    int score; /* sum over the lists that list the client */
    size_t count;
    const struct dnsbl_hit *hits; /* one a list, in the settings' order */
};

/* Lists that answer with codes nobody declared are left alone for a while; shared by a worker's sessions. */
struct dnsbl_health;
struct dnsbl_health *dnsbl_health_new(struct arena *mem, const struct dnsbl_list *lists, size_t count);

struct dnsbl_query;
typedef void dnsbl_done_fn(const struct dnsbl_answer *answer, void *arg);

/* lists and health live longer than the query; the answer lives in mem. now_ms: monotonic. */
struct dnsbl_query *dnsbl_start(struct arena *mem, struct dns *dns, struct dnsbl_health *health, const struct dnsbl_list *lists,
                                size_t count, const struct ip *client, int64_t now_ms, dnsbl_done_fn *done, void *arg);
const struct dnsbl_answer *dnsbl_finish(struct dnsbl_query **query); /* now, without `done`; leaves NULL */
void dnsbl_cancel(struct dnsbl_query **query);

/* The zone as it may be shown in replies and logs: without the first label where that may be a customer's key. */
struct str dnsbl_public_zone(const char *zone);

const char *dnsbl_result_name(enum dnsbl_result result); /* "listed", "clean", "error", "unanswered", "disabled" */

#endif
