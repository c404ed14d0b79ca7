/*
 * store/shared.h - the engine that hosts share: a Redis or Valkey, and what happens without it
 *
 * A thread with a loop of its own. While the server answers, requests are done there in groups
 * (store/redis_batch.h), and what they change is copied to the local file, fifty times a second at the most (and at
 * once when the server goes). When an answer takes longer than timeout_ms, or the server refuses (it loads, is
 * read-only, full, a replica), everything that waits goes to the local engine at once, and so does all that
 * follows, until the server can be written again: so a sender waits once at the most. It is tried again after
 * 250 ms, then after twice as long each time, 10 s at the most, less by chance up to half. What was changed
 * locally meanwhile is merged before the server is used again (store/away.h).
 *
 * A request that others are always faster than, or whose rows a cluster is moving, is done by the local engine
 * alone when half of its time is over.
 *
 * A table without a merge function gets STORE_UNAVAILABLE instead of a local answer.
 */
#ifndef STORE_SHARED_H
#define STORE_SHARED_H

#include "store/local.h"

struct shared;

/* Starts, and waits a second at the most until it is known whether the server answers. NULL for an URL that is
 * none, and for certificates that cannot be read. `local` lives longer. */
struct shared *shared_open(const struct store_settings *settings, struct local *local,
                           const struct clock *clock, struct fail *fail);
/* shared_stop() ends the thread: what was asked before is handed to the local engine. shared_free() after
 * local_close(). */
void shared_stop(struct shared *shared);
void shared_free(struct shared **shared); /* NULL is fine; leaves NULL */

/* The table as the settings have it, or NULL: it is not shared. */
const struct store_table *shared_table(const struct shared *shared, const char *name);
void shared_take(struct shared *shared, struct store_token *token); /* with token->shared */
/* As store_each() and store_find(), of such a table. */
int shared_each(struct shared *shared, const struct store_table *table, struct str prefix,
                store_each_fn *each, void *arg, struct fail *fail);
int shared_find(struct shared *shared, const struct store_table *table, struct str key, store_each_fn *each,
                void *arg, struct fail *fail);
int shared_ping(const char *url, struct fail *fail); /* as store_ping() */
bool shared_is_ready(const struct shared *shared);
uint64_t shared_updates(const struct shared *shared);

#endif
