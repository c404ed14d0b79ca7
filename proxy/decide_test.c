#include "proxy/decide.h"

#include "base/bug.h"
#include "tests/t.h"

/* Settings and facts in which nothing is wrong: each row changes what it is about. */

static struct config all_enforced(void)
{
    return (struct config){
        .mode = MODE_ENFORCE,
        .dnsbl = {.mode = MODE_ENFORCE, .reject_score = 8, .greylist_score = 2},
        .greylist = {.mode = MODE_ENFORCE},
        .spf = {.mode = MODE_ENFORCE},
        .dkim = {.mode = MODE_ENFORCE},
        .dmarc = {.mode = MODE_ENFORCE, .from_invalid = ON_REJECT},
        .limits = {.received = 50},
    };
}

static struct facts honest(void)
{
    return (struct facts){
        .session = {.rdns = RDNS_VERIFIED, .helo_form = HELO_NAME},
        .recipient = {.ours = true},
        .message = {.from_domain = "bank.test"},
    };
}

/* ---- greylisting ---- */

static void test_greylisting(void **state)
{
    static const struct {
        const char *name;
        enum mode mode;
        enum grey_verdict grey;
        bool gateway, dns_sick;
        enum action want;
        size_t observed;
    } rows[] = {
        {"a stranger waits", MODE_ENFORCE, GREY_NEW, false, false, ACTION_GREYLIST, 0},
        {"who comes too early waits on", MODE_ENFORCE, GREY_EARLY, false, false, ACTION_GREYLIST, 0},
        {"who came again passes", MODE_ENFORCE, GREY_PASSED, false, false, ACTION_ACCEPT, 0},
        {"a store that is away lets pass", MODE_ENFORCE, GREY_UNANSWERED, false, false, ACTION_ACCEPT, 0},
        {"observe notes and lets pass", MODE_OBSERVE, GREY_NEW, false, false, ACTION_ACCEPT, 1},
        {"a gateway's address is nobody's", MODE_ENFORCE, GREY_NEW, true, false, ACTION_ACCEPT, 1},
        {"with a sick resolver strangers wait: that is nothing for good", MODE_ENFORCE, GREY_NEW, false, true,
         ACTION_GREYLIST, 0},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct config config = all_enforced();
        struct grey_answer grey = {.verdict = rows[i].grey, .wait_s = 240};
        struct facts facts = honest();
        struct verdict v;

        t_case(rows[i].name, "");
        config.greylist.mode = rows[i].mode;
        facts.recipient.grey = &grey;
        facts.session.gateway = rows[i].gateway;
        facts.session.dns_sick = rows[i].dns_sick;
        v = decide_greylist(&config, &facts);
        t_same_int(v.action, rows[i].want);
        t_same_int(v.observed_count, rows[i].observed);
    }
}

/* ---- SPF ---- */

static struct verdict decide_spf_fail(const char *explanation)
{
    struct spf_answer spf = {.result = SPF_FAIL, .domain = "bank.test", .explanation = explanation};
    struct config config = all_enforced();
    struct facts facts = honest();

    config.spf.on_fail = ON_REJECT;
    facts.transaction.spf = &spf;
    return decide_rcpt(&config, &facts);
}

static void test_spf_reply(void **state)
{
    struct verdict v = decide_spf_fail("");

    (void)state;
    t_case("without an explanation the sentence ends cleanly", "7208 8.4");
    t_same_z(v.text, "SPF fail: bank.test does not let this host send its mail.");
    t_case("the domain's own explanation follows", "7208 6.2");
    v = decide_spf_fail("See http://bank.test/spf");
    t_same_z(v.text, "SPF fail: bank.test does not let this host send its mail. See http://bank.test/spf");
    t_same_int(v.code, 550);
    t_same_z(v.enhanced, "5.7.23");
}

/* ---- DMARC: the tables of docs/dmarc.md ---- */

enum voucher { NOBODY, AN_SPF, A_SIGNATURE, A_PARTIAL_SIGNATURE };

struct dmarc_row {
    const char *name;
    enum dmarc_result result;
    enum dmarc_policy policy;
    enum dmarc_reject setting;
    enum voucher voucher;
    enum rdns_state rdns;
    int list_score;
    bool gateway, dns_sick;
    enum dmarc_policy want;
};

