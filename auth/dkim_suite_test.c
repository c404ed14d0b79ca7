/* The public suites: whole messages with the keys that the DNS had, and what must be said of each signature.
 */
#include "tests/t.h"

#include "auth/dkim.h"
#include "base/bug.h"
#include "tests/fakedns.h"

#include <jansson.h>

enum { NOW = 1735689600 };

/* The suites accept rsa-sha1, keys of 512 bits and drafts without v=; `expect_modern` is what they think a
 * verifier of today says. Where that is too narrow, the text that decides is given here, with the verdict
 * that it demands. */
static const struct {
    const char *id;
    size_t signature;
    enum dkim_result verdict;
    const char *why;
} disputed[] = {
    {"bad_1", 0, DKIM_PERMERROR,
     "no v=: a missing required tag is PERMFAIL before any hash (RFC 6376 6.1.1)"},
    {"bad_ietf01_1", 0, DKIM_PERMERROR, "no v=: the same (RFC 6376 6.1.1)"},
    {"bad_ietf01_2", 0, DKIM_PERMERROR, "no v=: the same (RFC 6376 6.1.1)"},
    {"bad_ietf01_3", 0, DKIM_PERMERROR, "no v=: the same (RFC 6376 6.1.1)"},
    {"bad_1878954", 0, DKIM_POLICY,
     "rsa-sha1 MUST NOT be used for verifying, so it cannot fail (RFC 8301 3.1)"},
    {"multiple_2", 2, DKIM_POLICY, "rsa-sha1: the same (RFC 8301 3.1)"},
    {"badkey_14", 0, DKIM_POLICY,
     "rsa-sha1: the key is not asked for, so there is no time-out (RFC 8301 3.1)"},
    {"badkey_15", 0, DKIM_POLICY, "rsa-sha1: the same, no SERVFAIL (RFC 8301 3.1)"},
    {"dkim_key_wide_ok", 0, DKIM_POLICY,
     "8192 bits: longer than what must be verified, and than our limit (RFC 8301 3.2)"},
};

struct suite {
    struct arena *mem;
    struct fakedns *dns;
    struct dkim_keys *keys;
    const struct dkim_answer *answer;
    size_t signatures, disputes;
};

static void on_done(const struct dkim_answer *answer, void *arg)
{
    ((struct suite *)arg)->answer = answer;
}

static const struct dkim_answer *verify(struct suite *s, struct str message)
{
    const struct dkim_settings settings = {MODE_ENFORCE, 1024, 6, DKIM_SHA1_POLICY};
    size_t end = header_end(message, 0);
    struct str body = end == SIZE_MAX ? STR("") : str_from(message, end + 2);
    struct dkim_verifier *v;
    struct header header;

    t_same_int(header_parse(s->mem, str_upto(message, end), 1000, &header), HEADER_OK);
    v = dkim_verify_start(s->mem, fakedns_dns(s->dns), s->keys, &settings, &header, NULL, NOW);
    dkim_verify_body(v, body);
    s->answer = NULL;
    dkim_verify_end(v, on_done, s);
    t_true(s->answer == NULL);
    fakedns_run(s->dns);
    t_true(s->answer != NULL);
    dkim_verify_cancel(&v);
    return s->answer;
}

static bool is_accepted(const json_t *accepted, enum dkim_result got)
{
    size_t i;
    json_t *it;

    if (!json_is_array(accepted))
        return true; /* the suite has no opinion */
    json_array_foreach(accepted, i,
                       it) if (strcmp(json_string_value(it), dkim_result_name(got)) == 0) return true;
    return false;
}

static void judge(struct suite *s, const char *id, size_t i, const json_t *signature,
                  const struct dkim_signature *got)
{
    s->signatures++;
    for (size_t j = 0; j < COUNT(disputed); j++)
        if (strcmp(disputed[j].id, id) == 0 && disputed[j].signature == i) {
            t_case(id, disputed[j].why);
            t_same_z(dkim_result_name(got->result), dkim_result_name(disputed[j].verdict));
            s->disputes++;
            return;
        }
    if (!is_accepted(json_object_get(signature, "expect_modern"), got->result))
        t_fail("%s, signature %zu: %s (%s)", id, i, dkim_result_name(got->result), got->reason);
    t_true((got->result == DKIM_PASS) == (*got->reason == '\0'));
}

static void run_case(struct suite *s, const char *folder, json_t *it)
{
    const char *id = json_string_value(json_object_get(it, "id")),
               *file = json_string_value(json_object_get(it, "message"));
    json_t *expected = json_object_get(it, "signatures"), *signature;
    const struct dkim_answer *answer;
    size_t i;

    t_case(id, NULL);
    answer = verify(s, t_read_file(s->mem, str_fmt(s->mem, "%s/%s", folder, file)));
    t_same_int(answer->count, json_array_size(expected));
    json_array_foreach(expected, i, signature) judge(s, id, i, signature, &answer->signatures[i]);
}

static void run_suite(const char *name, size_t signatures, size_t disputes)
{
    struct suite s = {.mem = arena_new(0), .dns = fakedns_new(), .keys = dkim_keys_new(100, clock_system())};
    const char *folder = str_fmt(s.mem, "%s/%s", t_conformance(), name);
    json_t *cases = json_load_file(str_fmt(s.mem, "%s/cases.json", folder), 0, NULL);
    json_t *zone = json_load_file(str_fmt(s.mem, "%s/dns.json", folder), 0, NULL), *it;
    size_t i;

    fakedns_add_json(s.dns, zone);
    json_array_foreach(json_object_get(cases, "cases"), i, it) run_case(&s, folder, it);
    t_case(name, "the whole suite was seen");
    t_same_int(s.signatures, signatures);
    t_same_int(s.disputes, disputes);
    json_decref(cases);
    json_decref(zone);
    dkim_keys_free(&s.keys);
    fakedns_free(&s.dns);
    arena_free(&s.mem);
}

static void test_rfc_messages(void **state)
{
    (void)state;
    if (t_conformance() == NULL)
        t_skip("no conformance suites here");
    run_suite("dkim-rfc", 4, 0);
}

static void test_mail_dkim(void **state)
{
    (void)state;
    if (t_conformance() == NULL)
        t_skip("no conformance suites here");
    run_suite("dkim-mail-dkim", 68, 8);
}

static void test_rspamd(void **state)
{
    (void)state;
    if (t_conformance() == NULL)
        t_skip("no conformance suites here");
    run_suite("dkim-rspamd", 26, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rfc_messages),
        cmocka_unit_test(test_mail_dkim),
        cmocka_unit_test(test_rspamd),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
