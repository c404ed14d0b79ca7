#include "report/history_row.h"

#include "base/buf.h"
#include "base/hash.h"

#include <string.h>

enum { VERSION_1 = 1, COMMENT_MAX = 100, DAY_OCTETS = 4, HASH_OCTETS = 16 };

/* ---- numbers and hashes ---- */

struct str history_octets(struct arena *mem, uint64_t number)
{
    unsigned char *p = arena_alloc(mem, 8);

    for (int i = 0; i < 8; i++)
        p[i] = (unsigned char)(number >> (56 - 8 * i));
    return str_make((const char *)p, 8);
}

uint64_t history_number(struct str eight)
{
    uint64_t number = 0;

    for (size_t i = 0; i < eight.n && i < 8; i++)
        number = number << 8 | (unsigned char)eight.p[i];
    return number;
}

/* The same on every host, so that hosts can be merged. Somebody who finds two tuples with one hash has two of
 * his own messages counted in one row: the stored tuple is compared, and the second counts as left out. */
struct str history_hash(struct arena *mem, struct str tuple, struct str origin)
{
    char *p = arena_alloc(mem, HASH_OCTETS + origin.n);

    memcpy(p, history_octets(mem, hash_stable(tuple.p, tuple.n, 1)).p, 8);
    memcpy(p + 8, history_octets(mem, hash_stable(tuple.p, tuple.n, 2)).p, 8);
    memcpy(p + HASH_OCTETS, origin.p, origin.n);
    return str_make(p, HASH_OCTETS + origin.n);
}

uint64_t history_record_hash(struct str record)
{
    return hash_stable(record.p, record.n, 3);
}

/* At the last whole tag or address, so that what remains is a record still. */
struct str history_record_cut(struct str record)
{
    size_t n = HISTORY_RECORD_MAX;

    if (record.n <= HISTORY_RECORD_MAX)
        return record;
    while (n > 0 && record.p[n] != ';' && record.p[n] != ',')
        n--;
    return str_upto(record, n);
}

/* ---- keys ---- */

static void add_day(struct buf *b, int64_t day)
{
    for (int shift = 24; shift >= 0; shift -= 8)
        buf_add_char(b, (char)(day >> shift));
}

static struct str taken(struct arena *mem, struct buf *b)
{
    struct str copy = str_copy(mem, buf_str(b));

    buf_fini(b);
    return copy;
}

static void add_domain(struct buf *b, struct str domain)
{
    buf_add_str(b, str_upto(domain, HISTORY_NAME_MAX));
    buf_add_char(b, '\0');
}

struct str history_key_make(struct arena *mem, int64_t day, struct str domain, enum history_kind kind,
                            struct str tail)
{
    struct buf b;

    buf_init(&b, STORE_KEY_BYTES_MAX);
    add_day(&b, day);
    add_domain(&b, domain);
    buf_add_char(&b, (char)kind);
    buf_add_str(&b, tail);
    return taken(mem, &b);
}

struct str history_key_prefix(struct arena *mem, int64_t day, const char *domain, enum history_kind kind)
{
    struct buf b;

    buf_init(&b, STORE_KEY_BYTES_MAX);
    if (day >= 0)
        add_day(&b, day);
    if (day >= 0 && domain != NULL)
        add_domain(&b, str_of(domain));
    if (day >= 0 && domain != NULL && kind != HISTORY_ANY)
        buf_add_char(&b, (char)kind);
    return taken(mem, &b);
}

static size_t tail_octets(enum history_kind kind)
{
    return kind == HISTORY_COUNT ? HASH_OCTETS + 8 : kind == HISTORY_RECORD || kind == HISTORY_TALLY ? 8 : 0;
}

bool history_key_read(struct str key, struct history_key *key_out)
{
    struct str rest;

    key_out->day = (int64_t)history_number(str_upto(key, DAY_OCTETS));
    if (!str_cut(str_from(key, DAY_OCTETS), '\0', &key_out->domain, &rest) || rest.n == 0)
        return false;
    key_out->kind = (enum history_kind)(unsigned char)rest.p[0];
    key_out->tail = str_from(rest, 1);
    return tail_octets(key_out->kind) > 0 && key_out->tail.n == tail_octets(key_out->kind) &&
           key_out->domain.n > 0 && key_out->domain.n <= HISTORY_NAME_MAX;
}

