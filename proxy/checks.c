#include "proxy/session_in.h"

#include <string.h>

/*
 * Each check finds one fact and decides nothing. It starts, remembers what it started, and sets its bit; its
 * callback writes the fact and clears the bit. A check that is switched off or has nothing to ask leaves its
 * fact "not asked".
 */

enum { PTR_NAMES_MAX = 5 };

/* FCrDNS: the names of the PTR are asked for their addresses one by one, until one of them is the client's.
 * */
struct rdns_walk {
    struct session *session;
    const char *names[PTR_NAMES_MAX];
    size_t count, at;
    bool had_trouble;
};

/* ---- who is the client? ---- */

static void finish_rdns(struct session *s, enum rdns_state state, const char *name)
{
    s->facts.session.rdns = state;
    s->facts.session.rdns_name = name;
    session_got(s, WAIT_RDNS);
}

static void ask_forward(struct rdns_walk *walk);

static void on_forward(const struct dns_answer *answer, void *arg)
{
    struct rdns_walk *walk = arg;
    struct session *s = walk->session;

    s->forward_query = NULL;
    for (size_t i = 0; answer->status == DNS_OK && i < answer->count; i++)
        if (ip_eq(&answer->records[i].ip, &s->facts.session.client)) {
            finish_rdns(s, RDNS_VERIFIED, walk->names[walk->at]);
            return;
        }
    if (dns_is_temporary(answer->status))
        walk->had_trouble = true;
    walk->at++;
    ask_forward(walk);
}

static void ask_forward(struct rdns_walk *walk)
{
    struct session *s = walk->session;
    enum dns_type type = s->facts.session.client.family == 4 ? DNS_A : DNS_AAAA;

    if (walk->at < walk->count)
        s->forward_query = dns_query(s->service->dns, type, walk->names[walk->at], on_forward, walk);
    else
        finish_rdns(s,
                    walk->had_trouble ? RDNS_TEMPERROR
                    : walk->count > 0 ? RDNS_MISMATCH
                                      : RDNS_NONE,
                    walk->count > 0 ? walk->names[0] : NULL);
}

static void on_ptr(const struct dns_answer *answer, void *arg)
{
    struct rdns_walk *walk = arg;

    walk->session->rdns_query = NULL;
    if (dns_is_temporary(answer->status))
        walk->had_trouble = true;
    for (size_t i = 0; answer->status == DNS_OK && i < answer->count && walk->count < PTR_NAMES_MAX; i++)
        if (smtp_is_domain(str_of(answer->records[i].name)))
            walk->names[walk->count++] = str_dup(walk->session->mem, str_of(answer->records[i].name));
    ask_forward(walk);
}

void check_rdns(struct session *s)
{
    struct rdns_walk *walk = ARENA_NEW(s->mem, struct rdns_walk);
    char name[DNS_NAME_MAX + 1];

    if (!session_is_inbound(s))
        return; /* for trusted clients the Received field says "unknown", and nothing waits */
    walk->session = s;
    dns_ptr_name(&s->facts.session.client, name);
    s->rdns_query = dns_query(s->service->dns, DNS_PTR, str_dup(s->mem, str_of(name)), on_ptr, walk);
    session_wait_for(s, WAIT_RDNS);
}

static void on_banner_due(void *arg)
{
    struct session *s = arg;

    store_cancel(&s->history);
    session_got(s, WAIT_BANNER);
}

static void on_history(enum store_status status, const void *result, void *arg)
{
    struct session *s = arg;

    s->history = NULL;
    if (status != STORE_DONE || !history_is_good(result))
        return; /* a stranger waits out the delay */
    timer_stop(&s->budget);
    clients_praise(s->service->clients, &s->facts.session.client, loop_now_ms(s->service->loop));
    session_got(s, WAIT_BANNER);
}

/* Who talks before the greeting does not speak SMTP. Only clients that we do not know to behave have to wait.
 * */
void check_banner(struct session *s)
{
    const struct screen_settings *screen = &s->service->config->screen;

    if (!session_is_inbound(s) || s->introduced || screen->early_talker == MODE_OFF || screen->banner_delay_ms == 0 ||
        s->listen->tls == LISTEN_TLS_IMPLICIT ||
        clients_is_good(s->service->clients, &s->facts.session.client, loop_now_ms(s->service->loop)))
        return;
    timer_start(&s->budget, s->service->loop, screen->banner_delay_ms, on_banner_due, s);
    history_ask(s, on_history);
    smtp_server_tease(s->server);
    conn_write_buf(s->conn, &s->out);
    session_wait_for(s, WAIT_BANNER);
}

/* ---- HELO ---- */

