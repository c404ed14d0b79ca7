#include "smtp/reply.h"

#include "base/bug.h"
#include "tests/t.h"

static const struct {
    const char *name, *rfc;
    int code;
    const char *enhanced, *text, *want;
} written[] = {
    {"one line", "5321 4.2", 250, "2.1.0", "Ok", "250 2.1.0 Ok\r\n"},
    {"no enhanced code", "5321 4.2", 220, "", "mx ESMTP", "220 mx ESMTP\r\n"},
    {"a missing one is none", "5321 4.2", 220, NULL, "mx ESMTP", "220 mx ESMTP\r\n"},
    {"no text", "5321 4.2", 250, "2.0.0", "", "250 2.0.0\r\n"},
    {"neither", "5321 4.2", 250, "", "", "250 \r\n"},
    {"several lines, each with the enhanced code", "2034 4", 550, "5.7.1", "No\nnever",
     "550-5.7.1 No\r\n550 5.7.1 never\r\n"},
    {"an empty line in between", "5321 4.2.1", 250, "", "a\n\nb", "250-a\r\n250-\r\n250 b\r\n"},
    {"nothing from outside becomes a line of its own", "5321 2.3.8", 550, "", "a\r250 b\tc\x7F\xC3\xBC",
     "550 a?250 b\tc???\r\n"},
};

static void test_write(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(written); i++) {
        struct buf out;

        buf_init(&out, 4096);
        t_case(written[i].name, written[i].rfc);
        smtp_reply_write(&out, written[i].code, written[i].enhanced, str_of(written[i].text));
        t_same_str_z(buf_str(&out), written[i].want);
        buf_fini(&out);
    }
}

static void test_write_limits(void **state)
{
    char text[2000];
    struct buf out;

    (void)state;
    memset(text, 'x', sizeof(text));
    t_case("a reply line has 512 octets at the most", "5321 4.5.3.1.5");
    buf_init(&out, 1024);
    smtp_reply_write(&out, 250, "2.0.0", str_make(text, sizeof(text)));
    t_same_int(out.n, 512);
    t_same_str_z(str_from(buf_str(&out), 510), "\r\n");
    t_case("a reply that does not fit says so", NULL);
    smtp_reply_write(&out, 250, "2.0.0", str_make(text, sizeof(text)));
    smtp_reply_write(&out, 250, "2.0.0", str_make(text, sizeof(text)));
    t_true(out.overflow && out.n <= 1024);
    buf_fini(&out);
    t_case("NUL is not printable", NULL);
    buf_init(&out, 1024);
    smtp_reply_write(&out, 250, "", STR("a\0b"));
    t_same_str_z(buf_str(&out), "250 a?b\r\n");
    buf_fini(&out);
}

enum { MORE = -1, GARBAGE = -2 };

