#include "dns/health.h"

#include <stdio.h>
#include <string.h>

/* FNV-1a over the last two labels, in lower case. Two domains with one hash count as one: no harm. */
static uint64_t domain_of(const char *name)
{
    const char *at = name + strlen(name);
    uint64_t hash = 0xcbf29ce484222325u;

    for (int dots = 0; at > name && (dots += at[-1] == '.') < 2; at--)
        hash = (hash ^ (unsigned char)ascii_lower(at[-1])) * 0x100000001b3u;
    return hash;
}

static struct dns_end *place_for(struct dns_health *health, uint64_t domain)
{
    for (size_t i = 0; i < health->count; i++)
        if (health->ends[i].domain == domain)
            return &health->ends[i];
    if (health->count < DNS_HEALTH_LAST)
        return &health->ends[health->count++];
    health->oldest = (health->oldest + 1) % DNS_HEALTH_LAST;
    return &health->ends[health->oldest];
}

void dns_health_end(struct dns_health *health, const char *name, enum dns_status status, int64_t now_ms)
{
    uint64_t domain = domain_of(name);

    *place_for(health, domain) = (struct dns_end){domain, now_ms, dns_is_temporary(status)};
}

void dns_health_canary(struct dns_health *health, bool trouble)
{
    health->canary_failures = trouble ? health->canary_failures + 1 : 0;
}

const char *dns_health_reason(struct dns_health *health, int64_t now_ms)
{
    unsigned recent = 0, troubled = 0;

    for (size_t i = 0; i < health->count; i++) {
        if (health->ends[i].at_ms + DNS_HEALTH_WINDOW_MS <= now_ms)
            continue;
        recent++;
        troubled += health->ends[i].trouble;
    }
    if (health->canary_failures >= DNS_HEALTH_CANARY) {
        snprintf(health->reason, sizeof(health->reason), "our own name was not answered %u times in a row",
                 health->canary_failures);
        return health->reason;
    }
    if (recent < DNS_HEALTH_LEAST || troubled * 2 <= recent)
        return NULL;
    snprintf(health->reason, sizeof(health->reason), "of %u domains asked within %d s, %u were not answered",
             recent, DNS_HEALTH_WINDOW_MS / 1000, troubled);
    return health->reason;
}
