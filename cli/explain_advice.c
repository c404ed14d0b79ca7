#include "cli/explain.h"

#include <string.h>

/* What a sender can do, check by check: to people who look after a mail server, but not ours. */

struct asked {
    const struct decision *d;
    const struct decision_recipient *recipient; /* NULL: not about one */
    const struct decision_outcome *outcome;
    char ip[IP_TEXT_MAX];
};

typedef void advise_fn(struct buf *out, const struct asked *asked);

static void say(struct buf *out, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void say(struct buf *out, const char *format, ...)
{
    size_t begin = out->n;
    va_list args;

    buf_add_z(out, "    ");
    va_start(args, format);
    buf_vfmt(out, format, args);
    va_end(args);
    cli_explain_end_line(out, begin);
}

/* Of trouble that passes. */
static const char *what_then(const struct asked *asked)
{
    return asked->outcome->action == ACTION_REJECT ? "Send it once more, later."
                                                   : "Its server comes again by itself.";
}

/* ---- the connection ---- */

static void advise_limits(struct buf *out, const struct asked *asked)
{
    say(out, "Nothing is wrong with the mail: its server comes again by itself.");
    if (strcmp(asked->outcome->check, "connections") == 0)
        say(out, "If this happens often, let it open fewer connections to us at the same time.");
    if (strcmp(asked->outcome->check, "rate") == 0)
        say(out, "If this happens often, let it connect more slowly, or send several messages over one "
                 "connection.");
}

static void advise_early_talker(struct buf *out, const struct asked *asked)
{
    say(out, "A mail server waits for the greeting (RFC 5321 4.3.1), to its last line. What does not is "
             "nearly always malware:");
    say(out, "look at what runs on %s. If it is a mail server, its maker has to mend it.", asked->ip);
}

static void advise_helo(struct buf *out, const struct asked *asked)
{
    const struct session_facts *f = &asked->d->facts.session;

    say(out,
        "Let the mail server at %s say its own full host name in HELO, one that has this address in the DNS.",
        asked->ip);
    say(out, "It said \"%s\". (In Postfix this is smtp_helo_name, by default myhostname.)",
        f->helo != NULL ? f->helo : "");
}

/* ---- recipients ---- */

static void advise_relay(struct buf *out, const struct asked *asked)
{
    const char *to = asked->recipient != NULL ? asked->recipient->to : "?";

    if (asked->d->facts.session.outbound) {
        say(out,
            "This port is for our own users: log in first (AUTH, under TLS). Mail for us goes to port 25.");
        return;
    }
    say(out,
        "<%s> is not of a domain that we take mail for. Look for a slip in the address, and where the MX "
        "records of",
        to);
    say(out,
        "its domain point to: a server that brings it here follows old ones, or is set to (a smart host).");
}

static void advise_recipient(struct buf *out, const struct asked *asked)
{
    say(out, "There is no <%s> here: look for a slip in the address, or ask its owner for the new one.",
        asked->recipient != NULL ? asked->recipient->to : "?");
}

static void advise_dnsbl(struct buf *out, const struct asked *asked)
{
    const struct dnsbl_hit *hit;

    for (size_t i = 0; (hit = cli_explain_listing(asked->d, i)) != NULL; i++) {
        char code[IP_TEXT_MAX];

        if (hit->name != NULL)
            say(out, "The name %s is on the list %s (%s).", hit->name, hit->list->zone,
                ip_format(&hit->code, code));
        else
            say(out, "The address %s is on the list %s (%s).", asked->ip, hit->list->zone,
                ip_format(&hit->code, code));
    }
    say(out, "Look it up at the web site of that list, which says why; mend that first, then ask there to be "
             "removed.");
    say(out, "We have no part in what lists say. postmaster here takes your mail all the same.");
}

static void advise_fcrdns(struct buf *out, const struct asked *asked)
{
    const struct session_facts *f = &asked->d->facts.session;

    if (f->rdns == RDNS_MISMATCH && f->rdns_name != NULL)
        say(out,
            "The address %s calls itself %s (its PTR record): let that name have this address, too (A or "
            "AAAA record),",
            asked->ip, f->rdns_name);
    else
        say(out,
            "Ask the provider of the address %s to give it a host name (PTR record) that has this address (A "
            "or AAAA),",
            asked->ip);
    say(out, "as every mail server's should be.");
}

static void advise_sender_domain(struct buf *out, const struct asked *asked)
{
    const struct transaction_facts *f = &asked->d->facts.transaction;

    if (f->sender_domain == SENDER_NULL_MX)
        say(out,
            "%.*s declares that it takes no mail (a null MX, RFC 7505), so nothing could be answered. Send "
            "with a sender",
            STR_ARG(f->sender.domain));
    else
        say(out,
            "%.*s has neither MX nor address in the DNS, so nothing could be answered. Give it one, or send "
            "with a sender",
            STR_ARG(f->sender.domain));
    say(out, "(MAIL FROM) that does take mail.");
}

/* Whether the reply is about this one: it names result and domain. */
static bool is_named(const struct spf_answer *spf, const char *text)
{
    return spf != NULL && strstr(text, spf_result_name(spf->result)) != NULL &&
           strstr(text, spf->domain) != NULL;
}

/* That of MAIL FROM, or of HELO: whichever refused. */
static const struct spf_answer *spf_of(const struct decision *d, const struct decision_outcome *outcome)
{
    const struct spf_answer *spf = d->facts.transaction.spf, *helo = d->facts.session.spf_helo;

    return spf == NULL || (!is_named(spf, outcome->text) && is_named(helo, outcome->text)) ? helo : spf;
}

static void advise_spf(struct buf *out, const struct asked *asked)
{
    const struct spf_answer *spf = spf_of(asked->d, asked->outcome);

    if (spf == NULL)
        return;
    if (spf->result == SPF_TEMPERROR) {
        say(out, "The DNS of %s did not answer (%s). %s", spf->domain, spf->reason, what_then(asked));
        return;
    }
    if (spf->result == SPF_PERMERROR) {
        say(out, "SPF of %s cannot be evaluated: %s.", spf->domain, spf->reason);
        say(out, "Until its owner mends it, nobody can tell who may send for that domain.");
        return;
    }
    say(out,
        "The SPF record of %s does not list %s: add it there (%s:%s), or send through a server that it "
        "lists.",
        spf->domain, asked->ip, asked->d->facts.session.client.family == 6 ? "ip6" : "ip4", asked->ip);
    if (spf->scope == SPF_MFROM)
        say(out, "If this mail was forwarded, whoever forwards it has to put a sender of its own in MAIL "
                 "FROM (SRS).");
}

static void advise_greylist(struct buf *out, const struct asked *asked)
{
    const struct grey_answer *grey = asked->recipient != NULL ? asked->recipient->facts.grey : NULL;
    struct arena *mem = arena_new(0);

    if (grey != NULL)
        say(out,
            "Nothing is wrong: come again after %lld seconds (from %s on) and it is taken. Mail servers do "
            "so by themselves.",
            (long long)grey->wait_s, cli_time_text(mem, asked->d->time_unix + grey->wait_s));
    say(out, "Whoever passed once does not wait again. To be known from the first message on: a host name "
             "that fits the");
    say(out, "address (PTR and back), an SPF record that passes, a full name in HELO.");
    arena_free(&mem);
}

/* ---- the message ---- */

static void advise_framing(struct buf *out, const struct asked *asked)
{
    say(out,
        "The message has a %s. Lines end with CR and LF, are of at most 998 octets, and have no other CR, LF "
        "or NUL",
        smtp_data_fault_name(asked->d->facts.message.fault));
    say(out, "(RFC 5321 2.3.8): the program that made this message has to be mended.");
}

static void advise_size(struct buf *out, const struct asked *asked)
{
    say(out,
        "The message has %llu octets, more than is taken here. Send a smaller one, or a link to what is "
        "large.",
        (unsigned long long)asked->d->facts.message.bytes);
}

static void advise_header(struct buf *out, const struct asked *asked)
{
    (void)asked;
    say(out, "The header section is too large, or has a line that is no header field (RFC 5322 2.2): the "
             "program that made");
    say(out, "this message, or a server that passed it on, has to be mended.");
}

static void advise_loop(struct buf *out, const struct asked *asked)
{
    say(out,
        "The message has passed %u servers: it goes in circles. Look at its Received fields for two that "
        "send it to each other.",
        asked->d->facts.message.received);
}

static void advise_spool(struct buf *out, const struct asked *asked)
{
    (void)asked;
    say(out, "Nothing is wrong with the mail: we had no room for it. Its server comes again by itself.");
}

static void advise_from(struct buf *out, const struct asked *asked)
{
    const char *why = asked->d->facts.message.from_why;

    say(out, "A message has one From field, with addresses of one domain (RFC 5322 3.6.2)%s%s.",
        why != NULL ? "; here " : "", why != NULL ? why : "");
}

/* ---- DMARC ---- */

static const struct dmarc_record *record_of(const struct decision *d)
{
    return d->facts.message.discovery != NULL ? d->facts.message.discovery->record : NULL;
}

static void say_why_spf_does_not_vouch(struct buf *out, const struct decision *d, const char *from)
{
    const struct spf_answer *spf = d->facts.transaction.spf;
    const struct dmarc_record *record = record_of(d);

    if (spf == NULL)
        say(out, "- SPF was not looked at.");
    else if (spf->result == SPF_PASS)
        say(out, "- SPF passes, but for %s, which is not aligned with %s%s.", spf->domain, from,
            record != NULL && record->aspf_strict ? " (aspf=s: only the very same name is)" : "");
    else
        say(out, "- SPF says %s for %s%s%s.", spf_result_name(spf->result), spf->domain,
            *spf->reason != '\0' ? ": " : "", spf->reason);
}

static void say_why_signature_does_not_vouch(struct buf *out, const struct decision *d,
                                             const struct dkim_signature *s, const char *from)
{
    const struct dmarc_record *record = record_of(d);

    if (s->result == DKIM_PASS && s->partial)
        say(out, "- The DKIM signature of %s covers only the beginning of the body (l=).", s->domain);
    else if (s->result == DKIM_PASS)
        say(out, "- The DKIM signature of %s passes, but that is not aligned with %s%s.", s->domain, from,
            record != NULL && record->adkim_strict ? " (adkim=s: only the very same name is)" : "");
    else
        say(out, "- The DKIM signature of %s (selector %s): %s%s%s.", s->domain, s->selector,
            dkim_result_name(s->result), *s->reason != '\0' ? ", " : "", s->reason);
}

static void say_why_dkim_does_not_vouch(struct buf *out, const struct decision *d, const char *from)
{
    const struct dkim_answer *dkim = d->facts.message.dkim;

    if (dkim == NULL || dkim->count == 0)
        say(out, "- There is no DKIM signature.");
    for (size_t i = 0; dkim != NULL && i < dkim->count; i++)
        say_why_signature_does_not_vouch(out, d, &dkim->signatures[i], from);
}

static void advise_dmarc(struct buf *out, const struct asked *asked)
{
    const struct message_facts *f = &asked->d->facts.message;
    const char *from = f->from_domain != NULL ? f->from_domain : "?";
    const bool has_record = f->discovery != NULL && f->discovery->record_domain != NULL;

    if (f->dmarc == NULL || f->dmarc->result == DMARC_TEMPERROR) {
        say(out, "The DMARC policy of %s could not be read. %s", from, what_then(asked));
        return;
    }
    say(out,
        "The owner of %s asks the world (in the record _dmarc.%s) to take no mail with this name in From for "
        "which",
        from, has_record ? f->discovery->record_domain : from);
    say(out, "neither SPF nor DKIM vouches, and none does:");
    say_why_spf_does_not_vouch(out, asked->d, from);
    say_why_dkim_does_not_vouch(out, asked->d, from);
    say(out,
        "If it is your mail: sign it with DKIM as %s (d=%s), or send it through a server that the SPF record "
        "of %s",
        from, from, from);
    say(out, "lists, with a sender (MAIL FROM) of %s.", from);
    say(out, "If it came by a mailing list or a forwarder: let it leave the message as it is (then the "
             "author's signature");
    say(out, "holds), or put its own name into From.");
}

/* ---- the server behind ---- */

static void advise_backend(struct buf *out, const struct asked *asked)
{
    if (asked->outcome->action == ACTION_DEFER)
        say(out, "The mail server behind us said this, or could not be reached. The sender's server comes "
                 "again by itself.");
    else
        say(out, "The mail server behind us said this itself; its words above are the reason.");
}

/* ---- all of them ---- */

static const struct {
    const char *check;
    advise_fn *advise;
    const char *keys[EXPLAIN_KEYS_MAX];
} checks[] = {
    {"connections", advise_limits, {"limits.connections_per_client"}},
    {"rate", advise_limits, {"limits.new_connections_per_client"}},
    {"full", advise_limits, {"limits.connections"}},
    {"early-talker", advise_early_talker, {"screen.early_talker", "screen.banner_delay"}},
    {"helo", advise_helo, {"screen.helo"}},
    {"relay", advise_relay, {"domains.relay", "domains.file", "networks"}},
    {"recipient", advise_recipient, {"domains.recipients"}},
    {"dnsbl", advise_dnsbl, {"dnsbl.mode", "dnsbl.reject_score"}},
    {"fcrdns", advise_fcrdns, {"screen.fcrdns"}},
    {"sender-domain", advise_sender_domain, {"screen.sender_domain"}},
    {"spf", advise_spf, {"spf.mode"}}, /* and spf.on_…: see below */
    {"greylist", advise_greylist, {"greylist.mode", "greylist.when", "greylist.delay"}},
    {"framing", advise_framing, {"limits.line", "screen.bare_line_ends"}},
    {"size", advise_size, {"limits.message_size"}},
    {"header", advise_header, {"limits.header_size", "limits.header_fields"}},
    {"loop", advise_loop, {"limits.received"}},
    {"spool", advise_spool, {"limits.spool_dir"}},
    {"from", advise_from, {"dmarc.mode", "dmarc.from_invalid"}},
    {"dmarc", advise_dmarc, {"dmarc.mode"}}, /* likewise */
    {"backend", advise_backend, {NULL}},
};

enum { CHECKS = sizeof(checks) / sizeof(*checks) };

static size_t find_check(const char *check)
{
    size_t i = 0;

    while (i < CHECKS && (check == NULL || strcmp(checks[i].check, check) != 0))
        i++;
    return i;
}

void cli_explain_advice(struct buf *out, const struct decision *decision,
                        const struct decision_recipient *recipient, const struct decision_outcome *outcome)
{
    struct asked asked = {.d = decision, .recipient = recipient, .outcome = outcome};
    size_t i = find_check(outcome->check);

    if (i == CHECKS)
        return;
    ip_format(&decision->facts.session.client, asked.ip);
    checks[i].advise(out, &asked);
}

static const char *spf_key(const struct decision *d, const struct decision_outcome *outcome)
{
    const struct spf_answer *spf = spf_of(d, outcome);

    switch (spf != NULL ? spf->result : SPF_NONE) {
    case SPF_FAIL:
        return "spf.on_fail";
    case SPF_SOFTFAIL:
        return "spf.on_softfail";
    case SPF_TEMPERROR:
        return "spf.on_temperror";
    case SPF_PERMERROR:
        return "spf.on_permerror";
    default:
        return NULL;
    }
}

static const char *dmarc_key(const struct decision *d)
{
    const struct dmarc_evaluation *dmarc = d->facts.message.dmarc;

    if (dmarc == NULL || dmarc->result == DMARC_TEMPERROR)
        return "dmarc.on_temperror";
    return dmarc->policy == DMARC_POLICY_QUARANTINE ? "dmarc.quarantine" : "dmarc.reject";
}

struct cli_explain_keys cli_explain_keys(const struct decision *decision,
                                         const struct decision_outcome *outcome)
{
    struct cli_explain_keys keys = {{NULL}};
    size_t i = find_check(outcome->check);

    if (i == CHECKS)
        return keys;
    memcpy(keys.keys, checks[i].keys, sizeof(checks[i].keys));
    if (strcmp(checks[i].check, "spf") == 0)
        keys.keys[1] = spf_key(decision, outcome);
    if (strcmp(checks[i].check, "dmarc") == 0)
        keys.keys[1] = dmarc_key(decision);
    return keys;
}
