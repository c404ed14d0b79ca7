#include "tls/conn.h"

#include "base/bug.h"
#include "tests/certificate.h"
#include "tests/t.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

enum { LATE_MS = 60000 };

/* Two connections on one loop, each the other's peer. */
struct end {
    struct conn *conn;
    struct buf got;
    char story[32]; /* c connect, t handshake done, d data (once in a row), r drained, e end */
    int error;
    char why[200];
    char close_at; /* in the callback of that letter */
};

static char folder[] = "/tmp/conn_test.XXXXXX";
static char cert_path[64], key_path[64];
static struct tls_context *server_context, *client_context, *strict_context;
static struct loop *loop;
static struct end us, them;
static unsigned calls;

static int make_contexts(void **state)
{
    struct fail fail = {0};
    struct tls_settings settings = {.pair = {cert_path, key_path}, .ciphers = ""};

    (void)state;
    if (mkdtemp(folder) == NULL)
        return 1;
    snprintf(cert_path, sizeof(cert_path), "%s/cert.pem", folder);
    snprintf(key_path, sizeof(key_path), "%s/key.pem", folder);
    if (!certificate_make(cert_path, key_path, "mx.test", 30, NULL))
        return 1;
    server_context = tls_server_context(&settings, &fail);
    client_context = tls_client_context(TLS_VERIFY_NOTHING, &fail);
    strict_context = tls_client_context(TLS_VERIFY_NAME, &fail);
    return server_context == NULL || client_context == NULL || strict_context == NULL;
}

static int drop_contexts(void **state)
{
    (void)state;
    tls_context_unref(&server_context);
    tls_context_unref(&client_context);
    tls_context_unref(&strict_context);
    unlink(cert_path);
    unlink(key_path);
    return rmdir(folder);
}

static void on_late(void *arg)
{
    (void)arg;
    t_fail("it never happened");
}

#define WAIT(condition)                                                                                      \
    while (!(condition))                                                                                     \
    run_until_called()

static void run_until_called(void)
{
    struct timer late = {0};
    unsigned before = calls;

    timer_start(&late, loop, LATE_MS, on_late, NULL);
    while (calls == before)
        loop_run(loop);
    timer_stop(&late);
}

static void tell(struct end *end, char letter)
{
    size_t n = strlen(end->story);

    calls++;
    loop_stop(loop);
    if (letter != 'd' || n == 0 || end->story[n - 1] != 'd') {
        t_true(n + 1 < sizeof(end->story));
        end->story[n] = letter;
    }
    if (end->close_at == letter)
        conn_close(&end->conn);
}

static void on_connect(void *arg)
{
    tell(arg, 'c');
}

static void on_data(const char *bytes, size_t n, void *arg)
{
    struct end *end = arg;

    t_true(n > 0);
    buf_add(&end->got, bytes, n);
    tell(end, 'd');
}

static void on_drain(void *arg)
{
    tell(arg, 'r');
}

static void on_tls(void *arg)
{
    tell(arg, 't');
}

static void on_end(int error, const char *why, void *arg)
{
    struct end *end = arg;

    end->error = error;
    snprintf(end->why, sizeof(end->why), "%s", why);
    tell(end, 'e');
}

static const struct conn_events events = {on_connect, on_data, on_drain, on_tls, on_end};

/* `them` has connected to `us`. */
static void open_pair(void)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof(addr);
    int listening = socket(AF_INET, SOCK_STREAM, 0), fd;
    struct endpoint at;

    t_true(listening >= 0 && bind(listening, (struct sockaddr *)&addr, length) == 0);
    t_true(listen(listening, 1) == 0 && getsockname(listening, (struct sockaddr *)&addr, &length) == 0);
    endpoint_from_sockaddr((struct sockaddr *)&addr, &at);
    us = them = (struct end){0};
    buf_init(&us.got, 64 * 1024 * 1024);
    buf_init(&them.got, 64 * 1024 * 1024);
    them.conn = conn_connect(loop, &at, &events, &them);
    t_true(them.conn != NULL);
    fd = accept4(listening, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    close(listening);
    us.conn = conn_accept(loop, fd, &events, &us);
    WAIT(*them.story == 'c');
    them.story[0] = '\0';
}

