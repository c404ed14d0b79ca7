#include "report/history.h"

#include "base/bug.h"
#include "base/hash.h"
#include "report/history_row.h"

#include <stdlib.h>
#include <string.h>

const char history_table[] = "dmarc";

/* The change as the store's thread sees it. It lies in the token, which lives until the answer: the store
 * copies no more than STORE_RESULT_MAX octets of a question. */
struct change {
    struct str tuple, record;
    bool accepted, passed;
    bool is_total; /* number is what the count is at least, else what it grows by */
    uint64_t number;
    uint64_t rows_max;
    int64_t expires_unix;
};

struct history_token {
    struct arena *mem;
    struct change change;
    history_done_fn *done; /* NULL: cancelled */
    void *arg;
};

void history_init(struct history *history, struct store *store, const char *hostname)
{
    *history = (struct history){store, hash_stable(hostname, strlen(hostname), 0), HISTORY_ROWS_MAX,
                                HISTORY_KEEP_DAYS};
}

bool history_is_wanted(const struct dmarc_discovery *d)
{
    return d->found == DMARC_FOUND && d->record != NULL && d->record_domain != NULL &&
           d->record->rua_count > 0;
}

const char *history_override_name(enum history_override override)
{
    static const char *const names[] = {
        "", "local_policy", "mailing_list", "policy_test_mode", "trusted_forwarder", "other"};

    return names[override];
}

/* ---- counting; pure, on the store's thread ---- */

enum { ROW_COUNT, ROW_RECORD, ROW_SUMS, ROWS };

static struct str count_value(struct arena *mem, uint64_t count, struct str tuple)
{
    char *p = arena_alloc(mem, 8 + tuple.n);

    memcpy(p, history_octets(mem, count).p, 8);
    memcpy(p + 8, tuple.p, tuple.n);
    return str_make(p, 8 + tuple.n);
}

static uint64_t grown_by(const struct change *c, uint64_t count)
{
    if (!c->is_total)
        return c->number;
    return c->number > count ? c->number - count : 0;
}

/* How many messages are new, of which those without a row are left out of the report. */
static uint64_t count_row(struct arena *mem, const struct change *c, struct store_row *row,
                          struct history_sums *sums)
{
    bool is_new = row->value.n == 0;
    uint64_t count = is_new ? 0 : history_number(str_upto(row->value, 8)), more = grown_by(c, count);

    if ((is_new && sums->rows >= c->rows_max) || (!is_new && !str_eq(str_from(row->value, 8), c->tuple))) {
        more = c->is_total ? 0 : more; /* a total that comes again would be left out again */
        sums->left_out += more;
        return more;
    }
    sums->rows += is_new;
    if (more > 0)
        *row = (struct store_row){count_value(mem, count + more, c->tuple), c->expires_unix};
    return more;
}

static void change_count(struct arena *mem, const void *question, struct store_row *rows, size_t count,
                         void *result)
{
    const struct change *c;
    struct history_sums sums;
    uint64_t more;

    (void)count, (void)result;
    memcpy(&c, question, sizeof(const struct change *));
    history_sums_unpack(rows[ROW_SUMS].value, &sums);
    more = count_row(mem, c, &rows[ROW_COUNT], &sums);
    sums.messages += more;
    sums.accepted += c->accepted ? more : 0;
    sums.passed += c->passed ? more : 0;
    if (more > 0)
        rows[ROW_SUMS] = (struct store_row){history_sums_pack(mem, &sums), c->expires_unix};
    if (rows[ROW_COUNT].value.n > 0 && rows[ROW_RECORD].value.n == 0)
        rows[ROW_RECORD] = (struct store_row){c->record, c->expires_unix};
}

/* ---- adding ---- */

static void on_counted(enum store_status status, const void *result, void *arg)
{
    struct history_token *token = arg;
    history_done_fn *done = token->done;
    struct arena *mem = token->mem; /* the token is in it */

    (void)result;
    token->done = NULL;
    if (done != NULL)
        done(status == STORE_DONE ? STORE_DONE : STORE_UNAVAILABLE, token->arg);
    if (status != STORE_LATER)
        arena_free(&mem);
}

static int64_t expires_at(const struct history *history, int64_t day)
{
    return (day + 1 + history->keep_days) * HISTORY_DAY_S;
}

static struct history_token *start(const struct history *history, struct loop *loop,
                                   const struct history_entry *e, uint64_t origin, bool is_total,
                                   uint64_t number, history_done_fn *done, void *arg)
{
    struct arena *mem = arena_new(8 * 1024);
    struct history_token *token = ARENA_NEW(mem, struct history_token);
    struct change *c = &token->change;
    struct str domain = str_of(e->policy_domain), ours = history_octets(mem, origin);
    struct store_request request = {history_table,           {{0}}, ROWS,     change_count, &c,
                                    sizeof(struct change *), 0,     !is_total /* which can come again */};

    *token = (struct history_token){
        mem, {.accepted = e->accepted, .is_total = is_total, .number = number}, done, arg};
    c->tuple = history_tuple_pack(mem, e);
    c->record = str_copy(mem, history_record_cut(e->record));
    c->passed = e->dkim_aligned || e->spf_aligned;
    c->rows_max = history->rows_max;
    c->expires_unix = expires_at(history, e->day);
    request.keys[ROW_COUNT] =
        history_key_make(mem, HISTORY_COUNT, e->day, domain, history_hash(mem, c->tuple, ours));
    request.keys[ROW_RECORD] = history_key_make(mem, HISTORY_RECORD, e->day, domain,
                                                history_octets(mem, history_record_hash(c->record)));
    request.keys[ROW_SUMS] = history_key_make(mem, HISTORY_SUMS, e->day, domain, ours);
    store_update(history->store, loop, &request, on_counted, token);
    return token;
}