/* ---- the tuple ---- */

static void add_text(struct buf *b, const char *text, size_t most)
{
    struct str s = str_upto(str_of(text), most);

    buf_add_char(b, (char)s.n);
    buf_add_str(b, s);
}

static void add_name(struct buf *b, const char *name)
{
    struct str s = str_upto(str_of(name), HISTORY_NAME_MAX);

    buf_add_char(b, (char)s.n);
    for (size_t i = 0; i < s.n; i++)
        buf_add_char(b, ascii_lower(s.p[i]));
}

static bool is_again(const struct history_entry *e, size_t i)
{
    for (size_t k = 0; k < i; k++)
        if (e->dkim[k].result == e->dkim[i].result &&
            str_same_z(str_of(e->dkim[k].domain), e->dkim[i].domain) &&
            str_same_z(str_of(e->dkim[k].selector), e->dkim[i].selector))
            return true;
    return false;
}

/* As many signatures as fit; each octet run carries its length, so nothing is read in two ways. */
static void add_signatures(struct buf *b, const struct history_entry *e)
{
    size_t count_at = b->n, count = 0;

    buf_add_char(b, 0);
    for (size_t i = 0; i < e->dkim_count && i < HISTORY_DKIM_MAX; i++) {
        if (is_again(e, i) || b->n + 3 + 2 * HISTORY_NAME_MAX > HISTORY_TUPLE_MAX)
            continue;
        buf_add_char(b, (char)e->dkim[i].result);
        add_name(b, e->dkim[i].domain);
        add_text(b, e->dkim[i].selector, HISTORY_NAME_MAX);
        count++;
    }
    b->p[count_at] = (char)count;
}

struct str history_tuple_pack(struct arena *mem, const struct history_entry *e, uint64_t record_hash)
{
    bool has_spf = e->spf_domain != NULL && e->spf_domain[0] != '\0';
    struct buf b;

    buf_init(&b, HISTORY_TUPLE_MAX);
    buf_add_char(&b, VERSION_1);
    buf_add_str(&b, history_octets(mem, record_hash));
    buf_add_char(&b, (char)e->source.family);
    buf_add(&b, e->source.b, e->source.family == 4 ? 4 : 16);
    buf_add_char(&b, (char)e->disposition);
    buf_add_char(&b, (char)(e->dkim_aligned | e->spf_aligned << 1 | has_spf << 2));
    buf_add_char(&b, (char)e->override);
    add_text(&b, e->comment, COMMENT_MAX);
    add_name(&b, e->header_from);
    add_name(&b, e->envelope_from);
    add_name(&b, e->envelope_to);
    buf_add_char(&b, has_spf ? (char)e->spf_scope : 0);
    buf_add_char(&b, has_spf ? (char)e->spf_result : 0);
    add_name(&b, e->spf_domain);
    add_signatures(&b, e);
    return taken(mem, &b);
}

/* Takes octets from the front; what is not there sets `bad` and reads as nothing. */
struct reader {
    struct str rest;
    bool bad;
};

static struct str take(struct reader *r, size_t n)
{
    struct str piece = str_upto(r->rest, n);

    r->bad |= piece.n < n;
    r->rest = str_from(r->rest, piece.n);
    return r->bad ? str_make("", 0) : piece;
}

static unsigned take_byte(struct reader *r, unsigned most)
{
    unsigned value = (unsigned)history_number(take(r, 1));

    r->bad |= value > most;
    return r->bad ? 0 : value;
}

static const char *take_text(struct reader *r, struct arena *mem)
{
    struct str text = take(r, take_byte(r, HISTORY_NAME_MAX));

    r->bad |= str_has(text, '\0');
    return str_dup(mem, text);
}

static void take_source(struct reader *r, struct ip *ip_out)
{
    unsigned family = take_byte(r, 6);
    struct str octets = take(r, family == 4 ? 4 : 16);

    r->bad |= family != 4 && family != 6;
    ip_out->family = (unsigned char)family;
    memcpy(ip_out->b, octets.p, octets.n);
}

