/*
 * store/redis_batch.h - a group of requests, done on the rows of a Redis
 *
 * All rows of the group are read in one flight; then the changes are reckoned here, one after the other, each
 * seeing what those before it have changed; then they are written in a second flight, each by a script that
 * writes only when the rows still are what was read. So no two requests of this process are in each other's
 * way, and one that another host was faster than is done again.
 *
 * Ownership  The batch owns the tokens that it was given until `done`, or until redis_batch_abort().
 * Timing     One group at a time. `done` exactly once, later. No deadlines of its own. Close the route before
 *            the batch is aborted or freed.
 */
#ifndef STORE_REDIS_BATCH_H
#define STORE_REDIS_BATCH_H

#include "store/away.h"
#include "store/redis_route.h"

enum { REDIS_BATCH_MAX = AWAY_ROWS_MAX / STORE_KEYS_MAX };

struct redis_batch;

struct redis_batch_outcome {
    struct store_token *done; /* as asked */
    struct store_token
        *again; /* somebody else has changed a row, the script is unknown, or the rows are being
                                  * moved to another node of the cluster, one after the other */
    struct store_token *refused; /* by the server, and nothing was changed */
    char why[200];               /* the first refusal */
    bool no_script;              /* load it first */
    struct away_rows *changed;   /* by those that are done; the receiver's. NULL: none */
};
typedef void redis_batch_done_fn(const struct redis_batch_outcome *outcome, void *arg);

struct redis_batch *redis_batch_new(redis_batch_done_fn *done, void *arg);
void redis_batch_free(struct redis_batch **batch); /* idle or aborted */

/* `list` has 1 to REDIS_BATCH_MAX tokens; `script` is the name that SCRIPT LOAD gave. */
void redis_batch_start(struct redis_batch *batch, struct redis_route *route, struct str script,
                       struct store_token *list, int64_t now_unix);
bool redis_batch_is_busy(const struct redis_batch *batch);
struct store_token *redis_batch_abort(struct redis_batch *batch); /* whom nobody has answered, in order */

#endif
