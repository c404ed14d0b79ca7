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

static int read_credentials(struct arena *mem, struct str text, const char *where, const char **user_out,
                            const char **password_out, struct fail *fail)
{
    struct str user, password;

    if (!str_cut(text, ':', &user, &password))
        return fail_set(fail, "%s must be USER:PASSWORD or :PASSWORD", where);
    *user_out = decoded(mem, user);
    *password_out = decoded(mem, password);
    if (*user_out == NULL || *password_out == NULL)
        return fail_set(fail,
                        "a \"%%\" in the user or the password must be followed by two hexadecimal digits");
    if (**password_out == '\0')
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

static int read_ca(struct arena *mem, struct str path, struct redis_url *url, struct fail *fail)
{
    if (!url->tls)
        return fail_set(fail, "?ca= is for rediss://, which has TLS");
    url->ca = decoded(mem, path);
    return url->ca != NULL && *url->ca != '\0' ? 0 : fail_set(fail, "?ca= needs a path");
}

static int read_sentinel(struct arena *mem, struct str credentials, struct redis_url *url, struct fail *fail)
{
    if (url->kind != REDIS_SENTINEL)
        return fail_set(fail, "?sentinel= is for redis+sentinel://");
    return read_credentials(mem, credentials, "behind \"?sentinel=\"", &url->sentinel_user,
                            &url->sentinel_password, fail);
}

static int read_query(struct arena *mem, struct str query, struct redis_url *url, struct fail *fail)
{
    int outcome = 0;

    while (query.n > 0 && outcome == 0) {
        struct str one, key, value;

        str_cut(query, '&', &one, &query);
        str_cut(one, '=', &key, &value);
        if (str_eq_z(key, "ca"))
            outcome = read_ca(mem, value, url, fail);
        else if (str_eq_z(key, "sentinel"))
            outcome = read_sentinel(mem, value, url, fail);
        else
            outcome = fail_set(fail, "behind the \"?\" there may be ca=PATH and sentinel=[USER]:PASSWORD");
    }
    return outcome;
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
                              .sentinel_user = "",
                              .sentinel_password = "",
                              .master = ""};
    str_cut(str_from(text, schemes[scheme].scheme.n), '?', &text, &query);
    at = credentials_end(text);
    places = at < text.n ? str_from(text, at + 1) : text;
    authority = str_upto(text, at < text.n ? at : 0);
    if (at < text.n &&
        read_credentials(mem, authority, "before the \"@\"", &url->user, &url->password, fail) != 0)
        return -1;
    str_cut(places, '/', &places, &path);
    if (read_places(mem, places, url, fail) != 0 || read_path(mem, path, url, fail) != 0)
        return -1;
    return read_query(mem, query, url, fail);
}

/* Up to the end of "sentinel=": all that follows may be a secret, or one that was written wrongly. */
static struct str before_sentinel(struct str text)
{
    static const struct str mark = {"sentinel=", 9};

    for (size_t i = 1; i < text.n; i++)
        if ((text.p[i - 1] == '?' || text.p[i - 1] == '&') && str_starts(str_from(text, i), mark))
            return str_upto(text, i + mark.n);
    return text;
}

const char *redis_url_shown(struct arena *mem, struct str text)
{
    struct str shown = before_sentinel(text), rest;
    const char *stars = shown.n < text.n ? "***" : "";
    size_t scheme = scheme_of(text), at, colon;

    if (scheme == SCHEMES)
        return str_dup(mem, text);
    rest = str_from(shown, schemes[scheme].scheme.n);
    at = credentials_end(rest); /* the same holds for what stands before an "@" */
    if (at == rest.n)
        return str_fmt(mem, "%.*s%s", STR_ARG(shown), stars);
    colon = str_find(str_upto(rest, at), ':');
    return str_fmt(mem, "%.*s%.*s:***%.*s%s", STR_ARG(schemes[scheme].scheme), STR_ARG(str_upto(rest, colon)),
                   STR_ARG(str_from(rest, at)), stars);
}
