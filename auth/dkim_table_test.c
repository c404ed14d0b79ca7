#include "tests/t.h"

#include "auth/dkim_hosts.h"
#include "auth/dkim_table.h"
#include "base/bug.h"

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

struct bed {
    struct arena *mem;
    const char *folder;
    struct buf faults, warnings;
    struct dkim_table *table;
};

static const char *path_in(struct bed *b, const char *name)
{
    return str_fmt(b->mem, "%s/%s", b->folder, name);
}

static void write_file(struct bed *b, const char *name, const char *text)
{
    FILE *file = fopen(path_in(b, name), "w");

    t_true(file != NULL && fputs(text, file) >= 0 && fclose(file) == 0);
}

static void write_key(struct bed *b, const char *name)
{
    struct dkim_private *key = dkim_private_generate(DKIM_PRIVATE_ED25519);
    struct fail fail;

    t_same_int(dkim_private_write(key, path_in(b, name), &fail), 0);
    dkim_private_free(&key);
}

static int set_up(void **state)
{
    struct arena *mem = arena_new(0);
    struct bed *b = ARENA_NEW(mem, struct bed);

    b->mem = mem;
    b->folder = mkdtemp(str_fmt(mem, "/tmp/dkim_table_test.XXXXXX"));
    t_true(b->folder != NULL);
    buf_init(&b->faults, 1 << 16);
    buf_init(&b->warnings, 1 << 16);
    write_key(b, "one.private");
    write_key(b, "two.private");
    *state = b;
    return 0;
}

static int tear_down(void **state)
{
    static const char *const names[] = {"one.private", "two.private", "S", "K", "x.test.private"};
    struct bed *b = *state;
    struct arena *mem = b->mem;

    dkim_table_free(&b->table);
    for (size_t i = 0; i < COUNT(names); i++)
        unlink(path_in(b, names[i]));
    rmdir(b->folder);
    buf_fini(&b->faults);
    buf_fini(&b->warnings);
    arena_free(&mem);
    return 0;
}

/* "@/" in the KeyTable is the test's folder. */
static const char *with_folder(struct bed *b, const char *text)
{
    struct buf out;
    const char *made;

    buf_init(&out, 1 << 16);
    for (; *text != '\0'; text++)
        if (text[0] == '@' && text[1] == '/')
            buf_add_z(&out, b->folder);
        else
            buf_add_char(&out, *text);
    made = str_dup(b->mem, buf_str(&out));
    buf_fini(&out);
    return made;
}

static struct dkim_table *load(struct bed *b, const char *prefix, const char *signing, const char *keys)
{
    dkim_table_free(&b->table);
    buf_clear(&b->faults);
    buf_clear(&b->warnings);
    write_file(b, "S", signing);
    write_file(b, "K", with_folder(b, keys));
    b->table = dkim_table_load(str_fmt(b->mem, "%s%s", prefix, path_in(b, "S")), path_in(b, "K"), &b->faults,
                               &b->warnings);
    return b->table;
}

/* "domain/selector/identity domain/…" */
static const char *found(struct bed *b, const char *local, const char *domain, bool all)
{
    struct dkim_sign_key keys[DKIM_TABLE_FOUND_MAX];
    size_t n = dkim_table_find(b->table, b->mem, str_of(local), str_of(domain), all, keys);
    const char *text = "";

    for (size_t i = 0; i < n; i++)
        text = str_fmt(b->mem, "%s%s%s/%s%s%s", text, i > 0 ? " " : "", keys[i].domain, keys[i].selector,
                       keys[i].identity != NULL ? "/" : "", keys[i].identity != NULL ? keys[i].identity : "");
    return text;
}

static const char keys[] = "# one key a domain\n"
                           "default._domainkey.example.org example.org:default:@//one.private\n"
                           "second  example.net:s2:@//two.private   # the other\n";

