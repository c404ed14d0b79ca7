#include "auth/dkim_signature.h"

#include "auth/dkim_base64.h"
#include "base/bug.h"
#include "smtp/mailbox.h"

#include <string.h>

/* ---- tag lists (RFC 6376 3.2) ---- */

static bool is_tag_name(struct str name)
{
    if (name.n == 0 || !ascii_is_alpha(name.p[0]))
        return false;
    for (size_t i = 1; i < name.n; i++)
        if (!ascii_is_alnum(name.p[i]) && name.p[i] != '_')
            return false;
    return true;
}

/* Printable ASCII, UTF-8 (RFC 8616 4), blanks, and CRLF where a fold follows. */
static bool is_tag_value(struct str value)
{
    for (size_t i = 0; i < value.n; i++) {
        uint8_t c = (uint8_t)value.p[i];

        if (c == '\r' && value.n - i > 2 && value.p[i + 1] == '\n' &&
            (value.p[i + 2] == ' ' || value.p[i + 2] == '\t'))
            i += 2;
        else if ((c < ' ' && c != '\t') || c == 0x7f)
            return false;
    }
    return true;
}

static const char *tag_parse(struct str spec, struct dkim_tags *tags)
{
    struct dkim_tag tag;

    if (!str_cut(spec, '=', &tag.name, &tag.whole))
        return "a tag has no \"=\"";
    tag.name = str_trim(tag.name);
    tag.value = str_trim(tag.whole);
    if (!is_tag_name(tag.name))
        return "a tag's name is no name";
    if (!is_tag_value(tag.value))
        return "a tag's value holds a control character";
    for (size_t i = 0; i < tags->count; i++)
        if (str_eq(tags->tags[i].name, tag.name))
            return "a tag stands there twice";
    if (tags->count == DKIM_TAGS_MAX)
        return "too many tags";
    tags->tags[tags->count++] = tag;
    return NULL;
}

const char *dkim_tags_parse(struct str text, struct dkim_tags *tags_out)
{
    struct str spec, rest = text;
    bool more = true;

    tags_out->count = 0;
    while (more) {
        const char *fault;

        more = str_cut(rest, ';', &spec, &rest);
        if (!more && tags_out->count > 0 && str_trim(spec).n == 0)
            return NULL; /* a final ";" */
        fault = tag_parse(spec, tags_out);
        if (fault != NULL)
            return fault;
    }
    return NULL;
}

const struct dkim_tag *dkim_tags_find(const struct dkim_tags *tags, const char *name)
{
    for (size_t i = 0; i < tags->count; i++)
        if (str_eq_z(tags->tags[i].name, name))
            return &tags->tags[i];
    return NULL;
}

bool dkim_list_has(struct str list, const char *word)
{
    struct str item, rest = list;
    bool more = true;

    while (more) {
        more = str_cut(rest, ':', &item, &rest);
        if (str_same_z(str_trim(item), word))
            return true;
    }
    return false;
}

/* ---- the values ---- */

enum { NAME_MAX_OCTETS = 253, LABEL_MAX_OCTETS = 63 };

static bool is_label(struct str label)
{
    if (label.n == 0 || label.n > LABEL_MAX_OCTETS)
        return false;
    for (size_t i = 0; i < label.n; i++)
        if (!ascii_is_alnum(label.p[i]) && label.p[i] != '-' && label.p[i] != '_')
            return false;
    return label.p[0] != '-' && label.p[label.n - 1] != '-';
}

/* A name fit for the DNS and for print: lower case A-labels, or NULL. Underscores do no harm. */
static const char *name_parse(struct arena *mem, struct str name)
{
    struct str label, rest = name;
    bool more = true;

    if (name.n == 0 || name.n > NAME_MAX_OCTETS)
        return NULL;
    for (size_t i = 0; i < name.n; i++)
        if ((uint8_t)name.p[i] >= 0x80)
            return mailbox_domain_to_ascii(mem, name); /* RFC 8616 4 */
    while (more) {
        more = str_cut(rest, '.', &label, &rest);
        if (!is_label(label))
            return NULL;
    }
    return str_dup_lower(mem, name);
}