bool history_tuple_unpack(struct arena *mem, struct str tuple, struct history_entry *e,
                          uint64_t *record_hash_out)
{
    struct reader r = {tuple, false};
    unsigned flags;

    *e = (struct history_entry){0};
    r.bad |= take_byte(&r, VERSION_1) != VERSION_1;
    *record_hash_out = history_number(take(&r, 8));
    take_source(&r, &e->source);
    e->disposition = (enum dmarc_policy)take_byte(&r, DMARC_POLICY_REJECT);
    flags = take_byte(&r, 7);
    e->dkim_aligned = flags & 1;
    e->spf_aligned = flags >> 1 & 1;
    e->override = (enum history_override)take_byte(&r, HISTORY_OTHER);
    e->comment = take_text(&r, mem);
    e->header_from = take_text(&r, mem);
    e->envelope_from = take_text(&r, mem);
    e->envelope_to = take_text(&r, mem);
    e->spf_scope = (enum spf_scope)take_byte(&r, SPF_MFROM);
    e->spf_result = (enum spf_result)take_byte(&r, SPF_PERMERROR);
    e->spf_domain = take_text(&r, mem);
    e->dkim_count = take_byte(&r, HISTORY_DKIM_MAX);
    for (size_t i = 0; i < e->dkim_count && !r.bad; i++) {
        e->dkim[i].result = (enum dkim_result)take_byte(&r, DKIM_PERMERROR);
        e->dkim[i].domain = take_text(&r, mem);
        e->dkim[i].selector = take_text(&r, mem);
    }
    return !r.bad && r.rest.n == 0;
}

/* Without reading all of it: the flags lie behind the source, and everything before has a known length. */
bool history_tuple_passes(struct str tuple)
{
    struct reader r = {tuple, false};
    struct ip source;
    unsigned flags;

    take(&r, 1 + 8);
    take_source(&r, &source);
    take(&r, 1);
    flags = take_byte(&r, 7);
    return (flags & 3) != 0;
}

/* ---- counts and tallies ---- */

static struct str pack_numbers(struct arena *mem, const uint64_t *numbers, size_t count, struct str rest)
{
    char *p = arena_alloc(mem, 8 * count + rest.n);

    for (size_t i = 0; i < count; i++)
        memcpy(p + 8 * i, history_octets(mem, numbers[i]).p, 8);
    if (rest.n > 0)
        memcpy(p + 8 * count, rest.p, rest.n);
    return str_make(p, 8 * count + rest.n);
}

/* A mark is less than HISTORY_MARK_END, so it begins with a zero octet; a tuple begins with its version. Rows of
 * before there were marks are read, too. */
static uint64_t take_mark(struct reader *r)
{
    bool has_mark = r->rest.n >= 8 && r->rest.p[0] == '\0';

    return has_mark ? history_number(take(r, 8)) : 0;
}

struct str history_count_pack(struct arena *mem, const struct history_count *count)
{
    return pack_numbers(mem, (const uint64_t[]){count->messages, count->accepted, count->mark},
                        count->mark > 0 ? 3 : 2, count->tuple);
}

bool history_count_unpack(struct str value, struct history_count *count)
{
    struct reader r = {value, false};

    count->messages = history_number(take(&r, 8));
    count->accepted = history_number(take(&r, 8));
    count->mark = take_mark(&r);
    count->tuple = r.rest;
    return !r.bad && r.rest.n > 0;
}

struct str history_tally_pack(struct arena *mem, const struct history_tally *t)
{
    return pack_numbers(mem, (const uint64_t[]){t->rows, t->left_out, t->accepted, t->passed, t->mark},
                        t->mark > 0 ? 5 : 4, (struct str){0});
}

bool history_tally_unpack(struct str value, struct history_tally *t)
{
    struct reader r = {value, false};

    *t = (struct history_tally){0};
    if (value.n == 0)
        return true;
    t->rows = history_number(take(&r, 8));
    t->left_out = history_number(take(&r, 8));
    t->accepted = history_number(take(&r, 8));
    t->passed = history_number(take(&r, 8));
    t->mark = take_mark(&r);
    return !r.bad && r.rest.n == 0;
}
