#include "dns/dnsbl.h"

#include "base/bug.h"
#include "base/log.h"
#include "tests/fakedns.h"
#include "tests/t.h"

#include <stdio.h>
#include <unistd.h>

enum { TEN_MINUTES_MS = 10 * 60 * 1000 };

static const struct dnsbl_codes zen_codes[] = {{{4, {127, 0, 0, 2}}, {4, {127, 0, 0, 11}}}};
static const struct dnsbl_codes white_codes[] = {{{4, {127, 0, 2, 0}}, {4, {127, 0, 20, 3}}}};
static const struct dnsbl_codes wide_codes[] = {{{4, {127, 0, 0, 0}}, {4, {127, 255, 255, 255}}}};
static const struct dnsbl_codes two_codes[] = {{{4, {127, 0, 0, 2}}, {4, {127, 0, 0, 2}}},
                                               {{4, {127, 0, 0, 9}}, {4, {127, 0, 0, 9}}}};

static const struct dnsbl_list lists[] = {
    {.zone = "zen.test", .score = 8, .codes = zen_codes, .codes_count = 1},
    {.zone = "white.test", .score = -4, .codes = white_codes, .codes_count = 1},
    {.zone = "wide.test", .score = 2, .codes = wide_codes, .codes_count = 1},
    {.zone = "two.test", .score = 3, .codes = two_codes, .codes_count = 2},
};

static struct arena *mem;
static struct fakedns *fake;
static struct dnsbl_health *health;
static const struct dnsbl_answer *got;
static int calls;

static void on_done(const struct dnsbl_answer *answer, void *arg)
{
    t_true(arg == &calls);
    got = answer;
    calls++;
}

static struct dnsbl_query *start(const char *ip, int64_t now_ms)
{
    struct ip client = {0};
    struct dnsbl_query *query;

    t_true(ip_parse(str_of(ip), &client));
    got = NULL;
    calls = 0;
    query =
        dnsbl_start(mem, fakedns_dns(fake), health, lists, COUNT(lists), &client, now_ms, on_done, &calls);
    t_same_int(calls, 0);
    return query;
}

static void ask(const char *zone, const char *ip, int64_t now_ms)
{
    fakedns_add_text(fake, zone);
    start(ip, now_ms);
    while (calls == 0 && fakedns_run(fake))
        ;
    t_same_int(calls, 1);
    t_true(!fakedns_run(fake));
}

static int set_up(void **state)
{
    (void)state;
    mem = arena_new(0);
    fake = fakedns_new();
    health = dnsbl_health_new(mem, lists, COUNT(lists));
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    fakedns_free(&fake);
    arena_free(&mem);
    return 0;
}

/* ---- what an answer means ---- */

