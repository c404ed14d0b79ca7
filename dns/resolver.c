/*
 * How c-ares is kept on a short leash:
 *
 * - Packets are built and read here; ares_send() only carries them. So no name meets c-ares' escapes, and
 *   TTLs, the AD bit and rcodes are not lost on the way.
 * - It cannot call off a single query, and may answer inside ares_send(). A question is therefore an object
 *   of ours that waits for a flight; a flight belongs to c-ares until it calls back; and an answer always
 *   reaches its asker from the loop, never from within c-ares: askers may ask again, cancel, or free the
 *   resolver.
 * - Version 1.18 turns EDNS off for a whole channel when one server answers FORMERR. The question is asked
 *   again without EDNS on a channel of its own. After such an event answers above 512 octets come by TCP:
 *   slower, still right.
 * - ARES_FLAG_NOCHECKRESP lets SERVFAIL and REFUSED through as answers. In return asking the next server is
 *   left to us: once, on a channel whose servers stand in another order.
 * - A channel has one socket a server, and so one source port while questions are out. Where forgers are
 *   expected the questions are spread over several channels, by chance.
 */
#include "base/hash.h"

#include "dns/resolver.h"

#include "base/buf.h"
#include "base/bug.h"
#include "base/log.h"
#include "dns/cache.h"
#include "dns/health.h"
#include "dns/measure.h"

#include <ares.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/random.h>

enum {
    CACHE_BYTES_AN_ENTRY = 512,
    SCRATCH_BYTES = 16 * 1024,
    RANDOM_BYTES = 256, /* drawn at once */
    PORTS = 8,          /* channels for the usual way, where forgers are expected */
    CANARY_MS = 30 * 1000,
    CANARY_HASTE = 6, /* times as often after a failure */
};

/* The usual way may have several channels: they stand at the end of the table. */
enum way { WAY_PLAIN, WAY_OTHER_SERVER, WAY_TCP, WAY_USUAL, WAYS };

struct socket_watch {
    struct socket_watch *next;
    struct channel *channel;
    int fd;
    struct watch *watch;
};

struct channel {
    struct resolver *resolver;
    ares_channel ares;
    struct timer tick; /* for c-ares' own time-outs */
    size_t in_flight;
    struct socket_watch *sockets;
};

TAILQ_HEAD(question_list, question);

struct question {
    struct dns_token token; /* first: what the asker holds */
    TAILQ_ENTRY(question) link;
    struct question_list *list; /* a flight's, or the resolver's `ready` */
    struct later later;
    struct dns_reply *reply;
    uint32_t ttl_s;
    bool cached;
    enum dns_type type;
    dns_done_fn *done;
    void *arg;
    char name[];
};

struct flight {
    UT_hash_handle hh;
    struct resolver *resolver;
    struct channel *channel; /* the one it is on now */
    struct timer deadline;
    struct question_list waiting;
    bool over;     /* nobody waits, and it is not in the table: only c-ares still holds it */
    bool is_probe; /* of the canary, whoever else waits for it */
    bool tried[WAYS];
    int64_t since_ms;
    unsigned char query[DNS_QUERY_MAX]; /* as it was sent last */
    struct dns_question question;
};

struct resolver {
    struct dns dns; /* first */
    struct loop *loop;
    struct channel channels[WAY_USUAL + PORTS];
    size_t ports; /* of the usual way */
    struct flight *flights;
    struct question_list ready;
    struct dns_cache *cache;
    struct arena *scratch;
    int64_t timeout_ms, deadline_ms;
    bool trusts_ad, expects_forgers, closing;
    unsigned char random[RANDOM_BYTES];
    size_t random_left;
    struct dns_health health;
    bool was_sick;
    char *canary;
    int64_t canary_ms;
    struct timer probe;
    size_t entries_told; /* to the metric */
    struct resolver_counts counts;
};

/* ---- sockets and time-outs of c-ares ---- */

static void arm(struct channel *channel, int64_t after_ms);

/* One timer a channel, looked at when it rings, not with every question: c-ares walks all it has to tell its
 * next time-out. A question that is sent meanwhile runs out no earlier than timeout_ms from then, so that is
 * the longest sleep. */
