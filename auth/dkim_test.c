#include "tests/t.h"

#include "auth/dkim.h"
#include "base/buf.h"
#include "base/bug.h"
#include "tests/dkimsign.h"
#include "tests/fakedns.h"

#include <openssl/sha.h>
#include <stdio.h>

enum { NOW = 1735689600, FIELDS_MOST = 2000 };

static const char mail[] = "Received: from a\r\n\tby b\r\nReceived: from c by d\r\nFrom: Joe "
                           "<joe@example.org>\r\nTo:  x@example.net\r\n"
                           "Subject:  a  folded\r\n\tsubject \r\nDate: today\r\n";
static const char text[] = "Hello,  world \r\n\r\n\tindented\r\nlast\r\n\r\n\r\n";

/* Made once: generating RSA keys takes longer than all the tests. */
static struct dkimsign_key *rsa, *short_rsa, *ed25519;

static int make_keys(void **state)
{
    (void)state;
    rsa = dkimsign_key_rsa(2048);
    short_rsa = dkimsign_key_rsa(768);
    ed25519 = dkimsign_key_ed25519();
    return 0;
}

static int free_keys(void **state)
{
    (void)state;
    dkimsign_key_free(&rsa);
    dkimsign_key_free(&short_rsa);
    dkimsign_key_free(&ed25519);
    return 0;
}

/* One verification, with the knobs that rows turn. */
struct world {
    struct arena *mem;
    struct fakedns *dns;
    struct dkim_settings settings;
    struct dkim_keys *keys;
    const char *from_domain;
    size_t step; /* octets a piece of body; 0: whole */
    struct header header;
    struct dkim_verifier *verifier;
    const struct dkim_answer *answer;
    int calls;
};

static void world_begin(struct world *w)
{
    *w = (struct world){
        .mem = arena_new(0), .dns = fakedns_new(), .settings = {MODE_ENFORCE, 1024, 6, DKIM_SHA1_POLICY}};
}

static void world_end(struct world *w)
{
    dkim_verify_cancel(&w->verifier);
    dkim_keys_free(&w->keys);
    fakedns_free(&w->dns);
    arena_free(&w->mem);
}

static void publish(struct world *w, const char *name, const char *record)
{
    fakedns_add_text(w->dns, str_fmt(w->mem, "%s TXT \"%s\"\n", name, record));
}

static void publish_keys(struct world *w)
{
    publish(w, "rsa._domainkey.example.org", dkimsign_record(w->mem, rsa));
    publish(w, "ed._domainkey.example.org", dkimsign_record(w->mem, ed25519));
}

static void on_done(const struct dkim_answer *answer, void *arg)
{
    struct world *w = arg;

    w->answer = answer;
    w->calls++;
}

static void start(struct world *w, struct str section)
{
    t_same_int(header_parse(w->mem, section, FIELDS_MOST, &w->header), HEADER_OK);
    w->answer = NULL;
    w->calls = 0;
    w->verifier = dkim_verify_start(w->mem, fakedns_dns(w->dns), w->keys, &w->settings, &w->header,
                                    w->from_domain, NOW);
}

static void feed(struct world *w, struct str body)
{
    size_t step = w->step > 0 ? w->step : body.n + 1;

    for (; body.n > 0; body = str_from(body, step))
        dkim_verify_body(w->verifier, str_upto(body, step));
}

static const struct dkim_answer *verify(struct world *w, struct str section, struct str body)
{
    start(w, section);
    feed(w, body);
    dkim_verify_end(w->verifier, on_done, w);
    t_same_int(w->calls, 0);
    fakedns_run(w->dns);
    t_same_int(w->calls, 1);
    dkim_verify_cancel(&w->verifier);
    return w->answer;
}

static void expect(const struct dkim_signature *got, enum dkim_result result, const char *reason)
{
    t_same_z(got->reason, reason);
    t_same_z(dkim_result_name(got->result), dkim_result_name(result));
}

static void expect_only(const struct dkim_answer *answer, enum dkim_result result, const char *reason)
{
    t_same_int(answer->count, 1);
    expect(&answer->signatures[0], result, reason);
}

static const struct dkimsign plain = {
    .d = "example.org", .s = "rsa", .h = "from:to:subject", .c = "relaxed/relaxed"};

static struct dkimsign with_key(const struct dkimsign_key *key)
{
    struct dkimsign how = plain;

    how.key = key;
    how.s = key == ed25519 ? "ed" : "rsa";
    return how;
}

static struct str message_section(struct world *w, const struct dkimsign *how)
{
    return dkimsign_section(w->mem, how, str_of(mail), str_of(text));
}

/* ---- what must pass ---- */

