#include "store/redis_find.h"

#include "base/bug.h"
#include "store/redis_link.h"

#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* Lives until the thread of the pool has been there, whoever still wants to know. */
struct lookup {
    char host[256];
    struct endpoint at;
    int error;               /* of getaddrinfo() */
    struct redis_find *find; /* NULL: nobody does */
};

struct redis_find {
    struct loop *loop;
    const struct redis_url *url;
    struct tls_context *tls; /* borrowed */
    redis_find_done_fn *done;
    void *arg;
    struct lookup *lookup;   /* at most one in flight */
    struct redis_link *link; /* to a sentinel */
    struct timer late;
    size_t asked; /* sentinels */
    char why[500];
    char master[256]; /* its host; "": not named yet */
};

/* ---- the end ---- */

static void drop(struct redis_find *find)
{
    if (find->lookup != NULL)
        find->lookup->find = NULL;
    timer_stop(&find->late);
    redis_link_close(&find->link);
    free(find);
}

static void finish(struct redis_find *find, const struct endpoint *at)
{
    struct redis_find last = *find;
    struct redis_found found = {.name = last.master};

    drop(find);
    if (at != NULL)
        found.at = *at;
    last.done(at != NULL ? &found : NULL, last.why, last.arg); /* last act */
}

void redis_find_cancel(struct redis_find **find)
{
    if (*find != NULL)
        drop(*find);
    *find = NULL;
}

/* ---- names ---- */

static void on_address(struct redis_find *find, const struct endpoint *at);

static void look_up(void *arg)
{
    struct lookup *lookup = arg;
    struct addrinfo wanted = {.ai_socktype = SOCK_STREAM}, *found = NULL;

    if (ip_parse(str_of(lookup->host), &lookup->at.ip))
        return;
    lookup->error = getaddrinfo(lookup->host, NULL, &wanted, &found);
    if (lookup->error == 0) {
        uint16_t port = lookup->at.port;

        if (!endpoint_from_sockaddr(found->ai_addr, &lookup->at))
            lookup->error = EAI_FAMILY;
        lookup->at.port = port;
    }
    if (found != NULL)
        freeaddrinfo(found);
}

static void on_looked_up(void *arg)
{
    struct lookup *lookup = arg;
    struct redis_find *find = lookup->find;

    if (find != NULL) {
        find->lookup = NULL;
        if (lookup->error != 0)
            snprintf(find->why, sizeof(find->why), "no address of %s: %s", lookup->host,
                     gai_strerror(lookup->error));
        on_address(find, lookup->error == 0 ? &lookup->at : NULL);
    }
    free(lookup);
}

static void look_up_start(struct redis_find *find, const char *host, uint16_t port)
{
    struct lookup *lookup = calloc(1, sizeof(*lookup));

    if (lookup == NULL)
        out_of_memory();
    snprintf(lookup->host, sizeof(lookup->host), "%s", host);
    lookup->at.port = port;
    lookup->find = find;
    find->lookup = lookup;
    loop_work(find->loop, look_up, on_looked_up, lookup);
}

/* ---- sentinels ---- */

static void ask_next(struct redis_find *find)
{
    timer_stop(&find->late);
    redis_link_close(&find->link);
    if (find->asked == find->url->places_count) {
        finish(find, NULL);
        return;
    }
    look_up_start(find, find->url->places[find->asked].host, find->url->places[find->asked].port);
    find->asked++;
}

static void give_up(struct redis_find *find, const char *why)
{
    snprintf(find->why, sizeof(find->why), "sentinel %s: %.300s", find->url->places[find->asked - 1].host,
             why);
    ask_next(find);
}

static void on_sentinel_late(void *arg)
{
    give_up(arg, "no answer");
}

static void on_sentinel_end(const char *why, void *arg)
{
    give_up(arg, why);
}

static void on_master(const struct resp *reply, void *arg)
{
    struct redis_find *find = arg;
    uint64_t port;

    if (reply->type == RESP_ARRAY && reply->count == 2 && reply->items[0].text.n > 0 &&
        reply->items[0].text.n < sizeof(find->master) &&
        str_to_u64(reply->items[1].text, UINT16_MAX, &port)) {
        snprintf(find->master, sizeof(find->master), "%.*s", STR_ARG(reply->items[0].text));
        timer_stop(&find->late);
        redis_link_close(&find->link);
        look_up_start(find, find->master, (uint16_t)port);
        return;
    }
    give_up(find, reply->type == RESP_NIL ? "it knows no such master" : "it is no sentinel");
}

static void on_sentinel_ready(void *arg)
{
    struct redis_find *find = arg;
    struct str words[] = {STR("SENTINEL"), STR("get-master-addr-by-name"), str_of(find->url->master)};

    redis_link_ask(find->link, words, 3, on_master, find);
}

static void open_sentinel(struct redis_find *find, const struct endpoint *at)
{
    static const struct redis_link_events events = {on_sentinel_ready, on_sentinel_end};
    struct redis_link_settings settings = {.at = *at,
                                           .tls = find->tls,
                                           .name = find->url->places[find->asked - 1].host,
                                           .user = find->url->sentinel_user,
                                           .password = find->url->sentinel_password};

    find->link = redis_link_open(find->loop, &settings, &events, find);
    if (find->link == NULL)
        give_up(find, "no descriptor is left");
    else
        timer_start(&find->late, find->loop, FIND_SENTINEL_MS, on_sentinel_late, find);
}

/* ---- both ---- */

static void on_address(struct redis_find *find, const struct endpoint *at)
{
    if (*find->master != '\0')
        finish(find, at);
    else if (at != NULL)
        open_sentinel(find, at);
    else
        ask_next(find);
}

struct redis_find *redis_find_start(struct loop *loop, const struct redis_url *url, struct tls_context *tls,
                                    redis_find_done_fn *done, void *arg)
{
    struct redis_find *find = calloc(1, sizeof(*find));

    if (find == NULL)
        out_of_memory();
    *find = (struct redis_find){.loop = loop, .url = url, .tls = tls, .done = done, .arg = arg};
    if (url->kind == REDIS_SENTINEL) {
        ask_next(find);
        return find;
    }
    snprintf(find->master, sizeof(find->master), "%s", url->places[0].host);
    look_up_start(find, find->master, url->places[0].port);
    return find;
}
