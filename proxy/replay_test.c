/*
 * proxy/replay_test.c - decisions on record, made again: each row is a record, settings other than the defaults, and the
 * answers that come out
 */
#include "proxy/replay.h"
#include "tests/t.h"

#include <ctype.h>
#include <stdio.h>

#define LISTED(score)                                                                                        \
    "\"dnsbl\":{\"score\":" score ",\"lists\":[{\"zone\":\"bl.test\",\"result\":\"listed\",\"score\":" score \
    "}]}"
#define CLIENT_AS(form)                                                                                      \
    "\"client\":{\"ip\":\"192.0.2.7\",\"rdns\":\"verified\",\"host\":\"h.test\",\"helo\":\"h.test\",\"helo_" \
    "form\":\"" form "\""
#define CLIENT              CLIENT_AS("name")
#define ENVELOPE            "\"from\":\"a@s.test\",\"sender_domain\":\"s.test\",\"sender\":\"exists\""
#define SPF(result)         "\"spf\":{\"result\":\"" result "\",\"domain\":\"s.test\",\"scope\":\"mfrom\"}"
#define TO(more)            "\"recipients\":[{\"to\":\"b@example.net\",\"ours\":true," more "}]"
#define TAKEN               "\"verdict\":{\"action\":\"accept\",\"reply\":250}"
#define SAID(action, check) "\"verdict\":{\"action\":\"" action "\",\"reply\":550,\"check\":\"" check "\"}"
#define RCPT(more, spf, verdict)                                                                             \
    "{\"time\":1,\"at\":\"rcpt\"," CLIENT more "}," ENVELOPE "," SPF(spf) "," TO(verdict) "}"
#define DMARC(policy)                                                                                        \
    "\"from_domain\":\"o.test\",\"dkim\":{\"signatures\":[]},\"dmarc\":{\"result\":\"fail\",\"policy\":"     \
    "\"" policy "\",\"found\":\"found\",\"record_domain\":\"o.test\",\"published\":\"" policy "\"}"
#define MESSAGE(more, facts, verdict)                                                                        \
    "{\"time\":1,\"at\":\"message\"," CLIENT "}," ENVELOPE                                                   \
    "," SPF("pass") "," TO(TAKEN) ",\"message\":{" facts "}" more "," verdict "}"

