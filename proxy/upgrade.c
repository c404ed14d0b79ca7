#include "proxy/server_in.h"

#include "base/bug.h"
#include "base/notify.h"

#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

/*
 * SIGUSR2: a new process of the program file as it is now takes over. It gets every listening socket, those of
 * /metrics and of the control socket, too, with whatever waits at them, so nobody is refused at any moment: first both
 * accept, then only the new one. When it does not get ready, this one goes on as if nothing had been.
 *
 * Afterwards the sessions here go on as they were for runtime.drain. Then it is as with SIGTERM: those at rest get 421,
 * and those in a transaction have runtime.drain once more.
 */

enum { READY_MS = 15000 };

/* ---- the elder ---- */

static const char *name_of(const struct config *config, const struct endpoint *address)
{
    for (size_t i = 0; i < config->listens_count; i++)
        if (ports_are_same(&config->listens[i].address, address))
            return config->listens[i].name;
    return "listener";
}

static void on_enough(void *arg)
{
    struct server *server = arg;

    if (!server->draining)
        server_drain(server);
}

static void on_left(const struct service *services, void *arg)
{
    struct server *server = arg;

    (void)services;
    if (atomic_fetch_sub(&server->staying, 1) == 1)
        kill(server->younger, SIGHUP);
}

/* What was put in force while the other one started, it reads again, when the last worker here has closed its sockets: a
 * listener that is new it has to bind itself. */
static void have_it_reload(struct server *server, pid_t pid)
{
    server->younger = pid;
    atomic_store(&server->staying, server->workers_count);
    for (size_t i = 0; i < server->workers_count; i++)
        worker_ask(server->workers[i], on_left, server);
}

/* A worker that has ended meanwhile did not answer. */
void upgrade_end(struct server *server)
{
    if (atomic_exchange(&server->staying, 0) > 0)
        kill(server->younger, SIGHUP);
}

/* systemd hears of the new process from this one, which it still believes; from then on only from the other. */
static void leave(struct server *server, pid_t pid)
{
    int64_t drain_ms = server->config->runtime.drain_ms;

    log_note(LOG_INFO, "handover", "process %ld has the sockets; the sessions here have %lld s", (long)pid,
             (long long)drain_ms / 1000);
    notify("MAINPID=%ld", (long)pid);
    notify_end();
    server->leaving = true;
    control_leave(server->control);
    admin_leave(server->admin);
    server_close_listening(server);
    for (size_t i = 0; i < server->workers_count; i++)
        worker_leave(server->workers[i]);
    if (server->reloaded_since)
        have_it_reload(server, pid);
    timer_start(&server->enough, server->loop, drain_ms, on_enough, server);
}

static void tell_failure(struct server *server, const char *why)
{
    fail_set(&server->upgrade_fail, "%s", why);
    log_note(LOG_ERROR, "handover.failed", "%s; this process goes on", why);
}

static void on_word(pid_t pid, const char *why, void *arg)
{
    struct server *server = arg;

    if (pid > 0)
        leave(server, pid);
    else
        tell_failure(server, why);
    handover_end(&server->handover); /* to the new one: it is alone from here on */
}

static size_t list_sockets(const struct server *server, int *fds, const char **names)
{
    size_t n = 0;

    for (; n < server->ports.count; n++) {
        fds[n] = server->ports.list[n].fd;
        names[n] = name_of(server->config, &server->ports.list[n].address);
    }
    if (server->admin_fd >= 0) {
        fds[n] = server->admin_fd;
        names[n++] = "admin-http";
    }
    if (server->control_fd >= 0) {
        fds[n] = server->control_fd;
        names[n++] = "admin-socket";
    }
    return n;
}

static void start(struct server *server)
{
    size_t most = server->ports.count + 2, count;
    int *fds = calloc(most, sizeof(*fds));
    const char **names = calloc(most, sizeof(*names));
    struct fail fail;

    if (fds == NULL || names == NULL)
        out_of_memory();
    count = list_sockets(server, fds, names);
    log_note(LOG_INFO, "handover.started", "%zu sockets for a new process", count);
    server->upgrade_fail.text[0] = '\0';
    server->reloaded_since = false;
    server->handover = handover_start(server->loop, fds, names, count, READY_MS, on_word, server, &fail);
    if (server->handover == NULL)
        tell_failure(server, fail.text);
    free(fds);
    free(names);
}

bool upgrade_start(struct server *server)
{
    const char *why = server->draining || server->leaving ? "the process is on its way out"
                      : server->handover != NULL          ? "a new process is being started already"
                      : getpid() == 1
                          ? "as the first process of a container it would take the new one with it"
                          : NULL;

    if (why != NULL)
        tell_failure(server, why);
    else
        start(server);
    return why == NULL && server->handover != NULL;
}

/* ---- the younger ---- */

/* The other has left, or is no more: now this is the process that systemd believes. */
static void on_alone(unsigned ready, void *arg)
{
    struct server *server = arg;
    char octet;

    (void)ready;
    if (read(server->passed.handover, &octet, 1) > 0)
        return;
    watch_stop(&server->elder);
    close(server->passed.handover);
    server->passed.handover = -1;
    server_take_charge(server);
}

void upgrade_ready(struct server *server)
{
    if (server->passed.handover < 0) {
        server_take_charge(server);
        return;
    }
    handover_say_ready(server->passed.handover);
    server->elder = watch_start(server->loop, server->passed.handover, WATCH_READ, on_alone, server);
}

void upgrade_failed(struct server *server, const char *why)
{
    if (server->passed.handover >= 0)
        handover_say_failed(server->passed.handover, why);
}
