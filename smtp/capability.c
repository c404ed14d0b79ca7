#include "smtp/capability.h"

#include "base/bug.h"

#include <string.h>

enum { LIMIT_DIGITS = 6 }; /* RFC 9422 4 */

typedef void take_word_fn(struct smtp_capabilities *c, struct str word);

static void take_size(struct smtp_capabilities *c, struct str word)
{
    if (!str_to_u64(word, UINT64_MAX, &c->size_max))
        c->size_max = 0;
}

static void take_xclient(struct smtp_capabilities *c, struct str word)
{
    c->xclient_fields |= smtp_xclient_attribute(word) & SMTP_XCLIENT_ALL;
}

static void take_xforward(struct smtp_capabilities *c, struct str word)
{
    c->xforward_fields |= smtp_xclient_attribute(word) & SMTP_XFORWARD_ALL;
}

static void take_mechanism(struct smtp_capabilities *c, struct str word)
{
    size_t n = strlen(c->auth);
    size_t gap = n > 0;

    if (!smtp_is_mechanism(word) || smtp_capabilities_has_auth(c, word) ||
        n + gap + word.n >= sizeof(c->auth))
        return;
    if (gap > 0)
        c->auth[n++] = ' ';
    memcpy(c->auth + n, word.p, word.n);
    c->auth[n + word.n] = '\0';
}

/* name=number, without leading zeros. Of two the smaller holds. */
static void take_limit(struct smtp_capabilities *c, struct str word)
{
    static const struct {
        const char *name;
        size_t offset;
    } limits[] = {{"RCPTMAX", offsetof(struct smtp_capabilities, rcpt_max)},
                  {"MAILMAX", offsetof(struct smtp_capabilities, mail_max)},
                  {"RCPTDOMAINMAX", offsetof(struct smtp_capabilities, rcpt_domain_max)}};
    struct str name, value;
    uint64_t number;

    str_cut(word, '=', &name, &value);
    if (value.n == 0 || value.n > LIMIT_DIGITS || value.p[0] == '0' ||
        !str_to_u64(value, UINT32_MAX, &number))
        return;
    for (size_t i = 0; i < COUNT(limits); i++) {
        unsigned *limit = (unsigned *)((char *)c + limits[i].offset);

        if (str_same_z(name, limits[i].name) && (*limit == 0 || number < *limit))
            *limit = (unsigned)number;
    }
}

#define FLAG(member) offsetof(struct smtp_capabilities, member)
static const struct keyword {
    const char *name;
    size_t flag;             /* where in struct smtp_capabilities */
    take_word_fn *take_word; /* for each word behind the keyword */
} keywords[] = {
    {"PIPELINING", FLAG(pipelining), NULL},
    {"SIZE", FLAG(size), take_size},
    {"8BITMIME", FLAG(eightbitmime), NULL},
    {"SMTPUTF8", FLAG(smtputf8), NULL},
    {"CHUNKING", FLAG(chunking), NULL},
    {"BINARYMIME", FLAG(binarymime), NULL},
    {"DSN", FLAG(dsn), NULL},
    {"STARTTLS", FLAG(starttls), NULL},
    {"REQUIRETLS", FLAG(requiretls), NULL},
    {"ENHANCEDSTATUSCODES", FLAG(enhanced), NULL},
    {"XCLIENT", FLAG(xclient), take_xclient},
    {"XFORWARD", FLAG(xforward), take_xforward},
    {"LIMITS", FLAG(limits), take_limit},
};
#undef FLAG

static void take_words(struct smtp_capabilities *c, struct str rest, take_word_fn *take_word)
{
    struct str word;

    while (rest.n > 0) {
        str_cut(rest, ' ', &word, &rest);
        if (word.n > 0)
            take_word(c, word);
    }
}

static void take_line(struct smtp_capabilities *c, struct str line)
{
    struct str keyword, rest;

    if (str_starts_same(line, STR("AUTH ")) ||
        str_starts_same(line, STR("AUTH="))) { /* "=": before RFC 2554 */
        take_words(c, str_from(line, 5), take_mechanism);
        return;
    }
    str_cut(line, ' ', &keyword, &rest);
    for (size_t i = 0; i < COUNT(keywords); i++) {
        if (!str_same_z(keyword, keywords[i].name))
            continue;
        *(bool *)((char *)c + keywords[i].flag) = true;
        if (keywords[i].take_word != NULL)
            take_words(c, rest, keywords[i].take_word);
    }
}

void smtp_capabilities_parse(struct str text, struct smtp_capabilities *capabilities_out)
{
    struct str line, rest;

    *capabilities_out = (struct smtp_capabilities){.esmtp = true};
    str_cut(text, '\n', &line, &rest); /* its name */
    while (rest.n > 0) {
        str_cut(rest, '\n', &line, &rest);
        take_line(capabilities_out, str_trim(line));
    }
    /* Without an address nobody can be introduced; XFORWARD is for the log only. */
    capabilities_out->xclient = (capabilities_out->xclient_fields & SMTP_XCLIENT_ADDR) != 0;
}

bool smtp_capabilities_has_auth(const struct smtp_capabilities *c, struct str mechanism)
{
    struct str rest = str_of(c->auth), word;

    while (rest.n > 0) {
        str_cut(rest, ' ', &word, &rest);
        if (str_same(word, mechanism))
            return true;
    }
    return false;
}

struct smtp_offer smtp_capabilities_offer(const struct smtp_capabilities *c)
{
    return (struct smtp_offer){.size = c->size,
                               .eightbitmime = c->eightbitmime,
                               .smtputf8 = c->smtputf8,
                               .dsn = c->dsn,
                               .chunking = c->chunking,
                               .binarymime = c->binarymime,
                               .requiretls = c->requiretls,
                               .auth = c->auth[0] != '\0'};
}
