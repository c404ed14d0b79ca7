#include "tests/store_bed.h"

#include "base/bug.h"
#include "base/log.h"

#include <glob.h>
#include <inttypes.h>
#include <sqlite3.h>
#include <stdio.h>
#include <unistd.h>

/* ---- the log, counted instead of written ---- */

atomic_int bed_notes_unavailable, bed_notes_available, bed_notes_corrupt, bed_notes_away, bed_notes_back,
    bed_notes_checkpoint, bed_notes_unsafe;

/* The linker puts this in log_note's place in the tests of store/ (Makefile: --wrap). */
void __wrap_log_note(enum log_level level, const char *event, const char *format, ...);

void __wrap_log_note(enum log_level level, const char *event, const char *format, ...)
{
    (void)format;
    bed_notes_unavailable += strcmp(event, "store-unavailable") == 0;
    bed_notes_available += strcmp(event, "store-available") == 0;
    bed_notes_corrupt += strcmp(event, "store-corrupt") == 0;
    bed_notes_away += strcmp(event, "store-away") == 0;
    bed_notes_back += strcmp(event, "store-back") == 0;
    bed_notes_checkpoint += strcmp(event, "store-checkpoint") == 0;
    bed_notes_unsafe += strcmp(event, "dmarc-journal") == 0 && level == LOG_WARNING;
}

/* ---- a clock that two threads may look at ---- */

atomic_llong bed_wall_s;
static atomic_llong mono_ms;

static int64_t test_unix_s(const struct clock *clock)
{
    (void)clock;
    return bed_wall_s;
}

static int64_t test_mono_ms(const struct clock *clock)
{
    (void)clock;
    return mono_ms;
}

const struct clock bed_clock = {test_unix_s, test_mono_ms};

void bed_advance_s(int64_t s)
{
    bed_wall_s += s;
    mono_ms += s * 1000;
}

/* ---- a bed: a folder, a file, a loop ---- */

char bed_folder[64], bed_file[96];
static char url[256];
struct loop *bed_loop;
struct store *bed_store;
struct store_settings bed_settings;
bool bed_is_heaped;

static void remove_files(void)
{
    char pattern[128];
    glob_t found;

    snprintf(pattern, sizeof(pattern), "%s/*", bed_folder);
    if (glob(pattern, 0, NULL, &found) == 0)
        for (size_t i = 0; i < found.gl_pathc; i++)
            if (unlink(found.gl_pathv[i]) != 0)
                rmdir(found.gl_pathv[i]);
    globfree(&found);
}

void bed_use_file(const char *path)
{
    static const struct store_table heaped[] = {{.name = "test", .heaped = true}};

    snprintf(url, sizeof(url), "sqlite:%s", path);
    bed_settings = (struct store_settings){.url = url, .timeout_ms = 20};
    if (bed_is_heaped) {
        bed_settings.tables = heaped;
        bed_settings.tables_count = COUNT(heaped);
    }
}

void bed_open_store(void)
{
    struct fail fail = {0};

    bed_store = store_open(&bed_settings, &bed_clock, &fail);
    if (bed_store == NULL)
        t_fail("%s", fail.text);
}

static int set_up(bool heaped)
{
    t_case("", NULL);
    bed_is_heaped = heaped;
    bed_wall_s = BED_START;
    mono_ms = 1000;
    bed_notes_unavailable = bed_notes_available = bed_notes_corrupt = bed_notes_checkpoint = 0;
    snprintf(bed_folder, sizeof(bed_folder), "/tmp/store-test-XXXXXX");
    if (mkdtemp(bed_folder) == NULL)
        return -1;
    snprintf(bed_file, sizeof(bed_file), "%s/state.db", bed_folder);
    bed_use_file(bed_file);
    bed_loop = loop_new();
    return 0;
}

int bed_set_up(void **state)
{
    (void)state;
    return set_up(false);
}

int bed_set_up_heaped(void **state)
{
    (void)state;
    return set_up(true);
}

/* Answers that were posted but not delivered are delivered here, to nobody. */
int bed_tear_down(void **state)
{
    (void)state;
    store_close(&bed_store);
    loop_stop(bed_loop);
    loop_run(bed_loop);
    loop_free(&bed_loop);
    remove_files();
    return rmdir(bed_folder);
}

/* ---- asking and waiting ---- */

static int awaited;

