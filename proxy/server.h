/*
 * proxy/server.h - the process: workers, store, admin port, signals, reload and drain
 *
 * SIGHUP reloads (all or nothing), SIGTERM and SIGINT drain, SIGUSR2 hands the sockets to a newer process. Certificate and domain files are watched; a pair
 * that does not fit leaves the old one in force.
 */
#ifndef PROXY_SERVER_H
#define PROXY_SERVER_H

#include "config/config.h"

/* Runs until it is told to end. 0, or -1 and a fail when it could not start. `config` belongs to the server
 * from here on. */
int server_run(const struct config *config, struct fail *fail);

#endif
