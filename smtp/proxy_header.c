#include "smtp/proxy_header.h"

#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

enum {
    LINE_MAX_OCTETS = 107, /* version 1, with CRLF */
    FIXED = 16,            /* version 2: signature, version and command, family and protocol, length */
    TLV_FIXED = 3,         /* type and length */
    UNIQUE_ID_MAX = 128,
};

enum { LOCAL = 0x20, PROXY = 0x21 }; /* version and command */
enum { UNSPEC = 0, INET = 1, INET6 = 2, UNIX = 3, TCP4 = 0x11, TCP6 = 0x21, PROTOCOL_LAST = 2 };
enum { TLV_CRC32C = 0x03, TLV_UNIQUE_ID = 0x05, TLV_SSL = 0x20 }; /* the types we look at */
enum { SSL_FIXED = 5, SSL_CLIENT = 1, SSL_CERTIFICATE = 2 | 4 };

static const struct str line_start = {"PROXY ", 6};
static const struct str signature = {"\r\n\r\n\0\r\nQUIT\n", 12};

void proxy_header_reader_init(struct proxy_header_reader *reader)
{
    buf_init(&reader->in, PROXY_HEADER_MAX);
}

void proxy_header_reader_fini(struct proxy_header_reader *reader)
{
    buf_fini(&reader->in);
}

static unsigned octet(struct str s, size_t at)
{
    return (unsigned char)s.p[at];
}

static unsigned number16(struct str s, size_t at)
{
    return octet(s, at) << 8 | octet(s, at + 1);
}

static uint32_t number32(struct str s, size_t at)
{
    return (uint32_t)number16(s, at) << 16 | number16(s, at + 2);
}

/* ---- version 1 ---- */

/* Leading zeros are not permitted. */
static bool port_parse(struct str text, uint16_t *port_out)
{
    uint64_t number;

    if (!str_to_u64(text, UINT16_MAX, &number) || (text.n > 1 && text.p[0] == '0'))
        return false;
    *port_out = (uint16_t)number;
    return true;
}

static bool address_parse(struct str text, bool six, struct ip *ip_out)
{
    return str_has(text, ':') == six && ip_parse(text, ip_out);
}

/* What follows "PROXY TCP4 " or "PROXY TCP6 ": two addresses and two ports. */
static bool take_line_addresses(struct str rest, bool six, struct proxy_header *h)
{
    struct str source, destination, source_port;

    if (!str_cut(rest, ' ', &source, &rest) || !str_cut(rest, ' ', &destination, &rest) ||
        !str_cut(rest, ' ', &source_port, &rest))
        return false;
    h->has_addresses = true;
    return address_parse(source, six, &h->source.ip) && address_parse(destination, six, &h->destination.ip) &&
           port_parse(source_port, &h->source.port) && port_parse(rest, &h->destination.port);
}

static const char *take_line(struct str line, struct proxy_header *h)
{
    struct str protocol, rest;
    bool more;

    if (line.n < 2 || line.p[line.n - 2] != '\r' || str_find(line, '\r') != line.n - 2)
        return "PROXY line: its end is not CRLF";
    more = str_cut(str_make(line.p + line_start.n, line.n - line_start.n - 2), ' ', &protocol, &rest);
    h->version = 1;
    if (str_eq(protocol, STR("UNKNOWN")))
        return NULL;
    if (more && str_eq(protocol, STR("TCP4")) && take_line_addresses(rest, false, h))
        return NULL;
    if (more && str_eq(protocol, STR("TCP6")) && take_line_addresses(rest, true, h))
        return NULL;
    return "PROXY line: malformed";
}

/* ---- version 2 ---- */

/* CRC32c (RFC 4960 B) of the whole header, with the four octets of the checksum as zeros. */
static uint32_t checksum(struct str header, size_t checksum_at)
{
    uint32_t crc = UINT32_MAX;

    for (size_t i = 0; i < header.n; i++) {
        crc ^= i >= checksum_at && i < checksum_at + 4 ? 0 : octet(header, i);
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ ((crc & 1) != 0 ? 0x82F63B78 : 0);
    }
    return ~crc;
}

