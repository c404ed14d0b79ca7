/*
 * record/reader.h - records are read again
 *
 * While the keeper writes, too: a line that is not whole yet, or was cut short, is passed over. On the calling thread.
 */
#ifndef RECORD_READER_H
#define RECORD_READER_H

#include "base/fail.h"
#include "base/str.h"

enum record_order { RECORD_OLDEST_FIRST, RECORD_NEWEST_FIRST };

/* A view of the line, without its newline, good until the call returns. False: enough. */
typedef bool record_each_fn(struct str line, void *arg);

/* Those of files that may have records from since_unix on: the first of them may be an hour older. -1: a file cannot be
 * read. A folder that is not there has none. */
int record_each(const char *folder, int64_t since_unix, enum record_order order, record_each_fn *each,
                void *arg, struct fail *fail);

#endif
