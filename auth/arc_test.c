#include "tests/t.h"

#include "auth/arc.h"
#include "auth/arc_set.h"
#include "base/bug.h"
#include "base/buf.h"
#include "tests/dkimsign.h"
#include "tests/fakedns.h"

#include <stdio.h>

enum { NOW = 1735689600 };

struct bed {
    struct arena *mem;
    struct fakedns *dns;
    struct dkimsign_key *key;
    const struct arc_answer *answer;
    int calls;
};

static struct bed *bed_new(struct dkimsign_key *key)
{
    struct arena *mem = arena_new(0);
    struct bed *b = ARENA_NEW(mem, struct bed);

    b->mem = mem;
    b->dns = fakedns_new();
    b->key = key;
    fakedns_add_text(b->dns, str_fmt(mem, "s._domainkey.hop.test TXT \"%s\"", dkimsign_record(mem, key)));
    return b;
}

static void bed_free(struct bed *b)
{
    struct arena *mem = b->mem;

    dkimsign_key_free(&b->key);
    fakedns_free(&b->dns);
    arena_free(&mem);
}

/* ---- sealing, in the plainest way: every set so far, with the newest on top ---- */

struct hop {
    const char *results;       /* NULL: "hop.test; dmarc=pass header.from=author.test" */
    const char *message_extra; /* more tags of the message signature, "x=5; " */
    const char *seal_extra;
    const char *cv;     /* NULL: the right one */
    const char *domain; /* NULL: hop.test */
};

static const char *algorithm_of(const struct bed *b)
{
    return strstr(dkimsign_record(b->mem, b->key), "ed25519") != NULL ? "ed25519-sha256" : "rsa-sha256";
}

struct message {
    const char *below; /* the fields that the author wrote */
    struct str body;
    size_t sets;
    const char *set[ARC_INSTANCE_MAX + 2][ARC_KINDS]; /* whole fields */
};

static const char *relaxed(struct bed *b, const char *field)
{
    return str_dup(b->mem, dkimsign_relaxed_field(b->mem, str_of(field)));
}

static const char *signed_field(struct bed *b, const char *covered, const char *field)
{
    struct str own = str_of(relaxed(b, field)); /* without its final CRLF */
    const char *text = str_fmt(b->mem, "%s%.*s", covered, (int)own.n - 2, own.p);
    struct str front = str_of(field);

    return str_fmt(b->mem, "%.*s%s\r\n", (int)front.n - 2, front.p, dkimsign_b(b->mem, b->key, str_of(text)));
}

static void add_hop(struct bed *b, struct message *m, const struct hop *hop)
{
    size_t i = ++m->sets;
    const char **set = m->set[i], *covered = "";
    const char *bh = dkimsign_bh(b->mem, dkimsign_relaxed_body(b->mem, m->body));
    const char *d = hop->domain != NULL ? hop->domain : "hop.test";
    const char *cv = hop->cv != NULL ? hop->cv : i == 1 ? "none" : "pass";
    struct str subject = str_of(m->below);

    set[ARC_RESULTS] =
        str_fmt(b->mem, "ARC-Authentication-Results: i=%zu; %s\r\n", i,
                hop->results != NULL ? hop->results : "hop.test; dmarc=pass header.from=author.test");
    set[ARC_MESSAGE] = signed_field(b, relaxed(b, str_dup(b->mem, subject)),
                                    str_fmt(b->mem,
                                            "ARC-Message-Signature: i=%zu; a=%s; d=%s; s=s; "
                                            "c=relaxed/relaxed;\r\n %sh=subject; bh=%s; b=\r\n",
                                            i, algorithm_of(b), d,
                                            hop->message_extra != NULL ? hop->message_extra : "", bh));
    for (size_t k = 1; k <= i; k++)
        covered = str_fmt(b->mem, "%s%s%s%s", covered, relaxed(b, m->set[k][ARC_RESULTS]),
                          relaxed(b, m->set[k][ARC_MESSAGE]), k < i ? relaxed(b, m->set[k][ARC_SEAL]) : "");
    set[ARC_SEAL] =
        signed_field(b, covered,
                     str_fmt(b->mem, "ARC-Seal: i=%zu; a=%s; d=%s; s=s; cv=%s; %sb=\r\n", i, algorithm_of(b),
                             d, cv, hop->seal_extra != NULL ? hop->seal_extra : ""));
}

static struct message message_of(const char *below, const char *body)
{
    return (struct message){.below = below, .body = str_of(body)};
}

static struct header header_of(struct bed *b, const struct message *m, bool upside_down)
{
    struct buf section;
    struct header header;

