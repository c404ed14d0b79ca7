#include "proxy/relay_in.h"

#include "base/log.h"

#include <stdio.h>
#include <string.h>

/*
 * A relay is one transaction's view of a link (proxy/link.h), with the memory of what has been answered.
 *
 * A road not taken: speaking to two backends in one transaction (a 4xx after one of them has taken the
 * message would make a duplicate).
 */

static void on_again(void *arg);

static void answer_soon(struct relay *relay)
{
    later_start(&relay->again, backends_loop(relay->backends), on_again, relay);
}

void relay_over(struct relay *relay)
{
    relay->state = RELAY_OVER;
    answer_soon(relay);
}

/* ---- answers to the session ---- */

/* A backend that closes its session with us (421) does not close the client's. */
static void give(struct relay *relay, const struct relay_reply *reply)
{
    struct relay_reply out = *reply;

    if (out.code == 421)
        out.code = 451;
    relay->answered = true;
    relay->answer(&out, relay->arg);
}

static void give_ours(struct relay *relay, const char *text)
{
    struct relay_reply reply = {.code = 451,
                                .enhanced = "4.3.0",
                                .text = str_of(text),
                                .ours = true,
                                .backend = relay->link != NULL ? relay->backend->settings->address : NULL};

    give(relay, &reply);
}

/* 530 asks for STARTTLS or a login (RFC 3207 4, RFC 4954 6) from whoever talks to the backend, and that is us: our settings
 * lack it, and no client can help it. */
enum { WANTS_MORE_OF_US = 530 };
static const char wants_more[] = "The mail server behind this one wants TLS or a login from it";

static void give_reply(struct relay *relay, const struct smtp_reply *reply)
{
    char enhanced[16];
    struct relay_reply out = {.code = reply->code,
                              .enhanced = enhanced,
                              .text = reply->text,
                              .backend = relay->backend->settings->address};

    if (reply->code == WANTS_MORE_OF_US) {
        give_ours(relay, wants_more);
        return;
    }
    snprintf(enhanced, sizeof(enhanced), "%.*s", STR_ARG(reply->enhanced));
    give(relay, &out);
}

/* What MAIL got. */
static void give_refusal(struct relay *relay)
{
    struct relay_reply reply = {.code = relay->refused_code,
                                .enhanced = relay->refused_enhanced,
                                .text = relay->refused_text,
                                .of_sender = true,
                                .backend = relay->backend->settings->address};

    if (relay->refused_code == WANTS_MORE_OF_US)
        give_ours(relay, wants_more);
    else
        give(relay, &reply);
}

/* Beside the transaction: what was said so far stays as it is, and another connection may still be tried. */
static void give_aside(struct relay *relay)
{
    struct relay_reply reply = relay->aside;

    relay->aside = (struct relay_reply){0};
    reply.ours = true;
    reply.backend = relay->link != NULL ? relay->backend->settings->address : NULL;
    relay->answer(&reply, relay->arg);
}

static void answer_aside(struct relay *relay, int code, const char *enhanced, const char *text)
{
    relay->aside = (struct relay_reply){.code = code, .enhanced = enhanced, .text = str_of(text)};
    answer_soon(relay);
}

static void answer_alone(struct relay *relay)
{
    answer_aside(relay, 452, "4.5.3", "This recipient is taken by himself, send him the message separately");
}

/* ---- MAIL and RCPT ---- */

static bool speaks_lmtp(const struct relay *relay)
{
    return relay->backend->settings->protocol == PROTOCOL_LMTP;
}

static void put_rcpt(struct relay *relay, struct str recipient, struct str dsn)
{
    smtp_client_rcpt(link_dialogue(relay->link), recipient, link_can(relay->link)->dsn ? dsn : STR(""));
}

static void say_rcpt(struct relay *relay)
{
    put_rcpt(relay, relay->recipient, relay->recipient_dsn);
    link_flush(relay->link);
}

static void put_mail(struct relay *relay)
{
    struct str dsn = link_can(relay->link)->dsn ? relay->ask.dsn : STR("");
    const char *parameters = str_fmt(relay->mem, "%s%s%s%.*s", relay->ask.binary ? " BODY=BINARYMIME" : "",
                                     relay->ask.smtputf8 ? " SMTPUTF8" : "",
                                     relay->ask.requiretls ? " REQUIRETLS" : "", STR_ARG(dsn));

    smtp_client_mail(link_dialogue(relay->link), relay->ask.mail_from, relay->ask.size, relay->ask.eightbit,
                     str_of(parameters));
}