static void on_tick(void *arg)
{
    struct channel *channel = arg;
    int64_t most = channel->resolver->timeout_ms, next = most;
    struct timeval tv;

    ares_process_fd(channel->ares, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    if (channel->in_flight == 0)
        return;
    if (ares_timeout(channel->ares, NULL, &tv) != NULL)
        next = (int64_t)tv.tv_sec * 1000 + tv.tv_usec / 1000 + 1;
    arm(channel, next < most ? next : most);
}

static void arm(struct channel *channel, int64_t after_ms)
{
    if (!timer_is_started(&channel->tick))
        timer_start(&channel->tick, channel->resolver->loop, after_ms, on_tick, channel);
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
    struct channel *channel = arg;
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
        s->watch = watch_start(channel->resolver->loop, fd, events, on_ready, s);
        channel->sockets = s;
    } else if (s != NULL && events != 0) {
        watch_events(s->watch, events);
    } else if (s != NULL) {
        *at = s->next;
        watch_stop(&s->watch);
        free(s);
    }
}

/* ---- answers on their way to the askers ---- */

static void leave_list(struct question *q)
{
    TAILQ_REMOVE(q->list, q, link);
    q->list = NULL;
}

static void join_list(struct question *q, struct question_list *list)
{
    TAILQ_INSERT_TAIL(list, q, link);
    q->list = list;
}

static void on_deliver(void *arg)
{
    struct question *q = arg;
    struct dns_answer answer = q->reply->answer;

    leave_list(q);
    answer.type = q->type;
    answer.name = q->name;
    answer.ttl_s = q->ttl_s;
    answer.cached = q->cached;
    q->done(&answer, q->arg); /* the resolver may be gone now */
    dns_reply_release(&q->reply);
    free(q);
}

/* Takes the reply. */
static void deliver_later(struct resolver *r, struct question *q, struct dns_reply *reply, uint32_t ttl_s,
                          bool cached)
{
    join_list(q, &r->ready);
    q->reply = reply;
    q->ttl_s = ttl_s;
    q->cached = cached;
    later_start(&q->later, r->loop, on_deliver, q);
}

static struct dns_reply *reply_of_status(enum dns_status status)
{
    return dns_reply_new(&(struct dns_answer){.status = status});
}

static void drop_question(struct question *q)
{
    leave_list(q);
    later_cancel(&q->later);
    dns_reply_release(&q->reply);
    free(q);
}

/* ---- flights ---- */

static void tell_entries(struct resolver *r)
{
    size_t now = dns_cache_entries(r->cache);

    if (now != r->entries_told)
        dns_measure_entries((int64_t)now - (int64_t)r->entries_told);
    r->entries_told = now;
}

/* An answer that only tells of trouble gives way to an expired one (RFC 8767 4). */
static struct dns_reply *prefer_stale(struct resolver *r, const struct dns_question *question,
                                      struct dns_reply *reply)
{
    struct dns_reply *stale;

    if (!dns_is_temporary(reply->answer.status))
        return dns_reply_hold(reply);
    stale = dns_cache_revive(r->cache, question, loop_now_ms(r->loop));
    if (stale == NULL)
        return dns_reply_hold(reply);
    r->counts.stale++;
    dns_measure_cache(DNS_CACHE_STALE);
    return stale;
}

static enum dns_type type_of(const struct dns_question *question)
{
    return (enum dns_type)(question->key[0] << 8 | question->key[1]);
}

static void learn_health(struct flight *f, enum dns_status status);

/* Tells all who wait; the flight itself goes when c-ares has called back. */
static void end_flight(struct flight *f, struct dns_reply *reply)
{
    struct resolver *r = f->resolver;
    struct dns_reply *best = prefer_stale(r, &f->question, reply);
    struct question *q;

    timer_stop(&f->deadline);
    HASH_DEL(r->flights, f);
    f->over = true;
    dns_measure_query(type_of(&f->question), reply->answer.status, loop_now_ms(r->loop) - f->since_ms);
    learn_health(f, reply->answer.status);
    while ((q = TAILQ_FIRST(&f->waiting)) != NULL) {
        leave_list(q);
        deliver_later(r, q, dns_reply_hold(best), best->answer.ttl_s, best->answer.stale);
    }
    dns_reply_release(&best);
}

static void on_deadline(void *arg)
{
    struct flight *f = arg;
    struct dns_reply *reply = reply_of_status(DNS_TIMEOUT);

    f->resolver->counts.timeouts++;
    end_flight(f, reply);
    dns_reply_release(&reply);
}

