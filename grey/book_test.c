#include "grey/book.h"

#include "base/bug.h"
#include "tests/t.h"

#include <stdio.h>
#include <unistd.h>

enum { T = 1700000000, DELAY = 240, WINDOW = 172800, KEEP = 3110400 };

static const struct grey_settings settings = {.delay_s = DELAY,
                                              .window_s = WINDOW,
                                              .keep_s = KEEP,
                                              .allow_after = 3,
                                              .ipv4_prefix = 24,
                                              .ipv6_prefix = 64};

/* ---- names ---- */

static const struct {
    const char *name, *given, *first, *second; /* first NULL: refused */
} names[] = {
    {"an address stands for its network", "192.0.2.7", "net:192.0.2.0/24", NULL},
    {"a network of the prefix in use", "192.0.2.0/24", "net:192.0.2.0/24", NULL},
    {"IPv6, in any spelling", "2001:DB8:0:0:1::7", "net:2001:db8::/64", NULL},
    {"a domain is SPF's, and its hosts'", "Example.org", "spf:example.org", "host:example.org"},
    {"a host that is not its own owner is SPF's alone", "mail.example.org", "spf:mail.example.org", NULL},
    {"a domain under a country's second level", "example.co.uk", "spf:example.co.uk", "host:example.co.uk"},
    {"an identity as the lists show it", "SPF:Example.org", "spf:example.org", NULL},
    {"of a host", "host:example.org", "host:example.org", NULL},
    {"of a network", "net:192.0.2.0/24", "net:192.0.2.0/24", NULL},
    {"a wider network is none that is kept", "192.0.0.0/16", NULL, NULL},
    {"a narrower one neither", "192.0.2.8/29", NULL, NULL},
    {"bits behind the prefix", "192.0.2.7/24", NULL, NULL},
    {"a word", "localhost", NULL, NULL},
    {"an address of mail", "a@example.org", NULL, NULL},
    {"nothing", "", NULL, NULL},
};

static void test_names(void **state)
{
    struct arena *mem = arena_new(0);

    (void)state;
    for (size_t i = 0; i < COUNT(names); i++) {
        const char *got[GREY_BOOK_NAMES_MAX] = {0};
        struct fail fail = {0};
        int count = grey_book_names(mem, &settings, str_of(names[i].given), got, &fail);

        t_case(names[i].name, NULL);
        t_same_int(count, names[i].first == NULL ? -1 : names[i].second == NULL ? 1 : 2);
        t_true((count < 0) == (fail.text[0] != '\0'));
        if (count >= 1)
            t_same_z(got[0], names[i].first);
        if (count == 2)
            t_same_z(got[1], names[i].second);
    }
    arena_free(&mem);
}

/* ---- a book on a file of its own, at a time that the test sets ---- */

static char path[64], url[80];
static int64_t now_unix;
static struct loop *loop;
static struct store *store;
static struct arena *mem;

static int64_t test_unix(const struct clock *clock)
{
    (void)clock;
    return now_unix;
}

static int64_t test_mono(const struct clock *clock)
{
    (void)clock;
    return 1000;
}

static const struct clock test_clock = {test_unix, test_mono};

static int set_up(void **state)
{
    struct store_settings store_settings = {.url = url};
    struct fail fail;
    int fd;

    (void)state;
    now_unix = T;
    snprintf(path, sizeof(path), "/tmp/book-test-XXXXXX");
    fd = mkstemp(path);
    if (fd < 0 || close(fd) != 0)
        return -1;
    snprintf(url, sizeof(url), "sqlite:%s", path);
    loop = loop_new();
    mem = arena_new(0);
    store = store_open(&store_settings, &test_clock, &fail);
    return store != NULL ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    store_close(&store);
    loop_free(&loop);
    arena_free(&mem);
    return unlink(path);
}

static bool changed;

static void on_change(enum store_status status, const void *result, void *arg)
{
    (void)arg;
    t_same_int(status, STORE_DONE);
    changed = *(const bool *)result;
    loop_stop(loop);
}

static bool allows(const char *identity)
{
    grey_book_allow(store, loop, identity, now_unix, on_change, NULL);
    loop_run(loop);
    return changed;
}

static bool forgets(struct str key)
{
    grey_book_forget(store, loop, key, on_change, NULL);
    loop_run(loop);
    return changed;
}

static bool merges(struct str key, bool is_triple, const struct grey_memory *memory)
{
    grey_book_merge(store, loop, &settings, key, is_triple, memory, now_unix, on_change, NULL);
    loop_run(loop);
    return changed;
}

static bool merges_triple(const char *identity, struct grey_triple triple)
{
    return merges(grey_key(mem, identity, STR("a@example.org"), STR("b@example.net")), true,
                  &(struct grey_memory){.triple = triple});
}

static bool merges_client(const char *identity, struct grey_deliveries client)
{
    return merges(grey_client_key(mem, identity), false, &(struct grey_memory){.client = client});
}

static void on_asked(const struct grey_answer *answer, void *arg)
{
    *(enum grey_verdict *)arg = answer->verdict;
    loop_stop(loop);
}

/* What a session with this client would hear now. */
static const char *verdict_for(const char *identity, const char *network)
{
    struct grey_ask ask = {identity, network, STR("a@example.org"), STR("b@example.net"), now_unix};
    enum grey_verdict verdict;

    grey_start(mem, store, loop, &settings, &ask, on_asked, &verdict);
    loop_run(loop);
    return grey_verdict_name(verdict);
}

