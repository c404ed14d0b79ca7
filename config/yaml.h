/*
 * config/yaml.h - a YAML document as a tree of nodes, each with its place          (the door to libyaml)
 *
 * Only what a settings file needs: maps, lists and scalars. Anchors, aliases, tags, repeated keys, keys that
 * are no scalars, control characters and a second document are faults; their nodes stay in the tree as far as
 * they make sense, so that the rest is still checked.
 *
 * Ownership  Everything in the arena.
 * Limits     YAML_BYTES_MAX a text, YAML_DEPTH_MAX levels, YAML_NODES_MAX nodes, YAML_KEYS_MAX keys a map: libyaml's
 *            time grows with depth times length, and ours with the square of the keys.
 */
#ifndef CONFIG_YAML_H
#define CONFIG_YAML_H

#include "config/faults.h"

enum { YAML_BYTES_MAX = 1024 * 1024, YAML_DEPTH_MAX = 16, YAML_NODES_MAX = 100000, YAML_KEYS_MAX = 256 };

enum yaml_kind {
    YAML_SCALAR,
    YAML_LIST,
    YAML_MAP,
    YAML_BROKEN, /* was complained of already: look no further */
};

struct yaml_node {
    enum yaml_kind kind;
    struct str text; /* of a scalar; NUL-terminated */
    bool plain;      /* written without quotes */
    struct place at;
    struct yaml_node *first, *last; /* of a list or map */
    size_t count;
    struct yaml_node *next;
    const struct yaml_node *key; /* of a map's member */
};

/* NULL when the text is not YAML at all, or passes a limit: then no faults but the syntax error are known.
 * An empty document is an empty map. */
struct yaml_node *yaml_read(struct arena *mem, struct str text, struct faults *faults);

/* A value without a word: empty, ~ or null. */
bool yaml_is_null(const struct yaml_node *node);
const char *yaml_kind_name(const struct yaml_node *node);                /* for people: "a list", "nothing" */
bool yaml_has_control(struct str text);                                  /* no value may have such an octet */
struct yaml_node *yaml_get(const struct yaml_node *map, struct str key); /* NULL: not there */

/* For trees that are made by hand (defaults, environment). */
struct yaml_node *yaml_new(struct arena *mem, enum yaml_kind kind, const struct place *at);
void yaml_append(struct yaml_node *parent, struct yaml_node *child);
bool yaml_same(const struct yaml_node *a, const struct yaml_node *b); /* kinds and texts */

#endif
