#include "smtp/chunk.h"

#include "base/buf.h"
#include "base/bug.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void collect(struct str piece, void *arg)
{
    buf_add_str(arg, piece);
}

static void decode(struct str in, size_t chunk, size_t piece, size_t line_max, bool binary,
                   struct smtp_chunk_decoder *d, struct buf *message)
{
    buf_init(message, 1 << 22);
    smtp_chunk_decoder_init(d, line_max, binary);
    while (in.n > 0) {
        size_t left = chunk < in.n ? chunk : in.n;

        smtp_chunk_begin(d, left, false);
        while (!smtp_chunk_is_complete(d))
            in = str_from(in, smtp_chunk_decode(d, str_upto(in, piece), collect, message));
    }
    smtp_chunk_begin(d, 0, true);
}

/* The same octets behind DATA: stuffed, and with the end. */
static void decode_as_data(struct str in, size_t line_max, struct smtp_data_decoder *d)
{
    struct smtp_data_encoder e = {.at_line_start = true};
    struct buf wire, message;
    struct str piece;
    bool dot;

    buf_init(&wire, 1 << 23);
    buf_init(&message, 1 << 22);
    while (smtp_data_encode(&e, &in, &dot, &piece)) {
        if (dot)
            buf_add_char(&wire, '.');
        buf_add_str(&wire, piece);
    }
    buf_add_z(&wire, ".\r\n");
    smtp_data_decoder_init(d, line_max);
    smtp_data_decode(d, buf_str(&wire), collect, &message);
    buf_fini(&wire);
    buf_fini(&message);
}

/* However a message is cut, the same is found; and what ends with CRLF is judged as behind DATA. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct smtp_chunk_decoder whole, pieces, binary;
    struct smtp_data_decoder as_data;
    struct buf a, b, c;
    size_t line_max;
    struct str in;

    if (size < 4)
        return 0;
    in = str_make((const char *)data + 3, size - 3);
    line_max = data[2] + 2u;
    decode(in, in.n, in.n, line_max, false, &whole, &a);
    decode(in, data[0] + 1u, data[1] + 1u, line_max, false, &pieces, &b);
    decode(in, data[0] + 1u, data[1] + 1u, line_max, true, &binary, &c);
    if (whole.lines.fault != pieces.lines.fault || whole.lines.bytes != in.n || pieces.lines.bytes != in.n)
        bug("pieces make a difference");
    if (whole.lines.fault == SMTP_DATA_OK && (!str_eq(buf_str(&a), in) || !str_eq(buf_str(&b), in)))
        bug("another message");
    if (binary.lines.fault != SMTP_DATA_OK || !str_eq(buf_str(&c), in))
        bug("binary is not binary");
    if (in.n >= 2 && str_eq(str_from(in, in.n - 2), STR("\r\n"))) {
        decode_as_data(in, line_max, &as_data);
        if (as_data.fault != whole.lines.fault || !as_data.ended ||
            (as_data.fault == SMTP_DATA_OK && as_data.bytes != in.n))
            bug("DATA and BDAT differ");
    }
    buf_fini(&a);
    buf_fini(&b);
    buf_fini(&c);
    return 0;
}
