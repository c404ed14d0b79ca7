#include "cli/doctor.h"

#include "base/stream.h"
#include "proxy/addresses.h"
#include "smtp/client.h"
#include "smtp/proxy_header.h"

#include <string.h>

enum { WIRE_BYTES_MAX = 64 * 1024 };

/* One connection in plain text: what it offers to everybody is what it will offer to us. */
struct visit {
    struct doctor *doctor;
    struct stream *stream;
    struct smtp_client *client;
    struct buf out;
    struct timer deadline;
    bool over, ready;
    const char *trouble;
};

static void end(struct visit *visit, const char *trouble)
{
    if (visit->over)
        return;
    visit->over = true;
    visit->trouble = trouble;
    loop_stop(visit->doctor->lookup.loop);
}

static void send_what_waits(struct visit *visit)
{
    struct iovec piece = {visit->out.p, visit->out.n};

    if (visit->out.n == 0)
        return;
    stream_write(visit->stream, &piece, 1);
    buf_consume(&visit->out, visit->out.n);
}

static void take_events(struct visit *visit)
{
    struct smtp_client_event event;
    struct arena *mem = visit->doctor->lookup.mem;

    do {
        smtp_client_next(visit->client, &event);
        if (event.kind == SMTP_CLIENT_READY) {
            visit->ready = true;
            smtp_client_quit(visit->client);
            send_what_waits(visit);
            end(visit, NULL);
        } else if (event.kind == SMTP_CLIENT_REFUSED) {
            end(visit,
                str_fmt(mem, "it refuses us: %d %.*s", (int)event.reply.code, STR_ARG(event.reply.text)));
        } else if (event.kind == SMTP_CLIENT_BROKEN) {
            end(visit, str_fmt(mem, "it does not speak SMTP: %s", event.why));
        }
    } while (event.kind != SMTP_CLIENT_NEED_INPUT && !visit->over);
}

static void on_connect(void *arg)
{
    (void)arg; /* it speaks first */
}

static void on_data(const char *bytes, size_t n, void *arg)
{
    struct visit *visit = arg;

    smtp_client_feed(visit->client, bytes, n);
    take_events(visit);
    if (!visit->over)
        send_what_waits(visit);
}

static void on_end(int error, void *arg)
{
    struct visit *visit = arg;

    end(visit, error == 0 ? "it closed the connection" : strerror(error));
}

static void on_deadline(void *arg)
{
    end(arg, "it does not answer in time");
}

static void look_at_size(struct doctor *doctor, const char *address, const struct smtp_capabilities *c)
{
    uint64_t ours = doctor->lookup.config->limits.message_bytes;

    if (!c->size)
        doctor_add(doctor, DOCTOR_WARN, "backend", "postfix: message_size_limit offers it",
                   "%s does not offer SIZE: messages too large are refused only after their body", address);
    else if (c->size_max != 0 && c->size_max < ours)
        doctor_add(doctor, DOCTOR_WARN, "backend", "raise its limit, or lower limits.message_size to it",
                   "%s takes %llu octets a message, and limits.message_size is %llu", address,
                   (unsigned long long)c->size_max, (unsigned long long)ours);
    else
        doctor_add(doctor, DOCTOR_OK, "backend", NULL, "%s takes messages as large as we do", address);
}

static void look_at_offers(struct doctor *doctor, const struct backend_settings *backend,
                           const struct smtp_capabilities *c)
{
    const char *address = backend->address;

    if (backend->pass_client == PASS_XCLIENT && backend->protocol == PROTOCOL_SMTP)
        doctor_add(doctor, c->xclient ? DOCTOR_OK : DOCTOR_FAIL, "backend",
                   "postfix: put our address into smtpd_authorized_xclient_hosts of this service",
                   c->xclient ? "%s takes the client's name and address (XCLIENT)"
                              : "%s does not offer us XCLIENT: all mail will look as if it came from here",
                   address);
    doctor_add(doctor, c->eightbitmime ? DOCTOR_OK : DOCTOR_WARN, "backend",
               "let it offer 8BITMIME: messages with 8-bit text are refused else",
               c->eightbitmime ? "%s offers 8BITMIME" : "%s does not offer 8BITMIME", address);
    doctor_add(doctor, c->pipelining ? DOCTOR_OK : DOCTOR_WARN, "backend",
               "let it offer PIPELINING: each message costs more round trips else",
               c->pipelining ? "%s offers PIPELINING" : "%s does not offer PIPELINING", address);
    if (backend->tls >= BACKEND_TLS_REQUIRE)
        doctor_add(doctor, c->starttls ? DOCTOR_OK : DOCTOR_FAIL, "backend",
                   "give it a certificate, or set its tls: opportunistic",
                   c->starttls ? "%s offers STARTTLS"
                               : "%s does not offer STARTTLS, which its tls setting wants",
                   address);
    look_at_size(doctor, address, c);
}

static void on_addresses(void *arg)
{
    loop_stop(arg);
}

/* The first of those that its name has. */
static bool find_address(struct doctor *doctor, const struct backend_settings *backend,
                         struct endpoint *at_out)
{
    struct addresses found;

    addresses_find(&found, doctor->lookup.dns, backend->host, backend->endpoint.port, on_addresses,
                   doctor->lookup.loop);
    loop_run(doctor->lookup.loop);
    if (found.count == 0)
        doctor_add(doctor, DOCTOR_FAIL, "backend", "correct its name in backends, or its A and AAAA records",
                   "%s: its name has no address: %s", backend->address, found.why);
    else
        *at_out = found.list[0];
    return found.count > 0;
}

static void look_at_backend(struct doctor *doctor, const struct backend_settings *backend)
{
    static const struct stream_events events = {on_connect, on_data, NULL, on_end};
    struct visit visit = {.doctor = doctor};
    struct loop *loop = doctor->lookup.loop;
    const char *hostname = doctor->lookup.config->hostname;
    struct endpoint at = backend->endpoint;

    if (backend->host != NULL && !find_address(doctor, backend, &at))
        return;
    buf_init(&visit.out, WIRE_BYTES_MAX);
    visit.client =
        smtp_client_new(backend->protocol, hostname != NULL ? hostname : "localhost", false, &visit.out);
    visit.stream = backend->path != NULL
                       ? stream_connect_unix(loop, backend->path, WIRE_BYTES_MAX, &events, &visit)
                       : stream_connect(loop, &at, WIRE_BYTES_MAX, &events, &visit);
    if (backend->pass_client == PASS_PROXY_V2) {
        proxy_header_write(&visit.out, NULL, NULL); /* no client: it is us */
        send_what_waits(&visit);
    }
    timer_start(&visit.deadline, loop, backend->connect_timeout_ms, on_deadline, &visit);
    while (!visit.over)
        loop_run(loop);
    timer_stop(&visit.deadline);
    if (visit.ready) {
        doctor_add(doctor, DOCTOR_OK, "backend", NULL, "%s answers", backend->address);
        look_at_offers(doctor, backend, smtp_client_capabilities(visit.client));
    } else {
        doctor_add(doctor, DOCTOR_FAIL, "backend",
                   "start it, correct backends, or let it accept connections from here", "%s: %s",
                   backend->address, visit.trouble);
    }
    stream_close(&visit.stream);
    smtp_client_free(&visit.client);
    buf_fini(&visit.out);
}

void doctor_backends(struct doctor *doctor)
{
    const struct config *config = doctor->lookup.config;

    for (size_t i = 0; i < config->backends_count; i++)
        look_at_backend(doctor, &config->backends[i]);
}
