#include "auth/dkim_keyring.h"

#include "auth/dkim_hosts.h"
#include "base/bug.h"

#include <stdatomic.h>
#include <string.h>

enum { KEYS_MAX = 1000 };

struct entry {
    const struct dkim_keyring_key *settings; /* NULL: of the tables */
    struct dkim_private *own;                /* of the settings' list */
    struct dkim_sign_key key;
    _Atomic int seen; /* enum dkim_published_state */
};

struct dkim_keyring {
    atomic_uint references;
    struct arena *mem;
    struct dkim_keyring_settings
        settings; /* its lists live in the settings' snapshot for the load only: copied */
    struct dkim_table *table;
    const struct dkim_hosts *hosts; /* NULL: no list */
    struct entry *entries;
    size_t count;
};

/* ---- loading ---- */

static const char *const *copy_texts(struct arena *mem, const char *const *texts, size_t count)
{
    const char **copy = ARENA_ARRAY(mem, const char *, count + 1);

    for (size_t i = 0; i < count; i++)
        copy[i] = str_dup(mem, str_of(texts[i]));
    return copy;
}

static void load_key(struct dkim_keyring *ring, const struct dkim_keyring_key *from, struct buf *faults,
                     struct buf *warnings)
{
    struct dkim_keyring_key *settings;
    struct entry *entry;
    const char *warning;
    struct fail fail;

    if (from->state == DKIM_KEY_REVOKED)
        return;
    entry = &ring->entries[ring->count++];
    settings = ARENA_NEW(ring->mem, struct dkim_keyring_key);
    *settings = *from;
    settings->match = copy_texts(ring->mem, from->match, from->match_count);
    entry->settings = settings;
    entry->key.domain = str_dup_lower(ring->mem, str_of(from->domain));
    entry->key.selector = str_dup_lower(ring->mem, str_of(from->selector));
    entry->own = dkim_private_read(ring->mem, from->path, &warning, &fail);
    entry->key.key = entry->own;
    if (entry->own == NULL)
        buf_fmt(faults, "%s\n", fail.text);
    else if (warning != NULL)
        buf_fmt(warnings, "%s\n", warning);
}

static void load_tables(struct dkim_keyring *ring, struct buf *faults, struct buf *warnings)
{
    struct dkim_sign_key key;

    ring->table = dkim_table_load(ring->settings.signing_table, ring->settings.key_table, faults, warnings);
    for (size_t i = 0; ring->table != NULL && i < KEYS_MAX && dkim_table_key(ring->table, i, &key); i++)
        ring->entries[ring->count++].key = key;
}

struct dkim_keyring *dkim_keyring_load(const struct dkim_keyring_settings *settings, struct buf *faults,
                                       struct buf *warnings)
{
    struct arena *mem = arena_new(0);
    struct dkim_keyring *ring = ARENA_NEW(mem, struct dkim_keyring);
    size_t faults_before = faults->n;

    ring->mem = mem;
    ring->settings = *settings;
    ring->settings.oversign = copy_texts(mem, settings->oversign, settings->oversign_count);
    ring->entries = ARENA_ARRAY(mem, struct entry, settings->keys_count + KEYS_MAX);
    atomic_init(&ring->references, 1);
    for (size_t i = 0; i < settings->keys_count; i++)
        load_key(ring, &settings->keys[i], faults, warnings);
    if (*settings->signing_table != '\0')
        load_tables(ring, faults, warnings);
    if (settings->internal_hosts != NULL && *settings->internal_hosts != '\0')
        ring->hosts = dkim_hosts_load(mem, settings->internal_hosts, faults);
    for (size_t i = 0; i < ring->count; i++)
        atomic_init(&ring->entries[i].seen, DKIM_UNANSWERED);
    if (faults->n > faults_before)
        dkim_keyring_unref(&ring);
    return ring;
}

struct dkim_keyring *dkim_keyring_ref(struct dkim_keyring *ring)
{
    atomic_fetch_add(&ring->references, 1);
    return ring;
}

