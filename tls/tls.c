#include "tls/tls.h"

#include "base/bug.h"
#include "base/ip.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    RECORD_BYTES = 16 * 1024,    /* plaintext of one record at the most (RFC 8446 5.1) */
    WAITING_BYTES = 1024 * 1024, /* input an engine keeps while `plain` is full */
    WHY_BYTES = 256,
    /* Of the other side, in all. A handshake has a dozen; what comes later (KeyUpdate, HelloRequest, tickets) costs us
     * far more than it costs to send, and mail needs none of it (RFC 8446 5.5: after 2^24 records). */
    HANDSHAKE_MESSAGES_MAX = 100,
};

/* Port 25: forward secrecy first, but a peer that only has RSA key exchange still gets encryption, since
 * the other choice it has is plaintext. */
static const char default_ciphers[] = "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM:DHE+CHACHA20:ECDHE+AES:DHE+AES:"
                                      "RSA+AESGCM:RSA+AES:!aNULL:!eNULL:!PSK:!SRP:!DSS:!AESCCM";
static const char groups[] = "X25519:P-256:P-384";

/* One SSL_CTX a pair: the first serves by default, the others are chosen by name. */
struct tls_context {
    _Atomic int refs;
    enum tls_verify verify;
    struct tls_pin *pins;
    size_t pins_count;
    int64_t not_after_unix;
    size_t count;
    SSL_CTX *ctx[];
};

struct tls_engine {
    SSL *ssl;
    struct tls_context *context;
    enum tls_status status;
    struct str in;               /* what the BIO reads now: of the caller, or of `waiting` */
    struct buf *wire;            /* where the BIO writes, during a call */
    struct buf waiting;          /* input that came while `plain` was full */
    unsigned handshake_messages; /* received */
    char *sni, *why;
    char key[65]; /* of the server, when it is none of the pins: its SHA-256 */
};

/* ---- errors as sentences ---- */

static const char *reason_text(void)
{
    unsigned long error = ERR_peek_error();
    const char *text = ERR_reason_error_string(error);

    if (ERR_SYSTEM_ERROR(error))
        return strerror(ERR_GET_REASON(error));
    return text != NULL ? text : "unknown error";
}

/* ---- the BIO: reads from engine->in, writes to engine->wire ---- */

static int bio_read(BIO *bio, char *to, int room)
{
    struct tls_engine *engine = BIO_get_data(bio);
    size_t n = engine->in.n < (size_t)room ? engine->in.n : (size_t)room;

    BIO_clear_retry_flags(bio);
    if (engine->handshake_messages > HANDSHAKE_MESSAGES_MAX)
        return -1;
    if (n == 0) {
        BIO_set_retry_read(bio);
        return -1;
    }
    memcpy(to, engine->in.p, n);
    engine->in = str_from(engine->in, n);
    return (int)n;
}

static int bio_write(BIO *bio, const char *from, int n)
{
    struct tls_engine *engine = BIO_get_data(bio);

    BIO_clear_retry_flags(bio);
    if (engine->wire != NULL && buf_add(engine->wire, from, (size_t)n))
        return n;
    return -1;
}

static long bio_ctrl(BIO *bio, int command, long number, void *pointer)
{
    (void)bio, (void)number, (void)pointer;
    return command == BIO_CTRL_FLUSH ? 1 : 0;
}

static BIO_METHOD *bio_method;

static void make_bio_method(void)
{
    bio_method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "smtpguard");
    if (bio_method == NULL)
        out_of_memory();
    BIO_meth_set_read(bio_method, bio_read);
    BIO_meth_set_write(bio_method, bio_write);
    BIO_meth_set_ctrl(bio_method, bio_ctrl);
}

static BIO *new_bio(struct tls_engine *engine)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    BIO *bio;

    pthread_once(&once, make_bio_method);
    bio = BIO_new(bio_method);
    if (bio == NULL)
        out_of_memory();
    BIO_set_data(bio, engine);
    BIO_set_init(bio, 1);
    return bio;
}

/* ---- certificates and keys ---- */

static int no_password(char *to, int room, int writing, void *arg)
{
    (void)to, (void)room, (void)writing;
    *(bool *)arg = true;
    return -1; /* nobody sits at a terminal */
}

