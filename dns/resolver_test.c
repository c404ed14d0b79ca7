#include "dns/resolver.h"

#include "base/bug.h"
#include "dns/wire_test.h"
#include "tests/t.h"

#include <stdio.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

/*
 * A DNS server of a few lines on the same loop. The first label of the name asked is what it is to do:
 * "servfail", "refused", "nx", "nodata", "silent", "wrongid", "truncated" (over UDP; whole over TCP),
 * "large", "garbage", "formerr" (to EDNS), "alias", "lower" (the question in lower case over UDP); all else
 * has the address 192.0.2.1 for 300 s, "short" for a second.
 */
struct server {
    int udp, tcp, connection;
    struct endpoint at;
    struct watch *udp_watch, *tcp_watch, *connection_watch;
    bool refuses_all;
    int asked_udp, asked_tcp, asked_without_edns, asked_in_capitals;
    unsigned port, ports_seen; /* of the last question over UDP; how often it was another one */
};

static struct loop *loop;
static struct server servers[2];
static struct dns *dns;

static struct str asked_label(const unsigned char *query)
{
    static char label[64];

    for (int i = 0; i < query[12]; i++)
        label[i] = ascii_lower((char)query[13 + i]);
    return str_make(label, query[12]);
}

static void write_records(struct wire *w, struct str label)
{
    if (str_eq_z(label, "nodata") || str_eq_z(label, "nx")) {
        wire_soa(w, 600, 120);
    } else if (str_eq_z(label, "large")) {
        for (int i = 0; i < 50; i++)
            wire_a(w, "@12", 300, "192.0.2.1");
    } else if (str_eq_z(label, "truncated")) {
        for (int i = 0; i < 90; i++)
            wire_a(w, "@12", 300, "192.0.2.1");
    } else if (str_eq_z(label, "alias")) {
        wire_alias(w, "@12", 60, "b.test");
        wire_a(w, "b.test", 300, "192.0.2.1");
    } else if (str_eq_z(label, "short")) {
        wire_a(w, "@12", 1, "192.0.2.1");
    } else {
        wire_a(w, "@12", 300, "192.0.2.1");
    }
}

static unsigned rcode_of(const struct server *server, struct str label, bool edns)
{
    return server->refuses_all || str_eq_z(label, "refused") ? 5
           : str_eq_z(label, "servfail")                     ? 2
           : str_eq_z(label, "nx")                           ? 3
           : str_eq_z(label, "formerr") && edns              ? 1
                                                             : 0;
}

/* False: say nothing. */
static bool write_reply(struct server *server, struct wire *w, const unsigned char *query, size_t n, bool tcp)
{
    struct str label = asked_label(query);
    bool edns = query[11] == 1;
    unsigned id = (unsigned)query[0] << 8 | query[1], rcode = rcode_of(server, label, edns);
    size_t question_n = strlen((const char *)query + 12) + 5;

    t_true(n == 12 + question_n + (edns ? 11 : 0));
    server->asked_udp += !tcp;
    server->asked_tcp += tcp;
    server->asked_without_edns += !edns;
    for (size_t i = 12; i < 12 + question_n - 5; i++)
        if (query[i] >= 'A' && query[i] <= 'Z') {
            server->asked_in_capitals++;
            break;
        }
    if (str_eq_z(label, "silent"))
        return false;
    wire_header(w, str_eq_z(label, "wrongid") ? id ^ 1 : id, WIRE_OK | WIRE_AUTHENTIC | rcode);
    wire_count(w, 4);
    wire_bytes(w, query + 12, question_n);
    for (size_t i = 12; str_eq_z(label, "lower") && !tcp && i < w->n; i++)
        w->b[i] = (unsigned char)ascii_lower((char)w->b[i]);
    if (str_eq_z(label, "garbage"))
        wire_bytes(w, "\xc0\xff\x07garbage", 10), wire_count(w, WIRE_ANSWER);
    else if (str_eq_z(label, "truncated") && !tcp)
        w->b[2] |= 0x02;
    else if (rcode == 0 || rcode == 3)
        write_records(w, label);
    if (edns && rcode != 1)
        wire_opt(w, 0);
    return true;
}

