#include "proxy/replay.h"

#include <string.h>

const char *replay_gap_name(enum replay_gap gap)
{
    static const char *const names[REPLAY_GAPS] = {"client", "dnsbl", "sender-domain", "spf",
                                                   "dkim",   "dmarc", "greylist"};
    int i = 0;

    while (1 << i != (int)gap)
        i++;
    return names[i];
}

bool replay_is_same(const struct replay_answer *a)
{
    const char *was = a->was_check != NULL ? a->was_check : "",
               *would = a->would.check != NULL ? a->would.check : "";

    return a->was == a->would.action && strcmp(was, would) == 0 && a->was_disposition == a->would_disposition;
}

/* ---- the facts under other settings ---- */

struct under {
    struct arena *mem;
    const struct config *config;
    unsigned gaps;
    struct replay_answer *answers; /* with room for all */
    size_t count;
};

static const struct dnsbl_list *list_of(const struct config *config, const char *zone, enum dnsbl_kind kind)
{
    for (size_t i = 0; i < config->dnsbl.lists_count; i++) {
        const struct dnsbl_list *list = &config->dnsbl.lists[i];

        if (list->kind == kind && str_eq_z(dnsbl_public_zone(list->zone), zone))
            return list;
    }
    return NULL;
}

static bool has_lists(const struct config *config, enum dnsbl_kind kind)
{
    for (size_t i = 0; config->dnsbl.mode != MODE_OFF && i < config->dnsbl.lists_count; i++)
        if (config->dnsbl.lists[i].kind == kind)
            return true;
    return false;
}

static bool was_asked(const struct dnsbl_answer *answer, const struct dnsbl_list *list)
{
    for (size_t i = 0; answer != NULL && i < answer->count; i++)
        if (str_eq_z(dnsbl_public_zone(list->zone), answer->hits[i].list->zone))
            return true;
    return false;
}

static void look_for_unasked(struct under *u, const struct dnsbl_answer *answer, enum dnsbl_kind kind)
{
    for (size_t i = 0; u->config->dnsbl.mode != MODE_OFF && i < u->config->dnsbl.lists_count; i++)
        if (u->config->dnsbl.lists[i].kind == kind && !was_asked(answer, &u->config->dnsbl.lists[i]))
            u->gaps |= REPLAY_GAP_LISTS;
}

/* What the lists that count now said, with the scores they have now. */
static const struct dnsbl_answer *weigh(struct under *u, const struct dnsbl_answer *answer,
                                        enum dnsbl_kind kind)
{
    struct dnsbl_answer *now;
    struct dnsbl_hit *hits;

    if (answer == NULL || !has_lists(u->config, kind))
        return NULL;
    now = ARENA_NEW(u->mem, struct dnsbl_answer);
    hits = ARENA_ARRAY(u->mem, struct dnsbl_hit, answer->count + 1);
    now->hits = hits;
    for (size_t i = 0; i < answer->count; i++) {
        const struct dnsbl_list *list = list_of(u->config, answer->hits[i].list->zone, kind);

        if (list == NULL)
            continue;
        hits[now->count] = answer->hits[i];
        hits[now->count++].list = list;
        now->score += answer->hits[i].result == DNSBL_LISTED ? list->score : 0;
    }
    return now;
}

static bool is_inbound(const struct facts *f)
{
    return !f->session.trusted && !f->session.outbound;
}

static void change_session(struct under *u, struct facts *f)
{
    struct session_facts *s = &f->session;
    bool was_trusted = s->trusted;

    s->trusted = !s->unknown && net_list_has(&u->config->networks, &s->client);
    if (was_trusted && is_inbound(f))
        u->gaps |= REPLAY_GAP_CLIENT;
    if (is_inbound(f) && f->transaction.sender.text.p != NULL)
        look_for_unasked(u, s->dnsbl, DNSBL_OF_ADDRESSES);
    s->dnsbl = weigh(u, s->dnsbl, DNSBL_OF_ADDRESSES);
    if (u->config->spf.mode == MODE_OFF)
        s->spf_helo = NULL;
}

static void change_transaction(struct under *u, struct facts *f)
{
    struct transaction_facts *t = &f->transaction;
    bool has_domain = t->sender.domain.n > 0 && t->sender.domain.p[0] != '[';

    if (is_inbound(f) && has_domain) {
        if (u->config->spf.mode != MODE_OFF && t->spf == NULL)
            u->gaps |= REPLAY_GAP_SPF;
        if (u->config->screen.sender_domain != MODE_OFF && t->sender_domain == SENDER_NOT_ASKED)
            u->gaps |= REPLAY_GAP_SENDER;
    }
    if (is_inbound(f) && t->sender.text.p != NULL)
        look_for_unasked(u, t->domains, DNSBL_OF_DOMAINS);
    t->domains = weigh(u, t->domains, DNSBL_OF_DOMAINS);
    if (u->config->spf.mode == MODE_OFF)
        t->spf = NULL;
}

static void change_message(struct under *u, struct facts *f)
{
    struct message_facts *m = &f->message;

    if (is_inbound(f) && m->from_domain != NULL) {
        if (u->config->dkim.mode != MODE_OFF && m->dkim == NULL)
            u->gaps |= REPLAY_GAP_DKIM;
        if (u->config->dmarc.mode != MODE_OFF && m->dmarc == NULL)
            u->gaps |= REPLAY_GAP_DMARC;
    }
    m->domains = weigh(u, m->domains, DNSBL_OF_DOMAINS);
    if (u->config->dkim.mode == MODE_OFF)
        m->dkim = NULL;
    if (u->config->arc.verify.mode == MODE_OFF)
        m->arc = NULL;
    if (u->config->dmarc.mode == MODE_OFF) {
        m->dmarc = NULL;
        m->discovery = NULL;
    }
}