static BIO *open_file(const char *what, const char *path, struct fail *fail)
{
    BIO *file;

    errno = 0;
    file = BIO_new_file(path, "r");
    if (file == NULL)
        fail_set(fail, "cannot read the %s %s: %s", what, path, errno != 0 ? strerror(errno) : reason_text());
    return file;
}

static EVP_PKEY *read_key(const char *path, struct fail *fail)
{
    bool asked = false;
    BIO *file = open_file("key", path, fail);
    EVP_PKEY *key;

    if (file == NULL)
        return NULL;
    key = PEM_read_bio_PrivateKey(file, NULL, no_password, &asked);
    BIO_free(file);
    if (key == NULL && asked)
        fail_set(fail, "the key %s is encrypted; it must be readable without a password", path);
    else if (key == NULL)
        fail_set(fail, "the key %s is not a private key in PEM: %s", path, reason_text());
    return key;
}

static int use_certificate(SSL_CTX *ctx, const char *path, struct fail *fail)
{
    BIO *file = open_file("certificate", path, fail);

    if (file == NULL)
        return -1;
    BIO_free(file);
    if (SSL_CTX_use_certificate_chain_file(ctx, path) != 1)
        return fail_set(fail, "the certificate %s cannot be used: %s", path, reason_text());
    return 0;
}

static int use_pair(SSL_CTX *ctx, const struct tls_pair *pair, struct fail *fail)
{
    EVP_PKEY *key;
    int result = 0;

    if (pair->key == NULL || *pair->key == '\0')
        return fail_set(fail, "the certificate %s has no key", pair->cert);
    if (use_certificate(ctx, pair->cert, fail) != 0)
        return -1;
    key = read_key(pair->key, fail);
    if (key == NULL)
        return -1;
    if (X509_check_private_key(SSL_CTX_get0_certificate(ctx), key) != 1)
        result = fail_set(fail, "the key %s does not fit the certificate %s", pair->key, pair->cert);
    else if (SSL_CTX_use_PrivateKey(ctx, key) != 1)
        result = fail_set(fail, "the key %s cannot be used: %s", pair->key, reason_text());
    EVP_PKEY_free(key);
    return result;
}

static int64_t expiry_of(const X509 *certificate)
{
    struct tm tm;

    if (ASN1_TIME_to_tm(X509_get0_notAfter(certificate), &tm) != 1)
        return 0;
    return (int64_t)timegm(&tm);
}

static void note_expiry(struct tls_context *context, SSL_CTX *ctx)
{
    STACK_OF(X509) *chain = NULL;
    int64_t expiry = expiry_of(SSL_CTX_get0_certificate(ctx));

    SSL_CTX_get0_chain_certs(ctx, &chain);
    for (int i = 0; i < sk_X509_num(chain); i++) {
        int64_t other = expiry_of(sk_X509_value(chain, i));

        if (other < expiry)
            expiry = other;
    }
    if (context->not_after_unix == 0 || expiry < context->not_after_unix)
        context->not_after_unix = expiry;
}

/* ---- contexts ---- */

/* Sees each record's header and each message. Of a renegotiation that is refused there is only the header; TLS 1.3
 * hides in the header what the record holds. */
static void on_message(int is_written, int version, int type, const void *bytes, size_t n, SSL *ssl,
                       void *arg)
{
    struct tls_engine *engine = SSL_get_app_data(ssl);
    const uint8_t *header = bytes;

    (void)version, (void)arg;
    if (!is_written &&
        (type == SSL3_RT_HANDSHAKE || (type == SSL3_RT_HEADER && n > 0 && *header == SSL3_RT_HANDSHAKE)))
        engine->handshake_messages++;
}

static SSL_CTX *new_ctx(const SSL_METHOD *method)
{
    SSL_CTX *ctx;

    ERR_clear_error();
    ctx = SSL_CTX_new(method);
    if (ctx == NULL)
        out_of_memory();
    SSL_CTX_set_options(ctx,
                        SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE);
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_msg_callback(ctx, on_message);
    if (SSL_CTX_set1_groups_list(ctx, groups) != 1)
        bug("no TLS groups: %s", reason_text());
    return ctx;
}

