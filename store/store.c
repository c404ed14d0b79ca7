#include "store/store.h"

#include "base/bug.h"
#include "store/redis_url.h"
#include "store/shared.h"

#include <stdlib.h>
#include <string.h>

/*
 * Which engine gets a request: the shared one for tables that are shared, as long as it is there; else the
 * local one, which for such tables notes what it changes.
 */

enum { BUSY_MS_MAX = 1000 };

struct store {
    struct local *local;
    struct shared *shared; /* NULL: nothing is shared */
};

static const struct store_table *shared_one(const struct store *store, const char *table)
{
    return store->shared != NULL ? shared_table(store->shared, table) : NULL;
}

struct store_token *store_update(struct store *store, struct loop *loop, const struct store_request *request,
                                 store_done_fn *done, void *arg)
{
    struct store_token *token;

    if (request->keys_count == 0)
        bug("store request without a key");
    token = token_new(request, loop, done, arg);
    token->shared = shared_one(store, token->table);
    if (token->shared != NULL)
        shared_take(store->shared, token);
    else
        local_take(store->local, token, loop_is_told_before_waiting(loop));
    return token;
}

static void hand_over(void *arg)
{
    struct store *store = arg;

    local_hand_over(store->local);
}

void store_gather(struct store *store, struct loop *loop)
{
    loop_before_waiting(loop, hand_over, store);
}

int store_ping(const char *url, struct fail *fail)
{
    return shared_ping(url, fail);
}

int store_backup(const char *path, const char *to, struct fail *fail)
{
    return sqlite_backup(path, to, fail);
}

/* ---- life ---- */

static int busy_ms(const struct store_settings *settings)
{
    return settings->timeout_ms > 0 && settings->timeout_ms < BUSY_MS_MAX ? (int)settings->timeout_ms
                                                                          : BUSY_MS_MAX;
}

static int open_engines(struct store *store, const struct store_settings *settings, const struct clock *clock,
                        struct fail *fail)
{
    struct str url = str_of(settings->url);
    bool shared = redis_url_is(url);
    struct local_settings file = {.path = shared ? str_of(settings->local) : str_from(url, strlen("sqlite:")),
                                  .busy_ms = busy_ms(settings),
                                  .waiting_max = settings->waiting_max,
                                  .rows_max = settings->rows_max,
                                  .log_bytes = settings->log_bytes,
                                  .tables = settings->tables,
                                  .tables_count = settings->tables_count,
                                  .guest = settings->guest};

    if (!shared && (!str_starts(url, STR("sqlite:")) || file.path.n == 0))
        return fail_set(fail, "\"%s\" is no store: it must be sqlite:PATH or redis://HOST",
                        settings->url != NULL ? settings->url : "");
    if (file.path.n == 0)
        return fail_set(fail, "a shared store needs the path of a local one");
    store->local = local_open(&file, clock);
    if (shared)
        store->shared = shared_open(settings, store->local, clock, fail);
    return shared && store->shared == NULL ? -1 : 0;
}

struct store *store_open(const struct store_settings *settings, const struct clock *clock, struct fail *fail)
{
    struct store *store = calloc(1, sizeof(*store));

    if (store == NULL)
        out_of_memory();
    if (open_engines(store, settings, clock, fail) != 0)
        store_close(&store);
    return store;
}

void store_close(struct store **store)
{
    struct store *s = *store;

    if (s == NULL)
        return;
    shared_stop(s->shared);
    local_close(&s->local);
    shared_free(&s->shared);
    free(s);
    *store = NULL;
}

bool store_is_available(const struct store *store)
{
    return local_is_available(store->local);
}

const char *store_file(const struct store *store)
{
    return local_file(store->local);
}

enum store_sharing store_sharing(const struct store *store)
{
    if (store->shared == NULL)
        return STORE_SHARES_NOTHING;
    return shared_is_ready(store->shared) ? STORE_SHARES : STORE_SHARES_LATER;
}

struct store_counts store_counts(const struct store *store)
{
    struct store_counts counts = local_counts(store->local);

    counts.shared = store->shared != NULL ? shared_updates(store->shared) : 0;
    return counts;
}

int store_each(struct store *store, const char *table, struct str prefix, store_each_fn *each, void *arg,
               struct fail *fail)
{
    const struct store_table *shared = shared_one(store, table);

    return shared != NULL ? shared_each(store->shared, shared, prefix, each, arg, fail)
                          : local_each(store->local, table, prefix, each, arg, fail);
}

struct search {
    struct str key;
    store_each_fn *each;
    void *arg;
};

/* Keys come in order, and the first one with this prefix is the key itself, if it is there. */
static bool on_first(struct str key, struct str value, int64_t expires_unix, void *arg)
{
    struct search *s = arg;

    if (str_eq(key, s->key))
        s->each(key, value, expires_unix, s->arg);
    return false;
}

int store_find(struct store *store, const char *table, struct str key, store_each_fn *each, void *arg,
               struct fail *fail)
{
    const struct store_table *shared = shared_one(store, table);
    struct search s = {key, each, arg};

    return shared != NULL ? shared_find(store->shared, shared, key, each, arg, fail)
                          : local_each(store->local, table, key, on_first, &s, fail);
}
