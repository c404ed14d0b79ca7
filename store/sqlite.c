#include "store/sqlite.h"

#include "base/bug.h"
#include "store/heap.h"
#include "store/sqlite_in.h"

#include <inttypes.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { TABLES_MAX = 32, SCHEMA_VERSION = 1, APPLICATION_ID = 0x73677264 /* "sgrd" */ };

/* A check reads the whole file: above this size we trust the header, the schema and what SQLite notices. */
static const int64_t CHECK_BYTES_MAX = 64 * 1024 * 1024;

enum statement {
    ST_BEGIN,
    ST_COMMIT,
    ST_GET,
    ST_PUT,
    ST_TOUCH,
    ST_DELETE,
    ST_FIRST,
    ST_FIRST_KEYS,
    STATEMENTS
};

static const char *const statement_sql[STATEMENTS] = {
    [ST_BEGIN] = "BEGIN IMMEDIATE",
    [ST_COMMIT] = "COMMIT",
    [ST_GET] = "SELECT value, expires FROM rows WHERE tbl = ?1 AND key = ?2",
    [ST_PUT] = "INSERT INTO rows (tbl, key, value, expires, expires_hour) VALUES (?1, ?2, ?3, ?4, ?5)"
               " ON CONFLICT (tbl, key) DO UPDATE SET value = ?3, expires = ?4, expires_hour = ?5",
    [ST_TOUCH] = "UPDATE rows SET value = ?3, expires = ?4 WHERE tbl = ?1 AND key = ?2",
    [ST_DELETE] = "DELETE FROM rows WHERE tbl = ?1 AND key = ?2",
    [ST_FIRST] = "DELETE FROM rows WHERE tbl = ?1 AND key IN (SELECT key FROM rows"
                 " WHERE tbl = ?1 AND expires_hour > 0 AND expires_hour < ?2 ORDER BY expires_hour LIMIT ?3)",
    [ST_FIRST_KEYS] = "SELECT key FROM rows WHERE tbl = ?1 LIMIT ?2",
};

/* Rows of one table that expire. Counting them in SQL reads them all, so it is done at the start, and again when others
 * have written so much that the number may be far off (must_count). */
struct table {
    char name[32];
    int64_t rows, rows_max;
    bool heaped; /* they lie in the heap, else in `rows` */
};

struct sqlite {
    sqlite3 *db;
    sqlite3_stmt *statements[STATEMENTS];
    struct heap *heap;
    struct table tables[TABLES_MAX];
    size_t tables_count;
    struct sqlite_settings settings;
    size_t log_pages;
    bool is_counted; /* the tables' rows are known */
    struct heap_others others; /* since they were counted */
};

/* ---- errors ---- */

enum sqlite_outcome sqlite_outcome_of(int code)
{
    switch (code & 0xff) {
    case SQLITE_OK:
    case SQLITE_ROW:
    case SQLITE_DONE:
        return SQLITE_WORKED;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_ERROR: /* our SQL does not fit the tables in this file */
    case SQLITE_SCHEMA:
    case SQLITE_CONSTRAINT:
    case SQLITE_MISMATCH:
        return SQLITE_DAMAGED;
    case SQLITE_NOMEM:
        out_of_memory();
    case SQLITE_MISUSE:
    case SQLITE_RANGE:
        bug("SQLite is misused: %s", sqlite3_errstr(code));
    default:
        return SQLITE_UNAVAILABLE;
    }
}

enum sqlite_outcome sqlite_explain(sqlite3 *db, int code, struct fail *fail)
{
    enum sqlite_outcome outcome = sqlite_outcome_of(code);
    int error = sqlite3_system_errno(db);

    if (outcome == SQLITE_WORKED)
        return outcome;
    if (error != 0 && (code & 0xff) != SQLITE_BUSY && outcome == SQLITE_UNAVAILABLE)
        fail_set(fail, "%s (%s)", sqlite3_errmsg(db), strerror(error));
    else
        fail_set(fail, "%s", sqlite3_errmsg(db));
    return outcome;
}

