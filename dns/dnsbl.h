/*
 * dns/dnsbl.h - what DNS lists say about a client and its names     RFC 5782
 *
 * All lists are asked side by side. An answer counts only when its address is within the codes that the
 * settings declare for that list; any other answer, and all of 127.255.255.0/24, is a query error of the
 * list, never a listing (a blocked resolver must not bounce the world's mail). So is what lies outside
 * 127.0.0.0/8, 127.0.0.1 (how SURBL and URIBL say that they do not serve us), and 127.0.1.255 of a list of
 * domains (how DBL answers for an address). An expired answer is none.
 *
 * Lists of addresses are asked for the client, lists of domains for names: two modules' worth of one settings
 * array, so each function passes over the other kind (DNSBL_NOT_ASKED).
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

enum dnsbl_kind { DNSBL_OF_ADDRESSES, DNSBL_OF_DOMAINS };

struct dnsbl_list {
    const char *zone;
    int score; /* negative: an allow list */
    const struct dnsbl_codes *codes;
    size_t codes_count;
    enum dnsbl_kind kind;
    const char *test_name; /* of domains: a name that is always listed; NULL: "test" (RFC 5782 5) */
    bool untested;         /* a list of one's own, without the test entries that RFC 5782 5 demands */
};

enum dnsbl_result {
    DNSBL_UNANSWERED,
    DNSBL_CLEAN,
    DNSBL_LISTED,
    DNSBL_ERROR,
    DNSBL_DISABLED,
    DNSBL_NOT_ASKED
};

struct dnsbl_hit {
    const struct dnsbl_list *list;
    enum dnsbl_result result;
    struct ip code; /* of a listing or an error answer */
    enum dns_status status;
    const char *name; /* the domain that is listed; NULL in a list of addresses */
};

struct dnsbl_answer {
    int score; /* sum over the lists that list the client */
    size_t count;
    const struct dnsbl_hit *hits; /* one a list, in the settings' order */
};

/* Which lists are not asked for now; shared by a worker's sessions. Those that answer with codes nobody
 * declared are left alone for 10 minutes; those that fail their self-test (dns/dnsbl_selftest.h) until they
 * pass it. */
struct dnsbl_health;
struct dnsbl_health *dnsbl_health_new(struct arena *mem, const struct dnsbl_list *lists, size_t count);
void dnsbl_health_set(struct dnsbl_health *health, size_t list, const char *illness); /* static; NULL: well */
const char *dnsbl_health_illness(const struct dnsbl_health *health, size_t list,
                                 int64_t now_ms); /* NULL: well */

struct dnsbl_query;
typedef void dnsbl_done_fn(const struct dnsbl_answer *answer, void *arg);

/* lists and health live longer than the query; the answer lives in mem. now_ms: monotonic. */
struct dnsbl_query *dnsbl_start(struct arena *mem, struct dns *dns, struct dnsbl_health *health,
                                const struct dnsbl_list *lists, size_t count, const struct ip *client,
                                int64_t now_ms, dnsbl_done_fn *done, void *arg);

/* `done` comes as soon as the sum is at least `score` whatever the lists that have not answered say, those of domains
 * included: a slow list must not hold up a client whom others condemn. What they list is not in the answer then. */
void dnsbl_enough(struct dnsbl_query *query, int score);

/* The lists of domains, for the names of a session: HELO, PTR, the domains of MAIL FROM and From. Each name
 * is asked as it is and by its parents down to two labels (lists of registered domains know no hosts, and
 * there is no list of public suffixes here), each once, DNSBL_NAMES_MAX in all. What is no domain name is
 * passed over: an address above all, in whatever dress, is never put to a list of domains. A list counts
 * once, however many names it lists. The names are copied. */
enum { DNSBL_NAMES_MAX = 12 };
struct dnsbl_query *dnsbl_domain_start(struct arena *mem, struct dns *dns, struct dnsbl_health *health,
                                       const struct dnsbl_list *lists, size_t count, const char *const *names,
                                       size_t names_count, int64_t now_ms, dnsbl_done_fn *done, void *arg);

const struct dnsbl_answer *dnsbl_finish(struct dnsbl_query **query); /* now, without `done`; leaves NULL */
void dnsbl_cancel(struct dnsbl_query **query);

/* The zone as it may be shown in replies and logs: without the first label where that may be a customer's
 * key. */
struct str dnsbl_public_zone(const char *zone);

/* What one answer of a list means, its code in code_out (of an error the odd one). For those who test lists.
 */
enum dnsbl_result dnsbl_judge(const struct dnsbl_list *list, const struct dns_answer *answer,
                              struct ip *code_out);

/* "listed", "clean", "error", "unanswered", "disabled", "not-asked" */
const char *dnsbl_result_name(enum dnsbl_result result);

#endif
