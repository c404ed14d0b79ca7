/* Reports against the schemas of both shapes, and the mail around them. */
#include "report/aggregate.h"

#include "base/bug.h"
#include "report/gzip.h"
#include "report/journal.h"
#include "report/mail.h"
#include "report/xml.h"
#include "tests/store_bed.h"

#include <stdio.h>
#include <unistd.h>

enum { DAY = 19675, XML_MAX = 64 * 1024 * 1024 };

static struct history history;
static struct arena *mem;
static struct buf gz, text;
static const struct report_identity who = {
    "Ex\xc3\xa4mple & Sons", "dmarc@reports.example.net", "reports.example.net", "mx1.example.net", {{0}}};

static int set_up(void **state)
{
    if (bed_set_up(state) != 0)
        return -1;
    bed_open_store();
    history_init(&history, bed_store, "mx1.example.net");
    mem = arena_new(0);
    buf_init(&gz, 10 * 1024 * 1024);
    buf_init(&text, XML_MAX);
    return 0;
}

static int tear_down(void **state)
{
    buf_fini(&gz);
    buf_fini(&text);
    arena_free(&mem);
    return bed_tear_down(state);
}

/* ---- rows ---- */

static struct history_entry plain_entry(const char *ip)
{
    struct history_entry e = {.day = DAY,
                              .policy_domain = "example.org",
                              .record =
                                  STR("v=DMARC1; p=reject; sp=quarantine; np=reject; t=y; pct=30; fo=1:d:s; "
                                      "adkim=s; rua=mailto:d@example.org!10m; ruf=mailto:f@example.org"),
                              .accepted = true,
                              .header_from = "example.org",
                              .envelope_from = "bounce.example.org",
                              .envelope_to = "example.net",
                              .spf_domain = "bounce.example.org",
                              .spf_scope = SPF_MFROM,
                              .spf_result = SPF_PASS,
                              .spf_aligned = true};

    if (!ip_parse(str_of(ip), &e.source))
        t_fail("%s", ip);
    return e;
}

static struct journal *journal;

static void add(const struct history_entry *e)
{
    if (journal == NULL)
        journal = journal_open(bed_loop, &history);
    journal_add(journal, mem, e);
}

static void wait_for_rows(void)
{
    journal_close(&journal);
}

/* Every word that may stand in a report, and whatever a stranger may put into a name. */
static void add_variety(void)
{
    static const char *const names[] = {("a\x01\x02"
                                         "b.example"),
                                        "<b>&amp;\".example",
                                        "m\xc3\xbcnchen.example",
                                        "\xff\xfe\xed\xa0\x80.example",
                                        "\xef\xbf\xbf.example",
                                        "]]>.example",
                                        ""};
    static const enum dkim_result results[] = {DKIM_PASS,    DKIM_FAIL,      DKIM_POLICY,
                                               DKIM_NEUTRAL, DKIM_TEMPERROR, DKIM_PERMERROR};

    for (unsigned i = 0; i <= SPF_PERMERROR; i++) {
        struct history_entry e = plain_entry(i % 2 ? "192.0.2.7" : "2001:db8::7");

        e.spf_result = (enum spf_result)i;
        e.spf_scope = i % 2 ? SPF_HELO : SPF_MFROM;
        e.envelope_from = i % 2 ? "" : "bounce.example.org";
        e.envelope_to = i % 3 ? "example.net" : "";
        e.disposition = (enum dmarc_policy)(i % 3);
        e.override = (enum history_override)(i % (HISTORY_OTHER + 1));
        e.comment = i % 2 ? "" : "because of <this> & \x07 that";
        e.dkim_count = COUNT(results);
        for (size_t k = 0; k < COUNT(results); k++)
            e.dkim[k] = (struct history_dkim){k == 5 ? "" : "example.org", k == 4 ? "" : "sel", results[k]};
        add(&e);
    }
    for (size_t i = 0; i < COUNT(names); i++) {
        struct history_entry e = plain_entry("192.0.2.8");

        e.header_from = e.envelope_from = e.envelope_to = names[i];
        e.spf_domain = i % 2 ? NULL : names[i];
        e.comment = names[i];
        e.override = HISTORY_OTHER;
        e.dkim_count = 1;
        e.dkim[0] = (struct history_dkim){names[i], names[i], DKIM_PASS};
        add(&e);
    }
    wait_for_rows();
}

