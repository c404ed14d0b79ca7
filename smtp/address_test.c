#include "smtp/address.h"

#include "base/bug.h"
#include "tests/t.h"

#define TEN   "aaaaaaaaaa"
#define SIXTY TEN TEN TEN TEN TEN TEN
#define LABEL SIXTY "bbb" /* 63 octets */
/* 281 octets */
#define ROUTE "@" LABEL "." LABEL "." LABEL "." SIXTY ",@" TEN TEN "aaaaa:"
#define REV   SMTP_PATH_REVERSE
#define FWD   SMTP_PATH_FORWARD

static const struct {
    const char *name, *rfc, *text;
    enum smtp_path_kind kind;
    const char *local, *domain, *rest; /* local NULL: refused */
} paths[] = {
    {"a plain reverse path", "5321 4.1.2", "<a@b.example>", REV, "a", "b.example", ""},
    {"parameters come back with their space", "5321 4.1.2", "<a@b.example> SIZE=1", REV, "a", "b.example",
     " SIZE=1"},
    {"the null reverse path", "5321 4.5.5", "<>", REV, "", "", ""},
    {"the null path is no forward path", "5321 4.1.1.3", "<>", FWD, NULL, NULL, NULL},
    {"postmaster needs no domain", "5321 4.1.1.3", "<postMaster>", FWD, "postMaster", "", ""},
    {"but not as a sender", "5321 4.1.1.2", "<postmaster>", REV, NULL, NULL, NULL},
    {"nor behind a source route", "5321 4.1.1.3", "<@a.example:postmaster>", FWD, NULL, NULL, NULL},
    {"nobody else goes without a domain", "5321 4.1.2", "<user>", FWD, NULL, NULL, NULL},
    {"a source route is skipped", "5321 C", "<@a.example,@b.example:u@c.example>", FWD, "u", "c.example", ""},
    {"a source route of one", "5321 C", "<@a.example:u@c.example>", REV, "u", "c.example", ""},
    {"a source route that never ends", "5321 C", "<@a.example,@b.example>", FWD, NULL, NULL, NULL},
    {"a source route with an empty hop", "5321 C", "<@a.example,,@b.example:u@c.example>", FWD, NULL, NULL,
     NULL},
    {"a source route through a literal", "5321 4.1.2", "<@[192.0.2.1]:u@c.example>", FWD, NULL, NULL, NULL},
    {"a source route alone", "5321 C", "<@a.example:>", FWD, NULL, NULL, NULL},
    {"a quoted local part keeps its quotes", "5321 4.1.2", "<\"a b\"@c.example>", REV, "\"a b\"", "c.example",
     ""},
    {"a bracket may stand in quotes", "5321 4.1.2", "<\"a>b\"@c.example>", REV, "\"a>b\"", "c.example", ""},
    {"an at sign may stand in quotes", "5321 4.1.2", "<\"a@x\"@c.example>", FWD, "\"a@x\"", "c.example", ""},
    {"a quoted pair", "5321 4.1.2", "<\"a\\\"b\"@c.example>", REV, "\"a\\\"b\"", "c.example", ""},
    {"an open quote", "5321 4.1.2", "<\"a@c.example>", REV, NULL, NULL, NULL},
    {"a quote that a backslash keeps open", "5321 4.1.2", "<\"a\\\"@c.example>", REV, NULL, NULL, NULL},
    {"text behind a quoted local part", "5321 4.1.2", "<\"a\"b@c.example>", REV, NULL, NULL, NULL},
    {"a tab in quotes", "5321 4.1.2", "<\"a\tb\"@c.example>", REV, NULL, NULL, NULL},
    {"every special of an atom", "5321 4.1.2", "<!#$%&'*+-/=?^_`{|}~@c.example>", REV, "!#$%&'*+-/=?^_`{|}~",
     "c.example", ""},
    {"two dots in a local part", "5321 4.1.2", "<a..b@c.example>", REV, NULL, NULL, NULL},
    {"single dots with a slash", "5321 4.1.2", "<a.b/c.d@c.example>", FWD, "a.b/c.d", "c.example", ""},
    {"only dots", "5321 4.1.2", "<..@c.example>", FWD, NULL, NULL, NULL},
    {"a dot in front", "5321 4.1.2", "<.a@c.example>", REV, NULL, NULL, NULL},
    {"a dot at the end", "5321 4.1.2", "<a.@c.example>", REV, NULL, NULL, NULL},
    {"two at signs", "5321 4.1.2", "<a@b@c.example>", REV, NULL, NULL, NULL},
    {"an empty local part", "5321 4.1.2", "<@c.example>", REV, NULL, NULL, NULL},
    {"an empty domain", "5321 4.1.2", "<a@>", REV, NULL, NULL, NULL},
    {"a blank in front", "5321 4.1.2", "< a@b.example>", REV, NULL, NULL, NULL},
    {"a blank behind", "5321 4.1.2", "<a@b.example >", REV, NULL, NULL, NULL},
    {"no angle brackets", "5321 4.1.2", "a@b.example", REV, NULL, NULL, NULL},
    {"no closing bracket", "5321 4.1.2", "<a@b.example", REV, NULL, NULL, NULL},
    {"nothing at all", "5321 4.1.2", "", REV, NULL, NULL, NULL},
    {"one bracket", "5321 4.1.2", "<", REV, NULL, NULL, NULL},
    {"two paths", "5321 4.1.2", "<a@b.example><c@d.example>", REV, NULL, NULL, NULL},
    {"text glued to the bracket", "5321 4.1.2", "<a@b.example>SIZE=1", REV, NULL, NULL, NULL},
    {"a doubled bracket", "5321 4.1.2", "<<a@b.example>>", REV, NULL, NULL, NULL},
    {"percent is an ordinary octet", "5321 4.1.2", "<a%b.example@c.example>", FWD, "a%b.example", "c.example",
     ""},
    {"underscores, as the field has them", "5321 4.1.2", "<a@b_c.example>", REV, "a", "b_c.example", ""},
    {"a label that begins with a hyphen", "5321 4.1.2", "<a@-b.example>", REV, NULL, NULL, NULL},
    {"a label that ends with a hyphen", "5321 4.1.2", "<a@b-.example>", REV, NULL, NULL, NULL},
    {"a final dot", "5321 4.1.2", "<a@b.example.>", REV, NULL, NULL, NULL},
    {"an empty label", "5321 4.1.2", "<a@b..example>", REV, NULL, NULL, NULL},
    {"a domain of one label", "5321 2.3.5", "<a@localhost>", FWD, "a", "localhost", ""},
    {"an IPv4 literal", "5321 4.1.3", "<a@[192.0.2.1]>", FWD, "a", "[192.0.2.1]", ""},
    {"an IPv6 literal", "5321 4.1.3", "<a@[IPv6:2001:db8::1]>", FWD, "a", "[IPv6:2001:db8::1]", ""},
    {"an IPv6 literal without its tag", "5321 4.1.3", "<a@[2001:db8::1]>", FWD, NULL, NULL, NULL},
    {"IPv4 under the tag of IPv6", "5321 4.1.3", "<a@[IPv6:192.0.2.1]>", FWD, NULL, NULL, NULL},
    {"a general literal", "5321 4.1.3", "<a@[x-400:c=de/>]>", FWD, "a", "[x-400:c=de/>]", ""},
    {"a tag that ends with a hyphen", "5321 4.1.3", "<a@[x-:y]>", FWD, NULL, NULL, NULL},
    {"an empty literal", "5321 4.1.3", "<a@[]>", FWD, NULL, NULL, NULL},
    {"an open literal", "5321 4.1.3", "<a@[192.0.2.1>", FWD, NULL, NULL, NULL},
    {"text behind a literal", "5321 4.1.3", "<a@[192.0.2.1].example>", FWD, NULL, NULL, NULL},
    {"64 octets of local part", "5321 4.5.3.1.1", "<" SIXTY "1234@c.example>", REV, SIXTY "1234", "c.example",
     ""},
    {"164 octets of local part, as forwarders write them", "5321 4.5.3.1.1",
     "<" SIXTY SIXTY TEN TEN TEN TEN "1234@c.example>", REV, SIXTY SIXTY TEN TEN TEN TEN "1234", "c.example",
     ""},
    {"165 octets of local part", "5321 4.5.3.1.1", "<" SIXTY SIXTY TEN TEN TEN TEN "12345@c.example>", REV,
     NULL, NULL, NULL},
    {"63 octets of label", "1035 2.3.4", "<a@" LABEL ".example>", REV, "a", LABEL ".example", ""},
    {"64 octets of label", "1035 2.3.4", "<a@x" LABEL ".example>", REV, NULL, NULL, NULL},
    {"256 octets of path", "5321 4.5.3.1.3",
     "<" TEN "@" LABEL "." LABEL "." LABEL "." TEN TEN TEN TEN TEN "a>", REV, TEN,
     LABEL "." LABEL "." LABEL "." TEN TEN TEN TEN TEN "a", ""},
    {"356 octets of path", "5321 4.5.3.1.3", "<" ROUTE "a@" LABEL ".example>", REV, "a", LABEL ".example",
     ""},
    {"357 octets of path", "5321 4.5.3.1.3", "<" ROUTE "aa@" LABEL ".example>", REV, NULL, NULL, NULL},
};

