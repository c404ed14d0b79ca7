#include "auth/dkim_table.h"

#include "auth/dkim_rows.h"
#include "base/hash.h"
#include "smtp/address.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { LAZY_KEYS_MAX = 1000, ADDRESS_MAX = 1024 };

/* A row of the KeyTable. */
struct named_key {
    UT_hash_handle hh;
    const char *domain; /* NULL: "%", the From domain */
    const char *selector;
    const char *path; /* with "%" in it: read when asked for */
    struct dkim_private *key;
    char name[]; /* lower case */
};

/* A row of the SigningTable. */
struct rule {
    UT_hash_handle hh;    /* of a plain table, by `who` */
    const char *who;      /* lower case */
    const char *key_name; /* "%": the From domain */
    const char *identity; /* NULL: none */
};

/* A key whose path has the From domain in it. */
struct lazy_key {
    UT_hash_handle hh;
    struct dkim_private *key; /* NULL: it cannot be read */
    char path[];
};

struct dkim_table {
    struct arena *mem;
    bool patterns;
    struct rule *rules; /* in order */
    size_t rules_count;
    struct rule *by_who;
    struct named_key *keys;
    pthread_mutex_t lock; /* of what follows */
    struct lazy_key *lazy;
};

/* ---- patterns ---- */

bool dkim_table_matches(struct str pattern, struct str text)
{
    size_t p = 0, t = 0, star = SIZE_MAX, retry = 0;

    while (t < text.n) {
        if (p < pattern.n && pattern.p[p] == '*') {
            star = p++;
            retry = t;
        } else if (p < pattern.n && ascii_lower(pattern.p[p]) == ascii_lower(text.p[t])) {
            p++;
            t++;
        } else if (star != SIZE_MAX) {
            p = star + 1; /* the last star takes one more */
            t = ++retry;
        } else {
            return false;
        }
    }
    while (p < pattern.n && pattern.p[p] == '*')
        p++;
    return p == pattern.n;
}

/* ---- the KeyTable ---- */

static bool is_path(struct str value)
{
    return str_starts(value, STR("/")) || str_starts(value, STR("./")) || str_starts(value, STR("../"));
}

static struct named_key *key_named(const struct dkim_table *table, const char *name)
{
    struct named_key *key;

    HASH_FIND_STR(table->keys, name, key);
    return key;
}

static struct named_key *key_new(struct dkim_table *table, struct str name)
{
    struct named_key *key = arena_alloc(table->mem, sizeof(*key) + name.n + 1);
    char *lower = str_dup_lower(table->mem, name);

    memcpy(key->name, lower, name.n + 1);
    return key;
}

/* The key itself, unless its path has to wait for a From domain. */
static bool key_load(struct dkim_table *table, struct named_key *key, struct str value,
                     const struct dkim_rows *rows, const struct dkim_row *row, struct buf *faults,
                     struct buf *warnings)
{
    const char *warning = NULL;
    struct fail fail;

    if (is_path(value))
        key->path = str_dup(table->mem, value);
    if (key->path != NULL && strchr(key->path, '%') != NULL)
        return true;
    key->key = key->path != NULL ? dkim_private_read(table->mem, key->path, &warning, &fail)
                                 : dkim_private_parse(value, &fail);
    if (key->key == NULL)
        dkim_rows_fault(rows, row, faults, "%s", fail.text);
    if (warning != NULL)
        dkim_rows_fault(rows, row, warnings, "%s", warning);
    return key->key != NULL;
}

static void key_row(struct dkim_table *table, const struct dkim_rows *rows, const struct dkim_row *row,
                    struct buf *faults, struct buf *warnings)
{
    struct str domain, selector, value;
    struct named_key *key = key_new(table, row->key);

    if (!str_cut(row->value, ':', &domain, &value) || !str_cut(value, ':', &selector, &value)) {
        dkim_rows_fault(rows, row, faults, "a key is NAME DOMAIN:SELECTOR:KEY");
        return;
    }
    domain = str_trim(domain);
    selector = str_trim(selector);
    value = str_trim(value);
    if (!str_eq_z(domain, "%") && !smtp_is_domain(domain))
        dkim_rows_fault(rows, row, faults, "\"%.*s\" is no domain", STR_ARG(domain));
    else if (!smtp_is_domain(selector))
        dkim_rows_fault(rows, row, faults, "\"%.*s\" is no selector", STR_ARG(selector));
    else if (key_named(table, key->name) != NULL)
        dkim_rows_fault(rows, row, faults, "the key name \"%s\" stands there twice", key->name);
    else if (key_load(table, key, value, rows, row, faults, warnings)) {
        key->domain = str_eq_z(domain, "%") ? NULL : str_dup_lower(table->mem, domain);
        key->selector = str_dup_lower(table->mem, selector);
        HASH_ADD_STR(table->keys, name, key);
    }
}

/* ---- the SigningTable ---- */

