/*
 * proxy/hearing.h - what backends can do, heard before the first client is told of it            RFC 6531 3.2
 *
 * What our EHLO does not offer a client cannot ask for: mail that needs SMTPUTF8 goes back to its sender then. And
 * what it offers too much is refused when it comes to a backend that lacks it. So who says EHLO while no backend is
 * known waits until all were heard that can be reached, one after the other. It is one hearing, however many wait.
 * Those that could not be are heard when they are back: at somebody's EHLO, who does not wait for that.
 *
 * Ownership  A wait is part of whoever waits, who calls it off before it goes.
 * Timing     `done` comes once, never before hearing_wait() has returned, never after hearing_cancel();
 *            backends_offer() tells what was heard, if anything. PATIENCE_MS after the hearing began nobody
 *            waits for it any more, whatever the backend's own deadlines are.
 * Errors     A backend that cannot be heard is left alone for a while (proxy/backends.h), and nobody waits
 *            for it meanwhile.
 */
#ifndef PROXY_HEARING_H
#define PROXY_HEARING_H

#include "proxy/backends.h"

struct hearing;
struct hearing *hearing_new(struct backends *backends);
void hearing_free(struct hearing **hearing); /* nobody may wait; NULL is fine; leaves NULL */

struct hearing_wait {
    struct hearing_wait *next, **place; /* place NULL: it does not wait */
    void (*done)(void *arg);
    void *arg;
};

/* At EHLO. False: there is nothing to wait for. */
bool hearing_wait(struct hearing *hearing, struct hearing_wait *wait, void (*done)(void *arg), void *arg);
void hearing_cancel(struct hearing_wait *wait); /* one that does not wait is fine */

#endif
