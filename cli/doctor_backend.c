#include "cli/doctor.h"

#include "cli/visit.h"

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

/* The first of those that its name has. */
static bool find_address(struct doctor *doctor, const struct backend_settings *backend,
                         struct endpoint *at_out)
{
    struct addresses found;

    cli_visit_find(&doctor->lookup, backend->host, backend->endpoint.port, &found);
    if (found.count == 0)
        doctor_add(doctor, DOCTOR_FAIL, "backend", "correct its name in backends, or its A and AAAA records",
                   "%s: its name has no address: %s", backend->address, found.why);
    else
        *at_out = found.list[0];
    return found.count > 0;
}

/* One connection in plain text: what it offers to everybody is what it will offer to us. */
static void look_at_backend(struct doctor *doctor, const struct backend_settings *backend)
{
    struct visit_ask ask = {.at = backend->endpoint,
                            .path = backend->path,
                            .protocol = backend->protocol,
                            .proxy_header = backend->pass_client == PASS_PROXY_V2,
                            .within_ms = backend->connect_timeout_ms,
                            .step_ms = backend->connect_timeout_ms};
    struct visit_answer answer;

    if (backend->host != NULL && !find_address(doctor, backend, &ask.at))
        return;
    cli_visit(&doctor->lookup, &ask, &answer);
    if (answer.ready) {
        doctor_add(doctor, DOCTOR_OK, "backend", NULL, "%s answers", backend->address);
        look_at_offers(doctor, backend, &answer.offers);
    } else {
        doctor_add(doctor, DOCTOR_FAIL, "backend",
                   "start it, correct backends, or let it accept connections from here", "%s: %s",
                   backend->address, answer.trouble);
    }
}

void doctor_backends(struct doctor *doctor)
{
    const struct config *config = doctor->lookup.config;

    for (size_t i = 0; i < config->backends_count; i++)
        look_at_backend(doctor, &config->backends[i]);
}
