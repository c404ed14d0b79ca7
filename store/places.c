#include "store/places.h"

#include "base/bug.h"

#include <stdlib.h>

/*
 * Open addressing, linear probing: a place is in the first slot that was free from its home on, and whoever is removed
 * is followed by those behind him who may come nearer to their homes. Of the hash 32 bits are kept; they say where
 * home is, whatever the number of slots, so growing asks nobody for a name again.
 */

enum { SLOTS_MIN = 64 };

struct slot {
    uint32_t tag;
    uint32_t id[2]; /* low, high; 0: free. (An int64_t would make it 16 octets.) */
};

struct places {
    struct slot *slots;
    size_t slots_count, used;
};

static struct slot *new_slots(size_t count)
{
    struct slot *slots = calloc(count, sizeof(*slots));

    if (slots == NULL)
        out_of_memory();
    return slots;
}

struct places *places_new(void)
{
    struct places *places = calloc(1, sizeof(*places));

    if (places == NULL)
        out_of_memory();
    places->slots_count = SLOTS_MIN;
    places->slots = new_slots(SLOTS_MIN);
    return places;
}

void places_free(struct places **places)
{
    if (*places == NULL)
        return;
    free((*places)->slots);
    free(*places);
    *places = NULL;
}

/* ---- slots ---- */

static struct slot slot_of(uint64_t hash, int64_t id)
{
    return (struct slot){(uint32_t)(hash >> 32), {(uint32_t)id, (uint32_t)((uint64_t)id >> 32)}};
}

static bool is_free(const struct slot *slot)
{
    return (slot->id[0] | slot->id[1]) == 0;
}

static bool is_same(const struct slot *a, const struct slot *b)
{
    return a->tag == b->tag && a->id[0] == b->id[0] && a->id[1] == b->id[1];
}

static size_t home_of(const struct places *places, uint32_t tag)
{
    return (size_t)((uint64_t)tag * places->slots_count >> 32);
}

static size_t after(const struct places *places, size_t i)
{
    return i + 1 == places->slots_count ? 0 : i + 1;
}

static void put(struct places *places, const struct slot *slot)
{
    size_t i = home_of(places, slot->tag);

    while (!is_free(&places->slots[i]))
        i = after(places, i);
    places->slots[i] = *slot;
}

static void resize(struct places *places, size_t count)
{
    struct slot *old = places->slots;
    size_t old_count = places->slots_count;

    places->slots = new_slots(count);
    places->slots_count = count;
    for (size_t i = 0; i < old_count; i++)
        if (!is_free(&old[i]))
            put(places, &old[i]);
    free(old);
}

/* ---- adding, removing, searching ---- */

void places_add(struct places *places, uint64_t hash, int64_t id)
{
    struct slot slot = slot_of(hash, id);

    if (id <= 0)
        bug("a place with the id %lld", (long long)id);
    if ((places->used + 1) * 4 > places->slots_count * 3)
        resize(places, places->slots_count * 3 / 2);
    put(places, &slot);
    places->used++;
}

/* Is `home` within the slots behind `gap`, up to `i`? Then what lies in i is as near to it as it can be. */
static bool is_between(size_t gap, size_t home, size_t i)
{
    return gap < i ? gap < home && home <= i : gap < home || home <= i;
}

static void close_gap(struct places *places, size_t gap)
{
    for (size_t i = after(places, gap); !is_free(&places->slots[i]); i = after(places, i)) {
        if (is_between(gap, home_of(places, places->slots[i].tag), i))
            continue;
        places->slots[gap] = places->slots[i];
        gap = i;
    }
    places->slots[gap] = (struct slot){0};
}

void places_remove(struct places *places, uint64_t hash, int64_t id)
{
    struct slot slot = slot_of(hash, id);
    size_t i = home_of(places, slot.tag);

    while (!is_free(&places->slots[i]) && !is_same(&places->slots[i], &slot))
        i = after(places, i);
    if (is_free(&places->slots[i]))
        return;
    close_gap(places, i);
    places->used--;
    if (places->slots_count > SLOTS_MIN * 2 && places->used * 4 < places->slots_count)
        resize(places, places->slots_count / 2);
}

bool places_next(const struct places *places, struct places_search *search, int64_t *id_out)
{
    uint32_t tag = (uint32_t)(search->hash >> 32);
    size_t i = home_of(places, tag) + search->seen;

    for (i = i < places->slots_count ? i : i - places->slots_count; !is_free(&places->slots[i]);
         i = after(places, i)) {
        search->seen++;
        if (places->slots[i].tag != tag)
            continue;
        *id_out = (int64_t)((uint64_t)places->slots[i].id[1] << 32 | places->slots[i].id[0]);
        return true;
    }
    return false;
}

size_t places_count(const struct places *places)
{
    return places->used;
}