static struct tls_context *new_context(size_t count)
{
    struct tls_context *context = calloc(1, sizeof(*context) + count * sizeof(*context->ctx));

    if (context == NULL)
        out_of_memory();
    context->refs = 1;
    return context;
}

static SSL_CTX *find_by_name(const struct tls_context *context, const char *name)
{
    /* X509_check_host() takes a leading dot for "any name below". */
    for (size_t i = 0; i < context->count && *name != '.'; i++)
        if (X509_check_host(SSL_CTX_get0_certificate(context->ctx[i]), name, 0, 0, NULL) == 1)
            return context->ctx[i];
    return NULL;
}

/* A name that is not ours gets the first pair: mail clients seldom check (RFC 7672 3.2 tells when to). */
static int on_server_name(SSL *ssl, int *alert, void *arg)
{
    struct tls_engine *engine = SSL_get_app_data(ssl);
    const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    SSL_CTX *ctx;

    (void)alert, (void)arg;
    if (name == NULL)
        return SSL_TLSEXT_ERR_NOACK;
    free(engine->sni);
    engine->sni = strdup(name);
    ctx = find_by_name(engine->context, name);
    if (ctx == NULL)
        return SSL_TLSEXT_ERR_NOACK;
    SSL_set_SSL_CTX(ssl, ctx);
    return SSL_TLSEXT_ERR_OK;
}

static int set_up_server(SSL_CTX *ctx, const struct tls_settings *settings, const struct tls_pair *pair,
                         struct fail *fail)
{
    bool is_set = settings->ciphers != NULL && *settings->ciphers != '\0';
    const char *ciphers = is_set ? settings->ciphers : default_ciphers;

    SSL_CTX_set_min_proto_version(ctx, settings->min_version == TLS_1_3 ? TLS1_3_VERSION : TLS1_2_VERSION);
    SSL_CTX_set_num_tickets(ctx, 1);
    SSL_CTX_set_dh_auto(ctx, 1);
    SSL_CTX_set_tlsext_servername_callback(ctx, on_server_name);
    if (SSL_CTX_set_cipher_list(ctx, ciphers) != 1)
        return fail_set(fail, "no cipher is named by \"%s\"", ciphers);
    return use_pair(ctx, pair, fail);
}

struct tls_context *tls_server_context(const struct tls_settings *settings, struct fail *fail)
{
    struct tls_context *context;

    if (settings->pair.cert == NULL || *settings->pair.cert == '\0') {
        fail_set(fail, "no TLS certificate is set");
        return NULL;
    }
    context = new_context(settings->more_count + 1);
    while (context->count < settings->more_count + 1) {
        size_t i = context->count++;
        const struct tls_pair *pair = i == 0 ? &settings->pair : &settings->more[i - 1];
        SSL_CTX *ctx = context->ctx[i] = new_ctx(TLS_server_method());

        if (set_up_server(ctx, settings, pair, fail) != 0) {
            tls_context_unref(&context);
            return NULL;
        }
        note_expiry(context, ctx);
    }
    return context;
}

static void hash_key(X509 *certificate, struct tls_pin *pin_out)
{
    unsigned char *der = NULL;
    int n = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(certificate), &der);
    unsigned length = 0;

    if (n < 0 || EVP_Digest(der, (size_t)n, pin_out->sha256, &length, EVP_sha256(), NULL) != 1)
        out_of_memory();
    OPENSSL_free(der);
}

/* Takes the place of OpenSSL's verification: the key is all that counts. */
static int verify_pin(X509_STORE_CTX *store, void *arg)
{
    struct tls_context *context = arg;
    SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
    struct tls_engine *engine = SSL_get_app_data(ssl);
    struct tls_pin seen;

    hash_key(X509_STORE_CTX_get0_cert(store), &seen);
    for (size_t i = 0; i < context->pins_count; i++)
        if (memcmp(seen.sha256, context->pins[i].sha256, sizeof(seen.sha256)) == 0)
            return 1;
    for (size_t i = 0; i < sizeof(seen.sha256); i++)
        snprintf(engine->key + 2 * i, 3, "%02x", seen.sha256[i]);
    X509_STORE_CTX_set_error(store, X509_V_ERR_APPLICATION_VERIFICATION);
    return 0;
}