/* ---- building and checking ---- */

static struct aggregate build(enum aggregate_format format)
{
    const struct aggregate_ask ask = {bed_store, DAY, "example.org", format, &who};
    struct aggregate report;
    struct fail fail = {""};

    if (aggregate_build(mem, &ask, &gz, &report, &fail) != AGGREGATE_BUILT)
        t_fail("not built: %s", fail.text);
    buf_clear(&text);
    if (gzip_unpack(buf_str(&gz), &text, &fail) != 0)
        t_fail("%s", fail.text);
    buf_z(&text);
    return report;
}

static bool has(const char *piece)
{
    return strstr(text.p, piece) != NULL;
}

static size_t times(const char *piece)
{
    size_t count = 0;

    for (const char *at = text.p; (at = strstr(at, piece)) != NULL; at++)
        count++;
    return count;
}

static void write_file(const char *name, struct str bytes)
{
    FILE *f = fopen(name, "w");

    if (f == NULL || fwrite(bytes.p, 1, bytes.n, f) != bytes.n || fclose(f) != 0)
        t_fail("%s could not be written", name);
}

/* RFC 7489's pattern for IPv6 takes eight full groups only; what everybody sends is RFC 5952's form. */
static const char *patched_schema(const char *path)
{
    static const char pattern[] = "([A-Fa-f0-9]{1,4}:){7}[A-Fa-f0-9]{1,4}";
    struct str schema = t_read_file(mem, path);
    const char *at = strstr(schema.p, pattern), *name = str_fmt(mem, "%s/7489.xsd", bed_folder);

    t_true(at != NULL);
    write_file(name, str_of(str_fmt(mem, "%.*s[A-Fa-f0-9:.]{2,45}%s", (int)(at - schema.p), schema.p,
                                    at + strlen(pattern))));
    return name;
}

static void t_validates(enum aggregate_format format)
{
    const char *folder = t_conformance(), *schema, *report = str_fmt(mem, "%s/report.xml", bed_folder);

    if (folder == NULL)
        t_skip("the schemas are not there");
    if (system("xmllint --version >/dev/null 2>&1") != 0)
        t_skip("xmllint is not installed");
    schema = str_fmt(mem, "%s/dmarc-report/%s", folder,
                     format == AGGREGATE_RFC7489 ? "rfc7489-no-namespace.xsd" : "rfc9990-draft32.xsd");
    if (format == AGGREGATE_RFC7489)
        schema = patched_schema(schema);
    write_file(report, buf_str(&text));
    if (system(str_fmt(mem, "xmllint --noout --schema '%s' '%s' >'%s/said' 2>&1", schema, report,
                       bed_folder)) != 0)
        t_fail("%s", t_read_file(mem, str_fmt(mem, "%s/said", bed_folder)).p);
}

static void test_rfc7489(void **state)
{
    (void)state;
    add_variety();
    build(AGGREGATE_RFC7489);
    t_case("the report begins with the declaration and a root without namespace", "7489 C");
    t_true(str_starts(buf_str(&text), STR("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<feedback>\n")));
    t_case("what 7489 does not know is not in it", "7489 C");
    t_true(!has("<np>") && !has("<testing>") && !has("<disposition>pass") && !has("policy_test_mode</type>"));
    t_true(has("<type>other</type>") && has("<comment>policy_test_mode</comment>"));
    t_true(has("<pct>30</pct>"));
    t_true(has("<fo>1:d:s</fo>"));
    t_case("the null sender is an empty element", "7489 C");
    t_true(has("<envelope_from></envelope_from>"));
    t_case("controls are dropped, markup is escaped, what is no UTF-8 is U+FFFD", NULL);
    t_true(has(">ab.example<") && has("&lt;b&gt;&amp;amp;&quot;.example") && has("]]&gt;.example"));
    t_true(has("m\xc3\xbcnchen.example"));
    t_true(has("\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd.example"));
    t_validates(AGGREGATE_RFC7489);
}

