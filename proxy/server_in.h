/*
 * proxy/server_in.h - the process from the inside: for the files that tell its parts, and nobody else
 *
 * server.c starts and ends it and hears signals, reload.c has its settings and the files that are watched, orders.c
 * the control socket, upgrade.c the change to a newer process. All of it runs on the main thread.
 */
#ifndef PROXY_SERVER_IN_H
#define PROXY_SERVER_IN_H

#include "admin/admin.h"
#include "admin/control.h"
#include "base/handover.h"
#include "proxy/ports.h"
#include "proxy/reporter.h"
#include "proxy/server.h"
#include "proxy/watch.h"
#include "proxy/worker.h"

#include <pthread.h>
#include <stdatomic.h>

enum { WORKERS_MAX = 64, FAULTS_BYTES = 64 * 1024 };

struct server {
    struct loop *loop;
    const struct config *config; /* the admin thread looks at it under the lock */
    pthread_mutex_t config_lock;
    const struct config *first; /* that of the start: what only a restart changes is still as it says */
    struct tls_context *tls_server, *tls_client;
    struct dkim_keyring *keyring;
    struct store *store;
    struct journal *journal;
    struct keeper *keeper;
    struct clients *clients;
    struct told *told;
    struct partials *partials;
    struct admin *admin;
    struct control *control;   /* NULL: there is no socket */
    struct reporter *reporter; /* NULL: there were no reports yet */
    struct passed passed;      /* what the start has not taken yet */
    struct ports ports;
    int admin_fd, control_fd; /* duplicates, for a process that replaces this one; -1: there is none */
    struct worker *workers[WORKERS_MAX];
    size_t workers_count, workers_ended;
    struct timer watch, watchdog, enough;
    struct handover *handover; /* to a newer process that gets ready; NULL: none */
    bool reloaded_since;       /* it was started: it may have read the settings of before */
    pid_t younger;             /* which has the sockets, and is to read the settings again when nobody is staying */
    atomic_size_t staying;     /* workers that may have listeners still */
    struct fail upgrade_fail;  /* why the last one failed; "": it did not, or there was none */
    struct watch *elder;       /* on the one that this one replaces, until it has left; NULL: none */
    struct watch certificates_watch, lists_watch;
    int64_t started_unix, loaded_unix;
    atomic_bool draining; /* the admin thread looks at it */
    bool leaving;         /* a newer process has the sockets; sessions go on */
    bool told_to_stop;    /* by a signal */
};

/* ---- reload.c ---- */

void reload_init(struct server *server); /* before anything of the others */
/* Certificates and keys of the first settings. */
int reload_first(struct server *server, struct fail *fail);
/* Everything that can fail is prepared first; then all of it is taken over, or nothing, and why_out says what is wrong,
 * a line each. The log is told, too. */
bool reload(struct server *server, struct buf *why_out);
void reload_untold(struct server *server); /* for whoever only looks at the log */
bool reload_failed(void);                  /* the last one */
void reload_watch(struct server *server);  /* the files, from now on; until the timer is stopped */

struct service_parts server_parts(const struct server *server);
void server_tell_reporter(struct server *server);
void server_drain(struct server *server); /* once */
void server_notify_ready(const struct server *server);
void server_take_charge(struct server *server);     /* it is the process that systemd believes */
void server_close_listening(struct server *server); /* the main thread's: all of it */

/* ---- orders.c ---- */

/* Mail does not wait for orders: without the socket the signals are left. But two daemons that want the same are a
 * mistake. */
int orders_start(struct server *server, struct fail *fail);

/* ---- upgrade.c ---- */

/* By SIGUSR2 or an order. False: it is not begun, or has failed at once, and upgrade_fail says why. */
bool upgrade_start(struct server *server);
void upgrade_ready(struct server *server); /* after the start: takes charge, now or when it is alone */
void upgrade_failed(struct server *server, const char *why); /* the start, that is */
void upgrade_end(struct server *server);                     /* when no worker is left */

#endif