/* With the first recipient. */
static void say_mail(struct relay *relay)
{
    put_mail(relay);
    say_rcpt(relay);
}

static void refuse(struct relay *relay, const struct lack *lack)
{
    relay->refused_code = lack->code;
    relay->refused_enhanced = lack->enhanced;
    relay->refused_text = str_of(lack->text);
    relay->state = RELAY_OPEN;
    answer_soon(relay);
}

/* ---- LMTP: who travels alone ---- */

static struct partial_pair pair_of(const struct relay *relay, struct str recipient)
{
    return (struct partial_pair){relay->ask.mail_from, recipient};
}

static void on_alone(bool yes, void *arg)
{
    struct relay *relay = arg;

    relay->asking = NULL;
    relay->alone = yes;
    if (!relay->answered) {
        say_mail(relay);
    } else if (yes && relay->addressees.count > 0) {
        relay->state = RELAY_OPEN;
        answer_alone(relay);
    } else {
        say_rcpt(relay);
    }
}

static void begin_rcpt(struct relay *relay)
{
    struct partial_pair pair = pair_of(relay, relay->recipient);

    if (speaks_lmtp(relay))
        relay->asking = partials_ask_alone(backends_partials(relay->backends), backends_loop(relay->backends),
                                           relay->mem, &pair, on_alone, relay);
    else if (!relay->answered)
        say_mail(relay);
    else
        say_rcpt(relay);
}

/* ---- replies to MAIL and RCPT ---- */

/* NULL: the next hop can take it as it is. Nothing is ever downgraded (RFC 6531 3.2, RFC 3030 3, RFC 8689 4.2.1). */
static const struct lack *lack_of(const struct relay *relay)
{
    static const struct lack smtputf8 = {
        550, "5.6.7", "The mail server behind this one does not take internationalized mail (SMTPUTF8)"};
    static const struct lack binarymime = {
        554, "5.6.3", "The mail server behind this one does not take binary mail (BINARYMIME)"};
    static const struct lack requiretls = {550, "5.7.30",
                                           "The mail server behind this one does not keep REQUIRETLS"};
    const struct smtp_capabilities *can = link_can(relay->link);

    if (relay->ask.smtputf8 && !can->smtputf8)
        return &smtputf8;
    if (relay->ask.binary && !(can->binarymime && can->chunking))
        return &binarymime;
    return relay->ask.requiretls && !link_keeps_requiretls(relay->link) ? &requiretls : NULL;
}

/* The transaction anew, as far as it had come. */
static void replay(struct relay *relay)
{
    put_mail(relay);
    for (const struct accepted *a = relay->first; a != NULL; a = a->next)
        put_rcpt(relay, a->recipient, a->dsn);
    relay->replays_due = relay->accepted;
    link_flush(relay->link);
}

/* What this backend lacks another may have. */
static void on_ready(void *arg)
{
    struct relay *relay = arg;

    relay->lack = lack_of(relay);
    if (relay->state == RELAY_REPLAYS && relay->lack == NULL) {
        replay(relay);
        return;
    }
    if (relay->state == RELAY_REPLAYS) {
        link_rest(&relay->link);
        relay_over(relay);
        return;
    }
    if (relay->lack == NULL) {
        begin_rcpt(relay);
    } else if (relay->ask.own != NULL) {
        refuse(relay, relay->lack);
    } else {
        link_rest(&relay->link);
        answer_soon(relay);
    }
}

static void on_mail(struct relay *relay, const struct smtp_reply *reply)
{
    if (reply->code < 300)
        return; /* the recipient's answer follows */
    relay->refused_code = reply->code;
    relay->refused_enhanced = str_dup(relay->mem, reply->enhanced);
    relay->refused_text = str_copy(relay->mem, reply->text);
}

static void remember(struct relay *relay)
{
    struct accepted *a = ARENA_NEW(relay->mem, struct accepted);

    *a = (struct accepted){.recipient = relay->recipient, .dsn = relay->recipient_dsn};
    *relay->end = a;
    relay->end = &a->next;
    relay->accepted++;
}

static void begin_message(struct relay *relay);

