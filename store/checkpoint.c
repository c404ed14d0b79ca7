#include "store/checkpoint.h"

#include "base/bug.h"
#include "base/log.h"
#include "store/store_in.h"

#include <sqlite3.h>
#include <stdlib.h>

enum { PAGE_BYTES = 4096, FEW_PAGES = 32, ROUNDS_MAX = 5, LOGS_MAX = 4 };

/* Who may use the connection: its thread while it works, else the store's. */
enum state { STATE_RESTS, STATE_WORKS, STATE_NEARLY_DONE };

struct checkpoint {
    const char *path;
    sqlite3 *db;
    sqlite3_file *file; /* the database itself, as the connection has it open */
    size_t log_pages;
    bool said_failed;
    pthread_t thread;

    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t wake, stopped;
    enum state state;
    size_t pages;    /* in the log */
    size_t begin_at; /* with so many */
    bool closing;
};

/* ---- one checkpoint ---- */

static bool has_failed(struct checkpoint *c, int code)
{
    if (code == SQLITE_OK || code == SQLITE_BUSY) /* busy: another process is at it */
        return code != SQLITE_OK;
    if (!c->said_failed)
        log_note(LOG_ERROR, "store-checkpoint", "%s: %s; its log grows until this works", c->path,
                 sqlite3_errstr(code));
    c->said_failed = true;
    return true;
}

/* Brings in what is committed now: `done` pages from the log's beginning. False: it cannot be done, or not now. */
static bool bring_in(struct checkpoint *c, size_t *done_out)
{
    int pages = 0, done = 0;
    int code = sqlite3_wal_checkpoint_v2(c->db, "main", SQLITE_CHECKPOINT_PASSIVE, &pages, &done);

    if (has_failed(c, code))
        return false;
    if (done == pages)
        c->said_failed = false;
    *done_out = (size_t)done;
    return true;
}

/* SQLite leaves this to the checkpoint that reaches the end of the log, which then would have all of it to do. */
static bool sync_file(struct checkpoint *c)
{
    return !has_failed(c, c->file->pMethods->xSync(c->file, SQLITE_SYNC_NORMAL));
}

/* SQLite only tells how many there were when it began. */
static size_t pages_now(struct checkpoint *c)
{
    size_t pages;

    pthread_mutex_lock(&c->lock);
    pages = c->pages;
    pthread_mutex_unlock(&c->lock);
    return pages;
}

/* Each round has what was written during the one before. */
static enum state work(struct checkpoint *c)
{
    size_t done = 0, pages = 0;

    for (int i = 0; i < ROUNDS_MAX; i++) {
        if (!bring_in(c, &done) || !sync_file(c))
            return STATE_RESTS;
        pages = pages_now(c);
        if (pages <= done)
            return STATE_RESTS; /* nothing is left: the next transaction begins the log anew */
        if (pages <= done + FEW_PAGES)
            return STATE_NEARLY_DONE;
    }
    return pages <= done + c->log_pages / 4 ? STATE_NEARLY_DONE : STATE_RESTS;
}

/* ---- the thread ---- */

static void *run_thread(void *arg)
{
    struct checkpoint *c = arg;

    pthread_mutex_lock(&c->lock);
    while (!c->closing) {
        enum state next;

        if (c->state != STATE_WORKS) {
            pthread_cond_wait(&c->wake, &c->lock);
            continue;
        }
        pthread_mutex_unlock(&c->lock);
        next = work(c);
        pthread_mutex_lock(&c->lock);
        c->state = next;
        pthread_cond_signal(&c->stopped);
    }
    pthread_mutex_unlock(&c->lock);
    return NULL;
}

/* ---- the store's thread ---- */

static void finish(struct checkpoint *c)
{
    size_t done;

    bring_in(c, &done);
    c->state = STATE_RESTS;
}

void checkpoint_after_commit(struct checkpoint *c, size_t pages)
{
    pthread_mutex_lock(&c->lock);
    if (pages < c->pages) /* begun anew */
        c->begin_at = c->log_pages;
    c->pages = pages;
    if (c->state == STATE_RESTS && pages >= c->begin_at) {
        c->state = STATE_WORKS;
        c->begin_at = pages + c->log_pages / 4; /* when this one does not get to the end */
        pthread_cond_signal(&c->wake);
    }
    while (c->state == STATE_WORKS && pages >= LOGS_MAX * c->log_pages)
        pthread_cond_wait(&c->stopped, &c->lock);
    if (c->state == STATE_NEARLY_DONE)
        finish(c);
    pthread_mutex_unlock(&c->lock);
}

/* ---- life ---- */

/* A connection takes part in the log once it has read something. */
static int open_connection(struct checkpoint *c)
{
    int code = sqlite3_open_v2(c->path, &c->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);

    if (code == SQLITE_OK)
        code = sqlite3_exec(c->db, "PRAGMA synchronous = NORMAL; PRAGMA mmap_size = 0; PRAGMA user_version",
                            NULL, NULL, NULL);
    if (code == SQLITE_OK)
        code = sqlite3_file_control(c->db, "main", SQLITE_FCNTL_FILE_POINTER, &c->file);
    return code;
}

enum sqlite_outcome checkpoint_start(const char *path, size_t log_bytes, struct checkpoint **checkpoint_out,
                                     struct fail *fail)
{
    struct checkpoint *c = calloc(1, sizeof(*c));

    if (c == NULL)
        out_of_memory();
    *checkpoint_out = NULL;
    c->path = path;
    c->begin_at = c->log_pages = log_bytes / PAGE_BYTES;
    if (open_connection(c) != SQLITE_OK) {
        fail_set(fail, "%s", sqlite3_errmsg(c->db));
        sqlite3_close(c->db);
        free(c);
        return SQLITE_UNAVAILABLE;
    }
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->wake, NULL);
    pthread_cond_init(&c->stopped, NULL);
    store_thread_start(&c->thread, "checkpoint", run_thread, c);
    *checkpoint_out = c;
    return SQLITE_WORKED;
}

void checkpoint_stop(struct checkpoint **checkpoint)
{
    struct checkpoint *c = *checkpoint;

    if (c == NULL)
        return;
    pthread_mutex_lock(&c->lock);
    c->closing = true;
    pthread_cond_signal(&c->wake);
    pthread_mutex_unlock(&c->lock);
    pthread_join(c->thread, NULL);
    sqlite3_close(c->db);
    pthread_cond_destroy(&c->wake);
    pthread_cond_destroy(&c->stopped);
    pthread_mutex_destroy(&c->lock);
    free(c);
    *checkpoint = NULL;
}
