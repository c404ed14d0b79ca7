#include "auth/authres.h"
#include "base/bug.h"
#include "tests/t.h"

#include <jansson.h>

/* ---- writing ---- */

struct site {
    struct spf_answer spf;
    struct dkim_signature signatures[40];
    struct dkim_answer dkim;
    struct dmarc_record record;
    struct dmarc_discovery discovery;
    struct dmarc_evaluation dmarc;
    struct authres all;
};

static void fill(struct site *s)
{
    *s = (struct site){0};
    s->spf = (struct spf_answer){
        .result = SPF_PASS, .scope = SPF_MFROM, .domain = "example.net", .reason = "matched"};
    s->signatures[0] = (struct dkim_signature){.result = DKIM_PASS,
                                               .domain = "example.com",
                                               .selector = "s1",
                                               .identity = "@example.com",
                                               .algorithm = "rsa-sha256",
                                               .b_prefix = STR("aB3dE5gH"),
                                               .reason = ""};
    s->dkim = (struct dkim_answer){1, s->signatures};
    s->discovery = (struct dmarc_discovery){.found = DMARC_FOUND, .record = &s->record};
    s->dmarc = (struct dmarc_evaluation){.result = DMARC_PASS, .policy = DMARC_POLICY_REJECT, .reason = ""};
    s->all = (struct authres){.authserv_id = "mx1.example.net",
                              .spf = &s->spf,
                              .mail_from = "joe@example.net",
                              .helo = "out.example.net",
                              .dkim = &s->dkim,
                              .dmarc = &s->dmarc,
                              .discovery = &s->discovery,
                              .from_domain = "example.com",
                              .iprev = "pass",
                              .client_ip = "192.0.2.1"};
}

/* Every line but the first begins with a tab, none is too long, quotes and comments are closed, and there is
 * nothing but printable ASCII. */
static void check_form(struct str field)
{
    size_t line = 0;
    bool quoted = false, comment = false;

    t_true(str_starts(field, STR("Authentication-Results: ")) && field.n > 2);
    t_true(field.p[field.n - 2] == '\r' && field.p[field.n - 1] == '\n');
    for (size_t i = 0; i < field.n; i++, line++) {
        char c = field.p[i];

        if (c == '\r') {
            t_true(!quoted && !comment && line < 996 && field.p[i + 1] == '\n');
            t_true(i + 2 == field.n || field.p[i + 2] == '\t');
            i += i + 2 < field.n ? 2 : 1;
            line = 0;
            continue;
        }
        t_true(c >= ' ' && c <= '~');
        if (quoted && c == '\\')
            i++;
        else if (c == '"')
            quoted = !quoted;
        else if (!quoted && (c == '(' || c == ')'))
            comment = c == '(';
    }
    t_true(!quoted && !comment);
}

static struct str written(struct buf *out, const struct authres *a)
{
    buf_clear(out);
    authres_write(out, a);
    t_true(!out->overflow);
    check_form(buf_str(out));
    return str_make(buf_z(out), out->n); /* with a NUL behind it */
}

static bool contains(struct str text, const char *part)
{
    return strstr(text.p, part) != NULL;
}

/* Value of a property in the field that mail_from = address gives, up to the next blank outside of quotes. */
static struct str mail_from_of(struct buf *out, const char *address)
{
    struct site s;
    struct str rest;
    size_t n = 0;
    bool quoted = false;

    fill(&s);
    s.all.mail_from = address;
    s.all.dkim = NULL;
    s.all.dmarc = NULL;
    s.all.iprev = NULL;
    rest = written(out, &s.all);
    t_true(contains(rest, "spf=pass"));
    if (!contains(rest, "smtp.mailfrom="))
        return STR("-");
    rest = str_of(strstr(rest.p, "smtp.mailfrom=") + 14);
    for (; n < rest.n && (quoted || (rest.p[n] != '\r' && rest.p[n] != ';')); n++) {
        if (quoted && rest.p[n] == '\\')
            n++;
        else if (rest.p[n] == '"')
            quoted = !quoted;
    }
    return str_upto(rest, n);
}

static void test_writes_all(void **state)
{
    struct site s;
    struct buf out;

    (void)state;
    buf_init(&out, 64 * 1024);
    fill(&s);
    t_case("a field with all results", "8601 2.2");
    t_same_str_z(written(&out, &s.all),
                 "Authentication-Results: mx1.example.net;\r\n"
                 "\tspf=pass smtp.mailfrom=joe@example.net;\r\n"
                 "\tdkim=pass header.d=example.com header.s=s1 header.a=rsa-sha256 header.b=aB3dE5gH;\r\n"
                 "\tdmarc=pass (p=reject dis=none) header.from=example.com;\r\n"
                 "\tiprev=pass policy.iprev=192.0.2.1\r\n");
    t_case("nothing checked is none", "8601 2.2");
    s.all = (struct authres){.authserv_id = "mx1.example.net"};
    t_same_str_z(written(&out, &s.all), "Authentication-Results: mx1.example.net; none\r\n");
    buf_fini(&out);
}

