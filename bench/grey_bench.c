/*
 * What the greylist costs when it is large: fills it with strangers, of whom every tenth has come again and is known,
 * opens it again, and then asks about known clients and about strangers, with 1 and 100 questions under way.
 *
 *   grey_bench [ENTRIES [FOLDER]]       (default 10,000,000 in /tmp)
 */
#include "base/bug.h"
#include "grey/grey.h"
#include "tests/turned_clock.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { BEGIN = 1700000000, DELAY = 240, OUTSTANDING = 1000, SAMPLES = 50000, KNOWN_EVERY = 10 };
static const uint64_t SCATTER = 2654435761,
                      CLIENTS = 8031810176; /* 26 to the 7th, which the other has no part of */

static const struct grey_settings settings = {.delay_s = DELAY,
                                              .window_s = 48 * 3600,
                                              .keep_s = 36 * 86400,
                                              .allow_after =
                                                  0, /* so that a row is written for every question */
                                              .ipv4_prefix = 24,
                                              .ipv6_prefix = 64};

/* Questions first, first + every, … up to first + count × every, so many of them at a time. */
struct run {
    struct store *store;
    struct loop *loop;
    uint64_t first, every, count, among, asked,
        answered; /* among: known clients, of which those asked about are picked */
    enum grey_verdict wanted;
    unsigned *took_us; /* of each, or NULL */
};

struct question {
    struct run *run;
    struct arena *mem;
    int64_t begun_us;
};

static int64_t clock_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static void ask(struct run *run);

static void on_answer(const struct grey_answer *answer, void *arg)
{
    struct question *question = arg;
    struct run *run = question->run;
    struct arena *mem = question->mem;

    if (answer->verdict != run->wanted)
        bug("the greylist says %s, and not %s", grey_verdict_name(answer->verdict),
            grey_verdict_name(run->wanted));
    if (run->took_us != NULL)
        run->took_us[run->answered] = (unsigned)(clock_us() - question->begun_us);
    arena_free(&mem);
    if (++run->answered == run->count)
        loop_stop(run->loop);
    else if (run->asked < run->count)
        ask(run);
}

/* As many letters for every number, in its order. */
static const char *letters(struct arena *mem, uint64_t number)
{
    char *text = str_dup(mem, STR("aaaaaaa"));

    for (size_t i = strlen(text); i-- > 0; number /= 26)
        text[i] = (char)('a' + number % 26);
    return text;
}

/* Four triples a client. The table is filled in the order of its keys, which is quick; what is measured comes from
 * anywhere in it. */
static void ask(struct run *run)
{
    uint64_t step = run->asked++, number = run->first + run->every * step;
    struct arena *mem = arena_new(2048);
    struct question *question = ARENA_NEW(mem, struct question);
    const char *identity;
    uint64_t client;
    struct grey_ask what = {.recipient = STR("bob@example.net"), .now_unix = turned_unix};

    if (run->took_us != NULL && run->wanted == GREY_KNOWN)
        number = run->every * (step * SCATTER % run->among);
    client = run->took_us != NULL && run->wanted == GREY_NEW ? number * SCATTER % CLIENTS : number / 4;
    identity = str_fmt(mem, "host:%s.test", letters(mem, client));
    what.identity = what.network = identity;
    what.sender = str_of(str_fmt(mem, "%s@example.org", letters(mem, number)));
    *question = (struct question){run, mem, clock_us()};
    grey_start(mem, run->store, run->loop, &settings, &what, on_answer, question);
}

static void go(struct run *run, unsigned outstanding)
{
    run->loop = loop_new();
    store_gather(run->store, run->loop); /* as workers do */
    for (unsigned i = 0; i < outstanding && run->asked < run->count; i++)
        ask(run);
    loop_run(run->loop);
    loop_free(&run->loop);
}

static int by_size(const void *a, const void *b)
{
    unsigned left = *(const unsigned *)a, right = *(const unsigned *)b;

    return (left > right) - (left < right);
}

