#include "config/loading.h"
#include "config/value.h"

#include <stdlib.h>
#include <string.h>

enum { FILE_BYTES_MAX = 64 * 1024 * 1024, DOMAIN_MAX = 253 };

/* ---- asking ---- */

static int compare(const struct relay_domain *domain, struct str name, bool below)
{
    int order = strncmp(domain->name, name.p, name.n);

    if (order == 0 && domain->name[name.n] != '\0')
        order = 1;
    return order != 0 ? order : (int)domain->below - (int)below;
}

static bool is_listed(const struct domain_settings *domains, struct str name, bool below)
{
    size_t low = 0, high = domains->relay_count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = compare(&domains->relay[middle], name, below);

        if (order == 0)
            return true;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return false;
}

bool domain_settings_has(const struct domain_settings *domains, struct str domain)
{
    char lower[DOMAIN_MAX];
    struct str name = {lower, domain.n}, label;

    if (domain.n == 0 || domain.n > sizeof(lower) || str_has(domain, '\0'))
        return false;
    for (size_t i = 0; i < domain.n; i++)
        lower[i] = ascii_lower(domain.p[i]);
    if (is_listed(domains, name, false))
        return true;
    while (str_cut(name, '.', &label, &name))
        if (is_listed(domains, name, true))
            return true;
    return false;
}

/* ---- building ---- */

struct list {
    struct relay_domain *domains;
    size_t count, room;
};

static void add(struct loading *l, struct list *list, struct str text, const struct place *at,
                const char *key)
{
    bool below = text.n > 0 && text.p[0] == '.';
    struct fail fail;
    const char *name;

    if (value_domain(l->mem, str_from(text, below), &name, &fail) < 0) {
        fault_at(&l->faults, at, "%s: %s", key, fail.text);
        return;
    }
    if (list->count == list->room) {
        struct relay_domain *more = ARENA_ARRAY(l->mem, struct relay_domain, list->room * 2 + 16);

        if (list->count > 0)
            memcpy(more, list->domains, list->count * sizeof(*more));
        list->domains = more;
        list->room = list->room * 2 + 16;
    }
    list->domains[list->count++] = (struct relay_domain){name, below};
}

static void add_inline(struct loading *l, struct list *list, const char *key)
{
    const struct entry *entry = loading_entry(l, key);

    if (entry == NULL || entry->node->kind != YAML_LIST)
        return;
    for (const struct yaml_node *item = entry->node->first; item != NULL; item = item->next)
        if (item->kind == YAML_SCALAR && !yaml_is_null(item))
            add(l, list, item->text, &item->at, key);
}

static void add_file(struct loading *l, struct list *list)
{
    const char *file = l->config->domains.file;
    struct str text, line;
    bool more = true, is_empty = list->count == 0;

    if (!l->complete || file == NULL || *file == '\0' ||
        !file_text(l, file, FILE_BYTES_MAX, loading_place(l, "domains.file"), "domains.file", &text))
        return;
    for (struct place at = {.file = file, .line = 1, .column = 1}; more; at.line++) {
        more = str_cut(text, '\n', &line, &text);
        str_cut(line, '#', &line, &(struct str){0});
        line = str_trim(line);
        if (line.n > 0)
            add(l, list, line, &at, "domains.file");
        is_empty = is_empty && line.n == 0;
    }
    if (is_empty) /* rather a mistake, or a file that is just being written, than the wish to refuse everybody */
        fault_at(&l->faults, loading_place(l, "domains.file"),
                 "domains.file: %s names no domain, and domains.relay is empty: all mail would be refused",
                 file);
}

static int by_name(const void *one, const void *other)
{
    const struct relay_domain *a = one, *b = other;

    return compare(a, str_of(b->name), b->below);
}

static void keep(struct domain_settings *domains, struct list *list)
{
    size_t kept = 0;

    if (list->count > 1)
        qsort(list->domains, list->count, sizeof(*list->domains), by_name);
    for (size_t i = 0; i < list->count; i++)
        if (kept == 0 || by_name(&list->domains[kept - 1], &list->domains[i]) != 0)
            list->domains[kept++] = list->domains[i];
    domains->relay = list->domains;
    domains->relay_count = kept;
}

static void build_backends(struct loading *l)
{
    struct backend_settings *backends = (struct backend_settings *)l->config->backends;

    for (size_t i = 0; i < l->config->backends_count; i++) {
        struct list list = {0};

        add_inline(l, &list, str_fmt(l->mem, "backends[%zu].domains", i));
        keep(&backends[i].domains, &list);
    }
}

void domains_build(struct loading *l)
{
    struct list list = {0};

    add_inline(l, &list, "domains.relay");
    add_file(l, &list);
    keep(&l->config->domains, &list);
    build_backends(l);
}
