/*
 * proxy/ports.h - the listening sockets of all workers
 */
#ifndef PROXY_PORTS_H
#define PROXY_PORTS_H

#include "config/config.h"

/* One descriptor for each listener and worker (SO_REUSEPORT): worker w has those from w * config->listens_count on. Those
 * that `old` has bound already stay -1. 0, or -1 and a fail; then none is left open. */
int ports_bind(const struct config *config, const struct config *old, size_t workers, int *fds,
               struct fail *fail);
void ports_close(int *fds, size_t count);

#endif
