#include "admin/control.h"

#include "base/bug.h"
#include "base/json.h"
#include "base/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { BACKLOG = 16, GROUPS_MAX = 1024, FOLDER_MODE = 0750 };

struct visit {
    struct control *control;
    struct stream *stream;
    struct timer deadline;
    struct buf line;
    struct ucred peer;
    bool answered;
    struct visit *next;
};

struct control {
    struct loop *loop;
    struct listener *listener;
    const char *path;
    control_fn *obey;
    void *arg;
    struct visit *visits;
    size_t visits_count;
};

static void *get_memory(size_t bytes)
{
    void *p = calloc(1, bytes);

    if (p == NULL)
        out_of_memory();
    return p;
}

/* ---- the file ---- */

/* Only the last part of the path is made: what is above belongs to others. */
int control_prepare(const char *path, uid_t uid, gid_t gid, struct fail *fail)
{
    char copy[sizeof(((struct sockaddr_un *)0)->sun_path)] = "";
    const char *folder;
    int fd, result = 0;

    strncpy(copy, path, sizeof(copy) - 1);
    folder = dirname(copy);
    if (mkdir(folder, FOLDER_MODE) != 0)
        return errno == EEXIST ? 0 : fail_errno(fail, "cannot make %s", folder);
    fd = open(folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || fchown(fd, uid, gid) != 0 || fchmod(fd, FOLDER_MODE) != 0)
        result = fail_errno(fail, "cannot give %s to its user", folder);
    if (fd >= 0)
        close(fd);
    return result;
}

static int make_socket(const char *path, struct sockaddr_un *at_out, struct fail *fail)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    *at_out = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (fd < 0)
        return fail_errno(fail, "cannot make a socket");
    if (strlen(path) < sizeof(at_out->sun_path)) {
        strcpy(at_out->sun_path, path);
        return fd;
    }
    close(fd);
    return fail_set(fail, "%s is too long for a socket", path);
}

/* 0 when a process listens there, else why not. */
static int error_of_connect(const char *path)
{
    struct sockaddr_un at;
    int fd = make_socket(path, &at, NULL), error = 0;

    if (fd < 0)
        return ENAMETOOLONG;
    if (connect(fd, (struct sockaddr *)&at, sizeof(at)) != 0 &&
        errno != EAGAIN) /* EAGAIN: many wait there already */
        error = errno;
    close(fd);
    return error;
}

int control_bind(const char *path, struct fail *fail)
{
    struct sockaddr_un at;
    int fd, result, error = error_of_connect(path);
    struct stat st;
    mode_t before;

    if (error == 0) {
        fail_set(fail, "%s is in use: another smtpguard takes its orders there", path);
        return CONTROL_TAKEN;
    }
    if (error == ECONNREFUSED && lstat(path, &st) == 0 &&
        S_ISSOCK(st.st_mode)) /* any other file refuses, too */
        (void)unlink(path);   /* its process is gone; if this fails, bind() says so */
    fd = make_socket(path, &at, fail);
    if (fd < 0)
        return CONTROL_FAILED;
    before = umask(0117); /* for the group, from the first moment on */
    result = bind(fd, (struct sockaddr *)&at, sizeof(at));
    umask(before);
    if (result == 0 && listen(fd, BACKLOG) == 0)
        return fd;
    fail_errno(fail, "cannot listen on %s", path);
    close(fd);
    return CONTROL_FAILED;
}

/* ---- who may ---- */

static bool has_group(int fd, gid_t group)
{
    gid_t groups[GROUPS_MAX];
    socklen_t bytes = sizeof(groups);

    if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &bytes) != 0)
        return false;
    for (size_t i = 0; i < bytes / sizeof(gid_t); i++)
        if (groups[i] == group)
            return true;
    return false;
}

static bool may_order(const struct control *control, int fd, const struct ucred *peer)
{
    struct stat st;

    if (peer->uid == 0 || peer->uid == geteuid())
        return true;
    return stat(control->path, &st) == 0 && (st.st_mode & S_IWGRP) != 0 &&
           (peer->gid == st.st_gid || has_group(fd, st.st_gid));
}

