#include "proxy/relay.h"

#include "base/bug.h"
#include "base/log.h"
#include "base/metric.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * A link is one connection to a backend. It is opened for a relay, serves one transaction after the other,
 * and rests in its backend's pool between them. A relay is one transaction's view of it, with the memory of
 * what has been answered.
 *
 * A road not taken: speaking to two backends in one transaction (a 4xx after one of them has taken the
 * message would make a duplicate).
 */

enum {
    BACKOFF_FIRST_MS = 1000,
    BACKOFF_MOST_MS = 60000,
    IDLE_MS = 60000,
    USES_MAX = 1000,
    NO_TLS_MS = 300000
};
/* Postfix slows a connection down from its 10th error on, ends it at the 20th, and counts RSET as one after
 * 100 of them. */
enum { REFUSALS_MAX = 5, RESETS_MAX = 50 };
enum { PIECES_A_WRITE = 32, BYTES_A_WRITE = 64 * 1024 };

struct backend {
    const struct backend_settings *settings;
    struct smtp_capabilities capabilities;
    bool is_known;     /* we have heard its EHLO */
    struct link *pool; /* resting links, the most recently used first */
    unsigned pooled;
    int64_t down_until_ms, no_tls_until_ms;
    unsigned failures;                     /* in a row */
    bool xclient_refused, xclient_missing; /* and that was said: once, not at every connection */
    struct metric *up, *opened;
};

struct backends {
    struct loop *loop;
    const struct config *config;
    struct tls_context *tls;
    struct tls_context *tls_verify; /* NULL when no backend is to be verified */
    struct backend *list;
    size_t count;
    struct link *resetting; /* links without a relay that wait for the answer to RSET */
};

enum link_state { LINK_OPENING, LINK_IDENTIFYING, LINK_BUSY, LINK_RESETTING, LINK_RESTING };

struct link {
    struct backends *backends;
    struct backend *backend;
    struct relay *relay; /* NULL while resetting or resting */
    struct conn *conn;
    struct smtp_client *dialogue;
    struct buf out;
    enum link_state state;
    struct timer deadline;
    struct later burial;
    struct link *next;
    char identity[512]; /* of the last XCLIENT: the same client need not be introduced twice */
    unsigned uses;
    unsigned refusals, resets; /* since the last message that was taken */
    bool reused, heard, closed;
};

enum relay_state {
    RELAY_UNUSED,
    RELAY_WAITS_RCPT,
    RELAY_OPEN,
    RELAY_WAITS_DATA,
    RELAY_SENDING,
    RELAY_WAITS_MESSAGE,
    RELAY_OVER
};

struct relay {
    struct arena *mem;
    struct backends *backends;
    struct relay_ask ask;
    relay_fn *answer;
    void *arg;
    enum relay_state state;
    struct link *link;
    struct str recipient, recipient_dsn; /* the one whose answer is due */
    bool *tried;                         /* for each backend, whether it was asked for this transaction */
    bool answered; /* at least one reply went to the session: no second connection any more */
    bool mail_done;
    int refused_code; /* the backend's answer to MAIL, when it was a refusal: each recipient gets it */
    const char *refused_enhanced;
    struct str refused_text;
    struct later again; /* answers that need no waiting, and connections that must be tried anew */
    const char *trouble;
    struct relay_message message;
    size_t next_piece;
    struct smtp_data_encoder encoder;
    bool by_chunk; /* BDAT: the octets leave as they are */
    struct str unsent;
};

/* ---- backends ---- */

/* Without it (no CA certificates) those backends get nothing, which `begin` says of each. */
static struct tls_context *verifying_context(const struct config *config)
{
    struct tls_context *context = NULL;
    struct fail fail;

    for (size_t i = 0; i < config->backends_count && context == NULL; i++)
        if (config->backends[i].tls == BACKEND_TLS_VERIFY &&
            (context = tls_client_context(TLS_VERIFY_NAME, &fail)) == NULL) {
            log_note(LOG_ERROR, "backend.tls", "%s", fail.text);
            return NULL;
        }
    return context;
}

struct backends *backends_new(struct loop *loop, const struct config *config, struct tls_context *tls)
{
    struct backends *b = calloc(1, sizeof(*b));
    char labels[128];

