#include "base/notify.h"

#include "tests/t.h"

#include <stddef.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* A receiver at a path, or with "@" at an abstract name. */
static int listen_to(const char *name)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    size_t n = strlen(name);

    memcpy(at.sun_path, name, n);
    if (*name == '@')
        at.sun_path[0] = '\0';
    t_true(bind(fd, (struct sockaddr *)&at, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n)) == 0);
    setenv("NOTIFY_SOCKET", name, 1);
    return fd;
}

static const char *heard(int fd)
{
    static char text[8192];
    ssize_t n = recv(fd, text, sizeof(text) - 1, 0);

    text[n > 0 ? n : 0] = '\0';
    return text;
}

static void test_messages(void **state)
{
    char path[64], name[64], longer[5000];
    int fd;

    (void)state;
    snprintf(path, sizeof(path), "/tmp/notify_test.%ld", (long)getpid());
    snprintf(name, sizeof(name), "@notify_test.%ld", (long)getpid());
    t_case("lines go to a path", NULL);
    fd = listen_to(path);
    notify("READY=1\nSTATUS=%d sessions", 3);
    t_same_z(heard(fd), "READY=1\nSTATUS=3 sessions");
    t_case("what is too long is cut", NULL);
    memset(longer, 'x', sizeof(longer) - 1);
    longer[sizeof(longer) - 1] = '\0';
    notify("%s", longer);
    t_same_int(strlen(heard(fd)), 4095);
    close(fd);
    unlink(path);
    t_case("a receiver that is gone is nobody's trouble", NULL);
    notify("READY=1");
    t_case("lines go to an abstract name", NULL);
    fd = listen_to(name);
    notify("STOPPING=1");
    t_same_z(heard(fd), "STOPPING=1");
    t_case("a reload has the time at which it began", NULL);
    notify_reloading();
    t_true(strncmp(heard(fd), "RELOADING=1\nMONOTONIC_USEC=", 27) == 0);
    t_case("a receiver that does not read is not waited for", NULL);
    for (int i = 0; i < 5000; i++)
        notify("WATCHDOG=1");
    t_case("without a name nothing is said", NULL);
    while (*heard(fd) != '\0')
        continue;
    unsetenv("NOTIFY_SOCKET");
    notify("READY=1");
    setenv("NOTIFY_SOCKET", "vsock:2:1234", 1);
    notify("READY=1");
    t_same_z(heard(fd), "");
    close(fd);
    t_case("nor after the end", NULL);
    fd = listen_to(name);
    notify_end();
    notify("READY=1");
    t_same_z(heard(fd), "");
    close(fd);
}

static void test_watchdog(void **state)
{
    char pid[32];

    (void)state;
    t_case("nobody wants to hear", NULL);
    t_same_int(notify_watchdog_ms(), 0);
    setenv("WATCHDOG_USEC", "3000000", 1);
    t_same_int(notify_watchdog_ms(), 3000);
    t_case("of us", NULL);
    snprintf(pid, sizeof(pid), "%ld", (long)getpid());
    setenv("WATCHDOG_PID", pid, 1);
    t_same_int(notify_watchdog_ms(), 3000);
    t_case("of another", NULL);
    setenv("WATCHDOG_PID", "1", 1);
    t_same_int(notify_watchdog_ms(), 0);
    t_case("no number", NULL);
    setenv("WATCHDOG_PID", "", 1);
    t_same_int(notify_watchdog_ms(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_messages), cmocka_unit_test(test_watchdog)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
