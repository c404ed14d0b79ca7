"""The first promise, against chance: clients and backends that do anything at any moment, and the books must agree.

SMTPGUARD_SEED plays one run's clients and backends again (the threads' order is not a part of it);
SMTPGUARD_SESSIONS makes it longer, as `make check-long` does."""

import collections
import concurrent.futures
import os
import random
import socket
from dataclasses import dataclass, field

from lib import certificate
from lib.check import Failed
from lib.client import Client, stuffed
from lib.fickle import FickleBackend, reset
from lib.process import free_port
from lib.world import GOOD

SESSIONS = int(os.environ.get("SMTPGUARD_SESSIONS", "150"))
SEED = os.environ.get("SMTPGUARD_SEED") or str(random.randrange(10**9))
AT_ONCE = 24
REPLY_TIMEOUT = "3s"


class Left(Exception):
    """The client has gone, or was sent away."""


@dataclass
class Letter:
    """What the client knows of one message."""

    id: str
    octets: bytes = b""
    stuffed: bytes = b""  # as DATA wants them
    recipients: set = field(default_factory=set)  # those that were answered with 250
    is_good: bool = True  # no bare CR, bare LF or NUL
    is_sent: bool = False  # to its last octet, perhaps
    heard: int = 0  # the code after it; 0: nothing


class Walk:
    """One client's session."""

    def __init__(self, guard, number):
        self.rng = random.Random(f"{SEED}/{number}")
        self.number = number
        self.letters = []
        self.strange = []  # what no client should ever see
        self.guard = guard
        self.has_closed = False  # its own side of the connection

    def go(self):
        try:
            self.client = self.guard.client(GOOD)
            with self.client:
                self.session()
        except Left:
            pass
        except OSError as why:
            if not self.has_closed:
                self.strange.append(f"s{self.number}: sent away: {why!r}")
        return self

    def session(self):
        self.hello()
        if self.rng.random() < 0.15:
            self.say("STARTTLS", "220")
            self.client.handshake()
            self.hello()
        for number in range(self.rng.randint(1, 4)):
            self.transaction(f"s{self.number}.{number}")
        self.say("QUIT", "221")

    def hello(self):
        self.chunking = "CHUNKING" in self.say("EHLO mx.good.test", "250")

    # ---- moves ----

    def leave(self):
        self.has_closed = True
        how = self.rng.choice(("close", "reset", "half"))
        if how == "reset":
            reset(self.client.socket)
        elif how == "half" and not hasattr(self.client.socket, "cipher"):
            self.client.socket.shutdown(socket.SHUT_WR)
            return
        raise Left

    def perhaps_leave(self, chance=0.01):
        if self.rng.random() < chance:
            self.leave()

    def send(self, octets):
        """In one write or in several."""
        while octets:
            n = len(octets) if self.rng.random() < 0.5 else self.rng.randint(1, len(octets))
            self.client.send(octets[:n])
            octets = octets[n:]
            self.perhaps_leave(0.002)

    def hear(self, *codes):
        reply = self.client.read()
        if reply == "" and not self.has_closed:
            self.strange.append(f"s{self.number}: sent away without a word")
        if reply == "":
            raise Left
        if codes and not reply.startswith(codes):
            self.strange.append(f"s{self.number}: {reply!r} instead of {codes}")
            raise Left
        return reply

    def say(self, line, *codes):
        self.perhaps_leave()
        self.send(line.encode() + b"\r\n")
        return self.hear(*codes)

    # ---- a transaction ----

    def transaction(self, name):
        letter = Letter(name)
        self.letters.append(letter)
        self.distract()
        recipients = [f"r{i}.{name}@example.net" for i in range(self.rng.randint(1, 3))]
        commands = [f"MAIL FROM:<{name}@good.test>"] + [f"RCPT TO:<{address}>" for address in recipients]
        by_chunks = self.chunking and self.rng.random() < 0.4
        pipelines = self.rng.random() < 0.5
        if pipelines:
            self.send("".join(f"{line}\r\n" for line in commands).encode())
        for line in commands:
            reply = self.hear("2", "4", "5") if pipelines else self.say(line, "2", "4", "5")
            if line.startswith("RCPT") and reply.startswith("2"):
                letter.recipients.add(line[9:-1])
        if self.rng.random() < 0.03:
            self.say(self.rng.choice(("RSET", "EHLO mx.good.test")), "250")
            return
        self.write(letter)
        if not letter.recipients:
            self.say("DATA", "5")
            self.say("RSET", "250")
        elif by_chunks:
            self.in_chunks(letter)
        else:
            self.in_lines(letter)

    def distract(self):
        while self.rng.random() < 0.1:
            self.say(self.rng.choice(("NOOP", "RSET", "VRFY bob", "EHLO mx.good.test")), "2")

    def write(self, letter):
        rng = self.rng
        size = rng.choice((1, 5, 50, 500)) if rng.random() < 0.95 else 20000
        lines = (rng.choice((".", "..", "", ".x", "x" * rng.randint(1, 200))) for _ in range(size))
        body = "\r\n".join(lines) + "\r\n"
        letter.octets = f"From: alice@good.test\r\nX-Id: {letter.id}\r\n\r\n{body}".encode()
        letter.stuffed = stuffed(letter.octets)
        if rng.random() < 0.08:
            letter.is_good = False
            at = len(letter.octets) - rng.randint(2, len(body))
            evil = rng.choice((b"\n", b"\r\r\n", b"\0", b"\n.\n", b"x\n.\r\n", b"\r.\r\n", b"\r\n.\r\r\n", b"\r\n.\n"))
            letter.stuffed = letter.octets[:at].replace(b"\r\n.", b"\r\n..") + evil + stuffed(letter.octets[at:])
            letter.octets = letter.octets[:at] + evil + letter.octets[at:]

    def in_lines(self, letter):
        reply = self.say("DATA", "354", "4", "5")
        if not reply.startswith("354"):
            return
        self.send(letter.stuffed[:-1])
        self.perhaps_leave(0.04)
        letter.is_sent = True
        self.send(letter.stuffed[-1:])
        self.end(letter)

    def in_chunks(self, letter):
        rest, chunks = letter.octets, []
        while rest and self.rng.random() < 0.6:
            n = self.rng.randint(0, len(rest))
            chunks.append(rest[:n])
            rest = rest[n:]
        pipelines = self.rng.random() < 0.5
        for chunk in chunks:
            self.send(f"BDAT {len(chunk)}\r\n".encode() + chunk)
            if not pipelines:
                self.hear("250")
        letter.is_sent = True  # perhaps
        self.send(f"BDAT {len(rest)} LAST\r\n".encode() + rest)
        for _ in chunks if pipelines else ():
            self.hear("250")
        self.end(letter)

    def end(self, letter):
        self.perhaps_leave(0.06)
        letter.heard = int(self.hear("2", "4", "5")[:3])


