#include "report/history_row.h"

#include <string.h>

/* Both walks add up neighbours: a domain's rows lie side by side, and in it those that differ only in their
 * origin. */

/* ---- domains ---- */

struct domains {
    struct arena *mem; /* of the domain that is being added up */
    int64_t day;
    const char *domain; /* NULL: none yet */
    struct history_sums sums;
    history_domain_fn *each;
    void *arg;
    bool enough;
};

static void end_domain(struct domains *d)
{
    if (d->domain != NULL && d->sums.messages > 0 && !d->enough)
        d->enough = !d->each(d->day, d->domain, &d->sums, d->arg);
    d->domain = NULL;
    d->sums = (struct history_sums){0};
    arena_reset(d->mem);
}

static void add_count(struct history_sums *sums, struct str value)
{
    struct history_count count;

    if (!history_count_unpack(value, &count))
        return;
    sums->rows++;
    sums->messages += count.messages;
    sums->accepted += count.accepted;
    sums->passed += history_tuple_passes(count.tuple) ? count.messages : 0;
}

static void add_tally(struct history_sums *sums, struct str value)
{
    struct history_tally tally;

    history_tally_unpack(value, &tally);
    sums->messages += tally.left_out;
    sums->left_out += tally.left_out;
    sums->accepted += tally.accepted;
    sums->passed += tally.passed;
}

static bool on_any(struct str key, struct str value, int64_t expires_unix, void *arg)
{
    struct domains *d = arg;
    struct history_key parts;

    (void)expires_unix;
    if (!history_key_read(key, &parts))
        return true;
    if (d->domain != NULL && (parts.day != d->day || !str_eq_z(parts.domain, d->domain)))
        end_domain(d);
    if (d->domain == NULL)
        d->domain = str_dup(d->mem, parts.domain);
    d->day = parts.day;
    if (parts.kind == HISTORY_COUNT)
        add_count(&d->sums, value);
    else if (parts.kind == HISTORY_TALLY)
        add_tally(&d->sums, value);
    return !d->enough;
}

int history_each_domain(struct store *store, int64_t day, history_domain_fn *each, void *arg,
                        struct fail *fail)
{
    struct arena *mem = arena_new(0);
    struct domains d = {.mem = arena_new(0), .each = each, .arg = arg};
    int outcome = store_each(store, history_table, history_key_prefix(mem, day, NULL, HISTORY_ANY), on_any,
                             &d, fail);

    if (outcome == 0)
        end_domain(&d);
    arena_free(&d.mem);
    arena_free(&mem);
    return outcome;
}

static bool on_tally(struct str key, struct str value, int64_t expires_unix, void *arg)
{
    struct history_tally tally;

    (void)key, (void)expires_unix;
    history_tally_unpack(value, &tally);
    *(uint64_t *)arg += tally.left_out;
    return true;
}

int history_left_out(struct store *store, int64_t day, const char *domain, uint64_t *count_out,
                     struct fail *fail)
{
    struct arena *mem = arena_new(0);
    int outcome;

    *count_out = 0;
    outcome = store_each(store, history_table, history_key_prefix(mem, day, domain, HISTORY_TALLY), on_tally,
                         count_out, fail);
    arena_free(&mem);
    return outcome;
}

/* ---- rows ---- */

struct rows {
    struct arena *mem; /* of the tuple that is being added up */
    struct str tuple;  /* n = 0: none yet */
    uint64_t count;
    history_row_fn *each;
    void *arg;
    bool enough;
};

static void end_row(struct rows *r)
{
    struct history_entry entry;
    uint64_t record_hash;

    if (r->tuple.n > 0 && !r->enough && history_tuple_unpack(r->mem, r->tuple, &entry, &record_hash))
        r->enough = !r->each(&entry, record_hash, r->count, r->arg);
    r->tuple = (struct str){0};
    r->count = 0;
    arena_reset(r->mem);
}

static bool on_count(struct str key, struct str value, int64_t expires_unix, void *arg)
{
    struct rows *r = arg;
    struct history_count count;

    (void)key, (void)expires_unix;
    if (!history_count_unpack(value, &count))
        return true;
    if (r->tuple.n > 0 && !str_eq(r->tuple, count.tuple))
        end_row(r);
    if (r->tuple.n == 0)
        r->tuple = str_copy(r->mem, count.tuple);
    r->count += count.messages;
    return !r->enough;
}

int history_each_row(struct store *store, int64_t day, const char *domain, history_row_fn *each, void *arg,
                     struct fail *fail)
{
    struct arena *mem = arena_new(0);
    struct rows r = {.mem = arena_new(8 * 1024), .each = each, .arg = arg};
    int outcome = store_each(store, history_table, history_key_prefix(mem, day, domain, HISTORY_COUNT),
                             on_count, &r, fail);

    if (outcome == 0)
        end_row(&r);
    arena_free(&r.mem);
    arena_free(&mem);
    return outcome;
}

/* ---- the record ---- */

struct wanted {
    struct arena *mem;
    uint64_t hash;
    struct str found;
};

static bool on_record(struct str key, struct str value, int64_t expires_unix, void *arg)
{
    struct wanted *w = arg;
    struct history_key parts;

    (void)expires_unix;
    if (!history_key_read(key, &parts) || history_number(parts.tail) != w->hash)
        return true;
    w->found = str_copy(w->mem, value);
    return false;
}

int history_record(struct store *store, struct arena *mem, int64_t day, const char *domain,
                   uint64_t record_hash, struct str *record_out, struct fail *fail)
{
    struct wanted w = {mem, record_hash, {0}};
    int outcome = store_each(store, history_table, history_key_prefix(mem, day, domain, HISTORY_RECORD),
                             on_record, &w, fail);

    *record_out = w.found;
    return outcome;
}
