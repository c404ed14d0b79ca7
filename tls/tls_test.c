#include "tls/tls.h"

#include "tests/certificate.h"
#include "tests/t.h"

#include <malloc.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* ---- what OpenSSL holds, counted ---- */

static size_t held_bytes;

static void *count_malloc(size_t n, const char *file, int line)
{
    void *p = malloc(n);

    (void)file, (void)line;
    held_bytes += p != NULL ? malloc_usable_size(p) : 0;
    return p;
}

static void *count_realloc(void *old, size_t n, const char *file, int line)
{
    size_t before = old != NULL ? malloc_usable_size(old) : 0;
    void *p = realloc(old, n);

    (void)file, (void)line;
    held_bytes += (p != NULL ? malloc_usable_size(p) : 0) - before;
    return p;
}

static void count_free(void *p, const char *file, int line)
{
    (void)file, (void)line;
    held_bytes -= p != NULL ? malloc_usable_size(p) : 0;
    free(p);
}

/* ---- files of this run ---- */

static char folder[] = "/tmp/tls_test.XXXXXX";
static char paths[16][64];
static size_t paths_count;

static const char *path_of(const char *name)
{
    char *path = paths[paths_count++];

    t_true(paths_count <= sizeof(paths) / sizeof(*paths));
    snprintf(path, sizeof(*paths), "%s/%s", folder, name);
    return path;
}

static struct tls_pair make_pair(const char *name, const char *names, int days, const char *password)
{
    char cert[32], key[32];
    struct tls_pair pair;

    snprintf(cert, sizeof(cert), "%s.pem", name);
    snprintf(key, sizeof(key), "%s.key", name);
    pair = (struct tls_pair){path_of(cert), path_of(key)};
    t_true(certificate_make(pair.cert, pair.key, names, days, password));
    return pair;
}

static struct tls_pair mx, other, expired, locked;

static int make_files(void **state)
{
    (void)state;
    t_true(mkdtemp(folder) != NULL);
    mx = make_pair("mx", "mx.example.test", 30, NULL);
    other = make_pair("other", "mail.other.test,*.other.test", 10, NULL);
    expired = make_pair("expired", "mx.example.test", -1, NULL);
    locked = make_pair("locked", "mx.example.test", 30, "secret");
    setenv("SSL_CERT_FILE", mx.cert, 1); /* the system's CA for this test */
    setenv("SSL_CERT_DIR", folder, 1);
    return 0;
}

static int remove_files(void **state)
{
    (void)state;
    for (size_t i = 0; i < paths_count; i++)
        unlink(paths[i]);
    rmdir(folder);
    return 0;
}

static struct tls_context *server_with(const struct tls_settings *settings)
{
    struct fail fail = {""};
    struct tls_context *context = tls_server_context(settings, &fail);

    if (context == NULL)
        t_fail("%s", fail.text);
    return context;
}

static struct tls_context *client_with(enum tls_verify verify)
{
    struct fail fail = {""};
    struct tls_context *context = tls_client_context(verify, &fail);

    if (context == NULL)
        t_fail("%s", fail.text);
    return context;
}

/* ---- two engines and what is between them ---- */

struct side {
    struct tls_engine *engine;
    enum tls_status status;
    struct buf wire, plain;
};

struct talk {
    struct side server, client;
    size_t step; /* bytes handed over at once */
};

static void side_init(struct side *side, struct tls_engine *engine)
{
    side->engine = engine;
    side->status = TLS_HANDSHAKING;
    buf_init(&side->wire, 4 * 1024 * 1024);
    buf_init(&side->plain, 4 * 1024 * 1024);
}

static void talk_init(struct talk *talk, struct tls_context *server, struct tls_context *client,
                      const char *name)
{
    side_init(&talk->server, tls_server_engine(server));
    side_init(&talk->client, tls_client_engine(client, name));
    talk->step = SIZE_MAX;
    talk->client.status = tls_receive(talk->client.engine, NULL, 0, &talk->client.plain, &talk->client.wire);
}

static void side_fini(struct side *side)
{
    tls_engine_free(&side->engine);
    buf_fini(&side->wire);
    buf_fini(&side->plain);
}

static void talk_fini(struct talk *talk)
{
    side_fini(&talk->server);
    side_fini(&talk->client);
}

static bool hand_over(struct side *from, struct side *to, size_t step)
{
    size_t n = from->wire.n < step ? from->wire.n : step;

    if (n == 0)
        return false;
    to->status = tls_receive(to->engine, from->wire.p, n, &to->plain, &to->wire);
    buf_consume(&from->wire, n);
    return true;
}

