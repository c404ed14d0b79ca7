#include "dns/message.h"

#include "base/bug.h"
#include "dns/wire_test.h"
#include "tests/t.h"

#include <stdio.h>

#define LABEL_63 "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijk"
#define NAME_191 LABEL_63 "." LABEL_63 "." LABEL_63

static struct arena *mem;

static void parse(const struct wire *w, enum dns_type type, struct dns_answer *answer)
{
    struct dns_question question;

    t_true(dns_question_init(&question, type, "a.test"));
    dns_message_parse(mem, &question, w->b, w->n, answer);
}

/* ---- questions ---- */

static void questions_are_checked(void **state)
{
    static const struct {
        const char *name, *rfc, *text;
        bool good;
    } rows[] = {
        {"two labels", "1035 2.3.1", "a.test", true},
        {"one label", "1035 2.3.1", "test", true},
        {"the empty name", "1035 2.3.1", "", false},
        {"a lone dot", "1035 2.3.1", ".", false},
        {"a dot in front", "1035 2.3.1", ".a.test", false},
        {"a dot at the end", "1035 2.3.1", "a.test.", false},
        {"an empty label inside", "1035 2.3.1", "a..test", false},
        {"a label of 63", "1035 2.3.4", LABEL_63 ".test", true},
        {"a label of 64", "1035 2.3.4", LABEL_63 "x.test", false},
        {"a last label of 64", "1035 2.3.4", "test." LABEL_63 "x", false},
        {"a name of 253", "1035 2.3.4",
         NAME_191 ".abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghi", true},
        {"a name of 254", "1035 2.3.4",
         NAME_191 ".abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghij", false},
        {"a name of 255", "1035 2.3.4", NAME_191 "." LABEL_63, false},
        {"a very long name", "1035 2.3.4", NAME_191 "." NAME_191 "." NAME_191, false},
        {"8-bit, blank and control octets", "2181 11", "\xff \x01.test", true},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct dns_question question;

        t_case(rows[i].name, rows[i].rfc);
        t_same_int(dns_question_init(&question, DNS_A, rows[i].text), rows[i].good);
    }
}

static void a_backslash_is_no_escape(void **state)
{
    static const char want[] = "\0\x01\x03\x61\\b\x04test";
    struct dns_question question;

    (void)state;
    t_true(dns_question_init(&question, DNS_A, "A\\b.TEST"));
    t_same_str(str_make((char *)question.key, question.n), str_make(want, sizeof(want)));
}

static void queries_are_built(void **state)
{
    static const char plain[] = "\x12\x34\x01\x20\0\x01\0\0\0\0\0\0\x01"
                                "a\x04test\0\0\x10\0\x01";
    static const char edns[] = "\x12\x34\x01\x20\0\x01\0\0\0\0\0\x01\x01"
                               "a\x04test\0\0\x10\0\x01\0\0\x29\x04\xd0\0\0\0\0\0";
    unsigned char packet[DNS_QUERY_MAX];
    struct dns_question question;
    size_t n;

    (void)state;
    t_true(dns_question_init(&question, DNS_TXT, "a.test"));
    t_case("RD, AD, one question", "1035 4.1.1");
    n = dns_message_build(&question, 0x1234, false, packet);
    t_same_str(str_make((char *)packet, n), str_make(plain, sizeof(plain) - 1));
    t_case("an OPT record with 1232 octets", "6891 6.1.2");
    n = dns_message_build(&question, 0x1234, true, packet);
    t_same_str(str_make((char *)packet, n), str_make(edns, sizeof(edns)));
}

/* ---- whole answers ---- */

static void build_nothing(struct wire *w)
{
    (void)w;
}

static void build_address(struct wire *w)
{
    wire_a(w, "@12", 300, "192.0.2.1");
}

static void build_three(struct wire *w)
{
    wire_a(w, "@12", 300, "192.0.2.1");
    wire_a(w, "A.TeSt", 60, "192.0.2.2");
    wire_a(w, "a.@14", 400, "192.0.2.3");
}

static void build_strangers(struct wire *w)
{
    wire_a(w, "b.test", 300, "192.0.2.1");
    wire_rr(w, WIRE_ANSWER, "@12", DNS_TXT, 300);
    wire_bytes(w, "\x01x", 2);
    wire_end(w);
}

static void build_other_class(struct wire *w)
{
    wire_a(w, "@12", 300, "192.0.2.1");
    w->b[w->n - 11] = 3; /* CHAOS */
}

