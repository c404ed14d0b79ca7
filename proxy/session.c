#include "proxy/session_in.h"

/*
 * The life of a session.
 *
 * Each row is a moment at which the client waits for our word. A row's checks run side by side; `needs` are
 * the answers that its decision reads (some were started rows before and have come meanwhile); `decide` is
 * pure; `act` does the work when nothing was refused. A row with `then` goes on to that row before the client
 * is answered: RCPT is judged in three steps, so that bots are refused before the greylist is asked, and
 * strangers before the backend is.
 */

enum {
    AT_CONNECT,
    AT_HELO,
    AT_STARTTLS,
    AT_AUTH,
    AT_MAIL,
    AT_RCPT,
    AT_GREYLIST,
    AT_DATA,
    AT_MESSAGE,
    AT_VERDICT,
    NOWHERE
};
enum { CHECKS_A_ROW = 4, HANDSHAKE_MS = 20000, RATE_SPAN_MS = 60000, UNREAD_MAX = 256 * 1024 };
enum { GOOD_RATE = 4096 }; /* octets a second, of a message that may outlast the session's limit */

typedef struct verdict decide_fn(const struct config *config, const struct facts *facts);
typedef void session_fn(struct session *s);

struct stage {
    const char *moment;
    session_fn *checks[CHECKS_A_ROW];
    unsigned needs; /* enum wait: the answers that decide reads */
    decide_fn *decide;
    session_fn *act;
    session_fn *answer;
    int then;
    int budget_ms; /* for needs; what has not come by then is a temperror */
};

static void act_helo(struct session *s);
static void act_starttls(struct session *s);
static void act_data(struct session *s);
static void act_message(struct session *s);
static void answer_greeting(struct session *s);
static void answer_client(struct session *s);
static void answer_message(struct session *s);

#define FOR_RCPT    (WAIT_RDNS | WAIT_DNSBL | WAIT_SPF_HELO | WAIT_SPF | WAIT_SENDER | WAIT_DOMAINS)
#define FOR_MESSAGE (WAIT_SPOOL | WAIT_DKIM | WAIT_ARC | WAIT_DMARC | WAIT_FROM_DOMAIN)

/* clang-format off */
static const struct stage life[] = {
    /* moment, checks, needs,
     *     decide, act, answer, then, budget_ms */
    [AT_CONNECT]  = {"connect", {check_rdns, check_dnsbl, check_banner}, WAIT_BANNER,
                         decide_greeting, NULL, answer_greeting, NOWHERE, 0},
    [AT_HELO]     = {"helo", {check_helo, check_spf_helo, check_offer}, WAIT_OFFER,
                         decide_helo, act_helo, answer_client, NOWHERE, 5000},
    [AT_STARTTLS] = {"starttls", {NULL}, 0,
                         NULL, act_starttls, NULL, NOWHERE, 0},
    [AT_AUTH]     = {"auth", {NULL}, 0,
                         NULL, act_auth, answer_auth, NOWHERE, 0},
    [AT_MAIL]     = {"mail", {open_transaction, check_spf, check_sender_domain, check_domains}, 0,
                         NULL, NULL, answer_client, NOWHERE, 0},
    [AT_RCPT]     = {"rcpt", {check_recipient}, FOR_RCPT,
                         decide_rcpt, NULL, answer_rcpt, AT_GREYLIST, 20000},
    [AT_GREYLIST] = {"greylist", {check_greylist}, WAIT_GREY,
                         decide_greylist, act_rcpt, answer_rcpt, NOWHERE, 2000},
    [AT_DATA]     = {"data", {NULL}, 0,
                         NULL, act_data, answer_client, NOWHERE, 0},
    [AT_MESSAGE]  = {"message", {intake_end, check_body}, FOR_MESSAGE,
                         NULL, NULL, NULL, AT_VERDICT, 20000},
    [AT_VERDICT]  = {"message", {check_alignment}, WAIT_ALIGNMENT,
                         decide_message, act_message, answer_message, NOWHERE, 20000},
};
/* clang-format on */

