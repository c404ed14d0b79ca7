/* greylist.allow and greylist.allow_recipients, with the files that they name. */
#include "config/loading.h"
#include "config/value.h"

#include <string.h>

enum { FILE_BYTES_MAX = 1024 * 1024, ENTRIES_MAX = 10000, PATTERNS_MAX = 500, SHOWN_MAX = 80 };

struct gathering {
    struct loading *l;
    const char *key;
    size_t count, patterns; /* so far */
    bool recipients;
    union {
        struct grey_allow *clients;
        struct grey_allow_recipient *recipients;
    } entries; /* ENTRIES_MAX */
};

/* What looks like a network is one; else it is a domain. */
static bool looks_like_net(struct str text)
{
    struct str address;
    struct ip ip;

    str_cut(text, '/', &address, &(struct str){0});
    return str_has(text, ':') || str_has(text, '/') || ip_parse(address, &ip);
}

/* An entry of the settings is read more strictly than a line of a file, which was written for another program. */
static int parse_strictly(struct arena *mem, struct str text, struct grey_allow *allow_out, struct fail *fail)
{
    if (str_starts(text, STR("/")))
        return grey_allow_parse(mem, text, allow_out, fail);
    if (looks_like_net(text))
        return net_parse(str_upto(text, SHOWN_MAX), &allow_out->net, fail);
    return value_domain(mem, text, &allow_out->domain, fail);
}

static bool parse(struct gathering *g, struct str text, bool from_file, struct fail *fail)
{
    struct arena *mem = g->l->mem;

    if (g->recipients) {
        struct grey_allow_recipient *entry = &g->entries.recipients[g->count];

        if (grey_allow_recipient_parse(mem, text, entry, fail) != 0)
            return false;
        g->patterns += entry->pattern != NULL;
    } else {
        struct grey_allow *entry = &g->entries.clients[g->count];

        if ((from_file ? grey_allow_parse : parse_strictly)(mem, text, entry, fail) != 0)
            return false;
        g->patterns += entry->pattern != NULL;
    }
    return true;
}

static void add(struct gathering *g, struct str text, bool from_file, const struct place *at)
{
    struct fail fail;

    if (g->count == ENTRIES_MAX)
        return;
    if (!parse(g, text, from_file, &fail)) {
        fault_at(&g->l->faults, at, "%s: %s", g->key, fail.text);
        return;
    }
    g->count++;
    if (g->count == ENTRIES_MAX || g->patterns > PATTERNS_MAX) {
        fault_at(&g->l->faults, at, "%s: more than %d entries, or %d patterns", g->key, ENTRIES_MAX - 1,
                 PATTERNS_MAX);
        g->count = ENTRIES_MAX;
    }
}

static void remember_file(struct gathering *g, const char *path)
{
    struct grey_settings *grey = &g->l->config->greylist;
    const char **files = ARENA_ARRAY(g->l->mem, const char *, grey->files_count + 1);

    if (grey->files_count > 0)
        memcpy(files, grey->files, grey->files_count * sizeof(files[0]));
    files[grey->files_count++] = path;
    grey->files = files;
}

static void add_file(struct gathering *g, const struct yaml_node *item)
{
    const char *path = str_dup(g->l->mem, str_from(item->text, strlen("file:")));
    struct str text, line;
    bool more = true;

    if (!g->l->complete)
        return;
    remember_file(g, path);
    if (!file_text(g->l, path, FILE_BYTES_MAX, &item->at, g->key, &text))
        return;
    for (struct place at = {.file = path, .line = 1, .column = 1}; more; at.line++) {
        more = str_cut(text, '\n', &line, &text);
        str_cut(line, '#', &line, &(struct str){0});
        line = str_trim(line);
        if (line.n > 0)
            add(g, line, true, &at);
    }
}

static void gather(struct gathering *g)
{
    const struct entry *entry = loading_entry(g->l, g->key);

    if (entry == NULL || entry->node->kind != YAML_LIST)
        return;
    for (const struct yaml_node *item = entry->node->first; item != NULL; item = item->next) {
        if (item->kind != YAML_SCALAR || yaml_is_null(item))
            continue;
        if (str_starts(item->text, STR("file:")))
            add_file(g, item);
        else
            add(g, item->text, false, &item->at);
    }
}

void allow_build(struct loading *l)
{
    struct grey_settings *grey = &l->config->greylist;
    struct arena *scratch = arena_new(0);
    struct gathering clients = {.l = l, .key = "greylist.allow"};
    struct gathering recipients = {.l = l, .key = "greylist.allow_recipients", .recipients = true};

    clients.entries.clients = ARENA_ARRAY(scratch, struct grey_allow, ENTRIES_MAX);
    gather(&clients);
    grey->allow = arena_copy(l->mem, clients.entries.clients, clients.count * sizeof(*grey->allow));
    grey->allow_count = clients.count;
    recipients.entries.recipients = ARENA_ARRAY(scratch, struct grey_allow_recipient, ENTRIES_MAX);
    gather(&recipients);
    grey->allow_recipients =
        arena_copy(l->mem, recipients.entries.recipients, recipients.count * sizeof(*grey->allow_recipients));
    grey->allow_recipients_count = recipients.count;
    arena_free(&scratch);
}
