#include "cli/visit.h"

#include "base/bug.h"
#include "smtp/proxy_header.h"
#include "tls/conn.h"

#include <string.h>

enum { WIRE_BYTES_MAX = 64 * 1024, TOLD_BYTES_MAX = 1000, QUIT_MS = 2000 };

struct visit {
    struct cli_lookup *lookup;
    const struct visit_ask *ask;
    struct visit_answer *answer;
    struct conn *conn;
    struct smtp_client *client;
    struct tls_context *tls;
    struct buf out;
    struct timer deadline;
    const char *waits_for; /* the step that is not done yet */
    int64_t begun_ms, step_begun_ms;
    bool over;
};

/* ---- steps ---- */

static void on_deadline(void *arg);

static void begin_step(struct visit *visit, const char *step)
{
    int64_t now = loop_now_ms(visit->lookup->loop);
    int64_t left = visit->begun_ms + visit->ask->within_ms - now;
    int64_t most = visit->answer->ready ? QUIT_MS : visit->ask->step_ms;

    visit->waits_for = step;
    visit->step_begun_ms = now;
    timer_start(&visit->deadline, visit->lookup->loop, left < most ? left : most, on_deadline, visit);
}

static void end_step(struct visit *visit, const char *step, const char *answer)
{
    struct visit_answer *a = visit->answer;
    int64_t ms = loop_now_ms(visit->lookup->loop) - visit->step_begun_ms;

    visit->waits_for = NULL;
    if (a->steps_count < VISIT_STEPS_MAX)
        a->steps[a->steps_count++] = (struct visit_step){step, answer, ms};
}

/* What goes wrong once it is ready is QUIT's, and does no harm. */
static void end(struct visit *visit, const char *trouble)
{
    if (visit->over)
        return;
    visit->over = true;
    if (visit->waits_for != NULL)
        end_step(visit, visit->waits_for, trouble);
    if (!visit->answer->ready)
        visit->answer->trouble = trouble;
    loop_stop(visit->lookup->loop);
}

static void on_deadline(void *arg)
{
    end(arg, "it does not answer in time");
}

/* ---- what we say ---- */

static void send_what_waits(struct visit *visit)
{
    struct str line = buf_str(&visit->out);

    if (line.n == 0)
        return;
    str_cut(line, '\r', &line, &(struct str){0});
    str_cut(line, ' ', &line, &(struct str){0});
    begin_step(visit, str_dup(visit->lookup->mem, line));
    conn_write_buf(visit->conn, &visit->out);
}

static void start_tls(struct visit *visit)
{
    visit->answer->tls_tried = true;
    begin_step(visit, "handshake");
    conn_start_tls_client(visit->conn, visit->tls, visit->ask->server_name);
}

/* ---- what it says ---- */

/* On one line. */
static const char *reply_text(struct arena *mem, const struct smtp_reply *reply)
{
    struct str rest = str_upto(reply->text, TOLD_BYTES_MAX), line;
    const char *told = str_fmt(mem, "%d%s%.*s", reply->code, reply->enhanced.n > 0 ? " " : "",
                               STR_ARG(reply->enhanced));
    const char *between = " ";

    while (rest.n > 0) {
        str_cut(rest, '\n', &line, &rest);
        told = str_fmt(mem, "%s%s%.*s", told, between, STR_ARG(line));
        between = ", ";
    }
    return told;
}

static void on_heard(const char *command, const struct smtp_reply *reply, void *arg)
{
    struct visit *visit = arg;

    end_step(visit, command, reply_text(visit->lookup->mem, reply));
}

static const char *why_no_tls(struct visit *visit, const struct smtp_reply *last)
{
    if (visit->ask->tls != VISIT_STARTTLS || visit->answer->version != NULL)
        return NULL;
    if (!visit->answer->starttls)
        return "it does not offer STARTTLS";
    return str_fmt(visit->lookup->mem, "it refuses STARTTLS: %s", reply_text(visit->lookup->mem, last));
}

static void on_ready(struct visit *visit, const struct smtp_reply *last)
{
    struct visit_answer *a = visit->answer;

    a->ready = true;
    a->offers = *smtp_client_capabilities(visit->client);
    a->starttls = a->starttls || a->offers.starttls;
    a->trouble = why_no_tls(visit, last);
    smtp_client_quit(visit->client);
}

