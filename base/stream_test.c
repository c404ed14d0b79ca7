#include "base/stream.h"

#include "base/buf.h"
#include "base/bug.h"
#include "tests/t.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { QUEUE_MAX = 8 * 1024 * 1024, LATE_MS = 60000 };

/* One stream under test, and a plain socket at its other end. */
struct bed {
    struct stream *stream;
    struct buf got;
    unsigned connects, drains, ends;
    int error;
    void (*close_in)(struct bed *bed); /* called within every callback */
};

static struct loop *loop;
static struct bed bed;
static int peer = -1;
static unsigned calls; /* of any callback */

static void on_late(void *arg)
{
    (void)arg;
    t_fail("it never happened");
}

static void run_until_called(void)
{
    struct timer late = {0};
    unsigned before = calls;

    timer_start(&late, loop, LATE_MS, on_late, NULL);
    while (calls == before)
        loop_run(loop);
    timer_stop(&late);
}

#define WAIT(condition)                                                                                      \
    while (!(condition))                                                                                     \
    run_until_called()

static void called(struct bed *b)
{
    calls++;
    loop_stop(loop);
    if (b->close_in != NULL)
        b->close_in(b);
}

static void on_connect(void *arg)
{
    struct bed *b = arg;

    b->connects++;
    called(b);
}

static void on_data(const char *bytes, size_t n, void *arg)
{
    struct bed *b = arg;

    t_true(n > 0 && b->ends == 0);
    buf_add(&b->got, bytes, n);
    called(b);
}

static void on_drain(void *arg)
{
    struct bed *b = arg;

    b->drains++;
    called(b);
}

static void on_end(int error, void *arg)
{
    struct bed *b = arg;

    b->ends++;
    b->error = error;
    called(b);
}

static const struct stream_events events = {on_connect, on_data, on_drain, on_end};

static int open_loop(void **state)
{
    (void)state;
    loop = loop_new();
    bed = (struct bed){0};
    buf_init(&bed.got, 64 * 1024 * 1024);
    return 0;
}

static int close_loop(void **state)
{
    (void)state;
    stream_close(&bed.stream);
    buf_fini(&bed.got);
    loop_free(&loop);
    if (peer >= 0)
        close(peer);
    peer = -1;
    return 0;
}

/* ---- the other end ---- */

static int listen_here(struct endpoint *at_out)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof(addr);
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    t_true(fd >= 0 && bind(fd, (struct sockaddr *)&addr, length) == 0 && listen(fd, 10) == 0);
    t_true(getsockname(fd, (struct sockaddr *)&addr, &length) == 0);
    endpoint_from_sockaddr((struct sockaddr *)&addr, at_out);
    return fd;
}