static void test_paths(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(paths); i++) {
        struct smtp_address a;
        struct str rest;
        const char *why;
        bool good;

        t_case(paths[i].name, paths[i].rfc);
        good = smtp_path_parse(str_of(paths[i].text), paths[i].kind, false, &a, &rest, &why);
        t_same_int(good, paths[i].local != NULL);
        if (!good) {
            t_true(
                str_starts(str_of(why), paths[i].kind == REV ? STR("5.1.7 Sender") : STR("5.1.3 Recipient")));
            continue;
        }
        t_true(why == NULL);
        t_same_str_z(a.local, paths[i].local);
        t_same_str_z(a.domain, paths[i].domain);
        t_same_str_z(rest, paths[i].rest);
        t_same_int(a.text.n, a.local.n + a.domain.n + (a.domain.n > 0));
    }
}

static void test_octets(void **state)
{
    struct smtp_address a;
    struct str rest;
    const char *why;

    (void)state;
    t_case("a NUL ends nothing", "5321 4.1.2");
    t_true(!smtp_path_parse(STR("<a\0b@c.example>"), REV, false, &a, &rest, &why));
    t_true(!smtp_path_parse(STR("<a@c.example\0.evil.example>"), REV, false, &a, &rest, &why));
    t_true(!smtp_path_parse(STR("<a@c.example>\0"), REV, false, &a, &rest, &why));
    t_true(!smtp_path_parse(STR("<\"a\0b\"@c.example>"), REV, false, &a, &rest, &why));
    t_case("CR and LF are no part of an address", "5321 4.1.2");
    t_true(!smtp_path_parse(STR("<\"a\r\nb\"@c.example>"), REV, false, &a, &rest, &why));
    t_true(!smtp_path_parse(STR("<a@c.example\r\n>"), REV, true, &a, &rest, &why));
    t_case("UTF-8 only where it was agreed on", "6531 3.3");
    t_true(!smtp_path_parse(STR("<m\xC3\xBCller@c.example>"), REV, false, &a, &rest, &why));
    t_true(!smtp_path_parse(STR("<a@m\xC3\xBCller.example>"), REV, false, &a, &rest, &why));
    t_true(smtp_path_parse(STR("<m\xC3\xBCller@m\xC3\xBCller.example>"), REV, true, &a, &rest, &why));
    t_same_str_z(a.domain, "m\xC3\xBCller.example");
    t_true(smtp_path_parse(STR("<\"\xE2\x82\xAC\"@c.example>"), REV, true, &a, &rest, &why));
    t_case("broken UTF-8 is never agreed on", "3629 3");
    t_true(!smtp_path_parse(STR("<m\xFCller@c.example>"), REV, true, &a, &rest, &why));
    t_true(!smtp_path_parse(STR("<a@\xC0\xAE.example>"), REV, true, &a, &rest, &why));
    t_true(!smtp_path_parse(STR("<\"\xED\xA0\x80\"@c.example>"), REV, true, &a, &rest, &why));
}

