/*
 * smtp/server_test.c - what scripts cannot say (the dialogues themselves are in tests/dialogues): the limits
 * of the input, the body sink, what is known of the dialogue, and a model that is compared with it.
 */
#include "smtp/server.h"

#include "base/bug.h"
#include "tests/t.h"

#include <jansson.h>
#include <stdio.h>

static struct buf out, body;
static struct smtp_server *server;
static unsigned body_calls;

static void collect(struct str piece, void *arg)
{
    (void)arg;
    body_calls++;
    buf_add_str(&body, piece);
}

static void open_server(uint64_t size, unsigned errors)
{
    struct smtp_server_settings settings = {.hostname = "mx.test",
                                            .message_bytes_max = size,
                                            .recipients_max = 100,
                                            .errors_max = errors,
                                            .line_bytes_max = 1000,
                                            .offer = {.size = true, .eightbitmime = true}};

    buf_init(&out, 1024 * 1024);
    buf_init(&body, 1024 * 1024);
    body_calls = 0;
    server = smtp_server_new(&settings, &out, collect, NULL);
}

static void close_server(void)
{
    smtp_server_free(&server);
    t_true(server == NULL);
    smtp_server_free(&server); /* NULL is fine */
    buf_fini(&out);
    buf_fini(&body);
}

static enum smtp_event_kind next(void)
{
    struct smtp_event event;

    smtp_server_next(server, &event);
    return event.kind;
}

static void answer(int code)
{
    smtp_server_answer(server, code, "", STR("x"));
}

/* Says yes to all, until more input is wanted; returns the last event before that. */
static struct smtp_event run(void)
{
    struct smtp_event event = {.kind = SMTP_EV_NEED_INPUT}, last;

    do {
        last = event;
        smtp_server_next(server, &event);
        if (event.kind == SMTP_EV_DATA)
            answer(354);
        else if (event.kind != SMTP_EV_NEED_INPUT && event.kind != SMTP_EV_RESET &&
                 event.kind != SMTP_EV_CLOSE)
            answer(250);
    } while (event.kind != SMTP_EV_NEED_INPUT && event.kind != SMTP_EV_CLOSE);
    return event.kind == SMTP_EV_CLOSE ? event : last;
}

static struct smtp_event say(const char *text)
{
    struct smtp_event event;

    smtp_server_feed(server, text, strlen(text));
    event = run();
    t_true(smtp_server_keep(server));
    return event;
}

/* ---- input ---- */

static void test_input_waits(void **state)
{
    char noops[1000];

    (void)state;
    open_server(1000, 100);
    t_case("before the greeting nothing is read, but it is known that something waits", "5321 4.3.1");
    smtp_server_feed(server, "EHLO x\r\n", 8);
    t_same_int(next(), SMTP_EV_NEED_INPUT);
    t_true(smtp_server_keep(server));
    t_same_int(smtp_server_waiting(server), 8);
    t_same_int(out.n, 0);
    smtp_server_greet(server, 220, "", "");

    t_case("while an answer is due, what comes is kept", NULL);
    t_same_int(next(), SMTP_EV_HELO);
    t_same_int(smtp_server_waiting(server), 0);
    smtp_server_feed(server, "NOOP\r\n", 6);
    t_same_int(next(), SMTP_EV_NEED_INPUT);
    t_true(smtp_server_keep(server));
    t_same_int(smtp_server_waiting(server), 6);
    t_same_str_z(buf_str(&out), "220 mx.test ESMTP\r\n");
    answer(250);
    t_same_int(next(), SMTP_EV_NEED_INPUT);
    t_same_int(smtp_server_waiting(server), 0);

    t_case("a caller that reads on is told to stop at 16 KiB", NULL);
    smtp_server_feed(server, "EHLO x\r\n", 8);
    t_same_int(next(), SMTP_EV_HELO);
    t_true(smtp_server_keep(server));
    memset(noops, '\n', sizeof(noops));
    for (int i = 0; i < 16; i++) {
        t_true(!smtp_server_is_full(server));
        smtp_server_feed(server, noops, sizeof(noops));
        t_true(smtp_server_keep(server));
    }
    smtp_server_feed(server, noops, 384);
    t_true(smtp_server_keep(server) && smtp_server_is_full(server));
    t_case("and that it has gone too far at 192 KiB", NULL);
    for (int i = 0; i < 180; i++) {
        smtp_server_feed(server, noops, sizeof(noops));
        t_true(smtp_server_keep(server));
    }
    smtp_server_feed(server, noops, sizeof(noops));
    t_true(!smtp_server_keep(server));
    close_server();
}

