#include "proxy/spool.h"

#include "base/bug.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LEAST_CHUNK = 4 * 1024, MOST_CHUNK = 64 * 1024, READ_BYTES = 64 * 1024 };

struct chunk {
    struct chunk *next;
    size_t n, room;
    char bytes[];
};

struct spool {
    struct loop *loop;
    char *dir; /* our own copy: the disk may work longer than the settings live */
    size_t memory_max;
    loop_fn *on_ready;
    void *arg;

    struct chunk *first, *last;
    uint64_t bytes, in_memory; /* in_memory: with those that are being written */
    char tail[2];
    bool in_file; /* it has outgrown the memory: all of it goes to the file, its beginning too */

    /* The file. Only one piece of work is with the helper threads at a time; meanwhile they own `writing`,
     * `read_buf`, `fd` and the results, and the loop owns the rest. */
    int fd;
    bool working, failed, orphaned, was_busy;
    struct chunk *writing;
    uint64_t written;
    int work_error;

    const struct chunk *read_chunk;
    uint64_t read_file_at; /* in the file: where the next piece begins */
    uint64_t work_at;      /* of the piece that the helper thread reads */
    char *read_buf;
    size_t read_n;
    bool read_started, read_ready;
};

struct spool *spool_new(struct loop *loop, size_t memory_max, const char *dir, loop_fn *on_ready, void *arg)
{
    struct spool *spool = calloc(1, sizeof(*spool));

    if (spool == NULL)
        out_of_memory();
    *spool = (struct spool){.loop = loop,
                            .dir = strdup(dir),
                            .memory_max = memory_max,
                            .on_ready = on_ready,
                            .arg = arg,
                            .fd = -1};
    if (spool->dir == NULL)
        out_of_memory();
    return spool;
}

static void free_chunks(struct spool *spool, struct chunk **list)
{
    while (*list != NULL) {
        struct chunk *chunk = *list;

        *list = chunk->next;
        spool->in_memory -= chunk->n;
        free(chunk);
    }
}

static void destroy(struct spool *spool)
{
    free_chunks(spool, &spool->first);
    free_chunks(spool, &spool->writing);
    if (spool->fd >= 0)
        close(spool->fd);
    free(spool->read_buf);
    free(spool->dir);
    free(spool);
}

void spool_free(struct spool **spool)
{
    struct spool *s = *spool;

    if (s == NULL)
        return;
    *spool = NULL;
    if (s->working)
        s->orphaned = true; /* on_worked() buries it */
    else
        destroy(s);
}

/* ---- the file ---- */

static int open_file(const char *dir)
{
    char path[4096];
    int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

    if (fd >= 0)
        return fd;
    snprintf(path, sizeof(path), "%s/message.XXXXXX", dir); /* a file system without O_TMPFILE */
    fd = mkostemp(path, O_CLOEXEC);
    if (fd >= 0)
        unlink(path);
    return fd;
}

static int write_chunk(struct spool *spool, const struct chunk *chunk, uint64_t at)
{
    size_t done = 0;

    while (done < chunk->n) {
        ssize_t n = pwrite(spool->fd, chunk->bytes + done, chunk->n - done, (off_t)(at + done));

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? errno : ENOSPC;
        done += (size_t)n;
    }
    return 0;
}

static void write_work(void *arg)
{
    struct spool *spool = arg;

    if (spool->fd < 0)
        spool->fd = open_file(spool->dir);
    spool->work_error = spool->fd < 0 ? errno : 0;
    for (const struct chunk *chunk = spool->writing; chunk != NULL && spool->work_error == 0;
         chunk = chunk->next) {
        spool->work_error = write_chunk(spool, chunk, spool->written);
        spool->written += chunk->n;
    }
}

static void start_writing(struct spool *spool);

static void on_written(void *arg)
{
    struct spool *spool = arg;

    spool->working = false;
    if (spool->orphaned) {
        destroy(spool);
        return;
    }
    free_chunks(spool, &spool->writing);
    if (spool->work_error != 0) {
        spool->failed = true;
        free_chunks(spool, &spool->first);
        spool->last = NULL;
    }
    start_writing(spool);
    if (spool->was_busy && !spool_is_busy(spool)) {
        spool->was_busy = false;
        spool->on_ready(spool->arg);
    }
}

static void start_writing(struct spool *spool)
{
    if (spool->working || spool->first == NULL)
        return;
    spool->writing = spool->first;
    spool->first = spool->last = NULL;
    spool->working = true;
    loop_work(spool->loop, write_work, on_written, spool);
}

/* ---- adding ---- */

