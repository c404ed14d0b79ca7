#include "config/loading.h"

#include "base/bug.h"
#include "config/suggest.h"
#include "config/value.h"
#include "store/redis_url.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RECORDS_MAX = 100, SERVERS_MAX = 8, SHOWN_MAX = 80, UNIX_PATH_MAX = 107 };

#define SHOWN(text) STR_ARG(str_upto((text), SHOWN_MAX))

/* One key that is being filled: the row, its name in messages, the value, and the struct it goes to. */
struct slot {
    const struct setting *row;
    const char *path;
    const struct yaml_node *node;
    unsigned char *base;
};

typedef void fill_fn(struct loading *l, const struct slot *slot);

#define wrong(l, slot, node, ...) wrong_at((l), (slot), &(node)->at, __VA_ARGS__)
static void wrong_at(struct loading *l, const struct slot *slot, const struct place *at, const char *format,
                     ...) __attribute__((format(printf, 4, 5)));

static void wrong_at(struct loading *l, const struct slot *slot, const struct place *at, const char *format,
                     ...)
{
    struct fail fail;
    va_list args;

    va_start(args, format);
    vsnprintf(fail.text, sizeof(fail.text), format, args);
    va_end(args);
    fault_at(&l->faults, at, "%s: %s", slot->path, fail.text);
}

/* ---- storing ---- */

static void store_number(const struct slot *slot, size_t offset, size_t bytes, int64_t value)
{
    int32_t narrow = (int32_t)value;
    bool flag = value != 0;

    if (bytes == sizeof(flag))
        memcpy(slot->base + offset, &flag, sizeof(flag));
    else if (bytes == sizeof(narrow)) /* int, unsigned and enums: the limits of the table fit them */
        memcpy(slot->base + offset, &narrow, sizeof(narrow));
    else if (bytes == sizeof(value))
        memcpy(slot->base + offset, &value, sizeof(value));
    else if (bytes != 0)
        bug("%s has a place of %zu bytes", slot->row->key, bytes);
}

static void store(const struct slot *slot, int64_t value)
{
    store_number(slot, slot->row->at.offset, slot->row->at.bytes, value);
}

static void store_pointer(const struct slot *slot, size_t offset, const void *pointer)
{
    memcpy(slot->base + offset, &pointer, sizeof(pointer));
}

static void store_text(struct loading *l, const struct slot *slot, struct str text)
{
    if (slot->row->at.bytes == sizeof(char *))
        store_pointer(slot, slot->row->at.offset, str_dup(l->mem, text));
}

static void store_list(const struct slot *slot, const void *elements, size_t count)
{
    store_pointer(slot, slot->row->at.offset, elements);
    memcpy(slot->base + slot->row->second, &count, sizeof(count));
}

/* ---- limits ---- */

typedef int measure_fn(struct str text, int64_t *value_out, struct fail *fail);

/* The limits of the table are text of the same type, so that they read the same in every message. */
static bool within(struct loading *l, const struct slot *slot, measure_fn *measure, int64_t value)
{
    const struct setting *row = slot->row;
    int64_t least = INT64_MIN, most = INT64_MAX;

    if ((row->least != NULL && measure(str_of(row->least), &least, NULL) < 0) ||
        (row->most != NULL && measure(str_of(row->most), &most, NULL) < 0))
        bug("%s has a limit that is none", row->key);
    if (value >= least && value <= most)
        return true;
    if (least == most)
        wrong(l, slot, slot->node, "\"%.*s\" is not known; %s is allowed", SHOWN(slot->node->text),
              row->least);
    else
        wrong(l, slot, slot->node, "\"%.*s\" is too %s; %s to %s is allowed", SHOWN(slot->node->text),
              value < least ? "little" : "much", row->least, row->most);
    return false;
}

static bool measured(struct loading *l, const struct slot *slot, measure_fn *measure, int64_t *value_out)
{
    struct fail fail;

    if (measure(slot->node->text, value_out, &fail) == 0)
        return within(l, slot, measure, *value_out);
    wrong(l, slot, slot->node, "%s", fail.text);
    return false;
}

