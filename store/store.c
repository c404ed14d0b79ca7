#include "store/store.h"

#include "base/bug.h"
#include "base/log.h"
#include "store/sqlite.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/*
 * One thread owns the file. It takes all that waits, runs it in one transaction, commits, and posts the
 * answers; while it commits, the next requests gather. So groups grow with the load by themselves, and a lone
 * request waits for nothing.
 *
 * Roads not taken: a timer that gathers (adds delay when there is little to do); rows kept in memory in front
 * of the file (a second truth, to save some ten microseconds of a thread that no session waits on).
 */

enum { WAITING_MAX = 10000, ROWS_MAX = 1000000, BUSY_MS_MAX = 1000 };
enum { RETRY_MS = 5000, EXPIRE_BUSY_MS = 1000, EXPIRE_IDLE_MS = 30000, ASIDE_AGAIN_MS = 3600 * 1000 };

/* Who frees a token: the store's thread when it finds it cancelled, else the delivery on the loop. */
enum token_state { TOKEN_ASKED, TOKEN_CANCELLED, TOKEN_ANSWERED };

struct store_token {
    struct store_token *next;      /* in the queue, and in the batch */
    struct store_token *next_here; /* the next answer for the same loop */
    struct store_token *last_here; /* of the first answer for a loop */
    atomic_int state;
    struct loop *loop;
    store_done_fn *done; /* NULL: cancelled after it was answered; only the loop's thread looks */
    void *arg;
    enum store_status status;
    const char *table;
    store_change_fn *change;
    struct str keys[STORE_KEYS_MAX];
    size_t keys_count;
    const void *question;
    size_t result_bytes;
    void *result;
    _Alignas(max_align_t) unsigned char bytes[]; /* question, result, keys */
};

struct store {
    struct sqlite_settings file;
    bool guest;
    const struct clock *clock;
    size_t waiting_max;
    pthread_t thread;
    atomic_bool available;
    atomic_uint_fast64_t updates, commits, unanswered;

    pthread_mutex_t lock; /* guards what follows, up to the blank line */
    pthread_cond_t wake;
    struct store_token *queue, **queue_end;
    size_t waiting;
    bool closing;

    /* The thread's own. */
    struct sqlite *db; /* NULL: not available */
    struct arena *mem; /* of one request */
    int64_t retry_ms, expire_ms;
    int64_t aside_ms; /* when a file was last set aside; 0: never */
};

/* ---- asking ---- */

static size_t aligned(size_t bytes)
{
    const size_t align = _Alignof(max_align_t);

    return (bytes + align - 1) / align * align;
}

static void check_request(const struct store_request *request)
{
    if (request->keys_count == 0 || request->keys_count > STORE_KEYS_MAX)
        bug("store request with %zu keys", request->keys_count);
    if (request->question_bytes > STORE_RESULT_MAX || request->result_bytes > STORE_RESULT_MAX)
        bug("store request with a question of %zu and a result of %zu bytes", request->question_bytes,
            request->result_bytes);
    for (size_t i = 0; i < request->keys_count; i++)
        if (request->keys[i].n > STORE_KEY_BYTES_MAX)
            bug("store key of %zu bytes", request->keys[i].n);
}

/* A token with copies of all that the request borrows, in one piece of memory. */
static struct store_token *token_new(const struct store_request *request)
{
    size_t keys_at = aligned(request->question_bytes) + aligned(request->result_bytes), n = keys_at;
    struct store_token *token;

    for (size_t i = 0; i < request->keys_count; i++)
        n += request->keys[i].n;
    token = calloc(1, sizeof(*token) + n);
    if (token == NULL)
        out_of_memory();
    token->table = request->table;
    token->change = request->change;
    token->question = token->bytes;
    if (request->question_bytes > 0)
        memcpy(token->bytes, request->question, request->question_bytes);
    token->result = token->bytes + aligned(request->question_bytes);
    token->result_bytes = request->result_bytes;
    token->keys_count = request->keys_count;
    for (size_t i = 0; i < request->keys_count; i++) {
        unsigned char *key = token->bytes + keys_at;

        if (request->keys[i].n > 0)
            memcpy(key, request->keys[i].p, request->keys[i].n);
        token->keys[i] = str_make((const char *)key, request->keys[i].n);
        keys_at += request->keys[i].n;
    }
    return token;
}

static bool enqueue(struct store *store, struct store_token *token)
{
    bool fits;

    pthread_mutex_lock(&store->lock);
    fits = store->waiting < store->waiting_max;
    if (fits) {
        *store->queue_end = token;
        store->queue_end = &token->next;
        if (store->waiting++ == 0)
            pthread_cond_signal(&store->wake);
    }
    pthread_mutex_unlock(&store->lock);
    return fits;
}

