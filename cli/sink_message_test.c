#include "cli/sink_message.h"

#include "tests/t.h"

#include <dirent.h>
#include <stdio.h>
#include <unistd.h>

static char maildir[] = "/tmp/sink_test.XXXXXX";

static int make(void **state)
{
    struct fail fail = {""};

    (void)state;
    t_true(mkdtemp(maildir) != NULL);
    if (sink_maildir_make(maildir, &fail) != 0)
        t_fail("%s", fail.text);
    return sink_maildir_make(maildir, &fail); /* what is there already is fine */
}

static int remove_all(void **state)
{
    static const char *const parts[] = {"/tmp", "/new", "/cur", ""};
    char path[100];

    (void)state;
    for (size_t i = 0; i < sizeof(parts) / sizeof(*parts); i++) {
        snprintf(path, sizeof(path), "%s%s", maildir, parts[i]);
        if (rmdir(path) != 0)
            t_fail("%s is not empty", path);
    }
    return 0;
}

/* The one file in a folder of the maildir, read and removed; NULL when there is none. */
static const char *only_file(struct arena *mem, const char *part)
{
    char path[400];
    struct dirent *entry;
    const char *text = NULL;
    DIR *folder;

    snprintf(path, sizeof(path), "%s/%s", maildir, part);
    folder = opendir(path);
    t_true(folder != NULL);
    while ((entry = readdir(folder)) != NULL) {
        if (entry->d_name[0] == '.')
            continue;
        t_true(text == NULL);
        snprintf(path, sizeof(path), "%s/%s/%s", maildir, part, entry->d_name);
        text = t_read_file(mem, path).p;
        unlink(path);
    }
    closedir(folder);
    return text;
}

static const struct {
    const char *name, *wire, *kept, *rest; /* kept NULL: no end came */
} rows[] = {
    {"a message up to its end", "a\r\nb\r\n.\r\nQUIT\r\n", "a\r\nb\r\n", "QUIT\r\n"},
    {"an empty one", ".\r\n", "", ""},
    {"one dot of two goes", "..\r\n...a\r\n.\r\n", ".\r\n..a\r\n", ""},
    {"a dot before text goes", ".a\r\n.\r\n", "a\r\n", ""},
    {"a dot within a line stays", "a.\r\nb\r\n.\r\n", "a.\r\nb\r\n", ""},
    {"LF.LF is no end", "a\n.\nb\r\n.\r\n", "a\n.\nb\r\n", ""},
    {"CRLF.LF is no end", "a\r\n.\nb\r\n.\r\n", "a\r\n\nb\r\n", ""},
    {"LF.CRLF is no end", "a\n.\r\nb\r\n.\r\n", "a\n.\r\nb\r\n", ""},
    {"CR.CR is no end", "a\r.\rb\r\n.\r\n", "a\r.\rb\r\n", ""},
    {"CRLF.CR is no end", "a\r\n.\rb\r\n.\r\n", "a\r\n\rb\r\n", ""},
    {"CRLF.CRCRLF is no end", "a\r\n.\r\r\nb\r\n.\r\n", "a\r\n\r\r\nb\r\n", ""},
    {"no end yet", "a\r\n.\r", NULL, ""},
};

static void check_row(size_t row, size_t step)
{
    struct str wire = str_of(rows[row].wire);
    struct arena *mem = arena_new(0);
    struct sink_message *message;
    struct fail fail = {""};
    bool ended = false;

    message = sink_message_new(maildir, STR("X-Sink-Helo: h\n"), &fail);
    if (message == NULL)
        t_fail("%s", fail.text);
    while (wire.n > 0 && !ended)
        wire = str_from(wire, sink_message_add(message, str_upto(wire, step), &ended));
    t_same_str_z(wire, rows[row].rest);
    t_true(ended == (rows[row].kept != NULL));
    t_true(!sink_message_is_too_big(message));
    if (ended) {
        t_same_int(sink_message_keep(message, &fail), 0);
        sink_message_free(&message);
        t_same_z(only_file(mem, "new"), str_fmt(mem, "X-Sink-Helo: h\n%s", rows[row].kept));
    }
    sink_message_free(&message);
    t_true(only_file(mem, "tmp") == NULL);
    arena_free(&mem);
}

static void test_messages(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        t_case(rows[i].name, "5321 4.5.2");
        check_row(i, 1000);
        check_row(i, 1);
        check_row(i, 2);
        check_row(i, 3);
    }
}

static void test_no_folder(void **state)
{
    struct fail fail = {""};

    (void)state;
    t_case("a maildir that cannot be written is a sentence", NULL);
    t_true(sink_message_new("/nonexistent", STR(""), &fail) == NULL);
    t_true(strstr(fail.text, "No such file or directory") != NULL);
    t_true(sink_maildir_make("/nonexistent/a", &fail) != 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_messages), cmocka_unit_test(test_no_folder)};

    return cmocka_run_group_tests(tests, make, remove_all);
}
