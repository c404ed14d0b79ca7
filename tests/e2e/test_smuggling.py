"""SMTP smuggling and command injection: SEC Consult's list of fake ends of data, and NO STARTTLS."""

import json

from lib.check import has_not, same, starts
from lib.mail import message
from lib.world import GOOD
from test_tls import secure

SMUGGLED = (
    "MAIL FROM:<admin@good.test>\r\nRCPT TO:<{victim}>\r\nDATA\r\n"
    "From: admin@good.test\r\nSubject: smuggled\r\n\r\n"
    "Pay at once.\r\n.\r\n"
)


def cases(t, kind):
    suite = json.loads((t.conformance("smtp-smuggling") / "cases.json").read_text(encoding="utf-8"))
    return [case for case in suite["cases"] if case["kind"] == kind]


def test_fake_ends_of_data(t):
    """A fake end of data, of all nine kinds on the list, smuggles nothing: the whole is refused as one."""
    guard, bob, victim = t.guard(), t.recipient(), t.recipient()
    found = cases(t, "end-of-data")
    same(len(found), 9, "cases")
    for case in found:
        with guard.client(GOOD) as client:
            client.envelope("alice@good.test", bob)
            client.say("DATA", "354 ")
            client.send(
                message(recipient=bob).removesuffix(b"\r\n")
                + case["bytes"].encode("latin-1")
                + SMUGGLED.format(victim=victim).encode()
            )
            starts(client.read(), "550 5.6.11 ")
            client.say("NOOP", "250 ")  # and that was the only reply
    same(t.postfix.files(bob) + t.postfix.files(victim), [], "messages that got through")
    has_not(t.postfix.log(), f"<{victim}>")


def test_the_end_of_data_that_smuggled_in_2023(t):
    """<LF>.<LF>, which used to fool Postfix through others, is refused: Postfix sees neither message."""
    guard, bob, victim = t.guard(), t.recipient(), t.recipient()
    with guard.client(GOOD) as client:
        client.envelope("alice@good.test", bob)
        client.say("DATA", "354 ")
        client.send(message(recipient=bob) + b"\n.\n" + SMUGGLED.format(victim=victim).encode())
        starts(client.read(), "550 5.6.11 The message contains a bare LF")
        client.quit()
    same(t.postfix.files(bob) + t.postfix.files(victim), [], "messages that got through")


def test_injection_across_starttls(t):
    """Commands in one packet with STARTTLS are never answered; a session without them is ordinary."""
    guard, _ = secure(t)
    found = cases(t, "starttls-injection")
    same(len(found), 2, "cases")
    for case in found:
        with guard.client(GOOD) as client:
            for write in case["writes"]:
                client.send(write.encode("latin-1"))
                client.read()
            client.handshake()
            client.send(case["after_tls"].encode("latin-1"))
            starts(client.read(), "221 " if case["after_tls"].startswith("QUIT") else "500 ")
