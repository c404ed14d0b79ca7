#include "store/redis_route.h"

#include "base/bug.h"
#include "store/redis_find.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOVES_MAX = 5, KEY_TRIES = 100000 };

struct node {
    struct redis_route *route;
    struct endpoint at;
    char name[IP_TEXT_MAX]; /* as the cluster says it, or as the URL does */
    struct redis_link *link;
    bool ready;
};

struct redis_route {
    struct loop *loop;
    const struct redis_url *url;
    struct tls_context *tls; /* borrowed */
    struct redis_link_events events;
    void *arg;
    struct redis_find *find;
    struct redis_url seed; /* of a cluster: the place that is asked now */
    size_t seeds_asked;
    struct redis_link *guide; /* to that place */
    struct endpoint guide_at;
    struct node nodes[REDIS_NODES_MAX];
    size_t nodes_count, ready_count;
    bool opened;
    unsigned char slots[REDIS_SLOTS]; /* the node of each */
    struct question *questions;       /* to a cluster, without a reply */
    bool ended;
};

/* A question to a cluster, as long as it may have to be asked elsewhere. */
struct question {
    struct redis_route *route;
    struct question *next, **link; /* in the route's list */
    redis_reply_fn *reply;
    void *arg;
    unsigned moves;
    const struct node *awaits; /* who is not ready yet */
    bool asking;               /* there, by ASK */
    size_t count;
    struct str words[]; /* their octets follow */
};

static void question_free(struct question *q)
{
    *q->link = q->next;
    if (q->next != NULL)
        q->next->link = q->link;
    free(q);
}

/* ---- slots ---- */

static unsigned crc16(struct str text)
{
    unsigned crc = 0;

    for (size_t i = 0; i < text.n; i++) {
        crc ^= (unsigned)(unsigned char)text.p[i] << 8;
        for (int bit = 0; bit < 8; bit++)
            crc = (crc & 0x8000 ? crc << 1 ^ 0x1021 : crc << 1) & 0xffff;
    }
    return crc;
}

unsigned redis_route_slot(struct str key)
{
    struct str inside = str_from(key, str_find(key, '{') + 1);
    size_t end = str_find(inside, '}');

    return crc16(end > 0 && end < inside.n ? str_upto(inside, end) : key) % REDIS_SLOTS;
}

/* ---- the end ---- */

static void end(struct redis_route *route, const char *why)
{
    if (route->ended)
        return;
    route->ended = true;
    route->events.on_end(why, route->arg); /* last act: route may be gone now */
}

void redis_route_close(struct redis_route **route)
{
    struct redis_route *r = *route;

    if (r == NULL)
        return;
    *route = NULL;
    redis_find_cancel(&r->find);
    redis_link_close(&r->guide);
    for (size_t i = 0; i < r->nodes_count; i++)
        redis_link_close(&r->nodes[i].link);
    while (r->questions != NULL)
        question_free(r->questions);
    free(r);
}

/* ---- nodes ---- */

static void ask_there(struct question *q, struct node *node, bool asking);

static void on_node_ready(void *arg)
{
    struct node *node = arg;
    struct redis_route *route = node->route;

    node->ready = true;
    for (struct question *q = route->questions; q != NULL; q = q->next)
        if (q->awaits == node)
            ask_there(q, node, q->asking);
    if (++route->ready_count < route->nodes_count || route->opened)
        return;
    route->opened = true;
    route->events.on_ready(route->arg);
}

static void on_node_end(const char *why, void *arg)
{
    struct node *node = arg;
    char whole[400];

    snprintf(whole, sizeof(whole), "%s: %.300s", node->name, why);
    end(node->route, node->route->url->kind == REDIS_CLUSTER ? whole : why);
}

static bool open_node(struct redis_route *route, struct node *node, const char *name)
{
    static const struct redis_link_events events = {on_node_ready, on_node_end};
    struct redis_link_settings settings = {.at = node->at,
                                           .tls = route->tls,
                                           .name = name,
                                           .user = route->url->user,
                                           .password = route->url->password,
                                           .database = route->url->database};

    node->route = route;
    node->link = redis_link_open(route->loop, &settings, &events, node);
    if (node->link == NULL)
        end(route, "no descriptor is left");
    return node->link != NULL;
}

/* -1: there are too many. Its link comes later. */
static int add_node(struct redis_route *route, const struct endpoint *at)
{
    struct node *node = &route->nodes[route->nodes_count];

    if (route->nodes_count == REDIS_NODES_MAX)
        return -1;
    node->at = *at;
    ip_format(&at->ip, node->name);
    return (int)route->nodes_count++;
}

