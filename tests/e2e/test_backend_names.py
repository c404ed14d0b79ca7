"""Backends that have a name, which unbound and nsd know."""

from lib import certificate
from lib.backend import TlsBackend
from lib.check import has, starts
from lib.client import attempt
from lib.mail import message
from lib.world import GOOD

MAIL = message()


def test_backend_by_name(t):
    """Each address of a name is tried, IPv6 too, until one answers."""
    backend = t.backend()
    guard = t.guard(backends=[{"address": f"two.backend.test:{backend.port}"}], greylist={"mode": "off"})
    starts(attempt(guard, GOOD, MAIL), "250 2.0.0 Taken")
    has(backend.message(), MAIL)


def test_certificate_of_a_name(t):
    """With tls: verify it is that name that the certificate must have."""
    for host, reply in (("two.backend.test", "250 2.0.0 Taken"), ("other.test", "451 4.3.0 ")):
        pair = certificate.make(t.dir, host, host)
        backend = t.start(TlsBackend(pair))
        settings = {"address": f"two.backend.test:{backend.port}", "tls": "verify", "tls_ca": str(pair.cert)}
        guard = t.guard(backends=[settings], greylist={"mode": "off"})
        starts(attempt(guard, GOOD, MAIL), reply)


def test_name_without_an_address(t):
    """A name that does not exist is a backend that is down; the next one is asked."""
    backend = t.backend()
    nowhere = {"address": f"nowhere.backend.test:{backend.port}"}
    alone = t.guard(backends=[nowhere], greylist={"mode": "off"})
    starts(attempt(alone, GOOD, MAIL), "451 4.3.0 ")
    has(alone.event(event="backend.down")["text"], "its name has no address: nxdomain")
    guard = t.guard(backends=[nowhere, {"address": backend.address}], greylist={"mode": "off"})
    starts(attempt(guard, GOOD, MAIL), "250 2.0.0 Taken")
