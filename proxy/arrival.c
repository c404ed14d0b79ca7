#include "proxy/session_in.h"

#include "base/hash.h"
#include "proxy/rate.h"
#include "smtp/xclient.h"

#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/*
 * How a client arrives: the limits, the PROXY header of a balancer in front of us, TLS from the first octet.
 * What comes behind a balancer is judged, limited and logged as the client that the balancer names, and by
 * nothing of its own.
 */

enum { PROXY_MS = 5000 }; /* as HAProxy advises, and Postfix waits */

static void make_id(char id[11])
{
    static const char digits[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    static atomic_uint_fast64_t counter;
    uint64_t seed[2] = {(uint64_t)clock_unix(clock_system()), atomic_fetch_add(&counter, 1)};
    uint64_t bits = hash_bytes(seed, sizeof(seed));

    for (int i = 0; i < 10; i++, bits >>= 5)
        id[i] = digits[bits & 31];
    id[10] = '\0';
}

/* NULL: welcome, and counted; else the line that a client beyond the limits gets. */
static const char *refusal_of(struct service *service, const struct listen_settings *listen,
                              const struct ip *ip)
{
    static const char *const texts[] = {
        [CLIENT_TOO_MANY_CONNECTIONS] = "421 4.7.0 Too many connections from your address\r\n",
        [CLIENT_TOO_FAST] = "421 4.7.0 Too many new connections from your address, slow down\r\n",
        [CLIENT_SERVER_FULL] = "421 4.3.2 Too many connections, try again later\r\n",
    };
    static const char *const words[] = {[CLIENT_TOO_MANY_CONNECTIONS] = "connections",
                                        [CLIENT_TOO_FAST] = "rate",
                                        [CLIENT_SERVER_FULL] = "full"};
    enum clients_refusal refusal =
        clients_enter(service->clients, &service->config->limits, ip, loop_now_ms(service->loop));
    struct log_line line;
    char text[IP_TEXT_MAX];

    if (refusal == CLIENT_WELCOME) {
        rate_tell(service, ip);
        return NULL;
    }
    log_line_begin(&line, LOG_INFO, NULL, "connect");
    log_put_z(&line, "client", ip_format(ip, text));
    log_put_z(&line, "action", "drop");
    log_put_int(&line, "reply", 421);
    log_put_z(&line, "check", words[refusal]);
    log_line_end(&line);
    decided_limits(service, listen, ip, words[refusal], texts[refusal]);
    return texts[refusal];
}

struct smtp_server_settings arrival_settings(const struct service *service)
{
    const struct config *config = service->config;
    struct backends_offer backend = backends_offer(service->backends);
    uint64_t size = config->limits.message_bytes;
    unsigned recipients = config->limits.recipients;

    if (backend.size_max > 0 && backend.size_max < size)
        size = backend.size_max;
    if (backend.rcpt_max > 0 && backend.rcpt_max < recipients)
        recipients = backend.rcpt_max;
    return (struct smtp_server_settings){
        .hostname = config->hostname,
        .message_bytes_max = size,
        .recipients_max = recipients,
        .errors_max = config->limits.errors,
        .line_bytes_max = config->limits.line_bytes,
        .drops_bare_ends = config->screen.bare_line_ends == BARE_ENDS_DROP,
        .offer = {.size = true,
                  .eightbitmime = backend.eightbitmime,
                  .chunking = true,
                  .smtputf8 = backend.smtputf8,
                  .dsn = backend.dsn,
                  .binarymime = backend.binarymime,
                  .requiretls = backend.requiretls},
    };
}

static void set_up_tls(struct session *s)
{
    enum listen_tls tls = s->listen->tls;

    smtp_server_offer_starttls(s->server, s->service->tls_server != NULL &&
                                              (tls == LISTEN_TLS_STARTTLS || tls == LISTEN_TLS_REQUIRE));
    smtp_server_require_tls(s->server, tls == LISTEN_TLS_REQUIRE);
    smtp_server_offer_xclient(s->server, net_list_has(&s->listen->xclient, &s->facts.session.client));
    if (tls == LISTEN_TLS_IMPLICIT)
        session_start_tls(s);
}

static struct session *new_session(struct service *service, const struct listen_settings *listen, int fd,
                                   const struct endpoint *peer)
{
    struct smtp_server_settings settings = arrival_settings(service);
    struct arena *mem = arena_new(2048);
    struct session *s = ARENA_NEW(mem, struct session);

    *s = (struct session){
        .service = service, .listen = listen, .mem = mem, .begun_ms = loop_now_ms(service->loop)};
    make_id(s->id);
    s->facts.session.client = peer->ip;
    s->facts.session.client_port = peer->port;
    buf_init(&s->out, 256 * 1024);
    proxy_header_reader_init(&s->proxy);
    s->conn = conn_accept(service->loop, fd, &session_conn_events, s);
    s->server = smtp_server_new(&settings, &s->out, intake_add, s);
    s->next = service->sessions;
    if (s->next != NULL)
        s->next->previous = s;
    service->sessions = s;
    return s;
}

/* The client is known now, and has been counted. */
static void enter(struct session *s)
{
    const struct config *config = s->service->config;

    s->entered = true;
    s->counted = s->facts.session.client;
    s->facts.session.outbound = s->listen->role == ROLE_OUTBOUND;
    s->facts.session.trusted = net_list_has(&config->networks, &s->facts.session.client);
    record_connect(s);
    set_up_tls(s);
    session_greet(s);
}

/* ---- behind a balancer ---- */

static void refuse(struct session *s, const char *reply, const char *why)
{
    buf_add_z(&s->out, reply);
    session_end(s, why);
}

static void on_proxy_late(void *arg)
{
    refuse(arg, "421 4.3.0 A PROXY header was expected\r\n", "no PROXY header in time");
}

static void take_header(struct session *s, const struct proxy_header *header)
{
    const char *refusal;

    s->awaits_proxy = false;
    timer_stop(&s->budget);
    if (header->has_addresses) {
        s->facts.session.client = header->source.ip;
        s->facts.session.client_port = header->source.port;
    }
    refusal = refusal_of(s->service, s->listen, &s->facts.session.client);
    if (refusal != NULL)
        refuse(s, refusal, "refused by the limits");
    else
        enter(s);
}

void arrival_data(struct session *s, const char *bytes, size_t n)
{
    struct str in = str_make(bytes, n);
    struct proxy_header header;
    const char *why;

    switch (proxy_header_read(&s->proxy, &in, &header, &why)) {
    case PROXY_HEADER_MORE:
        return;
    case PROXY_HEADER_FAULT:
        log_note(LOG_WARNING, "proxy-header", "from a network of proxy_protocol: %s", why);
        refuse(s, "421 4.3.0 A PROXY header was expected\r\n", "no PROXY header");
        return;
    case PROXY_HEADER_READY:
        take_header(s, &header);
        if (in.n > 0 && !s->ended) /* what the client sent came in the same packet: a TLS greeting, perhaps */
            conn_receive(s->conn, in.p, in.n);
        return;
    }
}

/* ---- XCLIENT ---- */

/* What was found out about the one who speaks is forgotten: it was not the client. What is said of the
 * client's name is not believed either, but looked up. The word may be the client's own from here on (nginx
 * passes it through), so it may introduce somebody else only if it could have done so from its own address,
 * as with Postfix; an unknown client is nobody's friend. */
bool arrival_introduce(struct session *s, const char **why_out)
{
    struct session_facts *f = &s->facts.session;
    struct smtp_xclient who;
    bool is_known;

    if (!smtp_xclient_parse(s->mem, s->event.command->argument, &who, why_out))
        return false;
    checks_cancel_session(s);
    s->introduced = true;
    if (who.given & SMTP_XCLIENT_ADDR) {
        is_known = !(who.unavailable & SMTP_XCLIENT_ADDR);
        *f = (struct session_facts){.client = is_known ? who.addr : f->client,
                                    .unknown = !is_known,
                                    .outbound = s->listen->role == ROLE_OUTBOUND};
        f->trusted = is_known && net_list_has(&s->service->config->networks, &f->client);
        smtp_server_offer_xclient(s->server, is_known && net_list_has(&s->listen->xclient, &f->client));
    }
    if (who.given & SMTP_XCLIENT_PORT)
        f->client_port = who.port;
    return true;
}

/* ---- */

void session_start(struct service *service, const struct listen_settings *listen, int fd,
                   const struct endpoint *peer)
{
    const char *refusal;
    struct session *s;

    if (listen->tls == LISTEN_TLS_IMPLICIT && service->tls_server == NULL) {
        close(fd); /* without a certificate there is nothing to say on this port */
        return;
    }
    if (net_list_has(&listen->proxy_protocol, &peer->ip)) {
        s = new_session(service, listen, fd, peer);
        s->awaits_proxy = true;
        timer_start(&s->budget, service->loop, PROXY_MS, on_proxy_late, s);
        return;
    }
    refusal = refusal_of(service, listen, &peer->ip);
    if (refusal == NULL) {
        enter(new_session(service, listen, fd, peer));
        return;
    }
    (void)!send(fd, refusal, strlen(refusal), MSG_NOSIGNAL | MSG_DONTWAIT);
    close(fd);
}
