/*
 * auth/arc_set.h - the ARC fields of a header, sorted into sets            RFC 8617 4.1, 4.2, 5.2 steps 1-3
 *
 * Pure. The form of a chain is judged here, before any key is asked for: each instance from 1 on has exactly
 * one field of each of the three kinds, and the seals say none, pass, pass, …
 */
#ifndef AUTH_ARC_SET_H
#define AUTH_ARC_SET_H

#include "auth/dkim_signature.h"

enum { ARC_INSTANCE_MAX = 50 }; /* RFC 8617 4.2.1 */

enum arc_kind { ARC_RESULTS, ARC_MESSAGE, ARC_SEAL };
enum { ARC_KINDS = 3 };

struct arc_fields {
    const struct header_field *of[ARC_KINDS]; /* in the order in which a seal covers them */
    struct dkim_field message, seal;
    struct str results; /* what ARC-Authentication-Results says behind "i=N;" */
};

struct arc_chain {
    size_t count;            /* the highest instance; 0: no ARC */
    struct arc_fields *sets; /* instance 1 first */
};

/* NULL when the form is right (or there is no ARC at all), otherwise why the chain fails; `count` is the
 * number of instances seen then, too. */
const char *arc_chain_parse(struct arena *mem, const struct header *header, size_t sets_max,
                            struct arc_chain *chain_out);

/* What the results field says of DMARC. */
struct arc_dmarc {
    const char *result; /* "pass"; "" when it says nothing, or more than one thing */
    const char *from;   /* header.from in lower case; "" when not named */
};
struct arc_dmarc arc_dmarc_parse(struct arena *mem, struct str results);

#endif
