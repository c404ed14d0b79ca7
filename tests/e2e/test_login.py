"""AUTH on outbound listeners: who logs in at the backend, through us, and what he may do then."""

import base64
import smtplib

from lib import certificate
from lib.backend import UnixBackend
from lib.check import has, has_not, same, starts, true, wait_for
from lib.client import trusting
from lib.passwords import POSTFIX, Passwords
from lib.mail import message
from lib.postfix import RECEIVER, Postfix, fields_added
from lib.process import free_port, run
from lib.world import GOOD, OTHER

NAME, PASSWORD = "carol", "Sesam-0pen"
EHLO = "250-backend.test\r\n250-PIPELINING\r\n250-AUTH PLAIN LOGIN\r\n250 8BITMIME"


def b64(text):
    return base64.b64encode(text.encode()).decode()


PLAIN = b64(f"\0{NAME}\0{PASSWORD}")


def outbound(t, backend, tls="starttls", **sections):
    """A port for those who log in. example.net, where Postfix has its users, is as foreign to it as the world."""
    t.dir.joinpath("tls").mkdir(exist_ok=True)
    pair = certificate.make(t.dir / "tls", "mx")
    guard = t.prepare(
        backend,
        tls={"cert": str(pair.cert), "key": str(pair.key)},
        domains={"relay": ["example.com"]},
        **sections,
    )
    guard.settings["listen"][0].update(role="outbound", tls=tls)
    guard.settings["runtime"]["workers"] = 1
    guard.write()
    return t.start(guard)


def postfix_with_passwords(t):
    dovecot = t.start(Passwords(t.dir / "dovecot", **{NAME: PASSWORD}))
    closed = RECEIVER.replace("smtpd_relay_restrictions = reject_unauth_destination\n", "")
    return t.start(Postfix(t.dir / "postfix", closed + POSTFIX.replace("{port}", str(dovecot.port))))


def scripted(t, **answers):
    return t.backend(ehlo=EHLO, **answers)


def silent_about(guard, *secrets):
    """Nothing of these stands in the log, which was written at level debug."""
    for secret in secrets:
        has_not(guard.log.read_text(), secret)


def test_postfix_and_dovecot(t):
    """Who logs in relays through a real Postfix, which asks Dovecot; who does not hears 530; our fields say ESMTPSA."""
    postfix = postfix_with_passwords(t)
    guard = outbound(t, postfix)
    mail = message(sender="carol@example.org", recipient="u1@example.net")
    with guard.client(OTHER) as client:
        has(client.ehlo(), "STARTTLS")
        client.starttls()
        client.say("MAIL FROM:<carol@example.org>", "250 ")
        client.say("RCPT TO:<u1@example.net>", "530 5.7.0 ")
        client.say("RSET", "250 ")
        client.say(f"AUTH PLAIN {PLAIN}", "235 2.7.0 ")
        for _ in range(2):
            client.envelope("carol@example.org", "u1@example.net")
            starts(client.data(mail), "250 2.0.0 ")
        client.quit()
    for delivery in postfix.deliveries("u1@example.net", 2):
        (received,) = fields_added(delivery, mail)
        has(received, "with ESMTPSA id")
        has(delivery.client, "Authenticated sender: carol")
        has(delivery.client, OTHER.address)
    same(guard.event(event="login", mechanism="PLAIN")["action"], "accept", "the login in the log")
    wait_for(lambda: len(guard.events(event="message", auth="PLAIN")) == 2, "auth= of both messages")
    silent_about(guard, PLAIN, PASSWORD, NAME + "\0")


def test_mechanisms_of_real_clients(t):
    """swaks and smtplib log in by PLAIN, LOGIN and CRAM-MD5, which we do not understand; a wrong password is Postfix's 535."""
    postfix = postfix_with_passwords(t)
    guard = outbound(t, postfix)
    for mechanism in ("PLAIN", "LOGIN", "CRAM-MD5"):
        run("swaks", "--server", f"127.0.0.1:{guard.port}", "--helo", "laptop.test", "--from", "carol@example.org",
            "--to", "u2@example.net", "--tls", "--auth", mechanism, "--auth-user", NAME, "--auth-password", PASSWORD)
    with smtplib.SMTP("127.0.0.1", guard.port, local_hostname="laptop.test", timeout=30) as client:
        client.starttls(context=trusting())
        client.ehlo()
        same(set(client.esmtp_features["auth"].split()), {"PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-256"}, "the offer")
        try:
            client.login(NAME, "wrong")
            raise AssertionError("a wrong password was taken")
        except smtplib.SMTPAuthenticationError as error:
            same(error.smtp_code, 535, "the answer to a wrong password")
        client.login(NAME, PASSWORD)
        client.sendmail("carol@example.org", "u2@example.net", message(recipient="u2@example.net").decode())
    same(len(postfix.deliveries("u2@example.net", 4)), 4, "messages delivered")
    silent_about(guard, PASSWORD, b64(PASSWORD), PLAIN)


