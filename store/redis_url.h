/*
 * store/redis_url.h - where a Redis or Valkey is, as an URL says it
 *
 *     redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE]                      one server; port 6379
 *     redis+sentinel://[[USER]:PASSWORD@]HOST[:PORT],…/MASTER[/DATABASE]    whom the sentinels name; port 26379
 *     redis+cluster://[[USER]:PASSWORD@]HOST[:PORT],…                       a cluster; port 6379
 *
 * "rediss" instead of "redis" is the same by TLS, where ?ca=PATH names a file of certificates to trust instead
 * of the system's. ?sentinel=[USER]:PASSWORD is for the sentinels, when they ask for one; the other password is the
 * master's. Several of these are joined by "&". User, password and path may have %XX. An IPv6 address stands in
 * brackets.
 *
 * Ownership  All strings come from `mem`.
 */
#ifndef STORE_REDIS_URL_H
#define STORE_REDIS_URL_H

#include "base/fail.h"
#include "base/str.h"

enum { REDIS_PLACES_MAX = 16, REDIS_PORT = 6379, REDIS_SENTINEL_PORT = 26379, REDIS_DATABASE_MAX = 9999 };

enum redis_kind { REDIS_SINGLE, REDIS_SENTINEL, REDIS_CLUSTER };

struct redis_place {
    const char *host; /* a name or an address, without brackets */
    uint16_t port;
};

struct redis_url {
    enum redis_kind kind;
    bool tls;
    const char *ca;              /* "": the system's */
    const char *user, *password; /* "": none */
    const char *sentinel_user, *sentinel_password;
    struct redis_place places[REDIS_PLACES_MAX];
    size_t places_count;
    const char *master; /* of the sentinels; else "" */
    unsigned database;
};

bool redis_url_is(struct str text); /* does it begin like one? */
int redis_url_parse(struct arena *mem, struct str text, struct redis_url *url_out, struct fail *fail);

/* The same text with "***" in place of passwords, for logs and for people. Of any URL. */
const char *redis_url_shown(struct arena *mem, struct str text);

#endif
