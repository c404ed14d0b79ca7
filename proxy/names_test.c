/* proxy/names_test.c - backends that have a name: each of its addresses is tried */
#include "tests/relay_bed.h"
#include "tests/t.h"

#include "base/bug.h"

#include <stdio.h>

/* Nobody listens on 127.0.9.1. */
static int open_named(void **state)
{
    open_bed(state);
    fake_settings[0].host = "mail.test";
    fake_settings[0].endpoint.ip.family = 0;
    renew_backends();
    return 0;
}

#define ON_NAMED(test) cmocka_unit_test_setup_teardown(test, open_named, close_bed)

static int rcpt_by_name(void)
{
    end_work(&work);
    begin(&work);
    say_rcpt(&work, "c@d.test");
    while (work.answers < work.due) {
        fakedns_run(names);
        let_pass();
    }
    return work.code;
}

static void test_addresses(void **state)
{
    (void)state;
    fakedns_add_text(names, "mail.test A 127.0.9.1\nmail.test A 127.0.0.1\nmail.test AAAA ::1\n");
    t_case("one after the other, of both families", NULL);
    t_same_int(rcpt_by_name(), 250);
    t_same_int(message(&work), 250);
    expect_message(fakes[0]);
    t_case("a kept connection needs no name", NULL);
    t_same_int(rcpt_by_name(), 250);
    t_same_int(message(&work), 250);
    t_same_int(fakedns_asked(names), 2);
    t_same_int(fakebackend_visits(fakes[0]), 1);
    t_case("for a new one it is asked for again", NULL);
    fakebackend_hang_up(fakes[0]);
    let_pass();
    t_same_int(rcpt_by_name(), 250);
    t_same_int(fakedns_asked(names), 4);
}

static void test_silent_address(void **state)
{
    (void)state;
    fake_settings[0].connect_timeout_ms = SHORT_MS;
    fakedns_add_text(names, "mail.test A 127.0.0.1\nmail.test A 127.0.0.1\n");
    fakebackend_rules(fakes[0], (const char *const[]){"1.CONNECT=", NULL});
    t_case("an address that says nothing costs its deadline, and then comes the next", NULL);
    t_same_int(rcpt_by_name(), 250);
    t_same_int(fakebackend_visits(fakes[0]), 2);
    t_same_int(message(&work), 250);
}

static void test_no_address(void **state)
{
    (void)state;
    t_case("a name that does not exist, or cannot be asked for, is a backend that is down", NULL);
    t_same_int(rcpt_by_name(), 451);
    t_true(work.ours);
    fakedns_add_text(names, "mail.test RCODE servfail\n");
    t_same_int(rcpt_by_name(), 451);
    t_case("none of its addresses answers", NULL);
    close_bed(NULL);
    open_named(NULL);
    fakedns_add_text(names, "mail.test A 127.0.9.1\nmail.test A 127.0.9.2\n");
    t_same_int(rcpt_by_name(), 451);
    t_case("called off while it is looked up", NULL);
    end_work(&work);
    begin(&work);
    say_rcpt(&work, "c@d.test");
    let_pass();
    end_work(&work);
    t_true(!fakedns_run(names));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_NAMED(test_addresses),
        ON_NAMED(test_silent_address),
        ON_NAMED(test_no_address),
    };

    return cmocka_run_group_tests(tests, make_contexts, drop_contexts);
}
