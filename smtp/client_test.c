#include "smtp/client.h"

#include "base/bug.h"
#include "tests/t.h"

#include <stdio.h>

static struct buf out, told;
static struct smtp_client *client;

static void open_client(bool want_tls)
{
    buf_init(&out, 1024 * 1024);
    buf_init(&told, 1024 * 1024);
    client = smtp_client_new(PROTOCOL_SMTP, "mx.test", want_tls, &out);
}

static void close_client(void)
{
    smtp_client_free(&client);
    t_true(client == NULL);
    smtp_client_free(&client); /* NULL is fine */
    buf_fini(&out);
    buf_fini(&told);
}

static void tell(const struct smtp_client_event *event)
{
    static const char *const names[] = {
        [SMTP_CLIENT_STARTTLS] = "starttls",
        [SMTP_CLIENT_READY] = "ready",
        [SMTP_CLIENT_IDENTIFIED] = "identified",
        [SMTP_CLIENT_CHALLENGE] = "challenge",
        [SMTP_CLIENT_AUTH] = "auth",
        [SMTP_CLIENT_MAIL] = "mail",
        [SMTP_CLIENT_RCPT] = "rcpt",
        [SMTP_CLIENT_DATA] = "data",
        [SMTP_CLIENT_MESSAGE] = "message",
        [SMTP_CLIENT_RESET] = "reset",
        [SMTP_CLIENT_NOOP] = "noop",
        [SMTP_CLIENT_REFUSED] = "refused",
        [SMTP_CLIENT_BROKEN] = "broken",
    };

    buf_fmt(&told, "%s%s", told.n > 0 ? ", " : "", names[event->kind]);
    switch (event->kind) {
    case SMTP_CLIENT_CHALLENGE:
        buf_fmt(&told, " %.*s", STR_ARG(event->reply.text));
        break;
    case SMTP_CLIENT_AUTH:
    case SMTP_CLIENT_MAIL:
    case SMTP_CLIENT_RCPT:
    case SMTP_CLIENT_DATA:
    case SMTP_CLIENT_MESSAGE:
    case SMTP_CLIENT_REFUSED:
        buf_fmt(&told, " %d", event->reply.code);
        break;
    default:
        break;
    }
}

static void take_events(void)
{
    struct smtp_client_event event;

    do {
        smtp_client_next(client, &event);
        if (event.kind != SMTP_CLIENT_NEED_INPUT)
            tell(&event);
    } while (event.kind != SMTP_CLIENT_NEED_INPUT && event.kind != SMTP_CLIENT_BROKEN);
}

/* The backend says `bytes` in one piece; `events` come of it. */
static void hears_at_once(const char *bytes, const char *events)
{
    buf_clear(&told);
    smtp_client_feed(client, bytes, strlen(bytes));
    take_events();
    t_same_str_z(buf_str(&told), events);
}

/* Line by line, as replies come when each answers what the one before led to. */
static void hears(const char *bytes, const char *events)
{
    struct str rest = str_of(bytes);

    buf_clear(&told);
    while (rest.n > 0) {
        size_t end = str_find(rest, '\n');
        struct str line = str_upto(rest, end + 1);

        smtp_client_feed(client, line.p, line.n);
        take_events();
        rest = str_from(rest, line.n);
    }
    t_same_str_z(buf_str(&told), events);
}

/* What left since the last look. */
static void sent(const char *bytes)
{
    t_same_str_z(buf_str(&out), bytes);
    buf_clear(&out);
}

/* Ready, with these extensions: "250-PIPELINING\r\n". */
static void open_ready(const char *extensions)
{
    open_client(false);
    hears("220 backend ESMTP\r\n", "");
    smtp_client_feed(client, "250-backend\r\n", 13);
    smtp_client_feed(client, extensions, strlen(extensions));
    hears("250 HELP\r\n", "ready");
    buf_clear(&out);
}

/* ---- the opening ---- */

static void test_opening(void **state)
{
    (void)state;
    t_case("the backend speaks first, EHLO follows, and then it is ready", "5321 3.1");
    open_client(false);
    sent("");
    t_same_int(smtp_client_replies_due(client), 1);
    t_true(!smtp_client_is_idle(client));
    hears("220 backend ESMTP\r\n", "");
    sent("EHLO mx.test\r\n");
    hears("250-backend\r\n250 PIPELINING\r\n", "ready");
    sent("");
    t_true(smtp_client_is_idle(client));
    close_client();

    t_case("one that does not know EHLO gets HELO, and is trusted with nothing", "5321 3.2");
    open_client(true);
    hears("220 backend\r\n", "");
    sent("EHLO mx.test\r\n");
    hears("502 5.5.1 What?\r\n", "");
    sent("HELO mx.test\r\n");
    hears("250 backend\r\n", "ready");
    t_true(!smtp_client_capabilities(client)->esmtp && !smtp_client_capabilities(client)->pipelining);
    close_client();
}

