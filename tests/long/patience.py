#!/usr/bin/python3
"""Deadlines that take a minute: a message that trickles, a chunk that never comes, a handshake that nobody begins."""
import concurrent.futures
import os
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/e2e"))
if os.geteuid() != 0:  # smtpguard is to become another user
    os.execvp("sudo", ["sudo", "--preserve-env=BUILD", sys.executable, __file__])

from lib import certificate
from lib.backend import Backend
from lib.check import same, starts, true
from lib.guard import Guard
from lib.mail import message
from lib.world import GOOD

SLOW = "421 4.4.2 The message comes too slowly"
SLACK_S = 10  # on a busy machine


def ends_after(client, seconds, words):
    """The session ends with these words, then and not before."""
    begun = time.monotonic()
    client.socket.settimeout(seconds + SLACK_S)
    starts(client.read(), words)
    true(client.ended(), "the connection stays open")
    took = time.monotonic() - begun
    true(seconds - 1 < took < seconds + SLACK_S, f"it took {took:.1f} s, not {seconds}")


def data_that_does_not_come(client):
    client.envelope("alice@good.test", "bob@example.net")
    client.say("DATA", "354 ")
    client.send(b"Subject: I will tell you\r\n")
    ends_after(client, 60, SLOW)


def chunk_that_does_not_come(client):
    client.envelope("alice@good.test", "bob@example.net")
    client.send(b"BDAT 2\r\n\r\n")
    starts(client.read(), "250 ")
    ends_after(client, 60, SLOW)


def handshake_that_does_not_come(client):
    client.ehlo()
    client.say("STARTTLS", "220 ")
    ends_after(client, 20, "")


def data_just_fast_enough(client):
    """600 octets a second, where 500 are asked for."""
    client.envelope("alice@good.test", "bob@example.net")
    client.say("DATA", "354 ")
    client.send(message())
    for _ in range(75):
        client.send(b"x" * 598 + b"\r\n")
        time.sleep(1)
    client.send(b".\r\n")
    starts(client.read(), "250 ")


def message_that_outlasts_the_session(client, rate):
    """140 s, where limits.session is 100."""
    client.envelope("alice@good.test", "bob@example.net")
    client.say("DATA", "354 ")
    client.send(message())
    for _ in range(140):
        client.send((b"x" * 998 + b"\r\n") * (rate // 1000))
        time.sleep(1)
    client.send(b".\r\n")
    return client.read()


def large_message_on_a_slow_line(client):
    starts(message_that_outlasts_the_session(client, 6000), "250 ")
    starts(client.read(), "421 4.4.2 The session took too long")


def message_that_dawdles(client):
    try:
        starts(message_that_outlasts_the_session(client, 1000), "421 4.4.2 The session took too long")
    except OSError:  # it was sent on
        starts(client.read(), "421 4.4.2 The session took too long")


CASES = {
    "DATA, and then nothing: 421 after a minute": data_that_does_not_come,
    "a chunk, and then nothing: 421 after a minute": chunk_that_does_not_come,
    "STARTTLS, and then nothing: closed after 20 s": handshake_that_does_not_come,
    "a message that takes more than a minute, and comes at more than limits.data_rate, is taken": data_just_fast_enough,
    "a message that takes longer than limits.session, at 6 kB a second, is taken; then the session ends": large_message_on_a_slow_line,
    "one at 1 kB a second is not": message_that_dawdles,
}


def is_fine(guard, sentence):
    try:
        with guard.client(GOOD) as client:
            CASES[sentence](client)
        print(f"ok  {sentence}", flush=True)
        return True
    except Exception as why:  # whatever it is, it is said
        print(f"FAILED  {sentence}\n{why}", flush=True)
        return False


def main():
    with tempfile.TemporaryDirectory(prefix="smtpguard-patience.") as folder:
        directory = Path(folder)
        directory.chmod(0o755)
        pair = certificate.make(directory, "mx")
        backend = Backend().start()
        off = {name: {"mode": "off"} for name in ("spf", "dmarc", "greylist")}
        guard = Guard(
            Path(os.environ.get("BUILD", "build/release")) / "smtpguard",
            directory / "guard",
            backend.address,
            "127.0.0.1:1",
            {"limits": {"session": "100s"}, "tls": {"cert": str(pair.cert), "key": str(pair.key)}, "screen": {"sender_domain": "off", "fcrdns": "off"}, **off},
        )
        guard.settings["listen"][0]["tls"] = "starttls"
        guard.write()
        guard.start()
        with concurrent.futures.ThreadPoolExecutor(len(CASES)) as pool:
            results = list(pool.map(lambda sentence: is_fine(guard, sentence), CASES))
        same(guard.daemon.stop(), 0, "smtpguard's exit code")
        backend.stop()
    print(f"{sum(results)} passed, {len(results) - sum(results)} failed, 0 skipped")
    sys.exit(not all(results))


main()
