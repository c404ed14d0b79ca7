#include "auth/dkim_key.h"

#include "auth/dkim.h"
#include "auth/dkim_base64.h"
#include "base/hash.h"

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <pthread.h>

enum { ED25519_BYTES = 32, RSA_EXPONENT_BITS_MAX = 64, IDLE_MS_MAX = 24 * 60 * 60 * 1000 };

/* Fetched once: an implicit fetch looks through the providers, under their lock, at every use. */
static EVP_MD *sha256;

static void fetch_sha256(void)
{
    sha256 = EVP_MD_fetch(NULL, "SHA2-256", NULL);
    if (sha256 == NULL)
        bug("OpenSSL has no SHA-256");
}

static const EVP_MD *sha256_md(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, fetch_sha256);
    return sha256;
}

/* ---- records (RFC 6376 3.6.1) ---- */

static const char *record_flags_parse(const struct dkim_tags *tags, struct dkim_record *record)
{
    const struct dkim_tag *h = dkim_tags_find(tags, "h"), *s = dkim_tags_find(tags, "s"),
                          *t = dkim_tags_find(tags, "t");

    record->testing = t != NULL && dkim_list_has(t->value, "y");
    record->strict = t != NULL && dkim_list_has(t->value, "s");
    if (h != NULL && !dkim_list_has(h->value, "sha256"))
        return "the key is not for SHA-256";
    if (s != NULL && !dkim_list_has(s->value, "*") && !dkim_list_has(s->value, "email"))
        return "the key is not for e-mail";
    return NULL;
}

/* g= was taken out by RFC 6376 and is ignored, as are n= and all that we do not know. */
const char *dkim_record_parse(struct str text, struct dkim_record *record_out)
{
    const struct dkim_tag *v, *k, *p;
    struct dkim_tags tags;
    const char *fault;

    *record_out = (struct dkim_record){false};
    if (text.n > DKIM_RECORD_MAX)
        return "the key record is too long";
    if (dkim_tags_parse(text, &tags) != NULL)
        return "the key record is no tag list";
    v = dkim_tags_find(&tags, "v");
    if (v != NULL && (v != &tags.tags[0] || !str_eq_z(v->value, "DKIM1")))
        return "the key record has another version";
    k = dkim_tags_find(&tags, "k");
    if (k != NULL && !str_same_z(k->value, "rsa") && !str_same_z(k->value, "ed25519"))
        return "the key is of an unknown type";
    record_out->ed25519 = k != NULL && str_same_z(k->value, "ed25519");
    fault = record_flags_parse(&tags, record_out);
    if (fault != NULL)
        return fault;
    p = dkim_tags_find(&tags, "p");
    if (p == NULL)
        return "the key record has no p=";
    if (p->value.n == 0)
        return "the key is revoked";
    record_out->data = p->value;
    return NULL;
}

/* ---- keys ---- */

struct decoded_key {
    struct dkim_key key; /* the first member: what others see */
    EVP_PKEY *pkey;
    EVP_PKEY_CTX *rsa; /* ready to verify, any number of times */
    EVP_MD_CTX *ed25519;
};

static EVP_PKEY *if_whole(EVP_PKEY *pkey, const unsigned char *p, const unsigned char *end)
{
    if (p != end) {
        EVP_PKEY_free(pkey);
        return NULL;
    }
    return pkey;
}

/* SubjectPublicKeyInfo as everybody publishes it, or the bare RSAPublicKey that RFC 6376 3.6.1 speaks of. */
static EVP_PKEY *rsa_decode(const uint8_t *der, size_t n)
{
    const unsigned char *p = der;
    EVP_PKEY *pkey = d2i_PUBKEY(NULL, &p, (long)n);

    if (pkey == NULL) {
        p = der;
        pkey = d2i_PublicKey(EVP_PKEY_RSA, NULL, &p, (long)n);
    }
    if (pkey == NULL)
        return NULL;
    return if_whole(pkey, p, der + n);
}

static bool rsa_is_sound(const EVP_PKEY *pkey)
{
    BIGNUM *e = NULL;
    bool sound;

    if (EVP_PKEY_get_base_id(pkey) != EVP_PKEY_RSA ||
        EVP_PKEY_get_bn_param(pkey, OSSL_PKEY_PARAM_RSA_E, &e) != 1)
        return false;
    sound = BN_is_odd(e) && !BN_is_one(e) && BN_num_bits(e) <= RSA_EXPONENT_BITS_MAX;
    BN_free(e);
    return sound;
}

