#include "dns/dns.h"

#include "base/bug.h"
#include "tests/fakedns.h"
#include "tests/t.h"

static struct ip ip_of(const char *text)
{
    struct ip ip = {0};

    t_true(ip_parse(str_of(text), &ip));
    return ip;
}

static void addresses_are_turned_around(void **state)
{
    static const struct {
        const char *name, *rfc, *ip, *zone, *want;
    } rows[] = {
        {"IPv4 octets backward", "5782 2.1", "192.0.2.99", "bl.test", "99.2.0.192.bl.test"},
        {"no zeros in front, none lost", "1035 3.5", "10.0.200.105", "bl.test", "105.200.0.10.bl.test"},
        {"mapped IPv6 is IPv4", "5782 2.1", "::ffff:192.0.2.1", "bl.test", "1.2.0.192.bl.test"},
        {"IPv6 nibbles backward", "5782 2.4", "2001:db8:1:2:3:4:567:89ab", "ugly.test",
         "b.a.9.8.7.6.5.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.8.b.d.0.1.0.0.2.ugly.test"},
    };
    char name[DNS_NAME_MAX + 1];

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct ip ip = ip_of(rows[i].ip);

        t_case(rows[i].name, rows[i].rfc);
        dns_reverse_name(&ip, rows[i].zone, name);
        t_same_z(name, rows[i].want);
    }
}

static void pointers_live_in_arpa(void **state)
{
    struct ip v4 = ip_of("192.0.2.1"), v6 = ip_of("2001:db8::1"), none = {0};
    char name[DNS_NAME_MAX + 1];

    (void)state;
    t_case("IPv4", "1035 3.5");
    dns_ptr_name(&v4, name);
    t_same_z(name, "1.2.0.192.in-addr.arpa");
    t_case("IPv6", "3596 2.5");
    dns_ptr_name(&v6, name);
    t_same_z(name, "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa");
    t_case("no address: a name that cannot be asked", "");
    dns_ptr_name(&none, name);
    t_same_z(name, "");
}

static void what_does_not_fit_cannot_be_asked(void **state)
{
    struct ip v6 = ip_of("2001:db8::1");
    char zone[DNS_NAME_MAX + 1], name[DNS_NAME_MAX + 1];

    (void)state;
    memset(zone, 'z', sizeof(zone));
    t_case("64 octets and a zone of 189 fit", "1035 2.3.4");
    zone[189] = '\0';
    dns_reverse_name(&v6, zone, name);
    t_same_int(strlen(name), 253);
    t_case("a zone of 190 does not", "1035 2.3.4");
    zone[189] = 'z';
    zone[190] = '\0';
    dns_reverse_name(&v6, zone, name);
    t_same_z(name, "");
}

static void statuses_have_words(void **state)
{
    static const struct {
        enum dns_status status;
        const char *word;
        bool is_temporary, is_void;
    } rows[] = {
        {DNS_OK, "ok", false, false},
        {DNS_NODATA, "nodata", false, true},
        {DNS_NXDOMAIN, "nxdomain", false, true},
        {DNS_SERVFAIL, "servfail", true, false},
        {DNS_REFUSED, "refused", true, false},
        {DNS_TIMEOUT, "timeout", true, false},
        {DNS_GARBLED, "garbled", true, false},
        {DNS_BADNAME, "badname", false, false},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        t_case(rows[i].word, "7208 4.6.4");
        t_same_z(dns_status_name(rows[i].status), rows[i].word);
        t_same_int(dns_is_temporary(rows[i].status), rows[i].is_temporary);
        t_same_int(dns_is_void(rows[i].status), rows[i].is_void);
    }
    t_same_z(dns_type_name(DNS_A), "A");
    t_same_z(dns_type_name(DNS_AAAA), "AAAA");
    t_same_z(dns_type_name(DNS_TXT), "TXT");
    t_same_z(dns_type_name(DNS_MX), "MX");
    t_same_z(dns_type_name(DNS_PTR), "PTR");
    t_same_z(dns_type_name(DNS_NS), "NS");
    t_same_z(dns_type_name(DNS_SOA), "SOA");
    t_same_z(dns_type_name(DNS_CNAME), "CNAME");
}

static void never_called(const struct dns_answer *answer, void *arg)
{
    (void)answer;
    (void)arg;
    t_fail("a cancelled question was answered");
}

static void cancelled_never_calls_back(void **state)
{
    struct fakedns *fake = fakedns_new();
    struct dns_token *token = dns_query(fakedns_dns(fake), DNS_A, "a.test", never_called, NULL);

    (void)state;
    t_true(token != NULL);
    dns_cancel(&token);
    t_true(token == NULL);
    dns_cancel(&token);
    t_true(!fakedns_run(fake));
    fakedns_free(&fake);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_are_turned_around),       cmocka_unit_test(pointers_live_in_arpa),
        cmocka_unit_test(what_does_not_fit_cannot_be_asked), cmocka_unit_test(statuses_have_words),
        cmocka_unit_test(cancelled_never_calls_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