static const struct {
    const char *name, *record, *settings, *want;
} rows[] = {
    {"nothing changes", RCPT("", "pass", TAKEN), "", "rcpt accept -> accept"},
    {"SPF is to refuse", RCPT("", "fail", TAKEN), "spf.on_fail=reject greylist.mode=off",
     "rcpt accept -> reject spf"},
    {"SPF is not to refuse any more", RCPT("", "fail", SAID("reject", "spf")), "greylist.mode=off",
     "rcpt reject spf -> accept"},
    {"SPF would, and only observes", RCPT("", "fail", TAKEN),
     "spf.on_fail=reject spf.mode=observe greylist.mode=off", "rcpt accept -> accept observed spf"},
    {"SPF is off", RCPT("", "fail", SAID("reject", "spf")),
     "spf.on_fail=reject spf.mode=off greylist.mode=off", "rcpt reject spf -> accept"},
    {"SPF was off", "{\"time\":1,\"at\":\"rcpt\"," CLIENT "}," ENVELOPE "," TO(TAKEN) "}", "",
     "rcpt accept -> accept; gaps spf"},
    {"what the backend refused is still the backend's", RCPT("", "pass", SAID("reject", "backend")), "",
     "rcpt accept -> accept"},
    {"a suspicious client would be asked about", RCPT("", "softfail", TAKEN), "",
     "rcpt accept -> accept; gaps greylist"},
    {"it was, and has to wait",
     RCPT("", "softfail", "\"grey\":{\"result\":\"new\",\"wait\":240}," SAID("greylist", "greylist")), "",
     "rcpt greylist greylist -> greylist greylist"},
    {"it has not, for SPF is no sign any more",
     RCPT("", "pass", "\"grey\":{\"result\":\"new\",\"wait\":240}," SAID("greylist", "greylist")), "",
     "rcpt greylist greylist -> accept"},
    {"it has not, for it is allowed now",
     RCPT("", "softfail", "\"grey\":{\"result\":\"new\",\"wait\":240}," SAID("greylist", "greylist")),
     "greylist.allow=192.0.2.0/24", "rcpt greylist greylist -> accept"},
    {"a client that is trusted now", RCPT("", "fail", SAID("reject", "spf")),
     "spf.on_fail=reject networks=192.0.2.0/24", "rcpt reject spf -> accept"},
    {"a client whom the proxy in front does not know",
     RCPT(",\"unknown\":true", "fail", SAID("reject", "spf")),
     "spf.on_fail=reject networks=192.0.2.0/24 greylist.mode=off", "rcpt reject spf -> reject spf"},
    {"a client that is not trusted any more", RCPT(",\"trusted\":true", "pass", TAKEN), "",
     "rcpt accept -> accept; gaps client"},
    {"a domain that is not ours any more", RCPT("", "pass", TAKEN), "domains.relay=example.org",
     "rcpt accept -> reject relay"},
    {"an address that was hidden is ours as it was",
     "{\"time\":1,\"at\":\"rcpt\"," CLIENT "}," ENVELOPE
     "," SPF("pass") ",\"recipients\":[{\"to\":\"*@example.net\",\"ours\":true," TAKEN "}]}",
     "domains.relay=example.org", "rcpt accept -> accept"},
    {"a resolver that was sick", RCPT("", "fail", "\"dns_sick\":true," TAKEN),
     "spf.on_fail=reject greylist.mode=off", "rcpt accept -> accept observed spf"},
    {"a list that counts more now",
     "{\"time\":1,\"at\":\"rcpt\"," CLIENT "}," LISTED("4") "," ENVELOPE "," SPF("pass") "," TO(TAKEN) "}",
     "dnsbl.lists.0.zone=bl.test dnsbl.lists.0.score=8 dnsbl.lists.0.codes=127.0.0.2",
     "rcpt accept -> reject dnsbl"},
    {"a list that is not there any more",
     "{\"time\":1,\"at\":\"rcpt\"," CLIENT
     "}," LISTED("8") "," ENVELOPE "," SPF("pass") "," TO(SAID("reject", "dnsbl")) "}",
     "", "rcpt reject dnsbl -> accept"},
    {"a list that is new", RCPT("", "pass", TAKEN),
     "dnsbl.lists.0.zone=bl.test dnsbl.lists.0.score=8 dnsbl.lists.0.codes=127.0.0.2",
     "rcpt accept -> accept; gaps dnsbl"},
    {"postmaster of a domain that is ours now is refused by no list",
     "{\"time\":1,\"at\":\"rcpt\"," CLIENT "}," LISTED("8") "," ENVELOPE "," SPF(
         "pass") ",\"recipients\":[{\"to\":\"Postmaster@example.org\"," SAID("reject", "relay") "}]}",
     "domains.relay=example.org dnsbl.lists.0.zone=bl.test dnsbl.lists.0.score=8 "
     "dnsbl.lists.0.codes=127.0.0.2",
     "rcpt reject relay -> accept"},
    {"postmaster does not wait",
     "{\"time\":1,\"at\":\"rcpt\"," CLIENT "}," ENVELOPE
     "," SPF("softfail") ",\"recipients\":[{\"to\":\"postmaster@example.net\",\"ours\":true,\"postmaster\":"
                         "true," TAKEN "}]}",
     "", "rcpt accept -> accept"},
    {"a name in From that is listed counts for the message, not for who was asked before",
     MESSAGE("",
             "\"domains\":{\"score\":8,\"lists\":[{\"zone\":\"names.test\",\"result\":"
             "\"listed\",\"score\":8,\"name\":\"o.test\"}]}," DMARC("none"),
             SAID("reject", "dnsbl")),
     "dnsbl.lists.0.zone=names.test dnsbl.lists.0.score=8 dnsbl.lists.0.codes=127.0.0.2 "
     "dnsbl.lists.0.kind=domains",
     "rcpt accept -> accept, message reject dnsbl -> reject dnsbl; gaps dnsbl"},
    {"DMARC is to refuse", MESSAGE("", DMARC("reject"), TAKEN), "dmarc.reject=always",
     "rcpt accept -> accept, message accept -> reject dmarc"},
    {"DMARC is only to mark",
     MESSAGE(",\"disposition\":\"reject\"", DMARC("reject"), SAID("reject", "dmarc")), "dmarc.reject=never",
     "rcpt accept -> accept, message reject dmarc -> accept marked"},
    {"a mark is a mark", MESSAGE(",\"disposition\":\"quarantine\"", DMARC("quarantine"), TAKEN), "",
     "rcpt accept -> accept, message accept marked -> accept marked"},
    {"DMARC is off", MESSAGE(",\"disposition\":\"quarantine\"", DMARC("quarantine"), TAKEN), "dmarc.mode=off",
     "rcpt accept -> accept, message accept marked -> accept"},
    {"a message whose recipient is refused now never comes", MESSAGE("", DMARC("reject"), TAKEN),
     "domains.relay=example.org", "rcpt accept -> reject relay"},
    {"a message with too many hops", MESSAGE("", DMARC("none") ",\"received\":40", TAKEN),
     "limits.received=30", "rcpt accept -> accept, message accept -> reject loop"},
    {"an early talker",
     "{\"time\":1,\"at\":\"connect\",\"client\":{\"ip\":\"192.0.2.7\",\"early_talker\":true}," SAID(
         "drop", "early-talker") "}",
     "screen.early_talker=observe", "connect drop early-talker -> accept observed early-talker"},
    {"a HELO",
     "{\"time\":1,\"at\":\"helo\",\"client\":{\"ip\":\"192.0.2.7\",\"helo_form\":\"bare-address\"}," SAID(
         "reject", "helo") "}",
     "screen.helo=off", "helo reject helo -> accept"},
    {"a HELO that was let through",
     "{\"time\":1,\"at\":\"rcpt\"," CLIENT_AS("ours") "}," ENVELOPE "," SPF("pass") "," TO(TAKEN) "}", "",
     "helo accept -> reject helo"},
    {"the limits are not decided again",
     "{\"time\":1,\"at\":\"limits\",\"client\":{\"ip\":\"192.0.2.7\"}," SAID("drop", "rate") "}", "", ""},
};