static const struct {
    const char *name, *rfc, *bytes;
    int code; /* or MORE, GARBAGE */
    const char *enhanced, *text;
} read_rows[] = {
    {"one line", "5321 4.2", "250 2.1.0 Ok\r\n", 250, "2.1.0", "Ok"},
    {"no enhanced code", "5321 4.2", "220 mx.example ESMTP\r\n", 220, "", "mx.example ESMTP"},
    {"only a code", "5321 4.2", "250\r\n", 250, "", ""},
    {"a code and a space", "5321 4.2", "250 \r\n", 250, "", ""},
    {"only codes", "2034 4", "250 2.0.0\r\n", 250, "2.0.0", ""},
    {"several lines", "5321 4.2.1", "250-mx\r\n250-SIZE 100\r\n250 PIPELINING\r\n", 250, "",
     "mx\nSIZE 100\nPIPELINING"},
    {"each with the enhanced code", "2034 4", "550-5.7.1 No\r\n550 5.7.1 never\r\n", 550, "5.7.1",
     "No\nnever"},
    {"a second enhanced code stays in the text", "2034 4", "550-5.7.1 No\r\n550 5.1.1 gone\r\n", 550, "5.7.1",
     "No\n5.1.1 gone"},
    {"an enhanced code in the second line only", "2034 4", "550-No\r\n550 5.1.1 gone\r\n", 550, "",
     "No\n5.1.1 gone"},
    {"an empty last line", "5321 4.2.1", "250-a\r\n250\r\n", 250, "", "a\n"},
    {"an enhanced code of another class is text", "2034 4", "550 4.7.1 later\r\n", 550, "", "4.7.1 later"},
    {"354 has none", "2034 4", "354 3.0.0 go\r\n", 354, "", "3.0.0 go"},
    {"a detail of four digits is text", "3463 2", "250 2.1.1234 x\r\n", 250, "", "2.1.1234 x"},
    {"a version is no enhanced code", "3463 2", "220 2.1 ready\r\n", 220, "", "2.1 ready"},
    {"letters behind the code are text", "3463 2", "250 2.1.0x\r\n", 250, "", "2.1.0x"},
    {"the longest enhanced code", "3463 2", "250 2.123.456 x\r\n", 250, "2.123.456", "x"},
    {"octets beyond ASCII are kept", "6531 3.7.4.1", "550 \xC3\xBC\r\n", 550, "", "\xC3\xBC"},
    {"half a line", "5321 4.2", "250 O", MORE, NULL, NULL},
    {"a CR without its LF yet", "5321 4.2", "250 Ok\r", MORE, NULL, NULL},
    {"half a reply", "5321 4.2.1", "250-mx\r\n250-x\r\n", MORE, NULL, NULL},
    {"999", "5321 4.2", "999 what\r\n", GARBAGE, NULL, NULL},
    {"1yz", "5321 4.2", "120 soon\r\n", GARBAGE, NULL, NULL},
    {"600", "5321 4.2", "600 what\r\n", GARBAGE, NULL, NULL},
    {"a code of two digits", "5321 4.2", "25 what\r\n", GARBAGE, NULL, NULL},
    {"a code of four digits", "5321 4.2", "2500 what\r\n", GARBAGE, NULL, NULL},
    {"letters", "5321 4.2", "hello\r\n", GARBAGE, NULL, NULL},
    {"an empty line", "5321 4.2", "\r\n", GARBAGE, NULL, NULL},
    {"two codes in one reply", "5321 4.2.1", "250-mx\r\n550 no\r\n", GARBAGE, NULL, NULL},
    {"a bare LF", "5321 2.3.8", "250 Ok\n", GARBAGE, NULL, NULL},
    {"a bare CR", "5321 2.3.8", "250 O\rk\r\n", GARBAGE, NULL, NULL},
    {"a code and a bare LF", "5321 2.3.8", "250\n", GARBAGE, NULL, NULL},
    {"no space behind the code", "5321 4.2", "250Ok\r\n", GARBAGE, NULL, NULL},
};

static int read_in_pieces(struct str bytes, size_t piece, struct smtp_reply_reader *reader,
                          struct smtp_reply *reply)
{
    enum smtp_reply_status status = SMTP_REPLY_MORE;

    while (bytes.n > 0 && status == SMTP_REPLY_MORE) {
        struct str in = str_upto(bytes, piece);
        size_t n = in.n;

        status = smtp_reply_read(reader, &in, reply);
        t_true(status == SMTP_REPLY_GARBAGE || status == SMTP_REPLY_READY || in.n == 0);
        bytes = str_from(bytes, n - in.n);
    }
    if (status == SMTP_REPLY_READY)
        t_same_int(bytes.n, 0);
    return status == SMTP_REPLY_READY ? reply->code : status == SMTP_REPLY_MORE ? MORE : GARBAGE;
}

static void test_read(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(read_rows); i++) {
        t_case(read_rows[i].name, read_rows[i].rfc);
        for (size_t piece = 1; piece <= strlen(read_rows[i].bytes); piece++) {
            struct smtp_reply_reader reader;
            struct smtp_reply reply;

            smtp_reply_reader_init(&reader);
            t_same_int(read_in_pieces(str_of(read_rows[i].bytes), piece, &reader, &reply), read_rows[i].code);
            if (read_rows[i].text != NULL) {
                t_same_str_z(reply.enhanced, read_rows[i].enhanced);
                t_same_str_z(reply.text, read_rows[i].text);
            }
            smtp_reply_reader_fini(&reader);
        }
    }
}

