#include "smtp/client.h"

#include "base/bug.h"
#include "smtp/address.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { INPUT_MAX = 256 * 1024, COMMANDS_MAX = 4 * 1024 * 1024, DUE_MAX = 64 * 1024 };

/* What a reply is the answer to. Each command that is sent leaves one of these in `due`. */
enum expected {
    AT_GREETING,
    AT_EHLO,
    AT_HELO,
    AT_STARTTLS,
    AT_XCLIENT,
    AT_XCLIENT_EHLO,
    AT_XFORWARD,
    AT_AUTH,
    AT_MAIL,
    AT_RCPT,
    AT_DATA,
    AT_MESSAGE,
    AT_RSET,
    AT_NOOP,
    AT_QUIT
};

struct smtp_client {
    enum smtp_protocol protocol;
    const char *hostname;
    struct buf *out;
    bool want_tls, tls_done, ready, closed;
    unsigned recipients;     /* accepted in this transaction */
    char introduced_as[256]; /* how the true client greets: our EHLO once it was introduced */
    const char *broken_why;
    smtp_client_heard_fn *heard; /* or NULL */
    void *heard_arg;
    struct buf input;
    struct buf due;  /* a queue of enum expected, one byte each */
    struct buf held; /* command lines that wait, because the backend does not pipeline */
    struct buf held_due;
    struct smtp_reply_reader reader;
    struct smtp_capabilities capabilities;
};

struct smtp_client *smtp_client_new(enum smtp_protocol protocol, const char *hostname, bool want_tls,
                                    struct buf *out)
{
    struct smtp_client *client = calloc(1, sizeof(*client));

    if (client == NULL)
        out_of_memory();
    client->protocol = protocol;
    client->hostname = hostname;
    client->want_tls = want_tls;
    client->out = out;
    buf_init(&client->input, INPUT_MAX);
    buf_init(&client->due, DUE_MAX);
    buf_init(&client->held, COMMANDS_MAX);
    buf_init(&client->held_due, DUE_MAX);
    smtp_reply_reader_init(&client->reader);
    buf_add_char(&client->due, AT_GREETING);
    return client;
}

void smtp_client_free(struct smtp_client **client)
{
    struct smtp_client *c = *client;

    if (c == NULL)
        return;
    buf_fini(&c->input);
    buf_fini(&c->due);
    buf_fini(&c->held);
    buf_fini(&c->held_due);
    smtp_reply_reader_fini(&c->reader);
    free(c);
    *client = NULL;
}

void smtp_client_listen(struct smtp_client *client, smtp_client_heard_fn *heard, void *arg)
{
    client->heard = heard;
    client->heard_arg = arg;
}

const struct smtp_capabilities *smtp_client_capabilities(const struct smtp_client *client)
{
    return &client->capabilities;
}

unsigned smtp_client_replies_due(const struct smtp_client *client)
{
    return (unsigned)(client->due.n + client->held_due.n);
}

/* A reply, or the beginning of one, that was not taken yet. */
static bool has_unread(const struct smtp_client *client)
{
    return client->input.n > 0 || client->reader.line.n > 0 || client->reader.lines > 0;
}

bool smtp_client_is_idle(const struct smtp_client *client)
{
    return client->ready && client->broken_why == NULL && client->due.n == 0 && client->held_due.n == 0 &&
           !has_unread(client);
}

/* ---- commands ---- */

/* What came before the question is no answer to it: a 250 that came with the 354 must not become that of the
 * message. */
static void refuse_early_reply(struct smtp_client *client)
{
    if (client->due.n == 0 && has_unread(client))
        client->broken_why = "a reply that nobody waits for";
}

/* Sends what is held, as far as the backend lets us go ahead of its replies (RFC 2920 3.1). */
static void send_held(struct smtp_client *client)
{
    if (client->held_due.n > 0)
        refuse_early_reply(client);
    while (client->held_due.n > 0 && (client->due.n == 0 || client->capabilities.pipelining)) {
        size_t line = str_find(buf_str(&client->held), '\n') + 1;

        buf_add(client->out, client->held.p, line);
        buf_consume(&client->held, line);
        buf_add_char(&client->due, client->held_due.p[0]);
        buf_consume(&client->held_due, 1);
    }
}