static enum sqlite_outcome damaged(struct fail *fail, const char *why)
{
    fail_set(fail, "%s", why);
    return SQLITE_DAMAGED;
}

/* ---- running statements ---- */

void sqlite_bind_bytes(sqlite3_stmt *st, int place, struct str bytes)
{
    sqlite3_bind_blob(st, place, bytes.n > 0 ? bytes.p : "", (int)bytes.n, SQLITE_STATIC);
}

struct str sqlite_bytes(sqlite3_stmt *st, int column)
{
    const void *bytes = sqlite3_column_blob(st, column);

    return str_make(bytes, (size_t)sqlite3_column_bytes(st, column));
}

static struct str copy_of(struct arena *mem, struct str bytes)
{
    return str_make(arena_copy(mem, bytes.p, bytes.n), bytes.n);
}

struct store_row sqlite_row(struct arena *mem, sqlite3_stmt *st)
{
    return (struct store_row){copy_of(mem, sqlite_bytes(st, 0)), sqlite3_column_int64(st, 1)};
}

static sqlite3_stmt *with_table(struct sqlite *db, enum statement which, const char *table)
{
    sqlite3_stmt *st = db->statements[which];

    sqlite3_bind_text(st, 1, table, -1, SQLITE_STATIC);
    return st;
}

enum sqlite_outcome sqlite_run(sqlite3_stmt *st, struct fail *fail)
{
    int code = sqlite3_step(st);
    enum sqlite_outcome outcome = sqlite_explain(sqlite3_db_handle(st), code, fail);

    sqlite3_reset(st);
    return outcome;
}

enum sqlite_outcome sqlite_prepare(sqlite3 *db, const char *const sql[], sqlite3_stmt *statements_out[],
                                   size_t count, struct fail *fail)
{
    int code = SQLITE_OK;

    for (size_t i = 0; i < count && code == SQLITE_OK; i++)
        code = sqlite3_prepare_v3(db, sql[i], -1, SQLITE_PREPARE_PERSISTENT, &statements_out[i], NULL);
    return sqlite_explain(db, code, fail);
}

static enum sqlite_outcome execute(sqlite3 *db, const char *sql, struct fail *fail)
{
    return sqlite_explain(db, sqlite3_exec(db, sql, NULL, NULL, NULL), fail);
}

/* The first column of the first row, as a number. */
static enum sqlite_outcome ask_number(sqlite3 *db, const char *sql, int64_t *number_out, struct fail *fail)
{
    sqlite3_stmt *st = NULL;
    int code = sqlite3_prepare_v2(db, sql, -1, &st, NULL);
    enum sqlite_outcome outcome;

    if (code == SQLITE_OK)
        code = sqlite3_step(st);
    *number_out = code == SQLITE_ROW ? sqlite3_column_int64(st, 0) : 0;
    outcome = sqlite_explain(db, code, fail);
    sqlite3_finalize(st);
    return outcome;
}

/* ---- counting ---- */

const struct store_table *sqlite_table(const struct sqlite_settings *settings, const char *name)
{
    for (size_t i = 0; i < settings->tables_count; i++)
        if (strcmp(settings->tables[i].name, name) == 0)
            return &settings->tables[i];
    return NULL;
}

static struct table *look_up_table(struct sqlite *db, const char *name)
{
    const struct store_table *known = sqlite_table(&db->settings, name);
    struct table *table = db->tables;

    for (size_t i = 0; i < db->tables_count; i++, table++)
        if (strcmp(table->name, name) == 0)
            return table;
    if (db->tables_count == TABLES_MAX || strlen(name) >= sizeof(table->name))
        return NULL;
    memcpy(table->name, name, strlen(name) + 1);
    table->rows_max = (int64_t)(known != NULL && known->rows_max > 0 ? known->rows_max : db->settings.rows_max);
    table->heaped = known != NULL && known->heaped;
    db->tables_count++;
    return table;
}

