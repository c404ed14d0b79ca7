#include "tests/t.h"

#include "auth/dkim.h"
#include "auth/dkim_sign.h"
#include "base/bug.h"
#include "tests/fakedns.h"

enum { NOW = 1735689600, KEYS = 3 };

struct bed {
    struct arena *mem;
    struct fakedns *dns;
    struct dkim_private *private[KEYS];
    struct dkim_sign_key keys[KEYS];
    struct dkim_sign_settings settings;
    const struct dkim_answer *answer;
};

static void set_up_key(struct bed *b, size_t i, const char *selector, enum dkim_private_type type)
{
    b->private[i] = dkim_private_generate(type);
    b->keys[i] = (struct dkim_sign_key){"example.org", selector, NULL, b->private[i]};
    fakedns_add_text(b->dns, str_fmt(b->mem, "%s._domainkey.example.org TXT \"%s\"", selector,
                                     dkim_private_record(b->mem, b->private[i])));
}

static struct bed *bed_new(void)
{
    struct arena *mem = arena_new(0);
    struct bed *b = ARENA_NEW(mem, struct bed);

    b->mem = mem;
    b->dns = fakedns_new();
    set_up_key(b, 0, "rsa", DKIM_PRIVATE_RSA_2048);
    set_up_key(b, 1, "ed", DKIM_PRIVATE_ED25519);
    set_up_key(b, 2, "big", DKIM_PRIVATE_RSA_4096);
    b->settings = (struct dkim_sign_settings){.header_canon = DKIM_RELAXED, .body_canon = DKIM_RELAXED};
    return b;
}

static void bed_free(struct bed *b)
{
    struct arena *mem = b->mem;

    for (size_t i = 0; i < KEYS; i++)
        dkim_private_free(&b->private[i]);
    fakedns_free(&b->dns);
    arena_free(&mem);
}

static struct header header_of(struct bed *b, const char *section)
{
    struct header header;

    t_same_int(header_parse(b->mem, str_of(section), 1000, &header), HEADER_OK);
    return header;
}

static struct str sign_with(struct bed *b, const char *section, struct str body,
                            const struct dkim_sign_key *keys, size_t count, int64_t now)
{
    struct header header = header_of(b, section);
    const char *why;
    struct dkim_signer *s = dkim_sign_start(b->mem, &b->settings, &header, keys, count, now, &why);

    if (s == NULL)
        t_fail("not signed: %s", why);
    for (; body.n > 0; body = str_from(body, 3))
        dkim_sign_body(s, str_upto(body, 3));
    return dkim_sign_end(&s);
}

static const char *sign_all(struct bed *b, const char *section, struct str body)
{
    return str_dup(b->mem, sign_with(b, section, body, b->keys, KEYS, NOW));
}

static void on_done(const struct dkim_answer *answer, void *arg)
{
    ((struct bed *)arg)->answer = answer;
}

static const struct dkim_answer *verify(struct bed *b, const char *fields, const char *section,
                                        struct str body)
{
    const struct dkim_settings settings = {MODE_ENFORCE, 1024, 6, DKIM_SHA1_POLICY};
    struct header header = header_of(b, str_fmt(b->mem, "%s%s", fields, section));
    struct dkim_verifier *v =
        dkim_verify_start(b->mem, fakedns_dns(b->dns), NULL, &settings, &header, "example.org", NOW);

    dkim_verify_body(v, body);
    dkim_verify_end(v, on_done, b);
    fakedns_run(b->dns);
    dkim_verify_cancel(&v);
    return b->answer;
}

static void must_pass(struct bed *b, const char *fields, const char *section, struct str body, size_t count)
{
    const struct dkim_answer *answer = verify(b, fields, section, body);

    t_same_int(answer->count, count);
    for (size_t i = 0; i < answer->count; i++)
        if (answer->signatures[i].result != DKIM_PASS)
            t_fail("%s: %s", answer->signatures[i].selector, answer->signatures[i].reason);
}

