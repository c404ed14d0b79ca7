#include "proxy/backends.h"

#include "base/bug.h"
#include "base/log.h"
#include "proxy/link.h"

#include <stdio.h>
#include <stdlib.h>

enum { BACKOFF_FIRST_MS = 1000, BACKOFF_MOST_MS = 60000 };

struct backends {
    struct loop *loop;
    struct partials *partials;
    struct dns *dns;
    struct tls_context *tls;
    struct backend *list;
    size_t count;
};

/* NULL when the authorities can no longer be read: then the backend gets nothing, and its links say why. */
static struct tls_context *context_for(const struct backends *b, const struct backend_settings *settings)
{
    struct tls_client_settings wanted = config_backend_tls(settings);
    struct tls_context *context;
    struct fail fail;

    if (wanted.verify == TLS_VERIFY_NOTHING)
        return b->tls != NULL ? tls_context_ref(b->tls) : NULL;
    context = tls_verifying_context(&wanted, &fail);
    if (context == NULL)
        log_note(LOG_ERROR, "backend.tls", "%s: %s", settings->address, fail.text);
    return context;
}

static void init_backend(struct backends *b, const struct config *config, size_t number)
{
    const struct backend_settings *settings = &config->backends[number];
    char labels[128];

    b->list[number] = (struct backend){.settings = settings,
                                       .number = number,
                                       .loop = b->loop,
                                       .dns = b->dns,
                                       .hostname = config->hostname,
                                       .tls = context_for(b, settings)};
    snprintf(labels, sizeof(labels), "address=\"%s\"", settings->address);
    b->list[number].up = metric_gauge("smtpguard_upstream_up",
                                      "1 while the backend could be reached at the last try.", labels);
    b->list[number].opened =
        metric_counter("smtpguard_upstream_opened_total", "Connections opened to the backend.", labels);
    metric_set(b->list[number].up, 1);
}

struct backends *backends_new(const struct backends_parts *parts)
{
    const struct config *config = parts->config;
    struct backends *b = calloc(1, sizeof(*b));

    if (b == NULL || (b->list = calloc(config->backends_count, sizeof(*b->list))) == NULL)
        out_of_memory();
    b->loop = parts->loop;
    b->partials = parts->partials;
    b->dns = parts->dns;
    b->tls = parts->tls != NULL ? tls_context_ref(parts->tls) : NULL;
    b->count = config->backends_count;
    for (size_t i = 0; i < b->count; i++)
        init_backend(b, config, i);
    return b;
}

void backends_free(struct backends **backends)
{
    struct backends *b = *backends;

    if (b == NULL)
        return;
    *backends = NULL;
    for (size_t i = 0; i < b->count; i++) {
        while (b->list[i].pool != NULL)
            link_close(&(struct link *){b->list[i].pool});
        while (b->list[i].resetting != NULL)
            link_close(&(struct link *){b->list[i].resetting});
        tls_context_unref(&b->list[i].tls);
    }
    tls_context_unref(&b->tls);
    free(b->list);
    free(b);
}

struct loop *backends_loop(const struct backends *backends)
{
    return backends->loop;
}

struct partials *backends_partials(const struct backends *backends)
{
    return backends->partials;
}

size_t backends_count(const struct backends *backends)
{
    return backends->count;
}

/* Left out: who is asked to prove himself by other means than words would be us (EXTERNAL), and a TLS channel
 * that ends here cannot be proven at its other end (RFC 5802 6). */
static bool passes_through(struct str mechanism)
{
    return !str_same_z(mechanism, "EXTERNAL") && !str_ends_same(mechanism, STR("-PLUS"));
}

static bool takes_logins(const struct backend *backend)
{
    return backend->is_known && backend->is_private && backend->capabilities.auth[0] != '\0';
}

static bool all_take(const struct backends *backends, struct str mechanism)
{
    for (size_t i = 0; i < backends->count; i++)
        if (takes_logins(&backends->list[i]) &&
            !smtp_capabilities_has_auth(&backends->list[i].capabilities, mechanism))
            return false;
    return true;
}

static void offer_auth(const struct backends *backends, char auth[SMTP_CAPABILITY_AUTH_MAX])
{
    size_t i = 0, n = 0;
    struct str rest, word;

    while (i < backends->count && !takes_logins(&backends->list[i]))
        i++;
    rest = str_of(i < backends->count ? backends->list[i].capabilities.auth : "");
    auth[0] = '\0';
    while (rest.n > 0) {
        str_cut(rest, ' ', &word, &rest);
        if (passes_through(word) && all_take(backends, word))
            n += (size_t)snprintf(auth + n, SMTP_CAPABILITY_AUTH_MAX - n, "%s%.*s", n > 0 ? " " : "",
                                  STR_ARG(word));
    }
}