static void test_every_combination(void **state)
{
    static const char *const canons[] = {
        NULL, "simple", "relaxed", "simple/simple", "simple/relaxed", "relaxed/simple", "relaxed/relaxed"};
    static const char *const bodies[] = {"", "\r\n", "\r\n\r\n", "x", " ", "a \r\n b\t\tc\r\n\r\n", text};
    static const char *const names[] = {"from",
                                        "from:to:subject:date",
                                        "Subject : FROM:received",
                                        "received:received:from",
                                        "from:received:received:received:received",
                                        "from:absent:from:from"};
    struct world w;

    (void)state;
    t_case("every key, canonicalization, body, h= and cut passes", "6376 3.4, 3.7, 5.4.2");
    for (size_t i = 0; i < COUNT(canons) * COUNT(bodies) * COUNT(names); i++) {
        struct dkimsign how = with_key(i % 2 == 0 ? rsa : ed25519);
        struct str body = str_of(bodies[i / COUNT(canons) % COUNT(bodies)]);

        world_begin(&w);
        publish_keys(&w);
        w.step = i % 5;
        how.c = canons[i % COUNT(canons)];
        how.h = names[i / COUNT(canons) / COUNT(bodies)];
        expect_only(verify(&w, dkimsign_section(w.mem, &how, str_of(mail), body), body), DKIM_PASS, "");
        world_end(&w);
    }
}

static void test_answer(void **state)
{
    struct dkimsign how = with_key(rsa);
    const struct dkim_signature *got;
    struct world w;

    (void)state;
    world_begin(&w);
    publish(&w, "rsa._domainkey.example.org",
            str_fmt(w.mem, "t=y; p=%s", dkimsign_p(w.mem, rsa, DKIMSIGN_SPKI)));
    how.d = "Example.ORG";
    how.extra = "i=joe@news.example.org; t=1; x=99999999999999; ";
    got = &verify(&w, message_section(&w, &how), str_of(text))->signatures[0];
    t_case("the answer names what was verified", "8601 2.7.1");
    expect(got, DKIM_PASS, "");
    t_same_z(got->domain, "example.org");
    t_same_z(got->selector, "rsa");
    t_same_z(got->identity, "joe@news.example.org");
    t_same_z(got->algorithm, "rsa-sha256");
    t_same_int(got->bits, 2048);
    t_true(got->testing && !got->partial);
    t_same_int(got->b_prefix.n, 8);
    t_same_z(fakedns_question(w.dns, 0), "TXT rsa._domainkey.example.org");
    world_end(&w);
    t_case("no signature is an empty answer, on a later turn", "8601 2.7.1");
    world_begin(&w);
    t_same_int(verify(&w, str_of(mail), str_of(text))->count, 0);
    world_end(&w);
}

static void test_result_names(void **state)
{
    static const char *const names[] = {"none",    "pass",      "fail",     "policy",
                                        "neutral", "temperror", "permerror"};

    (void)state;
    t_case("words of the registry", "8601 2.7.1");
    for (size_t i = 0; i < COUNT(names); i++)
        t_same_z(dkim_result_name((enum dkim_result)i), names[i]);
}

/* ---- the key record decides ---- */