static void on_udp(unsigned ready, void *arg)
{
    static struct wire w;
    struct server *server = arg;
    struct sockaddr_storage from;
    socklen_t from_n = sizeof(from);
    unsigned char query[512];
    ssize_t n = recvfrom(server->udp, query, sizeof(query), MSG_DONTWAIT, (struct sockaddr *)&from, &from_n);

    (void)ready;
    server->ports_seen += server->port != ntohs(((struct sockaddr_in *)&from)->sin_port);
    server->port = ntohs(((struct sockaddr_in *)&from)->sin_port);
    if (n > 12 && write_reply(server, &w, query, (size_t)n, false))
        t_true(sendto(server->udp, w.b, w.n, 0, (struct sockaddr *)&from, from_n) == (ssize_t)w.n);
}

static void hang_up(struct server *server)
{
    if (server->connection_watch == NULL)
        return;
    watch_stop(&server->connection_watch);
    close(server->connection);
}

/* Loopback gives us the whole question at once. */
static void on_connection(unsigned ready, void *arg)
{
    static struct wire w;
    struct server *server = arg;
    unsigned char query[512], length[2];
    ssize_t n = read(server->connection, query, sizeof(query));

    (void)ready;
    t_true(n > 14);
    if (write_reply(server, &w, query + 2, (size_t)n - 2, true)) {
        length[0] = (unsigned char)(w.n >> 8);
        length[1] = (unsigned char)w.n;
        t_true(write(server->connection, length, 2) == 2);
        t_true(write(server->connection, w.b, w.n) == (ssize_t)w.n);
    }
    hang_up(server);
}

static void on_tcp(unsigned ready, void *arg)
{
    struct server *server = arg;

    (void)ready;
    hang_up(server); /* one at a time */
    server->connection = accept(server->tcp, NULL, NULL);
    t_true(server->connection >= 0);
    server->connection_watch = watch_start(loop, server->connection, WATCH_READ, on_connection, server);
}

/* A port that is free for UDP may be somebody's for TCP: then another one is drawn. */
static bool bind_both(struct server *server)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t n = sizeof(at);

    *server = (struct server){.udp = socket(AF_INET, SOCK_DGRAM, 0), .tcp = socket(AF_INET, SOCK_STREAM, 0)};
    t_true(bind(server->udp, (struct sockaddr *)&at, sizeof(at)) == 0);
    t_true(getsockname(server->udp, (struct sockaddr *)&at, &n) == 0);
    t_true(endpoint_from_sockaddr((struct sockaddr *)&at, &server->at));
    if (bind(server->tcp, (struct sockaddr *)&at, sizeof(at)) == 0)
        return true;
    close(server->udp);
    close(server->tcp);
    return false;
}

static void start_server(struct server *server)
{
    for (int tries = 0; !bind_both(server); tries++)
        t_true(tries < 100);
    t_true(listen(server->tcp, 5) == 0);
    server->udp_watch = watch_start(loop, server->udp, WATCH_READ, on_udp, server);
    server->tcp_watch = watch_start(loop, server->tcp, WATCH_READ, on_tcp, server);
}

static void stop_server(struct server *server)
{
    hang_up(server);
    watch_stop(&server->udp_watch);
    watch_stop(&server->tcp_watch);
    close(server->udp);
    close(server->tcp);
}

/* ---- asking ---- */

struct asker {
    struct dns_token *token;
    struct dns_token **to_cancel; /* of another, in the callback */
    int calls;
    enum dns_status status;
    size_t count;
    uint32_t ttl_s;
    bool cached, stale, authenticated;
    char name[64];
};

static int answers;

static void on_answer(const struct dns_answer *answer, void *arg)
{
    struct asker *asker = arg;

    asker->token = NULL;
    asker->calls++;
    asker->status = answer->status;
    asker->count = answer->count;
    asker->ttl_s = answer->ttl_s;
    asker->cached = answer->cached;
    asker->stale = answer->stale;
    asker->authenticated = answer->authenticated;
    snprintf(asker->name, sizeof(asker->name), "%s", answer->name);
    if (asker->to_cancel != NULL)
        dns_cancel(asker->to_cancel);
    answers++;
    loop_stop(loop);
}

static void on_guard(void *arg)
{
    (void)arg;
    t_fail("no answer within 5 s");
}

static void run_until(int wanted)
{
    struct timer guard = {0};

    timer_start(&guard, loop, 5000, on_guard, NULL);
    while (answers < wanted)
        loop_run(loop);
    timer_stop(&guard);
}