/* What the HELO before this one has left; no transaction is open that could lead to it. */
static void forget_helo(struct session *s)
{
    spf_cancel(&s->spf_helo);
    s->waits &= ~(unsigned)WAIT_SPF_HELO;
    s->facts.session.spf_helo = NULL;
    if (s->helo_mem != NULL)
        session_bury(s, s->helo_mem);
    s->helo_mem = arena_new(0);
}

void check_helo(struct session *s)
{
    struct str helo = s->event.command->argument;
    struct endpoint local = conn_local(s->conn);

    forget_helo(s);
    s->facts.session.helo = str_dup(s->helo_mem, str_upto(helo, 255));
    s->facts.session.helo_form =
        helo_form_of(helo, &s->facts.session.client, s->service->config->hostname, &local.ip);
    if (session_is_inbound(s))
        s->facts.session.gateway =
            clients_note_helo(s->service->clients, &s->facts.session.client, s->facts.session.helo);
}

static struct spf_ask spf_ask(const struct session *s, enum spf_scope scope, const char *mail_from)
{
    const struct session_facts *f = &s->facts.session;

    return (struct spf_ask){.client = f->client,
                            .helo = f->helo,
                            .mail_from = mail_from,
                            .scope = scope,
                            .receiver = s->service->config->hostname,
                            .client_name = f->rdns == RDNS_VERIFIED ? f->rdns_name : NULL,
                            .now_unix = clock_unix(s->service->clock)};
}

static void on_spf_helo(const struct spf_answer *answer, void *arg)
{
    struct session *s = arg;

    s->spf_helo = NULL;
    s->facts.session.spf_helo = answer;
    if (s->facts.transaction.null_sender) /* the recipient is waiting for it */
        s->facts.transaction.spf = answer;
    session_got(s, WAIT_SPF_HELO);
}

void check_spf_helo(struct session *s)
{
    struct spf_ask ask;

    if (!session_is_inbound(s) || s->service->config->spf.mode == MODE_OFF || s->facts.session.helo_form != HELO_NAME)
        return;
    ask = spf_ask(s, SPF_HELO, "");
    s->spf_helo = spf_start(s->helo_mem, s->service->dns, &ask, on_spf_helo, s);
    session_wait_for(s, WAIT_SPF_HELO);
}

/* ---- AUTH ---- */

static void on_offer(void *arg)
{
    struct session *s = arg;

    s->probe = NULL;
    session_got(s, WAIT_OFFER);
}

static void on_heard(void *arg)
{
    session_got(arg, WAIT_OFFER);
}

/* Who does not find what his message needs gives up, so the first EHLO waits for a backend's. And of who finds no AUTH so
 * does now and then another, for the backend may have been ill when it was heard, or been told to take logins since. */
void check_offer(struct session *s)
{
    if (s->event.command->verb == SMTP_EHLO && hearing_wait(s->service->hearing, &s->hearing, on_heard, s)) {
        session_wait_for(s, WAIT_OFFER);
        return;
    }
    if (!session_takes_logins(s) || backends_offer(s->service->backends).auth[0] != '\0')
        return;
    s->probe = login_probe_start(backends_unknown(s->service->backends), on_offer, s);
    if (s->probe != NULL)
        session_wait_for(s, WAIT_OFFER);
}

/* ---- MAIL ---- */

static void on_spf(const struct spf_answer *answer, void *arg)
{
    struct session *s = arg;

    s->tx->spf = NULL;
    s->facts.transaction.spf = answer;
    session_got(s, WAIT_SPF);
}

/* The null sender has the SPF of postmaster@HELO (RFC 7208 2.4), which is being asked already. */
void check_spf(struct session *s)
{
    const struct transaction_facts *f = &s->facts.transaction;
    struct spf_ask ask;

    if (!session_is_inbound(s) || s->service->config->spf.mode == MODE_OFF || f->null_sender ||
        f->sender.kind != SMTP_DOMAIN_NAME)
        return;
    ask = spf_ask(s, SPF_MFROM, str_dup(s->tx->mem, f->sender.text));
    s->tx->spf = spf_start(s->tx->mem, s->service->dns, &ask, on_spf, s);
    session_wait_for(s, WAIT_SPF);
}

static void ask_sender_domain(struct session *s, enum dns_type type);

static bool is_null_mx(const struct dns_answer *answer)
{
    return answer->type == DNS_MX && answer->count == 1 && strcmp(answer->records[0].name, ".") == 0;
}

