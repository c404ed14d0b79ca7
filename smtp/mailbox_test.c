#include "smtp/mailbox.h"

#include "base/bug.h"
#include "base/buf.h"
#include "tests/t.h"

#include <jansson.h>

static struct arena *mem;

static int set_up(void **state)
{
    (void)state;
    mem = arena_new(0);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    arena_free(&mem);
    return 0;
}

/* "local|domain local|domain", "empty" or "invalid". */
static const char *read_list(struct str value)
{
    struct mailbox_list list;
    const char *why;
    char *text = str_fmt(mem, "%s", "");

    switch (mailbox_list_parse(mem, value, &list, &why)) {
    case MAILBOX_EMPTY:
        t_true(list.count == 0 && why == NULL);
        return "empty";
    case MAILBOX_INVALID:
        t_true(list.count == 0 && why != NULL);
        return "invalid";
    case MAILBOX_FOUND:
        t_true(list.count > 0 && why == NULL);
        break;
    }
    for (size_t i = 0; i < list.count; i++)
        text = str_fmt(mem, "%s%s%.*s|%.*s", text, i > 0 ? " " : "", STR_ARG(list.boxes[i].local),
                       STR_ARG(list.boxes[i].domain));
    return text;
}

static const struct {
    const char *name, *rfc, *value, *want;
} rows[] = {
    /* the plain forms */
    {"an address", "5322 3.4.1", "a@b.example", "a|b.example"},
    {"blanks round it", "5322 3.2.2", " a@b.example ", "a|b.example"},
    {"a display name", "5322 3.4", "Joe <a@b.example>", "a|b.example"},
    {"a name of several words", "5322 3.4", "Joe Q Public <a@b.example>", "a|b.example"},
    {"a name with a dot", "5322 4.1", "Joe Q. Public <a@b.example>", "a|b.example"},
    {"a quoted name", "5322 3.4", "\"Public, Joe\" <a@b.example>", "a|b.example"},
    {"angle brackets alone", "5322 3.4", "<a@b.example>", "a|b.example"},
    {"an encoded word is an atom", "2047 5", "=?utf-8?Q?J=C3=B6?= <a@b.example>", "a|b.example"},
    {"an encoded word is not decoded", "2047 6.2", "=?utf-8?Q?x=40y.example?= <a@b.example>", "a|b.example"},
    {"two addresses", "5322 3.4", "a@b.example, <c@d.example>", "a|b.example c|d.example"},
    {"a comment behind", "5322 3.2.2", "a@b.example (Joe)", "a|b.example"},
    {"a fold", "5322 2.2.3", "Joe\r\n <a@b.example>", "a|b.example"},
    {"a fold in a quoted name", "5322 2.2.3", "\"Joe\r\n Public\" <a@b.example>", "a|b.example"},
    {"domains become lower case, local parts do not", "5321 2.4", "Ab@B.Example", "Ab|b.example"},
    {"a domain of one label", "5322 3.4.1", "a@localhost", "a|localhost"},
    {"an underscore in a domain", NULL, "a@b_c.example", "a|b_c.example"},
    {"a literal", "5322 3.4.1", "a@[192.0.2.1]", "a|[192.0.2.1]"},
    {"a literal with blanks", "5322 3.4.1", "a@[ 192.0.2.1\r\n ]", "a|[192.0.2.1]"},
    {"specials of an atom", "5322 3.2.3", "!#$%&'*+-/=?^_`{|}~@b.example", "!#$%&'*+-/=?^_`{|}~|b.example"},
    {"a quoted local part is unquoted", "5322 3.2.4", "\"a b\\\"c\"@d.example", "a b\"c|d.example"},
    {"an at sign in a quoted local part", "5322 3.2.4", "\"x@bank.example\"@evil.example",
     "x@bank.example|evil.example"},
    {"nobody", "5322 3.6.2", "", "empty"},
    {"only a comment", "5322 3.6.2", " (nobody) ", "empty"},
    {"only commas", "5322 4.4", ",,", "invalid"},
    /* groups */
    {"a group", "6854 2", "Team: a@b.example, Joe <c@d.example>;", "a|b.example c|d.example"},
    {"an empty group", "6854 2", "undisclosed-recipients:;", "empty"},
    {"a group between addresses", "5322 3.4", "a@b.example, T: c@d.example;, e@f.example",
     "a|b.example c|d.example e|f.example"},
    {"an empty element in a group", "5322 4.4", "T:,a@b.example,,;", "a|b.example"},
    {"a group that does not end", "5322 3.4", "Team: a@b.example", "invalid"},
    {"a group in a group", "5322 3.4", "A: B: a@b.example;;", "invalid"},
    {"a group without a name", "5322 3.4", ": a@b.example;", "invalid"},
    {"a semicolon from nowhere", "5322 3.4", "a@b.example;", "invalid"},
    {"an address behind a group without a comma", "5322 3.4", "T:; a@b.example", "invalid"},
    /* obsolete, but understood */
    {"a route", "5322 4.4", "<@x.example,@y.example:a@b.example>", "a|b.example"},
    {"a route with empty elements", "5322 4.4", "<,,@x.example,:a@b.example>", "a|b.example"},
    {"a route without its colon", "5322 4.4", "<@x.example a@b.example>", "invalid"},
    {"blanks round the dots", "5322 4.4", "a . b @ c . example", "a.b|c.example"},
    {"comments everywhere", "5322 4.4", "(1)a(2).(3)b(4)@(5)c(6).(7)example(8)", "a.b|c.example"},
    {"a local part in part quoted", "5322 4.4", "\"a b\".c@d.example", "a b.c|d.example"},
    {"empty elements", "5322 4.4", ",a@b.example,,c@d.example,", "a|b.example c|d.example"},
    /* what would fool a hasty reader */
    {"an address in a quoted name", "5322 3.4", "\"<ceo@bank.example>\" <x@evil.example>", "x|evil.example"},
    {"a quoted name that quotes a quote", "5322 3.2.4", "\"a\\\" <ceo@bank.example>, \" <x@evil.example>",
     "x|evil.example"},
    {"an address in a comment", "5322 3.2.2", "(<ceo@bank.example>) x@evil.example", "x|evil.example"},
    {"a comment that quotes its end", "5322 3.2.2", "(a\\) ceo@bank.example) x@evil.example",
     "x|evil.example"},
    {"comments within comments", "5322 3.2.2", "(((ceo@bank.example))) x@evil.example", "x|evil.example"},
    {"a quote within a comment is no quote", "5322 3.2.2", "(\") x@evil.example (\")", "x|evil.example"},
    {"a comment within quotes is no comment", "5322 3.2.4", "\"(\" <x@evil.example> (\")", "x|evil.example"},
    {"a bare address as a name", "5322 3.4", "ceo@bank.example <x@evil.example>", "invalid"},
    {"two angle addresses", "5322 3.4", "<ceo@bank.example><x@evil.example>", "invalid"},
    {"two addresses without a comma", "5322 3.4", "ceo@bank.example x@evil.example", "invalid"},
    {"text behind the brackets", "5322 3.4", "<x@evil.example> ceo@bank.example", "invalid"},
    {"text behind an address", "5322 3.4", "x@evil.example Joe", "invalid"},
    {"words in front of an address", "5322 3.4", "Joe x@evil.example", "invalid"},
    {"a doubled opening bracket", "5322 3.4", "<<x@evil.example>", "invalid"},
    {"a doubled closing bracket", "5322 3.4", "<x@evil.example>>", "invalid"},
    {"a closing bracket in front", "5322 3.4", "> <x@evil.example>", "invalid"},
    {"a bracket that does not close", "5322 3.4", "Joe <x@evil.example", "invalid"},
    {"a bracket that never opened", "5322 3.4", "x@evil.example>", "invalid"},
    {"brackets with nothing", "5322 3.4", "Joe <>", "invalid"},
    {"brackets with a comma inside", "5322 3.4", "<a@b.example,c@d.example>", "invalid"},
    {"a bare at sign", "5322 3.4.1", "@", "invalid"},
    {"a name instead of an address", "5322 3.4.1", "Joe", "invalid"},
    {"no local part", "5322 3.4.1", "@bank.example", "invalid"},
    {"no domain", "5322 3.4.1", "a@", "invalid"},
    {"two at signs", "5322 3.4.1", "a@bank.example@evil.example", "invalid"},
    {"an open quote", "5322 3.2.4", "\"Joe <a@b.example>", "invalid"},
    {"an open comment", "5322 3.2.2", "(Joe a@b.example", "invalid"},
    {"an open inner comment", "5322 3.2.2", "(a (b) a@b.example", "invalid"},
    {"a closing parenthesis from nowhere", "5322 3.2.2", "a@b.example)", "invalid"},
    {"an open literal", "5322 3.4.1", "a@[192.0.2.1", "invalid"},
    {"brackets within a literal", "5322 3.4.1", "a@[192[.0.2.1]", "invalid"},
    {"text behind a literal", "5322 3.4.1", "a@[192.0.2.1].example", "invalid"},
    {"a quoted domain", "5322 3.4.1", "a@\"b.example\"", "invalid"},
    {"a local part with a dot in front", "5322 3.4.1", ".a@b.example", "invalid"},
    {"a local part with a dot at the end", "5322 3.4.1", "a.@b.example", "invalid"},
    {"a local part with two dots", "5322 3.4.1", "a..b@c.example", "invalid"},
    {"a name that begins with a dot", "5322 4.1", ". Joe <a@b.example>", "invalid"},
    {"a final dot", "5322 3.4.1", "a@b.example.", "invalid"},
    {"two dots in a domain", "5322 3.4.1", "a@b..example", "invalid"},
    {"an atom that is no domain name", "1123 2.1", "a@b$c.example", "invalid"},
    {"a label that begins with a hyphen", "1123 2.1", "a@-b.example", "invalid"},
    {"a bare CR", "5322 2.2", "a@b.example\r", "invalid"},
    {"a bare LF", "5322 2.2", "Joe\n <a@b.example>", "invalid"},
    {"CRLF that is no fold", "5322 2.2.3", "Joe\r\n<a@b.example>", "invalid"},
    {"CRLF in quotes that is no fold", "5322 2.2.3", "\"Joe\r\n\" <a@b.example>", "invalid"},
    {"a control in a name", "5322 2.2", "Joe\x1B$B <a@b.example>", "invalid"},
    {"a control in a comment", "5322 2.2", "(\x08) a@b.example", "invalid"},
    {"a backslash outside of quotes", "5322 3.2.1", "a\\@x@b.example", "invalid"},
    /* beyond ASCII */
    {"UTF-8 in a name", "6532 3.2", "J\xC3\xB6 <a@b.example>", "a|b.example"},
    {"Latin-1 in a name does no harm", NULL, "\"J\xF6\" <a@b.example>", "a|b.example"},
    {"UTF-8 in a local part", "6532 3.2", "\xC3\xB6@b.example", "\xC3\xB6|b.example"},
    {"Latin-1 in a local part", "6532 3.2", "\xF6@b.example", "invalid"},
    {"a U-label becomes an A-label", "5890 2.3.2", "a@m\xC3\xBCnchen.example", "a|xn--mnchen-3ya.example"},
    {"capital letters of U-labels too", "5890 2.3.2", "a@M\xC3\x9Cnchen.example", "a|xn--mnchen-3ya.example"},
    {"a sharp s keeps its identity", "5894 7.2",
     "a@stra\xC3\x9F"
     "e.example",
     "a|xn--strae-oqa.example"},
    {"an A-label stays", "5890 2.3.2", "a@XN--mnchen-3ya.example", "a|xn--mnchen-3ya.example"},
    {"a label like ab--cd is DNS's matter", NULL, "a@ab--cd.example", "a|ab--cd.example"},
    {"a long s is no s", "5890 2.3.2", "a@bo\xC5\xBFs.example", "invalid"},
    {"fullwidth letters are no letters", "5890 2.3.2", "a@\xEF\xBD\x82\xEF\xBD\x81.example", "invalid"},
    {"an ideographic full stop is no dot", "5890 2.3.2",
     "a@m\xC3\xBC\xE3\x80\x82"
     "bank.example",
     "invalid"},
    {"a snowman is no letter", "5892 2", "a@\xE2\x98\x83.example", "invalid"},
    {"Latin-1 in a domain", "6532 3.2", "a@m\xFCnchen.example", "invalid"},
    {"an overlong at sign is none", "3629 3",
     "a\xC1\x80"
     "b.example",
     "invalid"},
};

