#include "auth/dmarc.h"
#include "tests/fakedns.h"
#include "tests/t.h"

#include "base/bug.h"

/* ---- a whole evaluation over a zone ---- */

struct run {
    struct arena *mem;
    struct fakedns *fake;
    const struct dmarc_discovery *found;
    const struct dmarc_evaluation *result;
    struct dkim_signature signatures[16];
    struct dkim_answer dkim;
    struct spf_answer spf;
    bool has_spf;
    unsigned answers;
};

static void setup(struct run *r, const char *zone)
{
    memset(r, 0, sizeof(*r));
    r->mem = arena_new(0);
    r->fake = fakedns_new();
    r->dkim.signatures = r->signatures;
    fakedns_add_text(r->fake, zone);
}

static void teardown(struct run *r)
{
    fakedns_free(&r->fake);
    arena_free(&r->mem);
}

static void on_found(const struct dmarc_discovery *found, void *arg)
{
    struct run *r = arg;

    r->found = found;
    r->answers++;
}

static void on_result(const struct dmarc_evaluation *result, void *arg)
{
    struct run *r = arg;

    r->result = result;
    r->answers++;
}

static void spf_is(struct run *r, const char *domain, enum spf_result result)
{
    r->spf = (struct spf_answer){
        .result = result, .scope = SPF_MFROM, .domain = domain, .explanation = "", .reason = ""};
    r->has_spf = true;
}

static struct dkim_signature *dkim_is(struct run *r, const char *domain, enum dkim_result result)
{
    struct dkim_signature *s = &r->signatures[r->dkim.count++];

    *s = (struct dkim_signature){
        .result = result, .domain = domain, .selector = "s", .identity = "", .reason = ""};
    return s;
}

static void discover(struct run *r, const char *from)
{
    struct dmarc_query *q = dmarc_start(r->mem, fakedns_dns(r->fake), from, on_found, r);

    t_true(q != NULL && r->answers == 0);
    fakedns_run(r->fake);
    t_same_int(r->answers, 1);
}

static void evaluate(struct run *r, const char *from)
{
    struct dmarc_ask ask = {.spf = r->has_spf ? &r->spf : NULL, .dkim = &r->dkim};

    discover(r, from);
    ask.discovery = r->found;
    dmarc_align_start(r->mem, fakedns_dns(r->fake), &ask, on_result, r);
    t_same_int(r->answers, 1); /* never before the start has returned */
    fakedns_run(r->fake);
    t_same_int(r->answers, 2);
}

/* ---- records ---- */

