#include "auth/arc_set.h"

static const char *const names[ARC_KINDS] = {[ARC_RESULTS] = "ARC-Authentication-Results",
                                             [ARC_MESSAGE] = "ARC-Message-Signature",
                                             [ARC_SEAL] = "ARC-Seal"};

/* 1 to 50, in one or two digits; 0: none. */
static unsigned instance_parse(struct str text)
{
    uint64_t value = 0;

    if (text.n > 2 || !str_to_u64(text, ARC_INSTANCE_MAX, &value))
        return 0;
    return (unsigned)value;
}

/* ---- ARC-Authentication-Results (RFC 8617 4.1.1) ---- */

/* Blanks and comments (RFC 5322 3.2.2) in front of text are skipped; a comment without an end is text. */
static struct str skip_cfws(struct str text)
{
    size_t depth = 0, i = 0;

    for (; i < text.n; i++) {
        char c = text.p[i];

        if (c == '\\' && depth > 0)
            i++;
        else if (c == '(')
            depth++;
        else if (c == ')' && depth > 0)
            depth--;
        else if (depth == 0 && c != ' ' && c != '\t' && c != '\r' && c != '\n')
            break;
    }
    return depth > 0 || i > text.n ? text : str_from(text, i);
}

static struct str digits_of(struct str text)
{
    size_t n = 0;

    while (n < text.n && ascii_is_digit(text.p[n]))
        n++;
    return str_upto(text, n);
}

/* "i=1; " and the results. The instance, or 0. */
static unsigned results_parse(struct str value, struct str *results_out)
{
    struct str text = skip_cfws(value), digits;

    if (text.n == 0 || text.p[0] != 'i')
        return 0;
    text = skip_cfws(str_from(text, 1));
    if (text.n == 0 || text.p[0] != '=')
        return 0;
    text = skip_cfws(str_from(text, 1));
    digits = digits_of(text);
    text = skip_cfws(str_from(text, digits.n));
    if (text.n == 0 || text.p[0] != ';')
        return 0;
    *results_out = str_trim(str_from(text, 1));
    return instance_parse(digits);
}

/* Without comments and quotation marks; a semicolon inside quotes becomes a comma, so that the rest part
 * results. */
static struct str plain_text(struct arena *mem, struct str text)
{
    char *plain = arena_alloc(mem, text.n + 1);
    bool quoted = false;
    size_t n = 0;

    while (text.n > 0) {
        char c = text.p[0];

        if (!quoted && c == '(') {
            struct str rest = skip_cfws(text);

            if (rest.n == text.n)
                break; /* the comment does not end: nothing behind it can be relied on */
            plain[n++] = ' ';
            text = rest;
            continue;
        }
        if (c == '"')
            quoted = !quoted;
        else
            plain[n++] = (char)(quoted && c == ';' ? ',' : c);
        text = str_from(text, 1);
    }
    return str_make(plain, n);
}

static struct str word_of(struct str text)
{
    size_t n = 0;

    while (n < text.n && ((uint8_t)text.p[n] > ' ') && text.p[n] != ';')
        n++;
    return str_upto(text, n);
}

/* "dmarc=pass …", "dmarc/1 = pass …": what stands behind the equals sign. False: another method. */
static bool is_dmarc(struct str piece, struct str *claim_out)
{
    struct str method, version;

    if (!str_cut(piece, '=', &method, claim_out))
        return false;
    str_cut(method, '/', &method, &version);
    *claim_out = str_trim(*claim_out);
    return str_same_z(str_trim(method), "dmarc");
}

/* A property's value, "" when it is not there. */
static struct str property_of(struct str claim, struct str name)
{
    for (size_t i = 0; i < claim.n; i++) {
        struct str at = str_from(claim, i);
        bool begins = i == 0 || (uint8_t)claim.p[i - 1] <= ' ';

        if (begins && str_starts_same(at, name)) {
            at = str_trim(str_from(at, name.n));
            if (at.n > 0 && at.p[0] == '=')
                return word_of(str_trim(str_from(at, 1)));
        }
    }
    return STR("");
}

static bool is_result_word(struct str word)
{
    for (size_t i = 0; i < word.n; i++)
        if (!ascii_is_alpha(word.p[i]))
            return false;
    return word.n > 0 && word.n <= 32;
}

static bool is_printable(struct str word)
{
    for (size_t i = 0; i < word.n; i++)
        if ((uint8_t)word.p[i] <= ' ' || (uint8_t)word.p[i] >= 0x7f)
            return false;
    return word.n <= 253;
}

struct arc_dmarc arc_dmarc_parse(struct arena *mem, struct str results)
{
    struct arc_dmarc dmarc = {"", ""};
    struct str piece, rest = plain_text(mem, results), claim, word, from;
    bool more = str_cut(rest, ';', &piece, &rest); /* the authserv-id */
    size_t seen = 0;

