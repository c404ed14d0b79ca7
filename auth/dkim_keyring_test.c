#include "tests/t.h"

#include "auth/dkim_keyring.h"
#include "base/bug.h"

#include <pthread.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

struct bed {
    struct arena *mem;
    const char *folder, *one, *two, *three; /* key files */
    struct buf faults, warnings;
    struct dkim_keyring *ring;
};

static const char *path_in(struct bed *b, const char *name)
{
    return str_fmt(b->mem, "%s/%s", b->folder, name);
}

static const char *write_file(struct bed *b, const char *name, const char *text)
{
    const char *path = path_in(b, name);
    FILE *file = fopen(path, "w");

    t_true(file != NULL && fputs(text, file) >= 0 && fclose(file) == 0);
    return path;
}

static const char *write_key(struct bed *b, const char *name)
{
    struct dkim_private *key = dkim_private_generate(DKIM_PRIVATE_ED25519);
    const char *path = path_in(b, name);
    struct fail fail;

    t_same_int(dkim_private_write(key, path, &fail), 0);
    dkim_private_free(&key);
    return path;
}

static int set_up(void **state)
{
    struct arena *mem = arena_new(0);
    struct bed *b = ARENA_NEW(mem, struct bed);

    b->mem = mem;
    b->folder = mkdtemp(str_fmt(mem, "/tmp/dkim_keyring_test.XXXXXX"));
    t_true(b->folder != NULL);
    buf_init(&b->faults, 1 << 16);
    buf_init(&b->warnings, 1 << 16);
    b->one = write_key(b, "one");
    b->two = write_key(b, "two");
    b->three = write_key(b, "three");
    *state = b;
    return 0;
}

static int tear_down(void **state)
{
    static const char *const names[] = {"one", "two", "three", "S", "K"};
    struct bed *b = *state;
    struct arena *mem = b->mem;

    dkim_keyring_unref(&b->ring);
    for (size_t i = 0; i < COUNT(names); i++)
        unlink(path_in(b, names[i]));
    rmdir(b->folder);
    buf_fini(&b->faults);
    buf_fini(&b->warnings);
    arena_free(&mem);
    return 0;
}

/* ---- what the rows are made of ---- */

static struct dkim_keyring *load(struct bed *b, const struct dkim_keyring_settings *settings)
{
    dkim_keyring_unref(&b->ring);
    buf_clear(&b->faults);
    buf_clear(&b->warnings);
    b->ring = dkim_keyring_load(settings, &b->faults, &b->warnings);
    return b->ring;
}

static struct dkim_keyring_settings of_keys(const struct dkim_keyring_key *keys, size_t count)
{
    return (struct dkim_keyring_settings){
        .mode = MODE_ENFORCE, .signing_table = "", .key_table = "", .keys = keys, .keys_count = count};
}

static struct dkim_keyring_key key_of(const char *domain, const char *selector, const char *path)
{
    return (struct dkim_keyring_key){.domain = domain, .selector = selector, .path = path};
}

/* "domain/selector domain/selector …", and "hidden" when the world cannot see one. */
static const char *found(struct bed *b, const char *local, const char *domain)
{
    struct dkim_sign_key keys[DKIM_TABLE_FOUND_MAX];
    bool hidden;
    size_t n = dkim_keyring_find(b->ring, b->mem, str_of(local), str_of(domain), keys, &hidden);
    const char *text = "";

    for (size_t i = 0; i < n; i++)
        text = str_fmt(b->mem, "%s%s%s/%s", text, i > 0 ? " " : "", keys[i].domain, keys[i].selector);
    return hidden ? str_fmt(b->mem, "%s%shidden", text, n > 0 ? " " : "") : text;
}

/* ---- choosing ---- */

static void test_own_keys(void **state)
{
    static const char *const news[] = {"*@news.example.org", "boss@*"};
    struct bed *b = *state;
    struct dkim_keyring_key keys[3] = {key_of("Example.ORG", "A1", b->one),
                                       key_of("example.org", "b", b->two),
                                       key_of("example.net", "n", b->three)};
    struct dkim_keyring_settings settings = of_keys(keys, COUNT(keys));

    keys[2].match = news;
    keys[2].match_count = COUNT(news);
    t_true(load(b, &settings) != NULL);
    t_same_z(buf_z(&b->faults), "");
    t_same_z(buf_z(&b->warnings), "");
    t_case("without patterns a key is for its own domain, in any case, and several keys sign", NULL);
    t_same_z(found(b, "u", "example.org"), "example.org/a1 example.org/b");
    t_same_z(found(b, "u", "EXAMPLE.org"), "example.org/a1 example.org/b");
    t_same_z(found(b, "u", "sub.example.org"), "");
    t_same_z(found(b, "u", "notexample.org"), "");
    t_case("with patterns it is for those, and not for its domain", NULL);
    t_same_z(found(b, "u", "news.example.org"), "example.net/n");
    t_same_z(found(b, "u", "example.net"), "");
    t_same_z(found(b, "BOSS", "any.test"), "example.net/n");
    t_same_z(found(b, "boss", "example.org"), "example.org/a1 example.org/b example.net/n");
    t_case("nobody's key", NULL);
    t_same_z(found(b, "u", "other.test"), "");
}

