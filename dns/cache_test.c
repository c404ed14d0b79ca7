#include "dns/cache.h"

#include "base/bug.h"
#include "tests/t.h"

#include <stdio.h>

static void put(struct dns_cache *cache, const char *name, uint32_t ttl_s, int64_t now_ms)
{
    struct dns_record record = {.text = str_of(name)};
    struct dns_question question;
    struct dns_reply *reply =
        dns_reply_new(&(struct dns_answer){.ttl_s = ttl_s, .count = 1, .records = &record});

    t_true(dns_question_init(&question, DNS_TXT, name));
    dns_cache_put(cache, &question, reply, now_ms);
    dns_reply_release(&reply);
}

/* What is left of its TTL, or -1. */
static int64_t left(struct dns_cache *cache, enum dns_type type, const char *name, int64_t now_ms)
{
    struct dns_question question;
    struct dns_reply *reply;
    uint32_t ttl_s;

    t_true(dns_question_init(&question, type, name));
    reply = dns_cache_find(cache, &question, now_ms, &ttl_s);
    if (reply == NULL)
        return -1;
    t_true(str_same_z(reply->answer.records[0].text, name));
    dns_reply_release(&reply);
    return ttl_s;
}

static void answers_live_for_their_ttl(void **state)
{
    static const struct {
        const char *name, *rfc;
        uint32_t ttl_s;
        int64_t after_ms, want;
    } rows[] = {
        {"at once", "1035 3.2.1", 300, 0, 300},
        {"half a second later", "1035 3.2.1", 300, 500, 300},
        {"a minute later", "1035 3.2.1", 300, 60000, 240},
        {"at the last moment", "1035 3.2.1", 300, 299999, 1},
        {"and gone", "1035 3.2.1", 300, 300000, -1},
        {"zero counts as a second", "", 0, 999, 1},
        {"and not as more", "", 0, 1000, -1},
        {"a week counts as a day", "", 604800, 0, 86400},
        {"the longest TTL there is", "2181 8", UINT32_MAX, 86400 * 1000 - 1, 1},
        {"and gone after a day", "", UINT32_MAX, 86400 * 1000, -1},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct dns_cache *cache = dns_cache_new(10, 10000, 0);

        t_case(rows[i].name, rows[i].rfc);
        put(cache, "a.test", rows[i].ttl_s, 5000);
        t_same_int(left(cache, DNS_TXT, "a.test", 5000 + rows[i].after_ms), rows[i].want);
        t_same_int(dns_cache_entries(cache), rows[i].want >= 0);
        dns_cache_free(&cache);
        t_true(cache == NULL);
    }
}

static void names_and_types_are_the_key(void **state)
{
    struct dns_cache *cache = dns_cache_new(10, 10000, 0);

    (void)state;
    put(cache, "a.test", 300, 0);
    t_case("case makes no difference", "1035 2.3.3");
    t_same_int(left(cache, DNS_TXT, "A.TEST", 0), 300);
    t_case("the type does", "1035 3.2.2");
    t_same_int(left(cache, DNS_A, "a.test", 0), -1);
    t_case("the name does", "1035 3.1");
    t_same_int(left(cache, DNS_TXT, "b.test", 0), -1);
    t_case("a second answer replaces the first", "2181 5.4");
    put(cache, "a.test", 60, 0);
    t_same_int(left(cache, DNS_TXT, "a.test", 0), 60);
    t_same_int(dns_cache_entries(cache), 1);
    dns_cache_free(&cache);
}

static void the_longest_unused_goes_first(void **state)
{
    struct dns_cache *cache = dns_cache_new(3, 10000, 0);

    (void)state;
    put(cache, "a.test", 300, 0);
    put(cache, "b.test", 300, 0);
    put(cache, "c.test", 300, 0);
    t_same_int(left(cache, DNS_TXT, "a.test", 0), 300);
    put(cache, "d.test", 300, 0);
    t_case("three entries at most", "");
    t_same_int(dns_cache_entries(cache), 3);
    t_case("used a moment ago: stays", "");
    t_same_int(left(cache, DNS_TXT, "a.test", 0), 300);
    t_case("unused for the longest time: goes", "");
    t_same_int(left(cache, DNS_TXT, "b.test", 0), -1);
    t_same_int(left(cache, DNS_TXT, "c.test", 0), 300);
    t_same_int(left(cache, DNS_TXT, "d.test", 0), 300);
    dns_cache_free(&cache);
}

static void bytes_are_bounded(void **state)
{
    struct dns_cache *cache = dns_cache_new(100000, 20000, 0);
    char name[64];

    (void)state;
    t_case("bytes stay below their bound whatever the count", "");
    for (int i = 0; i < 1000; i++) {
        snprintf(name, sizeof(name), "n%d.test", i);
        put(cache, name, 300, 0);
        t_true(dns_cache_bytes(cache) <= 20000);
    }
    t_true(dns_cache_entries(cache) > 20);
    t_true(dns_cache_entries(cache) < 200);
    t_same_int(left(cache, DNS_TXT, "n999.test", 0), 300);
    dns_cache_free(&cache);
}

static void what_is_too_large_is_not_kept(void **state)
{
    static char large[30000];
    struct dns_cache *cache = dns_cache_new(100, 20000, 0);
    struct dns_record record = {.text = {large, sizeof(large)}};
    struct dns_reply *reply =
        dns_reply_new(&(struct dns_answer){.ttl_s = 300, .count = 1, .records = &record});
    struct dns_question question;
    uint32_t ttl_s;

    (void)state;
    put(cache, "a.test", 300, 0);
    t_true(dns_question_init(&question, DNS_TXT, "b.test"));
    dns_cache_put(cache, &question, reply, 0);
    dns_reply_release(&reply);
    t_case("larger than the whole cache: others stay", "");
    t_true(dns_cache_find(cache, &question, 0, &ttl_s) == NULL);
    t_same_int(left(cache, DNS_TXT, "a.test", 0), 300);
    dns_cache_free(&cache);
}

