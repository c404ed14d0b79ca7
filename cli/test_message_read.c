#include "cli/test_message.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { MESSAGE_BYTES_MAX = 50 * 1024 * 1024, FIELDS_MAX = 1000, PIECE_BYTES = 64 * 1024 };

static int read_all(int fd, struct buf *out, struct fail *fail)
{
    for (;;) {
        char *room = buf_reserve(out, PIECE_BYTES);
        ssize_t n;

        if (room == NULL)
            return fail_set(fail, "the message is larger than %d MiB", MESSAGE_BYTES_MAX / 1024 / 1024);
        n = read(fd, room, PIECE_BYTES);
        if (n < 0)
            return fail_errno(fail, "the message cannot be read");
        if (n == 0)
            return 0;
        buf_commit(out, (size_t)n);
    }
}

static int read_file(const char *file, struct buf *out, struct fail *fail)
{
    int fd, result;

    if (strcmp(file, "-") == 0)
        return read_all(STDIN_FILENO, out, fail);
    fd = open(file, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return fail_errno(fail, "%s cannot be opened", file);
    result = read_all(fd, out, fail);
    close(fd);
    return result;
}

static bool is_bare_lf(struct str s, size_t i)
{
    return s.p[i] == '\n' && (i == 0 || s.p[i - 1] != '\r');
}

static bool has_crlf(struct str s)
{
    return memmem(s.p, s.n, "\r\n", 2) != NULL;
}

static size_t count_bare_lf(struct str s)
{
    size_t count = 0;

    for (size_t i = 0; i < s.n; i++)
        count += is_bare_lf(s, i);
    return count;
}

/* The length was checked: the copy cannot overflow. */
static void repair_line_ends(struct buf *bytes)
{
    struct str s = buf_str(bytes);
    struct buf repaired;

    buf_init(&repaired, 2 * (size_t)MESSAGE_BYTES_MAX);
    for (size_t i = 0, line = 0; i < s.n; i++) {
        if (!is_bare_lf(s, i) && i + 1 < s.n)
            continue;
        buf_add(&repaired, s.p + line, i + 1 - line - is_bare_lf(s, i));
        if (is_bare_lf(s, i))
            buf_add_z(&repaired, "\r\n");
        line = i + 1;
    }
    buf_fini(bytes);
    *bytes = repaired;
}

/* A server would not take these; here they are judged as they stand. */
static void warn_of_strange_bytes(struct str s)
{
    bool bare_cr = false;

    for (size_t i = 0; i < s.n && !bare_cr; i++)
        bare_cr = s.p[i] == '\r' && (i + 1 == s.n || s.p[i + 1] != '\n');
    if (bare_cr || str_has(s, '\0'))
        fprintf(stderr, "smtpguard: the message holds %s; the server refuses such a message\n",
                bare_cr ? "a bare CR" : "a NUL");
}

static int split(struct arena *mem, struct test_message *m, struct fail *fail)
{
    static const char *const faults[] = {[HEADER_BAD_LINE] = "a line of the header is no field",
                                         [HEADER_STARTS_FOLDED] = "the header begins with a folded line",
                                         [HEADER_TOO_MANY] = "the header has more than 1000 fields"};
    struct str all = buf_str(&m->bytes), section = all;
    size_t end = header_end(all, 0);
    enum header_fault fault;

    if (end != SIZE_MAX) {
        section = str_upto(all, end);
        m->body = str_from(all, end + 2);
    }
    fault = header_parse(mem, section, FIELDS_MAX, &m->header);
    return fault == HEADER_OK ? 0 : fail_set(fail, "%s", faults[fault]);
}

int test_message_read(struct arena *mem, const char *file, struct test_message *message_out,
                      struct fail *fail)
{
    struct test_message *m = message_out;
    size_t bare;

    *m = (struct test_message){0};
    buf_init(&m->bytes, MESSAGE_BYTES_MAX + 2 * PIECE_BYTES);
    if (read_file(file, &m->bytes, fail) < 0)
        return -1;
    if (m->bytes.n == 0)
        fprintf(stderr, "smtpguard: the message is empty\n"); /* a client may send such a one */
    if (m->bytes.n > MESSAGE_BYTES_MAX)
        return fail_set(fail, "the message is larger than %d MiB", MESSAGE_BYTES_MAX / 1024 / 1024);
    bare = count_bare_lf(buf_str(&m->bytes));
    if (bare > 0) {
        fprintf(stderr, "smtpguard: %zu lines end in LF alone; they are judged as if they ended in CRLF\n",
                bare);
        m->lf = !has_crlf(buf_str(&m->bytes));
        repair_line_ends(&m->bytes);
    }
    warn_of_strange_bytes(buf_str(&m->bytes));
    if (m->bytes.n < 2 || memcmp(m->bytes.p + m->bytes.n - 2, "\r\n", 2) != 0)
        buf_add_z(&m->bytes, "\r\n"); /* there is no other end on the wire */
    return split(mem, m, fail);
}

void test_message_fini(struct test_message *message)
{
    buf_fini(&message->bytes);
}
