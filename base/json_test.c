#include <jansson.h>

#include "base/json.h"
#include "tests/t.h"

static void test_shape(void **state)
{
    struct json j;
    struct buf b;

    (void)state;
    t_case("commas stand where they belong", "8259 4");
    buf_init(&b, 1000);
    json_init(&j, &b);
    json_object(&j);
    json_put_z(&j, "a", "x");
    json_put_int(&j, "b", -5);
    json_key(&j, "c");
    json_array(&j);
    json_array_end(&j);
    json_key(&j, "d");
    json_array(&j);
    json_bool(&j, true);
    json_null(&j);
    json_object(&j);
    json_object_end(&j);
    json_object(&j);
    json_put_bool(&j, "e", false);
    json_put_z(&j, "f", NULL);
    json_object_end(&j);
    json_array_end(&j);
    json_put_str(&j, "g", STR("y"));
    json_object_end(&j);
    t_same_z(buf_z(&b), "{\"a\":\"x\",\"b\":-5,\"c\":[],"
                        "\"d\":[true,null,{},{\"e\":false,\"f\":null}],\"g\":\"y\"}");
    buf_fini(&b);
}

static void test_numbers(void **state)
{
    struct json j;
    struct buf b;

    (void)state;
    t_case("numbers at their limits", "8259 6");
    buf_init(&b, 1000);
    json_init(&j, &b);
    json_array(&j);
    json_int(&j, INT64_MAX);
    json_int(&j, INT64_MIN);
    json_int(&j, 0);
    json_array_end(&j);
    t_same_z(buf_z(&b), "[9223372036854775807,-9223372036854775808,0]");
    buf_fini(&b);
}

static const struct {
    const char *name;
    struct str text;
    const char *json;
} texts[] = {
    {"quotes and backslashes", {"\"\\", 2}, "\"\\\"\\\\\""},
    {"controls", {"\r\n\t\x01\x7f", 5}, "\"\\u000d\\u000a\\u0009\\u0001\\u007f\""},
    {"NUL", {"a\0b", 3}, "\"a\\u0000b\""},
    {"controls beyond ASCII",
     {"\xc2\x9b"
      "31m\xc2\xa0",
      7},
     "\"\\u009b31m\xc2\xa0\""},
    {"what turns the direction",
     {"\xe2\x80\xae"
      "x\xe2\x81\xa6",
      7},
     "\"\\u202ex\\u2066\""},
    {"UTF-8 stays", {"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80", 9}, "\"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\""},
    {"Latin-1 is taken octet by octet", {"\xe4", 1}, "\"\\u00e4\""},
    {"a cut character", {"\xe2\x82", 2}, "\"\\u00e2\\u0082\""},
    {"an overlong one", {"\xc0\xaf", 2}, "\"\\u00c0\\u00af\""},
    {"an overlong one of three", {"\xe0\x80\x80", 3}, "\"\\u00e0\\u0080\\u0080\""},
    {"a surrogate", {"\xed\xa0\x80", 3}, "\"\\u00ed\\u00a0\\u0080\""},
    {"beyond U+10FFFF", {"\xf4\x90\x80\x80", 4}, "\"\\u00f4\\u0090\\u0080\\u0080\""},
    {"the last of all characters", {"\xf4\x8f\xbf\xbf", 4}, "\"\xf4\x8f\xbf\xbf\""},
    {"nothing", {"", 0}, "\"\""},
};

static void test_texts(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
        struct json j;
        struct buf b;

        t_case(texts[i].name, "8259 7");
        buf_init(&b, 1000);
        json_init(&j, &b);
        json_str(&j, texts[i].text);
        t_same_str_z(buf_str(&b), texts[i].json);
        buf_fini(&b);
    }
}

static uint32_t next_random(uint32_t *seed)
{
    *seed = *seed * 1664525 + 1013904223;
    return *seed >> 8;
}

static void test_any_bytes(void **state)
{
    uint32_t seed = 1;

    (void)state;
    t_case("whatever the bytes, a strict reader takes the text", "8259 8.1");
    for (int round = 0; round < 5000; round++) {
        char bytes[12];
        size_t n = next_random(&seed) % sizeof(bytes);
        struct json j;
        struct buf b;
        json_t *read;

        for (size_t i = 0; i < n; i++)
            bytes[i] = (char)(next_random(&seed) % 3 ? 0x80 | next_random(&seed) : next_random(&seed));
        buf_init(&b, 1000);
        json_init(&j, &b);
        json_str(&j, str_make(bytes, n));
        read = json_loadb(b.p, b.n, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
        t_true(read != NULL && json_is_string(read));
        json_decref(read);
        buf_fini(&b);
    }
}

static void test_beside_jansson(void **state)
{
    json_t *read = json_loads("{\"a\":[null,{}]}", 0, NULL);

    (void)state;
    t_case("jansson's own functions are still its own where both are linked", NULL);
    t_true(json_is_object(read) && json_is_array(json_object_get(read, "a")));
    t_true(json_is_null(json_array_get(json_object_get(read, "a"), 0)));
    json_decref(read);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shape),     cmocka_unit_test(test_numbers),        cmocka_unit_test(test_texts),
        cmocka_unit_test(test_any_bytes), cmocka_unit_test(test_beside_jansson),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
