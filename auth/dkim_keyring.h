/*
 * auth/dkim_keyring.h - the keys this site signs with, and which of them may be used now
 *
 * Made of the settings' own list of keys and of OpenDKIM's two tables, at the start (before privileges are
 * dropped) and at each reload (after it, so that key files must be readable for the user that we run as).
 * Shared by all threads; only what the world can see of a key changes.
 *
 * States     published -> active -> retiring -> revoked is the life of a key (docs/dkim.md). Only an active
 *            one signs, and (by setting) only while the DNS does not show that the world cannot verify it. A
 *            revoked one is over: its file is not read, its record not looked at.
 * Errors     Faults are lines; with one there is no keyring. Warnings (a key file others can read) are lines,
 *            too.
 */
#ifndef AUTH_DKIM_KEYRING_H
#define AUTH_DKIM_KEYRING_H

#include "auth/dkim_published.h"
#include "auth/dkim_table.h"
#include "base/buf.h"
#include "base/mode.h"

enum dkim_key_state { DKIM_KEY_ACTIVE, DKIM_KEY_PUBLISHED, DKIM_KEY_RETIRING, DKIM_KEY_REVOKED };
enum dkim_unseen { DKIM_UNSEEN_REFUSE, DKIM_UNSEEN_WARN };

struct dkim_keyring_key {
    const char *domain, *selector, *path;
    const char *const *match; /* patterns over user@host, "*" is special; none: every address of the domain */
    size_t match_count;
    enum dkim_key_state state;
};

struct dkim_keyring_settings {
    enum mode mode;                        /* off or enforce */
    const char *signing_table, *key_table; /* "" or both */
    const char *internal_hosts;            /* OpenDKIM's InternalHosts or TrustedHosts; NULL or "": no list */
    const struct dkim_keyring_key *keys;
    size_t keys_count;
    unsigned canonicalization; /* 2 for a simple header, 1 for a simple body, or their sum */
    const char *const *oversign;
    size_t oversign_count;
    enum dkim_unseen unseen;
    int64_t valid_s; /* x=; 0: none */
};

struct dkim_keyring;

struct dkim_keyring *dkim_keyring_load(const struct dkim_keyring_settings *settings, struct buf *faults,
                                       struct buf *warnings);
struct dkim_keyring *dkim_keyring_ref(struct dkim_keyring *ring);
void dkim_keyring_unref(struct dkim_keyring **ring); /* NULL is fine; leaves NULL */

/* The keys to sign with for an author, each d= and s= once, without those that the world cannot see;
 * *hidden_out: there were such. */
size_t dkim_keyring_find(struct dkim_keyring *ring, struct arena *mem, struct str local, struct str domain,
                         struct dkim_sign_key keys_out[DKIM_TABLE_FOUND_MAX], bool *hidden_out);

/* Is mail of this client to be signed? Without a list of hosts, everybody's. `name`: verified, or NULL. */
bool dkim_keyring_is_internal(const struct dkim_keyring *ring, const struct ip *client, const char *name);

/* Each key whose record can be looked at, from 0 on; false when there are no more. */
bool dkim_keyring_key(const struct dkim_keyring *ring, size_t i, struct dkim_sign_key *key_out);

/* What the DNS shows of key i. Returns whether that is news. */
bool dkim_keyring_seen(struct dkim_keyring *ring, size_t i, enum dkim_published_state state);

#endif
