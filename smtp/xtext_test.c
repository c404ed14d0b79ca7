#include "smtp/xtext.h"

#include "base/bug.h"
#include "tests/t.h"

static const struct {
    const char *name, *rfc, *text, *plain;
} rows[] = {
    {"nothing is xtext", "3461 4", "", ""},
    {"printable characters stand for themselves", "3461 4", "a!~b<>;@", "a!~b<>;@"},
    {"a plus sign is encoded", "3461 4", "a+2Bb", "a+b"},
    {"an equals sign is encoded", "3461 4", "e+3Dmc2@example.org", "e=mc2@example.org"},
    {"a blank is encoded", "3461 4", "a+20b", "a b"},
    {"line ends are encoded", "3461 4", "+0D+0A", "\r\n"},
    {"DEL and octets beyond ASCII are encoded", "3461 4", "+7F+C3+BC", "\x7F\xC3\xBC"},
};

static void test_both_ways(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct buf out;

        t_case(rows[i].name, rows[i].rfc);
        buf_init(&out, 100);
        t_true(smtp_is_xtext(str_of(rows[i].text)));
        t_true(smtp_xtext_decode(&out, str_of(rows[i].text)));
        t_same_str_z(buf_str(&out), rows[i].plain);
        buf_clear(&out);
        t_true(smtp_xtext_encode(&out, str_of(rows[i].plain)));
        t_same_str_z(buf_str(&out), rows[i].text);
        buf_fini(&out);
    }
}

static void test_broken(void **state)
{
    static const char *const broken[] = {"+", "a+",  "+2", "+2b", "+bB", "+G0",  "+0g",  "++2B",
                                         "=", "a=b", " ",  "a b", "\t",  "\r\n", "\x7F", "\xC3\xBC"};

    (void)state;
    for (size_t i = 0; i < COUNT(broken); i++) {
        struct buf out;

        t_case(broken[i], "3461 4");
        buf_init(&out, 100);
        buf_add_z(&out, "before");
        t_true(!smtp_is_xtext(str_of(broken[i])));
        t_true(!smtp_xtext_decode(&out, str_of(broken[i])));
        t_same_str_z(buf_str(&out), "before");
        buf_fini(&out);
    }
    t_case("a NUL is no xtext", "3461 4");
    t_true(!smtp_is_xtext(STR("a\0b")));
}

static void test_every_octet(void **state)
{
    struct buf text, plain;

    (void)state;
    buf_init(&text, 10);
    buf_init(&plain, 10);
    for (int i = 0; i < 256; i++) {
        char octet = (char)i;
        bool itself = i >= 33 && i <= 126 && i != '+' && i != '=';

        t_case("each octet comes back", "3461 4");
        buf_clear(&text);
        buf_clear(&plain);
        t_true(smtp_xtext_encode(&text, str_make(&octet, 1)));
        t_same_int(text.n, itself ? 1 : 3);
        t_true(smtp_xtext_decode(&plain, buf_str(&text)));
        t_same_str(buf_str(&plain), str_make(&octet, 1));
        t_case("an octet may be encoded that need not be", "3461 4");
        buf_clear(&text);
        buf_clear(&plain);
        buf_fmt(&text, "+%02X", (unsigned)i);
        t_true(smtp_xtext_decode(&plain, buf_str(&text)));
        t_same_str(buf_str(&plain), str_make(&octet, 1));
    }
    buf_fini(&text);
    buf_fini(&plain);
}

static void test_limits(void **state)
{
    struct buf out;

    (void)state;
    t_case("what does not fit is left out whole", NULL);
    buf_init(&out, 5);
    t_true(!smtp_xtext_encode(&out, STR("a  ")));
    t_true(out.n == 0 && out.overflow);
    buf_clear(&out);
    t_true(smtp_xtext_encode(&out, STR("ab ")));
    t_same_str_z(buf_str(&out), "ab+20");
    t_true(!smtp_xtext_decode(&out, STR("x")));
    t_same_str_z(buf_str(&out), "ab+20");
    buf_clear(&out);
    t_case("what counts is what comes out", NULL);
    t_true(smtp_xtext_decode(&out, STR("+20+20+20+20+20")));
    t_same_str_z(buf_str(&out), "     ");
    buf_clear(&out);
    t_true(!smtp_xtext_decode(&out, STR("+20+20+20+20+20+20")));
    buf_clear(&out);
    buf_add_z(&out, "ab+20");
    t_same_str_z(buf_str(&out), "ab+20");
    buf_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_both_ways),
        cmocka_unit_test(test_broken),
        cmocka_unit_test(test_every_octet),
        cmocka_unit_test(test_limits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