static void test_keys(void **state)
{
    static const struct {
        const char *name, *rfc, *zone; /* $ stands for p= of the key */
        enum dkim_result result;
        const char *reason;
    } rows[] = {
        {"the usual record", "6376 3.6.1", "$N TXT \"v=DKIM1; k=rsa; p=$P\"", DKIM_PASS, ""},
        {"no such name", "6376 6.1.2", "other.test A 192.0.2.1", DKIM_PERMERROR, "there is no key"},
        {"no such record", "6376 6.1.2", "$N A 192.0.2.1", DKIM_PERMERROR, "there is no key"},
        {"SERVFAIL", "6376 6.1.2", "$N RCODE servfail", DKIM_TEMPERROR, "the DNS did not answer for the key"},
        {"refused", "6376 6.1.2", "$N RCODE refused", DKIM_TEMPERROR, "the DNS did not answer for the key"},
        {"a time-out", "6376 6.1.2", "$N RCODE timeout", DKIM_TEMPERROR,
         "the DNS did not answer for the key"},
        {"behind a CNAME", "6376 3.6.2", "$N CNAME k.test\nk.test TXT \"p=$P\"", DKIM_PASS, ""},
        {"revoked", "6376 6.1.2", "$N TXT \"v=DKIM1; p=\"", DKIM_PERMERROR, "the key is revoked"},
        {"the type of another algorithm", "6376 6.1.2",
         "$N TXT \"k=ed25519; p=yi50DjK5O9pqbFpNHklsv9lqaS0ArSYu02qp1S0DW1Y=\"", DKIM_PERMERROR,
         "the key is of another type than a="},
        {"a key too short", "8301 3.2",
         "$N TXT \"p=MFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBALgSoqXVSEmfcIsOzw7oRuCCOwsmtX/SJnTWxYyj2leFxfS/AVJ+"
         "dYfY+hXqMsT7l+MZvvh/R1WzN4MO/kI/7XsCAwEAAQ==\"",
         DKIM_POLICY, "the RSA key is too short"},
        {"t=s and i= at d=", "6376 3.6.1", "$N TXT \"t=s; p=$P\"", DKIM_PASS, ""},
        {"a stray record before the key", "6376 6.1.2", "$N TXT \"v=spf1 -all\"\n$N TXT \"p=$P\"", DKIM_PASS,
         ""},
        {"a stray record behind the key", "6376 6.1.2", "$N TXT \"p=$P\"\n$N TXT \"v=spf1 -all\"", DKIM_PASS,
         ""},
        {"another key before the key", "6376 6.1.2",
         "$N TXT "
         "\"p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDhMlYqwtUA9UrrDcNp/"
         "IMtdFnytggDl5oIAzJ55oWzPILZE7eX4hLdP6WperHm1WJ"
         "9M32XsiKrr4TDbWfp4WjGWBnXf8QMi+WlDuEFOvwVRC/uWy+sAiEf3VcBR5KjGvDovPnGSnW8uDntSOY4HlkTJF/"
         "BTWnk29zKmlGyGnw9mQIDAQAB"
         "\"\n$N TXT \"p=$P\"",
         DKIM_PASS, ""},
        {"another key and a stray record", "6376 6.1.2",
         "$N TXT \"v=spf1 -all\"\n$N TXT "
         "\"p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDhMlYqwtUA9UrrDcNp/IMtdFnytggDl5oIAzJ55oW"
         "zPILZE7eX4hLdP6WperHm1WJ9M32XsiKrr4TDbWfp4WjGWBnXf8QMi+WlDuEFOvwVRC/"
         "uWy+sAiEf3VcBR5KjGvDovPnGSnW8uDntSOY4HlkTJF/"
         "BTWnk29zKmlGyGnw9mQIDAQAB\"",
         DKIM_FAIL, "the signature does not fit the header"},
        {"the fifth record is not tried", NULL,
         "$N TXT \"a=1\"\n$N TXT \"a=2\"\n$N TXT \"a=3\"\n$N TXT \"a=4\"\n$N TXT \"p=$P\"", DKIM_PERMERROR,
         "the key record has no p="},
    };
    struct dkimsign how = with_key(rsa);
    struct world w;

    (void)state;
    for (size_t i = 0; i < COUNT(rows) * 2; i++) {
        const char *p = rows[i / 2].zone;
        struct buf zone;

        world_begin(&w);
        if (i % 2 == 0) /* with a cache and without one */
            w.keys = dkim_keys_new(10, clock_system());
        buf_init(&zone, 1 << 16);
        for (; *p != '\0'; p++)
            if (p[0] == '$')
                buf_add_z(&zone,
                          *++p == 'N' ? "rsa._domainkey.example.org" : dkimsign_p(w.mem, rsa, DKIMSIGN_SPKI));
            else
                buf_add_char(&zone, *p);
        buf_add_z(&zone, "\n");
        fakedns_add_text(w.dns, buf_z(&zone));
        buf_fini(&zone);
        t_case(rows[i / 2].name, rows[i / 2].rfc);
        expect_only(verify(&w, message_section(&w, &how), str_of(text)), rows[i / 2].result,
                    rows[i / 2].reason);
        world_end(&w);
    }
}

static void test_strict_key(void **state)
{
    struct dkimsign how = with_key(rsa);
    struct world w;

    (void)state;
    t_case("t=s forbids i= below d=", "6376 3.6.1");
    how.extra = "i=@news.example.org; ";
    world_begin(&w);
    publish(&w, "rsa._domainkey.example.org",
            str_fmt(w.mem, "t=s; p=%s", dkimsign_p(w.mem, rsa, DKIMSIGN_SPKI)));
    expect_only(verify(&w, message_section(&w, &how), str_of(text)), DKIM_PERMERROR,
                "the key demands that i= is at d= itself");
    world_end(&w);
}

static void test_key_sizes(void **state)
{
    struct dkimsign how = with_key(short_rsa);
    struct world w;

    (void)state;
    t_case("768 bits never pass, whatever the signature", "8301 3.2");
    world_begin(&w);
    publish(&w, "rsa._domainkey.example.org", dkimsign_record(w.mem, short_rsa));
    expect_only(verify(&w, message_section(&w, &how), str_of(text)), DKIM_POLICY, "the RSA key is too short");
    t_same_int(w.answer->signatures[0].bits, 768);
    world_end(&w);
    t_case("but the least is a setting", "8301 3.2");
    world_begin(&w);
    w.settings.min_rsa_bits = 512;
    publish(&w, "rsa._domainkey.example.org", dkimsign_record(w.mem, short_rsa));
    expect_only(verify(&w, message_section(&w, &how), str_of(text)), DKIM_PASS, "");
    world_end(&w);
}

