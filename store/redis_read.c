#include "store/redis_read.h"

#include "base/bug.h"
#include "store/redis_route.h"
#include "store/redis_row.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PAGE_GROUPS = 1000 };

struct reader {
    const struct redis_source *source;
    struct loop *loop;
    struct redis_route *route;
    struct timer deadline;
    const struct resp *reply; /* to the last question, until the next */
    size_t waiting;           /* values */
    bool ready, ended;
    struct fail *fail;
};

/* ---- one question, one answer ---- */

static void end(struct reader *r, const char *why)
{
    if (!r->ended)
        fail_set(r->fail, "cannot read %s: %s", r->source->shown, why);
    r->ended = true;
    loop_stop(r->loop);
}

static void on_deadline(void *arg)
{
    end(arg, "no answer");
}

static void on_end(const char *why, void *arg)
{
    end(arg, why);
}

static void on_ready(void *arg)
{
    struct reader *r = arg;

    r->ready = true;
    loop_stop(r->loop);
}

static void on_reply(const struct resp *reply, void *arg)
{
    struct reader *r = arg;

    r->reply = reply;
    loop_stop(r->loop);
}

/* NULL: it has ended, and `fail` says why. */
static const struct resp *wait_for_reply(struct reader *r)
{
    char why[200];

    timer_start(&r->deadline, r->loop, REDIS_READ_MS, on_deadline, r);
    while (r->reply == NULL && !r->ended)
        loop_run(r->loop);
    timer_stop(&r->deadline);
    if (r->reply != NULL && r->reply->type == RESP_ERROR) {
        snprintf(why, sizeof(why), "%.*s", (int)(r->reply->text.n < 190 ? r->reply->text.n : 190),
                 r->reply->text.p);
        end(r, why);
    }
    return r->ended ? NULL : r->reply;
}

static const struct resp *ask(struct reader *r, struct str key, const struct str *words, size_t count)
{
    r->reply = NULL;
    if (r->ended)
        return NULL;
    redis_route_ask(r->route, key, words, count, on_reply, r);
    return wait_for_reply(r);
}

static int open_reader(struct reader *r, const struct redis_source *source, struct fail *fail)
{
    static const struct redis_link_events events = {on_ready, on_end};

    *r = (struct reader){.source = source, .loop = loop_new(), .fail = fail};
    timer_start(&r->deadline, r->loop, REDIS_READ_MS, on_deadline, r);
    r->route = redis_route_open(r->loop, source->url, source->tls, &events, r);
    while (!r->ready && !r->ended)
        loop_run(r->loop);
    timer_stop(&r->deadline);
    return r->ended ? -1 : 0;
}

static void close_reader(struct reader *r)
{
    redis_route_close(&r->route);
    loop_free(&r->loop);
}

/* ---- rows, gathered and sorted ---- */

struct found {
    struct str key, value;
    int64_t expires_unix;
};

struct rows {
    struct arena *mem; /* of the keys and values */
    struct found *rows;
    size_t count, room;
};

static void rows_add(struct rows *rows, struct str key, struct str value, int64_t now_unix)
{
    struct store_row row = redis_row_read_value(value);

    if (row.value.n == 0 || (row.expires_unix > 0 && row.expires_unix <= now_unix))
        return;
    if (rows->count == rows->room) {
        rows->room = rows->room > 0 ? 2 * rows->room : 64;
        rows->rows = realloc(rows->rows, rows->room * sizeof(struct found));
        if (rows->rows == NULL)
            out_of_memory();
    }
    rows->rows[rows->count++] = (struct found){key, str_copy(rows->mem, row.value), row.expires_unix};
}

static int by_key(const void *a, const void *b)
{
    const struct str x = ((const struct found *)a)->key, y = ((const struct found *)b)->key;
    int order = memcmp(x.p, y.p, x.n < y.n ? x.n : y.n);

    return order != 0 ? order : (x.n > y.n) - (x.n < y.n);
}

/* A scan may give a key twice. False: enough. */
static bool rows_tell(struct rows *rows, struct str prefix, store_each_fn *each, void *arg)
{
    bool more = true;

    if (rows->count > 0)
        qsort(rows->rows, rows->count, sizeof(struct found), by_key);
    for (size_t i = 0; i < rows->count && more; i++) {
        const struct found *row = &rows->rows[i];

        if (str_starts(row->key, prefix) && (i == 0 || !str_eq(row->key, row[-1].key)))
            more = each(row->key, row->value, row->expires_unix, arg);
    }
    return more;
}

