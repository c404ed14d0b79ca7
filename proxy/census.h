/*
 * proxy/census.h - the open sessions of all workers, by what they are doing
 *
 * Each worker counts its own on its loop. The main thread waits for that, CENSUS_MS at the most: a worker that stands
 * still is not in it.
 */
#ifndef PROXY_CENSUS_H
#define PROXY_CENSUS_H

#include "proxy/worker.h"

enum { CENSUS_MS = 200, CENSUS_ROWS = 16 };

struct census {
    struct census_row {
        const char *moment; /* as session_moment() has it */
        size_t sessions;
    } rows[CENSUS_ROWS]; /* by their names */
    size_t count;
    size_t silent; /* workers that did not answer in time */
};

void census_take(struct worker *const *workers, size_t count, struct census *out);

/* Adds what `other` counted. */
void census_add(struct census *census, const struct census *other);

#endif