/* A stream that was accepted; its client is `peer`. */
static void open_accepted(size_t queue_max)
{
    struct sockaddr_storage addr;
    struct endpoint at;
    int listening = listen_here(&at), fd;

    peer = socket(AF_INET, SOCK_STREAM, 0);
    t_true(connect(peer, (struct sockaddr *)&addr, endpoint_to_sockaddr(&at, (struct sockaddr *)&addr)) == 0);
    fd = accept4(listening, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    t_true(fd >= 0);
    close(listening);
    bed.stream = stream_accept(loop, fd, queue_max, &events, &bed);
    calls = 0;
}

static void peer_says(const char *text)
{
    t_same_int(send(peer, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

/* All that comes until the end; -1 and errno when that is a reset. */
static ssize_t peer_reads_all(struct buf *text_out)
{
    char bytes[65536];
    ssize_t n;

    buf_init(text_out, 64 * 1024 * 1024);
    while ((n = recv(peer, bytes, sizeof(bytes), 0)) > 0)
        buf_add(text_out, bytes, (size_t)n);
    return n;
}

static void peer_resets(void)
{
    struct linger reset = {.l_onoff = 1, .l_linger = 0};

    setsockopt(peer, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
    close(peer);
    peer = -1;
}

static void say(const char *text)
{
    struct iovec piece = {(void *)text, strlen(text)};

    stream_write(bed.stream, &piece, 1);
}

/* Twice round the loop, by way of a socket of its own: what was ready before has been told. */
static bool barrier_reached;

static void on_barrier(unsigned ready, void *arg)
{
    (void)ready;
    (void)arg;
    barrier_reached = true;
    loop_stop(loop);
}

static void let_pass(void)
{
    int pair[2];

    t_same_int(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    t_same_int(write(pair[0], "x", 1), 1);
    for (int i = 0; i < 2; i++) {
        struct watch *watch = watch_start(loop, pair[1], WATCH_READ, on_barrier, NULL);

        barrier_reached = false;
        while (!barrier_reached)
            loop_run(loop);
        watch_stop(&watch);
    }
    close(pair[0]);
    close(pair[1]);
}

/* ---- connecting ---- */

static void test_connect(void **state)
{
    struct endpoint at, local;
    int listening = listen_here(&at);
    struct buf text;

    (void)state;
    t_case("nothing is called before stream_connect() has returned", NULL);
    bed.stream = stream_connect(loop, &at, QUEUE_MAX, &events, &bed);
    t_true(bed.stream != NULL);
    t_same_int(bed.connects, 0);
    t_case("what is written before the connection stands waits for it", NULL);
    say("early ");
    t_same_int(stream_queued(bed.stream), 6);
    WAIT(bed.connects == 1);
    peer = accept(listening, NULL, NULL);
    close(listening);
    say("late");
    t_case("both ends know each other", NULL);
    local = stream_local(bed.stream);
    at = stream_peer(bed.stream);
    t_true(ip_is_loopback(&local.ip) && ip_is_loopback(&at.ip) && local.port != at.port && at.port != 0);
    t_case("bytes go both ways", NULL);
    peer_says("hello");
    WAIT(bed.got.n == 5);
    t_same_str_z(buf_str(&bed.got), "hello");
    stream_close(&bed.stream);
    t_true(bed.stream == NULL);
    t_same_int(peer_reads_all(&text), 0);
    t_same_str_z(buf_str(&text), "early late");
    buf_fini(&text);
    t_same_int(bed.ends, 0);
}

static void test_connect_unix(void **state)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    char folder[] = "/tmp/stream_test.XXXXXX", too_long[200];
    int listening = socket(AF_UNIX, SOCK_STREAM, 0);

    (void)state;
    t_true(mkdtemp(folder) != NULL);
    snprintf(at.sun_path, sizeof(at.sun_path), "%s/s", folder);
    t_same_int(bind(listening, (struct sockaddr *)&at, sizeof(at)), 0);
    t_same_int(listen(listening, 1), 0);
    t_case("a Unix socket is a connection like any other", NULL);
    bed.stream = stream_connect_unix(loop, at.sun_path, QUEUE_MAX, &events, &bed);
    WAIT(bed.connects == 1);
    peer = accept(listening, NULL, NULL);
    peer_says("hello");
    WAIT(bed.got.n == 5);
    t_same_int(stream_peer(bed.stream).ip.family, 0);
    stream_close(&bed.stream);
    close(listening);
    unlink(at.sun_path);
    rmdir(folder);
    t_case("one that is not there, and one that cannot be", NULL);
    bed.stream = stream_connect_unix(loop, at.sun_path, QUEUE_MAX, &events, &bed);
    WAIT(bed.ends == 1);
    t_same_int(bed.error, ENOENT);
    stream_close(&bed.stream);
    memset(too_long, 'x', sizeof(too_long) - 1);
    too_long[sizeof(too_long) - 1] = '\0';
    bed.stream = stream_connect_unix(loop, too_long, QUEUE_MAX, &events, &bed);
    WAIT(bed.ends == 2);
    t_same_int(bed.error, ENAMETOOLONG);
}

static void test_connect_refused(void **state)
{
    struct endpoint at;

    (void)state;
    close(listen_here(&at)); /* nobody listens there now */
    t_case("a refused connection ends with its errno, later, and never connects", NULL);
    bed.stream = stream_connect(loop, &at, QUEUE_MAX, &events, &bed);
    calls = 0;
    say("never sent");
    t_same_int(bed.ends, 0);
    WAIT(bed.ends == 1);
    t_same_int(bed.error, ECONNREFUSED);
    t_same_int(bed.connects, 0);
    let_pass();
    t_same_int(bed.ends, 1);
    stream_close(&bed.stream);
    stream_close(&bed.stream); /* NULL is fine */
}

static void test_connect_closed(void **state)
{
    struct endpoint at;
    int listening = listen_here(&at);

    (void)state;
    t_case("closed before it stands: nothing is called", NULL);
    bed.stream = stream_connect(loop, &at, QUEUE_MAX, &events, &bed);
    stream_close(&bed.stream);
    let_pass();
    close(listening);
    listening = listen_here(&at);
    close(listening);
    bed.stream = stream_connect(loop, &at, QUEUE_MAX, &events, &bed); /* refused, not told yet */
    stream_close(&bed.stream);
    let_pass();
    t_same_int(bed.connects + bed.ends, 0);
}

/* ---- ends ---- */

static void test_half_close(void **state)
{
    struct buf text;

    (void)state;
    open_accepted(QUEUE_MAX);
    t_case("a peer that has ended its side may still be answered", "793 3.5");
    peer_says("QUIT\r\n");
    shutdown(peer, SHUT_WR);
    WAIT(bed.ends == 1);
    t_same_int(bed.error, 0);
    t_same_str_z(buf_str(&bed.got), "QUIT\r\n");
    say("221 Bye\r\n");
    let_pass();
    t_same_int(bed.ends, 1);
    stream_close(&bed.stream);
    t_same_int(peer_reads_all(&text), 0);
    t_same_str_z(buf_str(&text), "221 Bye\r\n");
    buf_fini(&text);
}

static void test_reset(void **state)
{
    (void)state;
    open_accepted(QUEUE_MAX);
    t_case("a reset is an error", NULL);
    peer_resets();
    WAIT(bed.ends == 1);
    t_same_int(bed.error, ECONNRESET);
    t_case("and what is written then does no harm", NULL);
    say("to nobody");
    let_pass();
    t_same_int(bed.ends, 1);
}

static void test_write_to_the_gone(void **state)
{
    char *much = calloc(1, 1024 * 1024);
    struct iovec piece = {much, 1024 * 1024};

    (void)state;
    open_accepted(QUEUE_MAX);
    stream_pause(bed.stream);
    t_case("writing to a peer that is gone: told once, and not from within the write", NULL);
    peer_resets();
    while (bed.ends == 0) {
        unsigned before = bed.ends;

        stream_write(bed.stream, &piece, 1);
        t_same_int(bed.ends, before);
        let_pass();
    }
    t_true(bed.error == EPIPE || bed.error == ECONNRESET);
    stream_write(bed.stream, &piece, 1);
    let_pass();
    t_same_int(bed.ends, 1);
    free(much);
}

static void test_last_words(void **state)
{
    struct buf text;
    char *much = calloc(1, 100000);

    (void)state;
    open_accepted(QUEUE_MAX);
    t_case("the last reply arrives although the peer has said more than we read", "5321 3.8");
    t_same_int(send(peer, much, 100000, MSG_NOSIGNAL), 100000);
    say("421 Go away\r\n");
    stream_close(&bed.stream);
    t_same_int(peer_reads_all(&text), 0);
    t_same_str_z(buf_str(&text), "421 Go away\r\n");
    buf_fini(&text);
    free(much);
}

static unsigned segments_to_peer(void)
{
    struct tcp_info info;
    socklen_t length = sizeof(info);

    t_same_int(getsockopt(peer, IPPROTO_TCP, TCP_INFO, &info, &length), 0);
    return info.tcpi_segs_in;
}

static void test_last_words_in_one_packet(void **state)
{
    struct buf text;
    unsigned before;

    (void)state;
    open_accepted(QUEUE_MAX);
    before = segments_to_peer();
    t_case("the last words and the end are one packet", NULL);
    stream_last_words(bed.stream);
    say("221 2.0.0 ");
    say("Bye\r\n");
    stream_close(&bed.stream);
    t_same_int(peer_reads_all(&text), 0);
    t_same_str_z(buf_str(&text), "221 2.0.0 Bye\r\n");
    t_same_int(segments_to_peer(), before + 1);
    buf_fini(&text);
}

static void test_last_words_to_one_who_ended(void **state)
{
    struct buf text;

    (void)state;
    open_accepted(QUEUE_MAX);
    t_same_int(shutdown(peer, SHUT_WR), 0);
    WAIT(bed.ends == 1);
    t_case("they reach one who has said all", NULL);
    stream_last_words(bed.stream);
    say("221 2.0.0 Bye\r\n");
    stream_close(&bed.stream);
    t_same_int(peer_reads_all(&text), 0);
    t_same_str_z(buf_str(&text), "221 2.0.0 Bye\r\n");
    buf_fini(&text);
}

static void test_abort(void **state)
{
    struct buf text;

    (void)state;
    open_accepted(QUEUE_MAX);
    t_case("an aborted stream is a reset for the peer", NULL);
    stream_abort(&bed.stream);
    t_true(bed.stream == NULL);
    stream_abort(&bed.stream); /* NULL is fine */
    t_same_int(peer_reads_all(&text), -1);
    t_same_int(errno, ECONNRESET);
    buf_fini(&text);
    let_pass();
    t_same_int(bed.ends, 0);
}

/* ---- writing more than the kernel takes ---- */

static char octet(size_t at)
{
    return (char)(at * 2654435761u >> 13);
}

static void test_queue(void **state)
{
    enum { ALL = 6 * 1024 * 1024, PIECES = 7 };
    char *bytes = malloc(ALL), *back = malloc(ALL);
    struct iovec pieces[PIECES];
    size_t got = 0, queued;

    (void)state;
    for (size_t i = 0; i < ALL; i++)
        bytes[i] = octet(i);
    for (size_t i = 0, at = 0; i < PIECES; i++) { /* an empty one among them */
        size_t n = i == 3 ? 0 : i == PIECES - 1 ? ALL - at : 700001;

        pieces[i] = (struct iovec){bytes + at, n};
        at += n;
    }
    open_accepted(QUEUE_MAX);
    t_case("what the kernel does not take is queued", NULL);
    stream_write(bed.stream, pieces, PIECES);
    queued = stream_queued(bed.stream);
    t_true(queued > 0 && queued < ALL);
    t_same_int(bed.drains, 0);
    memset(bytes, 0, ALL); /* it was copied */
    t_case("it leaves as the peer reads, in order, and the end of the queue is told once", NULL);
    fcntl(peer, F_SETFL, O_NONBLOCK);
    while (got < ALL) {
        ssize_t n = recv(peer, back + got, ALL - got, 0);

        if (n > 0)
            got += (size_t)n;
        else
            let_pass();
        t_true(stream_queued(bed.stream) <= queued);
        queued = stream_queued(bed.stream);
    }
    for (size_t i = 0; i < ALL; i++)
        if (back[i] != octet(i))
            t_fail("octet %zu is another one", i);
    let_pass();
    t_same_int(bed.drains, 1);
    t_same_int(stream_queued(bed.stream), 0);
    t_case("a write that the kernel takes whole is no drain", NULL);
    say("x");
    let_pass();
    t_same_int(bed.drains, 1);
    t_same_int(bed.ends, 0);
    free(bytes);
    free(back);
}

static void test_queue_max(void **state)
{
    char *much = calloc(1, 8 * 1024 * 1024);
    struct iovec piece = {much, 8 * 1024 * 1024};

    (void)state;
    open_accepted(1024 * 1024);
    t_case("beyond its limit the queue is an error, later", NULL);
    stream_write(bed.stream, &piece, 1);
    t_same_int(bed.ends, 0);
    WAIT(bed.ends == 1);
    t_same_int(bed.error, ENOBUFS);
    free(much);
}

/* ---- pausing ---- */

static void test_pause(void **state)
{
    (void)state;
    open_accepted(QUEUE_MAX);
    t_case("while it pauses nothing is read", NULL);
    stream_pause(bed.stream);
    peer_says("one");
    let_pass();
    t_same_int(bed.got.n, 0);
    t_case("not even the end", NULL);
    shutdown(peer, SHUT_WR);
    let_pass();
    t_same_int(bed.ends, 0);
    t_case("then all of it, in order", NULL);
    stream_resume(bed.stream);
    WAIT(bed.ends == 1);
    t_same_str_z(buf_str(&bed.got), "one");
}

static void test_pause_between(void **state)
{
    (void)state;
    open_accepted(QUEUE_MAX);
    peer_says("one");
    WAIT(bed.got.n == 3);
    stream_pause(bed.stream);
    peer_says("two");
    let_pass();
    t_same_int(bed.got.n, 3);
    t_case("writing goes on meanwhile", NULL);
    say("answer");
    {
        char text[6];

        t_same_int(recv(peer, text, sizeof(text), MSG_WAITALL), 6);
    }
    stream_resume(bed.stream);
    WAIT(bed.got.n == 6);
    t_same_str_z(buf_str(&bed.got), "onetwo");
}

/* ---- closing from inside ---- */

static void close_it(struct bed *b)
{
    stream_close(&b->stream);
}

static void test_close_inside(void **state)
{
    struct endpoint at;
    int listening;

    (void)state;
    bed.close_in = close_it;
    t_case("in on_data, with more to come", NULL);
    open_accepted(QUEUE_MAX);
    peer_says("one");
    shutdown(peer, SHUT_WR);
    WAIT(bed.stream == NULL);
    let_pass();
    t_same_int(bed.ends, 0);
    close(peer);

    t_case("in on_end", NULL);
    open_accepted(QUEUE_MAX);
    shutdown(peer, SHUT_WR);
    WAIT(bed.stream == NULL);
    t_same_int(bed.ends, 1);
    close(peer);

    t_case("in on_end of an error", NULL);
    open_accepted(QUEUE_MAX);
    peer_resets();
    WAIT(bed.stream == NULL);
    t_same_int(bed.ends, 2);

    t_case("in on_connect", NULL);
    listening = listen_here(&at);
    bed.stream = stream_connect(loop, &at, QUEUE_MAX, &events, &bed);
    say("queued");
    WAIT(bed.stream == NULL);
    t_same_int(bed.connects, 1);
    close(listening);

    t_case("in on_end of a refused connection", NULL);
    bed.stream = stream_connect(loop, &at, QUEUE_MAX, &events, &bed);
    WAIT(bed.stream == NULL);
    t_same_int(bed.ends, 3);
    let_pass();
}

static void test_close_in_drain(void **state)
{
    char *much = calloc(1, 6 * 1024 * 1024);
    struct iovec piece = {much, 6 * 1024 * 1024};
    ssize_t n = 1;

    (void)state;
    t_case("in on_drain", NULL);
    bed.close_in = close_it;
    open_accepted(QUEUE_MAX);
    stream_write(bed.stream, &piece, 1);
    t_true(stream_queued(bed.stream) > 0);
    fcntl(peer, F_SETFL, O_NONBLOCK);
    while (bed.stream != NULL && n != 0) {
        n = recv(peer, much, 65536, 0);
        if (n < 0)
            let_pass();
    }
    t_true(bed.stream == NULL);
    t_same_int(bed.drains, 1);
    free(much);
}

/* ---- listening ---- */

struct door {
    unsigned accepted;
    int fds[100];
    uint16_t ports[100];
};

static void on_accept(int fd, const struct endpoint *from, void *arg)
{
    struct door *door = arg;

    door->ports[door->accepted] = from->port;
    door->fds[door->accepted++] = fd;
    calls++;
    loop_stop(loop);
}

static const struct endpoint any_port = {.ip = {.family = 4, .b = {127, 0, 0, 1}}};

static struct endpoint with_port_of(int fd)
{
    struct sockaddr_in addr;
    socklen_t length = sizeof(addr);
    struct endpoint at = any_port;

    assert_int_equal(getsockname(fd, (struct sockaddr *)&addr, &length), 0);
    at.port = ntohs(addr.sin_port);
    return at;
}

static int connect_to(const struct endpoint *at)
{
    struct sockaddr_storage addr;
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    t_true(fd >= 0);
    t_same_int(connect(fd, (struct sockaddr *)&addr, endpoint_to_sockaddr(at, (struct sockaddr *)&addr)), 0);
    return fd;
}

static bool has_no_delay(int fd)
{
    int on = 0;
    socklen_t length = sizeof(on);

    t_same_int(getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, &length), 0);
    return on != 0;
}

static void test_listener(void **state)
{
    struct door door = {0};
    struct fail fail = {0};
    int fd = listener_bind(&any_port, &fail), client;
    struct endpoint at = with_port_of(fd);
    struct listener *listener = listener_start(loop, fd, on_accept, &door);

    (void)state;
    t_case("each connection is accepted, with the address it came from", NULL);
    for (unsigned i = 0; i < 3; i++) {
        client = connect_to(&at);
        WAIT(door.accepted == i + 1);
        t_same_int(with_port_of(client).port, door.ports[i]);
        t_true((fcntl(door.fds[i], F_GETFL) & O_NONBLOCK) && (fcntl(door.fds[i], F_GETFD) & FD_CLOEXEC));
        t_true(has_no_delay(door.fds[i]));
        close(client);
        close(door.fds[i]);
    }
    t_case("a stopped listener accepts nobody", NULL);
    listener_stop(&listener);
    t_true(listener == NULL);
    listener_stop(&listener);
    let_pass();
    t_same_int(door.accepted, 3);
}

/* ENOMEM, ENOBUFS and the like cannot be made here; the want of descriptors can. */
static void test_no_descriptors(void **state)
{
    struct door door = {0};
    struct fail fail = {0};
    int fd = listener_bind(&any_port, &fail), clients[3], filler[64], filled = 0;
    struct endpoint at = with_port_of(fd);
    struct listener *listener = listener_start(loop, fd, on_accept, &door);
    struct rlimit before, few;
    struct buf text;

    (void)state;
    for (int i = 0; i < 3; i++)
        clients[i] = connect_to(&at);
    WAIT(door.accepted == 3);
    for (int i = 0; i < 3; i++)
        close(door.fds[i]);
    for (int i = 0; i < 3; i++) {
        close(clients[i]);
        clients[i] = socket(AF_INET, SOCK_STREAM, 0);
    }
    t_same_int(getrlimit(RLIMIT_NOFILE, &before), 0);
    few = before;
    few.rlim_cur = 40;
    t_same_int(setrlimit(RLIMIT_NOFILE, &few), 0);
    while (filled < 64 && (filler[filled] = open("/dev/null", O_RDONLY)) >= 0)
        filled++;
    t_same_int(errno, EMFILE);
    t_case("without descriptors clients are told 421, not left hanging", "5321 3.8");
    for (int i = 0; i < 3; i++) {
        struct sockaddr_storage addr;

        t_same_int(connect(clients[i], (struct sockaddr *)&addr,
                           endpoint_to_sockaddr(&at, (struct sockaddr *)&addr)),
                   0);
    }
    for (int i = 0; i < 3; i++) {
        struct pollfd wait = {.fd = clients[i], .events = POLLIN};

        while (poll(&wait, 1, 0) == 0) {
            struct timer turn = {0};

            timer_start(&turn, loop, 1, (loop_fn *)loop_stop, loop);
            loop_run(loop);
            timer_stop(&turn);
        }
        peer = clients[i];
        t_same_int(peer_reads_all(&text), 0);
        t_true(str_starts(buf_str(&text), STR("421 4.3.2 ")));
        buf_fini(&text);
    }
    t_same_int(door.accepted, 3);
    t_case("and when there are some again, they are accepted again", NULL);
    while (filled > 0)
        close(filler[--filled]);
    t_same_int(setrlimit(RLIMIT_NOFILE, &before), 0);
    close(clients[0]);
    clients[0] = connect_to(&at);
    WAIT(door.accepted == 4);
    close(door.fds[3]);
    for (int i = 0; i < 3; i++)
        close(clients[i]);
    peer = -1;
    listener_stop(&listener);
}

/* ---- a port that is taken ---- */

/* The workers share a port, a second daemon must not: it would get half of the clients, and nobody would
 * know. */
static void test_a_port_has_one_program(void **state)
{
    struct fail fail = {0};
    int first = listener_bind(&any_port, &fail), second;
    struct endpoint at = with_port_of(first);

    (void)state;
    assert_int_equal(listener_probe(&at, &fail), -1);
    assert_non_null(strstr(fail.text, "cannot listen on 127.0.0.1 port"));
    second = listener_bind(&at, &fail);
    assert_true(second >= 0);
    close(first);
    assert_int_equal(listener_probe(&at, &fail), -1);
    close(second);
    assert_int_equal(listener_probe(&at, &fail), 0);
}

#define ON_LOOP(test) cmocka_unit_test_setup_teardown(test, open_loop, close_loop)

int main(void)
{
    static const struct CMUnitTest tests[] = {
        ON_LOOP(test_connect),
        ON_LOOP(test_connect_unix),
        ON_LOOP(test_connect_refused),
        ON_LOOP(test_connect_closed),
        ON_LOOP(test_half_close),
        ON_LOOP(test_reset),
        ON_LOOP(test_write_to_the_gone),
        ON_LOOP(test_last_words),
        ON_LOOP(test_last_words_in_one_packet),
        ON_LOOP(test_last_words_to_one_who_ended),
        ON_LOOP(test_abort),
        ON_LOOP(test_queue),
        ON_LOOP(test_queue_max),
        ON_LOOP(test_pause),
        ON_LOOP(test_pause_between),
        ON_LOOP(test_close_inside),
        ON_LOOP(test_close_in_drain),
        ON_LOOP(test_listener),
        ON_LOOP(test_no_descriptors),
        cmocka_unit_test(test_a_port_has_one_program),
    };

    return cmocka_run_group_tests_name("stream", tests, NULL, NULL);
}
