#include "dns/health.h"

#include "base/bug.h"
#include "tests/t.h"

#include <stdio.h>

static void ends(struct dns_health *health, int first, int count, enum dns_status status, int64_t now_ms)
{
    char name[64];

    for (int i = first; i < first + count; i++) {
        snprintf(name, sizeof(name), "mx.d%d.test", i);
        dns_health_end(health, name, status, now_ms);
    }
}

static void sick_when_most_have_trouble(void **state)
{
    static const struct {
        const char *name;
        int well, troubled;
        enum dns_status trouble;
        int64_t later_ms;
        bool sick;
    } rows[] = {
        {"nothing was asked", 0, 0, DNS_TIMEOUT, 0, false},
        {"nineteen time-outs are too few to tell", 0, 19, DNS_TIMEOUT, 0, false},
        {"twenty time-outs", 0, 20, DNS_TIMEOUT, 0, true},
        {"half and half", 10, 10, DNS_TIMEOUT, 0, false},
        {"one more than half", 10, 11, DNS_TIMEOUT, 0, true},
        {"SERVFAIL counts", 9, 11, DNS_SERVFAIL, 0, true},
        {"REFUSED counts: the resolver does not serve us", 9, 11, DNS_REFUSED, 0, true},
        {"NXDOMAIN is an answer", 0, 40, DNS_NXDOMAIN, 0, false},
        {"NODATA is an answer", 0, 40, DNS_NODATA, 0, false},
        {"a name that cannot be asked says nothing", 0, 40, DNS_BADNAME, 0, false},
        {"still so at the end of the window", 0, 20, DNS_TIMEOUT, DNS_HEALTH_WINDOW_MS - 1, true},
        {"and well again by itself", 0, 20, DNS_TIMEOUT, DNS_HEALTH_WINDOW_MS, false},
        {"more than are remembered", 100, 50, DNS_TIMEOUT, 0, true},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct dns_health health = {0};

        t_case(rows[i].name, "");
        ends(&health, 0, rows[i].well, DNS_OK, 1000);
        ends(&health, 1000, rows[i].troubled, rows[i].trouble, 1000);
        t_same_int(dns_health_reason(&health, 1000 + rows[i].later_ms) != NULL, rows[i].sick);
    }
}

static void one_domain_counts_once(void **state)
{
    struct dns_health health = {0};
    char name[64];

    (void)state;
    t_case("a hundred names below one domain are one", "");
    for (int i = 0; i < 100; i++) {
        snprintf(name, sizeof(name), "n%d.Broken.test", i);
        dns_health_end(&health, name, DNS_TIMEOUT, 0);
    }
    dns_health_end(&health, "broken.TEST", DNS_TIMEOUT, 0);
    t_same_int(health.count, 1);
    t_case("its newest end is the one that counts", "");
    ends(&health, 0, 20, DNS_TIMEOUT, 0);
    t_true(dns_health_reason(&health, 0) != NULL);
    ends(&health, 0, 20, DNS_OK, 5);
    t_true(dns_health_reason(&health, 5) == NULL);
    t_case("names without a dot, and the empty one", "");
    dns_health_end(&health, "localhost", DNS_OK, 0);
    dns_health_end(&health, "", DNS_BADNAME, 0);
    t_same_int(health.count, 23);
}

static void the_canary(void **state)
{
    struct dns_health health = {0};

    (void)state;
    dns_health_canary(&health, true);
    t_case("one lost answer is no illness", "");
    t_true(dns_health_reason(&health, 0) == NULL);
    dns_health_canary(&health, true);
    t_case("two in a row are", "");
    t_same_z(dns_health_reason(&health, 0), "our own name was not answered 2 times in a row");
    dns_health_canary(&health, false);
    t_case("and one answer ends it", "");
    t_true(dns_health_reason(&health, 0) == NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sick_when_most_have_trouble),
        cmocka_unit_test(one_domain_counts_once),
        cmocka_unit_test(the_canary),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
