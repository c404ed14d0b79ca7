/*
 * record/record_test.c - what the keeper writes, the reader finds: across hours, sizes, kills and broken disks
 */
#include "base/log.h"
#include "base/metric.h"
#include "record/files.h"
#include "record/keeper.h"
#include "record/reader.h"
#include "tests/t.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { NOON = 1764417600 /* 2025-11-29T12:00:00Z */, PATIENCE_MS = 20000 };

static const struct keeper_settings for_a_week = {.keep_ms = 7 * 86400 * 1000LL, .bytes_max = 1 << 24};
static char parent[] = "/tmp/record_test.XXXXXX";
static struct arena *memory;
static const char *folder;

/* ---- the bed ---- */

/* The linker puts this in log_note's place (Makefile: --wrap). */
void __wrap_log_note(enum log_level level, const char *event, const char *format, ...);

static atomic_int alarms, all_clears;

void __wrap_log_note(enum log_level level, const char *event, const char *format, ...)
{
    (void)format;
    alarms += level == LOG_ERROR && strcmp(event, "history-unwritten") == 0;
    all_clears += level == LOG_INFO && strcmp(event, "history-written") == 0;
}

/* Two threads look at it. */
static atomic_llong now_unix;

static int64_t unix_s(const struct clock *clock)
{
    (void)clock;
    return now_unix;
}

static const struct clock clock_of_test = {.unix_s = unix_s};

static int make_parent(void **state)
{
    (void)state;
    signal(SIGXFSZ, SIG_IGN);
    return mkdtemp(parent) == NULL;
}

static int remove_parent(void **state)
{
    (void)state;
    return rmdir(parent);
}

static int begin(void **state)
{
    (void)state;
    memory = arena_new(0);
    folder = record_folder(memory, str_fmt(memory, "%s/state.db", parent));
    now_unix = NOON;
    alarms = all_clears = 0;
    return 0;
}

static const char *path_of(const char *name)
{
    return str_fmt(memory, "%s/%s", folder, name);
}

static int end(void **state)
{
    DIR *dir = opendir(folder);
    struct dirent *entry;

    (void)state;
    while (dir != NULL && (entry = readdir(dir)) != NULL)
        unlink(path_of(entry->d_name));
    if (dir != NULL) {
        closedir(dir);
        rmdir(folder);
    }
    arena_free(&memory);
    return 0;
}

static void nap(void)
{
    static const struct timespec a_little = {0, 2 * 1000 * 1000};

    nanosleep(&a_little, NULL);
}

#define WAIT_UNTIL(condition)                                                                                \
    for (int waited = 0; !(condition); waited++, nap())                                                      \
    t_true(waited < PATIENCE_MS / 2)

static int64_t lost(void)
{
    return metric_value(metric_counter("smtpguard_history_records_dropped_total", "", ""));
}

static int64_t written(void)
{
    return metric_value(metric_counter("smtpguard_history_records_total", "", ""));
}

static struct keeper *start(const struct keeper_settings *settings)
{
    return keeper_start(folder, settings, &clock_of_test);
}

/* A record with this number, of about `bytes`. */
static struct str record(int number, size_t bytes)
{
    char *text = arena_alloc(memory, bytes + 64);
    int n = sprintf(text, "{\"n\":%d,\"fill\":\"", number);

    memset(text + n, 'x', bytes);
    memcpy(text + (size_t)n + bytes, "\"}", 2);
    return str_make(text, (size_t)n + bytes + 2);
}

static void add(struct keeper *keeper, int number)
{
    keeper_add(keeper, record(number, 0));
}

static void add_and_wait(struct keeper *keeper, int number)
{
    int64_t before = written() + lost();

    add(keeper, number);
    WAIT_UNTIL(written() + lost() > before);
}

struct told {
    struct buf numbers;
    int enough;
};

static bool on_record(struct str line, void *arg)
{
    struct told *told = arg;

    buf_fmt(&told->numbers, "%s%d", told->numbers.n > 0 ? " " : "", atoi(line.p + strlen("{\"n\":")));
    return --told->enough != 0;
}

