#include "proxy/session_in.h"

#include "base/bug.h"

#include <stdio.h>
#include <string.h>

/*
 * What the backend said to a recipient of ours, remembered in the store: when it cannot be reached, those whom it did
 * not know are still refused, and everybody else is asked to come again. While it can be reached nobody asks here: its
 * own answer is always newer. What the store has been told minutes ago is not told again
 * (proxy/told.h), but for acceptances where hosts share it: a refusal that another host heard meanwhile must not outlive them.
 *
 * A road not taken: refusing from memory while the backend is there, which would keep mail from a new user's mailbox.
 */

static const char table[] = "recipient";
static const char accepted_word[] = "accepted";
enum { LATE_MS = 1000 };

/* What was said; with code 0, what is asked for. */
struct saying {
    int code;
    char enhanced[12], text[160];
};

struct question {
    struct saying said;
    int64_t now_unix, keep_s;
    struct told_mark mark;
};

struct outcome {
    struct saying known;
    struct told_mark mark; /* of the question: the store has heard it */
};

/* Only what speaks of the mailbox itself: that we, the client or the sender are not welcome says nothing about it
 * (RFC 3463 3.2, 3.3). A backend without enhanced codes has 550 for it (RFC 5321 4.2.3). */
static bool is_about_mailbox(const struct relay_reply *reply)
{
    static const char *const codes[] = {"5.1.1", "5.1.6", "5.1.10", "5.2.1"};

    if (reply->ours || reply->of_sender)
        return false;
    if (reply->code < 300 || (reply->code == 550 && *reply->enhanced == '\0'))
        return true;
    for (size_t i = 0; reply->code >= 500 && i < COUNT(codes); i++)
        if (strcmp(reply->enhanced, codes[i]) == 0)
            return true;
    return false;
}

static struct str row_of(struct arena *mem, const struct saying *said)
{
    return str_of(said->code < 300 ? accepted_word
                                   : str_fmt(mem, "%d %s %s", said->code, said->enhanced, said->text));
}

static void recall(struct str value, struct saying *out)
{
    struct str code_text, enhanced, text;
    uint64_t code;

    str_cut(value, ' ', &code_text, &text);
    str_cut(text, ' ', &enhanced, &text);
    if (!str_to_u64(code_text, 599, &code))
        return;
    out->code = (int)code;
    snprintf(out->enhanced, sizeof(out->enhanced), "%.*s", STR_ARG(enhanced));
    snprintf(out->text, sizeof(out->text), "%.*s", STR_ARG(text));
}

static void change(struct arena *mem, const void *question, struct store_row *rows, size_t count,
                   void *result)
{
    const struct question *q = question;
    struct outcome *outcome = result;
    struct str value;

    (void)count;
    outcome->mark = q->mark;
    if (q->said.code == 0) {
        if (rows[0].expires_unix > q->now_unix)
            recall(rows[0].value, &outcome->known);
        return;
    }
    value = row_of(mem, &q->said);
    /* What is known, and fresh, costs no write. */
    if (str_eq(rows[0].value, value) && rows[0].expires_unix > q->now_unix + q->keep_s - q->keep_s / 8)
        return;
    rows[0].value = value;
    rows[0].expires_unix = q->now_unix + q->keep_s;
}

/* The domain in any case, and as U-label or A-label, is the same; what a local part means is the backend's business (RFC 5321 2.4). */
static struct str key_of(const struct session *s)
{
    const struct smtp_address *a = &s->facts.recipient.address;

    const char *ascii = s->tx->smtputf8 ? mailbox_domain_to_ascii(s->tx->mem, a->domain) : NULL;

    if (ascii == NULL)
        ascii = str_dup_lower(s->tx->mem, a->domain);
    return str_of(str_fmt(s->tx->mem, "%.*s@%s", STR_ARG(a->local), ascii));
}

static struct store_token *ask(struct session *s, struct str key, const struct question *q,
                               store_done_fn *done, void *arg)
{
    struct store_request request = {.table = table,
                                    .keys = {key},
                                    .keys_count = 1,
                                    .change = change,
                                    .question = q,
                                    .question_bytes = sizeof(*q),
                                    .result_bytes = sizeof(struct outcome)};

    return store_update(s->service->store, s->service->loop, &request, done, arg);
}

static void on_noted(enum store_status status, const void *result, void *arg)
{
    const struct outcome *outcome = result;

    if (status == STORE_DONE) /* one that is away does not learn it */
        told_note(arg, &outcome->mark);
}

static void note(struct session *s, const struct relay_reply *reply)
{
    const struct domain_settings *settings = &s->service->config->domains;
    struct question q = {
        .said = {.code = reply->code},
        .now_unix = clock_unix(s->service->clock),
        .keep_s =
            (reply->code < 300 ? settings->remember_accepted_ms : settings->remember_refused_ms) / 1000};
    struct str key;
    bool told_may_be_stale;

    if (q.keep_s == 0)
        return;
    key = key_of(s);
    snprintf(q.said.enhanced, sizeof(q.said.enhanced), "%s", s->reply_enhanced);
    snprintf(q.said.text, sizeof(q.said.text), "%.*s",
             STR_ARG(str_upto(reply->text, str_find(reply->text, '\n'))));
    /* Another host may have heard a refusal meanwhile: where several tell, the last acceptance shall be in the store. */
    told_may_be_stale = reply->code < 300 && store_sharing(s->service->store) == STORE_SHARES;
    q.mark = told_mark_of(key, row_of(s->tx->mem, &q.said), q.now_unix, q.keep_s);
    if (told_may_be_stale || !told_has(s->service->told, &q.mark))
        ask(s, key, &q, on_noted, s->service->told);
}

static void on_recalled(enum store_status status, const void *result, void *arg)
{
    struct session *s = arg;
    const struct outcome *outcome = result;
    struct saying said = {0};

    s->tx->recall = NULL;
    timer_stop(&s->budget);
    if (status == STORE_DONE)
        said = outcome->known;
    if (said.code >= 500) {
        s->reply_code = said.code;
        s->reply_enhanced = str_dup(s->tx->mem, str_of(said.enhanced));
        s->reply_text = str_of(str_fmt(s->tx->mem, "%s (remembered)", said.text));
    }
    session_got(s, WAIT_BACKEND);
}

static void on_late(void *arg)
{
    struct session *s = arg;

    store_cancel(&s->tx->recall);
    session_got(s, WAIT_BACKEND);
}

bool recipients_heard(struct session *s, const struct relay_reply *reply)
{
    struct question q = {.now_unix = clock_unix(s->service->clock)};

    if (s->service->config->domains.recipients != RECIPIENTS_BACKEND || !s->facts.recipient.ours ||
        s->facts.recipient.address.kind != SMTP_DOMAIN_NAME)
        return false;
    if (is_about_mailbox(reply))
        note(s, reply);
    if (!reply->ours || reply->code != 451)
        return false;
    s->tx->recall = ask(s, key_of(s), &q, on_recalled, s);
    timer_start(&s->budget, s->service->loop, LATE_MS, on_late, s);
    return true;
}
