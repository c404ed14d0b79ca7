/*
 * dns/wire_test.h - DNS packets by hand, for tests
 *
 * Counts in the header grow by themselves. A label "@N" in a name is a compression pointer to offset N and
 * ends the name; the first question's name is at @12.
 */
#ifndef DNS_WIRE_TEST_H
#define DNS_WIRE_TEST_H

#include "dns/message.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

struct wire {
    size_t n, data_at; /* data_at: behind the length of the record that is being written */
    unsigned char b[65535];
};

enum wire_section { WIRE_ANSWER = 6, WIRE_AUTHORITY = 8, WIRE_ADDITIONAL = 10 };
enum { WIRE_OK = 0x8180, WIRE_AUTHENTIC = 0x0020, WIRE_TC = 0x0200, WIRE_AA = 0x0400 };

static inline void wire_16(struct wire *w, unsigned value)
{
    w->b[w->n++] = (unsigned char)(value >> 8);
    w->b[w->n++] = (unsigned char)value;
}

static inline void wire_bytes(struct wire *w, const void *bytes, size_t n)
{
    memcpy(w->b + w->n, bytes, n);
    w->n += n;
}

static inline void wire_count(struct wire *w, size_t at)
{
    unsigned count = ((unsigned)w->b[at] << 8 | w->b[at + 1]) + 1;

    w->b[at] = (unsigned char)(count >> 8);
    w->b[at + 1] = (unsigned char)count;
}

static inline void wire_header(struct wire *w, unsigned id, unsigned flags)
{
    w->n = 0;
    wire_16(w, id);
    wire_16(w, flags);
    memset(w->b + 4, 0, 8);
    w->n = 12;
}

static inline void wire_name(struct wire *w, const char *name)
{
    struct str label, rest = str_of(name);

    while (rest.n > 0) {
        str_cut(rest, '.', &label, &rest);
        if (label.n > 0 && label.p[0] == '@') {
            wire_16(w, 0xc000u | (unsigned)strtoul(label.p + 1, NULL, 10));
            return;
        }
        w->b[w->n++] = (unsigned char)label.n;
        wire_bytes(w, label.p, label.n);
    }
    w->b[w->n++] = 0;
}

static inline void wire_question(struct wire *w, const char *name, enum dns_type type)
{
    wire_name(w, name);
    wire_16(w, (unsigned)type);
    wire_16(w, 1);
    wire_count(w, 4);
}

static inline void wire_rr(struct wire *w, enum wire_section section, const char *owner, unsigned type,
                           uint32_t ttl)
{
    wire_name(w, owner);
    wire_16(w, type);
    wire_16(w, 1);
    wire_16(w, ttl >> 16);
    wire_16(w, ttl & 0xffff);
    wire_16(w, 0);
    w->data_at = w->n;
    wire_count(w, section);
}

static inline void wire_end(struct wire *w)
{
    size_t n = w->n - w->data_at;

    w->b[w->data_at - 2] = (unsigned char)(n >> 8);
    w->b[w->data_at - 1] = (unsigned char)n;
}

static inline void wire_a(struct wire *w, const char *owner, uint32_t ttl, const char *ipv4)
{
    wire_rr(w, WIRE_ANSWER, owner, DNS_A, ttl);
    inet_pton(AF_INET, ipv4, w->b + w->n);
    w->n += 4;
    wire_end(w);
}

static inline void wire_alias(struct wire *w, const char *owner, uint32_t ttl, const char *target)
{
    wire_rr(w, WIRE_ANSWER, owner, DNS_CNAME, ttl);
    wire_name(w, target);
    wire_end(w);
}

static inline void wire_mx(struct wire *w, const char *owner, unsigned preference, const char *host)
{
    wire_rr(w, WIRE_ANSWER, owner, DNS_MX, 300);
    wire_16(w, preference);
    wire_name(w, host);
    wire_end(w);
}

static inline void wire_soa(struct wire *w, uint32_t ttl, uint32_t minimum)
{
    static const unsigned char numbers[16] = {0};

    wire_rr(w, WIRE_AUTHORITY, "test", DNS_SOA, ttl);
    wire_name(w, "ns.test");
    wire_name(w, "admin.test");
    wire_bytes(w, numbers, sizeof(numbers));
    wire_16(w, minimum >> 16);
    wire_16(w, minimum & 0xffff);
    wire_end(w);
}

static inline void wire_opt(struct wire *w, unsigned extended_rcode)
{
    wire_rr(w, WIRE_ADDITIONAL, "", 41, extended_rcode << 24);
    wire_end(w);
}

#endif