static void answers_are_judged(void **state)
{
    static const struct {
        const char *name, *rfc, *zone;
        size_t list;
        enum dnsbl_result result;
        int score;
        const char *code;
        enum dns_status status;
    } rows[] = {
        {"no such name: clean", "5782 2.1", "x.test A 192.0.2.1", 0, DNSBL_CLEAN, 0, NULL, DNS_NXDOMAIN},
        {"no address: clean", "5782 2.1", "1.2.0.192.zen.test TXT \"why\"", 0, DNSBL_CLEAN, 0, NULL,
         DNS_NODATA},
        {"the first declared code", "5782 2.1", "1.2.0.192.zen.test A 127.0.0.2", 0, DNSBL_LISTED, 8,
         "127.0.0.2", DNS_OK},
        {"the last declared code", "5782 2.1", "1.2.0.192.zen.test A 127.0.0.11", 0, DNSBL_LISTED, 8,
         "127.0.0.11", DNS_OK},
        {"one beyond the last", "5782 2.1", "1.2.0.192.zen.test A 127.0.0.12", 0, DNSBL_ERROR, 0,
         "127.0.0.12", DNS_OK},
        {"one below the first", "5782 5", "1.2.0.192.zen.test A 127.0.0.1", 0, DNSBL_ERROR, 0, "127.0.0.1",
         DNS_OK},
        {"two codes, both declared", "5782 2.3",
         "1.2.0.192.zen.test A 127.0.0.4\n1.2.0.192.zen.test A 127.0.0.10", 0, DNSBL_LISTED, 8, "127.0.0.4",
         DNS_OK},
        {"an undeclared code among declared ones", "5782 2.3",
         "1.2.0.192.zen.test A 127.0.0.4\n1.2.0.192.zen.test A 127.0.1.4", 0, DNSBL_ERROR, 0, "127.0.1.4",
         DNS_OK},
        {"an address outside 127/8 (a parked domain)", "5782 5", "1.2.0.192.zen.test A 203.0.113.7", 0,
         DNSBL_ERROR, 0, "203.0.113.7", DNS_OK},
        {"a refusal of service, though the range was declared", "", "1.2.0.192.wide.test A 127.255.255.254",
         2, DNSBL_ERROR, 0, "127.255.255.254", DNS_OK},
        {"the neighbour of the refusals", "", "1.2.0.192.wide.test A 127.255.254.254", 2, DNSBL_LISTED, 2,
         "127.255.254.254", DNS_OK},
        {"the second of two ranges", "5782 2.3", "1.2.0.192.two.test A 127.0.0.9", 3, DNSBL_LISTED, 3,
         "127.0.0.9", DNS_OK},
        {"between two ranges", "5782 2.3", "1.2.0.192.two.test A 127.0.0.5", 3, DNSBL_ERROR, 0, "127.0.0.5",
         DNS_OK},
        {"an allow list counts backward", "", "1.2.0.192.white.test A 127.0.9.2", 1, DNSBL_LISTED, -4,
         "127.0.9.2", DNS_OK},
        {"SERVFAIL is no answer", "", "1.2.0.192.zen.test RCODE servfail", 0, DNSBL_UNANSWERED, 0, NULL,
         DNS_SERVFAIL},
        {"REFUSED is no answer", "", "1.2.0.192.zen.test RCODE refused", 0, DNSBL_UNANSWERED, 0, NULL,
         DNS_REFUSED},
        {"silence is no answer", "", "1.2.0.192.zen.test RCODE timeout", 0, DNSBL_UNANSWERED, 0, NULL,
         DNS_TIMEOUT},
    };

    for (size_t i = 0; i < COUNT(rows); i++) {
        char text[IP_TEXT_MAX];

        tear_down(state);
        set_up(state);
        t_case(rows[i].name, rows[i].rfc);
        ask(rows[i].zone, "192.0.2.1", 0);
        t_same_int(got->count, COUNT(lists));
        t_true(got->hits[rows[i].list].list == &lists[rows[i].list]);
        t_same_z(dnsbl_result_name(got->hits[rows[i].list].result), dnsbl_result_name(rows[i].result));
        t_same_int(got->hits[rows[i].list].status, rows[i].status);
        t_same_int(got->score, rows[i].score);
        if (rows[i].code != NULL)
            t_same_z(ip_format(&got->hits[rows[i].list].code, text), rows[i].code);
        else
            t_same_int(got->hits[rows[i].list].code.family, 0);
    }
}

static void scores_are_added(void **state)
{
    (void)state;
    ask("1.2.0.192.zen.test A 127.0.0.2\n1.2.0.192.white.test A 127.0.5.1\n1.2.0.192.two.test A 127.0.0.2",
        "192.0.2.1", 0);
    t_case("8 - 4 + 3", "");
    t_same_int(got->score, 7);
    t_same_z(dnsbl_result_name(got->hits[2].result), "clean");
}

static void ipv6_is_asked_by_nibbles(void **state)
{
    (void)state;
    ask("1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.zen.test A 127.0.0.3", "2001:db8::1",
        0);
    t_case("an IPv6 client", "5782 2.4");
    t_same_int(got->score, 8);
}

/* ---- sick lists ---- */