static const char plain[] = "From: A <a@example.org>\r\nTo: b@example.net\r\nSubject: hello\r\n";

/* ---- everything verifies ---- */

static void test_every_form(void **state)
{
    static const char *const sections[] = {
        "From: a@example.org\r\n",
        "Received: x\r\nFrom: A <a@example.org>\r\nTo: b@example.net\r\nSubject:\r\n folded \r\n\t twice  "
        "\r\n",
        "SUBJECT : blanks\t before\r\nfrom:a@example.org\r\nTo: x\r\nTo: y\r\nCc:\r\nMessage-ID: "
        "<1@example.org>\r\n",
        "Subject: \xc3\xa4\xff 8-bit\r\nFrom: =?utf-8?q?A?= <a@example.org>\r\nX-Odd:  ;=;\r\n",
    };
    static const char *const bodies[] = {"",         "\r\n",     "\r\n\r\n",           "a",
                                         "a\r\n",    "a \t\r\n", "a\r\n\r\n\r\n",      " \r\n\t\r\nx",
                                         "a\r\r\nb", "a  b\r\n", ".\r\n..\r\n\r\n\xff"};
    struct bed *b = bed_new();

    (void)state;
    for (int canon = 0; canon < 4; canon++)
        for (size_t i = 0; i < COUNT(sections); i++)
            for (size_t j = 0; j < COUNT(bodies); j++) {
                struct str body = str_of(bodies[j]);

                t_case(str_fmt(b->mem, "canonicalization %d, section %zu, body %zu", canon, i, j), "6376 5");
                b->settings.header_canon = canon & 1 ? DKIM_RELAXED : DKIM_SIMPLE;
                b->settings.body_canon = canon & 2 ? DKIM_RELAXED : DKIM_SIMPLE;
                must_pass(b, sign_all(b, sections[i], body), sections[i], body, KEYS);
            }
    bed_free(b);
}

static void test_tags(void **state)
{
    struct bed *b = bed_new();
    const struct dkim_answer *answer;
    const char *field;

    (void)state;
    b->settings.with_time = true;
    b->settings.valid_s = 3600;
    b->keys[1].identity = "we ird;=\xc3\xa4@news.example.org";
    field = str_dup(b->mem, sign_with(b, plain, STR("x\r\n"), &b->keys[1], 1, NOW));
    t_case("t=, x= and i= are written and read back", "6376 3.5");
    t_true(strstr(field, "t=1735689600; x=1735693200;") != NULL);
    answer = verify(b, field, plain, STR("x\r\n"));
    t_same_z(dkim_result_name(answer->signatures[0].result), "pass");
    t_same_z(answer->signatures[0].identity, "we ird;=\xc3\xa4@news.example.org");
    t_case("an i= outside of d= is left out", "6376 3.5");
    b->keys[1].identity = "a@evilexample.org";
    field = str_dup(b->mem, sign_with(b, plain, STR("x\r\n"), &b->keys[1], 1, NOW));
    t_true(strstr(field, " i=") == NULL && strstr(field, "\ti=") == NULL);
    b->keys[1].identity = "@.example.org";
    field = str_dup(b->mem, sign_with(b, plain, STR("x\r\n"), &b->keys[1], 1, NOW));
    must_pass(b, field, plain, STR("x\r\n"), 1);
    t_case("expired an hour later", "6376 3.5");
    field = str_dup(b->mem, sign_with(b, plain, STR("x\r\n"), &b->keys[1], 1, NOW - 4000));
    t_same_int(verify(b, field, plain, STR("x\r\n"))->signatures[0].result, DKIM_FAIL);
    bed_free(b);
}

/* ---- which fields ---- */