def test_where_it_is_not_offered(t):
    """Before TLS AUTH is not in EHLO, and is 538; on an mx listener, and with tls: none, it is not offered at all."""
    backend = scripted(t)
    guard = outbound(t, backend)
    with guard.client(OTHER) as client:
        has_not(client.ehlo(), "AUTH")
        client.say(f"AUTH PLAIN {PLAIN}", "538 5.7.11 ")
        client.say("STARTTLS", "220 ")
        client.handshake()
        client.say(f"AUTH PLAIN {PLAIN}", "503 5.5.1 Say EHLO first")
        has(client.ehlo(), "250-AUTH PLAIN LOGIN\n")
    same([line for session in backend.sessions for line in session if "AUTH" in line], [], "what the backend heard")
    bare = outbound(t, scripted(t), tls="none")
    with bare.client(OTHER) as client:
        has_not(client.ehlo(), "AUTH")
        client.say(f"AUTH PLAIN {PLAIN}", "502 5.5.1 ")
    mx = outbound(t, scripted(t), tls="implicit", networks=[])
    mx.change(listen=[{**mx.settings["listen"][0], "role": "mx"}])
    with mx.client(GOOD, tls=trusting()) as client:
        has_not(client.ehlo(), "AUTH")
        client.say(f"AUTH PLAIN {PLAIN}", "502 5.5.1 ")


def test_sequences(t):
    """AUTH twice, and within a transaction, is 503; an unknown mechanism is 504; "*" cancels, at the backend too."""
    backend = scripted(t, auth=["334 VXNlcm5hbWU6", "235 2.7.0 Ok"], **{"*": "501 5.7.0 Called off"})
    guard = outbound(t, backend, tls="implicit")
    with guard.client(OTHER, tls=trusting()) as client:
        client.ehlo()
        client.say("AUTH GSSAPI", "504 5.5.4 ")
        client.say("AUTH LOGIN", "334 VXNlcm5hbWU6")
        client.say("*", "501 5.7.0 Called off")
        client.say("MAIL FROM:<carol@example.org>", "250 ")
        client.say(f"AUTH PLAIN {PLAIN}", "503 5.5.1 ")
        client.say("RSET", "250 ")
        client.say(f"AUTH PLAIN {PLAIN}", "235 ")
        client.say(f"AUTH PLAIN {PLAIN}", "503 5.5.1 ")
        client.ehlo()
        client.envelope("carol@example.org", "bob@elsewhere.test")
        starts(client.data(message()), "250 ")
        client.quit()
    said = [line for session in backend.sessions for line in session]
    same([line for line in said if line.startswith(("AUTH", "*"))], ["AUTH LOGIN", "*", f"AUTH PLAIN {PLAIN}"], "AUTH at the backend")
    session = next(session for session in backend.sessions if f"AUTH PLAIN {PLAIN}" in session)
    has(session, "RCPT TO:<bob@elsewhere.test>")


def test_answers_to_a_cancellation(t):
    """A response that is none ends the login, whatever the backend says to the "*": a challenge, or even 235."""
    for word in ("334 ", "235 2.7.0 Ok"):
        backend = scripted(t, auth=["334 ", "235 2.7.0 Ok"], **{"*": word})
        guard = outbound(t, backend, tls="implicit")
        with guard.client(OTHER, tls=trusting()) as client:
            client.ehlo()
            client.say("AUTH PLAIN", "334 ")
            client.say("what is that?", "501 5.5.2 ")
            wait_for(lambda: guard.events(event="login", action="reject", reply=501), "the refusal in the log")
            client.say("MAIL FROM:<carol@example.org>", "250 ")
            client.say("RCPT TO:<bob@elsewhere.test>", "530 5.7.0 ")
            client.say("RSET", "250 ")
            client.say(f"AUTH PLAIN {PLAIN}", "235 ")


def test_long_lines_and_pipelined_secrets(t):
    """A line within AUTH is refused beyond 12,288 octets and cancelled at the backend; a secret in the packet of AUTH is read as one."""
    backend = scripted(t, auth="334 ", **{"*": "501 5.7.0 Called off", b64("s3cret")[:4].lower(): "235 2.7.0 Ok"})
    guard = outbound(t, backend, tls="implicit")
    with guard.client(OTHER, tls=trusting()) as client:
        client.ehlo()
        client.say("AUTH PLAIN", "334 ")
        client.say("A" * 12288, "500 5.5.6 ")
        client.say("AUTH PLAIN", "334 ")
        client.say("what is that?", "501 5.5.2 ")
        client.say("AUTH PLAIN " + "A" * 12288, "500 5.5.2 ")
        client.send(f"AUTH PLAIN\r\n{b64('s3cret')}\r\nNOOP\r\n".encode())
        starts(client.read(), "334 ")
        starts(client.read(), "235 ")
        starts(client.read(), "250 ")
    same([line for session in backend.sessions for line in session if line == "*"], ["*", "*"], "called off at the backend")
    silent_about(guard, b64("s3cret"), "what is that")