/* ---- steps ---- */

/* Which fact comes when this has come; FACTS: none that is timed. */
static enum fact fact_of(unsigned wait)
{
    static const enum wait waits[FACTS] = {
        [FACT_RDNS] = WAIT_RDNS,
        [FACT_DNSBL] = WAIT_DNSBL,
        [FACT_SPF_HELO] = WAIT_SPF_HELO,
        [FACT_SPF] = WAIT_SPF,
        [FACT_SENDER] = WAIT_SENDER,
        [FACT_DOMAINS] = WAIT_DOMAINS,
        [FACT_GREY] = WAIT_GREY,
        [FACT_DKIM] = WAIT_DKIM,
        [FACT_ARC] = WAIT_ARC,
        [FACT_DMARC] = WAIT_DMARC,
        [FACT_FROM_DOMAIN] = WAIT_FROM_DOMAIN,
    };
    int i = 0;

    while (i < FACTS && waits[i] != wait)
        i++;
    return (enum fact)i;
}

static uint32_t ms_since_begin(const struct session *s)
{
    return (uint32_t)(loop_now_ms(s->service->loop) - s->begun_ms);
}

/* Until it is known, took_ms has when it was asked for. */
void session_wait_for(struct session *s, enum wait what)
{
    enum fact fact = fact_of(what);

    if (fact < FACTS)
        s->facts.took_ms[fact] = ms_since_begin(s);
    s->waits |= what;
}

void session_heard(struct session *s, unsigned what)
{
    for (unsigned rest = what & s->waits; rest != 0; rest &= rest - 1) {
        enum fact fact = fact_of(rest & -rest);

        if (fact < FACTS)
            s->facts.took_ms[fact] = ms_since_begin(s) - s->facts.took_ms[fact];
    }
    s->waits &= ~what;
}

void session_got(struct session *s, enum wait what)
{
    session_heard(s, what);
    session_step(s);
}

static void on_budget(void *arg)
{
    struct session *s = arg;

    checks_give_up(s, s->stage->needs);
    session_step(s);
}

static void ask(struct session *s)
{
    for (int i = 0; i < CHECKS_A_ROW && s->stage->checks[i] != NULL; i++)
        s->stage->checks[i](s);
    if ((s->waits & s->stage->needs) && s->stage->budget_ms > 0)
        timer_start(&s->budget, s->service->loop, s->stage->budget_ms, on_budget, s);
}

/* The verdict of a row adds to those of the rows before it only what they observed. */
static void decide(struct session *s)
{
    struct verdict before = s->verdict;

    if (!(s->waits & WAIT_TLS)) /* a handshake in front of the greeting keeps its deadline */
        timer_stop(&s->budget);
    if (s->stage->decide == NULL)
        return;
    s->verdict = s->stage->decide(s->service->config, &s->facts);
    for (size_t i = 0; i < before.observed_count && s->verdict.observed_count < VERDICT_OBSERVED; i++)
        s->verdict.observed[s->verdict.observed_count++] = before.observed[i];
}

static void enter(struct session *s, int row)
{
    s->stage = &life[row];
    s->phase = PHASE_ASK;
}

static void begin_stage(struct session *s, int row)
{
    timer_stop(&s->idle);
    s->verdict = (struct verdict){.action = ACTION_ACCEPT};
    s->reply_code = 250;
    s->reply_enhanced = "2.0.0";
    s->reply_text = STR("Ok");
    enter(s, row);
}

