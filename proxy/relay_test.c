/*
 * proxy/relay_test.c - the way to the backend, with a scripted one: every fault at every step, and what must
 * never be: a false 250, a lost or a second copy, an answer too many
 */
#include "proxy/relay.h"

#include "base/bug.h"
#include "tests/relay_bed.h"
#include "tests/t.h"

#include <stdio.h>
#include <string.h>

/* ---- what should be ---- */

static void test_delivers(void **state)
{
    (void)state;
    t_case("recipients get the backend's own answers, and so does the message", NULL);
    fakebackend_rules(fakes[0],
                      (const char *const[]){"RCPT#2=550 5.1.1 <x@d.test>: unknown\r\n",
                                            "RCPT#3=450-4.2.0 Greylisted\r\n450 4.2.0 come again\r\n",
                                            "DOT=250 2.0.0 Ok: queued as 5F3A\r\n", NULL});
    begin(&work);
    t_same_int(rcpt(&work, "c@d.test"), 250);
    t_same_z(work.enhanced, "2.1.5");
    t_true(!work.ours);
    t_same_z(work.backend, "first");
    t_same_int(rcpt(&work, "x@d.test"), 550);
    t_same_z(work.enhanced, "5.1.1");
    t_same_z(work.text, "<x@d.test>: unknown");
    t_same_int(rcpt(&work, "y@d.test"), 450);
    t_same_z(work.text, "Greylisted\ncome again");
    t_same_int(rcpt(&work, "z@d.test"), 250);
    t_same_int(message(&work), 250);
    t_same_z(work.text, "Ok: queued as 5F3A");
    t_same_z(work.enhanced, "2.0.0");
    expect_message(fakes[0]);
    t_same_int(fakebackend_taken(fakes[0]), 1);
    end_work(&work);
    t_same_str_z(fakebackend_commands(fakes[0]),
                 "1 EHLO mx.test\n1 MAIL FROM:<a@b.test>\n1 RCPT TO:<c@d.test>\n1 RCPT TO:<x@d.test>\n"
                 "1 RCPT TO:<y@d.test>\n1 RCPT TO:<z@d.test>\n1 DATA\n");
}

static void test_pipelining(void **state)
{
    (void)state;
    t_case("with PIPELINING, MAIL and RCPT leave together", "2920 3.1");
    fakebackend_offer(fakes[0], "250-PIPELINING\r\n250-SIZE 1000\r\n250-8BITMIME\r\n");
    fakebackend_rules(fakes[0], (const char *const[]){"MAIL=", "RCPT=250 one\r\n250 two\r\n", NULL});
    begin(&work);
    t_same_int(rcpt(&work, "c@d.test"), 250);
    t_same_z(work.text, "two");
    t_true(strstr(fakebackend_commands(fakes[0]).p, "MAIL FROM:<a@b.test> SIZE=100\n") != NULL);
    t_case("what the backends can do is known from then on", NULL);
    t_same_int(backends_offer(backends).size_max, 1000);
    t_true(backends_offer(backends).eightbitmime && backends_offer(backends).known);
}

/* ---- faults ---- */

