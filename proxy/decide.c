#include "proxy/decide.h"

#include "base/bug.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

const char *action_name(enum action action)
{
    static const char *const names[] = {"accept", "reject", "defer", "greylist", "drop"};

    return names[action];
}

/* Fills the verdict and returns true, unless the check only observes: then its name is noted and the next
 * rule looks. */
static bool refuse(struct verdict *v, enum mode mode, enum action action, const char *check, int code,
                   const char *enhanced, const char *format, ...) __attribute__((format(printf, 7, 8)));

static bool refuse(struct verdict *v, enum mode mode, enum action action, const char *check, int code,
                   const char *enhanced, const char *format, ...)
{
    va_list args;

    if (mode == MODE_OFF)
        return false;
    if (mode == MODE_OBSERVE) {
        if (v->observed_count < VERDICT_OBSERVED)
            v->observed[v->observed_count++] = check;
        return false;
    }
    v->action = action;
    v->check = check;
    v->code = code;
    v->enhanced = enhanced;
    va_start(args, format);
    vsnprintf(v->text, sizeof(v->text), format, args);
    va_end(args);
    return true;
}

/* Doubt lowers a check to observing. */
static enum mode observe_if(bool doubt, enum mode mode)
{
    return doubt && mode == MODE_ENFORCE ? MODE_OBSERVE : mode;
}

/* While our own resolver is sick, what the DNS says, or does not say, is held against nobody. */
static enum mode dns_mode(const struct config *config, const struct facts *facts, enum mode check)
{
    return observe_if(facts->session.dns_sick, config_mode(config, check));
}

/* What is known by the client's address only is known of nobody when that address is a gateway's. */
static enum mode address_mode(const struct config *config, const struct facts *facts, enum mode check)
{
    return observe_if(facts->session.gateway, dns_mode(config, facts, check));
}

static const struct verdict accepted = {.action = ACTION_ACCEPT};

/* Our own clients skip the inbound checks. */
static bool is_ours(const struct facts *facts)
{
    return facts->session.trusted || facts->session.outbound;
}

/* ---- the greeting and HELO ---- */

struct verdict decide_greeting(const struct config *config, const struct facts *facts)
{
    struct verdict v = accepted;

    if (facts->session.early_talker && !is_ours(facts))
        refuse(&v, config_mode(config, config->screen.early_talker), ACTION_DROP, "early-talker", 554,
               "5.5.1", "You spoke before the greeting; wait for the 220 (RFC 5321 4.3.1)");
    return v;
}

struct verdict decide_helo(const struct config *config, const struct facts *facts)
{
    enum mode mode = config_mode(config, config->screen.helo);
    struct verdict v = accepted;

    if (is_ours(facts))
        return v;
    switch (facts->session.helo_form) {
    case HELO_NOT_A_NAME:
        refuse(&v, mode, ACTION_REJECT, "helo", 501, "5.5.4",
               "Your HELO is neither a host name nor an address literal");
        break;
    case HELO_BARE_ADDRESS:
        refuse(&v, mode, ACTION_REJECT, "helo", 501, "5.5.4",
               "An address in HELO stands in brackets: say your host name (RFC 5321 4.1.3)");
        break;
    case HELO_OURS:
        refuse(&v, mode, ACTION_REJECT, "helo", 550, "5.7.1",
               "You are not me: say your own host name in HELO");
        break;
    default:
        break;
    }
    return v;
}

/* ---- RCPT ---- */

static bool rdns_refuses(const struct config *config, const struct facts *facts, struct verdict *v)
{
    enum mode mode = address_mode(config, facts, config->screen.fcrdns);
    char ip[IP_TEXT_MAX];

    if (facts->session.rdns == RDNS_NONE)
        return refuse(v, mode, ACTION_REJECT, "fcrdns", 550, "5.7.25",
                      "Your address [%s] has no host name in the DNS (PTR); ask your provider for one",
                      ip_format(&facts->session.client, ip));
    if (facts->session.rdns == RDNS_MISMATCH)
        return refuse(v, mode, ACTION_REJECT, "fcrdns", 550, "5.7.25",
                      "Your address [%s] calls itself %.200s, which does not point back to it",
                      ip_format(&facts->session.client, ip), facts->session.rdns_name);
    return false;
}

