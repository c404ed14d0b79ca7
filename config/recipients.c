/* domains.recipients: file:PATH, the addresses that exist. */
#include "config/loading.h"
#include "config/value.h"

#include <stdlib.h>
#include <string.h>

enum { FILE_BYTES_MAX = 64 * 1024 * 1024, ADDRESS_MAX = 64 + 1 + 253 };

/* ---- asking ---- */

static int compare(const void *one, const void *other)
{
    return strcmp(*(const char *const *)one, *(const char *const *)other);
}

static bool is_listed(const struct domain_settings *domains, struct str local, struct str domain)
{
    char text[ADDRESS_MAX + 1];
    const char *key = text;
    size_t n = 0;

    if (local.n + 1 + domain.n > ADDRESS_MAX)
        return false;
    for (size_t i = 0; i < local.n; i++)
        text[n++] = ascii_lower(local.p[i]);
    text[n++] = '@';
    for (size_t i = 0; i < domain.n; i++)
        text[n++] = ascii_lower(domain.p[i]);
    text[n] = '\0';
    return domains->listed_count > 0 &&
           bsearch(&key, domains->listed, domains->listed_count, sizeof(*domains->listed), compare) != NULL;
}

bool domain_settings_lists(const struct domain_settings *domains, struct str local, struct str domain)
{
    return str_starts(local, STR("\"")) || is_listed(domains, STR(""), domain) ||
           is_listed(domains, local, domain) ||
           (str_has(local, '+') && is_listed(domains, str_upto(local, str_find(local, '+')), domain));
}

/* ---- building ---- */

struct list {
    const char **addresses;
    size_t count, room;
};

/* "local@domain", "@domain" for all of it. */
static const char *read_address(struct loading *l, struct str line, struct fail *fail)
{
    size_t at = line.n;
    const char *domain;

    while (at > 0 && line.p[at - 1] != '@')
        at--;
    if (at == 0 || at - 1 > 64 || str_has(line, ' ') || str_has(line, '\t')) {
        fail_set(fail, "\"%.*s\" is neither user@domain nor @domain", STR_ARG(str_upto(line, 80)));
        return NULL;
    }
    if (value_domain(l->mem, str_from(line, at), &domain, fail) < 0)
        return NULL;
    return str_fmt(l->mem, "%s@%s", str_dup_lower(l->mem, str_upto(line, at - 1)), domain);
}

static void add(struct loading *l, struct list *list, struct str line, const struct place *at)
{
    struct fail fail;
    const char *address = read_address(l, line, &fail);

    if (address == NULL) {
        fault_at(&l->faults, at, "domains.recipients: %s", fail.text);
        return;
    }
    if (list->count == list->room) {
        const char **more = ARENA_ARRAY(l->mem, const char *, list->room * 2 + 16);

        if (list->count > 0)
            memcpy(more, list->addresses, list->count * sizeof(*more));
        list->addresses = more;
        list->room = list->room * 2 + 16;
    }
    list->addresses[list->count++] = address;
}

void recipients_build(struct loading *l)
{
    const struct entry *entry = loading_entry(l, "domains.recipients");
    struct domain_settings *domains = &l->config->domains;
    struct list list = {0};
    struct str text, line;
    bool more = true, is_empty = true;

    if (!l->complete || entry == NULL || domains->recipients != RECIPIENTS_FILE)
        return;
    domains->recipients_file = str_dup(l->mem, str_from(entry->node->text, strlen("file:")));
    if (!file_text(l, domains->recipients_file, FILE_BYTES_MAX, &entry->node->at, "domains.recipients",
                   &text))
        return;
    for (struct place at = {.file = domains->recipients_file, .line = 1, .column = 1}; more; at.line++) {
        more = str_cut(text, '\n', &line, &text);
        str_cut(line, '#', &line, &(struct str){0});
        line = str_trim(line);
        if (line.n > 0)
            add(l, &list, line, &at);
        is_empty = is_empty && line.n == 0;
    }
    if (is_empty) /* as with domains.file */
        fault_at(&l->faults, &entry->node->at,
                 "domains.recipients: %s names nobody: all mail would be refused", domains->recipients_file);
    if (list.count > 1)
        qsort(list.addresses, list.count, sizeof(*list.addresses), compare);
    domains->listed = list.addresses;
    domains->listed_count = list.count;
}
