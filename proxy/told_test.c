#include "proxy/told.h"

#include "base/bug.h"
#include "tests/t.h"

#include <stdio.h>

enum { NOW = 1700000400, DAY_S = 86400 }; /* a span of 600 s began just now */

static bool has_heard(const struct told *told, const char *key, const char *said, int64_t now_unix,
                      int64_t keep_s)
{
    struct told_mark mark = told_mark_of(str_of(key), str_of(said), now_unix, keep_s);

    return told_has(told, &mark);
}

static void tell(struct told *told, const char *key, const char *said, int64_t now_unix, int64_t keep_s)
{
    struct told_mark mark = told_mark_of(str_of(key), str_of(said), now_unix, keep_s);

    told_note(told, &mark);
}

static void test_what_is_known(void **state)
{
    struct told *told = told_new();

    (void)state;
    t_case("nothing at first", NULL);
    t_true(!has_heard(told, "bob@d.test", "accepted", NOW, DAY_S));
    tell(told, "bob@d.test", "accepted", NOW, DAY_S);
    t_case("the same of the same", NULL);
    t_true(has_heard(told, "bob@d.test", "accepted", NOW, DAY_S));
    t_case("neither something else of him, nor the same of another", NULL);
    t_true(!has_heard(told, "bob@d.test", "550 5.1.1 Who?", NOW, DAY_S));
    t_true(!has_heard(told, "eve@d.test", "accepted", NOW, DAY_S));
    t_case("the last word counts", NULL);
    tell(told, "bob@d.test", "550 5.1.1 Who?", NOW, DAY_S);
    t_true(!has_heard(told, "bob@d.test", "accepted", NOW, DAY_S));
    told_free(&told);
    t_true(told == NULL);
    told_free(&told);
}

static void test_spans(void **state)
{
    static const struct {
        const char *name;
        int64_t keep_s, last_s; /* the last second of a span */
    } rows[] = {{"ten minutes at the most", 31 * DAY_S, 599},
                {"an eighth of the time that it is kept", 800, 99},
                {"that is no whole second", 5, 0}};

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct told *told = told_new();

        t_case(rows[i].name, NULL);
        tell(told, "bob@d.test", "accepted", NOW, rows[i].keep_s);
        t_true(has_heard(told, "bob@d.test", "accepted", NOW + rows[i].last_s, rows[i].keep_s));
        t_true(!has_heard(told, "bob@d.test", "accepted", NOW + rows[i].last_s + 1, rows[i].keep_s));
        told_free(&told);
    }
}

/* More keys than slots: each is known as long as nobody took its slot, and the table has as many as it has slots. */
static void test_crowd(void **state)
{
    struct told *told = told_new();
    unsigned known = 0;
    char key[32];

    (void)state;
    for (int i = 0; i < 4 * TOLD_SLOTS; i++) {
        snprintf(key, sizeof(key), "user%d@d.test", i);
        tell(told, key, "accepted", NOW, DAY_S);
        t_true(has_heard(told, key, "accepted", NOW, DAY_S));
    }
    for (int i = 0; i < 4 * TOLD_SLOTS; i++) {
        snprintf(key, sizeof(key), "user%d@d.test", i);
        known += has_heard(told, key, "accepted", NOW, DAY_S);
    }
    t_case("the keys are spread over the table, which never has more than its slots", NULL);
    t_true(known > TOLD_SLOTS / 2 && known <= TOLD_SLOTS);
    told_free(&told);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_known),
        cmocka_unit_test(test_spans),
        cmocka_unit_test(test_crowd),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
