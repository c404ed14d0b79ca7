#include "tests/dkimsign.h"

#include "tests/t.h"

#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/sha.h>
#include <openssl/x509.h>
#include <stdio.h>

struct dkimsign_key {
    EVP_PKEY *pkey;
    bool ed25519;
};

static struct dkimsign_key *key_of(EVP_PKEY *pkey, bool ed25519)
{
    struct dkimsign_key *key = calloc(1, sizeof(*key));

    if (key == NULL || pkey == NULL)
        t_fail("no key");
    key->pkey = pkey;
    key->ed25519 = ed25519;
    return key;
}

struct dkimsign_key *dkimsign_key_rsa(unsigned bits)
{
    return key_of(EVP_RSA_gen(bits), false);
}

struct dkimsign_key *dkimsign_key_ed25519(void)
{
    return key_of(EVP_PKEY_Q_keygen(NULL, NULL, "ED25519"), true);
}

void dkimsign_key_free(struct dkimsign_key **key)
{
    if (*key != NULL)
        EVP_PKEY_free((*key)->pkey);
    free(*key);
    *key = NULL;
}

static const char *base64(struct arena *mem, const unsigned char *p, size_t n)
{
    char *text = arena_alloc(mem, n / 3 * 4 + 5);

    EVP_EncodeBlock((unsigned char *)text, p, (int)n);
    return text;
}

const char *dkimsign_p(struct arena *mem, const struct dkimsign_key *key, enum dkimsign_form form)
{
    unsigned char raw[32], *der = NULL;
    size_t raw_bytes = sizeof(raw);
    const char *text;
    int n;

    if (key->ed25519) {
        if (EVP_PKEY_get_raw_public_key(key->pkey, raw, &raw_bytes) != 1)
            t_fail("no raw key");
        return base64(mem, raw, raw_bytes);
    }
    n = form == DKIMSIGN_BARE ? i2d_PublicKey(key->pkey, &der) : i2d_PUBKEY(key->pkey, &der);
    if (n <= 0)
        t_fail("no DER");
    text = base64(mem, der, (size_t)n);
    OPENSSL_free(der);
    return text;
}

const char *dkimsign_record(struct arena *mem, const struct dkimsign_key *key)
{
    return str_fmt(mem, "v=DKIM1; k=%s; p=%s", key->ed25519 ? "ed25519" : "rsa",
                   dkimsign_p(mem, key, DKIMSIGN_SPKI));
}

/* ---- canonical forms, by rewriting whole strings ---- */

static struct str cat(struct arena *mem, struct str a, struct str b)
{
    char *p = arena_alloc(mem, a.n + b.n + 1);

    if (a.n > 0)
        memcpy(p, a.p, a.n);
    if (b.n > 0)
        memcpy(p + a.n, b.p, b.n);
    return str_make(p, a.n + b.n);
}

struct str dkimsign_simple_body(struct arena *mem, struct str body)
{
    while (body.n >= 2 && memcmp(body.p + body.n - 2, "\r\n", 2) == 0)
        body.n -= 2;
    return cat(mem, body, STR("\r\n"));
}

static bool is_crlf(struct str s, size_t i)
{
    return s.n - i >= 2 && s.p[i] == '\r' && s.p[i + 1] == '\n';
}

/* Runs of blanks become one; then those before a line end or the end go. */
static struct str squeeze(struct arena *mem, struct str s)
{
    char *p = arena_alloc(mem, s.n + 1);
    size_t n = 0;

    for (size_t i = 0; i < s.n; i++) {
        bool blank = s.p[i] == ' ' || s.p[i] == '\t';

        if (is_crlf(s, i) && n > 0 && p[n - 1] == ' ')
            n--;
        if (!blank)
            p[n++] = s.p[i];
        else if (n == 0 || p[n - 1] != ' ')
            p[n++] = ' ';
    }
    if (n > 0 && p[n - 1] == ' ')
        n--;
    return str_make(p, n);
}

struct str dkimsign_relaxed_body(struct arena *mem, struct str body)
{
    body = squeeze(mem, body);
    while (body.n >= 2 && memcmp(body.p + body.n - 2, "\r\n", 2) == 0)
        body.n -= 2;
    return body.n > 0 ? cat(mem, body, STR("\r\n")) : body;
}

struct str dkimsign_relaxed_field(struct arena *mem, struct str field)
{
    char *p = arena_alloc(mem, field.n + 1);
    struct str name, value;
    size_t n = 0;

    for (size_t i = 0; i < field.n; i++) /* unfold */
        if (!is_crlf(field, i))
            p[n++] = field.p[i];
        else
            i++;
    if (!str_cut(str_make(p, n), ':', &name, &value))
        t_fail("no field: %.*s", STR_ARG(field));
    value = squeeze(mem, value);
    if (value.n > 0 && value.p[0] == ' ')
        value = str_from(value, 1);
    return str_of(str_fmt(mem, "%s:%.*s\r\n", str_dup_lower(mem, str_trim(name)), STR_ARG(value)));
}

