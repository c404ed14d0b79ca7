#include "record/keeper.h"

#include "base/bug.h"
#include "base/buf.h"
#include "base/log.h"
#include "base/metric.h"
#include "record/files.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
    FILES_MAX = 16, /* bytes_max is that of so many files */
    PART_BYTES_MOST = 64 * 1024 * 1024,
    TIDY_S = 60,            /* what has become too old is looked for so often, also while nothing comes */
    HANG_S = 2,             /* a disk that takes longer is not waited for at the end */
    KEPT_ROOM = 256 * 1024, /* memory that stays after a burst */
    PATH_BYTES = 4096,
};

/* Waking a thread costs whoever adds a record more than making it: it gathers for a while, then writes all at once. */
static const struct timespec gather = {0, KEEPER_GATHER_MS * 1000 * 1000};

struct keeper {
    char folder[PATH_BYTES];
    const struct clock *clock;
    _Atomic int64_t keep_ms;
    _Atomic uint64_t bytes_max;
    struct metric *written, *lost;
    pthread_t thread;

    pthread_mutex_t lock; /* for what follows */
    pthread_cond_t work;
    struct buf waiting;
    int64_t waiting_count;
    bool asleep, closing, abandoned;

    /* The thread's own. */
    int fd; /* of the file being written; -1: none */
    char name[RECORD_FILE_NAME_MAX];
    unsigned part;
    int64_t hour;
    uint64_t size, part_max;
    bool torn;    /* the file may end within a line */
    bool failing; /* and that has been said */
};

/* ---- trouble ---- */

static int64_t count_lines(struct str lines)
{
    int64_t count = 0;

    for (size_t i = 0; i < lines.n; i++)
        count += lines.p[i] == '\n';
    return count;
}

static void note_trouble(struct keeper *k, const char *what, int64_t lost)
{
    metric_add(k->lost, lost);
    if (!k->failing)
        log_note(LOG_ERROR, "history-unwritten", "%s: %s: decisions are not recorded; mail flows", what,
                 strerror(errno));
    k->failing = true;
}

static void note_success(struct keeper *k)
{
    if (k->failing)
        log_note(LOG_INFO, "history-written", "decisions are recorded again in %s", k->folder);
    k->failing = false;
}

/* ---- what goes ---- */

static bool is_too_old(const struct keeper *k, const char *name)
{
    int64_t keep_ms = atomic_load(&k->keep_ms), hour;
    unsigned part;

    return keep_ms == 0 || (record_file_parse(name, &hour, &part) &&
                            hour + RECORD_HOUR_S + keep_ms / 1000 <= clock_unix(k->clock));
}

/* Returns its size, or 0 when it goes. */
static uint64_t look_at(const struct keeper *k, int folder, const char *name)
{
    struct stat st;

    if (is_too_old(k, name)) {
        unlinkat(folder, name, 0);
        return 0;
    }
    return fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW) == 0 ? (uint64_t)st.st_size : 0;
}

static void tidy_files(const struct keeper *k, int folder, const struct record_files *files, uint64_t *sizes)
{
    uint64_t total = 0, most = atomic_load(&k->bytes_max);

    for (size_t i = 0; i < files->count; i++) {
        sizes[i] = look_at(k, folder, files->names[i]);
        total += sizes[i];
    }
    for (size_t i = 0; i < files->count && total > most; i++) {
        if (sizes[i] > 0)
            unlinkat(folder, files->names[i], 0);
        total -= sizes[i];
    }
}