int decide_list_score(const struct facts *facts)
{
    const struct dnsbl_answer *answers[] = {facts->session.dnsbl, facts->transaction.domains,
                                            facts->message.domains};
    int score = 0;

    for (size_t i = 0; i < COUNT(answers); i++)
        score += answers[i] != NULL ? answers[i]->score : 0;
    return score;
}

/* The list with the most weight is the one that the sender should go to first. */
static const struct dnsbl_hit *heaviest(const struct facts *facts)
{
    const struct dnsbl_answer *answers[] = {facts->session.dnsbl, facts->transaction.domains,
                                            facts->message.domains};
    const struct dnsbl_hit *worst = NULL;

    for (size_t i = 0; i < COUNT(answers); i++)
        for (size_t j = 0; answers[i] != NULL && j < answers[i]->count; j++) {
            const struct dnsbl_hit *hit = &answers[i]->hits[j];

            if (hit->result == DNSBL_LISTED && (worst == NULL || hit->list->score > worst->list->score))
                worst = hit;
        }
    return worst;
}

static bool dnsbl_refuses(const struct config *config, const struct facts *facts, struct verdict *v)
{
    enum mode mode = address_mode(config, facts, config->dnsbl.mode);
    const struct dnsbl_hit *hit;
    char ip[IP_TEXT_MAX], code[IP_TEXT_MAX];
    struct str zone;

    if (decide_list_score(facts) < config->dnsbl.reject_score || (hit = heaviest(facts)) == NULL)
        return false;
    zone = str_upto(dnsbl_public_zone(hit->list->zone), 150);
    if (hit->name != NULL)
        return refuse(v, mode, ACTION_REJECT, "dnsbl", 554, "5.7.1",
                      "The name %.150s is listed by %.*s (%s); ask that list how to be removed", hit->name,
                      STR_ARG(zone), ip_format(&hit->code, code));
    return refuse(v, mode, ACTION_REJECT, "dnsbl", 554, "5.7.1",
                  "Your address [%s] is listed by %.*s (%s); ask that list how to be removed",
                  ip_format(&facts->session.client, ip), STR_ARG(zone), ip_format(&hit->code, code));
}

static bool sender_refuses(const struct config *config, const struct facts *facts, struct verdict *v)
{
    enum mode mode = dns_mode(config, facts, config->screen.sender_domain);
    struct str domain = str_upto(facts->transaction.sender.domain, 200);

    if (facts->transaction.sender_domain == SENDER_MISSING)
        return refuse(
            v, mode, ACTION_REJECT, "sender-domain", 550, "5.1.8",
            "The sender's domain %.*s has neither MX nor address in the DNS: no answer could reach it",
            STR_ARG(domain));
    if (facts->transaction.sender_domain == SENDER_NULL_MX)
        return refuse(v, mode, ACTION_REJECT, "sender-domain", 550, "5.7.27",
                      "The sender's domain %.*s declares that it takes no mail (null MX, RFC 7505)",
                      STR_ARG(domain));
    return false;
}

static bool spf_refuses(const struct config *config, const struct facts *facts, const struct spf_answer *spf,
                        struct verdict *v)
{
    enum mode mode = address_mode(config, facts, config->spf.mode);
    enum on_event on;

    if (spf == NULL)
        return false;
    switch (spf->result) {
    case SPF_FAIL:
        on = config->spf.on_fail;
        break;
    case SPF_SOFTFAIL:
        on = config->spf.on_softfail;
        break;
    case SPF_TEMPERROR:
        on = config->spf.on_temperror;
        break;
    case SPF_PERMERROR:
        on = config->spf.on_permerror;
        break;
    default:
        return false;
    }
    if (on == ON_REJECT && (spf->result == SPF_FAIL || spf->result == SPF_SOFTFAIL))
        return refuse(v, mode, ACTION_REJECT, "spf", 550, "5.7.23",
                      "SPF %s: %.150s does not let this host send its mail.%s%.150s",
                      spf_result_name(spf->result), spf->domain, *spf->explanation != '\0' ? " " : "",
                      spf->explanation);
    if (on == ON_REJECT)
        return refuse(v, mode, ACTION_REJECT, "spf", 550, "5.7.24", "SPF %s for %.150s: %.150s",
                      spf_result_name(spf->result), spf->domain, spf->reason);
    return on == ON_DEFER &&
           refuse(v, mode, ACTION_DEFER, "spf", 451, spf->result == SPF_TEMPERROR ? "4.4.3" : "4.7.23",
                  "SPF %s for %.150s, try again later", spf_result_name(spf->result), spf->domain);
}

