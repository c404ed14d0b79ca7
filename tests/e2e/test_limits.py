"""Bad input of every kind: a clear reply, nothing passed on, and a session that goes on or ends."""

import time

from lib.check import has, same, starts, true
from lib.client import stuffed
from lib.mail import message
from lib.postfix import fields_added
from lib.world import BOT, GOOD, LIAR, LISTED, SPAM_LIST


def transaction(client, recipient, text, expect):
    client.say("MAIL FROM:<alice@good.test>", "250 ")
    client.say(f"RCPT TO:<{recipient}>", "250 ")
    starts(client.data(text), expect)


def raw(client, recipient, octets, expect):
    """A message that is sent as it stands, dots and all."""
    client.say("MAIL FROM:<alice@good.test>", "250 ")
    client.say(f"RCPT TO:<{recipient}>", "250 ")
    client.say("DATA", "354 ")
    client.send(octets)
    starts(client.read(), expect)


def test_wrong_commands(t):
    """Unknown commands, wrong order and wrong syntax get their code of RFC 5321, and the session goes on."""
    guard = t.guard(limits={"errors": 1000})
    long = "x" * 5000
    table = [
        ("MAIL FROM:<alice@good.test>", "503 5.5.1"),
        ("EHLO", "501 5.5.4"),
        ("HELO", "501 5.5.4"),
        ("EHLO mx.example.net", "550 5.7.1 You are not me"),
        ("EHLO 127.0.1.1", "501 5.5.4"),
        ("EHLO -x_!", "501 5.5.4"),
        ("EHLO mx.good.test", "250-mx.example.net"),
        ("RCPT TO:<bob@example.net>", "503 5.5.1"),
        ("DATA", "503 5.5.1"),
        ("HELLO world", "500 5.5.2"),
        ("", "500 5.5.2"),
        (" ", "500 5.5.2"),
        ("M\u00c4IL", "500 5.5.2"),
        ("NOOP \x01", "500 5.5.2"),
        ("EXPN staff", "502 5.5.1"),
        ("AUTH PLAIN AGEAYg==", "502 5.5.1"),
        ("STARTTLS", "502 5.5.1"),
        ("VRFY bob", "252 2.5.2"),
        ("HELP", "214 2.0.0"),
        ("NOOP", "250 2.0.0"),
        ("RSET", "250 2.0.0"),
        ("QUIT now", "501 5.5.4"),
        ("MAIL FROM:alice@good.test", "501 5"),
        ("MAIL FROM:<alice>", "501 5"),
        ("MAIL FROM:<a b@good.test>", "501 5"),
        ("MAIL TO:<alice@good.test>", "501 5.5.4"),
        ("MAIL FROM:<al\u00c3\u00afce@good.test>", "553 5.6.7"),
        ("MAIL FROM:<al\u00efce@good.test>", "501 5.1.7"),
        ("MAIL FROM:<alice@good.test> SIZE=x", "501 5.5.4"),
        ("MAIL FROM:<alice@good.test> BODY=9BIT", "501 5.5.4"),
        ("MAIL FROM:<alice@good.test> SIZE=1 SIZE=1", "501 5.5.4"),
        ("MAIL FROM:<alice@good.test> FOO=1", "555 5.5.4"),
        ("MAIL FROM:<alice@good.test> SIZE=99999999999999999999", "552 5.3.4"),
        (long, "500 5.5.2 Line too long"),
        (f"MAIL FROM:<{long}@good.test>", "500 5.5.2 Line too long"),
        ("MAIL FROM:<alice@good.test>", "250 2.1.0"),
        ("MAIL FROM:<alice@good.test>", "503 5.5.1 Nested MAIL"),
        ("DATA", "554 5.5.1 No valid recipients"),
        ("RCPT TO:<>", "501 5"),
        ("RCPT TO:bob", "501 5"),
        ("RCPT TO:<bob@elsewhere.test>", "550 5.7.1 We do not relay"),
        ("RCPT TO:<bob@example.net@elsewhere.test>", "501 5"),
        (
            "RCPT TO:<bob%elsewhere.test@example.net>",
            "554 5.7.1 <bob%elsewhere.test@example.net>: Relay access denied",
        ),
        ("RCPT TO:<bob@[127.0.0.1]>", "550 5.7.1"),
        ("QUIT", "221 2.0.0"),
    ]
    with guard.client(GOOD) as client:
        for line, reply in table:
            client.say(line, reply)


