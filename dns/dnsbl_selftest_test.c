#include "dns/dnsbl_selftest.h"

#include "base/bug.h"
#include "tests/fakedns.h"
#include "tests/t.h"

static const struct dnsbl_codes codes[] = {{{4, {127, 0, 0, 2}}, {4, {127, 0, 0, 3}}}};
static const struct dnsbl_list lists[] = {
    {.zone = "ip.test", .score = 8, .codes = codes, .codes_count = 1},
    {.zone = "dbl.test", .score = 8, .codes = codes, .codes_count = 1, .kind = DNSBL_OF_DOMAINS},
    {.zone = "own.test", .score = 8, .codes = codes, .codes_count = 1, .untested = true},
    {.zone = "named.test",
     .score = 8,
     .codes = codes,
     .codes_count = 1,
     .kind = DNSBL_OF_DOMAINS,
     .test_name = "dbltest.com"},
};

static struct arena *mem;
static struct loop *loop;
static struct fakedns *fake;
static struct dnsbl_health *health;
static struct dnsbl_selftest *selftest;

static const char well_zone[] = "2.0.0.127.ip.test A 127.0.0.2\n"
                                "2.0.0.127.ip.test A 127.0.0.10\n" /* not declared: fine for the test entry */
                                "test.dbl.test A 127.0.1.2\n"
                                "dbltest.com.named.test A 127.0.1.2\n";

static void new_zone(const char *zone)
{
    fakedns_free(&fake);
    fake = fakedns_new();
    fakedns_add_text(fake, zone);
}

static int set_up(void **state)
{
    (void)state;
    mem = arena_new(0);
    loop = loop_new();
    health = dnsbl_health_new(mem, lists, COUNT(lists));
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    dnsbl_selftest_stop(&selftest);
    fakedns_free(&fake);
    loop_free(&loop);
    arena_free(&mem);
    return 0;
}

static void on_turn(void *arg)
{
    (void)arg;
    loop_stop(loop);
}

/* Until the tests' questions have been asked `asked` times in all, and answered. */
static void run_until(size_t asked)
{
    while (fakedns_asked(fake) < asked) {
        struct timer turn = {0};

        timer_start(&turn, loop, 1, on_turn, NULL);
        loop_run(loop);
        timer_stop(&turn);
    }
    fakedns_run(fake);
}

static const char *illness(size_t list)
{
    return dnsbl_health_illness(health, list, 0);
}

static bool was_asked(const char *question)
{
    for (size_t i = 0; i < fakedns_asked(fake); i++)
        if (strcmp(fakedns_question(fake, i), question) == 0)
            return true;
    return false;
}

static void lists_that_are_well(void **state)
{
    static const char *const want[] = {"A 2.0.0.127.ip.test",      "A 1.0.0.127.ip.test",
                                       "A test.dbl.test",          "A invalid.dbl.test",
                                       "A dbltest.com.named.test", "A invalid.named.test"};

    (void)state;
    new_zone(well_zone);
    selftest = dnsbl_selftest_start(loop, fakedns_dns(fake), health, lists, COUNT(lists), DNSBL_SELFTEST_MS);
    t_case("nothing is asked before it has returned", "");
    t_same_int(fakedns_asked(fake), 0);
    run_until(6);
    t_case("the test entries of addresses and of domains", "5782 5");
    for (size_t i = 0; i < COUNT(want); i++)
        t_true(was_asked(want[i]));
    for (size_t i = 0; i < COUNT(lists); i++)
        t_true(illness(i) == NULL);
    t_case("and no more for half an hour", "");
    t_same_int(fakedns_asked(fake), 6);
}

static void what_is_wrong_with_a_list(void **state)
{
    static const struct {
        const char *name, *zone, *want;
    } rows[] = {
        {"well", "2.0.0.127.ip.test A 127.0.0.2", NULL},
        {"well, with a code that is not declared", "2.0.0.127.ip.test A 127.0.0.77", NULL},
        {"it lists all", "2.0.0.127.ip.test A 127.0.0.2\n1.0.0.127.ip.test A 127.0.0.2",
         "it lists 127.0.0.1, and so everybody"},
        {"it lists nobody", "x.ip.test A 127.0.0.2",
         "it does not list 127.0.0.2: it is out of order, or does not serve this resolver"},
        {"it refuses us", "2.0.0.127.ip.test A 127.255.255.254\n1.0.0.127.ip.test A 127.255.255.254",
         "it refuses to serve this resolver: use one of your own, or the provider's key"},
        {"it refuses us as URIBL does", "2.0.0.127.ip.test A 127.0.0.1\n1.0.0.127.ip.test A 127.0.0.1",
         "it refuses to serve this resolver: use one of your own, or the provider's key"},
        {"the zone was sold", "2.0.0.127.ip.test A 203.0.113.1\n1.0.0.127.ip.test A 203.0.113.1",
         "it answers with an address outside 127.0.0.0/8: the zone is no list any more"},
        {"silence, once", "2.0.0.127.ip.test RCODE timeout\n1.0.0.127.ip.test RCODE timeout", NULL},
        {"SERVFAIL, once", "2.0.0.127.ip.test RCODE servfail\n1.0.0.127.ip.test RCODE servfail", NULL},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        new_zone(rows[i].zone);
        selftest =
            dnsbl_selftest_start(loop, fakedns_dns(fake), health, lists, COUNT(lists), DNSBL_SELFTEST_MS);
        run_until(6);
        t_case(rows[i].name, "5782 5");
        t_same_z(illness(0), rows[i].want);
        t_true(illness(2) == NULL);
        dnsbl_selftest_stop(&selftest);
        dnsbl_health_set(health, 0, NULL);
    }
}

static void sick_and_well_again(void **state)
{
    (void)state;
    new_zone("2.0.0.127.ip.test RCODE timeout\n");
    selftest = dnsbl_selftest_start(loop, fakedns_dns(fake), health, lists, 1, 50);
    run_until(2);
    t_case("silence may be the network's", "");
    t_true(illness(0) == NULL);
    run_until(4);
    t_case("twice in a row it is the list's", "");
    t_same_z(illness(0), "it does not answer");
    fakedns_add_text(fake, "2.0.0.127.ip.test A 127.0.0.2\n");
    run_until(6);
    t_case("and it is asked again as soon as it answers", "");
    t_true(illness(0) == NULL);
    fakedns_add_text(fake, "1.0.0.127.ip.test A 127.0.0.2\n");
    run_until(8);
    t_case("tested again and again", "");
    t_same_z(illness(0), "it lists 127.0.0.1, and so everybody");
}

static void stopped_never_calls_back(void **state)
{
    (void)state;
    new_zone(well_zone);
    selftest = dnsbl_selftest_start(loop, fakedns_dns(fake), health, lists, COUNT(lists), DNSBL_SELFTEST_MS);
    while (fakedns_asked(fake) < 6) {
        struct timer turn = {0};

        timer_start(&turn, loop, 1, on_turn, NULL);
        loop_run(loop);
    }
    t_true(fakedns_run_one(fake));
    dnsbl_selftest_stop(&selftest);
    t_true(selftest == NULL);
    t_same_int(fakedns_waiting(fake), 0);
    dnsbl_selftest_stop(&selftest);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(lists_that_are_well, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_wrong_with_a_list, set_up, tear_down),
        cmocka_unit_test_setup_teardown(sick_and_well_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(stopped_never_calls_back, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
