"""When the backend fails: nothing is lost, nothing doubled, and no 250 is said that is not true."""

import time

from lib.backend import CLOSE, HANG, Backend
from lib.check import has, same, starts, true, wait_for
from lib.client import attempt as deliver
from lib.client import stuffed
from lib.mail import message
from lib.process import free_port
from lib.world import GOOD

MAIL = message()
IMPATIENT = {"connect_timeout": "1s", "reply_timeout": "1s"}


def before(t, *backends, **sections):
    """smtpguard before backends that it does not wait for long."""
    listed = [{"address": backend.address, **IMPATIENT} for backend in backends]
    return t.guard(backends=listed, runtime={"workers": 1}, **sections)


def attempt(guard, host=GOOD):
    return deliver(guard, host, MAIL)


def test_backend_refuses_connections(t):
    """A backend that is down costs 451 at once; the session goes on, and mail flows as soon as it is up."""

    class Down:
        port = free_port()
        address = f"127.0.0.1:{port}"

    http = f"127.0.0.1:{free_port()}"
    guard = before(t, Down, admin={"http": http})
    begun = time.monotonic()
    starts(attempt(guard), "451 4.3.0 The mail server behind this one cannot be reached")
    true(time.monotonic() - begun < 0.9, "the client had to wait")
    status, text = guard.get("/readyz")
    same(status, 503, "readiness")
    has(text, "no backend can be reached")
    t.start(Backend(port=Down.port))
    starts(attempt(guard), "250 2.0.0 Taken")
    same(guard.get("/readyz")[0], 200, "readiness")
    has(guard.event(event="backend.down")["text"], Down.address)
    guard.event(event="backend.up")


def test_second_backend(t):
    """When the first backend is down, the next one of the list gets the mail, and nobody notices."""

    class Down:
        address = f"127.0.0.1:{free_port()}"

    backend = t.backend()
    guard = before(t, Down, backend)
    starts(attempt(guard), "250 2.0.0 Taken")
    has(backend.message(), MAIL)


def test_backend_without_xclient(t):
    """A backend that cannot hear who the client is gets the mail; that it cannot is said once."""
    backend = t.backend()
    guard = t.guard(backends=[{"address": backend.address, "pool": 0}], runtime={"workers": 1})
    for _ in range(2):
        starts(attempt(guard), "250 2.0.0 Taken")
    same(len(backend.sessions), 3, "connections, with the one on which it was heard first")
    has(guard.event(event="backend.xclient", level="warning")["text"], f"{backend.address} does not offer XCLIENT")


def test_backend_hangs(t):
    """A backend that hangs, at whatever step, costs 451 after its deadline, and its connection."""
    for step in ("banner", "ehlo", "mail", "rcpt", "data", "dot"):
        backend = t.backend(**{step: HANG})
        guard = before(t, backend)
        begun = time.monotonic()
        starts(attempt(guard), "451 4.3.0 ")
        true(0.9 < time.monotonic() - begun < 5, f"{step}: not its deadline of a second")
        # The connection on which it was heard serves the message, too, unless that is silent: it may be a stale one.
        same(len(backend.sessions), 2 if step in ("banner", "ehlo", "mail") else 1, f"{step}: connections")


def test_backend_closes(t):
    """A backend that closes the connection, at whatever step, costs 451; nobody sends the message again."""
    for step in ("banner", "ehlo", "mail", "rcpt", "data", "dot"):
        backend = t.backend(**{step: CLOSE})
        starts(attempt(before(t, backend)), "451 4.3.0 ")
        same(len(backend.messages), 1 if step == "dot" else 0, f"{step}: messages sent")


def test_backend_refuses_for_now_or_for_good(t):
    """What the backend refuses is refused in its words: 4xx stays 4xx, and 5xx stays 5xx; an enhanced code that it lacks is added."""
    for step in ("mail", "rcpt", "data", "dot"):
        for reply in (
            "450 4.2.0 Mailbox busy",
            "550 5.7.1 We know this one",
            "452 No room, and no enhanced code",
            "554-5.6.0 It has\r\n554 5.6.0 two lines",
        ):
            backend = t.backend(**{step: reply})
            wanted = reply.replace("\r\n", "\n").replace("452 No room", "452 4.0.0 No room")
            same(attempt(before(t, backend)), wanted, f"the reply when {step} is refused")