static void test_free_anywhere(void **state)
{
    (void)state;
    t_case("it may be freed while an answer is due, and within a message", NULL);
    open_server(1000, 100);
    smtp_server_greet(server, 220, "", "");
    smtp_server_feed(server, "EHLO x\r\nNOOP\r\n", 14);
    t_same_int(next(), SMTP_EV_HELO);
    t_true(smtp_server_keep(server));
    close_server();
    open_server(1000, 100);
    smtp_server_greet(server, 220, "", "");
    say("EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<a@b.test>\r\nDATA\r\n");
    say("half a mess");
    close_server();
}

/* ---- the body sink ---- */

static void test_sink(void **state)
{
    struct smtp_event event;

    (void)state;
    open_server(10, 100);
    smtp_server_greet(server, 220, "", "");
    say("EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<a@b.test>\r\nDATA\r\n");
    t_case("the octets of a message go to the sink as they come", NULL);
    say("12345");
    t_same_str_z(buf_str(&body), "12345");
    t_case("beyond the size nothing more does, and the end is still found", "1870 6.3");
    say("6789012345\r\n1234567890\r\n");
    t_same_str_z(buf_str(&body), "12345");
    event = say(".\r\n");
    t_same_int(event.kind, SMTP_EV_MESSAGE);
    t_true(event.too_big && event.fault == SMTP_DATA_OK);
    t_same_int(event.bytes, 29);
    t_case("behind a fault nothing does either", NULL);
    buf_clear(&body);
    body_calls = 0;
    say("MAIL FROM:<>\r\nRCPT TO:<a@b.test>\r\nDATA\r\n");
    say("a\nb");
    say("c\r\n");
    event = say(".\r\n");
    t_same_int(event.fault, SMTP_DATA_BARE_LF);
    t_same_int(body_calls, 0);
    close_server();
}

/* ---- what is known ---- */

static void test_knowledge(void **state)
{
    (void)state;
    open_server(1000, 3);
    smtp_server_greet(server, 220, "", "");
    t_case("EHLO makes it ESMTP, HELO does not", "5321 2.2.1");
    t_true(!smtp_server_is_esmtp(server));
    say("EHLO x\r\n");
    t_true(smtp_server_is_esmtp(server));
    say("HELO x\r\n");
    t_true(!smtp_server_is_esmtp(server));
    t_case("MAIL begins a transaction, RSET ends it", "5321 3.3");
    t_true(!smtp_server_in_transaction(server));
    say("MAIL FROM:<>\r\n");
    t_true(smtp_server_in_transaction(server));
    say("RSET\r\n");
    t_true(!smtp_server_in_transaction(server));
    t_case("a caller may count errors of its own, and they end the session like others", "5321 4.3.2");
    t_same_int(smtp_server_errors(server), 0);
    smtp_server_count_error(server);
    smtp_server_count_error(server);
    t_same_int(smtp_server_errors(server), 2);
    t_same_int(next(), SMTP_EV_NEED_INPUT);
    smtp_server_count_error(server);
    t_same_int(next(), SMTP_EV_CLOSE);
    t_same_int(next(), SMTP_EV_CLOSE);
    close_server();

    t_case("after a handshake it is ESMTP no more, and in no transaction", "3207 4.2");
    open_server(1000, 3);
    smtp_server_offer_starttls(server, true);
    smtp_server_greet(server, 220, "", "");
    say("EHLO x\r\nMAIL FROM:<>\r\n");
    smtp_server_feed(server, "STARTTLS\r\nNOOP\r\n", 16);
    t_same_int(next(), SMTP_EV_STARTTLS);
    answer(220);
    t_same_int(next(), SMTP_EV_NEED_INPUT);
    smtp_server_tls_started(server);
    t_true(!smtp_server_is_esmtp(server) && !smtp_server_in_transaction(server));
    t_same_int(smtp_server_waiting(server), 0);
    t_true(smtp_server_keep(server));
    close_server();
}

