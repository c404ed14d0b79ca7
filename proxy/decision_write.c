#include "proxy/decision.h"

#include "base/log.h"

#include <string.h>

/* ---- values ---- */

static void put_str(struct json *json, const char *key, struct str text)
{
    if (text.n > 0)
        json_put_str(json, key, str_upto(text, DECISION_TEXT_MAX));
}

void decision_put_text(struct json *json, const char *key, const char *text)
{
    put_str(json, key, str_of(text));
}

/* What may have an address in it. */
static void put_words(struct json *json, const char *key, const char *text)
{
    char shown[LOG_VALUE_MAX];

    put_str(json, key, log_private_words(str_of(text), shown));
}

static void put_flag(struct json *json, const char *key, bool value)
{
    if (value)
        json_put_bool(json, key, true);
}

static void put_number(struct json *json, const char *key, int64_t value)
{
    if (value != 0)
        json_put_int(json, key, value);
}

static void put_ip(struct json *json, const char *key, const struct ip *ip)
{
    char text[IP_TEXT_MAX];

    if (ip->family != 0)
        json_put_z(json, key, ip_format(ip, text));
}

/* The empty one, too: it is the null sender. */
static void put_address(struct json *json, const char *key, struct str address)
{
    char shown[LOG_VALUE_MAX];

    json_put_str(json, key, str_upto(log_private(address, shown), DECISION_TEXT_MAX));
}

static void begin(struct json *json, const char *key)
{
    json_key(json, key);
    json_object(json);
}

/* ---- what checks found ---- */

static void put_hit(struct json *json, const struct dnsbl_hit *hit)
{
    json_object(json);
    put_str(json, "zone", dnsbl_public_zone(hit->list->zone));
    json_put_z(json, "result", dnsbl_result_name(hit->result));
    json_put_int(json, "score", hit->list->score);
    put_ip(json, "code", &hit->code);
    decision_put_text(json, "name", hit->name);
    json_object_end(json);
}

static void put_lists(struct json *json, const char *key, const struct dnsbl_answer *answer, uint32_t took_ms)
{
    if (answer == NULL)
        return;
    begin(json, key);
    put_number(json, "ms", took_ms);
    json_put_int(json, "score", answer->score);
    json_key(json, "lists");
    json_array(json);
    for (size_t i = 0; i < answer->count; i++)
        if (answer->hits[i].result != DNSBL_NOT_ASKED)
            put_hit(json, &answer->hits[i]);
    json_array_end(json);
    json_object_end(json);
}

/* The key says whose it is, and the mechanism why it passed. */
static void put_spf(struct json *json, const char *key, const struct spf_answer *spf, uint32_t took_ms)
{
    if (spf == NULL)
        return;
    begin(json, key);
    put_number(json, "ms", took_ms);
    json_put_z(json, "result", spf_result_name(spf->result));
    decision_put_text(json, "domain", spf->domain);
    decision_put_text(json, "mechanism", spf->mechanism);
    put_words(json, "explanation", spf->explanation);
    if (spf->result != SPF_PASS)
        put_words(json, "reason", spf->reason);
    put_number(json, "lookups", spf->lookups);
    put_number(json, "void_lookups", spf->void_lookups);
    json_object_end(json);
}

static void put_signature(struct json *json, const struct dkim_signature *s)
{
    json_object(json);
    json_put_z(json, "result", dkim_result_name(s->result));
    decision_put_text(json, "domain", s->domain);
    decision_put_text(json, "selector", s->selector);
    decision_put_text(json, "algorithm", s->algorithm);
    put_number(json, "bits", s->bits);
    put_flag(json, "testing", s->testing);
    put_flag(json, "partial", s->partial);
    decision_put_text(json, "reason", s->reason);
    json_object_end(json);
}

/* Those that pass, or those that do not; returns how many. */
static size_t put_signatures(struct json *json, const struct dkim_answer *dkim, bool pass, size_t most)
{
    size_t told = 0;

    for (size_t i = 0; i < dkim->count && told < most; i++)
        if ((dkim->signatures[i].result == DKIM_PASS) == pass) {
            put_signature(json, &dkim->signatures[i]);
            told++;
        }
    return told;
}