    if (b == NULL || (b->list = calloc(config->backends_count, sizeof(*b->list))) == NULL)
        out_of_memory();
    b->loop = loop;
    b->config = config;
    b->tls = tls != NULL ? tls_context_ref(tls) : NULL;
    b->tls_verify = verifying_context(config);
    b->count = config->backends_count;
    for (size_t i = 0; i < b->count; i++) {
        struct backend *backend = &b->list[i];

        backend->settings = &config->backends[i];
        snprintf(labels, sizeof(labels), "address=\"%s\"", backend->settings->address);
        backend->up = metric_gauge("smtpguard_upstream_up",
                                   "1 while the backend could be reached at the last try.", labels);
        backend->opened =
            metric_counter("smtpguard_upstream_opened_total", "Connections opened to the backend.", labels);
        metric_set(backend->up, 1);
    }
    return b;
}

static void close_link(struct link *link);

void backends_free(struct backends **backends)
{
    struct backends *b = *backends;

    if (b == NULL)
        return;
    *backends = NULL;
    for (size_t i = 0; i < b->count; i++)
        while (b->list[i].pool != NULL)
            close_link(b->list[i].pool);
    while (b->resetting != NULL)
        close_link(b->resetting);
    tls_context_unref(&b->tls);
    tls_context_unref(&b->tls_verify);
    free(b->list);
    free(b);
}

struct backends_offer backends_offer(const struct backends *backends)
{
    struct backends_offer offer = {.eightbitmime = true, .smtputf8 = true, .dsn = true};

    for (size_t i = 0; i < backends->count; i++) {
        const struct smtp_capabilities *can = &backends->list[i].capabilities;

        if (!backends->list[i].is_known)
            continue;
        offer.known = true;
        offer.eightbitmime = offer.eightbitmime && can->eightbitmime;
        offer.smtputf8 = offer.smtputf8 && can->smtputf8;
        offer.dsn = offer.dsn && can->dsn;
        if (can->size_max > 0 && (offer.size_max == 0 || can->size_max < offer.size_max))
            offer.size_max = can->size_max;
    }
    offer.smtputf8 = offer.smtputf8 && offer.known;
    offer.dsn = offer.dsn && offer.known;
    return offer;
}

static void backend_failed(struct backends *b, struct backend *backend, const char *why)
{
    int64_t wait = BACKOFF_FIRST_MS;

    for (unsigned i = 0; i < backend->failures && wait < BACKOFF_MOST_MS; i++)
        wait *= 2;
    if (backend->failures++ == 0) {
        metric_set(backend->up, 0);
        log_note(LOG_WARNING, "backend.down", "%s: %s", backend->settings->address, why);
    }
    if (wait > BACKOFF_MOST_MS)
        wait = BACKOFF_MOST_MS;
    /* Workers must not all come back in the same moment: between half and all of it. */
    backend->down_until_ms = loop_now_ms(b->loop) + wait / 2 + random() % (wait / 2);
}

static void backend_works(struct backend *backend)
{
    if (backend->failures == 0)
        return;
    backend->failures = 0;
    backend->down_until_ms = 0;
    metric_set(backend->up, 1);
    log_note(LOG_INFO, "backend.up", "%s is back", backend->settings->address);
}

/* ---- links ---- */

static struct link **list_of(struct link *link)
{
    if (link->state == LINK_RESTING)
        return &link->backend->pool;
    return link->state == LINK_RESETTING ? &link->backends->resetting : NULL;
}

static void unlist(struct link *link)
{
    struct link **at = list_of(link);

    for (; at != NULL && *at != NULL; at = &(*at)->next)
        if (*at == link) {
            *at = link->next;
            link->backend->pooled -= link->state == LINK_RESTING;
            return;
        }
}

static void bury_link(void *arg)
{
    struct link *link = arg;

    smtp_client_free(&link->dialogue);
    buf_fini(&link->out);
    free(link);
}

static void close_link(struct link *link)
{
    if (link->closed)
        return;
    unlist(link);
    link->closed = true;
    link->relay = NULL;
    timer_stop(&link->deadline);
    conn_close(&link->conn);
    later_start(&link->burial, link->backends->loop, bury_link, link);
}

/* QUIT is a courtesy: nobody waits for its answer. */
static void dismiss_link(struct link *link)
{
    smtp_client_quit(link->dialogue);
    conn_write_buf(link->conn, &link->out);
    close_link(link);
}

