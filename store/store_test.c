#include "store/store.h"

#include "base/bug.h"
#include "base/log.h"
#include "tests/t.h"

#include <errno.h>
#include <glob.h>
#include <inttypes.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* ---- the log, counted instead of written ---- */

static atomic_int notes_unavailable, notes_available, notes_corrupt;

void log_note(enum log_level level, const char *event, const char *format, ...)
{
    (void)level;
    (void)format;
    notes_unavailable += strcmp(event, "store-unavailable") == 0;
    notes_available += strcmp(event, "store-available") == 0;
    notes_corrupt += strcmp(event, "store-corrupt") == 0;
}

/* ---- a clock that two threads may look at ---- */

static atomic_llong wall_s, mono_ms;

static int64_t test_unix_s(const struct clock *clock)
{
    (void)clock;
    return wall_s;
}

static int64_t test_mono_ms(const struct clock *clock)
{
    (void)clock;
    return mono_ms;
}

static const struct clock test_clock = {test_unix_s, test_mono_ms};

static void advance_s(int64_t s)
{
    wall_s += s;
    mono_ms += s * 1000;
}

/* ---- a bed: a folder, a file, a loop ---- */

enum { START = 1700000000 };

static char folder[64], file[96], url[256];
static struct loop *loop;
static struct store *store;
static struct store_settings settings;

static void remove_files(void)
{
    char pattern[128];
    glob_t found;

    snprintf(pattern, sizeof(pattern), "%s/*", folder);
    if (glob(pattern, 0, NULL, &found) == 0)
        for (size_t i = 0; i < found.gl_pathc; i++)
            if (unlink(found.gl_pathv[i]) != 0)
                rmdir(found.gl_pathv[i]);
    globfree(&found);
}

static void use_file(const char *path)
{
    snprintf(url, sizeof(url), "sqlite:%s", path);
    settings = (struct store_settings){.url = url, .timeout_ms = 20};
}

static void open_store(void)
{
    struct fail fail = {0};

    store = store_open(&settings, &test_clock, &fail);
    if (store == NULL)
        t_fail("%s", fail.text);
}

static int set_up(void **state)
{
    (void)state;
    t_case("", NULL);
    wall_s = START;
    mono_ms = 1000;
    notes_unavailable = notes_available = notes_corrupt = 0;
    snprintf(folder, sizeof(folder), "/tmp/store-test-XXXXXX");
    if (mkdtemp(folder) == NULL)
        return -1;
    snprintf(file, sizeof(file), "%s/state.db", folder);
    use_file(file);
    loop = loop_new();
    return 0;
}

/* Answers that were posted but not delivered are delivered here, to nobody. */
static int tear_down(void **state)
{
    (void)state;
    store_close(&store);
    loop_stop(loop);
    loop_run(loop);
    loop_free(&loop);
    remove_files();
    return rmdir(folder);
}

/* ---- asking and waiting ---- */

struct outcome {
    int calls;
    enum store_status status;
    int64_t number;
};

static int awaited;

static void on_done(enum store_status status, const void *result, void *arg)
{
    struct outcome *outcome = arg;

    outcome->calls++;
    outcome->status = status;
    memcpy(&outcome->number, result, sizeof(outcome->number));
    if (--awaited <= 0)
        loop_stop(loop);
}

/* Adds the question to the number in each row; the result is the sum in the first. */
static void change_add(struct arena *mem, const void *question, struct store_row *rows, size_t count,
                       void *result)
{
    int64_t add, expires_s[1];

    memcpy(&add, question, sizeof(add));
    memcpy(expires_s, (const char *)question + sizeof(add), sizeof(expires_s));
    for (size_t i = 0; i < count; i++) {
        uint64_t number = 0;

        str_to_u64(rows[i].value, UINT64_MAX, &number);
        number += (uint64_t)add;
        if (i == 0)
            memcpy(result, &number, sizeof(number));
        if (add != 0)
            rows[i] = (struct store_row){str_of(str_fmt(mem, "%" PRIu64, number)), expires_s[0]};
    }
}