    buf_init(&section, 1 << 20);
    for (size_t k = 1; k <= m->sets; k++) {
        size_t i = upside_down ? k : m->sets + 1 - k;

        for (size_t kind = 0; kind < ARC_KINDS; kind++)
            buf_add_z(&section, m->set[i][upside_down ? kind : ARC_KINDS - 1 - kind]);
    }
    buf_add_z(&section, m->below);
    t_same_int(header_parse(b->mem, str_copy(b->mem, buf_str(&section)), 1000, &header), HEADER_OK);
    buf_fini(&section);
    return header;
}

static void on_done(const struct arc_answer *answer, void *arg)
{
    struct bed *b = arg;

    b->answer = answer;
    b->calls++;
}

static struct arc_verifier *start(struct bed *b, struct header *header, unsigned max_sets)
{
    const struct arc_settings settings = {MODE_ENFORCE, max_sets, 1024};

    b->calls = 0;
    return arc_verify_start(b->mem, fakedns_dns(b->dns), NULL, &settings, header, NOW);
}

static const struct arc_answer *verify_form(struct bed *b, const struct message *m, unsigned max_sets,
                                            bool upside_down)
{
    struct header header = header_of(b, m, upside_down);
    struct arc_verifier *v = start(b, &header, max_sets);

    for (struct str body = m->body; body.n > 0; body = str_from(body, 5))
        arc_verify_body(v, str_upto(body, 5));
    arc_verify_end(v, on_done, b);
    t_same_int(b->calls, 0);
    fakedns_run(b->dns);
    t_same_int(b->calls, 1);
    arc_verify_cancel(&v);
    return b->answer;
}

static const struct arc_answer *verify(struct bed *b, const struct message *m)
{
    return verify_form(b, m, 50, false);
}

/* ---- whole chains ---- */

static void test_chains(void **state)
{
    static const size_t lengths[] = {1, 2, 3, 12, 50};
    struct bed *b = bed_new(dkimsign_key_ed25519());

    (void)state;
    for (size_t i = 0; i < COUNT(lengths); i++) {
        struct message m = message_of("Subject: a\r\n", "one\r\ntwo  \r\n\r\n");
        const struct arc_answer *answer;
        size_t asked;

        t_case(str_fmt(b->mem, "a chain of %zu sets passes", lengths[i]), "8617 5.2");
        while (m.sets < lengths[i])
            add_hop(b, &m, &(struct hop){0});
        asked = fakedns_asked(b->dns);
        answer = verify(b, &m);
        t_same_z(answer->reason, "");
        t_same_int(answer->result, ARC_PASS);
        t_same_int(answer->instances, lengths[i]);
        t_same_z(answer->sealer, "hop.test");
        t_same_z(answer->sets[0].dmarc, "pass");
        t_same_z(answer->sets[0].dmarc_from, "author.test");
        /* Of longer chains only the last eleven message signatures are looked at. */
        t_same_int(answer->oldest_pass, lengths[i] <= 11 ? 0 : lengths[i] - 10);
        t_case("one question for one key", NULL);
        t_same_int(fakedns_asked(b->dns) - asked, 1);
        t_case("the order of the fields in the header does not matter", "8617 5.1.1");
        t_same_int(verify_form(b, &m, 50, true)->result, ARC_PASS);
    }
    bed_free(b);
}

static void test_too_long(void **state)
{
    struct bed *b = bed_new(dkimsign_key_ed25519());
    struct message m = message_of("Subject: a\r\n", "body\r\n");

    (void)state;
    t_case("more sets than the settings allow", "8617 5.1");
    for (int i = 0; i < 4; i++)
        add_hop(b, &m, &(struct hop){0});
    t_same_int(verify_form(b, &m, 4, false)->result, ARC_PASS);
    t_same_int(verify_form(b, &m, 3, false)->result, ARC_FAIL);
    t_case("instance 51", "8617 4.2.1");
    while (m.sets < 51)
        add_hop(b, &m, &(struct hop){0});
    t_same_int(verify(b, &m)->result, ARC_FAIL);
    bed_free(b);
}

static void test_no_arc(void **state)
{
    struct bed *b = bed_new(dkimsign_key_ed25519());
    struct message m = message_of("Subject: a\r\n", "body\r\n");
    const struct arc_answer *answer = verify(b, &m);

    (void)state;
    t_case("a message without ARC is none, and nothing is asked", "8617 5.2 step 1");
    t_same_int(answer->result, ARC_NONE);
    t_same_int(answer->instances, 0);
    t_same_z(answer->sealer, "");
    t_true(!arc_vouches(answer, (const char *const[]){"hop.test"}, 1, "author.test"));
    bed_free(b);
}