/* All that pass come first: only these decide anything, and there may be more than can be told. */
static void put_dkim(struct json *json, const struct dkim_answer *dkim, uint32_t took_ms)
{
    size_t told;

    if (dkim == NULL)
        return;
    begin(json, "dkim");
    put_number(json, "ms", took_ms);
    json_key(json, "signatures");
    json_array(json);
    told = put_signatures(json, dkim, true, DECISION_SIGNATURES_MAX);
    told += put_signatures(json, dkim, false, DECISION_SIGNATURES_MAX - told);
    json_array_end(json);
    put_number(json, "left_out", (int64_t)(dkim->count - told));
    json_object_end(json);
}

static void put_set(struct json *json, const struct arc_set *set)
{
    json_object(json);
    decision_put_text(json, "sealer", set->seal_domain);
    decision_put_text(json, "dmarc", set->dmarc);
    decision_put_text(json, "from", set->dmarc_from);
    json_object_end(json);
}

static void put_arc(struct json *json, const struct arc_answer *arc, uint32_t took_ms)
{
    if (arc == NULL)
        return;
    begin(json, "arc");
    put_number(json, "ms", took_ms);
    json_put_z(json, "result", arc_result_name(arc->result));
    decision_put_text(json, "sealer", arc->sealer);
    decision_put_text(json, "reason", arc->reason);
    json_key(json, "sets");
    json_array(json);
    for (size_t i = 0; i < arc->instances && arc->sets != NULL; i++)
        put_set(json, &arc->sets[i]);
    json_array_end(json);
    json_object_end(json);
}

/* As a rule all are one domain, and then it is told once. */
static void put_domain(struct json *json, const char *key, const char *domain, const char *from_domain)
{
    if (domain != NULL && (from_domain == NULL || strcmp(domain, from_domain) != 0))
        decision_put_text(json, key, domain);
}

static void put_policy(struct json *json, const struct dmarc_discovery *found, const char *from_domain)
{
    json_put_z(json, "found", dmarc_found_name(found->found));
    put_domain(json, "org_domain", found->org_domain, from_domain);
    put_domain(json, "record_domain", found->record_domain, from_domain);
    if (found->record == NULL)
        return;
    json_put_z(json, "published", dmarc_policy_name(found->record->policy));
    put_flag(json, "testing", found->record->testing);
    put_flag(json, "adkim_strict", found->record->adkim_strict);
    put_flag(json, "aspf_strict", found->record->aspf_strict);
}

static void put_dmarc(struct json *json, const struct message_facts *f, uint32_t took_ms)
{
    const struct dmarc_evaluation *dmarc = f->dmarc;

    if (dmarc == NULL)
        return;
    begin(json, "dmarc");
    put_number(json, "ms", took_ms);
    json_put_z(json, "result", dmarc_result_name(dmarc->result));
    json_put_z(json, "policy", dmarc_policy_name(dmarc->policy));
    put_flag(json, "spf_aligned", dmarc->spf_aligned);
    put_flag(json, "dkim_aligned", dmarc->dkim_aligned);
    decision_put_text(json, "reason", dmarc->reason);
    if (f->discovery != NULL)
        put_policy(json, f->discovery, f->from_domain);
    json_object_end(json);
}

static void put_grey(struct json *json, const struct grey_answer *grey, uint32_t took_ms)
{
    if (grey == NULL)
        return;
    begin(json, "grey");
    put_number(json, "ms", took_ms);
    json_put_z(json, "result", grey_verdict_name(grey->verdict));
    put_number(json, "wait", grey->wait_s);
    put_number(json, "first", grey->first_unix);
    json_object_end(json);
}

/* ---- the parts ---- */

void decision_put_client(struct json *json, const struct facts *facts, const char *tls)
{
    const struct session_facts *f = &facts->session;

    begin(json, "client");
    put_ip(json, "ip", &f->client);
    put_number(json, "port", f->client_port);
    put_flag(json, "trusted", f->trusted);
    put_flag(json, "outbound", f->outbound);
    put_flag(json, "may_log_in", f->may_log_in);
    put_flag(json, "authenticated", f->authenticated);
    put_flag(json, "unknown", f->unknown);
    put_flag(json, "gateway", f->gateway);
    put_flag(json, "early_talker", f->early_talker);
    put_flag(json, "dns_sick", f->dns_sick);
    decision_put_text(json, "rdns", rdns_state_name(f->rdns));
    decision_put_text(json, "host", f->rdns_name);
    if (f->rdns != RDNS_NOT_ASKED)
        put_number(json, "rdns_ms", facts->took_ms[FACT_RDNS]);
    decision_put_text(json, "helo", f->helo);
    decision_put_text(json, "helo_form", helo_form_name(f->helo_form));
    decision_put_text(json, "tls", tls);
    json_object_end(json);
    put_lists(json, "dnsbl", f->dnsbl, facts->took_ms[FACT_DNSBL]);
    put_spf(json, "spf_helo", f->spf_helo, facts->took_ms[FACT_SPF_HELO]);
}

