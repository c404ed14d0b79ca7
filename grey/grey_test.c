#include "grey/grey.h"

#include "base/bug.h"
#include "grey/policy.h"
#include "tests/t.h"

#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

enum { T = 1700000000, DELAY = 240, WINDOW = 172800, KEEP = 3110400, HOUR = 3600 };

static const struct grey_settings settings = {.mode = MODE_ENFORCE,
                                              .delay_s = DELAY,
                                              .window_s = WINDOW,
                                              .keep_s = KEEP,
                                              .allow_after = 3,
                                              .ipv4_prefix = 24,
                                              .ipv6_prefix = 64};

static struct ip ip_of(const char *text)
{
    struct ip ip;

    if (!ip_parse(str_of(text), &ip))
        t_fail("%s is no address", text);
    return ip;
}

/* ---- identity ---- */

static const struct {
    const char *name, *ip, *host, *spf, *want;
} identities[] = {
    {"SPF's domain comes first", "192.0.2.7", "mail.example.org", "Example.NET", "spf:example.net"},
    {"SPF's domain is taken whole", "192.0.2.7", NULL, "bounce.example.net.", "spf:bounce.example.net"},
    {"else the owner of the host", "192.0.2.7", "mail-12.out.example.com", NULL, "host:example.com"},
    {"another host of the same owner", "198.51.100.9", "MAIL-77.out.example.com.", NULL, "host:example.com"},
    {"a host that is its own domain", "192.0.2.7", "example.com", NULL, "host:example.com"},
    {"a short second level under a country", "192.0.2.7", "mx1.out.example.co.uk", NULL,
     "host:example.co.uk"},
    {"com.au likewise", "192.0.2.7", "a.b.example.com.au", NULL, "host:example.com.au"},
    {"a country without a second level", "192.0.2.7", "mx1.example.de", NULL, "host:example.de"},
    {"a short name in a country: no wider than the host", "192.0.2.7", "mx1.abc.de", NULL, "host:mx1.abc.de"},
    {"a short name elsewhere", "192.0.2.7", "mx1.abc.org", NULL, "host:abc.org"},
    {"a public second level alone stays", "192.0.2.7", "co.uk", NULL, "host:co.uk"},
    {"a single label", "192.0.2.7", "localhost", NULL, "host:localhost"},
    {"else the network", "192.0.2.7", NULL, NULL, "net:192.0.2.0/24"},
    {"another address of it", "192.0.2.200", NULL, NULL, "net:192.0.2.0/24"},
    {"empty names are none", "192.0.2.7", "", "", "net:192.0.2.0/24"},
    {"a /64", "2001:db8:1:2:3:4:5:6", NULL, NULL, "net:2001:db8:1:2::/64"},
    {"a host that spells its address", "198.51.100.7", "198-51-100-7.dyn.example.com", NULL,
     "net:198.51.100.0/24"},
    {"backwards", "198.51.100.7", "7.100.51.198.example.com", NULL, "net:198.51.100.0/24"},
    {"with zeros in front", "198.51.100.7", "h198-051-100-007.example.com", NULL, "net:198.51.100.0/24"},
    {"in hex", "198.51.100.7", "pC6336407.dip.example.com", NULL, "net:198.51.100.0/24"},
    {"two of the numbers are no proof", "198.51.100.7", "out100-7.example.com", NULL, "host:example.com"},
    {"SPF's domain holds all the same", "198.51.100.7", "198-51-100-7.example.com", "example.net",
     "spf:example.net"},
};

static void test_identity(void **state)
{
    struct arena *mem = arena_new(0);

    (void)state;
    for (size_t i = 0; i < COUNT(identities); i++) {
        struct grey_client client = {ip_of(identities[i].ip), identities[i].host, identities[i].spf};

        t_case(identities[i].name, NULL);
        t_same_z(grey_identity(mem, &settings, &client), identities[i].want);
    }
    arena_free(&mem);
}

/* ---- the allow list ---- */