/* ---- what changes on the way ---- */

static void test_changes(void **state)
{
    struct bed *b = bed_new(dkimsign_key_rsa(1024));
    struct message m = message_of("Subject: a\r\n", "body\r\n");
    const struct arc_answer *answer;

    (void)state;
    add_hop(b, &m, &(struct hop){0});
    add_hop(b, &m, &(struct hop){0});
    t_case("a list changes the subject, and the next hop signs it anew", "8617 5.2 step 4");
    m.below = "Subject: [list] a\r\n";
    add_hop(b, &m, &(struct hop){0});
    answer = verify(b, &m);
    t_same_int(answer->result, ARC_PASS);
    t_same_int(answer->oldest_pass, 3);
    t_case("what the last hop signed is changed behind it", "8617 5.2 step 4");
    m.below = "Subject: buy\r\n";
    answer = verify(b, &m);
    t_same_int(answer->result, ARC_FAIL);
    t_same_z(answer->reason, "ARC-Message-Signature i=3: the signature does not fit the header");
    m.below = "Subject: [list] a\r\n";
    m.body = STR("body and more\r\n");
    answer = verify(b, &m);
    t_same_int(answer->result, ARC_FAIL);
    t_same_z(answer->reason, "ARC-Message-Signature i=3: the body was changed");
    bed_free(b);
}

static void test_sealed_results_are_changed(void **state)
{
    struct bed *b = bed_new(dkimsign_key_ed25519());
    struct message m = message_of("Subject: a\r\n", "body\r\n");

    (void)state;
    t_case("the results of a hop are changed", "8617 5.2 step 5");
    add_hop(b, &m, &(struct hop){.results = "hop.test; dmarc=fail header.from=author.test"});
    add_hop(b, &m, &(struct hop){0});
    t_same_int(verify(b, &m)->result, ARC_PASS);
    m.set[1][ARC_RESULTS] =
        "ARC-Authentication-Results: i=1; hop.test; dmarc=pass header.from=author.test\r\n";
    t_same_int(verify(b, &m)->result, ARC_FAIL);
    bed_free(b);
}

static void test_one_set_rules(void **state)
{
    static const struct {
        const char *name, *rfc;
        struct hop hop;
        enum arc_result want;
    } rows[] = {
        {"l= that covers the whole body", "8617 4.1.2", {.message_extra = "l=6; "}, ARC_PASS},
        {"x= to come", "8617 4.1.2", {.message_extra = "x=1735689601; "}, ARC_PASS},
        {"expired", "8617 4.1.2", {.message_extra = "x=1735689000; "}, ARC_FAIL},
        {"h= in the seal", "8617 4.1.3", {.seal_extra = "h=subject; "}, ARC_FAIL},
        {"cv=fail", "8617 5.2 step 2", {.cv = "fail"}, ARC_FAIL},
        {"cv=pass in the first", "8617 5.2 step 3", {.cv = "pass"}, ARC_FAIL},
        {"a tag twice", "6376 3.2", {.seal_extra = "t=1; t=1; "}, ARC_FAIL},
        {"another domain's key", "8617 5.2", {.domain = "other.test"}, ARC_FAIL},
    };
    struct bed *b = bed_new(dkimsign_key_ed25519());

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct message m = message_of("Subject: a\r\n", "body\r\n");
        const struct arc_answer *answer;

        t_case(rows[i].name, rows[i].rfc);
        add_hop(b, &m, &rows[i].hop);
        answer = verify(b, &m);
        t_same_z(arc_result_name(answer->result), arc_result_name(rows[i].want));
        t_true((answer->result == ARC_FAIL) == (*answer->reason != '\0'));
    }
    bed_free(b);
}

static void test_length(void **state)
{
    struct bed *b = bed_new(dkimsign_key_ed25519());
    struct message m = message_of("Subject: a\r\n", "body\r\n");

    (void)state;
    t_case("what l= leaves out may be anybody's", "6376 8.2");
    add_hop(b, &m, &(struct hop){.message_extra = "l=6; "});
    m.body = STR("body\r\nand an advertisement\r\n");
    t_same_int(verify(b, &m)->result, ARC_FAIL);
    bed_free(b);
}

/* ---- the DNS ---- */