static void run_stage(struct session *s)
{
    const struct stage *row = s->stage;

    switch (s->phase++) {
    case PHASE_ASK:
        ask(s);
        break;
    case PHASE_DECIDE:
        decide(s);
        break;
    case PHASE_ACT:
        if (!verdict_refuses(&s->verdict) && row->act != NULL)
            row->act(s);
        break;
    case PHASE_ANSWER:
        if (!verdict_refuses(&s->verdict) && row->then != NOWHERE) {
            enter(s, row->then);
            break;
        }
        s->stage = NULL;
        s->moment = row->moment;
        if (row->answer != NULL)
            row->answer(s);
        break;
    }
}

static bool may_go_on(const struct session *s)
{
    switch (s->phase) {
    case PHASE_ASK:
        return true;
    case PHASE_DECIDE:
        return !(s->waits & s->stage->needs);
    default:
        return !(s->waits & (WAIT_BACKEND | WAIT_TLS));
    }
}

static bool next_event(struct session *s);

/* The only way back in. Whatever was waited for (DNS, timer, store, backend) clears its bit and calls this;
 * nobody else moves a session. Called from inside itself (a check that answers at once), it only notes to
 * look again. */
void session_step(struct session *s)
{
    s->again = true;
    if (s->stepping)
        return;
    s->stepping = true;
    while (s->again && !s->ended) {
        s->again = false;
        while (!s->ended && (s->stage != NULL ? may_go_on(s) : next_event(s)))
            if (s->stage != NULL)
                run_stage(s);
    }
    s->stepping = false;
}

/* ---- at rest: what does the client want? ---- */

static void on_idle(void *arg)
{
    struct session *s = arg;

    smtp_reply_write(&s->out, 421, "4.4.2", STR("Timeout, closing connection"));
    session_end(s, "idle");
}

/* False: the client asks on and on, and does not read what we say. */
static bool send_replies(struct session *s)
{
    bool fits = !s->out.overflow;

    if (!fits)
        buf_clear(&s->out); /* rather nothing than half a reply */
    conn_write_buf(s->conn, &s->out);
    return fits && conn_queued(s->conn) <= UNREAD_MAX;
}

static void end_overdue(struct session *s)
{
    smtp_reply_write(&s->out, 421, "4.4.2", STR("The session took too long, closing connection"));
    session_end(s, "session limit");
}

static bool rest(struct session *s)
{
    if (!send_replies(s)) {
        session_end(s, "it does not read our replies");
        return false;
    }
    if (s->held_back && !s->paused) {
        s->held_back = false;
        conn_resume(s->conn);
    }
    if (s->input_ended) {
        session_end(s, "client closed");
    } else if (s->overdue && s->tx == NULL) {
        end_overdue(s);
    } else if (s->login_lost && s->tx == NULL) {
        smtp_reply_write(&s->out, 421, "4.3.0",
                         STR("The mail server behind this one has ended your session there, log in again"));
        session_end(s, "login lost");
    } else if (s->draining && s->tx == NULL) {
        smtp_reply_write(&s->out, 421, "4.3.2", STR("Restarting, come back in a moment"));
        session_end(s, "drained");
    } else if (!timer_is_started(&s->idle)) {
        timer_start(&s->idle, s->service->loop, s->service->config->limits.idle_ms, on_idle, s);
    }
    return false;
}

/* The session begins anew, as another client's. */
static void take_xclient(struct session *s)
{
    const char *why;

    if (!arrival_introduce(s, &why)) {
        smtp_server_answer(s->server, 501, "", str_of(why));
        return;
    }
    smtp_server_answer(s->server, 220, "", STR(""));
    begin_stage(s, AT_CONNECT);
}

