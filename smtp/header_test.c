#include "smtp/header.h"

#include "base/bug.h"
#include "tests/t.h"

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

static const struct {
    const char *name, *rfc, *section;
    enum header_fault fault;
    size_t count;
    const char *first, *value; /* of the first field */
} rows[] = {
    {"one field", "5322 2.2", "Subject: hi\r\n", HEADER_OK, 1, "Subject", " hi"},
    {"no field", "5322 3.5", "", HEADER_OK, 0, NULL, NULL},
    {"two fields", "5322 2.2", "A: 1\r\nB: 2\r\n", HEADER_OK, 2, "A", " 1"},
    {"a folded field", "5322 2.2.3", "A: 1\r\n 2\r\n\t3\r\nB: 2\r\n", HEADER_OK, 2, "A", " 1\r\n 2\r\n\t3"},
    {"a line of blanks continues", "5322 4.2", "A: 1\r\n \r\n 2\r\n", HEADER_OK, 1, "A", " 1\r\n \r\n 2"},
    {"no value", "5322 3.6.8", "A:\r\nB: 2\r\n", HEADER_OK, 2, "A", ""},
    {"blanks before the colon", "5322 4.5", "A \t: 1\r\n", HEADER_OK, 1, "A", " 1"},
    {"colons in the value", "5322 2.2", "A: b:c\r\n", HEADER_OK, 1, "A", " b:c"},
    {"every octet a name may have", "5322 3.6.8", "!\"#$%&'()*+,-./0;<=>?@A[\\]^_`a{|}~: 1\r\n", HEADER_OK, 1,
     "!\"#$%&'()*+,-./0;<=>?@A[\\]^_`a{|}~", " 1"},
    {"8-bit octets in a value", "6532 3.2", "A: \xC3\xBC\r\n", HEADER_OK, 1, "A", " \xC3\xBC"},
    {"a last line without its end", "5322 2.1", "A: 1\r\nB: 2", HEADER_OK, 2, "A", " 1"},
    {"a line without a colon", "5322 2.2", "A: 1\r\nhello\r\nB: 2\r\n", HEADER_BAD_LINE, 1, "A", " 1"},
    {"a blank within the name", "5322 2.2", "A: 1\r\nhello you: 1\r\n", HEADER_BAD_LINE, 1, "A", " 1"},
    {"a Unix mailbox separator", "5322 2.2", "From a@b.example Mon Nov  2 10:00:00 2026\r\nA: 1\r\n",
     HEADER_BAD_LINE, 0, NULL, NULL},
    {"an empty name", "5322 2.2", ": 1\r\n", HEADER_BAD_LINE, 0, NULL, NULL},
    {"8-bit octets in a name", "5322 2.2", "\xC3\xBC: 1\r\n", HEADER_BAD_LINE, 0, NULL, NULL},
    {"a control in a name", "5322 2.2", "A\x01: 1\r\n", HEADER_BAD_LINE, 0, NULL, NULL},
    {"a colon on the next line", "5322 2.2", "A\r\n : 1\r\n", HEADER_BAD_LINE, 0, NULL, NULL},
    {"an empty line within", "5322 2.1", "A: 1\r\n\r\nB: 2\r\n", HEADER_BAD_LINE, 1, "A", " 1"},
    {"a continuation of nothing", "5322 2.2.3", " A: 1\r\n", HEADER_STARTS_FOLDED, 0, NULL, NULL},
    {"a tab to begin with", "5322 2.2.3", "\tA: 1\r\n", HEADER_STARTS_FOLDED, 0, NULL, NULL},
    {"as many fields as there may be", NULL, "A: 1\r\nA: 2\r\nA: 3\r\n", HEADER_OK, 3, "A", " 1"},
    {"one field too many", NULL, "A: 1\r\nA: 2\r\nA: 3\r\nA: 4\r\n", HEADER_TOO_MANY, 0, NULL, NULL},
    {"continuations do not count", NULL, "A: 1\r\n 2\r\n 3\r\n 4\r\n", HEADER_OK, 1, "A",
     " 1\r\n 2\r\n 3\r\n 4"},
    {"a lone LF ends no line", "5322 2.3", "A: 1\nB: 2\r\nC: 3\r\n", HEADER_OK, 2, "A", " 1\nB: 2"},
    {"a lone CR ends no line", "5322 2.3", "A: 1\rB: 2\r\nC: 3\r\n", HEADER_OK, 2, "A", " 1\rB: 2"},
};

