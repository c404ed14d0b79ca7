"""The fault table of docs/smtp.md: every fault at every step, on a fresh, a kept and a stale connection, as measured."""

import concurrent.futures
import socket
from pathlib import Path

from lib.backend import CLOSE, HANG
from lib.check import Failed, same, starts, true
from lib.client import stuffed
from lib.mail import message
from lib.process import free_port
from lib.world import GOOD

DOCUMENT = Path(__file__).parents[2] / "docs/smtp.md"
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


def test_fault_table(t):
    """What the client hears and how many copies there are, for every fault, is as docs/smtp.md says."""
    measured = table({fault: measure_fault(t, fault) for fault in FAULTS})
    written = DOCUMENT.read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0]
    if written.strip() != measured.strip():
        raise Failed(f"docs/smtp.md says otherwise; measured was:\n{measured}")


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