static struct dns_reply *read_reply(struct resolver *r, const struct dns_question *question,
                                    const unsigned char *packet, size_t n)
{
    struct dns_answer answer;
    struct dns_reply *reply;

    dns_message_parse(r->scratch, question, packet, n, &answer);
    answer.authenticated = answer.authenticated && r->trusts_ad;
    reply = dns_reply_new(&answer);
    arena_reset(r->scratch);
    r->counts.servfails += answer.status == DNS_SERVFAIL;
    if (!dns_is_temporary(answer.status))
        dns_cache_put(r->cache, question, reply, loop_now_ms(r->loop));
    tell_entries(r);
    return reply;
}

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
static enum way next_way(const struct flight *f, const unsigned char *reply, size_t n)
{
    enum { SERVFAIL = 2, NOTIMP = 4, REFUSED = 5 };
    const struct resolver *r = f->resolver;
    unsigned rcode = dns_message_rcode(reply, n);

    if (r->expects_forgers && !f->tried[WAY_TCP] && !dns_message_is_echo(f->query, reply, n))
        return WAY_TCP; /* a forger, or a server that writes names its own way: by TCP it may */
    if ((rcode == DNS_RCODE_FORMERR || rcode == NOTIMP) && !f->tried[WAY_PLAIN])
        return WAY_PLAIN; /* RFC 6891 7: who knows no EDNS says FORMERR, and some say NOTIMP */
    if ((rcode == SERVFAIL || rcode == REFUSED) && !f->tried[WAY_OTHER_SERVER] &&
        r->channels[WAY_OTHER_SERVER].ares != NULL)
        return WAY_OTHER_SERVER;
    return WAYS;
}

static void send_flight(struct flight *f, enum way way);

static void on_reply(void *arg, int status, int timeouts, unsigned char *packet, int n)
{
    struct flight *f = arg;
    struct resolver *r = f->resolver;
    struct dns_reply *reply;
    enum way way = WAYS;

    (void)timeouts;
    f->channel->in_flight--;
    if (r->closing) {
        free(f);
        return;
    }
    if (status == ARES_SUCCESS && packet != NULL && n > 0) {
        r->counts.answered++;
        if (!f->over)
            way = next_way(f, packet, (size_t)n);
        r->counts.other_case += way == WAY_TCP;
        if (way != WAYS) {
            send_flight(f, way); /* last act: f may be gone now */
            return;
        }
        reply = read_reply(r, &f->question, packet, (size_t)n); /* a late one still serves the cache */
    } else {
        reply = reply_of_status(status_of_failure(status));
        r->counts.timeouts += !f->over && reply->answer.status == DNS_TIMEOUT;
    }
    if (!f->over)
        end_flight(f, reply);
    dns_reply_release(&reply);
    free(f);
}

/* Good for one use, before the next call. */
static const unsigned char *draw(struct resolver *r, size_t n)
{
    if (r->random_left < n) {
        if (getrandom(r->random, RANDOM_BYTES, 0) != RANDOM_BYTES)
            bug("getrandom gave no %d octets", RANDOM_BYTES);
        r->random_left = RANDOM_BYTES;
    }
    r->random_left -= n;
    return r->random + r->random_left;
}

/* c-ares takes the id from the packet, so it must be one that nobody guesses. */
static uint16_t draw_id(struct resolver *r)
{
    const unsigned char *random = draw(r, 2);

    return (uint16_t)(random[0] << 8 | random[1]);
}

static struct channel *channel_for(struct resolver *r, enum way way)
{
    return &r->channels[way == WAY_USUAL && r->ports > 1 ? WAY_USUAL + *draw(r, 1) % r->ports : way];
}

static void send_flight(struct flight *f, enum way way)
{
    struct resolver *r = f->resolver;
    bool edns = way != WAY_PLAIN && !f->tried[WAY_PLAIN];
    size_t n = dns_message_build(&f->question, draw_id(r), edns, f->query);

    if (r->expects_forgers)
        dns_message_mix_case(f->query, draw(r, DNS_WIRE_NAME_MAX / 8 + 1));
    f->tried[way] = true;
    f->channel = channel_for(r, way);
    f->channel->in_flight++;
    arm(f->channel, r->timeout_ms);
    ares_send(f->channel->ares, f->query, (int)n, on_reply, f); /* last act: f may be gone now */
}

