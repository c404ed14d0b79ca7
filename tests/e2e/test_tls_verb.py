"""`smtpguard test tls`: a visit to an SMTP server, and what its TLS and its certificate are worth."""

import json
import socket
import time

from lib import certificate
from lib.backend import Backend, TlsBackend
from lib.check import has, has_not, same, starts, true
from lib.harness import Skipped
from lib.process import free_port, has_ipv6, run
from lib.scripted_dns import ScriptedDns

KEYS = (
    "host address starttls version cipher trusted name_matches names issuer not_before not_after key bits reason steps"
).split()
STARTTLS = "250-backend.test\r\n250 STARTTLS"
FINE, NO, USAGE, UNREACHABLE, TEMPORARY = 0, 1, 64, 69, 75
DAY = 24 * 3600


def visit(t, *words, authority=None, text=False):
    """Exit code and answer of the verb, on a system that knows this one authority."""
    trust = {"SSL_CERT_FILE": str(authority.cert) if authority else "/dev/null", "SSL_CERT_DIR": "/nonexistent"}
    json_or_not = () if text else ("--json",)
    code, out, err = run(t.house.binary, "test", "tls", *json_or_not, *words, check=False, environment=trust)
    if text or code == USAGE:
        return code, (out or err).decode()
    got = json.loads(out)
    same(list(got), KEYS, "the keys")
    for step in got["steps"]:
        same(list(step), ["step", "answer", "ms"], "the keys of a step")
    return code, got


def steps(got):
    return [step["step"] for step in got["steps"]]


def guard_with(t, pair, tls="starttls"):
    """An smtpguard with this certificate."""
    port = free_port()
    guard = t.prepare(
        tls={"cert": str(pair.cert), "key": str(pair.key)},
        listen=[{"name": "mx", "address": f"127.0.0.1:{port}", "role": "mx", "tls": tls}],
    )
    guard.port = port
    return t.start(guard)


def test_good_server(t):
    """A server with a good certificate: each step with its answer, all that the certificate says, and 0."""
    authority = certificate.make(t.dir, "authority", "authority.test")
    guard = guard_with(t, certificate.make(t.dir, "mx", authority=authority))
    server = t.start(ScriptedDns())
    server.table = {"mx.example.net": {"A": ["127.0.0.1"]}}
    where = f"MX.example.net:{guard.port}"
    code, got = visit(t, "--dns", server.address, where, authority=authority)
    same((code, got["reason"]), (FINE, None), "the exit code, and the reason")
    same(steps(got), "address connect greeting EHLO STARTTLS handshake EHLO QUIT".split(), "the steps")
    same(got["steps"][1]["answer"], f"127.0.0.1:{guard.port}: connected", "the connection")
    starts(got["steps"][2]["answer"], "220 mx.example.net")
    has(got["steps"][3]["answer"], ", STARTTLS")
    has_not(got["steps"][6]["answer"], "STARTTLS")
    starts(got["steps"][7]["answer"], "221 2.0.0")
    same(
        (got["host"], got["address"], got["starttls"], got["version"], got["trusted"], got["name_matches"]),
        ("mx.example.net", f"127.0.0.1:{guard.port}", True, "TLSv1.3", True, True),
        "the connection",
    )
    starts(got["cipher"], "TLS_")
    same(
        (got["names"], got["issuer"], got["key"], got["bits"]),
        (["mx.example.net"], "CN = authority.test", "ec", 256),
        "the certificate",
    )
    same(round((got["not_after"] - got["not_before"]) / DAY), 30, "its days")
    true(abs(got["not_before"] - time.time()) < DAY, "when it begins")
    code, out = visit(t, "--dns", server.address, where, authority=authority, text=True)
    same(code, FINE, "the exit code")
    for line in ("name         mx.example.net is one of them\n", "trusted      yes\n", "verdict      good\n"):
        has(out, line)


def test_certificates_that_are_not_good(t):
    """Nobody's, expired, of another name: 1, and the reason says which; one that will expire soon is good, with a warning."""
    authority = certificate.make(t.dir, "authority", "authority.test")
    good = certificate.make(t.dir, "good", "mx.test", authority=authority)
    old = certificate.make_expired(t.dir, "old", "mx.test")
    cases = [  # certificate, authority, name, trusted, has the name, exit code, reason
        (good, authority, "mx.test", True, True, FINE, ""),
        (good, authority, "mx2.test", True, False, NO, "the certificate does not name mx2.test"),
        (good, None, "mx.test", False, True, NO, "the certificate is not trusted: unable to get local issuer certificate"),
        (old, old, "mx.test", False, True, NO, "the certificate is not trusted: certificate has expired"),
        (old, None, "192.0.2.1", False, False, NO, "self-signed certificate; the certificate does not name 192.0.2.1"),
        (certificate.make(t.dir, "soon", "mx.test", days=20, authority=authority), authority, "mx.test", True, True, FINE,
         " more days only"),
    ]
    for pair, known, name, trusted, has_name, expected, reason in cases:
        backend = t.start(TlsBackend(pair))
        code, got = visit(t, "--name", name, backend.address, authority=known)
        same((got["trusted"], got["name_matches"], code), (trusted, has_name, expected), f"{pair.cert.name} for {name}")
        has(got["reason"] or "", reason)
        same(got["reason"] is None, reason == "", "whether there is a reason")
        same(backend.sessions[0][0], "EHLO localhost", "what the server heard")
        same(backend.sessions[0][-1], "QUIT", "what it heard last")
    code, out = visit(t, "--name", "mx.test", backend.address, authority=authority, text=True)
    has(out, "verdict      good, but the certificate is good for ")


