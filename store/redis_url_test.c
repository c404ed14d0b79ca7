#include "store/redis_url.h"

#include "tests/t.h"

static const struct {
    const char *name, *url, *want; /* want: kind tls ca user password master database places…, or "! why" */
} rows[] = {
    {"one server, with the usual port", "redis://cache.example", "single - - - - - 0 cache.example 6379"},
    {"a port and a database", "redis://192.0.2.1:7000/3", "single - - - - - 3 192.0.2.1 7000"},
    {"a slash without a database is database 0", "redis://a/", "single - - - - - 0 a 6379"},
    {"an IPv6 address stands in brackets", "redis://[2001:db8::1]:7000",
     "single - - - - - 0 2001:db8::1 7000"},
    {"brackets without a port", "redis://[::1]/1", "single - - - - - 1 ::1 6379"},
    {"a password alone", "redis://:secret@a", "single - - - secret - 0 a 6379"},
    {"a user of the ACL", "redis://mx:secret@a", "single - - mx secret - 0 a 6379"},
    {"an @ and an encoded octet in a password", "redis://:p@s%2Fs%25@a", "single - - - p@s/s% - 0 a 6379"},
    {"TLS", "rediss://a:6380", "single tls - - - - 0 a 6380"},
    {"TLS with certificates of one's own", "rediss://a?ca=/etc/my%20ca.pem",
     "single tls /etc/my ca.pem - - - 0 a 6379"},
    {"sentinels name a master", "redis+sentinel://a,b:1234,[::1]/main",
     "sentinel - - - - main 0 a 26379 b 1234 ::1 26379"},
    {"sentinels, a master and a database", "rediss+sentinel://:x@a/main/2",
     "sentinel tls - - x main 2 a 26379"},
    {"a cluster", "redis+cluster://a:1,b:2,c:3", "cluster - - - - - 0 a 1 b 2 c 3"},
    {"an unknown scheme", "valkey://a",
     "! it must begin with redis://, rediss://, redis+sentinel:// or redis+cluster://"},
    {"nobody", "redis://", "! \"\" is no HOST:PORT"},
    {"a host with a blank", "redis://a b", "! \"a b\" is no HOST:PORT"},
    {"a bare IPv6 address", "redis://2001:db8::1", "! \"db8::1\" is no port"},
    {"something behind the bracket", "redis://[::1]x", "! \"[::1]x\" is no HOST:PORT"},
    {"port 0", "redis://a:0", "! \"0\" is no port"},
    {"a port beyond 65535", "redis://a:65536", "! \"65536\" is no port"},
    {"a database that is none", "redis://a/x", "! \"x\" is no number of a database (0 to 9999)"},
    {"several servers without a word how they go together", "redis://a,b",
     "! redis:// names one server; several are redis+sentinel:// or redis+cluster://"},
    {"sentinels without a master", "redis+sentinel://a",
     "! redis+sentinel:// needs the master's name behind the servers: …/MASTER"},
    {"a cluster with a database", "redis+cluster://a/1", "! a cluster has only database 0"},
    {"a user without a password", "redis://mx@a", "! before the \"@\" must be USER:PASSWORD or :PASSWORD"},
    {"an empty password", "redis://mx:@a", "! the password is empty"},
    {"half an encoded octet", "redis://:a%2@a",
     "! a \"%\" in the user or the password must be followed by two hexadecimal digits"},
    {"an encoded NUL", "redis://:a%00@a",
     "! a \"%\" in the user or the password must be followed by two hexadecimal digits"},
    {"a query that nobody knows", "rediss://a?cert=x",
     "! behind the \"?\" there may be ca=PATH and sentinel=[USER]:PASSWORD"},
    {"sentinels with a password", "redis+sentinel://:m@a/main?sentinel=:s%26",
     "sentinel - - - m main 0 a 26379 for sentinels - s&"},
    {"sentinels with a user, by TLS", "rediss+sentinel://a/main/1?sentinel=u:s@x&ca=/x",
     "sentinel tls /x - - main 1 a 26379 for sentinels u s@x"},
    {"a password for sentinels that are none", "redis://a?sentinel=:s",
     "! ?sentinel= is for redis+sentinel://"},
    {"a user of sentinels without a password", "redis+sentinel://a/main?sentinel=s",
     "! behind \"?sentinel=\" must be USER:PASSWORD or :PASSWORD"},
    {"certificates without TLS", "redis://a?ca=x", "! ?ca= is for rediss://, which has TLS"},
    {"certificates from nowhere", "rediss://a?ca=", "! ?ca= needs a path"},
    {"seventeen servers", "redis+cluster://a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a", "! more than 16 servers"},
};

static const char *or_dash(const char *text)
{
    return *text != '\0' ? text : "-";
}

static const char *told(struct arena *mem, const struct redis_url *url)
{
    static const char *const kinds[] = {"single", "sentinel", "cluster"};
    const char *text =
        str_fmt(mem, "%s %s %s %s %s %s %u", kinds[url->kind], url->tls ? "tls" : "-", or_dash(url->ca),
                or_dash(url->user), or_dash(url->password), or_dash(url->master), url->database);

    for (size_t i = 0; i < url->places_count; i++)
        text = str_fmt(mem, "%s %s %u", text, url->places[i].host, (unsigned)url->places[i].port);
    if (*url->sentinel_password != '\0')
        text =
            str_fmt(mem, "%s for sentinels %s %s", text, or_dash(url->sentinel_user), url->sentinel_password);
    return text;
}

static void test_urls(void **state)
{
    struct arena *mem = arena_new(0);

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct fail fail = {0};
        struct redis_url url;
        int outcome = redis_url_parse(mem, str_of(rows[i].url), &url, &fail);

        t_case(rows[i].name, NULL);
        t_same_z(outcome == 0 ? told(mem, &url) : str_fmt(mem, "! %s", fail.text), rows[i].want);
    }
    arena_free(&mem);
}

static void test_secrets(void **state)
{
    static const struct {
        const char *name, *url, *want;
    } shown[] = {
        {"a password is not shown", "redis://mx:secret@a:1/2", "redis://mx:***@a:1/2"},
        {"nor one with an @", "rediss://:se@cret@a?ca=x", "rediss://:***@a?ca=x"},
        {"without one all is shown", "redis+cluster://a,b", "redis+cluster://a,b"},
        {"nor one with a ? that is not encoded", "redis://mx:se?cret@a", "redis://mx:***@a"},
        {"nor that of the sentinels", "redis+sentinel://:m@a/x?sentinel=u:s@&t&ca=x",
         "redis+sentinel://:***@a/x?sentinel=***"},
        {"nor when it is all there is", "rediss+sentinel://a/x?ca=y&sentinel=:s",
         "rediss+sentinel://a/x?ca=y&sentinel=***"},
        {"a file is shown as it is", "sqlite:/a:b@c", "sqlite:/a:b@c"},
    };
    struct arena *mem = arena_new(0);

    (void)state;
    for (size_t i = 0; i < sizeof(shown) / sizeof(shown[0]); i++) {
        t_case(shown[i].name, NULL);
        t_same_z(redis_url_shown(mem, str_of(shown[i].url)), shown[i].want);
        t_same_int(redis_url_is(str_of(shown[i].url)), shown[i].url[0] == 'r');
    }
    arena_free(&mem);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_urls), cmocka_unit_test(test_secrets)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
