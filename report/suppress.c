#include "report/suppress.h"

#include "base/buf.h"
#include "report/bounce.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* A row's value is text: "hand REASON", or "refused COUNT DAY REASON", or the same with "bounced". */

static const char table[] = "report";

enum { REASON_MAX = 100, WHOM_MAX = 320, DAY_S = 86400 };

struct change {
    bool remove, by_hand, refused, bounced;
    int64_t now_unix;
    char reason[REASON_MAX];
};

static struct str key_of(struct arena *mem, const char *whom)
{
    return str_of(str_fmt(mem, "x%s", str_dup_lower(mem, str_upto(str_of(whom), WHOM_MAX))));
}

/* ---- reading ---- */

static bool read_value(struct arena *mem, struct str value, struct suppress_row *row)
{
    struct str word, count, day;
    uint64_t refusals, last_day;

    str_cut(value, ' ', &word, &value);
    row->by_hand = str_eq_z(word, "hand");
    if (!row->by_hand) {
        str_cut(value, ' ', &count, &value);
        str_cut(value, ' ', &day, &value);
        row->bounced = str_eq_z(word, "bounced");
        if ((!row->bounced && !str_eq_z(word, "refused")) || !str_to_u64(count, 1000, &refusals) ||
            !str_to_u64(day, 10000000, &last_day))
            return false;
        row->refusals = (unsigned)refusals;
        row->last_day = (int64_t)last_day;
    }
    row->reason = str_dup(mem, value);
    return true;
}

bool suppress_holds(const struct suppress_row *row)
{
    return row->by_hand || row->refusals >= SUPPRESS_REFUSALS;
}

struct walk {
    struct arena *mem;
    suppress_each_fn *each;
    void *arg;
};

static bool on_row(struct str key, struct str value, int64_t expires_unix, void *arg)
{
    struct walk *w = arg;
    struct suppress_row row = {.whom = str_dup(w->mem, str_from(key, 1)), .expires_unix = expires_unix};
    bool more = !read_value(w->mem, value, &row) || w->each(&row, w->arg);

    arena_reset(w->mem);
    return more;
}

int suppress_each(struct store *store, suppress_each_fn *each, void *arg, struct fail *fail)
{
    struct walk w = {arena_new(0), each, arg};
    int outcome = store_each(store, table, STR("x"), on_row, &w, fail);

    arena_free(&w.mem);
    return outcome;
}

struct search {
    struct arena *mem;
    const char *why;
};

static bool on_candidate(struct str key, struct str value, int64_t expires_unix, void *arg)
{
    struct search *s = arg;
    struct suppress_row row = {0};

    (void)key, (void)expires_unix;
    if (read_value(s->mem, value, &row) && suppress_holds(&row))
        s->why = row.by_hand ? "suppressed by hand"
                             : str_fmt(s->mem, "suppressed after %u refusals: %s", row.refusals, row.reason);
    return false;
}

int suppress_find(struct store *store, struct arena *mem, const char *policy_domain, const char *address,
                  const char **why_out, struct fail *fail)
{
    const char *at = address != NULL ? strrchr(address, '@') : NULL;
    const char *const whom[] = {policy_domain, address, at != NULL ? at + 1 : NULL};

    for (size_t i = 0; i < sizeof(whom) / sizeof(whom[0]); i++) {
        struct search s = {mem, NULL};

        if (whom[i] == NULL)
            continue;
        if (store_find(store, table, key_of(mem, whom[i]), on_candidate, &s, fail) != 0)
            return -1;
        if (s.why != NULL) {
            *why_out = s.why;
            return 1;
        }
    }
    return 0;
}

static void look(struct arena *mem, const void *question, struct store_row *rows, size_t count, void *result)
{
    bool held = false;

    (void)question;
    for (size_t i = 0; i < count; i++) {
        struct suppress_row row = {0};

        held |= read_value(mem, rows[i].value, &row) && suppress_holds(&row);
    }
    memcpy(result, &held, sizeof(held));
}

struct store_token *suppress_ask(struct store *store, struct loop *loop, const char *policy_domain,
                                 const char *address, store_done_fn *done, void *arg)
{
    struct arena *mem = arena_new(0);
    const char *at = strrchr(address, '@');
    struct store_request request = {
        .table = table,
        .keys = {key_of(mem, policy_domain), key_of(mem, address), key_of(mem, at != NULL ? at + 1 : "")},
        .keys_count = 3,
        .change = look,
        .result_bytes = sizeof(bool)};
    struct store_token *token = store_update(store, loop, &request, done, arg);

    arena_free(&mem);
    return token;
}

bool suppress_is_listed(const char *const *list, size_t count, const char *policy_domain, const char *address)
{
    const char *at = address != NULL ? strrchr(address, '@') : NULL;

    for (size_t i = 0; i < count; i++) {
        struct str whom = str_of(list[i]);

        if (str_same_z(whom, policy_domain) || (address != NULL && str_same_z(whom, address)) ||
            (at != NULL && str_same_z(whom, at + 1)))
            return true;
    }
    return false;
}

/* ---- changing ---- */