static const struct {
    const char *name, *rfc, *bytes, *events;
} openings[] = {
    {"a greeting of 554", "5321 3.1", "554 No SMTP service here\r\n", "refused 554"},
    {"a greeting of 421", "5321 3.8", "421 Busy\r\n", "refused 421"},
    {"a greeting of several lines", "5321 4.2.1", "220-a\r\n220 b\r\n", ""},
    {"a greeting of 354 makes no sense", "5321 4.3.2", "354 Go\r\n", "broken"},
    {"a greeting that is none", NULL, "SSH-2.0-OpenSSH_9.2\r\n", "broken"},
    {"EHLO deferred", "5321 4.3.2", "220 x\r\n421 Later\r\n", "refused 421"},
    {"EHLO answered 354", "5321 4.3.2", "220 x\r\n354 Go\r\n", "broken"},
    {"HELO refused as well", "5321 4.3.2", "220 x\r\n500 ?\r\n550 Not you\r\n", "refused 550"},
    {"HELO answered 354", "5321 4.3.2", "220 x\r\n500 ?\r\n354 Go\r\n", "broken"},
    {"a second greeting", "5321 3.1", "220 x\r\n250 x\r\n220 x\r\n", "ready, broken"},
    {"999 is no code", "5321 4.2.1", "999 x\r\n", "broken"},
    {"199 is no code for us", "5321 4.2.1", "199 x\r\n", "broken"},
    {"lines with different codes", "5321 4.2.1", "220-x\r\n250 x\r\n", "broken"},
    {"a bare LF is no line end", "5321 2.3.8", "220 x\n", "broken"},
};

static void test_odd_openings(void **state)
{
    static char line[SMTP_LONG_LINE + 2];

    (void)state;
    for (size_t i = 0; i < COUNT(openings); i++) {
        t_case(openings[i].name, openings[i].rfc);
        open_client(false);
        hears(openings[i].bytes, openings[i].events);
        close_client();
    }
    t_case("a line of more than 12,288 octets", NULL);
    memset(line, 'x', sizeof(line));
    memcpy(line, "220 ", 4);
    line[sizeof(line) - 1] = '\0';
    open_client(false);
    hears(line, "broken");
    close_client();
}

static void test_ends_once(void **state)
{
    (void)state;
    t_case("what is broken stays broken", NULL);
    open_client(false);
    hears("what?\r\n", "broken");
    hears("220 x\r\n", "broken");
    t_true(!smtp_client_is_idle(client));
    close_client();
    t_case("a backend that talks without end is broken at 256 KiB", NULL);
    open_client(false);
    for (int i = 0; i < 256; i++) {
        char kilobyte[1025];

        memset(kilobyte, 'x', 1024);
        kilobyte[1024] = '\0';
        smtp_client_feed(client, kilobyte, 1024);
    }
    hears("x", "broken");
    close_client();
}

/* ---- what the backend can do ---- */

static void test_capabilities(void **state)
{
    const struct smtp_capabilities *can;

    (void)state;
    t_case("extensions are known in any case, unknown ones are not looked at", "5321 4.1.1.1");
    open_ready(
        "250-pipelining\r\n250-SIZE 1000\r\n250-8bitmime\r\n250-SmtpUtf8\r\n250-CHUNKING\r\n250-DSN\r\n"
        "250-STARTTLS\r\n250-XCLIENT NAME ADDR PROTO HELO FOO\r\n250-XFORWARD NAME\r\n"
        "250-ENHANCEDSTATUSCODES\r\n250-XYZZY\r\n250-\r\n");
    can = smtp_client_capabilities(client);
    t_true(can->esmtp && can->pipelining && can->size && can->eightbitmime && can->smtputf8 &&
           can->chunking && can->dsn && can->starttls && can->xclient && can->xforward && can->enhanced);
    t_same_int(can->size_max, 1000);
    t_same_int(can->xclient_fields,
               SMTP_XCLIENT_NAME | SMTP_XCLIENT_ADDR | SMTP_XCLIENT_PROTO | SMTP_XCLIENT_HELO);
    close_client();
    t_case("SIZE without a number, or with a wrong one, is no limit", "1870 4");
    open_ready("250-SIZE\r\n");
    t_true(smtp_client_capabilities(client)->size && smtp_client_capabilities(client)->size_max == 0);
    close_client();
    open_ready("250-SIZE -5\r\n");
    t_true(smtp_client_capabilities(client)->size && smtp_client_capabilities(client)->size_max == 0);
    close_client();
    t_case("XCLIENT that does not take an address is none", NULL);
    open_ready("250-XCLIENT FOO NAME\r\n");
    t_true(!smtp_client_capabilities(client)->xclient);
    close_client();
    t_case("its own name is no extension", "5321 4.1.1.1");
    open_client(false);
    hears("220 x\r\n250 PIPELINING\r\n", "ready");
    t_true(!smtp_client_capabilities(client)->pipelining);
    close_client();
}

