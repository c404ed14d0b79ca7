#include "tests/fakebackend.h"

#include "base/buf.h"
#include "tests/t.h"
#include "tls/conn.h"

#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

enum { VISITS_MAX = 200, BYTES_MAX = 64 * 1024 * 1024 };

enum verb {
    CONNECT,
    EHLO,
    LHLO,
    HELO,
    STARTTLS,
    XCLIENT,
    AUTH,
    RESPONSE,
    MAIL,
    RCPT,
    DATA,
    BDAT,
    BODY,
    DOT,
    RSET,
    NOOP,
    QUIT,
    VERBS
};

static const char *const verbs[VERBS] = {"CONNECT", "EHLO",     "LHLO", "HELO", "STARTTLS", "XCLIENT",
                                         "AUTH",    "RESPONSE", "MAIL", "RCPT", "DATA",     "BDAT",
                                         "BODY",    "DOT",      "RSET", "NOOP", "QUIT"};

static const char *const usual[VERBS] = {
    [CONNECT] = "220 fake ESMTP\r\n",
    [HELO] = "250 fake\r\n",
    [STARTTLS] = "220 2.0.0 Go\r\n",
    [XCLIENT] = "220 fake again\r\n",
    [AUTH] = "235 2.7.0 Ok\r\n",
    [RESPONSE] = "235 2.7.0 Ok\r\n",
    [MAIL] = "250 2.1.0 Ok\r\n",
    [RCPT] = "250 2.1.5 Ok\r\n",
    [DATA] = "354 Go\r\n",
    [BDAT] = "",
    [BODY] = "",
    [DOT] = "250 2.0.0 Taken\r\n",
    [RSET] = "250 2.0.0 Ok\r\n",
    [NOOP] = "250 2.0.0 Ok\r\n",
    [QUIT] = "221 2.0.0 Bye\r\n!close",
};

/* One connection. */
struct visit {
    struct fakebackend *fake;
    struct conn *conn;
    unsigned number, counts[VERBS];
    struct buf in;
    bool in_body, body_seen, by_chunk, introduced, paused, lmtp, challenged;
    unsigned recipients; /* accepted in this transaction */
    uint64_t chunk;
};

struct fakebackend {
    struct loop *loop;
    struct listener *listener;
    struct endpoint at;
    struct tls_context *tls;
    const char *const *rules;
    const char *offer, *offer_after_xclient;
    struct visit visits[VISITS_MAX];
    unsigned count, taken, heard[VERBS];
    struct buf message, commands;
};

/* ---- replies ---- */

static bool rule_fits(const char *rule, const struct visit *v, const char *verb, unsigned count)
{
    size_t n = strlen(verb);

    if (ascii_is_digit(rule[0])) {
        if ((unsigned)(rule[0] - '0') != v->number)
            return false;
        rule += 2;
    }
    if (strncmp(rule, verb, n) != 0)
        return false;
    return rule[n] == '=' || (rule[n] == '#' && (unsigned)(rule[n + 1] - '0') == count);
}

static const char *rule_for(const struct visit *v, enum verb verb)
{
    for (size_t i = 0; v->fake->rules != NULL && v->fake->rules[i] != NULL; i++)
        if (rule_fits(v->fake->rules[i], v, verbs[verb], v->counts[verb]))
            return strchr(v->fake->rules[i], '=') + 1;
    return NULL;
}

static void say(struct visit *v, struct str text)
{
    struct iovec piece = {(void *)text.p, text.n};

    if (piece.iov_len > 0)
        conn_write(v->conn, &piece, 1);
}

static void say_usual(struct visit *v, enum verb verb)
{
    char text[1000];

    if (verb == EHLO || verb == LHLO)
        snprintf(text, sizeof(text), "250-fake\r\n%s250 HELP\r\n",
                 v->introduced ? v->fake->offer_after_xclient : v->fake->offer);
    else
        snprintf(text, sizeof(text), "%s", usual[verb]);
    say(v, str_upto(str_of(text), strcspn(text, "!")));
}

static void pause_visit(struct visit *v, bool pause)
{
    v->paused = pause;
    if (pause)
        conn_pause(v->conn);
    else
        conn_resume(v->conn);
}

/* Returns whether the visitor was told yes. */
static bool reply(struct visit *v, enum verb verb)
{
    const char *rule, *text;
    struct str plain;
    bool yes;

    loop_stop(v->fake->loop);
    v->fake->heard[verb]++;
    v->counts[verb]++;
    rule = rule_for(v, verb);
    text = rule != NULL ? rule : usual[verb] != NULL ? usual[verb] : "";
    plain = str_upto(str_of(text), strcspn(text, "!"));
    v->challenged = str_starts(plain, STR("334 "));
    yes = rule == NULL || *rule == '+' || *rule == '2' || (verb == DATA && *rule == '3');
    if (rule == NULL || *rule == '+') {
        say(v, *text == '+' ? str_from(plain, 1) : STR(""));
        say_usual(v, verb);
    } else {
        say(v, plain);
    }
    if (strstr(text, "!close") != NULL)
        conn_close(&v->conn);
    else if (strstr(text, "!pause") != NULL)
        pause_visit(v, true);
    return yes;
}

