#include "grey/normalize.h"

#include "base/bug.h"
#include "tests/t.h"

#include <stdio.h>

static const struct {
    const char *name, *rfc, *address, *want;
} senders[] = {
    {"a plain address stays", NULL, "user@example.org", "user@example.org"},
    {"case does not matter", NULL, "User.Name@Example.ORG", "user.name@example.org"},
    {"angle brackets are not part of it", NULL, "<user@example.org>", "user@example.org"},
    {"the null sender stays empty", "5321 4.5.5", "", ""},
    {"the null sender in brackets", "5321 4.5.5", "<>", ""},
    {"no domain at all", NULL, "postmaster", "postmaster"},
    {"a quoted local part with an @ of its own", "5321 4.1.2", "\"a@b\"@example.org", "\"a@b\"@example.org"},

    {"an extension goes", NULL, "user+news2024@example.org", "user@example.org"},
    {"a plus at the start is no extension", NULL, "+user@example.org", "+user@example.org"},
    {"VERP behind a plus goes with it", NULL, "bounce+77=me=example.net@lists.example.org",
     "bounce@lists.example.org"},

    {"VERP: the counter goes, the recipient stays", NULL, "list-return-1234-me=example.net@example.org",
     "list-return-#-me=example.net@example.org"},
    {"VERP: another counter is the same", NULL, "list-return-99-me=example.net@example.org",
     "list-return-#-me=example.net@example.org"},
    {"a hash", NULL, "bounce-0a1b2c3d4e5f-x@example.org", "bounce-#-x@example.org"},
    {"a UUID, word by word", NULL, "550e8400-e29b-41d4-a716-446655440000@example.org",
     "#-#-#-#-#@example.org"},
    {"a long mixture of letters and digits", NULL, "b.Zk3PqWm9xTyR2.x@example.org", "b.#.x@example.org"},
    {"a name with a few digits stays", NULL, "john84@example.org", "john84@example.org"},
    {"a short name of hex letters stays", NULL, "abe.dea@example.org", "abe.dea@example.org"},
    {"a long name without digits stays", NULL, "christopher.featherstonehaugh@example.org",
     "christopher.featherstonehaugh@example.org"},
    {"a user who is a number stays", NULL, "12345678@example.org", "12345678@example.org"},
    {"digits in the domain stay", NULL, "news@m1234.example.org", "news@m1234.example.org"},

    {"BATV: tag first", NULL, "prvs=1234abcdef=user@example.org", "user@example.org"},
    {"BATV: in capitals", NULL, "PRVS=1234ABCDEF=User@example.org", "user@example.org"},
    {"BATV: tag last", NULL, "prvs=user=1234abcdef@example.org", "user@example.org"},
    {"BATV: a user with an equals sign", NULL, "prvs=1234abcdef=me=example.net@example.org",
     "me=example.net@example.org"},
    {"BATV: with a counter inside", NULL, "prvs=1234abcdef=list-77@example.org", "list-#@example.org"},
    {"BATV: nothing behind it", NULL, "prvs=1234abcdef@example.org", "#@example.org"},
    {"btv1", NULL, "btv1==0a1==user@example.org", "user@example.org"},
    {"msprvs1", NULL, "msprvs1=17890abc=bounces-5@example.org", "bounces-#@example.org"},

    {"SRS0: hash and day go", NULL, "SRS0=xyz1=7A=example.org=user@forwarder.test",
     "srs=example.org=user@forwarder.test"},
    {"SRS0 with a plus", NULL, "SRS0+xyz1=7A=example.org=user@forwarder.test",
     "srs=example.org=user@forwarder.test"},
    {"SRS0 with a hyphen, in small letters", NULL, "srs0-xyz1=7a=Example.org=User@forwarder.test",
     "srs=example.org=user@forwarder.test"},
    {"SRS0 of a VERP sender", NULL, "SRS0=xyz1=7A=example.org=list-55@forwarder.test",
     "srs=example.org=list-#@forwarder.test"},
    {"SRS1: the inner address counts", NULL, "SRS1=abcd=first.test==xyz1=7A=example.org=user@second.test",
     "srs=example.org=user@second.test"},
    {"SRS1 with a plus inside", NULL, "SRS1=abcd=first.test=+xyz1=7A=example.org=user@second.test",
     "srs=example.org=user@second.test"},
    {"SRS0 cut short is an ordinary local part", NULL, "SRS0=xyz=7A@forwarder.test",
     "srs0=xyz=7a@forwarder.test"},
    {"SRS1 cut short is an ordinary local part", NULL, "SRS1=xyz=first.test@second.test",
     "srs1=xyz=first.test@second.test"},
    {"BATV around SRS", NULL, "prvs=1234abcdef=SRS0=h=7A=example.org=user@forwarder.test",
     "srs=example.org=user@forwarder.test"},

    {"controls cannot end a part of the key", NULL, "a\x01z@ex\x1f.org", "a?z@ex?.org"},
    {"octets beyond ASCII stay", "6531 3.3", "j\xc3\xb6rg@example.org", "j\xc3\xb6rg@example.org"},
};

static const struct {
    const char *name, *rfc, *address, *want;
} recipients[] = {
    {"the domain becomes lower case", "5321 2.4", "User@Example.ORG", "User@example.org"},
    {"the local part stays as it is", "5321 2.4", "User+Tag-123@example.org", "User+Tag-123@example.org"},
    {"angle brackets are not part of it", NULL, "<User@EXAMPLE.org>", "User@example.org"},
    {"no domain at all", "5321 4.5.1", "Postmaster", "Postmaster"},
    {"controls cannot end a part of the key", NULL, "a\x01z@example.org", "a?z@example.org"},
};

static void test_senders(void **state)
{
    struct arena *mem = arena_new(0);

    (void)state;
    for (size_t i = 0; i < COUNT(senders); i++) {
        t_case(senders[i].name, senders[i].rfc);
        t_same_str_z(normalize_sender(mem, str_of(senders[i].address)), senders[i].want);
    }
    arena_free(&mem);
}

static void test_recipients(void **state)
{
    struct arena *mem = arena_new(0);

    (void)state;
    for (size_t i = 0; i < COUNT(recipients); i++) {
        t_case(recipients[i].name, recipients[i].rfc);
        t_same_str_z(normalize_recipient(mem, str_of(recipients[i].address)), recipients[i].want);
    }
    arena_free(&mem);
}

static void test_stable(void **state)
{
    struct arena *mem = arena_new(0);

    (void)state;
    for (size_t i = 0; i < COUNT(senders); i++) {
        struct str once = normalize_sender(mem, str_of(senders[i].address));

        t_case(senders[i].name, "normalising again changes nothing");
        if (!str_starts(once, STR("srs=")))
            t_same_str(normalize_sender(mem, once), once);
    }
    t_case("a NUL becomes visible", NULL);
    t_same_str_z(normalize_sender(mem, STR("a\0z@example.org")), "a?z@example.org");
    arena_free(&mem);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_senders),
        cmocka_unit_test(test_recipients),
        cmocka_unit_test(test_stable),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
