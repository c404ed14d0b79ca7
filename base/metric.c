#include "base/metric.h"

#include "base/bug.h"

#include <pthread.h>
#include <stdalign.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_BOUNDS = 16, CACHE_LINE = 64 };

enum kind { COUNTER, GAUGE, HISTOGRAM };

static const char *const kind_names[] = {"counter", "gauge", "histogram"};

struct family {
    struct family *next;
    const char *name, *help;
    enum kind kind;
    struct metric *first, **end;
};

/* Each has cache lines of its own: the workers count all the time. */
struct metric {
    alignas(CACHE_LINE) _Atomic int64_t value;
    _Atomic int64_t counts[MOST_BOUNDS + 1]; /* observations a bucket, not yet summed up; the last is +Inf */
    _Atomic uint64_t sum;                    /* the bits of a double */
    double bounds[MOST_BOUNDS];
    size_t bounds_count;
    struct metric *next;
    const struct family *family;
    const char *labels;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct family *families, **families_end = &families;

/* ---- making ---- */

static const char *copy_text(const char *text)
{
    char *copy = strdup(text);

    if (copy == NULL)
        out_of_memory();
    return copy;
}

static struct family *get_family(const char *name, const char *help, enum kind kind)
{
    struct family *family;

    for (family = families; family != NULL; family = family->next) {
        if (strcmp(family->name, name) != 0)
            continue;
        if (family->kind != kind)
            bug("metric %s is a %s, not a %s", name, kind_names[family->kind], kind_names[kind]);
        return family;
    }
    family = calloc(1, sizeof(*family));
    if (family == NULL)
        out_of_memory();
    family->name = copy_text(name);
    family->help = copy_text(help);
    family->kind = kind;
    family->end = &family->first;
    *families_end = family;
    families_end = &family->next;
    return family;
}

static struct metric *add_metric(struct family *family, const char *labels)
{
    struct metric *m = aligned_alloc(CACHE_LINE, sizeof(*m));

    if (m == NULL)
        out_of_memory();
    memset(m, 0, sizeof(*m));
    m->family = family;
    m->labels = copy_text(labels);
    *family->end = m;
    family->end = &m->next;
    return m;
}

static struct metric *get_metric(const char *name, const char *help, const char *labels, enum kind kind,
                                 const double *bounds, size_t count)
{
    struct family *family;
    struct metric *m;

    if (count > MOST_BOUNDS)
        bug("metric %s has %zu bounds, %d are allowed", name, count, MOST_BOUNDS);
    pthread_mutex_lock(&lock);
    family = get_family(name, help, kind);
    for (m = family->first; m != NULL; m = m->next)
        if (strcmp(m->labels, labels) == 0)
            break;
    if (m == NULL) {
        m = add_metric(family, labels);
        m->bounds_count = count;
        if (count > 0)
            memcpy(m->bounds, bounds, count * sizeof(*bounds));
    }
    pthread_mutex_unlock(&lock);
    return m;
}

struct metric *metric_counter(const char *name, const char *help, const char *labels)
{
    return get_metric(name, help, labels, COUNTER, NULL, 0);
}

struct metric *metric_gauge(const char *name, const char *help, const char *labels)
{
    return get_metric(name, help, labels, GAUGE, NULL, 0);
}

struct metric *metric_histogram(const char *name, const char *help, const char *labels, const double *bounds,
                                size_t count)
{
    return get_metric(name, help, labels, HISTOGRAM, bounds, count);
}

/* ---- counting ---- */

void metric_add(struct metric *m, int64_t n)
{
    atomic_fetch_add_explicit(&m->value, n, memory_order_relaxed);
}

void metric_set(struct metric *m, int64_t value)
{
    atomic_store_explicit(&m->value, value, memory_order_relaxed);
}

int64_t metric_value(const struct metric *m)
{
    return atomic_load_explicit(&m->value, memory_order_relaxed);
}

int64_t metric_value_of(const char *name, const char *labels)
{
    const struct family *family;
    int64_t value = 0;

    pthread_mutex_lock(&lock);
    for (family = families; family != NULL && strcmp(family->name, name) != 0;)
        family = family->next;
    for (const struct metric *m = family != NULL ? family->first : NULL; m != NULL; m = m->next)
        if (strcmp(m->labels, labels) == 0)
            value = metric_value(m);
    pthread_mutex_unlock(&lock);
    return value;
}

static double double_of(uint64_t bits)
{
    double value;

    memcpy(&value, &bits, sizeof(value));
    return value;
}

static uint64_t bits_of(double value)
{
    uint64_t bits;

    memcpy(&bits, &value, sizeof(bits));
    return bits;
}

void metric_observe(struct metric *m, double value)
{
    uint64_t old = atomic_load_explicit(&m->sum, memory_order_relaxed);
    size_t bucket = 0;

    while (bucket < m->bounds_count && value > m->bounds[bucket])
        bucket++;
    atomic_fetch_add_explicit(&m->counts[bucket], 1, memory_order_relaxed);
    while (!atomic_compare_exchange_weak_explicit(&m->sum, &old, bits_of(double_of(old) + value),
                                                  memory_order_relaxed, memory_order_relaxed))
        continue;
}

/* ---- rendering ---- */

static void render_help(struct buf *out, const char *help)
{
    for (; *help != '\0'; help++) {
        if (*help == '\\')
            buf_add_z(out, "\\\\");
        else if (*help == '\n')
            buf_add_z(out, "\\n");
        else
            buf_add_char(out, *help);
    }
}

/* name_suffix{labels,extra} and a blank. */
static void render_name(struct buf *out, const struct metric *m, const char *suffix, const char *extra)
{
    const char *comma = *m->labels != '\0' && *extra != '\0' ? "," : "";

    buf_fmt(out, "%s%s", m->family->name, suffix);
    if (*m->labels != '\0' || *extra != '\0')
        buf_fmt(out, "{%s%s%s}", m->labels, comma, extra);
    buf_add_char(out, ' ');
}

/* The count is the sum of the buckets as they were read, so that the two agree while others count. */
static void render_histogram(struct buf *out, const struct metric *m)
{
    int64_t count = 0;
    char le[48];

    for (size_t i = 0; i <= m->bounds_count; i++) {
        count += atomic_load_explicit(&m->counts[i], memory_order_relaxed);
        if (i < m->bounds_count)
            snprintf(le, sizeof(le), "le=\"%g\"", m->bounds[i]);
        else
            snprintf(le, sizeof(le), "le=\"+Inf\"");
        render_name(out, m, "_bucket", le);
        buf_fmt(out, "%lld\n", (long long)count);
    }
    render_name(out, m, "_sum", "");
    buf_fmt(out, "%.15g\n", double_of(atomic_load_explicit(&m->sum, memory_order_relaxed)));
    render_name(out, m, "_count", "");
    buf_fmt(out, "%lld\n", (long long)count);
}

static void render_metric(struct buf *out, const struct metric *m)
{
    if (m->family->kind == HISTOGRAM) {
        render_histogram(out, m);
        return;
    }
    render_name(out, m, "", "");
    buf_fmt(out, "%lld\n", (long long)metric_value(m));
}

void metric_render(struct buf *out)
{
    pthread_mutex_lock(&lock);
    for (const struct family *family = families; family != NULL; family = family->next) {
        buf_fmt(out, "# HELP %s ", family->name);
        render_help(out, family->help);
        buf_fmt(out, "\n# TYPE %s %s\n", family->name, kind_names[family->kind]);
        for (const struct metric *m = family->first; m != NULL; m = m->next)
            render_metric(out, m);
    }
    pthread_mutex_unlock(&lock);
}
