/*
 * What an update of the store costs, and how long it takes: two rows read and written, as greylisting does. First with
 * 1, 10 and 100 outstanding, which is as many as it can do; then so many a second, at times that chance
 * names, whether or not those before have been answered: what a sender waits for, counted from the time at which it
 * was to be asked. CPU is of the whole process: who asks, store's threads, and kernel.
 *
 *   store_bench [FOLDER [URL]]       (default /tmp; URL: of a Redis, with its local file in FOLDER)
 */
#include "base/bug.h"
#include "store/store.h"

#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { UPDATES = 100000, UPDATES_ALONE = 20000, ROWS = 200000, OFFERED_S = 10 };

struct run {
    struct store *store;
    struct loop *loop;
    unsigned asked, answered, updates;
    unsigned rate; /* offered, a second; 0: whoever is answered asks again */
    uint64_t seed;
    float *took_us, *late_us; /* late: until it was asked, for the machine's other work */
};

struct asked {
    struct run *run;
    double begun_us;
};

static void on_done(enum store_status status, const void *result, void *arg);

static int64_t keep_s = 36 * 86400;

static void change(struct arena *mem, const void *question, struct store_row *rows, size_t count,
                   void *result)
{
    uint64_t number = 0;

    (void)question;
    for (size_t i = 0; i < count; i++) {
        str_to_u64(rows[i].value, UINT64_MAX, &number);
        rows[i].value = str_of(str_fmt(mem, "%020" PRIu64, number + 1));
        rows[i].expires_unix = (int64_t)time(NULL) + keep_s;
    }
    memcpy(result, &number, sizeof(number));
}

static double wall_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

static uint64_t next_number(struct run *run)
{
    run->seed = run->seed * 6364136223846793005u + 1442695040888963407u;
    return run->seed >> 33;
}

static void ask(struct run *run, double begun_us)
{
    struct asked *asked = malloc(sizeof(*asked));
    char triple[128], client[64];
    unsigned n = (unsigned)(next_number(run) % ROWS);
    struct store_request request = {.table = "bench", .keys_count = 2, .change = change, .result_bytes = 8};

    snprintf(client, sizeof(client), "net:198.51.%u.0/24", n % 5000);
    snprintf(triple, sizeof(triple), "%s sender-%u@example.org recipient-%u@example.net", client, n, n);
    request.keys[0] = str_of(triple);
    request.keys[1] = str_of(client);
    run->asked++;
    if (asked == NULL)
        out_of_memory();
    *asked = (struct asked){run, begun_us};
    store_update(run->store, run->loop, &request, on_done, asked);
}

static void on_done(enum store_status status, const void *result, void *arg)
{
    struct asked *asked = arg;
    struct run *run = asked->run;

    (void)result;
    run->took_us[run->answered] = (float)(wall_us() - asked->begun_us);
    free(asked);
    if (status != STORE_DONE)
        bug("the store did not answer");
    if (++run->answered == run->updates)
        loop_stop(run->loop);
    else if (run->rate == 0 && run->asked < run->updates)
        ask(run, wall_us());
}

/* Gaps as those of senders who do not know of each other. */
static void *ask_at_random(void *arg)
{
    struct run *run = arg;
    double at_us = wall_us();

    while (run->asked < run->updates) {
        double chance = ((double)next_number(run) + 0.5) / 2147483648.0;
        struct timespec at;

        at_us -= log(chance) / run->rate * 1e6;
        at.tv_sec = (time_t)(at_us / 1e6);
        at.tv_nsec = (long)((at_us - (double)at.tv_sec * 1e6) * 1e3);
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL);
        run->late_us[run->asked] = (float)(wall_us() - at_us);
        ask(run, at_us);
    }
    return NULL;
}

static double cpu_us(void)
{
    struct rusage use;

    getrusage(RUSAGE_SELF, &use);
    return (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) * 1e6 +
           (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec);
}

static int by_size(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;

    return (x > y) - (x < y);
}

static double within_ms(const float *us, unsigned count, double share)
{
    return (double)us[(unsigned)((count - 1) * share)] / 1e3;
}

