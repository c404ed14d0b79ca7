#include "auth/dkim_canon.h"

#include <string.h>

/* A run of this length is hashed where it lies; shorter ones are gathered, for a hash call costs as much as
 * copying some hundred octets. */
enum { LONG_RUN = 512 };

void dkim_canon_out_init(struct dkim_canon_out *out, dkim_sink_fn *sink, void *arg)
{
    out->sink = sink;
    out->arg = arg;
    out->bytes = 0;
    out->staged = 0;
}

void dkim_canon_flush(struct dkim_canon_out *out)
{
    if (out->staged > 0)
        out->sink(out->arg, out->stage, out->staged);
    out->staged = 0;
}

static void put(struct dkim_canon_out *out, const char *p, size_t n)
{
    out->bytes += n;
    if (n >= LONG_RUN || n > sizeof(out->stage) - out->staged)
        dkim_canon_flush(out);
    if (n >= LONG_RUN) {
        out->sink(out->arg, p, n);
        return;
    }
    memcpy(out->stage + out->staged, p, n);
    out->staged += n;
}

static void put_char(struct dkim_canon_out *out, char c)
{
    put(out, &c, 1);
}

static bool is_wsp(char c)
{
    return c == ' ' || c == '\t';
}

/* ---- header fields ---- */

struct relaxing {
    bool written, blank;
};

/* Whether the value goes on with a fold's CRLF here; its blank is met next (RFC 6376 3.4.2). */
static bool at_line_end(struct str s, size_t i)
{
    return s.p[i] == '\r' && i + 1 < s.n && s.p[i + 1] == '\n';
}

static void relax_part(struct dkim_canon_out *out, struct relaxing *state, struct str part)
{
    size_t i = 0;

    while (i < part.n) {
        size_t start = i;

        if (is_wsp(part.p[i])) {
            state->blank = true;
            i++;
            continue;
        }
        if (at_line_end(part, i)) {
            i += 2;
            continue;
        }
        while (i < part.n && !is_wsp(part.p[i]) && !at_line_end(part, i))
            i++;
        if (state->blank && state->written)
            put_char(out, ' ');
        put(out, part.p + start, i - start);
        state->blank = false;
        state->written = true;
    }
}

static void relax_name(struct dkim_canon_out *out, struct str name)
{
    for (size_t i = 0; i < name.n; i++)
        put_char(out, ascii_lower(name.p[i]));
    put_char(out, ':');
}

void dkim_canon_header(struct dkim_canon_out *out, enum dkim_canon canon, const struct header_field *field)
{
    struct relaxing state = {false, false};

    if (canon == DKIM_SIMPLE) {
        put(out, field->raw.p, field->raw.n);
        return;
    }
    relax_name(out, field->name);
    relax_part(out, &state, field->value);
    put(out, "\r\n", 2);
}

void dkim_canon_signature(struct dkim_canon_out *out, enum dkim_canon canon, const struct header_field *field,
                          struct str cut)
{
    struct relaxing state = {false, false};
    const char *start = canon == DKIM_SIMPLE ? field->raw.p : field->value.p;
    struct str before = str_make(start, (size_t)(cut.p - start));
    struct str after = str_from(field->value, (size_t)(cut.p - field->value.p) + cut.n);

    if (canon == DKIM_SIMPLE) {
        put(out, before.p, before.n);
        put(out, after.p, after.n);
        return;
    }
    relax_name(out, field->name);
    relax_part(out, &state, before);
    relax_part(out, &state, after);
}

/* ---- the body ---- */

void dkim_canon_body_init(struct dkim_canon_body *body, enum dkim_canon canon, dkim_sink_fn *sink, void *arg)
{
    body->canon = canon;
    body->written = body->cr = body->blank = false;
    body->line_ends = 0;
    dkim_canon_out_init(&body->out, sink, arg);
}

/* Content follows: what was held back counts after all. */
static void release(struct dkim_canon_body *body)
{
    for (; body->line_ends > 0; body->line_ends--)
        put(&body->out, "\r\n", 2);
    if (body->blank)
        put_char(&body->out, ' ');
    body->blank = false;
    body->written = true;
}

static void release_bare_cr(struct dkim_canon_body *body)
{
    release(body);
    put_char(&body->out, '\r');
    body->cr = false;
}

