#include "proxy/worker.h"

#include "base/bug.h"
#include "base/log.h"
#include "base/stream.h"
#include "proxy/session.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/prctl.h>

struct port {
    struct worker *worker;
    struct endpoint address;
    size_t index; /* in the current service's config->listens */
    struct listener *listener;
    struct port *next;
};

struct worker {
    pthread_t thread;
    struct loop *loop;
    struct service *service;  /* for new sessions */
    struct service *services; /* it and the retired ones that still have sessions */
    struct port *ports;
    struct timer sweep, deadline;
    _Atomic int64_t swept_ms; /* when that was; INT64_MAX: the thread has ended */
    bool leaving;             /* it ends with its last session */
    bool draining;
    struct loop *home;
    loop_fn *on_end;
    void *arg;
};

struct order {
    struct worker *worker;
    struct worker_setup setup;
    int64_t drain_ms;
    worker_ask_fn *ask;
    void *arg;
};

enum { SWEEP_MS = 1000, DRAIN_SWEEP_MS = 50 };
static const size_t NONE = SIZE_MAX;

/* ---- listening ---- */

static void on_accept(int fd, const struct endpoint *peer, void *arg)
{
    struct port *port = arg;
    struct service *service = port->worker->service;

    session_start(service, &service->config->listens[port->index], fd, peer);
}

/* NONE: no listener of these settings. */
static size_t find_listen(const struct config *config, const struct endpoint *address)
{
    for (size_t i = 0; config != NULL && i < config->listens_count; i++)
        if (ports_are_same(&config->listens[i].address, address))
            return i;
    return NONE;
}

static void listen_at(struct worker *worker, const struct port_socket *at)
{
    struct port *port = calloc(1, sizeof(*port));

    if (port == NULL)
        out_of_memory();
    *port = (struct port){.worker = worker, .address = at->address, .next = worker->ports};
    port->listener = listener_start(worker->loop, at->fd, on_accept, port);
    worker->ports = port;
}

/* Those that `config` (NULL: nobody) has no listener for are closed. */
static void find_listens(struct worker *worker, const struct config *config)
{
    struct port **at = &worker->ports;

    while (*at != NULL) {
        struct port *port = *at;

        port->index = find_listen(config, &port->address);
        if (port->index != NONE) {
            at = &port->next;
            continue;
        }
        *at = port->next;
        listener_stop(&port->listener);
        free(port);
    }
}

/* ---- services ---- */

static void put_in_service(struct worker *worker, struct service *service, struct share *share)
{
    if (worker->service != NULL) {
        worker->service->retired = true;
        service_tell_lists(worker->service);
    }
    service->next = worker->services;
    worker->services = service;
    worker->service = service;
    for (size_t i = 0; i < share->count; i++)
        listen_at(worker, &share->list[i]);
    share->count = 0;
    share_free(share);
    find_listens(worker, service->config);
}

/* Retired services go when their last session has gone. */
static void free_retired(struct worker *worker)
{
    struct service **at = &worker->services;

    while (*at != NULL) {
        struct service *service = *at;

        if (!service->retired || service->sessions != NULL) {
            at = &service->next;
            continue;
        }
        *at = service->next;
        service_free(&service);
    }
}

static bool has_sessions(const struct worker *worker)
{
    for (const struct service *service = worker->services; service != NULL; service = service->next)
        if (service->sessions != NULL)
            return true;
    return false;
}

static void on_sweep(void *arg)
{
    struct worker *worker = arg;

    atomic_store_explicit(&worker->swept_ms, loop_now_ms(worker->loop), memory_order_relaxed);
    free_retired(worker);
    service_tell_lists(worker->service);
    if (worker->leaving && !has_sessions(worker))
        loop_stop(worker->loop);
    else
        timer_start(&worker->sweep, worker->loop, worker->leaving ? DRAIN_SWEEP_MS : SWEEP_MS, on_sweep,
                    worker);
}

/* ---- orders ---- */

static struct order *new_order(struct worker *worker)
{
    struct order *order = calloc(1, sizeof(*order));

    if (order == NULL)
        out_of_memory();
    order->worker = worker;
    return order;
}

static void free_order(struct order *order)
{
    config_unref(&order->setup.parts.config);
    tls_context_unref(&order->setup.parts.tls_server);
    tls_context_unref(&order->setup.parts.tls_client);
    dkim_keyring_unref(&order->setup.parts.keyring);
    share_free(&order->setup.share);
    free(order);
}

static void on_adopt(void *arg)
{
    struct order *order = arg;
    struct worker *worker = order->worker;
    struct fail fail;
    struct service *service = service_new(worker->loop, &order->setup.parts, &fail);

    if (service != NULL && !worker->leaving) {
        put_in_service(worker, service, &order->setup.share);
        free_order(order);
        return;
    }
    if (service == NULL)
        log_note(LOG_ERROR, "reload.failed", "a worker keeps the settings it had: %s", fail.text);
    service_free(&service);
    free_order(order);
}

