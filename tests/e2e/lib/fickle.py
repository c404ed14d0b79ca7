"""A backend of many moods: each of its answers is good, bad, late, garbled or none at all, and it keeps the books."""

import random
import re
import socket
import struct
import time
from dataclasses import dataclass, field

from lib.backend import Backend

AFTER_THAT_NOBODY_KNOWS_S = 1.0  # a reply this late may find nobody who listens; REPLY_TIMEOUT is well beyond it


class Gone(Exception):
    """This connection is over."""


@dataclass
class Taken:
    """A message that came to its end at a backend."""

    octets: bytes
    recipients: set
    code: int  # of the reply that left, whole and in time; 0 when nobody can know what of it arrived


@dataclass
class Transaction:
    id: str
    recipients: set = field(default_factory=set)
    replies: dict = field(default_factory=dict)  # for each recipient, the code that left


def reset(connection):
    """Closes with RST, and what was not read yet is lost."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


class FickleBackend(Backend):
    """`trouble` is the share of answers that are no good ones. What a transaction suffers follows from the seed and
    its sender's name alone."""

    MOODS = ("temporary", "permanent", "goodbye", "lines", "slow", "late", "close", "reset", "half", "hang",
             "garbage", "twice", "last word", "early")

    def __init__(self, seed, number, trouble=0.12):
        super().__init__()
        self.seed, self.number, self.trouble = seed, number, trouble
        self.taken = []
        self.strange = []  # what no backend should ever see
        rng = random.Random(f"{seed}/backend/{number}")
        self.extensions = [word for word in ("PIPELINING", "CHUNKING", "8BITMIME") if rng.random() < 0.6]
        self.cramped = rng.random() < 0.5
        if self.cramped:  # it reads slowly, from a small window
            self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)

    # ---- a connection ----

    def converse(self, connection, lines, commands):
        talk = Talk(self, connection, lines, random.Random(f"{self.seed}/{self.number}/{len(self.sessions)}"))
        try:
            talk.go()
        except Gone:
            pass
        except AssertionError as why:
            self.strange.append(f"backend {self.number}: {why}")


class Talk:
    def __init__(self, backend, connection, lines, rng):
        self.backend, self.connection, self.lines = backend, connection, lines
        self.rng = self.own_rng = rng
        self.tx = None

    def go(self):
        self.answer("220 fickle.test ESMTP")
        while line := self.lines.readline():
            verb = line[:4].upper()
            handler = getattr(self, "on_" + verb.decode("latin-1").strip().lower(), None)
            if not line.endswith(b"\r\n") or b"\r" in line[:-2] or handler is None:
                raise AssertionError(f"a line that no backend should see: {line!r}")
            handler(line[:-2].decode("latin-1"))

    # ---- what it says ----

    def mood(self):
        return self.rng.choice(FickleBackend.MOODS) if self.rng.random() < self.backend.trouble else "good"

    def send(self, text):
        try:
            self.connection.sendall(text.encode("latin-1"))
        except OSError:
            raise Gone from None

    def hang(self):
        try:
            self.lines.read()
        except OSError:
            pass
        raise Gone

    def answer(self, good):
        """The code of the reply that left as it should, 0 when it is nobody's guess what the other side has read."""
        mood = self.mood()
        code, certain, text = int(good[:3]), True, good
        if mood == "temporary":
            code, text = 451, "451 4.3.2 In no mood"
        elif mood == "permanent":
            code, text = 554, "554 5.3.2 In no mood at all"
        elif mood == "goodbye":
            code, text = 421, "421 4.3.2 Goodbye"
        elif mood == "lines" and code != 354:
            text = f"{code}-And more\r\n{text}"
        elif mood == "late":
            time.sleep(self.rng.random() * 0.2)
        elif mood == "slow":
            for octet in text:
                self.send(octet)
            text = ""
        elif mood == "garbage":
            code, text = 0, self.rng.choice((f"{code} Ok\nnot", "999 What", "25", "ok", f"{code}-a\r\n450 b", "\0" * 9))
        elif mood == "twice":
            certain, text = False, f"{text}\r\n{text}"
        elif mood in ("close", "reset", "half"):
            self.send(text[: self.rng.randrange(len(text))] if mood == "half" else "")
            reset(self.connection) if mood == "reset" else None
            raise Gone
        elif mood == "hang":
            self.hang()
        self.send(text + "\r\n")
        if mood == "goodbye" or (mood == "last word" and good[:3] in ("250", "451", "554")):
            self.last_word = code
            raise Gone
        return code if certain else 0

    # ---- commands ----

    def on_ehlo(self, _):
        self.answer("250-fickle.test" + "".join(f"\r\n250-{word}" for word in self.backend.extensions) +
                    "\r\n250 SIZE 52428800")

    def on_helo(self, _):
        self.answer("250 fickle.test")

    def on_mail(self, line):
        name = re.match(r"MAIL FROM:<([^@>]*)", line)[1]
        self.rng = random.Random(f"{self.backend.seed}/{name}")
        self.tx = None
        if self.answer("250 2.1.0 Ok") in (0, 250):
            self.tx = Transaction(name)

    def on_rcpt(self, line):
        recipient = re.match(r"RCPT TO:<([^>]*)>", line)[1]
        if self.tx is None:
            self.send("503 5.5.1 No MAIL\r\n")
            return
        if self.answer("250 2.1.5 Ok") in (0, 250):
            self.tx.recipients.add(recipient)

    def on_rset(self, _):
        self.rng, self.tx = self.own_rng, None
        self.answer("250 2.0.0 Ok")

    def on_quit(self, _):
        self.answer("221 2.0.0 Bye")
        raise Gone

    def on_data(self, _):
        if self.tx is None or not self.tx.recipients:
            self.send("503 5.5.1 No recipients\r\n")
            return
        if self.rng.random() < self.backend.trouble / 10:  # a 250 for nothing
            self.send("354 Go ahead\r\n250 2.0.0 Taken already\r\n")
            self.tx.replies["early"] = True
        elif self.answer("354 Go ahead") not in (0, 354):
            self.tx = None
            return
        octets = bytearray()
        while (line := self.lines.readline()) != b".\r\n":
            if not line.endswith(b"\r\n"):
                raise Gone  # cut within the message: it is none
            octets += line[1:] if line.startswith(b".") else line
            self.dawdle(octets)
        self.end(bytes(octets))

    def on_bdat(self, line):
        size, last = re.fullmatch(r"BDAT (\d+)( LAST)?", line).groups()
        if last is None:
            raise AssertionError(f"smtpguard sends one chunk, and this is another: {line}")
        if self.tx is None or not self.tx.recipients:
            self.lines.read(int(size))
            self.send("503 5.5.1 No recipients\r\n")
            return
        octets = self.lines.read(int(size))
        if len(octets) < int(size):
            raise Gone
        self.end(octets)

    def dawdle(self, octets):
        if self.backend.cramped and len(octets) % 64 == 0:
            time.sleep(0.0002)

    def end(self, octets):
        taken = Taken(octets, self.tx.recipients, 0)
        early = "early" in self.tx.replies
        self.tx = None
        with self.backend.lock:
            self.backend.taken.append(taken)
        began = time.monotonic()
        self.last_word = 0
        try:
            code = self.answer("250 2.0.0 Taken")
        except Gone:
            taken.code = self.last_word
            raise
        finally:
            self.rng = self.own_rng
        if time.monotonic() - began < AFTER_THAT_NOBODY_KNOWS_S and not early:
            taken.code = code