static void build_alias_backward(struct wire *w)
{
    wire_a(w, "c.test", 300, "192.0.2.1");
    wire_alias(w, "b.test", 20, "c.test");
    wire_alias(w, "@12", 100, "b.test");
}

static void build_alias_only(struct wire *w)
{
    wire_alias(w, "@12", 100, "b.test");
    wire_soa(w, 50, 900);
}

static void build_alias_loop(struct wire *w)
{
    wire_alias(w, "@12", 100, "b.test");
    wire_alias(w, "b.test", 100, "@12");
}

static void build_soa(struct wire *w)
{
    wire_soa(w, 900, 120);
}

static void build_soa_of_days(struct wire *w)
{
    wire_soa(w, 400000, 400000);
}

static void build_short_soa(struct wire *w)
{
    wire_soa(w, 900, 120);
    w->n--;
    wire_end(w);
}

static void build_referral(struct wire *w)
{
    wire_rr(w, WIRE_AUTHORITY, "test", DNS_NS, 300);
    wire_name(w, "ns.test");
    wire_end(w);
}

static void build_high_ttl(struct wire *w)
{
    wire_a(w, "@12", 0x80000001u, "192.0.2.1");
}

static void build_short_address(struct wire *w)
{
    wire_a(w, "@12", 300, "192.0.2.1");
    w->n--;
    wire_end(w);
}

static void build_bad_version(struct wire *w)
{
    wire_opt(w, 1);
}

static void build_edns(struct wire *w)
{
    wire_a(w, "@12", 300, "192.0.2.1");
    wire_opt(w, 0);
}

static void build_owner_of_itself(struct wire *w)
{
    wire_a(w, "@24", 300, "192.0.2.1"); /* behind the question of a.test */
}

enum { A_IN_64_KIB = (65535 - 12 - 8 - 4) / 16 };

static void build_64_kib(struct wire *w)
{
    for (int i = 0; i < A_IN_64_KIB; i++)
        wire_a(w, "@12", 300, "192.0.2.1");
}

static void build_behind_1000_strangers(struct wire *w)
{
    for (int i = 0; i < 1000; i++)
        wire_a(w, "b.test", 300, "192.0.2.1");
    wire_a(w, "a.test", 300, "192.0.2.1");
}

static void build_to_and_fro(struct wire *w)
{
    static const char *const owners[] = {"@24", "@12"}; /* the owner of the first record, and the question */

    wire_a(w, "a-name-that-is-longer-than-the-record-of-which-it-is-the-owner.test", 300, "192.0.2.1");
    for (int i = 0; i < 3000; i++)
        wire_a(w, owners[i % 2], 300, "192.0.2.1");
}

