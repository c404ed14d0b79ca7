#include "report/lease.h"

#include "base/hash.h"
#include "report/history.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char table[] = "report";

enum { KEEP_DAYS = 2 * HISTORY_KEEP_DAYS }; /* longer than the rows that it is about */

/* The row's value, as it is: both ends are this program. */
struct row {
    unsigned char version, finished, attempts, served_count;
    uint64_t holder;
    int64_t until_unix, claimed_day;
    uint64_t served[DESTINATIONS_MOST];
    char named_by[LEASE_NAME_MAX + 1];
};

enum { VERSION_1 = 1 };

enum action { CLAIM, SERVED, END };

struct question {
    enum action action;
    uint64_t holder, address;
    int64_t now_unix, day;
    unsigned daily_cap;
    enum lease_end how;
    char hostname[LEASE_NAME_MAX + 1];
    struct bounce_key fresh;
};

uint64_t lease_holder(void)
{
    return hash_bytes("lease", strlen("lease")); /* the key is drawn once a process */
}

uint64_t lease_address_hash(const char *address)
{
    uint64_t hash = hash_stable(address, strlen(address), 5);

    return hash != 0 ? hash : 1;
}

/* ---- rows ---- */

static struct row read_row(struct str value)
{
    struct row row = {0};

    if (value.n == sizeof(row))
        memcpy(&row, value.p, sizeof(row));
    if (row.version != VERSION_1)
        return (struct row){.version = VERSION_1};
    row.named_by[LEASE_NAME_MAX] = '\0';
    return row;
}

static struct str lease_key(struct arena *mem, int64_t day, const char *domain)
{
    return str_of(str_fmt(mem, "l%010" PRId64 "%.255s", day, domain));
}

static struct str cap_key(struct arena *mem, int64_t now_unix)
{
    return str_of(str_fmt(mem, "n%010" PRId64, now_unix / HISTORY_DAY_S));
}

/* ---- pure, on the store's thread ---- */

static enum lease_state claim(struct arena *mem, const struct question *q, struct row *row,
                              struct store_row *cap)
{
    int64_t today = q->now_unix / HISTORY_DAY_S;
    uint64_t count = 0;

    if (row->finished)
        return LEASE_FINISHED;
    if (row->holder != 0 && row->holder != q->holder && row->until_unix > q->now_unix)
        return LEASE_HELD;
    if (row->claimed_day != today) {
        str_to_u64(cap->value, UINT64_MAX, &count);
        if (count >= q->daily_cap)
            return LEASE_CAPPED;
        *cap =
            (struct store_row){str_of(str_fmt(mem, "%" PRIu64, count + 1)), q->now_unix + 2 * HISTORY_DAY_S};
        row->claimed_day = today;
    }
    row->holder = q->holder;
    row->until_unix = q->now_unix + LEASE_S;
    if (row->named_by[0] == '\0')
        memcpy(row->named_by, q->hostname, sizeof(row->named_by));
    return LEASE_OURS;
}

static void serve(const struct question *q, struct row *row)
{
    row->until_unix = q->now_unix + LEASE_S;
    if (row->served_count < DESTINATIONS_MOST)
        row->served[row->served_count++] = q->address;
}

static void end(const struct question *q, struct row *row)
{
    row->attempts += q->how != LEASE_UNTRIED;
    row->finished = q->how == LEASE_DONE || row->attempts >= LEASE_ATTEMPTS;
    row->holder = 0;
    row->until_unix = 0;
}

