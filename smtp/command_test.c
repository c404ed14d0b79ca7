#include "smtp/command.h"

#include "base/bug.h"
#include "tests/t.h"

static const struct smtp_offer everything = {true, true, true, true, true, true, true, true},
                               usual = {.size = true, .eightbitmime = true};
static const struct smtp_offer nothing = {0}, binary = {.binarymime = true, .chunking = true};

static const struct smtp_offer only_dsn = {.dsn = true};

#define TEN         "0123456789"
#define NINETY      TEN TEN TEN TEN TEN TEN TEN TEN TEN
#define HUNDRED     NINETY TEN
#define NINETYTHREE NINETY "123"

static struct smtp_command parse(const char *line, const struct smtp_offer *offer)
{
    struct smtp_command c;

    smtp_command_parse(str_of(line), offer, &c);
    return c;
}

static const struct {
    const char *name, *rfc, *line;
    enum smtp_verb verb;
    const char *argument;
    int reply_code;
    const char *enhanced;
} rows[] = {
    {"EHLO with a name", "5321 4.1.1.1", "EHLO mx.example.org", SMTP_EHLO, "mx.example.org", 0, NULL},
    {"verbs have no case", "5321 2.4", "eHlO mx", SMTP_EHLO, "mx", 0, NULL},
    {"EHLO without a name", "5321 4.1.1.1", "EHLO", SMTP_EHLO, "", 501, "5.5.4"},
    {"EHLO with blanks for a name", "5321 4.1.1.1", "EHLO   ", SMTP_EHLO, "", 501, "5.5.4"},
    {"the form of the name is for others to judge", "5321 4.1.1.1", "HELO what is this?", SMTP_HELO,
     "what is this?", 0, NULL},
    {"a tab in the name", "5321 4.1.1.1", "HELO a\tb", SMTP_HELO, "a\tb", 501, "5.5.4"},
    {"blanks at the end are tolerated", "5321 4.1.1", "QUIT \t ", SMTP_QUIT, "", 0, NULL},
    {"a tab may part verb and argument", "5321 4.1.1", "NOOP\tx", SMTP_NOOP, "x", 0, NULL},
    {"blanks in front are not", "5321 4.1.1", " QUIT", SMTP_UNKNOWN, "QUIT", 500, "5.5.2"},
    {"an empty line is no command", "5321 4.1.1", "", SMTP_UNKNOWN, "", 500, "5.5.2"},
    {"an unknown verb", "5321 4.2.4", "FOO bar", SMTP_UNKNOWN, "bar", 500, "5.5.2"},
    {"a verb that only begins well", "5321 4.1.1", "DATAX", SMTP_UNKNOWN, "", 500, "5.5.2"},
    {"a verb that is only begun", "5321 4.1.1", "DAT", SMTP_UNKNOWN, "", 500, "5.5.2"},
    {"DATA", "5321 4.1.1.4", "DATA", SMTP_DATA, "", 0, NULL},
    {"DATA has no argument", "5321 4.1.1.4", "DATA now", SMTP_DATA, "now", 501, "5.5.4"},
    {"RSET has no argument", "5321 4.1.1.5", "RSET x", SMTP_RSET, "x", 501, "5.5.4"},
    {"QUIT has no argument", "5321 4.1.1.10", "QUIT x", SMTP_QUIT, "x", 501, "5.5.4"},
    {"STARTTLS has no argument", "3207 4", "STARTTLS x", SMTP_STARTTLS, "x", 501, "5.5.4"},
    {"STARTTLS", "3207 4", "starttls", SMTP_STARTTLS, "", 0, NULL},
    {"NOOP may have one", "5321 4.1.1.9", "NOOP hello", SMTP_NOOP, "hello", 0, NULL},
    {"HELP may have one", "5321 4.1.1.8", "HELP MAIL", SMTP_HELP, "MAIL", 0, NULL},
    {"VRFY needs one", "5321 4.1.1.6", "VRFY", SMTP_VRFY, "", 501, "5.5.4"},
    {"VRFY", "5321 4.1.1.6", "VRFY jones", SMTP_VRFY, "jones", 0, NULL},
    {"EXPN needs one", "5321 4.1.1.7", "EXPN", SMTP_EXPN, "", 501, "5.5.4"},
    {"BDAT is known", "3030 2", "BDAT 86 LAST", SMTP_BDAT, "86 LAST", 0, NULL},
    {"AUTH is known", "4954 4", "AUTH PLAIN AGFiYwBk", SMTP_AUTH, "PLAIN AGFiYwBk", 0, NULL},
    {"XCLIENT is known", NULL, "XCLIENT ADDR=192.0.2.1", SMTP_XCLIENT, "ADDR=192.0.2.1", 0, NULL},
    {"LHLO is known", "2033 4.1", "LHLO x", SMTP_LHLO, "x", 0, NULL},
    {"a browser's GET", NULL, "GET / HTTP/1.1", SMTP_FOREIGN, "/ HTTP/1.1", 0, NULL},
    {"a browser's POST", NULL, "POST / HTTP/1.1", SMTP_FOREIGN, "/ HTTP/1.1", 0, NULL},
    {"a proxy user's CONNECT", NULL, "CONNECT a:25 HTTP/1.1", SMTP_FOREIGN, "a:25 HTTP/1.1", 0, NULL},
    {"PUT, HEAD, OPTIONS", NULL, "OPTIONS *", SMTP_FOREIGN, "*", 0, NULL},
    {"a long s is no S", "5321 2.4", "\xC5\xBFTARTTLS", SMTP_UNKNOWN, "", 500, "5.5.2"},
    {"EHLO beyond ASCII", "5321 2.4", "EHLO m\xC3\xBCller.example", SMTP_EHLO, "m\xC3\xBCller.example", 500,
     "5.5.2"},
    {"NOOP beyond ASCII", "5321 2.4", "NOOP \xFF", SMTP_NOOP, "\xFF", 500, "5.5.2"},
    {"DEL in a command", "5321 2.4", "NOOP \x7F", SMTP_UNKNOWN, "\x7F", 500, "5.5.2"},
    {"a bare CR in a command", "5321 2.3.8", "NOOP a\rQUIT", SMTP_UNKNOWN, "a\rQUIT", 500, "5.5.2"},
    {"a bare LF in a command", "5321 2.3.8", "NOOP a\nQUIT", SMTP_UNKNOWN, "a\nQUIT", 500, "5.5.2"},
    {"a bare CR at the end of a command", "5321 2.3.8", "QUIT\r", SMTP_UNKNOWN, "", 500, "5.5.2"},
};

