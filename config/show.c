#include "config/loading.h"

#include "base/json.h"
#include "store/redis_url.h"

#include <string.h>

static const char *origin_of(struct loading *l, const struct yaml_node *node)
{
    if (node->at.variable != NULL)
        return "environment";
    if (node->at.line == 0)
        return "default";
    return str_fmt(l->mem, "%s:%u", l->faults.file, node->at.line);
}

/* ---- YAML ---- */

/* "00:30" is a number on base 60 for YAML 1.1. */
static bool is_sexagesimal(struct str text)
{
    for (size_t i = 0; i < text.n; i++)
        if (!ascii_is_digit(text.p[i]) && text.p[i] != ':')
            return false;
    return str_has(text, ':');
}

/* Without quotes only what no reader of YAML takes for something else. */
static bool is_plain_safe(const struct yaml_node *node)
{
    static const char *const odd[] = {"null", "true", "false", "yes", "no", "on", "off", "y", "n"};
    struct str text = node->text;

    if (node->plain && text.n > 0 && text.p[0] == '-' && text.n > 1 && ascii_is_digit(text.p[1]))
        return true;
    if (text.n == 0 || !(ascii_is_alnum(text.p[0]) || text.p[0] == '/') || text.p[text.n - 1] == ':' ||
        is_sexagesimal(text))
        return false;
    for (size_t i = 0; i < text.n; i++)
        if (!ascii_is_alnum(text.p[i]) && !str_has(STR("_./-:@+"), text.p[i]))
            return false;
    for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++)
        if (str_same_z(text, odd[i]))
            return node->plain;
    return true;
}

static void write_scalar(struct buf *out, const struct yaml_node *node)
{
    if (is_plain_safe(node)) {
        buf_add_str(out, node->text);
        return;
    }
    buf_add_char(out, '"');
    for (size_t i = 0; i < node->text.n; i++) {
        if (node->text.p[i] == '"' || node->text.p[i] == '\\')
            buf_add_char(out, '\\');
        buf_add_char(out, node->text.p[i]);
    }
    buf_add_char(out, '"');
}

static void write_value(struct buf *out, const struct yaml_node *node)
{
    if (node->kind == YAML_SCALAR) {
        write_scalar(out, node);
        return;
    }
    buf_add_char(out, '[');
    for (const struct yaml_node *item = node->first; item != NULL; item = item->next) {
        write_scalar(out, item);
        buf_add_z(out, item->next != NULL ? ", " : "");
    }
    buf_add_char(out, ']');
}

/* "listen[0].name" cut into "listen", "[0]", "name"; each is a level. */
static struct str next_segment(struct str *path)
{
    size_t end = path->n > 0 && path->p[0] == '[' ? str_find(*path, ']') + 1 : 0;
    struct str segment;

    while (end < path->n && path->p[end] != '.' && path->p[end] != '[')
        end++;
    segment = str_upto(*path, end);
    *path = str_from(*path, end);
    if (path->n > 0 && path->p[0] == '.')
        *path = str_from(*path, 1);
    return segment;
}

/* Writes the levels that differ from the line before, then the key itself. */
static void write_key(struct buf *out, struct str path, struct str before)
{
    bool same = true, dash = false;
    unsigned level = 0;

    while (path.n > 0) {
        struct str segment = next_segment(&path), other = next_segment(&before);

        same = same && str_eq(segment, other);
        if (!same && segment.p[0] == '[') {
            buf_fmt(out, "%*s- ", (int)level * 2, "");
            dash = true;
        } else if (!same) {
            buf_fmt(out, "%*s%.*s:%s", dash ? 0 : (int)level * 2, "", STR_ARG(segment),
                    path.n > 0 ? "\n" : " ");
            dash = false;
        }
        level++;
    }
}

/* A password is nobody's to see, or to paste into a ticket. */
static const struct yaml_node *without_secret(struct loading *l, const struct entry *entry)
{
    struct yaml_node *node;

    if (entry->row->type != SET_STORE_URL)
        return entry->node;
    node = arena_copy(l->mem, entry->node, sizeof(*node));
    node->text = str_of(redis_url_shown(l->mem, node->text));
    return node;
}

static void show_yaml(struct loading *l, struct buf *out)
{
    struct str before = {0};

    for (const struct entry *entry = l->entries; entry != NULL; entry = entry->next) {
        if (entry->row->type == SET_RECORDS && entry->node->count > 0)
            continue; /* its elements follow */
        write_key(out, str_of(entry->path), before);
        write_value(out, without_secret(l, entry));
        buf_fmt(out, "  # %s\n", origin_of(l, entry->node));
        before = str_of(entry->path);
    }
}

/* ---- JSON ---- */

static void json_scalar(struct json *j, const struct setting *row, const struct yaml_node *node)
{
    bool negative = node->text.n > 0 && node->text.p[0] == '-';
    uint64_t number;

    if (row->type == SET_BOOL)
        json_bool(j, str_eq_z(node->text, "true"));
    else if (setting_is_number(row) && str_to_u64(str_from(node->text, negative), INT64_MAX, &number))
        json_int(j, negative ? -(int64_t)number : (int64_t)number);
    else
        json_str(j, node->text);
}

static void show_json(struct loading *l, struct buf *out)
{
    struct json j;

    json_init(&j, out);
    json_object(&j);
    for (const struct entry *entry = l->entries; entry != NULL; entry = entry->next) {
        if (entry->row->type == SET_RECORDS && entry->node->count > 0)
            continue;
        json_key(&j, entry->path);
        json_object(&j);
        json_key(&j, "value");
        if (entry->node->kind == YAML_LIST) {
            json_array(&j);
            for (const struct yaml_node *item = entry->node->first; item != NULL; item = item->next)
                json_str(&j, item->text);
            json_array_end(&j);
        } else {
            json_scalar(&j, entry->row, without_secret(l, entry));
        }
        json_put_z(&j, "origin", origin_of(l, entry->node));
        json_object_end(&j);
    }
    json_object_end(&j);
    buf_add_char(out, '\n');
}

int config_show(const char *file, bool json, struct buf *out, struct buf *faults_out)
{
    struct arena *mem = arena_new(16 * 1024);
    struct config config = {0};
    struct loading loading;
    bool fine = loading_run(&loading, mem, file, &config);

    if (!fine)
        faults_write(&loading.faults, faults_out);
    else if (json)
        show_json(&loading, out);
    else
        show_yaml(&loading, out);
    arena_free(&mem);
    return fine ? 0 : -1;
}