static void change_delete(struct arena *mem, const void *question, struct store_row *rows, size_t count,
                          void *result)
{
    (void)mem;
    (void)question;
    (void)result;
    for (size_t i = 0; i < count; i++)
        rows[i] = (struct store_row){0};
}

struct gate {
    sem_t reached, open;
};

/* Holds the store's thread until the test opens the gate. */
static void change_wait(struct arena *mem, const void *question, struct store_row *rows, size_t count,
                        void *result)
{
    struct gate *gate;

    (void)mem, (void)rows, (void)count, (void)result;
    memcpy(&gate, question, sizeof(struct gate *));
    sem_post(&gate->reached);
    sem_wait(&gate->open);
}

static struct store_token *start_add(struct str key, int64_t add, int64_t expires_unix,
                                     struct outcome *outcome)
{
    int64_t question[2] = {add, expires_unix};
    struct store_request request = {.table = "test",
                                    .keys = {key},
                                    .keys_count = 1,
                                    .change = change_add,
                                    .question = question,
                                    .question_bytes = sizeof(question),
                                    .result_bytes = 8};

    return store_update(store, loop, &request, on_done, outcome);
}

static struct store_token *start_wait(struct gate *gate, struct outcome *outcome)
{
    struct store_request request = {.table = "test",
                                    .keys = {STR("gate")},
                                    .keys_count = 1,
                                    .change = change_wait,
                                    .question = &gate,
                                    .question_bytes = sizeof(gate),
                                    .result_bytes = 8};
    struct store_token *token;

    sem_init(&gate->reached, 0, 0);
    sem_init(&gate->open, 0, 0);
    token = store_update(store, loop, &request, on_done, outcome);
    sem_wait(&gate->reached);
    return token;
}

static void run_until(int answers)
{
    awaited = answers;
    while (awaited > 0) /* a stop that comes after the last answer ends the next run early */
        loop_run(loop);
}

static struct outcome add(const char *key, int64_t number, int64_t expires_unix)
{
    struct outcome outcome = {0};

    start_add(str_of(key), number, expires_unix, &outcome);
    t_same_int(outcome.calls, 0);
    run_until(1);
    t_same_int(outcome.calls, 1);
    return outcome;
}

static int64_t value_of(const char *key)
{
    struct outcome outcome = add(key, 0, 0);

    t_same_int(outcome.status, STORE_DONE);
    return outcome.number;
}

static void t_added(const char *key, int64_t number, int64_t expires_unix)
{
    t_same_int(add(key, number, expires_unix).status, STORE_DONE);
}

/* ---- looking at the file from outside ---- */

static int64_t ask_file(const char *sql)
{
    sqlite3 *db = NULL;
    sqlite3_stmt *st = NULL;
    int64_t number = -1;

    if (sqlite3_open(file, &db) == SQLITE_OK && sqlite3_prepare_v2(db, sql, -1, &st, NULL) == SQLITE_OK &&
        sqlite3_step(st) == SQLITE_ROW)
        number = sqlite3_column_int64(st, 0);
    sqlite3_finalize(st);
    sqlite3_close(db);
    return number;
}

static void change_file(const char *sql)
{
    sqlite3 *db = NULL;

    sqlite3_open(file, &db);
    sqlite3_db_config(db, SQLITE_DBCONFIG_DEFENSIVE, 0, NULL);
    if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK)
        t_fail("%s: %s", sql, sqlite3_errmsg(db));
    sqlite3_close(db);
}

static size_t files_like(const char *ending)
{
    char pattern[160];
    glob_t found = {0};
    size_t count;

    snprintf(pattern, sizeof(pattern), "%s%s", file, ending);
    glob(pattern, 0, NULL, &found);
    count = found.gl_pathc;
    globfree(&found);
    return count;
}

static void write_file(const char *bytes, size_t n, long at, const char *mode)
{
    FILE *f = fopen(file, mode);

    if (f == NULL)
        t_fail("cannot open %s", file);
    fseek(f, at, SEEK_SET);
    fwrite(bytes, 1, n, f);
    fclose(f);
}

