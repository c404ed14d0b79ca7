#include "proxy/session_in.h"

#include <stdio.h>

enum { FAILED_LOGINS_MAX = 5 };

bool session_takes_logins(const struct session *s)
{
    return s->facts.session.outbound && s->listen->tls != LISTEN_TLS_NONE && s->service->tls_server != NULL;
}

void offer_login(struct session *s)
{
    struct backends_offer offer;

    if (!session_takes_logins(s))
        return;
    offer = backends_offer(s->service->backends);
    s->facts.session.may_log_in = offer.auth[0] != '\0';
    smtp_server_offer_auth(s->server, offer.auth);
}

static void on_login_answer(const struct relay_reply *reply, void *arg)
{
    struct session *s = arg;

    s->reply_code = reply->code;
    s->reply_enhanced = session_enhanced_of(reply);
    s->reply_text = reply->text;
    session_got(s, WAIT_BACKEND);
}

static void on_login_lost(void *arg)
{
    struct session *s = arg;

    s->login_lost = true;
    if (s->stage == NULL)
        session_step(s);
}

/* A word of the client's to the backend: AUTH, or the response to a challenge. */
void act_auth(struct session *s)
{
    static const struct login_events events = {on_login_answer, on_login_lost};
    struct smtp_identity *client;

    if (s->event.kind == SMTP_EV_AUTH && s->failed_logins >= FAILED_LOGINS_MAX) {
        s->reply_code = 421;
        s->reply_enhanced = "4.7.0";
        s->reply_text = STR("Too many failed logins");
        return;
    }
    session_wait_for(s, WAIT_BACKEND);
    if (s->event.kind == SMTP_EV_RESPONSE) {
        login_respond(s->login, s->event.response);
        return;
    }
    snprintf(s->mechanism, sizeof(s->mechanism), "%.*s", STR_ARG(s->event.command->mechanism));
    client = ARENA_NEW(s->helo_mem, struct smtp_identity);
    *client = session_identity(s->helo_mem, s);
    s->login = login_start(s->service->backends, client, s->event.command->mechanism,
                           s->event.command->initial_response, &events, s);
}

/* A response that was none is refused whatever the backend says to the "*" that it got instead: then the login is over,
 * even if that was a challenge or 235. */
void answer_auth(struct session *s)
{
    smtp_server_answer(s->server, s->reply_code, s->reply_enhanced, s->reply_text);
    if (smtp_server_awaits_response(s->server))
        return;
    s->facts.session.authenticated = smtp_server_is_authenticated(s->server);
    if (!s->facts.session.authenticated && s->reply_code < 400)
        s->reply_code = 501;
    record_login(s);
    if (s->facts.session.authenticated)
        return;
    s->failed_logins++;
    login_close(&s->login);
}
