/*
 * auth/dkim_hosts.h - OpenDKIM's lists of hosts: InternalHosts, TrustedHosts, PeerList      opendkim.conf(5)
 *
 * A row is a host name, ".domain" for all below it, an address or a network, in brackets or not; "!" in front
 * means "not". Names come first, then addresses; the more exact row decides, and of equals the one with "!".
 */
#ifndef AUTH_DKIM_HOSTS_H
#define AUTH_DKIM_HOSTS_H

#include "base/buf.h"
#include "base/ip.h"

struct dkim_hosts;

/* From `mem`. `list` is a path, also with "file:" in front. NULL with a fault "FILE:LINE: …". */
const struct dkim_hosts *dkim_hosts_load(struct arena *mem, const char *list, struct buf *faults);
const struct dkim_hosts *dkim_hosts_parse(struct arena *mem, const char *file, struct str text,
                                          struct buf *faults);

/* `name`: of the client, verified, in any case; NULL when it has none. */
bool dkim_hosts_has(const struct dkim_hosts *hosts, const struct ip *ip, const char *name);

#endif
