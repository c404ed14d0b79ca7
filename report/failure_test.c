#include "report/failure.h"

#include "base/bug.h"
#include "tests/store_bed.h"

static const struct report_identity who = {
    "Us", "dmarc@reports.example.net", "reports.example.net", "mx", {{0}}};

/* ---- when ---- */

static void test_wanted(void **state)
{
    static const struct {
        const char *name, *fo;
        enum dmarc_result dmarc;
        bool spf_aligned, dkim_aligned;
        enum spf_result spf;
        enum dkim_result dkim;
        enum failure_kind want;
    } rows[] = {
        {"0: nothing aligned", "0", DMARC_FAIL, false, false, SPF_FAIL, DKIM_NONE, FAILURE_DMARC},
        {"0 is the default", "", DMARC_FAIL, false, false, SPF_FAIL, DKIM_NONE, FAILURE_DMARC},
        {"0: one of them is enough", "0", DMARC_PASS, true, false, SPF_PASS, DKIM_FAIL, FAILURE_NONE},
        {"1: one of them is not enough", "1", DMARC_PASS, true, false, SPF_PASS, DKIM_FAIL, FAILURE_DMARC},
        {"1: both", "1", DMARC_PASS, true, true, SPF_PASS, DKIM_PASS, FAILURE_NONE},
        {"d: a signature failed", "d", DMARC_PASS, true, false, SPF_PASS, DKIM_FAIL, FAILURE_DKIM},
        {"d: none failed", "d", DMARC_FAIL, false, false, SPF_FAIL, DKIM_PASS, FAILURE_NONE},
        {"s: SPF failed", "s", DMARC_PASS, false, true, SPF_SOFTFAIL, DKIM_PASS, FAILURE_SPF},
        {"s: SPF passed", "s", DMARC_FAIL, false, false, SPF_PASS, DKIM_FAIL, FAILURE_NONE},
        {"several options", "D : s", DMARC_PASS, false, true, SPF_FAIL, DKIM_PASS, FAILURE_SPF},
        {"trouble in the DNS is nobody's failure", "0:1:d:s", DMARC_TEMPERROR, false, false, SPF_TEMPERROR,
         DKIM_TEMPERROR, FAILURE_NONE},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct dmarc_record record = {.ruf_count = 1, .psd = 'u', .fo = rows[i].fo};
        struct dmarc_evaluation e = {.result = rows[i].dmarc,
                                     .spf_aligned = rows[i].spf_aligned,
                                     .dkim_aligned = rows[i].dkim_aligned};
        struct spf_answer spf = {.result = rows[i].spf};
        struct dkim_signature signature = {.result = rows[i].dkim};
        struct dkim_answer dkim = {1, &signature};

        t_case(rows[i].name, "9991 3");
        t_same_int(failure_wanted(&record, &e, &spf, &dkim), rows[i].want);
        t_case("never for a public suffix", "9991 7");
        record.psd = 'y';
        t_same_int(failure_wanted(&record, &e, &spf, &dkim), FAILURE_NONE);
        t_case("nor without ruf=", "9991 3");
        record.psd = 'u';
        record.ruf_count = 0;
        t_same_int(failure_wanted(&record, &e, &spf, &dkim), FAILURE_NONE);
    }
}

/* ---- what ---- */

static const char HEADER[] = "Received: from a by b for <alice@example.net>; Mon\r\n"
                             "From: \"Bob\" <bob.secret@example.org>\r\n"
                             "To: \"al ice\"@example.net, al\xc3\xa9x@example.net\r\n"
                             "Message-ID: <123@example.org>\r\n"
                             "Subject: b\xc3\xbc"
                             "cher\r\n";

static struct failure example(void)
{
    struct failure f = {.from = &who,
                        .to = "ruf@example.org",
                        .now_unix = BED_START,
                        .id = "abc123",
                        .kind = FAILURE_DMARC,
                        .header_from = "example.org",
                        .mail_from = "bounce.secret@example.org",
                        .rcpt_to = "alice@example.net",
                        .spf_aligned = true,
                        .delivery = FAILURE_REJECT,
                        .authentication_results = "mx; dmarc=fail\r\n header.from=example.org",
                        .header = {HEADER, sizeof(HEADER) - 1}};

    ip_parse(STR("2001:db8::1"), &f.source);
    return f;
}

static struct arena *mem;
static struct buf out;

static bool has(const char *piece)
{
    return strstr(buf_z(&out), piece) != NULL;
}

static void write_it(const struct failure *f)
{
    buf_clear(&out);
    failure_write(mem, &out, f);
    t_true(!out.overflow);
}

