/*
 * smtp/reply.h - replies, written to a client and read from a backend    RFC 5321 4.2, RFC 2034
 *
 * Limits  A reply we read has at most SMTP_REPLY_LINES lines of SMTP_LONG_LINE octets; more, or a code that is not 2xx to
 *         5xx, or lines with different codes, is garbage. RFC 5321 4.5.3.1.5 has 512, but there are servers whose 250
 *         repeats a Message-ID of a thousand, and to disbelieve that one doubles the message. Of each line
 *         SMTP_REPLY_LINE octets are kept, of a challenge (334, RFC 4954 4) all.
 */
#ifndef SMTP_REPLY_H
#define SMTP_REPLY_H

#include "base/buf.h"

enum { SMTP_REPLY_LINE = 1024, SMTP_REPLY_LINES = 100, SMTP_LONG_LINE = 12288 };

struct smtp_reply {
    int code;            /* 200 to 599 */
    struct str enhanced; /* "5.7.1", or empty */
    struct str text;     /* without code and enhanced code; lines are separated by \n */
};

/* Writes one reply; text with \n becomes several lines. Octets that are neither printable ASCII nor a
 * tab become "?", and lines are cut at 512 octets, so nothing from outside can become a line of its own.
 * `enhanced` may be empty: then none is written (banner, EHLO). */
void smtp_reply_write(struct buf *out, int code, const char *enhanced, struct str text);

/* Reads replies from bytes that arrive in any pieces. */
struct smtp_reply_reader {
    struct buf line; /* the line that is not complete yet */
    struct buf text; /* of the reply that is not complete yet */
    char enhanced[12];
    int code;
    unsigned lines;
};
void smtp_reply_reader_init(struct smtp_reply_reader *reader);
void smtp_reply_reader_fini(struct smtp_reply_reader *reader);

enum smtp_reply_status { SMTP_REPLY_MORE, SMTP_REPLY_READY, SMTP_REPLY_GARBAGE };

/* Takes bytes from *in up to the end of one reply and advances *in. On SMTP_REPLY_READY the reply's
 * views are good until the next call. After SMTP_REPLY_GARBAGE the connection is of no more use. */
enum smtp_reply_status smtp_reply_read(struct smtp_reply_reader *reader, struct str *in,
                                       struct smtp_reply *reply_out);

#endif
