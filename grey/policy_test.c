#include "grey/policy.h"

#include "base/bug.h"
#include "tests/t.h"

enum { T = 1700000000, DELAY = 240, WINDOW = 172800, KEEP = 3110400, YEAR = 31536000, HOUR = 3600 };

static const struct grey_rules rules = {DELAY, WINDOW, KEEP, 5};
static const struct grey_rules no_delay = {0, WINDOW, KEEP, 5};
static const struct grey_rules no_trust = {DELAY, WINDOW, KEEP, 0};

/* Remembered, then what happens at `now`, then remembered. Zero rows are no rows. */
static const struct {
    const char *name;
    const struct grey_rules *rules;
    struct grey_triple triple;
    struct grey_deliveries client;
    int64_t now;
    struct grey_answer want;
    struct grey_triple want_triple;
    struct grey_deliveries want_client;
} rows[] = {
    /* ---- strangers ---- */
    {"never seen: new, waits the whole delay", &rules, {0}, {0}, T, {GREY_NEW, DELAY, T}, {T, 0, T}, {0}},
    {"no delay: passes at once", &no_delay, {0}, {0}, T, {GREY_PASSED, 0, T}, {T, T, T}, {1, T, T, false}},
    {"in the same second: early", &rules, {T, 0, T}, {0}, T, {GREY_EARLY, DELAY, T}, {T, 0, T}, {0}},
    {"a second before the delay ends: early; the clock does not start again",
     &rules,
     {T, 0, T},
     {0},
     T + DELAY - 1,
     {GREY_EARLY, 1, T},
     {T, 0, T},
     {0}},
    {"at the second the delay ends: passes",
     &rules,
     {T, 0, T},
     {0},
     T + DELAY,
     {GREY_PASSED, 0, T},
     {T, T + DELAY, T + DELAY},
     {1, T + DELAY, T + DELAY, false}},
    {"a second before the window ends: passes",
     &rules,
     {T, 0, T},
     {0},
     T + WINDOW - 1,
     {GREY_PASSED, 0, T},
     {T, T + WINDOW - 1, T + WINDOW - 1},
     {1, T + WINDOW - 1, T + WINDOW - 1, false}},
    {"at the second the window ends: new again",
     &rules,
     {T, 0, T},
     {0},
     T + WINDOW,
     {GREY_NEW, DELAY, T + WINDOW},
     {T + WINDOW, 0, T + WINDOW},
     {0}},

    /* ---- acquaintances ---- */
    {"passed before: known, and kept from now on",
     &rules,
     {T, T + 300, T + 300},
     {1, T + 300, T + 300, false},
     T + 400,
     {GREY_KNOWN, 0, T},
     {T, T + 300, T + 400},
     {1, T + 300, T + 400, false}},
    {"a second before it is forgotten: known",
     &rules,
     {T, T + 300, T + 500},
     {1, T + 300, T + 500, false},
     T + 500 + KEEP - 1,
     {GREY_KNOWN, 0, T},
     {T, T + 300, T + 499 + KEEP},
     {2, T + 499 + KEEP, T + 499 + KEEP, false}},
    {"at the second it is forgotten: new, and so is the client",
     &rules,
     {T, T + 300, T + 500},
     {4, T + 300, T + 500, false},
     T + 500 + KEEP,
     {GREY_NEW, DELAY, T + 500 + KEEP},
     {T + 500 + KEEP, 0, T + 500 + KEEP},
     {0}},
    {"a known triple of a forgotten client",
     &rules,
     {T, T + 300, T + 500},
     {0},
     T + 600,
     {GREY_KNOWN, 0, T},
     {T, T + 300, T + 600},
     {1, T + 600, T + 600, false}},

    /* ---- counting ---- */
    {"a second before the hour is over: not counted",
     &rules,
     {T, T, T},
     {2, T, T, false},
     T + HOUR - 1,
     {GREY_KNOWN, 0, T},
     {T, T, T + HOUR - 1},
     {2, T, T + HOUR - 1, false}},
    {"an hour after the last one: counted",
     &rules,
     {T, T, T},
     {2, T, T + 9, false},
     T + HOUR,
     {GREY_KNOWN, 0, T},
     {T, T, T + HOUR},
     {3, T + HOUR, T + HOUR, false}},
    {"a triple that passes counts as well",
     &rules,
     {T, 0, T},
     {2, T - HOUR, T, false},
     T + DELAY,
     {GREY_PASSED, 0, T},
     {T, T + DELAY, T + DELAY},
     {3, T + DELAY, T + DELAY, false}},
    {"an attempt that waits is not counted",
     &rules,
     {0},
     {2, T - HOUR, T - 5, false},
     T,
     {GREY_NEW, DELAY, T},
     {T, 0, T},
     {2, T - HOUR, T - 5, false}},
    {"the fifth delivery is still asked for",
     &rules,
     {T, T, T},
     {4, T - HOUR, T, false},
     T + 10,
     {GREY_KNOWN, 0, T},
     {T, T, T + 10},
     {5, T + 10, T + 10, false}},

    /* ---- trust ---- */
    {"after five: trusted, no triple is made",
     &rules,
     {0},
     {5, T, T, false},
     T + 10,
     {GREY_TRUSTED, 0, 0},
     {0},
     {5, T, T + 10, false}},
    {"trusted: a triple that waits is not asked for",
     &rules,
     {T, 0, T},
     {5, T, T, false},
     T + 10,
     {GREY_TRUSTED, 0, T},
     {T, 0, T},
     {5, T, T + 10, false}},
    {"trust slides: a second before the end",
     &rules,
     {0},
     {5, T, T, false},
     T + KEEP - 1,
     {GREY_TRUSTED, 0, 0},
     {0},
     {5, T, T + KEEP - 1, false}},
    {"trust ends when it is not used",
     &rules,
     {0},
     {5, T, T, false},
     T + KEEP,
     {GREY_NEW, DELAY, T + KEEP},
     {T + KEEP, 0, T + KEEP},
     {0}},
    {"allow_after 0: never trusted",
     &no_trust,
     {0},
     {900, T, T, false},
     T + 10,
     {GREY_NEW, DELAY, T + 10},
     {T + 10, 0, T + 10},
     {900, T, T, false}},

    {"allowed by an operator: never asked, nothing is written",
     &rules,
     {0},
     {.counted_unix = T, .allowed = true},
     T + YEAR,
     {GREY_ALLOWED, 0, T},
     {0},
     {.counted_unix = T, .allowed = true}},

    /* ---- clocks that jump ---- */
    {"set back a year while waiting: the delay begins anew, once",
     &rules,
     {T, 0, T},
     {0},
     T - YEAR,
     {GREY_EARLY, DELAY, T - YEAR},
     {T - YEAR, 0, T - YEAR},
     {0}},
    {"set back a second while waiting",
     &rules,
     {T, 0, T},
     {0},
     T - 1,
     {GREY_EARLY, DELAY, T - 1},
     {T - 1, 0, T - 1},
     {0}},
    {"set back a year after it passed: known",
     &rules,
     {T, T + 300, T + 300},
     {1, T + 300, T + 300, false},
     T - YEAR,
     {GREY_KNOWN, 0, T - YEAR},
     {T - YEAR, T - YEAR, T - YEAR},
     {1, T - YEAR, T - YEAR, false}},
    {"set back a year: trust stays",
     &rules,
     {0},
     {5, T, T, false},
     T - YEAR,
     {GREY_TRUSTED, 0, 0},
     {0},
     {5, T - YEAR, T - YEAR, false}},
    {"set forward a year while waiting: new",
     &rules,
     {T, 0, T},
     {0},
     T + YEAR,
     {GREY_NEW, DELAY, T + YEAR},
     {T + YEAR, 0, T + YEAR},
     {0}},
    {"stamps at the end of time",
     &rules,
     {INT64_MAX, 0, INT64_MAX},
     {1, INT64_MAX, INT64_MAX, false},
     T,
     {GREY_EARLY, DELAY, T},
     {T, 0, T},
     {1, T, T, false}},
    {"a count at its end stays there",
     &rules,
     {T, T, T},
     {UINT32_MAX, T, T, false},
     T + HOUR,
     {GREY_TRUSTED, 0, T},
     {T, T, T},
     {UINT32_MAX, T, T + HOUR, false}},
};

