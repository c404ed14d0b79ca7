#include "auth/dmarc.h"
#include "base/bug.h"
#include "tests/t.h"

/* clang-format off */
static const struct {
    const char *name, *rfc, *section, *want;
} froms[] = {
    {"one address", "9989 5.3.1", "To: x@y.test\r\nFrom: A <a@Example.test>\r\n", "example.test"},
    {"no From", "9989 5.3.1", "To: x@y.test\r\n", NULL},
    {"two From fields, even alike", "5322 3.6", "From: a@x.test\r\nfrom: a@x.test\r\n", NULL},
    {"two addresses of one domain", "9989 5.3.1", "From: a@x.test, b@X.test\r\n", "x.test"},
    {"two domains", "9989 5.3.1", "From: a@x.test, b@y.test\r\n", NULL},
    {"no address", "9989 5.3.1", "From: \r\n", NULL},
    {"not an address", "9989 11.5", "From: a@x.test b@y.test\r\n", NULL},
    {"an address literal has no policy", "9989 5.3.1", "From: a@[192.0.2.1]\r\n", NULL},
    {"an address in a quoted name is a name", "9989 11.5", "From: \"ceo@bank.test\" <a@x.test>\r\n", "x.test"},
    {"a quoted > does not end anything", "9989 11.5", "From: \"<ceo@bank.test>\" <a@x.test>\r\n", "x.test"},
    {"an address as an unquoted name", "9989 11.5", "From: ceo@bank.test <a@x.test>\r\n", NULL},
    {"an address in an encoded word is a name", "2047 5", "From: =?utf-8?Q?ceo=40bank.test?= <a@x.test>\r\n", "x.test"},
    {"an encoded word is never an address", "2047 5", "From: =?utf-8?Q?a=40bank.test?=\r\n", NULL},
    {"an address in a comment", "5322 3.2.2", "From: a@x.test (ceo@bank.test)\r\n", "x.test"},
    {"comments that nest", "5322 3.2.2", "From: (a (b@y.test) \\)) a@x.test\r\n", "x.test"},
    {"a comment that does not end", "5322 3.2.2", "From: a@x.test (ceo@bank.test\r\n", NULL},
    {"empty angles", "5322 3.4", "From: <>\r\n", NULL},
    {"a name and empty angles", "5322 3.4", "From: A <>\r\n", NULL},
    {"two pairs of angles", "5322 3.4", "From: A <a@x.test> <ceo@bank.test>\r\n", NULL},
    {"angles in angles", "5322 3.4", "From: <<a@x.test>>\r\n", "x.test"},
    {"angles that do not end", "5322 3.4", "From: A <a@x.test\r\n", "x.test"},
    {"a stray >", "5322 3.4", "From: A a@x.test>\r\n", "x.test"},
    {"a group of one domain", "6854 2", "From: G: a@x.test, b@x.test;\r\n", "x.test"},
    {"a group of two domains", "6854 2", "From: G: a@x.test, b@y.test;\r\n", NULL},
    {"an empty group", "6854 2", "From: Undisclosed:;\r\n", NULL},
    {"a source route", "5322 4.4", "From: <@relay.test:a@x.test>\r\n", "x.test"},
    {"a comma at the end", "5322 4.4", "From: a@x.test,\r\n", "x.test"},
    {"a semicolon between addresses", "5322 3.4", "From: a@x.test; ceo@bank.test\r\n", NULL},
    {"blanks and comments around the dots", "5322 4.4", "From: a @ x . (c) test\r\n", "x.test"},
    {"a quoted local part", "5322 3.4.1", "From: \"a b\"@x.test\r\n", "x.test"},
    {"a quoted @ in the local part", "5322 3.4.1", "From: \"ceo@bank.test\"@x.test\r\n", "x.test"},
    {"two @", "5322 3.4.1", "From: a@bank.test@x.test\r\n", NULL},
    {"a blank before the colon", "5322 4.5", "From : a@x.test\r\n", "x.test"},
    {"folded", "5322 2.2.3", "From: A\r\n <a@x.test>\r\n", "x.test"},
    {"two dots", "5322 3.4.1", "From: a@x..test\r\n", NULL},
    {"a final dot", "5322 3.4.1", "From: a@x.test.\r\n", NULL},
    {"an internationalised domain", "6532 3.2", "From: a@b\xc3\xbc" "cher.test\r\n", "xn--bcher-kva.test"},
    {"its A-label", "5890 2.3.2.1", "From: a@xn--bcher-kva.test\r\n", "xn--bcher-kva.test"},
    {"octets that are no UTF-8", "6532 3.1", "From: a@b\xfc" "cher.test\r\n", NULL},
    {"not valid, but of one domain", "9989 11.5", "From: Shop, Inc. <a@x.test>\r\n", "x.test"},
    {"not valid, of two", "9989 11.5", "From: a@x.test <a@y.test>\r\n", NULL},
    {"a single label", "9989 5.3.1", "From: root@localhost\r\n", "localhost"},
};
/* clang-format on */

static void test_from_domain(void **state)
{
    struct arena *mem = arena_new(0);

    (void)state;
    for (size_t i = 0; i < COUNT(froms); i++) {
        struct header header;
        const char *why = NULL;

        t_case(froms[i].name, froms[i].rfc);
        t_same_int(header_parse(mem, str_of(froms[i].section), 100, &header), HEADER_OK);
        t_same_z(dmarc_from_domain(mem, &header, &why), froms[i].want);
        t_true((froms[i].want == NULL) == (*why != '\0'));
    }
    arena_free(&mem);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {cmocka_unit_test(test_from_domain)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
