#include "config/yaml.h"

#include "tests/t.h"

#include <stdio.h>
#include <time.h>

struct read {
    struct arena *mem;
    struct yaml_node *root;
    struct faults faults;
    struct buf out;
};

static void read_str(struct read *r, struct str text)
{
    *r = (struct read){.mem = arena_new(0)};
    buf_init(&r->out, 1024 * 1024);
    faults_init(&r->faults, r->mem, "f.yaml");
    r->root = yaml_read(r->mem, text, &r->faults);
    faults_write(&r->faults, &r->out);
}

static void read_z(struct read *r, const char *text)
{
    read_str(r, str_of(text));
}

static void read_fini(struct read *r)
{
    buf_fini(&r->out);
    arena_free(&r->mem);
}

static void test_tree(void **state)
{
    const struct yaml_node *limits, *list;
    struct read r;

    (void)state;
    t_case("maps, lists and scalars become nodes with their places", NULL);
    read_z(&r, "hostname: mx1.example.net\nlimits: {errors: 20, line: \"64K\"}\nnetworks:\n  - a\n  - "
               "'b'\nempty:\n");
    t_same_z(buf_z(&r.out), "");
    t_same_int(r.root->count, 4);
    t_same_str_z(yaml_get(r.root, STR("hostname"))->text, "mx1.example.net");
    t_same_int(yaml_get(r.root, STR("hostname"))->at.line, 1);
    t_same_int(yaml_get(r.root, STR("hostname"))->at.column, 11);
    limits = yaml_get(r.root, STR("limits"));
    t_same_int(limits->kind, YAML_MAP);
    t_true(yaml_get(limits, STR("errors"))->plain);
    t_true(!yaml_get(limits, STR("line"))->plain);
    t_same_int(yaml_get(limits, STR("line"))->key->at.column, 22);
    list = yaml_get(r.root, STR("networks"));
    t_same_int(list->kind, YAML_LIST);
    t_same_int(list->count, 2);
    t_same_int(list->last->at.line, 5);
    t_true(yaml_is_null(yaml_get(r.root, STR("empty"))));
    t_true(yaml_get(r.root, STR("absent")) == NULL);
    read_fini(&r);
    t_case("a byte order mark is none of it", NULL);
    read_z(&r, "\xef\xbb\xbfhostname: mx1.example.net\n");
    t_same_z(buf_z(&r.out), "");
    t_same_int(yaml_get(r.root, STR("hostname"))->at.column, 11);
    read_fini(&r);
    t_case("an empty file is an empty map", NULL);
    read_z(&r, "# nothing\n");
    t_same_z(buf_z(&r.out), "");
    t_same_int(r.root->kind, YAML_MAP);
    read_fini(&r);
}

/* What is refused, and where; `readable`: the rest of the tree is still there to be checked. */
static const struct {
    const char *name, *text, *faults;
    bool readable;
} rows[] = {
    {"a repeated key names both lines", "a: 1\nb: 2\na: 3\n",
     "f.yaml:3:1: the key \"a\" stands in line 1 already\n", true},
    {"repeated keys deep inside, all of them", "x: {a: 1, a: 2, a: 3}\n",
     "f.yaml:1:11: the key \"a\" stands in line 1 already\nf.yaml:1:17: the key \"a\" stands in line 1 "
     "already\n",
     true},
    {"an anchor and its alias", "a: &x 1\nb: *x\n",
     "f.yaml:1:4: anchors (&name) are not allowed; write the value out\n"
     "f.yaml:2:4: aliases (*name) are not allowed; write the value out\n",
     true},
    {"a circle of an anchor and its alias", "a: &x [*x]\n",
     "f.yaml:1:4: anchors (&name) are not allowed; write the value out\n"
     "f.yaml:1:8: aliases (*name) are not allowed; write the value out\n",
     true},
    {"an alias as a merge key's value", "a: {<<: *x}\n",
     "f.yaml:1:9: aliases (*name) are not allowed; write the value out\n", true},
    {"a tag", "a: !!int 1\n", "f.yaml:1:4: tags (!type) are not allowed; each setting has its own type\n",
     true},
    {"a tag on a map", "a: !x {b: 1}\n",
     "f.yaml:1:4: tags (!type) are not allowed; each setting has its own type\n", true},
    {"a second document", "a: 1\n---\nb: 2\n",
     "f.yaml:2:1: a second document (---); a settings file has one\n", false},
    {"a key that is a list", "? [a]\n: 1\n", "f.yaml:1:3: a key is a word\n", true},
    {"a tab as indentation", "a:\n\tb: 1\n", "f.yaml:2:1: not YAML: a tab; indent with spaces\n", false},
    {"a tab behind a word of two octets a letter", "ä:\n  ü: 1\n\tb: 1\n",
     "f.yaml:3:1: not YAML: a tab; indent with spaces\n", false},
    {"a bracket that is not closed", "a: [1, 2\n",
     "f.yaml:2:1: not YAML: did not find expected ',' or ']' while parsing a flow sequence\n", false},
    {"two colons", "a: b: c\n", "f.yaml:1:5: not YAML: mapping values are not allowed in this context\n",
     false},
    {"Latin-1 has its line and column", "a: 1\nb: caf\xe9\n",
     "f.yaml:2:7: not UTF-8 text: incomplete UTF-8 octet sequence\n", false},
    {"a control character", "a: 1\nb: \x01\n",
     "f.yaml:2:4: not UTF-8 text: control characters are not allowed\n", false},
    {"an escaped NUL", "a: \"x\\0y\"\n", "f.yaml:1:4: a value is one line without control characters\n",
     true},
    {"a value of several lines", "a: |\n  one\n  two\n",
     "f.yaml:1:4: a value is one line without control characters\n", true},
    {"seventeen levels", "a: [[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]\n",
     "f.yaml:1:19: more than 16 levels of lists and maps\n", false},
};

