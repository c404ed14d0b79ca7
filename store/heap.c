#include "store/heap.h"

#include "base/bug.h"
#include "base/hash.h"
#include "store/places.h"

#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>

enum statement {
    ST_GET,
    ST_INSERT,
    ST_TOUCH,
    ST_UPDATE,
    ST_DELETE,
    ST_FIRST,
    ST_NEWER,
    ST_VERSION,
    STATEMENTS
};

static const char *const statement_sql[STATEMENTS] = {
    [ST_GET] = "SELECT value, expires FROM heap WHERE id = ?1 AND tbl = ?2 AND key = ?3",
    [ST_INSERT] = "INSERT INTO heap (tbl, key, value, expires, expires_hour) VALUES (?2, ?3, ?4, ?5, ?6)",
    [ST_TOUCH] = "UPDATE heap SET value = ?4, expires = ?5 WHERE id = ?1 AND tbl = ?2 AND key = ?3",
    [ST_UPDATE] = "UPDATE heap SET value = ?4, expires = ?5, expires_hour = ?6"
                  " WHERE id = ?1 AND tbl = ?2 AND key = ?3",
    [ST_DELETE] = "DELETE FROM heap WHERE id = ?1 AND tbl = ?2 AND key = ?3",
    [ST_FIRST] = "DELETE FROM heap WHERE id IN (SELECT id FROM heap WHERE tbl = ?1 AND expires_hour > 0"
                 " AND expires_hour < ?2 ORDER BY expires_hour LIMIT ?3) RETURNING id, key",
    [ST_NEWER] = "SELECT id, tbl, key FROM heap WHERE id > ?1 ORDER BY id",
    [ST_VERSION] = "PRAGMA data_version", /* changes with what other connections commit */
};

struct heap {
    sqlite3 *db;
    sqlite3_stmt *statements[STATEMENTS];
    struct places *places; /* NULL: a guest who has not looked yet */
    int64_t version;
    int64_t last_id; /* up to it all rows are in places */
};

static uint64_t hash_of(struct str table, struct str key)
{
    return hash_bytes(key.p, key.n) ^ hash_bytes(table.p, table.n);
}

/* ---- where rows lie ---- */

static enum sqlite_outcome learn_newer(struct heap *heap, int64_t *learnt_out, struct fail *fail)
{
    sqlite3_stmt *st = heap->statements[ST_NEWER];
    enum sqlite_outcome outcome;
    int code;

    *learnt_out = 0;
    sqlite3_bind_int64(st, 1, heap->last_id);
    while ((code = sqlite3_step(st)) == SQLITE_ROW) {
        heap->last_id = sqlite3_column_int64(st, 0);
        places_add(heap->places, hash_of(sqlite_bytes(st, 1), sqlite_bytes(st, 2)), heap->last_id);
        ++*learnt_out;
    }
    outcome = sqlite_explain(heap->db, code, fail);
    sqlite3_reset(st);
    return outcome;
}

static enum sqlite_outcome ask_version(struct heap *heap, int64_t *version_out, struct fail *fail)
{
    sqlite3_stmt *st = heap->statements[ST_VERSION];
    int code = sqlite3_step(st);
    enum sqlite_outcome outcome = sqlite_explain(heap->db, code, fail);

    if (code == SQLITE_ROW)
        *version_out = sqlite3_column_int64(st, 0);
    sqlite3_reset(st);
    return outcome;
}

/* The version first: what is committed between the two is learnt twice rather than never; then last_id has it. */
enum sqlite_outcome heap_look(struct heap *heap, struct fail *fail)
{
    enum sqlite_outcome outcome;
    int64_t rows;

    if (heap->places != NULL)
        return SQLITE_WORKED;
    outcome = ask_version(heap, &heap->version, fail);
    heap->places = places_new();
    return outcome == SQLITE_WORKED ? learn_newer(heap, &rows, fail) : outcome;
}

enum sqlite_outcome heap_begin(struct heap *heap, struct heap_others *others, struct fail *fail)
{
    int64_t before = heap->version, learnt;
    enum sqlite_outcome outcome = ask_version(heap, &heap->version, fail);

    if (outcome != SQLITE_WORKED || heap->version == before)
        return outcome;
    outcome = learn_newer(heap, &learnt, fail);
    others->wrote = true;
    others->added += learnt;
    return outcome;
}

/* ---- one row ---- */

/* A statement about one row, tried with each place where that may lie until one is right: a hash is no key, and another
 * process may have deleted the row. id_out 0: it lies nowhere. */
