/* tls/peer_test.c - what a certificate says, and whether it is good */
#include "tls/peer.h"

#include "tests/certificate.h"
#include "tests/t.h"

#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { DAY_S = 24 * 3600 };

static char folder[] = "/tmp/peer_test.XXXXXX";
static char known_path[64], key_path[64], other_path[64];
static struct arena *mem;
static struct str known, other;

static struct str der_of(const char *path)
{
    FILE *file = fopen(path, "r");
    X509 *certificate = PEM_read_X509(file, NULL, NULL, NULL);
    unsigned char *der = NULL;
    int n = i2d_X509(certificate, &der);
    struct str copy = str_copy(mem, str_make((char *)der, (size_t)n));

    OPENSSL_free(der);
    X509_free(certificate);
    fclose(file);
    return copy;
}

static int make_files(void **state)
{
    (void)state;
    mem = arena_new(0);
    t_true(mkdtemp(folder) != NULL);
    snprintf(known_path, sizeof(known_path), "%s/known.pem", folder);
    snprintf(other_path, sizeof(other_path), "%s/other.pem", folder);
    snprintf(key_path, sizeof(key_path), "%s/key", folder);
    t_true(certificate_make(other_path, key_path, "other.test", 30, NULL));
    t_true(certificate_make(known_path, key_path, "mx.test,*.mail.test", 30, NULL));
    known = der_of(known_path);
    other = der_of(other_path);
    setenv("SSL_CERT_FILE", known_path, 1); /* the system's CA for this test */
    setenv("SSL_CERT_DIR", folder, 1);
    return 0;
}

static int remove_files(void **state)
{
    (void)state;
    unlink(known_path);
    unlink(other_path);
    unlink(key_path);
    rmdir(folder);
    arena_free(&mem);
    return 0;
}

static struct tls_peer read_peer(struct str der, const char *name, int days_from_now)
{
    struct tls_peer peer;
    struct fail fail = {""};

    if (tls_peer_read(mem, &der, 1, name, (int64_t)time(NULL) + (int64_t)days_from_now * DAY_S, &peer, &fail) < 0)
        t_fail("%s", fail.text);
    return peer;
}

static const struct {
    const char *name, *rfc, *asked;
    const struct str *der;
    int days; /* from now */
    bool has_name;
    const char *distrust;
} rows[] = {
    {"its name, of an authority that is known", "9525 6.3", "mx.test", &known, 0, true, NULL},
    {"in any case", "9525 6.3", "MX.Test", &known, 0, true, NULL},
    {"another name", "9525 6.3", "mx2.test", &known, 0, false, NULL},
    {"a wildcard stands for one label", "9525 6.3", "a.mail.test", &known, 0, true, NULL},
    {"and not for two", "9525 6.3", "b.a.mail.test", &known, 0, false, NULL},
    {"a leading dot is no wildcard", NULL, ".mail.test", &known, 0, false, NULL},
    {"an address that is not in it", NULL, "192.0.2.1", &known, 0, false, NULL},
    {"of nobody we know", "5280 6.1", "other.test", &other, 0, true, "self-signed certificate"},
    {"its time is over", "5280 4.1.2.5", "mx.test", &known, 31, true, "certificate has expired"},
    {"its time has not come", "5280 4.1.2.5", "mx.test", &known, -3, true, "certificate is not yet valid"},
};

static void test_good_or_not(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        struct tls_peer peer = read_peer(*rows[i].der, rows[i].asked, rows[i].days);

        t_case(rows[i].name, rows[i].rfc);
        t_same_int(peer.has_name, rows[i].has_name);
        t_same_int(peer.trusted, rows[i].distrust == NULL);
        t_same_z(peer.distrust != NULL ? peer.distrust : "", rows[i].distrust != NULL ? rows[i].distrust : "");
    }
}

static void test_what_it_says(void **state)
{
    struct tls_peer peer = read_peer(known, "mx.test", 0);
    int64_t now = (int64_t)time(NULL);

    (void)state;
    t_case("names, issuer, key and dates are told", "5280 4.1.2");
    t_same_int(peer.names_count, 2);
    t_same_str_z(peer.names[0], "mx.test");
    t_same_str_z(peer.names[1], "*.mail.test");
    t_same_str_z(peer.issuer, "CN = test");
    t_same_z(peer.key, "ec");
    t_same_int(peer.bits, 256);
    t_true(peer.not_before_unix < now - DAY_S && peer.not_before_unix > now - 3 * DAY_S);
    t_true(peer.not_after_unix > now + 29 * DAY_S && peer.not_after_unix < now + 31 * DAY_S);
}

static void test_no_certificate(void **state)
{
    struct tls_peer peer;
    struct fail fail = {""};
    struct str garbage[] = {known, STR("no certificate")};

    (void)state;
    t_case("an empty chain", NULL);
    t_same_int(tls_peer_read(mem, NULL, 0, "mx.test", 0, &peer, &fail), -1);
    t_same_z(fail.text, "it shows no certificate");
    t_case("one with something else in it", NULL);
    t_same_int(tls_peer_read(mem, garbage, 2, "mx.test", 0, &peer, &fail), -1);
    t_same_z(fail.text, "its certificate cannot be read");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good_or_not),
        cmocka_unit_test(test_what_it_says),
        cmocka_unit_test(test_no_certificate),
    };

    return cmocka_run_group_tests(tests, make_files, remove_files);
}
