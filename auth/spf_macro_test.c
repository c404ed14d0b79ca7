#include "auth/spf_macro.h"

#include "base/bug.h"
#include "tests/t.h"

static struct spf_values values_for(const char *client)
{
    struct spf_values values = {
        .sender = STR("strong-bad@email.example.com"),
        .local = STR("strong-bad"),
        .sender_domain = STR("email.example.com"),
        .domain = STR("email.example.com"),
        .helo = STR("mail.example.org"),
        .now_unix = 1700000000,
    };

    if (!ip_parse(str_of(client), &values.client))
        t_fail("\"%s\" is no address", client);
    return values;
}

/* ---- names ---- */

static const struct {
    const char *name, *rfc, *text, *want;
} names[] = {
    {"%{s}", "7208 7.4", "%{s}", "strong-bad@email.example.com"},
    {"%{o}", "7208 7.4", "%{o}", "email.example.com"},
    {"%{d}", "7208 7.4", "%{d}", "email.example.com"},
    {"%{d4}: more parts than there are", "7208 7.4", "%{d4}", "email.example.com"},
    {"%{d3}", "7208 7.4", "%{d3}", "email.example.com"},
    {"%{d2}", "7208 7.4", "%{d2}", "example.com"},
    {"%{d1}", "7208 7.4", "%{d1}", "com"},
    {"%{dr}", "7208 7.4", "%{dr}", "com.example.email"},
    {"%{d2r}", "7208 7.4", "%{d2r}", "example.email"},
    {"%{l}", "7208 7.4", "%{l}", "strong-bad"},
    {"%{l-}", "7208 7.4", "%{l-}", "strong.bad"},
    {"%{lr}", "7208 7.4", "%{lr}", "strong-bad"},
    {"%{lr-}", "7208 7.4", "%{lr-}", "bad.strong"},
    {"%{l1r-}", "7208 7.4", "%{l1r-}", "strong"},
    {"a reversed address in a list", "7208 7.4", "%{ir}.%{v}._spf.%{d2}",
     "3.2.0.192.in-addr._spf.example.com"},
    {"a reversed local part", "7208 7.4", "%{lr-}.lp._spf.%{d2}", "bad.strong.lp._spf.example.com"},
    {"all of them", "7208 7.4", "%{lr-}.lp.%{ir}.%{v}._spf.%{d2}",
     "bad.strong.lp.3.2.0.192.in-addr._spf.example.com"},
    {"the reversed address first", "7208 7.4", "%{ir}.%{v}.%{l1r-}.lp._spf.%{d2}",
     "3.2.0.192.in-addr.strong.lp._spf.example.com"},
    {"a domain within a domain", "7208 7.4", "%{d2}.trusted-domains.example.net",
     "example.com.trusted-domains.example.net"},
    {"%{h}", "7208 7.2", "%{h}", "mail.example.org"},
    {"%{p} is unknown without a validated name", "7208 7.3", "%{p}", "unknown"},
    {"letters of either case", "7208 7.3", "%{D2R}", "example.email"},
    {"an upper-case letter escapes", "7208 7.3", "%{S}", "strong-bad%40email.example.com"},
    {"several delimiters", "7208 7.3", "%{s1-.}", "com"},
    {"several delimiters, reversed", "7208 7.3", "%{s2r-.}", "bad@email.strong"},
    {"@ is no delimiter", "7208 7.1", "%{s1@}", NULL},
    {"a delimiter that does not occur", "7208 7.3", "%{d1+}", "email.example.com"},
    {"more parts than any number holds", "7208 7.3", "%{d99999999999999999999}", "email.example.com"},
    {"a leading zero of the parts", "7208 7.3", "%{d02}", "example.com"},
    {"percent, space and URL space", "7208 7.1", "a%%b%_c%-d.org", "a%b c%20d.org"},
    {"the final dot goes", "7208 7.3", "x.%{d}.", "x.email.example.com"},
    {"a broken one is none", "7208 7.1", "%{d", NULL},
    {"a macro of explanations is none", "7208 7.2", "%{c}", NULL},
    {"a space is none", "7208 7.1", "a b", NULL},
    {"nothing is none", "7208 4.8", "", NULL},
    {"a dot alone is none", "7208 4.8", ".", NULL},
};

static void same_name(const char *got, const char *want)
{
    t_true((got == NULL) == (want == NULL));
    t_same_z(got, want != NULL ? want : "");
}

static void test_names(void **state)
{
    struct spf_values values = values_for("192.0.2.3");
    struct arena *mem = arena_new(0);

    (void)state;
    for (size_t i = 0; i < COUNT(names); i++) {
        t_case(names[i].name, names[i].rfc);
        same_name(spf_macro_name(mem, str_of(names[i].text), &values), names[i].want);
    }

    t_case("%{ir} of an IPv6 client is made of nibbles", "7208 7.3");
    values = values_for("2001:db8::cb01");
    same_name(spf_macro_name(mem, STR("%{ir}.%{v}._spf.%{d2}"), &values),
              "1.0.B.C.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.B.D.0.1.0.0.2.ip6._spf.example.com");

    t_case("%{p} is the name that was validated", "7208 7.3");
    values.host = STR("mx.example.org");
    same_name(spf_macro_name(mem, STR("%{p2}.x.org"), &values), "example.org.x.org");

    t_case("a local part beyond ASCII makes no name", "8616 4");
    values.local = STR("j\xc3\xb6");
    same_name(spf_macro_name(mem, STR("%{l}.x.org"), &values), NULL);
    t_case("but may be escaped", "7208 7.3");
    same_name(spf_macro_name(mem, STR("%{L}.x.org"), &values), "j%C3%B6.x.org");
    t_case("empty parts stay empty", "7208 7.3");
    values.local = STR("-a--b-");
    same_name(spf_macro_name(mem, STR("x%{l-}y.org"), &values), "x.a..b.y.org");
    same_name(spf_macro_name(mem, STR("x%{lr-}y.org"), &values), "x.b..a.y.org");
    same_name(spf_macro_name(mem, STR("x%{l2-}y.org"), &values), "xb.y.org");
    same_name(spf_macro_name(mem, STR("x%{l2r-}y.org"), &values), "xa.y.org");
    arena_free(&mem);
}