static void a_sick_list_is_left_alone(void **state)
{
    size_t asked;

    (void)state;
    ask("1.2.0.192.zen.test A 127.255.255.252", "192.0.2.1", 1000);
    t_case("an error does not list the client", "");
    t_same_int(got->score, 0);
    asked = fakedns_asked(fake);
    t_same_int(asked, COUNT(lists));
    t_case("nor is that list asked for ten minutes", "");
    ask("2.2.0.192.zen.test A 127.0.0.2", "192.0.2.2", 1000 + TEN_MINUTES_MS - 1);
    t_same_z(dnsbl_result_name(got->hits[0].result), "disabled");
    t_same_z(dnsbl_result_name(got->hits[1].result), "clean");
    t_same_int(got->score, 0);
    t_same_int(fakedns_asked(fake), asked + COUNT(lists) - 1);
    t_case("then it is asked again", "");
    ask("", "192.0.2.2", 1000 + TEN_MINUTES_MS);
    t_same_int(got->score, 8);
}

static void all_lists_disabled_still_answer(void **state)
{
    (void)state;
    ask("1.2.0.192.zen.test A 127.0.0.1\n1.2.0.192.white.test A 127.0.0.1\n1.2.0.192.two.test A 127.0.0.1\n"
        "1.2.0.192.wide.test A 127.255.255.1",
        "192.0.2.1", 0);
    t_case("nobody to ask: answered all the same, on a later turn", "");
    ask("", "192.0.2.1", 1);
    for (size_t i = 0; i < COUNT(lists); i++)
        t_same_z(dnsbl_result_name(got->hits[i].result), "disabled");
    t_same_int(got->score, 0);
}

static void no_lists_at_all(void **state)
{
    struct ip client = {4, {192, 0, 2, 1}};

    (void)state;
    calls = 0;
    dnsbl_start(mem, fakedns_dns(fake), dnsbl_health_new(mem, NULL, 0), NULL, 0, &client, 0, on_done, &calls);
    t_case("no lists: an answer of none, on a later turn", "");
    t_same_int(calls, 0);
    fakedns_run(fake);
    t_same_int(calls, 1);
    t_same_int(got->count, 0);
    t_same_int(got->score, 0);
}

/* What was logged while fn ran. */
static const char *logged_by(void (*fn)(void))
{
    static char text[4096];
    const struct log_settings settings = {.level = LOG_INFO};
    FILE *file = tmpfile();
    int old = dup(STDERR_FILENO);
    size_t n;

    t_true(file != NULL && old >= 0);
    fflush(stderr);
    dup2(fileno(file), STDERR_FILENO);
    log_open(&settings);
    fn();
    log_close();
    dup2(old, STDERR_FILENO);
    close(old);
    rewind(file);
    n = fread(text, 1, sizeof(text) - 1, file);
    text[n] = '\0';
    fclose(file);
    return text;
}

static const struct dnsbl_list *named;

static void disable_named_list(void)
{
    struct dnsbl_health *own = dnsbl_health_new(mem, named, 1);
    struct ip client = {4, {192, 0, 2, 1}};

    for (int64_t now_ms = 0; now_ms < 3; now_ms++)
        dnsbl_start(mem, fakedns_dns(fake), own, named, 1, &client, now_ms, on_done, &calls);
    fakedns_run(fake);
}

static size_t times(const char *text, const char *word)
{
    size_t n = 0;

    while ((text = strstr(text, word)) != NULL) {
        text += strlen(word);
        n++;
    }
    return n;
}

