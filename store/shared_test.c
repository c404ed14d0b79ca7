#include "store/shared.h"

#include "base/bug.h"
#include "base/buf.h"
#include "tests/store_bed.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* With a real redis-server, which the tests stop, fill and kill. */

/* On a machine that is busy a healthy server may take longer than the default 50 ms. */
enum { LATE_MS = 30000, HOSTS = 2, TIMEOUT_MS = 1000, PATIENT_MS = 20000 };

static char folder[64], url[200];
static unsigned port;
static pid_t server;

/* ---- the server ---- */

static unsigned free_port(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof(at);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (bind(fd, (struct sockaddr *)&at, n) != 0 || getsockname(fd, (struct sockaddr *)&at, &n) != 0)
        return 0;
    close(fd);
    return ntohs(at.sin_port);
}

static void sleep_ms(int ms)
{
    nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000L}, NULL);
}

/* Its exit status: 0 is "yes". */
static int cli(const char *words)
{
    char command[300];

    snprintf(command, sizeof(command), "redis-cli -p %u %s >%s/cli 2>&1", port, words, folder);
    return system(command);
}

static bool cli_says(const char *words, const char *wanted)
{
    char command[300];

    snprintf(command, sizeof(command), "redis-cli -p %u %s 2>&1 | grep -qx '%s'", port, words, wanted);
    return system(command) == 0;
}

static void wait_until_it_answers(void)
{
    for (int i = 0; i < LATE_MS / 20 && !cli_says("ping", "PONG\\|NOAUTH.*"); i++)
        sleep_ms(20);
}

static void start_server(const char *password)
{
    char port_text[8], log[100];

    snprintf(port_text, sizeof(port_text), "%u", port);
    snprintf(log, sizeof(log), "%s/redis.log", folder);
    server = fork();
    if (server == 0) {
        execlp("redis-server", "redis-server", "--port", port_text, "--bind", "127.0.0.1", "--save", "",
               "--dir", folder, "--logfile", log, "--requirepass", password, (char *)NULL);
        _exit(127);
    }
    wait_until_it_answers();
}

static void end_server(int signal_number)
{
    if (server <= 0)
        return;
    kill(server, signal_number);
    waitpid(server, NULL, 0);
    server = 0;
}

/* ---- hosts ---- */

static struct loop *loop;
static struct store *hosts[HOSTS];

/* The number only grows, so the greater one has seen more. */
static void merge_greater(struct arena *mem, struct str key, const struct store_row *ours,
                          struct store_row *theirs)
{
    uint64_t a = 0, b = 0;

    (void)mem, (void)key;
    str_to_u64(ours->value, UINT64_MAX, &a);
    str_to_u64(theirs->value, UINT64_MAX, &b);
    if (a > b)
        *theirs = *ours;
}

/* Four octets, and what is between them and a NUL. */
static struct str tag_of(struct str key)
{
    return str_upto(str_from(key, 4), str_find(str_from(key, 4), '\0'));
}

static const struct store_table tables[] = {
    {.name = "test", .merge = merge_greater},
    {.name = "lease", .spread = STORE_TOGETHER},
    {.name = "brief", .brief = true},
    {.name = "group", .merge = merge_greater, .spread = STORE_BY_GROUP, .tag = tag_of},
    {.name = "tag", .merge = merge_greater, .spread = STORE_BY_TAG, .tag = tag_of},
};

static void open_host(int host, const char *store_url, int64_t timeout_ms)
{
    char path[100];
    struct fail fail = {0};
    struct store_settings settings = {
        .url = store_url, .local = path, .timeout_ms = timeout_ms, .tables = tables, .tables_count = COUNT(tables)};

    snprintf(path, sizeof(path), "%s/host%d.db", folder, host);
    hosts[host] = store_open(&settings, clock_system(), &fail);
    if (hosts[host] == NULL)
        t_fail("%s", fail.text);
}

/* ---- asking ---- */

struct outcome {
    bool answered;
    enum store_status status;
    uint64_t number;
    int64_t ms;
};

static int awaited;

static void change_add(struct arena *mem, const void *question, struct store_row *rows, size_t count,
                       void *result)
{
    uint64_t plus, number = 0;

    memcpy(&plus, question, sizeof(plus));
    for (size_t i = 0; i < count; i++) {
        str_to_u64(rows[i].value, UINT64_MAX, &number);
        number += plus;
        if (plus > 0)
            rows[i] = (struct store_row){str_of(str_fmt(mem, "%" PRIu64, number)), 0};
    }
    memcpy(result, &number, sizeof(number));
}

static int64_t now_ms(void)
{
    return clock_mono_ms(clock_system());
}

static void on_done(enum store_status status, const void *result, void *arg)
{
    struct outcome *outcome = arg;

    outcome->answered = true;
    outcome->status = status;
    outcome->ms += now_ms();
    memcpy(&outcome->number, result, sizeof(outcome->number));
    if (--awaited == 0)
        loop_stop(loop);
}

