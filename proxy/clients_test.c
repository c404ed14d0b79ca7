#include "proxy/clients.h"

#include "tests/t.h"

#include <pthread.h>
#include <stdio.h>

static struct limit_settings limits_of(unsigned all, unsigned each, unsigned new_ones)
{
    return (struct limit_settings){.connections = all,
                                   .connections_per_client = each,
                                   .new_connections = new_ones,
                                   .new_connections_ms = 60000};
}

static struct ip ip_of(const char *text)
{
    struct ip ip;

    if (!ip_parse(str_of(text), &ip))
        t_fail("\"%s\" is no address", text);
    return ip;
}

static enum clients_refusal enter(struct clients *clients, const struct limit_settings *limits,
                                  const char *ip, int64_t now_ms)
{
    struct ip address = ip_of(ip);

    return clients_enter(clients, limits, &address, now_ms);
}

static void leave(struct clients *clients, const char *ip)
{
    struct ip address = ip_of(ip);

    clients_leave(clients, &address);
}

static void test_connections(void **state)
{
    struct limit_settings limits = limits_of(4, 2, 100);
    struct clients *clients = clients_new();

    (void)state;
    t_case("so many at a time of one client", NULL);
    t_same_int(enter(clients, &limits, "192.0.2.1", 0), CLIENT_WELCOME);
    t_same_int(enter(clients, &limits, "192.0.2.1", 0), CLIENT_WELCOME);
    t_same_int(enter(clients, &limits, "192.0.2.1", 0), CLIENT_TOO_MANY_CONNECTIONS);
    t_same_int(clients_connections(clients), 2);
    t_case("its neighbour is another client", NULL);
    t_same_int(enter(clients, &limits, "192.0.2.2", 0), CLIENT_WELCOME);
    t_case("so many in all", NULL);
    t_same_int(enter(clients, &limits, "192.0.2.3", 0), CLIENT_WELCOME);
    t_same_int(enter(clients, &limits, "192.0.2.4", 0), CLIENT_SERVER_FULL);
    t_same_int(clients_connections(clients), 4);
    t_case("who leaves makes room, for all and for its client", NULL);
    leave(clients, "192.0.2.1");
    t_same_int(clients_connections(clients), 3);
    t_same_int(enter(clients, &limits, "192.0.2.1", 0), CLIENT_WELCOME);
    t_same_int(enter(clients, &limits, "192.0.2.1", 0), CLIENT_SERVER_FULL);
    leave(clients, "192.0.2.2");
    t_same_int(enter(clients, &limits, "192.0.2.1", 0), CLIENT_TOO_MANY_CONNECTIONS);
    t_case("the refused are not counted", NULL);
    t_same_int(clients_connections(clients), 3);
    clients_free(&clients);
    t_true(clients == NULL);
    clients_free(&clients);
}

static void test_prefix(void **state)
{
    struct limit_settings limits = limits_of(100, 1, 100);
    struct clients *clients = clients_new();

    (void)state;
    t_case("of IPv6 the /64 is the client", NULL);
    t_same_int(enter(clients, &limits, "2001:db8:0:1::1", 0), CLIENT_WELCOME);
    t_same_int(enter(clients, &limits, "2001:db8:0:1:ffff:ffff:ffff:ffff", 0), CLIENT_TOO_MANY_CONNECTIONS);
    t_same_int(enter(clients, &limits, "2001:db8:0:2::1", 0), CLIENT_WELCOME);
    leave(clients, "2001:db8:0:1:2:3:4:5");
    t_same_int(enter(clients, &limits, "2001:db8:0:1::9", 0), CLIENT_WELCOME);
    t_case("an IPv4 address is none of IPv6 with the same octets", NULL);
    t_same_int(enter(clients, &limits, "32.1.13.184", 0), CLIENT_WELCOME);
    clients_free(&clients);
}

static void test_rate(void **state)
{
    struct limit_settings limits = limits_of(100, 100, 3);
    struct clients *clients = clients_new();
    int64_t start = 1000000;

    (void)state;
    t_case("so many new ones within the window", NULL);
    for (int i = 0; i < 3; i++) {
        t_same_int(enter(clients, &limits, "192.0.2.1", start + i), CLIENT_WELCOME);
        leave(clients, "192.0.2.1");
    }
    t_same_int(enter(clients, &limits, "192.0.2.1", start + 59999), CLIENT_TOO_FAST);
    t_same_int(clients_connections(clients), 0);
    t_case("another client is not slowed down", NULL);
    t_same_int(enter(clients, &limits, "192.0.2.2", start + 59999), CLIENT_WELCOME);
    t_case("and the next window begins anew, whoever was refused meanwhile", NULL);
    for (int i = 0; i < 3; i++)
        t_same_int(enter(clients, &limits, "192.0.2.1", start + 60000), CLIENT_WELCOME);
    t_same_int(enter(clients, &limits, "192.0.2.1", start + 60001), CLIENT_TOO_FAST);
    clients_free(&clients);
}