/* Only line ends at the very end are special, so they are looked for from behind (RFC 6376 3.4.3). */
static void simple_add(struct dkim_canon_body *body, struct str piece)
{
    uint64_t line_ends = 0;
    bool cr;

    if (body->cr && piece.p[0] == '\n') {
        body->line_ends++;
        body->cr = false;
        piece = str_from(piece, 1);
    } else if (body->cr) {
        release_bare_cr(body);
    }
    cr = piece.n > 0 && piece.p[piece.n - 1] == '\r';
    if (cr)
        piece.n--;
    for (; piece.n >= 2 && piece.p[piece.n - 1] == '\n' && piece.p[piece.n - 2] == '\r'; piece.n -= 2)
        line_ends++;
    if (piece.n > 0) {
        release(body);
        put(&body->out, piece.p, piece.n);
    }
    body->line_ends += line_ends;
    body->cr = cr;
}

typedef uint8_t lane __attribute__((vector_size(16)));

/* Skips octets that stand for themselves whatever they are next to, as long as the next one is known: stops
 * at a tab, at two octets of control or blank in a row, at the last octet. Blanks and line ends are among
 * those. */
static const char *skip_plain(const char *p, const char *end)
{
    while (end - p > (ptrdiff_t)sizeof(lane)) {
        uint64_t half[2];
        lane here, next, odd;

        memcpy(&here, p, sizeof(here));
        memcpy(&next, p + 1, sizeof(next));
        odd = (lane)((here <= ' ') & (next <= ' ')) | (lane)(here == '\t');
        memcpy(half, &odd, sizeof(half));
        if ((half[0] | half[1]) != 0)
            break;
        p += sizeof(lane);
    }
    while (end - p > 1 && *p != '\t' && ((uint8_t)p[0] > ' ' || (uint8_t)p[1] > ' '))
        p++;
    return p;
}

/* The end of a stretch that is its own relaxed form. It begins with content and ends before a blank or a CR
 * that the slow path has to look at, or with the piece. */
static const char *own_form_until(const char *p, const char *end)
{
    for (;;) {
        p = skip_plain(p, end);
        if (p == end || is_wsp(*p))
            return p;
        if (*p != '\r')
            p++; /* the last octet, or a control: content */
        else if (end - p > 2 && p[1] == '\n' && (uint8_t)p[2] > ' ')
            p += 2; /* a line end between two lines with content */
        else
            return p;
    }
}

/* Blanks before a line end are gone (RFC 6376 3.4.4). */
static void end_line(struct dkim_canon_body *body)
{
    body->cr = body->blank = false;
    body->line_ends++;
}

static const char *skip_wsp(const char *p, const char *end)
{
    while (p < end && is_wsp(*p))
        p++;
    return p;
}

static void relaxed_add(struct dkim_canon_body *body, struct str piece)
{
    const char *p = piece.p, *end = piece.p + piece.n;

    if (body->cr && *p == '\n') {
        end_line(body);
        p++;
    } else if (body->cr) {
        release_bare_cr(body);
    }
    while (p < end) {
        const char *start = p;

        if (is_wsp(*p)) {
            body->blank = true;
            p = skip_wsp(p, end);
        } else if (*p == '\r' && end - p > 1 && p[1] == '\n') {
            end_line(body);
            p += 2;
        } else if (*p == '\r' && end - p == 1) {
            body->cr = true;
            p++;
        } else {
            p = *p == '\r' ? p + 1 : own_form_until(p, end);
            release(body);
            put(&body->out, start, (size_t)(p - start));
        }
    }
}

void dkim_canon_body_add(struct dkim_canon_body *body, struct str piece)
{
    if (piece.n == 0)
        return;
    if (body->canon == DKIM_SIMPLE)
        simple_add(body, piece);
    else
        relaxed_add(body, piece);
}

void dkim_canon_body_end(struct dkim_canon_body *body)
{
    if (body->cr)
        release_bare_cr(body);
    /* A body without content is one CRLF when simple and nothing when relaxed (RFC 6376 3.4.3, 3.4.4). */
    if (body->written || body->canon == DKIM_SIMPLE)
        put(&body->out, "\r\n", 2);
    dkim_canon_flush(&body->out);
}
