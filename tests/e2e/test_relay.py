"""Between the client and Postfix: who Postfix thinks it talks to, whose answer it is, and every octet."""

import smtplib

from lib.check import Skipped, has, has_not, same, starts, true
from lib.client import stuffed
from lib.mail import message, signed
from lib.milter import Milter
from lib.opendkim import OpenDkim
from lib.postfix import RECEIVER, SENDING, Postfix, fields_added
from lib.process import free_port, has_ipv6, run
from lib.world import BOT, GOOD, GOOD_IPV6, OTHER, SENDER


def test_postfix_logs_the_true_client(t):
    """Postfix logs the client's address, name and HELO, and puts them into its Received field (XCLIENT)."""
    guard, bob = t.guard(), t.recipient()
    with guard.client(GOOD) as client:
        client.envelope("alice@good.test", bob)
        starts(client.data(message(recipient=bob)), "250 ")
        client.say("MAIL FROM:<alice@good.test>", "250 ")
        client.say("RCPT TO:<unknown-to-relay@example.net>", "550 5.1.1 ")
    has(t.postfix.delivery(bob).client, "mx.good.test (mx.good.test [127.0.1.1])")
    t.postfix.logged("client=mx.good.test[127.0.1.1]")
    line = t.postfix.logged("to=<unknown-to-relay@example.net>")
    has(line, "RCPT from mx.good.test[127.0.1.1]")
    has(line, "helo=<mx.good.test>")


def test_kept_connections_never_mix_clients(t):
    """One client after the other: each is introduced to Postfix as itself, never as the one before."""
    guard = t.guard(runtime={"workers": 1}, greylist={"mode": "off"})
    clients = {host: t.recipient() for host in (GOOD, BOT, OTHER, SENDER)}
    for host, recipient in clients.items():
        with guard.client(host) as client:
            client.envelope("", recipient)
            starts(client.data(message(sender="x@other.test", recipient=recipient)), "250 ")
    for host, recipient in clients.items():
        has(t.postfix.delivery(recipient).client, f"[{host.address}]")


def test_milter_sees_the_true_client(t):
    """A milter of the Postfix behind, which looks at content, is told the true client, as README.md says."""
    milter = t.start(Milter())
    postfix = t.start(Postfix(t.dir / "postfix", RECEIVER + f"smtpd_milters = inet:127.0.0.1:{milter.port}\n"))
    with t.guard(backend=postfix).client(GOOD) as client:
        client.envelope("alice@good.test", "u1@example.net")
        starts(client.data(message(recipient="u1@example.net")), "250 ")
    same(milter.clients[-1], (GOOD.name, GOOD.address), "the last client that the milter knows of")


def test_ipv6_client(t):
    """A client of IPv6 has a name, an SPF result and a line in Postfix's log like any other."""
    if not has_ipv6():
        raise Skipped("this machine has no ::1")
    port = free_port("::1")
    guard, bob = (
        t.guard(listen=[{"name": "six", "address": f"[::1]:{port}", "role": "mx", "tls": "none"}]),
        t.recipient(),
    )
    guard.port = port
    mail = message(recipient=bob)
    with guard.client(GOOD_IPV6) as client:
        client.envelope("alice@good.test", bob)
        starts(client.data(mail), "250 ")
    delivery = t.postfix.delivery(bob)
    verdict, received = fields_added(delivery, mail)
    has(verdict, "spf=pass")
    has(received, "mx.good.test [IPv6:::1]")
    has(delivery.client, "mx.good.test [IPv6:::1]")


def test_unknown_user(t):
    """An unknown user is refused in the session with Postfix's own words, and the others get the message."""
    guard, bob = t.guard(), t.recipient()
    with guard.client(GOOD) as client:
        client.ehlo()
        client.say("MAIL FROM:<alice@good.test>", "250 2.1.0 Ok")
        client.say(
            "RCPT TO:<no.such.user@example.net>",
            "550 5.1.1 <no.such.user@example.net>: Recipient address rejected: "
            "User unknown in virtual mailbox table",
        )
        client.say(f"RCPT TO:<{bob}>", "250 2.1.5 Ok")
        client.say("RCPT TO:<someone@elsewhere.test>", "550 5.7.1 We do not relay mail for this domain")
        starts(client.data(message(recipient=bob)), "250 2.0.0 Ok: ")
    t.postfix.delivery(bob)