/* The store's thread deletes after it has answered: give it a moment. */
static void wait_for_rows(int64_t want)
{
    const struct timespec moment = {0, 1000000};

    for (int i = 0; i < 2000 && ask_file("SELECT count(*) FROM rows") != want; i++)
        nanosleep(&moment, NULL);
    t_same_int(ask_file("SELECT count(*) FROM rows"), want);
}

/* ---- what it keeps ---- */

static void test_round_trip(void **state)
{
    struct outcome outcome = {0};
    struct store_request erase = {.table = "test",
                                  .keys = {STR("a"), STR("b\0c")},
                                  .keys_count = 2,
                                  .change = change_delete,
                                  .result_bytes = 8};

    (void)state;
    open_store();
    t_case("a row that is not there is empty", NULL);
    t_same_int(value_of("a"), 0);
    t_case("what is written is read again", NULL);
    t_added("a", 5, 0);
    t_same_int(value_of("a"), 5);
    t_case("a NUL in a key is an ordinary byte", NULL);
    start_add(STR("b\0c"), 7, 0, &outcome);
    run_until(1);
    t_same_int(value_of("b"), 0);
    t_case("several keys change together, and an empty value deletes", NULL);
    t_same_int(ask_file("SELECT count(*) FROM rows"), 2);
    store_update(store, loop, &erase, on_done, &outcome);
    run_until(1);
    t_same_int(outcome.status, STORE_DONE);
    t_same_int(ask_file("SELECT count(*) FROM rows"), 0);
    t_case("tables do not see each other's keys", NULL);
    change_file("INSERT INTO rows VALUES ('other', x'61', x'39', 0, 0)");
    t_same_int(value_of("a"), 0);
    t_case("the file is not for everybody", NULL);
    struct stat st;
    t_same_int(stat(file, &st), 0);
    t_same_int(st.st_mode & 0007, 0);
}

static void test_restart(void **state)
{
    (void)state;
    open_store();
    t_added("a", 3, 0);
    store_close(&store);
    t_case("a restart keeps the rows", NULL);
    open_store();
    t_same_int(value_of("a"), 3);
    t_same_int(notes_unavailable + notes_available + notes_corrupt, 0);
}

static void test_close_finishes(void **state)
{
    struct outcome outcomes[10] = {0};

    (void)state;
    open_store();
    for (size_t i = 0; i < COUNT(outcomes); i++)
        start_add(STR("a"), 1, 0, &outcomes[i]);
    store_close(&store);
    t_case("what was asked before the end is answered", NULL);
    run_until(10);
    for (size_t i = 0; i < COUNT(outcomes); i++)
        t_same_int(outcomes[i].calls, 1);
    open_store();
    t_same_int(value_of("a"), 10);
}

/* ---- atomicity, grouping ---- */

struct adder {
    struct loop *loop;
    int asked, answered;
};

enum { ADDS = 3000, ADDS_AT_ONCE = 40 };

static void on_added(enum store_status status, const void *result, void *arg);

static void start_adder(struct adder *adder)
{
    static const int64_t question[2] = {1, 0};
    struct store_request request = {.table = "test",
                                    .keys = {STR("sum"), STR("sum2")},
                                    .keys_count = 2,
                                    .change = change_add,
                                    .question = question,
                                    .question_bytes = sizeof(question),
                                    .result_bytes = 8};

    adder->asked++;
    store_update(store, adder->loop, &request, on_added, adder);
}

static void on_added(enum store_status status, const void *result, void *arg)
{
    struct adder *adder = arg;

    (void)result;
    if (status == STORE_DONE)
        adder->answered++;
    if (adder->asked < ADDS)
        start_adder(adder);
    else if (adder->answered == ADDS)
        loop_stop(adder->loop);
}

static void *run_adder(void *arg)
{
    struct adder *adder = arg;

    for (int i = 0; i < ADDS_AT_ONCE; i++)
        start_adder(adder);
    loop_run(adder->loop);
    return NULL;
}