static void link_broke(struct link *link, const char *why);

static void on_deadline(void *arg)
{
    struct link *link = arg;

    if (link->state == LINK_RESTING)
        dismiss_link(link);
    else
        link_broke(link,
                   link->state == LINK_OPENING ? "no answer to the connection in time" : "no reply in time");
}

/* While the connection opens, one deadline holds for all of it. */
static void await_reply(struct link *link)
{
    if (link->state != LINK_OPENING)
        timer_start(&link->deadline, link->backends->loop, link->backend->settings->reply_timeout_ms,
                    on_deadline, link);
}

static void flush(struct link *link)
{
    if (link->out.n > 0) {
        conn_write_buf(link->conn, &link->out);
        await_reply(link);
    }
}

/* Postfix asks its list of who may use XCLIENT again after each one, and then it is the client that was
 * introduced whom it looks up: nobody else can be introduced on that connection, and it must not serve
 * anybody else. */
static bool is_bound(const struct link *link)
{
    return link->identity[0] != '\0' && !smtp_client_capabilities(link->dialogue)->xclient;
}

/* The next client shall not pay for the errors of those before it. */
static bool is_spent(const struct link *link)
{
    return link->uses >= USES_MAX || link->refusals >= REFUSALS_MAX || link->resets >= RESETS_MAX ||
           is_bound(link);
}

static void rest(struct link *link)
{
    struct backend *backend = link->backend;

    link->relay = NULL;
    link->uses++;
    if (is_spent(link) || backend->pooled >= backend->settings->pool ||
        !smtp_client_is_idle(link->dialogue)) {
        dismiss_link(link);
        return;
    }
    unlist(link);
    link->state = LINK_RESTING;
    link->reused = true;
    link->next = backend->pool;
    backend->pool = link;
    backend->pooled++;
    buf_fini(&link->out);
    timer_start(&link->deadline, link->backends->loop, IDLE_MS, on_deadline, link);
}

/* ---- answers to the session ---- */

/* A backend that closes its session with us (421) does not close the client's. */
static void give(struct relay *relay, const struct relay_reply *reply)
{
    struct relay_reply out = *reply;

    if (out.code == 421)
        out.code = 451;
    relay->answered = true;
    relay->answer(&out, relay->arg);
}

static void give_ours(struct relay *relay, const char *text)
{
    struct relay_reply reply = {.code = 451,
                                .enhanced = "4.3.0",
                                .text = str_of(text),
                                .ours = true,
                                .backend =
                                    relay->link != NULL ? relay->link->backend->settings->address : NULL};

    give(relay, &reply);
}

static void give_reply(struct relay *relay, const struct smtp_reply *reply)
{
    char enhanced[16];
    struct relay_reply out = {.code = reply->code,
                              .enhanced = enhanced,
                              .text = reply->text,
                              .backend = relay->link->backend->settings->address};

    snprintf(enhanced, sizeof(enhanced), "%.*s", STR_ARG(reply->enhanced));
    give(relay, &out);
}

/* ---- finding a connection ---- */

/* The healthy ones, in the settings' order, and then, rather than giving up, the others; nobody is asked
 * twice. */
static struct backend *choose(struct relay *relay)
{
    struct backends *b = relay->backends;
    int64_t now = loop_now_ms(b->loop);

    for (int pass = 0; pass < 2; pass++)
        for (size_t i = 0; i < b->count; i++) {
            bool is_healthy = b->list[i].down_until_ms <= now;

            if (relay->tried[i] || (pass == 0 && !is_healthy))
                continue;
            relay->tried[i] = true;
            return &b->list[i];
        }
    return NULL;
}

static void begin(struct link *link);
static void open_link(struct relay *relay, struct backend *backend);

static void find_link(struct relay *relay)
{
    struct backend *backend = choose(relay);
    struct link *link;

    if (backend == NULL) {
        relay->state = RELAY_OVER;
        give_ours(relay, "The mail server behind this one cannot be reached, try again later");
        return;
    }
    if (backend->pool == NULL) {
        open_link(relay, backend);
        return;
    }
    link = backend->pool;
    unlist(link);
    link->relay = relay;
    link->heard = false;
    relay->link = link;
    begin(link);
}