/* ---- tags that decide without a key, or against it ---- */

static void test_tags(void **state)
{
    static const struct {
        const char *name, *rfc, *extra, *a;
        enum dkim_result result;
        const char *reason;
    } rows[] = {
        {"rsa-sha1 never passes", "8301 3.1", NULL, "rsa-sha1", DKIM_POLICY,
         "rsa-sha1 proves nothing any more"},
        {"an unknown algorithm", "6376 6.1.1", NULL, "rsa-sha512", DKIM_PERMERROR,
         "a= is no known algorithm"},
        {"a= in capitals", "5234 2.3", NULL, "RSA-SHA256", DKIM_PASS, ""},
        {"x= yesterday", "6376 6.1.1", "x=1735603200; ", NULL, DKIM_FAIL, "the signature has expired"},
        {"x= 5 minutes ago is within the grace", "6376 3.5", "x=1735689300; ", NULL, DKIM_PASS, ""},
        {"x= a second earlier is not", "6376 3.5", "x=1735689299; ", NULL, DKIM_FAIL,
         "the signature has expired"},
        {"t= in 5 minutes is within the grace", "6376 3.5", "t=1735689900; ", NULL, DKIM_PASS, ""},
        {"t= a second later is not", "6376 3.5", "t=1735689901; ", NULL, DKIM_POLICY,
         "the signature is from the future"},
        {"t= huge", "6376 3.5", "t=999999999999999999999999; ", NULL, DKIM_POLICY,
         "the signature is from the future"},
        {"x= huge", "6376 3.5", "x=999999999999999999999999; ", NULL, DKIM_PASS, ""},
        {"x= 0", "6376 3.5", "x=0; ", NULL, DKIM_FAIL, "the signature has expired"},
        {"z= is ignored", "6376 3.5", "z=From:joe|To:x; ", NULL, DKIM_PASS, ""},
        {"unknown tags are ignored", "6376 3.2", "zz=top; ", NULL, DKIM_PASS, ""},
        {"a tag twice", "6376 3.2", "z=1; z=1; ", NULL, DKIM_PERMERROR, "a tag stands there twice"},
        {"i= elsewhere", "6376 6.1.1", "i=@example.com; ", NULL, DKIM_PERMERROR, "i= is not within d="},
    };
    struct dkimsign how = with_key(rsa);
    struct world w;

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        world_begin(&w);
        publish_keys(&w);
        how.extra = rows[i].extra;
        how.a = rows[i].a;
        t_case(rows[i].name, rows[i].rfc);
        expect_only(verify(&w, message_section(&w, &how), str_of(text)), rows[i].result, rows[i].reason);
        t_case("what the field alone decides asks no key", NULL);
        t_same_int(fakedns_asked(w.dns), 1);
        t_same_z(fakedns_question(w.dns, 0),
                 rows[i].result == DKIM_PASS ? "TXT rsa._domainkey.example.org" : "TXT ");
        world_end(&w);
    }
}

static void test_sha1_by_setting(void **state)
{
    static const struct {
        const char *name;
        enum dkim_sha1 sha1;
        enum dkim_result result;
    } rows[] = {
        {"rsa-sha1 is policy", DKIM_SHA1_POLICY, DKIM_POLICY},
        {"rsa-sha1 is neutral, if the setting says so", DKIM_SHA1_NEUTRAL, DKIM_NEUTRAL},
    };
    struct dkimsign how = with_key(rsa);
    struct world w;

    (void)state;
    how.a = "rsa-sha1";
    for (size_t i = 0; i < COUNT(rows); i++) {
        world_begin(&w);
        publish_keys(&w);
        w.settings.sha1 = rows[i].sha1;
        t_case(rows[i].name, "8301 3.1");
        expect_only(verify(&w, message_section(&w, &how), str_of(text)), rows[i].result,
                    "rsa-sha1 proves nothing any more");
        t_case("and no key is asked for", NULL);
        t_same_z(fakedns_question(w.dns, 0), "TXT ");
        world_end(&w);
    }
}

