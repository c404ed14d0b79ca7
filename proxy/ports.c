#include "proxy/ports.h"

#include "base/stream.h"

#include <unistd.h>

void ports_close(int *fds, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (fds[i] >= 0)
            close(fds[i]);
}

static bool is_bound(const struct config *config, const struct endpoint *address)
{
    for (size_t i = 0; config != NULL && i < config->listens_count; i++)
        if (config->listens[i].address.port == address->port &&
            ip_eq(&config->listens[i].address.ip, &address->ip))
            return true;
    return false;
}

int ports_bind(const struct config *config, const struct config *old, size_t workers, int *fds,
               struct fail *fail)
{
    size_t count = config->listens_count * workers;

    for (size_t i = 0; i < count; i++)
        fds[i] = -1;
    for (size_t i = 0; i < count; i++) {
        const struct endpoint *address = &config->listens[i % config->listens_count].address;

        if (is_bound(old, address))
            continue;
        if (i >= config->listens_count || listener_probe(address, fail) == 0)
            fds[i] = listener_bind(address, fail);
        if (fds[i] < 0) {
            ports_close(fds, count);
            return -1;
        }
    }
    return 0;
}
