/*
 * store/store.h - small rows that outlive a session, behind one interface
 *
 * Two engines: an SQLite file of this host, and a Redis or Valkey that hosts share. With the latter the file is
 * there, too: it serves tables that are not shared, and answers whenever the server does not within timeout_ms;
 * what it changed then is merged into the shared rows later.
 *
 * A row is a key and a value in a named table, with the time at which it may be forgotten. The one
 * operation is read-modify-write: a pure function sees the old values of up to STORE_KEYS_MAX keys and
 * says what they become, atomically. What rows mean is their owner's business (grey/ packs and unpacks its
 * own). SQLite does it in a transaction; an engine with compare-and-set may call the function more than once.
 *
 * Timing     `done` exactly once on the asking loop, never before the call has returned, never after
 *            store_cancel(). Requests are grouped into transactions by themselves: while one commits, the
 *            next gather.
 * Errors     STORE_UNAVAILABLE is a value: the caller's settings say what doubt means.
 * Limits     Keys 512 octets, values STORE_VALUE_MAX; requests that wait are bounded, beyond it
 *            STORE_UNAVAILABLE at once. A table keeps a bounded number of rows that expire: beyond it those
 *            that would expire first go. Rows that never expire are their owner's to bound.
 * Threads    A loop that has asked lives until store_close() has returned. store_cancel() is for the loop's
 *            own thread.
 */
#ifndef STORE_STORE_H
#define STORE_STORE_H

#include "base/clock.h"
#include "base/loop.h"
#include "base/str.h"

enum { STORE_KEYS_MAX = 4, STORE_KEY_BYTES_MAX = 512, STORE_VALUE_MAX = 4096, STORE_RESULT_MAX = 256 };

enum store_status { STORE_DONE, STORE_UNAVAILABLE };

struct store_row {
    struct str value;     /* n = 0: there is none; a change to n = 0 deletes it */
    int64_t expires_unix; /* 0: never */
};

/* Pure; runs on the store's thread, perhaps more than once. `question` is the copy of what the caller asked
 * with, `result` the caller's room for an outcome. rows[i] belongs to keys[i]: change the ones that shall
 * change. New values come from mem. */
typedef void store_change_fn(struct arena *mem, const void *question, struct store_row *rows, size_t count,
                             void *result);

typedef void store_done_fn(enum store_status status, const void *result, void *arg);

struct store_request {
    const char *table;               /* a literal: "grey", … */
    struct str keys[STORE_KEYS_MAX]; /* copied */
    size_t keys_count;
    store_change_fn *change;
    const void *question;  /* copied */
    size_t question_bytes; /* STORE_RESULT_MAX at most for both */
    size_t result_bytes;   /* zeroed before change() */
};

struct store;
struct store_token;

struct store_token *store_update(struct store *store, struct loop *loop, const struct store_request *request,
                                 store_done_fn *done, void *arg);
void store_cancel(struct store_token **token); /* the change may still happen; NULL is fine; leaves NULL */

/* Reads rows of a table whose key begins with `prefix`, in key order, on the calling thread (for the verbs and
 * the reports). Of a shared table the shared rows, and -1 when they are out of reach; unless it is
 * STORE_BY_GROUP, all keys of the server are looked at. */
typedef bool store_each_fn(struct str key, struct str value, int64_t expires_unix,
                           void *arg); /* false: enough */
int store_each(struct store *store, const char *table, struct str prefix, store_each_fn *each, void *arg,
               struct fail *fail);
/* The row with this key, if there is one: `each` is called once at the most. Cheap in every table. */
int store_find(struct store *store, const char *table, struct str key, store_each_fn *each, void *arg,
               struct fail *fail);

/* Brings what was changed here while the shared rows were out of reach into the shared row, which may have
 * changed, too. Pure; doing it twice must come to the same. `ours` is a row; `theirs` may be none. */
typedef void store_merge_fn(struct arena *mem, struct str key, const struct store_row *ours,
                            struct store_row *theirs);

/* Which rows lie side by side, on one server of a cluster: those that one request asks for must. */
enum store_spread {
    STORE_BY_KEY,   /* each row by itself */
    STORE_BY_TAG,   /* rows with the same tag */
    STORE_BY_GROUP, /* rows that are the same up to the end of their tag: they expire together, have something
                     * behind the tag, and are read in the order of keys without looking at other tables */
    STORE_TOGETHER, /* the whole table; for small ones */
};

/* How much of a table is kept, and what hosts share of it. One that is not listed stays on its host, and is kept as
 * the settings say. */
struct store_table {
    const char *name;
    store_merge_fn *merge; /* NULL: without the shared rows it has no answer (STORE_UNAVAILABLE) */
    enum store_spread spread;
    struct str (*tag)(struct str key); /* a part of the key; the same for a prefix that has all of it */
    size_t rows_max;                   /* as that of the settings; 0: that */
    bool brief;  /* rows are forgotten soon: the file has no copy of those that are shared */
    bool heaped; /* strangers fill it: a new row costs the file the least (store/heap.h), store_each() and store_find()
                  * look through all of it */
};

struct store_settings {
    const char *url;   /* sqlite:PATH, or redis://… (store/redis_url.h) */
    const char *local; /* redis only: the path of the file */
    /* SQLite: how long it waits for another process's lock, 1 to 1,000; 0: 1,000. Redis: beyond it the file
     * answers; 0: 50. */
    int64_t timeout_ms;
    size_t waiting_max;               /* requests; 0: 10,000 */
    size_t rows_max;                  /* that expire, in a table of the file; 0: 1,000,000 */
    size_t log_bytes;                 /* of the file's log, about; 0: 32 MiB */
    bool guest;                       /* a verb beside the daemon: it never sets the daemon's file aside, nor tries to write
                                       * before it is asked to */
    const struct store_table *tables; /* they live longer than the store */
    size_t tables_count;
};

/* Opens, and starts the threads. A corrupt file is set aside and begun anew; a directory that is
 * missing or read-only is not an error here: the store answers STORE_UNAVAILABLE, says so in the log, and
 * tries again every few seconds. Neither is a shared store that does not answer. NULL only for an URL
 * that is none, or certificates that cannot be read. */
struct store *store_open(const struct store_settings *settings, const struct clock *clock, struct fail *fail);
void store_close(struct store **store);             /* what was asked before is done first */
/* For a loop that asks on behalf of many: what it asks for in one turn reaches the file's thread at the turn's end, and
 * wakes it once. Until loop_before_waiting(loop, NULL, NULL), which must come before store_close(). */
void store_gather(struct store *store, struct loop *loop);
bool store_is_available(const struct store *store); /* the file, that is */
const char *store_file(const struct store *store);  /* its path, as long as the store lives */

enum store_sharing { STORE_SHARES_NOTHING, STORE_SHARES, STORE_SHARES_LATER /* it does not answer now */ };
enum store_sharing store_sharing(const struct store *store);

/* Does the server of a redis:// URL answer? On the calling thread, and without the local file; else -1. */
int store_ping(const char *url, struct fail *fail);

/* Copies an SQLite file that may be in use to a new one, on the calling thread. */
int store_backup(const char *path, const char *to, struct fail *fail);

/* Since the start, for metrics and tests: updates / commits is the size of a group. From any thread. */
struct store_counts {
    uint64_t updates, commits, unanswered;
    uint64_t shared; /* updates of shared rows */
};
struct store_counts store_counts(const struct store *store);

#endif
