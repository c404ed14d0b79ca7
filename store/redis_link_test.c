#include "store/redis_link.h"

#include "base/bug.h"
#include "tests/certificate.h"
#include "tests/t.h"
#include "tls/conn.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

enum { LATE_MS = 20000, WORDS_MAX = 8 };

/* ---- a server that answers by the book that it is given ---- */

struct rule {
    const char *command, *reply; /* reply NULL: hang up; "": silence */
};

static struct loop *loop;
static struct listener *listener;
static struct endpoint server_at;
static struct conn *server_conn;
static struct resp_reader *server_reader;
static struct tls_context *server_tls;
static const struct rule *book;
static struct buf heard; /* the commands, a line each */

static const char *reply_to(struct str command)
{
    for (const struct rule *rule = book; rule->command != NULL; rule++)
        if (str_eq_z(command, rule->command))
            return rule->reply;
    return "-ERR unknown command\r\n";
}

static void on_server_data(const char *bytes, size_t n, void *arg)
{
    const struct resp *command;

    (void)arg;
    t_same_int(resp_feed(server_reader, bytes, n, NULL), 0);
    while (resp_next(server_reader, &command, NULL) == 1) {
        size_t start = heard.n;
        const char *reply;

        for (size_t i = 0; i < command->count; i++)
            buf_fmt(&heard, i > 0 ? " %.*s" : "%.*s", STR_ARG(command->items[i].text));
        reply = reply_to(str_make(heard.p + start, heard.n - start));
        buf_add_char(&heard, '\n');
        if (reply == NULL) {
            conn_close(&server_conn);
            return;
        }
        conn_write(server_conn, &(struct iovec){(char *)reply, strlen(reply)}, 1);
    }
}

static void on_server_end(int error, const char *why, void *arg)
{
    (void)error, (void)why, (void)arg;
}

static void on_server_tls(void *arg)
{
    (void)arg;
}

static void on_visit(int fd, const struct endpoint *peer, void *arg)
{
    static const struct conn_events events = {
        .on_data = on_server_data, .on_tls = on_server_tls, .on_end = on_server_end};

    (void)peer, (void)arg;
    conn_close(&server_conn);
    resp_reader_free(&server_reader);
    server_reader = resp_reader_new();
    server_conn = conn_accept(loop, fd, &events, NULL);
    if (server_tls != NULL)
        conn_start_tls_server(server_conn, server_tls);
}

/* ---- we ---- */

static struct redis_link *us;
static struct buf story; /* "ready", "end: why", and the replies */
static bool close_in_reply;

static void on_ready(void *arg)
{
    (void)arg;
    buf_add_z(&story, "ready\n");
    loop_stop(loop);
}

static void on_end(const char *why, void *arg)
{
    (void)arg;
    buf_fmt(&story, "end: %s\n", why);
    loop_stop(loop);
}

static void on_reply(const struct resp *reply, void *arg)
{
    buf_fmt(&story, "%s: %.*s %lld %zu\n", (const char *)arg, STR_ARG(reply->text), (long long)reply->number,
            reply->count);
    if (close_in_reply)
        redis_link_close(&us);
    loop_stop(loop);
}

static void on_late(void *arg)
{
    (void)arg;
    t_fail("nothing happened; heard %s", buf_z(&heard));
}

static void run_until(const char *text)
{
    struct timer late = {0};

    timer_start(&late, loop, LATE_MS, on_late, NULL);
    while (strstr(buf_z(&story), text) == NULL)
        loop_run(loop);
    timer_stop(&late);
}

static void open_link(const char *user, const char *password, unsigned database, const struct rule *rules)
{
    static const struct redis_link_events events = {on_ready, on_end};
    struct redis_link_settings settings = {
        .at = server_at, .user = user, .password = password, .database = database};

    book = rules;
    us = redis_link_open(loop, &settings, &events, NULL);
}

static void ask(const char *command)
{
    redis_link_ask(us, (struct str[]){str_of(command)}, 1, on_reply, (void *)command);
}

static int set_up(void **state)
{
    struct sockaddr_storage addr;
    socklen_t length = sizeof(addr);
    struct fail fail = {0};
    int fd;

    (void)state;
    t_case("", NULL);
    loop = loop_new();
    endpoint_parse(STR("127.0.0.1:0"), &server_at, &fail);
    fd = listener_bind(&server_at, &fail);
    if (fd < 0 || getsockname(fd, (struct sockaddr *)&addr, &length) != 0)
        return -1;
    endpoint_from_sockaddr((struct sockaddr *)&addr, &server_at);
    listener = listener_start(loop, fd, on_visit, NULL);
    buf_init(&heard, 65536);
    buf_init(&story, 65536);
    close_in_reply = false;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    redis_link_close(&us);
    conn_close(&server_conn);
    listener_stop(&listener);
    resp_reader_free(&server_reader);
    loop_stop(loop);
    loop_run(loop);
    loop_free(&loop);
    buf_fini(&heard);
    buf_fini(&story);
    return 0;
}

/* ---- tests ---- */

static void test_introduction(void **state)
{
    static const struct rule rules[] = {
        {"AUTH mx secret", "+OK\r\n"}, {"SELECT 3", "+OK\r\n"}, {"PING", "+PONG\r\n"}, {0}};

    (void)state;
    t_case("user, password and database come first", NULL);
    open_link("mx", "secret", 3, rules);
    t_same_int(buf_str(&story).n, 0);
    run_until("ready");
    t_same_z(buf_z(&heard), "AUTH mx secret\nSELECT 3\nPING\n");
}