/* ---- single values ---- */

static bool word_fits(const struct word *word, struct str text)
{
    struct str own = str_of(word->text);

    return own.p[own.n - 1] == ':' ? str_starts(text, own) && text.n > own.n : str_eq(text, own);
}

static void complain_word(struct loading *l, const struct slot *slot)
{
    struct suggestion near;
    struct buf allowed;

    buf_init(&allowed, 512);
    suggest_begin(&near, slot->node->text);
    for (const struct word *word = slot->row->words; word->text != NULL; word++) {
        suggest_try(&near, word->text);
        if (!word->later)
            buf_fmt(&allowed, "%s%s", allowed.n > 0 ? ", " : "", word->text);
    }
    wrong(l, slot, slot->node, "\"%.*s\" is not known; allowed: %s%s", SHOWN(slot->node->text),
          buf_z(&allowed), suggest_text(l->mem, &near));
    buf_fini(&allowed);
}

static void complain_later(struct loading *l, const struct slot *slot)
{
    wrong(l, slot, slot->node, "%s is not built yet; leave it at its default, %s", slot->row->later,
          *slot->row->standard != '\0' ? slot->row->standard : "empty");
}

static void fill_word(struct loading *l, const struct slot *slot)
{
    for (const struct word *word = slot->row->words; word->text != NULL; word++) {
        if (!word_fits(word, slot->node->text))
            continue;
        if (word->later)
            complain_later(l, slot);
        store(slot, word->value);
        return;
    }
    complain_word(l, slot);
}

static void fill_bool(struct loading *l, const struct slot *slot)
{
    struct fail fail;
    bool value;

    if (value_bool(slot->node->text, &value, &fail) < 0)
        wrong(l, slot, slot->node, "%s", fail.text);
    else
        store(slot, value);
}

static void fill_number(struct loading *l, const struct slot *slot)
{
    int64_t value;

    if (measured(l, slot, value_number, &value))
        store(slot, value);
}

static void fill_workers(struct loading *l, const struct slot *slot)
{
    int64_t value;

    if (str_eq_z(slot->node->text, "auto"))
        store(slot, 0);
    else if (value_number(slot->node->text, &value, NULL) < 0)
        wrong(l, slot, slot->node, "\"%.*s\" is not a number or auto", SHOWN(slot->node->text));
    else if (within(l, slot, value_number, value))
        store(slot, value);
}

static void fill_duration(struct loading *l, const struct slot *slot)
{
    int64_t ms;

    if (measured(l, slot, value_duration_ms, &ms))
        store(slot, ms);
}

static void fill_seconds(struct loading *l, const struct slot *slot)
{
    int64_t ms;

    if (!measured(l, slot, value_duration_ms, &ms))
        return;
    if (ms % 1000 != 0)
        wrong(l, slot, slot->node, "\"%.*s\" is not in whole seconds", SHOWN(slot->node->text));
    store(slot, ms / 1000);
}

static void fill_size(struct loading *l, const struct slot *slot)
{
    int64_t bytes;

    if (measured(l, slot, value_bytes, &bytes))
        store(slot, bytes);
}

static void fill_rate(struct loading *l, const struct slot *slot)
{
    int64_t count, ms, least, most, least_ms, most_ms;
    struct fail fail;

    if (value_rate(slot->node->text, &count, &ms, &fail) < 0) {
        wrong(l, slot, slot->node, "%s", fail.text);
        return;
    }
    if (value_rate(str_of(slot->row->least), &least, &least_ms, NULL) < 0 ||
        value_rate(str_of(slot->row->most), &most, &most_ms, NULL) < 0)
        bug("%s has a limit that is none", slot->row->key);
    if (count < least || count > most || ms < least_ms || ms > most_ms)
        wrong(l, slot, slot->node, "\"%.*s\" is outside %s to %s", SHOWN(slot->node->text), slot->row->least,
              slot->row->most);
    store(slot, count);
    store_number(slot, slot->row->second, sizeof(int64_t), ms);
}

