#include "store/resp.h"

#include "base/bug.h"

#include <hiredis/hiredis.h>
#include <stdlib.h>
#include <string.h>

enum { WORDS_MAX = 1024 };

struct resp_reader {
    redisReader *hiredis;
    struct arena *mem; /* of the last reply */
    size_t fed;        /* since the last reply */
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

struct resp_reader *resp_reader_new(void)
{
    struct resp_reader *reader = calloc(1, sizeof(*reader));

    if (reader == NULL)
        out_of_memory();
    reader->hiredis = redisReaderCreate();
    if (reader->hiredis == NULL)
        out_of_memory();
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
    return fail_set(fail, "what came is no reply of a Redis: %s", reader->hiredis->errstr);
}

int resp_feed(struct resp_reader *reader, const char *bytes, size_t n, struct fail *fail)
{
    reader->fed += n;
    if (reader->fed > RESP_BYTES_MAX)
        return fail_set(fail, "a reply of more than %d octets", RESP_BYTES_MAX);
    return redisReaderFeed(reader->hiredis, bytes, n) == REDIS_OK ? 0 : broken(reader, fail);
}

/* hiredis reads seven levels at the most, so this goes no deeper. */
static void copy(struct arena *mem, const redisReply *from, struct resp *to)
{
    static const enum resp_type types[] = {
        [REDIS_REPLY_STRING] = RESP_STRING,   [REDIS_REPLY_ARRAY] = RESP_ARRAY,
        [REDIS_REPLY_INTEGER] = RESP_INTEGER, [REDIS_REPLY_NIL] = RESP_NIL,
        [REDIS_REPLY_STATUS] = RESP_STATUS,   [REDIS_REPLY_ERROR] = RESP_ERROR,
    };
    struct resp *items;

    if (from == NULL || from->type < 1 || (size_t)from->type >= sizeof(types) / sizeof(types[0]))
        return; /* RESP3, which nobody asked for */
    to->type = types[from->type];
    if (to->type == RESP_INTEGER)
        to->number = from->integer;
    if (to->type == RESP_STRING || to->type == RESP_STATUS || to->type == RESP_ERROR)
        to->text = str_copy(mem, str_make(from->str, (size_t)from->len));
    if (to->type != RESP_ARRAY)
        return;
    to->count = from->elements;
    to->items = items = ARENA_ARRAY(mem, struct resp, to->count);
    for (size_t i = 0; i < to->count; i++)
        copy(mem, from->element[i], &items[i]);
}

int resp_next(struct resp_reader *reader, const struct resp **reply_out, struct fail *fail)
{
    void *reply = NULL;
    struct resp *copied;

    if (redisReaderGetReply(reader->hiredis, &reply) != REDIS_OK)
        return broken(reader, fail);
    if (reply == NULL)
        return 0;
    reader->fed = 0;
    arena_reset(reader->mem);
    copied = ARENA_NEW(reader->mem, struct resp);
    copy(reader->mem, reply, copied);
    freeReplyObject(reply);
    *reply_out = copied;
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
