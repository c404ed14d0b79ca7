#include "report/send.h"

#include "base/bug.h"
#include "smtp/address.h"
#include "smtp/client.h"
#include "smtp/data.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { COMMANDS_MAX = 64 * 1024, SLICE_BYTES = 64 * 1024, QUEUE_MAX = 4 * SLICE_BYTES, LOCAL_MAX = 64 };

struct send {
    struct loop *loop;
    struct send_ask ask;
    struct stream *stream;
    struct smtp_client *dialogue;
    struct buf out;
    struct timer deadline;
    struct later end;
    struct smtp_data_encoder encoder;
    struct str unsent;
    bool sending;
    bool was_ready;
    bool over; /* the outcome stands */
    struct send_outcome outcome;
    char text[SEND_TEXT_MAX + 1];
    send_done_fn *done;
    void *arg;
};

const char *send_result_name(enum send_result result)
{
    static const char *const names[] = {"delivered", "refused", "rejected", "later"};

    return names[result];
}

/* ---- the end ---- */

static void release(struct send *s)
{
    timer_stop(&s->deadline);
    later_cancel(&s->end);
    stream_close(&s->stream);
    smtp_client_free(&s->dialogue);
    buf_fini(&s->out);
}

static void on_end_later(void *arg)
{
    struct send *s = arg;

    release(s);
    s->done(&s->outcome, s->arg);
    free(s);
}

/* The answer leaves on the next turn, when nobody is inside the stream or the dialogue any more. */
static void finish(struct send *s, enum send_result result, int code, struct str text)
{
    if (s->over)
        return;
    s->over = true;
    text = str_upto(text, SEND_TEXT_MAX);
    for (size_t i = 0; i < text.n; i++)
        s->text[i] = text.p[i] >= ' ' && text.p[i] <= '~' ? text.p[i] : ' ';
    s->outcome = (struct send_outcome){result, code, s->text, s->was_ready};
    timer_stop(&s->deadline);
    later_start(&s->end, s->loop, on_end_later, s);
}

static void give_up(struct send *s, const char *why)
{
    finish(s, SEND_LATER, 0, str_of(why));
}

static void on_deadline(void *arg)
{
    give_up(arg, "the backend does not answer");
}

static void wait_for_answer(struct send *s, int64_t ms)
{
    timer_start(&s->deadline, s->loop, ms, on_deadline, s);
}

/* ---- writing ---- */

static void flush(struct send *s)
{
    struct iovec piece = {s->out.p, s->out.n};

    if (s->out.n > 0 && s->stream != NULL)
        stream_write(s->stream, &piece, 1);
    buf_clear(&s->out);
}

/* As much of the message as fits a slice; the next one when the kernel has taken this one. */
static void write_message(struct send *s)
{
    struct str piece, in;
    bool dot;

    while (s->sending && !s->over && stream_queued(s->stream) == 0) {
        in = str_upto(s->unsent, SLICE_BYTES);
        s->unsent = str_from(s->unsent, in.n);
        while (smtp_data_encode(&s->encoder, &in, &dot, &piece)) {
            struct iovec pieces[2] = {{(void *)(dot ? "." : ""), dot}, {(void *)piece.p, piece.n}};

            stream_write(s->stream, pieces, 2);
        }
        wait_for_answer(s, SEND_REPLY_MS);
        if (s->unsent.n > 0)
            continue;
        s->sending = false;
        smtp_client_message_sent(s->dialogue, s->encoder.at_line_start);
        flush(s);
    }
}

/* ---- the dialogue ---- */

static void answered(struct send *s, const struct smtp_reply *reply, enum send_result if_5xx)
{
    finish(s, reply->code >= 500 ? if_5xx : SEND_LATER, reply->code, reply->text);
}

