#include "smtp/xclient.h"

#include "base/bug.h"
#include "smtp/address.h"
#include "smtp/xtext.h"

#include <string.h>

enum { VALUE_MAX = 255, COMMAND_LINE = 512, ATTRIBUTE_MAX = 16 + VALUE_MAX };

#define UNAVAILABLE "[UNAVAILABLE]"

/* ---- what was heard ---- */

typedef bool take_fn(struct smtp_xclient *x, struct str value);

static bool is_printable(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] < ' ' || s.p[i] > '~')
            return false;
    return true;
}

static bool take_name(struct smtp_xclient *x, struct str value)
{
    x->name = value;
    return smtp_is_domain(value);
}

/* What a client says in HELO need be no name; that is for others to judge. */
static bool take_helo(struct smtp_xclient *x, struct str value)
{
    x->helo = value;
    return is_printable(value);
}

/* User names may be beyond ASCII (RFC 4013). */
static bool take_login(struct smtp_xclient *x, struct str value)
{
    x->login = value;
    while (value.n > 0) {
        size_t wide = smtp_utf8_length(value);

        if (wide == 0 && !is_printable(str_upto(value, 1)))
            return false;
        value = str_from(value, wide > 0 ? wide : 1);
    }
    return true;
}

static bool take_proto(struct smtp_xclient *x, struct str value)
{
    x->esmtp = str_same(value, STR("ESMTP"));
    return x->esmtp || str_same(value, STR("SMTP"));
}

/* An IPv6 address has the prefix IPV6:, and no other has. */
static bool to_ip(struct str value, struct ip *ip_out)
{
    bool six = str_starts_same(value, STR("IPV6:"));

    if (six)
        value = str_from(value, 5);
    return str_has(value, ':') == six && ip_parse(value, ip_out);
}

static bool to_port(struct str value, uint16_t *port_out)
{
    uint64_t number;

    if (value.n > 5 || !str_to_u64(value, UINT16_MAX, &number))
        return false;
    *port_out = (uint16_t)number;
    return true;
}

static bool take_addr(struct smtp_xclient *x, struct str value)
{
    return to_ip(value, &x->addr);
}

static bool take_port(struct smtp_xclient *x, struct str value)
{
    return to_port(value, &x->port);
}

static bool take_dest_addr(struct smtp_xclient *x, struct str value)
{
    return to_ip(value, &x->dest_addr);
}

static bool take_dest_port(struct smtp_xclient *x, struct str value)
{
    return to_port(value, &x->dest_port);
}

static const struct attribute {
    const char *name;
    unsigned bit;
    take_fn *take; /* NULL: XFORWARD only */
    const char *why;
} attributes[] = {
    {"NAME", SMTP_XCLIENT_NAME, take_name, "5.5.4 XCLIENT: NAME is no host name"},
    {"ADDR", SMTP_XCLIENT_ADDR, take_addr, "5.5.4 XCLIENT: ADDR is no address (IPv6 has the prefix IPV6:)"},
    {"PORT", SMTP_XCLIENT_PORT, take_port, "5.5.4 XCLIENT: PORT is no port"},
    {"PROTO", SMTP_XCLIENT_PROTO, take_proto, "5.5.4 XCLIENT: PROTO is SMTP or ESMTP"},
    {"HELO", SMTP_XCLIENT_HELO, take_helo, "5.5.4 XCLIENT: HELO is not printable"},
    {"LOGIN", SMTP_XCLIENT_LOGIN, take_login, "5.5.4 XCLIENT: LOGIN is not printable"},
    {"DESTADDR", SMTP_XCLIENT_DESTADDR, take_dest_addr,
     "5.5.4 XCLIENT: DESTADDR is no address (IPv6 has the prefix IPV6:)"},
    {"DESTPORT", SMTP_XCLIENT_DESTPORT, take_dest_port, "5.5.4 XCLIENT: DESTPORT is no port"},
    {"IDENT", SMTP_XFORWARD_IDENT, NULL, NULL},
    {"SOURCE", SMTP_XFORWARD_SOURCE, NULL, NULL},
};

static const struct attribute *find(struct str name)
{
    for (size_t i = 0; i < COUNT(attributes); i++)
        if (str_same_z(name, attributes[i].name))
            return &attributes[i];
    return NULL;
}

unsigned smtp_xclient_attribute(struct str name)
{
    const struct attribute *a = find(name);

    return a != NULL ? a->bit : 0;
}

/* Without a value for `unavailable`; NULL: fine, else what is wrong. */
static const char *take_value(struct smtp_xclient *x, const struct attribute *a, struct str value)
{
    if (a->bit == SMTP_XCLIENT_NAME && str_same(value, STR("[TEMPUNAVAIL]")))
        x->name_temporary = true;
    else if (a->bit == SMTP_XCLIENT_PROTO || !str_same(value, STR(UNAVAILABLE)))
        return a->take(x, value) ? NULL : a->why;
    x->unavailable |= a->bit;
    return NULL;
}

