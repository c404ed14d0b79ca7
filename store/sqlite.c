#include "store/sqlite.h"

#include "base/bug.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <limits.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { TABLES_MAX = 32, SCHEMA_VERSION = 1, APPLICATION_ID = 0x73677264 /* "sgrd" */ };
enum { BACKUP_BUSY_MS = 5000 };

/* A check reads the whole file: above this size we trust the header, the schema and what SQLite notices. */
static const int64_t CHECK_BYTES_MAX = 64 * 1024 * 1024;

/* Rows are found by the hour in which they expire, not by the second: a row that is used again within the
 * hour stays where it is in the index, which halves the cost of an update. In return, expired rows lie there
 * for an hour more, unseen. */
enum { HOUR_S = 3600 };

enum statement {
    ST_BEGIN,
    ST_COMMIT,
    ST_GET,
    ST_PUT,
    ST_TOUCH,
    ST_DELETE,
    ST_EXPIRE,
    ST_TRIM,
    ST_FIRST,
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
    [ST_EXPIRE] =
        "DELETE FROM rows WHERE tbl = ?1 AND key IN (SELECT key FROM rows"
        " WHERE tbl = ?1 AND expires_hour > 0 AND expires_hour < ?2 ORDER BY expires_hour LIMIT ?3)",
    [ST_TRIM] = "DELETE FROM rows WHERE tbl = ?1 AND key IN (SELECT key FROM rows"
                " WHERE tbl = ?1 AND expires_hour > 0 ORDER BY expires_hour LIMIT ?2)",
    [ST_FIRST] = "SELECT key FROM rows WHERE tbl = ?1 LIMIT ?2",
};

/* Rows of one table that expire. Counting them in SQL reads them all, so it is done once, at the start. */
struct table {
    char name[32];
    int64_t rows, rows_max;
};

struct sqlite {
    sqlite3 *db;
    sqlite3_stmt *statements[STATEMENTS];
    struct table tables[TABLES_MAX];
    size_t tables_count;
    struct sqlite_settings settings;
    size_t log_pages;
    bool is_counted; /* the tables' rows are known */
};

/* ---- errors ---- */

static enum sqlite_outcome outcome_of(int code)
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

static enum sqlite_outcome explain(sqlite3 *db, int code, struct fail *fail)
{
    enum sqlite_outcome outcome = outcome_of(code);
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

static void bind_blob(sqlite3_stmt *st, int place, struct str bytes)
{
    sqlite3_bind_blob(st, place, bytes.n > 0 ? bytes.p : "", (int)bytes.n, SQLITE_STATIC);
}

static sqlite3_stmt *with_table(struct sqlite *db, enum statement which, const char *table)
{
    sqlite3_stmt *st = db->statements[which];

    sqlite3_bind_text(st, 1, table, -1, SQLITE_STATIC);
    return st;
}

/* Runs a statement that gives no rows. What was bound is borrowed and is bound anew the next time. */
static enum sqlite_outcome run(struct sqlite *db, sqlite3_stmt *st, struct fail *fail)
{
    int code = sqlite3_step(st);
    enum sqlite_outcome outcome = explain(db->db, code, fail);

    sqlite3_reset(st);
    return outcome;
}

static enum sqlite_outcome execute(sqlite3 *db, const char *sql, struct fail *fail)
{
    return explain(db, sqlite3_exec(db, sql, NULL, NULL, NULL), fail);
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
    outcome = explain(db, code, fail);
    sqlite3_finalize(st);
    return outcome;
}

/* ---- counting ---- */

static int64_t rows_max_of(const struct sqlite_settings *settings, const char *name)
{
    for (size_t i = 0; i < settings->tables_count; i++)
        if (strcmp(settings->tables[i].name, name) == 0 && settings->tables[i].rows_max > 0)
            return (int64_t)settings->tables[i].rows_max;
    return (int64_t)settings->rows_max;
}

static struct table *find_table(struct sqlite *db, const char *name)
{
    struct table *table = db->tables;

    for (size_t i = 0; i < db->tables_count; i++, table++)
        if (strcmp(table->name, name) == 0)
            return table;
    if (db->tables_count == TABLES_MAX || strlen(name) >= sizeof(table->name))
        return NULL;
    memcpy(table->name, name, strlen(name) + 1);
    table->rows_max = rows_max_of(&db->settings, name);
    db->tables_count++;
    return table;
}

static enum sqlite_outcome count_rows(struct sqlite *db, struct fail *fail)
{
    sqlite3_stmt *st = NULL;
    int code = sqlite3_prepare_v2(
        db->db, "SELECT tbl, count(*) FROM rows WHERE expires_hour > 0 GROUP BY tbl", -1, &st, NULL);
    enum sqlite_outcome outcome;

