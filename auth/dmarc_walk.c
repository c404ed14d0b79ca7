#include "auth/dmarc_walk.h"
#include "auth/dmarc_record.h"

#include <string.h>

static size_t count_labels(const char *name)
{
    size_t labels = 1;

    for (; *name != '\0'; name++)
        labels += *name == '.';
    return labels;
}

/* One label less; names of more than eight labels jump to seven, so that a walk has eight queries at most
 * (RFC 9989 4.10, steps 4 and 7). NULL above the last label. */
static const char *next_name(const char *name)
{
    size_t labels = count_labels(name);

    if (labels == 1)
        return NULL;
    do {
        name = strchr(name, '.') + 1;
    } while (--labels > 7);
    return name;
}

const struct dmarc_known *dmarc_walk_find(const struct dmarc_known *known, const char *name)
{
    while (known != NULL && strcmp(known->name, name) != 0)
        known = known->next;
    return known;
}

/* Several records at one name are none, and the walk goes on (RFC 9989 4.10, steps 2 and 6). */
static void read_records(struct dmarc_walk *w, const struct dns_answer *answer, struct dmarc_known *known)
{
    struct dmarc_tags tags, found = {0};
    size_t count = 0;

    for (size_t i = 0; i < answer->count; i++) {
        if (dmarc_tags_read(answer->records[i].text, &tags)) {
            found = tags;
            count++;
        }
    }
    if (count != 1)
        return;
    known->state = DMARC_KNOWN_RECORD;
    known->psd = dmarc_tags_psd(&found);
    if (w->keep_text)
        known->text = str_copy(w->mem, found.text);
}

/* A name that cannot be asked (DNS_BADNAME: a label of 64 octets, say) has no record, and its parents still
 * count: nobody escapes a policy by writing an impossible name below the domain. */
static void learn(struct dmarc_walk *w, const struct dns_answer *answer)
{
    struct dmarc_known *known = ARENA_NEW(w->mem, struct dmarc_known);

    known->name = w->at;
    known->exists = answer->status == DNS_OK || answer->status == DNS_NODATA;
    known->next = w->known;
    w->known = known;
    if (dns_is_temporary(answer->status))
        known->state = DMARC_KNOWN_TROUBLE;
    else if (answer->status == DNS_OK)
        read_records(w, answer, known);
}

static bool go_on(struct dmarc_walk *w);

static void on_txt(const struct dns_answer *answer, void *arg)
{
    struct dmarc_walk *w = arg;

    w->pending = NULL;
    learn(w, answer);
    if (go_on(w))
        w->done(w); /* last act: the owner may be gone now */
}

static void ask(struct dmarc_walk *w)
{
    const char *name = str_fmt(w->mem, "_dmarc.%s", w->at);

    w->asked[w->asked_count++] = name;
    w->pending = dns_query(w->dns, DNS_TXT, name, on_txt, w);
}

/* True: the walk is over. It ends at psd=y and psd=n, at trouble, and above the last label. */
static bool go_on(struct dmarc_walk *w)
{
    for (; w->at != NULL; w->at = next_name(w->at)) {
        const struct dmarc_known *known = dmarc_walk_find(w->known, w->at);

        if (known == NULL) {
            ask(w);
            return false;
        }
        if (known->state == DMARC_KNOWN_TROUBLE || (known->state == DMARC_KNOWN_RECORD && known->psd != 'u'))
            return true;
    }
    return true;
}

bool dmarc_walk_go(struct dmarc_walk *walk, const char *start)
{
    walk->start = walk->at = start;
    walk->asked_count = 0;
    return go_on(walk);
}

void dmarc_walk_cancel(struct dmarc_walk *walk)
{
    dns_cancel(&walk->pending);
}

bool dmarc_walk_has_trouble(const struct dmarc_walk *walk)
{
    return walk->at != NULL && dmarc_walk_find(walk->known, walk->at)->state == DMARC_KNOWN_TROUBLE;
}

/* `name` is a tail of `start`, and shorter. */
static const char *one_label_below(const char *start, const char *name)
{
    for (name--; name > start && name[-1] != '.'; name--)
        ;
    return name;
}

/* The three rules of RFC 9989 4.10.2, longest name first; without any record it is the name itself. A record
 * that gives no usable policy is still a record here: 4.10.1 speaks of policies, not of where an organisation
 * begins. */
const char *dmarc_walk_org(const struct dmarc_walk *walk)
{
    const char *org = walk->start;

    for (const char *name = walk->start; name != NULL; name = next_name(name)) {
        const struct dmarc_known *known = dmarc_walk_find(walk->known, name);

        if (known != NULL && known->state == DMARC_KNOWN_RECORD) {
            if (known->psd == 'y' && name != walk->start)
                return one_label_below(walk->start, name);
            org = name;
        }
        if (name == walk->at)
            break;
    }
    return org;
}
