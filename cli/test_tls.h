/*
 * cli/test_tls.h - what `test tls` found out about a server, for who prints it
 *
 * Everything lives in the lookup's memory. Strangers wrote the steps' answers, the certificate's texts and parts of the
 * reason: they are printed by cli_print(), or as JSON.
 */
#ifndef CLI_TEST_TLS_H
#define CLI_TEST_TLS_H

#include "cli/visit.h"
#include "tls/peer.h"

enum { TEST_TLS_STEPS_MAX = 1 + 2 * ADDRESSES_MAX + VISIT_STEPS_MAX };

struct test_tls {
    const char *host;    /* as asked for: a name, or an address as text */
    const char *name;    /* that the certificate must have */
    const char *address; /* with its port: where the last visit was; NULL: there is no address */
    int64_t now_unix;
    struct visit_answer visit; /* the last one */
    bool has_peer;
    struct tls_peer peer;
    const char *reason; /* why it is not good, or what will be wrong soon; NULL */
    struct visit_step steps[TEST_TLS_STEPS_MAX];
    size_t steps_count;
};

void cli_test_tls_json(const struct test_tls *t);
void cli_test_tls_text(const struct test_tls *t);

#endif
