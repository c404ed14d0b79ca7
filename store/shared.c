#include "store/shared.h"

#include "base/bug.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/metric.h"
#include "store/redis_batch.h"
#include "store/redis_read.h"
#include "store/redis_row.h"
#include "store/reunion.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { TIMEOUT_MS = 50, WAITING_MAX = 10000, TRIES_MAX = 100, OPEN_WAIT_MS = 1000 };
enum {
    CONNECT_MS = 2000,
    RETRY_MS = 250,
    RETRY_MS_MAX = 10000,
    LOOK_MS = 5000,
    MERGE_MS = 2000,
    COPY_MS = 20,
    STEADY_MS = 10000
};

enum state {
    STATE_AWAY,       /* until the timer says: try again */
    STATE_CONNECTING, /* to the end of the probe */
    STATE_MERGING,    /* what the local engine has noted; requests still go there */
    STATE_READY,
};

struct shared {
    struct arena *mem; /* the URL's strings, and names */
    struct redis_url url;
    const char *shown; /* the URL without its password */
    struct tls_context *tls;
    const struct store_table *tables;
    size_t tables_count, waiting_max;
    int64_t timeout_ms;
    struct local *local;
    const struct clock *clock;
    struct loop *loop;
    pthread_t thread;
    atomic_bool ready;
    atomic_uint_fast64_t updates;

    pthread_mutex_t lock; /* guards what follows, up to the blank line */
    pthread_cond_t known;
    struct token_queue inbox;
    bool tried;

    /* The thread's own. */
    enum state state;
    struct token_queue waiting;
    struct redis_route *route;
    size_t probes_left;
    struct redis_batch *batch;
    char script[48];
    struct timer deadline, retry, look, copy;
    struct away_rows *copies; /* NULL: none wait */
    unsigned failures;        /* in a row */
    int64_t ready_ms;         /* since when */
    struct reunion reunion;
    struct later going_on;
    bool said_away;
};

/* ---- words ---- */

static const double seconds[] = {0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1};

static struct metric *metric_of(const char *result)
{
    char labels[40];

    snprintf(labels, sizeof(labels), "result=\"%s\"", result);
    return metric_counter("smtpguard_store_shared_requests_total", "Requests to the shared store, by outcome",
                          labels);
}

static struct metric *metric_up(void)
{
    return metric_gauge("smtpguard_store_shared_up", "The shared store answers", "");
}

static struct metric *metric_seconds(void)
{
    return metric_histogram("smtpguard_store_shared_seconds",
                            "From the request to the answer of the shared store", "", seconds,
                            sizeof(seconds) / sizeof(seconds[0]));
}

/* ---- copies in the local file ---- */

static void on_copied(enum store_status status, const void *result, void *arg)
{
    struct away_rows *rows = arg;

    (void)status, (void)result; /* without a local file there is no copy */
    away_rows_free(&rows);
}

static void write_copies(struct shared *shared)
{
    struct away_rows *rows = shared->copies;

    timer_stop(&shared->copy);
    shared->copies = NULL;
    if (rows != NULL)
        reunion_take_job(shared->local, shared->loop, away_job_mirror, rows, on_copied);
}

static void on_copies_due(void *arg)
{
    write_copies(arg);
}

/* They are written together, which costs a fraction of writing each by itself. Until then nobody needs them: whoever
 * turns to the local file writes them first. */
static void keep_copies(struct shared *shared, struct away_rows *changed)
{
    if (shared->copies != NULL && shared->copies->count + changed->count > AWAY_ROWS_MAX)
        write_copies(shared);
    if (shared->copies != NULL) {
        away_rows_append(shared->copies, &changed);
        return;
    }
    shared->copies = changed;
    timer_start(&shared->copy, shared->loop, COPY_MS, on_copies_due, shared);
}

/* ---- without the server ---- */

static void refuse_token(struct store_token *token)
{
    token->next = NULL;
    token->status = STORE_UNAVAILABLE;
    token_answer(token);
}

