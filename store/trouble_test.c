/* The store when things go wrong: no folder, no room, a lock, damage, kill -9. */
#include "store/store.h"

#include "base/bug.h"
#include "tests/store_bed.h"

#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- trouble ---- */

static void test_url(void **state)
{
    static const char *const rows[] = {"", "sqlite:", "/var/lib/state.db", "valkey://localhost/0"};
    struct fail fail;

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        bed_settings.url = rows[i];
        t_case(rows[i], NULL);
        t_true(store_open(&bed_settings, &bed_clock, &fail) == NULL);
        t_true(strstr(fail.text, "sqlite:PATH") != NULL);
    }
}

static void t_unavailable_said_once(void)
{
    t_true(!store_is_available(bed_store));
    for (int i = 0; i < 3; i++)
        t_same_int(bed_add("a", 1, 0).status, STORE_UNAVAILABLE);
    bed_advance_s(5);
    t_same_int(bed_add("a", 1, 0).status, STORE_UNAVAILABLE);
    t_same_int(bed_notes_unavailable, 1);
    t_same_int(bed_notes_available, 0);
}

static void t_available_said_once(void)
{
    t_same_int(bed_add("a", 1, 0).status, STORE_UNAVAILABLE); /* not before it is time to try again */
    bed_advance_s(5);
    bed_added("a", 1, 0);
    bed_added("a", 1, 0);
    t_true(store_is_available(bed_store));
    t_same_int(bed_notes_unavailable, 1);
    t_same_int(bed_notes_available, 1);
    t_same_int(bed_notes_corrupt, 0);
}

static void test_missing_folder(void **state)
{
    char folder2[96], path[128];

    (void)state;
    snprintf(folder2, sizeof(folder2), "%s/later", bed_folder);
    snprintf(path, sizeof(path), "%s/state.db", folder2);
    bed_use_file(path);
    bed_open_store();
    t_case("a missing folder is said once, and every request answered", NULL);
    t_unavailable_said_once();
    t_case("when it comes, the store uses it, and says so once", NULL);
    t_same_int(mkdir(folder2, 0700), 0);
    t_available_said_once();
    store_close(&bed_store);
    t_same_int(unlink(path), 0);
}

static void test_unusable_paths(void **state)
{
    char below[112];

    (void)state;
    t_case("a path below a file", NULL);
    bed_write_file("x", 1, 0, "w");
    snprintf(below, sizeof(below), "%s/db", bed_file);
    bed_use_file(below);
    bed_open_store();
    t_unavailable_said_once();
    store_close(&bed_store);
    t_case("a folder that takes no files", NULL);
    bed_notes_unavailable = 0;
    bed_use_file("/proc/state.db");
    bed_open_store();
    t_unavailable_said_once();
    store_close(&bed_store);
    t_case("a path that is a folder", NULL);
    bed_notes_unavailable = 0;
    bed_use_file(bed_folder);
    bed_open_store();
    t_unavailable_said_once();
}

