#include "dns/message.h"

#include "base/hash.h"

#include <string.h>

enum {
    HEADER_BYTES = 12,
    RECORD_BYTES = 11, /* the least: the root's, without data */
    CLASS_IN = 1,
    TYPE_OPT = 41,
    LABEL_MAX = 63,
    OWNERS_SPARE = 32 * DNS_WIRE_NAME_MAX, /* more than aliases and their DNAMEs can have */
    TEXT_NAME_MAX = 4 * DNS_NAME_MAX + 1,
    NEGATIVE_TTL_MAX_S = 3 * 3600, /* RFC 2308 5: one to three hours have been found to work well */
};

static unsigned get16(const unsigned char *p)
{
    return (unsigned)p[0] << 8 | p[1];
}

static uint32_t get32(const unsigned char *p)
{
    return (uint32_t)get16(p) << 16 | get16(p + 2);
}

static unsigned char *put16(unsigned char *p, unsigned value)
{
    *p++ = (unsigned char)(value >> 8);
    *p++ = (unsigned char)value;
    return p;
}

/* ---- questions ---- */

/* Every octet but the dot stands for itself: labels made of mail data need no escapes, and cannot abuse any.
 */
bool dns_question_init(struct dns_question *question, enum dns_type type, const char *name)
{
    unsigned char *wire = put16(question->key, (unsigned)type), *length = wire, *p = wire + 1;

    for (; *name != '\0'; name++) {
        if (p - wire >= DNS_WIRE_NAME_MAX - 1) /* one octet stays for the root */
            return false;
        if (*name != '.') {
            *p++ = (unsigned char)ascii_lower(*name);
            continue;
        }
        if (p - length == 1 || p - length > LABEL_MAX + 1)
            return false;
        *length = (unsigned char)(p - length - 1);
        length = p++;
    }
    if (p - length == 1 || p - length > LABEL_MAX + 1)
        return false;
    *length = (unsigned char)(p - length - 1);
    *p++ = 0;
    question->n = (size_t)(p - question->key);
    return true;
}

size_t dns_message_build(const struct dns_question *question, uint16_t id, bool edns,
                         unsigned char packet_out[DNS_QUERY_MAX])
{
    unsigned char *p = put16(packet_out, id);

    p = put16(p, 0x0120); /* RD, AD */
    p = put16(p, 1);
    p = put16(p, 0);
    p = put16(p, 0);
    p = put16(p, edns);
    memcpy(p, question->key + 2, question->n - 2);
    p += question->n - 2;
    memcpy(p, question->key, 2);
    p = put16(p + 2, CLASS_IN);
    if (edns) {
        *p++ = 0; /* the root owns an OPT record (RFC 6891 6.1.2) */
        p = put16(p, TYPE_OPT);
        p = put16(p, DNS_EDNS_BYTES);
        p = put16(p, 0); /* extended rcode, version */
        p = put16(p, 0); /* no DO: the resolver validates, we do not */
        p = put16(p, 0);
    }
    return (size_t)(p - packet_out);
}

/* No length octet is taken for a letter: 63 is the largest, and "A" is 65. */
void dns_message_mix_case(unsigned char *packet, const unsigned char random[DNS_WIRE_NAME_MAX / 8 + 1])
{
    unsigned char *name = packet + HEADER_BYTES;

    for (size_t i = 0; name[i] != 0; i++)
        if (name[i] >= 'a' && name[i] <= 'z' && (random[i / 8] >> i % 8 & 1) != 0)
            name[i] -= 'a' - 'A';
}

bool dns_message_is_echo(const unsigned char *query, const unsigned char *reply, size_t n)
{
    size_t question_n = strlen((const char *)query + HEADER_BYTES) + 1 + 4;

    return n >= HEADER_BYTES + question_n &&
           memcmp(query + HEADER_BYTES, reply + HEADER_BYTES, question_n) == 0;
}

/* ---- names in a packet ---- */

struct packet {
    const unsigned char *p;
    size_t n;
};

/* A walk over the labels of a name. A pointer must lead to before the run of labels it ends ("a prior
 * occurance", RFC 1035 4.1.4), so that no loop is possible. */