static void rule_row(struct dkim_table *table, const struct dkim_rows *rows, const struct dkim_row *row,
                     struct buf *faults)
{
    struct rule *rule = &table->rules[table->rules_count], *same;
    struct str name, identity;

    if (row->value.n == 0) {
        dkim_rows_fault(rows, row, faults, "a row is WHO KEYNAME[:IDENTITY]");
        return;
    }
    str_cut(row->value, ':', &name, &identity);
    name = str_trim(name);
    identity = str_trim(identity);
    rule->who = str_dup_lower(table->mem, row->key);
    rule->key_name = str_dup_lower(table->mem, name);
    rule->identity = identity.n > 0 ? str_dup(table->mem, identity) : NULL;
    if (strcmp(rule->key_name, "%") != 0 && key_named(table, rule->key_name) == NULL) {
        dkim_rows_fault(rows, row, faults, "the KeyTable has no usable key \"%s\"", rule->key_name);
        return;
    }
    table->rules_count++;
    HASH_FIND_STR(table->by_who, rule->who, same);
    if (same == NULL) /* the first of equals counts */
        HASH_ADD_KEYPTR(hh, table->by_who, rule->who, strlen(rule->who), rule);
}

/* ---- loading ---- */

/* "refile:/etc/…", "file:/etc/…", "/etc/…"; NULL for the data bases that OpenDKIM may know besides. */
static const char *path_of(const char *table, bool *patterns_out)
{
    static const char *const others[] = {
        "csl:", "db:", "dsn:", "ldap:", "ldaps:", "ldapi:", "lua:", "mdb:", "memcache:", "erlang:"};

    *patterns_out = strncmp(table, "refile:", 7) == 0;
    if (*patterns_out)
        return table + 7;
    if (strncmp(table, "file:", 5) == 0)
        return table + 5;
    for (size_t i = 0; i < COUNT(others); i++)
        if (strncmp(table, others[i], strlen(others[i])) == 0)
            return NULL;
    return table;
}

static bool read_rows(struct dkim_table *table, const char *spec, bool *patterns_out, struct dkim_rows *rows,
                      struct buf *faults)
{
    const char *path = path_of(spec, patterns_out);

    if (path == NULL) {
        buf_fmt(faults, "%s: only flat files are read: PATH, file:PATH or refile:PATH\n", spec);
        return false;
    }
    return dkim_rows_read(table->mem, str_dup(table->mem, str_of(path)), rows, faults);
}

static void load(struct dkim_table *table, const char *signing_table, const char *key_table,
                 struct buf *faults, struct buf *warnings)
{
    struct dkim_rows rules = {0}, keys = {0};
    bool patterns;

    if (!read_rows(table, key_table, &patterns, &keys, faults))
        return;
    if (patterns) {
        buf_fmt(faults, "%s: a KeyTable has names, not patterns: file:PATH\n", key_table);
        return;
    }
    if (!read_rows(table, signing_table, &table->patterns, &rules, faults))
        return;
    for (size_t i = 0; i < keys.count; i++)
        key_row(table, &keys, &keys.rows[i], faults, warnings);
    table->rules = ARENA_ARRAY(table->mem, struct rule, rules.count);
    for (size_t i = 0; i < rules.count; i++)
        rule_row(table, &rules, &rules.rows[i], faults);
}

struct dkim_table *dkim_table_load(const char *signing_table, const char *key_table, struct buf *faults,
                                   struct buf *warnings)
{
    struct dkim_table *table = calloc(1, sizeof(*table));
    size_t faults_before = faults->n;

    if (table == NULL)
        out_of_memory();
    table->mem = arena_new(0);
    if (pthread_mutex_init(&table->lock, NULL) != 0)
        out_of_memory();
    load(table, signing_table, key_table, faults, warnings);
    if (faults->n > faults_before)
        dkim_table_free(&table);
    return table;
}

void dkim_table_free(struct dkim_table **table)
{
    struct dkim_table *t = *table;
    struct named_key *key, *next_key;
    struct lazy_key *lazy, *next_lazy;

    *table = NULL;
    if (t == NULL)
        return;
    HASH_CLEAR(hh, t->by_who);
    HASH_ITER(hh, t->keys, key, next_key)
    {
        HASH_DELETE(hh, t->keys, key);
        dkim_private_free(&key->key);
    }
    HASH_ITER(hh, t->lazy, lazy, next_lazy)
    {
        HASH_DELETE(hh, t->lazy, lazy);
        dkim_private_free(&lazy->key);
        free(lazy);
    }
    pthread_mutex_destroy(&t->lock);
    arena_free(&t->mem);
    free(t);
}

bool dkim_table_key(const struct dkim_table *table, size_t i, struct dkim_sign_key *key_out)
{
    size_t at = 0;

    for (const struct named_key *key = table->keys; key != NULL; key = key->hh.next)
        if (key->domain != NULL && key->key != NULL && at++ == i) {
            *key_out = (struct dkim_sign_key){key->domain, key->selector, NULL, key->key};
            return true;
        }
    return false;
}

