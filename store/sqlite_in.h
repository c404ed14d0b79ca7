/*
 * store/sqlite_in.h - what the files that speak SQLite share; for store/ only
 */
#ifndef STORE_SQLITE_IN_H
#define STORE_SQLITE_IN_H

#include "store/sqlite.h"

struct sqlite3;
struct sqlite3_stmt;

enum sqlite_outcome sqlite_outcome_of(int code);
/* The same, and of a failure the reason. */
enum sqlite_outcome sqlite_explain(struct sqlite3 *db, int code, struct fail *fail);

void sqlite_bind_bytes(struct sqlite3_stmt *st, int place, struct str bytes); /* borrowed until bound anew */
struct str sqlite_bytes(struct sqlite3_stmt *st, int column);                 /* until the next step */
struct store_row sqlite_row(struct arena *mem,
                            struct sqlite3_stmt *st); /* of columns value, expires; copied to mem */
/* Runs a statement that gives no rows. */
enum sqlite_outcome sqlite_run(struct sqlite3_stmt *st, struct fail *fail);
enum sqlite_outcome sqlite_prepare(struct sqlite3 *db, const char *const sql[],
                                   struct sqlite3_stmt *statements_out[], size_t count, struct fail *fail);

/* Rows are found by the hour in which they expire, not by the second: a row that is used again within the
 * hour stays where it is in the index, which halves the cost of an update. In return, expired rows lie there
 * for an hour more, unseen. 0: never. */
enum { SQLITE_HOUR_S = 3600 };
int64_t sqlite_hour_of(const struct store_row *row);

/* As the settings have it; NULL: they do not name it. */
const struct store_table *sqlite_table(const struct sqlite_settings *settings, const char *name);

/* Makes the file, if it is not there, so that it is not readable for everybody; its owner is that of its folder. */
void sqlite_create_file(const char *path);

#endif
