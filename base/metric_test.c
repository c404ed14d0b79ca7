#include "base/metric.h"
#include "tests/t.h"

#include <pthread.h>

static const char *rendered(void)
{
    static struct buf out;

    buf_fini(&out);
    buf_init(&out, 1024 * 1024);
    metric_render(&out);
    t_true(!out.overflow);
    return buf_z(&out);
}

static void test_same_metric(void **state)
{
    struct metric *pass = metric_counter("same_total", "Help", "result=\"pass\"");

    (void)state;
    t_case("asking again gives the same metric, other labels another", NULL);
    t_true(metric_counter("same_total", "Help", "result=\"pass\"") == pass);
    t_true(metric_counter("same_total", "Help", "result=\"fail\"") != pass);
    metric_add(pass, 2);
    metric_add(pass, 3);
    t_same_int(metric_value(pass), 5);
}

static void test_text(void **state)
{
    const char *text;

    (void)state;
    t_case("families stay together, HELP and TYPE once each", NULL);
    metric_add(metric_counter("text_total", "Two\nlines \\ here", "a=\"1\""), 7);
    metric_set(metric_gauge("text_open", "Open now", ""), -3);
    metric_add(metric_counter("text_total", "ignored", "a=\"2\""), 1);
    text = rendered();
    t_true(strstr(text, "# HELP text_total Two\\nlines \\\\ here\n# TYPE text_total counter\n"
                        "text_total{a=\"1\"} 7\ntext_total{a=\"2\"} 1\n") != NULL);
    t_true(strstr(text, "# HELP text_open Open now\n# TYPE text_open gauge\ntext_open -3\n") != NULL);
    t_true(strstr(strstr(text, "# TYPE text_total") + 1, "# TYPE text_total") == NULL);
}

static void test_histogram(void **state)
{
    static const double bounds[] = {0.005, 0.1, 2.5};
    struct metric *m = metric_histogram("h_seconds", "Time", "phase=\"x\"", bounds, 3);

    (void)state;
    t_case("a value on the edge belongs to the bucket below it; buckets add up", NULL);
    metric_observe(m, 0.001);
    metric_observe(m, 0.005);
    metric_observe(m, 0.5);
    metric_observe(m, 100);
    t_true(strstr(rendered(), "# TYPE h_seconds histogram\n"
                              "h_seconds_bucket{phase=\"x\",le=\"0.005\"} 2\n"
                              "h_seconds_bucket{phase=\"x\",le=\"0.1\"} 2\n"
                              "h_seconds_bucket{phase=\"x\",le=\"2.5\"} 3\n"
                              "h_seconds_bucket{phase=\"x\",le=\"+Inf\"} 4\n"
                              "h_seconds_sum{phase=\"x\"} 100.506\n"
                              "h_seconds_count{phase=\"x\"} 4\n") != NULL);

    t_case("without labels only the edge is in braces", NULL);
    metric_observe(metric_histogram("plain_seconds", "Time", "", bounds, 1), 1);
    t_true(strstr(rendered(), "plain_seconds_bucket{le=\"0.005\"} 0\nplain_seconds_bucket{le=\"+Inf\"} 1\n"
                              "plain_seconds_sum 1\nplain_seconds_count 1\n") != NULL);
}

static void *count_up(void *arg)
{
    static const double bounds[] = {1};
    struct metric *histogram = metric_histogram("threads_seconds", "Time", "", bounds, 1);

    for (int i = 0; i < 20000; i++) {
        metric_add(arg, 1);
        metric_observe(histogram, 0.5);
    }
    return NULL;
}

static void test_threads(void **state)
{
    struct metric *m = metric_counter("threads_total", "Threads", "");
    pthread_t threads[4];

    (void)state;
    t_case("nothing is lost when several threads count", NULL);
    for (int i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, count_up, m);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    t_same_int(metric_value(m), 80000);
    t_true(strstr(rendered(), "threads_seconds_sum 40000\nthreads_seconds_count 80000\n") != NULL);
}

static void test_small_buffer(void **state)
{
    struct buf out;

    (void)state;
    t_case("what does not fit is seen by the caller", NULL);
    metric_add(metric_counter("small_total", "Small", ""), 1);
    buf_init(&out, 20);
    metric_render(&out);
    t_true(out.overflow && out.n <= 20);
    buf_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_metric),  cmocka_unit_test(test_text),
        cmocka_unit_test(test_histogram),    cmocka_unit_test(test_threads),
        cmocka_unit_test(test_small_buffer),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
