#include "proxy/facts.h"

const char *rdns_state_name(enum rdns_state state)
{
    static const char *const names[] = {"", "verified", "none", "mismatch", "temperror"};

    return names[state];
}

const char *helo_form_name(enum helo_form form)
{
    static const char *const names[] = {"", "name", "literal", "other-literal", "bare-address", "ours", "not-a-name",
                                        "single-label"};

    return names[form];
}

const char *sender_domain_name(enum sender_domain state)
{
    static const char *const names[] = {"", "exists", "missing", "null-mx", "temperror"};

    return names[state];
}