def test_backend_refuses_us(t):
    """A backend that turns us away, or says 421, costs 451 and never the client's session."""
    for step, reply in (
        ("banner", "554 5.7.1 Not you"),
        ("banner", "421 4.3.2 Too busy"),
        ("ehlo", "450 4.3.2 Not now"),
        ("mail", "421 4.3.2 Closing"),
        ("rcpt", "421 4.3.2 Closing"),
        ("data", "421 4.3.2 Closing"),
        ("dot", "421 4.3.2 Closing"),
    ):
        starts(attempt(before(t, t.backend(**{step: reply}))), "451 4.3.")


def test_backend_talks_nonsense(t):
    """Garbage, impossible codes, endless lines, answers of the wrong kind: 451, and never a 250."""
    for answers in (
        {"banner": "SSH-2.0-OpenSSH_9.2"},
        {"ehlo": "999 what?"},
        {"mail": "25"},
        {"rcpt": "354 Go ahead"},
        {"rcpt": "\x00\x01\x02"},
        {"rcpt": "250-" + "x" * 100000},
        {"data": "250 Taken, I need no message"},
        {"dot": "354 More, please"},
        {"dot": "2500 Ok"},
        {"dot": "250-Ok\r\n550 No"},
        {"dot": "150 Soon"},
    ):
        starts(attempt(before(t, t.backend(**answers))), "451 4.3.")


def test_long_reply(t):
    """A 250 that repeats a long Message-ID is a 250, of which the client hears as much as a reply line may have."""
    backend = t.backend(dot=f"250 2.6.0 <{'x' * 5000}@good.test> Queued mail for delivery")
    reply = attempt(before(t, backend))
    same(reply, "250 2.6.0 <" + "x" * (510 - 11), "the reply")
    same(len(backend.messages), 1, "messages at the backend")


def test_backend_says_250_twice(t):
    """An answer too many is never taken for that of another command or message."""
    backend = t.backend(dot=["250 2.0.0 First\r\n250 2.0.0 Second", "550 5.7.1 Not this one"])
    guard = before(t, backend)
    starts(attempt(guard), "250 2.0.0 First")
    starts(attempt(guard), "550 5.7.1 Not this one")
    backend = t.backend(rcpt="250 2.1.5 Ok\r\n354 Go ahead\r\n250 2.0.0 Taken")
    starts(attempt(before(t, backend)), "451 4.3.")


def test_backend_without_esmtp(t):
    """A backend that knows only HELO, and one that does not pipeline, get the mail step by step."""
    for ehlo in ("502 5.5.1 What?", "250 backend.test"):
        backend = t.backend(ehlo=ehlo)
        starts(attempt(before(t, backend)), "250 2.0.0 Taken")
        has(backend.message(), MAIL)


def test_kept_connection_that_has_died(t):
    """A kept connection that the backend has closed meanwhile costs a retry, never a 4xx or a duplicate."""
    backend = t.backend(mail=["250 2.1.0 Ok", CLOSE, "250 2.1.0 Ok"])  # closes in the moment of the next use
    guard = before(t, backend)
    for _ in range(2):
        starts(attempt(guard), "250 2.0.0 Taken")
    for _ in range(5):
        backend.hang_up()  # closes while the connection rests
        starts(attempt(guard), "250 2.0.0 Taken")
    same(len(backend.messages), 7, "messages at the backend")
    same(guard.events(event="backend.down"), [], "blame for the backend")


def test_connections_are_kept_open(t):
    """Sessions one after the other use the same connection to the backend."""
    backend = t.backend()
    guard = before(t, backend)
    for _ in range(10):
        starts(attempt(guard), "250 2.0.0 Taken")
    same(len(backend.sessions), 1, "connections")
    same(len(backend.messages), 10, "messages at the backend")