static struct table *find_table(struct sqlite *db, const char *name)
{
    struct table *table = look_up_table(db, name);

    if (table == NULL)
        bug("store table %s is one too many or has too long a name", name);
    return table;
}

static enum sqlite_outcome count_rows(struct sqlite *db, struct fail *fail)
{
    sqlite3_stmt *st = NULL;
    int code = sqlite3_prepare_v2(db->db,
                                  "SELECT tbl, count(*) FROM rows WHERE expires_hour > 0 GROUP BY tbl UNION ALL "
                                  "SELECT tbl, count(*) FROM heap WHERE expires_hour > 0 GROUP BY tbl",
                                  -1, &st, NULL);
    enum sqlite_outcome outcome;

    for (size_t i = 0; i < db->tables_count; i++)
        db->tables[i].rows = 0;
    while (code == SQLITE_OK || code == SQLITE_ROW) {
        struct table *table;

        code = sqlite3_step(st);
        if (code != SQLITE_ROW)
            break;
        table = look_up_table(db, (const char *)sqlite3_column_text(st, 0));
        if (table != NULL)
            table->rows = sqlite3_column_int64(st, 1);
    }
    outcome = sqlite_explain(db->db, code, fail);
    db->is_counted = outcome == SQLITE_WORKED;
    db->others = (struct heap_others){0};
    sqlite3_finalize(st);
    return outcome;
}

/* Before a row is added. A number that is too high would have rows go that have just come; one that is too low, more
 * stay than may. Whoever writes beside us takes away without our knowing, but what he adds the heap learns of. */
static bool must_count(const struct sqlite *db, const struct table *table)
{
    return !db->is_counted || (db->others.wrote && table->rows >= table->rows_max) ||
           db->others.added > table->rows_max / 10;
}

/* ---- rows ---- */

enum sqlite_outcome sqlite_begin(struct sqlite *db, struct fail *fail)
{
    sqlite3_stmt *st = db->statements[ST_BEGIN];
    enum sqlite_outcome outcome = heap_look(db->heap, fail);
    int code;

    if (outcome != SQLITE_WORKED)
        return outcome;
    code = sqlite3_step(st);
    outcome = sqlite_explain(db->db, code, fail);
    sqlite3_reset(st);
    if ((code & 0xff) == SQLITE_BUSY)
        return SQLITE_HELD;
    return outcome == SQLITE_WORKED ? heap_begin(db->heap, &db->others, fail) : outcome;
}

enum sqlite_outcome sqlite_commit(struct sqlite *db, struct fail *fail)
{
    return sqlite_run(db->statements[ST_COMMIT], fail);
}

size_t sqlite_log_pages(const struct sqlite *db)
{
    return db->log_pages;
}

static enum sqlite_outcome get_row(struct sqlite *db, struct arena *mem, const char *table, struct str key,
                                   struct store_row *row_out, struct fail *fail)
{
    sqlite3_stmt *st = with_table(db, ST_GET, table);
    enum sqlite_outcome outcome;
    int code;

    *row_out = (struct store_row){0};
    sqlite_bind_bytes(st, 2, key);
    code = sqlite3_step(st);
    outcome = sqlite_explain(db->db, code, fail);
    if (code == SQLITE_ROW)
        *row_out = sqlite_row(mem, st);
    sqlite3_reset(st);
    return outcome;
}

enum sqlite_outcome sqlite_get(struct sqlite *db, struct arena *mem, const char *table, struct str key,
                               struct store_row *row_out, struct fail *fail)
{
    return find_table(db, table)->heaped ? heap_get(db->heap, mem, table, key, row_out, fail)
                                         : get_row(db, mem, table, key, row_out, fail);
}