void bed_on_done(enum store_status status, const void *result, void *arg)
{
    struct bed_outcome *outcome = arg;

    outcome->calls++;
    outcome->status = status;
    memcpy(&outcome->number, result, sizeof(outcome->number));
    if (--awaited <= 0)
        loop_stop(bed_loop);
}

/* Adds the question to the number in each row; the result is the sum in the first. */
void bed_change_add(struct arena *mem, const void *question, struct store_row *rows, size_t count,
                    void *result)
{
    int64_t plus, expires_s[1];

    memcpy(&plus, question, sizeof(plus));
    memcpy(expires_s, (const char *)question + sizeof(plus), sizeof(expires_s));
    for (size_t i = 0; i < count; i++) {
        uint64_t number = 0;

        str_to_u64(rows[i].value, UINT64_MAX, &number);
        number += (uint64_t)plus;
        if (i == 0)
            memcpy(result, &number, sizeof(number));
        if (plus != 0)
            rows[i] = (struct store_row){str_of(str_fmt(mem, "%" PRIu64, number)), expires_s[0]};
    }
}

static struct store_request request_to_add(struct str key, const int64_t question[2])
{
    return (struct store_request){.table = "test",
                                  .keys = {key},
                                  .keys_count = 1,
                                  .change = bed_change_add,
                                  .question = question,
                                  .question_bytes = 2 * sizeof(question[0]),
                                  .result_bytes = 8};
}

struct store_token *bed_start_add(struct str key, int64_t plus, int64_t expires_unix,
                                  struct bed_outcome *outcome)
{
    int64_t question[2] = {plus, expires_unix};
    struct store_request request = request_to_add(key, question);

    return store_update(bed_store, bed_loop, &request, bed_on_done, outcome);
}

void bed_run_until(int answers)
{
    awaited = answers;
    while (awaited > 0) /* a stop that comes after the last answer ends the next run early */
        loop_run(bed_loop);
}

struct bed_outcome bed_add(const char *key, int64_t number, int64_t expires_unix)
{
    struct bed_outcome outcome = {0};

    bed_start_add(str_of(key), number, expires_unix, &outcome);
    t_same_int(outcome.calls, 0);
    bed_run_until(1);
    t_same_int(outcome.calls, 1);
    return outcome;
}

int64_t bed_value_of(const char *key)
{
    struct bed_outcome outcome = bed_add(key, 0, 0);

    t_same_int(outcome.status, STORE_DONE);
    return outcome.number;
}

void bed_added(const char *key, int64_t number, int64_t expires_unix)
{
    t_same_int(bed_add(key, number, expires_unix).status, STORE_DONE);
}

/* ---- looking at the file from outside ---- */

int64_t bed_ask_file(const char *sql)
{
    sqlite3 *db = NULL;
    sqlite3_stmt *st = NULL;
    int64_t number = -1;

    if (sqlite3_open(bed_file, &db) == SQLITE_OK && sqlite3_prepare_v2(db, sql, -1, &st, NULL) == SQLITE_OK &&
        sqlite3_step(st) == SQLITE_ROW)
        number = sqlite3_column_int64(st, 0);
    sqlite3_finalize(st);
    sqlite3_close(db);
    return number;
}

int64_t bed_count_rows(void)
{
    return bed_ask_file("SELECT (SELECT count(*) FROM rows) + (SELECT count(*) FROM heap)");
}

void bed_change_file(const char *sql)
{
    sqlite3 *db = NULL;

    sqlite3_open(bed_file, &db);
    sqlite3_db_config(db, SQLITE_DBCONFIG_DEFENSIVE, 0, NULL);
    if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK)
        t_fail("%s: %s", sql, sqlite3_errmsg(db));
    sqlite3_close(db);
}

size_t bed_files_like(const char *ending)
{
    char pattern[160];
    glob_t found = {0};
    size_t count;

    snprintf(pattern, sizeof(pattern), "%s%s", bed_file, ending);
    glob(pattern, 0, NULL, &found);
    count = found.gl_pathc;
    globfree(&found);
    return count;
}

void bed_write_file(const char *bytes, size_t n, long at, const char *mode)
{
    FILE *f = fopen(bed_file, mode);

    if (f == NULL)
        t_fail("cannot open %s", bed_file);
    fseek(f, at, SEEK_SET);
    fwrite(bytes, 1, n, f);
    fclose(f);
}
