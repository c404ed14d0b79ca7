#include "proxy/ports.h"

#include "base/bug.h"
#include "base/stream.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

bool ports_are_same(const struct endpoint *a, const struct endpoint *b)
{
    return a->port == b->port && ip_eq(&a->ip, &b->ip);
}

static size_t count_of(const struct ports *ports, const struct endpoint *address)
{
    size_t count = 0;

    for (size_t i = 0; i < ports->count; i++)
        count += ports_are_same(&ports->list[i].address, address);
    return count;
}

static void add(struct port_socket **list, size_t *count, const struct endpoint *address, int fd)
{
    *list = realloc(*list, (*count + 1) * sizeof(**list));
    if (*list == NULL)
        out_of_memory();
    (*list)[(*count)++] = (struct port_socket){*address, fd};
}

/* ---- opening and closing ---- */

static bool take_passed(struct ports *ports, const struct endpoint *address, struct passed *passed)
{
    bool found = false;
    int fd;

    while (passed != NULL && (fd = passed_take(passed, address)) >= 0) {
        add(&ports->list, &ports->count, address, fd);
        found = true;
    }
    return found;
}

static int bind_for_all(struct ports *ports, const struct endpoint *address, size_t workers,
                        struct fail *fail)
{
    if (listener_probe(address, fail) != 0)
        return -1;
    for (size_t i = 0; i < workers; i++) {
        int fd = listener_bind(address, fail);

        if (fd < 0)
            return -1;
        add(&ports->list, &ports->count, address, fd);
    }
    return 0;
}

int ports_open(struct ports *ports, const struct config *config, size_t workers, struct passed *passed,
               struct fail *fail)
{
    size_t before = ports->count;

    for (size_t i = 0; i < config->listens_count; i++) {
        const struct endpoint *address = &config->listens[i].address;

        if (count_of(ports, address) > 0 || take_passed(ports, address, passed) ||
            bind_for_all(ports, address, workers, fail) == 0)
            continue;
        ports_cut(ports, before);
        return -1;
    }
    return 0;
}

void ports_cut(struct ports *ports, size_t count)
{
    while (ports->count > count)
        close(ports->list[--ports->count].fd);
    if (count > 0)
        return;
    free(ports->list);
    ports->list = NULL;
}

static bool is_wanted(const struct config *config, const struct endpoint *address)
{
    for (size_t i = 0; i < config->listens_count; i++)
        if (ports_are_same(&config->listens[i].address, address))
            return true;
    return false;
}

void ports_keep(struct ports *ports, const struct config *config)
{
    size_t kept = 0;

    for (size_t i = 0; i < ports->count; i++)
        if (is_wanted(config, &ports->list[i].address))
            ports->list[kept++] = ports->list[i];
        else
            close(ports->list[i].fd);
    ports->count = kept;
}

/* ---- sharing ---- */

/* Of `sockets` at one address the worker serves the one with this number. */
static bool serves(size_t worker, size_t workers, size_t number, size_t sockets)
{
    return sockets >= workers ? number % workers == worker : worker % sockets == number;
}

static int share_with(const struct ports *ports, size_t since, size_t worker, size_t workers,
                      struct share *share, struct fail *fail)
{
    for (size_t i = since; i < ports->count; i++) {
        const struct port_socket *own = &ports->list[i];
        struct ports before = {ports->list, i};
        int fd;

        if (!serves(worker, workers, count_of(&before, &own->address), count_of(ports, &own->address)))
            continue;
        fd = fcntl(own->fd, F_DUPFD_CLOEXEC, 0);
        if (fd < 0)
            return fail_errno(fail, "cannot duplicate a listening socket");
        add(&share->list, &share->count, &own->address, fd);
    }
    return 0;
}

int ports_share(const struct ports *ports, size_t since, size_t workers, struct share *shares_out,
                struct fail *fail)
{
    int result = 0;

    for (size_t i = 0; i < workers; i++) {
        shares_out[i] = (struct share){0};
        if (result == 0)
            result = share_with(ports, since, i, workers, &shares_out[i], fail);
    }
    for (size_t i = 0; result != 0 && i < workers; i++)
        share_free(&shares_out[i]);
    return result;
}

void share_free(struct share *share)
{
    for (size_t i = 0; i < share->count; i++)
        close(share->list[i].fd);
    free(share->list);
    *share = (struct share){0};
}
