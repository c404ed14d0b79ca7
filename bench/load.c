/*
 * bench/load.c - a crowd of SMTP clients in one process
 *
 * Plays sessions against HOST:PORT from many addresses of 11/8 and prints one line of JSON: what was
 * delivered, refused or failed, and how long it took. Messages are files, signed beforehand, with CRLF line
 * ends and no line that begins with a dot. The envelope goes out as a group (MAIL, RCPT, DATA), as an MTA
 * with PIPELINING sends it.
 *
 *   send   sessions of -n messages each; a recipient who is refused ends the session
 *   ask    sessions of -n transactions each, with -R recipients whom nobody has seen before; all of them must be
 *          put off, and there is no DATA. -g of them leave together, and their answers are waited for
 *   bot    talks before the greeting, and leaves as soon as it is refused
 *   idle   -N sessions that say EHLO and then nothing; "ready" when all are there, until standard input ends
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MESSAGES_MAX = 256, COMPLAINTS_MAX = 3, GRACE_MS = 20000, GROUP_MAX = 20, RCPT_ROOM = 64 };

enum mode { MODE_SEND, MODE_ASK, MODE_BOT, MODE_IDLE };
enum state {
    AT_CONNECT,
    AT_BANNER,
    AT_EHLO,
    AT_STARTTLS,
    AT_HANDSHAKE,
    AT_ENVELOPE,
    AT_MAIL,
    AT_RCPT,
    AT_DOT,
    AT_QUIT,
    AT_REST
};

struct message {
    char *p;
    size_t n;
};

struct session {
    int fd;
    SSL *ssl;
    enum state state;
    unsigned due, number, messages_left, recipients_left;
    int code; /* of the last reply */
    const struct message *message;
    int64_t begun_us, asked_us; /* of the session; of the dot, or the recipients */
    const char *out; /* what the kernel has not taken yet */
    size_t out_n, in_n;
    char command[GROUP_MAX * RCPT_ROOM], in[2048];
};

struct samples {
    uint32_t *us;
    size_t n, room;
};

static struct {
    enum mode mode;
    unsigned sessions, at_once, messages_a_session, recipients, group, addresses, network;
    int64_t run_us;
    bool starttls, fresh_senders;
    const char *domain, *rcpt;
    struct sockaddr_in server;
    struct message messages[MESSAGES_MAX];
    unsigned messages_count;
} ask = {.at_once = 20,
         .messages_a_session = 1,
         .recipients = 1,
         .group = 1,
         .addresses = 64,
         .network = 1,
         .domain = "sender.example",
         .rcpt = "user@rcpt.example"};

static struct {
    unsigned begun, open, active, ended, resting;
    unsigned delivered, refused, failed, messages_begun, complaints;
    int64_t start_us, last_us;
    struct samples answer, whole;
    char refusal[200]; /* the last one */
} seen;

static int poller;
static SSL_CTX *tls;