static void test_wrap_within_tls(void **state)
{
    (void)state;
    t_case("on a port of implicit TLS the handshake comes before the greeting", "8314 3");
    open_server(1000, 3);
    smtp_server_tls_started(server);
    t_same_int(next(), SMTP_EV_NEED_INPUT);
    smtp_server_greet(server, 220, "", "");
    smtp_server_offer_starttls(server, true);
    say("EHLO x\r\nSTARTTLS\r\n");
    t_same_str_z(buf_str(&out), "220 mx.test ESMTP\r\n250-mx.test\r\n250-PIPELINING\r\n250-SIZE 1000\r\n"
                                "250-8BITMIME\r\n250-LIMITS RCPTMAX=100\r\n250 ENHANCEDSTATUSCODES\r\n503 "
                                "5.5.1 TLS is already active\r\n");
    close_server();
}

/* ---- a model ---- */

/* What a client may do next, each with the answer that the policy gives. */
enum move { EHLO, EHLO_REFUSED, MAIL, MAIL_REFUSED, RCPT, RCPT_REFUSED, DATA, RSET, STARTTLS, NOOP, MOVES };
enum { DEPTH = 5 };

struct model {
    bool greeted, mail, tls;
    unsigned recipients, messages;
};

/* RFC 5321 4.1.4 and RFC 3207 4, in one column: the code that the move must get. */
static int model_move(struct model *m, enum move move)
{
    bool had_recipient = m->recipients > 0;

    switch (move) {
    case EHLO:
    case EHLO_REFUSED:
        m->mail = false;
        m->recipients = 0;
        m->greeted |= move == EHLO;
        return move == EHLO ? 250 : 450;
    case MAIL:
    case MAIL_REFUSED:
        if (!m->greeted || m->mail)
            return 503;
        m->mail = move == MAIL;
        return move == MAIL ? 250 : 450;
    case RCPT:
    case RCPT_REFUSED:
        if (!m->mail)
            return 503;
        m->recipients += move == RCPT;
        return move == RCPT ? 250 : 450;
    case DATA:
        if (!m->mail || !had_recipient)
            return m->mail ? 554 : 503;
        m->mail = false;
        m->recipients = 0;
        m->messages++;
        return 354;
    case RSET:
        m->mail = false;
        m->recipients = 0;
        return 250;
    case STARTTLS:
        if (m->tls)
            return 503;
        *m = (struct model){.tls = true, .messages = m->messages};
        return 220;
    default:
        return 250;
    }
}

static int last_code(void)
{
    size_t at = out.n;

    t_true(out.n >= 5);
    while (at > 0 && (at == out.n || out.p[at - 1] != '\n'))
        at--;
    return (out.p[at] - '0') * 100 + (out.p[at + 1] - '0') * 10 + out.p[at + 2] - '0';
}

/* Feeds a command, answers its event with `code`; returns the code that the client sees. */
static int server_move(const char *line, int code, unsigned *messages)
{
    struct smtp_event event;

    smtp_server_feed(server, line, strlen(line));
    for (;;) {
        smtp_server_next(server, &event);
        if (event.kind == SMTP_EV_NEED_INPUT)
            break;
        t_true(event.kind != SMTP_EV_CLOSE);
        *messages += event.kind == SMTP_EV_MESSAGE;
        if (event.kind != SMTP_EV_RESET)
            answer(code);
    }
    t_true(smtp_server_keep(server));
    return last_code();
}

