#include "smtp/data.h"

#include "base/bug.h"
#include "base/buf.h"
#include "tests/t.h"

#include <jansson.h>

/* What the decoder made of some input. */
struct outcome {
    struct buf message;
    size_t pieces;
    enum smtp_data_fault fault;
    uint64_t bytes;
    size_t used;
    bool ended;
};

static void collect(struct str piece, void *arg)
{
    struct outcome *o = arg;

    t_true(piece.n > 0);
    buf_add_str(&o->message, piece);
    o->pieces++;
}

static void decode(struct str in, size_t piece, size_t line_max, struct outcome *o)
{
    struct smtp_data_decoder d;

    *o = (struct outcome){0};
    buf_init(&o->message, 1 << 20);
    smtp_data_decoder_init(&d, line_max);
    while (o->used < in.n && !d.ended) {
        struct str part = str_upto(str_from(in, o->used), piece);
        size_t used = smtp_data_decode(&d, part, collect, o);

        t_true(used == part.n || d.ended);
        o->used += used;
    }
    o->fault = d.fault;
    o->bytes = d.bytes;
    o->ended = d.ended;
}

/* The slow and obvious way: split at CRLF, look at each line, judge octet by octet. */
static void decode_slowly(struct str in, size_t line_max, struct outcome *o)
{
    struct str rest = in;

    *o = (struct outcome){0};
    buf_init(&o->message, 1 << 20);
    while (rest.n > 0 && !o->ended) {
        size_t n = 0, stuffed, from;
        bool whole = false;

        while (n < rest.n && !whole)
            whole = ++n >= 2 && rest.p[n - 2] == '\r' && rest.p[n - 1] == '\n';
        o->used += n;
        if (n == 3 && rest.p[0] == '.' && whole) {
            o->ended = true;
            break;
        }
        stuffed = rest.p[0] == '.';
        from = stuffed;
        for (size_t i = from; i < n; i++) {
            char c = rest.p[i], before = i > from ? rest.p[i - 1] : '\0';

            if (o->fault == SMTP_DATA_OK && before == '\r' && c != '\n')
                o->fault = SMTP_DATA_BARE_CR;
            if (o->fault == SMTP_DATA_OK && i - from + 1 > line_max)
                o->fault = SMTP_DATA_LONG_LINE;
            if (o->fault == SMTP_DATA_OK && c == '\n' && before != '\r')
                o->fault = SMTP_DATA_BARE_LF;
            if (o->fault == SMTP_DATA_OK && c == '\0')
                o->fault = SMTP_DATA_NUL;
            if (stuffed && n == 2 && c == '\r') /* ". CR" so far: it may yet become the end */
                continue;
            o->bytes++;
            buf_add_char(&o->message, c);
        }
        rest = str_from(rest, n);
    }
}

static void compare(struct str in, size_t piece, size_t line_max)
{
    struct outcome got, want;

    decode(in, piece, line_max, &got);
    decode_slowly(in, line_max, &want);
    t_same_int(got.fault, want.fault);
    t_same_int(got.ended, want.ended);
    t_same_int(got.used, want.used);
    t_same_int(got.bytes, want.bytes);
    if (want.fault == SMTP_DATA_OK)
        t_same_str(buf_str(&got.message), buf_str(&want.message));
    else
        t_true(str_starts(buf_str(&want.message), buf_str(&got.message)));
    buf_fini(&got.message);
    buf_fini(&want.message);
}

/* Every string of up to eight of the octets that matter; those behind a CRLF are among them. */
static void test_every_short_string(void **state)
{
    static const char octets[] = {'\r', '\n', '.', 'a', '\0'};
    char text[8];

    (void)state;
    t_case("every short input, whole and split", "5321 4.5.2");
    for (size_t n = 1; n <= sizeof(text); n++) {
        size_t count = 1;

        for (size_t i = 0; i < n; i++)
            count *= COUNT(octets);
        for (size_t k = 0; k < count; k++) {
            size_t left = k;

            for (size_t i = 0; i < n; i++, left /= COUNT(octets))
                text[i] = octets[left % COUNT(octets)];
            compare(str_make(text, n), n, 1000);
            compare(str_make(text, n), 1, 1000);
            if (n <= 6) {
                compare(str_make(text, n), 2, 1000);
                compare(str_make(text, n), 3, 1000);
                for (size_t line_max = 1; line_max < n; line_max++) {
                    compare(str_make(text, n), n, line_max);
                    compare(str_make(text, n), 1, line_max);
                }
            }
        }
    }
}

