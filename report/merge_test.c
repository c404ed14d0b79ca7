#include "report/merge.h"

#include "report/history_row.h"
#include "tests/t.h"

static struct arena *mem;

static struct str count(uint64_t messages)
{
    return history_count_pack(mem, &(struct history_count){messages, messages / 2, 0, STR("tuple")});
}

static struct str tally(uint64_t rows, uint64_t left_out, uint64_t accepted)
{
    return history_tally_pack(
        mem, &(struct history_tally){.rows = rows, .left_out = left_out, .accepted = accepted});
}

static struct str key(enum history_kind kind)
{
    static const char tails[] = "0123456789abcdef01234567";

    return history_key_make(mem, 20000, STR("good.test"), kind,
                            str_make(tails, kind == HISTORY_COUNT ? 24 : 8));
}

static void merges(const char *what, enum history_kind kind, struct str ours, struct str theirs,
                   struct str want)
{
    struct store_row a = {ours, 100}, b = {theirs, theirs.n > 0 ? 100 : 0};

    for (int times = 0; times < 2; times++) { /* doing it twice comes to the same */
        report_merge(mem, key(kind), &a, &b);
        t_case(what, NULL);
        t_same_str(b.value, want);
        t_same_int(b.expires_unix, 100);
    }
}

static void test_merge(void **state)
{
    (void)state;
    mem = arena_new(0);
    merges("nothing is shared: ours", HISTORY_COUNT, count(3), STR(""), count(3));
    merges("ours went on while it was away", HISTORY_COUNT, count(300), count(2), count(300));
    merges("a copy that is behind", HISTORY_COUNT, count(2), count(300), count(300));
    merges("a record never changes", HISTORY_RECORD, STR("v=DMARC1; p=none"), STR("v=DMARC1; p=reject"),
           STR("v=DMARC1; p=reject"));
    merges("the greater of each number", HISTORY_TALLY, tally(2, 900, 4), tally(3, 7, 4), tally(3, 900, 4));
    arena_free(&mem);
}

static void test_tag(void **state)
{
    (void)state;
    mem = arena_new(0);
    t_case("rows of a domain lie together, whatever they are", NULL);
    t_same_str_z(report_tag(key(HISTORY_COUNT)), "good.test");
    t_same_str_z(report_tag(key(HISTORY_TALLY)), "good.test");
    t_case("so does what begins like them", NULL);
    t_same_str_z(report_tag(history_key_prefix(mem, 20000, "good.test", HISTORY_COUNT)), "good.test");
    t_same_int(report_tag(history_key_prefix(mem, 20000, NULL, HISTORY_ANY)).n, 0);
    t_same_int(report_tag(STR("")).n, 0);
    arena_free(&mem);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_merge), cmocka_unit_test(test_tag)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
