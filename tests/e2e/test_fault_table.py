"""The fault tables of docs/: every fault at every step, as measured: of a message, and of a login."""

import concurrent.futures
import socket
from pathlib import Path

from lib.backend import CLOSE, HANG
from lib.check import Failed, has, same, starts, true
from lib.client import stuffed, trusting
from lib.mail import message
from lib.process import free_port
from lib.world import GOOD, OTHER
from test_login import EHLO, PLAIN, outbound

DOCS = Path(__file__).parents[2] / "docs"
BEGIN, END = "<!-- measured by tests/e2e/test_fault_table.py -->\n", "<!-- until here -->\n"
MAIL = message()
STEPS = {"banner": "greeting", "ehlo": "EHLO", "mail": "MAIL", "rcpt": "RCPT", "data": "DATA", "dot": "end of message"}
FAULTS = {
    "4xx": "450 4.2.0 Later",
    "5xx": "550 5.7.1 No",
    "421": "421 4.3.2 Down",
    "hangs up": CLOSE,
    "silence": HANG,
    "garbage": "what?",
    "lines without end": "\r\n".join(["250-more"] * 40000),
}
STATES = ("fresh", "kept", "stale")


def deliver(guard, recipient):
    """The code that the client hears in the end: the first refusal, or that of the message."""
    with guard.client(GOOD) as client:
        client.ehlo()
        for line in ("MAIL FROM:<alice@good.test>", f"RCPT TO:<{recipient}>", "DATA"):
            reply = client.say(line)
            if reply[0] not in "23":
                return reply[:3]
        client.send(stuffed(MAIL))
        return client.read()[:3]


def has_fault(answers, step, fault, state):
    """Once, and then all is well again. What a stale connection does is hang up at the next command."""
    usual = answers[step]
    answers[step] = [fault, usual]
    if state == "stale":
        answers["mail"] = [CLOSE, *(answers["mail"] if step == "mail" else [answers["mail"]])]


def measure(guard, backend, step, fault, state):
    """A cell: the code, and how many copies the backend has; with "?" one of them is without an answer."""
    recipient = f"bob@{step}.{state}.example.net"
    if state != "fresh":
        starts(deliver(guard, recipient), "250")
    before = len(backend.messages)
    has_fault(backend.answers, step, fault, state)
    code = deliver(guard, recipient)
    copies = len(backend.messages) - before
    refused = step == "dot" and fault[:3].isdigit() and fault[0] in "45"
    unknown = step == "dot" and code == "451" and not refused
    true(copies == 1 if code == "250" else copies <= 1, f"{step}, {state}: {code} and {copies} copies")
    return f"{code} · {copies if not refused else 0}{'?' if unknown else ''}"


def measure_fault(t, fault):
    """All cells of one fault, at once: each step and state has a domain and a backend of its own."""
    cells = [(step, state) for step in STEPS for state in STATES if state != "kept" or step not in ("banner", "ehlo")]
    backends = {cell: t.backend() for cell in cells}
    guard = t.guard(
        backends=[
            {
                "address": backend.address,
                "domains": [f"{step}.{state}.example.net"],
                "pool": 0 if state == "fresh" else 8,
                "connect_timeout": "2s",
                "reply_timeout": "2s",
            }
            for (step, state), backend in backends.items()
        ],
        domains={"relay": [f"{step}.{state}.example.net" for step, state in cells]},
        greylist={"mode": "off"},
        limits={"connections_per_client": 100},
        runtime={"workers": 1},
    )
    with guard.client(GOOD) as client:
        client.ehlo()  # at which all of them are heard, before their faults
    with concurrent.futures.ThreadPoolExecutor(len(cells)) as pool:
        found = pool.map(lambda cell: measure(guard, backends[cell], cell[0], FAULTS[fault], cell[1]), cells)
        return dict(zip(cells, found))


def table(measured):
    """As docs/smtp.md has it."""
    lines = ["| | the backend | " + " | ".join(STEPS.values()) + " |", "|---|---" + "|---" * len(STEPS) + "|"]
    for state in STATES:
        for fault in FAULTS:
            cells = (measured[fault].get((step, state), "") for step in STEPS)
            lines.append(f"| {state} | {fault} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def is_written(document, measured):
    written = (DOCS / document).read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0]
    if written.strip() != measured.strip():
        raise Failed(f"docs/{document} says otherwise; measured was:\n{measured}")


def test_fault_table(t):
    """What the client hears and how many copies there are, for every fault, is as docs/smtp.md says."""
    is_written("smtp.md", table({fault: measure_fault(t, fault) for fault in FAULTS}))


# ---- logins ----

