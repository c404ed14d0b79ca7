/*
 * smtp/chunk.h - the message in chunks of announced size                 RFC 3030 2
 *
 * What follows "BDAT n" are n octets of the message as they are, without dots and end of data. They are
 * judged like those of DATA, across the borders of chunks: bare CR, bare LF, NUL and long lines are faults,
 * of which the first is kept (smtp/data.h). BODY=BINARYMIME has no lines, and nothing of that is a fault (RFC
 * 3030 3).
 *
 * Copies   None: the sink gets views into the input. After a fault it is not called any more.
 * Limits   None of its own: a chunk is never held. `lines.bytes` counts what came, faults or not.
 * Refusal  A chunk that is refused still comes. To swallow it, decode it as binary into a sink that does
 *          nothing.
 */
#ifndef SMTP_CHUNK_H
#define SMTP_CHUNK_H

#include "smtp/data.h"

struct smtp_chunk_decoder {
    struct smtp_data_decoder lines; /* fault, bytes, ended: of the message, all its chunks together */
    uint64_t left;                  /* octets of the chunk that have not come yet */
    bool last, binary;
};

void smtp_chunk_decoder_init(struct smtp_chunk_decoder *d, size_t line_max, bool binary); /* for a message */

/* A chunk begins; the one before must be complete, and must not have been the last. */
void smtp_chunk_begin(struct smtp_chunk_decoder *d, uint64_t bytes, bool last);

/* Returns how many octets of `in` belong to the chunk: all of them, unless it is complete. The message has
 * ended with its last chunk, even an empty one. */
size_t smtp_chunk_decode(struct smtp_chunk_decoder *d, struct str in, smtp_data_sink_fn *sink, void *arg);

bool smtp_chunk_is_complete(const struct smtp_chunk_decoder *d);

#endif