static const struct fault {
    const char *name;
    const char *rules[RULES];
    int rcpt;         /* the answer to the first recipient */
    const char *text; /* how it begins; NULL: our own words */
    int message;      /* and to the message, when there is one */
    unsigned visits, taken;
    bool hangs; /* something is silent: short deadlines */
} faults[] = {
    /* before anything was answered */
    {"a greeting of 554", {"CONNECT=554 No\r\n"}, 451, NULL, 0, 1, 0, false},
    {"a greeting of 421", {"CONNECT=421 Busy\r\n!close"}, 451, NULL, 0, 1, 0, false},
    {"a greeting of 354", {"CONNECT=354 Go\r\n"}, 451, NULL, 0, 1, 0, false},
    {"no greeting", {"CONNECT="}, 451, NULL, 0, 1, 0, true},
    {"half a greeting", {"CONNECT=220-fake\r\n220 fa"}, 451, NULL, 0, 1, 0, true},
    {"garbage for a greeting", {"CONNECT=SSH-2.0-OpenSSH\r\n"}, 451, NULL, 0, 1, 0, false},
    {"hung up before the greeting", {"CONNECT=!close"}, 451, NULL, 0, 1, 0, false},
    {"EHLO refused: HELO", {"EHLO=502 5.5.1 ?\r\n"}, 250, "Ok", 250, 1, 1, false},
    {"EHLO and HELO refused", {"EHLO=502 5.5.1 ?\r\n", "HELO=550 No\r\n"}, 451, NULL, 0, 1, 0, false},
    {"EHLO deferred", {"EHLO=450 Later\r\n"}, 451, NULL, 0, 1, 0, false},
    {"EHLO: 421", {"EHLO=421 Busy\r\n!close"}, 451, NULL, 0, 1, 0, false},
    {"EHLO: 354", {"EHLO=354 Go\r\n"}, 451, NULL, 0, 1, 0, false},
    {"EHLO: hung up", {"EHLO=!close"}, 451, NULL, 0, 1, 0, false},
    {"EHLO: silence", {"EHLO="}, 451, NULL, 0, 1, 0, true},
    {"EHLO: garbage", {"EHLO=hello\r\n"}, 451, NULL, 0, 1, 0, false},
    {"HELO: hung up", {"EHLO=500 ?\r\n", "HELO=!close"}, 451, NULL, 0, 1, 0, false},
    {"MAIL refused", {"MAIL=550 5.7.1 Not you\r\n"}, 550, "Not you", 0, 1, 0, false},
    {"MAIL deferred", {"MAIL=451 4.3.2 Later\r\n"}, 451, "Later", 0, 1, 0, false},
    {"MAIL: 421 is not the end of our client",
     {"MAIL=421 4.3.2 Down\r\n!close"},
     451,
     "Down",
     0,
     1,
     0,
     false},
    {"MAIL: what the backend wants of us is no refusal of the client's", {"MAIL=530 5.7.0 STARTTLS first\r\n"}, 451, NULL, 0, 1, 0, false},
    {"MAIL: 354", {"MAIL=354 Go\r\n"}, 451, NULL, 0, 1, 0, false},
    {"MAIL: hung up", {"MAIL=!close"}, 451, NULL, 0, 1, 0, false},
    {"MAIL: silence", {"MAIL="}, 451, NULL, 0, 1, 0, true},
    {"MAIL: garbage", {"MAIL=\r\n"}, 451, NULL, 0, 1, 0, false},
    {"MAIL: 250 twice", {"MAIL=250 a\r\n250 b\r\n"}, 451, NULL, 0, 1, 0, false},
    {"RCPT refused", {"RCPT=550 5.1.1 Unknown\r\n"}, 550, "Unknown", 0, 1, 0, false},
    {"RCPT deferred", {"RCPT=450 4.2.0 Later\r\n"}, 450, "Later", 0, 1, 0, false},
    {"RCPT: 421 is not the end of our client",
     {"RCPT=421 4.3.2 Down\r\n!close"},
     451,
     "Down",
     0,
     1,
     0,
     false},
    {"RCPT: it wants a login", {"RCPT=530 5.7.0 Authentication required\r\n"}, 451, NULL, 0, 1, 0, false},
    {"RCPT: 354", {"RCPT=354 Go\r\n"}, 451, NULL, 0, 1, 0, false},
    {"RCPT: hung up", {"RCPT=!close"}, 451, NULL, 0, 1, 0, false},
    {"RCPT: silence", {"RCPT="}, 451, NULL, 0, 1, 0, true},
    {"RCPT: garbage", {"RCPT=25x Ok\r\n"}, 451, NULL, 0, 1, 0, false},
    {"RCPT: 199", {"RCPT=199 Ok\r\n"}, 451, NULL, 0, 1, 0, false},
    {"RCPT: 999", {"RCPT=999 Ok\r\n"}, 451, NULL, 0, 1, 0, false},

    /* once a recipient was accepted */
    {"RCPT: 250 twice", {"RCPT=250 a\r\n250 b\r\n"}, 250, "a", 451, 1, 0, false},
    {"hung up after RCPT", {"RCPT=250 a\r\n!close"}, 250, "a", 451, 2, 0, false},
    {"DATA deferred", {"DATA=452 4.3.1 Full\r\n"}, 250, "Ok", 452, 1, 0, false},
    {"DATA refused", {"DATA=554 5.5.1 No\r\n"}, 250, "Ok", 554, 1, 0, false},
    {"DATA: it wants a login", {"DATA=530 5.7.0 Authentication required\r\n"}, 250, "Ok", 451, 1, 0, false},
    {"DATA: 421", {"DATA=421 4.3.2 Down\r\n!close"}, 250, "Ok", 451, 1, 0, false},
    {"DATA: 250", {"DATA=250 Ok\r\n"}, 250, "Ok", 451, 1, 0, false},
    {"DATA: 355", {"DATA=355 Ok\r\n"}, 250, "Ok", 451, 1, 0, false},
    {"DATA: hung up", {"DATA=!close"}, 250, "Ok", 451, 1, 0, false},
    {"DATA: silence", {"DATA="}, 250, "Ok", 451, 1, 0, true},
    {"DATA: garbage", {"DATA=go on\r\n"}, 250, "Ok", 451, 1, 0, false},
    {"DATA: 354, and the message's 250 with it",
     {"DATA=354 Go\r\n250 Taken\r\n"},
     250,
     "Ok",
     451,
     1,
     0,
     false},
    {"DATA: 354 twice", {"DATA=354 Go\r\n354 Go\r\n"}, 250, "Ok", 451, 1, 0, false},
    {"DATA: 354, and half a reply with it", {"DATA=354 Go\r\n250 Tak"}, 250, "Ok", 451, 1, 0, false},
    {"within the message: hung up", {"BODY=!close"}, 250, "Ok", 451, 1, 0, false},
    {"the dot: refused", {"DOT=554 5.7.1 Spam\r\n"}, 250, "Ok", 554, 1, 0, false},
    {"the dot: deferred", {"DOT=451 4.7.1 Later\r\n"}, 250, "Ok", 451, 1, 0, false},
    {"the dot: 421", {"DOT=421 4.3.2 Down\r\n!close"}, 250, "Ok", 451, 1, 0, false},
    {"the dot: 354", {"DOT=354 Go\r\n"}, 250, "Ok", 451, 1, 0, false},
    {"the dot: hung up", {"DOT=!close"}, 250, "Ok", 451, 1, 0, false},
    {"the dot: silence", {"DOT="}, 250, "Ok", 451, 1, 0, true},
    {"the dot: garbage", {"DOT=Ok\r\n"}, 250, "Ok", 451, 1, 0, false},
    {"the dot: an unfinished line is no answer", {"DOT=250 Ok"}, 250, "Ok", 451, 1, 1, true},
    {"the dot: an unfinished reply is no answer", {"DOT=250-Ok\r\n"}, 250, "Ok", 451, 1, 1, true},
    {"the dot: half an answer, and hung up", {"DOT=250 O!close"}, 250, "Ok", 451, 1, 1, false},
    {"the dot: 250, and hung up", {"DOT=250 2.0.0 Ok\r\n!close"}, 250, "Ok", 250, 1, 1, false},
    {"the dot: 250 twice", {"DOT=250 2.0.0 Ok\r\n250 2.0.0 Ok\r\n"}, 250, "Ok", 250, 1, 1, false},
    {"the dot: any 2xx is a yes", {"DOT=299 Ok\r\n"}, 250, "Ok", 299, 1, 1, false},
};

static void play_fault(const struct fault *f)
{
    if (f->hangs)
        fake_settings[0].connect_timeout_ms = fake_settings[0].reply_timeout_ms = SHORT_MS;
    fakebackend_rules(fakes[0], f->rules);
    begin(&work);
    t_same_int(rcpt(&work, "c@d.test"), f->rcpt);
    t_same_int(work.ours, f->text == NULL);
    if (f->text != NULL)
        t_true(str_starts(str_of(work.text), str_of(f->text)));
    else
        t_same_z(work.enhanced, "4.3.0");
    if (f->message != 0) {
        let_pass(); /* what the backend does after RCPT has come */
        t_same_int(message(&work), f->message);
    }
    t_same_int(fakebackend_visits(fakes[0]), f->visits);
    t_same_int(fakebackend_taken(fakes[0]), f->taken);
    if (f->taken > 0)
        expect_message(fakes[0]);
}

static void test_faults(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(faults); i++) {
        t_case(faults[i].name, NULL);
        play_fault(&faults[i]);
        t_case("and after it mail flows again", NULL);
        end_work(&work);
        fakebackend_rules(fakes[0], NULL);
        fake_settings[0].connect_timeout_ms = fake_settings[0].reply_timeout_ms = PATIENT_MS;
        t_same_int(deliver(), 250);
        expect_message(fakes[0]);
        reopen_bed();
    }
}

