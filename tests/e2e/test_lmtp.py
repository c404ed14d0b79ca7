"""LMTP backends: a scripted one, and Dovecot."""

import os
import random
import re

from lib.backend import CLOSE, LmtpBackend
from lib.check import has, same, starts, true
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


class Moody(LmtpBackend):
    """Says to each recipient of a message what it feels like, or hangs up."""

    def __init__(self, moods):
        super().__init__()
        self.moods, self.said = moods, []

    def answer(self, connection, lines, step):
        if step == "dot":
            self.answers["dot"] = self.moods.choice(["250 2.0.0 Taken"] * 5 + ["452 4.2.2 Full"] * 3 + ["552 5.2.2 Full", CLOSE])
            self.said.append((len(self.messages), self.answers["dot"]))
        return super().answer(connection, lines, step)

    def copies(self):
        """Who has which message, as often as he got it."""
        found = []
        for number, (envelope, octets) in enumerate(zip(self.envelopes, self.messages), 1):
            recipients = [re.search("<(.*)>", line)[1] for line in envelope if line.startswith("RCPT")]
            replies = [reply for of, reply in self.said if of == number]
            subject = re.search(rb"Subject: (.*)\r", octets)[1].decode()
            found += [(subject, who) for who, reply in zip(recipients, replies) if reply.startswith("250")]
        return found


def send_as_mta(guard, subject, recipients):
    """One try; who is done with, and who got a bounce. The rest is for the next try (RFC 5321 4.5.4.1)."""
    with guard.client(GOOD) as client:
        client.ehlo()
        client.say("MAIL FROM:<alice@good.test>", "250 ")
        taken = [who for who in recipients if client.say(f"RCPT TO:<{who}>").startswith("250")]
        if not taken:
            return [], []
        reply = client.data(message(subject=subject))
    return (taken, []) if reply.startswith("250") else ([], taken if reply.startswith("5") else [])


def test_everybody_once(t):
    """Whatever is said to each of them, and however often smtpguard is killed between two tries: who has it has it once, and no
    bounce names him."""
    seed = os.environ.get("SMTPGUARD_SEED") or str(random.randrange(10**9))
    moods = random.Random(seed)
    backend = t.start(Moody(moods))
    guard = before(t, backend)
    done, bounced = [], []
    for subject in map(str, range(12)):
        waiting = [f"user{i}@example.net" for i in range(moods.randint(1, 5))]
        for _ in range(100):
            moods.shuffle(waiting)
            good, bad = send_as_mta(guard, subject, waiting)
            done += [(subject, who) for who in good]
            bounced += [(subject, who) for who in bad]
            waiting = [who for who in waiting if who not in good + bad]
            if not waiting:
                break
            if moods.random() < 0.15:
                guard.kill()
                guard.start_again()
        true(not waiting, f"{waiting} wait forever (seed {seed})")
    same(sorted(backend.copies()), sorted(done), f"who has it (seed {seed})")
    same(set(bounced) & set(done), set(), f"who has it, and bounced (seed {seed})")
