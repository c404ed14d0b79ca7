#include "base/stream.h"

#include "base/bug.h"
#include "base/buf.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { BACKLOG = 1024, ACCEPTS_A_TURN = 64 };

struct stream {
    struct loop *loop;
    int fd;
    struct watch *watch;
    struct stream_events events;
    void *arg;
    struct buf queue;
    struct later trouble; /* errors are told on a later turn, never from inside stream_write() */
    int error;
    bool connecting, paused, ended, last_words;
};

static void on_ready(unsigned ready, void *arg);

static void *get_memory(size_t bytes)
{
    void *p = calloc(1, bytes);

    if (p == NULL)
        out_of_memory();
    return p;
}

static struct stream *new_stream(struct loop *loop, int fd, size_t queue_max,
                                 const struct stream_events *events, void *arg)
{
    struct stream *stream = get_memory(sizeof(*stream));

    stream->loop = loop;
    stream->fd = fd;
    stream->events = *events;
    stream->arg = arg;
    buf_init(&stream->queue, queue_max);
    return stream;
}

/* Without this a reply that follows a reply waits 40 ms for the peer's delayed acknowledgement. What a listening socket
 * accepts has it, too. */
static void set_no_delay(int fd)
{
    int on = 1;

    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

struct stream *stream_accept(struct loop *loop, int fd, size_t queue_max, const struct stream_events *events,
                             void *arg)
{
    struct stream *stream = new_stream(loop, fd, queue_max, events, arg);

    stream->watch = watch_start(loop, fd, WATCH_READ, on_ready, stream);
    return stream;
}

static void on_trouble(void *arg)
{
    struct stream *stream = arg;

    watch_stop(&stream->watch); /* of an ended one too: an error keeps its descriptor ready for ever */
    if (stream->ended)
        return;
    stream->ended = true;
    stream->events.on_end(stream->error, stream->arg);
}

static void fail_later(struct stream *stream, int error)
{
    stream->error = error;
    buf_clear(&stream->queue);
    later_start(&stream->trouble, stream->loop, on_trouble, stream);
}

/* `error`: there is no such address. */
static struct stream *connect_to(struct loop *loop, const struct sockaddr *addr, unsigned length, int error,
                                 size_t queue_max, const struct stream_events *events, void *arg)
{
    int fd = socket(addr->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct stream *stream;

    if (fd < 0)
        error = errno;

    if (fd < 0) /* a stream that fails on the next turn, so that callers have one way of failing */
        fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return NULL;
    set_no_delay(fd);
    stream = new_stream(loop, fd, queue_max, events, arg);
    stream->connecting = true;
    if (error == 0 && connect(fd, addr, length) != 0 && errno != EINPROGRESS)
        error = errno;
    if (error != 0)
        fail_later(stream, error);
    else
        stream->watch = watch_start(loop, fd, WATCH_WRITE, on_ready, stream);
    return stream;
}

struct stream *stream_connect(struct loop *loop, const struct endpoint *to, size_t queue_max,
                              const struct stream_events *events, void *arg)
{
    struct sockaddr_storage addr;
    unsigned length = endpoint_to_sockaddr(to, (struct sockaddr *)&addr);

    return connect_to(loop, (struct sockaddr *)&addr, length, 0, queue_max, events, arg);
}

struct stream *stream_connect_unix(struct loop *loop, const char *path, size_t queue_max,
                                   const struct stream_events *events, void *arg)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int error = strlen(path) < sizeof(addr.sun_path) ? 0 : ENAMETOOLONG;

    strncpy(addr.sun_path, path, sizeof(addr.sun_path) - 1);
    return connect_to(loop, (struct sockaddr *)&addr, sizeof(addr), error, queue_max, events, arg);
}

/* Closing a socket with unread input makes the kernel send a reset, which can overtake our last reply (a 421,
 * say): so what has arrived is read away first. */
static void discard_input(struct stream *stream)
{
    char waste[4096]; /* not the loop's scratch: somebody may be reading from that */

    for (int i = 0; i < 32; i++)
        if (recv(stream->fd, waste, sizeof(waste), MSG_DONTWAIT) <= 0)
            return;
}

/* Ends without waiting for the kernel's send buffer: the kernel goes on sending after close(). What it has
 * not taken yet is offered once more; a peer that does not read loses it. */
void stream_close(struct stream **stream)
{
    struct stream *s = *stream;

    if (s == NULL)
        return;
    *stream = NULL;
    if (s->queue.n > 0 && !s->connecting)
        (void)!send(s->fd, s->queue.p, s->queue.n, MSG_NOSIGNAL | MSG_DONTWAIT);
    later_cancel(&s->trouble);
    watch_stop(&s->watch);
    if (!s->connecting && !s->ended) {
        shutdown(s->fd, SHUT_WR);
        discard_input(s);
    }
    close(s->fd);
    buf_fini(&s->queue);
    free(s);
}

void stream_abort(struct stream **stream)
{
    struct linger reset = {.l_onoff = 1, .l_linger = 0};

    if (*stream == NULL)
        return;
    setsockopt((*stream)->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
    (*stream)->ended = true;
    buf_clear(&(*stream)->queue);
    stream_close(stream);
}

static unsigned wanted_events(const struct stream *stream)
{
    unsigned events = 0;

    if (stream->connecting)
        return WATCH_WRITE;
    if (!stream->paused && !stream->ended)
        events |= WATCH_READ;
    if (stream->queue.n > 0)
        events |= WATCH_WRITE;
    return events;
}

static void on_connected(struct stream *stream)
{
    int error = 0;
    socklen_t length = sizeof(error);

    if (getsockopt(stream->fd, SOL_SOCKET, SO_ERROR, &error, &length) != 0)
        error = errno;
    if (error == EINPROGRESS)
        return;
    if (error != 0) {
        watch_events(stream->watch, 0);
        fail_later(stream, error);
        return;
    }
    stream->connecting = false;
    watch_events(stream->watch, wanted_events(stream));
    stream->events.on_connect(stream->arg);
}

/* Returns whether the stream may still be touched: on_drain may close it. */
static bool send_queue(struct stream *stream)
{
    ssize_t n = send(stream->fd, stream->queue.p, stream->queue.n, MSG_NOSIGNAL);

    if (n < 0) {
        if (errno != EAGAIN && errno != EINTR)
            fail_later(stream, errno);
        return true;
    }
    buf_consume(&stream->queue, (size_t)n);
    if (stream->queue.n > 0)
        return true;
    watch_events(stream->watch, wanted_events(stream));
    if (stream->events.on_drain == NULL)
        return true;
    stream->events.on_drain(stream->arg);
    return false;
}

static void receive(struct stream *stream)
{
    char *scratch = loop_scratch(stream->loop);
    ssize_t n = recv(stream->fd, scratch, LOOP_SCRATCH_BYTES, 0);
    int error = n < 0 ? errno : 0;

    if (n > 0) {
        stream->events.on_data(scratch, (size_t)n, stream->arg);
        return;
    }
    if (error == EAGAIN || error == EINTR)
        return;
    stream->ended = true;
    watch_events(stream->watch, wanted_events(stream));
    stream->events.on_end(error, stream->arg);
}

/* One direction a turn: a callback may close the stream, and readiness is level-triggered, so nothing is
 * missed. */
static void on_ready(unsigned ready, void *arg)
{
    struct stream *stream = arg;

    if (stream->connecting) {
        on_connected(stream);
        return;
    }
    if ((ready & WATCH_WRITE) && stream->queue.n > 0 && !send_queue(stream))
        return;
    if ((ready & WATCH_READ) && !stream->paused && !stream->ended && stream->error == 0)
        receive(stream);
}

static void queue_rest(struct stream *stream, const struct iovec *pieces, int count, size_t sent)
{
    for (int i = 0; i < count; i++) {
        size_t skip = sent < pieces[i].iov_len ? sent : pieces[i].iov_len;

        sent -= skip;
        buf_add(&stream->queue, (const char *)pieces[i].iov_base + skip, pieces[i].iov_len - skip);
    }
    if (stream->queue.overflow)
        fail_later(stream, ENOBUFS);
    else if (stream->watch != NULL)
        watch_events(stream->watch, wanted_events(stream));
}

void stream_write(struct stream *stream, const struct iovec *pieces, int count)
{
    struct msghdr message = {.msg_iov = (struct iovec *)pieces, .msg_iovlen = (size_t)count};
    size_t total = 0;
    ssize_t n = 0;

    if (stream->error != 0)
        return;
    for (int i = 0; i < count; i++)
        total += pieces[i].iov_len;
    if (stream->queue.n == 0 && !stream->connecting) {
        n = sendmsg(stream->fd, &message, MSG_NOSIGNAL | (stream->last_words ? MSG_MORE : 0));
        if (n < 0 && errno != EAGAIN && errno != EINTR) {
            fail_later(stream, errno);
            return;
        }
    }
    if (n < 0)
        n = 0;
    if ((size_t)n < total)
        queue_rest(stream, pieces, count, (size_t)n);
}

void stream_last_words(struct stream *stream)
{
    stream->last_words = true;
}

size_t stream_queued(const struct stream *stream)
{
    return stream->queue.n;
}

void stream_pause(struct stream *stream)
{
    stream->paused = true;
    if (stream->watch != NULL)
        watch_events(stream->watch, wanted_events(stream));
}

void stream_resume(struct stream *stream)
{
    stream->paused = false;
    if (stream->watch != NULL)
        watch_events(stream->watch, wanted_events(stream));
}

static struct endpoint name_of(const struct stream *stream,
                               int (*get)(int, struct sockaddr *restrict, socklen_t *restrict))
{
    struct sockaddr_storage addr;
    socklen_t length = sizeof(addr);
    struct endpoint endpoint = {0};

    if (get(stream->fd, (struct sockaddr *)&addr, &length) == 0)
        endpoint_from_sockaddr((struct sockaddr *)&addr, &endpoint);
    return endpoint;
}

struct endpoint stream_peer(const struct stream *stream)
{
    return name_of(stream, getpeername);
}

struct endpoint stream_local(const struct stream *stream)
{
    return name_of(stream, getsockname);
}

/* ---- listening ---- */

struct listener {
    struct loop *loop;
    int fd, reserve; /* a descriptor kept back, to tell clients 421 when there is no other */
    struct watch *watch;
    listener_fn *on_accept;
    void *arg;
};

static int open_reserve(void)
{
    return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static int open_bound(const struct endpoint *at, bool shared, struct fail *fail)
{
    struct sockaddr_storage addr;
    unsigned length = endpoint_to_sockaddr(at, (struct sockaddr *)&addr);
    int on = 1, off = 0;
    int fd = socket(addr.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    char text[IP_TEXT_MAX];

    if (fd < 0)
        return fail_errno(fail, "cannot make a socket");
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (shared)
        setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on));
    if (at->ip.family == 6 && ip_is_any(&at->ip)) /* "[::]:25" takes IPv4 too */
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
    if (bind(fd, (struct sockaddr *)&addr, length) != 0 || (shared && listen(fd, BACKLOG) != 0)) {
        fail_errno(fail, "cannot listen on %s port %u", ip_format(&at->ip, text), at->port);
        close(fd);
        return -1;
    }
    return fd;
}

int listener_probe(const struct endpoint *at, struct fail *fail)
{
    int fd = open_bound(at, false, fail);

    if (fd < 0)
        return -1;
    close(fd);
    return 0;
}

int listener_bind(const struct endpoint *at, struct fail *fail)
{
    return open_bound(at, true, fail);
}

static void refuse_for_want_of_descriptors(struct listener *listener)
{
    static const char text[] = "421 4.3.2 Too many connections, try again later\r\n";
    int fd;

    if (listener->reserve >= 0)
        close(listener->reserve);
    fd = accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd >= 0) {
        (void)!send(fd, text, sizeof(text) - 1, MSG_NOSIGNAL);
        close(fd);
    }
    listener->reserve = open_reserve();
}

static void on_acceptable(unsigned ready, void *arg)
{
    struct listener *listener = arg;

    (void)ready;
    for (int i = 0; i < ACCEPTS_A_TURN; i++) {
        struct sockaddr_storage addr;
        socklen_t length = sizeof(addr);
        struct endpoint peer = {0};
        int fd = accept4(listener->fd, (struct sockaddr *)&addr, &length, SOCK_CLOEXEC | SOCK_NONBLOCK);

        if (fd < 0 && (errno == EMFILE || errno == ENFILE))
            refuse_for_want_of_descriptors(listener);
        else if (fd < 0 && errno != ECONNABORTED && errno != EINTR)
            return;
        if (fd < 0)
            continue;
        endpoint_from_sockaddr((struct sockaddr *)&addr, &peer);
        listener->on_accept(fd, &peer, listener->arg);
    }
}

struct listener *listener_start(struct loop *loop, int fd, listener_fn *on_accept, void *arg)
{
    struct listener *listener = get_memory(sizeof(*listener));

    *listener = (struct listener){loop, fd, open_reserve(), NULL, on_accept, arg};
    set_no_delay(fd);
    listener->watch = watch_start(loop, fd, WATCH_READ, on_acceptable, listener);
    return listener;
}

void listener_stop(struct listener **listener)
{
    struct listener *l = *listener;

    if (l == NULL)
        return;
    *listener = NULL;
    watch_stop(&l->watch);
    close(l->fd);
    if (l->reserve >= 0)
        close(l->reserve);
    free(l);
}
