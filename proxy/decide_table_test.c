/*
 * proxy/decide_table_test.c - plays tests/decisions.txt, the table of what is decided from which facts under
 * which settings, and what must follow from each row of it. Each is decided again from what a record keeps of the facts
 */
#include "proxy/decision.h"

#include "base/bug.h"
#include "tests/t.h"

#include <ctype.h>
#include <stdio.h>

enum { ROWS_MAX = 300, SETTINGS_MAX = 8 };

struct row {
    int line;
    struct str moment, facts, settings, want;
};

static struct arena *memory;
static struct row rows[ROWS_MAX];
static size_t rows_count;

/* Facts, and what they point to. */
struct world {
    struct facts facts;
    struct dnsbl_list list;
    struct dnsbl_hit hit;
    struct dnsbl_answer lists, names, from_lists;
    struct spf_answer spf, spf_helo;
    struct grey_answer grey;
    struct dkim_signature signature;
    struct dkim_answer dkim;
    struct dmarc_evaluation dmarc;
    struct dmarc_record record;
    struct dmarc_discovery discovery;
    struct arc_set set;
    struct arc_answer arc;
};

/* ---- settings: as from the environment ---- */

static const char *variable_of(struct str key)
{
    char *name = str_fmt(memory, "SMTPGUARD_%.*s", STR_ARG(key)), *out;
    size_t n = 0;

    out = arena_alloc(memory, 2 * strlen(name) + 1);
    for (const char *c = name; *c != '\0'; c++) {
        if (*c == '.')
            out[n++] = '_';
        out[n++] = (char)(*c == '.' ? '_' : toupper((unsigned char)*c));
    }
    return out;
}

/* With `extra` ones behind those of the row: they hold. */
static const struct config *settings_of(const struct row *row, const char *extra)
{
    struct str rest = str_of(str_fmt(memory, "%.*s %s", STR_ARG(row->settings), extra)), word, key, value;
    const char *variables[SETTINGS_MAX];
    const struct config *config;
    struct buf faults;
    size_t count = 0;

    while (rest.n > 0) {
        str_cut(rest, ' ', &word, &rest);
        if (word.n == 0)
            continue;
        str_cut(word, '=', &key, &value);
        t_true(count < SETTINGS_MAX);
        variables[count] = variable_of(key);
        setenv(variables[count++], str_dup(memory, value), 1);
    }
    buf_init(&faults, 10000);
    config = config_load(NULL, &faults);
    t_same_z(buf_z(&faults), "");
    buf_fini(&faults);
    while (count > 0)
        unsetenv(variables[--count]);
    return config;
}

/* ---- facts ---- */

static int index_of(struct str word, const char *const *words)
{
    for (int i = 0; words[i] != NULL; i++)
        if (str_eq_z(word, words[i]))
            return i;
    t_fail("what is \"%.*s\"?", STR_ARG(word));
}

static int number_of(struct str word)
{
    return atoi(str_dup(memory, word));
}

static void make_honest(struct world *w)
{
    *w = (struct world){
        .facts = {.session = {.client = {.family = 4, .b = {192, 0, 2, 1}},
                              .rdns = RDNS_VERIFIED,
                              .rdns_name = "host.client.test",
                              .helo_form = HELO_NAME,
                              .helo = "host.client.test"},
                  .transaction = {.sender = {.text = STR("a@sender.test"), .domain = STR("sender.test")},
                                  .sender_domain = SENDER_EXISTS},
                  .recipient = {.ours = true},
                  .message = {.from_domain = "author.test", .from_why = ""}},
        .list = {.zone = "list.test", .score = 1},
        .spf = {.result = SPF_PASS, .domain = "sender.test", .explanation = "", .reason = "because"},
        .spf_helo = {.result = SPF_NONE,
                     .domain = "host.client.test",
                     .explanation = "",
                     .reason = "because"},
    };
    w->hit = (struct dnsbl_hit){
        .list = &w->list, .result = DNSBL_LISTED, .code = {.family = 4, .b = {127, 0, 0, 2}}};
    w->record = (struct dmarc_record){.policy = DMARC_POLICY_REJECT};
    w->discovery = (struct dmarc_discovery){.record = &w->record, .record_domain = "author.test"};
    w->facts.message.discovery = &w->discovery;
    w->set = (struct arc_set){.seal_domain = "hop.test", .dmarc = "pass", .dmarc_from = "author.test"};
    w->arc = (struct arc_answer){.result = ARC_PASS, .instances = 1, .sets = &w->set, .sealer = "hop.test"};
    w->facts.transaction.spf = &w->spf;
    w->facts.session.spf_helo = &w->spf_helo;
}