/* ---- searching ---- */

static const char *replace_percent(struct arena *mem, const char *text, struct str domain)
{
    struct buf out;
    const char *replaced;

    buf_init(&out, 64 * 1024);
    for (; *text != '\0'; text++)
        if (*text == '%')
            buf_add_str(&out, domain);
        else
            buf_add_char(&out, *text);
    replaced = str_dup(mem, buf_str(&out));
    buf_fini(&out);
    return replaced;
}

static struct lazy_key *lazy_new(struct arena *mem, const char *path)
{
    struct lazy_key *lazy = calloc(1, sizeof(*lazy) + strlen(path) + 1);
    const char *warning;

    if (lazy == NULL)
        out_of_memory();
    memcpy(lazy->path, path, strlen(path) + 1);
    lazy->key = dkim_private_read(mem, path, &warning, NULL);
    return lazy;
}

static const struct dkim_private *lazy_key(struct dkim_table *table, struct arena *mem, const char *path)
{
    const struct dkim_private *key = NULL;
    struct lazy_key *lazy;

    pthread_mutex_lock(&table->lock);
    HASH_FIND_STR(table->lazy, path, lazy);
    if (lazy == NULL && HASH_COUNT(table->lazy) < LAZY_KEYS_MAX) {
        lazy = lazy_new(mem, path);
        HASH_ADD_STR(table->lazy, path, lazy);
    }
    if (lazy != NULL)
        key = lazy->key;
    pthread_mutex_unlock(&table->lock);
    return key;
}

struct search {
    struct dkim_table *table;
    struct arena *mem;
    struct str domain;
    bool all;
    struct dkim_sign_key *found;
    size_t count;
};

static bool wants_more(const struct search *s)
{
    return s->count == 0 || (s->all && s->count < DKIM_TABLE_FOUND_MAX);
}

static bool is_found(const struct search *s, const struct dkim_private *key)
{
    for (size_t i = 0; i < s->count; i++)
        if (s->found[i].key == key)
            return true;
    return false;
}

static void add_match(struct search *s, const struct rule *rule)
{
    const char *domain = str_dup_lower(s->mem, s->domain);
    const struct named_key *named =
        key_named(s->table, strcmp(rule->key_name, "%") == 0 ? domain : rule->key_name);
    const struct dkim_private *key;

    if (named == NULL || !wants_more(s))
        return;
    key = named->key != NULL ? named->key
                             : lazy_key(s->table, s->mem, replace_percent(s->mem, named->path, s->domain));
    if (key == NULL || is_found(s, key))
        return;
    s->found[s->count++] = (struct dkim_sign_key){
        .domain = named->domain != NULL ? named->domain : domain,
        .selector = named->selector,
        .identity = rule->identity != NULL ? replace_percent(s->mem, rule->identity, s->domain) : NULL,
        .key = key,
    };
}

/* One step of the order in which a plain table is asked. */
static void look_up(struct search *s, struct str before, struct str after)
{
    char who[ADDRESS_MAX];
    const struct rule *rule;
    size_t n = before.n + after.n;

    if (n >= sizeof(who) || !wants_more(s))
        return;
    for (size_t i = 0; i < n; i++)
        who[i] = ascii_lower(i < before.n ? before.p[i] : after.p[i - before.n]);
    HASH_FIND(hh, s->table->by_who, who, n, rule);
    if (rule != NULL)
        add_match(s, rule);
}

static void look_up_parents(struct search *s, struct str before)
{
    for (size_t i = 0; i < s->domain.n; i++)
        if (s->domain.p[i] == '.')
            look_up(s, before, str_from(s->domain, i));
}

static void search_plain(struct search *s, struct str user_at)
{
    look_up(s, user_at, s->domain);
    look_up(s, STR(""), s->domain);
    look_up_parents(s, user_at);
    look_up_parents(s, STR(""));
    look_up(s, user_at, STR("*"));
    look_up(s, STR(""), STR("*"));
}

static void search_patterns(struct search *s, struct str address)
{
    for (size_t i = 0; i < s->table->rules_count && wants_more(s); i++)
        if (dkim_table_matches(str_of(s->table->rules[i].who), address))
            add_match(s, &s->table->rules[i]);
}

size_t dkim_table_find(struct dkim_table *table, struct arena *mem, struct str local, struct str domain,
                       bool all, struct dkim_sign_key keys_out[DKIM_TABLE_FOUND_MAX])
{
    struct search s = {table, mem, domain, all, keys_out, 0};
    struct str user_at = str_of(str_fmt(mem, "%.*s@", STR_ARG(local)));

    if (!smtp_is_domain(domain)) /* it may become a part of a path */
        return 0;
    if (table->patterns)
        search_patterns(&s, str_of(str_fmt(mem, "%s%.*s", user_at.p, STR_ARG(domain))));
    else
        search_plain(&s, user_at);
    return s.count;
}
