#include "smtp/server.h"

#include "base/bug.h"
#include "smtp/capability.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    INPUT_MAX = 192 * 1024, /* one lent read and what was kept before it */
    INPUT_FULL = 16 * 1024, /* from here on the caller stops reading */
    COMMAND_LINE = 512,     /* RFC 5321 4.5.3.1.4, with CRLF */
    /* and SIZE, BODY, SMTPUTF8, RET, ENVID, REQUIRETLS, AUTH=: RFC 1870, 6152, 6531, 3461, 8689, 4954; RCPT
     * needs less */
    ENVELOPE_LINE = 512 + 26 + 17 + 10 + 9 + 107 + 11 + 500,
    ENDLESS_LINE = 64 * 1024, /* no line at all: the session ends */
    IDLE_COMMANDS_MAX = 100,  /* NOOP, RSET, VRFY, … since the last message; then each is an error */
};

enum state { NOT_GREETED, COMMANDS, ANSWER_DUE, RESPONSE, BODY, CHUNK, HANDSHAKE, CLOSED };

/* What a line within AUTH is refused for, in the place of the answer to "*". */
struct auth_fault {
    int code;
    const char *enhanced, *text;
};

struct smtp_server {
    struct smtp_server_settings settings;
    struct buf *out;
    smtp_data_sink_fn *body;
    void *body_arg;

    enum state state;
    enum smtp_event_kind due; /* in ANSWER_DUE: what the answer is for */
    const char *closed_why;

    struct buf kept; /* input that waits */
    struct str lent; /* the caller's bytes, while kept is empty */
    struct buf line; /* the command that is worked on; command's views point into it */
    struct smtp_command command;
    bool skipping; /* the rest of a line that was too long */
    size_t skipped;

    bool esmtp, helo_seen, tls_offered, tls_required, tls_done, xclient_offered;
    char mechanisms[SMTP_CAPABILITY_AUTH_MAX];
    bool authenticated;
    const struct auth_fault *auth_fault; /* of the response that waits */
    bool mail_seen, mail_utf8, mail_binary, helo_due;
    unsigned recipients, deferred, errors,
        idle_commands; /* deferred: recipients of this transaction, by 4xx */
    /* The message, whether it comes by DATA (then only `lines` of it is used) or in chunks. */
    struct smtp_chunk_decoder message;
    bool by_chunks;  /* BDAT has begun it */
    bool swallowing; /* the chunk that comes was refused, and so are all others until RSET */
    bool chunks_refused;
    bool too_big;
};

struct smtp_server *smtp_server_new(const struct smtp_server_settings *settings, struct buf *out,
                                    smtp_data_sink_fn *body, void *body_arg)
{
    struct smtp_server *server = calloc(1, sizeof(*server));

    if (server == NULL)
        out_of_memory();
    server->settings = *settings;
    server->out = out;
    server->body = body;
    server->body_arg = body_arg;
    buf_init(&server->kept, INPUT_MAX);
    buf_init(&server->line, SMTP_AUTH_LINE);
    return server;
}

void smtp_server_free(struct smtp_server **server)
{
    if (*server == NULL)
        return;
    buf_fini(&(*server)->kept);
    buf_fini(&(*server)->line);
    free(*server);
    *server = NULL;
}

void smtp_server_offer(struct smtp_server *server, const struct smtp_server_settings *settings)
{
    if (server->mail_seen)
        bug("what is offered changes within a transaction");
    server->settings = *settings;
}

void smtp_server_offer_starttls(struct smtp_server *server, bool offer)
{
    server->tls_offered = offer;
}

void smtp_server_offer_auth(struct smtp_server *server, const char *mechanisms)
{
    snprintf(server->mechanisms, sizeof(server->mechanisms), "%s", mechanisms != NULL ? mechanisms : "");
}

void smtp_server_require_tls(struct smtp_server *server, bool require)
{
    server->tls_required = require;
}

void smtp_server_offer_xclient(struct smtp_server *server, bool offer)
{
    server->xclient_offered = offer;
}

bool smtp_server_in_transaction(const struct smtp_server *server)
{
    return server->mail_seen;
}

bool smtp_server_is_authenticated(const struct smtp_server *server)
{
    return server->authenticated;
}

bool smtp_server_awaits_response(const struct smtp_server *server)
{
    return server->state == RESPONSE;
}

bool smtp_server_is_esmtp(const struct smtp_server *server)
{
    return server->esmtp;
}