static void test_two_loops(void **state)
{
    struct adder adders[2] = {{.loop = loop_new()}, {.loop = loop_new()}};
    pthread_t threads[2];

    (void)state;
    open_store();
    for (size_t i = 0; i < 2; i++)
        pthread_create(&threads[i], NULL, run_adder, &adders[i]);
    for (size_t i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    t_case("no addition of two threads is lost", NULL);
    t_same_int(value_of("sum"), 2 * ADDS);
    t_same_int(value_of("sum2"), 2 * ADDS);
    store_close(&store);
    loop_free(&adders[0].loop);
    loop_free(&adders[1].loop);
}

static void test_groups(void **state)
{
    struct gate gate;
    struct outcome first = {0}, outcomes[99] = {0};

    (void)state;
    open_store();
    start_wait(&gate, &first);
    for (size_t i = 0; i < COUNT(outcomes); i++)
        start_add(STR("a"), 1, 0, &outcomes[i]);
    sem_post(&gate.open);
    run_until(100);
    t_case("what gathers while one commits is one transaction", NULL);
    t_same_int(store_counts(store).updates, 100);
    t_same_int(store_counts(store).commits, 2);
    t_case("each sees what the one before it wrote", NULL);
    for (size_t i = 0; i < COUNT(outcomes); i++)
        t_same_int(outcomes[i].number, i + 1);
}

static void test_overflow(void **state)
{
    struct gate gate;
    struct outcome first = {0}, outcomes[12] = {0};

    (void)state;
    settings.waiting_max = 8;
    open_store();
    start_wait(&gate, &first);
    for (size_t i = 0; i < COUNT(outcomes); i++)
        start_add(STR("a"), 1, 0, &outcomes[i]);
    t_case("no answer before the call has returned", NULL);
    for (size_t i = 0; i < COUNT(outcomes); i++)
        t_same_int(outcomes[i].calls, 0);
    t_case("a request beyond the limit is answered at once, on the next turn", NULL);
    run_until(4);
    for (size_t i = 0; i < COUNT(outcomes); i++)
        t_same_int(outcomes[i].calls, i < 8 ? 0 : 1);
    t_same_int(outcomes[8].status, STORE_UNAVAILABLE);
    t_same_int(outcomes[11].status, STORE_UNAVAILABLE);
    sem_post(&gate.open);
    run_until(9);
    t_same_int(outcomes[7].status, STORE_DONE);
    t_same_int(value_of("a"), 8);
    t_same_int(store_counts(store).unanswered, 4);
    t_true(store_is_available(store));
}

/* ---- cancelling ---- */

static struct store_token *later_tokens[2];

static void on_done_cancel_others(enum store_status status, const void *result, void *arg)
{
    store_cancel(&later_tokens[0]);
    store_cancel(&later_tokens[1]);
    on_done(status, result, arg);
}

static void test_cancel(void **state)
{
    struct gate gate;
    struct outcome first = {0}, outcome = {0}, last = {0};
    struct store_token *token, *overflown;
    static const int64_t question[2] = {0, 0};
    struct store_request request = {.table = "test",
                                    .keys = {STR("a")},
                                    .keys_count = 1,
                                    .change = change_add,
                                    .question = question,
                                    .question_bytes = sizeof(question),
                                    .result_bytes = 8};

    (void)state;
    open_store();
    t_case("nothing to cancel is fine", NULL);
    token = NULL;
    store_cancel(&token);

    t_case("cancelled while it waits, it never calls back; the change may still happen", NULL);
    start_wait(&gate, &first);
    token = start_add(STR("a"), 1, 0, &outcome);
    store_cancel(&token);
    t_true(token == NULL);
    sem_post(&gate.open);
    run_until(1);
    t_same_int(value_of("a"), 1);
    t_same_int(outcome.calls, 0);

    t_case("cancelled while it runs, it never calls back", NULL);
    token = start_wait(&gate, &outcome);
    store_cancel(&token);
    sem_post(&gate.open);
    t_same_int(value_of("a"), 1);
    t_same_int(outcome.calls, 0);

    t_case("cancelled after its answer was posted, it never calls back", NULL);
    uint64_t commits = store_counts(store).commits;
    token = start_add(STR("a"), 1, 0, &outcome);
    while (store_counts(store).commits == commits)
        sched_yield();
    store_cancel(&token);
    t_same_int(value_of("a"), 2);
    t_same_int(outcome.calls, 0);

    t_case("a callback cancels others of the same delivery", NULL);
    start_wait(&gate, &first);
    store_update(store, loop, &request, on_done_cancel_others, &last);
    later_tokens[0] = start_add(STR("a"), 1, 0, &outcome);
    later_tokens[1] = start_add(STR("a"), 1, 0, &outcome);
    sem_post(&gate.open);
    run_until(2);
    t_same_int(last.calls, 1);
    t_same_int(value_of("a"), 4);
    t_same_int(outcome.calls, 0);

    t_case("an answer of overflow can be cancelled as well", NULL);
    store_close(&store);
    settings.waiting_max = 1;
    open_store();
    start_wait(&gate, &first);
    start_add(STR("a"), 1, 0, &last);
    overflown = start_add(STR("a"), 1, 0, &outcome);
    store_cancel(&overflown);
    sem_post(&gate.open);
    run_until(2);
    t_same_int(outcome.calls, 0);
}

/* ---- forgetting ---- */

static void test_expiry(void **state)
{
    (void)state;
    open_store();
    t_added("a", 5, START + 100);
    wall_s = START + 99;
    t_case("a row is there until the second before it expires", NULL);
    t_same_int(value_of("a"), 5);
    wall_s = START + 100;
    t_case("an expired row is invisible, though it still lies in the file", NULL);
    t_same_int(value_of("a"), 0);
    t_same_int(ask_file("SELECT count(*) FROM rows"), 1);
    t_case("a row that expires never stays", NULL);
    t_added("ever", 1, 0);
    advance_s(1000000);
    t_same_int(value_of("ever"), 1);
    t_case("expired rows are deleted when the queue is empty", NULL);
    wait_for_rows(1);
}

static void test_expiry_slices(void **state)
{
    char key[16];

    (void)state;
    open_store();
    for (int i = 0; i < 620; i++) {
        snprintf(key, sizeof(key), "k%d", i);
        t_added(key, 1, START + 10);
    }
    advance_s(3601);
    t_case("500 rows at a time", NULL);
    t_same_int(value_of("k1"), 0);
    wait_for_rows(120);
    t_case("not again within a second", NULL);
    t_same_int(value_of("k1"), 0);
    t_same_int(value_of("k1"), 0);
    t_same_int(ask_file("SELECT count(*) FROM rows"), 120);
    t_case("the rest a second later", NULL);
    advance_s(1);
    t_same_int(value_of("k1"), 0);
    wait_for_rows(0);
}

static void test_bounded_rows(void **state)
{
    char key[16];

    (void)state;
    settings.rows_max = 50;
    open_store();
    for (int i = 0; i < 300; i++) {
        snprintf(key, sizeof(key), "k%d", i);
        t_added(key, 1, START + 1000 + i);
    }
    t_case("a table holds no more rows than its limit", NULL);
    t_true(ask_file("SELECT count(*) FROM rows") <= 50);
    t_true(ask_file("SELECT count(*) FROM rows") >= 40);
    t_case("those that would expire first have gone", NULL);
    t_same_int(value_of("k299"), 1);
    t_same_int(value_of("k0"), 0);
    t_case("rows that never expire neither count nor go", NULL);
    for (int i = 0; i < 60; i++) {
        snprintf(key, sizeof(key), "e%d", i);
        t_added(key, 1, 0);
    }
    t_same_int(value_of("e0"), 1);
    t_same_int(value_of("k299"), 1);
    t_case("the count survives a restart", NULL);
    store_close(&store);
    open_store();
    for (int i = 300; i < 400; i++) {
        snprintf(key, sizeof(key), "k%d", i);
        t_added(key, 1, START + 1000 + i);
    }
    t_true(ask_file("SELECT count(*) FROM rows WHERE expires > 0") <= 50);
}

/* ---- reading it all ---- */

struct seen {
    char text[256];
    size_t count, most;
};

static bool on_row(struct str key, struct str value, int64_t expires_unix, void *arg)
{
    struct seen *seen = arg;
    size_t n = strlen(seen->text);

    snprintf(seen->text + n, sizeof(seen->text) - n, "%.*s=%.*s/%d ", STR_ARG(key), STR_ARG(value),
             expires_unix > 0 ? (int)(expires_unix - START) : 0);
    return ++seen->count < seen->most;
}

static void test_each(void **state)
{
    struct seen all = {.most = 100}, some = {.most = 100}, two = {.most = 2};
    struct fail fail;

    (void)state;
    open_store();
    t_added("b2", 2, START + 50);
    t_added("a", 1, 0);
    t_added("b1", 3, 0);
    t_added("b0", 4, START + 5);
    wall_s = START + 5;
    t_case("every row that has not expired, in the order of the keys", NULL);
    t_same_int(store_each(store, "test", STR(""), on_row, &all, &fail), 0);
    t_same_z(all.text, "a=1/0 b1=3/0 b2=2/50 ");
    t_case("only those that begin with the prefix", NULL);
    t_same_int(store_each(store, "test", STR("b"), on_row, &some, &fail), 0);
    t_same_z(some.text, "b1=3/0 b2=2/50 ");
    t_case("until it has seen enough", NULL);
    t_same_int(store_each(store, "test", STR(""), on_row, &two, &fail), 0);
    t_same_z(two.text, "a=1/0 b1=3/0 ");
    t_case("a file that cannot be read is said", NULL);
    store_close(&store);
    use_file("/proc/state.db");
    open_store();
    t_same_int(store_each(store, "test", STR(""), on_row, &two, &fail), -1);
    t_true(strstr(fail.text, "/proc/state.db") != NULL);
}

/* ---- trouble ---- */

static void test_url(void **state)
{
    static const char *const rows[] = {"", "sqlite:", "/var/lib/state.db", "redis://localhost/0"};
    struct fail fail;

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        settings.url = rows[i];
        t_case(rows[i], NULL);
        t_true(store_open(&settings, &test_clock, &fail) == NULL);
        t_true(strstr(fail.text, "sqlite:PATH") != NULL);
    }
}

