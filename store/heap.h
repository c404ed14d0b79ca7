/*
 * store/heap.h - tables that strangers fill: rows in the order in which they come, and no index of keys on the disk
 *
 * An index of keys costs a new row a page of 4,096 octets in the log and later in the file, for strangers' keys lie
 * anywhere in it. Here a row is written behind the last one, and memory has where it lies (store/places.h). So the
 * heap is looked through once when the file is opened; reading it in the order of keys looks through it, too.
 *
 * Others     Another process may write to the file, too. heap_begin() learns of its new rows; ids are never used again, so
 *            what it deleted is not found any more (its place is kept in vain until the file is opened anew).
 * Guests     Whoever comes for a few rows looks through the heap before his first transaction, not when he opens it: it
 *            takes about a second for a million rows, and nobody waits for him meanwhile.
 * Errors     As store/sqlite.h; after a failure the heap is closed with its connection.
 */
#ifndef STORE_HEAP_H
#define STORE_HEAP_H

#include "store/sqlite_in.h"

struct heap;

/* The file may be one of before: what it lacks is created, and unless it is a guest who comes, rows of the heap's tables
 * that lie elsewhere are moved here. */
enum sqlite_outcome heap_open(struct sqlite3 *db, const struct sqlite_settings *settings,
                              struct heap **heap_out, struct fail *fail);
void heap_close(struct heap **heap); /* before the connection; NULL is fine; leaves NULL */

/* Before each transaction: what is not known yet of where rows lie. */
enum sqlite_outcome heap_look(struct heap *heap, struct fail *fail);

/* What other processes have written. */
struct heap_others {
    bool wrote;
    int64_t added; /* rows, to all tables */
};

/* At the beginning of each transaction that writes. Adds to `others` what they wrote since the last one. */
enum sqlite_outcome heap_begin(struct heap *heap, struct heap_others *others, struct fail *fail);

/* As sqlite_get() and sqlite_put(), without counting. */
enum sqlite_outcome heap_get(struct heap *heap, struct arena *mem, const char *table, struct str key,
                             struct store_row *row_out, struct fail *fail);
enum sqlite_outcome heap_put(struct heap *heap, const char *table, struct str key,
                             const struct store_row *was, const struct store_row *row, struct fail *fail);

/* Deletes the `most` rows that expire first, of those that do so before the hour. */
enum sqlite_outcome heap_delete_first(struct heap *heap, const char *table, int64_t before_hour, int64_t most,
                                      int64_t *deleted_out, struct fail *fail);

size_t heap_places(const struct heap *heap); /* how many rows it knows of */

#endif
