#include "report/xml.h"

#include "base/bug.h"
#include "smtp/address.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static void flush(struct xml *x)
{
    if (x->n > 0)
        x->sink(str_make(x->piece, x->n), x->arg);
    x->n = 0;
}

static void add(struct xml *x, const char *p, size_t n)
{
    while (n > 0) {
        size_t take = n < XML_PIECE - x->n ? n : XML_PIECE - x->n;

        memcpy(x->piece + x->n, p, take);
        x->n += take;
        p += take;
        n -= take;
        if (x->n == XML_PIECE)
            flush(x);
    }
}

static void add_z(struct xml *x, const char *text)
{
    add(x, text, strlen(text));
}

/* ---- text ---- */

static const char *escaped(char c)
{
    switch (c) {
    case '&':
        return "&amp;";
    case '<':
        return "&lt;";
    case '>':
        return "&gt;";
    case '"':
        return "&quot;";
    case '\t':
    case '\r':
    case '\n':
        return " ";
    default:
        return (unsigned char)c < ' ' || c == 0x7f ? "" : NULL;
    }
}

/* U+FFFE and U+FFFF are UTF-8, but no characters of XML (XML 1.0 2.2). */
static bool is_no_character(struct str s)
{
    return memcmp(s.p, "\xef\xbf\xbe", 3) == 0 || memcmp(s.p, "\xef\xbf\xbf", 3) == 0;
}

static size_t add_beyond_ascii(struct xml *x, struct str s)
{
    size_t n = smtp_utf8_length(s);

    if (n == 0 || (n == 3 && is_no_character(s))) {
        add_z(x, "\xef\xbf\xbd");
        return n == 0 ? 1 : n;
    }
    add(x, s.p, n);
    return n;
}

static void add_text(struct xml *x, struct str text)
{
    while (text.n > 0) {
        const char *instead;
        size_t n = 1;

        if ((unsigned char)text.p[0] >= 0x80)
            n = add_beyond_ascii(x, text);
        else if ((instead = escaped(text.p[0])) != NULL)
            add_z(x, instead);
        else
            add(x, text.p, 1);
        text = str_from(text, n);
    }
}

/* ---- elements ---- */

static void indent(struct xml *x)
{
    for (unsigned i = 0; i < x->depth; i++)
        add_z(x, "  ");
}

static void push(struct xml *x, const char *name)
{
    if (x->depth == XML_DEPTH_MAX)
        bug("XML deeper than %d elements", XML_DEPTH_MAX);
    x->open[x->depth++] = name;
}

void xml_begin(struct xml *x, xml_sink_fn *sink, void *arg, const char *name, const char *xmlns)
{
    x->sink = sink;
    x->arg = arg;
    x->depth = 0;
    x->n = 0;
    add_z(x, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<");
    add_z(x, name);
    if (xmlns != NULL) {
        add_z(x, " xmlns=\"");
        add_z(x, xmlns);
        add_z(x, "\"");
    }
    add_z(x, ">\n");
    push(x, name);
}

void xml_open(struct xml *x, const char *name)
{
    indent(x);
    add_z(x, "<");
    add_z(x, name);
    add_z(x, ">\n");
    push(x, name);
}

void xml_close(struct xml *x)
{
    if (x->depth == 0)
        bug("XML closed once too often");
    x->depth--;
    indent(x);
    add_z(x, "</");
    add_z(x, x->open[x->depth]);
    add_z(x, ">\n");
}

void xml_put(struct xml *x, const char *name, struct str text)
{
    indent(x);
    add_z(x, "<");
    add_z(x, name);
    add_z(x, ">");
    add_text(x, text);
    add_z(x, "</");
    add_z(x, name);
    add_z(x, ">\n");
}

void xml_put_z(struct xml *x, const char *name, const char *text)
{
    xml_put(x, name, str_of(text));
}

void xml_put_number(struct xml *x, const char *name, uint64_t number)
{
    char text[24];

    snprintf(text, sizeof(text), "%" PRIu64, number);
    xml_put_z(x, name, text);
}

void xml_end(struct xml *x)
{
    while (x->depth > 0)
        xml_close(x);
    flush(x);
}
