/*
 * proxy/login_test.c - AUTH through us, with a scripted backend: what passes, what never does, and whose the connection
 * is afterwards
 */
#include "proxy/login.h"

#include "base/bug.h"
#include "proxy/link.h"
#include "tests/relay_bed.h"
#include "tests/t.h"

#include <stdio.h>

static const char offers[] =
    "250-PIPELINING\r\n250-XCLIENT NAME ADDR PORT PROTO HELO\r\n250-AUTH PLAIN LOGIN\r\n";
static const struct smtp_identity somebody = {
    .addr = "192.0.2.1", .port = 1025, .helo = "client.test", .esmtp = true};

static struct arena *memory;

/* ---- the bed: that of relays, with both backends in use ---- */

static int open_login_bed(void **state)
{
    open_bed(state);
    memory = arena_new(0);
    config.backends_count = FAKES;
    renew_backends();
    for (int i = 0; i < FAKES; i++)
        fakebackend_offer(fakes[i], offers);
    return 0;
}

static int close_login_bed(void **state)
{
    arena_free(&memory);
    return close_bed(state);
}

static void reopen(void)
{
    close_login_bed(NULL);
    open_login_bed(NULL);
}

/* ---- a session's part ---- */

static struct {
    struct login *login;
    unsigned answers, lost;
    bool asking;
    char said[200]; /* "535 5.7.8 No" */
} me;

static void on_answer(const struct relay_reply *reply, void *arg)
{
    (void)arg;
    loop_stop(loop);
    if (me.asking)
        t_fail("an answer before the asking call has returned");
    me.answers++;
    snprintf(me.said, sizeof(me.said), "%d%s%s %.*s", reply->code, *reply->enhanced != '\0' ? " " : "",
             reply->enhanced, STR_ARG(reply->text));
}

static void on_lost(void *arg)
{
    (void)arg;
    loop_stop(loop);
    me.lost++;
}

static const struct login_events events = {on_answer, on_lost};

static void expect_answer(unsigned count, const char *want)
{
    WAIT(me.answers == count);
    if (!str_starts(str_of(me.said), str_of(want)))
        t_fail("\"%s\", not \"%s\"", me.said, want);
}

static void log_in(const char *mechanism, const char *initial, const char *want)
{
    memset(&me, 0, sizeof(me));
    me.asking = true;
    me.login = login_start(backends, &somebody, str_of(mechanism), str_of(initial), &events, NULL);
    me.asking = false;
    expect_answer(1, want);
}

static void respond(const char *response, const char *want)
{
    unsigned before = me.answers;

    me.asking = true;
    login_respond(me.login, str_of(response));
    me.asking = false;
    expect_answer(before + 1, want);
}

static struct str commands(void)
{
    return fakebackend_commands(fakes[0]);
}

static void same_commands(const char *want)
{
    t_same_str(commands(), str_of(want));
}

#define INTRODUCED                                                                                           \
    "1 EHLO mx.test\n1 XCLIENT NAME=[UNAVAILABLE] ADDR=192.0.2.1 PORT=1025 PROTO=ESMTP HELO=client.test\n"   \
    "1 EHLO client.test\n"

/* ---- what passes ---- */