static void talk_run(struct talk *talk)
{
    bool to_server, to_client;

    do {
        to_server = hand_over(&talk->client, &talk->server, talk->step);
        to_client = hand_over(&talk->server, &talk->client, talk->step);
    } while (to_server || to_client);
}

static void say(struct side *side, const char *text)
{
    side->status = tls_send(side->engine, text, strlen(text), &side->wire);
    t_same_int(side->status, TLS_OPEN);
}

/* ---- handshakes ---- */

static const struct {
    const char *name;
    enum tls_version least;
    const char *version;
} versions[] = {
    {"TLS 1.3 is taken when both have it", TLS_1_2, "TLSv1.3"},
    {"and when nothing else is allowed", TLS_1_3, "TLSv1.3"},
};

static void test_handshake(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(versions) / sizeof(*versions); i++) {
        struct tls_settings settings = {.pair = mx, .min_version = versions[i].least};
        struct tls_context *server = server_with(&settings), *client = client_with(TLS_VERIFY_NOTHING);
        struct talk talk;

        t_case(versions[i].name, "8446 4.2.1");
        talk_init(&talk, server, client, "mx.example.test");
        t_same_z(tls_engine_version(talk.server.engine), "");
        t_same_z(tls_engine_cipher(talk.server.engine), "");
        talk_run(&talk);
        t_same_int(talk.server.status, TLS_OPEN);
        t_same_int(talk.client.status, TLS_OPEN);
        t_same_z(tls_engine_version(talk.server.engine), versions[i].version);
        t_same_z(tls_engine_cipher(talk.server.engine), tls_engine_cipher(talk.client.engine));
        t_true(*tls_engine_cipher(talk.server.engine) != '\0');
        t_same_z(tls_engine_sni(talk.server.engine), "mx.example.test");
        say(&talk.client, "EHLO client.test\r\n");
        say(&talk.server, "250 mx.example.test\r\n");
        talk_run(&talk);
        t_same_str_z(buf_str(&talk.server.plain), "EHLO client.test\r\n");
        t_same_str_z(buf_str(&talk.client.plain), "250 mx.example.test\r\n");
        t_same_z(tls_engine_why(talk.server.engine), "");
        talk_fini(&talk);
        tls_context_unref(&server);
        tls_context_unref(&client);
    }
}

/* ---- TLS 1.2: a client of OpenSSL's own, since our engines would choose 1.3 ---- */

static void pump(SSL *client, BIO *to_client, BIO *from_client, struct side *server)
{
    char piece[4096];
    int n;

    do {
        if (SSL_is_init_finished(client))
            SSL_peek(client, piece, 1); /* takes what is no application data */
        else
            SSL_do_handshake(client);
        n = BIO_read(from_client, piece, sizeof(piece));
        if (n > 0)
            server->status = tls_receive(server->engine, piece, (size_t)n, &server->plain, &server->wire);
        BIO_write(to_client, server->wire.p, (int)server->wire.n);
        if (server->wire.n > 0)
            n = 1;
        buf_clear(&server->wire);
    } while (n > 0);
}

/* Such a client, and the engine that serves it. */
struct raw {
    struct tls_context *context;
    SSL_CTX *ctx;
    SSL *client;
    BIO *to_client, *from_client;
    struct side server;
};

static void raw_pump(struct raw *raw)
{
    pump(raw->client, raw->to_client, raw->from_client, &raw->server);
}

static void raw_open(struct raw *raw, int version)
{
    struct tls_settings settings = {.pair = mx};

    raw->context = server_with(&settings);
    raw->ctx = SSL_CTX_new(TLS_client_method());
    raw->client = SSL_new(raw->ctx);
    raw->to_client = BIO_new(BIO_s_mem());
    raw->from_client = BIO_new(BIO_s_mem());
    SSL_set_max_proto_version(raw->client, version);
    SSL_set_bio(raw->client, raw->to_client, raw->from_client);
    SSL_set_connect_state(raw->client);
    side_init(&raw->server, tls_server_engine(raw->context));
    raw_pump(raw);
    t_same_int(raw->server.status, TLS_OPEN);
}

static void raw_close(struct raw *raw)
{
    side_fini(&raw->server);
    SSL_free(raw->client);
    SSL_CTX_free(raw->ctx);
    tls_context_unref(&raw->context);
}

