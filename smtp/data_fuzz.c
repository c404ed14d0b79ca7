#include "smtp/data.h"

#include "base/bug.h"
#include "base/buf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void collect(struct str piece, void *arg)
{
    buf_add_str(arg, piece);
}

static void decode(struct str in, size_t piece, size_t line_max, struct smtp_data_decoder *d,
                   struct buf *message)
{
    buf_init(message, 1 << 22);
    smtp_data_decoder_init(d, line_max);
    while (in.n > 0 && !d->ended)
        in = str_from(in, smtp_data_decode(d, str_upto(in, piece), collect, message));
}

static void encode(struct str message, struct buf *wire)
{
    struct smtp_data_encoder e = {.at_line_start = true};
    struct str piece;
    bool dot;

    buf_init(wire, 1 << 22);
    while (smtp_data_encode(&e, &message, &dot, &piece)) {
        if (dot)
            buf_add_char(wire, '.');
        buf_add_str(wire, piece);
    }
    buf_add_z(wire, ".\r\n");
}

/* Whole or in pieces the same comes out; and what came out whole survives the way out and in again. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct smtp_data_decoder whole, pieces, again;
    struct buf a, b, c, wire;
    struct str in;

    if (size < 2)
        return 0;
    in = str_make((const char *)data + 2, size - 2);
    decode(in, in.n, data[1] + 2u, &whole, &a);
    decode(in, data[0] + 1u, data[1] + 2u, &pieces, &b);
    if (whole.fault != pieces.fault || whole.bytes != pieces.bytes || whole.ended != pieces.ended)
        bug("pieces make a difference");
    if (whole.fault == SMTP_DATA_OK && !str_eq(buf_str(&a), buf_str(&b)))
        bug("pieces make another message");
    if (whole.fault == SMTP_DATA_OK && whole.ended) {
        encode(buf_str(&a), &wire);
        decode(buf_str(&wire), data[0] + 1u, data[1] + 2u, &again, &c);
        if (!again.ended || again.fault != SMTP_DATA_OK || !str_eq(buf_str(&a), buf_str(&c)))
            bug("the message did not survive");
        buf_fini(&wire);
        buf_fini(&c);
    }
    buf_fini(&a);
    buf_fini(&b);
    return 0;
}