static void test_dialogues(void **state)
{
    static const struct {
        const char *name, *rfc, *rules[3], *mechanism, *initial, *answers[3], *responses[3], *heard;
        bool logged_in;
    } rows[] = {
        {"a word and a password at once",
         "4954 4",
         {NULL},
         "PLAIN",
         "AGEAYg==",
         {"235 2.7.0 Ok"},
         {NULL},
         "1 AUTH PLAIN AGEAYg==\n",
         true},
        {"an empty initial response is one",
         "4954 4",
         {NULL},
         "PLAIN",
         "=",
         {"235 2.7.0 Ok"},
         {NULL},
         "1 AUTH PLAIN =\n",
         true},
        {"step by step",
         "4954 4",
         {"AUTH=334 VXNlcm5hbWU6\r\n", "RESPONSE#1=334 UGFzc3dvcmQ6\r\n", NULL},
         "LOGIN",
         "",
         {"334 VXNlcm5hbWU6", "334 UGFzc3dvcmQ6", "235 2.7.0 Ok"},
         {"YQ==", "Yg=="},
         "1 AUTH LOGIN\n1 YQ==\n1 Yg==\n",
         true},
        {"an empty challenge and an empty response",
         "4954 4",
         {"AUTH=334 \r\n", NULL},
         "plain",
         "",
         {"334 ", "235 2.7.0 Ok"},
         {""},
         "1 AUTH plain\n1 \n",
         true},
        {"called off",
         "4954 4",
         {"AUTH=334 \r\n", "RESPONSE=501 5.7.0 Called off\r\n", NULL},
         "PLAIN",
         "",
         {"334 ", "501 5.7.0 Called off"},
         {"*"},
         "1 AUTH PLAIN\n1 *\n",
         false},
        {"a wrong password",
         "4954 6",
         {"AUTH=535 5.7.8 No\r\n", NULL},
         "PLAIN",
         "AGEAYg==",
         {"535 5.7.8 No"},
         {NULL},
         "1 AUTH PLAIN AGEAYg==\n",
         false},
        {"a password that must be changed",
         "4954 6",
         {"AUTH=432 4.7.12 Change it\r\n", NULL},
         "PLAIN",
         "AGEAYg==",
         {"432 4.7.12 Change it"},
         {NULL},
         "1 AUTH PLAIN AGEAYg==\n",
         false},
        {"a refusal without an enhanced code",
         "4954 6",
         {"AUTH=534 Too weak\r\n", NULL},
         "PLAIN",
         "AGEAYg==",
         {"534 Too weak"},
         {NULL},
         "1 AUTH PLAIN AGEAYg==\n",
         false},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        t_case(rows[i].name, rows[i].rfc);
        fakebackend_rules(fakes[0], rows[i].rules);
        log_in(rows[i].mechanism, rows[i].initial, rows[i].answers[0]);
        for (size_t n = 0; rows[i].responses[n] != NULL; n++)
            respond(rows[i].responses[n], rows[i].answers[n + 1]);
        same_commands(str_fmt(memory, INTRODUCED "%s", rows[i].heard));
        t_true((*login_link(me.login) != NULL) == rows[i].logged_in);
        login_close(&me.login);
        t_true(me.login == NULL);
        reopen();
    }
}

/* ---- trouble ---- */

static void test_trouble(void **state)
{
    static const struct {
        const char *name, *rules[3], *first, *then;
    } rows[] = {
        {"hangs up", {"AUTH=!close", NULL}, "454 4.7.0", NULL},
        {"hangs up behind a challenge", {"AUTH=334 \r\n!close", NULL}, "334 ", "454 4.7.0"},
        {"hangs up at a response", {"AUTH=334 \r\n", "RESPONSE=!close", NULL}, "334 ", "454 4.7.0"},
        {"says 421", {"AUTH=421 4.3.2 Later\r\n!close", NULL}, "454 4.7.0", NULL},
        {"says 250", {"AUTH=250 2.0.0 Ok\r\n", NULL}, "454 4.7.0", NULL},
        {"says 354", {"AUTH=354 Go\r\n", NULL}, "454 4.7.0", NULL},
        {"challenges with what is no base64", {"AUTH=334 What?\r\n", NULL}, "454 4.7.0", NULL},
        {"says what is no reply", {"AUTH=hello\r\n", NULL}, "454 4.7.0", NULL},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        t_case(str_fmt(memory, "a backend that %s", rows[i].name), "4954 6");
        fakebackend_rules(fakes[0], rows[i].rules);
        log_in("PLAIN", "AGEAYg==", rows[i].first);
        let_pass();
        if (rows[i].then != NULL)
            respond("AGEAYg==", rows[i].then);
        t_true(*login_link(me.login) == NULL);
        login_close(&me.login);
        let_pass();
        t_same_int(me.answers, rows[i].then != NULL ? 2 : 1);
        t_same_int(me.lost, 0);
        t_same_int(fakebackend_visits(fakes[1]), 0); /* the password is nobody else's */
        reopen();
    }
}

static void test_silence(void **state)
{
    static const char *const silent[] = {"AUTH=", NULL};

    (void)state;
    t_case("a backend that says nothing to AUTH", "4954 6");
    fake_settings[0].reply_timeout_ms = SHORT_MS;
    fakebackend_rules(fakes[0], silent);
    log_in("PLAIN", "AGEAYg==", "454 4.7.0");
    login_close(&me.login);
}

