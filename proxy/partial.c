#include "proxy/partial.h"

#include "auth/dkim_key.h"
#include "base/hash.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * Roads not taken: refusing every second recipient of an LMTP backend (452 4.5.3). That is as true, but a message to
 * ten would wait for nine retries, and replies differ very seldom. And one row for a pair, with a list of messages in it:
 * it would have to be bounded and merged, where the store does both with rows.
 */

static const int64_t lasts_s = 5LL * 24 * 3600;

enum { LATE_MS = 1000 };

/* A row for a sender and a recipient; and one, a dot and the message's name longer, for what he has. */
enum { NAME_BYTES = 16, NAME_CHARS = 2 * NAME_BYTES, KEY_MAX = NAME_CHARS + 1 + NAME_CHARS };

struct key {
    char text[KEY_MAX + 1]; /* zeros behind its end */
};

struct partial {
    struct key key;
    int64_t until_unix;
    UT_hash_handle hh; /* in the order of their coming */
};

struct partials {
    struct store *store;
    const struct clock *clock;
    pthread_mutex_t lock;
    struct partial *table;
};

struct partials *partials_new(struct store *store, const struct clock *clock)
{
    struct partials *partials = calloc(1, sizeof(*partials));

    if (partials == NULL)
        out_of_memory();
    partials->store = store;
    partials->clock = clock;
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

/* ---- names and keys ---- */

/* Half of a SHA-256 will do: nobody can find a second message for one that he has not chosen himself. */
static void end_name(struct dkim_hash **hash, char name_out[NAME_CHARS + 1])
{
    uint8_t digest[DKIM_HASH_BYTES];

    dkim_hash_end(hash, digest);
    for (size_t i = 0; i < NAME_BYTES; i++)
        snprintf(name_out + 2 * i, 3, "%02x", digest[i]);
}

struct str partial_message(struct arena *mem, struct dkim_hash **octets)
{
    char name[NAME_CHARS + 1];

    end_name(octets, name);
    return str_copy(mem, str_make(name, NAME_CHARS));
}

/* No address has a line feed. */
static struct key pair_key(const struct partial_pair *pair)
{
    struct dkim_hash *hash = dkim_hash_new();
    struct key key = {{0}};

    dkim_hash_add(hash, pair->sender.p, pair->sender.n);
    dkim_hash_add(hash, "\n", 1);
    dkim_hash_add(hash, pair->recipient.p, pair->recipient.n);
    end_name(&hash, key.text);
    return key;
}

static struct key message_key(const struct key *pair, struct str message)
{
    struct key key = *pair;

