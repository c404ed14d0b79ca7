#include "auth/spf_name.h"
#include "auth/spf_query.h"

#include <string.h>

/* The client's names, for ptr and %{p} (RFC 7208 5.5, 7.3). */

/* The best name that is not known to be invalid. */
static struct spf_host *best_host(struct spf_query *q)
{
    struct spf_host *best = NULL;
    int best_rank = q->any_host ? 3 : 2;

    for (size_t i = 0; i < q->hosts_count; i++) {
        int own = spf_name_rank(q->hosts[i].name, q->wanted);

        if (q->hosts[i].state >= SPF_HOST_INVALID || own >= best_rank)
            continue;
        best = &q->hosts[i];
        best_rank = own;
    }
    return best;
}

/* Without what we remember, would this ptr ask once more for what does not exist? Then it counts like the
 * first one that did (RFC 7208 4.6.4): else the limit would tell our memory, not the record. */
static bool is_void_again(const struct spf_query *q, const struct spf_host *best)
{
    int best_rank = best != NULL ? spf_name_rank(best->name, q->wanted) : 2;

    if (q->any_host)
        return false;
    for (size_t i = 0; i < q->hosts_count; i++) {
        int own = spf_name_rank(q->hosts[i].name, q->wanted);

        if (q->hosts[i].state == SPF_HOST_VOID &&
            (own < best_rank || (own == best_rank && &q->hosts[i] < best)))
            return true;
    }
    return q->hosts_void;
}

static void on_hosts(struct spf_query *q, const struct dns_answer *answer);
static void on_host_address(struct spf_query *q, const struct dns_answer *answer);

/* Only names that would do are validated, the best first: what the RFC's loop over all would find, with fewer
 * questions. What is known of a name is kept for the next ptr or %{p}. */
static enum spf_outcome search_host(struct spf_query *q)
{
    static const struct dns_answer again = {
        .status = DNS_NODATA, .type = DNS_PTR, .name = "of the client, once more"};
    char name[DNS_NAME_MAX + 1];

    if (!q->hosts_asked) {
        dns_ptr_name(&q->values.client, name);
        return spf_ask_dns(q, DNS_PTR, name, on_hosts);
    }
    q->checking = best_host(q);
    if (is_void_again(q, q->checking) && spf_is_over_voids(q, &again))
        return SPF_PAUSE;
    if (q->checking != NULL && q->checking->state == SPF_HOST_UNCHECKED)
        return spf_ask_address(q, q->checking->name, on_host_address);
    q->host = q->checking != NULL ? q->checking->name : NULL;
    return q->then(q);
}

enum spf_outcome spf_find_host(struct spf_query *q, const char *wanted, bool any, spf_step_fn *then)
{
    q->wanted = wanted;
    q->any_host = any;
    q->then = then;
    return search_host(q);
}

static bool has_host(const struct spf_query *q, const char *name)
{
    for (size_t i = 0; i < q->hosts_count; i++)
        if (strcmp(q->hosts[i].name, name) == 0)
            return true;
    return false;
}

/* Whose PTR records these are, the client decides, not the domain: beyond ten they are ignored, and an error
 * is no more than no names (RFC 7208 4.6.4, 5.5). */
static void on_hosts(struct spf_query *q, const struct dns_answer *answer)
{
    q->hosts_asked = true;
    q->hosts_void = dns_is_void(answer->status);
    if (answer->status == DNS_OK)
        for (size_t i = 0; i < answer->count && i < SPF_NAMES_MAX; i++) {
            const char *name = answer->records[i].name;

            if (spf_is_host_name(name) && !has_host(q, name))
                q->hosts[q->hosts_count++].name = str_dup(q->mem, str_of(name));
        }
    if (!spf_is_over_voids(q, answer))
        spf_go_on(q, search_host(q));
}

static void on_host_address(struct spf_query *q, const struct dns_answer *answer)
{
    q->checking->state = dns_is_void(answer->status) ? SPF_HOST_VOID : SPF_HOST_INVALID;
    if (answer->status == DNS_OK)
        for (size_t i = 0; i < answer->count; i++)
            if (ip_eq(&answer->records[i].ip, &q->values.client))
                q->checking->state = SPF_HOST_VALID;
    if (!spf_is_over_voids(q, answer))
        spf_go_on(q, search_host(q));
}

/* %{p} counts like ptr when it is what asks for the names (RFC 7208 4.6.4). */
enum spf_outcome spf_with_host(struct spf_query *q, struct str text, enum spf_macro_use use,
                               spf_step_fn *then)
{
    if (!spf_macro_uses(text, use, 'p'))
        return then(q);
    if (q->client_name != NULL) {
        q->host = q->client_name;
        return then(q);
    }
    if (!q->hosts_asked && !q->explaining && spf_is_over_lookups(q))
        return SPF_PAUSE;
    return spf_find_host(q, q->top->domain, true, then);
}