LOGIN_STEPS = {
    "banner": "greeting",
    "ehlo": "EHLO",
    "kept": "AUTH, kept",
    "auth": "AUTH",
    "response": "response",
    "rcpt": "RCPT",
    "dot": "end of message",
}
NOT_235 = {"2xx, not 235": "250 2.0.0 Ok"}  # a fault within AUTH only
LOGIN_FAULTS = {**FAULTS, **NOT_235}
TAKEN = "235 2.7.0 Ok"
REFUSED = "535 5.7.8 No"


def log_in(client, by_response=False):
    if not by_response:
        return client.say(f"AUTH PLAIN {PLAIN}")
    client.say("AUTH PLAIN", "334 ")
    return client.say(PLAIN)


def ask(client, text):
    """The reply, which may be the last word of a session that has ended meanwhile."""
    try:
        client.send(text)
    except OSError:
        pass
    return client.read()


def send(client):
    """Mail by somebody who has logged in: the first refusal, or the reply to the message."""
    for line in (b"RSET\r\n", b"MAIL FROM:<carol@example.org>\r\n", b"RCPT TO:<bob@elsewhere.test>\r\n", b"DATA\r\n"):
        reply = ask(client, line)
        if reply[:1] not in ("2", "3"):
            return reply
    return ask(client, stuffed(MAIL))


def try_login(guard, backend, step, fault):
    """A cell: what is heard at the fault, and at the next try of the same within the session."""
    backend.script(banner=None, ehlo=[EHLO], auth=[TAKEN], rcpt=None, dot=None)
    with guard.client(OTHER, tls=trusting()) as client:
        has(client.ehlo(), "AUTH")
        if step == "kept":
            backend.script(auth=[REFUSED, fault, TAKEN])
            starts(log_in(client), REFUSED)
        else:
            backend.hang_up()  # what the daemon asked for what the backend offers
        if step in ("rcpt", "dot"):
            starts(log_in(client), TAKEN)
            backend.script(**{step: [fault, backend.ANSWERS[step]]})
            replies = [send(client), send(client)]
        else:
            usual = {"banner": [backend.ANSWERS["banner"]], "ehlo": [EHLO], "auth": [TAKEN], "response": [TAKEN]}
            if step in usual:
                challenge = ["334 "] if step == "response" else []
                backend.script(**{"auth" if step == "response" else step: [*challenge, fault, *usual[step]]})
            replies = [log_in(client, step == "response"), log_in(client)]
        same([reply for reply in replies if "421" in reply and not client.ended()], [], "421 and no end")
        return " · ".join(reply[:3] or "closed" for reply in replies)


def for_logins(t):
    backend = t.backend(ehlo=EHLO)
    return outbound(t, backend, "implicit", backends=[{"address": backend.address, "reply_timeout": "2s"}]), backend


def measure_logins(step, guard, backend):
    """A column, with a daemon of its own."""
    faults = LOGIN_FAULTS if step in ("kept", "auth", "response") else FAULTS
    return {fault: try_login(guard, backend, step, faults[fault]) for fault in faults}


def test_login_fault_table(t):
    """What a client that logs in hears, for every fault of the backend, is as docs/faults.md says."""
    beds = [for_logins(t) for _ in LOGIN_STEPS]
    with concurrent.futures.ThreadPoolExecutor(len(beds)) as pool:
        columns = list(pool.map(measure_logins, LOGIN_STEPS, *zip(*beds)))
    lines = ["| the backend | " + " | ".join(LOGIN_STEPS.values()) + " |", "|---" + "|---" * len(LOGIN_STEPS) + "|"]
    lines += [f"| {fault} | " + " | ".join(column.get(fault, "") for column in columns) + " |" for fault in LOGIN_FAULTS]
    is_written("faults.md", "\n".join(lines) + "\n")


def test_connection_that_hangs(t):
    """A backend that does not even answer the connection costs its connect_timeout, then the next one is asked."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", free_port()))
        full.listen(0)
        waiting = [socket.socket() for _ in range(4)]  # fill its queue: the kernel answers nobody after them
        for connection in waiting:
            connection.setblocking(False)
            connection.connect_ex(full.getsockname())
        address = f"127.0.0.1:{full.getsockname()[1]}"
        alone = t.guard(backends=[{"address": address, "connect_timeout": "1s"}])
        same(deliver(alone, "bob@example.net"), "451", "the reply")
        backend = t.backend()
        guard = t.guard(backends=[{"address": address, "connect_timeout": "1s"}, {"address": backend.address}])
        same(deliver(guard, "bob@example.net"), "250", "the reply with a second backend")
        for connection in waiting:
            connection.close()