static void test_parse(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct header h;
        size_t bytes = 0;

        t_case(rows[i].name, rows[i].rfc);
        t_same_int(header_parse(mem, str_of(rows[i].section), 3, &h), rows[i].fault);
        t_same_int(h.count, rows[i].count);
        if (rows[i].first != NULL) {
            t_same_str_z(h.fields[0].name, rows[i].first);
            t_same_str_z(h.fields[0].value, rows[i].value);
        }
        for (size_t k = 0; k < h.count; k++)
            bytes += h.fields[k].raw.n;
        if (rows[i].fault == HEADER_OK)
            t_same_int(bytes, strlen(rows[i].section));
    }
}

static void test_find(void **state)
{
    struct header h;

    (void)state;
    t_case("names have no case, and the topmost field is found", "5322 2.2");
    header_parse(mem, STR("Received: 1\r\nFROM: 2\r\nreceived: 3\r\nFrom : 4\r\n"), 10, &h);
    t_same_int(header_count(&h, "received"), 2);
    t_same_int(header_count(&h, "From"), 2);
    t_same_int(header_count(&h, "Fro"), 0);
    t_same_str_z(header_find(&h, "from")->value, " 2");
    t_same_str_z(header_find(&h, "RECEIVED")->raw, "Received: 1\r\n");
    t_true(header_find(&h, "To") == NULL);
}

static void test_unfold(void **state)
{
    static const struct {
        const char *name, *value, *want;
    } unfolded[] = {
        {"nothing to unfold", " a b ", "a b"},
        {"CRLF goes, its blank stays", " a\r\n b\r\n\tc", "a b\tc"},
        {"all blanks behind CRLF stay", "a\r\n   b", "a   b"},
        {"a fold at the start is trimmed", "\r\n a", "a"},
        {"a line of blanks", "a\r\n \r\n b", "a  b"},
        {"a CR that is no fold stays", "a\rb\r\nc", "a\rb\r\nc"},
        {"nothing", "", ""},
        {"only a fold", "\r\n ", ""},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(unfolded); i++) {
        t_case(unfolded[i].name, "5322 2.2.3");
        t_same_str_z(header_unfold(mem, str_of(unfolded[i].value)), unfolded[i].want);
    }
}

static void test_end(void **state)
{
    static const struct {
        const char *name, *message;
        size_t want;
    } ends[] = {
        {"header and body", "A: 1\r\n\r\nbody\r\n", 6},
        {"a message that begins with an empty line has no header", "\r\nbody\r\n", 0},
        {"an empty line and nothing else", "\r\n", 0},
        {"two empty lines", "\r\n\r\n", 0},
        {"no body, and perhaps more to come", "A: 1\r\n", SIZE_MAX},
        {"an empty line at the very end", "A: 1\r\n\r\n", 6},
        {"nothing yet", "", SIZE_MAX},
        {"half a line end", "\r", SIZE_MAX},
        {"a line of blanks is not empty", "A: 1\r\n \r\nB: 2\r\n\r\n", 15},
        {"the first empty line counts", "A: 1\r\n\r\nb\r\n\r\n", 6},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(ends); i++) {
        struct str message = str_of(ends[i].message);

        t_case(ends[i].name, "5322 2.1");
        t_same_int(header_end(message, 0), ends[i].want);
        for (size_t piece = 1; piece <= message.n; piece++) {
            size_t end = SIZE_MAX;

            for (size_t seen = 0; seen < message.n && end == SIZE_MAX; seen += piece)
                end = header_end(str_upto(message, seen + piece), seen);
            t_same_int(end, ends[i].want);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_parse, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_find, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_unfold, set_up, tear_down),
        cmocka_unit_test(test_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
