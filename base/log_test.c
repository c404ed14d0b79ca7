#include "base/log.h"
#include "base/metric.h"
#include "tests/t.h"

#include <fcntl.h>
#include <jansson.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

/* The C library's syslog() is replaced by these, so that what would be sent can be seen. */
void syslog(int priority, const char *format, ...) __attribute__((format(printf, 2, 3)));
void __syslog_chk(int priority, int flag, const char *format, ...) __attribute__((format(printf, 3, 4)));
void openlog(const char *ident, int option, int facility);

static char sent[4096];

static void keep_sent(int priority, const char *format, va_list args) __attribute__((format(printf, 2, 0)));

static void keep_sent(int priority, const char *format, va_list args)
{
    size_t n = strlen(sent);

    n += (size_t)snprintf(sent + n, sizeof(sent) - n, "%d|", priority);
    n += (size_t)vsnprintf(sent + n, sizeof(sent) - n, format, args);
    snprintf(sent + n, sizeof(sent) - n, "\n");
}

void syslog(int priority, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    keep_sent(priority, format, args);
    va_end(args);
}

void __syslog_chk(int priority, int flag, const char *format, ...)
{
    va_list args;

    (void)flag;
    va_start(args, format);
    keep_sent(priority, format, args);
    va_end(args);
}

void openlog(const char *ident, int option, int facility)
{
    (void)ident;
    (void)option;
    (void)facility;
}

/* ---- standard error, into a file and back ---- */

static int saved_stderr = -1;
static FILE *captured;
static char text[16 * 1024];

static void capture(void)
{
    captured = tmpfile();
    t_true(captured != NULL);
    fflush(stderr);
    saved_stderr = dup(STDERR_FILENO);
    dup2(fileno(captured), STDERR_FILENO);
}

static const char *release(void)
{
    size_t n;

    dup2(saved_stderr, STDERR_FILENO);
    close(saved_stderr);
    rewind(captured);
    n = fread(text, 1, sizeof(text) - 1, captured);
    text[n] = '\0';
    fclose(captured);
    return text;
}

static const struct log_settings plain = {LOG_STDERR, LOG_LOGFMT, LOG_INFO, LOG_PRIVACY_NONE};

/* One line with one field, written and read back; without its time. */
static const char *one_field(const struct log_settings *settings, struct str value)
{
    struct log_line line;
    char *at;

    capture();
    log_open(settings);
    log_line_begin(&line, LOG_INFO, "7K2", "rcpt");
    log_put(&line, "v", value);
    log_line_end(&line);
    log_close();
    release();
    at = strstr(text, settings->format == LOG_JSON ? "\"level\"" : "level=");
    return at != NULL ? at : text;
}

static const struct {
    const char *name;
    struct str value;
    const char *logfmt, *json;
} values[] = {
    {"a plain value stays bare", {"pass", 4}, "v=pass", "\"v\":\"pass\""},
    {"an empty value is left out", {"", 0}, NULL, NULL},
    {"blanks are quoted", {"a b", 3}, "v=\"a b\"", "\"v\":\"a b\""},
    {"an equals sign is quoted", {"a=b", 3}, "v=\"a=b\"", "\"v\":\"a=b\""},
    {"quotes are escaped", {"a\"b", 3}, "v=\"a\\\"b\"", "\"v\":\"a\\\"b\""},
    {"a backslash is doubled", {"a\\b", 3}, "v=a\\\\b", "\"v\":\"a\\\\b\""},
    {"a newline cannot begin a line of its own", {"a\nb", 3}, "v=a\\x0ab", "\"v\":\"a\\u000ab\""},
    {"NUL is an ordinary byte", {"a\0b", 3}, "v=a\\x00b", "\"v\":\"a\\u0000b\""},
    {"8-bit octets are escaped", {"\xc3\xc3\xa4\xa4", 4}, "v=\\xc3\\xc3\\xa4\\xa4", "\"v\":\"\\u00c3\\u00e4\\u00a4\""},
    {"UTF-8 is itself in JSON", {"\xe2\x82\xac", 3}, "v=\\xe2\\x82\\xac", "\"v\":\"\\u20ac\""},
    {"beyond 16 bits it is two", {"\xf0\x9f\x98\x80", 4}, "v=\\xf0\\x9f\\x98\\x80", "\"v\":\"\\ud83d\\ude00\""},
    {"DEL is escaped", {"\x7f", 1}, "v=\\x7f", "\"v\":\"\\u007f\""},
};

