#include "grey/allow.h"

#include "base/bug.h"
#include "tests/t.h"

static struct ip ip_of(const char *text)
{
    struct ip ip;

    if (!ip_parse(str_of(text), &ip))
        t_fail("%s is no address", text);
    return ip;
}

/* ---- clients ---- */

static const struct {
    const char *name, *line, *ip, *host, *spf;
    bool want;
} clients[] = {
    {"an address", "66.216.126.174", "66.216.126.174", NULL, NULL, true},
    {"another address", "66.216.126.174", "66.216.126.175", NULL, NULL, false},
    {"a network", "192.0.2.0/24", "192.0.2.9", NULL, NULL, true},
    {"beside it", "192.0.2.0/24", "192.0.3.9", NULL, NULL, false},
    {"a network with bits behind its prefix", "192.0.2.7/24", "192.0.2.9", NULL, NULL, true},
    {"three numbers are a /24", "192.0.2", "192.0.2.77", NULL, NULL, true},
    {"beside the /24", "192.0.2", "192.0.20.7", NULL, NULL, false},
    {"two numbers are a /16", "192.168", "192.168.7.9", NULL, NULL, true},
    {"beside the /16", "192.168", "192.169.7.9", NULL, NULL, false},
    {"an IPv6 network", "2001:db8::/32", "2001:db8:5::9", NULL, NULL, true},
    {"an IPv6 address", "2001:db8::1", "2001:db8::2", NULL, NULL, false},
    {"the domain, verified", "example.org", "198.51.100.1", "example.org", NULL, true},
    {"a host below it, in any case", "Example.org", "198.51.100.1", "MX.example.ORG.", NULL, true},
    {"a name that only ends alike", "example.org", "198.51.100.1", "notexample.org", NULL, false},
    {"a domain above it", "example.org", "198.51.100.1", "org", NULL, false},
    {"a domain that SPF passed for", "example.org", "198.51.100.1", "mx.example.com", "mail.example.org",
     true},
    {"nothing known", "example.org", "198.51.100.1", NULL, NULL, false},
    {"a host name with an underscore", "ms_x.example.org", "198.51.100.1", "ms_x.example.org", NULL, true},
    {"a pattern", "/^mail\\d+\\.telekom\\.de$/", "198.51.100.1", "mail7.telekom.de.", NULL, true},
    {"a pattern is for host names", "/^mail\\d+\\.telekom\\.de$/", "198.51.100.1", NULL, "mail7.telekom.de",
     false},
    {"a pattern of anything wants a name", "/.*/", "198.51.100.1", NULL, NULL, false},
};

static void test_clients(void **state)
{
    struct arena *mem = arena_new(0);
    struct grey_allow allow;
    struct fail fail;

    (void)state;
    for (size_t i = 0; i < COUNT(clients); i++) {
        struct grey_client client = {ip_of(clients[i].ip), clients[i].host, clients[i].spf};

        t_case(clients[i].name, NULL);
        t_same_int(grey_allow_parse(mem, str_of(clients[i].line), &allow, &fail), 0);
        t_same_int(grey_allow_has(&allow, &client), clients[i].want);
    }
    arena_free(&mem);
}

/* ---- recipients ---- */

static const struct {
    const char *name, *line, *address;
    bool want;
} recipients[] = {
    {"an address", "me@example.net", "me@example.net", true},
    {"in any case, in brackets", "Me@example.net", "<ME@Example.NET>", true},
    {"with an extension", "me@example.net", "me+list@example.net", true},
    {"a name that begins alike", "me@example.net", "men@example.net", false},
    {"a plus with nothing behind", "me@example.net", "me+@example.net", false},
    {"another domain", "me@example.net", "me@sub.example.net", false},
    {"a local part everywhere", "abuse@", "abuse@any.example", true},
    {"a local part with an extension", "abuse@", "abuse+x@any.example", true},
    {"a local part, but another", "abuse@", "noabuse@any.example", false},
    {"a domain", "example.net", "you@example.net", true},
    {"below the domain", "example.net", "you@lists.example.net", true},
    {"a domain that ends alike", "example.net", "you@notexample.net", false},
    {"a pattern", "/^list-.*@example\\.net$/", "list-7@example.net", true},
    {"a pattern that does not match", "/^list-.*@example\\.net$/", "me@example.net", false},
    {"a quoted local part with an @", "example.net", "\"a@b\"@example.net", true},
};

static void test_recipients(void **state)
{
    struct arena *mem = arena_new(0);
    struct grey_allow_recipient allow;
    struct fail fail;

    (void)state;
    for (size_t i = 0; i < COUNT(recipients); i++) {
        t_case(recipients[i].name, NULL);
        t_same_int(grey_allow_recipient_parse(mem, str_of(recipients[i].line), &allow, &fail), 0);
        t_same_int(grey_allow_recipient_has(&allow, str_of(recipients[i].address)), recipients[i].want);
    }
    arena_free(&mem);
}

/* ---- what is neither ---- */

static void test_refused(void **state)
{
    static const char *const lines[] = {"192.0.2.0/33", "2001:db8::g", "two words",
                                        "a/b",          "/(/",         "1.2.3.4/x"};
    static const char *const addresses[] = {"@example.net", "two words@example.net", "/(/", ""};
    struct grey_allow_recipient recipient;
    struct arena *mem = arena_new(0);
    struct grey_allow allow;
    struct fail fail;

    (void)state;
    for (size_t i = 0; i < COUNT(lines); i++) {
        t_case(lines[i], NULL);
        t_same_int(grey_allow_parse(mem, str_of(lines[i]), &allow, &fail), -1);
    }
    for (size_t i = 0; i < COUNT(addresses); i++) {
        t_case(addresses[i], NULL);
        t_same_int(grey_allow_recipient_parse(mem, str_of(addresses[i]), &recipient, &fail), -1);
    }
    arena_free(&mem);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_clients),
        cmocka_unit_test(test_recipients),
        cmocka_unit_test(test_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