struct history_token *history_add(const struct history *history, struct loop *loop,
                                  const struct history_entry *entry, history_done_fn *done, void *arg)
{
    return start(history, loop, entry, history->origin, false, 1, done, arg);
}

struct history_token *history_set(const struct history *history, struct loop *loop,
                                  const struct history_entry *entry, uint64_t origin, uint64_t total,
                                  history_done_fn *done, void *arg)
{
    return start(history, loop, entry, origin, true, total, done, arg);
}

void history_cancel(struct history_token **token)
{
    if (*token != NULL)
        (*token)->done = NULL;
    *token = NULL;
}

/* ---- merging ---- */

/* What comes from outside can be added up without fear. */
static const uint64_t COUNT_MOST = (uint64_t)1 << 48;

static bool is_count_row(struct arena *mem, const struct history_key *key, struct str value)
{
    struct history_entry entry;
    uint64_t record_hash;
    struct str tuple = str_from(value, 8);

    return value.n > 8 && history_tuple_unpack(mem, tuple, &entry, &record_hash) &&
           history_number(str_upto(value, 8)) <= COUNT_MOST &&
           str_eq(history_hash(mem, tuple, str_from(key->tail, 16)), key->tail);
}

bool history_row_is_valid(struct str key, struct str value)
{
    struct arena *mem = arena_new(0);
    struct history_sums sums;
    struct history_key parts;
    bool valid = key.n <= STORE_KEY_BYTES_MAX && value.n > 0 && history_key_read(key, &parts);

    if (valid && parts.kind == HISTORY_COUNT)
        valid = is_count_row(mem, &parts, value);
    else if (valid && parts.kind == HISTORY_RECORD)
        valid = value.n <= HISTORY_RECORD_MAX && history_record_hash(value) == history_number(parts.tail);
    else if (valid)
        valid = history_sums_unpack(value, &sums);
    arena_free(&mem);
    return valid;
}

struct merge {
    struct arena *mem;
    char kind;
    struct str value;
    int64_t expires_unix;
    store_done_fn *done;
    void *arg;
};

static uint64_t greater(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static struct str merged_sums(struct arena *mem, struct str ours, struct str theirs)
{
    struct history_sums a, b;

    history_sums_unpack(ours, &a);
    history_sums_unpack(theirs, &b);
    a = (struct history_sums){greater(a.rows, b.rows), greater(a.messages, b.messages),
                              greater(a.accepted, b.accepted), greater(a.passed, b.passed),
                              greater(a.left_out, b.left_out)};
    return history_sums_pack(mem, &a);
}

static void change_merge(struct arena *mem, const void *question, struct store_row *rows, size_t count,
                         void *result)
{
    const struct merge *m;
    bool news = true;

    (void)count;
    memcpy(&m, question, sizeof(const struct merge *));
    if (rows[0].value.n > 0 && m->kind == HISTORY_SUMS) {
        struct str value = merged_sums(mem, rows[0].value, m->value);

        news = !str_eq(value, rows[0].value);
        rows[0].value = value;
    } else if (rows[0].value.n > 0) {
        news = m->kind == HISTORY_COUNT &&
               history_number(str_upto(m->value, 8)) > history_number(str_upto(rows[0].value, 8));
        if (news)
            rows[0].value = m->value;
    } else {
        rows[0] = (struct store_row){m->value, m->expires_unix};
    }
    memcpy(result, &news, sizeof(news));
}

static void on_merged(enum store_status status, const void *result, void *arg)
{
    struct merge *m = arg;
    struct arena *mem = m->mem; /* m is in it */

    m->done(status, result, m->arg);
    arena_free(&mem);
}

void history_merge(const struct history *history, struct loop *loop, struct str key, struct str value,
                   store_done_fn *done, void *arg)
{
    struct arena *mem = arena_new(0);
    struct merge *m = ARENA_NEW(mem, struct merge);
    struct store_request request = {history_table,          {key},        1,    change_merge, &m,
                                    sizeof(struct merge *), sizeof(bool), false};
    struct history_key parts;

    if (!history_key_read(key, &parts))
        bug("a row that is none of the history's is merged");
    *m = (struct merge){mem, parts.kind, str_copy(mem, value), expires_at(history, parts.day), done, arg};
    store_update(history->store, loop, &request, on_merged, m);
}

/* ---- forgetting ---- */

static void change_forget(struct arena *mem, const void *question, struct store_row *rows, size_t count,
                          void *result)
{
    (void)mem, (void)question, (void)count, (void)result;
    rows[0].value = STR("");
}

void history_forget(const struct history *history, struct loop *loop, struct str key, store_done_fn *done,
                    void *arg)
{
    struct store_request request = {
        .table = history_table, .keys = {key}, .keys_count = 1, .change = change_forget};

    store_update(history->store, loop, &request, done, arg);
}

int64_t history_day_of(struct str key)
{
    struct history_key parts;

    return history_key_read(key, &parts) ? parts.day : -1;
}
