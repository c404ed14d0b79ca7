#include "auth/spf_record.h"

#include "base/bug.h"
#include "tests/t.h"

/* ---- which TXT records are SPF records ---- */

static void test_version(void **state)
{
    (void)state;
    t_case("the version ends with a space or the record", "7208 4.5");
    t_true(spf_record_is_one(STR("v=spf1")));
    t_true(spf_record_is_one(STR("v=spf1 -all")));
    t_true(spf_record_is_one(STR("V=SPF1 ")));
    t_true(!spf_record_is_one(STR("v=spf1-all")));
    t_true(!spf_record_is_one(STR("v=spf10")));
    t_true(!spf_record_is_one(STR("v=spf1\t-all")));
    t_true(!spf_record_is_one(STR(" v=spf1 -all")));
    t_true(!spf_record_is_one(STR("v=spf")));
    t_true(!spf_record_is_one(STR("")));
}

/* ---- terms that are right ---- */

static const struct {
    const char *name, *rfc, *text;
    enum spf_term_kind kind;
    enum spf_result result;
    const char *domain;
    int bits4, bits6; /* of a and mx; of ip4 and ip6 bits4 is the network's */
} good[] = {
    {"no qualifier is +", "7208 4.6.2", "all", SPF_TERM_ALL, SPF_PASS, "", 0, 0},
    {"+ passes", "7208 4.6.2", "+all", SPF_TERM_ALL, SPF_PASS, "", 0, 0},
    {"- fails", "7208 4.6.2", "-all", SPF_TERM_ALL, SPF_FAIL, "", 0, 0},
    {"~ is softfail", "7208 4.6.2", "~ALL", SPF_TERM_ALL, SPF_SOFTFAIL, "", 0, 0},
    {"? is neutral", "7208 4.6.2", "?all", SPF_TERM_ALL, SPF_NEUTRAL, "", 0, 0},
    {"a may stand alone", "7208 5.3", "a", SPF_TERM_A, SPF_PASS, "", 32, 128},
    {"a with a domain", "7208 5.3", "A:mail.Example.org", SPF_TERM_A, SPF_PASS, "mail.Example.org", 32, 128},
    {"a with an IPv4 prefix", "7208 5.3", "a/24", SPF_TERM_A, SPF_PASS, "", 24, 128},
    {"a with an IPv6 prefix", "7208 5.3", "a//64", SPF_TERM_A, SPF_PASS, "", 32, 64},
    {"a with all of it", "7208 5.3", "-a:x.org/0//0", SPF_TERM_A, SPF_FAIL, "x.org", 0, 0},
    {"a slash may be part of a name", "7208 7.1", "a:x/8.org/24", SPF_TERM_A, SPF_PASS, "x/8.org", 24, 128},
    {"a slash may be a delimiter", "7208 7.1", "a:%{l1r/}/24", SPF_TERM_A, SPF_PASS, "%{l1r/}", 24, 128},
    {"a colon may be part of a name", "7208 7.1", "a:x:y.org", SPF_TERM_A, SPF_PASS, "x:y.org", 32, 128},
    {"a final dot", "7208 7.1", "a:x.org.", SPF_TERM_A, SPF_PASS, "x.org.", 32, 128},
    {"a top label with hyphens", "7208 7.1", "a:x.xn--p1ai", SPF_TERM_A, SPF_PASS, "x.xn--p1ai", 32, 128},
    {"a top label of digits and a hyphen", "7208 7.1", "a:x.1-2", SPF_TERM_A, SPF_PASS, "x.1-2", 32, 128},
    {"a domain may end in %%", "7208 7.1", "a:x%%", SPF_TERM_A, SPF_PASS, "x%%", 32, 128},
    {"mx", "7208 5.4", "mx:x.org/31//127", SPF_TERM_MX, SPF_PASS, "x.org", 31, 127},
    {"ptr alone", "7208 5.5", "ptr", SPF_TERM_PTR, SPF_PASS, "", 0, 0},
    {"ptr with a domain", "7208 5.5", "ptr:x.org", SPF_TERM_PTR, SPF_PASS, "x.org", 0, 0},
    {"exists", "7208 5.7", "exists:%{ir}.x.org", SPF_TERM_EXISTS, SPF_PASS, "%{ir}.x.org", 0, 0},
    {"include", "7208 5.2", "?include:_spf.x.org", SPF_TERM_INCLUDE, SPF_NEUTRAL, "_spf.x.org", 0, 0},
    {"ip4, one address", "7208 5.6", "ip4:192.0.2.1", SPF_TERM_IP4, SPF_PASS, "", 32, 0},
    {"ip4, a network with host bits", "7208 5.6", "ip4:192.0.2.1/24", SPF_TERM_IP4, SPF_PASS, "", 24, 0},
    {"ip4, everything", "7208 5.6", "ip4:0.0.0.0/0", SPF_TERM_IP4, SPF_PASS, "", 0, 0},
    {"ip6, one address", "7208 5.6", "ip6:2001:DB8::1", SPF_TERM_IP6, SPF_PASS, "", 128, 0},
    {"ip6, a network", "7208 5.6", "IP6:2001:db8::/32", SPF_TERM_IP6, SPF_PASS, "", 32, 0},
    {"ip6, IPv4 at its end", "7208 5.6", "ip6:::ffff:192.0.2.1/96", SPF_TERM_IP6, SPF_PASS, "", 96, 0},
    {"redirect", "7208 6.1", "redirect=_spf.x.org", SPF_TERM_REDIRECT, SPF_PASS, "_spf.x.org", 0, 0},
    {"exp", "7208 6.2", "EXP=why.%{d}", SPF_TERM_EXP, SPF_PASS, "why.%{d}", 0, 0},
    {"an unknown modifier", "7208 6", "moo.cow-far_out=man:dog/cat", SPF_TERM_UNKNOWN, SPF_PASS,
     "man:dog/cat", 0, 0},
    {"an unknown modifier may be empty", "7208 12", "x=", SPF_TERM_UNKNOWN, SPF_PASS, "", 0, 0},
    {"a mechanism's name with = is a modifier", "7208 4.6.1", "all=x", SPF_TERM_UNKNOWN, SPF_PASS, "x", 0, 0},
};