static void test_long_names(void **state)
{
    struct spf_values values = values_for("192.0.2.3");
    struct arena *mem = arena_new(0);
    char *text = arena_alloc(mem, 5000);
    const char *name;

    (void)state;
    t_case("labels go from the left until 253 octets are left", "7208 7.3");
    for (size_t i = 0; i < 64; i++) /* 64 labels of 3 and a dot */
        memcpy(text + 4 * i, "abc.", 4);
    strcpy(text + 256, "org");
    name = spf_macro_name(mem, str_of(text), &values);
    t_true(name != NULL);
    t_same_int(strlen(name), 251);
    t_same_z(name, text + 8);

    t_case("253 octets are not too many", "7208 7.3");
    text[5] = 'x'; /* "abc.axc.": one label shorter by two */
    memmove(text + 4, text + 6, strlen(text + 6) + 1);
    t_same_int(strlen(text), 257);
    name = spf_macro_name(mem, str_of(text), &values);
    t_same_int(strlen(name), 253);

    t_case("however much there is, its end is kept", "7208 7.3");
    values.local = str_make(memset(arena_alloc(mem, 3000), 'l', 3000), 3000);
    same_name(spf_macro_name(mem, STR("%{l}.%{l}.u.%{d2}"), &values), "u.example.com");

    t_case("a label that does not fit leaves nothing", "7208 7.3");
    same_name(spf_macro_name(mem, STR("x.%{l}"), &values), NULL);
    arena_free(&mem);
}

/* ---- explanations ---- */

static const struct {
    const char *name, *rfc, *text, *want;
} texts[] = {
    {"spaces are text", "7208 6.2", "See  me.", "See  me."},
    {"the final dot stays", "7208 6.2", "This is %{d}.", "This is email.example.com."},
    {"c, r and t", "7208 7.2", "%{c} %{r} %{t}", "192.0.2.3 unknown 1700000000"},
    {"an empty one is empty", "7208 6.2", "", ""},
    {"a URL", "7208 7.3", "http://x/%%?%{S}&%-%_", "http://x/%?strong-bad%40email.example.com&%20 "},
    {"a bare percent sign is an error", "7208 7.1", "100 %", NULL},
    {"an unknown letter is an error", "7208 7.2", "%{x}", NULL},
    {"a delimiter nobody knows is an error", "7208 7.1", "%{d!}", NULL},
    {"transformers in the wrong order are an error", "7208 7.1", "%{dr2}", NULL},
    {"empty braces are an error", "7208 7.1", "%{}", NULL},
    {"a line break is an error", "7208 6.2", "a\r\nb", NULL},
    {"octets beyond ASCII are an error", "7208 6.2", "caf\xc3\xa9", NULL},
};

static void test_explanations(void **state)
{
    struct spf_values values = values_for("192.0.2.3");
    struct arena *mem = arena_new(0);

    (void)state;
    for (size_t i = 0; i < COUNT(texts); i++) {
        t_case(texts[i].name, texts[i].rfc);
        same_name(spf_macro_explanation(mem, str_of(texts[i].text), &values), texts[i].want);
        t_true(spf_macro_check(str_of(texts[i].text), SPF_IN_EXPLANATION) == (texts[i].want != NULL));
    }
    t_case("%{c} of an IPv6 client is readable", "7208 7.3");
    values = values_for("2001:db8::1");
    same_name(spf_macro_explanation(mem, STR("%{c}"), &values), "2001:db8::1");
    t_case("nothing of the sender can break a reply", "7208 6.2");
    values.local = STR("a\r\n250 b\xff");
    same_name(spf_macro_explanation(mem, STR("%{l}"), &values), "a??250 b?");
    t_case("what does not fit is none", "7208 6.2");
    values.local = str_make(memset(arena_alloc(mem, 3000), 'l', 3000), SPF_TEXT_MAX);
    t_true(spf_macro_explanation(mem, STR("%{l}"), &values) != NULL);
    t_true(spf_macro_explanation(mem, STR("%{l}."), &values) == NULL);
    arena_free(&mem);
}

static void test_uses(void **state)
{
    (void)state;
    t_case("which letters a text uses", "7208 7.2");
    t_true(spf_macro_uses(STR("a.%{P2r}.b"), SPF_IN_NAME, 'p'));
    t_true(!spf_macro_uses(STR("p.%{d}%%{p}"), SPF_IN_NAME, 'p'));
    t_true(!spf_macro_uses(STR("from %{p}"), SPF_IN_NAME, 'p'));
    t_true(spf_macro_uses(STR("from %{p}"), SPF_IN_EXPLANATION, 'p'));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_long_names),
        cmocka_unit_test(test_explanations),
        cmocka_unit_test(test_uses),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