static void t_same_memory(const struct grey_triple *got, const struct grey_triple *want)
{
    t_same_int(got->first_unix, want->first_unix);
    t_same_int(got->passed_unix, want->passed_unix);
    t_same_int(got->last_unix, want->last_unix);
}

static void t_same_client(const struct grey_deliveries *got, const struct grey_deliveries *want)
{
    t_same_int(got->count, want->count);
    t_same_int(got->counted_unix, want->counted_unix);
    t_same_int(got->last_unix, want->last_unix);
    t_same_int(got->allowed, want->allowed);
}

static void test_steps(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct grey_memory memory = {rows[i].triple, rows[i].client};
        struct grey_answer got;

        t_case(rows[i].name, NULL);
        got = grey_step(rows[i].rules, rows[i].now, &memory);
        t_same_z(grey_verdict_name(got.verdict), grey_verdict_name(rows[i].want.verdict));
        t_same_int(got.wait_s, rows[i].want.wait_s);
        t_same_int(got.first_unix, rows[i].want.first_unix);
        t_same_memory(&memory.triple, &rows[i].want_triple);
        t_same_client(&memory.client, &rows[i].want_client);
    }
}

static void test_story(void **state)
{
    struct grey_memory memory = {0};
    int64_t now = T;
    int asked = 0;

    (void)state;
    t_case("a host that tries every minute passes at the fourth try again", NULL);
    while (grey_must_wait(grey_step(&rules, now, &memory).verdict)) {
        now += 60;
        asked++;
    }
    t_same_int(asked, 4);
    t_case("five deliveries in five hours earn trust, fifty in one do not", NULL);
    for (int i = 0; i < 50; i++)
        t_same_int(grey_step(&rules, now + i, &memory).verdict, GREY_KNOWN);
    for (int hour = 1; hour <= 4; hour++)
        t_same_int(grey_step(&rules, now + hour * HOUR, &memory).verdict, GREY_KNOWN);
    t_same_int(grey_step(&rules, now + 5 * HOUR, &memory).verdict, GREY_TRUSTED);
}

