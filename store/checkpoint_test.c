/* The log of the SQLite file: under unending load, while somebody reads, on a full disk, at the end. */
#include "store/store.h"

#include "tests/store_bed.h"

#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>

enum { LOG_BYTES = 256 * 1024, ROWS = 2000, AT_ONCE = 20 };

/* At four times its size the store waits for the log; what comes before it looks again is a quarter of it, and a group. */
enum { LOG_BYTES_MAX = 4 * LOG_BYTES + LOG_BYTES / 4 + AT_ONCE * 8 * 4096 };

static int asked, answered, wanted;
static int64_t largest;

static int64_t log_size(void)
{
    char path[128];
    struct stat file;

    snprintf(path, sizeof(path), "%s-wal", bed_file);
    return stat(path, &file) == 0 ? (int64_t)file.st_size : 0;
}

static void ask(void);

static void on_answer(enum store_status status, const void *result, void *arg)
{
    int64_t size = log_size();

    (void)result, (void)arg;
    largest = size > largest ? size : largest;
    if (status != STORE_DONE)
        t_fail("the store has no answer");
    if (++answered == wanted)
        loop_stop(bed_loop);
    if (asked < wanted)
        ask();
}

/* Each adds one to a row and to the sum. */
static void ask(void)
{
    static const int64_t question[2] = {1, 0};
    char key[200];
    struct store_request request = {.table = "test",
                                    .keys_count = 2,
                                    .change = bed_change_add,
                                    .question = question,
                                    .question_bytes = sizeof(question),
                                    .result_bytes = 8};

    snprintf(key, sizeof(key), "%0180d", asked++ * 7919 % ROWS);
    request.keys[0] = STR("sum");
    request.keys[1] = str_of(key);
    store_update(bed_store, bed_loop, &request, on_answer, NULL);
}

static void update(int count)
{
    asked = answered = 0;
    largest = 0;
    wanted = count;
    for (int i = 0; i < AT_ONCE; i++)
        ask();
    while (answered < wanted)
        loop_run(bed_loop);
}

static void test_bounded(void **state)
{
    (void)state;
    bed_settings.log_bytes = LOG_BYTES;
    bed_open_store();
    t_case("a log that is written all the time is begun anew again and again", NULL);
    update(10000);
    t_true(largest >= LOG_BYTES);
    if (largest > LOG_BYTES_MAX)
        t_fail("the log has grown to %lld octets", (long long)largest);
    t_case("and none of what was answered is lost", NULL);
    t_same_int(bed_value_of("sum"), 10000);
    t_same_int(bed_ask_file("SELECT count(*) FROM pragma_integrity_check WHERE integrity_check <> 'ok'"), 0);
    t_case("closing leaves no log behind", NULL);
    store_close(&bed_store);
    t_same_int(bed_files_like("-*"), 0);
    t_same_int(bed_ask_file("SELECT sum(CAST(CAST(value AS TEXT) AS INTEGER)) FROM rows"), 20000);
}

static void test_reader(void **state)
{
    sqlite3 *reader = NULL;

    (void)state;
    bed_settings.log_bytes = LOG_BYTES;
    bed_open_store();
    bed_added("sum", 0, 0);
    sqlite3_open(bed_file, &reader);
    t_same_int(sqlite3_exec(reader, "BEGIN; SELECT count(*) FROM rows", NULL, NULL, NULL), SQLITE_OK);
    t_case("while somebody reads from its old end the log grows, and the store answers", NULL);
    update(10000);
    t_true(log_size() > LOG_BYTES_MAX);
    sqlite3_exec(reader, "COMMIT", NULL, NULL, NULL);
    sqlite3_close(reader);
    t_case("then it is cut", NULL);
    update(2000);
    t_true(log_size() <= LOG_BYTES_MAX);
    t_same_int(bed_value_of("sum"), 12000);
}

/* A limit on the size of files, that of the log included: the file reaches it first, since the log is begun anew. */
static void test_file_cannot_grow(void **state)
{
    struct rlimit before, tight;
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    char key[200];
    int64_t count = 0;

    (void)state;
    bed_settings.log_bytes = 64 * 1024;
    bed_open_store();
    getrlimit(RLIMIT_FSIZE, &before);
    tight = before;
    tight.rlim_cur = 512 * 1024;
    setrlimit(RLIMIT_FSIZE, &tight);
    t_case("a checkpoint that cannot be done is said while the log still has room, and once", NULL);
    while (bed_notes_checkpoint == 0 && bed_notes_unavailable == 0 && count < 10000) {
        snprintf(key, sizeof(key), "%0190d", (int)++count);
        bed_added(key, 1, 0);
    }
    t_same_int(bed_notes_checkpoint, 1);
    for (int i = 0; i < 10; i++)
        bed_added("sum", 1, 0);
    t_same_int(bed_notes_unavailable, 0);
    for (int i = 0; i < 1000 && bed_notes_unavailable == 0; i++)
        bed_add("rest", 1, 0);
    t_case("then the store is unavailable until there is room, and has lost nothing", NULL);
    t_same_int(bed_notes_unavailable, 1);
    t_same_int(bed_notes_checkpoint, 1);
    setrlimit(RLIMIT_FSIZE, &before);
    signal(SIGXFSZ, handler);
    bed_advance_s(5);
    t_same_int(bed_value_of("sum"), 10);
    t_same_int(bed_ask_file("SELECT count(*) FROM rows WHERE length(key) = 190"), count);
    t_same_int(bed_notes_corrupt, 0);
}

#define ROW(test) cmocka_unit_test_setup_teardown(test, bed_set_up, bed_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {ROW(test_bounded), ROW(test_reader), ROW(test_file_cannot_grow)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
