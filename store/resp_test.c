#include "store/resp.h"

#include "base/bug.h"
#include "tests/t.h"

static void tell(struct buf *told, const struct resp *reply)
{
    static const char marks[] = {[RESP_NIL] = '0',   [RESP_STRING] = '$',  [RESP_STATUS] = '+',
                                 [RESP_ERROR] = '-', [RESP_INTEGER] = ':', [RESP_ARRAY] = '*'};

    buf_fmt(told, "%c", marks[reply->type]);
    if (reply->type == RESP_INTEGER)
        buf_fmt(told, "%lld", (long long)reply->number);
    buf_fmt(told, "%.*s", STR_ARG(reply->text));
    if (reply->type != RESP_ARRAY)
        return;
    buf_fmt(told, "[");
    for (size_t i = 0; i < reply->count; i++) {
        buf_fmt(told, i > 0 ? " " : "");
        tell(told, &reply->items[i]);
    }
    buf_fmt(told, "]");
}

/* All replies in what comes, `piece` octets at a time, and why it ends. */
static void read_all(struct str from, size_t piece, struct buf *told)
{
    struct resp_reader *reader = resp_reader_new();
    const struct resp *reply;
    struct fail fail = {0};
    int outcome = 0;

    while (from.n > 0 && outcome >= 0) {
        size_t n = from.n < piece ? from.n : piece;

        outcome = resp_feed(reader, from.p, n, &fail);
        from = str_from(from, n);
        while (outcome >= 0 && (outcome = resp_next(reader, &reply, &fail)) > 0) {
            tell(told, reply);
            buf_fmt(told, " ");
        }
    }
    if (outcome < 0)
        buf_fmt(told, "! %s", fail.text);
    resp_reader_free(&reader);
}

#define NO_REPLY "! what came is no reply of a Redis: "

static const struct {
    const char *name, *from, *want;
} rows[] = {
    {"a status, an error, an integer", "+OK\r\n-ERR no\r\n:-7\r\n", "+OK -ERR no :-7 "},
    {"strings", "$2\r\nab\r\n$0\r\n\r\n$-1\r\n", "$ab $ 0 "},
    {"an array of all kinds", "*5\r\n$1\r\na\r\n+b\r\n:3\r\n$-1\r\n*0\r\n", "*[$a +b :3 0 *[]] "},
    {"no array", "*-1\r\n", "0 "},
    {"arrays inside each other", "*2\r\n*2\r\n:1\r\n*1\r\n$1\r\nx\r\n:2\r\n:3\r\n", "*[*[:1 *[$x]] :2] :3 "},
    {"seven levels", "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n", "*[*[*[*[*[*[*[:1]]]]]]] "},
    {"half a reply is none yet", "*2\r\n$1\r\na\r\n$5\r\nab", ""},
};

static void test_replies(void **state)
{
    struct buf told;

    (void)state;
    buf_init(&told, 4096);
    for (size_t i = 0; i < COUNT(rows); i++)
        for (size_t piece = 1; piece <= strlen(rows[i].from); piece++) {
            t_case(rows[i].name, NULL);
            buf_clear(&told);
            read_all(str_of(rows[i].from), piece, &told);
            t_same_z(buf_z(&told), rows[i].want);
        }
    buf_fini(&told);
}

/* A million items are 40 MB, whatever the server says that it will send. */
static void test_hostile(void **state)
{
    static const struct {
        const char *name, *from, *why;
    } hostile[] = {
        {"more items than a reply may have", "*1000001\r\n", "a reply of too many items"},
        {"as many as hiredis can count", "*2147483647\r\n", "a reply of too many items"},
        {"eight levels", "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n", "level"},
        {"a string of a negative length", "$-2\r\n", "length out of range"},
        {"something else", "HTTP/1.1 400 Bad Request\r\n", "Protocol error"},
    };
    struct buf told;

    (void)state;
    buf_init(&told, 4096);
    for (size_t i = 0; i < COUNT(hostile); i++) {
        t_case(hostile[i].name, NULL);
        buf_clear(&told);
        read_all(str_of(hostile[i].from), 64, &told);
        if (strncmp(buf_z(&told), NO_REPLY, strlen(NO_REPLY)) != 0 ||
            strstr(buf_z(&told), hostile[i].why) == NULL)
            t_fail("it says \"%s\"", buf_z(&told));
    }
    buf_fini(&told);
}

/* Each of its arrays is within the limit, all of them together are not. */
static void test_items_in_all(void **state)
{
    static const char empty[] = "*400000\r\n", item[] = ":1\r\n";
    struct resp_reader *reader = resp_reader_new();
    const struct resp *reply;
    struct fail fail = {0};
    int outcome = resp_feed(reader, "*3\r\n", 4, &fail);

    (void)state;
    t_case("more items than a reply may have, in several arrays", NULL);
    for (int array = 0; array < 3 && outcome == 0; array++) {
        t_same_int(resp_feed(reader, empty, strlen(empty), &fail), 0);
        outcome = resp_next(reader, &reply, &fail);
        for (int i = 0; i < 400000 && outcome == 0; i++)
            outcome = resp_feed(reader, item, strlen(item), &fail);
        if (outcome == 0)
            outcome = resp_next(reader, &reply, &fail);
        t_same_int(outcome, array < 2 ? 0 : -1);
    }
    t_true(strstr(fail.text, "too many items") != NULL);
    t_case("the reader stays broken", NULL);
    t_same_int(resp_next(reader, &reply, &fail), -1);
    resp_reader_free(&reader);
}

static void test_too_long(void **state)
{
    static char bytes[1024 * 1024];
    struct resp_reader *reader = resp_reader_new();
    const struct resp *reply;
    struct fail fail = {0};
    size_t fed = 0;
    int outcome = resp_feed(reader, "$2000000000\r\n", 13, &fail);

    (void)state;
    memset(bytes, 'x', sizeof(bytes));
    while (outcome == 0 && fed <= RESP_BYTES_MAX) {
        outcome = resp_feed(reader, bytes, sizeof(bytes), &fail);
        fed += sizeof(bytes);
        if (outcome == 0)
            outcome = resp_next(reader, &reply, &fail);
    }
    t_case("a string that does not end", NULL);
    t_same_int(outcome, -1);
    t_same_z(fail.text, "a reply of more than 67108864 octets");
    resp_reader_free(&reader);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_replies), cmocka_unit_test(test_hostile),
                                       cmocka_unit_test(test_items_in_all), cmocka_unit_test(test_too_long)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
