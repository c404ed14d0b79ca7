#include "auth/dkim_private.h"

#include "auth/dkim_base64.h"
#include "base/bug.h"
#include "base/buf.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FILE_BYTES_MAX = 64 * 1024, RSA_BITS_MIN = 1024, RSA_BITS_MAX = 4096, ED25519_BYTES = 32 };

struct dkim_private {
    EVP_PKEY *pkey;
    bool ed25519;
    unsigned bits;
};

/* ---- reading ---- */

/* Nobody is there to type one in. */
static int no_password(char *buffer, int size, int writing, void *arg)
{
    (void)buffer;
    (void)size;
    (void)writing;
    *(bool *)arg = true;
    return -1;
}

static EVP_PKEY *pem_decode(struct str text, bool *encrypted_out)
{
    BIO *bio = BIO_new_mem_buf(text.p, (int)text.n);
    EVP_PKEY *pkey;

    if (bio == NULL)
        out_of_memory();
    pkey = PEM_read_bio_PrivateKey(bio, NULL, no_password, encrypted_out);
    BIO_free(bio);
    return pkey;
}

static EVP_PKEY *base64_decode(struct str text)
{
    uint8_t *octets = malloc(DKIM_BASE64_ROOM(text.n) + 1);
    const unsigned char *p = octets;
    EVP_PKEY *pkey = NULL;
    size_t n = 0;

    if (octets == NULL)
        out_of_memory();
    if (dkim_base64_decode(text, octets, &n) && n == ED25519_BYTES)
        pkey = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, octets, n);
    else if (n > 0)
        pkey = d2i_AutoPrivateKey(NULL, &p, (long)n);
    OPENSSL_cleanse(octets, DKIM_BASE64_ROOM(text.n) + 1);
    free(octets);
    return pkey;
}

static struct dkim_private *key_of(EVP_PKEY *pkey)
{
    struct dkim_private *key = calloc(1, sizeof(*key));

    if (key == NULL)
        out_of_memory();
    key->pkey = pkey;
    key->ed25519 = EVP_PKEY_is_a(pkey, "ED25519");
    key->bits = (unsigned)EVP_PKEY_get_bits(pkey);
    return key;
}

static int type_check(const EVP_PKEY *pkey, struct fail *fail)
{
    int bits = EVP_PKEY_get_bits(pkey);

    if (EVP_PKEY_is_a(pkey, "ED25519"))
        return 0;
    if (!EVP_PKEY_is_a(pkey, "RSA"))
        return fail_set(fail, "this is neither an RSA nor an Ed25519 key");
    if (bits < RSA_BITS_MIN || bits > RSA_BITS_MAX)
        return fail_set(fail, "an RSA key of %d bits: verifiers take %d to %d (RFC 8301 3.2)", bits,
                        RSA_BITS_MIN, RSA_BITS_MAX);
    return 0;
}

static bool is_pem(struct str text)
{
    return text.n > 0 && memmem(text.p, text.n, "-----BEGIN ", 11) != NULL;
}

struct dkim_private *dkim_private_parse(struct str text, struct fail *fail)
{
    bool encrypted = false;
    EVP_PKEY *pkey = is_pem(text) ? pem_decode(text, &encrypted) : base64_decode(text);

    ERR_clear_error();
    if (pkey == NULL) {
        fail_set(fail, encrypted ? "the key is encrypted: nobody is there to type the password"
                                 : "this is no private key (PEM, not encrypted)");
        return NULL;
    }
    if (type_check(pkey, fail) < 0) {
        EVP_PKEY_free(pkey);
        return NULL;
    }
    return key_of(pkey);
}

static int read_whole(int fd, char *bytes, size_t *n_out)
{
    ssize_t n;

    for (*n_out = 0; *n_out < FILE_BYTES_MAX + 1; *n_out += (size_t)n) {
        n = read(fd, bytes + *n_out, FILE_BYTES_MAX + 1 - *n_out);
        if (n < 0 && errno == EINTR)
            n = 0;
        else if (n <= 0)
            return (int)n;
    }
    return 0;
}

static struct dkim_private *read_open(int fd, const char *path, struct fail *fail)
{
    static const size_t room = FILE_BYTES_MAX + 1;
    struct dkim_private *key = NULL;
    char *bytes = malloc(room);
    struct fail why;
    size_t n;

    if (bytes == NULL)
        out_of_memory();
    if (read_whole(fd, bytes, &n) < 0)
        fail_errno(fail, "%s cannot be read", path);
    else if (n > FILE_BYTES_MAX)
        fail_set(fail, "%s is too large for a key", path);
    else if ((key = dkim_private_parse(str_make(bytes, n), &why)) == NULL)
        fail_set(fail, "%s: %s", path, why.text);
    OPENSSL_cleanse(bytes, room);
    free(bytes);
    return key;
}

struct dkim_private *dkim_private_read(struct arena *mem, const char *path, const char **warning_out,
                                       struct fail *fail)
{
    struct dkim_private *key = NULL;
    struct stat about;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

    *warning_out = NULL;
    if (fd < 0) {
        fail_errno(fail, "%s cannot be opened", path);
        return NULL;
    }
    if (fstat(fd, &about) < 0 || !S_ISREG(about.st_mode))
        fail_set(fail, "%s is no file", path);
    else
        key = read_open(fd, path, fail);
    close(fd);
    if (key != NULL && (about.st_mode & (S_IRWXG | S_IRWXO)) != 0)
        *warning_out = str_fmt(
            mem, "%s: others than its owner have rights on this private key (mode %03o); 600 is right", path,
            (unsigned)about.st_mode & 0777);
    return key;
}