/* clang-format off */
static const struct {
    const char *name, *rfc, *text;
    const char *want; /* "p sp np t adkim aspf psd rua-count ruf-count fo", or NULL: no record */
} records[] = {
    {"the smallest record", "9989 4.7", "v=DMARC1;p=none", "none none none n r r u 0 0 0"},
    {"sp falls back to p, np to sp", "9989 4.7", "v=DMARC1; p=reject; sp=quarantine",
     "reject quarantine quarantine n r r u 0 0 0"},
    {"np falls back to p without sp", "9989 4.7", "v=DMARC1; p=reject", "reject reject reject n r r u 0 0 0"},
    {"np alone leaves sp to p", "9989 4.7", "v=DMARC1; p=quarantine; np=reject",
     "quarantine quarantine reject n r r u 0 0 0"},
    {"all tags", "9989 4.7",
     "v=DMARC1; p=reject; sp=none; np=quarantine; t=y; adkim=s; aspf=s; psd=n; fo=1:d:s; "
     "rua=mailto:a@x.test,mailto:b@x.test; ruf=mailto:c@x.test",
     "reject none quarantine y s s n 2 1 1:d:s"},
    {"literals do not mind their case", "9989 4.8", "V=DMARC1; P=REJECT; ADKIM=S; PSD=Y; T=Y",
     "reject reject reject y s r y 0 0 0"},
    {"the version does", "9989 4.7", "v=dmarc1; p=reject", NULL},
    {"blanks around signs", "9989 4.8", "v \t= DMARC1 ;  p =\treject ; ",
     "reject reject reject n r r u 0 0 0"},
    {"no blank before v", "9989 4.8", " v=DMARC1; p=reject", NULL},
    {"v must come first", "9989 4.7", "p=reject; v=DMARC1", NULL},
    {"another version is another record", "9989 4.7", "v=DMARC10; p=reject", NULL},
    {"without a semicolon the version is wrong", "9989 4.8", "v=DMARC1 p=reject", NULL},
    {"empty text", "9989 4.8", "", NULL},
    {"no p but reports wanted: none", "9989 4.10.1", "v=DMARC1; sp=reject; rua=mailto:a@x.test",
     "none none none n r r u 1 0 0"},
    {"no p, no reports: no DMARC", "9989 4.10.1", "v=DMARC1; sp=reject", NULL},
    {"an empty p is not valid", "9989 4.8", "v=DMARC1; p=", NULL},
    {"an sp that is not valid spoils p, but for reports", "9989 4.10.1",
     "v=DMARC1; p=reject; sp=x; rua=mailto:a@x.test", "none none none n r r u 1 0 0"},
    {"an np that is not valid, no reports", "9989 4.10.1", "v=DMARC1; p=reject; np=x", NULL},
    {"a list without a URI asks for nothing", "9989 4.10.1", "v=DMARC1; rua=a@x.test, ,:::,1x:y", NULL},
    {"any scheme is a URI", "9989 4.7", "v=DMARC1; rua=a, https://x.test/r!10m",
     "none none none n r r u 2 0 0"},
    {"unknown tags are ignored", "9989 4.7", "v=DMARC1; xyz=1; p=reject; ;=;garbage; p2=none",
     "reject reject reject n r r u 0 0 0"},
    {"pct, rf and ri are history", "9989 4.7", "v=DMARC1; p=reject; pct=0; rf=iodef; ri=x",
     "reject reject reject n r r u 0 0 0"},
    {"other values that are not valid take the default", "9989 4.8",
     "v=DMARC1; p=none; adkim=x; aspf=strict; t=1; psd=maybe; fo=z; ruf=mailto:a@x.test",
     "none none none n r r u 0 1 0"},
    {"fo means nothing without ruf", "9989 4.7", "v=DMARC1; p=none; fo=1", "none none none n r r u 0 0 0"},
    {"a second p is ignored", "9989 4.8", "v=DMARC1; p=quarantine; p=none",
     "quarantine quarantine quarantine n r r u 0 0 0"},
};
/* clang-format on */

static const char *describe(struct arena *mem, const struct dmarc_record *r)
{
    if (r == NULL)
        return NULL;
    return str_fmt(mem, "%s %s %s %c %c %c %c %zu %zu %s", dmarc_policy_name(r->policy),
                   dmarc_policy_name(r->subdomain_policy), dmarc_policy_name(r->nonexistent_policy),
                   r->testing ? 'y' : 'n', r->adkim_strict ? 's' : 'r', r->aspf_strict ? 's' : 'r', r->psd,
                   r->rua_count, r->ruf_count, r->fo);
}

static void test_records(void **state)
{
    struct arena *mem = arena_new(0);

    (void)state;
    for (size_t i = 0; i < COUNT(records); i++) {
        const char *why;

        t_case(records[i].name, records[i].rfc);
        t_same_z(describe(mem, dmarc_record_parse(mem, str_of(records[i].text), &why)), records[i].want);
        t_true((records[i].want == NULL) == (*why != '\0'));
    }
    arena_free(&mem);
}

