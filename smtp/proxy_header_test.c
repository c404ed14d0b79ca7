#include "smtp/proxy_header.h"

#include "base/bug.h"
#include "tests/t.h"

#define SIGNATURE "\r\n\r\n\0\r\nQUIT\n"
#define V4        "\xC0\x00\x02\x01\xC6\x33\x64\x07\x61\xA8\x00\x19" /* 192.0.2.1 198.51.100.7 25000 25 */
#define V6_A      "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01"
#define V6_B      "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x02"
#define MAPPED    "\0\0\0\0\0\0\0\0\0\0\xFF\xFF\xC0\x00\x02\x01"
#define EIGHT     "12345678"
#define SIXTYFOUR EIGHT EIGHT EIGHT EIGHT EIGHT EIGHT EIGHT EIGHT
#define NET108    SIXTYFOUR EIGHT EIGHT EIGHT EIGHT EIGHT "1234"
#define ID128     SIXTYFOUR SIXTYFOUR
#define WANT_V4   "192.0.2.1:25000 198.51.100.7:25"

/* In the order of the sections 2.1, 2.2 and 2.2.1 to 2.2.6 of proxy-protocol.txt. */
static const struct {
    const char *name;
    struct str in;    /* "QUIT" follows, which is no part of the header */
    const char *want; /* NULL: a fault */
} rows[] = {
    {"TCP4", STR("PROXY TCP4 192.0.2.1 198.51.100.7 25000 25\r\n"), "1 " WANT_V4},
    {"TCP6", STR("PROXY TCP6 2001:db8::1 2001:DB8::2 65535 0\r\n"), "1 [2001:db8::1]:65535 [2001:db8::2]:0"},
    {"IPv4 in the form of IPv6 is IPv4", STR("PROXY TCP6 ::ffff:192.0.2.1 2001:db8::2 1 2\r\n"),
     "1 192.0.2.1:1 [2001:db8::2]:2"},
    {"UNKNOWN", STR("PROXY UNKNOWN\r\n"), "1 its own"},
    {"UNKNOWN with something behind it", STR("PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n"), "1 its own"},
    {"the longest line",
     STR("PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
         "65535 "
         "65535\r\n"),
     "1 its own"},
    {"a longer line",
     STR("PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
         "65535 "
         "65535 \r\n"),
     NULL},
    {"UNKNOWN and more in one word", STR("PROXY UNKNOWNX\r\n"), NULL},
    {"in small letters", STR("proxy TCP4 192.0.2.1 198.51.100.7 25000 25\r\n"), NULL},
    {"an unknown protocol", STR("PROXY UDP4 192.0.2.1 198.51.100.7 25000 25\r\n"), NULL},
    {"no protocol", STR("PROXY \r\n"), NULL},
    {"nothing behind the protocol", STR("PROXY TCP4\r\n"), NULL},
    {"no PROXY", STR("EHLO a.example\r\n"), NULL},
    {"a word that begins like it", STR("PROXYING\r\n"), NULL},
    {"two spaces", STR("PROXY  TCP4 192.0.2.1 198.51.100.7 25000 25\r\n"), NULL},
    {"a space at the end", STR("PROXY TCP4 192.0.2.1 198.51.100.7 25000 25 \r\n"), NULL},
    {"an IPv6 address in TCP4", STR("PROXY TCP4 ::1 198.51.100.7 25000 25\r\n"), NULL},
    {"an IPv4 address in TCP6", STR("PROXY TCP6 ::1 198.51.100.7 25000 25\r\n"), NULL},
    {"an address with a leading zero", STR("PROXY TCP4 192.0.2.01 198.51.100.7 25000 25\r\n"), NULL},
    {"a port with a leading zero", STR("PROXY TCP4 192.0.2.1 198.51.100.7 025000 25\r\n"), NULL},
    {"a port too large", STR("PROXY TCP4 192.0.2.1 198.51.100.7 65536 25\r\n"), NULL},
    {"an empty port", STR("PROXY TCP4 192.0.2.1 198.51.100.7 25000 \r\n"), NULL},
    {"a port too few", STR("PROXY TCP4 192.0.2.1 198.51.100.7 25000\r\n"), NULL},
    {"a word too many", STR("PROXY TCP4 192.0.2.1 198.51.100.7 25000 25 26\r\n"), NULL},
    {"LF alone at the end", STR("PROXY TCP4 192.0.2.1 198.51.100.7 25000 25\n"), NULL},
    {"a CR within", STR("PROXY UNKNOWN\r\r\n"), NULL},
    {"a CR alone at the end", STR("PROXY UNKNOWN\rQUIT\r\n"), NULL},
    {"a NUL in an address", STR("PROXY TCP4 192.0.2.1\0 198.51.100.7 25000 25\r\n"), NULL},

    {"TCP4 in version 2", STR(SIGNATURE "\x21\x11\0\x0C" V4), "2 " WANT_V4},
    {"TCP6 in version 2", STR(SIGNATURE "\x21\x21\0\x24" V6_A V6_B "\0\x19\x02\x4B"),
     "2 [2001:db8::1]:25 [2001:db8::2]:587"},
    {"IPv4 in the form of IPv6, in version 2", STR(SIGNATURE "\x21\x21\0\x24" MAPPED V6_B "\0\x01\0\x02"),
     "2 192.0.2.1:1 [2001:db8::2]:2"},
    {"LOCAL", STR(SIGNATURE "\x20\0\0\0"), "2 local"},
    {"LOCAL with addresses, which do not count", STR(SIGNATURE "\x20\x11\0\x0C" V4), "2 local"},
    {"LOCAL with a block that nobody reads", STR(SIGNATURE "\x20\x11\0\x03xyz"), "2 local"},
    {"UNSPEC", STR(SIGNATURE "\x21\0\0\0"), "2 its own"},
    {"UNSPEC with a block that nobody knows", STR(SIGNATURE "\x21\0\0\x03xyz"), "2 its own"},
    {"UDP is as good as unknown", STR(SIGNATURE "\x21\x12\0\x0C" V4), "2 its own"},
    {"a protocol that is not specified", STR(SIGNATURE "\x21\x10\0\x0C" V4), "2 its own"},
    {"UNIX", STR(SIGNATURE "\x21\x31\0\xD8" NET108 NET108), "2 its own"},
    {"UNIX cut short", STR(SIGNATURE "\x21\x31\0\xD7" NET108 NET108), NULL},
    {"another version", STR(SIGNATURE "\x11\x11\0\x0C" V4), NULL},
    {"another command", STR(SIGNATURE "\x22\x11\0\x0C" V4), NULL},
    {"another family", STR(SIGNATURE "\x21\x41\0\x0C" V4), NULL},
    {"another family in LOCAL", STR(SIGNATURE "\x20\xF0\0\0"), NULL},
    {"another protocol", STR(SIGNATURE "\x21\x13\0\x0C" V4), NULL},
    {"too short for its addresses", STR(SIGNATURE "\x21\x11\0\x0B" V4), NULL},
    {"TCP6 as short as TCP4", STR(SIGNATURE "\x21\x21\0\x0C" V4), NULL},
    {"longer than 4 KiB", STR(SIGNATURE "\x21\x11\x0F\xF1" V4), NULL},
    {"another signature", STR("\r\n\r\n\0\r\nQUIT\r\x21\x11\0\x0C" V4), NULL},
    {"an empty line", STR("\r\n"), NULL},

    {"blocks that nobody needs", STR(SIGNATURE "\x21\x11\0\x17" V4 "\x01\0\x02h2\xE0\0\0\x04\0\0"),
     "2 " WANT_V4},
    {"a block of two octets", STR(SIGNATURE "\x21\x11\0\x0E" V4 "\x04\0"), NULL},
    {"a block beyond the end", STR(SIGNATURE "\x21\x11\0\x10" V4 "\x04\0\x02x"), NULL},
    {"a block far beyond the end", STR(SIGNATURE "\x21\x11\0\x10" V4 "\x04\xFF\xFFx"), NULL},
    {"a good checksum", STR(SIGNATURE "\x21\x11\0\x13" V4 "\x03\0\x04\xE6\x8E\x80\xDC"), "2 " WANT_V4},
    {"a good checksum between others",
     STR(SIGNATURE "\x21\x11\0\x1F" V4 "\x04\0\x02xy\x03\0\x04\xE4\x65\x4A\x57\x02\0\x04"
                   "a.b."),
     "2 " WANT_V4},
    {"a wrong checksum", STR(SIGNATURE "\x21\x11\0\x13" V4 "\x03\0\x04\xE6\x8E\x80\xDD"), NULL},
    {"a checksum of three octets", STR(SIGNATURE "\x21\x11\0\x12" V4 "\x03\0\x03\xE6\x8E\x80"), NULL},
    {"two checksums",
     STR(SIGNATURE "\x21\x11\0\x1A" V4 "\x03\0\x04\xE6\x8E\x80\xDC\x03\0\x04\xE6\x8E\x80\xDC"), NULL},
    {"an id of 128 octets", STR(SIGNATURE "\x21\x11\0\x8F" V4 "\x05\0\x80" ID128), "2 " WANT_V4},
    {"a longer id", STR(SIGNATURE "\x21\x11\0\x90" V4 "\x05\0\x81" ID128 "x"), NULL},
    {"TLS", STR(SIGNATURE "\x21\x11\0\x1E" V4 "\x20\0\x0F\x01\0\0\0\x01\x21\0\x07TLSv1.3"),
     "2 " WANT_V4 " tls"},
    {"TLS with a certificate", STR(SIGNATURE "\x21\x11\0\x14" V4 "\x20\0\x05\x03\0\0\0\0"),
     "2 " WANT_V4 " tls verified"},
    {"TLS with a certificate of the session", STR(SIGNATURE "\x21\x11\0\x14" V4 "\x20\0\x05\x05\0\0\0\0"),
     "2 " WANT_V4 " tls verified"},
    {"TLS with a bad certificate", STR(SIGNATURE "\x21\x11\0\x14" V4 "\x20\0\x05\x03\0\0\0\x13"),
     "2 " WANT_V4 " tls"},
    {"TLS, and verified, but no certificate was shown",
     STR(SIGNATURE "\x21\x11\0\x14" V4 "\x20\0\x05\x01\0\0\0\0"), "2 " WANT_V4 " tls"},
    {"a block on TLS that says there is none", STR(SIGNATURE "\x21\x11\0\x14" V4 "\x20\0\x05\0\0\0\0\0"),
     "2 " WANT_V4},
    {"a block on TLS that is too short", STR(SIGNATURE "\x21\x11\0\x13" V4 "\x20\0\x04\x01\0\0\0"), NULL},
    {"a detail of TLS beyond its block",
     STR(SIGNATURE "\x21\x11\0\x1E" V4 "\x20\0\x0F\x01\0\0\0\x01\x21\0\x08TLSv1.3"), NULL},
};

