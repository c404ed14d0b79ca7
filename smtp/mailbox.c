#include "smtp/mailbox.h"

#include "smtp/address.h"

#include "base/buf.h"

#include <idn2.h>
#include <string.h>

enum { MAILBOX_DOMAIN_MAX = 255 };

/* One pass over the value. `used` octets of `text` hold the local parts found so far, unquoted; all of them
 * together are never longer than the value. */
struct reader {
    struct arena *mem;
    struct str rest;
    char *text;
    size_t used;
    size_t room; /* for boxes */
    size_t hops; /* of routes: each costs a conversion of its domain */
    const char *why;
    struct mailbox_list *list;
};

static bool refuse(struct reader *r, const char *why)
{
    r->why = why;
    return false;
}

static char peek(const struct reader *r)
{
    return r->rest.n > 0 ? r->rest.p[0] : '\0';
}

static void skip(struct reader *r, size_t n)
{
    r->rest = str_from(r->rest, n);
}

static bool take(struct reader *r, char c)
{
    if (r->rest.n == 0 || r->rest.p[0] != c)
        return false;
    skip(r, 1);
    return true;
}

static bool is_beyond_ascii(char c)
{
    return (unsigned char)c >= 0x80;
}

/* Octets beyond ASCII stand here like letters (RFC 6532 3.2), in whatever charset: they are no specials in
 * any that mail uses raw, and addresses are held to UTF-8 further down. */
static bool is_atext(char c)
{
    return ascii_is_alnum(c) || is_beyond_ascii(c) || str_has(STR("!#$%&'*+-/=?^_`{|}~"), c);
}

static bool is_text(char c)
{
    return (c >= ' ' && c <= '~') || c == '\t' || is_beyond_ascii(c);
}

static bool starts_with_fold(struct str s)
{
    return s.n > 2 && s.p[0] == '\r' && s.p[1] == '\n' && (s.p[2] == ' ' || s.p[2] == '\t');
}

/* An octet of a comment, a quoted string or a literal to *c_out. "\" quotes the next one, and of a fold only
 * the blank behind it counts (RFC 5322 3.2.1, 3.2.2). */
static bool take_inside(struct reader *r, char *c_out, bool *quoted_out)
{
    *quoted_out = false;
    if (starts_with_fold(r->rest))
        skip(r, 2);
    else
        *quoted_out = take(r, '\\');
    if (r->rest.n == 0 || !is_text(r->rest.p[0]))
        return false;
    *c_out = r->rest.p[0];
    skip(r, 1);
    return true;
}

/* Comments nest; they are counted, so that depth costs nothing (RFC 5322 3.2.2). */
static bool skip_comment(struct reader *r)
{
    size_t depth = 0;

    do {
        bool quoted;
        char c;

        if (!take_inside(r, &c, &quoted))
            return refuse(r, "a comment does not end");
        if (!quoted && c == '(')
            depth++;
        else if (!quoted && c == ')')
            depth--;
    } while (depth > 0);
    return true;
}

static bool skip_cfws(struct reader *r)
{
    for (;;) {
        if (starts_with_fold(r->rest))
            skip(r, 3);
        else if (peek(r) == ' ' || peek(r) == '\t')
            skip(r, 1);
        else if (peek(r) != '(')
            return true;
        else if (!skip_comment(r))
            return false;
    }
}

static void put(struct reader *r, char c)
{
    r->text[r->used++] = c;
}

static bool take_quoted_string(struct reader *r)
{
    bool quoted;
    char c;

    skip(r, 1);
    for (;;) {
        if (!take_inside(r, &c, &quoted))
            return refuse(r, "a quoted string does not end");
        if (c == '"' && !quoted)
            return true;
        put(r, c);
    }
}

static size_t atom_length(struct str s)
{
    size_t n = 0;

    while (n < s.n && is_atext(s.p[n]))
        n++;
    return n;
}

static bool take_atom(struct reader *r)
{
    size_t n = atom_length(r->rest);

    for (size_t i = 0; i < n; i++)
        put(r, r->rest.p[i]);
    skip(r, n);
    return n > 0;
}

/* ---- words: what may become a local part, a display name or a group's name ---- */

struct words {
    bool any;       /* a word or a dot */
    bool is_local;  /* word *("." word): a local part, perhaps an obsolete one (RFC 5322 4.4) */
    bool is_phrase; /* words, and dots behind the first (RFC 5322 4.1) */
};

static bool take_words(struct reader *r, struct words *w)
{
    bool after_word = false;

    *w = (struct words){.is_local = true};
    for (;;) {
        char c;

        if (!skip_cfws(r))
            return false;
        c = peek(r);
        if (c == '.') {
            put(r, c);
            skip(r, 1);
            w->any = true;
            w->is_local = w->is_local && after_word;
            after_word = false;
            continue;
        }
        if (c != '"' && atom_length(str_upto(r->rest, 1)) == 0)
            break;
        if (c == '"' ? !take_quoted_string(r) : !take_atom(r))
            return false;
        w->is_local = w->is_local && !after_word;
        w->is_phrase = w->is_phrase || !w->any;
        w->any = after_word = true;
    }
    w->is_local = w->is_local && after_word;
    return true;
}