static sqlite3 *lock_file(void)
{
    sqlite3 *other = NULL;

    sqlite3_open(bed_file, &other);
    t_same_int(sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    return other;
}

static void free_file(sqlite3 *other)
{
    sqlite3_exec(other, "COMMIT", NULL, NULL, NULL);
    sqlite3_close(other);
}

static void test_locked(void **state)
{
    sqlite3 *other;

    (void)state;
    bed_open_store();
    bed_added("a", 1, 0);
    other = lock_file();
    t_case("locked by another process: no answer, said once", NULL);
    t_same_int(bed_add("a", 1, 0).status, STORE_UNAVAILABLE);
    t_unavailable_said_once();
    free_file(other);
    t_case("free again: at once as before, and said once", NULL);
    bed_added("a", 2, 0);
    t_same_int(bed_value_of("a"), 3);
    t_true(store_is_available(bed_store));
    t_same_int(bed_notes_unavailable, 1);
    t_same_int(bed_notes_available, 1);
}

/* A limit on the size of files stands for a full disk: the write fails half-way. */
static void test_disk_full(void **state)
{
    struct rlimit before, tight;
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    char key[16];

    (void)state;
    bed_open_store();
    bed_added("a", 1, 0);
    getrlimit(RLIMIT_FSIZE, &before);
    tight = before;
    tight.rlim_cur = 24 * 1024;
    setrlimit(RLIMIT_FSIZE, &tight);
    t_case("a full disk: no answer, said once", NULL);
    for (int i = 0; i < 100 && bed_notes_unavailable == 0; i++) {
        snprintf(key, sizeof(key), "k%d", i);
        bed_add(key, 1, 0);
    }
    t_same_int(bed_notes_unavailable, 1);
    t_same_int(bed_add("a", 1, 0).status, STORE_UNAVAILABLE);
    setrlimit(RLIMIT_FSIZE, &before);
    signal(SIGXFSZ, handler);
    t_case("room again: as before, and nothing is lost", NULL);
    t_available_said_once();
    t_same_int(bed_value_of("a"), 3);
    t_same_int(bed_ask_file("SELECT count(*) FROM pragma_integrity_check WHERE integrity_check <> 'ok'"), 0);
}

/* Rows that have expired go when nobody waits, at the end of a request that writes nothing. */
static void test_disk_full_while_rows_expire(void **state)
{
    struct rlimit before, none;
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    char key[16];

    (void)state;
    bed_open_store();
    for (int i = 0; i < 50; i++) {
        snprintf(key, sizeof(key), "k%d", i);
        bed_added(key, 1, bed_wall_s + 10);
    }
    bed_advance_s(2 * 3600);
    getrlimit(RLIMIT_FSIZE, &before);
    none = before;
    none.rlim_cur = 1024;
    setrlimit(RLIMIT_FSIZE, &none);
    for (int i = 0; i < 3; i++)
        bed_add("nobody", 0, 0);
    setrlimit(RLIMIT_FSIZE, &before);
    signal(SIGXFSZ, handler);
    bed_advance_s(5);
    t_case("when they could not go, a row that comes again is there once", NULL);
    for (int i = 0; i < 50; i++) {
        snprintf(key, sizeof(key), "k%d", i);
        bed_added(key, 1, bed_wall_s + 50000);
    }
    t_same_int(bed_ask_file("SELECT count(*) - count(DISTINCT key) FROM heap"), 0);
}

static void test_corrupt_at_start(void **state)
{
    static const char garbage[] =
        "this is no database, and it is long enough to have a header of a hundred bytes: "
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    char key[16], name[32], page[4096];

    (void)state;
    snprintf(name, sizeof(name), ".corrupt-%d", BED_START);
    t_case("a file that is no database is set aside, and the store begins anew", NULL);
    bed_write_file(garbage, sizeof(garbage), 0, "w");
    bed_open_store();
    t_true(store_is_available(bed_store));
    t_same_int(bed_notes_corrupt, 1);
    t_same_int(bed_files_like(name), 1);
    for (int i = 0; i < 500; i++) {
        snprintf(key, sizeof(key), "k%d", i);
        bed_added(key, 1, 0);
    }
    store_close(&bed_store);
    t_case("a file with broken pages is set aside", NULL);
    memset(page, 0xa5, sizeof(page));
    bed_write_file(page, sizeof(page), 2 * (long)sizeof(page), "r+");
    bed_wall_s++;
    bed_open_store();
    t_same_int(bed_notes_corrupt, 2);
    t_same_int(bed_value_of("k1"), 0);
    t_case("the schema of another version is set aside", NULL);
    store_close(&bed_store);
    bed_change_file("PRAGMA user_version = 99");
    bed_wall_s++;
    bed_open_store();
    t_same_int(bed_notes_corrupt, 3);
    bed_added("a", 1, 0);
    t_same_int(bed_notes_unavailable, 0);
    t_same_int(bed_files_like(".corrupt-*[0-9]"), 3);
}

static long owner_of(const char *path)
{
    struct stat file;

    t_same_int(stat(path, &file), 0);
    return (long)file.st_uid;
}

static bool on_found(struct str key, struct str value, int64_t expires_unix, void *arg)
{
    (void)key, (void)value, (void)expires_unix;
    ++*(int *)arg;
    return true;
}

static void test_guest(void **state)
{
    static const char garbage[] =
        "this is no database, and it is not ours to move: the daemon may have it open";
    sqlite3 *other;
    struct fail fail;
    int found = 0;
    char log[112];

    (void)state;
    bed_settings.guest = true;
    t_case("a guest leaves a damaged file where it is", NULL);
    bed_write_file(garbage, sizeof(garbage), 0, "w");
    bed_open_store();
    t_unavailable_said_once();
    t_same_int(bed_files_like(".corrupt-*"), 0);
    t_same_int(bed_notes_corrupt, 0);
    store_close(&bed_store);
    t_case("a guest can read while another process writes all the time", NULL);
    t_same_int(unlink(bed_file), 0);
    bed_settings.guest = false;
    bed_open_store();
    bed_added("a", 5, 0);
    store_close(&bed_store);
    bed_settings.guest = true;
    other = lock_file();
    bed_open_store();
    t_true(store_is_available(bed_store));
    t_same_int(store_find(bed_store, "test", STR("a"), on_found, &found, &fail), 0);
    t_same_int(found, 1);
    t_same_int(bed_add("a", 1, 0).status, STORE_UNAVAILABLE);
    free_file(other);
    bed_added("a", 1, 0);
    store_close(&bed_store);
    t_case("a file that a guest makes belongs to the owner of its folder", NULL);
    t_same_int(unlink(bed_file), 0);
    if (geteuid() == 0)
        t_same_int(chown(bed_folder, 12345, 12346), 0);
    bed_open_store();
    bed_added("a", 1, 0);
    t_same_int(owner_of(bed_file), owner_of(bed_folder));
    snprintf(log, sizeof(log), "%s-wal", bed_file);
    t_same_int(owner_of(log), owner_of(bed_folder));
}

static void break_schema(void)
{
    bed_change_file(
        "PRAGMA writable_schema = ON; UPDATE sqlite_schema SET rootpage = 9999 WHERE name = 'rows';"
        "PRAGMA schema_version = 77");
}

static void test_corrupt_at_run_time(void **state)
{
    (void)state;
    bed_open_store();
    bed_added("a", 1, 0);
    break_schema();
    t_case("damage at run time: set aside, begun anew, and the request is answered from the new file", NULL);
    t_same_int(bed_add("a", 5, 0).number, 5);
    t_same_int(bed_notes_corrupt, 1);
    t_true(store_is_available(bed_store));
    t_same_int(bed_files_like(".corrupt-*[0-9]"), 1);
    t_case("again within the hour: the disk is ill, so no more files", NULL);
    break_schema();
    t_same_int(bed_add("a", 1, 0).status, STORE_UNAVAILABLE);
    t_unavailable_said_once();
    t_same_int(bed_files_like(".corrupt-*[0-9]"), 1);
    t_case("an hour later it may be tried once more", NULL);
    bed_advance_s(3600);
    bed_added("a", 1, 0);
    t_same_int(bed_notes_corrupt, 2);
    t_same_int(bed_notes_available, 1);
}

/* As the first release wrote it, to the letter: whatever the schema becomes, such a file opens and keeps its rows. */
static void test_first_schema(void **state)
{
    (void)state;
    bed_change_file("CREATE TABLE rows (tbl TEXT NOT NULL, key BLOB NOT NULL, value BLOB NOT NULL,"
                    " expires INTEGER NOT NULL, expires_hour INTEGER NOT NULL, PRIMARY KEY (tbl, key))"
                    " STRICT, WITHOUT ROWID;"
                    "CREATE INDEX rows_by_hour ON rows (tbl, expires_hour) WHERE expires_hour > 0;"
                    "PRAGMA application_id = 1936159332; PRAGMA user_version = 1;"
                    "INSERT INTO rows VALUES ('test', x'61', x'3137', 0, 0);"
                    "INSERT INTO rows VALUES ('test', x'62', x'3138', 1700003600, 472224);"
                    "INSERT INTO rows VALUES ('test', x'63', x'3139', 1600000000, 444446)");
    bed_open_store();
    t_case("a file of the first release keeps its rows", NULL);
    t_same_int(bed_value_of("a"), 17);
    t_same_int(bed_value_of("b"), 18);
    t_case("and those that have expired are not seen", NULL);
    t_same_int(bed_value_of("c"), 0);
    t_case("it can be written, and nothing was set aside", NULL);
    bed_added("a", 3, 0);
    t_same_int(bed_value_of("a"), 20);
    t_same_int(bed_files_like(".corrupt-*"), 0);
    t_same_int(bed_notes_unavailable, 0);
}

static void test_foreign_file(void **state)
{
    (void)state;
    bed_change_file("CREATE TABLE accounts (id); INSERT INTO accounts VALUES (1)");
    bed_open_store();
    t_case("another program's database is left alone", NULL);
    t_unavailable_said_once();
    t_same_int(bed_notes_corrupt, 0);
    t_same_int(bed_files_like(".corrupt-*"), 0);
    t_same_int(bed_ask_file("SELECT count(*) FROM accounts"), 1);
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
                                    .change = bed_change_add,
                                    .question = question,
                                    .question_bytes = sizeof(question),
                                    .result_bytes = 8};
    store_update(bed_store, bed_loop, &request, on_acknowledged, NULL);
}

