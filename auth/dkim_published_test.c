#include "tests/t.h"

#include "auth/dkim_published.h"
#include "base/bug.h"

static struct dns_answer answer_of(enum dns_status status, const struct dns_record *records, size_t count)
{
    return (struct dns_answer){
        .status = status, .type = DNS_TXT, .name = "", .count = count, .records = records};
}

static void check(const char *name, const struct dkim_private *key, const char *text,
                  enum dkim_published_state want, bool warns)
{
    struct dns_record record = {.text = str_of(text)};
    struct dns_answer answer = answer_of(DNS_OK, &record, 1);
    struct dkim_published got = dkim_published_judge(key, &answer);

    t_case(name, "6376 3.6.1");
    t_same_z(dkim_published_name(got.state), dkim_published_name(want));
    t_true((got.warning != NULL) == warns);
    t_true(*got.reason != '\0');
}

static void test_records(void **state)
{
    struct arena *mem = arena_new(0);
    struct dkim_private *key = dkim_private_generate(DKIM_PRIVATE_RSA_2048),
                        *other = dkim_private_generate(DKIM_PRIVATE_ED25519);
    const char *record = dkim_private_record(mem, key), *p = strstr(record, "p=");

    (void)state;
    check("its own record", key, record, DKIM_PUBLISHED, false);
    check("without a key to compare", NULL, record, DKIM_PUBLISHED, false);
    check("with other tags and blanks", key, str_fmt(mem, "v=DKIM1 ; n=x; t=s; %s ;", p), DKIM_PUBLISHED,
          false);
    check("a test key", key, str_fmt(mem, "v=DKIM1; t=y; %s", p), DKIM_PUBLISHED, true);
    check("another key", other, record, DKIM_OTHER_KEY, false);
    check("another key of the same type", key, "v=DKIM1; p=MFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBAJYxQ1",
          DKIM_BROKEN, false);
    check("revoked", key, "v=DKIM1; p=", DKIM_REVOKED, false);
    check("cut off", key, str_fmt(mem, "%.100s", record), DKIM_BROKEN, false);
    check("SPF in its place", key, "v=spf1 -all", DKIM_BROKEN, false);
    check("not for e-mail", key, str_fmt(mem, "v=DKIM1; s=tlsrpt; %s", p), DKIM_BROKEN, false);
    dkim_private_free(&other);
    dkim_private_free(&key);
    arena_free(&mem);
}

static void test_answers(void **state)
{
    static const struct {
        enum dns_status status;
        enum dkim_published_state want;
    } rows[] = {
        {DNS_NXDOMAIN, DKIM_UNPUBLISHED}, {DNS_NODATA, DKIM_UNPUBLISHED}, {DNS_BADNAME, DKIM_UNPUBLISHED},
        {DNS_SERVFAIL, DKIM_UNANSWERED},  {DNS_TIMEOUT, DKIM_UNANSWERED}, {DNS_REFUSED, DKIM_UNANSWERED},
        {DNS_GARBLED, DKIM_UNANSWERED},
    };
    struct dns_record two[2] = {{.text = STR("v=DKIM1; p=")}, {.text = STR("x")}};
    struct dns_answer answer = answer_of(DNS_OK, two, 2);

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct dns_answer without = answer_of(rows[i].status, NULL, 0);

        t_case(dns_status_name(rows[i].status), NULL);
        t_same_int(dkim_published_judge(NULL, &without).state, rows[i].want);
    }
    t_case("two records", "6376 3.6.2.2");
    t_same_int(dkim_published_judge(NULL, &answer).state, DKIM_AMBIGUOUS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_records), cmocka_unit_test(test_answers)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