def test_servers_without_tls(t):
    """No STARTTLS, one that is refused, and a server that lets nobody in: what it said is told, made harmless."""
    evil = "220 \x1b]0;evil\x07\u009b31m"
    cases = [  # the server, exit code, whether it offers STARTTLS, reason, the last step
        (Backend(banner=evil), NO, False, "it does not offer STARTTLS", "QUIT"),
        (Backend(ehlo=STARTTLS, star="454 4.7.0 TLS not available"), NO, True,
         "it refuses STARTTLS: 454 4.7.0 TLS not available", "QUIT"),
        (Backend(banner="554 5.7.1 Go away"), UNREACHABLE, False, "it refuses us: 554 5.7.1 Go away", "greeting"),
        (Backend(banner="hello"), UNREACHABLE, False, "it does not speak SMTP: an answer that is no SMTP reply", "greeting"),
    ]
    for server, expected, offered, reason, last in cases:
        backend = t.start(server)
        code, got = visit(t, backend.address)
        same((code, got["starttls"], got["reason"], steps(got)[-1]), (expected, offered, reason, last), "what was found")
        same((got["version"], got["trusted"], got["names"], got["not_after"]), (None, False, [], None), "no certificate")
    code, out = visit(t, t.start(Backend(banner=evil)).address, text=True)
    has(out, "220 ?]0;evil??31m")
    has(out, "TLS          none\nverdict      not good: it does not offer STARTTLS")


class Mute(Backend):
    """Says nothing more behind its answer to this step."""

    def __init__(self, last, **answers):
        super().__init__(**answers)
        self.last = last

    def answer(self, connection, lines, step):
        text = super().answer(connection, lines, step)
        if step != self.last:
            return text
        lines.read()  # until the other side gives up
        return None


def test_server_that_hangs_in_the_handshake(t):
    """A server that says nothing when it is to shake hands has no TLS that works; it is waited for ten seconds."""
    backend = t.start(Mute("star", ehlo=STARTTLS, star="220 Go ahead"))
    code, got = visit(t, backend.address)
    same((code, got["starttls"], got["reason"]), (NO, True, "it does not answer in time"), "what was found")
    same(steps(got)[-1], "handshake", "the last step")
    true(9000 < got["steps"][-1]["ms"] < 40000, f"it took {got['steps'][-1]['ms']} ms")


def test_server_that_is_not_there(t):
    """Nobody listens, or there is no such name: 69; the DNS does not know: 75. Each address of a name is tried."""
    server = t.start(ScriptedDns())
    server.table = {"mx.test": {"A": ["127.0.0.2", "127.0.0.1"]}, "sick.test": {"_rcode": "SERVFAIL"}}
    absent = free_port()
    code, got = visit(t, f"127.0.0.1:{absent}")
    same((code, got["reason"], got["address"]), (UNREACHABLE, "Connection refused", f"127.0.0.1:{absent}"), "nobody")
    same([step["answer"] for step in got["steps"]], [f"127.0.0.1:{absent}: Connection refused"], "the steps")
    for name, expected, why in (("absent.test", UNREACHABLE, "nxdomain"), ("sick.test", TEMPORARY, "servfail")):
        code, got = visit(t, "--dns", server.address, name)
        same((code, got["reason"], got["address"]), (expected, f"its name has no address: {why}", None), name)
        same(steps(got), ["address"], "the steps")
    backend = t.start(Backend())
    code, got = visit(t, "--dns", server.address, f"mx.test:{backend.port}")
    same((code, got["reason"]), (NO, "it does not offer STARTTLS"), "the second address")
    connects = {step["answer"] for step in got["steps"] if step["step"] == "connect"}
    true(f"127.0.0.1:{backend.port}: connected" in connects, f"connections: {connects}")


def test_implicit_tls(t):
    """With --implicit TLS comes first; a server that speaks plain text there has none."""
    pair = certificate.make(t.dir, "mx")
    guard = guard_with(t, pair, "implicit")
    code, got = visit(t, "--implicit", "--name", "mx.example.net", f"127.0.0.1:{guard.port}", authority=pair)
    same((code, got["reason"], got["starttls"], got["version"]), (FINE, None, False, "TLSv1.3"), "what was found")
    same(steps(got), "connect handshake greeting EHLO QUIT".split(), "the steps")
    code, got = visit(t, "--implicit", t.start(Mute("banner")).address)
    same((code, steps(got)), (NO, ["connect", "handshake"]), "plain text")
    has(got["reason"], "the other side does not speak TLS")


class SixBackend(TlsBackend):
    def listen(self, port):
        self.listener = socket.create_server(("::1", port), family=socket.AF_INET6)
        self.port = self.listener.getsockname()[1]
        self.address = f"[::1]:{self.port}"


def test_ipv6_literal(t):
    """A server by its IPv6 address, which the certificate has."""
    if not has_ipv6():
        raise Skipped("no IPv6 here")
    pair = certificate.make(t.dir, "six", "::1")
    backend = t.start(SixBackend(pair))
    code, got = visit(t, backend.address, authority=pair)
    same((code, got["reason"], got["host"], got["names"]), (FINE, None, "::1", ["::1"]), "what was found")
    same(got["address"], backend.address, "the address")


def test_words(t):
    """What is no server, or no name, is usage."""
    for words in ((), ("a.test", "b.test"), ("--wrong", "a.test"), ("a.test:0",), ("a.test:x",), ("192.0.2.1:x",), ("300.1.1.1",),
                  ("not a name",), ("--name", "not a name", "a.test"), ("--dns", "nowhere", "a.test")):
        code, out = visit(t, *words)
        same(code, USAGE, f"the exit code of {words}")
        has(out, "smtpguard")