static void start_add(int host, const char *table, const char *key, uint64_t plus, struct outcome *outcome)
{
    struct store_request request = {.table = table,
                                    .keys = {str_of(key)},
                                    .keys_count = 1,
                                    .change = change_add,
                                    .question = &plus,
                                    .question_bytes = sizeof(plus),
                                    .result_bytes = sizeof(plus)};

    *outcome = (struct outcome){.ms = -now_ms()};
    awaited++;
    store_update(hosts[host], loop, &request, on_done, outcome);
}

static void on_late(void *arg)
{
    (void)arg;
    t_fail("the store does not answer");
}

static void run(void)
{
    struct timer late = {0};

    timer_start(&late, loop, LATE_MS, on_late, NULL);
    while (awaited > 0)
        loop_run(loop);
    timer_stop(&late);
}

static struct outcome add(int host, const char *table, const char *key, uint64_t plus)
{
    struct outcome outcome;

    start_add(host, table, key, plus, &outcome);
    run();
    return outcome;
}

static void added(int host, const char *key, uint64_t plus, uint64_t want)
{
    struct outcome outcome = add(host, "test", key, plus);

    t_same_int(outcome.status, STORE_DONE);
    t_same_int(outcome.number, want);
}

static void wait_until(int host, enum store_sharing sharing)
{
    for (int i = 0; i < LATE_MS / 10 && store_sharing(hosts[host]) != sharing; i++)
        sleep_ms(10);
    t_same_int(store_sharing(hosts[host]), sharing);
}

/* ---- a test ---- */

static int set_up(void **state)
{
    (void)state;
    t_case("", NULL);
    strcpy(folder, "/tmp/shared-test-XXXXXX");
    if (mkdtemp(folder) == NULL)
        return -1;
    bed_notes_away = bed_notes_back = 0;
    port = free_port();
    snprintf(url, sizeof(url), "redis://127.0.0.1:%u", port);
    loop = loop_new();
    start_server("");
    open_host(0, url, TIMEOUT_MS);
    open_host(1, url, TIMEOUT_MS);
    return 0;
}

static int tear_down(void **state)
{
    char pattern[100];
    glob_t found;

    (void)state;
    for (int i = 0; i < HOSTS; i++)
        store_close(&hosts[i]);
    loop_stop(loop);
    loop_run(loop);
    loop_free(&loop);
    end_server(SIGKILL);
    snprintf(pattern, sizeof(pattern), "%s/*", folder);
    if (glob(pattern, 0, NULL, &found) == 0)
        for (size_t i = 0; i < found.gl_pathc; i++)
            unlink(found.gl_pathv[i]);
    globfree(&found);
    return rmdir(folder);
}

static void test_shared(void **state)
{
    (void)state;
    wait_until(0, STORE_SHARES);
    wait_until(1, STORE_SHARES);
    t_case("what one host writes, the other sees", NULL);
    added(0, "a", 5, 5);
    added(1, "a", 2, 7);
    added(0, "a", 0, 7);
    t_case("a table that is not shared stays on its host", NULL);
    t_same_int(add(0, "own", "a", 3).number, 3);
    t_same_int(add(1, "own", "a", 0).number, 0);
    t_case("an operator can read the rows", NULL);
    t_true(cli_says("get smtpguard:test:a", "0 7"));
    t_case("a server that has forgotten the script is told it again", NULL);
    cli("script flush");
    added(0, "a", 1, 8);
}

static void test_copies(void **state)
{
    (void)state;
    wait_until(0, STORE_SHARES);
    wait_until(1, STORE_SHARES);
    t_same_int(add(0, "brief", "a", 1).status, STORE_DONE);
    t_same_int(add(1, "brief", "a", 1).number, 2);
    t_same_int(add(0, "lease", "a", 1).status, STORE_DONE);
    added(0, "a", 1, 1);
    store_close(&hosts[0]);
    snprintf(bed_file, sizeof(bed_file), "%s/host0.db", folder);
    t_case("the file has a copy of what passed through this host", NULL);
    t_same_int(bed_ask_file("SELECT count(*) FROM rows WHERE tbl IN ('test', 'lease')"), 2);
    t_case("but not of what is forgotten soon", NULL);
    t_same_int(bed_ask_file("SELECT count(*) FROM rows WHERE tbl = 'brief'"), 0);
}

/* ---- reading ---- */

static bool on_row(struct str key, struct str value, int64_t expires_unix, void *arg)
{
    struct buf *told = arg;

    (void)expires_unix;
    for (size_t i = 0; i < key.n; i++)
        buf_add_char(told, key.p[i] != '\0' ? key.p[i] : '/');
    buf_fmt(told, "=%.*s ", STR_ARG(value));
    return value.p[0] != '9'; /* enough */
}