def test_lines_without_crlf(t):
    """A command that ends with a bare LF is refused, and a bare CR is no end of a line."""
    with t.guard().client(GOOD) as client:
        client.ehlo()
        client.send(b"NOOP\nNOOP\r\n")
        starts(client.read(), "500 5.5.2 Lines end with CRLF")
        starts(client.read(), "250 ")
        client.send(b"NOOP\rNOOP\r\n")
        starts(client.read(), "500 5.5.2 ")


def test_line_without_end(t):
    """A client that never ends its line is cut off, and costs no memory until then."""
    with t.guard().client(GOOD) as client:
        client.ehlo()
        try:
            for _ in range(1000):
                client.send(b"x" * 10000)
        except ConnectionError:
            pass
        starts(client.read(), "500 5.5.2 Line too long")
        true(client.ended(), "the connection stays open")


def test_commands_byte_by_byte(t):
    """Commands and a message that arrive one octet at a time are understood like any others."""
    guard, bob = t.guard(), t.recipient()
    mail = message(recipient=bob)
    script = (
        f"EHLO mx.good.test\r\nMAIL FROM:<alice@good.test>\r\nRCPT TO:<{bob}>\r\nDATA\r\n".encode(),
        stuffed(mail),
    )
    with guard.client(GOOD) as client:
        for part, replies in zip(script, ("2223", "2")):
            for octet in part:
                client.send(bytes([octet]))
            same("".join(client.read()[0] for _ in replies), replies, "the replies")
    fields_added(t.postfix.delivery(bob), mail)


def test_ambiguous_octets(t):
    """NUL, bare CR and bare LF, which two servers may read in two ways, are refused and not repaired."""
    guard, bob = t.guard(), t.recipient()
    head = message(recipient=bob, body="")
    with guard.client(GOOD) as client:
        client.ehlo()
        for octets, name in (
            (b"a\0b", "NUL"),
            (b"a\rb", "bare CR"),
            (b"a\nb", "bare LF"),
            (b"\n", "bare LF"),
            (b"a\r\r\nb", "bare CR"),
        ):
            raw(client, bob, head + octets + b"\r\n.\r\n", f"550 5.6.11 The message contains a {name}")
        transaction(client, bob, head, "250 ")
    fields_added(t.postfix.delivery(bob), head)


def test_long_lines(t):
    """A line of a message is passed on as it is up to the limit, and refused beyond it."""
    guard, bob = t.guard(limits={"line": "2K"}), t.recipient()
    just, beyond = (message(recipient=bob, body=b"x" * (length - 2) + b"\r\n") for length in (2048, 2049))
    with guard.client(GOOD) as client:
        client.ehlo()
        transaction(client, bob, beyond, "550 5.6.0 A line is longer than 2048 octets")
        transaction(client, bob, just, "250 ")
    fields_added(t.postfix.delivery(bob), just)


def test_size(t):
    """SIZE is announced; a message beyond it is refused at MAIL when it says so, else at its end."""
    guard, bob = t.guard(limits={"message_size": "64K"}), t.recipient()
    just, beyond = (message(recipient=bob) + b"x" * 70 + b"\r\n" * n for n in (100, 40000))
    just += b"x" * (65536 - 2 - len(just)) + b"\r\n"
    with guard.client(GOOD) as client:
        has(client.ehlo(), "SIZE 65536")
        client.say("MAIL FROM:<alice@good.test> SIZE=65537", "552 5.3.4")
        transaction(client, bob, beyond, "552 5.3.4 The message is larger than 65536 octets")
        transaction(client, bob, just, "250 ")
    fields_added(t.postfix.delivery(bob), just)


def test_backend_limits_the_size(t):
    """What the backend announces as its SIZE holds when it is less than ours."""
    backend = t.backend(ehlo="250-backend.test\r\n250 SIZE 10000")
    guard = t.guard(backend, runtime={"workers": 1})
    with guard.client(GOOD) as client:
        client.envelope("alice@good.test", "bob@example.net")
        starts(client.data(message()), "250 ")
    with guard.client(GOOD) as client:
        has(client.ehlo(), "SIZE 10000")
        client.say("MAIL FROM:<alice@good.test> SIZE=10001", "552 5.3.4")