/* To the local engine, or nowhere. A merge is given up: it is noted still, and done again later. */
static void fall_back(struct shared *shared, struct store_token *list)
{
    if (list != NULL)
        write_copies(shared);
    for (struct store_token *next; list != NULL; list = next) {
        next = list->next;
        if (list->merges) {
            free(list);
            continue;
        }
        metric_add(metric_of("away"), 1);
        list->away = true;
        if (list->shared->merge != NULL)
            local_take(shared->local, list, false);
        else
            refuse_token(list);
    }
}

static void tell(struct shared *shared)
{
    pthread_mutex_lock(&shared->lock);
    shared->tried = true;
    pthread_cond_signal(&shared->known);
    pthread_mutex_unlock(&shared->lock);
}

static void on_retry(void *arg);

/* Twice as long each time, less by chance up to half: hosts that lost the server together do not come back
 * together. */
static int64_t retry_after_ms(struct shared *shared)
{
    uint64_t chance = hash_bytes(&shared->failures, sizeof(shared->failures));
    int64_t ms = RETRY_MS;

    for (unsigned i = 1; i < shared->failures && ms < RETRY_MS_MAX; i++)
        ms *= 2;
    ms = ms < RETRY_MS_MAX ? ms : RETRY_MS_MAX;
    return ms - (int64_t)(chance % (uint64_t)(ms / 2 + 1));
}

static void go_away(struct shared *shared, const char *why)
{
    if (shared->state == STATE_AWAY)
        return;
    if (shared->state == STATE_READY && loop_now_ms(shared->loop) - shared->ready_ms > STEADY_MS)
        shared->failures = 0;
    shared->state = STATE_AWAY;
    atomic_store(&shared->ready, false);
    metric_set(metric_up(), 0);
    if (!shared->said_away)
        log_note(LOG_ERROR, "store-away", "%s: %s; the local store answers until it is back", shared->shown,
                 why);
    shared->said_away = true;
    timer_stop(&shared->deadline);
    timer_stop(&shared->look);
    write_copies(shared);
    redis_route_close(&shared->route);
    fall_back(shared, redis_batch_abort(shared->batch));
    fall_back(shared, token_queue_take(&shared->waiting));
    reunion_give_up(&shared->reunion);
    later_cancel(&shared->going_on);
    shared->failures++;
    timer_start(&shared->retry, shared->loop, retry_after_ms(shared), on_retry, shared);
    tell(shared);
}

/* ---- with it ---- */

static void on_deadline(void *arg)
{
    struct shared *shared = arg;
    char why[100];

    snprintf(why, sizeof(why), "no answer within %lld ms",
             (long long)(shared->state == STATE_READY ? shared->timeout_ms : CONNECT_MS));
    go_away(shared, why);
}

/* As many as fit a batch, and when the first of them must have its answer. */
static struct store_token *take_some(struct shared *shared, int64_t *due_ms_out)
{
    struct token_queue some, rest;
    struct store_token *token, *next;

    token_queue_init(&some);
    token_queue_init(&rest);
    *due_ms_out = INT64_MAX;
    for (token = token_queue_take(&shared->waiting); token != NULL; token = next) {
        int64_t due_ms = token->asked_ms + (token->merges ? MERGE_MS : shared->timeout_ms);

        next = token->next;
        if (some.count < REDIS_BATCH_MAX && due_ms < *due_ms_out)
            *due_ms_out = due_ms;
        token_queue_add(some.count < REDIS_BATCH_MAX ? &some : &rest, token);
    }
    while ((token = rest.first) != NULL) {
        rest.first = token->next;
        token_queue_add(&shared->waiting, token);
    }
    return some.first;
}

static void go_on(struct shared *shared)
{
    struct store_token *some;
    int64_t due_ms, left_ms;

    if (shared->state < STATE_MERGING || redis_batch_is_busy(shared->batch) || shared->waiting.count == 0)
        return;
    some = take_some(shared, &due_ms);
    left_ms = due_ms - loop_now_ms(shared->loop);
    timer_start(&shared->deadline, shared->loop, left_ms > 1 ? left_ms : 1, on_deadline, shared);
    redis_batch_start(shared->batch, shared->route, str_of(shared->script), some, clock_unix(shared->clock));
}