static void on_pause_over(void *arg)
{
    (void)arg;
    loop_stop(loop);
}

static void run_for(int64_t ms)
{
    struct timer pause = {0};

    timer_start(&pause, loop, ms, on_pause_over, NULL);
    while (timer_is_started(&pause))
        loop_run(loop);
}

static void start(struct asker *asker, enum dns_type type, const char *name)
{
    int before = answers;

    *asker = (struct asker){.status = DNS_OK};
    asker->token = dns_query(dns, type, name, on_answer, asker);
    t_true(asker->token != NULL);
    t_same_int(answers, before);
}

static void ask(struct asker *asker, const char *name)
{
    start(asker, DNS_A, name);
    run_until(answers + 1);
    t_same_int(asker->calls, 1);
}

static void open_with(struct dns_settings settings, size_t servers_count)
{
    struct endpoint at[2] = {servers[0].at, servers[1].at};
    struct fail fail = {""};

    settings.servers = at;
    settings.servers_count = servers_count;
    settings.tries = 1;
    settings.cache_entries = 1000;
    resolver_free(&dns);
    dns = resolver_new(loop, &settings, &fail);
    t_same_z(fail.text, "");
    t_true(dns != NULL);
}

static void open_resolver(size_t servers_count, int64_t timeout_ms)
{
    open_with((struct dns_settings){.timeout_ms = timeout_ms}, servers_count);
}

static int set_up(void **state)
{
    (void)state;
    loop = loop_new();
    answers = 0;
    start_server(&servers[0]);
    start_server(&servers[1]);
    open_resolver(1, 2000);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    resolver_free(&dns);
    t_true(dns == NULL);
    stop_server(&servers[0]);
    stop_server(&servers[1]);
    loop_free(&loop);
    return 0;
}

/* ---- what comes of an answer ---- */

static void answers_become_statuses(void **state)
{
    static const struct {
        const char *name, *rfc, *asked;
        enum dns_status status;
        size_t count;
        uint32_t ttl_s;
        bool is_kept;
    } rows[] = {
        {"an address", "1035 3.4.1", "a.test", DNS_OK, 1, 300, true},
        {"an alias and an address", "1034 3.6.2", "alias.test", DNS_OK, 1, 60, true},
        {"no such name", "2308 2.1", "nx.test", DNS_NXDOMAIN, 0, 120, true},
        {"no data", "2308 2.2", "nodata.test", DNS_NODATA, 0, 120, true},
        {"SERVFAIL", "2308 7.1", "servfail.test", DNS_SERVFAIL, 0, 0, false},
        {"REFUSED", "1035 4.1.1", "refused.test", DNS_REFUSED, 0, 0, false},
        {"what cannot be read", "1035 4.1", "garbage.test", DNS_GARBLED, 0, 0, false},
        {"an empty label", "1035 3.1", "a..test", DNS_BADNAME, 0, 0, false},
        {"the empty name", "1035 3.1", "", DNS_BADNAME, 0, 0, false},
        {"odd octets", "2181 11", "a\\.\xff\x01 .test", DNS_OK, 1, 300, true},
    };
    struct asker asker;

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        t_case(rows[i].name, rows[i].rfc);
        for (int again = 0; again < 2; again++) {
            ask(&asker, rows[i].asked);
            t_same_z(dns_status_name(asker.status), dns_status_name(rows[i].status));
            t_same_int(asker.count, rows[i].count);
            t_same_int(asker.ttl_s, rows[i].ttl_s);
            t_same_z(asker.name, rows[i].asked);
            t_same_int(asker.cached, again && rows[i].is_kept);
        }
    }
    t_case("each was sent once, or twice when it was not kept", "");
    t_same_int(servers[0].asked_udp, 5 + 2 * 3);
    t_same_int(servers[0].asked_tcp, 0);
    t_same_int(resolver_counts(dns).asked, 2 * COUNT(rows));
    t_same_int(resolver_counts(dns).from_cache, 5);
    t_same_int(resolver_counts(dns).cache_entries, 5);
    t_same_int(resolver_counts(dns).answered, 5 + 2 * 3);
    t_same_int(resolver_counts(dns).servfails, 2);
}

static void the_ad_bit_of_loopback_is_believed(void **state)
{
    struct asker asker;

    (void)state;
    ask(&asker, "a.test");
    t_case("all servers are on loopback", "4035 4.9.3");
    t_true(asker.authenticated);
}