struct labels {
    size_t at;    /* the next length octet */
    size_t run;   /* where the run of labels began */
    size_t bytes; /* of the name so far, uncompressed */
};

static struct labels labels_at(size_t offset)
{
    return (struct labels){offset, offset, 0};
}

/* The next label; length 0 is the root, and the end. -1: there is no such name. */
static int next_label(const struct packet *packet, struct labels *walk, const unsigned char **label_out)
{
    unsigned length;

    while (walk->at < packet->n && packet->p[walk->at] >= 0xc0) {
        size_t target;

        if (packet->n - walk->at < 2)
            return -1;
        target = get16(packet->p + walk->at) & 0x3fff;
        if (target >= walk->run)
            return -1;
        walk->at = walk->run = target;
    }
    if (walk->at >= packet->n)
        return -1;
    length = packet->p[walk->at];
    walk->bytes += 1 + length;
    if (length > LABEL_MAX || walk->bytes > DNS_WIRE_NAME_MAX || packet->n - walk->at < 1 + length)
        return -1;
    *label_out = packet->p + walk->at + 1;
    walk->at += 1 + length;
    return (int)length;
}

/* Steps over a name without following it. */
static bool skip_name(const struct packet *packet, size_t *at)
{
    size_t start = *at;

    while (*at < packet->n && *at - start < DNS_WIRE_NAME_MAX) {
        unsigned length = packet->p[*at];

        if (length >= 0xc0) {
            *at += 2;
            return *at <= packet->n;
        }
        if (length > LABEL_MAX)
            return false;
        *at += 1 + length;
        if (length == 0)
            return true;
    }
    return false;
}

/* Copies a name, uncompressed and in lower case. 0: there is no such name. */
static size_t unpack_name(const struct packet *packet, size_t offset,
                          unsigned char wire_out[DNS_WIRE_NAME_MAX])
{
    struct labels walk = labels_at(offset);
    const unsigned char *label;
    unsigned char *out = wire_out;
    int length;

    while ((length = next_label(packet, &walk, &label)) > 0) {
        *out++ = (unsigned char)length;
        for (int i = 0; i < length; i++)
            *out++ = (unsigned char)ascii_lower((char)label[i]);
    }
    if (length < 0)
        return 0;
    *out++ = 0;
    return (size_t)(out - wire_out);
}

static bool is_name(const struct packet *packet, size_t offset, const unsigned char *wire)
{
    struct labels walk = labels_at(offset);
    const unsigned char *label;
    int length;

    while ((length = next_label(packet, &walk, &label)) > 0) {
        if (*wire++ != length)
            return false;
        for (int i = 0; i < length; i++)
            if (*wire++ != (unsigned char)ascii_lower((char)label[i]))
                return false;
    }
    return length == 0 && *wire == 0;
}

static bool is_plain(unsigned char c)
{
    return c > ' ' && c < 0x7f && c != '.' && c != '\\';
}

static char *put_escaped(char *out, unsigned char c)
{
    *out++ = '\\';
    *out++ = (char)('0' + c / 100);
    *out++ = (char)('0' + c / 10 % 10);
    *out++ = (char)('0' + c % 10);
    return out;
}

/* NULL: there is no such name. */
static const char *text_name(struct arena *mem, const struct packet *packet, size_t offset)
{
    struct labels walk = labels_at(offset);
    char text[TEXT_NAME_MAX], *out = text;
    const unsigned char *label;
    int length;

    while ((length = next_label(packet, &walk, &label)) > 0) {
        if (out > text)
            *out++ = '.';
        for (int i = 0; i < length; i++) {
            if (is_plain(label[i]))
                *out++ = ascii_lower((char)label[i]);
            else
                out = put_escaped(out, label[i]);
        }
    }
    if (length < 0)
        return NULL;
    if (out == text)
        *out++ = '.';
    return str_dup(mem, str_make(text, (size_t)(out - text)));
}

/* ---- records ---- */

struct rr {
    size_t owner; /* offset of its name */
    uint64_t owner_hash;
    unsigned type, class;
    uint32_t ttl_s;
    size_t data, data_n;
};

