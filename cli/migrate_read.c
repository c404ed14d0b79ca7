#include "cli/migrate.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The ways in which the programs write their settings down. Controls become "?": what is read is printed again. */

static int read_all(struct migration *m, const char *file, struct str *text_out, struct fail *fail)
{
    int fd = open(file, O_RDONLY | O_CLOEXEC);
    char *octets;
    size_t n = 0;
    ssize_t got;

    if (fd < 0)
        return fail_errno(fail, "cannot open %s", file);
    octets = arena_alloc(m->mem, MIGRATE_BYTES_MAX + 1);
    while (n <= MIGRATE_BYTES_MAX && (got = read(fd, octets + n, MIGRATE_BYTES_MAX + 1 - n)) > 0)
        n += (size_t)got;
    close(fd);
    if (n == 0 && got < 0)
        return fail_errno(fail, "cannot read %s", file);
    if (n > MIGRATE_BYTES_MAX)
        return fail_set(fail, "%s has more than %d octets", file, MIGRATE_BYTES_MAX);
    for (size_t i = 0; i < n; i++)
        if (((unsigned char)octets[i] < ' ' && octets[i] != '\n' && octets[i] != '\t') || octets[i] == 127)
            octets[i] = octets[i] == '\r' ? ' ' : '?';
    *text_out = str_make(octets, n);
    return 0;
}

struct lines {
    struct str rest;
    unsigned line;
};

static bool next_line(struct lines *lines, struct str *line_out)
{
    if (lines->rest.n == 0)
        return false;
    str_cut(lines->rest, '\n', line_out, &lines->rest);
    lines->line++;
    return true;
}

/* A "#" at the beginning, or behind a blank. */
static struct str without_comment(struct str line)
{
    for (size_t i = 0; i < line.n; i++)
        if (line.p[i] == '#' && (i == 0 || line.p[i - 1] == ' ' || line.p[i - 1] == '\t'))
            return str_trim(str_upto(line, i));
    return str_trim(line);
}

static struct migrate_entry entry_of(struct migration *m, const char *file, unsigned line, struct str key,
                                     struct str value)
{
    return (struct migrate_entry){file, line, str_dup(m->mem, str_trim(key)), str_trim(value)};
}

/* Where the key ends. */
typedef size_t key_length_fn(struct str line);

static size_t key_before_blank(struct str line)
{
    size_t n = 0;

    while (n < line.n && line.p[n] != ' ' && line.p[n] != '\t')
        n++;
    return n;
}

static size_t key_before_equals(struct str line)
{
    return str_find(line, '=');
}

static int read_lines(struct migration *m, const char *file, key_length_fn *key_length,
                      const struct migrate_rule *rules, size_t count, struct fail *fail)
{
    struct lines lines = {0};
    struct str line;

    if (read_all(m, file, &lines.rest, fail) != 0)
        return -1;
    while (next_line(&lines, &line)) {
        struct migrate_entry entry;
        size_t n;

        line = without_comment(line);
        if (line.n == 0)
            continue;
        n = key_length(line);
        entry = entry_of(m, file, lines.line, str_upto(line, n), str_from(line, n < line.n ? n + 1 : n));
        migrate_apply(m, rules, count, &entry);
    }
    return 0;
}

int migrate_read_words(struct migration *m, const char *file, const struct migrate_rule *rules, size_t count,
                       struct fail *fail)
{
    return read_lines(m, file, key_before_blank, rules, count, fail);
}

int migrate_read_equals(struct migration *m, const char *file, const struct migrate_rule *rules, size_t count,
                        struct fail *fail)
{
    return read_lines(m, file, key_before_equals, rules, count, fail);
}

/* ---- Postfix: a line that begins with a blank goes on with the one before ---- */

static bool goes_on(const struct lines *lines)
{
    return lines->rest.n > 0 && (lines->rest.p[0] == ' ' || lines->rest.p[0] == '\t');
}

static struct str join(struct migration *m, struct lines *lines, struct str line)
{
    while (goes_on(lines)) {
        struct str more;

        next_line(lines, &more);
        if (str_trim(more).n > 0 && str_trim(more).p[0] != '#')
            line = str_of(str_fmt(m->mem, "%.*s %.*s", STR_ARG(line), STR_ARG(more)));
    }
    return line;
}

int migrate_read_main_cf(struct migration *m, const char *file, struct fail *fail)
{
    struct lines lines = {0};
    struct str line, key, value;

    if (read_all(m, file, &lines.rest, fail) != 0)
        return -1;
    while (next_line(&lines, &line)) {
        unsigned at = lines.line;

        if (str_trim(line).n == 0 || str_trim(line).p[0] == '#')
            continue;
        if (str_cut(join(m, &lines, line), '=', &key, &value)) {
            struct migrate_entry entry = entry_of(m, file, at, key, value);

            migrate_hold(m, &entry, NULL);
        }
    }
    return 0;
}

/* ---- /etc/default: options in a variable ---- */

static bool is_option(struct str word)
{
    return word.n > 1 && word.p[0] == '-';
}

/* "--key=value", "--key value", "--key"; and the one-letter options, whose names are the same with one dash. */
static void apply_options(struct migration *m, const struct migrate_entry *variable, struct str words,
                          const struct migrate_rule *rules, size_t count)
{
    struct str word, key, value;

    while (migrate_next_word(&words, &word)) {
        struct str after = words;
        struct migrate_entry entry;

        if (!is_option(word))
            continue; /* "$POSTGREY_OPTS", what was there before */
        if (!str_cut(word, '=', &key, &value) && migrate_next_word(&after, &value) && !is_option(value))
            words = after;
        else if (!str_has(word, '='))
            value = STR("");
        entry = entry_of(m, variable->file, variable->line, key, value);
        migrate_apply(m, rules, count, &entry);
    }
}

/* What stands between the quotes, which may be several lines that end with a backslash. */
static struct str unquoted(struct migration *m, struct lines *lines, struct str value)
{
    char *text;
    size_t n = 0;

    while (value.n > 0 && value.p[value.n - 1] == '\\' && lines->rest.n > 0) {
        struct str more;

        next_line(lines, &more);
        value = str_of(str_fmt(m->mem, "%.*s %.*s", (int)(value.n - 1), value.p, STR_ARG(str_trim(more))));
    }
    text = arena_alloc(m->mem, value.n + 1);
    for (size_t i = 0; i < value.n; i++)
        if (value.p[i] != '"' && value.p[i] != '\'')
            text[n++] = value.p[i];
    return str_make(text, n);
}

int migrate_read_options(struct migration *m, const char *file, const char *variable,
                         const struct migrate_rule *rules, size_t count, struct fail *fail)
{
    struct lines lines = {0};
    struct str line, key, value;

    if (read_all(m, file, &lines.rest, fail) != 0)
        return -1;
    while (next_line(&lines, &line)) {
        unsigned at = lines.line;

        line = without_comment(line);
        if (str_starts(line, STR("export ")))
            line = str_trim(str_from(line, strlen("export ")));
        if (!str_cut(line, '=', &key, &value) || !str_eq_z(key, variable))
            continue;
        apply_options(m, &(struct migrate_entry){.file = file, .line = at}, unquoted(m, &lines, value), rules,
                      count);
    }
    return 0;
}