static void test_tls_1_2(void **state)
{
    struct raw raw;
    char got[100];

    (void)state;
    t_case("a client of TLS 1.2 is served, with forward secrecy", "9325 4.2");
    raw_open(&raw, TLS1_2_VERSION);
    t_same_z(tls_engine_version(raw.server.engine), "TLSv1.2");
    t_true(strncmp(tls_engine_cipher(raw.server.engine), "ECDHE-ECDSA-", 12) == 0);
    t_same_int(SSL_write(raw.client, "NOOP\r\n", 6), 6);
    raw_pump(&raw);
    t_same_str_z(buf_str(&raw.server.plain), "NOOP\r\n");
    say(&raw.server, "250 ok\r\n");
    raw_pump(&raw);
    t_same_int(SSL_read(raw.client, got, sizeof(got)), 8);

    t_case("renegotiation is refused, and then the client gives up", "9325 3.5");
    t_same_int(SSL_renegotiate(raw.client), 1);
    SSL_do_handshake(raw.client);
    raw_pump(&raw);
    t_same_int(raw.server.status, TLS_FAILED);
    t_true(strstr(tls_engine_why(raw.server.engine), "handshake failure") != NULL);
    raw_close(&raw);
}

/* A key update of 27 octets costs us 26 microseconds: a flood of them would leave no time for anybody else. */
static void test_key_updates(void **state)
{
    struct raw raw;
    unsigned updates = 0;

    (void)state;
    raw_open(&raw, TLS1_3_VERSION);
    while (raw.server.status == TLS_OPEN && updates < 1000) {
        t_same_int(SSL_key_update(raw.client, SSL_KEY_UPDATE_REQUESTED), 1);
        t_same_int(SSL_do_handshake(raw.client), 1);
        t_same_int(SSL_write(raw.client, "+", 1), 1);
        raw_pump(&raw);
        updates++;
    }
    t_case("some key updates are served, a flood of them ends the connection", "8446 4.6.3");
    t_true(updates > 50 && updates <= 100);
    t_same_int(raw.server.status, TLS_FAILED);
    t_same_int(raw.server.plain.n, updates - 1);
    t_same_z(tls_engine_why(raw.server.engine), "too many handshake messages");
    raw_close(&raw);
}

/* ---- what the ClientHello alone decides ---- */

static size_t find_bytes(const struct buf *b, const char *bytes, size_t n)
{
    const char *at = memmem(b->p, b->n, bytes, n);

    return at != NULL ? (size_t)(at - b->p) : b->n;
}

static void hide_tls_1_3(struct buf *wire)
{
    size_t at = find_bytes(wire, "\x00\x2b\x00", 3); /* supported_versions (RFC 8446 4.2.1) */

    t_true(at < wire->n);
    wire->p[at] = '\x7f'; /* an extension that nobody knows */
}

static void test_min_version(void **state)
{
    struct tls_context *client = client_with(TLS_VERIFY_NOTHING);
    struct tls_settings settings = {.pair = mx, .min_version = TLS_1_3};
    struct tls_context *server = server_with(&settings);
    struct talk talk;

    (void)state;
    t_case("a client without TLS 1.3 is refused where 1.3 is the least", "8446 6.2");
    talk_init(&talk, server, client, NULL);
    hide_tls_1_3(&talk.client.wire);
    t_true(hand_over(&talk.client, &talk.server, SIZE_MAX));
    t_same_int(talk.server.status, TLS_FAILED);
    t_same_z(tls_engine_why(talk.server.engine), "the TLS handshake failed: unsupported protocol");
    t_true(talk.server.wire.n == 7 && talk.server.wire.p[0] == 21 && talk.server.wire.p[6] == 70);
    talk_fini(&talk);
    tls_context_unref(&server);

    t_case("and answered in TLS 1.2 where 1.2 is the least", "5246 7.4.1.3");
    settings.min_version = TLS_1_2;
    server = server_with(&settings);
    talk_init(&talk, server, client, NULL);
    hide_tls_1_3(&talk.client.wire);
    t_true(hand_over(&talk.client, &talk.server, SIZE_MAX));
    t_same_int(talk.server.status, TLS_HANDSHAKING);
    t_true(talk.server.wire.n > 11 && memcmp(talk.server.wire.p + 9, "\x03\x03", 2) == 0);
    talk_fini(&talk);
    tls_context_unref(&server);
    tls_context_unref(&client);
}