/* ---- STARTTLS ---- */

static void test_starttls(void **state)
{
    (void)state;
    t_case("STARTTLS when it is wanted and offered, then EHLO again", "3207 4.2");
    open_client(true);
    hears("220 x\r\n250-x\r\n250-PIPELINING\r\n250 STARTTLS\r\n", "");
    sent("EHLO mx.test\r\nSTARTTLS\r\n");
    hears("220 Go\r\n", "starttls");
    t_true(smtp_client_capabilities(client)->pipelining);
    smtp_client_tls_started(client);
    sent("EHLO mx.test\r\n");
    hears("250-x\r\n250 STARTTLS\r\n", "ready");
    t_case("what it said before the handshake is forgotten", "3207 4.2");
    t_true(!smtp_client_capabilities(client)->pipelining);
    sent("");
    close_client();

    t_case("not wanted", NULL);
    open_client(false);
    hears("220 x\r\n250-x\r\n250 STARTTLS\r\n", "ready");
    close_client();
    t_case("not offered", NULL);
    open_client(true);
    hears("220 x\r\n250 x\r\n", "ready");
    close_client();
    t_case("refused: it goes on in plaintext, and the caller sees to it", "3207 4.1");
    open_client(true);
    hears("220 x\r\n250-x\r\n250 STARTTLS\r\n454 Not now\r\n", "ready");
    close_client();
    t_case("354 to STARTTLS", "3207 4");
    open_client(true);
    hears("220 x\r\n250-x\r\n250 STARTTLS\r\n354 Go\r\n", "broken");
    close_client();
}

/* Whoever stands in between could say it (CVE-2011-0411, seen from the other side). */
static void test_starttls_injected(void **state)
{
    static const char *const injected[] = {"250 x\r\n", "250-x\r\n", "25"};

    (void)state;
    t_case("what comes in plaintext behind the 220 is never taken for a reply", "3207 4.2");
    for (size_t i = 0; i < COUNT(injected); i++) {
        struct smtp_client_event event;

        open_client(true);
        hears("220 x\r\n250-x\r\n250 STARTTLS\r\n", "");
        smtp_client_feed(client, "220 Go\r\n", 8);
        smtp_client_feed(client, injected[i], strlen(injected[i]));
        smtp_client_next(client, &event);
        t_same_int(event.kind, SMTP_CLIENT_STARTTLS);
        smtp_client_tls_started(client);
        hears("250 PIPELINING\r\n", "broken");
        close_client();
    }
}

/* ---- XCLIENT ---- */

static const struct smtp_identity alice = {
    .name = "client.example", .addr = "192.0.2.1", .port = 1025, .helo = "helo.example", .esmtp = true};

