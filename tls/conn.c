#include "tls/conn.h"

#include "base/bug.h"

#include <stdlib.h>
#include <string.h>

/* A queue holds what the kernel did not take of one piece of a message, or the replies of one group of
 * commands. */
enum { QUEUE_MAX = 4 * 1024 * 1024, PLAIN_MAX = 1024 * 1024, WIRE_MAX = QUEUE_MAX };

struct conn {
    struct loop *loop;
    struct stream *stream;
    struct conn_events events;
    void *arg;
    struct tls_engine *tls;
    bool tls_open, closed, ended;
    struct later burial;
};

static void on_connect(void *arg)
{
    struct conn *conn = arg;

    conn->events.on_connect(conn->arg);
}

static void on_drain(void *arg)
{
    struct conn *conn = arg;

    if (conn->events.on_drain != NULL)
        conn->events.on_drain(conn->arg);
}

static void end(struct conn *conn, int error, const char *why)
{
    if (conn->ended || conn->closed)
        return;
    conn->ended = true;
    conn->events.on_end(error, why, conn->arg);
}

static void on_end(int error, void *arg)
{
    struct conn *conn = arg;

    end(conn, error, error != 0 ? strerror(error) : "end of input");
}

static void write_wire(struct conn *conn, struct buf *wire)
{
    struct iovec piece = {wire->p, wire->n};

    if (wire->n > 0 && conn->stream != NULL)
        stream_write(conn->stream, &piece, 1);
    buf_fini(wire);
}

/* Plaintext goes up first, then the end, if there is one: either callback may close the connection. */
static void on_tls_data(struct conn *conn, const char *bytes, size_t n)
{
    struct buf plain, wire;
    enum tls_status status;

    buf_init(&plain, PLAIN_MAX);
    buf_init(&wire, WIRE_MAX);
    status = tls_receive(conn->tls, bytes, n, &plain, &wire);
    write_wire(conn, &wire);
    if (status == TLS_OPEN && !conn->tls_open) {
        conn->tls_open = true;
        conn->events.on_tls(conn->arg);
    }
    if (plain.n > 0 && !conn->closed)
        conn->events.on_data(plain.p, plain.n, conn->arg);
    buf_fini(&plain);
    if (status == TLS_ENDED)
        end(conn, 0, "end of input");
    else if (status == TLS_FAILED && !conn->closed)
        end(conn, -1, tls_engine_why(conn->tls));
}

static void on_data(const char *bytes, size_t n, void *arg)
{
    struct conn *conn = arg;

    if (conn->tls != NULL)
        on_tls_data(conn, bytes, n);
    else
        conn->events.on_data(bytes, n, conn->arg);
}

void conn_receive(struct conn *conn, const char *bytes, size_t n)
{
    on_data(bytes, n, conn);
}

static const struct stream_events stream_callbacks = {on_connect, on_data, on_drain, on_end};

static struct conn *new_conn(struct loop *loop, const struct conn_events *events, void *arg)
{
    struct conn *conn = calloc(1, sizeof(*conn));

    if (conn == NULL)
        out_of_memory();
    conn->loop = loop;
    conn->events = *events;
    conn->arg = arg;
    return conn;
}

struct conn *conn_accept(struct loop *loop, int fd, const struct conn_events *events, void *arg)
{
    struct conn *conn = new_conn(loop, events, arg);

    conn->stream = stream_accept(loop, fd, QUEUE_MAX, &stream_callbacks, conn);
    return conn;
}

static struct conn *with_stream(struct conn *conn, struct stream *stream)
{
    if (stream == NULL) {
        free(conn);
        return NULL;
    }
    conn->stream = stream;
    return conn;
}

struct conn *conn_connect(struct loop *loop, const struct endpoint *to, const struct conn_events *events,
                          void *arg)
{
    struct conn *conn = new_conn(loop, events, arg);

    return with_stream(conn, stream_connect(loop, to, QUEUE_MAX, &stream_callbacks, conn));
}

struct conn *conn_connect_unix(struct loop *loop, const char *path, const struct conn_events *events,
                               void *arg)
{
    struct conn *conn = new_conn(loop, events, arg);

    return with_stream(conn, stream_connect_unix(loop, path, QUEUE_MAX, &stream_callbacks, conn));
}

static void bury(void *arg)
{
    struct conn *conn = arg;

    tls_engine_free(&conn->tls);
    free(conn);
}

void conn_close(struct conn **conn)
{
    struct conn *c = *conn;
    struct buf wire;

    if (c == NULL)
        return;
    *conn = NULL;
    c->closed = true;
    if (c->tls_open && !c->ended) {
        stream_last_words(c->stream);
        buf_init(&wire, WIRE_MAX);
        tls_finish(c->tls, &wire);
        write_wire(c, &wire);
    }
    stream_close(&c->stream);
    later_start(&c->burial, c->loop, bury, c);
}

void conn_start_tls_server(struct conn *conn, struct tls_context *context)
{
    conn->tls = tls_server_engine(context);
}

void conn_start_tls_client(struct conn *conn, struct tls_context *context, const char *server_name)
{
    conn->tls = tls_client_engine(context, server_name);
    on_tls_data(conn, "", 0);
}

const struct tls_engine *conn_tls(const struct conn *conn)
{
    return conn->tls_open ? conn->tls : NULL;
}

void conn_write(struct conn *conn, const struct iovec *pieces, int count)
{
    struct buf wire;

    /* A peer that has ended its side may still read ours. Within a handshake nothing can be said. */
    if (conn->closed || (conn->tls != NULL && !conn->tls_open))
        return;
    if (conn->tls == NULL) {
        stream_write(conn->stream, pieces, count);
        return;
    }
    buf_init(&wire, WIRE_MAX);
    for (int i = 0; i < count; i++)
        if (tls_send(conn->tls, pieces[i].iov_base, pieces[i].iov_len, &wire) == TLS_FAILED)
            break; /* the peer's side of it, or our next read, ends the connection */
    write_wire(conn, &wire);
}

void conn_write_buf(struct conn *conn, struct buf *out)
{
    struct iovec piece = {out->p, out->n};

    if (out->n > 0)
        conn_write(conn, &piece, 1);
    buf_clear(out);
}

void conn_last_words(struct conn *conn)
{
    stream_last_words(conn->stream);
}

size_t conn_queued(const struct conn *conn)
{
    return conn->stream != NULL ? stream_queued(conn->stream) : 0;
}

void conn_pause(struct conn *conn)
{
    stream_pause(conn->stream);
}

void conn_resume(struct conn *conn)
{
    stream_resume(conn->stream);
}

struct endpoint conn_local(const struct conn *conn)
{
    return stream_local(conn->stream);
}
