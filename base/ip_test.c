#include "base/ip.h"

#include "tests/t.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

static struct ip ip_of(const char *text)
{
    struct ip ip = {0};

    if (!ip_parse(str_of(text), &ip))
        t_fail("%s is not an address", text);
    return ip;
}

static const struct {
    const char *name, *text, *canonical; /* NULL: not an address */
} addresses[] = {
    {"IPv4", "192.0.2.1", "192.0.2.1"},
    {"numbers of one, two and three digits", "0.9.10.99", "0.9.10.99"},
    {"and with zeros inside", "100.109.200.255", "100.109.200.255"},
    {"IPv6 is written as RFC 5952 wants", "2001:DB8:0:0:0:0:0:1", "2001:db8::1"},
    {"the longer run of zeros is shortened", "2001:db8:0:0:1:0:0:0", "2001:db8:0:0:1::"},
    {"a single zero is not", "2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"},
    {"IPv4 within IPv6 becomes IPv4", "::ffff:192.0.2.1", "192.0.2.1"},
    {"in its other form too", "::ffff:c000:201", "192.0.2.1"},
    {"loopback", "::1", "::1"},
    {"nothing", "", NULL},
    {"three numbers", "192.0.2", NULL},
    {"a number too large", "192.0.2.256", NULL},
    {"octal is no decimal", "192.0.02.1", NULL},
    {"a blank", "192.0.2.1 ", NULL},
    {"a zone", "fe80::1%eth0", NULL},
    {"brackets", "[::1]", NULL},
    {"two gaps", "1::2::3", NULL},
    {"too long", "2001:0db8:0000:0000:0000:0000:0000:0001:0000:0000:0000", NULL},
    {"a name", "localhost", NULL},
};

static void test_addresses(void **state)
{
    char text[IP_TEXT_MAX];
    struct ip ip;

    (void)state;
    for (size_t i = 0; i < sizeof(addresses) / sizeof(*addresses); i++) {
        t_case(addresses[i].name, "5952 4");
        t_true(ip_parse(str_of(addresses[i].text), &ip) == (addresses[i].canonical != NULL));
        if (addresses[i].canonical != NULL)
            t_same_z(ip_format(&ip, text), addresses[i].canonical);
    }
    t_case("a NUL within", NULL);
    t_true(!ip_parse(STR("192.0.2.1\0"), &ip));
    t_case("no address has no text", NULL);
    ip = (struct ip){0};
    t_same_z(ip_format(&ip, text), "");
}

static const struct {
    const char *text;
    bool any, loopback, is_private;
} kinds[] = {
    {"0.0.0.0", true, false, false},      {"::", true, false, false},
    {"127.0.0.1", false, true, true},     {"127.255.255.254", false, true, true},
    {"128.0.0.1", false, false, false},   {"::1", false, true, true},
    {"::2", false, false, false},         {"::ffff:127.0.0.1", false, true, true},
    {"10.0.0.1", false, false, true},     {"172.15.255.255", false, false, false},
    {"172.16.0.1", false, false, true},   {"172.31.255.255", false, false, true},
    {"172.32.0.1", false, false, false},  {"192.168.1.1", false, false, true},
    {"192.169.1.1", false, false, false}, {"169.254.1.1", false, false, true},
    {"100.64.0.1", false, false, true},   {"100.127.255.255", false, false, true},
    {"100.128.0.1", false, false, false}, {"192.0.2.1", false, false, false},
    {"fc00::1", false, false, true},      {"fdff::1", false, false, true},
    {"fe00::1", false, false, false},     {"fe80::1", false, false, true},
    {"febf::1", false, false, true},      {"fec0::1", false, false, false},
    {"2001:db8::1", false, false, false},
};

static void test_kinds(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
        struct ip ip = ip_of(kinds[i].text);

        t_case(kinds[i].text, NULL);
        t_true(ip_is_any(&ip) == kinds[i].any);
        t_true(ip_is_loopback(&ip) == kinds[i].loopback);
        t_true(ip_is_private(&ip) == kinds[i].is_private);
    }
}

static const struct {
    const char *network, *address;
    bool has;
} members[] = {
    {"192.0.2.0/24", "192.0.2.255", true},
    {"192.0.2.0/24", "192.0.3.0", false},
    {"192.0.2.128/25", "192.0.2.127", false},
    {"192.0.2.128/25", "192.0.2.128", true},
    {"192.0.2.1", "192.0.2.1", true},
    {"192.0.2.1", "192.0.2.2", false},
    {"0.0.0.0/0", "203.0.113.9", true},
    {"0.0.0.0/0", "2001:db8::1", false},
    {"::/0", "2001:db8::1", true},
    {"::/0", "192.0.2.1", false},
    {"0.0.0.0/0", "::ffff:192.0.2.1", true},
    {"2001:db8::/33", "2001:db8:7fff::1", true},
    {"2001:db8::/33", "2001:db8:8000::1", false},
    {"2001:db8::1", "2001:db8::1", true},
    {"2001:db8::1/128", "2001:db8::2", false},
};