static void test_patterns(void **state)
{
    struct bed *b = *state;

    t_case("the form that everybody uses", "opendkim.conf(5) SigningTable");
    t_true(load(b, "refile:",
                "*@example.org default._domainkey.example.org\n*@*.example.org second:%@news\n"
                "  boss@*   second:boss@example.net # all over\n",
                keys) != NULL);
    t_same_z(found(b, "a", "example.org", false), "example.org/default");
    t_same_z(found(b, "A.b", "example.org", false), "example.org/default");
    t_same_z(found(b, "a", "sub.example.org", false), "example.net/s2/sub.example.org@news");
    t_same_z(found(b, "a", "notexample.org", false), "");
    t_same_z(found(b, "a", "example.org.evil.test", false), "");
    t_same_z(found(b, "BOSS", "any.test", false), "example.net/s2/boss@example.net");
    t_case("the first match, or all of them", "MultipleSignatures");
    t_same_z(found(b, "boss", "example.org", false), "example.org/default");
    t_same_z(found(b, "boss", "example.org", true), "example.org/default example.net/s2/boss@example.net");
    t_case("one key does not sign twice", NULL);
    t_same_z(found(b, "boss", "x.example.org", true), "example.net/s2/x.example.org@news");
}

static void test_plain_order(void **state)
{
    static const char *const rows[] = {"user@a.b.test", "a.b.test", "user@.b.test", "user@.test",
                                       ".b.test",       ".test",    "user@*",       "*"};
    struct bed *b = *state;
    const char *key_table = "", *signing;

    for (size_t i = 0; i < COUNT(rows); i++)
        key_table = str_fmt(b->mem, "%sk%zu example.org:s%zu:@//one.private\n", key_table, i, i);
    for (size_t from = 0; from < COUNT(rows); from++) {
        signing = "";
        for (size_t i = COUNT(rows); i-- > from;) /* the order of the file says nothing here */
            signing = str_fmt(b->mem, "%s%s k%zu\n", signing, rows[i], i);
        t_case(str_fmt(b->mem, "the best that is left is %s", rows[from]), "opendkim.conf(5) SigningTable");
        t_true(load(b, from % 2 ? "file:" : "", signing, key_table) != NULL);
        t_same_z(found(b, "User", "a.b.test", false), str_fmt(b->mem, "example.org/s%zu", from));
    }
    t_case("no row", NULL);
    t_true(load(b, "", "example.org k0\n", key_table) != NULL);
    t_same_z(found(b, "user", "a.b.test", false), "");
    t_case("a star is no pattern in a plain table", NULL);
    t_true(load(b, "", "*@example.org k0\n", key_table) != NULL);
    t_same_z(found(b, "user", "example.org", false), "");
}

static void test_percent(void **state)
{
    struct bed *b = *state;

    write_key(b, "x.test.private");
    t_case("% is the From domain: in d=, in the path, as the key's name", "opendkim.conf(5) KeyTable");
    t_true(load(b, "refile:", "*@x.test all\n*@y.test all\n*@example.org %\n*@z.test %\n",
                "all %:mail:@//%.private\nexample.org example.org:s:@//one.private\n") != NULL);
    t_same_z(found(b, "u", "x.test", false), "x.test/mail");
    t_same_z(found(b, "u", "x.test", false), "x.test/mail");
    t_same_z(found(b, "u", "example.org", false), "example.org/s");
    t_case("a domain without a key file, or without a name in the KeyTable, has no key", NULL);
    t_same_z(found(b, "u", "y.test", false), "");
    t_same_z(found(b, "u", "z.test", false), "");
    t_case("nothing but a domain gets into a path", NULL);
    t_true(load(b, "refile:", "* all\n", "all %:mail:@//%.private\n") != NULL);
    t_same_z(found(b, "u", "x.test", false), "x.test/mail");
    t_same_z(found(b, "u", "./x.test", false), "");
    t_same_z(found(b, "u", "[192.0.2.1]", false), "");
}

