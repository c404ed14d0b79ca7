#include "tests/t.h"

#include "auth/dkim_base64.h"
#include "auth/dkim_signature.h"
#include "base/bug.h"

#define GOOD_BH "bh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="

static void test_base64(void **state)
{
    static const struct {
        const char *name, *text, *want; /* want NULL: refused */
    } rows[] = {
        {"nothing is nothing", "", ""},
        {"no padding", "YWJj", "abc"},
        {"one pad", "YWI=", "ab"},
        {"two pads", "YQ==", "a"},
        {"folding white space anywhere", " Y\r\n\tW I\t=\r\n ", "ab"},
        {"white space between the pads", "YQ= =", "a"},
        {"missing padding is refused", "YWI", NULL},
        {"too much padding is refused", "YWJj====", NULL},
        {"padding alone is refused", "====", NULL},
        {"a lone digit is refused", "Y===", NULL},
        {"a digit behind the padding is refused", "YQ==YWJj", NULL},
        {"stray bits are refused", "YR==", NULL},
        {"stray bits before one pad are refused", "YWJ=", NULL},
        {"URL-safe digits are refused", "YW-_", NULL},
        {"other octets are refused", "YW\x01j", NULL},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        uint8_t octets[64];
        size_t n = 0;
        bool ok = dkim_base64_decode(str_of(rows[i].text), octets, &n);

        t_case(rows[i].name, "4648 4");
        t_same_int(ok, rows[i].want != NULL);
        if (ok)
            t_same_str_z(str_make((const char *)octets, n), rows[i].want);
    }
    t_case("NUL is refused", "4648 4");
    t_true(!dkim_base64_decode(STR("YW\0j"), (uint8_t[8]){0}, &(size_t){0}));
}

static void test_tag_lists(void **state)
{
    static const struct {
        const char *name, *rfc, *text;
        bool good;
        size_t count;
        const char *first; /* value of the first tag */
    } rows[] = {
        {"one tag", "6376 3.2", "a=b", true, 1, "b"},
        {"a final semicolon", "6376 3.2", "a=b;", true, 1, "b"},
        {"blanks behind the final semicolon", "6376 3.2", "a=b; \r\n ", true, 1, "b"},
        {"blanks and folds everywhere", "6376 3.2", "\r\n a\t=\r\n  b c \r\n ; d=e", true, 2, "b c"},
        {"an empty value is a value", "6376 3.2", "a=;b=c", true, 2, ""},
        {"further equals signs belong to the value", "6376 3.2", "a=b=c==", true, 1, "b=c=="},
        {"names differ by case", "6376 3.2", "a=b;A=c", true, 2, "b"},
        {"a name may have digits and underscores", "6376 3.2", "x_1=b", true, 1, "b"},
        {"values may have UTF-8", "8616 4", "a=b\xc3\xbc", true, 1, "b\xc3\xbc"},
        {"the empty list is none", "6376 3.2", "", false, 0, NULL},
        {"a semicolon alone is none", "6376 3.2", ";", false, 0, NULL},
        {"an empty tag in the middle", "6376 3.2", "a=b;;c=d", false, 0, NULL},
        {"no equals sign", "6376 3.2", "a=b;t;p=x", false, 0, NULL},
        {"no name", "6376 3.2", "=b", false, 0, NULL},
        {"a name that begins with a digit", "6376 3.2", "1a=b", false, 0, NULL},
        {"a name of two words", "6376 3.2", "a b=c", false, 0, NULL},
        {"a tag twice spoils the list", "6376 3.2", "a=b;c=d;a=b", false, 0, NULL},
        {"a control character", "6376 3.2", "a=b\x01z", false, 0, NULL},
        {"a CRLF that folds nothing", "6376 3.2", "a=b\r\nc", false, 0, NULL},
        {"a bare LF", "6376 3.2", "a=b\n c", false, 0, NULL},
        {"DEL", "6376 3.2", "a=b\x7f", false, 0, NULL},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct dkim_tags tags;

        t_case(rows[i].name, rows[i].rfc);
        t_same_int(dkim_tags_parse(str_of(rows[i].text), &tags) == NULL, rows[i].good);
        if (!rows[i].good)
            continue;
        t_same_int(tags.count, rows[i].count);
        t_same_str_z(tags.tags[0].value, rows[i].first);
    }
    t_case("NUL in a value spoils the list", "6376 3.2");
    t_true(dkim_tags_parse(STR("a=b\0c"), &(struct dkim_tags){0}) != NULL);
}