/* Longer inputs, in which the eight octets a step of the fast scan begin and end everywhere. */
static void test_random_strings(void **state)
{
    char text[200];
    uint32_t random = 1;

    (void)state;
    t_case("long inputs with rare specials", "5321 4.5.2");
    for (int round = 0; round < 20000; round++) {
        size_t n = 0;

        while (n < sizeof(text) - 4) {
            random = random * 1664525 + 1013904223;
            switch (random >> 24 & 63) {
            case 0:
                text[n++] = '\r';
                break;
            case 1:
                text[n++] = '\n';
                break;
            case 2:
                text[n++] = '\0';
                break;
            case 3:
                memcpy(text + n, "\r\n..", 4);
                n += 4;
                break;
            case 4:
                memcpy(text + n, "\r\n.", 3);
                n += 3;
                break;
            case 5:
            case 6:
            case 7:
            case 8:
                memcpy(text + n, "\r\n", 2);
                n += 2;
                break;
            case 9:
                text[n++] = '\t';
                break;
            case 10:
                text[n++] = (char)0x8D;
                break;
            default:
                text[n++] = (char)(0x20 + (random >> 16 & 0xBF));
                break;
            }
        }
        compare(str_make(text, n), n, 60);
        compare(str_make(text, n), 1 + (random >> 8) % 40, 60);
    }
}

static const struct {
    const char *name, *rfc, *in, *message;
    enum smtp_data_fault fault;
    const char *left; /* what follows the end; NULL: it has not ended */
} rows[] = {
    {"a message", "5321 4.1.1.4", "a\r\n.\r\nQUIT\r\n", "a\r\n", SMTP_DATA_OK, "QUIT\r\n"},
    {"an empty message", "5321 4.1.1.4", ".\r\n", "", SMTP_DATA_OK, ""},
    {"a doubled dot is one", "5321 4.5.2", "..\r\n.\r\n", ".\r\n", SMTP_DATA_OK, ""},
    {"a dot in front of text goes", "5321 4.5.2", ".a\r\n.\r\n", "a\r\n", SMTP_DATA_OK, ""},
    {"two doubled dots in turn", "5321 4.5.2", "..\r\n..\r\n.\r\n", ".\r\n.\r\n", SMTP_DATA_OK, ""},
    {"a dot within a line stays", "5321 4.5.2", "a.\r\nb.c\r\n.\r\n", "a.\r\nb.c\r\n", SMTP_DATA_OK, ""},
    {"LF dot LF is no end", "5321 4.1.1.4", "a\n.\nb\r\n.\r\n", NULL, SMTP_DATA_BARE_LF, ""},
    {"LF dot CRLF is no end", "5321 4.1.1.4", "a\n.\r\nb\r\n.\r\n", NULL, SMTP_DATA_BARE_LF, ""},
    {"CRLF dot LF is no end", "5321 4.1.1.4", "a\r\n.\nb\r\n.\r\n", NULL, SMTP_DATA_BARE_LF, ""},
    {"CRLF dot CR is no end", "5321 4.1.1.4", "a\r\n.\rb\r\n.\r\n", NULL, SMTP_DATA_BARE_CR, ""},
    {"CRLF dot CR CRLF is no end", "5321 4.1.1.4", "a\r\n.\r\r\n.\r\n", NULL, SMTP_DATA_BARE_CR, ""},
    {"CR dot CR is no end", "5321 4.1.1.4", "a\r.\rb\r\n.\r\n", NULL, SMTP_DATA_BARE_CR, ""},
    {"CR CRLF dot CRLF ends", "5321 4.1.1.4", "a\r\r\n.\r\nx", NULL, SMTP_DATA_BARE_CR, "x"},
    {"the first fault is kept", "5321 2.3.8", "a\nb\rc\r\n.\r\n", NULL, SMTP_DATA_BARE_LF, ""},
    {"no end yet", "5321 4.1.1.4", "a\r\n.\r", "a\r\n", SMTP_DATA_OK, NULL},
};

static void test_rows(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct str in = str_of(rows[i].in);

        t_case(rows[i].name, rows[i].rfc);
        for (size_t piece = 1; piece <= in.n; piece++) {
            struct outcome o;

            decode(in, piece, 1000, &o);
            t_same_int(o.fault, rows[i].fault);
            t_same_int(o.ended, rows[i].left != NULL);
            if (rows[i].left != NULL)
                t_same_str_z(str_from(in, o.used), rows[i].left);
            if (rows[i].message != NULL)
                t_same_str_z(buf_str(&o.message), rows[i].message);
            buf_fini(&o.message);
        }
    }
}

static void test_limits(void **state)
{
    struct outcome o;

    (void)state;
    t_case("a line may be as long as line_max with its CRLF", "5321 4.5.3.1.6");
    decode(STR("12345678\r\n.\r\n"), 100, 10, &o);
    t_same_int(o.fault, SMTP_DATA_OK);
    buf_fini(&o.message);
    t_case("and not longer, but the end is found", "5321 4.5.3.1.6");
    decode(STR("123456789\r\n.\r\nx"), 100, 10, &o);
    t_same_int(o.fault, SMTP_DATA_LONG_LINE);
    t_true(o.ended);
    t_same_int(o.used, 14);
    buf_fini(&o.message);
    t_case("the transparency dot does not count", "5321 4.5.3.1.6");
    decode(STR("..2345678\r\n.\r\n"), 100, 10, &o);
    t_same_int(o.fault, SMTP_DATA_OK);
    buf_fini(&o.message);
    t_case("many lines pass in one piece", NULL);
    decode(STR("a\r\nb\r\n\r\nc.\r\nd\r\n.\r\n"), 100, 10, &o);
    t_same_int(o.pieces, 1);
    buf_fini(&o.message);
}