static void t_unavailable_said_once(void)
{
    t_true(!store_is_available(store));
    for (int i = 0; i < 3; i++)
        t_same_int(add("a", 1, 0).status, STORE_UNAVAILABLE);
    advance_s(5);
    t_same_int(add("a", 1, 0).status, STORE_UNAVAILABLE);
    t_same_int(notes_unavailable, 1);
    t_same_int(notes_available, 0);
}

static void t_available_said_once(void)
{
    t_same_int(add("a", 1, 0).status, STORE_UNAVAILABLE); /* not before it is time to try again */
    advance_s(5);
    t_added("a", 1, 0);
    t_added("a", 1, 0);
    t_true(store_is_available(store));
    t_same_int(notes_unavailable, 1);
    t_same_int(notes_available, 1);
    t_same_int(notes_corrupt, 0);
}

static void test_missing_folder(void **state)
{
    char folder2[96], path[128];

    (void)state;
    snprintf(folder2, sizeof(folder2), "%s/later", folder);
    snprintf(path, sizeof(path), "%s/state.db", folder2);
    use_file(path);
    open_store();
    t_case("a missing folder is said once, and every request answered", NULL);
    t_unavailable_said_once();
    t_case("when it comes, the store uses it, and says so once", NULL);
    t_same_int(mkdir(folder2, 0700), 0);
    t_available_said_once();
    store_close(&store);
    t_same_int(unlink(path), 0);
}

