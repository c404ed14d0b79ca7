#include "grey/grey.h"

#include "base/bug.h"
#include "base/hash.h"
#include "grey/normalize.h"
#include "grey/policy.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { NAME_MAX_OCTETS = 255, HASH_DIGITS = 16, SECOND_LEVEL_MAX = 3 };

/* ---- who is it? ---- */

static struct str without_final_dot(struct str name)
{
    return name.n > 0 && name.p[name.n - 1] == '.' ? str_upto(name, name.n - 1) : name;
}

static struct str last_labels(struct str name, unsigned labels)
{
    size_t i = name.n;

    while (i > 0) {
        if (name.p[i - 1] == '.' && --labels == 0)
            break;
        i--;
    }
    return str_from(name, i);
}

/* The domain of whoever owns a host name, by a rule of thumb: two labels, or three when the second is as
 * short as the "co" of co.uk or the "com" of com.au. Where it is wrong (mail.abc.de is itself) a large sender
 * is greylisted once for each host, and nobody is taken for somebody else. A tree walk for one word of a key
 * would cost DNS queries, and a public suffix list is one more thing to keep fresh. */
struct str grey_owner_domain(struct str host)
{
    struct str two = last_labels(host, 2), second, top;

    if (str_cut(two, '.', &second, &top) && top.n == 2 && second.n <= SECOND_LEVEL_MAX)
        return last_labels(host, 3);
    return two;
}

static bool has_number(struct str name, unsigned number)
{
    for (size_t i = 0; i < name.n;) {
        uint64_t value = 0;
        size_t start = i;

        while (i < name.n && ascii_is_digit(name.p[i]))
            i++;
        if (i > start && i - start <= 3 && str_to_u64(str_make(name.p + start, i - start), 999, &value) &&
            value == number)
            return true;
        i += i == start;
    }
    return false;
}

static bool has_hex(struct str name, const unsigned char address[4])
{
    static const char digits[] = "0123456789abcdef";
    char hex[8];

    for (size_t i = 0; i < sizeof(hex); i++)
        hex[i] = digits[i % 2 == 0 ? address[i / 2] >> 4 : address[i / 2] & 15];
    for (size_t i = 0; i + sizeof(hex) <= name.n; i++)
        if (str_same(str_make(name.p + i, sizeof(hex)), str_make(hex, sizeof(hex))))
            return true;
    return false;
}

/* Does the name spell the address, as those of dial-up lines and rented machines do? Then a whole provider's
 * customers share its domain, and one of them must not earn trust for all. Three of the four numbers: two are
 * in many a relay's name. */
static bool spells_address(struct str name, const struct ip *ip)
{
    unsigned found = 0;

    if (ip->family != 4)
        return false;
    for (size_t i = 0; i < 4; i++)
        found += has_number(name, ip->b[i]);
    return found >= 3 || has_hex(name, ip->b);
}

const char *grey_network_identity(struct arena *mem, const struct grey_settings *settings,
                                  const struct ip *ip)
{
    unsigned bits = ip->family == 4 ? settings->ipv4_prefix : settings->ipv6_prefix;
    struct ip network = ip_prefix(ip, bits);

    return str_fmt(mem, "net:%s/%u", ip_text(mem, &network), bits);
}

const char *grey_identity(struct arena *mem, const struct grey_settings *settings,
                          const struct grey_client *client)
{
    struct str spf = str_upto(without_final_dot(str_of(client->spf_domain)), NAME_MAX_OCTETS);
    struct str host = str_upto(without_final_dot(str_of(client->verified_host)), NAME_MAX_OCTETS);

    if (spf.n > 0)
        return str_fmt(mem, "spf:%s", str_dup_lower(mem, spf));
    if (host.n > 0 && !spells_address(host, &client->ip))
        return str_fmt(mem, "host:%s", str_dup_lower(mem, grey_owner_domain(host)));
    return grey_network_identity(mem, settings, &client->ip);
}

bool grey_is_allowed(const struct grey_settings *settings, const struct grey_client *client,
                     struct str recipient)
{
    for (size_t i = 0; i < settings->allow_count; i++)
        if (grey_allow_has(&settings->allow[i], client))
            return true;
    for (size_t i = 0; i < settings->allow_recipients_count; i++)
        if (grey_allow_recipient_has(&settings->allow_recipients[i], recipient))
            return true;
    return false;
}

/* ---- keys ---- */

/* Readable as long as it is short; the hash keeps long ones apart, and is the same in every process. */
static struct str bounded_key(struct arena *mem, struct str key)
{
    const size_t kept = GREY_KEY_MAX - HASH_DIGITS - 1;
    char *bounded;

    if (key.n <= GREY_KEY_MAX)
        return key;
    bounded = arena_alloc(mem, GREY_KEY_MAX + 1);
    memcpy(bounded, key.p, kept);
    snprintf(bounded + kept, HASH_DIGITS + 2, "~%016" PRIx64, hash_stable(key.p, key.n, 0));
    return str_make(bounded, GREY_KEY_MAX);
}