static void test_utf8_length(void **state)
{
    static const struct {
        const char *name, *text;
        size_t want;
    } rows[] = {
        {"ASCII is not beyond ASCII", "a", 0},
        {"two octets", "\xC3\xBCx", 2},
        {"three octets", "\xE2\x82\xACx", 3},
        {"four octets", "\xF0\x9F\x98\x80x", 4},
        {"the last character of all", "\xF4\x8F\xBF\xBF", 4},
        {"beyond the last", "\xF4\x90\x80\x80", 0},
        {"an overlong slash of two", "\xC0\xAF", 0},
        {"an overlong slash of three", "\xE0\x80\xAF", 0},
        {"an overlong slash of four", "\xF0\x80\x80\xAF", 0},
        {"a surrogate", "\xED\xA0\x80", 0},
        {"a continuation alone", "\xBC", 0},
        {"cut short", "\xE2\x82", 0},
        {"a wrong continuation", "\xE2\x28\xA1", 0},
        {"nothing", "", 0},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        t_case(rows[i].name, "3629 4");
        t_same_int(smtp_utf8_length(str_of(rows[i].text)), rows[i].want);
    }
}

static void test_domains(void **state)
{
    static const struct {
        const char *text;
        bool want;
    } rows[] = {
        {"example.org", true},
        {"EXAMPLE.org", true},
        {"a", true},
        {"1.2.3.4", true},
        {"_dmarc.a-b.example", true},
        {"a.b.", false},
        {".", false},
        {"", false},
        {".a", false},
        {"a..b", false},
        {"-a.example", false},
        {"a-.example", false},
        {"a b", false},
        {"a/b", false},
        {"[192.0.2.1]", false},
        {"m\xC3\xBC.de", false},
        {LABEL ".x", true},
        {"x" LABEL, false},
        {LABEL "." LABEL "." LABEL "." LABEL, true},
        {LABEL "." LABEL "." LABEL "." SIXTY ".xxx", false},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        t_case(rows[i].text, "5321 4.1.2");
        t_same_int(smtp_is_domain(str_of(rows[i].text)), rows[i].want);
    }
    t_case("a NUL is no letter", "5321 4.1.2");
    t_true(!smtp_is_domain(STR("a\0.example")));
}

