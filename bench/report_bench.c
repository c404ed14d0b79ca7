/*
 * What DMARC's counters cost a message, and a day's reports a host.
 *
 *   report_bench [FOLDER [ROWS DOMAINS]]       (default /tmp 1000000 20000)
 *
 * First messages are counted, 1, 10, 100 and 1,000 of them together, each under a row of its own. Then a day of so many rows over so many domains is
 * written, and each domain's report is built: CPU and memory are of the whole process.
 */
#include "base/bug.h"
#include "report/aggregate.h"
#include "report/journal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { DAY = 20000, GZ_MAX = 10 * 1024 * 1024 };

struct run {
    const struct history *history;
    struct loop *loop;
    struct journal *journal;
    struct arena *mem;
    uint64_t asked, wanted;
    unsigned domains;
    bool distinct; /* each message makes a row of its own */
};

/* Domains come in turn; in mail that repeats itself, each with sixteen sources. */
static void ask(struct run *run)
{
    uint64_t n = run->asked++, domain = n % run->domains, source = n / run->domains;
    char name[64], record[128], from[80];
    struct history_entry entry = {.day = DAY + run->distinct,
                                  .policy_domain = name,
                                  .source = {.family = 4},
                                  .dkim_aligned = true,
                                  .accepted = true,
                                  .header_from = name,
                                  .envelope_from = from,
                                  .envelope_to = "example.net",
                                  .spf_domain = from,
                                  .spf_scope = SPF_MFROM,
                                  .spf_result = SPF_PASS,
                                  .dkim_count = 1};

    snprintf(name, sizeof(name), "sender-%" PRIu64 ".example.org", domain);
    snprintf(from, sizeof(from), "bounces.%s", name);
    snprintf(record, sizeof(record), "v=DMARC1; p=quarantine; rua=mailto:dmarc@%s", name);
    entry.record = str_of(record);
    entry.dkim[0] = (struct history_dkim){name, "selector1", DKIM_PASS};
    source = run->distinct ? source : source % 16;
    for (int i = 0; i < 4; i++)
        entry.source.b[i] = (unsigned char)(source >> (24 - 8 * i));
    journal_add(run->journal, run->mem, &entry);
}

static double cpu_us(void)
{
    struct rusage use;

    getrusage(RUSAGE_SELF, &use);
    return (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) * 1e6 +
           (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec);
}

static long resident_kib(void)
{
    struct rusage use;

    getrusage(RUSAGE_SELF, &use);
    return use.ru_maxrss;
}

/* What gathers in half a second, at twice as many messages a second. */
static double count(struct run *run, unsigned together)
{
    double cpu = cpu_us();

    run->loop = loop_new();
    run->mem = arena_new(64 * 1024);
    while (run->asked < run->wanted) {
        run->journal = journal_open(run->loop, run->history);
        for (unsigned i = 0; i < together && run->asked < run->wanted; i++) {
            ask(run);
            arena_reset(run->mem);
        }
        journal_close(&run->journal);
    }
    arena_free(&run->mem);
    loop_free(&run->loop);
    return (cpu_us() - cpu) / (double)run->wanted;
}

static void measure_counting(const struct history *history)
{
    static const struct {
        const char *what;
        unsigned together, domains; /* of each domain sixteen kinds */
    } rows[] = {
        {"new rows", 1000, 1000},    {"alone", 1, 1000},      {"all different", 10, 1000},
        {"all different", 100, 1000}, {"all different", 1000, 1000}, {"64 different ones", 1000, 4},
    };

    for (size_t i = 0; i < COUNT(rows); i++) {
        struct run run = {
            .history = history, .wanted = rows[i].together == 1 ? 4000 : 40000, .domains = rows[i].domains};
        double us = count(&run, rows[i].together);

        printf("counting %4u messages together, %-18s %6.1f us CPU a message\n", rows[i].together, rows[i].what, us);
    }
}

struct sums {
    struct store *store;
    struct buf gz;
    uint64_t rows, octets, domains;
};

static bool on_domain(int64_t day, const char *domain, const struct history_sums *sums, void *arg)
{
    static const struct report_identity us = {"Us", "dmarc@reports.example.net", "reports.example.net", "mx", {{0}}};
    struct sums *s = arg;
    struct aggregate_ask ask = {s->store, day, domain, AGGREGATE_RFC7489, &us};
    struct arena *mem = arena_new(0);
    struct aggregate report;
    struct fail fail;

    (void)sums;
    buf_clear(&s->gz);
    if (aggregate_build(mem, &ask, &s->gz, &report, &fail) != AGGREGATE_BUILT)
        bug("no report about %s", domain);
    s->rows += report.rows;
    s->octets += s->gz.n;
    s->domains++;
    arena_free(&mem);
    return true;
}

static void measure_reports(const struct history *history, uint64_t rows, unsigned domains)
{
    struct run run = {.history = history, .wanted = rows, .domains = domains, .distinct = true};
    struct sums sums = {.store = history->store};
    struct fail fail;
    double us = count(&run, 5000), cpu;
    long before = resident_kib();

    printf("a day of %" PRIu64 " rows, %u domains: %.1f us CPU to write a row\n", rows, domains, us);
    buf_init(&sums.gz, GZ_MAX);
    cpu = cpu_us();
    if (history_each_domain(history->store, DAY + 1, on_domain, &sums, &fail) != 0)
        bug("%s", fail.text);
    cpu = cpu_us() - cpu;
    printf("%" PRIu64 " reports of %" PRIu64 " rows, %" PRIu64 " octets packed: %.1f s CPU, %.1f us a row; "
           "resident at the most %ld KiB (%ld before)\n",
           sums.domains, sums.rows, sums.octets, cpu / 1e6, cpu / (double)sums.rows, resident_kib(), before);
    buf_fini(&sums.gz);
}

int main(int argc, char **argv)
{
    uint64_t rows = argc > 2 ? strtoull(argv[2], NULL, 10) : 1000000;
    unsigned domains = argc > 3 ? (unsigned)strtoul(argv[3], NULL, 10) : 20000;
    char path[256], url[300];
    struct store_settings settings = {.url = url, .rows_max = (size_t)(2 * rows + 1000000)};
    struct history history;
    struct fail fail;

    snprintf(path, sizeof(path), "%s/report-bench-%d.db", argc > 1 ? argv[1] : "/tmp", (int)getpid());
    snprintf(url, sizeof(url), "sqlite:%s", path);
    history_init(&history, store_open(&settings, clock_system(), &fail), "mx.example.net");
    if (history.store == NULL || !store_is_available(history.store))
        bug("cannot open %s", path);
    history.keep_days = 100000;
    measure_counting(&history);
    if (rows > 0)
        measure_reports(&history, rows, domains);
    store_close(&history.store);
    unlink(path);
    return 0;
}
