#include "auth/spf_macro.h"

#include "dns/dns.h"

#include <stdio.h>
#include <string.h>

enum { PARTS_MOST = 100000, NAME_KEEP = SPF_TEXT_MAX / 2, VALUE_MAX = 64 + 1 };

/* ---- reading ---- */

static bool is_macro_letter(char letter, enum spf_macro_use use)
{
    if (use == SPF_IN_EXPLANATION && (letter == 'c' || letter == 'r' || letter == 't'))
        return true;
    return letter != '\0' && strchr("slodipvh", letter) != NULL;
}

/* transformers = *DIGIT [ "r" ]; the number must not be zero (RFC 7208 7.3). */
static bool read_transformers(struct str *inside, struct spf_piece *piece)
{
    size_t digits = 0;

    while (digits < inside->n && ascii_is_digit(inside->p[digits])) {
        if (piece->parts < PARTS_MOST)
            piece->parts = piece->parts * 10 + (unsigned)(inside->p[digits] - '0');
        digits++;
    }
    if (digits > 0 && piece->parts == 0)
        return false;
    *inside = str_from(*inside, digits);
    if (inside->n > 0 && ascii_lower(inside->p[0]) == 'r') {
        piece->reverse = true;
        *inside = str_from(*inside, 1);
    }
    return true;
}

/* What stands between "%{" and "}". */
static bool read_braces(struct str inside, enum spf_macro_use use, struct spf_piece *piece)
{
    if (inside.n == 0)
        return false;
    piece->letter = ascii_lower(inside.p[0]);
    piece->escape = piece->letter != inside.p[0];
    if (!is_macro_letter(piece->letter, use))
        return false;
    inside = str_from(inside, 1);
    if (!read_transformers(&inside, piece))
        return false;
    for (size_t i = 0; i < inside.n; i++)
        if (!str_has(STR(".-+,/_="), inside.p[i]))
            return false;
    piece->delimiters = inside;
    return true;
}

static bool read_expand(struct str *rest, enum spf_macro_use use, struct spf_piece *piece)
{
    char sign = rest->n > 1 ? rest->p[1] : '\0';
    size_t close;

    piece->is_expand = true;
    if (sign == '{') {
        close = str_find(*rest, '}');
        if (close == rest->n || !read_braces(str_make(rest->p + 2, close - 2), use, piece))
            return false;
        *rest = str_from(*rest, close + 1);
        return true;
    }
    if (sign != '%' && sign != '_' && sign != '-')
        return false;
    piece->literal = sign == '%' ? STR("%") : sign == '_' ? STR(" ") : STR("%20");
    *rest = str_from(*rest, 2);
    return true;
}

static bool is_literal(char c, enum spf_macro_use use)
{
    return (c > ' ' && c < 0x7f && c != '%') || (c == ' ' && use == SPF_IN_EXPLANATION);
}

bool spf_piece_next(struct str *rest, enum spf_macro_use use, struct spf_piece *piece_out)
{
    size_t n = 0;

    memset(piece_out, 0, sizeof(*piece_out));
    while (n < rest->n && is_literal(rest->p[n], use))
        n++;
    if (n == 0)
        return rest->n > 0 && rest->p[0] == '%' && read_expand(rest, use, piece_out);
    piece_out->literal = str_upto(*rest, n);
    *rest = str_from(*rest, n);
    return true;
}

bool spf_macro_check(struct str text, enum spf_macro_use use)
{
    struct spf_piece piece;

    while (text.n > 0)
        if (!spf_piece_next(&text, use, &piece))
            return false;
    return true;
}

bool spf_macro_uses(struct str text, enum spf_macro_use use, char letter)
{
    struct spf_piece piece;

    while (text.n > 0 && spf_piece_next(&text, use, &piece))
        if (piece.letter == letter)
            return true;
    return false;
}

