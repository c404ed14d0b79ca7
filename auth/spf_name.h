/*
 * auth/spf_name.h - which names can be asked for, and how they relate        RFC 7208 4.3, 5.5
 */
#ifndef AUTH_SPF_NAME_H
#define AUTH_SPF_NAME_H

#include "base/str.h"

bool spf_is_multi_label(struct str name);   /* two labels or more, each of 1 to 63 octets, 253 in all */
bool spf_is_domain_name(struct str domain); /* what HELO or MAIL FROM may name: letters, digits, "-", "_" */
bool spf_is_host_name(const char *name);    /* of an answer: it can be asked for in its turn */

/* Lower case A-labels without a final dot (RFC 8616 4); what cannot be made so stays, and is no domain. */
struct str spf_canonical_domain(struct arena *mem, struct str domain);

/* 0: the domain itself, 1: below it, 2: another. */
int spf_name_rank(const char *name, const char *domain);

#endif
