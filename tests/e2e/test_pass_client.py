"""How Postfix hears who the client is, other than by XCLIENT (which is in test_relay.py)."""

from lib.check import has, same, starts
from lib.mail import message
from lib.postfix import RECEIVER, Postfix, fields_added
from lib.world import BOT, GOOD


def before(t, pass_client, setting):
    postfix = t.start(Postfix(t.dir / "postfix", RECEIVER + setting))
    guard = t.guard(
        backends=[{"address": postfix.address, "pass_client": pass_client}],
        greylist={"mode": "off"},
        runtime={"workers": 1},
    )
    return postfix, guard


def deliver(guard, host, sender, recipient):
    with guard.client(host) as client:
        client.envelope(sender, recipient)
        starts(client.data(message(sender=sender or "x@other.test", recipient=recipient)), "250 ")
        client.quit()


def test_proxy_v2(t):
    """By a PROXY header Postfix takes each client for itself: one connection each, and never a kept one."""
    postfix, guard = before(t, "proxy-v2", "smtpd_upstream_proxy_protocol = haproxy\n")
    for host, sender, user in ((GOOD, "alice@good.test", "u1"), (BOT, "", "u2"), (GOOD, "alice@good.test", "u3")):
        deliver(guard, host, sender, f"{user}@example.net")
        has(postfix.delivery(f"{user}@example.net").client, f"[{host.address}]")
        postfix.logged(f"connect from unknown[{host.address}]")
    same(postfix.log().count(": connect from "), 4, "connections, with the one on which it was heard first")
    same(postfix.log().count(": disconnect from "), 4, "connections that have ended")


def test_xforward(t):
    """By XFORWARD Postfix logs the client and our id of the message, for each transaction of a kept connection."""
    postfix, guard = before(t, "xforward", "smtpd_authorized_xforward_hosts = 127.0.0.1\n")
    for host, sender, user in ((GOOD, "alice@good.test", "u1"), (BOT, "", "u2"), (GOOD, "alice@good.test", "u3")):
        deliver(guard, host, sender, f"{user}@example.net")
        ident = guard.event(event="message", to=f"{user}@example.net")["id"]
        name = "mx.good.test" if host == GOOD else "unknown"
        postfix.logged(f"orig_queue_id={ident}, orig_client={name}[{host.address}]")
    same(postfix.log().count(": connect from "), 1, "connections")


def test_xforward_that_is_not_offered(t):
    """Postfix that does not let us forward takes the mail all the same; the log says what is missing, once."""
    postfix, guard = before(t, "xforward", "")
    for user in ("u1", "u2"):
        deliver(guard, GOOD, "alice@good.test", f"{user}@example.net")
        postfix.delivery(f"{user}@example.net")
    has(guard.event(event="backend.xclient")["text"], "does not offer XFORWARD")


def test_postfix_that_does_not_wait(t):
    """A message that comes more slowly than Postfix waits for it is delivered, once: Postfix hears its envelope again."""
    postfix, guard = before(t, "xclient", "smtpd_timeout = 2s\nsmtpd_authorized_xclient_hosts = 127.0.0.1\n")
    mail = message(sender="alice@good.test", recipient="u1@example.net")
    with guard.client(GOOD) as client:
        client.envelope("alice@good.test", "u1@example.net", "u2@example.net")
        client.say("DATA", "354 ")
        client.send(mail)
        postfix.logged("timeout after RCPT from ")
        client.send(b".\r\n")
        starts(client.read(), "250 2.0.0 Ok")
    for user in ("u1@example.net", "u2@example.net"):
        fields_added(postfix.delivery(user), mail)
    same(guard.events(event="backend.down"), [], "what is held against Postfix")