static enum sqlite_outcome step_where_it_lies(struct heap *heap, enum statement which, const char *table,
                                              struct str key, int64_t *id_out, struct fail *fail)
{
    sqlite3_stmt *st = heap->statements[which];
    struct places_search search = {.hash = hash_of(str_of(table), key)};
    enum sqlite_outcome outcome = SQLITE_WORKED;
    int64_t id;

    *id_out = 0;
    sqlite3_bind_text(st, 2, table, -1, SQLITE_STATIC);
    sqlite_bind_bytes(st, 3, key);
    while (outcome == SQLITE_WORKED && places_next(heap->places, &search, &id)) {
        int code;

        sqlite3_bind_int64(st, 1, id);
        code = sqlite3_step(st);
        outcome = sqlite_explain(heap->db, code, fail);
        if (code == SQLITE_ROW || (code == SQLITE_DONE && which != ST_GET && sqlite3_changes(heap->db) > 0)) {
            *id_out = id;
            return outcome;
        }
        sqlite3_reset(st);
    }
    return outcome;
}

enum sqlite_outcome heap_get(struct heap *heap, struct arena *mem, const char *table, struct str key,
                             struct store_row *row_out, struct fail *fail)
{
    sqlite3_stmt *st = heap->statements[ST_GET];
    int64_t id;
    enum sqlite_outcome outcome = step_where_it_lies(heap, ST_GET, table, key, &id, fail);

    *row_out = (struct store_row){0};
    if (outcome == SQLITE_WORKED && id != 0)
        *row_out = sqlite_row(mem, st);
    sqlite3_reset(st);
    return outcome;
}

static enum sqlite_outcome delete_row(struct heap *heap, const char *table, struct str key, struct fail *fail)
{
    int64_t id;
    enum sqlite_outcome outcome = step_where_it_lies(heap, ST_DELETE, table, key, &id, fail);

    sqlite3_reset(heap->statements[ST_DELETE]);
    if (outcome == SQLITE_WORKED && id != 0)
        places_remove(heap->places, hash_of(str_of(table), key), id);
    return outcome;
}

static void bind_row(sqlite3_stmt *st, const struct store_row *row, bool with_hour)
{
    sqlite_bind_bytes(st, 4, row->value);
    sqlite3_bind_int64(st, 5, row->expires_unix);
    if (with_hour)
        sqlite3_bind_int64(st, 6, sqlite_hour_of(row));
}

static enum sqlite_outcome insert_row(struct heap *heap, const char *table, struct str key,
                                      const struct store_row *row, struct fail *fail)
{
    sqlite3_stmt *st = heap->statements[ST_INSERT];
    enum sqlite_outcome outcome;

    sqlite3_bind_text(st, 2, table, -1, SQLITE_STATIC);
    sqlite_bind_bytes(st, 3, key);
    bind_row(st, row, true);
    outcome = sqlite_run(st, fail);
    if (outcome != SQLITE_WORKED)
        return outcome;
    heap->last_id = sqlite3_last_insert_rowid(heap->db);
    places_add(heap->places, hash_of(str_of(table), key), heap->last_id);
    return outcome;
}

enum sqlite_outcome heap_put(struct heap *heap, const char *table, struct str key,
                             const struct store_row *was, const struct store_row *row, struct fail *fail)
{
    enum statement how = sqlite_hour_of(was) == sqlite_hour_of(row) ? ST_TOUCH : ST_UPDATE;
    enum sqlite_outcome outcome = SQLITE_WORKED;
    int64_t id = 0;

    if (row->value.n == 0)
        return delete_row(heap, table, key, fail);
    if (was->value.n > 0) {
        bind_row(heap->statements[how], row, how == ST_UPDATE);
        outcome = step_where_it_lies(heap, how, table, key, &id, fail);
        sqlite3_reset(heap->statements[how]);
    }
    /* New, or taken away meanwhile because the table was full. */
    return outcome == SQLITE_WORKED && id == 0 ? insert_row(heap, table, key, row, fail) : outcome;
}

enum sqlite_outcome heap_delete_first(struct heap *heap, const char *table, int64_t before_hour, int64_t most,
                                      int64_t *deleted_out, struct fail *fail)
{
    sqlite3_stmt *st = heap->statements[ST_FIRST];
    enum sqlite_outcome outcome;
    int code;

    *deleted_out = 0;
    sqlite3_bind_text(st, 1, table, -1, SQLITE_STATIC);
    sqlite3_bind_int64(st, 2, before_hour);
    sqlite3_bind_int64(st, 3, most);
    while ((code = sqlite3_step(st)) == SQLITE_ROW) {
        places_remove(heap->places, hash_of(str_of(table), sqlite_bytes(st, 1)), sqlite3_column_int64(st, 0));
        ++*deleted_out;
    }
    outcome = sqlite_explain(heap->db, code, fail);
    sqlite3_reset(st);
    return outcome;
}