static void test_states(void **state)
{
    static const enum dkim_key_state states[] = {DKIM_KEY_PUBLISHED, DKIM_KEY_RETIRING};
    struct bed *b = *state;
    struct dkim_keyring_key keys[2] = {key_of("example.org", "old", b->one),
                                       key_of("example.org", "new", b->two)};
    struct dkim_keyring_settings settings = of_keys(keys, COUNT(keys));
    struct dkim_sign_key key;

    for (size_t i = 0; i < COUNT(states); i++) {
        t_case("only an active key signs", NULL);
        keys[0].state = states[i];
        t_true(load(b, &settings) != NULL);
        t_same_z(found(b, "u", "example.org"), "example.org/new");
    }
    t_case("a key that is not used is looked at all the same", NULL);
    t_true(dkim_keyring_key(b->ring, 0, &key));
    t_same_z(key.selector, "old");
    t_case("a revoked key is over: not read, not looked at", NULL);
    keys[0].state = DKIM_KEY_REVOKED;
    keys[0].path = "/none/old";
    t_true(load(b, &settings) != NULL);
    t_same_z(found(b, "u", "example.org"), "example.org/new");
    t_true(dkim_keyring_key(b->ring, 0, &key));
    t_same_z(key.selector, "new");
    t_true(!dkim_keyring_key(b->ring, 1, &key));
}

static void test_most(void **state)
{
    struct bed *b = *state;
    struct dkim_keyring_key keys[DKIM_TABLE_FOUND_MAX + 2];
    struct dkim_keyring_settings settings = of_keys(keys, COUNT(keys));
    struct dkim_sign_key found_keys[DKIM_TABLE_FOUND_MAX];
    bool hidden;

    for (size_t i = 0; i < COUNT(keys); i++)
        keys[i] = key_of("example.org", str_fmt(b->mem, "s%zu", i), b->one);
    t_true(load(b, &settings) != NULL);
    t_case("no more signatures than there is room for", NULL);
    t_same_int(dkim_keyring_find(b->ring, b->mem, STR("u"), STR("example.org"), found_keys, &hidden),
               DKIM_TABLE_FOUND_MAX);
}

static void test_with_tables(void **state)
{
    struct bed *b = *state;
    struct dkim_keyring_key keys[2] = {key_of("example.org", "own", b->one),
                                       key_of("example.org", "both", b->three)};
    struct dkim_keyring_settings settings = of_keys(keys, COUNT(keys));
    struct dkim_sign_key key;

    settings.key_table = write_file(
        b, "K", str_fmt(b->mem, "k example.org:table:%s\nb example.org:both:%s\n", b->two, b->three));
    settings.signing_table =
        str_fmt(b->mem, "refile:%s", write_file(b, "S", "a@example.org b\n*@example.org k\n* k\n"));
    t_true(load(b, &settings) != NULL);
    t_case("the settings' keys, then the first match of the tables", NULL);
    t_same_z(found(b, "u", "example.org"), "example.org/own example.org/both example.org/table");
    t_same_z(found(b, "u", "x.test"), "example.org/table");
    t_case("one selector does not sign twice", NULL);
    t_same_z(found(b, "a", "example.org"), "example.org/own example.org/both");
    t_case("all of them are looked at", NULL);
    t_true(dkim_keyring_key(b->ring, 1, &key));
    t_same_z(key.selector, "both");
    t_true(dkim_keyring_key(b->ring, 2, &key));
    t_same_z(key.selector, "table");
    t_true(dkim_keyring_key(b->ring, 3, &key));
    t_true(!dkim_keyring_key(b->ring, 4, &key));
    t_case("one of the tables that the world cannot see does not sign", NULL);
    t_true(dkim_keyring_seen(b->ring, 2, DKIM_UNPUBLISHED));
    t_same_z(found(b, "u", "example.org"), "example.org/own example.org/both hidden");
    t_same_z(found(b, "u", "x.test"), "hidden");
}