static void fill_time(struct loading *l, const struct slot *slot)
{
    struct fail fail;

    int64_t at_s;

    if (value_time_of_day(slot->node->text, &at_s, &fail) < 0)
        wrong(l, slot, slot->node, "%s", fail.text);
    else
        store(slot, at_s);
}

static void fill_text(struct loading *l, const struct slot *slot)
{
    uint64_t most = 4095; /* of a path, for the kernel */

    if (slot->row->most != NULL && !str_to_u64(str_of(slot->row->most), UINT64_MAX, &most))
        bug("%s has a limit that is none", slot->row->key);
    if (slot->node->text.n > most)
        wrong(l, slot, slot->node, "longer than %llu letters", (unsigned long long)most);
    store_text(l, slot, slot->node->text);
}

static void fill_name(struct loading *l, const struct slot *slot)
{
    struct str text = slot->node->text;

    for (size_t i = 0; i < text.n; i++)
        if (!ascii_is_alnum(text.p[i]) && !str_has(STR("-_."), text.p[i])) {
            wrong(l, slot, slot->node,
                  "\"%.*s\" is not a word of letters, digits, hyphens, dots and underscores", SHOWN(text));
            return;
        }
    if (text.n == 0)
        wrong(l, slot, slot->node, "a word is wanted");
    fill_text(l, slot);
}

static void fill_domain(struct loading *l, const struct slot *slot)
{
    struct fail fail;
    const char *name;

    if (value_domain(l->mem, slot->node->text, &name, &fail) < 0)
        wrong(l, slot, slot->node, "%s", fail.text);
    else if (slot->row->type == SET_HOSTNAME && strchr(name, '.') == NULL)
        wrong(l, slot, slot->node, "\"%s\" is not a full name; write it with its domain, as mx1.example.net",
              name);
    else
        store_text(l, slot, str_of(name));
}

static void fill_authserv_id(struct loading *l, const struct slot *slot)
{
    struct fail fail;

    if (value_authserv_id(slot->node->text, &fail) < 0)
        wrong(l, slot, slot->node, "%s", fail.text);
    store_text(l, slot, slot->node->text);
}

static void fill_store_url(struct loading *l, const struct slot *slot)
{
    struct str text = slot->node->text;

    struct redis_url url;
    struct fail fail = {0};

    if (redis_url_is(text)) {
        if (redis_url_parse(l->mem, text, &url, &fail) != 0)
            wrong(l, slot, slot->node, "%s", fail.text);
    } else if (!str_starts(text, STR("sqlite:")) || text.n == strlen("sqlite:")) {
        wrong(l, slot, slot->node, "\"%.*s\" is not a store; write sqlite:PATH or redis://HOST:PORT",
              SHOWN(text));
    }
    fill_text(l, slot);
}

static void fill_endpoint(struct loading *l, const struct slot *slot)
{
    struct endpoint endpoint = {0};
    struct fail fail;

    if (slot->row->type == SET_HTTP && slot->node->text.n == 0)
        return;
    if (value_endpoint(slot->node->text, 0, &endpoint, &fail) < 0)
        wrong(l, slot, slot->node, "%s", fail.text);
    else if (slot->row->type == SET_BACKEND && ip_is_any(&endpoint.ip))
        wrong(l, slot, slot->node, "\"%.*s\" is no address that one can connect to", SHOWN(slot->node->text));
    memcpy(slot->base + slot->row->at.offset, &endpoint, sizeof(endpoint));
}

static void fill_path(struct loading *l, const struct slot *slot, struct str path)
{
    struct backend_settings *backend = (struct backend_settings *)slot->base;

    if (path.n == 0 || path.p[0] != '/' || path.n > UNIX_PATH_MAX)
        wrong(l, slot, slot->node, "\"%.*s\": a path begins with / and has %d octets at most",
              SHOWN(slot->node->text), UNIX_PATH_MAX);
    backend->path = str_dup(l->mem, path);
}

