#include "base/bug.h"
#include "store/store_in.h"

#include <stdlib.h>
#include <string.h>

static size_t aligned(size_t bytes)
{
    const size_t align = _Alignof(max_align_t);

    return (bytes + align - 1) / align * align;
}

static void check_request(const struct store_request *request)
{
    if (request->keys_count > STORE_KEYS_MAX)
        bug("store request with %zu keys", request->keys_count);
    if (request->question_bytes > STORE_RESULT_MAX || request->result_bytes > STORE_RESULT_MAX)
        bug("store request with a question of %zu and a result of %zu bytes", request->question_bytes,
            request->result_bytes);
    for (size_t i = 0; i < request->keys_count; i++)
        if (request->keys[i].n > STORE_KEY_BYTES_MAX)
            bug("store key of %zu bytes", request->keys[i].n);
}

/* With copies of all that the request borrows, in one piece of memory. */
struct store_token *token_new(const struct store_request *request, struct loop *loop, store_done_fn *done,
                              void *arg)
{
    size_t keys_at = aligned(request->question_bytes) + aligned(request->result_bytes), n = keys_at;
    struct store_token *token;

    check_request(request);
    for (size_t i = 0; i < request->keys_count; i++)
        n += request->keys[i].n;
    token = calloc(1, sizeof(*token) + n);
    if (token == NULL)
        out_of_memory();
    token->loop = loop;
    token->done = done;
    token->arg = arg;
    token->table = request->table;
    token->change = request->change;
    token->question = token->bytes;
    if (request->question_bytes > 0)
        memcpy(token->bytes, request->question, request->question_bytes);
    token->result = token->bytes + aligned(request->question_bytes);
    token->result_bytes = request->result_bytes;
    token->keys_count = request->keys_count;
    for (size_t i = 0; i < request->keys_count; i++) {
        unsigned char *key = token->bytes + keys_at;

        if (request->keys[i].n > 0)
            memcpy(key, request->keys[i].p, request->keys[i].n);
        token->keys[i] = str_make((const char *)key, request->keys[i].n);
        keys_at += request->keys[i].n;
    }
    return token;
}

/* On the loop: one visit for all answers of a batch. A callback may cancel those that follow, so they are
 * freed here only. */
static void on_answers(void *arg)
{
    struct store_token *token = arg;

    while (token != NULL) {
        struct store_token *next = token->next_here;

        if (token->done != NULL)
            token->done(token->status, token->result, token->arg);
        free(token);
        token = next;
    }
}

/* Posts once per loop: the first answer for a loop carries the others. There are as many loops as workers. */
void token_answer(struct store_token *list)
{
    struct store_token *firsts = NULL;

    for (struct store_token *next, *token = list; token != NULL; token = next) {
        struct store_token *first = firsts;
        int asked = TOKEN_ASKED;

        next = token->next;
        if (!atomic_compare_exchange_strong(&token->state, &asked, TOKEN_ANSWERED)) {
            free(token);
            continue;
        }
        while (first != NULL && first->loop != token->loop)
            first = first->next;
        if (first != NULL) {
            first->last_here->next_here = token;
            first->last_here = token;
        } else {
            token->last_here = token;
            token->next = firsts;
            firsts = token;
        }
    }
    while (firsts != NULL) {
        struct store_token *first = firsts;

        firsts = first->next;
        loop_post(first->loop, on_answers, first);
    }
}

void store_cancel(struct store_token **token)
{
    int asked = TOKEN_ASKED;

    if (*token == NULL)
        return;
    if (!atomic_compare_exchange_strong(&(*token)->state, &asked, TOKEN_CANCELLED))
        (*token)->done = NULL; /* its delivery is on the way, to this thread */
    *token = NULL;
}

uint64_t token_set_status(struct store_token *list, enum store_status status)
{
    uint64_t count = 0;

    for (struct store_token *token = list; token != NULL; token = token->next, count++)
        token->status = status;
    return count;
}

/* ---- queues ---- */

void token_queue_init(struct token_queue *queue)
{
    *queue = (struct token_queue){.last = &queue->first};
}

void token_queue_add(struct token_queue *queue, struct store_token *token)
{
    token->next = NULL;
    *queue->last = token;
    queue->last = &token->next;
    queue->count++;
}

struct store_token *token_queue_take(struct token_queue *queue)
{
    struct store_token *first = queue->first;

    token_queue_init(queue);
    return first;
}

/* ---- rows ---- */

struct str store_row_name(struct arena *mem, const char *table, struct str key)
{
    size_t name_n = strlen(table);
    char *name = arena_alloc(mem, name_n + 1 + key.n);

    memcpy(name, table, name_n + 1);
    if (key.n > 0)
        memcpy(name + name_n + 1, key.p, key.n);
    return str_make(name, name_n + 1 + key.n);
}

struct store_row store_row_as_seen(const struct store_row *row, int64_t now_unix)
{
    static const struct store_row none;
    bool expired = row->expires_unix > 0 && row->expires_unix <= now_unix;

    return expired ? none : *row;
}

bool store_row_is_changed(const struct store_row *seen, const struct store_row *row)
{
    return !str_eq(seen->value, row->value) || (row->value.n > 0 && seen->expires_unix != row->expires_unix);
}