static void try_dmarc(const struct dmarc_row *row)
{
    struct config config = all_enforced();
    struct facts facts = honest();
    struct dmarc_evaluation dmarc = {.result = row->result, .policy = row->policy};
    struct spf_answer spf = {.result = row->voucher == AN_SPF ? SPF_PASS : SPF_FAIL, .domain = "list.test"};
    struct dkim_signature signature = {.result = DKIM_PASS, .partial = row->voucher == A_PARTIAL_SIGNATURE};
    struct dkim_answer dkim = {row->voucher >= A_SIGNATURE ? 1 : 0, &signature};
    struct dnsbl_answer lists = {.score = row->list_score};
    struct verdict v;

    t_case(row->name, "9989 7.4");
    config.dmarc.reject = row->setting;
    facts.message.dmarc = &dmarc;
    facts.message.dkim = &dkim;
    facts.transaction.spf = &spf;
    facts.session.dnsbl = &lists;
    facts.session.rdns = row->rdns;
    facts.session.gateway = row->gateway;
    facts.session.dns_sick = row->dns_sick;
    t_same_int(decide_dmarc_disposition(&config, &facts), row->want);
    v = decide_message(&config, &facts);
    t_same_int(v.action, row->want == DMARC_POLICY_REJECT ? ACTION_REJECT : ACTION_ACCEPT);
}

#define REJECT     .result = DMARC_FAIL, .policy = DMARC_POLICY_REJECT
#define QUARANTINE .result = DMARC_FAIL, .policy = DMARC_POLICY_QUARANTINE
#define REJECTED   .want = DMARC_POLICY_REJECT
#define MARKED     .want = DMARC_POLICY_QUARANTINE

static void test_dmarc_disposition(void **state)
{
    static const struct dmarc_row rows[] = {
        {"p=reject and nobody vouches", REJECT, REJECTED},
        {"a mailing list's SPF vouches", REJECT, .voucher = AN_SPF, MARKED},
        {"a forwarder's signature vouches", REJECT, .voucher = A_SIGNATURE, MARKED},
        {"a signature over a part of the body does not", REJECT, .voucher = A_PARTIAL_SIGNATURE, REJECTED},
        {"a list's SPF, but no host name", REJECT, .voucher = AN_SPF, .rdns = RDNS_NONE, REJECTED},
        {"a list's SPF, but a false host name", REJECT, .voucher = AN_SPF, .rdns = RDNS_MISMATCH, REJECTED},
        {"a temperror of the DNS is no sign", REJECT, .voucher = AN_SPF, .rdns = RDNS_TEMPERROR, MARKED},
        {"a list's SPF, but DNS lists say so", REJECT, .voucher = AN_SPF, .list_score = 2, REJECTED},
        {"DNS lists below the mark", REJECT, .voucher = AN_SPF, .list_score = 1, MARKED},
        {"always wants no evidence", REJECT, .setting = DMARC_REJECT_ALWAYS, .voucher = AN_SPF, REJECTED},
        {"never takes none", REJECT, .setting = DMARC_REJECT_NEVER, .rdns = RDNS_NONE, MARKED},
        {"a gateway's address is nobody's", REJECT, .rdns = RDNS_NONE, .gateway = true},
        {"a sick resolver refuses nobody", REJECT, .setting = DMARC_REJECT_ALWAYS, .dns_sick = true},
        {"quarantine is a mark", QUARANTINE, .rdns = RDNS_NONE, MARKED},
        {"p=none asks for nothing", .result = DMARC_FAIL, .setting = DMARC_REJECT_ALWAYS, .rdns = RDNS_NONE},
        {"pass is pass", .result = DMARC_PASS, .policy = DMARC_POLICY_REJECT, .setting = DMARC_REJECT_ALWAYS},
        {"doubt is not guilt", .result = DMARC_TEMPERROR, .policy = DMARC_POLICY_REJECT},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++)
        try_dmarc(&rows[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_greylisting),
        cmocka_unit_test(test_spf_reply),
        cmocka_unit_test(test_dmarc_disposition),
    };

    return cmocka_run_group_tests_name("decide", tests, NULL, NULL);
}
