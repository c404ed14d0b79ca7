#include "base/json.h"

#include "base/utf8.h"

#include <string.h>

void json_init(struct json *j, struct buf *out)
{
    *j = (struct json){.out = out};
}

static void before_value(struct json *j)
{
    if (j->need_comma)
        buf_add_char(j->out, ',');
    j->need_comma = true;
}

static void open_with(struct json *j, char c)
{
    before_value(j);
    buf_add_char(j->out, c);
    j->need_comma = false;
}

static void close_with(struct json *j, char c)
{
    buf_add_char(j->out, c);
    j->need_comma = true;
}

void json_object(struct json *j)
{
    open_with(j, '{');
}

void json_object_end(struct json *j)
{
    close_with(j, '}');
}

void json_array(struct json *j)
{
    open_with(j, '[');
}

void json_array_end(struct json *j)
{
    close_with(j, ']');
}

static bool is_plain(unsigned char c)
{
    return c >= ' ' && c < 0x7f && c != '"' && c != '\\';
}

/* Eight octets at once. With subtraction, an octet below the one subtracted gets its highest bit; a borrow from the octet
 * before only makes one of eight look worse than it is. */
static bool are_plain(const char *p)
{
    const uint64_t ones = 0x0101010101010101u, tops = 0x8080808080808080u;
    uint64_t x, quote, slash, del;

    memcpy(&x, p, sizeof(x));
    quote = x ^ ones * '"';
    slash = x ^ ones * '\\';
    del = x ^ ones * 0x7f;
    return (((x - ones * ' ') | (quote - ones) | (slash - ones) | (del - ones) | x) & tops) == 0;
}

/* How much of s stands for itself: printable ASCII, as most text is. */
static size_t plain_length(struct str s)
{
    size_t n = 0;

    while (n + 8 <= s.n && are_plain(s.p + n))
        n += 8;
    while (n < s.n && is_plain((unsigned char)s.p[n]))
        n++;
    return n;
}

/* What s begins with, in its written form; returns what is behind it. */
static struct str add_character(struct buf *out, struct str s)
{
    unsigned char c = (unsigned char)s.p[0];
    size_t n = utf8_length(s);
    uint32_t code = n > 0 ? utf8_code(s, n) : c;

    if (c == '"' || c == '\\')
        buf_add(out, (const char[]){'\\', (char)c}, 2);
    else if (n == 0 || !utf8_is_harmless(code)) /* all of these have 16 bits at the most */
        buf_fmt(out, "\\u%04x", (unsigned)code);
    else
        buf_add(out, s.p, n);
    return str_from(s, n > 0 ? n : 1);
}

/* Text that stands for itself, in quotes, with a character before and behind it where there is one: most of what is
 * written is such keys and values, so they are worth a step of their own. */
static void add_plain(struct buf *out, char before, struct str s, char behind)
{
    size_t n = s.n + 2 + (before != '\0') + (behind != '\0');
    char *p = buf_reserve(out, n);

    if (p == NULL)
        return;
    if (before != '\0')
        *p++ = before;
    *p++ = '"';
    if (s.n > 0)
        memcpy(p, s.p, s.n);
    p[s.n] = '"';
    if (behind != '\0')
        p[s.n + 1] = behind;
    buf_commit(out, n);
}

static void add_text(struct buf *out, struct str s)
{
    if (plain_length(s) == s.n) {
        add_plain(out, '\0', s, '\0');
        return;
    }
    buf_add_char(out, '"');
    while (s.n > 0) {
        size_t plain = plain_length(s);

        buf_add(out, s.p, plain);
        s = plain > 0 ? str_from(s, plain) : add_character(out, s);
    }
    buf_add_char(out, '"');
}

void json_key(struct json *j, const char *key)
{
    struct str text = str_of(key);

    if (plain_length(text) == text.n) {
        add_plain(j->out, j->need_comma ? ',' : '\0', text, ':');
    } else {
        before_value(j);
        add_text(j->out, text);
        buf_add_char(j->out, ':');
    }
    j->need_comma = false;
}

void json_str(struct json *j, struct str s)
{
    before_value(j);
    add_text(j->out, s);
}

void json_z(struct json *j, const char *text)
{
    if (text == NULL)
        json_null(j);
    else
        json_str(j, str_of(text));
}

void json_int(struct json *j, int64_t value)
{
    uint64_t rest = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    char digits[20], *p = digits + sizeof(digits);

    before_value(j);
    do {
        *--p = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest > 0);
    if (value < 0)
        buf_add_char(j->out, '-');
    buf_add(j->out, p, (size_t)(digits + sizeof(digits) - p));
}

void json_bool(struct json *j, bool value)
{
    before_value(j);
    buf_add_z(j->out, value ? "true" : "false");
}

void json_null(struct json *j)
{
    before_value(j);
    buf_add_z(j->out, "null");
}

void json_put_z(struct json *j, const char *key, const char *text)
{
    json_key(j, key);
    json_z(j, text);
}

void json_put_str(struct json *j, const char *key, struct str s)
{
    json_key(j, key);
    json_str(j, s);
}

void json_put_int(struct json *j, const char *key, int64_t value)
{
    json_key(j, key);
    json_int(j, value);
}

void json_put_bool(struct json *j, const char *key, bool value)
{
    json_key(j, key);
    json_bool(j, value);
}
