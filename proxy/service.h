/*
 * proxy/service.h - one snapshot of settings in service on one worker, with the live things that belong to it
 *
 * A reload makes a new service beside the old one; sessions stay with the one they began with, and the last
 * to leave frees it. Everything here belongs to the worker's thread, but what is marked shared.
 */
#ifndef PROXY_SERVICE_H
#define PROXY_SERVICE_H

#include "dns/dnsbl_selftest.h"
#include "proxy/clients.h"
#include "proxy/failures.h"
#include "proxy/hearing.h"
#include "proxy/relay.h"
#include "proxy/signing.h"
#include "proxy/told.h"
#include "record/keeper.h"
#include "report/journal.h"

struct session;

struct service {
    struct loop *loop;
    const struct clock *clock;
    const struct config *config;
    struct tls_context *tls_server; /* NULL: no certificate. Changes when the files do. */
    struct dns *dns;
    struct dkim_keys *keys;
    struct dnsbl_health *health;
    struct dnsbl_selftest *selftest;
    bool *lists_off; /* as the metric was told last: which lists are not asked */
    struct dkim_keyring *keyring; /* shared; NULL: nothing is signed */
    struct signing_watch *signing;
    struct backends *backends;
    struct hearing *hearing;
    struct journal *journal; /* shared */
    struct failures *failures; /* NULL: none are wanted */
    struct keeper *keeper;     /* shared; NULL: nothing is recorded */
    struct buf record;         /* the one that is being written */
    int64_t limits_since_ms;   /* see decided_limits() */
    unsigned limits_recorded;
    struct store *store;       /* shared */
    struct clients *clients;   /* shared */
    struct told *told;         /* shared */
    struct arena *mem;
    struct session *sessions; /* all that are open */
    bool retired;             /* a newer one has taken over */
    struct service *next;
};

/* What a service is made of; references are counted up. */
struct service_parts {
    const struct config *config;
    struct tls_context *tls_server, *tls_client; /* may be NULL */
    struct dkim_keyring *keyring;                /* may be NULL */
    struct store *store;
    struct clients *clients;
    struct told *told;
    struct partials *partials;
    struct journal *journal; /* NULL: nothing is counted */
    struct keeper *keeper;   /* NULL: nothing is recorded */
};
struct service *service_new(struct loop *loop, const struct service_parts *parts, struct fail *fail);
void service_free(struct service **service); /* no session may be open */
/* Brings the metric of the DNS lists that are not asked up to date; of a retired service none is missed. */
void service_tell_lists(struct service *service);

#endif