static void test_writes_variants(void **state)
{
    struct site s;
    struct buf out;

    (void)state;
    buf_init(&out, 64 * 1024);
    t_case("no signature is dkim=none", "8601 2.7.1");
    fill(&s);
    s.dkim.count = 0;
    t_true(contains(written(&out, &s.all), "\tdkim=none;\r\n"));

    t_case("the null sender shows the HELO name", "7208 2.4");
    fill(&s);
    s.all.mail_from = "";
    t_true(contains(written(&out, &s.all), "spf=pass smtp.helo=out.example.net;"));

    t_case("the HELO check shows the HELO name", "8601 2.7.2");
    fill(&s);
    s.spf.scope = SPF_HELO;
    t_true(contains(written(&out, &s.all), "spf=pass smtp.helo=out.example.net;"));

    t_case("what did not pass has its reason", "8601 2.2");
    fill(&s);
    s.signatures[0].result = DKIM_FAIL;
    s.signatures[0].reason = "the \"body\" hash\r\nis \\wrong";
    t_true(contains(written(&out, &s.all),
                    "dkim=fail reason=\"the \\\"body\\\" hash??is \\\\wrong\" header.d=example.com"));

    t_case("base64 and IPv6 addresses are quoted: they are no tokens", "2045 5.1");
    fill(&s);
    s.signatures[0].b_prefix = STR("a/b+c=");
    s.all.client_ip = "2001:db8::1";
    t_true(contains(written(&out, &s.all), "header.b=\"a/b+c=\";"));
    t_true(contains(str_of(buf_z(&out)), "policy.iprev=\"2001:db8::1\""));

    t_case("the policy is told when there is a record", "");
    fill(&s);
    s.dmarc.result = DMARC_FAIL;
    s.all.applied = DMARC_POLICY_QUARANTINE;
    t_true(contains(written(&out, &s.all), "dmarc=fail (p=reject dis=quarantine) header.from=example.com"));
    s.discovery.record = NULL;
    s.dmarc.result = DMARC_NONE;
    t_true(contains(written(&out, &s.all), "dmarc=none header.from=example.com"));
    buf_fini(&out);
}

/* clang-format off */
static const struct {
    const char *name, *address, *want; /* "-": no property */
} addresses[] = {
    {"a dot-atom stands as it is", "a.b+c=d/e@example.net", "a.b+c=d/e@example.net"},
    {"a quoted local part stays quoted", "\"a b\"@example.net", "\"a b\"@example.net"},
    {"a semicolon is quoted", "a;dmarc=pass@example.net", "\"a;dmarc=pass\"@example.net"},
    {"quotes cannot be left", "\"a\\\"; dmarc=pass\"@example.net", "\"a\\\"; dmarc=pass\"@example.net"},
    {"a quote in the midst is escaped", "a\"b\\c@example.net", "\"a\\\"b\\\\c\"@example.net"},
    {"a lonely backslash at the end", "\"a\\\"@example.net", "\"a\\\\\"@example.net"},
    {"a comment is quoted", "a(b)@example.net", "\"a(b)\"@example.net"},
    {"two dots are no dot-atom", "a..b@example.net", "\"a..b\"@example.net"},
    {"CR and LF: only the domain", "a\r\nX: y@example.net", "example.net"},
    {"8-bit: only the domain", "\xc3\xa9@example.net", "example.net"},
    {"the last @ counts", "a@b@example.net", "\"a@b\"@example.net"},
    {"an empty local part is left out", "@example.net", "\"\"@example.net"},
    {"a literal is a quoted value", "a@[192.0.2.1]", "\"[192.0.2.1]\""},
    {"a domain that cannot be shown is left out", "a@ex\r\nample.net", "-"},
    {"of a U-label the name that SPF was asked for", "a@\xc3\xa9.net", "a@example.net"},
    {"and when the local part is beyond ASCII as well", "\xc3\xa9@\xc3\xa9.net", "example.net"},
    {"no domain at all", "joe@", "-"},
};
/* clang-format on */

static void test_addresses(void **state)
{
    struct buf out;

    (void)state;
    buf_init(&out, 64 * 1024);
    for (size_t i = 0; i < COUNT(addresses); i++) {
        t_case(addresses[i].name, "8601 2.2");
        t_same_str_z(mail_from_of(&out, addresses[i].address), addresses[i].want);
    }
    buf_fini(&out);
}