unsigned smtp_server_errors(const struct smtp_server *server)
{
    return server->errors;
}

void smtp_server_count_error(struct smtp_server *server)
{
    server->errors++;
}

/* ---- input ---- */

/* A password must not cross the network in the clear (RFC 4954 4). */
static bool is_auth_offered(const struct smtp_server *server)
{
    return server->tls_done && server->mechanisms[0] != '\0';
}

/* From the offer on, because the first piece of an AUTH command may be any octet of it. */
static bool may_be_secret(const struct smtp_server *server)
{
    return is_auth_offered(server) && !server->authenticated;
}

void smtp_server_feed(struct smtp_server *server, const char *bytes, size_t n)
{
    if (server->lent.n > 0)
        bug("smtp_server_feed before smtp_server_keep");
    server->kept.secret = server->line.secret = may_be_secret(server);
    if (server->kept.n > 0)
        buf_add(&server->kept, bytes, n);
    else
        server->lent = str_make(bytes, n);
}

bool smtp_server_keep(struct smtp_server *server)
{
    if (server->lent.n > 0)
        buf_add_str(&server->kept, server->lent);
    server->lent = (struct str){0};
    if (server->kept.n == 0)
        buf_fini(&server->kept); /* an idle session keeps no buffer */
    return !server->kept.overflow;
}

static struct str input(const struct smtp_server *server)
{
    return server->kept.n > 0 ? buf_str(&server->kept) : server->lent;
}

static void consume(struct smtp_server *server, size_t n)
{
    if (server->kept.n > 0)
        buf_consume(&server->kept, n);
    else
        server->lent = str_from(server->lent, n);
}

bool smtp_server_is_full(const struct smtp_server *server)
{
    return server->kept.n >= INPUT_FULL;
}

size_t smtp_server_waiting(const struct smtp_server *server)
{
    return input(server).n;
}

/* ---- replies ---- */

static void reply(struct smtp_server *server, int code, const char *enhanced, const char *text)
{
    smtp_reply_write(server->out, code, enhanced, str_of(text));
    if (code >= 500)
        server->errors++;
}

static void close_dialogue(struct smtp_server *server, const char *why)
{
    server->state = CLOSED;
    server->closed_why = why;
}

void smtp_server_tease(struct smtp_server *server)
{
    buf_fmt(server->out, "220-%s ESMTP\r\n", server->settings.hostname);
}

void smtp_server_greet(struct smtp_server *server, int code, const char *enhanced, const char *text)
{
    if (code == 220) {
        /* "ESMTP" in the greeting is what makes old clients say EHLO. */
        buf_fmt(server->out, "220 %s ESMTP\r\n", server->settings.hostname);
        server->state = COMMANDS;
        return;
    }
    smtp_reply_write(server->out, code, enhanced, str_of(text));
    close_dialogue(server, "refused at the greeting");
}

/* RFC 3030 3: only together with CHUNKING. */
static bool takes_binary(const struct smtp_server *server)
{
    return server->settings.offer.chunking && server->settings.offer.binarymime;
}

/* What holds now, by which parameters are judged. */
static struct smtp_offer offer_now(const struct smtp_server *server)
{
    struct smtp_offer offer = server->settings.offer;

    offer.auth = is_auth_offered(server);
    offer.requiretls = offer.requiretls && server->tls_done;
    offer.binarymime = takes_binary(server);
    return offer;
}

static void write_ehlo(struct smtp_server *server)
{
    const struct smtp_server_settings *s = &server->settings;

    buf_fmt(server->out, "250-%s\r\n250-PIPELINING\r\n", s->hostname);
    if (s->offer.size)
        buf_fmt(server->out, "250-SIZE %llu\r\n", (unsigned long long)s->message_bytes_max);
    if (server->tls_offered && !server->tls_done)
        buf_add_z(server->out, "250-STARTTLS\r\n");
    if (s->offer.eightbitmime)
        buf_add_z(server->out, "250-8BITMIME\r\n");
    if (s->offer.smtputf8)
        buf_add_z(server->out, "250-SMTPUTF8\r\n");
    if (s->offer.dsn)
        buf_add_z(server->out, "250-DSN\r\n");
    if (server->xclient_offered)
        buf_add_z(server->out, "250-XCLIENT NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT\r\n");
    if (is_auth_offered(server))
        buf_fmt(server->out, "250-AUTH %s\r\n", server->mechanisms);
    if (s->offer.requiretls && server->tls_done)
        buf_add_z(server->out, "250-REQUIRETLS\r\n");
    if (s->offer.chunking)
        buf_add_z(server->out, "250-CHUNKING\r\n");
    if (takes_binary(server))
        buf_add_z(server->out, "250-BINARYMIME\r\n");
    buf_fmt(server->out, "250-LIMITS RCPTMAX=%u\r\n", s->recipients_max); /* RFC 9422 */
    buf_add_z(server->out, "250 ENHANCEDSTATUSCODES\r\n");
}

