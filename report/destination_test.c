#include "report/destination.h"

#include "base/bug.h"
#include "report/ourselves.h"
#include "report/lease.h"
#include "report/suppress.h"
#include "tests/fakedns.h"
#include "tests/store_bed.h"

#include <stdio.h>

static const char ZONE[] =
    "_dmarc.example.org TXT \"v=DMARC1; p=none\"\n"
    "_dmarc.example.net TXT \"v=DMARC1; p=none\"\n"
    "_dmarc.sub.example.org TXT \"v=DMARC1; p=none\"\n"
    "_dmarc.victim.test TXT \"v=DMARC1; p=none\"\n"
    "_dmarc.psd.test TXT \"v=DMARC1; p=none; psd=y\"\n"
    "_dmarc.a.psd.test TXT \"v=DMARC1; p=none\"\n"
    "_dmarc.b.psd.test TXT \"v=DMARC1; p=none\"\n"
    "example.org._report._dmarc.reports.test TXT \"v=DMARC1\"\n"
    "example.org._report._dmarc.other.test TXT \"v=DMARC1; rua=mailto:box@other.test\"\n"
    "example.org._report._dmarc.thief.test TXT \"v=DMARC1; rua=mailto:box@victim.test\"\n"
    "example.org._report._dmarc.spf.test TXT \"v=spf1 -all\"\n"
    "example.org._report._dmarc.slow.test RCODE timeout\n"
    "example.org._report._dmarc.ill.test RCODE servfail\n"
    "_dmarc.slow.test RCODE nxdomain\n";

/* ---- addresses ---- */

static void test_parse(void **state)
{
    static const struct {
        const char *uri, *address;
        uint64_t size;
    } rows[] = {
        {"mailto:d@example.org", "d@example.org", 0},
        {"MAILTO:D@Example.ORG", "D@example.org", 0},
        {" mailto:d@example.org!10m ", "d@example.org", 10 << 20},
        {"mailto:d@example.org!500", "d@example.org", 500},
        {"mailto:d@example.org!10g", "d@example.org", (uint64_t)10 << 30},
        {"mailto:d@example.org!99999999999999999999t", "d@example.org", 0},
        {"mailto:d@example.org!x", "d@example.org", 0},
        {"mailto:d@example.org?subject=x", "d@example.org", 0},
        {"mailto:a%2Bb@example.org", "a+b@example.org", 0},
        {"mailto:a%21b@example.org", "a!b@example.org", 0},
        {"mailto:0", NULL, 0},
        {"mailto:", NULL, 0},
        {"mailto:a@b@example.org", NULL, 0},
        {"mailto:a%0D%0AB@example.org", NULL, 0},
        {"mailto:a%00@example.org", NULL, 0},
        {"mailto:a@example.org%0D%0ARCPT", NULL, 0},
        {"mailto:a@[192.0.2.1]", NULL, 0},
        {"mailto:<a@example.org>", NULL, 0},
        {"https://example.org/", NULL, 0},
        {"d@example.org", NULL, 0},
        {"", NULL, 0},
    };
    struct arena *mem = arena_new(0);
    struct destination d;

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        t_case(rows[i].uri, "9990 3");
        t_same_int(destination_parse(mem, rows[i].uri, &d), rows[i].address != NULL);
        t_same_z(d.address, rows[i].address);
        t_same_int(d.size_max, rows[i].size);
    }
    arena_free(&mem);
}

/* ---- consent ---- */

static struct {
    struct arena *mem;
    struct fakedns *fake;
    struct destinations answer;
    int calls;
} bed;

static void on_done(const struct destinations *answer, void *arg)
{
    (void)arg;
    bed.calls++;
    bed.answer = *answer;
    loop_stop(bed_loop);
}

static int set_up(void **state)
{
    memset(&bed, 0, sizeof(bed));
    bed.mem = arena_new(0);
    bed.fake = fakedns_new();
    fakedns_add_text(bed.fake, ZONE);
    return bed_set_up(state);
}

