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
    struct history_lot lot;
    uint64_t passed;
    bool is_total; /* the lot's messages are what the count is at least, else what it grows by */
    uint64_t mark; /* 0: of a total, which needs none */
    uint64_t rows_max;
    int64_t expires_unix;
};

enum { ROW_COUNT, ROW_RECORD, ROW_TALLY, ROWS };

/* What the change found, for who asked. */
enum found { FOUND_NO_ROW, FOUND_NO_ROOM, FOUND_ROW };

struct token {
    struct arena *mem;
    struct store *store;
    struct loop *loop;
    struct change change;
    struct str keys[ROWS];
    history_done_fn *done;
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

static uint64_t grown_by(const struct change *c, const struct history_count *count)
{
    if (!c->is_total)
        return count->mark == c->mark ? 0 : c->lot.messages;
    return c->lot.messages > count->messages ? c->lot.messages - count->messages : 0;
}

static void grow(struct arena *mem, const struct change *c, struct history_count count, struct store_row *row)
{
    uint64_t more = grown_by(c, &count);

    if (more == 0)
        return;
    count.messages += more;
    count.accepted += more < c->lot.accepted ? more : c->lot.accepted;
    count.mark = c->is_total ? count.mark : c->mark;
    *row = (struct store_row){history_count_pack(mem, &count), c->expires_unix};
}

/* Nearly every lot has a row already, and no other row changes then. */
static void change_known(struct arena *mem, const void *question, struct store_row *rows, size_t keys,
                         void *result)
{
    const struct change *c;
    struct history_count count;
    enum found found = FOUND_NO_ROW;

    (void)keys;
    memcpy(&c, question, sizeof(const struct change *));
    if (history_count_unpack(rows[ROW_COUNT].value, &count) && str_eq(count.tuple, c->lot.tuple)) {
        found = FOUND_ROW;
        grow(mem, c, count, &rows[ROW_COUNT]);
    }
    memcpy(result, &found, sizeof(found));
}

static void change_new(struct arena *mem, const void *question, struct store_row *rows, size_t keys,
                       void *result)
{
    const struct change *c;
    struct history_count count = {0};
    struct history_tally tally;
    enum found found;
    bool is_new;

    (void)keys;
    memcpy(&c, question, sizeof(const struct change *));
    is_new = !history_count_unpack(rows[ROW_COUNT].value, &count);
    history_tally_unpack(rows[ROW_TALLY].value, &tally);
    if (is_new)
        found = tally.rows < c->rows_max ? FOUND_ROW : FOUND_NO_ROOM;
    else /* two tuples have one hash: the second has no place */
        found = str_eq(count.tuple, c->lot.tuple) ? FOUND_ROW : FOUND_NO_ROOM;
    memcpy(result, &found, sizeof(found));
    if (found != FOUND_ROW)
        return;
    if (is_new)
        count = (struct history_count){.tuple = c->lot.tuple};
    grow(mem, c, count, &rows[ROW_COUNT]);
    tally.rows += is_new && rows[ROW_COUNT].value.n > 0;
    rows[ROW_TALLY] = (struct store_row){history_tally_pack(mem, &tally), c->expires_unix};
    if (rows[ROW_COUNT].value.n > 0 && rows[ROW_RECORD].value.n == 0)
        rows[ROW_RECORD] = (struct store_row){c->lot.record, c->expires_unix};
}

static void change_left_out(struct arena *mem, const void *question, struct store_row *rows, size_t keys,
                            void *result)
{
    const enum found found = FOUND_ROW;
    const struct change *c;
    struct history_tally tally;

    (void)keys;
    memcpy(&c, question, sizeof(const struct change *));
    memcpy(result, &found, sizeof(found));
    history_tally_unpack(rows[0].value, &tally);
    if (tally.mark == c->mark)
        return;
    tally.left_out += c->lot.messages;
    tally.accepted += c->lot.accepted;
    tally.passed += c->passed;
    tally.mark = c->mark;
    rows[0] = (struct store_row){history_tally_pack(mem, &tally), c->expires_unix};
}

/* ---- lots ---- */

struct history_lot history_lot_of(const struct history *history, struct arena *mem,
                                  const struct history_entry *e)
{
    struct str record = history_record_cut(e->record);

    return (struct history_lot){.day = e->day,
                                .origin = history->origin,
                                .domain = str_of(e->policy_domain),
                                .record = record,
                                .tuple = history_tuple_pack(mem, e, history_record_hash(record)),
                                .messages = 1,
                                .accepted = e->accepted};
}

/* The hash of the record lies in the tuple, behind its version. */
static uint64_t record_hash_of(const struct history_lot *lot)
{
    return history_number(str_upto(str_from(lot->tuple, 1), 8));
}

bool history_lot_is_valid(const struct history_lot *lot)
{
    struct arena *mem = arena_new(0);
    struct history_entry entry;
    uint64_t record_hash;
    bool valid = lot->domain.n > 0 && lot->domain.n <= HISTORY_NAME_MAX && !str_has(lot->domain, '\0') &&
                 lot->record.n <= HISTORY_RECORD_MAX && lot->accepted <= lot->messages &&
                 history_tuple_unpack(mem, lot->tuple, &entry, &record_hash) &&
                 record_hash == history_record_hash(lot->record);

    arena_free(&mem);
    return valid;
}

bool history_lot_passes(const struct history_lot *lot)
{
    return history_tuple_passes(lot->tuple);
}

/* ---- adding ---- */

static void ask(struct token *token, struct str *keys, size_t keys_count, store_change_fn *change,
                store_done_fn *done)
{
    const struct change *c = &token->change;
    struct store_request request = {.table = history_table,
                                    .keys_count = keys_count,
                                    .change = change,
                                    .question = &c,
                                    .question_bytes = sizeof(const struct change *),
                                    .result_bytes = sizeof(enum found)};

    memcpy(request.keys, keys, keys_count * sizeof(struct str));
    store_update(token->store, token->loop, &request, done, token);
}

static void on_counted(enum store_status status, const void *result, void *arg)
{
    struct token *token = arg;
    struct arena *mem = token->mem; /* the token is in it */
    enum history_outcome outcome = HISTORY_UNAVAILABLE;

    if (status == STORE_DONE)
        outcome = *(const enum found *)result == FOUND_ROW ? HISTORY_COUNTED : HISTORY_FULL;
    token->done(outcome, token->arg);
    arena_free(&mem);
}

static void on_known(enum store_status status, const void *result, void *arg)
{
    struct token *token = arg;

    if (status == STORE_DONE && *(const enum found *)result != FOUND_ROW)
        ask(token, token->keys, ROWS, change_new, on_counted);
    else
        on_counted(status, result, arg);
}

static int64_t expires_at(const struct history *history, int64_t day)
{
    return (day + 1 + history->keep_days) * HISTORY_DAY_S;
}

static struct token *token_new(const struct history *history, struct loop *loop, const struct history_lot *lot,
                               history_done_fn *done, void *arg)
{
    struct arena *mem = arena_new(4 * 1024);
    struct token *token = ARENA_NEW(mem, struct token);

    *token = (struct token){.mem = mem, .store = history->store, .loop = loop, .done = done, .arg = arg};
    token->change = (struct change){
        .lot = *lot, .rows_max = history->rows_max, .expires_unix = expires_at(history, lot->day)};
    token->change.lot.domain = str_copy(mem, lot->domain);
    token->change.lot.record = str_copy(mem, lot->record);
    token->change.lot.tuple = str_copy(mem, lot->tuple);
    return token;
}

static void count(struct token *token)
{
    const struct history_lot *lot = &token->change.lot;
    struct str host = history_octets(token->mem, lot->origin);
    struct str tuple = history_hash(token->mem, lot->tuple, host);
    struct str record = history_octets(token->mem, record_hash_of(lot));

    token->keys[ROW_COUNT] = history_key_make(token->mem, lot->day, lot->domain, HISTORY_COUNT, tuple);
    token->keys[ROW_RECORD] = history_key_make(token->mem, lot->day, lot->domain, HISTORY_RECORD, record);
    token->keys[ROW_TALLY] = history_key_make(token->mem, lot->day, lot->domain, HISTORY_TALLY, host);
    ask(token, token->keys, 1, change_known, on_known);
}

void history_add(const struct history *history, struct loop *loop, const struct history_lot *lot, uint64_t mark,
                 history_done_fn *done, void *arg)
{
    struct token *token = token_new(history, loop, lot, done, arg);

    if (mark == 0 || mark >= HISTORY_MARK_END)
        bug("a lot with the mark %llu", (unsigned long long)mark);
    token->change.mark = mark;
    count(token);
}

void history_leave_out(const struct history *history, struct loop *loop, const struct history_lot *lot,
                       uint64_t passed, uint64_t mark, history_done_fn *done, void *arg)
{
    struct token *token = token_new(history, loop, lot, done, arg);
    struct str host = history_octets(token->mem, lot->origin);

    token->change.passed = passed;
    token->change.mark = mark;
    token->keys[ROW_TALLY] = history_key_make(token->mem, lot->day, lot->domain, HISTORY_TALLY, host);
    ask(token, &token->keys[ROW_TALLY], 1, change_left_out, on_counted);
}

/* A total that finds no room is not left out: it would be so again each time it comes. */
void history_set(const struct history *history, struct loop *loop, const struct history_entry *entry,
                 uint64_t origin, uint64_t total, history_done_fn *done, void *arg)
{
    struct arena *mem = arena_new(0);
    struct history_lot lot = history_lot_of(history, mem, entry);
    struct token *token;

    lot.origin = origin;
    lot.messages = total;
    lot.accepted = entry->accepted ? total : 0;
    token = token_new(history, loop, &lot, done, arg);
    token->change.is_total = true;
    arena_free(&mem);
    count(token);
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
                               greater(a.accepted, b.accepted), greater(a.passed, b.passed),
                               a.left_out >= b.left_out ? a.mark : b.mark};
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
                                    sizeof(struct merge *), sizeof(bool)};
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