static const char *domain_parse(struct arena *mem, const struct dkim_tags *tags, struct dkim_field *field)
{
    const struct dkim_tag *d = dkim_tags_find(tags, "d"), *s = dkim_tags_find(tags, "s");
    const char *domain = d != NULL ? name_parse(mem, d->value) : NULL;
    const char *selector = s != NULL ? name_parse(mem, s->value) : NULL;

    if (domain != NULL)
        field->domain = domain;
    if (selector != NULL)
        field->selector = selector;
    if (d == NULL || s == NULL)
        return d == NULL ? "d= is missing" : "s= is missing";
    if (domain == NULL || selector == NULL)
        return domain == NULL ? "d= is no domain name" : "s= is no selector";
    return NULL;
}

/* dkim-quoted-printable: "=" and two digits; everything else but blanks is itself (RFC 6376 2.11). */
static bool quoted_decode(struct arena *mem, struct str text, struct str *plain_out)
{
    char *plain = arena_alloc(mem, text.n + 1);
    size_t n = 0;

    for (size_t i = 0; i < text.n; i++) {
        char c = text.p[i];

        if (c == ' ' || c == '\t' || c == '\r' || c == '\n')
            continue;
        if (c == '=') {
            if (text.n - i < 3 || ascii_hex(text.p[i + 1]) < 0 || ascii_hex(text.p[i + 2]) < 0)
                return false;
            c = (char)(ascii_hex(text.p[i + 1]) * 16 + ascii_hex(text.p[i + 2]));
            i += 2;
        }
        if ((uint8_t)c < ' ' || c == 0x7f)
            return false; /* it goes to logs and header fields */
        plain[n++] = c;
    }
    *plain_out = str_make(plain, n);
    return true;
}

/* i= is an address at d= or below it (RFC 6376 3.5, 6.1.1). */
static const char *identity_parse(struct arena *mem, const struct dkim_tags *tags, struct dkim_field *field)
{
    const struct dkim_tag *i = dkim_tags_find(tags, "i");
    struct str plain;
    const char *domain;
    size_t at, below;

    field->identity = str_fmt(mem, "@%s", field->domain);
    if (i == NULL)
        return NULL;
    if (!quoted_decode(mem, i->value, &plain))
        return "i= is not quoted-printable text";
    for (at = plain.n; at > 0 && plain.p[at - 1] != '@'; at--)
        ;
    if (at == 0 || (domain = name_parse(mem, str_from(plain, at))) == NULL)
        return "i= is no address";
    if (!str_ends_same(str_of(domain), str_of(field->domain)))
        return "i= is not within d=";
    below = strlen(domain) - strlen(field->domain);
    if (below > 0 && domain[below - 1] != '.')
        return "i= is not within d=";
    field->below_domain = below > 0;
    field->identity = str_fmt(mem, "%.*s%s", (int)at, plain.p, domain);
    return NULL;
}

static bool is_algorithm_word(struct str word)
{
    for (size_t i = 0; i < word.n; i++)
        if (!ascii_is_alnum(word.p[i]) && word.p[i] != '-')
            return false;
    return word.n > 0 && word.n <= LABEL_MAX_OCTETS;
}

static const char *algorithm_parse(struct arena *mem, const struct dkim_tags *tags, struct dkim_field *field)
{
    static const char *const names[] = {[DKIM_RSA_SHA256] = "rsa-sha256",
                                        [DKIM_ED25519_SHA256] = "ed25519-sha256",
                                        [DKIM_RSA_SHA1] = "rsa-sha1"};
    const struct dkim_tag *a = dkim_tags_find(tags, "a");

    if (a == NULL)
        return "a= is missing";
    if (is_algorithm_word(a->value))
        field->algorithm_name = str_dup_lower(mem, a->value);
    for (size_t i = 0; i < COUNT(names); i++)
        if (strcmp(field->algorithm_name, names[i]) == 0) {
            field->algorithm = (enum dkim_algorithm)i;
            return NULL;
        }
    return "a= is no known algorithm";
}

static bool canon_parse(struct str word, enum dkim_canon *canon_out)
{
    if (!str_same_z(word, "simple") && !str_same_z(word, "relaxed"))
        return false;
    *canon_out = str_same_z(word, "relaxed") ? DKIM_RELAXED : DKIM_SIMPLE;
    return true;
}