/* On the loop: one visit for all answers of a batch. A callback may cancel those that follow, so they are
 * freed here only. */
static void on_answers(void *arg)
{
    struct store_token *token = arg;

    while (token != NULL) {
        struct store_token *next = token->next_here;

        if (token->done != NULL)
            token->done(token->status, token->result, token->arg);
        free(token);
        token = next;
    }
}

struct store_token *store_update(struct store *store, struct loop *loop, const struct store_request *request,
                                 store_done_fn *done, void *arg)
{
    struct store_token *token;

    check_request(request);
    token = token_new(request);
    token->loop = loop;
    token->done = done;
    token->arg = arg;
    if (!enqueue(store, token)) {
        token->status = STORE_UNAVAILABLE;
        atomic_fetch_add(&store->unanswered, 1);
        atomic_store(&token->state, TOKEN_ANSWERED);
        loop_post(loop, on_answers, token);
    }
    return token;
}

void store_cancel(struct store_token **token)
{
    int asked = TOKEN_ASKED;

    if (*token == NULL)
        return;
    if (!atomic_compare_exchange_strong(&(*token)->state, &asked, TOKEN_CANCELLED))
        (*token)->done = NULL; /* its delivery is on the way, to this thread */
    *token = NULL;
}

/* ---- answering ---- */

/* Posts once per loop: the first answer for a loop carries the others. There are as many loops as workers. */
static void answer(struct store_token *batch)
{
    struct store_token *firsts = NULL;

    for (struct store_token *next, *token = batch; token != NULL; token = next) {
        struct store_token *first = firsts;
        int asked = TOKEN_ASKED;

        next = token->next;
        if (!atomic_compare_exchange_strong(&token->state, &asked, TOKEN_ANSWERED)) {
            free(token);
            continue;
        }
        while (first != NULL && first->loop != token->loop)
            first = first->next;
        if (first != NULL) {
            first->last_here->next_here = token;
            first->last_here = token;
        } else {
            token->last_here = token;
            token->next = firsts;
            firsts = token;
        }
    }
    while (firsts != NULL) {
        struct store_token *first = firsts;

        firsts = first->next;
        loop_post(first->loop, on_answers, first);
    }
}

static uint64_t set_status(struct store_token *batch, enum store_status status)
{
    uint64_t count = 0;

    for (struct store_token *token = batch; token != NULL; token = token->next, count++)
        token->status = status;
    return count;
}

/* ---- the file: well, away, damaged ---- */

static bool open_file(struct store *store, struct fail *fail);

static void say_unavailable(struct store *store, const struct fail *fail)
{
    if (atomic_exchange(&store->available, false))
        log_note(LOG_ERROR, "store-unavailable", "%s: %s; trying again every %d s", store->file.path,
                 fail->text, RETRY_MS / 1000);
}

static void go_away(struct store *store, const struct fail *fail)
{
    sqlite_close(&store->db);
    store->retry_ms = clock_mono_ms(store->clock) + RETRY_MS;
    say_unavailable(store, fail);
}

/* What we keep is a memory, not a record: a damaged file must not stop the mail. But a disk that damages
 * every new file would soon be full of them, so once an hour is enough. */
static bool begin_anew(struct store *store, struct fail *fail)
{
    int64_t now_ms = clock_mono_ms(store->clock), now_unix = clock_unix(store->clock);
    struct fail damage = *fail;

    sqlite_close(&store->db);
    if (store->guest || (store->aside_ms != 0 && now_ms - store->aside_ms < ASIDE_AGAIN_MS)) {
        go_away(store, fail);
        return false;
    }
    if (sqlite_set_aside(store->file.path, now_unix, fail) != 0) {
        go_away(store, fail);
        return false;
    }
    store->aside_ms = now_ms;
    log_note(LOG_ERROR, "store-corrupt", "%s: %s; set aside as %s.corrupt-%lld and begun anew",
             store->file.path, damage.text, store->file.path, (long long)now_unix);
    return open_file(store, fail);
}

static bool open_file(struct store *store, struct fail *fail)
{
    switch (sqlite_open(&store->file, &store->db, fail)) {
    case SQLITE_WORKED:
        if (!atomic_exchange(&store->available, true))
            log_note(LOG_INFO, "store-available", "%s can be used again", store->file.path);
        return true;
    case SQLITE_DAMAGED:
        return begin_anew(store, fail);
    default:
        go_away(store, fail);
        return false;
    }
}

