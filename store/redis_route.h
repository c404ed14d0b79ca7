/*
 * store/redis_route.h - one server, or the masters of a cluster, behind one question
 *
 * Opens what the URL names: the server, the master that sentinels name, or all masters that a node of the
 * cluster tells of. A question goes to the server that has its key; one that a cluster moved meanwhile is asked
 * again where it went (MOVED, ASK). TRYAGAIN, when some of its keys have gone and others have not, is its reply.
 *
 * Ownership  The URL is borrowed and lives longer; the TLS context is referenced by the links.
 * Timing     As redis_link.h: `on_ready` once all servers may be asked, `on_end` once: a lost server ends the route,
 *            as does one that is not known yet; open it anew. redis_route_close() from inside any callback.
 *            Replies of one server come in the order of its questions.
 */
#ifndef STORE_REDIS_ROUTE_H
#define STORE_REDIS_ROUTE_H

#include "store/redis_link.h"
#include "store/redis_url.h"

enum { REDIS_NODES_MAX = 64, REDIS_SLOTS = 16384 };

struct redis_route;

struct redis_route *redis_route_open(struct loop *loop, const struct redis_url *url, struct tls_context *tls,
                                     const struct redis_link_events *events, void *arg);
void redis_route_close(struct redis_route **route); /* NULL is fine; leaves NULL */

/* All keys of the words lie with `key`. */
void redis_route_ask(struct redis_route *route, struct str key, const struct str *words, size_t count,
                     redis_reply_fn *reply, void *arg);

size_t redis_route_nodes(const struct redis_route *route); /* more when a new one gets its first slot */
void redis_route_ask_node(struct redis_route *route, size_t node, const struct str *words, size_t count,
                          redis_reply_fn *reply, void *arg);
/* A key beginning so that lies on this node; from mem. */
struct str redis_route_key_on(struct redis_route *route, struct arena *mem, size_t node, const char *prefix);

/* Pure: CRC16 of the key, or of what stands between its first braces, modulo REDIS_SLOTS. */
unsigned redis_route_slot(struct str key);

#endif
