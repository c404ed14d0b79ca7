#include "store/reunion.h"

#include "base/metric.h"

#include <string.h>

static struct metric *metric_merged(void)
{
    return metric_counter("smtpguard_store_merged_rows_total",
                          "Rows that were changed locally and then merged into the shared store", "");
}

void reunion_take_job(struct local *local, struct loop *loop, store_job_fn *job, struct away_rows *rows,
                      store_done_fn *done)
{
    struct store_request request = {.table = ""};
    struct store_token *token = token_new(&request, loop, done, rows);

    token->job = job;
    rows->in_job = true;
    local_take(local, token, false);
}

/* ---- one row ---- */

struct merge {
    store_merge_fn *merge;
    struct arena *mem;
    struct away_row *row;
};

static void change_merge(struct arena *mem, const void *question, struct store_row *rows, size_t count,
                         void *result)
{
    struct merge m;

    (void)count, (void)result;
    memcpy(&m, question, sizeof(m));
    m.merge(mem, m.row->key, &m.row->ours, &rows[0]);
    m.row->theirs = (struct store_row){str_copy(m.mem, rows[0].value), rows[0].expires_unix};
}

/* A row of a table that is not shared any more, or that has expired meanwhile, is only struck out. */
static void ask_merge(struct reunion *reunion, struct away_row *row)
{
    const struct store_table *table = reunion->table_of(row->table, reunion->arg);
    struct merge m = {table != NULL ? table->merge : NULL, reunion->rows->mem, row};
    struct store_request request = {.table = table != NULL ? table->name : "",
                                    .keys = {row->key},
                                    .keys_count = 1,
                                    .change = change_merge,
                                    .question = &m,
                                    .question_bytes = sizeof(m)};
    struct store_token *token;

    row->theirs = row->ours;
    if (m.merge == NULL || row->ours.value.n == 0)
        return;
    token = token_new(&request, reunion->loop, NULL, NULL);
    token->merges = true;
    token->shared = table;
    reunion->left++;
    reunion->ask(token, reunion->arg);
}

/* ---- one round ---- */

static void on_settled(enum store_status status, const void *result, void *arg)
{
    struct away_rows *rows = arg;
    struct reunion *reunion = rows->owner;
    bool current = reunion->rows == rows, more = rows->count == AWAY_ROWS_MAX;

    (void)result;
    away_rows_free(&rows);
    if (!current)
        return; /* given up */
    reunion->rows = NULL;
    if (more && status == STORE_DONE)
        reunion_start(reunion);
    else
        reunion->done(reunion->arg);
}

static void settle(struct reunion *reunion)
{
    metric_add(metric_merged(), (int64_t)reunion->rows->count);
    reunion_take_job(reunion->local, reunion->loop, away_job_settle, reunion->rows, on_settled);
}

void reunion_merged(struct reunion *reunion, size_t count)
{
    if (reunion->rows == NULL)
        return;
    reunion->left -= count;
    if (reunion->left == 0)
        settle(reunion);
}

static void on_listed(enum store_status status, const void *result, void *arg)
{
    struct away_rows *rows = arg;
    struct reunion *reunion = rows->owner;

    (void)result;
    rows->in_job = false;
    if (reunion->rows != rows) { /* given up */
        away_rows_free(&rows);
        return;
    }
    if (status != STORE_DONE || rows->count == 0) {
        away_rows_free(&reunion->rows);
        reunion->done(reunion->arg);
        return;
    }
    reunion->left = 0;
    for (size_t i = 0; i < rows->count; i++)
        ask_merge(reunion, &rows->rows[i]);
    if (reunion->left == 0)
        settle(reunion);
}

void reunion_start(struct reunion *reunion)
{
    reunion->rows = away_rows_new();
    reunion->rows->owner = reunion;
    reunion_take_job(reunion->local, reunion->loop, away_job_list, reunion->rows, on_listed);
}

/* What a job has goes with its answer. */
void reunion_give_up(struct reunion *reunion)
{
    if (reunion->rows != NULL && !reunion->rows->in_job)
        away_rows_free(&reunion->rows);
    reunion->rows = NULL;
}