    message = str_upto(message, NAME_CHARS);
    key.text[NAME_CHARS] = '.';
    if (message.n > 0)
        memcpy(key.text + NAME_CHARS + 1, message.p, message.n);
    return key;
}

struct str partial_tag(struct str key)
{
    return str_upto(key, NAME_CHARS);
}

/* ---- the process's memory ---- */

static void remember(struct partials *partials, const struct key *key)
{
    int64_t now_unix = clock_unix(partials->clock);
    struct partial *partial;

    pthread_mutex_lock(&partials->lock);
    while (partials->table != NULL && partials->table->until_unix <= now_unix)
        forget(partials, partials->table);
    HASH_FIND(hh, partials->table, key, sizeof(*key), partial);
    if (partial != NULL) /* so that the order is that of the times */
        forget(partials, partial);
    else if (HASH_COUNT(partials->table) >= PARTIALS_MAX)
        forget(partials, partials->table);
    partial = calloc(1, sizeof(*partial));
    if (partial == NULL)
        out_of_memory();
    partial->key = *key;
    partial->until_unix = now_unix + lasts_s;
    HASH_ADD(hh, partials->table, key, sizeof(partial->key), partial);
    pthread_mutex_unlock(&partials->lock);
}

static bool remembers(struct partials *partials, const struct key *key)
{
    struct partial *partial;
    bool found;

    pthread_mutex_lock(&partials->lock);
    HASH_FIND(hh, partials->table, key, sizeof(*key), partial);
    found = partial != NULL && partial->until_unix > clock_unix(partials->clock);
    pthread_mutex_unlock(&partials->lock);
    return found;
}

/* ---- the store's ---- */

struct question {
    int64_t until_unix; /* 0: is there a row? */
};

static void change(struct arena *mem, const void *question, struct store_row *rows, size_t count,
                   void *result)
{
    const struct question *q = question;
    bool found = rows[0].value.n > 0;

    (void)mem;
    memcpy(result, &found, sizeof(found));
    for (size_t i = 0; q->until_unix > 0 && i < count; i++)
        rows[i] = (struct store_row){STR("1"), q->until_unix};
}

/* ---- questions ---- */

struct partial_query {
    bool is_note, yes;
    struct store_token *token;
    struct timer late;
    struct later soon; /* the process knew it */
    partial_fn *done;
    void *arg;
};

static void answer(void *arg)
{
    struct partial_query *query = arg;

    timer_stop(&query->late);
    store_cancel(&query->token);
    query->done(query->yes, query->arg);
}

static void on_stored(enum store_status status, const void *result, void *arg)
{
    struct partial_query *query = arg;

    query->token = NULL;
    if (status == STORE_DONE && query->is_note)
        query->yes = true;
    else if (status == STORE_DONE)
        memcpy(&query->yes, result, sizeof(query->yes));
    answer(query);
}

static void ask_store(struct partials *partials, struct loop *loop, const struct key *keys, size_t count,
                      const struct question *question, struct partial_query *query)
{
    struct store_request request = {.table = PARTIAL_TABLE,
                                    .keys_count = count,
                                    .change = change,
                                    .question = question,
                                    .question_bytes = sizeof(*question),
                                    .result_bytes = sizeof(bool)};

    for (size_t i = 0; i < count; i++)
        request.keys[i] = str_of(keys[i].text);
    query->token = store_update(partials->store, loop, &request, on_stored, query);
    timer_start(&query->late, loop, LATE_MS, answer, query);
}

static struct partial_query *new_query(struct arena *mem, partial_fn *done, void *arg)
{
    struct partial_query *query = ARENA_NEW(mem, struct partial_query);

    *query = (struct partial_query){.done = done, .arg = arg};
    return query;
}

static struct partial_query *ask(struct partials *partials, struct loop *loop, struct arena *mem,
                                 const struct key *key, partial_fn *done, void *arg)
{
    struct partial_query *query = new_query(mem, done, arg);

    query->yes = remembers(partials, key);
    if (query->yes)
        later_start(&query->soon, loop, answer, query);
    else
        ask_store(partials, loop, key, 1, &(struct question){0}, query);
    return query;
}

struct partial_query *partials_ask_alone(struct partials *partials, struct loop *loop, struct arena *mem,
                                         const struct partial_pair *pair, partial_fn *done, void *arg)
{
    struct key key = pair_key(pair);

    return ask(partials, loop, mem, &key, done, arg);
}

struct partial_query *partials_ask_taken(struct partials *partials, struct loop *loop, struct arena *mem,
                                         const struct partial_pair *pair, struct str message,
                                         partial_fn *done, void *arg)
{
    struct key both = pair_key(pair), key = message_key(&both, message);

    return ask(partials, loop, mem, &key, done, arg);
}

struct partial_query *partials_note(struct partials *partials, struct loop *loop, struct arena *mem,
                                    const struct partial_pair *pair, struct str message, partial_fn *done,
                                    void *arg)
{
    struct question question = {clock_unix(partials->clock) + lasts_s};
    struct key keys[2] = {pair_key(pair)};
    struct partial_query *query = new_query(mem, done, arg);
    size_t count = message.n > 0 ? 2 : 1;

    keys[1] = message_key(&keys[0], message);
    for (size_t i = 0; i < count; i++)
        remember(partials, &keys[i]);
    query->is_note = true;
    ask_store(partials, loop, keys, count, &question, query);
    return query;
}

void partial_cancel(struct partial_query **query)
{
    if (*query == NULL)
        return;
    later_cancel(&(*query)->soon);
    timer_stop(&(*query)->late);
    store_cancel(&(*query)->token);
    *query = NULL;
}
