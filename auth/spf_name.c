#include "auth/spf_name.h"

#include "dns/dns.h"
#include "smtp/mailbox.h"

#include <string.h>

/* RFC 7208 4.3: at least two labels, each of 1 to 63 octets. */
bool spf_is_multi_label(struct str name)
{
    struct str label;
    size_t count = 0;

    if (name.n > DNS_NAME_MAX)
        return false;
    for (bool more = true; more; count++) {
        more = str_cut(name, '.', &label, &name);
        if (label.n == 0 || label.n > 63)
            return false;
    }
    return count > 1;
}

/* An octet that is written \DDD has no place in a host name; nor has the root (RFC 7505). */
bool spf_is_host_name(const char *name)
{
    return *name != '\0' && strcmp(name, ".") != 0 && strchr(name, '\\') == NULL;
}

/* A host's or a mail domain's name: no address, no literal, nothing that only looks like a name. */
bool spf_is_domain_name(struct str domain)
{
    bool digits_only = true; /* in the last label */

    for (size_t i = 0; i < domain.n; i++) {
        char c = domain.p[i];

        if (!ascii_is_alnum(c) && c != '-' && c != '_' && c != '.')
            return false;
        digits_only = c == '.' || (digits_only && ascii_is_digit(c));
    }
    return !digits_only && spf_is_multi_label(domain);
}

static bool is_beyond_ascii(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] >= 0x80)
            return true;
    return false;
}

struct str spf_canonical_domain(struct arena *mem, struct str domain)
{
    const char *ascii;

    if (domain.n > 0 && domain.p[domain.n - 1] == '.')
        domain.n--;
    if (!is_beyond_ascii(domain) || domain.n > DNS_NAME_MAX)
        return domain;
    ascii = mailbox_domain_to_ascii(mem, domain);
    return ascii != NULL ? str_of(ascii) : domain;
}

static bool is_below(const char *name, const char *domain)
{
    struct str tail = str_of(domain), s = str_of(name);

    return s.n > tail.n && str_ends_same(s, tail) && s.p[s.n - tail.n - 1] == '.';
}

int spf_name_rank(const char *name, const char *domain)
{
    return str_same(str_of(name), str_of(domain)) ? 0 : is_below(name, domain) ? 1 : 2;
}