    while (code == SQLITE_OK || code == SQLITE_ROW) {
        struct table *table;

        code = sqlite3_step(st);
        if (code != SQLITE_ROW)
            break;
        table = find_table(db, (const char *)sqlite3_column_text(st, 0));
        if (table != NULL)
            table->rows = sqlite3_column_int64(st, 1);
    }
    outcome = explain(db->db, code, fail);
    db->is_counted = outcome == SQLITE_WORKED;
    sqlite3_finalize(st);
    return outcome;
}

/* ---- opening ---- */

/* A verb that root runs before the daemon's first start must not leave it a file that it cannot open: whose the
 * folder is, his is the file. */
static void give_to_owner_of_folder(int fd, const char *path)
{
    char copy[PATH_MAX];
    struct stat folder;

    if (geteuid() != 0 || snprintf(copy, sizeof(copy), "%s", path) >= (int)sizeof(copy) ||
        stat(dirname(copy), &folder) != 0)
        return;
    if (fchown(fd, folder.st_uid, folder.st_gid) != 0)
        return; /* a file system without owners: then everybody may */
}

/* Made by us, so that it is not readable for everybody; SQLite gives its companion files the same mode and owner.
 * Only a file that is not there: closing a second descriptor of one that is would drop this process's locks on it. */
static void create_file(const char *path)
{
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0640);

    if (fd < 0)
        return;
    give_to_owner_of_folder(fd, path);
    close(fd);
}

/* New rows lie side by side, in the order in which they come, and so do their entries by hour: of many new rows in a
 * transaction each writes one page of its own, that of the index by key. Files of before have rows in the order of their
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
    return explain(db, code, fail);
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
    for (size_t i = 0; i < STATEMENTS && outcome == SQLITE_WORKED; i++)
        outcome = explain(db->db,
                          sqlite3_prepare_v3(db->db, statement_sql[i], -1, SQLITE_PREPARE_PERSISTENT,
                                             &db->statements[i], NULL),
                          fail);
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
    create_file(settings->path);
    code = sqlite3_open_v2(settings->path, &db->db, flags, NULL);
    outcome = explain(db->db, code, fail);
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
    sqlite3_close((*db)->db);
    free(*db);
    *db = NULL;
}

/* ---- rows ---- */

enum sqlite_outcome sqlite_begin(struct sqlite *db, struct fail *fail)
{
    sqlite3_stmt *st = db->statements[ST_BEGIN];
    int code = sqlite3_step(st);
    enum sqlite_outcome outcome = explain(db->db, code, fail);

    sqlite3_reset(st);
    return (code & 0xff) == SQLITE_BUSY ? SQLITE_HELD : outcome;
}

enum sqlite_outcome sqlite_commit(struct sqlite *db, struct fail *fail)
{
    return run(db, db->statements[ST_COMMIT], fail);
}

size_t sqlite_log_pages(const struct sqlite *db)
{
    return db->log_pages;
}

enum sqlite_outcome sqlite_get(struct sqlite *db, struct arena *mem, const char *table, struct str key,
                               struct store_row *row_out, struct fail *fail)
{
    sqlite3_stmt *st = with_table(db, ST_GET, table);
    enum sqlite_outcome outcome;
    int code;

    *row_out = (struct store_row){0};
    bind_blob(st, 2, key);
    code = sqlite3_step(st);
    outcome = explain(db->db, code, fail);
    if (code == SQLITE_ROW) {
        const void *bytes = sqlite3_column_blob(st, 0);

        row_out->value.n = (size_t)sqlite3_column_bytes(st, 0);
        row_out->value.p = arena_copy(mem, bytes, row_out->value.n);
        row_out->expires_unix = sqlite3_column_int64(st, 1);
    }
    sqlite3_reset(st);
    return outcome;
}

/* A full table loses the rows that would have expired first: a slice at once, so that the next inserts are
 * free. (When a row goes that this very transaction has read and writes again, the count is one too low until
 * the next start.) */
static enum sqlite_outcome make_room(struct sqlite *db, struct table *table, struct fail *fail)
{
    sqlite3_stmt *st = with_table(db, ST_TRIM, table->name);
    int64_t slice = table->rows_max / 10 + 1;
    enum sqlite_outcome outcome;