static int find_node(const struct redis_route *route, const struct endpoint *at)
{
    for (size_t i = 0; i < route->nodes_count; i++)
        if (ip_eq(&route->nodes[i].at.ip, &at->ip) && route->nodes[i].at.port == at->port)
            return (int)i;
    return -1;
}

/* ---- the map of a cluster ---- */

static void ask_next_seed(struct redis_route *route, const char *why);

/* A node that does not know its own address means the one that we have asked it at. */
static bool read_node(const struct redis_route *route, const struct resp *from, struct endpoint *at_out)
{
    if (from->count < 2 || from->items[1].type != RESP_INTEGER || from->items[1].number <= 0 ||
        from->items[1].number > UINT16_MAX)
        return false;
    at_out->port = (uint16_t)from->items[1].number;
    at_out->ip = route->guide_at.ip;
    return from->items[0].text.n == 0 || ip_parse(from->items[0].text, &at_out->ip);
}

/* [first, last, [address, port, …], replicas …] */
static bool read_range(struct redis_route *route, const struct resp *range)
{
    struct endpoint at;
    int node;

    if (range->count < 3 || range->items[0].number < 0 || range->items[1].number >= REDIS_SLOTS ||
        range->items[0].number > range->items[1].number || !read_node(route, &range->items[2], &at))
        return false;
    node = find_node(route, &at);
    if (node < 0)
        node = add_node(route, &at);
    if (node >= 0)
        memset(route->slots + range->items[0].number, node,
               (size_t)(range->items[1].number - range->items[0].number + 1));
    return node >= 0;
}

static void on_slots(const struct resp *reply, void *arg)
{
    struct redis_route *route = arg;
    bool fine = reply->type == RESP_ARRAY && reply->count > 0;

    for (size_t i = 0; fine && i < reply->count; i++)
        fine = read_range(route, &reply->items[i]);
    if (!fine) {
        route->nodes_count = 0;
        ask_next_seed(route,
                      reply->type == RESP_ERROR ? "it is not in a cluster" : "the cluster has no slots yet");
        return;
    }
    redis_link_close(&route->guide);
    for (size_t i = 0; i < route->nodes_count; i++)
        if (!open_node(route, &route->nodes[i], route->nodes[i].name))
            return;
}

static void on_guide_ready(void *arg)
{
    struct redis_route *route = arg;

    redis_link_ask(route->guide, (struct str[]){STR("CLUSTER"), STR("SLOTS")}, 2, on_slots, route);
}

static void on_guide_end(const char *why, void *arg)
{
    ask_next_seed(arg, why);
}

/* ---- opening ---- */

static void on_found(const struct redis_found *found, const char *why, void *arg)
{
    static const struct redis_link_events events = {on_guide_ready, on_guide_end};
    struct redis_route *route = arg;
    struct redis_link_settings settings = {
        .tls = route->tls, .user = route->url->user, .password = route->url->password};

    route->find = NULL;
    if (route->url->kind != REDIS_CLUSTER && found == NULL) {
        end(route, why);
    } else if (route->url->kind != REDIS_CLUSTER) {
        route->nodes_count = 1;
        route->nodes[0].at = found->at;
        open_node(route, &route->nodes[0], found->name);
    } else if (found == NULL) {
        ask_next_seed(route, why);
    } else {
        settings.at = route->guide_at = found->at;
        settings.name = found->name;
        route->guide = redis_link_open(route->loop, &settings, &events, route);
        if (route->guide == NULL)
            end(route, "no descriptor is left");
    }
}

/* `why` the one before has not helped. */
static void ask_next_seed(struct redis_route *route, const char *why)
{
    char last[400];

    if (route->seeds_asked == route->url->places_count) {
        snprintf(last, sizeof(last), "%s: %.300s", route->seed.places[0].host, why);
        end(route, last);
        return;
    }
    redis_link_close(&route->guide);
    route->seed = (struct redis_url){.kind = REDIS_SINGLE, .places_count = 1};
    route->seed.places[0] = route->url->places[route->seeds_asked++];
    route->find = redis_find_start(route->loop, &route->seed, route->tls, on_found, route);
}

struct redis_route *redis_route_open(struct loop *loop, const struct redis_url *url, struct tls_context *tls,
                                     const struct redis_link_events *events, void *arg)
{
    struct redis_route *route = calloc(1, sizeof(*route));

    if (route == NULL)
        out_of_memory();
    route->loop = loop;
    route->url = url;
    route->tls = tls;
    route->events = *events;
    route->arg = arg;
    if (url->kind == REDIS_CLUSTER)
        ask_next_seed(route, "");
    else
        route->find = redis_find_start(loop, url, tls, on_found, route);
    return route;
}