def test_unix_socket(t):
    """By a Unix socket as by TCP: a password may cross it without TLS, the mail takes the same connection, and trouble is the same."""
    path = t.dir / "backend.sock"
    offer = EHLO.replace("250-AUTH", "250-XCLIENT NAME ADDR LOGIN\r\n250-AUTH")
    backend = t.start(UnixBackend(path, ehlo=offer, xcli="220 backend.test", auth=["535 5.7.8 No", "235 2.7.0 Ok"]))
    guard = outbound(t, backend, tls="implicit", backends=[{"address": backend.address, "pass_client": "xclient"}])
    with guard.client(OTHER, tls=trusting()) as client:
        has(client.ehlo(), "250-AUTH PLAIN LOGIN\n")
        client.say(f"AUTH PLAIN {PLAIN}", "535 5.7.8 No")
        client.say(f"AUTH PLAIN {PLAIN}", "235 ")
        client.envelope("carol@example.org", "bob@elsewhere.test")
        starts(client.data(message()), "250 ")
        backend.stop()
        starts(client.read(), "421 4.3.0 ")
        true(client.ended(), "the session goes on")
    session = next(session for session in backend.sessions if "RCPT TO:<bob@elsewhere.test>" in session)
    has(session, f"AUTH PLAIN {PLAIN}")
    has(next(line for line in session if line.startswith("XCLIENT")), OTHER.address)
    with guard.client(OTHER, tls=trusting()) as client:
        client.ehlo()
        client.say(f"AUTH PLAIN {PLAIN}", "454 4.7.0 ")
        has(guard.event(event="backend.down")["text"], "backend.sock: No such file or directory")
        t.start(UnixBackend(path, ehlo=EHLO, auth="235 2.7.0 Ok"))
        client.say(f"AUTH PLAIN {PLAIN}", "235 ")
    silent_about(guard, PLAIN, PASSWORD)


def test_backend_in_trouble(t):
    """A backend that is gone is 454 4.7.0; one that leaves after the login is 421 for him who logged in, never mail by another way."""
    backend = scripted(t, auth=["235 2.7.0 Ok", "421 4.3.2 Going down"])
    guard = outbound(t, backend, tls="implicit")
    with guard.client(OTHER, tls=trusting()) as client:
        client.ehlo()
        client.say(f"AUTH PLAIN {PLAIN}", "235 ")
        backend.hang_up()
        starts(client.read(), "421 4.3.0 ")
        true(client.ended(), "the session goes on")
    with guard.client(OTHER, tls=trusting()) as client:
        client.ehlo()
        client.say(f"AUTH PLAIN {PLAIN}", "454 4.7.0 ")
        backend.stop()
        wait_for(lambda: client.say(f"AUTH PLAIN {PLAIN}", "454 4.7.0 "), "454")
        client.say("NOOP", "250 ")


def test_guessing(t):
    """After five passwords that were wrong the session ends; each 535 is the backend's own, and each is counted."""
    guard = outbound(t, scripted(t, auth="535 5.7.8 Who are you?"), tls="implicit", admin={"http": f"127.0.0.1:{free_port()}"})
    with guard.client(OTHER, tls=trusting()) as client:
        client.ehlo()
        for _ in range(5):
            client.say(f"AUTH PLAIN {PLAIN}", "535 5.7.8 Who are you?")
        client.say(f"AUTH PLAIN {PLAIN}", "421 4.7.0 ")
        true(client.ended(), "the session goes on")
    same(guard.metric('smtpguard_logins_total{action="reject"}'), 5.0, "refused logins")


def test_trusted_networks(t):
    """A client of `networks` relays on the same port without logging in, and may log in all the same."""
    backend = scripted(t, auth="235 2.7.0 Ok")
    guard = outbound(t, backend, networks=[f"{OTHER.address}/32"])
    with guard.client(OTHER) as client:
        client.envelope("carol@example.org", "bob@elsewhere.test")
        starts(client.data(message()), "250 ")
        client.starttls()
        client.say(f"AUTH PLAIN {PLAIN}", "235 ")
        client.envelope("carol@example.org", "bob@elsewhere.test")
        starts(client.data(message()), "250 ")
    same(len(backend.messages), 2, "messages at the backend")