static void test_verbs(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct smtp_command c = parse(rows[i].line, &usual);

        t_case(rows[i].name, rows[i].rfc);
        t_same_int(c.reply_code, rows[i].reply_code);
        t_same_int(c.verb, rows[i].verb);
        t_same_str_z(c.verb == SMTP_UNKNOWN && c.argument.n == 0 ? STR("") : c.argument, rows[i].argument);
        if (rows[i].enhanced != NULL)
            t_true(str_starts(str_of(c.reply_text), str_of(rows[i].enhanced)));
        else
            t_true(c.reply_text == NULL);
    }
}

static const struct {
    const char *name, *rfc, *line, *address;
    const struct smtp_offer *offer;
    int reply_code;
    const char *enhanced;
} path_rows[] = {
    {"MAIL", "5321 4.1.1.2", "MAIL FROM:<a@b.example>", "a@b.example", &usual, 0, NULL},
    {"MAIL without regard to case", "5321 2.4", "mail from:<a@b.example>", "a@b.example", &usual, 0, NULL},
    {"MAIL with the null path", "5321 4.5.5", "MAIL FROM:<>", "", &usual, 0, NULL},
    {"a space behind the colon has one meaning", "5321 4.1.1.2", "MAIL FROM: <a@b.example>", "a@b.example",
     &usual, 0, NULL},
    {"a space before it is a fault", "5321 4.1.1.2", "MAIL FROM :<a@b.example>", "", &usual, 501, "5.5.4"},
    {"no brackets", "5321 4.1.1.2", "MAIL FROM:a@b.example", "", &usual, 501, "5.1.7"},
    {"no brackets round a recipient", "5321 4.1.1.3", "RCPT TO:a@b.example", "", &usual, 501, "5.1.3"},
    {"no path", "5321 4.1.1.2", "MAIL FROM:", "", &usual, 501, "5.1.7"},
    {"no FROM", "5321 4.1.1.2", "MAIL <a@b.example>", "", &usual, 501, "5.5.4"},
    {"MAIL alone", "5321 4.1.1.2", "MAIL", "", &usual, 501, "5.5.4"},
    {"MAIL with TO", "5321 4.1.1.2", "MAIL TO:<a@b.example>", "", &usual, 501, "5.5.4"},
    {"RCPT with FROM", "5321 4.1.1.3", "RCPT FROM:<a@b.example>", "", &usual, 501, "5.5.4"},
    {"RCPT", "5321 4.1.1.3", "RCPT TO:<a@b.example>", "a@b.example", &usual, 0, NULL},
    {"RCPT to the postmaster", "5321 4.1.1.3", "RCPT TO:<Postmaster>", "Postmaster", &usual, 0, NULL},
    {"RCPT to nobody", "5321 4.1.1.3", "RCPT TO:<>", "", &usual, 501, "5.1.3"},
    {"RCPT with a route", "5321 C", "RCPT TO:<@x.example:a@b.example>", "a@b.example", &usual, 0, NULL},
    {"a recipient beyond ASCII", "6531 3.5", "RCPT TO:<\xC3\xBC@b.example>", "", &usual, 553, "5.6.7"},
    {"a sender beyond ASCII", "6531 3.5", "MAIL FROM:<a@\xC3\xBC.example>", "", &usual, 553, "5.6.7"},
    {"a sender beyond ASCII, not announced", "6531 3.4", "MAIL FROM:<\xC3\xBC@b.example>",
     "\xC3\xBC@b.example", &everything, 553, "5.6.7"},
    {"a sender beyond ASCII, announced", "6531 3.4", "MAIL FROM:<\xC3\xBC@b.example> SMTPUTF8",
     "\xC3\xBC@b.example", &everything, 0, NULL},
    {"a route beyond ASCII, not announced", "6531 3.4", "MAIL FROM:<@\xC3\xBC.example:a@b.example>",
     "a@b.example", &everything, 553, "5.6.7"},
    {"SIZE", "1870 4", "MAIL FROM:<a@b.example> SIZE=1000", "a@b.example", &usual, 0, NULL},
    {"SIZE and BODY with room between", "5321 4.1.1", "MAIL FROM:<a@b.example>  body=8bitmime   size=5 ",
     "a@b.example", &usual, 0, NULL},
    {"twenty digits of SIZE", "1870 3", "MAIL FROM:<> SIZE=99999999999999999999", "", &usual, 0, NULL},
    {"21 digits of SIZE", "1870 3", "MAIL FROM:<> SIZE=000000000000000000001", "", &usual, 501, "5.5.4"},
    {"SIZE with a sign", "1870 3", "MAIL FROM:<> SIZE=-1", "", &usual, 501, "5.5.4"},
    {"SIZE without a value", "1870 3", "MAIL FROM:<> SIZE", "", &usual, 501, "5.5.4"},
    {"SIZE with an empty value", "5321 4.1.2", "MAIL FROM:<> SIZE=", "", &usual, 501, "5.5.4"},
    {"SIZE twice", "5321 4.1.1.11", "MAIL FROM:<> SIZE=1 SIZE=1", "", &usual, 501, "5.5.4"},
    {"SIZE of a recipient", "1870 3", "RCPT TO:<a@b.example> SIZE=1", "a@b.example", &usual, 555, "5.5.4"},
    {"SIZE where it is not offered", "5321 4.1.1.11", "MAIL FROM:<> SIZE=1", "", &nothing, 555, "5.5.4"},
    {"BODY where it is not offered", "5321 4.1.1.11", "MAIL FROM:<> BODY=7BIT", "", &nothing, 555, "5.5.4"},
    {"BODY=BINARYMIME where it is not offered", "3030 3", "MAIL FROM:<> BODY=BINARYMIME", "", &usual, 555,
     "5.5.4"},
    {"BODY=BINARYMIME where it is", "3030 3", "MAIL FROM:<> BODY=BinaryMIME", "", &everything, 0, NULL},
    {"an unknown BODY", "6152 2", "MAIL FROM:<> BODY=9BIT", "", &everything, 501, "5.5.4"},
    {"BODY twice", "5321 4.1.1.11", "MAIL FROM:<> BODY=7BIT BODY=BINARYMIME", "", &everything, 501, "5.5.4"},
    {"BODY=7BIT where only BINARYMIME is offered", "3030 3", "MAIL FROM:<> BODY=7BIT", "", &binary, 0, NULL},
    {"BODY=8BITMIME where only BINARYMIME is offered", "6152 2", "MAIL FROM:<> BODY=8BITMIME", "", &binary,
     555, "5.5.4"},
    {"BODY=BINARYMIME without 8BITMIME", "3030 3", "MAIL FROM:<> BODY=BINARYMIME", "", &binary, 0, NULL},
    {"an unknown parameter", "5321 4.1.1.11", "MAIL FROM:<> FOO=bar", "", &usual, 555, "5.5.4"},
    {"a parameter of another extension", "4954 5", "MAIL FROM:<> AUTH=<>", "", &usual, 555, "5.5.4"},
    {"a parameter that is no word", "5321 4.1.2", "MAIL FROM:<> =x", "", &usual, 501, "5.5.4"},
    {"a keyword with an odd octet", "5321 4.1.2", "MAIL FROM:<> S_ZE=1", "", &usual, 501, "5.5.4"},
    {"a value with a second equals sign", "5321 4.1.2", "MAIL FROM:<> SIZE=1=2", "", &usual, 501, "5.5.4"},
    {"a tab between parameters", "5321 4.1.2", "MAIL FROM:<> SIZE=1\tBODY=7BIT", "", &usual, 501, "5.5.4"},
    {"a second path", "5321 4.1.2", "RCPT TO:<a@b.example> <c@d.example>", "a@b.example", &usual, 501,
     "5.5.4"},
    {"SMTPUTF8 with a value", "6531 3.4", "MAIL FROM:<> SMTPUTF8=yes", "", &everything, 501, "5.5.4"},
    {"SMTPUTF8 where it is not offered", "6531 3.4", "MAIL FROM:<> SMTPUTF8", "", &usual, 555, "5.5.4"},
    {"DSN", "3461 4", "MAIL FROM:<> RET=HDRS ENVID=a+2Bb", "", &everything, 0, NULL},
    {"DSN where it is not offered", "3461 4", "RCPT TO:<a@b.example> NOTIFY=NEVER", "a@b.example", &usual,
     555, "5.5.4"},
    {"NOTIFY with a list", "3461 4.1", "RCPT TO:<a@b.example> NOTIFY=SUCCESS,delay ORCPT=rfc822;a+40b",
     "a@b.example", &everything, 0, NULL},
    {"NOTIFY with NEVER and more", "3461 4.1", "RCPT TO:<a@b.example> NOTIFY=NEVER,DELAY", "a@b.example",
     &everything, 501, "5.5.4"},
    {"NOTIFY with a comma too many", "3461 4.1", "RCPT TO:<a@b.example> NOTIFY=DELAY,", "a@b.example",
     &everything, 501, "5.5.4"},
    {"xtext with a broken escape", "3461 4", "MAIL FROM:<> ENVID=a+0", "", &everything, 501, "5.5.4"},
    {"xtext with small letters", "3461 4", "MAIL FROM:<> ENVID=a+2b", "", &everything, 501, "5.5.4"},
    {"ORCPT without a type", "3461 4.2", "RCPT TO:<a@b.example> ORCPT=a@b.example", "a@b.example",
     &everything, 501, "5.5.4"},
    {"NOTIFY with a word twice", "3461 4.1", "RCPT TO:<a@b.example> NOTIFY=DELAY,FAILURE,delay",
     "a@b.example", &everything, 501, "5.5.4"},
    {"NOTIFY twice", "3461 4", "RCPT TO:<a@b.example> NOTIFY=DELAY NOTIFY=DELAY", "a@b.example", &everything,
     501, "5.5.4"},
    {"NOTIFY=NEVER", "3461 4.1", "RCPT TO:<a@b.example> notify=never", "a@b.example", &everything, 0, NULL},
    {"NOTIFY with an unknown word", "3461 4.1", "RCPT TO:<a@b.example> NOTIFY=ALWAYS", "a@b.example",
     &everything, 501, "5.5.4"},
    {"RET with an unknown word", "3461 4.3", "MAIL FROM:<> RET=ALL", "", &everything, 501, "5.5.4"},
    {"RET without a value", "3461 4.3", "MAIL FROM:<> RET", "", &everything, 501, "5.5.4"},
    {"ENVID of a hundred", "3461 4.4", "MAIL FROM:<> ENVID=" HUNDRED, "", &everything, 0, NULL},
    {"ENVID of more", "3461 4.4", "MAIL FROM:<> ENVID=" HUNDRED "x", "", &everything, 501, "5.5.4"},
    {"ENVID with a line end", "3461 4.4", "MAIL FROM:<> ENVID=a+0D+0ABcc:b", "", &everything, 501, "5.5.4"},
    {"ENVID with DEL", "3461 4.4", "MAIL FROM:<> ENVID=a+7F", "", &everything, 501, "5.5.4"},
    {"ENVID with an octet beyond ASCII", "3461 4.4", "MAIL FROM:<> ENVID=a+C3", "", &everything, 501,
     "5.5.4"},
    {"ENVID with a blank, encoded", "3461 4.4", "MAIL FROM:<> ENVID=a+20b", "", &everything, 0, NULL},
    {"ORCPT of five hundred", "3461 4.2",
     "RCPT TO:<a@b.example> ORCPT=rfc822;" HUNDRED HUNDRED HUNDRED HUNDRED NINETYTHREE, "a@b.example",
     &everything, 0, NULL},
    {"ORCPT of more", "3461 4.2",
     "RCPT TO:<a@b.example> ORCPT=rfc822;x" HUNDRED HUNDRED HUNDRED HUNDRED NINETYTHREE, "a@b.example",
     &everything, 501, "5.5.4"},
    {"ORCPT without an address", "3461 4.2", "RCPT TO:<a@b.example> ORCPT=rfc822;", "a@b.example",
     &everything, 501, "5.5.4"},
    {"ORCPT with an odd type", "3461 4.2", "RCPT TO:<a@b.example> ORCPT=rfc+41;a", "a@b.example", &everything,
     501, "5.5.4"},
    {"ORCPT with a line end", "3461 4.2", "RCPT TO:<a@b.example> ORCPT=rfc822;a+0Ab", "a@b.example",
     &everything, 501, "5.5.4"},
    {"ORCPT beyond ASCII", "6533 3", "RCPT TO:<a@b.example> ORCPT=utf-8;\xC3\xBC@b.example", "a@b.example",
     &everything, 0, NULL},
    {"ORCPT beyond ASCII of another type", "6533 3", "RCPT TO:<a@b.example> ORCPT=rfc822;\xC3\xBC@b.example",
     "a@b.example", &everything, 501, "5.5.4"},
    {"ORCPT in broken UTF-8", "6533 3", "RCPT TO:<a@b.example> ORCPT=utf-8;\xC3@b.example", "a@b.example",
     &everything, 501, "5.5.4"},
    {"ORCPT beyond ASCII without SMTPUTF8", "6533 3", "RCPT TO:<a@b.example> ORCPT=utf-8;\xC3\xBC@b.example",
     "a@b.example", &only_dsn, 501, "5.5.4"},
    {"ORCPT as the 7-bit form of that", "6533 3", "RCPT TO:<a@b.example> ORCPT=utf-8;\\x{FC}@b.example",
     "a@b.example", &only_dsn, 0, NULL},
    {"REQUIRETLS", "8689 2", "MAIL FROM:<a@b.example> requiretls", "a@b.example", &everything, 0, NULL},
    {"REQUIRETLS with a value", "8689 2", "MAIL FROM:<> REQUIRETLS=1", "", &everything, 501, "5.5.4"},
    {"REQUIRETLS where it is not offered", "8689 2", "MAIL FROM:<> REQUIRETLS", "", &usual, 555, "5.5.4"},
    {"REQUIRETLS of a recipient", "8689 2", "RCPT TO:<a@b.example> REQUIRETLS", "a@b.example", &everything,
     555, "5.5.4"},
    {"AUTH=<>", "4954 5", "MAIL FROM:<> AUTH=<>", "", &everything, 0, NULL},
    {"AUTH with a mailbox", "4954 5", "MAIL FROM:<> AUTH=e+3Dmc2@example.com", "", &everything, 0, NULL},
    {"AUTH with something else", "4954 5", "MAIL FROM:<> AUTH=a+20b", "", &everything, 501, "5.5.4"},
    {"AUTH with broken xtext", "4954 5", "MAIL FROM:<> AUTH=a+@b.example", "", &everything, 501, "5.5.4"},
    {"AUTH with a line end", "4954 5", "MAIL FROM:<> AUTH=a+0D+0A@b.example", "", &everything, 501, "5.5.4"},
    {"a malformed path is no matter of SMTPUTF8", "6531 3.5", "MAIL FROM:<\xC3@b.example> SMTPUTF8", "",
     &everything, 501, "5.1.7"},
    {"RET of a recipient", "3461 4.3", "RCPT TO:<a@b.example> RET=FULL", "a@b.example", &everything, 555,
     "5.5.4"},
};

