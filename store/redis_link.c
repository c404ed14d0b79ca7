#include "store/redis_link.h"

#include "base/bug.h"
#include "tls/conn.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Four keys with old and new values are 40 KiB at the most; more than this waits only for a server that does
 * not read. */
enum { OUT_MAX = 64 * 1024 * 1024, WORDS_MAX = 4 };

struct question {
    struct question *next;
    redis_reply_fn *reply;
    void *arg;
};

struct redis_link {
    struct loop *loop;
    struct conn *conn;
    struct tls_context *tls;
    char *name, *user, *password;
    unsigned database;
    struct redis_link_events events;
    void *arg;
    struct resp_reader *reader;
    struct buf out;
    struct later flush;
    struct question *first, **last;
    size_t waiting;
    bool ended;
    bool reading, closed; /* closed while it reads: the memory goes when the reading is over */
};

/* ---- the end ---- */

static void end(struct redis_link *link, const char *why)
{
    if (link->ended)
        return;
    link->ended = true;
    later_cancel(&link->flush);
    link->events.on_end(why, link->arg);
}

static void wipe(char **secret)
{
    if (*secret != NULL)
        explicit_bzero(*secret, strlen(*secret));
    free(*secret);
}

static void bury(struct redis_link *link)
{
    resp_reader_free(&link->reader);
    free(link);
}

void redis_link_close(struct redis_link **link_in)
{
    struct redis_link *link = *link_in;

    if (link == NULL)
        return;
    *link_in = NULL;
    link->ended = link->closed = true;
    conn_close(&link->conn);
    later_cancel(&link->flush);
    tls_context_unref(&link->tls);
    buf_fini(&link->out);
    while (link->first != NULL) {
        struct question *question = link->first;

        link->first = question->next;
        free(question);
    }
    free(link->name);
    free(link->user);
    wipe(&link->password);
    if (!link->reading)
        bury(link);
}

/* ---- asking ---- */

static void on_flush(void *arg)
{
    struct redis_link *link = arg;

    if (link->out.overflow)
        end(link, "too much waits to be sent");
    else
        conn_write_buf(link->conn, &link->out);
}

void redis_link_ask(struct redis_link *link, const struct str *words, size_t count, redis_reply_fn *reply,
                    void *arg)
{
    struct question *question;

    if (link->ended)
        return;
    later_start(&link->flush, link->loop, on_flush, link);
    if (!resp_format(&link->out, words, count))
        return;
    question = calloc(1, sizeof(*question));
    if (question == NULL)
        out_of_memory();
    question->reply = reply;
    question->arg = arg;
    *link->last = question;
    link->last = &question->next;
    link->waiting++;
}

size_t redis_link_waiting(const struct redis_link *link)
{
    return link->waiting;
}

/* ---- the introduction ---- */

static bool is_refused(struct redis_link *link, const struct resp *reply, const char *what)
{
    char why[300];

    if (reply->type != RESP_ERROR)
        return false;
    snprintf(why, sizeof(why), "%s is refused: %.*s", what, (int)(reply->text.n < 200 ? reply->text.n : 200),
             reply->text.p);
    end(link, why);
    return true;
}

/* The last answer of the introduction: a server that is still loading its file says so here. */
static void on_ping(const struct resp *reply, void *arg)
{
    struct redis_link *link = arg;

    if (is_refused(link, reply, "PING"))
        return;
    link->events.on_ready(link->arg);
}

static void on_select(const struct resp *reply, void *arg)
{
    is_refused(arg, reply, "the database");
}

static void on_auth(const struct resp *reply, void *arg)
{
    is_refused(arg, reply, "the password");
}

static void introduce(struct redis_link *link)
{
    struct str words[WORDS_MAX] = {STR("AUTH")};
    char database[16];
    size_t count = 1;

    if (*link->user != '\0')
        words[count++] = str_of(link->user);
    words[count++] = str_of(link->password);
    if (*link->password != '\0')
        redis_link_ask(link, words, count, on_auth, link);
    if (link->database != 0) {
        snprintf(database, sizeof(database), "%u", link->database);
        redis_link_ask(link, (struct str[]){STR("SELECT"), str_of(database)}, 2, on_select, link);
    }
    redis_link_ask(link, &STR("PING"), 1, on_ping, link);
}

/* ---- the connection ---- */

static void on_connect(void *arg)
{
    struct redis_link *link = arg;

    if (link->tls != NULL)
        conn_start_tls_client(link->conn, link->tls, link->name);
    else
        introduce(link);
}

static void on_tls(void *arg)
{
    introduce(arg);
}

static void on_reply(struct redis_link *link, const struct resp *reply)
{
    struct question *question = link->first, asked;

    if (question == NULL) {
        end(link, "a reply to no question");
        return;
    }
    link->first = question->next;
    if (link->first == NULL)
        link->last = &link->first;
    link->waiting--;
    asked = *question;
    free(question);
    if (asked.reply != NULL)
        asked.reply(reply, asked.arg);
}

static void on_data(const char *bytes, size_t n, void *arg)
{
    struct redis_link *link = arg;
    const struct resp *reply;
    struct fail fail = {0};
    int outcome = resp_feed(link->reader, bytes, n, &fail);

    link->reading = true;
    if (outcome == 0)
        outcome = resp_next(link->reader, &reply, &fail);
    while (outcome > 0) {
        on_reply(link, reply);
        outcome = link->ended ? 0 : resp_next(link->reader, &reply, &fail);
    }
    if (outcome < 0)
        end(link, fail.text);
    link->reading = false;
    if (link->closed)
        bury(link);
}

static void on_conn_end(int error, const char *why, void *arg)
{
    (void)error;
    end(arg, why);
}

static char *copy(const char *text)
{
    char *copied = strdup(text != NULL ? text : "");

    if (copied == NULL)
        out_of_memory();
    return copied;
}

struct redis_link *redis_link_open(struct loop *loop, const struct redis_link_settings *settings,
                                   const struct redis_link_events *events, void *arg)
{
    static const struct conn_events conn_callbacks = {
        .on_connect = on_connect, .on_data = on_data, .on_tls = on_tls, .on_end = on_conn_end};
    struct redis_link *link = calloc(1, sizeof(*link));

    if (link == NULL)
        out_of_memory();
    link->loop = loop;
    link->events = *events;
    link->arg = arg;
    link->name = copy(settings->name);
    link->user = copy(settings->user);
    link->password = copy(settings->password);
    link->database = settings->database;
    if (settings->tls != NULL)
        link->tls = tls_context_ref(settings->tls);
    link->reader = resp_reader_new();
    link->last = &link->first;
    buf_init(&link->out, OUT_MAX);
    link->out.secret = *link->password != '\0';
    link->conn = conn_connect(loop, &settings->at, &conn_callbacks, link);
    if (link->conn == NULL)
        redis_link_close(&link);
    return link;
}
