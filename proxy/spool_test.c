#include "proxy/spool.h"

#include "base/buf.h"
#include "base/bug.h"
#include "tests/t.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

enum { MEMORY = 10000, LATE_MS = 60000 };

static char folder[] = "/tmp/spool_test.XXXXXX";
static struct loop *loop;
static struct spool *spool;
static unsigned ready;

static void on_ready(void *arg)
{
    t_true(arg == &ready);
    ready++;
    loop_stop(loop);
}

static int make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) == NULL;
}

static int remove_folder(void **state)
{
    (void)state;
    return rmdir(folder); /* fails when a file was left */
}

static int open_loop(void **state)
{
    (void)state;
    loop = loop_new();
    ready = 0;
    spool = NULL;
    return 0;
}

static int close_loop(void **state)
{
    (void)state;
    spool_free(&spool);
    loop_free(&loop);
    return 0;
}

static void open_spool(void)
{
    spool_free(&spool);
    spool = spool_new(loop, MEMORY, folder, on_ready, &ready);
}

static void on_late(void *arg)
{
    (void)arg;
    t_fail("the spool never got ready");
}

static void wait_ready(void)
{
    struct timer late = {0};
    unsigned before = ready;

    timer_start(&late, loop, LATE_MS, on_late, NULL);
    while (ready == before)
        loop_run(loop);
    timer_stop(&late);
}

/* An octet that tells its place. */
static char octet(size_t at)
{
    return (char)(at * 2654435761u >> 13);
}

/* Adds n octets in pieces of different sizes, waiting for the disk where the contract says so. */
static void add(size_t n)
{
    static char bytes[70000];
    size_t piece = 1;

    while (n > 0) {
        size_t at = (size_t)spool_bytes(spool), now = piece < n ? piece : n;

        for (size_t i = 0; i < now; i++)
            bytes[i] = octet(at + i);
        spool_add(spool, str_make(bytes, now));
        memset(bytes, '?', now); /* it was copied */
        while (spool_is_busy(spool))
            wait_ready();
        n -= now;
        piece = piece * 3 % 65537;
    }
}

/* Reads to the end, or `most` octets; each is the right one. */
static enum spool_status read_back(size_t *at, size_t most)
{
    struct str piece;

    for (;;) {
        enum spool_status status = spool_read(spool, &piece);

        if (status == SPOOL_WAIT)
            wait_ready();
        else if (status != SPOOL_PIECE)
            return status;
        else {
            t_true(piece.n > 0 && piece.n <= 65536);
            for (size_t i = 0; i < piece.n; i++)
                if (piece.p[i] != octet(*at + i))
                    t_fail("octet %zu is another one", *at + i);
            *at += piece.n;
            if (*at >= most)
                return SPOOL_PIECE;
        }
    }
}

static void expect_all(size_t n)
{
    size_t at = 0;

    t_same_int(read_back(&at, SIZE_MAX), SPOOL_END);
    t_same_int(at, n);
}

/* ---- what goes in comes out ---- */

static void test_sizes(void **state)
{
    static const size_t sizes[] = {0,          1,      2,          4095,           4096,   4097,
                                   MEMORY - 1, MEMORY, MEMORY + 1, 65536 + MEMORY, 300000, 3000000};
    struct arena *mem = arena_new(0);

    (void)state;
    for (size_t i = 0; i < COUNT(sizes); i++) {
        t_case(str_fmt(mem, "%zu octets", sizes[i]), NULL);
        open_spool();
        add(sizes[i]);
        t_same_int(spool_bytes(spool), sizes[i]);
        t_same_int(spool_is_in_memory(spool), sizes[i] <= MEMORY);
        expect_all(sizes[i]);
        t_true(!spool_failed(spool));
    }
    arena_free(&mem);
}

static void test_memory_alone(void **state)
{
    struct str piece;

    (void)state;
    t_case("what fits into memory never waits, and its pieces stay", NULL);
    open_spool();
    add(MEMORY);
    t_true(spool_settles(spool));
    t_same_int(spool_read(spool, &piece), SPOOL_PIECE);
    for (struct str next; spool_read(spool, &next) != SPOOL_END;)
        continue;
    t_same_int(piece.p[0], octet(0));
    t_same_int(ready, 0);
    t_case("an empty message has its end at once", NULL);
    open_spool();
    spool_add(spool, STR(""));
    t_same_int(spool_read(spool, &piece), SPOOL_END);
    t_same_int(spool_read(spool, &piece), SPOOL_END);
}

