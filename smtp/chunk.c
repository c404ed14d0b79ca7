#include "smtp/chunk.h"

#include "base/bug.h"

void smtp_chunk_decoder_init(struct smtp_chunk_decoder *d, size_t line_max, bool binary)
{
    *d = (struct smtp_chunk_decoder){.binary = binary};
    smtp_data_decoder_init(&d->lines, line_max);
}

static void end_if_complete(struct smtp_chunk_decoder *d)
{
    if (d->left == 0 && d->last)
        smtp_data_judge_end(&d->lines);
}

void smtp_chunk_begin(struct smtp_chunk_decoder *d, uint64_t bytes, bool last)
{
    if (d->left > 0 || d->lines.ended)
        bug("a chunk begins within another, or behind the last");
    d->left = bytes;
    d->last = last;
    end_if_complete(d);
}

size_t smtp_chunk_decode(struct smtp_chunk_decoder *d, struct str in, smtp_data_sink_fn *sink, void *arg)
{
    struct str piece = str_upto(in, d->left < in.n ? (size_t)d->left : in.n);

    if (piece.n == 0)
        return 0;
    d->left -= piece.n;
    if (d->binary) {
        d->lines.bytes += piece.n;
        sink(piece, arg);
    } else {
        smtp_data_judge(&d->lines, piece, sink, arg);
    }
    end_if_complete(d);
    return piece.n;
}

bool smtp_chunk_is_complete(const struct smtp_chunk_decoder *d)
{
    return d->left == 0;
}
