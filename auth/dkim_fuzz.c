/* A whole verification: the first line of the input is the key record, the rest a message in pieces. */
#include "auth/dkim.h"
#include "base/bug.h"

struct oracle {
    struct dns dns;
    struct str record;
    struct question {
        struct dns_token token;
        dns_done_fn *done;
        void *arg;
        bool waiting;
    } questions[16];
    size_t count;
};

static struct dns_token *ask(struct dns *dns, enum dns_type type, const char *name, dns_done_fn *done,
                             void *arg)
{
    struct oracle *o = (struct oracle *)dns;
    struct question *q = &o->questions[o->count++];

    (void)type;
    (void)name;
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

static void on_done(const struct dkim_answer *answer, void *arg)
{
    for (size_t i = 0; i < answer->count; i++)
        if ((answer->signatures[i].result == DKIM_PASS) != (*answer->signatures[i].reason == '\0'))
            bug("a verdict without its reason");
    *(int *)arg += 1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct dns_ops ops = {ask, forget};
    const struct dkim_settings settings = {MODE_ENFORCE, 1024, 4, DKIM_SHA1_POLICY};
    struct oracle oracle = {.dns = {&ops}};
    struct arena *mem = arena_new(0);
    struct dkim_verifier *v;
    struct header header;
    struct str message;
    size_t end;
    int calls = 0;

    str_cut(str_make((const char *)data, size), '\n', &oracle.record, &message);
    end = header_end(message, 0);
    if (header_parse(mem, str_upto(message, end), 100, &header) == HEADER_OK) {
        v = dkim_verify_start(mem, &oracle.dns, NULL, &settings, &header, "example.org", 1700000000);
        for (message = str_from(message, end); message.n > 0; message = str_from(message, 7))
            dkim_verify_body(v, str_upto(message, 7));
        dkim_verify_end(v, on_done, &calls);
        if (calls != 0)
            bug("done came early");
        answer_all(&oracle);
        if (calls != 1)
            bug("done came %d times", calls);
        dkim_verify_cancel(&v);
    }
    arena_free(&mem);
    return 0;
}
