#include "base/hash.h"

#include "tests/t.h"

#include <stdio.h>

static void test_same(void **state)
{
    char one[] = "mail.example.test", two[] = "xmail.example.test";

    (void)state;
    t_case("the same bytes have the same hash, wherever they stand", NULL);
    t_true(hash_bytes(one, sizeof(one)) == hash_bytes(two + 1, sizeof(one)));
    t_true(hash_stable(one, sizeof(one), 5) == hash_stable(two + 1, sizeof(one), 5));
    t_true(hash_bytes(NULL, 0) == hash_bytes("x", 0));
}

/* The identities of the greylist are on disk: a change here would forget them all. */
static void test_stable(void **state)
{
    (void)state;
    t_case("the stable hash is the same in every process and version", NULL);
    t_true(hash_stable("", 0, 0) == hash_stable(NULL, 0, 0));
    t_true(hash_stable("192.0.2.0/24", 12, 1) == UINT64_C(0x8d079f26c4ebb5ea));
    t_true(hash_stable("abc", 3, 1) != hash_stable("abc", 3, 2));
}

static void test_length(void **state)
{
    static const char zeros[64];

    (void)state;
    t_case("runs of zeros of different length differ", NULL);
    for (size_t a = 0; a < sizeof(zeros); a++)
        for (size_t b = 0; b < a; b++)
            t_true(hash_bytes(zeros, a) != hash_bytes(zeros, b));
}

static unsigned bits_set(uint64_t x)
{
    unsigned n = 0;

    for (; x != 0; x &= x - 1)
        n++;
    return n;
}

static void test_avalanche(void **state)
{
    unsigned char bytes[24] = "a key of 24 bytes";
    unsigned long changed = 0, least = 64;

    (void)state;
    t_case("each bit of the input changes about half of the output", NULL);
    for (unsigned bit = 0; bit < sizeof(bytes) * 8; bit++) {
        uint64_t before = hash_stable(bytes, sizeof(bytes), 9);
        unsigned n;

        bytes[bit / 8] ^= (unsigned char)(1u << bit % 8);
        n = bits_set(before ^ hash_stable(bytes, sizeof(bytes), 9));
        changed += n;
        least = n < least ? n : least;
    }
    t_true(least >= 10);
    t_true(changed / (sizeof(bytes) * 8) >= 30 && changed / (sizeof(bytes) * 8) <= 34);
}

static void test_spread(void **state)
{
    enum { KEYS = 65536, BUCKETS = 256 };
    static unsigned count[BUCKETS];

    (void)state;
    t_case("keys that count up fill all buckets alike", NULL);
    for (uint32_t key = 0; key < KEYS; key++)
        count[hash_bytes(&key, sizeof(key)) % BUCKETS]++;
    for (unsigned i = 0; i < BUCKETS; i++)
        t_true(count[i] > KEYS / BUCKETS / 2 && count[i] < KEYS / BUCKETS * 2);
}

struct entry {
    char name[16];
    int value;
    UT_hash_handle hh;
};

static void test_table(void **state)
{
    struct entry entries[100], *table = NULL, *found;
    char name[16];

    (void)state;
    t_case("uthash's tables use it", NULL);
    for (int i = 0; i < 100; i++) {
        snprintf(entries[i].name, sizeof(entries[i].name), "host%d.test", i);
        entries[i].value = i;
        HASH_ADD_STR(table, name, &entries[i]);
    }
    for (int i = 0; i < 100; i++) {
        snprintf(name, sizeof(name), "host%d.test", i);
        HASH_FIND_STR(table, name, found);
        t_true(found == &entries[i]);
        t_true(found->hh.hashv == (unsigned)hash_bytes(name, strlen(name)));
    }
    HASH_FIND_STR(table, "nobody", found);
    t_true(found == NULL);
    HASH_CLEAR(hh, table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same),      cmocka_unit_test(test_stable), cmocka_unit_test(test_length),
        cmocka_unit_test(test_avalanche), cmocka_unit_test(test_spread), cmocka_unit_test(test_table),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
