#include "proxy/session_in.h"

#include "report/journal.h"

/*
 * What one message adds to DMARC's counters (RFC 9990), whether it was refused or delivered. The journal has it before
 * the client is told: a crash after the 250 loses nothing.
 */

static const char *domain_of(struct arena *mem, const struct smtp_address *address)
{
    const char *ascii =
        address->kind == SMTP_DOMAIN_NAME ? mailbox_domain_to_ascii(mem, address->domain) : NULL;

    return ascii != NULL ? ascii : "";
}

static void add_signatures(struct history_entry *entry, const struct dkim_answer *dkim)
{
    for (size_t i = 0; dkim != NULL && i < dkim->count && entry->dkim_count < HISTORY_DKIM_MAX; i++)
        entry->dkim[entry->dkim_count++] = (struct history_dkim){
            dkim->signatures[i].domain, dkim->signatures[i].selector, dkim->signatures[i].result};
}

/* Was it refused, by us or by the backend, or taken? */
static bool was_accepted(const struct session *s)
{
    return !verdict_refuses(&s->verdict) && s->reply_code < 300;
}

static struct history_entry history_entry(const struct session *s)
{
    const struct message_facts *m = &s->facts.message;
    const struct spf_answer *spf = s->facts.transaction.spf;
    struct arena *mem = s->tx->mem;
    struct smtp_address to = {0};
    struct history_entry entry = {
        .day = clock_unix(s->service->clock) / HISTORY_DAY_S,
        .policy_domain = m->discovery->record_domain,
        .record = m->discovery->record->text,
        .source = s->facts.session.client,
        .disposition = decide_dmarc_disposition(s->service->config, &s->facts),
        .dkim_aligned = m->dmarc->dkim_aligned,
        .spf_aligned = m->dmarc->spf_aligned,
        .accepted = was_accepted(s),
        .header_from = m->from_domain,
        .envelope_from = domain_of(mem, &s->facts.transaction.sender),
        .envelope_to = "",
        .spf_domain = spf != NULL ? spf->domain : "",
        .spf_scope = spf != NULL ? spf->scope : SPF_MFROM,
        .spf_result = spf != NULL ? spf->result : SPF_NONE,
        .override = decide_dmarc_override(s->service->config, &s->facts),
    };

    if (s->tx->recipients != NULL && smtp_mailbox_parse(s->tx->recipients->address, true, &to))
        entry.envelope_to = domain_of(mem, &to);
    add_signatures(&entry, m->dkim);
    return entry;
}

void counted_message(struct session *s)
{
    const struct message_facts *m = &s->facts.message;
    struct history_entry entry;

    if (!s->service->config->reports.aggregate || s->service->journal == NULL || m->dmarc == NULL ||
        m->discovery == NULL || !history_is_wanted(m->discovery) || feedback_is_about_reports(s))
        return;
    entry = history_entry(s);
    journal_add(s->service->journal, s->tx->mem, &entry);
}
