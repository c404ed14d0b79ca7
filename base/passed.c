#include "base/passed.h"

#include "base/bug.h"
#include "base/handover.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { FIRST = 3 };

/* ---- reading ---- */

static uint64_t number_of(const char *variable)
{
    const char *text = getenv(variable);
    uint64_t number = 0;

    return text != NULL && str_to_u64(str_of(text), INT32_MAX, &number) ? number : 0;
}

static bool is_option(int fd, int option, int wanted)
{
    int value = 0;
    socklen_t bytes = sizeof(value);

    return getsockopt(fd, SOL_SOCKET, option, &value, &bytes) == 0 && value == wanted;
}

static void set_flags(int fd)
{
    int flags = fcntl(fd, F_GETFL);

    if (flags >= 0)
        fcntl(fd, F_SETFL, flags | O_NONBLOCK);
    fcntl(fd, F_SETFD, FD_CLOEXEC);
}

static bool read_address(struct passed_socket *socket)
{
    union {
        struct sockaddr any;
        struct sockaddr_un local;
        struct sockaddr_storage room;
    } at = {0};
    socklen_t bytes = sizeof(at);

    if (getsockname(socket->fd, &at.any, &bytes) != 0)
        return false;
    if (at.any.sa_family != AF_UNIX)
        return endpoint_from_sockaddr(&at.any, &socket->address);
    snprintf(socket->path, sizeof(socket->path), "%.*s", PASSED_PATH_MAX - 1, at.local.sun_path);
    return *socket->path != '\0';
}

static int read_one(struct passed *passed, int fd, struct str name, struct fail *fail)
{
    struct passed_socket *one = &passed->list[passed->count];

    set_flags(fd);
    if (str_eq_z(name, HANDOVER_NAME)) {
        passed->handover = fd;
        return 0;
    }
    *one = (struct passed_socket){.fd = fd};
    passed->count++;
    snprintf(one->name, sizeof(one->name), "%.*s", STR_ARG(name));
    if (is_option(fd, SO_TYPE, SOCK_STREAM) && is_option(fd, SO_ACCEPTCONN, 1) && read_address(one))
        return 0;
    one->fd = -1; /* who knows whose it is */
    return fail_set(fail, "descriptor %d (%s) was passed, but is no listening socket", fd, one->name);
}

static void forget(void)
{
    unsetenv("LISTEN_PID");
    unsetenv("LISTEN_FDS");
    unsetenv("LISTEN_FDNAMES");
}

int passed_read(struct passed *passed, struct fail *fail)
{
    const char *variable = getenv("LISTEN_FDNAMES");
    bool for_us = number_of("LISTEN_PID") == (uint64_t)getpid();
    size_t count = for_us ? number_of("LISTEN_FDS") : 0;
    char *names = strdup(variable != NULL ? variable : "");
    struct str name, rest = str_of(names);
    int result = 0;

    *passed = (struct passed){.handover = -1};
    if (count > PASSED_MAX)
        count = PASSED_MAX;
    passed->list = calloc(count + 1, sizeof(*passed->list));
    if (names == NULL || passed->list == NULL)
        out_of_memory();
    forget();
    for (size_t i = 0; i < count && result == 0; i++) {
        str_cut(rest, ':', &name, &rest);
        result = read_one(passed, FIRST + (int)i, name, fail);
    }
    free(names);
    return result;
}

void passed_close_rest(struct passed *passed)
{
    for (size_t i = 0; i < passed->count; i++)
        if (passed->list[i].fd >= 0)
            close(passed->list[i].fd);
    passed->count = 0;
}

void passed_free(struct passed *passed)
{
    passed_close_rest(passed);
    if (passed->handover >= 0)
        close(passed->handover);
    free(passed->list);
    passed->handover = -1;
    passed->list = NULL;
}

/* ---- taking ---- */

static int take(struct passed_socket *socket)
{
    int fd = socket->fd;

    socket->fd = -1;
    return fd;
}

int passed_take(struct passed *passed, const struct endpoint *address)
{
    for (size_t i = 0; i < passed->count; i++) {
        struct passed_socket *one = &passed->list[i];

        if (one->fd >= 0 && *one->path == '\0' && one->address.port == address->port &&
            ip_eq(&one->address.ip, &address->ip))
            return take(one);
    }
    return -1;
}

int passed_take_path(struct passed *passed, const char *path)
{
    for (size_t i = 0; i < passed->count; i++)
        if (passed->list[i].fd >= 0 && *path != '\0' && strcmp(passed->list[i].path, path) == 0)
            return take(&passed->list[i]);
    return -1;
}

int passed_all_taken(const struct passed *passed, struct fail *fail)
{
    char text[256] = "";
    size_t n = 0;

    for (size_t i = 0; i < passed->count; i++) {
        const struct passed_socket *one = &passed->list[i];
        char ip[IP_TEXT_MAX];

        if (one->fd < 0 || n >= sizeof(text))
            continue;
        n += (size_t)(*one->path != '\0'
                          ? snprintf(text + n, sizeof(text) - n, "%s%s (%s)", n > 0 ? ", " : "", one->path,
                                     one->name)
                          : snprintf(text + n, sizeof(text) - n, "%s%s port %u (%s)", n > 0 ? ", " : "",
                                     ip_format(&one->address.ip, ip), one->address.port, one->name));
    }
    return n == 0 ? 0 : fail_set(fail, "sockets were passed that the settings do not name: %s", text);
}