/* ---- state ---- */

static void end_transaction(struct smtp_server *server)
{
    server->mail_seen = false;
    server->recipients = server->deferred = 0;
    server->by_chunks = server->chunks_refused = false;
}

void smtp_server_tls_started(struct smtp_server *server)
{
    end_transaction(server);
    buf_fini(&server->kept);
    server->lent = (struct str){0};
    server->esmtp = server->helo_seen = server->authenticated = false;
    server->tls_done = true;
    if (server->state == HANDSHAKE)
        server->state = COMMANDS;
}

static void answer_helo(struct smtp_server *server, int code, const char *enhanced, struct str text)
{
    if (code >= 400) {
        smtp_reply_write(server->out, code, enhanced, text);
        return;
    }
    server->helo_seen = true;
    server->esmtp = server->command.verb == SMTP_EHLO;
    if (server->esmtp)
        write_ehlo(server);
    else
        buf_fmt(server->out, "250 %s\r\n", server->settings.hostname);
}

static void begin_message(struct smtp_server *server)
{
    server->too_big = false;
    if (server->command.verb != SMTP_BDAT) {
        server->state = BODY;
        smtp_data_decoder_init(&server->message.lines, server->settings.line_bytes_max);
        return;
    }
    server->state = CHUNK;
    server->by_chunks = true;
    smtp_chunk_decoder_init(&server->message, server->settings.line_bytes_max, server->mail_binary);
    smtp_chunk_begin(&server->message, server->command.chunk_bytes, server->command.last);
}

/* The octets of a refused chunk come all the same (RFC 3030 2), and are never read as commands. */
static void swallow_chunk(struct smtp_server *server)
{
    server->state = CHUNK;
    server->swallowing = server->chunks_refused = true;
    smtp_chunk_decoder_init(&server->message, server->settings.line_bytes_max, true);
    smtp_chunk_begin(&server->message, server->command.chunk_bytes, server->command.last);
}

/* What a good answer (below 400) does to the dialogue. */
static void accept_command(struct smtp_server *server)
{
    switch (server->due) {
    case SMTP_EV_STARTTLS:
        server->state = HANDSHAKE;
        break;
    case SMTP_EV_MAIL:
        server->mail_seen = true;
        server->mail_utf8 = server->command.smtputf8;
        server->mail_binary = server->command.body == SMTP_BODY_BINARYMIME;
        server->recipients = server->deferred = 0;
        server->chunks_refused = false; /* those were of a MAIL that was refused, or of none */
        break;
    case SMTP_EV_RCPT:
        server->recipients++;
        break;
    case SMTP_EV_DATA:
        begin_message(server);
        break;
    case SMTP_EV_XCLIENT:
        server->esmtp = server->helo_seen = false;
        server->state = NOT_GREETED;
        break;
    default:
        break;
    }
}

/* ---- AUTH ---- */

/* Nothing of what was said is kept. */
static void end_auth(struct smtp_server *server)
{
    buf_fini(&server->line);
    server->command = (struct smtp_command){0};
    server->auth_fault = NULL;
}

/* A challenge may be longer than a reply's line, and what is written is base64 and nothing else. */
static void answer_auth(struct smtp_server *server, int code, const char *enhanced, struct str text)
{
    if (code == 334 && server->auth_fault == NULL) {
        if (text.n > 0 && !smtp_is_base64(text))
            bug("a challenge that is not base64");
        buf_fmt(server->out, "334 %.*s\r\n", STR_ARG(text));
        buf_clear(&server->line);
        server->state = RESPONSE;
        return;
    }
    if (server->auth_fault != NULL) /* whatever the other end says to the "*" */
        smtp_reply_write(server->out, server->auth_fault->code, server->auth_fault->enhanced,
                         str_of(server->auth_fault->text));
    else
        smtp_reply_write(server->out, code, enhanced, text);
    server->authenticated = code == 235 && server->auth_fault == NULL;
    server->errors += code >= 500 || server->auth_fault != NULL;
    end_auth(server);
}

