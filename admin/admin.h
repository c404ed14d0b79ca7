/*
 * admin/admin.h - /metrics, /healthz and /readyz over HTTP         (the door to libmicrohttpd)
 *
 * One thread of its own; it only reads atomics and asks `ready`. Loopback unless the settings say otherwise.
 * Answers    GET and HEAD only, else 405. /metrics: Prometheus's text format 0.0.4; /healthz: 200 as long as
 *            the process lives; /readyz: 200, or 503 and the reasons; /: what there is.
 * Limits     32 connections, 10 s without a sign of life, 16 KiB a connection.
 */
#ifndef ADMIN_ADMIN_H
#define ADMIN_ADMIN_H

#include "base/ip.h"

struct admin;

/* Says whether mail can be served; sentences for people go to why, one a line. Called on the admin thread. */
typedef bool admin_ready_fn(char *why, size_t why_bytes, void *arg);

/* The listening descriptor, or -1 and a fail. */
int admin_bind(const struct endpoint *at, struct fail *fail);
/* Takes the descriptor. `ready` may be NULL: always ready. NULL and a fail when the thread cannot be had. */
struct admin *admin_start(int fd, admin_ready_fn *ready, void *arg, struct fail *fail);
/* Listens no more; requests that are there are answered. NULL is fine. */
void admin_leave(struct admin *admin);
/* When it returns, `ready` never runs again. NULL is fine; leaves NULL. */
void admin_stop(struct admin **admin);
uint16_t admin_port(const struct admin *admin); /* where port 0 was asked for */

#endif