size_t heap_places(const struct heap *heap)
{
    return heap->places != NULL ? places_count(heap->places) : 0;
}

/* ---- life ---- */

static enum sqlite_outcome create_schema(sqlite3 *db, struct fail *fail)
{
    static const char sql[] =
        "BEGIN IMMEDIATE;"
        "CREATE TABLE IF NOT EXISTS heap (id INTEGER PRIMARY KEY AUTOINCREMENT, tbl TEXT NOT NULL, key BLOB "
        "NOT NULL,"
        " value BLOB NOT NULL, expires INTEGER NOT NULL, expires_hour INTEGER NOT NULL) STRICT;"
        "CREATE INDEX IF NOT EXISTS heap_by_hour ON heap (tbl, expires_hour) WHERE expires_hour > 0;"
        "COMMIT";
    int columns = 0;
    int code = sqlite3_table_column_metadata(db, "main", "heap", "id", NULL, NULL, NULL, NULL, &columns);

    if (code == SQLITE_OK)
        return SQLITE_WORKED;
    return sqlite_explain(db, sqlite3_exec(db, sql, NULL, NULL, NULL), fail);
}

/* Where the heap has a row, too, that is newer: the program of before was back for a while. */
static enum sqlite_outcome take_over(sqlite3 *db, const char *table, struct fail *fail)
{
    enum { ASK, BEGIN, MOVE, CLEAR, COMMIT, STEPS };
    static const char *const sql[STEPS] = {
        [ASK] = "SELECT 1 FROM rows WHERE tbl = ?1 LIMIT 1",
        [BEGIN] = "BEGIN IMMEDIATE",
        [MOVE] = "INSERT INTO heap (tbl, key, value, expires, expires_hour)"
                 " SELECT r.tbl, r.key, r.value, r.expires, r.expires_hour FROM rows AS r"
                 " LEFT JOIN heap AS h ON h.tbl = r.tbl AND h.key = r.key WHERE r.tbl = ?1 AND h.id IS NULL",
        [CLEAR] = "DELETE FROM rows WHERE tbl = ?1",
        [COMMIT] = "COMMIT",
    };
    sqlite3_stmt *steps[STEPS] = {NULL};
    enum sqlite_outcome outcome = sqlite_prepare(db, sql, steps, STEPS, fail);
    bool has_some = false;

    for (int i = 0; i < STEPS && outcome == SQLITE_WORKED && (i == ASK || has_some); i++) {
        int code;

        if (sqlite3_bind_parameter_count(steps[i]) > 0)
            sqlite3_bind_text(steps[i], 1, table, -1, SQLITE_STATIC);
        code = sqlite3_step(steps[i]);
        has_some |= code == SQLITE_ROW;
        outcome = sqlite_explain(db, code, fail);
        sqlite3_reset(steps[i]);
    }
    for (int i = 0; i < STEPS; i++)
        sqlite3_finalize(steps[i]);
    return outcome;
}

static enum sqlite_outcome take_over_all(sqlite3 *db, const struct sqlite_settings *settings,
                                         struct fail *fail)
{
    enum sqlite_outcome outcome = SQLITE_WORKED;

    for (size_t i = 0; i < settings->tables_count && outcome == SQLITE_WORKED; i++)
        if (settings->tables[i].heaped)
            outcome = take_over(db, settings->tables[i].name, fail);
    return outcome;
}

enum sqlite_outcome heap_open(sqlite3 *db, const struct sqlite_settings *settings, struct heap **heap_out,
                              struct fail *fail)
{
    struct heap *heap = calloc(1, sizeof(*heap));
    enum sqlite_outcome outcome;

    if (heap == NULL)
        out_of_memory();
    heap->db = db;
    *heap_out = heap;
    outcome = create_schema(db, fail);
    if (outcome == SQLITE_WORKED && !settings->guest)
        outcome = take_over_all(db, settings, fail);
    if (outcome == SQLITE_WORKED)
        outcome = sqlite_prepare(db, statement_sql, heap->statements, STATEMENTS, fail);
    return outcome == SQLITE_WORKED && !settings->guest ? heap_look(heap, fail) : outcome;
}

void heap_close(struct heap **heap)
{
    if (*heap == NULL)
        return;
    for (size_t i = 0; i < STATEMENTS; i++)
        sqlite3_finalize((*heap)->statements[i]);
    places_free(&(*heap)->places);
    free(*heap);
    *heap = NULL;
}