static const struct dnsbl_answer *listed(struct world *w, struct dnsbl_answer *answer, struct str score)
{
    if (str_eq_z(score, "unanswered"))
        *answer = (struct dnsbl_answer){.count = 0};
    else
        *answer = (struct dnsbl_answer){.score = number_of(score), .count = 1, .hits = &w->hit};
    return answer;
}

static void set_sender(struct world *w, struct str value)
{
    static const char *const words[] = {"", "exists", "missing", "null-mx", "temperror", "null", NULL};
    int i = index_of(value, words);

    w->facts.transaction.null_sender = i == 5;
    w->facts.transaction.sender_domain = i == 5 ? SENDER_NOT_ASKED : (enum sender_domain)i;
}

static void set_value(struct world *w, struct str key, struct str value)
{
    static const char *const rdns[] = {"", "verified", "none", "mismatch", "temperror", NULL};
    static const char *const helo[] = {
        "", "name", "literal", "other-literal", "bare-address", "ours", "not-a-name", "single-label", NULL};
    static const char *const spf[] = {"none",     "neutral",   "pass",      "fail",
                                      "softfail", "temperror", "permerror", NULL};
    static const char *const grey[] = {"new",     "early",   "passed",     "known",
                                       "trusted", "allowed", "unanswered", NULL};
    static const char *const framing[] = {"", "bare-cr", "bare-lf", "nul", "long-line", NULL};
    static const char *const dmarc[] = {"none", "pass", "fail", "temperror", "permerror", NULL};
    static const char *const policy[] = {"none", "quarantine", "reject", NULL};
    struct facts *f = &w->facts;

    if (str_eq_z(key, "helo"))
        f->session.helo_form = (enum helo_form)index_of(value, helo);
    else if (str_eq_z(key, "rdns"))
        f->session.rdns = (enum rdns_state)index_of(value, rdns);
    else if (str_eq_z(key, "dnsbl"))
        f->session.dnsbl = listed(w, &w->lists, value);
    else if (str_eq_z(key, "names"))
        f->transaction.domains = listed(w, &w->names, value);
    else if (str_eq_z(key, "from-list"))
        f->message.domains = listed(w, &w->from_lists, value);
    else if (str_eq_z(key, "sender"))
        set_sender(w, value);
    else if (str_eq_z(key, "spf"))
        w->spf.result = (enum spf_result)index_of(value, spf);
    else if (str_eq_z(key, "spf-helo"))
        w->spf_helo.result = (enum spf_result)index_of(value, spf);
    else if (str_eq_z(key, "grey"))
        w->grey = (struct grey_answer){.verdict = (enum grey_verdict)index_of(value, grey), .wait_s = 240};
    else if (str_eq_z(key, "framing"))
        f->message.fault = (enum smtp_data_fault)index_of(value, framing);
    else if (str_eq_z(key, "received"))
        f->message.received = (unsigned)number_of(value);
    else if (str_eq_z(key, "by-us"))
        f->message.received_by_us = (unsigned)number_of(value);
    else if (str_eq_z(key, "dmarc"))
        w->dmarc.result = (enum dmarc_result)index_of(value, dmarc);
    else if (str_eq_z(key, "policy"))
        w->dmarc.policy = (enum dmarc_policy)index_of(value, policy);
    else if (str_eq_z(key, "list"))
        f->message.list = str_dup(memory, value);
    else
        t_fail("what is \"%.*s\"?", STR_ARG(key));
    if (str_eq_z(key, "grey"))
        f->recipient.grey = &w->grey;
    if (str_eq_z(key, "dmarc"))
        f->message.dmarc = &w->dmarc;
}

