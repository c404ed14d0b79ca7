#include "base/bug.h"
#include "cli/test_message.h"
#include "tests/t.h"

#include <stdio.h>
#include <unistd.h>

/* clang-format off */
static const struct {
    const char *name, *text;
    const char *bytes; /* NULL: refused */
    size_t fields;
    const char *body;
} rows[] = {
    {"CRLF stays as it is", "A: b\r\n c\r\n\r\nx\r\ny\r\n", "A: b\r\n c\r\n\r\nx\r\ny\r\n", 1, "x\r\ny\r\n"},
    {"LF becomes CRLF", "A: b\n c\nD: e\n\nx\n\ny\n", "A: b\r\n c\r\nD: e\r\n\r\nx\r\n\r\ny\r\n", 2,
     "x\r\n\r\ny\r\n"},
    {"so it does among CRLF", "A: b\r\n\r\nx\ny\r\n", "A: b\r\n\r\nx\r\ny\r\n", 1, "x\r\ny\r\n"},
    {"a last line without an end gets one", "A: b\r\n\r\nx", "A: b\r\n\r\nx\r\n", 1, "x\r\n"},
    {"a header alone has no body", "A: b\nC: d", "A: b\r\nC: d\r\n", 2, ""},
    {"a bare CR is kept", "A: b\r\n\r\nx\ry\r\n", "A: b\r\n\r\nx\ry\r\n", 1, "x\ry\r\n"},
    {"no header at all", "\r\nx\r\n", "\r\nx\r\n", 0, "x\r\n"},
    {"a line that is no field", "A: b\nhello\n\nx\n", NULL, 0, ""},
    {"a folded first line", " A: b\n\nx\n", NULL, 0, ""},
    {"nothing", "", "\r\n", 0, ""},
};
/* clang-format on */

static void write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "wb");

    t_true(file != NULL && fputs(text, file) >= 0 && fclose(file) == 0);
}

static void test_read(void **state)
{
    char path[] = "/tmp/smtpguard-message-XXXXXX";
    int fd = mkstemp(path);

    (void)state;
    t_true(fd >= 0);
    close(fd);
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct arena *mem = arena_new(0);
        struct test_message message;
        struct fail fail;
        int result;

        t_case(rows[i].name, "");
        write_file(path, rows[i].text);
        result = test_message_read(mem, path, &message, &fail);
        t_same_int(result, rows[i].bytes != NULL ? 0 : -1);
        if (result == 0) {
            t_same_str_z(buf_str(&message.bytes), rows[i].bytes);
            t_same_int(message.header.count, rows[i].fields);
            t_same_str_z(message.body, rows[i].body);
        } else {
            t_true(*fail.text != '\0');
        }
        test_message_fini(&message);
        arena_free(&mem);
    }
    unlink(path);
}

static void test_missing_file(void **state)
{
    struct arena *mem = arena_new(0);
    struct test_message message;
    struct fail fail;

    (void)state;
    t_case("a file that is not there is a sentence", "");
    t_same_int(test_message_read(mem, "/nonexistent/message", &message, &fail), -1);
    t_true(strstr(fail.text, "cannot be opened") != NULL);
    test_message_fini(&message);
    arena_free(&mem);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {cmocka_unit_test(test_read),
                                              cmocka_unit_test(test_missing_file)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