static void test_elsewhere(void **state)
{
    struct limit_settings limits = limits_of(1000, 1000, 32);
    struct ip ip = ip_of("192.0.2.1"), other = ip_of("192.0.2.2");
    struct clients *clients = clients_new();

    (void)state;
    t_case("other hosts are told when a sixteenth of the limit has come", NULL);
    enter(clients, &limits, "192.0.2.1", 0);
    t_same_int(clients_to_tell(clients, &limits, &ip), 0);
    enter(clients, &limits, "192.0.2.1", 0);
    t_same_int(clients_to_tell(clients, &limits, &ip), 2);
    t_same_int(clients_to_tell(clients, &limits, &ip), 0);
    for (int i = 2; i < 9; i++)
        enter(clients, &limits, "192.0.2.1", 0);
    t_same_int(clients_to_tell(clients, &limits, &ip), 9);
    t_case("nobody knows of a client that never came", NULL);
    t_same_int(clients_to_tell(clients, &limits, &other), 0);
    clients_heard(clients, &other, 1000, 0);
    t_same_int(enter(clients, &limits, "192.0.2.2", 0), CLIENT_WELCOME);
    t_case("what was heard of them counts with ours", NULL);
    clients_heard(clients, &ip, 23, 1000);
    t_same_int(enter(clients, &limits, "192.0.2.1", 1000), CLIENT_TOO_FAST);
    t_case("fading: after half a window it counts half", NULL);
    for (int i = 9; i < 21; i++)
        t_same_int(enter(clients, &limits, "192.0.2.1", 31000), CLIENT_WELCOME);
    t_same_int(enter(clients, &limits, "192.0.2.1", 31000), CLIENT_TOO_FAST);
    t_case("and after a whole one not at all; our own window begins anew", NULL);
    for (int i = 0; i < 32; i++)
        t_same_int(enter(clients, &limits, "192.0.2.1", 61000), CLIENT_WELCOME);
    t_same_int(enter(clients, &limits, "192.0.2.1", 61000), CLIENT_TOO_FAST);
    t_same_int(clients_to_tell(clients, &limits, &ip), 32);
    t_case("of a window with fewer they are told as well", NULL);
    for (int i = 0; i < 2; i++)
        enter(clients, &limits, "192.0.2.1", 122000);
    t_same_int(clients_to_tell(clients, &limits, &ip), 2);
    t_case("a limit of a few is told each time", NULL);
    limits.new_connections = 3;
    enter(clients, &limits, "192.0.2.2", 0);
    t_same_int(clients_to_tell(clients, &limits, &other), 2);
    clients_free(&clients);
}

static void test_praise(void **state)
{
    static const int64_t day_ms = 24LL * 3600 * 1000;
    struct clients *clients = clients_new();
    struct ip good = ip_of("192.0.2.1"), other = ip_of("192.0.2.2"), six = ip_of("2001:db8::1"),
              neighbour = ip_of("2001:db8::2");

    (void)state;
    t_case("nobody is good before it was praised", NULL);
    t_true(!clients_is_good(clients, &good, 0));
    clients_praise(clients, &good, 1000);
    t_true(clients_is_good(clients, &good, 1000) && !clients_is_good(clients, &other, 1000));
    t_case("praise lasts a day after the last one; beyond it the store is asked", NULL);
    t_true(clients_is_good(clients, &good, 1000 + day_ms - 1));
    t_true(!clients_is_good(clients, &good, 1000 + day_ms));
    clients_praise(clients, &good, 2000);
    t_true(clients_is_good(clients, &good, 1000 + day_ms));
    t_case("of IPv6 the whole /64 is praised", NULL);
    clients_praise(clients, &six, 0);
    t_true(clients_is_good(clients, &neighbour, 0));
    clients_free(&clients);
}

static struct ip numbered(uint32_t i)
{
    struct ip ip = {.family = 4};

    ip.b[0] = 10;
    ip.b[1] = (uint8_t)(i >> 16);
    ip.b[2] = (uint8_t)(i >> 8);
    ip.b[3] = (uint8_t)i;
    return ip;
}