static void test_other_backends(void **state)
{
    (void)state;
    t_case("a backend that cannot be reached: the next", NULL);
    fakebackend_close_door(fakes[0]);
    log_in("PLAIN", "AGEAYg==", "235");
    t_same_int(fakebackend_heard(fakes[1], "AUTH"), 1);
    login_close(&me.login);
    t_case("none that can be reached", "4954 6");
    fakebackend_close_door(fakes[1]);
    log_in("PLAIN", "AGEAYg==", "454 4.7.0");
    login_close(&me.login);
    reopen();
    t_case("a backend that does not offer it: the next", "4954 4");
    fakebackend_offer(fakes[0], "250-AUTH LOGIN\r\n");
    log_in("PLAIN", "AGEAYg==", "235");
    t_same_int(fakebackend_heard(fakes[0], "AUTH"), 0);
    login_close(&me.login);
    t_case("none that offers it", "4954 4");
    log_in("CRAM-MD5", "", "454 4.7.0");
    login_close(&me.login);
}

static void test_stale_link(void **state)
{
    static const char *const rules[] = {"1.AUTH#1=535 5.7.8 No\r\n", "1.AUTH#2=!close", NULL};

    (void)state;
    t_case("a kept connection that has died meanwhile is replaced, and nobody notices", NULL);
    fakebackend_offer(fakes[0], "250-AUTH PLAIN\r\n");
    fakebackend_rules(fakes[0], rules);
    log_in("PLAIN", "AGEAYg==", "535");
    login_close(&me.login);
    log_in("PLAIN", "AGEAYw==", "235");
    same_commands("1 EHLO mx.test\n1 AUTH PLAIN AGEAYg==\n1 AUTH PLAIN AGEAYw==\n"
                  "2 EHLO mx.test\n2 AUTH PLAIN AGEAYw==\n");
    login_close(&me.login);
}

static void test_given_up(void **state)
{
    static const char *const silent[] = {"AUTH=", NULL};

    (void)state;
    t_case("a login that is closed answers no more, and its connection is cut", NULL);
    fakebackend_rules(fakes[0], silent);
    memset(&me, 0, sizeof(me));
    me.login = login_start(backends, &somebody, STR("PLAIN"), STR("AGEAYg=="), &events, NULL);
    login_close(&me.login);
    let_pass();
    t_same_int(fakebackend_visits(fakes[0]), 0);
    me.login = login_start(backends, &somebody, STR("PLAIN"), STR("AGEAYg=="), &events, NULL);
    WAIT(fakebackend_heard(fakes[0], "AUTH") == 1);
    login_close(&me.login);
    WAIT(fakebackend_open(fakes[0]) == 0);
    t_same_int(me.answers, 0);
}

/* ---- afterwards ---- */

static void test_own_link(void **state)
{
    struct work other;

    (void)state;
    log_in("PLAIN", "AGEAYg==", "235");
    t_case("two messages leave on the connection where the client has logged in", "4954 3");
    for (int i = 0; i < 2; i++) {
        begin_on(&work, login_link(me.login));
        t_same_int(rcpt(&work, "c@d.test"), 250);
        t_same_int(message(&work), 250);
        end_work(&work);
    }
    t_same_int(fakebackend_visits(fakes[0]), 1);
    t_same_int(fakebackend_heard(fakes[0], "XCLIENT"), 1);
    t_case("nobody else ever gets it", "4954 3");
    begin(&other);
    t_same_int(rcpt(&other, "c@d.test"), 250);
    t_same_int(fakebackend_visits(fakes[0]), 2);
    end_work(&other);
    t_case("RSET, and at once the next transaction", "4954 3");
    for (int i = 0; i < 60; i++) {
        begin_on(&work, login_link(me.login));
        t_same_int(rcpt(&work, "c@d.test"), 250);
        end_work(&work);
    }
    t_same_int(fakebackend_heard(fakes[0], "AUTH"), 1);
    t_same_int(fakebackend_visits(fakes[0]), 2);
    t_case("it ends with the client's session", "4954 3");
    login_close(&me.login);
    let_pass();
    t_same_int(fakebackend_open(fakes[0]), 1);
    t_same_int(me.lost, 0);
}