struct verdict decide_rcpt(const struct config *config, const struct facts *facts)
{
    struct verdict v = accepted;

    if (facts_may_relay(&facts->session))
        return v;
    if (facts->session.outbound && facts->session.may_log_in) { /* RFC 4954 6 */
        refuse(&v, MODE_ENFORCE, ACTION_REJECT, "relay", 530, "5.7.0",
               "Log in first (AUTH, under TLS); mail for us goes to port 25");
        return v;
    }
    if (facts->session.outbound) {
        refuse(&v, MODE_ENFORCE, ACTION_REJECT, "relay", 550, "5.7.1",
               "This port is for clients of our own networks; send mail for us to port 25");
        return v;
    }
    if (!facts->recipient.ours) {
        refuse(&v, MODE_ENFORCE, ACTION_REJECT, "relay", 550, "5.7.1",
               "We do not relay mail for this domain");
        return v;
    }
    if (facts->recipient.postmaster) /* RFC 5321 4.5.1: whoever we refuse must be able to ask why */
        return v;
    if (dnsbl_refuses(config, facts, &v) || rdns_refuses(config, facts, &v) ||
        sender_refuses(config, facts, &v) || spf_refuses(config, facts, facts->transaction.spf, &v) ||
        (!facts->transaction.null_sender && spf_refuses(config, facts, facts->session.spf_helo, &v)))
        return v;
    if (facts->recipient.unlisted)
        refuse(&v, MODE_ENFORCE, ACTION_REJECT, "recipient", 550, "5.1.1",
               "There is no such mailbox here");
    return v;
}

/* ---- greylisting ---- */

const char *decide_is_suspicious(const struct config *config, const struct facts *facts)
{
    const struct session_facts *s = &facts->session;
    const struct spf_answer *spf = facts->transaction.spf;

    if (decide_list_score(facts) < 0) /* on an allow list */
        return NULL;
    if (config->greylist.when == GREY_ALWAYS &&
        (!facts->transaction.null_sender || config->greylist.null_sender == GREY_ALWAYS))
        return "always";
    if (decide_list_score(facts) >= config->dnsbl.greylist_score)
        return "dnsbl";
    if (s->rdns == RDNS_NONE || s->rdns == RDNS_MISMATCH) /* a temperror is no sign of anything */
        return "rdns";
    if (spf != NULL && spf->result != SPF_PASS && spf->result != SPF_TEMPERROR)
        return "spf";
    if (s->helo_form != HELO_NAME && s->helo_form != HELO_NOT_SEEN)
        return "helo";
    return NULL;
}

/* A sick resolver does not count here: to come again is nothing for good. */
struct verdict decide_greylist(const struct config *config, const struct facts *facts)
{
    const struct grey_answer *grey = facts->recipient.grey;
    enum mode mode = observe_if(facts->session.gateway, config_mode(config, config->greylist.mode));
    struct verdict v = accepted;

    if (grey != NULL && grey_must_wait(grey->verdict) && !is_ours(facts) && !facts->recipient.postmaster)
        refuse(&v, mode, ACTION_GREYLIST, "greylist", 451, "4.7.1",
               "Greylisted: please try again in %lld seconds", (long long)grey->wait_s);
    return v;
}

/* ---- the message ---- */

static bool framing_refuses(const struct config *config, const struct message_facts *m, struct verdict *v)
{
    bool drops = config->screen.bare_line_ends == BARE_ENDS_DROP;

    if (m->fault == SMTP_DATA_LONG_LINE)
        return refuse(v, MODE_ENFORCE, ACTION_REJECT, "framing", 550, "5.6.0",
                      "A line is longer than %zu octets", config->limits.line_bytes);
    if (m->fault != SMTP_DATA_OK)
        return refuse(v, MODE_ENFORCE, drops ? ACTION_DROP : ACTION_REJECT, "framing", drops ? 521 : 550,
                      "5.6.11", "The message contains a %s; lines end with CRLF (RFC 5321 2.3.8)",
                      smtp_data_fault_name(m->fault));
    if (m->too_big)
        return refuse(v, MODE_ENFORCE, ACTION_REJECT, "size", 552, "5.3.4",
                      "The message is larger than %llu octets",
                      (unsigned long long)config->limits.message_bytes);
    if (m->header_too_big || m->too_many_fields)
        return refuse(v, MODE_ENFORCE, ACTION_REJECT, "header", 552, "5.3.4",
                      "The header section is larger than %zu octets or %u fields",
                      config->limits.header_bytes, config->limits.header_fields);
    if (m->starts_folded || m->bad_line)
        return refuse(v, MODE_ENFORCE, ACTION_REJECT, "header", 550, "5.6.0",
                      "The header section has a line that is no header field (RFC 5322 2.2)");
    if (m->received > config->limits.received || m->received_by_us > 3)
        return refuse(v, MODE_ENFORCE, ACTION_REJECT, "loop", 554, "5.4.6",
                      "Too many hops: the message goes in circles");
    return m->spool_failed && refuse(v, MODE_ENFORCE, ACTION_DEFER, "spool", 452, "4.3.1",
                                     "No room for the message, try again later");
}

