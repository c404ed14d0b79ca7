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
 */
#include "base/hash.h"

#include "dns/resolver.h"

#include "base/buf.h"
#include "dns/cache.h"

#include <ares.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/random.h>

enum { CACHE_BYTES_AN_ENTRY = 512, SCRATCH_BYTES = 16 * 1024, IDS = 64 };

enum way { WAY_USUAL, WAY_PLAIN, WAY_OTHER_SERVER, WAYS };

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
    bool over; /* nobody waits, and it is not in the table: only c-ares still holds it */
    bool tried[WAYS];
    struct dns_question question;
};

struct resolver {
    struct dns dns; /* first */
    struct loop *loop;
    struct channel channels[WAYS];
    bool has_channel[WAYS];
    struct flight *flights;
    struct question_list ready;
    struct dns_cache *cache;
    struct arena *scratch;
    int64_t timeout_ms, deadline_ms;
    bool trusts_ad, closing;
    uint16_t ids[IDS];
    size_t ids_left;
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

/* Tells all who wait; the flight itself goes when c-ares has called back. */
static void end_flight(struct flight *f, struct dns_reply *reply)
{
    struct resolver *r = f->resolver;
    struct question *q;

    timer_stop(&f->deadline);
    HASH_DEL(r->flights, f);
    f->over = true;
    while ((q = TAILQ_FIRST(&f->waiting)) != NULL) {
        leave_list(q);
        deliver_later(r, q, dns_reply_hold(reply), reply->answer.ttl_s, false);
    }
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

/* The way to ask once more after this rcode, or WAYS. */
static enum way next_way(const struct flight *f, unsigned rcode)
{
    enum { SERVFAIL = 2, NOTIMP = 4, REFUSED = 5 };
    const struct resolver *r = f->resolver;

    if ((rcode == DNS_RCODE_FORMERR || rcode == NOTIMP) && !f->tried[WAY_PLAIN])
        return WAY_PLAIN; /* RFC 6891 7: who knows no EDNS says FORMERR, and some say NOTIMP */
    if ((rcode == SERVFAIL || rcode == REFUSED) && !f->tried[WAY_OTHER_SERVER] &&
        r->has_channel[WAY_OTHER_SERVER])
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
            way = next_way(f, dns_message_rcode(packet, (size_t)n));
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

/* c-ares takes the id from the packet, so it must be one that nobody guesses. */
static uint16_t draw_id(struct resolver *r)
{
    if (r->ids_left == 0) {
        if (getrandom(r->ids, sizeof(r->ids), 0) != (ssize_t)sizeof(r->ids))
            bug("getrandom gave no query ids");
        r->ids_left = IDS;
    }
    return r->ids[--r->ids_left];
}

static void send_flight(struct flight *f, enum way way)
{
    struct resolver *r = f->resolver;
    unsigned char packet[DNS_QUERY_MAX];
    bool edns = way != WAY_PLAIN && !f->tried[WAY_PLAIN];
    size_t n = dns_message_build(&f->question, draw_id(r), edns, packet);

    f->tried[way] = true;
    f->channel = &r->channels[way];
    f->channel->in_flight++;
    arm(f->channel, r->timeout_ms);
    ares_send(f->channel->ares, packet, (int)n, on_reply, f);
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
    f->question = *question;
    TAILQ_INIT(&f->waiting);
    HASH_ADD_KEYPTR(hh, r->flights, f->question.key, f->question.n, f);
    timer_start(&f->deadline, r->loop, r->deadline_ms, on_deadline, f);
    return f;
}

/* ---- the interface ---- */

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
        deliver_later(r, q, reply, ttl_s, true);
    } else if ((f = find_flight(r, &question)) != NULL) {
        r->counts.joined++;
        join_list(q, &f->waiting);
    } else {
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

/* ---- birth and death ---- */

static int ares_library_status;

static void init_library(void)
{
    ares_library_status = ares_library_init(ARES_LIB_INIT_ALL);
}

static int open_channel(struct resolver *r, enum way way, int flags, const struct dns_settings *settings,
                        struct fail *fail)
{
    struct channel *channel = &r->channels[way];
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
    if (status != ARES_SUCCESS)
        return fail_set(fail, "cannot start the DNS resolver: %s", ares_strerror(status));
    r->has_channel[way] = true;
    return 0;
}

static int set_servers(struct resolver *r, enum way way, const struct dns_settings *settings,
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
    status = ares_set_servers_ports_csv(r->channels[way].ares, buf_z(&list));
    buf_fini(&list);
    if (status != ARES_SUCCESS)
        return fail_set(fail, "cannot use the DNS servers of the settings: %s", ares_strerror(status));
    return 0;
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

/* The plain channel comes first and tells which servers there are. Sockets stay open (some microseconds less
 * a question) only to servers on loopback: elsewhere a port that changes is the better part of an id (RFC
 * 5452 9.2). */
static int open_channels(struct resolver *r, const struct dns_settings *settings, struct fail *fail)
{
    struct ares_addr_port_node *servers = NULL;
    int result = -1;

    if (open_channel(r, WAY_PLAIN, 0, settings, fail) != 0 || set_servers(r, WAY_PLAIN, settings, fail) != 0)
        return -1;
    if (ares_get_servers_ports(r->channels[WAY_PLAIN].ares, &servers) != ARES_SUCCESS)
        return fail_set(fail, "cannot read the list of DNS servers");
    r->trusts_ad = all_loopback(servers);
    if (open_channel(r, WAY_USUAL, ARES_FLAG_EDNS | (r->trusts_ad ? ARES_FLAG_STAYOPEN : 0), settings,
                     fail) != 0 ||
        set_servers(r, WAY_USUAL, settings, fail) != 0)
        goto out;
    if (servers != NULL && servers->next != NULL &&
        (open_channel(r, WAY_OTHER_SERVER, ARES_FLAG_EDNS, settings, fail) != 0 ||
         rotate_servers(r, &servers, fail) != 0))
        goto out;
    result = 0;
out:
    ares_free_data(servers);
    return result;
}

struct dns *resolver_new(struct loop *loop, const struct dns_settings *settings, struct fail *fail)
{
    static const struct dns_ops ops = {resolver_query, resolver_cancel};
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    struct resolver *r = calloc(1, sizeof(*r));
    struct dns *dns;

    if (r == NULL)
        out_of_memory();
    dns = &r->dns;
    pthread_once(&once, init_library);
    dns->ops = &ops;
    r->loop = loop;
    r->timeout_ms = settings->timeout_ms;
    r->deadline_ms = settings->timeout_ms * settings->tries;
    TAILQ_INIT(&r->ready);
    r->cache = dns_cache_new(settings->cache_entries, settings->cache_entries * CACHE_BYTES_AN_ENTRY);
    r->scratch = arena_new(SCRATCH_BYTES);
    if (ares_library_status != ARES_SUCCESS)
        fail_set(fail, "cannot start c-ares: %s", ares_strerror(ares_library_status));
    else if (open_channels(r, settings, fail) == 0)
        return dns;
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
    for (int way = 0; way < WAYS; way++) {
        timer_stop(&r->channels[way].tick);
        if (r->has_channel[way])
            ares_destroy(r->channels[way].ares); /* calls on_reply for each flight, which frees it */
    }
    dns_cache_free(&r->cache);
    arena_free(&r->scratch);
    free(r);
}

struct resolver_counts resolver_counts(const struct dns *dns)
{
    const struct resolver *r = (const struct resolver *)dns;
    struct resolver_counts counts = r->counts;

    counts.cache_entries = dns_cache_entries(r->cache);
    return counts;
}
