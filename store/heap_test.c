/* What is particular to the heap: other processes that write to it, rows that went, and files of before. */
#include "store/heap.h"

#include "base/bug.h"
#include "tests/store_bed.h"

#include <sqlite3.h>
#include <stdio.h>

/* ---- another one who writes ---- */

static struct store *mine, *others;

static void open_both(bool guest)
{
    bed_open_store();
    mine = bed_store;
    bed_settings.guest = guest;
    bed_open_store();
    others = bed_store;
}

static void close_others(void)
{
    store_close(&others);
    bed_store = mine;
}

static void ask_as(struct store *who)
{
    bed_store = who;
}

static void test_another_writer(void **state)
{
    for (int guest = 0; guest < 2; guest++) {
        open_both(guest != 0);
        t_case(guest ? "a guest sees what is there" : "another daemon sees what is there", NULL);
        ask_as(mine);
        bed_added("a", 1, 0);
        ask_as(others);
        t_same_int(bed_value_of("a"), 1);
        t_case("each adds to the other's row, and to rows that the other made", NULL);
        for (int i = 0; i < 6; i++) {
            ask_as(i % 2 == 0 ? others : mine);
            bed_added("a", 1, 0);
            bed_added(i < 3 ? "b" : "c", 1, BED_START + 4000 * (i + 1));
        }
        t_same_int(bed_value_of("a"), 7);
        t_same_int(bed_value_of("b"), 3);
        t_same_int(bed_value_of("c"), 3);
        ask_as(others);
        t_same_int(bed_value_of("c"), 3);
        t_same_int(bed_count_rows(), 3);
        close_others();
        store_close(&bed_store);
        bed_change_file("DELETE FROM heap");
        bed_settings.guest = false;
    }
    (void)state;
}

static void test_deleted_elsewhere(void **state)
{
    (void)state;
    bed_open_store();
    bed_added("a", 1, 0);
    bed_added("b", 2, 0);
    t_case("what another process deletes is gone at the next question", NULL);
    bed_change_file("DELETE FROM heap");
    t_same_int(bed_value_of("b"), 0);
    t_case("and may come again, here or there, though b's was the last of all ids", NULL);
    bed_change_file(
        "INSERT INTO heap (tbl, key, value, expires, expires_hour) VALUES ('test', x'63', x'39', 0, 0)");
    t_same_int(bed_value_of("c"), 9);
    bed_added("b", 5, 0);
    t_same_int(bed_value_of("b"), 5);
    t_same_int(bed_value_of("a"), 0);
    t_same_int(bed_count_rows(), 2);
    t_case("a row whose id has another key now is not taken for it", NULL);
    bed_change_file("UPDATE heap SET key = x'64' WHERE key = x'62'");
    t_same_int(bed_value_of("b"), 0);
}

/* ---- rows that expire and come again ---- */

static void test_comes_again(void **state)
{
    char key[16];

    (void)state;
    bed_settings.rows_max = 100;
    bed_open_store();
    t_case("rows that come, expire and come again are there once", NULL);
    for (int day = 1; day <= 5; day++) {
        for (int i = 0; i < 90; i++) {
            snprintf(key, sizeof(key), "k%d", i);
            bed_added(key, day, bed_wall_s + 3000);
        }
        t_same_int(bed_value_of("k7"), day);
        bed_advance_s(86400);
        t_same_int(bed_value_of("k7"), 0);
    }
    t_case("a row that is used in another hour stays one row", NULL);
    bed_added("stays", 1, bed_wall_s + 10);
    bed_added("stays", 1, bed_wall_s + 7200);
    bed_advance_s(3700);
    for (int i = 0; i < 3; i++) /* what has expired goes behind one of these */
        t_same_int(bed_value_of("stays"), 2);
    t_case("one that is the first to go when the table is full, and is written by the same transaction",
           NULL);
    bed_added("first", 1, bed_wall_s + 1);
    for (int i = 0; i < 300; i++) {
        snprintf(key, sizeof(key), "n%d", i);
        bed_added(key, 1, bed_wall_s + 50000);
        bed_added("first", 1, bed_wall_s + 1);
    }
    t_same_int(bed_ask_file("SELECT count(*) FROM heap WHERE key = CAST('first' AS BLOB)"), 1);
    t_true(bed_count_rows() <= 100);
}

static void on_both(enum store_status status, const void *result, void *arg)
{
    (void)result;
    *(enum store_status *)arg = status;
    loop_stop(bed_loop);
}

