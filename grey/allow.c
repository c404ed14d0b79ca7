#include "grey/allow.h"

#include "grey/pattern.h"

enum { WORD_MAX = 320, SHOWN_MAX = 80 };

/* ---- reading ---- */

/* "/…/": what stands between. */
static bool is_pattern(struct str line, struct str *inner_out)
{
    if (line.n < 2 || line.p[0] != '/' || line.p[line.n - 1] != '/')
        return false;
    *inner_out = str_make(line.p + 1, line.n - 2);
    return true;
}

static int check_word(struct str line, const char *what, struct fail *fail)
{
    for (size_t i = 0; i < line.n; i++)
        if ((unsigned char)line.p[i] <= ' ' || line.p[i] == 0x7f)
            return fail_set(fail, "\"%.*s\" is no %s: it has a blank", STR_ARG(str_upto(line, SHOWN_MAX)),
                            what);
    if (line.n == 0 || line.n > WORD_MAX)
        return fail_set(fail, "a line of %zu octets is no %s", line.n, what);
    return 0;
}

/* "192.0.2" and "192.0", which postgrey takes for networks. */
static bool is_short_network(struct str text, struct net *net_out)
{
    struct net net = {.ip = {.family = 4}};
    struct str number;
    uint64_t value;
    bool more = true;
    unsigned count = 0;

    while (more) {
        more = str_cut(text, '.', &number, &text);
        if (count == 3 || number.n > 3 || !str_to_u64(number, 255, &value))
            return false;
        net.ip.b[count++] = (unsigned char)value;
    }
    net.bits = (unsigned char)(8 * count);
    *net_out = net;
    return count >= 2;
}

/* As net_parse(), but what stands behind the prefix is left out, as postgrey does. False: it is no network. */
static bool is_network(struct str text, struct net *net_out)
{
    struct str address, bits;
    uint64_t prefix;
    bool has_bits = str_cut(text, '/', &address, &bits);
    struct ip ip;

    if (is_short_network(text, net_out))
        return true;
    if (!ip_parse(address, &ip))
        return false;
    prefix = ip.family == 4 ? 32 : 128;
    if (has_bits && !str_to_u64(bits, prefix, &prefix))
        return false;
    *net_out = (struct net){ip_prefix(&ip, (unsigned)prefix), (unsigned char)prefix};
    return true;
}

int grey_allow_parse(struct arena *mem, struct str line, struct grey_allow *allow_out, struct fail *fail)
{
    struct str inner;

    *allow_out = (struct grey_allow){0};
    if (is_pattern(line, &inner)) {
        allow_out->pattern = grey_pattern_parse(mem, inner, fail);
        return allow_out->pattern != NULL ? 0 : -1;
    }
    if (is_network(line, &allow_out->net))
        return 0;
    if (str_has(line, '/') || str_has(line, ':'))
        return fail_set(fail, "\"%.*s\" is neither a network nor a host name",
                        STR_ARG(str_upto(line, SHOWN_MAX)));
    if (check_word(line, "host name", fail) != 0)
        return -1;
    allow_out->domain = str_dup_lower(mem, line);
    return 0;
}

int grey_allow_recipient_parse(struct arena *mem, struct str line, struct grey_allow_recipient *allow_out,
                               struct fail *fail)
{
    struct str local, domain;

    *allow_out = (struct grey_allow_recipient){0};
    if (is_pattern(line, &local)) {
        allow_out->pattern = grey_pattern_parse(mem, local, fail);
        return allow_out->pattern != NULL ? 0 : -1;
    }
    if (check_word(line, "recipient", fail) != 0)
        return -1;
    if (!str_cut(line, '@', &local, &domain)) {
        allow_out->domain = str_dup_lower(mem, line);
        return 0;
    }
    if (local.n == 0)
        return fail_set(fail, "\"%.*s\" has nothing before its @; a domain stands alone",
                        STR_ARG(str_upto(line, SHOWN_MAX)));
    allow_out->local = str_dup_lower(mem, local);
    if (domain.n > 0)
        allow_out->domain = str_dup_lower(mem, domain);
    return 0;
}

/* ---- asking ---- */

static struct str without_final_dot(struct str name)
{
    return name.n > 0 && name.p[name.n - 1] == '.' ? str_upto(name, name.n - 1) : name;
}

static bool is_below(struct str name, const char *domain)
{
    struct str n = without_final_dot(name), d = without_final_dot(str_of(domain));

    if (d.n == 0 || n.n < d.n || !str_ends_same(n, d))
        return false;
    return n.n == d.n || n.p[n.n - d.n - 1] == '.';
}

bool grey_allow_has(const struct grey_allow *allow, const struct grey_client *client)
{
    struct str host = without_final_dot(str_of(client->verified_host));

    if (allow->net.ip.family != 0)
        return net_has(&allow->net, &client->ip);
    if (allow->pattern != NULL)
        return host.n > 0 && grey_pattern_matches(allow->pattern, host);
    return is_below(host, allow->domain) || is_below(str_of(client->spf_domain), allow->domain);
}

/* The last "@", for a quoted local part may have its own (RFC 5321 4.1.2). */
static void cut_address(struct str address, struct str *local_out, struct str *domain_out)
{
    size_t i = address.n;

    while (i > 0 && address.p[i - 1] != '@')
        i--;
    *local_out = i > 0 ? str_upto(address, i - 1) : address;
    *domain_out = i > 0 ? str_from(address, i) : str_upto(address, 0);
}

static bool is_local(struct str local, const char *wanted)
{
    struct str w = str_of(wanted);

    return str_starts_same(local, w) && (local.n == w.n || (local.p[w.n] == '+' && local.n > w.n + 1));
}

bool grey_allow_recipient_has(const struct grey_allow_recipient *allow, struct str address)
{
    struct str local, domain;

    if (address.n >= 2 && address.p[0] == '<' && address.p[address.n - 1] == '>')
        address = str_make(address.p + 1, address.n - 2);
    if (allow->pattern != NULL)
        return grey_pattern_matches(allow->pattern, address);
    cut_address(address, &local, &domain);
    if (allow->local == NULL)
        return is_below(domain, allow->domain);
    return is_local(local, allow->local) && (allow->domain == NULL || str_same_z(domain, allow->domain));
}