/* All are taken once more, or the message comes again. */
static void on_replayed(struct relay *relay, const struct smtp_reply *reply)
{
    if (reply->code >= 300 && relay->refused_code == 0)
        relay->refused_code = reply->code;
    if (--relay->replays_due > 0)
        return;
    if (relay->refused_code == 0 && relay->message.pieces != NULL) {
        begin_message(relay);
        return;
    }
    if (relay->refused_code == 0) {
        relay->state = RELAY_WAITS_RCPT;
        begin_rcpt(relay);
        return;
    }
    relay->refused_code = 0;
    link_reset(&relay->link);
    relay_over(relay);
}

static void on_rcpt(struct relay *relay, const struct smtp_reply *reply)
{
    if (relay->state == RELAY_REPLAYS) {
        on_replayed(relay, reply);
        return;
    }
    relay->state = RELAY_OPEN;
    if (relay->refused_code != 0) {
        give_refusal(relay);
        return;
    }
    if (reply->code < 300)
        remember(relay);
    if (reply->code < 300 && speaks_lmtp(relay))
        addressees_add(&relay->addressees, relay->recipient, relay->alone);
    give_reply(relay, reply);
}

/* ---- the message ---- */

static void on_data_answer(struct relay *relay, const struct smtp_reply *reply)
{
    if (reply->code == 354) {
        relay_send_lines(relay);
        return;
    }
    relay->state = RELAY_OVER;
    give_reply(relay, reply);
}

/* ---- LMTP: the message for some ---- */

/* The client sends it again, and by then its recipients must be known: they are in the store before it hears so. */
static void on_noted(void *arg)
{
    struct relay *relay = arg;
    struct relay_reply reply = {
        .code = 451,
        .enhanced = "4.3.0",
        .text = STR("Taken for some of the recipients, send it again: nobody gets it twice"),
        .ours = true,
        .backend = relay->backend->settings->address,
    };

    give(relay, &reply);
}

/* False: all are in one case. True: the answer follows. */
static bool note_divided(struct relay *relay)
{
    const struct addressees_place place = {backends_partials(relay->backends), backends_loop(relay->backends),
                                           relay->ask.mail_from, relay->message.digest};

    if (!addressees_are_divided(&relay->addressees))
        return false;
    addressees_note(&relay->addressees, &place, on_noted, relay);
    log_note(LOG_WARNING, "backend.partial",
             "%s has taken a message for %u of %u recipients: the client is asked to send it again, and each "
             "then hears his own reply",
             relay->backend->settings->address, addressees_taken(&relay->addressees),
             relay->addressees.count);
    return true;
}

/* ---- the reply to the message ---- */

static void on_message(struct relay *relay, const struct smtp_reply *reply)
{
    struct relay_reply copy = {.code = reply->code,
                               .enhanced = str_dup(relay->mem, reply->enhanced),
                               .text = str_copy(relay->mem, reply->text),
                               .backend = relay->backend->settings->address};

    if (relay->addressees.due != NULL) {
        if (!addressees_heard(&relay->addressees, &copy))
            return;
        copy = *addressees_answer(&relay->addressees);
    }
    /* A chunk can be refused before all of it was sent; nothing can be taken before. */
    bool unfinished = relay->state == RELAY_SENDING || conn_queued(link_conn(relay->link)) > 0;

    if (unfinished && reply->code < 300) {
        link_fail(relay->link, "it took a message that was not sent yet");
        return;
    }
    relay->state = RELAY_OVER;
    if (unfinished)
        link_close(&relay->link);
    else
        link_rest(&relay->link); /* first: the answer may end the session, and then it must be back already */
    if (!note_divided(relay))
        give(relay, &copy);
}

/* ---- the link's events ---- */

static void on_reply(const struct smtp_client_event *event, void *arg)
{
    struct relay *relay = arg;

    switch (event->kind) {
    case SMTP_CLIENT_MAIL:
        on_mail(relay, &event->reply);
        break;
    case SMTP_CLIENT_RCPT:
        on_rcpt(relay, &event->reply);
        break;
    case SMTP_CLIENT_DATA:
        on_data_answer(relay, &event->reply);
        break;
    case SMTP_CLIENT_NOOP:
        if (relay->state == RELAY_WAITS_NOOP)
            begin_message(relay);
        break;
    default:
        on_message(relay, &event->reply);
        break;
    }
}

static void on_drain(void *arg)
{
    relay_send_on(arg);
}

