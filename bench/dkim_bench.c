/*
 * bench/dkim_bench.c - what one DKIM verification costs, and where it goes
 *
 * A 20 kB message, rsa-2048, relaxed/relaxed, the key warm in the cache, the body in pieces of 16 KiB as
 * sockets give them. Build: cc -O2 … -I. bench/dkim_bench.c build/release/libsmtpguard.a
 * build/release/libtests.a -lcrypto -lidn2 -lcmocka -ljansson. The parts are timed one by one, each in a loop
 * of its own; "rest" is the difference.
 */
#include "auth/dkim.h"
#include "auth/dkim_canon.h"
#include "auth/dkim_key.h"
#include "base/buf.h"
#include "tests/dkimsign.h"
#include "tests/fakedns.h"

#include <stdio.h>
#include <time.h>

enum { ROUNDS = 4000, BODY_BYTES = 20000, PIECE_BYTES = 16384 };

static double now_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

/* Answers at once when told to, so that no resolver is measured. */
struct oracle {
    struct dns dns;
    struct dns_token token;
    struct str record;
    dns_done_fn *done;
    void *arg;
};

static struct dns_token *ask(struct dns *dns, enum dns_type type, const char *name, dns_done_fn *done,
                             void *arg)
{
    struct oracle *o = (struct oracle *)dns;

    (void)type;
    (void)name;
    o->token.dns = dns;
    o->done = done;
    o->arg = arg;
    return &o->token;
}

static void forget(struct dns *dns, struct dns_token *token)
{
    (void)token;
    ((struct oracle *)dns)->done = NULL;
}

static void answer(struct oracle *o)
{
    struct dns_record record = {.text = o->record};
    struct dns_answer found = {.status = DNS_OK, .type = DNS_TXT, .name = "", .count = 1, .records = &record};

    o->done(&found, o->arg);
}

static enum dkim_result result;

static void on_done(const struct dkim_answer *a, void *arg)
{
    (void)arg;
    result = a->signatures[0].result;
}

static void verify(struct oracle *o, struct arena *mem, struct dkim_keys *keys, struct str section,
                   struct str body)
{
    static const struct dkim_settings settings = {MODE_ENFORCE, 1024, 6, DKIM_SHA1_POLICY};
    struct dkim_verifier *v;
    struct header header;

    header_parse(mem, section, 1000, &header);
    v = dkim_verify_start(mem, &o->dns, keys, &settings, &header, "example.org", 1735689600);
    answer(o);
    for (; body.n > 0; body = str_from(body, PIECE_BYTES))
        dkim_verify_body(v, str_upto(body, PIECE_BYTES));
    dkim_verify_end(v, on_done, NULL);
    answer(o); /* the next turn */
    dkim_verify_cancel(&v);
}

static void to_nowhere(void *arg, const char *p, size_t n)
{
    *(size_t *)arg += n + (size_t)*p;
}

static void canonicalize(struct dkim_canon_body *state, struct str body)
{
    size_t sum = 0;

    dkim_canon_body_init(state, DKIM_RELAXED, to_nowhere, &sum);
    for (; body.n > 0; body = str_from(body, PIECE_BYTES))
        dkim_canon_body_add(state, str_upto(body, PIECE_BYTES));
    dkim_canon_body_end(state);
}

static void hash(struct str body)
{
    struct dkim_hash *h = dkim_hash_new();
    uint8_t digest[DKIM_HASH_BYTES];

    dkim_hash_add(h, body.p, body.n);
    dkim_hash_end(&h, digest);
}

static const char section_text[] =
    "Received: from mx.example.org (mx.example.org [192.0.2.1])\r\n\tby mail.example.net with ESMTPS id "
    "4711;\r\n\t"
    "Tue, 31 Dec 2024 23:59:59 +0000\r\nDate: Tue, 31 Dec 2024 23:59:58 +0000\r\nFrom: Joe "
    "<joe@example.org>\r\n"
    "To: Jane <jane@example.net>\r\nSubject: a report\r\nMessage-ID: <1@example.org>\r\nMIME-Version: 1.0\r\n"
    "Content-Type: text/plain; charset=utf-8\r\n";

