"""Backends whose certificate is verified: by name and authority, or by its key."""

from lib import certificate
from lib.backend import TlsBackend
from lib.check import has, same, starts
from lib.client import attempt
from lib.mail import message
from lib.world import GOOD

MAIL = message()


def verifying(t, backends, **settings):
    listed = [{"address": backend.address, "tls": "verify", **settings} for backend in backends]
    return t.guard(backends=listed, greylist={"mode": "off"}, runtime={"workers": 1})


def test_postfix_is_verified(t):
    """Postfix's certificate is verified by its name and who signed it, or by its key alone."""
    pair = certificate.Certificate(t.postfix.dir / "mail.crt", t.postfix.dir / "mail.key", None)
    for settings in (
        {"tls_name": "mail.example.net", "tls_ca": str(pair.cert)},
        {"tls_pin": ["00" * 32, certificate.key_hash(pair)]},
    ):
        bob = t.recipient()
        guard = verifying(t, [t.postfix], **settings)
        with guard.client(GOOD) as client:
            client.envelope("alice@good.test", bob)
            starts(client.data(message(recipient=bob)), "250 ")
        has(t.postfix.delivery(bob).client, "with ESMTPS id")


def test_a_certificate_that_is_not_good(t):
    """Wrong name, unknown authority, expired, another key: 451, the log says which, and no mail leaves."""
    good, other = certificate.make(t.dir, "good", "mail.test"), certificate.make(t.dir, "other", "mail.test")
    old = certificate.make_expired(t.dir, "old", "mail.test")
    for pair, settings, why in (
        (good, {"tls_name": "mx.test", "tls_ca": str(good.cert)}, "hostname mismatch"),
        (good, {"tls_ca": str(good.cert)}, "IP address mismatch"),
        (good, {"tls_name": "mail.test", "tls_ca": str(other.cert)}, "self-signed certificate"),
        (good, {"tls_name": "mail.test"}, "self-signed certificate"),
        (old, {"tls_name": "mail.test", "tls_ca": str(old.cert)}, "certificate has expired"),
        (good, {"tls_pin": [certificate.key_hash(other)]}, certificate.key_hash(good)),
    ):
        backend = t.start(TlsBackend(pair))
        guard = verifying(t, [backend], **settings)
        starts(attempt(guard, GOOD, MAIL), "451 4.3.0 The mail server behind this one cannot be reached")
        has(guard.event(event="backend.down")["text"], why)
        same(backend.sessions[0], ["EHLO mx.example.net", "STARTTLS"], "what the backend heard")


def test_next_backend_when_a_certificate_is_not_good(t):
    """A backend whose certificate is not good is passed over, as one that is down; nobody notices."""
    good, other = certificate.make(t.dir, "good", "mail.test"), certificate.make(t.dir, "other", "mail.test")
    first, second = t.start(TlsBackend(other)), t.start(TlsBackend(good))
    guard = verifying(t, [first, second], tls_name="mail.test", tls_ca=str(good.cert))
    starts(attempt(guard, GOOD, MAIL), "250 2.0.0 Taken")
    has(second.message(), MAIL)
    same(second.handshakes, ["open"], "the second backend's handshakes")


def test_starttls_that_is_not_offered(t):
    """A backend that does not offer STARTTLS gets nothing: whoever stands between may have left it out."""
    good = certificate.make(t.dir, "good", "mail.test")
    backend = t.backend()
    guard = verifying(t, [backend], tls_name="mail.test", tls_ca=str(good.cert))
    starts(attempt(guard, GOOD, MAIL), "451 4.3.0 ")
    has(guard.event(event="backend.down")["text"], "it does not offer STARTTLS")
    same(backend.messages, [], "messages")
