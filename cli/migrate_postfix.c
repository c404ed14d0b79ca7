#include "cli/migrate.h"

#include "base/bug.h"
#include "base/ip.h"

#include <string.h>

/*
 * Postfix' main.cf: of its many keys those that say who we are, whom mail is for, and what smtpguard does instead of it.
 * All others stay where they are, and are not mentioned.
 */

enum { NAMES_DEEP_MAX = 8, REJECT_SCORE = 8 };

/* ---- names ---- */

/* $name, ${name} and $(name), from the same file; without a value they stay as they are. */
static struct str expanded(struct migration *m, struct str word, unsigned deep)
{
    struct str name = str_from(word, 1);
    const struct migrate_entry *entry;

    if (word.n < 2 || word.p[0] != '$' || deep == 0)
        return word;
    if (name.p[0] == '{' || name.p[0] == '(')
        name = str_make(name.p + 1, name.n - 2);
    entry = migrate_held(m, str_dup(m->mem, name));
    return entry != NULL ? expanded(m, entry->value, deep - 1) : word;
}

static bool is_domain(struct str word)
{
    for (size_t i = 0; i < word.n; i++)
        if (!ascii_is_alnum(word.p[i]) && word.p[i] != '.' && word.p[i] != '-' && word.p[i] != '_')
            return false;
    return word.n > 0 && str_has(word, '.');
}

static void take_hostname(struct migration *m, const struct migrate_entry *entry, const char *setting)
{
    struct str name = expanded(m, entry->value, NAMES_DEEP_MAX);

    if (is_domain(name))
        migrate_take(m, entry, setting, migrate_text(m, name), NULL);
    else
        migrate_leave(m, entry, "it is no host name with a domain");
}

static void take_domain(struct migration *m, const struct migrate_entry *entry, const char *setting,
                        struct str word)
{
    if (str_same_z(word, "localhost") || str_starts_same(word, STR("localhost.")))
        return; /* no mail for it comes from the world */
    if (is_domain(word))
        migrate_take(m, entry, setting, migrate_text(m, str_of(str_dup_lower(m->mem, word))), NULL);
    else if (str_has(word, ':') || str_has(word, '/'))
        migrate_leave(m, entry,
                      "a table: list its domains in domains.relay, or name a file of them, one a line, in "
                      "domains.file");
    else
        migrate_leave(m, entry, str_fmt(m->mem, "\"%.*s\" is no domain", STR_ARG(word)));
}

static void take_domains(struct migration *m, const struct migrate_entry *entry, const char *setting)
{
    struct str rest = entry->value, word;

    while (migrate_next_word(&rest, &word)) {
        struct str inner = expanded(m, word, NAMES_DEEP_MAX), one;

        while (migrate_next_word(&inner, &one))
            take_domain(m, entry, setting, one);
    }
}

/* ---- networks ---- */

/* Postfix writes [2001:db8::]/32. */
static void take_networks(struct migration *m, const struct migrate_entry *entry, const char *setting)
{
    struct str rest = entry->value, word, address, bits;

    while (migrate_next_word(&rest, &word)) {
        struct net net;
        struct fail fail;

        if (word.p[0] == '[' && str_cut(str_from(word, 1), ']', &address, &bits))
            word = str_of(str_fmt(m->mem, "%.*s%.*s", STR_ARG(address), STR_ARG(bits)));
        if (net_parse(word, &net, &fail) == 0)
            migrate_take(m, entry, setting, migrate_text(m, word), NULL);
        else
            migrate_leave(m, entry, str_fmt(m->mem, "\"%.*s\" is no network", STR_ARG(word)));
    }
}

/* ---- DNS lists ---- */

static unsigned reject_score(const struct migration *m)
{
    const struct migrate_entry *entry = migrate_held(m, "postscreen_dnsbl_threshold");
    uint64_t score;

    return entry != NULL && str_to_u64(entry->value, 1000, &score) && score > 0 ? (unsigned)score
                                                                                : REJECT_SCORE;
}

/* "2" or "2..11" behind "127.0.0.": a code, or a range of them. NULL: it is none. */
static const char *code_of(struct migration *m, struct str front, struct str part)
{
    struct str from, to;
    struct ip ip;
    const char *first, *last;

    if (!str_cut(part, '.', &from, &to))
        to = from;
    else if (str_starts(to, STR(".")))
        to = str_from(to, 1);
    first = str_fmt(m->mem, "%.*s%.*s", STR_ARG(front), STR_ARG(from));
    last = str_fmt(m->mem, "%.*s%.*s", STR_ARG(front), STR_ARG(to));
    if (!ip_parse(str_of(first), &ip) || !ip_parse(str_of(last), &ip))
        return NULL;
    return strcmp(first, last) == 0 ? first : str_fmt(m->mem, "%s-%s", first, last);
}

/* "127.0.0.2", "127.0.0.[2..11]", "127.0.0.[2;4;10..11]", as a list of ours. NULL: something else. */
static const char *codes_of(struct migration *m, struct str filter)
{
    struct str front = filter, last = STR(""), part;
    const char *codes = NULL, *code;

    if (str_cut(filter, '[', &front, &last) && (last.n == 0 || last.p[--last.n] != ']'))
        return NULL;
    do {
        str_cut(last, ';', &part, &last);
        code = code_of(m, front, part);
        if (code == NULL)
            return NULL;
        codes = codes == NULL ? code : str_fmt(m->mem, "%s, %s", codes, code);
    } while (last.n > 0);
    return codes;
}