static void test_read_several(void **state)
{
    struct smtp_reply_reader reader;
    struct smtp_reply reply;
    struct str in = STR("250 2.1.0 Ok\r\n250-2.1.5 a\r\n250 2.1.5 b\r\n354 go\r\n25");

    (void)state;
    t_case("pipelined replies come one by one", "2920 3.1");
    smtp_reply_reader_init(&reader);
    t_same_int(smtp_reply_read(&reader, &in, &reply), SMTP_REPLY_READY);
    t_same_str_z(reply.enhanced, "2.1.0");
    t_same_int(smtp_reply_read(&reader, &in, &reply), SMTP_REPLY_READY);
    t_same_str_z(reply.text, "a\nb");
    t_same_int(smtp_reply_read(&reader, &in, &reply), SMTP_REPLY_READY);
    t_same_int(reply.code, 354);
    t_same_int(reply.enhanced.n, 0);
    t_same_int(smtp_reply_read(&reader, &in, &reply), SMTP_REPLY_MORE);
    t_same_int(in.n, 0);
    t_case("behind garbage there is nothing but garbage", "5321 4.2");
    in = STR("x\r\n250 Ok\r\n");
    t_same_int(smtp_reply_read(&reader, &in, &reply), SMTP_REPLY_GARBAGE);
    in = STR("250 Ok\r\n");
    t_same_int(smtp_reply_read(&reader, &in, &reply), SMTP_REPLY_GARBAGE);
    smtp_reply_reader_fini(&reader);
}

/* A reply of `lines` lines of `octets` octets each, CRLF included. */
static int read_big(size_t lines, size_t octets)
{
    struct smtp_reply_reader reader;
    struct smtp_reply reply;
    struct arena *mem = arena_new(0);
    char *bytes = arena_alloc(mem, lines * octets);
    int got;

    memset(bytes, 'x', lines * octets);
    for (size_t i = 0; i < lines; i++) {
        memcpy(bytes + i * octets, i + 1 < lines ? "250-" : "250 ", 4);
        memcpy(bytes + (i + 1) * octets - 2, "\r\n", 2);
    }
    smtp_reply_reader_init(&reader);
    got = read_in_pieces(str_make(bytes, lines * octets), 1500, &reader, &reply);
    if (got == 250 && octets > SMTP_REPLY_LINE)
        t_same_int(reply.text.n, lines * (SMTP_REPLY_LINE - 4 + 1) - 1);
    smtp_reply_reader_fini(&reader);
    arena_free(&mem);
    return got;
}

static void test_read_limits(void **state)
{
    (void)state;
    t_case("lines as long as they may be, as many as there may be", NULL);
    t_same_int(read_big(SMTP_REPLY_LINES, SMTP_LONG_LINE), 250);
    t_case("a line too long", NULL);
    t_same_int(read_big(1, SMTP_LONG_LINE + 1), GARBAGE);
    t_case("a line too many", NULL);
    t_same_int(read_big(SMTP_REPLY_LINES + 1, 10), GARBAGE);
}

static void test_round_trip(void **state)
{
    struct smtp_reply_reader reader;
    struct smtp_reply reply;
    struct buf out;
    struct str in;

    (void)state;
    t_case("what is written is read", "5321 4.2");
    for (size_t i = 0; i < COUNT(written); i++) {
        buf_init(&out, 4096);
        smtp_reply_reader_init(&reader);
        smtp_reply_write(&out, written[i].code, written[i].enhanced, str_of(written[i].text));
        in = buf_str(&out);
        t_same_int(smtp_reply_read(&reader, &in, &reply), SMTP_REPLY_READY);
        t_same_int(reply.code, written[i].code);
        t_same_str(reply.enhanced, str_of(written[i].enhanced));
        t_same_int(reply.text.n, strlen(written[i].text));
        smtp_reply_reader_fini(&reader);
        buf_fini(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_write),       cmocka_unit_test(test_write_limits),
        cmocka_unit_test(test_read),        cmocka_unit_test(test_read_several),
        cmocka_unit_test(test_read_limits), cmocka_unit_test(test_round_trip),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
