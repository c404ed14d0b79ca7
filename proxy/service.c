#include "proxy/service.h"

enum { DKIM_KEYS = 2000 };

struct service *service_new(struct loop *loop, const struct config *config, struct tls_context *tls_server,
                            struct tls_context *tls_client, struct store *store, struct clients *clients,
                            struct fail *fail)
{
    struct dns_settings dns_settings = config->dns;
    struct arena *mem;
    struct service *service;
    struct dns *dns;

    dns_settings.canary = config->hostname; /* whether it exists or not: it must be answered */
    dns = resolver_new(loop, &dns_settings, fail);
    if (dns == NULL)
        return NULL;
    mem = arena_new(0);
    service = ARENA_NEW(mem, struct service);
    *service = (struct service){.loop = loop, .clock = clock_system(), .config = config_ref(config), .dns = dns,
                                .store = store, .clients = clients, .mem = mem};
    service->tls_server = tls_server != NULL ? tls_context_ref(tls_server) : NULL;
    service->keys = dkim_keys_new(DKIM_KEYS, service->clock);
    service->health = dnsbl_health_new(mem, config->dnsbl.lists, config->dnsbl.lists_count);
    if (config->dnsbl.mode != MODE_OFF)
        service->selftest = dnsbl_selftest_start(loop, dns, service->health, config->dnsbl.lists,
                                                 config->dnsbl.lists_count, DNSBL_SELFTEST_MS);
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
    dnsbl_selftest_stop(&s->selftest);
    resolver_free(&s->dns);
    dkim_keys_free(&s->keys);
    tls_context_unref(&s->tls_server);
    config_unref(&s->config);
    arena_free(&mem);
}
