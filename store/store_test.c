#include "store/store.h"

#include "base/bug.h"
#include "tests/store_bed.h"

#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>

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

static struct store_token *start_wait(struct gate *gate, struct bed_outcome *outcome)
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
    token = store_update(bed_store, bed_loop, &request, bed_on_done, outcome);
    sem_wait(&gate->reached);
    return token;
}

/* The store's thread deletes after it has answered: give it a moment. */
static void wait_for_rows(int64_t want)
{
    const struct timespec moment = {0, 1000000};

    for (int i = 0; i < 2000 && bed_count_rows() != want; i++)
        nanosleep(&moment, NULL);
    t_same_int(bed_count_rows(), want);
}

/* ---- what it keeps ---- */

static void test_round_trip(void **state)
{
    struct bed_outcome outcome = {0};
    struct store_request erase = {.table = "test",
                                  .keys = {STR("a"), STR("b\0c")},
                                  .keys_count = 2,
                                  .change = change_delete,
                                  .result_bytes = 8};

    (void)state;
    bed_open_store();
    t_case("a row that is not there is empty", NULL);
    t_same_int(bed_value_of("a"), 0);
    t_case("what is written is read again", NULL);
    bed_added("a", 5, 0);
    t_same_int(bed_value_of("a"), 5);
    t_case("a NUL in a key is an ordinary byte", NULL);
    bed_start_add(STR("b\0c"), 7, 0, &outcome);
    bed_run_until(1);
    t_same_int(bed_value_of("b"), 0);
    t_case("several keys change together, and an empty value deletes", NULL);
    t_same_int(bed_count_rows(), 2);
    store_update(bed_store, bed_loop, &erase, bed_on_done, &outcome);
    bed_run_until(1);
    t_same_int(outcome.status, STORE_DONE);
    t_same_int(bed_count_rows(), 0);
    t_case("tables do not see each other's keys", NULL);
    bed_change_file(bed_is_heaped ? "INSERT INTO heap VALUES (999, 'other', x'61', x'39', 0, 0)"
                                  : "INSERT INTO rows VALUES ('other', x'61', x'39', 0, 0)");
    t_same_int(bed_value_of("a"), 0);
    t_case("the file is not for everybody", NULL);
    struct stat st;
    t_same_int(stat(bed_file, &st), 0);
    t_same_int(st.st_mode & 0007, 0);
}

static void test_restart(void **state)
{
    (void)state;
    bed_open_store();
    bed_added("a", 3, 0);
    store_close(&bed_store);
    t_case("a restart keeps the rows", NULL);
    bed_open_store();
    t_same_int(bed_value_of("a"), 3);
    t_same_int(bed_notes_unavailable + bed_notes_available + bed_notes_corrupt, 0);
}

static void test_close_finishes(void **state)
{
    struct bed_outcome outcomes[10] = {0};

    (void)state;
    bed_open_store();
    for (size_t i = 0; i < COUNT(outcomes); i++)
        bed_start_add(STR("a"), 1, 0, &outcomes[i]);
    store_close(&bed_store);
    t_case("what was asked before the end is answered", NULL);
    bed_run_until(10);
    for (size_t i = 0; i < COUNT(outcomes); i++)
        t_same_int(outcomes[i].calls, 1);
    bed_open_store();
    t_same_int(bed_value_of("a"), 10);
}

/* ---- atomicity, grouping ---- */

struct adder {
    struct loop *own;
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
                                    .change = bed_change_add,
                                    .question = question,
                                    .question_bytes = sizeof(question),
                                    .result_bytes = 8};

    adder->asked++;
    store_update(bed_store, adder->own, &request, on_added, adder);
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
        loop_stop(adder->own);
}

static void *run_adder(void *arg)
{
    struct adder *adder = arg;

    for (int i = 0; i < ADDS_AT_ONCE; i++)
        start_adder(adder);
    loop_run(adder->own);
    return NULL;
}

