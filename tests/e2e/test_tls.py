"""TLS from the client's side: versions, names, renewed certificates, and what was said before."""

import os
import ssl
import threading

from lib import certificate
from lib.check import has, has_not, same, starts, true, wait_for
from lib.client import trusting
from lib.mail import message
from lib.postfix import fields_added
from lib.process import free_port, run
from lib.world import GOOD


def speaking(version):
    """A client that speaks this version of TLS only."""
    context = trusting()
    context.minimum_version = context.maximum_version = version
    return context


def secure(t, tls="starttls", **settings):
    """smtpguard with a certificate of its own; returns both."""
    t.dir.joinpath("tls").mkdir(exist_ok=True)
    pair = certificate.make(t.dir / "tls", "mx")
    port = free_port()
    guard = t.prepare(
        tls={"cert": str(pair.cert), "key": str(pair.key), **settings},
        listen=[{"name": "mx", "address": f"127.0.0.1:{port}", "role": "mx", "tls": tls}],
    )
    guard.port = port
    return t.start(guard), pair


def test_versions(t):
    """TLS 1.2 and 1.3 work, and our Received field says which it was."""
    guard, pair = secure(t)
    for version, name in ((ssl.TLSVersion.TLSv1_2, "TLSv1.2"), (ssl.TLSVersion.TLSv1_3, "TLSv1.3")):
        bob = t.recipient()
        mail = message(recipient=bob)
        with guard.client(GOOD) as client:
            has(client.ehlo(), "STARTTLS")
            has_not(client.starttls(speaking(version)), "STARTTLS")
            same(client.socket.getpeercert(binary_form=True), pair.der, "the certificate")
            client.say("STARTTLS", "503 5.5.1")
            client.envelope("alice@good.test", bob)
            starts(client.data(mail), "250 ")
            client.quit()
        _, received = fields_added(t.postfix.delivery(bob), mail)
        has(received, "with ESMTPS id")
        has(received, name)
        same(guard.event(event="message", to=bob)["tls"], name, "the version in the log")


def test_old_versions(t):
    """TLS 1.1 is refused by the server, not only by the client; TLS 1.2 too, where the settings say so."""
    guard, _ = secure(t)
    strict, _ = secure(t, min_version="TLSv1.3")

    def handshake(server, version):
        code, out, _ = run(
            "openssl",
            "s_client",
            "-starttls",
            "smtp",
            "-connect",
            f"127.0.0.1:{server.port}",
            version,
            "-cipher",
            "ALL:@SECLEVEL=0",
            stdin=b"QUIT\r\n",
            check=False,
        )
        return code, out.decode(errors="replace")

    code, out = handshake(guard, "-tls1_1")
    same(code, 1, "openssl's exit code")
    has(out, "Cipher is (NONE)")
    same(handshake(guard, "-tls1_2")[0], 0, "openssl's exit code")
    same(handshake(strict, "-tls1_2")[0], 1, "openssl's exit code")


def test_implicit_tls(t):
    """On a listener with implicit TLS the banner comes behind the handshake."""
    guard, _ = secure(t, tls="implicit")
    bob = t.recipient()
    with guard.client(GOOD, tls=trusting()) as client:
        has_not(client.ehlo(), "STARTTLS")
        client.envelope("alice@good.test", bob)
        starts(client.data(message(recipient=bob)), "250 ")
        client.quit()


def test_tls_required(t):
    """Where TLS is required nothing is taken in plaintext."""
    guard, _ = secure(t, tls="require")
    with guard.client(GOOD) as client:
        client.ehlo()
        client.say("MAIL FROM:<alice@good.test>", "530 5.7.0")
        client.starttls()
        client.say("MAIL FROM:<alice@good.test>", "250 ")


def test_server_names(t):
    """The client gets the certificate for the name it asks for; any other name gets the first one."""
    (t.dir / "tls").mkdir()
    other = certificate.make(t.dir / "tls", "other", "mx.other.example")
    guard, pair = secure(t, more=[{"cert": str(other.cert), "key": str(other.key)}])
    for name, expected in (
        ("mx.other.example", other),
        ("mx.example.net", pair),
        ("else.example", pair),
        (None, pair),
    ):
        with guard.client(GOOD) as client:
            client.ehlo()
            client.say("STARTTLS", "220 ")
            client.socket = trusting().wrap_socket(client.socket, server_hostname=name)
            same(client.socket.getpeercert(binary_form=True), expected.der, f"the certificate for {name}")