static void die(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    fputs("load: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    exit(1);
}

static int64_t now_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

/* ---- figures ---- */

static void add_sample(struct samples *s, int64_t us)
{
    if (s->n == s->room) {
        s->room = s->room > 0 ? s->room * 2 : 1024;
        s->us = realloc(s->us, s->room * sizeof(*s->us));
        if (s->us == NULL)
            die("out of memory");
    }
    s->us[s->n++] = (uint32_t)us;
}

static int by_size(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return (x > y) - (x < y);
}

static double percentile_ms(const struct samples *s, unsigned percent)
{
    return s->n > 0 ? s->us[(s->n - 1) * percent / 100] / 1000.0 : 0;
}

static double cpu_ms(const struct rusage *used)
{
    return (double)(used->ru_utime.tv_sec + used->ru_stime.tv_sec) * 1e3 +
           (double)(used->ru_utime.tv_usec + used->ru_stime.tv_usec) / 1e3;
}

static void report(void)
{
    double seconds = (double)(seen.last_us - seen.start_us) / 1e6;
    struct rusage own;

    getrusage(RUSAGE_SELF, &own);
    qsort(seen.answer.us, seen.answer.n, sizeof(uint32_t), by_size);
    qsort(seen.whole.us, seen.whole.n, sizeof(uint32_t), by_size);
    printf("{\"delivered\": %u, \"refused\": %u, \"failed\": %u, \"sessions\": %u, \"seconds\": %.3f, "
           "\"answer_p50_ms\": %.2f, \"answer_p99_ms\": %.2f, \"session_p50_ms\": %.2f, \"session_p99_ms\": %.2f, "
           "\"cpu_ms\": %.1f, \"refusal\": \"%s\"}\n",
           seen.delivered, seen.refused, seen.failed, seen.ended, seconds, percentile_ms(&seen.answer, 50),
           percentile_ms(&seen.answer, 99), percentile_ms(&seen.whole, 50), percentile_ms(&seen.whole, 99),
           cpu_ms(&own), seen.refusal);
}

/* ---- the life of a session ---- */

static bool time_is_up(void)
{
    return ask.run_us > 0 && now_us() - seen.start_us >= ask.run_us;
}

static void end_session(struct session *s, const char *trouble)
{
    if (trouble != NULL) {
        seen.failed++;
        if (seen.complaints++ < COMPLAINTS_MAX)
            fprintf(stderr, "load: session %u in state %d: %s (last reply %d)\n", s->number, (int)s->state,
                    trouble, s->code);
    }
    add_sample(&seen.whole, now_us() - s->begun_us);
    seen.last_us = now_us();
    if (s->state == AT_REST)
        seen.resting--;
    else
        seen.active--;
    SSL_free(s->ssl);
    close(s->fd);
    free(s);
    seen.open--;
    seen.ended++;
}

static void want(struct session *s, uint32_t events, int how)
{
    struct epoll_event event = {.events = events, .data.ptr = s};

    if (epoll_ctl(poller, how, s->fd, &event) != 0)
        die("epoll_ctl: %s", strerror(errno));
}

static ssize_t transport_write(struct session *s)
{
    size_t n;

    if (s->ssl == NULL)
        return send(s->fd, s->out, s->out_n, MSG_NOSIGNAL);
    ERR_clear_error();
    if (SSL_write_ex(s->ssl, s->out, s->out_n, &n) == 1)
        return (ssize_t)n;
    errno = SSL_get_error(s->ssl, 0) == SSL_ERROR_WANT_WRITE ? EAGAIN : EPIPE;
    return -1;
}

/* Broken pipes are noticed when reading: the server's last words come first. */
static void push(struct session *s, bool was_blocked)
{
    while (s->out_n > 0) {
        ssize_t n = transport_write(s);

        if (n < 0 && errno == EAGAIN) {
            if (!was_blocked)
                want(s, EPOLLIN | EPOLLOUT, EPOLL_CTL_MOD);
            return;
        }
        if (n < 0)
            n = (ssize_t)s->out_n;
        s->out += n;
        s->out_n -= (size_t)n;
    }
    if (was_blocked)
        want(s, EPOLLIN, EPOLL_CTL_MOD);
}

static void send_command(struct session *s, enum state next, unsigned replies, size_t n)
{
    s->out = s->command;
    s->out_n = n;
    s->state = next;
    s->due = replies;
    push(s, false);
}

static void say(struct session *s, enum state next, unsigned replies, const char *format, ...)
{
    va_list args;
    int n;

    va_start(args, format);
    n = vsnprintf(s->command, sizeof(s->command), format, args);
    va_end(args);
    send_command(s, next, replies, (size_t)n);
}

/* Client K greets as mail.sK.DOMAIN and has senders in sK.DOMAIN. */
static unsigned client_of(const struct session *s)
{
    return s->number % ask.addresses;
}

static void say_ehlo(struct session *s)
{
    say(s, AT_EHLO, 1, "EHLO mail.s%u.%s\r\n", client_of(s), ask.domain);
}

/* Names that are never the same again differ in letters, since greylists take numbers for those of one mailing. */
static const char *letters(uint64_t number)
{
    static char text[16];
    int n = 0;

    do
        text[n++] = (char)('a' + number % 26);
    while ((number /= 26) > 0);
    text[n] = '\0';
    return text;
}

static uint64_t fresh(void)
{
    static uint64_t count;

    return (uint64_t)seen.start_us + count++;
}

/* Each client has a sender of its own, or never the same again. */
static const char *sender(const struct session *s)
{
    static char text[300];

    snprintf(text, sizeof(text), "%s.news@s%u.%s", letters(ask.fresh_senders ? fresh() : client_of(s)),
             client_of(s), ask.domain);
    return text;
}

static void say_envelope(struct session *s)
{
    seen.messages_begun++;
    s->messages_left--;
    say(s, AT_ENVELOPE, 3, "MAIL FROM:<%s>\r\nRCPT TO:<%s>\r\nDATA\r\n", sender(s), ask.rcpt);
}

/* The transaction before is given up: nobody in it was accepted. */
static void say_mail(struct session *s, bool is_first)
{
    s->messages_left--;
    s->recipients_left = ask.recipients;
    say(s, AT_MAIL, is_first ? 1 : 2, "%sMAIL FROM:<%s>\r\n", is_first ? "" : "RSET\r\n", sender(s));
}

static void say_recipients(struct session *s)
{
    unsigned count = s->recipients_left < ask.group ? s->recipients_left : ask.group;
    size_t n = 0;

    for (unsigned i = 0; i < count; i++)
        n += (size_t)snprintf(s->command + n, RCPT_ROOM, "RCPT TO:<%s.%s>\r\n", letters(fresh()), ask.rcpt);
    s->recipients_left -= count;
    s->asked_us = now_us();
    send_command(s, AT_RCPT, count, n);
}

static void after_recipients(struct session *s)
{
    add_sample(&seen.answer, now_us() - s->asked_us);
    if (s->recipients_left > 0)
        say_recipients(s);
    else if (s->messages_left > 0 && !time_is_up())
        say_mail(s, false);
    else
        say(s, AT_QUIT, 1, "QUIT\r\n");
}

static void after_ehlo(struct session *s)
{
    if (ask.starttls && s->ssl == NULL) {
        say(s, AT_STARTTLS, 1, "STARTTLS\r\n");
    } else if (ask.mode == MODE_IDLE) {
        s->state = AT_REST;
        seen.active--;
        seen.resting++;
    } else if (ask.mode == MODE_ASK) {
        say_mail(s, true);
    } else {
        say_envelope(s);
    }
}

static void shake_hands(struct session *s)
{
    int answer;

    ERR_clear_error();
    answer = SSL_do_handshake(s->ssl);
    if (answer == 1)
        say_ehlo(s);
    else if (SSL_get_error(s->ssl, answer) != SSL_ERROR_WANT_READ)
        end_session(s, "the TLS handshake failed");
}

static void start_tls(struct session *s)
{
    s->ssl = SSL_new(tls);
    if (s->ssl == NULL || SSL_set_fd(s->ssl, s->fd) != 1)
        die("no TLS");
    SSL_set_connect_state(s->ssl);
    s->state = AT_HANDSHAKE;
    shake_hands(s);
}

static void send_message(struct session *s)
{
    s->message = &ask.messages[seen.messages_begun % ask.messages_count];
    s->out = s->message->p;
    s->out_n = s->message->n;
    s->state = AT_DOT;
    s->due = 1;
    push(s, false);
    s->asked_us = now_us();
}

static void after_dot(struct session *s)
{
    if (s->code == 250) {
        seen.delivered++;
        add_sample(&seen.answer, now_us() - s->asked_us);
    } else {
        seen.refused++;
        if (seen.complaints++ < COMPLAINTS_MAX)
            fprintf(stderr, "load: the message was answered with %d %.*s\n", s->code, (int)s->in_n, s->in);
    }
    if (s->messages_left > 0 && !time_is_up())
        say_envelope(s);
    else
        say(s, AT_QUIT, 1, "QUIT\r\n");
}

/* All replies of the group are there; s->code is the last one's. Last act: s may be gone then. */
static void advance(struct session *s)
{
    if (ask.mode == MODE_BOT || (s->code >= 400 && s->state < AT_ENVELOPE)) {
        bool expected =
            ask.mode == MODE_BOT || (s->state == AT_BANNER && s->code >= 500); /* 554: a listed client */

        seen.refused += expected && s->code >= 400;
        end_session(s, expected ? NULL : "refused");
        return;
    }
    switch (s->state) {
    case AT_BANNER:
        say_ehlo(s);
        break;
    case AT_EHLO:
        after_ehlo(s);
        break;
    case AT_STARTTLS:
        start_tls(s);
        break;
    case AT_ENVELOPE:
        if (s->code == 354) {
            send_message(s);
        } else {
            seen.refused++;
            say(s, AT_QUIT, 1, "QUIT\r\n");
        }
        break;
    case AT_MAIL:
        say_recipients(s);
        break;
    case AT_RCPT:
        after_recipients(s);
        break;
    case AT_DOT:
        after_dot(s);
        break;
    case AT_QUIT:
        end_session(s, NULL);
        break;
    default:
        end_session(s, "a reply that nobody waits for");
    }
}

/* ---- input ---- */

static ssize_t transport_read(struct session *s)
{
    size_t n;

    if (s->ssl == NULL)
        return recv(s->fd, s->in + s->in_n, sizeof(s->in) - s->in_n, 0);
    ERR_clear_error();
    if (SSL_read_ex(s->ssl, s->in + s->in_n, sizeof(s->in) - s->in_n, &n) == 1)
        return (ssize_t)n;
    if (SSL_get_error(s->ssl, 0) != SSL_ERROR_WANT_READ)
        return 0;
    errno = EAGAIN;
    return -1;
}

static void note_refusal(const char *line, size_t n)
{
    snprintf(seen.refusal, sizeof(seen.refusal), "%.*s", (int)n, line);
    for (char *p = seen.refusal; *p != '\0'; p++)
        if (*p < ' ' || *p == '"' || *p == '\\')
            *p = '.';
}

/* Takes whole replies out of `in`. True when the last one of the group has come. The first refusal of a group
 * is the one that tells; those behind it follow from it. */
static bool take_replies(struct session *s)
{
    char *p = s->in, *end = s->in + s->in_n, *eol;

    while (s->due > 0 && (eol = memchr(p, '\n', (size_t)(end - p))) != NULL) {
        if (eol - p >= 4 && p[3] != '-') {
            if (*p >= '4' && s->code < 400)
                note_refusal(p, (size_t)(eol - p - 1));
            s->code = atoi(p);
            s->due--;
            if (s->state == AT_RCPT && s->code != 450 && s->code != 451)
                die("a recipient was answered with %.*s", (int)(eol - p), p);
            seen.refused += s->state == AT_RCPT;
        }
        p = eol + 1;
    }
    s->in_n = (size_t)(end - p);
    memmove(s->in, p, s->in_n);
    return s->due == 0;
}

static void on_input(struct session *s)
{
    ssize_t n;

    if (s->state == AT_HANDSHAKE) {
        shake_hands(s);
        return;
    }
    if (s->in_n == sizeof(s->in)) {
        end_session(s, "a reply without end");
        return;
    }
    n = transport_read(s);
    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0) {
        if (ask.mode == MODE_BOT)
            seen.refused++;
        end_session(s, ask.mode == MODE_BOT ? NULL : "the server closed");
        return;
    }
    s->in_n += (size_t)n;
    if (take_replies(s))
        advance(s);
}