static void measure(struct run run, unsigned outstanding, const char *title)
{
    static unsigned took_us[SAMPLES];
    struct store_counts before = store_counts(run.store), after;
    int64_t begun_us = clock_us(), wall_us;

    run.took_us = took_us;
    go(&run, outstanding);
    wall_us = clock_us() - begun_us;
    after = store_counts(run.store);
    qsort(took_us, run.count, sizeof(took_us[0]), by_size);
    printf("%-24s %3u at a time: %6.0f a second; p50 %6.2f ms, p99 %6.2f ms; %5.1f a commit\n", title,
           outstanding, (double)run.count / (double)wall_us * 1e6, took_us[run.count / 2] / 1000.0,
           took_us[run.count * 99 / 100] / 1000.0,
           (double)(after.updates - before.updates) / (double)(after.commits - before.commits));
    fflush(stdout);
}

static void fill(struct store *store, uint64_t entries)
{
    int64_t begun_us = clock_us();
    struct run strangers = {.store = store, .every = 1, .count = entries, .wanted = GREY_NEW};
    struct run known = {
        .store = store, .every = KNOWN_EVERY, .count = entries / KNOWN_EVERY, .wanted = GREY_PASSED};

    go(&strangers, OUTSTANDING);
    turned_unix += DELAY;
    go(&known, OUTSTANDING);
    printf("%" PRIu64 " strangers, and %" PRIu64 " of them came again: %.0f s\n", entries,
           entries / KNOWN_EVERY, (double)(clock_us() - begun_us) / 1e6);
}

static void tell_size(const char *path, uint64_t entries)
{
    struct rusage use;
    struct stat file;

    if (stat(path, &file) != 0 || getrusage(RUSAGE_SELF, &use) != 0)
        bug("cannot look at %s", path);
    printf("%.2f GiB on disk, %.0f octets an entry; %ld MiB of memory at the most\n",
           (double)file.st_size / (1 << 30), (double)file.st_size / (double)entries, use.ru_maxrss / 1024);
    fflush(stdout);
}

static struct store *open_store(const struct store_settings *with)
{
    int64_t begun_us = clock_us();
    struct fail fail;
    struct store *store = store_open(with, &turned_clock, &fail);

    if (store == NULL || !store_is_available(store))
        bug("cannot open %s", with->url);
    printf("opened in %.2f s\n", (double)(clock_us() - begun_us) / 1e6);
    return store;
}

int main(int argc, char **argv)
{
    uint64_t entries = argc > 1 ? strtoull(argv[1], NULL, 10) : 10000000, asked = SAMPLES;
    char path[256], url[300];
    static const struct store_table table = {.name = GREY_TABLE, .heaped = true};
    struct store_settings store_settings = {
        .url = url, .rows_max = 2 * entries, .tables = &table, .tables_count = 1};
    struct store *store;

    if (entries < KNOWN_EVERY * SAMPLES)
        asked = entries / KNOWN_EVERY;
    snprintf(path, sizeof(path), "%s/grey-bench-%d.db", argc > 2 ? argv[2] : "/tmp", (int)getpid());
    snprintf(url, sizeof(url), "sqlite:%s", path);
    turned_unix = BEGIN;
    store = open_store(&store_settings);
    fill(store, entries);
    store_close(&store);
    store = open_store(&store_settings);
    tell_size(path, entries);
    for (unsigned outstanding = 1; outstanding <= 100; outstanding *= 100) {
        struct run known = {.store = store,
                            .every = KNOWN_EVERY,
                            .count = asked,
                            .among = entries / KNOWN_EVERY,
                            .wanted = GREY_KNOWN};
        struct run strangers = {
            .store = store, .first = entries * outstanding, .every = 1, .count = asked, .wanted = GREY_NEW};

        measure(known, outstanding, "known clients");
        measure(strangers, outstanding, "strangers");
    }
    store_close(&store);
    unlink(path);
    return 0;
}
