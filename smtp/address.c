#include "smtp/address.h"

/* RFC 5321 4.5.3.1 has 64 octets for a local part and 256 for a path, as what everybody must take at the least. Forwarders
 * (SRS) and list software, which write a recipient's address into a sender's, need some more. */
enum { LOCAL_MAX = 64 + 100, DOMAIN_MAX = 255, LABEL_MAX = 63, PATH_MAX_OCTETS = 256 + 100 };

enum fault {
    FINE,
    NO_BRACKET,
    NO_END,
    NOT_ALONE,
    BAD_ROUTE,
    BAD_LOCAL,
    LONG_LOCAL,
    NO_DOMAIN,
    BAD_DOMAIN,
    BAD_LITERAL,
    LONG_PATH,
    EMPTY_FORWARD,
};

#define BOTH(text)                                                                                           \
    {                                                                                                        \
        "5.1.7 Sender address: " text, "5.1.3 Recipient address: " text                                      \
    }
static const char *const sentences[][2] = {
    [NO_BRACKET] = BOTH("must stand in angle brackets, <user@example.org>"),
    [NO_END] = BOTH("the closing angle bracket is missing"),
    [NOT_ALONE] = BOTH("something follows the closing angle bracket without a space"),
    [BAD_ROUTE] = BOTH("malformed source route"),
    [BAD_LOCAL] = BOTH("malformed local part"),
    [LONG_LOCAL] = BOTH("the local part is longer than 164 octets"),
    [NO_DOMAIN] = BOTH("the domain is missing"),
    [BAD_DOMAIN] = BOTH("malformed domain"),
    [BAD_LITERAL] = BOTH("malformed address literal"),
    [LONG_PATH] = BOTH("longer than 356 octets"),
    [EMPTY_FORWARD] = BOTH("the null address cannot receive mail"),
};
#undef BOTH

static bool is_beyond_ascii(char c)
{
    return (unsigned char)c >= 0x80;
}

static bool is_continuation(char c)
{
    return ((unsigned char)c & 0xC0) == 0x80;
}

size_t smtp_utf8_length(struct str s)
{
    unsigned char first = s.n > 0 ? (unsigned char)s.p[0] : 0;
    unsigned char second = s.n > 1 ? (unsigned char)s.p[1] : 0;
    size_t n = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;

    if (first < 0xC2 || first > 0xF4 || s.n < n)
        return 0;
    for (size_t i = 1; i < n; i++)
        if (!is_continuation(s.p[i]))
            return 0;
    if ((first == 0xE0 && second < 0xA0) || (first == 0xF0 && second < 0x90)) /* overlong */
        return 0;
    if ((first == 0xED && second > 0x9F) ||
        (first == 0xF4 && second > 0x8F)) /* surrogates, beyond U+10FFFF */
        return 0;
    return n;
}

static bool is_atext(char c)
{
    return ascii_is_alnum(c) || str_has(STR("!#$%&'*+-/=?^_`{|}~"), c);
}

/* Atoms with single dots between them (RFC 5321 4.1.2); 0: none, or a dot at an edge. */
static size_t dot_string_length(struct str s, bool utf8)
{
    size_t at = 0;
    bool after_dot = true;

    while (at < s.n) {
        size_t wide = utf8 ? smtp_utf8_length(str_from(s, at)) : 0;

        if (wide == 0 && s.p[at] == '.' && after_dot)
            return 0;
        if (wide == 0 && s.p[at] != '.' && !is_atext(s.p[at]))
            break;
        after_dot = wide == 0 && s.p[at] == '.';
        at += wide > 0 ? wide : 1;
    }
    return after_dot ? 0 : at;
}

/* With both quotes; 0: it does not end, or holds what it must not. */
static size_t quoted_string_length(struct str s, bool utf8)
{
    size_t at = 1;

    while (at < s.n && s.p[at] != '"') {
        size_t wide = utf8 ? smtp_utf8_length(str_from(s, at)) : 0;

        if (s.p[at] == '\\')
            at++;
        if (wide == 0 && (at >= s.n || s.p[at] < ' ' || s.p[at] > '~'))
            return 0;
        at += wide > 0 ? wide : 1;
    }
    return at < s.n ? at + 1 : 0;
}

