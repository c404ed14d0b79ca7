#include "proxy/login.h"

#include "base/bug.h"
#include "proxy/link.h"

#include <stdio.h>
#include <stdlib.h>

struct login {
    struct backends *backends;
    const struct smtp_identity *client;
    const struct login_events *events;
    void *arg;
    struct link *link;
    bool *tried;      /* for each backend */
    bool owes_answer; /* to the client */
    bool said;        /* AUTH has left, on this link */
    bool settled;     /* which backend it is: no other shall hear the password */
    bool logged_in;
    struct buf mechanism, initial; /* until it has */
    struct buf text;               /* of the answer */
    struct later soon;
};

/* ---- answers ---- */

static void forget_secret(struct login *login)
{
    buf_fini(&login->initial);
}

static void give(struct login *login, int code, const char *enhanced)
{
    struct relay_reply reply = {.code = code, .enhanced = enhanced, .text = buf_str(&login->text)};

    login->owes_answer = false;
    login->events->answer(&reply, login->arg);
}

static void give_trouble(struct login *login)
{
    forget_secret(login);
    buf_clear(&login->text);
    buf_add_z(&login->text, "The mail server behind this one cannot check it now, try again later");
    give(login, 454, "4.7.0");
}

static void find_link(struct login *login);

static void on_soon(void *arg)
{
    struct login *login = arg;

    if (login->logged_in)
        login->events->lost(login->arg);
    else if (login->settled)
        give_trouble(login);
    else
        find_link(login);
}

static void go_on_soon(struct login *login)
{
    later_start(&login->soon, backends_loop(login->backends), on_soon, login);
}

/* ---- the link's events ---- */

static void on_ready(void *arg)
{
    struct login *login = arg;
    struct str mechanism = buf_str(&login->mechanism);

    if (!link_is_private(login->link) || !smtp_capabilities_has_auth(link_can(login->link), mechanism)) {
        link_close(&login->link); /* it may be one that was ill when we said EHLO */
        go_on_soon(login);        /* with the next */
        return;
    }
    login->said = true;
    link_out(login->link)->secret = true;
    smtp_client_auth(link_dialogue(login->link), mechanism, buf_str(&login->initial));
    link_flush(login->link);
}

/* The answer may end the login: it comes last. */
static void on_auth(struct login *login, const struct smtp_reply *reply)
{
    char enhanced[16];

    snprintf(enhanced, sizeof(enhanced), "%.*s", STR_ARG(reply->enhanced));
    link_out(login->link)->secret = false;
    login->logged_in = reply->code == 235;
    if (reply->code == 421 || (reply->code < 300 && !login->logged_in)) {
        link_close(&login->link);
        give_trouble(login);
        return;
    }
    if (login->logged_in)
        link_own(login->link);
    else
        link_rest(&login->link);
    give(login, reply->code, enhanced);
}

static void on_reply(const struct smtp_client_event *event, void *arg)
{
    struct login *login = arg;

    login->settled = true;
    forget_secret(login);
    buf_clear(&login->text);
    buf_add_str(&login->text, event->reply.text);
    if (event->kind == SMTP_CLIENT_CHALLENGE)
        give(login, 334, "");
    else
        on_auth(login, &event->reply);
}

static void on_drain(void *arg)
{
    (void)arg; /* nothing is written in pieces */
}

static void on_broke(bool stale, void *arg)
{
    struct login *login = arg;
    size_t number = link_backend(login->link)->number;

    login->link = NULL;
    if (stale)
        login->tried[number] = false; /* the backend itself has not failed */
    else if (login->said)
        login->settled = true;
    login->said = false;
    if (login->owes_answer || login->logged_in)
        go_on_soon(login);
}

static const struct link_events link_events = {on_ready, on_reply, on_drain, on_broke};

static void find_link(struct login *login)
{
    struct backend *backend = backends_choose(login->backends, login->tried, STR(""));

    if (backend != NULL)
        login->link = link_open(backend, login->client, &link_events, login);
    if (login->link == NULL)
        give_trouble(login);
}

/* ---- what the session calls ---- */

struct login *login_start(struct backends *backends, const struct smtp_identity *client, struct str mechanism,
                          struct str initial, const struct login_events *events, void *arg)
{
    struct login *login = calloc(1, sizeof(*login));

    if (login == NULL || (login->tried = calloc(backends_count(backends), sizeof(bool))) == NULL)
        out_of_memory();
    login->backends = backends;
    login->client = client;
    login->events = events;
    login->arg = arg;
    login->owes_answer = true;
    buf_init(&login->mechanism, SMTP_AUTH_LINE);
    buf_init(&login->initial, SMTP_AUTH_LINE);
    buf_init(&login->text, SMTP_LONG_LINE + SMTP_REPLY_LINES * SMTP_REPLY_LINE);
    login->initial.secret = true;
    buf_add_str(&login->mechanism, mechanism);
    buf_add_str(&login->initial, initial);
    go_on_soon(login);
    return login;
}

void login_respond(struct login *login, struct str response)
{
    login->owes_answer = true;
    if (login->link == NULL) {
        go_on_soon(login);
        return;
    }
    smtp_client_respond(link_dialogue(login->link), response);
    link_flush(login->link);
}

struct link *const *login_link(const struct login *login)
{
    return &login->link;
}

void login_close(struct login **login)
{
    struct login *l = *login;

    *login = NULL;
    if (l == NULL)
        return;
    later_cancel(&l->soon);
    if (l->link != NULL)
        link_close(&l->link);
    buf_fini(&l->mechanism);
    forget_secret(l);
    buf_fini(&l->text);
    free(l->tried);
    free(l);
}

/* ---- what backends offer ---- */

struct login_probe {
    struct link *link;
    void (*done)(void *arg);
    void *arg;
};

static void finish_probe(struct login_probe *probe)
{
    void (*done)(void *arg) = probe->done;
    void *arg = probe->arg;

    free(probe);
    done(arg);
}

static void on_probe_ready(void *arg)
{
    struct login_probe *probe = arg;

    link_rest(&probe->link);
    finish_probe(probe);
}

static void on_probe_reply(const struct smtp_client_event *event, void *arg)
{
    (void)event;
    (void)arg;
    bug("a probe asks nothing");
}

static void on_probe_broke(bool stale, void *arg)
{
    (void)stale;
    finish_probe(arg);
}

struct login_probe *login_probe_start(struct backend *backend, void (*done)(void *arg), void *arg)
{
    static const struct link_events events = {on_probe_ready, on_probe_reply, on_drain, on_probe_broke};
    struct login_probe *probe;

    if (backend == NULL)
        return NULL;
    if ((probe = calloc(1, sizeof(*probe))) == NULL)
        out_of_memory();
    *probe = (struct login_probe){.done = done, .arg = arg};
    probe->link = link_open(backend, NULL, &events, probe);
    if (probe->link != NULL)
        return probe;
    free(probe);
    return NULL;
}

void login_probe_cancel(struct login_probe **probe)
{
    if (*probe == NULL)
        return;
    link_close(&(*probe)->link);
    free(*probe);
    *probe = NULL;
}
