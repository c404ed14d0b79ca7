/* proxy/partial_test.c - who has a message already, and who must travel alone */
#include "proxy/partial.h"

#include "tests/t.h"

#include <stdio.h>

enum { DAY_MS = 24 * 3600 * 1000 };

static const struct str from = {"a@b.test", 8}, bob = {"bob@c.test", 10}, carol = {"carol@c.test", 12};

static void test_remembers(void **state)
{
    struct partials *p = partials_new();

    (void)state;
    t_case("a pair of sender and recipient, and no other", "2033 4.2");
    partials_separate(p, from, bob, 0);
    t_true(partials_is_separate(p, from, bob, 1));
    t_true(!partials_is_separate(p, from, carol, 1));
    t_true(!partials_is_separate(p, bob, from, 1));
    t_true(!partials_is_separate(p, STR(""), bob, 1));
    t_case("he has this message, and no other", NULL);
    partials_note(p, from, bob, 7, 0);
    t_true(partials_has(p, from, bob, 7, 1));
    t_true(!partials_has(p, from, bob, 8, 1));
    t_true(!partials_has(p, from, carol, 7, 1));
    t_true(!partials_is_separate(p, from, carol, 1));
    t_case("for five days from the last time", "5321 4.5.4.1");
    partials_note(p, from, bob, 7, DAY_MS);
    t_true(!partials_is_separate(p, from, bob, 5LL * DAY_MS));
    t_true(partials_has(p, from, bob, 7, 5LL * DAY_MS));
    t_true(!partials_has(p, from, bob, 7, 6LL * DAY_MS));
    partials_free(&p);
    t_true(p == NULL);
    partials_free(&p);
}

static void test_limit(void **state)
{
    struct partials *p = partials_new();

    (void)state;
    t_case("the oldest makes room", NULL);
    for (uint64_t i = 1; i <= PARTIALS_MAX + 1; i++)
        partials_note(p, from, bob, i, (int64_t)i);
    t_true(!partials_has(p, from, bob, 1, PARTIALS_MAX));
    t_true(partials_has(p, from, bob, 2, PARTIALS_MAX));
    t_true(partials_has(p, from, bob, PARTIALS_MAX + 1, PARTIALS_MAX));
    partials_free(&p);
}

static uint64_t digest_of(struct str text, size_t step)
{
    struct partial_digest digest = {0};

    for (; text.n > 0; text = str_from(text, str_upto(text, step).n))
        partial_digest_add(&digest, str_upto(text, step));
    return partial_digest_end(&digest);
}

static void test_digest(void **state)
{
    static char text[3 * PARTIAL_BLOCK + 5];
    uint64_t whole;

    (void)state;
    for (size_t i = 0; i < sizeof(text); i++)
        text[i] = (char)(i * 7);
    whole = digest_of(str_make(text, sizeof(text)), sizeof(text));
    t_case("however it is cut", NULL);
    for (size_t step = 1; step < sizeof(text); step += 113)
        t_true(digest_of(str_make(text, sizeof(text)), step) == whole);
    t_case("another octet, or one less, is another message", NULL);
    t_true(digest_of(str_make(text, sizeof(text) - 1), 100) != whole);
    text[PARTIAL_BLOCK]++;
    t_true(digest_of(str_make(text, sizeof(text)), 100) != whole);
    t_case("and no message is none", NULL);
    t_true(digest_of(STR(""), 1) != 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_remembers),
        cmocka_unit_test(test_limit),
        cmocka_unit_test(test_digest),
    };

    return cmocka_run_group_tests_name("partial", tests, NULL, NULL);
}