static void test_two_loops(void **state)
{
    struct adder adders[2] = {{.own = loop_new()}, {.own = loop_new()}};
    pthread_t threads[2];

    (void)state;
    bed_open_store();
    for (size_t i = 0; i < 2; i++)
        pthread_create(&threads[i], NULL, run_adder, &adders[i]);
    for (size_t i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    t_case("no addition of two threads is lost", NULL);
    t_same_int(bed_value_of("sum"), 2 * ADDS);
    t_same_int(bed_value_of("sum2"), 2 * ADDS);
    store_close(&bed_store);
    loop_free(&adders[0].own);
    loop_free(&adders[1].own);
}

static void test_groups(void **state)
{
    struct gate gate;
    struct bed_outcome first = {0}, outcomes[99] = {0};

    (void)state;
    bed_open_store();
    start_wait(&gate, &first);
    for (size_t i = 0; i < COUNT(outcomes); i++)
        bed_start_add(STR("a"), 1, 0, &outcomes[i]);
    sem_post(&gate.open);
    bed_run_until(100);
    t_case("what gathers while one commits is one transaction", NULL);
    t_same_int(store_counts(bed_store).updates, 100);
    t_same_int(store_counts(bed_store).commits, 2);
    t_case("each sees what the one before it wrote", NULL);
    for (size_t i = 0; i < COUNT(outcomes); i++)
        t_same_int(outcomes[i].number, i + 1);
}

/* The thread may look by itself while they gather, and once more when it is handed the rest. */
static void test_gathers(void **state)
{
    enum { ONE_BY_ONE = 8 };
    static struct bed_outcome outcomes[3000];
    int64_t begun_ms;

    (void)state;
    bed_open_store();
    bed_added("a", 1, 0);
    store_gather(bed_store, bed_loop);
    for (size_t i = 0; i < COUNT(outcomes); i++)
        bed_start_add(STR("a"), 1, 0, &outcomes[i]);
    bed_run_until(COUNT(outcomes));
    t_case("what a loop asks for in one turn is one transaction", NULL);
    t_same_int(store_counts(bed_store).updates, COUNT(outcomes) + 1);
    t_true(store_counts(bed_store).commits <= 1 + 2);
    t_case("and the thread is woken at its end: by itself it would look once a second", NULL);
    begun_ms = clock_mono_ms(clock_system());
    for (size_t i = 0; i < ONE_BY_ONE; i++)
        bed_added("b", 1, 0);
    t_true(clock_mono_ms(clock_system()) - begun_ms < ONE_BY_ONE * 700);
    loop_before_waiting(bed_loop, NULL, NULL);
    t_case("a loop that does not gather is answered as before", NULL);
    bed_added("a", 1, 0);
    t_same_int(bed_value_of("a"), COUNT(outcomes) + 2);
}

static void test_overflow(void **state)
{
    struct gate gate;
    struct bed_outcome first = {0}, outcomes[12] = {0};

    (void)state;
    bed_settings.waiting_max = 8;
    bed_open_store();
    start_wait(&gate, &first);
    for (size_t i = 0; i < COUNT(outcomes); i++)
        bed_start_add(STR("a"), 1, 0, &outcomes[i]);
    t_case("no answer before the call has returned", NULL);
    for (size_t i = 0; i < COUNT(outcomes); i++)
        t_same_int(outcomes[i].calls, 0);
    t_case("a request beyond the limit is answered at once, on the next turn", NULL);
    bed_run_until(4);
    for (size_t i = 0; i < COUNT(outcomes); i++)
        t_same_int(outcomes[i].calls, i < 8 ? 0 : 1);
    t_same_int(outcomes[8].status, STORE_UNAVAILABLE);
    t_same_int(outcomes[11].status, STORE_UNAVAILABLE);
    sem_post(&gate.open);
    bed_run_until(9);
    t_same_int(outcomes[7].status, STORE_DONE);
    t_same_int(bed_value_of("a"), 8);
    t_same_int(store_counts(bed_store).unanswered, 4);
    t_true(store_is_available(bed_store));
}

/* ---- cancelling ---- */

static struct store_token *later_tokens[2];

static void on_done_cancel_others(enum store_status status, const void *result, void *arg)
{
    store_cancel(&later_tokens[0]);
    store_cancel(&later_tokens[1]);
    bed_on_done(status, result, arg);
}

static void test_cancel(void **state)
{
    struct gate gate;
    struct bed_outcome first = {0}, outcome = {0}, last = {0};
    struct store_token *token, *overflown;
    static const int64_t question[2] = {0, 0};
    struct store_request request = {.table = "test",
                                    .keys = {STR("a")},
                                    .keys_count = 1,
                                    .change = bed_change_add,
                                    .question = question,
                                    .question_bytes = sizeof(question),
                                    .result_bytes = 8};

    (void)state;
    bed_open_store();
    t_case("nothing to cancel is fine", NULL);
    token = NULL;
    store_cancel(&token);

    t_case("cancelled while it waits, it never calls back; the change may still happen", NULL);
    start_wait(&gate, &first);
    token = bed_start_add(STR("a"), 1, 0, &outcome);
    store_cancel(&token);
    t_true(token == NULL);
    sem_post(&gate.open);
    bed_run_until(1);
    t_same_int(bed_value_of("a"), 1);
    t_same_int(outcome.calls, 0);

    t_case("cancelled while it runs, it never calls back", NULL);
    token = start_wait(&gate, &outcome);
    store_cancel(&token);
    sem_post(&gate.open);
    t_same_int(bed_value_of("a"), 1);
    t_same_int(outcome.calls, 0);

    t_case("cancelled after its answer was posted, it never calls back", NULL);
    uint64_t commits = store_counts(bed_store).commits;
    token = bed_start_add(STR("a"), 1, 0, &outcome);
    while (store_counts(bed_store).commits == commits)
        sched_yield();
    store_cancel(&token);
    t_same_int(bed_value_of("a"), 2);
    t_same_int(outcome.calls, 0);

    t_case("a callback cancels others of the same delivery", NULL);
    start_wait(&gate, &first);
    store_update(bed_store, bed_loop, &request, on_done_cancel_others, &last);
    later_tokens[0] = bed_start_add(STR("a"), 1, 0, &outcome);
    later_tokens[1] = bed_start_add(STR("a"), 1, 0, &outcome);
    sem_post(&gate.open);
    bed_run_until(2);
    t_same_int(last.calls, 1);
    t_same_int(bed_value_of("a"), 4);
    t_same_int(outcome.calls, 0);

    t_case("an answer of overflow can be cancelled as well", NULL);
    store_close(&bed_store);
    bed_settings.waiting_max = 1;
    bed_open_store();
    start_wait(&gate, &first);
    bed_start_add(STR("a"), 1, 0, &last);
    overflown = bed_start_add(STR("a"), 1, 0, &outcome);
    store_cancel(&overflown);
    sem_post(&gate.open);
    bed_run_until(2);
    t_same_int(outcome.calls, 0);
}

/* ---- forgetting ---- */

static void test_expiry(void **state)
{
    (void)state;
    bed_open_store();
    bed_added("a", 5, BED_START + 100);
    bed_wall_s = BED_START + 99;
    t_case("a row is there until the second before it expires", NULL);
    t_same_int(bed_value_of("a"), 5);
    bed_wall_s = BED_START + 100;
    t_case("an expired row is invisible, though it still lies in the file", NULL);
    t_same_int(bed_value_of("a"), 0);
    t_same_int(bed_count_rows(), 1);
    t_case("a row that expires never stays", NULL);
    bed_added("ever", 1, 0);
    bed_advance_s(1000000);
    t_same_int(bed_value_of("ever"), 1);
    t_case("expired rows are deleted when the queue is empty", NULL);
    wait_for_rows(1);
}

static void test_expiry_slices(void **state)
{
    char key[16];

    (void)state;
    bed_open_store();
    for (int i = 0; i < 620; i++) {
        snprintf(key, sizeof(key), "k%d", i);
        bed_added(key, 1, BED_START + 10);
    }
    bed_advance_s(3601);
    t_case("500 rows at a time", NULL);
    t_same_int(bed_value_of("k1"), 0);
    wait_for_rows(120);
    t_case("not again within a second", NULL);
    t_same_int(bed_value_of("k1"), 0);
    t_same_int(bed_value_of("k1"), 0);
    t_same_int(bed_count_rows(), 120);
    t_case("the rest a second later", NULL);
    bed_advance_s(1);
    t_same_int(bed_value_of("k1"), 0);
    wait_for_rows(0);
}

/* k0, k1, … each of which expires a second later than the one before. */
static void add_rows(int from, int to)
{
    char key[16];

    for (int i = from; i < to; i++) {
        snprintf(key, sizeof(key), "k%d", i);
        bed_added(key, 1, BED_START + 1000 + i);
    }
}

static void test_bounded_rows(void **state)
{
    char key[16];

    (void)state;
    bed_settings.rows_max = 50;
    bed_open_store();
    add_rows(0, 300);
    t_case("a table holds no more rows than its limit", NULL);
    t_true(bed_count_rows() <= 50);
    t_true(bed_count_rows() >= 40);
    t_case("those that would expire first have gone", NULL);
    t_same_int(bed_value_of("k299"), 1);
    t_same_int(bed_value_of("k0"), 0);
    t_case("rows that never expire neither count nor go", NULL);
    for (int i = 0; i < 60; i++) {
        snprintf(key, sizeof(key), "e%d", i);
        bed_added(key, 1, 0);
    }
    t_same_int(bed_value_of("e0"), 1);
    t_same_int(bed_value_of("k299"), 1);
    t_case("the count survives a restart", NULL);
    store_close(&bed_store);
    bed_open_store();
    add_rows(300, 400);
    t_true(bed_count_rows() - 60 <= 50);
}

static void test_limit_of_a_table(void **state)
{
    static struct store_table tables[] = {{.name = "other", .rows_max = 10}, {.name = "test", .rows_max = 80}};

    (void)state;
    tables[1].heaped = bed_is_heaped;
    bed_settings.rows_max = 50;
    bed_settings.tables = tables;
    bed_settings.tables_count = COUNT(tables);
    bed_open_store();
    add_rows(0, 300);
    t_case("a table may have a limit of its own", NULL);
    t_true(bed_count_rows() <= 80);
    t_true(bed_count_rows() > 50);
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
             expires_unix > 0 ? (int)(expires_unix - BED_START) : 0);
    return ++seen->count < seen->most;
}