static void test_record_limits(void **state)
{
    struct arena *mem = arena_new(0);
    char *text = arena_alloc(mem, 8 * 1024 + 2);
    const struct dmarc_record *r;
    const char *why;

    (void)state;
    t_case("a record of more than 8 KiB is none", "");
    memset(text, ';', 8 * 1024 + 1);
    memcpy(text, "v=DMARC1;p=none", 15);
    t_true(dmarc_record_parse(mem, str_make(text, 8 * 1024), &why) != NULL);
    t_true(dmarc_record_parse(mem, str_make(text, 8 * 1024 + 1), &why) == NULL);

    t_case("of a list of addresses the first 32 are kept", "");
    memcpy(text, "v=DMARC1;p=none;rua=", 20);
    for (size_t i = 0; i < 100; i++)
        memcpy(text + 20 + 4 * i, "x:y,", 4);
    r = dmarc_record_parse(mem, str_make(text, 420), &why);
    t_true(r != NULL && r->rua_count == 32);
    arena_free(&mem);
}

/* ---- rows over a small zone ---- */

#define ZONE                                                                                                 \
    "_dmarc.example.test TXT \"v=DMARC1; p=reject; sp=quarantine\"\n"                                        \
    "_dmarc.news.example.test TXT \"v=DMARC1; p=none\"\n"                                                    \
    "_dmarc.strict.test TXT \"v=DMARC1; p=reject; adkim=s; aspf=s\"\n"                                       \
    "_dmarc.np.test TXT \"v=DMARC1; p=reject; np=none\"\n"                                                   \
    "there.np.test A 192.0.2.1\n"                                                                            \
    "sick.np.test RCODE servfail\n"                                                                          \
    "_dmarc.unusable.example.test TXT \"v=DMARC1; p=bogus\"\n"                                               \
    "_dmarc.sick.example.test RCODE servfail\n"                                                              \
    "_dmarc.own.lame.test TXT \"v=DMARC1; p=reject\"\n"                                                      \
    "_dmarc.lame.test RCODE timeout\n"                                                                       \
    "_dmarc.tld TXT \"v=DMARC1; p=reject\"\n"

struct id {
    const char *domain;
    char result; /* 'p' pass, 'f' fail, 't' temperror, 'l' pass of a part of the body */
};

