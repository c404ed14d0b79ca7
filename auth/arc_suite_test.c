/* The public suites: whole messages with the keys that the DNS had, and what the chain is. */
#include "tests/t.h"

#include "auth/arc.h"
#include "base/bug.h"
#include "tests/fakedns.h"

#include <jansson.h>

enum { NOW = 1735689600 };

struct suite {
    struct arena *mem;
    struct dkim_keys *keys;
    const char *folder;
    const struct arc_answer *answer;
    size_t cases;
};

static void on_done(const struct arc_answer *answer, void *arg)
{
    ((struct suite *)arg)->answer = answer;
}

static const struct arc_answer *verify(struct suite *s, struct fakedns *dns, struct str message)
{
    const struct arc_settings settings = {MODE_ENFORCE, 50, 1024};
    size_t end = header_end(message, 0);
    struct str section = end == SIZE_MAX ? message : str_upto(message, end);
    struct str body = end == SIZE_MAX ? STR("") : str_from(message, end + 2);
    struct arc_verifier *v;
    struct header header;

    t_same_int(header_parse(s->mem, section, 1000, &header), HEADER_OK);
    v = arc_verify_start(s->mem, fakedns_dns(dns), s->keys, &settings, &header, NOW);
    arc_verify_body(v, body);
    s->answer = NULL;
    arc_verify_end(v, on_done, s);
    t_true(s->answer == NULL);
    fakedns_run(dns);
    t_true(s->answer != NULL);
    arc_verify_cancel(&v);
    return s->answer;
}

static bool is_accepted(const json_t *accepted, const char *got)
{
    size_t i;
    json_t *it;

    json_array_foreach(accepted, i, it) if (strcmp(json_string_value(it), got) == 0) return true;
    return false;
}

static const char *text(const json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

static void run_case(struct suite *s, json_t *it)
{
    struct fakedns *dns = fakedns_new();
    json_t *zone = json_load_file(str_fmt(s->mem, "%s/%s", s->folder, text(it, "dns")), 0, NULL);
    const struct arc_answer *answer;
    const char *got;

    t_case(text(it, "id"), text(it, "description"));
    fakedns_add_json(dns, zone);
    answer = verify(s, dns, t_read_file(s->mem, str_fmt(s->mem, "%s/%s", s->folder, text(it, "message"))));
    got = arc_result_name(answer->result);
    if (!is_accepted(json_object_get(it, "expect"), got))
        t_fail("%s (%s): %s (%s)", text(it, "id"), text(it, "description"), got, answer->reason);
    t_true((answer->result == ARC_FAIL) == (*answer->reason != '\0'));
    s->cases++;
    json_decref(zone);
    fakedns_free(&dns);
}

static void run_suite(const char *name, size_t cases_count)
{
    struct suite s = {.mem = arena_new(0), .keys = dkim_keys_new(100, clock_system())};
    json_t *cases, *it;
    size_t i;

    s.folder = str_fmt(s.mem, "%s/%s", t_conformance(), name);
    cases = json_load_file(str_fmt(s.mem, "%s/cases.json", s.folder), 0, NULL);
    json_array_foreach(json_object_get(cases, "cases"), i, it) run_case(&s, it);
    t_case(name, "the whole suite was seen");
    t_same_int(s.cases, cases_count);
    json_decref(cases);
    dkim_keys_free(&s.keys);
    arena_free(&s.mem);
}

static void test_validation(void **state)
{
    (void)state;
    if (t_conformance() == NULL)
        t_skip("no conformance suites here");
    run_suite("arc-validation", 175);
}

static void test_rspamd(void **state)
{
    (void)state;
    if (t_conformance() == NULL)
        t_skip("no conformance suites here");
    run_suite("arc-rspamd", 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_validation),
        cmocka_unit_test(test_rspamd),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
