#include "tests/t.h"

#include "auth/dkim.h"
#include "base/bug.h"
#include "proxy/signing.h"
#include "tests/fakedns.h"

#include <stdio.h>
#include <unistd.h>

enum { NOW = 1780300000 };

struct bed {
    struct arena *mem;
    const char *folder, *path, *record; /* of the key, and what the DNS is to show for it */
    struct fakedns *dns;
    struct dkim_keyring *ring;
    struct dkim_keyring_settings settings;
    struct dkim_keyring_key key;
};

static int set_up(void **state)
{
    static const char *const oversign[] = {"from", "subject"};
    struct arena *mem = arena_new(0);
    struct bed *b = ARENA_NEW(mem, struct bed);
    struct dkim_private *key = dkim_private_generate(DKIM_PRIVATE_ED25519);
    struct buf faults;
    struct fail fail;

    b->mem = mem;
    b->folder = mkdtemp(str_fmt(mem, "/tmp/signing_test.XXXXXX"));
    t_true(b->folder != NULL);
    b->path = str_fmt(mem, "%s/key", b->folder);
    b->record = dkim_private_record(mem, key);
    t_same_int(dkim_private_write(key, b->path, &fail), 0);
    dkim_private_free(&key);
    b->key = (struct dkim_keyring_key){.domain = "example.org", .selector = "s", .path = b->path};
    b->settings = (struct dkim_keyring_settings){.mode = MODE_ENFORCE,
                                                 .signing_table = "",
                                                 .key_table = "",
                                                 .keys = &b->key,
                                                 .keys_count = 1,
                                                 .oversign = oversign,
                                                 .oversign_count = COUNT(oversign)};
    buf_init(&faults, 1 << 16);
    b->ring = dkim_keyring_load(&b->settings, &faults, &faults);
    t_same_z(buf_z(&faults), "");
    buf_fini(&faults);
    b->dns = fakedns_new();
    *state = b;
    return 0;
}

static int tear_down(void **state)
{
    struct bed *b = *state;
    struct arena *mem = b->mem;

    fakedns_free(&b->dns);
    dkim_keyring_unref(&b->ring);
    unlink(b->path);
    rmdir(b->folder);
    arena_free(&mem);
    return 0;
}

static void show_key(struct bed *b)
{
    fakedns_add_text(b->dns, str_fmt(b->mem, "s._domainkey.example.org TXT \"%s\"\n", b->record));
}

/* The fields that go on top of a message with this header and this body; with none of them, why. */
static struct str sign(struct bed *b, const char *section, const char *body, const char **why_out)
{
    struct header header;
    struct dkim_signer *signer;

    t_same_int(header_parse(b->mem, str_of(section), 1000, &header), HEADER_OK);
    signer = signing_start(b->mem, b->ring, &b->settings, &header, NOW, why_out);
    if (signer == NULL)
        return STR("");
    dkim_sign_body(signer, str_of(body));
    return dkim_sign_end(&signer);
}

/* ---- whose signature ---- */

static void on_verified(const struct dkim_answer *answer, void *arg)
{
    *(const struct dkim_answer **)arg = answer;
}

static void expect_pass(struct bed *b, struct str fields, const char *section, const char *body)
{
    const struct dkim_settings settings = {MODE_ENFORCE, 1024, 6, DKIM_SHA1_POLICY};
    struct str whole = str_of(str_fmt(b->mem, "%.*s%s", STR_ARG(fields), section));
    const struct dkim_answer *answer = NULL;
    struct dkim_verifier *v;
    struct header header;

    t_same_int(header_parse(b->mem, whole, 1000, &header), HEADER_OK);
    v = dkim_verify_start(b->mem, fakedns_dns(b->dns), NULL, &settings, &header, NULL, NOW);
    dkim_verify_body(v, str_of(body));
    dkim_verify_end(v, on_verified, &answer);
    fakedns_run(b->dns);
    t_true(answer != NULL);
    t_same_int(answer->count, 1);
    t_same_z(answer->signatures[0].reason, "");
    t_same_int(answer->signatures[0].result, DKIM_PASS);
    t_same_z(answer->signatures[0].domain, "example.org");
    dkim_verify_cancel(&v);
}

static void test_authors(void **state)
{
    static const struct {
        const char *name, *rfc, *section;
    } rows[] = {
        {"one author", NULL, "From: Ann <ann@example.org>\r\nSubject: x\r\n"},
        {"of several authors the first", "6376 6.3",
         "From: ann@example.org, bob@other.test\r\nSender: bob@other.test\r\n"},
        {"the members of a group", "6854 2.1", "From: team: ann@example.org, bob@other.test;\r\n"},
        {"a quoted name that looks like an address", "5322 3.4",
         "From: \"eve@other.test\" <ann@example.org>\r\n"},
        {"in another case, with a comment", "5322 3.2.2", "FROM: ann@EXAMPLE.org (the author)\r\n"},
        {"a folded From", "5322 2.2.3", "From: Ann\r\n\t<ann@example.org>\r\n"},
    };
    struct bed *b = *state;
    const char *why;

    show_key(b);
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct str fields = sign(b, rows[i].section, "Hello\r\n", &why);

        t_case(rows[i].name, rows[i].rfc);
        t_true(fields.n > 0);
        expect_pass(b, fields, rows[i].section, "Hello\r\n");
    }
}