static bool is_auth(enum smtp_event_kind kind)
{
    return kind == SMTP_EV_AUTH || kind == SMTP_EV_RESPONSE;
}

void smtp_server_answer(struct smtp_server *server, int code, const char *enhanced, struct str text)
{
    bool is_chunk = server->due == SMTP_EV_DATA && server->command.verb == SMTP_BDAT;

    if (server->state != ANSWER_DUE)
        bug("smtp_server_answer %d, but nothing waits", code);
    server->state = COMMANDS;
    if (is_auth(server->due)) {
        answer_auth(server, code, enhanced, text);
        if (code == 421)
            close_dialogue(server, "refused");
        return;
    }
    if (server->due == SMTP_EV_HELO)
        answer_helo(server, code, enhanced, text);
    /* A chunk is not asked for, its reply comes at its end; the reply to XCLIENT is the new greeting. */
    else if (code >= 400 || (!is_chunk && server->due != SMTP_EV_XCLIENT))
        smtp_reply_write(server->out, code, enhanced, text);
    if (code >= 500)
        server->errors++;
    else if (code >= 400 && server->due == SMTP_EV_RCPT)
        server->deferred++;
    if (server->due == SMTP_EV_MESSAGE) {
        end_transaction(server);
        server->idle_commands = 0;
    } else if (code < 400) {
        accept_command(server);
    } else if (is_chunk) {
        swallow_chunk(server);
    }
    if (code == 421 || code == 521)
        close_dialogue(server, "refused");
}

/* ---- commands ---- */

static size_t line_limit(struct str line)
{
    struct str verb = str_upto(line, 4);

    if (str_same_z(verb, "MAIL") || str_same_z(verb, "RCPT"))
        return ENVELOPE_LINE;
    return str_same_z(verb, "AUTH") ? SMTP_AUTH_LINE : COMMAND_LINE;
}

/* Skips the tail of a line that was refused already. False: its end has not come yet. */
static bool skip_line(struct smtp_server *server)
{
    struct str in = input(server);
    size_t end = str_find(in, '\n');

    server->skipped += end;
    consume(server, end < in.n ? end + 1 : in.n);
    server->skipping = end == in.n;
    if (server->skipped <= ENDLESS_LINE)
        return !server->skipping;
    close_dialogue(server, "endless line");
    return false;
}

/* What two servers may read in two ways. */
static void refuse_bare(struct smtp_server *server, const char *text)
{
    reply(server, server->settings.drops_bare_ends ? 521 : 500, "5.5.2", text);
    if (server->settings.drops_bare_ends)
        close_dialogue(server, "bare line end");
}

/* Takes one line out of the input. False: there is none (yet), or it was answered here. */
static bool take_line(struct smtp_server *server)
{
    struct str in = input(server);
    size_t end = str_find(in, '\n');
    size_t limit = line_limit(in);

    if (end == in.n && in.n <= limit)
        return false;
    if (end >= limit) {
        reply(server, 500, "5.5.2", "Line too long");
        server->skipped = 0;
        skip_line(server);
        return false;
    }
    if (end == 0 || in.p[end - 1] != '\r') {
        consume(server, end + 1);
        refuse_bare(server, "Lines end with CRLF; a bare LF is refused");
        return false;
    }
    buf_clear(&server->line);
    buf_add(&server->line, in.p, end - 1);
    consume(server, end + 1);
    return true;
}

static bool wait_for_answer(struct smtp_server *server, enum smtp_event_kind kind,
                            struct smtp_event *event_out)
{
    server->state = ANSWER_DUE;
    server->due = kind;
    *event_out = (struct smtp_event){.kind = kind, .command = &server->command};
    return true;
}

static bool do_helo(struct smtp_server *server, struct smtp_event *event_out)
{
    if (server->mail_seen) { /* EHLO ends a transaction (RFC 5321 4.1.4); itself it comes next */
        end_transaction(server);
        server->helo_due = true;
        *event_out = (struct smtp_event){.kind = SMTP_EV_RESET};
        return true;
    }
    return wait_for_answer(server, SMTP_EV_HELO, event_out);
}