/* The numbers of all records that are found, or of the first few. */
static const char *found(int64_t since_unix, enum record_order order, int enough)
{
    struct told told = {.enough = enough};
    const char *numbers;
    struct fail fail = {""};

    buf_init(&told.numbers, 1 << 20);
    t_same_int(record_each(folder, since_unix, order, on_record, &told, &fail), 0);
    numbers = str_dup(memory, buf_str(&told.numbers));
    buf_fini(&told.numbers);
    return numbers;
}

static const char *all(void)
{
    return found(0, RECORD_OLDEST_FIRST, -1);
}

static size_t count_files(void)
{
    struct record_files files;

    t_same_int(record_files_list(memory, folder, &files, NULL), 0);
    return files.count;
}

static void put_file(const char *name, const char *text)
{
    FILE *file = fopen(path_of(name), "w");

    t_true(file != NULL);
    fputs(text, file);
    fclose(file);
}

/* ---- names ---- */

static void test_names(void **state)
{
    static const char *const others[] = {"2025-11-29T12.000.json",
                                         "2025-11-29T12.000.jsonl~",
                                         "2025-13-29T12.000.jsonl",
                                         "2025-11-29T24.000.jsonl",
                                         "x2025-11-29T12.000.jsonl",
                                         "2025-11-29T12.0.jsonl",
                                         ".."};
    char name[RECORD_FILE_NAME_MAX];
    int64_t hour = 0;
    unsigned part = 0;

    (void)state;
    t_case("a name says its hour", NULL);
    record_file_name(NOON + 3599, 7, name);
    t_same_z(name, "2025-11-29T12.007.jsonl");
    t_true(record_file_parse(name, &hour, &part));
    t_same_int(hour, NOON);
    t_same_int(part, 7);
    for (size_t i = 0; i < sizeof(others) / sizeof(*others); i++) {
        t_case(others[i], NULL);
        t_true(!record_file_parse(others[i], &hour, &part));
    }
    t_case("the folder lies beside the store's file", NULL);
    t_same_z(record_folder(memory, "/var/lib/smtpguard/state.db"), "/var/lib/smtpguard/history");
    t_same_z(record_folder(memory, "state.db"), "history");
}

/* ---- writing and reading ---- */

/* Has this process a file of the folder open? */
static bool is_one_open(void)
{
    char name[32], path[4096];

    for (int fd = 0; fd < 100; fd++) {
        ssize_t n;

        snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
        n = readlink(name, path, sizeof(path));
        if (n > 0 && str_starts(str_make(path, (size_t)n), str_of(folder)))
            return true;
    }
    return false;
}

static void test_round_trip(void **state)
{
    const mode_t before = umask(077); /* as the daemon's */
    struct keeper *keeper = start(&for_a_week);
    struct stat st;

    (void)state;
    t_case("records come back in their order, either way", NULL);
    t_true(keeper_wants(keeper) && !keeper_wants(NULL));
    for (int i = 1; i <= 5; i++)
        add(keeper, i);
    keeper_stop(&keeper);
    umask(before);
    t_same_z(all(), "1 2 3 4 5");
    t_same_z(found(0, RECORD_NEWEST_FIRST, -1), "5 4 3 2 1");
    t_same_z(found(0, RECORD_NEWEST_FIRST, 2), "5 4");
    t_case("a group may read them, nobody else", NULL);
    t_same_int(stat(path_of("2025-11-29T12.000.jsonl"), &st), 0);
    t_same_int(st.st_mode & 0777, 0640);
    t_same_int(stat(folder, &st), 0);
    t_same_int(st.st_mode & 0777, 0750);
    t_case("a second life goes on where the first ended", NULL);
    keeper = start(&for_a_week);
    add(keeper, 6);
    keeper_stop(&keeper);
    t_same_z(all(), "1 2 3 4 5 6");
    t_same_int(count_files(), 1);
}

static void test_nothing(void **state)
{
    struct keeper *keeper = start(&for_a_week);

    (void)state;
    t_case("nothing written, nothing made, nothing found", NULL);
    keeper_stop(&keeper);
    t_same_int(access(folder, F_OK), -1);
    t_same_z(all(), "");
}

