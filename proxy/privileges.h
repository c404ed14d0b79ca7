/*
 * proxy/privileges.h - what the process may do, and what it gives up
 */
#ifndef PROXY_PRIVILEGES_H
#define PROXY_PRIVILEGES_H

#include "config/config.h"

void privileges_descriptors(
    const struct config *config); /* raises the limit as far as it is wanted, or says so */

/* Started by root: makes the folder of the control socket, and becomes runtime.user. When ports are bound and keys
 * are read. */
int privileges_drop(const struct config *config, struct fail *fail);
void privileges_lock(void); /* whoever it runs as: no more of them, no core file, no debugger */

#endif