static int tear_down(void **state)
{
    fakedns_free(&bed.fake);
    arena_free(&bed.mem);
    return bed_tear_down(state);
}

static struct destination_query *start(const char *domain, const char *const *uris, size_t count)
{
    return destination_start(bed.mem, bed_loop, fakedns_dns(bed.fake), domain, uris, count, on_done, NULL);
}

static void ask(const char *domain, const char *const *uris, size_t count)
{
    bed.calls = 0;
    start(domain, uris, count);
    fakedns_run(bed.fake);
    t_same_int(bed.calls, 0);
    loop_run(bed_loop);
    t_same_int(bed.calls, 1);
}

static void test_consent(void **state)
{
    static const struct {
        const char *name, *domain, *uri;
        enum destination_verdict verdict;
        const char *address;
    } rows[] = {
        {"the domain itself needs no consent", "example.org", "mailto:d@example.org", DESTINATION_GOOD,
         "d@example.org"},
        {"the same organisation needs none", "example.org", "mailto:d@sub.example.org", DESTINATION_GOOD,
         "d@sub.example.org"},
        {"nor from below to above", "sub.example.org", "mailto:d@example.org", DESTINATION_GOOD,
         "d@example.org"},
        {"another organisation that consents", "example.org", "mailto:d@reports.test", DESTINATION_GOOD,
         "d@reports.test"},
        {"it may name another box of its own", "example.org", "mailto:d@other.test", DESTINATION_GOOD,
         "box@other.test"},
        {"but not one elsewhere", "example.org", "mailto:d@thief.test", DESTINATION_GOOD, "d@thief.test"},
        {"a victim that was not asked", "example.org", "mailto:d@victim.test", DESTINATION_REFUSED,
         "d@victim.test"},
        {"consent is for one domain", "example.net", "mailto:d@reports.test", DESTINATION_REFUSED,
         "d@reports.test"},
        {"two registrants below a public suffix are two organisations", "a.psd.test", "mailto:d@b.psd.test",
         DESTINATION_REFUSED, "d@b.psd.test"},
        {"another kind of TXT is no consent", "example.org", "mailto:d@spf.test", DESTINATION_REFUSED,
         "d@spf.test"},
        {"a time-out is no consent for now", "example.org", "mailto:d@slow.test", DESTINATION_TEMPERROR,
         "d@slow.test"},
        {"nor is SERVFAIL", "example.org", "mailto:d@ill.test", DESTINATION_TEMPERROR, "d@ill.test"},
        {"not mailto", "example.org", "https://example.org/r", DESTINATION_INVALID, NULL},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        t_case(rows[i].name, "9990 4");
        ask(rows[i].domain, &rows[i].uri, 1);
        t_same_int(bed.answer.count, 1);
        t_same_z(destination_verdict_name(bed.answer.list[0].verdict),
                 destination_verdict_name(rows[i].verdict));
        t_same_z(bed.answer.list[0].address, rows[i].address);
    }
}

static void test_bounds(void **state)
{
    static const char *const good[] = {"mailto:a@example.org", "mailto:A@example.org", "mailto:b@example.org",
                                       "mailto:c@example.org"};
    const char *thousand[1000];

    (void)state;
    ask("example.org", good, COUNT(good));
    t_case("the same address once, and two at the most", "9990 3");
    t_same_int(bed.answer.count, 4);
    t_same_int(bed.answer.list[0].verdict, DESTINATION_GOOD);
    t_same_int(bed.answer.list[1].verdict, DESTINATION_REPEATED);
    t_same_int(bed.answer.list[2].verdict, DESTINATION_GOOD);
    t_same_int(bed.answer.list[3].verdict, DESTINATION_SURPLUS);
    t_same_int(fakedns_asked(bed.fake), 0);
    for (size_t i = 0; i < COUNT(thousand); i++)
        thousand[i] = str_fmt(bed.mem, "mailto:a@v%zu.victim.test", i);
    ask("example.org", thousand, COUNT(thousand));
    t_case("a thousand addresses are bounded work", NULL);
    t_same_int(bed.answer.count, DESTINATIONS_LOOKED_AT);
    t_true(fakedns_asked(bed.fake) <= 5 * 9);
    ask("example.org", NULL, 0);
    t_case("no address is an answer, too", NULL);
    t_same_int(bed.answer.count, 0);
}