/* Entries as words: "state client", one a line. */
static bool on_entry(const struct grey_book_entry *entry, void *arg)
{
    char **text = arg;

    *text = str_fmt(mem, "%s%s %.*s%s\n", *text, grey_book_state_name(entry->state), STR_ARG(entry->client),
                    entry->is_triple ? " +" : "");
    return true;
}

static const char *entries_of(const char *identity)
{
    char *text = str_dup(mem, STR(""));
    struct fail fail;

    t_same_int(grey_book_each(store, &settings, identity, now_unix, on_entry, &text, &fail), 0);
    return text;
}

/* ---- reading and changing ---- */

static void test_each(void **state)
{
    (void)state;
    merges_client("net:192.0.2.0/24",
                  (struct grey_deliveries){.count = 3, .counted_unix = T, .last_unix = T});
    merges_client("spf:example.org", (struct grey_deliveries){.count = 1, .counted_unix = T, .last_unix = T});
    merges_triple("spf:example.org", (struct grey_triple){T, T, T});
    merges_triple("spf:example.org.uk", (struct grey_triple){T, 0, T});
    allows("host:example.org");
    t_case("all entries, each client's before those of its mail", NULL);
    t_same_z(entries_of(NULL), "allowed host:example.org\n"
                               "trusted net:192.0.2.0/24\n"
                               "counted spf:example.org\n"
                               "passed spf:example.org +\n"
                               "waiting spf:example.org.uk +\n");
    t_case("of one client, and not of another whose name goes on", NULL);
    t_same_z(entries_of("spf:example.org"), "counted spf:example.org\npassed spf:example.org +\n");
    t_case("who waits is forgotten at the window's end", NULL);
    now_unix = T + WINDOW - 1;
    t_same_z(entries_of("spf:example.org.uk"), "waiting spf:example.org.uk +\n");
    now_unix = T + WINDOW;
    t_same_z(entries_of("spf:example.org.uk"), "");
    t_case("who is known when the keeping ends; who is allowed never", NULL);
    now_unix = T + KEEP;
    t_same_z(entries_of(NULL), "allowed host:example.org\n");
}

static void test_allow_and_forget(void **state)
{
    static const char net[] = "net:192.0.2.0/24", host[] = "host:example.org";

    (void)state;
    t_case("a stranger waits", NULL);
    t_same_z(verdict_for(host, net), "new");
    t_case("allowed, it passes at once", NULL);
    t_true(allows(host));
    t_same_z(verdict_for(host, net), "allowed");
    t_case("twice is no change", NULL);
    t_true(!allows(host));
    t_case("and holds for years", NULL);
    now_unix += 10 * KEEP;
    t_same_z(verdict_for(host, net), "allowed");
    t_case("forgotten, it waits as before", NULL);
    t_true(forgets(str_of(host)));
    t_true(!forgets(str_of(host)));
    t_same_z(verdict_for(host, net), "new");
    t_case("a network that is allowed holds for clients with a name, too", NULL);
    t_true(allows(net));
    t_same_z(verdict_for(host, net), "allowed");
}

static void test_merge(void **state)
{
    static const char net[] = "net:192.0.2.0/24", other[] = "net:198.51.100.0/24";

    (void)state;
    t_case("what passed elsewhere is known here", NULL);
    t_true(merges_triple(net, (struct grey_triple){T - 1000, T - 500, T - 500}));
    t_same_z(verdict_for("spf:example.org", net), "known");
    t_case("a second time changes nothing", NULL);
    t_true(!merges_triple(net, (struct grey_triple){T - 1000, T - 500, T - 500}));
    t_case("what is known stays so, whatever comes later", NULL);
    t_true(!merges_triple(net, (struct grey_triple){T - 900, 0, T - 900}));
    t_same_z(verdict_for(net, net), "known");
    t_case("who waits is seen since the earlier time", NULL);
    t_true(merges_triple(other, (struct grey_triple){T - 100, 0, T - 100}));
    t_true(merges_triple(other, (struct grey_triple){T - 240, 0, T - 240}));
    t_same_z(verdict_for(other, other), "passed");
    t_case("of a client the greater count holds", NULL);
    t_true(merges_client(other, (struct grey_deliveries){.count = 9, .counted_unix = T, .last_unix = T}));
    t_same_z(verdict_for(other, other), "trusted");
    t_true(!merges_client(other, (struct grey_deliveries){.count = 2, .counted_unix = T, .last_unix = T}));
    t_case("what is too old stays out", NULL);
    t_true(
        !merges_triple("net:203.0.113.0/24", (struct grey_triple){T - 2 * KEEP, T - 2 * KEEP, T - 2 * KEEP}));
    t_same_z(entries_of("net:203.0.113.0/24"), "");
    t_case("an operator's word outlasts an import", NULL);
    t_true(allows("net:203.0.113.0/24"));
    t_true(!merges_client("net:203.0.113.0/24",
                          (struct grey_deliveries){.count = 9, .counted_unix = T, .last_unix = T}));
    t_same_z(entries_of("net:203.0.113.0/24"), "allowed net:203.0.113.0/24\n");
}

#define ROW(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_names), ROW(test_each),
                                       ROW(test_allow_and_forget), ROW(test_merge)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
