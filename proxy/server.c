#include "proxy/server.h"

#include "admin/admin.h"
#include "base/bug.h"
#include "base/metric.h"
#include "base/stream.h"
#include "dns/measure.h"
#include "proxy/reporter.h"
#include "proxy/tables.h"
#include "proxy/worker.h"

#include <errno.h>
#include <grp.h>
#include <pthread.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

enum { WATCH_MS = 5000, WORKERS_MAX = 64 };

struct server {
    struct loop *loop;
    const struct config *config; /* the admin thread looks at it under the lock */
    pthread_mutex_t config_lock;
    const struct config *first; /* that of the start: what only a restart changes is still as it says */
    struct tls_context *tls_server, *tls_client;
    struct dkim_keyring *keyring;
    struct store *store;
    struct journal *journal;
    struct clients *clients;
    struct told *told;
    struct partials *partials;
    struct admin *admin;
    struct reporter *reporter; /* NULL: there were no reports yet */
    struct worker *workers[WORKERS_MAX];
    size_t workers_count;
    struct timer watch;
    uint64_t certificates_seen, lists_seen; /* marks of the files, to notice a change */
    bool draining;
};

static struct {
    struct metric *reload_ok, *not_after;
} gauges;

/* Each has a line of its own: all of them together are too long for one. */
static void note_lines(enum log_level level, const char *event, const char *lines)
{
    struct str line, rest = str_of(lines);

    while (rest.n > 0) {
        str_cut(rest, '\n', &line, &rest);
        log_note(level, event, "%.*s", STR_ARG(line));
    }
}

static void make_gauges(void)
{
    gauges.reload_ok =
        metric_gauge("smtpguard_config_last_reload_successful", "1 when the last reload took over.", "");
    gauges.not_after = metric_gauge("smtpguard_tls_certificate_not_after_timestamp_seconds",
                                    "When the first of the certificates expires.", "");
    metric_set(gauges.reload_ok, 1);
}

/* ---- files that are watched ---- */

static uint64_t mark_of(const char *path)
{
    struct stat st;

    if (path == NULL || *path == '\0' || stat(path, &st) != 0)
        return 0;
    return (uint64_t)st.st_mtim.tv_sec * 1000003 + (uint64_t)st.st_mtim.tv_nsec * 7 +
           (uint64_t)st.st_size * 31 + (uint64_t)st.st_ino;
}

/* The files of domains and recipients, and those of the allow lists. */
static uint64_t mark_of_lists(const struct config *config)
{
    uint64_t mark = mark_of(config->domains.file) * 3 + mark_of(config->domains.recipients_file);

    for (size_t i = 0; i < config->greylist.files_count; i++)
        mark = mark * 5 + mark_of(config->greylist.files[i]);
    return mark;
}

static uint64_t mark_of_certificates(const struct tls_settings *tls)
{
    uint64_t mark = mark_of(tls->pair.cert) * 3 + mark_of(tls->pair.key);

    for (size_t i = 0; i < tls->more_count; i++)
        mark = mark * 5 + mark_of(tls->more[i].cert) * 3 + mark_of(tls->more[i].key);
    return mark;
}

static bool wants_tls(const struct config *config)
{
    for (size_t i = 0; i < config->listens_count; i++)
        if (config->listens[i].tls != LISTEN_TLS_NONE)
            return true;
    return false;
}

/* 0 with *context_out NULL when no listener speaks TLS. */
static int load_certificates(const struct config *config, struct tls_context **context_out, struct fail *fail)
{
    *context_out = NULL;
    if (!wants_tls(config))
        return 0;
    *context_out = tls_server_context(&config->tls, fail);
    if (*context_out == NULL)
        return -1;
    metric_set(gauges.not_after, tls_context_not_after_unix(*context_out));
    return 0;
}

/* 0 with *ring_out NULL when nothing is to be signed. */
static int load_keyring(const struct config *config, struct dkim_keyring **ring_out, struct fail *fail)
{
    struct buf faults, warnings;

    *ring_out = NULL;
    if (config->signing.mode == MODE_OFF)
        return 0;
    buf_init(&faults, 64 * 1024);
    buf_init(&warnings, 64 * 1024);
    *ring_out = dkim_keyring_load(&config->signing, &faults, &warnings);
    note_lines(LOG_WARNING, "dkim-key.file", buf_z(&warnings));
    if (*ring_out == NULL)
        fail_set(fail, "dkim.sign: %.*s", STR_ARG(str_trim(buf_str(&faults))));
    buf_fini(&faults);
    buf_fini(&warnings);
    return *ring_out != NULL ? 0 : -1;
}