struct backends_offer backends_offer(const struct backends *backends)
{
    struct backends_offer offer = {
        .eightbitmime = true, .smtputf8 = true, .dsn = true, .binarymime = true, .requiretls = true};

    for (size_t i = 0; i < backends->count; i++) {
        const struct smtp_capabilities *can = &backends->list[i].capabilities;

        if (!backends->list[i].is_known)
            continue;
        offer.known = true;
        offer.eightbitmime = offer.eightbitmime && can->eightbitmime;
        offer.smtputf8 = offer.smtputf8 && can->smtputf8;
        offer.dsn = offer.dsn && can->dsn;
        offer.binarymime = offer.binarymime && can->binarymime && can->chunking;
        offer.requiretls = offer.requiretls && backends->list[i].keeps_requiretls;
        if (can->size_max > 0 && (offer.size_max == 0 || can->size_max < offer.size_max))
            offer.size_max = can->size_max;
        if (can->rcpt_max > 0 && (offer.rcpt_max == 0 || can->rcpt_max < offer.rcpt_max))
            offer.rcpt_max = can->rcpt_max;
    }
    offer.smtputf8 = offer.smtputf8 && offer.known;
    offer.dsn = offer.dsn && offer.known;
    offer.binarymime = offer.binarymime && offer.known;
    offer.requiretls = offer.requiretls && offer.known;
    offer_auth(backends, offer.auth);
    return offer;
}

static bool lacks_auth(const struct backend *backend, int64_t now_ms)
{
    return !takes_logins(backend) && backend->heard_ms + AUTH_ABSENT_MS <= now_ms;
}

static struct backend *find_unknown(const struct backends *backends, bool for_auth)
{
    int64_t now = loop_now_ms(backends->loop);

    for (size_t i = 0; i < backends->count; i++) {
        struct backend *backend = &backends->list[i];

        if ((!backend->is_known || (for_auth && lacks_auth(backend, now))) && backend->down_until_ms <= now)
            return backend;
    }
    return NULL;
}

struct backend *backends_unknown(const struct backends *backends)
{
    return find_unknown(backends, true);
}

struct backend *backends_unheard(const struct backends *backends)
{
    return find_unknown(backends, false);
}

static bool some_name(const struct backends *backends, struct str domain)
{
    for (size_t i = 0; i < backends->count; i++)
        if (domain_settings_has(&backends->list[i].settings->domains, domain))
            return true;
    return false;
}

static bool some_name_none(const struct backends *backends)
{
    for (size_t i = 0; i < backends->count; i++)
        if (backends->list[i].settings->domains.relay_count == 0)
            return true;
    return false;
}

bool backends_serve(const struct backends *backends, const struct backend *backend, struct str domain)
{
    const struct domain_settings *own = &backend->settings->domains;

    if (some_name(backends, domain))
        return domain_settings_has(own, domain);
    return some_name_none(backends) ? own->relay_count == 0 : domain.n == 0;
}

struct backend *backends_choose(struct backends *backends, bool *tried, struct str domain)
{
    int64_t now = loop_now_ms(backends->loop);

    for (int pass = 0; pass < 2; pass++)
        for (size_t i = 0; i < backends->count; i++) {
            bool is_healthy = backends->list[i].down_until_ms <= now;

            if (tried[i] || (pass == 0 && !is_healthy) ||
                !backends_serve(backends, &backends->list[i], domain))
                continue;
            tried[i] = true;
            return &backends->list[i];
        }
    return NULL;
}

void backend_failed(struct backend *backend, const char *why)
{
    int64_t wait = BACKOFF_FIRST_MS;

    for (unsigned i = 0; i < backend->failures && wait < BACKOFF_MOST_MS; i++)
        wait *= 2;
    if (backend->failures++ == 0) {
        metric_set(backend->up, 0);
        log_note(LOG_WARNING, "backend.down", "%s: %s", backend->settings->address, why);
    }
    if (wait > BACKOFF_MOST_MS)
        wait = BACKOFF_MOST_MS;
    /* Workers must not all come back in the same moment: between half and all of it. */
    backend->down_until_ms = loop_now_ms(backend->loop) + wait / 2 + random() % (wait / 2);
}

void backend_works(struct backend *backend)
{
    if (backend->failures == 0)
        return;
    backend->failures = 0;
    backend->down_until_ms = 0;
    metric_set(backend->up, 1);
    log_note(LOG_INFO, "backend.up", "%s is back", backend->settings->address);
}