/* "mail.example.net:25". What has no letter is meant to be an address. */
static bool is_host(struct str text)
{
    for (size_t i = 0; i < text.n && text.p[i] != ':'; i++)
        if (text.p[i] == '[')
            return false;
        else if (isalpha((unsigned char)text.p[i]))
            return str_has(text, ':');
    return false;
}

static void fill_host(struct loading *l, const struct slot *slot)
{
    struct backend_settings *backend = (struct backend_settings *)slot->base;
    struct str host, port;
    struct fail fail;
    uint64_t number = 0;

    str_cut(slot->node->text, ':', &host, &port);
    if (value_domain(l->mem, host, &backend->host, &fail) < 0)
        wrong(l, slot, slot->node, "%s", fail.text);
    else if (!str_to_u64(port, UINT16_MAX, &number) || number == 0)
        wrong(l, slot, slot->node, "\"%.*s\": a port is 1 to 65535", SHOWN(slot->node->text));
    backend->endpoint.port = (uint16_t)number;
}

static void fill_backend(struct loading *l, const struct slot *slot)
{
    struct str text = slot->node->text;

    store_pointer(slot, slot->row->second, str_dup(l->mem, text));
    if (str_starts(text, STR("unix:")))
        fill_path(l, slot, str_from(text, strlen("unix:")));
    else if (is_host(text))
        fill_host(l, slot);
    else
        fill_endpoint(l, slot);
}

/* ---- lists ---- */

static void fill_servers(struct loading *l, const struct slot *slot)
{
    struct endpoint *servers = ARENA_ARRAY(l->mem, struct endpoint, slot->node->count);
    struct fail fail;
    size_t n = 0;

    for (const struct yaml_node *item = slot->node->first; item != NULL; item = item->next)
        if (value_endpoint(item->text, 53, &servers[n++], &fail) < 0)
            wrong(l, slot, item, "%s", fail.text);
    if (n > SERVERS_MAX)
        wrong(l, slot, slot->node, "more than %d servers", SERVERS_MAX);
    store_list(slot, servers, n);
}

static void fill_networks(struct loading *l, const struct slot *slot)
{
    struct net *nets = ARENA_ARRAY(l->mem, struct net, slot->node->count);
    struct net_list list = {nets, slot->node->count};
    struct fail fail;
    size_t n = 0;

    for (const struct yaml_node *item = slot->node->first; item != NULL; item = item->next)
        if (net_parse(str_upto(item->text, SHOWN_MAX), &nets[n++], &fail) < 0)
            wrong(l, slot, item, "%s", fail.text);
    memcpy(slot->base + slot->row->at.offset, &list, sizeof(list));
}

static void fill_texts(struct loading *l, const struct slot *slot)
{
    const char **texts = ARENA_ARRAY(l->mem, const char *, slot->node->count + 1);
    size_t n = 0;

    for (const struct yaml_node *item = slot->node->first; item != NULL; item = item->next)
        texts[n++] = str_dup(l->mem, item->text);
    if (slot->row->at.bytes != 0)
        store_list(slot, texts, n);
}

static void fill_codes(struct loading *l, const struct slot *slot)
{
    struct dnsbl_codes *codes = ARENA_ARRAY(l->mem, struct dnsbl_codes, slot->node->count);
    struct fail fail;
    size_t n = 0;

    if (slot->node->count == 0)
        wrong(l, slot, slot->node,
              "is empty; write the answers that are a listing, as [127.0.0.2-127.0.0.11]");
    for (const struct yaml_node *item = slot->node->first; item != NULL; item = item->next, n++)
        if (value_codes(item->text, &codes[n].first, &codes[n].last, &fail) < 0)
            wrong(l, slot, item, "%s", fail.text);
    store_list(slot, codes, n);
}

