#include "grey/book.h"

#include <string.h>

/* ---- names ---- */

static bool is_domain(struct str name)
{
    for (size_t i = 0; i < name.n; i++)
        if (!ascii_is_alnum(name.p[i]) && name.p[i] != '.' && name.p[i] != '-' && name.p[i] != '_')
            return false;
    return name.n > 0 && str_has(name, '.');
}

static int name_network(struct arena *mem, const struct grey_settings *settings, struct str name,
                        const char **identity_out, struct fail *fail)
{
    struct net net;
    unsigned bits;

    if (ip_parse(name, &net.ip)) {
        *identity_out = grey_network_identity(mem, settings, &net.ip);
        return 1;
    }
    if (net_parse(name, &net, fail) != 0)
        return -1;
    bits = net.ip.family == 4 ? settings->ipv4_prefix : settings->ipv6_prefix;
    *identity_out = grey_network_identity(mem, settings, &net.ip);
    return net.bits == bits ? 1
                            : fail_set(fail,
                                       "clients are known by networks of /%u; for other networks there is "
                                       "greylist.allow in the settings",
                                       bits);
}

static int name_domain(struct arena *mem, struct str name, const char **identities_out)
{
    const char *domain = str_dup_lower(mem, name);

    identities_out[0] = str_fmt(mem, "spf:%s", domain);
    identities_out[1] = str_fmt(mem, "host:%s", domain);
    return str_eq(grey_owner_domain(str_of(domain)), str_of(domain)) ? 2 : 1;
}

int grey_book_names(struct arena *mem, const struct grey_settings *settings, struct str name,
                    const char *identities_out[GREY_BOOK_NAMES_MAX], struct fail *fail)
{
    if (str_starts_same(name, STR("net:")))
        return name_network(mem, settings, str_from(name, 4), identities_out, fail);
    if (str_starts_same(name, STR("spf:")) || str_starts_same(name, STR("host:"))) {
        identities_out[0] = str_dup_lower(mem, name);
        return 1;
    }
    if (str_has(name, '/') || ip_parse(name, &(struct ip){0}))
        return name_network(mem, settings, name, identities_out, fail);
    if (is_domain(name))
        return name_domain(mem, name, identities_out);
    return fail_set(fail,
                    "\"%.*s\" names no client: an address, a network, a domain, or spf:…, host:…, net:…",
                    STR_ARG(name));
}

/* ---- reading ---- */

struct reading {
    const struct grey_settings *settings;
    const char *identity;
    int64_t now_unix;
    grey_book_each_fn *each;
    void *arg;
};

static enum grey_book_state state_of(const struct grey_settings *settings,
                                     const struct grey_book_entry *entry)
{
    const struct grey_deliveries *client = &entry->memory.client;

    if (entry->is_triple)
        return entry->memory.triple.passed_unix == 0 ? GREY_BOOK_WAITING : GREY_BOOK_PASSED;
    if (client->allowed)
        return GREY_BOOK_ALLOWED;
    return settings->allow_after > 0 && client->count >= settings->allow_after ? GREY_BOOK_TRUSTED
                                                                               : GREY_BOOK_COUNTED;
}

/* Sooner than the store deletes it (grey/policy.c). */
static int64_t until_of(const struct grey_settings *settings, const struct grey_book_entry *entry)
{
    switch (entry->state) {
    case GREY_BOOK_WAITING:
        return entry->memory.triple.first_unix + settings->window_s;
    case GREY_BOOK_PASSED:
        return entry->memory.triple.last_unix + settings->keep_s;
    case GREY_BOOK_ALLOWED:
        return 0;
    default:
        return entry->memory.client.last_unix + settings->keep_s;
    }
}

static bool on_row(struct str key, struct str value, int64_t expires_unix, void *arg)
{
    const struct reading *reading = arg;
    struct grey_book_entry entry = {.key = key};
    struct str addresses;
    bool fine;

    (void)expires_unix;
    entry.is_triple = str_cut(key, '\0', &entry.client, &addresses);
    str_cut(addresses, '\0', &entry.sender, &entry.recipient);
    if (reading->identity != NULL && !str_eq_z(entry.client, reading->identity))
        return true; /* example.org's prefix is also example.org.uk's */
    fine = entry.is_triple ? grey_unpack_triple(value, &entry.memory.triple)
                           : grey_unpack_deliveries(value, &entry.memory.client);
    if (!fine)
        return true;
    entry.state = state_of(reading->settings, &entry);
    entry.until_unix = until_of(reading->settings, &entry);
    return (entry.until_unix != 0 && entry.until_unix <= reading->now_unix) ||
           reading->each(&entry, reading->arg);
}