static const char *names_of(struct bed *b, const char *field)
{
    struct str text = header_unfold(b->mem, str_of(field)), h, rest;
    char *names;
    size_t n = 0;

    str_cut(str_of(strstr(str_dup(b->mem, text), "h=")), ';', &h, &rest);
    names = arena_alloc(b->mem, h.n + 1);
    for (size_t i = 2; i < h.n; i++)
        if (h.p[i] != '\t' && h.p[i] != ' ')
            names[n++] = h.p[i];
    return names;
}

static const char *names_signed(struct bed *b, const char *section)
{
    return names_of(b, str_dup(b->mem, sign_with(b, section, STR(""), &b->keys[1], 1, NOW)));
}

static void test_names(void **state)
{
    static const char *const oversign[] = {"From", "Subject", "X-Never", "to"};
    static const char *const fields[] = {"subject", "x-own"};
    struct bed *b = bed_new();

    (void)state;
    t_case("the default list, as often as each occurs; Received and Return-Path are not signed",
           "6376 5.4.1");
    t_same_z(names_signed(
                 b, "Return-Path: <>\r\nReceived: x\r\nTo: x\r\nFROM: a@example.org\r\nTo: y\r\nX-A: 1\r\n"
                    "List-Unsubscribe-Post: x\r\n"),
             "from:to:to:list-unsubscribe-post");
    t_case("once more than they occur", "6376 8.15");
    b->settings.oversign = oversign;
    b->settings.oversign_count = COUNT(oversign);
    t_same_z(names_signed(b, plain), "from:from:to:to:subject:subject:x-never");
    t_case("a list of one's own, with From in any case", "6376 5.4");
    b->settings.oversign_count = 1;
    b->settings.fields = fields;
    b->settings.fields_count = COUNT(fields);
    t_same_z(names_signed(b, "From: a@example.org\r\nX-Own: 1\r\nTo: x\r\n"), "from:from:x-own");
    bed_free(b);
}

static void test_additions(void **state)
{
    static const char *const oversign[] = {"from", "subject", "cc"};
    static const char *const added[] = {"From: Boss <b@example.org>\r\n", "Subject: pay\r\n",
                                        "Cc: all@example.org\r\n"};
    struct bed *b = bed_new();
    const char *fields;

    (void)state;
    b->settings.oversign = oversign;
    b->settings.oversign_count = COUNT(oversign);
    fields = sign_all(b, plain, STR("x\r\n"));
    must_pass(b, fields, plain, STR("x\r\n"), KEYS);
    for (size_t i = 0; i < COUNT(added); i++) {
        t_case(str_fmt(b->mem, "added on the way: %s", added[i]), "6376 8.15");
        for (int below = 0; below < 2; below++) {
            const char *section = str_fmt(b->mem, below ? "%2$s%1$s" : "%1$s%2$s", added[i], plain);
            const struct dkim_answer *answer = verify(b, fields, section, STR("x\r\n"));

            for (size_t k = 0; k < answer->count; k++)
                t_same_int(answer->signatures[k].result, DKIM_FAIL);
        }
    }
    t_case("what is appended to the body", "6376 8.2");
    t_same_int(verify(b, fields, plain, STR("x\r\ny\r\n"))->signatures[0].result, DKIM_FAIL);
    bed_free(b);
}

/* ---- what is not signed ---- */