static void test_identify(void **state)
{
    (void)state;
    t_case("who the client is, in the fields that are offered", NULL);
    open_ready("250-XCLIENT NAME ADDR PORT PROTO HELO\r\n250-PIPELINING\r\n");
    smtp_client_identify(client, &alice);
    sent("XCLIENT NAME=client.example ADDR=192.0.2.1 PORT=1025 PROTO=ESMTP HELO=helo.example\r\n");
    hears("220 Hello again\r\n", "");
    t_case("EHLO again, with the name of the client", NULL);
    sent("EHLO helo.example\r\n");
    hears("250-backend\r\n250 SIZE 5\r\n", "identified");
    t_true(smtp_client_is_idle(client));
    t_case("what it can do is what it said last", NULL);
    t_true(!smtp_client_capabilities(client)->pipelining && !smtp_client_capabilities(client)->xclient);
    t_same_int(smtp_client_capabilities(client)->size_max, 5);
    close_client();

    t_case("only some fields, IPv6, no host name, and HELO", NULL);
    open_ready("250-XCLIENT ADDR NAME PROTO\r\n");
    smtp_client_identify(client,
                         &(struct smtp_identity){.addr = "2001:db8::1", .port = 5, .helo = "h.example"});
    sent("XCLIENT NAME=[UNAVAILABLE] ADDR=IPV6:2001:db8::1 PROTO=SMTP\r\n");
    close_client();

    t_case("nothing that a client says about itself becomes syntax", "3461 4");
    open_ready("250-XCLIENT HELO NAME ADDR\r\n");
    smtp_client_identify(
        client,
        &(struct smtp_identity){
            .name = "a b=c+d", .addr = "192.0.2.1", .port = 5, .helo = "x\r\nRSET\x7F\xFF", .esmtp = true});
    sent("XCLIENT NAME=a+20b+3Dc+2Bd ADDR=192.0.2.1 HELO=x+0D+0ARSET+7F+FF\r\n");
    hears("220 x\r\n", "");
    t_case("and a HELO that is no name is not repeated in EHLO", NULL);
    sent("EHLO mx.test\r\n");
    close_client();
}

static void test_identify_refused(void **state)
{
    (void)state;
    t_case("not allowed: the connection is as good as before", NULL);
    open_ready("250-XCLIENT ADDR\r\n");
    smtp_client_identify(client, &alice);
    hears("550 5.7.0 Error: insufficient authorization\r\n", "identified");
    t_true(smtp_client_is_idle(client) && smtp_client_capabilities(client)->xclient);
    close_client();
    t_case("421 is the end", "5321 3.8");
    open_ready("250-XCLIENT ADDR\r\n");
    smtp_client_identify(client, &alice);
    hears("421 4.7.0 Go\r\n", "refused 421");
    close_client();
    t_case("a client that the backend does not want to see: at its greeting, at its EHLO", NULL);
    open_ready("250-XCLIENT ADDR\r\n");
    smtp_client_identify(client, &alice);
    hears("220 x\r\n554 Not you\r\n", "refused 554");
    close_client();
    t_case("354 to XCLIENT", NULL);
    open_ready("250-XCLIENT ADDR\r\n");
    smtp_client_identify(client, &alice);
    hears("354 Go\r\n", "broken");
    close_client();
}

/* ---- transactions ---- */

static void test_transaction(void **state)
{
    (void)state;
    t_case("with PIPELINING commands leave together", "2920 3.1");
    open_ready("250-PIPELINING\r\n250-SIZE 9\r\n250-8BITMIME\r\n");
    smtp_client_mail(client, STR("a@b.test"), 7, true, STR(""));
    smtp_client_rcpt(client, STR("c@d.test"), STR(""));
    smtp_client_rcpt(client, STR("e@f.test"), STR(""));
    sent("MAIL FROM:<a@b.test> SIZE=7 BODY=8BITMIME\r\nRCPT TO:<c@d.test>\r\nRCPT TO:<e@f.test>\r\n");
    t_same_int(smtp_client_replies_due(client), 3);
    hears_at_once("250 2.1.0 Ok\r\n250 2.1.5 Ok\r\n550 5.1.1 No\r\n", "mail 250, rcpt 250, rcpt 550");
    smtp_client_data(client);
    sent("DATA\r\n");
    hears("354 Go\r\n", "data 354");
    smtp_client_message_sent(client, true);
    sent(".\r\n");
    hears("250 2.0.0 Queued\r\n", "message 250");
    t_true(smtp_client_is_idle(client));
    close_client();

    t_case("without, one waits for the reply of the other", "5321 4.3.1");
    open_ready("");
    smtp_client_mail(client, STR(""), 7, true, STR(""));
    smtp_client_rcpt(client, STR("c@d.test"), STR(""));
    smtp_client_rcpt(client, STR("e@f.test"), STR(""));
    sent("MAIL FROM:<>\r\n");
    t_same_int(smtp_client_replies_due(client), 3);
    t_true(!smtp_client_is_idle(client));
    hears("250 Ok\r\n", "mail 250");
    sent("RCPT TO:<c@d.test>\r\n");
    hears("451 Later\r\n", "rcpt 451");
    sent("RCPT TO:<e@f.test>\r\n");
    hears("250 Ok\r\n", "rcpt 250");
    sent("");
    smtp_client_data(client);
    hears("354 Go\r\n", "data 354");
    buf_clear(&out);
    t_case("a message without a line end at its end gets one before the dot", "5321 4.1.1.4");
    smtp_client_message_sent(client, false);
    sent("\r\n.\r\n");
    close_client();
}

