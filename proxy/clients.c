#include "proxy/clients.h"

#include "base/hash.h"
#include "base/log.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

enum { SLICES = 16, SLICE_MAX = CLIENTS_MAX / SLICES };

/* The store remembers for 30 days (history.c) from the last praise; a day later it is told again. */
static const int64_t praise_lasts_ms = 24LL * 3600 * 1000;

struct client {
    struct ip key;
    unsigned connections, recent; /* recent: new connections since window_ms */
    unsigned told;               /* of these, to other hosts */
    unsigned elsewhere;          /* at other hosts, as they said at heard_ms */
    int64_t window_ms, heard_ms, good_until_ms;
    unsigned short helo_hashes[CLIENTS_GATEWAY_NAMES]; /* 0: free */
    bool is_gateway;
    struct client *newer, *older; /* a ring by last use; the slice is its head */
    UT_hash_handle hh;
};

struct slice {
    pthread_mutex_t lock;
    struct client *table;
    struct client ring;
    unsigned count;
};

struct clients {
    struct slice slices[SLICES];
    atomic_uint connections;
};

struct clients *clients_new(void)
{
    struct clients *clients = calloc(1, sizeof(*clients));

    if (clients == NULL)
        out_of_memory();
    for (int i = 0; i < SLICES; i++) {
        struct slice *slice = &clients->slices[i];

        pthread_mutex_init(&slice->lock, NULL);
        slice->ring.newer = slice->ring.older = &slice->ring;
    }
    return clients;
}

static void forget(struct slice *slice, struct client *client)
{
    client->newer->older = client->older;
    client->older->newer = client->newer;
    HASH_DEL(slice->table, client);
    slice->count--;
    free(client);
}

void clients_free(struct clients **clients)
{
    if (*clients == NULL)
        return;
    for (int i = 0; i < SLICES; i++) {
        struct slice *slice = &(*clients)->slices[i];

        while (slice->ring.older != &slice->ring)
            forget(slice, slice->ring.older);
        pthread_mutex_destroy(&slice->lock);
    }
    free(*clients);
    *clients = NULL;
}

static struct ip key_of(const struct ip *ip)
{
    struct ip key = {0}; /* every byte is compared, so none is left to chance */
    struct ip prefix = ip_prefix(ip, ip->family == 4 ? 32 : 64);

    key.family = prefix.family;
    for (int i = 0; i < (prefix.family == 4 ? 4 : 8); i++)
        key.b[i] = prefix.b[i];
    return key;
}

static struct slice *lock_slice(struct clients *clients, const struct ip *key)
{
    /* By the high bits: the table in the slice takes the low ones, and would use one bucket in sixteen. */
    struct slice *slice = &clients->slices[(hash_bytes(key, sizeof(*key)) >> 32) % SLICES];

    pthread_mutex_lock(&slice->lock);
    return slice;
}

static struct client *find(struct slice *slice, const struct ip *key)
{
    struct client *client;

    HASH_FIND(hh, slice->table, key, sizeof(*key), client);
    return client;
}

static void make_room(struct slice *slice)
{
    for (struct client *oldest = slice->ring.newer; oldest != &slice->ring; oldest = oldest->newer)
        if (oldest->connections == 0) {
            forget(slice, oldest);
            return;
        }
}

static struct client *find_or_add(struct slice *slice, const struct ip *key)
{
    struct client *client = find(slice, key);

    if (client != NULL) {
        client->newer->older = client->older;
        client->older->newer = client->newer;
    } else {
        if (slice->count >= SLICE_MAX)
            make_room(slice);
        client = calloc(1, sizeof(*client));
        if (client == NULL)
            out_of_memory();
        client->key = *key;
        HASH_ADD(hh, slice->table, key, sizeof(client->key), client);
        slice->count++;
    }
    client->older = slice->ring.older; /* the ring's older end is the most recently used */
    client->newer = &slice->ring;
    slice->ring.older->newer = client;
    slice->ring.older = client;
    return client;
}

/* What others said fades until it is as old as a window. */
static uint64_t elsewhere_now(const struct client *client, const struct limit_settings *limits, int64_t now_ms)
{
    int64_t left_ms = limits->new_connections_ms - (now_ms - client->heard_ms);

    return left_ms > 0 ? (uint64_t)client->elsewhere * (uint64_t)left_ms / (uint64_t)limits->new_connections_ms : 0;
}

static enum clients_refusal judge(struct client *client, const struct limit_settings *limits, int64_t now_ms)
{
    if (now_ms - client->window_ms >= limits->new_connections_ms) {
        client->window_ms = now_ms;
        client->recent = client->told = 0;
    }
    if (client->connections >= limits->connections_per_client)
        return CLIENT_TOO_MANY_CONNECTIONS;
    if (client->recent + elsewhere_now(client, limits, now_ms) >= limits->new_connections)
        return CLIENT_TOO_FAST;
    return CLIENT_WELCOME;
}