struct str grey_key(struct arena *mem, const char *identity, struct str sender, struct str recipient)
{
    struct str parts[3] = {str_of(identity), normalize_sender(mem, sender),
                           normalize_recipient(mem, recipient)};
    size_t n = 0;
    char *key = arena_alloc(mem, parts[0].n + parts[1].n + parts[2].n + 2);

    for (size_t i = 0; i < 3; i++) {
        if (i > 0)
            key[n++] = '\0';
        if (parts[i].n > 0)
            memcpy(key + n, parts[i].p, parts[i].n);
        n += parts[i].n;
    }
    return bounded_key(mem, str_make(key, n));
}

struct str grey_client_key(struct arena *mem, const char *identity)
{
    return bounded_key(mem, str_of(identity));
}

/* ---- asking the store ---- */

struct grey_query {
    struct store *store;
    struct loop *loop;
    struct store_token *pending;
    struct store_request by_network; /* keys_count 0: it has been asked, or is the same */
    struct grey_answer answer;
    grey_done_fn *done;
    void *arg;
};

struct question {
    struct grey_rules rules;
    int64_t now_unix;
    bool only_looks; /* who would wait leaves nothing behind */
};

/* On the store's thread, within its transaction. */
static void change_rows(struct arena *mem, const void *question_bytes, struct store_row *rows, size_t count,
                        void *result)
{
    struct grey_memory memory;
    struct grey_answer answer;
    struct question question;

    if (count != 2)
        bug("greylisting with %zu rows", count);
    memcpy(&question, question_bytes, sizeof(question));
    grey_unpack_triple(rows[0].value, &memory.triple);
    grey_unpack_deliveries(rows[1].value, &memory.client);
    answer = grey_step(&question.rules, question.now_unix, &memory);
    memcpy(result, &answer, sizeof(answer));
    if (question.only_looks && grey_must_wait(answer.verdict))
        return;
    rows[0] = grey_pack_triple(mem, &question.rules, &memory.triple);
    rows[1] = grey_pack_deliveries(mem, &question.rules, &memory.client);
}

static void finish(struct grey_query *query)
{
    query->done(&query->answer, query->arg); /* last act: query may be gone now */
}

static void on_network_rows(enum store_status status, const void *result, void *arg)
{
    struct grey_query *query = arg;
    struct grey_answer answer;

    query->pending = NULL;
    if (status == STORE_DONE) {
        memcpy(&answer, result, sizeof(answer));
        if (!grey_must_wait(answer.verdict))
            query->answer = answer;
    }
    finish(query);
}

static void on_rows(enum store_status status, const void *result, void *arg)
{
    struct grey_query *query = arg;

    query->pending = NULL;
    query->answer = (struct grey_answer){.verdict = GREY_UNANSWERED};
    if (status == STORE_DONE)
        memcpy(&query->answer, result, sizeof(query->answer));
    if (!grey_must_wait(query->answer.verdict) || query->by_network.keys_count == 0) {
        finish(query);
        return;
    }
    query->pending = store_update(query->store, query->loop, &query->by_network, on_network_rows, query);
}

static struct store_request request_for(struct arena *mem, const struct grey_ask *ask, const char *identity,
                                        const struct question *question)
{
    return (struct store_request){
        .table = GREY_TABLE,
        .keys = {grey_key(mem, identity, ask->sender, ask->recipient), grey_client_key(mem, identity)},
        .keys_count = 2,
        .change = change_rows,
        .question = question,
        .question_bytes = sizeof(*question),
        .result_bytes = sizeof(struct grey_answer),
    };
}

struct grey_rules grey_rules_of(const struct grey_settings *settings)
{
    return (struct grey_rules){settings->delay_s, settings->window_s, settings->keep_s, settings->allow_after};
}

struct grey_query *grey_start(struct arena *mem, struct store *store, struct loop *loop,
                              const struct grey_settings *settings, const struct grey_ask *ask,
                              grey_done_fn *done, void *arg)
{
    struct question question = {
        .rules = grey_rules_of(settings), .now_unix = ask->now_unix};
    struct store_request request = request_for(mem, ask, ask->identity, &question);
    struct grey_query *query = ARENA_NEW(mem, struct grey_query);

    query->store = store;
    query->loop = loop;
    query->done = done;
    query->arg = arg;
    if (ask->network != NULL && strcmp(ask->network, ask->identity) != 0) {
        struct question *looks = arena_copy(mem, &question, sizeof(question));

        looks->only_looks = true;
        query->by_network = request_for(mem, ask, ask->network, looks);
    }
    query->pending = store_update(store, loop, &request, on_rows, query);
    return query;
}

void grey_cancel(struct grey_query **query)
{
    if (*query != NULL)
        store_cancel(&(*query)->pending);
    *query = NULL;
}

/* ---- words ---- */

const char *grey_verdict_name(enum grey_verdict verdict)
{
    static const char *const names[] = {"new",     "early",   "passed",    "known",
                                        "trusted", "allowed", "unanswered"};

    return names[verdict];
}

bool grey_must_wait(enum grey_verdict verdict)
{
    return verdict == GREY_NEW || verdict == GREY_EARLY;
}
