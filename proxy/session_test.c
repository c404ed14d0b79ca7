/*
 * proxy/session_test.c - a session from end to end within one process: a client on a socket, a DNS server of
 * a few lines, a scripted backend, and the message's way through intake in every cut
 */
#include "proxy/session_in.h"

#include "base/bug.h"
#include "dns/wire_test.h"
#include "tests/certificate.h"
#include "tests/dkimsign.h"
#include "tests/fakebackend.h"
#include "tests/t.h"
#include "tests/turned_clock.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

enum { LATE_MS = 60000, VARIABLES_MAX = 40 };

static char folder[] = "/tmp/session_test.XXXXXX";
static char cert_path[64], key_path[64], store_path[64];
static struct loop *loop;
static struct fakebackend *fake;
static struct service *service;
static struct service_parts parts;
static struct arena *memory;
static struct dkimsign_key *key;

/* ---- the DNS ---- */

static int dns_socket = -1;
static struct watch *dns_watch;

static void write_txt(struct wire *w, const char *text)
{
    size_t n = strlen(text);

    t_true(n < 256);
    wire_rr(w, WIRE_ANSWER, "@12", DNS_TXT, 300);
    w->b[w->n++] = (unsigned char)n;
    wire_bytes(w, text, n);
    wire_end(w);
}

/* False: there is no such name. */
static bool write_answer(struct wire *w, struct str name, unsigned type)
{
    if (type == DNS_TXT && str_same_z(name, "sel._domainkey.author.test"))
        write_txt(w, dkimsign_record(memory, key));
    else if (type == DNS_TXT && str_same_z(name, "_dmarc.author.test"))
        write_txt(w, "v=DMARC1; p=reject");
    else if (type == DNS_MX && str_same_z(name, "sender.test"))
        wire_mx(w, "@12", 10, "mx.sender.test");
    else
        return false;
    return true;
}

static void on_question(unsigned ready, void *arg)
{
    static struct wire w;
    struct sockaddr_storage from;
    socklen_t from_n = sizeof(from);
    unsigned char query[512];
    char name[256];
    ssize_t n = recvfrom(dns_socket, query, sizeof(query), MSG_DONTWAIT, (struct sockaddr *)&from, &from_n);
    size_t at = 12, length = 0;

    (void)ready;
    (void)arg;
    if (n < 17)
        return;
    for (; query[at] != 0; at += query[at] + 1u)
        length += (size_t)snprintf(name + length, sizeof(name) - length, "%s%.*s", length > 0 ? "." : "",
                                   query[at], (const char *)query + at + 1);
    wire_header(&w, (unsigned)query[0] << 8 | query[1], WIRE_OK);
    wire_count(&w, 4);
    wire_bytes(&w, query + 12, at + 5 - 12);
    if (!write_answer(&w, str_make(name, length), (unsigned)query[at + 1] << 8 | query[at + 2]))
        w.b[3] |= 3;
    sendto(dns_socket, w.b, w.n, 0, (struct sockaddr *)&from, from_n);
}

static uint16_t open_dns(void)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof(addr);

    dns_socket = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    t_true(dns_socket >= 0 && bind(dns_socket, (struct sockaddr *)&addr, length) == 0 &&
           getsockname(dns_socket, (struct sockaddr *)&addr, &length) == 0);
    dns_watch = watch_start(loop, dns_socket, WATCH_READ, on_question, NULL);
    return ntohs(addr.sin_port);
}

/* ---- the bed ---- */

static int make_folder(void **state)
{
    static const struct log_settings quiet = {.level = LOG_ERROR};

    (void)state;
    log_open(&quiet);
    if (mkdtemp(folder) == NULL)
        return 1;
    snprintf(cert_path, sizeof(cert_path), "%s/cert.pem", folder);
    snprintf(key_path, sizeof(key_path), "%s/key.pem", folder);
    snprintf(store_path, sizeof(store_path), "sqlite:%s/state.db", folder);
    key = dkimsign_key_ed25519();
    return !certificate_make(cert_path, key_path, "mx.test", 30, NULL);
}

static int remove_folder(void **state)
{
    (void)state;
    dkimsign_key_free(&key);
    for (int i = 0; i < 3; i++)
        unlink(str_dup(memory, str_from(str_of(i == 0   ? store_path
                                               : i == 1 ? str_fmt(memory, "%s-wal", store_path)
                                                        : str_fmt(memory, "%s-shm", store_path)),
                                        strlen("sqlite:"))));
    unlink(cert_path);
    unlink(key_path);
    arena_free(&memory);
    log_close();
    return rmdir(folder);
}