static bool next_rr(const struct packet *packet, size_t *at, struct rr *rr_out)
{
    const unsigned char *p;

    rr_out->owner = *at;
    if (!skip_name(packet, at) || packet->n - *at < 10)
        return false;
    p = packet->p + *at;
    rr_out->type = get16(p);
    rr_out->class = get16(p + 2);
    rr_out->ttl_s = get32(p + 4);
    if (rr_out->ttl_s > INT32_MAX) /* RFC 2181 8: as if it were zero */
        rr_out->ttl_s = 0;
    rr_out->data = *at + 10;
    rr_out->data_n = get16(p + 8);
    *at = rr_out->data + rr_out->data_n;
    return *at <= packet->n;
}

static bool read_ip(const struct packet *packet, const struct rr *rr, unsigned char family, struct ip *ip_out)
{
    size_t n = family == 4 ? 4 : 16;

    if (rr->data_n != n)
        return false;
    *ip_out = (struct ip){.family = family};
    memcpy(ip_out->b, packet->p + rr->data, n);
    return true;
}

/* A name that must fill its record to the end. */
static bool read_name(struct arena *mem, const struct packet *packet, const struct rr *rr, size_t before,
                      const char **name_out)
{
    size_t at = rr->data + before;

    if (before > rr->data_n || !skip_name(packet, &at) || at != rr->data + rr->data_n)
        return false;
    *name_out = text_name(mem, packet, rr->data + before);
    return *name_out != NULL;
}

/* The strings of one record, joined (RFC 7208 3.3, RFC 6376 3.6.2.2). */
static bool read_text(struct arena *mem, const struct packet *packet, const struct rr *rr,
                      struct str *text_out)
{
    const unsigned char *p = packet->p + rr->data, *end = p + rr->data_n;
    char *text = arena_alloc(mem, rr->data_n + 1);
    size_t n = 0;

    if (p == end)
        return false;
    while (p < end) {
        size_t length = *p++;

        if (length > (size_t)(end - p))
            return false;
        memcpy(text + n, p, length);
        n += length;
        p += length;
    }
    *text_out = str_make(text, n);
    return true;
}

/* RFC 1035 3.3.13: two names and five numbers, the last of them the negative TTL (RFC 2308 4). */
static bool read_soa(struct arena *mem, const struct packet *packet, const struct rr *rr,
                     const char **name_out, uint32_t *minimum_out)
{
    size_t at = rr->data;

    if (!skip_name(packet, &at) || !skip_name(packet, &at) || at + 20 != rr->data + rr->data_n)
        return false;
    *minimum_out = get32(packet->p + at + 16);
    *name_out = text_name(mem, packet, rr->data);
    return *name_out != NULL;
}

static bool read_record(struct arena *mem, const struct packet *packet, const struct rr *rr,
                        struct dns_record *record)
{
    uint32_t minimum;

    switch ((enum dns_type)rr->type) {
    case DNS_A:
        return read_ip(packet, rr, 4, &record->ip);
    case DNS_AAAA:
        return read_ip(packet, rr, 6, &record->ip);
    case DNS_TXT:
        return read_text(mem, packet, rr, &record->text);
    case DNS_MX:
        if (rr->data_n < 3)
            return false;
        record->preference = (uint16_t)get16(packet->p + rr->data);
        return read_name(mem, packet, rr, 2, &record->name);
    case DNS_SOA:
        return read_soa(mem, packet, rr, &record->name, &minimum);
    case DNS_NS:
    case DNS_CNAME:
    case DNS_PTR:
        return read_name(mem, packet, rr, 0, &record->name);
    }
    return false;
}

/* ---- answers ---- */

/* What a packet holds, section by section, before anything is made of it. */
struct sections {
    struct rr *answers;
    size_t answers_count;
    size_t owners_bytes; /* of their names, unpacked */
    struct rr soa;
    bool has_soa, has_ns;
    unsigned extended_rcode; /* the upper eight bits, of the OPT record (RFC 6891 6.1.3) */
};

static bool is_same_pointer(const unsigned char *a, const unsigned char *b)
{
    return a[0] >= 0xc0 && memcmp(a, b, 2) == 0;
}

/* Owners are compared with each alias in turn. They are few, or written out in full, or the same pointer again and
 * again; thousands of pointers to and fro are a bomb. False: that, or one without an end. */