static const char *take_attribute(struct arena *mem, struct smtp_xclient *x, struct str word)
{
    struct str name, value;
    struct buf plain;
    const char *why = "5.5.4 XCLIENT: a value is too long or no xtext";
    const struct attribute *a;

    if (!str_cut(word, '=', &name, &value) || value.n == 0)
        return "5.5.4 Syntax: XCLIENT attribute=value ...";
    a = find(name);
    if (a == NULL || a->take == NULL)
        return "5.5.4 XCLIENT: unknown attribute";
    if ((x->given & a->bit) != 0)
        return "5.5.4 XCLIENT: the same attribute twice";
    x->given |= a->bit;
    buf_init(&plain, VALUE_MAX);
    if (smtp_xtext_decode(&plain, value))
        why = take_value(x, a, str_copy(mem, buf_str(&plain)));
    buf_fini(&plain);
    return why;
}

bool smtp_xclient_parse(struct arena *mem, struct str argument, struct smtp_xclient *xclient_out,
                        const char **why_out)
{
    struct str rest = str_trim(argument), word;

    *xclient_out = (struct smtp_xclient){0};
    *why_out = NULL;
    while (rest.n > 0 && *why_out == NULL) {
        str_cut(rest, ' ', &word, &rest);
        if (word.n > 0)
            *why_out = take_attribute(mem, xclient_out, word);
    }
    if (xclient_out->given == 0 && *why_out == NULL)
        *why_out = "5.5.4 Syntax: XCLIENT attribute=value ...";
    return *why_out == NULL;
}

/* ---- what is told ---- */

static void add_text(struct buf *out, const char *name, const char *text)
{
    struct buf value;

    buf_init(&value, VALUE_MAX); /* of xtext: receivers count before they decode */
    if (text == NULL || *text == '\0' || !smtp_xtext_encode(&value, str_of(text)))
        buf_fmt(out, " %s=" UNAVAILABLE, name);
    else
        buf_fmt(out, " %s=%.*s", name, STR_ARG(buf_str(&value)));
    buf_fini(&value);
}

static void add_address(struct buf *out, const char *name, const char *addr)
{
    buf_fmt(out, " %s=%s%s", name, strchr(addr, ':') != NULL ? "IPV6:" : "", addr);
}

static void add_attribute(struct buf *out, const struct smtp_identity *who, const struct attribute *a)
{
    switch (a->bit) {
    case SMTP_XCLIENT_NAME:
        add_text(out, a->name, who->name);
        break;
    case SMTP_XCLIENT_ADDR:
        add_address(out, a->name, who->addr);
        break;
    case SMTP_XCLIENT_PORT:
        buf_fmt(out, " %s=%u", a->name, who->port);
        break;
    case SMTP_XCLIENT_PROTO:
        add_text(out, a->name, who->esmtp ? "ESMTP" : "SMTP");
        break;
    case SMTP_XCLIENT_HELO:
        add_text(out, a->name, who->helo);
        break;
    case SMTP_XCLIENT_LOGIN: /* said even when there is none: a kept connection may have had one */
        add_text(out, a->name, who->login);
        break;
    case SMTP_XCLIENT_DESTADDR:
        if (who->dest_addr != NULL)
            add_address(out, a->name, who->dest_addr);
        break;
    case SMTP_XCLIENT_DESTPORT:
        if (who->dest_addr != NULL)
            buf_fmt(out, " %s=%u", a->name, who->dest_port);
        break;
    case SMTP_XFORWARD_IDENT:
        add_text(out, a->name, who->ident);
        break;
    default:
        add_text(out, a->name, who->is_local ? "LOCAL" : "REMOTE");
        break;
    }
}

void smtp_xclient_write(const struct smtp_identity *who, unsigned named, struct buf *out)
{
    for (size_t i = 0; i < COUNT(attributes); i++)
        if ((attributes[i].bit & named & SMTP_XCLIENT_ALL) != 0)
            add_attribute(out, who, &attributes[i]);
}

unsigned smtp_xforward_write(const struct smtp_identity *who, unsigned named, struct buf *out)
{
    unsigned commands = 0;
    size_t line = 0;

    for (size_t i = 0; i < COUNT(attributes); i++) {
        struct buf attribute;

        if ((attributes[i].bit & named & SMTP_XFORWARD_ALL) == 0)
            continue;
        buf_init(&attribute, ATTRIBUTE_MAX);
        add_attribute(&attribute, who, &attributes[i]);
        if (commands == 0 || line + attribute.n + 2 > COMMAND_LINE) {
            buf_add_z(out, commands > 0 ? "\r\nXFORWARD" : "XFORWARD");
            line = 8;
            commands++;
        }
        buf_add_str(out, buf_str(&attribute));
        line += attribute.n;
        buf_fini(&attribute);
    }
    if (commands > 0)
        buf_add_z(out, "\r\n");
    return commands;
}
