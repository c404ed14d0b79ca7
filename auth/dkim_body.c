#include "auth/dkim_body.h"

#include "base/bug.h"

struct dkim_bodies {
    struct arena *mem;
    size_t count, most;
    struct dkim_body_hash *hashes;
    struct dkim_canon_body *canons[2]; /* by enum dkim_canon; NULL when nobody wants it */
};

struct dkim_bodies *dkim_bodies_new(struct arena *mem, size_t most)
{
    struct dkim_bodies *b = ARENA_NEW(mem, struct dkim_bodies);

    b->mem = mem;
    b->most = most;
    b->hashes = ARENA_ARRAY(mem, struct dkim_body_hash, most);
    return b;
}

/* Each hash takes what its length has left for it. */
static void feed(struct dkim_bodies *b, enum dkim_canon canon, const char *p, size_t n)
{
    for (size_t i = 0; i < b->count; i++) {
        struct dkim_body_hash *it = &b->hashes[i];
        size_t part = it->left < n ? (size_t)it->left : n;

        if (it->canon != canon || part == 0)
            continue;
        dkim_hash_add(it->hash, p, part);
        it->left -= part;
    }
}

static void on_simple(void *arg, const char *p, size_t n)
{
    feed(arg, DKIM_SIMPLE, p, n);
}

static void on_relaxed(void *arg, const char *p, size_t n)
{
    feed(arg, DKIM_RELAXED, p, n);
}

const struct dkim_body_hash *dkim_bodies_want(struct dkim_bodies *b, enum dkim_canon canon, bool has_length,
                                              uint64_t length)
{
    struct dkim_canon_body **body = &b->canons[canon];
    struct dkim_body_hash *it;

    for (size_t i = 0; i < b->count; i++) {
        it = &b->hashes[i];
        if (it->canon == canon && it->has_length == has_length && it->length == length)
            return it;
    }
    if (b->count == b->most)
        bug("more than %zu body hashes", b->most);
    if (*body == NULL) {
        *body = ARENA_NEW(b->mem, struct dkim_canon_body);
        dkim_canon_body_init(*body, canon, canon == DKIM_SIMPLE ? on_simple : on_relaxed, b);
    }
    it = &b->hashes[b->count++];
    it->canon = canon;
    it->has_length = has_length;
    it->length = length;
    it->left = has_length ? length : UINT64_MAX;
    it->hash = dkim_hash_new();
    return it;
}

void dkim_bodies_add(struct dkim_bodies *b, struct str piece)
{
    for (size_t i = 0; i < COUNT(b->canons); i++)
        if (b->canons[i] != NULL)
            dkim_canon_body_add(b->canons[i], piece);
}

void dkim_bodies_end(struct dkim_bodies *b)
{
    for (size_t i = 0; i < COUNT(b->canons); i++)
        if (b->canons[i] != NULL)
            dkim_canon_body_end(b->canons[i]);
    for (size_t i = 0; i < b->count; i++)
        dkim_hash_end(&b->hashes[i].hash, b->hashes[i].digest);
}

void dkim_bodies_drop(struct dkim_bodies *b)
{
    for (size_t i = 0; i < b->count; i++)
        dkim_hash_drop(&b->hashes[i].hash);
}

uint64_t dkim_bodies_length(const struct dkim_bodies *b, enum dkim_canon canon)
{
    return b->canons[canon]->out.bytes;
}
