#include "tests/t.h"

#include "auth/dkim_canon.h"
#include "base/buf.h"
#include "base/bug.h"
#include "tests/dkimsign.h"

#include <jansson.h>
#include <stdio.h>

static void to_buf(void *arg, const char *p, size_t n)
{
    t_true(buf_add(arg, p, n));
}

/* Canonicalizes a body in pieces of `step` octets; 0: whole. */
static struct str canon_body(struct arena *mem, enum dkim_canon canon, struct str body, size_t step)
{
    struct dkim_canon_body state;
    struct buf out;
    struct str text;

    buf_init(&out, 1 << 22);
    dkim_canon_body_init(&state, canon, to_buf, &out);
    for (size_t at = 0; at<body.n; at += step> 0 ? step : body.n)
        dkim_canon_body_add(&state, str_upto(str_from(body, at), step > 0 ? step : body.n));
    dkim_canon_body_end(&state);
    t_same_int(state.out.bytes, out.n);
    text = str_copy(mem, buf_str(&out));
    buf_fini(&out);
    return text;
}

static struct header_field field_of(struct str raw)
{
    struct header_field field = {.raw = raw};
    struct str name;

    str_cut(raw, ':', &name, &field.value);
    field.value.n -= 2;
    field.name = str_trim(name);
    return field;
}

static struct str canon_field(struct arena *mem, enum dkim_canon canon, struct str raw)
{
    struct header_field field = field_of(raw);
    struct dkim_canon_out state;
    struct buf out;
    struct str text;

    buf_init(&out, 1 << 22);
    dkim_canon_out_init(&state, to_buf, &out);
    dkim_canon_header(&state, canon, &field);
    dkim_canon_flush(&state);
    text = str_copy(mem, buf_str(&out));
    buf_fini(&out);
    return text;
}

static void test_bodies(void **state)
{
    static const struct {
        const char *name, *rfc, *body, *simple, *relaxed;
    } rows[] = {
        {"no body: simple is one CRLF, relaxed is nothing", "6376 3.4.3, 3.4.4", "", "\r\n", ""},
        {"a body of empty lines is no body", "6376 3.4.3, 3.4.4", "\r\n\r\n\r\n", "\r\n", ""},
        {"a missing final CRLF is added", "6376 3.4.3, 3.4.4", "a", "a\r\n", "a\r\n"},
        {"empty lines at the end go, those within stay", "6376 3.4.3", "a\r\n\r\nb\r\n\r\n\r\n",
         "a\r\n\r\nb\r\n", "a\r\n\r\nb\r\n"},
        {"empty lines at the start stay", "6376 3.4.3", "\r\n\r\na\r\n", "\r\n\r\na\r\n", "\r\n\r\na\r\n"},
        {"blanks at line ends go when relaxed", "6376 3.4.4", "a \t\r\nb\t\r\n", "a \t\r\nb\t\r\n",
         "a\r\nb\r\n"},
        {"runs of blanks become one space when relaxed", "6376 3.4.4", "a \t b\tc\r\n", "a \t b\tc\r\n",
         "a b c\r\n"},
        {"a blank at the start of a line stays one", "6376 3.4.4", " a\r\n\t b\r\n", " a\r\n\t b\r\n",
         " a\r\n b\r\n"},
        {"lines of blanks at the end are empty lines when relaxed", "6376 3.4.4", "a\r\n \t\r\n\r\n \r\n",
         "a\r\n \t\r\n\r\n \r\n", "a\r\n"},
        {"a body of blanks is no body when relaxed", "6376 3.4.4", " \t\r\n ", " \t\r\n \r\n", ""},
        {"blanks without a line end at the very end go when relaxed", "6376 3.4.4", "a  ", "a  \r\n",
         "a\r\n"},
        {"a bare CR is content", "6376 3.4", "a\rb \r c\r", "a\rb \r c\r\r\n", "a\rb \r c\r\r\n"},
        {"a bare LF is content, and ends no line", "6376 3.4", "a \nb\n\n", "a \nb\n\n\r\n", "a \nb\n\n\r\n"},
        {"CR CR LF is a bare CR and a line end", "6376 3.4", "a\r\r\n\r\n", "a\r\r\n", "a\r\r\n"},
        {"control characters are content", "6376 3.4", "\x01 \x02\r\n\x03\r\n", "\x01 \x02\r\n\x03\r\n",
         "\x01 \x02\r\n\x03\r\n"},
        {"no blank but space and tab counts", "6376 2.8", "a\v\f\xc2\xa0\r\n", "a\v\f\xc2\xa0\r\n",
         "a\v\f\xc2\xa0\r\n"},
    };
    struct arena *mem = arena_new(0);

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++)
        for (size_t step = 0; step < 4; step++) {
            t_case(rows[i].name, rows[i].rfc);
            t_same_str_z(canon_body(mem, DKIM_SIMPLE, str_of(rows[i].body), step), rows[i].simple);
            t_same_str_z(canon_body(mem, DKIM_RELAXED, str_of(rows[i].body), step), rows[i].relaxed);
        }
    arena_free(&mem);
}