static void test_body_length(void **state)
{
    static const struct {
        const char *name, *extra, *more;
        enum dkim_result result;
        const char *reason;
        bool partial;
    } rows[] = {
        {"l= of the whole body", "l=41; ", "", DKIM_PASS, "", false},
        {"what is appended is not covered", "l=41; ", "evil\r\n", DKIM_PASS, "", true},
        {"l= shorter than the body", "l=5; ", "", DKIM_PASS, "", true},
        {"l=0 covers nothing", "l=0; ", "", DKIM_PASS, "", true},
        {"l= longer than the body", "l=42; ", "", DKIM_FAIL, "the body is shorter than l=", false},
        {"l= huge", "l=99999999999999999999999; ", "", DKIM_FAIL, "the body is shorter than l=", false},
    };
    static const char body[] = "Ten letters\r\nand then some more of them\r\n";
    struct dkimsign how = with_key(rsa);
    struct world w;

    (void)state;
    t_same_int(sizeof(body) - 1, 41);
    for (size_t i = 0; i < COUNT(rows) * 4; i++) {
        how.extra = rows[i / 4].extra;
        how.c = i % 2 == 0 ? "relaxed/relaxed" : "simple/simple";
        world_begin(&w);
        w.step = i % 4 < 2 ? 0 : 3;
        publish_keys(&w);
        t_case(rows[i / 4].name, "6376 3.5, 8.2");
        expect_only(verify(&w, dkimsign_section(w.mem, &how, str_of(mail), str_of(body)),
                           str_of(str_fmt(w.mem, "%s%s", body, rows[i / 4].more))),
                    rows[i / 4].result, rows[i / 4].reason);
        t_same_int(w.answer->signatures[0].partial, rows[i / 4].partial);
        world_end(&w);
    }
}

/* ---- attacks ---- */

static struct str edited(struct arena *mem, struct str s, const char *from, const char *to)
{
    const char *at = memmem(s.p, s.n, from, strlen(from));

    t_true(at != NULL);
    return str_of(str_fmt(mem, "%.*s%s%s", (int)(at - s.p), s.p, to, at + strlen(from)));
}

static void test_changes(void **state)
{
    static const struct {
        const char *name, *from, *to;
        enum dkim_result relaxed, simple;
    } rows[] = {
        {"nothing", "Joe", "Joe", DKIM_PASS, DKIM_PASS},
        {"a signed field", "Joe", "Jim", DKIM_FAIL, DKIM_FAIL},
        {"an unsigned field", "today", "never", DKIM_PASS, DKIM_PASS},
        {"the folding", "folded\r\n\tsub", "folded sub", DKIM_PASS, DKIM_FAIL},
        {"the case of a name", "Subject:", "SUBJECT:", DKIM_PASS, DKIM_FAIL},
        {"a signed field is gone", "To:  x@example.net\r\n", "", DKIM_FAIL, DKIM_FAIL},
        {"a second From below", "Date:", "From: evil@example.org\r\nDate:", DKIM_FAIL, DKIM_FAIL},
        {"d= of the signature", "d=example.org", "d=example.ORG", DKIM_FAIL, DKIM_FAIL},
        {"blanks within the signature", "; d=", ";\t d=", DKIM_PASS, DKIM_FAIL},
        {"b= unfolded", "\r\n\tb=", "\r\n\tb= \t", DKIM_PASS, DKIM_PASS},
        {"an unsigned field is gone", "Date: today\r\n", "", DKIM_PASS, DKIM_PASS},
    };
    struct world w;

    (void)state;
    for (size_t i = 0; i < COUNT(rows) * 4; i++) {
        struct dkimsign how = with_key(i % 2 == 0 ? rsa : ed25519);
        bool relaxed = i / 2 % 2 == 0;

        world_begin(&w);
        publish_keys(&w);
        how.c = relaxed ? "relaxed/simple" : "simple/relaxed";
        t_case(rows[i / 4].name, "6376 3.4");
        verify(&w, edited(w.mem, message_section(&w, &how), rows[i / 4].from, rows[i / 4].to), str_of(text));
        t_same_z(dkim_result_name(w.answer->signatures[0].result),
                 dkim_result_name(relaxed ? rows[i / 4].relaxed : rows[i / 4].simple));
        world_end(&w);
    }
}

static void test_from_added_above(void **state)
{
    struct dkimsign how = with_key(rsa);
    struct world w;

    (void)state;
    t_case("a second From above is not the signed one, so it passes: it is for others to refuse",
           "6376 5.4.2, 8.15");
    world_begin(&w);
    publish_keys(&w);
    expect_only(verify(&w, edited(w.mem, message_section(&w, &how), "Received:", "From: evil@x\r\nReceived:"),
                       str_of(text)),
                DKIM_PASS, "");
    world_end(&w);
    t_case("h= that lists From once more than it occurs forbids a second", "6376 8.15");
    world_begin(&w);
    publish_keys(&w);
    how.h = "from:from:to";
    expect_only(verify(&w, message_section(&w, &how), str_of(text)), DKIM_PASS, "");
    expect_only(verify(&w, edited(w.mem, message_section(&w, &how), "Received:", "From: evil@x\r\nReceived:"),
                       str_of(text)),
                DKIM_FAIL, "the signature does not fit the header");
    world_end(&w);
    t_case("h= may list other signatures, and never takes the signature itself for one", "6376 3.5");
    world_begin(&w);
    publish_keys(&w);
    how.h = "from:dkim-signature:dkim-signature";
    expect_only(verify(&w, message_section(&w, &how), str_of(text)), DKIM_PASS, "");
    expect(&verify(&w, dkimsign_section(w.mem, &how, message_section(&w, &how), str_of(text)), str_of(text))
                ->signatures[0],
           DKIM_PASS, "");
    expect(&w.answer->signatures[1], DKIM_FAIL, "the signature does not fit the header");
    world_end(&w);
}