    while (more) {
        more = str_cut(rest, ';', &piece, &rest);
        if (!is_dmarc(piece, &claim))
            continue;
        word = word_of(claim);
        from = property_of(claim, STR("header.from"));
        if (++seen > 1 || !is_result_word(word) || !is_printable(from))
            return (struct arc_dmarc){"", ""};
        dmarc = (struct arc_dmarc){str_dup_lower(mem, word), str_dup_lower(mem, from)};
    }
    return dmarc;
}

/* ---- the two signatures ---- */

static unsigned tagged_instance(const struct dkim_tags *tags)
{
    const struct dkim_tag *i = dkim_tags_find(tags, "i");

    return i != NULL ? instance_parse(i->value) : 0;
}

static const char *message_parse(struct arena *mem, const struct dkim_tags *tags, struct dkim_field *field)
{
    const char *fault = dkim_field_parse_arc(mem, tags, DKIM_FIELD_ARC_MESSAGE, field);

    if (fault == NULL && dkim_list_has(field->names, "arc-seal"))
        fault = "h= holds ARC-Seal"; /* RFC 8617 4.1.2 */
    return fault;
}

static const char *seal_parse(struct arena *mem, const struct dkim_tags *tags, unsigned instance,
                              struct dkim_field *field)
{
    const struct dkim_tag *cv = dkim_tags_find(tags, "cv");
    const char *fault = dkim_field_parse_arc(mem, tags, DKIM_FIELD_ARC_SEAL, field);

    if (fault != NULL)
        return fault;
    if (dkim_tags_find(tags, "h") != NULL)
        return "a seal has no h="; /* RFC 8617 4.1.3 */
    if (cv == NULL)
        return "cv= is missing";
    if (str_same_z(cv->value, "fail"))
        return "cv= says that the chain was broken already";
    if (!str_same_z(cv->value, instance == 1 ? "none" : "pass"))
        return instance == 1 ? "cv= is not none" : "cv= is not pass";
    return NULL;
}

/* ---- the chain ---- */

static const char *say(struct arena *mem, enum arc_kind kind, unsigned instance, const char *what)
{
    if (instance == 0)
        return str_fmt(mem, "%s: %s", names[kind], what);
    return str_fmt(mem, "%s i=%u: %s", names[kind], instance, what);
}

static const char *field_parse(struct arena *mem, const struct header_field *field, enum arc_kind kind,
                               struct arc_chain *chain)
{
    struct dkim_tags tags;
    struct arc_fields *set;
    struct str results = {0};
    unsigned instance;
    const char *fault = kind == ARC_RESULTS ? NULL : dkim_tags_parse(field->value, &tags);

    if (fault != NULL)
        return say(mem, kind, 0, fault);
    instance = kind == ARC_RESULTS ? results_parse(field->value, &results) : tagged_instance(&tags);
    if (instance == 0)
        return say(mem, kind, 0, "i= is missing or no number from 1 to 50");
    if (instance > chain->count)
        chain->count = instance;
    set = &chain->sets[instance - 1];
    if (set->of[kind] != NULL)
        return say(mem, kind, instance, "stands there twice");
    set->of[kind] = field;
    if (kind == ARC_RESULTS)
        set->results = results;
    else if (kind == ARC_MESSAGE)
        fault = message_parse(mem, &tags, &set->message);
    else
        fault = seal_parse(mem, &tags, instance, &set->seal);
    return fault != NULL ? say(mem, kind, instance, fault) : NULL;
}

static const char *missing(struct arena *mem, const struct arc_chain *chain)
{
    for (unsigned i = 0; i < chain->count; i++)
        for (unsigned kind = 0; kind < ARC_KINDS; kind++)
            if (chain->sets[i].of[kind] == NULL)
                return say(mem, kind, i + 1, "is missing");
    return NULL;
}

static bool kind_of(struct str name, enum arc_kind *kind_out)
{
    for (unsigned kind = 0; kind < ARC_KINDS; kind++)
        if (str_same_z(name, names[kind])) {
            *kind_out = (enum arc_kind)kind;
            return true;
        }
    return false;
}

const char *arc_chain_parse(struct arena *mem, const struct header *header, size_t sets_max,
                            struct arc_chain *chain_out)
{
    const char *fault = NULL, *found;
    size_t fields = 0;
    enum arc_kind kind;

    *chain_out = (struct arc_chain){0};
    for (size_t i = 0; i < header->count; i++)
        fields += kind_of(header->fields[i].name, &kind);
    if (fields == 0)
        return NULL;
    if (fields > ARC_KINDS * (size_t)ARC_INSTANCE_MAX)
        return "there are more ARC fields than 50 sets have";
    chain_out->sets = ARENA_ARRAY(mem, struct arc_fields, ARC_INSTANCE_MAX);
    for (size_t i = 0; i < header->count; i++) {
        if (!kind_of(header->fields[i].name, &kind))
            continue;
        found = field_parse(mem, &header->fields[i], kind, chain_out);
        fault = fault != NULL ? fault : found;
    }
    if (fault == NULL && chain_out->count > sets_max)
        fault = str_fmt(mem, "there are more than %zu sets", sets_max);
    return fault != NULL ? fault : missing(mem, chain_out);
}