static void test_hours(void **state)
{
    struct keeper *keeper = start(&for_a_week);

    (void)state;
    t_case("each hour has its file", NULL);
    for (int i = 0; i < 3; i++) {
        add_and_wait(keeper, i);
        now_unix += 3600;
    }
    t_same_int(count_files(), 3);
    t_same_z(found(NOON + 3600, RECORD_OLDEST_FIRST, -1), "1 2");
    t_same_z(found(NOON + 7199, RECORD_NEWEST_FIRST, -1), "2 1");
    t_case("and goes when all of it is too old", NULL);
    now_unix = NOON + 3600 + for_a_week.keep_ms / 1000 - 1;
    add_and_wait(keeper, 3);
    t_same_z(all(), "0 1 2 3");
    now_unix += 3600;
    add_and_wait(keeper, 4);
    keeper_stop(&keeper);
    t_same_z(all(), "1 2 3 4");
}

static void test_size(void **state)
{
    struct keeper_settings small = {.keep_ms = for_a_week.keep_ms, .bytes_max = 64 * 1024};
    struct keeper *keeper = start(&small);
    const char *numbers;
    int64_t before = written();

    (void)state;
    t_case("a file that has grown enough gets a successor, and the oldest go when all are too much", NULL);
    for (int i = 0; i < 120; i++) { /* four fill a file */
        keeper_add(keeper, record(i, 1030));
        if (i % 4 == 3)
            WAIT_UNTIL(written() == before + i + 1);
    }
    keeper_stop(&keeper);
    t_true(count_files() >= 15 && count_files() <= 17);
    numbers = all();
    t_true(str_ends_same(str_of(numbers), STR(" 118 119")));
    t_true(atoi(numbers) >= 52 && atoi(numbers) <= 64);
}

static void test_change(void **state)
{
    static const struct keeper_settings none = {.keep_ms = 0, .bytes_max = 1 << 24};
    struct keeper *keeper = start(&for_a_week);

    (void)state;
    t_case("told to keep nothing, it keeps nothing; told otherwise, it begins again", NULL);
    add_and_wait(keeper, 1);
    keeper_change(keeper, &none);
    t_true(!keeper_wants(keeper));
    WAIT_UNTIL(count_files() == 0);
    WAIT_UNTIL(!is_one_open());
    keeper_change(keeper, &for_a_week);
    t_true(keeper_wants(keeper));
    add_and_wait(keeper, 2);
    keeper_stop(&keeper);
    t_same_z(all(), "2");
}

/* ---- what was cut short ---- */

static void test_torn(void **state)
{
    struct keeper *keeper;

    (void)state;
    t_case("a line that a kill cut short is passed over, and spoils no other", NULL);
    t_same_int(mkdir(folder, 0750), 0);
    put_file("2025-11-29T11.000.jsonl", "{\"n\":1}\n{\"n\":2,\"fi");
    put_file("2025-11-29T12.000.jsonl", "{\"n\":3}\n\n{\"n\":4,\"a\n\"n\":5}\n{\"n\":6}\n{\"n\":7}");
    t_same_z(all(), "1 3 6");
    t_same_z(found(0, RECORD_NEWEST_FIRST, -1), "6 3 1");
    keeper = start(&for_a_week);
    add(keeper, 8);
    keeper_stop(&keeper);
    t_same_z(all(), "1 3 6 7 8");
    t_same_z(found(0, RECORD_NEWEST_FIRST, -1), "8 7 6 3 1");
}

static void test_removed(void **state)
{
    struct keeper *keeper = start(&for_a_week);

    (void)state;
    t_case("a file removed by hand comes again", NULL);
    add_and_wait(keeper, 1);
    unlink(path_of("2025-11-29T12.000.jsonl"));
    add_and_wait(keeper, 2);
    keeper_stop(&keeper);
    t_same_z(all(), "2");
}

/* ---- a disk that is ill ---- */

