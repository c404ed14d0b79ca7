/*
 * proxy/worker.h - one thread with its loop, listening sockets and sessions
 *
 * Workers share nothing but the store, the table of clients and the log. The main thread moves them by orders
 * that are carried out on the worker's own loop.
 */
#ifndef PROXY_WORKER_H
#define PROXY_WORKER_H

#include "proxy/service.h"

struct worker;

struct worker_setup {
    struct service_parts parts;
    const int
        *listeners; /* one descriptor for each of config->listens; -1: the one that is there already stays */
    struct loop *home; /* on_end(arg) runs there when the thread has done its work; only for worker_start() */
    loop_fn *on_end;
    void *arg;
};

struct worker *worker_start(const struct worker_setup *setup, struct fail *fail);

/* New settings for new sessions. setup's references are taken over by the worker (references are counted up
 * here). */
void worker_adopt(struct worker *worker, const struct worker_setup *setup);
void worker_new_certificates(struct worker *worker, struct tls_context *tls_server);

/* Stops listening; sessions at rest get 421, the others finish, but not beyond drain_ms. Then the thread
 * ends. */
void worker_drain(struct worker *worker, int64_t drain_ms);
void worker_join(struct worker *worker);
void worker_free(
    struct worker **worker); /* after store_close(): answers may still be on their way to its loop */

#endif
