"""SMTP smuggling and command injection: SEC Consult's list of fake ends of data, and NO STARTTLS."""

import json

from lib.check import Failed, has_not, same, starts, true, wait_for
from lib.mail import message
from lib.postfix import RECEIVER, Postfix
from lib.process import run
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


# ---- the table of all ends of data ----

ENDS = {"none": b"", "CR": b"\r", "LF": b"\n", "CRLF": b"\r\n"}
WAYS = ("DATA", "BDAT", "BDAT BDAT")


class Row:
    """One message with a dot between two line ends, and commands behind it, which are commands only where the dot was the end."""

    def __init__(self, before, after, way, at_once, bob, victim):
        self.name = f"{before}.{after} {way} {'at once' if at_once else 'piece by piece'}"
        self.way, self.at_once, self.bob = way, at_once, bob
        self.is_end = way == "DATA" and before == after == "CRLF"
        head = message(recipient=bob, subject=self.name, body="Hello").removesuffix(b"\r\n")
        behind = ENDS[after] + SMUGGLED.format(victim=victim).encode()
        self.parts = [head + ENDS[before], b".", behind]
        text = b"".join(self.parts)
        stray = text.replace(b"\r\n", b"")
        self.is_bare = b"\r" in stray or b"\n" in stray
        if way == "DATA":  # the end is CRLF.CRLF (RFC 5321 4.1.1.4); a dot that begins a line goes (4.5.2)
            text = text.partition(b"\r\n.\r\n")[0] + b"\r\n"
            text = text.replace(b"\r\n.", b"\r\n")
        self.message = text

    def begin(self, client):
        """What comes before the octets of the message, piece by piece."""
        if self.way == "DATA":
            client.say("DATA", "354 ")
            return self.parts
        head, *tail = self.parts
        sizes = [len(head) + 1 + len(tail[1])] if self.way == "BDAT" else [len(head), 1 + len(tail[1])]
        if len(sizes) == 1:
            return [b"BDAT %d LAST\r\n" % sizes[0], *self.parts]
        return [b"BDAT %d\r\n" % sizes[0], head, b"BDAT %d LAST\r\n" % sizes[1], *tail]

    def send(self, client):
        pieces = self.begin(client)
        for piece in [b"".join(pieces)] if self.at_once else pieces:
            client.send(piece)

    def play(self, guard):
        """One reply for one message. Where the dot was the end, the rest are commands, and a text before its 354."""
        with guard.client(GOOD) as client:
            client.envelope("alice@good.test", self.bob)
            self.send(client)
            if self.way == "BDAT BDAT":
                starts(client.read(), "250 ")
            starts(client.read(), "550 5.6.11 " if self.is_bare else "250 2.0.0 ")
            if self.is_end:
                for reply in ("250 2.1.0 ", "250 2.1.5 ", "554 5.5.0 ", ""):
                    starts(client.read(), reply)
            else:
                client.say("NOOP", "250 ")


def play_table(guard, bob, victim):
    """All rows; returns the messages that may arrive, by their subject."""
    rows = [
        Row(before, after, way, at_once, bob, victim)
        for before in ENDS
        for after in ENDS
        for way in WAYS
        for at_once in (True, False)
    ]
    for row in rows:
        try:
            row.play(guard)
        except Failed as why:
            raise Failed(f"{row.name}: {why}") from None
    good = {row.name: row.message for row in rows if not row.is_bare}
    same((len(rows), len(good)), (96, 24), "rows, and those without a bare CR or LF")
    return good


def compare(got, good):
    """Each message arrived once, as the oracle has it, and no other did."""
    same(len(got), len(good), "messages that arrived")
    for name, text in good.items():
        (one,) = [each for each in got if f"Subject: {name}\r\n".encode() in each]
        same(one[one.index(b"From: alice@") :], text, name)


def test_all_ends_of_data_before_a_recording_backend(t):
    """{none, CR, LF, CRLF} dot {none, CR, LF, CRLF}, over DATA, one chunk, two chunks, at once and piece by piece: what the backend got."""
    backend = t.backend()
    good = play_table(t.guard(backend, limits={"errors": 1000}), "bob@example.net", "victim@example.net")
    compare([raw.replace(b"\r\n.", b"\r\n") for raw in backend.messages], good)
    said = [line for session in backend.sessions for line in session]
    same(len([line for line in said if "<victim@" in line]), 2, "RCPT of the victim, by commands that were some")


def test_all_ends_of_data_before_postfix(t):
    """The same table before a real Postfix, to whom messages go by BDAT, and before one without CHUNKING."""
    chunking, plain = t.postfix, t.start(Postfix(t.dir / "plain", RECEIVER + "smtpd_discard_ehlo_keywords = chunking\n"))
    for postfix, bob, victim in ((chunking, t.recipient(), t.recipient()), (plain, "u1@example.net", "u2@example.net")):
        good = play_table(t.guard(postfix), bob, victim)
        compare([delivery.message for delivery in postfix.deliveries(bob, len(good))], good)
        wait_for(lambda: b"queue is empty" in run("postqueue", "-c", postfix.dir / "conf", "-p")[1], "Postfix to have no mail left")
        same(len(postfix.files(bob)), len(good), "messages for bob")
        same(postfix.files(victim), [], "messages for the victim")


def test_dropping(t):
    """With screen.bare_line_ends: drop a bare line end is 521 and the end of the session, in a message and in a command."""
    backend = t.backend()
    guard = t.guard(backend, screen={"bare_line_ends": "drop"})
    for bare in (b"Hello\n\r\n", b"Hello\r\r\n", b"Hel\0lo\r\n"):
        with guard.client(GOOD) as client:
            client.envelope("alice@good.test", "bob@example.net")
            starts(client.data(message(body=bare)), "521 5.6.11 ")
            true(client.ended(), "the session goes on")
        with guard.client(GOOD) as client:
            client.ehlo()
            client.send(b"NOOP " + bare)
            starts(client.read(), "521 5.5.2 ")
            true(client.ended(), "the session goes on")
    same(backend.messages, [], "messages at the backend")
    wait_for(lambda: len(guard.events(event="message", action="drop", reply=521)) == 3, "three messages dropped, in the log")
