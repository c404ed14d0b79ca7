#include "proxy/told.h"

#include "base/bug.h"
#include "base/hash.h"

#include <stdatomic.h>
#include <stdlib.h>

struct told {
    _Atomic uint64_t words[TOLD_SLOTS];
};

struct told *told_new(void)
{
    struct told *told = calloc(1, sizeof(*told));

    if (told == NULL)
        out_of_memory();
    return told;
}

void told_free(struct told **told)
{
    free(*told);
    *told = NULL;
}

struct told_mark told_mark_of(struct str key, struct str said, int64_t now_unix, int64_t keep_s)
{
    int64_t span_s = keep_s / 8 < TOLD_SPAN_S ? keep_s / 8 : TOLD_SPAN_S;
    uint64_t parts[3] = {hash_bytes(key.p, key.n), hash_bytes(said.p, said.n),
                         (uint64_t)(now_unix / (span_s > 0 ? span_s : 1))};
    uint64_t word = hash_bytes(parts, sizeof(parts));

    return (struct told_mark){.word = word > 0 ? word : 1, .slot = (uint32_t)(parts[0] % TOLD_SLOTS)};
}

/* A word says all there is to say, so no order with other memory is needed. */
bool told_has(const struct told *told, const struct told_mark *mark)
{
    return atomic_load_explicit(&told->words[mark->slot], memory_order_relaxed) == mark->word;
}

void told_note(struct told *told, const struct told_mark *mark)
{
    atomic_store_explicit(&told->words[mark->slot], mark->word, memory_order_relaxed);
}