static const char *rsa_prepare(struct decoded_key *d, const uint8_t *der, size_t n)
{
    d->pkey = rsa_decode(der, n);
    if (d->pkey == NULL || !rsa_is_sound(d->pkey))
        return "p= is no RSA key";
    d->key.bits = (unsigned)EVP_PKEY_get_bits(d->pkey);
    d->rsa = EVP_PKEY_CTX_new_from_pkey(NULL, d->pkey, NULL);
    if (d->rsa == NULL || EVP_PKEY_verify_init(d->rsa) != 1 ||
        EVP_PKEY_CTX_set_rsa_padding(d->rsa, RSA_PKCS1_PADDING) != 1 ||
        EVP_PKEY_CTX_set_signature_md(d->rsa, sha256_md()) != 1)
        return "OpenSSL cannot use the RSA key";
    return NULL;
}

/* 32 octets and nothing around them (RFC 8463 4). */
static const char *ed25519_prepare(struct decoded_key *d, const uint8_t *octets, size_t n)
{
    if (n == ED25519_BYTES)
        d->pkey = EVP_PKEY_new_raw_public_key_ex(NULL, "ED25519", NULL, octets, n);
    if (d->pkey == NULL)
        return "p= is no Ed25519 key";
    d->key.bits = ED25519_BYTES * 8;
    d->ed25519 = EVP_MD_CTX_new();
    if (d->ed25519 == NULL)
        out_of_memory();
    return NULL;
}

static const char *key_prepare(struct decoded_key *d, struct str record)
{
    uint8_t octets[DKIM_BASE64_ROOM(DKIM_RECORD_MAX)];
    struct dkim_record parsed;
    const char *fault = dkim_record_parse(record, &parsed);
    size_t n;

    d->key.ed25519 = parsed.ed25519;
    d->key.testing = parsed.testing;
    d->key.strict = parsed.strict;
    if (fault != NULL)
        return fault;
    if (!dkim_base64_decode(parsed.data, octets, &n))
        return "p= is not base64";
    ERR_clear_error();
    fault = parsed.ed25519 ? ed25519_prepare(d, octets, n) : rsa_prepare(d, octets, n);
    ERR_clear_error();
    return fault;
}

struct dkim_key *dkim_key_new(struct str record)
{
    struct decoded_key *d = calloc(1, sizeof(*d));

    if (d == NULL)
        out_of_memory();
    d->key.fault = key_prepare(d, record);
    return &d->key;
}

void dkim_key_free(struct dkim_key **key)
{
    struct decoded_key *d = (struct decoded_key *)*key;

    if (d != NULL) {
        EVP_PKEY_CTX_free(d->rsa);
        EVP_MD_CTX_free(d->ed25519);
        EVP_PKEY_free(d->pkey);
    }
    free(d);
    *key = NULL;
}

bool dkim_key_verify(const struct dkim_key *key, const uint8_t hash[DKIM_HASH_BYTES],
                     const uint8_t *signature, size_t n)
{
    const struct decoded_key *d = (const struct decoded_key *)key;
    bool verified;

    if (key->fault != NULL)
        return false;
    ERR_clear_error();
    if (key->ed25519) /* signs the hash as if it were the message (RFC 8463 3), so no digest is named here */
        verified = EVP_MD_CTX_reset(d->ed25519) == 1 &&
                   EVP_DigestVerifyInit_ex(d->ed25519, NULL, NULL, NULL, NULL, d->pkey, NULL) == 1 &&
                   EVP_DigestVerify(d->ed25519, signature, n, hash, DKIM_HASH_BYTES) == 1;
    else
        verified = EVP_PKEY_verify(d->rsa, signature, n, hash, DKIM_HASH_BYTES) == 1;
    ERR_clear_error();
    return verified;
}

/* ---- the cache: a changed record is another key, so nothing in it can be out of date ---- */

struct cached_key {
    UT_hash_handle hh;
    struct dkim_key *key;
    int64_t used_mono_ms;
    size_t record_bytes;
    char record[];
};

struct dkim_keys {
    struct cached_key *table; /* in the order of use, the least recent first */
    size_t entries_max;
    const struct clock *clock;
};

struct dkim_keys *dkim_keys_new(size_t entries_max, const struct clock *clock)
{
    struct dkim_keys *keys = calloc(1, sizeof(*keys));

