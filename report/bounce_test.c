#include "report/bounce.h"

#include "tests/t.h"

static const struct bounce_key key = {{0x0123456789abcdef, 42}};

static const char *read_back(struct arena *mem, const char *type, const char *status, const char *token)
{
    struct header header;
    struct str section = str_of(str_fmt(mem, "From: x@y.test\r\nContent-Type: %s\r\n\r\n", type));
    struct str body = str_of(
        str_fmt(mem, "--b\r\n\r\nFinal-Recipient: rfc822; a@b.test\r\n%s--b\r\n\r\nX-Report-Token: %s\r\n",
                status, token));

    header_parse(mem, section, 100, &header);
    return bounce_read(mem, &header, body);
}

static void test_reading(void **state)
{
    static const char report[] = "multipart/report; report-type=delivery-status;\r\n boundary=b";
    static const char failed[] = "Action: failed\r\nStatus: 5.1.1\r\n";
    struct arena *mem = arena_new(0);
    const char *token = bounce_token(mem, &key, "a@b.test");

    (void)state;
    t_case("failed for good", "3464 2.3.3");
    t_same_z(read_back(mem, report, failed, token), token);
    t_case("case and blanks", "3464 2.1.1");
    t_same_z(read_back(mem, report, "ACTION:  Failed\r\nstatus:5.1.1 (no such user)\r\n", token), token);
    t_case("only delayed", "3464 2.3.3");
    t_true(read_back(mem, report, "Action: delayed\r\nStatus: 4.4.7\r\n", token) == NULL);
    t_case("given up, and not for good", "3464 2.3.4");
    t_true(read_back(mem, report, "Action: failed\r\nStatus: 4.4.7\r\n", token) == NULL);
    t_case("what is no token", NULL);
    t_true(read_back(mem, report, failed, "0123") == NULL);
    t_case("no notification", "3462 1");
    t_true(read_back(mem, "text/plain", failed, token) == NULL);
    arena_free(&mem);
}

static void test_tokens(void **state)
{
    static const struct bounce_key none = {{0}}, other = {{0x0123456789abcdef, 43}};
    struct arena *mem = arena_new(0);
    const char *token = bounce_token(mem, &key, "a@b.test");

    (void)state;
    t_case("the same for the same recipient, however it is written: VERP may change its case", NULL);
    t_same_z(bounce_token(mem, &key, "A@b.TEST"), token);
    t_case("another for another recipient", NULL);
    t_true(strcmp(bounce_token(mem, &key, "c@b.test"), token) != 0);
    t_case("another under another key", NULL);
    t_true(strcmp(bounce_token(mem, &other, "a@b.test"), token) != 0);
    t_case("none without a key", NULL);
    t_true(bounce_token(mem, &none, "a@b.test") == NULL);
    arena_free(&mem);
}

static void test_keys(void **state)
{
    struct arena *mem = arena_new(0);
    struct bounce_key first = bounce_key_draw(), second = bounce_key_draw();
    struct store_row row = {STR(""), 0};
    struct bounce_key kept;

    (void)state;
    t_case("the first who asks makes the key", NULL);
    kept = bounce_key_keep(mem, &first, &row);
    t_true(memcmp(&kept, &first, sizeof(kept)) == 0);
    t_same_int(row.expires_unix, 0);
    t_case("whoever comes later gets that one", NULL);
    kept = bounce_key_keep(mem, &second, &row);
    t_true(memcmp(&kept, &first, sizeof(kept)) == 0);
    t_true(memcmp(&first, &second, sizeof(first)) != 0);
    arena_free(&mem);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_reading), cmocka_unit_test(test_tokens),
                                       cmocka_unit_test(test_keys)};

    return cmocka_run_group_tests_name("bounce", tests, NULL, NULL);
}