static void test_lists(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        t_case(rows[i].name, rows[i].rfc);
        t_same_z(read_list(str_of(rows[i].value)), rows[i].want);
    }
}

static void test_nul(void **state)
{
    (void)state;
    t_case("a NUL ends nothing", "5322 2.2");
    t_same_z(read_list(STR("a@bank.example\0.evil.example")), "invalid");
    t_same_z(read_list(STR("\"\0\" <a@b.example>")), "invalid");
    t_same_z(read_list(STR("(\0) a@b.example")), "invalid");
    t_same_z(read_list(STR("a@b.example\0")), "invalid");
    t_same_z(read_list(STR("\0")), "invalid");
    t_same_z(read_list(STR("a@[\0]")), "invalid");
}

static void test_limits(void **state)
{
    struct mailbox_list list;
    const char *why;
    struct buf b;

    (void)state;
    t_case("as many addresses as are kept, and one more", NULL);
    buf_init(&b, 1 << 20);
    for (int i = 0; i < MAILBOX_MOST; i++)
        buf_fmt(&b, "%sa%d@b.example", i > 0 ? "," : "", i);
    t_same_int(mailbox_list_parse(mem, buf_str(&b), &list, &why), MAILBOX_FOUND);
    t_same_int(list.count, MAILBOX_MOST);
    t_same_str_z(list.boxes[MAILBOX_MOST - 1].local, "a99");
    buf_add_z(&b, ",c@d.example");
    t_same_int(mailbox_list_parse(mem, buf_str(&b), &list, &why), MAILBOX_INVALID);
    t_case("as many hops of routes, and one more", NULL);
    for (int hops = MAILBOX_MOST; hops <= MAILBOX_MOST + 1; hops++) {
        buf_clear(&b);
        buf_add_char(&b, '<');
        for (int i = 0; i < hops; i++)
            buf_add_z(&b, "@x.example,");
        buf_add_z(&b, ":a@b.example>");
        t_same_int(mailbox_list_parse(mem, buf_str(&b), &list, &why),
                   hops > MAILBOX_MOST ? MAILBOX_INVALID : MAILBOX_FOUND);
    }
    t_case("depth costs nothing", NULL);
    buf_clear(&b);
    for (int i = 0; i < 100000; i++)
        buf_add_char(&b, '(');
    t_same_int(mailbox_list_parse(mem, buf_str(&b), &list, &why), MAILBOX_INVALID);
    for (int i = 0; i < 100000; i++)
        buf_add_char(&b, ')');
    buf_add_z(&b, "a@b.example");
    t_same_int(mailbox_list_parse(mem, buf_str(&b), &list, &why), MAILBOX_FOUND);
    buf_fini(&b);
}

