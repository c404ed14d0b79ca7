#include "cli/migrate.h"

#include "base/bug.h"

/* policyd-spf (python) and smf-spf. */

static const char only_spf[] = "no host is left out of SPF alone; networks: would trust it in everything, "
                               "relaying included, so put it there only if "
                               "you mean that";
static const char rfc_limit[] = "the limits are those of RFC 7208";

/* ---- policyd-spf ---- */

static void take_test_only(struct migration *m, const struct migrate_entry *entry, const char *setting)
{
    if (str_eq_z(entry->value, "0"))
        migrate_take(m, entry, setting, "observe", "nothing is refused");
    else
        migrate_leave(m, entry, migrate_same);
}

static void take_mail_from(struct migration *m, const struct migrate_entry *entry, const char *setting)
{
    bool softfail = str_same_z(entry->value, "Softfail") || str_same_z(entry->value, "SPF_Not_Pass");
    bool fail = softfail || str_same_z(entry->value, "Fail");

    if (str_same_z(entry->value, "No_Check")) {
        migrate_take(m, entry, "spf.mode", "\"off\"", "DMARC looks at it all the same where it is on");
        return;
    }
    migrate_take(m, entry, setting, fail ? "reject" : "mark", NULL);
    if (softfail)
        migrate_take(m, entry, "spf.on_softfail", "reject", NULL);
}

static void take_reject(struct migration *m, const struct migrate_entry *entry, const char *setting)
{
    migrate_take(m, entry, setting, migrate_is_on(entry->value) ? "reject" : "mark", NULL);
}

static void take_defer(struct migration *m, const struct migrate_entry *entry, const char *setting)
{
    migrate_take(m, entry, setting, migrate_is_on(entry->value) ? "defer" : "mark", NULL);
}

static const struct migrate_rule policyd_rules[] = {
    {"TestOnly", take_test_only, "spf.mode", NULL},
    {"Mail_From_reject", take_mail_from, "spf.on_fail", NULL},
    {"HELO_reject", NULL, NULL, "SPF of HELO is looked at and logged, and judged where MAIL FROM is empty"},
    {"PermError_reject", take_reject, "spf.on_permerror", NULL},
    {"TempError_Defer", take_defer, "spf.on_temperror", NULL},
    {"Authserv_Id", migrate_take_authserv_id, "authserv_id", NULL},
    {"skip_addresses", NULL, NULL, only_spf},
    {"Whitelist", NULL, NULL, only_spf},
    {"HELO_Whitelist", NULL, NULL, only_spf},
    {"Domain_Whitelist", NULL, NULL, only_spf},
    {"Domain_Whitelist_PTR", NULL, NULL, only_spf},
    {"Header_Type", NULL, NULL, "results are always in Authentication-Results"},
    {"Hide_Receiver", NULL, NULL, "results are always in Authentication-Results"},
    {"Void_Limit", NULL, NULL, rfc_limit},
    {"Lookup_Time", NULL, NULL, rfc_limit},
    {"Whitelist_Lookup_Time", NULL, NULL, rfc_limit},
    {"InternalHosts", NULL, NULL, only_spf},
};

int migrate_policyd_spf(struct migration *m, const char *file, struct fail *fail)
{
    if (migrate_read_equals(m, file, policyd_rules, COUNT(policyd_rules), fail) != 0)
        return -1;
    if (migrate_find(m, "spf.on_fail") == NULL && migrate_find(m, "spf.mode") == NULL)
        migrate_take(m, &(struct migrate_entry){file, 0, "policyd-spf", STR("")}, "spf.on_fail", "reject",
                     "its default");
    return 0;
}

/* ---- smf-spf ---- */

/* Its "soft fail" is a 450 for a hard one. */
static void take_soft(struct migration *m, const struct migrate_entry *entry, const char *setting)
{
    if (migrate_is_on(entry->value))
        migrate_take(m, entry, setting, "defer", NULL);
    else
        migrate_leave(m, entry, migrate_same);
}

static void take_accept_temperror(struct migration *m, const struct migrate_entry *entry, const char *setting)
{
    migrate_take(m, entry, setting, migrate_is_on(entry->value) ? "mark" : "defer", NULL);
}

static const char no_tags[] =
    "messages are not changed: what was found stands in Authentication-Results, for filters behind us";

static const struct migrate_rule smf_rules[] = {
    {"SoftFail", take_soft, "spf.on_fail", NULL},
    {"RefuseFail", take_reject, "spf.on_fail", NULL},
    {"AcceptTempError", take_accept_temperror, "spf.on_temperror", NULL},
    {"AuthservID", migrate_take_authserv_id, "authserv_id", NULL},
    {"WhitelistIP", NULL, NULL, only_spf},
    {"WhitelistPTR", NULL, NULL, only_spf},
    {"WhitelistFrom", NULL, NULL, only_spf},
    {"WhitelistTo", NULL, NULL, only_spf},
    {"TagSubject", NULL, NULL, no_tags},
    {"Tag", NULL, NULL, no_tags},
    {"AddHeader", NULL, NULL, no_tags},
    {"Quarantine", NULL, NULL, no_tags},
    {"QuarantineBox", NULL, NULL, no_tags},
    {"TTL", NULL, NULL, "the DNS says how long its answers hold"},
    {"SkipAuth", NULL, NULL, "who logs in is never checked"},
};

int migrate_smf_spf(struct migration *m, const char *file, struct fail *fail)
{
    if (migrate_read_words(m, file, smf_rules, COUNT(smf_rules), fail) != 0)
        return -1;
    if (migrate_find(m, "spf.on_fail") == NULL)
        migrate_take(m, &(struct migrate_entry){file, 0, "smf-spf", STR("")}, "spf.on_fail", "reject",
                     "its default");
    return 0;
}