static void test_tag_count(void **state)
{
    struct arena *mem = arena_new(0);
    const char *text = "a0=x";
    struct dkim_tags tags;

    (void)state;
    t_case("64 tags are enough for everybody, 65 are too many", NULL);
    for (int i = 1; i < DKIM_TAGS_MAX; i++)
        text = str_fmt(mem, "%s;a%d=x", text, i);
    t_true(dkim_tags_parse(str_of(text), &tags) == NULL);
    t_same_int(tags.count, DKIM_TAGS_MAX);
    t_same_z(dkim_tags_parse(str_of(str_fmt(mem, "%s;b=x", text)), &tags), "too many tags");
    arena_free(&mem);
}

/* Each row changes one thing in a signature that is fine: "x=1" replaces or adds, "-x" takes away. */
static const char *with_change(struct arena *mem, const char *change)
{
    static const char *const good[] = {"v=1",       "a=rsa-sha256", "d=example.org", "s=sel",
                                       "h=from:to", GOOD_BH,        "b=YWJj"};
    const char *text = "";
    bool used = *change == '-' || *change == '\0';

    for (size_t i = 0; i < COUNT(good); i++) {
        size_t name = strcspn(good[i], "=");
        bool same = strncmp(good[i], change, name) == 0 && change[name] == '=';

        if (*change == '-' && strlen(change + 1) == name && strncmp(good[i], change + 1, name) == 0)
            continue;
        text = str_fmt(mem, "%s%s; ", text, same ? change : good[i]);
        used = used || same;
    }
    return used ? text : str_fmt(mem, "%s%s", text, change);
}