/* One refusal a day counts, and a delivery clears what has gathered; not when it was told by bounces, because
 * before each of them the backend had said 250, too. Those must come within SUPPRESS_BOUNCE_DAYS of one
 * another. */
static void learn(struct arena *mem, const struct change *c, struct store_row *row)
{
    struct suppress_row before = {0};
    int64_t day = c->now_unix / DAY_S, days = SUPPRESS_DAYS;
    bool was = row->value.n > 0 && read_value(mem, row->value, &before);
    unsigned refusals = before.refusals + (before.refusals < 1000);

    if (was && (before.by_hand || (!c->refused && before.bounced)))
        return;
    if (!c->refused) {
        row->value = STR("");
        return;
    }
    if (was && before.last_day == day)
        return;
    if (c->bounced && refusals < SUPPRESS_REFUSALS)
        days = SUPPRESS_BOUNCE_DAYS;
    row->value = str_of(
        str_fmt(mem, "%s %u %" PRId64 " %s", c->bounced ? "bounced" : "refused", refusals, day, c->reason));
    row->expires_unix = c->now_unix + days * DAY_S;
}

static void change_row(struct arena *mem, const void *question, struct store_row *rows, size_t count,
                       void *result)
{
    struct change c;

    (void)count, (void)result;
    memcpy(&c, question, sizeof(c));
    if (c.remove)
        rows[0].value = STR("");
    else if (c.by_hand)
        rows[0] = (struct store_row){str_of(str_fmt(mem, "hand %s", c.reason)), 0};
    else
        learn(mem, &c, &rows[0]);
}

static void change(struct store *store, struct loop *loop, const char *whom, struct change *c,
                   const char *reason, store_done_fn *done, void *arg)
{
    struct arena *mem = arena_new(0);
    struct store_request request = {.table = table,
                                    .keys = {key_of(mem, whom)},
                                    .keys_count = 1,
                                    .change = change_row,
                                    .question = c,
                                    .question_bytes = sizeof(*c)};

    snprintf(c->reason, sizeof(c->reason), "%s", reason != NULL ? reason : "");
    for (char *p = c->reason; *p != '\0'; p++)
        if (*p < ' ' || *p > '~')
            *p = '?';
    store_update(store, loop, &request, done, arg);
    arena_free(&mem);
}

void suppress_by_hand(struct store *store, struct loop *loop, const char *whom, const char *reason,
                      store_done_fn *done, void *arg)
{
    struct change c = {.by_hand = true};

    change(store, loop, whom, &c, reason, done, arg);
}

void suppress_remove(struct store *store, struct loop *loop, const char *whom, store_done_fn *done, void *arg)
{
    struct change c = {.remove = true};

    change(store, loop, whom, &c, NULL, done, arg);
}

void suppress_learn(struct store *store, struct loop *loop, const char *address, bool refused,
                    int64_t now_unix, const char *reason, store_done_fn *done, void *arg)
{
    struct change c = {.refused = refused, .now_unix = now_unix};

    change(store, loop, address, &c, reason, done, arg);
}

/* ---- what came back ---- */

/* Lies in its arena until the store has answered: the store copies no more than STORE_RESULT_MAX octets. */
struct bounced {
    struct arena *mem;
    const char *address, *token;
    int64_t now_unix;
    suppress_bounced_fn *done;
    void *arg;
};

/* rows[0] is the address, rows[1] the key of our tokens: without one, none of ours is under way. */
static void change_bounced(struct arena *mem, const void *question, struct store_row *rows, size_t count,
                           void *result)
{
    static const struct bounce_key none;
    struct change c = {.refused = true, .bounced = true, .reason = "a report to it came back"};
    const struct bounced *b;
    struct bounce_key key = none;
    const char *wanted;
    bool ours;

    (void)count;
    memcpy(&b, question, sizeof(const struct bounced *));
    if (rows[1].value.n > 0)
        key = bounce_key_keep(mem, &none, &rows[1]);
    wanted = bounce_token(mem, &key, b->address);
    ours = wanted != NULL && str_same_z(str_of(b->token), wanted);
    c.now_unix = b->now_unix;
    if (ours)
        learn(mem, &c, &rows[0]);
    memcpy(result, &ours, sizeof(ours));
}

static void on_bounced(enum store_status status, const void *result, void *arg)
{
    struct bounced *b = arg;
    struct arena *mem = b->mem; /* b is in it */

    b->done(status == STORE_DONE && *(const bool *)result, b->arg);
    arena_free(&mem);
}

void suppress_learn_bounce(struct store *store, struct loop *loop, const char *address, const char *token,
                           int64_t now_unix, suppress_bounced_fn *done, void *arg)
{
    struct arena *mem = arena_new(0);
    struct bounced *b = ARENA_NEW(mem, struct bounced);
    struct store_request request = {.table = table,
                                    .keys = {key_of(mem, address), bounce_key_name()},
                                    .keys_count = 2,
                                    .change = change_bounced,
                                    .question = &b,
                                    .question_bytes = sizeof(b),
                                    .result_bytes = sizeof(bool)};

    *b = (struct bounced){mem, str_dup(mem, str_of(address)), str_dup(mem, str_of(token)), now_unix, done,
                          arg};
    store_update(store, loop, &request, on_bounced, b);
}