/* Takes one block from the front of *rest. */
static bool next_tlv(struct str *rest, unsigned *type_out, struct str *value_out)
{
    if (rest->n < TLV_FIXED || number16(*rest, 1) > rest->n - TLV_FIXED)
        return false;
    *type_out = octet(*rest, 0);
    *value_out = str_upto(str_from(*rest, TLV_FIXED), number16(*rest, 1));
    *rest = str_from(*rest, TLV_FIXED + value_out->n);
    return true;
}

/* What the client showed to the balancer; its details stand in blocks of their own within. */
static bool take_ssl(struct str value, struct proxy_header *h)
{
    struct str rest = str_from(value, SSL_FIXED), detail;
    unsigned flags, type;

    if (value.n < SSL_FIXED)
        return false;
    while (rest.n > 0)
        if (!next_tlv(&rest, &type, &detail))
            return false;
    flags = octet(value, 0);
    h->tls = (flags & SSL_CLIENT) != 0;
    h->tls_verified = h->tls && (flags & SSL_CERTIFICATE) != 0 && number32(value, 1) == 0;
    return true;
}

static const char *take_tlvs(struct str header, size_t start, struct proxy_header *h)
{
    struct str rest = str_from(header, start), value;
    size_t checksum_at = 0;
    unsigned type;

    while (rest.n > 0) {
        if (!next_tlv(&rest, &type, &value))
            return "PROXY header: a block within goes beyond its end";
        if (type == TLV_SSL && !take_ssl(value, h))
            return "PROXY header: malformed block on TLS";
        if (type == TLV_UNIQUE_ID && value.n > UNIQUE_ID_MAX)
            return "PROXY header: an id that is too long";
        if (type == TLV_CRC32C) {
            if (value.n != 4 || checksum_at != 0)
                return "PROXY header: malformed checksum";
            checksum_at = header.n - rest.n - 4;
        }
    }
    if (checksum_at != 0 && number32(header, checksum_at) != checksum(header, checksum_at))
        return "PROXY header: the checksum is wrong";
    return NULL;
}

/* IPv4 in the form of IPv6 becomes IPv4 in endpoint_from_sockaddr(). */
static struct endpoint endpoint_at(struct str header, size_t address, size_t address_octets, size_t port)
{
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)number16(header, port))};
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = in6.sin6_port};
    struct endpoint endpoint;

    if (address_octets == 4) {
        memcpy(&in.sin_addr, header.p + address, 4);
        endpoint_from_sockaddr((const struct sockaddr *)&in, &endpoint);
    } else {
        memcpy(&in6.sin6_addr, header.p + address, 16);
        endpoint_from_sockaddr((const struct sockaddr *)&in6, &endpoint);
    }
    return endpoint;
}

static const char *take_block(struct str header, struct proxy_header *h)
{
    static const size_t address_octets[] = {[UNSPEC] = 0, [INET] = 4, [INET6] = 16, [UNIX] = 108};
    unsigned protocol = octet(header, 13), family = protocol >> 4;
    size_t n = address_octets[family], addresses = 2 * n + (family == INET || family == INET6 ? 4 : 0);

    h->version = 2;
    h->is_local = octet(header, 12) == LOCAL;
    /* A LOCAL block is skipped unread; and of a family that nobody knows, nobody knows where it ends. */
    if (h->is_local || family == UNSPEC)
        return NULL;
    if (header.n - FIXED < addresses)
        return "PROXY header: too short for its addresses";
    h->has_addresses = protocol == TCP4 || protocol == TCP6;
    if (h->has_addresses) {
        h->source = endpoint_at(header, FIXED, n, FIXED + 2 * n);
        h->destination = endpoint_at(header, FIXED + n, n, FIXED + 2 * n + 2);
    }
    return take_tlvs(header, FIXED + addresses, h);
}

