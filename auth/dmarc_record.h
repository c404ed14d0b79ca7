/*
 * auth/dmarc_record.h - the text of a DMARC policy record           RFC 9989 4.7, 4.8
 *
 * Two steps, because the tree walk needs little of most records: dmarc_tags_read() only cuts (views into
 * the text, no memory), dmarc_tags_record() makes the record that applies.
 * Limits  8 KiB of text, DMARC_URIS_MAX addresses of a list; the rest of a list is left out.
 */
#ifndef AUTH_DMARC_RECORD_H
#define AUTH_DMARC_RECORD_H

#include "auth/dmarc.h"

enum { DMARC_RECORD_MAX = 8 * 1024, DMARC_URIS_MAX = 32 };

/* The tags as published, trimmed; p == NULL: the tag is absent. */
struct dmarc_tags {
    struct str text;
    struct str p, sp, np, t, psd, adkim, aspf, rua, ruf, fo;
};

/* False: not a DMARC policy record. */
bool dmarc_tags_read(struct str text, struct dmarc_tags *tags_out);
char dmarc_tags_psd(const struct dmarc_tags *tags); /* 'y', 'n', or 'u' */

/* NULL when the record allows no DMARC processing (RFC 9989 4.10.1): *why_out tells. Copies what it keeps. */
const struct dmarc_record *dmarc_tags_record(struct arena *mem, const struct dmarc_tags *tags,
                                             const char **why_out);

#endif