/* The first one fits what has come, so that a small message is in one piece. */
static size_t room_for(const struct spool *spool, size_t n)
{
    size_t room = spool->last != NULL ? spool->last->room * 4 : n;

    return room < LEAST_CHUNK ? LEAST_CHUNK : room > MOST_CHUNK ? MOST_CHUNK : room;
}

static void add_chunk(struct spool *spool, size_t n)
{
    size_t room = room_for(spool, n);
    struct chunk *chunk = malloc(sizeof(*chunk) + room);

    if (chunk == NULL)
        out_of_memory();
    *chunk = (struct chunk){.room = room};
    *(spool->last != NULL ? &spool->last->next : &spool->first) = chunk;
    spool->last = chunk;
}

static struct str add_some(struct spool *spool, struct str piece)
{
    size_t n;

    if (spool->last == NULL || spool->last->n == spool->last->room)
        add_chunk(spool, piece.n);
    n = spool->last->room - spool->last->n;
    if (n > piece.n)
        n = piece.n;
    memcpy(spool->last->bytes + spool->last->n, piece.p, n);
    spool->last->n += n;
    spool->in_memory += n;
    return str_from(piece, n);
}

void spool_add(struct spool *spool, struct str piece)
{
    if (piece.n == 0)
        return;
    spool->bytes += piece.n;
    spool->tail[0] = piece.n > 1 ? piece.p[piece.n - 2] : spool->tail[1];
    spool->tail[1] = piece.p[piece.n - 1];
    while (piece.n > 0 && !spool->failed)
        piece = add_some(spool, piece);
    if (spool->in_memory > spool->memory_max)
        spool->in_file = true;
    if (spool->in_file)
        start_writing(spool);
    if (spool_is_busy(spool))
        spool->was_busy = true;
}

bool spool_is_busy(const struct spool *spool)
{
    return spool->in_memory > spool->memory_max;
}

bool spool_settles(struct spool *spool)
{
    spool->was_busy = spool->was_busy || spool->working;
    return !spool->working;
}

bool spool_failed(const struct spool *spool)
{
    return spool->failed;
}

uint64_t spool_bytes(const struct spool *spool)
{
    return spool->bytes;
}

bool spool_is_in_memory(const struct spool *spool)
{
    return !spool->in_file;
}

bool spool_ends_with_crlf(const struct spool *spool)
{
    return spool->tail[0] == '\r' && spool->tail[1] == '\n';
}

/* ---- reading ---- */

void spool_rewind(struct spool *spool)
{
    spool->read_started = spool->read_ready = false;
    spool->read_file_at = 0;
}

static void read_work(void *arg)
{
    struct spool *spool = arg;
    ssize_t n;

    do
        n = pread(spool->fd, spool->read_buf, READ_BYTES, (off_t)spool->work_at);
    while (n < 0 && errno == EINTR);
    spool->work_error = n > 0 ? 0 : n < 0 ? errno : EIO;
    spool->read_n = n > 0 ? (size_t)n : 0;
}

static void on_read(void *arg)
{
    struct spool *spool = arg;

    spool->working = false;
    if (spool->orphaned) {
        destroy(spool);
        return;
    }
    if (spool->work_error != 0)
        spool->failed = true;
    /* After a rewind in the meantime it is a piece of later on, perhaps. */
    spool->read_ready = spool->work_at == spool->read_file_at;
    if (spool->read_ready)
        spool->read_file_at += spool->read_n;
    spool->on_ready(spool->arg);
}

/* What the disk has not written yet is waited for first. */
static enum spool_status read_file(struct spool *spool, struct str *piece_out)
{
    if (spool->failed)
        return SPOOL_ERROR;
    if (spool->read_ready) {
        spool->read_ready = false;
        *piece_out = str_make(spool->read_buf, spool->read_n);
        return SPOOL_PIECE;
    }
    if (spool->working) {
        spool->was_busy = true; /* on_written() calls on_ready, and we come back */
        return SPOOL_WAIT;
    }
    if (spool->read_file_at >= spool->bytes)
        return SPOOL_END;
    if (spool->read_buf == NULL && (spool->read_buf = malloc(READ_BYTES)) == NULL)
        out_of_memory();
    spool->working = true;
    spool->work_at = spool->read_file_at;
    loop_work(spool->loop, read_work, on_read, spool);
    return SPOOL_WAIT;
}

enum spool_status spool_read(struct spool *spool, struct str *piece_out)
{
    if (spool->in_file)
        return read_file(spool, piece_out);
    if (!spool->read_started)
        spool->read_chunk = spool->first;
    spool->read_started = true;
    if (spool->read_chunk == NULL)
        return SPOOL_END;
    *piece_out = str_make(spool->read_chunk->bytes, spool->read_chunk->n);
    spool->read_chunk = spool->read_chunk->next;
    return SPOOL_PIECE;
}
