#include "base/buf.h"

#include "tests/t.h"

static void test_adding(void **state)
{
    struct buf b;

    (void)state;
    t_case("what is added stands behind what was there", NULL);
    buf_init(&b, 1000);
    t_same_z(buf_z(&b), "");
    t_true(buf_add(&b, "ab", 2) && buf_add_str(&b, STR("c\0d")) && buf_add_z(&b, "e") &&
           buf_add_char(&b, 'f'));
    t_true(buf_fmt(&b, "%d%s", 42, "g"));
    t_true(str_eq(buf_str(&b), STR("abc\0def42g")));
    t_true(buf_z(&b)[b.n] == '\0');
    t_true(buf_add(&b, NULL, 0));
    buf_fini(&b);
    t_true(b.p == NULL && b.n == 0 && b.max == 1000);
    t_true(buf_add_z(&b, "again"));
    t_same_z(buf_z(&b), "again");
    buf_fini(&b);
    buf_fini(&b);
}

static void test_max(void **state)
{
    struct buf b;

    (void)state;
    t_case("what does not fit is left out whole, and said once", NULL);
    buf_init(&b, 10);
    t_true(buf_add_z(&b, "12345678"));
    t_true(!buf_add_z(&b, "abc"));
    t_true(b.overflow && b.n == 8);
    t_true(buf_add_z(&b, "90"));
    t_true(b.overflow);
    t_true(!buf_add_char(&b, 'x') && !buf_fmt(&b, "%d", 1) && buf_reserve(&b, 1) == NULL);
    t_same_z(buf_z(&b), "1234567890");
    t_true(buf_fmt(&b, "%s", ""));
    buf_clear(&b);
    t_true(!b.overflow && b.n == 0);
    t_case("sizes near the end of all numbers do not wrap", NULL);
    t_true(buf_add_z(&b, "123"));
    t_true(buf_reserve(&b, SIZE_MAX) == NULL && buf_reserve(&b, SIZE_MAX - 2) == NULL);
    t_true(b.n == 3);
    buf_fini(&b);
    t_case("a buffer for nothing takes nothing", NULL);
    buf_init(&b, 0);
    t_true(!buf_add_char(&b, 'x') && b.overflow);
    t_same_z(buf_z(&b), "");
    buf_fini(&b);
}

static void test_reserve(void **state)
{
    struct buf b;
    char *p;

    (void)state;
    t_case("reserved room becomes content by committing it", NULL);
    buf_init(&b, 1 << 20);
    buf_add_z(&b, "ab");
    p = buf_reserve(&b, 100000);
    memset(p, 'x', 100000);
    t_true(b.n == 2);
    buf_commit(&b, 3);
    t_same_z(buf_z(&b), "abxxx");
    p = buf_reserve(&b, 1000);
    memset(p, 'y', 1000);
    buf_commit(&b, 1000);
    t_true(b.n == 1005 && b.p[4] == 'x' && b.p[1004] == 'y');
    buf_fini(&b);
}

static void test_consume(void **state)
{
    struct buf b;

    (void)state;
    t_case("consuming takes from the front", NULL);
    buf_init(&b, 1000);
    buf_add_z(&b, "hello world");
    buf_consume(&b, 6);
    t_same_z(buf_z(&b), "world");
    buf_consume(&b, 0);
    buf_consume(&b, 5);
    t_true(b.n == 0 && b.gone == 0);
    buf_consume(&b, 0);
    buf_fini(&b);
    buf_consume(&b, 0);
}

/* A queue that is filled behind and emptied in front must keep every byte and not grow without need. */
static void test_queue(void **state)
{
    struct buf b;
    unsigned char next_in = 0, next_out = 0;
    size_t most_room = 0;

    (void)state;
    t_case("a queue keeps its bytes in order and its room small", NULL);
    buf_init(&b, 1000);
    for (unsigned round = 0; round < 20000; round++) {
        for (unsigned n = round * 7 % 13; n > 0 && b.n < 300; n--)
            buf_add_char(&b, (char)next_in++);
        for (unsigned n = round * 5 % 13; n > 0 && b.n > 0; n--) {
            t_true((unsigned char)b.p[0] == next_out++);
            buf_consume(&b, 1);
        }
        if (b.room + b.gone > most_room)
            most_room = b.room + b.gone;
    }
    t_true((unsigned char)(next_in - next_out) == (unsigned char)b.n);
    t_true(!b.overflow && most_room <= 1024);
    buf_fini(&b);
}

static void test_clear(void **state)
{
    struct buf b;
    size_t room;

    (void)state;
    t_case("clearing keeps the memory, that consumed in front too", NULL);
    buf_init(&b, 100000);
    for (int i = 0; i < 5000; i++)
        buf_add_char(&b, 'x');
    room = b.room;
    buf_consume(&b, 2000);
    buf_clear(&b);
    t_true(b.n == 0 && b.room == room && b.gone == 0);
    buf_fini(&b);
}

static bool has_octets(const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (p[i] != '\0')
            return true;
    return false;
}

static void test_secret(void **state)
{
    struct buf b;

    (void)state;
    t_case("of a secret nothing is left where it was", NULL);
    buf_init(&b, 100000);
    b.secret = true;
    buf_add_z(&b, "consumed, and kept");
    buf_consume(&b, 10);
    t_same_str_z(buf_str(&b), "and kept");
    t_true(!has_octets(b.p - b.gone, b.gone));
    for (int i = 0; i < 300; i++) /* moves and grows */
        buf_add_char(&b, 'x');
    t_same_int(b.n, 308);
    t_true(str_starts(buf_str(&b), STR("and keptxx")));
    buf_consume(&b, 300);
    buf_clear(&b);
    t_true(b.gone == 0 && b.room > 0 && !has_octets(b.p, b.room));
    buf_fini(&b);
    t_true(b.secret);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_adding),  cmocka_unit_test(test_max),   cmocka_unit_test(test_reserve),
        cmocka_unit_test(test_consume), cmocka_unit_test(test_queue), cmocka_unit_test(test_clear),
        cmocka_unit_test(test_secret),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
