/*
 * cli/visit.h - one SMTP or LMTP server, visited as a client: greeting, EHLO, TLS where it is wanted, QUIT
 *
 * Ownership  The answer lives in lookup->mem.
 * Timing     Waits on the lookup's loop until the visit is over: `within_ms` in all, `step_ms` for each step of it.
 * Limits     VISIT_STEPS_MAX steps, and the beginning of each answer, are told.
 * Errors     None to return: whatever goes wrong is the answer's `trouble`.
 *
 * What strangers said stands in steps and trouble as it came, but for line ends: print them by cli_print().
 */
#ifndef CLI_VISIT_H
#define CLI_VISIT_H

#include "cli/cli.h"

#include "proxy/addresses.h"
#include "smtp/client.h"

enum { VISIT_STEPS_MAX = 16 };

enum visit_tls {
    VISIT_PLAIN,
    VISIT_STARTTLS, /* plain text where it does not offer it; no certificate is refused */
    VISIT_IMPLICIT, /* TLS from the first octet on (RFC 8314 3.3) */
};

struct visit_ask {
    struct endpoint at;
    const char *path; /* of a Unix socket; else NULL */
    enum smtp_protocol protocol;
    bool proxy_header; /* one of PROXY v2 goes first, in our own name */
    enum visit_tls tls;
    const char *server_name; /* with TLS: whom it is to be; sent unless it is an address */
    int64_t within_ms, step_ms;
};

struct visit_step {
    const char *step; /* "connect", "greeting", "EHLO", "STARTTLS", "handshake", "QUIT", … */
    const char *answer;
    int64_t ms;
};

struct visit_answer {
    bool connected;
    bool ready;                     /* greeting and EHLO, inside of TLS where there is any, went well */
    const char *trouble;            /* why it is not, or why there is no TLS; NULL: all is as asked */
    struct smtp_capabilities offers; /* of its last EHLO */
    bool starttls;                  /* it offers it */
    bool tls_tried;                 /* a handshake has begun */
    const char *version, *cipher;   /* NULL: there is no TLS */
    const struct str *chain;        /* the certificates it has shown, in DER */
    size_t chain_count;
    struct visit_step steps[VISIT_STEPS_MAX];
    size_t steps_count;
};

/* Waits for the addresses of a name. */
void cli_visit_find(struct cli_lookup *lookup, const char *host, uint16_t port, struct addresses *found_out);

void cli_visit(struct cli_lookup *lookup, const struct visit_ask *ask, struct visit_answer *answer_out);

#endif