/* Each answer comes once, also when the connection breaks behind it and the session takes its time. */
static void test_faults_then_nothing(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(faults); i++) {
        t_case(faults[i].name, NULL);
        play_fault(&faults[i]);
        let_pass();
        fakebackend_hang_up(fakes[0]);
        let_pass();
        t_same_int(work.answers, work.due);
        reopen_bed();
    }
}

static void test_refused_connection(void **state)
{
    (void)state;
    fakebackend_close_door(fakes[0]);
    t_case("nobody listens: 451, at once, and for the next one as well", NULL);
    t_same_int(deliver(), 451);
    t_same_int(deliver(), 451);
    begin(&work);
    t_same_int(rcpt(&work, "c@d.test"), 451);
    t_true(work.ours);
    t_case("further recipients hear the same, and the message would", NULL);
    t_same_int(rcpt(&work, "e@d.test"), 451);
    t_same_int(message(&work), 451);
    t_same_int(work.answers, 3);
}

static void test_refused_mail(void **state)
{
    (void)state;
    t_case("what MAIL got each recipient gets, and the backend hears of no more of them", NULL);
    fakebackend_rules(fakes[0],
                      (const char *const[]){"MAIL=550 5.7.1 Not you\r\n", "RCPT=503 5.5.1 MAIL?\r\n", NULL});
    begin(&work);
    for (int i = 0; i < 3; i++) {
        t_same_int(rcpt(&work, "c@d.test"), 550);
        t_same_z(work.text, "Not you");
        t_same_z(work.enhanced, "5.7.1");
        t_true(!work.ours);
    }
    t_same_int(fakebackend_heard(fakes[0], "RCPT"), 1);
}

/* ---- after the first answer there is no way to another backend ---- */

static const struct {
    const char *name, *rule;
    int rcpt, message;
    unsigned visits;
} later[] = {
    {"hung up at the second recipient", "RCPT#2=!close", 451, 451, 1},
    {"garbage at the second recipient", "RCPT#2=what\r\n", 451, 451, 1},
    {"354 at the second recipient", "RCPT#2=354 Go\r\n", 451, 451, 1},
    {"hung up after the second recipient, each time", "RCPT#2=250 Ok\r\n!close", 250, 451, 2},
    {"421 at the second and the third: the first has the message", "RCPT#2=421 Down\r\n!close", 451, 250, 3},
};

static void test_second_recipient(void **state)
{
    (void)state;
    config.backends_count = 2;
    for (size_t i = 0; i < COUNT(later); i++) {
        reopen_bed();
        config.backends_count = 2;
        renew_backends();
        t_case(later[i].name, NULL);
        fakebackend_rules(fakes[0], (const char *const[]){later[i].rule, NULL});
        begin(&work);
        t_same_int(rcpt(&work, "c@d.test"), 250);
        t_same_int(rcpt(&work, "e@d.test"), later[i].rcpt);
        let_pass();
        t_case(str_fmt(work.mem, "%s: no other backend takes over", later[i].name), NULL);
        t_same_int(rcpt(&work, "g@d.test"), 451);
        let_pass();
        t_same_int(message(&work), later[i].message);
        t_same_int(fakebackend_visits(fakes[0]), later[i].visits);
        t_same_int(fakebackend_visits(fakes[1]), 0);
        t_same_int(fakebackend_taken(fakes[0]), later[i].message == 250);
    }
}

/* ---- the second backend ---- */

static void open_two(void)
{
    config.backends_count = 2;
    renew_backends();
}

static const char *const takeovers[] = {
    "CONNECT=554 No\r\n",
    "CONNECT=!close",
    "CONNECT=421 Busy\r\n!close",
    "EHLO=!close",
    "EHLO=421 Busy\r\n!close",
    "MAIL=!close",
    "MAIL=what\r\n",
    "RCPT=!close",
};

static void test_takes_over(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(takeovers); i++) {
        reopen_bed();
        open_two();
        t_case("before the first recipient was answered the second backend takes over", NULL);
        t_case(takeovers[i], NULL);
        fakebackend_rules(fakes[0], (const char *const[]){takeovers[i], NULL});
        begin(&work);
        t_same_int(rcpt(&work, "c@d.test"), 250);
        t_same_z(work.backend, "second");
        t_same_int(message(&work), 250);
        t_same_z(work.backend, "second");
        expect_message(fakes[1]);
        t_same_int(fakebackend_taken(fakes[0]) + fakebackend_taken(fakes[1]), 1);
        t_case("a backend that just failed is left alone for a while", NULL);
        t_same_int(fakebackend_visits(fakes[0]), 1);
        end_work(&work);
        t_same_int(deliver(), 250);
        t_same_int(fakebackend_visits(fakes[0]), 1);
        t_same_int(fakebackend_taken(fakes[1]), 2);
    }
}

static void test_first_is_preferred(void **state)
{
    (void)state;
    open_two();
    t_case("while the first one works the second one hears nothing", NULL);
    t_same_int(deliver(), 250);
    t_same_int(fakebackend_visits(fakes[1]), 0);
    t_case("its refusals are answers, too", NULL);
    fakebackend_rules(fakes[0], (const char *const[]){"MAIL=550 No\r\n", NULL});
    t_same_int(deliver(), 550);
    t_same_int(fakebackend_visits(fakes[1]), 0);
}

static void test_all_down(void **state)
{
    (void)state;
    open_two();
    fakebackend_close_door(fakes[0]);
    fakebackend_rules(fakes[1], (const char *const[]){"CONNECT=554 No\r\n", NULL});
    t_case("all of them fail: each was asked once", NULL);
    t_same_int(deliver(), 451);
    t_same_int(fakebackend_visits(fakes[1]), 1);
    t_case("rather than giving up, those that are left alone are asked again", NULL);
    fakebackend_rules(fakes[1], NULL);
    t_same_int(deliver(), 250);
}

static void test_silent_then_second(void **state)
{
    (void)state;
    open_two();
    fake_settings[0].connect_timeout_ms = SHORT_MS;
    t_case("a backend that does not greet in time: the second one takes over", NULL);
    fakebackend_rules(fakes[0], (const char *const[]){"CONNECT=", NULL});
    t_same_int(deliver(), 250);
    t_same_int(fakebackend_taken(fakes[1]), 1);
}

/* ---- connections that are kept ---- */

static void test_kept(void **state)
{
    (void)state;
    t_case("transactions follow each other on one connection", NULL);
    for (int i = 0; i < 5; i++) {
        t_same_int(deliver(), 250);
        expect_message(fakes[0]);
    }
    t_same_int(fakebackend_visits(fakes[0]), 1);
    t_same_int(fakebackend_heard(fakes[0], "EHLO"), 1);
    t_same_int(fakebackend_heard(fakes[0], "RSET"), 0);
    t_same_int(fakebackend_taken(fakes[0]), 5);
}

