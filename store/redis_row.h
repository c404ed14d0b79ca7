/*
 * store/redis_row.h - rows as a Redis keeps them; pure
 *
 * A row is a string under the key "smtpguard:TABLE:KEY", its value "EXPIRES VALUE" (the time stands in front
 * because servers older than 7 tell only how many seconds are left), and the server forgets it at that time.
 * What keeps rows on one server of a cluster stands in braces (its "hash tag"): the part of KEY that
 * store_table's tag() names, or the TABLE when all of it lies together.
 *
 * A group is a hash under "smtpguard:TABLE:GROUP", with the rest of each KEY as the field; it is forgotten with
 * the row that was written last. All groups of a table stand in the sorted set "smtpguard:groups:TABLE", in
 * the order of keys, perhaps longer than they live.
 */
#ifndef STORE_REDIS_ROW_H
#define STORE_REDIS_ROW_H

#include "base/buf.h"
#include "store/store.h"

#define REDIS_ROW_PREFIX "smtpguard:"

struct redis_row_name {
    struct str key;
    struct str field; /* n = 0: the row is a string */
};
struct redis_row_name redis_row_name(struct arena *mem, const struct store_table *table, struct str key);

/* The KEY again; false: it is no row of this table. Not for groups. */
bool redis_row_read_key(struct arena *mem, const struct store_table *table, struct str redis_key,
                        struct str *key_out);
/* For SCAN's MATCH: what the keys of rows that begin with `prefix` are like. Others may be, too. */
struct str redis_row_pattern(struct arena *mem, const struct store_table *table, struct str prefix);

/* The part of a key that names its group; n = 0 in tables without groups. */
struct str redis_row_group(const struct store_table *table, struct str key);
struct str redis_row_groups_key(struct arena *mem, const struct store_table *table);

struct str redis_row_value(struct arena *mem, const struct store_row *row); /* "" for no row */
/* What does not read as a row counts as none. The value is a view. */
struct store_row redis_row_read_value(struct str value);

/* KEYS are the rows; ARGV for each: its field ("": it is a string), the value that was read ("" for none), the
 * value that it becomes, when it expires (0: never). 1: all of it is done; 0: another value lies there, and nothing is. */
extern const char redis_row_script[];
enum { REDIS_ROW_ARGS = 4 };

#endif
