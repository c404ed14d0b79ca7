#include "tests/certificate.h"

#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { DAY_S = 24 * 3600 };

/* "a.test,b.test" as OpenSSL wants it: "DNS:a.test,DNS:b.test". */
static void alternative_names(const char *names, char *text, size_t room)
{
    size_t n = (size_t)snprintf(text, room, "DNS:");

    for (; *names != '\0' && n + 6 < room; names++)
        n += (size_t)snprintf(text + n, room - n, *names == ',' ? "%cDNS:" : "%c", *names);
}

static bool fill(X509 *certificate, EVP_PKEY *key, const char *names, int days)
{
    char text[1024];
    X509_NAME *name = X509_get_subject_name(certificate);
    X509_EXTENSION *extension;
    bool fine;

    alternative_names(names, text, sizeof(text));
    X509_set_version(certificate, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), (long)time(NULL));
    X509_gmtime_adj(X509_getm_notBefore(certificate), -2 * DAY_S);
    X509_gmtime_adj(X509_getm_notAfter(certificate), (long)days * DAY_S);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"test", -1, -1, 0);
    X509_set_issuer_name(certificate, name);
    X509_set_pubkey(certificate, key);
    extension = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, text);
    fine = extension != NULL && X509_add_ext(certificate, extension, -1) == 1 &&
           X509_sign(certificate, key, EVP_sha256()) > 0;
    X509_EXTENSION_free(extension);
    return fine;
}

static bool write_pem(const char *path, X509 *certificate, EVP_PKEY *key, const char *password)
{
    FILE *file = fopen(path, "w");
    bool fine;

    if (file == NULL)
        return false;
    if (certificate != NULL)
        fine = PEM_write_X509(file, certificate) == 1;
    else
        fine = PEM_write_PrivateKey(file, key, password != NULL ? EVP_aes_128_cbc() : NULL,
                                    (const unsigned char *)password,
                                    password != NULL ? (int)strlen(password) : 0, NULL, NULL) == 1;
    return fclose(file) == 0 && fine;
}

bool certificate_make(const char *cert_path, const char *key_path, const char *names, int days,
                      const char *password)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *certificate = X509_new();
    bool fine = key != NULL && certificate != NULL && fill(certificate, key, names, days) &&
                write_pem(cert_path, certificate, NULL, NULL) && write_pem(key_path, NULL, key, password);

    X509_free(certificate);
    EVP_PKEY_free(key);
    return fine;
}
