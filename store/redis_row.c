#include "store/redis_row.h"

#include <inttypes.h>
#include <string.h>

const char redis_row_script[] =
    "local function read(key, field)\n"
    "  return (field == '' and redis.call('GET', key) or field ~= '' and redis.call('HGET', key, field)) or "
    "''\n"
    "end\n"
    "local function write(key, field, value)\n"
    "  if field == '' and value == '' then redis.call('DEL', key)\n"
    "  elseif field == '' then redis.call('SET', key, value)\n"
    "  elseif value == '' then redis.call('HDEL', key, field)\n"
    "  else redis.call('HSET', key, field, value) end\n"
    "end\n"
    "for i, key in ipairs(KEYS) do\n"
    "  if read(key, ARGV[4 * i - 3]) ~= ARGV[4 * i - 2] then return 0 end\n"
    "end\n"
    "for i, key in ipairs(KEYS) do\n"
    "  local field, old, new, expires = ARGV[4 * i - 3], ARGV[4 * i - 2], ARGV[4 * i - 1], ARGV[4 * i]\n"
    "  if new ~= old then\n"
    "    write(key, field, new)\n"
    "    if new ~= '' and expires ~= '0' then redis.call('EXPIREAT', key, expires) end\n"
    "  end\n"
    "end\n"
    "return 1\n";

/* ---- keys ---- */

static void add(char *to, size_t *n, struct str part)
{
    if (part.n > 0)
        memcpy(to + *n, part.p, part.n);
    *n += part.n;
}

static struct str tag_of(const struct store_table *table, struct str key)
{
    bool has_tags = table->spread == STORE_BY_TAG || table->spread == STORE_BY_GROUP;

    return has_tags ? table->tag(key) : (struct str){0};
}

static struct str row_key(struct arena *mem, const struct store_table *table, struct str key)
{
    bool together = table->spread == STORE_TOGETHER;
    struct str prefix = STR(REDIS_ROW_PREFIX), name = str_of(table->name), tag = tag_of(table, key);
    size_t at = tag.n > 0 ? (size_t)(tag.p - key.p) : 0, n = 0;
    char *text = arena_alloc(mem, prefix.n + name.n + key.n + 4);

    add(text, &n, prefix);
    add(text, &n, together ? STR("{") : STR(""));
    add(text, &n, name);
    add(text, &n, together ? STR("}:") : STR(":"));
    add(text, &n, str_upto(key, at));
    if (tag.n > 0) {
        add(text, &n, STR("{"));
        add(text, &n, tag);
        add(text, &n, STR("}"));
    }
    add(text, &n, str_from(key, at + tag.n));
    return str_make(text, n);
}

struct str redis_row_group(const struct store_table *table, struct str key)
{
    struct str tag = table->spread == STORE_BY_GROUP ? table->tag(key) : (struct str){0};

    return tag.n > 0 ? str_upto(key, (size_t)(tag.p - key.p) + tag.n) : tag;
}

struct str redis_row_groups_key(struct arena *mem, const struct store_table *table)
{
    return str_of(str_fmt(mem, "%sgroups:%s", REDIS_ROW_PREFIX, table->name));
}

struct redis_row_name redis_row_name(struct arena *mem, const struct store_table *table, struct str key)
{
    struct str group = redis_row_group(table, key);

    if (group.n == 0)
        return (struct redis_row_name){.key = row_key(mem, table, key)};
    return (struct redis_row_name){row_key(mem, table, group), str_from(key, group.n)};
}

/* What would be a brace behind a tag that may go on is left open. */
struct str redis_row_pattern(struct arena *mem, const struct store_table *table, struct str prefix)
{
    struct str tag = tag_of(table, prefix), start = row_key(mem, table, prefix);
    bool open = tag.n > 0 && tag.p + tag.n == prefix.p + prefix.n;
    char *pattern = arena_alloc(mem, 2 * start.n + 1);
    size_t n = 0;

    for (size_t i = 0; i < start.n - open; i++) {
        if (str_has(STR("*?[]\\"), start.p[i]))
            pattern[n++] = '\\';
        pattern[n++] = start.p[i];
    }
    pattern[n++] = '*';
    return str_make(pattern, n);
}

/* Which braces are ours? A key may have its own: those are ours without which the key is written so again. */
static bool try_without(struct arena *mem, const struct store_table *table, struct str whole, struct str text,
                        size_t open, size_t close, struct str *key_out)
{
    char *key = arena_alloc(mem, text.n);
    size_t n = 0;

    add(key, &n, str_upto(text, open));
    add(key, &n, str_make(text.p + open + 1, close - open - 1));
    add(key, &n, str_from(text, close + 1));
    *key_out = str_make(key, n);
    return str_eq(row_key(mem, table, *key_out), whole);
}

bool redis_row_read_key(struct arena *mem, const struct store_table *table, struct str redis_key,
                        struct str *key_out)
{
    struct str prefix = str_of(
        str_fmt(mem, table->spread == STORE_TOGETHER ? "%s{%s}:" : "%s%s:", REDIS_ROW_PREFIX, table->name));
    struct str text = str_from(redis_key, prefix.n);

    if (!str_starts(redis_key, prefix) || text.n > STORE_KEY_BYTES_MAX + 2)
        return false;
    *key_out = text;
    if (str_eq(row_key(mem, table, text), redis_key))
        return true;
    for (size_t open = 0; open < text.n; open++)
        for (size_t close = open + 1; text.p[open] == '{' && close < text.n; close++)
            if (text.p[close] == '}' && try_without(mem, table, redis_key, text, open, close, key_out))
                return true;
    return false;
}

/* ---- values ---- */

struct str redis_row_value(struct arena *mem, const struct store_row *row)
{
    struct str time = str_of(str_fmt(mem, "%" PRId64 " ", row->expires_unix));
    char *text = arena_alloc(mem, time.n + row->value.n);
    size_t n = 0;

    if (row->value.n == 0)
        return STR("");
    add(text, &n, time);
    add(text, &n, row->value);
    return str_make(text, n);
}

struct store_row redis_row_read_value(struct str value)
{
    static const struct store_row none;
    struct str time, rest;
    uint64_t expires_unix;

    if (!str_cut(value, ' ', &time, &rest) || !str_to_u64(time, INT64_MAX, &expires_unix) || rest.n == 0 ||
        rest.n > STORE_VALUE_MAX)
        return none;
    return (struct store_row){rest, (int64_t)expires_unix};
}
