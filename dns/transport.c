/*
 * How c-ares is kept on a short leash:
 *
 * - Packets are built and read by us; ares_send() only carries them. So no name meets c-ares' escapes, and
 *   TTLs, the AD bit and rcodes are not lost on the way.
 * - It cannot call off a single query, and may answer inside ares_send(): dns/resolver.c is ready for both.
 * - Version 1.18 turns EDNS off for a whole channel when one server answers FORMERR. The question is asked
 *   again without EDNS on a channel of its own. After such an event answers above 512 octets come by TCP:
 *   slower, still right.
 * - ARES_FLAG_NOCHECKRESP lets SERVFAIL and REFUSED through as answers. In return asking the next server is
 *   left to us: once, on a channel whose servers stand in another order.
 * - A channel has one socket a server, and so one source port while questions are out. Where forgers are
 *   expected the questions are spread over several channels, by chance.
 */
#include "dns/transport.h"

#include "base/buf.h"
#include "base/bug.h"

#include <ares.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

enum {
    RANDOM_BYTES = 256, /* drawn at once */
    PORTS = 8,          /* channels for the usual way, where forgers are expected */
};

/* The usual way may have several channels: they stand at the end of the table. */
enum way { WAY_PLAIN, WAY_OTHER_SERVER, WAY_TCP, WAY_USUAL, WAYS };
_Static_assert((int)WAYS == (int)TRANSPORT_WAYS, "each way can be tried once");

struct socket_watch {
    struct socket_watch *next;
    struct transport_channel *channel;
    int fd;
    struct watch *watch;
};

struct transport_channel {
    struct transport *transport;
    ares_channel ares;
    struct timer tick; /* for c-ares' own time-outs */
    size_t in_flight;
    struct socket_watch *sockets;
};

struct transport {
    struct loop *loop;
    struct transport_channel channels[WAY_USUAL + PORTS];
    size_t ports; /* of the usual way */
    int64_t timeout_ms;
    bool is_local, expects_forgers;
    unsigned char random[RANDOM_BYTES];
    size_t random_left;
    struct transport_counts counts;
};

/* ---- sockets and time-outs of c-ares ---- */

static void arm(struct transport_channel *channel, int64_t after_ms);

/* One timer a channel, looked at when it rings, not with every question: c-ares walks all it has to tell its
 * next time-out. A question that is sent meanwhile runs out no earlier than timeout_ms from then, so that is
 * the longest sleep. */
