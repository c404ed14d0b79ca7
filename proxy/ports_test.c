#include "proxy/ports.h"

#include "base/bug.h"
#include "base/stream.h"
#include "tests/t.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { WORKERS_MOST = 5 };

/* Sockets that were passed for one address, served by so many workers. */
static const struct {
    const char *name;
    size_t sockets, workers;
} rows[] = {
    {"a worker has each its own", 3, 3}, {"one for all", 1, 4}, {"fewer than workers", 2, 5},
    {"more than workers", 5, 2},         {"all for one", 4, 1},
};

static struct endpoint some_address(void)
{
    struct endpoint at = {{4, {127, 0, 0, 1}}, 0};
    struct sockaddr_storage name;
    socklen_t bytes = sizeof(name);
    struct fail fail = {""};
    int fd = listener_bind(&at, &fail);

    t_true(fd >= 0 && getsockname(fd, (struct sockaddr *)&name, &bytes) == 0);
    t_true(endpoint_from_sockaddr((struct sockaddr *)&name, &at));
    close(fd);
    return at;
}

static struct passed passed_at(const struct endpoint *at, size_t count)
{
    struct passed passed = {calloc(count, sizeof(*passed.list)), count, -1};
    struct fail fail = {""};

    for (size_t i = 0; i < count; i++)
        passed.list[i] = (struct passed_socket){.fd = listener_bind(at, &fail), .address = *at};
    return passed;
}

static ino_t number_of(int fd)
{
    struct stat st;

    t_true(fstat(fd, &st) == 0);
    return st.st_ino;
}

/* How many of a share are the socket. */
static size_t count_in(const struct share *share, int fd)
{
    size_t count = 0;

    for (size_t i = 0; i < share->count; i++)
        count += number_of(share->list[i].fd) == number_of(fd);
    return count;
}

static void check_shares(const struct ports *ports, const struct share *shares, size_t workers)
{
    for (size_t i = 0; i < ports->count; i++) {
        size_t served = 0;

        for (size_t worker = 0; worker < workers; worker++)
            served += count_in(&shares[worker], ports->list[i].fd);
        t_true(served >= 1);                           /* by somebody */
        t_true(served == 1 || ports->count < workers); /* by one, when there are enough */
    }
    for (size_t worker = 0; worker < workers; worker++)
        t_true(shares[worker].count >= 1);
}

static void test_shares(void **state)
{
    struct endpoint at = some_address();
    struct listen_settings listen = {.address = at};
    struct config config = {.listens = &listen, .listens_count = 1};

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct passed passed = passed_at(&at, rows[i].sockets);
        struct share shares[WORKERS_MOST];
        struct ports ports = {0};
        struct fail fail = {""};

        t_case(rows[i].name, NULL);
        t_same_int(ports_open(&ports, &config, rows[i].workers, &passed, &fail), 0);
        t_same_int(ports.count, rows[i].sockets);
        t_same_int(passed_all_taken(&passed, &fail), 0);
        t_same_int(ports_share(&ports, 0, rows[i].workers, shares, &fail), 0);
        check_shares(&ports, shares, rows[i].workers);
        for (size_t worker = 0; worker < rows[i].workers; worker++)
            share_free(&shares[worker]);
        ports_cut(&ports, 0);
        passed_free(&passed);
    }
}

static void test_changes(void **state)
{
    struct listen_settings listens[] = {
        {.address = some_address()}, {.address = some_address()}, {.address = some_address()}};
    struct config one = {.listens = listens, .listens_count = 1},
                  both = {.listens = listens, .listens_count = 2};
    struct config other = {.listens = listens + 1, .listens_count = 1},
                  all = {.listens = listens, .listens_count = 3};
    struct share shares[2];
    struct ports ports = {0};
    struct fail fail = {""};
    int taken;

    (void)state;
    t_case("each worker has a socket of its own", NULL);
    t_same_int(ports_open(&ports, &one, 2, NULL, &fail), 0);
    t_same_int(ports.count, 2);
    t_true(number_of(ports.list[0].fd) != number_of(ports.list[1].fd));
    t_case("when the last of all cannot be had, all is as it was", NULL);
    taken = socket(AF_INET, SOCK_STREAM, 0);
    {
        struct sockaddr_storage name;
        unsigned bytes = endpoint_to_sockaddr(&listens[2].address, (struct sockaddr *)&name);

        t_true(bind(taken, (struct sockaddr *)&name, bytes) == 0 && listen(taken, 1) == 0);
    }
    t_same_int(ports_open(&ports, &all, 2, NULL, &fail), -1);
    t_same_int(ports.count, 2);
    t_same_int(listener_probe(&listens[1].address, &fail), 0);
    close(taken);
    t_case("a listener that is new is opened, and only it is shared anew", NULL);
    t_same_int(ports_open(&ports, &both, 2, NULL, &fail), 0);
    t_same_int(ports.count, 4);
    t_same_int(ports_share(&ports, 2, 2, shares, &fail), 0);
    for (size_t i = 0; i < 2; i++) {
        t_same_int(shares[i].count, 1);
        t_true(ports_are_same(&shares[i].list[0].address, &listens[1].address));
        share_free(&shares[i]);
    }
    t_case("one that is gone is closed", NULL);
    ports_keep(&ports, &other);
    t_same_int(ports.count, 2);
    t_true(ports_are_same(&ports.list[0].address, &listens[1].address));
    t_same_int(listener_probe(&listens[0].address, &fail), 0);
    t_same_int(listener_probe(&listens[1].address, &fail), -1);
    ports_cut(&ports, 0);
    t_same_int(listener_probe(&listens[1].address, &fail), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_shares), cmocka_unit_test(test_changes)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
