/*
 * Evaluates SPF cases in bulk, for tests/long/spf_differential.py: a JSON object a line on standard input,
 * {"id", "dns" (the form of the conformance suites), "ip", "helo", "from"}, and one a line comes back:
 * {"id", "result", "explanation", "reason", "lookups", "void_lookups", "asked": ["TXT example.test", …]}.
 */
#include "auth/spf.h"

#include "base/bug.h"
#include "tests/batch.h"
#include "tests/fakedns.h"

#include <jansson.h>
#include <stdio.h>

/* What would be asked of identities in octets: U+00FF is the octet 0xff, as in the zones. */
static const char *octets(struct arena *mem, const char *utf8)
{
    char *copy = str_dup(mem, str_of(utf8)), *out = copy;

    for (const unsigned char *in = (const unsigned char *)utf8; *in != '\0'; in++) {
        if (*in >= 0xc0 && in[1] != '\0') {
            *out++ = (char)((*in & 0x1f) << 6 | (in[1] & 0x3f));
            in++;
        } else {
            *out++ = (char)*in;
        }
    }
    *out = '\0';
    return copy;
}

static void on_done(const struct spf_answer *answer, void *arg)
{
    *(const struct spf_answer **)arg = answer;
}

static json_t *asked_names(const struct fakedns *fake)
{
    json_t *list = json_array();

    for (size_t i = 0; i < fakedns_asked(fake); i++) {
        const char *question = fakedns_question(fake, i);
        json_t *text = json_string(question); /* NULL when it is not UTF-8 */

        json_array_append_new(list, text != NULL ? text : json_string("?"));
    }
    return list;
}

static void print_answer(const json_t *test, const struct spf_answer *answer, const struct fakedns *fake)
{
    json_t *out = json_pack("{s:O, s:s, s:s, s:s, s:i, s:i, s:o}", "id", json_object_get(test, "id"),
                            "result", spf_result_name(answer->result), "explanation", answer->explanation,
                            "reason", answer->reason, "lookups", (int)answer->lookups, "void_lookups",
                            (int)answer->void_lookups, "asked", asked_names(fake));

    if (out == NULL)
        bug("an answer that JSON cannot hold");
    json_dumpf(out, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(out);
}

static void run_case(const void *test)
{
    struct arena *mem = arena_new(0);
    struct fakedns *fake = fakedns_new();
    const struct spf_answer *answer = NULL;
    struct spf_ask ask = {.scope = SPF_MFROM, .receiver = "mx.receiver.test", .now_unix = 1700000000};

    ask.helo = octets(mem, json_string_value(json_object_get(test, "helo")));
    ask.mail_from = octets(mem, json_string_value(json_object_get(test, "from")));
    if (!ip_parse(str_of(json_string_value(json_object_get(test, "ip"))), &ask.client))
        bug("not an address: %s", json_string_value(json_object_get(test, "ip")));
    fakedns_add_json(fake, json_object_get(test, "dns"));
    spf_start(mem, fakedns_dns(fake), &ask, on_done, &answer);
    while (answer == NULL && fakedns_run(fake))
        ;
    if (answer == NULL)
        bug("no answer");
    print_answer(test, answer, fake);
    fakedns_free(&fake);
    arena_free(&mem);
}

int main(void)
{
    batch_run(run_case);
    return 0;
}
