#include "cli/sink_session.h"

#include "base/stream.h"
#include "cli/sink_message.h"

#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    RECIPIENTS = 1000,
    LINE_BYTES = 16 * 1024,
    INPUT_BYTES = 2 * LOOP_SCRATCH_BYTES,
    OUTPUT_BYTES = 4 * 1024 * 1024,
    ENVELOPE_BYTES = 512 * 1024,
};

struct sink_session {
    struct sink *sink;
    struct sink_session *next, **at; /* in the sink's list */
    struct stream *stream;
    struct buf in, out;
    struct buf helo, xclient, from, to; /* as they will stand in the file; `to` has all its lines */
    unsigned recipients;
    bool has_from;
    struct sink_message *message; /* while its bytes are received, and until it is answered */
    struct timer delay;
    bool waiting; /* for the delay */
    bool ending;
};

/* ---- replies and envelope ---- */

static void reply(struct sink_session *s, const char *text)
{
    buf_add_z(&s->out, text);
    buf_add_z(&s->out, "\r\n");
}

/* What a client says becomes one line of the file, whatever is in it. */
static void note(struct buf *out, struct str text)
{
    for (size_t i = 0; i < text.n; i++)
        buf_add_char(out, (unsigned char)text.p[i] < ' ' || text.p[i] == 0x7f ? '?' : text.p[i]);
}

static void remember(struct buf *out, struct str text)
{
    buf_clear(out);
    note(out, text);
}

static void forget_transaction(struct sink_session *s)
{
    buf_clear(&s->from);
    buf_clear(&s->to);
    s->has_from = false;
    s->recipients = 0;
    sink_message_free(&s->message);
}

static void write_envelope(struct sink_session *s, struct buf *out)
{
    struct endpoint peer = stream_peer(s->stream);
    char text[IP_TEXT_MAX];

    buf_fmt(out, "X-Sink-Client: %s:%u\nX-Sink-Helo: ", ip_format(&peer.ip, text), peer.port);
    buf_add_str(out, buf_str(&s->helo));
    buf_fmt(out, "\nX-Sink-From: <%s>\n", buf_z(&s->from));
    buf_add_str(out, buf_str(&s->to));
    if (s->xclient.n > 0)
        buf_fmt(out, "X-Sink-Xclient: %s\n", buf_z(&s->xclient));
}

/* ---- commands ---- */

static void on_hello(struct sink_session *s, struct str argument)
{
    remember(&s->helo, argument);
    forget_transaction(s);
    reply(s, "250 sink");
}

static void on_ehlo(struct sink_session *s, struct str argument)
{
    remember(&s->helo, argument);
    forget_transaction(s);
    reply(s, "250-sink");
    if (!s->sink->settings->no_pipelining)
        reply(s, "250-PIPELINING");
    if (!s->sink->settings->no_xclient)
        reply(s, "250-XCLIENT NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT");
    buf_fmt(&s->out, "250-SIZE %d\r\n", SINK_MESSAGE_MAX);
    reply(s, "250-8BITMIME");
    reply(s, "250 ENHANCEDSTATUSCODES");
}

/* XCLIENT begins the session anew, and is answered by the greeting (Postfix XCLIENT_README). A client may
 * spread its attributes over several commands. */
static void on_xclient(struct sink_session *s, struct str argument)
{
    if (s->sink->settings->no_xclient) {
        reply(s, "502 5.5.1 XCLIENT is not offered");
        return;
    }
    if (s->xclient.n > 0)
        buf_add_char(&s->xclient, ' ');
    note(&s->xclient, argument);
    forget_transaction(s);
    buf_clear(&s->helo);
    reply(s, "220 sink ESMTP smtpguard sink");
}

/* The address between "<" and its ">": a quoted local part may have a ">" of its own. */
static bool path_of(struct str argument, struct str keyword, struct str *path_out)
{
    bool quoted = false;
    struct str rest;

    if (!str_starts_same(argument, keyword))
        return false;
    rest = str_trim(str_from(argument, keyword.n));
    if (rest.n == 0 || rest.p[0] != '<')
        return false;
    rest = str_from(rest, 1);
    for (size_t i = 0; i < rest.n; i++) {
        if (quoted && rest.p[i] == '\\') {
            i++;
        } else if (rest.p[i] == '"') {
            quoted = !quoted;
        } else if (!quoted && rest.p[i] == '>') {
            *path_out = str_upto(rest, i);
            return true;
        }
    }
    return false;
}

