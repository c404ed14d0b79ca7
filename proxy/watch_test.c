/*
 * proxy/watch_test.c - a file that is being written is left alone
 */
#include "proxy/watch.h"

#include "tests/t.h"

#include <stdio.h>
#include <unistd.h>

static void write_to(const char *path, const char *how, const char *text)
{
    FILE *file = fopen(path, how);

    t_true(file != NULL && fputs(text, file) >= 0 && fclose(file) == 0);
}

static void test_marks(void **state)
{
    char path[] = "/tmp/watch_test.XXXXXX", other[sizeof(path) + 4];
    int fd = mkstemp(path);
    uint64_t before;

    (void)state;
    t_true(fd >= 0);
    close(fd);
    snprintf(other, sizeof(other), "%s.new", path);
    t_true(watch_mark(NULL) == 0 && watch_mark("") == 0 && watch_mark(other) == 0);
    before = watch_mark(path);
    t_true(before != 0 && watch_mark(path) == before);
    t_case("what is written to a file changes its mark, and so does another file in its place", NULL);
    write_to(path, "a", "bob@example.net\n");
    t_true(watch_mark(path) != before);
    before = watch_mark(path);
    write_to(other, "w", "bob@example.net\n");
    t_same_int(rename(other, path), 0);
    t_true(watch_mark(path) != before);
    unlink(path);
}

static void test_looks(void **state)
{
    struct watch watch = {.read = 1, .seen = 1};

    (void)state;
    t_case("nothing has changed", NULL);
    t_true(!watch_is_due(&watch, 1));
    t_case("a change counts at the second look", NULL);
    t_true(!watch_is_due(&watch, 2));
    t_true(watch_is_due(&watch, 2));
    t_case("and again, until it has been read", NULL);
    t_true(watch_is_due(&watch, 2));
    watch.read = 2;
    t_true(!watch_is_due(&watch, 2));
    t_case("while it is being written it does not", NULL);
    for (uint64_t mark = 3; mark < 9; mark++)
        t_true(!watch_is_due(&watch, mark));
    t_true(watch_is_due(&watch, 8));
    t_case("one that is as it was need not be read", NULL);
    t_true(!watch_is_due(&watch, 2));
    t_true(!watch_is_due(&watch, 2));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_marks), cmocka_unit_test(test_looks)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
