#include "smtp/capability.h"

#include "base/bug.h"
#include "tests/t.h"

/* What was understood, as one line. */
static const char *show(struct arena *mem, const struct smtp_capabilities *c)
{
    const struct {
        const char *name;
        bool can;
    } flags[] = {
        {"pipelining", c->pipelining},
        {"size", c->size},
        {"8bitmime", c->eightbitmime},
        {"smtputf8", c->smtputf8},
        {"chunking", c->chunking},
        {"binarymime", c->binarymime},
        {"dsn", c->dsn},
        {"starttls", c->starttls},
        {"requiretls", c->requiretls},
        {"enhanced", c->enhanced},
        {"xclient", c->xclient},
        {"xforward", c->xforward},
        {"limits", c->limits},
        {"size_max", c->size_max > 0},
    };
    char *text = str_fmt(mem, "%s", c->esmtp ? "esmtp" : "");

    for (size_t i = 0; i < COUNT(flags); i++)
        if (flags[i].can)
            text = str_fmt(mem, "%s %s", text, flags[i].name);
    if (c->size_max > 0)
        text = str_fmt(mem, "%s=%llu", text, (unsigned long long)c->size_max);
    if (c->xclient_fields + c->xforward_fields > 0)
        text = str_fmt(mem, "%s xclient=%x xforward=%x", text, c->xclient_fields, c->xforward_fields);
    if (c->rcpt_max + c->mail_max + c->rcpt_domain_max > 0)
        text = str_fmt(mem, "%s limits=%u/%u/%u", text, c->rcpt_max, c->mail_max, c->rcpt_domain_max);
    return c->auth[0] != '\0' ? str_fmt(mem, "%s auth=%s", text, c->auth) : text;
}

static const struct {
    const char *name, *rfc, *text, *want;
} rows[] = {
    {"a name alone", "5321 4.1.1.1", "mx.example.org", "esmtp"},
    {"no text at all", "5321 4.1.1.1", "", "esmtp"},
    {"the name is no keyword", "5321 4.1.1.1", "PIPELINING", "esmtp"},
    {"Postfix", "5321 4.1.1.1",
     "mx.example.org\nPIPELINING\nSIZE 10240000\nVRFY\nETRN\nSTARTTLS\nXCLIENT NAME ADDR PORT PROTO HELO "
     "LOGIN "
     "DESTADDR DESTPORT\nXFORWARD NAME ADDR PROTO HELO SOURCE PORT "
     "IDENT\nENHANCEDSTATUSCODES\n8BITMIME\nDSN\n"
     "SMTPUTF8\nCHUNKING",
     "esmtp pipelining size 8bitmime smtputf8 chunking dsn starttls enhanced xclient xforward "
     "size_max=10240000 xclient=ff xforward=31f"},
    {"Dovecot's LMTP", "2033 4.1",
     "mx.example.org\n8BITMIME\nENHANCEDSTATUSCODES\nCHUNKING\nPIPELINING\nSTARTTLS",
     "esmtp pipelining 8bitmime chunking starttls enhanced"},
    {"keywords have no case", "5321 4.1.1.1", "a\npipeLining\n8BitMime\nsize 5",
     "esmtp pipelining size 8bitmime size_max=5"},
    {"unknown keywords", "5321 4.1.1.1", "a\nX-FOO bar\nPIPELININGS\nDS\n\n \nDSN", "esmtp dsn"},
    {"words where none are due", "5321 4.1.1.1", "a\nPIPELINING yes\nDSN 1", "esmtp pipelining dsn"},
    {"room around words", "5321 4.1.1.1", "a\n  SIZE   5  \nXCLIENT  NAME   ADDR ",
     "esmtp size xclient size_max=5 "
     "xclient=3 xforward=0"},
    {"SIZE alone", "1870 4", "a\nSIZE", "esmtp size"},
    {"SIZE 0 is no limit", "1870 4", "a\nSIZE 0", "esmtp size"},
    {"SIZE that is no number", "1870 4", "a\nSIZE 5M", "esmtp size"},
    {"SIZE beyond 64 bits", "1870 4", "a\nSIZE 99999999999999999999", "esmtp size"},
    {"BINARYMIME", "3030 3", "a\nBINARYMIME\nCHUNKING", "esmtp chunking binarymime"},
    {"REQUIRETLS", "8689 2", "a\nREQUIRETLS", "esmtp requiretls"},
    {"mechanisms", "4954 3", "a\nAUTH PLAIN LOGIN SCRAM-SHA-256", "esmtp auth=PLAIN LOGIN SCRAM-SHA-256"},
    {"mechanisms in two spellings", "4954 3", "a\nAUTH PLAIN LOGIN\nAUTH=LOGIN plain XOAUTH2",
     "esmtp auth=PLAIN LOGIN XOAUTH2"},
    {"AUTH without mechanisms", "4954 3", "a\nAUTH\nAUTH ", "esmtp"},
    {"what is no mechanism", "4422 3.1", "a\nAUTH PL.AIN A234567890123456789012 \xC3\xBC CRAM-MD5",
     "esmtp auth=CRAM-MD5"},
    {"attributes that nobody knows", NULL, "a\nXCLIENT COLOR IDENT ADDR\nXFORWARD LOGIN SOURCE ADDR",
     "esmtp xclient xforward xclient=2 xforward=202"},
    {"XCLIENT without an address is none", NULL, "a\nXCLIENT NAME HELO\nXFORWARD NAME",
     "esmtp xforward xclient=11 xforward=1"},
    {"XCLIENT and XFORWARD alone", NULL, "a\nXCLIENT\nXFORWARD", "esmtp xforward"},
    {"LIMITS", "9422 4", "a\nLIMITS RCPTMAX=20 MAILMAX=5 RCPTDOMAINMAX=1", "esmtp limits limits=20/5/1"},
    {"one limit", "9422 4", "a\nLIMITS MAILMAX=999999", "esmtp limits limits=0/999999/0"},
    {"limits have no case", "9422 3", "a\nlimits rcptMax=20", "esmtp limits limits=20/0/0"},
    {"limits that are none", "9422 4",
     "a\nLIMITS RCPTMAX=0 MAILMAX=1000000 RCPTDOMAINMAX= FOO=5 RCPTMAX RCPTMAX=05 MAILMAX=-1 MAILMAX=5x",
     "esmtp limits"},
    {"of two limits the smaller holds", "9422 4", "a\nLIMITS RCPTMAX=20 RCPTMAX=10 RCPTMAX=30",
     "esmtp limits limits=10/0/0"},
};

