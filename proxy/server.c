#include "proxy/server_in.h"

#include "base/bug.h"
#include "base/metric.h"
#include "base/notify.h"
#include "dns/measure.h"
#include "proxy/privileges.h"
#include "proxy/tables.h"
#include "record/files.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* ---- the end ---- */

static void on_worker_ended(void *arg)
{
    struct server *server = arg;

    if (++server->workers_ended == server->workers_count && (server->draining || server->leaving))
        loop_stop(server->loop);
}

void server_drain(struct server *server)
{
    server->draining = true;
    handover_end(&server->handover);
    notify("STOPPING=1\nSTATUS=It drains: no new sessions");
    ports_cut(&server->ports, 0);
    log_note(LOG_INFO, "drain", "no new sessions; those in a transaction have %lld s",
             (long long)server->config->runtime.drain_ms / 1000);
    for (size_t i = 0; i < server->workers_count; i++)
        worker_drain(server->workers[i], server->config->runtime.drain_ms);
}

/* ---- what systemd is told ---- */

void server_notify_ready(const struct server *server)
{
    notify("READY=1\nSTATUS=%s: %zu listener%s, %zu worker%s%s", server->config->hostname,
           server->config->listens_count, server->config->listens_count == 1 ? "" : "s",
           server->workers_count, server->workers_count == 1 ? "" : "s",
           reload_failed() ? "; the last reload failed, the settings before it are in force" : "");
}

static bool all_workers_are_alive(const struct server *server, int64_t within_ms)
{
    for (size_t i = 0; i < server->workers_count; i++)
        if (!worker_is_alive(server->workers[i], within_ms))
            return false;
    return true;
}

/* Thrice within the time, and not while a worker stands still: then we are killed and started anew. */
static void on_watchdog(void *arg)
{
    struct server *server = arg;
    int64_t within_ms = notify_watchdog_ms();

    if (within_ms == 0)
        return;
    if (all_workers_are_alive(server, within_ms > WORKER_PAUSE_MS ? within_ms : WORKER_PAUSE_MS))
        notify("WATCHDOG=1");
    timer_start(&server->watchdog, server->loop, within_ms / 3, on_watchdog, server);
}

void server_take_charge(struct server *server)
{
    server_notify_ready(server);
    on_watchdog(server);
}

/* ---- signals ---- */

static void on_signal(int signal_number, void *arg)
{
    struct server *server = arg;

    if (signal_number == SIGHUP) {
        if (!server->draining && !server->leaving)
            reload_untold(server);
        return;
    }
    if (signal_number == SIGUSR2) {
        upgrade_start(server);
        return;
    }
    if (server->told_to_stop) {
        log_note(LOG_WARNING, "stop", "told twice: not waiting for the sessions");
        log_close();
        _exit(1);
    }
    server->told_to_stop = true;
    if (!server->draining)
        server_drain(server);
}

static int watch_signals(struct server *server, struct fail *fail)
{
    static const int numbers[] = {SIGHUP, SIGTERM, SIGINT, SIGUSR2};

    signal(SIGPIPE, SIG_IGN);
    for (size_t i = 0; i < COUNT(numbers); i++)
        if (loop_on_signal(server->loop, numbers[i], on_signal, server, fail) != 0)
            return -1;
    return 0;
}

/* ---- the process ---- */

static void add_line(char *text, size_t text_bytes, const char *line)
{
    size_t n = strlen(text);

    snprintf(text + n, text_bytes - n, "%s\n", line);
}

static bool is_ready(char *why, size_t why_bytes, void *arg)
{
    struct server *server = arg;
    const struct config *config;
    char labels[128];
    bool reachable = false;

    pthread_mutex_lock(&server->config_lock);
    config = config_ref(server->config);
    pthread_mutex_unlock(&server->config_lock);
    for (size_t i = 0; i < config->backends_count; i++) {
        snprintf(labels, sizeof(labels), "address=\"%s\"", config->backends[i].address);
        reachable = reachable || metric_value(metric_gauge("smtpguard_upstream_up", "", labels)) != 0;
    }
    config_unref(&config);
    why[0] = '\0';
    if (server->draining)
        add_line(why, why_bytes, "it drains: no new sessions");
    if (!reachable)
        add_line(why, why_bytes, "no backend can be reached");
    if (!store_is_available(server->store))
        add_line(why, why_bytes, "the store is not available: greylisting lets everybody pass");
    if (store_sharing(server->store) == STORE_SHARES_LATER)
        add_line(why, why_bytes, "the shared store does not answer: the local one does");
    if (dns_measured_sick() > 0)
        add_line(why, why_bytes, "the DNS does not answer: nobody is refused for good by what it says");
    return reachable && !server->draining; /* without the others mail still flows */
}

static size_t count_workers(const struct config *config)
{
    long cores = config->runtime.workers > 0 ? (long)config->runtime.workers : sysconf(_SC_NPROCESSORS_ONLN);

    return cores < 1 ? 1 : cores > WORKERS_MAX ? WORKERS_MAX : (size_t)cores;
}

