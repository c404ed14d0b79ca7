/*
 * bench/floor.c - the least that a checking proxy can do
 *
 * One epoll loop, and only the system calls and the arithmetic that no proxy with these checks can leave out:
 * the dialogue, 11 questions to the resolver for each message (in groups, as soon as their names can be
 * known), the body in memory, relaxed canonicalisation and SHA-256, one RSA-2048 verification, kept-open
 * pipelined connections to the backend, and the reply only after the backend's. It parses next to nothing,
 * has no limits, no time-outs and no errors but exit: a yardstick, not a server.
 *
 *   floor LISTEN_IP:PORT RESOLVER_IP:PORT BACKEND_IP:PORT
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

enum {
    QUERY_MAX = 320,
    GROUP_MAX = 8,
    READ_BYTES = 64 * 1024,
    TYPE_A = 1,
    TYPE_PTR = 12,
    TYPE_MX = 15,
    TYPE_TXT = 16
};

enum kind { LISTENER, RESOLVER, SESSION, LINK };

enum session_state { COMMANDS, AT_RCPT, BODY, AT_END, DELIVERING };
enum link_state { GREETED, SAID_EHLO, RESTING, SAID_ENVELOPE, SAID_DATA, SENDING, SENT };

struct session {
    enum kind kind; /* first: what epoll gives back */
    int fd;
    enum session_state state;
    unsigned asked; /* answers that have not come */
    bool header_done, gone;
    unsigned char client[4];
    struct link *link;
    struct session *next_id;
    char *body;
    size_t n, room;
    unsigned line_n;
    char line[1024];
};

struct link {
    enum kind kind;
    int fd;
    enum link_state state;
    unsigned due;
    struct session *session;
    struct link *next;
    size_t sent;
};

static int poller, resolver_fd;
static enum kind listener_kind = LISTENER, resolver_kind = RESOLVER;
static struct sockaddr_in backend_address;
static struct link *resting;
static struct session *asking[65536]; /* by query id */
static uint16_t next_id;
static char scratch[READ_BYTES], canonical[READ_BYTES];
static EVP_PKEY_CTX *verifier;
static unsigned char signature[256], digest[32];
static size_t signature_n = sizeof(signature);