static void answers_are_read(void **state)
{
    static const struct {
        const char *name, *rfc;
        unsigned flags;
        void (*build)(struct wire *w);
        enum dns_status status;
        size_t count;
        uint32_t ttl_s;
    } rows[] = {
        {"an address", "1035 3.4.1", WIRE_OK, build_address, DNS_OK, 1, 300},
        {"the least TTL counts; case does not", "2181 5.2", WIRE_OK, build_three, DNS_OK, 3, 60},
        {"a TTL with its top bit set is zero", "2181 8", WIRE_OK, build_high_ttl, DNS_OK, 1, 0},
        {"an OPT record is no matter", "6891 6.1.1", WIRE_OK, build_edns, DNS_OK, 1, 300},
        {"aliases in any order, with their TTLs", "1034 3.6.2", WIRE_OK, build_alias_backward, DNS_OK, 1, 20},
        {"records of others are no answer", "2308 2.2", WIRE_OK, build_strangers, DNS_NODATA, 0, 0},
        {"records of another class are no answer", "1035 3.2.4", WIRE_OK, build_other_class, DNS_NODATA, 0,
         0},
        {"no data, with the SOA's MINIMUM", "2308 5", WIRE_OK, build_soa, DNS_NODATA, 0, 120},
        {"no data without SOA is not to be kept", "2308 5", WIRE_OK, build_nothing, DNS_NODATA, 0, 0},
        {"no data is kept three hours at most", "2308 5", WIRE_OK, build_soa_of_days, DNS_NODATA, 0, 10800},
        {"an alias to nothing", "2308 2.2", WIRE_OK, build_alias_only, DNS_NODATA, 0, 50},
        {"no such name", "2308 2.1", WIRE_OK | 3, build_soa, DNS_NXDOMAIN, 0, 120},
        {"no such name behind an alias", "6604 3", WIRE_OK | 3, build_alias_only, DNS_NXDOMAIN, 0, 50},
        {"no such name, and here it is", "2308 2.1", WIRE_OK | 3, build_address, DNS_GARBLED, 0, 0},
        {"a referral", "2308 2.2", WIRE_OK, build_referral, DNS_GARBLED, 0, 0},
        {"NS of the zone with authority is no data", "2308 2.2", WIRE_OK | WIRE_AA, build_referral,
         DNS_NODATA, 0, 0},
        {"SERVFAIL", "1035 4.1.1", WIRE_OK | 2, build_nothing, DNS_SERVFAIL, 0, 0},
        {"REFUSED", "1035 4.1.1", WIRE_OK | 5, build_nothing, DNS_REFUSED, 0, 0},
        {"FORMERR", "1035 4.1.1", WIRE_OK | 1, build_nothing, DNS_GARBLED, 0, 0},
        {"NOTIMP", "1035 4.1.1", WIRE_OK | 4, build_nothing, DNS_GARBLED, 0, 0},
        {"BADVERS, whose lower bits say NOERROR", "6891 6.1.3", WIRE_OK, build_bad_version, DNS_GARBLED, 0,
         0},
        {"a truncated answer", "2181 9", WIRE_OK | WIRE_TC, build_address, DNS_GARBLED, 0, 0},
        {"a question is no answer", "1035 4.1.1", 0x0100, build_address, DNS_GARBLED, 0, 0},
        {"another opcode", "1035 4.1.1", WIRE_OK | 0x2000, build_address, DNS_GARBLED, 0, 0},
        {"an alias that comes back", "1034 3.6.2", WIRE_OK, build_alias_loop, DNS_GARBLED, 0, 0},
        {"an address of three octets", "1035 3.4.1", WIRE_OK, build_short_address, DNS_GARBLED, 0, 0},
        {"an SOA cut short", "1035 3.3.13", WIRE_OK, build_short_soa, DNS_GARBLED, 0, 0},
        {"an owner whose name leads to itself", "1035 4.1.4", WIRE_OK, build_owner_of_itself, DNS_GARBLED, 0,
         0},
        {"as many as 64 KiB hold", "1035 4.2.2", WIRE_OK, build_64_kib, DNS_OK, A_IN_64_KIB, 300},
        {"thousands that unpack to far more than the packet", "1035 4.1.4", WIRE_OK, build_to_and_fro,
         DNS_GARBLED, 0, 0},
        {"behind 1000 of others", "", WIRE_OK, build_behind_1000_strangers, DNS_OK, 1, 300},
    };
    struct wire w;
    struct dns_answer answer;

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        t_case(rows[i].name, rows[i].rfc);
        wire_header(&w, 1, rows[i].flags);
        wire_question(&w, "a.test", DNS_A);
        rows[i].build(&w);
        parse(&w, DNS_A, &answer);
        t_same_z(dns_status_name(answer.status), dns_status_name(rows[i].status));
        t_same_int(answer.count, rows[i].count);
        t_same_int(answer.ttl_s, rows[i].ttl_s);
    }
}

static void the_question_must_be_ours(void **state)
{
    static const struct {
        const char *name, *asked;
        enum dns_type type;
        enum dns_status status;
    } rows[] = {
        {"ours", "a.test", DNS_A, DNS_OK},
        {"ours in capitals", "A.TEST", DNS_A, DNS_OK},
        {"another name", "b.test", DNS_A, DNS_GARBLED},
        {"a longer name", "a.test.test", DNS_A, DNS_GARBLED},
        {"a shorter name", "a", DNS_A, DNS_GARBLED},
        {"another type", "a.test", DNS_AAAA, DNS_GARBLED},
    };
    struct wire w;
    struct dns_answer answer;

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        t_case(rows[i].name, "5452 9.1");
        wire_header(&w, 1, WIRE_OK);
        wire_question(&w, rows[i].asked, rows[i].type);
        wire_a(&w, "a.test", 300, "192.0.2.1");
        parse(&w, DNS_A, &answer);
        t_same_z(dns_status_name(answer.status), dns_status_name(rows[i].status));
    }
    t_case("no question at all", "5452 9.1");
    wire_header(&w, 1, WIRE_OK);
    wire_a(&w, "a.test", 300, "192.0.2.1");
    parse(&w, DNS_A, &answer);
    t_same_int(answer.status, DNS_GARBLED);
}