static void test_good(void **state)
{
    struct spf_term term;
    const char *why;

    (void)state;
    for (size_t i = 0; i < COUNT(good); i++) {
        struct str terms = str_of(good[i].text);
        bool is_net = good[i].kind == SPF_TERM_IP4 || good[i].kind == SPF_TERM_IP6;

        t_case(good[i].name, good[i].rfc);
        t_same_int(spf_term_next(&terms, &term, &why), SPF_NEXT_TERM);
        t_same_int(term.kind, good[i].kind);
        t_same_int(term.result, good[i].result);
        t_same_str_z(term.text, good[i].text);
        t_same_str_z(term.domain, good[i].domain);
        t_same_int(is_net ? term.net.bits : term.bits4, good[i].bits4);
        t_same_int(term.bits6, good[i].bits6);
        t_same_int(term.net.ip.family, good[i].kind == SPF_TERM_IP4   ? 4
                                       : good[i].kind == SPF_TERM_IP6 ? 6
                                                                      : 0);
        t_same_int(spf_term_next(&terms, &term, &why), SPF_NEXT_END);
    }
}

/* ---- terms that are wrong ---- */

static const struct {
    const char *name, *rfc;
    struct str text;
} wrong[] = {
    {"an unknown mechanism", "7208 4.6", {"moo", 3}},
    {"an unknown mechanism with a domain", "7208 4.6", {"moo:x.org", 9}},
    {"a qualifier alone", "7208 12", {"-", 1}},
    {"two qualifiers", "7208 12", {"-+all", 5}},
    {"a modifier with a qualifier", "7208 12", {"-exp=x.org", 10}},
    {"a name that begins with a digit", "7208 12", {"1up=x", 5}},
    {"no name", "7208 12", {"=x", 2}},
    {"a slash before =", "7208 4.6.1", {"moo/x=y", 7}},
    {"all with a dot", "7208 5.1", {"all.", 4}},
    {"all with a domain", "7208 5.1", {"all:x.org", 9}},
    {"all with a prefix", "7208 5.1", {"all/8", 5}},
    {"include without a domain", "7208 5.2", {"include", 7}},
    {"include with an empty one", "7208 5.2", {"include:", 8}},
    {"include with a prefix", "7208 5.2", {"include:x.org/24", 16}},
    {"exists without a domain", "7208 5.7", {"exists", 6}},
    {"exists with a prefix", "7208 5.7", {"exists:x.org/24", 15}},
    {"ptr with a prefix", "7208 5.5", {"ptr/24", 6}},
    {"ptr with an empty domain", "7208 5.5", {"ptr:", 4}},
    {"a with an empty domain", "7208 5.3", {"a:", 2}},
    {"a with an empty domain and a prefix", "7208 5.3", {"a:/24", 5}},
    {"a with an empty prefix", "7208 5.3", {"a/", 2}},
    {"a with a prefix of 33", "7208 5.3", {"a/33", 4}},
    {"a with an IPv6 prefix of 129", "7208 5.3", {"a//129", 6}},
    {"a prefix beyond any number", "7208 5.3", {"a//99999999999999999999999", 26}},
    {"a prefix with a leading zero", "7208 5.3", {"a/08", 4}},
    {"prefixes with one slash each", "7208 5.3", {"a/24/64", 7}},
    {"prefixes in the wrong order", "7208 5.3", {"a//64/24", 8}},
    {"a top label alone", "7208 7.1", {"a:museum", 8}},
    {"a top label alone, with a dot", "7208 7.1", {"a:museum.", 9}},
    {"a top label of digits", "7208 7.1", {"a:x.123", 7}},
    {"an address for a domain", "7208 7.1", {"a:192.0.2.1", 11}},
    {"a top label that begins with a hyphen", "7208 7.1", {"a:x.-org", 8}},
    {"a top label that ends with one", "7208 7.1", {"a:x.org-", 8}},
    {"two dots at the end", "7208 7.1", {"a:x.org..", 9}},
    {"a port", "7208 7.1", {"a:x.org:8080", 12}},
    {"a NUL in a name", "7208 7.1", {"a:x.org\0", 8}},
    {"a NUL for a mechanism", "7208 12", {"\0", 1}},
    {"a tab between terms", "7208 4.6.1", {"a\t-all", 6}},
    {"octets beyond ASCII", "7208 3.1", {"a:\xef\xbb\xbfx.org", 10}},
    {"a broken macro", "7208 7.1", {"a:%{d.x.org", 11}},
    {"a bare percent sign", "7208 7.1", {"a:100%.org", 10}},
    {"a percent sign at the end", "7208 7.1", {"a:x.org%", 8}},
    {"a macro nobody knows", "7208 7.2", {"a:%{a}.org", 10}},
    {"a macro of explanations", "7208 7.2", {"exp=%{r}.x.org", 14}},
    {"no right-hand parts", "7208 7.3", {"a:%{d0}.org", 11}},
    {"ip4 without an address", "7208 5.6", {"ip4", 3}},
    {"ip4 with an empty one", "7208 5.6", {"ip4:", 4}},
    {"ip4 with a short one", "7208 5.6", {"ip4:192.0.2", 11}},
    {"ip4 with a port", "7208 5.6", {"ip4:192.0.2.1:25", 16}},
    {"ip4 with leading zeros", "7208 5.6", {"ip4:192.0.02.1", 14}},
    {"ip4 with a prefix of 33", "7208 5.6", {"ip4:192.0.2.1/33", 16}},
    {"ip4 with a prefix of 032", "7208 5.6", {"ip4:192.0.2.1/032", 17}},
    {"ip4 with two slashes", "7208 5.6", {"ip4:192.0.2.1//32", 17}},
    {"ip4 with IPv6", "7208 5.6", {"ip4:::ffff:192.0.2.1", 20}},
    {"ip4 with a line feed", "7208 4.6.1", {"ip4:192.0.2.5\n", 14}},
    {"ip4 with a prefix and no address", "7208 5.6", {"ip4/24", 6}},
    {"ip6 with IPv4", "7208 5.6", {"ip6:192.0.2.1", 13}},
    {"ip6 with a prefix of 129", "7208 5.6", {"ip6:2001:db8::1/129", 19}},
    {"ip6 with two slashes", "7208 5.6", {"ip6:::1//33", 11}},
    {"ip6 with two double colons", "7208 5.6", {"ip6::cafe::babe", 15}},
    {"ip6 with brackets", "7208 5.6", {"ip6:[::1]", 9}},
    {"redirect is no mechanism", "7208 6.1", {"redirect:x.org", 14}},
    {"redirect without a domain", "7208 6.1", {"redirect=", 9}},
    {"redirect to nonsense", "7208 6.1", {"redirect=-all", 13}},
    {"exp without a domain", "7208 6.2", {"exp=", 4}},
    {"exp with nonsense", "7208 6.2", {"exp=-all", 8}},
    {"an unknown modifier with a broken macro", "7208 12", {"foo=%abc", 8}},
};

