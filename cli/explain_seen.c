#include "cli/explain.h"

#include <string.h>

/* ---- lines ---- */

static void row(struct buf *out, const char *name, uint32_t took_ms, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

void cli_explain_end_line(struct buf *out, size_t begin)
{
    for (size_t i = begin; i < out->n; i++)
        if (out->p[i] == '\n')
            out->p[i] = ' ';
    buf_add_char(out, '\n');
}

static void row(struct buf *out, const char *name, uint32_t took_ms, const char *format, ...)
{
    size_t begin = out->n;
    va_list args;

    buf_fmt(out, "    %-12s ", name);
    va_start(args, format);
    buf_vfmt(out, format, args);
    va_end(args);
    if (took_ms > 0)
        buf_fmt(out, " (%u ms)", (unsigned)took_ms);
    cli_explain_end_line(out, begin);
}

/* ---- the client ---- */

static void tell_rdns(struct buf *out, const struct facts *facts)
{
    const struct session_facts *f = &facts->session;
    const char *name = f->rdns_name != NULL ? f->rdns_name : "?";
    uint32_t ms = facts->took_ms[FACT_RDNS];

    switch (f->rdns) {
    case RDNS_VERIFIED:
        row(out, "host name", ms, "%s, which has this address", name);
        break;
    case RDNS_NONE:
        row(out, "host name", ms, "none: the address has no PTR record");
        break;
    case RDNS_MISMATCH:
        row(out, "host name", ms, "the address calls itself %s, which has other addresses", name);
        break;
    case RDNS_TEMPERROR:
        row(out, "host name", ms, "not known: the DNS did not answer");
        break;
    default:
        break;
    }
}

static const char *meaning_of_helo(enum helo_form form)
{
    static const char *const meanings[] = {
        [HELO_NOT_SEEN] = "",
        [HELO_NAME] = "a full host name",
        [HELO_LITERAL] = "the client's address in brackets",
        [HELO_OTHER_LITERAL] = "an address in brackets that is not the client's",
        [HELO_BARE_ADDRESS] = "an address without brackets",
        [HELO_OURS] = "our own name or address",
        [HELO_NOT_A_NAME] = "neither a host name nor an address in brackets",
        [HELO_SINGLE_LABEL] = "a name without a domain",
    };

    return meanings[form];
}

static const char *why_unchecked(const struct session_facts *f)
{
    return f->authenticated ? "it has logged in"
           : f->trusted     ? "its address is in `networks`"
                            : "it came to an outbound port";
}

static void tell_client(struct buf *out, const struct decision *d)
{
    const struct session_facts *f = &d->facts.session;

    if (f->trusted || f->authenticated || f->outbound)
        row(out, "checks", 0, "none of who sends: %s", why_unchecked(f));
    if (f->early_talker)
        row(out, "greeting", 0, "the client spoke before it");
    tell_rdns(out, &d->facts);
    if (f->helo != NULL)
        row(out, "HELO", 0, "\"%s\": %s", f->helo, meaning_of_helo(f->helo_form));
    if (f->unknown)
        row(out, "client", 0, "not known to the proxy in front, whose address stands above");
    if (f->gateway)
        row(out, "gateway", 0, "this private address hides many clients: it says nothing about any of them");
    if (f->dns_sick)
        row(out, "DNS", 0,
            "our resolver was out of order: nothing it said was held against anybody for good");
    if (d->failed_logins > 0)
        row(out, "logins", 0, "%u failed", d->failed_logins);
}

/* ---- lists ---- */

static void tell_hit(struct buf *out, const char *name, const struct dnsbl_hit *hit)
{
    const char *zone = hit->list->zone;
    char code[IP_TEXT_MAX];

    switch (hit->result) {
    case DNSBL_LISTED:
        row(out, name, 0, "%s%s%s has it (%s), score %d", hit->name != NULL ? hit->name : "",
            hit->name != NULL ? ": " : "", zone, ip_format(&hit->code, code), hit->list->score);
        break;
    case DNSBL_UNANSWERED:
        row(out, name, 0, "%s did not answer", zone);
        break;
    case DNSBL_ERROR:
        row(out, name, 0, "%s gave an answer that is none: not counted", zone);
        break;
    case DNSBL_DISABLED:
        row(out, name, 0, "%s was not asked: it is out of order", zone);
        break;
    default:
        break;
    }
}

static void tell_lists(struct buf *out, const char *name, const struct dnsbl_answer *answer, uint32_t took_ms)
{
    size_t listed = 0;

    if (answer == NULL || answer->count == 0)
        return;
    for (size_t i = 0; i < answer->count; i++) {
        tell_hit(out, name, &answer->hits[i]);
        listed += answer->hits[i].result == DNSBL_LISTED;
    }
    row(out, name, took_ms, "score %d: %zu of %zu list it", answer->score, listed, answer->count);
}

const struct dnsbl_hit *cli_explain_listing(const struct decision *d, size_t number)
{
    const struct dnsbl_answer *answers[] = {d->facts.session.dnsbl, d->facts.transaction.domains,
                                            d->facts.message.domains};

    for (size_t i = 0; i < sizeof(answers) / sizeof(*answers); i++)
        for (size_t j = 0; answers[i] != NULL && j < answers[i]->count; j++) {
            const struct dnsbl_hit *hit = &answers[i]->hits[j];

            if (hit->result == DNSBL_LISTED && hit->list->score > 0 && number-- == 0)
                return hit;
        }
    return NULL;
}

/* ---- the sender ---- */

static void tell_spf(struct buf *out, const char *name, const struct spf_answer *spf, uint32_t took_ms)
{
    if (spf == NULL)
        return;
    if (spf->result == SPF_PASS && spf->mechanism != NULL)
        row(out, name, took_ms, "pass for %s, whose record has %s", spf->domain, spf->mechanism);
    else
        row(out, name, took_ms, "%s for %s%s%s", spf_result_name(spf->result), spf->domain,
            *spf->reason != '\0' ? ": " : "", spf->reason);
    if (*spf->explanation != '\0')
        row(out, name, 0, "its owner explains: %s", spf->explanation);
}

static void tell_sender(struct buf *out, const struct decision *d)
{
    static const char *const meanings[] = {[SENDER_NOT_ASKED] = "",
                                           [SENDER_EXISTS] = "is there, and can be answered",
                                           [SENDER_MISSING] = "has neither MX nor address in the DNS",
                                           [SENDER_NULL_MX] = "declares that it takes no mail (null MX)",
                                           [SENDER_TEMPERROR] =
                                               "could not be looked up: the DNS did not answer"};
    const struct transaction_facts *f = &d->facts.transaction;

    if (f->sender_domain != SENDER_NOT_ASKED)
        row(out, "sender", d->facts.took_ms[FACT_SENDER], "%.*s %s", STR_ARG(f->sender.domain),
            meanings[f->sender_domain]);
    tell_lists(out, "name lists", f->domains, d->facts.took_ms[FACT_DOMAINS]);
    if (f->spf != d->facts.session.spf_helo)
        tell_spf(out, "SPF", f->spf, d->facts.took_ms[FACT_SPF]);
}

/* ---- recipients ---- */

static const char *meaning_of_grey(enum grey_verdict verdict)
{
    static const char *const meanings[] = {
        [GREY_NEW] = "first seen: it has to come again",
        [GREY_EARLY] = "came again too early",
        [GREY_PASSED] = "came again in time",
        [GREY_KNOWN] = "has come again before",
        [GREY_TRUSTED] = "this client passed often enough, and is not asked any more",
        [GREY_ALLOWED] = "an operator allowed this client",
        [GREY_UNANSWERED] = "the store did not answer: nobody waits",
    };

    return meanings[verdict];
}

static void tell_recipients(struct buf *out, const struct decision *d)
{
    for (size_t i = 0; i < d->recipients_count; i++) {
        const struct decision_recipient *r = &d->recipients[i];

        if (r->facts.grey != NULL)
            row(out, "greylist", r->grey_ms, "<%s>: %s%s%s%s", r->to, meaning_of_grey(r->facts.grey->verdict),
                r->suspicion != NULL ? " (asked for the sign against it: " : "",
                r->suspicion != NULL ? r->suspicion : "", r->suspicion != NULL ? ")" : "");
        if (r->facts.unlisted)
            row(out, "recipient", 0, "<%s> is not in the file of recipients", r->to);
    }
}

/* ---- the message ---- */

static void tell_framing(struct buf *out, const struct message_facts *f)
{
    const struct {
        bool is;
        const char *text;
    } rows[] = {
        {f->too_big, "it is too large"},
        {f->header_too_big, "its header section is too large"},
        {f->too_many_fields, "it has too many header fields"},
        {f->starts_folded || f->bad_line, "its header section has a line that is no header field"},
        {f->spool_failed, "there was no room for it"},
    };

    row(out, "message", 0, "%llu octets, %u Received fields", (unsigned long long)f->bytes, f->received);
    if (f->fault != SMTP_DATA_OK)
        row(out, "message", 0, "it has a %s", smtp_data_fault_name(f->fault));
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
        if (rows[i].is)
            row(out, "message", 0, "%s", rows[i].text);
}

static void tell_signature(struct buf *out, const struct dkim_signature *s)
{
    row(out, "DKIM", 0, "%s for %s, selector %s (%s, %u bits)%s%s%s%s", dkim_result_name(s->result),
        s->domain, s->selector, s->algorithm, s->bits, *s->reason != '\0' ? ": " : "", s->reason,
        s->testing ? "; its key is marked as a test" : "",
        s->partial ? "; it covers only the beginning of the body" : "");
}

static void tell_dkim(struct buf *out, const struct dkim_answer *dkim, int64_t left_out)
{
    if (dkim == NULL)
        return;
    if (dkim->count == 0)
        row(out, "DKIM", 0, "no signature");
    for (size_t i = 0; i < dkim->count; i++)
        tell_signature(out, &dkim->signatures[i]);
    if (left_out > 0)
        row(out, "DKIM", 0, "and %lld more signatures", (long long)left_out);
}

static void tell_dmarc(struct buf *out, const struct decision *d)
{
    const struct message_facts *f = &d->facts.message;
    const struct dmarc_discovery *found = f->discovery;

    if (f->dmarc == NULL)
        return;
    row(out, "DMARC", d->facts.took_ms[FACT_DMARC], "%s for %s%s%s", dmarc_result_name(f->dmarc->result),
        f->from_domain != NULL ? f->from_domain : "?", *f->dmarc->reason != '\0' ? ": " : "",
        f->dmarc->reason);
    if (found != NULL && found->record != NULL && found->record_domain != NULL)
        row(out, "DMARC", 0, "the record _dmarc.%s says p=%s%s; what applies here is \"%s\"",
            found->record_domain, dmarc_policy_name(found->record->policy),
            found->record->testing ? ", for a test" : "", dmarc_policy_name(f->dmarc->policy));
}

static void tell_disposition(struct buf *out, const struct decision *d)
{
    if (d->disposition == DMARC_POLICY_QUARANTINE)
        row(out, "DMARC", 0, "it is marked, for the mail server behind us to put aside");
}

static void tell_message(struct buf *out, const struct decision *d)
{
    const struct message_facts *f = &d->facts.message;

    tell_framing(out, f);
    if (f->from_domain != NULL)
        row(out, "From", 0, "%s", f->from_domain);
    if (f->from_why != NULL)
        row(out, "From", 0, "names no one domain: %s", f->from_why);
    if (f->list != NULL)
        row(out, "list", 0, "%s", f->list);
    tell_lists(out, "From lists", f->domains, d->facts.took_ms[FACT_FROM_DOMAIN]);
    tell_dkim(out, f->dkim, d->signatures_left_out);
    if (f->arc != NULL)
        row(out, "ARC", d->facts.took_ms[FACT_ARC], "%s%s%s%s%s", arc_result_name(f->arc->result),
            *f->arc->sealer != '\0' ? ", sealed last by " : "", f->arc->sealer,
            *f->arc->reason != '\0' ? ": " : "", f->arc->reason);
    tell_dmarc(out, d);
    tell_disposition(out, d);
}

void cli_explain_seen(struct buf *out, const struct decision *d)
{
    tell_client(out, d);
    tell_lists(out, "DNS lists", d->facts.session.dnsbl, d->facts.took_ms[FACT_DNSBL]);
    tell_spf(out, "SPF of HELO", d->facts.session.spf_helo, d->facts.took_ms[FACT_SPF_HELO]);
    tell_sender(out, d);
    tell_recipients(out, d);
    if (strcmp(d->at, "message") == 0)
        tell_message(out, d);
}
