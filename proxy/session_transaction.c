#include "proxy/session_in.h"

#include "proxy/decision.h"

/* ---- MAIL ---- */

/* The answer that ended it may still be on the stack. */
void reset_transaction(struct session *s)
{
    struct transaction *tx = s->tx;

    if (tx == NULL)
        return;
    decided_transaction(s);
    checks_cancel_transaction(s);
    relay_close(&tx->relay);
    timer_stop(&s->budget); /* on_rate(), when RSET comes between two chunks */
    intake_free(s);
    buf_fini(&tx->trace);
    buf_fini(&tx->told);
    s->tx = NULL;
    session_bury(s, tx->mem);
    s->facts.transaction = (struct transaction_facts){0};
    s->facts.recipient = (struct recipient_facts){0};
    s->facts.message = (struct message_facts){0};
}

static struct smtp_address copy_address(struct arena *mem, const struct smtp_address *from)
{
    struct smtp_address to = *from;

    to.text = str_copy(mem, from->text);
    if (from->domain.n > 0) /* both are parts of text */
        to.domain = str_from(to.text, to.text.n - from->domain.n);
    to.local = str_upto(to.text, from->local.n);
    return to;
}

/* What the sender wants to hear of the delivery (RFC 3461) is the backend's matter. */
static struct str dsn_parameters(struct arena *mem, const struct smtp_command *command)
{
    static const struct smtp_offer dsn_only = {.dsn = true};
    struct str parameters;
    struct buf text;

    buf_init(&text, SMTP_PARAMETERS_MAX);
    smtp_command_pass_on(command, &dsn_only, &text);
    parameters = str_copy(mem, buf_str(&text));
    buf_fini(&text);
    return parameters;
}

void open_transaction(struct session *s)
{
    struct arena *mem = arena_new(2048);
    struct transaction *tx = ARENA_NEW(mem, struct transaction);
    struct transaction_facts *f = &s->facts.transaction;

    reset_transaction(s);
    tx->mem = mem;
    tx->recipients_end = &tx->recipients;
    buf_init(&tx->told, DECISION_RECIPIENTS_BYTES_MAX);
    tx->begun_ms = loop_now_ms(s->service->loop);
    tx->declared_size = s->event.command->size;
    tx->eightbit = s->event.command->body == SMTP_BODY_8BITMIME;
    tx->binary = s->event.command->body == SMTP_BODY_BINARYMIME;
    tx->smtputf8 = s->event.command->smtputf8;
    tx->requiretls = s->event.command->requiretls;
    tx->dsn = dsn_parameters(mem, s->event.command);
    s->tx = tx;
    s->messages++;
    s->reply_enhanced = "2.1.0";
    f->sender = copy_address(mem, &s->event.command->address);
    f->null_sender = f->sender.text.n == 0;
}

/* ---- RCPT ---- */

static void keep_reply(struct session *s, const struct relay_reply *reply)
{
    s->reply_code = reply->code;
    s->reply_enhanced = str_dup(s->tx->mem, str_of(session_enhanced_of(reply)));
    s->reply_text = str_copy(s->tx->mem, reply->text);
    if (reply->backend != NULL)
        s->tx->backend = reply->backend;
}

static void on_relay_answer(const struct relay_reply *reply, void *arg)
{
    struct session *s = arg;

    keep_reply(s, reply);
    if (s->event.kind == SMTP_EV_RCPT && recipients_heard(s, reply))
        return;
    session_got(s, WAIT_BACKEND);
}

/* The backend answers for itself, so unknown users are refused while the client waits, and nothing ever
 * bounces. */
void act_rcpt(struct session *s)
{
    struct relay_ask who = {
        .client = session_identity(s->tx->mem, s),
        .own = s->facts.session.authenticated ? login_link(s->login) : NULL,
        .mail_from = s->facts.transaction.sender.text,
        .size = s->tx->declared_size,
        .eightbit = s->tx->eightbit || s->tx->smtputf8,
        .binary = s->tx->binary,
        .smtputf8 = s->tx->smtputf8,
        .requiretls = s->tx->requiretls,
        .dsn = s->tx->dsn,
    };

    if (s->tx->relay == NULL)
        s->tx->relay = relay_open(s->tx->mem, s->service->backends, &who, on_relay_answer, s);
    session_wait_for(s, WAIT_BACKEND);
    relay_rcpt(s->tx->relay, str_copy(s->tx->mem, s->facts.recipient.address.text),
               dsn_parameters(s->tx->mem, s->event.command));
}

static void add_recipient(struct session *s)
{
    struct recipient *r = ARENA_NEW(s->tx->mem, struct recipient);

    r->address = str_copy(s->tx->mem, s->facts.recipient.address.text);
    s->facts.transaction.to_postmaster |= s->facts.recipient.postmaster;
    *s->tx->recipients_end = r;
    s->tx->recipients_end = &r->next;
    s->tx->accepted++;
}

void answer_rcpt(struct session *s)
{
    const struct verdict *v = &s->verdict;

    record_recipient(s);
    decided_recipient(s);
    if (verdict_refuses(v)) {
        smtp_server_answer(s->server, v->code, v->enhanced, str_of(v->text));
        return;
    }
    if (s->reply_code < 300)
        add_recipient(s);
    smtp_server_answer(s->server, s->reply_code, s->reply_enhanced, s->reply_text);
}
