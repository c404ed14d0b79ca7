"""ARC: what a trusted forwarder saw excuses a DMARC fail; no other word does. dkimpy makes the chains."""

import dkim

from lib.check import has, same, starts
from lib.mail import message, signed
from lib.postfix import fields_added
from lib.world import OTHER

# The forwarder's host passes SPF for its own domain, which says nothing about the author's: without an excuse
# DMARC fails, and good.test has p=reject.
FORWARDER = OTHER
STRICT = {"reject": "always"}
TRUST = {"mode": "enforce", "trusted_sealers": ["list.test", "Relay.TEST"]}


def letter(t):
    """A message as its author sent it: signed, and so with a DMARC pass at the first hop."""
    return signed(message(recipient="members@list.test"), t.world.good_rsa, "rsa")


def sealed(t, text, sealer, results="dmarc=pass header.from=good.test"):
    """The message with one more ARC set on top, in which `sealer` says what it saw."""
    seen = "arc=pass" if text.startswith(b"ARC-") else "arc=none"
    claim = f"Authentication-Results: {sealer}; {seen}; {results}\r\n".encode()
    key, name = t.world.good_rsa.private, sealer.encode()
    return b"".join(dkim.arc_sign(claim + text, b"arc", name, key, name)) + text


def changed(text):
    """What mailing lists do, and no signature of the author survives."""
    return text.replace(b"Subject: ", b"Subject: [list] ", 1) + b"-- \r\nThe list\r\n"


def deliver(guard, recipient, mail, expect="250 "):
    with guard.client(FORWARDER) as client:
        client.envelope("bounces@other.test", recipient)
        starts(client.data(mail), expect)
    return guard.event(event="message", to=recipient)


def accepted(t, guard, mail):
    """The log line, and Authentication-Results."""
    bob = t.recipient()
    line = deliver(guard, bob, mail)
    verdict, _ = fields_added(t.postfix.delivery(bob), mail)
    return line, verdict


def refused(t, guard, mail, arc):
    reply = "550 5.7.1 Refused by the DMARC policy of good.test (p=reject)"
    line = deliver(guard, t.recipient(), mail, reply)
    same((line["check"], line.get("arc")), ("dmarc", arc), "who refused, and what became of the chain")


def test_without_a_chain(t):
    """A list's message of an author with p=reject, without a chain, is refused."""
    guard = t.guard(dmarc=STRICT, arc=TRUST)
    refused(t, guard, changed(letter(t)), None)


def test_trusted_sealer(t):
    """A trusted sealer that saw DMARC pass excuses the fail, and Authentication-Results has both."""
    guard = t.guard(dmarc=STRICT, arc=TRUST)
    line, verdict = accepted(t, guard, sealed(t, changed(letter(t)), "list.test"))
    same((line["arc"], line["dmarc"], line["action"]), ("pass", "fail", "accept"), "the log line")
    for words in ("arc=pass", "dmarc=fail", "header.from=good.test"):
        has(verdict, words)


def test_chains_of_two(t):
    """Every sealer back to the one that saw DMARC pass must be trusted, whatever the case of its name."""
    guard = t.guard(dmarc=STRICT, arc=TRUST)
    first = changed(letter(t))
    accepted(t, guard, sealed(t, sealed(t, first, "list.test"), "relay.test", "dmarc=fail"))
    accepted(t, guard, sealed(t, sealed(t, first, "stranger.test"), "list.test"))
    refused(t, guard, sealed(t, sealed(t, first, "list.test"), "stranger.test"), "pass")
    refused(t, guard, sealed(t, sealed(t, first, "stranger.test"), "list.test", "dmarc=fail"), "pass")


def test_what_excuses_nothing(t):
    """An untrusted sealer, a sealer that saw no pass, or one for another domain, and a broken chain."""
    guard = t.guard(dmarc=STRICT, arc=TRUST)
    mail = changed(letter(t))
    good = sealed(t, mail, "list.test")
    for what, arc in (
        (sealed(t, mail, "stranger.test"), "pass"),
        (sealed(t, mail, "list.test", "dmarc=fail header.from=good.test"), "pass"),
        (sealed(t, mail, "list.test", "dmarc=pass header.from=other.test"), "pass"),
        (sealed(t, mail, "list.test", "spf=pass smtp.mailfrom=good.test"), "pass"),
        (sealed(t, mail, "keyless.test"), "fail"),
        (good + b"PS: changed behind the seal.\r\n", "fail"),
        (good.replace(b"Subject: [list]", b"Subject: [spam]"), "fail"),
        (good.replace(b"arc=none", b"arc=pass", 1), "fail"),
        (good.partition(b"ARC-Message-Signature")[0] + mail, "fail"),
    ):
        refused(t, guard, what, arc)


def test_observe(t):
    """In mode observe a chain is verified and recorded, and excuses nothing; off, it is not looked at."""
    mail = sealed(t, changed(letter(t)), "list.test")
    for mode, arc in (("observe", "pass"), ("off", None)):
        refused(t, t.guard(dmarc=STRICT, arc={**TRUST, "mode": mode}), mail, arc)


def test_chain_in_authentication_results(t):
    """What became of a chain is in Authentication-Results of mail that needs no excuse, too."""
    guard = t.guard(arc={"mode": "observe"})
    good = sealed(t, letter(t), "stranger.test")
    for mail, arc in ((good, "arc=pass"), (good.replace(b"cv=none", b"cv=pass"), "arc=fail")):
        _, verdict = accepted(t, guard, mail)
        for words in (arc, "dkim=pass", "dmarc=pass"):
            has(verdict, words)


def test_dmarc_pass_needs_no_chain(t):
    """A broken chain, even of a trusted sealer, is no reason to refuse mail that passes DMARC."""
    guard = t.guard(dmarc=STRICT, arc=TRUST)
    mail = sealed(t, letter(t), "list.test").replace(b"i=1; list.test", b"i=1; evil.test")
    line, _ = accepted(t, guard, mail)
    same((line["arc"], line["dmarc"]), ("fail", "pass"), "the log line")
