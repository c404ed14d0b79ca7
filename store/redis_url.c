#include "store/redis_url.h"

#include <string.h>

static const struct {
    struct str scheme;
    enum redis_kind kind;
    bool tls;
} schemes[] = {
    {{"redis://", 8}, REDIS_SINGLE, false},
    {{"rediss://", 9}, REDIS_SINGLE, true},
    {{"redis+sentinel://", 17}, REDIS_SENTINEL, false},
    {{"rediss+sentinel://", 18}, REDIS_SENTINEL, true},
    {{"redis+cluster://", 16}, REDIS_CLUSTER, false},
    {{"rediss+cluster://", 17}, REDIS_CLUSTER, true},
};

enum { SCHEMES = sizeof(schemes) / sizeof(schemes[0]), HOST_MAX = 255 };

static size_t scheme_of(struct str text)
{
    size_t i = 0;

    while (i < SCHEMES && !str_starts(text, schemes[i].scheme))
        i++;
    return i;
}

bool redis_url_is(struct str text)
{
    return scheme_of(text) < SCHEMES;
}

/* ---- its parts ---- */

/* NULL: a % without two hexadecimal digits, or a NUL, which no C string can hold. */
static const char *decoded(struct arena *mem, struct str text)
{
    char *plain = arena_alloc(mem, text.n + 1);
    size_t n = 0;

    for (size_t i = 0; i < text.n; i++) {
        int high, low;

        if (text.p[i] != '%') {
            plain[n++] = text.p[i];
            continue;
        }
        high = i + 2 < text.n ? ascii_hex(text.p[i + 1]) : -1;
        low = i + 2 < text.n ? ascii_hex(text.p[i + 2]) : -1;
        if (high < 0 || low < 0 || high + low == 0)
            return NULL;
        plain[n++] = (char)(high * 16 + low);
        i += 2;
    }
    return plain;
}

/* The last "@" ends it: an "@" in a password need not be encoded. */
static size_t credentials_end(struct str authority)
{
    for (size_t i = authority.n; i > 0; i--)
        if (authority.p[i - 1] == '@')
            return i - 1;
    return authority.n;
}

static int read_credentials(struct arena *mem, struct str text, struct redis_url *url, struct fail *fail)
{
    struct str user, password;

    if (!str_cut(text, ':', &user, &password))
        return fail_set(fail, "before the \"@\" must be USER:PASSWORD or :PASSWORD");
    url->user = decoded(mem, user);
    url->password = decoded(mem, password);
    if (url->user == NULL || url->password == NULL)
        return fail_set(fail,
                        "a \"%%\" in the user or the password must be followed by two hexadecimal digits");
    if (*url->password == '\0')
        return fail_set(fail, "the password is empty");
    return 0;
}

static bool is_host(struct str host)
{
    if (host.n == 0 || host.n > HOST_MAX)
        return false;
    for (size_t i = 0; i < host.n; i++)
        if (!ascii_is_alnum(host.p[i]) && !str_has(STR(".-_:"), host.p[i]))
            return false;
    return true;
}

static int read_place(struct arena *mem, struct str text, uint16_t port, struct redis_place *place_out,
                      struct fail *fail)
{
    struct str host = text, rest = STR("");
    uint64_t number = port;
    bool brackets = text.n > 0 && text.p[0] == '[';
    bool fine = true;

    if (brackets) {
        str_cut(str_from(text, 1), ']', &host, &rest);
        fine = rest.n == 0 || rest.p[0] == ':';
        rest = str_from(rest, 1);
    } else {
        str_cut(text, ':', &host, &rest);
    }
    if (!fine || !is_host(host) || (!brackets && str_has(host, ':')))
        return fail_set(fail, "\"%.*s\" is no HOST:PORT", STR_ARG(text));
    if (rest.n > 0 && (!str_to_u64(rest, UINT16_MAX, &number) || number == 0))
        return fail_set(fail, "\"%.*s\" is no port", STR_ARG(rest));
    *place_out = (struct redis_place){str_dup(mem, host), (uint16_t)number};
    return 0;
}

