/*
 * store/sqlite.h - the rows in one SQLite file                    (the door to SQLite)
 *
 * Threads    A connection is used by one thread at a time: the store's. sqlite_each() opens one of its own,
 *            for reading.
 * Errors     SQLITE_HELD, of sqlite_begin() only: another process has had the lock for busy_ms; nothing has happened, and
 *            it may be tried again at once. SQLITE_UNAVAILABLE: locked, full, read-only, not there; close it and try later. SQLITE_DAMAGED:
 *            the file is no database, or not whole, or not ours as we know it; sqlite_set_aside() and begin
 *            anew. After either, nothing but sqlite_close() makes sense.
 * Limits     Rows that expire are bounded per table: beyond it those that would expire first go, in slices.
 *            Rows that never expire are their owner's to bound.
 */
#ifndef STORE_SQLITE_H
#define STORE_SQLITE_H

#include "store/store.h"

enum sqlite_outcome { SQLITE_WORKED, SQLITE_HELD, SQLITE_UNAVAILABLE, SQLITE_DAMAGED };

enum { SQLITE_SLICE_ROWS = 500 };

struct sqlite;

struct sqlite_settings {
    const char *path;
    int busy_ms;                      /* how long we wait for somebody else's lock */
    size_t rows_max;                  /* that expire, in one table */
    const struct store_table *tables; /* which may have limits of their own */
    size_t tables_count;
    bool guest; /* it only comes to look, or to change a row: opening reads little, writes nothing and waits for no lock */
    size_t log_bytes; /* that the log may keep on the disk when it is begun anew */
};

enum sqlite_outcome sqlite_open(const struct sqlite_settings *settings, struct sqlite **db_out,
                                struct fail *fail);
void sqlite_close(struct sqlite **db); /* NULL is fine; leaves NULL; what was not committed is undone */

enum sqlite_outcome sqlite_begin(struct sqlite *db, struct fail *fail);
enum sqlite_outcome sqlite_commit(struct sqlite *db, struct fail *fail);
size_t sqlite_log_pages(const struct sqlite *db); /* in the write-ahead log, after the last commit */

/* The row as it lies in the file, expired or not; value.n = 0: there is none. The value is copied to mem. */
enum sqlite_outcome sqlite_get(struct sqlite *db, struct arena *mem, const char *table, struct str key,
                               struct store_row *row_out, struct fail *fail);

/* `was` is what sqlite_get() said of this key in this transaction: by it the rows are counted. */
enum sqlite_outcome sqlite_put(struct sqlite *db, const char *table, struct str key,
                               const struct store_row *was, const struct store_row *row, struct fail *fail);

/* The first `most` keys of a table, copied to mem, expired or not. */
enum sqlite_outcome sqlite_first_keys(struct sqlite *db, struct arena *mem, const char *table, size_t most,
                                      struct str *keys_out, size_t *count_out, struct fail *fail);

/* Deletes a slice of what expired before this hour, in a transaction; deleted_out = SQLITE_SLICE_ROWS: there may be
 * more. */
enum sqlite_outcome sqlite_expire(struct sqlite *db, int64_t now_unix, size_t *deleted_out,
                                  struct fail *fail);

/* As store_each(): rows that have not expired, in the order of their keys. */
int sqlite_each(const struct sqlite_settings *settings, const char *table, struct str prefix,
                int64_t now_unix, store_each_fn *each, void *arg, struct fail *fail);

/* Copies a file that others may be writing to a new one; -1: nothing is left of that. */
int sqlite_backup(const char *path, const char *to, struct fail *fail);

/* Renames the file, with what belongs to it, to PATH.corrupt-UNIXTIME. */
int sqlite_set_aside(const char *path, int64_t now_unix, struct fail *fail);

#endif
