#include "auth/spf_record.h"

#include "auth/spf_macro.h"
#include "base/bug.h"

#include <string.h>

enum argument { NEVER, MAY, MUST };

/* RFC 7208 12: what each mechanism may carry behind its name. */
static const struct mechanism {
    struct str name;
    enum spf_term_kind kind;
    enum argument domain; /* ":" domain-spec */
    bool cidr;            /* dual-cidr-length */
} mechanisms[] = {
    {{"ip4", 3}, SPF_TERM_IP4, NEVER, false},
    {{"ip6", 3}, SPF_TERM_IP6, NEVER, false},
    {{"include", 7}, SPF_TERM_INCLUDE, MUST, false},
    {{"all", 3}, SPF_TERM_ALL, NEVER, false},
    {{"a", 1}, SPF_TERM_A, MAY, true},
    {{"mx", 2}, SPF_TERM_MX, MAY, true},
    {{"exists", 6}, SPF_TERM_EXISTS, MUST, false},
    {{"ptr", 3}, SPF_TERM_PTR, MAY, false},
};

static bool bad(const char **why_out, const char *why)
{
    *why_out = why;
    return false;
}

/* ---- networks ---- */

/* "0" or a number without leading zeros: ip4-cidr-length, ip6-cidr-length. */
static bool read_bits(struct str digits, unsigned most, unsigned char *bits_out)
{
    uint64_t bits;

    if (!str_to_u64(digits, most, &bits) || (digits.n > 1 && digits.p[0] == '0'))
        return false;
    *bits_out = (unsigned char)bits;
    return true;
}

/* Digits at the end of text and what stands before them. */
static struct str cut_last_number(struct str *text)
{
    size_t start = text->n;
    struct str digits;

    while (start > 0 && ascii_is_digit(text->p[start - 1]))
        start--;
    digits = str_from(*text, start);
    *text = str_upto(*text, start);
    return digits;
}

/* Takes dual-cidr-length off the end. Nothing else can end so: a domain-spec ends in a macro or in a top
 * label, and neither has a slash and digits at its end. */
static bool cut_cidr(struct str *text, struct spf_term *term)
{
    struct str before = *text, digits = cut_last_number(&before);

    term->bits4 = 32;
    term->bits6 = 128;
    if (digits.n == 0 || !str_ends_same(before, STR("/")))
        return true;
    if (str_ends_same(before, STR("//"))) {
        if (!read_bits(digits, 128, &term->bits6))
            return false;
        before.n -= 2;
        *text = before;
        digits = cut_last_number(&before);
        if (digits.n == 0 || !str_ends_same(before, STR("/")))
            return true;
    }
    if (!read_bits(digits, 32, &term->bits4))
        return false;
    before.n -= 1;
    *text = before;
    return true;
}

/* base/ip.h makes IPv4 of a mapped address; a network of the record stays what its mechanism says it is, so
 * that "ip6:::ffff:0:0/0" is all of IPv6. */
static struct ip unmap(struct ip ip)
{
    struct ip mapped = {.family = 6, .b = {[10] = 0xff, [11] = 0xff}};

    memcpy(mapped.b + 12, ip.b, 4);
    return mapped;
}

static bool read_net(struct str argument, struct spf_term *term, const char **why_out)
{
    bool is_ip6 = term->kind == SPF_TERM_IP6;
    struct net *net = &term->net;
    struct str address, length;
    bool has_length = str_cut(argument, '/', &address, &length);

    if (str_has(address, ':') != is_ip6 || !ip_parse(address, &net->ip))
        return bad(why_out, is_ip6 ? "an IPv6 network is wanted" : "an IPv4 network is wanted");
    if (is_ip6 && net->ip.family == 4)
        net->ip = unmap(net->ip);
    net->bits = is_ip6 ? 128 : 32;
    if (has_length && !read_bits(length, net->bits, &net->bits))
        return bad(why_out, "the prefix length is wrong");
    return true;
}

/* ---- terms ---- */

/* name = ALPHA *( ALPHA / DIGIT / "-" / "_" / "." ), of mechanisms and modifiers alike. */
static struct str read_name(struct str text)
{
    size_t n = 0;

    if (text.n > 0 && ascii_is_alpha(text.p[0]))
        while (n < text.n &&
               (ascii_is_alnum(text.p[n]) || (text.p[n] != '\0' && strchr("-_.", text.p[n]) != NULL)))
            n++;
    return str_upto(text, n);
}

