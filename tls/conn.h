/*
 * tls/conn.h - a connection that may become encrypted: base/stream.h with tls/tls.h inside
 *
 * Ownership  conn_close() ends it at once: no callback runs afterwards. Its memory goes on a later turn of
 *            the loop, so it may be closed from inside its own callbacks.
 * Timing     As base/stream.h. After conn_start_tls_…() plaintext flows again once `on_tls` said so; what is
 *            written before that is dropped.
 * Errors     `on_end` once: `error` 0 for an orderly end; the sentence is for the log.
 */
#ifndef TLS_CONN_H
#define TLS_CONN_H

#include "base/stream.h"
#include "tls/tls.h"

struct conn;

struct conn_events {
    void (*on_connect)(void *arg);
    void (*on_data)(const char *bytes, size_t n, void *arg);
    void (*on_drain)(void *arg);
    void (*on_tls)(void *arg);                             /* the handshake is done */
    void (*on_end)(int error, const char *why, void *arg); /* a failed handshake ends the connection, too */
};

struct conn *conn_accept(struct loop *loop, int fd, const struct conn_events *events, void *arg);
struct conn *conn_connect(struct loop *loop, const struct endpoint *to, const struct conn_events *events,
                          void *arg);
struct conn *conn_connect_unix(struct loop *loop, const char *path, const struct conn_events *events,
                               void *arg);
void conn_close(struct conn **conn);

/* Hands over octets that were read as plaintext, but belong to what has begun since (TLS), as if they came
 * now. */
void conn_receive(struct conn *conn, const char *bytes, size_t n);

/* What was written before leaves in plaintext first. */
void conn_start_tls_server(struct conn *conn, struct tls_context *context);
void conn_start_tls_client(struct conn *conn, struct tls_context *context, const char *server_name);
const struct tls_engine *conn_tls(const struct conn *conn); /* NULL in plaintext and while shaking hands */

void conn_write(struct conn *conn, const struct iovec *pieces, int count);
void conn_write_buf(struct conn *conn, struct buf *out); /* all of it; leaves it empty */
void conn_last_words(struct conn *conn); /* as stream_last_words(): conn_close() follows at once */
size_t conn_queued(const struct conn *conn);
void conn_pause(struct conn *conn);
void conn_resume(struct conn *conn);
struct endpoint conn_local(const struct conn *conn);

#endif
