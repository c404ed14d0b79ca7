#include "store/resp.h"

#include "base/bug.h"

#include <hiredis/hiredis.h>
#include <stdlib.h>
#include <string.h>

enum { WORDS_MAX = 1024 };

struct resp_reader {
    redisReader *hiredis;
    struct arena *mem; /* of the reply that is read, or of the last one */
    size_t fed;        /* since the last reply */
    size_t items;      /* of the arrays of this one */
    bool whole;        /* it has been given away */
    const char *why;   /* it is too much; NULL: it is not */
};

bool resp_format(struct buf *out, const struct str *words, size_t count)
{
    const char *argv[WORDS_MAX];
    size_t lengths[WORDS_MAX];
    char *command = NULL;
    bool fits;
    int n;

    if (count == 0 || count > WORDS_MAX)
        bug("a command of %zu words", count);
    for (size_t i = 0; i < count; i++) {
        argv[i] = words[i].n > 0 ? words[i].p : "";
        lengths[i] = words[i].n;
    }
    n = redisFormatCommandArgv(&command, (int)count, argv, lengths);
    if (n < 0)
        out_of_memory();
    fits = buf_add(out, command, (size_t)n);
    redisFreeCommand(command);
    return fits;
}

/* ---- what hiredis has read, in our memory ---- */

/* NULL, which breaks the reader: a count is only a word, so it is no measure of what may be allocated. */
static struct resp *too_much(struct resp_reader *reader, const char *why)
{
    reader->why = why;
    return NULL;
}

static struct resp *place_of(const redisReadTask *task, enum resp_type type)
{
    struct resp_reader *reader = task->privdata;
    struct resp *array = task->parent != NULL ? task->parent->obj : NULL;
    struct resp *place =
        array != NULL ? (struct resp *)&array->items[task->idx] : ARENA_NEW(reader->mem, struct resp);

    place->type = type;
    return place;
}

static void *on_string(const redisReadTask *task, char *bytes, size_t n)
{
    enum resp_type type = task->type == REDIS_REPLY_ERROR    ? RESP_ERROR
                          : task->type == REDIS_REPLY_STATUS ? RESP_STATUS
                                                             : RESP_STRING;
    struct resp_reader *reader = task->privdata;
    struct resp *place = place_of(task, type);

    place->text = str_copy(reader->mem, str_make(bytes, n));
    return place;
}

static void *array_of(const redisReadTask *task, size_t count)
{
    struct resp_reader *reader = task->privdata;
    struct resp *place = place_of(task, RESP_ARRAY);
    int depth = 0;

    for (const redisReadTask *above = task->parent; above != NULL; above = above->parent)
        depth++;
    if (depth == RESP_DEPTH_MAX)
        return too_much(reader, "a reply of too many levels");
    if (count > RESP_ITEMS_MAX - reader->items)
        return too_much(reader, "a reply of too many items");
    reader->items += count;
    place->count = count;
    place->items = ARENA_ARRAY(reader->mem, struct resp, count);
    return place;
}

static void *on_integer(const redisReadTask *task, long long number)
{
    struct resp *place = place_of(task, RESP_INTEGER);

    place->number = number;
    return place;
}

static void *on_nil(const redisReadTask *task)
{
    return place_of(task, RESP_NIL);
}

static void on_free(void *object)
{
    (void)object; /* the arena's */
}

#if HIREDIS_MAJOR >= 1 /* which also reads RESP3; nobody asks for that */
typedef size_t array_count;

static void *on_double(const redisReadTask *task, double number, char *bytes, size_t n)
{
    (void)number, (void)bytes, (void)n;
    return place_of(task, RESP_NIL);
}

static void *on_bool(const redisReadTask *task, int number)
{
    (void)number;
    return place_of(task, RESP_NIL);
}
#else
typedef int array_count;
#endif

static void *on_array(const redisReadTask *task, array_count count)
{
    return array_of(task, (size_t)count);
}

static redisReplyObjectFunctions functions = {
    .createString = on_string,
    .createArray = on_array,
    .createInteger = on_integer,
#if HIREDIS_MAJOR >= 1
    .createDouble = on_double,
    .createBool = on_bool,
#endif
    .createNil = on_nil,
    .freeObject = on_free,
};

/* ---- reading ---- */

struct resp_reader *resp_reader_new(void)
{
    struct resp_reader *reader = calloc(1, sizeof(*reader));

    if (reader == NULL)
        out_of_memory();
    reader->hiredis = redisReaderCreateWithFunctions(&functions);
    if (reader->hiredis == NULL)
        out_of_memory();
    reader->hiredis->privdata = reader;
    reader->mem = arena_new(0);
    return reader;
}

void resp_reader_free(struct resp_reader **reader)
{
    if (*reader == NULL)
        return;
    redisReaderFree((*reader)->hiredis);
    arena_free(&(*reader)->mem);
    free(*reader);
    *reader = NULL;
}

static int broken(const struct resp_reader *reader, struct fail *fail)
{
    return fail_set(fail, "what came is no reply of a Redis: %s",
                    reader->why != NULL ? reader->why : reader->hiredis->errstr);
}

int resp_feed(struct resp_reader *reader, const char *bytes, size_t n, struct fail *fail)
{
    reader->fed += n;
    if (reader->fed > RESP_BYTES_MAX)
        return fail_set(fail, "a reply of more than %d octets", RESP_BYTES_MAX);
    return redisReaderFeed(reader->hiredis, bytes, n) == REDIS_OK ? 0 : broken(reader, fail);
}

int resp_next(struct resp_reader *reader, const struct resp **reply_out, struct fail *fail)
{
    void *reply = NULL;

    if (reader->whole) {
        arena_reset(reader->mem);
        reader->items = 0;
        reader->whole = false;
    }
    if (redisReaderGetReply(reader->hiredis, &reply) != REDIS_OK)
        return broken(reader, fail);
    if (reply == NULL)
        return 0;
    reader->fed = 0;
    reader->whole = true;
    *reply_out = reply;
    return 1;
}

bool resp_is_error(const struct resp *reply, const char *word)
{
    struct str first;

    if (reply == NULL || reply->type != RESP_ERROR)
        return false;
    str_cut(reply->text, ' ', &first, &(struct str){0});
    return str_eq_z(first, word);
}
