#include "proxy/session_in.h"

/*
 * The DNS lists: what they say of the client, of the domains of a transaction, and of the From domain of a message. Each time
 * all lists are asked at once, under one deadline; a list that has not answered by then is an error of its own, and the answers
 * of the others count.
 */

/* ---- the client's address ---- */

static void got_lists(struct session *s, const struct dnsbl_answer *answer)
{
    timer_stop(&s->lists_deadline);
    s->facts.session.dnsbl = answer;
    session_got(s, WAIT_DNSBL);
}

static void on_dnsbl(const struct dnsbl_answer *answer, void *arg)
{
    struct session *s = arg;

    s->lists = NULL;
    got_lists(s, answer);
}

static void on_lists_deadline(void *arg)
{
    struct session *s = arg;

    if (s->lists != NULL)
        got_lists(s, dnsbl_finish(&s->lists));
}

void check_dnsbl(struct session *s)
{
    const struct dnsbl_settings *settings = &s->service->config->dnsbl;

    if (!session_is_inbound(s) || settings->mode == MODE_OFF || settings->lists_count == 0)
        return;
    s->lists =
        dnsbl_start(s->mem, s->service->dns, s->service->health, settings->lists, settings->lists_count,
                    &s->facts.session.client, loop_now_ms(s->service->loop), on_dnsbl, s);
    dnsbl_enough(s->lists, settings->reject_score);
    timer_start(&s->lists_deadline, s->service->loop, settings->deadline_ms, on_lists_deadline, s);
    session_wait_for(s, WAIT_DNSBL);
}

/* ---- domains of the transaction ---- */

static bool has_domain_lists(const struct dnsbl_settings *settings)
{
    for (size_t i = 0; settings->mode != MODE_OFF && i < settings->lists_count; i++)
        if (settings->lists[i].kind == DNSBL_OF_DOMAINS)
            return true;
    return false;
}

static struct dnsbl_query *ask_domain_lists(struct session *s, const char *const *names, size_t count,
                                            dnsbl_done_fn *done)
{
    const struct dnsbl_settings *settings = &s->service->config->dnsbl;

    return dnsbl_domain_start(s->tx->mem, s->service->dns, s->service->health, settings->lists,
                              settings->lists_count, names, count, loop_now_ms(s->service->loop), done, s);
}

static void on_domains(const struct dnsbl_answer *answer, void *arg)
{
    struct session *s = arg;

    timer_stop(&s->tx->domains_deadline);
    s->tx->domains = NULL;
    s->facts.transaction.domains = answer;
    session_got(s, WAIT_DOMAINS);
}

static void on_domains_deadline(void *arg)
{
    struct session *s = arg;

    on_domains(dnsbl_finish(&s->tx->domains), s);
}

/* The PTR's name is asked for when it is there by now; as a rule it has come long before MAIL. */
void check_domains(struct session *s)
{
    const struct smtp_address *sender = &s->facts.transaction.sender;
    const char *names[3];
    size_t count = 0;

    if (!session_is_inbound(s) || !has_domain_lists(&s->service->config->dnsbl))
        return;
    if (s->facts.session.helo_form == HELO_NAME)
        names[count++] = s->facts.session.helo;
    if (s->facts.session.rdns_name != NULL)
        names[count++] = s->facts.session.rdns_name;
    if (sender->kind == SMTP_DOMAIN_NAME)
        names[count++] = str_dup(s->tx->mem, sender->domain);
    s->tx->domains = ask_domain_lists(s, names, count, on_domains);
    timer_start(&s->tx->domains_deadline, s->service->loop, s->service->config->dnsbl.deadline_ms,
                on_domains_deadline, s);
    session_wait_for(s, WAIT_DOMAINS);
}

/* ---- the domain of From ---- */

static void on_from_domain(const struct dnsbl_answer *answer, void *arg)
{
    struct session *s = arg;

    timer_stop(&s->tx->from_domain_deadline);
    s->tx->from_domain = NULL;
    s->facts.message.domains = answer;
    session_got(s, WAIT_FROM_DOMAIN);
}

static void on_from_domain_deadline(void *arg)
{
    struct session *s = arg;

    on_from_domain(dnsbl_finish(&s->tx->from_domain), s);
}

/* Asked as soon as the header section is complete. */
void check_from_domain(struct session *s)
{
    const char *const name = s->facts.message.from_domain;

    if (name == NULL || !has_domain_lists(&s->service->config->dnsbl))
        return;
    s->tx->from_domain = ask_domain_lists(s, &name, 1, on_from_domain);
    timer_start(&s->tx->from_domain_deadline, s->service->loop, s->service->config->dnsbl.deadline_ms,
                on_from_domain_deadline, s);
    session_wait_for(s, WAIT_FROM_DOMAIN);
}

/* ---- when time is up, and at the end ---- */

void lists_give_up(struct session *s, unsigned what)
{
    if ((what & WAIT_DNSBL) && s->lists != NULL) {
        timer_stop(&s->lists_deadline);
        s->facts.session.dnsbl = dnsbl_finish(&s->lists);
    }
    if ((what & WAIT_DOMAINS) && s->tx->domains != NULL) {
        timer_stop(&s->tx->domains_deadline);
        s->facts.transaction.domains = dnsbl_finish(&s->tx->domains);
    }
    if ((what & WAIT_FROM_DOMAIN) && s->tx->from_domain != NULL) {
        timer_stop(&s->tx->from_domain_deadline);
        s->facts.message.domains = dnsbl_finish(&s->tx->from_domain);
    }
}

void lists_cancel_transaction(struct session *s)
{
    dnsbl_cancel(&s->tx->domains);
    dnsbl_cancel(&s->tx->from_domain);
    timer_stop(&s->tx->domains_deadline);
    timer_stop(&s->tx->from_domain_deadline);
}

void lists_cancel_session(struct session *s)
{
    dnsbl_cancel(&s->lists);
    timer_stop(&s->lists_deadline);
}
