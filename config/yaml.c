#include "config/yaml.h"

#include <yaml.h>

struct reader {
    yaml_parser_t parser;
    struct arena *mem;
    struct faults *faults;
    struct str text;
    unsigned nodes;
    bool failed; /* the rest cannot be read */
};

static struct place place_of(const yaml_mark_t *mark)
{
    return (struct place){.line = (unsigned)mark->line + 1, .column = (unsigned)mark->column + 1};
}

/* libyaml tells only the offset of an octet that is no character; the line is counted here. */
static struct place place_of_offset(struct str text, size_t offset)
{
    struct place at = {.line = 1, .column = 1};

    for (size_t i = 0; i < offset && i < text.n; i++) {
        at.column++;
        if (text.p[i] == '\n') {
            at.line++;
            at.column = 1;
        }
    }
    return at;
}

/* A mark counts characters, not octets. */
static bool is_tab(struct str text, const yaml_mark_t *mark)
{
    size_t line = 0, column = 0;

    for (size_t i = 0; i < text.n; i++) {
        if (line == mark->line && column == mark->column)
            return text.p[i] == '\t';
        if (text.p[i] == '\n') {
            line++;
            column = 0;
        } else if (i + 1 == text.n || ((unsigned char)text.p[i + 1] & 0xc0) != 0x80) {
            column++;
        }
    }
    return false;
}

static void complain_syntax(struct reader *r)
{
    const yaml_parser_t *parser = &r->parser;
    const char *problem = parser->problem != NULL ? parser->problem : "not enough memory";
    struct place at = place_of(&parser->problem_mark);

    if (parser->error == YAML_READER_ERROR) {
        at = place_of_offset(r->text, parser->problem_offset);
        fault_at(r->faults, &at, "not UTF-8 text: %s", problem);
    } else if (is_tab(r->text, &parser->problem_mark)) {
        fault_at(r->faults, &at, "not YAML: a tab; indent with spaces");
    } else {
        fault_at(r->faults, &at, "not YAML: %s%s%s", problem, parser->context != NULL ? " " : "",
                 parser->context != NULL ? parser->context : "");
    }
    r->failed = true;
}

static bool next_event(struct reader *r, yaml_event_t *event)
{
    if (r->failed)
        return false;
    if (yaml_parser_parse(&r->parser, event))
        return true;
    complain_syntax(r);
    return false;
}

struct yaml_node *yaml_new(struct arena *mem, enum yaml_kind kind, const struct place *at)
{
    struct yaml_node *node = ARENA_NEW(mem, struct yaml_node);

    node->kind = kind;
    node->text = STR("");
    node->at = *at;
    return node;
}

void yaml_append(struct yaml_node *parent, struct yaml_node *child)
{
    if (parent->last != NULL)
        parent->last->next = child;
    else
        parent->first = child;
    parent->last = child;
    parent->count++;
}

bool yaml_has_control(struct str text)
{
    for (size_t i = 0; i < text.n; i++)
        if ((unsigned char)text.p[i] < 0x20 || text.p[i] == 0x7f)
            return true;
    return false;
}

static struct yaml_node *scalar_of(struct reader *r, const yaml_event_t *event, const struct place *at)
{
    struct yaml_node *node = yaml_new(r->mem, YAML_SCALAR, at);

    node->text =
        str_copy(r->mem, str_make((const char *)event->data.scalar.value, event->data.scalar.length));
    node->plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    if (yaml_has_control(node->text)) {
        fault_at(r->faults, at, "a value is one line without control characters");
        node->kind = YAML_BROKEN;
    }
    return node;
}

/* Anchors, aliases and tags make one text mean several things to several readers. */
static void refuse_decoration(struct reader *r, const struct place *at, const yaml_char_t *anchor,
                              const yaml_char_t *tag)
{
    if (anchor != NULL)
        fault_at(r->faults, at, "anchors (&name) are not allowed; write the value out");
    if (tag != NULL)
        fault_at(r->faults, at, "tags (!type) are not allowed; each setting has its own type");
}

static struct yaml_node *read_node(struct reader *r, yaml_event_t *event, unsigned depth);

static void read_list(struct reader *r, struct yaml_node *list, unsigned depth)
{
    yaml_event_t event;

    while (next_event(r, &event)) {
        if (event.type == YAML_SEQUENCE_END_EVENT) {
            yaml_event_delete(&event);
            return;
        }
        yaml_append(list, read_node(r, &event, depth));
    }
}

static void add_member(struct reader *r, struct yaml_node *map, const struct yaml_node *key,
                       struct yaml_node *value)
{
    const struct yaml_node *twin;

    if (key->kind != YAML_SCALAR) {
        if (key->kind != YAML_BROKEN)
            fault_at(r->faults, &key->at, "a key is a word");
        return;
    }
    twin = yaml_get(map, key->text);
    if (twin != NULL) {
        fault_at(r->faults, &key->at, "the key \"%.*s\" stands in line %u already",
                 STR_ARG(str_upto(key->text, 100)), twin->key->at.line);
        return;
    }
    if (map->count == YAML_KEYS_MAX) {
        fault_at(r->faults, &key->at, "more than %d keys in one map", YAML_KEYS_MAX);
        r->failed = true;
        return;
    }
    value->key = key;
    yaml_append(map, value);
}

