/*
 * report/gzip.h - gzip, and what is found in reports of others: zip and raw deflate    (the door to zlib)
 *
 * Writing is deterministic: no file name, no time, the same octets give the same octets. Reading never
 * trusts a length that it is told.
 *
 * Limits  About 270 KiB while writing, 50 KiB while reading, beside the buffer. What unpacks to more than the
 *         buffer's maximum, or (beyond 64 KiB) to more than GZIP_RATIO_MAX times its size, is refused.
 */
#ifndef REPORT_GZIP_H
#define REPORT_GZIP_H

#include "base/buf.h"
#include "base/fail.h"

enum { GZIP_RATIO_MAX = 100 };

struct gzip;
struct gzip *gzip_new(struct buf *out);
void gzip_write(struct gzip *gzip, struct str piece); /* what does not fit sets out->overflow */
void gzip_end(struct gzip **gzip);                    /* leaves NULL */

/* A gzip file, a zip file (its first member called .xml, else the first that is no folder), or neither: then the
 * octets as they are. */
int gzip_unpack(struct str packed, struct buf *out, struct fail *fail);

/* The same for what gzip_new() has written: without the ratio, which our own reports may well pass. */
int gzip_unpack_ours(struct str packed, struct buf *out, struct fail *fail);

#endif