/* RFC 5321 5.1: MX, else the addresses of the name itself. */
static void on_sender_domain(const struct dns_answer *answer, void *arg)
{
    struct session *s = arg;
    enum sender_domain state = SENDER_MISSING;

    s->tx->sender_query = NULL;
    if (answer->status == DNS_OK)
        state = is_null_mx(answer) ? SENDER_NULL_MX : SENDER_EXISTS;
    else if (dns_is_temporary(answer->status))
        state = SENDER_TEMPERROR;
    else if (answer->status == DNS_NODATA && answer->type != DNS_AAAA) {
        ask_sender_domain(s, answer->type == DNS_MX ? DNS_A : DNS_AAAA);
        return;
    }
    s->facts.transaction.sender_domain = state;
    session_got(s, WAIT_SENDER);
}

static void ask_sender_domain(struct session *s, enum dns_type type)
{
    const char *domain = mailbox_domain_to_ascii(s->tx->mem, s->facts.transaction.sender.domain);

    s->tx->sender_query = dns_query(s->service->dns, type, domain != NULL ? domain : "", on_sender_domain, s);
}

void check_sender_domain(struct session *s)
{
    const struct transaction_facts *f = &s->facts.transaction;

    if (!session_is_inbound(s) || s->service->config->screen.sender_domain == MODE_OFF ||
        f->sender.kind != SMTP_DOMAIN_NAME)
        return;
    ask_sender_domain(s, DNS_MX);
    session_wait_for(s, WAIT_SENDER);
}

/* ---- RCPT ---- */

/* <postmaster> without a domain is our own (RFC 5321 4.5.1). In the settings domains stand as A-labels; with SMTPUTF8 a
 * U-label is the same name (RFC 6531 3.2). */
static void look_up_address(struct session *s, struct recipient_facts *f)
{
    const struct domain_settings *domains = &s->service->config->domains;
    struct str domain = f->address.domain;

    f->ours = f->address.kind == SMTP_DOMAIN_NONE;
    if (f->address.kind != SMTP_DOMAIN_NAME)
        return;
    if (s->tx->smtputf8)
        domain = str_of(mailbox_domain_to_ascii(s->tx->mem, domain));
    f->ours = domain_settings_has(domains, domain);
    f->unlisted = f->ours && domains->recipients == RECIPIENTS_FILE &&
                  !domain_settings_lists(domains, f->address.local, domain);
}

void check_recipient(struct session *s)
{
    struct recipient_facts *f = &s->facts.recipient;
    const struct smtp_address *address = &s->event.command->address;

    *f = (struct recipient_facts){.address = *address};
    s->facts.session.dns_sick = resolver_health(s->service->dns).sick;
    look_up_address(s, f);
    f->postmaster = f->ours && str_same_z(address->local, "postmaster");
    if (s->facts.transaction.null_sender)
        s->facts.transaction.spf = s->facts.session.spf_helo;
}

/* ---- greylisting ---- */

static void on_grey(const struct grey_answer *answer, void *arg)
{
    struct session *s = arg;
    struct grey_answer *copy = ARENA_NEW(s->tx->mem, struct grey_answer);

    s->tx->grey = NULL;
    *copy = *answer;
    s->facts.recipient.grey = copy;
    session_got(s, WAIT_GREY);
}

static struct grey_client grey_client(const struct session *s)
{
    const struct spf_answer *spf = s->facts.transaction.spf;
    const struct session_facts *f = &s->facts.session;

    return (struct grey_client){.ip = f->client,
                                .verified_host = f->rdns == RDNS_VERIFIED ? f->rdns_name : NULL,
                                .spf_domain = spf != NULL && spf->result == SPF_PASS ? spf->domain : NULL};
}

void check_greylist(struct session *s)
{
    const struct grey_settings *settings = &s->service->config->greylist;
    struct grey_client client = grey_client(s);
    struct grey_ask ask = {.sender = s->facts.transaction.sender.text,
                           .recipient = s->facts.recipient.address.text,
                           .now_unix = clock_unix(s->service->clock)};

    if (!session_is_inbound(s) || settings->mode == MODE_OFF || s->facts.recipient.postmaster)
        return;
    s->tx->suspicion = decide_is_suspicious(s->service->config, &s->facts);
    if (s->tx->suspicion == NULL)
        return;
    if (grey_is_allowed(settings, &client, ask.recipient)) {
        s->tx->suspicion = NULL;
        return;
    }
    ask.identity = grey_identity(s->tx->mem, settings, &client);
    ask.network = grey_network_identity(s->tx->mem, settings, &client.ip);
    s->tx->grey = grey_start(s->tx->mem, s->service->store, s->service->loop, settings, &ask, on_grey, s);
    session_wait_for(s, WAIT_GREY);
}

/* ---- the message ---- */

static void on_dkim(const struct dkim_answer *answer, void *arg)
{
    struct session *s = arg;

    s->facts.message.dkim = answer;
    session_got(s, WAIT_DKIM);
}

static void on_arc(const struct arc_answer *answer, void *arg)
{
    struct session *s = arg;

    s->facts.message.arc = answer;
    session_got(s, WAIT_ARC);
}