static void test_values(void **state)
{
    struct log_settings json = plain;
    char want[256];

    (void)state;
    json.format = LOG_JSON;
    for (size_t i = 0; i < sizeof(values) / sizeof(*values); i++) {
        t_case(values[i].name, NULL);
        snprintf(want, sizeof(want), "level=info id=7K2 event=rcpt%s%s\n",
                 values[i].logfmt != NULL ? " " : "", values[i].logfmt != NULL ? values[i].logfmt : "");
        t_same_z(one_field(&plain, values[i].value), want);
        snprintf(want, sizeof(want), "\"level\":\"info\",\"id\":\"7K2\",\"event\":\"rcpt\"%s%s}\n",
                 values[i].json != NULL ? "," : "", values[i].json != NULL ? values[i].json : "");
        t_same_z(one_field(&json, values[i].value), want);
    }
}

static void test_time(void **state)
{
    int year, month, day, hour, minute, second, micro, end = 0;

    (void)state;
    t_case("a line begins with its time in UTC, to the microsecond", NULL);
    one_field(&plain, STR("x"));
    t_same_int(sscanf(text, "ts=%4d-%2d-%2dT%2d:%2d:%2d.%6dZ %n", &year, &month, &day, &hour, &minute,
                      &second, &micro, &end),
               7);
    t_same_int(end, 31);
    t_true(year >= 2024 && month >= 1 && month <= 12 && day >= 1 && day <= 31 && hour < 24 && minute < 60);
}

static void test_long_value(void **state)
{
    char value[3000], *at;

    (void)state;
    t_case("a value is cut at LOG_VALUE_MAX bytes as written", NULL);
    memset(value, 'x', sizeof(value));
    at = strstr(one_field(&plain, str_make(value, sizeof(value))), "v=");
    t_true(at != NULL);
    t_same_int(strlen(at), 2 + LOG_VALUE_MAX + 1);
    t_same_z(at + 2 + LOG_VALUE_MAX - 4, "x...\n");

    t_case("an escape is never cut in two", NULL);
    memset(value, '\n', sizeof(value));
    at = strstr(one_field(&plain, str_make(value, sizeof(value))), "v=");
    t_true(strlen(at) <= 2 + LOG_VALUE_MAX + 1);
    t_same_z(at + strlen(at) - 8, "\\x0a...\n");
}

static void test_long_line(void **state)
{
    struct log_settings json = plain;
    struct log_line line;
    json_error_t error;
    json_t *read;
    char value[LOG_VALUE_MAX];

    (void)state;
    t_case("fields that do not fit are missing, the line says so and is still JSON", NULL);
    json.format = LOG_JSON;
    memset(value, '"', sizeof(value));
    capture();
    log_open(&json);
    log_line_begin(&line, LOG_INFO, "7K2", "summary");
    for (int i = 0; i < 10; i++)
        log_put(&line, "v", str_make(value, sizeof(value)));
    log_put_int(&line, "bytes", -42);
    log_line_end(&line);
    log_close();
    release();
    t_true(strlen(text) <= LOG_LINE_MAX);
    read = json_loads(text, 0, &error);
    t_true(read != NULL);
    t_same_int(json_integer_value(json_object_get(read, "cut")), 1);
    t_same_int(json_integer_value(json_object_get(read, "bytes")), -42);
    json_decref(read);
}

static void test_numbers(void **state)
{
    struct log_line line;
    const char *at;

    (void)state;
    t_case("numbers are written whole, whatever their size", NULL);
    capture();
    log_line_begin(&line, LOG_INFO, NULL, "n");
    log_put_int(&line, "zero", 0);
    log_put_int(&line, "most", INT64_MAX);
    log_put_int(&line, "least", INT64_MIN);
    log_put_z(&line, "none", NULL);
    log_line_end(&line);
    at = strstr(release(), "event=");
    t_same_z(at, "event=n zero=0 most=9223372036854775807 least=-9223372036854775808\n");
}

static void test_levels(void **state)
{
    struct log_line line;
    struct log_settings only_errors = plain;

    (void)state;
    t_case("below the level, nothing is written", NULL);
    only_errors.level = LOG_ERROR;
    capture();
    log_open(&only_errors);
    log_line_begin(&line, LOG_WARNING, NULL, "quiet");
    log_put_z(&line, "k", "v");
    log_put_int(&line, "n", 1);
    log_put_address(&line, "a", STR("a@b"));
    log_line_end(&line);
    log_note(LOG_INFO, "quiet", "nothing");
    log_note(LOG_ERROR, "loud", "cannot open %s", "/x y");
    log_close();
    t_true(strstr(release(), "quiet") == NULL);
    t_true(strstr(text, "level=error event=loud text=\"cannot open /x y\"\n") != NULL);

    t_case("closed, the log writes at level info again", NULL);
    capture();
    log_note(LOG_INFO, "direct", "now");
    log_note(LOG_DEBUG, "direct", "never");
    t_true(strstr(release(), "event=direct text=now\n") != NULL);
    t_true(strstr(text, "never") == NULL);
}

