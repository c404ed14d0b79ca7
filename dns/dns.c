#include "dns/dns.h"

#include "base/bug.h"

#include <string.h>

struct dns_token *dns_query(struct dns *dns, enum dns_type type, const char *name, dns_done_fn *done,
                            void *arg)
{
    struct dns_token *token = dns->ops->query(dns, type, name, done, arg);

    token->dns = dns;
    return token;
}

void dns_cancel(struct dns_token **token)
{
    struct dns_token *t = *token;

    *token = NULL;
    if (t != NULL)
        t->dns->ops->cancel(t->dns, t);
}

bool dns_is_temporary(enum dns_status status)
{
    return status == DNS_SERVFAIL || status == DNS_REFUSED || status == DNS_TIMEOUT || status == DNS_GARBLED;
}

bool dns_is_void(enum dns_status status)
{
    return status == DNS_NODATA || status == DNS_NXDOMAIN;
}

const char *dns_status_name(enum dns_status status)
{
    static const char *const names[] = {
        [DNS_OK] = "ok",
        [DNS_NODATA] = "nodata",
        [DNS_NXDOMAIN] = "nxdomain",
        [DNS_SERVFAIL] = "servfail",
        [DNS_REFUSED] = "refused",
        [DNS_TIMEOUT] = "timeout",
        [DNS_GARBLED] = "garbled",
        [DNS_BADNAME] = "badname",
    };

    if ((size_t)status >= COUNT(names))
        bug("DNS status %d", (int)status);
    return names[status];
}

const char *dns_type_name(enum dns_type type)
{
    switch (type) {
    case DNS_A:
        return "A";
    case DNS_NS:
        return "NS";
    case DNS_CNAME:
        return "CNAME";
    case DNS_SOA:
        return "SOA";
    case DNS_PTR:
        return "PTR";
    case DNS_MX:
        return "MX";
    case DNS_TXT:
        return "TXT";
    case DNS_AAAA:
        return "AAAA";
    }
    bug("DNS type %d", (int)type);
}

/* ---- reverse names ---- */

enum { REVERSE_MAX = 64 + 1 }; /* 32 nibbles, each with its dot */

/* "1.2.0.192." Written by hand: it is asked for every list and every client. */
static size_t reverse_ipv4(const unsigned char *b, char *out)
{
    size_t n = 0;

    for (int i = 3; i >= 0; i--) {
        if (b[i] >= 100)
            out[n++] = (char)('0' + b[i] / 100);
        if (b[i] >= 10)
            out[n++] = (char)('0' + b[i] / 10 % 10);
        out[n++] = (char)('0' + b[i] % 10);
        out[n++] = '.';
    }
    return n;
}

static size_t reverse_ipv6(const unsigned char *b, char *out)
{
    static const char digits[] = "0123456789abcdef";
    size_t n = 0;

    for (int i = 15; i >= 0; i--) {
        out[n++] = digits[b[i] & 15];
        out[n++] = '.';
        out[n++] = digits[b[i] >> 4];
        out[n++] = '.';
    }
    return n;
}

void dns_reverse_name(const struct ip *ip, const char *zone, char name_out[DNS_NAME_MAX + 1])
{
    char reverse[REVERSE_MAX];
    size_t n = ip->family == 4   ? reverse_ipv4(ip->b, reverse)
               : ip->family == 6 ? reverse_ipv6(ip->b, reverse)
                                 : 0;
    size_t zone_n = strlen(zone);

    name_out[0] = '\0'; /* what does not fit cannot be asked: DNS_BADNAME */
    if (n == 0 || n + zone_n > DNS_NAME_MAX)
        return;
    memcpy(name_out, reverse, n);
    memcpy(name_out + n, zone, zone_n + 1);
}

void dns_ptr_name(const struct ip *ip, char name_out[DNS_NAME_MAX + 1])
{
    dns_reverse_name(ip, ip->family == 4 ? "in-addr.arpa" : "ip6.arpa", name_out);
}