static void test_refusals(void **state)
{
    static const struct {
        const char *name, *section, *why;
    } rows[] = {
        {"no From", "Subject: a\r\n", "there is no From field"},
        {"two From", "From: a@example.org\r\nFrom: a@example.org\r\n", "there is more than one From field"},
        {"no address", "From: me\r\n", "the From field holds no valid address"},
        {"an empty From", "From:\r\n", "the From field holds no valid address"},
    };
    struct bed *b = bed_new();
    struct dkim_signer *s;
    struct header header;
    const char *why;
    char *many;

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        t_case(rows[i].name, "6376 5.4");
        header = header_of(b, rows[i].section);
        s = dkim_sign_start(b->mem, &b->settings, &header, b->keys, 1, NOW, &why);
        t_true(s == NULL);
        t_same_z(why, rows[i].why);
        dkim_sign_cancel(&s);
    }
    t_case("more fields than h= may name", NULL);
    many = str_fmt(b->mem, "From: a@example.org\r\n");
    for (int i = 0; i < 256; i++)
        many = str_fmt(b->mem, "%sTo: x\r\n", many);
    header = header_of(b, many);
    t_true(dkim_sign_start(b->mem, &b->settings, &header, b->keys, 1, NOW, &why) == NULL);
    t_case("cancelled, nothing is held", NULL);
    header = header_of(b, plain);
    s = dkim_sign_start(b->mem, &b->settings, &header, b->keys, KEYS, NOW, &why);
    dkim_sign_body(s, STR("x"));
    dkim_sign_cancel(&s);
    t_true(s == NULL);
    bed_free(b);
}

static void test_twice(void **state)
{
    struct bed *b = bed_new();
    const char *fields, *section;

    (void)state;
    fields = sign_all(b, plain, STR("x\r\n"));
    section = str_fmt(b->mem, "%s%s", fields, plain);
    t_case("a message that carries our valid signatures is not signed again", NULL);
    t_same_int(sign_with(b, section, STR("x\r\n"), b->keys, KEYS, NOW).n, 0);
    t_case("it is when the body changed", NULL);
    must_pass(b, str_dup(b->mem, sign_with(b, section, STR("y\r\n"), b->keys, 2, NOW)), plain, STR("y\r\n"),
              2);
    t_case("or when the signature is about to be worthless", NULL);
    b->settings.valid_s = 10;
    fields = str_dup(b->mem, sign_with(b, plain, STR("x\r\n"), b->keys, 1, NOW - 10));
    section = str_fmt(b->mem, "%s%s", fields, plain);
    t_true(sign_with(b, section, STR("x\r\n"), b->keys, 1, NOW).n > 0);
    t_case("or by another of our keys", NULL);
    t_true(sign_with(b, section, STR("x\r\n"), &b->keys[1], 1, NOW - 10).n > 0);
    t_case("or when it is asked for", NULL);
    t_same_int(sign_with(b, section, STR("x\r\n"), b->keys, 1, NOW - 10).n, 0);
    b->settings.even_when_signed = true;
    t_true(sign_with(b, section, STR("x\r\n"), b->keys, 1, NOW - 10).n > 0);
    bed_free(b);
}

/* ---- its look ---- */

static void test_columns(void **state)
{
    struct bed *b = bed_new();
    struct str line, rest;
    bool more = true;

    (void)state;
    t_case("no line is longer than 78 columns, and none is blank", "5322 2.1.1");
    b->settings.with_time = true;
    b->settings.valid_s = 100;
    b->keys[0].identity = "somebody.with.a.long.name@news.letters.example.org";
    b->settings.oversign = dkim_sign_fields;
    b->settings.oversign_count = dkim_sign_fields_count;
    rest = sign_with(b, plain, STR("x\r\n"), b->keys, KEYS, NOW);
    while (more) {
        size_t columns = 0;

        more = str_cut(rest, '\n', &line, &rest);
        line = str_upto(line, line.n > 0 ? line.n - 1 : 0);
        for (size_t i = 0; i < line.n; i++)
            columns += line.p[i] == '\t' ? 8 : 1;
        if (columns > 78)
            t_fail("%zu columns: %.*s", columns, STR_ARG(line));
        t_true(!more || str_trim(line).n > 0);
        t_true(line.n == 0 || line.p[line.n - 1] != ' ');
    }
    bed_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_form), cmocka_unit_test(test_tags),     cmocka_unit_test(test_names),
        cmocka_unit_test(test_additions),  cmocka_unit_test(test_refusals), cmocka_unit_test(test_twice),
        cmocka_unit_test(test_columns),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