static const char *canons_parse(const struct dkim_tags *tags, struct dkim_field *field)
{
    const struct dkim_tag *c = dkim_tags_find(tags, "c");
    struct str header, body;

    field->header_canon = field->body_canon = DKIM_SIMPLE;
    if (c == NULL)
        return NULL;
    if (!str_cut(c->value, '/', &header, &body))
        body = STR("simple"); /* "c=relaxed" is relaxed/simple (RFC 6376 3.5) */
    if (!canon_parse(header, &field->header_canon) || !canon_parse(body, &field->body_canon))
        return "c= is no known canonicalization";
    return NULL;
}

static bool is_field_name(struct str name)
{
    for (size_t i = 0; i < name.n; i++)
        if ((uint8_t)name.p[i] <= ' ' || (uint8_t)name.p[i] >= 0x7f)
            return false;
    return name.n > 0;
}

static const char *names_parse(const struct dkim_tags *tags, bool may_be_empty, struct dkim_field *field)
{
    const struct dkim_tag *h = dkim_tags_find(tags, "h");
    struct str name, rest;
    size_t count = 0;
    bool more = true;

    if (h == NULL)
        return "h= is missing";
    rest = h->value;
    while (more) {
        more = str_cut(rest, ':', &name, &rest);
        name = str_trim(name);
        if (!is_field_name(name) && !(may_be_empty && name.n == 0))
            return "h= holds what is no field name";
        if (++count > DKIM_NAMES_MAX)
            return "too many names in h=";
    }
    field->names = h->value;
    return NULL;
}

static const char *names_of_author_parse(const struct dkim_tags *tags, struct dkim_field *field)
{
    const char *fault = names_parse(tags, false, field);

    if (fault == NULL && !dkim_list_has(field->names, "from"))
        return "From is not signed";
    return fault;
}

/* The first eight characters of b= name the signature where several are alike (RFC 6008 4). */
static struct str prefix_of(struct arena *mem, struct str b)
{
    char *prefix = arena_alloc(mem, 9);
    size_t n = 0;

    for (size_t i = 0; i < b.n && n < 8; i++)
        if ((uint8_t)b.p[i] > ' ')
            prefix[n++] = b.p[i];
    return str_make(prefix, n);
}

static const char *signature_parse(struct arena *mem, const struct dkim_tags *tags, struct dkim_field *field)
{
    const struct dkim_tag *b = dkim_tags_find(tags, "b");
    uint8_t *octets;

    if (b == NULL || b->value.n == 0)
        return "b= is missing";
    if (b->value.n > DKIM_B_MAX)
        return "b= is too long";
    octets = arena_alloc(mem, DKIM_BASE64_ROOM(b->value.n) + 1);
    if (!dkim_base64_decode(b->value, octets, &field->signature_bytes))
        return "b= is not base64";
    field->signature = octets;
    field->b_whole = b->whole;
    field->b_prefix = prefix_of(mem, b->value);
    return NULL;
}

static const char *body_hash_parse(struct arena *mem, const struct dkim_tags *tags, struct dkim_field *field)
{
    const struct dkim_tag *bh = dkim_tags_find(tags, "bh");
    uint8_t *octets;
    size_t n;

    if (bh == NULL)
        return "bh= is missing";
    if (bh->value.n > 512)
        return "bh= is too long";
    octets = arena_alloc(mem, DKIM_BASE64_ROOM(bh->value.n) + 1);
    if (!dkim_base64_decode(bh->value, octets, &n))
        return "bh= is not base64";
    if (field->algorithm == DKIM_RSA_SHA1)
        return NULL; /* it has 20 octets that nobody will compare */
    if (n != DKIM_HASH_BYTES)
        return "bh= is no SHA-256 hash";
    memcpy(field->body_hash, octets, DKIM_HASH_BYTES);
    return NULL;
}

/* Digits of any length: what does not fit is as good as infinite (RFC 6376 3.5). False for anything else. */
static bool number_parse(struct str digits, uint64_t most, uint64_t *value_out)
{
    *value_out = most;
    for (size_t i = 0; i < digits.n; i++)
        if (!ascii_is_digit(digits.p[i]))
            return false;
    if (digits.n > 0 && !str_to_u64(digits, most, value_out))
        *value_out = most;
    return digits.n > 0;
}