static _Noreturn void be_killed(int to_parent)
{
    int64_t nothing = 0;

    acknowledgements = to_parent;
    bed_settings.log_bytes = 64 * 1024; /* so that checkpoints are killed, too */
    bed_open_store();
    for (int i = 0; i < 20; i++)
        on_acknowledged(STORE_DONE, &nothing, NULL);
    loop_run(bed_loop);
    _exit(1);
}

static void test_kill(void **state)
{
    const char *wanted = getenv("SMTPGUARD_KILLS"); /* tests/long/store_long.py wants more */
    int rounds = wanted != NULL ? atoi(wanted) : 5;
    int64_t most = 0;

    (void)state;
    t_true(rounds >= 5);
    for (int round = 0; round < rounds; round++) {
        int ends[2], status;
        int64_t number;
        pid_t child;

        t_same_int(pipe(ends), 0);
        child = fork();
        if (child == 0)
            be_killed(ends[1]);
        close(ends[1]);
        for (int i = 0;
             i < 300 + 77 * (round % 10) && read(ends[0], &number, sizeof(number)) == sizeof(number); i++)
            most = number > most ? number : most;
        kill(child, SIGKILL);
        waitpid(child, &status, 0);
        t_true(WIFSIGNALED(status));
        while (read(ends[0], &number, sizeof(number)) == sizeof(number))
            most = number > most ? number : most;
        close(ends[0]);
        t_case("after kill -9 the file is whole", NULL);
        t_same_int(bed_ask_file("SELECT count(*) FROM pragma_integrity_check WHERE integrity_check = 'ok'"),
                   1);
        t_case("after kill -9 nothing that was answered is lost", NULL);
        t_true(bed_ask_file("SELECT CAST(CAST(value AS TEXT) AS INTEGER) FROM"
                            " (SELECT value FROM rows UNION ALL SELECT value FROM heap)") >= most);
    }
    t_true(most >= 1500);
    bed_open_store();
    t_same_int(bed_notes_corrupt, 0);
}

#define ROW(test)    cmocka_unit_test_setup_teardown(test, bed_set_up, bed_tear_down)
#define HEAPED(test) {"heaped " #test, test, bed_set_up_heaped, bed_tear_down, NULL}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ROW(test_kill), /* first: it forks, and there are no threads yet */
        HEAPED(test_kill),
        ROW(test_url),
        ROW(test_missing_folder),
        ROW(test_unusable_paths),
        ROW(test_locked),
        ROW(test_disk_full),
        HEAPED(test_disk_full),
        HEAPED(test_disk_full_while_rows_expire),
        ROW(test_corrupt_at_start),
        ROW(test_corrupt_at_run_time),
        HEAPED(test_corrupt_at_run_time),
        ROW(test_first_schema),
        ROW(test_guest),
        HEAPED(test_guest),
        ROW(test_foreign_file),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