/* A limit on the size of files stands for the disk's: the line that reaches it is written in part. */
static void test_full(void **state)
{
    struct keeper *keeper = start(&for_a_week);
    int64_t had_lost = lost();
    struct rlimit limit, full;

    (void)state;
    t_case("what a full disk does not take is lost and counted, said once, and spoils no other record", NULL);
    getrlimit(RLIMIT_FSIZE, &limit);
    full = (struct rlimit){.rlim_cur = 100, .rlim_max = limit.rlim_max};
    add_and_wait(keeper, 1);
    t_same_int(setrlimit(RLIMIT_FSIZE, &full), 0);
    keeper_add(keeper, record(2, 200));
    WAIT_UNTIL(lost() == had_lost + 1);
    add_and_wait(keeper, 3);
    t_same_int(lost(), had_lost + 2);
    setrlimit(RLIMIT_FSIZE, &limit);
    add_and_wait(keeper, 4);
    add_and_wait(keeper, 5);
    keeper_stop(&keeper);
    t_same_int(lost(), had_lost + 2);
    t_same_z(all(), "1 4 5");
    t_same_int(alarms, 1);
    t_same_int(all_clears, 1);
}

/* Our folder is not where somebody else points it to. */
static void test_link(void **state)
{
    struct keeper *keeper = start(&for_a_week);
    int64_t had_lost = lost();
    struct stat st;
    int elsewhere;

    (void)state;
    t_case("a link in a file's place is not followed", NULL);
    t_same_int(mkdir(folder, 0750), 0);
    elsewhere = open(path_of("elsewhere"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    t_same_int(symlink("elsewhere", path_of("2025-11-29T12.000.jsonl")), 0);
    add_and_wait(keeper, 1);
    t_same_int(lost(), had_lost + 1);
    keeper_stop(&keeper);
    t_case("nor is what it leads to touched", NULL);
    t_same_int(fstat(elsewhere, &st), 0);
    t_same_int(st.st_size, 0);
    t_same_int(st.st_mode & 0777, 0600);
    close(elsewhere);
}

static void test_no_folder(void **state)
{
    struct keeper *keeper;
    int64_t had_lost = lost();

    (void)state;
    t_case("a file in the folder's place is an alarm, not an end", NULL);
    fclose(fopen(folder, "w"));
    keeper = start(&for_a_week);
    add_and_wait(keeper, 1);
    t_same_int(lost(), had_lost + 1);
    unlink(folder);
    add_and_wait(keeper, 2);
    keeper_stop(&keeper);
    t_same_z(all(), "2");
    t_same_int(alarms, 1);
    t_same_int(all_clears, 1);
}

/* A pipe that nobody empties takes 64 KiB, then whoever writes is held: as a disk that hangs. */
static void test_hang(void **state)
{
    const char *path = path_of("2025-11-29T12.000.jsonl");
    struct keeper *keeper;
    int64_t had_lost = lost();
    char drain[65536];
    int fd;

    (void)state;
    t_case("a disk that hangs holds up nobody, not even the end", NULL);
    t_same_int(mkdir(folder, 0750), 0);
    t_same_int(mkfifo(path, 0600), 0);
    fd = open(path, O_RDWR | O_NONBLOCK);
    t_true(fd >= 0);
    keeper = start(&for_a_week);
    for (int i = 0; lost() == had_lost; i++)
        keeper_add(keeper, record(i, 30000));
    keeper_stop(&keeper);
    t_true(keeper == NULL);
    for (int quiet = 0; quiet < 100; quiet++, nap()) /* it is let go, and frees what it has */
        while (read(fd, drain, sizeof(drain)) > 0)
            quiet = 0;
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_names, begin, end),
        cmocka_unit_test_setup_teardown(test_round_trip, begin, end),
        cmocka_unit_test_setup_teardown(test_nothing, begin, end),
        cmocka_unit_test_setup_teardown(test_hours, begin, end),
        cmocka_unit_test_setup_teardown(test_size, begin, end),
        cmocka_unit_test_setup_teardown(test_change, begin, end),
        cmocka_unit_test_setup_teardown(test_torn, begin, end),
        cmocka_unit_test_setup_teardown(test_removed, begin, end),
        cmocka_unit_test_setup_teardown(test_full, begin, end),
        cmocka_unit_test_setup_teardown(test_link, begin, end),
        cmocka_unit_test_setup_teardown(test_no_folder, begin, end),
        cmocka_unit_test_setup_teardown(test_hang, begin, end),
    };

    return cmocka_run_group_tests(tests, make_parent, remove_parent);
}
