/*
 * report/bounce.h - a report of ours comes back                              RFC 3461, 3464
 *
 * A backend queues what we send, so an address that does not exist is often told to us later, by a delivery status
 * notification to the VERP sender. Anybody may write one; so each mail of ours carries a token, a keyed hash of
 * its recipient, and only a notification that brings it back counts.
 *
 * The key is a row of the store's table "report", drawn once by whoever needs it first: all who send and receive
 * with one store recognise each other's mails. It never leaves the store.
 *
 * All of it is pure, but for bounce_key_draw().
 */
#ifndef REPORT_BOUNCE_H
#define REPORT_BOUNCE_H

#include "smtp/header.h"
#include "store/store.h"

struct bounce_key {
    uint64_t half[2]; /* both 0: there is none */
};

struct str bounce_key_name(void); /* of the row */
struct bounce_key bounce_key_draw(void);
/* For a change of that row: the key in it; where there is none it becomes `fresh`. */
struct bounce_key bounce_key_keep(struct arena *mem, const struct bounce_key *fresh, struct store_row *row);

/* The value of X-Report-Token, 16 digits; NULL without a key. */
const char *bounce_token(struct arena *mem, const struct bounce_key *key, const char *recipient);

/* Does this message say that one of ours failed for good (Action: failed, Status: 5.x.x)? `body`: its beginning.
 * Returns the token that it brings back, which is the sender's word until it was compared; NULL: it does not. */
const char *bounce_read(struct arena *mem, const struct header *header, struct str body);

#endif