static void on_go_on(void *arg)
{
    go_on(arg);
}

static void answer_done(struct shared *shared, struct store_token *list)
{
    int64_t now_ms = loop_now_ms(shared->loop);
    struct token_queue asked;
    size_t merged = 0;

    token_queue_init(&asked);
    for (struct store_token *next; list != NULL; list = next) {
        next = list->next;
        if (list->merges) {
            merged++;
            free(list);
            continue;
        }
        metric_observe(metric_seconds(), (double)(now_ms - list->asked_ms) / 1000);
        token_queue_add(&asked, list);
    }
    metric_add(metric_of("done"), (int64_t)asked.count);
    atomic_fetch_add(&shared->updates, asked.count);
    token_set_status(asked.first, STORE_DONE);
    token_answer(asked.first);
    if (merged > 0)
        reunion_merged(&shared->reunion, merged);
}

/* The server is well: only this request is done by the file, before its deadline makes all of them go there. */
static bool is_hopeless(const struct shared *shared, struct store_token *token)
{
    int64_t taken_ms = loop_now_ms(shared->loop) - token->asked_ms;

    return !token->merges && (++token->tries == TRIES_MAX || taken_ms > shared->timeout_ms / 2);
}

/* In front of those that wait already. */
static void ask_again(struct shared *shared, struct store_token *list)
{
    struct store_token *waiting = token_queue_take(&shared->waiting), *next;

    for (; list != NULL; list = next) {
        next = list->next;
        list->next = NULL;
        metric_add(metric_of("conflict"), 1);
        if (is_hopeless(shared, list))
            fall_back(shared, list);
        else
            token_queue_add(&shared->waiting, list);
    }
    for (; waiting != NULL; waiting = next) {
        next = waiting->next;
        token_queue_add(&shared->waiting, waiting);
    }
}

static void load_script(struct shared *shared, redis_reply_fn *reply)
{
    struct str words[] = {STR("SCRIPT"), STR("LOAD"), str_of(redis_row_script)};

    for (size_t i = 0; i < redis_route_nodes(shared->route); i++)
        redis_route_ask_node(shared->route, i, words, 3, reply, shared);
}

static void on_batch(const struct redis_batch_outcome *outcome, void *arg)
{
    struct shared *shared = arg;

    timer_stop(&shared->deadline);
    if (outcome->changed != NULL)
        keep_copies(shared, outcome->changed);
    if (outcome->no_script)
        load_script(shared, NULL);
    ask_again(shared, outcome->again);
    answer_done(shared, outcome->done);
    if (outcome->refused != NULL) {
        go_away(shared, outcome->why);
        fall_back(shared, outcome->refused);
    }
    go_on(shared);
}

/* ---- merging what happened meanwhile ---- */

static void on_look(void *arg)
{
    struct shared *shared = arg;

    reunion_start(&shared->reunion);
}

static void on_reunited(void *arg)
{
    struct shared *shared = arg;

    if (shared->state == STATE_MERGING) {
        shared->state = STATE_READY;
        atomic_store(&shared->ready, true);
        metric_set(metric_up(), 1);
        shared->ready_ms = loop_now_ms(shared->loop);
        if (shared->said_away)
            log_note(LOG_INFO, "store-back", "%s answers again", shared->shown);
        shared->said_away = false;
        tell(shared);
    }
    timer_start(&shared->look, shared->loop, LOOK_MS, on_look, shared);
}

static const struct store_table *on_table(const char *name, void *arg)
{
    return shared_table(arg, name);
}

static void on_merge(struct store_token *token, void *arg)
{
    struct shared *shared = arg;

    token->asked_ms = loop_now_ms(shared->loop);
    token_queue_add(&shared->waiting, token);
    later_start(&shared->going_on, shared->loop, on_go_on, shared);
}

/* ---- connecting ---- */

static void on_script(const struct resp *reply, void *arg)
{
    struct shared *shared = arg;

    if (reply->type == RESP_STRING && reply->text.n < sizeof(shared->script))
        snprintf(shared->script, sizeof(shared->script), "%.*s", STR_ARG(reply->text));
    else
        shared->script[0] = '\0';
}