/* "zone", "zone=filter", "zone=filter*weight". */
static void take_list(struct migration *m, const struct migrate_entry *entry, struct str word, int score,
                      bool domains)
{
    static const char unknown[] = "look up the codes that mean a hit, and write them here";
    struct str zone, filter, weight;
    bool weighs = str_cut(word, '*', &word, &weight), filters = str_cut(word, '=', &zone, &filter);
    const char *codes = domains ? "127.0.0.2-127.0.1.254" : "127.0.0.2-127.0.0.11";
    uint64_t number;

    if (filters)
        codes = codes_of(m, filter);
    if (weighs) {
        bool minus = str_starts(weight, STR("-"));

        if (!str_to_u64(str_from(weight, minus), 100, &number))
            codes = NULL;
        else
            score = minus ? -(int)number : (int)number;
    }
    if (codes == NULL || !is_domain(zone)) {
        migrate_leave(m, entry,
                      str_fmt(m->mem, "\"%.*s\" has no plain zone, codes and weight", STR_ARG(word)));
        return;
    }
    migrate_take(m, entry, "dnsbl.lists[]",
                 str_fmt(m->mem, "{zone: %s, score: %d, codes: [%s]%s}", migrate_text(m, zone), score, codes,
                         domains ? ", kind: domains" : ""),
                 filters ? NULL : unknown);
}

static void take_sites(struct migration *m, const struct migrate_entry *entry, const char *setting)
{
    struct str rest = entry->value, word;

    (void)setting;
    while (migrate_next_word(&rest, &word))
        take_list(m, entry, word, 1, false);
}

/* Postfix's restrictions stay; what they ask lists and policy services is ours now. */
static void take_restrictions(struct migration *m, const struct migrate_entry *entry, const char *setting)
{
    struct str rest = entry->value, word, argument;

    (void)setting;
    while (migrate_next_word(&rest, &word)) {
        bool domains = str_starts(word, STR("reject_rhsbl_"));

        if (domains || str_eq_z(word, "reject_rbl_client")) {
            if (migrate_next_word(&rest, &argument))
                take_list(m, entry, argument, (int)reject_score(m), domains);
        } else if (str_eq_z(word, "check_policy_service") && migrate_next_word(&rest, &argument)) {
            migrate_leave(m, entry,
                          str_fmt(m->mem,
                                  "take check_policy_service %.*s out when it is postgrey or an SPF checker: "
                                  "that is done here",
                                  STR_ARG(argument)));
        }
    }
}

/* ---- all of it ---- */

/* 0: none; ours has one always. Rounded up: what Postfix offers holds when it is less. */
static void take_size(struct migration *m, const struct migrate_entry *entry, const char *setting)
{
    uint64_t octets;

    if (str_to_u64(entry->value, INT32_MAX, &octets) && octets >= 64 * 1024)
        migrate_take(m, entry, setting, str_fmt(m->mem, "%uK", (unsigned)((octets + 1023) / 1024)), NULL);
    else
        migrate_leave(m, entry, "there always is a limit, of 64 KiB to 2 GiB");
}

static const struct migrate_rule rules[] = {
    {"myhostname", take_hostname, "hostname", NULL},
    {"mydestination", take_domains, "domains.relay[]", NULL},
    {"relay_domains", take_domains, "domains.relay[]", NULL},
    {"virtual_mailbox_domains", take_domains, "domains.relay[]", NULL},
    {"virtual_alias_domains", take_domains, "domains.relay[]", NULL},
    {"mynetworks", take_networks, "networks[]", NULL},
    {"message_size_limit", take_size, "limits.message_size", NULL},
    {"smtpd_tls_cert_file", migrate_take_path, "tls.cert", NULL},
    {"smtpd_tls_key_file", migrate_take_path, "tls.key", NULL},
    {"smtpd_tls_chain_files", NULL, NULL,
     "name the certificates in tls.cert and tls.more, and the keys with them"},
    {"postscreen_dnsbl_threshold", migrate_take_number, "dnsbl.reject_score", NULL},
    {"postscreen_dnsbl_sites", take_sites, NULL, NULL},
    {"smtpd_client_restrictions", take_restrictions, NULL, NULL},
    {"smtpd_helo_restrictions", take_restrictions, NULL, NULL},
    {"smtpd_sender_restrictions", take_restrictions, NULL, NULL},
    {"smtpd_relay_restrictions", take_restrictions, NULL, NULL},
    {"smtpd_recipient_restrictions", take_restrictions, NULL, NULL},
    {"smtpd_data_restrictions", take_restrictions, NULL, NULL},
    {"smtpd_end_of_data_restrictions", take_restrictions, NULL, NULL},
    {"smtpd_milters", NULL, NULL, "take opendkim and opendmarc out, or mail is looked at twice"},
};

int migrate_postfix(struct migration *m, const char *file, struct fail *fail)
{
    m->held = NULL;
    if (migrate_read_main_cf(m, file, fail) != 0)
        return -1;
    for (size_t i = 0; i < COUNT(rules); i++)
        if (migrate_held(m, rules[i].key) != NULL)
            migrate_apply(m, &rules[i], 1, migrate_held(m, rules[i].key));
    return 0;
}