static void test_changed_body(void **state)
{
    struct dkimsign how = with_key(rsa);
    struct world w;

    (void)state;
    t_case("an octet of the body", "6376 6.1.3");
    world_begin(&w);
    publish_keys(&w);
    expect_only(verify(&w, message_section(&w, &how), STR("Hello, World\r\n")), DKIM_FAIL,
                "the body hash does not fit the body");
    world_end(&w);
    t_case("a body that is gone", "6376 6.1.3");
    world_begin(&w);
    publish_keys(&w);
    expect_only(verify(&w, message_section(&w, &how), STR("")), DKIM_FAIL,
                "the body hash does not fit the body");
    world_end(&w);
}

static void test_control_octets(void **state)
{
    struct dkimsign how = with_key(rsa);
    struct str section = STR("From: a\0b@example.org\r\nTo: x\r\nSubject: \x01\xff\r\n");
    struct buf whole;
    struct world w;

    (void)state;
    t_case("NUL in a signed field is an octet, and in the signature a fault", "6376 3.2");
    world_begin(&w);
    publish_keys(&w);
    how.c = "simple/simple";
    buf_init(&whole, 1 << 16);
    buf_add_str(&whole, dkimsign_field(w.mem, &how, section, STR("x")));
    buf_add_str(&whole, section);
    expect_only(verify(&w, buf_str(&whole), STR("x")), DKIM_PASS, "");
    whole.p[str_find(buf_str(&whole), ';')] = '\0';
    expect_only(verify(&w, buf_str(&whole), STR("x")), DKIM_PERMERROR,
                "a tag's value holds a control character");
    buf_fini(&whole);
    world_end(&w);
}

static void test_huge_list_of_names(void **state)
{
    struct buf section;
    struct world w;

    (void)state;
    t_case("64 KiB of h= and 1,900 fields end quickly, in a permerror", NULL);
    world_begin(&w);
    buf_init(&section, 1 << 20);
    buf_add_z(&section, "DKIM-Signature: v=1; a=rsa-sha256; d=example.org; s=rsa; h=from");
    for (int i = 0; i < 13000; i++)
        buf_add_z(&section, ":x-ab");
    buf_add_z(&section, "; bh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=; b=YWJj\r\nFrom: x\r\n");
    for (int i = 0; i < 1900; i++)
        buf_add_z(&section, "X-Ab: y\r\n");
    expect_only(verify(&w, buf_str(&section), STR("")), DKIM_PERMERROR, "too many names in h=");
    buf_fini(&section);
    world_end(&w);
}

/* ---- many signatures ---- */

static void add_signature(struct buf *section, const char *d, const char *b)
{
    buf_fmt(section,
            "DKIM-Signature: v=1; a=rsa-sha256; d=%s; s=s; h=from; b=%s; "
            "bh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\r\n",
            d, b);
}

static void test_thousand_signatures(void **state)
{
    struct buf section;
    struct world w;
    size_t evaluated = 0;

    (void)state;
    t_case("of 1,000 signatures six are evaluated, aligned ones first", "6376 6.1");
    world_begin(&w);
    w.from_domain = "mail.example.org";
    buf_init(&section, 1 << 20);
    for (int i = 0; i < 1000; i++)
        add_signature(&section,
                      i == 997   ? "example.org"
                      : i == 998 ? "a.mail.example.org"
                                 : str_fmt(w.mem, "d%d.test", i),
                      "YWJj");
    buf_add_z(&section, "From: x\r\n");
    verify(&w, buf_str(&section), STR(""));
    t_same_int(w.answer->count, 1000);
    t_same_int(fakedns_asked(w.dns), 6);
    t_same_z(fakedns_question(w.dns, 0), "TXT s._domainkey.example.org");
    t_same_z(fakedns_question(w.dns, 1), "TXT s._domainkey.a.mail.example.org");
    t_same_z(fakedns_question(w.dns, 2), "TXT s._domainkey.d0.test");
    for (size_t i = 0; i < 1000; i++)
        evaluated += w.answer->signatures[i].result == DKIM_PERMERROR;
    t_same_int(evaluated, 6);
    t_case("answers stand in the order of the header", NULL);
    expect(&w.answer->signatures[3], DKIM_PERMERROR, "there is no key");
    expect(&w.answer->signatures[4], DKIM_POLICY, "not evaluated: there are too many signatures");
    expect(&w.answer->signatures[997], DKIM_PERMERROR, "there is no key");
    t_same_z(w.answer->signatures[999].domain, "d999.test");
    buf_fini(&section);
    world_end(&w);
}

