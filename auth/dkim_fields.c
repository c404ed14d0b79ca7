#include "auth/dkim_fields.h"

struct dkim_fields {
    const struct header *header;
    const uint32_t *hashes; /* of each field's name */
    size_t *taken_by;       /* of each field: the signature that hashed it last, counted from 1 */
    size_t signature;       /* the one at work */
};

static uint32_t name_hash(struct str name)
{
    uint32_t hash = 2166136261u; /* FNV-1a; names with equal hashes are compared, so collisions cost little */

    for (size_t i = 0; i < name.n; i++)
        hash = (hash ^ (uint8_t)ascii_lower(name.p[i])) * 16777619u;
    return hash;
}

struct dkim_fields *dkim_fields_new(struct arena *mem, const struct header *header)
{
    struct dkim_fields *f = ARENA_NEW(mem, struct dkim_fields);
    uint32_t *hashes = ARENA_ARRAY(mem, uint32_t, header->count);

    for (size_t i = 0; i < header->count; i++)
        hashes[i] = name_hash(header->fields[i].name);
    f->header = header;
    f->hashes = hashes;
    f->taken_by = ARENA_ARRAY(mem, size_t, header->count);
    return f;
}

/* The lowest field of that name that this signature has not hashed yet; NULL: it signs the absence of one. */
static const struct header_field *take(struct dkim_fields *f, struct str name)
{
    uint32_t hash = name_hash(name);

    for (size_t i = f->header->count; i-- > 0;)
        if (f->hashes[i] == hash && f->taken_by[i] != f->signature &&
            str_same(f->header->fields[i].name, name)) {
            f->taken_by[i] = f->signature;
            return &f->header->fields[i];
        }
    return NULL;
}

/* The signature itself comes last, never by h= (RFC 6376 3.5, h=). */
static void take_own(struct dkim_fields *f, const struct header_field *own)
{
    for (size_t i = 0; i < f->header->count; i++)
        if (&f->header->fields[i] == own)
            f->taken_by[i] = f->signature;
}

void dkim_to_hash(void *hash, const char *p, size_t n)
{
    dkim_hash_add(hash, p, n);
}

void dkim_fields_hash(struct dkim_fields *f, enum dkim_canon canon, struct str names,
                      const struct dkim_own *own, struct dkim_hash *hash, uint8_t hash_out[DKIM_HASH_BYTES])
{
    struct dkim_canon_out out;
    struct str name, rest = names;
    bool more = true;

    f->signature++;
    dkim_canon_out_init(&out, dkim_to_hash, hash);
    take_own(f, own->field);
    while (more) {
        const struct header_field *field;

        more = str_cut(rest, ':', &name, &rest);
        field = take(f, str_trim(name));
        if (field != NULL)
            dkim_canon_header(&out, canon, field);
    }
    dkim_canon_signature(&out, canon, own->field, own->b_whole);
    dkim_canon_flush(&out);
    dkim_hash_restart(hash, hash_out);
}
