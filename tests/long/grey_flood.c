/*
 * A million new triples from one attacker's network, against a full table in which some clients are known: these stay
 * known, to the last, though they are nearly forgotten and the attacker comes last. For tests/long/store_long.py.
 *
 *   grey_flood FILE       a line "passed" or what went wrong; 0 or 1
 */
#include "base/bug.h"
#include "grey/grey.h"
#include "tests/turned_clock.h"

#include <stdio.h>

enum {
    BEGIN = 1700000000,
    DELAY = 240,
    KEEP = 36 * 86400,
    KNOWN = 20000,
    FLOOD = 1000000,
    OUTSTANDING = 1000
};

static const struct grey_settings settings = {.delay_s = DELAY,
                                              .window_s = 48 * 3600,
                                              .keep_s = KEEP,
                                              .allow_after = 0,
                                              .ipv4_prefix = 24,
                                              .ipv6_prefix = 64};

struct wave {
    struct store *store;
    struct loop *loop;
    const char *identity; /* NULL: of each sender his own */
    enum grey_verdict wanted;
    int count, asked, answered, others; /* others: not what was wanted */
};

struct question {
    struct wave *wave;
    struct arena *mem;
};

static void ask(struct wave *wave);

static void on_answer(const struct grey_answer *answer, void *arg)
{
    struct question *question = arg;
    struct wave *wave = question->wave;
    struct arena *mem = question->mem;

    wave->others += answer->verdict != wave->wanted;
    arena_free(&mem);
    if (++wave->answered == wave->count)
        loop_stop(wave->loop);
    else if (wave->asked < wave->count)
        ask(wave);
}

static void ask(struct wave *wave)
{
    struct arena *mem = arena_new(2048);
    struct question *question = ARENA_NEW(mem, struct question);
    int number = wave->asked++;
    const char *sender = str_fmt(mem, "s%c%c%c%c%c@example.org", 'a' + number % 26, 'a' + number / 26 % 26,
                                 'a' + number / 676 % 26, 'a' + number / 17576 % 26, 'a' + number / 456976);
    struct grey_ask what = {.identity = wave->identity != NULL ? wave->identity
                                                               : str_fmt(mem, "host:%d.test", number),
                            .network = "net:192.0.2.0/24",
                            .sender = str_of(sender),
                            .recipient = STR("bob@example.net"),
                            .now_unix = turned_unix};

    *question = (struct question){wave, mem};
    grey_start(mem, wave->store, wave->loop, &settings, &what, on_answer, question);
}

/* How many heard something else than they should. */
static int others_in(struct store *store, const char *identity, int count, enum grey_verdict wanted)
{
    struct wave wave = {
        .store = store, .loop = loop_new(), .identity = identity, .wanted = wanted, .count = count};

    for (int i = 0; i < OUTSTANDING; i++)
        ask(&wave);
    loop_run(wave.loop);
    loop_free(&wave.loop);
    return wave.others;
}

int main(int argc, char **argv)
{
    char url[512];
    struct store_settings store_settings = {.url = url};
    struct fail fail;
    struct store *store;
    int lost;

    snprintf(url, sizeof(url), "sqlite:%s", argc == 2 ? argv[1] : "");
    turned_unix = BEGIN;
    store = store_open(&store_settings, &turned_clock, &fail);
    if (store == NULL)
        bug("%s", fail.text);
    lost = others_in(store, NULL, KNOWN, GREY_NEW);
    turned_unix += DELAY;
    lost += others_in(store, NULL, KNOWN, GREY_PASSED);
    turned_unix += KEEP - 10;
    lost += others_in(store, "net:192.0.2.0/24", FLOOD, GREY_NEW);
    lost += others_in(store, NULL, KNOWN, GREY_KNOWN);
    store_close(&store);
    printf("%s: %d answers that were not as they must be\n", lost == 0 ? "passed" : "failed", lost);
    return lost != 0;
}