/* ---- messages ---- */

/* A dot that begins a line goes (RFC 5321 4.5.2). */
static void keep_message(struct fakebackend *fake, struct str wire, bool has_dots)
{
    bool at_line_start = true;

    buf_clear(&fake->message);
    for (size_t i = 0; i < wire.n; i++) {
        if (!(has_dots && at_line_start && wire.p[i] == '.'))
            buf_add_char(&fake->message, wire.p[i]);
        at_line_start = wire.p[i] == '\n';
    }
}

/* How many octets of what has come are the message and its end; 0: not all of it is there. */
static size_t message_end(const struct visit *v, size_t *text_out)
{
    struct str in = buf_str(&v->in);

    if (v->by_chunk) {
        *text_out = v->chunk;
        return in.n >= v->chunk ? v->chunk : 0;
    }
    if (str_eq(in, STR(".\r\n"))) {
        *text_out = 0;
        return in.n;
    }
    *text_out = in.n - 3;
    return in.n >= 5 && memcmp(in.p + in.n - 5, "\r\n.\r\n", 5) == 0 ? in.n : 0;
}

static bool take_body(struct visit *v)
{
    size_t text, all;

    if (v->in.n == 0 && !(v->by_chunk && v->chunk == 0))
        return false;
    if (!v->body_seen) {
        v->body_seen = true;
        reply(v, BODY);
        if (v->conn == NULL || v->paused)
            return false;
    }
    all = message_end(v, &text);
    if (all == 0 && !(v->by_chunk && v->chunk == 0))
        return false;
    keep_message(v->fake, str_upto(buf_str(&v->in), text), !v->by_chunk);
    buf_consume(&v->in, all);
    v->in_body = false;
    for (unsigned i = 0; i < (v->lmtp ? v->recipients : 1) && v->conn != NULL; i++)
        v->fake->taken += reply(v, DOT);
    return v->conn != NULL && !v->paused;
}

/* ---- commands ---- */

static void obey(struct visit *v, enum verb verb, struct str line)
{
    struct str word, rest;

    v->in_body = verb == DATA || verb == BDAT;
    v->by_chunk = verb == BDAT;
    v->body_seen = false;
    v->lmtp = v->lmtp || verb == LHLO;
    v->recipients = verb == MAIL ? 0 : v->recipients + (verb == RCPT);
    if (verb == XCLIENT)
        v->introduced = true;
    if (verb == STARTTLS)
        conn_start_tls_server(v->conn, v->fake->tls);
    if (verb == BDAT && (!str_cut(line, ' ', &word, &rest) || !str_cut(rest, ' ', &word, &rest) ||
                         !str_to_u64(word, UINT64_MAX, &v->chunk) || !str_eq(rest, STR("LAST"))))
        t_fail("the fake backend does not understand \"%.*s\"", STR_ARG(line));
}

static void take_command(struct visit *v, struct str line)
{
    struct str word, rest;
    unsigned verb = EHLO;

    buf_fmt(&v->fake->commands, "%u %.*s\n", v->number, STR_ARG(line));
    str_cut(line, ' ', &word, &rest);
    while (verb < VERBS && !str_eq_z(word, verbs[verb]))
        verb++;
    if (v->challenged)
        verb = RESPONSE;
    if (verb == VERBS)
        t_fail("the fake backend does not know \"%.*s\"", STR_ARG(line));
    if ((reply(v, (enum verb)verb) || verb == BDAT) &&
        v->conn != NULL) /* a refused chunk comes all the same */
        obey(v, (enum verb)verb, line);
}

static bool take_line(struct visit *v)
{
    struct str in = buf_str(&v->in);
    size_t end = str_find(in, '\n');
    char line[4096];

    if (end == in.n)
        return false;
    if (end == 0 || in.p[end - 1] != '\r' || end > sizeof(line))
        t_fail("the fake backend got a line that is none");
    memcpy(line, in.p, end - 1);
    buf_consume(&v->in, end + 1);
    take_command(v, str_make(line, end - 1));
    return v->conn != NULL && !v->paused;
}

/* ---- connections ---- */

static void take_input(struct visit *v)
{
    while (v->in_body ? take_body(v) : take_line(v))
        continue;
}

