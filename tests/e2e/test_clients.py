"""Clients that other people have written: what each sends reaches the backend octet by octet."""

import re
from pathlib import Path

from lib import certificate
from lib.check import Failed, has, same, wait_for
from lib.letters import DOMAIN, LETTERS, protocol
from lib.process import free_port
from lib.senders import Curl, EximSends, Msmtp, Nodemailer, OpenSmtpdSends, Pipelining, PostfixSends, Smtplib, Swaks

OFFER = "250-backend.test\r\n250-PIPELINING\r\n250-SIZE 52428800\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-DSN\r\n" \
        "250 ENHANCEDSTATUSCODES"


class Zoo:
    """An smtpguard with a port without TLS and one with it, before a backend that keeps what it hears."""

    def __init__(self, t, greylist="off"):
        self.t = t
        t.dir.joinpath("tls").mkdir()
        pair = certificate.make(t.dir / "tls", "mx")
        self.ports = {False: free_port(), True: free_port()}
        self.backend = t.backend(ehlo=OFFER)
        self.guard = t.guard(
            self.backend,
            tls={"cert": str(pair.cert), "key": str(pair.key)},
            listen=[
                {"name": "plain", "address": f"127.0.0.1:{self.ports[False]}", "role": "mx", "tls": "none"},
                {"name": "secure", "address": f"127.0.0.1:{self.ports[True]}", "role": "mx", "tls": "starttls"},
            ],
            domains={"relay": list(DOMAIN.values())},
            greylist={"mode": greylist, "when": "always", "delay": "1s"},
            runtime={"workers": 1},
        )

    def play(self, sender):
        """The first letter also makes the backend known, without which SMTPUTF8 is not offered."""
        sender.begin(self.t, self.ports)
        for one in LETTERS:
            if one.name not in sender.cannot:
                sender.send(one, self.ports[one.tls])
                self.compare(sender, one)

    def compare(self, sender, sent):
        """Some send a letter to many recipients as several; together they must have it once each, and unchanged."""
        got = wait_for(lambda: self.arrived(sent), f"{sent.name} for all its recipients")
        named = [recipient for taken in got for recipient in taken.recipients]
        same(sorted(named), sorted(sent.recipients), f"recipients of {sent.name}")
        for taken in got:
            same(taken.sender, sent.sender, f"the sender of {sent.name}")
            cut = len(taken.octets) - len(sent.octets)
            same(taken.octets[max(cut, 0):], sent.octets, f"{sent.name} as it arrived")
            self.judge_fields(sender, sent, taken.octets[:cut].decode("utf-8"))

    def arrived(self, sent):
        found = [taken for taken in self.backend.taken() if set(taken.recipients) & set(sent.recipients)]
        return found if sum(len(taken.recipients) for taken in found) >= len(sent.recipients) else None

    def judge_fields(self, sender, sent, text):
        fields = re.split(r"\r\n(?![ \t])", text)
        same(fields.pop(), "", "the end of the fields on top")
        same([field.partition(":")[0] for field in fields[:2]], ["Authentication-Results", "Received"], "our fields")
        same(len(fields), 2 + sender.adds, f"fields on top of {sent.name}")
        has(fields[1], f"with {protocol(sent)} id ")


KINDS = (Swaks, Msmtp, Curl, Smtplib, Pipelining, Nodemailer, PostfixSends, EximSends, OpenSmtpdSends)
TABLE = Path(__file__).resolve().parents[2] / "docs/interoperability.md"


def sends_all(kind):
    def test(t):
        Zoo(t).play(kind())

    test.__name__ = f"test_{kind.__name__.lower()}"
    test.__doc__ = f"{kind.name} sends {', '.join(one.name for one in LETTERS if one.name not in kind.cannot)}: it arrives."
    return test


test_swaks = sends_all(Swaks)
test_msmtp = sends_all(Msmtp)
test_curl = sends_all(Curl)
test_smtplib = sends_all(Smtplib)
test_pipelining = sends_all(Pipelining)
test_nodemailer = sends_all(Nodemailer)
test_postfix = sends_all(PostfixSends)
test_exim = sends_all(EximSends)
test_opensmtpd = sends_all(OpenSmtpdSends)


def waited(condition, seconds):
    try:
        return wait_for(condition, "it", seconds)
    except Failed:
        return False


def comes_again(kind):
    def test(t):
        zoo, sender, letter = Zoo(t, greylist="enforce"), kind(), LETTERS[0]
        sender.begin(t, zoo.ports)
        sender.send(letter, zoo.ports[False])
        wait_for(lambda: zoo.guard.events(event="rcpt", reply=451), "the greylist's 451")
        for _ in range(10):  # what comes too early is deferred once more
            sender.try_again()
            if waited(lambda: zoo.arrived(letter), 3):
                break
        zoo.compare(sender, letter)

    test.__name__ = f"test_{kind.__name__.lower()}_greylisted"
    test.__doc__ = f"{kind.name} is greylisted, comes again, and its letter arrives once."
    return test


test_postfix_greylisted = comes_again(PostfixSends)
test_exim_greylisted = comes_again(EximSends)
test_opensmtpd_greylisted = comes_again(OpenSmtpdSends)


def test_the_table_in_the_docs(t):
    """docs/interoperability.md says of each client what these tests send."""
    rows = [line.strip("|").split("|") for line in TABLE.read_text(encoding="utf-8").splitlines()]
    told = {row[0].strip(): [cell.strip() for cell in row[1:]] for row in rows if len(row) == 1 + len(LETTERS)}
    same(told.pop("client"), [one.name for one in LETTERS], "the columns")
    told = {next((kind.name for kind in KINDS if name.startswith(kind.name)), name): cells for name, cells in told.items()}
    told.pop("---")
    same(told, {kind.name: [says(kind, one) for one in LETTERS] for kind in KINDS}, "the table")


def says(kind, letter):
    return f"no: {kind.cannot[letter.name]}" if letter.name in kind.cannot else "yes"
