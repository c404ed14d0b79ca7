#include "cli/migrate.h"

#include "base/bug.h"

/* OpenDMARC. */

static const char own_checks[] = "SPF and DKIM are checked here, in the same session";
static const char trusts[] = "`networks`, and who logs in, are never checked";

static void take_reject(struct migration *m, const struct migrate_entry *entry, const char *setting)
{
    bool on = migrate_is_on(entry->value);

    migrate_take(m, entry, setting, on ? "always" : "never",
                 on ? "\"evidence\", the default, spares mail of lists (RFC 9989)" : NULL);
}

static void take_required(struct migration *m, const struct migrate_entry *entry, const char *setting)
{
    migrate_take(m, entry, setting, migrate_is_on(entry->value) ? "reject" : "mark", NULL);
}

static const struct migrate_rule rules[] = {
    {"RejectFailures", take_reject, "dmarc.reject", NULL},
    {"AuthservID", migrate_take_authserv_id, "authserv_id", NULL},
    {"RequiredHeaders", take_required, "dmarc.from_invalid", NULL},
    {"FailureReports", migrate_take_bool, "reports.failure.enabled", NULL},
    {"FailureReportsSentBy", migrate_take_text, "reports.from", NULL},
    {"FailureReportsBcc", NULL, NULL, "reports go to their addressee only"},
    {"CopyFailuresTo", NULL, NULL, "reports go to their addressee only"},
    {"FailureReportsOnNone", NULL, NULL, "the domain's fo= says for what it wants a report"},
    {"ReportCommand", NULL, NULL, "reports leave through a backend"},
    {"HistoryFile", NULL, NULL,
     "`smtpguard report import FILE` reads what it has; reports are sent from the store, with "
     "reports.aggregate.enabled"},
    {"RecordAllMessages", NULL, NULL, "each message with a policy is counted"},
    {"HoldQuarantinedMessages", NULL, NULL,
     "there is no queue to hold mail in; dmarc.quarantine: mark adds a field for filters behind us"},
    {"IgnoreHosts", NULL, NULL, trusts},
    {"IgnoreAuthenticatedClients", NULL, NULL, trusts},
    {"IgnoreMailFrom", NULL, NULL, "no domain is left out"},
    {"TrustedAuthservIDs", NULL, NULL, own_checks},
    {"SPFSelfValidate", NULL, NULL, own_checks},
    {"SPFIgnoreResults", NULL, NULL, own_checks},
    {"PublicSuffixList", NULL, NULL, "RFC 9989 walks the DNS tree; there is no list to keep fresh"},
    {"DNSTimeout", migrate_take_seconds, "dns.timeout", NULL},
    {"SoftwareHeader", NULL, NULL, "no field is added but Authentication-Results"},
};

int migrate_opendmarc(struct migration *m, const char *file, struct fail *fail)
{
    return migrate_read_words(m, file, rules, COUNT(rules), fail);
}
