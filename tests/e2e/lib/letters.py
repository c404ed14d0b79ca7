"""Letters with all in them that is easily lost on the way."""

from collections import namedtuple

# `tls` is what the client must insist on; `eight_bit` and `utf8` are said in MAIL by those that can say them.
Letter = namedtuple("Letter", "name tls eight_bit utf8 sender recipients octets")

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


def protocol(letter):
    """What the Received field of smtpguard must call it (RFC 3848, RFC 6531 4.3)."""
    return ("UTF8SMTP" if letter.utf8 else "ESMTP") + ("S" if letter.tls else "")