static const char *const attacks[] = {
    "\r\nX-Evil: yes",
    "a\r\n b",
    "(",
    ")",
    "(((",
    "\"",
    "\\",
    "\"\\",
    ";",
    "; dmarc=pass",
    "a b",
    "\xff\xfe",
    "\x01\x7f",
    "a\nb",
    "=?utf-8?q?x?=",
    "",
    "\t",
    "a\\",
    "a@b@c",
    "\"a",
    "@",
};

/* check_form() is what must hold: whatever stands in a value, the field stays one field with sound lines. */
static void test_attacks(void **state)
{
    struct site s;
    struct buf out;
    char *lengthy = malloc(100001);

    (void)state;
    buf_init(&out, 64 * 1024);
    memset(lengthy, '"', 100000);
    lengthy[100000] = '\0';
    for (size_t i = 0; i <= COUNT(attacks); i++) {
        const char *evil = i < COUNT(attacks) ? attacks[i] : lengthy;

        t_case(i < COUNT(attacks) ? evil : "100,000 quotes", "8601 2.2");
        fill(&s);
        s.all.authserv_id = evil;
        s.all.mail_from = s.all.helo = s.all.from_domain = s.all.client_ip = evil;
        s.spf.result = SPF_FAIL;
        s.spf.reason = s.spf.domain = evil;
        for (s.dkim.count = 0; s.dkim.count < COUNT(s.signatures); s.dkim.count++)
            s.signatures[s.dkim.count] = (struct dkim_signature){.result = DKIM_FAIL,
                                                                 .domain = evil,
                                                                 .selector = evil,
                                                                 .algorithm = evil,
                                                                 .b_prefix = str_of(evil),
                                                                 .reason = evil};
        buf_clear(&out);
        authres_write(&out, &s.all);
        t_true(!out.overflow && out.n > 0);
        t_true(!contains(str_of(buf_z(&out)), "\nX-Evil"));
        check_form(buf_str(&out));
        s.spf.scope = SPF_HELO;
        written(&out, &s.all);
    }
    free(lengthy);
    buf_fini(&out);
}

/* ---- forged fields ---- */

/* clang-format off */
static const struct {
    const char *name, *rfc, *value;
    bool want;
} claims[] = {
    {"our name", "8601 5", " mx1.example.net; spf=pass", true},
    {"without a blank", "8601 5", "mx1.example.net;spf=pass", true},
    {"without results", "8601 2.2", " mx1.example.net", true},
    {"with a version", "8601 2.5", " mx1.example.net 1; none", true},
    {"in any case", "8601 5", " MX1.Example.NET; none", true},
    {"with a final dot", "8601 5", " mx1.example.net.; none", true},
    {"folded", "8601 2.2", "\r\n\tmx1.example.net\r\n\t; none", true},
    {"behind a comment", "8601 2.2", " (it is us) mx1.example.net; none", true},
    {"behind nested comments with escapes", "5322 3.2.2", " (a (b \\) c) ; d) mx1.example.net; none", true},
    {"before a comment", "8601 2.2", " mx1.example.net(x;y); none", true},
    {"quoted", "8601 2.2", " \"mx1.example.net\"; none", true},
    {"quoted with escapes", "8601 2.2", " \"mx1\\.ex\\ample.net\"; none", true},
    {"blanks around dots", "5322 4.4", " mx1 . example .(x) net; none", true},
    {"blanks end the name for others", "", " mx1.example.net .evil; none", true},
    {"a comma, an equals sign, a slash", "", " mx1.example.net/1; none", true},
    {"an empty part before it", "", " ; mx1.example.net; none", true},
    {"stray brackets", "", " <mx1.example.net>; none", true},
    {"a comment that does not end", "", " (mx1.example.net; spf=pass", true},
    {"a quoted string that does not end", "", " \"other.org; mx1.example.net; spf=pass", true},
    {"comments that do not nest for others", "", " (a (b) mx1.example.net; none) other.org; none", true},
    {"backslashes that mean nothing to others", "", " (a \\) mx1.example.net; none) other.org; none", true},
    {"only a comment", "", " (mx1.example.net); spf=pass", true},
    {"control characters", "", " mx1\x01.example.net; none", true},
    {"an encoded word hides who knows what", "2047 5", " =?utf-8?q?mx1=2Eexample.net?=; none", true},
    {"a blank of Unicode before", "", " \xc2\xa0mx1.example.net; none", true},
    {"a blank of Unicode behind", "", " mx1.example.net\xe3\x80\x80; none", true},
    {"full-width letters", "8616 3", " \xef\xbd\x8d\xef\xbd\x98" "1.example.net; none", true},
    {"a name beyond ASCII that reads in two ways", "8616 3", " b\xc3\xbc" "cher (a (b) .x) c).example; none", true},
    {"another host", "8601 5", " mx2.example.net; spf=pass", false},
    {"another host beyond ASCII", "8616 3", " b\xc3\xbc" "cher.example (a \\) b); none", false},
    {"a longer name", "8601 5", " mx1.example.net.evil.org; spf=pass", false},
    {"a longer label", "8601 5", " mx1.example.network; none", false},
    {"a name in front", "8601 5", " x.mx1.example.net; none", false},
    {"our name in another's results", "8601 5", " other.org; spf=pass smtp.helo=mx1.example.net", false},
    {"our name in another's comment", "8601 5", " other.org (for mx1.example.net); none", false},
    {"our name in another's version", "8601 5", " other.org mx1.example.net; none", false},
    {"encoded words in results", "8601 5", " other.org; dkim=fail (=?utf-8?q?x?=)", false},
    {"empty", "", "", false},
    {"blanks", "", " \t ", false},
};
/* clang-format on */

