#include "dns/dnsbl_selftest.h"

#include "base/bug.h"
#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>

enum { AGAIN_PART = 10, SILENCES = 2, CODES_KEPT = 8 };

/* What is kept of an answer until the other one is there as well. */
struct test_answer {
    struct dns_answer answer;
    struct dns_record records[CODES_KEPT];
};

struct test {
    struct dnsbl_selftest *selftest;
    const struct dnsbl_list *list;
    size_t index;
    struct timer timer;
    struct dns_token *listed_token, *unlisted_token;
    struct test_answer listed, unlisted;
    unsigned silences; /* in a row */
    const char *illness;
};

struct dnsbl_selftest {
    struct loop *loop;
    struct dns *dns;
    struct dnsbl_health *health;
    int64_t interval_ms;
    size_t count;
    struct test tests[];
};

/* ---- what the answers mean ---- */

static bool lists_it(const struct dns_answer *answer)
{
    return answer->status == DNS_OK && !answer->stale;
}

static bool is_refusal(const struct dns_answer *answer)
{
    for (size_t i = 0; lists_it(answer) && i < answer->count; i++) {
        const unsigned char *b = answer->records[i].ip.b;

        if (b[0] == 127 && ((b[1] == 255 && b[2] == 255) || (b[1] == 0 && b[2] == 0 && b[3] == 1)))
            return true;
    }
    return false;
}

static bool is_parked(const struct dns_answer *answer)
{
    for (size_t i = 0; lists_it(answer) && i < answer->count; i++)
        if (answer->records[i].ip.b[0] != 127)
            return true;
    return false;
}

/* The test entry may have codes that the settings do not want (Zen's has one of each kind): that it is listed
 * at all is enough. */
const char *dnsbl_selftest_verdict(const struct dnsbl_list *list, const struct dns_answer *listed,
                                   const struct dns_answer *unlisted, bool *silent_out)
{
    bool domains = list->kind == DNSBL_OF_DOMAINS;

    *silent_out = false;
    if (is_refusal(listed) || is_refusal(unlisted))
        return "it refuses to serve this resolver: use one of your own, or the provider's key";
    if (is_parked(listed) || is_parked(unlisted))
        return "it answers with an address outside 127.0.0.0/8: the zone is no list any more";
    if (lists_it(unlisted))
        return domains ? "it lists \"invalid\", and so everybody" : "it lists 127.0.0.1, and so everybody";
    *silent_out = !dns_is_void(unlisted->status) || (!lists_it(listed) && !dns_is_void(listed->status));
    if (*silent_out)
        return "it does not answer";
    if (!lists_it(listed))
        return domains ? "it does not list its test entry: it is out of order, or has another one (test_name)"
                       : "it does not list 127.0.0.2: it is out of order, or does not serve this resolver";
    return NULL;
}

void dnsbl_selftest_names(const struct dnsbl_list *list, char listed_out[DNS_NAME_MAX + 1],
                          char unlisted_out[DNS_NAME_MAX + 1])
{
    static const struct ip listed = {4, {127, 0, 0, 2}}, unlisted = {4, {127, 0, 0, 1}};

    if (list->kind == DNSBL_OF_ADDRESSES) {
        dns_reverse_name(&listed, list->zone, listed_out);
        dns_reverse_name(&unlisted, list->zone, unlisted_out);
        return;
    }
    snprintf(listed_out, DNS_NAME_MAX + 1, "%s.%s", list->test_name != NULL ? list->test_name : "test",
             list->zone);
    snprintf(unlisted_out, DNS_NAME_MAX + 1, "invalid.%s", list->zone);
}

/* ---- testing ---- */

static void on_due(void *arg);

static void tell(struct test *test, const char *illness)
{
    struct str zone = dnsbl_public_zone(test->list->zone);

    if (illness == test->illness)
        return;
    test->illness = illness;
    dnsbl_health_set(test->selftest->health, test->index, illness);
    if (illness != NULL)
        log_note(LOG_WARNING, "dnsbl-sick", "list %.*s: %s; it is not asked until it passes its test",
                 STR_ARG(zone), illness);
    else
        log_note(LOG_WARNING, "dnsbl-well", "list %.*s passes its test again", STR_ARG(zone));
}

static void take_answers(struct test *test)
{
    struct dnsbl_selftest *selftest = test->selftest;
    bool silent;
    const char *illness =
        dnsbl_selftest_verdict(test->list, &test->listed.answer, &test->unlisted.answer, &silent);

    test->silences = silent ? test->silences + 1 : 0;
    if (!silent || test->silences >= SILENCES)
        tell(test, illness);
    timer_start(&test->timer, selftest->loop,
                illness != NULL ? selftest->interval_ms / AGAIN_PART : selftest->interval_ms, on_due, test);
}

static void keep(struct test_answer *place, const struct dns_answer *answer)
{
    place->answer = *answer;
    place->answer.count = answer->count < CODES_KEPT ? answer->count : CODES_KEPT;
    for (size_t i = 0; i < place->answer.count; i++)
        place->records[i] = (struct dns_record){.ip = answer->records[i].ip};
    place->answer.records = place->records;
    place->answer.name = NULL;
}

static void on_listed(const struct dns_answer *answer, void *arg)
{
    struct test *test = arg;

    test->listed_token = NULL;
    keep(&test->listed, answer);
    if (test->unlisted_token == NULL)
        take_answers(test);
}

static void on_unlisted(const struct dns_answer *answer, void *arg)
{
    struct test *test = arg;

    test->unlisted_token = NULL;
    keep(&test->unlisted, answer);
    if (test->listed_token == NULL)
        take_answers(test);
}

static void on_due(void *arg)
{
    struct test *test = arg;
    struct dns *dns = test->selftest->dns;
    char listed[DNS_NAME_MAX + 1], unlisted[DNS_NAME_MAX + 1];

    dnsbl_selftest_names(test->list, listed, unlisted);
    test->listed_token = dns_query(dns, DNS_A, listed, on_listed, test);
    test->unlisted_token = dns_query(dns, DNS_A, unlisted, on_unlisted, test);
}

struct dnsbl_selftest *dnsbl_selftest_start(struct loop *loop, struct dns *dns, struct dnsbl_health *health,
                                            const struct dnsbl_list *lists, size_t count, int64_t interval_ms)
{
    struct dnsbl_selftest *selftest = calloc(1, sizeof(*selftest) + count * sizeof(struct test));

    if (selftest == NULL)
        out_of_memory();
    *selftest = (struct dnsbl_selftest){
        .loop = loop, .dns = dns, .health = health, .interval_ms = interval_ms, .count = count};
    for (size_t i = 0; i < count; i++) {
        selftest->tests[i] = (struct test){.selftest = selftest, .list = &lists[i], .index = i};
        if (!lists[i].untested)
            timer_start(&selftest->tests[i].timer, loop, 0, on_due, &selftest->tests[i]);
    }
    return selftest;
}

void dnsbl_selftest_stop(struct dnsbl_selftest **selftest)
{
    struct dnsbl_selftest *s = *selftest;

    *selftest = NULL;
    if (s == NULL)
        return;
    for (size_t i = 0; i < s->count; i++) {
        timer_stop(&s->tests[i].timer);
        dns_cancel(&s->tests[i].listed_token);
        dns_cancel(&s->tests[i].unlisted_token);
    }
    free(s);
}