static void test_unsigned(void **state)
{
    static const struct {
        const char *name, *rfc, *section, *why; /* NULL: there is nothing to say */
    } rows[] = {
        {"no From", "5322 3.6", "To: x@example.org\r\n", "there is no From field"},
        {"an empty group", "6854 2.1", "From: undisclosed:;\r\n", "the From field names nobody"},
        {"two From fields", "6376 5.4", "From: ann@example.org\r\nFrom: bob@other.test\r\n",
         "there is more than one From field"},
        {"another domain", NULL, "From: bob@other.test\r\n", NULL},
        {"a subdomain", NULL, "From: bob@sub.example.org\r\n", NULL},
        {"the second author's domain does not count", "6376 6.3", "From: bob@other.test, ann@example.org\r\n",
         NULL},
    };
    struct bed *b = *state;
    const char *why;

    for (size_t i = 0; i < COUNT(rows); i++) {
        t_case(rows[i].name, rows[i].rfc);
        t_same_int(sign(b, rows[i].section, "", &why).n, 0);
        t_true((why == NULL) == (rows[i].why == NULL));
        if (why != NULL)
            t_same_z(why, rows[i].why);
    }
    t_case("what is no address list is never guessed at", "5322 3.4");
    t_same_int(sign(b, "From: ann@example.org bob\r\n", "", &why).n, 0);
    t_true(why != NULL && *why != '\0');
}

/* ---- how ---- */

static bool contains(struct str text, const char *what)
{
    return memmem(text.p, text.n, what, strlen(what)) != NULL;
}

static void test_settings(void **state)
{
    static const char *const words[] = {"c=relaxed/relaxed;", "c=relaxed/simple;", "c=simple/relaxed;",
                                        "c=simple/simple;"};
    static const char section[] = "From: ann@example.org\r\nSubject: x\r\n";
    struct bed *b = *state;
    const char *why;

    show_key(b);
    for (unsigned i = 0; i < COUNT(words); i++) {
        struct str fields;

        b->settings.canonicalization = i;
        fields = sign(b, section, " x  y \r\n", &why);
        t_case(words[i], "6376 3.4");
        t_true(contains(fields, words[i]));
        expect_pass(b, fields, section, " x  y \r\n");
    }
    t_case("oversigned fields stand there once more than they occur", "6376 8.15");
    t_true(contains(sign(b, section, "", &why), "h=from:from:subject:subject;"));
    t_case("t= always, x= by setting", "6376 3.5");
    t_true(contains(sign(b, section, "", &why), "t=1780300000;"));
    t_true(!contains(sign(b, section, "", &why), "x="));
    b->settings.valid_s = 600;
    t_true(contains(sign(b, section, "", &why), "x=1780300600;"));
}

/* ---- the watch over what the world sees ---- */

static void test_watch(void **state)
{
    static const char section[] = "From: ann@example.org\r\n";
    struct bed *b = *state;
    struct loop *loop = loop_new();
    struct signing_watch *watch = signing_watch_start(loop, fakedns_dns(b->dns), b->ring);
    const char *why;

    t_case("each key is looked for at the start", NULL);
    t_same_int(fakedns_asked(b->dns), 1);
    t_same_z(fakedns_question(b->dns, 0), "TXT s._domainkey.example.org");
    t_case("until the answer a key signs", NULL);
    t_true(sign(b, section, "", &why).n > 0);
    t_case("one that the DNS does not show does not, and the log can say why", NULL);
    fakedns_run(b->dns);
    t_same_int(sign(b, section, "", &why).n, 0);
    t_same_z(why, "the DNS does not show the key");
    signing_watch_stop(&watch);
    t_true(watch == NULL);

    t_case("it signs again when the record is there", NULL);
    show_key(b);
    watch = signing_watch_start(loop, fakedns_dns(b->dns), b->ring);
    fakedns_run(b->dns);
    t_true(sign(b, section, "", &why).n > 0);
    signing_watch_stop(&watch);

    t_case("cancelled, never calls back", NULL);
    fakedns_add_text(b->dns, "s._domainkey.example.org TXT \"v=DKIM1; p=\"\n");
    watch = signing_watch_start(loop, fakedns_dns(b->dns), b->ring);
    t_same_int(fakedns_waiting(b->dns), 1);
    signing_watch_stop(&watch);
    t_same_int(fakedns_waiting(b->dns), 0);
    t_true(sign(b, section, "", &why).n > 0);
    signing_watch_stop(&watch); /* NULL is fine */
    loop_free(&loop);
}

/* What we write ourselves, reports above all, is signed whole. */
static void test_whole(void **state)
{
    struct bed *b = *state;
    static const char mail[] = "From: dmarc@example.org\r\nSubject: Report\r\n\r\nbody\r\n";
    static const char other[] = "From: dmarc@example.net\r\n\r\nbody\r\n";
    struct str fields = signing_whole(b->mem, b->ring, &b->settings, STR(mail), NOW);

    t_case("mail in our own name has our signature on top", "9990 3.3");
    t_true(str_starts(fields, STR("DKIM-Signature: ")));
    t_true(strstr(str_dup(b->mem, fields), "d=example.org") != NULL);
    t_true(str_ends_same(fields, STR("\r\n")));
    t_case("mail in another name, or of no sense, has none", NULL);
    t_same_int(signing_whole(b->mem, b->ring, &b->settings, STR(other), NOW).n, 0);
    t_same_int(signing_whole(b->mem, b->ring, &b->settings, STR("no header\r\n\r\n"), NOW).n, 0);
    t_same_int(signing_whole(b->mem, b->ring, &b->settings, STR(""), NOW).n, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_whole, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_authors, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_unsigned, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_settings, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_watch, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