static const char *numbers_parse(const struct dkim_tags *tags, struct dkim_field *field)
{
    const struct dkim_tag *l = dkim_tags_find(tags, "l"), *t = dkim_tags_find(tags, "t"),
                          *x = dkim_tags_find(tags, "x");
    uint64_t value;

    field->expires_unix = INT64_MAX;
    field->has_length = l != NULL;
    if (l != NULL && !number_parse(l->value, UINT64_MAX, &field->length))
        return "l= is no number";
    if (t != NULL) {
        if (!number_parse(t->value, INT64_MAX, &value))
            return "t= is no number";
        field->signed_unix = (int64_t)value;
    }
    if (x != NULL) {
        if (!number_parse(x->value, INT64_MAX, &value))
            return "x= is no number";
        field->expires_unix = (int64_t)value;
    }
    if (t != NULL && x != NULL && field->expires_unix <= field->signed_unix)
        return "x= is not later than t=";
    return NULL;
}

/* v=, and q=: a way to the key that is not the DNS is unknown to everybody (RFC 6376 3.5). */
static const char *version_parse(const struct dkim_tags *tags)
{
    const struct dkim_tag *v = dkim_tags_find(tags, "v"), *q = dkim_tags_find(tags, "q");

    if (v == NULL)
        return "v= is missing";
    if (!str_eq_z(v->value, "1"))
        return "v= is not 1";
    if (q != NULL && !dkim_list_has(q->value, "dns/txt") && !dkim_list_has(q->value, "dns"))
        return "q= knows no way to the key that we know";
    return NULL;
}

const char *dkim_field_parse(struct arena *mem, struct str value, struct dkim_field *field_out)
{
    struct dkim_tags tags;
    const char *fault, *found;

    *field_out = (struct dkim_field){.domain = "", .selector = "", .identity = "", .algorithm_name = ""};
    fault = dkim_tags_parse(value, &tags);
    if (fault != NULL)
        return fault;
    /* So that a report can name a broken signature, these are all read; the first fault is the reason. */
    fault = version_parse(&tags);
    found = domain_parse(mem, &tags, field_out);
    if (found == NULL)
        found = identity_parse(mem, &tags, field_out);
    if (fault == NULL)
        fault = found;
    found = algorithm_parse(mem, &tags, field_out);
    if (fault == NULL)
        fault = found;
    found = signature_parse(mem, &tags, field_out);
    if (fault == NULL)
        fault = found;
    if (fault == NULL)
        fault = canons_parse(&tags, field_out);
    if (fault == NULL)
        fault = names_of_author_parse(&tags, field_out);
    if (fault == NULL)
        fault = body_hash_parse(mem, &tags, field_out);
    if (fault == NULL)
        fault = numbers_parse(&tags, field_out);
    return fault;
}

/* Without c=, RFC 8617 4.1.2 would leave DKIM's simple/simple; the validation suite, dkimpy and mailauth read
 * relaxed, and no sealer relies on the other. */
static const char *message_parse(struct arena *mem, const struct dkim_tags *tags, struct dkim_field *field)
{
    const char *fault = canons_parse(tags, field);

    if (dkim_tags_find(tags, "c") == NULL)
        field->header_canon = field->body_canon = DKIM_RELAXED;
    if (fault == NULL)
        fault = names_parse(tags, true, field);
    if (fault == NULL)
        fault = body_hash_parse(mem, tags, field);
    return fault;
}

const char *dkim_field_parse_arc(struct arena *mem, const struct dkim_tags *tags, enum dkim_field_kind kind,
                                 struct dkim_field *field_out)
{
    const char *fault;

    *field_out = (struct dkim_field){.domain = "", .selector = "", .identity = "", .algorithm_name = ""};
    fault = domain_parse(mem, tags, field_out);
    if (fault == NULL)
        fault = algorithm_parse(mem, tags, field_out);
    if (fault == NULL)
        fault = signature_parse(mem, tags, field_out);
    if (fault == NULL)
        fault = numbers_parse(tags, field_out);
    if (kind == DKIM_FIELD_ARC_SEAL)
        field_out->header_canon = DKIM_RELAXED;
    else if (fault == NULL)
        fault = message_parse(mem, tags, field_out);
    return fault;
}