static const char *show(struct arena *mem, const struct proxy_header *h)
{
    if (!h->has_addresses)
        return str_fmt(mem, "%u %s", h->version, h->is_local ? "local" : "its own");
    return str_fmt(mem, "%u %s %s%s%s", h->version, endpoint_text(mem, &h->source),
                   endpoint_text(mem, &h->destination), h->tls ? " tls" : "",
                   h->tls_verified ? " verified" : "");
}

/* Reads in pieces of so many octets, and returns how many were taken. */
static size_t read_pieces(struct str in, size_t piece, enum proxy_header_status *status,
                          struct proxy_header *h)
{
    struct proxy_header_reader reader;
    const char *why = NULL;
    size_t taken = 0;

    proxy_header_reader_init(&reader);
    *status = PROXY_HEADER_MORE;
    while (taken < in.n && *status == PROXY_HEADER_MORE) {
        struct str part = str_upto(str_from(in, taken), piece), rest = part;

        *status = proxy_header_read(&reader, &rest, h, &why);
        t_true(rest.n == 0 || *status != PROXY_HEADER_MORE);
        t_true((*status == PROXY_HEADER_FAULT) == (why != NULL));
        taken += part.n - rest.n;
    }
    proxy_header_reader_fini(&reader);
    return taken;
}

