/*
 * grey/allow.h - who is never greylisted: entries of the settings, and lines of postgrey's two files
 *
 * whitelist_clients      192.0.2.7, 192.0.2.0/24, 192.0.2 (a /24), 192.0 (a /16), 2001:db8::/32; a host name,
 *                        with what is below it; /pattern/ for host names
 * whitelist_recipients   user@example.org and user@ (with user+extension); a domain, with what is below it;
 *                        /pattern/ for addresses
 *
 * Case does not matter. A host name counts when it is verified, and a domain entry also names a domain that SPF passed
 * for. Patterns are those of grey/pattern.h.
 *
 * Ownership  Entries live in mem.
 */
#ifndef GREY_ALLOW_H
#define GREY_ALLOW_H

#include "base/ip.h"

struct grey_pattern;

/* One of these is set. */
struct grey_allow {
    struct net net; /* family 0: none */
    const char *domain;
    const struct grey_pattern *pattern;
};

struct grey_allow_recipient {
    const char *local;  /* NULL: everybody in the domain, and below it */
    const char *domain; /* NULL: this local part in every domain */
    const struct grey_pattern *pattern;
};

/* What is known of the client when RCPT comes. */
struct grey_client {
    struct ip ip;
    const char *verified_host; /* FCrDNS name, or NULL */
    const char *spf_domain;    /* MAIL FROM (or HELO) domain that SPF passed for, or NULL */
};

/* A line without its comment. -1 with the reason. */
int grey_allow_parse(struct arena *mem, struct str line, struct grey_allow *allow_out, struct fail *fail);
int grey_allow_recipient_parse(struct arena *mem, struct str line, struct grey_allow_recipient *allow_out,
                               struct fail *fail);

bool grey_allow_has(const struct grey_allow *allow, const struct grey_client *client);
bool grey_allow_recipient_has(const struct grey_allow_recipient *allow, struct str address);

#endif
