#include "base/str.h"

#include "base/bug.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct str str_of(const char *text)
{
    return (struct str){text != NULL ? text : "", text != NULL ? strlen(text) : 0};
}

int ascii_hex(char c)
{
    if (ascii_is_digit(c))
        return c - '0';
    c = ascii_lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool str_eq(struct str a, struct str b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

bool str_same(struct str a, struct str b)
{
    if (a.n != b.n)
        return false;
    for (size_t i = 0; i < a.n; i++)
        if (ascii_lower(a.p[i]) != ascii_lower(b.p[i]))
            return false;
    return true;
}

bool str_eq_z(struct str a, const char *text)
{
    return str_eq(a, str_of(text));
}

bool str_same_z(struct str a, const char *text)
{
    return str_same(a, str_of(text));
}

bool str_starts(struct str s, struct str prefix)
{
    return s.n >= prefix.n && str_eq(str_upto(s, prefix.n), prefix);
}

bool str_starts_same(struct str s, struct str prefix)
{
    return s.n >= prefix.n && str_same(str_upto(s, prefix.n), prefix);
}

bool str_ends_same(struct str s, struct str suffix)
{
    return s.n >= suffix.n && str_same(str_from(s, s.n - suffix.n), suffix);
}

size_t str_find(struct str s, char c)
{
    const char *at = s.n > 0 ? memchr(s.p, c, s.n) : NULL;

    return at != NULL ? (size_t)(at - s.p) : s.n;
}

bool str_has(struct str s, char c)
{
    return str_find(s, c) < s.n;
}

struct str str_from(struct str s, size_t start)
{
    if (start > s.n)
        start = s.n;
    return start == 0 ? s : (struct str){s.p + start, s.n - start}; /* NULL + 0 is undefined in C */
}

struct str str_upto(struct str s, size_t n)
{
    return (struct str){s.p, n < s.n ? n : s.n};
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

struct str str_trim(struct str s)
{
    while (s.n > 0 && is_blank(s.p[0]))
        s = str_from(s, 1);
    while (s.n > 0 && is_blank(s.p[s.n - 1]))
        s.n--;
    return s;
}

bool str_cut(struct str s, char separator, struct str *head_out, struct str *tail_out)
{
    size_t at = str_find(s, separator);
    bool found = at < s.n;

    *head_out = str_upto(s, at);
    *tail_out = str_from(s, found ? at + 1 : at);
    return found;
}

bool str_to_u64(struct str s, uint64_t most, uint64_t *value_out)
{
    uint64_t value = 0;

    if (s.n == 0)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        uint64_t digit = (uint64_t)(s.p[i] - '0');

        if (!ascii_is_digit(s.p[i]) || value > (UINT64_MAX - digit) / 10)
            return false;
        value = value * 10 + digit;
    }
    if (value > most)
        return false;
    *value_out = value;
    return true;
}

bool str_unhex(struct str s, char *out, size_t most, struct str *bytes_out)
{
    if (s.n == 0 || s.n % 2 != 0 || s.n / 2 > most)
        return false;
    for (size_t i = 0; i < s.n; i += 2) {
        int high = ascii_hex(s.p[i]), low = ascii_hex(s.p[i + 1]);

        if (high < 0 || low < 0)
            return false;
        out[i / 2] = (char)(high << 4 | low);
    }
    *bytes_out = str_make(out, s.n / 2);
    return true;
}

char *str_dup(struct arena *mem, struct str s)
{
    char *copy = arena_alloc(mem, s.n + 1);

    if (s.n > 0)
        memcpy(copy, s.p, s.n);
    return copy;
}

char *str_dup_lower(struct arena *mem, struct str s)
{
    char *copy = str_dup(mem, s);

    for (size_t i = 0; i < s.n; i++)
        copy[i] = ascii_lower(copy[i]);
    return copy;
}

char *str_fmt(struct arena *mem, const char *format, ...)
{
    char small[256]; /* most texts fit, and are then formatted once */
    va_list args;
    char *text;
    int n;

    va_start(args, format);
    n = vsnprintf(small, sizeof(small), format, args);
    va_end(args);
    if (n < 0)
        bug("str_fmt: bad format");
    if ((size_t)n < sizeof(small))
        return arena_copy(mem, small, (size_t)n + 1);
    text = arena_alloc(mem, (size_t)n + 1);
    va_start(args, format);
    vsnprintf(text, (size_t)n + 1, format, args);
    va_end(args);
    return text;
}

struct str str_copy(struct arena *mem, struct str s)
{
    return (struct str){str_dup(mem, s), s.n};
}