static void capitals_are_no_difference(void **state)
{
    struct asker asker;

    (void)state;
    ask(&asker, "a.test");
    ask(&asker, "A.Test");
    t_case("one question, and each asker's own spelling", "1035 2.3.3");
    t_same_z(asker.name, "A.Test");
    t_true(asker.cached);
    t_same_int(servers[0].asked_udp, 1);
}

static void large_answers_come_by_udp(void **state)
{
    struct asker asker;

    (void)state;
    ask(&asker, "large.test");
    t_case("50 addresses are 800 octets: EDNS has room", "6891 6.2.5");
    t_same_int(asker.count, 50);
    t_same_int(servers[0].asked_tcp, 0);
}

static void truncated_answers_come_by_tcp(void **state)
{
    struct asker asker;

    (void)state;
    ask(&asker, "truncated.test");
    t_case("asked again by TCP", "7766 5");
    t_same_int(asker.status, DNS_OK);
    t_same_int(asker.count, 90);
    t_same_int(servers[0].asked_udp, 1);
    t_same_int(servers[0].asked_tcp, 1);
    t_same_int(resolver_counts(dns).answered, 1);
}

static void silence_is_a_timeout(void **state)
{
    static const char *const names[] = {"silent.test", "wrongid.test"};
    struct asker asker;

    (void)state;
    open_resolver(1, 50);
    for (size_t i = 0; i < COUNT(names); i++) {
        int64_t began = loop_now_ms(loop);

        t_case(names[i], "5452 9.1");
        ask(&asker, names[i]);
        t_same_z(dns_status_name(asker.status), "timeout");
        t_true(loop_now_ms(loop) - began >= 45);
        t_true(loop_now_ms(loop) - began < 1000);
        t_same_int(resolver_counts(dns).timeouts, i + 1);
    }
    t_case("silence is not kept", "");
    t_same_int(resolver_counts(dns).cache_entries, 0);
    t_case("and leaves nothing behind that would call again", "");
    run_for(150);
    t_same_int(asker.calls, 1);
}

static void a_server_without_edns(void **state)
{
    struct asker askers[3];

    (void)state;
    t_case("FORMERR: asked once more without EDNS, side by side too", "6891 7");
    start(&askers[0], DNS_A, "formerr.test");
    start(&askers[1], DNS_AAAA, "formerr.test");
    start(&askers[2], DNS_MX, "formerr.test");
    run_until(3);
    for (size_t i = 0; i < COUNT(askers); i++)
        t_same_z(dns_status_name(askers[i].status), i == 0 ? "ok" : "nodata");
    t_same_int(servers[0].asked_without_edns, 3);
    t_same_int(servers[0].asked_udp, 6);
    t_case("other questions still go with EDNS", "");
    ask(&askers[0], "a.test");
    t_same_int(askers[0].status, DNS_OK);
    t_same_int(servers[0].asked_without_edns, 3);
    t_case("and the next FORMERR is met in the same way", "");
    ask(&askers[0], "formerr.x.test");
    t_same_int(askers[0].status, DNS_OK);
    t_same_int(servers[0].asked_without_edns, 4);
    t_case("a large answer too", "");
    ask(&askers[0], "large.test");
    t_same_int(askers[0].count, 50);
}

static void the_second_server_is_asked(void **state)
{
    struct asker asker;

    (void)state;
    open_resolver(2, 2000);
    servers[0].refuses_all = true;
    ask(&asker, "a.test");
    t_case("the first refuses, the second answers", "1035 7.2");
    t_same_int(asker.status, DNS_OK);
    t_same_int(servers[0].asked_udp, 1);
    t_same_int(servers[1].asked_udp, 1);
    t_case("both refuse: that is the answer", "");
    servers[1].refuses_all = true;
    ask(&asker, "b.test");
    t_same_z(dns_status_name(asker.status), "refused");
    t_same_int(servers[0].asked_udp, 2);
    t_same_int(servers[1].asked_udp, 2);
}

static void nobody_listens(void **state)
{
    struct asker asker;

    stop_server(&servers[0]);
    (void)state;
    open_resolver(1, 100);
    ask(&asker, "a.test");
    t_case("a closed port: refused or timed out, in time", "");
    t_true(asker.status == DNS_REFUSED || asker.status == DNS_TIMEOUT);
    start_server(&servers[0]);
}

