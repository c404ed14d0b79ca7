#include "cli/doctor.h"

#include "base/bug.h"
#include "dns/dnsbl_selftest.h"

#include <ifaddrs.h>
#include <net/if.h>
#include <string.h>
#include <sys/socket.h>

enum { SERVERS_MAX = 8, ADDRESSES_MAX = 16, NAMES_MAX = 10 };

static struct dns_answer ask(struct doctor *doctor, enum dns_type type, const char *name)
{
    return cli_lookup_ask(&doctor->lookup, type, name);
}

/* ---- the resolver ---- */

bool doctor_is_public_resolver(const struct ip *ip)
{
    static const char *const resolvers[] = {
        "8.8.8.8",        "8.8.4.4",         "2001:4860:4860::8888", "2001:4860:4860::8844", /* Google */
        "1.1.1.1",        "1.0.0.1",         "2606:4700:4700::1111", "2606:4700:4700::1001", /* Cloudflare */
        "9.9.9.9",        "149.112.112.112", "2620:fe::fe",          "2620:fe::9",           /* Quad9 */
        "208.67.222.222", "208.67.220.220",  "2620:119:35::35",      "2620:119:53::53",      /* OpenDNS */
    };
    struct ip one;

    for (size_t i = 0; i < COUNT(resolvers); i++)
        if (ip_parse(str_of(resolvers[i]), &one) && ip_eq(&one, ip))
            return true;
    return false;
}

static void look_at_server(struct doctor *doctor, const struct endpoint *server)
{
    const char *text = endpoint_text(doctor->lookup.mem, server);

    if (doctor_is_public_resolver(&server->ip))
        doctor_add(doctor, DOCTOR_WARN, "resolver",
                   "run unbound on this machine and set dns.servers: [127.0.0.1]: DNS lists refuse public "
                   "resolvers",
                   "%s is a public resolver", text);
    else if (ip_is_loopback(&server->ip))
        doctor_add(doctor, DOCTOR_OK, "resolver", NULL, "%s is on this machine", text);
    else
        doctor_add(doctor, DOCTOR_OK, "resolver", NULL,
                   "%s is another machine: forged answers are guarded against", text);
}

void doctor_resolver(struct doctor *doctor)
{
    const char *name = doctor->lookup.config->hostname;
    struct endpoint servers[SERVERS_MAX];
    size_t count = resolver_servers(doctor->lookup.dns, servers, SERVERS_MAX);
    struct dns_answer answer;

    for (size_t i = 0; i < count && i < SERVERS_MAX; i++)
        look_at_server(doctor, &servers[i]);
    answer = ask(doctor, DNS_A, name != NULL ? name : "localhost");
    if (dns_is_temporary(answer.status))
        doctor_add(doctor, DOCTOR_FAIL, "resolver",
                   "start the resolver, or correct dns.servers; without DNS every check is in doubt",
                   "no answer to a question (%s)", dns_status_name(answer.status));
    else
        doctor_add(doctor, DOCTOR_OK, "resolver", NULL, "it answers");
}

/* ---- lists ---- */

void doctor_lists(struct doctor *doctor)
{
    const struct dnsbl_settings *settings = &doctor->lookup.config->dnsbl;
    char listed[DNS_NAME_MAX + 1], unlisted[DNS_NAME_MAX + 1];

    for (size_t i = 0; i < settings->lists_count; i++) {
        const struct dnsbl_list *list = &settings->lists[i];
        struct str zone = dnsbl_public_zone(list->zone);
        struct dns_answer yes, no;
        const char *illness;
        bool silent;

        if (list->untested) {
            doctor_add(doctor, DOCTOR_OK, "list", NULL, "%.*s has no test entries, as its settings say",
                       STR_ARG(zone));
            continue;
        }
        dnsbl_selftest_names(list, listed, unlisted);
        yes = ask(doctor, DNS_A, listed);
        no = ask(doctor, DNS_A, unlisted);
        illness = dnsbl_selftest_verdict(list, &yes, &no, &silent);
        if (illness != NULL)
            doctor_add(
                doctor, DOCTOR_WARN, "list",
                "take it out of dnsbl.lists, or mend the way there; smtpguard does not ask it meanwhile",
                "%.*s: %s", STR_ARG(zone), illness);
        else
            doctor_add(doctor, DOCTOR_OK, "list", NULL, "%.*s passes its test", STR_ARG(zone));
    }
}