/* ---- rows ---- */

static void test_rows(void **state)
{
    struct arena *mem = arena_new(0);
    struct grey_triple triple = {T, 0, T + 1}, again;
    struct grey_deliveries client = {4, T, T + 7, false}, client_again;
    struct store_row row;

    (void)state;
    t_case("a triple that waits lives as long as its window", NULL);
    row = grey_pack_triple(mem, &rules, &triple);
    t_same_str_z(row.value, "T 1700000000 0 1700000001");
    t_same_int(row.expires_unix, T + WINDOW);
    t_true(grey_unpack_triple(row.value, &again));
    t_same_memory(&again, &triple);
    t_case("a triple that passed lives from its last use, and is stored longer than anything that waits",
           NULL);
    triple.passed_unix = T + 300;
    row = grey_pack_triple(mem, &rules, &triple);
    t_same_int(row.expires_unix, T + 1 + KEEP + WINDOW + HOUR);
    t_case("what is known of a client", NULL);
    row = grey_pack_deliveries(mem, &rules, &client);
    t_same_str_z(row.value, "C 4 1700000000 1700000007");
    t_same_int(row.expires_unix, T + 7 + KEEP + WINDOW + HOUR);
    t_true(grey_unpack_deliveries(row.value, &client_again));
    t_same_client(&client_again, &client);
    t_case("a client that an operator allowed stays for ever", NULL);
    client = (struct grey_deliveries){.counted_unix = T, .allowed = true};
    row = grey_pack_deliveries(mem, &rules, &client);
    t_same_str_z(row.value, "A 1700000000");
    t_same_int(row.expires_unix, 0);
    t_true(grey_unpack_deliveries(row.value, &client_again));
    t_same_client(&client_again, &client);
    t_case("nothing known is no row", NULL);
    t_same_int(grey_pack_triple(mem, &rules, &(struct grey_triple){0}).value.n, 0);
    t_same_int(grey_pack_deliveries(mem, &rules, &(struct grey_deliveries){0}).value.n, 0);
    arena_free(&mem);
}

static void test_unreadable_rows(void **state)
{
    static const char *const texts[] = {"",
                                        "T",
                                        "T 1 2",
                                        "T 1 2 3 4",
                                        "T 1 2 3 ",
                                        "T  1 2 3",
                                        "X 1 2 3",
                                        "t 1 2 3",
                                        "T -1 2 3",
                                        "T 1 2 x",
                                        "TT 1 2 3",
                                        "T1 2 3",
                                        "C 1 2",
                                        "C 4294967296 2 3",
                                        "C 1 2 9223372036854775808",
                                        "A",
                                        "A ",
                                        "A 1 2",
                                        "A -1"};
    struct grey_triple triple;
    struct grey_deliveries client;

    (void)state;
    for (size_t i = 0; i < COUNT(texts); i++) {
        t_case(texts[i], NULL);
        t_true(!grey_unpack_triple(str_of(texts[i]), &triple));
        t_same_memory(&triple, &(struct grey_triple){0});
        t_true(!grey_unpack_deliveries(str_of(texts[i]), &client));
        t_same_client(&client, &(struct grey_deliveries){0});
    }
    t_case("one is not the other", NULL);
    t_true(!grey_unpack_triple(STR("C 1 2 3"), &triple));
    t_true(!grey_unpack_deliveries(STR("T 1 2 3"), &client));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_steps),
        cmocka_unit_test(test_story),
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_unreadable_rows),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