static int start_workers(struct server *server, struct fail *fail)
{
    struct worker_setup setup = {
        .parts = server_parts(server), .home = server->loop, .on_end = on_worker_ended, .arg = server};
    size_t wanted = count_workers(server->config), i = 0;
    struct share shares[WORKERS_MAX];

    if (ports_share(&server->ports, 0, wanted, shares, fail) != 0)
        return -1;
    for (; i < wanted; i++) {
        setup.share = shares[i];
        server->workers[i] = worker_start(&setup, fail);
        if (server->workers[i] == NULL)
            break;
        server->workers_count++;
    }
    for (size_t left = i + 1; left < wanted; left++)
        share_free(&shares[left]);
    return i == wanted ? 0 : -1;
}

static void start_keeper(struct server *server)
{
    struct arena *mem = arena_new(0);

    server->keeper =
        keeper_start(record_folder(mem, store_file(server->store)), &server->config->history, clock_system());
    arena_free(&mem);
}

static int start_admin(struct server *server, struct fail *fail)
{
    const struct endpoint *at = &server->config->admin.http;
    int fd;

    if (at->ip.family == 0)
        return 0;
    fd = passed_take(&server->passed, at);
    if (fd < 0)
        fd = admin_bind(at, fail);
    if (fd < 0)
        return -1;
    server->admin_fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    server->admin = admin_start(fd, is_ready, server, fail);
    return server->admin != NULL ? 0 : -1;
}

/* What systemd passes and the settings do not name is a mistake. At an upgrade it is a listener that they do not name
 * any more. */
static int take_the_rest(struct server *server, struct fail *fail)
{
    if (server->passed.handover < 0 && passed_all_taken(&server->passed, fail) != 0)
        return -1;
    passed_close_rest(&server->passed);
    return 0;
}

/* What needs privileges comes first. */
static int start(struct server *server, struct fail *fail)
{
    const struct config *config = server->config;
    struct history history;

    privileges_descriptors(config);
    if (passed_read(&server->passed, fail) != 0 || reload_first(server, fail) != 0 ||
        watch_signals(server, fail) != 0 ||
        ports_open(&server->ports, config, count_workers(config), &server->passed, fail) != 0 ||
        privileges_drop(config, fail) != 0)
        return -1;
    privileges_lock();
    server->store = tables_open(&config->store, clock_system(), fail);
    if (server->store == NULL)
        return -1;
    server->partials = partials_new(server->store, clock_system());
    history_init(&history, server->store, config->hostname);
    server->journal = journal_open(server->loop, &history);
    start_keeper(server);
    if (start_admin(server, fail) != 0 || orders_start(server, fail) != 0 ||
        take_the_rest(server, fail) != 0 || start_workers(server, fail) != 0)
        return -1;
    server_tell_reporter(server);
    return 0;
}

void server_close_listening(struct server *server)
{
    ports_cut(&server->ports, 0);
    if (server->admin_fd >= 0)
        close(server->admin_fd);
    if (server->control_fd >= 0)
        close(server->control_fd);
    server->admin_fd = server->control_fd = -1;
}

static void stop(struct server *server)
{
    control_stop(&server->control);
    admin_stop(&server->admin);
    for (size_t i = 0; i < server->workers_count; i++) {
        if (!server->draining && !server->leaving)
            worker_drain(server->workers[i], 0);
        worker_join(server->workers[i]);
    }
    upgrade_end(server);
    server_close_listening(server);
    watch_stop(&server->elder);
    passed_free(&server->passed);
    handover_end(&server->handover);
    timer_stop(&server->enough);
    timer_stop(&server->watch);
    timer_stop(&server->watchdog);
    reporter_stop(server->reporter);
    journal_close(&server->journal);
    store_close(&server->store);
    reporter_free(&server->reporter);
    for (size_t i = 0; i < server->workers_count; i++)
        worker_free(&server->workers[i]);
    keeper_stop(&server->keeper);
    clients_free(&server->clients);
    told_free(&server->told);
    partials_free(&server->partials);
    tls_context_unref(&server->tls_server);
    tls_context_unref(&server->tls_client);
    dkim_keyring_unref(&server->keyring);
    config_unref(&server->first);
    config_unref(&server->config);
    loop_free(&server->loop);
}

int server_run(const struct config *config, struct fail *fail)
{
    struct server server = {.config = config,
                            .first = config_ref(config),
                            .passed.handover = -1,
                            .admin_fd = -1,
                            .control_fd = -1};
    int result;

    handover_remember();
    server.started_unix = clock_unix(clock_system());
    pthread_mutex_init(&server.config_lock, NULL);
    reload_init(&server);
    server.loop = loop_new();
    server.clients = clients_new();
    server.told = told_new();
    server.tls_client = tls_client_context(TLS_VERIFY_NOTHING, fail);
    result = server.tls_client != NULL ? start(&server, fail) : -1;
    if (result == 0) {
        log_note(LOG_INFO, "started", "%s listens on %zu address%s with %zu worker%s", config->hostname,
                 config->listens_count, config->listens_count == 1 ? "" : "es", server.workers_count,
                 server.workers_count == 1 ? "" : "s");
        reload_watch(&server);
        upgrade_ready(&server);
        loop_run(server.loop);
    } else {
        upgrade_failed(&server, fail->text);
    }
    stop(&server);
    if (result == 0)
        log_note(LOG_INFO, "stopped", "every session has ended");
    return result;
}