static void test_cancel(void **state)
{
    const char *uri = "mailto:d@reports.test", *own = "mailto:d@example.org";
    struct destination_query *query;

    (void)state;
    t_case("cancelled, it never calls back", NULL);
    for (int steps = 0; steps < 6; steps++) {
        query = start("example.org", &uri, 1);
        for (int i = 0; i < steps; i++)
            fakedns_run_one(bed.fake);
        destination_cancel(&query);
        t_true(query == NULL);
        t_same_int(fakedns_waiting(bed.fake), 0);
    }
    query = start("example.org", &own, 1);
    destination_cancel(&query);
    destination_cancel(&query);
    t_same_int(bed.calls, 0);
}

/* ---- suppression ---- */

static int waiting;

static void on_changed(enum store_status status, const void *result, void *arg)
{
    (void)result, (void)arg;
    t_same_int(status, STORE_DONE);
    waiting--;
    loop_stop(bed_loop);
}

static void wait_for_change(void)
{
    for (waiting = 1; waiting > 0;)
        loop_run(bed_loop);
}

static void learn(bool refused)
{
    suppress_learn(bed_store, bed_loop, "Dead@example.org", refused, bed_wall_s, "550 no\r\nsuch user",
                   on_changed, NULL);
    wait_for_change();
}

static int is_suppressed(const char *domain, const char *address)
{
    const char *why;
    struct fail fail;

    return suppress_find(bed_store, bed.mem, domain, address, &why, &fail);
}

static void test_suppress(void **state)
{
    (void)state;
    bed_open_store();
    t_same_int(is_suppressed("example.org", "dead@example.org"), 0);
    learn(true);
    learn(true);
    bed_advance_s(86400);
    learn(true);
    t_case("two days of refusals, and one of them twice, is not enough", NULL);
    t_same_int(is_suppressed("example.org", "dead@example.org"), 0);
    bed_advance_s(86400);
    learn(true);
    t_case("three are", NULL);
    t_same_int(is_suppressed("example.org", "dead@example.org"), 1);
    t_same_int(is_suppressed("example.org", "dead@example.or"), 0);
    t_same_int(is_suppressed("example.org", "alive@example.org"), 0);
    t_case("it is tried again after three months", NULL);
    bed_advance_s((int64_t)(SUPPRESS_DAYS + 1) * 86400);
    t_same_int(is_suppressed("example.org", "dead@example.org"), 0);
    t_case("a delivery clears what has gathered", NULL);
    learn(true);
    bed_advance_s(86400);
    learn(true);
    learn(false);
    bed_advance_s(86400);
    learn(true);
    t_same_int(is_suppressed("example.org", "dead@example.org"), 0);
    t_case("by hand: a domain, its addresses, and for ever", NULL);
    suppress_by_hand(bed_store, bed_loop, "Example.org", "asked us not to", on_changed, NULL);
    wait_for_change();
    bed_advance_s((int64_t)1000 * 86400);
    t_same_int(is_suppressed("example.org", NULL), 1);
    t_same_int(is_suppressed("example.net", "x@example.org"), 1);
    t_same_int(is_suppressed("example.net", "x@example.net"), 0);
    suppress_remove(bed_store, bed_loop, "example.org", on_changed, NULL);
    wait_for_change();
    t_same_int(is_suppressed("example.org", NULL), 0);
}

/* ---- what comes back ---- */

static struct bounce_key store_key; /* as whoever sends gets it */
static bool learnt;

static void on_claimed(enum store_status status, const void *result, void *arg)
{
    store_key = ((const struct lease_answer *)result)->bounces;
    on_changed(status, result, arg);
}

static void claim_lease(const char *domain)
{
    struct lease lease = {bed_store, bed_loop, 1, 20000, domain, bed_wall_s};

    lease_claim(&lease, 10, "mx", on_claimed, NULL);
    wait_for_change();
}

