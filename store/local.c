#include "store/local.h"

#include "base/bug.h"
#include "base/log.h"
#include "store/away.h"
#include "store/checkpoint.h"

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

enum { WAITING_MAX = 10000, ROWS_MAX = 1000000, LOG_BYTES = 32 * 1024 * 1024 };
enum {
    RETRY_MS = 5000,
    EXPIRE_BUSY_MS = 1000,
    EXPIRE_IDLE_MS = 30000,
    ASIDE_AGAIN_MS = 3600 * 1000
};

struct local {
    struct sqlite_settings file;
    const struct clock *clock;
    bool guest; /* beside the daemon: never sets its file aside */
    size_t waiting_max, log_bytes;
    pthread_t thread;
    atomic_bool available;
    atomic_bool unwoken; /* something waits, and nobody has said so to the thread yet */
    atomic_uint_fast64_t updates, commits, unanswered;

    pthread_mutex_t lock; /* guards what follows, up to the blank line */
    pthread_cond_t wake;
    struct token_queue queue;
    bool closing;

    /* The thread's own. */
    struct sqlite *db;             /* NULL: not available */
    struct checkpoint *checkpoint; /* NULL with it */
    struct arena *mem;             /* of one request */
    int64_t retry_ms, expire_ms;
    int64_t aside_ms; /* when a file was last set aside; 0: never */
};

/* ---- the queue ---- */

/* The thread is woken when the lock is free: else it would wake only to wait for that. Woken by the first of several
 * requests it would often take that one alone, on the very core that was about to add the others. */
bool local_take(struct local *local, struct store_token *token, bool gathers)
{
    bool fits, first;

    pthread_mutex_lock(&local->lock);
    fits = local->queue.count < local->waiting_max;
    first = local->queue.count == 0;
    if (fits)
        token_queue_add(&local->queue, token);
    pthread_mutex_unlock(&local->lock);
    if (fits && first && gathers)
        atomic_store(&local->unwoken, true); /* whoever has more, his turn ends soon, too */
    else if (fits && first)
        pthread_cond_signal(&local->wake);
    if (!fits) {
        token->next = NULL;
        token->status = STORE_UNAVAILABLE;
        atomic_fetch_add(&local->unanswered, 1);
        token_answer(token);
    }
    return fits;
}

void local_hand_over(struct local *local)
{
    if (atomic_load_explicit(&local->unwoken, memory_order_relaxed) && atomic_exchange(&local->unwoken, false))
        pthread_cond_signal(&local->wake);
}

/* ---- the file: well, away, damaged ---- */

static bool open_file(struct local *local, struct fail *fail);

static void say_unavailable(struct local *local, const struct fail *fail)
{
    if (atomic_exchange(&local->available, false))
        log_note(LOG_ERROR, "store-unavailable", "%s: %s; it is tried again and again", local->file.path,
                 fail->text);
}

static void say_available(struct local *local)
{
    if (!atomic_exchange(&local->available, true))
        log_note(LOG_INFO, "store-available", "%s can be used again", local->file.path);
}

static void close_file(struct local *local)
{
    checkpoint_stop(&local->checkpoint);
    sqlite_close(&local->db);
}

static void go_away(struct local *local, const struct fail *fail)
{
    close_file(local);
    local->retry_ms = clock_mono_ms(local->clock) + RETRY_MS;
    say_unavailable(local, fail);
}

/* What we keep is a memory, not a record: a damaged file must not stop the mail. But a disk that damages
 * every new file would soon be full of them, so once an hour is enough. */
static bool begin_anew(struct local *local, struct fail *fail)
{
    int64_t now_ms = clock_mono_ms(local->clock), now_unix = clock_unix(local->clock);
    struct fail damage = *fail;

    close_file(local);
    if (local->guest || (local->aside_ms != 0 && now_ms - local->aside_ms < ASIDE_AGAIN_MS)) {
        go_away(local, fail);
        return false;
    }
    if (sqlite_set_aside(local->file.path, now_unix, fail) != 0) {
        go_away(local, fail);
        return false;
    }
    local->aside_ms = now_ms;
    log_note(LOG_ERROR, "store-corrupt", "%s: %s; set aside as %s.corrupt-%lld and begun anew",
             local->file.path, damage.text, local->file.path, (long long)now_unix);
    return open_file(local, fail);
}

static bool open_file(struct local *local, struct fail *fail)
{
    enum sqlite_outcome outcome = sqlite_open(&local->file, &local->db, fail);

    if (outcome == SQLITE_WORKED)
        outcome = checkpoint_start(local->file.path, local->log_bytes, &local->checkpoint, fail);
    switch (outcome) {
    case SQLITE_WORKED:
        say_available(local);
        return true;
    case SQLITE_DAMAGED:
        return begin_anew(local, fail);
    default:
        go_away(local, fail);
        return false;
    }
}

