#include "tests/t.h"

#include "auth/dkim_private.h"
#include "base/bug.h"

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

/* Made for this test only: RFC 8463 A.2's Ed25519 key, and RFC 6376 C.3's RSA key (both are public). */
static const char ed25519_base64[] = "nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=";
static const char ed25519_p[] = "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";

struct bed {
    struct arena *mem;
    const char *folder;
};

static int set_up(void **state)
{
    struct arena *mem = arena_new(0);
    struct bed *b = ARENA_NEW(mem, struct bed);
    char *folder = str_fmt(mem, "/tmp/dkim_private_test.XXXXXX");

    b->mem = mem;
    b->folder = mkdtemp(folder);
    *state = b;
    return b->folder == NULL;
}

static int tear_down(void **state)
{
    struct bed *b = *state;
    struct arena *mem = b->mem;

    rmdir(b->folder);
    arena_free(&mem);
    return 0;
}

static void write_file(const char *path, const char *text, mode_t mode)
{
    FILE *file = fopen(path, "w");

    t_true(file != NULL && fputs(text, file) >= 0 && fclose(file) == 0);
    t_same_int(chmod(path, mode), 0);
}

static struct dkim_key *public_of(struct arena *mem, const struct dkim_private *key)
{
    return dkim_key_new(str_of(dkim_private_record(mem, key)));
}

static void test_kinds(void **state)
{
    static const struct {
        const char *name;
        enum dkim_private_type type;
        unsigned bits;
        size_t signature_bytes;
    } rows[] = {
        {"rsa-2048", DKIM_PRIVATE_RSA_2048, 2048, 256},
        {"rsa-4096", DKIM_PRIVATE_RSA_4096, 4096, 512},
        {"ed25519", DKIM_PRIVATE_ED25519, 256, 64},
    };
    static const uint8_t hash[DKIM_HASH_BYTES] = {1, 2, 3}, other[DKIM_HASH_BYTES] = {1, 2, 4};
    struct bed *b = *state;

    for (size_t i = 0; i < COUNT(rows); i++) {
        const char *path = str_fmt(b->mem, "%s/key.private", b->folder), *warning;
        struct dkim_private *key = dkim_private_generate(rows[i].type), *again;
        struct dkim_key *public = public_of(b->mem, key);
        uint8_t signature[DKIM_SIGNATURE_MAX];
        struct stat about;
        struct fail fail;

        t_case(rows[i].name, "6376 3.3, 8463 3");
        t_same_int(dkim_private_bits(key), rows[i].bits);
        t_same_int(dkim_private_sign(key, hash, signature), rows[i].signature_bytes);
        t_true(public->fault == NULL);
        t_true(dkim_key_verify(public, hash, signature, rows[i].signature_bytes));
        t_true(!dkim_key_verify(public, other, signature, rows[i].signature_bytes));
        t_true(dkim_private_fits(key, public));
        t_case("written with mode 600, never over an old one, and read again", NULL);
        t_same_int(dkim_private_write(key, path, &fail), 0);
        t_same_int(dkim_private_write(key, path, &fail), -1);
        t_same_int(stat(path, &about), 0);
        t_same_int(about.st_mode & 0777, 0600);
        again = dkim_private_read(b->mem, path, &warning, &fail);
        t_true(again != NULL && warning == NULL && dkim_private_fits(again, public));
        dkim_private_free(&again);
        dkim_key_free(&public);
        dkim_private_free(&key);
        unlink(path);
    }
}

static void test_fits(void **state)
{
    struct bed *b = *state;
    struct dkim_private *one = dkim_private_generate(DKIM_PRIVATE_ED25519),
                        *other = dkim_private_generate(DKIM_PRIVATE_ED25519);
    struct dkim_key *public = public_of(b->mem, one), *revoked = dkim_key_new(STR("v=DKIM1; p="));

    t_case("another key does not fit, nor does a revoked record", NULL);
    t_true(dkim_private_fits(one, public));
    t_true(!dkim_private_fits(other, public));
    t_true(!dkim_private_fits(one, revoked));
    dkim_key_free(&revoked);
    dkim_key_free(&public);
    dkim_private_free(&one);
    dkim_private_free(&other);
}

static void test_bare_base64(void **state)
{
    struct bed *b = *state;
    struct fail fail;
    struct dkim_private *key = dkim_private_parse(str_of(ed25519_base64), &fail);

    t_case("the 32 octets alone, as dkimpy writes them", "8463 A.2");
    t_true(key != NULL);
    t_same_z(dkim_private_record(b->mem, key), ed25519_p);
    dkim_private_free(&key);
}

static void test_faults(void **state)
{
    static const struct {
        const char *name, *text, *why;
    } rows[] = {
        {"empty", "", "this is no private key (PEM, not encrypted)"},
        {"a public key",
         "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n"
         "-----END PUBLIC KEY-----\n",
         "this is no private key (PEM, not encrypted)"},
        {"half a key", "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQ",
         "this is no private key (PEM, not encrypted)"},
        {"X25519",
         "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VuBCIEIOAvQ6b+BRm8KrPA+7R5Kcrsq8EEt0AJMUEgFlK8XFpE\n"
         "-----END PRIVATE KEY-----\n",
         "this is neither an RSA nor an Ed25519 key"},
        {"encrypted",
         "-----BEGIN ENCRYPTED PRIVATE KEY-----\n"
         "MIGbMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAicNbsiiljdlgICCAAw\n"
         "DAYIKoZIhvcNAgkFADAdBglghkgBZQMEASoEECT8XcNcMzQn6Kak1PsJ+gkEQL8w\n"
         "8rBCqR8ih363ROqyG5Liykxi2K5nf+hvR0hrzL8lreHP+yeOqv8REfDaM/foHouC\n"
         "yHMBNPbDwtDNf+epAoE=\n"
         "-----END ENCRYPTED PRIVATE KEY-----\n",
         "the key is encrypted: nobody is there to type the password"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct fail fail;

        t_case(rows[i].name, NULL);
        t_true(dkim_private_parse(str_of(rows[i].text), &fail) == NULL);
        t_same_z(fail.text, rows[i].why);
    }
}

static void test_files(void **state)
{
    struct bed *b = *state;
    const char *path = str_fmt(b->mem, "%s/key", b->folder), *warning;
    struct dkim_private *key;
    struct fail fail;
    char *large;

    t_case("readable for others: a warning, and the key is read", NULL);
    write_file(path, ed25519_base64, 0640);
    key = dkim_private_read(b->mem, path, &warning, &fail);
    t_true(key != NULL && warning != NULL && strstr(warning, "mode 640") != NULL);
    dkim_private_free(&key);
    t_case("too large, missing, no file", NULL);
    large = arena_alloc(b->mem, 70000);
    memset(large, 'A', 69999);
    write_file(path, large, 0600);
    t_true(dkim_private_read(b->mem, path, &warning, &fail) == NULL);
    t_true(strstr(fail.text, "too large") != NULL);
    unlink(path);
    t_true(dkim_private_read(b->mem, path, &warning, &fail) == NULL);
    t_true(strstr(fail.text, "No such file") != NULL);
    t_true(dkim_private_read(b->mem, b->folder, &warning, &fail) == NULL);
    t_true(strstr(fail.text, "is no file") != NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kinds),  cmocka_unit_test(test_fits),  cmocka_unit_test(test_bare_base64),
        cmocka_unit_test(test_faults), cmocka_unit_test(test_files),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
