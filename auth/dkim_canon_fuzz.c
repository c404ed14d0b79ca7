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

static void canon_field(struct str value, struct buf *out)
{
    struct header_field field = {.raw = value, .name = STR("A"), .value = value};
    struct dkim_canon_out state;

    buf_init(out, 1 << 22);
    dkim_canon_out_init(&state, to_buf, out);
    dkim_canon_header(&state, DKIM_RELAXED, &field);
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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str body = {(const char *)data, size};
    struct buf once, twice;

    if (size == 0)
        return 0;
    try_body(DKIM_SIMPLE, str_from(body, 1), data[0] % 40 + 1u);
    try_body(DKIM_RELAXED, str_from(body, 1), data[0] % 40 + 1u);
    canon_field(body, &once);
    canon_field(str_make(once.p + 2, once.n - 4), &twice); /* without "a:" and the line end */
    must_be_same(&once, &twice);
    buf_fini(&once);
    return 0;
}