static void test_kept_after_reset(void **state)
{
    (void)state;
    t_case("a transaction that was given up is reset, and its connection serves the next", NULL);
    begin(&work);
    t_same_int(rcpt(&work, "c@d.test"), 250);
    end_work(&work);
    WAIT(fakebackend_heard(fakes[0], "RSET") == 1);
    let_pass();
    t_same_int(deliver(), 250);
    t_same_int(fakebackend_visits(fakes[0]), 1);
    t_case("one whose RSET is not answered yet does not", NULL);
    begin(&work);
    t_same_int(rcpt(&work, "c@d.test"), 250);
    fakebackend_rules(fakes[0], (const char *const[]){"RSET=", NULL});
    end_work(&work);
    t_same_int(deliver(), 250);
    t_same_int(fakebackend_visits(fakes[0]), 2);
}

static void test_reset_refused(void **state)
{
    static const char *const rules[] = {"RSET=500 ?\r\n", "RSET=!close", "RSET=what\r\n",
                                        "RSET=250 a\r\n250 b\r\n", "RSET=421 a\r\n"};

    (void)state;
    for (size_t i = 0; i < COUNT(rules); i++) {
        reopen_bed();
        t_case("a connection that cannot be reset is not used again", NULL);
        fakebackend_rules(fakes[0], (const char *const[]){rules[i], NULL});
        begin(&work);
        t_same_int(rcpt(&work, "c@d.test"), 250);
        end_work(&work);
        WAIT(fakebackend_heard(fakes[0], "RSET") == 1);
        let_pass();
        t_same_int(deliver(), 250);
        t_same_int(fakebackend_visits(fakes[0]), 2);
        t_same_int(fakebackend_taken(fakes[0]), 1);
    }
}

static void test_reset_in_silence(void **state)
{
    (void)state;
    t_case("a RSET that is never answered ends with the reply's deadline", NULL);
    fake_settings[0].reply_timeout_ms = SHORT_MS;
    fakebackend_rules(fakes[0], (const char *const[]){"RSET=", NULL});
    begin(&work);
    t_same_int(rcpt(&work, "c@d.test"), 250);
    end_work(&work);
    WAIT(fakebackend_heard(fakes[0], "RSET") == 1);
    WAIT(fakebackend_open(fakes[0]) == 0);
}

static void test_no_pool(void **state)
{
    (void)state;
    fake_settings[0].pool = 0;
    t_case("without a pool each transaction has its own connection, and ends it with QUIT", "5321 4.1.1.10");
    t_same_int(deliver(), 250);
    t_same_int(deliver(), 250);
    t_same_int(fakebackend_visits(fakes[0]), 2);
    WAIT(fakebackend_heard(fakes[0], "QUIT") == 2);
}

static void test_pool_limit(void **state)
{
    enum { MANY = 6 };
    struct work many[MANY];

    (void)state;
    fake_settings[0].pool = 2;
    t_case("so many connections are kept as the settings say", NULL);
    for (int i = 0; i < MANY; i++) {
        begin(&many[i]);
        t_same_int(rcpt(&many[i], "c@d.test"), 250);
    }
    t_same_int(fakebackend_visits(fakes[0]), MANY);
    for (int i = 0; i < MANY; i++) {
        t_same_int(message(&many[i]), 250);
        end_work(&many[i]);
    }
    WAIT(fakebackend_open(fakes[0]) == 2);
    t_same_int(fakebackend_heard(fakes[0], "QUIT"), MANY - 2);
    t_same_int(fakebackend_taken(fakes[0]), MANY);
}

/* ---- a backend that does not wait for the message ---- */

static void test_left_waiting(void **state)
{
    static const struct {
        const char *name, *rule;
        int code;
        unsigned taken, recipients; /* heard, in all */
    } rows[] = {
        {"it hears all of it again on another connection", NULL, 250, 1, 4},
        {"also when it said why", "1.RCPT#2=250 Ok\r\n421 4.4.2 Timeout\r\n!close", 250, 1, 4},
        {"a recipient that is not taken again", "2.RCPT#2=550 5.1.1 Gone\r\n", 451, 0, 4},
        {"a sender that is not", "2.MAIL=450 4.7.1 Later\r\n", 451, 0, 4},
        {"it hangs up again", "2.RCPT=!close", 451, 0, 3},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        t_case(rows[i].name, "5321 4.5.3.2");
        fakebackend_rules(fakes[0], (const char *const[]){rows[i].rule, NULL});
        begin(&work);
        t_same_int(rcpt(&work, "c@d.test"), 250);
        t_same_int(rcpt(&work, "e@d.test"), 250);
        fakebackend_hang_up(fakes[0]);
        let_pass();
        t_same_int(backends_choose(backends, (bool[FAKES]){false}, STR(""))->failures, 0);
        t_same_int(message(&work), rows[i].code);
        t_same_int(fakebackend_visits(fakes[0]), 2);
        t_same_int(fakebackend_taken(fakes[0]), rows[i].taken);
        t_same_int(fakebackend_heard(fakes[0], "RCPT"), rows[i].recipients);
        t_same_int(work.answers, 3);
        if (rows[i].taken > 0)
            expect_message(fakes[0]);
        reopen_bed();
    }
    t_case("and between two recipients", "5321 4.5.3.2");
    begin(&work);
    t_same_int(rcpt(&work, "c@d.test"), 250);
    fakebackend_hang_up(fakes[0]);
    let_pass();
    t_same_int(rcpt(&work, "e@d.test"), 250);
    t_same_int(fakebackend_heard(fakes[0], "RCPT"), 3);
    t_same_int(message(&work), 250);
    expect_message(fakes[0]);
    reopen_bed();
    t_case("nobody is there any more", NULL);
    begin(&work);
    t_same_int(rcpt(&work, "c@d.test"), 250);
    fakebackend_close_door(fakes[0]);
    fakebackend_hang_up(fakes[0]);
    let_pass();
    t_same_int(message(&work), 451);
}

/* ---- connections that died meanwhile ---- */

static void test_died_while_resting(void **state)
{
    (void)state;
    t_same_int(deliver(), 250);
    t_case("a kept connection that is closed is forgotten, and nobody notices", NULL);
    fakebackend_hang_up(fakes[0]);
    let_pass();
    t_same_int(deliver(), 250);
    t_same_int(fakebackend_visits(fakes[0]), 2);
    t_case("also when it says 421 first", "5321 3.8");
    reopen_bed();
    fakebackend_rules(fakes[0], (const char *const[]){"DOT=250 Ok\r\n421 4.4.2 Timeout\r\n!close", NULL});
    t_same_int(deliver(), 250);
    let_pass();
    fakebackend_rules(fakes[0], NULL);
    t_same_int(deliver(), 250);
    t_same_int(fakebackend_taken(fakes[0]), 2);
}