static void the_operator_is_told_once(void **state)
{
    static const struct {
        const char *name, *zone, *shown, *hidden;
    } rows[] = {
        {"a public zone is shown", "zen.spamhaus.test", "zen.spamhaus.test", NULL},
        {"a short first label too", "ix.dnsbl.manitu.test", "ix.dnsbl.manitu.test", NULL},
        {"three labels are no customer's", "blacklist.example.test", "blacklist.example.test", NULL},
        {"a customer's key is not", "k3ysecretk3y.zen.dq.spamhaus.test", "*.zen.dq.spamhaus.test",
         "k3ysecret"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct dnsbl_list list = {.zone = rows[i].zone, .score = 8, .codes = zen_codes, .codes_count = 1};
        const char *text;

        named = &list;
        fakedns_add_text(fake, str_fmt(mem, "1.2.0.192.%s A 127.255.255.252", rows[i].zone));
        text = logged_by(disable_named_list);
        t_case(rows[i].name, "");
        t_same_int(times(text, "dnsbl-disabled"), 1);
        t_same_int(times(text, rows[i].shown), 1);
        t_same_int(times(text, "127.255.255.252"), 1);
        if (rows[i].hidden != NULL)
            t_same_int(times(text, rows[i].hidden), 0);
    }
}

/* ---- deadlines and cancelling ---- */

static void finish_takes_what_is_there(void **state)
{
    struct dnsbl_query *query;
    const struct dnsbl_answer *answer;

    (void)state;
    fakedns_add_text(fake, "1.2.0.192.zen.test A 127.0.0.2\n1.2.0.192.two.test A 127.0.0.2");
    query = start("192.0.2.1", 0);
    t_true(fakedns_run_one(fake));
    t_true(fakedns_run_one(fake));
    answer = dnsbl_finish(&query);
    t_case("the deadline has come: two of four have answered", "");
    t_true(query == NULL);
    t_same_int(answer->score, 8);
    t_same_z(dnsbl_result_name(answer->hits[0].result), "listed");
    t_same_z(dnsbl_result_name(answer->hits[1].result), "clean");
    t_same_z(dnsbl_result_name(answer->hits[2].result), "unanswered");
    t_same_z(dnsbl_result_name(answer->hits[3].result), "unanswered");
    t_same_int(answer->hits[3].status, DNS_TIMEOUT);
    t_case("and nothing comes after it", "");
    t_same_int(fakedns_waiting(fake), 0);
    t_same_int(calls, 0);
}

static void enough_is_enough(void **state)
{
    struct dnsbl_query *query;

    (void)state;
    fakedns_add_text(fake, "1.2.0.192.zen.test A 127.0.0.2\n1.2.0.192.two.test A 127.0.0.2");
    query = start("192.0.2.1", 0);
    dnsbl_enough(query, 8);
    t_case("listed for 8, but the allow list may still take 4 of them away", "");
    t_true(fakedns_run_one(fake));
    t_same_int(calls, 0);
    t_case("it does not: what the others say changes nothing", "");
    t_true(fakedns_run_one(fake));
    t_same_int(calls, 1);
    t_same_int(got->score, 8);
    t_same_z(dnsbl_result_name(got->hits[2].result), "unanswered");
    t_same_z(dnsbl_result_name(got->hits[3].result), "unanswered");
    t_same_int(fakedns_waiting(fake), 0);
    t_case("never enough: all are waited for", "");
    query = start("192.0.2.1", 0);
    dnsbl_enough(query, 12);
    t_true(fakedns_run(fake));
    t_same_int(calls, 1);
    t_same_int(got->score, 11);
    t_same_z(dnsbl_result_name(got->hits[2].result), "clean");
}

static void cancelled_never_calls_back(void **state)
{
    struct dnsbl_query *query = start("192.0.2.1", 0);

    (void)state;
    t_true(fakedns_run_one(fake));
    dnsbl_cancel(&query);
    t_true(query == NULL);
    dnsbl_cancel(&query);
    t_same_int(fakedns_waiting(fake), 0);
    t_same_int(calls, 0);
}

static void a_name_too_long_is_no_answer(void **state)
{
    struct dnsbl_list list = {.zone = NULL, .score = 8, .codes = zen_codes, .codes_count = 1};
    struct ip client = {4, {192, 0, 2, 1}};
    char zone[DNS_NAME_MAX + 1];

    (void)state;
    memset(zone, 'z', sizeof(zone));
    zone[DNS_NAME_MAX] = '\0';
    list.zone = zone;
    calls = 0;
    dnsbl_start(mem, fakedns_dns(fake), dnsbl_health_new(mem, &list, 1), &list, 1, &client, 0, on_done,
                &calls);
    fakedns_run(fake);
    t_case("the zone leaves no room for the client", "1035 2.3.4");
    t_same_int(calls, 1);
    t_same_z(dnsbl_result_name(got->hits[0].result), "unanswered");
    t_same_int(got->hits[0].status, DNS_BADNAME);
}

/* ---- lists of domains ---- */

static const struct dnsbl_codes dbl_codes[] = {{{4, {127, 0, 1, 2}}, {4, {127, 0, 1, 99}}}};
static const struct dnsbl_codes dbl_wide[] = {{{4, {127, 0, 0, 0}}, {4, {127, 0, 1, 255}}}};
static const struct dnsbl_list mixed[] = {
    {.zone = "zen.test", .score = 8, .codes = zen_codes, .codes_count = 1},
    {.zone = "dbl.test", .score = 5, .codes = dbl_codes, .codes_count = 1, .kind = DNSBL_OF_DOMAINS},
    {.zone = "surbl.test", .score = 3, .codes = dbl_wide, .codes_count = 1, .kind = DNSBL_OF_DOMAINS},
};

static void ask_domains(const char *zone, const char *const *names, size_t count)
{
    fakedns_free(&fake);
    fake = fakedns_new();
    fakedns_add_text(fake, zone);
    health = dnsbl_health_new(mem, mixed, COUNT(mixed));
    calls = 0;
    dnsbl_domain_start(mem, fakedns_dns(fake), health, mixed, COUNT(mixed), names, count, 0, on_done, &calls);
    t_same_int(calls, 0);
    while (calls == 0 && fakedns_run(fake))
        ;
    t_same_int(calls, 1);
}

static void domains_are_judged(void **state)
{
    static const struct {
        const char *name, *zone;
        int score;
        enum dnsbl_result dbl, surbl;
        const char *listed;
    } rows[] = {
        {"nobody is listed", "x.test A 192.0.2.1", 0, DNSBL_CLEAN, DNSBL_CLEAN, NULL},
        {"the name itself", "mail.bad.test.dbl.test A 127.0.1.2", 5, DNSBL_LISTED, DNSBL_CLEAN,
         "mail.bad.test"},
        {"its parent", "bad.test.dbl.test A 127.0.1.2", 5, DNSBL_LISTED, DNSBL_CLEAN, "bad.test"},
        {"both, and it counts once", "bad.test.dbl.test A 127.0.1.2\nmail.bad.test.dbl.test A 127.0.1.4", 5,
         DNSBL_LISTED, DNSBL_CLEAN, "mail.bad.test"},
        {"two lists", "bad.test.dbl.test A 127.0.1.2\nbad.test.surbl.test A 127.0.0.8", 8, DNSBL_LISTED,
         DNSBL_LISTED, "bad.test"},
        {"an error outweighs a listing", "bad.test.dbl.test A 127.0.1.2\nmail.bad.test.dbl.test A 127.0.2.2",
         0, DNSBL_ERROR, DNSBL_CLEAN, NULL},
        {"in the other order too", "bad.test.dbl.test A 127.0.2.2\nmail.bad.test.dbl.test A 127.0.1.2", 0,
         DNSBL_ERROR, DNSBL_CLEAN, NULL},
        {"127.0.1.255 is what an address gets", "bad.test.surbl.test A 127.0.1.255", 0, DNSBL_CLEAN,
         DNSBL_ERROR, NULL},
        {"127.0.0.1 is how SURBL refuses", "bad.test.surbl.test A 127.0.0.1", 0, DNSBL_CLEAN, DNSBL_ERROR,
         NULL},
        {"one answer of two is missing", "bad.test.dbl.test RCODE servfail", 0, DNSBL_UNANSWERED, DNSBL_CLEAN,
         NULL},
        {"missing, but the other one lists it",
         "bad.test.dbl.test RCODE servfail\n"
         "mail.bad.test.dbl.test A 127.0.1.2",
         5, DNSBL_LISTED, DNSBL_CLEAN, "mail.bad.test"},
    };
    static const char *const names[] = {"Mail.Bad.test."};

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        t_case(rows[i].name, "5782 2.4");
        ask_domains(rows[i].zone, names, 1);
        t_same_int(got->score, rows[i].score);
        t_same_z(dnsbl_result_name(got->hits[0].result), "not-asked");
        t_same_z(dnsbl_result_name(got->hits[1].result), dnsbl_result_name(rows[i].dbl));
        t_same_z(dnsbl_result_name(got->hits[2].result), dnsbl_result_name(rows[i].surbl));
        t_same_z(got->hits[1].name, rows[i].listed);
    }
}