static bool next_event(struct session *s)
{
    if (s->waits & (WAIT_TLS | WAIT_BACKEND))
        return false;
    smtp_server_next(s->server, &s->event);
    switch (s->event.kind) {
    case SMTP_EV_NEED_INPUT:
        return rest(s);
    case SMTP_EV_HELO:
        begin_stage(s, AT_HELO);
        break;
    case SMTP_EV_STARTTLS:
        begin_stage(s, AT_STARTTLS);
        break;
    case SMTP_EV_MAIL:
        begin_stage(s, AT_MAIL);
        break;
    case SMTP_EV_RCPT:
        begin_stage(s, AT_RCPT);
        break;
    case SMTP_EV_DATA:
        begin_stage(s, AT_DATA);
        break;
    case SMTP_EV_MESSAGE:
        begin_stage(s, AT_MESSAGE);
        break;
    case SMTP_EV_XCLIENT:
        take_xclient(s);
        break;
    case SMTP_EV_RESET:
        reset_transaction(s);
        break;
    case SMTP_EV_AUTH:
    case SMTP_EV_RESPONSE:
        begin_stage(s, AT_AUTH);
        break;
    case SMTP_EV_CLOSE:
        session_end(s, s->event.why);
        return false;
    }
    s->commands++;
    return true;
}

/* The answer to the command that waits: the verdict's when it refuses, else what the act left. */
static void answer_client(struct session *s)
{
    const struct verdict *v = &s->verdict;

    record_stage(s, s->moment);
    decided_stage(s, s->moment);
    if (verdict_refuses(v)) {
        smtp_server_answer(s->server, v->code, v->enhanced, str_of(v->text));
    } else {
        smtp_server_answer(s->server, s->reply_code, s->reply_enhanced, s->reply_text);
    }
}

/* ---- connect ---- */

static void answer_greeting(struct session *s)
{
    record_stage(s, s->moment);
    decided_stage(s, s->moment);
    if (!verdict_refuses(&s->verdict)) {
        smtp_server_greet(s->server, 220, "", "");
        return;
    }
    smtp_server_greet(s->server, s->verdict.code, s->verdict.enhanced, s->verdict.text);
}

/* ---- EHLO ---- */

/* A backend may have been heard since this client came. */
static void act_helo(struct session *s)
{
    struct smtp_server_settings settings = arrival_settings(s->service);

    smtp_server_offer(s->server, &settings);
    offer_login(s);
}

/* ---- STARTTLS ---- */

static void on_handshake_late(void *arg)
{
    session_end(arg, "TLS handshake took too long");
}

void session_start_tls(struct session *s)
{
    conn_start_tls_server(s->conn, s->service->tls_server);
    session_wait_for(s, WAIT_TLS);
    timer_start(&s->budget, s->service->loop, HANDSHAKE_MS, on_handshake_late, s);
}

/* The 220 must leave in plaintext before the first byte of the handshake is taken (RFC 3207 4). */
static void act_starttls(struct session *s)
{
    if (s->service->tls_server == NULL) {
        smtp_server_answer(s->server, 454, "4.7.0", STR("TLS is not available now"));
        return;
    }
    smtp_server_answer(s->server, 220, "2.0.0", STR("Ready to start TLS"));
    conn_write_buf(s->conn, &s->out);
    session_start_tls(s);
}

static void on_tls(void *arg)
{
    struct session *s = arg;

    timer_stop(&s->budget);
    reset_transaction(s);
    s->facts.session.helo = NULL;
    s->facts.session.helo_form = HELO_NOT_SEEN;
    smtp_server_tls_started(s->server);
    offer_login(s); /* AUTH before the EHLO that is due is out of sequence, not unknown */
    session_got(s, WAIT_TLS);
}

/* ---- AUTH and RCPT: the backend's word ---- */

/* A backend need not have enhanced codes; we offer them, so each reply has one (RFC 2034 4). "Other, undefined" is what is
 * known then (RFC 3463 3.1). */
const char *session_enhanced_of(const struct relay_reply *reply)
{
    if (*reply->enhanced != '\0' || reply->code / 100 == 3)
        return reply->enhanced;
    return reply->code < 300 ? "2.0.0" : reply->code < 500 ? "4.0.0" : "5.0.0";
}

struct smtp_identity session_identity(struct arena *mem, const struct session *s)
{
    const struct session_facts *f = &s->facts.session;
    struct endpoint here = conn_local(s->conn);

