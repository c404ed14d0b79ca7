#include "smtp/server.h"

#include "base/bug.h"

#include <stdlib.h>
#include <string.h>

/*
 * A client says the input, a policy of four answers says yes or no. What must hold: replies are well-formed
 * lines; each answered event has one reply; a message comes only behind 354, with the octets that went to the
 * sink; as many messages are acknowledged as were taken; and in pieces all of it happens just as in one.
 */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct game {
    const uint8_t *answers;
    struct buf out, story; /* story: a letter an event */
    struct smtp_server *server;
    uint64_t body_bytes;
    unsigned answered, taken;
    bool in_body, closed, raced; /* raced: what came before the 354 depends on the pieces */
};

static void take_body(struct str piece, void *arg)
{
    struct game *game = arg;

    if (!game->in_body)
        bug("a body without 354");
    game->body_bytes += piece.n;
}

static bool answer(struct game *game, int good, int bad)
{
    bool yes = (game->answers[game->answered / 8 % 4] >> game->answered % 8 & 1) == 0;

    game->answered++;
    smtp_server_answer(game->server, yes ? good : bad, yes ? "" : "5.7.1", STR("as the policy has it"));
    return yes;
}

static void end_message(struct game *game, const struct smtp_event *event)
{
    if (!game->in_body)
        bug("a message without DATA");
    if (event->fault == SMTP_DATA_OK && !event->too_big && event->bytes != game->body_bytes)
        bug("octets were lost");
    game->in_body = false;
    game->taken += answer(game, 299, 550); /* a code that nothing else has */
}

/* The policy's first answer asks for a response, its second decides. */
static void answer_auth(struct game *game, const struct smtp_event *event)
{
    bool is_response = event->kind == SMTP_EV_RESPONSE;

    if (smtp_server_is_authenticated(game->server) || smtp_server_in_transaction(game->server))
        bug("AUTH where there can be none");
    if (is_response && event->response.n > 0 && !str_eq_z(event->response, "*") &&
        !smtp_is_base64(event->response))
        bug("a response that is not base64");
    if (is_response || event->command->initial_response.n > 0) {
        answer(game, 235, 535);
        return;
    }
    game->answered++;
    smtp_server_answer(game->server, 334, "", STR("YWI="));
}

static void take_event(struct game *game, const struct smtp_event *event)
{
    buf_add_char(&game->story, (char)('a' + event->kind));
    switch (event->kind) {
    case SMTP_EV_DATA:
        game->body_bytes = 0;
        game->in_body = answer(game, 354, 451);
        break;
    case SMTP_EV_MESSAGE:
        end_message(game, event);
        break;
    case SMTP_EV_STARTTLS:
    case SMTP_EV_XCLIENT:
        answer(game, 454, 554);
        break;
    case SMTP_EV_AUTH:
    case SMTP_EV_RESPONSE:
        answer_auth(game, event);
        break;
    case SMTP_EV_RESET:
        game->in_body = false; /* chunks without an end */
        break;
    case SMTP_EV_HELO:
    case SMTP_EV_MAIL:
    case SMTP_EV_RCPT:
        answer(game, 250, 550);
        break;
    case SMTP_EV_CLOSE:
        game->closed = true;
        game->raced = strcmp(event->why, "data before 354") == 0;
        break;
    default:
        break;
    }
}

static void say(struct game *game, struct str piece)
{
    char *copy = malloc(piece.n); /* of just its size */
    struct smtp_event event;

    if (copy == NULL)
        out_of_memory();
    memcpy(copy, piece.p, piece.n);
    smtp_server_feed(game->server, copy, piece.n);
    do {
        smtp_server_next(game->server, &event);
        if (event.kind != SMTP_EV_NEED_INPUT)
            take_event(game, &event);
    } while (event.kind != SMTP_EV_NEED_INPUT && event.kind != SMTP_EV_CLOSE);
    if (!game->closed && (!smtp_server_keep(game->server) || smtp_server_is_full(game->server)))
        bug("input is left over");
    free(copy);
}

/* Each reply line by itself; counts the acknowledged messages. */
static unsigned check_replies(struct str text)
{
    unsigned acknowledged = 0;
    struct str line;

    while (text.n > 0) {
        if (!str_cut(text, '\n', &line, &text) || line.n < 5 || line.n > 511 || line.p[line.n - 1] != '\r')
            bug("a reply line ends badly");
        if (line.p[0] < '2' || line.p[0] > '5' || !ascii_is_digit(line.p[1]) || !ascii_is_digit(line.p[2]) ||
            (line.p[3] != ' ' && line.p[3] != '-'))
            bug("a reply line begins badly");
        for (size_t i = 0; i + 1 < line.n; i++)
            if (line.p[i] < ' ' || line.p[i] > '~')
                bug("an octet that is not printable in a reply");
        acknowledged += str_starts(line, STR("299"));
    }
    return acknowledged;
}

static void play(struct game *game, const uint8_t *head, struct str input, size_t piece)
{
    struct smtp_server_settings settings = {.hostname = "mx.test",
                                            .message_bytes_max = head[4] * 4u,
                                            .recipients_max = 1 + head[5] % 4u,
                                            .errors_max = 1 + head[6] % 8u,
                                            .line_bytes_max = 40,
                                            .drops_bare_ends = head[8] & 128,
                                            .offer = {.size = head[7] & 1,
                                                      .eightbitmime = head[7] & 2,
                                                      .smtputf8 = head[7] & 4,
                                                      .dsn = head[7] & 8,
                                                      .chunking = head[7] & 64,
                                                      .binarymime = head[8] & 64,
                                                      .requiretls = head[8] & 64}};

    *game = (struct game){.answers = head};
    buf_init(&game->out, 1 << 26);
    buf_init(&game->story, 1 << 24);
    game->server = smtp_server_new(&settings, &game->out, take_body, game);
    smtp_server_offer_starttls(game->server, head[7] & 16);
    smtp_server_require_tls(game->server, head[7] & 32);
    smtp_server_offer_xclient(game->server, head[7] & 128);
    if (head[8] & 32) {
        smtp_server_offer_auth(game->server, "PLAIN LOGIN");
        smtp_server_tls_started(game->server);
    }
    smtp_server_greet(game->server, 220, "", "");
    while (input.n > 0 && !game->closed) {
        say(game, str_upto(input, piece));
        input = str_from(input, piece < input.n ? piece : input.n);
    }
    smtp_server_free(&game->server);
    if (check_replies(buf_str(&game->out)) != game->taken)
        bug("not as many messages are acknowledged as were taken");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct game whole, pieces;
    struct str input;

    if (size < 10 || size > 100000)
        return 0;
    input = str_make((const char *)data + 9, size - 9);
    play(&whole, data, input, input.n);
    play(&pieces, data, input, data[8] % 32 + 1u);
    if (!whole.raced && (!str_eq(buf_str(&whole.out), buf_str(&pieces.out)) ||
                         !str_eq(buf_str(&whole.story), buf_str(&pieces.story))))
        bug("pieces make a difference");
    buf_fini(&whole.out);
    buf_fini(&whole.story);
    buf_fini(&pieces.out);
    buf_fini(&pieces.story);
    return 0;
}