static void test_unusable_paths(void **state)
{
    char below[112];

    (void)state;
    t_case("a path below a file", NULL);
    write_file("x", 1, 0, "w");
    snprintf(below, sizeof(below), "%s/db", file);
    use_file(below);
    open_store();
    t_unavailable_said_once();
    store_close(&store);
    t_case("a folder that takes no files", NULL);
    notes_unavailable = 0;
    use_file("/proc/state.db");
    open_store();
    t_unavailable_said_once();
    store_close(&store);
    t_case("a path that is a folder", NULL);
    notes_unavailable = 0;
    use_file(folder);
    open_store();
    t_unavailable_said_once();
}

static void test_locked(void **state)
{
    sqlite3 *other = NULL;

    (void)state;
    open_store();
    t_added("a", 1, 0);
    sqlite3_open(file, &other);
    t_same_int(sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    t_case("locked by another process: no answer, said once", NULL);
    t_same_int(add("a", 1, 0).status, STORE_UNAVAILABLE);
    t_unavailable_said_once();
    sqlite3_exec(other, "COMMIT", NULL, NULL, NULL);
    sqlite3_close(other);
    t_case("free again: as before", NULL);
    t_available_said_once();
    t_same_int(value_of("a"), 3);
}

/* A limit on the size of files stands for a full disk: the write fails half-way. */
static void test_disk_full(void **state)
{
    struct rlimit before, tight;
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    char key[16];

    (void)state;
    open_store();
    t_added("a", 1, 0);
    getrlimit(RLIMIT_FSIZE, &before);
    tight = before;
    tight.rlim_cur = 24 * 1024;
    setrlimit(RLIMIT_FSIZE, &tight);
    t_case("a full disk: no answer, said once", NULL);
    for (int i = 0; i < 100 && notes_unavailable == 0; i++) {
        snprintf(key, sizeof(key), "k%d", i);
        add(key, 1, 0);
    }
    t_same_int(notes_unavailable, 1);
    t_same_int(add("a", 1, 0).status, STORE_UNAVAILABLE);
    setrlimit(RLIMIT_FSIZE, &before);
    signal(SIGXFSZ, handler);
    t_case("room again: as before, and nothing is lost", NULL);
    t_available_said_once();
    t_same_int(value_of("a"), 3);
    t_same_int(ask_file("SELECT count(*) FROM pragma_integrity_check WHERE integrity_check <> 'ok'"), 0);
}

static void test_corrupt_at_start(void **state)
{
    static const char garbage[] =
        "this is no database, and it is long enough to have a header of a hundred bytes: "
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    char key[16], name[32], page[4096];

    (void)state;
    snprintf(name, sizeof(name), ".corrupt-%d", START);
    t_case("a file that is no database is set aside, and the store begins anew", NULL);
    write_file(garbage, sizeof(garbage), 0, "w");
    open_store();
    t_true(store_is_available(store));
    t_same_int(notes_corrupt, 1);
    t_same_int(files_like(name), 1);
    for (int i = 0; i < 500; i++) {
        snprintf(key, sizeof(key), "k%d", i);
        t_added(key, 1, 0);
    }
    store_close(&store);
    t_case("a file with broken pages is set aside", NULL);
    memset(page, 0xa5, sizeof(page));
    write_file(page, sizeof(page), 2 * (long)sizeof(page), "r+");
    wall_s++;
    open_store();
    t_same_int(notes_corrupt, 2);
    t_same_int(value_of("k1"), 0);
    t_case("the schema of another version is set aside", NULL);
    store_close(&store);
    change_file("PRAGMA user_version = 99");
    wall_s++;
    open_store();
    t_same_int(notes_corrupt, 3);
    t_added("a", 1, 0);
    t_same_int(notes_unavailable, 0);
    t_same_int(files_like(".corrupt-*[0-9]"), 3);
}

static void break_schema(void)
{
    change_file("PRAGMA writable_schema = ON; UPDATE sqlite_schema SET rootpage = 9999 WHERE name = 'rows';"
                "PRAGMA schema_version = 77");
}

static void test_corrupt_at_run_time(void **state)
{
    (void)state;
    open_store();
    t_added("a", 1, 0);
    break_schema();
    t_case("damage at run time: set aside, begun anew, and the request is answered from the new file", NULL);
    t_same_int(add("a", 5, 0).number, 5);
    t_same_int(notes_corrupt, 1);
    t_true(store_is_available(store));
    t_same_int(files_like(".corrupt-*[0-9]"), 1);
    t_case("again within the hour: the disk is ill, so no more files", NULL);
    break_schema();
    t_same_int(add("a", 1, 0).status, STORE_UNAVAILABLE);
    t_unavailable_said_once();
    t_same_int(files_like(".corrupt-*[0-9]"), 1);
    t_case("an hour later it may be tried once more", NULL);
    advance_s(3600);
    t_added("a", 1, 0);
    t_same_int(notes_corrupt, 2);
    t_same_int(notes_available, 1);
}

static void test_foreign_file(void **state)
{
    (void)state;
    change_file("CREATE TABLE accounts (id); INSERT INTO accounts VALUES (1)");
    open_store();
    t_case("another program's database is left alone", NULL);
    t_unavailable_said_once();
    t_same_int(notes_corrupt, 0);
    t_same_int(files_like(".corrupt-*"), 0);
    t_same_int(ask_file("SELECT count(*) FROM accounts"), 1);
}

/* ---- kill -9 ---- */

static int acknowledgements;

static void on_acknowledged(enum store_status status, const void *result, void *arg)
{
    int64_t number;

    memcpy(&number, result, sizeof(number));
    if (status != STORE_DONE || write(acknowledgements, &number, sizeof(number)) != sizeof(number))
        _exit(1);
    (void)arg;
    static const int64_t question[2] = {1, 0};
    struct store_request request = {.table = "test",
                                    .keys = {STR("sum")},
                                    .keys_count = 1,
                                    .change = change_add,
                                    .question = question,
                                    .question_bytes = sizeof(question),
                                    .result_bytes = 8};
    store_update(store, loop, &request, on_acknowledged, NULL);
}

static _Noreturn void be_killed(int to_parent)
{
    int64_t nothing = 0;

    acknowledgements = to_parent;
    open_store();
    for (int i = 0; i < 20; i++)
        on_acknowledged(STORE_DONE, &nothing, NULL);
    loop_run(loop);
    _exit(1);
}

static void test_kill(void **state)
{
    int64_t most = 0;

    (void)state;
    for (int round = 0; round < 5; round++) {
        int ends[2], status;
        int64_t number;
        pid_t child;

        t_same_int(pipe(ends), 0);
        child = fork();
        if (child == 0)
            be_killed(ends[1]);
        close(ends[1]);
        for (int i = 0; i < 300 + 77 * round && read(ends[0], &number, sizeof(number)) == sizeof(number); i++)
            most = number > most ? number : most;
        kill(child, SIGKILL);
        waitpid(child, &status, 0);
        t_true(WIFSIGNALED(status));
        while (read(ends[0], &number, sizeof(number)) == sizeof(number))
            most = number > most ? number : most;
        close(ends[0]);
        t_case("after kill -9 the file is whole", NULL);
        t_same_int(ask_file("SELECT count(*) FROM pragma_integrity_check WHERE integrity_check = 'ok'"), 1);
        t_case("after kill -9 nothing that was answered is lost", NULL);
        t_true(ask_file("SELECT CAST(CAST(value AS TEXT) AS INTEGER) FROM rows") >= most);
    }
    t_true(most >= 1500);
    open_store();
    t_same_int(notes_corrupt, 0);
}

#define ROW(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ROW(test_kill), /* first: it forks, and there are no threads yet */
        ROW(test_round_trip),
        ROW(test_restart),
        ROW(test_close_finishes),
        ROW(test_two_loops),
        ROW(test_groups),
        ROW(test_overflow),
        ROW(test_cancel),
        ROW(test_expiry),
        ROW(test_expiry_slices),
        ROW(test_bounded_rows),
        ROW(test_each),
        ROW(test_url),
        ROW(test_missing_folder),
        ROW(test_unusable_paths),
        ROW(test_locked),
        ROW(test_disk_full),
        ROW(test_corrupt_at_start),
        ROW(test_corrupt_at_run_time),
        ROW(test_foreign_file),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