static void test_write(void **state)
{
    struct failure f = example();
    struct dkim_signature signature = {.domain = "example.org", .selector = "s1", .identity = "@example.org"};

    (void)state;
    mem = arena_new(0);
    buf_init(&out, 1024 * 1024);
    write_it(&f);
    t_case("three parts: for people, for machines, and what it is about", "6591 3");
    t_true(has("Content-Type: multipart/report; report-type=feedback-report;\r\n boundary="));
    t_true(has("Content-Type: message/feedback-report\r\nContent-Transfer-Encoding: 7bit\r\n\r\n"
               "Feedback-Type: auth-failure\r\n"));
    t_true(has("Content-Type: text/rfc822-headers\r\n"));
    t_case("the fields that readers want", "9991 4");
    t_true(has("\r\nVersion: 1\r\n") && has("\r\nUser-Agent: smtpguard/"));
    t_true(has("\r\nAuth-Failure: dmarc\r\n") && has("\r\nIdentity-Alignment: spf\r\n"));
    t_true(has("\r\nSource-IP: 2001:db8::1\r\n") && has("\r\nReported-Domain: example.org\r\n"));
    t_true(has("\r\nArrival-Date: Tue, 14 Nov 2023 22:13:20 +0000\r\n"));
    t_true(has("\r\nDelivery-Result: reject\r\n"));
    t_true(has("\r\nAuthentication-Results: mx; dmarc=fail header.from=example.org\r\n"));
    t_true(has("\r\nOriginal-Mail-From: <bounce.secret@example.org>\r\n") && has("<alice@example.net>"));
    t_true(has("Auto-Submitted: auto-generated"));
    t_case("no body unless told", "9991 7");
    f.body = STR("secret\r\n.\r\nline\nwith a bare end\r\n");
    f.kind = FAILURE_DKIM;
    f.dkim = &signature;
    write_it(&f);
    t_true(has("Content-Type: message/rfc822\r\n") && has("\r\n\r\nsecret\r\n.\r\nline\r\nwith"));
    t_true(has("\r\nAuth-Failure: signature\r\n") && has("\r\nDKIM-Selector: s1\r\n"));
    t_case("the null sender", "6591 3.1");
    f.mail_from = "";
    write_it(&f);
    t_true(has("\r\nOriginal-Mail-From: <>\r\n"));
    t_case("nothing from outside begins a line", NULL);
    f.authentication_results = "x\r\nEvil: 1";
    f.mail_from = "a\r\nEvil: 2";
    f.header_from = "e\r\nEvil: 3";
    write_it(&f);
    t_true(!has("\nEvil"));
    buf_fini(&out);
    arena_free(&mem);
}

static void test_redact(void **state)
{
    struct failure f = example();

    (void)state;
    mem = arena_new(0);
    buf_init(&out, 1024 * 1024);
    f.redact = true;
    write_it(&f);
    t_case("redacted, no local part is left", "6590 3");
    t_true(!has("secret") && !has("alice") && !has("al ice") && !has("\xa9x@"));
    t_true(has("@example.net>; Mon\r\n") && has("From: \"Bob\" <x"));
    t_case("but what identifies the message is", NULL);
    t_true(has("Message-ID: <123@example.org>"));
    buf_fini(&out);
    arena_free(&mem);
}

/* ---- how many ---- */

static int allowed, asked;

static void on_allowed(bool yes, const struct bounce_key *bounces, void *arg)
{
    (void)arg, (void)bounces;
    allowed += yes;
    asked++;
    loop_stop(bed_loop);
}

static bool ask(const char *domain)
{
    struct failure_limit limit = {bed_store, bed_loop, 3, 5, bed_wall_s};
    int before = asked, was = allowed;

    failure_ask(&limit, domain, on_allowed, NULL);
    t_same_int(asked, before);
    while (asked == before)
        loop_run(bed_loop);
    return allowed > was;
}

static void test_limit(void **state)
{
    struct failure_limit limit = {bed_store, bed_loop, 3, 5, bed_wall_s};
    struct failure_token *token;
    int count = 0;

    (void)state;
    bed_open_store();
    limit.store = bed_store;
    for (int i = 0; i < 10; i++)
        count += ask("a.test");
    t_case("so many a domain and hour", "9991 6");
    t_same_int(count, 3);
    t_true(ask("b.test") && ask("c.test"));
    t_case("and so many in all", "9991 6");
    t_true(!ask("d.test"));
    bed_advance_s(3600);
    t_case("the next hour begins anew", NULL);
    t_true(ask("a.test"));
    t_case("cancelled, it never calls back", NULL);
    asked = 0;
    token = failure_ask(&limit, "e.test", on_allowed, &limit);
    failure_cancel(&token);
    t_true(token == NULL);
    ask("f.test");
    t_same_int(asked, 1);
    store_close(&bed_store);
    bed_use_file("/nonexistent/x.db");
    bed_open_store();
    t_case("without the store there is none", NULL);
    t_true(!ask("a.test"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wanted),
        cmocka_unit_test(test_write),
        cmocka_unit_test(test_redact),
        cmocka_unit_test_setup_teardown(test_limit, bed_set_up, bed_tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
