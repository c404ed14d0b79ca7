/*
 * store/redis_link.h - one connection to a Redis or Valkey server: introduced, then asked
 *
 * Ownership  Settings are copied, but for `tls`, which is referenced. redis_link_close() ends it at once: no
 *            callback runs afterwards, and who waits for a reply hears nothing. It may be called from inside
 *            any of its own callbacks.
 * Timing     Nothing is called before the call that started it has returned. `on_ready` once the server has
 *            taken user, password and database; only then it may be asked. Replies come in the order of
 *            the questions; questions of one turn of the loop leave in one write. No deadlines of its own.
 * Errors     `on_end` once, with a sentence: refused, hung up, not whom we expect, or an introduction that the
 *            server refused. What waits for a reply then hears nothing more, and may have been done or not.
 */
#ifndef STORE_REDIS_LINK_H
#define STORE_REDIS_LINK_H

#include "base/ip.h"
#include "base/loop.h"
#include "store/resp.h"
#include "tls/tls.h"

struct redis_link;

struct redis_link_settings {
    struct endpoint at;
    struct tls_context *tls;     /* NULL: none */
    const char *name;            /* that the certificate must have */
    const char *user, *password; /* "": none */
    unsigned database;
};

struct redis_link_events {
    void (*on_ready)(void *arg);
    void (*on_end)(const char *why, void *arg);
};

typedef void redis_reply_fn(const struct resp *reply, void *arg);

/* NULL: no descriptor is left. */
struct redis_link *redis_link_open(struct loop *loop, const struct redis_link_settings *settings,
                                   const struct redis_link_events *events, void *arg);
void redis_link_close(struct redis_link **link); /* NULL is fine; leaves NULL */

/* The words are copied. `reply` NULL: nobody wants to hear it. */
void redis_link_ask(struct redis_link *link, const struct str *words, size_t count, redis_reply_fn *reply,
                    void *arg);
size_t redis_link_waiting(const struct redis_link *link); /* questions without a reply */

#endif