static struct arena *memory;

/* As from the environment. */
static const struct config *settings_of(const char *words)
{
    struct str rest = str_of(str_fmt(memory, "domains.relay=example.net %s", words)), word, key, value;
    const char *names[8];
    const struct config *config;
    struct buf faults;
    size_t count = 0;

    while (rest.n > 0) {
        char name[100];
        size_t n = (size_t)snprintf(name, sizeof(name), "SMTPGUARD_");

        str_cut(rest, ' ', &word, &rest);
        if (word.n == 0)
            continue;
        str_cut(word, '=', &key, &value);
        for (size_t i = 0; i < key.n; i++)
            n += (size_t)snprintf(name + n, sizeof(name) - n, key.p[i] == '.' ? "__" : "%c",
                                  toupper((unsigned char)key.p[i]));
        t_true(count < 8);
        names[count] = str_dup(memory, str_of(name));
        setenv(names[count++], str_dup(memory, value), 1);
    }
    buf_init(&faults, 10000);
    config = config_load(NULL, &faults);
    t_same_z(buf_z(&faults), "");
    buf_fini(&faults);
    while (count > 0)
        unsetenv(names[--count]);
    return config;
}

static void put_side(struct buf *out, enum action action, const char *check, enum dmarc_policy disposition)
{
    buf_fmt(out, "%s%s%s%s", action_name(action), check != NULL ? " " : "", check != NULL ? check : "",
            action == ACTION_ACCEPT && disposition == DMARC_POLICY_QUARANTINE ? " marked" : "");
}

static void check_same(const struct replay_answer *a)
{
    struct buf was, would;

    buf_init(&was, 100);
    buf_init(&would, 100);
    put_side(&was, a->was, a->was_check, a->was_disposition);
    put_side(&would, a->would.action, a->would.check, a->would_disposition);
    t_same_int(replay_is_same(a), str_eq(buf_str(&was), buf_str(&would)));
    buf_fini(&was);
    buf_fini(&would);
}

static const char *text_of(const struct replay *replay)
{
    struct buf out;
    const char *text;

    buf_init(&out, 10000);
    for (size_t i = 0; i < replay->count; i++) {
        const struct replay_answer *a = &replay->answers[i];

        check_same(a);
        buf_fmt(&out, "%s%s ", i > 0 ? ", " : "", a->moment);
        put_side(&out, a->was, a->was_check, a->was_disposition);
        buf_add_z(&out, " -> ");
        put_side(&out, a->would.action, a->would.check, a->would_disposition);
        for (size_t k = 0; k < a->would.observed_count; k++)
            buf_fmt(&out, "%s%s", k == 0 ? " observed " : ",", a->would.observed[k]);
    }
    for (int i = 0; i < REPLAY_GAPS; i++)
        if (replay->gaps >> i & 1)
            buf_fmt(&out, "; gaps %s", replay_gap_name((enum replay_gap)(1 << i)));
    text = str_dup(memory, buf_str(&out));
    buf_fini(&out);
    return text;
}

static void test_rows(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        const struct config *config;
        struct decision decision;
        struct replay replay;

        memory = arena_new(0);
        t_case(rows[i].name, NULL);
        config = settings_of(rows[i].settings);
        t_true(decision_read(memory, str_of(rows[i].record), &decision));
        replay = replay_decision(memory, config, &decision);
        t_same_z(text_of(&replay), rows[i].want);
        config_unref(&config);
        arena_free(&memory);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_rows)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