/* ---- a visit ---- */

static void end_visit(struct visit *visit)
{
    struct control *control = visit->control;

    for (struct visit **at = &control->visits; *at != NULL; at = &(*at)->next)
        if (*at == visit) {
            *at = visit->next;
            break;
        }
    control->visits_count--;
    timer_stop(&visit->deadline);
    stream_close(&visit->stream);
    buf_fini(&visit->line);
    free(visit);
}

static void on_deadline(void *arg)
{
    end_visit(arg);
}

/* The visit may be gone afterwards. */
static void send_answer(struct visit *visit, struct buf *answer)
{
    struct iovec piece;

    buf_add_char(answer, '\n');
    piece = (struct iovec){answer->p, answer->n};
    visit->answered = true;
    stream_write(visit->stream, &piece, 1);
    if (stream_queued(visit->stream) == 0)
        end_visit(visit);
}

static void refuse(struct visit *visit, const char *why)
{
    struct buf answer;
    struct json json;

    buf_init(&answer, 1024);
    json_init(&json, &answer);
    json_object(&json);
    json_put_z(&json, "error", why);
    json_object_end(&json);
    send_answer(visit, &answer);
    buf_fini(&answer);
}

static void obey(struct visit *visit, struct str text)
{
    struct control_order order = {str_trim(text), visit->peer.uid, visit->peer.pid};
    struct buf answer;

    buf_init(&answer, CONTROL_ANSWER_MAX);
    visit->control->obey(&order, &answer, visit->control->arg);
    if (answer.overflow)
        refuse(visit, "the answer is too long");
    else
        send_answer(visit, &answer);
    buf_fini(&answer);
}

static void on_data(const char *bytes, size_t n, void *arg)
{
    struct visit *visit = arg;
    struct str line, rest;

    if (visit->answered)
        return;
    buf_add(&visit->line, bytes, n);
    if (visit->line.overflow)
        refuse(visit, "an order is one short line");
    else if (str_cut(buf_str(&visit->line), '\n', &line, &rest))
        obey(visit, line);
}

static void on_drain(void *arg)
{
    end_visit(arg);
}

static void on_end(int error, void *arg)
{
    struct visit *visit = arg;

    if (error != 0 || !visit->answered)
        end_visit(visit);
}

static void on_accept(int fd, const struct endpoint *from, void *arg)
{
    static const struct stream_events events = {NULL, on_data, on_drain, on_end};
    struct control *control = arg;
    struct ucred peer;
    socklen_t bytes = sizeof(peer);
    struct visit *visit;

    (void)from;
    if (control->visits_count >= CONTROL_CONNECTIONS ||
        getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &bytes) != 0) {
        close(fd);
        return;
    }
    visit = get_memory(sizeof(*visit));
    *visit = (struct visit){.control = control, .peer = peer, .next = control->visits};
    buf_init(&visit->line, CONTROL_LINE_MAX);
    visit->stream = stream_accept(control->loop, fd, CONTROL_ANSWER_MAX + 1, &events, visit);
    timer_start(&visit->deadline, control->loop, CONTROL_MS, on_deadline, visit);
    control->visits = visit;
    control->visits_count++;
    if (!may_order(control, fd, &peer))
        refuse(visit, "you may not: only root, the daemon's user and the group of its socket");
}

/* ---- all of them ---- */

struct control *control_start(struct loop *loop, int fd, const char *path, control_fn *fn, void *arg)
{
    struct control *control = get_memory(sizeof(*control));

    *control = (struct control){.loop = loop, .path = strdup(path), .obey = fn, .arg = arg};
    if (control->path == NULL)
        out_of_memory();
    control->listener = listener_start(loop, fd, on_accept, control);
    return control;
}

void control_leave(struct control *control)
{
    if (control != NULL)
        listener_stop(&control->listener);
}

void control_stop(struct control **control)
{
    struct control *c = *control;

    if (c == NULL)
        return;
    *control = NULL;
    while (c->visits != NULL)
        end_visit(c->visits);
    listener_stop(&c->listener);
    free((char *)c->path);
    free(c);
}
