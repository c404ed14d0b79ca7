/* Third-party suites over dmarc.c: the RFC's own examples, and OpenDMARC's tables. */
#include "auth/dmarc.h"
#include "base/bug.h"
#include "tests/fakedns.h"
#include "tests/t.h"

#include <jansson.h>

enum { SIGNATURES_MAX = 8 };

struct run {
    struct arena *mem;
    struct fakedns *fake;
    const struct dmarc_discovery *found;
    const struct dmarc_evaluation *result;
};

static void on_found(const struct dmarc_discovery *found, void *arg)
{
    ((struct run *)arg)->found = found;
}

static void on_result(const struct dmarc_evaluation *result, void *arg)
{
    ((struct run *)arg)->result = result;
}

static void evaluate(struct run *r, const char *from, const struct spf_answer *spf,
                     const struct dkim_answer *dkim)
{
    struct dmarc_ask ask = {.spf = spf, .dkim = dkim};

    r->found = NULL;
    r->result = NULL;
    dmarc_start(r->mem, fakedns_dns(r->fake), from, on_found, r);
    fakedns_run(r->fake);
    t_true(r->found != NULL);
    ask.discovery = r->found;
    dmarc_align_start(r->mem, fakedns_dns(r->fake), &ask, on_result, r);
    fakedns_run(r->fake);
    t_true(r->result != NULL);
}

static json_t *load(const char *suite)
{
    char path[512];
    json_error_t error;
    json_t *root;

    if (t_conformance() == NULL)
        return NULL;
    snprintf(path, sizeof(path), "%s/%s/cases.json", t_conformance(), suite);
    root = json_load_file(path, 0, &error);
    if (root == NULL)
        t_fail("%s: %s", path, error.text);
    return root;
}

static const char *text_of(const json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

/* ---- RFC 9989 ---- */

static bool is_pass(const json_t *identifier)
{
    return strcmp(text_of(identifier, "result"), "pass") == 0;
}

static void run_case(struct run *r, const json_t *c)
{
    struct dkim_signature signatures[SIGNATURES_MAX] = {{0}};
    struct dkim_answer dkim = {.signatures = signatures};
    const json_t *spf = json_array_get(json_object_get(c, "spf"), 0), *signature;
    struct spf_answer spf_answer = {.scope = SPF_MFROM};
    size_t i;

    t_true(json_array_size(json_object_get(c, "spf")) <= 1);
    if (spf != NULL) {
        spf_answer.domain = text_of(spf, "domain");
        spf_answer.result = is_pass(spf) ? SPF_PASS : SPF_FAIL;
    }
    json_array_foreach(json_object_get(c, "dkim"), i, signature)
    {
        t_true(dkim.count < SIGNATURES_MAX);
        signatures[dkim.count++] = (struct dkim_signature){
            .domain = text_of(signature, "domain"), .result = is_pass(signature) ? DKIM_PASS : DKIM_FAIL};
    }
    evaluate(r, text_of(c, "from"), spf != NULL ? &spf_answer : NULL, &dkim);
}

static void same_queries(const struct run *r, const json_t *want)
{
    const json_t *name;
    size_t i;

    t_same_int(r->found->queries_count, json_array_size(want));
    json_array_foreach(want, i, name) t_same_z(r->found->queries[i], json_string_value(name));
}

static void check_expectation(const struct run *r, const char *key, const json_t *want)
{
    if (strcmp(key, "result") == 0)
        t_same_z(dmarc_result_name(r->result->result), json_string_value(want));
    else if (strcmp(key, "policy") == 0)
        t_same_z(dmarc_policy_name(r->result->policy), json_string_value(want));
    else if (strcmp(key, "org_domain") == 0)
        t_same_z(r->found->org_domain, json_string_value(want));
    else if (strcmp(key, "record_domain") == 0)
        t_same_z(r->found->record_domain, json_string_value(want));
    else if (strcmp(key, "spf_aligned") == 0)
        t_same_int(r->result->spf_aligned, json_is_true(want));
    else if (strcmp(key, "dkim_aligned") == 0)
        t_same_int(r->result->dkim_aligned, json_is_true(want));
    else if (strcmp(key, "queries") == 0)
        same_queries(r, want);
    else
        t_fail("the suite expects \"%s\", which this test does not know", key);
}

static void test_rfc9989(void **state)
{
    json_t *root = load("dmarc-rfc9989"), *c, *want;
    size_t i, passed = 0;

    (void)state;
    if (root == NULL)
        t_skip("the suite dmarc-rfc9989 is not here");
    json_array_foreach(json_object_get(root, "cases"), i, c)
    {
        struct run r = {.mem = arena_new(0), .fake = fakedns_new()};
        const char *key;

        t_case(text_of(c, "id"), str_fmt(r.mem, "9989 %s", text_of(c, "spec")));
        fakedns_add_json(r.fake, json_object_get(c, "dns"));
        run_case(&r, c);
        json_object_foreach(json_object_get(c, "expect"), key, want) check_expectation(&r, key, want);
        passed++;
        fakedns_free(&r.fake);
        arena_free(&r.mem);
    }
    t_same_int(passed, 37);
    print_message("dmarc-rfc9989: %zu passed\n", passed);
    json_decref(root);
}

/* ---- OpenDMARC ---- */

/* RFC 9989 4.8: a syntax error outside of p, sp and np gives way to the default; RFC 7489 6.3 said the same.
 */
static const char *const disputed_records[] = {"parse-10", "parse-11"};
/* RFC 1035 3.1: a name has no empty label; DKIM's d= and SPF's domain are checked before, so none comes here.
 */
static const char *const disputed_alignments[] = {"align-5", "align-6"};

static bool is_one_of(const char *id, const char *const *list, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(list[i], id) == 0)
            return true;
    return false;
}