static void tidy(const struct keeper *k)
{
    int folder = open(k->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct arena *mem = arena_new(0);
    struct record_files files;

    if (folder >= 0 && record_files_list(mem, k->folder, &files, NULL) == 0)
        tidy_files(k, folder, &files, ARENA_ARRAY(mem, uint64_t, files.count + 1));
    if (folder >= 0)
        close(folder);
    arena_free(&mem);
}

/* ---- the file ---- */

static void close_file(struct keeper *k)
{
    if (k->fd >= 0)
        close(k->fd);
    k->fd = -1;
}

static bool ends_within_line(int fd, off_t size)
{
    char last;

    return size > 0 && pread(fd, &last, 1, size - 1) == 1 && last != '\n';
}

/* Group members may read it: postmasters. False: with errno. */
static bool open_part(struct keeper *k)
{
    char path[PATH_BYTES + RECORD_FILE_NAME_MAX + 1];
    struct stat st;

    record_file_name(k->hour, k->part, k->name);
    snprintf(path, sizeof(path), "%s/%s", k->folder, k->name);
    k->fd = open(path, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0640);
    if (k->fd < 0 || fstat(k->fd, &st) != 0)
        return false;
    if (st.st_size == 0)
        (void)!fchmod(k->fd, 0640); /* whatever the umask */
    k->size = (uint64_t)st.st_size;
    k->torn = ends_within_line(k->fd, st.st_size);
    return true;
}

/* What was removed behind our back is not written to. */
static bool fits(const struct keeper *k)
{
    struct stat st;

    return k->size < k->part_max && fstat(k->fd, &st) == 0 && st.st_nlink > 0;
}

/* The last part of this hour that there is, or 0. Those before it may be gone: their numbers do not come again. */
static unsigned last_part(const struct keeper *k)
{
    struct arena *mem = arena_new(0);
    struct record_files files;
    unsigned last = 0, part;
    int64_t hour;

    if (record_files_list(mem, k->folder, &files, NULL) == 0)
        for (size_t i = 0; i < files.count; i++)
            if (record_file_parse(files.names[i], &hour, &part) && hour == k->hour)
                last = part;
    arena_free(&mem);
    return last;
}

/* That part, or the next when it is full. The last one of all takes whatever comes. */
static bool open_file(struct keeper *k)
{
    if (mkdir(k->folder, 0750) == 0)
        (void)!chmod(k->folder, 0750);
    k->part_max = atomic_load(&k->bytes_max) / FILES_MAX;
    if (k->part_max > PART_BYTES_MOST)
        k->part_max = PART_BYTES_MOST;
    k->part = last_part(k);
    if (!open_part(k))
        return false;
    if (k->size < k->part_max || k->part == RECORD_PARTS_MAX - 1)
        return true;
    close_file(k);
    k->part++;
    return open_part(k);
}

static bool have_file(struct keeper *k)
{
    int64_t now = clock_unix(k->clock), hour = now - now % RECORD_HOUR_S;

    if (k->fd >= 0 && k->hour == hour && fits(k))
        return true;
    close_file(k);
    k->hour = hour;
    if (!open_file(k)) {
        close_file(k);
        return false;
    }
    tidy(k);
    return true;
}

/* False with errno, and `rest` is what was not written. */
static bool write_all(struct keeper *k, struct str *rest)
{
    while (rest->n > 0) {
        ssize_t n = write(k->fd, rest->p, rest->n);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return false;
        *rest = str_from(*rest, (size_t)n);
        k->size += (uint64_t)n;
    }
    return true;
}

static void write_lines(struct keeper *k, struct str lines, int64_t count)
{
    struct str rest = lines, missing_end = STR("\n");

    if (!have_file(k)) {
        note_trouble(k, k->folder, count);
        return;
    }
    if (k->torn)
        k->torn = !write_all(k, &missing_end);
    if (!k->torn && write_all(k, &rest)) {
        note_success(k);
        metric_add(k->written, count);
    } else {
        int64_t unwritten = count_lines(rest);

        k->torn = k->torn || rest.n < lines.n;
        metric_add(k->written, count - unwritten);
        note_trouble(k, k->name, unwritten);
    }
}

/* ---- the thread ---- */

/* The caller holds the lock. Until there is something to write, or time to tidy up. */
static void wait_for_lines(struct keeper *k)
{
    struct timespec until;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += TIDY_S;
    k->asleep = true;
    while (k->waiting.n == 0 && !k->closing && k->asleep)
        if (pthread_cond_timedwait(&k->work, &k->lock, &until) == ETIMEDOUT)
            break;
    k->asleep = false;
}

/* Takes all that waits, which may be nothing; false when no more will come. */
static bool take_lines(struct keeper *k, struct buf *taken, int64_t *count_out)
{
    bool more;

    pthread_mutex_lock(&k->lock);
    if (k->waiting.n == 0 && !k->closing) {
        wait_for_lines(k);
        pthread_mutex_unlock(&k->lock);
        nanosleep(&gather, NULL);
        pthread_mutex_lock(&k->lock);
    }
    more = k->waiting.n > 0 || !k->closing;
    if (k->waiting.n > 0) {
        struct buf empty = *taken;

        *taken = k->waiting;
        k->waiting = empty;
    }
    *count_out = k->waiting_count;
    k->waiting_count = 0;
    pthread_mutex_unlock(&k->lock);
    return more;
}

static void forget_lines(struct buf *taken)
{
    if (taken->room > KEPT_ROOM)
        buf_fini(taken);
    else
        buf_clear(taken);
}

static void free_keeper(struct keeper *k)
{
    close_file(k);
    buf_fini(&k->waiting);
    pthread_cond_destroy(&k->work);
    pthread_mutex_destroy(&k->lock);
    free(k);
}

/* While nothing comes. What a file that has gone took of the disk is free only when it is closed. */
static void rest(struct keeper *k)
{
    tidy(k);
    if (k->fd >= 0 && !fits(k))
        close_file(k);
}

static void *keep(void *arg)
{
    struct keeper *k = arg;
    struct buf taken;
    int64_t count;
    bool abandoned;

    buf_init(&taken, KEEPER_WAITING_BYTES);
    tidy(k);
    while (take_lines(k, &taken, &count)) {
        if (count > 0)
            write_lines(k, buf_str(&taken), count);
        else
            rest(k);
        forget_lines(&taken);
    }
    buf_fini(&taken);
    pthread_mutex_lock(&k->lock);
    abandoned = k->abandoned;
    k->closing = false; /* says that it has ended */
    pthread_mutex_unlock(&k->lock);
    if (abandoned)
        free_keeper(k);
    return NULL;
}

static void start_thread(struct keeper *k)
{
    sigset_t all, before;

    sigfillset(&all); /* signals are for the loops */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    if (pthread_create(&k->thread, NULL, keep, k) != 0)
        out_of_memory();
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

/* ---- for everybody ---- */

struct keeper *keeper_start(const char *folder, const struct keeper_settings *settings,
                            const struct clock *clock)
{
    struct keeper *k = calloc(1, sizeof(*k));
    pthread_condattr_t monotonic;

    if (k == NULL)
        out_of_memory();
    snprintf(k->folder, sizeof(k->folder), "%s", folder);
    k->clock = clock;
    k->fd = -1;
    k->keep_ms = settings->keep_ms;
    k->bytes_max = settings->bytes_max;
    k->written =
        metric_counter("smtpguard_history_records_total", "Records of decisions that were written.", "");
    k->lost =
        metric_counter("smtpguard_history_records_dropped_total",
                       "Records of decisions that were lost because the disk was full, broken or slow.", "");
    pthread_mutex_init(&k->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&k->work, &monotonic);
    pthread_condattr_destroy(&monotonic);
    buf_init(&k->waiting, KEEPER_WAITING_BYTES);
    start_thread(k);
    return k;
}

static void wake(struct keeper *k)
{
    pthread_mutex_lock(&k->lock);
    k->asleep = false;
    pthread_mutex_unlock(&k->lock);
    pthread_cond_signal(&k->work);
}

void keeper_change(struct keeper *k, const struct keeper_settings *settings)
{
    atomic_store(&k->keep_ms, settings->keep_ms);
    atomic_store(&k->bytes_max, settings->bytes_max);
    wake(k); /* what is too old now goes now */
}

bool keeper_wants(const struct keeper *k)
{
    return k != NULL && atomic_load_explicit(&k->keep_ms, memory_order_relaxed) > 0;
}

/* The caller holds the lock. False: no room. */
static bool append(struct buf *waiting, struct str line)
{
    char *p = buf_reserve(waiting, line.n + 1);

    if (p == NULL)
        return false;
    memcpy(p, line.p, line.n);
    p[line.n] = '\n';
    buf_commit(waiting, line.n + 1);
    return true;
}

void keeper_add(struct keeper *k, struct str line)
{
    bool fits_in, sleeps;

    pthread_mutex_lock(&k->lock);
    fits_in = append(&k->waiting, line);
    k->waiting_count += fits_in;
    sleeps = k->asleep;
    k->asleep = false;
    pthread_mutex_unlock(&k->lock);
    if (!fits_in)
        metric_add(k->lost, 1);
    if (sleeps)
        pthread_cond_signal(&k->work);
}

/* A thread that a dead disk holds frees what it needs when it is let go, if ever. */
void keeper_stop(struct keeper **keeper)
{
    struct keeper *k = *keeper;
    struct timespec until;
    pthread_t thread;
    bool ended;

    if (k == NULL)
        return;
    *keeper = NULL;
    pthread_mutex_lock(&k->lock);
    k->closing = true;
    k->asleep = false;
    pthread_mutex_unlock(&k->lock);
    pthread_cond_signal(&k->work);
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += HANG_S;
    if (pthread_clockjoin_np(k->thread, NULL, CLOCK_MONOTONIC, &until) == 0) {
        free_keeper(k);
        return;
    }
    pthread_mutex_lock(&k->lock);
    thread = k->thread;
    ended = !k->closing;
    k->abandoned = true;
    pthread_mutex_unlock(&k->lock); /* from here on it may be gone, unless it has ended by itself */
    if (ended) {
        pthread_join(thread, NULL);
        free_keeper(k);
    } else {
        pthread_detach(thread);
    }
}
