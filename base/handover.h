/*
 * base/handover.h - a newer process of the same program gets the listening sockets, and takes this one's place
 *
 * The elder starts the program file that it was itself started from, as it is there now, with the same arguments, and
 * passes sockets as systemd does (base/passed.h). One more descriptor is a connection between the two: the younger
 * says when it is ready, or why it cannot; the elder closes it when it has left the field.
 *
 * Timing     `done` runs once, never before handover_start() has returned, never after handover_end().
 * Limits     within_ms from the start to the younger's word: then, or when it ends without one, it is killed.
 */
#ifndef BASE_HANDOVER_H
#define BASE_HANDOVER_H

#include "base/loop.h"

#include <sys/types.h>

/* The name of that descriptor among those that are passed. */
#define HANDOVER_NAME "smtpguard-handover"

/* ---- the elder ---- */

/* Program and arguments of this process, while it may still look at them. */
void handover_remember(void);

struct handover;
/* pid: of the younger, which is ready; 0: it is not, and `why` says why. */
typedef void handover_done_fn(pid_t pid, const char *why, void *arg);

/* names: of the sockets, for people. NULL and a fail when it cannot be started. */
struct handover *handover_start(struct loop *loop, const int *fds, const char *const *names, size_t count,
                                int64_t within_ms, handover_done_fn *done, void *arg, struct fail *fail);
/* Closes the connection. A younger one that has not said that it is ready is killed. NULL is fine; leaves NULL. */
void handover_end(struct handover **handover);

/* ---- the younger: by the descriptor ---- */

void handover_say_ready(int fd);
void handover_say_failed(int fd, const char *why);

#endif
