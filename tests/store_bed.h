/*
 * tests/store_bed.h - a store on a file of its own, for the tests of store/
 *
 * One bed a test (bed_set_up, bed_tear_down): a folder, a file in it, a loop, and a clock that the test
 * moves. The log is counted instead of written.
 */
#ifndef TESTS_STORE_BED_H
#define TESTS_STORE_BED_H

#include "store/store.h"
#include "tests/t.h"

#include <stdatomic.h>

enum { BED_START = 1700000000 };

extern atomic_int bed_notes_unavailable, bed_notes_available, bed_notes_corrupt, bed_notes_away,
    bed_notes_back, bed_notes_checkpoint, bed_notes_unsafe;
extern atomic_llong bed_wall_s; /* two threads look at it */
extern char bed_folder[64], bed_file[96];
extern struct loop *bed_loop;
extern struct store *bed_store;
extern struct store_settings bed_settings; /* change them before bed_open_store() */

extern bool bed_is_heaped; /* the table "test" lies in the heap (store/heap.h) */

int bed_set_up(void **state);
int bed_set_up_heaped(void **state);
int bed_tear_down(void **state);
void bed_use_file(const char *path);
void bed_open_store(void);
void bed_advance_s(int64_t s); /* both clocks */
extern const struct clock bed_clock;

struct bed_outcome {
    int calls;
    enum store_status status;
    int64_t number;
};

/* Adds to the number in each row (`question` is the addend and the time of expiry); the result is the first
 * row's number. */
store_change_fn bed_change_add;
store_done_fn bed_on_done; /* arg: a struct bed_outcome */
struct store_token *bed_start_add(struct str key, int64_t plus, int64_t expires_unix,
                                  struct bed_outcome *outcome);
void bed_run_until(int answers);

/* The same with the answer awaited. */
struct bed_outcome bed_add(const char *key, int64_t number, int64_t expires_unix);
void bed_added(const char *key, int64_t number, int64_t expires_unix);
int64_t bed_value_of(const char *key);

/* The file, seen from outside. */
int64_t bed_ask_file(const char *sql); /* the first number, or -1 */
int64_t bed_count_rows(void);          /* expired or not, wherever they lie */
void bed_change_file(const char *sql);
void bed_write_file(const char *bytes, size_t n, long at, const char *mode);
size_t bed_files_like(const char *ending); /* how many have the file's name with this pattern behind it */

#endif