/* c-ares gives up within ares_send(); the asker hears of it on a later turn like of all else. */
static void no_descriptors_left(void **state)
{
    struct rlimit before, none;
    struct asker asker;

    (void)state;
    t_true(getrlimit(RLIMIT_NOFILE, &before) == 0);
    none = before;
    none.rlim_cur = 0;
    t_true(setrlimit(RLIMIT_NOFILE, &none) == 0);
    start(&asker, DNS_A, "a.test");
    t_true(setrlimit(RLIMIT_NOFILE, &before) == 0);
    run_until(1);
    t_case("no socket could be opened", "");
    t_same_z(dns_status_name(asker.status), "refused");
    t_case("later it can", "");
    ask(&asker, "a.test");
    t_same_int(asker.status, DNS_OK);
}

/* ---- one question, many askers ---- */

static void identical_questions_are_joined(void **state)
{
    struct asker askers[3], other;

    (void)state;
    for (size_t i = 0; i < COUNT(askers); i++)
        start(&askers[i], DNS_A, i == 1 ? "A.TEST" : "a.test");
    start(&other, DNS_AAAA, "a.test");
    run_until(4);
    t_case("three askers, one question; another type is another", "");
    t_same_int(servers[0].asked_udp, 2);
    t_same_int(resolver_counts(dns).joined, 2);
    for (size_t i = 0; i < COUNT(askers); i++) {
        t_same_int(askers[i].calls, 1);
        t_same_int(askers[i].status, DNS_OK);
        t_true(!askers[i].cached);
    }
    t_same_z(askers[1].name, "A.TEST");
    t_same_int(other.status, DNS_NODATA);
}

static void cancelled_never_calls_back(void **state)
{
    struct asker first, second, third;

    (void)state;
    start(&first, DNS_A, "a.test");
    start(&second, DNS_A, "a.test");
    dns_cancel(&first.token);
    t_true(first.token == NULL);
    run_until(1);
    t_case("one of two askers left: the other is answered", "");
    t_same_int(first.calls, 0);
    t_same_int(second.calls, 1);
    t_case("a cached answer that waits for its turn can be cancelled", "");
    start(&first, DNS_A, "a.test");
    dns_cancel(&first.token);
    start(&first, DNS_A, "b..test");
    dns_cancel(&first.token);
    t_case("all askers left: the answer still serves the cache", "");
    start(&third, DNS_A, "c.test");
    dns_cancel(&third.token);
    run_for(50);
    t_same_int(first.calls, 0);
    t_same_int(third.calls, 0);
    ask(&third, "c.test");
    t_true(third.cached);
    t_same_int(servers[0].asked_udp, 2);
}

static void cancelled_in_anothers_callback(void **state)
{
    struct asker first, second;

    (void)state;
    for (int cached = 0; cached < 2; cached++) {
        t_case(cached ? "two cached answers of one turn" : "two askers of one question", "");
        start(&first, DNS_A, "a.test");
        start(&second, DNS_A, "a.test");
        first.to_cancel = &second.token;
        second.to_cancel = &first.token;
        run_until(answers + 1);
        run_for(20);
        t_same_int(first.calls + second.calls, 1);
        t_true(first.token == NULL && second.token == NULL);
    }
}

static void cached_answers_come_on_a_later_turn(void **state)
{
    struct asker asker;

    (void)state;
    ask(&asker, "a.test");
    t_true(!asker.cached);
    start(&asker, DNS_A, "a.test"); /* start() checks that nobody has called yet */
    run_until(2);
    t_case("from the cache, on the next turn", "");
    t_true(asker.cached);
    t_same_int(asker.calls, 1);
    t_same_int(asker.count, 1);
}

static void a_late_answer_after_the_deadline_is_no_answer(void **state)
{
    struct asker first, second;

    (void)state;
    open_resolver(1, 30);
    start(&first, DNS_A, "silent.test");
    run_until(1);
    t_same_int(first.status, DNS_TIMEOUT);
    start(&second, DNS_A, "silent.test");
    t_case("the next asker gets a flight of its own", "");
    run_until(2);
    t_same_int(second.status, DNS_TIMEOUT);
    t_same_int(first.calls, 1);
    t_same_int(servers[0].asked_udp, 2);
}

/* ---- the end ---- */

