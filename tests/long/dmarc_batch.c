/*
 * Evaluates DMARC cases in bulk, for tests/long/dmarc_differential.py: a JSON object a line on standard input,
 * {"id", "dns" (the form of the conformance suites), "from", "spf": [domain, result], "dkim": [[domain, result], …]},
 * and one a line comes back: {"id", "result", "policy", "spf", "dkim", "reason"}.
 */
#include "auth/dmarc.h"

#include "base/bug.h"
#include "tests/batch.h"
#include "tests/fakedns.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

enum { SIGNATURES_MAX = 8 };

static void on_found(const struct dmarc_discovery *found, void *arg)
{
    *(const struct dmarc_discovery **)arg = found;
}

static void on_evaluated(const struct dmarc_evaluation *evaluation, void *arg)
{
    *(const struct dmarc_evaluation **)arg = evaluation;
}

static const char *nth(const json_t *list, size_t i)
{
    return json_string_value(json_array_get(list, i));
}

static bool is_pass(const json_t *identifier)
{
    return strcmp(nth(identifier, 1), "pass") == 0;
}

static const struct dmarc_evaluation *evaluate(struct arena *mem, struct fakedns *fake, const json_t *test)
{
    const json_t *spf = json_object_get(test, "spf"), *list = json_object_get(test, "dkim");
    struct dkim_signature signatures[SIGNATURES_MAX] = {{0}};
    struct dkim_answer dkim = {.count = json_array_size(list), .signatures = signatures};
    struct spf_answer spf_answer = {
        .scope = SPF_MFROM, .domain = nth(spf, 0), .result = is_pass(spf) ? SPF_PASS : SPF_FAIL};
    const struct dmarc_discovery *found = NULL;
    const struct dmarc_evaluation *evaluation = NULL;
    struct dmarc_ask ask = {.spf = &spf_answer, .dkim = &dkim};

    if (dkim.count > SIGNATURES_MAX)
        bug("%zu signatures", dkim.count);
    for (size_t i = 0; i < dkim.count; i++)
        signatures[i] =
            (struct dkim_signature){.domain = nth(json_array_get(list, i), 0),
                                    .result = is_pass(json_array_get(list, i)) ? DKIM_PASS : DKIM_FAIL};
    dmarc_start(mem, fakedns_dns(fake), json_string_value(json_object_get(test, "from")), on_found, &found);
    fakedns_run(fake);
    if (found == NULL)
        bug("no policy and no word that there is none");
    ask.discovery = found;
    dmarc_align_start(mem, fakedns_dns(fake), &ask, on_evaluated, &evaluation);
    fakedns_run(fake);
    if (evaluation == NULL)
        bug("no answer");
    return evaluation;
}

static void run_case(const void *test)
{
    struct arena *mem = arena_new(0);
    struct fakedns *fake = fakedns_new();
    const struct dmarc_evaluation *e;
    json_t *out;

    fakedns_add_json(fake, json_object_get(test, "dns"));
    e = evaluate(mem, fake, test);
    out = json_pack("{s:O, s:s, s:s, s:b, s:b, s:s}", "id", json_object_get(test, "id"), "result",
                    dmarc_result_name(e->result), "policy", dmarc_policy_name(e->policy), "spf",
                    e->spf_aligned, "dkim", e->dkim_aligned, "reason", e->reason);
    if (out == NULL)
        bug("an answer that JSON cannot hold");
    json_dumpf(out, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(out);
    fakedns_free(&fake);
    arena_free(&mem);
}

int main(void)
{
    batch_run(run_case);
    return 0;
}