static void test_path_commands(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(path_rows); i++) {
        struct smtp_command c = parse(path_rows[i].line, path_rows[i].offer);

        t_case(path_rows[i].name, path_rows[i].rfc);
        t_same_int(c.reply_code, path_rows[i].reply_code);
        t_true(c.verb == SMTP_MAIL || c.verb == SMTP_RCPT);
        if (path_rows[i].enhanced != NULL)
            t_true(str_starts(str_of(c.reply_text), str_of(path_rows[i].enhanced)));
        else
            t_same_str_z(c.address.text, path_rows[i].address);
    }
}

static void test_parameters(void **state)
{
    struct smtp_command c;

    (void)state;
    t_case("the values of the parameters", "1870 4");
    c = parse("MAIL FROM:<a@b.example> SIZE=1000 BODY=8BITMIME SMTPUTF8 ENVID=x", &everything);
    t_true(c.has_size && c.smtputf8);
    t_same_int(c.size, 1000);
    t_same_int(c.body, SMTP_BODY_8BITMIME);
    t_same_str_z(c.envid, "x");
    c = parse("MAIL FROM:<> BODY=BINARYMIME RET=hdrs REQUIRETLS AUTH=a+2Bb@c.example", &everything);
    t_true(c.requiretls && !c.smtputf8);
    t_same_int(c.body, SMTP_BODY_BINARYMIME);
    t_same_str_z(c.ret, "hdrs");
    t_same_str_z(c.auth, "a+2Bb@c.example");
    t_case("the values of a recipient's parameters", "3461 4");
    c = parse("RCPT TO:<a@b.example> ORCPT=rfc822;A+40b NOTIFY=delay,SUCCESS", &everything);
    t_same_str_z(c.orcpt, "rfc822;A+40b");
    t_same_str_z(c.notify, "delay,SUCCESS");
    t_true(!c.smtputf8);
    t_case("what is absent is absent", "1870 4");
    c = parse("MAIL FROM:<a@b.example>", &everything);
    t_true(!c.has_size && !c.smtputf8 && c.size == 0 && c.body == SMTP_BODY_7BIT);
    t_true(!c.requiretls && c.ret.n + c.envid.n + c.auth.n + c.notify.n + c.orcpt.n == 0);
    t_case("a size beyond 64 bits is the largest there is", "1870 3");
    c = parse("MAIL FROM:<> SIZE=18446744073709551616", &usual);
    t_true(c.reply_code == 0 && c.size == UINT64_MAX);
    t_case("a recipient beyond ASCII says so", "6531 3.4");
    c = parse("RCPT TO:<\xC3\xBC@b.example>", &everything);
    t_true(c.reply_code == 0 && c.smtputf8);
    c = parse("RCPT TO:<a@b.example> ORCPT=utf-8;\xC3\xBC@b.example", &everything);
    t_true(c.reply_code == 0 && c.smtputf8);
}

