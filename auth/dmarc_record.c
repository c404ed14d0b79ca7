#include "auth/dmarc_record.h"
#include "base/bug.h"

/* pct, rf and ri are historic: like any unknown tag they change nothing (RFC 9989 4.7). */
static const struct {
    const char *name;
    size_t offset;
} known[] = {
    {"p", offsetof(struct dmarc_tags, p)},       {"sp", offsetof(struct dmarc_tags, sp)},
    {"np", offsetof(struct dmarc_tags, np)},     {"t", offsetof(struct dmarc_tags, t)},
    {"psd", offsetof(struct dmarc_tags, psd)},   {"adkim", offsetof(struct dmarc_tags, adkim)},
    {"aspf", offsetof(struct dmarc_tags, aspf)}, {"rua", offsetof(struct dmarc_tags, rua)},
    {"ruf", offsetof(struct dmarc_tags, ruf)},   {"fo", offsetof(struct dmarc_tags, fo)},
};

/* A tag that comes twice is a syntax error in the remainder: the second one is ignored (RFC 9989 4.8). */
static void keep_tag(struct dmarc_tags *tags, struct str name, struct str value)
{
    for (size_t i = 0; i < COUNT(known); i++) {
        struct str *place = (struct str *)(void *)((char *)tags + known[i].offset);

        if (str_same_z(name, known[i].name) && place->p == NULL)
            *place = value;
    }
}

/* "v" must come first and its value is case-sensitive; all other literals are not (RFC 9989 4.7, 4.8). */
static bool is_version(struct str tag)
{
    struct str name, value;

    return str_cut(tag, '=', &name, &value) && ascii_lower(name.n > 0 ? name.p[0] : 0) == 'v' &&
           str_trim(name).n == 1 && str_eq_z(str_trim(value), "DMARC1");
}

bool dmarc_tags_read(struct str text, struct dmarc_tags *tags_out)
{
    struct str tag, rest;

    *tags_out = (struct dmarc_tags){.text = text};
    if (text.n > DMARC_RECORD_MAX)
        return false;
    str_cut(text, ';', &tag, &rest);
    if (!is_version(tag))
        return false;
    while (rest.n > 0) {
        struct str name, value;

        str_cut(rest, ';', &tag, &rest);
        if (str_cut(tag, '=', &name, &value))
            keep_tag(tags_out, str_trim(name), str_trim(value));
    }
    return true;
}

char dmarc_tags_psd(const struct dmarc_tags *tags)
{
    if (str_same_z(tags->psd, "y"))
        return 'y';
    return str_same_z(tags->psd, "n") ? 'n' : 'u';
}

/* ---- values ---- */

static bool read_policy(struct str value, enum dmarc_policy *policy_out)
{
    for (enum dmarc_policy p = DMARC_POLICY_NONE; p <= DMARC_POLICY_REJECT; p++) {
        if (str_same_z(value, dmarc_policy_name(p))) {
            *policy_out = p;
            return true;
        }
    }
    return false;
}

/* An absent tag takes `fallback`; false only for a value that is none. */
static bool read_policy_or(struct str value, enum dmarc_policy fallback, enum dmarc_policy *policy_out)
{
    *policy_out = fallback;
    return value.p == NULL || read_policy(value, policy_out);
}

static bool is_uri_octet(char c)
{
    return c > ' ' && c < 0x7f && !str_has(STR("\"<>\\^`{|}"), c);
}

/* A scheme, a colon, and something behind it (RFC 3986 3); an obsolete "!10m" is part of what follows. */
static bool is_uri(struct str text)
{
    struct str scheme, rest;

    if (!str_cut(text, ':', &scheme, &rest) || scheme.n == 0 || rest.n == 0 || !ascii_is_alpha(scheme.p[0]))
        return false;
    for (size_t i = 0; i < scheme.n; i++)
        if (!ascii_is_alnum(scheme.p[i]) && !str_has(STR("+-."), scheme.p[i]))
            return false;
    for (size_t i = 0; i < rest.n; i++)
        if (!is_uri_octet(rest.p[i]))
            return false;
    return true;
}

