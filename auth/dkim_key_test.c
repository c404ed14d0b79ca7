#include "tests/t.h"

#include "auth/dkim.h"
#include "auth/dkim_key.h"
#include "base/bug.h"
#include "tests/dkimsign.h"

#include <openssl/core_names.h>
#include <openssl/param_build.h>
#include <openssl/x509.h>

static void test_records(void **state)
{
    static const struct {
        const char *name, *rfc, *record, *fault; /* fault NULL: none */
    } rows[] = {
        {"p= alone is an RSA key", "6376 3.6.1", "p=YWJj", NULL},
        {"v= first", "6376 3.6.1", "v=DKIM1; p=YWJj", NULL},
        {"v= must be first", "6376 3.6.1", "p=YWJj; v=DKIM1", "the key record has another version"},
        {"v= of another kind", "6376 3.6.1", "v=DKIM2; p=YWJj", "the key record has another version"},
        {"v= is compared with its case", "6376 3.6.1", "v=dkim1; p=YWJj",
         "the key record has another version"},
        {"an SPF record is no key", "6376 3.6.1", "v=spf1 -all", "the key record has another version"},
        {"no tag list", "6376 6.1.2", "hello", "the key record is no tag list"},
        {"a tag twice", "6376 3.2", "p=YWJj; p=YWJj", "the key record is no tag list"},
        {"p= is required", "6376 3.6.1", "v=DKIM1; k=rsa", "the key record has no p="},
        {"p= empty: revoked", "6376 6.1.2", "v=DKIM1; p=", "the key is revoked"},
        {"p= of blanks: revoked", "6376 6.1.2", "v=DKIM1; p= ;", "the key is revoked"},
        {"k= rsa", "6376 3.6.1", "k=rsa; p=YWJj", NULL},
        {"k= ed25519", "8463 4", "k=ed25519; p=YWJj", NULL},
        {"k= unknown", "6376 6.1.2", "k=dsa; p=YWJj", "the key is of an unknown type"},
        {"h= with sha256 among others", "6376 3.6.1", "h=sha1 : SHA256; p=YWJj", NULL},
        {"h= without sha256", "6376 6.1.2", "h=sha1; p=YWJj", "the key is not for SHA-256"},
        {"s= email", "6376 3.6.1", "s=web:email; p=YWJj", NULL},
        {"s= everything", "6376 3.6.1", "s=*; p=YWJj", NULL},
        {"s= something else", "6376 3.6.1", "s=chat; p=YWJj", "the key is not for e-mail"},
        {"g= was taken away", "6376 C", "g=; p=YWJj", NULL},
        {"n= is for people", "6376 3.6.1", "n=a note; p=YWJj;", NULL},
        {"unknown tags are ignored", "6376 3.2", "x=1; p=YWJj", NULL},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct dkim_record record;
        const char *fault = dkim_record_parse(str_of(rows[i].record), &record);

        t_case(rows[i].name, rows[i].rfc);
        t_same_z(fault != NULL ? fault : "none", rows[i].fault != NULL ? rows[i].fault : "none");
    }
}

static void test_flags(void **state)
{
    struct dkim_record record;

    (void)state;
    t_case("flags stand in a list, unknown ones among them", "6376 3.6.1");
    t_true(dkim_record_parse(STR("t= x : y :s; p=YWJj"), &record) == NULL);
    t_true(record.testing && record.strict);
    t_true(dkim_record_parse(STR("t=n; p=YWJj"), &record) == NULL);
    t_true(!record.testing && !record.strict);
    t_case("a revoked key can be a test", "6376 3.6.1");
    t_true(dkim_record_parse(STR("t=y; p="), &record) != NULL && record.testing);
}

static const char *fault_of(const char *record)
{
    struct dkim_key *key = dkim_key_new(str_of(record));
    const char *fault = key->fault != NULL ? key->fault : "none";

    dkim_key_free(&key);
    t_true(key == NULL);
    return fault;
}

