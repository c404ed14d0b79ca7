/* proxy/routing_test.c - backends by the recipient's domain */
#include "tests/relay_bed.h"
#include "tests/t.h"

#include "base/bug.h"

#include <stdio.h>

/* The second backend is for d.test and what lies below e.test. */
static int open_two(void **state)
{
    static const struct relay_domain own[] = {{"d.test", false}, {"e.test", true}};

    open_bed(state);
    fake_settings[1].domains = (struct domain_settings){.relay = own, .relay_count = COUNT(own)};
    config.backends_count = 2;
    renew_backends();
    return 0;
}

#define ON_TWO(test) cmocka_unit_test_setup_teardown(test, open_two, close_bed)

static const struct {
    const char *recipient, *backend;
} routes[] = {
    {"c@d.test", "second"},
    {"c@D.TEST", "second"},
    {"c@x.e.test", "second"},
    {"c@e.test", "first"},
    {"c@other.test", "first"},
    {"c@x.d.test", "first"},
    {"postmaster", "first"},
    {"\"a@other.test\"@d.test", "second"},
    {"\"a@d.test\"@other.test", "first"},
};

static void test_routes(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(routes); i++) {
        t_case(routes[i].recipient, "5321 4.1.2");
        begin(&work);
        t_same_int(rcpt(&work, routes[i].recipient), 250);
        t_same_z(work.backend, routes[i].backend);
        t_same_int(message(&work), 250);
        end_work(&work);
    }
}

static void test_another_way(void **state)
{
    (void)state;
    t_case("once a recipient was accepted, those of the other backend come later", "5321 4.5.3.1.10");
    begin(&work);
    t_same_int(rcpt(&work, "a@other.test"), 250);
    t_same_int(rcpt(&work, "c@d.test"), 451);
    t_same_z(work.enhanced, "4.5.3");
    t_same_int(rcpt(&work, "b@other.test"), 250);
    t_same_int(message(&work), 250);
    t_same_z(work.backend, "first");
    end_work(&work);
    t_same_int(fakebackend_visits(fakes[1]), 0);
    t_case("and then they are taken", NULL);
    begin(&work);
    t_same_int(rcpt(&work, "c@d.test"), 250);
    t_same_int(message(&work), 250);
    t_same_z(work.backend, "second");
    t_same_int(fakebackend_taken(fakes[0]) + fakebackend_taken(fakes[1]), 2);
}

/* Else one that is always deferred would keep all behind him from their mail. */
static void test_nobody_was_accepted(void **state)
{
    static const char *const refusals[] = {"RCPT=450 4.2.0 Later\r\n", "RCPT=550 5.1.1 Unknown\r\n",
                                           "MAIL=451 4.3.2 Later\r\n", "CONNECT=554 No\r\n", "RCPT=!close"};

    for (size_t i = 0; i < COUNT(refusals); i++) {
        t_case("while nobody was accepted the transaction moves", refusals[i]);
        fakebackend_rules(fakes[0], (const char *const[]){refusals[i], NULL});
        begin(&work);
        t_true(rcpt(&work, "a@other.test") >= 400);
        let_pass();
        t_same_int(rcpt(&work, "c@d.test"), 250);
        t_same_z(work.backend, "second");
        t_same_int(rcpt(&work, "a@other.test"), 451);
        t_same_z(work.enhanced, "4.5.3");
        t_same_int(message(&work), 250);
        t_same_int(fakebackend_taken(fakes[0]), 0);
        t_same_int(fakebackend_taken(fakes[1]), 1);
        close_bed(state);
        open_two(state);
    }
}

static void test_no_way_out(void **state)
{
    static const struct relay_domain one[] = {{"d.test", false}};

    (void)state;
    t_case("a domain's own backend is down: no other takes its mail", NULL);
    fakebackend_close_door(fakes[1]);
    begin(&work);
    t_same_int(rcpt(&work, "c@d.test"), 451);
    t_same_int(rcpt(&work, "x@d.test"), 451);
    t_same_int(fakebackend_visits(fakes[0]), 0);
    t_case("and other domains have theirs", NULL);
    t_same_int(rcpt(&work, "a@other.test"), 250);
    t_same_int(message(&work), 250);
    end_work(&work);
    t_case("with a backend for one domain only, all others wait, and the bare postmaster does not", NULL);
    close_bed(NULL);
    open_bed(NULL);
    fake_settings[0].domains = (struct domain_settings){.relay = one, .relay_count = 1};
    renew_backends();
    begin(&work);
    t_same_int(rcpt(&work, "a@other.test"), 451);
    t_true(strstr(work.text, "no mail server") != NULL);
    t_same_int(rcpt(&work, "c@d.test"), 250);
    end_work(&work);
    begin(&work);
    t_same_int(rcpt(&work, "postmaster"), 250);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_TWO(test_routes),
        ON_TWO(test_another_way),
        ON_TWO(test_nobody_was_accepted),
        ON_TWO(test_no_way_out),
    };

    return cmocka_run_group_tests(tests, make_contexts, drop_contexts);
}