static const struct {
    const char *name, *rfc, *line;
    struct smtp_offer backend;
    const char *want;
} pass_rows[] = {
    {"nothing to say",
     "3461 5.2",
     "MAIL FROM:<> SIZE=5 BODY=8BITMIME AUTH=<>",
     {.dsn = true, .auth = true},
     ""},
    {"all of a sender's parameters",
     "3461 5.2.1",
     "MAIL FROM:<> ENVID=+41b SIZE=5 RET=hdrs REQUIRETLS SMTPUTF8",
     {.dsn = true, .smtputf8 = true, .requiretls = true},
     " SMTPUTF8 REQUIRETLS RET=hdrs ENVID=+41b"},
    {"a backend without DSN",
     "3461 5.2.2",
     "MAIL FROM:<> RET=FULL SMTPUTF8",
     {.smtputf8 = true},
     " SMTPUTF8"},
    {"a backend with DSN alone",
     "3461 5.2.1",
     "MAIL FROM:<> RET=FULL SMTPUTF8 REQUIRETLS",
     {.dsn = true},
     " RET=FULL"},
    {"all of a recipient's parameters",
     "3461 5.2.1",
     "RCPT TO:<a@b.example> orcpt=RFC822;a+2Bb notify=NEVER",
     {.dsn = true},
     " NOTIFY=NEVER ORCPT=RFC822;a+2Bb"},
    {"SMTPUTF8 is no parameter of a recipient",
     "6531 3.4",
     "RCPT TO:<\xC3\xBC@b.example>",
     {.smtputf8 = true},
     ""},
};

