/*
 * bench/spf_bench.c - SPF evaluations a second with all DNS answers in the cache
 *
 * The real resolver on a loop, and a DNS server of a few lines beside it that is asked once for each name.
 * Three records: one network; what most domains have (an include, an mx, networks, -all); and one near the
 * limits.
 */
#include "auth/spf.h"
#include "dns/resolver.h"
#include "dns/wire_test.h"

#include <stdio.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { ROUNDS = 100000 };

static const struct fact {
    const char *name;
    enum dns_type type;
    const char *data;
} facts[] = {
    {"small.test", DNS_TXT, "v=spf1 ip4:192.0.2.0/24 -all"},
    {"usual.test", DNS_TXT, "v=spf1 include:_spf.usual.test mx ip4:198.51.100.0/24 -all"},
    {"_spf.usual.test", DNS_TXT, "v=spf1 ip4:203.0.113.0/24 ip6:2001:db8::/32 a:out.usual.test ~all"},
    {"out.usual.test", DNS_A, "203.0.113.1"},
    {"usual.test", DNS_MX, "mx.usual.test"},
    {"mx.usual.test", DNS_A, "203.0.113.2"},
    {"large.test", DNS_TXT,
     "v=spf1 a:a1.large.test a:a2.large.test a:a3.large.test a:a4.large.test a:a5.large.test "
     "a:a6.large.test a:a7.large.test a:a8.large.test exists:%{ir}.%{v}.large.test mx -all"},
    {"a1.large.test", DNS_A, "203.0.113.1"},
    {"a2.large.test", DNS_A, "203.0.113.2"},
    {"a3.large.test", DNS_A, "203.0.113.3"},
    {"a4.large.test", DNS_A, "203.0.113.4"},
    {"a5.large.test", DNS_A, "203.0.113.5"},
    {"a6.large.test", DNS_A, "203.0.113.6"},
    {"a7.large.test", DNS_A, "203.0.113.7"},
    {"a8.large.test", DNS_A, "203.0.113.8"},
    {"large.test", DNS_MX, "a1.large.test"},
};

static struct loop *loop;
static int server, asked;

static void on_question(unsigned ready, void *arg)
{
    static struct wire w;
    struct sockaddr_storage from;
    socklen_t from_n = sizeof(from);
    unsigned char query[512];
    ssize_t n = recvfrom(server, query, sizeof(query), MSG_DONTWAIT, (struct sockaddr *)&from, &from_n);
    struct dns_question question;
    size_t question_n, count = 0;

    (void)ready;
    (void)arg;
    if (n < 17)
        return;
    asked++;
    question_n = strlen((const char *)query + 12) + 5;
    wire_header(&w, (unsigned)query[0] << 8 | query[1], WIRE_OK);
    wire_count(&w, 4);
    wire_bytes(&w, query + 12, question_n);
    for (size_t i = 0; i < sizeof(facts) / sizeof(facts[0]); i++) {
        if (!dns_question_init(&question, facts[i].type, facts[i].name) || question.n + 2 != question_n ||
            memcmp(question.key + 2, query + 12, question.n - 2) != 0 ||
            query[12 + question_n - 3] != facts[i].type)
            continue;
        count++;
        if (facts[i].type == DNS_A) {
            wire_a(&w, "@12", 3600, facts[i].data);
        } else if (facts[i].type == DNS_MX) {
            wire_mx(&w, "@12", 10, facts[i].data);
        } else {
            wire_rr(&w, WIRE_ANSWER, "@12", DNS_TXT, 3600);
            w.b[w.n++] = (unsigned char)strlen(facts[i].data);
            wire_bytes(&w, facts[i].data, strlen(facts[i].data));
            wire_end(&w);
        }
    }
    if (count == 0) {
        w.b[3] |= 3;
        wire_soa(&w, 3600, 3600);
    }
    sendto(server, w.b, w.n, 0, (struct sockaddr *)&from, from_n);
}

static double cpu_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static const struct spf_answer *result;

static void on_done(const struct spf_answer *answer, void *arg)
{
    (void)arg;
    result = answer;
    loop_stop(loop);
}

static void evaluate(struct arena *mem, struct dns *dns, const char *sender)
{
    struct spf_ask ask = {
        .client = {4, {192, 0, 2, 7}}, .helo = "h.test", .mail_from = sender, .scope = SPF_MFROM};

    arena_reset(mem);
    spf_start(mem, dns, &ask, on_done, NULL);
    loop_run(loop);
}

static void measure(struct dns *dns, const char *sender)
{
    struct arena *mem = arena_new(16 * 1024);
    double begun;
    int before;

    evaluate(mem, dns, sender);
    before = asked;
    begun = cpu_us();
    for (int i = 0; i < ROUNDS; i++)
        evaluate(mem, dns, sender);
    begun = (cpu_us() - begun) / ROUNDS;
    printf("%-16s %-5s %2u lookups  %6.2f us  %8.0f a second  %5zu octets of memory  %d questions outside\n",
           sender, spf_result_name(result->result), result->lookups, begun, 1e6 / begun, arena_bytes(mem),
           asked - before);
    arena_free(&mem);
}

int main(void)
{
    static const char *const senders[] = {"u@small.test", "u@usual.test", "u@large.test", "u@absent.test"};
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t n = sizeof(at);
    struct endpoint endpoint;
    struct dns_settings settings = {
        .servers = &endpoint, .servers_count = 1, .timeout_ms = 2000, .tries = 1, .cache_entries = 1000};
    struct watch *watch;
    struct dns *dns;
    struct fail fail;

    loop = loop_new();
    server = socket(AF_INET, SOCK_DGRAM, 0);
    if (bind(server, (struct sockaddr *)&at, sizeof(at)) != 0 ||
        getsockname(server, (struct sockaddr *)&at, &n) != 0 ||
        !endpoint_from_sockaddr((struct sockaddr *)&at, &endpoint))
        return 1;
    watch = watch_start(loop, server, WATCH_READ, on_question, NULL);
    dns = resolver_new(loop, &settings, &fail);
    if (dns == NULL) {
        fprintf(stderr, "%s\n", fail.text);
        return 1;
    }
    for (size_t i = 0; i < sizeof(senders) / sizeof(senders[0]); i++)
        measure(dns, senders[i]);
    resolver_free(&dns);
    watch_stop(&watch);
    close(server);
    loop_free(&loop);
    return 0;
}