/* ---- asking ---- */

static struct question *question_new(struct redis_route *route, const struct str *words, size_t count,
                                     redis_reply_fn *reply, void *arg)
{
    size_t bytes = sizeof(struct question) + count * sizeof(struct str);
    struct question *q;
    char *p;

    for (size_t i = 0; i < count; i++)
        bytes += words[i].n;
    q = malloc(bytes);
    if (q == NULL)
        out_of_memory();
    *q = (struct question){.route = route, .reply = reply, .arg = arg, .count = count};
    q->next = route->questions;
    q->link = &route->questions;
    if (q->next != NULL)
        q->next->link = &q->next;
    route->questions = q;
    p = (char *)(q->words + count);
    for (size_t i = 0; i < count; i++) {
        if (words[i].n > 0)
            memcpy(p, words[i].p, words[i].n);
        q->words[i] = str_make(p, words[i].n);
        p += words[i].n;
    }
    return q;
}

/* "MOVED 3999 192.0.2.1:6381": whither? NULL: to a node that we do not know. Which a cluster's newest is, as long as
 * it has no slot of its own: ASK may name it. */
static struct node *node_in(struct redis_route *route, struct str error, bool asks, uint64_t *slot_out)
{
    struct str word, slot, where;
    struct endpoint at;
    int node;

    str_cut(error, ' ', &word, &error);
    str_cut(error, ' ', &slot, &where);
    if (!str_to_u64(slot, REDIS_SLOTS - 1, slot_out) || endpoint_parse(where, &at, NULL) != 0)
        return NULL;
    node = find_node(route, &at);
    if (node < 0 && asks)
        node = add_node(route, &at);
    return node >= 0 ? &route->nodes[node] : NULL;
}

static void on_reply(const struct resp *reply, void *arg);

static void ask_there(struct question *q, struct node *node, bool asking)
{
    q->awaits = node->ready ? NULL : node;
    q->asking = asking;
    if (q->awaits != NULL)
        return;
    if (asking)
        redis_link_ask(node->link, &STR("ASKING"), 1, NULL, NULL);
    redis_link_ask(node->link, q->words, q->count, on_reply, q);
}

static void on_reply(const struct resp *reply, void *arg)
{
    struct question *q = arg;
    struct redis_route *route = q->route;
    bool moved = resp_is_error(reply, "MOVED"), asks = resp_is_error(reply, "ASK");
    struct node *node;
    uint64_t slot;

    if (!moved && !asks) {
        struct question asked = *q;

        question_free(q);
        if (asked.reply != NULL)
            asked.reply(reply, asked.arg);
        return;
    }
    node = node_in(route, reply->text, asks, &slot);
    if (node == NULL || q->moves++ == MOVES_MAX) {
        question_free(q);
        end(route, "the cluster has changed");
        return;
    }
    if (moved)
        route->slots[slot] = (unsigned char)(node - route->nodes);
    if (node->link != NULL || open_node(route, node, node->name))
        ask_there(q, node, asks); /* else the route has ended, with its questions */
}

void redis_route_ask(struct redis_route *route, struct str key, const struct str *words, size_t count,
                     redis_reply_fn *reply, void *arg)
{
    struct node *node = &route->nodes[0];

    if (route->ended)
        return;
    if (route->url->kind != REDIS_CLUSTER) {
        redis_link_ask(node->link, words, count, reply, arg);
        return;
    }
    node = &route->nodes[route->slots[redis_route_slot(key)]];
    ask_there(question_new(route, words, count, reply, arg), node, false);
}

size_t redis_route_nodes(const struct redis_route *route)
{
    size_t count = 0;

    while (count < route->nodes_count && route->nodes[count].ready)
        count++;
    return count;
}

void redis_route_ask_node(struct redis_route *route, size_t node, const struct str *words, size_t count,
                          redis_reply_fn *reply, void *arg)
{
    if (!route->ended)
        redis_link_ask(route->nodes[node].link, words, count, reply, arg);
}

struct str redis_route_key_on(struct redis_route *route, struct arena *mem, size_t node, const char *prefix)
{
    char key[100];

    for (int i = 0; i < KEY_TRIES; i++) {
        snprintf(key, sizeof(key), "%.80s%d", prefix, i);
        if (route->url->kind != REDIS_CLUSTER || route->slots[redis_route_slot(str_of(key))] == node)
            break;
    }
    return str_copy(mem, str_of(key));
}