static bool do_starttls(struct smtp_server *server, struct smtp_event *event_out)
{
    if (server->tls_done)
        reply(server, 503, "5.5.1", "TLS is already active");
    else if (!server->tls_offered)
        reply(server, 502, "5.5.1", "STARTTLS is not offered");
    else
        return wait_for_answer(server, SMTP_EV_STARTTLS, event_out);
    return false;
}

/* Postfix's XCLIENT_README: before MAIL, and only for those who may. */
static bool do_xclient(struct smtp_server *server, struct smtp_event *event_out)
{
    if (!server->xclient_offered)
        reply(server, 502, "5.5.1", "Command not implemented");
    else if (server->mail_seen || server->authenticated)
        reply(server, 503, "5.5.1", "XCLIENT within a transaction, or after AUTH");
    else
        return wait_for_answer(server, SMTP_EV_XCLIENT, event_out);
    return false;
}

/* RFC 4954 4. */
static bool do_auth(struct smtp_server *server, struct smtp_event *event_out)
{
    struct smtp_capabilities ours = {0};

    snprintf(ours.auth, sizeof(ours.auth), "%s", server->mechanisms);
    if (server->mechanisms[0] == '\0')
        reply(server, 502, "5.5.1", "AUTH is not offered");
    else if (!server->tls_done)
        reply(server, 538, "5.7.11", "AUTH needs TLS: say STARTTLS first");
    else if (!server->esmtp)
        reply(server, 503, "5.5.1", "Say EHLO first");
    else if (server->authenticated)
        reply(server, 503, "5.5.1", "Already authenticated");
    else if (server->mail_seen)
        reply(server, 503, "5.5.1", "AUTH within a transaction");
    else if (!smtp_capabilities_has_auth(&ours, server->command.mechanism))
        reply(server, 504, "5.5.4", "This mechanism is not offered");
    else
        return wait_for_answer(server, SMTP_EV_AUTH, event_out);
    return false;
}

static bool do_mail(struct smtp_server *server, struct smtp_event *event_out)
{
    if (!server->helo_seen)
        reply(server, 503, "5.5.1", "Say EHLO first");
    else if (server->tls_required && !server->tls_done)
        reply(server, 530, "5.7.0", "Must issue a STARTTLS command first");
    else if (server->mail_seen)
        reply(server, 503, "5.5.1", "Nested MAIL command");
    else if (server->command.size > server->settings.message_bytes_max)
        reply(server, 552, "5.3.4", "Message size exceeds the limit");
    else
        return wait_for_answer(server, SMTP_EV_MAIL, event_out);
    return false;
}

static bool do_rcpt(struct smtp_server *server, struct smtp_event *event_out)
{
    if (!server->mail_seen)
        reply(server, 503, "5.5.1", "Need MAIL before RCPT");
    else if (server->by_chunks)
        reply(server, 503, "5.5.1", "The message has begun");
    else if (server->recipients >= server->settings.recipients_max ||
             server->deferred >= server->settings.recipients_max)
        reply(server, 452, "4.5.3", "Too many recipients");
    else if (server->command.smtputf8 && !server->mail_utf8) /* RFC 6531 3.5 */
        reply(server, 553, "5.6.7", "A recipient beyond ASCII needs SMTPUTF8 in MAIL");
    else
        return wait_for_answer(server, SMTP_EV_RCPT, event_out);
    return false;
}

/* Whoever sends the message before our 354 does not listen to what we say, or smuggles (RFC 2920 3.1: DATA is
 * the last command of a group). */
static bool do_data(struct smtp_server *server, struct smtp_event *event_out)
{
    if (!server->mail_seen)
        reply(server, 503, "5.5.1", "Need MAIL and RCPT before DATA");
    else if (server->by_chunks || server->chunks_refused)
        reply(server, 503, "5.5.1", "BDAT has begun the message: DATA cannot follow it");
    else if (server->mail_binary) /* RFC 3030 3 */
        reply(server, 503, "5.5.1", "BODY=BINARYMIME comes by BDAT only");
    else if (server->recipients == 0)
        reply(server, 554, "5.5.1", "No valid recipients");
    else if (input(server).n == 0)
        return wait_for_answer(server, SMTP_EV_DATA, event_out);
    else {
        reply(server, 554, "5.5.0", "Data came before it was asked for (354)");
        close_dialogue(server, "data before 354");
    }
    return false;
}

static bool refuse_chunk(struct smtp_server *server, int code, const char *enhanced, const char *text)
{
    reply(server, code, enhanced, text);
    swallow_chunk(server);
    return false;
}