static void on_mail(struct sink_session *s, struct str argument)
{
    struct str path;

    if (s->has_from) {
        reply(s, "503 5.5.1 One sender a message");
    } else if (!path_of(argument, STR("FROM:"), &path)) {
        reply(s, "501 5.5.4 MAIL FROM:<address>");
    } else {
        remember(&s->from, path);
        s->has_from = true;
        reply(s, "250 2.1.0 Ok");
    }
}

static bool matches(const struct sink_patterns *patterns, const char *address)
{
    for (size_t i = 0; i < patterns->count; i++)
        if (fnmatch(patterns->text[i], address, FNM_CASEFOLD) == 0)
            return true;
    return false;
}

static void take_recipient(struct sink_session *s, const char *address)
{
    if (matches(&s->sink->settings->reject, address)) {
        reply(s, "550 5.1.1 No such user here");
    } else if (matches(&s->sink->settings->defer, address)) {
        reply(s, "451 4.3.0 Try again later");
    } else if (s->recipients >= RECIPIENTS || !buf_fmt(&s->to, "X-Sink-To: <%s>\n", address)) {
        reply(s, "452 4.5.3 Too many recipients");
    } else {
        s->recipients++;
        reply(s, "250 2.1.5 Ok");
    }
}

static void on_rcpt(struct sink_session *s, struct str argument)
{
    struct buf address;
    struct str path;

    if (!s->has_from) {
        reply(s, "503 5.5.1 MAIL first");
        return;
    }
    if (!path_of(argument, STR("TO:"), &path)) {
        reply(s, "501 5.5.4 RCPT TO:<address>");
        return;
    }
    buf_init(&address, LINE_BYTES);
    note(&address, path);
    take_recipient(s, buf_z(&address));
    buf_fini(&address);
}

static void on_data_command(struct sink_session *s, struct str argument)
{
    struct buf envelope;
    struct fail fail;

    (void)argument;
    if (s->recipients == 0) {
        reply(s, "503 5.5.1 RCPT first");
        return;
    }
    buf_init(&envelope, ENVELOPE_BYTES + 8 * LINE_BYTES);
    write_envelope(s, &envelope);
    s->message = sink_message_new(s->sink->settings->maildir, buf_str(&envelope), &fail);
    buf_fini(&envelope);
    if (s->message == NULL) {
        fprintf(stderr, "smtpguard sink: %s\n", fail.text);
        reply(s, "451 4.3.0 Cannot write");
        return;
    }
    reply(s, "354 End with <CRLF>.<CRLF>");
}

static void on_reset(struct sink_session *s, struct str argument)
{
    (void)argument;
    forget_transaction(s);
    reply(s, "250 2.0.0 Ok");
}

static void on_nothing(struct sink_session *s, struct str argument)
{
    (void)argument;
    reply(s, "250 2.0.0 Ok");
}

static void on_quit(struct sink_session *s, struct str argument)
{
    (void)argument;
    reply(s, "221 2.0.0 Bye");
    s->ending = true;
}

static const struct {
    const char *verb;
    void (*run)(struct sink_session *s, struct str argument);
} commands[] = {
    {"EHLO", on_ehlo},  {"HELO", on_hello},   {"XCLIENT", on_xclient},
    {"MAIL", on_mail},  {"RCPT", on_rcpt},    {"DATA", on_data_command},
    {"RSET", on_reset}, {"NOOP", on_nothing}, {"QUIT", on_quit},
};

static void run_command(struct sink_session *s, struct str line)
{
    struct str verb, argument;

    str_cut(str_trim(line), ' ', &verb, &argument);
    for (size_t i = 0; i < sizeof(commands) / sizeof(*commands); i++)
        if (str_same_z(verb, commands[i].verb)) {
            commands[i].run(s, str_trim(argument));
            return;
        }
    reply(s, "502 5.5.2 Not understood");
}

/* ---- the message ---- */

static void refuse_as_told(struct sink_session *s)
{
    unsigned code = s->sink->settings->reply_code;

    buf_fmt(&s->out, "%u %u.3.0 As it was asked for\r\n", code, code / 100);
}

