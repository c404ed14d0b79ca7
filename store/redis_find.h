/*
 * store/redis_find.h - from the URL to the address of the server that takes writes
 *
 * Of redis:// it is the address of the host. Sentinels are asked one after the other, FIND_SENTINEL_MS each,
 * which master they name.
 *
 * Ownership  The URL is borrowed and lives longer.
 * Timing     `done` exactly once, later, never after redis_find_cancel(). Names are looked up on a thread of the
 *            pool, so that nothing here waits for a DNS. No deadline of its own beyond the sentinels'.
 */
#ifndef STORE_REDIS_FIND_H
#define STORE_REDIS_FIND_H

#include "base/ip.h"
#include "base/loop.h"
#include "store/redis_url.h"
#include "tls/tls.h"

enum { FIND_SENTINEL_MS = 500 };

struct redis_find;

struct redis_found {
    struct endpoint at;
    const char *name; /* that its certificate must have; good until `done` returns */
};

/* found NULL: there is none, and `why` says so. */
typedef void redis_find_done_fn(const struct redis_found *found, const char *why, void *arg);

struct redis_find *redis_find_start(struct loop *loop, const struct redis_url *url, struct tls_context *tls,
                                    redis_find_done_fn *done, void *arg);
void redis_find_cancel(struct redis_find **find); /* NULL is fine; leaves NULL */

#endif
