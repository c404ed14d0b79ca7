#include "grey/policy.h"

#include <stdint.h>
#include <limits.h>

enum { COUNT_EVERY_S = 3600, HOUR_S = 3600 };
enum { NUMBERS_MAX = 3, NUMBER_DIGITS = 20 }; /* of a row, and of a 64-bit number */

/* ---- the step ---- */

static int64_t not_after(int64_t stamp_unix, int64_t now_unix)
{
    return stamp_unix < now_unix ? stamp_unix : now_unix;
}

/* The clock may have been set back since; and what is too old is forgotten, whether or not the store has
 * deleted it. */
static void refresh(const struct grey_rules *rules, int64_t now_unix, struct grey_memory *memory)
{
    struct grey_triple *triple = &memory->triple;
    struct grey_deliveries *client = &memory->client;
    bool waiting = triple->passed_unix == 0;

    triple->first_unix = not_after(triple->first_unix, now_unix);
    triple->passed_unix = not_after(triple->passed_unix, now_unix);
    triple->last_unix = not_after(triple->last_unix, now_unix);
    client->counted_unix = not_after(client->counted_unix, now_unix);
    client->last_unix = not_after(client->last_unix, now_unix);
    if (waiting ? now_unix - triple->first_unix >= rules->window_s
                : now_unix - triple->last_unix >= rules->keep_s)
        *triple = (struct grey_triple){0};
    if (!client->allowed && now_unix - client->last_unix >= rules->keep_s)
        *client = (struct grey_deliveries){0};
}

static void count_delivery(struct grey_deliveries *client, int64_t now_unix)
{
    client->last_unix = now_unix;
    if (client->count > 0 && now_unix - client->counted_unix < COUNT_EVERY_S)
        return;
    client->counted_unix = now_unix;
    if (client->count < UINT_MAX)
        client->count++;
}

static struct grey_answer answer(enum grey_verdict verdict, int64_t wait_s, int64_t first_unix)
{
    return (struct grey_answer){.verdict = verdict, .wait_s = wait_s, .first_unix = first_unix};
}

struct grey_answer grey_step(const struct grey_rules *rules, int64_t now_unix, struct grey_memory *memory)
{
    struct grey_triple *triple = &memory->triple;
    struct grey_deliveries *client = &memory->client;
    bool is_new, known;
    int64_t waited_s;

    refresh(rules, now_unix, memory);
    if (client->allowed)
        return answer(GREY_ALLOWED, 0, client->counted_unix);
    if (rules->allow_after > 0 && client->count >= rules->allow_after) {
        client->last_unix = now_unix; /* the triple is left alone: it is not asked for any more */
        return answer(GREY_TRUSTED, 0, triple->first_unix);
    }
    is_new = triple->first_unix == 0;
    known = triple->passed_unix != 0;
    if (is_new)
        triple->first_unix = triple->last_unix = now_unix;
    waited_s = now_unix - triple->first_unix;
    if (!known && waited_s < rules->delay_s)
        return answer(is_new ? GREY_NEW : GREY_EARLY, rules->delay_s - waited_s, triple->first_unix);
    if (!known)
        triple->passed_unix = now_unix;
    triple->last_unix = now_unix;
    count_delivery(client, now_unix);
    return answer(known ? GREY_KNOWN : GREY_PASSED, 0, triple->first_unix);
}

/* ---- rows ---- */

/* A letter and so many numbers with one blank between, and nothing else. */
static bool unpack(struct str value, char letter, uint64_t *numbers_out, int count)
{
    struct str word;

    if (!str_cut(value, ' ', &word, &value) || word.n != 1 || word.p[0] != letter)
        return false;
    for (int i = 0; i < count; i++) {
        bool more = str_cut(value, ' ', &word, &value);

        if (more != (i + 1 < count) || !str_to_u64(word, INT64_MAX, &numbers_out[i]))
            return false;
    }
    return true;
}

/* What unpack() reads. Each question writes one, and sprintf() would take as long as a look into the table. */
static struct str pack(struct arena *mem, char letter, const int64_t *numbers, size_t count)
{
    char text[1 + NUMBERS_MAX * (1 + NUMBER_DIGITS)], *end = text + sizeof(text), *at = end;

    while (count-- > 0) {
        uint64_t rest = (uint64_t)numbers[count];

        do
            *--at = (char)('0' + rest % 10);
        while ((rest /= 10) > 0);
        *--at = ' ';
    }
    *--at = letter;
    return str_copy(mem, str_make(at, (size_t)(end - at)));
}

bool grey_unpack_triple(struct str value, struct grey_triple *triple_out)
{
    uint64_t n[3];
    bool fine = unpack(value, 'T', n, 3);

    *triple_out = (struct grey_triple){0};
    if (fine)
        *triple_out = (struct grey_triple){(int64_t)n[0], (int64_t)n[1], (int64_t)n[2]};
    return fine;
}

bool grey_unpack_deliveries(struct str value, struct grey_deliveries *client_out)
{
    uint64_t n[3];
    bool allowed = unpack(value, 'A', n, 1), fine = allowed || (unpack(value, 'C', n, 3) && n[0] <= UINT_MAX);

    *client_out = (struct grey_deliveries){0};
    if (allowed)
        *client_out = (struct grey_deliveries){.counted_unix = (int64_t)n[0], .allowed = true};
    else if (fine)
        *client_out = (struct grey_deliveries){(unsigned)n[0], (int64_t)n[1], (int64_t)n[2], false};
    return fine;
}

/* What has been good is stored longer than it holds: so much that, when the table is full, whatever waits would expire
 * sooner and goes first. A million strangers push out each other, and nobody who is known. */
static int64_t stored_until(const struct grey_rules *rules, int64_t last_unix)
{
    return last_unix + rules->keep_s + rules->window_s + HOUR_S;
}

struct store_row grey_pack_triple(struct arena *mem, const struct grey_rules *rules,
                                  const struct grey_triple *triple)
{
    bool waiting = triple->passed_unix == 0;
    struct store_row row = {.expires_unix = waiting ? triple->first_unix + rules->window_s
                                                    : stored_until(rules, triple->last_unix)};

    if (triple->first_unix != 0)
        row.value = pack(mem, 'T', (int64_t[]){triple->first_unix, triple->passed_unix, triple->last_unix}, 3);
    return row;
}

struct store_row grey_pack_deliveries(struct arena *mem, const struct grey_rules *rules,
                                      const struct grey_deliveries *client)
{
    struct store_row row = {.expires_unix = client->allowed ? 0 : stored_until(rules, client->last_unix)};

    if (client->allowed)
        row.value = pack(mem, 'A', &client->counted_unix, 1);
    else if (client->count > 0)
        row.value = pack(mem, 'C', (int64_t[]){client->count, client->counted_unix, client->last_unix}, 3);
    return row;
}
