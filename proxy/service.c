#include "proxy/service.h"

#include "base/metric.h"
#include "proxy/decision.h"

enum { DKIM_KEYS = 2000 };

static void start_watching(struct service *service)
{
    const struct config *config = service->config;

    if (config->dnsbl.mode != MODE_OFF)
        service->selftest =
            dnsbl_selftest_start(service->loop, service->dns, service->health, config->dnsbl.lists,
                                 config->dnsbl.lists_count, DNSBL_SELFTEST_MS);
    if (service->keyring != NULL)
        service->signing = signing_watch_start(service->loop, service->dns, service->keyring);
}

/* Zones that are a secret are not shown (dns/dnsbl.h). */
static void tell_list(const struct dnsbl_list *list, bool off)
{
    const char *help =
        "Workers that do not ask the DNS list, since it failed its test or answered what it should not.";
    struct buf labels;

    buf_init(&labels, 512);
    buf_fmt(&labels, "list=\"%.*s\"", STR_ARG(dnsbl_public_zone(list->zone)));
    metric_add(metric_gauge("smtpguard_dnsbl_off", help, buf_z(&labels)), off ? 1 : -1);
    buf_fini(&labels);
}

void service_tell_lists(struct service *service)
{
    const struct dnsbl_settings *lists = &service->config->dnsbl;
    int64_t now_ms = loop_now_ms(service->loop);

    for (size_t i = 0; i < lists->lists_count; i++) {
        bool off = !service->retired && dnsbl_health_illness(service->health, i, now_ms) != NULL;

        if (off != service->lists_off[i])
            tell_list(&lists->lists[i], off);
        service->lists_off[i] = off;
    }
}

struct service *service_new(struct loop *loop, const struct service_parts *parts, struct fail *fail)
{
    const struct config *config = parts->config;
    struct dns_settings dns_settings = config->dns;
    struct service *service;
    struct arena *mem;
    struct dns *dns;

    dns_settings.canary = config->hostname; /* whether it exists or not: it must be answered */
    dns = resolver_new(loop, &dns_settings, fail);
    if (dns == NULL)
        return NULL;
    mem = arena_new(0);
    service = ARENA_NEW(mem, struct service);
    *service = (struct service){.loop = loop,
                                .clock = clock_system(),
                                .config = config_ref(config),
                                .dns = dns,
                                .store = parts->store,
                                .journal = parts->journal,
                                .keeper = parts->keeper,
                                .clients = parts->clients,
                                .told = parts->told,
                                .mem = mem};
    buf_init(&service->record, DECISION_BYTES_MAX);
    service->tls_server = parts->tls_server != NULL ? tls_context_ref(parts->tls_server) : NULL;
    service->keyring = parts->keyring != NULL ? dkim_keyring_ref(parts->keyring) : NULL;
    service->keys = dkim_keys_new(DKIM_KEYS, service->clock);
    service->health = dnsbl_health_new(mem, config->dnsbl.lists, config->dnsbl.lists_count);
    service->lists_off = ARENA_ARRAY(mem, bool, config->dnsbl.lists_count);
    service->backends =
        backends_new(&(struct backends_parts){loop, config, parts->tls_client, parts->partials, dns});
    service->hearing = hearing_new(service->backends);
    service->failures = failures_new(loop, config, dns, parts->store, service->keyring);
    start_watching(service);
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
    s->retired = true;
    service_tell_lists(s);
    failures_free(&s->failures);
    hearing_free(&s->hearing);
    backends_free(&s->backends);
    dnsbl_selftest_stop(&s->selftest);
    signing_watch_stop(&s->signing);
    resolver_free(&s->dns);
    dkim_keys_free(&s->keys);
    tls_context_unref(&s->tls_server);
    dkim_keyring_unref(&s->keyring);
    config_unref(&s->config);
    buf_fini(&s->record);
    arena_free(&mem);
}
