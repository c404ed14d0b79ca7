"""Reload, drain, sudden death: no session is dropped, and nothing acknowledged is lost."""

import os
import re
import signal
import threading

from lib.backend import Backend
from lib.check import has, same, starts, true, wait_for
from lib.crowd import Crowd
from lib.mail import message
from lib.process import free_port, listens, run
from lib.world import GOOD, OTHER


def test_reload(t):
    """SIGHUP puts new settings in force for new sessions; those that have begun keep what they began with."""
    guard = t.guard()
    with guard.client(GOOD) as before:
        before.ehlo()
        same(
            guard.change(hostname="mx2.example.net", domains={"relay": ["other.test"]})["event"],
            "reload",
            "the reload",
        )
        with guard.client(GOOD) as after:
            has(after.greeting, "mx2.example.net")
            after.ehlo()
            after.say("MAIL FROM:<alice@good.test>", "250 ")
            after.say(f"RCPT TO:<{t.recipient()}>", "550 5.7.1 We do not relay")
        bob = t.recipient()
        before.envelope("alice@good.test", bob)
        starts(before.data(message(recipient=bob)), "250 ")
    has(t.postfix.delivery(bob).message, b"by mx.example.net (smtpguard)")


def test_reload_of_listeners(t):
    """A reload opens new addresses and closes old ones, without touching the sessions on them."""
    guard = t.guard()
    old, new = guard.port, free_port()
    with guard.client(GOOD) as client:
        guard.change(listen=[{"name": "new", "address": f"127.0.0.1:{new}", "role": "mx", "tls": "none"}])
        wait_for(lambda: listens(new) and not listens(old), "the new listener instead of the old one")
        client.ehlo()
        client.quit()
    guard.port = new
    guard.client(GOOD).close()


def test_reload_that_fails(t):
    """A reload with faults names every one of them with its line, and changes nothing."""
    guard = t.guard(admin={"http": f"127.0.0.1:{free_port()}"})
    refused = guard.change(hostname="", limits={"recipients": 0, "idle": "soon"}, greylists={"mode": "off"})
    same(refused["event"], "reload.failed", "the reload")
    faults = [line["text"] for line in guard.events(event="reload.fault")]
    same(len(faults), 4, "faults")
    for fault, name in zip(faults, ("hostname", "limits.recipients", "limits.idle", "greylists")):
        true(re.search(rf"smtpguard\.yaml:\d+:\d+: .*{name}", fault), f"not FILE:LINE:COL: {name}: {fault}")
    same(guard.metric("smtpguard_config_last_reload_successful"), 0, "the metric")
    with guard.client(GOOD) as client:
        client.envelope("alice@good.test", t.recipient())
    refused = guard.change(
        hostname="mx.example.net",
        listen=[{"name": "x", "address": "192.0.2.1:25", "role": "mx", "tls": "none"}],
        limits={"recipients": 100, "idle": "300s"},
        greylists=None,
    )
    same(refused["event"], "reload.failed", "the reload")
    true(guard.listens(), "the listener is gone")


def test_reload_in_part(t):
    """What takes a restart is named by each reload that wants it otherwise, and the rest of it is in force."""
    guard = t.guard()
    changed = {"runtime": {"workers": 3}, "store": {"url": f"sqlite:{guard.dir}/state/other.db"}}
    same(guard.change(admin={"http": f"127.0.0.1:{free_port()}"}, **changed)["event"], "reload", "the reload")
    same(guard.change(limits={"recipients": 100})["event"], "reload", "the reload after it")
    wanted = ["runtime.workers", "store.url", "admin.http"]
    wait_for(lambda: len(guard.events(event="reload.partial")) >= 6, "the warnings")
    said = [line["text"].partition(" ")[0] for line in guard.events(event="reload.partial", level="warning")]
    same(said, wanted + wanted, "what is named")
    changed = {"runtime": {"workers": 2}, "store": {"url": f"sqlite:{guard.dir}/state/state.db"}}
    same(guard.change(admin={"http": ""}, **changed)["event"], "reload", "the way back")
    same(len(guard.events(event="reload.partial")), 6, "nothing is named any more")


def test_reload_under_load(t):
    """Reloads while mail flows drop no session and lose no message."""
    guard, bob = t.guard(limits={"connections_per_client": 100}), t.recipient()
    with Crowd(guard, bob, senders=3) as crowd:
        for i in range(10):
            guard.change(limits={"recipients": 100 + i})
    same(len(t.postfix.deliveries(bob, count=len(crowd.sent))), len(crowd.sent), "messages")


def test_drain(t):
    """SIGTERM: no new sessions, idle ones get 421, a transaction is finished, and the exit code is 0."""
    guard, bob = t.guard(), t.recipient()
    with guard.client(GOOD) as busy, guard.client(OTHER) as idle:
        idle.ehlo()
        busy.envelope("alice@good.test", bob)
        guard.daemon.send(signal.SIGTERM)
        starts(idle.read(), "421 4.3.2")
        true(idle.ended(), "the idle session goes on")
        wait_for(lambda: not guard.listens(), "the listener to close")
        starts(busy.data(message(recipient=bob)), "250 2.0.0 Ok: ")
        starts(busy.read(), "421 4.3.2")
        same(guard.daemon.wait(), 0, "the exit code")
    t.postfix.delivery(bob)


