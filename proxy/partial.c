#include "proxy/partial.h"

#include "base/hash.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/*
 * A road not taken: refusing every second recipient of an LMTP backend (452 4.5.3). That is as true, but a message to
 * ten would wait for nine retries, and replies differ very seldom.
 */

static const int64_t lasts_ms = 5LL * 24 * 3600 * 1000;

/* Of a message that is any. */
enum { ANY_MESSAGE = 0 };

struct partial {
    uint64_t key[2]; /* hashes of sender, recipient, message */
    int64_t until_ms;
    UT_hash_handle hh; /* in the order of their coming */
};

struct partials {
    pthread_mutex_t lock;
    struct partial *table;
};

struct partials *partials_new(void)
{
    struct partials *partials = calloc(1, sizeof(*partials));

    if (partials == NULL)
        out_of_memory();
    pthread_mutex_init(&partials->lock, NULL);
    return partials;
}

static void forget(struct partials *partials, struct partial *partial)
{
    HASH_DEL(partials->table, partial);
    free(partial);
}

void partials_free(struct partials **partials)
{
    if (*partials == NULL)
        return;
    while ((*partials)->table != NULL)
        forget(*partials, (*partials)->table);
    pthread_mutex_destroy(&(*partials)->lock);
    free(*partials);
    *partials = NULL;
}

/* ---- messages ---- */

static void hash_block(struct partial_digest *digest)
{
    uint64_t hash = hash_bytes(digest->block, sizeof(uint64_t) + digest->n);

    memcpy(digest->block, &hash, sizeof(hash));
    digest->n = 0;
}

void partial_digest_add(struct partial_digest *digest, struct str piece)
{
    while (piece.n > 0) {
        size_t take = PARTIAL_BLOCK - digest->n;

        if (take > piece.n)
            take = piece.n;
        memcpy(digest->block + sizeof(uint64_t) + digest->n, piece.p, take);
        digest->n += take;
        piece = str_from(piece, take);
        if (digest->n == PARTIAL_BLOCK)
            hash_block(digest);
    }
}

uint64_t partial_digest_end(struct partial_digest *digest)
{
    uint64_t hash;

    hash_block(digest);
    memcpy(&hash, digest->block, sizeof(hash));
    return hash == ANY_MESSAGE ? 1 : hash;
}

/* ---- the table ---- */

static void make_key(struct str sender, struct str recipient, uint64_t message, uint64_t key[2])
{
    uint64_t parts[3] = {hash_bytes(sender.p, sender.n), hash_bytes(recipient.p, recipient.n), message};

    key[0] = hash_bytes(parts, sizeof(parts));
    key[1] = message;
}

static void remember(struct partials *partials, const uint64_t key[2], int64_t until_ms)
{
    struct partial *partial;

    HASH_FIND(hh, partials->table, key, sizeof(partial->key), partial);
    if (partial != NULL) { /* so that the order is that of the times */
        forget(partials, partial);
    } else if (HASH_COUNT(partials->table) >= PARTIALS_MAX) {
        forget(partials, partials->table);
    }
    partial = calloc(1, sizeof(*partial));
    if (partial == NULL)
        out_of_memory();
    memcpy(partial->key, key, sizeof(partial->key));
    partial->until_ms = until_ms;
    HASH_ADD(hh, partials->table, key, sizeof(partial->key), partial);
}

static void add(struct partials *partials, struct str sender, struct str recipient, uint64_t message,
                int64_t now_ms)
{
    uint64_t key[2];

    make_key(sender, recipient, message, key);
    pthread_mutex_lock(&partials->lock);
    while (partials->table != NULL && partials->table->until_ms <= now_ms)
        forget(partials, partials->table);
    remember(partials, key, now_ms + lasts_ms);
    pthread_mutex_unlock(&partials->lock);
}

static bool has(struct partials *partials, struct str sender, struct str recipient, uint64_t message,
                int64_t now_ms)
{
    struct partial *partial;
    uint64_t key[2];
    bool found;

    make_key(sender, recipient, message, key);
    pthread_mutex_lock(&partials->lock);
    HASH_FIND(hh, partials->table, key, sizeof(key), partial);
    found = partial != NULL && partial->until_ms > now_ms;
    pthread_mutex_unlock(&partials->lock);
    return found;
}

void partials_separate(struct partials *partials, struct str sender, struct str recipient, int64_t now_ms)
{
    add(partials, sender, recipient, ANY_MESSAGE, now_ms);
}

bool partials_is_separate(struct partials *partials, struct str sender, struct str recipient, int64_t now_ms)
{
    return has(partials, sender, recipient, ANY_MESSAGE, now_ms);
}

void partials_note(struct partials *partials, struct str sender, struct str recipient, uint64_t message,
                   int64_t now_ms)
{
    add(partials, sender, recipient, message, now_ms);
}

bool partials_has(struct partials *partials, struct str sender, struct str recipient, uint64_t message,
                  int64_t now_ms)
{
    return has(partials, sender, recipient, message, now_ms);
}