static void test_networks(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(members) / sizeof(*members); i++) {
        struct ip ip = ip_of(members[i].address);
        struct fail fail;
        struct net net;

        t_case(members[i].network, "4632 3.1");
        t_same_int(net_parse(str_of(members[i].network), &net, &fail), 0);
        t_true(net_has(&net, &ip) == members[i].has);
        t_true(net_list_has(&(struct net_list){&net, 1}, &ip) == members[i].has);
        t_true(!net_list_has(&(struct net_list){0}, &ip));
    }
}

static const struct {
    const char *text, *says;
} bad_networks[] = {
    {"192.0.2.1/24", "has bits set behind its prefix; did you mean 192.0.2.0/24?"},
    {"2001:db8::1/32", "did you mean 2001:db8::/32?"},
    {"192.0.2.0/33", "the prefix length is a number from 0 to 32"},
    {"2001:db8::/129", "the prefix length is a number from 0 to 128"},
    {"192.0.2.0/", "the prefix length is a number"},
    {"192.0.2.0/-1", "the prefix length is a number"},
    {"192.0.2.0/255.255.255.0", "the prefix length is a number"},
    {"example.test", "is not a network"},
    {"", "is not a network"},
};

static void test_bad_networks(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(bad_networks) / sizeof(*bad_networks); i++) {
        struct fail fail = {""};
        struct net net;

        t_case(bad_networks[i].text, NULL);
        t_same_int(net_parse(str_of(bad_networks[i].text), &net, &fail), -1);
        if (strstr(fail.text, bad_networks[i].says) == NULL)
            t_fail("\"%s\" does not say \"%s\"", fail.text, bad_networks[i].says);
    }
}

static void test_prefix(void **state)
{
    struct ip four = ip_of("192.0.2.255"), six = ip_of("2001:db8:ffff:ffff:ffff::1");
    char text[IP_TEXT_MAX];
    struct ip prefix;

    (void)state;
    t_case("prefixes have no bits behind them", NULL);
    prefix = ip_prefix(&four, 24);
    t_same_z(ip_format(&prefix, text), "192.0.2.0");
    prefix = ip_prefix(&four, 25);
    t_same_z(ip_format(&prefix, text), "192.0.2.128");
    prefix = ip_prefix(&four, 0);
    t_same_z(ip_format(&prefix, text), "0.0.0.0");
    prefix = ip_prefix(&four, 32);
    t_true(ip_eq(&prefix, &four));
    prefix = ip_prefix(&six, 64);
    t_same_z(ip_format(&prefix, text), "2001:db8:ffff:ffff::");
    prefix = ip_prefix(&six, 33);
    t_same_z(ip_format(&prefix, text), "2001:db8:8000::");
    t_true(!ip_eq(&four, &six));
}

static void test_endpoints(void **state)
{
    static const char *const good[] = {"127.0.0.1:25", "[::1]:25", "[2001:db8::1]:65535", "0.0.0.0:0"};
    static const char *const bad[] = {"127.0.0.1",    "127.0.0.1:",      "127.0.0.1:65536", "::1:25", "[::1]",
                                      "localhost:25", "[::1]:25 ",       "[127.0.0.1:25",   "",       ":25",
                                      "[]:25",        "127.0.0.1:25:25", "[fe80::1%lo]:25"};
    struct arena *mem = arena_new(0);
    struct endpoint endpoint, back;
    struct sockaddr_storage addr;
    struct fail fail = {""};

    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++) {
        t_case(good[i], "3986 3.2.2");
        t_same_int(endpoint_parse(str_of(good[i]), &endpoint, &fail), 0);
        t_same_z(endpoint_text(mem, &endpoint), good[i]);
        t_true(endpoint_to_sockaddr(&endpoint, (struct sockaddr *)&addr) >= sizeof(struct sockaddr_in));
        t_true(endpoint_from_sockaddr((struct sockaddr *)&addr, &back));
        t_true(ip_eq(&endpoint.ip, &back.ip) && endpoint.port == back.port);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        t_case(bad[i], NULL);
        fail.text[0] = '\0';
        t_same_int(endpoint_parse(str_of(bad[i]), &endpoint, &fail), -1);
        t_true(fail.text[0] != '\0');
    }
    arena_free(&mem);
}

static void test_sockaddr(void **state)
{
    struct sockaddr_in6 mapped = {.sin6_family = AF_INET6, .sin6_port = htons(25)};
    struct sockaddr odd = {.sa_family = AF_UNIX};
    struct arena *mem = arena_new(0);
    struct endpoint endpoint;

    (void)state;
    t_case("a client of a dual-stack socket has one form", "4291 2.5.5.2");
    inet_pton(AF_INET6, "::ffff:192.0.2.1", &mapped.sin6_addr);
    t_true(endpoint_from_sockaddr((struct sockaddr *)&mapped, &endpoint));
    t_same_z(endpoint_text(mem, &endpoint), "192.0.2.1:25");
    t_same_z(ip_text(mem, &endpoint.ip), "192.0.2.1");
    t_case("other families have no address", NULL);
    t_true(!endpoint_from_sockaddr(&odd, &endpoint));
    t_same_int(endpoint.ip.family, 0);
    arena_free(&mem);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_addresses),    cmocka_unit_test(test_kinds),  cmocka_unit_test(test_networks),
        cmocka_unit_test(test_bad_networks), cmocka_unit_test(test_prefix), cmocka_unit_test(test_endpoints),
        cmocka_unit_test(test_sockaddr),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
