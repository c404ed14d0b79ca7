/* proxy/lmtp_test.c - an LMTP backend: one reply for each recipient, one for the client, and no copy lost or doubled */
#include "base/bug.h"
#include "tests/relay_bed.h"
#include "tests/t.h"

#include <stdio.h>

static int open_lmtp(void **state)
{
    open_bed(state);
    fake_settings[0].protocol = PROTOCOL_LMTP;
    renew_backends();
    return 0;
}

#define ON_LMTP(test) cmocka_unit_test_setup_teardown(test, open_lmtp, close_bed)

/* What the client hears of a message to so many; `digest` tells one message from another. */
static int deliver_to(const char *const *recipients, const char *digest)
{
    int code;

    end_work(&work);
    begin(&work);
    for (; *recipients != NULL; recipients++)
        t_same_int(rcpt(&work, *recipients), 250);
    work.digest = str_of(digest);
    code = message(&work);
    return code;
}

static const char *const two[] = {"b@d.test", "c@d.test", NULL};
static const char *const bob[] = {"b@d.test", NULL}, *const carol[] = {"c@d.test", NULL};

static void test_lhlo(void **state)
{
    (void)state;
    t_case("LHLO, DATA, and one connection for the next message", "2033 4.1");
    fakebackend_offer(fakes[0], "250-PIPELINING\r\n250-CHUNKING\r\n");
    for (int i = 0; i < 2; i++) {
        t_same_int(deliver_to(two, "1"), 250);
        expect_message(fakes[0]);
    }
    t_same_int(fakebackend_visits(fakes[0]), 1);
    t_same_int(fakebackend_heard(fakes[0], "LHLO"), 1);
    t_same_int(fakebackend_heard(fakes[0], "EHLO") + fakebackend_heard(fakes[0], "BDAT"), 0);
    t_same_int(fakebackend_taken(fakes[0]), 4);
    t_case("LHLO refused: HELO is no way out", "2033 4.1");
    close_bed(state);
    open_lmtp(state);
    fakebackend_rules(fakes[0], (const char *const[]){"LHLO=500 What?\r\n", NULL});
    t_same_int(deliver(), 451);
}

/* ---- many replies, one reply ---- */

static const struct {
    const char *name, *first, *second; /* replies to the message */
    int code;
    const char *text; /* how it begins; NULL: our own words */
    bool is_partial;
} folds[] = {
    {"both have it", "250 2.0.0 One\r\n", "250 2.0.0 Two\r\n", 250, "One", false},
    {"nobody, ever", "552 5.2.2 Full\r\n", "550 5.7.1 Sieve\r\n", 550, "Sieve", false},
    {"nobody, now", "451 4.3.0 Later\r\n", "452 4.2.2 Full\r\n", 451, "Later", false},
    {"one never, one not now", "550 5.7.1 No\r\n", "452 4.2.2 Full\r\n", 452, "Full", false},
    {"one not now, one never", "452 4.2.2 Full\r\n", "550 5.7.1 No\r\n", 452, "Full", false},
    {"one has it, one not now", "250 2.0.0 One\r\n", "452 4.2.2 Full\r\n", 451, NULL, true},
    {"one not now, one has it", "452 4.2.2 Full\r\n", "250 2.0.0 Two\r\n", 451, NULL, true},
    {"one has it, one never", "250 2.0.0 One\r\n", "552 5.2.2 Full\r\n", 451, NULL, true},
    {"one has it, the other's reply is 421", "250 2.0.0 One\r\n", "421 4.3.2 Down\r\n!close", 451, NULL,
     true},
    {"one has it, and then it hangs up", "250 2.0.0 One\r\n!close", "", 451, NULL, true},
    {"one has it, and then there is garbage", "250 2.0.0 One\r\n", "what\r\n", 451, NULL, true},
    {"one never, and then it hangs up", "550 5.7.1 No\r\n!close", "", 451, NULL, false},
};

static void set_replies(const char *first, const char *second)
{
    static char texts[2][100];
    static const char *const rules[] = {texts[0], texts[1], NULL};

    snprintf(texts[0], sizeof(texts[0]), "DOT#1=%s", first);
    snprintf(texts[1], sizeof(texts[1]), "DOT#2=%s", second);
    fakebackend_rules(fakes[0], rules);
}

static void test_folds(void **state)
{
    for (size_t i = 0; i < COUNT(folds); i++) {
        t_case(folds[i].name, "2033 4.2");
        set_replies(folds[i].first, folds[i].second);
        t_same_int(deliver_to(two, "1"), folds[i].code);
        t_same_int(work.answers, 3);
        if (folds[i].text != NULL)
            t_same_z(work.text, folds[i].text);
        t_same_int(work.ours, folds[i].text == NULL);
        fakebackend_rules(fakes[0], NULL);
        end_work(&work);
        begin(&work);
        t_same_int(rcpt(&work, two[0]), 250);
        t_same_int(rcpt(&work, two[1]), folds[i].is_partial ? 452 : 250);
        close_bed(state);
        open_lmtp(state);
    }
}

/* ---- when it comes again ---- */

