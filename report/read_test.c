#include "report/read.h"

#include "base/bug.h"
#include "base/buf.h"
#include "report/gzip.h"
#include "tests/t.h"

#include <glob.h>
#include <stdio.h>

static struct read_record last;
static int records;

static void on_record(const struct read_head *head, const struct read_record *record, void *arg)
{
    (void)head, (void)arg;
    last = *record;
    records++;
}

static int read_it(const char *xml, struct read_head *head, struct fail *fail)
{
    records = 0;
    memset(&last, 0, sizeof(last));
    return read_report(str_of(xml), head, on_record, NULL, fail);
}

static void test_read(void **state)
{
    static const char body[] =
        "<version>1.0</version><report_metadata><org_name> Them "
        "</org_name><date_range><begin>1</begin></date_range>"
        "</report_metadata><policy_published><domain>example.org</domain><np>reject</np></policy_published>"
        "<record><row><source_ip>::1</source_ip><count>7</count><policy_evaluated><disposition>none</"
        "disposition>"
        "<dkim>pass</dkim></policy_evaluated></row><identifiers><header_from>a&amp;b</header_from></"
        "identifiers>"
        "<auth_results><dkim><domain>d</domain><selector>s</selector><result>pass</result></dkim>"
        "<dkim><domain>e</domain><result>fail</result></dkim><spf><domain>f</domain><scope>mfrom</scope>"
        "<result>none</result></spf></auth_results></record></feedback>";
    char xml[2000];
    struct read_head head;
    struct fail fail;

    (void)state;
    for (int i = 0; i < 2; i++) {
        t_case(i == 0 ? "without a namespace" : "with one", "9990 3.1");
        snprintf(xml, sizeof(xml), "<?xml version='1.0'?><feedback%s>%s",
                 i == 0 ? "" : " xmlns='urn:ietf:params:xml:ns:dmarc-2.0'", body);
        t_same_int(read_it(xml, &head, &fail), 0);
        t_same_z(head.org_name, "Them");
        t_same_z(head.begin, "1");
        t_same_z(head.np, "reject");
        t_same_int(records, 1);
        t_same_z(last.source_ip, "::1");
        t_same_z(last.count, "7");
        t_same_z(last.header_from, "a&b");
        t_same_z(last.dkim, "pass");
        t_same_z(last.results, "dkim=pass (d s) dkim=fail (e) spf=none (f)");
    }
}

static void test_refused(void **state)
{
    static const struct {
        const char *name, *xml, *why;
    } rows[] = {
        {"entities are not even declared", "<!DOCTYPE a [<!ENTITY b 'c'>]><feedback>&b;</feedback>",
         "document type"},
        {"another document", "<html><body/></html>", "no <feedback>"},
        {"an end too early", "<feedback><record>", "line 1"},
        {"nothing", "", "line 1"},
        {"no XML", "hello", "line 1"},
    };
    struct read_head head;
    struct fail fail;

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        t_case(rows[i].name, NULL);
        t_same_int(read_it(rows[i].xml, &head, &fail), -1);
        t_true(strstr(fail.text, rows[i].why) != NULL);
    }
}

static void nest(struct buf *xml, int depth)
{
    for (int i = 0; i < depth; i++)
        buf_add_z(xml, "<record>");
    buf_add_z(xml, "x");
    for (int i = 0; i < depth; i++)
        buf_add_z(xml, "</record>");
}

static void test_bounds(void **state)
{
    struct buf xml;
    struct read_head head;
    struct fail fail;

    (void)state;
    buf_init(&xml, 1024 * 1024);
    buf_add_z(&xml, "<feedback>");
    nest(&xml, READ_DEPTH_END - 1);
    buf_add_z(&xml, "<report_metadata><org_name>");
    for (int i = 0; i < 5000; i++)
        buf_add_z(&xml, "long");
    buf_add_z(&xml, "</org_name></report_metadata></feedback>");
    t_case("deep and long ones are cut", NULL);
    t_same_int(read_it(buf_z(&xml), &head, &fail), 0);
    t_same_int(strlen(head.org_name), READ_TEXT_MAX);
    t_case("too deep", NULL);
    buf_clear(&xml);
    buf_add_z(&xml, "<feedback>");
    nest(&xml, READ_DEPTH_END);
    t_same_int(read_it(buf_z(&xml), &head, &fail), -1);
    t_same_z(fail.text, "its elements are nested too deeply");
    buf_fini(&xml);
}

/* What others send: every file that a strict reader takes has records for us, too. */
static void test_samples(void **state)
{
    struct arena *mem = arena_new(0);
    struct buf xml;
    struct read_head head;
    struct fail fail;
    glob_t found;
    int well = 0;

    (void)state;
    if (t_conformance() == NULL)
        t_skip("the samples are not there");
    glob(str_fmt(mem, "%s/dmarc-report/aggregate/*.xml*", t_conformance()), 0, NULL, &found);
    t_true(found.gl_pathc >= 15);
    buf_init(&xml, 10 * 1024 * 1024);
    for (size_t i = 0; i < found.gl_pathc; i++) {
        const char *path = found.gl_pathv[i];
        bool broken =
            strstr(path, "invalid") != NULL || strstr(path, "ikea") != NULL || strstr(path, "bad") != NULL;

        t_case(path, NULL);
        buf_clear(&xml);
        records = 0;
        if (gzip_unpack(t_read_file(mem, path), &xml, &fail) == 0 &&
            read_report(buf_str(&xml), &head, on_record, NULL, &fail) == 0 && records > 0)
            well++;
        else if (!broken)
            t_fail("%s: %s", path, fail.text);
    }
    t_true(well >= 15);
    globfree(&found);
    buf_fini(&xml);
    arena_free(&mem);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_read), cmocka_unit_test(test_refused),
                                       cmocka_unit_test(test_bounds), cmocka_unit_test(test_samples)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