static void close_pair(void)
{
    conn_close(&us.conn);
    conn_close(&them.conn);
    buf_fini(&us.got);
    buf_fini(&them.got);
}

static void open_tls_pair(void)
{
    open_pair();
    conn_start_tls_server(us.conn, server_context);
    conn_start_tls_client(them.conn, client_context, NULL);
    WAIT(us.story[0] == 't' && them.story[0] == 't');
}

static void open_either(bool tls)
{
    if (tls)
        open_tls_pair();
    else
        open_pair();
}

static int open_loop(void **state)
{
    (void)state;
    loop = loop_new();
    return 0;
}

static int close_loop(void **state)
{
    (void)state;
    close_pair();
    loop_free(&loop);
    return 0;
}

static void say(struct end *end, const char *text)
{
    struct iovec piece = {(void *)text, strlen(text)};

    conn_write(end->conn, &piece, 1);
}

/* ---- bytes ---- */

static void test_talk(void **state)
{
    struct endpoint here;
    struct buf out;

    (void)state;
    for (int tls = 0; tls < 2; tls++) {
        t_case(tls ? "bytes go both ways, encrypted" : "bytes go both ways", NULL);
        open_either(tls);
        say(&them, "hello");
        WAIT(us.got.n == 5);
        say(&us, "hello ");
        say(&us, "yourself");
        WAIT(them.got.n == 14);
        t_same_str_z(buf_str(&us.got), "hello");
        t_same_str_z(buf_str(&them.got), "hello yourself");
        t_case("a buffer leaves whole, and is empty then", NULL);
        buf_init(&out, 100);
        buf_add_z(&out, "250 Ok\r\n");
        conn_write_buf(us.conn, &out);
        t_same_int(out.n, 0);
        conn_write_buf(us.conn, &out); /* nothing is nothing */
        WAIT(them.got.n == 22);
        buf_fini(&out);
        t_true((conn_tls(us.conn) != NULL) == tls && (conn_tls(them.conn) != NULL) == tls);
        here = conn_local(us.conn);
        t_true(ip_is_loopback(&here.ip) && here.port != 0);
        close_pair();
    }
    open_pair();
}

static char octet(size_t at)
{
    return (char)(at * 2654435761u >> 13);
}

/* 20 MB in pieces, each when the one before has gone, as a message is sent. */
static void send_much(bool tls)
{
    enum { PIECE = 1000000, PIECES = 20 };
    char *bytes = malloc(PIECE);
    unsigned sent = 0;

    open_either(tls);
    while (sent < PIECES || conn_queued(us.conn) > 0) {
        struct iovec halves[2] = {{bytes, PIECE / 3}, {bytes + PIECE / 3, PIECE - PIECE / 3}};

        if (conn_queued(us.conn) == 0) {
            for (size_t i = 0; i < PIECE; i++)
                bytes[i] = octet((size_t)sent * PIECE + i);
            conn_write(us.conn, halves, 2);
            memset(bytes, 0, PIECE);
            sent++;
        } else {
            run_until_called();
        }
    }
    WAIT(them.got.n == (size_t)PIECE * PIECES);
    for (size_t i = 0; i < them.got.n; i++)
        if (them.got.p[i] != octet(i))
            t_fail("octet %zu is another one", i);
    t_true(strchr(us.story, 'e') == NULL);
    free(bytes);
    close_pair();
}

static void test_much(void **state)
{
    (void)state;
    t_case("a large message, piece after piece", NULL);
    send_much(false);
    t_case("the same encrypted", NULL);
    send_much(true);
    open_pair();
}

static void test_pause(void **state)
{
    (void)state;
    for (int tls = 0; tls < 2; tls++) {
        t_case("while it pauses nothing comes, then all", NULL);
        open_either(tls);
        conn_pause(us.conn);
        say(&them, "one");
        say(&us, "go");
        WAIT(them.got.n == 2); /* they were served, so we had our turns */
        say(&us, "on");
        WAIT(them.got.n == 4);
        t_same_int(us.got.n, 0);
        conn_resume(us.conn);
        WAIT(us.got.n == 3);
        close_pair();
    }
    open_pair();
}