    sqlite3_bind_int64(st, 2, slice < SQLITE_SLICE_ROWS ? slice : SQLITE_SLICE_ROWS);
    outcome = run(db, st, fail);
    if (outcome == SQLITE_WORKED)
        table->rows -= sqlite3_changes64(db->db);
    return outcome;
}

static enum sqlite_outcome delete_row(struct sqlite *db, const char *table, struct str key, struct fail *fail)
{
    sqlite3_stmt *st = with_table(db, ST_DELETE, table);

    bind_blob(st, 2, key);
    return run(db, st, fail);
}

static int64_t hour_of(const struct store_row *row)
{
    return row->expires_unix > 0 ? row->expires_unix / HOUR_S + 1 : 0;
}

static enum sqlite_outcome write_row(struct sqlite *db, enum statement how, const char *table, struct str key,
                                     const struct store_row *row, struct fail *fail)
{
    sqlite3_stmt *st = with_table(db, how, table);

    bind_blob(st, 2, key);
    bind_blob(st, 3, row->value);
    sqlite3_bind_int64(st, 4, row->expires_unix);
    if (how == ST_PUT)
        sqlite3_bind_int64(st, 5, hour_of(row));
    return run(db, st, fail);
}

enum sqlite_outcome sqlite_put(struct sqlite *db, const char *table_name, struct str key,
                               const struct store_row *was, const struct store_row *row, struct fail *fail)
{
    struct table *table = find_table(db, table_name);
    bool counted = was->value.n > 0 && was->expires_unix > 0;
    bool counts = row->value.n > 0 && row->expires_unix > 0;
    bool stays = was->value.n > 0 && row->value.n > 0 && hour_of(was) == hour_of(row);
    enum sqlite_outcome outcome = SQLITE_WORKED;

    if (table == NULL)
        bug("store table %s is one too many or has too long a name", table_name);
    if (counts && !counted && !db->is_counted)
        outcome = count_rows(db, fail);
    if (outcome == SQLITE_WORKED && counts && !counted && table->rows >= table->rows_max)
        outcome = make_room(db, table, fail);
    if (outcome != SQLITE_WORKED)
        return outcome;
    table->rows += (int64_t)counts - (int64_t)counted;
    if (row->value.n == 0)
        return delete_row(db, table_name, key, fail);
    if (stays)
        outcome = write_row(db, ST_TOUCH, table_name, key, row, fail);
    if (outcome != SQLITE_WORKED || (stays && sqlite3_changes64(db->db) > 0))
        return outcome;
    /* New, or of another hour, or taken away by make_room() meanwhile. */
    return write_row(db, ST_PUT, table_name, key, row, fail);
}

enum sqlite_outcome sqlite_expire(struct sqlite *db, int64_t now_unix, size_t *deleted_out, struct fail *fail)
{
    size_t left = SQLITE_SLICE_ROWS;
    enum sqlite_outcome outcome = SQLITE_WORKED;

    for (size_t i = 0; i < db->tables_count && left > 0 && outcome == SQLITE_WORKED; i++) {
        struct table *table = &db->tables[i];
        sqlite3_stmt *st = with_table(db, ST_EXPIRE, table->name);

        sqlite3_bind_int64(st, 2, now_unix / HOUR_S + 1);
        sqlite3_bind_int64(st, 3, (int64_t)left);
        outcome = run(db, st, fail);
        if (outcome == SQLITE_WORKED) {
            table->rows -= sqlite3_changes64(db->db);
            left -= (size_t)sqlite3_changes64(db->db);
        }
    }
    *deleted_out = SQLITE_SLICE_ROWS - left;
    return outcome;
}

enum sqlite_outcome sqlite_first_keys(struct sqlite *db, struct arena *mem, const char *table, size_t most,
                                      struct str *keys_out, size_t *count_out, struct fail *fail)
{
    sqlite3_stmt *st = with_table(db, ST_FIRST, table);
    enum sqlite_outcome outcome;
    int code;

    *count_out = 0;
    sqlite3_bind_int64(st, 2, (int64_t)most);
    while ((code = sqlite3_step(st)) == SQLITE_ROW) {
        size_t n = (size_t)sqlite3_column_bytes(st, 0);

        keys_out[(*count_out)++] = str_make(arena_copy(mem, sqlite3_column_blob(st, 0), n), n);
    }
    outcome = explain(db->db, code, fail);
    sqlite3_reset(st);
    return outcome;
}

/* ---- reading ---- */

