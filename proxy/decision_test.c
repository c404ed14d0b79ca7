/*
 * proxy/decision_test.c - records say what happened, whatever strangers wrote, within their limits, and no more than
 * log.privacy allows. That all facts come back is shown by proxy/decide_table_test.c
 */
#include <jansson.h>

#include "base/log.h"
#include "proxy/decision.h"
#include "tests/t.h"

#include <stdio.h>

static struct arena *memory;
static struct buf line;
static struct json json;

static int begin(void **state)
{
    (void)state;
    memory = arena_new(0);
    buf_init(&line, DECISION_BYTES_MAX);
    return 0;
}

static int end(void **state)
{
    static const struct log_settings usual = {.level = LOG_INFO};

    (void)state;
    buf_fini(&line);
    arena_free(&memory);
    log_open(&usual);
    log_close();
    return 0;
}

static void use_privacy(enum log_privacy privacy)
{
    const struct log_settings settings = {.level = LOG_ERROR, .privacy = privacy};

    log_open(&settings);
}

static void start_record(void)
{
    buf_clear(&line);
    json_init(&json, &line);
    json_object(&json);
    json_put_int(&json, "time", 1700000000);
}

static struct decision read_back(void)
{
    struct decision decision;

    json_object_end(&json);
    t_true(!line.overflow && !str_has(buf_str(&line), '\n'));
    t_true(decision_read(memory, buf_str(&line), &decision));
    return decision;
}

/* ---- what came back ---- */

static void test_texts(void **state)
{
    static const char *const observed[] = {"fcrdns", "spf"};
    const struct decision_outcome outcome = {.action = ACTION_REJECT,
                                             .code = 550,
                                             .enhanced = "5.7.1",
                                             .check = "dnsbl",
                                             .text = "you are listed",
                                             .observed = observed,
                                             .observed_count = 2};
    struct facts facts = {.session = {.client = {.family = 4, .b = {192, 0, 2, 7}}, .helo = "mx.test"}};
    struct decision d;

    (void)state;
    t_case("what was said, and by whom", NULL);
    start_record();
    decision_put_client(&json, &facts, "TLSv1.3");
    decision_put_outcome(&json, "verdict", &outcome);
    d = read_back();
    t_same_int(d.time_unix, 1700000000);
    t_same_int(d.facts.session.client.b[3], 7);
    t_same_z(d.facts.session.helo, "mx.test");
    t_same_z(d.tls, "TLSv1.3");
    t_true(d.from == NULL && d.end == NULL && d.facts.session.dnsbl == NULL && d.recipients_count == 0);
    t_same_int(d.outcome.action, ACTION_REJECT);
    t_same_int(d.outcome.code, 550);
    t_same_z(d.outcome.enhanced, "5.7.1");
    t_same_z(d.outcome.check, "dnsbl");
    t_same_z(d.outcome.text, "you are listed");
    t_same_int(d.outcome.observed_count, 2);
    t_same_z(d.outcome.observed[1], "spf");
}

static void test_times(void **state)
{
    struct spf_answer spf = {
        .result = SPF_FAIL, .scope = SPF_MFROM, .domain = "a.test", .explanation = "", .reason = "r"};
    struct grey_answer grey = {.verdict = GREY_EARLY, .wait_s = 17, .first_unix = 1699999999};
    const struct decision_outcome outcome = {.action = ACTION_GREYLIST, .code = 451};
    struct facts facts = {.session.rdns = RDNS_NONE, .transaction.spf = &spf, .recipient.grey = &grey};
    struct decision d;

    (void)state;
    t_case("how long checks took", NULL);
    facts.took_ms[FACT_RDNS] = 3;
    facts.took_ms[FACT_SPF] = 70;
    facts.took_ms[FACT_GREY] = 2;
    facts.took_ms[FACT_SENDER] = 9; /* of a fact that was not asked for */
    start_record();
    decision_put_client(&json, &facts, NULL);
    decision_put_transaction(&json, &facts);
    json_key(&json, "recipients");
    json_array(&json);
    decision_put_recipient(&json, &facts, "always", &outcome);
    json_array_end(&json);
    d = read_back();
    t_same_int(d.facts.took_ms[FACT_RDNS], 3);
    t_same_int(d.facts.took_ms[FACT_SPF], 70);
    t_same_int(d.facts.took_ms[FACT_SENDER], 0);
    t_same_int(d.recipients[0].grey_ms, 2);
    t_same_int(d.recipients[0].facts.grey->wait_s, 17);
    t_same_int(d.recipients[0].facts.grey->first_unix, 1699999999);
    t_same_z(d.recipients[0].suspicion, "always");
}

/* ---- hostile texts ---- */

static void test_hostile(void **state)
{
    char *endless = arena_alloc(memory, 100001);
    struct facts facts = {.session.helo = "a\"b\\c\n\x1b[2J\xff{}", .message.from_domain = endless};
    struct decision d;

    (void)state;
    memset(endless, '\x01', 100000);
    t_case("a text cannot end its string, and is cut", NULL);
    start_record();
    decision_put_client(&json, &facts, NULL);
    decision_put_message(&json, &facts, str_make("<a\0b@c>", 7));
    d = read_back();
    t_same_z(d.facts.session.helo, "a\"b\\c\n\x1b[2J\xc3\xbf{}");
    t_same_int(strlen(d.facts.message.from_domain), DECISION_TEXT_MAX);
}

