#include "record/reader.h"

#include "base/buf.h"
#include "record/files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FILE_BYTES_MAX = 256 * 1024 * 1024, PIECE = 1024 * 1024 };

struct reading {
    enum record_order order;
    record_each_fn *each;
    void *arg;
    struct buf text; /* of one file */
};

/* Files only grow: what comes while it is read is read, too. Lines begin at their first octet. */
static int read_file(const char *path, struct buf *text, struct fail *fail)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    ssize_t n = -1;
    char *p;

    buf_clear(text);
    if (fd < 0 && errno == ENOENT) /* its time had come meanwhile */
        return 0;
    while (fd >= 0 && (p = buf_reserve(text, PIECE)) != NULL && (n = read(fd, p, PIECE)) > 0)
        buf_commit(text, (size_t)n);
    if (n < 0)
        fail_errno(fail, "%s cannot be read", path);
    if (fd >= 0)
        close(fd);
    return n < 0 ? -1 : 0;
}

static bool is_whole(struct str line)
{
    return line.n >= 2 && line.p[0] == '{' && line.p[line.n - 1] == '}';
}

static bool tell(const struct reading *r, struct str line)
{
    return !is_whole(line) || r->each(line, r->arg);
}

static bool tell_forwards(const struct reading *r, struct str text)
{
    struct str line;

    while (str_has(text, '\n')) { /* what has none yet is still being written */
        str_cut(text, '\n', &line, &text);
        if (!tell(r, line))
            return false;
    }
    return true;
}

static bool tell_backwards(const struct reading *r, struct str text)
{
    const char *end = text.n > 0 ? memrchr(text.p, '\n', text.n) : NULL;

    while (end != NULL) {
        size_t n = (size_t)(end - text.p);
        const char *before = n > 0 ? memrchr(text.p, '\n', n) : NULL;
        const char *begin = before != NULL ? before + 1 : text.p;

        if (!tell(r, str_make(begin, (size_t)(end - begin))))
            return false;
        end = before;
    }
    return true;
}

static bool is_before(const char *name, int64_t since_unix)
{
    int64_t hour;
    unsigned part;

    return record_file_parse(name, &hour, &part) && hour + RECORD_HOUR_S <= since_unix;
}

/* 1: enough was told. */
static int tell_file(struct reading *r, const char *folder, const char *name, struct fail *fail)
{
    char path[4096];

    snprintf(path, sizeof(path), "%s/%s", folder, name);
    if (read_file(path, &r->text, fail) != 0)
        return -1;
    return (r->order == RECORD_OLDEST_FIRST ? tell_forwards : tell_backwards)(r, buf_str(&r->text)) ? 0 : 1;
}

int record_each(const char *folder, int64_t since_unix, enum record_order order, record_each_fn *each,
                void *arg, struct fail *fail)
{
    struct reading reading = {.order = order, .each = each, .arg = arg};
    struct arena *mem = arena_new(0);
    struct record_files files;
    int result = record_files_list(mem, folder, &files, fail);

    buf_init(&reading.text, FILE_BYTES_MAX);
    for (size_t i = 0; i < files.count && result == 0; i++) {
        const char *name = files.names[order == RECORD_OLDEST_FIRST ? i : files.count - 1 - i];

        if (!is_before(name, since_unix))
            result = tell_file(&reading, folder, name, fail);
    }
    buf_fini(&reading.text);
    arena_free(&mem);
    return result < 0 ? -1 : 0;
}
