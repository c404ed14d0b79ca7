#include "auth/dkim_rows.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

enum { FILE_BYTES_MAX = 16 * 1024 * 1024, ROWS_MAX = 100000, LINE_BYTES_MAX = 4096 };

void dkim_rows_fault(const struct dkim_rows *rows, const struct dkim_row *row, struct buf *faults,
                     const char *format, ...)
{
    va_list args;

    buf_fmt(faults, "%s:%u: ", rows->file, row->line);
    va_start(args, format);
    buf_vfmt(faults, format, args);
    va_end(args);
    buf_add_char(faults, '\n');
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\v' || c == '\f';
}

static bool has_control(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((uint8_t)s.p[i] < ' ' && !is_blank(s.p[i]))
            return true;
    return false;
}

static struct dkim_row row_parse(struct str line, unsigned number)
{
    struct dkim_row row = {.line = number};
    struct str comment;
    size_t n = 0;

    str_cut(line, '#', &line, &comment);
    line = str_trim(line);
    while (n < line.n && !is_blank(line.p[n]))
        n++;
    row.key = str_upto(line, n);
    row.value = str_trim(str_from(line, n));
    return row;
}

static size_t count_lines(struct str text)
{
    size_t count = 1;

    for (size_t i = 0; i < text.n; i++)
        count += text.p[i] == '\n';
    return count;
}

void dkim_rows_parse(struct arena *mem, const char *file, struct str text, struct dkim_rows *rows_out,
                     struct buf *faults)
{
    size_t lines = count_lines(text);
    struct dkim_row *rows = ARENA_ARRAY(mem, struct dkim_row, lines < ROWS_MAX ? lines : ROWS_MAX);
    struct str line, rest = text;
    bool more = true;

    *rows_out = (struct dkim_rows){.file = file, .rows = rows};
    for (unsigned number = 1; more; number++) {
        struct dkim_row row;

        more = str_cut(rest, '\n', &line, &rest);
        row = row_parse(line, number);
        if (line.n > LINE_BYTES_MAX)
            dkim_rows_fault(rows_out, &row, faults, "the line is longer than %d octets", LINE_BYTES_MAX);
        else if (has_control(line))
            dkim_rows_fault(rows_out, &row, faults, "the line holds a control character");
        else if (row.key.n > 0 && rows_out->count == ROWS_MAX) {
            dkim_rows_fault(rows_out, &row, faults, "there are more than %d rows", ROWS_MAX);
            return;
        } else if (row.key.n > 0)
            rows[rows_out->count++] = row;
    }
}

static bool read_whole(int fd, struct buf *out)
{
    for (;;) {
        char *room = buf_reserve(out, 65536);
        ssize_t n;

        if (room == NULL) {
            errno = EFBIG;
            return false;
        }
        n = read(fd, room, 65536);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n == 0;
        buf_commit(out, (size_t)n);
    }
}

static bool read_file(const char *file, struct buf *out)
{
    int fd = open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK), trouble;
    bool read_well;

    if (fd < 0)
        return false;
    read_well = read_whole(fd, out);
    trouble = errno;
    close(fd);
    errno = trouble;
    return read_well;
}

bool dkim_rows_read(struct arena *mem, const char *file, struct dkim_rows *rows_out, struct buf *faults)
{
    struct buf bytes;
    bool read_well;

    *rows_out = (struct dkim_rows){.file = file};
    buf_init(&bytes, FILE_BYTES_MAX);
    read_well = read_file(file, &bytes);
    if (read_well)
        dkim_rows_parse(mem, file, str_copy(mem, buf_str(&bytes)), rows_out, faults);
    else
        buf_fmt(faults, "%s: cannot be read: %s\n", file, strerror(errno));
    buf_fini(&bytes);
    return read_well;
}
