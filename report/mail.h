/*
 * report/mail.h - a mail of ours: header fields and parts          RFC 5322, 2045, 2047, 3834
 *
 * Pure. Everything ends with CRLF, no line is longer than 998 octets, and nothing from outside can begin a
 * line. Parts are the caller's; the boundary is fixed by him, so that the same report is the same mail.
 */
#ifndef REPORT_MAIL_H
#define REPORT_MAIL_H

#include "base/buf.h"
#include "report/aggregate.h"

struct mail {
    const struct report_identity *from;
    const char *to;
    const char *subject;    /* ASCII; words are folded over lines */
    const char *message_id; /* without brackets */
    int64_t date_unix;
    const char *content_type; /* "multipart/mixed" */
    const char *boundary;
};

void mail_begin(struct buf *out, const struct mail *mail); /* up to the empty line */
void mail_part(struct buf *out, const char *boundary,
               const char *fields); /* "Content-Type: …", lines by \r\n */
void mail_end(struct buf *out, const char *boundary);
void mail_base64(struct buf *out, struct str octets); /* in lines of 76 */
void mail_lines(struct buf *out,
                struct str text); /* CRLF for each line end; longer lines are cut, controls are "?" */

/* The mail that carries an aggregate report (RFC 9990 3.3). */
void mail_aggregate(struct arena *mem, struct buf *out, const struct report_identity *from, const char *to,
                    const char *domain, const struct aggregate *report, struct str gz, int64_t now_unix);

const char *mail_date(struct arena *mem, int64_t unix_s); /* "Mon, 23 Nov 2026 16:56:53 +0000" */

#endif
