/*
 * cli/explain_test.c - what a sender is told, check by check: each row is a record, and what must be said about it
 */
#include "cli/explain.h"
#include "config/table.h"
#include "tests/t.h"

#define SESSION "\"time\":1700000000,\"at\":\"rcpt\",\"client\":{\"ip\":\"192.0.2.7\""
#define TO(more)                                                                                             \
    "\"from\":\"a@s.test\",\"sender_domain\":\"s.test\",\"recipients\":[{\"to\":\"b@r.test\"" more "}]"
#define SAYS(check, text)                                                                                    \
    "\"verdict\":{\"action\":\"reject\",\"reply\":550,\"check\":\"" check "\",\"text\":\"" text "\"}"
#define MESSAGE(facts, check)                                                                                \
    "{\"time\":1700000000,\"at\":\"message\",\"client\":{\"ip\":\"2001:db8::7\"},\"from\":\"a@s.test\","     \
    "\"message\":{" facts "}," SAYS(check, "") "}"
#define DMARC(more)                                                                                          \
    "\"from_domain\":\"o.test\",\"dmarc\":{\"result\":\"fail\",\"policy\":\"reject\",\"found\":\"found\","   \
    "\"record_domain\":\"o.test\",\"published\":\"reject\"" more "}"

static const struct {
    const char *name, *record, *said[4], *keys[3];
} rows[] = {
    {"too many connections",
     "{" SESSION "}," SAYS("connections", "") "}",
     {"comes again by itself", "fewer connections"},
     {"limits.connections_per_client"}},
    {"too fast",
     "{" SESSION "}," SAYS("rate", "") "}",
     {"connect more slowly"},
     {"limits.new_connections_per_client"}},
    {"an early talker",
     "{" SESSION ",\"early_talker\":true}," SAYS("early-talker", "") "}",
     {"waits for the greeting", "on 192.0.2.7"},
     {"screen.early_talker"}},
    {"a HELO",
     "{" SESSION ",\"helo\":\"me\"}," SAYS("helo", "") "}",
     {"at 192.0.2.7", "It said \"me\""},
     {"screen.helo"}},
    {"relaying",
     "{" SESSION "}," TO("," SAYS("relay", "")) "}",
     {"<b@r.test> is not of a domain that we take mail for"},
     {"domains.relay"}},
    {"relaying from an outbound port",
     "{" SESSION ",\"outbound\":true}," TO("," SAYS("relay", "")) "}",
     {"log in first"},
     {NULL}},
    {"no such mailbox",
     "{" SESSION "}," TO("," SAYS("recipient", "")) "}",
     {"There is no <b@r.test> here"},
     {"domains.recipients"}},
    {"a listed address",
     "{" SESSION
     "},\"dnsbl\":{\"score\":9,\"lists\":[{\"zone\":\"bl.test\",\"result\":\"listed\",\"score\":9,\"code\":"
     "\"127.0.0.4\"},{\"zone\":\"wl.test\",\"result\":\"listed\",\"score\":-1}]}," TO(
         "," SAYS("dnsbl", "")) "}",
     {"The address 192.0.2.7 is on the list bl.test (127.0.0.4)", "to be removed"},
     {"dnsbl.mode", "dnsbl.reject_score"}},
    {"a listed name",
     "{" SESSION "},\"domains\":{\"score\":9,\"lists\":[{\"zone\":\"dbl.test\",\"result\":\"listed\","
     "\"score\":9,\"name\":"
     "\"spam.test\"}]}," TO("," SAYS("dnsbl", "")) "}",
     {"The name spam.test is on the list dbl.test"},
     {NULL}},
    {"no PTR",
     "{" SESSION ",\"rdns\":\"none\"}," TO("," SAYS("fcrdns", "")) "}",
     {"Ask the provider of the address 192.0.2.7"},
     {"screen.fcrdns"}},
    {"a PTR that lies",
     "{" SESSION ",\"rdns\":\"mismatch\",\"host\":\"l.test\"}," TO("," SAYS("fcrdns", "")) "}",
     {"calls itself l.test"},
     {NULL}},
    {"a sender that is not there",
     "{" SESSION "},\"sender\":\"missing\"," TO("," SAYS("sender-domain", "")) "}",
     {"s.test has neither MX nor address"},
     {"screen.sender_domain"}},
    {"a sender with a null MX",
     "{" SESSION "},\"sender\":\"null-mx\"," TO("," SAYS("sender-domain", "")) "}",
     {"s.test declares that it takes no mail"},
     {NULL}},
    {"SPF fail",
     "{" SESSION "},\"spf\":{\"result\":\"fail\",\"scope\":\"mfrom\",\"domain\":\"s.test\"}," TO(
         "," SAYS("spf", "SPF fail: s.test")) "}",
     {"The SPF record of s.test does not list 192.0.2.7", "(ip4:192.0.2.7)", "SRS"},
     {"spf.mode", "spf.on_fail"}},
    {"SPF fail of HELO, where MAIL FROM is only marked",
     "{" SESSION "},\"spf_helo\":{\"result\":\"fail\",\"scope\":\"helo\",\"domain\":\"h.test\"},\"spf\":{"
     "\"result\":\"softfail\","
     "\"scope\":\"mfrom\",\"domain\":\"s.test\"}," TO("," SAYS("spf", "SPF fail: h.test")) "}",
     {"The SPF record of h.test"},
     {"spf.mode", "spf.on_fail"}},
    {"SPF temperror",
     "{" SESSION "},\"spf\":{\"result\":\"temperror\",\"domain\":\"s.test\",\"reason\":\"r\"}," TO(
         "," SAYS("spf", "")) "}",
     {"The DNS of s.test did not answer (r). Send it once more"},
     {"spf.mode", "spf.on_temperror"}},
    {"SPF temperror, and the client is to come again",
     "{" SESSION "},\"spf\":{\"result\":\"temperror\",\"domain\":\"s.test\",\"reason\":\"r\"}," TO(
         ",\"verdict\":{\"action\":\"defer\",\"reply\":451,\"check\":\"spf\"}") "}",
     {"The DNS of s.test did not answer (r). Its server comes again"},
     {NULL}},
    {"SPF permerror",
     "{" SESSION "},\"spf\":{\"result\":\"permerror\",\"domain\":\"s.test\",\"reason\":\"r\"}," TO(
         "," SAYS("spf", "")) "}",
     {"SPF of s.test cannot be evaluated: r"},
     {"spf.mode", "spf.on_permerror"}},
    {"greylisted",
     "{" SESSION "}," TO(",\"grey\":{\"result\":\"early\",\"wait\":100}," SAYS("greylist", "")) "}",
     {"after 100 seconds (from 2023-11-14 22:15:00Z on)", "host name that fits"},
     {"greylist.mode", "greylist.when"}},
    {"a bare LF", MESSAGE("\"fault\":\"bare LF\"", "framing"), {"has a bare LF"}, {"limits.line"}},
    {"too large", MESSAGE("\"bytes\":77", "size"), {"77 octets"}, {"limits.message_size"}},
    {"a broken header", MESSAGE("\"bad_line\":true", "header"), {"no header field"}, {"limits.header_size"}},
    {"a loop", MESSAGE("\"received\":51", "loop"), {"passed 51 servers"}, {"limits.received"}},
    {"no room", MESSAGE("\"spool_failed\":true", "spool"), {"no room"}, {"limits.spool_dir"}},
    {"two authors",
     MESSAGE("\"from_why\":\"two domains\"", "from"),
     {"here two domains"},
     {"dmarc.mode", "dmarc.from_invalid"}},
    {"DMARC without anything",
     MESSAGE(DMARC(""), "dmarc"),
     {"The owner of o.test", "SPF was not looked at", "no DKIM signature", "d=o.test"},
     {"dmarc.mode", "dmarc.reject"}},
    {"DMARC, and a signature that is broken",
     MESSAGE(DMARC("") ",\"dkim\":{\"signatures\":[{\"result\":\"fail\",\"domain\":\"o.test\",\"selector\":"
                       "\"s\",\"reason\":\"r\"}]}",
             "dmarc"),
     {"The DKIM signature of o.test (selector s): fail, r"},
     {"dmarc.mode", "dmarc.reject"}},
    {"DMARC, and a signature of somebody else",
     MESSAGE(DMARC(",\"adkim_strict\":true") ",\"dkim\":{\"signatures\":[{\"result\":\"pass\",\"domain\":\"x."
                                             "o.test\"}]}",
             "dmarc"),
     {"The DKIM signature of x.o.test passes, but that is not aligned with o.test (adkim=s"},
     {NULL}},
    {"DMARC, and a signature of half the body",
     MESSAGE(
         DMARC(
             "") ",\"dkim\":{\"signatures\":[{\"result\":\"pass\",\"domain\":\"o.test\",\"partial\":true}]}",
         "dmarc"),
     {"only the beginning of the body"},
     {NULL}},
    {"DMARC's quarantine",
     MESSAGE("\"from_domain\":\"o.test\",\"dmarc\":{\"result\":\"fail\",\"policy\":\"quarantine\"}", "dmarc"),
     {"The owner of o.test"},
     {"dmarc.mode", "dmarc.quarantine"}},
    {"DMARC's temperror",
     MESSAGE("\"from_domain\":\"o.test\",\"dmarc\":{\"result\":\"temperror\"}", "dmarc"),
     {"could not be read. Send it once more"},
     {"dmarc.mode", "dmarc.on_temperror"}},
    {"the backend", "{" SESSION "}," TO("," SAYS("backend", "")) "}", {"said this itself"}, {NULL}},
};