/* What the suite's own remark about RFC 9989 says, or the verdict of OpenDMARC where the two agree. */
static bool is_record_wanted(const json_t *c)
{
    const char *remark = text_of(c, "rfc9989");

    if (remark == NULL)
        return strcmp(text_of(c, "verdict_rfc7489"), "okay") == 0;
    return strstr(remark, "ignored") != NULL;
}

static void test_opendmarc_records(void **state)
{
    json_t *root = load("dmarc-opendmarc"), *c;
    struct arena *mem;
    size_t i, disputed = 0;

    (void)state;
    if (root == NULL)
        t_skip("the suite dmarc-opendmarc is not here");
    mem = arena_new(0);
    json_array_foreach(json_object_get(root, "record_parse"), i, c)
    {
        const char *why, *id = text_of(c, "id");
        bool got = dmarc_record_parse(mem, str_of(text_of(c, "record")), &why) != NULL;
        bool is_disputed = is_one_of(id, disputed_records, COUNT(disputed_records));

        t_case(id, "9989 4.8");
        t_same_int(got, is_record_wanted(c) != is_disputed);
        disputed += is_disputed;
    }
    t_same_int(i, 19);
    print_message("dmarc-opendmarc records: %zu passed, %zu disputed\n", i - disputed, disputed);
    json_decref(root);
    arena_free(&mem);
}

/* The suite knows organisations by the Public Suffix List; here the two rightmost labels publish a record. */
static void publish(struct run *r, const char *domain, const char *mode)
{
    const char *second = domain + strlen(domain);

    for (int dots = 0; second > domain; second--)
        if (second[-1] == '.' && ++dots == 2)
            break;
    fakedns_add_text(r->fake,
                     str_fmt(r->mem, "_dmarc.%s TXT \"v=DMARC1; p=none; adkim=%c\"\n", second, *mode));
    if (second != domain)
        fakedns_add_text(r->fake,
                         str_fmt(r->mem, "_dmarc.%s TXT \"v=DMARC1; p=none; adkim=%c\"\n", domain, *mode));
}

static void test_opendmarc_alignment(void **state)
{
    json_t *root = load("dmarc-opendmarc"), *c;
    size_t i, disputed = 0;

    (void)state;
    if (root == NULL)
        t_skip("the suite dmarc-opendmarc is not here");
    json_array_foreach(json_object_get(root, "alignment"), i, c)
    {
        struct run r = {.mem = arena_new(0), .fake = fakedns_new()};
        struct dkim_signature signature = {.result = DKIM_PASS, .domain = text_of(c, "domain")};
        struct dkim_answer dkim = {1, &signature};
        bool is_disputed = is_one_of(text_of(c, "id"), disputed_alignments, COUNT(disputed_alignments));

        t_case(text_of(c, "id"), "9989 4.4");
        publish(&r, text_of(c, "from"), text_of(c, "mode"));
        evaluate(&r, text_of(c, "from"), NULL, &dkim);
        t_same_int(r.result->dkim_aligned, json_is_true(json_object_get(c, "aligned")) != is_disputed);
        disputed += is_disputed;
        fakedns_free(&r.fake);
        arena_free(&r.mem);
    }
    t_same_int(i, 10);
    print_message("dmarc-opendmarc alignment: %zu passed, %zu disputed\n", i - disputed, disputed);
    json_decref(root);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rfc9989),
        cmocka_unit_test(test_opendmarc_records),
        cmocka_unit_test(test_opendmarc_alignment),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