static void read_map(struct reader *r, struct yaml_node *map, unsigned depth)
{
    yaml_event_t event;

    while (next_event(r, &event)) {
        const struct yaml_node *key;

        if (event.type == YAML_MAPPING_END_EVENT) {
            yaml_event_delete(&event);
            return;
        }
        key = read_node(r, &event, depth);
        if (next_event(r, &event))
            add_member(r, map, key, read_node(r, &event, depth));
    }
}

static bool within_limits(struct reader *r, const struct place *at, unsigned depth)
{
    if (depth > YAML_DEPTH_MAX)
        fault_at(r->faults, at, "more than %d levels of lists and maps", YAML_DEPTH_MAX);
    else if (++r->nodes > YAML_NODES_MAX)
        fault_at(r->faults, at, "more than %d values", YAML_NODES_MAX);
    else
        return true;
    r->failed = true;
    return false;
}

/* Takes the event over. Never NULL; after a failure the node is broken. */
static struct yaml_node *read_node(struct reader *r, yaml_event_t *event, unsigned depth)
{
    struct place at = place_of(&event->start_mark);
    struct yaml_node *node = NULL;

    if (!within_limits(r, &at, depth)) {
        yaml_event_delete(event);
        return yaml_new(r->mem, YAML_BROKEN, &at);
    }
    if (event->type == YAML_SCALAR_EVENT) {
        refuse_decoration(r, &at, event->data.scalar.anchor, event->data.scalar.tag);
        node = scalar_of(r, event, &at);
    } else if (event->type == YAML_SEQUENCE_START_EVENT) {
        refuse_decoration(r, &at, event->data.sequence_start.anchor, event->data.sequence_start.tag);
        node = yaml_new(r->mem, YAML_LIST, &at);
        read_list(r, node, depth + 1);
    } else if (event->type == YAML_MAPPING_START_EVENT) {
        refuse_decoration(r, &at, event->data.mapping_start.anchor, event->data.mapping_start.tag);
        node = yaml_new(r->mem, YAML_MAP, &at);
        read_map(r, node, depth + 1);
    } else {
        fault_at(r->faults, &at, "aliases (*name) are not allowed; write the value out");
        node = yaml_new(r->mem, YAML_BROKEN, &at);
    }
    yaml_event_delete(event);
    return node;
}

/* Stream start, document start, the root, document end, stream end: anything else is a second document. */
static struct yaml_node *read_document(struct reader *r)
{
    struct place begin = {.line = 1, .column = 1};
    struct yaml_node *root = NULL;
    yaml_event_t event;

    while (next_event(r, &event)) {
        yaml_event_type_t type = event.type;
        struct place at = place_of(&event.start_mark);

        if (type == YAML_DOCUMENT_START_EVENT && root != NULL) {
            fault_at(r->faults, &at, "a second document (---); a settings file has one");
            r->failed = true;
        } else if (type != YAML_STREAM_START_EVENT && type != YAML_DOCUMENT_START_EVENT &&
                   type != YAML_DOCUMENT_END_EVENT && type != YAML_STREAM_END_EVENT) {
            root = read_node(r, &event, 1);
            continue;
        }
        yaml_event_delete(&event);
        if (type == YAML_STREAM_END_EVENT)
            break;
    }
    if (r->failed)
        return NULL;
    return root != NULL ? root : yaml_new(r->mem, YAML_MAP, &begin);
}

struct yaml_node *yaml_read(struct arena *mem, struct str text, struct faults *faults)
{
    struct reader r = {.mem = mem, .faults = faults};
    struct place begin = {.line = 1, .column = 1};
    struct yaml_node *root;

    if (str_starts(text, STR("\xef\xbb\xbf"))) /* the byte order mark that some editors write */
        text = str_from(text, 3);
    r.text = text;
    if (text.n > YAML_BYTES_MAX) {
        fault_at(faults, &begin, "larger than 1 MiB; put long lists of domains into domains.file");
        return NULL;
    }
    if (!yaml_parser_initialize(&r.parser)) {
        fault_at(faults, &begin, "not enough memory to read it");
        return NULL;
    }
    yaml_parser_set_encoding(&r.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&r.parser, (const unsigned char *)(text.n > 0 ? text.p : ""), text.n);
    root = read_document(&r);
    yaml_parser_delete(&r.parser);
    return root;
}

bool yaml_is_null(const struct yaml_node *node)
{
    return node->kind == YAML_SCALAR && node->plain &&
           (node->text.n == 0 || str_eq_z(node->text, "~") || str_same_z(node->text, "null"));
}

const char *yaml_kind_name(const struct yaml_node *node)
{
    if (yaml_is_null(node))
        return "nothing";
    return node->kind == YAML_MAP ? "keys and values" : node->kind == YAML_LIST ? "a list" : "a single value";
}

struct yaml_node *yaml_get(const struct yaml_node *map, struct str key)
{
    for (struct yaml_node *node = map->kind == YAML_MAP ? map->first : NULL; node != NULL; node = node->next)
        if (str_eq(node->key->text, key))
            return node;
    return NULL;
}

bool yaml_same(const struct yaml_node *a, const struct yaml_node *b)
{
    const struct yaml_node *x = a->first, *y = b->first;

    if (a->kind != b->kind || a->count != b->count || !str_eq(a->text, b->text))
        return false;
    for (; x != NULL; x = x->next, y = y->next)
        if (!yaml_same(x, y) || (x->key != NULL && !str_eq(x->key->text, y->key->text)))
            return false;
    return true;
}