static struct flight *find_flight(const struct resolver *r, const struct dns_question *question)
{
    struct flight *f;

    HASH_FIND(hh, r->flights, question->key, question->n, f);
    return f;
}

static struct flight *new_flight(struct resolver *r, const struct dns_question *question)
{
    struct flight *f = calloc(1, sizeof(*f));

    if (f == NULL)
        out_of_memory();
    f->resolver = r;
    f->since_ms = loop_now_ms(r->loop);
    f->question = *question;
    TAILQ_INIT(&f->waiting);
    HASH_ADD_KEYPTR(hh, r->flights, f->question.key, f->question.n, f);
    timer_start(&f->deadline, r->loop, r->deadline_ms, on_deadline, f);
    return f;
}

/* ---- health ---- */

static void probe_later(struct resolver *r, int64_t after_ms);

static void name_of(const struct dns_question *question, char name_out[DNS_NAME_MAX + 1])
{
    const unsigned char *p = question->key + 2;
    char *out = name_out;

    for (; *p != 0; p += 1 + *p) {
        if (out > name_out)
            *out++ = '.';
        memcpy(out, p + 1, *p);
        out += *p;
    }
    *out = '\0';
}

static void tell_health(struct resolver *r, const char *reason)
{
    if (r->was_sick == (reason != NULL))
        return;
    r->was_sick = reason != NULL;
    dns_measure_sick(r->was_sick ? 1 : -1);
    if (reason != NULL)
        log_note(LOG_WARNING, "dns-sick",
                 "the DNS does not answer (%s): nobody is refused for good by what it says", reason);
    else
        log_note(LOG_WARNING, "dns-well", "the DNS answers again");
}

static void learn_health(struct flight *f, enum dns_status status)
{
    struct resolver *r = f->resolver;
    int64_t now_ms = loop_now_ms(r->loop);
    char name[DNS_NAME_MAX + 1];

    name_of(&f->question, name);
    dns_health_end(&r->health, name, status, now_ms);
    if (f->is_probe) {
        dns_health_canary(&r->health, dns_is_temporary(status));
        probe_later(r, dns_is_temporary(status) ? r->canary_ms / CANARY_HASTE : r->canary_ms);
    }
    tell_health(r, dns_health_reason(&r->health, now_ms));
}

/* Outside, whatever the cache knows: it is the way there that is to be proved. */
static void on_probe_due(void *arg)
{
    struct resolver *r = arg;
    struct dns_question question;
    struct flight *f;

    if (!dns_question_init(&question, DNS_A, r->canary))
        return; /* the settings' own check has said so */
    f = find_flight(r, &question);
    if (f != NULL) {
        f->is_probe = true;
        return;
    }
    f = new_flight(r, &question);
    f->is_probe = true;
    send_flight(f, WAY_USUAL);
}

static void probe_later(struct resolver *r, int64_t after_ms)
{
    timer_start(&r->probe, r->loop, after_ms, on_probe_due, r);
}

/* ---- the interface ---- */

static const struct dns_ops resolver_ops;

static struct question *new_question(enum dns_type type, const char *name, dns_done_fn *done, void *arg)
{
    size_t n = strnlen(name, DNS_NAME_MAX + 1); /* longer ones are answered DNS_BADNAME, cut */
    struct question *q = malloc(sizeof(*q) + n + 1);

    if (q == NULL)
        out_of_memory();
    *q = (struct question){.type = type, .done = done, .arg = arg};
    memcpy(q->name, name, n);
    q->name[n] = '\0';
    return q;
}

static struct dns_token *resolver_query(struct dns *dns, enum dns_type type, const char *name,
                                        dns_done_fn *done, void *arg)
{
    struct resolver *r = (struct resolver *)dns;
    struct question *q = new_question(type, name, done, arg);
    struct dns_question question;
    struct dns_reply *reply;
    struct flight *f;
    uint32_t ttl_s;

    r->counts.asked++;
    if (!dns_question_init(&question, type, name)) {
        deliver_later(r, q, reply_of_status(DNS_BADNAME), 0, false);
    } else if ((reply = dns_cache_find(r->cache, &question, loop_now_ms(r->loop), &ttl_s)) != NULL) {
        r->counts.from_cache++;
        dns_measure_cache(DNS_CACHE_HIT);
        deliver_later(r, q, reply, ttl_s, true);
    } else if ((f = find_flight(r, &question)) != NULL) {
        r->counts.joined++;
        dns_measure_cache(DNS_CACHE_JOINED);
        join_list(q, &f->waiting);
    } else {
        dns_measure_cache(DNS_CACHE_MISS);
        f = new_flight(r, &question);
        join_list(q, &f->waiting);
        send_flight(f, WAY_USUAL); /* last act: f may be gone now */
    }
    return &q->token;
}

