#include "config/loading.h"

#include "config/suggest.h"

#include <stdlib.h>
#include <string.h>

/*
 * SMTPGUARD_BACKENDS__0__ADDRESS=… becomes backends[0].address before anything is checked, so that a value
 * from the environment goes the same way as one from the file. Lists take commas:
 * SMTPGUARD_DOMAINS__RELAY=a.example,b.example.
 */
enum { SEGMENTS_MAX = 8, INDEX_MAX = 1000, VARIABLE_MAX = 128 };

static const struct str prefix = {"SMTPGUARD_", 10};

/* One variable on its way: "backends", "0", "address" is the key "backends[].address". */
struct graft {
    struct place at;
    struct str segments[SEGMENTS_MAX], value;
    size_t count;
    const char *key;
};

static bool is_index(struct str segment)
{
    uint64_t number;

    return str_to_u64(segment, UINT64_MAX, &number);
}

static bool split(struct arena *mem, struct graft *graft, struct str name)
{
    const char *lower = str_dup_lower(mem, name), *mark;

    graft->key = "";
    for (bool more = true; more; lower = mark + 2) {
        struct str segment;

        mark = strstr(lower, "__");
        more = mark != NULL;
        segment = str_make(lower, more ? (size_t)(mark - lower) : strlen(lower));
        if (graft->count == SEGMENTS_MAX || segment.n == 0)
            return false;
        graft->segments[graft->count++] = segment;
        if (is_index(segment))
            graft->key = str_fmt(mem, "%s[]", graft->key);
        else
            graft->key =
                str_fmt(mem, "%s%s%.*s", graft->key, *graft->key != '\0' ? "." : "", STR_ARG(segment));
        if (!more)
            break;
    }
    return true;
}

struct yaml_node *node_of_text(struct arena *mem, const struct setting *row, struct str text,
                               const struct place *at)
{
    bool records = row->type == SET_RECORDS, list = setting_is_list(row) || records;
    struct yaml_node *node = yaml_new(mem, list ? YAML_LIST : YAML_SCALAR, at);
    struct str element;

    if (!list) {
        node->text = str_copy(mem, text);
        node->plain = setting_is_number(row) || row->type == SET_BOOL;
    }
    for (bool more = list && text.n > 0; more;) {
        struct yaml_node *item = yaml_new(mem, records ? YAML_MAP : YAML_SCALAR, at);

        more = str_cut(text, ',', &element, &text);
        if (!records)
            item->text = str_copy(mem, str_trim(element));
        yaml_append(node, item);
    }
    return node;
}

/* The member or element, made when it is missing. NULL when the tree has another form there (which is
 * complained of elsewhere), or the index leaves a gap (complained of here). */
static struct yaml_node *step(struct loading *l, const struct graft *graft, struct yaml_node *parent,
                              size_t i)
{
    struct str segment = graft->segments[i];
    bool in_list = is_index(segment);
    struct yaml_node *node;
    uint64_t index = 0;

    if (parent->kind != (in_list ? YAML_LIST : YAML_MAP))
        return NULL;
    if (in_list) {
        if (!str_to_u64(segment, INDEX_MAX, &index) || index > parent->count) {
            fault_at(&l->faults, &graft->at, "%s: there is no element %.*s; the next one is %zu", graft->key,
                     STR_ARG(segment), parent->count);
            return NULL;
        }
        for (node = parent->first; node != NULL && index > 0; node = node->next)
            index--;
    } else {
        node = yaml_get(parent, segment);
    }
    if (node == NULL) {
        node = yaml_new(l->mem, YAML_SCALAR, &graft->at);
        node->plain = true; /* nothing yet */
        node->key = in_list ? NULL : yaml_new(l->mem, YAML_SCALAR, &graft->at);
        if (!in_list)
            ((struct yaml_node *)node->key)->text = str_copy(l->mem, segment);
        yaml_append(parent, node);
    }
    if (i + 1 < graft->count && yaml_is_null(node))
        node->kind = is_index(graft->segments[i + 1]) ? YAML_LIST : YAML_MAP;
    return node;
}