static void test_parameters(void **state)
{
    (void)state;
    t_case("a size that is not known is not told", "1870 6");
    open_ready("250-SIZE\r\n250-8BITMIME\r\n");
    smtp_client_mail(client, STR("a@b.test"), 0, false, STR(""));
    sent("MAIL FROM:<a@b.test>\r\n");
    close_client();
    t_case("nothing is said that was not offered", "5321 4.1.1.1");
    open_ready("");
    smtp_client_mail(client, STR("a@b.test"), 5, true, STR(""));
    sent("MAIL FROM:<a@b.test>\r\n");
    close_client();
}

static void test_refusals(void **state)
{
    (void)state;
    t_case("each refusal is an event of its own", "5321 4.2.1");
    open_ready("250-PIPELINING\r\n");
    smtp_client_mail(client, STR("a@b.test"), 0, false, STR(""));
    smtp_client_rcpt(client, STR("c@d.test"), STR(""));
    hears("550 5.7.1 No\r\n503 5.5.1 Need MAIL\r\n", "mail 550, rcpt 503");
    smtp_client_reset(client);
    hears("250 2.0.0 Ok\r\n", "reset");
    smtp_client_mail(client, STR("a@b.test"), 0, false, STR(""));
    smtp_client_rcpt(client, STR("c@d.test"), STR(""));
    hears("250 Ok\r\n250 Ok\r\n", "mail 250, rcpt 250");
    smtp_client_data(client);
    hears("452 4.3.1 Full\r\n", "data 452");
    t_true(smtp_client_is_idle(client));
    close_client();
    t_case("a refused message", "5321 4.2.5");
    open_ready("");
    smtp_client_data(client);
    hears("354 Go\r\n", "data 354");
    smtp_client_message_sent(client, true);
    hears("554-5.7.1 First\r\n554 5.7.1 Second\r\n", "message 554");
    t_true(smtp_client_is_idle(client));
    close_client();
}

/* ---- XFORWARD ---- */

static void test_forward(void **state)
{
    static char long_name[250];
    struct smtp_identity who = {
        .addr = "2001:db8::1", .port = 1025, .helo = "client.test", .esmtp = true, .ident = "ID1"};

    (void)state;
    t_case("the attributes that the backend names, and then it goes on", "Postfix XFORWARD_README");
    open_ready("250-XFORWARD NAME ADDR PORT PROTO HELO IDENT SOURCE\r\n");
    smtp_client_forward(client, &who);
    sent("XFORWARD NAME=[UNAVAILABLE] ADDR=IPV6:2001:db8::1 PORT=1025 PROTO=ESMTP HELO=client.test IDENT=ID1 "
         "SOURCE=REMOTE\r\n");
    hears("250 2.0.0 Ok\r\n", "identified");
    t_true(smtp_client_is_idle(client));
    t_case("two commands where one line cannot hold it: one answer for both", NULL);
    memset(long_name, 'a', sizeof(long_name) - 1);
    who.name = who.helo = long_name;
    smtp_client_forward(client, &who);
    hears("250 2.0.0 Ok\r\n", "");
    hears("250 2.0.0 Ok\r\n", "identified");
    t_case("refused, it is told; 421 ends it", NULL);
    buf_clear(&out);
    who.name = who.helo = NULL;
    smtp_client_forward(client, &who);
    hears("550 5.7.0 Not you\r\n", "identified");
    smtp_client_forward(client, &who);
    hears("421 4.3.2 Down\r\n", "refused 421");
    close_client();
}

/* ---- LMTP ---- */

static void open_lmtp(void)
{
    buf_init(&out, 1024 * 1024);
    buf_init(&told, 1024 * 1024);
    client = smtp_client_new(PROTOCOL_LMTP, "mx.test", false, &out);
    hears("220 backend LMTP\r\n", "");
    sent("LHLO mx.test\r\n");
}

