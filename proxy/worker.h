/*
 * proxy/worker.h - one thread with its loop, listening sockets and sessions
 *
 * Workers share nothing but the store, the table of clients and the log. The main thread moves them by orders
 * that are carried out on the worker's own loop.
 */
#ifndef PROXY_WORKER_H
#define PROXY_WORKER_H

#include "proxy/ports.h"
#include "proxy/service.h"

struct worker;

struct worker_setup {
    struct service_parts parts;
    struct share share; /* listening sockets, besides those that it has; the worker's from then on */
    struct loop *home;  /* on_end(arg) runs there when the thread has done its work; only for worker_start() */
    loop_fn *on_end;
    void *arg;
};

struct worker *worker_start(const struct worker_setup *setup, struct fail *fail);

/* New settings for new sessions. setup's references are taken over by the worker (references are counted up
 * here). */
void worker_adopt(struct worker *worker, const struct worker_setup *setup);
void worker_new_certificates(struct worker *worker, struct tls_context *tls_server);

/* Has fn(services) called on the worker's loop, with all that have sessions; when the thread has ended, at once. */
typedef void worker_ask_fn(const struct service *services, void *arg);
void worker_ask(struct worker *worker, worker_ask_fn *fn, void *arg);

/* A loop that does not turn for so long stands still, however loaded the machine is. */
enum { WORKER_PAUSE_MS = 5000 };

/* Has its loop turned within so many milliseconds? One that has ended has nothing to turn for. */
bool worker_is_alive(const struct worker *worker, int64_t within_ms);

/* Stops listening; sessions go on, and the thread ends when there are none. */
void worker_leave(struct worker *worker);
/* Stops listening; sessions at rest get 421, the others finish, but not beyond drain_ms. Then the thread
 * ends. */
void worker_drain(struct worker *worker, int64_t drain_ms);
void worker_join(struct worker *worker);
void worker_free(
    struct worker **worker); /* after store_close(): answers may still be on their way to its loop */

#endif