static bool read_owner(const struct packet *packet, struct rr *rr, struct sections *s)
{
    unsigned char name[DNS_WIRE_NAME_MAX];
    size_t n;

    if (s->answers_count > 0 && is_same_pointer(packet->p + rr->owner, packet->p + rr[-1].owner)) {
        rr->owner_hash = rr[-1].owner_hash;
        return true;
    }
    n = unpack_name(packet, rr->owner, name);
    rr->owner_hash = hash_bytes(name, n);
    s->owners_bytes += n;
    return n > 0 && s->owners_bytes <= packet->n + OWNERS_SPARE;
}

static bool read_answers(struct arena *mem, const struct packet *packet, size_t *at, size_t count,
                         struct sections *s)
{
    if (count > (packet->n - *at) / RECORD_BYTES)
        return false;
    s->answers = ARENA_ARRAY(mem, struct rr, count);
    for (; s->answers_count < count; s->answers_count++) {
        struct rr *rr = &s->answers[s->answers_count];

        if (!next_rr(packet, at, rr) || !read_owner(packet, rr, s))
            return false;
    }
    return true;
}

static bool read_sections(struct arena *mem, const struct packet *packet, size_t at, struct sections *s)
{
    unsigned authority = get16(packet->p + 8), additional = get16(packet->p + 10);
    struct rr rr;

    if (!read_answers(mem, packet, &at, get16(packet->p + 6), s))
        return false;
    for (; authority > 0; authority--) {
        if (!next_rr(packet, &at, &rr))
            return false;
        s->has_ns = s->has_ns || rr.type == DNS_NS;
        if (rr.type == DNS_SOA && rr.class == CLASS_IN && !s->has_soa) {
            s->soa = rr;
            s->has_soa = true;
        }
    }
    for (; additional > 0; additional--) {
        if (!next_rr(packet, &at, &rr))
            return false;
        if (rr.type == TYPE_OPT)
            s->extended_rcode = packet->p[rr.data - 6]; /* where other records have their TTL */
    }
    return true;
}

