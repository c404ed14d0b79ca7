/* proxy/addresses_test.c - a backend's name and what the DNS has for it */
#include "proxy/addresses.h"

#include "tests/fakedns.h"
#include "tests/t.h"

#include "base/bug.h"

#include <stdio.h>

static struct fakedns *fake;
static struct addresses found;
static unsigned calls;

static void on_found(void *arg)
{
    (void)arg;
    calls++;
}

static const struct {
    const char *name, *zone, *host, *first;
    size_t count;
    const char *why;
    bool temporary;
} rows[] = {
    {"both families, IPv6 first", "two.test A 192.0.2.1\ntwo.test AAAA 2001:db8::1\n", "two.test",
     "[2001:db8::1]:26", 2, NULL, false},
    {"several", "many.test A 192.0.2.1\nmany.test A 192.0.2.2\nmany.test A 192.0.2.3\n", "many.test",
     "192.0.2.1:26", 3, NULL, false},
    {"more than are looked at",
     "many.test A 192.0.2.1\nmany.test A 192.0.2.2\nmany.test A 192.0.2.3\nmany.test A 192.0.2.4\n"
     "many.test A 192.0.2.5\n",
     "many.test", "192.0.2.1:26", 4, NULL, false},
    {"by an alias", "alias.test CNAME one.test\none.test A 192.0.2.9\n", "alias.test", "192.0.2.9:26", 1,
     NULL, false},
    {"none", "one.test A 192.0.2.9\n", "none.test", NULL, 0, "nxdomain", false},
    {"the DNS does not answer", "slow.test RCODE timeout\n", "slow.test", NULL, 0, "timeout", true},
};

static void test_find(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct arena *mem = arena_new(0);

        t_case(rows[i].name, NULL);
        calls = 0;
        fake = fakedns_new();
        fakedns_add_text(fake, rows[i].zone);
        addresses_find(&found, fakedns_dns(fake), rows[i].host, 26, on_found, NULL);
        t_same_int(calls, 0);
        fakedns_run(fake);
        t_same_int(calls, 1);
        t_same_int(found.count, rows[i].count);
        if (rows[i].first != NULL)
            t_same_z(endpoint_text(mem, &found.list[0]), rows[i].first);
        else
            t_same_z(found.why, rows[i].why);
        t_same_int(found.temporary, rows[i].temporary);
        fakedns_free(&fake);
        arena_free(&mem);
    }
}

static void test_cancel(void **state)
{
    (void)state;
    t_case("called off, it never answers", NULL);
    calls = 0;
    fake = fakedns_new();
    fakedns_add_text(fake, "one.test A 192.0.2.9\n");
    addresses_find(&found, fakedns_dns(fake), "one.test", 26, on_found, NULL);
    fakedns_run_one(fake);
    addresses_cancel(&found);
    addresses_cancel(&found);
    fakedns_run(fake);
    t_same_int(calls, 0);
    fakedns_free(&fake);
}

static void test_prefer(void **state)
{
    struct addresses a = {.count = 3};

    (void)state;
    for (int i = 0; i < 3; i++)
        a.list[i] = (struct endpoint){.ip = {.family = 4, .b = {192, 0, 2, (uint8_t)(i + 1)}}, .port = 26};
    t_case("the one that worked last comes first, and none is lost", NULL);
    addresses_prefer(&a, &(struct endpoint){.ip = a.list[2].ip, .port = 26});
    t_same_int(a.list[0].ip.b[3], 3);
    t_same_int(a.list[1].ip.b[3], 2);
    t_same_int(a.list[2].ip.b[3], 1);
    t_case("one that is no more of them changes nothing", NULL);
    addresses_prefer(&a, &(struct endpoint){.ip = {.family = 4, .b = {192, 0, 2, 9}}, .port = 26});
    t_same_int(a.list[0].ip.b[3], 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_find),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_prefer),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