static void test_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct read r;

        t_case(rows[i].name, NULL);
        read_z(&r, rows[i].text);
        t_same_z(buf_z(&r.out), rows[i].faults);
        t_same_int(r.root != NULL, rows[i].readable);
        read_fini(&r);
    }
}

static char *repeat(struct arena *mem, const char *piece, size_t count)
{
    size_t n = strlen(piece);
    char *text = arena_alloc(mem, n * count + 1);

    for (size_t i = 0; i < count; i++)
        memcpy(text + i * n, piece, n);
    return text;
}

static void test_limits(void **state)
{
    struct arena *mem = arena_new(0);
    char *text = arena_alloc(mem, YAML_BYTES_MAX + 2);
    struct buf keys;
    struct read r;

    (void)state;
    t_case("sixteen levels are read", NULL);
    read_z(&r, "a: [[[[[[[[[[[[[[1]]]]]]]]]]]]]]\n");
    t_same_z(buf_z(&r.out), "");
    read_fini(&r);

    t_case("1 MiB is read, one octet more is not", NULL);
    memset(text, '#', YAML_BYTES_MAX + 1);
    read_str(&r, str_make(text, YAML_BYTES_MAX));
    t_same_z(buf_z(&r.out), "");
    read_fini(&r);
    read_str(&r, str_make(text, YAML_BYTES_MAX + 1));
    t_same_z(buf_z(&r.out), "f.yaml:1:1: larger than 1 MiB; put long lists of domains into domains.file\n");
    read_fini(&r);

    t_case("256 keys in a map, but not 257", NULL);
    buf_init(&keys, 64 * 1024);
    for (int i = 0; i < YAML_KEYS_MAX; i++)
        buf_fmt(&keys, "k%d: 1\n", i);
    read_z(&r, buf_z(&keys));
    t_same_z(buf_z(&r.out), "");
    read_fini(&r);
    buf_add_z(&keys, "more: 1\n");
    read_z(&r, buf_z(&keys));
    t_same_z(buf_z(&r.out), "f.yaml:257:1: more than 256 keys in one map\n");
    read_fini(&r);
    buf_fini(&keys);

    t_case("100,000 values, but no more", NULL);
    read_z(&r, str_fmt(mem, "[%s]", repeat(mem, "1,", YAML_NODES_MAX - 1)));
    t_same_z(buf_z(&r.out), "");
    read_fini(&r);
    read_z(&r, str_fmt(mem, "[%s]", repeat(mem, "1,", YAML_NODES_MAX)));
    t_same_z(buf_z(&r.out), "f.yaml:1:200000: more than 100000 values\n");
    read_fini(&r);
    arena_free(&mem);
}

/* libyaml alone needs seconds for the first of these; all of them must be cheap. */
static void test_hostile(void **state)
{
    static const char *const pieces[] = {"[",   "{",   "- ",  "? ", "[{",     "{a: ", "a: {b",
                                         "- [", "!t ", "&a ", "\"", "a: \n ", "[\n",  "{x: [\n"};
    struct arena *mem = arena_new(0);

    (void)state;
    for (size_t i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++) {
        clock_t begin = clock();
        struct read r;

        t_case(pieces[i], NULL);
        read_z(&r, repeat(mem, pieces[i], YAML_BYTES_MAX / strlen(pieces[i])));
        t_true(r.faults.count > 0);
        t_true((clock() - begin) / (CLOCKS_PER_SEC / 1000) < 1500);
        read_fini(&r);
    }
    arena_free(&mem);
}

static void test_same(void **state)
{
    struct read a, b, c;

    (void)state;
    t_case("equal trees are the same wherever they stand", NULL);
    read_z(&a, "a: [1, {b: 2}]\n");
    read_z(&b, "a:\n  - 1\n  - b: 2\n");
    read_z(&c, "a: [1, {b: 3}]\n");
    t_true(yaml_same(a.root, b.root));
    t_true(!yaml_same(a.root, c.root));
    read_fini(&a);
    read_fini(&b);
    read_fini(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tree),    cmocka_unit_test(test_refused), cmocka_unit_test(test_limits),
        cmocka_unit_test(test_hostile), cmocka_unit_test(test_same),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