static void test_dns(void **state)
{
    struct bed *b = bed_new(dkimsign_key_ed25519());
    struct message m = message_of("Subject: a\r\n", "body\r\n");
    const struct arc_answer *answer;

    (void)state;
    fakedns_add_text(b->dns, "s._domainkey.slow.test RCODE timeout");
    add_hop(b, &m, &(struct hop){.domain = "slow.test"});
    t_case("a key that cannot be had now is doubt, not guilt", NULL);
    answer = verify(b, &m);
    t_same_int(answer->result, ARC_TEMPERROR);
    t_same_z(answer->reason, "ARC-Message-Signature i=1: the DNS did not answer for the key");
    t_true(!arc_vouches(answer, (const char *const[]){"slow.test"}, 1, "author.test"));
    t_case("what is broken for sure outweighs it", NULL);
    add_hop(b, &m, &(struct hop){0});
    t_same_int(verify(b, &m)->result, ARC_TEMPERROR);
    m.body = STR("other\r\n");
    t_same_int(verify(b, &m)->result, ARC_FAIL);
    bed_free(b);
}

static void test_cancel_and_finish(void **state)
{
    struct bed *b = bed_new(dkimsign_key_ed25519());
    struct message m = message_of("Subject: a\r\n", "body\r\n");
    struct header header;
    struct arc_verifier *v;

    (void)state;
    add_hop(b, &m, &(struct hop){0});
    header = header_of(b, &m, false);
    t_case("cancelled, never calls back", NULL);
    for (int at = 0; at < 3; at++) {
        v = start(b, &header, 50);
        if (at > 0)
            arc_verify_body(v, m.body);
        if (at > 1)
            arc_verify_end(v, on_done, b);
        arc_verify_cancel(&v);
        t_true(v == NULL);
        fakedns_run(b->dns);
        t_same_int(b->calls, 0);
    }
    t_case("finished before the key is there: temperror, and never calls back", NULL);
    v = start(b, &header, 50);
    arc_verify_body(v, m.body);
    arc_verify_end(v, on_done, b);
    t_same_int(arc_verify_finish(&v)->result, ARC_TEMPERROR);
    fakedns_run(b->dns);
    t_same_int(b->calls, 0);
    t_case("the key is there before the body ends", NULL);
    v = start(b, &header, 50);
    fakedns_run(b->dns);
    arc_verify_body(v, m.body);
    arc_verify_end(v, on_done, b);
    t_same_int(b->calls, 0);
    fakedns_run(b->dns);
    t_same_int(b->calls, 1);
    t_same_int(b->answer->result, ARC_PASS);
    arc_verify_cancel(&v);
    bed_free(b);
}

/* ---- whom to believe ---- */

static void test_vouches(void **state)
{
    static const char *const trusted[] = {"list.test", "Gate.Test"};
    static const struct {
        const char *name;
        struct arc_set sets[3];
        size_t count;
        enum arc_result result;
        bool want;
    } rows[] = {
        {"the last sealer is trusted and saw a pass",
         {{.seal_domain = "list.test", .dmarc = "pass", .dmarc_from = "a.test"}},
         1,
         ARC_PASS,
         true},
        {"a chain that fails says nothing",
         {{.seal_domain = "list.test", .dmarc = "pass", .dmarc_from = "a.test"}},
         1,
         ARC_FAIL,
         false},
        {"for another From domain",
         {{.seal_domain = "list.test", .dmarc = "pass", .dmarc_from = "b.test"}},
         1,
         ARC_PASS,
         false},
        {"without a From domain",
         {{.seal_domain = "list.test", .dmarc = "pass", .dmarc_from = ""}},
         1,
         ARC_PASS,
         false},
        {"an untrusted sealer",
         {{.seal_domain = "evil.test", .dmarc = "pass", .dmarc_from = "a.test"}},
         1,
         ARC_PASS,
         false},
        {"a trusted one behind an untrusted one: it could have made up the message",
         {{.seal_domain = "list.test", .dmarc = "pass", .dmarc_from = "a.test"},
          {.seal_domain = "evil.test", .dmarc = "pass", .dmarc_from = "a.test"}},
         2,
         ARC_PASS,
         false},
        {"two trusted ones, the first of which saw a pass",
         {{.seal_domain = "list.test", .dmarc = "pass", .dmarc_from = "a.test"},
          {.seal_domain = "gate.test", .dmarc = "fail", .dmarc_from = "a.test"}},
         2,
         ARC_PASS,
         true},
        {"an untrusted one's pass below a trusted one",
         {{.seal_domain = "evil.test", .dmarc = "pass", .dmarc_from = "a.test"},
          {.seal_domain = "list.test", .dmarc = "fail", .dmarc_from = "a.test"}},
         2,
         ARC_PASS,
         false},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct arc_answer answer = {
            .result = rows[i].result, .instances = rows[i].count, .sets = rows[i].sets};

        t_case(rows[i].name, "8617 7.2.2");
        t_true(arc_vouches(&answer, trusted, COUNT(trusted), "a.test") == rows[i].want);
        t_true(!arc_vouches(&answer, trusted, COUNT(trusted), NULL));
    }
}