static const struct {
    const char *name, *rule;
    unsigned mails; /* how often MAIL was heard in all */
} stale[] = {
    {"it hangs up at MAIL", "1.MAIL#2=!close", 3},
    {"it says 421 to MAIL", "1.MAIL#2=421 4.4.2 Timeout\r\n!close", 3},
    {"it says 421 to MAIL, and stays", "1.MAIL#2=421 4.4.2 Timeout\r\n", 3},
};

static void test_stale(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(stale); i++) {
        reopen_bed();
        t_case(stale[i].name, NULL);
        t_same_int(deliver(), 250);
        fakebackend_rules(fakes[0], (const char *const[]){stale[i].rule, NULL});
        t_case("a kept connection that turns out dead is replaced, and exactly one copy arrives", NULL);
        begin(&work);
        t_same_int(rcpt(&work, "c@d.test"), 250);
        t_same_int(message(&work), 250);
        t_same_int(fakebackend_visits(fakes[0]), 2);
        t_same_int(fakebackend_heard(fakes[0], "MAIL"), stale[i].mails);
        t_same_int(fakebackend_taken(fakes[0]), 2);
        t_case("and the backend is not blamed", NULL);
        end_work(&work);
        t_same_int(deliver(), 250);
        t_same_int(fakebackend_visits(fakes[0]), 2);
    }
}

/* Two transactions at once, each on a connection of its own, so that two are kept. */
static void keep_two(void)
{
    struct work second;

    begin(&work);
    begin(&second);
    t_same_int(rcpt(&work, "c@d.test"), 250);
    t_same_int(rcpt(&second, "c@d.test"), 250);
    t_same_int(message(&work), 250);
    t_same_int(message(&second), 250);
    end_work(&work);
    end_work(&second);
}

static void test_several_stale(void **state)
{
    (void)state;
    keep_two();
    t_case("several dead ones in a row, and then a live one", NULL);
    fakebackend_rules(fakes[0], (const char *const[]){"1.MAIL#2=!close", "2.MAIL#2=!close", NULL});
    t_same_int(deliver(), 250);
    t_same_int(fakebackend_visits(fakes[0]), 3);
    t_same_int(fakebackend_taken(fakes[0]), 3);
}

static void test_several_silent(void **state)
{
    (void)state;
    fake_settings[0].reply_timeout_ms = SHORT_MS;
    keep_two();
    t_case("the silence of one is waited for once; then comes a new one, not the next that is kept", NULL);
    fakebackend_rules(fakes[0], (const char *const[]){"1.MAIL#2=", "2.MAIL#2=", NULL});
    t_same_int(deliver(), 250);
    t_same_int(fakebackend_visits(fakes[0]), 3);
    t_same_int(fakebackend_heard(fakes[0], "MAIL"), 4);
    t_same_int(fakebackend_taken(fakes[0]), 3);
}

/* Once it has answered, its death is no secret any more. */
static void test_dies_after_mail(void **state)
{
    (void)state;
    t_same_int(deliver(), 250);
    fakebackend_rules(fakes[0], (const char *const[]){"1.DATA#2=!close", NULL});
    t_case("a kept connection that dies at DATA: 451, and no second try", NULL);
    t_same_int(deliver(), 451);
    t_same_int(fakebackend_visits(fakes[0]), 1);
    t_same_int(fakebackend_taken(fakes[0]), 1);
}

static void test_late_answer(void **state)
{
    (void)state;
    fake_settings[0].reply_timeout_ms = SHORT_MS;
    fakebackend_rules(fakes[0], (const char *const[]){"1.DOT=", NULL});
    t_case("after a time-out behind the dot the connection is never used again", NULL);
    t_same_int(deliver(), 451);
    WAIT(fakebackend_open(fakes[0]) == 0);
    t_same_int(deliver(), 250);
    t_same_int(fakebackend_visits(fakes[0]), 2);
}

/* ---- whose mail it is ---- */

static const struct smtp_identity alice = {
    .name = "alice.test", .addr = "192.0.2.1", .port = 1, .helo = "helo.alice.test", .esmtp = true};
static const struct smtp_identity bob = {.addr = "192.0.2.2", .port = 2, .helo = "bob"};

static void deliver_as(const struct smtp_identity *client)
{
    begin_as(&work, client);
    t_same_int(rcpt(&work, "c@d.test"), 250);
    t_same_int(message(&work), 250);
    end_work(&work);
}

static void test_xclient(void **state)
{
    (void)state;
    fakebackend_offer(fakes[0], "250-XCLIENT NAME ADDR PORT PROTO HELO\r\n");
    t_case("a client is introduced once, and not again on the same connection", NULL);
    deliver_as(&alice);
    deliver_as(&alice);
    t_same_int(fakebackend_heard(fakes[0], "XCLIENT"), 1);
    t_same_int(fakebackend_visits(fakes[0]), 1);
    t_true(str_starts(fakebackend_commands(fakes[0]),
                      STR("1 EHLO mx.test\n1 XCLIENT NAME=alice.test ADDR=192.0.2.1 PORT=1 PROTO=ESMTP "
                          "HELO=helo.alice.test\n1 EHLO helo.alice.test\n1 MAIL FROM")));
    t_case("another one is introduced anew", NULL);
    deliver_as(&bob);
    t_same_int(fakebackend_heard(fakes[0], "XCLIENT"), 2);
    deliver_as(&alice);
    t_same_int(fakebackend_heard(fakes[0], "XCLIENT"), 3);
    t_same_int(fakebackend_visits(fakes[0]), 1);
    t_case("and nobody is, where the settings do not want it", NULL);
    fake_settings[0].pass_client = PASS_NONE;
    reopen_bed();
    fake_settings[0].pass_client = PASS_NONE;
    fakebackend_offer(fakes[0], "250-XCLIENT NAME ADDR\r\n");
    deliver_as(&alice);
    t_same_int(fakebackend_heard(fakes[0], "XCLIENT"), 0);
}