static void freed_it_answers_no_one(void **state)
{
    struct asker waiting, cached, bad;

    (void)state;
    ask(&cached, "a.test");
    start(&waiting, DNS_A, "silent.test");
    start(&cached, DNS_A, "a.test");
    start(&bad, DNS_A, "");
    resolver_free(&dns);
    run_for(50);
    t_same_int(waiting.calls + cached.calls + bad.calls, 0);
}

static void free_in_callback(const struct dns_answer *answer, void *arg)
{
    (void)answer;
    ++*(int *)arg;
    answers++;
    resolver_free(&dns);
    loop_stop(loop);
}

static void freed_in_a_callback(void **state)
{
    struct asker other;
    int calls = 0;

    (void)state;
    t_true(dns_query(dns, DNS_A, "a.test", free_in_callback, &calls) != NULL);
    start(&other, DNS_A, "a.test");
    run_until(1);
    run_for(20);
    t_same_int(calls, 1);
    t_same_int(other.calls, 0);
}

static void the_systems_servers(void **state)
{
    struct dns_settings settings = {.timeout_ms = 20, .tries = 1, .cache_entries = 10};
    struct fail fail = {""};
    struct asker bad;

    (void)state;
    resolver_free(&dns);
    dns = resolver_new(loop, &settings, &fail);
    t_case("whatever /etc/resolv.conf says, it starts", "");
    t_same_z(fail.text, "");
    ask(&bad, "a..test");
    t_same_int(bad.status, DNS_BADNAME);
}

/* ---- forgers ---- */

static void questions_that_nobody_guesses(void **state)
{
    struct asker asker;
    char name[64];

    (void)state;
    t_case("to a server on loopback one port and small letters do", "5452 9.2");
    for (int i = 0; i < 20; i++) {
        snprintf(name, sizeof(name), "some-long-name-%d.test", i);
        ask(&asker, name);
    }
    t_same_int(servers[0].ports_seen, 1);
    t_same_int(servers[0].asked_in_capitals, 0);
    open_with((struct dns_settings){.timeout_ms = 2000, .forgers = DNS_FORGERS_EXPECTED}, 1);
    t_case("elsewhere, neither the port nor the case can be guessed", "5452 9.2");
    for (int i = 0; i < 20; i++) {
        snprintf(name, sizeof(name), "some-long-name-%d.test", i);
        ask(&asker, name);
        t_same_int(asker.status, DNS_OK);
        t_same_z(asker.name, name);
    }
    t_true(servers[0].ports_seen > 10);
    t_true(servers[0].asked_in_capitals > 15);
    t_same_int(servers[0].asked_tcp, 0);
    t_same_int(resolver_counts(dns).other_case, 0);
}

static void ports_side_by_side(void **state)
{
    struct asker askers[40];
    char name[64];

    (void)state;
    open_with((struct dns_settings){.timeout_ms = 2000, .forgers = DNS_FORGERS_EXPECTED}, 1);
    for (size_t i = 0; i < COUNT(askers); i++) {
        snprintf(name, sizeof(name), "n%zu.test", i);
        start(&askers[i], DNS_A, name);
    }
    run_until(COUNT(askers));
    t_case("forty questions at once leave from several ports", "5452 9.2");
    t_true(servers[0].ports_seen > 5);
}

static void an_answer_in_another_case_is_proved(void **state)
{
    struct asker asker;

    (void)state;
    open_with((struct dns_settings){.timeout_ms = 2000, .forgers = DNS_FORGERS_EXPECTED}, 1);
    ask(&asker, "lower.a-name-with-enough-letters-for-one-capital.test");
    t_case("by TCP, where nobody forges it", "5452 9.2");
    t_same_int(asker.status, DNS_OK);
    t_same_int(servers[0].asked_udp, 1);
    t_same_int(servers[0].asked_tcp, 1);
    t_same_int(resolver_counts(dns).other_case, 1);
}

/* ---- when the DNS is away ---- */