static bool from_refuses(const struct config *config, const struct message_facts *m, struct verdict *v)
{
    if (m->from_why == NULL || *m->from_why == '\0' || config->dmarc.from_invalid != ON_REJECT)
        return false;
    return refuse(v, config_mode(config, config->dmarc.mode), ACTION_REJECT, "from", 550, "5.6.0",
                  "Nobody can vouch for this message: %s (RFC 5322 3.6.2)", m->from_why);
}

/* Has anybody at all vouched for this message, if not its author's domain? A mailing list or a forwarder has.
 * */
static bool somebody_vouches(const struct facts *facts)
{
    const struct dkim_answer *dkim = facts->message.dkim;

    if (facts->transaction.spf != NULL && facts->transaction.spf->result == SPF_PASS)
        return true;
    for (size_t i = 0; dkim != NULL && i < dkim->count; i++)
        if (dkim->signatures[i].result == DKIM_PASS && !dkim->signatures[i].partial)
            return true;
    return false;
}

static bool is_at_or_below(const char *name, const char *domain)
{
    size_t n = strlen(name), above = strlen(domain);

    return strchr(domain, '.') != NULL && n >= above && strcasecmp(name + n - above, domain) == 0 &&
           (n == above || name[n - above - 1] == '.');
}

/* The second sign that RFC 9989 7.4 asks for besides p=reject. */
static bool has_evidence(const struct config *config, const struct facts *facts)
{
    const struct session_facts *s = &facts->session;

    if (s->gateway || s->dns_sick) /* what SPF did not find is no sign, then */
        return false;
    if (!somebody_vouches(facts))
        return true;
    return decide_list_score(facts) >= config->dnsbl.greylist_score || s->rdns == RDNS_NONE ||
           s->rdns == RDNS_MISMATCH;
}

/* A hop that we trust saw DMARC pass before a list or forwarder changed the message. */
static bool trusted_hop_vouches(const struct config *config, const struct facts *facts)
{
    return config_mode(config, config->arc.verify.mode) == MODE_ENFORCE && facts->message.arc != NULL &&
           arc_vouches(facts->message.arc, config->arc.trusted_sealers, config->arc.trusted_count,
                       facts->message.from_domain);
}

/* SPF or DKIM vouches for this name, or for a domain above it that is more than a top level one. */
static bool is_vouched_for(const struct facts *facts, const char *name)
{
    const struct spf_answer *spf = facts->transaction.spf;
    const struct dkim_answer *dkim = facts->message.dkim;

    if (spf != NULL && spf->result == SPF_PASS && is_at_or_below(name, spf->domain))
        return true;
    for (size_t i = 0; dkim != NULL && i < dkim->count; i++)
        if (dkim->signatures[i].result == DKIM_PASS && !dkim->signatures[i].partial &&
            is_at_or_below(name, dkim->signatures[i].domain))
            return true;
    return false;
}

/* What the owner's policy comes to here, were it enforced. */
static enum dmarc_policy local_policy(const struct config *config, const struct facts *facts)
{
    const struct dmarc_evaluation *dmarc = facts->message.dmarc;

    if (dmarc == NULL || dmarc->result != DMARC_FAIL || trusted_hop_vouches(config, facts))
        return DMARC_POLICY_NONE;
    if (dmarc->policy == DMARC_POLICY_NONE)
        return DMARC_POLICY_NONE;
    if (config->dmarc.quarantine == DMARC_QUARANTINE_REJECT) /* whatever would only be marked */
        return DMARC_POLICY_REJECT;
    if (dmarc->policy != DMARC_POLICY_REJECT || config->dmarc.reject == DMARC_REJECT_ALWAYS)
        return dmarc->policy;
    return config->dmarc.reject == DMARC_REJECT_EVIDENCE && has_evidence(config, facts)
               ? DMARC_POLICY_REJECT
               : DMARC_POLICY_QUARANTINE;
}

