#include "smtp/chunk.h"

#include "base/buf.h"
#include "base/bug.h"
#include "tests/t.h"

struct outcome {
    struct buf message;
    enum smtp_data_fault fault;
    uint64_t bytes;
    bool at_line_start;
};

static void collect(struct str piece, void *arg)
{
    t_true(piece.n > 0);
    buf_add_str(arg, piece);
}

/* The message in chunks of so many octets, which arrive in pieces of so many, with the next command behind.
 */
static void decode(struct str message, size_t chunk, size_t piece, bool empty_last, size_t line_max,
                   bool binary, struct outcome *o)
{
    struct smtp_chunk_decoder d;

    buf_init(&o->message, 1 << 16);
    smtp_chunk_decoder_init(&d, line_max, binary);
    while (message.n > 0) {
        struct str octets = str_upto(message, chunk);

        message = str_from(message, octets.n);
        smtp_chunk_begin(&d, octets.n, message.n == 0 && !empty_last);
        while (octets.n > 0) {
            struct str part = str_upto(octets, piece);

            t_true(!smtp_chunk_is_complete(&d) && !d.lines.ended);
            t_same_int(smtp_chunk_decode(&d, part, collect, &o->message), part.n);
            octets = str_from(octets, part.n);
        }
        t_true(smtp_chunk_is_complete(&d));
        t_same_int(smtp_chunk_decode(&d, STR("BDAT 1 LAST\r\n"), collect, &o->message), 0);
    }
    if (!d.lines.ended)
        smtp_chunk_begin(&d, 0, true);
    t_true(d.lines.ended && smtp_chunk_is_complete(&d));
    o->fault = d.lines.fault;
    o->bytes = d.lines.bytes;
    o->at_line_start = smtp_data_is_at_line_start(&d.lines);
}

/* The slow and obvious way. */
static enum smtp_data_fault judge_slowly(struct str message, size_t line_max)
{
    size_t line = 0;

    for (size_t i = 0; i < message.n; i++) {
        char c = message.p[i], before = i > 0 ? message.p[i - 1] : '\0';

        if (before == '\r' && c != '\n')
            return SMTP_DATA_BARE_CR;
        if (++line > line_max)
            return SMTP_DATA_LONG_LINE;
        if (c == '\n' && before != '\r')
            return SMTP_DATA_BARE_LF;
        if (c == '\0')
            return SMTP_DATA_NUL;
        if (c == '\n')
            line = 0;
    }
    return message.n > 0 && message.p[message.n - 1] == '\r' ? SMTP_DATA_BARE_CR : SMTP_DATA_OK;
}

static void compare(struct str message, size_t chunk, size_t piece, bool empty_last, size_t line_max)
{
    enum smtp_data_fault want = judge_slowly(message, line_max);
    struct outcome o;

    decode(message, chunk, piece, empty_last, line_max, false, &o);
    t_same_int(o.fault, want);
    t_same_int(o.bytes, message.n);
    if (want == SMTP_DATA_OK) {
        t_same_str(buf_str(&o.message), message);
        t_same_int(o.at_line_start, message.n == 0 || message.p[message.n - 1] == '\n');
    } else {
        t_true(str_starts(message, buf_str(&o.message)));
    }
    buf_fini(&o.message);
    decode(message, chunk, piece, empty_last, line_max, true, &o);
    t_same_int(o.fault, SMTP_DATA_OK);
    t_same_int(o.bytes, message.n);
    t_same_str(buf_str(&o.message), message);
    buf_fini(&o.message);
}

/* Every string of up to six of the octets that matter, in every size of chunk and of piece. */
static void test_every_short_string(void **state)
{
    static const char octets[] = {'\r', '\n', '.', 'a', '\0'};
    char text[6];

    (void)state;
    t_case("every short message, in chunks of every size", "3030 2");
    for (size_t n = 1; n <= sizeof(text); n++) {
        size_t count = 1;

        for (size_t i = 0; i < n; i++)
            count *= COUNT(octets);
        for (size_t k = 0; k < count; k++) {
            size_t left = k;

            for (size_t i = 0; i < n; i++, left /= COUNT(octets))
                text[i] = octets[left % COUNT(octets)];
            for (size_t chunk = 1; chunk <= n; chunk++)
                for (size_t piece = 1; piece <= chunk; piece++)
                    compare(str_make(text, n), chunk, piece, k % 2 != 0, 1 + k % 7);
        }
    }
}

/* Longer ones, in which the eight octets a step of the fast scan begin and end everywhere. */
static void test_random_strings(void **state)
{
    char text[120];
    uint32_t random = 7;

    (void)state;
    t_case("long messages with rare specials", "3030 2");
    for (int round = 0; round < 20000; round++) {
        size_t n = 0;

        while (n < sizeof(text) - 2) {
            random = random * 1664525 + 1013904223;
            if (random >> 24 < 20) {
                memcpy(text + n, "\r\n", 2);
                n += 2;
            } else {
                text[n++] =
                    random >> 24 < 22 ? "\r\n"[random >> 20 & 1] : (char)(0x20 + (random >> 16 & 0xBF));
            }
        }
        compare(str_make(text, n), 1 + (random >> 8) % n, 1 + (random >> 12) % 40, (random & 1) != 0, 40);
    }
}

