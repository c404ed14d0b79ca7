#include "smtp/client.h"

#include "base/bug.h"

#include <stdlib.h>
#include <string.h>

/*
 * A backend says the input, in pieces, to a client that wants to send one message after the other. What must
 * hold: an event is the answer to a command that was sent; the answer to a message came after its dot; and
 * nothing that a client says about itself becomes a command.
 */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct game {
    struct smtp_client *client;
    struct buf out;
    struct smtp_identity who;
    unsigned mails, recipients, datas, messages, resets, auths; /* commands without an answer yet */
    unsigned fed, fed_at_dot;                                   /* pieces */
    bool broken;
};

static void begin_transaction(struct game *game)
{
    smtp_client_mail(game->client, STR("a@b.test"), 5, true, STR(""));
    smtp_client_rcpt(game->client, STR("c@d.test"), STR(""));
    smtp_client_rcpt(game->client, STR("e@f.test"), STR(""));
    game->mails++;
    game->recipients += 2;
}

static void answered(unsigned *commands)
{
    if ((*commands)-- == 0)
        bug("an answer to a command that was not sent");
}

static void reset(struct game *game)
{
    smtp_client_reset(game->client);
    game->resets++;
}

static void on_data(struct game *game, int code)
{
    answered(&game->datas);
    if (code < 400 && code != 354)
        bug("DATA was answered %d", code);
    if (code != 354) {
        reset(game);
        return;
    }
    smtp_client_message_sent(game->client, true);
    game->messages += smtp_client_replies_due(game->client);
    game->fed_at_dot = game->fed;
}

static void on_rcpt(struct game *game)
{
    answered(&game->recipients);
    if (game->recipients > 0)
        return;
    smtp_client_data(game->client);
    game->datas++;
}

static void take_event(struct game *game, const struct smtp_client_event *event)
{
    int code = event->reply.code;

    switch (event->kind) {
    case SMTP_CLIENT_STARTTLS:
        smtp_client_tls_started(game->client);
        break;
    case SMTP_CLIENT_CHALLENGE:
        answered(&game->auths);
        if (event->reply.text.n > 0 && !smtp_is_base64(event->reply.text))
            bug("a challenge that is not base64");
        smtp_client_respond(game->client, STR("YWI="));
        game->auths++;
        break;
    case SMTP_CLIENT_AUTH:
        answered(&game->auths);
        begin_transaction(game);
        break;
    case SMTP_CLIENT_READY:
        if (smtp_client_capabilities(game->client)->auth[0] != '\0') {
            smtp_client_auth(game->client, STR("LOGIN"), STR(""));
            game->auths++;
        } else if (smtp_client_capabilities(game->client)->xclient)
            smtp_client_identify(game->client, &game->who);
        else
            begin_transaction(game);
        break;
    case SMTP_CLIENT_IDENTIFIED:
    case SMTP_CLIENT_RESET:
        if (event->kind == SMTP_CLIENT_RESET)
            answered(&game->resets);
        begin_transaction(game);
        break;
    case SMTP_CLIENT_MAIL:
        answered(&game->mails);
        break;
    case SMTP_CLIENT_RCPT:
        on_rcpt(game);
        break;
    case SMTP_CLIENT_DATA:
        on_data(game, code);
        break;
    case SMTP_CLIENT_MESSAGE:
        answered(&game->messages);
        if (game->fed == game->fed_at_dot || code / 100 == 3)
            bug("the answer to the message was there before its dot, or is none");
        if (game->messages == 0)
            begin_transaction(game);
        break;
    default: /* REFUSED, BROKEN */
        game->broken = true;
        break;
    }
}

static void hear(struct game *game, struct str piece)
{
    char *copy = malloc(piece.n); /* of just its size */
    struct smtp_client_event event;

    if (copy == NULL)
        out_of_memory();
    memcpy(copy, piece.p, piece.n);
    smtp_client_feed(game->client, copy, piece.n);
    free(copy);
    game->fed++;
    do {
        smtp_client_next(game->client, &event);
        if (event.kind != SMTP_CLIENT_NEED_INPUT)
            take_event(game, &event);
    } while (event.kind != SMTP_CLIENT_NEED_INPUT && !game->broken);
}

static void check_commands(struct str text)
{
    static const char *const verbs[] = {"EHLO ",    "LHLO ",       "HELO ",        "STARTTLS\r",
                                        "XCLIENT ", "MAIL FROM:<", "RCPT TO:<",    "DATA\r",
                                        "RSET\r",   ".\r",         "AUTH LOGIN\r", "YWI=\r"};
    struct str line;

    while (text.n > 0) {
        bool known = false;

        if (!str_cut(text, '\n', &line, &text) || line.n == 0 || str_find(line, '\r') != line.n - 1)
            bug("a command line ends badly");
        for (size_t i = 0; i < COUNT(verbs); i++)
            known |= str_starts(line, str_of(verbs[i]));
        if (!known)
            bug("a command that is none");
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct game game = {0};
    struct str input;
    char helo[9], name[9];

    if (size < 18 || size > 100000)
        return 0;
    memcpy(helo, data, 8);
    memcpy(name, data + 8, 8);
    helo[8] = name[8] = '\0';
    game.who = (struct smtp_identity){.addr = "2001:db8::1", .helo = helo, .name = name};
    input = str_make((const char *)data + 18, size - 18);
    buf_init(&game.out, 1 << 26);
    game.client =
        smtp_client_new(data[16] & 2 ? PROTOCOL_LMTP : PROTOCOL_SMTP, "mx.test", data[16] & 1, &game.out);
    while (input.n > 0 && !game.broken) {
        struct str piece = str_upto(input, data[17] + 1u);

        hear(&game, piece);
        input = str_from(input, piece.n);
    }
    check_commands(buf_str(&game.out));
    smtp_client_free(&game.client);
    buf_fini(&game.out);
    return 0;
}
