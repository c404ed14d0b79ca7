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