static void test_comes_again(void **state)
{
    (void)state;
    set_replies("250 2.0.0 Bob has it\r\n", "452 4.2.2 Carol is full\r\n");
    t_case("one has it, one has not: 451, and then each hears his own reply", "2033 4.2");
    t_same_int(deliver_to(two, "7"), 451);
    fakebackend_rules(fakes[0], NULL);
    t_case("the one who has it does not get it twice", NULL);
    t_same_int(deliver_to(bob, "7"), 250);
    t_true(work.ours);
    t_same_int(fakebackend_taken(fakes[0]), 1);
    t_case("not even when the client did not hear that", NULL);
    t_same_int(deliver_to(bob, "7"), 250);
    t_same_int(fakebackend_taken(fakes[0]), 1);
    t_case("the other one gets it", NULL);
    t_same_int(deliver_to(carol, "7"), 250);
    t_same_z(work.text, "Taken");
    t_same_int(fakebackend_taken(fakes[0]), 2);
    t_case("another message from the same sender is another message", NULL);
    t_same_int(deliver_to(bob, "8"), 250);
    t_same_int(fakebackend_taken(fakes[0]), 3);
}

static bool count_row(struct str key, struct str value, int64_t expires_unix, void *arg)
{
    (void)key, (void)value, (void)expires_unix;
    ++*(int *)arg;
    return true;
}

static void test_restart(void **state)
{
    struct fail fail = {0};
    int rows = 0;

    (void)state;
    set_replies("250 2.0.0 Bob has it\r\n", "452 4.2.2 Carol is full\r\n");
    t_case("when the client hears 451 it is in the file: each of them, and what one has", NULL);
    t_same_int(deliver_to(two, "7"), 451);
    t_same_int(store_each(store, PARTIAL_TABLE, STR(""), count_row, &rows, &fail), 0);
    t_same_int(rows, 3);
    t_case("a restart forgets nothing", NULL);
    fakebackend_rules(fakes[0], NULL);
    end_work(&work);
    close_store();
    open_store();
    renew_backends();
    begin(&work);
    t_same_int(rcpt(&work, two[0]), 250);
    t_same_int(rcpt(&work, two[1]), 452);
    t_same_int(deliver_to(bob, "7"), 250);
    t_same_z(work.text, "Taken when it came before");
    t_same_int(deliver_to(carol, "7"), 250);
    t_same_int(fakebackend_taken(fakes[0]), 2);
    t_case("a session that ends while replies are due leaves what is known so far", NULL);
    set_replies("250 2.0.0 Bob has it\r\n", "");
    end_work(&work);
    begin(&work);
    t_same_int(rcpt(&work, "x@d.test"), 250);
    t_same_int(rcpt(&work, "y@d.test"), 250);
    work.digest = STR("8");
    say_message(&work);
    WAIT(fakebackend_taken(fakes[0]) == 3);
    let_pass();
    t_same_int(work.answers, 2);
    end_work(&work);
    fakebackend_rules(fakes[0], NULL);
    t_same_int(deliver_to((const char *const[]){"x@d.test", NULL}, "8"), 250);
    t_same_int(deliver_to((const char *const[]){"y@d.test", NULL}, "8"), 250);
    t_same_int(fakebackend_taken(fakes[0]), 4);
}

/* ---- who travels alone ---- */

static void on_noted(bool stored, void *arg)
{
    t_true(stored);
    *(bool *)arg = true;
    loop_stop(loop);
}

/* From the sender of the bed. */
static void set_alone(struct arena *mem, const char *recipient)
{
    const struct partial_pair pair = {STR("a@b.test"), str_of(recipient)};
    bool noted = false;

    partials_note(partials, loop, mem, &pair, STR(""), on_noted, &noted);
    WAIT(noted);
}

static void test_travels_alone(void **state)
{
    static const char *const three[] = {"x@d.test", "y@d.test", NULL};

    (void)state;
    set_replies("250 2.0.0 Bob has it\r\n", "552 5.2.2 Carol is full\r\n");
    t_same_int(deliver_to(two, "7"), 451);
    t_case("others may go together, and he waits", NULL);
    t_same_int(deliver_to(three, "7"), 250);
    end_work(&work);
    begin(&work);
    t_same_int(rcpt(&work, "x@d.test"), 250);
    t_same_int(rcpt(&work, "b@d.test"), 452);
    t_same_z(work.enhanced, "4.5.3");
    t_same_int(rcpt(&work, "y@d.test"), 250);
    t_same_int(message(&work), 250);
    t_case("his refusal is his alone", NULL);
    fakebackend_rules(fakes[0], (const char *const[]){"DOT=552 5.2.2 Carol is full\r\n", NULL});
    t_same_int(deliver_to(carol, "7"), 552);
    t_same_z(work.text, "Carol is full");
    t_case("one that is refused at once keeps nobody waiting", NULL);
    close_bed(state);
    open_lmtp(state);
    begin(&work);
    set_alone(work.mem, "b@d.test");
    fakebackend_rules(fakes[0], (const char *const[]){"RCPT#1=550 5.1.1 Gone\r\n", NULL});
    t_same_int(rcpt(&work, "b@d.test"), 550);
    t_same_int(rcpt(&work, "x@d.test"), 250);
    t_same_int(rcpt(&work, "y@d.test"), 250);
    t_same_int(message(&work), 250);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_LMTP(test_lhlo),    ON_LMTP(test_folds),         ON_LMTP(test_comes_again),
        ON_LMTP(test_restart), ON_LMTP(test_travels_alone),
    };

    return cmocka_run_group_tests(tests, make_contexts, drop_contexts);
}