static int walk(sqlite3_stmt *st, struct str prefix, store_each_fn *each, void *arg)
{
    int code;

    while ((code = sqlite3_step(st)) == SQLITE_ROW) {
        struct str key = {sqlite3_column_blob(st, 0), (size_t)sqlite3_column_bytes(st, 0)};
        struct str value = {sqlite3_column_blob(st, 1), (size_t)sqlite3_column_bytes(st, 1)};

        if (!str_starts(key, prefix) || !each(key, value, sqlite3_column_int64(st, 2), arg))
            return SQLITE_DONE;
    }
    return code;
}

int sqlite_each(const struct sqlite_settings *settings, const char *table, struct str prefix,
                int64_t now_unix, store_each_fn *each, void *arg, struct fail *fail)
{
    static const char sql[] = "SELECT key, value, expires FROM rows WHERE tbl = ?1 AND key >= ?2"
                              " AND (expires = 0 OR expires > ?3) ORDER BY key";
    sqlite3 *db = NULL;
    sqlite3_stmt *st = NULL;
    int code = sqlite3_open_v2(settings->path, &db, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, NULL);

    if (code == SQLITE_OK)
        code = sqlite3_busy_timeout(db, settings->busy_ms);
    if (code == SQLITE_OK)
        code = sqlite3_prepare_v2(db, sql, -1, &st, NULL);
    if (code == SQLITE_OK) {
        sqlite3_bind_text(st, 1, table, -1, SQLITE_STATIC);
        bind_blob(st, 2, prefix);
        sqlite3_bind_int64(st, 3, now_unix);
        code = walk(st, prefix, each, arg);
    }
    if (outcome_of(code) != SQLITE_WORKED)
        fail_set(fail, "cannot read %s: %s", settings->path, sqlite3_errmsg(db));
    sqlite3_finalize(st);
    sqlite3_close(db);
    return outcome_of(code) == SQLITE_WORKED ? 0 : -1;
}

/* ---- copying ---- */

/* All pages in one step, under one read lock: with a write-ahead log nobody waits for that, and nothing that is
 * written meanwhile makes the copy begin anew. */
static int copy_pages(sqlite3 *from, sqlite3 *to)
{
    sqlite3_backup *backup = sqlite3_backup_init(to, "main", from, "main");
    int code;

    if (backup == NULL)
        return sqlite3_errcode(to);
    code = sqlite3_backup_step(backup, -1);
    sqlite3_backup_finish(backup);
    return code == SQLITE_DONE ? SQLITE_OK : code;
}

int sqlite_backup(const char *path, const char *to_path, struct fail *fail)
{
    sqlite3 *from = NULL, *to = NULL;
    int code = sqlite3_open_v2(path, &from, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, NULL);

    if (code == SQLITE_OK)
        code = sqlite3_busy_timeout(from, BACKUP_BUSY_MS);
    if (code == SQLITE_OK) {
        create_file(to_path);
        code = sqlite3_open_v2(to_path, &to, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
    }
    if (code == SQLITE_OK)
        code = copy_pages(from, to);
    if (code != SQLITE_OK)
        fail_set(fail, "cannot copy %s to %s: %s", path, to_path, sqlite3_errstr(code));
    if (to != NULL && code != SQLITE_OK)
        unlink(to_path);
    sqlite3_close(to);
    sqlite3_close(from);
    return code == SQLITE_OK ? 0 : -1;
}

/* ---- setting aside ---- */

static int rename_with(const char *path, const char *ending, int64_t now_unix, struct fail *fail)
{
    char from[PATH_MAX], to[PATH_MAX];

    if (snprintf(from, sizeof(from), "%s%s", path, ending) >= (int)sizeof(from) ||
        snprintf(to, sizeof(to), "%s.corrupt-%" PRId64 "%s", path, now_unix, ending) >= (int)sizeof(to))
        return fail_set(fail, "the path %s is too long", path);
    return rename(from, to) == 0 || (*ending != '\0' && errno == ENOENT)
               ? 0
               : fail_errno(fail, "cannot rename %s to %s", from, to);
}

/* The file goes first: SQLite drops a write-ahead log that is left without its file. The index of the log
 * (-shm) is only locks and is rebuilt, but must not be shared between the old file and the new. */
int sqlite_set_aside(const char *path, int64_t now_unix, struct fail *fail)
{
    if (rename_with(path, "", now_unix, fail) != 0)
        return -1;
    if (rename_with(path, "-wal", now_unix, fail) != 0)
        return -1;
    return rename_with(path, "-shm", now_unix, fail);
}