/* A server that is read-only, full or a replica says so here, and not to the first request. */
static void on_probe(const struct resp *reply, void *arg)
{
    struct shared *shared = arg;
    char why[200];

    if (reply->type == RESP_STATUS && shared->script[0] != '\0') {
        if (--shared->probes_left > 0)
            return;
        timer_stop(&shared->deadline);
        shared->state = STATE_MERGING;
        reunion_start(&shared->reunion);
        return;
    }
    snprintf(why, sizeof(why), "%.*s", reply->text.n < 190 ? (int)reply->text.n : 190,
             reply->text.n > 0 ? reply->text.p : "");
    go_away(shared, reply->type == RESP_ERROR ? why : "it takes no scripts");
}

static void on_route_ready(void *arg)
{
    struct shared *shared = arg;
    struct arena *mem = arena_new(0);

    load_script(shared, on_script);
    shared->probes_left = redis_route_nodes(shared->route);
    for (size_t i = 0; i < shared->probes_left; i++) {
        struct str key = redis_route_key_on(shared->route, mem, i, REDIS_ROW_PREFIX "alive:");
        struct str words[] = {STR("SET"), key, STR("1"), STR("EX"), STR("3600")};

        redis_route_ask_node(shared->route, i, words, sizeof(words) / sizeof(words[0]), on_probe, shared);
    }
    arena_free(&mem);
}

static void on_route_end(const char *why, void *arg)
{
    go_away(arg, why);
}

static void on_retry(void *arg)
{
    static const struct redis_link_events events = {on_route_ready, on_route_end};
    struct shared *shared = arg;

    shared->state = STATE_CONNECTING;
    timer_start(&shared->deadline, shared->loop, CONNECT_MS, on_deadline, shared);
    shared->route = redis_route_open(shared->loop, &shared->url, shared->tls, &events, shared);
}

/* ---- asked from other threads ---- */

static void on_inbox(void *arg)
{
    struct shared *shared = arg;
    struct store_token *list, *next;
    bool ready = shared->state == STATE_READY;

    pthread_mutex_lock(&shared->lock);
    list = token_queue_take(&shared->inbox);
    pthread_mutex_unlock(&shared->lock);
    for (; list != NULL; list = next) {
        next = list->next;
        list->next = NULL;
        list->asked_ms = loop_now_ms(shared->loop);
        if (ready && shared->waiting.count < shared->waiting_max)
            token_queue_add(&shared->waiting, list);
        else
            fall_back(shared, list);
    }
    go_on(shared);
}

void shared_take(struct shared *shared, struct store_token *token)
{
    bool first;

    pthread_mutex_lock(&shared->lock);
    first = shared->inbox.count == 0;
    token_queue_add(&shared->inbox, token);
    pthread_mutex_unlock(&shared->lock);
    if (first)
        loop_post(shared->loop, on_inbox, shared);
}

bool shared_is_ready(const struct shared *shared)
{
    return atomic_load(&shared->ready);
}

uint64_t shared_updates(const struct shared *shared)
{
    return atomic_load(&shared->updates);
}

const struct store_table *shared_table(const struct shared *shared, const char *name)
{
    for (size_t i = 0; i < shared->tables_count; i++)
        if (strcmp(shared->tables[i].name, name) == 0)
            return &shared->tables[i];
    return NULL;
}

/* ---- reading, on the calling thread ---- */

static struct redis_source source_of(const struct shared *shared)
{
    return (struct redis_source){&shared->url, shared->tls, shared->shown, clock_unix(shared->clock)};
}

int shared_each(struct shared *shared, const struct store_table *table, struct str prefix,
                store_each_fn *each, void *arg, struct fail *fail)
{
    struct redis_source source = source_of(shared);

    return redis_read_each(&source, table, prefix, each, arg, fail);
}

int shared_find(struct shared *shared, const struct store_table *table, struct str key, store_each_fn *each,
                void *arg, struct fail *fail)
{
    struct redis_source source = source_of(shared);

    return redis_read_one(&source, table, key, each, arg, fail);
}

