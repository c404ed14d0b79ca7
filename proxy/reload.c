#include "proxy/server_in.h"

#include "base/bug.h"
#include "base/metric.h"
#include "base/notify.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { WATCH_MS = 2500 }; /* two looks are five seconds */

static struct {
    struct metric *reload_ok, *not_after;
} gauges;

/* Each has a line of its own: all of them together are too long for one. */
static void note_lines(enum log_level level, const char *event, struct str lines)
{
    struct str line, rest = lines;

    while (rest.n > 0) {
        str_cut(rest, '\n', &line, &rest);
        log_note(level, event, "%.*s", STR_ARG(line));
    }
}

void reload_init(struct server *server)
{
    gauges.reload_ok =
        metric_gauge("smtpguard_config_last_reload_successful", "1 when the last reload took over.", "");
    gauges.not_after = metric_gauge("smtpguard_tls_certificate_not_after_timestamp_seconds",
                                    "When the first of the certificates expires.", "");
    metric_set(gauges.reload_ok, 1);
    server->loaded_unix = clock_unix(clock_system());
}

/* ---- files that are watched ---- */

/* The files of domains and recipients, and those of the allow lists. */
static uint64_t mark_of_lists(const struct config *config)
{
    uint64_t mark = watch_mark(config->domains.file) * 3 + watch_mark(config->domains.recipients_file);

    for (size_t i = 0; i < config->greylist.files_count; i++)
        mark = mark * 5 + watch_mark(config->greylist.files[i]);
    return mark;
}

static uint64_t mark_of_certificates(const struct tls_settings *tls)
{
    uint64_t mark = watch_mark(tls->pair.cert) * 3 + watch_mark(tls->pair.key);

    for (size_t i = 0; i < tls->more_count; i++)
        mark = mark * 5 + watch_mark(tls->more[i].cert) * 3 + watch_mark(tls->more[i].key);
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
    note_lines(LOG_WARNING, "dkim-key.file", buf_str(&warnings));
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

    server->certificates_watch.read = mark_of_certificates(&server->config->tls);
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

/* ---- reload ---- */

void server_tell_reporter(struct server *server)
{
    if (server->reporter == NULL && server->config->reports.aggregate)
        server->reporter = reporter_start(server->store, server->journal);
    if (server->reporter != NULL)
        reporter_change(server->reporter, server->config, server->keyring);
}

static bool refuse_reload(const struct buf *why)
{
    metric_set(gauges.reload_ok, 0);
    note_lines(LOG_ERROR, "reload.fault", buf_str(why));
    log_note(LOG_ERROR, "reload.failed", "the running settings stay in force");
    return false;
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
        {"admin.socket", strcmp(first->admin.socket, fresh->admin.socket) != 0},
    };

    for (size_t i = 0; i < COUNT(rows); i++)
        if (rows[i].changed)
            log_note(LOG_WARNING, "reload.partial", "%s is not what was started with: it takes a restart",
                     rows[i].key);
}

struct service_parts server_parts(const struct server *server)
{
    return (struct service_parts){.config = server->config,
                                  .tls_server = server->tls_server,
                                  .tls_client = server->tls_client,
                                  .keyring = server->keyring,
                                  .store = server->store,
                                  .clients = server->clients,
                                  .told = server->told,
                                  .partials = server->partials,
                                  .keeper = server->keeper,
                                  .journal = server->journal};
}

/* What new settings need besides themselves. */
struct prepared {
    struct tls_context *tls;
    struct dkim_keyring *keyring;
    struct share shares[WORKERS_MAX];
    uint64_t certificates_mark, lists_mark;
};

static void take_over(struct server *server, const struct config *fresh, const struct prepared *prepared)
{
    struct worker_setup setup = {0};

    tls_context_unref(&server->tls_server);
    dkim_keyring_unref(&server->keyring);
    server->tls_server = prepared->tls;
    server->keyring = prepared->keyring;
    ports_keep(&server->ports, fresh);
    pthread_mutex_lock(&server->config_lock);
    config_unref(&server->config);
    server->config = fresh;
    pthread_mutex_unlock(&server->config_lock);
    setup.parts = server_parts(server);

    for (size_t i = 0; i < server->workers_count; i++) {
        setup.share = prepared->shares[i];
        worker_adopt(server->workers[i], &setup);
    }
    log_open(&fresh->log);
    keeper_change(server->keeper, &fresh->history);
    server_tell_reporter(server);
    server->certificates_watch.read = prepared->certificates_mark;
    server->lists_watch.read = prepared->lists_mark;
    server->loaded_unix = clock_unix(clock_system());
    server->reloaded_since = true;
    metric_set(gauges.reload_ok, 1);
    log_note(LOG_INFO, "reload", "%s is in force", fresh->file);
    tell_what_takes_a_restart(server->first, fresh);
}

static int prepare(struct server *server, const struct config *fresh, struct prepared *prepared,
                   struct fail *fail)
{
    size_t before = server->ports.count, workers = server->workers_count;

    if (load_certificates(fresh, &prepared->tls, fail) == 0 &&
        load_keyring(fresh, &prepared->keyring, fail) == 0 &&
        ports_open(&server->ports, fresh, workers, NULL, fail) == 0 &&
        ports_share(&server->ports, before, workers, prepared->shares, fail) == 0)
        return 0;
    ports_cut(&server->ports, before);
    tls_context_unref(&prepared->tls);
    dkim_keyring_unref(&prepared->keyring);
    return -1;
}

static bool try_to_reload(struct server *server, struct buf *why_out)
{
    /* Taken before anything is read: what is written meanwhile counts as a change. Where the new settings name other files
     * they are just read once more. */
    struct prepared prepared = {.certificates_mark = mark_of_certificates(&server->config->tls),
                                .lists_mark = mark_of_lists(server->config)};
    const struct config *fresh = config_load(server->config->file, why_out);
    struct fail fail;

    if (fresh == NULL)
        return refuse_reload(why_out);
    if (prepare(server, fresh, &prepared, &fail) == 0) {
        take_over(server, fresh, &prepared);
        return true;
    }
    buf_fmt(why_out, "%s\n", fail.text);
    config_unref(&fresh);
    return refuse_reload(why_out);
}

bool reload(struct server *server, struct buf *why_out)
{
    bool reloaded;

    notify_reloading();
    reloaded = try_to_reload(server, why_out);
    server_notify_ready(server);
    return reloaded;
}

void reload_untold(struct server *server)
{
    struct buf why;

    buf_init(&why, FAULTS_BYTES);
    (void)reload(server, &why);
    buf_fini(&why);
}

static void on_watch(void *arg)
{
    struct server *server = arg;

    if (server->draining || server->leaving)
        return;
    if (watch_is_due(&server->lists_watch, mark_of_lists(server->config)))
        reload_untold(server);
    else if (server->tls_server != NULL &&
             watch_is_due(&server->certificates_watch, mark_of_certificates(&server->config->tls)))
        renew_certificates(server);
    reload_watch(server);
}

void reload_watch(struct server *server)
{
    timer_start(&server->watch, server->loop, WATCH_MS, on_watch, server);
}

int reload_first(struct server *server, struct fail *fail)
{
    server->certificates_watch.read = mark_of_certificates(&server->config->tls);
    server->lists_watch.read = mark_of_lists(server->config);
    return load_certificates(server->config, &server->tls_server, fail) == 0
               ? load_keyring(server->config, &server->keyring, fail)
               : -1;
}

bool reload_failed(void)
{
    return metric_value(gauges.reload_ok) == 0;
}