static bool parse_pin(struct str text, struct tls_pin *pin_out)
{
    if (text.n != 2 * sizeof(pin_out->sha256))
        return false;
    for (size_t i = 0; i < text.n; i++)
        if (!isxdigit((unsigned char)text.p[i]))
            return false;
    for (size_t i = 0; i < sizeof(pin_out->sha256); i++) {
        const char digits[] = {text.p[2 * i], text.p[2 * i + 1], '\0'};

        pin_out->sha256[i] = (uint8_t)strtoul(digits, NULL, 16);
    }
    return true;
}

static void fill_pins(struct loading *l, const struct slot *slot)
{
    struct tls_pin *pins = ARENA_ARRAY(l->mem, struct tls_pin, slot->node->count + 1);
    size_t n = 0;

    for (const struct yaml_node *item = slot->node->first; item != NULL; item = item->next)
        if (!parse_pin(item->text, &pins[n++]))
            wrong(l, slot, item, "\"%.*s\" is no SHA-256: 64 hex digits are wanted", SHOWN(item->text));
    store_list(slot, pins, n);
}

static void fill_nothing(struct loading *l, const struct slot *slot)
{
    (void)l;
    (void)slot;
}

/* ---- every key ---- */

static fill_fn fill_records;

static const struct {
    fill_fn *fill;
    const char *wanted;
} kinds[] = {
    [SET_WORD] = {fill_word, "a word"},
    [SET_BOOL] = {fill_bool, "true or false"},
    [SET_NUMBER] = {fill_number, "a number"},
    [SET_WORKERS] = {fill_workers, "a number or auto"},
    [SET_DURATION] = {fill_duration, "a duration such as 300s"},
    [SET_SECONDS] = {fill_seconds, "a duration such as 300s"},
    [SET_SIZE] = {fill_size, "a size such as 25M"},
    [SET_RATE] = {fill_rate, "a rate such as 60/1m"},
    [SET_TIME] = {fill_time, "a time such as \"00:30\""},
    [SET_TEXT] = {fill_text, "text"},
    [SET_CIPHERS] = {fill_text, "text"},
    [SET_NAME] = {fill_name, "a word"},
    [SET_HOSTNAME] = {fill_domain, "a host name"},
    [SET_DOMAIN] = {fill_domain, "a domain name"},
    [SET_AUTHSERV_ID] = {fill_authserv_id, "a word"},
    [SET_PATH] = {fill_text, "a path"},
    [SET_STORE_URL] = {fill_store_url, "sqlite:PATH or redis://HOST:PORT"},
    [SET_LISTEN] = {fill_endpoint, "IP:PORT"},
    [SET_HTTP] = {fill_endpoint, "IP:PORT"},
    [SET_BACKEND] = {fill_backend, "IP:PORT, NAME:PORT or unix:PATH"},
    [SET_SERVERS] = {fill_servers, "a list of IP or IP:PORT"},
    [SET_NETWORKS] = {fill_networks, "a list of networks"},
    [SET_DOMAINS] = {fill_nothing, "a list of domains"},
    [SET_ALLOW] = {fill_nothing, "a list of networks, domains and file:PATH"},
    [SET_ALLOW_RECIPIENTS] = {fill_nothing, "a list of addresses, domains and file:PATH"},
    [SET_CODES] = {fill_codes, "a list of codes"},
    [SET_PINS] = {fill_pins, "a list"},
    [SET_TEXTS] = {fill_texts, "a list"},
    [SET_RECORDS] = {fill_records, "a list of {key: value, …}"},
};

/* Is the node of the form that the row wants: one value, a list of values, a list of maps? */
static bool has_form(struct loading *l, const struct slot *slot)
{
    const struct yaml_node *node = slot->node;
    bool list = setting_is_list(slot->row) || slot->row->type == SET_RECORDS, fine = true;
    enum yaml_kind inner = slot->row->type == SET_RECORDS ? YAML_MAP : YAML_SCALAR;

    if (node->kind == YAML_BROKEN)
        return false;
    if (node->kind != (list ? YAML_LIST : YAML_SCALAR) || yaml_is_null(node)) {
        wrong(l, slot, node, "%s is wanted, not %s", kinds[slot->row->type].wanted, yaml_kind_name(node));
        return false;
    }
    if (!node->plain && (setting_is_number(slot->row) || slot->row->type == SET_BOOL)) {
        wrong(l, slot, node, "%s is wanted, not text; write it without quotes",
              kinds[slot->row->type].wanted);
        return false;
    }
    for (const struct yaml_node *item = node->first; item != NULL; item = item->next) {
        if (item->kind == inner && !yaml_is_null(item))
            continue;
        fine = false;
        if (item->kind != YAML_BROKEN)
            wrong(l, slot, item, "%s is wanted, not one with %s in it", kinds[slot->row->type].wanted,
                  yaml_kind_name(item));
    }
    return fine;
}