static void command(struct smtp_client *client, enum expected what, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void command(struct smtp_client *client, enum expected what, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    if (!buf_vfmt(&client->held, format, args) || !buf_add_z(&client->held, "\r\n") ||
        !buf_add_char(&client->held_due, (char)what))
        client->broken_why = "too many commands wait for the backend";
    va_end(args);
    send_held(client);
}

static void say_hello(struct smtp_client *client, enum expected what, const char *name)
{
    command(client, what, "%s %s", client->protocol == PROTOCOL_LMTP ? "LHLO" : "EHLO", name);
}

/* Waits for the reply, and keeps nothing of the line. */
void smtp_client_auth(struct smtp_client *client, struct str mechanism, struct str initial)
{
    client->held.secret = true;
    command(client, AT_AUTH, "AUTH %.*s%s%.*s", STR_ARG(mechanism), initial.n > 0 ? " " : "",
            STR_ARG(initial));
}

void smtp_client_respond(struct smtp_client *client, struct str response)
{
    command(client, AT_AUTH, "%.*s", STR_ARG(response));
}

void smtp_client_mail(struct smtp_client *client, struct str path, uint64_t size, bool eightbit,
                      struct str parameters)
{
    const struct smtp_capabilities *c = &client->capabilities;
    char size_text[32] = "";

    if (c->size && size > 0)
        snprintf(size_text, sizeof(size_text), " SIZE=%llu", (unsigned long long)size);
    command(client, AT_MAIL, "MAIL FROM:<%.*s>%s%s%.*s", STR_ARG(path), size_text,
            c->eightbitmime && eightbit ? " BODY=8BITMIME" : "", STR_ARG(parameters));
}

void smtp_client_rcpt(struct smtp_client *client, struct str path, struct str parameters)
{
    command(client, AT_RCPT, "RCPT TO:<%.*s>%.*s", STR_ARG(path), STR_ARG(parameters));
}

void smtp_client_bdat(struct smtp_client *client, uint64_t bytes)
{
    command(client, AT_MESSAGE, "BDAT %llu LAST", (unsigned long long)bytes);
}

void smtp_client_data(struct smtp_client *client)
{
    command(client, AT_DATA, "DATA");
}

static unsigned replies_to_message(const struct smtp_client *client)
{
    return client->protocol == PROTOCOL_LMTP ? client->recipients : 1;
}

void smtp_client_message_sent(struct smtp_client *client, bool ends_with_crlf)
{
    refuse_early_reply(client);
    if (client->broken_why != NULL)
        return;
    buf_add_z(client->out, ends_with_crlf ? ".\r\n" : "\r\n.\r\n");
    for (unsigned i = 0; i < replies_to_message(client); i++)
        buf_add_char(&client->due, AT_MESSAGE);
}

void smtp_client_reset(struct smtp_client *client)
{
    command(client, AT_RSET, "RSET");
}

void smtp_client_noop(struct smtp_client *client)
{
    command(client, AT_NOOP, "NOOP");
}

void smtp_client_quit(struct smtp_client *client)
{
    command(client, AT_QUIT, "QUIT");
}

/* The name in the EHLO after XCLIENT takes the place of that in XCLIENT, so it is the true client's again,
 * unless it is no name that may stand there. */
static void remember_helo(struct smtp_client *client, const char *helo)
{
    struct str name = str_of(helo != NULL ? helo : "");
    struct ip ignored;

    if (name.n >= sizeof(client->introduced_as) ||
        (!smtp_is_domain(name) && !smtp_is_address_literal(name, &ignored)))
        name = str_of(client->hostname);
    snprintf(client->introduced_as, sizeof(client->introduced_as), "%.*s", STR_ARG(name));
}

void smtp_client_identify(struct smtp_client *client, const struct smtp_identity *who)
{
    struct buf line;

    remember_helo(client, who->helo);
    buf_init(&line, SMTP_REPLY_LINE * 4);
    smtp_xclient_write(who, client->capabilities.xclient_fields, &line);
    command(client, AT_XCLIENT, "XCLIENT%s", buf_z(&line));
    buf_fini(&line);
}

/* Several commands where one line cannot hold it; they leave one by one, or together (RFC 2920). */
void smtp_client_forward(struct smtp_client *client, const struct smtp_identity *who)
{
    unsigned commands = smtp_xforward_write(who, client->capabilities.xforward_fields, &client->held);

    for (unsigned i = 0; i < commands; i++)
        buf_add_char(&client->held_due, AT_XFORWARD);
    send_held(client);
}

/* ---- replies ---- */

void smtp_client_feed(struct smtp_client *client, const char *bytes, size_t n)
{
    if (!buf_add(&client->input, bytes, n))
        client->broken_why = "the backend talks without end";
}

void smtp_client_tls_started(struct smtp_client *client)
{
    client->tls_done = true;
    say_hello(client, AT_EHLO, client->hostname);
}

static enum smtp_client_event_kind ready(struct smtp_client *client)
{
    client->ready = true;
    return SMTP_CLIENT_READY;
}

static enum smtp_client_event_kind broken(struct smtp_client *client, const char *why)
{
    client->broken_why = why;
    return SMTP_CLIENT_BROKEN;
}

static void learn(struct smtp_client *client, const struct smtp_reply *reply)
{
    smtp_capabilities_parse(reply->text, &client->capabilities);
    if (client->protocol == PROTOCOL_LMTP)
        client->capabilities.chunking = client->capabilities.binarymime = false;
}

static enum smtp_client_event_kind after_ehlo(struct smtp_client *client, const struct smtp_reply *reply)
{
    if (reply->code >= 500 && client->protocol == PROTOCOL_SMTP) {
        client->capabilities = (struct smtp_capabilities){0};
        command(client, AT_HELO, "HELO %s", client->hostname);
        return SMTP_CLIENT_NEED_INPUT;
    }
    if (reply->code >= 400)
        return SMTP_CLIENT_REFUSED;
    learn(client, reply);
    if (client->want_tls && !client->tls_done && client->capabilities.starttls) {
        command(client, AT_STARTTLS, "STARTTLS");
        return SMTP_CLIENT_NEED_INPUT;
    }
    return ready(client);
}

/* After XCLIENT the backend begins anew as if the true client had connected, greeting included. */
static enum smtp_client_event_kind after_xclient(struct smtp_client *client, const struct smtp_reply *reply)
{
    if (reply->code == 421)
        return SMTP_CLIENT_REFUSED;
    if (reply->code >= 400)
        return SMTP_CLIENT_IDENTIFIED; /* not allowed: the caller sees it in the reply */
    say_hello(client, AT_XCLIENT_EHLO, client->introduced_as);
    return SMTP_CLIENT_NEED_INPUT;
}

static enum smtp_client_event_kind after_xclient_ehlo(struct smtp_client *client,
                                                      const struct smtp_reply *reply)
{
    if (reply->code >= 400)
        return SMTP_CLIENT_REFUSED;
    learn(client, reply);
    return SMTP_CLIENT_IDENTIFIED;
}

/* The last of them speaks for all. */
static enum smtp_client_event_kind after_xforward(struct smtp_client *client, const struct smtp_reply *reply)
{
    if (reply->code == 421)
        return SMTP_CLIENT_REFUSED;
    return smtp_client_replies_due(client) == 0 ? SMTP_CLIENT_IDENTIFIED : SMTP_CLIENT_NEED_INPUT;
}

static enum smtp_client_event_kind after_auth(struct smtp_client *client, const struct smtp_reply *reply)
{
    if (reply->code == 334)
        return reply->text.n == 0 || smtp_is_base64(reply->text)
                   ? SMTP_CLIENT_CHALLENGE
                   : broken(client, "a challenge that is not base64");
    buf_fini(&client->held);
    client->held.secret = false;
    return reply->code / 100 == 3 ? broken(client, "a 3xx where it makes no sense") : SMTP_CLIENT_AUTH;
}

static const char *command_name(const struct smtp_client *client)
{
    static const char *const names[] = {
        [AT_GREETING] = "greeting", [AT_EHLO] = "EHLO",           [AT_HELO] = "HELO",
        [AT_STARTTLS] = "STARTTLS", [AT_XCLIENT] = "XCLIENT",     [AT_XCLIENT_EHLO] = "EHLO",
        [AT_XFORWARD] = "XFORWARD", [AT_AUTH] = "AUTH",           [AT_MAIL] = "MAIL",
        [AT_RCPT] = "RCPT",         [AT_DATA] = "DATA",           [AT_MESSAGE] = "message",
        [AT_RSET] = "RSET",         [AT_NOOP] = "NOOP",           [AT_QUIT] = "QUIT",
    };

    return client->due.n > 0 ? names[(int)client->due.p[0]] : "nothing";
}

static enum smtp_client_event_kind take_reply(struct smtp_client *client, const struct smtp_reply *reply)
{
    enum expected what;

    if (client->heard != NULL)
        client->heard(command_name(client), reply, client->heard_arg);
    client->closed = client->due.n == 0 && reply->code == 421;
    if (client->due.n == 0)
        return broken(client, client->closed ? "the backend closed the session (421)"
                                             : "a reply that nobody waits for");
    what = (enum expected)client->due.p[0];
    buf_consume(&client->due, 1);
    send_held(client);
    if (reply->code / 100 == 3 && what != AT_DATA && what != AT_AUTH)
        return broken(client, "a 3xx where it makes no sense");
    switch (what) {
    case AT_GREETING:
        if (reply->code >= 400)
            return SMTP_CLIENT_REFUSED;
        say_hello(client, AT_EHLO, client->hostname);
        return SMTP_CLIENT_NEED_INPUT;
    case AT_EHLO:
        return after_ehlo(client, reply);
    case AT_HELO:
        return reply->code >= 400 ? SMTP_CLIENT_REFUSED : ready(client);
    case AT_STARTTLS:
        return reply->code == 220 ? SMTP_CLIENT_STARTTLS : ready(client);
    case AT_XCLIENT:
        return after_xclient(client, reply);
    case AT_XCLIENT_EHLO:
        return after_xclient_ehlo(client, reply);
    case AT_XFORWARD:
        return after_xforward(client, reply);
    case AT_AUTH:
        return after_auth(client, reply);
    case AT_MAIL:
        client->recipients = 0;
        return SMTP_CLIENT_MAIL;
    case AT_RCPT:
        client->recipients += reply->code < 300;
        return SMTP_CLIENT_RCPT;
    case AT_DATA:
        if (reply->code < 400 && reply->code != 354)
            return broken(client, "DATA was answered with neither 354 nor a refusal");
        return SMTP_CLIENT_DATA;
    case AT_MESSAGE:
        return SMTP_CLIENT_MESSAGE;
    case AT_RSET:
        return reply->code < 300 ? SMTP_CLIENT_RESET : broken(client, "RSET was refused");
    case AT_NOOP:
        return SMTP_CLIENT_NOOP;
    default:
        return broken(client, "closed after QUIT");
    }
}

void smtp_client_next(struct smtp_client *client, struct smtp_client_event *event_out)
{
    *event_out = (struct smtp_client_event){.kind = SMTP_CLIENT_NEED_INPUT};
    while (event_out->kind == SMTP_CLIENT_NEED_INPUT && client->broken_why == NULL) {
        struct str in = buf_str(&client->input);
        enum smtp_reply_status status = smtp_reply_read(&client->reader, &in, &event_out->reply);

        buf_consume(&client->input, client->input.n - in.n);
        if (status == SMTP_REPLY_MORE)
            break;
        event_out->kind = status == SMTP_REPLY_READY ? take_reply(client, &event_out->reply)
                                                     : broken(client, "an answer that is no SMTP reply");
    }
    if (client->broken_why != NULL)
        *event_out = (struct smtp_client_event){
            .kind = SMTP_CLIENT_BROKEN, .why = client->broken_why, .closed = client->closed};
}