static void test_fields(void **state)
{
    static const struct {
        const char *name, *rfc, *raw, *relaxed;
    } rows[] = {
        {"names become lower case, blanks round the colon go", "6376 3.4.2", "SubJect \t: \tA\r\n",
         "subject:A\r\n"},
        {"folds become one space", "6376 3.4.2", "A: b\r\n\tc\r\n  d\r\n", "a:b c d\r\n"},
        {"a fold at the start goes", "6376 3.4.2", "A:\r\n b\r\n", "a:b\r\n"},
        {"blanks at the end go, folded too", "6376 3.4.2", "A: b \t\r\n \r\n", "a:b\r\n"},
        {"an empty value is empty", "6376 3.4.2", "A:\r\n", "a:\r\n"},
        {"a value of blanks is empty", "6376 3.4.2", "A: \t \r\n", "a:\r\n"},
        {"case in the value stays", "6376 3.4.2", "A: B  C\r\n", "a:B C\r\n"},
        {"a bare CR stays", "6376 3.4.2", "A: B\rC\r\n", "a:B\rC\r\n"},
        {"a second colon is value", "6376 3.4.2", "A: B : C\r\n", "a:B : C\r\n"},
    };
    struct arena *mem = arena_new(0);

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        t_case(rows[i].name, rows[i].rfc);
        t_same_str_z(canon_field(mem, DKIM_RELAXED, str_of(rows[i].raw)), rows[i].relaxed);
        t_case("simple is the field as it is", "6376 3.4.1");
        t_same_str_z(canon_field(mem, DKIM_SIMPLE, str_of(rows[i].raw)), rows[i].raw);
    }
    t_case("NUL is an octet like others", "6376 3.4");
    t_same_str(canon_field(mem, DKIM_RELAXED, STR("A: x\0 \0y\r\n")), STR("a:x\0 \0y\r\n"));
    arena_free(&mem);
}

static struct str canon_own(struct arena *mem, enum dkim_canon canon, struct str raw, struct str b)
{
    struct header_field field = field_of(raw);
    struct dkim_canon_out state;
    struct buf out;
    struct str text, cut = {memmem(raw.p, raw.n, b.p, b.n), b.n};

    buf_init(&out, 1 << 16);
    dkim_canon_out_init(&state, to_buf, &out);
    dkim_canon_signature(&state, canon, &field, cut);
    dkim_canon_flush(&state);
    text = str_copy(mem, buf_str(&out));
    buf_fini(&out);
    return text;
}

static void test_own_field(void **state)
{
    struct arena *mem = arena_new(0);
    struct str last = STR("DKIM-Signature: a=1;  b= x\r\n\ty \r\n"),
               mid = STR("DKIM-Signature: b=\r\n x ;\tbh=z\r\n");

    (void)state;
    t_case("b= at the end is cut out with its folds", "6376 3.7");
    t_same_str_z(canon_own(mem, DKIM_SIMPLE, last, STR(" x\r\n\ty ")), "DKIM-Signature: a=1;  b=");
    t_same_str_z(canon_own(mem, DKIM_RELAXED, last, STR(" x\r\n\ty ")), "dkim-signature:a=1; b=");
    t_case("b= in the middle is cut out", "6376 3.7");
    t_same_str_z(canon_own(mem, DKIM_SIMPLE, mid, STR("\r\n x ")), "DKIM-Signature: b=;\tbh=z");
    t_same_str_z(canon_own(mem, DKIM_RELAXED, mid, STR("\r\n x ")), "dkim-signature:b=; bh=z");
    arena_free(&mem);
}

static void test_rfc_examples(void **state)
{
    const char *folder = t_conformance();
    struct arena *mem;
    json_t *root, *it;
    size_t i;

    (void)state;
    if (folder == NULL)
        t_skip("no conformance suites here");
    mem = arena_new(0);
    root = json_load_file(str_fmt(mem, "%s/dkim-rfc/canonicalization.json", folder), 0, NULL);
    t_case("the worked example", "6376 3.4.5");
    t_true(json_array_size(json_object_get(root, "examples")) > 0);
    json_array_foreach(json_object_get(root, "examples"), i, it)
    {
        struct str message = str_of(json_string_value(json_object_get(it, "message")));
        size_t end = (size_t)((char *)memmem(message.p, message.n, "\r\n\r\n", 4) - message.p) + 2;
        struct str a = str_upto(message, str_find(message, '\n') + 1), body = str_from(message, end + 2);
        struct str b = str_upto(str_from(message, a.n), end - a.n);
        struct str both = str_of(
            str_fmt(mem, "%s%s", canon_field(mem, DKIM_RELAXED, a).p, canon_field(mem, DKIM_RELAXED, b).p));

        t_same_str_z(both, json_string_value(json_object_get(it, "relaxed_header")));
        t_same_str_z(canon_body(mem, DKIM_RELAXED, body, 0),
                     json_string_value(json_object_get(it, "relaxed_body")));
        t_same_str_z(canon_body(mem, DKIM_SIMPLE, body, 0),
                     json_string_value(json_object_get(it, "simple_body")));
    }
    json_decref(root);
    arena_free(&mem);
}

