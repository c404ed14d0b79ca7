/*
 * smtp/mailbox.h - who stands in the From field                    RFC 5322 3.4, RFC 6854
 *
 * A strict reader of address lists. It cannot be fooled into taking a display name, a comment or a
 * quoted string for an address; what it does not understand whole is MAILBOX_INVALID, never a guess.
 * Limits  At most MAILBOX_MOST addresses are kept; more is MAILBOX_INVALID, and so are more hops of routes.
 */
#ifndef SMTP_MAILBOX_H
#define SMTP_MAILBOX_H

#include "base/str.h"

enum { MAILBOX_MOST = 100 };

enum mailbox_status { MAILBOX_FOUND, MAILBOX_EMPTY, MAILBOX_INVALID };

struct mailbox {
    struct str local;  /* unquoted */
    struct str domain; /* lower case, A-labels, no final dot; a literal keeps its brackets */
};

struct mailbox_list {
    struct mailbox *boxes;
    size_t count;
};

/* `value` is a field's value, folded or not. Groups are looked into (RFC 6854 allows them in From). Obsolete
 * syntax of RFC 5322 4.4 (routes, dots with blanks around them) is understood. U-labels become A-labels. */
enum mailbox_status mailbox_list_parse(struct arena *mem, struct str value, struct mailbox_list *list_out,
                                       const char **why_out);

/* Of a value that is not valid, the domain that every reader must come to, whatever it makes of the rest: each "@" stands
 * behind a local part and before this same name. NULL: there is none, or readers could differ. "Shop, Inc. <a@b.example>",
 * "a@b.example <a@b.example>" and "Joe [me] <a..b@c.example>" are frequent, and harmless. */
const char *mailbox_only_domain(struct arena *mem, struct str value);

/* A domain name in A-label form, lower case, without a final dot; NULL when it is none (libidn2). */
const char *mailbox_domain_to_ascii(struct arena *mem, struct str domain);

#endif
