/*
 * admin/admin.h - /metrics, /healthz and /readyz over HTTP         (the door to libmicrohttpd)
 *
 * One thread of its own; it only reads atomics and asks `ready`. Loopback unless the settings say otherwise.
 */
#ifndef ADMIN_ADMIN_H
#define ADMIN_ADMIN_H

#include "base/ip.h"

struct admin;

/* Says whether mail can be served; a sentence for people goes to why (one a line). Called on the admin thread. */
typedef bool admin_ready_fn(char *why, size_t why_bytes, void *arg);

struct admin *admin_start(const struct endpoint *at, admin_ready_fn *ready, void *arg, struct fail *fail);
void admin_stop(struct admin **admin);

#endif