static void reads(int host, const char *table, struct str prefix, bool only_one, const char *want)
{
    struct fail fail = {0};
    struct buf told;

    buf_init(&told, 4096);
    t_same_int((only_one ? store_find : store_each)(hosts[host], table, prefix, on_row, &told, &fail), 0);
    t_same_z(buf_z(&told), want);
    buf_fini(&told);
}

static void put(const char *table, struct str key, uint64_t number)
{
    struct outcome outcome;
    struct store_request request = {.table = table,
                                    .keys = {key},
                                    .keys_count = 1,
                                    .change = change_add,
                                    .question = &number,
                                    .question_bytes = sizeof(number),
                                    .result_bytes = sizeof(number)};

    outcome = (struct outcome){0};
    awaited++;
    store_update(hosts[0], loop, &request, on_done, &outcome);
    run();
    t_same_int(outcome.status, STORE_DONE);
}

static void test_reading(void **state)
{
    static const char *const kinds[] = {"test", "lease", "tag", "group"};
    struct fail fail = {0};

    (void)state;
    wait_until(0, STORE_SHARES);
    wait_until(1, STORE_SHARES);
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        const char *table = kinds[i];

        t_case(table, NULL);
        put(table, STR("0001b.test\0y"), 2);
        put(table, STR("0001b.test\0x*"), 1);
        put(table, STR("0001a.test\0z"), 3);
        put(table, STR("0002b.test\0{x}"), 4);
        reads(1, table, STR(""), false, "0001a.test/z=3 0001b.test/x*=1 0001b.test/y=2 0002b.test/{x}=4 ");
        reads(1, table, STR("0001"), false, "0001a.test/z=3 0001b.test/x*=1 0001b.test/y=2 ");
        reads(1, table, STR("0001b.t"), false, "0001b.test/x*=1 0001b.test/y=2 ");
        reads(1, table, STR("0001b.test\0"), false, "0001b.test/x*=1 0001b.test/y=2 ");
        reads(1, table, STR("0001b.test\0x*"), true, "0001b.test/x*=1 ");
        reads(1, table, STR("0002b.test\0{x}"), true, "0002b.test/{x}=4 ");
        reads(1, table, STR("0001b.test\0"), true, "");
        reads(1, table, STR("0003"), false, "");
        put(table, STR("0001a.test\0z"), 6);
        reads(1, table, STR(""), false, "0001a.test/z=9 ");
    }
    t_case("a group that has gone leaves the list of groups", NULL);
    t_same_int(cli("flushall"), 0);
    t_same_int(cli("zadd smtpguard:groups:group 0 0001c.test"), 0);
    reads(0, "group", STR(""), false, "");
    t_true(cli_says("exists smtpguard:groups:group", "0"));
    t_case("rows that are out of reach are not taken from the copy", NULL);
    end_server(SIGKILL);
    t_same_int(store_each(hosts[0], "group", STR(""), on_row, NULL, &fail), -1);
    t_true(strstr(fail.text, "cannot read redis://127.0.0.1") != NULL);
}

static void test_contention(void **state)
{
    enum { EACH = 300 };
    static struct outcome outcomes[HOSTS * EACH];
    uint64_t keys[3] = {0};

    (void)state;
    t_case("hosts that write the same rows at the same time lose nothing", NULL);
    for (int i = 0; i < HOSTS; i++) {
        store_close(&hosts[i]);
        open_host(i, url, PATIENT_MS);
    }
    wait_until(0, STORE_SHARES);
    wait_until(1, STORE_SHARES);
    for (int i = 0; i < HOSTS * EACH; i++) {
        static const char *const names[] = {"a", "b", "c"};

        start_add(i % HOSTS, "test", names[i % 3], 1, &outcomes[i]);
    }
    run();
    for (int i = 0; i < HOSTS * EACH; i++)
        t_same_int(outcomes[i].status, STORE_DONE);
    keys[0] = add(0, "test", "a", 0).number;
    keys[1] = add(0, "test", "b", 0).number;
    keys[2] = add(1, "test", "c", 0).number;
    t_same_int(keys[0], HOSTS * EACH / 3);
    t_same_int(keys[1], HOSTS * EACH / 3);
    t_same_int(keys[2], HOSTS * EACH / 3);
}

/* Changes of one host while the server is out of reach, and what both see when it is back. */
static void away_and_back(void)
{
    struct outcome first;

    first = add(0, "test", "a", 1);
    t_same_int(first.status, STORE_DONE);
    t_same_int(first.number, 6);
    t_true(first.ms < 5 * TIMEOUT_MS);
    t_same_int(store_sharing(hosts[0]), STORE_SHARES_LATER);
    added(0, "a", 1, 7);
    added(0, "b", 1, 1);
    t_same_int(add(0, "lease", "a", 1).status, STORE_UNAVAILABLE);
}