static bool set_flag(struct world *w, struct str word)
{
    struct facts *f = &w->facts;
    const struct {
        const char *word;
        bool *flag;
    } flags[] = {
        {"trusted", &f->session.trusted},
        {"outbound", &f->session.outbound},
        {"login", &f->session.may_log_in},
        {"authenticated", &f->session.authenticated},
        {"gateway", &f->session.gateway},
        {"unlisted", &f->recipient.unlisted},
        {"dns-sick", &f->session.dns_sick},
        {"early-talker", &f->session.early_talker},
        {"postmaster", &f->recipient.postmaster},
        {"to-postmaster", &f->transaction.to_postmaster},
        {"too-big", &f->message.too_big},
        {"header-too-big", &f->message.header_too_big},
        {"too-many-fields", &f->message.too_many_fields},
        {"starts-folded", &f->message.starts_folded},
        {"bad-line", &f->message.bad_line},
        {"spool-failed", &f->message.spool_failed},
        {"testing", &w->record.testing},
    };

    for (size_t i = 0; i < COUNT(flags); i++)
        if (str_eq_z(word, flags[i].word))
            return *flags[i].flag = true;
    return false;
}

/* dkim=DOMAIN is a pass of that domain. */
static void set_dkim(struct world *w, struct str value)
{
    w->signature = (struct dkim_signature){.result = str_eq_z(value, "fail") ? DKIM_FAIL : DKIM_PASS,
                                           .partial = str_eq_z(value, "partial"),
                                           .domain = str_dup(memory, value)};
    w->dkim = (struct dkim_answer){.count = 1, .signatures = &w->signature};
    w->facts.message.dkim = &w->dkim;
}

static void set_fact(struct world *w, struct str word)
{
    struct str key, value;

    if (word.n == 0 || set_flag(w, word))
        return;
    if (str_eq_z(word, "stranger"))
        w->facts.recipient.ours = false;
    else if (str_eq_z(word, "hop"))
        w->facts.message.arc = &w->arc;
    else if (str_eq_z(word, "lone"))
        w->spf.result = SPF_FAIL;
    else if (str_eq_z(word, "from=none")) {
        w->facts.message.from_domain = NULL;
        w->facts.message.from_why = "there is no From field";
    } else if (str_cut(word, '=', &key, &value) && str_eq_z(key, "dkim"))
        set_dkim(w, value);
    else
        set_value(w, key, value);
}

static void make_facts(struct world *w, const struct row *row, const char *extra)
{
    struct str rest = str_of(str_fmt(memory, "%.*s %s", STR_ARG(row->facts), extra)), word;

    make_honest(w);
    while (rest.n > 0) {
        str_cut(rest, ' ', &word, &rest);
        set_fact(w, word);
    }
    if (w->facts.transaction.null_sender) /* RFC 7208 2.4 */
        w->facts.transaction.spf = &w->spf_helo;
}

/* ---- verdicts ---- */

static const char *verdict_text(const struct verdict *v)
{
    const char *text = action_name(v->action);

    if (v->action != ACTION_ACCEPT) {
        t_true(v->check != NULL && v->enhanced != NULL && v->enhanced[0] - '0' == v->code / 100);
        t_true(*v->text != '\0' && strlen(v->text) < VERDICT_TEXT - 1);
        text = str_fmt(memory, "%s %d %s %s", text, v->code, v->enhanced, v->check);
    }
    for (size_t i = 0; i < v->observed_count; i++)
        text = str_fmt(memory, "%s%s %s", text, i == 0 ? " observed" : "", v->observed[i]);
    return text;
}

static const char *decide(const struct row *row, const struct config *config, const struct facts *facts)
{
    static const struct {
        const char *moment;
        struct verdict (*decide)(const struct config *config, const struct facts *facts);
    } moments[] = {
        {"greeting", decide_greeting}, {"helo", decide_helo},       {"rcpt", decide_rcpt},
        {"greylist", decide_greylist}, {"message", decide_message},
    };

    for (size_t i = 0; i < COUNT(moments); i++)
        if (str_eq_z(row->moment, moments[i].moment)) {
            struct verdict v = moments[i].decide(config, facts);

            return verdict_text(&v);
        }
    if (str_eq_z(row->moment, "suspicious")) {
        const char *sign = decide_is_suspicious(config, facts);

        return sign != NULL ? sign : "no";
    }
    if (str_eq_z(row->moment, "disposition"))
        return dmarc_policy_name(decide_dmarc_disposition(config, facts));
    if (str_eq_z(row->moment, "override")) {
        enum history_override override = decide_dmarc_override(config, facts);

        return override == HISTORY_AS_PUBLISHED ? "-" : history_override_name(override);
    }
    t_fail("what moment is \"%.*s\"?", STR_ARG(row->moment));
}