static void test_domains(void **state)
{
    (void)state;
    t_case("a domain in the form that DNS has", "5890 2.3.2");
    t_same_z(mailbox_domain_to_ascii(mem, STR("B.Example")), "b.example");
    t_same_z(mailbox_domain_to_ascii(mem, STR("b.example.")), "b.example");
    t_same_z(mailbox_domain_to_ascii(mem, STR("m\xC3\xBCnchen.example")), "xn--mnchen-3ya.example");
    t_same_z(mailbox_domain_to_ascii(mem, STR("mu\xCC\x88nchen.example")), "xn--mnchen-3ya.example");
    t_true(mailbox_domain_to_ascii(mem, STR("")) == NULL);
    t_true(mailbox_domain_to_ascii(mem, STR(".")) == NULL);
    t_true(mailbox_domain_to_ascii(mem, STR("b..")) == NULL);
    t_true(mailbox_domain_to_ascii(mem, STR("b c")) == NULL);
    t_true(mailbox_domain_to_ascii(mem, STR("b\0c")) == NULL);
    t_true(mailbox_domain_to_ascii(mem, STR("\xC3\xBC\0c")) == NULL);
    t_true(mailbox_domain_to_ascii(mem, STR("[192.0.2.1]")) == NULL);
}

/* OpenDMARC takes the first thing that looks like an address. Where the header is none by RFC 5322 3.4, or
 * has several domains (RFC 9989 5.3.1), the difference is meant. */