static void take_events(struct visit *visit)
{
    struct smtp_client_event event;
    struct arena *mem = visit->lookup->mem;

    do {
        smtp_client_next(visit->client, &event);
        if (event.kind == SMTP_CLIENT_STARTTLS) {
            visit->answer->starttls = true;
            start_tls(visit);
        } else if (event.kind == SMTP_CLIENT_READY) {
            on_ready(visit, &event.reply);
        } else if (event.kind == SMTP_CLIENT_REFUSED) {
            end(visit, str_fmt(mem, "it refuses us: %s", reply_text(mem, &event.reply)));
        } else if (event.kind == SMTP_CLIENT_BROKEN) {
            end(visit, str_fmt(mem, "it does not speak SMTP: %s", event.why));
        }
    } while (event.kind != SMTP_CLIENT_NEED_INPUT && !visit->over);
    if (!visit->over)
        send_what_waits(visit);
}

static void on_data(const char *bytes, size_t n, void *arg)
{
    struct visit *visit = arg;

    smtp_client_feed(visit->client, bytes, n);
    if (!visit->over)
        take_events(visit);
}

static void on_connect(void *arg)
{
    struct visit *visit = arg;

    visit->answer->connected = true;
    end_step(visit, "connect", "connected");
    if (visit->ask->tls == VISIT_IMPLICIT)
        start_tls(visit);
    else
        begin_step(visit, "greeting");
}

static void on_tls(void *arg)
{
    struct visit *visit = arg;
    struct visit_answer *a = visit->answer;
    const struct tls_engine *engine = conn_tls(visit->conn);
    struct arena *mem = visit->lookup->mem;

    a->version = str_dup(mem, str_of(tls_engine_version(engine)));
    a->cipher = str_dup(mem, str_of(tls_engine_cipher(engine)));
    a->chain_count = tls_engine_chain(engine, mem, &a->chain);
    end_step(visit, "handshake", str_fmt(mem, "%s %s", a->version, a->cipher));
    if (visit->ask->tls == VISIT_IMPLICIT)
        begin_step(visit, "greeting");
    else
        smtp_client_tls_started(visit->client);
    take_events(visit);
}

static void on_end(int error, const char *why, void *arg)
{
    struct visit *visit = arg;

    end(visit, error == 0 ? "it closed the connection" : str_dup(visit->lookup->mem, str_of(why)));
}

/* ---- the visit ---- */

struct finding {
    struct loop *loop;
    bool done;
};

static void on_addresses(void *arg)
{
    struct finding *finding = arg;

    finding->done = true;
    loop_stop(finding->loop);
}

void cli_visit_find(struct cli_lookup *lookup, const char *host, uint16_t port, struct addresses *found_out)
{
    struct finding finding = {.loop = lookup->loop};

    addresses_find(found_out, lookup->dns, host, port, on_addresses, &finding);
    while (!finding.done)
        loop_run(lookup->loop);
}

static void open_connection(struct visit *visit)
{
    static const struct conn_events events = {on_connect, on_data, NULL, on_tls, on_end};
    const struct visit_ask *ask = visit->ask;
    struct loop *loop = visit->lookup->loop;

    begin_step(visit, "connect");
    visit->conn = ask->path != NULL ? conn_connect_unix(loop, ask->path, &events, visit)
                                    : conn_connect(loop, &ask->at, &events, visit);
    if (visit->conn == NULL) {
        end(visit, "no descriptor is left to connect with");
        return;
    }
    if (ask->proxy_header) {
        proxy_header_write(&visit->out, NULL, NULL); /* no client: it is us */
        conn_write_buf(visit->conn, &visit->out);
    }
}

static void close_connection(struct visit *visit)
{
    timer_stop(&visit->deadline);
    conn_close(&visit->conn);
    smtp_client_free(&visit->client);
    tls_context_unref(&visit->tls);
    buf_fini(&visit->out);
}

void cli_visit(struct cli_lookup *lookup, const struct visit_ask *ask, struct visit_answer *answer_out)
{
    const char *hostname = lookup->config->hostname;
    struct visit visit = {.lookup = lookup, .ask = ask, .answer = answer_out};
    struct fail fail;

    *answer_out = (struct visit_answer){0};
    visit.begun_ms = loop_now_ms(lookup->loop);
    visit.tls = tls_client_context(TLS_VERIFY_NOTHING, &fail);
    if (visit.tls == NULL)
        bug("a client that verifies nothing needs no files");
    buf_init(&visit.out, WIRE_BYTES_MAX);
    visit.client = smtp_client_new(ask->protocol, hostname != NULL ? hostname : "localhost",
                                   ask->tls == VISIT_STARTTLS, &visit.out);
    smtp_client_listen(visit.client, on_heard, &visit);
    open_connection(&visit);
    while (!visit.over)
        loop_run(lookup->loop);
    close_connection(&visit);
}