static void on_tick(void *arg)
{
    struct transport_channel *channel = arg;
    int64_t most = channel->transport->timeout_ms, next = most;
    struct timeval tv;

    ares_process_fd(channel->ares, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    if (channel->in_flight == 0)
        return;
    if (ares_timeout(channel->ares, NULL, &tv) != NULL)
        next = (int64_t)tv.tv_sec * 1000 + tv.tv_usec / 1000 + 1;
    arm(channel, next < most ? next : most);
}

static void arm(struct transport_channel *channel, int64_t after_ms)
{
    if (!timer_is_started(&channel->tick))
        timer_start(&channel->tick, channel->transport->loop, after_ms, on_tick, channel);
}

static void on_ready(unsigned ready, void *arg)
{
    const struct socket_watch *s = arg;
    int fd = s->fd;

    /* c-ares may close this socket meanwhile, and s be gone. */
    ares_process_fd(s->channel->ares, (ready & WATCH_READ) ? fd : ARES_SOCKET_BAD,
                    (ready & WATCH_WRITE) ? fd : ARES_SOCKET_BAD);
}

static void on_socket_state(void *arg, ares_socket_t fd, int readable, int writable)
{
    struct transport_channel *channel = arg;
    unsigned events = (readable ? WATCH_READ : 0u) | (writable ? WATCH_WRITE : 0u);
    struct socket_watch **at = &channel->sockets, *s;

    while (*at != NULL && (*at)->fd != fd)
        at = &(*at)->next;
    s = *at;
    if (s == NULL && events != 0) {
        s = calloc(1, sizeof(*s));
        if (s == NULL)
            out_of_memory();
        *s = (struct socket_watch){channel->sockets, channel, fd, NULL};
        s->watch = watch_start(channel->transport->loop, fd, events, on_ready, s);
        channel->sockets = s;
    } else if (s != NULL && events != 0) {
        watch_events(s->watch, events);
    } else if (s != NULL) {
        *at = s->next;
        watch_stop(&s->watch);
        free(s);
    }
}

/* ---- what nobody guesses ---- */

/* Good for one use, before the next call. */
static const unsigned char *draw(struct transport *t, size_t n)
{
    if (t->random_left < n) {
        if (getrandom(t->random, RANDOM_BYTES, 0) != RANDOM_BYTES)
            bug("getrandom gave no %d octets", RANDOM_BYTES);
        t->random_left = RANDOM_BYTES;
    }
    t->random_left -= n;
    return t->random + t->random_left;
}

/* c-ares takes the id from the packet, so it must be one that nobody guesses. */
static uint16_t draw_id(struct transport *t)
{
    const unsigned char *random = draw(t, 2);

    return (uint16_t)(random[0] << 8 | random[1]);
}

static struct transport_channel *channel_for(struct transport *t, enum way way)
{
    return &t->channels[way == WAY_USUAL && t->ports > 1 ? WAY_USUAL + *draw(t, 1) % t->ports : way];
}

/* ---- a question on its ways ---- */

/* What c-ares says when it has no packet to show. */
static enum dns_status status_of_failure(int status)
{
    switch (status) {
    case ARES_ENOMEM:
        out_of_memory();
    case ARES_ETIMEOUT:
        return DNS_TIMEOUT;
    case ARES_EBADRESP:
        return DNS_GARBLED;
    default: /* ECONNREFUSED: nobody listens there. ESERVFAIL: there is no server to ask */
        return DNS_REFUSED;
    }
}

/* The way to ask once more after this reply, or WAYS. */
static enum way next_way(const struct transport_query *q, const unsigned char *reply, size_t n)
{
    enum { SERVFAIL = 2, NOTIMP = 4, REFUSED = 5 };
    const struct transport *t = q->transport;
    unsigned rcode = dns_message_rcode(reply, n);

    if (q->abandoned)
        return WAYS;
    if (t->expects_forgers && !q->tried[WAY_TCP] && !dns_message_is_echo(q->packet, reply, n))
        return WAY_TCP; /* a forger, or a server that writes names its own way: by TCP it may */
    if ((rcode == DNS_RCODE_FORMERR || rcode == NOTIMP) && !q->tried[WAY_PLAIN])
        return WAY_PLAIN; /* RFC 6891 7: who knows no EDNS says FORMERR, and some say NOTIMP */
    if ((rcode == SERVFAIL || rcode == REFUSED) && !q->tried[WAY_OTHER_SERVER] &&
        t->channels[WAY_OTHER_SERVER].ares != NULL)
        return WAY_OTHER_SERVER;
    return WAYS;
}

static void send_by(struct transport_query *q, enum way way);

static void on_reply(void *arg, int status, int timeouts, unsigned char *packet, int n)
{
    struct transport_query *q = arg;
    struct transport *t = q->transport;
    struct transport_reply reply = {.failure = DNS_OK};
    enum way way;

    (void)timeouts;
    q->channel->in_flight--;
    if (status == ARES_SUCCESS && packet != NULL && n > 0) {
        t->counts.answered++;
        way = next_way(q, packet, (size_t)n);
        t->counts.other_case += way == WAY_TCP;
        if (way != WAYS) {
            send_by(q, way); /* last act: q may be gone now */
            return;
        }
        reply.packet = packet;
        reply.n = (size_t)n;
    } else {
        reply.failure = status_of_failure(status);
    }
    q->done(&reply, q->arg); /* last act: q may be gone now */
}

static void send_by(struct transport_query *q, enum way way)
{
    struct transport *t = q->transport;
    bool edns = way != WAY_PLAIN && !q->tried[WAY_PLAIN];
    size_t n = dns_message_build(q->question, draw_id(t), edns, q->packet);

    if (t->expects_forgers)
        dns_message_mix_case(q->packet, draw(t, DNS_WIRE_NAME_MAX / 8 + 1));
    q->tried[way] = true;
    q->channel = channel_for(t, way);
    q->channel->in_flight++;
    arm(q->channel, t->timeout_ms);
    ares_send(q->channel->ares, q->packet, (int)n, on_reply, q); /* last act: q may be gone now */
}

void transport_ask(struct transport *t, struct transport_query *q, const struct dns_question *question,
                   transport_done_fn *done, void *arg)
{
    *q = (struct transport_query){.transport = t, .question = question, .done = done, .arg = arg};
    send_by(q, WAY_USUAL);
}

void transport_abandon(struct transport_query *q)
{
    q->abandoned = true;
}

/* ---- birth and death ---- */

static int ares_library_status;

static void init_library(void)
{
    ares_library_status = ares_library_init(ARES_LIB_INIT_ALL);
}

static int open_channel(struct transport *t, struct transport_channel *channel, int flags,
                        const struct dns_settings *settings, struct fail *fail)
{
    struct ares_options options = {
        .flags = flags | ARES_FLAG_NOCHECKRESP,
        .timeout = (int)settings->timeout_ms,
        .tries = (int)settings->tries,
        .ednspsz = DNS_EDNS_BYTES,
        .sock_state_cb = on_socket_state,
        .sock_state_cb_data = channel,
    };
    int mask = ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_EDNSPSZ |
               ARES_OPT_SOCK_STATE_CB | ARES_OPT_NOROTATE;
    int status;

#ifdef ARES_OPT_QUERY_CACHE
    options.qcache_max_ttl = 0; /* ours knows more */
    mask |= ARES_OPT_QUERY_CACHE;
#endif
    channel->transport = t;
    status = ares_init_options(&channel->ares, &options, mask);
    if (status == ARES_SUCCESS)
        return 0;
    channel->ares = NULL;
    return fail_set(fail, "cannot start the DNS resolver: %s", ares_strerror(status));
}

static int set_servers(struct transport_channel *channel, const struct dns_settings *settings,
                       struct fail *fail)
{
    struct arena *mem;
    struct buf list;
    int status;

    if (settings->servers_count == 0)
        return 0;
    mem = arena_new(0);
    buf_init(&list, settings->servers_count * (IP_TEXT_MAX + 10));
    for (size_t i = 0; i < settings->servers_count; i++) {
        buf_add_z(&list, i > 0 ? "," : "");
        buf_add_z(&list, endpoint_text(mem, &settings->servers[i]));
    }
    status = ares_set_servers_ports_csv(channel->ares, buf_z(&list));
    buf_fini(&list);
    arena_free(&mem);
    if (status != ARES_SUCCESS)
        return fail_set(fail, "cannot use the DNS servers of the settings: %s", ares_strerror(status));
    return 0;
}

static int open_with_servers(struct transport *t, size_t at, int flags, const struct dns_settings *settings,
                             struct fail *fail)
{
    struct transport_channel *channel = &t->channels[at];

    return open_channel(t, channel, flags, settings, fail) == 0 ? set_servers(channel, settings, fail) : -1;
}

static bool is_loopback(const struct ares_addr_port_node *server)
{
    struct ip ip = {.family = server->family == AF_INET ? 4 : 6};

    memcpy(ip.b, &server->addr, ip.family == 4 ? 4 : 16);
    return ip_is_loopback(&ip);
}

/* True when every server is on this machine; then nobody between can have set the AD bit or can forge
 * answers. */
static bool all_loopback(const struct ares_addr_port_node *servers)
{
    for (const struct ares_addr_port_node *s = servers; s != NULL; s = s->next)
        if (!is_loopback(s))
            return false;
    return servers != NULL;
}

/* The second server first, the first one last. */
static int rotate_servers(struct transport *t, struct ares_addr_port_node **servers, struct fail *fail)
{
    struct ares_addr_port_node *first = *servers, *last = first;

    while (last->next != NULL)
        last = last->next;
    *servers = first->next;
    last->next = first;
    first->next = NULL;
    if (ares_set_servers_ports(t->channels[WAY_OTHER_SERVER].ares, *servers) != ARES_SUCCESS)
        return fail_set(fail, "cannot set the order of the DNS servers");
    return 0;
}

/* Sockets stay open (some microseconds less a question) only to servers on loopback: elsewhere a port that
 * changes is the better part of an id (RFC 5452 9.2). */
static int open_usual_channels(struct transport *t, const struct dns_settings *settings, struct fail *fail)
{
    int flags = ARES_FLAG_EDNS | (t->expects_forgers ? 0 : ARES_FLAG_STAYOPEN);

    t->ports = t->expects_forgers ? PORTS : 1;
    for (size_t i = 0; i < t->ports; i++)
        if (open_with_servers(t, WAY_USUAL + i, flags, settings, fail) != 0)
            return -1;
    return t->expects_forgers
               ? open_with_servers(t, WAY_TCP, ARES_FLAG_EDNS | ARES_FLAG_USEVC, settings, fail)
               : 0;
}

/* The plain channel comes first and tells which servers there are. */
static int open_channels(struct transport *t, const struct dns_settings *settings, struct fail *fail)
{
    struct ares_addr_port_node *servers = NULL;
    int result = -1;

    if (open_with_servers(t, WAY_PLAIN, 0, settings, fail) != 0)
        return -1;
    if (ares_get_servers_ports(t->channels[WAY_PLAIN].ares, &servers) != ARES_SUCCESS)
        return fail_set(fail, "cannot read the list of DNS servers");
    t->is_local = all_loopback(servers);
    t->expects_forgers =
        settings->forgers == DNS_FORGERS_AUTO ? !t->is_local : settings->forgers == DNS_FORGERS_EXPECTED;
    if (open_usual_channels(t, settings, fail) != 0)
        goto out;
    if (servers != NULL && servers->next != NULL &&
        (open_channel(t, &t->channels[WAY_OTHER_SERVER], ARES_FLAG_EDNS, settings, fail) != 0 ||
         rotate_servers(t, &servers, fail) != 0))
        goto out;
    result = 0;
out:
    ares_free_data(servers);
    return result;
}

struct transport *transport_new(struct loop *loop, const struct dns_settings *settings, struct fail *fail)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    struct transport *t = calloc(1, sizeof(*t));

    if (t == NULL)
        out_of_memory();
    pthread_once(&once, init_library);
    t->loop = loop;
    t->timeout_ms = settings->timeout_ms;
    if (ares_library_status != ARES_SUCCESS)
        fail_set(fail, "cannot start c-ares: %s", ares_strerror(ares_library_status));
    else if (open_channels(t, settings, fail) == 0)
        return t;
    transport_free(&t);
    return NULL;
}