/* ---- the end ---- */

static void test_end(void **state)
{
    (void)state;
    for (int tls = 0; tls < 2; tls++) {
        t_case("what was said before the end arrives before it, and the end is told once", NULL);
        open_either(tls);
        say(&them, "last words");
        conn_close(&them.conn);
        t_true(them.conn == NULL);
        conn_close(&them.conn); /* NULL is fine */
        WAIT(strchr(us.story, 'e') != NULL);
        t_same_z(us.story, tls ? "tde" : "de");
        t_same_str_z(buf_str(&us.got), "last words");
        t_same_int(us.error, 0);
        t_case("and writing to who is gone does no harm", NULL);
        say(&us, "anybody?");
        say(&us, "nobody");
        close_pair();
    }
    open_pair();
}

static void test_cut(void **state)
{
    struct linger reset = {.l_onoff = 1, .l_linger = 0};
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof(addr);
    int listening = socket(AF_INET, SOCK_STREAM, 0), fd;
    struct endpoint at;

    (void)state;
    t_true(bind(listening, (struct sockaddr *)&addr, length) == 0 && listen(listening, 1) == 0 &&
           getsockname(listening, (struct sockaddr *)&addr, &length) == 0);
    endpoint_from_sockaddr((struct sockaddr *)&addr, &at);
    open_pair();
    close_pair();
    us = them = (struct end){0};
    us.conn = conn_connect(loop, &at, &events, &us);
    WAIT(*us.story == 'c');
    fd = accept(listening, NULL, NULL);
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
    close(fd);
    WAIT(strchr(us.story, 'e') != NULL);
    t_case("a reset is an error, and says so", NULL);
    t_same_int(us.error, ECONNRESET);
    t_same_z(us.why, strerror(ECONNRESET));
    conn_close(&us.conn);

    t_case("a refused connection is one", NULL);
    close(listening);
    us = (struct end){0};
    us.conn = conn_connect(loop, &at, &events, &us);
    WAIT(strchr(us.story, 'e') != NULL);
    t_same_int(us.error, ECONNREFUSED);
    t_same_z(us.story, "e");
}

/* ---- TLS ---- */

static void test_starttls(void **state)
{
    (void)state;
    open_pair();
    t_case("what was written before the handshake leaves in plaintext, and nothing before it comes again",
           "3207 4");
    say(&them, "STARTTLS\r\n");
    WAIT(us.got.n == 10);
    say(&us, "220 Go\r\n");
    conn_start_tls_server(us.conn, server_context);
    t_true(conn_tls(us.conn) == NULL);
    WAIT(them.got.n == 8);
    t_same_str_z(buf_str(&them.got), "220 Go\r\n");
    conn_start_tls_client(them.conn, client_context, NULL);
    t_true(conn_tls(them.conn) == NULL);
    WAIT(us.story[1] == 't' && them.story[1] == 't');
    t_same_z(tls_engine_version(conn_tls(us.conn)), "TLSv1.3");
    say(&them, "EHLO");
    WAIT(us.got.n == 14);
    t_same_z(us.story, "dtd");
}

/* The session may end while hands are shaken (a limit of time, a shutdown): its 421 has nowhere to go then.
 */
static void test_write_in_handshake(void **state)
{
    (void)state;
    open_pair();
    t_case("nothing is said within a handshake", NULL);
    conn_start_tls_server(us.conn, server_context);
    say(&us, "421 Too late\r\n");
    conn_start_tls_client(them.conn, client_context, NULL);
    say(&us, "421 Too late\r\n");
    say(&them, "EHLO too early\r\n");
    WAIT(us.story[0] == 't' && them.story[0] == 't');
    say(&us, "x");
    WAIT(them.got.n > 0);
    t_same_str_z(buf_str(&them.got), "x");
    t_same_int(us.got.n, 0);
    close_pair();
    t_case("and closing in it is no trouble", NULL);
    open_pair();
    conn_start_tls_server(us.conn, server_context);
    say(&us, "421 Too late\r\n");
    conn_close(&us.conn);
    WAIT(them.story[0] == 'e');
    t_same_int(them.got.n, 0);
}