def test_the_handshake_starts_anew(t):
    """After STARTTLS nothing of the plaintext session is left: no EHLO, no sender, no pipelined command."""
    guard, _ = secure(t)
    with guard.client(GOOD) as client:
        client.envelope("alice@good.test", t.recipient())
        client.say("STARTTLS", "220 ")
        client.handshake()
        client.say("MAIL FROM:<alice@good.test>", "503 5.5.1")
        client.ehlo()
        client.say(f"RCPT TO:<{t.recipient()}>", "503 5.5.1")


def test_plaintext_injected_after_starttls(t):
    """What is sent in one packet with STARTTLS is thrown away: it was said by whoever sits in between."""
    guard, _ = secure(t)
    with guard.client(GOOD) as client:
        client.ehlo()
        client.send(b"STARTTLS\r\nEHLO injected.test\r\nMAIL FROM:<eve@injected.test>\r\n")
        starts(client.read(), "220 ")
        client.handshake()
        client.say("NOOP", "250 2.0.0 Ok")  # the answer to this, and to nothing before
        client.say("MAIL FROM:<alice@good.test>", "503 5.5.1")
    has_not(guard.log.read_text(), "injected.test")


def test_broken_handshakes(t):
    """Garbage instead of a handshake, and a client that leaves in the middle of it, harm nobody else."""
    guard, _ = secure(t)
    for garbage in (b"EHLO mx.good.test\r\n" * 20, b"\x16\x03\x01\x00\x05hello", bytes(5000), b""):
        with guard.client(GOOD) as client:
            client.ehlo()
            client.say("STARTTLS", "220 ")
            client.send(garbage)
    with guard.client(GOOD) as client:
        client.ehlo()
        client.starttls()
        client.quit()
    wait_for(lambda: len(guard.events(event="session")) == 5, "the end of all sessions")


def served(guard):
    """The certificate that a new client gets."""
    with guard.client(GOOD) as client:
        client.ehlo()
        client.starttls()
        der = client.socket.getpeercert(binary_form=True)
        client.quit()
    return der


def replace(pair, fresh):
    os.rename(fresh.key, pair.key)
    os.rename(fresh.cert, pair.cert)


def test_renewed_certificate(t):
    """A renewed certificate is served without a restart or a failed handshake; a broken one is refused."""
    guard, pair = secure(t)
    fresh, broken = certificate.make(t.dir / "tls", "fresh"), certificate.make(t.dir / "tls", "broken")
    seen, failures, done = set(), [], threading.Event()

    def visit():
        while not done.is_set():
            try:
                seen.add(served(guard))
            except Exception as why:  # whatever it is, it was a failed handshake
                failures.append(why)

    visitors = [threading.Thread(target=visit) for _ in range(2)]
    for visitor in visitors:
        visitor.start()
    try:
        wait_for(lambda: pair.der in seen, "a client with the old certificate")
        replace(pair, fresh)
        wait_for(lambda: fresh.der in seen, "a client with the new certificate")
        os.rename(broken.cert, pair.cert)  # its key does not follow
        has(guard.event(event="certificate.failed")["text"], "the old certificate stays")
    finally:
        done.set()
        for visitor in visitors:
            visitor.join()
    same(failures, [], "failed handshakes")
    same(served(guard), fresh.der, "the certificate after a broken one")
    true(broken.der not in seen, "the broken certificate was served")


def test_tls_to_the_backend(t):
    """Where TLS is required the way to Postfix is encrypted, and a backend without it gets nothing."""
    bob = t.recipient()
    guard = t.guard(backends=[{"address": t.postfix.address, "tls": "require"}])
    with guard.client(GOOD) as client:
        client.envelope("alice@good.test", bob)
        starts(client.data(message(recipient=bob)), "250 ")
    t.postfix.logged("TLS connection established from unknown[127.0.0.1]: TLSv1.3")
    has(t.postfix.delivery(bob).client, "mx.good.test (mx.good.test [127.0.1.1])")
    backend = t.backend()
    guard = t.guard(backends=[{"address": backend.address, "tls": "require"}])
    with guard.client(GOOD) as client:
        client.ehlo()
        client.say("MAIL FROM:<alice@good.test>", "250 ")
        client.say(f"RCPT TO:<{bob}>", "451 4.3.0")
    true(
        all("MAIL" not in command for commands in backend.sessions for command in commands),
        "MAIL was said in plaintext",
    )


def test_swaks_with_tls(t):
    """swaks delivers over STARTTLS."""
    guard, _ = secure(t)
    bob = t.recipient()
    run(
        "swaks",
        "--server",
        f"127.0.0.1:{guard.port}",
        "--local-interface",
        GOOD.address,
        "--helo",
        GOOD.name,
        "--tls",
        "--from",
        "alice@good.test",
        "--to",
        bob,
    )
    has(t.postfix.delivery(bob).message, b"with ESMTPS id")
