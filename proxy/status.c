#include "proxy/status.h"

#include "base/json.h"
#include "base/metric.h"
#include "dns/measure.h"
#include "proxy/decide.h"

#include <stdio.h>
#include <unistd.h>

static int64_t count_labelled(const char *metric, const char *label, const char *value)
{
    char labels[512];

    snprintf(labels, sizeof(labels), "%s=\"%s\"", label, value);
    return metric_value_of(metric, labels);
}

static void put_settings(struct json *json, const struct status *status)
{
    json_key(json, "settings");
    json_object(json);
    json_put_z(json, "file", status->config->file);
    json_put_int(json, "loaded", status->loaded_unix);
    json_put_bool(json, "last_reload_failed", status->reload_failed);
    json_object_end(json);
}

static void put_upgrade(struct json *json, const struct status *status)
{
    json_key(json, "upgrade");
    json_object(json);
    json_put_bool(json, "running", status->upgrading);
    json_put_z(json, "failed", status->upgrade_failed);
    json_object_end(json);
}

static void put_listeners(struct json *json, const struct config *config)
{
    struct arena *mem = arena_new(0);

    json_key(json, "listeners");
    json_array(json);
    for (size_t i = 0; i < config->listens_count; i++) {
        const struct listen_settings *listen = &config->listens[i];

        json_object(json);
        json_put_z(json, "name", listen->name);
        json_put_z(json, "address", endpoint_text(mem, &listen->address));
        json_put_z(json, "role", listen->role == ROLE_MX ? "mx" : "outbound");
        json_object_end(json);
    }
    json_array_end(json);
    arena_free(&mem);
}

static void put_census(struct json *json, const struct census *census)
{
    json_key(json, "now");
    json_object(json);
    for (size_t i = 0; i < census->count; i++)
        json_put_int(json, census->rows[i].moment, (int64_t)census->rows[i].sessions);
    json_object_end(json);
}

static void put_sessions(struct json *json, const struct census *census)
{
    json_key(json, "sessions");
    json_object(json);
    json_put_int(json, "open", metric_value_of("smtpguard_connections", ""));
    json_put_int(json, "begun", metric_value_of("smtpguard_connections_total", ""));
    json_put_int(json, "refused", metric_value_of("smtpguard_connections_refused_total", ""));
    put_census(json, census);
    json_object_end(json);
}

static void put_actions(struct json *json, const char *key, const char *metric)
{
    json_key(json, key);
    json_object(json);
    for (int i = ACTION_ACCEPT; i <= ACTION_DROP; i++) {
        const char *action = action_name((enum action)i);

        json_put_int(json, action, count_labelled(metric, "action", action));
    }
    json_object_end(json);
}

static void put_backends(struct json *json, const struct config *config)
{
    json_key(json, "backends");
    json_array(json);
    for (size_t i = 0; i < config->backends_count; i++) {
        const char *address = config->backends[i].address;

        json_object(json);
        json_put_z(json, "address", address);
        json_put_bool(json, "up", count_labelled("smtpguard_upstream_up", "address", address) != 0);
        json_put_int(json, "opened", count_labelled("smtpguard_upstream_opened_total", "address", address));
        json_object_end(json);
    }
    json_array_end(json);
}

static void put_store(struct json *json, const struct store *store)
{
    static const char *const sharing[] = {
        [STORE_SHARES_NOTHING] = "no", [STORE_SHARES] = "yes", [STORE_SHARES_LATER] = "away"};

    json_key(json, "store");
    json_object(json);
    json_put_bool(json, "available", store_is_available(store));
    json_put_z(json, "shared", sharing[store_sharing(store)]);
    json_object_end(json);
}

static void put_dns(struct json *json)
{
    json_key(json, "dns");
    json_object(json);
    json_put_int(json, "sick_workers", dns_measured_sick());
    json_object_end(json);
}

static void put_lists(struct json *json, const struct config *config)
{
    struct arena *mem = arena_new(0);

    json_key(json, "lists");
    json_array(json);
    for (size_t i = 0; config->dnsbl.mode != MODE_OFF && i < config->dnsbl.lists_count; i++) {
        const char *zone = str_dup(mem, dnsbl_public_zone(config->dnsbl.lists[i].zone));

        json_object(json);
        json_put_z(json, "zone", zone);
        json_put_bool(json, "off", count_labelled("smtpguard_dnsbl_off", "list", zone) != 0);
        json_object_end(json);
    }
    json_array_end(json);
    arena_free(&mem);
}

void status_write(const struct status *status, struct buf *out)
{
    struct json json;

    json_init(&json, out);
    json_object(&json);
    json_put_z(&json, "version", VERSION);
    json_put_z(&json, "hostname", status->config->hostname);
    json_put_int(&json, "pid", getpid());
    json_put_int(&json, "started", status->started_unix);
    json_put_int(&json, "uptime_s", status->now_unix - status->started_unix);
    json_put_bool(&json, "draining", status->draining);
    json_put_int(&json, "workers", (int64_t)status->workers);
    json_put_int(&json, "silent_workers", (int64_t)status->census->silent);
    put_settings(&json, status);
    put_upgrade(&json, status);
    put_listeners(&json, status->config);
    put_sessions(&json, status->census);
    put_actions(&json, "messages", "smtpguard_messages_total");
    put_actions(&json, "recipients", "smtpguard_recipients_total");
    put_backends(&json, status->config);
    put_store(&json, status->store);
    put_dns(&json);
    put_lists(&json, status->config);
    json_object_end(&json);
}