static const struct {
    const char *id, *want, *why;
} disputed[] = {
    {"from-2", "invalid", "a quoted name needs angle brackets behind it"},
    {"from-6", "invalid", "brackets do not nest"},
    {"from-7", "joe|joe.com ace|ace.com", "two mailboxes: both are told"},
    {"from-8", "joe|joe.com ace|ace.com", "two mailboxes: both are told"},
    {"from-9", "invalid", "the colon opens a group, which does not end"},
    {"from-12", "invalid", "a quoted name needs angle brackets behind it"},
    {"from-13", "invalid", "the colon opens a group, which does not end"},
};

static void test_opendmarc(void **state)
{
    json_t *suite, *test;
    size_t i, agreed = 0, differed = 0;

    (void)state;
    if (t_conformance() == NULL)
        t_skip("no conformance suites");
    suite = json_load_file(str_fmt(mem, "%s/dmarc-opendmarc/cases.json", t_conformance()), 0, NULL);
    json_array_foreach(json_object_get(suite, "from_domain"), i, test)
    {
        const char *id = json_string_value(json_object_get(test, "id"));
        const char *want = json_string_value(json_object_get(test, "domain"));
        const char *got = read_list(str_of(json_string_value(json_object_get(test, "header"))));
        bool is_disputed = false;

        t_case(id, "5322 3.4");
        for (size_t k = 0; k < COUNT(disputed); k++) {
            if (!str_eq_z(str_of(id), disputed[k].id))
                continue;
            is_disputed = true;
            t_same_z(got, disputed[k].want);
        }
        if (!is_disputed)
            t_same_str_z(str_from(str_of(got), str_find(str_of(got), '|') + 1), want);
        agreed += !is_disputed;
        differed += is_disputed;
    }
    json_decref(suite);
    t_same_int(agreed, 6);
    t_same_int(differed, COUNT(disputed));
}