/* The value of from= when this address is logged under this privacy. */
static const char *shown(enum log_privacy privacy, const char *address)
{
    struct log_settings settings = plain;
    struct log_line line;
    char *at;

    settings.privacy = privacy;
    capture();
    log_open(&settings);
    log_line_begin(&line, LOG_INFO, NULL, "m");
    log_put_address(&line, "from", str_of(address));
    log_line_end(&line);
    log_close();
    release();
    at = strstr(text, "from=");
    if (at == NULL)
        return "";
    at[strcspn(at, "\n")] = '\0';
    return at + 5;
}

static void test_privacy(void **state)
{
    char first[64];

    (void)state;
    t_case("without privacy, the address", NULL);
    t_same_z(shown(LOG_PRIVACY_NONE, "Joe@Example.test"), "Joe@Example.test");
    t_case("domains: the part behind the last @", NULL);
    t_same_z(shown(LOG_PRIVACY_DOMAINS, "\"joe@home\"@example.test"), "*@example.test");
    t_case("domains: an address without a domain shows nothing", NULL);
    t_same_z(shown(LOG_PRIVACY_DOMAINS, "postmaster"), "*");
    t_case("the null sender is left out", NULL);
    t_same_z(shown(LOG_PRIVACY_HASH, ""), "");
    t_case("hash: twelve digits that are the same for the same address", NULL);
    snprintf(first, sizeof(first), "%s", shown(LOG_PRIVACY_HASH, "joe@example.test"));
    t_same_int(strlen(first), 12);
    t_same_int(strspn(first, "0123456789abcdef"), 12);
    t_same_z(shown(LOG_PRIVACY_HASH, "JOE@example.TEST"), first);
    t_true(strcmp(shown(LOG_PRIVACY_HASH, "jim@example.test"), first) != 0);
}

static void test_privacy_of_words(void **state)
{
    static const struct {
        const char *name, *text, *shown;
    } words[] = {
        {"a text without addresses stays", "User unknown: 5.1.1", "User unknown: 5.1.1"},
        {"addresses in any dress", "<Joe@a.test>: no (jim+x@b.test, k@c.test) here",
         "<*@a.test>: no (*@b.test, *@c.test) here"},
        {"an address in an URL", "see http://a.test/why?s=joe%40a.test;i=1 now", "see http:*;i=1 now"},
        {"a quoted local part may begin anywhere", "<\"joe jim\"@a.test> unknown", "*"},
        {"an @ alone", "@", "*@"},
    };
    struct log_settings settings = plain;
    char out[LOG_VALUE_MAX], endless[3 * LOG_VALUE_MAX];

    (void)state;
    settings.privacy = LOG_PRIVACY_DOMAINS;
    log_open(&settings);
    for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++) {
        struct str got = log_private_words(str_of(words[i].text), out);

        t_case(words[i].name, NULL);
        t_true(str_eq_z(got, words[i].shown));
    }
    t_case("a long text is cut", NULL);
    memset(endless, 'a', sizeof(endless));
    endless[0] = '@';
    endless[5] = ' ';
    t_same_int(log_private_words(str_make(endless, sizeof(endless)), out).n, LOG_VALUE_MAX);
    log_close();
    t_case("without privacy all of it", NULL);
    t_true(str_eq_z(log_private_words(STR("<joe@a.test>"), out), "<joe@a.test>"));
}

static void test_syslog(void **state)
{
    struct log_settings to_syslog = plain;

    (void)state;
    t_case("syslog has its own time and level", NULL);
    to_syslog.target = LOG_SYSLOG;
    sent[0] = '\0';
    log_open(&to_syslog);
    log_note(LOG_WARNING, "a", "100%%s");
    log_note(LOG_ERROR, "b", "two");
    log_close();
    t_same_z(sent, "4|event=a text=100%s\n3|event=b text=two\n");

    t_case("and the same in JSON", NULL);
    to_syslog.format = LOG_JSON;
    sent[0] = '\0';
    log_open(&to_syslog);
    log_note(LOG_INFO, "a", "one");
    log_close();
    t_same_z(sent, "6|{\"event\":\"a\",\"text\":\"one\"}\n");
}