/* The table is cut in slices by a random hash, so which of the old ones go is not for the test to know. */
static void test_bounded(void **state)
{
    struct limit_settings limits = limits_of(1000000, 1, 1);
    struct clients *clients = clients_new();
    struct ip guest = ip_of("192.0.2.1"), praised = ip_of("192.0.2.2");
    unsigned known = 0;

    (void)state;
    t_same_int(clients_enter(clients, &limits, &guest, 0), CLIENT_WELCOME);
    clients_praise(clients, &praised, 0);
    for (uint32_t i = 0; i < 2 * CLIENTS_MAX; i++) {
        struct ip ip = numbered(i);

        clients_praise(clients, &ip, 0);
    }
    for (uint32_t i = 0; i < 2 * CLIENTS_MAX; i++) {
        struct ip ip = numbered(i);

        known += clients_is_good(clients, &ip, 0);
    }
    t_case("no more clients are remembered than the limit says", NULL);
    t_true(known <= CLIENTS_MAX);
    t_case("and hardly fewer", NULL);
    t_true(known >= CLIENTS_MAX * 9 / 10);
    t_case("those that were seen long ago made room", NULL);
    t_true(!clients_is_good(clients, &praised, 0));
    t_case("but not one with a connection open", NULL);
    t_same_int(clients_enter(clients, &limits, &guest, 0), CLIENT_TOO_MANY_CONNECTIONS);
    t_case("nor one that was seen last", NULL);
    for (uint32_t i = 2 * CLIENTS_MAX - 1000; i < 2 * CLIENTS_MAX; i++) {
        struct ip ip = numbered(i);

        t_true(clients_is_good(clients, &ip, 0));
    }
    clients_leave(clients, &guest);
    t_same_int(clients_connections(clients), 0);
    clients_free(&clients);
}

/* Greets with a host of each of so many unrelated domains; true once the address is taken for a gateway. */
static bool greets(struct clients *clients, const char *ip, unsigned domains)
{
    struct ip address = ip_of(ip);
    bool is_gateway = false;
    char helo[64];

    for (unsigned i = 0; i < domains; i++) {
        snprintf(helo, sizeof(helo), "host%u.mail.domain%u.example", i, i);
        is_gateway = clients_note_helo(clients, &address, helo);
    }
    return is_gateway;
}

static void test_gateway(void **state)
{
    struct clients *clients = clients_new();
    struct ip bridge = ip_of("172.17.0.1");

    (void)state;
    t_case("eight names are no gateway yet", NULL);
    t_true(!greets(clients, "172.17.0.1", CLIENTS_GATEWAY_NAMES));
    t_case("nor are more hosts of the same domains", NULL);
    for (int i = 0; i < 3; i++)
        t_true(!greets(clients, "172.17.0.1", CLIENTS_GATEWAY_NAMES));
    t_true(!clients_note_helo(clients, &bridge, "other.domain1.example"));
    t_case("many are, and stay so", NULL);
    t_true(greets(clients, "172.17.0.1", 30));
    t_true(clients_note_helo(clients, &bridge, "other.domain1.example"));
    t_case("another private address is another client", NULL);
    t_true(!greets(clients, "172.17.0.2", 1));
    t_case("a public address is never a gateway, nor is loopback", NULL);
    t_true(!greets(clients, "192.0.2.1", 30));
    t_true(!greets(clients, "127.0.0.1", 30));
    clients_free(&clients);
}

enum { THREADS = 4, ROUNDS = 20000, HOSTS = 8 };

struct worker {
    pthread_t thread;
    struct clients *clients;
    unsigned seed, too_many;
};

/* Each thread has at most one connection open of each host. */
static void *come_and_go(void *arg)
{
    struct limit_settings limits = limits_of(1000, THREADS, 1000000);
    struct worker *w = arg;

    for (unsigned i = 0; i < ROUNDS; i++) {
        struct ip ip = numbered(w->seed++ % HOSTS);

        if (clients_enter(w->clients, &limits, &ip, i) != CLIENT_WELCOME)
            w->too_many++;
        clients_praise(w->clients, &ip, i);
        clients_is_good(w->clients, &ip, i);
        clients_leave(w->clients, &ip);
    }
    return NULL;
}

static void test_threads(void **state)
{
    struct limit_settings limits = limits_of(1000, 1, 1000000);
    struct clients *clients = clients_new();
    struct worker workers[THREADS];

    (void)state;
    t_case("workers count together, and nothing is lost", NULL);
    for (unsigned i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){.clients = clients, .seed = i};
        t_same_int(pthread_create(&workers[i].thread, NULL, come_and_go, &workers[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_join(workers[i].thread, NULL);
        t_same_int(workers[i].too_many, 0);
    }
    t_same_int(clients_connections(clients), 0);
    for (unsigned i = 0; i < HOSTS; i++) {
        struct ip ip = numbered(i);

        t_same_int(clients_enter(clients, &limits, &ip, 0), CLIENT_WELCOME);
        t_same_int(clients_enter(clients, &limits, &ip, 0), CLIENT_TOO_MANY_CONNECTIONS);
    }
    clients_free(&clients);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_connections), cmocka_unit_test(test_prefix),  cmocka_unit_test(test_rate),
        cmocka_unit_test(test_praise),      cmocka_unit_test(test_bounded), cmocka_unit_test(test_gateway),
        cmocka_unit_test(test_threads),     cmocka_unit_test(test_elsewhere),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