static void renew_certificates(struct server *server)
{
    struct tls_context *fresh;
    struct fail fail;

    server->certificates_seen = mark_of_certificates(&server->config->tls);
    if (load_certificates(server->config, &fresh, &fail) != 0) {
        log_note(LOG_ERROR, "certificate.failed", "%s; the old certificate stays", fail.text);
        return;
    }
    if (fresh == NULL)
        return;
    for (size_t i = 0; i < server->workers_count; i++)
        worker_new_certificates(server->workers[i], fresh);
    tls_context_unref(&server->tls_server);
    server->tls_server = fresh;
    log_note(LOG_INFO, "certificate.loaded", "%s", server->config->tls.pair.cert);
}

/* ---- listening ---- */

static void close_all(int *fds, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (fds[i] >= 0)
            close(fds[i]);
}

static bool is_bound(const struct config *config, const struct endpoint *address)
{
    for (size_t i = 0; config != NULL && i < config->listens_count; i++)
        if (config->listens[i].address.port == address->port &&
            ip_eq(&config->listens[i].address.ip, &address->ip))
            return true;
    return false;
}

/* One descriptor for each listener and worker (SO_REUSEPORT); those that `old` has bound already stay -1. */
static int bind_all(const struct config *config, const struct config *old, size_t workers, int *fds,
                    struct fail *fail)
{
    size_t count = config->listens_count * workers;

    for (size_t i = 0; i < count; i++)
        fds[i] = -1;
    for (size_t i = 0; i < count; i++) {
        const struct endpoint *address = &config->listens[i % config->listens_count].address;

        if (is_bound(old, address))
            continue;
        if (i >= config->listens_count || listener_probe(address, fail) == 0)
            fds[i] = listener_bind(address, fail);
        if (fds[i] < 0) {
            close_all(fds, count);
            return -1;
        }
    }
    return 0;
}

/* ---- reports ---- */

static void tell_reporter(struct server *server)
{
    if (server->reporter == NULL && server->config->reports.aggregate)
        server->reporter = reporter_start(server->store, server->journal);
    if (server->reporter != NULL)
        reporter_change(server->reporter, server->config, server->keyring);
}

/* ---- reload ---- */

static void refuse_reload(const char *why)
{
    metric_set(gauges.reload_ok, 0);
    note_lines(LOG_ERROR, "reload.fault", why);
    log_note(LOG_ERROR, "reload.failed", "the running settings stay in force");
}

static void tell_what_takes_a_restart(const struct config *first, const struct config *fresh)
{
    const struct endpoint *was = &first->admin.http, *is = &fresh->admin.http;
    const struct {
        const char *key;
        bool changed;
    } rows[] = {
        {"runtime.workers", first->runtime.workers != fresh->runtime.workers},
        {"runtime.user", strcmp(first->runtime.user, fresh->runtime.user) != 0},
        {"store.url", strcmp(first->store.url, fresh->store.url) != 0},
        {"store.local", strcmp(first->store.local, fresh->store.local) != 0},
        {"store.timeout", first->store.timeout_ms != fresh->store.timeout_ms},
        {"admin.http", was->port != is->port || !ip_eq(&was->ip, &is->ip)},
    };

    for (size_t i = 0; i < COUNT(rows); i++)
        if (rows[i].changed)
            log_note(LOG_WARNING, "reload.partial", "%s is not what was started with: it takes a restart",
                     rows[i].key);
}

static struct service_parts parts_of(const struct server *server)
{
    return (struct service_parts){.config = server->config,
                                  .tls_server = server->tls_server,
                                  .tls_client = server->tls_client,
                                  .keyring = server->keyring,
                                  .store = server->store,
                                  .clients = server->clients,
                                  .told = server->told,
                                  .partials = server->partials,
                                  .journal = server->journal};
}

static void take_over(struct server *server, const struct config *fresh, struct tls_context *tls,
                      struct dkim_keyring *keyring, int *fds)
{
    struct worker_setup setup;

    tls_context_unref(&server->tls_server);
    dkim_keyring_unref(&server->keyring);
    server->tls_server = tls;
    server->keyring = keyring;
    pthread_mutex_lock(&server->config_lock);
    config_unref(&server->config);
    server->config = fresh;
    pthread_mutex_unlock(&server->config_lock);
    setup.parts = parts_of(server);

