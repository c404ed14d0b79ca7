#include "base/ip.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

static const unsigned char mapped_prefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

static struct ip from_in6(const unsigned char bytes[16])
{
    struct ip ip = {0};

    if (memcmp(bytes, mapped_prefix, sizeof(mapped_prefix)) == 0) {
        ip.family = 4;
        memcpy(ip.b, bytes + 12, 4);
    } else {
        ip.family = 6;
        memcpy(ip.b, bytes, 16);
    }
    return ip;
}

bool ip_parse(struct str text, struct ip *ip_out)
{
    char z[IP_TEXT_MAX];
    unsigned char bytes[16];

    if (text.n == 0 || text.n >= sizeof(z) || str_has(text, '\0'))
        return false;
    memcpy(z, text.p, text.n);
    z[text.n] = '\0';
    if (inet_pton(AF_INET, z, bytes) == 1) {
        *ip_out = (struct ip){.family = 4};
        memcpy(ip_out->b, bytes, 4);
        return true;
    }
    if (inet_pton(AF_INET6, z, bytes) == 1) {
        *ip_out = from_in6(bytes);
        return true;
    }
    return false;
}

/* Every line of the log and every key of the greylist has one, and inet_ntop() goes through sprintf(). */
static void format_v4(const unsigned char b[4], char *p)
{
    for (int i = 0; i < 4; i++) {
        if (i > 0)
            *p++ = '.';
        if (b[i] >= 100)
            *p++ = (char)('0' + b[i] / 100);
        if (b[i] >= 10)
            *p++ = (char)('0' + b[i] / 10 % 10);
        *p++ = (char)('0' + b[i] % 10);
    }
    *p = '\0';
}

const char *ip_format(const struct ip *ip, char text[IP_TEXT_MAX])
{
    if (ip->family == 4)
        format_v4(ip->b, text);
    else if (ip->family != 6 || inet_ntop(AF_INET6, ip->b, text, IP_TEXT_MAX) == NULL)
        text[0] = '\0';
    return text;
}

const char *ip_text(struct arena *mem, const struct ip *ip)
{
    char text[IP_TEXT_MAX];

    return str_dup(mem, str_of(ip_format(ip, text)));
}

bool ip_eq(const struct ip *a, const struct ip *b)
{
    return a->family == b->family && memcmp(a->b, b->b, a->family == 4 ? 4 : 16) == 0;
}

bool ip_is_any(const struct ip *ip)
{
    static const unsigned char zero[16];

    return memcmp(ip->b, zero, ip->family == 4 ? 4 : 16) == 0;
}

bool ip_is_loopback(const struct ip *ip)
{
    static const struct ip one = {6, {[15] = 1}};

    return ip->family == 4 ? ip->b[0] == 127 : ip_eq(ip, &one);
}

bool ip_is_private(const struct ip *ip)
{
    const unsigned char *b = ip->b;

    if (ip_is_loopback(ip))
        return true;
    if (ip->family == 6)
        return (b[0] & 0xfe) == 0xfc || (b[0] == 0xfe && (b[1] & 0xc0) == 0x80);
    return b[0] == 10 || (b[0] == 172 && (b[1] & 0xf0) == 16) || (b[0] == 192 && b[1] == 168) ||
           (b[0] == 169 && b[1] == 254) || (b[0] == 100 && (b[1] & 0xc0) == 64);
}

struct ip ip_prefix(const struct ip *ip, unsigned bits)
{
    unsigned width = ip->family == 4 ? 32 : 128;
    struct ip prefix = *ip;

    for (unsigned i = bits; i < width; i++)
        prefix.b[i / 8] &= (unsigned char)~(0x80u >> (i % 8));
    return prefix;
}