static void on_data(const char *bytes, size_t n, void *arg)
{
    struct visit *v = arg;

    buf_add(&v->in, bytes, n);
    if (!v->paused)
        take_input(v);
}

static void on_tls(void *arg)
{
    struct visit *v = arg;

    loop_stop(v->fake->loop);
}

static void on_end(int error, const char *why, void *arg)
{
    struct visit *v = arg;

    (void)error;
    (void)why;
    loop_stop(v->fake->loop);
    conn_close(&v->conn);
}

static void on_accept(int fd, const struct endpoint *peer, void *arg)
{
    static const struct conn_events events = {NULL, on_data, NULL, on_tls, on_end};
    struct fakebackend *fake = arg;
    struct visit *v = &fake->visits[fake->count++];

    (void)peer;
    if (fake->count > VISITS_MAX)
        t_fail("more than %d connections", VISITS_MAX);
    v->fake = fake;
    v->number = fake->count;
    buf_init(&v->in, BYTES_MAX);
    v->conn = conn_accept(fake->loop, fd, &events, v);
    reply(v, CONNECT);
}

static struct endpoint name_of(int fd)
{
    struct sockaddr_storage addr;
    socklen_t length = sizeof(addr);
    struct endpoint at = {0};

    t_same_int(getsockname(fd, (struct sockaddr *)&addr, &length), 0);
    endpoint_from_sockaddr((struct sockaddr *)&addr, &at);
    return at;
}

struct fakebackend *fakebackend_new(struct loop *loop)
{
    struct endpoint any_port = {.ip = {.family = 4, .b = {127, 0, 0, 1}}};
    struct fakebackend *fake = calloc(1, sizeof(*fake));
    struct fail fail = {0};
    int fd = listener_bind(&any_port, &fail);

    if (fake == NULL || fd < 0)
        t_fail("no fake backend: %s", fail.text);
    fake->loop = loop;
    fake->at = name_of(fd);
    fake->offer = fake->offer_after_xclient = "";
    buf_init(&fake->message, BYTES_MAX);
    buf_init(&fake->commands, BYTES_MAX);
    fake->listener = listener_start(loop, fd, on_accept, fake);
    return fake;
}

void fakebackend_hang_up(struct fakebackend *fake)
{
    for (unsigned i = 0; i < fake->count; i++)
        conn_close(&fake->visits[i].conn);
}

void fakebackend_free(struct fakebackend **fake)
{
    struct fakebackend *f = *fake;

    if (f == NULL)
        return;
    *fake = NULL;
    fakebackend_hang_up(f);
    listener_stop(&f->listener);
    for (unsigned i = 0; i < f->count; i++)
        buf_fini(&f->visits[i].in);
    buf_fini(&f->message);
    buf_fini(&f->commands);
    free(f);
}

struct endpoint fakebackend_at(const struct fakebackend *fake)
{
    return fake->at;
}

void fakebackend_close_door(struct fakebackend *fake)
{
    listener_stop(&fake->listener);
}

void fakebackend_rules(struct fakebackend *fake, const char *const *rules)
{
    fake->rules = rules;
}

void fakebackend_offer(struct fakebackend *fake, const char *lines)
{
    fake->offer = fake->offer_after_xclient = lines;
}

void fakebackend_offer_after_xclient(struct fakebackend *fake, const char *lines)
{
    fake->offer_after_xclient = lines;
}

void fakebackend_tls(struct fakebackend *fake, struct tls_context *context)
{
    fake->tls = context;
}

void fakebackend_read_on(struct fakebackend *fake)
{
    for (unsigned i = 0; i < fake->count; i++) {
        struct visit *v = &fake->visits[i];

        if (v->conn == NULL || !v->paused)
            continue;
        pause_visit(v, false);
        take_input(v);
    }
}

unsigned fakebackend_visits(const struct fakebackend *fake)
{
    return fake->count;
}

unsigned fakebackend_open(const struct fakebackend *fake)
{
    unsigned open = 0;

    for (unsigned i = 0; i < fake->count; i++)
        open += fake->visits[i].conn != NULL;
    return open;
}

unsigned fakebackend_taken(const struct fakebackend *fake)
{
    return fake->taken;
}

unsigned fakebackend_heard(const struct fakebackend *fake, const char *verb)
{
    for (unsigned i = 0; i < VERBS; i++)
        if (strcmp(verbs[i], verb) == 0)
            return fake->heard[i];
    t_fail("\"%s\" is no verb", verb);
}

struct str fakebackend_message(const struct fakebackend *fake)
{
    return buf_str(&fake->message);
}

struct str fakebackend_commands(const struct fakebackend *fake)
{
    return buf_str(&fake->commands);
}