static void test_lmtp(void **state)
{
    (void)state;
    t_case("a reply for each recipient that was accepted", "2033 4.2");
    open_lmtp();
    hears("250-backend\r\n250-PIPELINING\r\n250-BINARYMIME\r\n250 CHUNKING\r\n", "ready");
    t_true(!smtp_client_capabilities(client)->chunking && !smtp_client_capabilities(client)->binarymime);
    for (int i = 0; i < 2; i++) { /* each transaction counts anew */
        smtp_client_mail(client, STR("a@b.test"), 0, false, STR(""));
        smtp_client_rcpt(client, STR("c@d.test"), STR(""));
        smtp_client_rcpt(client, STR("x@d.test"), STR(""));
        smtp_client_rcpt(client, STR("e@d.test"), STR(""));
        hears("250 Ok\r\n250 Ok\r\n550 No\r\n250 Ok\r\n", "mail 250, rcpt 250, rcpt 550, rcpt 250");
        smtp_client_data(client);
        hears("354 Go\r\n", "data 354");
        smtp_client_message_sent(client, true);
        t_same_int(smtp_client_replies_due(client), 2);
        hears("250 Ok\r\n", "message 250");
        t_true(!smtp_client_is_idle(client));
        hears("452 Full\r\n", "message 452");
        t_true(smtp_client_is_idle(client));
    }
    hears("250 Ok\r\n", "broken");
    close_client();
    t_case("LHLO is all there is: no HELO", "2033 4.1");
    open_lmtp();
    hears("500 What?\r\n", "refused 500");
    sent("");
    close_client();
}

/* ---- a drunk backend ---- */

enum told_to { TO_BOTH, TO_MAIL, TO_RCPT, TO_DATA, TO_MESSAGE, TO_RSET };

static const struct {
    const char *name, *rfc;
    enum told_to command;
    const char *bytes, *events;
} drunk[] = {
    {"MAIL and RCPT, one by one: 250 twice to MAIL", "5321 4.3.1", TO_BOTH, "250 a\r\n250 b\r\n", "broken"},
    {"MAIL: 354", "5321 4.3.2", TO_MAIL, "354 Go\r\n", "broken"},
    {"MAIL: 250 twice", NULL, TO_MAIL, "250 a\r\n250 b\r\n", "mail 250, broken"},
    {"MAIL: garbage", NULL, TO_MAIL, "hello\r\n", "broken"},
    {"MAIL: an unfinished line is no reply", "5321 4.2", TO_MAIL, "250 Ok", ""},
    {"MAIL: an unfinished reply is no reply", "5321 4.2.1", TO_MAIL, "250-Ok\r\n", ""},
    {"RCPT: 354", "5321 4.3.2", TO_RCPT, "354 Go\r\n", "broken"},
    {"RCPT: 250 twice", NULL, TO_RCPT, "250 a\r\n250 b\r\n", "rcpt 250, broken"},
    {"DATA: 250", "5321 4.3.2", TO_DATA, "250 Ok\r\n", "broken"},
    {"DATA: 355", "5321 4.3.2", TO_DATA, "355 Ok\r\n", "broken"},
    {"DATA: 354 twice", NULL, TO_DATA, "354 Go\r\n354 Go\r\n", "data 354, broken"},
    {"DATA: the 250 before the message", NULL, TO_DATA, "354 Go\r\n250 Queued\r\n", "data 354, broken"},
    {"the dot: 354", "5321 4.3.2", TO_MESSAGE, "354 Go\r\n", "broken"},
    {"the dot: 299 is a success", "5321 4.2.1", TO_MESSAGE, "299 Ok\r\n", "message 299"},
    {"the dot: 250 twice", NULL, TO_MESSAGE, "250 a\r\n250 b\r\n", "message 250, broken"},
    {"the dot: 421 unasked", "5321 3.8", TO_MESSAGE, "250 a\r\n421 b\r\n", "message 250, broken"},
    {"the dot: 999", NULL, TO_MESSAGE, "999 a\r\n", "broken"},
    {"RSET: 354", "5321 4.3.2", TO_RSET, "354 a\r\n", "broken"},
    {"RSET: refused", "5321 4.1.1.5", TO_RSET, "500 a\r\n", "broken"},
};

static void command_for(enum told_to command)
{
    switch (command) {
    case TO_BOTH:
        smtp_client_mail(client, STR("a@b.test"), 0, false, STR(""));
        smtp_client_rcpt(client, STR("a@b.test"), STR(""));
        break;
    case TO_MAIL:
        smtp_client_mail(client, STR("a@b.test"), 0, false, STR(""));
        break;
    case TO_RCPT:
        smtp_client_rcpt(client, STR("a@b.test"), STR(""));
        break;
    case TO_DATA:
        smtp_client_data(client);
        break;
    case TO_MESSAGE:
        smtp_client_data(client);
        hears("354 Go\r\n", "data 354");
        smtp_client_message_sent(client, true);
        break;
    case TO_RSET:
        smtp_client_reset(client);
        break;
    }
}

static void test_drunk(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(drunk); i++) {
        t_case(drunk[i].name, drunk[i].rfc);
        open_ready("");
        command_for(drunk[i].command);
        hears_at_once(drunk[i].bytes, drunk[i].events);
        close_client();
    }
}

