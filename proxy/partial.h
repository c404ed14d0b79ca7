/*
 * proxy/partial.h - messages that an LMTP backend took for some of their recipients only     RFC 2033 4.2
 *
 * SMTP has one reply for a message, LMTP one for each recipient. When these differ no single reply is true: 250 would
 * lose the message for some, 4xx would double it for others, 5xx would bounce it for all. So the client hears 451, and
 * its recipients are remembered here: when it comes again each travels alone, so that each hears its own reply, and who
 * has the message already does not get it twice.
 *
 * What is remembered lies in the store, so it outlives the process, and hosts that share a store know it of each other;
 * and in this process, for when the store has no answer. A row's key is made of digests: of the sender and the recipient
 * as the client wrote them, and of the message's octets. Who the client is does not matter, since a sender may come
 * again from another of its hosts.
 *
 * Ownership  One memory for the process; from any thread. A question lies in `mem`, its asker's, and all strings in it
 *            are copied.
 * Timing     `done` exactly once, on the asking loop, never before the call has returned, never after
 *            partial_cancel(); within a second, whatever the store does.
 * Limits     Five days (RFC 5321 4.5.4.1: clients give up after four or five); PARTIALS_MAX entries in the process, and
 *            as many as a table may have in the store. Beyond them the oldest are forgotten: then a copy may come twice.
 * Errors     None. A store that has no answer knows nothing, and what it could not note only the process knows.
 */
#ifndef PROXY_PARTIAL_H
#define PROXY_PARTIAL_H

#include "store/store.h"

#define PARTIAL_TABLE "partial"
enum { PARTIALS_MAX = 50000 };

struct partials;
struct dkim_hash;

struct partials *partials_new(struct store *store, const struct clock *clock); /* both borrowed */
void partials_free(struct partials **partials); /* after store_close(); NULL is fine; leaves NULL */

/* Which rows lie side by side (store/store.h): those of a sender and a recipient. */
struct str partial_tag(struct str key);

/* A message's name: the digest of its octets as the client has sent them. Ends the hash that they were added to. */
struct str partial_message(struct arena *mem, struct dkim_hash **octets);

/* Whose mail to whom. */
struct partial_pair {
    struct str sender, recipient;
};

struct partial_query; /* opaque: one question, or one note, in flight */
typedef void partial_fn(bool yes, void *arg);

/* Are this recipient's transactions from that sender to be his alone? */
struct partial_query *partials_ask_alone(struct partials *partials, struct loop *loop, struct arena *mem,
                                         const struct partial_pair *pair, partial_fn *done, void *arg);
/* Has he this message? */
struct partial_query *partials_ask_taken(struct partials *partials, struct loop *loop, struct arena *mem,
                                         const struct partial_pair *pair, struct str message,
                                         partial_fn *done, void *arg);
/* From now on he travels alone; with a message: and he has this one. `done` says whether the store has it. */
struct partial_query *partials_note(struct partials *partials, struct loop *loop, struct arena *mem,
                                    const struct partial_pair *pair, struct str message, partial_fn *done,
                                    void *arg);
void partial_cancel(
    struct partial_query **query); /* a note is made all the same; NULL is fine; leaves NULL */

#endif
