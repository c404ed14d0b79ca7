#include "config/value.h"

#include "config/suggest.h"
#include "tests/t.h"

/* Each row: the text, and the value (or both of a pair), or the fault. */
struct number_row {
    const char *text;
    int64_t value;
    const char *fault;
};

static void run_numbers(const char *name, const struct number_row *rows, size_t count,
                        int (*parse)(struct str, int64_t *, struct fail *))
{
    for (size_t i = 0; i < count; i++) {
        struct fail fail = {.text = ""};
        int64_t value = 0;
        int result;

        t_case(name, NULL);
        result = parse(str_of(rows[i].text), &value, &fail);
        t_same_z(fail.text, rows[i].fault != NULL ? rows[i].fault : "");
        t_same_int(result, rows[i].fault != NULL ? -1 : 0);
        if (rows[i].fault == NULL)
            t_same_int(value, rows[i].value);
    }
}

static void test_durations(void **state)
{
    static const struct number_row rows[] = {
        {"300ms", 300, NULL},
        {"300s", 300000, NULL},
        {"5m", 300000, NULL},
        {"1h", 3600000, NULL},
        {"2d", 172800000, NULL},
        {"0s", 0, NULL},
        {"99999999999999999d", INT64_MAX, NULL}, /* for the limit to refuse */
        {"300", 0, "\"300\" has no unit; write 300s, or ms, m, h or d"},
        {"", 0, "\"\" is not a duration; write 300ms, 300s, 5m, 1h or 2d"},
        {"s", 0, "\"s\" is not a duration; write 300ms, 300s, 5m, 1h or 2d"},
        {"-1s", 0, "\"-1s\" is not a duration; write 300ms, 300s, 5m, 1h or 2d"},
        {"1.5h", 0, "\"1.5h\" is not a duration; write 300ms, 300s, 5m, 1h or 2d"},
        {"5 m", 0, "\"5 m\" is not a duration; write 300ms, 300s, 5m, 1h or 2d"},
        {"5M", 0, "\"5M\" is not a duration; write 300ms, 300s, 5m, 1h or 2d"},
        {"1h30m", 0, "\"1h30m\" is not a duration; write 300ms, 300s, 5m, 1h or 2d"},
        {"99999999999999999999s", 0,
         "\"99999999999999999999s\" is not a duration; write 300ms, 300s, 5m, 1h or 2d"},
    };

    (void)state;
    run_numbers("durations always have a unit", rows, sizeof(rows) / sizeof(rows[0]), value_duration_ms);
}

static void test_sizes(void **state)
{
    static const struct number_row rows[] = {
        {"512K", 524288, NULL},
        {"25M", 26214400, NULL},
        {"2G", 2147483648, NULL},
        {"9999999999999G", INT64_MAX, NULL},
        {"512", 0, "\"512\" has no unit; write 512K, 25M or 2G"},
        {"512k", 0, "\"512k\" is not a size; write 512K, 25M or 2G"},
        {"512KB", 0, "\"512KB\" is not a size; write 512K, 25M or 2G"},
        {"K", 0, "\"K\" is not a size; write 512K, 25M or 2G"},
    };

    (void)state;
    run_numbers("sizes always have a unit", rows, sizeof(rows) / sizeof(rows[0]), value_bytes);
}

static void test_numbers(void **state)
{
    static const struct number_row rows[] = {
        {"0", 0, NULL},
        {"20", 20, NULL},
        {"-5", -5, NULL},
        {"9223372036854775807", INT64_MAX, NULL},
        {"9223372036854775808", 0, "\"9223372036854775808\" is not a whole number"},
        {"08", 0, "\"08\" is not a whole number"},
        {"1e3", 0, "\"1e3\" is not a whole number"},
        {"0x10", 0, "\"0x10\" is not a whole number"},
        {"+1", 0, "\"+1\" is not a whole number"},
        {"-", 0, "\"-\" is not a whole number"},
        {"", 0, "\"\" is not a whole number"},
    };

    (void)state;
    run_numbers("whole numbers", rows, sizeof(rows) / sizeof(rows[0]), value_number);
}