static void test_xclient_once(void **state)
{
    (void)state;
    fakebackend_offer(fakes[0], "250-XCLIENT ADDR\r\n");
    fakebackend_offer_after_xclient(fakes[0], "");
    t_case("a connection that was given to one client for good never serves another", NULL);
    deliver_as(&alice);
    deliver_as(&bob);
    t_same_int(fakebackend_visits(fakes[0]), 2);
    t_same_int(fakebackend_heard(fakes[0], "XCLIENT"), 2);
    t_same_int(fakebackend_taken(fakes[0]), 2);
}

static void test_xclient_refused(void **state)
{
    static const struct {
        const char *rule;
        int rcpt;
        unsigned visits;
    } rows[] = {
        {"XCLIENT=550 5.7.0 Not allowed\r\n", 250, 1},
        {"XCLIENT=421 Down\r\n!close", 451, 1},
        {"XCLIENT=!close", 451, 1},
        {"XCLIENT=354 Go\r\n", 451, 1},
        {"EHLO#2=554 Not that client\r\n", 451, 1},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        reopen_bed();
        fakebackend_offer(fakes[0], "250-XCLIENT ADDR\r\n");
        fakebackend_rules(fakes[0], (const char *const[]){rows[i].rule, NULL});
        t_case("XCLIENT that is not allowed costs no mail; one that ends the session does", NULL);
        t_case(rows[i].rule, NULL);
        begin_as(&work, &alice);
        t_same_int(rcpt(&work, "c@d.test"), rows[i].rcpt);
        t_same_int(fakebackend_visits(fakes[0]), rows[i].visits);
    }
}

/* ---- messages ---- */

static char octet(size_t at)
{
    static const char some[] = "a.b\r\n..\r\nc\x80\xFF.";

    return at % 77 < sizeof(some) - 1 ? some[at % 77] : (char)('a' + at % 26);
}

static void send_large(size_t n, size_t memory)
{
    static const char head[] = "Received: x\r\nSubject: y\r\n\r\n";
    char *body = malloc(n + 2);
    struct str got;

    for (size_t i = 0; i < n; i++)
        body[i] = octet(i);
    memcpy(body + n, "\r\n", 2);
    begin(&work);
    t_same_int(rcpt(&work, "c@d.test"), 250);
    say_message_of(&work, str_make(body, n + 2), memory);
    while (work.answers < work.due) {
        run_until_something_happens();
        fakebackend_read_on(fakes[0]);
    }
    t_same_int(work.code, 250);
    got = fakebackend_message(fakes[0]);
    t_same_str_z(str_upto(got, sizeof(head) - 1), head);
    got = str_from(got, sizeof(head) - 1);
    t_same_int(got.n, n + 2);
    t_true(memcmp(got.p, body, n + 2) == 0);
    end_work(&work);
    free(body);
}

static void test_large(void **state)
{
    (void)state;
    for (int chunking = 0; chunking < 2; chunking++) {
        reopen_bed();
        fakebackend_offer(fakes[0], chunking ? "250-CHUNKING\r\n" : "");
        t_case(chunking ? "as a chunk, octet for octet" : "dots are doubled, and nothing else changes",
               "5321 4.5.2");
        send_large(100, 1000000);
        t_case("from memory", NULL);
        send_large(8000000, 100000000);
        t_case("from the spool's file", NULL);
        send_large(3000000, 10000);
        t_case("to a backend that reads slowly", NULL);
        fakebackend_rules(fakes[0], (const char *const[]){"BODY=!pause", NULL});
        send_large(8000000, 100000000);
        send_large(8000000, 10000);
        t_same_int(fakebackend_taken(fakes[0]), 5);
        t_same_int(fakebackend_visits(fakes[0]), 1);
    }
}

/* Its one piece is longer than what a connection queues. */
static void test_large_header(void **state)
{
    enum { BYTES = 9000000 };
    char *head = malloc(BYTES);

    (void)state;
    memset(head, '.', BYTES);
    for (size_t at = 0; at + 1000 <= BYTES; at += 1000)
        memcpy(head + at, at == 0 ? "Subject:\r\n " : "\r\n ", at == 0 ? 11 : 3);
    memcpy(head + BYTES - 4, "\r\n\r\n", 4);
    for (int chunking = 0; chunking < 2; chunking++) {
        reopen_bed();
        fakebackend_offer(fakes[0], chunking ? "250-CHUNKING\r\n" : "");
        fakebackend_rules(fakes[0], (const char *const[]){"BODY=!pause", NULL});
        t_case("a long header section to a backend that reads slowly", NULL);
        begin(&work);
        t_same_int(rcpt(&work, "c@d.test"), 250);
        work.spool = spool_new(loop, 1000, folder, on_spool_ready, &work);
        work.pieces[0] = str_make(head, BYTES);
        work.due++;
        relay_message(work.relay,
                      &(struct relay_message){.pieces = work.pieces, .count = 1, .spool = work.spool});
        while (work.answers < work.due) {
            run_until_something_happens();
            fakebackend_read_on(fakes[0]);
        }
        t_same_int(work.code, 250);
        t_true(str_eq(fakebackend_message(fakes[0]), str_make(head, BYTES)));
        end_work(&work);
    }
    free(head);
}