static void which_names_are_asked(void **state)
{
    static const char *const names[] = {"mx.example.test",
                                        "example.test",
                                        "EXAMPLE.test.",
                                        NULL,
                                        "a.b.other.test",
                                        "192.0.2.1",
                                        "[192.0.2.1]",
                                        "[IPv6:2001:db8::1]",
                                        "2001:db8::1",
                                        "localhost",
                                        "",
                                        "x..y",
                                        "1.2.3",
                                        "b\303\274.test",
                                        "no domain.test"};
    static const char *const want[] = {"A mx.example.test.dbl.test", "A example.test.dbl.test",
                                       "A a.b.other.test.dbl.test",  "A xn--b-eha.test.dbl.test",
                                       "A b.other.test.dbl.test",    "A other.test.dbl.test"};

    (void)state;
    ask_domains("", names, COUNT(names));
    t_case("each once, its parents last, and never an address", "5782 2.4");
    t_same_int(fakedns_asked(fake), 2 * COUNT(want));
    for (size_t i = 0; i < COUNT(want); i++)
        t_same_z(fakedns_question(fake, i), want[i]);
}

static void names_are_bounded(void **state)
{
    const char *names[40];

    (void)state;
    for (size_t i = 0; i < COUNT(names); i++)
        names[i] = str_fmt(mem, "a.b.c.d.e.f.g.n%zu.test", i);
    ask_domains("", names, COUNT(names));
    t_case("many and long names cost no more than a dozen questions a list", "");
    t_same_int(fakedns_asked(fake), 2 * DNSBL_NAMES_MAX);
    t_case("nothing to ask: an answer all the same", "");
    ask_domains("", names, 0);
    t_same_int(got->score, 0);
    t_same_z(dnsbl_result_name(got->hits[1].result), "not-asked");
}