static void test_every_byte(void **state)
{
    struct tls_settings settings = {.pair = mx};
    struct tls_context *server = server_with(&settings), *client = client_with(TLS_VERIFY_NOTHING);
    struct talk talk;

    (void)state;
    t_case("bytes may come one at a time", "8446 5.1");
    talk_init(&talk, server, client, NULL);
    talk.step = 1;
    talk_run(&talk);
    t_same_int(talk.server.status, TLS_OPEN);
    say(&talk.client, "MAIL FROM:<a@b.test>\r\n");
    talk_run(&talk);
    t_same_str_z(buf_str(&talk.server.plain), "MAIL FROM:<a@b.test>\r\n");
    t_true(tls_engine_sni(talk.server.engine) == NULL);
    talk_fini(&talk);
    tls_context_unref(&server);
    tls_context_unref(&client);
}

/* ---- names ---- */

static const struct {
    const char *name, *sni, *cert;
} names[] = {
    {"no name: the first pair", NULL, "mx.pem"},
    {"a name that nobody has: the first pair", "unknown.test", "mx.pem"},
    {"the name of the first", "mx.example.test", "mx.pem"},
    {"a further pair by its name", "mail.other.test", "other.pem"},
    {"in any case", "MAIL.Other.TEST", "other.pem"},
    {"a wildcard stands for one label", "x.other.test", "other.pem"},
    {"and not for two", "y.x.other.test", "mx.pem"},
    {"a leading dot is no wildcard of the client's", ".other.test", "mx.pem"},
    {"an address is never sent as a name", "192.0.2.1", "mx.pem"},
};

static void test_sni(void **state)
{
    struct tls_settings settings = {.pair = mx, .more = &other, .more_count = 1};
    struct tls_context *server = server_with(&settings), *client = client_with(TLS_VERIFY_NOTHING);

    (void)state;
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        struct talk talk;
        const char *want = strcmp(names[i].cert, "mx.pem") == 0 ? "mx.example.test" : "mail.other.test";
        const char *not_want = *want == 'm' && want[1] == 'x' ? "mail.other.test" : "mx.example.test";

        /* In TLS 1.2 the certificate travels in the clear. */
        t_case(names[i].name, "6066 3");
        talk_init(&talk, server, client, names[i].sni);
        hide_tls_1_3(&talk.client.wire);
        t_true(hand_over(&talk.client, &talk.server, SIZE_MAX));
        t_true(find_bytes(&talk.server.wire, want, strlen(want)) < talk.server.wire.n);
        t_true(find_bytes(&talk.server.wire, not_want, strlen(not_want)) == talk.server.wire.n);
        talk_fini(&talk);
    }
    tls_context_unref(&server);
    tls_context_unref(&client);
}

static const struct {
    const char *name, *asked;
    const struct tls_pair *pair;
    const char *why; /* NULL: accepted */
} verified[] = {
    {"a good certificate with the right name", "mx.example.test", &mx, NULL},
    {"the wrong name", "mx2.example.test", &mx, "hostname mismatch"},
    {"an address that is not in it", "127.0.0.1", &mx, "IP address mismatch"},
    {"a certificate of nobody we know", "mail.other.test", &other, "self-signed certificate"},
    {"expired and unknown", "mx.example.test", &expired, "self-signed certificate"},
};

static void test_verify(void **state)
{
    struct tls_context *client = client_with(TLS_VERIFY_NAME);

    (void)state;
    for (size_t i = 0; i < sizeof(verified) / sizeof(*verified); i++) {
        struct tls_settings settings = {.pair = *verified[i].pair};
        char why[256];
        struct tls_context *server = server_with(&settings);
        struct talk talk;

        t_case(verified[i].name, "6125 6");
        talk_init(&talk, server, client, verified[i].asked);
        talk_run(&talk);
        why[0] = '\0';
        if (verified[i].why != NULL)
            snprintf(why, sizeof(why), "the server's certificate is not good: %s", verified[i].why);
        t_same_z(tls_engine_why(talk.client.engine), why);
        t_same_int(talk.client.status, verified[i].why != NULL ? TLS_FAILED : TLS_OPEN);
        t_same_int(talk.server.status, verified[i].why != NULL ? TLS_FAILED : TLS_OPEN);
        talk_fini(&talk);
        tls_context_unref(&server);
    }
    tls_context_unref(&client);
}

/* ---- authorities and pins of one's own ---- */