/* An RSA key of any modulus and exponent: it need not work, only look like one. */
static const char *odd_rsa(struct arena *mem, int bits, const char *exponent_hex)
{
    OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
    EVP_PKEY *pkey = NULL;
    OSSL_PARAM *params;
    BIGNUM *n = BN_new(), *e = NULL;
    unsigned char *der = NULL;
    char *p;
    int der_bytes;

    BN_rand(n, bits, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ODD);
    BN_hex2bn(&e, exponent_hex);
    OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_N, n);
    OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_E, e);
    params = OSSL_PARAM_BLD_to_param(build);
    t_true(EVP_PKEY_fromdata_init(context) == 1 &&
           EVP_PKEY_fromdata(context, &pkey, EVP_PKEY_PUBLIC_KEY, params) == 1);
    der_bytes = i2d_PUBKEY(pkey, &der);
    p = arena_alloc(mem, (size_t)der_bytes * 2);
    EVP_EncodeBlock((unsigned char *)p, der, der_bytes);
    OPENSSL_free(der);
    OSSL_PARAM_free(params);
    OSSL_PARAM_BLD_free(build);
    EVP_PKEY_CTX_free(context);
    EVP_PKEY_free(pkey);
    BN_free(n);
    BN_free(e);
    return str_fmt(mem, "p=%s", p);
}

static void test_keys(void **state)
{
    struct arena *mem = arena_new(0);
    struct dkimsign_key *rsa = dkimsign_key_rsa(1024), *ed = dkimsign_key_ed25519();
    const char *spki = dkimsign_p(mem, rsa, DKIMSIGN_SPKI), *raw = dkimsign_p(mem, ed, DKIMSIGN_SPKI);
    struct dkim_key *key;

    (void)state;
    t_case("SubjectPublicKeyInfo", "6376 3.6.1");
    t_same_z(fault_of(str_fmt(mem, "p=%s", spki)), "none");
    t_case("the bare RSAPublicKey", "6376 3.6.1");
    t_same_z(fault_of(str_fmt(mem, "p=%s", dkimsign_p(mem, rsa, DKIMSIGN_BARE))), "none");
    t_case("folded", "6376 3.6.1");
    t_same_z(fault_of(str_fmt(mem, "p=%.9s \t %s", spki, spki + 9)), "none");
    t_case("cut off", "6376 6.1.2");
    t_same_z(fault_of(str_fmt(mem, "p=%.100s", spki)), "p= is no RSA key");
    t_same_z(fault_of(str_fmt(mem, "p=%.101s", spki)), "p= is not base64");
    t_case("with octets behind it", "6376 6.1.2");
    t_same_z(fault_of(str_fmt(mem, "p=%sAAAA", spki)), "p= is no RSA key");
    t_case("not even DER", "6376 6.1.2");
    t_same_z(fault_of("p=YWJj"), "p= is no RSA key");
    t_case("Ed25519 has 32 octets", "8463 4");
    t_same_z(fault_of(str_fmt(mem, "k=ed25519; p=%s", raw)), "none");
    t_same_z(fault_of("k=ed25519; p=YWJj"), "p= is no Ed25519 key");
    t_same_z(fault_of(str_fmt(mem, "k=ed25519; p=%s", spki)), "p= is no Ed25519 key");
    t_case("an Ed25519 key in SubjectPublicKeyInfo is no RSA key", "6376 6.1.2");
    t_same_z(fault_of("p=MCowBQYDK2VwAyEA8EXQo7Pdox7frzkAQi9gnze1veAyxuFfAjNwfn/iOYI="), "p= is no RSA key");
    t_case("exponents that make no key, or a slow one", NULL);
    t_same_z(fault_of(odd_rsa(mem, 2048, "1")), "p= is no RSA key");
    t_same_z(fault_of(odd_rsa(mem, 2048, "10000")), "p= is no RSA key");
    t_same_z(fault_of(odd_rsa(mem, 2048, "10000000000000001")), "p= is no RSA key");
    t_same_z(fault_of(odd_rsa(mem, 2048, "F000000000000001")), "none");
    t_case("a record that is too long", NULL);
    t_same_z(fault_of(str_fmt(mem, "n=%04096d; p=%s", 0, spki)), "the key record is too long");
    t_case("bits are told", NULL);
    key = dkim_key_new(str_of(odd_rsa(mem, 8192, "10001")));
    t_same_int(key->bits, 8192);
    dkim_key_free(&key);
    dkimsign_key_free(&rsa);
    dkimsign_key_free(&ed);
    arena_free(&mem);
}