static void test_rows(void **state)
{
    struct arena *mem = arena_new(0);

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct buf in;

        t_case(rows[i].name, NULL);
        buf_init(&in, 8192);
        buf_add_str(&in, rows[i].in);
        buf_add_z(&in, "QUIT\r\n");
        for (size_t piece = 1; piece <= in.n; piece++) {
            enum proxy_header_status status;
            struct proxy_header h;
            size_t taken = read_pieces(buf_str(&in), piece, &status, &h);

            t_same_int(status, rows[i].want != NULL ? PROXY_HEADER_READY : PROXY_HEADER_FAULT);
            if (rows[i].want == NULL)
                continue;
            t_same_int(taken, rows[i].in.n);
            t_same_z(show(mem, &h), rows[i].want);
        }
        buf_fini(&in);
    }
    arena_free(&mem);
}

/* Each row cut short, before its fault if it has one, asks for more. */
static void test_more(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++)
        for (size_t n = 0; n < rows[i].in.n && rows[i].want != NULL; n++) {
            enum proxy_header_status status;
            struct proxy_header h;

            t_case(rows[i].name, NULL);
            read_pieces(str_upto(rows[i].in, n), n + 1, &status, &h);
            t_same_int(status, PROXY_HEADER_MORE);
        }
}

static void test_early_faults(void **state)
{
    static const struct {
        const char *name;
        struct str in;
    } early[] = {
        {"another protocol is known by its first octet", STR("E")},
        {"a TLS handshake", STR("\x16")},
        {"a word that begins like PROXY", STR("PROXI")},
        {"a signature that begins well", STR("\r\n\r\n\r")},
        {"another version", STR(SIGNATURE "\x31\x11\0\x0C")},
        {"a length beyond the limit", STR(SIGNATURE "\x21\x11\xFF\xFF")},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(early); i++) {
        enum proxy_header_status status;
        struct proxy_header h;

        t_case(early[i].name, NULL);
        read_pieces(str_upto(early[i].in, early[i].in.n - 1), 1, &status, &h);
        t_same_int(status, PROXY_HEADER_MORE);
        t_same_int(read_pieces(early[i].in, 1, &status, &h), early[i].in.n);
        t_same_int(status, PROXY_HEADER_FAULT);
    }
    t_case("a line without an end", NULL);
    {
        enum proxy_header_status status;
        struct proxy_header h;
        struct buf in;

        buf_init(&in, 1000);
        buf_add_z(&in, "PROXY UNKNOWN ");
        while (in.n < 500)
            buf_add_char(&in, 'x');
        t_same_int(read_pieces(buf_str(&in), 1, &status, &h), 107);
        t_same_int(status, PROXY_HEADER_FAULT);
        buf_fini(&in);
    }
}