static void test_crlf(void **state)
{
    static const struct {
        const char *first, *second;
        bool want;
    } rows[] = {
        {"", "", false},        {"a\r\n", "", true}, {"a\r", "\n", true},  {"\r\n", "", true},
        {"\n", "", false},      {"a\n", "", false},  {"\r\n", "a", false}, {"\r", "\r\n", true},
        {"a\r\n", "\n", false}, {"\n", "\r", false}, {"\r", "a\n", false},
    };

    (void)state;
    t_case("whether it ends with CRLF, however that came", "5321 4.1.1.4");
    for (size_t i = 0; i < COUNT(rows); i++) {
        open_spool();
        spool_add(spool, str_of(rows[i].first));
        spool_add(spool, str_of(rows[i].second));
        t_same_int(spool_ends_with_crlf(spool), rows[i].want);
    }
}

/* ---- the disk ---- */

static void test_busy(void **state)
{
    static char bytes[MEMORY];

    (void)state;
    t_case("while more than its memory waits for the disk it is busy, and says when it no longer is", NULL);
    open_spool();
    spool_add(spool, str_make(bytes, MEMORY));
    t_true(!spool_is_busy(spool) && spool_settles(spool));
    spool_add(spool, str_make(bytes, 1));
    t_true(spool_is_busy(spool));
    t_true(!spool_settles(spool));
    wait_ready();
    t_true(!spool_is_busy(spool));
    t_case("from then on each piece goes to the disk, and it is busy only when the disk is behind", NULL);
    spool_add(spool, str_make(bytes, MEMORY - 1));
    t_true(!spool_settles(spool)); /* with the disk */
    spool_add(spool, str_make(bytes, 1));
    t_true(!spool_is_busy(spool));
    spool_add(spool, str_make(bytes, 1));
    t_true(spool_is_busy(spool));
    wait_ready();
    t_true(!spool_is_busy(spool));
    t_case("it settles when all is written", NULL);
    while (!spool_settles(spool))
        wait_ready();
    t_same_int(spool_bytes(spool), 2 * MEMORY + 2);
    t_true(!spool_failed(spool));
}

static void test_read_behind_the_disk(void **state)
{
    (void)state;
    t_case("what the disk has not written yet is waited for", NULL);
    open_spool();
    add(MEMORY + 500000);
    expect_all(MEMORY + 500000);
}

static void test_rewind(void **state)
{
    static const size_t places[] = {1,       MEMORY - 1, MEMORY, MEMORY + 1, MEMORY + 65536, MEMORY + 200000,
                                    SIZE_MAX};
    struct str piece;
    size_t at;

    (void)state;
    open_spool();
    add(MEMORY + 300000);
    for (size_t i = 0; i < COUNT(places); i++) {
        t_case("from any place it starts over", NULL);
        at = 0;
        spool_rewind(spool);
        read_back(&at, places[i]);
        spool_rewind(spool);
        expect_all(MEMORY + 300000);
    }
    t_case("also while the disk reads", NULL);
    for (size_t before = MEMORY; before < MEMORY + 200000; before += 65536) {
        spool_rewind(spool);
        at = 0;
        read_back(&at, before);
        t_same_int(spool_read(spool, &piece), SPOOL_WAIT);
        spool_rewind(spool);
        expect_all(MEMORY + 300000);
    }
    t_case("and more than once while it does", NULL);
    spool_rewind(spool);
    at = 0;
    read_back(&at, MEMORY);
    t_same_int(spool_read(spool, &piece), SPOOL_WAIT);
    spool_rewind(spool);
    spool_rewind(spool);
    expect_all(MEMORY + 300000);
}

/* The folder's name is gone with the settings that had it. */
static void test_free_while_the_disk_works(void **state)
{
    struct str piece;

    (void)state;
    t_case("freed while the disk writes: nothing is called, nothing is left", NULL);
    for (int i = 0; i < 20; i++) {
        char *dir = strdup(folder);

        spool = spool_new(loop, MEMORY, dir, on_ready, &ready);
        spool_add(spool, str_make(folder, 1));
        for (int k = 0; k < 20; k++)
            spool_add(spool, STR("some thousand octets are needed for the disk to have something to do; "
                                 "each of these is a hundred and a few\r\n"));
        add(MEMORY);
        t_true(!spool_settles(spool));
        spool_free(&spool);
        t_true(spool == NULL);
        memset(dir, 'x', strlen(dir));
        free(dir);
    }
    t_case("freed while the disk reads", NULL);
    open_spool();
    add(MEMORY + 100);
    while (!spool_settles(spool))
        wait_ready();
    ready = 0;
    t_same_int(spool_read(spool, &piece), SPOOL_WAIT);
    spool_free(&spool);
    spool_free(&spool); /* NULL is fine */
    loop_free(&loop);   /* waits for the helper threads */
    t_same_int(ready, 0);
    loop = loop_new();
}

/* ---- a disk that refuses ---- */

