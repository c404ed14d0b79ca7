/*
 * proxy/rate.h - how fast a client connects, to all hosts that share a store
 *
 * limits.new_connections_per_client holds for the hosts together. Each tells the others, by a row of the shared table
 * "rate", how many new connections of a client it has had in its window, each time a sixteenth of the limit has come
 * on top; and hears what the others have told. An ordinary client never gets that far, and costs no question.
 *
 * The connection that is counted waits for none of this: what is heard holds for the next one (proxy/clients.h). While the
 * shared store is away each host counts for itself.
 *
 * What another host has told fades: after half a window it counts half. So windows that do not begin together add up to
 * no more than the clients' real rate.
 */
#ifndef PROXY_RATE_H
#define PROXY_RATE_H

#include "proxy/service.h"

#define RATE_TABLE "rate"
enum { RATE_HOSTS_MAX = 100 }; /* in a row; of more the oldest are forgotten */

/* To be called when a new connection was counted. */
void rate_tell(struct service *service, const struct ip *ip);

/* The pure part. `origin` is the host that asks. */
struct rate_question {
    uint64_t origin;
    int64_t now_unix, window_s, asked_ms;
    unsigned count; /* new connections here, since the window began */
    struct ip client;
};
struct rate_answer {
    struct ip client;
    int64_t asked_ms;
    unsigned elsewhere; /* at the other hosts */
};
store_change_fn rate_change;

#endif