static void test_rfc9990(void **state)
{
    (void)state;
    add_variety();
    build(AGGREGATE_RFC9990);
    t_case("the namespace, and what the tree walk found", "9990 3.1");
    t_true(has("<feedback xmlns=\"urn:ietf:params:xml:ns:dmarc-2.0\">"));
    t_true(has("<np>reject</np>") && has("<testing>y</testing>") && has("<discovery_method>treewalk<"));
    t_true(!has("<pct>") && !has("<scope>helo"));
    t_case("nothing to do under an enforcing policy is pass", "9990 3.1");
    t_true(has("<disposition>pass</disposition>"));
    t_true(has("<type>policy_test_mode</type>"));
    t_validates(AGGREGATE_RFC9990);
}

static void test_deterministic(void **state)
{
    struct aggregate first, again;
    struct str kept;

    (void)state;
    add_variety();
    first = build(AGGREGATE_RFC7489);
    kept = str_copy(mem, buf_str(&gz));
    again = build(AGGREGATE_RFC7489);
    t_case("the same rows give the same octets, name and id", "9990 3.3");
    t_same_str(buf_str(&gz), kept);
    t_same_z(again.report_id, first.report_id);
    t_same_z(again.file_name, first.file_name);
    t_case("the file name is submitter, domain, begin, end, unique", "9990 3.3");
    t_true(strstr(first.file_name, "reports.example.net!example.org!1699920000!1700006399!") ==
           first.file_name);
    t_case("gzip with no time in it", NULL);
    t_same_int(memcmp(gz.p, "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff", 10), 0);
}

static void test_many_rows(void **state)
{
    struct aggregate report;
    char ip[40];

    (void)state;
    for (int i = 0; i < 10050; i++) {
        snprintf(ip, sizeof(ip), i % 2 ? "10.0.%d.%d" : "2001:db8::%x:%x", i / 256, i % 256);
        struct history_entry e = plain_entry(ip);
        add(&e);
    }
    wait_for_rows();
    report = build(AGGREGATE_RFC7489);
    t_case("10,000 rows are written, and the messages beyond are said to be left out", NULL);
    t_same_int(report.rows, 10000);
    t_same_int(times("<record>"), 10000);
    t_same_int(report.left_out, 50);
    t_true(has("<error>50 more messages are left out"));
    t_validates(AGGREGATE_RFC7489);
    t_case("a report that would be too large has fewer rows, and says so", NULL);
    buf_fini(&gz);
    buf_init(&gz, 20 * 1024);
    report = build(AGGREGATE_RFC9990);
    t_true(gz.n <= 20 * 1024 && report.rows >= 100 && report.rows < 10000);
    t_same_int(times("<record>"), report.rows);
    t_same_int(report.messages + report.left_out, 10050);
    t_validates(AGGREGATE_RFC9990);
}

static void test_changed_record(void **state)
{
    struct history_entry e = plain_entry("192.0.2.1");

    (void)state;
    add(&e);
    e.record = STR("v=DMARC1; p=none; rua=mailto:d@example.org");
    e.source.b[3] = 2;
    add(&e);
    add(&e);
    wait_for_rows();
    build(AGGREGATE_RFC7489);
    t_case("a record that changed: the most frequent one is published, and it is said", NULL);
    t_true(has("<p>none</p>") && has("<error>the record changed"));
    t_same_int(times("<record>"), 2);
    t_validates(AGGREGATE_RFC7489);
}

static void test_nothing(void **state)
{
    struct aggregate_ask ask = {bed_store, DAY, "example.org", AGGREGATE_RFC7489, &who};
    struct aggregate report;
    struct fail fail;

    (void)state;
    t_case("no rows, no report", NULL);
    t_same_int(aggregate_build(mem, &ask, &gz, &report, &fail), AGGREGATE_NOTHING);
    t_case("a name that could break out of a header field is none", NULL);
    ask.domain = "a\r\nBcc: x.example";
    t_same_int(aggregate_build(mem, &ask, &gz, &report, &fail), AGGREGATE_FAILED);
}

