/*
 * smtp/address.h - paths and mailboxes of the envelope            RFC 5321 4.1.2, 4.1.3
 *
 * Ownership  Views point into the text that was parsed; `smtp_path_parse` copies nothing.
 * Limits     Local part 164 octets, domain 255, path 356 (RFC 5321 4.5.3.1 asks for 64, 255, 256 at the least), counted
 *            as written.
 * Errors     The parser is total: any bytes give an address or a sentence for the 501 reply, which begins
 *            with its enhanced code (5.1.7 for a reverse path, 5.1.3 for a forward path; RFC 3463 3.2).
 */
#ifndef SMTP_ADDRESS_H
#define SMTP_ADDRESS_H

#include "base/ip.h"

enum smtp_domain_kind { SMTP_DOMAIN_NONE, SMTP_DOMAIN_NAME, SMTP_DOMAIN_LITERAL };

struct smtp_address {
    struct str text;   /* without the angle brackets and without a source route */
    struct str local;  /* as written, quotes included */
    struct str domain; /* as written; a literal keeps its brackets */
    enum smtp_domain_kind kind;
    struct ip literal; /* of an IPv4 or IPv6 literal; family 0 for a general one */
};

enum smtp_path_kind {
    SMTP_PATH_REVERSE, /* MAIL FROM: may be <> */
    SMTP_PATH_FORWARD, /* RCPT TO: may be <postmaster>, is never <> */
};

/* `text` begins with "<". What stands behind ">" goes to rest_out (ESMTP parameters with their
 * leading space, or empty). A source route is skipped. `utf8` allows RFC 6531 characters. */
bool smtp_path_parse(struct str text, enum smtp_path_kind kind, bool utf8, struct smtp_address *address_out,
                     struct str *rest_out, const char **why_out);

/* local@domain without brackets, as in a header or on a command line. */
bool smtp_mailbox_parse(struct str text, bool utf8, struct smtp_address *address_out);

/* "example.org", letters digits hyphens (and underscores, which the field uses), labels 1 to 63,
 * 255 in all, no final dot, at least one label. What HELO, MAIL FROM and DKIM d= are checked with. */
bool smtp_is_domain(struct str text);
bool smtp_is_address_literal(struct str text, struct ip *ip_out); /* "[192.0.2.1]", "[IPv6:…]" */

/* Octets of the well-formed UTF-8 character beyond ASCII that s begins with; 0: none (RFC 3629 4). */
size_t smtp_utf8_length(struct str s);

/* Two mailboxes that mean the same: local parts to the letter, domains without case. */
bool smtp_address_same(const struct smtp_address *a, const struct smtp_address *b);

#endif
