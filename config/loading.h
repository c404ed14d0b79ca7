/*
 * config/loading.h - the steps from a file to a snapshot, for config/ alone
 *
 * tree (yaml) + environment -> every key has a node -> values in struct config -> checks across keys.
 * Each step adds its faults and goes on, so that the operator sees all of them at once.
 */
#ifndef CONFIG_LOADING_H
#define CONFIG_LOADING_H

#include "config/config.h"
#include "config/table.h"
#include "config/yaml.h"

/* A key as it holds: "listen[0].name", with the node it came from (place.line 0: the default). */
struct entry {
    const struct setting *row;
    const char *path;
    const struct yaml_node *node;
    struct entry *next;
};

struct loading {
    struct arena *mem;
    struct faults faults;
    struct yaml_node *root;
    struct config *config; /* filled */
    bool complete;         /* a whole file: what must be given is asked for, and files are looked at */
    struct entry *entries, **end;
};

/* The whole way. False with faults. `file` may be NULL. */
bool loading_run(struct loading *l, struct arena *mem, const char *file, struct config *config_out);
const struct entry *loading_entry(const struct loading *l, const char *path); /* NULL: no such key */
const struct place *loading_place(const struct loading *l, const char *path); /* of its value, or 1:1 */

void environment_apply(struct loading *l, char **variables); /* SMTPGUARD_… onto the tree */
void fill_config(struct loading *l);                         /* types and limits of every key; unknown keys */
void refuse_unknown(struct loading *l, const struct yaml_node *map, const char *prefix);
void domains_build(struct loading *l); /* domains.relay and domains.file */
void recipients_build(struct loading *l); /* the file of domains.recipients */
void allow_build(struct loading *l);   /* greylist.allow, greylist.allow_recipients and their files */
void check_config(struct loading *l);  /* what one key alone cannot tell */

/* A node for a value that stands in no file. Lists: elements between commas. */
struct yaml_node *node_of_text(struct arena *mem, const struct setting *row, struct str text,
                               const struct place *at);
/* False with a fault at the place, which begins with the key (NULL: the settings file itself). */
bool file_text(struct loading *l, const char *path, size_t most, const struct place *at, const char *key,
               struct str *text_out);

#endif