static const char *check_fixed(struct str header)
{
    unsigned command = octet(header, 12), protocol = octet(header, 13);

    if (command != LOCAL && command != PROXY)
        return "PROXY header: unknown version or command";
    if (protocol >> 4 > UNIX || (protocol & 15) > PROTOCOL_LAST)
        return "PROXY header: unknown family or protocol";
    if (number16(header, 14) > PROXY_HEADER_MAX - FIXED)
        return "PROXY header: too long";
    return NULL;
}

/* ---- */

/* Octets that certainly belong to the header, of those that come next. */
static size_t wanted(struct str have, struct str in)
{
    if ((have.n > 0 ? have.p[0] : in.p[0]) != signature.p[0]) {
        size_t line = str_find(in, '\n') + 1;

        return line < LINE_MAX_OCTETS - have.n ? line : LINE_MAX_OCTETS - have.n;
    }
    return (have.n < FIXED ? FIXED : FIXED + number16(have, 14)) - have.n;
}

static bool begins_like(struct str have, struct str with)
{
    return str_starts(have, str_upto(with, have.n));
}

static enum proxy_header_status look(struct str have, struct proxy_header *h, const char **why_out)
{
    if (begins_like(have, line_start)) {
        if (have.p[have.n - 1] == '\n') {
            *why_out = take_line(have, h);
            return PROXY_HEADER_READY;
        }
        if (have.n == LINE_MAX_OCTETS)
            *why_out = "PROXY line: longer than 107 octets";
        return PROXY_HEADER_MORE;
    }
    if (!begins_like(have, signature)) {
        *why_out = "no PROXY header";
        return PROXY_HEADER_FAULT;
    }
    if (have.n >= FIXED)
        *why_out = check_fixed(have);
    if (have.n < FIXED || *why_out != NULL || have.n < FIXED + number16(have, 14))
        return PROXY_HEADER_MORE;
    *why_out = take_block(have, h);
    return PROXY_HEADER_READY;
}

enum proxy_header_status proxy_header_read(struct proxy_header_reader *reader, struct str *in,
                                           struct proxy_header *header_out, const char **why_out)
{
    enum proxy_header_status status = PROXY_HEADER_MORE;

    *why_out = NULL;
    while (in->n > 0 && status == PROXY_HEADER_MORE) {
        struct str piece = str_upto(*in, wanted(buf_str(&reader->in), *in));

        buf_add_str(&reader->in, piece);
        *in = str_from(*in, piece.n);
        *header_out = (struct proxy_header){0};
        status = look(buf_str(&reader->in), header_out, why_out);
        if (*why_out != NULL)
            status = PROXY_HEADER_FAULT;
    }
    return status;
}

/* ---- writing ---- */

static void add_address(struct buf *out, const struct ip *ip, bool six)
{
    static const char mapped[12] = {[10] = (char)0xFF, [11] = (char)0xFF};

    if (six && ip->family == 4)
        buf_add(out, mapped, sizeof(mapped));
    buf_add(out, ip->b, ip->family == 4 ? 4 : 16);
}

static void add_number16(struct buf *out, unsigned number)
{
    buf_add_char(out, (char)(number >> 8));
    buf_add_char(out, (char)number);
}

void proxy_header_write(struct buf *out, const struct endpoint *source, const struct endpoint *destination)
{
    bool six;

    buf_add_str(out, signature);
    if (source == NULL) {
        buf_add_char(out, LOCAL);
        buf_add_char(out, UNSPEC);
        add_number16(out, 0);
        return;
    }
    six = source->ip.family == 6 || destination->ip.family == 6;
    buf_add_char(out, PROXY);
    buf_add_char(out, six ? TCP6 : TCP4);
    add_number16(out, six ? 36 : 12);
    add_address(out, &source->ip, six);
    add_address(out, &destination->ip, six);
    add_number16(out, source->port);
    add_number16(out, destination->port);
}
