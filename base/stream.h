/*
 * base/stream.h - connections (TCP, or a Unix socket) and listening sockets on a loop
 *
 * Ownership  stream_close() ends a stream at once; no callback runs afterwards and the memory is
 *            gone. It may be called from inside any of the stream's own callbacks.
 * Timing     Callbacks never run before the call that started the stream has returned.
 * Writing    stream_write() gives the kernel what it takes now and keeps the rest in a queue of
 *            its own (at most `queue_max`; beyond it the stream fails with ENOBUFS). `on_drain`
 *            runs when a queue that was not empty has become empty: write in pieces, and write
 *            the next when stream_queued() is 0.
 * Errors     `on_end` runs once: 0 for the peer's end of file, else an errno.
 */
#ifndef BASE_STREAM_H
#define BASE_STREAM_H

#include "base/ip.h"
#include "base/loop.h"

#include <sys/uio.h>

struct stream;

struct stream_events {
    void (*on_connect)(void *arg);                           /* only after stream_connect() */
    void (*on_data)(const char *bytes, size_t n, void *arg); /* bytes are good until it returns */
    void (*on_drain)(void *arg);                             /* may be NULL */
    void (*on_end)(int error, void *arg);
};

struct stream *stream_accept(struct loop *loop, int fd, size_t queue_max, const struct stream_events *events,
                             void *arg);
struct stream *stream_connect(struct loop *loop, const struct endpoint *to, size_t queue_max,
                              const struct stream_events *events, void *arg);
/* To a socket of the file system; a path that is too long is an error like any other. */
struct stream *stream_connect_unix(struct loop *loop, const char *path, size_t queue_max,
                                   const struct stream_events *events, void *arg);
void stream_close(struct stream **stream); /* tries to send what is queued first; NULL is fine; leaves NULL */
void stream_abort(struct stream **stream); /* the same with a reset */

void stream_write(struct stream *stream, const struct iovec *pieces, int count);
/* What is written from here on leaves with the end, in one packet: stream_close() must follow before the loop turns. */
void stream_last_words(struct stream *stream);
size_t stream_queued(const struct stream *stream);
void stream_pause(struct stream *stream);  /* no on_data until stream_resume() */
void stream_resume(struct stream *stream); /* a new stream is reading */
struct endpoint stream_peer(const struct stream *stream);
struct endpoint stream_local(const struct stream *stream);

/* A listening socket with SO_REUSEPORT, so that each worker has its own. */
struct listener;
typedef void listener_fn(int fd, const struct endpoint *peer, void *arg); /* takes the descriptor */

/* 0 when nobody listens there. To be asked once, before the first listener_bind(): that one shares the port
 * with every other program of the same user that does so too, and a daemon started twice would serve half of
 * the clients. */
int listener_probe(const struct endpoint *at, struct fail *fail);
/* Binds and listens; the descriptor survives a drop of privileges. -1 and a fail on error. */
int listener_bind(const struct endpoint *at, struct fail *fail);
struct listener *listener_start(struct loop *loop, int fd, listener_fn *on_accept, void *arg); /* takes fd */
void listener_stop(struct listener **listener);

#endif
