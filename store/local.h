/*
 * store/local.h - the engine of one host: a thread that owns the SQLite file
 *
 * It serves tables that are not shared, answers for the shared engine when that one is away, and keeps a copy
 * of what passed through it. A corrupt file is set aside and begun anew; without a usable file the answer is
 * STORE_UNAVAILABLE, and it tries again every few seconds.
 *
 * Threads    local_take() from any; a job or a change runs on the engine's own.
 */
#ifndef STORE_LOCAL_H
#define STORE_LOCAL_H

#include "store/store_in.h"

struct local;

struct local_settings {
    struct str path;    /* copied */
    int busy_ms;        /* how long it waits for another process's lock */
    size_t waiting_max; /* as store_settings */
    size_t rows_max;
    size_t log_bytes;
    const struct store_table *tables;
    size_t tables_count;
    bool guest;
};

/* The file is opened before this returns, so that whoever opens it knows at once whether it is available. */
struct local *local_open(const struct local_settings *settings, const struct clock *clock);
void local_close(struct local **local); /* what was asked before is done first; NULL is fine; leaves NULL */

/* Takes the token, and answers it. False: too many wait, and the answer is STORE_UNAVAILABLE. `gathers`: more may come at
 * once, and local_hand_over() when that was all. */
bool local_take(struct local *local, struct store_token *token, bool gathers);
void local_hand_over(struct local *local);

bool local_is_available(const struct local *local);
const char *local_file(const struct local *local); /* its path */
struct store_counts local_counts(const struct local *local);
int local_each(struct local *local, const char *table, struct str prefix, store_each_fn *each, void *arg,
               struct fail *fail); /* as store_each() */

#endif