static uint32_t dice(uint32_t *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 8;
}

/* Bodies of every odd kind against the plain opinion of tests/dkimsign.h, cut into pieces of every kind. */
static void test_any_cut_of_any_body(void **state)
{
    static const char *const parts[] = {
        "\r\n", "\r\n", "\r",        "\n",   " ",    "\t",
        "  ",   "word", "two words", "\x01", "\xff", "a line that is longer than sixteen octets by far"};
    struct arena *mem = arena_new(0);
    uint32_t seed = 6376;

    (void)state;
    t_case("streamed in any pieces, a body has one canonical form", "6376 3.4");
    for (int round = 0; round < 4000; round++) {
        struct buf body;
        struct str relaxed, simple;

        buf_init(&body, 1 << 20);
        for (uint32_t n = dice(&seed) % 40; n > 0; n--)
            buf_add_z(&body, parts[dice(&seed) % (round % 2 == 0 ? 6 : COUNT(parts))]);
        relaxed = canon_body(mem, DKIM_RELAXED, buf_str(&body), dice(&seed) % 30);
        simple = canon_body(mem, DKIM_SIMPLE, buf_str(&body), dice(&seed) % 30);
        t_same_str(relaxed, dkimsign_relaxed_body(mem, buf_str(&body)));
        t_same_str(simple, dkimsign_simple_body(mem, buf_str(&body)));
        t_same_str(canon_body(mem, DKIM_RELAXED, relaxed, 0), relaxed);
        t_same_str(canon_body(mem, DKIM_SIMPLE, simple, 0), simple);
        buf_fini(&body);
        arena_reset(mem);
    }
    arena_free(&mem);
}

/* Text of short, indented lines goes through a way of its own, 64 octets at a time: each mark at each place.
 */
static void test_blocks(void **state)
{
    static const char *const parts[] = {"\r\n",
                                        "\r\n",
                                        "    ",
                                        "        ",
                                        "\t",
                                        "\t\t",
                                        " \t ",
                                        " \r\n",
                                        "\r\n\r\n",
                                        "\r",
                                        "\n",
                                        "x",
                                        "ab",
                                        "word",
                                        "<td>",
                                        "</td>",
                                        "two words",
                                        "\xff\x01",
                                        "a stretch of some length, without odd blanks"};
    struct arena *mem = arena_new(0);
    uint32_t seed = 64;

    (void)state;
    t_case("blocks have the canonical form of their octets", "6376 3.4.4");
    for (int round = 0; round < 6000; round++) {
        struct buf body;
        struct str want;

        buf_init(&body, 1 << 20);
        for (uint32_t n = dice(&seed) % 70; n > 0; n--) /* the long stretch only now and then */
            buf_add_z(&body, parts[dice(&seed) % (COUNT(parts) - (dice(&seed) % 8 != 0))]);
        want = dkimsign_relaxed_body(mem, buf_str(&body));
        t_same_str(canon_body(mem, DKIM_RELAXED, buf_str(&body), 0), want);
        t_same_str(canon_body(mem, DKIM_RELAXED, buf_str(&body), 60 + dice(&seed) % 200), want);
        buf_fini(&body);
        arena_reset(mem);
    }
    t_case("more of them than the stage holds", NULL);
    for (size_t line = 1; line < 90; line++) {
        char *text = arena_alloc(mem, 20000);

        for (size_t i = 0; i < 20000; i++)
            text[i] = i % line == 0 ? 'x' : i % 3 == 0 ? '\t' : ' ';
        t_same_str(canon_body(mem, DKIM_RELAXED, str_make(text, 20000), 0),
                   dkimsign_relaxed_body(mem, str_make(text, 20000)));
        arena_reset(mem);
    }
    arena_free(&mem);
}

static void test_long_runs(void **state)
{
    struct arena *mem = arena_new(0);
    char *text = arena_alloc(mem, 100001);

    (void)state;
    t_case("what is longer than the stage passes unharmed", NULL);
    memset(text, 'x', 100000);
    for (size_t n = 500; n < 100000; n += 517)
        memcpy(text + n - 4, n % 3 == 0 ? "  \r\n" : "y \t ", 4);
    for (size_t step = 0; step < 9000; step += 1021)
        t_same_str(canon_body(mem, DKIM_RELAXED, str_make(text, 100000), step),
                   dkimsign_relaxed_body(mem, str_make(text, 100000)));
    arena_free(&mem);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bodies),
        cmocka_unit_test(test_fields),
        cmocka_unit_test(test_own_field),
        cmocka_unit_test(test_rfc_examples),
        cmocka_unit_test(test_any_cut_of_any_body),
        cmocka_unit_test(test_blocks),
        cmocka_unit_test(test_long_runs),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