static void remember(struct loading *l, const struct slot *slot)
{
    struct entry *entry = ARENA_NEW(l->mem, struct entry);

    *entry = (struct entry){slot->row, slot->path, slot->node, NULL};
    *l->end = entry;
    l->end = &entry->next;
}

static void fill_slot(struct loading *l, struct slot *slot)
{
    static const struct place nowhere;
    struct yaml_node *standard = NULL;

    if (slot->row->standard != NULL)
        standard = node_of_text(l->mem, slot->row, str_of(slot->row->standard), &nowhere);
    if (slot->node == NULL)
        slot->node = standard;
    remember(l, slot);
    if (slot->row->later != NULL && setting_is_list(slot->row) && slot->node->kind == YAML_LIST &&
        !yaml_same(slot->node, standard)) {
        complain_later(l, slot);
        return;
    }
    if (!has_form(l, slot))
        return;
    kinds[slot->row->type].fill(l, slot);
    if (slot->row->later != NULL && slot->row->words == NULL && !yaml_same(slot->node, standard))
        complain_later(l, slot);
}

/* "aggregate.at" below a map. */
static const struct yaml_node *find_below(const struct yaml_node *map, struct str key)
{
    struct str segment;
    bool more;

    do {
        more = str_cut(key, '.', &segment, &key);
        map = yaml_get(map, segment);
    } while (more && map != NULL);
    return map;
}

/* All rows whose key is `prefix` and something: their values come from `map` and go to `base`. */
static void fill_rows(struct loading *l, const char *prefix, const char *path, const struct yaml_node *map,
                      void *base)
{
    for (size_t i = 0; i < settings_count; i++) {
        const struct setting *row = &settings[i];
        struct str rest = str_from(str_of(row->key), strlen(prefix));
        struct slot slot = {.row = row, .base = base};

        if (!str_starts(str_of(row->key), str_of(prefix)) || str_has(rest, '['))
            continue;
        slot.path = str_fmt(l->mem, "%s%.*s", path, STR_ARG(rest));
        slot.node = find_below(map, rest);
        if (slot.node != NULL || row->standard != NULL)
            fill_slot(l, &slot);
        else if (l->complete || *path != '\0')
            wrong_at(l, &slot, &map->at, "is missing; %s is wanted", kinds[row->type].wanted);
    }
}

static void fill_records(struct loading *l, const struct slot *slot)
{
    size_t bytes = slot->row->record_bytes, n = 0;
    unsigned char *records = arena_alloc_array(l->mem, slot->node->count, bytes);
    const char *prefix = str_fmt(l->mem, "%s[].", slot->row->key);

    if (slot->node->count > RECORDS_MAX) {
        wrong(l, slot, slot->node, "more than %d elements", RECORDS_MAX);
        return;
    }
    for (const struct yaml_node *item = slot->node->first; item != NULL; item = item->next, n++)
        fill_rows(l, prefix, str_fmt(l->mem, "%s[%zu].", slot->path, n), item, records + n * bytes);
    store_list(slot, records, n);
}

void fill_config(struct loading *l)
{
    if (l->root->kind != YAML_MAP) {
        fault_at(&l->faults, &l->root->at, "keys and values are wanted, not %s", yaml_kind_name(l->root));
        return;
    }
    refuse_unknown(l, l->root, "");
    fill_rows(l, "", "", l->root, l->config);
}