static void test_reload(void **state)
{
    struct log_settings to_syslog = plain;

    (void)state;
    t_case("a second log_open changes the target from there on", NULL);
    to_syslog.target = LOG_SYSLOG;
    sent[0] = '\0';
    capture();
    log_open(&plain);
    log_note(LOG_INFO, "first", "1");
    log_open(&to_syslog);
    log_note(LOG_INFO, "second", "2");
    log_close();
    release();
    t_true(strstr(text, "event=first text=1\n") != NULL && strstr(text, "second") == NULL);
    t_same_z(sent, "6|event=second text=2\n");
}

/* ---- a target that takes nothing ---- */

static void *drain(void *arg)
{
    int fd = *(int *)arg;
    struct buf *all = malloc(sizeof(*all));
    char piece[65536];
    ssize_t n;

    buf_init(all, 64 * 1024 * 1024);
    while ((n = read(fd, piece, sizeof(piece))) > 0)
        buf_add(all, piece, (size_t)n);
    return all;
}

static void test_slow_target(void **state)
{
    struct metric *lost = metric_counter("smtpguard_log_lines_dropped_total", "", "");
    int64_t lost_before = metric_value(lost), written = 0, said = 0;
    char value[400];
    struct buf *all;
    pthread_t reader;
    void *result;
    int ends[2];

    (void)state;
    t_case("when the target is slow nobody waits: lines are dropped, and the loss is counted and said", NULL);
    t_true(pipe(ends) == 0);
    saved_stderr = dup(STDERR_FILENO);
    dup2(ends[1], STDERR_FILENO);
    close(ends[1]);
    memset(value, 'x', sizeof(value) - 1);
    value[sizeof(value) - 1] = '\0';
    log_open(&plain);
    for (int i = 0; i < 40000; i++)
        log_note(LOG_INFO, "many", "%s", value);
    pthread_create(&reader, NULL, drain, &ends[0]);
    log_close();
    dup2(saved_stderr, STDERR_FILENO);
    close(saved_stderr);
    pthread_join(reader, &result);
    close(ends[0]);
    all = result;
    for (const char *p = buf_z(all); (p = strstr(p, "event=")) != NULL; p++) {
        written += strncmp(p, "event=many text=", 16) == 0;
        if (strncmp(p, "event=log.dropped count=", 24) == 0)
            said += atol(p + 24);
    }
    t_true(said > 0);
    t_same_int(written + said, 40000);
    t_same_int(metric_value(lost) - lost_before, said);
    buf_fini(all);
    free(all);
}

static void test_stuck_target(void **state)
{
    int ends[2];

    (void)state;
    t_case("log_close() gives up on a target that takes nothing", NULL);
    t_true(pipe(ends) == 0);
    saved_stderr = dup(STDERR_FILENO);
    dup2(ends[1], STDERR_FILENO);
    log_open(&plain);
    for (int i = 0; i < 2000; i++)
        log_note(LOG_INFO, "many", "a line that stays in the pipe, and then in the buffer");
    log_close();
    dup2(saved_stderr, STDERR_FILENO);
    close(saved_stderr);
    close(ends[0]);
    close(ends[1]);
}

static void *write_thousand(void *arg)
{
    (void)arg;
    for (int i = 0; i < 1000; i++)
        log_note(LOG_INFO, "t", "%d", i);
    return NULL;
}

static void test_threads(void **state)
{
    pthread_t threads[4], reader;
    struct buf *all;
    void *result;
    int ends[2], lines = 0;

    (void)state;
    t_case("lines of several threads stay whole, and none is missing", NULL);
    t_true(pipe(ends) == 0);
    saved_stderr = dup(STDERR_FILENO);
    dup2(ends[1], STDERR_FILENO);
    close(ends[1]);
    log_open(&plain);
    pthread_create(&reader, NULL, drain, &ends[0]);
    for (int i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, write_thousand, NULL);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    log_close();
    dup2(saved_stderr, STDERR_FILENO);
    close(saved_stderr);
    pthread_join(reader, &result);
    close(ends[0]);
    all = result;
    for (struct str rest = buf_str(all), line; rest.n > 0; lines++) {
        t_true(str_cut(rest, '\n', &line, &rest));
        t_true(str_starts(line, STR("ts=")) && line.n > 40 && line.n < 80);
    }
    t_same_int(lines, 4000);
    buf_fini(all);
    free(all);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),     cmocka_unit_test(test_time),
        cmocka_unit_test(test_long_value), cmocka_unit_test(test_long_line),
        cmocka_unit_test(test_numbers),    cmocka_unit_test(test_levels),
        cmocka_unit_test(test_privacy), cmocka_unit_test(test_privacy_of_words),    cmocka_unit_test(test_syslog),
        cmocka_unit_test(test_reload),     cmocka_unit_test(test_slow_target),
        cmocka_unit_test(test_threads),    cmocka_unit_test(test_stuck_target),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
