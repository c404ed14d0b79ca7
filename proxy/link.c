#include "proxy/link.h"

#include "base/bug.h"
#include "base/log.h"
#include "proxy/addresses.h"
#include "smtp/proxy_header.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { IDLE_MS = 60000, USES_MAX = 1000, NO_TLS_MS = 300000, OUT_MAX = 1024 * 1024, IDENTITY_MAX = 512 };
/* Postfix slows a connection down from its 10th error on, ends it at the 20th, and counts RSET as one after
 * 100 of them. */
enum { REFUSALS_MAX = 5, RESETS_MAX = 50 };

enum link_state { LINK_OPENING, LINK_IDENTIFYING, LINK_BUSY, LINK_RESETTING, LINK_RESTING, LINK_KEPT };

struct link {
    struct backend *backend;
    const struct link_events *events; /* NULL while nobody holds it */
    void *arg;
    const struct link_events *owner; /* who has it for good, and lends it; NULL: nobody */
    void *owner_arg;
    const struct smtp_identity *client; /* the holder's; NULL: nobody is to be introduced */
    struct addresses addresses;         /* those to try */
    size_t tried;                       /* how many of them */
    struct endpoint at;                 /* the last of these; family 0: a Unix socket */
    struct conn *conn;                  /* NULL while its name is looked up */
    struct smtp_client *dialogue;
    struct buf out;
    enum link_state state;
    struct timer deadline;
    struct later start; /* a kept one begins on the next turn */
    struct later burial;
    struct link *next;
    char identity[IDENTITY_MAX]; /* of the last XCLIENT: the same client need not be introduced twice */
    unsigned uses;
    unsigned refusals, resets; /* since the last message that was taken */
    bool reused, heard, closed;
};

struct backend *link_backend(const struct link *link)
{
    return link->backend;
}

const struct smtp_capabilities *link_can(const struct link *link)
{
    return smtp_client_capabilities(link->dialogue);
}

struct smtp_client *link_dialogue(struct link *link)
{
    return link->dialogue;
}

struct conn *link_conn(struct link *link)
{
    return link->conn;
}

struct buf *link_out(struct link *link)
{
    return &link->out;
}

/* ---- lists, and the end ---- */