static void on_event(struct session *s, uint32_t events)
{
    if (s->state == AT_CONNECT) {
        if (ask.mode == MODE_BOT)
            say(s, AT_BANNER, 4, "EHLO bot.%s\r\nMAIL FROM:<%s>\r\nRCPT TO:<%s>\r\n", ask.domain, sender(s),
                ask.rcpt);
        s->state = AT_BANNER;
        s->due = ask.mode == MODE_BOT ? 4 : 1;
        want(s, EPOLLIN, EPOLL_CTL_MOD);
        return;
    }
    if ((events & EPOLLOUT) && s->out_n > 0) {
        push(s, true);
        if (s->out_n == 0 && s->state == AT_DOT)
            s->asked_us = now_us();
    }
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
        on_input(s); /* last act: s may be gone then */
}

/* ---- connecting ---- */

static void begin_session(void)
{
    struct sockaddr_in from = {.sin_family = AF_INET};
    struct session *s = calloc(1, sizeof(*s));
    int on = 1;

    if (s == NULL)
        die("out of memory");
    s->number = seen.begun++;
    from.sin_addr.s_addr = htonl(11u << 24 | ask.network << 16 | client_of(s) << 8 | 1);
    s->messages_left = ask.messages_a_session;
    s->begun_us = now_us();
    s->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (s->fd < 0)
        die("socket: %s", strerror(errno));
    setsockopt(s->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on));
    setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (bind(s->fd, (struct sockaddr *)&from, sizeof(from)) != 0)
        die("bind: %s", strerror(errno));
    if (connect(s->fd, (struct sockaddr *)&ask.server, sizeof(ask.server)) != 0 && errno != EINPROGRESS)
        die("connect: %s", strerror(errno));
    seen.open++;
    seen.active++;
    want(s, EPOLLOUT, EPOLL_CTL_ADD);
}