static void test_allowed(void **state)
{
    struct grey_allow allow[] = {{.domain = "example.com"}, {.domain = "example.org"}};
    struct grey_allow_recipient recipients[] = {{.local = "abuse"}, {.domain = "example.net"}};
    struct grey_client org = {ip_of("192.0.2.7"), "mx.example.org", NULL},
                       other = {ip_of("192.0.2.7"), NULL, NULL};
    struct grey_settings with = settings;

    (void)state;
    with.allow = allow;
    with.allow_count = COUNT(allow);
    with.allow_recipients = recipients;
    with.allow_recipients_count = COUNT(recipients);
    t_case("any entry for the client", NULL);
    t_true(grey_is_allowed(&with, &org, STR("me@example.test")));
    t_case("any entry for the recipient", NULL);
    t_true(grey_is_allowed(&with, &other, STR("<me@example.net>")));
    t_case("no entry", NULL);
    t_true(!grey_is_allowed(&with, &other, STR("me@example.test")));
    t_true(!grey_is_allowed(&settings, &org, STR("abuse@example.net")));
}

/* ---- keys ---- */

static void test_keys(void **state)
{
    struct arena *mem = arena_new(0);
    char longest[600], other[600];
    struct str key, second;

    (void)state;
    t_case("identity, sender, recipient", NULL);
    t_same_str(grey_key(mem, "spf:example.org", STR("<List-12@Example.org>"), STR("Me@Example.NET")),
               STR("spf:example.org\0list-#@example.org\0Me@example.net"));
    t_case("the null sender", NULL);
    t_same_str(grey_key(mem, "host:a.b", STR(""), STR("me@x")), STR("host:a.b\0\0me@x"));
    t_case("a long key is cut, and stays apart from those that begin alike", NULL);
    memset(longest, 'x', sizeof(longest));
    memset(other, 'x', sizeof(other));
    other[sizeof(other) - 1] = 'y';
    key = grey_key(mem, "spf:example.org", str_make(longest, sizeof(longest)), STR("me@x"));
    second = grey_key(mem, "spf:example.org", str_make(other, sizeof(other)), STR("me@x"));
    t_same_int(key.n, GREY_KEY_MAX);
    t_same_int(second.n, GREY_KEY_MAX);
    t_true(!str_eq(key, second));
    t_true(str_starts(key, STR("spf:example.org\0xxxx")));
    t_case("the hash is the same in every process and version", NULL);
    t_same_str_z(str_from(key, GREY_KEY_MAX - 17), "~0ab581456747992d");
    arena_free(&mem);
}

/* ---- with a store ---- */

static char path[64], url[80];
static atomic_llong now_s; /* two threads look at it */

static int64_t test_unix_s(const struct clock *clock)
{
    (void)clock;
    return now_s;
}

static int64_t test_mono_ms(const struct clock *clock)
{
    (void)clock;
    return 1000;
}

static const struct clock test_clock = {test_unix_s, test_mono_ms};
static struct loop *loop;
static struct store *store;
static struct arena *mem;

static int set_up(void **state)
{
    struct store_settings at = {.url = url, .timeout_ms = 20};
    int fd;

    (void)state;
    snprintf(path, sizeof(path), "/tmp/grey-test-XXXXXX");
    fd = mkstemp(path);
    if (fd < 0)
        return -1;
    close(fd);
    snprintf(url, sizeof(url), "sqlite:%s", path);
    now_s = T;
    mem = arena_new(0);
    loop = loop_new();
    store = store_open(&at, &test_clock, NULL);
    return store != NULL ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    store_close(&store);
    loop_stop(loop);
    loop_run(loop);
    loop_free(&loop);
    arena_free(&mem);
    return unlink(path);
}

struct heard {
    int calls;
    struct grey_answer answer;
};

static void on_answer(const struct grey_answer *answer, void *arg)
{
    struct heard *heard = arg;

    heard->calls++;
    heard->answer = *answer;
    loop_stop(loop);
}

static struct grey_query *start(const char *identity, const char *sender, int64_t now_unix,
                                struct heard *heard)
{
    struct grey_ask ask = {identity, NULL, str_of(sender), STR("me@example.net"), now_unix};

    return grey_start(mem, store, loop, &settings, &ask, on_answer, heard);
}

static struct grey_answer ask_at(const char *identity, const char *sender, int64_t now_unix)
{
    struct heard heard = {0};

    now_s = now_unix;
    start(identity, sender, now_unix, &heard);
    t_same_int(heard.calls, 0);
    while (heard.calls == 0)
        loop_run(loop);
    return heard.answer;
}