/* The SHA-256 of a certificate's key, as the engine tells it when it is none of the pins. */
static void learn_pin(const struct tls_pair *pair, struct tls_pin *pin_out)
{
    static const struct tls_pin none = {{0}};
    struct tls_client_settings wanted = {.verify = TLS_VERIFY_PIN, .pins = &none, .pins_count = 1};
    struct tls_settings settings = {.pair = *pair};
    struct tls_context *server = server_with(&settings), *client = tls_verifying_context(&wanted, NULL);
    struct talk talk;
    struct str why, hex;

    talk_init(&talk, server, client, NULL);
    talk_run(&talk);
    t_same_int(talk.client.status, TLS_FAILED);
    t_same_int(talk.server.status, TLS_FAILED);
    why = str_of(tls_engine_why(talk.client.engine));
    t_true(str_starts(why, STR("the server's key is none of those that are pinned: its SHA-256 is ")));
    hex = str_from(why, why.n - 64);
    for (size_t i = 0; i < sizeof(pin_out->sha256); i++) {
        const char digits[] = {hex.p[2 * i], hex.p[2 * i + 1], '\0'};

        pin_out->sha256[i] = (uint8_t)strtoul(digits, NULL, 16);
    }
    talk_fini(&talk);
    tls_context_unref(&server);
    tls_context_unref(&client);
}

static void expect_handshake(const struct tls_client_settings *wanted, const struct tls_pair *pair,
                             const char *name, const char *why)
{
    struct tls_settings settings = {.pair = *pair};
    struct tls_context *server = server_with(&settings), *client = tls_verifying_context(wanted, NULL);
    struct talk talk;

    talk_init(&talk, server, client, name);
    talk_run(&talk);
    t_same_z(tls_engine_why(talk.client.engine), why);
    t_same_int(talk.client.status, *why != '\0' ? TLS_FAILED : TLS_OPEN);
    talk_fini(&talk);
    tls_context_unref(&server);
    tls_context_unref(&client);
}

static void test_authorities(void **state)
{
    struct tls_client_settings wanted = {.verify = TLS_VERIFY_NAME, .ca = other.cert};
    struct fail fail = {""};

    (void)state;
    t_case("an authority of one's own takes the place of the system's", "5280 6");
    expect_handshake(&wanted, &other, "mail.other.test", "");
    expect_handshake(&wanted, &mx, "mx.example.test",
                     "the server's certificate is not good: self-signed certificate");
    t_case("a certificate that has expired", "5280 4.1.2.5");
    wanted.ca = expired.cert;
    expect_handshake(&wanted, &expired, "mx.example.test",
                     "the server's certificate is not good: certificate has expired");
    t_case("a file that is none", NULL);
    wanted.ca = mx.key;
    t_true(tls_verifying_context(&wanted, &fail) == NULL);
    t_true(str_starts(str_of(fail.text), STR("no CA certificates can be read from ")));
}

static void test_pins(void **state)
{
    struct tls_pin pins[2];
    struct tls_client_settings wanted = {.verify = TLS_VERIFY_PIN, .pins = pins, .pins_count = 2};

    (void)state;
    learn_pin(&other, &pins[0]);
    learn_pin(&expired, &pins[1]);
    t_case("the key is all that counts: not the name, not who signed it, not the date", "7671 5.1");
    expect_handshake(&wanted, &other, "nobody.test", "");
    expect_handshake(&wanted, &expired, NULL, "");
    t_case("another key is refused, whoever signed it", NULL);
    wanted.pins_count = 1;
    learn_pin(&mx, &pins[1]);
    t_true(memcmp(&pins[0], &pins[1], sizeof(pins[0])) != 0);
}

/* ---- ends ---- */

static void test_close_notify(void **state)
{
    struct tls_settings settings = {.pair = mx};
    struct tls_context *server = server_with(&settings), *client = client_with(TLS_VERIFY_NOTHING);
    struct talk talk;

    (void)state;
    t_case("close_notify ends it, after what was said before, and nothing counts behind it", "8446 6.1");
    talk_init(&talk, server, client, NULL);
    talk_run(&talk);
    say(&talk.client, "QUIT\r\n");
    tls_finish(talk.client.engine, &talk.client.wire);
    buf_add_z(&talk.client.wire, "garbage behind");
    talk_run(&talk);
    t_same_int(talk.server.status, TLS_ENDED);
    t_same_str_z(buf_str(&talk.server.plain), "QUIT\r\n");
    t_same_int(tls_receive(talk.server.engine, "more", 4, &talk.server.plain, &talk.server.wire), TLS_ENDED);
    t_true(talk.server.plain.n == 6);

    t_case("the other side may still be answered, and told the same", "8446 6.1");
    tls_send(talk.server.engine, "221 bye\r\n", 9, &talk.server.wire);
    tls_finish(talk.server.engine, &talk.server.wire);
    talk_run(&talk);
    t_same_int(talk.client.status, TLS_ENDED);
    t_same_str_z(buf_str(&talk.client.plain), "221 bye\r\n");
    talk_fini(&talk);

    t_case("finishing before the handshake says nothing", NULL);
    talk_init(&talk, server, client, NULL);
    tls_finish(talk.server.engine, &talk.server.wire);
    t_true(talk.server.wire.n == 0);
    talk_fini(&talk);
    tls_context_unref(&server);
    tls_context_unref(&client);
}