static const struct {
    const char *name, *rfc;
    struct str message;
    size_t chunk;
    enum smtp_data_fault fault;
} rows[] = {
    {"a message in one chunk", "3030 2", {"a\r\nb\r\n", 6}, 6, SMTP_DATA_OK},
    {"a dot alone on its line is a dot", "3030 2", {"a\r\n.\r\nb\r\n", 9}, 9, SMTP_DATA_OK},
    {"a line may end where a chunk does", "3030 2", {"ab\r\ncd\r\n", 8}, 4, SMTP_DATA_OK},
    {"CRLF may stand across a border", "3030 2", {"ab\r\ncd\r\n", 8}, 3, SMTP_DATA_OK},
    {"a message need not end with CRLF", "3030 2", {"a\r\nb", 4}, 2, SMTP_DATA_OK},
    {"a CR at a border without its LF", "5321 2.3.8", {"ab\rcd\r\n", 7}, 3, SMTP_DATA_BARE_CR},
    {"a LF at a border without its CR", "5321 2.3.8", {"ab\ncd\r\n", 7}, 2, SMTP_DATA_BARE_LF},
    {"a CR at the very end", "5321 2.3.8", {"ab\r", 3}, 3, SMTP_DATA_BARE_CR},
    {"a CR alone in the last chunk", "5321 2.3.8", {"ab\r", 3}, 2, SMTP_DATA_BARE_CR},
    {"a fake end of data", "5321 4.1.1.4", {"a\r\n.\nb\r\n", 8}, 3, SMTP_DATA_BARE_LF},
    {"a NUL", "5321 2.4", {"a\0b\r\n", 5}, 2, SMTP_DATA_NUL},
    {"a line across many chunks is one line",
     "5321 4.5.3.1.6",
     {"0123456789\r\n", 12},
     2,
     SMTP_DATA_LONG_LINE},
    {"lines of ten with CRLF", "5321 4.5.3.1.6", {"01234567\r\n01234567\r\n", 20}, 3, SMTP_DATA_OK},
    {"the first fault is kept", "5321 2.3.8", {"a\nb\rc\r\n", 7}, 1, SMTP_DATA_BARE_LF},
};

static void test_rows(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++)
        for (size_t piece = 1; piece <= rows[i].chunk; piece++)
            for (int empty_last = 0; empty_last < 2; empty_last++) {
                struct outcome o;

                t_case(rows[i].name, rows[i].rfc);
                decode(rows[i].message, rows[i].chunk, piece, empty_last != 0, 10, false, &o);
                t_same_int(o.fault, rows[i].fault);
                buf_fini(&o.message);
            }
}

static void test_sizes(void **state)
{
    struct smtp_chunk_decoder d;
    struct buf message;

    (void)state;
    buf_init(&message, 100);
    t_case("an empty message", "3030 2");
    smtp_chunk_decoder_init(&d, 10, false);
    t_true(smtp_chunk_is_complete(&d) && !d.lines.ended);
    smtp_chunk_begin(&d, 0, true);
    t_true(d.lines.ended && d.lines.fault == SMTP_DATA_OK && d.lines.bytes == 0);
    t_case("an empty chunk is no end", "3030 2");
    smtp_chunk_decoder_init(&d, 10, false);
    smtp_chunk_begin(&d, 0, false);
    t_true(smtp_chunk_is_complete(&d) && !d.lines.ended);
    t_case("an empty chunk changes nothing within CRLF", "3030 2");
    smtp_chunk_begin(&d, 1, false);
    t_same_int(smtp_chunk_decode(&d, STR("\r\n"), collect, &message), 1);
    smtp_chunk_begin(&d, 0, false);
    smtp_chunk_begin(&d, 1, true);
    t_same_int(smtp_chunk_decode(&d, STR("\nQUIT\r\n"), collect, &message), 1);
    t_true(d.lines.ended && d.lines.fault == SMTP_DATA_OK);
    t_same_str_z(buf_str(&message), "\r\n");
    t_case("the largest size there is", "3030 2");
    smtp_chunk_decoder_init(&d, 10, false);
    smtp_chunk_begin(&d, UINT64_MAX, true);
    t_same_int(smtp_chunk_decode(&d, STR("abc"), collect, &message), 3);
    t_true(!smtp_chunk_is_complete(&d) && d.left == UINT64_MAX - 3);
    t_same_int(smtp_chunk_decode(&d, (struct str){0}, collect, &message), 0);
    buf_fini(&message);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_short_string),
        cmocka_unit_test(test_random_strings),
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_sizes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