/* ---- what the world sees ---- */

static void test_internal_hosts(void **state)
{
    struct bed *b = *state;
    struct dkim_keyring_key key = key_of("example.org", "s", b->one);
    struct dkim_keyring_settings settings = of_keys(&key, 1);
    struct ip inside, outside;

    ip_parse(STR("192.0.2.7"), &inside);
    ip_parse(STR("203.0.113.9"), &outside);
    t_case("without a list everybody's mail is signed", NULL);
    t_true(load(b, &settings) != NULL);
    t_true(dkim_keyring_is_internal(b->ring, &outside, NULL));

    t_case("OpenDKIM's list of hosts says whose", NULL);
    settings.internal_hosts =
        write_file(b, "TrustedHosts", "127.0.0.1\n::1\nlocalhost\n192.0.2.0/24\n!192.0.2.8\n");
    t_true(load(b, &settings) != NULL);
    t_true(dkim_keyring_is_internal(b->ring, &inside, NULL));
    t_true(!dkim_keyring_is_internal(b->ring, &outside, NULL));
    t_true(dkim_keyring_is_internal(b->ring, &outside, "localhost"));

    t_case("a list that cannot be read is a fault", NULL);
    settings.internal_hosts = "/nowhere/TrustedHosts";
    t_true(load(b, &settings) == NULL);
}

static void test_seen(void **state)
{
    static const struct {
        const char *name;
        enum dkim_published_state seen;
        bool signs;
    } rows[] = {
        {"its record", DKIM_PUBLISHED, true},
        {"no record", DKIM_UNPUBLISHED, false},
        {"another key's record", DKIM_OTHER_KEY, false},
        {"a revoked key", DKIM_REVOKED, false},
        {"a record that verifiers cannot use", DKIM_BROKEN, false},
        {"several records: verifiers try them", DKIM_AMBIGUOUS, true},
    };
    struct bed *b = *state;
    struct dkim_keyring_key key = key_of("example.org", "s", b->one);
    struct dkim_keyring_settings settings = of_keys(&key, 1);

    for (size_t i = 0; i < COUNT(rows); i++) {
        const char *signs = rows[i].signs ? "example.org/s" : "hidden";

        t_case(rows[i].name, NULL);
        settings.unseen = DKIM_UNSEEN_REFUSE;
        t_true(load(b, &settings) != NULL);
        t_true(dkim_keyring_seen(b->ring, 0, rows[i].seen));
        t_same_z(found(b, "u", "example.org"), signs);
        t_case("what was seen before is no news", NULL);
        t_true(!dkim_keyring_seen(b->ring, 0, rows[i].seen));
        t_case("an unanswered question keeps what was known", NULL);
        t_true(!dkim_keyring_seen(b->ring, 0, DKIM_UNANSWERED));
        t_same_z(found(b, "u", "example.org"), signs);
        t_true(!dkim_keyring_seen(b->ring, 0, rows[i].seen));
        t_case("unseen: warn signs with any key", NULL);
        settings.unseen = DKIM_UNSEEN_WARN;
        t_true(load(b, &settings) != NULL);
        t_true(dkim_keyring_seen(b->ring, 0, rows[i].seen));
        t_same_z(found(b, "u", "example.org"), "example.org/s");
    }
    t_case("until the first answer a key signs", NULL);
    settings.unseen = DKIM_UNSEEN_REFUSE;
    t_true(load(b, &settings) != NULL);
    t_same_z(found(b, "u", "example.org"), "example.org/s");
    t_case("a key that comes back signs again, and that is news", NULL);
    t_true(dkim_keyring_seen(b->ring, 0, DKIM_UNPUBLISHED));
    t_same_z(found(b, "u", "example.org"), "hidden");
    t_true(dkim_keyring_seen(b->ring, 0, DKIM_PUBLISHED));
    t_same_z(found(b, "u", "example.org"), "example.org/s");
}

/* ---- loading ---- */