/* ---- our own names ---- */

static bool has_address(const struct dns_answer *answer, const struct ip *ip)
{
    for (size_t i = 0; answer->status == DNS_OK && i < answer->count; i++)
        if (ip_eq(&answer->records[i].ip, ip))
            return true;
    return false;
}

static bool is_confirmed(struct doctor *doctor, const char *name, const struct ip *ip)
{
    struct dns_answer answer = ask(doctor, ip->family == 4 ? DNS_A : DNS_AAAA, name);

    return has_address(&answer, ip);
}

/* What receivers ask of the hosts that send to them: an address that has a name that has the address. */
static void look_at_address(struct doctor *doctor, const struct ip *ip)
{
    const char *text = ip_text(doctor->lookup.mem, ip);
    char name[DNS_NAME_MAX + 1];
    struct dns_answer answer;

    dns_ptr_name(ip, name);
    answer = ask(doctor, DNS_PTR, name);
    if (dns_is_temporary(answer.status)) {
        doctor_add(doctor, DOCTOR_WARN, "names", "ask again later, or look at the zone's servers",
                   "the PTR of %s could not be asked for (%s)", text, dns_status_name(answer.status));
        return;
    }
    for (size_t i = 0; answer.status == DNS_OK && i < answer.count && i < NAMES_MAX; i++)
        if (is_confirmed(doctor, answer.records[i].name, ip)) {
            doctor_add(doctor, DOCTOR_OK, "names", NULL, "%s is %s, and back", text, answer.records[i].name);
            return;
        }
    doctor_add(doctor, DOCTOR_WARN, "names",
               "have the provider set the PTR to the host's name, and give that name this address: others "
               "distrust mail from it else",
               answer.status == DNS_OK ? "the PTR of %s names nobody with this address" : "%s has no PTR",
               text);
}

static size_t add_address(struct ip *list, size_t count, const struct ip *ip)
{
    if (ip->family == 0 || ip_is_private(ip) || count == ADDRESSES_MAX)
        return count;
    for (size_t i = 0; i < count; i++)
        if (ip_eq(&list[i], ip))
            return count;
    list[count] = *ip;
    return count + 1;
}

static size_t add_interfaces(struct ip *list, size_t count)
{
    struct ifaddrs *all;
    struct endpoint endpoint;

    if (getifaddrs(&all) != 0)
        return count;
    for (const struct ifaddrs *i = all; i != NULL; i = i->ifa_next)
        if (i->ifa_addr != NULL && (i->ifa_flags & IFF_UP) != 0 &&
            endpoint_from_sockaddr(i->ifa_addr, &endpoint))
            count = add_address(list, count, &endpoint.ip);
    freeifaddrs(all);
    return count;
}

void doctor_names(struct doctor *doctor)
{
    const char *hostname = doctor->lookup.config->hostname;
    struct ip addresses[ADDRESSES_MAX];
    size_t count = 0, of_name = 0;
    bool temporary = false;

    for (int six = 0; six < 2 && hostname != NULL; six++) {
        struct dns_answer answer = ask(doctor, six ? DNS_AAAA : DNS_A, hostname);

        temporary = temporary || dns_is_temporary(answer.status);
        for (size_t i = 0; answer.status == DNS_OK && i < answer.count; i++, of_name++)
            count = add_address(addresses, count, &answer.records[i].ip);
    }
    if (of_name > 0)
        doctor_add(doctor, DOCTOR_OK, "names", NULL, "hostname %s has an address", hostname);
    else
        doctor_add(doctor, temporary ? DOCTOR_WARN : DOCTOR_FAIL, "names",
                   "set hostname to this host's full name, and give that an A or AAAA record",
                   temporary ? "the address of hostname %s could not be asked for"
                             : "hostname %s has no address: as HELO name it is refused by many",
                   hostname != NULL ? hostname : "(none)");
    count = add_interfaces(addresses, count);
    for (size_t i = 0; i < count; i++)
        look_at_address(doctor, &addresses[i]);
    if (count == 0)
        doctor_add(doctor, DOCTOR_OK, "names", NULL, "this host has no public address of its own to look at");
}