static void test_cache(void **state)
{
    struct clock_manual clock;
    struct dkim_keys *keys;
    const struct dkim_key *a, *b;

    (void)state;
    clock_manual_init(&clock, 1000);
    keys = dkim_keys_new(2, &clock.clock);
    t_case("the same text is the same key, another text another", NULL);
    a = dkim_keys_get(keys, STR("k=ed25519; p=yi50DjK5O9pqbFpNHklsv9lqaS0ArSYu02qp1S0DW1Y="));
    t_true(a->fault == NULL);
    t_true(dkim_keys_get(keys, STR("k=ed25519; p=yi50DjK5O9pqbFpNHklsv9lqaS0ArSYu02qp1S0DW1Y=")) == a);
    b = dkim_keys_get(keys, STR("k=ed25519; t=y; p=yi50DjK5O9pqbFpNHklsv9lqaS0ArSYu02qp1S0DW1Y="));
    t_true(b != a && b->testing);
    t_same_int(dkim_keys_count(keys), 2);
    t_case("the least recently used one goes", NULL);
    t_true(dkim_keys_get(keys, STR("k=ed25519; p=yi50DjK5O9pqbFpNHklsv9lqaS0ArSYu02qp1S0DW1Y=")) == a);
    t_true(dkim_keys_get(keys, STR("p="))->fault != NULL);
    t_same_int(dkim_keys_count(keys), 2);
    t_true(dkim_keys_get(keys, STR("k=ed25519; p=yi50DjK5O9pqbFpNHklsv9lqaS0ArSYu02qp1S0DW1Y=")) == a);
    t_case("what nobody asks for goes after a day", NULL);
    clock_manual_advance_ms(&clock, 24 * 60 * 60 * 1000 + 1);
    dkim_keys_get(keys, STR(""));
    t_same_int(dkim_keys_count(keys), 1);
    dkim_keys_free(&keys);
    t_true(keys == NULL);
    dkim_keys_free(&keys);
}

static void test_hashes(void **state)
{
    static const uint8_t abc[DKIM_HASH_BYTES] = {
        0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea, 0x41, 0x41, 0x40, 0xde, 0x5d, 0xae, 0x22, 0x23,
        0xb0, 0x03, 0x61, 0xa3, 0x96, 0x17, 0x7a, 0x9c, 0xb4, 0x10, 0xff, 0x61, 0xf2, 0x00, 0x15, 0xad};
    struct dkim_hash *hash = dkim_hash_new();
    uint8_t got[DKIM_HASH_BYTES];

    (void)state;
    t_case("SHA-256 of \"abc\", twice", NULL);
    for (int i = 0; i < 2; i++) {
        dkim_hash_add(hash, "ab", 2);
        dkim_hash_add(hash, "c", 1);
        dkim_hash_restart(hash, got);
        t_true(memcmp(got, abc, sizeof(abc)) == 0);
    }
    dkim_hash_add(hash, "abc", 3);
    dkim_hash_end(&hash, got);
    t_true(hash == NULL && memcmp(got, abc, sizeof(abc)) == 0);
    dkim_hash_drop(&hash);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_records), cmocka_unit_test(test_flags),  cmocka_unit_test(test_keys),
        cmocka_unit_test(test_cache),   cmocka_unit_test(test_hashes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
