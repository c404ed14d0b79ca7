/* proxy/partial_test.c - who has a message already, and who must travel alone */
#include "proxy/partial.h"

#include "auth/dkim_key.h"
#include "tests/store_bed.h"

#include <stdio.h>

enum { DAY_S = 24 * 3600 };

static struct partials *p;
static struct arena *mem;

static const struct partial_pair bob = {{"a@b.test", 8}, {"bob@c.test", 10}};
static const struct partial_pair carol = {{"a@b.test", 8}, {"carol@c.test", 12}};

static int open_bed(void **state)
{
    if (bed_set_up(state) != 0)
        return -1;
    bed_open_store();
    p = partials_new(bed_store, &bed_clock);
    mem = arena_new(0);
    return 0;
}

static int close_bed(void **state)
{
    int result = bed_tear_down(state);

    partials_free(&p);
    t_true(p == NULL);
    partials_free(&p);
    arena_free(&mem);
    return result;
}

/* As after a restart, or on another host of the same store. */
static void forget_process(void)
{
    partials_free(&p);
    p = partials_new(bed_store, &bed_clock);
}

struct outcome {
    int calls;
    bool yes;
};

static void on_done(bool yes, void *arg)
{
    struct outcome *outcome = arg;

    outcome->calls++;
    outcome->yes = yes;
    loop_stop(bed_loop);
}

static bool await(struct outcome *outcome)
{
    t_same_int(outcome->calls, 0);
    while (outcome->calls == 0)
        loop_run(bed_loop);
    t_same_int(outcome->calls, 1);
    return outcome->yes;
}

static bool is_alone(const struct partial_pair *pair)
{
    struct outcome outcome = {0};

    partials_ask_alone(p, bed_loop, mem, pair, on_done, &outcome);
    return await(&outcome);
}

static bool has_taken(const struct partial_pair *pair, const char *message)
{
    struct outcome outcome = {0};

    partials_ask_taken(p, bed_loop, mem, pair, str_of(message), on_done, &outcome);
    return await(&outcome);
}

static bool note(const struct partial_pair *pair, const char *message)
{
    struct outcome outcome = {0};

    partials_note(p, bed_loop, mem, pair, str_of(message), on_done, &outcome);
    return await(&outcome);
}

static void test_remembers(void **state)
{
    static const struct partial_pair turned = {{"bob@c.test", 10}, {"a@b.test", 8}};
    static const struct partial_pair bounce = {{"", 0}, {"bob@c.test", 10}};

    (void)state;
    for (int i = 0; i < 2; i++) {
        t_case("a pair of sender and recipient, and no other", "2033 4.2");
        t_true(note(&bob, ""));
        t_true(note(&carol, "7"));
        if (i == 1)
            forget_process(); /* and the store knows it */
        t_true(is_alone(&bob));
        t_true(is_alone(&carol));
        t_true(!is_alone(&turned));
        t_true(!is_alone(&bounce));
        t_case("who has this message, and no other", NULL);
        t_true(has_taken(&carol, "7"));
        t_true(!has_taken(&carol, "8"));
        t_true(!has_taken(&carol, "77"));
        t_true(!has_taken(&bob, "7"));
    }
}

static void test_lasts(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        t_case("for five days from the last time", "5321 4.5.4.1");
        note(&bob, "1");
        note(&carol, "1");
        bed_advance_s(DAY_S);
        note(&carol, "1");
        if (i == 1)
            forget_process();
        bed_advance_s(4 * DAY_S - 1);
        t_true(is_alone(&bob));
        bed_advance_s(1);
        t_true(!is_alone(&bob));
        t_true(!has_taken(&bob, "1"));
        t_true(has_taken(&carol, "1"));
        bed_advance_s(DAY_S);
        t_true(!is_alone(&carol));
    }
}

static void test_without_store(void **state)
{
    (void)state;
    t_case("without the store the process remembers it", NULL);
    store_close(&bed_store);
    bed_use_file("/dev/null/state.db");
    bed_open_store();
    forget_process();
    t_true(!is_alone(&bob));
    t_true(!note(&bob, "1"));
    t_true(is_alone(&bob));
    t_true(has_taken(&bob, "1"));
    forget_process();
    t_true(!is_alone(&bob));
    t_case("at most so much: the oldest makes room", NULL);
    note(&bob, "");
    for (int i = 0; i < PARTIALS_MAX; i++) {
        char recipient[24];

        t_true(is_alone(&bob) || i == 0);
        snprintf(recipient, sizeof(recipient), "%d@c.test", i);
        note(&(struct partial_pair){bob.sender, str_of(recipient)}, "");
        arena_reset(mem);
    }
    t_true(!is_alone(&bob));
}

static void test_called_off(void **state)
{
    struct outcome outcome = {0};
    struct partial_query *query;

    (void)state;
    t_case("called off, a note is made all the same, and nobody hears of it", NULL);
    query = partials_note(p, bed_loop, mem, &bob, STR("1"), on_done, &outcome);
    partial_cancel(&query);
    t_true(query == NULL);
    t_true(has_taken(&bob, "1"));
    query = partials_ask_alone(p, bed_loop, mem, &bob, on_done, &outcome);
    partial_cancel(&query);
    query = partials_ask_alone(p, bed_loop, mem, &carol, on_done, &outcome);
    partial_cancel(&query);
    partial_cancel(&query);
    forget_process();
    t_true(has_taken(&bob, "1"));
    t_true(!is_alone(&carol));
    t_same_int(outcome.calls, 0);
}

static struct str name_of(struct str text, size_t step)
{
    struct dkim_hash *hash = dkim_hash_new();

    for (; text.n > 0; text = str_from(text, str_upto(text, step).n))
        dkim_hash_add(hash, text.p, str_upto(text, step).n);
    return partial_message(mem, &hash);
}

static void test_names(void **state)
{
    (void)state;
    t_case("a message has one name however it is cut, and in every process", NULL);
    t_same_str_z(name_of(STR("abc"), 3), "ba7816bf8f01cfea414140de5dae2223");
    t_same_str_z(name_of(STR("abc"), 1), "ba7816bf8f01cfea414140de5dae2223");
    t_case("another octet is another message", NULL);
    t_true(!str_eq(name_of(STR("abd"), 3), name_of(STR("abc"), 3)));
    t_case("rows of one pair lie side by side", NULL);
    t_same_str_z(partial_tag(STR("ba7816bf8f01cfea414140de5dae2223.x")), "ba7816bf8f01cfea414140de5dae2223");
}

#define ON_STORE(test) cmocka_unit_test_setup_teardown(test, open_bed, close_bed)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_STORE(test_remembers),  ON_STORE(test_lasts), ON_STORE(test_without_store),
        ON_STORE(test_called_off), ON_STORE(test_names),
    };

    return cmocka_run_group_tests_name("partial", tests, NULL, NULL);
}