static void test_literals(void **state)
{
    struct ip ip;
    char text[IP_TEXT_MAX];

    (void)state;
    t_case("address literals", "5321 4.1.3");
    t_true(smtp_is_address_literal(STR("[192.0.2.1]"), &ip));
    t_same_z(ip_format(&ip, text), "192.0.2.1");
    t_true(smtp_is_address_literal(STR("[ipv6:2001:db8::1]"), &ip));
    t_same_z(ip_format(&ip, text), "2001:db8::1");
    t_true(smtp_is_address_literal(STR("[IPv6:::ffff:192.0.2.1]"), &ip));
    t_same_int(ip.family, 4);
    t_true(!smtp_is_address_literal(STR("192.0.2.1"), &ip));
    t_true(!smtp_is_address_literal(STR("[192.0.2.1"), &ip));
    t_true(!smtp_is_address_literal(STR("["), &ip));
    t_true(!smtp_is_address_literal(STR("[192.0.2.1]]"), &ip));
    t_true(!smtp_is_address_literal(STR("[192.0.2.256]"), &ip));
    t_true(!smtp_is_address_literal(STR("[IPv6:]"), &ip));
    t_true(!smtp_is_address_literal(STR("[IPv6:fe80::1%eth0]"), &ip));
}

static void test_mailboxes(void **state)
{
    struct smtp_address a, b;

    (void)state;
    t_case("a mailbox alone", "5321 4.1.2");
    t_true(smtp_mailbox_parse(STR("User@Example.ORG"), false, &a));
    t_same_str_z(a.text, "User@Example.ORG");
    t_true(smtp_mailbox_parse(STR("User@example.org"), false, &b));
    t_case("domains are the same without case, local parts to the letter", "5321 2.4");
    t_true(smtp_address_same(&a, &b));
    t_true(smtp_mailbox_parse(STR("user@example.org"), false, &b));
    t_true(!smtp_address_same(&a, &b));
    t_case("nothing but a mailbox", "5321 4.1.2");
    t_true(!smtp_mailbox_parse(STR("a@b.example "), false, &a));
    t_true(!smtp_mailbox_parse(STR("<a@b.example>"), false, &a));
    t_true(!smtp_mailbox_parse(STR("postmaster"), false, &a));
    t_true(!smtp_mailbox_parse(STR(""), false, &a));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_paths),   cmocka_unit_test(test_octets),   cmocka_unit_test(test_utf8_length),
        cmocka_unit_test(test_domains), cmocka_unit_test(test_literals), cmocka_unit_test(test_mailboxes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
