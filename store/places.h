/*
 * store/places.h - where rows lie, by the hash of their names: what a heap has instead of an index on the disk
 *
 * Different rows may have one hash, so a search gives candidates, and whoever asks looks at the rows.
 *
 * Limits     12 octets a row, and a third to the whole of that besides; while it grows, both sizes are there.
 * Threads    None: its owner's.
 */
#ifndef STORE_PLACES_H
#define STORE_PLACES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct places;

struct places *places_new(void);
void places_free(struct places **places); /* NULL is fine; leaves NULL */

/* Ids are above 0. No pair of hash and id is added twice. */
void places_add(struct places *places, uint64_t hash, int64_t id);
void places_remove(struct places *places, uint64_t hash, int64_t id); /* one that is not there: nothing */

/* Begin with {.hash = …}; false: there is no other. Adding or removing ends a search. */
struct places_search {
    uint64_t hash;
    size_t seen;
};
bool places_next(const struct places *places, struct places_search *search, int64_t *id_out);

size_t places_count(const struct places *places);

#endif
