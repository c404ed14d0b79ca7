#include "base/passed.h"

#include "base/stream.h"
#include "tests/t.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* A descriptor of its own number, as systemd passes them: it stays open in programs, and may wait. */
static void put_at(int fd, int number)
{
    t_true(fd >= 0 && dup2(fd, number) == number);
    fcntl(number, F_SETFL, fcntl(number, F_GETFL) & ~O_NONBLOCK);
    close(fd);
}

static int bound(struct endpoint *at_out)
{
    struct sockaddr_storage name;
    socklen_t bytes = sizeof(name);
    struct fail fail = {""};
    int fd;

    *at_out = (struct endpoint){{4, {127, 0, 0, 1}}, 0};
    fd = listener_bind(at_out, &fail);
    t_true(fd >= 0 && getsockname(fd, (struct sockaddr *)&name, &bytes) == 0);
    t_true(endpoint_from_sockaddr((struct sockaddr *)&name, at_out));
    return fcntl(fd, F_DUPFD, 20); /* away from where they shall be */
}

static int bound_to_path(const char *path)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    snprintf(at.sun_path, sizeof(at.sun_path), "%s", path);
    unlink(path);
    t_true(bind(fd, (struct sockaddr *)&at, sizeof(at)) == 0 && listen(fd, 1) == 0);
    return fcntl(fd, F_DUPFD, 20);
}

static void announce(int count, const char *names, long pid)
{
    char text[32];

    snprintf(text, sizeof(text), "%d", count);
    setenv("LISTEN_FDS", text, 1);
    snprintf(text, sizeof(text), "%ld", pid);
    setenv("LISTEN_PID", text, 1);
    setenv("LISTEN_FDNAMES", names, 1);
}

static void test_sockets(void **state)
{
    const char *path = "/tmp/passed_test.sock";
    struct endpoint first, second, none = {{4, {127, 0, 0, 1}}, 1};
    struct fail fail = {""};
    struct passed passed;
    int fd;

    (void)state;
    fd = bound(&first);
    put_at(bound(&second), 4);
    put_at(fd, 3);
    put_at(bound_to_path(path), 5);
    announce(3, "mx:out:orders", getpid());
    t_case("what was passed is there, and programs that are started do not get it", NULL);
    t_same_int(passed_read(&passed, &fail), 0);
    t_same_int(passed.count, 3);
    t_true((fcntl(3, F_GETFD) & FD_CLOEXEC) != 0 && (fcntl(5, F_GETFD) & FD_CLOEXEC) != 0);
    t_case("nobody waits at it", NULL);
    t_true((fcntl(4, F_GETFL) & O_NONBLOCK) != 0);
    t_case("the environment forgets it", NULL);
    t_true(getenv("LISTEN_FDS") == NULL && getenv("LISTEN_PID") == NULL && getenv("LISTEN_FDNAMES") == NULL);
    t_case("it is found by its address, once", NULL);
    t_same_int(passed_take(&passed, &none), -1);
    t_same_int(passed_take(&passed, &second), 4);
    t_same_int(passed_take(&passed, &second), -1);
    t_case("a path is no address, and found by itself", NULL);
    t_same_int(passed_take_path(&passed, ""), -1);
    t_same_int(passed_take_path(&passed, "/tmp/other"), -1);
    t_same_int(passed_take_path(&passed, path), 5);
    t_case("what nobody took is named", NULL);
    t_same_int(passed_all_taken(&passed, &fail), -1);
    t_true(strstr(fail.text, "127.0.0.1 port ") != NULL && strstr(fail.text, "(mx)") != NULL);
    t_true(strstr(fail.text, "(out)") == NULL && strstr(fail.text, path) == NULL);
    t_case("and closed", NULL);
    passed_close_rest(&passed);
    t_same_int(fcntl(3, F_GETFD), -1);
    t_same_int(passed_all_taken(&passed, &fail), 0);
    passed_free(&passed);
    t_true(fcntl(4, F_GETFD) >= 0);
    close(4);
    close(5);
    unlink(path);
}

static void test_none(void **state)
{
    struct fail fail = {""};
    struct passed passed;

    (void)state;
    t_case("nothing was passed", NULL);
    t_same_int(passed_read(&passed, &fail), 0);
    t_same_int(passed.count, 0);
    t_same_int(passed_all_taken(&passed, &fail), 0);
    passed_free(&passed);
    t_case("what is for another process is none of ours", NULL);
    announce(1, "mx", (long)getpid() + 1);
    t_same_int(passed_read(&passed, &fail), 0);
    t_same_int(passed.count, 0);
    passed_free(&passed);
}

static void test_others(void **state)
{
    struct fail fail = {""};
    struct passed passed;
    int pipes[2];

    (void)state;
    t_true(pipe(pipes) == 0);
    pipes[0] = fcntl(pipes[0], F_DUPFD, 20);
    put_at(pipes[0], 3);
    t_case("what is no listening socket is said to be none", NULL);
    announce(1, "odd", getpid());
    t_same_int(passed_read(&passed, &fail), -1);
    t_same_z(fail.text, "descriptor 3 (odd) was passed, but is no listening socket");
    passed_free(&passed);
    t_case("nor is one that only is bound", NULL);
    put_at(fcntl(socket(AF_INET, SOCK_STREAM, 0), F_DUPFD, 20), 3);
    announce(1, "", getpid());
    t_same_int(passed_read(&passed, &fail), -1);
    passed_free(&passed);
    t_case("nor one that is not there", NULL);
    announce(400, "", getpid());
    t_same_int(passed_read(&passed, &fail), -1);
    passed_free(&passed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_sockets), cmocka_unit_test(test_none),
                                       cmocka_unit_test(test_others)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