static void test_largest(void **state)
{
    enum proxy_header_status status;
    struct proxy_header h;
    struct buf in;

    (void)state;
    t_case("4 KiB in all", NULL);
    buf_init(&in, 5000);
    buf_add_str(&in, STR(SIGNATURE "\x21\x11\x0F\xF0" V4 "\x04\x0F\xE1"));
    while (in.n < PROXY_HEADER_MAX)
        buf_add_char(&in, 'x');
    buf_add_z(&in, "QUIT\r\n");
    t_same_int(read_pieces(buf_str(&in), 1000, &status, &h), PROXY_HEADER_MAX);
    t_same_int(status, PROXY_HEADER_READY);
    t_true(h.has_addresses);
    buf_fini(&in);
}

static void test_write(void **state)
{
    static const struct {
        const char *name, *source, *destination, *want;
        struct str octets;
    } written[] = {
        {"TCP4", "192.0.2.1:25000", "198.51.100.7:25", "2 " WANT_V4, STR(SIGNATURE "\x21\x11\0\x0C" V4)},
        {"TCP6", "[2001:db8::1]:25", "[2001:db8::2]:587", "2 [2001:db8::1]:25 [2001:db8::2]:587",
         STR(SIGNATURE "\x21\x21\0\x24" V6_A V6_B "\0\x19\x02\x4B")},
        {"an IPv4 client and an IPv6 server", "192.0.2.1:1", "[2001:db8::2]:2",
         "2 192.0.2.1:1 [2001:db8::2]:2", STR(SIGNATURE "\x21\x21\0\x24" MAPPED V6_B "\0\x01\0\x02")},
        {"an IPv6 client and an IPv4 server", "[2001:db8::2]:2", "192.0.2.1:1",
         "2 [2001:db8::2]:2 192.0.2.1:1", STR(SIGNATURE "\x21\x21\0\x24" V6_B MAPPED "\0\x02\0\x01")},
        {"LOCAL", NULL, NULL, "2 local", STR(SIGNATURE "\x20\0\0\0")},
    };
    struct arena *mem = arena_new(0);

    (void)state;
    for (size_t i = 0; i < COUNT(written); i++) {
        enum proxy_header_status status;
        struct endpoint source, destination;
        struct proxy_header h;
        struct fail fail;
        struct buf out;

        t_case(written[i].name, NULL);
        buf_init(&out, PROXY_HEADER_WRITTEN_MAX);
        if (written[i].source != NULL) {
            t_same_int(endpoint_parse(str_of(written[i].source), &source, &fail), 0);
            t_same_int(endpoint_parse(str_of(written[i].destination), &destination, &fail), 0);
        }
        proxy_header_write(&out, written[i].source != NULL ? &source : NULL, &destination);
        t_true(!out.overflow);
        t_same_str(buf_str(&out), written[i].octets);
        t_same_int(read_pieces(buf_str(&out), 7, &status, &h), out.n);
        t_same_int(status, PROXY_HEADER_READY);
        t_same_z(show(mem, &h), written[i].want);
        buf_fini(&out);
    }
    arena_free(&mem);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),    cmocka_unit_test(test_more),  cmocka_unit_test(test_early_faults),
        cmocka_unit_test(test_largest), cmocka_unit_test(test_write),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