static void the_ad_bit_is_told(void **state)
{
    struct wire w;
    struct dns_answer answer;

    (void)state;
    for (int set = 0; set < 2; set++) {
        t_case("the AD bit as it came", "4035 3.2.3");
        wire_header(&w, 1, WIRE_OK | (set ? (unsigned)WIRE_AUTHENTIC : 0));
        wire_question(&w, "a.test", DNS_A);
        wire_a(&w, "@12", 300, "192.0.2.1");
        parse(&w, DNS_A, &answer);
        t_same_int(answer.authenticated, set);
    }
}

static void chain_of(struct wire *w, int aliases)
{
    char owner[24] = "a.test", target[24];

    wire_header(w, 1, WIRE_OK);
    wire_question(w, "a.test", DNS_A);
    for (int i = 0; i < aliases; i++) {
        snprintf(target, sizeof(target), "c%d.test", i);
        wire_alias(w, owner, 100, target);
        memcpy(owner, target, sizeof(owner));
    }
    wire_a(w, owner, 100, "192.0.2.1");
}

static void chains_end_at_eight(void **state)
{
    struct wire w;
    struct dns_answer answer;

    (void)state;
    t_case("eight aliases are followed", "1034 3.6.2");
    chain_of(&w, 8);
    parse(&w, DNS_A, &answer);
    t_same_int(answer.status, DNS_OK);
    t_case("nine are not", "1034 3.6.2");
    chain_of(&w, 9);
    parse(&w, DNS_A, &answer);
    t_same_int(answer.status, DNS_GARBLED);
}

static void asked_for_aliases_follow_none(void **state)
{
    struct wire w;
    struct dns_answer answer;

    (void)state;
    wire_header(&w, 1, WIRE_OK);
    wire_question(&w, "a.test", DNS_CNAME);
    wire_alias(&w, "@12", 100, "B.test");
    wire_alias(&w, "b.test", 100, "c.test");
    parse(&w, DNS_CNAME, &answer);
    t_case("the alias itself is the answer", "1034 3.6.2");
    t_same_int(answer.status, DNS_OK);
    t_same_int(answer.count, 1);
    t_same_z(answer.records[0].name, "b.test");
}

/* ---- record data ---- */

static enum dns_status parse_txt(const char *data, size_t n, struct dns_answer *answer)
{
    struct wire w;

    wire_header(&w, 1, WIRE_OK);
    wire_question(&w, "a.test", DNS_TXT);
    wire_rr(&w, WIRE_ANSWER, "@12", DNS_TXT, 300);
    wire_bytes(&w, data, n);
    wire_end(&w);
    parse(&w, DNS_TXT, answer);
    return answer->status;
}

static void texts_are_joined(void **state)
{
    static const char chunks[] = "\x03v=s\x00\x04pf1 \x02\x00\xff";
    static const char over[] = "\x03v=s\x05pf1 ";
    struct dns_answer answer;

    (void)state;
    t_case("strings are joined without a space, of any octets", "7208 3.3");
    t_same_int(parse_txt(chunks, sizeof(chunks) - 1, &answer), DNS_OK);
    t_same_str(answer.records[0].text, str_make("v=spf1 \x00\xff", 9));
    t_case("an empty string is a text", "1035 3.3.14");
    t_same_int(parse_txt("\x00", 1, &answer), DNS_OK);
    t_same_int(answer.records[0].text.n, 0);
    t_case("no string is none", "1035 3.3.14");
    t_same_int(parse_txt("", 0, &answer), DNS_GARBLED);
    t_case("a string that leaves its record", "1035 3.3.14");
    t_same_int(parse_txt(over, sizeof(over) - 1, &answer), DNS_GARBLED);
}

static void a_text_of_64_kilobytes(void **state)
{
    static char data[65000];
    struct dns_answer answer;

    (void)state;
    for (size_t i = 0; i < sizeof(data); i += 250)
        data[i] = (char)249;
    t_case("TXT of 260 strings", "1035 3.3.14");
    t_same_int(parse_txt(data, sizeof(data), &answer), DNS_OK);
    t_same_int(answer.records[0].text.n, 260 * 249);
}

static void addresses_of_both_families(void **state)
{
    struct wire w;
    struct dns_answer answer;
    char text[IP_TEXT_MAX];

    (void)state;
    wire_header(&w, 1, WIRE_OK);
    wire_question(&w, "a.test", DNS_AAAA);
    wire_rr(&w, WIRE_ANSWER, "@12", DNS_AAAA, 300);
    inet_pton(AF_INET6, "2001:db8::25", w.b + w.n);
    w.n += 16;
    wire_end(&w);
    parse(&w, DNS_AAAA, &answer);
    t_case("AAAA", "3596 2.2");
    t_same_int(answer.status, DNS_OK);
    t_same_z(ip_format(&answer.records[0].ip, text), "2001:db8::25");
}