/* ---- domains ---- */

/* A label beyond ASCII as A-label. What libidn2 maps to plain ASCII (a long s, fullwidth letters) or cuts in
 * two (an ideographic full stop) only looks like the name it becomes; RFC 5890 2.3.2.1 has no U-label like
 * that. */
static bool add_u_label(struct buf *out, struct str label)
{
    char z[MAILBOX_DOMAIN_MAX + 1], *ascii = NULL;
    bool good;

    if (label.n > MAILBOX_DOMAIN_MAX || str_has(label, '\0'))
        return false;
    memcpy(z, label.p, label.n);
    z[label.n] = '\0';
    if (idn2_to_ascii_8z(z, &ascii, IDN2_NONTRANSITIONAL | IDN2_NFC_INPUT) != IDN2_OK)
        return false;
    good = str_starts(str_of(ascii), STR("xn--")) && !str_has(str_of(ascii), '.') && buf_add_z(out, ascii);
    idn2_free(ascii);
    return good;
}

static bool add_label(struct buf *out, struct str label)
{
    for (size_t i = 0; i < label.n; i++)
        if (is_beyond_ascii(label.p[i]))
            return add_u_label(out, label);
    /* libidn2 refuses names that DNS has ("ab--cd"), so what is ASCII does not pass through it. */
    for (size_t i = 0; i < label.n; i++)
        if (!buf_add_char(out, ascii_lower(label.p[i])))
            return false;
    return true;
}

const char *mailbox_domain_to_ascii(struct arena *mem, struct str domain)
{
    struct buf out;
    const char *name = NULL;
    bool good = true, more = true;

    if (domain.n > 1 && domain.p[domain.n - 1] == '.')
        domain.n--;
    buf_init(&out, MAILBOX_DOMAIN_MAX);
    while (good && more) {
        struct str label;

        more = str_cut(domain, '.', &label, &domain);
        good = add_label(&out, label) && (!more || buf_add_char(&out, '.'));
    }
    if (good && smtp_is_domain(buf_str(&out)))
        name = str_dup(mem, buf_str(&out));
    buf_fini(&out);
    return name;
}

/* "[" *dtext "]": kept as written, without blanks and folds at the edges of it. */
static bool take_literal(struct reader *r, struct str *domain_out)
{
    size_t start = r->used;
    char c;

    for (;;) {
        bool quoted;

        if (r->used > start && peek(r) == '[')
            return refuse(r, "a malformed domain literal");
        if (!take_inside(r, &c, &quoted) || quoted)
            return refuse(r, "a malformed domain literal");
        if (c != ' ' && c != '\t')
            put(r, c);
        if (c == ']')
            break;
    }
    *domain_out = str_make(r->text + start, r->used - start);
    return skip_cfws(r);
}

/* atom *("." atom), with blanks and comments round each (obs-domain, RFC 5322 4.4), or a literal. */
static bool take_domain(struct reader *r, struct str *domain_out)
{
    size_t start;
    const char *ascii;

    if (!skip_cfws(r))
        return false;
    if (peek(r) == '[')
        return take_literal(r, domain_out);
    start = r->used;
    do {
        if (r->used > start)
            put(r, '.');
        if (!skip_cfws(r))
            return false;
        if (!take_atom(r))
            return refuse(r, "a malformed domain");
        if (!skip_cfws(r))
            return false;
    } while (take(r, '.'));
    ascii = mailbox_domain_to_ascii(r->mem, str_make(r->text + start, r->used - start));
    r->used = start;
    *domain_out = str_of(ascii);
    return ascii != NULL || refuse(r, "a domain that is no domain name");
}

/* ---- addresses ---- */

static bool is_utf8(struct str s)
{
    while (s.n > 0) {
        size_t n = is_beyond_ascii(s.p[0]) ? smtp_utf8_length(s) : 1;

        if (n == 0)
            return false;
        s = str_from(s, n);
    }
    return true;
}

/* Behind the local part, which begins at `start` of the text. */
static bool take_at_domain(struct reader *r, size_t start)
{
    struct mailbox box = {.local = str_make(r->text + start, r->used - start)};

    if (!is_utf8(box.local))
        return refuse(r, "a local part that is not UTF-8");
    if (!take(r, '@'))
        return refuse(r, "an address without @");
    if (!take_domain(r, &box.domain))
        return false;
    if (r->list->count >= r->room)
        return refuse(r, "too many addresses");
    r->list->boxes[r->list->count++] = box;
    return true;
}

/* "@a.example,@b.example:", obsolete (RFC 5322 4.4): the address behind it counts. */
static bool skip_route(struct reader *r)
{
    struct str hop;

    do {
        if (!skip_cfws(r))
            return false;
        if (!take(r, '@'))
            continue;
        if (++r->hops > MAILBOX_MOST)
            return refuse(r, "too many routes");
        if (!take_domain(r, &hop))
            return false;
    } while (take(r, ','));
    return take(r, ':') || refuse(r, "a malformed route");
}

