#include "cli/migrate.h"

#include "base/bug.h"
#include "base/json.h"

#include <string.h>

/* What is taken and what is left; values as YAML has them; and both written down. */

const char migrate_same[] = "it is how smtpguard is, too";

void migrate_init(struct migration *m, struct arena *mem)
{
    *m = (struct migration){.mem = mem};
    m->last = &m->first;
}

static void add(struct migration *m, const struct migrated *what)
{
    struct migrated *copy;

    if (m->taken + m->left == MIGRATE_RECORDS_MAX) {
        m->overflow = true;
        return;
    }
    copy = arena_copy(m->mem, what, sizeof(*what));
    copy->next = NULL;
    *m->last = copy;
    m->last = &copy->next;
    m->taken += copy->setting != NULL;
    m->left += copy->setting == NULL;
}

const struct migrated *migrate_find(const struct migration *m, const char *setting)
{
    for (const struct migrated *each = m->first; each != NULL; each = each->next)
        if (each->setting != NULL && strcmp(each->setting, setting) == 0)
            return each;
    return NULL;
}

static bool is_item(const char *setting)
{
    size_t n = strlen(setting);

    return n > 2 && strcmp(setting + n - 2, "[]") == 0;
}

static bool has_item(const struct migration *m, const char *setting, const char *value)
{
    for (const struct migrated *each = m->first; each != NULL; each = each->next)
        if (each->setting != NULL && strcmp(each->setting, setting) == 0 && strcmp(each->value, value) == 0)
            return true;
    return false;
}

void migrate_leave(struct migration *m, const struct migrate_entry *from, const char *why)
{
    add(m, &(struct migrated){.from = *from, .why = why});
}

void migrate_take(struct migration *m, const struct migrate_entry *from, const char *setting,
                  const char *value, const char *remark)
{
    const struct migrated *before = is_item(setting) ? NULL : migrate_find(m, setting);

    if (has_item(m, setting, value))
        return;
    if (before != NULL)
        migrate_leave(m, from,
                      str_fmt(m->mem, "%s is %s already, by %s:%u", setting, before->value, before->from.file,
                              before->from.line));
    else
        add(m, &(struct migrated){.from = *from, .setting = setting, .value = value, .why = remark});
}

/* ---- values ---- */

static bool is_plain(struct str text)
{
    bool has_letter = false;

    for (size_t i = 0; i < text.n; i++) {
        if (!ascii_is_alnum(text.p[i]) && strchr("/._-", text.p[i]) == NULL)
            return false;
        has_letter |= ascii_is_alpha(text.p[i]) || text.p[i] == '/';
    }
    return has_letter && (ascii_is_alnum(text.p[0]) || text.p[0] == '/') && !str_same_z(text, "yes") &&
           !str_same_z(text, "no") && !str_same_z(text, "on") && !str_same_z(text, "off") &&
           !str_same_z(text, "true") && !str_same_z(text, "false") && !str_same_z(text, "null");
}

/* A JSON string is one of YAML's. */
const char *migrate_text(struct migration *m, struct str text)
{
    struct buf out;
    struct json json;
    const char *copy;

    if (is_plain(text))
        return str_dup(m->mem, text);
    buf_init(&out, 8 * text.n + 16);
    json_init(&json, &out);
    json_str(&json, text);
    copy = str_dup(m->mem, buf_str(&out));
    buf_fini(&out);
    return copy;
}

bool migrate_is_on(struct str value)
{
    return str_same_z(value, "yes") || str_same_z(value, "true") || str_same_z(value, "on") ||
           str_eq_z(value, "1");
}

bool migrate_next_word(struct str *rest, struct str *word_out)
{
    size_t start = 0, end;

    while (start < rest->n && strchr(" \t\r\n,", rest->p[start]) != NULL)
        start++;
    for (end = start; end < rest->n && strchr(" \t\r\n,", rest->p[end]) == NULL;)
        end++;
    *word_out = str_make(rest->p + start, end - start);
    *rest = str_from(*rest, end);
    return end > start;
}

static void take_number(struct migration *m, const struct migrate_entry *entry, const char *setting,
                        const char *unit)
{
    uint64_t number;

    if (str_to_u64(entry->value, INT32_MAX, &number))
        migrate_take(m, entry, setting, str_fmt(m->mem, "%u%s", (unsigned)number, unit), NULL);
    else
        migrate_leave(m, entry, "it is no number");
}

void migrate_take_number(struct migration *m, const struct migrate_entry *entry, const char *setting)
{
    take_number(m, entry, setting, "");
}

void migrate_take_seconds(struct migration *m, const struct migrate_entry *entry, const char *setting)
{
    take_number(m, entry, setting, "s");
}

void migrate_take_text(struct migration *m, const struct migrate_entry *entry, const char *setting)
{
    if (entry->value.n == 0)
        migrate_leave(m, entry, "it is empty");
    else
        migrate_take(m, entry, setting, migrate_text(m, entry->value), NULL);
}