void decision_put_transaction(struct json *json, const struct facts *facts)
{
    const struct transaction_facts *f = &facts->transaction;

    put_address(json, "from", f->sender.text);
    if (log_privacy() != LOG_PRIVACY_NONE) /* else it stands there */
        put_str(json, "sender_domain", f->sender.domain);
    decision_put_text(json, "sender", sender_domain_name(f->sender_domain));
    if (f->sender_domain != SENDER_NOT_ASKED)
        put_number(json, "sender_ms", facts->took_ms[FACT_SENDER]);
    put_flag(json, "to_postmaster", f->to_postmaster);
    if (f->spf != facts->session.spf_helo)
        put_spf(json, "spf", f->spf, facts->took_ms[FACT_SPF]);
    put_lists(json, "domains", f->domains, facts->took_ms[FACT_DOMAINS]);
}

void decision_put_recipient(struct json *json, const struct facts *facts, const char *suspicion,
                            const struct decision_outcome *outcome)
{
    const struct recipient_facts *f = &facts->recipient;

    json_object(json);
    put_address(json, "to", f->address.text);
    put_flag(json, "ours", f->ours);
    put_flag(json, "unlisted", f->unlisted);
    put_flag(json, "postmaster", f->postmaster);
    put_flag(json, "dns_sick", facts->session.dns_sick);
    put_grey(json, f->grey, facts->took_ms[FACT_GREY]);
    decision_put_text(json, "suspicion", suspicion);
    decision_put_outcome(json, "verdict", outcome);
    json_object_end(json);
}

static void put_framing(struct json *json, const struct message_facts *f)
{
    if (f->fault != SMTP_DATA_OK)
        json_put_z(json, "fault", smtp_data_fault_name(f->fault));
    put_flag(json, "too_big", f->too_big);
    put_flag(json, "header_too_big", f->header_too_big);
    put_flag(json, "starts_folded", f->starts_folded);
    put_flag(json, "bad_line", f->bad_line);
    put_flag(json, "too_many_fields", f->too_many_fields);
    put_flag(json, "spool_failed", f->spool_failed);
    put_number(json, "received", f->received);
    put_number(json, "received_by_us", f->received_by_us);
}

void decision_put_message(struct json *json, const struct facts *facts, struct str message_id)
{
    const struct message_facts *f = &facts->message;

    begin(json, "message");
    json_put_int(json, "bytes", (int64_t)f->bytes);
    put_str(json, "id", message_id);
    put_framing(json, f);
    decision_put_text(json, "from_domain", f->from_domain);
    put_words(json, "from_why", f->from_why);
    decision_put_text(json, "list", f->list);
    put_lists(json, "domains", f->domains, facts->took_ms[FACT_FROM_DOMAIN]);
    put_dkim(json, f->dkim, facts->took_ms[FACT_DKIM]);
    put_arc(json, f->arc, facts->took_ms[FACT_ARC]);
    put_dmarc(json, f, facts->took_ms[FACT_DMARC]);
    json_object_end(json);
}

void decision_put_outcome(struct json *json, const char *key, const struct decision_outcome *outcome)
{
    begin(json, key);
    json_put_z(json, "action", action_name(outcome->action));
    put_number(json, "reply", outcome->code);
    decision_put_text(json, "enhanced", outcome->enhanced);
    decision_put_text(json, "check", outcome->check);
    put_words(json, "text", outcome->text);
    if (outcome->observed_count > 0) {
        json_key(json, "observed");
        json_array(json);
        for (size_t i = 0; i < outcome->observed_count; i++)
            json_z(json, outcome->observed[i]);
        json_array_end(json);
    }
    json_object_end(json);
}