static void on_again(void *arg)
{
    struct relay *relay = arg;
    struct relay_reply refused = {
        .code = relay->refused_code, .enhanced = relay->refused_enhanced, .text = relay->refused_text};

    if (relay->refused_code != 0)
        give(relay, &refused);
    else if (relay->state == RELAY_OVER || relay->answered)
        give_ours(relay, relay->trouble != NULL ? relay->trouble
                                                : "The mail server behind this one is gone, try again later");
    else
        find_link(relay);
}

static bool is_waiting(const struct relay *relay)
{
    switch (relay->state) {
    case RELAY_WAITS_RCPT:
    case RELAY_WAITS_DATA:
    case RELAY_SENDING:
    case RELAY_WAITS_MESSAGE:
        return true;
    default:
        return false;
    }
}

/* The connection is of no more use. Before the session heard anything, another one may do the same work. */
static void link_broke(struct link *link, const char *why)
{
    struct relay *relay = link->relay;
    struct backend *backend = link->backend;
    bool stale = link->reused && !link->heard;
    bool waiting = relay != NULL && is_waiting(relay);

    if (link->closed)
        return;
    if (!stale && link->state != LINK_RESTING && link->state != LINK_RESETTING)
        backend_failed(link->backends, backend, why);
    if (relay != NULL)
        relay->link = NULL;
    close_link(link);
    if (relay == NULL)
        return;
    if (stale)
        relay->tried[backend - link->backends->list] = false; /* the backend itself has not failed */
    if (relay->answered || relay->state != RELAY_WAITS_RCPT)
        relay->state = RELAY_OVER;
    if (waiting)
        later_start(&relay->again, relay->backends->loop, on_again, relay);
}

/* ---- events of the dialogue ---- */

static bool is_introduced(const struct link *link)
{
    const struct smtp_identity *who = &link->relay->ask.client;
    char text[sizeof(link->identity)];

    snprintf(text, sizeof(text), "%s %u %s %s %d", who->addr, who->port, who->name != NULL ? who->name : "",
             who->helo != NULL ? who->helo : "", who->esmtp);
    return strcmp(text, link->identity) == 0;
}

static void introduce(struct link *link)
{
    const struct smtp_identity *who = &link->relay->ask.client;

    snprintf(link->identity, sizeof(link->identity), "%s %u %s %s %d", who->addr, who->port,
             who->name != NULL ? who->name : "", who->helo != NULL ? who->helo : "", who->esmtp);
    link->state = LINK_IDENTIFYING;
    smtp_client_identify(link->dialogue, who);
}

static void say_rcpt(struct link *link)
{
    const struct relay *relay = link->relay;
    bool dsn = smtp_client_capabilities(link->dialogue)->dsn;

    smtp_client_rcpt(link->dialogue, relay->recipient, dsn ? relay->recipient_dsn : STR(""));
}

static void say_mail(struct link *link)
{
    const struct smtp_capabilities *can = smtp_client_capabilities(link->dialogue);
    struct relay *relay = link->relay;
    const char *parameters = str_fmt(relay->mem, "%s%.*s", relay->ask.smtputf8 ? " SMTPUTF8" : "",
                                     STR_ARG(can->dsn ? relay->ask.dsn : STR("")));

    link->state = LINK_BUSY;
    smtp_client_mail(link->dialogue, relay->ask.mail_from, relay->ask.size, relay->ask.eightbit,
                     str_of(parameters));
    say_rcpt(link);
}

/* RFC 6531 3.2: where the next hop cannot take it as it is, it is refused; nothing is ever downgraded. */
static bool cannot_take_utf8(struct link *link)
{
    struct relay *relay = link->relay;

    if (!relay->ask.smtputf8 || smtp_client_capabilities(link->dialogue)->smtputf8)
        return false;
    relay->refused_code = 550;
    relay->refused_enhanced = "5.6.7";
    relay->refused_text =
        STR("The mail server behind this one does not take internationalized mail (SMTPUTF8)");
    relay->state = RELAY_OPEN;
    link->state = LINK_BUSY;
    later_start(&relay->again, relay->backends->loop, on_again, relay);
    return true;
}

