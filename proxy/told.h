/*
 * proxy/told.h - what the store has been told lately, so that it is not told again
 *
 * A table without locks that all workers share: one word for each key, made of the key, of what was said of it, and of
 * the span of time in which that was. A word that is there means that the store has heard just this within the span.
 *
 * Limits  TOLD_SLOTS words, however many keys there are: a key that falls into the slot of another takes it, and the other
 *         is told once more. A span is an eighth of the time for which the row is kept, and TOLD_SPAN_S at the most.
 */
#ifndef PROXY_TOLD_H
#define PROXY_TOLD_H

#include "base/str.h"

enum { TOLD_SLOTS = 8192, TOLD_SPAN_S = 600 };

struct told;

struct told_mark {
    uint64_t word; /* never 0 */
    uint32_t slot;
};

struct told *told_new(void);
void told_free(struct told **told); /* NULL is fine; leaves NULL */

struct told_mark told_mark_of(struct str key, struct str said, int64_t now_unix, int64_t keep_s);
bool told_has(const struct told *told, const struct told_mark *mark);
void told_note(struct told *told, const struct told_mark *mark); /* the store has answered: it knows */

#endif