static uint32_t least(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/* What is asked for next: a type that the owner has. */
struct owner {
    unsigned char name[DNS_WIRE_NAME_MAX];
    uint64_t hash;
};

static void set_owner(struct owner *owner, const unsigned char *name, size_t n)
{
    memmove(owner->name, name, n);
    owner->hash = hash_bytes(name, n);
}

static bool is_of(const struct packet *packet, const struct rr *rr, unsigned type, const struct owner *owner)
{
    return rr->type == type && rr->class == CLASS_IN && rr->owner_hash == owner->hash &&
           is_name(packet, rr->owner, owner->name);
}

static bool has_text_or_address(unsigned type)
{
    return type == DNS_TXT || type == DNS_A || type == DNS_AAAA;
}

/* All records of the wanted type that the owner has. False: one of them cannot be read. */
static bool collect(struct arena *mem, const struct packet *packet, const struct sections *s, unsigned type,
                    const struct owner *owner, struct dns_answer *answer)
{
    size_t most = has_text_or_address(type) ? s->answers_count : DNS_NAMES_MAX;
    struct dns_record *records = NULL;

    for (size_t i = 0; i < s->answers_count && answer->count < most; i++) {
        const struct rr *rr = &s->answers[i];

        if (!is_of(packet, rr, type, owner))
            continue;
        if (records == NULL)
            records = ARENA_ARRAY(mem, struct dns_record, s->answers_count - i);
        if (!read_record(mem, packet, rr, &records[answer->count]))
            return false;
        answer->count++;
        answer->ttl_s = least(answer->ttl_s, rr->ttl_s);
    }
    answer->records = records;
    return true;
}

static const struct rr *find_alias(const struct packet *packet, const struct sections *s,
                                   const struct owner *owner)
{
    for (size_t i = 0; i < s->answers_count; i++)
        if (is_of(packet, &s->answers[i], DNS_CNAME, owner))
            return &s->answers[i];
    return NULL;
}

/* From the name asked, over its aliases, to the records; the answer section may be in any order. */
static bool follow(struct arena *mem, const struct packet *packet, const struct sections *s,
                   const struct dns_question *question, struct dns_answer *answer)
{
    struct owner owner;

    set_owner(&owner, question->key + 2, question->n - 2);
    for (int aliases = 0; aliases <= DNS_CHAIN_MAX; aliases++) {
        const struct rr *alias;
        size_t at, n;

        if (!collect(mem, packet, s, get16(question->key), &owner, answer))
            return false;
        if (answer->count > 0 || (alias = find_alias(packet, s, &owner)) == NULL)
            return true;
        at = alias->data;
        if (!skip_name(packet, &at) || at != alias->data + alias->data_n ||
            (n = unpack_name(packet, alias->data, owner.name)) == 0)
            return false;
        set_owner(&owner, owner.name, n);
        answer->ttl_s = least(answer->ttl_s, alias->ttl_s);
    }
    return false;
}

/* RFC 2308 5: the lesser of the SOA's TTL and its MINIMUM; without an SOA it must not be kept. */
static bool read_negative_ttl(struct arena *mem, const struct packet *packet, const struct sections *s,
                              uint32_t *ttl)
{
    const char *name;
    uint32_t minimum;

    if (!s->has_soa) {
        *ttl = 0;
        return true;
    }
    if (!read_soa(mem, packet, &s->soa, &name, &minimum))
        return false;
    *ttl = least(least(*ttl, NEGATIVE_TTL_MAX_S), least(s->soa.ttl_s, minimum));
    return true;
}

/* The packet repeats our question; `at_out` is behind it. */
static bool is_answer_to(const struct packet *packet, const struct dns_question *question, size_t *at_out)
{
    size_t at = HEADER_BYTES;

    if (get16(packet->p + 4) != 1 || !is_name(packet, at, question->key + 2) || !skip_name(packet, &at) ||
        packet->n - at < 4)
        return false;
    *at_out = at + 4;
    return memcmp(packet->p + at, question->key, 2) == 0 && get16(packet->p + at + 2) == CLASS_IN;
}

static enum dns_status read_answer(struct arena *mem, const struct packet *packet,
                                   const struct dns_question *question, struct dns_answer *answer)
{
    enum { QR = 0x80, OPCODE = 0x78, AA = 0x04, TC = 0x02, AD = 0x20 };
    struct sections s = {.answers_count = 0};
    unsigned rcode = dns_message_rcode(packet->p, packet->n);
    size_t at;

    if (packet->n < HEADER_BYTES || (packet->p[2] & (QR | OPCODE | TC)) != QR)
        return DNS_GARBLED;
    if (rcode == 2)
        return DNS_SERVFAIL;
    if (rcode == 5)
        return DNS_REFUSED;
    if ((rcode != 0 && rcode != 3) || !is_answer_to(packet, question, &at) ||
        !read_sections(mem, packet, at, &s) || s.extended_rcode != 0 ||
        !follow(mem, packet, &s, question, answer))
        return DNS_GARBLED;
    answer->authenticated = (packet->p[3] & AD) != 0;
    if (answer->count > 0)
        return rcode == 0 ? DNS_OK
                          : DNS_GARBLED; /* it is there, and does not exist: neither is to be believed */
    if (!read_negative_ttl(mem, packet, &s, &answer->ttl_s))
        return DNS_GARBLED;
    if (rcode == 3)
        return DNS_NXDOMAIN; /* of the last alias, if there were any (RFC 6604 3) */
    if (s.has_ns && !s.has_soa && (packet->p[2] & AA) == 0)
        return DNS_GARBLED; /* a referral (RFC 2308 2.2): this server does not resolve for us */
    return DNS_NODATA;
}

void dns_message_parse(struct arena *mem, const struct dns_question *question, const unsigned char *packet,
                       size_t n, struct dns_answer *answer_out)
{
    struct packet whole = {packet, n};

    *answer_out = (struct dns_answer){.type = (enum dns_type)get16(question->key), .ttl_s = UINT32_MAX};
    answer_out->status = read_answer(mem, &whole, question, answer_out);
    if (answer_out->status == DNS_OK || dns_is_void(answer_out->status))
        return;
    *answer_out = (struct dns_answer){.type = answer_out->type, .status = answer_out->status};
}

unsigned dns_message_rcode(const unsigned char *packet, size_t n)
{
    return n < HEADER_BYTES ? 0 : packet[3] & 15;
}
