#include "cli/migrate.h"

#include "base/bug.h"
#include "base/ip.h"

/*
 * OpenDKIM. Its tables are read as they are, by path; a key of its own (Domain, Selector, KeyFile) is one entry of
 * dkim.sign.keys, put together at the end.
 */

static const char verdict[] = "what DKIM finds is judged by DMARC, and stands in Authentication-Results";
static const char signing[] = "signatures are made as docs/dkim.md tells";

/* "relaxed" alone is the header's; the body's is simple then. */
static void take_canonicalization(struct migration *m, const struct migrate_entry *entry, const char *setting)
{
    struct str header, body;

    if (!str_cut(entry->value, '/', &header, &body))
        body = STR("simple");
    if ((!str_same_z(header, "relaxed") && !str_same_z(header, "simple")) ||
        (!str_same_z(body, "relaxed") && !str_same_z(body, "simple")))
        migrate_leave(m, entry, "it is no canonicalization");
    else
        migrate_take(m, entry, setting,
                     str_fmt(m->mem, "%s/%s", str_dup_lower(m->mem, header), str_dup_lower(m->mem, body)),
                     NULL);
}

/* The default has these, and more; fewer would sign less well than before the move. */
static bool is_oversigned(struct str field)
{
    static const char *const fields[] = {"from", "to", "cc", "subject", "date", "message-id", "reply-to"};

    for (size_t i = 0; i < COUNT(fields); i++)
        if (str_same_z(field, fields[i]))
            return true;
    return false;
}

static void take_oversign(struct migration *m, const struct migrate_entry *entry, const char *setting)
{
    struct str rest = entry->value, word;
    bool is_default = true;

    while (migrate_next_word(&rest, &word))
        is_default = is_default && is_oversigned(word);
    if (is_default)
        migrate_leave(m, entry, "the default has these fields, and more");
    for (rest = entry->value; !is_default && migrate_next_word(&rest, &word);)
        migrate_take(m, entry, setting, migrate_text(m, str_of(str_dup_lower(m->mem, word))), NULL);
}

static void take_bits(struct migration *m, const struct migrate_entry *entry, const char *setting)
{
    uint64_t bits;

    if (str_to_u64(entry->value, 4096, &bits) && bits >= 1024)
        migrate_take_number(m, entry, setting);
    else
        migrate_leave(m, entry, "RFC 8301 asks for 1,024 bits at least");
}

static void take_servers(struct migration *m, const struct migrate_entry *entry, const char *setting)
{
    struct str rest = entry->value, word;
    struct ip ip;

    while (migrate_next_word(&rest, &word)) {
        if (ip_parse(word, &ip))
            migrate_take(m, entry, setting, migrate_text(m, word), NULL);
        else
            migrate_leave(m, entry, "it is no IP address");
    }
}

static const struct migrate_rule rules[] = {
    {"Mode", migrate_hold, NULL, NULL},
    {"Domain", migrate_hold, NULL, NULL},
    {"Selector", migrate_hold, NULL, NULL},
    {"KeyFile", migrate_hold, NULL, NULL},
    {"SubDomains", migrate_hold, NULL, NULL},
    {"SigningTable", migrate_take_path, "dkim.sign.signing_table", NULL},
    {"KeyTable", migrate_take_path, "dkim.sign.key_table", NULL},
    {"InternalHosts", migrate_take_path, "dkim.sign.internal_hosts", NULL},
    {"Canonicalization", take_canonicalization, "dkim.sign.canonicalization", NULL},
    {"OversignHeaders", take_oversign, "dkim.sign.oversign[]", NULL},
    {"MinimumKeyBits", take_bits, "dkim.min_rsa_bits", NULL},
    {"AuthservID", migrate_take_authserv_id, "authserv_id", NULL},
    {"Nameservers", take_servers, "dns.servers[]", NULL},
    {"DNSTimeout", migrate_take_seconds, "dns.timeout", NULL},
    {"ExternalIgnoreList", NULL, NULL, "who may send through us is `networks`, and who logs in"},
    {"PeerList", NULL, NULL,
     "networks: would trust a host in everything, relaying included, so put it there only if you mean that"},
    {"On-BadSignature", NULL, NULL, verdict},
    {"On-Default", NULL, NULL, verdict},
    {"On-DNSError", NULL, NULL, verdict},
    {"On-InternalError", NULL, NULL, verdict},
    {"On-KeyNotFound", NULL, NULL, verdict},
    {"On-NoSignature", NULL, NULL, verdict},
    {"On-Security", NULL, NULL, verdict},
    {"On-SignatureError", NULL, NULL, verdict},
    {"AlwaysAddARHeader", NULL, NULL, verdict},
    {"RemoveARAll", NULL, NULL, "forged fields of our own name are removed, others never"},
    {"RemoveOldSignatures", NULL, NULL, "signatures of others are never removed"},
    {"SignHeaders", NULL, NULL, signing},
    {"OmitHeaders", NULL, NULL, signing},
    {"SenderHeaders", NULL, NULL, signing},
    {"SignatureAlgorithm", NULL, NULL, "the key says it"},
    {"BodyLengths", NULL, NULL, "l= is never written"},
    {"MultipleSignatures", NULL, NULL, signing},
    {"SignatureTTL", NULL, NULL, "dkim.sign.valid is its name here"},
    {"MTA", NULL, NULL, "a listener with role: outbound is what signs"},
    {"MacroList", NULL, NULL, "a listener with role: outbound is what signs"},
    {"RequireSafeKeys", NULL, NULL, "keys that others may read are refused"},
    {"AllowSHA1Only", NULL, NULL, "dkim.sha1 is about it"},
    {"TrustAnchorFile", NULL, NULL, "DNSSEC is the resolver's"},
};

