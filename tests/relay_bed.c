#include "tests/relay_bed.h"

#include "base/bug.h"
#include "base/log.h"
#include "tests/certificate.h"
#include "tests/t.h"

#include <stdio.h>
#include <unistd.h>

enum { LATE_MS = 60000 };

struct loop *loop;
struct fakebackend *fakes[FAKES];
struct backends *backends;
struct config config;
struct backend_settings fake_settings[FAKES];
struct tls_context *server_context, *client_context;

struct fakedns *names;
struct partials *partials;
struct store *store;

void renew_backends(void)
{
    backends_free(&backends);
    backends =
        backends_new(&(struct backends_parts){loop, &config, client_context, partials, fakedns_dns(names)});
}

struct work work;

/* ---- the bed ---- */

char folder[] = "/tmp/relay_test.XXXXXX";
char cert_path[64], key_path[64];

int make_contexts(void **state)
{
    static const struct log_settings quiet = {.level = LOG_ERROR};
    struct tls_settings tls = {.pair = {cert_path, key_path}, .ciphers = ""};
    struct fail fail = {0};

    (void)state;
    log_open(&quiet);
    if (mkdtemp(folder) == NULL)
        return 1;
    snprintf(cert_path, sizeof(cert_path), "%s/cert.pem", folder);
    snprintf(key_path, sizeof(key_path), "%s/key.pem", folder);
    if (!certificate_make(cert_path, key_path, "mx.test", 30, NULL))
        return 1;
    server_context = tls_server_context(&tls, &fail);
    client_context = tls_client_context(TLS_VERIFY_NOTHING, &fail);
    return server_context == NULL || client_context == NULL;
}

int drop_contexts(void **state)
{
    (void)state;
    tls_context_unref(&server_context);
    tls_context_unref(&client_context);
    unlink(cert_path);
    unlink(key_path);
    return rmdir(folder);
}

/* It stays when the daemon before it ends: a restart is close_store() and open_store(). */
void open_store(void)
{
    static char url[96];
    struct fail fail = {0};

    snprintf(url, sizeof(url), "sqlite:%s/state.db", folder);
    store = store_open(&(struct store_settings){.url = url}, clock_system(), &fail);
    if (store == NULL)
        t_fail("%s", fail.text);
    partials = partials_new(store, clock_system());
}

/* Answers that are on their way are delivered to nobody. */
void close_store(void)
{
    store_close(&store);
    loop_stop(loop);
    loop_run(loop);
    partials_free(&partials);
}

static void remove_store(void)
{
    static const char *const endings[] = {"", "-wal", "-shm"};
    char path[96];

    for (size_t i = 0; i < COUNT(endings); i++) {
        snprintf(path, sizeof(path), "%s/state.db%s", folder, endings[i]);
        unlink(path);
    }
}

int open_bed(void **state)
{
    (void)state;
    loop = loop_new();
    open_store();
    names = fakedns_new();
    config = (struct config){.hostname = "mx.test", .backends = fake_settings, .backends_count = 1};
    for (int i = 0; i < FAKES; i++) {
        fakes[i] = fakebackend_new(loop);
        fake_settings[i] = (struct backend_settings){.address = i == 0 ? "first" : "second",
                                                     .endpoint = fakebackend_at(fakes[i]),
                                                     .tls = BACKEND_TLS_NEVER,
                                                     .pass_client = PASS_XCLIENT,
                                                     .connect_timeout_ms = PATIENT_MS,
                                                     .reply_timeout_ms = PATIENT_MS,
                                                     .pool = 4};
    }
    renew_backends();
    work = (struct work){0};
    return 0;
}

void end_work(struct work *w)
{
    relay_close(&w->relay);
    t_true(w->relay == NULL);
    spool_free(&w->spool);
    if (w->mem != NULL)
        arena_free(&w->mem); /* sanitizers see who comes back */
    *w = (struct work){0};
}

int close_bed(void **state)
{
    (void)state;
    end_work(&work);
    backends_free(&backends);
    for (int i = 0; i < FAKES; i++)
        fakebackend_free(&fakes[i]);
    close_store();
    remove_store();
    fakedns_free(&names);
    loop_free(&loop);
    return 0;
}