/* A reply that is there before its question is the answer to nothing: a 250 that came with the 354 must not
 * become that of the message. */
static void test_early(void **state)
{
    static const char *const early[] = {"250 Queued\r\n", "250-Queued\r\n", "2"};

    (void)state;
    for (size_t i = 0; i < COUNT(early); i++) {
        struct smtp_client_event event;

        t_case("a reply that came before the final dot", "5321 4.1.1.4");
        open_ready("");
        smtp_client_data(client);
        smtp_client_feed(client, "354 Go\r\n", 8);
        smtp_client_feed(client, early[i], strlen(early[i]));
        smtp_client_next(client, &event);
        t_same_int(event.kind, SMTP_CLIENT_DATA);
        buf_clear(&out);
        smtp_client_message_sent(client, true);
        sent("");
        hears("250 Queued\r\n", "broken");
        close_client();

        t_case("an answer to EHLO that came with the greeting", "5321 4.3.1");
        open_client(false);
        smtp_client_feed(client, "220 x\r\n", 7);
        smtp_client_feed(client, early[i], strlen(early[i]));
        hears("250 x\r\n", "broken");
        close_client();

        t_case("a reply that came before its command", "5321 4.3.1");
        open_ready("");
        smtp_client_mail(client, STR(""), 0, false, STR(""));
        smtp_client_feed(client, "250 Ok\r\n", 8);
        smtp_client_feed(client, early[i], strlen(early[i]));
        smtp_client_next(client, &event);
        t_same_int(event.kind, SMTP_CLIENT_MAIL);
        smtp_client_rcpt(client, STR("a@b.test"), STR(""));
        hears("250 Ok\r\n", "broken");
        close_client();

        t_case("a connection on which something unasked has come is not idle", NULL);
        open_ready("");
        smtp_client_feed(client, early[i], strlen(early[i]));
        t_true(!smtp_client_is_idle(client));
        smtp_client_next(client, &event);
        t_true(!smtp_client_is_idle(client));
        close_client();
    }
}

/* ---- AUTH ---- */

static void test_auth(void **state)
{
    char line[4 + 12284 + 3];

    (void)state;
    t_case("a mechanism with its initial response, and the transaction behind it", "4954 4");
    open_ready("250-AUTH PLAIN LOGIN\r\n");
    smtp_client_auth(client, STR("PLAIN"), STR("AGJvYgBzZWNyZXQ="));
    sent("AUTH PLAIN AGJvYgBzZWNyZXQ=\r\n");
    hears("235 2.7.0 Welcome\r\n", "auth 235");
    t_true(smtp_client_is_idle(client));
    smtp_client_mail(client, STR("a@b.test"), 0, false, STR(""));
    sent("MAIL FROM:<a@b.test>\r\n");
    close_client();
    t_case("challenges and responses, empty ones too", "4954 4");
    open_ready("250-AUTH LOGIN\r\n");
    smtp_client_auth(client, STR("LOGIN"), STR(""));
    sent("AUTH LOGIN\r\n");
    hears("334 VXNlcm5hbWU6\r\n", "challenge VXNlcm5hbWU6");
    smtp_client_respond(client, STR("Ym9i"));
    sent("Ym9i\r\n");
    hears("334 \r\n", "challenge ");
    smtp_client_respond(client, STR(""));
    sent("\r\n");
    hears("535 5.7.8 No\r\n", "auth 535");
    smtp_client_auth(client, STR("LOGIN"), STR("="));
    sent("AUTH LOGIN =\r\n");
    hears("334\r\n", "challenge ");
    smtp_client_respond(client, STR("*"));
    hears("501 5.7.0 Cancelled\r\n", "auth 501");
    close_client();
    t_case("a challenge may be as long as a line of AUTH", "4954 4");
    open_ready("250-AUTH X\r\n");
    smtp_client_auth(client, STR("X"), STR(""));
    memset(line, 'A', sizeof(line));
    memcpy(line, "334 ", 4);
    memcpy(line + 4 + 12280, "\r\n", 3);
    smtp_client_feed(client, line, strlen(line));
    buf_clear(&told);
    take_events();
    t_same_int(told.n, strlen("challenge ") + 12280);
    close_client();
    t_case("a challenge that is not base64 is drunken talk, and so is one that nobody asked for", NULL);
    open_ready("250-AUTH PLAIN\r\n");
    smtp_client_auth(client, STR("PLAIN"), STR(""));
    hears("334 Who are you?\r\n", "broken");
    close_client();
    open_ready("250-AUTH PLAIN\r\n");
    smtp_client_auth(client, STR("PLAIN"), STR("YWI="));
    hears_at_once("235 2.7.0 Welcome\r\n334 YWI=\r\n", "auth 235, broken");
    close_client();
    t_case("354 is no answer to AUTH", NULL);
    open_ready("250-AUTH PLAIN\r\n");
    smtp_client_auth(client, STR("PLAIN"), STR("YWI="));
    hears("354 Go on\r\n", "broken");
    close_client();
}