/* What a record of these facts gives back. */
static struct facts facts_on_record(const struct facts *facts)
{
    const struct decision_outcome outcome = {.action = ACTION_ACCEPT};
    struct decision decision;
    struct json json;
    struct buf line;

    buf_init(&line, DECISION_BYTES_MAX);
    json_init(&json, &line);
    json_object(&json);
    json_put_int(&json, "time", 1);
    decision_put_client(&json, facts, NULL);
    decision_put_transaction(&json, facts);
    json_key(&json, "recipients");
    json_array(&json);
    decision_put_recipient(&json, facts, NULL, &outcome);
    json_array_end(&json);
    decision_put_message(&json, facts, STR(""));
    json_object_end(&json);
    t_true(decision_read(memory, buf_str(&line), &decision) && decision.recipients_count == 1);
    buf_fini(&line);
    decision.facts.recipient = decision.recipients[0].facts;
    return decision.facts;
}

/* The row with more facts and settings behind its own. */
static const char *play(const struct row *row, const char *facts, const char *settings)
{
    const struct config *config = settings_of(row, settings);
    struct facts on_record;
    const char *got;
    struct world w;

    t_case(str_fmt(memory, "tests/decisions.txt:%d: %.*s | %.*s %s | %.*s %s", row->line,
                   STR_ARG(row->moment), STR_ARG(row->facts), facts, STR_ARG(row->settings), settings),
           NULL);
    make_facts(&w, row, facts);
    got = decide(row, config, &w.facts);
    on_record = facts_on_record(&w.facts);
    t_same_z(decide(row, config, &on_record), got);
    config_unref(&config);
    return got;
}

/* ---- the table ---- */

static int read_table(void **state)
{
    struct str rest, line, column;

    (void)state;
    memory = arena_new(0);
    rest = t_read_file(memory, "tests/decisions.txt");
    for (int number = 1; rest.n > 0; number++) {
        struct row *row = &rows[rows_count];

        str_cut(rest, '\n', &line, &rest);
        if (line.n == 0 || line.p[0] == '#')
            continue;
        t_true(++rows_count < ROWS_MAX);
        row->line = number;
        str_cut(line, '|', &column, &line);
        row->moment = str_trim(column);
        str_cut(line, '|', &column, &line);
        row->facts = str_trim(column);
        str_cut(line, '|', &column, &line);
        row->settings = str_trim(column);
        row->want = str_trim(line);
    }
    return rows_count == 0;
}

static int drop_table(void **state)
{
    (void)state;
    arena_free(&memory);
    return 0;
}

static void test_rows(void **state)
{
    (void)state;
    for (size_t i = 0; i < rows_count; i++)
        t_same_z(play(&rows[i], "", ""), str_dup(memory, rows[i].want));
}

/* ---- what follows from each row ---- */

static bool is_verdict(const struct row *row)
{
    return !str_eq_z(row->moment, "suspicious") && !str_eq_z(row->moment, "disposition") &&
           !str_eq_z(row->moment, "override");
}

/* The check that refuses, or "". */
static const char *check_of(const struct row *row)
{
    struct str rest = row->want, word;

    for (int i = 0; i < 4; i++)
        str_cut(rest, ' ', &word, &rest);
    return str_starts(row->want, STR("accept")) ? "" : str_dup(memory, word);
}

/* Which key switches a check; NULL: none does. */
static const char *key_of(const char *check)
{
    static const char *const keys[][2] = {
        {"early-talker", "screen.early_talker"},
        {"helo", "screen.helo"},
        {"fcrdns", "screen.fcrdns"},
        {"sender-domain", "screen.sender_domain"},
        {"dnsbl", "dnsbl.mode"},
        {"greylist", "greylist.mode"},
        {"spf", "spf.mode"},
        {"dmarc", "dmarc.mode"},
        {"from", "dmarc.mode"},
    };

    for (size_t i = 0; i < COUNT(keys); i++)
        if (strcmp(keys[i][0], check) == 0)
            return keys[i][1];
    return NULL;
}

static bool observes(const char *verdict, const char *check)
{
    struct str rest = str_of(verdict), word;
    bool behind = false;

    while (rest.n > 0) {
        str_cut(rest, ' ', &word, &rest);
        if (behind && str_eq_z(word, check))
            return true;
        behind = behind || str_eq_z(word, "observed");
    }
    return false;
}