void reopen_bed(void)
{
    close_bed(NULL);
    open_bed(NULL);
}

static void on_late(void *arg)
{
    (void)arg;
    t_fail("it never happened");
}

void run_until_something_happens(void)
{
    struct timer late = {0};

    timer_start(&late, loop, LATE_MS, on_late, NULL);
    loop_run(loop);
    timer_stop(&late);
}

static void stop(void *arg)
{
    (void)arg;
    loop_stop(loop);
}

void let_pass(void)
{
    for (int i = 0; i < 5; i++) {
        struct timer soon = {0};

        timer_start(&soon, loop, 1, stop, NULL);
        loop_run(loop);
        timer_stop(&soon);
    }
}

/* ---- a session's part ---- */

static void on_answer(const struct relay_reply *reply, void *arg)
{
    struct work *w = arg;

    loop_stop(loop);
    if (w->asking)
        t_fail("an answer before the asking call has returned");
    if (++w->answers > w->due)
        t_fail("an answer too many: %d %.*s", reply->code, STR_ARG(reply->text));
    w->code = reply->code;
    w->ours = reply->ours;
    snprintf(w->enhanced, sizeof(w->enhanced), "%s", reply->enhanced);
    snprintf(w->text, sizeof(w->text), "%.*s", STR_ARG(reply->text));
    snprintf(w->backend, sizeof(w->backend), "%s", reply->backend != NULL ? reply->backend : "");
}

void begin_with(struct work *w, const struct relay_ask *ask)
{
    *w = (struct work){.mem = arena_new(0)};
    w->relay = relay_open(w->mem, backends, ask, on_answer, w);
}

void begin_as(struct work *w, const struct smtp_identity *client)
{
    begin_with(w, &(struct relay_ask){.client = *client, .mail_from = STR("a@b.test"), .size = 100});
}

static const struct smtp_identity somebody = {
    .addr = "192.0.2.1", .port = 1025, .helo = "client.test", .esmtp = true};

void begin_on(struct work *w, struct link *const *own)
{
    begin_with(
        w, &(struct relay_ask){.client = somebody, .mail_from = STR("a@b.test"), .size = 100, .own = own});
}

void begin(struct work *w)
{
    begin_on(w, NULL);
}

void say_rcpt(struct work *w, const char *recipient)
{
    w->due++;
    w->asking = true;
    relay_rcpt(w->relay, str_of(recipient), STR(""));
    w->asking = false;
}

int rcpt(struct work *w, const char *recipient)
{
    say_rcpt(w, recipient);
    WAIT(w->answers == w->due);
    return w->code;
}

void on_spool_ready(void *arg)
{
    struct work *w = arg;

    loop_stop(loop);
    if (w->relay != NULL)
        relay_spool_ready(w->relay);
}

const char small_body[] = "text\r\n.dot\r\n..two\r\nend\r\n";

void say_message_of(struct work *w, struct str body, size_t memory)
{
    w->pieces[0] = STR("Received: x\r\n");
    w->pieces[1] = STR("");
    w->pieces[2] = STR("Subject: y\r\n\r\n");
    w->spool = spool_new(loop, memory, folder, on_spool_ready, w);
    spool_add(w->spool, body);
    w->due++;
    w->asking = true;
    relay_message(w->relay, &(struct relay_message){w->pieces, COUNT(w->pieces), w->spool, w->digest});
    w->asking = false;
}

void say_message(struct work *w)
{
    say_message_of(w, str_of(small_body), 1000000);
}

int message(struct work *w)
{
    say_message(w);
    WAIT(w->answers == w->due);
    return w->code;
}

int deliver(void)
{
    int code;

    begin(&work);
    code = rcpt(&work, "c@d.test");
    if (code < 300)
        code = message(&work);
    end_work(&work);
    return code;
}

void expect_message(struct fakebackend *fake)
{
    t_same_str_z(fakebackend_message(fake),
                 "Received: x\r\nSubject: y\r\n\r\ntext\r\n.dot\r\n..two\r\nend\r\n");
}