static void handle(struct send *s, const struct smtp_client_event *event)
{
    int code = event->reply.code;

    switch (event->kind) {
    case SMTP_CLIENT_READY:
        s->was_ready = true;
        smtp_client_mail(s->dialogue, str_of(s->ask.mail_from), s->ask.message.n, false, STR(""));
        break;
    case SMTP_CLIENT_MAIL:
        if (code < 300)
            smtp_client_rcpt(s->dialogue, str_of(s->ask.recipient), STR(""));
        else
            answered(s, &event->reply, SEND_LATER); /* it is us whom it does not like */
        break;
    case SMTP_CLIENT_RCPT:
        if (code < 300)
            smtp_client_data(s->dialogue);
        else
            answered(s, &event->reply, SEND_REFUSED);
        break;
    case SMTP_CLIENT_DATA:
        if (code != 354) {
            answered(s, &event->reply, SEND_REJECTED);
            break;
        }
        s->sending = true;
        s->unsent = s->ask.message;
        s->encoder = (struct smtp_data_encoder){.at_line_start = true};
        write_message(s);
        break;
    case SMTP_CLIENT_MESSAGE:
        if (code >= 300) {
            answered(s, &event->reply, SEND_REJECTED);
            break;
        }
        finish(s, SEND_DELIVERED, code, event->reply.text);
        smtp_client_quit(s->dialogue);
        break;
    case SMTP_CLIENT_REFUSED:
        answered(s, &event->reply, SEND_LATER);
        break;
    default:
        give_up(s, event->why != NULL ? event->why : "the backend says what nobody asked for");
        break;
    }
}

static void on_data(const char *bytes, size_t n, void *arg)
{
    struct send *s = arg;
    struct smtp_client_event event;

    if (s->over)
        return;
    smtp_client_feed(s->dialogue, bytes, n);
    wait_for_answer(s, SEND_REPLY_MS);
    while (!s->over) {
        smtp_client_next(s->dialogue, &event);
        if (event.kind == SMTP_CLIENT_NEED_INPUT)
            break;
        handle(s, &event);
    }
    flush(s);
}

static void on_connect(void *arg)
{
    wait_for_answer(arg, SEND_REPLY_MS);
}

static void on_drain(void *arg)
{
    write_message(arg);
}

static void on_end(int error, void *arg)
{
    give_up(arg, error == 0 ? "the backend closed the connection" : strerror(error));
}

struct send *send_start(struct loop *loop, const struct send_ask *ask, send_done_fn *done, void *arg)
{
    static const struct stream_events events = {on_connect, on_data, on_drain, on_end};
    struct send *s = calloc(1, sizeof(*s));

    if (s == NULL)
        out_of_memory();
    *s = (struct send){.loop = loop, .ask = *ask, .done = done, .arg = arg};
    buf_init(&s->out, COMMANDS_MAX);
    s->dialogue = smtp_client_new(PROTOCOL_SMTP, s->ask.hostname, false, &s->out);
    s->stream = stream_connect(loop, &s->ask.backend, QUEUE_MAX, &events, s);
    if (s->stream == NULL)
        give_up(s, "no descriptor is left");
    else
        wait_for_answer(s, SEND_CONNECT_MS);
    return s;
}

void send_cancel(struct send **send)
{
    if (*send == NULL)
        return;
    release(*send);
    free(*send);
    *send = NULL;
}

/* ---- VERP ---- */

const char *send_verp(struct arena *mem, const char *our_address, const char *recipient)
{
    struct str local, domain, user, host;
    const char *sender;
    struct smtp_address address;

    str_cut(str_of(our_address), '@', &local, &domain);
    str_cut(str_of(recipient), '@', &user, &host);
    sender =
        str_fmt(mem, "%.*s+%.*s=%.*s@%.*s", STR_ARG(local), STR_ARG(user), STR_ARG(host), STR_ARG(domain));
    return local.n + 2 + user.n + host.n <= LOCAL_MAX && smtp_mailbox_parse(str_of(sender), false, &address)
               ? sender
               : "";
}

const char *send_verp_read(struct arena *mem, const char *our_address, struct str sender)
{
    struct str local, domain, our_local, our_domain, tag;
    size_t equals;

    str_cut(str_of(our_address), '@', &our_local, &our_domain);
    str_cut(sender, '@', &local, &domain);
    str_cut(local, '+', &local, &tag);
    equals = tag.n;
    while (equals > 0 && tag.p[equals - 1] != '=')
        equals--;
    if (!str_same(domain, our_domain) || !str_same(local, our_local) || equals < 2 || equals == tag.n)
        return NULL;
    return str_fmt(mem, "%.*s@%.*s", (int)(equals - 1), tag.p, STR_ARG(str_from(tag, equals)));
}
