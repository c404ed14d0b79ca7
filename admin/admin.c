#include "admin/admin.h"

#include "admin/process.h"
#include "base/bug.h"
#include "base/metric.h"
#include "base/stream.h"
#include "tls/tls.h"

#include <microhttpd.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    CONNECTIONS = 32,
    IDLE_S = 10,
    CONNECTION_BYTES = 16 * 1024,
    PAGE_BYTES = 8 * 1024 * 1024,
    WHY_BYTES = 2048,
};

struct admin {
    struct MHD_Daemon *daemon;
    admin_ready_fn *ready;
    void *arg;
};

/* ---- pages: each fills `out` and returns its status ---- */

typedef unsigned page_fn(struct admin *admin, struct buf *out);

static unsigned page_index(struct admin *admin, struct buf *out)
{
    (void)admin;
    buf_add_z(out, "smtpguard " VERSION "\n\n"
                   "/metrics  counters in Prometheus's text format\n"
                   "/healthz  200 while the process lives\n"
                   "/readyz   200 when mail can be served, else 503 and why not\n");
    return MHD_HTTP_OK;
}

static unsigned page_metrics(struct admin *admin, struct buf *out)
{
    (void)admin;
    metric_render(out);
    process_render(out);
    return MHD_HTTP_OK;
}

static unsigned page_health(struct admin *admin, struct buf *out)
{
    (void)admin;
    buf_add_z(out, "ok\n");
    return MHD_HTTP_OK;
}

static unsigned page_ready(struct admin *admin, struct buf *out)
{
    char why[WHY_BYTES] = "";
    bool is_ready = admin->ready == NULL || admin->ready(why, sizeof(why), admin->arg);

    why[sizeof(why) - 1] = '\0';
    buf_fmt(out, "%s\n%s", is_ready ? "ok" : "not ready", why);
    if (*why != '\0' && why[strlen(why) - 1] != '\n')
        buf_add_char(out, '\n');
    return is_ready ? MHD_HTTP_OK : MHD_HTTP_SERVICE_UNAVAILABLE;
}

static unsigned page_missing(struct admin *admin, struct buf *out)
{
    (void)admin;
    buf_add_z(out, "not found\n");
    return MHD_HTTP_NOT_FOUND;
}

static unsigned page_not_allowed(struct admin *admin, struct buf *out)
{
    (void)admin;
    buf_add_z(out, "only GET and HEAD\n");
    return MHD_HTTP_METHOD_NOT_ALLOWED;
}

static const struct {
    const char *path;
    page_fn *page;
} pages[] = {
    {"/", page_index},
    {"/metrics", page_metrics},
    {"/healthz", page_health},
    {"/readyz", page_ready},
};

static page_fn *find_page(const char *method, const char *path)
{
    if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0)
        return page_not_allowed;
    for (size_t i = 0; i < COUNT(pages); i++)
        if (strcmp(path, pages[i].path) == 0)
            return pages[i].page;
    return page_missing;
}

/* ---- HTTP ---- */

static enum MHD_Result send_page(struct MHD_Connection *connection, unsigned status, const struct buf *body)
{
    const char *type = "text/plain; version=0.0.4; charset=utf-8";
    struct MHD_Response *response = MHD_create_response_from_buffer(body->n, body->p, MHD_RESPMEM_MUST_COPY);
    enum MHD_Result result;

    if (response == NULL)
        return MHD_NO;
    MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
    MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
    if (status == MHD_HTTP_METHOD_NOT_ALLOWED)
        MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
    result = MHD_queue_response(connection, status, response);
    MHD_destroy_response(response);
    return result;
}

/* Called when the header has come, and again when the request is complete: then it is answered. Other methods
 * are answered at once, so that nobody's body is read. */
static enum MHD_Result on_request(void *arg, struct MHD_Connection *connection, const char *path,
                                  const char *method, const char *version, const char *body,
                                  size_t *body_bytes, void **state)
{
    static char seen;
    page_fn *page = find_page(method, path);
    enum MHD_Result result;
    struct buf out;
    unsigned status;

    (void)version, (void)body;
    if (*state == NULL && page != page_not_allowed) {
        *state = &seen;
        return MHD_YES;
    }
    *body_bytes = 0;
    buf_init(&out, PAGE_BYTES);
    status = page(arg, &out);
    if (out.overflow)
        status = MHD_HTTP_INTERNAL_SERVER_ERROR;
    result = send_page(connection, status, &out);
    buf_fini(&out);
    return result;
}

/* ---- starting and stopping ---- */

static void tell_build(void)
{
    char labels[128];

    snprintf(labels, sizeof(labels), "version=\"%s\",openssl=\"%s\"", VERSION, tls_library_version());
    metric_set(metric_gauge("smtpguard_build_info", "What is running; always 1", labels), 1);
}

/* Signals are for the loops, so the new thread gets none. */
static struct MHD_Daemon *start_daemon(int fd, struct admin *admin)
{
    struct MHD_Daemon *daemon;
    sigset_t all, before;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    daemon = MHD_start_daemon(MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_AUTO | MHD_USE_ITC, 0, NULL, NULL,
                              on_request, admin, MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT,
                              (unsigned)CONNECTIONS, MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)IDLE_S,
                              MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_BYTES, MHD_OPTION_END);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return daemon;
}

int admin_bind(const struct endpoint *at, struct fail *fail)
{
    return listener_probe(at, fail) == 0 ? listener_bind(at, fail) : -1;
}

struct admin *admin_start(int fd, admin_ready_fn *ready, void *arg, struct fail *fail)
{
    struct admin *admin = calloc(1, sizeof(*admin));

    if (admin == NULL)
        out_of_memory();
    admin->ready = ready;
    admin->arg = arg;
    tell_build();
    admin->daemon = start_daemon(fd, admin);
    if (admin->daemon == NULL) {
        fail_set(fail, "the HTTP thread does not start");
        close(fd);
        free(admin);
        return NULL;
    }
    return admin;
}

/* Others may listen to the same socket: it must be closed, and not be shut down. */
void admin_leave(struct admin *admin)
{
    MHD_socket fd = admin != NULL ? MHD_quiesce_daemon(admin->daemon) : MHD_INVALID_SOCKET;

    if (fd != MHD_INVALID_SOCKET)
        close(fd);
}

void admin_stop(struct admin **admin)
{
    if (*admin == NULL)
        return;
    admin_leave(*admin);
    MHD_stop_daemon((*admin)->daemon);
    free(*admin);
    *admin = NULL;
}

uint16_t admin_port(const struct admin *admin)
{
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(admin->daemon, MHD_DAEMON_INFO_BIND_PORT);

    return info != NULL ? info->port : 0;
}