static void resolver_cancel(struct dns *dns, struct dns_token *token)
{
    struct question *q = (struct question *)token;

    (void)dns;
    if (q->list == NULL)
        bug("dns_cancel of a question that was answered");
    drop_question(q); /* its flight goes on, for the cache */
}

static const struct dns_ops resolver_ops = {resolver_query, resolver_cancel};

/* ---- birth and death ---- */

static int ares_library_status;

static void init_library(void)
{
    ares_library_status = ares_library_init(ARES_LIB_INIT_ALL);
}

static int open_channel(struct resolver *r, struct channel *channel, int flags,
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
    channel->resolver = r;
    status = ares_init_options(&channel->ares, &options, mask);
    if (status == ARES_SUCCESS)
        return 0;
    channel->ares = NULL;
    return fail_set(fail, "cannot start the DNS resolver: %s", ares_strerror(status));
}

static int set_servers(struct resolver *r, struct channel *channel, const struct dns_settings *settings,
                       struct fail *fail)
{
    struct buf list;
    int status;

    if (settings->servers_count == 0)
        return 0;
    buf_init(&list, settings->servers_count * (IP_TEXT_MAX + 10));
    for (size_t i = 0; i < settings->servers_count; i++) {
        buf_add_z(&list, i > 0 ? "," : "");
        buf_add_z(&list, endpoint_text(r->scratch, &settings->servers[i]));
    }
    status = ares_set_servers_ports_csv(channel->ares, buf_z(&list));
    buf_fini(&list);
    if (status != ARES_SUCCESS)
        return fail_set(fail, "cannot use the DNS servers of the settings: %s", ares_strerror(status));
    return 0;
}

static int open_with_servers(struct resolver *r, size_t at, int flags, const struct dns_settings *settings,
                             struct fail *fail)
{
    struct channel *channel = &r->channels[at];

    return open_channel(r, channel, flags, settings, fail) == 0 ? set_servers(r, channel, settings, fail)
                                                                : -1;
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
static int rotate_servers(struct resolver *r, struct ares_addr_port_node **servers, struct fail *fail)
{
    struct ares_addr_port_node *first = *servers, *last = first;

    while (last->next != NULL)
        last = last->next;
    *servers = first->next;
    last->next = first;
    first->next = NULL;
    if (ares_set_servers_ports(r->channels[WAY_OTHER_SERVER].ares, *servers) != ARES_SUCCESS)
        return fail_set(fail, "cannot set the order of the DNS servers");
    return 0;
}

/* Sockets stay open (some microseconds less a question) only to servers on loopback: elsewhere a port that
 * changes is the better part of an id (RFC 5452 9.2). */
static int open_usual_channels(struct resolver *r, const struct dns_settings *settings, struct fail *fail)
{
    int flags = ARES_FLAG_EDNS | (r->expects_forgers ? 0 : ARES_FLAG_STAYOPEN);

    r->ports = r->expects_forgers ? PORTS : 1;
    for (size_t i = 0; i < r->ports; i++)
        if (open_with_servers(r, WAY_USUAL + i, flags, settings, fail) != 0)
            return -1;
    return r->expects_forgers
               ? open_with_servers(r, WAY_TCP, ARES_FLAG_EDNS | ARES_FLAG_USEVC, settings, fail)
               : 0;
}

/* The plain channel comes first and tells which servers there are. */
static int open_channels(struct resolver *r, const struct dns_settings *settings, struct fail *fail)
{
    struct ares_addr_port_node *servers = NULL;
    int result = -1;

    if (open_with_servers(r, WAY_PLAIN, 0, settings, fail) != 0)
        return -1;
    if (ares_get_servers_ports(r->channels[WAY_PLAIN].ares, &servers) != ARES_SUCCESS)
        return fail_set(fail, "cannot read the list of DNS servers");
    r->trusts_ad = all_loopback(servers);
    r->expects_forgers =
        settings->forgers == DNS_FORGERS_AUTO ? !r->trusts_ad : settings->forgers == DNS_FORGERS_EXPECTED;
    if (open_usual_channels(r, settings, fail) != 0)
        goto out;
    if (servers != NULL && servers->next != NULL &&
        (open_channel(r, &r->channels[WAY_OTHER_SERVER], ARES_FLAG_EDNS, settings, fail) != 0 ||
         rotate_servers(r, &servers, fail) != 0))
        goto out;
    result = 0;
out:
    ares_free_data(servers);
    return result;
}

static void start_canary(struct resolver *r, const struct dns_settings *settings)
{
    if (settings->canary == NULL || *settings->canary == '\0')
        return;
    r->canary_ms = settings->canary_ms > 0 ? settings->canary_ms : CANARY_MS;
    r->canary = strdup(settings->canary);
    if (r->canary == NULL)
        out_of_memory();
    probe_later(r, 0);
}

struct dns *resolver_new(struct loop *loop, const struct dns_settings *settings, struct fail *fail)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    struct resolver *r = calloc(1, sizeof(*r));
    struct dns *dns;