/* Those that expire first, before the hour. */
static enum sqlite_outcome delete_first(struct sqlite *db, struct table *table, int64_t before_hour, int64_t most,
                                        int64_t *deleted_out, struct fail *fail)
{
    enum sqlite_outcome outcome;

    *deleted_out = 0;
    if (table->heaped) {
        outcome = heap_delete_first(db->heap, table->name, before_hour, most, deleted_out, fail);
    } else {
        sqlite3_stmt *st = with_table(db, ST_FIRST, table->name);

        sqlite3_bind_int64(st, 2, before_hour);
        sqlite3_bind_int64(st, 3, most);
        outcome = sqlite_run(st, fail);
        if (outcome == SQLITE_WORKED)
            *deleted_out = sqlite3_changes64(db->db);
    }
    table->rows -= *deleted_out;
    return outcome;
}

/* A full table loses the rows that would have expired first: a slice at once, so that the next inserts are
 * free. (When a row goes that this very transaction has read and writes again, the count is one too low until
 * the next start.) */
static enum sqlite_outcome make_room(struct sqlite *db, struct table *table, struct fail *fail)
{
    int64_t slice = table->rows_max / 10 + 1, deleted;

    return delete_first(db, table, INT64_MAX, slice < SQLITE_SLICE_ROWS ? slice : SQLITE_SLICE_ROWS, &deleted, fail);
}

static enum sqlite_outcome delete_row(struct sqlite *db, const char *table, struct str key, struct fail *fail)
{
    sqlite3_stmt *st = with_table(db, ST_DELETE, table);

    sqlite_bind_bytes(st, 2, key);
    return sqlite_run(st, fail);
}

int64_t sqlite_hour_of(const struct store_row *row)
{
    return row->expires_unix > 0 ? row->expires_unix / SQLITE_HOUR_S + 1 : 0;
}

static enum sqlite_outcome write_row(struct sqlite *db, enum statement how, const char *table, struct str key,
                                     const struct store_row *row, struct fail *fail)
{
    sqlite3_stmt *st = with_table(db, how, table);

    sqlite_bind_bytes(st, 2, key);
    sqlite_bind_bytes(st, 3, row->value);
    sqlite3_bind_int64(st, 4, row->expires_unix);
    if (how == ST_PUT)
        sqlite3_bind_int64(st, 5, sqlite_hour_of(row));
    return sqlite_run(st, fail);
}

static enum sqlite_outcome put_row(struct sqlite *db, const char *table, struct str key,
                                   const struct store_row *was, const struct store_row *row, struct fail *fail)
{
    bool stays = was->value.n > 0 && sqlite_hour_of(was) == sqlite_hour_of(row);
    enum sqlite_outcome outcome = SQLITE_WORKED;

    if (row->value.n == 0)
        return delete_row(db, table, key, fail);
    if (stays)
        outcome = write_row(db, ST_TOUCH, table, key, row, fail);
    if (outcome != SQLITE_WORKED || (stays && sqlite3_changes64(db->db) > 0))
        return outcome;
    /* New, or of another hour, or taken away by make_room() meanwhile. */
    return write_row(db, ST_PUT, table, key, row, fail);
}

enum sqlite_outcome sqlite_put(struct sqlite *db, const char *table_name, struct str key,
                               const struct store_row *was, const struct store_row *row, struct fail *fail)
{
    struct table *table = find_table(db, table_name);
    bool counted = was->value.n > 0 && was->expires_unix > 0;
    bool counts = row->value.n > 0 && row->expires_unix > 0;
    enum sqlite_outcome outcome = SQLITE_WORKED;

    if (counts && !counted && must_count(db, table))
        outcome = count_rows(db, fail);
    if (outcome == SQLITE_WORKED && counts && !counted && table->rows >= table->rows_max)
        outcome = make_room(db, table, fail);
    if (outcome != SQLITE_WORKED)
        return outcome;
    table->rows += (int64_t)counts - (int64_t)counted;
    return table->heaped ? heap_put(db->heap, table_name, key, was, row, fail)
                         : put_row(db, table_name, key, was, row, fail);
}

enum sqlite_outcome sqlite_expire(struct sqlite *db, int64_t now_unix, size_t *deleted_out, struct fail *fail)
{
    int64_t left = SQLITE_SLICE_ROWS, deleted;
    enum sqlite_outcome outcome = SQLITE_WORKED;