def many_unknown_users(t, pass_client):
    guard = t.guard(
        runtime={"workers": 1}, backends=[{"address": t.postfix.address, "pass_client": pass_client}]
    )
    for _ in range(40):
        with guard.client(GOOD) as client:
            client.ehlo()
            client.say("MAIL FROM:<alice@good.test>", "250 ")
            client.say("RCPT TO:<no.such.user@example.net>", "550 5.1.1 ")
            client.quit()
    slow = [line for line in guard.events(event="session") if line["ms"] > 900]
    true(len(slow) < 10, f"{len(slow)} sessions were slowed down: Postfix does it from the tenth error on")


def test_many_unknown_users(t):
    """Errors of one client are not those of the next: forty in a row get their 550 at once."""
    many_unknown_users(t, "xclient")


def test_many_unknown_users_without_xclient(t):
    """Nor when Postfix takes all of them for one client, on connections that are kept open."""
    many_unknown_users(t, "none")


def test_ten_megabytes(t):
    """A message of 10 MB, which goes through the spool's file, arrives byte for byte."""
    guard, bob = t.guard(limits={"spool_memory": "64K"}), t.recipient()
    lines = (
        b"." * (i % 5) + b"%07d " % i + b"abcdefghijklmnopqrstuvwxyz" * (i % 40) + b"\r\n"
        for i in range(20000)
    )
    mail = signed(message(recipient=bob, body=b"".join(lines)), t.world.good_rsa, "rsa")
    with guard.client(GOOD) as client:
        client.envelope("alice@good.test", bob)
        starts(client.data(mail), "250 2.0.0 Ok: ")
    verdict, _ = fields_added(t.postfix.delivery(bob), mail)
    has(verdict, "dkim=pass")
    same(list((guard.dir / "spool").iterdir()), [], "files left in the spool")


def test_eight_bit(t):
    """Octets beyond ASCII pass as they are, in the header and in the body, with BODY=8BITMIME and without."""
    guard, bob = t.guard(), t.recipient()
    mail = signed(
        message(recipient=bob, subject="Grüße", body=bytes(range(128, 256)) + b"\r\n"),
        t.world.good_rsa,
        "rsa",
    )
    for parameter in (" BODY=8BITMIME", ""):
        with guard.client(GOOD) as client:
            has(client.ehlo(), "8BITMIME")
            client.say(f"MAIL FROM:<alice@good.test>{parameter}", "250 ")
            client.say(f"RCPT TO:<{bob}>", "250 ")
            starts(client.data(mail), "250 ")
    for delivery in t.postfix.deliveries(bob, count=2):
        has(fields_added(delivery, mail)[0], "dkim=pass")


def test_awkward_bodies(t):
    """Dots at line starts, long lines, trailing blanks, no end of line, no body: every octet is kept."""
    guard = t.guard()
    bodies = [
        b".\r\n..\r\n.x\r\n...\r\n",
        b"x" * 60000 + b"\r\n",
        b"blank \t \r\n\r\n\r\n",
        b"\r\n\r\n.",
        b"\t\x01\x7f\x1b[0m\r\n",
    ]
    mails = [message(body=body) for body in bodies]
    mails += [message(body="").removesuffix(b"\r\n")]  # all header
    for mail in mails:
        bob = t.recipient()
        with guard.client(GOOD) as client:
            client.envelope("alice@good.test", bob)
            starts(client.data(mail), "250 ")
        fields_added(t.postfix.delivery(bob), mail if mail.endswith(b"\r\n") else mail + b"\r\n")


def test_hundred_recipients(t):
    """A hundred recipients in one transaction each get the message; our Received field names none of them."""
    guard = t.guard()
    recipients = [t.recipient() for _ in range(100)]
    mail = message(recipient="undisclosed-recipients:;")
    with guard.client(GOOD) as client:
        client.envelope("alice@good.test", *recipients)
        starts(client.data(mail), "250 ")
    for recipient in recipients:
        _, received = fields_added(t.postfix.delivery(recipient), mail)
        has_not(received, "for <")