static void retry(struct local *local)
{
    struct fail fail = {0};

    if (local->db == NULL && clock_mono_ms(local->clock) >= local->retry_ms)
        open_file(local, &fail);
}

/* ---- running a batch ---- */

static enum sqlite_outcome run_one(struct local *local, struct store_token *token, int64_t now_unix,
                                   struct fail *fail)
{
    struct store_row was[STORE_KEYS_MAX], seen[STORE_KEYS_MAX], rows[STORE_KEYS_MAX];
    enum sqlite_outcome outcome = SQLITE_WORKED;

    arena_reset(local->mem);
    if (token->job != NULL)
        return token->job(local->db, local->mem, token, now_unix, fail);
    for (size_t i = 0; i < token->keys_count && outcome == SQLITE_WORKED; i++) {
        outcome = sqlite_get(local->db, local->mem, token->table, token->keys[i], &was[i], fail);
        rows[i] = seen[i] = store_row_as_seen(&was[i], now_unix);
    }
    if (outcome != SQLITE_WORKED)
        return outcome;
    memset(token->result, 0, token->result_bytes);
    token->change(local->mem, token->question, rows, token->keys_count, token->result);
    for (size_t i = 0; i < token->keys_count && outcome == SQLITE_WORKED; i++) {
        if (rows[i].value.n > STORE_VALUE_MAX)
            bug("store value of %zu bytes in table %s", rows[i].value.n, token->table);
        if (!store_row_is_changed(&seen[i], &rows[i]))
            continue;
        outcome = sqlite_put(local->db, token->table, token->keys[i], &was[i], &rows[i], fail);
        if (token->away && outcome == SQLITE_WORKED)
            outcome = away_note(local->db, local->mem, token->table, token->keys[i], now_unix, fail);
    }
    return outcome;
}

static enum sqlite_outcome run_batch(struct local *local, struct store_token *batch, struct fail *fail)
{
    int64_t now_unix = clock_unix(local->clock);
    enum sqlite_outcome outcome = sqlite_begin(local->db, fail);

    for (struct store_token *token = batch; token != NULL && outcome == SQLITE_WORKED; token = token->next)
        outcome = run_one(local, token, now_unix, fail);
    return outcome == SQLITE_WORKED ? sqlite_commit(local->db, fail) : outcome;
}

/* All or nothing: when the transaction fails, none of its changes has happened and every answer says so. A lock that
 * another process has held for the whole time-out is no reason to close the file: the next batch may get it. */
static void serve(struct local *local, struct store_token *batch)
{
    struct fail fail = {0};
    enum sqlite_outcome outcome = SQLITE_UNAVAILABLE;

    if (local->db != NULL) {
        outcome = run_batch(local, batch, &fail);
        if (outcome == SQLITE_DAMAGED && begin_anew(local, &fail))
            outcome = run_batch(local, batch, &fail); /* once more, on the new file */
        if (outcome == SQLITE_HELD)
            say_unavailable(local, &fail);
        else if (outcome != SQLITE_WORKED && local->db != NULL)
            go_away(local, &fail);
    }
    if (outcome != SQLITE_WORKED) {
        atomic_fetch_add(&local->unanswered, token_set_status(batch, STORE_UNAVAILABLE));
        token_answer(batch);
        return;
    }
    say_available(local);
    atomic_fetch_add(&local->updates, token_set_status(batch, STORE_DONE));
    atomic_fetch_add(&local->commits, 1);
    token_answer(batch);
    checkpoint_after_commit(local->checkpoint, sqlite_log_pages(local->db));
}

static enum sqlite_outcome expire_slice(struct local *local, size_t *deleted_out, struct fail *fail)
{
    enum sqlite_outcome outcome = sqlite_begin(local->db, fail);

    if (outcome == SQLITE_WORKED)
        outcome = sqlite_expire(local->db, clock_unix(local->clock), deleted_out, fail);
    return outcome == SQLITE_WORKED ? sqlite_commit(local->db, fail) : outcome;
}

/* Only when nobody waits. A lock held elsewhere is no matter here: the next slice will do. */
static void expire(struct local *local)
{
    struct fail fail = {0};
    size_t deleted = 0;
    enum sqlite_outcome outcome;

    if (local->db == NULL || clock_mono_ms(local->clock) < local->expire_ms)
        return;
    outcome = expire_slice(local, &deleted, &fail);
    local->expire_ms =
        clock_mono_ms(local->clock) + (deleted == SQLITE_SLICE_ROWS ? EXPIRE_BUSY_MS : EXPIRE_IDLE_MS);
    if (outcome == SQLITE_DAMAGED)
        begin_anew(local, &fail);
    else if (outcome == SQLITE_UNAVAILABLE)
        go_away(local, &fail);
    else if (outcome == SQLITE_WORKED)
        checkpoint_after_commit(local->checkpoint, sqlite_log_pages(local->db));
}