    for (size_t i = 0; i < db->tables_count && left > 0 && outcome == SQLITE_WORKED; i++) {
        outcome = delete_first(db, &db->tables[i], now_unix / SQLITE_HOUR_S + 1, left, &deleted, fail);
        left -= deleted;
    }
    *deleted_out = (size_t)(SQLITE_SLICE_ROWS - left);
    return outcome;
}

enum sqlite_outcome sqlite_first_keys(struct sqlite *db, struct arena *mem, const char *table, size_t most,
                                      struct str *keys_out, size_t *count_out, struct fail *fail)
{
    sqlite3_stmt *st = with_table(db, ST_FIRST_KEYS, table);
    enum sqlite_outcome outcome;
    int code;

    *count_out = 0;
    sqlite3_bind_int64(st, 2, (int64_t)most);
    while ((code = sqlite3_step(st)) == SQLITE_ROW)
        keys_out[(*count_out)++] = copy_of(mem, sqlite_bytes(st, 0));
    outcome = sqlite_explain(db->db, code, fail);
    sqlite3_reset(st);
    return outcome;
}

/* ---- opening ---- */

/* For the tables that are not in the heap (store/heap.h). New rows lie side by side, in the order in which they come, and so do
 * their entries by hour: of many new rows in a transaction each writes one page of its own, that of the index by key. Files of before have rows in the order of their
 * keys (PRIMARY KEY (tbl, key), WITHOUT ROWID), where each wrote two. All statements serve both, so such a file stays
 * as it is, and has the same version. */
static enum sqlite_outcome create_schema(sqlite3 *db, struct fail *fail)
{
    static const char sql[] =
        "BEGIN IMMEDIATE;"
        "CREATE TABLE rows (tbl TEXT NOT NULL, key BLOB NOT NULL, value BLOB NOT NULL,"
        " expires INTEGER NOT NULL, expires_hour INTEGER NOT NULL) STRICT;"
        "CREATE UNIQUE INDEX rows_by_key ON rows (tbl, key);"
        "CREATE INDEX rows_by_hour ON rows (tbl, expires_hour) WHERE expires_hour > 0;"
        "PRAGMA application_id = %d; PRAGMA user_version = %d;"
        "COMMIT";
    char text[sizeof(sql) + 32];

    snprintf(text, sizeof(text), sql, APPLICATION_ID, SCHEMA_VERSION);
    return execute(db, text, fail);
}

/* The next version adds its step here: `case 1: alter …; fall through`. */
static enum sqlite_outcome migrate(sqlite3 *db, struct fail *fail)
{
    int64_t version, application, objects;
    enum sqlite_outcome outcome = ask_number(db, "PRAGMA user_version", &version, fail);

    if (outcome == SQLITE_WORKED)
        outcome = ask_number(db, "PRAGMA application_id", &application, fail);
    if (outcome == SQLITE_WORKED)
        outcome = ask_number(db, "SELECT count(*) FROM sqlite_schema", &objects, fail);
    if (outcome != SQLITE_WORKED)
        return outcome;
    if (objects == 0)
        return create_schema(db, fail);
    if (application != APPLICATION_ID) {
        fail_set(fail, "it is the database of another program");
        return SQLITE_UNAVAILABLE; /* not ours to set aside */
    }
    if (version != SCHEMA_VERSION)
        return damaged(fail, "it was written by another version of this program");
    return SQLITE_WORKED;
}

static int on_check(void *arg, int columns, char **texts, char **names)
{
    bool *fine = arg;

    (void)names;
    *fine = columns == 1 && texts[0] != NULL && strcmp(texts[0], "ok") == 0;
    return 0;
}

static enum sqlite_outcome check_whole(sqlite3 *db, const char *path, struct fail *fail)
{
    struct stat file;
    bool fine = false;
    int code;