static void use_pins(struct tls_context *context, const struct tls_client_settings *settings)
{
    context->pins_count = settings->pins_count;
    context->pins = calloc(settings->pins_count + 1, sizeof(*context->pins));
    if (context->pins == NULL)
        out_of_memory();
    memcpy(context->pins, settings->pins, settings->pins_count * sizeof(*context->pins));
    SSL_CTX_set_cert_verify_callback(context->ctx[0], verify_pin, context);
}

static int use_authorities(SSL_CTX *ctx, const char *ca, struct fail *fail)
{
    if (ca == NULL || *ca == '\0')
        return SSL_CTX_set_default_verify_paths(ctx) == 1
                   ? 0
                   : fail_set(fail, "cannot read the system's CA certificates: %s", reason_text());
    if (SSL_CTX_load_verify_file(ctx, ca) == 1)
        return 0;
    return fail_set(fail, "no CA certificates can be read from %s: %s", ca, reason_text());
}

/* Without verification any encryption is better than none, so nothing that a peer can do is refused. */
struct tls_context *tls_verifying_context(const struct tls_client_settings *settings, struct fail *fail)
{
    enum tls_verify verify = settings->verify;
    struct tls_context *context = new_context(1);
    SSL_CTX *ctx = new_ctx(TLS_client_method());

    context->verify = verify;
    context->ctx[context->count++] = ctx;
    if (verify == TLS_VERIFY_NOTHING) {
        SSL_CTX_set_security_level(ctx, 0);
        SSL_CTX_set_min_proto_version(ctx, TLS1_VERSION);
        SSL_CTX_set_verify(ctx, SSL_VERIFY_NONE, NULL);
        return context;
    }
    SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    ERR_clear_error();
    if (verify == TLS_VERIFY_PIN)
        use_pins(context, settings);
    else if (use_authorities(ctx, settings->ca, fail) < 0)
        tls_context_unref(&context);
    return context;
}

struct tls_context *tls_client_context(enum tls_verify verify, struct fail *fail)
{
    return tls_verifying_context(&(struct tls_client_settings){.verify = verify}, fail);
}

struct tls_context *tls_context_ref(struct tls_context *context)
{
    atomic_fetch_add(&context->refs, 1);
    return context;
}

void tls_context_unref(struct tls_context **context)
{
    struct tls_context *c = *context;

    *context = NULL;
    if (c == NULL || atomic_fetch_sub(&c->refs, 1) > 1)
        return;
    for (size_t i = 0; i < c->count; i++)
        SSL_CTX_free(c->ctx[i]);
    free(c->pins);
    free(c);
}

int64_t tls_context_not_after_unix(const struct tls_context *context)
{
    return context->not_after_unix;
}

bool tls_context_has_name(const struct tls_context *context, const char *host)
{
    for (size_t i = 0; i < context->count; i++) {
        X509 *cert = SSL_CTX_get0_certificate(context->ctx[i]);

        if (cert != NULL && X509_check_host(cert, host, 0, 0, NULL) == 1)
            return true;
    }
    return false;
}

/* ---- engines ---- */

static struct tls_engine *new_engine(struct tls_context *context)
{
    struct tls_engine *engine = calloc(1, sizeof(*engine));
    BIO *bio;

    if (engine == NULL)
        out_of_memory();
    ERR_clear_error();
    engine->context = tls_context_ref(context);
    engine->ssl = SSL_new(context->ctx[0]);
    if (engine->ssl == NULL)
        out_of_memory();
    buf_init(&engine->waiting, WAITING_BYTES);
    bio = new_bio(engine);
    SSL_set_bio(engine->ssl, bio, bio);
    SSL_set_app_data(engine->ssl, engine);
    return engine;
}

struct tls_engine *tls_server_engine(struct tls_context *context)
{
    struct tls_engine *engine = new_engine(context);

    SSL_set_accept_state(engine->ssl);
    return engine;
}

/* An IP address is never sent as a name (RFC 6066 3). */
struct tls_engine *tls_client_engine(struct tls_context *context, const char *server_name)
{
    struct tls_engine *engine = new_engine(context);
    bool verify = context->verify == TLS_VERIFY_NAME, set = true;
    struct ip ip;

