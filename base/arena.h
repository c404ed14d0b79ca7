/*
 * base/arena.h - memory that lives and dies together
 *
 * Ownership  One arena per lifetime: process, session, transaction. What is allocated from it
 *            is never freed one by one; arena_free() or arena_reset() ends it all.
 * Limits     None of its own: sizes that come from outside are limited before they are
 *            allocated. `arena_bytes` tells what an arena holds.
 * Errors     arena_alloc() never returns NULL; without memory the process ends (out_of_memory).
 * Threads    An arena belongs to one thread at a time.
 */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include <stddef.h>

struct arena;

struct arena *arena_new(size_t first_bytes); /* size of the first block; 0: 1 KiB */
void arena_free(struct arena **mem);         /* NULL is fine; leaves NULL */
void arena_reset(struct arena *mem);         /* forgets everything, keeps the first block */
size_t arena_bytes(const struct arena *mem); /* what the blocks occupy */

/* Zeroed and aligned for any type. */
void *arena_alloc(struct arena *mem, size_t bytes);
void *arena_copy(struct arena *mem, const void *from, size_t bytes);

#define ARENA_NEW(mem, type)          ((type *)arena_alloc((mem), sizeof(type)))
#define ARENA_ARRAY(mem, type, count) ((type *)arena_alloc_array((mem), (count), sizeof(type)))
void *arena_alloc_array(struct arena *mem, size_t count, size_t bytes_each);

#endif