/* RFC 3030 2. The first chunk of a message needs a judgement, as DATA does; its octets follow without our
 * asking. */
static bool do_bdat(struct smtp_server *server, struct smtp_event *event_out)
{
    if (!server->settings.offer.chunking) {
        reply(server, 502, "5.5.1", "Command not implemented");
        return false;
    }
    if (!server->mail_seen)
        return refuse_chunk(server, 503, "5.5.1", "Need MAIL and RCPT before BDAT");
    if (server->recipients == 0)
        return refuse_chunk(server, 554, "5.5.1", "No valid recipients");
    if (server->chunks_refused)
        return refuse_chunk(server, 503, "5.5.1", "A chunk of this message was refused: say RSET");
    if (!server->by_chunks)
        return wait_for_answer(server, SMTP_EV_DATA, event_out);
    smtp_chunk_begin(&server->message, server->command.chunk_bytes, server->command.last);
    server->state = CHUNK;
    return false;
}

static bool do_rset(struct smtp_server *server, struct smtp_event *event_out)
{
    bool was_in_transaction = server->mail_seen;

    end_transaction(server);
    reply(server, 250, "2.0.0", "Ok");
    if (was_in_transaction)
        *event_out = (struct smtp_event){.kind = SMTP_EV_RESET};
    return was_in_transaction;
}

static void count_idle_command(struct smtp_server *server)
{
    if (++server->idle_commands > IDLE_COMMANDS_MAX)
        server->errors++;
}

static bool has_bare_end(struct str line)
{
    return str_has(line, '\r') || str_has(line, '\0');
}

/* Returns whether the command is an event. What is answered here needs no judgement. */
static bool do_command(struct smtp_server *server, struct smtp_event *event_out)
{
    if (server->settings.drops_bare_ends && has_bare_end(buf_str(&server->line))) {
        refuse_bare(server, "A bare CR or a NUL in a command is refused");
        return false;
    }
    if (server->command.reply_code != 0) {
        smtp_reply_write(server->out, server->command.reply_code, "", str_of(server->command.reply_text));
        server->errors++;
        if (server->command.verb == SMTP_BDAT) /* how much follows is not known */
            close_dialogue(server, "malformed BDAT");
        return false;
    }
    switch (server->command.verb) {
    case SMTP_EHLO:
    case SMTP_HELO:
        count_idle_command(server);
        return do_helo(server, event_out);
    case SMTP_STARTTLS:
        return do_starttls(server, event_out);
    case SMTP_XCLIENT:
        return do_xclient(server, event_out);
    case SMTP_AUTH:
        return do_auth(server, event_out);
    case SMTP_MAIL:
        return do_mail(server, event_out);
    case SMTP_RCPT:
        return do_rcpt(server, event_out);
    case SMTP_DATA:
        return do_data(server, event_out);
    case SMTP_BDAT:
        return do_bdat(server, event_out);
    case SMTP_RSET:
        count_idle_command(server);
        return do_rset(server, event_out);
    case SMTP_NOOP:
        count_idle_command(server);
        reply(server, 250, "2.0.0", "Ok");
        return false;
    case SMTP_VRFY:
        count_idle_command(server);
        reply(server, 252, "2.5.2", "Cannot verify, but will take a message and attempt delivery");
        return false;
    case SMTP_HELP:
        count_idle_command(server);
        reply(server, 214, "2.0.0", "This is smtpguard; see RFC 5321");
        return false;
    case SMTP_QUIT:
        reply(server, 221, "2.0.0", "Bye");
        close_dialogue(server, "quit");
        return false;
    case SMTP_FOREIGN:
        reply(server, 554, "5.5.1", "This is an SMTP server");
        close_dialogue(server, "another protocol");
        return false;
    case SMTP_UNKNOWN:
        reply(server, 500, "5.5.2", "Command not recognized");
        return false;
    default:
        reply(server, 502, "5.5.1", "Command not implemented");
        return false;
    }
}

/* ---- the message ---- */

static void on_body(struct str piece, void *arg)
{
    struct smtp_server *server = arg;

    if (server->message.lines.bytes > server->settings.message_bytes_max)
        server->too_big = true;
    if (!server->too_big && !server->swallowing)
        server->body(piece, server->body_arg);
}