void dkim_keyring_unref(struct dkim_keyring **ring)
{
    struct dkim_keyring *r = *ring;
    struct arena *mem;

    *ring = NULL;
    if (r == NULL || atomic_fetch_sub(&r->references, 1) != 1)
        return;
    for (size_t i = 0; i < r->count; i++)
        dkim_private_free(&r->entries[i].own);
    dkim_table_free(&r->table);
    mem = r->mem;
    arena_free(&mem);
}

/* ---- choosing ---- */

/* Trouble of the DNS says nothing about a key, and neither do several records: verifiers try them. */
static bool is_hidden(int seen)
{
    return seen == DKIM_UNPUBLISHED || seen == DKIM_OTHER_KEY || seen == DKIM_REVOKED || seen == DKIM_BROKEN;
}

static bool may_use(const struct dkim_keyring *ring, const struct dkim_private *key)
{
    for (size_t i = 0; ring->settings.unseen == DKIM_UNSEEN_REFUSE && i < ring->count; i++)
        if (ring->entries[i].key.key == key)
            return !is_hidden(atomic_load(&ring->entries[i].seen));
    return true;
}

static bool is_for(const struct dkim_keyring_key *settings, const char *domain, struct str address,
                   struct str host)
{
    for (size_t i = 0; i < settings->match_count; i++)
        if (dkim_table_matches(str_of(settings->match[i]), address))
            return true;
    return settings->match_count == 0 && str_same_z(host, domain);
}

static size_t find_own(const struct dkim_keyring *ring, struct str address, struct str host,
                       struct dkim_sign_key *found)
{
    size_t n = 0;

    for (size_t i = 0; i < ring->count && n < DKIM_TABLE_FOUND_MAX; i++) {
        const struct entry *entry = &ring->entries[i];

        if (entry->settings != NULL && entry->settings->state == DKIM_KEY_ACTIVE &&
            is_for(entry->settings, entry->key.domain, address, host))
            found[n++] = entry->key;
    }
    return n;
}

/* The first match counts, as in OpenDKIM without MultipleSignatures: a last row for everybody else is usual.
 * */
static size_t find_in_table(struct dkim_keyring *ring, struct arena *mem, struct str local, struct str domain,
                            struct dkim_sign_key *found)
{
    return ring->table != NULL ? dkim_table_find(ring->table, mem, local, domain, false, found) : 0;
}

static bool is_among(const struct dkim_sign_key *keys, size_t count, const struct dkim_sign_key *key)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(keys[i].domain, key->domain) == 0 && strcmp(keys[i].selector, key->selector) == 0)
            return true;
    return false;
}

size_t dkim_keyring_find(struct dkim_keyring *ring, struct arena *mem, struct str local, struct str domain,
                         struct dkim_sign_key keys_out[DKIM_TABLE_FOUND_MAX], bool *hidden_out)
{
    struct str address = str_of(str_fmt(mem, "%.*s@%.*s", STR_ARG(local), STR_ARG(domain)));
    struct dkim_sign_key found[2 * DKIM_TABLE_FOUND_MAX];
    size_t count = find_own(ring, address, domain, found), n = 0;

    count += find_in_table(ring, mem, local, domain, found + count);
    *hidden_out = false;
    for (size_t i = 0; i < count && n < DKIM_TABLE_FOUND_MAX; i++)
        if (!may_use(ring, found[i].key))
            *hidden_out = true;
        else if (!is_among(keys_out, n, &found[i]))
            keys_out[n++] = found[i];
    return n;
}

bool dkim_keyring_is_internal(const struct dkim_keyring *ring, const struct ip *client, const char *name)
{
    return ring->hosts == NULL || dkim_hosts_has(ring->hosts, client, name);
}

/* ---- what the world sees ---- */

bool dkim_keyring_key(const struct dkim_keyring *ring, size_t i, struct dkim_sign_key *key_out)
{
    if (i >= ring->count)
        return false;
    *key_out = ring->entries[i].key;
    return true;
}

bool dkim_keyring_seen(struct dkim_keyring *ring, size_t i, enum dkim_published_state state)
{
    if (i >= ring->count)
        bug("dkim_keyring_seen: key %zu of %zu", i, ring->count);
    if (state == DKIM_UNANSWERED) /* what was known of it stays */
        return false;
    return atomic_exchange(&ring->entries[i].seen, (int)state) != (int)state;
}