    SSL_set_connect_state(engine->ssl);
    if (verify && server_name == NULL)
        bug("a certificate cannot be verified without a name");
    if (server_name == NULL)
        return engine;
    if (ip_parse(str_of(server_name), &ip)) {
        set = !verify || X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(engine->ssl), server_name) == 1;
    } else {
        set = SSL_set_tlsext_host_name(engine->ssl, server_name) == 1;
        SSL_set_hostflags(engine->ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
        set = (!verify || SSL_set1_host(engine->ssl, server_name) == 1) && set;
    }
    if (!set) {
        engine->status = TLS_FAILED;
        engine->why = strdup("the server's name cannot be used for TLS");
    }
    return engine;
}

void tls_engine_free(struct tls_engine **engine)
{
    struct tls_engine *e = *engine;

    if (e == NULL)
        return;
    SSL_free(e->ssl);
    tls_context_unref(&e->context);
    buf_fini(&e->waiting);
    free(e->sni);
    free(e->why);
    free(e);
    *engine = NULL;
}

/* What the operator can do something about is said in words of ours, the rest in OpenSSL's. */
static void explain(const struct tls_engine *engine, char *why, size_t room)
{
    const char *when = engine->status == TLS_OPEN ? "the TLS connection broke" : "the TLS handshake failed";
    const char *verified = X509_verify_cert_error_string(SSL_get_verify_result(engine->ssl));

    if (engine->wire != NULL && engine->wire->overflow) {
        snprintf(why, room, "no room for what TLS has to send");
        return;
    }
    if (engine->handshake_messages > HANDSHAKE_MESSAGES_MAX) {
        snprintf(why, room, "too many handshake messages");
        return;
    }
    switch (ERR_GET_REASON(ERR_peek_error())) {
    case SSL_R_WRONG_VERSION_NUMBER:
    case SSL_R_HTTP_REQUEST:
    case SSL_R_HTTPS_PROXY_REQUEST:
        snprintf(why, room, "the other side does not speak TLS: %s", reason_text());
        return;
    case SSL_R_CERTIFICATE_VERIFY_FAILED:
        if (engine->key[0] != '\0')
            snprintf(why, room, "the server's key is none of those that are pinned: its SHA-256 is %s",
                     engine->key);
        else
            snprintf(why, room, "the server's certificate is not good: %s", verified);
        return;
    default:
        snprintf(why, room, "%s: %s", when, reason_text());
    }
}

static enum tls_status fail_with(struct tls_engine *engine, const char *why)
{
    free(engine->why);
    engine->why = strdup(why);
    engine->status = TLS_FAILED;
    engine->in = (struct str){0};
    buf_fini(&engine->waiting);
    return engine->status;
}

static enum tls_status give_up(struct tls_engine *engine)
{
    char why[WHY_BYTES];

    explain(engine, why, sizeof(why));
    return fail_with(engine, why);
}

static enum tls_status shake_hands(struct tls_engine *engine)
{
    int answer = SSL_do_handshake(engine->ssl);

    if (answer == 1)
        return engine->status = TLS_OPEN;
    if (SSL_get_error(engine->ssl, answer) != SSL_ERROR_WANT_READ)
        return give_up(engine);
    return TLS_HANDSHAKING;
}

/* Through a place of the thread's, so that `plain` grows by what came and not by what might have come. */
static enum tls_status read_plain(struct tls_engine *engine, struct buf *plain)
{
    static _Thread_local char record[RECORD_BYTES];

    while (plain->n < plain->max) {
        size_t room = plain->max - plain->n, n;

        if (SSL_read_ex(engine->ssl, record, room < sizeof(record) ? room : sizeof(record), &n) == 1) {
            buf_add(plain, record, n);
            continue;
        }
        switch (SSL_get_error(engine->ssl, 0)) {
        case SSL_ERROR_WANT_READ:
            return engine->status;
        case SSL_ERROR_ZERO_RETURN:
            engine->in = (struct str){0}; /* nothing counts behind close_notify (RFC 8446 6.1) */
            return engine->status = TLS_ENDED;
        default:
            return give_up(engine);
        }
    }
    return engine->status;
}

/* What the BIO shall read: the bytes given, behind those that waited. */
static bool take_input(struct tls_engine *engine, struct str bytes, bool from_waiting)
{
    if (from_waiting && !buf_add_str(&engine->waiting, bytes))
        return false;
    engine->in = from_waiting ? buf_str(&engine->waiting) : bytes;
    return true;
}