static bool may_begin(void)
{
    return seen.active < ask.at_once && (ask.sessions == 0 || seen.begun < ask.sessions) && !time_is_up();
}

static void play(void)
{
    struct epoll_event events[256];
    bool said_ready = false;
    int n;

    seen.start_us = seen.last_us = now_us();
    for (;;) {
        while (may_begin())
            begin_session();
        if (ask.mode == MODE_IDLE && seen.active == 0 && !said_ready) {
            printf("ready %u\n", seen.resting);
            fflush(stdout);
            said_ready = true;
        }
        if (ask.mode == MODE_IDLE ? said_ready : seen.open == 0)
            return;
        n = epoll_wait(poller, events, 256, GRACE_MS);
        if (n == 0)
            die("%u sessions are stuck", seen.active);
        for (int i = 0; i < n; i++)
            on_event(events[i].data.ptr, events[i].events);
    }
}

/* ---- the command line ---- */

static void read_message(const char *path)
{
    FILE *file = fopen(path, "rb");
    struct message *m = &ask.messages[ask.messages_count];
    long size;

    if (file == NULL || ask.messages_count == MESSAGES_MAX)
        die("cannot read %s", path);
    fseek(file, 0, SEEK_END);
    size = ftell(file);
    rewind(file);
    m->p = malloc((size_t)size + 4);
    if (m->p == NULL || size < 2 || fread(m->p, 1, (size_t)size, file) != (size_t)size)
        die("cannot read %s", path);
    fclose(file);
    memcpy(m->p + size, ".\r\n", 4);
    m->n = (size_t)size + 3;
    if (memcmp(m->p + size - 2, "\r\n", 2) != 0 || strstr(m->p, "\n.") != m->p + size - 1)
        die("%s: lines must end with CRLF and not begin with a dot", path);
    ask.messages_count++;
}