/* ---- the end ---- */

static void test_quit(void **state)
{
    (void)state;
    t_case("QUIT, and nothing may follow", "5321 4.1.1.10");
    open_ready("");
    smtp_client_quit(client);
    sent("QUIT\r\n");
    hears("221 Bye\r\n", "broken");
    close_client();
}

static void test_too_many_commands(void **state)
{
    char name[1001];

    (void)state;
    t_case("commands that wait for the backend are bounded", NULL);
    memset(name, 'x', 1000);
    name[1000] = '\0';
    open_ready("");
    smtp_client_mail(client, STR(""), 0, false, STR(""));
    for (int i = 0; i < 5000; i++)
        smtp_client_rcpt(client, str_of(name), STR(""));
    hears("250 Ok\r\n", "broken");
    close_client();
}

/* ---- who listens ---- */

static void on_heard(const char *command, const struct smtp_reply *reply, void *arg)
{
    buf_fmt(arg, "%s %d %.*s; ", command, reply->code, STR_ARG(reply->text));
}

static void test_listening(void **state)
{
    struct buf heard;

    (void)state;
    t_case("who listens hears each reply, those that make no event too, and what it answers", NULL);
    buf_init(&heard, 4096);
    open_client(true);
    smtp_client_listen(client, on_heard, &heard);
    hears("220 mx.test\r\n250-mx.test\r\n250 STARTTLS\r\n454 4.7.0 Not now\r\n", "ready");
    smtp_client_quit(client);
    hears("221 2.0.0 Bye\r\n", "broken");
    t_same_str_z(buf_str(&heard), "greeting 220 mx.test; EHLO 250 mx.test\nSTARTTLS; STARTTLS 454 Not now; QUIT 221 Bye; ");
    close_client();
    t_case("and a reply that nobody waits for", NULL);
    buf_clear(&heard);
    open_ready("");
    smtp_client_listen(client, on_heard, &heard);
    hears("421 Closing\r\n", "broken");
    t_same_str_z(buf_str(&heard), "nothing 421 Closing; ");
    close_client();
    buf_fini(&heard);
}

/* ---- in pieces ---- */

static void test_pieces(void **state)
{
    static const char replies[] = "250 Ok\r\n550-5.1.1 No\r\n550 5.1.1 never\r\n354 Go\r\n";
    struct arena *mem = arena_new(0);

    (void)state;
    for (size_t cut = 0; cut < sizeof(replies); cut++) {
        t_case(str_fmt(mem, "replies cut after %zu octets", cut), NULL);
        open_ready("250-PIPELINING\r\n");
        smtp_client_mail(client, STR(""), 0, false, STR(""));
        smtp_client_rcpt(client, STR("a@b.test"), STR(""));
        smtp_client_data(client);
        buf_clear(&told);
        smtp_client_feed(client, replies, cut);
        take_events();
        smtp_client_feed(client, replies + cut, sizeof(replies) - 1 - cut);
        take_events();
        t_same_str_z(buf_str(&told), "mail 250, rcpt 550, data 354");
        close_client();
    }
    arena_free(&mem);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_opening),     cmocka_unit_test(test_odd_openings),
        cmocka_unit_test(test_ends_once),   cmocka_unit_test(test_capabilities),
        cmocka_unit_test(test_starttls),    cmocka_unit_test(test_starttls_injected),
        cmocka_unit_test(test_identify),    cmocka_unit_test(test_identify_refused),
        cmocka_unit_test(test_transaction), cmocka_unit_test(test_parameters),
        cmocka_unit_test(test_refusals),    cmocka_unit_test(test_drunk),
        cmocka_unit_test(test_early),       cmocka_unit_test(test_auth),
        cmocka_unit_test(test_quit),        cmocka_unit_test(test_too_many_commands),
        cmocka_unit_test(test_pieces),      cmocka_unit_test(test_lmtp),
        cmocka_unit_test(test_forward),     cmocka_unit_test(test_listening),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