/* ---- values that are not valid ---- */

static const struct {
    const char *name, *value, *domain; /* NULL: readers could differ */
} onlies[] = {
    {"a comma in a name", "Shop, Inc. <a@b.example>", "b.example"},
    {"brackets in a name", "Joe [me] <a@B.Example>", "b.example"},
    {"an address as its own name", "a@b.example <a@b.example>", "b.example"},
    {"an address as another's name", "ceo@bank.example <x@evil.example>", NULL},
    {"two domains, one below the other", "a@b.example <a@c.b.example>", NULL},
    {"dots that no atom has", "a..b@c.example", "c.example"},
    {"a dot in front of the at sign", "a.@c.example", "c.example"},
    {"a bracket that does not close", "Joe <a@b.example", "b.example"},
    {"an open quote", "\"Joe <a@b.example>", "b.example"},
    {"a whole field in an encoded word", "=?utf-8?q?Joe_<a@b.example>?=", "b.example"},
    {"U-labels",
     "Joe [me] <a@b\xc3\xbc"
     "cher.example>",
     "xn--bcher-kva.example"},
    {"in front of a fold", "Joe [me]\r\n <a@b.example>\r\n", "b.example"},
    {"no address", "Joe", NULL},
    {"nothing", "", NULL},
    {"no local part", "Joe [me] <@b.example>", NULL},
    {"an at sign first", "@b.example [x]", NULL},
    {"a route through another domain", "Joe [me] <@x.example:a@b.example>", NULL},
    {"two at signs", "a@bank.example@evil.example", NULL},
    {"a domain that goes on behind a blank", "Joe [me] <a@bank.example .evil.example>", NULL},
    {"a domain that goes on behind its dot", "Joe [me] <a@bank. evil.example>", NULL},
    {"a domain that goes on behind a comment", "Joe [me] <a@bank.example(x).evil.example>", NULL},
    {"a domain that goes on behind a fold", "Joe [me] <a@bank.example\r\n\t.evil.example>", NULL},
    {"a domain that goes on behind a sign of the local part", "a@evil.example%bank.example", NULL},
    {"a domain that goes on behind a slash", "a@evil.example/bank.example", NULL},
    {"a domain that goes on behind a colon", "a@evil.example:bank.example", NULL},
    {"in quotes of another kind", "'a@b.example'", "b.example"},
    {"in front of brackets", "a@b.example<a@b.example>", "b.example"},
    {"a literal", "Joe [me] <a@[192.0.2.1]>", NULL},
    {"no domain name", "Joe [me] <a@-b.example>", NULL},
    {"a control character", "Joe [me]\x01 <a@b.example>", NULL},
};

static void test_only_domain(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(onlies); i++) {
        t_case(onlies[i].name, "9989 11.5");
        t_same_z(mailbox_only_domain(mem, str_of(onlies[i].value)), onlies[i].domain);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_lists, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_nul, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_limits, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_domains, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_opendmarc, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_only_domain, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