/* Kinds of body: quoted prose, base64, and HTML with indentation (the worst: each line begins with blanks).
 */
static void make_body(struct buf *body, int kind)
{
    static const char *const lines[][4] = {
        {"The quick brown fox jumps over the lazy dog, and then it rests a while in\r\n",
         "the shade. Nobody knows what it dreams of.\r\n", "\r\n",
         "> It is said that foxes dream of dogs that are not lazy at all, though.\r\n"},
        {"JVBERi0xLjQKJcfsj6IKNSAwIG9iago8PC9MZW5ndGggNiAwIFIvRmlsdGVyIC9GbGF0ZURl\r\n",
         "Y29kZT4+CnN0cmVhbQp4nK1YS4/bNhC++1foWBQIO3yT11wCFOilQIGeE8dpU6xTNBs0f79D\r\n",
         "UqIoiZJldwNsVl6RM9+8Z+RvJ+CdH8M/jn9Wz6dn/Px8wj/wV3f9cvr99PvpW8f5Z+TAZMc1\r\n",
         "k10H/2/fTs+nD91ffbx6Cx8DIfrfEWfIm+B9Q5x7OX3rvvz89vzz6adP56eX02cgdKDuDLgV\r\n"},
        {"        <table  class=\"a\">\r\n", "            <tr>\r\n", "                <td>one  two</td> \r\n",
         "        </table>\r\n"},
    };

    buf_clear(body);
    for (size_t i = 0; body->n < BODY_BYTES; i++)
        buf_add_z(body, lines[kind][i % 4]);
}

#define TIME(us, statement)                                                                                  \
    do {                                                                                                     \
        double since = now_us();                                                                             \
        for (int round = 0; round < ROUNDS; round++) {                                                       \
            statement;                                                                                       \
        }                                                                                                    \
        (us) = (now_us() - since) / ROUNDS;                                                                  \
    } while (0)

static void run(const struct dkimsign *how, const char *kind_name, int kind)
{
    static const uint8_t digest[DKIM_HASH_BYTES], signature[256] = {1};
    static struct dkim_canon_body state;
    struct arena *keep = arena_new(0), *mem = arena_new(16384);
    struct dkim_keys *keys = dkim_keys_new(100, clock_system());
    static const struct dns_ops ops = {ask, forget};
    struct oracle o = {.dns = {&ops}, .record = str_of(dkimsign_record(keep, how->key))};
    double all, sha, canon, key;
    struct str section;
    struct buf body;

    buf_init(&body, 1 << 20);
    make_body(&body, kind);
    section = dkimsign_section(keep, how, STR(section_text), buf_str(&body));
    verify(&o, mem, keys, section, buf_str(&body));
    if (result != DKIM_PASS)
        printf("the signature does not verify: %s\n", dkim_result_name(result));
    TIME(all, verify(&o, mem, keys, section, buf_str(&body)); arena_reset(mem));
    TIME(canon, canonicalize(&state, buf_str(&body)));
    TIME(sha, hash(buf_str(&body)));
    TIME(key, dkim_key_verify(dkim_keys_get(keys, o.record), digest, signature, sizeof(signature)));
    printf("%-8s %zu bytes: all %.1f us = key %.1f + sha %.1f + canon %.1f + rest %.1f\n", kind_name, body.n,
           all, key, sha, canon, all - key - sha - canon);
    buf_fini(&body);
    dkim_keys_free(&keys);
    arena_free(&mem);
    arena_free(&keep);
}

int main(void)
{
    struct dkimsign how = {.d = "example.org",
                           .s = "s",
                           .c = "relaxed/relaxed",
                           .extra = "t=1735600000; ",
                           .h = "from:to:subject:date:message-id:mime-version:content-type:from"};
    struct dkimsign_key *rsa = dkimsign_key_rsa(2048);

    how.key = rsa;
    run(&how, "prose", 0);
    run(&how, "base64", 1);
    run(&how, "indented", 2);
    dkimsign_key_free(&rsa);
    return 0;
}
