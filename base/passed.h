/*
 * base/passed.h - listening sockets that were open before this process was (sd_listen_fds(3))
 *
 * systemd's socket units hand them over, and so does a process that a newer one replaces. LISTEN_PID says whom they are for, LISTEN_FDS how many there are from
 * descriptor 3 on, LISTEN_FDNAMES what they are called.
 */
#ifndef BASE_PASSED_H
#define BASE_PASSED_H

#include "base/ip.h"

/* More are left alone. */
enum { PASSED_MAX = 8192, PASSED_PATH_MAX = 108 };

struct passed_socket {
    int fd;                     /* -1: taken */
    struct endpoint address;    /* of a TCP socket */
    char path[PASSED_PATH_MAX]; /* of a Unix socket; else "" */
    char name[32];              /* for people; cut */
};

struct passed {
    struct passed_socket *list;
    size_t count;
    int handover; /* the connection to the process whose sockets these were (base/handover.h); -1: there is none */
};

/* None is fine. The environment forgets them, and programs that are started do not get them. -1 and a fail when one is
 * no listening socket. passed_free() must follow. */
int passed_read(struct passed *passed, struct fail *fail);
void passed_free(struct passed *passed); /* closes those that nobody took, and the connection */

/* Takes one with this address, or path. -1: there is none, or no more. */
int passed_take(struct passed *passed, const struct endpoint *address);
int passed_take_path(struct passed *passed, const char *path);

/* 0, or -1 and a fail that names those that nobody took. */
int passed_all_taken(const struct passed *passed, struct fail *fail);
void passed_close_rest(
    struct passed *passed); /* those: who connects there shall be refused, and not wait for ever */

#endif
