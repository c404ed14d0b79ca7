#include "base/str.h"

#include "tests/t.h"

static void test_same(void **state)
{
    (void)state;
    t_case("case folding is ASCII only", NULL);
    t_true(str_same(STR("StartTLS"), STR("STARTTLS")));
    t_true(!str_same(STR("\xc5\xbfTARTTLS"), STR("STARTTLS"))); /* U+017F, which Unicode folds to s */
    t_true(!str_same(STR("\xc4"), STR("\xe4")));
    t_true(!str_same(STR("["), STR("{")) && !str_same(STR("@"), STR("`")));
    t_case("NUL is an ordinary byte", NULL);
    t_true(!str_eq(STR("a\0b"), STR("a\0c")));
    t_true(!str_eq_z(STR("a\0"), "a"));
    t_true(str_eq(STR(""), (struct str){0}));
    t_true(str_eq_z((struct str){0}, ""));
    t_true(str_same_z(STR("AbC"), "aBc") && !str_same_z(STR("ab"), "abc"));
    t_true(str_of(NULL).n == 0);
}

static void test_ends(void **state)
{
    (void)state;
    t_case("prefixes and suffixes", NULL);
    t_true(str_starts(STR("v=spf1 -all"), STR("v=spf1")) && !str_starts(STR("V=spf1"), STR("v=spf1")));
    t_true(str_starts_same(STR("FROM:<>"), STR("from:")) && !str_starts_same(STR("FRO"), STR("from:")));
    t_true(str_ends_same(STR("a.Example.ORG"), STR(".example.org")) &&
           !str_ends_same(STR("org"), STR(".org")));
    t_true(str_starts(STR(""), STR("")) && str_ends_same(STR("a"), STR("")));
}

static void test_parts(void **state)
{
    struct str s = STR("abc");

    (void)state;
    t_case("parts never reach beyond the whole", NULL);
    t_same_str_z(str_from(s, 1), "bc");
    t_same_str_z(str_from(s, 3), "");
    t_same_str_z(str_from(s, 9), "");
    t_same_str_z(str_upto(s, 2), "ab");
    t_same_str_z(str_upto(s, 9), "abc");
    t_same_int(str_find(s, 'c'), 2);
    t_same_int(str_find(s, 'x'), 3);
    t_same_int(str_find((struct str){0}, 'x'), 0);
    t_true(str_has(STR("a\0b"), '\0') && !str_has(s, '\0'));
}

static void test_trim(void **state)
{
    (void)state;
    t_case("blanks go at both ends and nowhere else", NULL);
    t_same_str_z(str_trim(STR(" \t\r\na b\r\n")), "a b");
    t_same_str_z(str_trim(STR(" \t ")), "");
    t_same_str_z(str_trim(STR("")), "");
    t_same_str_z(str_trim(STR("\va\f")), "\va\f");
}

static void test_cut(void **state)
{
    struct str head, tail = STR("a,,b");

    (void)state;
    t_case("cutting walks through a list, and its variables may be the same", NULL);
    t_true(str_cut(tail, ',', &head, &tail));
    t_same_str_z(head, "a");
    t_true(str_cut(tail, ',', &head, &tail));
    t_same_str_z(head, "");
    t_true(!str_cut(tail, ',', &head, &tail));
    t_same_str_z(head, "b");
    t_same_str_z(tail, "");
    t_true(!str_cut(tail, ',', &head, &tail));
    t_same_str_z(head, "");
    t_true(str_cut(STR("x,"), ',', &head, &tail) && tail.n == 0);
}

static const struct {
    const char *name, *text;
    uint64_t most;
    bool fine;
    uint64_t value;
} numbers[] = {
    {"zero", "0", 10, true, 0},
    {"leading zeros", "0010", 10, true, 10},
    {"the most", "10", 10, true, 10},
    {"more than the most", "11", 10, false, 0},
    {"the largest of all", "18446744073709551615", UINT64_MAX, true, UINT64_MAX},
    {"one more than that", "18446744073709551616", UINT64_MAX, false, 0},
    {"many digits", "99999999999999999999999999999999", UINT64_MAX, false, 0},
    {"nothing", "", 10, false, 0},
    {"a sign", "+1", 10, false, 0},
    {"a minus", "-1", 10, false, 0},
    {"a blank", " 1", 10, false, 0},
    {"something behind", "1x", 10, false, 0},
    {"hexadecimal", "0x1", 100, false, 0},
};

static void test_numbers(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(numbers) / sizeof(*numbers); i++) {
        uint64_t value = 77;

        t_case(numbers[i].name, NULL);
        t_true(str_to_u64(str_of(numbers[i].text), numbers[i].most, &value) == numbers[i].fine);
        t_true(value == (numbers[i].fine ? numbers[i].value : 77));
    }
}

static void test_hex(void **state)
{
    (void)state;
    t_case("hexadecimal digits, and nothing else", NULL);
    t_same_int(ascii_hex('0'), 0);
    t_same_int(ascii_hex('9'), 9);
    t_same_int(ascii_hex('a'), 10);
    t_same_int(ascii_hex('F'), 15);
    t_same_int(ascii_hex('g'), -1);
    t_same_int(ascii_hex('/'), -1);
    t_same_int(ascii_hex(':'), -1);
    t_same_int(ascii_hex('@'), -1);
    t_same_int(ascii_hex('\0'), -1);
    t_same_int(ascii_hex('\xff'), -1);
}

static const struct {
    const char *name, *text, *bytes; /* bytes NULL: none */
} unhexed[] = {
    {"bytes from digits of either case", "4a4B7e", "JK~"},
    {"as many as there is room for", "61626364", "abcd"},
    {"one more", "6162636465", NULL},
    {"half a byte", "616", NULL},
    {"nothing", "", NULL},
    {"a blank", "61 2", NULL},
};

static void test_unhex(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(unhexed) / sizeof(*unhexed); i++) {
        struct str bytes = STR("untouched");
        char out[4];

        t_case(unhexed[i].name, NULL);
        t_true(str_unhex(str_of(unhexed[i].text), out, sizeof(out), &bytes) == (unhexed[i].bytes != NULL));
        t_true(str_eq_z(bytes, unhexed[i].bytes != NULL ? unhexed[i].bytes : "untouched"));
    }
}

static void test_copies(void **state)
{
    struct arena *mem = arena_new(0);
    char longer[601];

    (void)state;
    t_case("copies end with NUL", NULL);
    t_same_z(str_dup(mem, str_upto(STR("abcdef"), 3)), "abc");
    t_same_z(str_dup(mem, (struct str){0}), "");
    t_same_z(str_dup_lower(mem, STR("Example.ORG\xc4")), "example.org\xc4");
    t_same_int(str_copy(mem, STR("a\0b")).n, 3);
    t_case("formatted text may have any length", NULL);
    t_same_z(str_fmt(mem, "%s:%d", "a", 25), "a:25");
    for (size_t n = 250; n <= 600; n += 5) {
        memset(longer, 'x', n);
        longer[n] = '\0';
        t_same_z(str_fmt(mem, "%s", longer), longer);
    }
    arena_free(&mem);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same), cmocka_unit_test(test_ends),   cmocka_unit_test(test_parts),
        cmocka_unit_test(test_trim), cmocka_unit_test(test_cut),    cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_hex),
        cmocka_unit_test(test_unhex),  cmocka_unit_test(test_copies),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
