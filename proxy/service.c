#include "proxy/service.h"

enum { DKIM_KEYS = 2000 };

struct service *service_new(struct loop *loop, const struct config *config, struct tls_context *tls_server,
                            struct tls_context *tls_client, struct store *store, struct clients *clients,
                            struct fail *fail)
{
    struct dns *dns = resolver_new(loop, &config->dns, fail);
    struct arena *mem;
    struct service *service;

    if (dns == NULL)
        return NULL;
    mem = arena_new(0);
    service = ARENA_NEW(mem, struct service);
    *service = (struct service){.loop = loop, .clock = clock_system(), .config = config_ref(config), .dns = dns,
                                .store = store, .clients = clients, .mem = mem};
    service->tls_server = tls_server != NULL ? tls_context_ref(tls_server) : NULL;
    service->keys = dkim_keys_new(DKIM_KEYS, service->clock);
    service->health = dnsbl_health_new(mem, config->dnsbl.lists, config->dnsbl.lists_count);
    service->backends = backends_new(loop, config, tls_client);
    return service;
}

void service_free(struct service **service)
{
    struct service *s = *service;
    struct arena *mem;

    if (s == NULL)
        return;
    *service = NULL;
    mem = s->mem;
    backends_free(&s->backends);
    resolver_free(&s->dns);
    dkim_keys_free(&s->keys);
    tls_context_unref(&s->tls_server);
    config_unref(&s->config);
    arena_free(&mem);
}
