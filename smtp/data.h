/*
 * smtp/data.h - the message on the wire: dots, line ends, and the end     RFC 5321 4.5.2, 2.3.8
 *
 * The decoder takes what follows 354 in any pieces, removes the transparency dots and finds the
 * end, which is CRLF.CRLF and nothing else. Bare CR, bare LF and NUL are never repaired: they are
 * noted (the first fault is kept), the rest is swallowed up to the true end, and the caller refuses.
 *
 * Copies   None: the decoder calls `sink` with views into the input wherever it can.
 * Limits   Lines of at most `line_max` octets with their CRLF, without the transparency dot
 *          (RFC 5321 4.5.3.1.6). Counts every octet, those behind a fault too.
 */
#ifndef SMTP_DATA_H
#define SMTP_DATA_H

#include "base/str.h"

enum smtp_data_fault {
    SMTP_DATA_OK,
    SMTP_DATA_BARE_CR,
    SMTP_DATA_BARE_LF,
    SMTP_DATA_NUL,
    SMTP_DATA_LONG_LINE
};

struct smtp_data_decoder {
    int state;                  /* where in CRLF . CRLF we are */
    enum smtp_data_fault fault; /* the first one */
    size_t line_bytes, line_max;
    uint64_t bytes; /* of the message, transparency removed, so far */
    bool ended;
};

/* Called with pieces of the message, in order. After a fault it is not called any more. */
typedef void smtp_data_sink_fn(struct str piece, void *arg);

void smtp_data_decoder_init(struct smtp_data_decoder *d, size_t line_max);

/* Returns how many bytes of `in` belong to the message and its end: all of them, unless the end came. */
size_t smtp_data_decode(struct smtp_data_decoder *d, struct str in, smtp_data_sink_fn *sink, void *arg);

/* The same judgement of lines where there are no dots to remove and the end is known otherwise
 * (smtp/chunk.h): all of `in` belongs to the message. A CR at its very end is bare, which only
 * smtp_data_judge_end() can tell. */
void smtp_data_judge(struct smtp_data_decoder *d, struct str in, smtp_data_sink_fn *sink, void *arg);
void smtp_data_judge_end(struct smtp_data_decoder *d);
bool smtp_data_is_at_line_start(const struct smtp_data_decoder *d); /* behind CRLF, or nothing came yet */

/* Dot-stuffing on the way out, without copying: cuts a message into pieces such that a "." is due in
 * front of every piece but (perhaps) the first. Start with at_line_start = true at the first octet.
 * A dot behind a bare LF is doubled as well: what comes from our decoder has none, and of what comes from
 * elsewhere nobody shall read an end of data. */
struct smtp_data_encoder {
    bool at_line_start;
};
/* Takes the longest piece from the front of *in that can be sent as it is; *dot_out tells whether a
 * "." must be sent before it. False when *in is empty. */
bool smtp_data_encode(struct smtp_data_encoder *e, struct str *in, bool *dot_out, struct str *piece_out);

const char *smtp_data_fault_name(enum smtp_data_fault fault); /* "bare LF" */

#endif