static struct link **list_of(struct link *link)
{
    if (link->state == LINK_RESTING)
        return &link->backend->pool;
    return link->state == LINK_RESETTING ? &link->backend->resetting : NULL;
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

static void enlist(struct link *link, enum link_state state)
{
    struct link **list;

    link->state = state;
    list = list_of(link);
    link->next = *list;
    *list = link;
    link->backend->pooled += state == LINK_RESTING;
}

static void bury(void *arg)
{
    struct link *link = arg;

    smtp_client_free(&link->dialogue);
    buf_fini(&link->out);
    free(link);
}

static void leave_holder(struct link *link)
{
    link->events = NULL;
    link->client = NULL;
    later_cancel(&link->start);
}

static void cut(struct link *link)
{
    if (link->closed)
        return;
    unlist(link);
    leave_holder(link);
    link->closed = true;
    timer_stop(&link->deadline);
    addresses_cancel(&link->addresses);
    conn_close(&link->conn);
    later_start(&link->burial, link->backend->loop, bury, link);
}

/* NULL: it has no owner, or it is he who holds it. */
static const struct link_events *lender(const struct link *link)
{
    return link->owner != link->events ? link->owner : NULL;
}

void link_close(struct link **link)
{
    struct link *l = *link;
    const struct link_events *owner = l != NULL ? lender(l) : NULL;

    *link = NULL;
    if (l != NULL)
        cut(l);
    if (owner != NULL)
        owner->on_broke(false, l->owner_arg);
}

/* QUIT is a courtesy: nobody waits for its answer. */
static void dismiss(struct link *link)
{
    smtp_client_quit(link->dialogue);
    conn_write_buf(link->conn, &link->out);
    cut(link);
}

/* The connection is of no more use. Who holds it hears it last. */
static void broke(struct link *link, bool stale, const char *why)
{
    const struct link_events *events = link->events, *owner = lender(link);
    void *arg = link->arg;

    if (link->closed)
        return;
    if (!stale && link->state != LINK_RESTING && link->state != LINK_RESETTING && link->state != LINK_KEPT)
        backend_failed(link->backend, why);
    cut(link);
    if (events != NULL)
        events->on_broke(stale, arg);
    if (owner != NULL)
        owner->on_broke(stale, link->owner_arg);
}

void link_fail(struct link *link, const char *why)
{
    broke(link, link->reused && !link->heard, why);
}

/* It is the holder's turn: who leaves now had enough of waiting, which is no fault. */
static bool is_holders_turn(const struct link *link)
{
    return link->state == LINK_BUSY && smtp_client_replies_due(link->dialogue) == 0 &&
           !timer_is_started(&link->deadline);
}

static void left(struct link *link, const char *why)
{
    if (is_holders_turn(link))
        broke(link, true, why);
    else
        link_fail(link, why);
}

/* ---- deadlines ---- */

/* When silence was the end of a kept connection, the others of this backend are not worth a wait of the same length each: the
 * next connection shall be a new one. */
static void drop_pool(struct backend *backend)
{
    while (backend->pool != NULL)
        cut(backend->pool);
}

static bool try_next(struct link *link);

static void on_deadline(void *arg)
{
    struct link *link = arg;

    if (link->state == LINK_RESTING) {
        dismiss(link);
        return;
    }
    if (try_next(link))
        return;
    if (link->reused && !link->heard)
        drop_pool(link->backend);
    link_fail(link, link->state == LINK_OPENING ? "no answer to the connection in time" : "no reply in time");
}

/* While the connection opens, one deadline holds for all of it. */
void link_await(struct link *link)
{
    if (link->state != LINK_OPENING)
        timer_start(&link->deadline, link->backend->loop, link->backend->settings->reply_timeout_ms,
                    on_deadline, link);
}

void link_flush(struct link *link)
{
    if (link->out.n == 0)
        return;
    conn_write_buf(link->conn, &link->out);
    link_await(link);
}

/* ---- from one holder to the next ---- */

/* Postfix asks its list of who may use XCLIENT again after each one, and then it is the client that was
 * introduced whom it looks up: nobody else can be introduced on that connection, and it must not serve
 * anybody else. A PROXY header comes once, and before all else. */
static bool is_bound(const struct link *link)
{
    return link->backend->settings->pass_client == PASS_PROXY_V2 ||
           (link->identity[0] != '\0' && !link_can(link)->xclient);
}

/* The next client shall not pay for the errors of those before it. */
static bool is_spent(const struct link *link)
{
    return link->uses >= USES_MAX || link->refusals >= REFUSALS_MAX || link->resets >= RESETS_MAX ||
           is_bound(link);
}

/* Back to the owner, who will lend it again. */
static void keep(struct link *link)
{
    timer_stop(&link->deadline);
    link->state = LINK_KEPT;
    link->events = link->owner;
    link->arg = link->owner_arg;
}

static void rest(struct link *link)
{
    struct backend *backend = link->backend;

    leave_holder(link);
    if (link->owner != NULL) {
        keep(link);
        return;
    }
    unlist(link);
    link->uses++;
    if (is_spent(link) || backend->pooled >= backend->settings->pool ||
        !smtp_client_is_idle(link->dialogue)) {
        link->state = LINK_BUSY;
        dismiss(link);
        return;
    }
    enlist(link, LINK_RESTING);
    link->reused = true;
    buf_fini(&link->out);
    timer_start(&link->deadline, backend->loop, IDLE_MS, on_deadline, link);
}

void link_rest(struct link **link)
{
    rest(*link);
    *link = NULL;
}

void link_reset(struct link **link)
{
    struct link *l = *link;

    *link = NULL;
    if (l->state != LINK_BUSY || smtp_client_replies_due(l->dialogue) != 0) {
        link_close(&l);
        return;
    }
    if (l->owner == NULL && is_spent(l)) {
        dismiss(l);
        return;
    }
    leave_holder(l);
    if (l->owner != NULL) {
        keep(l);
        l->state = LINK_RESETTING;
    } else {
        l->resets++;
        enlist(l, LINK_RESETTING);
    }
    smtp_client_reset(l->dialogue);
    link_flush(l);
}

/* ---- until it is ready ---- */

static void ready(struct link *link)
{
    link->state = LINK_BUSY;
    timer_stop(&link->deadline); /* the holder's turn */
    link->events->on_ready(link->arg);
}

static void identity_of(const struct smtp_identity *who, char text[IDENTITY_MAX])
{
    snprintf(text, IDENTITY_MAX, "%s %u %s %s %d %s %u %s", who->addr, who->port,
             who->name != NULL ? who->name : "", who->helo != NULL ? who->helo : "", who->esmtp,
             who->dest_addr != NULL ? who->dest_addr : "", who->dest_port,
             who->login != NULL ? who->login : "");
}

static bool offers_introduction(const struct backend_settings *settings, const struct smtp_capabilities *can)
{
    if (settings->pass_client == PASS_XFORWARD)
        return can->xforward && can->xforward_fields != 0;
    return settings->pass_client == PASS_XCLIENT && can->xclient;
}

static bool needs_introduction(const struct link *link)
{
    char text[IDENTITY_MAX];

    if (link->client == NULL || !offers_introduction(link->backend->settings, link_can(link)))
        return false;
    if (link->backend->settings->pass_client == PASS_XFORWARD)
        return true; /* the backend forgets it with the transaction */
    identity_of(link->client, text);
    return strcmp(text, link->identity) != 0;
}

static void introduce(struct link *link)
{
    if (link->backend->settings->pass_client == PASS_XFORWARD) {
        smtp_client_forward(link->dialogue, link->client);
        return;
    }
    identity_of(link->client, link->identity);
    smtp_client_identify(link->dialogue, link->client);
}

/* On a fresh connection, or on a kept one. */
static void begin(struct link *link)
{
    if (!needs_introduction(link)) {
        ready(link);
        return;
    }
    link->state = LINK_IDENTIFYING;
    introduce(link);
    link_flush(link);
}

static void note_xclient(struct backend *backend)
{
    const struct backend_settings *settings = backend->settings;
    bool forwards = settings->pass_client == PASS_XFORWARD;
    bool missing = (settings->pass_client == PASS_XCLIENT || forwards) &&
                   settings->protocol == PROTOCOL_SMTP &&
                   !offers_introduction(settings, &backend->capabilities);

    if (missing && !backend->xclient_missing)
        log_note(LOG_WARNING, "backend.xclient",
                 "%s does not offer %s: it takes us for the client of all mail (smtpd_authorized_%s_hosts?)",
                 settings->address, forwards ? "XFORWARD" : "XCLIENT", forwards ? "xforward" : "xclient");
    backend->xclient_missing = missing;
}

bool link_keeps_requiretls(const struct link *link)
{
    return link->backend->settings->tls == BACKEND_TLS_VERIFY && conn_tls(link->conn) != NULL &&
           link_can(link)->requiretls;
}

static bool is_on_this_machine(const struct link *link)
{
    return link->backend->settings->path != NULL || ip_is_loopback(&link->at.ip);
}

bool link_is_private(const struct link *link)
{
    return conn_tls(link->conn) != NULL || is_on_this_machine(link);
}

static void on_greeted(struct link *link)
{
    struct backend *backend = link->backend;
    enum backend_tls wants = backend->settings->tls;

    if ((wants == BACKEND_TLS_REQUIRE || wants == BACKEND_TLS_VERIFY) && conn_tls(link->conn) == NULL) {
        link_fail(link, backend->tls == NULL ? "its certificate cannot be verified here"
                                             : "it does not offer STARTTLS, which the settings require");
        return;
    }
    backend_works(backend);
    backend->works_at = link->at;
    backend->capabilities = *link_can(link);
    backend->is_known = true;
    backend->heard_ms = loop_now_ms(backend->loop);
    backend->is_private = link_is_private(link);
    backend->keeps_requiretls = link_keeps_requiretls(link);
    note_xclient(backend);
    begin(link);
}

/* A backend that does not let us introduce clients gets the mail all the same; who it thinks has sent it is
 * in its log. */
static void on_identified(struct link *link, const struct smtp_reply *reply)
{
    struct backend *backend = link->backend;
    bool forwards = backend->settings->pass_client == PASS_XFORWARD;

    if (reply->code >= 400 && !backend->xclient_refused)
        log_note(LOG_WARNING, "backend.xclient", "%s refuses %s: %d %.*s (smtpd_authorized_%s_hosts?)",
                 backend->settings->address, forwards ? "XFORWARD" : "XCLIENT", reply->code,
                 STR_ARG(reply->text), forwards ? "xforward" : "xclient");
    backend->xclient_refused = reply->code >= 400;
    ready(link);
}

/* What its certificate must name: as the settings say, else what they connect to. */
static void start_tls(struct link *link)
{
    const struct backend_settings *settings = link->backend->settings;
    char address[IP_TEXT_MAX];
    const char *name = settings->tls_name;

    if (name == NULL || *name == '\0')
        name = settings->host;
    if (name == NULL && settings->path == NULL)
        name = ip_format(&settings->endpoint.ip, address);
    conn_start_tls_client(link->conn, link->backend->tls, settings->tls == BACKEND_TLS_VERIFY ? name : NULL);
}

/* ---- events of the dialogue ---- */

/* A link that nobody holds hears only the answer to its RSET, and what a backend says when it goes. */
static void handle_unheld(struct link *link, const struct smtp_client_event *event)
{
    if (event->kind == SMTP_CLIENT_RESET && link->state == LINK_RESETTING)
        rest(link);
    else
        cut(link);
}

/* The owner has it back, or has lent it again meanwhile. */
static void on_owned_reset(struct link *link)
{
    if (link->events == link->owner)
        keep(link);
    else
        ready(link);
}

static void handle_reply(struct link *link, const struct smtp_client_event *event)
{
    if (smtp_client_replies_due(link->dialogue) == 0)
        timer_stop(&link->deadline); /* until the holder says something */
    if (event->kind == SMTP_CLIENT_MESSAGE && event->reply.code < 300)
        link->refusals = link->resets = 0;
    link->events->on_reply(event, link->arg);
}

static void handle(struct link *link, const struct smtp_client_event *event)
{
    char why[300];

    /* A backend that had enough of waiting says 421 to whatever comes next; that is no answer to it. */
    if (event->reply.code == 421 && link->reused && !link->heard) {
        link_fail(link, "it closed the connection (421)");
        return;
    }
    link->heard = true;
    link->refusals += event->reply.code >= 400;
    switch (event->kind) {
    case SMTP_CLIENT_STARTTLS:
        start_tls(link);
        break;
    case SMTP_CLIENT_READY:
        on_greeted(link);
        break;
    case SMTP_CLIENT_IDENTIFIED:
        on_identified(link, &event->reply);
        break;
    case SMTP_CLIENT_CHALLENGE:
    case SMTP_CLIENT_AUTH:
    case SMTP_CLIENT_MAIL:
    case SMTP_CLIENT_RCPT:
    case SMTP_CLIENT_DATA:
    case SMTP_CLIENT_MESSAGE:
    case SMTP_CLIENT_NOOP:
        handle_reply(link, event);
        break;
    case SMTP_CLIENT_RESET:
        on_owned_reset(link);
        break;
    case SMTP_CLIENT_REFUSED:
        snprintf(why, sizeof(why), "it refuses us: %d %.*s", event->reply.code,
                 STR_ARG(str_upto(event->reply.text, 200)));
        link_fail(link, why);
        break;
    case SMTP_CLIENT_BROKEN:
        if (event->closed)
            left(link, event->why);
        else
            link_fail(link, event->why);
        break;
    default:
        link_fail(link, "an answer that nobody waits for");
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
        if (link->events != NULL)
            handle(link, &event);
        else
            handle_unheld(link, &event);
    }
    if (!link->closed && link->state != LINK_RESTING)
        link_flush(link);
}

/* ---- events of the connection ---- */

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

