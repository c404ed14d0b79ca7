#include "admin/admin.h"

#include "base/metric.h"
#include "tests/t.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static const struct endpoint loopback = {{4, {127, 0, 0, 1}}, 0};
static bool ready_now;

static bool on_ready(char *why, size_t why_bytes, void *arg)
{
    t_same_z(arg, "arg");
    if (!ready_now)
        snprintf(why, why_bytes, "no backend answers\nthe store is not open");
    return ready_now;
}

static char argument[] = "arg";

static struct admin *started(void)
{
    struct fail fail = {""};
    struct admin *admin = admin_start(admin_bind(&loopback, &fail), on_ready, argument, &fail);

    if (admin == NULL)
        t_fail("%s", fail.text);
    return admin;
}

static int connect_to(const struct admin *admin)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(admin_port(admin))};
    struct timeval patience = {10, 0};
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    t_true(admin_port(admin) != 0);
    t_true(connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0);
    return fd;
}

/* The whole answer to one request, until the other side closes. */
static const char *ask(const struct admin *admin, const char *request)
{
    static char answer[1024 * 1024];
    int fd = connect_to(admin);
    size_t n = 0;
    ssize_t more;

    t_true(write(fd, request, strlen(request)) == (ssize_t)strlen(request));
    while ((more = read(fd, answer + n, sizeof(answer) - 1 - n)) > 0)
        n += (size_t)more;
    answer[n] = '\0';
    close(fd);
    return answer;
}

static const char *ask_for(const struct admin *admin, const char *method, const char *path)
{
    char request[256];

    snprintf(request, sizeof(request), "%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", method,
             path);
    return ask(admin, request);
}

static const struct {
    const char *name, *method, *path, *starts, *has;
} rows[] = {
    {"/ says what there is", "GET", "/", "HTTP/1.1 200 ", "/metrics  counters"},
    {"/healthz is fine while we live", "GET", "/healthz", "HTTP/1.1 200 ", "\r\n\r\nok\n"},
    {"the query does not matter", "GET", "/healthz?a=b", "HTTP/1.1 200 ", "\r\n\r\nok\n"},
    {"other paths are not there", "GET", "/admin", "HTTP/1.1 404 ", "not found"},
    {"paths are not folders", "GET", "/metrics/", "HTTP/1.1 404 ", "not found"},
    {"DELETE is not allowed", "DELETE", "/", "HTTP/1.1 405 ", "only GET and HEAD"},
    {"and what is, is said", "OPTIONS", "/metrics", "HTTP/1.1 405 ", "Allow: GET, HEAD\r\n"},
    {"the type is Prometheus's", "GET", "/metrics", "HTTP/1.1 200 ", "text/plain; version=0.0.4;"},
};

static void test_pages(void **state)
{
    struct admin *admin = started();
    const char *answer;

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        answer = ask_for(admin, rows[i].method, rows[i].path);
        t_case(rows[i].name, NULL);
        t_true(strncmp(answer, rows[i].starts, strlen(rows[i].starts)) == 0);
        t_true(strstr(answer, rows[i].has) != NULL);
    }
    t_case("POST is not allowed, and its body is not waited for", NULL);
    answer = ask(admin, "POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\nhello");
    t_true(strncmp(answer, "HTTP/1.1 405 ", 13) == 0);
    admin_stop(&admin);
    t_true(admin == NULL);
    admin_stop(&admin);
}

static void test_head(void **state)
{
    struct admin *admin = started();
    const char *answer = ask_for(admin, "HEAD", "/healthz");

    (void)state;
    t_case("HEAD has the header of GET and no body", "9110 9.3.2");
    t_true(strncmp(answer, "HTTP/1.1 200 ", 13) == 0);
    t_true(strstr(answer, "Content-Length: 3\r\n") != NULL);
    t_same_z(strstr(answer, "\r\n\r\n"), "\r\n\r\n");
    admin_stop(&admin);
}

static void test_ready(void **state)
{
    struct admin *admin = started();
    struct fail fail = {""};
    const char *answer;

    (void)state;
    t_case("not ready is 503, with the reasons", NULL);
    ready_now = false;
    answer = ask_for(admin, "GET", "/readyz");
    t_true(strncmp(answer, "HTTP/1.1 503 ", 13) == 0);
    t_same_z(strstr(answer, "\r\n\r\n"), "\r\n\r\nnot ready\nno backend answers\nthe store is not open\n");
    t_case("ready is 200", NULL);
    ready_now = true;
    answer = ask_for(admin, "GET", "/readyz");
    t_true(strncmp(answer, "HTTP/1.1 200 ", 13) == 0);
    t_same_z(strstr(answer, "\r\n\r\n"), "\r\n\r\nok\n");
    admin_stop(&admin);

    t_case("without a judge it is always ready", NULL);
    admin = admin_start(admin_bind(&loopback, &fail), NULL, NULL, &fail);
    t_true(admin != NULL);
    t_true(strncmp(ask_for(admin, "GET", "/readyz"), "HTTP/1.1 200 ", 13) == 0);
    admin_stop(&admin);
}

