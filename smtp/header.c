#include "smtp/header.h"

#include <string.h>

/* Octets of the line that `s` begins with, CRLF included. An LF that stands alone ends no line. */
static size_t line_length(struct str s)
{
    size_t n = 0;

    while (n < s.n) {
        n += str_find(str_from(s, n), '\n');
        if (n < s.n)
            n++;
        if (n >= 2 && s.p[n - 1] == '\n' && s.p[n - 2] == '\r')
            break;
    }
    return n;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* A field with all its continuation lines (RFC 5322 2.2.3). */
static size_t field_length(struct str s)
{
    size_t n = line_length(s);

    while (n < s.n && is_blank(s.p[n]))
        n += line_length(str_from(s, n));
    return n;
}

/* Cuts raw at the colon. Blanks before it are obsolete, but read (RFC 5322 4.5). */
static bool split_field(struct str raw, struct header_field *field)
{
    size_t name = 0, colon;

    while (name < raw.n && raw.p[name] > ' ' && raw.p[name] <= '~' && raw.p[name] != ':')
        name++;
    colon = name;
    while (colon < raw.n && is_blank(raw.p[colon]))
        colon++;
    if (name == 0 || colon == raw.n || raw.p[colon] != ':')
        return false;
    field->raw = raw;
    field->name = str_upto(raw, name);
    field->value = str_from(raw, colon + 1);
    if (str_ends_same(field->value, STR("\r\n")))
        field->value.n -= 2;
    return true;
}

/* Lines that begin a field, as far as fields_max + 1. */
static size_t count_fields(struct str section, size_t fields_max)
{
    size_t count = 0;

    while (section.n > 0 && count <= fields_max) {
        section = str_from(section, field_length(section));
        count++;
    }
    return count;
}

enum header_fault header_parse(struct arena *mem, struct str section, size_t fields_max,
                               struct header *header_out)
{
    struct header_field *fields;
    size_t count;

    *header_out = (struct header){0};
    if (section.n == 0)
        return HEADER_OK;
    if (is_blank(section.p[0]))
        return HEADER_STARTS_FOLDED;
    count = count_fields(section, fields_max);
    if (count > fields_max)
        return HEADER_TOO_MANY;
    header_out->fields = fields = ARENA_ARRAY(mem, struct header_field, count);
    while (section.n > 0) {
        size_t n = field_length(section);

        if (!split_field(str_upto(section, n), &fields[header_out->count]))
            return HEADER_BAD_LINE;
        header_out->count++;
        section = str_from(section, n);
    }
    return HEADER_OK;
}

size_t header_count(const struct header *h, const char *name)
{
    size_t count = 0;

    for (size_t i = 0; i < h->count; i++)
        count += str_same_z(h->fields[i].name, name);
    return count;
}

const struct header_field *header_find(const struct header *h, const char *name)
{
    for (size_t i = 0; i < h->count; i++)
        if (str_same_z(h->fields[i].name, name))
            return &h->fields[i];
    return NULL;
}

struct str header_unfold(struct arena *mem, struct str value)
{
    char *text;
    size_t n = 0;

    value = str_trim(value);
    if (!str_has(value, '\r'))
        return value;
    text = arena_alloc(mem, value.n);
    for (size_t i = 0; i < value.n; i++) {
        if (value.n - i > 2 && value.p[i] == '\r' && value.p[i + 1] == '\n' && is_blank(value.p[i + 2]))
            i++; /* and not the blank: it is the text's own */
        else
            text[n++] = value.p[i];
    }
    return str_make(text, n);
}

size_t header_end(struct str bytes, size_t from)
{
    const char *at;

    if (bytes.n >= 2 && memcmp(bytes.p, "\r\n", 2) == 0)
        return 0; /* no header at all (RFC 5322 3.5) */
    /* What was seen may have ended within CRLF CRLF. */
    from = from > 3 ? from - 3 : 0;
    if (from >= bytes.n)
        return SIZE_MAX;
    at = memmem(bytes.p + from, bytes.n - from, "\r\n\r\n", 4);
    return at != NULL ? (size_t)(at - bytes.p) + 2 : SIZE_MAX;
}
