/*
 * auth/dkim_table.h - OpenDKIM's SigningTable and KeyTable, read as they are     opendkim.conf(5)
 *
 * SigningTable   WHO KEYNAME[:IDENTITY]. "refile:PATH": WHO is a pattern over user@host in which only "*"
 *                is special; rows are tried in order. "file:PATH" or a path alone: WHO is looked up as
 *                user@host, host, user@.parent (nearest first), .parent, user@*, *. In IDENTITY "%" is the
 *                From domain, a KEYNAME of "%" is that domain.
 * KeyTable       KEYNAME DOMAIN:SELECTOR:KEY. A DOMAIN of "%" is the From domain. KEY is a path when it
 *                begins with "/", "./" or "../" ("%" in it is the From domain), else base64.
 * Case           Names and addresses are compared without it.
 *
 * Ownership      dkim_table_load() gives what dkim_table_free() takes; what dkim_table_find() finds lives
 *                as long as the table, but identities, which come from `mem`.
 * Threads        Any number may search. Keys are read when the table is loaded; only those whose path has
 *                "%" are read when first asked for, under a lock, 1,000 at the most.
 * Errors         Every fault is a line "FILE:LINE: …" (missing key names and unusable keys too); with a fault
 *                there is no table. A private key that others can read is a warning, in the same form.
 */
#ifndef AUTH_DKIM_TABLE_H
#define AUTH_DKIM_TABLE_H

#include "auth/dkim_sign.h"
#include "base/buf.h"

struct dkim_table;

struct dkim_table *dkim_table_load(const char *signing_table, const char *key_table, struct buf *faults,
                                   struct buf *warnings);
void dkim_table_free(struct dkim_table **table); /* NULL is fine; leaves NULL */

enum { DKIM_TABLE_FOUND_MAX = 8 };

/* The keys to sign with for an author: the first match, or with `all` (OpenDKIM's MultipleSignatures) each
 * match in order, DKIM_TABLE_FOUND_MAX at the most. `domain` is lower case A-labels, as smtp/mailbox.h gives
 * them. */
size_t dkim_table_find(struct dkim_table *table, struct arena *mem, struct str local, struct str domain,
                       bool all, struct dkim_sign_key keys_out[DKIM_TABLE_FOUND_MAX]);

/* Each key of the table with a domain and a path of its own, for a look at what the DNS shows: from 0 on;
 * false when there are no more. */
bool dkim_table_key(const struct dkim_table *table, size_t i, struct dkim_sign_key *key_out);

/* The pattern of a refile: row. */
bool dkim_table_matches(struct str pattern, struct str text);

#endif