/* A check that only observes refuses nothing, and is told; one that is off is not even that. Both ways of
 * saying so. */
static void test_modes(void **state)
{
    (void)state;
    for (size_t i = 0; i < rows_count; i++) {
        const char *check = check_of(&rows[i]), *key = key_of(check), *got;

        if (!is_verdict(&rows[i]) || *check == '\0')
            continue;
        got = play(&rows[i], "", "mode=observe");
        if (key == NULL) {
            t_same_z(got, str_dup(memory, rows[i].want)); /* no setting allows it */
            continue;
        }
        t_true(str_starts(str_of(got), STR("accept")) && observes(got, check));
        got = play(&rows[i], "", str_fmt(memory, "%s=observe", key));
        t_true(observes(got, check));
        got = play(&rows[i], "", str_fmt(memory, "%s=off", key));
        t_true(strstr(got, str_fmt(memory, " %s", check)) == NULL);
    }
}

/* Trusted clients skip the inbound checks; only what would harm the backend is refused of them too. */
static void test_trusted(void **state)
{
    (void)state;
    for (size_t i = 0; i < rows_count; i++) {
        const char *check = check_of(&rows[i]);

        if (!is_verdict(&rows[i]))
            continue;
        if (str_eq_z(rows[i].moment, "message") && key_of(check) == NULL && *check != '\0')
            t_same_z(play(&rows[i], "trusted", ""), str_dup(memory, rows[i].want));
        else
            t_same_z(play(&rows[i], "trusted", ""), "accept");
    }
}

/* Whoever we refuse must be able to ask why (RFC 5321 4.5.1). */
static void test_postmaster(void **state)
{
    (void)state;
    for (size_t i = 0; i < rows_count; i++)
        if (str_eq_z(rows[i].moment, "rcpt") || str_eq_z(rows[i].moment, "greylist"))
            t_same_z(play(&rows[i], "postmaster", ""),
                     strcmp(check_of(&rows[i]), "relay") == 0 ? str_dup(memory, rows[i].want) : "accept");
}

/* With a sick resolver nothing that came from the DNS refuses; a stranger may still have to wait. */
static void test_sick_resolver(void **state)
{
    static const char *const from_dns[] = {"dnsbl", "fcrdns", "sender-domain", "spf", "dmarc"};

    (void)state;
    for (size_t i = 0; i < rows_count; i++) {
        const char *check = check_of(&rows[i]), *got;
        bool depends = false;

        if (!is_verdict(&rows[i]))
            continue;
        got = play(&rows[i], "dns-sick", "");
        for (size_t k = 0; k < COUNT(from_dns); k++)
            depends = depends || strcmp(check, from_dns[k]) == 0;
        if (depends)
            t_true(str_starts(str_of(got), STR("accept")));
        else
            t_same_z(got, str_dup(memory, rows[i].want));
    }
}

/* Doubt is not guilt: by default no combination of unanswered questions refuses, or is even noted. */
static void test_doubt(void **state)
{
    static const char *const doubts[] = {
        "rdns=temperror",   "sender=temperror", "spf=temperror",   "spf-helo=temperror",
        "dnsbl=unanswered", "names=unanswered", "grey=unanswered", "dmarc=temperror policy=reject",
    };
    static const char *const moments[] = {"greeting", "helo", "rcpt", "greylist", "message"};

    (void)state;
    for (unsigned set = 0; set < 1u << COUNT(doubts); set++) {
        const char *facts = "";

        for (size_t i = 0; i < COUNT(doubts); i++)
            if (set >> i & 1)
                facts = str_fmt(memory, "%s %s", facts, doubts[i]);
        for (size_t i = 0; i < COUNT(moments); i++) {
            struct row row = {.moment = str_of(moments[i])};

            t_same_z(play(&row, facts, ""), "accept");
        }
        t_same_z(play(&(struct row){.moment = STR("suspicious")}, facts, ""), "no");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),          cmocka_unit_test(test_modes),
        cmocka_unit_test(test_trusted),       cmocka_unit_test(test_postmaster),
        cmocka_unit_test(test_sick_resolver), cmocka_unit_test(test_doubt),
    };

    return cmocka_run_group_tests(tests, read_table, drop_table);
}