static void test_pass_on(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(pass_rows); i++) {
        struct smtp_command c = parse(pass_rows[i].line, &everything);
        struct buf out;

        t_case(pass_rows[i].name, pass_rows[i].rfc);
        t_same_int(c.reply_code, 0);
        buf_init(&out, SMTP_PARAMETERS_MAX);
        smtp_command_pass_on(&c, &pass_rows[i].backend, &out);
        t_same_str_z(buf_str(&out), pass_rows[i].want);
        buf_fini(&out);
    }
}

/* The longest there can be is what the header says. */
static void test_pass_on_limit(void **state)
{
    struct smtp_command c;
    struct buf out;

    (void)state;
    t_case("the longest parameters", "3461 4");
    buf_init(&out, SMTP_PARAMETERS_MAX);
    c = parse("RCPT TO:<a@b.example> NOTIFY=SUCCESS,FAILURE,DELAY ORCPT=rfc822;" HUNDRED HUNDRED HUNDRED
                  HUNDRED NINETYTHREE,
              &everything);
    smtp_command_pass_on(&c, &everything, &out);
    t_true(!out.overflow);
    t_same_int(out.n, SMTP_PARAMETERS_MAX);
    buf_fini(&out);
}

static const struct {
    const char *name, *line;
    uint64_t bytes;
    bool last;
    int reply_code;
} chunk_rows[] = {
    {"a chunk", "BDAT 86", 86, false, 0},
    {"the last chunk", "BDAT 86 LAST", 86, true, 0},
    {"LAST without regard to case", "bdat 86 last", 86, true, 0},
    {"the empty last chunk", "BDAT 0 LAST", 0, true, 0},
    {"more room than needed", "BDAT  86   LAST ", 86, true, 0},
    {"twenty digits", "BDAT 00000000000000000001", 1, false, 0},
    {"twenty-one digits", "BDAT 000000000000000000001", 0, false, 501},
    {"the largest", "BDAT 18446744073709551615 LAST", UINT64_MAX, true, 0},
    {"beyond 64 bits", "BDAT 18446744073709551616", 0, false, 501},
    {"beyond 64 bits by far", "BDAT 99999999999999999999", 0, false, 501},
    {"no size", "BDAT", 0, false, 501},
    {"LAST alone", "BDAT LAST", 0, false, 501},
    {"a sign", "BDAT -1", 0, false, 501},
    {"a plus sign", "BDAT +1", 0, false, 501},
    {"a hexadecimal size", "BDAT 0x10", 0, false, 501},
    {"another word", "BDAT 5 FIRST", 0, false, 501},
    {"a word that only begins well", "BDAT 5 LASTLY", 0, false, 501},
    {"a word too many", "BDAT 5 LAST LAST", 0, false, 501},
    {"a tab between the words", "BDAT 5\tLAST", 0, false, 501},
    {"a tab behind a space", "BDAT 5 \tLAST", 0, false, 501},
    {"a long s is no S", "BDAT 5 LA\xC5\xBFT", 0, false, 500},
    {"a control character", "BDAT 5\x01", 0, false, 500},
    {"a bare CR", "BDAT 5\rLAST", 0, false, 500},
};