/* "domains.relay[]" is one element of the list that the row "domains.relay" is. */
static const struct setting *row_of(const char *key, bool *element_out)
{
    struct str text = str_of(key);
    const struct setting *row;

    *element_out = text.n > 2 && str_eq_z(str_from(text, text.n - 2), "[]");
    if (*element_out)
        text.n -= 2;
    row = setting_find(text);
    return row != NULL && *element_out && !setting_is_list(row) ? NULL : row;
}

/* A name without "__" may be somebody else's: Kubernetes makes SMTPGUARD_PORT and SMTPGUARD_SERVICE_HOST from
 * a service of our name, images carry SMTPGUARD_VERSION. Those are ours only when they are, or nearly are, a
 * key or a section. */
static void complain_unknown(struct loading *l, const struct graft *graft)
{
    const char *below = str_fmt(l->mem, "%s.", graft->key);
    bool ours = strstr(graft->at.variable, "__") != NULL;
    struct suggestion near;

    suggest_begin(&near, str_of(graft->key));
    for (size_t i = 0; i < settings_count; i++) {
        suggest_try(&near, settings[i].key);
        ours = ours || str_starts(str_of(settings[i].key), str_of(below));
    }
    if (ours || near.best != NULL)
        fault_at(&l->faults, &graft->at, "unknown key \"%.100s\"%s", graft->key, suggest_text(l->mem, &near));
}

static void put(struct loading *l, struct graft *graft, const struct setting *row, bool element)
{
    struct setting scalar = {.type = SET_TEXT};
    const struct yaml_node *value = node_of_text(l->mem, element ? &scalar : row, graft->value, &graft->at);
    struct yaml_node *node = l->root;

    for (size_t i = 0; i < graft->count && node != NULL; i++)
        node = step(l, graft, node, i);
    if (node == NULL)
        return;
    node->kind = value->kind;
    node->text = value->text;
    node->plain = value->plain;
    node->first = value->first;
    node->last = value->last;
    node->count = value->count;
    node->at = graft->at;
}

static void apply(struct loading *l, struct str name, struct str value)
{
    struct graft graft = {.at = {.variable = str_dup(l->mem, name)}, .value = value};
    const struct setting *row;
    bool whole = split(l->mem, &graft, str_from(name, prefix.n)), element;

    if (str_eq_z(str_from(name, prefix.n), "VERSION"))
        return;
    row = whole ? row_of(graft.key, &element) : NULL;
    if (row == NULL)
        complain_unknown(l, &graft);
    else if (row->type == SET_RECORDS)
        fault_at(&l->faults, &graft.at, "%s: set each key of an element, as %.*s__0__…", graft.key,
                 STR_ARG(name));
    else if (yaml_has_control(value) || value.n > YAML_BYTES_MAX)
        fault_at(&l->faults, &graft.at, "a value is one line without control characters");
    else
        put(l, &graft, row, element);
}

static int by_name(const void *a, const void *b)
{
    return strverscmp(*(char *const *)a, *(char *const *)b);
}

/* In the order of names, numbers by their value: element 2 is made before element 10. */
void environment_apply(struct loading *l, char **variables)
{
    size_t count = 0, n = 0;
    char **ours;

    while (variables != NULL && variables[count] != NULL)
        count++;
    ours = ARENA_ARRAY(l->mem, char *, count + 1);
    for (size_t i = 0; i < count; i++)
        if (str_starts(str_of(variables[i]), prefix))
            ours[n++] = variables[i];
    qsort(ours, n, sizeof(*ours), by_name);
    for (size_t i = 0; i < n; i++) {
        struct str name, value;

        if (str_cut(str_of(ours[i]), '=', &name, &value) && name.n <= VARIABLE_MAX)
            apply(l, name, value);
    }
}