def test_too_many_recipients(t):
    """The 101st recipient is asked to come in another message; the hundred before it get this one."""
    backend = t.backend()
    guard = t.guard(backend)
    with guard.client(GOOD) as client:
        client.envelope("alice@good.test", *[f"u{i}@example.net" for i in range(100)])
        client.say("RCPT TO:<u100@example.net>", "452 4.5.3 Too many recipients")
        starts(client.data(message()), "250 ")
    same(len([c for c in backend.sessions[0] if c.startswith("RCPT")]), 100, "recipients at the backend")


def test_too_many_errors(t):
    """After twenty errors the session is ended with 421."""
    with t.guard().client(GOOD) as client:
        client.ehlo()
        for _ in range(20):
            client.say("WHAT", "500 ")
        starts(client.read(), "421 4.7.0 Too many errors")
        true(client.ended(), "the connection stays open")


def test_header_floods(t):
    """Floods of header fields, header sections with something else in them, and mail loops are refused."""
    guard, bob = t.guard(limits={"header_size": "16K", "header_fields": 100, "received": 20}), t.recipient()
    mail = message(recipient=bob)
    hop = b"Received: from a.test by b.test; Mon, 06 Jul 2026 10:00:00 +0000\r\n"
    our_hop = hop.replace(b" by b.test", b"\r\n\tby mx.example.net (smtpguard) with ESMTP id 1")
    with guard.client(GOOD) as client:
        client.ehlo()
        transaction(
            client,
            bob,
            b"X-Long: " + b"x" * 17000 + b"\r\n" + mail,
            "552 5.3.4 The header section is larger than 16384",
        )
        transaction(client, bob, b"X: y\r\n" * 100 + mail, "552 5.3.4 The header section is larger than")
        transaction(
            client,
            bob,
            b"No field at all\r\n" + mail,
            "550 5.6.0 The header section has a line that is no header field",
        )
        transaction(client, bob, b" folded\r\n" + mail, "550 5.6.0 ")
        transaction(client, bob, hop * 21 + mail, "554 5.4.6 Too many hops")
        transaction(client, bob, our_hop * 4 + mail, "554 5.4.6 Too many hops")
        trips = (our_hop + our_hop.replace(b"(smtpguard)", b"(Postfix)")) * 3  # a backend that has our name
        transaction(client, bob, trips + hop * 14 + mail, "250 ")
    fields_added(t.postfix.delivery(bob), trips + hop * 14 + mail)


def test_from_field(t):
    """A message without a From that one domain answers for is refused."""
    guard, bob = t.guard(), t.recipient()
    with guard.client(GOOD) as client:
        client.ehlo()
        for head in (
            b"",
            b"From: alice@good.test\r\nFrom: bob@good.test\r\n",
            b"From: a@good.test, b@other.test\r\n",
            b"From: alice at good.test\r\n",
            b"From: good.test <>\r\n",
        ):
            transaction(
                client, bob, head + b"Subject: x\r\n\r\nx\r\n", "550 5.6.0 Nobody can vouch for this message"
            )
        transaction(
            client, bob, b"From: a@good.test, b@good.test\r\nSender: a@good.test\r\n\r\nx\r\n", "250 "
        )


def test_data_before_its_time(t):
    """A client that sends its message without waiting for 354 is cut off: it could be read in two ways."""
    with t.guard().client(GOOD) as client:
        client.ehlo()
        client.send(
            f"MAIL FROM:<alice@good.test>\r\nRCPT TO:<{t.recipient()}>\r\nDATA\r\n".encode()
            + stuffed(message())
        )
        same([client.read()[:3] for _ in range(3)], ["250", "250", "554"], "the replies")
        true(client.ended(), "the connection stays open")


def test_other_protocols(t):
    """A browser that is sent to the wrong port gets one line: nothing of its request is a command."""
    guard = t.guard()
    for hello in (
        b"GET / HTTP/1.1\r\nHost: mx\r\n\r\n",
        b"POST / HTTP/1.1\r\n\r\nEHLO mx.good.test\r\n",
        b"CONNECT mx:25 HTTP/1.1\r\n",
    ):
        with guard.client(GOOD) as client:
            client.send(hello)
            starts(client.read(), "554 5.5.1 This is an SMTP server")
            true(client.ended(), "the connection stays open")