static void test_chunks(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(chunk_rows); i++) {
        struct smtp_command c = parse(chunk_rows[i].line, &everything);

        t_case(chunk_rows[i].name, "3030 2");
        t_same_int(c.verb, SMTP_BDAT);
        t_same_int(c.reply_code, chunk_rows[i].reply_code);
        if (c.reply_code != 0)
            continue;
        t_true(c.chunk_bytes == chunk_rows[i].bytes);
        t_same_int(c.last, chunk_rows[i].last);
    }
}

static const struct {
    const char *name, *rfc, *line, *mechanism, *initial;
    int reply_code;
    const char *enhanced;
} auth_rows[] = {
    {"a mechanism", "4954 4", "AUTH LOGIN", "LOGIN", "", 0, NULL},
    {"an initial response", "4954 4", "AUTH PLAIN AGFiYwBk", "PLAIN", "AGFiYwBk", 0, NULL},
    {"one with padding", "4954 4", "auth plain AGFiYwBkZQ==", "plain", "AGFiYwBkZQ==", 0, NULL},
    {"the empty initial response", "4954 4", "AUTH EXTERNAL =", "EXTERNAL", "=", 0, NULL},
    {"a mechanism with a hyphen", "4422 3.1", "AUTH SCRAM-SHA-256-PLUS", "SCRAM-SHA-256-PLUS", "", 0, NULL},
    {"a mechanism of twenty", "4422 3.1", "AUTH " TEN TEN, TEN TEN, "", 0, NULL},
    {"a mechanism of more", "4422 3.1", "AUTH " TEN TEN "1", NULL, NULL, 501, "5.5.4"},
    {"a mechanism with a dot", "4422 3.1", "AUTH A.B", NULL, NULL, 501, "5.5.4"},
    {"no mechanism", "4954 4", "AUTH", NULL, NULL, 501, "5.5.4"},
    {"base64 of odd length", "4954 4", "AUTH PLAIN AGF", NULL, NULL, 501, "5.5.2"},
    {"base64 with an odd character", "4954 4", "AUTH PLAIN AGF_", NULL, NULL, 501, "5.5.2"},
    {"base64 with padding inside", "4954 4", "AUTH PLAIN A===", NULL, NULL, 501, "5.5.2"},
    {"padding alone", "4954 4", "AUTH PLAIN ====", NULL, NULL, 501, "5.5.2"},
    {"two initial responses", "4954 4", "AUTH PLAIN AGFi AGFi", NULL, NULL, 501, "5.5.2"},
    {"cancelled at once", "4954 4", "AUTH PLAIN *", NULL, NULL, 501, "5.5.2"},
};