static void expect_failure(void)
{
    struct str piece;
    enum spool_status status;

    while (!spool_settles(spool))
        wait_ready();
    t_true(spool_failed(spool));
    while ((status = spool_read(spool, &piece)) == SPOOL_PIECE)
        continue;
    t_same_int(status, SPOOL_ERROR);
}

static void test_no_folder(void **state)
{
    static const char *const folders[] = {"/nowhere/at/all", "/dev/null"};
    struct str piece;

    (void)state;
    for (size_t i = 0; i < COUNT(folders); i++) {
        t_case("a folder that is none", NULL);
        spool_free(&spool);
        spool = spool_new(loop, MEMORY, folders[i], on_ready, &ready);
        add(MEMORY);
        t_true(!spool_failed(spool));
        add(100000);
        expect_failure();
        t_case("what comes then is counted and dropped", NULL);
        add(3000000);
        t_same_int(spool_bytes(spool), MEMORY + 3100000);
        t_true(!spool_is_busy(spool) && spool_settles(spool));
    }
    t_case("who waits for it is told", NULL);
    spool_free(&spool);
    spool = spool_new(loop, 1, "/nowhere", on_ready, &ready);
    spool_add(spool, STR("0123456789"));
    t_same_int(spool_read(spool, &piece), SPOOL_WAIT);
    wait_ready();
    t_same_int(spool_read(spool, &piece), SPOOL_ERROR);
    t_case("but a message that fits into memory needs no folder", NULL);
    spool_free(&spool);
    spool = spool_new(loop, MEMORY, "/nowhere", on_ready, &ready);
    add(MEMORY);
    expect_all(MEMORY);
}

static void test_full_disk(void **state)
{
    struct rlimit before, small;

    (void)state;
    t_case("a disk that takes no more in the middle of a message", NULL);
    signal(SIGXFSZ, SIG_IGN);
    t_same_int(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = (struct rlimit){.rlim_cur = 100000, .rlim_max = before.rlim_max};
    t_same_int(setrlimit(RLIMIT_FSIZE, &small), 0);
    open_spool();
    add(MEMORY + 90000);
    while (!spool_settles(spool))
        wait_ready();
    t_true(!spool_failed(spool));
    add(3000000);
    expect_failure();
    t_same_int(setrlimit(RLIMIT_FSIZE, &before), 0);
}

/* The spool's file has no name; among our descriptors it can be found. */
static int find_file(void)
{
    DIR *fds = opendir("/proc/self/fd");
    int found = -1;

    t_true(fds != NULL);
    for (struct dirent *entry; (entry = readdir(fds)) != NULL;) {
        char path[64], target[256];
        ssize_t n;

        snprintf(path, sizeof(path), "/proc/self/fd/%.20s", entry->d_name);
        n = readlink(path, target, sizeof(target));
        if (n > 0 && str_starts(str_make(target, (size_t)n), str_of(folder)))
            found = atoi(entry->d_name);
    }
    closedir(fds);
    return found;
}

static void test_lost_file(void **state)
{
    size_t at = 0;

    (void)state;
    t_case("octets that cannot be read back are an error, never a shorter message", NULL);
    open_spool();
    add(MEMORY + 200000);
    read_back(&at, 65536);
    t_true(find_file() >= 0);
    t_same_int(ftruncate(find_file(), 70000), 0);
    t_same_int(read_back(&at, SIZE_MAX), SPOOL_ERROR);
    t_same_int(at, 70000);
    t_true(spool_failed(spool));
    t_case("nor is it a message after another try", NULL);
    spool_rewind(spool);
    at = 0;
    t_same_int(read_back(&at, SIZE_MAX), SPOOL_ERROR);
}

static void test_no_name(void **state)
{
    DIR *entries;
    unsigned count = 0;

    (void)state;
    t_case("nobody finds the file by a name", NULL);
    open_spool();
    add(MEMORY + 10000);
    while (!spool_settles(spool))
        wait_ready();
    entries = opendir(folder);
    while (readdir(entries) != NULL)
        count++;
    closedir(entries);
    t_same_int(count, 2); /* . and .. */
    t_true(find_file() >= 0);
    t_case("and it is closed with the spool", NULL);
    spool_free(&spool);
    t_same_int(find_file(), -1);
}

#define ON_LOOP(test) cmocka_unit_test_setup_teardown(test, open_loop, close_loop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_LOOP(test_sizes),
        ON_LOOP(test_memory_alone),
        ON_LOOP(test_crlf),
        ON_LOOP(test_busy),
        ON_LOOP(test_read_behind_the_disk),
        ON_LOOP(test_rewind),
        ON_LOOP(test_free_while_the_disk_works),
        ON_LOOP(test_no_folder),
        ON_LOOP(test_full_disk),
        ON_LOOP(test_lost_file),
        ON_LOOP(test_no_name),
    };

    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