static bool message_has_ended(struct smtp_server *server, struct smtp_event *event_out)
{
    const struct smtp_data_decoder *lines = &server->message.lines;

    wait_for_answer(server, SMTP_EV_MESSAGE, event_out);
    event_out->command = NULL;
    event_out->fault = lines->fault;
    event_out->bytes = lines->bytes;
    event_out->too_big = server->too_big || lines->bytes > server->settings.message_bytes_max;
    return true;
}

static bool do_body(struct smtp_server *server, struct smtp_event *event_out)
{
    consume(server, smtp_data_decode(&server->message.lines, input(server), on_body, server));
    return server->message.lines.ended && message_has_ended(server, event_out);
}

/* Behind a chunk that is complete commands come again. */
static bool do_chunk(struct smtp_server *server, struct smtp_event *event_out)
{
    char text[64];

    consume(server, smtp_chunk_decode(&server->message, input(server), on_body, server));
    if (!smtp_chunk_is_complete(&server->message))
        return false;
    server->state = COMMANDS;
    if (server->swallowing) {
        server->swallowing = false;
        return false;
    }
    if (server->message.last)
        return message_has_ended(server, event_out);
    snprintf(text, sizeof(text), "%llu octets received", (unsigned long long)server->command.chunk_bytes);
    reply(server, 250, "2.0.0", text);
    return false;
}

/* ---- */

static bool too_many_errors(struct smtp_server *server)
{
    if (server->errors < server->settings.errors_max)
        return false;
    smtp_reply_write(server->out, 421, "4.7.0", STR("Too many errors"));
    close_dialogue(server, "too many errors");
    return true;
}

/* A line within AUTH; one that is none cancels it, at the other end too. A line beyond the limit need not end
 * to be refused, its tail is skipped as a command's. */
static bool do_response(struct smtp_server *server, struct smtp_event *event_out)
{
    static const struct auth_fault too_long = {500, "5.5.6", "Authentication exchange line is too long"};
    static const struct auth_fault bare = {500, "5.5.2", "Lines end with CRLF; a bare LF is refused"};
    static const struct auth_fault not_base64 = {501, "5.5.2", "The response is not base64"};
    struct str in = input(server), text;
    size_t end = str_find(in, '\n');

    if (end == in.n && in.n <= SMTP_AUTH_LINE)
        return false;
    text = str_upto(in, end > 0 ? end - 1 : 0);
    server->skipped = 0;
    if (end >= SMTP_AUTH_LINE) {
        server->auth_fault = &too_long;
    } else if (end == 0 || in.p[end - 1] != '\r') {
        server->auth_fault = &bare;
    } else if (text.n > 0 && !str_eq_z(text, "*") && !smtp_is_base64(text)) {
        server->auth_fault = &not_base64;
    }
    buf_clear(&server->line);
    buf_add_str(&server->line, server->auth_fault != NULL ? STR("*") : text);
    if (end >= SMTP_AUTH_LINE)
        skip_line(server);
    else
        consume(server, end + 1);
    if (server->state == CLOSED)
        return false;
    wait_for_answer(server, SMTP_EV_RESPONSE, event_out);
    event_out->command = NULL;
    event_out->response = buf_str(&server->line);
    return true;
}

/* One step; false when there is nothing to do without more input. */
static bool step(struct smtp_server *server, struct smtp_event *event_out)
{
    if (server->helo_due) {
        server->helo_due = false;
        return wait_for_answer(server, SMTP_EV_HELO, event_out);
    }
    while (server->state == CHUNK || (server->state == COMMANDS && !too_many_errors(server))) {
        size_t before = input(server).n;

        if (server->state == CHUNK) {
            if (do_chunk(server, event_out))
                return true;
            if (server->state == CHUNK)
                return false;
            continue;
        }
        if (server->skipping && !skip_line(server))
            return false;
        if (take_line(server)) {
            struct smtp_offer offer = offer_now(server);

            smtp_command_parse(buf_str(&server->line), &offer, &server->command);
            if (do_command(server, event_out))
                return true;
        } else if (input(server).n == before) {
            return false;
        }
    }
    if (server->state == RESPONSE)
        return do_response(server, event_out);
    return server->state == BODY && do_body(server, event_out);
}

void smtp_server_next(struct smtp_server *server, struct smtp_event *event_out)
{
    if (step(server, event_out))
        return;
    *event_out = (struct smtp_event){.kind = SMTP_EV_NEED_INPUT};
    if (server->state == CLOSED)
        *event_out = (struct smtp_event){.kind = SMTP_EV_CLOSE, .why = server->closed_why};
}