static void test_auth(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(auth_rows); i++) {
        struct smtp_command c = parse(auth_rows[i].line, &everything);

        t_case(auth_rows[i].name, auth_rows[i].rfc);
        t_same_int(c.verb, SMTP_AUTH);
        t_same_int(c.reply_code, auth_rows[i].reply_code);
        if (auth_rows[i].enhanced != NULL) {
            t_true(str_starts(str_of(c.reply_text), str_of(auth_rows[i].enhanced)));
            continue;
        }
        t_same_str_z(c.mechanism, auth_rows[i].mechanism);
        t_same_str_z(c.initial_response, auth_rows[i].initial);
    }
}

static void test_auth_length(void **state)
{
    static char line[SMTP_AUTH_LINE + 4] = "AUTH PLAIN-X ";
    struct smtp_command c;

    (void)state;
    memset(line + 13, 'A', sizeof(line) - 13);
    t_case("the longest initial response", "4954 4");
    smtp_command_parse(str_make(line, 13 + 12272), &everything, &c); /* 12,287 with CRLF */
    t_same_int(c.reply_code, 0);
    t_same_int(c.initial_response.n, 12272);
    t_case("a longer one", "4954 4");
    smtp_command_parse(str_make(line, 13 + 12276), &everything, &c);
    t_same_int(c.reply_code, 500);
    t_true(str_starts(str_of(c.reply_text), STR("5.5.6")));
}