    if (link->events != NULL && link->state == LINK_BUSY)
        link->events->on_drain(link->arg);
}

/* When TLS was only an opportunity, its failure costs a connection without it, not the mail. */
static void on_conn_end(int error, const char *why, void *arg)
{
    struct link *link = arg;
    struct backend *backend = link->backend;

    if (try_next(link))
        return;
    if (error == -1 && backend->settings->tls == BACKEND_TLS_OPPORTUNISTIC && link->events != NULL) {
        backend->no_tls_until_ms = loop_now_ms(backend->loop) + NO_TLS_MS;
        log_note(LOG_WARNING, "backend.tls", "%s: %s; going on without TLS", backend->settings->address, why);
        broke(link, true, why); /* as with a stale connection: once more, without blame */
        return;
    }
    if (error == 0)
        left(link, "it closed the connection");
    else
        link_fail(link, why);
}

static const struct conn_events conn_events = {on_conn_connect, on_conn_data, on_conn_drain, on_conn_tls,
                                               on_conn_end};

/* ---- opening ---- */

/* Between two programs on one machine TLS protects nothing, so "opportunistic" does not ask for it there. */
static bool wants_tls(const struct link *link)
{
    const struct backend *backend = link->backend;

    if (backend->settings->tls == BACKEND_TLS_NEVER || backend->tls == NULL)
        return false;
    return backend->settings->tls != BACKEND_TLS_OPPORTUNISTIC ||
           (!is_on_this_machine(link) && backend->no_tls_until_ms <= loop_now_ms(backend->loop));
}