static void test_faults(void **state)
{
    static const struct {
        const char *name, *rfc, *change, *fault; /* fault NULL: none */
    } rows[] = {
        {"the plain signature is fine", "6376 3.5", "", NULL},
        {"v= is required", "6376 6.1.1", "-v", "v= is missing"},
        {"v= is 1", "6376 3.5", "v=2", "v= is not 1"},
        {"v= is compared as text", "6376 3.5", "v=1.0", "v= is not 1"},
        {"a= is required", "6376 6.1.1", "-a", "a= is missing"},
        {"unknown algorithms", "6376 3.3", "a=rsa-md5", "a= is no known algorithm"},
        {"Ed25519", "8463 3", "a=ed25519-sha256", NULL},
        {"algorithms in capitals", "5234 2.3", "a=RSA-SHA256", NULL},
        {"rsa-sha1 is not a matter of syntax", "8301 3.1", "a=rsa-sha1", NULL},
        {"d= is required", "6376 6.1.1", "-d", "d= is missing"},
        {"d= is a domain name", "6376 3.5", "d=exa mple.org", "d= is no domain name"},
        {"d= of one label", "6376 3.5", "d=org", NULL},
        {"d= with an empty label", "6376 3.5", "d=example..org", "d= is no domain name"},
        {"d= with a final dot", "6376 3.5", "d=example.org.", "d= is no domain name"},
        {"d= empty", "6376 3.5", "d=", "d= is no domain name"},
        {"d= with what could break a field", "8601 5", "d=a(b).org", "d= is no domain name"},
        {"d= with an underscore", NULL, "d=_x.example.org", NULL},
        {"d= in U-labels", "8616 4",
         "d=b\xc3\xbc"
         "cher.example",
         NULL},
        {"d= in broken UTF-8", "8616 4", "d=b\xc3.example", "d= is no domain name"},
        {"a label of 64 octets", "1035 2.3.4",
         "d=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.org", "d= is no domain name"},
        {"s= is required", "6376 6.1.1", "-s", "s= is missing"},
        {"s= of several labels", "6376 3.1", "s=a.b_c.d-e", NULL},
        {"s= is made of labels", "6376 3.1", "s=a/b", "s= is no selector"},
        {"c= with both", "6376 3.5", "c=relaxed/simple", NULL},
        {"c= in capitals", "5234 2.3", "c=Relaxed/RELAXED", NULL},
        {"c= unknown", "6376 3.5", "c=nofws", "c= is no known canonicalization"},
        {"c= with an unknown body", "6376 3.5", "c=simple/nofws", "c= is no known canonicalization"},
        {"c= with three", "6376 3.5", "c=simple/simple/simple", "c= is no known canonicalization"},
        {"h= is required", "6376 6.1.1", "-h", "h= is missing"},
        {"h= must have From", "6376 5.4, 6.1.1", "h=to:subject", "From is not signed"},
        {"h= with From in any case", "6376 3.5", "h=To : fRoM", NULL},
        {"h= with fold and blanks", "6376 3.5", "h=to :\r\n\tfrom : date", NULL},
        {"h= with an empty name", "6376 3.5", "h=from::to", "h= holds what is no field name"},
        {"h= empty", "6376 3.5", "h=", "h= holds what is no field name"},
        {"h= with a name of two words", "6376 3.5", "h=from:a b", "h= holds what is no field name"},
        {"b= is required", "6376 6.1.1", "-b", "b= is missing"},
        {"b= empty", "6376 3.5", "b=", "b= is missing"},
        {"b= is base64", "6376 3.5", "b=YWJ", "b= is not base64"},
        {"bh= is required", "6376 6.1.1", "-bh", "bh= is missing"},
        {"bh= is base64", "6376 3.5", "bh=!", "bh= is not base64"},
        {"bh= has 32 octets", "6376 3.5", "bh=YWJj", "bh= is no SHA-256 hash"},
        {"i= at d=", "6376 3.5", "i=joe@example.org", NULL},
        {"i= below d=", "6376 3.5", "i=@news.Example.ORG", NULL},
        {"i= elsewhere", "6376 6.1.1", "i=joe@example.com", "i= is not within d="},
        {"i= with d= as a tail of a label", "6376 6.1.1", "i=@badexample.org", "i= is not within d="},
        {"i= above d=", "6376 6.1.1", "i=@org", "i= is not within d="},
        {"i= without @", "6376 3.5", "i=example.org", "i= is no address"},
        {"i= with quoted-printable", "6376 2.11", "i=a=40b=3Bc@example.org", NULL},
        {"i= with half a quoted-printable", "6376 2.11", "i=a=4@example.org",
         "i= is not quoted-printable text"},
        {"i= with a quoted CRLF", "6376 2.11", "i=a=0D=0Ab@example.org", "i= is not quoted-printable text"},
        {"i= with a quoted NUL", "6376 2.11", "i=a=00@example.org", "i= is not quoted-printable text"},
        {"q= the usual", "6376 3.5", "q=dns/txt", NULL},
        {"q= with one that we know among others", "6376 3.5", "q=http : dns/txt", NULL},
        {"q= with none that we know", "6376 3.5", "q=http", "q= knows no way to the key that we know"},
        {"l= a number", "6376 3.5", "l=76", NULL},
        {"l= no number", "6376 3.5", "l=-1", "l= is no number"},
        {"l= empty", "6376 3.5", "l=", "l= is no number"},
        {"l= with a plus", "6376 3.5", "l=+1", "l= is no number"},
        {"l= huge", "6376 3.5", "l=99999999999999999999999999999999999999999999", NULL},
        {"t= no number", "6376 3.5", "t=now", "t= is no number"},
        {"x= no number", "6376 3.5", "x=1e9", "x= is no number"},
        {"x= huge", "6376 3.5", "x=99999999999999999999", NULL},
        {"x= is later than t=", "6376 3.5", "t=5; x=6", NULL},
        {"x= the same as t=", "6376 3.5", "t=5; x=5", "x= is not later than t="},
        {"z= is not looked at", "6376 3.5", "z=From:a|b", NULL},
        {"unknown tags are not looked at", "6376 3.2", "zzz=", NULL},
        {"a tag twice", "6376 3.2", "z=1; z=1", "a tag stands there twice"},
    };
    struct arena *mem = arena_new(0);

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct dkim_field field;
        const char *fault = dkim_field_parse(mem, str_of(with_change(mem, rows[i].change)), &field);

        t_case(rows[i].name, rows[i].rfc);
        t_same_z(fault != NULL ? fault : "none", rows[i].fault != NULL ? rows[i].fault : "none");
    }
    arena_free(&mem);
}