static void test_keys_of_table(void **state)
{
    struct bed *b = *state;
    struct dkim_sign_key key;

    t_case("the keys to look for in the DNS", NULL);
    t_true(load(b, "refile:", "", with_folder(b, str_fmt(b->mem, "%sall %%:m:@//%%.p\n", keys))) != NULL);
    t_true(dkim_table_key(b->table, 0, &key));
    t_same_z(key.domain, "example.org");
    t_true(dkim_table_key(b->table, 1, &key));
    t_same_z(key.selector, "s2");
    t_true(!dkim_table_key(b->table, 2, &key));
    t_case("a key in the table itself", "opendkim.conf(5) KeyTable");
    t_true(load(b, "", "example.org k\n", "k example.org:s:nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=\n") !=
           NULL);
    t_same_z(found(b, "u", "example.org", false), "example.org/s");
}

static void test_faults(void **state)
{
    static const struct {
        const char *name, *signing, *keys, *want;
    } rows[] = {
        {"a key without its parts", "", "k example.org:s\n", "K:1: a key is NAME DOMAIN:SELECTOR:KEY"},
        {"no domain", "", "\nk exa_mple..org:s:@//one.private\n", "K:2: \"exa_mple..org\" is no domain"},
        {"no selector", "", "k example.org::@//one.private\n", "K:1: \"\" is no selector"},
        {"twice", "", "k a.org:s:@//one.private\nK b.org:s:@//one.private\n",
         "K:2: the key name \"k\" stands there twice"},
        {"no such file", "", "k a.org:s:/none/x\n",
         "K:1: /none/x cannot be opened: No such file or directory"},
        {"no key", "", "k a.org:s:xyz\n", "K:1: this is no private key (PEM, not encrypted)"},
        {"no such name", "*@a.org k9\n", "k a.org:s:@//one.private\n",
         "S:1: the KeyTable has no usable key \"k9\""},
        {"no value", "# x\n*@a.org\n", "k a.org:s:@//one.private\n", "S:2: a row is WHO KEYNAME[:IDENTITY]"},
        {"a control character", "*@a.org\001 k\n", "k a.org:s:@//one.private\n",
         "S:1: the line holds a control character"},
    };
    struct bed *b = *state;

    for (size_t i = 0; i < COUNT(rows); i++) {
        t_case(rows[i].name, NULL);
        t_true(load(b, "refile:", rows[i].signing, rows[i].keys) == NULL);
        t_same_str_z(buf_str(&b->faults), str_fmt(b->mem, "%s/%s\n", b->folder, rows[i].want));
    }
    t_case("a missing file, a data base, a KeyTable of patterns", NULL);
    t_true(dkim_table_load("/none/S", path_in(b, "K"), &b->faults, &b->warnings) == NULL);
    buf_clear(&b->faults);
    t_true(dkim_table_load("dsn:mysql://x", path_in(b, "K"), &b->faults, &b->warnings) == NULL);
    t_same_str_z(buf_str(&b->faults),
                 "dsn:mysql://x: only flat files are read: PATH, file:PATH or refile:PATH\n");
    t_true(dkim_table_load("/none/S", str_fmt(b->mem, "refile:%s", path_in(b, "K")), &b->faults,
                           &b->warnings) == NULL);
    t_case("a key that others can read: a warning", NULL);
    t_same_int(chmod(path_in(b, "one.private"), 0644), 0);
    t_true(load(b, "", "", "k a.org:s:@//one.private\n") != NULL);
    t_true(b->warnings.n > 0 && strstr(buf_z(&b->warnings), "/K:1: ") != NULL);
}