static void test_mail(void **state)
{
    struct aggregate report;
    struct buf mail;

    (void)state;
    add_variety();
    report = build(AGGREGATE_RFC7489);
    buf_init(&mail, XML_MAX);
    mail_aggregate(mem, &mail, &who, "d@example.org", "example.org", &report, buf_str(&gz), BED_START);
    buf_clear(&text);
    buf_add_str(&text, buf_str(&mail));
    buf_z(&text);
    t_case("the fields that a reader looks for", "9990 3.3");
    t_true(has("\r\nSubject: Report Domain: example.org Submitter: reports.example.net\r\n Report-ID: <"));
    t_true(has(report.report_id) && has("Auto-Submitted: auto-generated\r\n"));
    t_true(has("Date: Tue, 14 Nov 2023 22:13:20 +0000\r\n"));
    t_true(has("From: =?UTF-8?B?RXjDpG1wbGUgJiBTb25z?=\r\n <dmarc@reports.example.net>\r\n"));
    t_same_int(times(report.file_name), 2);
    t_true(has("Content-Type: application/gzip;"));
    t_true(str_ends_same(buf_str(&text), STR("\r\n--smtpguard-report--\r\n")));
    t_case("every line end is CRLF, and no line is longer than 998 octets", "5322 2.1.1");
    for (size_t i = 0, begin = 0; i < text.n; i++)
        if (text.p[i] == '\n') {
            t_true(i > 0 && text.p[i - 1] == '\r');
            t_true(i - begin <= 1000);
            begin = i + 1;
        }
    buf_fini(&mail);
}

static void test_unpack(void **state)
{
    static const char zip[] = "PK\003\004\024\0\0\0\0\0\0\0!\0\0\0\0\0\0\0\0\0\0\0\0\0\002\0\0\0d/"
                              "PK\003\004\024\0\0\0\0\0\0\0!\0\0\0\0\0\005\0\0\0\005\0\0\0\001\0\0\0ahello";
    static const char readme[] =
        "PK\003\004\024\0\0\0\0\0\0\0!\0\0\0\0\0\005\0\0\0\005\0\0\0\001\0\0\0ahello"
        "PK\003\004\024\0\0\0\0\0\0\0!\0\0\0\0\0\004\0\0\0\004\0\0\0\005\0\0\0a.XML<a/>";
    struct fail fail;
    struct gzip *gzip = gzip_new(&gz);
    char zeros[4096] = {0};

    (void)state;
    t_case("a zip file's first member behind its folders", NULL);
    t_same_int(gzip_unpack(str_make(zip, sizeof(zip) - 1), &text, &fail), 0);
    t_same_str_z(buf_str(&text), "hello");
    t_case("the member that is called .xml comes before others", NULL);
    buf_clear(&text);
    t_same_int(gzip_unpack(str_make(readme, sizeof(readme) - 1), &text, &fail), 0);
    t_same_str_z(buf_str(&text), "<a/>");
    buf_clear(&text);
    t_case("a zip file that ends too early is damaged", NULL);
    for (size_t n = 2; n < sizeof(zip) - 1; n++) {
        buf_clear(&text);
        t_same_int(gzip_unpack(str_make(zip, n), &text, &fail), -1);
    }
    for (int i = 0; i < 1000; i++)
        gzip_write(gzip, str_make(zeros, sizeof(zeros)));
    gzip_end(&gzip);
    buf_clear(&text);
    t_case("a bomb is refused by its ratio", NULL);
    t_same_int(gzip_unpack(buf_str(&gz), &text, &fail), -1);
    t_true(strstr(fail.text, "100 times") != NULL);
    t_true(text.n < 1024 * 1024);
}

#define ROW(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ROW(test_rfc7489),        ROW(test_rfc9990), ROW(test_deterministic), ROW(test_many_rows),
        ROW(test_changed_record), ROW(test_nothing), ROW(test_mail),          ROW(test_unpack),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