static void test_faults(void **state)
{
    struct bed *b = *state;
    struct dkim_keyring_key keys[3] = {key_of("example.org", "a", "/none/a"),
                                       key_of("example.org", "b", b->one),
                                       key_of("example.org", "c", path_in(b, "K"))};
    struct dkim_keyring_settings settings = of_keys(keys, COUNT(keys));

    t_case("each key that cannot be read is a line, and there is no keyring", NULL);
    write_file(b, "K", "no key\n");
    t_true(load(b, &settings) == NULL);
    t_same_z(buf_z(&b->faults), str_fmt(b->mem,
                                        "/none/a cannot be opened: No such file or directory\n"
                                        "%s: this is no private key (PEM, not encrypted)\n",
                                        path_in(b, "K")));
    t_case("so is each fault of the tables", NULL);
    settings = of_keys(keys + 1, 1);
    settings.key_table = path_in(b, "K");
    settings.signing_table = write_file(b, "S", "example.org k\n");
    t_true(load(b, &settings) == NULL);
    t_same_z(buf_z(&b->faults), str_fmt(b->mem,
                                        "%s/K:1: a key is NAME DOMAIN:SELECTOR:KEY\n"
                                        "%s/S:1: the KeyTable has no usable key \"k\"\n",
                                        b->folder, b->folder));
    t_case("a key that others can read is a warning, and signs", NULL);
    settings = of_keys(keys + 1, 1);
    t_same_int(chmod(b->one, 0644), 0);
    t_true(load(b, &settings) != NULL);
    t_same_z(buf_z(&b->faults), "");
    t_true(strncmp(buf_z(&b->warnings), b->one, strlen(b->one)) == 0);
    t_true(b->warnings.n > 0 && buf_z(&b->warnings)[b->warnings.n - 1] == '\n');
    t_same_z(found(b, "u", "example.org"), "example.org/b");
}

/* The settings may go once the keyring is there: a reload frees them while old sessions still sign. */
static void test_settings_may_go(void **state)
{
    struct bed *b = *state;
    struct arena *mem = arena_new(0);
    const char **match = ARENA_ARRAY(mem, const char *, 1);
    struct dkim_keyring_key *key = ARENA_NEW(mem, struct dkim_keyring_key);
    struct dkim_keyring_settings settings;

    match[0] = str_dup(mem, STR("*@news.test"));
    *key = key_of(str_dup(mem, STR("example.org")), str_dup(mem, STR("s")), str_dup(mem, str_of(b->one)));
    key->match = match;
    key->match_count = 1;
    settings = of_keys(key, 1);
    t_true(load(b, &settings) != NULL);
    arena_free(&mem);
    t_case("a keyring stands by itself", NULL);
    t_same_z(found(b, "u", "news.test"), "example.org/s");
    t_same_z(found(b, "u", "example.org"), "");
}

/* ---- threads ---- */

enum { THREADS = 4, ROUNDS = 2000 };

static void *use(void *arg)
{
    struct dkim_keyring *ring = arg;
    struct dkim_sign_key keys[DKIM_TABLE_FOUND_MAX];
    struct arena *mem = arena_new(0);
    size_t signs = 0;
    bool hidden;

    for (int i = 0; i < ROUNDS; i++) {
        struct dkim_keyring *own = dkim_keyring_ref(ring);

        dkim_keyring_seen(own, 0, i % 2 == 0 ? DKIM_UNPUBLISHED : DKIM_PUBLISHED);
        signs += dkim_keyring_find(own, mem, STR("u"), STR("example.org"), keys, &hidden) > 1;
        arena_reset(mem);
        dkim_keyring_unref(&own);
    }
    arena_free(&mem);
    dkim_keyring_unref(&ring); /* the one that it was given */
    return (void *)signs;
}

static void test_threads(void **state)
{
    struct bed *b = *state;
    struct dkim_keyring_key keys[2] = {key_of("example.org", "a", b->one),
                                       key_of("example.org", "b", b->two)};
    struct dkim_keyring_settings settings = of_keys(keys, COUNT(keys));
    struct dkim_sign_key key;
    pthread_t threads[THREADS];
    void *signs;

    t_true(load(b, &settings) != NULL);
    for (size_t i = 0; i < THREADS; i++)
        t_same_int(pthread_create(&threads[i], NULL, use, dkim_keyring_ref(b->ring)), 0);
    for (size_t i = 0; i < THREADS; i++) {
        t_same_int(pthread_join(threads[i], &signs), 0);
        t_true((size_t)signs <= ROUNDS);
    }
    t_case("who holds a reference still has the keys when all others are gone", NULL);
    t_true(dkim_keyring_key(b->ring, 1, &key));
    t_same_z(key.selector, "b");
    t_same_z(found(b, "u", "example.org"), "example.org/a example.org/b");
    dkim_keyring_unref(&b->ring);
    t_true(b->ring == NULL);
    dkim_keyring_unref(&b->ring); /* NULL is fine */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_own_keys, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_states, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_most, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_with_tables, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_internal_hosts, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_seen, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_faults, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_settings_may_go, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_threads, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
