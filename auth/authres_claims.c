#include "auth/authres.h"
#include "smtp/mailbox.h"

/*
 * Who reads the field behind us may be strict or sloppy, and a forger picks whoever is sloppy. So the head of
 * the field, up to its first semicolon, is read in every way that somebody might: with comments that nest or
 * not, with backslashes that mean something or not, with blanks around dots that join the name or end it, and
 * with control characters that are skipped or end the text. If one reading gives our name, the field claims
 * to be ours.
 */
enum { NESTS = 1, ESCAPES = 2, JOINS = 4, CUTS = 8, READINGS = 16 };

/* Longer names than HEAD_MAX are not ours: the settings allow 255. In front of a name there may be comments; one
 * that has not come after HEAD_READ octets is not looked for any further, as if its comment did not end. */
enum { HEAD_MAX = 512, HEAD_READ = 4096 };

struct head {
    unsigned how;
    char first; /* of our name */
    char text[HEAD_MAX];
    size_t n;
    bool blank;  /* one is due before the next character */
    bool broken; /* a comment or a quoted string does not end, or no name comes */
};

static bool is_word(char c)
{
    return ascii_is_alnum(c) || c == '-' || c == '_';
}

static bool is_foreign(char c)
{
    return (unsigned char)c >= 0x80;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static void put(struct head *h, char c)
{
    bool joined = (h->how & JOINS) && (c == '.' || (h->n > 0 && h->text[h->n - 1] == '.'));

    if (h->n == 0 && !is_word(c) && !is_foreign(c) && c != h->first)
        return; /* stray specials in front of the name */
    if (h->blank && h->n > 0 && h->n < HEAD_MAX && !joined)
        h->text[h->n++] = ' ';
    h->blank = false;
    if (h->n < HEAD_MAX)
        h->text[h->n++] = c;
}

/* One character outside of comments. False: the head ends here. */
static bool put_plain(struct head *h, char c, bool quoted)
{
    if (c == ';' && !quoted) {
        h->broken = h->broken || h->n == 0;
        return false;
    }
    if (is_blank(c))
        h->blank = true;
    else if (c == 0x7f || (c < ' ' && !is_foreign(c)))
        return !(h->how & CUTS);
    else if (c != '\\')
        put(h, c);
    return true;
}

static void read_head(struct head *h, struct str value)
{
    bool quoted = false, cut = value.n > HEAD_READ;
    size_t depth = 0;

    value = str_upto(value, HEAD_READ);
    for (size_t i = 0; i < value.n && h->n < HEAD_MAX; i++) {
        char c = value.p[i];

        if (c == '\\' && (h->how & ESCAPES) && (depth > 0 || quoted) && i + 1 < value.n) {
            i++;
            if (quoted)
                put(h, value.p[i]);
        } else if (depth > 0) {
            h->blank = true;
            depth = c == ')' ? depth - 1 : c == '(' && (h->how & NESTS) ? depth + 1 : depth;
        } else if (c == '"') {
            quoted = !quoted;
        } else if (c == '(' && !quoted) {
            depth = 1;
        } else if (!put_plain(h, c, quoted)) {
            return;
        }
    }
    h->broken = depth > 0 || quoted || h->n == 0 || (cut && h->n < HEAD_MAX);
}

/* Our name, perhaps with final dots, and then something that cannot belong to a name. */
static bool begins_with_name(struct str text, struct str name)
{
    if (!str_starts_same(text, name))
        return false;
    text = str_from(text, name.n);
    while (text.n > 0 && text.p[0] == '.')
        text = str_from(text, 1);
    return text.n == 0 || !is_word(text.p[0]);
}

static bool has_name(struct str text, struct str name)
{
    for (char before = ' '; text.n > 0; before = text.p[0], text = str_from(text, 1))
        if (!is_word(before) && before != '.' && begins_with_name(text, name))
            return true;
    return false;
}

/* The name that a reading begins with, beyond ASCII or not. */
static struct str word_of(const struct head *h)
{
    size_t n = 0;

    while (n < h->n && (is_word(h->text[n]) || is_foreign(h->text[n]) || h->text[n] == '.'))
        n++;
    return str_make(h->text, n);
}

static bool has_foreign(struct str word)
{
    for (size_t i = 0; i < word.n; i++)
        if (is_foreign(word.p[i]))
            return true;
    return false;
}

/* U-labels, and characters that a mapping turns into ours (RFC 8616 3, UTS 46). */
static bool maps_to_name(struct str word, struct str name)
{
    struct arena *mem = arena_new(0);
    const char *ascii = mailbox_domain_to_ascii(mem, word);
    bool same = ascii == NULL || begins_with_name(str_of(ascii), name);

    arena_free(&mem);
    return same;
}

/* Around a name beyond ASCII there may be blanks of Unicode. Mapping one is slow, and done for one reading: what
 * reads in two ways is nobody's honest name. */
static bool is_ours_beyond_ascii(const struct head *h, const struct head *plain, struct str name)
{
    struct str word = word_of(h);

    if (!has_foreign(word))
        return false;
    if (has_name(str_make(h->text, h->n), name))
        return true;
    return h == plain ? maps_to_name(word, name) : !str_eq(word, word_of(plain));
}

/* An encoded word has no place in front of the first semicolon, yet mail libraries decode it there (RFC
 * 2047). */
static bool has_encoded_word(struct str value)
{
    struct str head = str_upto(value, str_find(value, ';'));

    for (size_t i = 0; i + 1 < head.n; i++)
        if (head.p[i] == '=' && head.p[i + 1] == '?')
            return true;
    return false;
}

bool authres_claims(struct str value, const char *authserv_id)
{
    struct str name = str_of(authserv_id);
    struct head plain, other, *h = &plain;
    bool broken = false;

    while (name.n > 0 && name.p[name.n - 1] == '.')
        name.n--;
    if (name.n == 0)
        return false;
    if (has_encoded_word(value))
        return true;
    for (unsigned how = 0; how < READINGS; how++, h = &other) {
        *h = (struct head){.how = how, .first = name.p[0]};
        read_head(h, value);
        if (begins_with_name(str_make(h->text, h->n), name) || is_ours_beyond_ascii(h, &plain, name))
            return true;
        broken = broken || h->broken;
    }
    return broken && has_name(value, name);
}
