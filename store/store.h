/*
 * store/store.h - small rows that outlive a session, behind one interface
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

/* Reads rows of a table whose key begins with `prefix`, in key order, on the calling thread (for the verbs).
 * */
typedef bool store_each_fn(struct str key, struct str value, int64_t expires_unix,
                           void *arg); /* false: enough */
int store_each(struct store *store, const char *table, struct str prefix, store_each_fn *each, void *arg,
               struct fail *fail);

struct store_settings {
    const char *url; /* sqlite:PATH */
    int64_t
        timeout_ms; /* how long the store's thread waits for another process's lock: 1 to 1,000; 0: 1,000 */
    size_t waiting_max; /* requests; 0: 10,000 */
    size_t rows_max;    /* that expire, in a table; 0: 1,000,000 */
    bool guest;         /* a verb beside the daemon: it never sets the daemon's file aside */
};

/* Opens and starts the store's thread. A corrupt file is set aside and begun anew; a directory that is
 * missing or read-only is not an error here: the store answers STORE_UNAVAILABLE, says so in the log, and
 * tries again every few seconds. -1/NULL only for an url that is none. */
struct store *store_open(const struct store_settings *settings, const struct clock *clock, struct fail *fail);
void store_close(struct store **store); /* what was asked before is done first */
bool store_is_available(const struct store *store);

/* Since the start, for metrics and tests: updates / commits is the size of a group. From any thread. */
struct store_counts {
    uint64_t updates, commits, unanswered;
};
struct store_counts store_counts(const struct store *store);

#endif
