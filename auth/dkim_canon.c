#include "auth/dkim_canon.h"

#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

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

static void put_elsewhere(struct dkim_canon_out *out, const char *p, size_t n)
{
    dkim_canon_flush(out);
    if (n >= LONG_RUN) {
        out->sink(out->arg, p, n);
        return;
    }
    memcpy(out->stage, p, n);
    out->staged = n;
}

static void put(struct dkim_canon_out *out, const char *p, size_t n)
{
    out->bytes += n;
    if (n >= LONG_RUN || n > DKIM_STAGE_BYTES - out->staged) {
        put_elsewhere(out, p, n);
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

static lane lane_at(const char *p)
{
    lane octets;

    memcpy(&octets, p, sizeof(octets));
    return octets;
}

/* One bit an octet, each of which is 0 or 255. */
static unsigned bits_of(lane octets)
{
#ifdef __SSE2__
    return (unsigned)_mm_movemask_epi8((__m128i)octets);
#else
    unsigned bits = 0;

    for (unsigned i = 0; i < sizeof(octets); i++)
        bits |= (octets[i] & 1u) << i;
    return bits;
#endif
}

/* The place of the first octet that is 255; the size of a lane: there is none. */
static size_t first_set(lane octets)
{
    unsigned bits = bits_of(octets);

    return bits != 0 ? (size_t)__builtin_ctz(bits) : sizeof(octets);
}

/* Skips octets that stand for themselves whatever they are next to, as long as the next two are known: stops
 * at a tab, at two octets of control or blank in a row (but a line end between two lines with content),
 * before the last two octets. */
static const char *skip_plain(const char *p, const char *end)
{
    while (end - p > (ptrdiff_t)sizeof(lane) + 1) {
        lane here = lane_at(p), next = lane_at(p + 1), third = lane_at(p + 2);
        lane line_end = (lane)((here == '\r') & (next == '\n') & (third > ' '));
        size_t plain = first_set((lane)(((here <= ' ') & (next <= ' ')) | (here == '\t')) & ~line_end);

        p += plain;
        if (plain < sizeof(lane))
            return p;
    }
    while (end - p > 1 && *p != '\t' && ((uint8_t)p[0] > ' ' || (uint8_t)p[1] > ' '))
        p++;
    return p;
}

/* Line ends, and then content: the start of that, else NULL. */
static const char *skip_line_ends(const char *p, const char *end)
{
    const char *start = p;

    while (end - p > 1 && p[0] == '\r' && p[1] == '\n')
        p += 2;
    return p > start && p < end && (uint8_t)*p > ' ' ? p : NULL;
}

/* The end of a stretch that is its own relaxed form. It begins with content and ends before a blank or a CR
 * that the slow path has to look at, or with the piece. */
static const char *own_form_until(const char *p, const char *end)
{
    for (;;) {
        const char *content;

        p = skip_plain(p, end);
        if (p == end || is_wsp(*p))
            return p;
        content = *p == '\r' ? skip_line_ends(p, end) : p + 1; /* the last octet, or a control: content */
        if (content == NULL)
            return p;
        p = content;
    }
}

/* ---- blocks: text of short lines, indented or blank ---- */

enum { BLOCK = 64 };
_Static_assert(DKIM_STAGE_SLACK >= sizeof(lane), "a run is copied in whole lanes");

/* One bit an octet. */
struct marks {
    uint64_t blanks, tabs, line_ends;
};

static struct marks marks_of(const char *p)
{
    struct marks m = {0, 0, 0};
    uint64_t cr = 0, lf = 0;

    for (size_t i = 0; i < BLOCK; i += sizeof(lane)) {
        lane here = lane_at(p + i), tab = (lane)(here == '\t');

        m.tabs |= (uint64_t)bits_of(tab) << i;
        m.blanks |= (uint64_t)bits_of(tab | (lane)(here == ' ')) << i;
        cr |= (uint64_t)bits_of((lane)(here == '\r')) << i;
        lf |= (uint64_t)bits_of((lane)(here == '\n')) << i;
    }
    cr &= lf >> 1 | UINT64_C(1) << (BLOCK - 1); /* the last one may be of a line end */
    m.line_ends = cr | (lf & cr << 1);
    return m;
}

/* Copies the octets of the block that `keep` names to the stage, a run at a time, tabs as blanks. */
static void put_kept(struct dkim_canon_out *out, const char *p, uint64_t keep, uint64_t tabs)
{
    char *start, *to;

    if (out->staged > DKIM_STAGE_BYTES - BLOCK)
        dkim_canon_flush(out);
    start = to = out->stage + out->staged;
    for (uint64_t rest = keep; rest != 0;) {
        size_t at = (size_t)__builtin_ctzll(rest);
        uint64_t above = rest & (rest + (rest & -rest)); /* without its lowest run */
        uint64_t run = rest ^ above;
        size_t n = BLOCK - (size_t)__builtin_clzll(run) - at;

        for (size_t i = 0; i < n; i += sizeof(lane))
            memcpy(to + i, p + at + i, sizeof(lane));
        to += n;
        rest = above;
    }
    for (tabs &= keep; tabs != 0; tabs &= tabs - 1)
        start[__builtin_popcountll(keep & ((tabs & -tabs) - 1))] = ' ';
    out->staged += (size_t)(to - start);
    out->bytes += (size_t)(to - start);
}

/* From behind content, up to and with the last content of the block; 0: the block has none, or is its own
 * form. A blank counts when content follows, not another blank or a line end. */
static size_t put_block(struct dkim_canon_out *out, const char *p)
{
    struct marks m = marks_of(p);
    uint64_t content = ~(m.blanks | m.line_ends), whole, keep;
    size_t n;

    if (content == 0)
        return 0;
    n = BLOCK - (size_t)__builtin_clzll(content);
    whole = ~UINT64_C(0) >> (BLOCK - n);
    keep = whole & ~(m.blanks & (m.blanks | m.line_ends) >> 1);
    if (keep == whole && (m.tabs & whole) == 0)
        return 0;
    put_kept(out, p, keep, m.tabs);
    return n;
}

static const char *put_blocks(struct dkim_canon_out *out, const char *p, const char *end)
{
    size_t n = 1;

    for (; n > 0 && end - p >= (ptrdiff_t)(BLOCK + sizeof(lane)); p += n)
        n = put_block(out, p);
    return p;
}

/* ---- relaxed, octet by octet where nothing faster will do ---- */

/* Blanks before a line end are gone (RFC 6376 3.4.4). */
static void end_line(struct dkim_canon_body *body)
{
    body->cr = body->blank = false;
    body->line_ends++;
}

static const char *skip_wsp(const char *p, const char *end)
{
    while (end - p >= (ptrdiff_t)sizeof(lane)) {
        lane here = lane_at(p);
        size_t blanks = first_set((lane)((here != ' ') & (here != '\t')));

        p += blanks;
        if (blanks < sizeof(lane))
            return p;
    }
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
            if (p - start < BLOCK)
                p = put_blocks(&body->out, p, end);
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