static void test_bools(void **state)
{
    static const struct {
        const char *text;
        bool value;
        const char *fault;
    } rows[] = {
        {"true", true, ""},
        {"false", false, ""},
        {"yes", false, "\"yes\" is not true or false; write true"},
        {"On", false, "\"On\" is not true or false; write true"},
        {"TRUE", false, "\"TRUE\" is not true or false; write true"},
        {"no", false, "\"no\" is not true or false; write false"},
        {"off", false, "\"off\" is not true or false; write false"},
        {"False", false, "\"False\" is not true or false; write false"},
        {"1", false, "\"1\" is not true or false"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct fail fail = {.text = ""};
        bool value = false;

        t_case("booleans are only true and false", NULL);
        t_same_int(value_bool(str_of(rows[i].text), &value, &fail), *rows[i].fault != '\0' ? -1 : 0);
        t_same_z(fail.text, rows[i].fault);
        t_same_int(value, rows[i].value);
    }
}

static void test_rates_and_times(void **state)
{
    struct fail fail;
    int64_t second;
    int64_t count, ms;

    (void)state;
    t_case("a rate is a number and a duration", NULL);
    t_same_int(value_rate(STR("60/1m"), &count, &ms, &fail), 0);
    t_same_int(count, 60);
    t_same_int(ms, 60000);
    t_same_int(value_rate(STR("60"), &count, &ms, &fail), -1);
    t_same_z(fail.text, "\"60\" is not a rate; write 60/1m for 60 in a minute");
    t_same_int(value_rate(STR("60/1"), &count, &ms, &fail), -1);
    t_same_z(fail.text, "\"60/1\" is not a rate: \"1\" has no unit; write 1s, or ms, m, h or d");
    t_case("a time of day has two digits twice", NULL);
    t_same_int(value_time_of_day(STR("00:30"), &second, &fail), 0);
    t_same_int(second, 1800);
    t_same_int(value_time_of_day(STR("23:59"), &second, &fail), 0);
    t_same_int(second, 86340);
    t_same_int(value_time_of_day(STR("24:00"), &second, &fail), -1);
    t_same_int(value_time_of_day(STR("0:30"), &second, &fail), -1);
    t_same_z(fail.text, "\"0:30\" is not a time of day; write 00:30");
}

static void test_domains(void **state)
{
    static const char label[] = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"; /* 63 */
    static const struct {
        const char *text, *domain, *fault;
    } rows[] = {
        {"Example.NET", "example.net", ""},
        {"b\xc3\xbc"
         "cher.example",
         "xn--bcher-kva.example", ""},
        {"lan", "lan", ""},
        {"", NULL, "\"\" is not a domain name of 1 to 253 letters"},
        {"example.net.", NULL, "\"example.net.\" ends with a dot; write it without"},
        {"192.0.2.1", NULL, "\"192.0.2.1\" is an address, not a domain name"},
        {"a..b", NULL, "\"a..b\" is not a domain name: labels are 1 to 63 letters, digits and inner hyphens"},
        {"-a.b", NULL, "\"-a.b\" is not a domain name: labels are 1 to 63 letters, digits and inner hyphens"},
        {"a_b.c", NULL,
         "\"a_b.c\" is not a domain name: labels are 1 to 63 letters, digits and inner hyphens"},
        {"a b", NULL, "\"a b\" is not a domain name: labels are 1 to 63 letters, digits and inner hyphens"},
    };
    struct arena *mem = arena_new(0);
    const char *domain;
    struct fail fail;

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        t_case("domain names", NULL);
        fail.text[0] = '\0';
        domain = NULL;
        t_same_int(value_domain(mem, str_of(rows[i].text), &domain, &fail), *rows[i].fault != '\0' ? -1 : 0);
        t_same_z(fail.text, rows[i].fault);
        t_same_z(domain, rows[i].domain);
    }
    t_case("labels of 63, names of 253, but no more", "1035 2.3.4");
    t_same_int(value_domain(mem, str_of(label), &domain, &fail), 0);
    t_same_int(value_domain(mem, str_of(str_fmt(mem, "%sa", label)), &domain, &fail), -1);
    t_same_int(
        value_domain(mem, str_of(str_fmt(mem, "%s.%s.%s.%.61s", label, label, label, label)), &domain, &fail),
        0);
    t_same_int(
        value_domain(mem, str_of(str_fmt(mem, "%s.%s.%s.%.62s", label, label, label, label)), &domain, &fail),
        -1);
    arena_free(&mem);
}