/* The dialogue is ready for a transaction, on a fresh connection or on a kept one. */
static void begin(struct link *link)
{
    const struct smtp_capabilities *can = smtp_client_capabilities(link->dialogue);
    enum backend_tls wants = link->backend->settings->tls;

    if ((wants == BACKEND_TLS_REQUIRE || wants == BACKEND_TLS_VERIFY) && conn_tls(link->conn) == NULL) {
        link_broke(link, "it does not offer STARTTLS, which the settings require");
        return;
    }
    if (cannot_take_utf8(link))
        return;
    if (link->backend->settings->pass_client == PASS_XCLIENT && can->xclient && !is_introduced(link))
        introduce(link);
    else
        say_mail(link);
    flush(link);
}

static void note_xclient(struct backend *backend)
{
    bool missing = backend->settings->pass_client == PASS_XCLIENT && !backend->capabilities.xclient;

    if (missing && !backend->xclient_missing)
        log_note(LOG_WARNING, "backend.xclient",
                 "%s does not offer XCLIENT: it takes us for the client of all mail "
                 "(smtpd_authorized_xclient_hosts?)",
                 backend->settings->address);
    backend->xclient_missing = missing;
}

static void on_ready_link(struct link *link)
{
    backend_works(link->backend);
    link->backend->capabilities = *smtp_client_capabilities(link->dialogue);
    link->backend->is_known = true;
    note_xclient(link->backend);
    link->state = LINK_BUSY;
    begin(link);
}

/* A backend that does not let us introduce clients gets the mail all the same; who it thinks has sent it is
 * in its log. */
static void on_identified(struct link *link, const struct smtp_reply *reply)
{
    if (reply->code >= 400 && !link->backend->xclient_refused)
        log_note(LOG_WARNING, "backend.xclient",
                 "%s refuses XCLIENT: %d %.*s (smtpd_authorized_xclient_hosts?)",
                 link->backend->settings->address, reply->code, STR_ARG(reply->text));
    link->backend->xclient_refused = reply->code >= 400;
    say_mail(link);
}

static void on_mail(struct link *link, const struct smtp_reply *reply)
{
    struct relay *relay = link->relay;

    relay->mail_done = true;
    if (reply->code < 300)
        return; /* the recipient's answer follows */
    relay->refused_code = reply->code;
    relay->refused_enhanced = str_dup(relay->mem, reply->enhanced);
    relay->refused_text = str_copy(relay->mem, reply->text);
}

static void on_rcpt(struct link *link, const struct smtp_reply *reply)
{
    struct relay *relay = link->relay;
    struct relay_reply refused = {.code = relay->refused_code,
                                  .enhanced = relay->refused_enhanced,
                                  .text = relay->refused_text,
                                  .backend = link->backend->settings->address};

    relay->state = RELAY_OPEN;
    if (relay->refused_code != 0)
        give(relay, &refused);
    else
        give_reply(relay, reply);
}

static void pump(struct link *link);

static void begin_sending(struct link *link, bool by_chunk)
{
    struct relay *relay = link->relay;

    relay->state = RELAY_SENDING;
    relay->by_chunk = by_chunk;
    relay->encoder = (struct smtp_data_encoder){.at_line_start = true};
    relay->next_piece = 0;
    relay->unsent = (struct str){0};
    spool_rewind(relay->message.spool);
    pump(link);
}

static void on_data_answer(struct link *link, const struct smtp_reply *reply)
{
    if (reply->code == 354) {
        begin_sending(link, false);
        return;
    }
    link->relay->state = RELAY_OVER;
    give_reply(link->relay, reply);
}

static void on_message(struct link *link, const struct smtp_reply *reply)
{
    struct relay *relay = link->relay;
    struct relay_reply copy = {.code = reply->code,
                               .enhanced = str_dup(relay->mem, reply->enhanced),
                               .text = str_copy(relay->mem, reply->text),
                               .backend = link->backend->settings->address};

    /* A chunk can be refused before all of it was sent; nothing can be taken before. */
    bool unfinished = relay->state == RELAY_SENDING || conn_queued(link->conn) > 0;

    if (reply->code < 300)
        link->refusals = link->resets = 0;
    if (unfinished && reply->code < 300) {
        link_broke(link, "it took a message that was not sent yet");
        return;
    }
    relay->state = RELAY_OVER;
    relay->link = NULL;
    if (unfinished)
        close_link(link);
    else
        rest(link); /* first: the answer may end the session, and then the connection must be back already */
    give(relay, &copy);
}

