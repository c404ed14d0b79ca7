#include "store/redis_batch.h"

#include "base/bug.h"
#include "base/hash.h"
#include "store/redis_row.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

enum fate { FATE_OPEN, FATE_DONE, FATE_AGAIN, FATE_REFUSED };

struct row {
    struct job *job;
    struct redis_row_name name;
    struct str whole;       /* table NUL key */
    struct str read;        /* the value as it lies there, or will when those before have been written */
    struct store_row seen;  /* what is in it */
    struct store_row after; /* what it becomes */
};

struct job {
    struct redis_batch *batch;
    struct store_token *token;
    enum fate fate;
    struct row rows[STORE_KEYS_MAX];
};

/* What a job has changed, for those behind it. */
struct change {
    struct str name, value;
    UT_hash_handle hh;
};

struct redis_batch {
    struct arena *mem; /* of one group */
    struct redis_route *route;
    struct str script;
    int64_t now_unix;
    struct job jobs[REDIS_BATCH_MAX];
    size_t count;
    size_t waiting; /* replies of this flight */
    struct change *changes;
    struct redis_batch_outcome outcome;
    redis_batch_done_fn *done;
    void *arg;
};

/* ---- the end ---- */

static void gather_changes(struct redis_batch *batch, const struct job *job)
{
    if (job->token->shared->brief)
        return;
    for (size_t i = 0; i < job->token->keys_count; i++) {
        const struct row *row = &job->rows[i];

        if (!store_row_is_changed(&row->seen, &row->after))
            continue;
        if (batch->outcome.changed == NULL)
            batch->outcome.changed = away_rows_new();
        away_rows_add(batch->outcome.changed, job->token->table, job->token->keys[i], &row->after);
    }
}

static void finish(struct redis_batch *batch)
{
    struct redis_batch_outcome *outcome = &batch->outcome;
    struct token_queue lists[FATE_REFUSED + 1];
    size_t count = batch->count;

    for (size_t i = 0; i <= FATE_REFUSED; i++)
        token_queue_init(&lists[i]);
    for (size_t i = 0; i < count; i++) {
        struct job *job = &batch->jobs[i];

        if (job->fate == FATE_DONE)
            gather_changes(batch, job);
        token_queue_add(&lists[job->fate], job->token);
    }
    outcome->done = lists[FATE_DONE].first;
    outcome->again = lists[FATE_AGAIN].first;
    outcome->refused = lists[FATE_REFUSED].first;
    batch->count = 0;
    batch->done(outcome, batch->arg);
}

static void refuse(struct job *job, const struct resp *reply)
{
    struct redis_batch_outcome *outcome = &job->batch->outcome;
    struct str text = reply->type == RESP_ERROR ? reply->text : STR("an answer of another kind");

    job->fate = FATE_REFUSED;
    if (outcome->why[0] == '\0')
        snprintf(outcome->why, sizeof(outcome->why), "%.*s", (int)(text.n < 190 ? text.n : 190), text.p);
}

/* ---- the second flight ---- */

static void on_written(const struct resp *reply, void *arg)
{
    struct job *job = arg;
    struct redis_batch *batch = job->batch;

    if (resp_is_error(reply, "NOSCRIPT") || resp_is_error(reply, "TRYAGAIN")) {
        batch->outcome.no_script |= resp_is_error(reply, "NOSCRIPT");
        job->fate = FATE_AGAIN;
    } else if (reply->type != RESP_INTEGER) {
        refuse(job, reply);
    } else {
        job->fate = reply->number == 1 ? FATE_DONE : FATE_AGAIN;
    }
    if (--batch->waiting == 0)
        finish(batch);
}

/* A group stands in the list before it has its first row: so the list lacks none. */
static void list_groups(struct redis_batch *batch, const struct job *job)
{
    const struct store_table *table = job->token->shared;

    if (table->spread != STORE_BY_GROUP)
        return;
    for (size_t i = 0; i < job->token->keys_count; i++)
        if (job->rows[i].read.n == 0 && job->rows[i].after.value.n > 0) {
            struct str words[] = {STR("ZADD"), redis_row_groups_key(batch->mem, table), STR("0"),
                                  redis_row_group(table, job->token->keys[i])};

            redis_route_ask(batch->route, words[1], words, 4, NULL, NULL);
        }
}

static void write_job(struct redis_batch *batch, struct job *job)
{
    struct str words[3 + STORE_KEYS_MAX * (1 + REDIS_ROW_ARGS)];
    size_t keys = job->token->keys_count, n = 0;

    list_groups(batch, job);
    words[n++] = STR("EVALSHA");
    words[n++] = batch->script;
    words[n++] = str_of(str_fmt(batch->mem, "%zu", keys));
    for (size_t i = 0; i < keys; i++)
        words[n++] = job->rows[i].name.key;
    for (size_t i = 0; i < keys; i++) {
        const struct row *row = &job->rows[i];

        words[n++] = row->name.field;
        words[n++] = row->read;
        words[n++] = store_row_is_changed(&row->seen, &row->after) ? redis_row_value(batch->mem, &row->after)
                                                                   : row->read;
        words[n++] = str_of(str_fmt(batch->mem, "%" PRId64, row->after.expires_unix));
    }
    batch->waiting++;
    redis_route_ask(batch->route, job->rows[0].name.key, words, n, on_written, job);
}