static int read_places(struct arena *mem, struct str text, struct redis_url *url, struct fail *fail)
{
    uint16_t port = url->kind == REDIS_SENTINEL ? REDIS_SENTINEL_PORT : REDIS_PORT;
    struct str place;
    bool more = true;

    if (url->kind == REDIS_SINGLE && str_has(text, ','))
        return fail_set(fail, "redis:// names one server; several are redis+sentinel:// or redis+cluster://");
    while (more) {
        more = str_cut(text, ',', &place, &text);
        if (url->places_count == REDIS_PLACES_MAX)
            return fail_set(fail, "more than %d servers", REDIS_PLACES_MAX);
        if (read_place(mem, place, port, &url->places[url->places_count], fail) != 0)
            return -1;
        url->places_count++;
    }
    return 0;
}

static int read_path(struct arena *mem, struct str path, struct redis_url *url, struct fail *fail)
{
    uint64_t database = 0;

    if (url->kind == REDIS_SENTINEL) {
        struct str master;

        str_cut(path, '/', &master, &path);
        url->master = decoded(mem, master);
        if (url->master == NULL || *url->master == '\0')
            return fail_set(fail, "redis+sentinel:// needs the master's name behind the servers: …/MASTER");
    }
    if (path.n > 0 && !str_to_u64(path, REDIS_DATABASE_MAX, &database))
        return fail_set(fail, "\"%.*s\" is no number of a database (0 to %d)", STR_ARG(path),
                        REDIS_DATABASE_MAX);
    if (url->kind == REDIS_CLUSTER && database != 0)
        return fail_set(fail, "a cluster has only database 0");
    url->database = (unsigned)database;
    return 0;
}

static int read_query(struct arena *mem, struct str query, struct redis_url *url, struct fail *fail)
{
    struct str key, value;

    if (query.n == 0)
        return 0;
    str_cut(query, '=', &key, &value);
    if (!str_eq_z(key, "ca"))
        return fail_set(fail, "?%.*s is not known; there is ?ca=PATH", STR_ARG(key));
    if (!url->tls)
        return fail_set(fail, "?ca= is for rediss://, which has TLS");
    url->ca = decoded(mem, value);
    return url->ca != NULL && *url->ca != '\0' ? 0 : fail_set(fail, "?ca= needs a path");
}

int redis_url_parse(struct arena *mem, struct str text, struct redis_url *url_out, struct fail *fail)
{
    size_t scheme = scheme_of(text), at;
    struct str authority, path, query, places;
    struct redis_url *url = url_out;

    if (scheme == SCHEMES)
        return fail_set(fail,
                        "it must begin with redis://, rediss://, redis+sentinel:// or redis+cluster://");
    *url = (struct redis_url){.kind = schemes[scheme].kind,
                              .tls = schemes[scheme].tls,
                              .ca = "",
                              .user = "",
                              .password = "",
                              .master = ""};
    str_cut(str_from(text, schemes[scheme].scheme.n), '?', &text, &query);
    at = credentials_end(text);
    places = at < text.n ? str_from(text, at + 1) : text;
    authority = str_upto(text, at < text.n ? at : 0);
    if (at < text.n && read_credentials(mem, authority, url, fail) != 0)
        return -1;
    str_cut(places, '/', &places, &path);
    if (read_places(mem, places, url, fail) != 0 || read_path(mem, path, url, fail) != 0)
        return -1;
    return read_query(mem, query, url, fail);
}

const char *redis_url_shown(struct arena *mem, struct str text)
{
    size_t scheme = scheme_of(text), start, at, colon;
    struct str rest;

    if (scheme == SCHEMES)
        return str_dup(mem, text);
    start = schemes[scheme].scheme.n;
    rest = str_from(text, start);
    at = credentials_end(rest); /* whatever stands before an "@" may be a secret that was written wrongly */
    if (at == rest.n)
        return str_dup(mem, text);
    colon = str_find(str_upto(rest, at), ':');
    return str_fmt(mem, "%.*s%.*s:***%.*s", STR_ARG(str_upto(text, start)), STR_ARG(str_upto(rest, colon)),
                   STR_ARG(str_from(rest, at)));
}
