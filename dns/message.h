/*
 * dns/message.h - DNS messages: questions out, answers in          RFC 1035, 2308, 6891
 *
 * Ownership  What dns_message_parse() finds is allocated from `mem` and copied out of the packet.
 * Limits     Questions are 255 octets at most by RFC 1035 2.3.4. An answer has DNS_CHAIN_MAX aliases, and owners that do not
 *            unpack to far more than the packet; beyond that DNS_GARBLED. Of records that are names the first DNS_NAMES_MAX
 *            are read: a name of a thousand characters may take two octets in the packet. Work is linear in the packet
 *            (compression pointers only lead backward).
 * Errors     None to return: what cannot be read is DNS_GARBLED.
 *
 * A name in an answer may be four times DNS_NAME_MAX long when its octets had to be written \DDD. Such a name
 * cannot be asked again: as a question it is DNS_BADNAME or another name, and that is meant so.
 */
#ifndef DNS_MESSAGE_H
#define DNS_MESSAGE_H

#include "dns/dns.h"

enum {
    DNS_WIRE_NAME_MAX = 255,
    DNS_CHAIN_MAX = 8,
    DNS_EDNS_BYTES =
        1232, /* the answer that fits one packet everywhere (RFC 6891 6.2.5, DNS flag day 2020) */
    DNS_QUERY_MAX = 12 + DNS_WIRE_NAME_MAX + 4 + 11,
    DNS_RCODE_FORMERR = 1,
};

/* A question in the form in which it is sent, compared and remembered: the type in network order, then the
 * name's labels in lower case. Two questions are the same when their keys are. */
struct dns_question {
    size_t n;
    unsigned char key[2 + DNS_WIRE_NAME_MAX];
};

bool dns_question_init(struct dns_question *question, enum dns_type type,
                       const char *name); /* false: bad name */

/* A query with RD and AD set (AD: we understand the bit in the answer, RFC 6840 5.7). Returns its length. */
size_t dns_message_build(const struct dns_question *question, uint16_t id, bool edns,
                         unsigned char packet_out[DNS_QUERY_MAX]);

/* Writes each letter of the question in a case that nobody guesses, one bit of `random` a letter; and does a
 * reply repeat the question octet by octet? Who forges answers must guess these bits as well. */
void dns_message_mix_case(unsigned char *packet, const unsigned char random[DNS_WIRE_NAME_MAX / 8 + 1]);
bool dns_message_is_echo(const unsigned char *query, const unsigned char *reply, size_t n);

/* Fills all but `name` and `cached`. `authenticated` is the AD bit as it came: whether to believe it is for
 * the caller to know. `ttl_s` is 0 for what must not be kept. */
void dns_message_parse(struct arena *mem, const struct dns_question *question, const unsigned char *packet,
                       size_t n, struct dns_answer *answer_out);

/* The four bits of the header; 0 for what is too short to have them. */
unsigned dns_message_rcode(const unsigned char *packet, size_t n);

#endif
