#include "smtp/xclient.h"

#include "base/bug.h"
#include "tests/t.h"

#define FIFTY     "01234567890123456789012345678901234567890123456789"
#define TWO_FIFTY FIFTY FIFTY FIFTY FIFTY FIFTY

/* All that was heard, as one line. */
static const char *show(struct arena *mem, const struct smtp_xclient *x)
{
    static const char *const names[] = {"NAME", "ADDR",  "PORT",     "PROTO",
                                        "HELO", "LOGIN", "DESTADDR", "DESTPORT"};
    char *text = str_fmt(mem, "%s", "");

    for (unsigned i = 0; i < COUNT(names); i++) {
        const struct str texts[] = {x->name,
                                    str_of(ip_text(mem, &x->addr)),
                                    str_of(str_fmt(mem, "%u", x->port)),
                                    str_of(x->esmtp ? "ESMTP" : "SMTP"),
                                    x->helo,
                                    x->login,
                                    str_of(ip_text(mem, &x->dest_addr)),
                                    str_of(str_fmt(mem, "%u", x->dest_port))};

        if ((x->given & 1u << i) == 0)
            continue;
        text = str_fmt(mem, "%s %s=%.*s", text, names[i],
                       STR_ARG((x->unavailable & 1u << i) == 0 ? texts[i] : STR("-")));
    }
    return str_fmt(mem, "%s%s", text, x->name_temporary ? " (for now)" : "");
}

/* Named in XCLIENT_README: the command and its attributes. */
static const struct {
    const char *name, *argument, *want; /* NULL: 501 */
} rows[] = {
    {"name and address", "NAME=spike.example.org ADDR=192.0.2.1", " NAME=spike.example.org ADDR=192.0.2.1"},
    {"names have no case", "name=a.example aDDr=192.0.2.1", " NAME=a.example ADDR=192.0.2.1"},
    {"all of them",
     "NAME=a.example ADDR=IPV6:2001:db8::1 PORT=25000 PROTO=ESMTP HELO=b.example LOGIN=joe "
     "DESTADDR=192.0.2.2 "
     "DESTPORT=25",
     " NAME=a.example ADDR=2001:db8::1 PORT=25000 PROTO=ESMTP HELO=b.example LOGIN=joe DESTADDR=192.0.2.2 "
     "DESTPORT=25"},
    {"room between them", "  ADDR=192.0.2.1   PORT=1 ", " ADDR=192.0.2.1 PORT=1"},
    {"no attribute", "", NULL},
    {"blanks for attributes", "   ", NULL},
    {"an unknown attribute", "COLOR=red", NULL},
    {"an attribute of XFORWARD", "IDENT=x", NULL},
    {"an attribute twice", "ADDR=192.0.2.1 addr=192.0.2.1", NULL},
    {"no value", "NAME", NULL},
    {"an empty value", "NAME=", NULL},
    {"a tab between attributes", "PORT=1\tADDR=192.0.2.1", NULL},
    {"no name of an attribute", "=x", NULL},
    {"a value with an equals sign", "HELO=a=b", NULL},
    {"a value that is no xtext", "HELO=a+b", NULL},
    {"no such name", "NAME=[UNAVAILABLE]", " NAME=-"},
    {"no such name, in small letters", "NAME=[unavailable]", " NAME=-"},
    {"a name that cannot be looked up now", "NAME=[TEMPUNAVAIL]", " NAME=- (for now)"},
    {"a name in small letters that cannot", "NAME=[TempUnavail]", " NAME=- (for now)"},
    {"only names are unavailable for now", "HELO=[TEMPUNAVAIL]", " HELO=[TEMPUNAVAIL]"},
    {"an address is not unavailable for now", "ADDR=[TEMPUNAVAIL]", NULL},
    {"nothing is known",
     "ADDR=[UNAVAILABLE] PORT=[UNAVAILABLE] HELO=[UNAVAILABLE] LOGIN=[UNAVAILABLE] DESTADDR=[UNAVAILABLE] "
     "DESTPORT=[UNAVAILABLE]",
     " ADDR=- PORT=- HELO=- LOGIN=- DESTADDR=- DESTPORT=-"},
    {"a protocol is always known", "PROTO=[UNAVAILABLE]", NULL},
    {"SMTP", "PROTO=smtp", " PROTO=SMTP"},
    {"another protocol", "PROTO=LMTP", NULL},
    {"a name that is no name", "NAME=a..example", NULL},
    {"a name with a line end", "NAME=a.example+0D+0A", NULL},
    {"a name that is an address", "NAME=[192.0.2.1]", NULL},
    {"an address in brackets", "ADDR=[192.0.2.1]", NULL},
    {"an address of three numbers", "ADDR=192.0.2", NULL},
    {"an address with a leading zero", "ADDR=192.0.2.01", NULL},
    {"an IPv6 address without its prefix", "ADDR=2001:db8::1", NULL},
    {"an IPv4 address with that prefix", "ADDR=IPV6:192.0.2.1", NULL},
    {"the prefix in small letters", "ADDR=ipv6:2001:DB8::1", " ADDR=2001:db8::1"},
    {"an IPv4 address in disguise", "ADDR=IPV6:::ffff:192.0.2.1", " ADDR=192.0.2.1"},
    {"an address with a zone", "ADDR=IPV6:fe80::1%eth0", NULL},
    {"an address with a NUL", "ADDR=192.0.2.1+00", NULL},
    {"the largest port", "PORT=65535", " PORT=65535"},
    {"a port too large", "PORT=65536", NULL},
    {"a port with six digits", "PORT=000025", NULL},
    {"a port with a sign", "PORT=+2B5", NULL},
    {"a HELO that is no name", "HELO=what+20is+20this?", " HELO=what is this?"},
    {"a HELO that is a literal", "HELO=[192.0.2.1]", " HELO=[192.0.2.1]"},
    {"a HELO with a line end", "HELO=a+0Ab", NULL},
    {"a HELO beyond ASCII", "HELO=m+C3+BCller", NULL},
    {"a user beyond ASCII", "LOGIN=m+C3+BCller@a.example", " LOGIN=m\xC3\xBCller@a.example"},
    {"a user in broken UTF-8", "LOGIN=m+C3ller", NULL},
    {"a user with DEL", "LOGIN=m+7F", NULL},
    {"a user with an equals sign", "LOGIN=a+3Db", " LOGIN=a=b"},
    {"a value of 255 octets", "HELO=" TWO_FIFTY "+2012+3D4", " HELO=" TWO_FIFTY " 12=4"},
    {"a longer one", "HELO=" TWO_FIFTY "123456", NULL},
};