static void test_slow_message(void **state)
{
    static const char *const late[] = {"NOOP#2=", NULL},
                             *const refused[] = {"NOOP=500 5.5.2 What?\r\n", NULL},
                             *const gone[] = {"NOOP=421 4.4.2 Timeout\r\n!close", NULL};

    (void)state;
    t_case("while its message comes slowly, the backend has something to answer", "5321 4.5.3.2");
    log_in("PLAIN", "AGEAYg==", "235");
    begin_on(&work, login_link(me.login));
    relay_keep_alive(work.relay); /* there is no transaction yet */
    t_same_int(rcpt(&work, "c@d.test"), 250);
    for (unsigned i = 1; i < 4; i++) {
        relay_keep_alive(work.relay);
        relay_keep_alive(work.relay); /* one at a time */
        let_pass();
        t_same_int(fakebackend_heard(fakes[0], "NOOP"), i);
    }
    t_same_int(message(&work), 250);
    end_work(&work);
    t_case("the message waits for that answer, which may be a refusal", NULL);
    fakebackend_rules(fakes[0], refused);
    begin_on(&work, login_link(me.login));
    t_same_int(rcpt(&work, "c@d.test"), 250);
    relay_keep_alive(work.relay);
    t_same_int(message(&work), 250);
    end_work(&work);
    t_case("a backend that has had enough: the message comes again, after another login", NULL);
    fakebackend_rules(fakes[0], gone);
    begin_on(&work, login_link(me.login));
    t_same_int(rcpt(&work, "c@d.test"), 250);
    relay_keep_alive(work.relay);
    t_same_int(message(&work), 451);
    t_same_int(fakebackend_taken(fakes[0]), 2);
    end_work(&work);
    WAIT(me.lost == 1);
    login_close(&me.login);
    t_case("and one that does not answer", NULL);
    reopen();
    log_in("PLAIN", "AGEAYg==", "235");
    fakebackend_rules(fakes[0], late);
    begin_on(&work, login_link(me.login));
    t_same_int(rcpt(&work, "c@d.test"), 250);
    relay_keep_alive(work.relay);
    let_pass();
    fake_settings[0].reply_timeout_ms = SHORT_MS;
    relay_keep_alive(work.relay);
    t_same_int(message(&work), 451);
    end_work(&work);
    login_close(&me.login);
    fake_settings[0].reply_timeout_ms = PATIENT_MS;
    t_case("all others may be replaced, and are not asked", NULL);
    begin(&work);
    t_same_int(rcpt(&work, "c@d.test"), 250);
    relay_keep_alive(work.relay);
    let_pass();
    t_same_int(fakebackend_heard(fakes[0], "NOOP"), 2);
    end_work(&work);
}

static void test_lost(void **state)
{
    static const char *const closes[] = {"RCPT#2=!close", NULL}, *const silent[] = {"RCPT=", NULL};

    (void)state;
    t_case("the backend closes between two messages: its client hears of it, and it is not to blame", NULL);
    log_in("PLAIN", "AGEAYg==", "235");
    fakebackend_hang_up(fakes[0]);
    WAIT(me.lost == 1);
    t_true(*login_link(me.login) == NULL);
    t_case("what he says meanwhile is 451, on no other connection", NULL);
    begin_on(&work, login_link(me.login));
    t_same_int(rcpt(&work, "c@d.test"), 451);
    end_work(&work);
    t_same_int(fakebackend_heard(fakes[0], "MAIL") + fakebackend_heard(fakes[1], "MAIL"), 0);
    login_close(&me.login);
    log_in("PLAIN", "AGEAYg==", "235");
    t_same_int(fakebackend_heard(fakes[0], "AUTH"), 2);
    t_case("the backend closes within a transaction", NULL);
    fakebackend_rules(fakes[0], closes);
    begin_on(&work, login_link(me.login));
    t_same_int(rcpt(&work, "c@d.test"), 250);
    t_same_int(rcpt(&work, "e@d.test"), 451);
    WAIT(me.lost == 1);
    end_work(&work);
    login_close(&me.login);
    t_case("a transaction that is cut takes the login with it", NULL);
    reopen();
    fakebackend_rules(fakes[0], silent);
    log_in("PLAIN", "AGEAYg==", "235");
    begin_on(&work, login_link(me.login));
    say_rcpt(&work, "c@d.test");
    let_pass();
    end_work(&work);
    WAIT(me.lost == 1);
    login_close(&me.login);
}