static void test_wrong(void **state)
{
    struct spf_term term;

    (void)state;
    for (size_t i = 0; i < COUNT(wrong); i++) {
        struct str terms = wrong[i].text;
        const char *why = "";

        t_case(wrong[i].name, wrong[i].rfc);
        t_same_int(spf_term_next(&terms, &term, &why), SPF_NEXT_BAD);
        t_true(*why != '\0');
        t_same_str(term.text, wrong[i].text);
    }
}

/* ---- whole records ---- */

static bool parse(const char *text, struct spf_record *record_out, struct str *bad_out)
{
    const char *why = NULL;

    return spf_record_parse(str_of(text), record_out, bad_out, &why) || (t_true(why != NULL), false);
}

static void test_records(void **state)
{
    struct spf_record record;
    struct str bad;

    (void)state;
    t_case("any number of spaces separates, and may end it", "7208 4.6.1");
    t_true(parse("v=spf1   a    -all  ", &record, &bad));
    t_true(parse("v=spf1", &record, &bad));
    t_true(parse("v=spf1 ", &record, &bad));
    t_same_int(record.redirect.n, 0);

    t_case("modifiers are found wherever they stand", "7208 6");
    t_true(parse("v=spf1 exp=e.x.org a redirect=r.x.org -all", &record, &bad));
    t_same_str_z(record.redirect, "r.x.org");
    t_same_str_z(record.exp, "e.x.org");

    t_case("an error is found behind all, and named", "7208 4.6");
    t_true(!parse("v=spf1 +all a:museum mx", &record, &bad));
    t_same_str_z(bad, "a:museum");

    t_case("redirect twice is an error", "7208 6");
    t_true(!parse("v=spf1 redirect=a.org REDIRECT=b.org", &record, &bad));
    t_same_str_z(bad, "REDIRECT=b.org");
    t_case("exp twice is an error", "7208 6");
    t_true(!parse("v=spf1 exp=a.org exp=a.org", &record, &bad));
    t_case("unknown modifiers may be repeated", "7208 6");
    t_true(parse("v=spf1 x=a x=a", &record, &bad));
    t_case("what is no SPF record is an error", "7208 4.5");
    t_true(!parse("v=spf2 -all", &record, &bad));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_version),
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_wrong),
        cmocka_unit_test(test_records),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
