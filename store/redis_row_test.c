#include "store/redis_row.h"

#include "tests/t.h"

/* Four octets, and what is between them and a slash. */
static struct str tag(struct str key)
{
    return str_upto(str_from(key, 4), str_find(str_from(key, 4), '/'));
}

static const struct store_table tables[] = {
    {.name = "plain"},
    {.name = "tagged", .spread = STORE_BY_TAG, .tag = tag},
    {.name = "grouped", .spread = STORE_BY_GROUP, .tag = tag},
    {.name = "small", .spread = STORE_TOGETHER},
};

static const struct {
    const char *name;
    int table;
    const char *key, *redis, *field, *pattern; /* for all that begins with the key */
} rows[] = {
    {"a row by itself", 0, "0001a.test/x", "smtpguard:plain:0001a.test/x", "",
     "smtpguard:plain:0001a.test/x*"},
    {"a table that lies together", 3, "0001a", "smtpguard:{small}:0001a", "", "smtpguard:{small}:0001a*"},
    {"the tag in braces", 1, "0001a.test/x", "smtpguard:tagged:0001{a.test}/x", "",
     "smtpguard:tagged:0001{a.test}/x*"},
    {"a tag that may go on is left open in a pattern", 1, "0001a.te", "smtpguard:tagged:0001{a.te}", "",
     "smtpguard:tagged:0001{a.te*"},
    {"without a tag no braces", 1, "000", "smtpguard:tagged:000", "", "smtpguard:tagged:000*"},
    {"a brace in a tag", 1, "0001a}b/x", "smtpguard:tagged:0001{a}b}/x", "", "smtpguard:tagged:0001{a}b}/x*"},
    {"braces of the key's own", 1, "0{}1a/{x}", "smtpguard:tagged:0{}1{a}/{x}", "",
     "smtpguard:tagged:0{}1{a}/{x}*"},
    {"letters that a pattern knows are quoted", 0, "a*?[b]\\", "smtpguard:plain:a*?[b]\\", "",
     "smtpguard:plain:a\\*\\?\\[b\\]\\\\*"},
    {"a group, and the rest as its field", 2, "0001a.test/x", "smtpguard:grouped:0001{a.test}", "/x",
     "smtpguard:grouped:0001{a.test}/x*"},
};

static void test_keys(void **state)
{
    struct arena *mem = arena_new(0);

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const struct store_table *table = &tables[rows[i].table];
        struct redis_row_name name = redis_row_name(mem, table, str_of(rows[i].key));
        struct str key;

        t_case(rows[i].name, NULL);
        t_same_str_z(name.key, rows[i].redis);
        t_same_str_z(name.field, rows[i].field);
        t_same_str_z(redis_row_pattern(mem, table, str_of(rows[i].key)), rows[i].pattern);
        if (name.field.n > 0)
            continue;
        t_true(redis_row_read_key(mem, table, name.key, &key));
        t_same_str_z(key, rows[i].key);
    }
    t_case("keys of others are none of this table", NULL);
    t_true(!redis_row_read_key(mem, &tables[0], STR("smtpguard:plainer:x"), &(struct str){0}));
    t_true(!redis_row_read_key(mem, &tables[0], STR("session:x"), &(struct str){0}));
    arena_free(&mem);
}

static void test_values(void **state)
{
    static const struct {
        const char *name, *value, *want;
        int64_t expires_unix;
    } values[] = {
        {"a row that expires", "1700000000 T 1 2 3", "T 1 2 3", 1700000000},
        {"one that does not", "0 x", "x", 0},
        {"no time", "x y", "", 0},
        {"a time before all times", "-1 x", "", 0},
        {"a time and nothing behind it", "5 ", "", 0},
        {"nothing", "", "", 0},
    };
    struct arena *mem = arena_new(0);

    (void)state;
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        struct store_row row = redis_row_read_value(str_of(values[i].value));

        t_case(values[i].name, NULL);
        t_same_str_z(row.value, values[i].want);
        t_same_int(row.expires_unix, values[i].expires_unix);
        if (row.value.n > 0)
            t_same_str_z(redis_row_value(mem, &row), values[i].value);
    }
    arena_free(&mem);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_keys), cmocka_unit_test(test_values)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