int grey_book_each(struct store *store, const struct grey_settings *settings, const char *identity,
                   int64_t now_unix, grey_book_each_fn *each, void *arg, struct fail *fail)
{
    struct reading reading = {settings, identity, now_unix, each, arg};

    return store_each(store, GREY_TABLE, str_of(identity), on_row, &reading, fail);
}

/* ---- changing ---- */

struct change {
    struct grey_rules rules;
    int64_t now_unix;
    bool is_triple;
    struct grey_memory memory;
};

static void begin(struct store *store, struct loop *loop, struct str key, store_change_fn *change,
                  const struct change *question, store_done_fn *done, void *arg)
{
    struct store_request request = {.table = GREY_TABLE,
                                    .keys = {key},
                                    .keys_count = 1,
                                    .change = change,
                                    .question = question,
                                    .question_bytes = sizeof(*question),
                                    .result_bytes = sizeof(bool)};

    store_update(store, loop, &request, done, arg);
}

/* Allowed twice is allowed since the first time. */
static void change_to_allowed(struct arena *mem, const void *question, struct store_row *rows, size_t count,
                              void *result)
{
    struct grey_deliveries client;
    struct change change;

    (void)count;
    memcpy(&change, question, sizeof(change));
    grey_unpack_deliveries(rows[0].value, &client);
    *(bool *)result = !client.allowed;
    if (!client.allowed)
        rows[0] = grey_pack_deliveries(mem, &change.rules, &change.memory.client);
}

void grey_book_allow(struct store *store, struct loop *loop, const char *identity, int64_t now_unix,
                     store_done_fn *done, void *arg)
{
    struct change change = {.memory.client = {.counted_unix = now_unix, .allowed = true}};
    struct arena *mem = arena_new(0);

    begin(store, loop, grey_client_key(mem, identity), change_to_allowed, &change, done, arg);
    arena_free(&mem);
}

static void change_to_none(struct arena *mem, const void *question, struct store_row *rows, size_t count,
                           void *result)
{
    (void)mem, (void)question, (void)count;
    *(bool *)result = rows[0].value.n > 0;
    rows[0].value = (struct str){0};
}

void grey_book_forget(struct store *store, struct loop *loop, struct str key, store_done_fn *done, void *arg)
{
    begin(store, loop, key, change_to_none, &(struct change){0}, done, arg);
}

static int64_t later_of(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* First seen is when the first of both saw it; passed is when either did. */
static void merge_triple(struct grey_triple *kept, const struct grey_triple *other)
{
    if (kept->first_unix == 0) {
        *kept = *other;
        return;
    }
    if (other->first_unix < kept->first_unix)
        kept->first_unix = other->first_unix;
    if (kept->passed_unix == 0)
        kept->passed_unix = other->passed_unix;
    kept->last_unix = later_of(kept->last_unix, other->last_unix);
}

static void merge_client(struct grey_deliveries *kept, const struct grey_deliveries *other)
{
    if (kept->allowed)
        return;
    if (other->count > kept->count) {
        kept->count = other->count;
        kept->counted_unix = other->counted_unix;
    }
    kept->last_unix = later_of(kept->last_unix, other->last_unix);
}

static void change_to_merged(struct arena *mem, const void *question, struct store_row *rows, size_t count,
                             void *result)
{
    struct grey_memory memory;
    struct store_row merged;
    struct change change;

    (void)count;
    memcpy(&change, question, sizeof(change));
    if (change.is_triple) {
        grey_unpack_triple(rows[0].value, &memory.triple);
        merge_triple(&memory.triple, &change.memory.triple);
        merged = grey_pack_triple(mem, &change.rules, &memory.triple);
    } else {
        grey_unpack_deliveries(rows[0].value, &memory.client);
        merge_client(&memory.client, &change.memory.client);
        merged = grey_pack_deliveries(mem, &change.rules, &memory.client);
    }
    *(bool *)result = !str_eq(merged.value, rows[0].value) &&
                      (merged.expires_unix == 0 || merged.expires_unix > change.now_unix);
    if (*(bool *)result)
        rows[0] = merged;
}

void grey_book_merge(struct store *store, struct loop *loop, const struct grey_settings *settings,
                     struct str key, bool is_triple, const struct grey_memory *memory, int64_t now_unix,
                     store_done_fn *done, void *arg)
{
    struct change change = {
        .rules = grey_rules_of(settings), .now_unix = now_unix, .is_triple = is_triple, .memory = *memory};

    begin(store, loop, key, change_to_merged, &change, done, arg);
}

/* ---- words ---- */

const char *grey_book_state_name(enum grey_book_state state)
{
    static const char *const names[GREY_BOOK_STATES] = {"waiting", "passed", "counted", "trusted", "allowed"};

    return names[state];
}