static void t_asked(const char *identity, const char *sender, int64_t now_unix, const char *verdict,
                    int64_t wait_s)
{
    struct grey_answer answer = ask_at(identity, sender, now_unix);

    t_same_z(grey_verdict_name(answer.verdict), verdict);
    t_same_int(answer.wait_s, wait_s);
}

static void test_life(void **state)
{
    const char *who = "spf:example.org", *list = "list-return-17-me=example.net@example.org";

    (void)state;
    t_case("the life of a triple", NULL);
    t_asked(who, list, T, "new", DELAY);
    t_asked(who, list, T + 10, "early", DELAY - 10);
    t_case("a retry with another VERP counter is the same triple", NULL);
    t_asked(who, "list-return-18-me=example.net@example.org", T + DELAY, "passed", 0);
    t_asked(who, list, T + DELAY + 1, "known", 0);
    t_case("another sender is another triple", NULL);
    t_asked(who, "other@example.org", T + DELAY + 2, "new", DELAY);
    t_case("another client is another triple", NULL);
    t_asked("net:192.0.2.0/24", list, T + DELAY + 3, "new", DELAY);
    t_case("the first time it was seen is told", NULL);
    t_same_int(ask_at(who, list, T + DELAY + 4).first_unix, T);
    t_case("three deliveries in three hours: the client is trusted, whoever sends", NULL);
    t_asked(who, list, T + DELAY + HOUR, "known", 0);
    t_asked(who, list, T + DELAY + 2 * HOUR, "known", 0);
    t_asked(who, "never-seen@example.org", T + DELAY + 2 * HOUR + 1, "trusted", 0);
    t_case("after the window a retry is new again", NULL);
    t_asked("net:192.0.2.0/24", list, T + DELAY + 3 + WINDOW, "new", DELAY);
    t_case("trust is forgotten when it was not used for long", NULL);
    t_asked(who, "never-seen@example.org", T + DELAY + 2 * HOUR + 1 + KEEP, "new", DELAY);
}

static void test_clock_set_back(void **state)
{
    (void)state;
    t_case("a clock that is set back costs one delay at most", NULL);
    t_asked("spf:example.org", "a@example.org", T, "new", DELAY);
    t_asked("spf:example.org", "a@example.org", T - 86400, "early", DELAY);
    t_asked("spf:example.org", "a@example.org", T - 86400 + DELAY, "passed", 0);
}

static bool on_row(struct str key, struct str value, int64_t expires_unix, void *arg)
{
    struct grey_triple triple;
    struct grey_deliveries client;
    int *seen = arg;

    (void)expires_unix;
    seen[0] += str_has(key, '\0') && grey_unpack_triple(value, &triple);
    seen[1] += !str_has(key, '\0') && grey_unpack_deliveries(value, &client);
    return true;
}

static void test_rows_in_the_store(void **state)
{
    int seen[2] = {0};

    (void)state;
    t_case("one row for the triple, and one for the client once it has passed", NULL);
    t_asked("spf:example.org", "a@example.org", T, "new", DELAY);
    t_same_int(store_each(store, GREY_TABLE, STR("spf:example.org"), on_row, seen, NULL), 0);
    t_same_int(seen[0], 1);
    t_same_int(seen[1], 0);
    t_asked("spf:example.org", "a@example.org", T + DELAY, "passed", 0);
    seen[0] = seen[1] = 0;
    t_same_int(store_each(store, GREY_TABLE, STR(""), on_row, seen, NULL), 0);
    t_same_int(seen[0], 1);
    t_same_int(seen[1], 1);
}

/* Asks as somebody whose names are known now, and who may have been here before without them. */
static void t_asked_with(const char *identity, const char *network, int64_t now_unix, const char *verdict,
                         int64_t wait_s)
{
    struct grey_ask ask = {identity, network, STR("a@example.org"), STR("me@example.net"), now_unix};
    struct heard heard = {0};

    now_s = now_unix;
    grey_start(mem, store, loop, &settings, &ask, on_answer, &heard);
    while (heard.calls == 0)
        loop_run(loop);
    t_same_int(heard.calls, 1);
    t_same_z(grey_verdict_name(heard.answer.verdict), verdict);
    t_same_int(heard.answer.wait_s, wait_s);
}