/* ---- between the flights: what becomes of the rows ---- */

static void remember(struct redis_batch *batch, const struct row *row)
{
    struct change *change;

    HASH_FIND(hh, batch->changes, row->whole.p, row->whole.n, change);
    if (change == NULL) {
        change = ARENA_NEW(batch->mem, struct change);
        change->name = row->whole;
        HASH_ADD_KEYPTR(hh, batch->changes, change->name.p, change->name.n, change);
    }
    change->value = redis_row_value(batch->mem, &row->after);
}

static void see(struct redis_batch *batch, struct row *row)
{
    struct store_row lies;
    struct change *change;

    HASH_FIND(hh, batch->changes, row->whole.p, row->whole.n, change);
    if (change != NULL)
        row->read = change->value;
    lies = redis_row_read_value(row->read);
    row->seen = row->after = store_row_as_seen(&lies, batch->now_unix);
}

/* True when there is something to write. */
static bool reckon(struct redis_batch *batch, struct job *job)
{
    struct store_token *token = job->token;
    struct store_row rows[STORE_KEYS_MAX];
    bool changed = false;

    for (size_t i = 0; i < token->keys_count; i++) {
        see(batch, &job->rows[i]);
        rows[i] = job->rows[i].seen;
    }
    memset(token->result, 0, token->result_bytes);
    token->change(batch->mem, token->question, rows, token->keys_count, token->result);
    for (size_t i = 0; i < token->keys_count; i++) {
        struct row *row = &job->rows[i];

        if (rows[i].value.n > STORE_VALUE_MAX)
            bug("store value of %zu bytes in table %s", rows[i].value.n, token->table);
        row->after = rows[i];
        if (!store_row_is_changed(&row->seen, &row->after))
            continue;
        changed = true;
        remember(batch, row);
    }
    return changed;
}

static void on_all_read(struct redis_batch *batch)
{
    for (size_t i = 0; i < batch->count; i++) {
        struct job *job = &batch->jobs[i];

        if (job->fate != FATE_OPEN)
            continue;
        if (reckon(batch, job))
            write_job(batch, job);
        else
            job->fate = FATE_DONE;
    }
    if (batch->waiting == 0)
        finish(batch);
}

/* ---- the first flight ---- */

static void on_read(const struct resp *reply, void *arg)
{
    struct row *row = arg;
    struct redis_batch *batch = row->job->batch;

    if (reply->type == RESP_STRING)
        row->read = str_copy(batch->mem, reply->text);
    else if (reply->type != RESP_NIL)
        refuse(row->job, reply);
    if (--batch->waiting == 0)
        on_all_read(batch);
}

static void ask_for(struct redis_route *route, const struct redis_row_name *name, redis_reply_fn *reply,
                    void *arg)
{
    struct str words[] = {name->field.n > 0 ? STR("HGET") : STR("GET"), name->key, name->field};

    redis_route_ask(route, name->key, words, name->field.n > 0 ? 3 : 2, reply, arg);
}

static void read_job(struct redis_batch *batch, struct job *job)
{
    for (size_t i = 0; i < job->token->keys_count; i++) {
        struct row *row = &job->rows[i];

        row->job = job;
        row->name = redis_row_name(batch->mem, job->token->shared, job->token->keys[i]);
        row->whole = store_row_name(batch->mem, job->token->table, job->token->keys[i]);
        batch->waiting++;
        ask_for(batch->route, &row->name, on_read, row);
    }
}

void redis_batch_start(struct redis_batch *batch, struct redis_route *route, struct str script,
                       struct store_token *list, int64_t now_unix)
{
    if (batch->count > 0)
        bug("a batch is started while another runs");
    HASH_CLEAR(hh, batch->changes);
    arena_reset(batch->mem);
    batch->route = route;
    batch->script = script;
    batch->now_unix = now_unix;
    batch->waiting = 0;
    batch->outcome = (struct redis_batch_outcome){0};
    for (struct store_token *next; list != NULL; list = next) {
        struct job *job = &batch->jobs[batch->count];

        if (batch->count++ == REDIS_BATCH_MAX)
            bug("a batch of more than %d requests", REDIS_BATCH_MAX);
        next = list->next;
        *job = (struct job){.batch = batch, .token = list};
        read_job(batch, job);
    }
}

/* ---- life ---- */

bool redis_batch_is_busy(const struct redis_batch *batch)
{
    return batch->count > 0;
}

struct store_token *redis_batch_abort(struct redis_batch *batch)
{
    struct token_queue left;

    token_queue_init(&left);
    for (size_t i = 0; i < batch->count; i++)
        token_queue_add(&left, batch->jobs[i].token);
    batch->count = 0;
    return left.first;
}

struct redis_batch *redis_batch_new(redis_batch_done_fn *done, void *arg)
{
    struct redis_batch *batch = calloc(1, sizeof(*batch));

    if (batch == NULL)
        out_of_memory();
    batch->mem = arena_new(64 * 1024);
    batch->done = done;
    batch->arg = arg;
    return batch;
}

void redis_batch_free(struct redis_batch **batch)
{
    if (*batch == NULL)
        return;
    HASH_CLEAR(hh, (*batch)->changes);
    arena_free(&(*batch)->mem);
    free(*batch);
    *batch = NULL;
}