static void test_dmarc_of_results(void **state)
{
    static const struct {
        const char *name, *results, *result, *from;
    } rows[] = {
        {"plain", "mx.test; spf=pass; dmarc=pass header.from=a.test", "pass", "a.test"},
        {"with comments", "mx.test 1; dmarc=pass (p=REJECT; sp=NONE) header.from=A.Test; x=y", "pass",
         "a.test"},
        {"blanks and a version", "mx.test; DMARC/1 = Fail\r\n\theader.from = a.test", "fail", "a.test"},
        {"Google's",
         "mx.google.com;\r\n  dkim=pass header.i=@a.test;\r\n  dmarc=pass (p=NONE dis=NONE) "
         "header.from=a.test",
         "pass", "a.test"},
        {"none there", "mx.test; spf=pass smtp.mailfrom=dmarc", "", ""},
        {"two of them", "mx.test; dmarc=pass header.from=a.test; dmarc=fail", "", ""},
        {"in a comment", "mx.test; spf=pass (x; dmarc=pass header.from=a.test)", "", ""},
        {"in a quoted string", "mx.test; spf=pass reason=\"x; dmarc=pass header.from=a.test\"", "", ""},
        {"as the name of the host", "dmarc=pass", "", ""},
        {"a comment without end", "mx.test; spf=pass (; dmarc=pass header.from=a.test", "", ""},
        {"a result that is no word", "mx.test; dmarc=p@ss", "", ""},
        {"a method that only ends so", "mx.test; x-dmarc=pass header.from=a.test", "", ""},
        {"a property that only ends so", "mx.test; dmarc=pass x-header.from=b.test", "pass", ""},
        {"empty", "", "", ""},
    };
    struct arena *mem = arena_new(0);

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct arc_dmarc got = arc_dmarc_parse(mem, str_of(rows[i].results));

        t_case(rows[i].name, "8601 2.2");
        t_same_z(got.result, rows[i].result);
        t_same_z(got.from, rows[i].from);
    }
    arena_free(&mem);
}

static void test_hostile_forms(void **state)
{
    static const struct {
        const char *name, *section;
    } rows[] = {
        {"only results", "ARC-Authentication-Results: i=1; a\r\n"},
        {"an instance that does not fit", "ARC-Seal: i=99999999999999999999; a=b\r\n"},
        {"an instance with a sign", "ARC-Seal: i=+1; a=b\r\n"},
        {"no instance 1", "ARC-Authentication-Results: i=2; a\r\n"},
        {"a comment without end", "ARC-Authentication-Results: (i=1; a\r\n"},
        {"nothing at all", "ARC-Seal:\r\n"},
    };
    struct bed *b = bed_new(dkimsign_key_ed25519());

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct message m = message_of(rows[i].section, "");

        t_case(rows[i].name, "8617 5.2 step 3");
        t_same_int(verify(b, &m)->result, ARC_FAIL);
    }
    t_same_int(fakedns_asked(b->dns), COUNT(rows)); /* the turns of the loop, no key */
    bed_free(b);
}

static void test_flood(void **state)
{
    struct bed *b = bed_new(dkimsign_key_ed25519());
    struct message m = {.body = STR("")};
    struct buf section;

    (void)state;
    t_case("hundreds of fields are no work", "8617 4.2.1");
    buf_init(&section, 1 << 16);
    for (int i = 0; i < 900; i++)
        buf_fmt(&section, "ARC-Seal: i=%d\r\n", i % 50 + 1);
    m.below = buf_z(&section);
    t_same_int(verify(b, &m)->result, ARC_FAIL);
    t_same_int(b->answer->instances, 0);
    buf_fini(&section);
    bed_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_chains),
        cmocka_unit_test(test_too_long),
        cmocka_unit_test(test_no_arc),
        cmocka_unit_test(test_changes),
        cmocka_unit_test(test_sealed_results_are_changed),
        cmocka_unit_test(test_one_set_rules),
        cmocka_unit_test(test_length),
        cmocka_unit_test(test_dns),
        cmocka_unit_test(test_cancel_and_finish),
        cmocka_unit_test(test_vouches),
        cmocka_unit_test(test_dmarc_of_results),
        cmocka_unit_test(test_hostile_forms),
        cmocka_unit_test(test_flood),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
