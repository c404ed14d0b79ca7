#include "base/notify.h"

#include "base/str.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { MESSAGE_MAX = 4096 };

static bool ended;

/* The length of the address, or 0 when there is none. An abstract one is written with "@" for its NUL. */
static socklen_t find_socket(struct sockaddr_un *to_out)
{
    const char *name = getenv("NOTIFY_SOCKET");
    size_t n = name != NULL ? strlen(name) : 0;

    *to_out = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (n < 2 || n >= sizeof(to_out->sun_path) || (*name != '/' && *name != '@'))
        return 0;
    memcpy(to_out->sun_path, name, n);
    if (*name == '@')
        to_out->sun_path[0] = '\0';
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n + (*name == '/'));
}

void notify(const char *format, ...)
{
    struct sockaddr_un to;
    socklen_t bytes = find_socket(&to);
    char message[MESSAGE_MAX];
    va_list args;
    int fd;

    if (ended || bytes == 0 || (fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)) < 0)
        return;
    va_start(args, format);
    vsnprintf(message, sizeof(message), format, args);
    va_end(args);
    (void)!sendto(fd, message, strlen(message), MSG_NOSIGNAL | MSG_DONTWAIT, (struct sockaddr *)&to, bytes);
    close(fd);
}

void notify_reloading(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    notify("RELOADING=1\nMONOTONIC_USEC=%lld", (long long)now.tv_sec * 1000000 + now.tv_nsec / 1000);
}

void notify_end(void)
{
    ended = true;
}

/* WATCHDOG_PID names whom it is meant for, in case that we were started by somebody in between. */
int64_t notify_watchdog_ms(void)
{
    const char *usec = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
    uint64_t us = 0, whom = (uint64_t)getpid();

    if (usec == NULL || !str_to_u64(str_of(usec), INT64_MAX, &us) ||
        (pid != NULL && !str_to_u64(str_of(pid), INT64_MAX, &whom)) || whom != (uint64_t)getpid())
        return 0;
    return (int64_t)(us / 1000);
}
