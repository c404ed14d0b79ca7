/*
 * cli/test_message.h - a message from a file, as if it had come over the wire
 *
 * Ownership  The struct holds the bytes; test_message_fini() frees them. The table of fields is in `mem`.
 * Limits     50 MiB, 1,000 fields.
 */
#ifndef CLI_TEST_MESSAGE_H
#define CLI_TEST_MESSAGE_H

#include "base/buf.h"
#include "base/fail.h"
#include "smtp/header.h"

struct test_message {
    struct buf bytes; /* all lines end in CRLF */
    struct header header;
    struct str body;
    bool lf; /* the file's lines all ended in LF alone */
};

/* "-": standard input. Files with bare LF (most files are) get CRLF, and standard error says so. */
int test_message_read(struct arena *mem, const char *file, struct test_message *message_out,
                      struct fail *fail);
void test_message_fini(struct test_message *message); /* fine on a zeroed struct */

#endif