static void test_goes_within_its_transaction(void **state)
{
    const int64_t question[2] = {1, BED_START + 1};
    const struct store_request both = {.table = "test",
                                       .keys = {STR("new"), STR("first")},
                                       .keys_count = 2,
                                       .change = bed_change_add,
                                       .question = question,
                                       .question_bytes = sizeof(question),
                                       .result_bytes = 8};
    enum store_status status = STORE_UNAVAILABLE;
    char key[16];

    (void)state;
    bed_settings.rows_max = 100;
    bed_open_store();
    bed_added("first", 5, BED_START + 1);
    for (int i = 0; i < 99; i++) {
        snprintf(key, sizeof(key), "k%d", i);
        bed_added(key, 1, BED_START + 50000);
    }
    t_case("a row that goes for one that is new, and is written behind it, is there as written", NULL);
    store_update(bed_store, bed_loop, &both, on_both, &status);
    loop_run(bed_loop);
    t_same_int(status, STORE_DONE);
    t_same_int(bed_value_of("first"), 6);
    t_same_int(bed_value_of("new"), 1);
    t_same_int(bed_ask_file("SELECT count(*) FROM heap WHERE key = CAST('first' AS BLOB)"), 1);
}

/* ---- counting ---- */

static void add_numbered(char first, int count, int64_t expires_unix)
{
    char key[16];

    for (int i = 0; i < count; i++) {
        snprintf(key, sizeof(key), "%c%d", first, i);
        bed_added(key, 1, expires_unix);
    }
}

static void test_counts_of_others(void **state)
{
    (void)state;
    bed_settings.rows_max = 100;
    bed_open_store();
    add_numbered('a', 100, bed_wall_s + 50000);
    t_case("a table that another process has emptied has room again: nothing new goes", NULL);
    bed_change_file("DELETE FROM heap");
    add_numbered('b', 50, bed_wall_s + 50000);
    t_same_int(bed_count_rows(), 50);
    t_case("rows that another process brings count", NULL);
    bed_change_file("WITH RECURSIVE n (i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 150)"
                    " INSERT INTO heap (tbl, key, value, expires, expires_hour)"
                    " SELECT 'test', CAST('c' || i AS BLOB), x'31', 1700040000, 472233 FROM n");
    add_numbered('d', 50, bed_wall_s + 50000);
    t_true(bed_count_rows() <= 100);
}

/* ---- memory ---- */

static struct str numbered(char buffer[16], int i)
{
    snprintf(buffer, 16, "k%d", i);
    return str_of(buffer);
}

static void test_memory(void **state)
{
    const struct store_row none = {0}, row = {STR("1"), BED_START};
    struct heap *heap = NULL;
    sqlite3 *db = NULL;
    struct fail fail;
    int64_t deleted;
    char key[16];

    (void)state;
    sqlite3_open(bed_file, &db);
    t_same_int(heap_open(db, &(struct sqlite_settings){0}, &heap, &fail), SQLITE_WORKED);
    for (int i = 0; i < 300; i++)
        t_same_int(heap_put(heap, "test", numbered(key, i), &none, &row, &fail), SQLITE_WORKED);
    t_same_int(heap_places(heap), 300);
    t_case("what expires leaves no place behind, nor what is deleted", NULL);
    t_same_int(heap_delete_first(heap, "test", INT64_MAX, 100, &deleted, &fail), SQLITE_WORKED);
    t_same_int(deleted, 100);
    t_same_int(heap_places(heap), 200);
    t_same_int(heap_put(heap, "test", numbered(key, 299), &row, &none, &fail), SQLITE_WORKED);
    t_same_int(heap_places(heap), 199);
    heap_close(&heap);
    sqlite3_close(db);
}