/* "KEY=value" each, as in the environment, without SMTPGUARD_. */
static const struct config *make_config(const char *const *more, uint16_t dns_port)
{
    const struct endpoint backend = fakebackend_at(fake);
    const char *const usual[] = {
        "HOSTNAME=mx.test",
        "DOMAINS__RELAY=d.test",
        "GREYLIST__MODE=off",
        "SCREEN__BANNER_DELAY=0s",
        "LIMITS__NEW_CONNECTIONS_PER_CLIENT=100000/1s",
        str_fmt(memory, "LIMITS__SPOOL_DIR=%s", folder),
        str_fmt(memory, "STORE__URL=%s", store_path),
        str_fmt(memory, "TLS__CERT=%s", cert_path),
        str_fmt(memory, "TLS__KEY=%s", key_path),
        str_fmt(memory, "DNS__SERVERS=127.0.0.1:%u", dns_port),
        str_fmt(memory, "BACKENDS__0__ADDRESS=127.0.0.1:%u", backend.port),
    };
    const char *names[VARIABLES_MAX];
    const struct config *config;
    struct buf faults;
    size_t count = 0;

    for (size_t i = 0; i < COUNT(usual) || *more != NULL; i++) {
        struct str name, value;

        str_cut(str_of(i < COUNT(usual) ? usual[i] : *more++), '=', &name, &value);
        t_true(count < VARIABLES_MAX);
        names[count] = str_fmt(memory, "SMTPGUARD_%.*s", STR_ARG(name));
        setenv(names[count++], str_dup(memory, value), 1);
    }
    buf_init(&faults, 10000);
    config = config_load(NULL, &faults);
    t_same_z(buf_z(&faults), "");
    buf_fini(&faults);
    while (count > 0)
        unsetenv(names[--count]);
    return config;
}

static void open_bed(const char *const *settings)
{
    struct fail fail = {0};
    const struct config *config;

    if (memory == NULL)
        memory = arena_new(0);
    loop = loop_new();
    fake = fakebackend_new(loop);
    config = make_config(settings, open_dns());
    parts = (struct service_parts){.config = config,
                                   .tls_server = tls_server_context(&config->tls, &fail),
                                   .tls_client = tls_client_context(TLS_VERIFY_NOTHING, &fail),
                                   .store = store_open(&config->store, clock_system(), &fail),
                                   .clients = clients_new(),
                                   .told = told_new()};
    t_true(parts.tls_server != NULL && parts.tls_client != NULL && parts.store != NULL);
    service = service_new(loop, &parts, &fail);
    t_same_z(service != NULL ? "" : fail.text, "");
}

/* ---- the client ---- */

static int client = -1;
static struct watch *client_watch;
static struct buf heard;
static bool client_gone;

static void on_reply(unsigned ready, void *arg)
{
    char bytes[4096];
    ssize_t n = recv(client, bytes, sizeof(bytes), MSG_DONTWAIT);

    (void)ready;
    (void)arg;
    if (n > 0)
        buf_add(&heard, bytes, (size_t)n);
    if (n == 0)
        client_gone = true;
    if (n == 0)
        watch_stop(&client_watch);
    loop_stop(loop);
}