/* Whose recipient it is now. An address that log.privacy has hidden stays what it was. */
static struct recipient_facts change_recipient(struct under *u, const struct decision_recipient *r)
{
    const struct domain_settings *domains = &u->config->domains;
    struct recipient_facts f = r->facts;
    struct smtp_address address;
    const char *domain;

    if (r->to[0] == '*' || !smtp_mailbox_parse(str_of(r->to), true, &address) ||
        address.kind != SMTP_DOMAIN_NAME)
        return f;
    domain = mailbox_domain_to_ascii(u->mem, address.domain);
    f.address = address;
    f.ours = domain != NULL && domain_settings_has(domains, str_of(domain));
    f.unlisted = f.ours && domains->recipients == RECIPIENTS_FILE &&
                 !domain_settings_lists(domains, address.local, str_of(domain));
    f.postmaster = f.ours && str_same_z(address.local, "postmaster");
    return f;
}

/* ---- answers ---- */

static struct replay_answer *add_answer(struct under *u, const char *moment,
                                        const struct decision_outcome *was)
{
    struct replay_answer *a = &u->answers[u->count++];
    bool was_ours = was->check != NULL && strcmp(was->check, "backend") != 0;

    *a = (struct replay_answer){.moment = moment,
                                .was = was_ours ? was->action : ACTION_ACCEPT,
                                .was_check = was_ours ? was->check : NULL};
    return a;
}

/* A greeting or HELO: only where it was refused, or would be, is there an answer. False: nothing comes after it. */
static bool replay_stage(struct under *u, const struct decision *d, const char *moment,
                         const struct verdict *would)
{
    static const struct decision_outcome accepted = {.action = ACTION_ACCEPT};
    bool was_refused = strcmp(d->at, moment) == 0 && d->outcome.code != 0;

    if (!was_refused && !verdict_refuses(would))
        return true;
    add_answer(u, moment, was_refused ? &d->outcome : &accepted)->would = *would;
    return false;
}

/* Would this recipient have to be looked up? As in check_greylist(). */
static bool asks_greylist(const struct config *config, const struct facts *f)
{
    const struct spf_answer *spf = f->transaction.spf;
    struct grey_client client = {.ip = f->session.client,
                                 .verified_host =
                                     f->session.rdns == RDNS_VERIFIED ? f->session.rdns_name : NULL,
                                 .spf_domain = spf != NULL && spf->result == SPF_PASS ? spf->domain : NULL};

    return is_inbound(f) && config->greylist.mode != MODE_OFF && !f->recipient.postmaster &&
           decide_is_suspicious(config, f) != NULL &&
           !grey_is_allowed(&config->greylist, &client, f->recipient.address.text);
}

/* As the rows of proxy/session.c judge RCPT. */
static struct verdict judge_recipient(struct under *u, struct facts *f)
{
    struct verdict v = decide_rcpt(u->config, f), grey;

    if (verdict_refuses(&v))
        return v;
    if (!asks_greylist(u->config, f))
        f->recipient.grey = NULL;
    else if (f->recipient.grey == NULL)
        u->gaps |= REPLAY_GAP_GREYLIST;
    grey = decide_greylist(u->config, f);
    for (size_t i = 0; i < v.observed_count && grey.observed_count < VERDICT_OBSERVED; i++)
        grey.observed[grey.observed_count++] = v.observed[i];
    return grey;
}

/* True: it was taken, and would be. */
static bool replay_recipient(struct under *u, const struct facts *facts, const struct decision_recipient *r)
{
    struct replay_answer *answer = add_answer(u, "rcpt", &r->outcome);
    struct facts f = *facts;

    f.recipient = change_recipient(u, r);
    f.session.dns_sick = r->dns_sick;
    f.message = (struct message_facts){0};
    answer->recipient = r;
    answer->would = judge_recipient(u, &f);
    return r->outcome.action == ACTION_ACCEPT && !verdict_refuses(&answer->would);
}

static void replay_message(struct under *u, const struct facts *facts, const struct decision *d)
{
    struct replay_answer *answer = add_answer(u, "message", &d->outcome);

    answer->would = decide_message(u->config, facts);
    answer->was_disposition = d->disposition;
    answer->would_disposition = decide_dmarc_disposition(u->config, facts);
}

static void replay_all(struct under *u, const struct decision *d)
{
    struct facts facts = d->facts;
    struct verdict v;
    bool any = false;

    change_session(u, &facts);
    v = decide_greeting(u->config, &facts);
    if (!replay_stage(u, d, "connect", &v))
        return;
    v = decide_helo(u->config, &facts);
    if (!replay_stage(u, d, "helo", &v))
        return;
    change_transaction(u, &facts);
    for (size_t i = 0; i < d->recipients_count; i++)
        any |= replay_recipient(u, &facts, &d->recipients[i]);
    if (!any || strcmp(d->at, "message") != 0)
        return;
    change_message(u, &facts);
    replay_message(u, &facts, d);
}

struct replay replay_decision(struct arena *mem, const struct config *config, const struct decision *decision)
{
    size_t most = decision->recipients_count + 3; /* and a greeting, a HELO, a message */
    struct under under = {
        .mem = mem, .config = config, .answers = ARENA_ARRAY(mem, struct replay_answer, most)};

    if (strcmp(decision->at, "limits") != 0)
        replay_all(&under, decision);
    return (struct replay){.answers = under.answers, .count = under.count, .gaps = under.gaps};
}
