"""Mail servers that other people have written, as backends: what they get, and what they say, is passed on unchanged."""

import re

from lib.check import has, same, starts
from lib.exim import Exim
from lib.letters import LETTERS, protocol
from lib.mail import message
from lib.opensmtpd import OpenSmtpd
from lib.scripted_dns import ScriptedDns
from lib.senders import Pipelining
from lib.world import GOOD, Host
from test_screening import GATEWAY, in_a_network_of_its_own

USERS = [f"u{number}" for number in range(1, 111)]


def before(t, backend, **how):
    """smtpguard before this backend, which it has spoken to once; says what an unknown recipient is told."""
    guard = t.guard(
        backend, backends=[{"address": backend.address, **how}], greylist={"mode": "off"}, runtime={"workers": 1}
    )
    with guard.client(GOOD) as client:
        client.envelope("alice@good.test")
        refusal = client.say("RCPT TO:<nobody@example.net>")
        client.quit()
    return guard, refusal


def deliver(guard, backend, recipients, *without):
    """Every letter arrives, octet by octet, under our two fields; recipients() are users who have no mail yet."""
    for letter in LETTERS:
        if letter.name not in without:
            sent = letter._replace(tls=False, recipients=[next(recipients) for _ in letter.recipients])
            Pipelining().send(sent, guard.port)
            for recipient in sent.recipients:
                judge(sent, backend.message(recipient))


def judge(sent, got):
    cut = len(got) - len(sent.octets)
    same(got[max(cut, 0):], sent.octets, f"{sent.name} in the mailbox")
    fields = re.split(r"\r\n(?![ \t])", got[:cut].decode("utf-8"))
    same([field.partition(":")[0] for field in fields], ["Authentication-Results", "Received", ""], "the fields on top")
    has(fields[1], f"with {protocol(sent)} id ")


def users():
    return (f"{user}@example.net" for user in USERS)


def test_postfix_as_backend(t):
    """Behind us Postfix gets every letter as it was sent, SMTPUTF8 and 100 recipients too."""
    guard, refusal = before(t, t.postfix)
    starts(refusal, "550 5.1.1 <nobody@example.net>: Recipient address rejected")
    deliver(guard, t.postfix, iter(t.recipient, None))


def test_exim_as_backend(t):
    """Behind us Exim gets every letter as it was sent, in one BDAT each."""
    backend = t.start(Exim(t.dir / "exim", users=USERS))
    guard, refusal = before(t, backend)
    starts(refusal, "550 5.0.0 Unrouteable address")
    deliver(guard, backend, users())
    has(backend.log.read_text(), " K ")  # how its log says that the message came in chunks


def test_exim_as_backend_by_tls(t):
    """TLS to Exim is TLS: its log says so."""
    backend = t.start(Exim(t.dir / "exim", users=USERS))
    guard, _ = before(t, backend, tls="require")
    deliver(guard, backend, users(), "100 recipients")
    has(backend.log.read_text(), " X=TLS1.3:")


def test_opensmtpd_as_backend(t):
    """Behind us OpenSMTPD gets every letter as it was sent, except SMTPUTF8, which it has not and we do not offer then."""
    backend = t.start(OpenSmtpd(t.dir / "opensmtpd", users=USERS))
    guard, refusal = before(t, backend)
    starts(refusal, "550 5.0.0 Invalid recipient: <nobody@example.net>")
    with guard.client(GOOD) as client:
        same("SMTPUTF8" in client.ehlo(), False, "SMTPUTF8 before a backend without it")
        client.quit()
    deliver(guard, backend, users(), "SMTPUTF8")


def test_tls_that_fails(t):
    """A backend that offers TLS and cannot do it gets mail without where TLS is opportunistic, and none where it is required."""
    in_a_network_of_its_own(lambda: play_tls_that_fails(t))  # on loopback nobody would ask for TLS


def play_tls_that_fails(t):
    names = t.start(ScriptedDns())
    backend = t.start(OpenSmtpd(t.dir / "opensmtpd", users=USERS, host=GATEWAY, tls=True))
    mail = message(sender="x@other.test")
    for tls, reply in (("opportunistic", "250 "), ("require", "451 4.3.0 ")):
        guard = t.guard(backend, names, backends=[{"address": backend.address, "tls": tls}], runtime={"workers": 1},
                        **{check: {"mode": "off"} for check in ("greylist", "spf", "dmarc")})
        with guard.client(Host(GATEWAY, "mx.other.test")) as client:
            client.ehlo()
            client.say("MAIL FROM:<>", "250 ")
            if client.say("RCPT TO:<u1@example.net>", reply).startswith("250"):
                starts(client.data(mail), "250 ")
                has(guard.event(event="backend.tls", level="warning")["text"], "going on without TLS")
            client.quit()
    same(backend.message("u1@example.net")[-len(mail):], mail, "the one message")