static void test_wildcards(void **state)
{
    static const struct {
        const char *pattern, *text;
        bool want;
    } rows[] = {
        {"*", "", true},           {"*", "a@b", true},        {"", "", true},
        {"", "a", false},          {"*@b", "a@b", true},      {"*@b", "a@b.c", false},
        {"*@B", "A@b", true},      {"a*c*e", "abcde", true},  {"a*c*e", "abcd", false},
        {"**@*.b", "x@y.b", true}, {"?@b", "a@b", false},     {"a.b", "axb", false},
        {"[a]@b", "a@b", false},   {"*a*a*b", "aaaab", true}, {"*a*a*b", "aaaa", false},
        {"*@*", "ab", false},
    };
    struct arena *mem = arena_new(0);
    struct str many = str_of(str_fmt(mem, "%02000d", 0)), pattern;

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        t_case(str_fmt(mem, "%s against %s", rows[i].pattern, rows[i].text), NULL);
        t_true(dkim_table_matches(str_of(rows[i].pattern), str_of(rows[i].text)) == rows[i].want);
    }
    t_case("many stars take no time", NULL);
    pattern = str_of(str_fmt(mem, "%s1", "*0*0*0*0*0*0*0*0*0*0*0*0*0*0*0*0*0*0*0*0*"));
    t_true(!dkim_table_matches(pattern, many));
    arena_free(&mem);
}

/* ---- lists of hosts ---- */

static void test_hosts(void **state)
{
    static const char list[] =
        "127.0.0.1 # us\n::1\nlocalhost\n192.0.2.0/24\n!192.0.2.66\n!10.0.0.0/8\n10.1.0.0/16\n"
        "[198.51.100.7]\n[2001:db8::]/32\n!2001:db8:bad::/48\n"
        ".example.org\n!bad.example.org\n*.odd.test\n";
    static const struct {
        const char *ip, *name;
        bool want;
    } rows[] = {
        {"127.0.0.1", NULL, true},
        {"::1", NULL, true},
        {"127.0.0.2", NULL, false},
        {"127.0.0.2", "LocalHost", true},
        {"192.0.2.65", NULL, true},
        {"192.0.2.66", NULL, false},
        {"10.2.0.1", NULL, false},
        {"10.1.0.1", NULL, true},
        {"198.51.100.7", NULL, true},
        {"2001:db8::5", NULL, true},
        {"2001:db8:bad::5", NULL, false},
        {"203.0.113.1", "mail.example.org", true},
        {"203.0.113.1", "example.org", false},
        {"203.0.113.1", "notexample.org", false},
        {"203.0.113.1", "bad.example.org", false},
        {"203.0.113.1", "very.bad.example.org", true},
        {"127.0.0.1", "bad.example.org", false}, /* names come first */
    };
    struct bed *b = *state;
    const struct dkim_hosts *hosts;

    t_case("a row that is no host", NULL);
    t_true(dkim_hosts_parse(b->mem, "T", str_of(list), &b->faults) == NULL);
    t_same_str_z(buf_str(&b->faults), "T:13: \"*.odd.test\" is neither a host nor a network\n");
    hosts = dkim_hosts_parse(b->mem, "T", str_upto(str_of(list), strlen(list) - 11), &b->faults);
    t_true(hosts != NULL);
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct ip ip;

        t_case(str_fmt(b->mem, "%s %s", rows[i].ip, rows[i].name != NULL ? rows[i].name : ""),
               "opendkim.conf(5) PeerList");
        t_true(ip_parse(str_of(rows[i].ip), &ip));
        t_true(dkim_hosts_has(hosts, &ip, rows[i].name) == rows[i].want);
    }
    t_case("a network with host bits: OpenDKIM would never match it", NULL);
    t_true(dkim_hosts_parse(b->mem, "T", STR("192.0.2.1/24\n"), &b->faults) == NULL);
    t_case("from a file", NULL);
    write_file(b, "S", "127.0.0.1\n");
    t_true(dkim_hosts_load(b->mem, str_fmt(b->mem, "file:%s", path_in(b, "S")), &b->faults) != NULL);
    t_true(dkim_hosts_load(b->mem, "/none/T", &b->faults) == NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_patterns, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_plain_order, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_percent, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_keys_of_table, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_faults, set_up, tear_down),
        cmocka_unit_test(test_wildcards),
        cmocka_unit_test_setup_teardown(test_hosts, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