static struct str held_value(const struct migration *m, const char *key)
{
    const struct migrate_entry *entry = migrate_held(m, key);

    return entry != NULL ? entry->value : STR("");
}

static void take_key_of(struct migration *m, const struct migrate_entry *from, struct str domain)
{
    const char *name = migrate_text(m, str_of(str_dup_lower(m->mem, domain)));
    const char *any = str_fmt(m->mem, "*@%.*s", STR_ARG(domain)),
               *below = str_fmt(m->mem, "*@*.%.*s", STR_ARG(domain));
    const char *match = migrate_text(m, str_of(str_dup_lower(m->mem, str_of(any))));

    if (migrate_is_on(held_value(m, "SubDomains")))
        match =
            str_fmt(m->mem, "%s, %s", match, migrate_text(m, str_of(str_dup_lower(m->mem, str_of(below)))));
    migrate_take(m, from, "dkim.sign.keys[]",
                 str_fmt(m->mem, "{domain: %s, selector: %s, key: %s, match: [%s]}", name,
                         migrate_text(m, held_value(m, "Selector")),
                         migrate_text(m, held_value(m, "KeyFile")), match),
                 NULL);
}

static void take_own_key(struct migration *m, const struct migrate_entry *from)
{
    struct str rest = from->value, domain;

    if (!str_starts(held_value(m, "KeyFile"), STR("/")) || held_value(m, "Selector").n == 0)
        migrate_leave(m, from, "Domain, Selector and the absolute path of a KeyFile belong together");
    else if (str_has(from->value, ':') || str_has(from->value, '/'))
        migrate_leave(m, from, "domains from a table are the SigningTable's here");
    else
        while (migrate_next_word(&rest, &domain))
            take_key_of(m, from, domain);
}

/* Without a key there is nothing to sign with, whatever Mode says. */
static void take_mode(struct migration *m, const char *file)
{
    const struct migrate_entry nobody = {file, 0, "OpenDKIM", STR("sv")}, *mode = migrate_held(m, "Mode");
    bool has_keys =
        migrate_find(m, "dkim.sign.keys[]") != NULL || migrate_find(m, "dkim.sign.key_table") != NULL;
    bool signs = mode == NULL || str_has(mode->value, 's');

    if (has_keys)
        migrate_take(m, mode != NULL ? mode : &nobody, "dkim.sign.mode", signs ? "enforce" : "\"off\"",
                     signs ? "a listener with role: outbound signs, and whoever logs in is signed for"
                           : NULL);
    else if (mode != NULL)
        migrate_leave(m, mode, "there is no key to sign with; verifying is how smtpguard is, too");
}

int migrate_opendkim(struct migration *m, const char *file, struct fail *fail)
{
    m->held = NULL;
    if (migrate_read_words(m, file, rules, COUNT(rules), fail) != 0)
        return -1;
    if (migrate_held(m, "Domain") != NULL)
        take_own_key(m, migrate_held(m, "Domain"));
    take_mode(m, file);
    return 0;
}