static void read_server(const char *text)
{
    char host[64];
    unsigned port;

    if (sscanf(text, "%63[0-9.]:%u", host, &port) != 2 || inet_pton(AF_INET, host, &ask.server.sin_addr) != 1)
        die("%s is not IP:PORT", text);
    ask.server.sin_family = AF_INET;
    ask.server.sin_port = htons((uint16_t)port);
}

static void read_options(int argc, char **argv)
{
    static const char *const modes[] = {"send", "ask", "bot", "idle"};
    int option;

    while ((option = getopt(argc, argv, "m:c:n:N:R:g:t:a:b:f:r:su")) != -1) {
        switch (option) {
        case 'm':
            while (ask.mode < MODE_IDLE && strcmp(modes[ask.mode], optarg) != 0)
                ask.mode++;
            break;
        case 'c':
            ask.at_once = (unsigned)atoi(optarg);
            break;
        case 'n':
            ask.messages_a_session = (unsigned)atoi(optarg);
            break;
        case 'N':
            ask.sessions = (unsigned)atoi(optarg);
            break;
        case 'R':
            ask.recipients = (unsigned)atoi(optarg);
            break;
        case 'g':
            ask.group = (unsigned)atoi(optarg);
            break;
        case 't':
            ask.run_us = (int64_t)(atof(optarg) * 1e6);
            break;
        case 'a':
            ask.addresses = (unsigned)atoi(optarg);
            break;
        case 'b':
            ask.network = (unsigned)atoi(optarg);
            break;
        case 'f':
            ask.domain = optarg;
            break;
        case 'r':
            ask.rcpt = optarg;
            break;
        case 's':
            ask.starttls = true;
            break;
        case 'u':
            ask.fresh_senders = true;
            break;
        default:
            exit(64);
        }
    }
    if (optind >= argc || (ask.sessions == 0) == (ask.run_us == 0) || ask.addresses < 1 ||
        ask.addresses > 250 || ask.group < 1 || ask.group > GROUP_MAX || strlen(ask.rcpt) > RCPT_ROOM - 32)
        die("usage: load -m send|ask|bot|idle [-c AT_ONCE] [-n MESSAGES_A_SESSION] [-R RECIPIENTS] [-g AT_ONCE_OF_THEM] "
            "-N SESSIONS|-t SECONDS [-a ADDRESSES of 11.B.*.1] [-b B] [-f DOMAIN] [-r RCPT] [-s (STARTTLS)] "
            "[-u (never the same sender)] IP:PORT [MESSAGE...]");
    read_server(argv[optind++]);
    while (optind < argc)
        read_message(argv[optind++]);
    if (ask.mode == MODE_SEND && ask.messages_count == 0)
        die("no message to send");
}

int main(int argc, char **argv)
{
    struct rlimit limit;
    char byte;

    read_options(argc, argv);
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    poller = epoll_create1(EPOLL_CLOEXEC);
    tls = SSL_CTX_new(TLS_client_method());
    if (poller < 0 || tls == NULL)
        die("no epoll or no TLS");
    SSL_CTX_set_mode(tls, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_RELEASE_BUFFERS |
                              SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    play();
    if (ask.mode == MODE_IDLE)
        while (read(STDIN_FILENO, &byte, 1) > 0)
            ;
    else
        report();
    return 0;
}
