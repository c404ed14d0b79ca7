/*
 * proxy/status.h - what `smtpguard status` says, as one JSON object
 *
 * All but the census is read from atomics and the settings: it costs the workers nothing, and waits for nobody.
 */
#ifndef PROXY_STATUS_H
#define PROXY_STATUS_H

#include "config/config.h"
#include "proxy/census.h"

struct status {
    const struct config *config;
    const struct store *store;
    size_t workers;
    const struct census *census;
    int64_t now_unix, started_unix, loaded_unix; /* loaded: the settings in force */
    bool reload_failed;                          /* the last one */
    bool draining;
    bool upgrading;             /* a newer process gets ready */
    const char *upgrade_failed; /* why the last one did not; or "" */
};
void status_write(const struct status *status, struct buf *out);

#endif