static void check(bool good, const char *what)
{
    if (good)
        return;
    fprintf(stderr, "floor: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void watch(int fd, int how, uint32_t events, void *who)
{
    struct epoll_event event = {.events = events, .data.ptr = who};

    check(epoll_ctl(poller, how, fd, &event) == 0, "epoll_ctl");
}

static void say(int fd, const char *text)
{
    (void)!send(fd, text, strlen(text), MSG_NOSIGNAL);
}

/* ---- DNS ---- */

struct group {
    struct mmsghdr messages[GROUP_MAX];
    struct iovec pieces[GROUP_MAX];
    unsigned char packets[GROUP_MAX][QUERY_MAX];
    unsigned n;
};

static void ask(struct group *group, struct session *s, unsigned type, const char *name)
{
    unsigned char *start = group->packets[group->n], *p = start;
    uint16_t id = next_id++;

    asking[id] = s;
    s->asked++;
    memcpy(p, "\0\0\1\0\0\1\0\0\0\0\0\0", 12);
    p[0] = (unsigned char)(id >> 8), p[1] = (unsigned char)id;
    for (p += 12; *name != '\0';) {
        size_t label = strcspn(name, ".");

        *p++ = (unsigned char)label;
        memcpy(p, name, label);
        p += label;
        name += label + (name[label] == '.');
    }
    memcpy(p, "\0\0\0\0\1", 5);
    p[2] = (unsigned char)type;
    group->pieces[group->n] = (struct iovec){start, (size_t)(p + 5 - start)};
    group->messages[group->n] =
        (struct mmsghdr){.msg_hdr = {.msg_iov = &group->pieces[group->n], .msg_iovlen = 1}};
    group->n++;
}

static void send_group(struct group *group)
{
    check(sendmmsg(resolver_fd, group->messages, group->n, 0) == (int)group->n, "sendmmsg");
    group->n = 0;
}

static void ask_about_client(struct group *group, struct session *s)
{
    const unsigned char *c = s->client;
    char name[128];

    snprintf(name, sizeof(name), "%u.%u.%u.%u.in-addr.arpa", c[3], c[2], c[1], c[0]);
    ask(group, s, TYPE_PTR, name);
    snprintf(name, sizeof(name), "%u.%u.%u.%u.bl1.example", c[3], c[2], c[1], c[0]);
    ask(group, s, TYPE_A, name);
    snprintf(name, sizeof(name), "%u.%u.%u.%u.bl2.example", c[3], c[2], c[1], c[0]);
    ask(group, s, TYPE_A, name);
}

static void ask_about_sender(struct group *group, struct session *s)
{
    static const char *const spf[] = {"", "spf1.", "spf2.", "spf3."};
    char name[128];

    snprintf(name, sizeof(name), "c%u.clients.example", s->client[2]);
    ask(group, s, TYPE_A, name);
    snprintf(name, sizeof(name), "s%u.sender.example", s->client[2]);
    ask(group, s, TYPE_MX, name);
    for (int i = 0; i < 4; i++) {
        snprintf(name, sizeof(name), "%ss%u.sender.example", spf[i], s->client[2]);
        ask(group, s, TYPE_TXT, name);
    }
}

static void ask_about_message(struct group *group, struct session *s)
{
    static unsigned number;
    char name[128];

    number = (number + 1) % 8;
    snprintf(name, sizeof(name), "bench._domainkey.m%u.sender.example", number);
    ask(group, s, TYPE_TXT, name);
    snprintf(name, sizeof(name), "_dmarc.m%u.sender.example", number);
    ask(group, s, TYPE_TXT, name);
}

static void go_on(struct session *s);

static void on_resolver(void)
{
    static unsigned char packets[16][4096];
    struct mmsghdr messages[16];
    struct iovec pieces[16];
    int n;

    for (int i = 0; i < 16; i++) {
        pieces[i] = (struct iovec){packets[i], sizeof(packets[i])};
        messages[i] = (struct mmsghdr){.msg_hdr = {.msg_iov = &pieces[i], .msg_iovlen = 1}};
    }
    n = recvmmsg(resolver_fd, messages, 16, MSG_DONTWAIT, NULL);
    for (int i = 0; i < n; i++) {
        unsigned id = (unsigned)packets[i][0] << 8 | packets[i][1];
        struct session *s = asking[id];

        asking[id] = NULL;
        if (s != NULL && --s->asked == 0)
            go_on(s); /* last act: s may be gone */
    }
}

/* ---- arithmetic ---- */

static void prepare_arithmetic(void)
{
    EVP_PKEY *key = EVP_RSA_gen(2048);
    EVP_PKEY_CTX *signer = EVP_PKEY_CTX_new(key, NULL);

    check(key != NULL && EVP_PKEY_sign_init(signer) == 1 &&
              EVP_PKEY_CTX_set_rsa_padding(signer, RSA_PKCS1_PADDING) == 1 &&
              EVP_PKEY_CTX_set_signature_md(signer, EVP_sha256()) == 1 &&
              EVP_PKEY_sign(signer, signature, &signature_n, digest, sizeof(digest)) == 1,
          "signing");
    verifier = EVP_PKEY_CTX_new(key, NULL);
    check(EVP_PKEY_verify_init(verifier) == 1 &&
              EVP_PKEY_CTX_set_rsa_padding(verifier, RSA_PKCS1_PADDING) == 1 &&
              EVP_PKEY_CTX_set_signature_md(verifier, EVP_sha256()) == 1,
          "verifying");
    EVP_PKEY_CTX_free(signer);
}

/* Blanks in runs become one, and vanish at the end of a line (RFC 6376 3.4.4). */
static size_t canonicalise(const char **from, const char *end)
{
    const char *p = *from;
    size_t n = 0;

    while (p < end && n < READ_BYTES - 2) {
        if (*p == ' ' || *p == '\t') {
            while (p < end && (*p == ' ' || *p == '\t'))
                p++;
            if (p < end && *p != '\r')
                canonical[n++] = ' ';
        } else {
            canonical[n++] = *p++;
        }
    }
    *from = p;
    return n;
}

static void verify(const struct session *s)
{
    static EVP_MD_CTX *hash;
    static EVP_MD *sha256;
    const char *body = memmem(s->body, s->n, "\r\n\r\n", 4), *end = s->body + s->n - 3;
    unsigned char got[32];

    if (hash == NULL) {
        hash = EVP_MD_CTX_new();
        sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
    }
    check(body != NULL, "a header");
    EVP_DigestInit_ex(hash, sha256, NULL);
    for (const char *p = body + 4; p < end;)
        EVP_DigestUpdate(hash, canonical, canonicalise(&p, end));
    EVP_DigestFinal_ex(hash, got, NULL);
    EVP_DigestInit_ex(hash, sha256, NULL);
    EVP_DigestUpdate(hash, s->body, (size_t)(body - s->body));
    EVP_DigestFinal_ex(hash, got, NULL);
    check(EVP_PKEY_verify(verifier, signature, signature_n, digest, sizeof(digest)) == 1, "the signature");
}

/* ---- the backend ---- */

static void say_envelope(struct link *link, struct session *s)
{
    s->link = link;
    link->session = s;
    link->state = SAID_ENVELOPE;
    link->due = 2;
    say(link->fd, "MAIL FROM:<news@sender.example> SIZE=20000\r\nRCPT TO:<user@rcpt.example>\r\n");
}

static void take_link(struct session *s)
{
    struct link *link = resting;
    int on = 1;

    if (link != NULL) {
        resting = link->next;
        say_envelope(link, s);
        return;
    }
    link = calloc(1, sizeof(*link));
    *link = (struct link){.kind = LINK, .state = GREETED, .due = 1, .session = s};
    s->link = link;
    link->fd = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(link->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    check(connect(link->fd, (struct sockaddr *)&backend_address, sizeof(backend_address)) == 0,
          "the backend");
    watch(link->fd, EPOLL_CTL_ADD, EPOLLIN, link);
}

static void push_body(struct link *link)
{
    struct session *s = link->session;

    while (link->sent < s->n) {
        ssize_t n = send(link->fd, s->body + link->sent, s->n - link->sent, MSG_NOSIGNAL | MSG_DONTWAIT);

        if (n < 0 && errno == EAGAIN) {
            if (link->state != SENDING)
                watch(link->fd, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT, link);
            link->state = SENDING;
            return;
        }
        check(n > 0, "writing to the backend");
        link->sent += (size_t)n;
    }
    if (link->state == SENDING)
        watch(link->fd, EPOLL_CTL_MOD, EPOLLIN, link);
    link->state = SENT;
    link->due = 1;
}

/* The final dot came with the body; both go on as they are. */
static void on_group(struct link *link)
{
    struct session *s = link->session;

    switch (link->state) {
    case GREETED:
        link->state = SAID_EHLO;
        link->due = 1;
        say(link->fd, "EHLO floor.example\r\n");
        break;
    case SAID_EHLO:
        say_envelope(link, s);
        break;
    case SAID_ENVELOPE:
        s->state = BODY;
        s->n = 0;
        s->header_done = false;
        say(s->fd, "250 2.1.0 Ok\r\n250 2.1.5 Ok\r\n354 End data with <CR><LF>.<CR><LF>\r\n");
        break;
    case SAID_DATA:
        link->sent = 0;
        push_body(link);
        break;
    default:
        say(s->fd, "250 2.0.0 Ok: queued\r\n");
        s->state = COMMANDS;
        s->link = NULL;
        link->session = NULL;
        link->state = RESTING;
        link->next = resting;
        resting = link;
    }
}

/* The backend closes connections that have rested for long. */
static void forget(struct link *link)
{
    struct link **at = &resting;

    while (*at != link)
        at = &(*at)->next;
    *at = link->next;
    close(link->fd);
    free(link);
}

static void on_link(struct link *link, uint32_t events)
{
    ssize_t n;

    if ((events & EPOLLOUT) && link->state == SENDING)
        push_body(link);
    if (!(events & EPOLLIN))
        return;
    n = recv(link->fd, scratch, sizeof(scratch), 0);
    if (n == 0 && link->state == RESTING) {
        forget(link);
        return;
    }
    check(n > 0, "reading from the backend");
    for (const char *p = scratch, *eol; p < scratch + n; p = eol + 1) {
        eol = memchr(p, '\n', (size_t)(scratch + n - p));
        check(eol != NULL, "a whole reply");
        check(*p == '2' || *p == '3', "a good reply of the backend");
        link->due -= p[3] == ' ';
    }
    if (link->due == 0)
        on_group(link);
}

/* ---- sessions ---- */

static void close_session(struct session *s)
{
    close(s->fd);
    free(s->body);
    free(s);
}

/* Its answers may still be under way: then it goes with the last of them. */
static void end_session(struct session *s)
{
    if (s->asked == 0) {
        close_session(s);
        return;
    }
    s->gone = true;
    watch(s->fd, EPOLL_CTL_DEL, 0, NULL);
}

/* What was asked is answered. */
static void go_on(struct session *s)
{
    if (s->gone) {
        close_session(s);
    } else if (s->state == AT_RCPT) {
        take_link(s);
    } else if (s->state == AT_END) {
        verify(s);
        s->state = DELIVERING;
        s->link->state = SAID_DATA;
        s->link->due = 1;
        say(s->link->fd, "DATA\r\n");
    }
}

static void on_accept(int listener)
{
    struct sockaddr_in peer;
    socklen_t length = sizeof(peer);
    int fd = accept4(listener, (struct sockaddr *)&peer, &length, SOCK_NONBLOCK | SOCK_CLOEXEC), on = 1;
    struct session *s;

    if (fd < 0)
        return;
    s = calloc(1, sizeof(*s));
    check(s != NULL, "memory");
    s->kind = SESSION;
    s->fd = fd;
    memcpy(s->client, &peer.sin_addr, 4);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    watch(fd, EPOLL_CTL_ADD, EPOLLIN, s);
    say(fd, "220 floor.example ESMTP\r\n");
}

/* A group of MAIL, RCPT and DATA is one event; a client that sends them one by one is not understood. */
static bool on_command(struct session *s, const char *line)
{
    struct group group = {.n = 0};

    switch (line[0]) {
    case 'E':
        say(s->fd, "250-floor.example\r\n250-PIPELINING\r\n250-SIZE 52428800\r\n250-8BITMIME\r\n250 "
                   "ENHANCEDSTATUSCODES\r\n");
        return true;
    case 'D':
        s->state = AT_RCPT;
        ask_about_client(&group, s);
        send_group(&group);
        ask_about_sender(&group, s);
        send_group(&group);
        return true;
    case 'Q':
        say(s->fd, "221 2.0.0 Bye\r\n");
        end_session(s);
        return false;
    default:
        return true; /* MAIL and RCPT: answered with DATA */
    }
}

static void on_commands(struct session *s)
{
    ssize_t n = recv(s->fd, s->line + s->line_n, sizeof(s->line) - s->line_n, 0);
    char *p = s->line, *end, *eol;

    if (n <= 0) {
        end_session(s);
        return;
    }
    end = s->line + s->line_n + n;
    for (; (eol = memchr(p, '\n', (size_t)(end - p))) != NULL; p = eol + 1)
        if (!on_command(s, p))
            return;
    s->line_n = (unsigned)(end - p);
    memmove(s->line, p, s->line_n);
}

static void on_body(struct session *s)
{
    struct group group = {.n = 0};
    ssize_t n;

    if (s->room - s->n < READ_BYTES) {
        s->room = s->room > 0 ? s->room * 2 : READ_BYTES + READ_BYTES / 2;
        s->body = realloc(s->body, s->room);
        check(s->body != NULL, "memory");
    }
    n = recv(s->fd, s->body + s->n, READ_BYTES, 0);
    if (n <= 0) {
        check(false, "a whole message");
        return;
    }
    s->n += (size_t)n;
    if (!s->header_done && memmem(s->body, s->n, "\r\n\r\n", 4) != NULL) {
        s->header_done = true;
        ask_about_message(&group, s);
        send_group(&group);
    }
    if (s->n < 5 || memcmp(s->body + s->n - 5, "\r\n.\r\n", 5) != 0)
        return;
    s->state = AT_END;
    if (s->asked == 0)
        go_on(s);
}

/* ---- */

static struct sockaddr_in address_of(const char *text)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    char host[64];
    unsigned port;

    check(sscanf(text, "%63[0-9.]:%u", host, &port) == 2 && inet_pton(AF_INET, host, &address.sin_addr) == 1,
          text);
    address.sin_port = htons((uint16_t)port);
    return address;
}

int main(int argc, char **argv)
{
    struct sockaddr_in here, resolver;
    struct epoll_event events[64];
    struct rlimit limit;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), on = 1;
    int answers_bytes = 4 * 1024 * 1024; /* a lost answer would be waited for for ever */

    check(argc == 4, "usage: floor LISTEN_IP:PORT RESOLVER_IP:PORT BACKEND_IP:PORT");
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    here = address_of(argv[1]);
    resolver = address_of(argv[2]);
    backend_address = address_of(argv[3]);
    prepare_arithmetic();
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    check(bind(listener, (struct sockaddr *)&here, sizeof(here)) == 0 && listen(listener, 1024) == 0,
          argv[1]);
    poller = epoll_create1(EPOLL_CLOEXEC);
    watch(listener, EPOLL_CTL_ADD, EPOLLIN, &listener_kind);
    resolver_fd = socket(AF_INET, SOCK_DGRAM, 0);
    setsockopt(resolver_fd, SOL_SOCKET, SO_RCVBUFFORCE, &answers_bytes, sizeof(answers_bytes));
    check(connect(resolver_fd, (struct sockaddr *)&resolver, sizeof(resolver)) == 0, argv[2]);
    watch(resolver_fd, EPOLL_CTL_ADD, EPOLLIN, &resolver_kind);
    for (;;) {
        int n = epoll_wait(poller, events, 64, -1);

        for (int i = 0; i < n; i++) {
            enum kind *kind = events[i].data.ptr;

            if (*kind == LISTENER)
                on_accept(listener);
            else if (*kind == RESOLVER)
                on_resolver();
            else if (*kind == LINK)
                on_link((struct link *)kind, events[i].events);
            else if (((struct session *)kind)->state == BODY)
                on_body((struct session *)kind);
            else
                on_commands((struct session *)kind);
        }
    }
}