    return (struct smtp_identity){.name = f->rdns == RDNS_VERIFIED ? f->rdns_name : NULL,
                                  .addr = ip_text(mem, &f->client),
                                  .port = f->client_port,
                                  .helo = f->helo,
                                  .esmtp = smtp_server_is_esmtp(s->server),
                                  .dest_addr = here.ip.family != 0 ? ip_text(mem, &here.ip) : NULL,
                                  .dest_port = here.port,
                                  .ident = s->tx != NULL ? session_message_id(s) : NULL,
                                  .is_local = f->trusted};
}

/* ---- DATA ---- */

static void on_rate(void *arg)
{
    struct session *s = arg;
    struct intake *intake = s->tx->intake;

    if (intake->rate_bytes < (uint64_t)s->service->config->limits.data_rate * RATE_SPAN_MS / 1000 &&
        !s->paused) {
        smtp_reply_write(&s->out, 421, "4.4.2", STR("The message comes too slowly, closing connection"));
        session_end(s, "slow data");
        return;
    }
    if (!s->paused)
        intake->span_bytes = intake->rate_bytes;
    intake->rate_bytes = 0;
    relay_keep_alive(s->tx->relay);
    timer_start(&s->budget, s->service->loop, RATE_SPAN_MS, on_rate, s);
}

static void act_data(struct session *s)
{
    intake_begin(s);
    timer_start(&s->budget, s->service->loop, RATE_SPAN_MS, on_rate, s);
    s->reply_code = 354;
    s->reply_enhanced = "";
    s->reply_text = STR("End data with <CR><LF>.<CR><LF>");
}

/* ---- the end of the message ---- */

static void act_message(struct session *s)
{
    struct relay_message message = intake_message(s);

    session_wait_for(s, WAIT_BACKEND);
    relay_message(s->tx->relay, &message);
}

static void answer_message(struct session *s)
{
    const struct verdict *v = &s->verdict;
    bool refused = verdict_refuses(v);
    int code = refused ? v->code : s->reply_code;
    struct str text = refused ? str_of(v->text) : s->reply_text;
    const char *copy = str_dup(s->tx->mem, text);

    if (code < 300)
        history_praise(s);
    counted_message(s);
    smtp_server_answer(s->server, code, refused ? v->enhanced : s->reply_enhanced, text);
    record_message(s, code, copy);
    decided_message(s, code, copy);
    feedback_message(s, code);
    feedback_bounce(s);
    reset_transaction(s);
}

/* ---- the connection ---- */

static void on_data(const char *bytes, size_t n, void *arg)
{
    struct session *s = arg;

    if (s->awaits_proxy) {
        arrival_data(s, bytes, n);
        return;
    }
    if (s->stage == &life[AT_CONNECT]) { /* it talks, and we have not greeted yet */
        s->facts.session.early_talker = true;
        store_cancel(&s->history);
        timer_stop(&s->budget);
        s->waits &= ~(unsigned)WAIT_BANNER;
    }
    timer_stop(&s->idle);
    smtp_server_feed(s->server, bytes, n);
    session_step(s);
    if (s->ended)
        return;
    if (!smtp_server_keep(s->server)) {
        session_end(s, "too much input waits");
        return;
    }
    if (smtp_server_is_full(s->server) && s->stage != NULL) {
        s->held_back = true; /* until rest() finds all of it read */
        conn_pause(s->conn);
    }
}

static bool is_delivering(const struct session *s)
{
    return s->stage == &life[AT_VERDICT] && (s->waits & WAIT_BACKEND);
}

/* A client that is gone can be forgotten, unless its message is with the backend: that answer is waited for
 * and logged. */
static void on_end(int error, const char *why, void *arg)
{
    struct session *s = arg;

    s->input_ended = true;
    if (is_delivering(s) || (error == 0 && s->stage != &life[AT_CONNECT] && !(s->waits & WAIT_TLS)))
        session_step(s);
    else
        session_end(s, error == 0 ? "client closed" : str_dup(s->mem, str_of(why)));
}

