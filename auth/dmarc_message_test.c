/* SPF, DKIM and DMARC together over whole messages: the suite of Rspamd, as RFC 9989 has it. */
#include "auth/dmarc.h"
#include "tests/fakedns.h"
#include "tests/t.h"

#include <jansson.h>

enum { NOW = 1800000000 };

struct run {
    struct arena *mem;
    struct fakedns *fake;
    struct str message;
    size_t body;
    struct header header;
    const struct spf_answer *spf;
    const struct dkim_answer *dkim;
    const struct dmarc_discovery *found;
    const struct dmarc_evaluation *result;
};

static void on_spf(const struct spf_answer *answer, void *arg)
{
    ((struct run *)arg)->spf = answer;
}

static void on_dkim(const struct dkim_answer *answer, void *arg)
{
    ((struct run *)arg)->dkim = answer;
}

static void on_found(const struct dmarc_discovery *found, void *arg)
{
    ((struct run *)arg)->found = found;
}

static void on_result(const struct dmarc_evaluation *result, void *arg)
{
    ((struct run *)arg)->result = result;
}

static void open_message(struct run *r, const char *path)
{
    r->message = t_read_file(r->mem, path);
    r->body = header_end(r->message, 0);
    t_true(r->body != SIZE_MAX);
    t_same_int(header_parse(r->mem, str_upto(r->message, r->body), 1000, &r->header), HEADER_OK);
}

static void check_spf(struct run *r, const char *client, const char *mail_from)
{
    struct spf_ask ask = {
        .helo = "localhost", .mail_from = mail_from, .scope = SPF_MFROM, .receiver = "mx.test"};

    if (client == NULL)
        return;
    t_true(mail_from != NULL && ip_parse(str_of(client), &ask.client));
    spf_start(r->mem, fakedns_dns(r->fake), &ask, on_spf, r);
    fakedns_run(r->fake);
    t_true(r->spf != NULL);
}

static void evaluate(struct run *r)
{
    static const struct dkim_settings settings = {MODE_ENFORCE, 1024, 6, DKIM_SHA1_POLICY};
    struct dkim_verifier *verifier;
    struct dmarc_ask ask = {0};
    const char *why, *from = dmarc_from_domain(r->mem, &r->header, &why);

    t_true(from != NULL);
    verifier = dkim_verify_start(r->mem, fakedns_dns(r->fake), NULL, &settings, &r->header, from, NOW);
    dkim_verify_body(verifier, str_from(r->message, r->body + 2));
    dkim_verify_end(verifier, on_dkim, r);
    dmarc_start(r->mem, fakedns_dns(r->fake), from, on_found, r);
    fakedns_run(r->fake);
    t_true(r->dkim != NULL && r->found != NULL);
    ask = (struct dmarc_ask){r->found, r->spf, r->dkim};
    dmarc_align_start(r->mem, fakedns_dns(r->fake), &ask, on_result, r);
    fakedns_run(r->fake);
    t_true(r->result != NULL);
    dkim_verify_cancel(&verifier);
}

static const char *text_of(const json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

static void run_case(const json_t *c, const json_t *dns, const char *folder)
{
    struct run r = {.mem = arena_new(0), .fake = fakedns_new()};
    const json_t *want = json_object_get(c, "expect_rfc9989");

    t_case(text_of(c, "id"), "9989 5.3");
    fakedns_add_json(r.fake, dns);
    open_message(&r, str_fmt(r.mem, "%s/%s", folder, text_of(c, "message")));
    check_spf(&r, text_of(c, "client_ip"), text_of(c, "mail_from"));
    evaluate(&r);
    t_same_z(dmarc_result_name(r.result->result), text_of(want, "result"));
    if (text_of(want, "policy") != NULL)
        t_same_z(dmarc_policy_name(r.result->policy), text_of(want, "policy"));
    fakedns_free(&r.fake);
    arena_free(&r.mem);
}

static void test_rspamd(void **state)
{
    char folder[400], path[512];
    json_t *cases, *dns, *c;
    size_t i;

    (void)state;
    if (t_conformance() == NULL)
        t_skip("the suite dmarc-rspamd is not here");
    snprintf(folder, sizeof(folder), "%s/dmarc-rspamd", t_conformance());
    snprintf(path, sizeof(path), "%s/cases.json", folder);
    cases = json_load_file(path, 0, NULL);
    snprintf(path, sizeof(path), "%s/dns.json", folder);
    dns = json_load_file(path, 0, NULL);
    t_true(cases != NULL && dns != NULL);
    json_array_foreach(json_object_get(cases, "cases"), i, c) run_case(c, dns, folder);
    t_same_int(i, 17);
    print_message("dmarc-rspamd: %zu passed\n", i);
    json_decref(cases);
    json_decref(dns);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {cmocka_unit_test(test_rspamd)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