/* ---- the thread ---- */

static void wait_until(struct local *local, int64_t due_ms)
{
    int64_t after_ms = due_ms - clock_mono_ms(local->clock);
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
    pthread_cond_timedwait(&local->wake, &local->lock, &until);
}

/* When there is something to do though nobody asks. */
static int64_t due_ms(const struct local *local)
{
    return local->db == NULL ? local->retry_ms : local->expire_ms;
}

/* Takes all that waits. NULL: nothing came before that was due. */
static struct store_token *take(struct local *local, bool *closing_out)
{
    struct store_token *batch;

    pthread_mutex_lock(&local->lock);
    if (local->queue.first == NULL && !local->closing)
        wait_until(local, due_ms(local));
    batch = token_queue_take(&local->queue);
    *closing_out = local->closing;
    pthread_mutex_unlock(&local->lock);
    return batch;
}

static bool is_idle(struct local *local)
{
    bool idle;

    pthread_mutex_lock(&local->lock);
    idle = local->queue.first == NULL;
    pthread_mutex_unlock(&local->lock);
    return idle;
}

static void *run_thread(void *arg)
{
    struct local *local = arg;
    bool closing = false;

    for (;;) {
        struct store_token *batch = take(local, &closing);

        retry(local);
        if (batch != NULL)
            serve(local, batch);
        else if (closing)
            return NULL;
        if (!closing && is_idle(local))
            expire(local);
    }
}

/* ---- life ---- */

static void init_queue(struct local *local)
{
    pthread_condattr_t monotonic;

    pthread_mutex_init(&local->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&local->wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
    token_queue_init(&local->queue);
}

static struct sqlite_settings file_settings(const struct local_settings *settings, size_t log_bytes)
{
    char *copy = strndup(settings->path.p, settings->path.n);

    if (copy == NULL)
        out_of_memory();
    return (struct sqlite_settings){.path = copy,
                                    .busy_ms = settings->busy_ms,
                                    .guest = settings->guest,
                                    .rows_max = settings->rows_max > 0 ? settings->rows_max : ROWS_MAX,
                                    .log_bytes = 2 * log_bytes,
                                    .tables = settings->tables,
                                    .tables_count = settings->tables_count};
}

struct local *local_open(const struct local_settings *settings, const struct clock *clock)
{
    struct local *local = calloc(1, sizeof(*local));
    struct fail trouble = {0};

    if (local == NULL)
        out_of_memory();
    local->log_bytes = settings->log_bytes > 0 ? settings->log_bytes : LOG_BYTES;
    local->file = file_settings(settings, local->log_bytes);
    local->waiting_max = settings->waiting_max > 0 ? settings->waiting_max : WAITING_MAX;
    local->guest = settings->guest;
    local->clock = clock;
    local->mem = arena_new(4 * STORE_VALUE_MAX);
    local->expire_ms = clock_mono_ms(clock) + EXPIRE_BUSY_MS;
    init_queue(local);
    atomic_init(&local->available, true); /* so that trouble is said, and a good start is not */
    open_file(local, &trouble);
    store_thread_start(&local->thread, "store", run_thread, local);
    return local;
}

void local_close(struct local **local)
{
    struct local *l = *local;

    if (l == NULL)
        return;
    pthread_mutex_lock(&l->lock);
    l->closing = true;
    pthread_cond_signal(&l->wake);
    pthread_mutex_unlock(&l->lock);
    pthread_join(l->thread, NULL);
    close_file(l);
    arena_free(&l->mem);
    pthread_cond_destroy(&l->wake);
    pthread_mutex_destroy(&l->lock);
    free((char *)l->file.path);
    free(l);
    *local = NULL;
}

bool local_is_available(const struct local *local)
{
    return atomic_load(&local->available);
}

const char *local_file(const struct local *local)
{
    return local->file.path;
}

struct store_counts local_counts(const struct local *local)
{
    return (struct store_counts){.updates = atomic_load(&local->updates),
                                 .commits = atomic_load(&local->commits),
                                 .unanswered = atomic_load(&local->unanswered)};
}

int local_each(struct local *local, const char *table, struct str prefix, store_each_fn *each, void *arg,
               struct fail *fail)
{
    return sqlite_each(&local->file, table, prefix, clock_unix(local->clock), each, arg, fail);
}
