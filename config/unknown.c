#include "config/loading.h"

#include "config/suggest.h"

/* Keys that nobody declared: a typing error must not be a setting that does nothing. */

enum { SHOWN_MAX = 80 };

#define SHOWN(text) STR_ARG(str_upto((text), SHOWN_MAX))

static void try_segment(const char *segment, void *arg)
{
    suggest_try(arg, segment);
}

static void complain_unknown(struct loading *l, struct str prefix, const struct yaml_node *key)
{
    struct suggestion near;

    suggest_begin(&near, key->text);
    setting_children(l->mem, prefix, try_segment, &near);
    fault_at(&l->faults, &key->at, "unknown key \"%.*s%.*s\"%s", STR_ARG(prefix), SHOWN(key->text),
             suggest_text(l->mem, &near));
}

static bool is_section(struct str prefix)
{
    for (size_t i = 0; i < settings_count; i++)
        if (str_starts(str_of(settings[i].key), prefix))
            return true;
    return false;
}

void refuse_unknown(struct loading *l, const struct yaml_node *map, const char *prefix)
{
    for (const struct yaml_node *node = map->first; node != NULL; node = node->next) {
        const char *key = str_fmt(l->mem, "%s%.*s", prefix, SHOWN(node->key->text));
        const char *below = str_fmt(l->mem, "%s.", key);
        const struct setting *row = setting_find(str_of(key));
        /* "tls.cert" is our way to write a path, not a key of the file. */
        bool is_path = str_has(node->key->text, '.') || str_has(node->key->text, '[');

        if (is_path || (row == NULL && !is_section(str_of(below)))) {
            complain_unknown(l, str_of(prefix), node->key);
        } else if (row != NULL && row->type == SET_RECORDS && node->kind == YAML_LIST) {
            for (const struct yaml_node *item = node->first; item != NULL; item = item->next)
                if (item->kind == YAML_MAP)
                    refuse_unknown(l, item, str_fmt(l->mem, "%s[].", key));
        } else if (row == NULL && node->kind == YAML_MAP) {
            refuse_unknown(l, node, below);
        } else if (row == NULL && node->kind != YAML_BROKEN && !yaml_is_null(node)) {
            fault_at(&l->faults, &node->at, "%s: keys and values are wanted below it, not %s", key,
                     yaml_kind_name(node));
        }
    }
}
