/*
 * dns/transport.h - questions carried to the DNS servers, and what comes back       (the door to c-ares)
 *
 * Use        transport_ask() with a struct transport_query inside the asker's own. `done` gets the packet as
 *            it came, or why there is none. What servers and forgers make necessary happens in between: once
 *            more without EDNS, of the next server, by TCP.
 * Ownership  A query is the transport's until `done`; the question must live as long.
 * Timing     `done` exactly once, perhaps within transport_ask(), in transport_free() at the latest. A single
 *            query cannot be called off: with transport_abandon() it is not asked again, and what comes is
 *            handed on all the same. Deadlines belong to the caller.
 * Errors     None to return but at birth: without any reachable server a query ends in DNS_TIMEOUT or
 *            DNS_REFUSED.
 */
#ifndef DNS_TRANSPORT_H
#define DNS_TRANSPORT_H

#include "dns/message.h"
#include "dns/resolver.h"

struct transport;
struct transport_channel;

struct transport_reply {
    enum dns_status failure; /* without a packet */
    const unsigned char *packet;
    size_t n;
};
typedef void transport_done_fn(const struct transport_reply *reply, void *arg);

enum { TRANSPORT_WAYS = 4 };

struct transport_query {
    struct transport *transport;       /* the rest is the transport's */
    struct transport_channel *channel; /* the one it is on now */
    const struct dns_question *question;
    transport_done_fn *done;
    void *arg;
    bool abandoned;
    bool tried[TRANSPORT_WAYS];
    unsigned char packet[DNS_QUERY_MAX]; /* as it was sent last */
};

struct transport *transport_new(struct loop *loop, const struct dns_settings *settings, struct fail *fail);
void transport_free(struct transport **transport); /* NULL is fine; leaves NULL */

void transport_ask(struct transport *transport, struct transport_query *query,
                   const struct dns_question *question, transport_done_fn *done, void *arg);
void transport_abandon(struct transport_query *query);

/* Every server is on this machine: nobody between can have set the AD bit, or can forge answers. */
bool transport_is_local(const struct transport *transport);

/* Packets that came; of them those in another case than the question, which were asked for again. */
struct transport_counts {
    uint64_t answered, other_case;
};
struct transport_counts transport_counts(const struct transport *transport);

/* Whom it asks, in their order; returns how many there are, of which at most `most` were written. */
size_t transport_servers(const struct transport *transport, struct endpoint *servers_out, size_t most);

#endif