static void test_advice(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        struct arena *mem = arena_new(0);
        const struct decision_recipient *recipient;
        const struct decision_outcome *outcome;
        struct cli_explain_keys keys;
        struct decision d;
        struct buf out;

        t_case(rows[i].name, NULL);
        buf_init(&out, EXPLAIN_BYTES_MAX);
        t_true(decision_read(mem, str_of(rows[i].record), &d));
        recipient = d.recipients_count > 0 ? &d.recipients[0] : NULL;
        outcome = recipient != NULL ? &recipient->outcome : &d.outcome;
        cli_explain_advice(&out, &d, recipient, outcome);
        for (size_t k = 0; k < 4 && rows[i].said[k] != NULL; k++)
            if (strstr(buf_z(&out), rows[i].said[k]) == NULL)
                t_fail("\"%s\" is not in\n%s", rows[i].said[k], buf_z(&out));
        keys = cli_explain_keys(&d, outcome);
        for (size_t k = 0; k < 3 && rows[i].keys[k] != NULL; k++)
            t_same_z(keys.keys[k], rows[i].keys[k]);
        for (size_t k = 0; keys.keys[k] != NULL; k++) /* the program has such a setting */
            t_true(setting_find(str_of(keys.keys[k])) != NULL);
        buf_fini(&out);
        arena_free(&mem);
    }
}