/* A link without a relay hears only the answer to its RSET, and what a backend says when it goes. */
static bool without_relay(struct link *link, const struct smtp_client_event *event)
{
    if (event->kind == SMTP_CLIENT_RESET && link->state == LINK_RESETTING)
        rest(link);
    else
        close_link(link);
    return !link->closed && link->state != LINK_RESTING;
}

/* Backends are addresses, so it is their address that a certificate must name. */
static void start_tls(struct link *link)
{
    char address[IP_TEXT_MAX];

    if (link->backend->settings->tls == BACKEND_TLS_VERIFY)
        conn_start_tls_client(link->conn, link->backends->tls_verify,
                              ip_format(&link->backend->settings->endpoint.ip, address));
    else
        conn_start_tls_client(link->conn, link->backends->tls, NULL);
}

static void handle(struct link *link, const struct smtp_client_event *event)
{
    char why[300];

    /* A backend that had enough of waiting says 421 to whatever comes next; that is no answer to it. */
    if (event->reply.code == 421 && link->reused && !link->heard) {
        link_broke(link, "it closed the connection (421)");
        return;
    }
    link->heard = true;
    link->refusals += event->reply.code >= 400;
    switch (event->kind) {
    case SMTP_CLIENT_STARTTLS:
        start_tls(link);
        break;
    case SMTP_CLIENT_READY:
        on_ready_link(link);
        break;
    case SMTP_CLIENT_IDENTIFIED:
        on_identified(link, &event->reply);
        break;
    case SMTP_CLIENT_MAIL:
        on_mail(link, &event->reply);
        break;
    case SMTP_CLIENT_RCPT:
        on_rcpt(link, &event->reply);
        break;
    case SMTP_CLIENT_DATA:
        on_data_answer(link, &event->reply);
        break;
    case SMTP_CLIENT_MESSAGE:
        on_message(link, &event->reply);
        break;
    case SMTP_CLIENT_REFUSED:
        snprintf(why, sizeof(why), "it refuses us: %d %.*s", event->reply.code,
                 STR_ARG(str_upto(event->reply.text, 200)));
        link_broke(link, why);
        break;
    case SMTP_CLIENT_BROKEN:
        link_broke(link, event->why);
        break;
    default:
        link_broke(link, "an answer that nobody waits for");
        break;
    }
}

static void run_events(struct link *link)
{
    struct smtp_client_event event;

    while (!link->closed) {
        smtp_client_next(link->dialogue, &event);
        if (event.kind == SMTP_CLIENT_NEED_INPUT)
            break;
        if (link->relay != NULL)
            handle(link, &event);
        else if (!without_relay(link, &event))
            return;
    }
    if (link->closed || link->state == LINK_RESTING)
        return;
    flush(link);
    if (link->state == LINK_BUSY && smtp_client_replies_due(link->dialogue) == 0 && link->relay != NULL &&
        link->relay->state != RELAY_SENDING)
        timer_stop(&link->deadline); /* the client's turn */
}

static void on_conn_connect(void *arg)
{
    (void)arg; /* the backend speaks first */
}

static void on_conn_data(const char *bytes, size_t n, void *arg)
{
    struct link *link = arg;

    smtp_client_feed(link->dialogue, bytes, n);
    run_events(link);
}

static void on_conn_tls(void *arg)
{
    struct link *link = arg;

    smtp_client_tls_started(link->dialogue);
    run_events(link);
}

static void on_conn_drain(void *arg)
{
    struct link *link = arg;

    if (link->relay != NULL && link->relay->state == RELAY_SENDING)
        pump(link);
}

/* When TLS was only an opportunity, its failure costs a connection without it, not the mail. */
static void on_conn_end(int error, const char *why, void *arg)
{
    struct link *link = arg;
    struct backend *backend = link->backend;

    if (error == -1 && backend->settings->tls == BACKEND_TLS_OPPORTUNISTIC && link->relay != NULL) {
        backend->no_tls_until_ms = loop_now_ms(link->backends->loop) + NO_TLS_MS;
        link->reused = true; /* as with a stale connection: once more, without blame */
        link->heard = false;
        log_note(LOG_WARNING, "backend.tls", "%s: %s; going on without TLS", backend->settings->address, why);
    }
    link_broke(link, error == 0 ? "it closed the connection" : why);
}