/* What was not read stays in `waiting`: the bytes of the caller will be gone. */
static bool keep_unread(struct tls_engine *engine, bool from_waiting)
{
    if (from_waiting)
        buf_consume(&engine->waiting, engine->waiting.n - engine->in.n);
    else if (!buf_add_str(&engine->waiting, engine->in))
        return false;
    engine->in = (struct str){0};
    if (engine->waiting.n == 0)
        buf_fini(&engine->waiting);
    return true;
}

enum tls_status tls_receive(struct tls_engine *engine, const char *bytes, size_t n, struct buf *plain,
                            struct buf *wire)
{
    bool from_waiting = engine->waiting.n > 0, fits;

    if (engine->status == TLS_FAILED || engine->status == TLS_ENDED)
        return engine->status;
    ERR_clear_error();
    engine->wire = wire;
    fits = take_input(engine, str_make(bytes, n), from_waiting);
    if (fits && engine->status == TLS_HANDSHAKING)
        shake_hands(engine);
    if (fits && engine->status == TLS_OPEN)
        read_plain(engine, plain);
    if (fits && engine->status != TLS_FAILED)
        fits = keep_unread(engine, from_waiting);
    engine->wire = NULL;
    return fits ? engine->status : fail_with(engine, "more input than an engine keeps");
}

bool tls_has_more(const struct tls_engine *engine)
{
    return engine->status == TLS_OPEN && (engine->waiting.n > 0 || SSL_pending(engine->ssl) > 0);
}

enum tls_status tls_send(struct tls_engine *engine, const char *plain, size_t n, struct buf *wire)
{
    size_t written;

    if (engine->status == TLS_FAILED || n == 0)
        return engine->status;
    if (!SSL_is_init_finished(engine->ssl))
        bug("tls_send() before the handshake is over");
    ERR_clear_error();
    engine->wire = wire;
    if (SSL_write_ex(engine->ssl, plain, n, &written) != 1)
        give_up(engine);
    engine->wire = NULL;
    return engine->status;
}

/* We do not wait for the other side's close_notify: QUIT and its reply said it all before. */
void tls_finish(struct tls_engine *engine, struct buf *wire)
{
    if (engine->status == TLS_FAILED || !SSL_is_init_finished(engine->ssl))
        return;
    ERR_clear_error();
    engine->wire = wire;
    SSL_shutdown(engine->ssl);
    engine->wire = NULL;
}

const char *tls_engine_version(const struct tls_engine *engine)
{
    return SSL_is_init_finished(engine->ssl) ? SSL_get_version(engine->ssl) : "";
}

const char *tls_engine_cipher(const struct tls_engine *engine)
{
    return SSL_is_init_finished(engine->ssl) ? SSL_get_cipher_name(engine->ssl) : "";
}

const char *tls_engine_sni(const struct tls_engine *engine)
{
    return engine->sni;
}

const char *tls_engine_why(const struct tls_engine *engine)
{
    return engine->why != NULL ? engine->why : "";
}

static struct str der_of(struct arena *mem, X509 *certificate)
{
    unsigned char *der = NULL;
    int n = i2d_X509(certificate, &der);
    struct str copy;

    if (n < 0)
        out_of_memory();
    copy = str_copy(mem, str_make((const char *)der, (size_t)n));
    OPENSSL_free(der);
    return copy;
}

size_t tls_engine_chain(const struct tls_engine *engine, struct arena *mem, const struct str **chain_out)
{
    STACK_OF(X509) *shown = SSL_is_init_finished(engine->ssl) ? SSL_get_peer_cert_chain(engine->ssl) : NULL;
    struct str *chain = ARENA_ARRAY(mem, struct str, TLS_CHAIN_MAX);
    size_t count = 0;

    for (int i = 0; i < sk_X509_num(shown) && count < TLS_CHAIN_MAX; i++)
        chain[count++] = der_of(mem, sk_X509_value(shown, i));
    *chain_out = chain;
    return count;
}

const char *tls_library_version(void)
{
    return OpenSSL_version(OPENSSL_VERSION_STRING);
}