    for (size_t i = 0; i < server->workers_count; i++) {
        setup.listeners = fds + i * fresh->listens_count;
        worker_adopt(server->workers[i], &setup);
    }
    log_open(&fresh->log);
    tell_reporter(server);
    server->certificates_seen = mark_of_certificates(&fresh->tls);
    server->lists_seen = mark_of_lists(fresh);
    metric_set(gauges.reload_ok, 1);
    log_note(LOG_INFO, "reload", "%s is in force", fresh->file);
    tell_what_takes_a_restart(server->first, fresh);
}

/* Everything that can fail is prepared first; then all of it is taken over, or nothing. */
static void reload(struct server *server)
{
    struct tls_context *tls = NULL;
    struct dkim_keyring *keyring = NULL;
    const struct config *fresh;
    struct buf faults;
    struct fail fail;
    int *fds;

    buf_init(&faults, 64 * 1024);
    fresh = config_load(server->config->file, &faults);
    if (fresh == NULL) {
        refuse_reload(buf_z(&faults));
        buf_fini(&faults);
        return;
    }
    buf_fini(&faults);
    fds = calloc(fresh->listens_count * server->workers_count + 1, sizeof(int));
    if (fds == NULL)
        out_of_memory();
    if (load_certificates(fresh, &tls, &fail) != 0 || load_keyring(fresh, &keyring, &fail) != 0 ||
        bind_all(fresh, server->config, server->workers_count, fds, &fail) != 0) {
        refuse_reload(fail.text);
        tls_context_unref(&tls);
        dkim_keyring_unref(&keyring);
        config_unref(&fresh);
    } else {
        take_over(server, fresh, tls, keyring, fds);
    }
    free(fds);
}

static void on_watch(void *arg)
{
    struct server *server = arg;

    if (mark_of_lists(server->config) != server->lists_seen)
        reload(server);
    else if (server->tls_server != NULL &&
             mark_of_certificates(&server->config->tls) != server->certificates_seen)
        renew_certificates(server);
    timer_start(&server->watch, server->loop, WATCH_MS, on_watch, server);
}

/* ---- signals ---- */

static void on_signal(int signal_number, void *arg)
{
    struct server *server = arg;

    if (signal_number == SIGHUP) {
        if (!server->draining)
            reload(server);
        return;
    }
    if (server->draining) {
        log_note(LOG_WARNING, "stop", "told twice: not waiting for the sessions");
        _exit(1);
    }
    server->draining = true;
    log_note(LOG_INFO, "drain", "no new sessions; those in a transaction have %lld s",
             (long long)server->config->runtime.drain_ms / 1000);
    for (size_t i = 0; i < server->workers_count; i++)
        worker_drain(server->workers[i], server->config->runtime.drain_ms);
    loop_stop(server->loop);
}

static int watch_signals(struct server *server, struct fail *fail)
{
    static const int numbers[] = {SIGHUP, SIGTERM, SIGINT};

    signal(SIGPIPE, SIG_IGN);
    for (size_t i = 0; i < COUNT(numbers); i++)
        if (loop_on_signal(server->loop, numbers[i], on_signal, server, fail) != 0)
            return -1;
    return 0;
}

/* ---- the process ---- */

/* Each connection is a descriptor, each session may have one to the backend and one for its spool. What the
 * system does not let us have is said: clients beyond it are answered 421 from a descriptor kept in reserve. */
static void raise_descriptor_limit(const struct config *config)
{
    rlim_t wanted = (rlim_t)config->limits.connections * 3 + 256;
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= wanted)
        return;
    if (limit.rlim_max < wanted) {
        struct rlimit more = {wanted, wanted};

        if (setrlimit(RLIMIT_NOFILE, &more) == 0)
            return;
    }
    limit.rlim_cur = wanted < limit.rlim_max ? wanted : limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
    getrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_cur < wanted)
        log_note(LOG_WARNING, "descriptors",
                 "%llu descriptors are allowed; limits.connections: %u may want %llu",
                 (unsigned long long)limit.rlim_cur, config->limits.connections, (unsigned long long)wanted);
}

/* Whoever it runs as: no program that it starts could gain anything, and no core file or debugger of another process
 * of that user gets at keys and mail. */
static void lock_down(void)
{
    umask(077);
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
}

/* Sockets are bound and keys are read: from here on nothing needs root. Whether it worked is looked at
 * afterwards. */
