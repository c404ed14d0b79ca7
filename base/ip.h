/*
 * base/ip.h - addresses of hosts and networks, as values
 *
 * There is one canonical form: an IPv4-mapped IPv6 address (::ffff:192.0.2.1) becomes IPv4 at the
 * door, so that lists, SPF, greylist keys and limits never see two forms of one client.
 */
#ifndef BASE_IP_H
#define BASE_IP_H

#include "base/fail.h"
#include "base/str.h"

enum { IP_TEXT_MAX = 46 + 1 };

struct sockaddr;

struct ip {
    unsigned char family; /* 4, 6, or 0: no address */
    unsigned char b[16];  /* network order; IPv4 uses the first four */
};

/* An address with a port: what one listens on or connects to. */
struct endpoint {
    struct ip ip;
    uint16_t port;
};

struct net {
    struct ip ip; /* host bits are zero */
    unsigned char bits;
};

/* A list of networks, first to last. */
struct net_list {
    const struct net *nets;
    size_t count;
};

bool ip_parse(struct str text, struct ip *ip_out);                  /* no brackets, no zone */
const char *ip_format(const struct ip *ip, char text[IP_TEXT_MAX]); /* RFC 5952; returns text */
const char *ip_text(struct arena *mem, const struct ip *ip);
bool ip_eq(const struct ip *a, const struct ip *b);
bool ip_is_any(const struct ip *ip);      /* 0.0.0.0 or :: */
bool ip_is_loopback(const struct ip *ip); /* 127/8, ::1 */
bool ip_is_private(const struct ip *ip);  /* RFC 1918, RFC 4193, link-local, 100.64/10, loopback */
struct ip ip_prefix(const struct ip *ip, unsigned bits); /* with the bits behind the prefix zeroed */

/* "192.0.2.0/24", "2001:db8::/32" or a bare address. Host bits that are set are an error. */
int net_parse(struct str text, struct net *net_out, struct fail *fail);
bool net_has(const struct net *net, const struct ip *ip);
bool net_list_has(const struct net_list *list, const struct ip *ip);

/* "192.0.2.1:25", "[2001:db8::1]:25" */
int endpoint_parse(struct str text, struct endpoint *endpoint_out, struct fail *fail);
const char *endpoint_text(struct arena *mem, const struct endpoint *endpoint);

/* To and from the system's form. The buffer of endpoint_to_sockaddr is a struct sockaddr_storage. */
unsigned endpoint_to_sockaddr(const struct endpoint *endpoint, struct sockaddr *addr_out);
bool endpoint_from_sockaddr(const struct sockaddr *addr, struct endpoint *endpoint_out);

#endif