static void lists_of_domains_are_not_asked_for_addresses(void **state)
{
    struct ip client = {4, {192, 0, 2, 1}};

    (void)state;
    health = dnsbl_health_new(mem, mixed, COUNT(mixed));
    dnsbl_health_set(health, 0, NULL);
    calls = 0;
    dnsbl_start(mem, fakedns_dns(fake), health, mixed, COUNT(mixed), &client, 0, on_done, &calls);
    fakedns_run(fake);
    t_same_int(fakedns_asked(fake), 1);
    t_same_z(dnsbl_result_name(got->hits[1].result), "not-asked");
    t_case("and none that failed its self-test", "");
    dnsbl_health_set(health, 0, "it lists everybody");
    dnsbl_start(mem, fakedns_dns(fake), health, mixed, COUNT(mixed), &client, 0, on_done, &calls);
    fakedns_run(fake);
    t_same_z(dnsbl_result_name(got->hits[0].result), "disabled");
}

static void an_expired_listing_is_none(void **state)
{
    struct dns_record record = {.ip = {4, {127, 0, 0, 2}}};
    struct dns_answer answer = {.status = DNS_OK, .count = 1, .records = &record, .stale = true};
    struct ip code;

    (void)state;
    t_same_z(dnsbl_result_name(dnsbl_judge(&lists[0], &answer, &code)), "unanswered");
    answer.stale = false;
    t_same_z(dnsbl_result_name(dnsbl_judge(&lists[0], &answer, &code)), "listed");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(answers_are_judged, set_up, tear_down),
        cmocka_unit_test_setup_teardown(scores_are_added, set_up, tear_down),
        cmocka_unit_test_setup_teardown(ipv6_is_asked_by_nibbles, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_sick_list_is_left_alone, set_up, tear_down),
        cmocka_unit_test_setup_teardown(all_lists_disabled_still_answer, set_up, tear_down),
        cmocka_unit_test_setup_teardown(no_lists_at_all, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_operator_is_told_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(finish_takes_what_is_there, set_up, tear_down),
        cmocka_unit_test_setup_teardown(enough_is_enough, set_up, tear_down),
        cmocka_unit_test_setup_teardown(cancelled_never_calls_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_name_too_long_is_no_answer, set_up, tear_down),
        cmocka_unit_test_setup_teardown(domains_are_judged, set_up, tear_down),
        cmocka_unit_test_setup_teardown(which_names_are_asked, set_up, tear_down),
        cmocka_unit_test_setup_teardown(names_are_bounded, set_up, tear_down),
        cmocka_unit_test_setup_teardown(lists_of_domains_are_not_asked_for_addresses, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_expired_listing_is_none, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