/* ---- signing ---- */

enum { FIELDS_MAX = 2000 };

static size_t split(struct str section, struct str fields_out[FIELDS_MAX])
{
    size_t count = 0, start = 0;

    for (size_t i = 0; i < section.n; i++) {
        bool ends = section.p[i] == '\n' &&
                    (i + 1 == section.n || (section.p[i + 1] != ' ' && section.p[i + 1] != '\t'));

        if (!ends)
            continue;
        if (count == FIELDS_MAX)
            t_fail("too many fields");
        fields_out[count++] = str_make(section.p + start, i + 1 - start);
        start = i + 1;
    }
    return count;
}

static struct str canonical_field(struct arena *mem, const struct dkimsign *how, struct str field)
{
    bool relaxed = how->c != NULL && strncmp(how->c, "relaxed", 7) == 0;

    return relaxed ? dkimsign_relaxed_field(mem, field) : field;
}

static struct str signed_text(struct arena *mem, const struct dkimsign *how, struct str section,
                              struct str own)
{
    struct str fields[FIELDS_MAX], name, rest = str_of(how->h), text = {0};
    size_t count = split(section, fields);
    bool taken[FIELDS_MAX] = {false}, more = true;

    while (more) {
        more = str_cut(rest, ':', &name, &rest);
        for (size_t i = count; i-- > 0;) {
            if (taken[i] ||
                !str_same(str_trim(str_upto(fields[i], str_find(fields[i], ':'))), str_trim(name)))
                continue;
            taken[i] = true;
            text = cat(mem, text, canonical_field(mem, how, fields[i]));
            break;
        }
    }
    own = canonical_field(mem, how, own);
    return cat(mem, text, str_upto(own, own.n - 2));
}

const char *dkimsign_bh(struct arena *mem, struct str canonical_body)
{
    unsigned char hash[32];

    SHA256((const unsigned char *)canonical_body.p, canonical_body.n, hash);
    return base64(mem, hash, sizeof(hash));
}

static const char *body_hash(struct arena *mem, const struct dkimsign *how, struct str body)
{
    const char *slash = how->c != NULL ? strchr(how->c, '/') : NULL;
    const char *l = how->extra != NULL ? strstr(how->extra, "l=") : NULL;

    body = slash != NULL && strcmp(slash, "/relaxed") == 0 ? dkimsign_relaxed_body(mem, body)
                                                           : dkimsign_simple_body(mem, body);
    if (l != NULL)
        body = str_upto(body, (size_t)strtoull(l + 2, NULL, 10));
    return dkimsign_bh(mem, body);
}

const char *dkimsign_b(struct arena *mem, const struct dkimsign_key *key, struct str text)
{
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    const EVP_MD *md = key->ed25519 ? NULL : EVP_sha256();
    unsigned char hash[32], signature[2048];
    size_t n = sizeof(signature);

    SHA256((const unsigned char *)text.p, text.n, hash);
    if (key->ed25519) /* RFC 8463 3: what is signed is the hash */
        text = str_make((const char *)hash, sizeof(hash));
    if (EVP_DigestSignInit(context, NULL, md, NULL, key->pkey) != 1 ||
        EVP_DigestSign(context, signature, &n, (const unsigned char *)text.p, text.n) != 1)
        t_fail("cannot sign");
    EVP_MD_CTX_free(context);
    return base64(mem, signature, n);
}

struct str dkimsign_field(struct arena *mem, const struct dkimsign *how, struct str section, struct str body)
{
    const char *a = how->a != NULL ? how->a : how->key->ed25519 ? "ed25519-sha256" : "rsa-sha256";
    const char *front = str_fmt(mem, "DKIM-Signature: v=1; a=%s; d=%s; s=%s;\r\n\t%s%s%s%sh=%s;\r\n\tb=", a,
                                how->d, how->s, how->c != NULL ? "c=" : "", how->c != NULL ? how->c : "",
                                how->c != NULL ? "; " : "", how->extra != NULL ? how->extra : "", how->h);
    const char *back = str_fmt(mem, ";\r\n\tbh=%s\r\n", body_hash(mem, how, body));
    struct str own = str_of(str_fmt(mem, "%s%s", front, back));
    const char *b = dkimsign_b(mem, how->key, signed_text(mem, how, section, own));

    return str_of(str_fmt(mem, "%s%.3s\r\n\t%.7s \r\n %s%s", front, b, b + 3, b + 10, back));
}

struct str dkimsign_section(struct arena *mem, const struct dkimsign *how, struct str section,
                            struct str body)
{
    return cat(mem, dkimsign_field(mem, how, section, body), section);
}