static bool take_angle_address(struct reader *r)
{
    struct words local;
    size_t start;

    if (!skip_cfws(r))
        return false;
    if ((peek(r) == '@' || peek(r) == ',') && !skip_route(r))
        return false;
    start = r->used;
    if (!take_words(r, &local))
        return false;
    if (!local.is_local)
        return refuse(r, "a malformed local part");
    if (!take_at_domain(r, start))
        return false;
    if (!take(r, '>'))
        return refuse(r, "an angle bracket that does not close");
    return skip_cfws(r);
}

static bool take_address(struct reader *r, bool in_group);

/* group-list (RFC 5322 3.4), with the empty elements of its obsolete form. */
static bool take_group(struct reader *r)
{
    do {
        if (!skip_cfws(r))
            return false;
        if (peek(r) != ',' && peek(r) != ';' && !take_address(r, true))
            return false;
    } while (take(r, ','));
    if (!take(r, ';'))
        return refuse(r, "a group that does not end");
    return skip_cfws(r);
}

/* mailbox / group. What was read as words is a name or a local part: the octet behind decides. */
static bool take_address(struct reader *r, bool in_group)
{
    size_t start = r->used;
    struct words w;

    if (!take_words(r, &w))
        return false;
    if (peek(r) == '@')
        return w.is_local ? take_at_domain(r, start) : refuse(r, "a malformed local part");
    r->used = start;
    if (w.any && !w.is_phrase)
        return refuse(r, "a malformed display name");
    if (take(r, '<'))
        return take_angle_address(r);
    if (w.any && !in_group && take(r, ':'))
        return take_group(r);
    return refuse(r, w.any ? "a name without an address" : "an octet that has no place here");
}

static bool take_list(struct reader *r, bool *empty_out)
{
    *empty_out = true;
    do {
        if (!skip_cfws(r))
            return false;
        if (r->rest.n == 0 || peek(r) == ',')
            continue; /* an empty element, obsolete but harmless (RFC 5322 4.4) */
        *empty_out = false;
        if (!take_address(r, false))
            return false;
    } while (take(r, ','));
    return r->rest.n == 0 || refuse(r, "something follows an address");
}

/* There is a comma between any two addresses. */
static size_t addresses_at_most(struct str value)
{
    size_t count = 1;

    for (size_t i = 0; i < value.n && count < MAILBOX_MOST; i++)
        count += value.p[i] == ',';
    return count;
}

enum mailbox_status mailbox_list_parse(struct arena *mem, struct str value, struct mailbox_list *list_out,
                                       const char **why_out)
{
    struct reader r = {.mem = mem, .rest = value, .list = list_out, .room = addresses_at_most(value)};
    bool empty, good;

    r.text = arena_alloc(mem, value.n + 1);
    *list_out = (struct mailbox_list){.boxes = ARENA_ARRAY(mem, struct mailbox, r.room)};
    good = take_list(&r, &empty);
    if (good && empty && str_has(value, ','))
        good = refuse(&r, "commas without an address");
    *why_out = r.why;
    if (good)
        return list_out->count > 0 ? MAILBOX_FOUND : MAILBOX_EMPTY;
    *list_out = (struct mailbox_list){0};
    return MAILBOX_INVALID;
}

/* ---- values that are not valid ---- */

static bool is_name_octet(char c)
{
    return ascii_is_alnum(c) || c == '-' || c == '_' || c == '.' || is_beyond_ascii(c);
}

/* The name that stands in front, if nobody reads it longer: obsolete syntax may go on behind blanks and comments
 * (RFC 5322 4.4), and behind any other sign but these a reader may take what follows for a part of it. */
static struct str name_in_front(struct str s)
{
    static const struct str none = {NULL, 0};
    size_t n = 0, next;

    while (n < s.n && is_name_octet(s.p[n]))
        n++;
    for (next = n; next < s.n && str_has(STR(" \t\r\n"), s.p[next]); next++)
        ;
    if (n < s.n && !str_has(STR(" \t\r\n<>,;\"')]}("), s.p[n]))
        return none;
    if (n == 0 || s.p[n - 1] == '.' || (next < s.n && (s.p[next] == '.' || s.p[next] == '(')))
        return none;
    return str_upto(s, n);
}

static bool has_control(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!is_text(s.p[i]) && s.p[i] != '\r' && s.p[i] != '\n')
            return true;
    return false;
}

const char *mailbox_only_domain(struct arena *mem, struct str value)
{
    struct str only = {0};

    if (has_control(value))
        return NULL;
    for (size_t i = 0; i < value.n; i++) {
        struct str name;

        if (value.p[i] != '@')
            continue;
        name = name_in_front(str_from(value, i + 1));
        if (name.n == 0 || (only.n > 0 && !str_same(name, only)))
            return NULL;
        if (i == 0 || (!is_atext(value.p[i - 1]) && value.p[i - 1] != '"' && value.p[i - 1] != '.'))
            return NULL;
        only = name;
    }
    return only.n > 0 ? mailbox_domain_to_ascii(mem, only) : NULL;
}