static void test_rows(void **state)
{
    struct arena *mem = arena_new(0);

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct smtp_capabilities c;

        t_case(rows[i].name, rows[i].rfc);
        memset(&c, 0xFF, sizeof(c)); /* nothing of before is left */
        smtp_capabilities_parse(str_of(rows[i].text), &c);
        t_same_z(show(mem, &c), rows[i].want);
    }
    arena_free(&mem);
}

static void test_many_mechanisms(void **state)
{
    struct smtp_capabilities c;
    struct buf text;

    (void)state;
    t_case("more mechanisms than there is room for", "4954 3");
    buf_init(&text, 10000);
    buf_add_z(&text, "a\nAUTH");
    for (int i = 0; i < 100; i++)
        buf_fmt(&text, " MECHANISM-%03d", i);
    buf_add_z(&text, " Z");
    smtp_capabilities_parse(buf_str(&text), &c);
    t_same_int(strlen(c.auth), 18 * 14 - 1 + 2); /* eighteen, and then one that fits */
    t_true(smtp_capabilities_has_auth(&c, STR("mechanism-017")));
    t_true(!smtp_capabilities_has_auth(&c, STR("MECHANISM-018")));
    t_true(smtp_capabilities_has_auth(&c, STR("Z")));
    t_case("a part of a name is no name", "4954 3");
    t_true(!smtp_capabilities_has_auth(&c, STR("MECHANISM")));
    t_true(!smtp_capabilities_has_auth(&c, STR("")));
    buf_fini(&text);
}

static void test_offer(void **state)
{
    struct smtp_capabilities c;
    struct smtp_offer offer;

    (void)state;
    t_case("what is offered", "5321 4.1.1.1");
    smtp_capabilities_parse(STR("a\nDSN\nSMTPUTF8\nAUTH PLAIN"), &c);
    offer = smtp_capabilities_offer(&c);
    t_true(offer.dsn && offer.smtputf8 && offer.auth);
    t_true(!offer.size && !offer.eightbitmime && !offer.chunking && !offer.binarymime && !offer.requiretls);
    smtp_capabilities_parse(STR("a\nSIZE\n8BITMIME\nCHUNKING\nBINARYMIME\nREQUIRETLS"), &c);
    offer = smtp_capabilities_offer(&c);
    t_true(!offer.dsn && !offer.smtputf8 && !offer.auth);
    t_true(offer.size && offer.eightbitmime && offer.chunking && offer.binarymime && offer.requiretls);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_many_mechanisms),
        cmocka_unit_test(test_offer),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