static void test_no_introduction(void **state)
{
    static const struct rule rules[] = {{"PING", "+PONG\r\n"}, {0}};

    (void)state;
    t_case("without a password nobody says AUTH", NULL);
    open_link("", "", 0, rules);
    run_until("ready");
    t_same_z(buf_z(&heard), "PING\n");
}

static void test_refusals(void **state)
{
    static const struct {
        const char *name;
        struct rule rules[4];
        const char *want;
    } rows[] = {
        {"a wrong password",
         {{"AUTH secret", "-WRONGPASS no such user\r\n"}, {"PING", "+PONG\r\n"}},
         "end: the password is refused: WRONGPASS no such user\n"},
        {"a server that is still loading",
         {{"AUTH secret", "+OK\r\n"}, {"PING", "-LOADING Redis is loading the dataset in memory\r\n"}},
         "end: PING is refused: LOADING Redis is loading the dataset in memory\n"},
        {"a server that hangs up", {{"AUTH secret", NULL}}, "end: end of input\n"},
        {"a mail server",
         {{"AUTH secret", "220 mx.example ESMTP\r\n"}},
         "end: what came is no reply of a Redis: Protocol error, got \"2\" as reply type byte\n"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        t_case(rows[i].name, NULL);
        buf_clear(&story);
        open_link("", "secret", 0, rows[i].rules);
        run_until("end");
        t_same_z(buf_z(&story), rows[i].want);
        redis_link_close(&us);
    }
}

static void test_refused(void **state)
{
    (void)state;
    t_case("nobody listens", NULL);
    listener_stop(&listener);
    open_link("", "", 0, NULL);
    run_until("end");
    t_same_z(buf_z(&story), "end: Connection refused\n");
}

static void test_replies(void **state)
{
    static const struct rule rules[] = {
        {"PING", "+PONG\r\n"}, {"ONE", "$5\r\nhello\r\n"},   {"TWO", "*3\r\n:1\r\n$-1\r\n*0\r\n"},
        {"THREE", ":-7\r\n"},  {"FOUR", "-MOVED 1 a:1\r\n"}, {0}};

    (void)state;
    t_case("replies come in the order of the questions", NULL);
    open_link("", "", 0, rules);
    run_until("ready");
    ask("ONE");
    ask("TWO");
    ask("THREE");
    ask("FOUR");
    t_same_int(redis_link_waiting(us), 4);
    run_until("FOUR");
    t_same_z(buf_z(&story), "ready\nONE: hello 0 0\nTWO:  0 3\nTHREE:  -7 0\nFOUR: MOVED 1 a:1 0 0\n");
    t_same_int(redis_link_waiting(us), 0);
}

static void test_close_inside(void **state)
{
    static const struct rule rules[] = {
        {"PING", "+PONG\r\n"}, {"ONE", "+1\r\n+2\r\n"}, {"TWO", "+2\r\n"}, {0}};

    (void)state;
    t_case("closed within a reply, never calls back", NULL);
    open_link("", "", 0, rules);
    run_until("ready");
    close_in_reply = true;
    ask("ONE");
    ask("TWO");
    run_until("ONE");
    t_true(us == NULL);
    t_same_z(buf_z(&story), "ready\nONE: 1 0 0\n");
}

static void test_too_many_replies(void **state)
{
    static const struct rule rules[] = {{"PING", "+PONG\r\n"}, {"ONE", "+1\r\n+2\r\n"}, {0}};

    (void)state;
    t_case("a reply that nobody asked for ends it", NULL);
    open_link("", "", 0, rules);
    run_until("ready");
    ask("ONE");
    run_until("end");
    t_same_z(buf_z(&story), "ready\nONE: 1 0 0\nend: a reply to no question\n");
}

static void test_tls(void **state)
{
    static const struct rule rules[] = {{"PING", "+PONG\r\n"}, {0}};
    static const struct redis_link_events events = {on_ready, on_end};
    char folder[] = "/tmp/redis-link-XXXXXX", cert[64], key[64];
    struct fail fail = {0};
    struct tls_settings files = {.pair = {cert, key}, .ciphers = ""};
    struct redis_link_settings settings = {.at = server_at, .name = "redis.test", .user = "", .password = ""};

    (void)state;
    t_true(mkdtemp(folder) != NULL);
    snprintf(cert, sizeof(cert), "%s/cert.pem", folder);
    snprintf(key, sizeof(key), "%s/key.pem", folder);
    t_true(certificate_make(cert, key, "redis.test", 30, NULL));
    server_tls = tls_server_context(&files, &fail);
    book = rules;
    for (int i = 0; i < 3; i++) {
        static const char *const names[] = {"by TLS, with the certificate's name and its authority",
                                            "another name is not whom we expect",
                                            "another authority is not believed"};

        t_case(names[i], NULL);
        buf_clear(&story);
        settings.name = i == 1 ? "other.test" : "redis.test";
        settings.tls = tls_verifying_context(
            &(struct tls_client_settings){.verify = TLS_VERIFY_NAME, .ca = i == 2 ? "" : cert}, &fail);
        t_true(settings.tls != NULL);
        us = redis_link_open(loop, &settings, &events, NULL);
        run_until(i == 0 ? "ready" : "end");
        redis_link_close(&us);
        tls_context_unref(&settings.tls);
    }
    tls_context_unref(&server_tls);
    unlink(cert);
    unlink(key);
    rmdir(folder);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_introduction), TEST(test_no_introduction), TEST(test_refusals),         TEST(test_refused),
        TEST(test_replies),      TEST(test_close_inside),    TEST(test_too_many_replies), TEST(test_tls),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