/* Between two programs on one machine TLS protects nothing, so "opportunistic" does not ask for it there. */
static bool wants_tls(struct backends *b, const struct backend *backend)
{
    switch (backend->settings->tls) {
    case BACKEND_TLS_NEVER:
        return false;
    case BACKEND_TLS_OPPORTUNISTIC:
        return b->tls != NULL && !ip_is_loopback(&backend->settings->endpoint.ip) &&
               backend->no_tls_until_ms <= loop_now_ms(b->loop);
    case BACKEND_TLS_VERIFY:
        return b->tls_verify != NULL;
    default:
        return b->tls != NULL;
    }
}

static void open_link(struct relay *relay, struct backend *backend)
{
    static const struct conn_events events = {on_conn_connect, on_conn_data, on_conn_drain, on_conn_tls,
                                              on_conn_end};
    struct backends *b = relay->backends;
    struct link *link = calloc(1, sizeof(*link));

    if (link == NULL)
        out_of_memory();
    *link = (struct link){.backends = b, .backend = backend, .relay = relay};
    buf_init(&link->out, 1024 * 1024);
    link->conn = conn_connect(b->loop, &backend->settings->endpoint, &events, link);
    if (link->conn == NULL) {
        free(link);
        relay->state = RELAY_OVER;
        later_start(&relay->again, b->loop, on_again, relay);
        return;
    }
    link->dialogue = smtp_client_new(b->config->hostname, wants_tls(b, backend), &link->out);
    relay->link = link;
    metric_add(backend->opened, 1);
    timer_start(&link->deadline, b->loop, backend->settings->connect_timeout_ms, on_deadline, link);
}

/* ---- the message ---- */

/* The next bytes of the message: the pieces in front, then the spool. */
static enum spool_status next_bytes(struct relay *relay)
{
    if (relay->unsent.n > 0)
        return SPOOL_PIECE;
    while (relay->next_piece < relay->message.count) {
        relay->unsent = relay->message.pieces[relay->next_piece++];
        if (relay->unsent.n > 0)
            return SPOOL_PIECE;
    }
    return spool_read(relay->message.spool, &relay->unsent);
}

/* What leaves in one write: our fields, the header, a small body and the final dot go out together. */
struct parcel {
    struct iovec pieces[PIECES_A_WRITE];
    int n;
    size_t bytes;
};

static bool is_full(const struct parcel *parcel)
{
    return parcel->n + 3 > PIECES_A_WRITE ||
           parcel->bytes >= BYTES_A_WRITE; /* a dot, a piece, and the end of it all */
}

static void pack(struct parcel *parcel, const void *bytes, size_t n)
{
    parcel->pieces[parcel->n++] = (struct iovec){(void *)bytes, n};
    parcel->bytes += n;
}

static void pack_encoded(struct parcel *parcel, struct relay *relay)
{
    struct str piece;
    bool dot;

    if (relay->by_chunk) {
        pack(parcel, relay->unsent.p, relay->unsent.n);
        relay->unsent = (struct str){0};
        return;
    }
    while (!is_full(parcel) && smtp_data_encode(&relay->encoder, &relay->unsent, &dot, &piece)) {
        if (dot)
            pack(parcel, ".", 1);
        pack(parcel, piece.p, piece.n);
    }
}

/* What the dialogue has to say is a part of the parcel by now. */
static void send_parcel(struct link *link, struct parcel *parcel)
{
    if (parcel->n > 0)
        conn_write(link->conn, parcel->pieces, parcel->n);
    buf_clear(&link->out);
    parcel->n = 0;
    parcel->bytes = 0;
}

static void send_end(struct link *link, struct parcel *parcel)
{
    struct relay *relay = link->relay;

    relay->state = RELAY_WAITS_MESSAGE;
    if (!relay->by_chunk) {
        smtp_client_message_sent(link->dialogue, relay->encoder.at_line_start);
        if (smtp_client_replies_due(link->dialogue) == 0) {
            link_broke(link, "it answered before the end of the message");
            return;
        }
        pack(parcel, link->out.p, link->out.n);
    }
    send_parcel(link, parcel);
}

