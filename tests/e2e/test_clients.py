"""Clients that other people have written: what each sends reaches the backend octet by octet."""

import re

from lib.check import has, same, wait_for
from lib.process import free_port
from lib import certificate
from lib.senders import Curl, Letter, Msmtp, Nodemailer, Pipelining, Smtplib, Swaks

HEADER = "From: Carol <{sender}>\r\nTo: some@example.net\r\nSubject: {subject}\r\nDate: Mon, 06 Jul 2026 10:00:00 +0000\r\n" \
         "Message-ID: <{id}@sender.test>\r\n"
MIME = "MIME-Version: 1.0\r\nContent-Type: text/plain; charset={charset}\r\nContent-Transfer-Encoding: 8bit\r\n"
BODY = b"".join((
    b"A body with all that is easily lost:\r\n",
    b".\r\n..\r\n.a line with a dot in front\r\n...three of them.\r\n",
    b"trailing blanks   \t \r\n", b" \r\n", b"\r\n\r\n",
    b"From the start of a line\r\n", b"=46=3D looks like quoted-printable\r\n",
    b"x" * 990 + b"\r\n",
    b"the end has empty lines.\r\n\r\n\r\n",
))
ALL_OCTETS = bytes(octet for octet in range(0x80, 0x100)) + b"\r\n"
DOMAIN = {False: "example.net", True: "tls.example.net"}  # by which the servers among the clients know the port


def letter(name, tls=False, eight_bit=False, utf8=False, sender="carol@sender.test", count=1, more=b""):
    subject = "Grüße von der Zoë" if utf8 else name
    head = HEADER.format(sender=sender, subject=subject, id=name.replace(" ", "-"))
    head += MIME.format(charset="utf-8" if utf8 else "iso-8859-1") if eight_bit else ""
    recipients = [f"{name.lower().replace(' ', '-')}{number}@{DOMAIN[tls]}" for number in range(count)]
    return Letter(name, tls, eight_bit, utf8, sender, recipients, head.encode() + b"\r\n" + BODY + more)


LETTERS = [
    letter("plain"),
    letter("STARTTLS", tls=True),
    letter("8-bit", eight_bit=True, more=ALL_OCTETS * 7),
    letter("SMTPUTF8", tls=True, eight_bit=True, utf8=True, sender="zoë@sender.test", more="Grüße\r\n".encode()),
    letter("10 MB", tls=True, more=b"".join(b"%070d\r\n" % number for number in range(140_000))),
    letter("100 recipients", count=100),
]

OFFER = "250-backend.test\r\n250-PIPELINING\r\n250-SIZE 52428800\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-DSN\r\n" \
        "250 ENHANCEDSTATUSCODES"


class Zoo:
    """An smtpguard with a port without TLS and one with it, before a backend that keeps what it hears."""

    def __init__(self, t):
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
            greylist={"mode": "off"},
            runtime={"workers": 1},
        )

    def play(self, sender):
        """The first letter also makes the backend known, without which SMTPUTF8 is not offered."""
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
        protocol = ("UTF8SMTP" if sent.utf8 else "ESMTP") + ("S" if sent.tls else "")
        has(fields[1], f"with {protocol} id ")


def sends_all(kind):
    def test(t):
        Zoo(t).play(kind(t.dir))

    test.__name__ = f"test_{kind.__name__.lower()}"
    test.__doc__ = f"{kind.name} sends {', '.join(one.name for one in LETTERS if one.name not in kind.cannot)}: it arrives."
    return test


test_swaks = sends_all(Swaks)
test_msmtp = sends_all(Msmtp)
test_curl = sends_all(Curl)
test_smtplib = sends_all(Smtplib)
test_pipelining = sends_all(Pipelining)
test_nodemailer = sends_all(Nodemailer)
