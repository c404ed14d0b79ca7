#include "grey/merge.h"

#include "tests/t.h"

static const struct {
    const char *name, *ours;
    int64_t ours_expires;
    const char *theirs;
    int64_t theirs_expires;
    const char *want;
    int64_t want_expires;
} rows[] = {
    {"nothing is shared: ours", "T 100 0 100", 500, "", 0, "T 100 0 100", 500},
    {"who was first seen anywhere was seen first", "T 100 0 150", 500, "T 90 0 120", 400, "T 90 0 150", 500},
    {"who has passed here has passed", "T 100 400 400", 900, "T 110 0 110", 500, "T 100 400 400", 900},
    {"who has passed there has passed", "T 100 0 100", 500, "T 110 420 700", 990, "T 100 420 700", 990},
    {"passed in both places: the first time", "T 100 400 500", 900, "T 100 300 600", 990, "T 100 300 600",
     990},
    {"the greater count of deliveries, not the sum", "C 3 500 500", 900, "C 2 600 650", 950, "C 3 600 650",
     950},
    {"an operator's allowance there stays", "C 3 500 500", 900, "A 100", 0, "A 100", 0},
    {"an operator's allowance here holds", "A 100", 0, "C 3 500 500", 900, "A 100", 0},
    {"what does not read so is replaced by nothing", "gibberish", 900, "T 1 0 1", 500, "T 1 0 1", 500},
    {"a client's row and a triple's have nothing in common", "C 1 2 3", 900, "T 1 0 1", 500, "T 1 0 1", 500},
};

static void test_merge(void **state)
{
    struct arena *mem = arena_new(0);

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct store_row ours = {str_of(rows[i].ours), rows[i].ours_expires};
        struct store_row theirs = {str_of(rows[i].theirs), rows[i].theirs_expires};

        for (int times = 0; times < 2; times++) { /* doing it twice comes to the same */
            grey_merge(mem, STR(""), &ours, &theirs);
            t_case(rows[i].name, NULL);
            t_same_str_z(theirs.value, rows[i].want);
            t_same_int(theirs.expires_unix, rows[i].want_expires);
        }
    }
    arena_free(&mem);
}

static void test_tag(void **state)
{
    static const char triple[] = "spf:good.test\0alice@good.test\0bob@example.net";

    (void)state;
    t_case("the client's part of a triple's key, and all of the client's own", NULL);
    t_same_str_z(grey_tag(STR(triple)), "spf:good.test");
    t_same_str_z(grey_tag(STR("spf:good.test")), "spf:good.test");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_merge), cmocka_unit_test(test_tag)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