/* Whatever is missing in a record: no row of text needs it. */
static void test_little(void **state)
{
    static const char *const records[] = {
        "{\"time\":1,\"at\":\"message\"}",
        "{\"time\":1,\"at\":\"message\",\"spf\":{},\"from\":\"\",\"dnsbl\":{\"lists\":[{\"result\":"
        "\"listed\"},{\"result\":\"error\"}]},"
        "\"spf_helo\":{},\"recipients\":[{\"grey\":{}}],\"message\":{\"dkim\":{\"signatures\":[{}]},\"arc\":{"
        "},\"dmarc\":{}}}",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(records) / sizeof(*records); i++)
        for (size_t k = 0; k < sizeof(rows) / sizeof(*rows); k++) {
            struct arena *mem = arena_new(0);
            struct decision d, other;
            struct buf out;

            t_case(records[i], rows[k].name);
            buf_init(&out, EXPLAIN_BYTES_MAX);
            t_true(decision_read(mem, str_of(records[i]), &d) &&
                   decision_read(mem, str_of(rows[k].record), &other));
            if (other.recipients_count > 0)
                other.outcome = other.recipients[0].outcome;
            cli_explain_seen(&out, &d);
            cli_explain_advice(&out, &d, NULL, &other.outcome);
            t_true(strstr(buf_z(&out), "(null)") == NULL);
            buf_fini(&out);
            arena_free(&mem);
        }
}

static void test_lines(void **state)
{
    static const char record[] =
        "{" SESSION ",\"helo\":\"x\\n    greylist "
                    "none\"},\"spf\":{\"result\":\"fail\",\"domain\":\"s.test\",\"explanation\":\"go\\n"
        "away\"}," TO("," SAYS("spf", "")) "}";
    struct arena *mem = arena_new(0);
    struct decision d;
    struct buf out;
    int lines = 0;

    (void)state;
    t_case("a stranger's text adds no line", NULL);
    buf_init(&out, EXPLAIN_BYTES_MAX);
    t_true(decision_read(mem, STR(record), &d));
    cli_explain_seen(&out, &d);
    for (size_t i = 0; i < out.n; i++)
        lines += out.p[i] == '\n';
    t_same_int(lines, 3); /* HELO, SPF, what its owner explains */
    buf_fini(&out);
    arena_free(&mem);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_advice), cmocka_unit_test(test_little),
                                       cmocka_unit_test(test_lines)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