/* What was cut here would be cut at the next try as well: a large message on a slow line comes whole as long as it comes at
 * a good rate. What is behind its end has deadlines of its own; the backend may have taken it, and its word must reach
 * the client. */
static bool is_worth_waiting_for(const struct session *s)
{
    if (s->stage == &life[AT_MESSAGE] || s->stage == &life[AT_VERDICT])
        return true;
    return s->tx != NULL && s->tx->intake != NULL &&
           s->tx->intake->span_bytes >= (uint64_t)GOOD_RATE * RATE_SPAN_MS / 1000;
}

static void on_whole(void *arg)
{
    struct session *s = arg;

    s->overdue = true;
    if (is_worth_waiting_for(s))
        timer_start(&s->whole, s->service->loop, RATE_SPAN_MS, on_whole, s);
    else
        end_overdue(s);
}

bool session_is_inbound(const struct session *s)
{
    return !s->facts.session.trusted && !s->facts.session.outbound;
}

const char *session_message_id(const struct session *s)
{
    return str_fmt(s->tx->mem, "%s.%u", s->id, s->messages);
}

const struct conn_events session_conn_events = {NULL, on_data, NULL, on_tls, on_end};

/* Everything that a session needs to begin with is there: it lives from here on. */
void session_greet(struct session *s)
{
    timer_start(&s->whole, s->service->loop, s->service->config->limits.session_ms, on_whole, s);
    begin_stage(s, AT_CONNECT);
    session_step(s);
}

struct session *session_next(const struct session *session)
{
    return session->next;
}

const char *session_moment(const struct session *s)
{
    if (s->awaits_proxy)
        return "proxy";
    return s->stage != NULL ? s->stage->moment : s->tx != NULL ? "transaction" : "idle";
}

void session_drain(struct session *s)
{
    s->draining = true;
    if (s->stage == NULL)
        session_step(s);
}

static void on_funeral(void *arg)
{
    struct session *s = arg;

    while (s->graves != NULL) {
        struct arena *mem = s->graves->mem;

        s->graves = s->graves->next;
        arena_free(&mem);
    }
}

void session_bury(struct session *s, struct arena *mem)
{
    struct grave *grave = ARENA_NEW(mem, struct grave);

    *grave = (struct grave){mem, s->graves};
    s->graves = grave;
    later_start(&s->funeral, s->service->loop, on_funeral, s);
}

static void bury(void *arg)
{
    struct session *s = arg;
    struct arena *mem = s->mem;

    on_funeral(s);
    arena_free(&s->helo_mem);
    smtp_server_free(&s->server);
    proxy_header_reader_fini(&s->proxy);
    buf_fini(&s->out);
    arena_free(&mem);
}

static void leave_list(struct session *s)
{
    if (s->previous != NULL)
        s->previous->next = s->next;
    else
        s->service->sessions = s->next;
    if (s->next != NULL)
        s->next->previous = s->previous;
}

/* The one end. What is pending is called off, so nothing calls back; the memory goes on the next turn, so
 * that no caller finds the session gone under its feet. */
void session_end(struct session *s, const char *why)
{
    if (s->ended)
        return;
    s->ended = true;
    s->end_why = why;
    if (s->entered) {
        record_end(s);
        decided_session(s);
    }
    conn_last_words(s->conn);
    conn_write_buf(s->conn, &s->out);
    checks_cancel_session(s);
    reset_transaction(s);
    login_close(&s->login);
    timer_stop(&s->idle);
    timer_stop(&s->budget);
    timer_stop(&s->whole);
    conn_close(&s->conn);
    leave_list(s);
    if (s->entered)
        clients_leave(s->service->clients, &s->counted);
    later_cancel(&s->funeral);
    later_start(&s->burial, s->service->loop, bury, s);
}
