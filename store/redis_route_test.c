#include "store/redis_route.h"

#include "tests/t.h"

static const struct {
    const char *name, *key, *as;
} rows[] = {
    {"what stands in braces decides", "{user1000}.following", "user1000"},
    {"the same for another key", "{user1000}.followers", "user1000"},
    {"the first braces", "foo{bar}{zap}", "bar"},
    {"up to the first one that closes", "foo{{bar}}zap", "{bar"},
};

static void test_slots(void **state)
{
    (void)state;
    t_case("CRC16 of the check string", NULL);
    t_same_int(redis_route_slot(STR("123456789")), 0x31c3);
    t_same_int(redis_route_slot(STR("")), 0);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        t_case(rows[i].name, NULL);
        t_same_int(redis_route_slot(str_of(rows[i].key)), redis_route_slot(str_of(rows[i].as)));
    }
    t_case("empty or open braces are letters like others", NULL);
    t_true(redis_route_slot(STR("foo{}{bar}")) != redis_route_slot(STR("bar")));
    t_true(redis_route_slot(STR("foo{bar")) != redis_route_slot(STR("bar")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_slots)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
