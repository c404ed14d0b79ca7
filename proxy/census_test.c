#include "proxy/census.h"

#include "tests/t.h"

static void add_one(struct census *census, const char *moment, size_t sessions)
{
    struct census one = {.rows = {{moment, sessions}}, .count = 1};

    census_add(census, &one);
}

static void test_sums(void **state)
{
    struct census census = {0}, other = {0};

    (void)state;
    t_case("moments are kept in the order of their names, each once", NULL);
    add_one(&census, "rcpt", 2);
    add_one(&census, "idle", 1);
    add_one(&census, "rcpt", 3);
    add_one(&census, "transaction", 1);
    t_same_int(census.count, 3);
    t_same_z(census.rows[0].moment, "idle");
    t_same_z(census.rows[1].moment, "rcpt");
    t_same_int(census.rows[1].sessions, 5);
    t_same_z(census.rows[2].moment, "transaction");
    t_case("what several counted is summed up", NULL);
    add_one(&other, "connect", 7);
    add_one(&other, "idle", 4);
    census_add(&census, &other);
    t_same_int(census.count, 4);
    t_same_z(census.rows[0].moment, "connect");
    t_same_int(census.rows[1].sessions, 5);
    t_case("nobody to ask is no census", NULL);
    census_take(NULL, 0, &census);
    t_same_int(census.count, 0);
    t_same_int(census.silent, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_sums)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