/* Ours are absolute. */
void migrate_take_path(struct migration *m, const struct migrate_entry *entry, const char *setting)
{
    struct str path = entry->value;

    if (str_starts(path, STR("file:")))
        path = str_from(path, strlen("file:"));
    else if (str_starts(path, STR("refile:")))
        path = str_from(path, strlen("refile:"));
    if (path.n == 0 || path.p[0] != '/')
        migrate_leave(m, entry, "it is no absolute path of a file");
    else
        migrate_take(m, entry, setting, migrate_text(m, path), NULL);
}

void migrate_take_bool(struct migration *m, const struct migrate_entry *entry, const char *setting)
{
    migrate_take(m, entry, setting, migrate_is_on(entry->value) ? "true" : "false", NULL);
}

/* By default it is the host's name, there and here. */
void migrate_take_authserv_id(struct migration *m, const struct migrate_entry *entry, const char *setting)
{
    if (str_same_z(entry->value, "HOSTNAME"))
        migrate_leave(m, entry, migrate_same);
    else
        migrate_take_text(m, entry, setting);
}

/* ---- rules ---- */

void migrate_hold(struct migration *m, const struct migrate_entry *entry, const char *setting)
{
    struct migrate_held *held = ARENA_NEW(m->mem, struct migrate_held);

    (void)setting;
    *held = (struct migrate_held){m->held, *entry};
    m->held = held;
}

const struct migrate_entry *migrate_held(const struct migration *m, const char *key)
{
    for (const struct migrate_held *held = m->held; held != NULL; held = held->next)
        if (str_same_z(str_of(held->entry.key), key))
            return &held->entry;
    return NULL;
}

/* What every daemon has, and we have in a way of our own. */
static bool is_of_a_daemon(struct str key)
{
    static const char *const keys[] = {"Socket",
                                       "PidFile",
                                       "UMask",
                                       "UserID",
                                       "User",
                                       "Syslog",
                                       "LogWhy",
                                       "LogResults",
                                       "SyslogSuccess",
                                       "SyslogFacility",
                                       "LogFile",
                                       "LogTo",
                                       "debugLevel",
                                       "Background",
                                       "Daemonize",
                                       "Statistics",
                                       "AutoRestart",
                                       "BaseDirectory",
                                       "AutoRestartCount",
                                       "AutoRestartRate",
                                       "--inet",
                                       "-i",
                                       "--unix",
                                       "-u",
                                       "--port",
                                       "--user",
                                       "--group",
                                       "--pidfile",
                                       "--daemonize",
                                       "-d",
                                       "--quiet",
                                       "-q",
                                       "--verbose",
                                       "-v",
                                       "--syslogfacility",
                                       "--exim",
                                       "ChangeRootDirectory",
                                       "TemporaryDirectory",
                                       "--syslog-facility",
                                       "--listen-queue-size"};

    for (size_t i = 0; i < COUNT(keys); i++)
        if (str_same_z(key, keys[i]))
            return true;
    return false;
}

void migrate_apply(struct migration *m, const struct migrate_rule *rules, size_t count,
                   const struct migrate_entry *entry)
{
    for (size_t i = 0; i < count; i++) {
        if (!str_same_z(str_of(entry->key), rules[i].key))
            continue;
        if (rules[i].take != NULL)
            rules[i].take(m, entry, rules[i].setting);
        else
            migrate_leave(m, entry, rules[i].why);
        return;
    }
    migrate_leave(
        m, entry,
        is_of_a_daemon(str_of(entry->key))
            ? "nothing asks for it: smtpguard is one daemon, with an address, a user and a log of its own"
            : "this key is not known here");
}

/* ---- written down ---- */

/* In the order of smtpguard.yaml.example. */
static const char *const order[] = {
    "hostname",
    "authserv_id",
    "domains.relay[]",
    "networks[]",
    "limits.message_size",
    "tls.cert",
    "tls.key",
    "dns.servers[]",
    "dns.timeout",
    "dnsbl.reject_score",
    "dnsbl.lists[]",
    "greylist.mode",
    "greylist.when",
    "greylist.delay",
    "greylist.window",
    "greylist.keep",
    "greylist.allow_after",
    "greylist.ipv4_prefix",
    "greylist.ipv6_prefix",
    "greylist.allow[]",
    "greylist.allow_recipients[]",
    "spf.mode",
    "spf.on_fail",
    "spf.on_softfail",
    "spf.on_temperror",
    "spf.on_permerror",
    "dkim.min_rsa_bits",
    "dkim.sign.mode",
    "dkim.sign.signing_table",
    "dkim.sign.key_table",
    "dkim.sign.internal_hosts",
    "dkim.sign.keys[]",
    "dkim.sign.canonicalization",
    "dkim.sign.oversign[]",
    "dmarc.reject",
    "dmarc.from_invalid",
    "reports.from",
    "reports.failure.enabled",
};

/* What must be set, and nobody said. */
static const char *const wanted[][2] = {{"hostname", "mx.example.net"}, {"domains.relay[]", "example.net"}};

static void write_origin(const struct migrate_entry *from, const char *remark, struct buf *out)
{
    if (from->line > 0)
        buf_fmt(out, "   # %s:%u %s", from->file, from->line, from->key);
    else
        buf_fmt(out, "   # %s: %s", from->file, from->key);
    if (remark != NULL)
        buf_fmt(out, "; %s", remark);
    buf_add_char(out, '\n');
}