/* Writes as long as the kernel takes it; goes on at on_drain or when the spool has read its file. What comes
 * from the file is good only until the next is asked for, so it leaves at once. */
static void pump(struct link *link)
{
    struct relay *relay = link->relay;
    struct parcel parcel = {.n = 0};

    await_reply(link);   /* progress: the deadline begins anew */
    if (link->out.n > 0) /* "BDAT n LAST" */
        pack(&parcel, link->out.p, link->out.n);
    while (conn_queued(link->conn) == 0) {
        switch (next_bytes(relay)) {
        case SPOOL_PIECE:
            pack_encoded(&parcel, relay);
            if (is_full(&parcel) || !spool_is_in_memory(relay->message.spool))
                send_parcel(link, &parcel);
            break;
        case SPOOL_WAIT:
            return;
        case SPOOL_END:
            send_end(link, &parcel);
            return;
        case SPOOL_ERROR: /* an unfinished message must never get its final dot */
            relay->trouble = "The message could not be read back from disk, try again later";
            link->reused = true;
            link->heard = false;
            link_broke(link, "cut: the message could not be read back");
            return;
        }
    }
}

/* ---- what the session calls ---- */

struct relay *relay_open(struct arena *mem, struct backends *backends, const struct relay_ask *ask,
                         relay_fn *answer, void *arg)
{
    struct relay *relay = ARENA_NEW(mem, struct relay);

    *relay = (struct relay){.mem = mem,
                            .backends = backends,
                            .ask = *ask,
                            .answer = answer,
                            .arg = arg,
                            .tried = ARENA_ARRAY(mem, bool, backends->count)};
    return relay;
}

void relay_rcpt(struct relay *relay, struct str recipient, struct str dsn)
{
    bool first = relay->state == RELAY_UNUSED;

    relay->recipient = recipient;
    relay->recipient_dsn = dsn;
    if (relay->state == RELAY_OVER || relay->refused_code != 0 || first) {
        if (first)
            relay->state = RELAY_WAITS_RCPT;
        later_start(&relay->again, relay->backends->loop, on_again, relay);
        return;
    }
    if (relay->link == NULL) { /* it broke between two recipients: those before are gone with it */
        relay->state = RELAY_OVER;
        later_start(&relay->again, relay->backends->loop, on_again, relay);
        return;
    }
    relay->state = RELAY_WAITS_RCPT;
    say_rcpt(relay->link);
    flush(relay->link);
}

static uint64_t message_bytes(const struct relay_message *message)
{
    uint64_t bytes = spool_bytes(message->spool);

    for (size_t i = 0; i < message->count; i++)
        bytes += message->pieces[i].n;
    return bytes;
}

void relay_message(struct relay *relay, const struct relay_message *message)
{
    relay->message = *message;
    if (relay->link == NULL || relay->state != RELAY_OPEN) {
        relay->state = RELAY_OVER;
        later_start(&relay->again, relay->backends->loop, on_again, relay);
        return;
    }
    if (smtp_client_capabilities(relay->link->dialogue)->chunking) {
        smtp_client_bdat(relay->link->dialogue, message_bytes(message));
        begin_sending(relay->link, true);
        return;
    }
    relay->state = RELAY_WAITS_DATA;
    smtp_client_data(relay->link->dialogue);
    flush(relay->link);
}

void relay_spool_ready(struct relay *relay)
{
    if (relay->state == RELAY_SENDING && relay->link != NULL)
        pump(relay->link);
}

void relay_close(struct relay **relay)
{
    struct relay *r = *relay;
    struct link *link = r != NULL ? r->link : NULL;

    *relay = NULL;
    if (r == NULL)
        return;
    later_cancel(&r->again);
    if (link == NULL)
        return;
    r->link = NULL;
    link->relay = NULL;
    /* Only a dialogue that owes us nothing can be reset; anything else is cut, so that no late answer is
     * ever taken for that of another message. */
    if ((r->state != RELAY_OPEN && r->state != RELAY_OVER) || smtp_client_replies_due(link->dialogue) != 0) {
        close_link(link);
        return;
    }
    if (is_spent(link)) {
        dismiss_link(link);
        return;
    }
    link->resets++;
    link->state = LINK_RESETTING;
    link->next = link->backends->resetting;
    link->backends->resetting = link;
    smtp_client_reset(link->dialogue);
    flush(link);
}
