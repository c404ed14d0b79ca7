#include "proxy/rate.h"

#include "tests/t.h"

#include <string.h>

static struct arena *mem;
static struct store_row row;

/* A host tells of `count` connections, and hears of how many there are elsewhere. */
static unsigned tell(uint64_t origin, int64_t now_unix, unsigned count)
{
    struct rate_question question = {origin, now_unix, 60, 7, count, {.family = 4}};
    struct rate_answer answer;

    rate_change(mem, &question, &row, 1, &answer);
    t_same_int(answer.client.family, 4);
    t_same_int(answer.asked_ms, 7);
    t_same_int(row.expires_unix, now_unix + 60);
    return answer.elsewhere;
}

static int set_up(void **state)
{
    (void)state;
    mem = arena_new(0);
    row = (struct store_row){0};
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    arena_free(&mem);
    return 0;
}

static void test_sum(void **state)
{
    (void)state;
    t_case("a host alone hears of nobody", NULL);
    t_same_int(tell(1, 1000, 4), 0);
    t_same_int(tell(1, 1001, 8), 0);
    t_case("others hear its last word, and it theirs", NULL);
    t_same_int(tell(2, 1001, 3), 8);
    t_same_int(tell(3, 1001, 5), 11);
    t_same_int(tell(1, 1001, 9), 8);
}

static void test_time(void **state)
{
    (void)state;
    tell(1, 1000, 60);
    t_case("what was told fades", NULL);
    t_same_int(tell(2, 1030, 1), 30);
    t_same_int(tell(2, 1059, 1), 1);
    t_case("and is gone after a window", NULL);
    t_same_int(tell(2, 1060, 1), 0);
    t_same_int(row.value.n, 24);
    t_case("a host whose clock is a little ahead is heard", NULL);
    tell(3, 1065, 10);
    t_same_int(tell(2, 1062, 1), 10);
    t_case("one that is far ahead is not", NULL);
    tell(4, 2000, 10);
    t_same_int(tell(2, 1062, 1), 0);
}

static void test_bounded(void **state)
{
    unsigned heard = 0;

    (void)state;
    for (uint64_t origin = 1; origin <= 3 * RATE_HOSTS_MAX; origin++)
        heard = tell(origin, 1000, 1);
    t_case("a row holds so many hosts; the oldest are forgotten", NULL);
    t_same_int(heard, RATE_HOSTS_MAX - 1);
    t_true(row.value.n <= STORE_VALUE_MAX);
    t_case("octets that are no row are nobody", NULL);
    row.value = STR("garbage");
    t_same_int(tell(1, 1000, 1), 0);
    memset((char *)row.value.p, 0xff, row.value.n);
    t_same_int(tell(2, 1000, 1), 0);
}

#define ROW(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {ROW(test_sum), ROW(test_time), ROW(test_bounded)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