static void test_claims(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(claims); i++) {
        t_case(claims[i].name, claims[i].rfc);
        t_same_int(authres_claims(str_of(claims[i].value), "mx1.example.net"), claims[i].want);
        t_same_int(authres_claims(str_of(claims[i].value), "MX1.example.NET."), claims[i].want);
    }
    t_case("a NUL ends the text for others", "");
    t_true(authres_claims(STR(" mx1.example.net\0.evil.org; none"), "mx1.example.net"));
    t_case("a NUL is skipped by others", "");
    t_true(authres_claims(STR(" mx1.exam\0ple.net; none"), "mx1.example.net"));
    t_case("U-labels of our A-labels", "8616 3");
    t_true(authres_claims(STR(" mx.b\xc3\xbc"
                              "cher.example; none"),
                          "mx.xn--bcher-kva.example"));
    t_case("no name of ours, no claim", "");
    t_true(!authres_claims(STR(" ; none"), ""));
}

/* The work for one field is bounded, and nobody gains by that. */
static void test_claims_of_long_fields(void **state)
{
    struct arena *mem = arena_new(0);
    char *comment = arena_alloc(mem, 100001);

    (void)state;
    memset(comment, 'x', 100000);
    t_case("behind a comment that nobody reads to its end", "");
    t_true(authres_claims(str_of(str_fmt(mem, "(%s) mx1.example.net; none", comment)), "mx1.example.net"));
    t_case("another's behind such a comment", "");
    t_true(!authres_claims(str_of(str_fmt(mem, "(%s) other.org; none", comment)), "mx1.example.net"));
    t_case("long results of another's", "");
    t_true(!authres_claims(str_of(str_fmt(mem, "other.org; none (%s mx1.example.net)", comment)),
                           "mx1.example.net"));
    t_case("a name that has no end", "");
    t_true(!authres_claims(str_of(comment), "mx1.example.net"));
    arena_free(&mem);
}

static void test_suite(const char *suite, size_t cases_wanted)
{
    char path[512];
    json_t *root, *c;
    size_t i, ids = 0;

    if (t_conformance() == NULL)
        t_skip("the authres suites are not here");
    snprintf(path, sizeof(path), "%s/%s/cases.json", t_conformance(), suite);
    root = json_load_file(path, 0, NULL);
    t_true(root != NULL);
    json_array_foreach(json_object_get(root, "cases"), i, c)
    {
        const char *id = json_string_value(json_object_get(c, "authserv_id"));
        struct str value = str_of(json_string_value(json_object_get(c, "header")));

        t_case(json_string_value(json_object_get(c, "id")), "8601 2.2");
        t_true(!authres_claims(value, "mx1.example.test"));
        if (id == NULL)
            continue;
        t_true(authres_claims(value, id));
        ids++;
    }
    t_same_int(i, cases_wanted);
    print_message("%s: %zu passed, of them %zu name an authserv-id\n", suite, i, ids);
    json_decref(root);
}

static void test_suite_rfc8601(void **state)
{
    (void)state;
    test_suite("authres-rfc8601", 9);
}

static void test_suite_python(void **state)
{
    (void)state;
    test_suite("authres-python", 23);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_writes_all),    cmocka_unit_test(test_writes_variants),
        cmocka_unit_test(test_addresses),     cmocka_unit_test(test_attacks),
        cmocka_unit_test(test_claims),        cmocka_unit_test(test_claims_of_long_fields),
        cmocka_unit_test(test_suite_rfc8601), cmocka_unit_test(test_suite_python),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
