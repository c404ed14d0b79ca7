/*
 * base/metric.h - counters, gauges and histograms for /metrics
 *
 * A metric is made once by name and labels and lives as long as the process; asking again for the
 * same name and labels gives the same metric. Counting is one relaxed atomic addition, from any
 * thread. Labels come from closed sets or from the settings, never from strangers.
 */
#ifndef BASE_METRIC_H
#define BASE_METRIC_H

#include "base/buf.h"

#include <stdatomic.h>

struct metric; /* opaque */

/* labels: Prometheus text such as `result="pass"`, or "". Strings are copied. */
struct metric *metric_counter(const char *name, const char *help, const char *labels);
struct metric *metric_gauge(const char *name, const char *help, const char *labels);
/* bounds: upper edges of the buckets, ascending, count of them at most 16; the last is +Inf by itself. */
struct metric *metric_histogram(const char *name, const char *help, const char *labels, const double *bounds,
                                size_t count);

void metric_add(struct metric *m, int64_t n);        /* counters and gauges */
void metric_set(struct metric *m, int64_t value);    /* gauges */
void metric_observe(struct metric *m, double value); /* histograms */
int64_t metric_value(const struct metric *m);        /* counters and gauges */
int64_t metric_value_of(const char *name, const char *labels); /* 0 when there is none */

/* Everything in Prometheus's text format 0.0.4, families together, HELP and TYPE once each. */
void metric_render(struct buf *out);

#endif
