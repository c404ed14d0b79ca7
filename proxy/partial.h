/*
 * proxy/partial.h - messages that an LMTP backend took for some of their recipients only     RFC 2033 4.2
 *
 * SMTP has one reply for a message, LMTP one for each recipient. When these differ no single reply is true: 250 would
 * lose the message for some, 4xx would double it for others, 5xx would bounce it for all. So the client hears 451, and
 * its recipients are remembered here: when it comes again each travels alone, so that each hears its own reply, and who
 * has the message already does not get it twice.
 *
 * Ownership  One table for the process; from any thread.
 * Limits     PARTIALS_MAX entries, for five days (RFC 5321 4.5.4.1: clients give up after four or five). Beyond them the
 *            oldest is forgotten, and so are all when the process ends: then a copy may come twice.
 */
#ifndef PROXY_PARTIAL_H
#define PROXY_PARTIAL_H

#include "base/str.h"

#include <stdbool.h>
#include <stdint.h>

enum { PARTIALS_MAX = 50000, PARTIAL_BLOCK = 1024 };

struct partials;

struct partials *partials_new(void);
void partials_free(struct partials **partials); /* NULL is fine; leaves NULL */

/* What tells one message from another: its octets as the client has sent them, in any pieces. Starts as zero. */
struct partial_digest {
    unsigned char block[PARTIAL_BLOCK + sizeof(uint64_t)]; /* what has not been hashed yet, and what has */
    size_t n;
};
void partial_digest_add(struct partial_digest *digest, struct str piece);
uint64_t partial_digest_end(struct partial_digest *digest);

/* This recipient's next transactions from that sender are to be his alone. */
void partials_separate(struct partials *partials, struct str sender, struct str recipient, int64_t now_ms);
bool partials_is_separate(struct partials *partials, struct str sender, struct str recipient, int64_t now_ms);

/* He has this message. */
void partials_note(struct partials *partials, struct str sender, struct str recipient, uint64_t message,
                   int64_t now_ms);
bool partials_has(struct partials *partials, struct str sender, struct str recipient, uint64_t message,
                  int64_t now_ms);

#endif