/* A broken known modifier is not an unknown one. %{c}, %{r} and %{t} are for explanations only (7.2). */
static bool read_modifier(struct str name, struct str value, struct spf_term *term, const char **why_out)
{
    term->kind = str_same(name, STR("redirect")) ? SPF_TERM_REDIRECT
                 : str_same(name, STR("exp"))    ? SPF_TERM_EXP
                                                 : SPF_TERM_UNKNOWN;
    term->domain = value;
    if (term->kind == SPF_TERM_UNKNOWN)
        return spf_macro_check(value, SPF_IN_NAME) || bad(why_out, "the macro string is broken");
    return spf_macro_is_domain_spec(value) || bad(why_out, "a domain is wanted behind \"=\"");
}

static const struct mechanism *find_mechanism(struct str name)
{
    for (size_t i = 0; i < COUNT(mechanisms); i++)
        if (str_same(name, mechanisms[i].name))
            return &mechanisms[i];
    return NULL;
}

/* `rest` is what follows the name. */
static bool read_mechanism(const struct mechanism *mechanism, struct str rest, struct spf_term *term,
                           const char **why_out)
{
    bool has_argument;

    term->kind = mechanism->kind;
    if (mechanism->cidr && !cut_cidr(&rest, term))
        return bad(why_out, "the prefix length is wrong");
    has_argument = rest.n > 0 && rest.p[0] == ':';
    if (rest.n > 0 && !has_argument)
        return bad(why_out, "something odd follows the name");
    if (term->kind == SPF_TERM_IP4 || term->kind == SPF_TERM_IP6)
        return read_net(str_from(rest, 1), term, why_out);
    if (has_argument ? mechanism->domain == NEVER : mechanism->domain == MUST)
        return bad(why_out, has_argument ? "it takes no domain" : "it needs a domain");
    term->domain = str_from(rest, 1);
    return !has_argument || spf_macro_is_domain_spec(term->domain) || bad(why_out, "the domain is broken");
}

static bool read_term(struct str text, struct spf_term *term, const char **why_out)
{
    static const struct str signs = {"+-~?", 4};
    static const enum spf_result results[] = {SPF_PASS, SPF_FAIL, SPF_SOFTFAIL, SPF_NEUTRAL};
    size_t sign = str_find(signs, text.p[0]);
    const struct mechanism *mechanism;
    struct str name;

    memset(term, 0, sizeof(*term));
    term->text = text;
    term->result = sign < signs.n ? results[sign] : SPF_PASS;
    if (sign < signs.n)
        text = str_from(text, 1);
    name = read_name(text);
    text = str_from(text, name.n);
    if (sign == signs.n && name.n > 0 && text.n > 0 && text.p[0] == '=')
        return read_modifier(name, str_from(text, 1), term, why_out);
    mechanism = find_mechanism(name);
    if (mechanism == NULL)
        return bad(why_out, "no such mechanism");
    return read_mechanism(mechanism, text, term, why_out);
}

enum spf_next spf_term_next(struct str *terms, struct spf_term *term_out, const char **why_out)
{
    struct str text;

    while (terms->n > 0 && terms->p[0] == ' ') /* nothing but spaces separates (RFC 7208 4.6.1) */
        *terms = str_from(*terms, 1);
    if (terms->n == 0)
        return SPF_NEXT_END;
    str_cut(*terms, ' ', &text, terms);
    return read_term(text, term_out, why_out) ? SPF_NEXT_TERM : SPF_NEXT_BAD;
}

/* ---- records ---- */

bool spf_record_is_one(struct str txt)
{
    return str_starts_same(txt, STR("v=spf1")) && (txt.n == 6 || txt.p[6] == ' ');
}

/* RFC 7208 6: redirect and exp not more than once each. */
static bool keep_modifier(struct str *place, const struct spf_term *term, const char **why_out)
{
    if (place->n > 0)
        return bad(why_out, "it may be there only once");
    *place = term->domain;
    return true;
}

bool spf_record_parse(struct str txt, struct spf_record *record_out, struct str *bad_out,
                      const char **why_out)
{
    struct spf_term term;
    struct str terms;
    enum spf_next next;

    memset(record_out, 0, sizeof(*record_out));
    *bad_out = str_upto(txt, 6);
    if (!spf_record_is_one(txt))
        return bad(why_out, "no SPF record");
    if (txt.n > SPF_RECORD_MAX)
        return bad(why_out, "the record is too long");
    record_out->terms = terms = str_from(txt, 6);
    while ((next = spf_term_next(&terms, &term, why_out)) == SPF_NEXT_TERM) {
        struct str *place = term.kind == SPF_TERM_REDIRECT ? &record_out->redirect : &record_out->exp;

        *bad_out = term.text;
        if ((term.kind == SPF_TERM_REDIRECT || term.kind == SPF_TERM_EXP) &&
            !keep_modifier(place, &term, why_out))
            return false;
    }
    if (next == SPF_NEXT_BAD)
        *bad_out = term.text;
    return next == SPF_NEXT_END;
}
