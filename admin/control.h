/*
 * admin/control.h - the control socket: orders from this host, and their answers
 *
 * A Unix stream socket. One line asks ("status"), one JSON object in one line answers, and the connection is
 * closed; what an order means is `obey`'s matter.
 *
 * Who may    root, our own user, and members of the group that the socket's file has; by the file's mode (0660) and,
 *            whatever became of that, by the credentials that the kernel has of the peer (unix(7), SO_PEERCRED).
 * Timing     `obey` runs on the loop, never before control_start() has returned, never after control_stop().
 * Limits     CONTROL_CONNECTIONS at once, others are closed; a line of CONTROL_LINE_MAX, an answer of
 *            CONTROL_ANSWER_MAX; CONTROL_MS from the first octet to the last.
 */
#ifndef ADMIN_CONTROL_H
#define ADMIN_CONTROL_H

#include "base/buf.h"
#include "base/fail.h"
#include "base/loop.h"

#include <sys/types.h>

enum {
    CONTROL_CONNECTIONS = 16,
    CONTROL_LINE_MAX = 256,
    CONTROL_ANSWER_MAX = 256 * 1024,
    CONTROL_MS = 10000,
};

struct control;

/* `order` without its line end; the answer is one object, without. `uid` and `pid` are the peer's. */
struct control_order {
    struct str text;
    uid_t uid;
    pid_t pid;
};
typedef void control_fn(const struct control_order *order, struct buf *answer, void *arg);

/* Makes the folder of the socket if it is not there, for `uid` and `gid`. To be called before privileges are dropped. */
int control_prepare(const char *path, uid_t uid, gid_t gid, struct fail *fail);

/* The listening descriptor. What a process that is gone has left at the path is replaced. CONTROL_TAKEN when a process
 * listens there; CONTROL_FAILED when the path cannot be had; both with a fail. */
enum { CONTROL_FAILED = -1, CONTROL_TAKEN = -2 };
int control_bind(const char *path, struct fail *fail);

/* Takes the descriptor. The file stays when all is over: the next process replaces it. */
struct control *control_start(struct loop *loop, int fd, const char *path, control_fn *obey, void *arg);
/* Listens no more; who is there already gets his answer. NULL is fine. */
void control_leave(struct control *control);
void control_stop(struct control **control); /* NULL is fine; leaves NULL */

#endif
