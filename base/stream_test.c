#include "base/stream.h"

#include "tests/t.h"

#include <arpa/inet.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- a port that is taken ---- */

static const struct endpoint any_port = {.ip = {.family = 4, .b = {127, 0, 0, 1}}};

static struct endpoint with_port_of(int fd)
{
    struct sockaddr_in addr;
    socklen_t length = sizeof(addr);
    struct endpoint at = any_port;

    assert_int_equal(getsockname(fd, (struct sockaddr *)&addr, &length), 0);
    at.port = ntohs(addr.sin_port);
    return at;
}

/* The workers share a port, a second daemon must not: it would get half of the clients, and nobody would know. */
static void test_a_port_has_one_program(void **state)
{
    struct fail fail = {0};
    int first = listener_bind(&any_port, &fail), second;
    struct endpoint at = with_port_of(first);

    (void)state;
    assert_int_equal(listener_probe(&at, &fail), -1);
    assert_non_null(strstr(fail.text, "cannot listen on 127.0.0.1 port"));
    second = listener_bind(&at, &fail);
    assert_true(second >= 0);
    close(first);
    assert_int_equal(listener_probe(&at, &fail), -1);
    close(second);
    assert_int_equal(listener_probe(&at, &fail), 0);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_port_has_one_program),
    };

    return cmocka_run_group_tests_name("stream", tests, NULL, NULL);
}
