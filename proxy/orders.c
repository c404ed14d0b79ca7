#include "proxy/server_in.h"

#include "base/bug.h"
#include "base/json.h"
#include "proxy/status.h"

#include <fcntl.h>
#include <unistd.h>

static void order_status(struct server *server, struct buf *answer)
{
    struct census census;

    census_take(server->workers, server->workers_count, &census);
    status_write(&(struct status){.config = server->config,
                                  .store = server->store,
                                  .workers = server->workers_count,
                                  .census = &census,
                                  .now_unix = clock_unix(clock_system()),
                                  .started_unix = server->started_unix,
                                  .loaded_unix = server->loaded_unix,
                                  .reload_failed = reload_failed(),
                                  .draining = server->draining,
                                  .upgrading = server->handover != NULL,
                                  .upgrade_failed = server->upgrade_fail.text},
                 answer);
}

static void put_lines(struct json *json, const char *key, struct str lines)
{
    struct str line;

    json_key(json, key);
    json_array(json);
    while (lines.n > 0) {
        str_cut(lines, '\n', &line, &lines);
        json_str(json, line);
    }
    json_array_end(json);
}

static void order_reload(struct server *server, struct buf *answer)
{
    struct json json;
    struct buf why;

    buf_init(&why, FAULTS_BYTES);
    if (server->draining)
        buf_add_z(&why, "the daemon is draining\n");
    else if (server->leaving)
        buf_add_z(&why, "another process has just taken over; ask that one\n");
    else
        (void)reload(server, &why);
    json_init(&json, answer);
    json_object(&json);
    json_put_bool(&json, "reloaded", why.n == 0);
    json_put_z(&json, "file", server->config->file);
    put_lines(&json, "faults", buf_str(&why));
    json_object_end(&json);
    buf_fini(&why);
}

static void order_drain(struct server *server, struct buf *answer)
{
    struct json json;

    if (!server->draining)
        server_drain(server);
    json_init(&json, answer);
    json_object(&json);
    json_put_bool(&json, "draining", true);
    json_put_int(&json, "most_s", server->config->runtime.drain_ms / 1000);
    json_object_end(&json);
}

/* How it ends, the status tells: it is another process's, or has a word on why not. */
static void order_upgrade(struct server *server, struct buf *answer)
{
    bool is_begun = upgrade_start(server);
    struct json json;

    json_init(&json, answer);
    json_object(&json);
    json_put_bool(&json, "begun", is_begun);
    json_put_int(&json, "pid", getpid());
    json_put_z(&json, "failed", is_begun ? "" : server->upgrade_fail.text);
    json_object_end(&json);
}

static void unknown_order(struct buf *answer)
{
    struct json json;

    json_init(&json, answer);
    json_object(&json);
    json_put_z(&json, "error", "there is no such order");
    json_object_end(&json);
}

static void on_order(const struct control_order *order, struct buf *answer, void *arg)
{
    static const struct {
        const char *text;
        void (*obey)(struct server *, struct buf *);
        bool changes;
    } orders[] = {{"status", order_status, false},
                  {"reload", order_reload, true},
                  {"drain", order_drain, true},
                  {"upgrade", order_upgrade, true}};

    for (size_t i = 0; i < COUNT(orders); i++)
        if (str_eq_z(order->text, orders[i].text)) {
            if (orders[i].changes)
                log_note(LOG_INFO, "order", "%s, by user %ld, process %ld", orders[i].text, (long)order->uid,
                         (long)order->pid);
            orders[i].obey(arg, answer);
            return;
        }
    unknown_order(answer);
}

int orders_start(struct server *server, struct fail *fail)
{
    const char *path = server->config->admin.socket;
    int fd;

    if (*path == '\0')
        return 0;
    fd = passed_take_path(&server->passed, path);
    if (fd < 0)
        fd = control_bind(path, fail);
    if (fd == CONTROL_TAKEN)
        return -1;
    if (fd == CONTROL_FAILED) {
        log_note(LOG_WARNING, "control.failed", "admin.socket: %s; nobody can ask for the status",
                 fail->text);
    } else {
        server->control_fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
        server->control = control_start(server->loop, fd, path, on_order, server);
    }
    return 0;
}
