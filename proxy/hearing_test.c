/*
 * proxy/hearing_test.c - what backends can do is heard once, for all who wait
 */
#include "proxy/hearing.h"

#include "proxy/link.h"
#include "tests/relay_bed.h"
#include "tests/t.h"

enum { WAITERS = 3 };

static struct hearing *hearing;
static struct hearing_wait waits[WAITERS];
static unsigned told;
static bool asking;

static int open_hearing_bed(void **state)
{
    open_bed(state);
    config.backends_count = FAKES;
    renew_backends();
    hearing = hearing_new(backends);
    told = 0;
    return 0;
}

static int close_hearing_bed(void **state)
{
    hearing_free(&hearing);
    return close_bed(state);
}

static void reopen(void)
{
    close_hearing_bed(NULL);
    open_hearing_bed(NULL);
}

static void on_told(void *arg)
{
    (void)arg;
    if (asking)
        t_fail("told before hearing_wait() has returned");
    told++;
    loop_stop(loop);
}

static bool wait_as(int waiter)
{
    bool waiting;

    asking = true;
    waiting = hearing_wait(hearing, &waits[waiter], on_told, NULL);
    asking = false;
    return waiting;
}

static void test_hearing(void **state)
{
    struct backend *first;

    (void)state;
    t_case("all who come while it goes on wait for one hearing, and nobody after it", NULL);
    fakebackend_offer(fakes[0], "250-SMTPUTF8\r\n250-DSN\r\n");
    fakebackend_offer(fakes[1], "250-SMTPUTF8\r\n");
    for (int i = 0; i < WAITERS; i++)
        t_true(wait_as(i));
    t_same_int(told, 0);
    WAIT(told == WAITERS);
    t_true(backends_offer(backends).smtputf8);
    t_case("what one of them lacks is not offered", NULL);
    t_true(!backends_offer(backends).dsn);
    t_true(!wait_as(0));
    t_same_int(fakebackend_visits(fakes[0]), 1);
    t_same_int(fakebackend_visits(fakes[1]), 1);
    reopen();

    t_case("who has called it off is not told, the others are", NULL);
    for (int i = 0; i < WAITERS; i++)
        t_true(wait_as(i));
    hearing_cancel(&waits[1]);
    hearing_cancel(&waits[1]);
    WAIT(told == WAITERS - 1);
    let_pass();
    t_same_int(told, WAITERS - 1);
    reopen();

    t_case("when the first backend is down, the second is heard", NULL);
    fakebackend_close_door(fakes[0]);
    t_true(wait_as(0));
    WAIT(told == 1);
    t_true(backends_offer(backends).known);
    t_case("and the first when it is back, but nobody waits for that", NULL);
    first = backends_choose(backends, (bool[FAKES]){false, true}, STR(""));
    backend_works(first);
    t_true(!wait_as(0));
    let_pass();
    t_same_int(first->failures, 1); /* it was asked, and is still away */
    reopen();

    t_case("when all are down, who waits is told, and nobody waits for a while", NULL);
    fakebackend_close_door(fakes[0]);
    fakebackend_close_door(fakes[1]);
    t_true(wait_as(0));
    WAIT(told == 1);
    t_true(!backends_offer(backends).known);
    t_true(!wait_as(0));
}

static void wait_again(void *arg)
{
    (void)arg;
    told++;
    t_true(!hearing_wait(hearing, &waits[1], on_told, NULL));
    hearing_cancel(&waits[2]);
    loop_stop(loop);
}

static void test_a_hearing_that_ends_while_others_change_the_list(void **state)
{
    (void)state;
    t_true(wait_as(2));
    t_true(hearing_wait(hearing, &waits[0], wait_again, NULL)); /* is told first */
    WAIT(told == 1);
    let_pass();
    t_same_int(told, 1);
}

#define ON_HEARING_BED(test) cmocka_unit_test_setup_teardown(test, open_hearing_bed, close_hearing_bed)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_HEARING_BED(test_hearing),
        ON_HEARING_BED(test_a_hearing_that_ends_while_others_change_the_list),
    };

    return cmocka_run_group_tests(tests, make_contexts, drop_contexts);
}