static bool is_label(struct str label)
{
    bool wide = false;

    if (label.n == 0 || label.p[0] == '-' || label.p[label.n - 1] == '-')
        return false;
    for (size_t i = 0; i < label.n; i++)
        wide = wide || is_beyond_ascii(label.p[i]);
    return wide || label.n <= LABEL_MAX; /* of a U-label, its A-label form counts: not known here */
}

static bool is_domain(struct str text)
{
    bool more = text.n > 0 && text.n <= DOMAIN_MAX;

    if (!more)
        return false;
    while (more) {
        struct str label;

        more = str_cut(text, '.', &label, &text);
        if (!is_label(label))
            return false;
    }
    return true;
}

/* How far the characters go that a domain may have; their order is is_domain()'s matter. */
static size_t domain_span(struct str s, bool utf8)
{
    size_t at = 0;

    while (at < s.n) {
        size_t wide = utf8 ? smtp_utf8_length(str_from(s, at)) : 0;

        if (wide == 0 && !ascii_is_alnum(s.p[at]) && s.p[at] != '-' && s.p[at] != '.' && s.p[at] != '_')
            break;
        at += wide > 0 ? wide : 1;
    }
    return at;
}

bool smtp_is_domain(struct str text)
{
    return domain_span(text, false) == text.n && is_domain(text);
}

bool smtp_is_address_literal(struct str text, struct ip *ip_out)
{
    struct str inside;
    bool six;

    if (text.n < 2 || text.p[0] != '[' || text.p[text.n - 1] != ']')
        return false;
    inside = str_make(text.p + 1, text.n - 2);
    six = str_starts_same(inside, STR("IPv6:"));
    if (six)
        inside = str_from(inside, 5);
    return six == str_has(inside, ':') && ip_parse(inside, ip_out);
}

/* "[tag:content]", for protocols still to be invented (RFC 5321 4.1.3); not an IPv6 address without its tag.
 */
static bool is_general_literal(struct str text)
{
    struct str inside = str_make(text.p + 1, text.n - 2), tag, content;
    struct ip ip;

    if (!str_cut(inside, ':', &tag, &content) || content.n == 0 || ip_parse(inside, &ip))
        return false;
    if (str_same_z(tag, "IPv6") || tag.n == 0 || !ascii_is_alnum(tag.p[tag.n - 1]))
        return false;
    for (size_t i = 0; i < tag.n; i++)
        if (!ascii_is_alnum(tag.p[i]) && tag.p[i] != '-')
            return false;
    for (size_t i = 0; i < content.n; i++)
        if (content.p[i] <= ' ' || content.p[i] > '~' || str_has(STR("[\\]"), content.p[i]))
            return false;
    return true;
}

static enum fault take_domain(struct str *s, bool utf8, struct smtp_address *a)
{
    size_t n;

    if (s->n == 0 || s->p[0] != '[') {
        n = domain_span(*s, utf8);
        a->kind = SMTP_DOMAIN_NAME;
    } else {
        n = str_find(*s, ']') + 1;
        a->kind = SMTP_DOMAIN_LITERAL;
        if (n > s->n || n > DOMAIN_MAX)
            return BAD_LITERAL;
    }
    a->domain = str_upto(*s, n);
    *s = str_from(*s, n);
    if (a->kind == SMTP_DOMAIN_NAME)
        return n == 0 ? NO_DOMAIN : is_domain(a->domain) ? FINE : BAD_DOMAIN;
    if (!smtp_is_address_literal(a->domain, &a->literal) && !is_general_literal(a->domain))
        return BAD_LITERAL;
    return FINE;
}