static void indent(struct buf *out, size_t levels)
{
    for (size_t i = 0; i < levels; i++)
        buf_add_z(out, "  ");
}

/* Writes the keys of the path that the line before did not have, all but the last; says how deep that is. */
static size_t open_maps(struct buf *out, const char *before, const char *setting)
{
    size_t levels = 0, start = 0;
    bool same = true;

    for (size_t i = 0; setting[i] != '\0'; i++) {
        if (setting[i] != '.')
            continue;
        same = same && strncmp(before, setting, i + 1) == 0;
        if (!same) {
            indent(out, levels);
            buf_fmt(out, "%.*s:\n", (int)(i - start), setting + start);
        }
        levels++;
        start = i + 1;
    }
    return levels;
}

static const char *last_key(const char *setting)
{
    const char *dot = strrchr(setting, '.');

    return dot != NULL ? dot + 1 : setting;
}

static void write_setting(const struct migration *m, const char *before, const char *setting, struct buf *out)
{
    size_t levels = open_maps(out, before, setting), n = strlen(last_key(setting));
    bool items = is_item(setting);

    indent(out, levels);
    buf_fmt(out, "%.*s:", (int)(items ? n - 2 : n), last_key(setting));
    if (items)
        buf_add_char(out, '\n');
    for (const struct migrated *each = m->first; each != NULL; each = each->next) {
        if (each->setting == NULL || strcmp(each->setting, setting) != 0)
            continue;
        if (items)
            indent(out, levels + 1);
        buf_fmt(out, items ? "- %s" : " %s", each->value);
        write_origin(&each->from, each->why, out);
    }
}

static const char *wanted_value(const char *setting)
{
    for (size_t i = 0; i < COUNT(wanted); i++)
        if (strcmp(wanted[i][0], setting) == 0)
            return wanted[i][1];
    return NULL;
}

static void write_wanted(const char *before, const char *setting, const char *value, struct buf *out)
{
    size_t levels = open_maps(out, before, setting), n = strlen(last_key(setting));

    indent(out, levels);
    buf_fmt(out, is_item(setting) ? "%.*s: [%s]   # set me\n" : "%.*s: %s   # set me\n",
            (int)(is_item(setting) ? n - 2 : n), last_key(setting), value);
}

static bool is_left_with(const struct migrated *each, const struct migrated *other)
{
    return each->setting == NULL && strcmp(each->from.file, other->from.file) == 0 &&
           strcmp(each->why, other->why) == 0;
}

static bool was_written(const struct migration *m, const struct migrated *left)
{
    for (const struct migrated *each = m->first; each != left; each = each->next)
        if (is_left_with(each, left))
            return true;
    return false;
}

/* Keys of a file that are left for the same reason share a line. */
static void write_left(const struct migration *m, struct buf *out)
{
    if (m->left > 0)
        buf_add_z(out, "\n# Not taken over:\n");
    for (const struct migrated *left = m->first; left != NULL; left = left->next) {
        if (left->setting != NULL || was_written(m, left))
            continue;
        buf_fmt(out, "# %s:", left->from.file);
        for (const struct migrated *each = left; each != NULL; each = each->next)
            if (is_left_with(each, left))
                buf_fmt(out, "%s %s (%u)", each == left ? "" : ",", each->from.key, each->from.line);
        buf_fmt(out, ": %s\n", left->why);
    }
}

void migrate_write_yaml(const struct migration *m, struct buf *out)
{
    const char *before = "";

    buf_add_z(out, "# Made by `smtpguard config migrate`. `smtpguard check-config FILE` says whether "
                   "something is still wrong.\n"
                   "version: 1\n");
    for (size_t i = 0; i < COUNT(order); i++) {
        const char *value = wanted_value(order[i]);

        if (migrate_find(m, order[i]) != NULL)
            write_setting(m, before, order[i], out);
        else if (value != NULL)
            write_wanted(before, order[i], value, out);
        else
            continue;
        before = order[i];
    }
    write_left(m, out);
}

void migrate_write_json(const struct migration *m, struct buf *out)
{
    struct json json;

    json_init(&json, out);
    json_object(&json);
    for (int left = 0; left < 2; left++) {
        json_key(&json, left ? "left" : "taken");
        json_array(&json);
        for (const struct migrated *each = m->first; each != NULL; each = each->next) {
            if ((each->setting == NULL) != (left != 0))
                continue;
            json_object(&json);
            json_put_z(&json, "file", each->from.file);
            json_put_int(&json, "line", each->from.line);
            json_put_z(&json, "key", each->from.key);
            json_put_str(&json, "value", each->from.value);
            if (!left) {
                json_put_z(&json, "setting", each->setting);
                json_put_z(&json, "yaml", each->value);
            }
            json_put_z(&json, left ? "reason" : "remark", each->why);
            json_object_end(&json);
        }
        json_array_end(&json);
    }
    json_object_end(&json);
    buf_add_char(out, '\n');
}