static void mail_exchangers(void **state)
{
    struct wire w;
    struct dns_answer answer;

    (void)state;
    wire_header(&w, 1, WIRE_OK);
    wire_question(&w, "a.test", DNS_MX);
    wire_mx(&w, "@12", 10, "MX.@12");
    wire_mx(&w, "@12", 0, "");
    parse(&w, DNS_MX, &answer);
    t_case("a compressed name", "1035 3.3.9");
    t_same_int(answer.count, 2);
    t_same_int(answer.records[0].preference, 10);
    t_same_z(answer.records[0].name, "mx.a.test");
    t_case("the null MX", "7505 3");
    t_same_int(answer.records[1].preference, 0);
    t_same_z(answer.records[1].name, ".");
    t_case("an MX without a name", "1035 3.3.9");
    wire_header(&w, 1, WIRE_OK);
    wire_question(&w, "a.test", DNS_MX);
    wire_rr(&w, WIRE_ANSWER, "@12", DNS_MX, 300);
    wire_16(&w, 10);
    wire_end(&w);
    parse(&w, DNS_MX, &answer);
    t_same_int(answer.status, DNS_GARBLED);
}

static void of_many_names_the_first(void **state)
{
    struct wire w;
    struct dns_answer answer;

    (void)state;
    t_case("more names than anybody looks at are an answer, too: the first of them", "7208 4.6.4");
    wire_header(&w, 1, WIRE_OK);
    wire_question(&w, "a.test", DNS_MX);
    for (unsigned i = 0; i < DNS_NAMES_MAX + 50; i++)
        wire_mx(&w, "@12", i, "@12");
    parse(&w, DNS_MX, &answer);
    t_same_z(dns_status_name(answer.status), "ok");
    t_same_int(answer.count, DNS_NAMES_MAX);
    t_same_int(answer.records[DNS_NAMES_MAX - 1].preference, DNS_NAMES_MAX - 1);
}

static void odd_octets_are_escaped(void **state)
{
    static const char odd[] = "\x09.\\ \x01\xff\"@Z\x7f\x04test";
    struct wire w;
    struct dns_answer answer;

    (void)state;
    wire_header(&w, 1, WIRE_OK);
    wire_question(&w, "a.test", DNS_PTR);
    wire_rr(&w, WIRE_ANSWER, "@12", DNS_PTR, 300);
    wire_bytes(&w, odd, sizeof(odd));
    wire_end(&w);
    parse(&w, DNS_PTR, &answer);
    t_case("what could be misread is written as digits", "1035 5.1");
    t_same_int(answer.status, DNS_OK);
    t_same_z(answer.records[0].name, "\\046\\092\\032\\001\\255\"@z\\127.test");
}

static void the_longest_name_of_odd_octets(void **state)
{
    unsigned char wire[DNS_WIRE_NAME_MAX];
    struct wire w;
    struct dns_answer answer;

    (void)state;
    memset(wire, 0xff, sizeof(wire));
    wire[0] = wire[64] = wire[128] = 63;
    wire[192] = 61;
    wire[254] = 0;
    wire_header(&w, 1, WIRE_OK);
    wire_question(&w, "a.test", DNS_PTR);
    wire_rr(&w, WIRE_ANSWER, "@12", DNS_PTR, 300);
    wire_bytes(&w, wire, sizeof(wire));
    wire_end(&w);
    parse(&w, DNS_PTR, &answer);
    t_case("250 octets, each written with four", "1035 2.3.4");
    t_same_int(answer.status, DNS_OK);
    t_same_int(strlen(answer.records[0].name), 250 * 4 + 3);
    t_same_int(strspn(answer.records[0].name, "\\25."), 250 * 4 + 3);
}

/* The name of a PTR record, as bytes that stand at offset 36 (behind header, question, and the record's ten).
 */
