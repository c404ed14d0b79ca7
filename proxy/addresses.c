#include "proxy/addresses.h"

static void take(struct addresses *a, const struct dns_answer *answer)
{
    for (size_t i = 0; i < answer->count && i < ADDRESSES_MAX; i++)
        a->list[a->count++] = (struct endpoint){.ip = answer->records[i].ip, .port = a->port};
    a->temporary |= dns_is_temporary(answer->status);
    if (answer->count == 0 && (a->why == NULL || dns_is_temporary(answer->status)))
        a->why = dns_status_name(answer->status);
}

static void on_a(const struct dns_answer *answer, void *arg)
{
    struct addresses *a = arg;

    a->query = NULL;
    take(a, answer);
    a->done(a->arg);
}

static void on_aaaa(const struct dns_answer *answer, void *arg)
{
    struct addresses *a = arg;

    take(a, answer);
    a->query = dns_query(a->dns, DNS_A, a->name, on_a, a);
}

void addresses_find(struct addresses *addresses, struct dns *dns, const char *name, uint16_t port,
                    loop_fn *done, void *arg)
{
    *addresses = (struct addresses){.dns = dns, .name = name, .port = port, .done = done, .arg = arg};
    addresses->query = dns_query(dns, DNS_AAAA, name, on_aaaa, addresses);
}

void addresses_cancel(struct addresses *addresses)
{
    dns_cancel(&addresses->query);
}

void addresses_prefer(struct addresses *addresses, const struct endpoint *first)
{
    for (size_t i = 1; i < addresses->count; i++)
        if (ip_eq(&addresses->list[i].ip, &first->ip)) {
            addresses->list[i] = addresses->list[0];
            addresses->list[0] = *first;
            return;
        }
}