static void test_handshake_with_nonsense(void **state)
{
    (void)state;
    open_pair();
    t_case("who answers STARTTLS with more SMTP has a failed handshake", "3207 4");
    conn_start_tls_server(us.conn, server_context);
    say(&them, "EHLO client.example\r\nMAIL FROM:<a@b.test>\r\n");
    WAIT(us.story[0] == 'e');
    t_same_z(us.story, "e");
    t_same_int(us.error, -1);
    t_true(*us.why != '\0');
    t_same_int(us.got.n, 0);
    t_case("after which there is nothing more", NULL);
    say(&us, "421 Too late\r\n");
    conn_close(&us.conn);
    WAIT(strchr(them.story, 'e') != NULL);
}

static void test_handshake_cut(void **state)
{
    (void)state;
    open_pair();
    t_case("a handshake that ends in the middle is an end, and no handshake", NULL);
    conn_start_tls_server(us.conn, server_context);
    say(&them, "\x16\x03\x01\x02");
    conn_close(&them.conn);
    WAIT(us.story[0] == 'e');
    t_same_z(us.story, "e");
}

static void test_wrong_certificate(void **state)
{
    (void)state;
    open_pair();
    t_case("a certificate that is not trusted fails on both sides", NULL);
    conn_start_tls_server(us.conn, server_context);
    conn_start_tls_client(them.conn, strict_context, "mx.test");
    WAIT(strchr(us.story, 'e') != NULL && strchr(them.story, 'e') != NULL);
    t_same_z(them.story, "e");
    t_same_int(them.error, -1);
    t_true(strstr(them.why, "certificate") != NULL);
}

/* ---- closing from inside ---- */

static void closes_itself(bool tls, char where, const char *story)
{
    open_pair();
    us.close_at = where;
    if (tls) {
        conn_start_tls_server(us.conn, server_context);
        conn_start_tls_client(them.conn, client_context, NULL);
        while (us.conn != NULL && them.story[0] != 't')
            run_until_called();
    }
    if (us.conn != NULL) {
        say(&them, "one");
        conn_close(&them.conn);
        WAIT(us.conn == NULL);
    }
    t_same_z(us.story, story);
    close_pair();
}

static void test_close_inside(void **state)
{
    (void)state;
    t_case("closed in on_data: nothing comes after it", NULL);
    closes_itself(false, 'd', "d");
    closes_itself(true, 'd', "td");
    t_case("closed in on_end", NULL);
    closes_itself(false, 'e', "de");
    closes_itself(true, 'e', "tde");
    t_case("closed in on_tls", NULL);
    closes_itself(true, 't', "t");
    open_pair();
}

static void test_close_at_failure(void **state)
{
    (void)state;
    t_case("closed in the on_end of a failed handshake, on the side that began it", NULL);
    open_pair();
    us.close_at = them.close_at = 'e';
    conn_start_tls_server(us.conn, server_context);
    conn_start_tls_client(them.conn, strict_context, "mx.test");
    WAIT(us.conn == NULL && them.conn == NULL);
    t_same_z(them.story, "e");
}

#define ON_LOOP(test) cmocka_unit_test_setup_teardown(test, open_loop, close_loop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_LOOP(test_talk),
        ON_LOOP(test_much),
        ON_LOOP(test_pause),
        ON_LOOP(test_end),
        ON_LOOP(test_cut),
        ON_LOOP(test_starttls),
        ON_LOOP(test_write_in_handshake),
        ON_LOOP(test_handshake_with_nonsense),
        ON_LOOP(test_handshake_cut),
        ON_LOOP(test_wrong_certificate),
        ON_LOOP(test_close_inside),
        ON_LOOP(test_close_at_failure),
    };

    return cmocka_run_group_tests(tests, make_contexts, drop_contexts);
}
