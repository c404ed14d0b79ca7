/*
 * proxy/link.h - one connection to a backend: opened, introduced, used for one transaction after the other
 *
 * A link is held by one holder at a time, who speaks on it; between two holders it rests in its backend's
 * pool. It never passes from one to the other while the backend could owe an answer, so no late 250 can be
 * taken for that of another message.
 *
 * Use        link_open() hands over a kept link or opens one. Once `on_ready` has come the client has been
 *            introduced, TLS is as the settings want it, and commands may be given: to link_dialogue(), then
 *            link_flush(). Their answers come by `on_reply`. link_rest(), link_reset() or link_close()
 *            end the holder's part.
 * Owners     Where a client has logged in, everything said afterwards is said as that client. Such a link is
 *            its holder's for good (link_own()): it never rests in the pool; he lends it for one transaction
 *            after the other (link_lend()), and gets it back when that one's holder ends his part.
 * Ownership  What the client is introduced with is borrowed until then.
 * Timing     No event comes before link_open() has returned, and none after link_rest(), link_reset() or
 *            link_close(), each of which leaves NULL behind. After `on_broke` the link is gone already.
 * Deadlines  connect_timeout for connection, greeting, TLS and EHLO together, at each address of a name; reply_timeout for each reply,
 *            and between two writes of a message (link_flush() and link_await() begin it anew).
 * Errors     The backend's failures are noted (proxy/backends.h) before `on_broke` tells of them.
 */
#ifndef PROXY_LINK_H
#define PROXY_LINK_H

#include "proxy/backends.h"
#include "smtp/client.h"
#include "tls/conn.h"

struct link;

struct link_events {
    void (*on_ready)(void *arg);
    /* CHALLENGE, AUTH, MAIL, RCPT, DATA, MESSAGE, NOOP */
    void (*on_reply)(const struct smtp_client_event *event, void *arg);
    void (*on_drain)(void *arg); /* what was written is with the kernel: time for the next piece */
    /* `stale`: a kept link that died before it answered anything, one whose backend had enough of waiting for its holder, or
     * TLS that need not be. Another link to the same backend may do better. Of a link that is lent the owner hears after its holder, and also when
     * its holder has cut it. */
    void (*on_broke)(bool stale, void *arg);
};

/* One that was kept, or a new one. `client` NULL: nobody is introduced, and it is a new one, whose EHLO is heard. NULL when
 * there are no descriptors left. */
struct link *link_open(struct backend *backend, const struct smtp_identity *client,
                       const struct link_events *events, void *arg);

struct backend *link_backend(const struct link *link);
const struct smtp_capabilities *link_can(const struct link *link);
struct smtp_client *link_dialogue(struct link *link);
struct conn *link_conn(struct link *link);
bool link_keeps_requiretls(
    const struct link *link);                  /* RFC 8689 4.2.1: verified TLS, and it offers REQUIRETLS */
bool link_is_private(const struct link *link); /* TLS, or within this host: a password may cross it */
struct buf *link_out(struct link *link);       /* what the dialogue has to say, for who writes it himself */

void link_flush(struct link *link);
void link_await(struct link *link); /* progress: its deadline begins anew */

void link_rest(struct link **link);  /* the transaction is over */
void link_reset(struct link **link); /* it is given up; the link is cut where it could owe us an answer */
void link_close(struct link **link); /* cut */
void link_fail(struct link *link, const char *why); /* cut, the backend's fault: `on_broke` follows */

void link_own(struct link *link); /* all its answers have come; from here on it is lent */
void link_lend(struct link *link, const struct link_events *events,
               void *arg); /* goes on as link_open() does */

#endif
