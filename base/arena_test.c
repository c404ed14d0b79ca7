#include "base/arena.h"

#include "tests/t.h"

#include <stdalign.h>

static void test_zeroed(void **state)
{
    struct arena *mem = arena_new(64);

    (void)state;
    t_case("memory is zeroed and aligned for any type, also after a reset", NULL);
    for (int round = 0; round < 3; round++) {
        for (size_t bytes = 0; bytes < 300; bytes++) {
            unsigned char *p = arena_alloc(mem, bytes);

            t_true((uintptr_t)p % alignof(max_align_t) == 0);
            for (size_t i = 0; i < bytes; i++)
                t_true(p[i] == 0);
            memset(p, 0xff, bytes);
        }
        arena_reset(mem);
    }
    arena_free(&mem);
}

static void test_apart(void **state)
{
    enum { PIECES = 200 };
    struct arena *mem = arena_new(0);
    unsigned char *pieces[PIECES];

    (void)state;
    t_case("no two allocations share a byte", NULL);
    for (size_t i = 0; i < PIECES; i++)
        memset(pieces[i] = arena_alloc(mem, i * 7), (int)i, i * 7);
    for (size_t i = 0; i < PIECES; i++)
        for (size_t j = 0; j < i * 7; j++)
            t_true(pieces[i][j] == (unsigned char)i);
    arena_free(&mem);
}

static void test_bytes(void **state)
{
    struct arena *mem = arena_new(100);
    size_t first = arena_bytes(mem);

    (void)state;
    t_case("arena_bytes tells what the blocks occupy, and a reset gives back all but the first", NULL);
    t_true(first >= 100 && first < 300);
    arena_alloc(mem, 50);
    t_true(arena_bytes(mem) == first);
    arena_alloc(mem, 1000 * 1000);
    t_true(arena_bytes(mem) >= first + 1000 * 1000);
    arena_reset(mem);
    t_true(arena_bytes(mem) == first);
    arena_free(&mem);

    t_case("small allocations cost few bytes beyond their own", NULL);
    mem = arena_new(0);
    for (int i = 0; i < 100000; i++)
        arena_alloc(mem, 16);
    t_true(arena_bytes(mem) < 2 * 1600 * 1000);
    arena_free(&mem);
}

static void test_copies(void **state)
{
    struct arena *mem = arena_new(0);
    int *numbers = ARENA_ARRAY(mem, int, 5);
    char from[] = "abc";
    char *to = arena_copy(mem, from, 4);

    (void)state;
    t_case("copies and arrays", NULL);
    t_true(numbers[0] == 0 && numbers[4] == 0);
    from[0] = 'x';
    t_same_z(to, "abc");
    t_true(arena_copy(mem, NULL, 0) != NULL);
    t_true(ARENA_NEW(mem, struct str)->n == 0);
    arena_free(&mem);
}

static void test_freeing(void **state)
{
    struct arena *mem = NULL;

    (void)state;
    t_case("freeing nothing is fine, and freeing leaves NULL", NULL);
    arena_free(&mem);
    mem = arena_new(1);
    arena_alloc(mem, 100);
    arena_free(&mem);
    t_true(mem == NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_zeroed), cmocka_unit_test(test_apart),   cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_copies), cmocka_unit_test(test_freeing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
