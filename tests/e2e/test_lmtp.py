"""LMTP backends: a scripted one, and Dovecot."""

from lib.backend import CLOSE, LmtpBackend
from lib.check import has, same, starts
from lib.dovecot import Dovecot
from lib.mail import message
from lib.world import GOOD

MAIL = message(body=b"one\r\n.dot\r\n..dots\r\nend\r\n")
BOTH = ("bob@example.net", "carol@example.net")


def before(t, backend, address=None):
    return t.guard(
        backends=[{"address": address or backend.address, "protocol": "lmtp", "reply_timeout": "2s"}],
        greylist={"mode": "off"},
    )


def deliver(guard, *recipients):
    """The reply to the message."""
    with guard.client(GOOD) as client:
        client.envelope("alice@good.test", *recipients)
        reply = client.data(MAIL)
        client.quit()
    return reply


def test_lmtp_replies_are_folded(t):
    """What an LMTP backend says of each recipient becomes one reply that is true for all of them."""
    for first, second, reply in (
        ("250 2.0.0 One", "250 2.0.0 Two", "250 2.0.0 One"),
        ("552 5.2.2 Full", "552 5.2.2 Full too", "552 5.2.2 Full"),
        ("452 4.2.2 Full", "550 5.7.1 No", "452 4.2.2 Full"),
        ("250 2.0.0 One", "452 4.2.2 Full", "451 4.3.0 Taken for some of the recipients"),
        ("250 2.0.0 One", "552 5.2.2 Full", "451 4.3.0 Taken for some of the recipients"),
        ("250 2.0.0 One", CLOSE, "451 4.3.0 "),
    ):
        backend = t.start(LmtpBackend(dot=[first, second]))
        starts(deliver(before(t, backend), *BOTH), reply)
        same(len(backend.messages), 1, "messages at the backend")
        same([line[:4] for line in backend.sessions[0][:2]], ["LHLO", "MAIL"], "its first commands")


def test_lmtp_comes_again(t):
    """A message that only one of two has got is asked for again, and then nobody gets it twice, and each is told."""
    backend = t.start(LmtpBackend(dot=["250 2.0.0 Bob has it", "452 4.2.2 Full", "250 2.0.0 Carol has it"]))
    guard = before(t, backend)
    starts(deliver(guard, *BOTH), "451 4.3.0 ")
    has(guard.event(event="backend.partial")["text"], "1 of 2 recipients")
    with guard.client(GOOD) as client:
        client.ehlo()
        client.say("MAIL FROM:<alice@good.test>", "250 ")
        client.say(f"RCPT TO:<{BOTH[0]}>", "250 ")
        client.say(f"RCPT TO:<{BOTH[1]}>", "452 4.5.3 ")
        starts(client.data(MAIL), "250 2.0.0 Taken when it came before")
    same(len(backend.messages), 1, "messages at the backend")
    starts(deliver(guard, BOTH[1]), "250 2.0.0 Carol has it")
    same(len(backend.messages), 2, "messages at the backend")


def test_dovecot(t):
    """Before Dovecot: delivered octet by octet to each, and unknown users are refused in its words."""
    dovecot = t.start(Dovecot(t.dir / "dovecot"))
    guard = before(t, dovecot)
    with guard.client(GOOD) as client:
        client.envelope("alice@good.test", *BOTH)
        client.say("RCPT TO:<nobody@example.net>", "550 5.1.1 ")
        starts(client.data(MAIL), "250 2.0.0 ")
        client.quit()
    for user in ("bob", "carol"):
        same(dovecot.message(user)[-len(MAIL) :], MAIL, f"the end of {user}'s message")


def test_unix_socket(t):
    """By a Unix socket as by TCP; one that nobody serves costs 451, and says so."""
    dovecot = t.start(Dovecot(t.dir / "dovecot"))
    starts(deliver(before(t, dovecot, f"unix:{dovecot.socket}"), "bob@example.net"), "250 2.0.0 ")
    same(dovecot.message("bob")[-len(MAIL) :], MAIL, "the end of the message")
    guard = before(t, dovecot, f"unix:{t.dir}/nobody.sock")
    with guard.client(GOOD) as client:
        client.ehlo()
        client.say("MAIL FROM:<alice@good.test>", "250 ")
        client.say("RCPT TO:<bob@example.net>", "451 4.3.0 ")
    has(guard.event(event="backend.down")["text"], "nobody.sock: No such file or directory")


def test_dovecot_refuses_one_of_two(t):
    """Dovecot takes it for bob and never for the other, whose mailbox is full: in the end each has heard his own."""
    dovecot = t.start(Dovecot(t.dir / "dovecot"))
    guard = before(t, dovecot)
    starts(deliver(guard, "bob@example.net", "full@example.net"), "451 4.3.0 ")
    starts(deliver(guard, "bob@example.net"), "250 2.0.0 Taken when it came before")
    starts(deliver(guard, "full@example.net"), "552 5.2.2 ")
    dovecot.message("bob")


def test_dovecot_defers_one_of_two(t):
    """Deferred by Dovecot for one of two, killed and restarted between all tries: nobody gets it twice, nobody loses it."""
    dovecot = t.start(Dovecot(t.dir / "dovecot", tempfail=True))
    guard = before(t, dovecot)

    def then(*recipients, reply, end):
        starts(deliver(guard, *(f"{name}@example.net" for name in recipients)), reply)
        end()
        guard.start_again()

    then("bob", "full", reply="451 4.3.0 Taken for some", end=guard.kill)
    then("bob", reply="250 2.0.0 Taken when it came before", end=guard.kill)
    then("full", reply="452 4.2.2 ", end=guard.stop)
    dovecot.make_room()
    then("full", reply="250 2.0.0 ", end=guard.kill)
    starts(deliver(guard, "bob@example.net"), "250 2.0.0 Taken when it came before")
    for user in ("bob", "full"):
        dovecot.message(user)