/* A message is in the maildir when, and only when, the client has been told 250. */
static void answer_message(struct sink_session *s)
{
    struct fail fail;

    if (s->sink->settings->reply_code != 0) {
        refuse_as_told(s);
    } else if (sink_message_is_too_big(s->message)) {
        reply(s, "552 5.3.4 The message is too big");
    } else if (sink_message_keep(s->message, &fail) != 0) {
        fprintf(stderr, "smtpguard sink: %s\n", fail.text);
        reply(s, "451 4.3.0 Cannot write");
    } else {
        buf_fmt(&s->out, "250 2.0.0 Ok: queued as %lu\r\n", ++s->sink->kept);
    }
    forget_transaction(s);
}

static void go_on(struct sink_session *s);

static void on_delay_over(void *arg)
{
    struct sink_session *s = arg;

    s->waiting = false;
    answer_message(s);
    stream_resume(s->stream);
    go_on(s);
}

static void end_message(struct sink_session *s)
{
    const struct sink_settings *settings = s->sink->settings;

    if (settings->close_after_dot) {
        s->ending = true;
    } else if (settings->delay_ms > 0) {
        s->waiting = true;
        stream_pause(s->stream);
        timer_start(&s->delay, s->sink->loop, settings->delay_ms, on_delay_over, s);
    } else {
        answer_message(s);
    }
}

/* ---- sessions ---- */

static void session_end(struct sink_session *s)
{
    timer_stop(&s->delay);
    stream_close(&s->stream);
    sink_message_free(&s->message);
    buf_fini(&s->in);
    buf_fini(&s->out);
    buf_fini(&s->helo);
    buf_fini(&s->xclient);
    buf_fini(&s->from);
    buf_fini(&s->to);
    *s->at = s->next;
    if (s->next != NULL)
        s->next->at = s->at;
    s->sink->connections--;
    free(s);
}

/* False: the line is not complete. */
static bool take_line(struct sink_session *s)
{
    size_t n = str_find(buf_str(&s->in), '\n');

    if (n == s->in.n || n > LINE_BYTES) {
        if (n > LINE_BYTES) {
            reply(s, "500 5.5.2 The line is too long");
            s->ending = true;
        }
        return false;
    }
    run_command(s, str_upto(buf_str(&s->in), n));
    buf_consume(&s->in, n + 1);
    return true;
}

static void take_message_bytes(struct sink_session *s)
{
    bool ended;

    buf_consume(&s->in, sink_message_add(s->message, buf_str(&s->in), &ended));
    if (ended)
        end_message(s);
}

/* Does what can be done with the input, and writes all replies at once. Then the session may be gone. */
static void go_on(struct sink_session *s)
{
    while (s->in.n > 0 && !s->waiting && !s->ending) {
        if (s->message != NULL)
            take_message_bytes(s);
        else if (!take_line(s))
            break;
    }
    if (s->out.n > 0)
        stream_write(s->stream, &(struct iovec){s->out.p, s->out.n}, 1);
    buf_clear(&s->out);
    if (s->ending)
        session_end(s);
}

static void on_data(const char *bytes, size_t n, void *arg)
{
    struct sink_session *s = arg;

    if (!buf_add(&s->in, bytes, n))
        s->ending = true;
    go_on(s);
}

static void on_end(int error, void *arg)
{
    (void)error;
    session_end(arg);
}

void sink_accept(int fd, const struct endpoint *peer, void *arg)
{
    static const struct stream_events events = {.on_data = on_data, .on_end = on_end};
    static const char full[] = "421 4.3.2 Too many connections\r\n";
    struct sink *sink = arg;
    struct sink_session *s;

    (void)peer;
    if (sink->connections >= SINK_CONNECTIONS || (s = calloc(1, sizeof(*s))) == NULL) {
        (void)!send(fd, full, sizeof(full) - 1, MSG_NOSIGNAL);
        close(fd);
        return;
    }
    s->sink = sink;
    s->next = sink->sessions;
    s->at = &sink->sessions;
    if (s->next != NULL)
        s->next->at = &s->next;
    sink->sessions = s;
    sink->connections++;
    buf_init(&s->in, INPUT_BYTES);
    buf_init(&s->out, OUTPUT_BYTES);
    buf_init(&s->helo, LINE_BYTES);
    buf_init(&s->xclient, 4 * LINE_BYTES);
    buf_init(&s->from, LINE_BYTES);
    buf_init(&s->to, ENVELOPE_BYTES);
    s->stream = stream_accept(sink->loop, fd, OUTPUT_BYTES, &events, s);
    reply(s, "220 sink ESMTP smtpguard sink");
    go_on(s);
}

void sink_end_sessions(struct sink *sink)
{
    while (sink->sessions != NULL)
        session_end(sink->sessions);
}
