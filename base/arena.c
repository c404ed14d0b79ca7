#include "base/arena.h"

#include "base/bug.h"

#include <stdalign.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { FIRST_BYTES = 1024, MOST_BLOCK_BYTES = 64 * 1024 };

struct block {
    struct block *next;
    size_t used, size;
    alignas(max_align_t) unsigned char bytes[];
};

/* The arena's own fields live in front of its first block, so that one malloc makes both. */
struct arena {
    struct block *current;
    size_t total;
    struct block first;
};

struct arena *arena_new(size_t first_bytes)
{
    size_t size = first_bytes > 0 ? first_bytes : FIRST_BYTES;
    struct arena *mem = malloc(sizeof(*mem) + size);

    if (mem == NULL)
        out_of_memory();
    mem->first.next = NULL;
    mem->first.used = 0;
    mem->first.size = size;
    mem->current = &mem->first;
    mem->total = sizeof(*mem) + size;
    return mem;
}

static void free_later_blocks(struct arena *mem)
{
    struct block *block = mem->current;

    while (block != &mem->first) {
        struct block *next = block->next;

        mem->total -= sizeof(*block) + block->size;
        free(block);
        block = next;
    }
    mem->current = &mem->first;
}

void arena_free(struct arena **mem)
{
    if (*mem == NULL)
        return;
    free_later_blocks(*mem);
    free(*mem);
    *mem = NULL;
}

void arena_reset(struct arena *mem)
{
    free_later_blocks(mem);
    mem->first.used = 0;
}

size_t arena_bytes(const struct arena *mem)
{
    return mem->total;
}

/* Blocks double with the arena, so that a big lifetime needs few of them. */
static struct block *add_block(struct arena *mem, size_t needed)
{
    size_t size = mem->total < MOST_BLOCK_BYTES ? mem->total : MOST_BLOCK_BYTES;
    struct block *block;

    if (size < needed)
        size = needed;
    block = malloc(sizeof(*block) + size);
    if (block == NULL)
        out_of_memory();
    block->next = mem->current;
    block->used = 0;
    block->size = size;
    mem->current = block;
    mem->total += sizeof(*block) + size;
    return block;
}

void *arena_alloc(struct arena *mem, size_t bytes)
{
    const size_t align = alignof(max_align_t);
    struct block *block = mem->current;
    size_t rounded;
    void *p;

    if (bytes > SIZE_MAX / 2)
        bug("arena_alloc of %zu bytes", bytes);
    rounded = (bytes + align - 1) / align * align;
    if (block->size - block->used < rounded)
        block = add_block(mem, rounded);
    p = block->bytes + block->used;
    block->used += rounded;
    return memset(p, 0, bytes);
}

void *arena_copy(struct arena *mem, const void *from, size_t bytes)
{
    void *to = arena_alloc(mem, bytes);

    return bytes > 0 ? memcpy(to, from, bytes) : to;
}

void *arena_alloc_array(struct arena *mem, size_t count, size_t bytes_each)
{
    if (bytes_each > 0 && count > SIZE_MAX / 2 / bytes_each)
        bug("arena_alloc_array of %zu times %zu bytes", count, bytes_each);
    return arena_alloc(mem, count * bytes_each);
}