static void rows_forget(struct rows *rows)
{
    rows->count = 0;
    arena_reset(rows->mem);
}

/* ---- tables without groups: all keys of the server ---- */

/* The keys of ours among those of a page; the page goes with the next question. */
static size_t our_keys(struct arena *mem, const struct store_table *table, const struct resp *page,
                       struct rows *rows, struct str *theirs, struct str *ours)
{
    size_t count = 0;

    for (size_t i = 0; i < page->count; i++) {
        struct str key;

        if (!redis_row_read_key(mem, table, page->items[i].text, &key))
            continue;
        ours[count] = str_copy(rows->mem, key);
        theirs[count++] = str_copy(mem, page->items[i].text);
    }
    return count;
}

struct wanted {
    struct reader *r;
    struct rows *rows;
    struct str key;
};

static void on_value(const struct resp *reply, void *arg)
{
    struct wanted *w = arg;

    if (reply->type == RESP_STRING)
        rows_add(w->rows, w->key, reply->text, w->r->source->now_unix);
    if (--w->r->waiting == 0)
        on_reply(reply, w->r);
}

/* All in one flight. */
static int get_values(struct reader *r, const struct store_table *table, const struct resp *page,
                      struct rows *rows)
{
    struct arena *mem = arena_new(64 * 1024);
    struct str *theirs = ARENA_ARRAY(mem, struct str, page->count), *ours;
    struct wanted *wanted = ARENA_ARRAY(mem, struct wanted, page->count);

    ours = ARENA_ARRAY(mem, struct str, page->count);
    r->waiting = our_keys(mem, table, page, rows, theirs, ours);
    r->reply = NULL;
    for (size_t i = 0, count = r->waiting; i < count; i++) {
        struct str words[] = {STR("GET"), theirs[i]};

        wanted[i] = (struct wanted){r, rows, ours[i]};
        redis_route_ask(r->route, theirs[i], words, 2, on_value, &wanted[i]);
    }
    if (r->waiting > 0)
        wait_for_reply(r);
    arena_free(&mem);
    return r->ended ? -1 : 0;
}

static int scan_node(struct reader *r, size_t node, const struct store_table *table, struct str prefix,
                     struct rows *rows)
{
    struct arena *mem = arena_new(0);
    struct str pattern = redis_row_pattern(mem, table, prefix);
    char cursor[24] = "0";
    const struct resp *page;

    do {
        struct str words[] = {STR("SCAN"), str_of(cursor), STR("MATCH"), pattern, STR("COUNT"), STR("1000")};

        r->reply = NULL;
        redis_route_ask_node(r->route, node, words, sizeof(words) / sizeof(words[0]), on_reply, r);
        page = wait_for_reply(r);
        if (page == NULL || page->count != 2)
            break;
        snprintf(cursor, sizeof(cursor), "%.*s", STR_ARG(page->items[0].text));
        if (get_values(r, table, &page->items[1], rows) != 0)
            break;
        if (rows->count > REDIS_READ_ROWS)
            end(r, "too many rows; name fewer");
    } while (strcmp(cursor, "0") != 0 && !r->ended);
    arena_free(&mem);
    return r->ended ? -1 : 0;
}

static int scan(struct reader *r, const struct store_table *table, struct str prefix, struct rows *rows)
{
    int outcome = 0;

    for (size_t i = 0; i < redis_route_nodes(r->route) && outcome == 0; i++)
        outcome = scan_node(r, i, table, prefix, rows);
    return outcome;
}

/* ---- tables with groups ---- */

/* 1: more, 0: enough, -1. A group that has gone leaves the list. */
static int tell_group(struct reader *r, const struct store_table *table, struct str group, struct str prefix,
                      struct rows *rows, store_each_fn *each, void *arg)
{
    struct arena *mem = arena_new(0);
    struct str words[] = {STR("HGETALL"), redis_row_name(mem, table, group).key};
    struct str groups_key = redis_row_groups_key(mem, table);
    const struct resp *all;
    bool more = true;

    rows_forget(rows);
    all = ask(r, words[1], words, 2);
    for (size_t i = 0; all != NULL && i + 1 < all->count; i += 2) {
        struct str field = all->items[i].text;
        char *key = arena_alloc(rows->mem, group.n + field.n);

        memcpy(key, group.p, group.n);
        memcpy(key + group.n, field.p, field.n);
        rows_add(rows, str_make(key, group.n + field.n), all->items[i + 1].text, r->source->now_unix);
    }
    if (all != NULL && all->count == 0)
        ask(r, groups_key, (struct str[]){STR("ZREM"), groups_key, group}, 3);
    else
        more = rows_tell(rows, prefix, each, arg);
    arena_free(&mem);
    return r->ended ? -1 : more;
}

