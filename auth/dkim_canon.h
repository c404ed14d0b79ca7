/*
 * auth/dkim_canon.h - the two ways to write a message for hashing           RFC 6376 3.4
 *
 * Pure: octets in, canonical octets out to a sink, in long runs (unchanged stretches of a body go to the sink
 * where they lie). Nothing is kept but one stage of 4 KiB; any cut of a body into pieces gives the same
 * octets. Only CRLF ends a line. A bare CR or LF is an octet like others: it is not repaired here.
 */
#ifndef AUTH_DKIM_CANON_H
#define AUTH_DKIM_CANON_H

#include "smtp/header.h"

enum dkim_canon { DKIM_SIMPLE, DKIM_RELAXED };

typedef void dkim_sink_fn(void *arg, const char *p, size_t n);

enum { DKIM_STAGE_BYTES = 4096, DKIM_STAGE_SLACK = 16 };

/* What was written and has not gone to the sink yet. */
struct dkim_canon_out {
    dkim_sink_fn *sink;
    void *arg;
    uint64_t bytes; /* canonical octets so far */
    size_t staged;
    char stage[DKIM_STAGE_BYTES + DKIM_STAGE_SLACK];
};

void dkim_canon_out_init(struct dkim_canon_out *out, dkim_sink_fn *sink, void *arg);
void dkim_canon_flush(struct dkim_canon_out *out);

/* One field with its CRLF. */
void dkim_canon_header(struct dkim_canon_out *out, enum dkim_canon canon, const struct header_field *field);

/* The signature's own field: without its CRLF, and without `cut`, a view into field->value: the value of b=
 * with all the blanks around it (RFC 6376 3.7). */
void dkim_canon_signature(struct dkim_canon_out *out, enum dkim_canon canon, const struct header_field *field,
                          struct str cut);

struct dkim_canon_body {
    enum dkim_canon canon;
    bool written;       /* some content came */
    bool cr, blank;     /* held back: a CR that may belong to an LF, blanks that may end a line */
    uint64_t line_ends; /* held back: they count only when content follows */
    struct dkim_canon_out out;
};

void dkim_canon_body_init(struct dkim_canon_body *body, enum dkim_canon canon, dkim_sink_fn *sink, void *arg);
void dkim_canon_body_add(struct dkim_canon_body *body, struct str piece);
void dkim_canon_body_end(struct dkim_canon_body *body); /* from now on out.bytes is the length of it all */

#endif
