/*
 * store/store_in.h - what the engines of the store share; for the files of store/ only
 *
 * A request travels as a token: to the shared engine (store/shared.h) when its table is shared and the
 * engine is there, else to the local one (store/local.h). Whoever has a token either hands it on or answers it,
 * once.
 */
#ifndef STORE_STORE_IN_H
#define STORE_STORE_IN_H

#include "store/sqlite.h"

#include <pthread.h>
#include <stdatomic.h>

/* Who frees a token: the engine that finds it cancelled, else the delivery on the loop. */
enum token_state { TOKEN_ASKED, TOKEN_CANCELLED, TOKEN_ANSWERED };

/* Work of the shared engine in the local file, within a transaction; perhaps done twice. */
typedef enum sqlite_outcome store_job_fn(struct sqlite *db, struct arena *mem, struct store_token *token,
                                         int64_t now_unix, struct fail *fail);

struct store_token {
    struct store_token *next;      /* in a queue, and in a batch */
    struct store_token *next_here; /* the next answer for the same loop */
    struct store_token *last_here; /* of the first answer for a loop */
    atomic_int state;
    struct loop *loop;
    store_done_fn *done; /* NULL: cancelled after it was answered; only the loop's thread looks */
    void *arg;
    enum store_status status;
    const char *table;
    const struct store_table *shared; /* NULL: the table is of this host */
    store_change_fn *change;
    store_job_fn *job; /* instead of change */
    bool away;         /* the shared engine had no answer: what is changed is noted, to be merged */
    bool merges;       /* what was noted; nobody asked */
    unsigned tries;    /* with the shared engine */
    int64_t asked_ms;  /* when it came to the shared engine */
    struct str keys[STORE_KEYS_MAX];
    size_t keys_count;
    const void *question;
    size_t result_bytes;
    void *result;
    _Alignas(max_align_t) unsigned char bytes[]; /* question, result, keys */
};

struct store_token *token_new(const struct store_request *request, struct loop *loop, store_done_fn *done,
                              void *arg);
/* Posts the answers of a list to their loops; cancelled ones are freed. */
void token_answer(struct store_token *list);
uint64_t token_set_status(struct store_token *list, enum store_status status); /* how many there are */

/* "table NUL key": a row's name among all. */
struct str store_row_name(struct arena *mem, const char *table, struct str key);
/* An expired row is as good as none. */
struct store_row store_row_as_seen(const struct store_row *row, int64_t now_unix);
bool store_row_is_changed(const struct store_row *seen, const struct store_row *row);

/* A thread that hears no signals; the name has 15 characters at the most. */
void store_thread_start(pthread_t *thread_out, const char *name, void *(*run)(void *arg), void *arg);

/* A list that grows at its end. */
struct token_queue {
    struct store_token *first, **last;
    size_t count;
};
void token_queue_init(struct token_queue *queue);
void token_queue_add(struct token_queue *queue, struct store_token *token);
struct store_token *token_queue_take(struct token_queue *queue); /* all of it; NULL: it is empty */

#endif
