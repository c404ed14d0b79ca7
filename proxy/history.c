#include "proxy/session_in.h"

#include <string.h>

/*
 * A client that has once had a message accepted need not wait at the banner any more (postscreen's idea of a
 * passed test). The table of clients knows it as long as the process lives; behind that the store knows it
 * for longer, and, shared, for the other hosts of a site.
 */

static const char table[] = "client";
enum { GOOD_DAYS = 30, DAY_S = 24 * 3600 };

struct question {
    int64_t now_unix;
    bool praise;
};

static void change(struct arena *mem, const void *question, struct store_row *rows, size_t count,
                   void *result)
{
    const struct question *q = question;
    bool good = rows[0].value.n > 0;

    (void)mem;
    (void)count;
    memcpy(result, &good, sizeof(good));
    /* Once a day is often enough: most praise costs no write. */
    if (!q->praise || (good && rows[0].expires_unix > q->now_unix + (int64_t)(GOOD_DAYS - 1) * DAY_S))
        return;
    rows[0].value = STR("good");
    rows[0].expires_unix = q->now_unix + (int64_t)GOOD_DAYS * DAY_S;
}

static struct store_token *ask(struct session *s, bool praise, store_done_fn *done, void *arg)
{
    struct ip client = ip_prefix(&s->facts.session.client, s->facts.session.client.family == 4 ? 32 : 64);
    struct question question = {clock_unix(s->service->clock), praise};
    char key[IP_TEXT_MAX];
    struct store_request request = {.table = table,
                                    .keys = {str_of(ip_format(&client, key))},
                                    .keys_count = 1,
                                    .change = change,
                                    .question = &question,
                                    .question_bytes = sizeof(question),
                                    .result_bytes = sizeof(bool)};

    return store_update(s->service->store, s->service->loop, &request, done, arg);
}

void history_ask(struct session *s, store_done_fn *done)
{
    s->history = ask(s, false, done, s);
}

bool history_is_good(const void *result)
{
    bool good = false;

    if (result != NULL)
        memcpy(&good, result, sizeof(good));
    return good;
}

static void on_praised(enum store_status status, const void *result, void *arg)
{
    (void)status; /* a store that is away forgets praise, and nothing worse */
    (void)result;
    (void)arg;
}

void history_praise(struct session *s)
{
    int64_t now_ms = loop_now_ms(s->service->loop);

    if (clients_is_good(s->service->clients, &s->facts.session.client, now_ms))
        return;
    clients_praise(s->service->clients, &s->facts.session.client, now_ms);
    ask(s, true, on_praised, NULL);
}