static void compare_move(struct model *model, enum move move, unsigned *messages)
{
    static const struct {
        const char *line;
        int answer;
    } moves[MOVES] = {
        [EHLO] = {"EHLO x\r\n", 250},
        [EHLO_REFUSED] = {"EHLO x\r\n", 450},
        [MAIL] = {"MAIL FROM:<>\r\n", 250},
        [MAIL_REFUSED] = {"MAIL FROM:<>\r\n", 450},
        [RCPT] = {"RCPT TO:<a@b.test>\r\n", 250},
        [RCPT_REFUSED] = {"RCPT TO:<a@b.test>\r\n", 450},
        [DATA] = {"DATA\r\n", 354},
        [RSET] = {"RSET\r\n", 0},
        [STARTTLS] = {"STARTTLS\r\n", 220},
        [NOOP] = {"NOOP\r\n", 0},
    };
    int want = model_move(model, move);

    t_same_int(server_move(moves[move].line, moves[move].answer, messages), want);
    if (want == 354)
        t_same_int(server_move("RSET\r\n.\r\n", 250, messages), 250);
    if (want == 220)
        smtp_server_tls_started(server);
    t_same_int(*messages, model->messages);
    t_same_int(smtp_server_in_transaction(server), model->mail);
}

static void test_model(void **state)
{
    struct arena *mem = arena_new(0);
    unsigned all = 1;

    (void)state;
    for (int i = 0; i < DEPTH; i++)
        all *= MOVES;
    for (unsigned game = 0; game < all; game++) {
        struct model model = {0};
        unsigned messages = 0;

        open_server(1000, 100);
        smtp_server_offer_starttls(server, true);
        smtp_server_greet(server, 220, "", "");
        t_case(str_fmt(mem, "game %05u: each digit a move", game), "5321 4.1.4");
        for (unsigned rest = all / MOVES; rest > 0; rest /= MOVES)
            compare_move(&model, (enum move)(game / rest % MOVES), &messages);
        close_server();
        arena_reset(mem);
    }
    arena_free(&mem);
}

/* ---- the suite of smuggled ends ---- */

/* A message, the odd end, and a smuggled transaction: one message at the most may come out, with a fault. */
static void play_smuggling(struct str odd_end)
{
    struct buf text;
    struct smtp_event event;
    unsigned messages = 0, mails = 0;

    open_server(100000, 100);
    smtp_server_greet(server, 220, "", "");
    say("EHLO x\r\nMAIL FROM:<one@a.test>\r\nRCPT TO:<a@b.test>\r\nDATA\r\n");
    buf_init(&text, 4096);
    buf_add_z(&text, "Subject: one\r\n\r\ntext");
    buf_add_str(&text, odd_end);
    buf_add_z(
        &text,
        "MAIL FROM:<two@a.test>\r\nRCPT TO:<b@b.test>\r\nDATA\r\nSubject: two\r\n\r\nsmuggled\r\n.\r\n");
    smtp_server_feed(server, text.p, text.n);
    do {
        smtp_server_next(server, &event);
        mails += event.kind == SMTP_EV_MAIL;
        if (event.kind == SMTP_EV_MESSAGE) {
            messages++;
            t_true(event.fault != SMTP_DATA_OK);
            answer(550);
        }
    } while (event.kind != SMTP_EV_NEED_INPUT);
    t_same_int(messages, 1);
    t_same_int(mails, 0);
    t_true(smtp_server_keep(server));
    buf_fini(&text);
    close_server();
}