static void test_odd_messages(void **state)
{
    static const struct {
        const char *body, *want;
    } rows[] = {
        {"", "Received: x\r\nSubject: y\r\n\r\n"},
        {".\r\n", "Received: x\r\nSubject: y\r\n\r\n.\r\n"},
        {"no end of line", "Received: x\r\nSubject: y\r\n\r\nno end of line\r\n"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        t_case("an odd end of a message", "5321 4.5.2");
        begin(&work);
        t_same_int(rcpt(&work, "c@d.test"), 250);
        say_message_of(&work, str_of(rows[i].body), 1000);
        WAIT(work.answers == work.due);
        t_same_int(work.code, 250);
        t_same_str_z(fakebackend_message(fakes[0]), rows[i].want);
        end_work(&work);
    }
}

/* A message that cannot be read back is never given its end. */
static void test_lost_spool(void **state)
{
    (void)state;
    for (int chunking = 0; chunking < 2; chunking++) {
        reopen_bed();
        fakebackend_offer(fakes[0], chunking ? "250-CHUNKING\r\n" : "");
        t_case("the disk refuses the message: 451, and the backend has none", NULL);
        begin(&work);
        t_same_int(rcpt(&work, "c@d.test"), 250);
        work.spool = spool_new(loop, 10, "/nowhere/at/all", on_spool_ready, &work);
        spool_add(work.spool, STR("more than ten octets\r\n"));
        work.pieces[0] = STR("Subject: y\r\n\r\n");
        work.due++;
        relay_message(work.relay, &(struct relay_message){work.pieces, 1, work.spool, STR("")});
        WAIT(work.answers == work.due);
        t_same_int(work.code, 451);
        t_true(work.ours && strstr(work.text, "disk") != NULL);
        WAIT(fakebackend_open(fakes[0]) == 0);
        t_same_int(fakebackend_taken(fakes[0]), 0);
        t_same_int(fakebackend_heard(fakes[0], "DOT"), 0);
        t_case("and the backend is not blamed", NULL);
        end_work(&work);
        t_same_int(deliver(), 250);
    }
}

/* The answer that comes while the message still goes out. */
static const struct {
    const char *name, *rule, *offer;
    int code;
} early[] = {
    {"552 within DATA", "BODY=552 5.3.4 Too big\r\n!pause", "", 451},
    {"250 within DATA", "BODY=250 Taken\r\n!pause", "", 451},
    {"421 within DATA, and hung up", "BODY=421 Down\r\n!close", "", 451},
    {"BDAT refused at once", "BDAT=552 5.3.4 Too big\r\n!pause", "250-CHUNKING\r\n", 552},
    {"552 within BDAT", "BODY=552 5.3.4 Too big\r\n!pause", "250-CHUNKING\r\n", 552},
    {"250 within BDAT", "BODY=250 Taken\r\n!pause", "250-CHUNKING\r\n", 451},
    {"421 within BDAT", "BODY=421 Down\r\n!pause", "250-CHUNKING\r\n", 451},
    {"hung up within BDAT", "BODY=!close", "250-CHUNKING\r\n", 451},
};

static char megabytes[12 * 1024 * 1024]; /* more than kernels buffer */

static void test_answer_within_the_message(void **state)
{
    (void)state;
    memset(megabytes, 'x', sizeof(megabytes));
    for (size_t i = 0; i < COUNT(early); i++) {
        reopen_bed();
        t_case(early[i].name, NULL);
        fakebackend_offer(fakes[0], early[i].offer);
        fakebackend_rules(fakes[0], (const char *const[]){early[i].rule, NULL});
        begin(&work);
        t_same_int(rcpt(&work, "c@d.test"), 250);
        say_message_of(&work, str_make(megabytes, sizeof(megabytes)), sizeof(megabytes));
        WAIT(work.answers == work.due);
        t_same_int(work.code, early[i].code);
        t_case("the connection is cut: no end of that message ever reaches the backend", NULL);
        end_work(&work);
        fakebackend_read_on(fakes[0]);
        WAIT(fakebackend_open(fakes[0]) == 0);
        t_same_int(fakebackend_heard(fakes[0], "DOT"), 0);
    }
}

/* ---- given up ---- */

/* Each names what the backend leaves unanswered; there the session ends. */
static const struct {
    const char *name, *verb, *rule, *offer;
    size_t message; /* octets of the body; 0: it is not that far yet */
} places[] = {
    {"before the first turn", NULL, NULL, "", 0},
    {"while connecting", "CONNECT", "CONNECT=", "", 0},
    {"at EHLO", "EHLO", "EHLO=", "", 0},
    {"at XCLIENT", "XCLIENT", "XCLIENT=", "250-XCLIENT ADDR\r\n", 0},
    {"at the EHLO behind XCLIENT", "XCLIENT", "EHLO#2=", "250-XCLIENT ADDR\r\n", 0},
    {"at MAIL", "MAIL", "MAIL=", "", 0},
    {"at MAIL, with RCPT under way", "RCPT", "MAIL=", "250-PIPELINING\r\n", 0},
    {"at RCPT", "RCPT", "RCPT=", "", 0},
    {"at DATA", "DATA", "DATA=", "", 10},
    {"within the message", "BODY", "BODY=!pause", "", sizeof(megabytes)},
    {"behind the dot", "DOT", "DOT=", "", 10},
    {"within a chunk", "BODY", "BODY=!pause", "250-CHUNKING\r\n", sizeof(megabytes)},
    {"behind a chunk", "DOT", "DOT=", "250-CHUNKING\r\n", 10},
};

static void test_closed_anywhere(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(places); i++) {
        reopen_bed();
        t_case(places[i].name, NULL);
        fakebackend_offer(fakes[0], places[i].offer);
        fakebackend_rules(fakes[0], (const char *const[]){places[i].rule, NULL});
        begin(&work);
        say_rcpt(&work, "c@d.test");
        if (places[i].message > 0) {
            WAIT(work.answers == work.due);
            say_message_of(&work, str_make(megabytes, places[i].message), sizeof(megabytes));
        }
        if (places[i].verb != NULL)
            WAIT(fakebackend_heard(fakes[0], places[i].verb) > 0);
        work.due = work.answers; /* none is due any more */
        end_work(&work);
        t_case("closed: nothing calls back, and a message that was not finished is cut", NULL);
        fakebackend_read_on(fakes[0]);
        let_pass();
        WAIT(fakebackend_open(fakes[0]) == 0);
        t_same_int(fakebackend_taken(fakes[0]), 0);
        t_case("and the next transaction finds nothing of it", NULL);
        fakebackend_rules(fakes[0], NULL);
        t_same_int(deliver(), 250);
        expect_message(fakes[0]);
    }
}

static void test_closed_by_the_answer(void **state)
{
    (void)state;
    t_case("closed between the message and its answer, while that is on its way to us", NULL);
    for (int i = 0; i < 20; i++) {
        begin(&work);
        t_same_int(rcpt(&work, "c@d.test"), 250);
        say_message(&work);
        WAIT(fakebackend_heard(fakes[0], "DOT") == (unsigned)i + 1);
        work.due = work.answers;
        end_work(&work);
        let_pass();
    }
    t_case("none was closed before it was used, and nobody ever got another's answer", NULL);
    t_same_int(fakebackend_taken(fakes[0]), 20);
    t_same_int(deliver(), 250);
}

static void test_unused(void **state)
{
    struct relay *none = NULL;

    (void)state;
    t_case("a relay that was never asked anything, and none at all", NULL);
    begin(&work);
    end_work(&work);
    relay_close(&none);
    let_pass();
    t_same_int(fakebackend_visits(fakes[0]), 0);
}

/* ---- TLS to the backend ---- */