/* toplabel: letters, digits and inner hyphens, not digits alone. */
static bool is_top_label(struct str label)
{
    bool digits_only = true;

    if (label.n == 0 || label.p[0] == '-' || label.p[label.n - 1] == '-')
        return false;
    for (size_t i = 0; i < label.n; i++) {
        if (!ascii_is_alnum(label.p[i]) && label.p[i] != '-')
            return false;
        digits_only = digits_only && ascii_is_digit(label.p[i]);
    }
    return !digits_only;
}

/* domain-end = ( "." toplabel [ "." ] ) / macro-expand */
static bool is_domain_end(const struct spf_piece *last)
{
    struct str text = last->literal;
    size_t dot;

    if (last->is_expand)
        return true;
    if (text.n > 0 && text.p[text.n - 1] == '.')
        text.n--;
    for (dot = text.n; dot > 0 && text.p[dot - 1] != '.'; dot--)
        ;
    return dot > 0 && is_top_label(str_from(text, dot));
}

bool spf_macro_is_domain_spec(struct str text)
{
    struct spf_piece piece;

    if (text.n == 0)
        return false;
    while (text.n > 0)
        if (!spf_piece_next(&text, SPF_IN_NAME, &piece))
            return false;
    return is_domain_end(&piece);
}

/* ---- filling in ---- */

/* Of a name only the right-hand end counts: the left is dropped as the text grows. An explanation that
 * does not fit is lost whole. */
struct sink {
    enum spf_macro_use use;
    size_t n;
    bool lost;
    char bytes[SPF_TEXT_MAX];
};

static void put(struct sink *sink, char c)
{
    if (sink->n == sizeof(sink->bytes)) {
        sink->lost = true;
        if (sink->use == SPF_IN_EXPLANATION)
            return;
        memmove(sink->bytes, sink->bytes + sink->n - NAME_KEEP, NAME_KEEP);
        sink->n = NAME_KEEP;
    }
    sink->bytes[sink->n++] = c;
}

static void put_str(struct sink *sink, struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        put(sink, s.p[i]);
}

/* RFC 3986 2.3: everything but the unreserved characters. */
static void put_escaped(struct sink *sink, char c)
{
    static const char hex[] = "0123456789ABCDEF";
    unsigned char octet = (unsigned char)c;

    if (ascii_is_alnum(c) || (c != '\0' && strchr("-._~", c) != NULL)) {
        put(sink, c);
        return;
    }
    put(sink, '%');
    put(sink, hex[octet >> 4]);
    put(sink, hex[octet & 15]);
}

/* The address with a dot between bytes (IPv4) or nibbles (IPv6), most significant first. */
static struct str dotted(const struct ip *ip, char scratch[VALUE_MAX])
{
    static const char hex[] = "0123456789ABCDEF";
    size_t n = 0;

    if (ip->family != 6)
        return str_of(ip_format(ip, scratch));
    for (size_t i = 0; i < 32; i++) {
        scratch[n++] = hex[i % 2 == 0 ? ip->b[i / 2] >> 4 : ip->b[i / 2] & 15];
        scratch[n++] = '.';
    }
    return str_make(scratch, n - 1);
}

static struct str value_of(char letter, const struct spf_values *values, char scratch[VALUE_MAX])
{
    switch (letter) {
    case 's':
        return values->sender;
    case 'l':
        return values->local;
    case 'o':
        return values->sender_domain;
    case 'd':
        return values->domain;
    case 'h':
        return values->helo;
    case 'p':
        return values->host.n > 0 ? values->host : STR("unknown");
    case 'r':
        return values->receiver.n > 0 ? values->receiver : STR("unknown");
    case 'i':
        return dotted(&values->client, scratch);
    case 'v':
        return values->client.family == 6 ? STR("ip6") : STR("in-addr");
    case 'c':
        return str_of(ip_format(&values->client, scratch));
    default: /* 't' */
        snprintf(scratch, VALUE_MAX, "%lld", (long long)values->now_unix);
        return str_of(scratch);
    }
}