static void on_bounced(bool ours, void *arg)
{
    learnt = ours;
    on_changed(STORE_DONE, NULL, arg);
}

static bool bounce(const char *address, const char *token)
{
    suppress_learn_bounce(bed_store, bed_loop, address, token, bed_wall_s, on_bounced, NULL);
    wait_for_change();
    return learnt;
}

static void test_bounces(void **state)
{
    static const struct bounce_key guessed = {{1, 2}};
    static const char address[] = "dead@example.org";
    struct bounce_key before;
    const char *token;

    (void)state;
    bed_open_store();
    t_case("as long as nothing was sent, nothing comes back", NULL);
    t_true(!bounce(address, bounce_token(bed.mem, &guessed, address)));
    claim_lease("one.test");
    before = store_key;
    claim_lease("two.test");
    t_case("one key for all that is sent", NULL);
    t_true(memcmp(&before, &store_key, sizeof(before)) == 0);
    token = bounce_token(bed.mem, &store_key, address);
    for (int day = 0; day < 5; day++, bed_advance_s(86400)) {
        t_case("forged ones teach nothing", NULL);
        t_true(!bounce(address, bounce_token(bed.mem, &guessed, address)));
        t_true(!bounce(address, bounce_token(bed.mem, &store_key, "other@example.org")));
        t_same_int(is_suppressed("example.org", address), 0);
    }
    t_case("two days of them are not enough, whatever the backend takes in between", NULL);
    t_true(bounce("Dead@Example.ORG", token));
    learn(false);
    bed_advance_s(86400);
    t_true(bounce(address, token));
    t_true(bounce(address, token));
    t_same_int(is_suppressed("example.org", address), 0);
    t_case("three are", NULL);
    bed_advance_s(86400);
    learn(false);
    t_true(bounce(address, token));
    t_same_int(is_suppressed("example.org", address), 1);
    bed_advance_s((int64_t)(SUPPRESS_DAYS + 1) * 86400);
    t_same_int(is_suppressed("example.org", address), 0);
    t_case("those that come now and then are forgotten", NULL);
    for (int i = 0; i < 5; i++, bed_advance_s((int64_t)(SUPPRESS_BOUNCE_DAYS + 1) * 86400))
        t_true(bounce(address, token));
    t_same_int(is_suppressed("example.org", address), 0);
}

/* ---- ourselves ---- */

static void test_ourselves(void **state)
{
    static const struct report_identity us = {"Us", "dmarc@r.example.net", "r.example.net", "mx", {{0}}};
    static const struct {
        const char *name, *header, *from, *recipient;
        bool want;
    } rows[] = {
        {"an ordinary mail", "Subject: Hello\r\n", "a.test", "user@example.net", false},
        {"a report that comes", "Subject: Report\r\n Domain: x Submitter: y\r\n", "a.test",
         "user@example.net", true},
        {"Google's way", "Subject: Report domain: x\r\n", "google.com", "user@example.net", true},
        {"a bounce or a failure report", "Content-Type: Multipart/Report; report-type=x\r\n", "a.test",
         "user@example.net", true},
        {"mail to the address of our reports", "Subject: Re\r\n", "a.test", "DMARC@R.example.net", true},
        {"and to its VERP form", "Subject: Re\r\n", "a.test", "dmarc+0123@r.example.net", true},
        {"mail from ourselves", "Subject: x\r\n", "r.example.net", "user@example.net", true},
    };
    struct header header;

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        t_case(rows[i].name, NULL);
        header_parse(bed.mem, str_of(rows[i].header), 10, &header);
        t_same_int(ourselves_is_report_mail(bed.mem, &header, rows[i].from, str_of(rows[i].recipient), &us),
                   rows[i].want);
    }
}

#define ROW(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse), ROW(test_consent), ROW(test_bounds),    ROW(test_cancel),
        ROW(test_suppress),           ROW(test_bounces), ROW(test_ourselves),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
