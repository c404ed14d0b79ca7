/*
 * proxy/addressees.h - the recipients of one message at an LMTP backend: many replies, one answer     RFC 2033 4.2
 *
 * Ownership  Lies inside a relay, and takes memory from its arena. What is in flight ends with addressees_cancel().
 * Timing     Of addressees_note(), as in proxy/partial.h: the notes are in the store before `done`, or a second is over.
 */
#ifndef PROXY_ADDRESSEES_H
#define PROXY_ADDRESSEES_H

#include "base/loop.h"
#include "proxy/partial.h"
#include "proxy/relay.h"

struct addressee {
    struct str recipient;
    struct relay_reply reply; /* code 0: there is none yet */
    struct partial_query *noting;
    struct addressees *all;
    struct addressee *next;
};

struct addressees {
    struct arena *mem;
    struct addressee *first, **end; /* those that were accepted, in order */
    struct addressee *due;          /* whose reply to the message comes next */
    unsigned count, noting;
    bool alone; /* one of them travels alone (proxy/partial.h), so he is the only one */
    loop_fn *noted;
    void *arg;
};

void addressees_init(struct addressees *all, struct arena *mem);
void addressees_add(struct addressees *all, struct str recipient, bool alone);

/* The message is on its way: from now on replies to it are due. */
void addressees_expect(struct addressees *all);
/* One has come, which must live as long as the arena. True: it was the last one. */
bool addressees_heard(struct addressees *all, const struct relay_reply *reply);

unsigned addressees_taken(const struct addressees *all); /* how many have the message */
/* Some have it, and some have not or have not been answered for. */
bool addressees_are_divided(const struct addressees *all);
/* What is true for all of them, when they are not divided and all have been answered for. */
const struct relay_reply *addressees_answer(const struct addressees *all);

/* Of a divided message: when it comes again each of them is to travel alone, and who has it has it. */
struct addressees_place {
    struct partials *partials;
    struct loop *loop;
    struct str sender, message;
};
void addressees_note(struct addressees *all, const struct addressees_place *place, loop_fn *done, void *arg);
void addressees_cancel(
    struct addressees *all); /* `done` will not run any more; notes are made all the same */

#endif
