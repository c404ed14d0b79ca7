#include "cli/doctor.h"

#include "auth/dmarc.h"

#include <string.h>

/* The domain that reports come from: its mail goes to people who know DMARC, and its bounces come back here. */

static struct str text_that_starts(struct doctor *doctor, const char *name, struct str start)
{
    struct dns_answer answer = cli_lookup_ask(&doctor->lookup, DNS_TXT, name);

    for (size_t i = 0; answer.status == DNS_OK && i < answer.count; i++)
        if (str_starts(answer.records[i].text, start))
            return answer.records[i].text;
    return (struct str){0};
}

static void look_at_spf(struct doctor *doctor, const char *domain)
{
    if (text_that_starts(doctor, domain, STR("v=spf1")).n > 0)
        doctor_add(doctor, DOCTOR_OK, "reports", NULL, "%s has an SPF record", domain);
    else
        doctor_add(doctor, DOCTOR_WARN, "reports",
                   "publish one that names this host: reports are distrusted else",
                   "%s, where reports come from, has no SPF record", domain);
}

/* Two hosts that report about each other's reports never end. */
static void look_at_policy(struct doctor *doctor, const char *domain)
{
    struct arena *mem = doctor->lookup.mem;
    struct str text = text_that_starts(doctor, str_fmt(mem, "_dmarc.%s", domain), STR("v=DMARC1"));
    const char *why = "";
    const struct dmarc_record *record = text.n > 0 ? dmarc_record_parse(mem, text, &why) : NULL;

    if (record == NULL)
        doctor_add(doctor, DOCTOR_WARN, "reports",
                   "publish v=DMARC1; p=reject, without rua=: receivers ask it of those who report",
                   "%s has no DMARC record of its own", domain);
    else if (record->rua_count > 0)
        doctor_add(doctor, DOCTOR_WARN, "reports",
                   "take rua= out of it: others report about our reports else",
                   "the DMARC record of %s has rua=", domain);
    else
        doctor_add(doctor, DOCTOR_OK, "reports", NULL, "%s has a DMARC record, and nobody reports to it",
                   domain);
}

static void look_at_bounces(struct doctor *doctor, const char *domain)
{
    struct dns_answer answer = cli_lookup_ask(&doctor->lookup, DNS_MX, domain);
    const struct domain_settings *ours = &doctor->lookup.config->domains;

    if (answer.status != DNS_OK || answer.count == 0)
        doctor_add(doctor, DOCTOR_WARN, "reports",
                   "give it an MX that leads here: nothing is learnt of bounces else", "%s has no MX",
                   domain);
    else if (!domain_settings_has(ours, str_of(domain)))
        doctor_add(
            doctor, DOCTOR_WARN, "reports",
            "list it in domains.relay, or let its mail come through an smtpguard that shares this store",
            "mail for %s, so a bounce of our reports, is not taken here", domain);
    else
        doctor_add(doctor, DOCTOR_OK, "reports", NULL, "bounces to %s come here", domain);
}

void doctor_reports(struct doctor *doctor)
{
    const struct report_settings *settings = &doctor->lookup.config->reports;
    const char *at = settings->from != NULL ? strrchr(settings->from, '@') : NULL;

    if ((!settings->aggregate && !settings->failure) || at == NULL)
        return;
    look_at_spf(doctor, at + 1);
    look_at_policy(doctor, at + 1);
    look_at_bounces(doctor, at + 1);
}
