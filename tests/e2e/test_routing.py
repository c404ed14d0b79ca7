"""Backends by the recipient's domain."""

from lib.check import has, same, starts
from lib.mail import message
from lib.world import GOOD

MAIL = message()


def two_ways(t):
    """example.net goes to Postfix, example.org to a scripted backend."""
    other = t.backend()
    guard = t.guard(
        backends=[{"address": other.address, "domains": ["example.org", ".example.org"]}, {"address": t.postfix.address}],
        domains={"relay": ["example.net", "example.org", ".example.org"]},
        greylist={"mode": "off"},
    )
    return guard, other


def test_backend_by_domain(t):
    """Each domain's mail goes to its own backend, and all else to the one that names none."""
    guard, other = two_ways(t)
    bob = t.recipient()
    for recipient in (bob, "carol@example.org", "dave@Sub.Example.ORG"):
        with guard.client(GOOD) as client:
            client.envelope("alice@good.test", recipient)
            starts(client.data(message(recipient=recipient)), "250 ")
    t.postfix.delivery(bob)
    same(len(other.messages), 2, "messages at the other backend")


def test_recipients_of_two_backends(t):
    """In one transaction those of the other backend get 451 4.5.3, and get the message when it is sent again."""
    guard, other = two_ways(t)
    bob = t.recipient()
    left = [bob, "carol@example.org", "dave@example.org"]
    attempts = 0
    with guard.client(GOOD) as client:
        client.ehlo()
        while left:
            attempts += 1
            client.say("MAIL FROM:<alice@good.test>", "250 ")
            replies = {recipient: client.say(f"RCPT TO:<{recipient}>") for recipient in left}
            left = [recipient for recipient, reply in replies.items() if reply.startswith("451 4.5.3 ")]
            starts(client.data(MAIL), "250 ")
    same(attempts, 2, "transactions")
    t.postfix.delivery(bob)
    same(len(other.messages), 1, "messages at the other backend")
    same([line for line in other.sessions[0] if line.startswith("RCPT")],
         ["RCPT TO:<carol@example.org>", "RCPT TO:<dave@example.org>"], "its recipients")


def test_a_refused_recipient_holds_nobody_up(t):
    """A first recipient that its backend refuses does not keep the next one from another backend."""
    guard, other = two_ways(t)
    with guard.client(GOOD) as client:
        client.ehlo()
        client.say("MAIL FROM:<alice@good.test>", "250 ")
        client.say("RCPT TO:<nobody@example.net>", "550 5.1.1 ")
        client.say("RCPT TO:<carol@example.org>", "250 ")
        starts(client.data(MAIL), "250 ")
    has(other.message(), MAIL)