static void test_many(void **state)
{
    enum { MANY = 1000 };
    struct dkim_signature *signatures = ARENA_ARRAY(memory, struct dkim_signature, MANY);
    struct dkim_answer dkim = {MANY, signatures};
    struct facts facts = {.message.dkim = &dkim};
    struct decision d;

    (void)state;
    t_case("of a thousand signatures those that pass are told first", NULL);
    for (int i = 0; i < MANY; i++)
        signatures[i] = (struct dkim_signature){.result = i == 900 ? DKIM_PASS : DKIM_POLICY,
                                                .domain = i == 900 ? "good.test" : "x.test",
                                                .selector = "s",
                                                .algorithm = "a",
                                                .reason = ""};
    start_record();
    decision_put_message(&json, &facts, STR(""));
    d = read_back();
    t_same_z(d.facts.message.dkim->signatures[0].domain, "good.test");
    t_case("others while there is room, and how many had none", NULL);
    t_same_int(d.facts.message.dkim->count, DECISION_SIGNATURES_MAX);
    t_same_int(d.facts.message.dkim->signatures[1].result, DKIM_POLICY);
    t_same_int(d.signatures_left_out, MANY - DECISION_SIGNATURES_MAX);
}

static void test_no_record(void **state)
{
    static const char *const lines[] = {
        "", "{", "{}", "[]", "null", "{\"time\":0}", "{\"time\":\"x\"}", "{\"time\":1} x"};
    static const char *const odd[] = {
        "{\"time\":1,\"client\":7,\"dnsbl\":[],\"recipients\":{\"a\":1},\"message\":\"m\",\"verdict\":null,"
        "\"from\":3}",
        "{\"time\":1,\"dnsbl\":{\"lists\":[1,null,{\"result\":\"what\",\"code\":\"x\"}]},\"recipients\":[0,{}"
        "]}",
        "{\"time\":1,\"message\":{\"dkim\":{\"signatures\":[[]]},\"arc\":{\"sets\":[5]},\"dmarc\":{\"found\":"
        "1}}}",
    };
    struct decision d;

    (void)state;
    for (size_t i = 0; i < sizeof(lines) / sizeof(*lines); i++) {
        t_case(lines[i], NULL);
        t_true(!decision_read(memory, str_of(lines[i]), &d));
    }
    for (size_t i = 0; i < sizeof(odd) / sizeof(*odd); i++) {
        t_case(odd[i], NULL);
        t_true(decision_read(memory, str_of(odd[i]), &d));
        t_true(d.outcome.action == ACTION_ACCEPT && *d.id == '\0');
    }
}

/* ---- privacy ---- */

static struct decision with_addresses(void)
{
    struct spf_answer spf = {.result = SPF_FAIL,
                             .scope = SPF_MFROM,
                             .domain = "a.test",
                             .explanation = "joe@a.test may not",
                             .reason = "no term matched"};
    const struct decision_outcome outcome = {
        .action = ACTION_REJECT, .code = 550, .check = "backend", .text = "<Jane@b.test> unknown"};
    struct facts facts = {
        .transaction = {.sender = {.text = STR("Joe@a.test"), .domain = STR("a.test")}, .spf = &spf},
        .recipient.address.text = STR("Jane@b.test"),
    };

    start_record();
    decision_put_transaction(&json, &facts);
    json_key(&json, "recipients");
    json_array(&json);
    decision_put_recipient(&json, &facts, NULL, &outcome);
    json_array_end(&json);
    return read_back();
}

static void test_privacy(void **state)
{
    struct decision d;

    (void)state;
    t_case("without privacy, all of it", NULL);
    use_privacy(LOG_PRIVACY_NONE);
    d = with_addresses();
    t_same_z(d.from, "Joe@a.test");
    t_same_z(d.recipients[0].to, "Jane@b.test");
    t_same_z(d.recipients[0].outcome.text, "<Jane@b.test> unknown");
    t_case("domains: no local part anywhere", NULL);
    use_privacy(LOG_PRIVACY_DOMAINS);
    d = with_addresses();
    t_same_z(d.from, "*@a.test");
    t_same_z(d.recipients[0].to, "*@b.test");
    t_true(strcasestr(buf_z(&line), "joe") == NULL && strcasestr(buf_z(&line), "jane") == NULL);
    t_same_z(d.facts.transaction.spf->reason, "no term matched");
    t_case("hash: the same address is the same", NULL);
    use_privacy(LOG_PRIVACY_HASH);
    d = with_addresses();
    t_same_int(strlen(d.from), 12);
    t_same_z(with_addresses().from, d.from);
    t_true(strcasestr(buf_z(&line), "joe") == NULL && strcasestr(buf_z(&line), "jane") == NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_texts, begin, end),
        cmocka_unit_test_setup_teardown(test_times, begin, end),
        cmocka_unit_test_setup_teardown(test_hostile, begin, end),
        cmocka_unit_test_setup_teardown(test_many, begin, end),
        cmocka_unit_test_setup_teardown(test_no_record, begin, end),
        cmocka_unit_test_setup_teardown(test_privacy, begin, end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