static void report(struct run *run, const char *title, const char *how, double wall, double cpu, double group)
{
    unsigned n = run->updates;

    qsort(run->took_us, n, sizeof(float), by_size);
    printf("%-27s%-16s%7.0f updates/s, %5.1f us CPU each, p50 %5.2f ms, p99 %6.2f ms, p99.9 %6.2f ms, %4.1f "
           "a commit",
           title, how, n / wall * 1e6, cpu / n, within_ms(run->took_us, n, 0.5),
           within_ms(run->took_us, n, 0.99), within_ms(run->took_us, n, 0.999), group);
    if (run->rate > 0) {
        qsort(run->late_us, n, sizeof(float), by_size);
        printf("; asked late: p99 %.2f ms", within_ms(run->late_us, n, 0.99));
    }
    printf("\n");
    fflush(stdout);
}

/* Either so many outstanding, or so many a second. */
static void measure(struct store *store, const char *title, unsigned outstanding, unsigned rate)
{
    struct run run = {.store = store, .loop = loop_new(), .rate = rate, .seed = 7};
    struct store_counts before = store_counts(store), after;
    double cpu = cpu_us(), wall = wall_us();
    char how[32];
    pthread_t asker;

    run.updates = rate > 0 ? rate * OFFERED_S : outstanding == 1 ? UPDATES_ALONE : UPDATES;
    run.took_us = calloc(run.updates, sizeof(float));
    run.late_us = calloc(run.updates, sizeof(float));
    if (run.took_us == NULL || run.late_us == NULL ||
        (rate > 0 && pthread_create(&asker, NULL, ask_at_random, &run) != 0))
        out_of_memory();
    for (unsigned i = 0; i < outstanding; i++)
        ask(&run, wall_us());
    loop_run(run.loop);
    if (rate > 0)
        pthread_join(asker, NULL);
    cpu = cpu_us() - cpu;
    wall = wall_us() - wall;
    after = store_counts(store);
    snprintf(how, sizeof(how), rate > 0 ? "%u/s offered" : "%u outstanding", rate > 0 ? rate : outstanding);
    report(&run, title, how, wall, cpu,
           (double)(after.updates - before.updates) / (double)(after.commits - before.commits));
    free(run.took_us);
    free(run.late_us);
    loop_free(&run.loop);
}

/* The client, which both keys begin with. */
static struct str tag(struct str key)
{
    return str_upto(key, str_find(key, ' '));
}

static void merge(struct arena *mem, struct str key, const struct store_row *ours, struct store_row *theirs)
{
    (void)mem, (void)key;
    *theirs = *ours;
}

static const struct store_table table = {.name = "bench", .merge = merge, .spread = STORE_BY_TAG, .tag = tag, .heaped = true};

int main(int argc, char **argv)
{
    char path[256], url[300];
    struct store_settings settings = {
        .url = url, .local = path, .timeout_ms = 1000, .tables = &table, .tables_count = 1};
    struct fail fail;
    struct store *store;

    snprintf(path, sizeof(path), "%s/store-bench-%d.db", argc > 1 ? argv[1] : "/tmp", (int)getpid());
    snprintf(url, sizeof(url), "sqlite:%s", path);
    if (argc > 2)
        settings.url = argv[2];
    store = store_open(&settings, clock_system(), &fail);
    if (store == NULL || !store_is_available(store) || store_sharing(store) == STORE_SHARES_LATER)
        bug("cannot open %s", settings.url);
    measure(store, "into an empty table", 1, 0);
    measure(store, "filling the table", 100, 0);
    measure(store, "used again within the hour", 1, 0);
    measure(store, "used again within the hour", 10, 0);
    measure(store, "used again within the hour", 100, 0);
    keep_s += 86400;
    measure(store, "used again a day later", 100, 0);
    measure(store, "used again within the hour", 0, 1000);
    measure(store, "used again within the hour", 0, 3000);
    keep_s += 86400;
    measure(store, "used again a day later", 0, 1000);
    store_close(&store);
    unlink(path);
    return 0;
}