static void test_garbage(void **state)
{
    struct tls_settings settings = {.pair = mx};
    struct tls_context *server = server_with(&settings), *client = client_with(TLS_VERIFY_NOTHING);
    struct talk talk;

    (void)state;
    t_case("a plaintext command where ClientHello should be", "3207 4");
    talk_init(&talk, server, client, NULL);
    talk.server.status =
        tls_receive(talk.server.engine, "EHLO client.test\r\n", 18, &talk.server.plain, &talk.server.wire);
    t_same_int(talk.server.status, TLS_FAILED);
    t_true(strncmp(tls_engine_why(talk.server.engine), "the other side does not speak TLS: ", 35) == 0);
    t_true(talk.server.plain.n == 0);
    t_same_int(tls_receive(talk.server.engine, "x", 1, &talk.server.plain, &talk.server.wire), TLS_FAILED);
    t_same_int(tls_send(talk.server.engine, "x", 1, &talk.server.wire), TLS_FAILED);
    talk_fini(&talk);

    t_case("a record that was changed on its way", "8446 5.2");
    talk_init(&talk, server, client, NULL);
    talk_run(&talk);
    say(&talk.client, "MAIL FROM:<>\r\n");
    talk.client.wire.p[talk.client.wire.n - 1] ^= 1;
    talk_run(&talk);
    t_same_int(talk.server.status, TLS_FAILED);
    t_true(talk.server.plain.n == 0);
    t_true(strncmp(tls_engine_why(talk.server.engine), "the TLS connection broke: ", 26) == 0);
    t_same_int(talk.client.status, TLS_FAILED); /* the alert told it */
    talk_fini(&talk);

    t_case("half a record gives nothing and waits", "8446 5.1");
    talk_init(&talk, server, client, NULL);
    talk_run(&talk);
    say(&talk.client, "DATA\r\n");
    t_true(hand_over(&talk.client, &talk.server, talk.client.wire.n - 1));
    t_same_int(talk.server.status, TLS_OPEN);
    t_true(talk.server.plain.n == 0 && !tls_has_more(talk.server.engine));
    talk_fini(&talk);
    tls_context_unref(&server);
    tls_context_unref(&client);
}

/* ---- much data ---- */

enum { MUCH = 1024 * 1024 };

static void fill(char *bytes, size_t n, unsigned seed)
{
    for (size_t i = 0; i < n; i++) {
        seed = seed * 1103515245 + 12345;
        bytes[i] = (char)(seed >> 16);
    }
}

static void test_megabyte(void **state)
{
    struct tls_settings settings = {.pair = mx};
    struct tls_context *server = server_with(&settings), *client = client_with(TLS_VERIFY_NOTHING);
    char *there = malloc(MUCH), *back = malloc(MUCH);
    struct talk talk;

    (void)state;
    t_case("a megabyte each way comes as it was", NULL);
    fill(there, MUCH, 1);
    fill(back, MUCH, 2);
    talk_init(&talk, server, client, NULL);
    talk_run(&talk);
    talk.step = 40000;
    t_same_int(tls_send(talk.client.engine, there, MUCH, &talk.client.wire), TLS_OPEN);
    t_same_int(tls_send(talk.server.engine, back, MUCH, &talk.server.wire), TLS_OPEN);
    t_true(talk.client.wire.n <= MUCH + (MUCH / 16384 + 1) * 40);
    talk_run(&talk);
    t_true(talk.server.plain.n == MUCH && memcmp(talk.server.plain.p, there, MUCH) == 0);
    t_true(talk.client.plain.n == MUCH && memcmp(talk.client.plain.p, back, MUCH) == 0);
    talk_fini(&talk);
    free(there);
    free(back);
    tls_context_unref(&server);
    tls_context_unref(&client);
}