def test_connection_limits(t):
    """A client with too many connections, or new ones too fast, is sent away with 421; others are served."""
    guard = t.guard(limits={"connections_per_client": 2}, runtime={"workers": 1})
    with guard.client(GOOD), guard.client(GOOD) as second:
        guard.client(GOOD, greeting="421 4.7.0 Too many connections from your address").close()
        guard.client(LIAR).close()
        second.quit()
        guard.client(GOOD).close()
    guard = t.guard(limits={"new_connections_per_client": "3/1h"})
    for _ in range(3):
        guard.client(GOOD).close()
    guard.client(GOOD, greeting="421 4.7.0 Too many new connections from your address").close()
    guard = t.guard(limits={"connections": 1})
    with guard.client(GOOD):
        guard.client(LIAR, greeting="421 4.3.2 Too many connections, try again later").close()


def test_unread_replies(t):
    """A client that asks on and on, and never reads what it hears, is cut off."""
    guard = t.guard(limits={"recipients": 1})
    with guard.client(GOOD) as client:
        client.envelope("alice@good.test", t.recipient())
        try:
            for _ in range(1000):  # far more than the kernel keeps for it
                client.send(b"RCPT TO:<bob@example.net>\r\n" * 1000)
        except OSError:
            pass
        guard.event(event="session", reason="it does not read our replies")


def test_idle_and_endless_sessions(t):
    """A client that says nothing, and a session that never ends, are ended with 421 when their time is up."""
    idle, endless = t.guard(limits={"idle": "1s"}), t.guard(limits={"session": "1s", "idle": "1h"})
    for guard, words in ((idle, "421 4.4.2 Timeout"), (endless, "421 4.4.2 The session took too long")):
        with guard.client(GOOD) as client:
            client.ehlo()
            starts(client.read(), words)
            true(client.ended(), "the connection stays open")


def test_a_message_that_outlasts_the_session(t):
    """A message that comes at a good rate is not cut when the session's time is up: it would never get through. Then the session ends."""
    guard, bob = t.guard(limits={"session": "3s"}), t.recipient()
    mail = message(recipient=bob, body=b"x" * 998 + b"\r\n")
    with guard.client(GOOD) as client:
        client.envelope("alice@good.test", bob)
        client.say("DATA", "354 ")
        begun = time.monotonic()
        client.send(mail)
        while time.monotonic() - begun < 3.5:
            client.send(b"y" * 998 + b"\r\n")
            time.sleep(0.1)
        client.send(b".\r\n")
        starts(client.read(), "250 2.0.0 Ok")
        starts(client.read(), "421 4.4.2 The session took too long")
        true(client.ended(), "the connection stays open")


def test_sender_domain(t):
    """A sender that cannot be answered is refused; one whose DNS fails, and the null sender, are not."""
    guard, bob = t.guard(greylist={"mode": "off"}), t.recipient()
    for sender, reply in (
        ("x@absent.test", "550 5.1.8 The sender's domain absent.test has neither MX nor address"),
        ("x@nullmx.test", "550 5.7.27 The sender's domain nullmx.test declares that it takes no mail"),
        ("x@servfail.test", "250 "),
        ("x@mx.good.test", "250 "),
        ("", "250 "),
    ):
        with guard.client(GOOD) as client:
            client.ehlo()
            client.say(f"MAIL FROM:<{sender}>", "250 ")
            client.say(f"RCPT TO:<{bob}>", reply)


def test_name_of_the_client(t):
    """With fcrdns enforced, a client without a name, or with a name that is not its own, is refused."""
    guard = t.guard(screen={"fcrdns": "enforce"})
    for host, words in (
        (BOT, "550 5.7.25 Your address [127.0.1.4] has no host name"),
        (LIAR, "550 5.7.25 Your address [127.0.1.5] calls itself liar.test, which does not point back"),
        (GOOD, "250 "),
    ):
        with guard.client(host) as client:
            client.ehlo()
            client.say("MAIL FROM:<alice@good.test>", "250 ")
            client.say(f"RCPT TO:<{t.recipient()}>", words)


def test_postmaster_hears_everybody(t):
    """Whoever is refused can still write to postmaster and ask why (RFC 5321 4.5.1)."""
    guard = t.guard(dnsbl={"lists": [SPAM_LIST]})
    with guard.client(LISTED) as client:
        client.ehlo()
        client.say("MAIL FROM:<news@listed.test>", "250 ")
        client.say(f"RCPT TO:<{t.recipient()}>", "554 5.7.1 ")
        client.say("RCPT TO:<postmaster@example.net>", "250 ")
        client.say("RCPT TO:<Postmaster>", "250 ")