static void test_network(void **state)
{
    const char *network = "net:192.0.2.0/24";

    (void)state;
    t_case("a stranger under both its names waits as one", NULL);
    t_asked_with("spf:example.org", network, T, "new", DELAY);
    t_asked_with("spf:example.org", network, T + 1, "early", DELAY - 1);
    t_asked_with("host:example.org", network, T + 2, "new", DELAY);
    t_case("looking leaves no row of the network", NULL);
    t_asked_with(network, network, T + 3, "new", DELAY);
    t_case("the try again of one who came without a name, when SPF or a host name is there, is the retry",
           NULL);
    t_asked_with("host:example.net", network, T + 4, "new", DELAY);
    t_asked_with("host:example.com", network, T + 3 + DELAY, "passed", 0);
    t_case("one whose network was known gets a name, and stays known", NULL);
    t_asked_with("spf:example.com", network, T + 4 + DELAY, "known", 0);
    t_case("but not for another network", NULL);
    t_asked_with("spf:example.com", "net:198.51.100.0/24", T + 5 + DELAY, "early", DELAY - 1);
}

/* A table of 2,000 rows: 1,000 of them are known, the oldest of them nearly forgotten, and then come 10,000 new keys
 * of one network. */
static void test_flood(void **state)
{
    struct store_settings small = {.url = url, .timeout_ms = 20, .rows_max = 2000};
    char sender[32];

    (void)state;
    store_close(&store);
    store = store_open(&small, &test_clock, NULL);
    for (int i = 0; i < 500; i++) {
        snprintf(sender, sizeof(sender), "good-%c%c@example.org", 'a' + i / 26, 'a' + i % 26);
        ask_at("host:example.org", sender, T);
    }
    for (int i = 0; i < 500; i++) {
        snprintf(sender, sizeof(sender), "good-%c%c@example.org", 'a' + i / 26, 'a' + i % 26);
        ask_at("host:example.org", sender, T + DELAY);
    }
    for (int i = 0; i < 10000; i++) {
        snprintf(sender, sizeof(sender), "%c%c%c%c@bad.example", 'a' + i / 17576, 'a' + i / 676 % 26,
                 'a' + i / 26 % 26, 'a' + i % 26);
        ask_at("net:192.0.2.0/24", sender, T + DELAY + KEEP - 10);
    }
    t_case("strangers push out each other, and nobody who is known, though it is nearly forgotten", NULL);
    for (int i = 0; i < 500; i++) {
        snprintf(sender, sizeof(sender), "good-%c%c@example.org", 'a' + i / 26, 'a' + i % 26);
        t_asked("host:example.org", sender, T + DELAY + KEEP - 1, "known", 0);
    }
}

static void test_cancelled(void **state)
{
    struct heard cancelled = {0};
    struct grey_query *query = start("spf:example.org", "a@example.org", T, &cancelled), *none = NULL;

    (void)state;
    t_case("cancelled, never calls back", NULL);
    grey_cancel(&query);
    t_true(query == NULL);
    grey_cancel(&none);
    t_case("what came before the cancelled one is remembered", NULL);
    t_asked("spf:example.org", "a@example.org", T + 1, "early", DELAY - 1);
    t_same_int(cancelled.calls, 0);
}

static void test_unanswered(void **state)
{
    struct store_settings nowhere = {.url = "sqlite:/proc/grey.db", .timeout_ms = 20};
    struct grey_answer answer;

    (void)state;
    store_close(&store);
    store = store_open(&nowhere, &test_clock, NULL);
    t_case("a store that does not answer makes nobody wait", NULL);
    answer = ask_at("spf:example.org", "a@example.org", T);
    t_same_z(grey_verdict_name(answer.verdict), "unanswered");
    t_true(!grey_must_wait(answer.verdict));
}

#define ROW(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_identity),
        cmocka_unit_test(test_allowed),
        cmocka_unit_test(test_keys),
        ROW(test_life),
        ROW(test_clock_set_back),
        ROW(test_rows_in_the_store),
        ROW(test_network),
        ROW(test_flood),
        ROW(test_cancelled),
        ROW(test_unanswered),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