static void test_values(void **state)
{
    struct arena *mem = arena_new(0);
    struct str text = STR(
        " v=1; a=Ed25519-SHA256; c=relaxed; d=Example.ORG; s=SEL;\r\n\th=From : To; i=J=6Fe@Sub.Example.org;"
        " l=99999999999999999999; t=7; b=Y W\r\n\tJjZGVm ZGVm ; " GOOD_BH);
    struct dkim_field field;

    (void)state;
    t_case("a field is read whole", "6376 3.5");
    t_true(dkim_field_parse(mem, text, &field) == NULL);
    t_same_z(field.domain, "example.org");
    t_same_z(field.selector, "sel");
    t_same_z(field.identity, "Joe@sub.example.org");
    t_true(field.below_domain);
    t_same_z(field.algorithm_name, "ed25519-sha256");
    t_same_int(field.algorithm, DKIM_ED25519_SHA256);
    t_same_int(field.header_canon, DKIM_RELAXED);
    t_same_int(field.body_canon, DKIM_SIMPLE);
    t_same_str_z(field.names, "From : To");
    t_same_str_z(field.b_whole, "Y W\r\n\tJjZGVm ZGVm ");
    t_same_str_z(field.b_prefix, "YWJjZGVm");
    t_same_str_z(str_make((const char *)field.signature, field.signature_bytes), "abcdefdef");
    t_true(field.has_length && field.length == UINT64_MAX);
    t_same_int(field.signed_unix, 7);
    t_true(field.expires_unix == INT64_MAX);
    t_case("what is broken is still named", "6376 6.1.1");
    t_true(dkim_field_parse(mem, STR("d=example.org; s=x; a=rsa-none; b=YWJj"), &field) != NULL);
    t_same_z(field.domain, "example.org");
    t_same_z(field.identity, "@example.org");
    t_same_z(field.algorithm_name, "rsa-none");
    t_same_str_z(field.b_prefix, "YWJj");
    t_case("U-labels become A-labels", "8616 4");
    t_true(dkim_field_parse(mem,
                            STR("d=b\xc3\xbc"
                                "cher.example; s=x"),
                            &field) != NULL);
    t_same_z(field.domain, "xn--bcher-kva.example");
    arena_free(&mem);
}

static void test_limits(void **state)
{
    struct arena *mem = arena_new(0);
    struct dkim_field field;
    const char *h = "h=from", *b;
    char *run = arena_alloc(mem, 70000);

    (void)state;
    t_case("256 names in h=, not 257", NULL);
    for (int i = 1; i < DKIM_NAMES_MAX; i++)
        h = str_fmt(mem, "%s:x", h);
    t_true(dkim_field_parse(mem, str_of(with_change(mem, h)), &field) == NULL);
    h = str_fmt(mem, "%s:x", h);
    t_same_z(dkim_field_parse(mem, str_of(with_change(mem, h)), &field), "too many names in h=");
    t_case("b= of 4,096 characters, not more", NULL);
    memset(run, 'A', 69999);
    b = str_fmt(mem, "b=%.*s", DKIM_B_MAX, run);
    t_true(dkim_field_parse(mem, str_of(with_change(mem, b)), &field) == NULL);
    b = str_fmt(mem, "b=%.*sAAAA", DKIM_B_MAX, run);
    t_same_z(dkim_field_parse(mem, str_of(with_change(mem, b)), &field), "b= is too long");
    t_case("h= of 64 KiB is refused and does not hurt", NULL);
    memset(run, ':', 69999);
    for (size_t i = 0; i < 69998; i += 2)
        run[i] = 'a';
    h = str_fmt(mem, "h=from:%sa", run);
    t_same_z(dkim_field_parse(mem, str_of(with_change(mem, h)), &field), "too many names in h=");
    arena_free(&mem);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_base64), cmocka_unit_test(test_tag_lists), cmocka_unit_test(test_tag_count),
        cmocka_unit_test(test_faults), cmocka_unit_test(test_values),    cmocka_unit_test(test_limits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