static void bad_names(void **state)
{
    static const struct {
        const char *name, *rfc;
        struct str data;
    } rows[] = {
        {"a pointer to itself", "1035 4.1.4", STR("\xc0\x24")},
        {"a pointer to its own label", "1035 4.1.4", STR("\x01x\xc0\x24")},
        {"a pointer forward", "1035 4.1.4", STR("\xc0\x26\x01x\x00")},
        {"a pointer beyond the packet", "1035 4.1.4", STR("\xff\xff")},
        {"half a pointer", "1035 4.1.4", STR("\xc0")},
        {"two pointers to each other", "1035 4.1.4", STR("\xc0\x26\xc0\x24")},
        {"a label type nobody uses", "6891 5", STR("\x41x\x00")},
        {"another label type nobody uses", "1035 4.1.4", STR("\x81x\x00")},
        {"a label beyond the packet", "1035 3.1", STR("\x05xy")},
        {"a name without its end", "1035 3.1", STR("\x01x")},
        {"a name shorter than its record", "1035 3.3.12", STR("\x01x\x00\x00")},
        {"nothing", "1035 3.3.12", STR("")},
    };
    struct wire w;
    struct dns_answer answer;

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        t_case(rows[i].name, rows[i].rfc);
        wire_header(&w, 1, WIRE_OK);
        wire_question(&w, "a.test", DNS_PTR);
        wire_rr(&w, WIRE_ANSWER, "@12", DNS_PTR, 300);
        t_same_int(w.n, 36);
        wire_bytes(&w, rows[i].data.p, rows[i].data.n);
        wire_end(&w);
        parse(&w, DNS_PTR, &answer);
        t_same_z(dns_status_name(answer.status), "garbled");
    }
}

/* Each name is one label and a pointer to the one before: far more octets than a name may have. */
static void a_ladder_of_pointers(void **state)
{
    struct wire w;
    struct dns_answer answer;
    size_t last = 12;
    char host[32];

    (void)state;
    t_case("pointers cannot make a name longer than 255", "1035 2.3.4");
    wire_header(&w, 1, WIRE_OK);
    wire_question(&w, "a.test", DNS_PTR);
    for (int i = 0; i < 99; i++) {
        wire_rr(&w, WIRE_ANSWER, "@12", DNS_PTR, 300);
        snprintf(host, sizeof(host), "abcdefghi.@%zu", last);
        last = w.n;
        wire_name(&w, host);
        wire_end(&w);
        parse(&w, DNS_PTR, &answer);
        t_same_z(dns_status_name(answer.status),
                 i < 24 ? "ok" : "garbled"); /* 8 + 10 * 24 = 248 octets fit */
    }
}

static void cut_anywhere_it_is_garbled(void **state)
{
    struct wire w;
    struct dns_answer answer;
    struct dns_question question;
    size_t n;

    (void)state;
    wire_header(&w, 1, WIRE_OK);
    wire_question(&w, "a.test", DNS_MX);
    wire_alias(&w, "@12", 300, "b.test");
    wire_mx(&w, "b.test", 10, "mx.@12");
    wire_soa(&w, 300, 300);
    wire_opt(&w, 0);
    t_true(dns_question_init(&question, DNS_MX, "a.test"));
    t_case("truncated at every octet", "1035 4.1");
    for (n = 0; n < w.n; n++) {
        unsigned char *exact = malloc(n + 1); /* its end is where the sanitizer watches */

        memcpy(exact + 1, w.b, n);
        dns_message_parse(mem, &question, exact + 1, n, &answer);
        t_same_z(dns_status_name(answer.status), "garbled");
        free(exact);
    }
    t_case("and whole", "1035 4.1");
    dns_message_parse(mem, &question, w.b, n, &answer);
    t_same_z(dns_status_name(answer.status), "ok");
}

static int set_up(void **state)
{
    (void)state;
    mem = arena_new(0);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    arena_free(&mem);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(questions_are_checked),
        cmocka_unit_test(a_backslash_is_no_escape),
        cmocka_unit_test(queries_are_built),
        cmocka_unit_test(answers_are_read),
        cmocka_unit_test(the_question_must_be_ours),
        cmocka_unit_test(the_ad_bit_is_told),
        cmocka_unit_test(chains_end_at_eight),
        cmocka_unit_test(asked_for_aliases_follow_none),
        cmocka_unit_test(texts_are_joined),
        cmocka_unit_test(a_text_of_64_kilobytes),
        cmocka_unit_test(addresses_of_both_families),
        cmocka_unit_test(mail_exchangers),
        cmocka_unit_test(of_many_names_the_first),
        cmocka_unit_test(odd_octets_are_escaped),
        cmocka_unit_test(the_longest_name_of_odd_octets),
        cmocka_unit_test(bad_names),
        cmocka_unit_test(a_ladder_of_pointers),
        cmocka_unit_test(cut_anywhere_it_is_garbled),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