def test_errors_are_not_passed_on(t):
    """A connection on which the backend has refused a few things is not kept: backends punish errors."""
    backend = t.backend(rcpt="550 5.1.1 Unknown")
    guard = before(t, backend)
    for _ in range(40):
        starts(attempt(guard), "550 5.1.1 Unknown")
    true(
        max(len([c for c in commands if c.startswith("RCPT")]) for commands in backend.sessions) <= 9,
        "more than nine refusals on one connection",
    )


def test_abandoned_transactions_are_not_passed_on(t):
    """Nor is one on which a hundred clients have changed their minds."""
    backend = t.backend()
    guard = before(t, backend)
    for _ in range(120):
        with guard.client(GOOD) as client:
            client.envelope("alice@good.test", "bob@example.net")
            client.quit()
    wait_for(
        lambda: sum(commands.count("RSET") + commands.count("QUIT") for commands in backend.sessions) >= 120,
        "the resets",
    )
    true(
        max(commands.count("RSET") for commands in backend.sessions) < 100, "a hundred RSET on one connection"
    )


def test_one_slow_transaction(t):
    """While the backend hangs for one client, the others of the same worker are served."""
    backend = t.backend(rcpt=[HANG, "250 2.1.5 Ok"])
    guard = t.guard(backends=[{"address": backend.address, "reply_timeout": "3s"}], runtime={"workers": 1})
    with guard.client(GOOD) as slow:
        slow.ehlo()
        slow.say("MAIL FROM:<alice@good.test>", "250 ")
        slow.send(b"RCPT TO:<bob@example.net>\r\n")
        wait_for(lambda: backend.sessions and len(backend.sessions[0]) == 3, "the RCPT that hangs")
        starts(attempt(guard), "250 2.0.0 Taken")
        starts(slow.read(), "451 4.3.0 ")


def test_client_vanishes_after_the_dot(t):
    """A client that is gone before the backend has answered: the answer is waited for and logged, once."""
    backend = t.backend()
    guard = before(t, backend)
    with guard.client(GOOD) as client:
        client.envelope("alice@good.test", "bob@example.net")
        client.say("DATA", "354 ")
        client.send(stuffed(MAIL))
    same(guard.event(event="message")["reply"], 250, "the backend's reply in the log")
    has(backend.message(), MAIL)


def test_client_vanishes_before_the_dot(t):
    """A message that is cut off never gets to the backend."""
    backend = t.backend()
    guard = before(t, backend)
    with guard.client(GOOD) as client:
        client.envelope("alice@good.test", "bob@example.net")
        client.say("DATA", "354 ")
        client.send(MAIL)
    guard.event(event="session")
    same(backend.messages, [], "messages at the backend")
    true(all("DATA" not in commands for commands in backend.sessions), "the backend heard DATA")


ABLE = "250-backend.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 DSN"


def test_the_first_client_is_offered_what_the_backend_can(t):
    """Who comes first after a start or a reload finds SMTPUTF8 in our EHLO: without it his mail would go back."""
    backend = t.backend(ehlo=ABLE)
    guard = t.guard(backends=[{"address": backend.address}])
    for moment in ("start", "reload"):
        with guard.client(GOOD) as client:
            true("SMTPUTF8" in client.ehlo(), f"it is not offered by the first EHLO after the {moment}")
            client.say("MAIL FROM:<j\u00c3\u00b6rg@good.test> SMTPUTF8", "250 ")
        guard.change(limits={"errors": 7})


def test_a_backend_that_is_silent_does_not_hold_up_ehlo(t):
    """Our EHLO waits some seconds for a backend that was never heard, once, and then goes without it."""
    guard = t.guard(backends=[{"address": t.backend(banner=HANG).address}], runtime={"workers": 1})
    with guard.client(GOOD) as client:
        client.ehlo()
    begun = time.monotonic()
    with guard.client(GOOD) as client:
        same("SMTPUTF8" in client.ehlo(), False)
    true(time.monotonic() - begun < 2, "the next client had to wait as well")