static void a_cache_of_nothing(void **state)
{
    struct dns_cache *cache = dns_cache_new(0, 0, 0);

    (void)state;
    put(cache, "a.test", 300, 0);
    t_same_int(left(cache, DNS_TXT, "a.test", 0), -1);
    dns_cache_free(&cache);
}

static enum dns_status revived(struct dns_cache *cache, const char *name, int64_t now_ms)
{
    struct dns_question question;
    struct dns_reply *reply;
    enum dns_status status = DNS_TIMEOUT;

    t_true(dns_question_init(&question, DNS_TXT, name));
    reply = dns_cache_revive(cache, &question, now_ms);
    if (reply != NULL) {
        status = reply->answer.status;
        t_same_int(reply->answer.stale, now_ms >= 300000);
        t_true(str_same_z(reply->answer.records[0].text, name));
    }
    dns_reply_release(&reply);
    return status;
}

static void expired_answers_are_served_when_there_is_no_other(void **state)
{
    struct dns_cache *cache = dns_cache_new(10, 10000, 3600 * 1000);

    (void)state;
    put(cache, "a.test", 300, 0);
    t_case("before it expires, it is an answer like others", "8767 4");
    t_same_int(revived(cache, "a.test", 1000), DNS_OK);
    t_case("expired, it is asked for anew", "8767 4");
    t_same_int(left(cache, DNS_TXT, "a.test", 300000), -1);
    t_case("and served when nothing came", "8767 4");
    t_same_int(revived(cache, "a.test", 310000), DNS_OK);
    t_case("without another question for half a minute", "8767 5");
    t_same_int(left(cache, DNS_TXT, "a.test", 310000), DNS_STALE_TTL_S);
    t_same_int(left(cache, DNS_TXT, "a.test", 340000), -1);
    t_case("at most an hour after its end", "8767 5");
    t_same_int(revived(cache, "a.test", 3899999), DNS_OK);
    t_same_int(left(cache, DNS_TXT, "a.test", 3899999), 1);
    t_same_int(left(cache, DNS_TXT, "a.test", 3900000), -1);
    t_same_int(revived(cache, "a.test", 3900000), DNS_TIMEOUT);
    t_case("a new answer takes its place", "8767 4");
    put(cache, "a.test", 300, 3900000);
    t_same_int(left(cache, DNS_TXT, "a.test", 3900000), 300);
    t_case("what never was there is not made up", "");
    t_same_int(revived(cache, "b.test", 0), DNS_TIMEOUT);
    dns_cache_free(&cache);
}

static void what_was_not_there_is_never_stale(void **state)
{
    struct dns_cache *cache = dns_cache_new(10, 10000, 3600 * 1000);
    struct dns_reply *reply = dns_reply_new(&(struct dns_answer){.status = DNS_NXDOMAIN, .ttl_s = 300});
    struct dns_question question;

    (void)state;
    t_true(dns_question_init(&question, DNS_MX, "a.test"));
    dns_cache_put(cache, &question, reply, 0);
    dns_reply_release(&reply);
    t_case("an old \"no such domain\" refuses nobody", "");
    t_true(dns_cache_revive(cache, &question, 300000) == NULL);
    dns_cache_free(&cache);
}

static void a_held_reply_outlives_its_entry(void **state)
{
    struct dns_cache *cache = dns_cache_new(10, 10000, 0);
    struct dns_question question;
    struct dns_reply *reply;
    uint32_t ttl_s;

    (void)state;
    put(cache, "a.test", 300, 0);
    t_true(dns_question_init(&question, DNS_TXT, "a.test"));
    reply = dns_cache_find(cache, &question, 0, &ttl_s);
    dns_cache_free(&cache);
    t_same_str_z(reply->answer.records[0].text, "a.test");
    dns_reply_release(&reply);
    t_true(reply == NULL);
}

static void a_reply_is_a_copy(void **state)
{
    char name[] = "mx.test", text[] = "some text";
    struct dns_record records[2] = {{.name = name, .preference = 7}, {.text = str_of(text)}};
    struct dns_reply *reply = dns_reply_new(
        &(struct dns_answer){.type = DNS_MX, .name = "asked.test", .count = 2, .records = records});

    (void)state;
    memset(name, 'x', sizeof(name));
    memset(text, 'x', sizeof(text));
    memset(records, 0xff, sizeof(records));
    t_same_z(reply->answer.records[0].name, "mx.test");
    t_same_int(reply->answer.records[0].preference, 7);
    t_true(reply->answer.records[1].name == NULL);
    t_same_str_z(reply->answer.records[1].text, "some text");
    dns_reply_release(&reply);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_live_for_their_ttl),
        cmocka_unit_test(names_and_types_are_the_key),
        cmocka_unit_test(the_longest_unused_goes_first),
        cmocka_unit_test(bytes_are_bounded),
        cmocka_unit_test(what_is_too_large_is_not_kept),
        cmocka_unit_test(a_cache_of_nothing),
        cmocka_unit_test(a_held_reply_outlives_its_entry),
        cmocka_unit_test(a_reply_is_a_copy),
        cmocka_unit_test(expired_answers_are_served_when_there_is_no_other),
        cmocka_unit_test(what_was_not_there_is_never_stale),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