static void test_base64(void **state)
{
    (void)state;
    t_case("what is base64", "4648 4");
    t_true(smtp_is_base64(STR("ab+/")) && smtp_is_base64(STR("abc=")) && smtp_is_base64(STR("ab==")));
    t_true(!smtp_is_base64(STR("")) && !smtp_is_base64(STR("=")) && !smtp_is_base64(STR("abc")));
    t_true(!smtp_is_base64(STR("a===")) && !smtp_is_base64(STR("ab=c")) && !smtp_is_base64(STR("abc\n")));
    t_true(!smtp_is_base64(STR("ab==ab==")) && !smtp_is_base64(STR("ab\0=")));
}

static void test_octets(void **state)
{
    struct smtp_command c;

    (void)state;
    t_case("a NUL in a command", "5321 2.4");
    smtp_command_parse(STR("MAIL FROM:<a@b.example>\0 SIZE=1"), &usual, &c);
    t_same_int(c.reply_code, 500);
    smtp_command_parse(STR("QUIT\0"), &usual, &c);
    t_same_int(c.reply_code, 500);
    t_case("a TLS ClientHello", "8446 5.1");
    smtp_command_parse(STR("\x16\x03\x01\x02\x00\x01"), &usual, &c);
    t_same_int(c.verb, SMTP_FOREIGN);
    t_case("no line at all", "5321 4.1.1");
    smtp_command_parse(STR(""), &usual, &c);
    t_same_int(c.reply_code, 500);
}

static void test_names(void **state)
{
    (void)state;
    for (enum smtp_verb verb = SMTP_EHLO; verb < SMTP_FOREIGN; verb++) {
        struct smtp_command c;

        t_case(smtp_verb_name(verb), "5321 4.1.1");
        smtp_command_parse(str_of(smtp_verb_name(verb)), &usual, &c);
        t_same_int(c.verb, verb);
    }
    t_same_z(smtp_verb_name(SMTP_VERBS), "?");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_verbs),         cmocka_unit_test(test_path_commands),
        cmocka_unit_test(test_parameters),    cmocka_unit_test(test_pass_on),
        cmocka_unit_test(test_pass_on_limit), cmocka_unit_test(test_chunks),
        cmocka_unit_test(test_auth),          cmocka_unit_test(test_auth_length),
        cmocka_unit_test(test_base64),        cmocka_unit_test(test_octets),
        cmocka_unit_test(test_names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