static void test_smuggling_suite(void **state)
{
    struct arena *mem = arena_new(0);
    json_t *suite, *it;
    size_t i, played = 0;

    (void)state;
    if (t_conformance() == NULL)
        t_skip("the suite of smuggled ends is not here");
    suite =
        json_load_file(str_fmt(mem, "%s/smtp-smuggling/cases.json", t_conformance()), JSON_ALLOW_NUL, NULL);
    t_true(suite != NULL);
    json_array_foreach(json_object_get(suite, "cases"), i, it)
    {
        json_t *bytes = json_object_get(it, "bytes");

        if (strcmp(json_string_value(json_object_get(it, "kind")), "end-of-data") != 0)
            continue;
        t_case(json_string_value(json_object_get(it, "id")), "5321 4.1.1.4");
        play_smuggling(str_make(json_string_value(bytes), json_string_length(bytes)));
        played++;
    }
    t_case("the suite was there", NULL);
    t_same_int(played, 9);
    json_decref(suite);
    arena_free(&mem);
}

/* ---- recipients that are deferred, and chunks that are refused ---- */

static void expect_reply(const char *want)
{
    t_true(str_starts(buf_str(&out), str_of(want)));
    buf_clear(&out);
}

static void test_deferred_recipients(void **state)
{
    static const char rcpt[] = "RCPT TO:<a@b.test>\r\n";

    (void)state;
    open_server(1000, 3);
    smtp_server_greet(server, 220, "", "");
    say("EHLO x\r\nMAIL FROM:<>\r\n");
    for (int transaction = 0; transaction < 2; transaction++) {
        t_case("as many recipients are judged and deferred as may be taken", "5321 4.5.3.1.8");
        for (int i = 0; i < 100; i++) {
            smtp_server_feed(server, rcpt, strlen(rcpt));
            t_same_int(next(), SMTP_EV_RCPT);
            answer(451);
            t_true(smtp_server_keep(server));
        }
        t_case("more are deferred without being judged, until the next transaction", "5321 4.5.3.1.10");
        buf_clear(&out);
        smtp_server_feed(server, rcpt, strlen(rcpt));
        t_same_int(next(), SMTP_EV_NEED_INPUT);
        t_true(smtp_server_keep(server));
        expect_reply("452 4.5.3 ");
        say("RSET\r\nMAIL FROM:<>\r\n");
    }
    t_same_int(smtp_server_errors(server), 0);
    close_server();
}

static void test_refused_chunk(void **state)
{
    static const struct smtp_server_settings settings = {.hostname = "mx.test",
                                                         .message_bytes_max = 1000,
                                                         .recipients_max = 100,
                                                         .errors_max = 10,
                                                         .line_bytes_max = 1000,
                                                         .offer = {.chunking = true}};

    (void)state;
    t_case("a chunk without a transaction is no fault of the message that comes next", "3030 2");
    buf_init(&out, 1024 * 1024);
    buf_init(&body, 1024 * 1024);
    server = smtp_server_new(&settings, &out, collect, NULL);
    smtp_server_greet(server, 220, "", "");
    say("EHLO x\r\n");
    buf_clear(&out);
    say("BDAT 6 LAST\r\nRSET\r\n"); /* the octets of the chunk */
    expect_reply("503 5.5.1 ");
    say("MAIL FROM:<>\r\nRCPT TO:<a@b.test>\r\n");
    buf_clear(&out);
    t_same_int(say("BDAT 3 LAST\r\na\r\n").kind, SMTP_EV_MESSAGE);
    expect_reply("250 ");
    t_same_str_z(buf_str(&body), "a\r\n");
    close_server();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_input_waits),
        cmocka_unit_test(test_free_anywhere),
        cmocka_unit_test(test_sink),
        cmocka_unit_test(test_knowledge),
        cmocka_unit_test(test_wrap_within_tls),
        cmocka_unit_test(test_model),
        cmocka_unit_test(test_smuggling_suite),
        cmocka_unit_test(test_deferred_recipients),
        cmocka_unit_test(test_refused_chunk),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
