#include "store/away.h"

#include "base/bug.h"

#include <string.h>

static const char notes[] = "away";

struct away_rows *away_rows_new(void)
{
    struct arena *mem = arena_new(64 * 1024);
    struct away_rows *rows = ARENA_NEW(mem, struct away_rows);

    rows->mem = mem;
    return rows;
}

void away_rows_free(struct away_rows **rows)
{
    struct arena *mem = *rows != NULL ? (*rows)->mem : NULL;

    arena_free(&mem);
    *rows = NULL;
}

static struct store_row row_copy(struct arena *mem, const struct store_row *row)
{
    return (struct store_row){str_copy(mem, row->value), row->expires_unix};
}

void away_rows_add(struct away_rows *rows, const char *table, struct str key, const struct store_row *theirs)
{
    if (rows->count == AWAY_ROWS_MAX)
        bug("more than %d rows to copy", AWAY_ROWS_MAX);
    rows->rows[rows->count++] = (struct away_row){
        .table = table, .key = str_copy(rows->mem, key), .theirs = row_copy(rows->mem, theirs)};
}

void away_rows_append(struct away_rows *rows, struct away_rows **more)
{
    for (size_t i = 0; i < (*more)->count; i++)
        away_rows_add(rows, (*more)->rows[i].table, (*more)->rows[i].key, &(*more)->rows[i].theirs);
    away_rows_free(more);
}

/* ---- notes ---- */

enum sqlite_outcome away_note(struct sqlite *db, struct arena *mem, const char *table, struct str key,
                              int64_t now_unix, struct fail *fail)
{
    struct str note = store_row_name(mem, table, key);
    struct store_row was, row = {STR("1"), now_unix + AWAY_NOTE_S};
    enum sqlite_outcome outcome = sqlite_get(db, mem, notes, note, &was, fail);

    if (outcome != SQLITE_WORKED || was.value.n > 0)
        return outcome;
    return sqlite_put(db, notes, note, &was, &row, fail);
}

static enum sqlite_outcome strike_out(struct sqlite *db, struct arena *mem, const struct away_row *row,
                                      struct fail *fail)
{
    static const struct store_row none;
    struct str note = store_row_name(mem, row->table, row->key);
    struct store_row was;
    enum sqlite_outcome outcome = sqlite_get(db, mem, notes, note, &was, fail);

    return outcome == SQLITE_WORKED && was.value.n > 0 ? sqlite_put(db, notes, note, &was, &none, fail)
                                                       : outcome;
}

static enum sqlite_outcome put(struct sqlite *db, const struct away_row *row, const struct store_row *was,
                               struct fail *fail)
{
    if (!store_row_is_changed(was, &row->theirs))
        return SQLITE_WORKED;
    return sqlite_put(db, row->table, row->key, was, &row->theirs, fail);
}

/* ---- jobs ---- */

enum sqlite_outcome away_job_list(struct sqlite *db, struct arena *mem, struct store_token *token,
                                  int64_t now_unix, struct fail *fail)
{
    struct away_rows *list = token->arg;
    struct str keys[AWAY_ROWS_MAX];
    size_t count;
    enum sqlite_outcome outcome = sqlite_first_keys(db, mem, notes, AWAY_ROWS_MAX, keys, &count, fail);

    list->count = 0;
    for (size_t i = 0; i < count && outcome == SQLITE_WORKED; i++) {
        struct away_row *row = &list->rows[list->count];
        struct str name, key;
        struct store_row lies;

        str_cut(keys[i], '\0', &name, &key);
        *row = (struct away_row){.table = str_dup(list->mem, name), .key = str_copy(list->mem, key)};
        outcome = sqlite_get(db, mem, row->table, row->key, &lies, fail);
        lies = store_row_as_seen(&lies, now_unix);
        row->ours = row_copy(list->mem, &lies);
        list->count++;
    }
    return outcome;
}

enum sqlite_outcome away_job_mirror(struct sqlite *db, struct arena *mem, struct store_token *token,
                                    int64_t now_unix, struct fail *fail)
{
    const struct away_rows *list = token->arg;
    enum sqlite_outcome outcome = SQLITE_WORKED;

    (void)now_unix;
    for (size_t i = 0; i < list->count && outcome == SQLITE_WORKED; i++) {
        const struct away_row *row = &list->rows[i];
        struct store_row was, note;

        outcome = sqlite_get(db, mem, notes, store_row_name(mem, row->table, row->key), &note, fail);
        if (outcome != SQLITE_WORKED || note.value.n > 0)
            continue;
        outcome = sqlite_get(db, mem, row->table, row->key, &was, fail);
        if (outcome == SQLITE_WORKED)
            outcome = put(db, row, &was, fail);
    }
    return outcome;
}

enum sqlite_outcome away_job_settle(struct sqlite *db, struct arena *mem, struct store_token *token,
                                    int64_t now_unix, struct fail *fail)
{
    const struct away_rows *list = token->arg;
    enum sqlite_outcome outcome = SQLITE_WORKED;

    for (size_t i = 0; i < list->count && outcome == SQLITE_WORKED; i++) {
        const struct away_row *row = &list->rows[i];
        struct store_row was, seen;

        outcome = sqlite_get(db, mem, row->table, row->key, &was, fail);
        seen = store_row_as_seen(&was, now_unix);
        if (outcome != SQLITE_WORKED || store_row_is_changed(&row->ours, &seen))
            continue;
        outcome = put(db, row, &was, fail);
        if (outcome == SQLITE_WORKED)
            outcome = strike_out(db, mem, row, fail);
    }
    return outcome;
}