static void test_parse(void **state)
{
    struct arena *mem = arena_new(0);

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct smtp_xclient x;
        const char *why;
        bool good = smtp_xclient_parse(mem, str_of(rows[i].argument), &x, &why);

        t_case(rows[i].name, NULL);
        t_same_int(good, rows[i].want != NULL);
        t_true(good == (why == NULL));
        if (good)
            t_same_z(show(mem, &x), rows[i].want);
        else
            t_true(str_starts(str_of(why), STR("5.5.4 ")));
    }
    arena_free(&mem);
}

static void test_nul(void **state)
{
    struct arena *mem = arena_new(0);
    struct smtp_xclient x;
    const char *why;

    (void)state;
    t_case("a NUL in the argument", NULL);
    t_true(!smtp_xclient_parse(mem, STR("ADDR=192.0.2.1\0"), &x, &why));
    arena_free(&mem);
}

static void test_attribute_names(void **state)
{
    (void)state;
    t_case("names of attributes", NULL);
    t_same_int(smtp_xclient_attribute(STR("destPort")), SMTP_XCLIENT_DESTPORT);
    t_same_int(smtp_xclient_attribute(STR("SOURCE")), SMTP_XFORWARD_SOURCE);
    t_same_int(smtp_xclient_attribute(STR("NAM")), 0);
    t_same_int(smtp_xclient_attribute(STR("")), 0);
}

static const struct smtp_identity someone = {.name = "a.example",
                                             .addr = "192.0.2.1",
                                             .port = 25000,
                                             .helo = "b.example\r\nMAIL",
                                             .esmtp = true,
                                             .login = "joe",
                                             .dest_addr = "2001:db8::2",
                                             .dest_port = 25,
                                             .ident = "4Fz1"};
static const struct smtp_identity nobody = {.addr = "2001:db8::1", .helo = "", .is_local = true};

static const struct {
    const char *name;
    const struct smtp_identity *who;
    unsigned named;
    const char *want;
} told[] = {
    {"all there is", &someone, SMTP_XCLIENT_ALL,
     " NAME=a.example ADDR=192.0.2.1 PORT=25000 PROTO=ESMTP HELO=b.example+0D+0AMAIL LOGIN=joe "
     "DESTADDR=IPV6:2001:db8::2 DESTPORT=25"},
    {"only what the backend named", &someone, SMTP_XCLIENT_PORT | SMTP_XCLIENT_ADDR,
     " ADDR=192.0.2.1 PORT=25000"},
    {"nothing was named", &someone, 0, ""},
    {"what is not known", &nobody, SMTP_XCLIENT_ALL,
     " NAME=[UNAVAILABLE] ADDR=IPV6:2001:db8::1 PORT=0 PROTO=SMTP HELO=[UNAVAILABLE] LOGIN=[UNAVAILABLE]"},
    {"no attribute of XFORWARD", &someone, SMTP_XFORWARD_IDENT | SMTP_XFORWARD_SOURCE, ""},
};