static void test_guest_looks_first(void **state)
{
    const struct sqlite_settings settings = {.guest = true};
    struct heap *heap = NULL;
    sqlite3 *db = NULL, *other = NULL;
    struct fail fail;

    (void)state;
    bed_open_store();
    bed_added("a", 1, 0);
    store_close(&bed_store);
    sqlite3_open(bed_file, &other);
    sqlite3_open(bed_file, &db);
    t_case("a guest who opens the heap reads none of it; to look through it he neither takes nor needs the lock",
           NULL);
    t_same_int(heap_open(db, &settings, &heap, &fail), SQLITE_WORKED);
    t_same_int(heap_places(heap), 0);
    t_same_int(sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    t_same_int(heap_look(heap, &fail), SQLITE_WORKED);
    t_same_int(heap_places(heap), 1);
    t_same_int(sqlite3_txn_state(db, NULL), SQLITE_TXN_NONE);
    sqlite3_exec(other, "COMMIT", NULL, NULL, NULL);
    heap_close(&heap);
    sqlite3_close(db);
    sqlite3_close(other);
}

/* ---- files of before ---- */

static const char before[] =
    "CREATE TABLE rows (tbl TEXT NOT NULL, key BLOB NOT NULL, value BLOB NOT NULL, expires INTEGER NOT NULL,"
    " expires_hour INTEGER NOT NULL) STRICT; CREATE UNIQUE INDEX rows_by_key ON rows (tbl, key);"
    "CREATE INDEX rows_by_hour ON rows (tbl, expires_hour) WHERE expires_hour > 0;"
    "PRAGMA application_id = 1936159332; PRAGMA user_version = 1; PRAGMA journal_mode = WAL;"
    "WITH RECURSIVE n (i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 1200)"
    " INSERT INTO rows SELECT 'test', CAST('k' || i AS BLOB), CAST(i AS BLOB), 0, 0 FROM n;"
    "INSERT INTO rows VALUES ('other', x'61', x'37', 0, 0)";

static void test_file_of_before(void **state)
{
    static const struct store_table tables[] = {{.name = "test", .heaped = true}, {.name = "other"}};

    (void)state;
    bed_settings.tables = tables;
    bed_settings.tables_count = COUNT(tables);
    bed_change_file(before);
    t_case("a guest leaves the rows where the daemon of before finds them", NULL);
    bed_settings.guest = true;
    bed_open_store();
    t_same_int(bed_value_of("k1"), 0);
    store_close(&bed_store);
    t_same_int(bed_ask_file("SELECT count(*) FROM rows"), 1201);
    t_case("the daemon moves them, those of the heap's tables", NULL);
    bed_settings.guest = false;
    bed_open_store();
    t_same_int(bed_ask_file("SELECT count(*) FROM rows"), 1);
    t_same_int(bed_ask_file("SELECT count(*) FROM heap"), 1200);
    t_same_int(bed_value_of("k1"), 1);
    t_same_int(bed_value_of("k1200"), 1200);
    t_case("and once more, when the program of before was back: what the heap has is newer", NULL);
    bed_added("k5", 100, 0);
    store_close(&bed_store);
    bed_change_file("INSERT INTO rows VALUES ('test', CAST('k5' AS BLOB), x'39', 0, 0),"
                    " ('test', CAST('k5000' AS BLOB), x'38', 0, 0)");
    bed_open_store();
    t_same_int(bed_value_of("k5"), 105);
    t_same_int(bed_value_of("k5000"), 8);
    t_same_int(bed_count_rows(), 1202);
    t_same_int(bed_notes_unavailable + bed_notes_corrupt, 0);
}

/* ---- reading ---- */

static bool on_row(struct str key, struct str value, int64_t expires_unix, void *arg)
{
    (void)value, (void)expires_unix;
    snprintf((char *)arg + strlen(arg), 32, "%.*s ", STR_ARG(key));
    return true;
}

static void test_prefix(void **state)
{
    char seen[128] = "";
    struct fail fail;

    (void)state;
    bed_open_store();
    bed_added("%_b", 1, 0);
    bed_added("%_a", 1, 0);
    bed_added("xyz", 1, 0);
    bed_added("%", 1, 0);
    t_case("a prefix is octets, not a pattern", NULL);
    t_same_int(store_each(bed_store, "test", STR("%_"), on_row, seen, &fail), 0);
    t_same_z(seen, "%_a %_b ");
    t_case("one key is found, and only that", NULL);
    seen[0] = '\0';
    t_same_int(store_find(bed_store, "test", STR("%"), on_row, seen, &fail), 0);
    t_same_z(seen, "% ");
}

#define ROW(test) cmocka_unit_test_setup_teardown(test, bed_set_up_heaped, bed_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ROW(test_another_writer),   ROW(test_deleted_elsewhere),
        ROW(test_comes_again),      ROW(test_goes_within_its_transaction),
        ROW(test_counts_of_others), ROW(test_memory),
        ROW(test_guest_looks_first),
        ROW(test_file_of_before),   ROW(test_prefix),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