void check_body(struct session *s)
{
    struct intake *intake = s->tx->intake;

    s->facts.session.dns_sick = resolver_health(s->service->dns).sick;
    if (intake->signer != NULL) {
        intake->signatures = dkim_sign_end(&intake->signer);
        if (intake->signatures.n == 0)
            s->tx->unsigned_why = "our signature is there already";
    }
    if (intake->dkim != NULL) {
        dkim_verify_end(intake->dkim, on_dkim, s);
        session_wait_for(s, WAIT_DKIM);
    }
    if (intake->arc != NULL) {
        arc_verify_end(intake->arc, on_arc, s);
        session_wait_for(s, WAIT_ARC);
    }
}

static void on_alignment(const struct dmarc_evaluation *evaluation, void *arg)
{
    struct session *s = arg;

    s->tx->alignment = NULL;
    s->facts.message.dmarc = evaluation;
    session_got(s, WAIT_ALIGNMENT);
}

void check_alignment(struct session *s)
{
    struct dmarc_ask ask = {.discovery = s->facts.message.discovery,
                            .spf = s->facts.transaction.spf,
                            .dkim = s->facts.message.dkim};

    if (ask.discovery == NULL)
        return;
    s->tx->alignment = dmarc_align_start(s->tx->mem, s->service->dns, &ask, on_alignment, s);
    session_wait_for(s, WAIT_ALIGNMENT);
}

/* ---- when time is up ---- */

static void give_up_dmarc(struct session *s)
{
    static const struct dmarc_evaluation ran_out = {.result = DMARC_TEMPERROR,
                                                    .reason = "the evaluation took too long"};

    dmarc_cancel(&s->tx->dmarc);
    dmarc_align_cancel(&s->tx->alignment);
    s->facts.message.dmarc = &ran_out;
}

static void give_up_offer(struct session *s)
{
    hearing_cancel(&s->hearing);
    login_probe_cancel(&s->probe);
}

static void give_up_session(struct session *s, unsigned what)
{
    if (what & WAIT_RDNS) {
        dns_cancel(&s->rdns_query);
        dns_cancel(&s->forward_query);
        s->facts.session.rdns = RDNS_TEMPERROR;
    }
    if (what & WAIT_OFFER)
        give_up_offer(s);
    if (what & WAIT_SPF_HELO) {
        s->facts.session.spf_helo = spf_finish(&s->spf_helo);
        if (s->facts.transaction.null_sender)
            s->facts.transaction.spf = s->facts.session.spf_helo;
    }
}

void checks_give_up(struct session *s, unsigned what)
{
    static const struct grey_answer unanswered = {.verdict = GREY_UNANSWERED};

    what &= s->waits;
    session_heard(s, what);
    give_up_session(s, what);
    lists_give_up(s, what);
    if (what & WAIT_SPF) {
        s->facts.transaction.spf = spf_finish(&s->tx->spf);
    }
    if (what & WAIT_SENDER) {
        dns_cancel(&s->tx->sender_query);
        s->facts.transaction.sender_domain = SENDER_TEMPERROR;
    }
    if (what & WAIT_GREY) {
        grey_cancel(&s->tx->grey);
        s->facts.recipient.grey = &unanswered;
    }
    if (what & WAIT_ARC)
        s->facts.message.arc = arc_verify_finish(&s->tx->intake->arc);
    if (what & WAIT_DKIM)
        s->facts.message.dkim = dkim_verify_finish(&s->tx->intake->dkim);
    if (what & (WAIT_DMARC | WAIT_ALIGNMENT))
        give_up_dmarc(s);
}

void checks_cancel_transaction(struct session *s)
{
    struct transaction *tx = s->tx;

    spf_cancel(&tx->spf);
    dns_cancel(&tx->sender_query);
    grey_cancel(&tx->grey);
    lists_cancel_transaction(s);
    store_cancel(&tx->recall);
    dmarc_cancel(&tx->dmarc);
    dmarc_align_cancel(&tx->alignment);
    s->waits &=
        ~(unsigned)(WAIT_SPF | WAIT_SENDER | WAIT_GREY | WAIT_DKIM | WAIT_DMARC | WAIT_ALIGNMENT |
                    WAIT_BACKEND | WAIT_DOMAINS | WAIT_FROM_DOMAIN | WAIT_SPOOL | WAIT_ARC);
}

void checks_cancel_session(struct session *s)
{
    dns_cancel(&s->rdns_query);
    dns_cancel(&s->forward_query);
    lists_cancel_session(s);
    spf_cancel(&s->spf_helo);
    store_cancel(&s->history);
    give_up_offer(s);
    s->waits = 0;
}