static void expired_answers_while_the_server_is_away(void **state)
{
    struct asker asker;

    (void)state;
    open_with((struct dns_settings){.timeout_ms = 200, .stale_ms = 60 * 1000}, 1);
    ask(&asker, "short.test");
    servers[0].refuses_all = true;
    run_for(1100); /* a second is the shortest TTL that counts */
    ask(&asker, "short.test");
    t_case("the expired answer", "8767 4");
    t_same_int(asker.status, DNS_OK);
    t_true(asker.stale);
    t_same_int(asker.ttl_s, 30);
    t_same_int(servers[0].asked_udp, 2);
    ask(&asker, "short.test");
    t_case("and for half a minute nobody is asked for it", "8767 5");
    t_true(asker.stale);
    t_same_int(servers[0].asked_udp, 2);
    t_case("what was never there is not there", "");
    ask(&asker, "a.test");
    t_same_int(asker.status, DNS_REFUSED);
    t_same_int(resolver_counts(dns).stale, 1);
}

static void ask_many(const char *label, const char *tail)
{
    struct asker asker;
    char name[64];

    for (int i = 0; i < 21; i++) {
        snprintf(name, sizeof(name), "%s.%s%d.test", label, tail, i);
        ask(&asker, name);
    }
}

static void a_sick_resolver(void **state)
{
    (void)state;
    t_true(!resolver_health(dns).sick);
    ask_many("refused", "bad");
    t_case("most are refused: it is not their fault", "");
    t_true(resolver_health(dns).sick);
    t_same_z(resolver_health(dns).reason, "of 21 domains asked within 30 s, 21 were not answered");
    ask_many("a", "good");
    t_case("half of them are answered: well", "");
    t_true(!resolver_health(dns).sick);
    t_true(resolver_health(dns).reason == NULL);
}

static void wait_for_health(bool sick)
{
    for (int i = 0; resolver_health(dns).sick != sick; i++) {
        t_true(i < 1000);
        run_for(5);
    }
}

static void the_canary_falls_silent_and_sings_again(void **state)
{
    int before;

    (void)state;
    servers[0].refuses_all = true;
    open_with((struct dns_settings){.timeout_ms = 200, .canary = "our.own.test", .canary_ms = 60}, 1);
    wait_for_health(true);
    t_true(str_starts_same(str_of(resolver_health(dns).reason), STR("our own name was not answered")));
    servers[0].refuses_all = false;
    wait_for_health(false);
    t_case("it is asked for again and again, whatever the cache knows", "");
    before = servers[0].asked_udp;
    for (int i = 0; servers[0].asked_udp < before + 2; i++) {
        t_true(i < 1000);
        run_for(5);
    }
}

static void whom_it_asks(void **state)
{
    struct endpoint at[2];

    (void)state;
    open_resolver(2, 2000);
    t_same_int(resolver_servers(dns, at, 1), 2);
    t_same_int(resolver_servers(dns, at, 2), 2);
    t_same_int(at[0].port, servers[0].at.port);
    t_same_int(at[1].port, servers[1].at.port);
    t_true(ip_eq(&at[1].ip, &servers[1].at.ip));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(answers_become_statuses, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_ad_bit_of_loopback_is_believed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(capitals_are_no_difference, set_up, tear_down),
        cmocka_unit_test_setup_teardown(large_answers_come_by_udp, set_up, tear_down),
        cmocka_unit_test_setup_teardown(truncated_answers_come_by_tcp, set_up, tear_down),
        cmocka_unit_test_setup_teardown(silence_is_a_timeout, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_server_without_edns, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_second_server_is_asked, set_up, tear_down),
        cmocka_unit_test_setup_teardown(nobody_listens, set_up, tear_down),
        cmocka_unit_test_setup_teardown(no_descriptors_left, set_up, tear_down),
        cmocka_unit_test_setup_teardown(identical_questions_are_joined, set_up, tear_down),
        cmocka_unit_test_setup_teardown(cancelled_never_calls_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(cancelled_in_anothers_callback, set_up, tear_down),
        cmocka_unit_test_setup_teardown(cached_answers_come_on_a_later_turn, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_late_answer_after_the_deadline_is_no_answer, set_up, tear_down),
        cmocka_unit_test_setup_teardown(freed_it_answers_no_one, set_up, tear_down),
        cmocka_unit_test_setup_teardown(freed_in_a_callback, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_systems_servers, set_up, tear_down),
        cmocka_unit_test_setup_teardown(questions_that_nobody_guesses, set_up, tear_down),
        cmocka_unit_test_setup_teardown(ports_side_by_side, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_answer_in_another_case_is_proved, set_up, tear_down),
        cmocka_unit_test_setup_teardown(expired_answers_while_the_server_is_away, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_sick_resolver, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_canary_falls_silent_and_sings_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(whom_it_asks, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