/* clang-format off */
static const struct {
    const char *name, *rfc, *from;
    struct id spf, dkim[3];
    const char *want; /* "result policy spf_aligned dkim_aligned" */
} rows[] = {
    {"an equal SPF domain is aligned", "9989 4.4", "example.test", {"example.test", 'p'}, {{0}},
     "pass reject 1 0"},
    {"case and final dot do not count", "9989 4.4", "example.test", {"Example.TEST.", 'p'}, {{0}},
     "pass reject 1 0"},
    {"a failed SPF does not count", "9989 4.4.2", "example.test", {"example.test", 'f'}, {{0}},
     "fail reject 0 0"},
    {"a sister domain is aligned when relaxed", "9989 4.4.1", "a.example.test", {0},
     {{"b.example.test", 'p'}}, "pass quarantine 0 1"},
    {"any signature will do", "9989 4.4.1", "example.test", {0}, {{"other.test", 'p'}, {"example.test", 'p'}},
     "pass reject 0 1"},
    {"a signature of a part of the body never counts", "6376 8.2", "example.test", {0},
     {{"example.test", 'l'}}, "fail reject 0 0"},
    {"both are told", "9989 5.3.4", "example.test", {"b.example.test", 'p'}, {{"c.example.test", 'p'}},
     "pass reject 1 1"},
    {"strict wants equality", "9989 4.4", "strict.test", {"a.strict.test", 'p'}, {{"b.strict.test", 'p'}},
     "fail reject 0 0"},
    {"strict, equal", "9989 4.4", "strict.test", {"strict.test", 'p'}, {{0}}, "pass reject 1 0"},
    {"a name that only ends alike is another", "9989 4.4", "example.test", {"badexample.test", 'p'}, {{0}},
     "fail reject 0 0"},
    {"stray dots are no name", "1035 3.1", "example.test", {".example.test", 'p'}, {{"a..example.test", 'p'}},
     "fail reject 0 0"},
    {"a temperror that may be aligned is a temperror", "", "example.test", {"a.example.test", 't'}, {{0}},
     "temperror reject 0 0"},
    {"a temperror of a stranger is nothing", "", "example.test", {"other.test", 't'}, {{"other.test", 't'}},
     "fail reject 0 0"},
    {"a pass beats a temperror", "", "example.test", {"example.test", 't'}, {{"example.test", 'p'}},
     "pass reject 0 1"},
    {"strict, a temperror below is nothing", "", "strict.test", {"a.strict.test", 't'}, {{0}},
     "fail reject 0 0"},
    {"trouble in an identifier's walk is a temperror", "", "example.test", {"a.sick.example.test", 'p'},
     {{0}}, "temperror reject 0 0"},
    {"an existing subdomain has sp", "9989 4.10.1", "there.np.test", {0}, {{0}}, "fail reject 0 0"},
    {"a ghost has np", "9989 4.10.1", "ghost.np.test", {0}, {{0}}, "fail none 0 0"},
    {"whether it exists is unknown: it does", "9989 3.2.13", "sick.np.test", {0}, {{0}}, "fail reject 0 0"},
    {"an own record that is not usable ends it", "9989 4.10.1", "unusable.example.test",
     {"unusable.example.test", 'p'}, {{0}}, "none none 0 0"},
    {"trouble in the walk is a temperror", "9989 5.3.6", "sick.example.test", {"sick.example.test", 'f'},
     {{0}}, "temperror none 0 0"},
    {"own record and own pass need nothing from above", "9989 4.10.2", "own.lame.test",
     {"own.lame.test", 'p'}, {{0}}, "pass reject 1 0"},
    {"own record, no pass, trouble above", "9989 5.3.6", "own.lame.test", {"a.lame.test", 'p'}, {{0}},
     "temperror reject 0 0"},
    {"a TLD without psd=y does not vouch for all", "9989 4.10.2", "a.tld", {"b.tld", 'p'}, {{"tld", 'p'}},
     "fail reject 0 0"},
    {"no record at all is none", "9989 5.3.2", "nothing.test", {"nothing.test", 'p'}, {{0}}, "none none 0 0"},
    {"a single label is a name", "9989 4.10", "localhost", {"localhost", 'p'}, {{0}}, "none none 0 0"},
    {"an address literal is no domain", "9989 5.3.1", "[192.0.2.1]", {0}, {{0}}, "permerror none 0 0"},
    {"an empty label is no domain", "9989 5.3.1", "a..example.test", {0}, {{0}}, "permerror none 0 0"},
    {"no name, no domain", "9989 5.3.1", "", {0}, {{0}}, "permerror none 0 0"},
    {"an impossible label does not escape the parent's policy", "9989 4.10",
     "0123456789012345678901234567890123456789012345678901234567890123.example.test", {0}, {{0}},
     "fail quarantine 0 0"},
    {"an impossible label does not exist", "9989 4.7",
     "0123456789012345678901234567890123456789012345678901234567890123.np.test", {0}, {{0}}, "fail none 0 0"},
};
/* clang-format on */

static enum dkim_result dkim_result_of(char c)
{
    return c == 't' ? DKIM_TEMPERROR : c == 'f' ? DKIM_FAIL : DKIM_PASS;
}

static void test_rows(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct run r;

        t_case(rows[i].name, rows[i].rfc);
        setup(&r, ZONE);
        if (rows[i].spf.domain != NULL)
            spf_is(&r, rows[i].spf.domain,
                   rows[i].spf.result == 't'   ? SPF_TEMPERROR
                   : rows[i].spf.result == 'f' ? SPF_FAIL
                                               : SPF_PASS);
        for (size_t k = 0; k < COUNT(rows[i].dkim) && rows[i].dkim[k].domain != NULL; k++)
            dkim_is(&r, rows[i].dkim[k].domain, dkim_result_of(rows[i].dkim[k].result))->partial =
                rows[i].dkim[k].result == 'l';
        evaluate(&r, rows[i].from);
        t_same_z(str_fmt(r.mem, "%s %s %d %d", dmarc_result_name(r.result->result),
                         dmarc_policy_name(r.result->policy), r.result->spf_aligned, r.result->dkim_aligned),
                 rows[i].want);
        t_true(*r.result->reason != '\0' && *r.found->reason != '\0');
        teardown(&r);
    }
}