/* What was not looked for may be there: with SPF or DKIM switched off, that nothing vouches for a message is held against
 * nobody. */
static enum mode dmarc_mode(const struct config *config, const struct facts *facts)
{
    bool is_blind = config->spf.mode == MODE_OFF || config->dkim.mode == MODE_OFF;

    return observe_if(is_blind, address_mode(config, facts, config->dmarc.mode));
}

enum dmarc_policy decide_dmarc_disposition(const struct config *config, const struct facts *facts)
{
    return dmarc_mode(config, facts) == MODE_ENFORCE ? local_policy(config, facts) : DMARC_POLICY_NONE;
}

/* Marked and not refused, and by a list that is who it says it is (RFC 2919). */
static bool is_spared_as_list(const struct config *config, const struct facts *facts)
{
    return decide_dmarc_disposition(config, facts) == DMARC_POLICY_QUARANTINE &&
           config->dmarc.reject == DMARC_REJECT_EVIDENCE && facts->message.list != NULL &&
           is_vouched_for(facts, facts->message.list);
}

enum history_override decide_dmarc_override(const struct config *config, const struct facts *facts)
{
    const struct dmarc_evaluation *dmarc = facts->message.dmarc;

    if (dmarc == NULL || dmarc->result != DMARC_FAIL)
        return HISTORY_AS_PUBLISHED;
    if (trusted_hop_vouches(config, facts))
        return HISTORY_TRUSTED_FORWARDER;
    if (dmarc->policy == DMARC_POLICY_NONE)
        return facts->message.discovery != NULL && facts->message.discovery->record != NULL &&
                       facts->message.discovery->record->testing &&
                       facts->message.discovery->record->policy != DMARC_POLICY_NONE
                   ? HISTORY_TEST_MODE
                   : HISTORY_AS_PUBLISHED;
    if (decide_dmarc_disposition(config, facts) == dmarc->policy)
        return HISTORY_AS_PUBLISHED;
    return is_spared_as_list(config, facts) ? HISTORY_MAILING_LIST : HISTORY_LOCAL_POLICY;
}

static bool dmarc_refuses(const struct config *config, const struct facts *facts, struct verdict *v)
{
    const struct dmarc_evaluation *dmarc = facts->message.dmarc;
    enum mode mode = dmarc_mode(config, facts);
    const struct dmarc_discovery *found = facts->message.discovery;
    const char *domain = facts->message.from_domain;
    enum dmarc_policy policy = local_policy(config, facts);

    if (dmarc != NULL && dmarc->result == DMARC_TEMPERROR && config->dmarc.on_temperror == ON_DEFER)
        return refuse(v, mode, ACTION_DEFER, "dmarc", 451, "4.7.1",
                      "The DMARC policy of %.200s cannot be read now, try again later", domain);
    if (dmarc != NULL && dmarc->result == DMARC_TEMPERROR && config->dmarc.on_temperror == ON_REJECT)
        return refuse(v, mode, ACTION_REJECT, "dmarc", 550, "5.7.1",
                      "The DMARC policy of %.200s cannot be read", domain);
    if (policy == DMARC_POLICY_REJECT)
        return refuse(
            v, mode, ACTION_REJECT, "dmarc", 550, "5.7.1",
            "Refused by the DMARC policy of %.100s (p=%s): neither SPF nor DKIM vouches for its name in "
            "From. The policy is the TXT record _dmarc.%.100s; see https://www.rfc-editor.org/info/rfc9989",
            domain, dmarc_policy_name(dmarc->policy),
            found != NULL && found->record_domain != NULL ? found->record_domain : domain);
    return false;
}

struct verdict decide_message(const struct config *config, const struct facts *facts)
{
    struct verdict v = accepted;

    if (framing_refuses(config, &facts->message, &v) || facts_may_relay(&facts->session))
        return v;
    if (from_refuses(config, &facts->message, &v))
        return v;
    /* The name in From may be what tips the scales: the rest was weighed at RCPT. */
    if (facts->message.domains != NULL && facts->message.domains->score > 0 &&
        !facts->transaction.to_postmaster && dnsbl_refuses(config, facts, &v))
        return v;
    dmarc_refuses(config, facts, &v);
    return v;
}