static bool is_waiting(const struct relay *relay)
{
    switch (relay->state) {
    case RELAY_WAITS_RCPT:
    case RELAY_REPLAYS:
    case RELAY_WAITS_NOOP:
    case RELAY_WAITS_DATA:
    case RELAY_SENDING:
    case RELAY_WAITS_MESSAGE:
        return true;
    default:
        return false;
    }
}

/* Another connection may hear all of it again. A login's may not be replaced. */
static bool may_replay(const struct relay *relay)
{
    return (relay->state == RELAY_OPEN || relay->state == RELAY_REPLAYS) && relay->accepted > 0 &&
           relay->ask.own == NULL;
}

/* Before the session heard anything, another link may do the same work. */
static void on_broke(bool stale, void *arg)
{
    struct relay *relay = arg;
    bool waiting = is_waiting(relay);

    relay->link = NULL;
    partial_cancel(&relay->asking);
    if (stale)
        relay->tried[relay->backend->number] = false; /* the backend itself has not failed */
    else
        relay->unreached = true;
    if (stale && may_replay(relay))
        relay->state = RELAY_LEFT;
    else if (relay->answered || relay->state != RELAY_WAITS_RCPT)
        relay->state = RELAY_OVER;
    if (waiting && !note_divided(relay))
        answer_soon(relay);
}

static const struct link_events link_events = {on_ready, on_reply, on_drain, on_broke};

/* ---- finding a link ---- */

static void borrow_link(struct relay *relay)
{
    relay->link = *relay->ask.own;
    if (relay->link == NULL) {
        relay->state = RELAY_OVER;
        give_ours(relay, "The mail server behind this one has ended your session there, log in again");
        return;
    }
    relay->backend = link_backend(relay->link);
    link_lend(relay->link, &link_events, relay);
}

/* No backend is left to ask. Refused for good is only what none of them would take. */
static void end_search(struct relay *relay)
{
    if (relay->lack != NULL && !relay->unreached) {
        refuse(relay, relay->lack);
        return;
    }
    relay->state = RELAY_OVER;
    give_ours(relay, relay->backend != NULL
                         ? "The mail server behind this one cannot be reached, try again later"
                         : "There is no mail server behind this one for that domain, try again later");
}

static void find_link(struct relay *relay)
{
    struct backend *backend = backends_choose(relay->backends, relay->tried, relay->domain);

    if (backend == NULL) {
        end_search(relay);
        return;
    }
    relay->backend = backend;
    relay->link = link_open(backend, &relay->ask.client, &link_events, relay);
    if (relay->link == NULL)
        relay_over(relay);
}

/* To the same backend, which has taken its recipients. */
static void begin_replay(struct relay *relay)
{
    relay->state = RELAY_REPLAYS;
    relay->link = link_open(relay->backend, &relay->ask.client, &link_events, relay);
    if (relay->link == NULL)
        relay_over(relay);
}

static void on_again(void *arg)
{
    struct relay *relay = arg;

    if (relay->aside.code != 0)
        give_aside(relay);
    else if (relay->state == RELAY_LEFT)
        begin_replay(relay);
    else if (relay->refused_code != 0)
        give_refusal(relay);
    else if (relay->state == RELAY_OVER || relay->answered)
        give_ours(relay, relay->trouble != NULL ? relay->trouble
                                                : "The mail server behind this one is gone, try again later");
    else if (relay->ask.own != NULL)
        borrow_link(relay);
    else
        find_link(relay);
}

/* ---- what the session calls ---- */

struct relay *relay_open(struct arena *mem, struct backends *backends, const struct relay_ask *ask,
                         relay_fn *answer, void *arg)
{
    struct relay *relay = ARENA_NEW(mem, struct relay);

    *relay = (struct relay){.mem = mem,
                            .backends = backends,
                            .ask = *ask,
                            .answer = answer,
                            .arg = arg,
                            .tried = ARENA_ARRAY(mem, bool, backends_count(backends))};
    relay->end = &relay->first;
    addressees_init(&relay->addressees, mem);
    return relay;
}

/* Behind the last "@": a quoted local part may hold others. */
static struct str domain_of(struct str recipient)
{
    for (size_t i = recipient.n; i > 0; i--)
        if (recipient.p[i - 1] == '@')
            return str_from(recipient, i);
    return STR("");
}

