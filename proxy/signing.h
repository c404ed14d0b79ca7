/*
 * proxy/signing.h - what leaves for our own clients is DKIM-signed
 *
 * A service watches what the DNS shows of its keys (at start and every hour, the unseen ones every minute);
 * the answers go into the keyring, which all workers share.
 */
#ifndef PROXY_SIGNING_H
#define PROXY_SIGNING_H

#include "auth/dkim_keyring.h"
#include "base/loop.h"
#include "smtp/header.h"

struct signing_watch;

struct signing_watch *signing_watch_start(struct loop *loop, struct dns *dns, struct dkim_keyring *ring);
void signing_watch_stop(struct signing_watch **watch); /* NULL is fine; leaves NULL */

/* NULL when this message is not to be signed; a sentence when it should have been and cannot. */
struct dkim_signer *signing_start(struct arena *mem, struct dkim_keyring *ring,
                                  const struct dkim_keyring_settings *settings, const struct header *header,
                                  int64_t now_unix, const char **why_out);

/* The fields for a whole message of our own (CRLF lines); empty when it is not to be signed. */
struct str signing_whole(struct arena *mem, struct dkim_keyring *ring,
                         const struct dkim_keyring_settings *settings, struct str message, int64_t now_unix);

#endif