static void put_part(struct sink *sink, const struct spf_piece *piece, struct str part, bool *first)
{
    if (!*first)
        put(sink, '.');
    *first = false;
    for (size_t i = 0; i < part.n; i++) {
        if (piece->escape)
            put_escaped(sink, part.p[i]);
        else
            put(sink, part.p[i]);
    }
}

/* Each delimiter ends a part; the parts are joined by dots again, whatever split them (RFC 7208 7.3). After
 * reversal, the right-hand parts are the first ones of the value. */
static void put_parts(struct sink *sink, const struct spf_piece *piece, struct str value)
{
    struct str delimiters = piece->delimiters.n > 0 ? piece->delimiters : STR(".");
    size_t count = 1, seen = 0, from = 0, to;
    bool first = true;

    for (size_t i = 0; i < value.n; i++)
        count += str_has(delimiters, value.p[i]);
    if (!piece->reverse) {
        size_t skip = piece->parts > 0 && piece->parts < count ? count - piece->parts : 0;

        for (to = 0; to <= value.n; to++) {
            if (to < value.n && !str_has(delimiters, value.p[to]))
                continue;
            if (seen++ >= skip)
                put_part(sink, piece, str_make(value.p + from, to - from), &first);
            from = to + 1;
        }
        return;
    }
    if (piece->parts > 0 && piece->parts < count) { /* only the first `parts` of them: find their end */
        for (to = 0; to < value.n; to++)
            if (str_has(delimiters, value.p[to]) && ++seen == piece->parts)
                break;
        value.n = to;
    }
    for (from = to = value.n;; from--) {
        if (from > 0 && !str_has(delimiters, value.p[from - 1]))
            continue;
        put_part(sink, piece, str_make(value.p + from, to - from), &first);
        if (from == 0)
            return;
        to = from - 1;
    }
}

static void put_value(struct sink *sink, const struct spf_piece *piece, const struct spf_values *values)
{
    char scratch[VALUE_MAX];
    struct str value = value_of(piece->letter, values, scratch);
    bool first = true;

    if (piece->parts > 0 || piece->reverse || piece->delimiters.n > 0)
        put_parts(sink, piece, value);
    else
        put_part(sink, piece, value, &first);
}

static bool expand(struct sink *sink, struct str text, const struct spf_values *values)
{
    struct spf_piece piece;

    while (text.n > 0) {
        if (!spf_piece_next(&text, sink->use, &piece))
            return false;
        if (piece.letter != '\0')
            put_value(sink, &piece, values);
        else
            put_str(sink, piece.literal);
    }
    return true;
}

static bool is_ascii(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] >= 0x80 || s.p[i] == '\0')
            return false;
    return true;
}

const char *spf_macro_name(struct arena *mem, struct str domain_spec, const struct spf_values *values)
{
    struct sink sink;
    struct str name;

    sink.use = SPF_IN_NAME;
    sink.n = 0;
    sink.lost = false;
    if (!expand(&sink, domain_spec, values))
        return NULL;
    name = str_make(sink.bytes, sink.n);
    if (name.n > 0 && name.p[name.n - 1] == '.')
        name.n--;
    while (name.n > DNS_NAME_MAX) /* RFC 7208 7.3: labels are removed from the left until it fits */
        name = str_from(name, str_find(name, '.') + 1);
    return name.n > 0 && is_ascii(name) ? str_dup(mem, name) : NULL;
}

const char *spf_macro_explanation(struct arena *mem, struct str text, const struct spf_values *values)
{
    struct sink sink;

    sink.use = SPF_IN_EXPLANATION;
    sink.n = 0;
    sink.lost = false;
    if (!expand(&sink, text, values) || sink.lost)
        return NULL;
    for (size_t i = 0; i < sink.n; i++)
        if (sink.bytes[i] < ' ' || sink.bytes[i] > '~')
            sink.bytes[i] = '?'; /* RFC 7208 6.2: it is meant for an SMTP reply, which is ASCII */
    return str_dup(mem, str_make(sink.bytes, sink.n));
}