/* A login chose its backend once and for all. */
static bool is_elsewhere(const struct relay *relay)
{
    return relay->state != RELAY_UNUSED && relay->ask.own == NULL &&
           (relay->backend == NULL || !backends_serve(relay->backends, relay->backend, relay->domain));
}

/* No recipient was accepted yet, so the transaction may move to another backend as if it began now. */
static void start_over(struct relay *relay)
{
    if (relay->link != NULL)
        link_reset(&relay->link);
    relay->state = RELAY_UNUSED;
    relay->answered = false;
    relay->refused_code = 0;
    relay->trouble = NULL;
    relay->backend = NULL;
    relay->lack = NULL;
    relay->unreached = false;
    memset(relay->tried, 0, backends_count(relay->backends) * sizeof(*relay->tried));
}

void relay_rcpt(struct relay *relay, struct str recipient, struct str dsn)
{
    bool first;

    relay->recipient = recipient;
    relay->recipient_dsn = dsn;
    relay->domain = domain_of(recipient);
    if (is_elsewhere(relay) && relay->accepted > 0) {
        answer_aside(relay, 451, "4.5.3", "Mail for this domain takes another way, send it separately");
        return;
    }
    if (is_elsewhere(relay))
        start_over(relay);
    first = relay->state == RELAY_UNUSED;
    if (first)
        relay->state = RELAY_WAITS_RCPT;
    if (first || relay->state == RELAY_OVER || relay->refused_code != 0) {
        answer_soon(relay);
        return;
    }
    if (relay->addressees.alone) {
        answer_alone(relay);
        return;
    }
    if (relay->state == RELAY_LEFT) {
        answer_soon(relay);
        return;
    }
    if (relay->link == NULL) { /* it broke between two recipients: those before are gone with it */
        relay_over(relay);
        return;
    }
    relay->state = RELAY_WAITS_RCPT;
    begin_rcpt(relay);
}

static void on_taken(bool yes, void *arg)
{
    struct relay *relay = arg;

    relay->asking = NULL;
    if (!yes) {
        relay_send(relay);
        return;
    }
    relay->state = RELAY_OPEN; /* nothing of it was begun */
    answer_aside(relay, 250, "2.0.0", "Taken when it came before");
}

bool relay_wants_digest(const struct relay *relay)
{
    return relay->addressees.count > 1 || relay->addressees.alone;
}

static void begin_message(struct relay *relay)
{
    if (relay->addressees.alone) {
        struct partial_pair pair = pair_of(relay, relay->addressees.first->recipient);

        relay->state = RELAY_WAITS_DATA;
        relay->asking = partials_ask_taken(backends_partials(relay->backends), backends_loop(relay->backends),
                                           relay->mem, &pair, relay->message.digest, on_taken, relay);
        return;
    }
    relay_send(relay);
}

void relay_message(struct relay *relay, const struct relay_message *message)
{
    relay->message = *message;
    if (relay->state == RELAY_LEFT)
        answer_soon(relay);
    else if (relay->link == NULL || relay->state != RELAY_OPEN)
        relay_over(relay);
    else if (smtp_client_replies_due(link_dialogue(relay->link)) > 0)
        relay->state = RELAY_WAITS_NOOP;
    else
        begin_message(relay);
}

void relay_keep_alive(struct relay *relay)
{
    if (relay->ask.own == NULL || relay->link == NULL || relay->state != RELAY_OPEN ||
        smtp_client_replies_due(link_dialogue(relay->link)) > 0)
        return;
    smtp_client_noop(link_dialogue(relay->link));
    link_flush(relay->link);
}

void relay_spool_ready(struct relay *relay)
{
    relay_send_on(relay);
}

void relay_close(struct relay **relay)
{
    struct relay *r = *relay;

    *relay = NULL;
    if (r == NULL)
        return;
    later_cancel(&r->again);
    partial_cancel(&r->asking);
    if (r->state == RELAY_WAITS_MESSAGE && r->link != NULL)
        note_divided(r);
    addressees_cancel(&r->addressees);
    if (r->link == NULL)
        return;
    /* Only a dialogue that owes us nothing can be reset; anything else is cut, so that no late answer is
     * ever taken for that of another message. */
    if (r->state == RELAY_OPEN || r->state == RELAY_OVER)
        link_reset(&r->link);
    else
        link_close(&r->link);
}
