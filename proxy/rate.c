#include "proxy/rate.h"

#include "base/hash.h"

#include <string.h>

/* ---- the row: a host after the other ---- */

struct told {
    uint64_t origin;
    int64_t at_unix;
    uint64_t count;
};

enum { TOLD_BYTES = sizeof(struct told) };

/* Most significant first: hosts may differ. */
static void put(unsigned char *p, uint64_t number)
{
    for (int i = 0; i < 8; i++)
        p[i] = (unsigned char)(number >> (56 - 8 * i));
}

static uint64_t get(const unsigned char *p)
{
    uint64_t number = 0;

    for (int i = 0; i < 8; i++)
        number = number << 8 | p[i];
    return number;
}

static bool is_of_now(const struct told *t, const struct rate_question *q)
{
    return t->at_unix > q->now_unix - q->window_s && t->at_unix < q->now_unix + q->window_s;
}

/* Clocks differ a little: what comes from the future is of this moment. */
static int64_t age_of(const struct told *t, const struct rate_question *q)
{
    return t->at_unix < q->now_unix ? q->now_unix - t->at_unix : 0;
}

/* What others told within the window, the newest first. */
static size_t read_row(struct str value, const struct rate_question *q, struct told *told)
{
    size_t count = 0;

    for (size_t at = 0; at + TOLD_BYTES <= value.n && count < RATE_HOSTS_MAX - 1; at += TOLD_BYTES) {
        const unsigned char *p = (const unsigned char *)value.p + at;
        struct told t = {get(p), (int64_t)get(p + 8), get(p + 16)};

        if (t.origin != q->origin && is_of_now(&t, q))
            told[count++] = t;
    }
    return count;
}

static struct str write_row(struct arena *mem, const struct told *told, size_t count)
{
    unsigned char *p = arena_alloc(mem, count * TOLD_BYTES);

    for (size_t i = 0; i < count; i++) {
        put(p + i * TOLD_BYTES, told[i].origin);
        put(p + i * TOLD_BYTES + 8, (uint64_t)told[i].at_unix);
        put(p + i * TOLD_BYTES + 16, told[i].count);
    }
    return str_make((const char *)p, count * TOLD_BYTES);
}

static uint64_t faded(const struct told *t, const struct rate_question *q)
{
    static const uint64_t most = 1000000;
    uint64_t count = t->count < most ? t->count : most;

    return count * (uint64_t)(q->window_s - age_of(t, q)) / (uint64_t)q->window_s;
}

void rate_change(struct arena *mem, const void *question, struct store_row *rows, size_t keys, void *result)
{
    const struct rate_question *q = question;
    struct rate_answer *answer = result;
    struct told told[RATE_HOSTS_MAX];
    size_t count = read_row(rows[0].value, q, told + 1) + 1;
    uint64_t sum = 0;

    (void)keys;
    told[0] = (struct told){q->origin, q->now_unix, q->count};
    for (size_t i = 1; i < count; i++)
        sum += faded(&told[i], q);
    rows[0] = (struct store_row){write_row(mem, told, count), q->now_unix + q->window_s};
    *answer = (struct rate_answer){q->client, q->asked_ms, (unsigned)sum};
}

/* ---- telling ---- */

static void on_told(enum store_status status, const void *result, void *arg)
{
    struct clients *clients = arg;
    struct rate_answer answer;

    if (status != STORE_DONE)
        return;
    memcpy(&answer, result, sizeof(answer));
    clients_heard(clients, &answer.client, answer.elsewhere, answer.asked_ms);
}

void rate_tell(struct service *service, const struct ip *ip)
{
    const struct limit_settings *limits = &service->config->limits;
    const char *hostname = service->config->hostname;
    struct ip client = ip_prefix(ip, ip->family == 4 ? 32 : 64);
    struct rate_question question = {.origin = hash_stable(hostname, strlen(hostname), 0),
                                     .now_unix = clock_unix(service->clock),
                                     .asked_ms = loop_now_ms(service->loop),
                                     .window_s = (limits->new_connections_ms + 999) / 1000,
                                     .client = client};
    char key[IP_TEXT_MAX];
    struct store_request request = {.table = RATE_TABLE,
                                    .keys = {str_of(ip_format(&client, key))},
                                    .keys_count = 1,
                                    .change = rate_change,
                                    .question = &question,
                                    .question_bytes = sizeof(question),
                                    .result_bytes = sizeof(struct rate_answer)};

    if (store_sharing(service->store) != STORE_SHARES)
        return;
    question.count = clients_to_tell(service->clients, limits, ip);
    if (question.count > 0)
        store_update(service->store, service->loop, &request, on_told, service->clients);
}