    if (stat(path, &file) != 0 || file.st_size >= CHECK_BYTES_MAX)
        return SQLITE_WORKED;
    code = sqlite3_exec(db, "PRAGMA quick_check(1)", on_check, &fine, NULL);
    if (code == SQLITE_OK && !fine)
        return damaged(fail, "quick_check finds it malformed");
    return sqlite_explain(db, code, fail);
}

/* Writing is tried too: a full or read-only disk shall not look well until the first request. */
static enum sqlite_outcome try_to_write(sqlite3 *db, struct fail *fail)
{
    char text[64];

    snprintf(text, sizeof(text), "BEGIN IMMEDIATE; PRAGMA user_version = %d; COMMIT", SCHEMA_VERSION);
    return execute(db, text, fail);
}

static int on_committed(void *arg, sqlite3 *db, const char *name, int pages)
{
    struct sqlite *s = arg;

    (void)db, (void)name;
    s->log_pages = (size_t)pages;
    return SQLITE_OK;
}

static enum sqlite_outcome set_up(struct sqlite *db, const struct sqlite_settings *settings,
                                  struct fail *fail)
{
    /* WAL with synchronous=NORMAL: a crash of the process loses nothing, a power cut perhaps the last second.
     * No mmap: an I/O error would be a SIGBUS. Debian turns secure_delete on; it costs writes and hides
     * nothing here. Checkpoints are store/checkpoint.h's. */
    static const char pragmas[] =
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA secure_delete = OFF;"
        "PRAGMA mmap_size = 0;"
        "PRAGMA wal_autocheckpoint = 0; PRAGMA journal_size_limit = %zu; PRAGMA cache_size = -8192;"
        "PRAGMA temp_store = MEMORY";
    char text[sizeof(pragmas) + 32];
    enum sqlite_outcome outcome;

    sqlite3_extended_result_codes(db->db, 1);
    sqlite3_busy_timeout(db->db, settings->busy_ms);
    snprintf(text, sizeof(text), pragmas, settings->log_bytes);
    outcome = execute(db->db, text, fail);
    sqlite3_wal_hook(db->db, on_committed, db);
    if (outcome == SQLITE_WORKED)
        outcome = migrate(db->db, fail);
    if (outcome == SQLITE_WORKED && !settings->guest)
        outcome = check_whole(db->db, settings->path, fail);
    if (outcome == SQLITE_WORKED && !settings->guest)
        outcome = try_to_write(db->db, fail);
    if (outcome == SQLITE_WORKED)
        outcome = heap_open(db->db, settings, &db->heap, fail);
    if (outcome == SQLITE_WORKED)
        outcome = sqlite_prepare(db->db, statement_sql, db->statements, STATEMENTS, fail);
    return outcome == SQLITE_WORKED && !settings->guest ? count_rows(db, fail) : outcome;
}

/* Its statistics of memory, which nobody reads, would take a lock for each allocation. */
static void set_up_library(void)
{
    (void)sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
}

enum sqlite_outcome sqlite_open(const struct sqlite_settings *settings, struct sqlite **db_out,
                                struct fail *fail)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
    struct sqlite *db = calloc(1, sizeof(*db));
    enum sqlite_outcome outcome;
    int code;

    pthread_once(&once, set_up_library);
    if (db == NULL)
        out_of_memory();
    db->settings = *settings;
    sqlite_create_file(settings->path);
    code = sqlite3_open_v2(settings->path, &db->db, flags, NULL);
    outcome = sqlite_explain(db->db, code, fail);
    if (outcome == SQLITE_WORKED)
        outcome = set_up(db, settings, fail);
    if (outcome != SQLITE_WORKED)
        sqlite_close(&db);
    *db_out = db;
    return outcome;
}

void sqlite_close(struct sqlite **db)
{
    if (*db == NULL)
        return;
    for (size_t i = 0; i < STATEMENTS; i++)
        sqlite3_finalize((*db)->statements[i]);
    heap_close(&(*db)->heap);
    sqlite3_close((*db)->db);
    free(*db);
    *db = NULL;
}
