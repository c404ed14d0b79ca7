/*
 * dns/dns.h - questions to the DNS, answered later                RFC 1035, 2308
 *
 * Ownership  An answer and all it points to is good until the callback returns; copy what you keep.
 * Timing     `done` runs exactly once, never before dns_query() has returned (an answer from the cache
 *            comes on the next turn of the loop), and never after dns_cancel(). Each question ends by
 *            its own deadline (dns.timeout times dns.tries at most).
 * Limits     An answer has as many records as a message of 64 KiB holds; of those that are names (PTR, MX, NS) the first
 *            DNS_NAMES_MAX are given. CNAME chains of 8.
 * Errors     None to return: every trouble is a status, and travels as a value to the verdict.
 *
 * Names are text with dots between labels, no final dot. In a question every octet but the dot stands for
 * itself (there are no escapes); an empty or over-long label or name is answered DNS_BADNAME. In an answer,
 * names are lower case, and a label octet that could be misread (a dot, a control, a blank, 8-bit) is written
 * \DDD.
 *
 * `struct dns` is an interface: dns/resolver.h is the real one (c-ares, cache), tests/fakedns.h one made of
 * maps.
 */
#ifndef DNS_DNS_H
#define DNS_DNS_H

#include "base/ip.h"

enum dns_type {
    DNS_A = 1,
    DNS_NS = 2,
    DNS_CNAME = 5,
    DNS_SOA = 6,
    DNS_PTR = 12,
    DNS_MX = 15,
    DNS_TXT = 16,
    DNS_AAAA = 28
};

enum dns_status {
    DNS_OK,       /* at least one record of the type */
    DNS_NODATA,   /* the name exists, the type does not */
    DNS_NXDOMAIN, /* the name does not exist, nor anything below it (RFC 8020) */
    DNS_SERVFAIL,
    DNS_REFUSED,
    DNS_TIMEOUT,
    DNS_GARBLED, /* an answer that is not one: malformed, CNAME loop, over a limit, FORMERR, NOTIMP */
    DNS_BADNAME, /* the question could not be asked: never sent */
};

enum { DNS_NAME_MAX = 253, DNS_NAMES_MAX = 100 };

struct dns_record {
    struct ip ip;        /* A, AAAA */
    uint16_t preference; /* MX */
    const char *name;    /* PTR, MX, NS, CNAME; "." for the root (null MX, RFC 7505) */
    struct str text;     /* TXT: the strings of one record joined without a space; may hold any octet */
};

struct dns_answer {
    enum dns_status status;
    enum dns_type type;
    const char *name; /* as asked */
    uint32_t ttl_s;   /* what is left of it; of a negative answer the negative TTL */
    size_t count;
    const struct dns_record *records;
    bool authenticated; /* AD bit, only ever true from a loopback resolver */
    bool cached;
    bool stale; /* expired: served since the DNS does not answer now (RFC 8767). Never negative. */
};

typedef void dns_done_fn(const struct dns_answer *answer, void *arg);

struct dns;
struct dns_token; /* one question in flight */

struct dns_token *dns_query(struct dns *dns, enum dns_type type, const char *name, dns_done_fn *done,
                            void *arg);
/* NULL is fine; leaves NULL. An answer spends its token: set yours to NULL. */
void dns_cancel(struct dns_token **token);

/* SERVFAIL, REFUSED, time-out, garbled: it may be answered another time, and says nothing about the name. */
bool dns_is_temporary(enum dns_status status);
bool dns_is_void(enum dns_status status);            /* NODATA, NXDOMAIN: RFC 7208 4.6.4 */
const char *dns_status_name(enum dns_status status); /* "nxdomain", "timeout", … */
const char *dns_type_name(enum dns_type type);

/* "1.2.0.192" + zone, or 32 nibbles + zone, as in-addr.arpa, ip6.arpa and DNS lists want it. */
void dns_reverse_name(const struct ip *ip, const char *zone, char name_out[DNS_NAME_MAX + 1]);
/* PTR's own zones chosen by family. */
void dns_ptr_name(const struct ip *ip, char name_out[DNS_NAME_MAX + 1]);

/* ---- for those who implement the interface ---- */
struct dns_ops {
    struct dns_token *(*query)(struct dns *dns, enum dns_type type, const char *name, dns_done_fn *done,
                               void *arg);
    void (*cancel)(struct dns *dns, struct dns_token *token);
};
struct dns {
    const struct dns_ops *ops;
};
struct dns_token {
    struct dns *dns; /* implementers embed this first; dns_query() fills it */
};

#endif