static void test_told(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(told); i++) {
        struct buf out;

        t_case(told[i].name, NULL);
        buf_init(&out, 2000);
        smtp_xclient_write(told[i].who, told[i].named, &out);
        t_same_str_z(buf_str(&out), told[i].want);
        buf_fini(&out);
    }
}

static const struct {
    const char *name;
    const struct smtp_identity *who;
    unsigned named, commands;
    const char *want;
} forwarded[] = {
    {"all there is", &someone, ~0u, 1,
     "XFORWARD NAME=a.example ADDR=192.0.2.1 PORT=25000 PROTO=ESMTP HELO=b.example+0D+0AMAIL IDENT=4Fz1 "
     "SOURCE=REMOTE\r\n"},
    {"only what the backend named", &someone, SMTP_XCLIENT_ADDR | SMTP_XCLIENT_LOGIN, 1,
     "XFORWARD ADDR=192.0.2.1\r\n"},
    {"nothing was named", &someone, SMTP_XCLIENT_LOGIN, 0, ""},
    {"what is not known", &nobody, SMTP_XFORWARD_ALL, 1,
     "XFORWARD NAME=[UNAVAILABLE] ADDR=IPV6:2001:db8::1 PORT=0 PROTO=SMTP HELO=[UNAVAILABLE] "
     "IDENT=[UNAVAILABLE] SOURCE=LOCAL\r\n"},
};

static void test_forwarded(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(forwarded); i++) {
        struct buf out;

        t_case(forwarded[i].name, NULL);
        buf_init(&out, 4000);
        t_same_int(smtp_xforward_write(forwarded[i].who, forwarded[i].named, &out), forwarded[i].commands);
        t_same_str_z(buf_str(&out), forwarded[i].want);
        buf_fini(&out);
    }
}

static void test_long_values(void **state)
{
    struct smtp_identity who = {.name = TWO_FIFTY "12345", .addr = "192.0.2.1", .helo = TWO_FIFTY "12345"};
    struct str rest, line;
    struct buf out;

    (void)state;
    t_case("a command has 512 octets, so there are two", NULL);
    buf_init(&out, 4000);
    t_same_int(smtp_xforward_write(&who, SMTP_XFORWARD_ALL, &out), 2);
    rest = buf_str(&out);
    for (int i = 0; i < 2; i++) {
        t_true(str_cut(rest, '\n', &line, &rest));
        t_true(line.n + 1 <= 512 && line.p[line.n - 1] == '\r');
        t_true(str_starts(line, STR("XFORWARD ")));
    }
    t_same_int(rest.n, 0);
    t_case("a value of more than 255 octets is not told", NULL);
    who.helo = TWO_FIFTY "1234 ";
    buf_clear(&out);
    smtp_xforward_write(&who, SMTP_XCLIENT_HELO, &out);
    t_same_str_z(buf_str(&out), "XFORWARD HELO=[UNAVAILABLE]\r\n");
    buf_fini(&out);
}

/* What we tell we understand ourselves. */
static void test_round_trip(void **state)
{
    struct arena *mem = arena_new(0);
    struct smtp_identity who = someone;
    struct smtp_xclient x;
    const char *why;
    struct buf out;

    (void)state;
    t_case("told and heard", NULL);
    who.helo = "what is = this + that?";
    buf_init(&out, 2000);
    smtp_xclient_write(&who, SMTP_XCLIENT_ALL, &out);
    t_true(smtp_xclient_parse(mem, buf_str(&out), &x, &why));
    t_same_z(show(mem, &x),
             " NAME=a.example ADDR=192.0.2.1 PORT=25000 PROTO=ESMTP HELO=what is = this + that? "
             "LOGIN=joe DESTADDR=2001:db8::2 DESTPORT=25");
    buf_fini(&out);
    arena_free(&mem);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse),      cmocka_unit_test(test_nul),
        cmocka_unit_test(test_told),       cmocka_unit_test(test_attribute_names),
        cmocka_unit_test(test_forwarded),  cmocka_unit_test(test_long_values),
        cmocka_unit_test(test_round_trip),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
