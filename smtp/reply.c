#include "smtp/reply.h"

#include "base/bug.h"

#include <string.h>

enum { LINE_WRITTEN = 512, ENHANCED_WRITTEN = 16 }; /* RFC 5321 4.5.3.1.5 */

/* ---- writing ---- */

static size_t put_text(char *at, size_t room, struct str text)
{
    size_t n = text.n < room ? text.n : room;

    for (size_t i = 0; i < n; i++)
        at[i] = (text.p[i] >= ' ' && text.p[i] <= '~') || text.p[i] == '\t' ? text.p[i] : '?';
    return n;
}

static void write_line(struct buf *out, int code, bool last, struct str enhanced, struct str text)
{
    char *line = buf_reserve(out, LINE_WRITTEN);
    size_t n = 0;

    if (line == NULL)
        return; /* `overflow` tells the caller */
    line[n++] = (char)('0' + code / 100);
    line[n++] = (char)('0' + code / 10 % 10);
    line[n++] = (char)('0' + code % 10);
    line[n++] = last ? ' ' : '-';
    n += put_text(line + n, ENHANCED_WRITTEN, enhanced);
    if (enhanced.n > 0 && text.n > 0)
        line[n++] = ' ';
    n += put_text(line + n, LINE_WRITTEN - 2 - n, text);
    line[n++] = '\r';
    line[n++] = '\n';
    buf_commit(out, n);
}

void smtp_reply_write(struct buf *out, int code, const char *enhanced, struct str text)
{
    bool more = true;

    if (code < 200 || code > 599)
        bug("smtp_reply_write: code %d", code);
    while (more) {
        struct str line;

        more = str_cut(text, '\n', &line, &text);
        write_line(out, code, !more, str_of(enhanced), line);
    }
}

/* ---- reading ---- */

enum { GARBAGE = -1 }; /* as a reader's code: there is no way back */

void smtp_reply_reader_init(struct smtp_reply_reader *reader)
{
    *reader = (struct smtp_reply_reader){0};
    buf_init(&reader->line, SMTP_LONG_LINE);
    buf_init(&reader->text, (size_t)SMTP_REPLY_LINE * SMTP_REPLY_LINES + SMTP_LONG_LINE);
}

void smtp_reply_reader_fini(struct smtp_reply_reader *reader)
{
    buf_fini(&reader->line);
    buf_fini(&reader->text);
}

static size_t digits_length(struct str s, size_t at, size_t most)
{
    size_t n = 0;

    while (n < most && at + n < s.n && ascii_is_digit(s.p[at + n]))
        n++;
    return n;
}

/* class "." subject "." detail (RFC 2034 4); 0 when there is none that fits the reply's code. */
static size_t enhanced_length(struct str text, int code)
{
    size_t at = 1;

    if (text.n < 5 || text.p[0] != '0' + code / 100 || code / 100 == 3)
        return 0;
    for (int part = 0; part < 2; part++) {
        size_t n;

        if (at >= text.n || text.p[at] != '.')
            return 0;
        n = digits_length(text, at + 1, 3);
        if (n == 0)
            return 0;
        at += 1 + n;
    }
    return at == text.n || text.p[at] == ' ' ? at : 0;
}

/* Each line of a reply repeats the enhanced code (RFC 2034 4); one that differs is left in the text. */
static struct str take_enhanced(struct smtp_reply_reader *reader, struct str text)
{
    size_t n = enhanced_length(text, reader->code);

    if (n == 0 || n >= sizeof(reader->enhanced))
        return text;
    if (reader->lines == 0) {
        memcpy(reader->enhanced, text.p, n);
        reader->enhanced[n] = '\0';
    } else if (!str_eq_z(str_upto(text, n), reader->enhanced)) {
        return text;
    }
    return str_from(text, n < text.n ? n + 1 : n);
}

static int code_of(struct str line)
{
    if (digits_length(line, 0, 3) < 3 || line.p[0] < '2' || line.p[0] > '5')
        return GARBAGE;
    return (line.p[0] - '0') * 100 + (line.p[1] - '0') * 10 + (line.p[2] - '0');
}

static enum smtp_reply_status fail(struct smtp_reply_reader *reader)
{
    reader->code = GARBAGE;
    return SMTP_REPLY_GARBAGE;
}

/* What is behind SMTP_REPLY_LINE would be cut when it is written, too; but a challenge, which has one line, is a whole. */
static struct str kept_of(const struct smtp_reply_reader *reader, struct str line)
{
    return reader->code == 334 && reader->lines == 0 ? line : str_upto(line, SMTP_REPLY_LINE);
}

/* `line` ends with LF. A line end that is not CRLF, or a NUL, is garbage: a backend that writes them is not
 * one whose 250 should be believed. */
static enum smtp_reply_status take_line(struct smtp_reply_reader *reader, struct str line)
{
    int code = code_of(line);
    bool last;

    if (line.n < 5 || line.p[line.n - 2] != '\r' || code == GARBAGE)
        return fail(reader);
    line.n -= 2;
    if (str_has(line, '\r') || str_has(line, '\0') || (line.n > 3 && line.p[3] != ' ' && line.p[3] != '-'))
        return fail(reader);
    if (reader->lines > 0 && code != reader->code)
        return fail(reader);
    reader->code = code;
    last = line.n == 3 || line.p[3] == ' ';
    if (reader->lines > 0)
        buf_add_char(&reader->text, '\n');
    buf_add_str(&reader->text, take_enhanced(reader, str_from(kept_of(reader, line), 4)));
    reader->lines++;
    if (last)
        return SMTP_REPLY_READY;
    return reader->lines < SMTP_REPLY_LINES ? SMTP_REPLY_MORE : fail(reader);
}

static void start_reply(struct smtp_reply_reader *reader)
{
    buf_clear(&reader->text);
    reader->enhanced[0] = '\0';
    reader->code = 0;
}

enum smtp_reply_status smtp_reply_read(struct smtp_reply_reader *reader, struct str *in,
                                       struct smtp_reply *reply_out)
{
    enum smtp_reply_status status = SMTP_REPLY_MORE;

    if (reader->code == GARBAGE)
        return SMTP_REPLY_GARBAGE;
    while (status == SMTP_REPLY_MORE && in->n > 0) {
        size_t end = str_find(*in, '\n');
        struct str line = str_upto(*in, end + 1);

        if (!buf_add_str(&reader->line, line))
            return fail(reader);
        *in = str_from(*in, line.n);
        if (end == line.n)
            break; /* its LF is still to come */
        if (reader->lines == 0)
            start_reply(reader);
        status = take_line(reader, buf_str(&reader->line));
        buf_clear(&reader->line);
    }
    if (status == SMTP_REPLY_READY) {
        reader->lines = 0;
        *reply_out = (struct smtp_reply){reader->code, str_of(reader->enhanced),
                                         str_make(buf_z(&reader->text), reader->text.n)};
    }
    return status;
}