enum clients_refusal clients_enter(struct clients *clients, const struct limit_settings *limits,
                                   const struct ip *ip, int64_t now_ms)
{
    struct ip key = key_of(ip);
    enum clients_refusal refusal;
    struct client *client;
    struct slice *slice;

    if (atomic_fetch_add(&clients->connections, 1) >= limits->connections) {
        atomic_fetch_sub(&clients->connections, 1);
        return CLIENT_SERVER_FULL;
    }
    slice = lock_slice(clients, &key);
    client = find_or_add(slice, &key);
    refusal = judge(client, limits, now_ms);
    if (refusal == CLIENT_WELCOME) {
        client->connections++;
        client->recent++;
    }
    pthread_mutex_unlock(&slice->lock);
    if (refusal != CLIENT_WELCOME)
        atomic_fetch_sub(&clients->connections, 1);
    return refusal;
}

void clients_leave(struct clients *clients, const struct ip *ip)
{
    struct ip key = key_of(ip);
    struct slice *slice = lock_slice(clients, &key);
    struct client *client = find(slice, &key);

    if (client != NULL && client->connections > 0)
        client->connections--;
    pthread_mutex_unlock(&slice->lock);
    atomic_fetch_sub(&clients->connections, 1);
}

unsigned clients_to_tell(struct clients *clients, const struct limit_settings *limits, const struct ip *ip)
{
    struct ip key = key_of(ip);
    struct slice *slice = lock_slice(clients, &key);
    struct client *client = find(slice, &key);
    unsigned step = limits->new_connections / 16, count = 0;

    if (client != NULL && client->recent > client->told && client->recent - client->told >= step)
        count = client->told = client->recent;
    pthread_mutex_unlock(&slice->lock);
    return count;
}

/* One that has gone meanwhile is not made again. */
void clients_heard(struct clients *clients, const struct ip *ip, unsigned elsewhere, int64_t now_ms)
{
    struct ip key = key_of(ip);
    struct slice *slice = lock_slice(clients, &key);
    struct client *client = find(slice, &key);

    if (client != NULL) {
        client->elsewhere = elsewhere;
        client->heard_ms = now_ms;
    }
    pthread_mutex_unlock(&slice->lock);
}

void clients_praise(struct clients *clients, const struct ip *ip, int64_t now_ms)
{
    struct ip key = key_of(ip);
    struct slice *slice = lock_slice(clients, &key);

    find_or_add(slice, &key)->good_until_ms = now_ms + praise_lasts_ms;
    pthread_mutex_unlock(&slice->lock);
}

bool clients_is_good(struct clients *clients, const struct ip *ip, int64_t now_ms)
{
    struct ip key = key_of(ip);
    struct slice *slice = lock_slice(clients, &key);
    struct client *client = find(slice, &key);
    bool good = client != NULL && client->good_until_ms > now_ms;

    pthread_mutex_unlock(&slice->lock);
    return good;
}

/* The last two labels: hosts of one sender count as one. */
static struct str related_part(const char *helo)
{
    struct str name = str_of(helo);
    size_t at = name.n, dots = 0;

    while (at > 0 && (name.p[at - 1] != '.' || ++dots < 2))
        at--;
    return str_from(name, at);
}

/* True when the name is one more than the table holds. */
static bool has_no_room_for(struct client *client, struct str name)
{
    unsigned short hash = (unsigned short)(hash_bytes(name.p, name.n) | 1);

    for (int i = 0; i < CLIENTS_GATEWAY_NAMES; i++) {
        if (client->helo_hashes[i] == hash)
            return false;
        if (client->helo_hashes[i] == 0) {
            client->helo_hashes[i] = hash;
            return false;
        }
    }
    return true;
}

bool clients_note_helo(struct clients *clients, const struct ip *ip, const char *helo)
{
    struct ip key = key_of(ip);
    struct slice *slice;
    struct client *client;
    bool is_gateway, is_new = false;
    char text[IP_TEXT_MAX];

    if (!ip_is_private(ip) || ip_is_loopback(ip))
        return false;
    slice = lock_slice(clients, &key);
    client = find_or_add(slice, &key);
    if (!client->is_gateway && has_no_room_for(client, related_part(helo)))
        client->is_gateway = is_new = true;
    is_gateway = client->is_gateway;
    pthread_mutex_unlock(&slice->lock);
    if (is_new)
        log_note(LOG_ERROR, "gateway",
                 "clients with unrelated HELO names all come from %s: this is a gateway (container NAT?) "
                 "that hides their "
                 "addresses. What depends on the client's address is only observed for it. Use host "
                 "networking, or a "
                 "balancer that speaks the PROXY protocol",
                 ip_format(ip, text));
    return is_gateway;
}

unsigned clients_connections(const struct clients *clients)
{
    return atomic_load(&clients->connections);
}