static void test_plain_limit(void **state)
{
    struct tls_settings settings = {.pair = mx};
    struct tls_context *server = server_with(&settings), *client = client_with(TLS_VERIFY_NOTHING);
    char *sent = malloc(MUCH / 4), *got = malloc(MUCH / 4);
    size_t n = 0;
    struct talk talk;

    (void)state;
    t_case("plaintext stops at the max of its buffer, and goes on when it was emptied", NULL);
    fill(sent, MUCH / 4, 3);
    talk_init(&talk, server, client, NULL);
    talk_run(&talk);
    talk.server.plain.max = 1000;
    tls_send(talk.client.engine, sent, MUCH / 4, &talk.client.wire);
    while (talk.client.wire.n > 0 || tls_has_more(talk.server.engine)) {
        if (!tls_has_more(talk.server.engine))
            hand_over(&talk.client, &talk.server, 50000);
        else
            tls_receive(talk.server.engine, NULL, 0, &talk.server.plain, &talk.server.wire);
        t_true(talk.server.plain.n <= 1000 && !talk.server.plain.overflow);
        t_true(n + talk.server.plain.n <= MUCH / 4);
        memcpy(got + n, talk.server.plain.p, talk.server.plain.n);
        n += talk.server.plain.n;
        buf_clear(&talk.server.plain);
    }
    t_true(n == MUCH / 4 && memcmp(sent, got, n) == 0);
    talk_fini(&talk);

    t_case("what is fed against the rules is bounded", NULL);
    talk_init(&talk, server, client, NULL);
    talk_run(&talk);
    talk.server.plain.max = 1000;
    for (int i = 0; i < 8; i++)
        tls_send(talk.client.engine, sent, MUCH / 4, &talk.client.wire);
    talk.step = 50000;
    talk_run(&talk);
    t_same_int(talk.server.status, TLS_FAILED);
    t_same_z(tls_engine_why(talk.server.engine), "more input than an engine keeps");
    talk_fini(&talk);

    t_case("no room on the wire is a failure that says so", NULL);
    talk_init(&talk, server, client, NULL);
    talk_run(&talk);
    talk.client.wire.max = 5000;
    t_same_int(tls_send(talk.client.engine, sent, MUCH / 4, &talk.client.wire), TLS_FAILED);
    t_same_z(tls_engine_why(talk.client.engine), "no room for what TLS has to send");
    talk_fini(&talk);
    free(sent);
    free(got);
    tls_context_unref(&server);
    tls_context_unref(&client);
}

/* ---- contexts ---- */

static void refused(const struct tls_settings *settings, const char *want)
{
    struct fail fail = {""};

    t_true(tls_server_context(settings, &fail) == NULL);
    if (strstr(fail.text, want) == NULL)
        t_fail("\"%s\" does not say \"%s\"", fail.text, want);
}

static void test_bad_files(void **state)
{
    struct tls_settings none = {.pair = {"", ""}}, no_key = {.pair = {mx.cert, NULL}};
    struct tls_settings missing = {.pair = {"/nonexistent/cert.pem", mx.key}};
    struct tls_settings missing_key = {.pair = {mx.cert, "/nonexistent/key.pem"}};
    struct tls_settings mixed = {.pair = {mx.cert, other.key}}, no_pem = {.pair = {"/dev/null", mx.key}};
    struct tls_settings bad_key = {.pair = {mx.cert, mx.cert}}, encrypted = {.pair = locked};
    struct tls_settings bad_more = {.pair = mx, .more = &mixed.pair, .more_count = 1};
    struct tls_settings ciphers = {.pair = mx, .ciphers = "NONSENSE"};

    (void)state;
    t_case("each fault of the files is a sentence with the file's name", NULL);
    refused(&none, "no TLS certificate is set");
    refused(&no_key, "has no key");
    refused(&missing, "cannot read the certificate /nonexistent/cert.pem: No such file or directory");
    refused(&missing_key, "cannot read the key /nonexistent/key.pem: No such file or directory");
    refused(&no_pem, "the certificate /dev/null cannot be used: ");
    refused(&bad_key, "mx.pem is not a private key in PEM: ");
    refused(&encrypted, "locked.key is encrypted");
    refused(&mixed, "other.key does not fit the certificate ");
    refused(&bad_more, "other.key does not fit the certificate ");
    refused(&ciphers, "no cipher is named by \"NONSENSE\"");
}