static void test_tls(void **state)
{
    (void)state;
    fake_settings[0].tls = BACKEND_TLS_REQUIRE;
    fakebackend_tls(fakes[0], server_context);
    fakebackend_offer(fakes[0], "250-STARTTLS\r\n");
    t_case("required and offered: all but EHLO and STARTTLS is encrypted", "3207 4");
    t_same_int(deliver(), 250);
    t_same_int(deliver(), 250);
    expect_message(fakes[0]);
    t_same_int(fakebackend_heard(fakes[0], "STARTTLS"), 1);
    t_same_int(fakebackend_heard(fakes[0], "EHLO"), 2);
    t_case("required and not offered: nothing leaves", NULL);
    reopen_bed();
    fake_settings[0].tls = BACKEND_TLS_REQUIRE;
    t_same_int(deliver(), 451);
    t_same_int(fakebackend_heard(fakes[0], "MAIL"), 0);
    t_case("nor when it is refused, or what follows is no handshake", NULL);
    fakebackend_offer(fakes[0], "250-STARTTLS\r\n");
    fakebackend_rules(fakes[0], (const char *const[]){"STARTTLS=454 Not now\r\n", NULL});
    t_same_int(deliver(), 451);
    fakebackend_rules(fakes[0], (const char *const[]){"STARTTLS=220 Go\r\n250 Ok\r\n250 Ok\r\n", NULL});
    fakebackend_tls(fakes[0], server_context);
    t_same_int(deliver(), 451);
    t_same_int(fakebackend_heard(fakes[0], "MAIL"), 0);
}

/* ---- what a backend must have ---- */

static void test_kinds_of_mail(void **state)
{
    static const struct {
        const char *name, *rfc, *offer;
        struct relay_ask ask;
        int code;
        const char *enhanced, *said;
    } rows[] = {
        {"SMTPUTF8", "6531 3.2", "250-SMTPUTF8\r\n", {.smtputf8 = true}, 250, "2.1.5", " SMTPUTF8\n"},
        {"no SMTPUTF8", "6531 3.2", "", {.smtputf8 = true}, 550, "5.6.7", NULL},
        {"BINARYMIME",
         "3030 3",
         "250-CHUNKING\r\n250-BINARYMIME\r\n",
         {.binary = true},
         250,
         "2.1.5",
         " BODY=BINARYMIME\n"},
        {"BINARYMIME without CHUNKING", "3030 3", "250-BINARYMIME\r\n", {.binary = true}, 554, "5.6.3", NULL},
        {"no BINARYMIME", "3030 3", "250-CHUNKING\r\n", {.binary = true}, 554, "5.6.3", NULL},
        {"REQUIRETLS without TLS",
         "8689 4.2.1",
         "250-REQUIRETLS\r\n",
         {.requiretls = true},
         550,
         "5.7.30",
         NULL},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct relay_ask ask = rows[i].ask;

        t_case(rows[i].name, rows[i].rfc);
        fakebackend_offer(fakes[0], rows[i].offer);
        ask.client = (struct smtp_identity){.addr = "192.0.2.1"};
        ask.mail_from = STR("a@b.test");
        begin_with(&work, &ask);
        t_same_int(rcpt(&work, "c@d.test"), rows[i].code);
        t_same_z(work.enhanced, rows[i].enhanced);
        t_same_int(fakebackend_heard(fakes[0], "MAIL"), rows[i].said != NULL);
        t_true(rows[i].said == NULL ||
               strstr(str_dup(work.mem, fakebackend_commands(fakes[0])), rows[i].said) != NULL);
        t_same_int(rcpt(&work, "e@d.test"), rows[i].code);
        t_case(str_fmt(work.mem, "the offer to clients is the same: %s", rows[i].name), rows[i].rfc);
        t_same_int(backends_offer(backends).smtputf8, rows[i].ask.smtputf8 && rows[i].said != NULL);
        t_same_int(backends_offer(backends).binarymime, rows[i].ask.binary && rows[i].said != NULL);
        t_true(!backends_offer(backends).requiretls);
        reopen_bed();
    }
}

static void test_kinds_of_backends(void **state)
{
    static const char utf8[] = "250-SMTPUTF8\r\n";
    static const struct {
        const char *name, *offers[FAKES]; /* NULL: it is down */
        int code;
        const char *enhanced;
    } rows[] = {
        {"the first has it", {utf8, ""}, 250, "2.1.5"},
        {"the second has it", {"", utf8}, 250, "2.1.5"},
        {"none has it", {"", ""}, 550, "5.6.7"},
        {"the first, which is down, may have it", {NULL, ""}, 451, "4.3.0"},
        {"the second, which is down, may have it", {"", NULL}, 451, "4.3.0"},
    };
    const struct relay_ask ask = {.client = {.addr = "192.0.2.1"}, .mail_from = STR("a@b.test"), .smtputf8 = true};

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        t_case(rows[i].name, "6531 3.2");
        config.backends_count = FAKES;
        renew_backends();
        for (int j = 0; j < FAKES; j++) {
            if (rows[i].offers[j] != NULL)
                fakebackend_offer(fakes[j], rows[i].offers[j]);
            else
                fakebackend_close_door(fakes[j]);
        }
        begin_with(&work, &ask);
        t_same_int(rcpt(&work, "c@d.test"), rows[i].code);
        t_same_z(work.enhanced, rows[i].enhanced);
        t_same_int(rcpt(&work, "e@d.test"), rows[i].code);
        reopen_bed();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_BED(test_kinds_of_mail),
        ON_BED(test_kinds_of_backends),
        ON_BED(test_left_waiting),
        ON_BED(test_delivers),
        ON_BED(test_pipelining),
        ON_BED(test_faults),
        ON_BED(test_faults_then_nothing),
        ON_BED(test_refused_connection),
        ON_BED(test_refused_mail),
        ON_BED(test_second_recipient),
        ON_BED(test_takes_over),
        ON_BED(test_first_is_preferred),
        ON_BED(test_all_down),
        ON_BED(test_silent_then_second),
        ON_BED(test_kept),
        ON_BED(test_kept_after_reset),
        ON_BED(test_reset_refused),
        ON_BED(test_reset_in_silence),
        ON_BED(test_no_pool),
        ON_BED(test_pool_limit),
        ON_BED(test_died_while_resting),
        ON_BED(test_stale),
        ON_BED(test_several_stale),
        ON_BED(test_several_silent),
        ON_BED(test_dies_after_mail),
        ON_BED(test_late_answer),
        ON_BED(test_xclient),
        ON_BED(test_xclient_once),
        ON_BED(test_xclient_refused),
        ON_BED(test_large),
        ON_BED(test_odd_messages),
        ON_BED(test_large_header),
        ON_BED(test_lost_spool),
        ON_BED(test_answer_within_the_message),
        ON_BED(test_closed_anywhere),
        ON_BED(test_closed_by_the_answer),
        ON_BED(test_unused),
        ON_BED(test_tls),
    };

    return cmocka_run_group_tests(tests, make_contexts, drop_contexts);
}