static bool has_uri(struct str list)
{
    struct str item;

    while (list.n > 0) {
        str_cut(list, ',', &item, &list);
        if (is_uri(str_trim(item)))
            return true;
    }
    return false;
}

static bool is_printable(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] < ' ' || s.p[i] > '~')
            return false;
    return s.n > 0;
}

static const char *const *read_uris(struct arena *mem, struct str list, size_t *count_out)
{
    const char *uris[DMARC_URIS_MAX];
    size_t count = 0;

    while (list.n > 0 && count < DMARC_URIS_MAX) {
        struct str item;

        str_cut(list, ',', &item, &list);
        item = str_trim(item);
        if (is_printable(item))
            uris[count++] = str_dup(mem, item);
    }
    *count_out = count;
    return arena_copy(mem, uris, count * sizeof(uris[0]));
}

/* Without ruf= the tag means nothing (RFC 9989 4.7); what is not dmarc-fo is the default. */
static const char *read_fo(struct arena *mem, const struct dmarc_tags *tags)
{
    struct str item, rest = tags->fo;

    if (tags->ruf.p == NULL || rest.n == 0)
        return "0";
    while (rest.n > 0) {
        str_cut(rest, ':', &item, &rest);
        item = str_trim(item);
        if (item.n != 1 || !str_has(STR("01ds"), ascii_lower(item.p[0])))
            return "0";
    }
    return str_dup_lower(mem, tags->fo);
}

/* ---- the record ---- */

/* False: no DMARC processing. A policy that is missing or wrong counts as none for an owner who at least asks
 * for reports (RFC 9989 4.10.1). */
static bool read_policies(const struct dmarc_tags *tags, struct dmarc_record *r, const char **why_out)
{
    bool p = read_policy(tags->p, &r->policy);
    bool sp = read_policy_or(tags->sp, r->policy, &r->subdomain_policy);
    bool np = read_policy_or(tags->np, r->subdomain_policy, &r->nonexistent_policy);

    if (p && sp && np)
        return true;
    r->policy = r->subdomain_policy = r->nonexistent_policy = DMARC_POLICY_NONE;
    *why_out = tags->p.p == NULL ? "it has neither p= nor a usable rua="
               : !p              ? "its p= is not valid and it has no usable rua="
               : !sp             ? "its sp= is not valid and it has no usable rua="
                                 : "its np= is not valid and it has no usable rua=";
    return has_uri(tags->rua);
}

const struct dmarc_record *dmarc_tags_record(struct arena *mem, const struct dmarc_tags *tags,
                                             const char **why_out)
{
    struct dmarc_record *r = ARENA_NEW(mem, struct dmarc_record);

    if (!read_policies(tags, r, why_out))
        return NULL;
    *why_out = "";
    r->testing = str_same_z(tags->t, "y");
    r->adkim_strict = str_same_z(tags->adkim, "s");
    r->aspf_strict = str_same_z(tags->aspf, "s");
    r->psd = dmarc_tags_psd(tags);
    r->rua = read_uris(mem, tags->rua, &r->rua_count);
    r->ruf = read_uris(mem, tags->ruf, &r->ruf_count);
    r->fo = read_fo(mem, tags);
    r->text = str_copy(mem, tags->text);
    return r;
}

const struct dmarc_record *dmarc_record_parse(struct arena *mem, struct str text, const char **why_out)
{
    struct dmarc_tags tags;

    *why_out = "it does not begin with v=DMARC1";
    return dmarc_tags_read(text, &tags) ? dmarc_tags_record(mem, &tags, why_out) : NULL;
}

const char *dmarc_policy_name(enum dmarc_policy p)
{
    static const char *const names[] = {"none", "quarantine", "reject"};

    return names[p];
}
