/*
 * cli/migrate.h - the settings of other programs, read to become ours (`config migrate`)
 *
 * Each program has a file of rules, cli/migrate_….c: what becomes of each key that it knows. A key is either taken, then it is a
 * setting of ours with a value, or left, with the reason; none is passed over in silence. Of two that say different things
 * of one setting the first holds. Nothing is ever taken that would trust a host more than it was trusted before.
 *
 * Ownership  Everything lives in the migration's arena.
 * Limits     A file has MIGRATE_BYTES_MAX octets at the most; longer ones are errors. Beyond MIGRATE_RECORDS_MAX of what was
 *            taken and left, overflow is set.
 */
#ifndef CLI_MIGRATE_H
#define CLI_MIGRATE_H

#include "base/buf.h"
#include "base/fail.h"

enum { MIGRATE_BYTES_MAX = 1024 * 1024, MIGRATE_RECORDS_MAX = 5000 };

/* One key of a file. */
struct migrate_entry {
    const char *file;
    unsigned line;
    const char *key;
    struct str value; /* trimmed, without a comment */
};

struct migrated {
    struct migrated *next;
    struct migrate_entry from;
    const char *setting; /* "greylist.delay"; of a list one item: "networks[]"; NULL: left */
    const char *value,
        *why; /* as YAML, of what was taken; the reason, of what was left, else a remark or NULL */
};

/* A key that is judged together with others, when the whole file is read. */
struct migrate_held {
    struct migrate_held *next; /* the one before */
    struct migrate_entry entry;
};

struct migration {
    struct arena *mem;
    struct migrated *first, **last;
    size_t taken, left;
    bool overflow;
    struct migrate_held *held; /* of the file that is being read */
};

void migrate_init(struct migration *m, struct arena *mem);

/* For the rules. Text from a file becomes a value by migrate_text(), quoted where YAML wants it. */
void migrate_take(struct migration *m, const struct migrate_entry *from, const char *setting,
                  const char *value, const char *remark);
void migrate_leave(struct migration *m, const struct migrate_entry *from, const char *why);
const char *migrate_text(struct migration *m, struct str text);
const struct migrated *migrate_find(const struct migration *m, const char *setting);

/* What becomes of a key: take(), or it is left for the reason. */
typedef void migrate_fn(struct migration *m, const struct migrate_entry *entry, const char *setting);
struct migrate_rule {
    const char *key; /* case does not matter */
    migrate_fn *take;
    const char *setting; /* for take */
    const char *why;     /* without take */
};
void migrate_apply(struct migration *m, const struct migrate_rule *rules, size_t count,
                   const struct migrate_entry *entry);

/* Taking a value as it is: a number ("80"; with a unit behind it), a text, a switch (yes, true, on, 1), a list of words. */
migrate_fn migrate_hold;
const struct migrate_entry *migrate_held(const struct migration *m,
                                         const char *key); /* NULL: there was none */
migrate_fn migrate_take_number, migrate_take_seconds, migrate_take_text, migrate_take_path, migrate_take_bool,
    migrate_take_authserv_id;
extern const char migrate_same[]; /* a reason to leave a key: it changes nothing */
bool migrate_is_on(struct str value);
bool migrate_next_word(struct str *rest, struct str *word_out); /* between blanks and commas */

/* Reads a file, and applies the rules to each key. -1: it cannot be read. */
int migrate_read_words(struct migration *m, const char *file, const struct migrate_rule *rules, size_t count,
                       struct fail *fail); /* Key value */
int migrate_read_equals(struct migration *m, const char *file, const struct migrate_rule *rules, size_t count,
                        struct fail *fail); /* key = value */
/* The options in a shell's variable, as /etc/default has them: NAME="--key=value --key value --key". */
int migrate_read_options(struct migration *m, const char *file, const char *variable,
                         const struct migrate_rule *rules, size_t count, struct fail *fail);
/* Postfix's, whose keys may refer to later ones: all are held. */
int migrate_read_main_cf(struct migration *m, const char *file, struct fail *fail);

/* The programs. -1: the file cannot be read. */
int migrate_postfix(struct migration *m, const char *file, struct fail *fail);
int migrate_postgrey(struct migration *m, const char *file, struct fail *fail);
int migrate_policyd_spf(struct migration *m, const char *file, struct fail *fail);
int migrate_smf_spf(struct migration *m, const char *file, struct fail *fail);
int migrate_opendkim(struct migration *m, const char *file, struct fail *fail);
int migrate_opendmarc(struct migration *m, const char *file, struct fail *fail);

/* A settings file with a remark behind each line that says where it came from; below it what was left, and why. */
void migrate_write_yaml(const struct migration *m, struct buf *out);
void migrate_write_json(const struct migration *m, struct buf *out);

#endif
