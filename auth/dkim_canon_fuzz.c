/* Any cut of a body gives the same canonical form; canonicalizing that again changes nothing; and fields
 * likewise. */
#include "auth/dkim_canon.h"
#include "base/buf.h"
#include "base/bug.h"

#include <string.h>

static void to_buf(void *arg, const char *p, size_t n)
{
    buf_add(arg, p, n);
}

static void canon_body(enum dkim_canon canon, struct str body, size_t step, struct buf *out)
{
    struct dkim_canon_body state;

    buf_init(out, 1 << 22);
    dkim_canon_body_init(&state, canon, to_buf, out);
    for (; body.n > 0; body = str_from(body, step))
        dkim_canon_body_add(&state, str_upto(body, step));
    dkim_canon_body_end(&state);
    if (state.out.bytes != out->n)
        bug("%zu octets, %zu counted", out->n, (size_t)state.out.bytes);
}

static void canon_field(const struct header_field *field, struct buf *out)
{
    struct dkim_canon_out state;

    buf_init(out, 1 << 22);
    dkim_canon_out_init(&state, to_buf, out);
    dkim_canon_header(&state, DKIM_RELAXED, field);
    dkim_canon_flush(&state);
}

static void must_be_same(struct buf *a, struct buf *b)
{
    if (!str_eq(buf_str(a), buf_str(b)))
        bug("\"%.*s\" became \"%.*s\"", STR_ARG(buf_str(a)), STR_ARG(buf_str(b)));
    buf_fini(b);
}

static void try_body(enum dkim_canon canon, struct str body, size_t step)
{
    struct buf once, cut, twice;

    canon_body(canon, body, body.n + 1, &once);
    canon_body(canon, body, step, &cut);
    canon_body(canon, buf_str(&once), once.n + 1, &twice);
    must_be_same(&once, &cut);
    must_be_same(&once, &twice);
    buf_fini(&once);
}

/* Only what is a header section at all: nobody verifies another one. */
static void try_fields(struct str section)
{
    struct arena *mem = arena_new(0);
    struct header header, again;
    struct buf once, twice;

    if (header_parse(mem, section, 100, &header) != HEADER_OK)
        header.count = 0;
    for (size_t i = 0; i < header.count; i++) {
        canon_field(&header.fields[i], &once);
        if (header_parse(mem, buf_str(&once), 1, &again) != HEADER_OK)
            bug("\"%.*s\" is no field", STR_ARG(buf_str(&once)));
        canon_field(&again.fields[0], &twice);
        must_be_same(&once, &twice);
        buf_fini(&once);
    }
    arena_free(&mem);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str body = {(const char *)data, size};

    if (size == 0)
        return 0;
    try_body(DKIM_SIMPLE, str_from(body, 1), data[0] % 40 + 1u);
    try_body(DKIM_RELAXED, str_from(body, 1), data[0] % 40 + 1u);
    try_fields(body);
    return 0;
}