/* rows[0] is the lease, rows[1] the count of the day, rows[2] the key of our tokens. */
static void change(struct arena *mem, const void *question, struct store_row *rows, size_t count,
                   void *result)
{
    struct lease_answer *answer = result;
    struct question q;
    struct row row;

    (void)count;
    memcpy(&q, question, sizeof(q));
    row = read_row(rows[0].value);
    if (q.action == CLAIM) {
        answer->state = claim(mem, &q, &row, &rows[1]);
        memcpy(answer->served, row.served, sizeof(answer->served));
        memcpy(answer->named_by, row.named_by, sizeof(answer->named_by));
        if (answer->state != LEASE_OURS)
            return;
        answer->bounces = bounce_key_keep(mem, &q.fresh, &rows[2]);
    } else if (row.holder != q.holder) {
        return; /* it was too late, and somebody else goes on */
    } else if (q.action == SERVED) {
        serve(&q, &row);
    } else {
        end(&q, &row);
    }
    rows[0] = (struct store_row){str_make(arena_copy(mem, &row, sizeof(row)), sizeof(row)),
                                 (q.day + KEEP_DAYS) * HISTORY_DAY_S};
}

/* ---- asking ---- */

static void ask(const struct lease *lease, struct question *q, store_done_fn *done, void *arg)
{
    struct arena *mem = arena_new(0);
    struct store_request request = {
        .table = table,
        .keys = {lease_key(mem, lease->day, lease->domain), cap_key(mem, lease->now_unix), bounce_key_name()},
        .keys_count = q->action == CLAIM ? 3 : 1,
        .change = change,
        .question = q,
        .question_bytes = sizeof(*q),
        .result_bytes = q->action == CLAIM ? sizeof(struct lease_answer) : 0};

    q->holder = lease->holder;
    q->day = lease->day;
    q->now_unix = lease->now_unix;
    store_update(lease->store, lease->loop, &request, done, arg);
    arena_free(&mem);
}

void lease_claim(const struct lease *lease, unsigned daily_cap, const char *hostname, store_done_fn *done,
                 void *arg)
{
    struct question q = {.action = CLAIM, .daily_cap = daily_cap, .fresh = bounce_key_draw()};

    snprintf(q.hostname, sizeof(q.hostname), "%s", hostname);
    ask(lease, &q, done, arg);
}

void lease_served(const struct lease *lease, const char *address, store_done_fn *done, void *arg)
{
    struct question q = {.action = SERVED, .address = lease_address_hash(address)};

    ask(lease, &q, done, arg);
}

void lease_end(const struct lease *lease, enum lease_end how, store_done_fn *done, void *arg)
{
    struct question q = {.action = END, .how = how};

    ask(lease, &q, done, arg);
}

/* ---- reading ---- */

struct reading {
    struct arena *mem; /* of one row */
    lease_each_fn *each;
    void *arg;
};

enum { DAY_DIGITS = 10 };

static bool on_row(struct str key, struct str value, int64_t expires_unix, void *arg)
{
    struct reading *r = arg;
    struct row row = read_row(value);
    struct lease_row seen = {
        .finished = row.finished, .sent = row.served_count > 0, .attempts = row.attempts};
    uint64_t day;

    (void)expires_unix;
    if (!str_to_u64(str_upto(str_from(key, 1), DAY_DIGITS), INT32_MAX, &day))
        return true;
    arena_reset(r->mem);
    seen.day = (int64_t)day;
    seen.domain = str_dup(r->mem, str_from(key, 1 + DAY_DIGITS));
    return r->each(&seen, r->arg);
}

int lease_each(struct store *store, int64_t day, lease_each_fn *each, void *arg, struct fail *fail)
{
    struct arena *mem = arena_new(0);
    struct reading r = {arena_new(0), each, arg};
    int outcome = store_each(store, table, day < 0 ? STR("l") : lease_key(mem, day, ""), on_row, &r, fail);

    arena_free(&r.mem);
    arena_free(&mem);
    return outcome;
}

static bool on_cap(struct str key, struct str value, int64_t expires_unix, void *arg)
{
    (void)key, (void)expires_unix;
    str_to_u64(value, UINT64_MAX, arg);
    return false;
}

int lease_count(struct store *store, int64_t now_unix, uint64_t *count_out, struct fail *fail)
{
    struct arena *mem = arena_new(0);
    int outcome;

    *count_out = 0;
    outcome = store_find(store, table, cap_key(mem, now_unix), on_cap, count_out, fail);
    arena_free(&mem);
    return outcome;
}