static void retry(struct store *store)
{
    struct fail fail = {0};

    if (store->db == NULL && clock_mono_ms(store->clock) >= store->retry_ms)
        open_file(store, &fail);
}

/* ---- running a batch ---- */

static bool is_changed(const struct store_row *seen, const struct store_row *row)
{
    return !str_eq(seen->value, row->value) || (row->value.n > 0 && seen->expires_unix != row->expires_unix);
}

/* Expired rows are invisible, even before they are deleted. */
static struct store_row as_seen(const struct store_row *row, int64_t now_unix)
{
    static const struct store_row none;
    bool expired = row->expires_unix > 0 && row->expires_unix <= now_unix;

    return expired ? none : *row;
}

static enum sqlite_outcome run_one(struct store *store, struct store_token *token, int64_t now_unix,
                                   struct fail *fail)
{
    struct store_row was[STORE_KEYS_MAX], seen[STORE_KEYS_MAX], rows[STORE_KEYS_MAX];
    enum sqlite_outcome outcome = SQLITE_WORKED;

    arena_reset(store->mem);
    for (size_t i = 0; i < token->keys_count && outcome == SQLITE_WORKED; i++) {
        outcome = sqlite_get(store->db, store->mem, token->table, token->keys[i], &was[i], fail);
        rows[i] = seen[i] = as_seen(&was[i], now_unix);
    }
    if (outcome != SQLITE_WORKED)
        return outcome;
    memset(token->result, 0, token->result_bytes);
    token->change(store->mem, token->question, rows, token->keys_count, token->result);
    for (size_t i = 0; i < token->keys_count && outcome == SQLITE_WORKED; i++) {
        if (rows[i].value.n > STORE_VALUE_MAX)
            bug("store value of %zu bytes in table %s", rows[i].value.n, token->table);
        if (is_changed(&seen[i], &rows[i]))
            outcome = sqlite_put(store->db, token->table, token->keys[i], &was[i], &rows[i], fail);
    }
    return outcome;
}

static enum sqlite_outcome run_batch(struct store *store, struct store_token *batch, struct fail *fail)
{
    int64_t now_unix = clock_unix(store->clock);
    enum sqlite_outcome outcome = sqlite_begin(store->db, fail);

    for (struct store_token *token = batch; token != NULL && outcome == SQLITE_WORKED; token = token->next)
        outcome = run_one(store, token, now_unix, fail);
    return outcome == SQLITE_WORKED ? sqlite_commit(store->db, fail) : outcome;
}

/* All or nothing: when the transaction fails, none of its changes has happened and every answer says so. */
static void serve(struct store *store, struct store_token *batch)
{
    struct fail fail = {0};
    enum sqlite_outcome outcome = SQLITE_UNAVAILABLE;

    if (store->db != NULL) {
        outcome = run_batch(store, batch, &fail);
        if (outcome == SQLITE_DAMAGED && begin_anew(store, &fail))
            outcome = run_batch(store, batch, &fail); /* once more, on the new file */
        if (outcome != SQLITE_WORKED && store->db != NULL)
            go_away(store, &fail);
    }
    if (outcome == SQLITE_WORKED) {
        atomic_fetch_add(&store->updates, set_status(batch, STORE_DONE));
        atomic_fetch_add(&store->commits, 1);
    } else {
        atomic_fetch_add(&store->unanswered, set_status(batch, STORE_UNAVAILABLE));
    }
    answer(batch);
}

/* Only when nobody waits. A lock held elsewhere is no matter here: the next slice will do. */
static void expire(struct store *store)
{
    struct fail fail = {0};
    size_t deleted = 0;
    enum sqlite_outcome outcome;

    if (store->db == NULL || clock_mono_ms(store->clock) < store->expire_ms)
        return;
    outcome = sqlite_expire(store->db, clock_unix(store->clock), &deleted, &fail);
    store->expire_ms =
        clock_mono_ms(store->clock) + (deleted == SQLITE_SLICE_ROWS ? EXPIRE_BUSY_MS : EXPIRE_IDLE_MS);
    if (outcome == SQLITE_DAMAGED)
        begin_anew(store, &fail);
}

/* ---- the thread ---- */

static void wait_until(struct store *store, int64_t due_ms)
{
    int64_t after_ms = due_ms - clock_mono_ms(store->clock);
    struct timespec until;

    if (after_ms < 1)
        after_ms = 1;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += after_ms / 1000;
    until.tv_nsec += after_ms % 1000 * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    pthread_cond_timedwait(&store->wake, &store->lock, &until);
}

