/*
 * What an update of the store costs, and how long it takes: two rows read and written, as greylisting does,
 * with 1, 10 and 100 outstanding. CPU is of the whole process: asking loop, store's threads, and kernel.
 *
 *   store_bench [FOLDER [URL]]       (default /tmp; URL: of a Redis, with its local file in FOLDER)
 */
#include "base/bug.h"
#include "store/store.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { UPDATES = 100000, UPDATES_ALONE = 20000, ROWS = 200000 };

struct run {
    struct store *store;
    struct loop *loop;
    unsigned asked, answered, updates;
    uint64_t seed;
    float *took_us;
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

static void ask(struct run *run)
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
    *asked = (struct asked){run, wall_us()};
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
    else if (run->asked < run->updates)
        ask(run);
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

static void measure(struct store *store, unsigned outstanding, const char *title)
{
    struct run run = {
        .store = store, .loop = loop_new(), .updates = outstanding == 1 ? UPDATES_ALONE : UPDATES, .seed = 7};
    struct store_counts before = store_counts(store), after;
    double cpu = cpu_us(), wall = wall_us(), group;

    run.took_us = calloc(run.updates, sizeof(float));
    if (run.took_us == NULL)
        out_of_memory();
    for (unsigned i = 0; i < outstanding; i++)
        ask(&run);
    loop_run(run.loop);
    cpu = cpu_us() - cpu;
    wall = wall_us() - wall;
    after = store_counts(store);
    qsort(run.took_us, run.updates, sizeof(float), by_size);
    group = (double)(after.updates - before.updates) / (double)(after.commits - before.commits);
    printf("%-28s %3u outstanding: %7.0f updates/s, %5.1f us CPU an update, half within %5.2f ms, 99 of 100 "
           "within "
           "%5.2f ms, %5.1f updates a commit\n",
           title, outstanding, run.updates / wall * 1e6, cpu / run.updates,
           (double)run.took_us[run.updates / 2] / 1e3, (double)run.took_us[run.updates / 100 * 99] / 1e3,
           group);
    free(run.took_us);
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

static const struct store_table table = {.name = "bench", .merge = merge, .spread = STORE_BY_TAG, .tag = tag};

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
    measure(store, 1, "into an empty table");
    measure(store, 100, "filling the table");
    measure(store, 1, "used again within the hour");
    measure(store, 10, "used again within the hour");
    measure(store, 100, "used again within the hour");
    keep_s += 86400;
    measure(store, 100, "used again a day later");
    store_close(&store);
    unlink(path);
    return 0;
}
