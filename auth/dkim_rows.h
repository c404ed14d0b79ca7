/*
 * auth/dkim_rows.h - OpenDKIM's flat files: a word a line, and what it stands for
 *
 * A row is a key up to the first blank, and a value that goes to the end of the line or to a "#". Empty lines
 * are none. What cannot be right is a fault "FILE:LINE: …", a line each; reading goes on behind it.
 *
 * Limits     Files of 16 MiB, 100,000 rows, lines of 4,096 octets.
 */
#ifndef AUTH_DKIM_ROWS_H
#define AUTH_DKIM_ROWS_H

#include "base/buf.h"

struct dkim_row {
    unsigned line;
    struct str key, value;
};

struct dkim_rows {
    const char *file;
    const struct dkim_row *rows;
    size_t count;
};

/* All that is read comes from `mem`. False when the file could not be read; `faults` says why. */
bool dkim_rows_read(struct arena *mem, const char *file, struct dkim_rows *rows_out, struct buf *faults);

/* The same from text, for fuzzers. */
void dkim_rows_parse(struct arena *mem, const char *file, struct str text, struct dkim_rows *rows_out,
                     struct buf *faults);

void dkim_rows_fault(const struct dkim_rows *rows, const struct dkim_row *row, struct buf *faults,
                     const char *format, ...) __attribute__((format(printf, 4, 5)));

#endif