/* ---- life ---- */

static void *run_thread(void *arg)
{
    struct shared *shared = arg;

    on_retry(shared);
    loop_run(shared->loop);
    on_inbox(shared);         /* what was asked last */
    shared->said_away = true; /* nobody shall hear of it */
    go_away(shared, "");
    timer_stop(&shared->retry);
    return NULL;
}

static void wait_until_known(struct shared *shared)
{
    struct timespec until;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += OPEN_WAIT_MS / 1000;
    pthread_mutex_lock(&shared->lock);
    while (!shared->tried && pthread_cond_timedwait(&shared->known, &shared->lock, &until) == 0)
        ;
    pthread_mutex_unlock(&shared->lock);
}

static int read_url(struct shared *shared, const char *text, struct fail *fail)
{
    struct fail why = {0};

    shared->shown = redis_url_shown(shared->mem, str_of(text));
    if (redis_url_parse(shared->mem, str_of(text), &shared->url, &why) != 0)
        return fail_set(fail, "\"%s\" is no store: %s", shared->shown, why.text);
    if (!shared->url.tls)
        return 0;
    shared->tls = tls_verifying_context(
        &(struct tls_client_settings){.verify = TLS_VERIFY_NAME, .ca = shared->url.ca}, fail);
    return shared->tls != NULL ? 0 : -1;
}

static bool on_no_row(struct str key, struct str value, int64_t expires_unix, void *arg)
{
    (void)key, (void)value, (void)expires_unix, (void)arg;
    return false;
}

int shared_ping(const char *url, struct fail *fail)
{
    static const struct store_table any = {.name = "ping"};
    struct shared nobody = {.mem = arena_new(0), .clock = clock_system()};
    int outcome = read_url(&nobody, url, fail);

    if (outcome == 0)
        outcome = shared_find(&nobody, &any, STR("ping"), on_no_row, NULL, fail);
    tls_context_unref(&nobody.tls);
    arena_free(&nobody.mem);
    return outcome;
}

struct shared *shared_open(const struct store_settings *settings, struct local *local,
                           const struct clock *clock, struct fail *fail)
{
    struct shared *shared = calloc(1, sizeof(*shared));

    if (shared == NULL)
        out_of_memory();
    shared->mem = arena_new(0);
    shared->loop = loop_new();
    shared->batch = redis_batch_new(on_batch, shared);
    pthread_mutex_init(&shared->lock, NULL);
    pthread_cond_init(&shared->known, NULL);
    token_queue_init(&shared->inbox);
    token_queue_init(&shared->waiting);
    shared->local = local;
    shared->clock = clock;
    shared->reunion = (struct reunion){.local = local,
                                       .loop = shared->loop,
                                       .table_of = on_table,
                                       .ask = on_merge,
                                       .done = on_reunited,
                                       .arg = shared};
    shared->tables = settings->tables;
    shared->tables_count = settings->tables_count;
    shared->timeout_ms = settings->timeout_ms > 0 ? settings->timeout_ms : TIMEOUT_MS;
    shared->waiting_max = settings->waiting_max > 0 ? settings->waiting_max : WAITING_MAX;
    if (read_url(shared, settings->url, fail) != 0) {
        shared_free(&shared);
        return NULL;
    }
    metric_set(metric_up(), 0);
    store_thread_start(&shared->thread, "shared-store", run_thread, shared);
    wait_until_known(shared);
    return shared;
}

void shared_stop(struct shared *shared)
{
    if (shared == NULL)
        return;
    loop_stop(shared->loop);
    pthread_join(shared->thread, NULL);
}

void shared_free(struct shared **shared)
{
    struct shared *s = *shared;

    if (s == NULL)
        return;
    loop_stop(s->loop); /* one more turn, for the last answers of the local engine */
    loop_run(s->loop);
    loop_free(&s->loop);
    redis_batch_free(&s->batch);
    tls_context_unref(&s->tls);
    pthread_cond_destroy(&s->known);
    pthread_mutex_destroy(&s->lock);
    arena_free(&s->mem);
    free(s);
    *shared = NULL;
}
