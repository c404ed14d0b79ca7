/*
 * store/redis_read.h - rows of a Redis read on the calling thread, which waits (for verbs and reports)
 *
 * A connection of its own on a loop of its own, for as long as the call takes.
 * Limits  REDIS_READ_MS for each answer; REDIS_READ_ROWS rows that match, which are gathered and sorted here
 *         (of a group: its own).
 * Errors  -1 and a sentence: not reached, refused, too many rows.
 */
#ifndef STORE_REDIS_READ_H
#define STORE_REDIS_READ_H

#include "store/redis_url.h"
#include "store/store.h"
#include "tls/tls.h"

enum { REDIS_READ_MS = 5000, REDIS_READ_ROWS = 4000000 };

struct redis_source {
    const struct redis_url *url;
    struct tls_context *tls; /* NULL: none */
    const char *shown;       /* the URL, for sentences */
    int64_t now_unix;        /* rows that have expired by then are left out */
};

/* As store_each() and store_find(). */
int redis_read_each(const struct redis_source *source, const struct store_table *table, struct str prefix,
                    store_each_fn *each, void *arg, struct fail *fail);
int redis_read_one(const struct redis_source *source, const struct store_table *table, struct str key,
                   store_each_fn *each, void *arg, struct fail *fail);

#endif
