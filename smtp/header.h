/*
 * smtp/header.h - the header section of a message, as views         RFC 5322 2.2, 3.6
 *
 * Ownership  Views point into the section, which the caller keeps for as long as the header; the
 *            table of fields comes from `mem`.
 * Limits     The caller has bounded the section's size; `fields_max` bounds the count.
 * Form       The section ends with CRLF of its last field; the empty line is not part of it. A line
 *            that is neither a field nor a continuation ends the parse with a fault: what a stranger's
 *            parser might read in two ways is for the caller to refuse, not for us to guess.
 */
#ifndef SMTP_HEADER_H
#define SMTP_HEADER_H

#include "base/str.h"

struct header_field {
    struct str raw;   /* from the name to the final CRLF, folding included */
    struct str name;  /* as written, without blanks before the colon */
    struct str value; /* behind the colon, folding included, final CRLF not */
};

struct header {
    const struct header_field *fields; /* top down */
    size_t count;
};

enum header_fault { HEADER_OK, HEADER_BAD_LINE, HEADER_STARTS_FOLDED, HEADER_TOO_MANY };

/* After HEADER_BAD_LINE the header holds the fields above that line; after the other faults none. */
enum header_fault header_parse(struct arena *mem, struct str section, size_t fields_max,
                               struct header *header_out);

size_t header_count(const struct header *h, const char *name);
const struct header_field *header_find(const struct header *h, const char *name); /* the topmost, or NULL */

/* The value unfolded and trimmed: CRLF before a blank is dropped (RFC 5322 2.2.3). */
struct str header_unfold(struct arena *mem, struct str value);

/* Finds the end of the header section in a growing message: the offset of the empty line's first octet
 * (equal to the section's length), or SIZE_MAX when it has not come yet. `from` is where to go on looking:
 * pass what was seen before. Bytes are CRLF lines (the decoder saw to that). */
size_t header_end(struct str bytes, size_t from);

#endif
