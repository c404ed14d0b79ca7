/*
 * proxy/addresses.h - where a backend is: its address, or those that the DNS has for its name now
 *
 * Ownership  Lies in its owner's struct; addresses_cancel() before that goes.
 * Timing     `done` once, never before addresses_find() has returned, never after addresses_cancel(). The resolver's
 *            cache keeps the TTL, so a name is asked for anew for each connection.
 * Limits     ADDRESSES_MAX of each family; IPv6 comes first.
 */
#ifndef PROXY_ADDRESSES_H
#define PROXY_ADDRESSES_H

#include "base/loop.h"
#include "dns/dns.h"

enum { ADDRESSES_MAX = 4 };

struct addresses {
    struct endpoint list[2 * ADDRESSES_MAX];
    size_t count;            /* 0 when it is done: none was found */
    const char *why;         /* then: "nxdomain", "timeout", … */
    bool temporary;          /* then: the DNS may know of one another time */
    struct dns_token *query; /* the rest is its own */
    struct dns *dns;
    const char *name;
    uint16_t port;
    loop_fn *done;
    void *arg;
};

/* `name` is borrowed until then. */
void addresses_find(struct addresses *addresses, struct dns *dns, const char *name, uint16_t port,
                    loop_fn *done, void *arg);
void addresses_cancel(struct addresses *addresses); /* fine when nothing is asked */
/* The one that worked last is tried first. */
void addresses_prefer(struct addresses *addresses, const struct endpoint *first);

#endif