/* Before the greeting; LOCAL where there is no client (HAProxy proxy-protocol.txt 2.2). */
static void send_proxy_header(struct link *link)
{
    const struct smtp_identity *client = link->client;
    struct endpoint source = {0}, destination = {0};
    bool known = client != NULL && client->dest_addr != NULL && ip_parse(str_of(client->addr), &source.ip) &&
                 ip_parse(str_of(client->dest_addr), &destination.ip);

    if (known) {
        source.port = client->port;
        destination.port = client->dest_port;
    }
    proxy_header_write(&link->out, known ? &source : NULL, &destination);
    conn_write_buf(link->conn, &link->out);
}

/* The next address, with a dialogue of its own. False: there are no descriptors left. */
static bool connect_next(struct link *link)
{
    const struct backend *backend = link->backend;
    const struct backend_settings *settings = backend->settings;

    link->at = link->addresses.list[link->tried++];
    link->conn = settings->path != NULL ? conn_connect_unix(backend->loop, settings->path, &conn_events, link)
                                        : conn_connect(backend->loop, &link->at, &conn_events, link);
    if (link->conn == NULL)
        return false;
    buf_clear(&link->out);
    smtp_client_free(&link->dialogue);
    link->dialogue = smtp_client_new(settings->protocol, backend->hostname, wants_tls(link), &link->out);
    if (settings->pass_client == PASS_PROXY_V2)
        send_proxy_header(link);
    metric_add(backend->opened, 1);
    timer_start(&link->deadline, backend->loop, settings->connect_timeout_ms, on_deadline, link);
    return true;
}

