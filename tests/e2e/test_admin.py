"""The admin port: metrics for Prometheus, health and readiness."""

import http.client
import re
import shutil

from lib.check import Failed, has, same, starts, true
from lib.mail import message
from lib.process import free_port, run
from lib.world import BOT, GOOD

NAME = r"[a-zA-Z_][a-zA-Z0-9_]*"
SAMPLE = re.compile(
    rf'({NAME})((?:{{(?:{NAME}="(?:[^"\\\n]|\\["\\n])*",?)*}})?) '
    r'(NaN|[-+]?Inf|[-+]?[0-9.]+(?:e[-+]?[0-9]+)?)$'
)


def check_exposition(text):
    """The rules of Prometheus's text format that are easily broken; promtool, where it is, knows them all."""
    kinds, seen = {}, set()
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            true(name not in kinds, f"two TYPE lines for {name}")
            kinds[name] = kind
        elif not line.startswith("# HELP "):
            match = SAMPLE.match(line) or _bad(line)
            family = re.sub("_(bucket|sum|count)$", "", match[1])
            name = family if kinds.get(family) == "histogram" else match[1]
            true(name in kinds, f"a sample before its TYPE: {line}")
            true(match[1] + match[2] not in seen, f"twice: {line}")
            true(kinds[name] != "counter" or name.endswith("_total"), f"a counter without _total: {line}")
            seen.add(match[1] + match[2])
    for name in (name for name, kind in kinds.items() if kind == "histogram"):
        true(
            f'{name}_bucket{{le="+Inf"}}' in seen and f"{name}_count" in seen,
            f"the histogram {name} is not complete",
        )


def _bad(line):
    raise Failed(f"not a sample: {line!r}")


def watched(t, **sections):
    return t.guard(admin={"http": f"127.0.0.1:{free_port()}"}, **sections)


def test_metrics_are_well_formed(t):
    """/metrics is what Prometheus reads, before any mail and after."""
    guard = watched(t)
    for _ in range(2):
        status, text = guard.get("/metrics")
        same(status, 200, "the status")
        check_exposition(text)
        if shutil.which("promtool"):
            code, out, err = run("promtool", "check", "metrics", stdin=text.encode(), check=False)
            same((code, out + err), (0, b""), "promtool's opinion")
        with guard.client(GOOD) as client:
            client.envelope("alice@good.test", t.recipient())
            starts(client.data(message()), "250 ")
            client.say("MAIL FROM:<alice@good.test>", "250 ")
            client.say("RCPT TO:<no.such.user@example.net>", "550 ")


def test_metrics_count(t):
    """What happens to mail is counted: messages, recipients, refusals, results, connections."""
    guard = watched(t)
    with guard.client(GOOD) as client:
        same(guard.metric("smtpguard_connections"), 1, "open sessions")
        for _ in range(2):
            client.envelope("alice@good.test", t.recipient())
            starts(client.data(message()), "250 ")
        client.say("MAIL FROM:<alice@good.test>", "250 ")
        client.say("RCPT TO:<bob@elsewhere.test>", "550 ")
        client.quit()
    with guard.client(BOT) as client:
        client.ehlo()
        client.say("MAIL FROM:<x@soft.test>", "250 ")
        client.say(f"RCPT TO:<{t.recipient()}>", "451 4.7.1 Greylisted")
        client.quit()
    for name, value in (
        ('smtpguard_messages_total{action="accept"}', 2),
        ('smtpguard_recipients_total{action="accept"}', 2),
        ('smtpguard_recipients_total{action="greylist"}', 1),
        ('smtpguard_rejects_total{check="relay",stage="rcpt",code="550"}', 1),
        ('smtpguard_spf_results_total{result="pass"}', 2),
        ('smtpguard_dkim_results_total{result="pass"}', 0),
        ('smtpguard_dmarc_results_total{result="pass"}', 2),
        ("smtpguard_connections_total", 2),
        ("smtpguard_connections", 0),
        (f'smtpguard_upstream_up{{address="{t.postfix.address}"}}', 1),
    ):
        same(guard.metric(name), value, name)


def test_health_and_readiness(t):
    """/healthz says that the process lives, /readyz that it can serve; nothing else is there, or writable."""
    guard = watched(t)
    same(guard.get("/healthz"), (200, "ok\n"), "/healthz")
    same(guard.get("/readyz")[0], 200, "/readyz")
    has(guard.get("/")[1], "/metrics")
    same(guard.get("/nothing")[0], 404, "/nothing")
    connection = http.client.HTTPConnection(guard.settings["admin"]["http"], timeout=10)
    connection.request("POST", "/metrics", body="x" * 100000)
    same(connection.getresponse().status, 405, "POST")