static void test_endpoints_and_codes(void **state)
{
    static const struct {
        const char *text, *fault;
    } codes[] = {
        {"127.0.0.2", ""},
        {"127.0.0.2-127.0.0.11", ""},
        {"127.255.254.255", ""},
        {"127.0.0.11-127.0.0.2", "\"127.0.0.11-127.0.0.2\" ends before it begins"},
        {"127.0.0.2-127.255.255.255",
         "\"127.0.0.2-127.255.255.255\": 127.255.255.0/24 are errors of the list, never a listing"},
        {"127.255.255.254", "\"127.255.255.254\": 127.255.255.0/24 are errors of the list, never a listing"},
        {"10.0.0.1", "\"10.0.0.1\": lists answer within 127.0.0.0/8 (RFC 5782 2.1)"},
        {"::1", "\"::1\" is not a code; write 127.0.0.2 or 127.0.0.2-127.0.0.11"},
        {"127.0.0.2-", "\"127.0.0.2-\" is not a code; write 127.0.0.2 or 127.0.0.2-127.0.0.11"},
        {"", "\"\" is not a code; write 127.0.0.2 or 127.0.0.2-127.0.0.11"},
    };
    struct endpoint endpoint = {0};
    struct ip first, last;
    struct fail fail;

    (void)state;
    t_case("a port may have a default", NULL);
    t_same_int(value_endpoint(STR("::1"), 53, &endpoint, &fail), 0);
    t_same_int(endpoint.port, 53);
    t_same_int(value_endpoint(STR("192.0.2.1:5353"), 53, &endpoint, &fail), 0);
    t_same_int(endpoint.port, 5353);
    t_same_int(value_endpoint(STR("192.0.2.1:0"), 0, &endpoint, &fail), -1);
    t_same_z(fail.text, "\"192.0.2.1:0\" has port 0; ports are 1 to 65535");
    t_same_int(value_endpoint(STR("192.0.2.1:65536"), 0, &endpoint, &fail), -1);
    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
        t_case("codes of a DNS list", "5782 2.1");
        fail.text[0] = '\0';
        t_same_int(value_codes(str_of(codes[i].text), &first, &last, &fail),
                   *codes[i].fault != '\0' ? -1 : 0);
        t_same_z(fail.text, codes[i].fault);
    }
}

static void test_authserv_ids(void **state)
{
    struct fail fail;

    (void)state;
    t_case("an authserv-id is one token", "8601 2.2");
    t_same_int(value_authserv_id(STR("mx1.example.net"), &fail), 0);
    t_same_int(value_authserv_id(STR("site_7"), &fail), 0);
    t_same_int(value_authserv_id(STR("two words"), &fail), -1);
    t_same_z(
        fail.text,
        "\"two words\" is not an authserv-id: one word of letters, digits, dots and hyphens (RFC 8601 2.2)");
    t_same_int(value_authserv_id(STR("a;b"), &fail), -1);
    t_same_int(value_authserv_id(STR("a\"b"), &fail), -1);
}

static void test_suggestions(void **state)
{
    static const struct {
        const char *word, *best;
    } rows[] = {
        {"enforced", "enforce"},
        {"obsreve", "observe"},
        {"OFF", "off"},
        {"of", "off"},
        {"banana", NULL},
        {"", NULL},
        {"x", NULL},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct suggestion near;

        t_case(rows[i].word, NULL);
        suggest_begin(&near, str_of(rows[i].word));
        suggest_try(&near, "off");
        suggest_try(&near, "observe");
        suggest_try(&near, "enforce");
        t_same_z(near.best, rows[i].best);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_durations),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_bools),
        cmocka_unit_test(test_rates_and_times),
        cmocka_unit_test(test_domains),
        cmocka_unit_test(test_endpoints_and_codes),
        cmocka_unit_test(test_authserv_ids),
        cmocka_unit_test(test_suggestions),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