static void all_is_merged(void)
{
    wait_until(0, STORE_SHARES);
    wait_until(1, STORE_SHARES);
    added(1, "a", 0, 7);
    added(1, "b", 0, 1);
    added(0, "b", 1, 2);
    t_same_int(add(0, "lease", "a", 0).status, STORE_DONE);
}

static void test_stopped(void **state)
{
    (void)state;
    t_case("a server that hangs: the file answers, and is merged afterwards", NULL);
    wait_until(0, STORE_SHARES);
    added(0, "a", 5, 5);
    kill(server, SIGSTOP);
    away_and_back();
    kill(server, SIGCONT);
    all_is_merged();
    t_case("each host says once that the server is away, and that it is back", NULL);
    t_true(bed_notes_away >= 1 && bed_notes_away <= HOSTS);
    t_same_int(bed_notes_back, bed_notes_away);
}

static void test_killed(void **state)
{
    (void)state;
    t_case("a server that is killed and comes back empty has at least what was changed meanwhile", NULL);
    wait_until(0, STORE_SHARES);
    added(0, "a", 5, 5);
    end_server(SIGKILL);
    away_and_back();
    start_server("");
    all_is_merged();
}

static void refuses(const char *how, const char *cure)
{
    wait_until(0, STORE_SHARES);
    added(0, "a", 5, 5);
    t_same_int(cli(how), 0);
    away_and_back();
    t_same_int(cli(cure), 0);
    all_is_merged();
}

static void test_full(void **state)
{
    (void)state;
    t_case("a server without memory", NULL);
    refuses("config set maxmemory 1", "config set maxmemory 0");
}

static void test_read_only(void **state)
{
    (void)state;
    t_case("a server that has become a replica", NULL);
    refuses("replicaof 127.0.0.1 1", "replicaof no one");
}

static void test_password(void **state)
{
    char with[200];

    (void)state;
    t_case("without the password the file answers; with it, what it has is merged", NULL);
    wait_until(0, STORE_SHARES);
    added(0, "a", 5, 5);
    t_same_int(cli("config set requirepass secret"), 0);
    store_close(&hosts[0]);
    open_host(0, url, TIMEOUT_MS);
    t_same_int(store_sharing(hosts[0]), STORE_SHARES_LATER);
    added(0, "a", 1, 6);
    store_close(&hosts[0]);
    snprintf(with, sizeof(with), "redis://:secret@127.0.0.1:%u", port);
    open_host(0, with, TIMEOUT_MS);
    wait_until(0, STORE_SHARES);
    added(0, "a", 0, 6);
    store_close(&hosts[1]);
    open_host(1, with, TIMEOUT_MS);
    wait_until(1, STORE_SHARES);
    added(1, "a", 0, 6);
}

static void on_never(enum store_status status, const void *result, void *arg)
{
    (void)status, (void)result, (void)arg;
    t_fail("a request that was called off is answered");
}

static void test_cancel(void **state)
{
    struct outcome outcome;
    uint64_t plus = 1;
    struct store_request request = {.table = "test",
                                    .keys = {STR("a")},
                                    .keys_count = 1,
                                    .change = change_add,
                                    .question = &plus,
                                    .question_bytes = sizeof(plus),
                                    .result_bytes = sizeof(plus)};
    struct store_token *token;

    (void)state;
    t_case("cancelled, never calls back", NULL);
    wait_until(0, STORE_SHARES);
    token = store_update(hosts[0], loop, &request, on_never, NULL);
    store_cancel(&token);
    t_true(token == NULL);
    start_add(0, "test", "b", 1, &outcome);
    run();
    t_same_int(outcome.status, STORE_DONE);
}

static void test_settings(void **state)
{
    struct fail fail = {0};
    struct store_settings settings = {.url = "redis://127.0.0.1:1"};

    (void)state;
    t_case("a shared store needs a local one", NULL);
    t_true(store_open(&settings, clock_system(), &fail) == NULL);
    t_same_z(fail.text, "a shared store needs the path of a local one");
    settings.local = "/nonexistent/state.db";
    settings.url = "redis://127.0.0.1:0";
    t_true(store_open(&settings, clock_system(), &fail) == NULL);
    t_same_z(fail.text, "\"redis://127.0.0.1:0\" is no store: \"0\" is no port");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_shared),     TEST(test_copies),
        TEST(test_reading),
        TEST(test_contention), TEST(test_stopped),
        TEST(test_killed),     TEST(test_full),
        TEST(test_read_only),  TEST(test_password),
        TEST(test_cancel),     cmocka_unit_test(test_settings),
    };

    if (system("redis-server --version >/dev/null 2>&1") != 0) {
        print_message("SKIP: no redis-server\n");
        return 0;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