    if (r == NULL)
        out_of_memory();
    dns = &r->dns;
    pthread_once(&once, init_library);
    dns->ops = &resolver_ops;
    r->loop = loop;
    r->timeout_ms = settings->timeout_ms;
    r->deadline_ms = settings->timeout_ms * settings->tries;
    TAILQ_INIT(&r->ready);
    r->cache = dns_cache_new(settings->cache_entries, settings->cache_entries * CACHE_BYTES_AN_ENTRY,
                             settings->stale_ms);
    r->scratch = arena_new(SCRATCH_BYTES);
    if (ares_library_status != ARES_SUCCESS) {
        fail_set(fail, "cannot start c-ares: %s", ares_strerror(ares_library_status));
    } else if (open_channels(r, settings, fail) == 0) {
        start_canary(r, settings);
        return dns;
    }
    resolver_free(&dns);
    return NULL;
}

static void drop_questions(struct question_list *list)
{
    while (!TAILQ_EMPTY(list))
        drop_question(TAILQ_FIRST(list));
}

void resolver_free(struct dns **dns)
{
    struct resolver *r = (struct resolver *)*dns;
    struct flight *f, *next;

    *dns = NULL;
    if (r == NULL)
        return;
    r->closing = true;
    drop_questions(&r->ready);
    HASH_ITER(hh, r->flights, f, next)
    {
        drop_questions(&f->waiting);
        timer_stop(&f->deadline);
        HASH_DEL(r->flights, f);
    }
    timer_stop(&r->probe);
    for (size_t i = 0; i < COUNT(r->channels); i++) {
        timer_stop(&r->channels[i].tick);
        if (r->channels[i].ares != NULL)
            ares_destroy(r->channels[i].ares); /* calls on_reply for each flight, which frees it */
    }
    if (r->was_sick)
        dns_measure_sick(-1);
    dns_measure_entries(-(int64_t)r->entries_told);
    dns_cache_free(&r->cache);
    arena_free(&r->scratch);
    free(r->canary);
    free(r);
}

struct resolver_counts resolver_counts(const struct dns *dns)
{
    const struct resolver *r = (const struct resolver *)dns;
    struct resolver_counts counts = r->counts;

    counts.cache_entries = dns_cache_entries(r->cache);
    return counts;
}

struct resolver_health resolver_health(struct dns *dns)
{
    struct resolver *r = (struct resolver *)dns;
    const char *reason;

    if (dns->ops != &resolver_ops)
        return (struct resolver_health){false, NULL};
    reason = dns_health_reason(&r->health, loop_now_ms(r->loop));
    tell_health(r, reason);
    return (struct resolver_health){reason != NULL, reason};
}

size_t resolver_servers(const struct dns *dns, struct endpoint *servers_out, size_t most)
{
    const struct resolver *r = (const struct resolver *)dns;
    struct ares_addr_port_node *servers = NULL;
    size_t count = 0;

    if (ares_get_servers_ports(r->channels[WAY_PLAIN].ares, &servers) != ARES_SUCCESS)
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