static void test_expiry(void **state)
{
    struct tls_pair more[] = {other};
    struct tls_settings settings = {.pair = mx, .more = more, .more_count = 1}, old = {.pair = expired};
    struct tls_context *server = server_with(&settings);
    int64_t now = (int64_t)time(NULL), day = 24 * 3600;

    (void)state;
    t_case("the soonest expiry of all pairs is told", NULL);
    t_true(tls_context_not_after_unix(server) > now + 9 * day);
    t_true(tls_context_not_after_unix(server) < now + 11 * day);
    tls_context_unref(&server);
    t_case("an expired certificate is served, and its date told", NULL);
    server = server_with(&old);
    t_true(tls_context_not_after_unix(server) < now);
    tls_context_unref(&server);
}

static void test_chain(void **state)
{
    struct tls_settings settings = {.pair = mx};
    struct tls_context *server = server_with(&settings), *client = client_with(TLS_VERIFY_NOTHING);
    struct arena *mem = arena_new(0);
    const struct str *chain;
    struct talk talk;

    (void)state;
    t_case("what a server has shown is told when the handshake is over, and a client shows nothing", NULL);
    talk_init(&talk, server, client, NULL);
    t_same_int(tls_engine_chain(talk.client.engine, mem, &chain), 0);
    talk_run(&talk);
    t_same_int(tls_engine_chain(talk.server.engine, mem, &chain), 0);
    t_same_int(tls_engine_chain(talk.client.engine, mem, &chain), 1);
    talk_fini(&talk);
    t_true(chain[0].n > 100 && chain[0].p[0] == 0x30); /* a SEQUENCE, which outlives its engine */
    arena_free(&mem);
    tls_context_unref(&server);
    tls_context_unref(&client);
}

static void test_reload(void **state)
{
    struct tls_settings settings = {.pair = mx};
    struct tls_context *server = server_with(&settings), *client = client_with(TLS_VERIFY_NOTHING);
    struct tls_context *second = tls_context_ref(server);
    struct talk talk;

    (void)state;
    t_case("an engine outlives its context's owners", NULL);
    talk_init(&talk, server, client, NULL);
    tls_context_unref(&server);
    tls_context_unref(&second);
    tls_context_unref(&client);
    t_true(server == NULL && second == NULL);
    talk_run(&talk);
    t_same_int(talk.server.status, TLS_OPEN);
    talk_fini(&talk);
    tls_context_unref(&server); /* NULL is fine */
}

static void test_memory(void **state)
{
    enum { ENGINES = 50, MOST_BYTES = 25 * 1000 };
    struct tls_settings settings = {.pair = mx};
    struct tls_context *server = server_with(&settings), *client = client_with(TLS_VERIFY_NOTHING);
    struct side sides[ENGINES];
    size_t before = 0, each;

    (void)state;
    t_case("an idle server engine holds less than 25 kB", NULL);
    for (int i = 0; i < ENGINES; i++) {
        struct talk talk;

        if (i == 1)
            before = held_bytes; /* the first one also paid for what is made once */
        talk_init(&talk, server, client, "mx.example.test");
        talk_run(&talk);
        say(&talk.client, "EHLO client.test\r\n");
        talk_run(&talk);
        say(&talk.server, "250 mx.example.test\r\n");
        talk_run(&talk);
        side_fini(&talk.client);
        sides[i] = talk.server;
    }
    each = (held_bytes - before) / (ENGINES - 1);
    print_message("an idle server engine: %zu bytes in OpenSSL\n", each);
    t_true(each > 1000 && each < MOST_BYTES);
    for (int i = 0; i < ENGINES; i++)
        side_fini(&sides[i]);
    tls_context_unref(&server);
    tls_context_unref(&client);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_handshake),    cmocka_unit_test(test_tls_1_2),
        cmocka_unit_test(test_min_version),  cmocka_unit_test(test_every_byte),
        cmocka_unit_test(test_sni),          cmocka_unit_test(test_verify),
        cmocka_unit_test(test_authorities),  cmocka_unit_test(test_pins),
        cmocka_unit_test(test_close_notify), cmocka_unit_test(test_garbage),
        cmocka_unit_test(test_megabyte),     cmocka_unit_test(test_plain_limit),
        cmocka_unit_test(test_bad_files),    cmocka_unit_test(test_expiry),
        cmocka_unit_test(test_reload),       cmocka_unit_test(test_memory),
        cmocka_unit_test(test_key_updates),  cmocka_unit_test(test_chain),
    };

    if (CRYPTO_set_mem_functions(count_malloc, count_realloc, count_free) != 1)
        return 1;
    return cmocka_run_group_tests(tests, make_files, remove_files);
}