static int drop_privileges(const struct config *config, struct fail *fail)
{
    const char *name = config->runtime.user;
    const struct passwd *user;

    if (geteuid() != 0)
        return 0;
    user = getpwnam(name);
    if (user == NULL)
        return fail_set(
            fail, "runtime.user: there is no user \"%s\"; make one (useradd --system %s) or name another",
            name, name);
    if (user->pw_uid == 0)
        return 0; /* asked for by name */
    if (initgroups(name, user->pw_gid) != 0 || setresgid(user->pw_gid, user->pw_gid, user->pw_gid) != 0 ||
        setresuid(user->pw_uid, user->pw_uid, user->pw_uid) != 0)
        return fail_errno(fail, "cannot become user %s", name);
    if (setuid(0) == 0 || geteuid() != user->pw_uid)
        return fail_set(fail, "root could be regained after becoming user %s", name);
    return 0;
}

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
    if (!reachable)
        add_line(why, why_bytes, "no backend can be reached");
    if (!store_is_available(server->store))
        add_line(why, why_bytes, "the store is not available: greylisting lets everybody pass");
    if (store_sharing(server->store) == STORE_SHARES_LATER)
        add_line(why, why_bytes, "the shared store does not answer: the local one does");
    if (dns_measured_sick() > 0)
        add_line(why, why_bytes, "the DNS does not answer: nobody is refused for good by what it says");
    return reachable; /* without the others mail still flows */
}

static size_t count_workers(const struct config *config)
{
    long cores = config->runtime.workers > 0 ? (long)config->runtime.workers : sysconf(_SC_NPROCESSORS_ONLN);

    return cores < 1 ? 1 : cores > WORKERS_MAX ? WORKERS_MAX : (size_t)cores;
}

static int start_workers(struct server *server, int *fds, struct fail *fail)
{
    struct worker_setup setup = {.parts = parts_of(server)};
    size_t wanted = count_workers(server->config);

    for (size_t i = 0; i < wanted; i++) {
        setup.listeners = fds + i * server->config->listens_count;
        server->workers[i] = worker_start(&setup, fail);
        if (server->workers[i] == NULL)
            return -1;
        server->workers_count++;
    }
    return 0;
}

static int start(struct server *server, struct fail *fail)
{
    const struct config *config = server->config;
    size_t workers = count_workers(config);
    int fds[WORKERS_MAX * 64];
    struct history history;

    if (config->listens_count > 64)
        return fail_set(fail, "more than 64 listeners");
    raise_descriptor_limit(config);
    if (load_certificates(config, &server->tls_server, fail) != 0 ||
        load_keyring(config, &server->keyring, fail) != 0 || watch_signals(server, fail) != 0 ||
        bind_all(config, NULL, workers, fds, fail) != 0)
        return -1;
    if (drop_privileges(config, fail) != 0) {
        close_all(fds, workers * config->listens_count);
        return -1;
    }
    lock_down();
    server->store = tables_open(&config->store, clock_system(), fail);
    if (server->store == NULL)
        return -1;
    server->partials = partials_new(server->store, clock_system());
    history_init(&history, server->store, config->hostname);
    server->journal = journal_open(server->loop, &history);
    if (config->admin.http.ip.family != 0) {
        server->admin = admin_start(&config->admin.http, is_ready, server, fail);
        if (server->admin == NULL)
            return -1;
    }
    server->certificates_seen = mark_of_certificates(&config->tls);
    server->lists_seen = mark_of_lists(config);
    if (start_workers(server, fds, fail) != 0)
        return -1;
    tell_reporter(server);
    return 0;
}

static void stop(struct server *server)
{
    admin_stop(&server->admin);
    for (size_t i = 0; i < server->workers_count; i++) {
        if (!server->draining)
            worker_drain(server->workers[i], 0);
        worker_join(server->workers[i]);
    }
    timer_stop(&server->watch);
    reporter_stop(server->reporter);
    journal_close(&server->journal);
    store_close(&server->store);
    reporter_free(&server->reporter);
    for (size_t i = 0; i < server->workers_count; i++)
        worker_free(&server->workers[i]);
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
    struct server server = {.config = config, .first = config_ref(config)};
    int result;

    pthread_mutex_init(&server.config_lock, NULL);
    make_gauges();
    server.loop = loop_new();
    server.clients = clients_new();
    server.told = told_new();
    server.tls_client = tls_client_context(TLS_VERIFY_NOTHING, fail);
    result = server.tls_client != NULL ? start(&server, fail) : -1;
    if (result == 0) {
        log_note(LOG_INFO, "started", "%s listens on %zu address%s with %zu worker%s", config->hostname,
                 config->listens_count, config->listens_count == 1 ? "" : "es", server.workers_count,
                 server.workers_count == 1 ? "" : "s");
        timer_start(&server.watch, server.loop, WATCH_MS, on_watch, &server);
        loop_run(server.loop);
    }
    stop(&server);
    if (result == 0)
        log_note(LOG_INFO, "stopped", "every session has ended");
    return result;
}
