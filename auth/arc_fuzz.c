/* A whole verification of a chain: the first line of the input is the key record, the rest a message. */
#include "auth/arc.h"
#include "auth/arc_set.h"
#include "base/bug.h"

enum { QUESTIONS_MAX = 128 };

struct oracle {
    struct dns dns;
    struct str record;
    struct question {
        struct dns_token token;
        dns_done_fn *done;
        void *arg;
        bool waiting;
    } questions[QUESTIONS_MAX];
    size_t count;
};

static struct dns_token *ask(struct dns *dns, enum dns_type type, const char *name, dns_done_fn *done,
                             void *arg)
{
    struct oracle *o = (struct oracle *)dns;
    struct question *q = &o->questions[o->count++];

    (void)type;
    (void)name;
    if (o->count == QUESTIONS_MAX)
        bug("too many questions");
    *q = (struct question){{dns}, done, arg, true};
    return &q->token;
}

static void forget(struct dns *dns, struct dns_token *token)
{
    (void)dns;
    ((struct question *)token)->waiting = false;
}

static void answer_all(struct oracle *o)
{
    struct dns_record record = {.text = o->record};
    struct dns_answer answer = {
        .status = DNS_OK, .type = DNS_TXT, .name = "", .count = 1, .records = &record};

    for (size_t i = 0; i < o->count; i++) {
        if (!o->questions[i].waiting)
            continue;
        o->questions[i].waiting = false;
        o->questions[i].done(&answer, o->questions[i].arg);
    }
}

static void must_be_printable(const char *text)
{
    for (; *text != '\0'; text++)
        if ((uint8_t)*text <= ' ' || *text == 0x7f)
            bug("a control character came through");
}

static void on_done(const struct arc_answer *answer, void *arg)
{
    if ((answer->result == ARC_NONE || answer->result == ARC_PASS) != (*answer->reason == '\0'))
        bug("a verdict without its reason");
    if (answer->result == ARC_NONE && answer->instances != 0)
        bug("sets out of nothing");
    for (size_t i = 0; i < answer->instances; i++) {
        must_be_printable(answer->sets[i].seal_domain);
        must_be_printable(answer->sets[i].message_domain);
        must_be_printable(answer->sets[i].dmarc);
        must_be_printable(answer->sets[i].dmarc_from);
    }
    *(int *)arg += 1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct dns_ops ops = {ask, forget};
    const struct arc_settings settings = {MODE_ENFORCE, 50, 1024};
    struct oracle oracle = {.dns = {&ops}};
    struct arena *mem = arena_new(0);
    struct arc_verifier *v;
    struct header header;
    struct str message;
    size_t end;
    int calls = 0;

    str_cut(str_make((const char *)data, size), '\n', &oracle.record, &message);
    arc_dmarc_parse(mem, message);
    end = header_end(message, 0);
    if (header_parse(mem, str_upto(message, end), 200, &header) == HEADER_OK) {
        v = arc_verify_start(mem, &oracle.dns, NULL, &settings, &header, 1700000000);
        for (message = str_from(message, end); message.n > 0; message = str_from(message, 7))
            arc_verify_body(v, str_upto(message, 7));
        arc_verify_end(v, on_done, &calls);
        if (calls != 0)
            bug("done came early");
        answer_all(&oracle);
        if (calls != 1)
            bug("done came %d times", calls);
        arc_verify_cancel(&v);
    }
    arena_free(&mem);
    return 0;
}