static void test_choice(void **state)
{
    struct buf section;
    struct world w;

    (void)state;
    t_case("a duplicate is skipped, and takes no place", NULL);
    world_begin(&w);
    w.settings.max_signatures = 2;
    buf_init(&section, 1 << 20);
    add_signature(&section, "a.test", "YWJj");
    add_signature(&section, "A.test", "Y W J j");
    add_signature(&section, "a.test", "ZGVm");
    add_signature(&section, "b.test", "YWJj");
    buf_add_z(&section, "From: x\r\n");
    verify(&w, buf_str(&section), STR(""));
    expect(&w.answer->signatures[0], DKIM_PERMERROR, "there is no key");
    expect(&w.answer->signatures[1], DKIM_POLICY, "not evaluated: the same signature is there twice");
    expect(&w.answer->signatures[2], DKIM_PERMERROR, "there is no key");
    expect(&w.answer->signatures[3], DKIM_POLICY, "not evaluated: there are too many signatures");
    buf_fini(&section);
    world_end(&w);
    t_case("a name that only ends alike is not aligned; a broken signature takes no place", NULL);
    world_begin(&w);
    w.settings.max_signatures = 1;
    w.from_domain = "example.org";
    buf_init(&section, 1 << 20);
    add_signature(&section, "badexample.org", "YWJj");
    add_signature(&section, "example.org", "!");
    add_signature(&section, "EXAMPLE.org", "YWJj");
    buf_add_z(&section, "From: x\r\n");
    verify(&w, buf_str(&section), STR(""));
    expect(&w.answer->signatures[0], DKIM_POLICY, "not evaluated: there are too many signatures");
    expect(&w.answer->signatures[1], DKIM_PERMERROR, "b= is not base64");
    expect(&w.answer->signatures[2], DKIM_PERMERROR, "there is no key");
    buf_fini(&section);
    world_end(&w);
}

static void test_side_by_side(void **state)
{
    struct dkimsign one = with_key(rsa), two = with_key(ed25519), three = with_key(rsa);
    struct str section;
    struct world w;

    (void)state;
    t_case("each signature has its own verdict, all keys are asked for at the start", "6376 6.1");
    world_begin(&w);
    publish_keys(&w);
    two.c = "simple/simple";
    three.extra = "l=3; ";
    section = dkimsign_section(w.mem, &one, str_of(mail), str_of(text));
    section = dkimsign_section(w.mem, &two, section, str_of(text));
    section = dkimsign_section(w.mem, &three, section, str_of(text));
    start(&w, section);
    t_same_int(fakedns_waiting(w.dns), 3);
    dkim_verify_cancel(&w.verifier);
    verify(&w, section, str_of(text));
    t_same_int(w.answer->count, 3);
    for (size_t i = 0; i < 3; i++)
        expect(&w.answer->signatures[i], DKIM_PASS, "");
    t_true(w.answer->signatures[0].partial && !w.answer->signatures[1].partial);
    world_end(&w);
}

static void test_long_name(void **state)
{
    struct buf section;
    char name[254] = {0};
    struct world w;

    (void)state;
    t_case("a key name beyond 253 octets has no key", "1035 2.3.4");
    for (size_t i = 0; i < 249; i++)
        name[i] = i % 50 == 49 ? '.' : 'a';
    world_begin(&w);
    buf_init(&section, 1 << 20);
    add_signature(&section, name, "YWJj");
    buf_add_z(&section, "From: x\r\n");
    expect_only(verify(&w, buf_str(&section), STR("")), DKIM_PERMERROR, "there is no key");
    buf_fini(&section);
    world_end(&w);
}

/* ---- timing ---- */

static void test_keys_before_the_body(void **state)
{
    struct dkimsign how = with_key(rsa);
    struct world w;

    (void)state;
    t_case("keys that came before the body: done on the next turn", NULL);
    world_begin(&w);
    publish_keys(&w);
    start(&w, message_section(&w, &how));
    fakedns_run(w.dns);
    feed(&w, str_of(text));
    dkim_verify_end(w.verifier, on_done, &w);
    t_same_int(w.calls, 0);
    fakedns_run(w.dns);
    t_same_int(w.calls, 1);
    expect_only(w.answer, DKIM_PASS, "");
    t_case("finish after done gives the same answer", NULL);
    t_true(dkim_verify_finish(&w.verifier) == w.answer && w.verifier == NULL);
    expect_only(w.answer, DKIM_PASS, "");
    world_end(&w);
}