/* Takes Local-part "@" ( Domain / address-literal ) from the front. Without "@", kind stays NONE. */
static enum fault take_mailbox(struct str *s, bool utf8, struct smtp_address *a)
{
    struct str start = *s;
    bool quoted = s->n > 0 && s->p[0] == '"';
    size_t n = quoted ? quoted_string_length(*s, utf8) : dot_string_length(*s, utf8);
    enum fault fault;

    if (n == 0)
        return BAD_LOCAL;
    if (n > LOCAL_MAX)
        return LONG_LOCAL;
    a->local = a->text = str_upto(*s, n);
    *s = str_from(*s, n);
    if (s->n == 0 || s->p[0] == '>')
        return NO_DOMAIN;
    if (s->p[0] != '@')
        return BAD_LOCAL;
    *s = str_from(*s, 1);
    fault = take_domain(s, utf8, a);
    a->text = str_upto(start, start.n - s->n);
    return fault;
}

/* "@a.example,@b.example:", which must be understood and should be ignored (RFC 5321 appendix C). */
static enum fault skip_source_route(struct str *s, bool utf8)
{
    struct smtp_address hop;

    while (s->n > 0 && s->p[0] == '@') {
        *s = str_from(*s, 1);
        if (take_domain(s, utf8, &hop) != FINE || hop.kind != SMTP_DOMAIN_NAME || s->n == 0)
            return BAD_ROUTE;
        if (s->p[0] == ':') {
            *s = str_from(*s, 1);
            return FINE;
        }
        if (s->p[0] != ',')
            return BAD_ROUTE;
        *s = str_from(*s, 1);
    }
    return BAD_ROUTE;
}

/* The one mailbox that needs no domain (RFC 5321 4.1.1.3). */
static bool is_postmaster(const struct smtp_address *a)
{
    return a->kind == SMTP_DOMAIN_NONE && str_same_z(a->text, "postmaster");
}

static enum fault take_path(struct str *s, enum smtp_path_kind kind, bool utf8, struct smtp_address *a)
{
    struct str start = *s;
    enum fault fault = FINE;

    if (s->n == 0 || s->p[0] != '<')
        return NO_BRACKET;
    *s = str_from(*s, 1);
    if (s->n > 0 && s->p[0] == '@')
        fault = skip_source_route(s, utf8);
    else if (s->n > 0 && s->p[0] == '>') {
        a->text = a->local = a->domain = str_upto(*s, 0);
        *s = str_from(*s, 1);
        return kind == SMTP_PATH_REVERSE ? FINE : EMPTY_FORWARD;
    }
    if (fault == FINE)
        fault = take_mailbox(s, utf8, a);
    if (fault == NO_DOMAIN && kind == SMTP_PATH_FORWARD && a->text.p == start.p + 1 && is_postmaster(a))
        fault = FINE;
    if (fault != FINE)
        return fault;
    if (s->n == 0 || s->p[0] != '>')
        return a->kind == SMTP_DOMAIN_NAME && s->n > 0 ? BAD_DOMAIN : NO_END;
    *s = str_from(*s, 1);
    return start.n - s->n > PATH_MAX_OCTETS ? LONG_PATH : FINE;
}

bool smtp_path_parse(struct str text, enum smtp_path_kind kind, bool utf8, struct smtp_address *address_out,
                     struct str *rest_out, const char **why_out)
{
    enum fault fault;

    *address_out = (struct smtp_address){0};
    *why_out = NULL;
    fault = take_path(&text, kind, utf8, address_out);
    if (fault == FINE && text.n > 0 && text.p[0] != ' ')
        fault = NOT_ALONE;
    *rest_out = text;
    if (fault == FINE)
        return true;
    *why_out = sentences[fault][kind == SMTP_PATH_FORWARD];
    return false;
}

bool smtp_mailbox_parse(struct str text, bool utf8, struct smtp_address *address_out)
{
    *address_out = (struct smtp_address){0};
    return take_mailbox(&text, utf8, address_out) == FINE && text.n == 0;
}

bool smtp_address_same(const struct smtp_address *a, const struct smtp_address *b)
{
    return str_eq(a->local, b->local) && str_same(a->domain, b->domain);
}
