#include "tls/peer.h"

#include "base/bug.h"
#include "base/ip.h"

#include <openssl/x509v3.h>
#include <string.h>
#include <time.h>

enum { SECURITY_LEVEL = 2 /* 112 bits, as distributions have it */, ISSUER_BYTES_MAX = 1024 };

/* ---- the chain ---- */

static X509 *read_one(struct str der)
{
    const unsigned char *p = (const unsigned char *)der.p;

    return d2i_X509(NULL, &p, (long)der.n);
}

static STACK_OF(X509) *read_chain(const struct str *chain, size_t count)
{
    STACK_OF(X509) *certificates = sk_X509_new_null();

    if (certificates == NULL)
        out_of_memory();
    for (size_t i = 0; i < count; i++) {
        X509 *one = read_one(chain[i]);

        if (one == NULL) {
            sk_X509_pop_free(certificates, X509_free);
            return NULL;
        }
        if (sk_X509_push(certificates, one) == 0)
            out_of_memory();
    }
    return certificates;
}

/* ---- is it trusted? ---- */

static const char *verify(X509_STORE *authorities, STACK_OF(X509) *chain, int64_t now_unix)
{
    X509_STORE_CTX *context = X509_STORE_CTX_new();
    X509_VERIFY_PARAM *how;
    const char *why = NULL;

    if (context == NULL ||
        X509_STORE_CTX_init(context, authorities, sk_X509_value(chain, 0), chain) != 1 ||
        X509_STORE_CTX_set_default(context, "ssl_server") != 1)
        out_of_memory();
    how = X509_STORE_CTX_get0_param(context);
    X509_VERIFY_PARAM_set_auth_level(how, SECURITY_LEVEL);
    X509_VERIFY_PARAM_set_time(how, (time_t)now_unix);
    if (X509_verify_cert(context) != 1)
        why = X509_verify_cert_error_string(X509_STORE_CTX_get_error(context));
    X509_STORE_CTX_free(context);
    return why;
}

static void judge(STACK_OF(X509) *chain, int64_t now_unix, struct tls_peer *peer)
{
    X509_STORE *authorities = X509_STORE_new();

    if (authorities == NULL)
        out_of_memory();
    if (X509_STORE_set_default_paths(authorities) != 1)
        peer->distrust = "the system's CA certificates cannot be read";
    else
        peer->distrust = verify(authorities, chain, now_unix);
    peer->trusted = peer->distrust == NULL;
    X509_STORE_free(authorities);
}

/* ---- whose is it? ---- */

static bool is_for(X509 *certificate, const char *name)
{
    struct ip ip;

    if (ip_parse(str_of(name), &ip))
        return X509_check_ip_asc(certificate, name, 0) == 1;
    /* A leading dot would stand for any name below. */
    return *name != '.' && X509_check_host(certificate, name, 0, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS, NULL) == 1;
}

static struct str text_of(struct arena *mem, const ASN1_STRING *string)
{
    const char *p = (const char *)ASN1_STRING_get0_data(string);

    return str_copy(mem, str_make(p, (size_t)ASN1_STRING_length(string)));
}

static struct str address_of(struct arena *mem, const ASN1_STRING *octets)
{
    int n = ASN1_STRING_length(octets);
    struct ip ip = {.family = n == 4 ? 4 : 6};

    if (n != 4 && n != 16)
        return (struct str){0};
    memcpy(ip.b, ASN1_STRING_get0_data(octets), (size_t)n);
    return str_of(ip_text(mem, &ip));
}

static struct str common_name(struct arena *mem, X509 *certificate)
{
    X509_NAME *subject = X509_get_subject_name(certificate);
    int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);

    if (at < 0)
        return (struct str){0};
    return text_of(mem, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)));
}

static void add_name(struct str *names, struct tls_peer *peer, struct str name)
{
    if (name.n > 0 && peer->names_count < TLS_PEER_NAMES_MAX)
        names[peer->names_count++] = name;
}

static void read_names(struct arena *mem, X509 *certificate, struct tls_peer *peer)
{
    GENERAL_NAMES *all = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
    struct str *names = ARENA_ARRAY(mem, struct str, TLS_PEER_NAMES_MAX);

    peer->names = names;
    for (int i = 0; i < sk_GENERAL_NAME_num(all); i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(all, i);

        if (name->type == GEN_DNS)
            add_name(names, peer, text_of(mem, name->d.dNSName));
        else if (name->type == GEN_IPADD)
            add_name(names, peer, address_of(mem, name->d.iPAddress));
    }
    if (peer->names_count == 0)
        add_name(names, peer, common_name(mem, certificate));
    GENERAL_NAMES_free(all);
}

static struct str issuer_of(struct arena *mem, X509 *certificate)
{
    BIO *text = BIO_new(BIO_s_mem());
    char *p = NULL;
    struct str issuer;
    long n;

    if (text == NULL)
        out_of_memory();
    X509_NAME_print_ex(text, X509_get_issuer_name(certificate), 0, XN_FLAG_ONELINE & ~ASN1_STRFLGS_ESC_MSB);
    n = BIO_get_mem_data(text, &p);
    issuer = str_copy(mem, str_make(p, n < ISSUER_BYTES_MAX ? (size_t)n : ISSUER_BYTES_MAX));
    BIO_free(text);
    return issuer;
}

/* ---- its key and its time ---- */

static int64_t unix_of(const ASN1_TIME *time)
{
    struct tm tm;

    return ASN1_TIME_to_tm(time, &tm) == 1 ? (int64_t)timegm(&tm) : 0;
}

static void read_key(struct arena *mem, X509 *certificate, struct tls_peer *peer)
{
    const EVP_PKEY *key = X509_get0_pubkey(certificate);
    const char *kind = key != NULL ? EVP_PKEY_get0_type_name(key) : NULL;

    peer->key = kind != NULL ? str_dup_lower(mem, str_of(kind)) : "unknown";
    peer->bits = key != NULL ? EVP_PKEY_get_bits(key) : 0;
}

int tls_peer_read(struct arena *mem, const struct str *chain, size_t count, const char *name,
                  int64_t now_unix, struct tls_peer *peer_out, struct fail *fail)
{
    STACK_OF(X509) *certificates = read_chain(chain, count);
    X509 *own;

    *peer_out = (struct tls_peer){0};
    if (certificates == NULL)
        return fail_set(fail, "its certificate cannot be read");
    if (count == 0) {
        sk_X509_free(certificates);
        return fail_set(fail, "it shows no certificate");
    }
    own = sk_X509_value(certificates, 0);
    judge(certificates, now_unix, peer_out);
    peer_out->has_name = is_for(own, name);
    read_names(mem, own, peer_out);
    peer_out->issuer = issuer_of(mem, own);
    peer_out->not_before_unix = unix_of(X509_get0_notBefore(own));
    peer_out->not_after_unix = unix_of(X509_get0_notAfter(own));
    read_key(mem, own, peer_out);
    sk_X509_pop_free(certificates, X509_free);
    return 0;
}