/* The number behind "\nNAME ". */
static double number_of(const char *answer, const char *name)
{
    char line[128];
    const char *at;

    snprintf(line, sizeof(line), "\n%s ", name);
    at = strstr(answer, line);
    if (at == NULL)
        t_fail("no %s in /metrics", name);
    return atof(at + strlen(line));
}

static void test_metrics(void **state)
{
    struct admin *admin = started();
    double now = (double)time(NULL);
    const char *answer;

    (void)state;
    t_case("/metrics has the counters, the build and the process", NULL);
    metric_add(metric_counter("admin_test_total", "Test", "a=\"b\""), 42);
    answer = ask_for(admin, "GET", "/metrics");
    t_true(strstr(answer, "# TYPE admin_test_total counter\nadmin_test_total{a=\"b\"} 42\n") != NULL);
    t_true(strstr(answer, "smtpguard_build_info{version=\"") != NULL &&
           strstr(answer, ",openssl=\"3.") != NULL);
    t_true(number_of(answer, "process_cpu_seconds_total") > 0);
    t_true(number_of(answer, "process_resident_memory_bytes") > 100000);
    t_true(number_of(answer, "process_open_fds") >= 4);
    t_true(number_of(answer, "process_max_fds") >= 10);
    t_true(number_of(answer, "process_start_time_seconds") <= now + 2);
    t_true(number_of(answer, "process_start_time_seconds") > now - 3600);
    admin_stop(&admin);
}

static void test_many(void **state)
{
    struct admin *admin = started();
    int fds[40];

    (void)state;
    t_case("silent connections do not keep the next one out once they are gone", NULL);
    for (size_t i = 0; i < sizeof(fds) / sizeof(*fds); i++)
        fds[i] = connect_to(admin);
    for (size_t i = 0; i < sizeof(fds) / sizeof(*fds); i++)
        close(fds[i]);
    t_true(strncmp(ask_for(admin, "GET", "/healthz"), "HTTP/1.1 200 ", 13) == 0);
    t_case("stopping does not wait for them", NULL);
    fds[0] = connect_to(admin);
    admin_stop(&admin);
    close(fds[0]);
}

static void test_leaving(void **state)
{
    const char *request = "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    struct admin *admin = started();
    struct endpoint at = loopback;
    struct fail fail = {""};
    char answer[256] = "";
    int fd, other;

    (void)state;
    t_case("after it has left, another may listen there, and who was there is answered", NULL);
    at.port = admin_port(admin);
    t_same_int(admin_bind(&at, &fail), -1);
    fd = connect_to(admin);
    t_true(strncmp(ask_for(admin, "GET", "/healthz"), "HTTP/1.1 200 ", 13) ==
           0); /* by then fd is there, too */
    admin_leave(admin);
    other = admin_bind(&at, &fail);
    t_true(other >= 0);
    t_true(write(fd, request, strlen(request)) == (ssize_t)strlen(request));
    t_true(read(fd, answer, sizeof(answer) - 1) > 0);
    t_true(strncmp(answer, "HTTP/1.1 200 ", 13) == 0);
    close(fd);
    close(other);
    admin_stop(&admin);
}

static void test_taken_port(void **state)
{
    struct sockaddr_in at = {.sin_family = AF_INET};
    socklen_t n = sizeof(at);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct endpoint taken = loopback;
    struct fail fail = {""};

    (void)state;
    t_case("an address that somebody else has is a sentence", NULL);
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    t_true(bind(fd, (struct sockaddr *)&at, sizeof(at)) == 0 && listen(fd, 1) == 0);
    t_true(getsockname(fd, (struct sockaddr *)&at, &n) == 0);
    taken.port = ntohs(at.sin_port);
    t_same_int(admin_bind(&taken, &fail), -1);
    t_true(strstr(fail.text, "Address already in use") != NULL);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pages),      cmocka_unit_test(test_head), cmocka_unit_test(test_ready),
        cmocka_unit_test(test_metrics),    cmocka_unit_test(test_many), cmocka_unit_test(test_leaving),
        cmocka_unit_test(test_taken_port),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