static void test_each(void **state)
{
    struct seen all = {.most = 100}, some = {.most = 100}, two = {.most = 2};
    struct fail fail;

    (void)state;
    bed_open_store();
    bed_added("b2", 2, BED_START + 50);
    bed_added("a", 1, 0);
    bed_added("b1", 3, 0);
    bed_added("b0", 4, BED_START + 5);
    bed_wall_s = BED_START + 5;
    t_case("every row that has not expired, in the order of the keys", NULL);
    t_same_int(store_each(bed_store, "test", STR(""), on_row, &all, &fail), 0);
    t_same_z(all.text, "a=1/0 b1=3/0 b2=2/50 ");
    t_case("only those that begin with the prefix", NULL);
    t_same_int(store_each(bed_store, "test", STR("b"), on_row, &some, &fail), 0);
    t_same_z(some.text, "b1=3/0 b2=2/50 ");
    t_case("until it has seen enough", NULL);
    t_same_int(store_each(bed_store, "test", STR(""), on_row, &two, &fail), 0);
    t_same_z(two.text, "a=1/0 b1=3/0 ");
    t_case("a file that cannot be read is said", NULL);
    store_close(&bed_store);
    bed_use_file("/proc/state.db");
    bed_open_store();
    t_same_int(store_each(bed_store, "test", STR(""), on_row, &two, &fail), -1);
    t_true(strstr(fail.text, "/proc/state.db") != NULL);
}

#define ROW(test)    cmocka_unit_test_setup_teardown(test, bed_set_up, bed_tear_down)
#define HEAPED(test) {"heaped " #test, test, bed_set_up_heaped, bed_tear_down, NULL}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ROW(test_round_trip),
        ROW(test_restart),
        ROW(test_close_finishes),
        ROW(test_two_loops),
        ROW(test_groups),
        ROW(test_gathers),
        ROW(test_overflow),
        ROW(test_cancel),
        ROW(test_expiry),
        ROW(test_expiry_slices),
        ROW(test_bounded_rows),
        ROW(test_limit_of_a_table),
        ROW(test_each),
        HEAPED(test_round_trip),
        HEAPED(test_restart),
        HEAPED(test_two_loops),
        HEAPED(test_groups),
        HEAPED(test_expiry),
        HEAPED(test_expiry_slices),
        HEAPED(test_bounded_rows),
        HEAPED(test_limit_of_a_table),
        HEAPED(test_each),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