void worker_adopt(struct worker *worker, const struct worker_setup *setup)
{
    struct order *order = new_order(worker);

    order->setup = *setup;
    config_ref(setup->parts.config);
    if (setup->parts.tls_server != NULL)
        tls_context_ref(setup->parts.tls_server);
    if (setup->parts.tls_client != NULL)
        tls_context_ref(setup->parts.tls_client);
    if (setup->parts.keyring != NULL)
        dkim_keyring_ref(setup->parts.keyring);
    loop_post(worker->loop, on_adopt, order);
}

static void on_certificates(void *arg)
{
    struct order *order = arg;
    struct service *service = order->worker->service;

    tls_context_unref(&service->tls_server);
    service->tls_server = tls_context_ref(order->setup.parts.tls_server);
    free_order(order);
}

void worker_new_certificates(struct worker *worker, struct tls_context *tls_server)
{
    struct order *order = new_order(worker);

    order->setup.parts.tls_server = tls_context_ref(tls_server);
    loop_post(worker->loop, on_certificates, order);
}

static void on_drain_deadline(void *arg)
{
    struct worker *worker = arg;

    for (struct service *service = worker->services; service != NULL; service = service->next)
        while (service->sessions != NULL)
            session_end(service->sessions, "drain limit");
}

static void on_ask(void *arg)
{
    struct order *order = arg;

    order->ask(order->worker->services, order->arg);
    free_order(order);
}

void worker_ask(struct worker *worker, worker_ask_fn *fn, void *arg)
{
    struct order *order;

    if (atomic_load_explicit(&worker->swept_ms, memory_order_acquire) == INT64_MAX) {
        fn(worker->services, arg);
        return;
    }
    order = new_order(worker);
    order->ask = fn;
    order->arg = arg;
    loop_post(worker->loop, on_ask, order);
}

static void leave(struct worker *worker)
{
    worker->leaving = true;
    find_listens(worker, NULL);
    timer_start(&worker->sweep, worker->loop, 0, on_sweep, worker);
}

static void on_leave(void *arg)
{
    struct order *order = arg;

    leave(order->worker);
    free_order(order);
}

void worker_leave(struct worker *worker)
{
    loop_post(worker->loop, on_leave, new_order(worker));
}

static void on_drain(void *arg)
{
    struct order *order = arg;
    struct worker *worker = order->worker;

    if (!worker->draining) {
        worker->draining = true;
        leave(worker);
        for (struct service *service = worker->services; service != NULL; service = service->next)
            for (struct session *s = service->sessions, *next; s != NULL; s = next) {
                next = session_next(s);
                session_drain(s);
            }
        timer_start(&worker->deadline, worker->loop, order->drain_ms, on_drain_deadline, worker);
    }
    free_order(order);
}

void worker_drain(struct worker *worker, int64_t drain_ms)
{
    struct order *order = new_order(worker);

    order->drain_ms = drain_ms;
    loop_post(worker->loop, on_drain, order);
}

/* ---- the thread ---- */

static void *run_worker(void *arg)
{
    struct worker *worker = arg;
    sigset_t all;

    sigfillset(&all); /* signals are for the main thread */
    pthread_sigmask(SIG_BLOCK, &all, NULL);
    prctl(PR_SET_NAME, "worker"); /* as top -H shows it */
    loop_run(worker->loop);
    atomic_store_explicit(&worker->swept_ms, INT64_MAX, memory_order_release);
    loop_post(worker->home, worker->on_end, worker->arg);
    return NULL;
}

struct worker *worker_start(const struct worker_setup *setup, struct fail *fail)
{
    struct worker *worker = calloc(1, sizeof(*worker));
    struct share share = setup->share;
    struct service *service;

    if (worker == NULL)
        out_of_memory();
    worker->loop = loop_new();
    worker->home = setup->home;
    worker->on_end = setup->on_end;
    worker->arg = setup->arg;
    service = service_new(worker->loop, &setup->parts, fail);
    if (service == NULL) {
        share_free(&share);
        loop_free(&worker->loop);
        free(worker);
        return NULL;
    }
    put_in_service(worker, service, &share);
    timer_start(&worker->sweep, worker->loop, SWEEP_MS, on_sweep, worker);
    worker->swept_ms = loop_now_ms(worker->loop);
    store_gather(setup->parts.store, worker->loop);
    if (pthread_create(&worker->thread, NULL, run_worker, worker) != 0)
        out_of_memory();
    return worker;
}

bool worker_is_alive(const struct worker *worker, int64_t within_ms)
{
    int64_t swept_ms = atomic_load_explicit(&worker->swept_ms, memory_order_relaxed);

    return clock_mono_ms(clock_system()) - swept_ms <= within_ms;
}

void worker_join(struct worker *worker)
{
    pthread_join(worker->thread, NULL);
    loop_before_waiting(worker->loop, NULL, NULL); /* the store may go now */
}

void worker_free(struct worker **worker)
{
    struct worker *w = *worker;

    if (w == NULL)
        return;
    *worker = NULL;
    timer_stop(&w->sweep);
    timer_stop(&w->deadline);
    /* One more turn, for the store's last answers: their memory goes when they are heard. */
    loop_stop(w->loop);
    loop_run(w->loop);
    while (w->services != NULL) {
        struct service *service = w->services;

        w->services = service->next;
        service_free(&service);
    }
    loop_free(&w->loop);
    free(w);
}