int net_parse(struct str text, struct net *net_out, struct fail *fail)
{
    struct str address, length;
    uint64_t bits;
    struct net net;
    struct ip base;
    bool has_length = str_cut(text, '/', &address, &length);

    if (!ip_parse(address, &net.ip))
        return fail_set(fail, "\"%.*s\" is not a network; write 192.0.2.0/24 or 2001:db8::/32",
                        STR_ARG(text));
    bits = net.ip.family == 4 ? 32 : 128;
    if (has_length && !str_to_u64(length, bits, &bits))
        return fail_set(fail, "\"%.*s\": the prefix length is a number from 0 to %u", STR_ARG(text),
                        (unsigned)bits);
    net.bits = (unsigned char)bits;
    base = ip_prefix(&net.ip, net.bits);
    if (!ip_eq(&base, &net.ip)) {
        char want[IP_TEXT_MAX];

        return fail_set(fail, "\"%.*s\" has bits set behind its prefix; did you mean %s/%u?", STR_ARG(text),
                        ip_format(&base, want), net.bits);
    }
    *net_out = net;
    return 0;
}

bool net_has(const struct net *net, const struct ip *ip)
{
    unsigned whole = net->bits / 8, rest = net->bits % 8;

    if (net->ip.family != ip->family || memcmp(net->ip.b, ip->b, whole) != 0)
        return false;
    return rest == 0 || (net->ip.b[whole] ^ ip->b[whole]) >> (8 - rest) == 0;
}

bool net_list_has(const struct net_list *list, const struct ip *ip)
{
    for (size_t i = 0; i < list->count; i++)
        if (net_has(&list->nets[i], ip))
            return true;
    return false;
}

/* Splits at the last colon: an IPv6 address stands in brackets. */
int endpoint_parse(struct str text, struct endpoint *endpoint_out, struct fail *fail)
{
    size_t colon = text.n;
    struct endpoint endpoint = {0};
    struct str host, port;
    uint64_t number;

    while (colon > 0 && text.p[colon - 1] != ':')
        colon--;
    if (colon == 0)
        return fail_set(fail, "\"%.*s\" has no port; write 127.0.0.1:25 or [::1]:25", STR_ARG(text));
    host = str_upto(text, colon - 1);
    port = str_from(text, colon);
    if (host.n >= 2 && host.p[0] == '[' && host.p[host.n - 1] == ']')
        host = str_make(host.p + 1, host.n - 2);
    else if (str_has(host, ':'))
        return fail_set(fail, "\"%.*s\": an IPv6 address stands in brackets, as in [::1]:25", STR_ARG(text));
    if (!ip_parse(host, &endpoint.ip))
        return fail_set(fail, "\"%.*s\" does not begin with an IP address", STR_ARG(text));
    if (!str_to_u64(port, 65535, &number))
        return fail_set(fail, "\"%.*s\" does not end with a port from 0 to 65535", STR_ARG(text));
    endpoint.port = (uint16_t)number;
    *endpoint_out = endpoint;
    return 0;
}

const char *endpoint_text(struct arena *mem, const struct endpoint *endpoint)
{
    char text[IP_TEXT_MAX];

    ip_format(&endpoint->ip, text);
    return str_fmt(mem, endpoint->ip.family == 6 ? "[%s]:%u" : "%s:%u", text, endpoint->port);
}

unsigned endpoint_to_sockaddr(const struct endpoint *endpoint, struct sockaddr *addr_out)
{
    if (endpoint->ip.family == 4) {
        struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(endpoint->port)};

        memcpy(&in.sin_addr, endpoint->ip.b, 4);
        memcpy(addr_out, &in, sizeof(in));
        return sizeof(in);
    }
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(endpoint->port)};

    memcpy(&in6.sin6_addr, endpoint->ip.b, 16);
    memcpy(addr_out, &in6, sizeof(in6));
    return sizeof(in6);
}

bool endpoint_from_sockaddr(const struct sockaddr *addr, struct endpoint *endpoint_out)
{
    *endpoint_out = (struct endpoint){0};
    if (addr->sa_family == AF_INET) {
        struct sockaddr_in in;

        memcpy(&in, addr, sizeof(in));
        endpoint_out->ip.family = 4;
        memcpy(endpoint_out->ip.b, &in.sin_addr, 4);
        endpoint_out->port = ntohs(in.sin_port);
        return true;
    }
    if (addr->sa_family == AF_INET6) {
        struct sockaddr_in6 in6;

        memcpy(&in6, addr, sizeof(in6));
        endpoint_out->ip = from_in6(in6.sin6_addr.s6_addr);
        endpoint_out->port = ntohs(in6.sin6_port);
        return true;
    }
    return false;
}