/* A client of any address: what the session sees is what we say it is. */
static void connect_client(const char *ip, enum listen_tls tls)
{
    static struct listen_settings listen_settings;
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof(addr);
    struct endpoint peer = {.port = 1025};
    int listening = socket(AF_INET, SOCK_STREAM, 0), fd, on = 1;

    listen_settings = (struct listen_settings){.name = "mx", .role = ROLE_MX, .tls = tls};
    t_true(ip_parse(str_of(ip), &peer.ip));
    t_true(bind(listening, (struct sockaddr *)&addr, length) == 0 && listen(listening, 1) == 0 &&
           getsockname(listening, (struct sockaddr *)&addr, &length) == 0);
    client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    t_same_int(connect(client, (struct sockaddr *)&addr, length), 0);
    setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    fd = accept4(listening, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    close(listening);
    buf_init(&heard, 1024 * 1024);
    client_gone = false;
    client_watch = watch_start(loop, client, WATCH_READ, on_reply, NULL);
    session_start(service, &listen_settings, fd, &peer);
}

static void on_late(void *arg)
{
    (void)arg;
    t_fail("it never happened; heard \"%.*s\"", STR_ARG(buf_str(&heard)));
}

#define WAIT(condition)                                                                                      \
    while (!(condition))                                                                                     \
    run_loop()

static void run_loop(void)
{
    struct timer late = {0};

    timer_start(&late, loop, LATE_MS, on_late, NULL);
    loop_run(loop);
    timer_stop(&late);
}

static void say(struct str bytes)
{
    t_same_int(send(client, bytes.p, bytes.n, MSG_NOSIGNAL), bytes.n);
}

/* The next reply; its last line begins so. */
static void expect(const char *want)
{
    size_t end = 0;
    struct str line;

    for (;;) {
        struct str text = str_from(buf_str(&heard), end);

        end += str_find(text, '\n') + 1;
        if (str_find(text, '\n') == text.n) {
            end -= text.n + 1;
            t_true(!client_gone);
            run_loop();
        } else if (text.n > 3 && text.p[3] == ' ') {
            line = str_upto(text, str_find(text, '\r'));
            break;
        }
    }
    if (!str_starts(line, str_of(want)))
        t_fail("\"%.*s\", not \"%s\"", STR_ARG(line), want);
    buf_consume(&heard, end);
}

static void ask(const char *line, const char *want)
{
    say(str_of(str_fmt(memory, "%s\r\n", line)));
    expect(want);
}

static void stop(void *arg)
{
    (void)arg;
    loop_stop(loop);
}

static void disconnect_client(void)
{
    if (client < 0)
        return;
    watch_stop(&client_watch);
    close(client);
    client = -1;
    buf_fini(&heard);
    while (service->sessions != NULL) {
        struct timer soon = {0};

        timer_start(&soon, loop, 1, stop, NULL);
        run_loop();
        timer_stop(&soon);
    }
}

static int close_bed(void **state)
{
    (void)state;
    disconnect_client();
    service_free(&service);
    store_close(&parts.store);
    loop_stop(loop); /* one more turn, for the store's last answers */
    loop_run(loop);
    clients_free(&parts.clients);
    told_free(&parts.told);
    tls_context_unref(&parts.tls_server);
    tls_context_unref(&parts.tls_client);
    config_unref(&parts.config);
    fakebackend_free(&fake);
    watch_stop(&dns_watch);
    close(dns_socket);
    loop_free(&loop);
    return 0;
}

/* What was sent before has been read: twice round the loop, by way of a socket of its own. */
static bool barrier_reached;

static void on_barrier(unsigned ready, void *arg)
{
    (void)ready;
    (void)arg;
    barrier_reached = true;
    loop_stop(loop);
}

static void let_it_be_read(void)
{
    int pair[2];

    t_same_int(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    t_same_int(write(pair[0], "x", 1), 1);
    for (int i = 0; i < 2; i++) {
        struct watch *watch = watch_start(loop, pair[1], WATCH_READ, on_barrier, NULL);

        barrier_reached = false;
        WAIT(barrier_reached);
        watch_stop(&watch);
    }
    close(pair[0]);
    close(pair[1]);
}

/* ---- a message, cut anywhere ---- */

static void begin_message(const char *from)
{
    ask(str_fmt(memory, "MAIL FROM:<%s>", from), "250");
    ask("RCPT TO:<c@d.test>", "250");
    ask("DATA", "354");
}

/* The message as it is on the wire, cut after `cut` octets, or everywhere. */
static void send_cut(struct str wire, size_t cut)
{
    while (wire.n > 0) {
        struct str piece = str_upto(wire, cut == SIZE_MAX ? 1 : cut > 0 ? cut : wire.n);

        say(piece);
        wire = str_from(wire, piece.n);
        if (wire.n > 0)
            let_it_be_read();
        if (cut != SIZE_MAX)
            cut = 0;
    }
}

/* Dots doubled, and the end. */
static struct str on_the_wire(struct str message)
{
    char *out = arena_alloc(memory, 2 * message.n + 6);
    size_t n = 0;

    for (size_t i = 0; i < message.n; i++) {
        if (message.p[i] == '.' && (i == 0 || message.p[i - 1] == '\n'))
            out[n++] = '.';
        out[n++] = message.p[i];
    }
    memcpy(out + n, ".\r\n", 3);
    return str_make(out, n + 3);
}

/* The backend's copy behind the fields that we put on top. */
static struct str below_our_fields(void)
{
    struct str text = fakebackend_message(fake);
    static const char *const ours[] = {"Authentication-Results: mx.test", "Received: from"};

    for (size_t i = 0; i < COUNT(ours); i++) {
        if (!str_starts(text, str_of(ours[i])))
            continue;
        do
            text = str_from(text, str_find(text, '\n') + 1);
        while (text.n > 0 && (text.p[0] == ' ' || text.p[0] == '\t'));
    }
    return text;
}

static bool has(struct str text, const char *what)
{
    return memmem(text.p, text.n, what, strlen(what)) != NULL;
}

static void deliver_cut(const char *from, struct str message, size_t cut, const char *answer, struct str want,
                        const char *mark)
{
    unsigned taken = fakebackend_taken(fake);

    begin_message(from);
    send_cut(on_the_wire(message), cut);
    expect(answer);
    t_same_int(fakebackend_taken(fake), taken + (answer[0] == '2'));
    if (answer[0] != '2')
        return;
    t_same_str(below_our_fields(), want);
    t_true(has(fakebackend_message(fake), mark));
}

/* Every cut of the message gives the same answer, the same octets, and `mark` in our field. */
static void cut_everywhere(const char *from, struct str message, const char *answer, struct str want,
                           const char *mark)
{
    size_t n = on_the_wire(message).n;

    for (size_t cut = 0; cut < n; cut++) {
        t_case(str_fmt(memory, "cut after %zu octets of %zu", cut, n), "5322 2.1");
        deliver_cut(from, message, cut, answer, want, mark);
    }
    t_case("octet by octet", "5322 2.1");
    deliver_cut(from, message, SIZE_MAX, answer, want, mark);
}

static const char *const usual_settings[] = {"LIMITS__ERRORS=1000", NULL};

static struct str signed_message(struct str *head_out)
{
    const struct dkimsign how = {
        .key = key, .d = "author.test", .s = "sel", .h = "from:to:subject", .c = "simple/simple"};
    struct str section =
        STR("From: Author <a@author.test>\r\nTo: c@d.test\r\nSubject: folded\r\n\there, .and\r\n .there\r\n");
    struct str body = STR("\r\n.\r\n..two\r\n\r\ntext\r\n\r\n\r\n");

    *head_out = dkimsign_section(memory, &how, section, body);
    return body;
}

static void test_signed_message(void **state)
{
    struct str head, body;

    (void)state;
    open_bed(usual_settings);
    body = signed_message(&head);
    connect_client("192.0.2.1", LISTEN_TLS_NONE);
    expect("220 mx.test");
    ask("EHLO client.test", "250");
    cut_everywhere(
        "a@sender.test",
        str_of(str_fmt(memory,
                       "Authentication-Results: mx.test;\r\n\tdkim=pass header.d=evil.test\r\n%.*s\r\n%.*s",
                       STR_ARG(head), STR_ARG(body))),
        "250 2.0.0 Taken", str_of(str_fmt(memory, "%.*s\r\n%.*s", STR_ARG(head), STR_ARG(body))),
        "dkim=pass header.d=author.test");
}

static void test_odd_messages(void **state)
{
    static const struct {
        const char *name, *message, *answer;
    } rows[] = {
        {"all header, without the empty line", "From: a@b.test\r\nSubject: x\r\n", "250"},
        {"no body behind the empty line", "From: a@b.test\r\n\r\n", "250"},
        {"an empty line for a body", "From: a@b.test\r\n\r\n\r\n", "250"},
        {"no header at all", "\r\nbody\r\n", "550 5.6.0"},
        {"nothing at all", "", "550 5.6.0"},
        {"the first line is folded", " x: y\r\nFrom: a@b.test\r\n\r\nbody\r\n", "550 5.6.0"},
        {"a line that is no field", "From: a@b.test\r\nwhat is this\r\n\r\nbody\r\n", "550 5.6.0"},
        {"two From fields", "From: a@b.test\r\nFrom: c@d.test\r\n\r\nbody\r\n", "550 5.6.0"},
        {"dots where the header ends", "From: a@b.test\r\n\r\n.\r\n..\r\n", "250"},
    };

    (void)state;
    open_bed(usual_settings);
    connect_client("192.0.2.1", LISTEN_TLS_NONE);
    expect("220 mx.test");
    ask("EHLO client.test", "250");
    for (size_t i = 0; i < COUNT(rows); i++) {
        t_case(rows[i].name, NULL);
        cut_everywhere("a@sender.test", str_of(rows[i].message), rows[i].answer, str_of(rows[i].message), "");
        disconnect_client();
        connect_client("192.0.2.1", LISTEN_TLS_NONE);
        expect("220 mx.test");
        ask("EHLO client.test", "250");
    }
}

/* The section is n octets long, whatever the cut. */
static struct str long_header(size_t n)
{
    static const char start[] = "From: a@b.test\r\nX: ";
    char *text = arena_alloc(memory, n + 10);

    memset(text, 'x', n);
    memcpy(text, start, sizeof(start) - 1);
    memcpy(text + n - 2, "\r\n\r\nbody\r\n", 10);
    for (size_t i = 900; i + 900 < n; i += 900) /* lines of a thousand at the most */
        memcpy(text + i, "\r\n ", 3);
    return str_make(text, n + 8);
}

static void test_header_limit(void **state)
{
    static const char *const settings[] = {"LIMITS__HEADER_SIZE=4K", "LIMITS__ERRORS=1000", NULL};

    (void)state;
    open_bed(settings);
    connect_client("192.0.2.1", LISTEN_TLS_NONE);
    expect("220 mx.test");
    ask("EHLO client.test", "250");
    for (size_t n = 4090; n < 4103; n++)
        for (size_t cut = 4086; cut < 4110; cut++) {
            t_case(str_fmt(memory, "a header section of %zu octets, cut after %zu", n, cut == 4086 ? 0 : cut),
                   NULL);
            deliver_cut("a@sender.test", long_header(n), cut == 4086 ? 0 : cut,
                        n <= 4096 ? "250 2.0.0 Taken" : "552 5.3.4", long_header(n), "");
        }
    t_case("a header section without end is refused when the message has one", NULL);
    deliver_cut("a@sender.test", str_upto(long_header(200000), 200000), 5000, "552 5.3.4", STR(""), "");
}

/* Mail of our own clients is not judged, and passes octet for octet all the same. */
static void test_trusted(void **state)
{
    struct str head, body;

    (void)state;
    open_bed(usual_settings);
    body = signed_message(&head);
    connect_client("127.0.0.1", LISTEN_TLS_NONE);
    expect("220 mx.test");
    ask("EHLO client.test", "250");
    cut_everywhere("a@sender.test", str_of(str_fmt(memory, "%.*s\r\n%.*s", STR_ARG(head), STR_ARG(body))),
                   "250", str_of(str_fmt(memory, "%.*s\r\n%.*s", STR_ARG(head), STR_ARG(body))),
                   "Received: from client.test");
    t_true(!has(fakebackend_message(fake), "Authentication-Results"));
}

/* A body that goes through the spool's file, with keys to be asked for meanwhile. */
static void test_large_message(void **state)
{
    static const char *const settings[] = {"LIMITS__SPOOL_MEMORY=4K", "ARC__MODE=observe", NULL};
    static const char seal[] =
        "ARC-Seal: i=1; a=rsa-sha256; t=1; cv=none; d=arc.test; s=sel; b=AAAA\r\n"
        "ARC-Message-Signature: i=1; a=rsa-sha256; c=relaxed/relaxed; d=arc.test; s=sel;\r\n"
        " h=from; bh=AAAA; b=AAAA\r\n"
        "ARC-Authentication-Results: i=1; arc.test; dmarc=pass\r\n";
    const struct dkimsign how = {
        .key = key, .d = "author.test", .s = "sel", .h = "from", .c = "simple/simple"};
    struct str section = STR("From: a@author.test\r\n"), head, body;
    char *text;

    (void)state;
    open_bed(settings);
    text = arena_alloc(memory, 3000000);
    for (size_t i = 0; i < 3000000; i++)
        text[i] = i % 76 == 74 ? '\r' : i % 76 == 75 ? '\n' : (char)('!' + i * 7 % 90);
    body = str_make(text, 3000000 / 76 * 76);
    head = dkimsign_section(memory, &how, section, body);
    connect_client("192.0.2.1", LISTEN_TLS_NONE);
    expect("220 mx.test");
    ask("EHLO client.test", "250");
    t_case("a large message is verified and passed on octet for octet", NULL);
    begin_message("a@sender.test");
    {
        struct str message = str_of(str_fmt(memory, "%s%.*s\r\n%.*s", seal, STR_ARG(head), STR_ARG(body)));
        struct str wire = on_the_wire(message);

        while (wire.n > 0) {
            struct str piece = str_upto(wire, 50000);

            say(piece);
            let_it_be_read();
            wire = str_from(wire, piece.n);
        }
        expect("250 2.0.0 Taken");
        t_true(str_eq(below_our_fields(), message));
    }
    t_true(has(fakebackend_message(fake), "dkim=pass header.d=author.test"));
    t_true(has(fakebackend_message(fake), "arc="));
}

/* ---- what a backend leaves out, and names beyond ASCII ---- */

static void test_backend_without_enhanced_codes(void **state)
{
    static const char *const rules[] = {"RCPT#1=250 yes\r\n", "RCPT#2=451 later\r\n", "RCPT#3=550 no\r\n",
                                        "DOT=250 taken\r\n", NULL};

    (void)state;
    open_bed(usual_settings);
    t_case("each reply has an enhanced code, also where the backend gives none", "2034 4");
    fakebackend_rules(fake, rules);
    connect_client("192.0.2.1", LISTEN_TLS_NONE);
    expect("220 mx.test");
    ask("EHLO client.test", "250");
    ask("MAIL FROM:<a@sender.test>", "250 2.1.0");
    ask("RCPT TO:<1@d.test>", "250 2.0.0 yes");
    ask("RCPT TO:<2@d.test>", "451 4.0.0 later");
    ask("RCPT TO:<3@d.test>", "550 5.0.0 no");
    ask("DATA", "354 End");
    say(STR("From: a@b.test\r\n\r\n.\r\n"));
    expect("250 2.0.0 taken");
}

static void test_names_beyond_ascii(void **state)
{
    static const char *const settings[] = {"LIMITS__ERRORS=1000", "DOMAINS__RELAY=xn--mnchen-3ya.example",
                                           NULL};

    (void)state;
    open_bed(settings);
    fakebackend_offer(fake, "250-SMTPUTF8\r\n");
    for (int i = 0; i < 2; i++) { /* in the first session nothing is known of the backend yet */
        connect_client("192.0.2.1", LISTEN_TLS_NONE);
        expect("220 mx.test");
        ask("EHLO client.test", "250");
        ask(i == 0 ? "MAIL FROM:<a@sender.test>" : "MAIL FROM:<a@sender.test> SMTPUTF8", "250");
        t_case("a domain as A-label is ours", "6531 3.2");
        ask("RCPT TO:<c@xn--mnchen-3ya.example>", "250");
        t_case("and as U-label, in any case", "6531 3.2");
        ask("RCPT TO:<c@m\xC3\xBCnchen.example>", i == 0 ? "553 5.6.7" : "250");
        ask("RCPT TO:<c@M\xC3\x9CNCHEN.Example>", i == 0 ? "553 5.6.7" : "250");
        t_case("another name is not", "6531 3.2");
        ask("RCPT TO:<c@m\xC3\xBCnster.example>", i == 0 ? "553 5.6.7" : "550 5.7.1");
        ask("RCPT TO:<c@munchen.example>", "550 5.7.1");
        disconnect_client();
    }
}

static void test_limits_of_the_backend(void **state)
{
    (void)state;
    open_bed(usual_settings);
    fakebackend_offer(fake, "250-LIMITS RCPTMAX=2\r\n");
    connect_client("192.0.2.1", LISTEN_TLS_NONE);
    expect("220 mx.test");
    ask("EHLO client.test", "250");
    ask("MAIL FROM:<a@sender.test>", "250");
    ask("RCPT TO:<1@d.test>", "250");
    ask("RCPT TO:<2@d.test>", "250");
    t_case("no more recipients than the backend takes, from the first session on", "9422 4");
    ask("RCPT TO:<3@d.test>", "452 4.5.3");
}

/* ---- BINARYMIME ---- */

static void begin_binary(void)
{
    ask("MAIL FROM:<a@sender.test> BODY=BINARYMIME", "250");
    ask("RCPT TO:<c@d.test>", "250");
}

static void test_binary_message(void **state)
{
    static const char message[] = "From: a@b.test\r\n\r\n\0\n.\n\r\r\n.\r\n\xFF";
    const struct str octets = STR(message);

    (void)state;
    open_bed(usual_settings);
    fakebackend_offer(fake, "250-CHUNKING\r\n250-BINARYMIME\r\n");
    connect_client("192.0.2.1", LISTEN_TLS_NONE);
    expect("220 mx.test");
    ask("HELO client.test", "250"); /* hears of no extensions, so none is looked for */
    t_case("BINARYMIME is not offered before a backend was heard that has it", "3030 3");
    ask("MAIL FROM:<a@sender.test> BODY=BINARYMIME", "555");
    t_case("but to the first who says EHLO", "3030 3");
    ask("EHLO client.test", "250");
    for (size_t cut = 0; cut < octets.n; cut++) {
        t_case(str_fmt(memory, "octets that are no lines arrive as they are, in chunks cut after %zu", cut),
               "3030 3");
        begin_binary();
        say(str_of(str_fmt(memory, "BDAT %zu\r\n", cut)));
        say(str_upto(octets, cut));
        expect("250");
        say(str_of(str_fmt(memory, "BDAT %zu LAST\r\n", octets.n - cut)));
        say(str_from(octets, cut));
        expect("250 2.0.0 Taken");
        t_same_str(below_our_fields(), octets);
    }
    t_case("but the header section is lines", "3030 3");
    begin_binary();
    say(STR("BDAT 29 LAST\r\nFrom: a@b.test\r\nX: y\nz: a\r\n\r\n"));
    expect("550 5.6.0");
    begin_binary();
    say(STR("BDAT 25 LAST\r\nFrom: a@b.test\r\nX: \0y\r\n\r\n"));
    expect("550 5.6.0");
    ask("NOOP", "250");
}

/* ---- recipients, when the backend cannot be reached ---- */

/* The backend says this to MAIL or RCPT, then it is gone; what does the same recipient hear then? */
static void learn(const char *rule, const char *recipient, const char *first)
{
    const char *const rules[] = {rule, NULL};

    fakebackend_rules(fake, rules);
    ask("MAIL FROM:<a@sender.test>", "250");
    ask(str_fmt(memory, "RCPT TO:<%s>", recipient), first);
    ask("RSET", "250");
    fakebackend_rules(fake, NULL);
}

static void greet_session(const char *const *settings)
{
    open_bed(settings);
    connect_client("192.0.2.1", LISTEN_TLS_NONE);
    expect("220 mx.test");
    ask("EHLO client.test", "250");
}

static void lose_backend(void)
{
    fakebackend_close_door(fake);
    fakebackend_hang_up(fake);
}

static void test_remembered_recipients(void **state)
{
    static const struct {
        const char *name, *rule, *first, *then;
    } rows[] = {
        {"whom it did not know", "RCPT=550 5.1.1 No such user\r\n", "550 5.1.1 No such user",
         "550 5.1.1 No such user (remembered)"},
        {"who has no mailbox any more", "RCPT=550 5.2.1 Closed\r\n", "550 5.2.1",
         "550 5.2.1 Closed (remembered)"},
        {"550 without an enhanced code", "RCPT=550 Unrouteable\r\n", "550 5.0.0 Unrouteable",
         "550 5.0.0 Unrouteable (remembered)"},
        {"whom it took", "RCPT=250 2.1.5 Ok\r\n", "250", "451 4.3.0"},
        {"whom it put off", "RCPT=450 4.2.1 Full\r\n", "450", "451 4.3.0"},
        {"a refusal of the client is none of the recipient", "RCPT=550 5.7.1 Go away\r\n", "550",
         "451 4.3.0"},
        {"nor is one of the sender", "MAIL=550 5.1.1 Who?\r\n", "550", "451 4.3.0"},
        {"nor is another code", "RCPT=554 Never\r\n", "554", "451 4.3.0"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        const char *recipient = str_fmt(memory, "user%zu@D.test", i);

        t_case(rows[i].name, "3463 3.2");
        greet_session(usual_settings);
        learn(rows[i].rule, recipient, rows[i].first);
        close_bed(NULL); /* the store outlives the process */
        greet_session(usual_settings);
        lose_backend();
        ask("MAIL FROM:<a@sender.test>", "250");
        ask(str_fmt(memory, "RCPT TO:<user%zu@d.test>", i), rows[i].then);
        ask("RCPT TO:<undecided@d.test>", "451 4.3.0");
        close_bed(NULL);
    }
    greet_session(usual_settings);
    t_case("the local part is the backend's to read: another case is another mailbox", "5321 2.4");
    lose_backend();
    ask("MAIL FROM:<a@sender.test>", "250");
    ask("RCPT TO:<USER0@d.test>", "451");
}

static void test_recipients_learnt_anew(void **state)
{
    (void)state;
    greet_session(usual_settings);
    t_case("a new user is taken as soon as the backend takes him, and is no unknown afterwards", NULL);
    learn("RCPT=550 5.1.1 No such user\r\n", "new@d.test", "550");
    learn("RCPT=250 2.1.5 Ok\r\n", "new@d.test", "250");
    lose_backend();
    ask("MAIL FROM:<a@sender.test>", "250");
    ask("RCPT TO:<new@d.test>", "451 4.3.0");
}

static void on_in_turn(enum store_status status, const void *result, void *arg)
{
    int *got = arg;

    (void)result;
    *got = (int)status;
    loop_stop(loop);
}

static void leave_rows(struct arena *mem, const void *question, struct store_row *rows, size_t count, void *result)
{
    (void)mem, (void)question, (void)rows, (void)count, (void)result;
}

/* When the store has answered all that it was asked. */
static void store_says(enum store_status status)
{
    struct store_request request = {.table = "recipient", .keys = {STR("x")}, .keys_count = 1, .change = leave_rows};
    int got = -1;

    store_update(parts.store, loop, &request, on_in_turn, &got);
    WAIT(got >= 0);
    t_same_int(got, status);
}

/* How many updates the store has done; the question is one of them. */
static uint64_t updates_so_far(void)
{
    store_says(STORE_DONE);
    return store_counts(parts.store).updates;
}

static void test_recipients_told_once(void **state)
{
    static const struct {
        const char *name, *rule, *reply;
        unsigned after_s, told;
    } rows[] = {
        {"what the backend says of him is told to the store", "RCPT=250 2.1.5 Ok\r\n", "250", 0, 1},
        {"and not again", "RCPT=250 2.1.5 Ok\r\n", "250", TOLD_SPAN_S - 1, 0},
        {"before ten minutes are over", "RCPT=250 2.1.5 Ok\r\n", "250", 1, 1},
        {"or it says something else", "RCPT=550 5.1.1 No such user\r\n", "550", 0, 1},
        {"or in other words", "RCPT=550 5.1.1 Who is that?\r\n", "550", 0, 1},
        {"which are not told again either", "RCPT=550 5.1.1 Who is that?\r\n", "550", 1, 0},
        {"and what was said first is news again", "RCPT=250 2.1.5 Ok\r\n", "250", 0, 1},
    };
    uint64_t before;

    (void)state;
    greet_session(usual_settings);
    turned_unix = clock_unix(clock_system()) / TOLD_SPAN_S * TOLD_SPAN_S;
    service->clock = &turned_clock;
    for (size_t i = 0; i < COUNT(rows); i++) {
        t_case(rows[i].name, NULL);
        turned_unix += rows[i].after_s;
        before = updates_so_far();
        learn(rows[i].rule, "told@d.test", rows[i].reply);
        t_same_int(updates_so_far() - before, rows[i].told + 1);
    }
}

static void test_recipients_told_in_vain(void **state)
{
    const char *const settings[] = {str_fmt(memory, "STORE__URL=sqlite:%s/missing/state.db", folder), NULL};
    struct store_settings well;
    struct fail fail;
    uint64_t before;

    (void)state;
    greet_session(settings);
    learn("RCPT=250 2.1.5 Ok\r\n", "vain@d.test", "250");
    store_says(STORE_UNAVAILABLE);
    store_close(&parts.store);
    well = parts.config->store;
    well.url = store_path;
    parts.store = service->store = store_open(&well, clock_system(), &fail);
    t_true(parts.store != NULL);
    before = updates_so_far();
    learn("RCPT=250 2.1.5 Ok\r\n", "vain@d.test", "250");
    t_case("what a store that was away has not heard is told again", NULL);
    t_same_int(updates_so_far() - before, 1 + 1);
}

static void test_recipients_not_remembered(void **state)
{
    static const char *const any[] = {"LIMITS__ERRORS=1000", "DOMAINS__RECIPIENTS=any", NULL},
                             *const never[] = {"LIMITS__ERRORS=1000", "DOMAINS__REMEMBER_REFUSED=0s", NULL},
                             *const *const settings[] = {any, never};

    (void)state;
    for (size_t i = 0; i < COUNT(settings); i++) {
        t_case("where the settings say so nothing is remembered", NULL);
        greet_session(settings[i]);
        learn("RCPT=550 5.1.1 No such user\r\n", str_fmt(memory, "any%zu@d.test", i), "550");
        lose_backend();
        ask("MAIL FROM:<a@sender.test>", "250");
        ask(str_fmt(memory, "RCPT TO:<any%zu@d.test>", i), "451 4.3.0");
        close_bed(NULL);
    }
    greet_session(usual_settings);
    t_case("what a client of ours sends to the world is not remembered either", NULL);
    disconnect_client();
    connect_client("127.0.0.1", LISTEN_TLS_NONE);
    expect("220 mx.test");
    ask("EHLO client.test", "250");
    learn("RCPT=550 5.1.1 No such user\r\n", "c@elsewhere.test", "550");
    lose_backend();
    ask("MAIL FROM:<a@sender.test>", "250");
    ask("RCPT TO:<c@elsewhere.test>", "451 4.3.0");
}

/* ---- waiting ---- */

static void test_waits(void **state)
{
    static const enum wait waits[] = {
        WAIT_BANNER, WAIT_RDNS,    WAIT_DNSBL,       WAIT_SPF_HELO, WAIT_SPF,       WAIT_SENDER,
        WAIT_GREY,   WAIT_DKIM,    WAIT_DMARC,       WAIT_ARC,      WAIT_ALIGNMENT, WAIT_BACKEND,
        WAIT_TLS,    WAIT_DOMAINS, WAIT_FROM_DOMAIN, WAIT_SPOOL,    WAIT_OFFER,
    };
    unsigned all = 0;

    (void)state;
    t_case("what a session waits for are bits, each another one", NULL);
    for (size_t i = 0; i < COUNT(waits); i++) {
        t_same_int(all & (unsigned)waits[i], 0);
        t_same_int((unsigned)waits[i] & ((unsigned)waits[i] - 1), 0);
        all |= (unsigned)waits[i];
    }
}

static void test_time_runs_out_in_a_handshake(void **state)
{
    static const char *const settings[] = {"LIMITS__SESSION=1s", NULL};

    (void)state;
    open_bed(settings);
    t_case("a session whose time is up while hands are shaken just ends", "3207 4");
    connect_client("192.0.2.1", LISTEN_TLS_STARTTLS);
    expect("220 mx.test");
    ask("EHLO client.test", "250");
    ask("STARTTLS", "220");
    WAIT(client_gone);
    t_same_int(heard.n, 0);
    t_case("and where TLS comes first, too", "8314 3");
    disconnect_client();
    connect_client("192.0.2.1", LISTEN_TLS_IMPLICIT);
    WAIT(client_gone);
    t_same_int(heard.n, 0);
}

/* Deadlines are long: it is enough to see that they are there, or not. */
static void test_deadline_of_a_handshake(void **state)
{
    (void)state;
    open_bed(usual_settings);
    t_case("where TLS comes first, its handshake has a deadline", "8314 3");
    connect_client("192.0.2.1", LISTEN_TLS_IMPLICIT);
    let_it_be_read();
    t_true(timer_is_started(&service->sessions->budget));
}

static void test_reset_between_chunks(void **state)
{
    (void)state;
    open_bed(usual_settings);
    t_case("RSET behind a chunk ends the watch over the data rate as well", "3030 2");
    connect_client("192.0.2.1", LISTEN_TLS_NONE);
    expect("220 mx.test");
    ask("EHLO client.test", "250");
    ask("MAIL FROM:<a@sender.test>", "250");
    ask("RCPT TO:<c@d.test>", "250");
    say(STR("BDAT 5\r\nFrom:"));
    expect("250");
    t_true(timer_is_started(&service->sessions->budget));
    ask("RSET", "250");
    t_true(service->sessions->tx == NULL);
    t_true(!timer_is_started(&service->sessions->budget));
}

static void test_deaf_client(void **state)
{
    static const char nothing[] = "BDAT 0\r\n";
    enum { TIMES = 1000, GROUPS = 4000, LENGTH = sizeof(nothing) - 1 };
    char group[TIMES * LENGTH];

    (void)state;
    open_bed(usual_settings);
    for (size_t i = 0; i < TIMES; i++)
        memcpy(group + i * LENGTH, nothing, LENGTH);
    connect_client("192.0.2.1", LISTEN_TLS_NONE);
    expect("220 mx.test");
    ask("EHLO client.test", "250");
    ask("MAIL FROM:<a@sender.test>", "250");
    ask("RCPT TO:<c@d.test>", "250");
    t_case("a client that reads no reply is let go, and costs little memory until then", "5321 4.5.3.2");
    watch_stop(&client_watch);
    for (int i = 0; service->sessions != NULL; i++) {
        t_true(i < GROUPS);
        t_true(conn_queued(service->sessions->conn) <= 256 * 1024);
        say(str_make(group, sizeof(group)));
        let_it_be_read();
    }
}

static void test_many_greetings(void **state)
{
    size_t bytes;

    (void)state;
    open_bed(usual_settings);
    t_case("a session that greets again and again keeps the memory of one greeting", "5321 4.1.4");
    connect_client("192.0.2.1", LISTEN_TLS_NONE);
    expect("220 mx.test");
    ask("EHLO client.test", "250");
    bytes = arena_bytes(service->sessions->mem);
    for (int i = 0; i < 90; i++)
        ask("EHLO client.test", "250");
    t_case("also when the answer to the one before is still due, and ends it", "2920 3.1");
    for (int i = 0; i < 3; i++)
        say(STR("EHLO client.test\r\nMAIL FROM:<>\r\nRCPT TO:<c@d.test>\r\nEHLO client.test\r\n"));
    for (int i = 0; i < 12; i++)
        expect("250");
    ask("NOOP", "250");
    t_same_int(arena_bytes(service->sessions->mem), bytes);
    t_true(arena_bytes(service->sessions->helo_mem) < 16 * 1024);
}

#define ON_BED(test) cmocka_unit_test_teardown(test, close_bed)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_BED(test_signed_message),
        ON_BED(test_odd_messages),
        ON_BED(test_header_limit),
        ON_BED(test_trusted),
        ON_BED(test_large_message),
        ON_BED(test_backend_without_enhanced_codes),
        ON_BED(test_names_beyond_ascii),
        ON_BED(test_limits_of_the_backend),
        ON_BED(test_binary_message),
        ON_BED(test_remembered_recipients),
        ON_BED(test_recipients_learnt_anew),
        ON_BED(test_recipients_told_once),
        ON_BED(test_recipients_told_in_vain),
        ON_BED(test_recipients_not_remembered),
        cmocka_unit_test(test_waits),
        ON_BED(test_time_runs_out_in_a_handshake),
        ON_BED(test_deadline_of_a_handshake),
        ON_BED(test_reset_between_chunks),
        ON_BED(test_deaf_client),
        ON_BED(test_many_greetings),
    };

    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