/* ---- what is asked ---- */

static size_t times_asked(const struct run *r, const char *question)
{
    size_t times = 0;

    for (size_t i = 0; i < fakedns_asked(r->fake); i++)
        times += strcmp(fakedns_question(r->fake, i), question) == 0;
    return times;
}

static void test_asks_once(void **state)
{
    struct run r;

    (void)state;
    t_case("no name is asked twice, and names that decide alone are not walked", "9989 4.10.2");
    setup(&r, ZONE);
    spf_is(&r, "bounce.mail.example.test", SPF_PASS);
    dkim_is(&r, "a.mail.example.test", DKIM_PASS);
    dkim_is(&r, "b.mail.example.test", DKIM_PASS);
    dkim_is(&r, "stranger.test", DKIM_PASS);
    evaluate(&r, "shop.example.test");
    t_true(r.result->spf_aligned && r.result->dkim_aligned);
    t_same_int(times_asked(&r, "TXT _dmarc.shop.example.test"), 1);
    t_same_int(times_asked(&r, "TXT _dmarc.example.test"), 1);
    t_same_int(times_asked(&r, "TXT _dmarc.test"), 1);
    t_same_int(times_asked(&r, "TXT _dmarc.bounce.mail.example.test"), 1);
    t_same_int(times_asked(&r, "TXT _dmarc.mail.example.test"), 1);
    t_same_int(times_asked(&r, "TXT _dmarc.a.mail.example.test"), 1);
    t_same_int(times_asked(&r, "TXT _dmarc.b.mail.example.test"), 0); /* one aligned signature is enough */
    t_same_int(times_asked(&r, "TXT _dmarc.stranger.test"), 0);
    teardown(&r);
}

static void test_asks_existence_only_for_np(void **state)
{
    struct run r;

    (void)state;
    t_case("whether the domain exists is asked when np differs from sp", "9989 4.7");
    setup(&r, ZONE);
    discover(&r, "ghost.np.test");
    t_true(!r.found->from_exists);
    t_same_int(times_asked(&r, "A ghost.np.test"), 1);
    teardown(&r);
    setup(&r, ZONE);
    discover(&r, "ghost.example.test");
    t_same_int(times_asked(&r, "A ghost.example.test"), 0);
    teardown(&r);
}

static void test_cancel(void **state)
{
    struct run r;
    struct dmarc_query *q;
    struct dmarc_alignment *a;
    struct dmarc_ask ask = {0};

    (void)state;
    for (unsigned steps = 0; steps < 3; steps++) {
        t_case("a cancelled discovery never calls back", "");
        setup(&r, ZONE);
        q = dmarc_start(r.mem, fakedns_dns(r.fake), "ghost.np.test", on_found, &r);
        for (unsigned i = 0; i < steps; i++)
            fakedns_run_one(r.fake);
        dmarc_cancel(&q);
        fakedns_run(r.fake);
        t_true(q == NULL && r.answers == 0);
        dmarc_cancel(&q);
        teardown(&r);

        t_case("a cancelled alignment never calls back", "");
        setup(&r, ZONE);
        spf_is(&r, "a.b.example.test", SPF_PASS);
        discover(&r, "example.test");
        ask = (struct dmarc_ask){.discovery = r.found, .spf = &r.spf};
        a = dmarc_align_start(r.mem, fakedns_dns(r.fake), &ask, on_result, &r);
        for (unsigned i = 0; i < steps; i++)
            fakedns_run_one(r.fake);
        dmarc_align_cancel(&a);
        fakedns_run(r.fake);
        t_true(a == NULL && r.answers == 1);
        dmarc_align_cancel(&a);
        teardown(&r);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_records), cmocka_unit_test(test_record_limits),
        cmocka_unit_test(test_rows),    cmocka_unit_test(test_asks_once),
        cmocka_unit_test(test_cancel),  cmocka_unit_test(test_asks_existence_only_for_np),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
