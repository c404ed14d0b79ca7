/*
 * store/resp.h - the protocol of Redis and Valkey, RESP2                     (the door to hiredis)
 *
 * Commands are made and replies are read by hiredis; sockets, TLS and timers are ours (store/redis_link.h).
 *
 * Ownership  A reply and its strings are good until the next resp_next() or resp_reader_free().
 * Limits     A reply of RESP_BYTES_MAX octets, with RESP_ITEMS_MAX items in all its arrays, RESP_DEPTH_MAX of them inside
 *            each other: who sends more, or says that more will come, is no Redis that we asked.
 * Errors     -1 once what came is no RESP; the reader then stays broken. An error reply is a reply.
 */
#ifndef STORE_RESP_H
#define STORE_RESP_H

#include "base/buf.h"
#include "base/fail.h"

enum { RESP_BYTES_MAX = 64 * 1024 * 1024, RESP_ITEMS_MAX = 1000000, RESP_DEPTH_MAX = 7 };

enum resp_type { RESP_NIL, RESP_STRING, RESP_STATUS, RESP_ERROR, RESP_INTEGER, RESP_ARRAY };

struct resp {
    enum resp_type type;
    struct str text;          /* of a string, status or error */
    int64_t number;           /* of an integer */
    const struct resp *items; /* of an array */
    size_t count;
};

/* False beyond the buffer's max; then it is as it was. */
bool resp_format(struct buf *out, const struct str *words, size_t count);

struct resp_reader;
struct resp_reader *resp_reader_new(void);
void resp_reader_free(struct resp_reader **reader); /* NULL is fine; leaves NULL */
int resp_feed(struct resp_reader *reader, const char *bytes, size_t n, struct fail *fail);
/* 1: a reply; 0: it is not whole yet; -1 */
int resp_next(struct resp_reader *reader, const struct resp **reply_out, struct fail *fail);

/* Is it an error that begins with this word: "MOVED", "NOSCRIPT"? NULL is none. */
bool resp_is_error(const struct resp *reply, const char *word);

#endif