    if (keys == NULL)
        out_of_memory();
    keys->entries_max = entries_max > 0 ? entries_max : 1;
    keys->clock = clock;
    return keys;
}

static void forget(struct dkim_keys *keys, struct cached_key *entry)
{
    HASH_DELETE(hh, keys->table, entry);
    dkim_key_free(&entry->key);
    free(entry);
}

void dkim_keys_free(struct dkim_keys **keys)
{
    if (*keys == NULL)
        return;
    while ((*keys)->table != NULL)
        forget(*keys, (*keys)->table);
    free(*keys);
    *keys = NULL;
}

size_t dkim_keys_count(const struct dkim_keys *keys)
{
    return HASH_COUNT(keys->table);
}

/* Room for one more; and after a flood of strange signatures, keys that nobody asks for go within a day. */
static void make_room(struct dkim_keys *keys, int64_t now_ms)
{
    while (keys->table != NULL &&
           (HASH_COUNT(keys->table) >= keys->entries_max || now_ms - keys->table->used_mono_ms > IDLE_MS_MAX))
        forget(keys, keys->table);
}

static struct cached_key *entry_new(struct str record)
{
    struct cached_key *entry = calloc(1, sizeof(*entry) + record.n);

    if (entry == NULL)
        out_of_memory();
    entry->record_bytes = record.n;
    if (record.n > 0)
        memcpy(entry->record, record.p, record.n);
    entry->key = dkim_key_new(record);
    return entry;
}

const struct dkim_key *dkim_keys_get(struct dkim_keys *keys, struct str record)
{
    int64_t now_ms = clock_mono_ms(keys->clock);
    struct cached_key *entry;

    record = str_upto(record, DKIM_RECORD_MAX + 1); /* beyond it, all are too long in the same way */
    HASH_FIND(hh, keys->table, record.p, record.n, entry);
    if (entry != NULL) {
        HASH_DELETE(hh, keys->table, entry);
    } else {
        make_room(keys, now_ms);
        entry = entry_new(record);
    }
    entry->used_mono_ms = now_ms;
    HASH_ADD_KEYPTR(hh, keys->table, entry->record, entry->record_bytes, entry);
    return entry->key;
}

/* ---- hashes ---- */

static EVP_MD_CTX *context_of(struct dkim_hash *hash)
{
    return (EVP_MD_CTX *)hash; /* never anything else; only the name differs outside */
}

static void hash_begin(EVP_MD_CTX *context)
{
    if (EVP_DigestInit_ex2(context, sha256_md(), NULL) != 1)
        out_of_memory();
}

struct dkim_hash *dkim_hash_new(void)
{
    EVP_MD_CTX *context = EVP_MD_CTX_new();

    if (context == NULL)
        out_of_memory();
    hash_begin(context);
    return (struct dkim_hash *)context;
}

void dkim_hash_add(struct dkim_hash *hash, const char *p, size_t n)
{
    if (EVP_DigestUpdate(context_of(hash), p, n) != 1)
        bug("SHA-256 refused %zu octets", n);
}

static void hash_final(struct dkim_hash *hash, uint8_t hash_out[DKIM_HASH_BYTES])
{
    unsigned n = 0;

    if (EVP_DigestFinal_ex(context_of(hash), hash_out, &n) != 1 || n != DKIM_HASH_BYTES)
        bug("SHA-256 gave %u octets", n);
}

void dkim_hash_restart(struct dkim_hash *hash, uint8_t hash_out[DKIM_HASH_BYTES])
{
    hash_final(hash, hash_out);
    hash_begin(context_of(hash));
}

struct dkim_hash *dkim_hash_fork(const struct dkim_hash *hash)
{
    EVP_MD_CTX *context = EVP_MD_CTX_new();

    if (context == NULL || EVP_MD_CTX_copy_ex(context, (const EVP_MD_CTX *)hash) != 1)
        out_of_memory();
    return (struct dkim_hash *)context;
}

void dkim_hash_end(struct dkim_hash **hash, uint8_t hash_out[DKIM_HASH_BYTES])
{
    hash_final(*hash, hash_out);
    dkim_hash_drop(hash);
}

void dkim_hash_drop(struct dkim_hash **hash)
{
    EVP_MD_CTX_free(context_of(*hash));
    *hash = NULL;
}