def test_drain_has_a_limit(t):
    """A client that does not finish its transaction holds up the end for runtime.drain at most."""
    guard = t.guard(runtime={"drain": "1s"})
    with guard.client(GOOD) as client:
        client.envelope("alice@good.test", t.recipient())
        guard.daemon.send(signal.SIGTERM)
        same(guard.daemon.wait(10), 0, "the exit code")


def test_sudden_death(t):
    """kill -9 in the middle of everything: each message that got its 250 is at Postfix, and life goes on."""
    guard, bob = t.guard(), t.recipient()
    acknowledged, lock = set(), threading.Lock()

    def send(number):
        count = 0
        while True:
            name = f"<{number}.{count}@good.test>"
            count += 1
            try:
                with guard.client(GOOD) as client:
                    client.envelope("alice@good.test", bob)
                    starts(client.data(message(recipient=bob, Message_ID=name)), "250 ")
            except (OSError, AssertionError):
                return  # the process is gone
            with lock:
                acknowledged.add(name)

    senders = [threading.Thread(target=send, args=(number,)) for number in range(4)]
    for sender in senders:
        sender.start()
    wait_for(lambda: len(acknowledged) >= 50, "fifty messages")
    guard.kill()
    for sender in senders:
        sender.join()

    def arrived():
        return {re.search(r"Message-ID: (.*)", file.read_text())[1] for file in t.postfix.files(bob)}

    wait_for(lambda: acknowledged <= arrived(), "every message that was acknowledged")
    guard.start_again()
    with guard.client(GOOD) as client:
        client.envelope("alice@good.test", bob)
        starts(client.data(message(recipient=bob)), "250 ")


def test_greylist_survives_sudden_death(t):
    """What the greylist has learnt is there again after kill -9."""
    guard, bob = t.guard(greylist={"delay": "1s", "when": "always"}), t.recipient()

    def attempt():
        with guard.client(OTHER) as client:
            client.ehlo()
            client.say("MAIL FROM:<x@other.test>", "250 ")
            return client.say(f"RCPT TO:<{bob}>")

    starts(attempt(), "451 4.7.1 Greylisted")
    wait_for(lambda: attempt().startswith("250"), "the delay to be over")
    guard.kill()
    guard.start_again()
    starts(attempt(), "250 ")


def test_settings_from_the_environment(t):
    """SMTPGUARD_BACKENDS__0__ADDRESS and its like override the file, for containers."""
    backend = t.backend()
    guard = t.prepare(backends=[{"address": "192.0.2.1:25"}])
    guard.daemon.environment["SMTPGUARD_BACKENDS__0__ADDRESS"] = backend.address
    guard.daemon.environment["SMTPGUARD_HOSTNAME"] = "mx9.example.net"
    t.start(guard)
    with guard.client(GOOD) as client:
        has(client.greeting, "mx9.example.net")
        client.envelope("alice@good.test", "bob@example.net")
        starts(client.data(message()), "250 ")
    backend.message()


def test_start_that_fails(t):
    """Wrong settings, a taken address and a missing certificate end the start with 78 and a sentence."""
    taken = Backend()
    cases = [
        ({"hostname": "not a name"}, "hostname"),
        ({"unknown": 1}, "unknown"),
        (
            {
                "tls": {"cert": "/nonexistent.pem"},
                "listen": [{"name": "mx", "address": f"127.0.0.1:{free_port()}", "tls": "starttls"}],
            },
            "/nonexistent.pem",
        ),
        ({"listen": [{"name": "mx", "address": taken.address, "tls": "none"}]}, "address already in use"),
        ({"runtime": {"user": "no-such-user"}}, "no-such-user"),
    ]
    for sections, words in cases:
        guard = t.prepare(**sections)
        code, _, err = run(guard.binary, "run", "-c", guard.file, check=False)
        same(code, 78, f"the exit code for {sections}")
        has(err.decode().lower(), words)
    taken.stop()


def test_privileges_are_dropped(t):
    """Started by root, the process becomes the user of the settings, and keeps its state private."""
    guard = t.guard()
    status = dict(
        line.split(":\t", 1)
        for line in open(f"/proc/{guard.daemon.process.pid}/status", encoding="ascii").read().splitlines()
        if ":\t" in line
    )
    same(
        set(status["Uid"].split()) | set(status["Gid"].split()),
        {"65534"},
        "the user and group of the process",
    )
    same(status["NoNewPrivs"], "1", "NoNewPrivs")
    same(int(status["CapEff"], 16), 0, "capabilities")
    state = guard.dir / "state" / "state.db"
    same(os.stat(state).st_mode & 0o077, 0, "permissions of the state for others")


def test_without_privileges(t):
    """Started by somebody else than root, it gives up what is left: no core file, no debugger of that user's."""
    guard = t.prepare()
    guard.daemon.command[:0] = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
    t.start(guard)
    process = f"/proc/{guard.daemon.process.pid}"
    with open(f"{process}/status", encoding="ascii") as status:
        has(status.read(), "NoNewPrivs:\t1\n")
    same(os.stat(f"{process}/environ").st_uid, 0, "the owner of a process without core files (proc(5))")