/* Another address of the same name, as long as none has answered. */
static bool try_next(struct link *link)
{
    if (link->state != LINK_OPENING || link->heard || link->conn == NULL ||
        link->tried >= link->addresses.count)
        return false;
    conn_close(&link->conn);
    return connect_next(link);
}

static void on_addresses(void *arg)
{
    struct link *link = arg;
    char why[100];

    if (link->addresses.count == 0) {
        snprintf(why, sizeof(why), "its name has no address: %s", link->addresses.why);
        link_fail(link, why);
        return;
    }
    addresses_prefer(&link->addresses, &link->backend->works_at);
    if (!connect_next(link))
        link_fail(link, "no descriptors are left");
}

static struct link *new_link(struct backend *backend, const struct smtp_identity *client)
{
    const struct backend_settings *settings = backend->settings;
    struct link *link = calloc(1, sizeof(*link));

    if (link == NULL)
        out_of_memory();
    link->backend = backend;
    link->client = client;
    buf_init(&link->out, OUT_MAX);
    if (settings->host != NULL) {
        timer_start(&link->deadline, backend->loop, settings->connect_timeout_ms, on_deadline, link);
        addresses_find(&link->addresses, backend->dns, settings->host, settings->endpoint.port, on_addresses,
                       link);
        return link;
    }
    link->addresses.list[link->addresses.count++] = settings->endpoint;
    if (connect_next(link))
        return link;
    buf_fini(&link->out);
    free(link);
    return NULL;
}

static void on_start(void *arg)
{
    begin(arg);
}

static struct link *wake_link(struct backend *backend)
{
    struct link *link = backend->pool;

    unlist(link);
    link->state = LINK_BUSY;
    link->heard = false;
    timer_stop(&link->deadline);
    later_start(&link->start, backend->loop, on_start, link);
    return link;
}

struct link *link_open(struct backend *backend, const struct smtp_identity *client,
                       const struct link_events *events, void *arg)
{
    bool wake = backend->pool != NULL && client != NULL;
    struct link *link = wake ? wake_link(backend) : new_link(backend, client);

    if (link == NULL)
        return NULL;
    link->client = client;
    link->events = events;
    link->arg = arg;
    return link;
}

void link_own(struct link *link)
{
    link->owner = link->events;
    link->owner_arg = link->arg;
    rest(link);
}

void link_lend(struct link *link, const struct link_events *events, void *arg)
{
    link->events = events;
    link->arg = arg;
    if (link->state == LINK_RESETTING) /* ready with the answer to RSET */
        return;
    link->state = LINK_BUSY;
    later_start(&link->start, link->backend->loop, on_start, link);
}