void transport_free(struct transport **transport)
{
    struct transport *t = *transport;

    *transport = NULL;
    if (t == NULL)
        return;
    for (size_t i = 0; i < COUNT(t->channels); i++) {
        timer_stop(&t->channels[i].tick);
        if (t->channels[i].ares != NULL)
            ares_destroy(t->channels[i].ares); /* calls on_reply for each question that is out */
    }
    free(t);
}

/* ---- looking at it ---- */

bool transport_is_local(const struct transport *t)
{
    return t->is_local;
}

struct transport_counts transport_counts(const struct transport *t)
{
    return t->counts;
}

size_t transport_servers(const struct transport *t, struct endpoint *servers_out, size_t most)
{
    struct ares_addr_port_node *servers = NULL;
    size_t count = 0;

    if (ares_get_servers_ports(t->channels[WAY_PLAIN].ares, &servers) != ARES_SUCCESS)
        return 0;
    for (const struct ares_addr_port_node *s = servers; s != NULL; s = s->next, count++) {
        if (count >= most)
            continue;
        servers_out[count] = (struct endpoint){
            .ip.family = s->family == AF_INET ? 4 : 6,
            .port = (uint16_t)(s->udp_port != 0 ? s->udp_port : 53),
        };
        memcpy(servers_out[count].ip.b, &s->addr, s->family == AF_INET ? 4 : 16);
    }
    ares_free_data(servers);
    return count;
}
