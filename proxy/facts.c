#include "proxy/facts.h"

const char *rdns_state_name(enum rdns_state state)
{
    static const char *const names[] = {"", "verified", "none", "mismatch", "temperror"};

    return names[state];
}

const char *helo_form_name(enum helo_form form)
{
    static const char *const names[] = {"",     "name",       "literal",     "other-literal", "bare-address",
                                        "ours", "not-a-name", "single-label"};

    return names[form];
}

enum helo_form helo_form_of(struct str helo, const struct ip *client, const char *hostname,
                            const struct ip *local)
{
    struct ip ip;

    if (helo.n > 1 && helo.p[helo.n - 1] == '.')
        helo.n--;
    if (smtp_is_address_literal(helo, &ip)) {
        if (ip.family != 0 && ip_eq(&ip, client))
            return HELO_LITERAL;
        return ip.family != 0 && ip_eq(&ip, local) ? HELO_OURS : HELO_OTHER_LITERAL;
    }
    if (ip_parse(helo, &ip))
        return HELO_BARE_ADDRESS;
    if (!smtp_is_domain(helo))
        return HELO_NOT_A_NAME;
    if (str_same_z(helo, hostname))
        return HELO_OURS;
    return str_has(helo, '.') ? HELO_NAME : HELO_SINGLE_LABEL;
}

const char *sender_domain_name(enum sender_domain state)
{
    static const char *const names[] = {"", "exists", "missing", "null-mx", "temperror"};

    return names[state];
}
