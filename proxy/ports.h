/*
 * proxy/ports.h - the listening sockets of the process, and how workers share them
 *
 * A worker has a socket of its own for each listener (SO_REUSEPORT: the kernel deals connections out). Sockets that were
 * passed (base/passed.h) are as many as they are: with fewer than workers some accept from the same one, with more
 * some have several. All of a listener's sockets are served: what waits at one that nobody accepts from is lost.
 *
 * Ownership  The main thread keeps every socket, and workers get duplicates. So a process that replaces this one can be
 *            given the very same sockets, with what waits at them.
 * Threads    For the main thread alone.
 */
#ifndef PROXY_PORTS_H
#define PROXY_PORTS_H

#include "base/passed.h"
#include "config/config.h"

struct port_socket {
    struct endpoint address;
    int fd;
};

struct ports {
    struct port_socket *list;
    size_t count;
};

/* One worker's: its owner closes the descriptors, and frees the list. */
struct share {
    struct port_socket *list;
    size_t count;
};

/* Takes from `passed` (NULL: nothing was), or binds, what config's listeners do not have yet. 0, or -1 and a fail; then
 * ports are as they were. */
int ports_open(struct ports *ports, const struct config *config, size_t workers, struct passed *passed,
               struct fail *fail);
/* Duplicates of the sockets from number `since` on, for each worker. 0, or -1 and a fail; then there are none. */
int ports_share(const struct ports *ports, size_t since, size_t workers, struct share *shares_out,
                struct fail *fail);
void share_free(struct share *share); /* closes them */

void ports_cut(struct ports *ports, size_t count);                 /* closes those behind the first `count` */
void ports_keep(struct ports *ports, const struct config *config); /* closes what it has no listener for */
bool ports_are_same(const struct endpoint *a, const struct endpoint *b); /* address and port */

#endif
