/*
 * proxy/login.h - a client logs in at the backend, through us                        RFC 4954
 *
 * We keep no passwords and judge none: what client and backend say to each other within AUTH passes as it is.
 * When the backend says 235 the connection on which it did so is this client's for good, because there the
 * backend takes whatever comes for his; his transactions borrow it (proxy/relay.h).
 *
 * Use        login_start(); after each 334 one login_respond(); after any other answer but 235 only
 *            login_close() is left. After 235 login_link() is what relays borrow.
 * Ownership  `client` and what it points to are borrowed until login_close().
 * Timing     Each answer comes exactly once, never before the asking call has returned, never after
 *            login_close(). `lost` comes at most once, after 235: the backend has closed the connection.
 * Backends   The first healthy one that offers the mechanism, on a link that a password may cross
 *            (link_is_private()). Once the password has left, no other is
 *            tried.
 * Errors     A backend that is gone, silent or drunk, or says 421: 454 4.7.0.
 * Secrets    What the client said is wiped once the backend has answered to it. Nothing of it is logged.
 */
#ifndef PROXY_LOGIN_H
#define PROXY_LOGIN_H

#include "proxy/relay.h"

struct link;
struct login;

struct login_events {
    relay_fn *answer; /* 334 with a challenge (base64, perhaps empty), 235, or a refusal */
    void (*lost)(void *arg);
};

struct login *login_start(struct backends *backends, const struct smtp_identity *client, struct str mechanism,
                          struct str initial, const struct login_events *events, void *arg);
void login_respond(struct login *login, struct str response);
struct link *const *login_link(const struct login *login); /* leads to NULL once it is lost */
void login_close(struct login **login); /* nobody may borrow the link; NULL is fine; leaves NULL */

/* Asks a backend what it offers; `done` comes once, as above, and then backends_offer() tells. NULL: there is none to
 * ask. */
struct login_probe;
struct login_probe *login_probe_start(struct backend *backend, void (*done)(void *arg), void *arg); /* NULL is fine */
void login_probe_cancel(struct login_probe **probe); /* NULL is fine; leaves NULL */

#endif
