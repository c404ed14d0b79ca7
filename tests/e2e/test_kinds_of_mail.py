"""Mail that a backend must be able to keep as it is: REQUIRETLS (RFC 8689) and BINARYMIME (RFC 3030)."""

from lib import certificate
from lib.backend import TlsBackend
from lib.check import has, has_not, same, starts
from lib.mail import message
from lib.world import GOOD

EHLO = "250-tls.test\r\n250-PIPELINING\r\n250-CHUNKING\r\n250-BINARYMIME\r\n250-AUTH PLAIN\r\n250-REQUIRETLS\r\n250 8BITMIME"
ASKED = "MAIL FROM:<alice@good.test> REQUIRETLS"


def encrypted(t, backend, role="mx", **settings):
    """smtpguard that speaks TLS on both sides; the backend has been heard by one session."""
    pair = certificate.make(t.dir, "mx")
    guard = t.prepare(
        backends=[{"address": backend.address, **settings}],
        greylist={"mode": "off"},
        tls={"cert": str(pair.cert), "key": str(pair.key)},
        runtime={"workers": 1},
        networks=["127.0.0.0/8"],
    )
    guard.settings["listen"][0].update(tls="starttls", role=role)
    guard.write()
    t.start(guard)
    with guard.client(GOOD) as client:
        client.ehlo()
        client.starttls()
        client.envelope("alice@good.test", "bob@example.net")
    return guard


def verified(t):
    pair = certificate.make(t.dir, "backend", "mail.test")
    backend = t.start(TlsBackend(pair, ehlo=EHLO, auth="235 2.7.0 Welcome"))
    return backend, {"tls": "verify", "tls_name": "mail.test", "tls_ca": str(pair.cert)}


def test_requiretls(t):
    """REQUIRETLS is offered under TLS when the backend has it and its certificate is verified, and passed on."""
    backend, settings = verified(t)
    guard = encrypted(t, backend, **settings)
    with guard.client(GOOD) as client:
        has_not(client.ehlo(), "REQUIRETLS")
        client.say(ASKED, "555 5.5.4 ")
        has(client.starttls(), "REQUIRETLS")
        client.say(ASKED, "250 ")
        client.say("RCPT TO:<bob@example.net>", "250 ")
        starts(client.data(message()), "250 ")
    has(backend.sessions[-1], ASKED)
    same(len(backend.messages), 1, "messages")


def test_requiretls_over_a_link_that_is_not_verified(t):
    """Where the backend's certificate is not verified REQUIRETLS is not offered, whatever the backend offers."""
    backend, _ = verified(t)
    guard = encrypted(t, backend, tls="require")
    with guard.client(GOOD) as client:
        client.ehlo()
        has_not(client.starttls(), "REQUIRETLS")
        client.say(ASKED, "555 5.5.4 ")


def test_requiretls_when_the_backend_has_lost_it(t):
    """What was promised to the client and cannot be kept any more is 550 5.7.30; nothing leaves."""
    backend, settings = verified(t)
    guard = encrypted(t, backend, pool=0, **settings)
    backend.script(ehlo=[EHLO.replace("250-REQUIRETLS\r\n", "")])
    with guard.client(GOOD) as client:
        client.ehlo()
        has(client.starttls(), "REQUIRETLS")
        client.say(ASKED, "250 ")
        client.say("RCPT TO:<bob@example.net>", "550 5.7.30 ")
    has_not("".join(line for session in backend.sessions for line in session), "REQUIRETLS")


def test_binarymime(t):
    """BINARYMIME is offered when the backend has it: octets that are no lines arrive as they are, in one chunk; DATA is 503 for them."""
    backend, settings = verified(t)
    guard = encrypted(t, backend, **settings)
    mail = message(body=b"\0\n.\n\r\r\n.\r\n" + bytes(range(256)) * 300)
    with guard.client(GOOD) as client:
        has(client.ehlo(), "BINARYMIME")
        client.say("MAIL FROM:<alice@good.test> BODY=BINARYMIME", "250 ")
        client.say("RCPT TO:<bob@example.net>", "250 ")
        client.say("DATA", "503 5.5.1 ")
        for start in range(0, len(mail), 20000):
            chunk = mail[start : start + 20000]
            client.send(b"BDAT %d%s\r\n" % (len(chunk), b" LAST" if start + 20000 >= len(mail) else b"") + chunk)
            starts(client.read(), "250 ")
    has(backend.sessions[-1], "MAIL FROM:<alice@good.test> BODY=BINARYMIME")
    same(backend.message()[-len(mail) :], mail, "the message")


def test_login_at_a_backend_elsewhere(t):
    """A password crosses to the backend under TLS; on a plain connection to another host it never would."""
    backend, settings = verified(t)
    guard = encrypted(t, backend, role="outbound", **settings)
    with guard.client(GOOD) as client:
        client.ehlo()
        has(client.starttls(), "AUTH PLAIN")
        client.say("AUTH PLAIN AGEAYg==", "235 2.7.0 Welcome")
        client.envelope("alice@good.test", "bob@elsewhere.test")
        starts(client.data(message()), "250 ")
    has(backend.sessions[-1], "AUTH PLAIN AGEAYg==")
    has(backend.sessions[-1], "RCPT TO:<bob@elsewhere.test>")