/* Takes all that waits. NULL: nothing came before it was time to retry or to expire. */
static struct store_token *take(struct store *store, bool *closing_out)
{
    struct store_token *batch;

    pthread_mutex_lock(&store->lock);
    if (store->queue == NULL && !store->closing)
        wait_until(store, store->db == NULL ? store->retry_ms : store->expire_ms);
    batch = store->queue;
    store->queue = NULL;
    store->queue_end = &store->queue;
    store->waiting = 0;
    *closing_out = store->closing;
    pthread_mutex_unlock(&store->lock);
    return batch;
}

static bool is_idle(struct store *store)
{
    bool idle;

    pthread_mutex_lock(&store->lock);
    idle = store->queue == NULL;
    pthread_mutex_unlock(&store->lock);
    return idle;
}

static void *run_thread(void *arg)
{
    struct store *store = arg;
    bool closing = false;

    for (;;) {
        struct store_token *batch = take(store, &closing);

        retry(store);
        if (batch != NULL)
            serve(store, batch);
        else if (closing)
            return NULL;
        if (!closing && is_idle(store))
            expire(store);
    }
}

/* Signals are for the loops. */
static void start_thread(struct store *store)
{
    sigset_t all, before;
    int error;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    error = pthread_create(&store->thread, NULL, run_thread, store);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error == EAGAIN)
        out_of_memory();
    if (error != 0)
        bug("pthread_create: %s", strerror(error));
    pthread_setname_np(store->thread, "store");
}

/* ---- life ---- */

static void init_queue(struct store *store)
{
    pthread_condattr_t monotonic;

    pthread_mutex_init(&store->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&store->wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
    store->queue_end = &store->queue;
}

static struct sqlite_settings file_settings(const struct store_settings *settings, struct str path)
{
    int64_t busy_ms =
        settings->timeout_ms > 0 && settings->timeout_ms < BUSY_MS_MAX ? settings->timeout_ms : BUSY_MS_MAX;
    char *copy = strndup(path.p, path.n);

    if (copy == NULL)
        out_of_memory();
    return (struct sqlite_settings){copy, (int)busy_ms,
                                    settings->rows_max > 0 ? settings->rows_max : ROWS_MAX};
}

/* The file is opened before this returns, so that whoever opens the store knows at once whether it is
 * available. */
struct store *store_open(const struct store_settings *settings, const struct clock *clock, struct fail *fail)
{
    struct str url = str_of(settings->url);
    struct fail trouble = {0};
    struct store *store;

    if (!str_starts(url, STR("sqlite:")) || url.n == strlen("sqlite:")) {
        fail_set(fail, "\"%s\" is no store: it must be sqlite:PATH",
                 settings->url != NULL ? settings->url : "");
        return NULL;
    }
    store = calloc(1, sizeof(*store));
    if (store == NULL)
        out_of_memory();
    store->file = file_settings(settings, str_from(url, strlen("sqlite:")));
    store->waiting_max = settings->waiting_max > 0 ? settings->waiting_max : WAITING_MAX;
    store->guest = settings->guest;
    store->clock = clock;
    store->mem = arena_new(4 * STORE_VALUE_MAX);
    store->expire_ms = clock_mono_ms(clock) + EXPIRE_BUSY_MS;
    init_queue(store);
    atomic_init(&store->available, true); /* so that trouble is said, and a good start is not */
    open_file(store, &trouble);
    start_thread(store);
    return store;
}

void store_close(struct store **store)
{
    struct store *s = *store;

    if (s == NULL)
        return;
    pthread_mutex_lock(&s->lock);
    s->closing = true;
    pthread_cond_signal(&s->wake);
    pthread_mutex_unlock(&s->lock);
    pthread_join(s->thread, NULL);
    sqlite_close(&s->db);
    arena_free(&s->mem);
    pthread_cond_destroy(&s->wake);
    pthread_mutex_destroy(&s->lock);
    free((char *)s->file.path);
    free(s);
    *store = NULL;
}

bool store_is_available(const struct store *store)
{
    return atomic_load(&store->available);
}

struct store_counts store_counts(const struct store *store)
{
    return (struct store_counts){atomic_load(&store->updates), atomic_load(&store->commits),
                                 atomic_load(&store->unanswered)};
}

int store_each(struct store *store, const char *table, struct str prefix, store_each_fn *each, void *arg,
               struct fail *fail)
{
    return sqlite_each(&store->file, table, prefix, clock_unix(store->clock), each, arg, fail);
}
