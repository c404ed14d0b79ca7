#include "grey/merge.h"

#include "grey/policy.h"

static int64_t earlier(int64_t a, int64_t b)
{
    return b == 0 || (a != 0 && a < b) ? a : b;
}

static int64_t later(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* 0 is never. */
static int64_t later_expiry(int64_t a, int64_t b)
{
    return a == 0 || b == 0 ? 0 : later(a, b);
}

static struct str merged_triple(struct arena *mem, const struct grey_triple *a, const struct grey_triple *b)
{
    static const struct grey_rules any; /* rules only say when it expires */
    struct grey_triple both = {earlier(a->first_unix, b->first_unix), earlier(a->passed_unix, b->passed_unix),
                               later(a->last_unix, b->last_unix)};

    return grey_pack_triple(mem, &any, &both).value;
}

static struct str merged_deliveries(struct arena *mem, const struct grey_deliveries *a,
                                    const struct grey_deliveries *b)
{
    static const struct grey_rules any;
    struct grey_deliveries both = {a->count > b->count ? a->count : b->count,
                                   later(a->counted_unix, b->counted_unix), later(a->last_unix, b->last_unix),
                                   false};

    return grey_pack_deliveries(mem, &any, &both).value;
}

/* The greater count, not the sum: a host's own count began with what it had seen of the shared one. */
void grey_merge(struct arena *mem, struct str key, const struct store_row *ours, struct store_row *theirs)
{
    struct grey_triple t[2];
    struct grey_deliveries d[2];
    struct store_row both = {.expires_unix = later_expiry(ours->expires_unix, theirs->expires_unix)};

    (void)key; /* the rows say what they are */
    if (grey_unpack_triple(ours->value, &t[0]) && grey_unpack_triple(theirs->value, &t[1]))
        both.value = merged_triple(mem, &t[0], &t[1]);
    else if (grey_unpack_deliveries(ours->value, &d[0]) && grey_unpack_deliveries(theirs->value, &d[1]) &&
             !d[0].allowed && !d[1].allowed)
        both.value = merged_deliveries(mem, &d[0], &d[1]);
    if (both.value.n > 0)
        *theirs = both;
    else if (theirs->value.n == 0 || (grey_unpack_deliveries(ours->value, &d[0]) && d[0].allowed))
        *theirs = *ours;
}

struct str grey_tag(struct str key)
{
    return str_upto(key, str_find(key, '\0'));
}