/* ---- what is offered ---- */

static unsigned probed;

static void on_probed(void *arg)
{
    (void)arg;
    probed++;
    loop_stop(loop);
}

static const char *offered(void)
{
    static struct backends_offer offer;

    offer = backends_offer(backends);
    return offer.auth;
}

static void probe(void)
{
    struct login_probe *probe = login_probe_start(backends_unknown(backends), on_probed, NULL);

    probed = 0;
    t_true(probe != NULL);
    WAIT(probed == 1);
}

static void test_offer(void **state)
{
    static const struct {
        const char *name, *first, *second, *want;
    } rows[] = {
        {"what the backend offers", "250-AUTH PLAIN LOGIN\r\n", NULL, "PLAIN LOGIN"},
        {"what all of them do", "250-AUTH PLAIN CRAM-MD5 LOGIN\r\n", "250-AUTH LOGIN PLAIN\r\n",
         "PLAIN LOGIN"},
        {"a backend without AUTH is not asked", "", "250-AUTH LOGIN\r\n", "LOGIN"},
        {"none has it", "", "", ""},
        {"neither what would prove who we are, nor what is bound to a TLS channel",
         "250-AUTH EXTERNAL SCRAM-SHA-256-PLUS SCRAM-SHA-256\r\n", NULL, "SCRAM-SHA-256"},
    };

    struct login_probe *off;

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        t_case(rows[i].name, "4954 3");
        t_same_z(offered(), "");
        fakebackend_offer(fakes[0], rows[i].first);
        probe();
        if (rows[i].second != NULL) {
            fakebackend_offer(fakes[1], rows[i].second);
            probe();
            t_true(login_probe_start(backends_unknown(backends), on_probed, NULL) == NULL);
        }
        t_same_z(offered(), rows[i].want);
        t_same_int(fakebackend_heard(fakes[0], "XCLIENT"), 0);
        reopen();
    }
    t_case("one that had no AUTH is asked again after a while, and says so by a new EHLO", NULL);
    fakebackend_offer(fakes[0], "");
    fakebackend_offer(fakes[1], "");
    probe();
    probe();
    fakebackend_offer(fakes[0], "250-AUTH LOGIN\r\n");
    t_true(login_probe_start(backends_unknown(backends), on_probed, NULL) == NULL);
    backends_choose(backends, (bool[FAKES]){false}, STR(""))->heard_ms -= AUTH_ABSENT_MS;
    probe();
    t_same_z(offered(), "LOGIN");
    backends_choose(backends, (bool[FAKES]){false}, STR(""))->heard_ms -= AUTH_ABSENT_MS;
    t_true(login_probe_start(backends_unknown(backends), on_probed, NULL) == NULL);
    reopen();
    t_case("a probe that finds nobody ends, too, and leaves the backend alone for a while", NULL);
    fakebackend_close_door(fakes[0]);
    fakebackend_close_door(fakes[1]);
    probe();
    probe();
    t_true(login_probe_start(backends_unknown(backends), on_probed, NULL) == NULL);
    reopen();
    t_case("a probe that is called off", NULL);
    probed = 0;
    off = login_probe_start(backends_unknown(backends), on_probed, NULL);
    login_probe_cancel(&off);
    login_probe_cancel(&off);
    let_pass();
    t_same_int(probed, 0);
}

#define ON_LOGIN_BED(test) cmocka_unit_test_setup_teardown(test, open_login_bed, close_login_bed)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_LOGIN_BED(test_dialogues),      ON_LOGIN_BED(test_trouble),    ON_LOGIN_BED(test_silence),
        ON_LOGIN_BED(test_other_backends), ON_LOGIN_BED(test_stale_link), ON_LOGIN_BED(test_given_up),
        ON_LOGIN_BED(test_own_link),       ON_LOGIN_BED(test_lost),       ON_LOGIN_BED(test_offer),
        ON_LOGIN_BED(test_slow_message),
    };

    return cmocka_run_group_tests(tests, make_contexts, drop_contexts);
}
