#include "report/history_row.h"

#include <string.h>

/* Both walks add up neighbours: rows that differ only in their origin lie side by side. */

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
    if (d->domain != NULL && !d->enough)
        d->enough = !d->each(d->day, d->domain, &d->sums, d->arg);
    d->domain = NULL;
    d->sums = (struct history_sums){0};
    arena_reset(d->mem);
}

static bool on_sums(struct str key, struct str value, int64_t expires_unix, void *arg)
{
    struct domains *d = arg;
    struct history_sums sums;
    struct history_key parts;

    (void)expires_unix;
    if (!history_key_read(key, &parts) || !history_sums_unpack(value, &sums))
        return true;
    if (d->domain != NULL && (parts.day != d->day || !str_eq_z(parts.domain, d->domain)))
        end_domain(d);
    if (d->domain == NULL)
        d->domain = str_dup(d->mem, parts.domain);
    d->day = parts.day;
    d->sums.rows += sums.rows;
    d->sums.messages += sums.messages;
    d->sums.accepted += sums.accepted;
    d->sums.passed += sums.passed;
    d->sums.left_out += sums.left_out;
    return !d->enough;
}

static int add_up(struct store *store, int64_t day, const char *domain, history_domain_fn *each, void *arg,
                  struct fail *fail)
{
    struct arena *mem = arena_new(0);
    struct domains d = {.mem = arena_new(0), .each = each, .arg = arg};
    int outcome = store_each(store, history_table, history_key_prefix(mem, HISTORY_SUMS, day, domain),
                             on_sums, &d, fail);

    if (outcome == 0)
        end_domain(&d);
    arena_free(&d.mem);
    arena_free(&mem);
    return outcome;
}

int history_each_domain(struct store *store, int64_t day, history_domain_fn *each, void *arg,
                        struct fail *fail)
{
    return add_up(store, day, NULL, each, arg, fail);
}

int history_sums_of(struct store *store, int64_t day, const char *domain, history_domain_fn *each, void *arg,
                    struct fail *fail)
{
    return add_up(store, day, domain, each, arg, fail);
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

    (void)key, (void)expires_unix;
    if (value.n <= 8)
        return true;
    if (r->tuple.n > 0 && !str_eq(r->tuple, str_from(value, 8)))
        end_row(r);
    if (r->tuple.n == 0)
        r->tuple = str_copy(r->mem, str_from(value, 8));
    r->count += history_number(str_upto(value, 8));
    return !r->enough;
}

int history_each_row(struct store *store, int64_t day, const char *domain, history_row_fn *each, void *arg,
                     struct fail *fail)
{
    struct arena *mem = arena_new(0);
    struct rows r = {.mem = arena_new(8 * 1024), .each = each, .arg = arg};
    int outcome = store_each(store, history_table, history_key_prefix(mem, HISTORY_COUNT, day, domain),
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
    int outcome = store_each(store, history_table, history_key_prefix(mem, HISTORY_RECORD, day, domain),
                             on_record, &w, fail);

    *record_out = w.found;
    return outcome;
}
