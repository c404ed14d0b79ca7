#include "auth/spf.h"
#include "base/bug.h"

#include <string.h>

/* The record, ten terms with a question and ten names each, and for the explanation PTR, ten names and a TXT.
 */
enum { QUESTIONS_MOST = 1 + 10 * (1 + 10) + 12 };

/*
 * A whole evaluation against a DNS that the fuzzer plays: each line of the data is an answer. Its first
 * letter is the status, the rest a TXT record or a host name; after the last line everything is NXDOMAIN.
 */
struct played {
    struct dns dns; /* first */
    struct dns_token token;
    bool waiting;
    enum dns_type type;
    dns_done_fn *done;
    void *arg;
    int asked;
};

static struct dns_token *play_query(struct dns *dns, enum dns_type type, const char *name, dns_done_fn *done,
                                    void *arg)
{
    struct played *play = (struct played *)dns;

    if (play->waiting || strlen(name) > DNS_NAME_MAX || ++play->asked > QUESTIONS_MOST)
        bug("question %d, %s", play->asked, name);
    play->token.dns = dns;
    play->waiting = true;
    play->type = type;
    play->done = done;
    play->arg = arg;
    return &play->token;
}

static void play_cancel(struct dns *dns, struct dns_token *token)
{
    (void)token;
    ((struct played *)dns)->waiting = false;
}

static void play_answer(struct arena *mem, struct played *play, struct str line)
{
    struct dns_record records[12];
    char *name = str_dup_lower(mem, str_upto(str_from(line, 1), DNS_NAME_MAX - 4));
    struct dns_answer answer = {.status = DNS_NXDOMAIN, .type = play->type, .name = "x", .records = records};

    for (char *c = name; *c != '\0'; c++) /* as dns.h promises */
        if (*c <= ' ' || *c > '~')
            *c = '\\';
    if (line.n > 0)
        answer.status = line.p[0] == 'n'   ? DNS_NODATA
                        : line.p[0] == 's' ? DNS_SERVFAIL
                        : line.p[0] == 'b' ? DNS_BADNAME
                                           : DNS_OK;
    if (answer.status == DNS_OK)
        answer.count = ascii_is_digit(line.p[0]) ? (size_t)(line.p[0] - '0') + 2 : 1;
    for (size_t i = 0; i < answer.count; i++)
        records[i] =
            (struct dns_record){.name = i == 0 ? name : str_fmt(mem, "n%zu.%s", i, name),
                                .text = str_from(line, 1),
                                .ip = {.family = play->type == DNS_AAAA ? 6 : 4, .b = {192, 0, 2, 1}},
                                .preference = (uint16_t)(i * 7 % 5)};
    play->waiting = false;
    play->done(&answer, play->arg);
}

static void on_done(const struct spf_answer *answer, void *arg)
{
    if (answer->reason == NULL || answer->explanation == NULL || answer->lookups > 11 ||
        answer->void_lookups > 3)
        bug("the answer is not whole");
    ++*(int *)arg;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct dns_ops ops = {play_query, play_cancel};
    struct played play = {.dns = {&ops}};
    struct str rest = {(const char *)data, size}, line, sender;
    struct arena *mem = arena_new(0);
    struct spf_ask ask = {.helo = "h.example.org",
                          .scope = SPF_MFROM,
                          .receiver = "r",
                          .client = {.family = 4, .b = {192, 0, 2, 1}}};
    struct spf_query *query;
    int calls = 0;

    str_cut(rest, '\n', &sender, &rest);
    ask.mail_from = str_dup(mem, sender);
    if (size % 2 == 1)
        ask.client.family = 6;
    query = spf_start(mem, &play.dns, &ask, on_done, &calls);
    while (play.waiting && (size % 7 != 0 || rest.n > 0)) {
        str_cut(rest, '\n', &line, &rest);
        play_answer(mem, &play, line);
    }
    if (calls == 0)
        spf_cancel(&query);
    if (play.waiting || calls > 1)
        bug("%d calls", calls);
    arena_free(&mem);
    return 0;
}
