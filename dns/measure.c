#include "dns/measure.h"

#include "base/bug.h"
#include "base/metric.h"

#include <pthread.h>
#include <stdio.h>

/* Made once, before the first count: later on, counting is finding a place in a table and one addition. */

static const enum dns_type types[] = {DNS_A, DNS_NS, DNS_CNAME, DNS_SOA, DNS_PTR, DNS_MX, DNS_TXT, DNS_AAAA};
static struct metric *queries[COUNT(types)][DNS_BADNAME + 1];
static struct metric *cache[DNS_CACHE_STALE + 1];
static struct metric *duration, *entries, *sick;

static void make_metrics(void)
{
    static const double seconds[] = {0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10};
    static const char *const results[] = {"hit", "miss", "joined", "stale"};
    char labels[64];

    for (size_t i = 0; i < COUNT(types); i++)
        for (int status = 0; status <= DNS_BADNAME; status++) {
            snprintf(labels, sizeof(labels), "type=\"%s\",result=\"%s\"", dns_type_name(types[i]),
                     dns_status_name((enum dns_status)status));
            queries[i][status] = metric_counter("smtpguard_dns_queries_total",
                                                "Questions put to the DNS servers, by their end.", labels);
        }
    for (size_t i = 0; i < COUNT(results); i++) {
        snprintf(labels, sizeof(labels), "result=\"%s\"", results[i]);
        cache[i] = metric_counter("smtpguard_dns_cache_total", "Questions, by what the cache knew.", labels);
    }
    duration =
        metric_histogram("smtpguard_dns_query_duration_seconds",
                         "From the question to its answer, cached ones apart.", "", seconds, COUNT(seconds));
    entries = metric_gauge("smtpguard_dns_cache_entries", "Answers in the caches of all workers.", "");
    sick = metric_gauge("smtpguard_dns_sick", "Workers whose resolver does not answer most questions.", "");
}

static void prepare(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, make_metrics);
}

void dns_measure_query(enum dns_type type, enum dns_status status, int64_t ms)
{
    prepare();
    for (size_t i = 0; i < COUNT(types); i++)
        if (types[i] == type)
            metric_add(queries[i][status], 1);
    metric_observe(duration, (double)ms / 1000);
}

void dns_measure_cache(enum dns_cache_result result)
{
    prepare();
    metric_add(cache[result], 1);
}

void dns_measure_entries(int64_t change)
{
    prepare();
    metric_add(entries, change);
}

void dns_measure_sick(int change)
{
    prepare();
    metric_add(sick, change);
}

int64_t dns_measured_sick(void)
{
    prepare();
    return metric_value(sick);
}
