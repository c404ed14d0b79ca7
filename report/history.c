#include "report/history.h"

#include "base/bug.h"
#include "base/hash.h"
#include "report/history_row.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

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

enum { ROW_COUNT, ROW_RECORD, ROW_TALLY, ROWS };

struct history_token {
    struct arena *mem;
    struct store *store;
    struct loop *loop;
    struct change change;
    struct str keys[ROWS];
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

const char *history_date(int64_t day, char text[HISTORY_DATE_MAX])
{
    time_t time = (time_t)(day * HISTORY_DAY_S);
    struct tm tm;

    gmtime_r(&time, &tm);
    strftime(text, HISTORY_DATE_MAX, "%Y-%m-%d", &tm);
    return text;
}

/* ---- counting; pure, on the store's thread ---- */

static uint64_t grown_by(const struct change *c, uint64_t messages)
{
    if (!c->is_total)
        return c->number;
    return c->number > messages ? c->number - messages : 0;
}

static void grow(struct arena *mem, const struct change *c, struct history_count count, struct store_row *row)
{
    uint64_t more = grown_by(c, count.messages);

    count.messages += more;
    count.accepted += c->accepted ? more : 0;
    if (more > 0)
        *row = (struct store_row){history_count_pack(mem, &count), c->expires_unix};
}

/* Nearly every message has a row already, and no other row changes then. */
static void change_known(struct arena *mem, const void *question, struct store_row *rows, size_t keys,
                         void *result)
{
    const struct change *c;
    struct history_count count;
    bool known;

    (void)keys;
    memcpy(&c, question, sizeof(const struct change *));
    known = history_count_unpack(rows[ROW_COUNT].value, &count) && str_eq(count.tuple, c->tuple);
    if (known)
        grow(mem, c, count, &rows[ROW_COUNT]);
    memcpy(result, &known, sizeof(known));
}

static void leave_out(const struct change *c, struct history_tally *tally)
{
    uint64_t more = c->is_total ? 0 : c->number; /* a total that comes again would be left out again */

    tally->left_out += more;
    tally->accepted += c->accepted ? more : 0;
    tally->passed += c->passed ? more : 0;
}

static void change_new(struct arena *mem, const void *question, struct store_row *rows, size_t keys,
                       void *result)
{
    const struct change *c;
    struct history_count count = {0};
    struct history_tally tally;
    bool is_new, has_room;

    (void)keys, (void)result;
    memcpy(&c, question, sizeof(const struct change *));
    is_new = !history_count_unpack(rows[ROW_COUNT].value, &count);
    history_tally_unpack(rows[ROW_TALLY].value, &tally);
    has_room = is_new ? tally.rows < c->rows_max : str_eq(count.tuple, c->tuple);
    if (is_new)
        count = (struct history_count){.tuple = c->tuple};
    if (has_room)
        grow(mem, c, count, &rows[ROW_COUNT]);
    else
        leave_out(c, &tally);
    tally.rows += is_new && rows[ROW_COUNT].value.n > 0;
    rows[ROW_TALLY] = (struct store_row){history_tally_pack(mem, &tally), c->expires_unix};
    if (rows[ROW_COUNT].value.n > 0 && rows[ROW_RECORD].value.n == 0)
        rows[ROW_RECORD] = (struct store_row){c->record, c->expires_unix};
}

/* ---- adding ---- */

static void ask(struct history_token *token, size_t keys_count, store_change_fn *change, size_t result_bytes,
                store_done_fn *done)
{
    const struct change *c = &token->change;
    struct store_request request = {.table = history_table,
                                    .keys_count = keys_count,
                                    .change = change,
                                    .question = &c,
                                    .question_bytes = sizeof(const struct change *),
                                    .result_bytes = result_bytes,
                                    .patient = !token->change.is_total /* which can come again */};

    memcpy(request.keys, token->keys, keys_count * sizeof(struct str));
    store_update(token->store, token->loop, &request, done, token);
}

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

static void on_known(enum store_status status, const void *result, void *arg)
{
    if (status == STORE_DONE && !*(const bool *)result)
        ask(arg, ROWS, change_new, 0, on_counted);
    else
        on_counted(status, result, arg);
}

static int64_t expires_at(const struct history *history, int64_t day)
{
    return (day + 1 + history->keep_days) * HISTORY_DAY_S;
}

static void make_keys(struct history_token *token, int64_t day, const char *policy_domain,
                      uint64_t record_hash, uint64_t origin)
{
    struct str domain = str_of(policy_domain), host = history_octets(token->mem, origin);
    struct str tuple = history_hash(token->mem, token->change.tuple, host);

    token->keys[ROW_COUNT] = history_key_make(token->mem, day, domain, HISTORY_COUNT, tuple);
    token->keys[ROW_RECORD] =
        history_key_make(token->mem, day, domain, HISTORY_RECORD, history_octets(token->mem, record_hash));
    token->keys[ROW_TALLY] = history_key_make(token->mem, day, domain, HISTORY_TALLY, host);
}

static struct history_token *start(const struct history *history, struct loop *loop,
                                   const struct history_entry *e, uint64_t origin, bool is_total,
                                   uint64_t number, history_done_fn *done, void *arg)
{
    struct arena *mem = arena_new(8 * 1024);
    struct history_token *token = ARENA_NEW(mem, struct history_token);
    struct str record = history_record_cut(e->record);
    uint64_t record_hash = history_record_hash(record);

    *token =
        (struct history_token){.mem = mem, .store = history->store, .loop = loop, .done = done, .arg = arg};
    token->change = (struct change){.tuple = history_tuple_pack(mem, e, record_hash),
                                    .record = str_copy(mem, record),
                                    .accepted = e->accepted,
                                    .passed = e->dkim_aligned || e->spf_aligned,
                                    .is_total = is_total,
                                    .number = number,
                                    .rows_max = history->rows_max,
                                    .expires_unix = expires_at(history, e->day)};
    make_keys(token, e->day, e->policy_domain, record_hash, origin);
    ask(token, 1, change_known, sizeof(bool), on_known);
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
    struct history_count count;
    struct history_entry entry;
    uint64_t record_hash;

    return history_count_unpack(value, &count) && count.messages <= COUNT_MOST &&
           count.accepted <= count.messages && history_tuple_unpack(mem, count.tuple, &entry, &record_hash) &&
           str_eq(history_hash(mem, count.tuple, str_from(key->tail, 16)), key->tail);
}

static bool is_tally_row(struct str value)
{
    struct history_tally tally;

    return history_tally_unpack(value, &tally) && tally.left_out <= COUNT_MOST &&
           tally.accepted <= tally.left_out && tally.passed <= tally.left_out;
}

bool history_row_is_valid(struct str key, struct str value)
{
    struct arena *mem = arena_new(0);
    struct history_key parts;
    bool valid = key.n <= STORE_KEY_BYTES_MAX && value.n > 0 && history_key_read(key, &parts);

    if (valid && parts.kind == HISTORY_COUNT)
        valid = is_count_row(mem, &parts, value);
    else if (valid && parts.kind == HISTORY_RECORD)
        valid = value.n <= HISTORY_RECORD_MAX && history_record_hash(value) == history_number(parts.tail);
    else if (valid)
        valid = is_tally_row(value);
    arena_free(&mem);
    return valid;
}

struct merge {
    struct arena *mem;
    enum history_kind kind;
    struct str value;
    int64_t expires_unix;
    store_done_fn *done;
    void *arg;
};

static uint64_t greater(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static struct str merged_tally(struct arena *mem, struct str ours, struct str theirs)
{
    struct history_tally a, b;

    history_tally_unpack(ours, &a);
    history_tally_unpack(theirs, &b);
    a = (struct history_tally){greater(a.rows, b.rows), greater(a.left_out, b.left_out),
                               greater(a.accepted, b.accepted), greater(a.passed, b.passed)};
    return history_tally_pack(mem, &a);
}

static struct str merged_count(struct str ours, struct str theirs)
{
    struct history_count a, b;

    return history_count_unpack(ours, &a) && history_count_unpack(theirs, &b) && b.messages > a.messages
               ? theirs
               : ours;
}

static void change_merge(struct arena *mem, const void *question, struct store_row *rows, size_t count,
                         void *result)
{
    const struct merge *m;
    struct str was = rows[0].value, value = was;
    bool news;

    (void)count;
    memcpy(&m, question, sizeof(const struct merge *));
    if (was.n == 0)
        value = m->value;
    else if (m->kind == HISTORY_TALLY)
        value = merged_tally(mem, was, m->value);
    else if (m->kind == HISTORY_COUNT)
        value = merged_count(was, m->value);
    news = !str_eq(value, was);
    if (news)
        rows[0] = (struct store_row){value, m->expires_unix};
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