/* The first text behind all that begin with `prefix`; n = 0: there is none. */
static struct str behind(struct arena *mem, struct str prefix)
{
    char *end = arena_copy(mem, prefix.n > 0 ? prefix.p : "", prefix.n);
    size_t n = prefix.n;

    while (n > 0 && (unsigned char)end[n - 1] == 0xff)
        n--;
    if (n > 0)
        end[n - 1]++;
    return str_make(end, n);
}

static struct str bound(struct arena *mem, char kind, struct str text)
{
    char *bound = arena_alloc(mem, text.n + 1);

    bound[0] = kind;
    if (text.n > 0)
        memcpy(bound + 1, text.p, text.n);
    return str_make(bound, text.n + 1);
}

static int tell_groups(struct reader *r, const struct store_table *table, struct str prefix,
                       struct rows *rows, store_each_fn *each, void *arg)
{
    struct arena *mem = arena_new(0), *page_mem = arena_new(64 * 1024);
    struct str last = behind(mem, prefix);
    struct str words[] = {STR("ZRANGEBYLEX"),
                          redis_row_groups_key(mem, table),
                          bound(mem, '[', prefix),
                          last.n > 0 ? bound(mem, '(', last) : STR("+"),
                          STR("LIMIT"),
                          STR("0"),
                          STR("1000")};
    int outcome = 1;
    size_t count = PAGE_GROUPS;

    while (outcome > 0 && count == PAGE_GROUPS) {
        const struct resp *page = ask(r, words[1], words, sizeof(words) / sizeof(words[0]));
        struct str *groups;

        count = page != NULL ? page->count : 0;
        arena_reset(page_mem);
        groups = ARENA_ARRAY(page_mem, struct str, count);
        for (size_t i = 0; i < count; i++)
            groups[i] = str_copy(page_mem, page->items[i].text);
        for (size_t i = 0; i < count && outcome > 0; i++)
            outcome = tell_group(r, table, groups[i], prefix, rows, each, arg);
        if (count > 0)
            words[2] = bound(mem, '(', groups[count - 1]);
    }
    arena_free(&page_mem);
    arena_free(&mem);
    return r->ended ? -1 : 0;
}

/* ---- both ---- */

static int tell_all(struct reader *r, const struct store_table *table, struct str prefix, store_each_fn *each,
                    void *arg)
{
    struct rows rows = {.mem = arena_new(64 * 1024)};
    struct str group = redis_row_group(table, prefix);
    int outcome;

    if (table->spread == STORE_BY_GROUP && group.n > 0 && group.n < prefix.n) {
        outcome = tell_group(r, table, group, prefix, &rows, each, arg);
    } else if (table->spread == STORE_BY_GROUP) {
        outcome = tell_groups(r, table, prefix, &rows, each, arg);
    } else {
        outcome = scan(r, table, prefix, &rows);
        if (outcome == 0)
            rows_tell(&rows, prefix, each, arg);
    }
    free(rows.rows);
    arena_free(&rows.mem);
    return outcome < 0 ? -1 : 0;
}

int redis_read_each(const struct redis_source *source, const struct store_table *table, struct str prefix,
                    store_each_fn *each, void *arg, struct fail *fail)
{
    struct reader r;
    int outcome = open_reader(&r, source, fail);

    if (outcome == 0)
        outcome = tell_all(&r, table, prefix, each, arg);
    close_reader(&r);
    return outcome;
}

int redis_read_one(const struct redis_source *source, const struct store_table *table, struct str key,
                   store_each_fn *each, void *arg, struct fail *fail)
{
    struct arena *mem = arena_new(0);
    struct redis_row_name name = redis_row_name(mem, table, key);
    struct str words[] = {name.field.n > 0 ? STR("HGET") : STR("GET"), name.key, name.field};
    struct rows rows = {.mem = mem};
    const struct resp *value;
    struct reader r;
    int outcome = open_reader(&r, source, fail);

    value = outcome == 0 ? ask(&r, name.key, words, name.field.n > 0 ? 3 : 2) : NULL;
    if (value != NULL)
        rows_add(&rows, key, value->text, source->now_unix);
    if (value != NULL)
        rows_tell(&rows, key, each, arg);
    close_reader(&r);
    free(rows.rows);
    arena_free(&mem);
    return value != NULL ? 0 : -1;
}