struct dkim_private *dkim_private_generate(enum dkim_private_type type)
{
    EVP_PKEY *pkey = type == DKIM_PRIVATE_ED25519 ? EVP_PKEY_Q_keygen(NULL, NULL, "ED25519")
                                                  : EVP_RSA_gen(type == DKIM_PRIVATE_RSA_4096 ? 4096 : 2048);

    if (pkey == NULL)
        bug("OpenSSL made no key");
    return key_of(pkey);
}

void dkim_private_free(struct dkim_private **key)
{
    if (*key != NULL)
        EVP_PKEY_free((*key)->pkey);
    free(*key);
    *key = NULL;
}

/* ---- writing ---- */

static int write_whole(int fd, const char *bytes, size_t n)
{
    while (n > 0) {
        ssize_t written = write(fd, bytes, n);

        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return -1;
        bytes += written;
        n -= (size_t)written;
    }
    return fsync(fd);
}

static int write_new(const char *path, const char *bytes, size_t n, struct fail *fail)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, S_IRUSR | S_IWUSR);
    int result;

    if (fd < 0 && errno == EEXIST)
        return fail_set(fail, "%s is there already; it is not overwritten", path);
    if (fd < 0)
        return fail_errno(fail, "%s cannot be made", path);
    result = write_whole(fd, bytes, n);
    if (result < 0)
        fail_errno(fail, "%s cannot be written", path);
    if (close(fd) < 0 && result == 0)
        result = fail_errno(fail, "%s cannot be written", path);
    if (result < 0)
        unlink(path); /* half a key is none */
    return result;
}

int dkim_private_write(const struct dkim_private *key, const char *path, struct fail *fail)
{
    BIO *bio = BIO_new(BIO_s_secmem());
    char *bytes;
    long n;
    int result;

    if (bio == NULL || PEM_write_bio_PKCS8PrivateKey(bio, key->pkey, NULL, NULL, 0, NULL, NULL) != 1)
        bug("OpenSSL cannot write a key");
    n = BIO_get_mem_data(bio, &bytes);
    result = write_new(path, bytes, (size_t)n, fail);
    BIO_free(bio);
    return result;
}

/* ---- what it is, what it says ---- */

bool dkim_private_is_ed25519(const struct dkim_private *key)
{
    return key->ed25519;
}

unsigned dkim_private_bits(const struct dkim_private *key)
{
    return key->ed25519 ? ED25519_BYTES * 8 : key->bits;
}

const char *dkim_private_record(struct arena *mem, const struct dkim_private *key)
{
    unsigned char raw[ED25519_BYTES], *der = NULL;
    size_t raw_bytes = sizeof(raw);
    const char *record;
    int n;

    if (key->ed25519) {
        if (EVP_PKEY_get_raw_public_key(key->pkey, raw, &raw_bytes) != 1)
            bug("no public key in an Ed25519 key");
        return str_fmt(mem, "v=DKIM1; k=ed25519; p=%s", dkim_base64_encode(mem, raw, raw_bytes));
    }
    n = i2d_PUBKEY(key->pkey, &der);
    if (n <= 0)
        bug("no public key in an RSA key");
    record = str_fmt(mem, "v=DKIM1; k=rsa; p=%s", dkim_base64_encode(mem, der, (size_t)n));
    OPENSSL_free(der);
    return record;
}

static size_t rsa_sign(EVP_PKEY *pkey, const uint8_t hash[DKIM_HASH_BYTES], uint8_t *signature_out)
{
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_pkey(NULL, pkey, NULL);
    size_t n = DKIM_SIGNATURE_MAX;

    if (context == NULL)
        out_of_memory();
    if (EVP_PKEY_sign_init(context) != 1 || EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_PADDING) != 1 ||
        EVP_PKEY_CTX_set_signature_md(context, EVP_sha256()) != 1 ||
        EVP_PKEY_sign(context, signature_out, &n, hash, DKIM_HASH_BYTES) != 1)
        bug("OpenSSL cannot sign with an RSA key");
    EVP_PKEY_CTX_free(context);
    return n;
}

/* The hash is signed as if it were the message (RFC 8463 3). */
static size_t ed25519_sign(EVP_PKEY *pkey, const uint8_t hash[DKIM_HASH_BYTES], uint8_t *signature_out)
{
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    size_t n = DKIM_SIGNATURE_MAX;

    if (context == NULL)
        out_of_memory();
    if (EVP_DigestSignInit_ex(context, NULL, NULL, NULL, NULL, pkey, NULL) != 1 ||
        EVP_DigestSign(context, signature_out, &n, hash, DKIM_HASH_BYTES) != 1)
        bug("OpenSSL cannot sign with an Ed25519 key");
    EVP_MD_CTX_free(context);
    return n;
}

size_t dkim_private_sign(const struct dkim_private *key, const uint8_t hash[DKIM_HASH_BYTES],
                         uint8_t *signature_out)
{
    return key->ed25519 ? ed25519_sign(key->pkey, hash, signature_out)
                        : rsa_sign(key->pkey, hash, signature_out);
}

/* Whether one signs what the other verifies: so the form of the record does not matter. */
bool dkim_private_fits(const struct dkim_private *key, const struct dkim_key *record)
{
    static const uint8_t hash[DKIM_HASH_BYTES] = "does this key fit that record?";
    uint8_t signature[DKIM_SIGNATURE_MAX];
    size_t n;

    if (record->fault != NULL || record->ed25519 != key->ed25519)
        return false;
    n = dkim_private_sign(key, hash, signature);
    return dkim_key_verify(record, hash, signature, n);
}