# ---- the books ----


def fault(letter, copies):
    """What is wrong between what a client heard and what the backends have, or None."""
    taken = [copy for copy in copies if copy.code == 250]
    if len(copies) > 1:
        return f"{len(copies)} copies"
    if copies and not letter.is_sent:
        return "a message that was not sent to its end"
    if copies and not letter.is_good:
        return "a message that must be refused"
    if copies and not copies[0].octets.endswith(letter.octets):
        return "other octets"
    if copies and copies[0].recipients != letter.recipients:
        return f"went to {copies[0].recipients}, and {letter.recipients} were accepted"
    if letter.heard == 250 and not copies:
        return "250, and no backend has it"
    if letter.heard == 250 and copies[0].code not in (250, 0):
        return f"250, and the backend said {copies[0].code}"
    if letter.heard >= 400 and taken:
        return f"{letter.heard}, and the backend said 250: it will come again"
    if letter.heard and copies and copies[0].code >= 400:
        want = 451 if copies[0].code == 421 else copies[0].code
        if letter.heard != want:
            return f"{letter.heard}, and the backend said {copies[0].code}"
    if letter.heard and not letter.is_good and letter.heard not in (550, 451):
        return f"{letter.heard} for octets that must be refused"
    return None


def compare(walks, backends):
    copies = collections.defaultdict(list)
    for backend in backends:
        for taken in backend.taken:
            copies[taken.octets.partition(b"X-Id: ")[2].partition(b"\r\n")[0].decode()].append(taken)
    letters = [letter for walk in walks for letter in walk.letters]
    strays = set(copies) - {letter.id for letter in letters}
    faults = [f"{name}: a message that nobody sent" for name in strays]
    faults += [line for walk in [*walks, *backends] for line in walk.strange]
    for letter in letters:
        what = fault(letter, copies[letter.id])
        if what is not None:
            faults.append(f"{letter.id}: {what}")
    return letters, faults


def test_the_promise_against_chance(t):
    """Whatever clients and backends do: 250 means the backend has it, 4xx that it has not; none comes twice."""
    backends = [t.start(FickleBackend(SEED, number)) for number in range(3)]
    pair = certificate.make(t.dir, "mx")
    guard = t.guard(
        tls={"cert": str(pair.cert), "key": str(pair.key)},
        backends=[{"address": b.address, "reply_timeout": REPLY_TIMEOUT, "connect_timeout": "4s"} for b in backends],
        limits={"connections_per_client": 1000, "spool_memory": "64K"},
        greylist={"mode": "off"},
    )
    port = free_port()
    guard.change(listen=[{"name": "mx", "address": f"127.0.0.1:{port}", "role": "mx", "tls": "starttls"}])
    guard.port = port
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        walks = list(pool.map(lambda number: Walk(guard, number).go(), range(SESSIONS)))
    letters, faults = compare(walks, backends)
    heard = collections.Counter(letter.heard for letter in letters)
    print(f"seed {SEED}: {len(letters)} messages, {dict(heard)}", flush=True)
    if faults:
        raise Failed(f"SMTPGUARD_SEED={SEED}\n" + "\n".join(faults[:50]))