static void test_finish(void **state)
{
    struct dkimsign one = with_key(rsa), two = with_key(ed25519);
    const struct dkim_answer *answer;
    struct str section;
    struct world w;

    (void)state;
    t_case("finish takes what is there: a key without answer is temperror", "8601 2.7.1");
    world_begin(&w);
    publish_keys(&w);
    section = dkimsign_section(w.mem, &two, message_section(&w, &one), str_of(text));
    start(&w, section);
    fakedns_run_one(w.dns);
    feed(&w, str_of(text));
    dkim_verify_end(w.verifier, on_done, &w);
    answer = dkim_verify_finish(&w.verifier);
    t_true(w.verifier == NULL);
    expect(&answer->signatures[0], DKIM_PASS, "");
    expect(&answer->signatures[1], DKIM_TEMPERROR, "the DNS did not answer for the key");
    t_case("and done never runs", NULL);
    t_same_int(fakedns_waiting(w.dns), 0);
    t_same_int(w.calls, 0);
    world_end(&w);
    t_case("finish in the turn before done", NULL);
    world_begin(&w);
    start(&w, str_of(mail));
    dkim_verify_end(w.verifier, on_done, &w);
    t_same_int(dkim_verify_finish(&w.verifier)->count, 0);
    fakedns_run(w.dns);
    t_same_int(w.calls, 0);
    world_end(&w);
}

/* Each stage: 0 started, 1 a key is there, 2 some body, 3 ended, 4 ended and one key more, 5 all done. */
static void test_cancelled_never_calls_back(void **state)
{
    struct dkimsign one = with_key(rsa), two = with_key(ed25519);
    struct world w;

    (void)state;
    t_case("cancelled, never calls back, and leaves no memory behind", NULL);
    for (int stage = 0; stage <= 5; stage++) {
        world_begin(&w);
        publish_keys(&w);
        start(&w, dkimsign_section(w.mem, &two, message_section(&w, &one), str_of(text)));
        if (stage >= 1)
            fakedns_run_one(w.dns);
        if (stage >= 2)
            feed(&w, str_of(text));
        if (stage >= 3)
            dkim_verify_end(w.verifier, on_done, &w);
        if (stage == 5)
            fakedns_run(w.dns);
        if (stage ==
            4) { /* the key and the turn after it, of a verifier whose keys were there before the end */
            dkim_verify_cancel(&w.verifier);
            start(&w, message_section(&w, &one));
            fakedns_run(w.dns);
            dkim_verify_end(w.verifier, on_done, &w);
            t_same_int(fakedns_waiting(w.dns), 1);
        }
        dkim_verify_cancel(&w.verifier);
        t_true(w.verifier == NULL);
        t_same_int(fakedns_waiting(w.dns), 0);
        fakedns_run(w.dns);
        t_same_int(w.calls, stage == 5 ? 1 : 0);
        dkim_verify_cancel(&w.verifier);
        world_end(&w);
    }
}

static void on_done_cancel(const struct dkim_answer *answer, void *arg)
{
    struct world *w = arg;

    on_done(answer, w);
    dkim_verify_cancel(&w->verifier);
}

static void test_cancel_within_done(void **state)
{
    struct dkimsign how = with_key(rsa);
    struct world w;

    (void)state;
    t_case("done may cancel", NULL);
    world_begin(&w);
    publish_keys(&w);
    start(&w, message_section(&w, &how));
    feed(&w, str_of(text));
    dkim_verify_end(w.verifier, on_done_cancel, &w);
    fakedns_run(w.dns);
    t_same_int(w.calls, 1);
    expect_only(w.answer, DKIM_PASS, "");
    world_end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_combination),
        cmocka_unit_test(test_answer),
        cmocka_unit_test(test_result_names),
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_strict_key),
        cmocka_unit_test(test_key_sizes),
        cmocka_unit_test(test_tags),
        cmocka_unit_test(test_sha1_by_setting),
        cmocka_unit_test(test_body_length),
        cmocka_unit_test(test_changes),
        cmocka_unit_test(test_from_added_above),
        cmocka_unit_test(test_changed_body),
        cmocka_unit_test(test_control_octets),
        cmocka_unit_test(test_huge_list_of_names),
        cmocka_unit_test(test_thousand_signatures),
        cmocka_unit_test(test_choice),
        cmocka_unit_test(test_side_by_side),
        cmocka_unit_test(test_long_name),
        cmocka_unit_test(test_keys_before_the_body),
        cmocka_unit_test(test_finish),
        cmocka_unit_test(test_cancelled_never_calls_back),
        cmocka_unit_test(test_cancel_within_done),
    };

    return cmocka_run_group_tests(tests, make_keys, free_keys);
}