static void test_after_the_end(void **state)
{
    struct smtp_data_decoder d;
    struct outcome o = {0};

    (void)state;
    t_case("behind the end nothing belongs to the message", "5321 4.1.1.4");
    buf_init(&o.message, 100);
    smtp_data_decoder_init(&d, 100);
    t_same_int(smtp_data_decode(&d, (struct str){0}, collect, &o), 0);
    t_same_int(smtp_data_decode(&d, STR(".\r\nQUIT\r\n"), collect, &o), 3);
    t_same_int(smtp_data_decode(&d, STR("QUIT\r\n"), collect, &o), 0);
    t_same_int(o.pieces, 0);
    buf_fini(&o.message);
}

static void encode(struct str message, size_t piece, struct buf *out)
{
    struct smtp_data_encoder e = {.at_line_start = true};

    while (message.n > 0) {
        struct str part = str_upto(message, piece), sent;
        bool dot;

        message = str_from(message, part.n);
        while (smtp_data_encode(&e, &part, &dot, &sent)) {
            t_true(sent.n > 0);
            if (dot)
                buf_add_char(out, '.');
            buf_add_str(out, sent);
        }
    }
    buf_add_z(out, ".\r\n");
}

static void test_round_trip(void **state)
{
    static const char *const messages[] = {
        "",
        "a\r\n",
        ".\r\n",
        "..\r\n",
        ".\r\n.\r\n",
        "\r\n.\r\n",
        ".a\r\n..b\r\nc.\r\n.d.\r\n\r\n",
        "a.b\r\n.\r\n...\r\n",
        "\r\n\r\n",
    };

    (void)state;
    for (size_t i = 0; i < COUNT(messages); i++) {
        t_case("what was stuffed is unstuffed", "5321 4.5.2");
        for (size_t piece = 1; piece <= strlen(messages[i]) + 1; piece++) {
            struct outcome o;
            struct buf wire;

            buf_init(&wire, 1000);
            encode(str_of(messages[i]), piece, &wire);
            decode(buf_str(&wire), piece, 1000, &o);
            t_same_int(o.fault, SMTP_DATA_OK);
            t_true(o.ended && o.used == wire.n);
            t_same_str_z(buf_str(&o.message), messages[i]);
            buf_fini(&o.message);
            buf_fini(&wire);
        }
    }
}

/* Of the fake ends of data in the field's scanner, none ends a message, and each is a fault. */
static void test_smuggling(void **state)
{
    struct arena *mem = arena_new(0);
    json_t *suite, *test;
    size_t i, tried = 0;

    (void)state;
    if (t_conformance() == NULL) {
        arena_free(&mem);
        t_skip("no conformance suites");
    }
    suite =
        json_load_file(str_fmt(mem, "%s/smtp-smuggling/cases.json", t_conformance()), JSON_ALLOW_NUL, NULL);
    json_array_foreach(json_object_get(suite, "cases"), i, test)
    {
        json_t *bytes = json_object_get(test, "bytes");
        struct str before = STR("Subject: a\r\n\r\ntext"), after = STR("MAIL FROM:<x@y.example>\r\n");
        struct outcome o;
        struct buf in;

        if (bytes == NULL)
            continue;
        t_case(json_string_value(json_object_get(test, "id")), "5321 4.1.1.4");
        buf_init(&in, 10000);
        buf_add_str(&in, before);
        buf_add(&in, json_string_value(bytes), json_string_length(bytes));
        buf_add_str(&in, after);
        buf_add_z(&in, ".\r\n");
        decode(buf_str(&in), in.n, 1000, &o);
        t_true(o.ended && o.used == in.n);
        t_true(o.fault == SMTP_DATA_BARE_LF || o.fault == SMTP_DATA_BARE_CR || o.fault == SMTP_DATA_NUL);
        buf_fini(&in);
        buf_fini(&o.message);
        tried++;
    }
    t_true(tried > 5);
    json_decref(suite);
    arena_free(&mem);
}

static void test_names(void **state)
{
    (void)state;
    t_case("faults have names", NULL);
    t_same_z(smtp_data_fault_name(SMTP_DATA_BARE_LF), "bare LF");
    t_same_z(smtp_data_fault_name(SMTP_DATA_LONG_LINE), "line too long");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_short_string),
        cmocka_unit_test(test_random_strings),
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_after_the_end),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_smuggling),
        cmocka_unit_test(test_names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