def test_pipelining(t):
    """A pipelined group is answered in order, and what Postfix refuses is refused in its place."""
    guard, bob, eve = t.guard(), t.recipient(), t.recipient()
    mail = message(recipient=bob)
    with guard.client(GOOD) as client:
        has(client.ehlo(), "PIPELINING")
        client.send(
            f"MAIL FROM:<alice@good.test>\r\nRCPT TO:<{bob}>\r\nRCPT TO:<no.one@example.net>\r\n"
            f"RCPT TO:<{eve}>\r\nDATA\r\n".encode()
        )
        same([client.read()[:3] for _ in range(5)], ["250", "250", "550", "250", "354"], "the replies")
        client.send(stuffed(mail) + b"NOOP\r\nQUIT\r\n")
        same([client.read()[:3] for _ in range(3)], ["250", "250", "221"], "the replies")
    for recipient in (bob, eve):
        fields_added(t.postfix.delivery(recipient), mail)


def test_pipelined_bounce(t):
    """The null sender has the SPF of its HELO, also when it is at RCPT before the DNS has answered."""
    guard, bob = t.guard(), t.recipient()
    mail = message(recipient=bob)
    with guard.client(GOOD) as client:
        client.send(f"EHLO mx.good.test\r\nMAIL FROM:<>\r\nRCPT TO:<{bob}>\r\nDATA\r\n".encode())
        same([client.read()[:3] for _ in range(4)], ["250", "250", "250", "354"], "the replies")
        client.send(stuffed(mail))
        starts(client.read(), "250 ")
    verdict, _ = fields_added(t.postfix.delivery(bob), mail)
    for words in ("spf=pass smtp.helo=mx.good.test", "dmarc=pass"):
        has(verdict, words)


def test_smtplib(t):
    """Python's smtplib sends two messages in one session."""
    guard, bob = t.guard(), t.recipient()
    mail = message(recipient=bob)
    with smtplib.SMTP("127.0.0.1", guard.port, "mx.good.test", source_address=(GOOD.address, 0)) as client:
        client.sendmail("alice@good.test", [bob], mail)
        client.sendmail("alice@good.test", [bob], mail)
    for delivery in t.postfix.deliveries(bob, count=2):
        fields_added(delivery, mail)


def test_swaks(t):
    """swaks delivers a message of its own making."""
    guard, bob = t.guard(), t.recipient()
    run(
        "swaks",
        "--server",
        f"127.0.0.1:{guard.port}",
        "--local-interface",
        GOOD.address,
        "--helo",
        GOOD.name,
        "--from",
        "alice@good.test",
        "--to",
        bob,
        "--body",
        "Hello from swaks",
    )
    has(t.postfix.delivery(bob).message, b"Hello from swaks\r\n")


def test_smtp_source(t):
    """Postfix's smtp-source sends 60 messages in 8 sessions at a time, and each arrives once."""
    guard, bob = t.guard(greylist={"mode": "off"}), t.recipient()
    run(
        "smtp-source",
        "-s",
        "8",
        "-m",
        "60",
        "-l",
        "20000",
        "-M",
        "mx.sender.test",
        "-f",
        "x@sender.test",
        "-t",
        bob,
        f"127.0.0.1:{guard.port}",
    )
    same(len(t.postfix.deliveries(bob, count=60)), 60, "messages")


def test_postfix_as_client_signed_by_opendkim(t):
    """A sending Postfix, whose mail OpenDKIM signs, delivers through smtpguard to the receiving Postfix."""
    guard, bob = t.guard(), t.recipient()
    opendkim = t.start(OpenDkim(t.dir, "sender.test", "odkim", t.world.sender_rsa))
    sender = t.start(
        Postfix(t.dir / "sender", SENDING.format(next_hop=guard.port, milter=opendkim.port, host=SENDER))
    )
    mail = message(sender="carol@sender.test", recipient=bob, body="A line.\r\n.\r\n..and dots.\r\n")
    with smtplib.SMTP("127.0.0.1", sender.port) as client:
        client.sendmail("carol@sender.test", [bob], mail)
    delivery = t.postfix.delivery(bob)
    verdict, received = fields_added(delivery, delivery.message[delivery.message.index(b"DKIM-Signature:") :])
    for word in ("dkim=pass", "header.s=odkim", "spf=pass", "dmarc=pass"):
        has(verdict, word)
    has(received, "from mx.sender.test (mx.sender.test [127.0.1.6])")
    true(delivery.message.endswith(mail.partition(b"\r\n\r\n")[2]), "the body is not what was sent")
