"""The scenes of the demo, in the order of the table: each plays one client and says what must come of it."""
import time

from bed import wait_for
from smtpclient import Client

CLIENT = "127.0.2.%d"
GREYLISTED_CLIENT = "127.0.2.200"

ZONE = """
example.test                 MX   10 mail.example.test
example.test                 TXT  v=spf1 ip4:127.0.2.0/24 -all
_dmarc.example.test          TXT  v=DMARC1; p=reject

careless.test                MX   10 mail.careless.test
careless.test                TXT  v=spf1 ip4:192.0.2.25 -all

lists.test                   MX   10 mail.lists.test
lists.test                   TXT  v=spf1 ip4:127.0.2.0/24 -all

stranger.test                MX   10 mail.stranger.test

bank.test                    MX   10 mail.bank.test
bank.test                    TXT  v=spf1 ip4:192.0.2.80 -all
_dmarc.bank.test             TXT  v=DMARC1; p=reject

broken.test                  FAIL SERVFAIL
_dmarc.broken.test           FAIL SERVFAIL

6.2.0.127.bl.demo.test       A    127.0.0.2
2.0.0.127.bl.demo.test       A    127.0.0.2
7.2.0.127.sick.demo.test     A    127.255.255.254
"""


def zone():
    """Every client has a host name that points back to it (FCrDNS)."""
    hosts = [*range(1, 30), int(GREYLISTED_CLIENT.rsplit(".", 1)[1])]
    return ZONE + "".join(f"{n}.2.0.127.in-addr.arpa PTR c{n}.clients.test\nc{n}.clients.test A 127.0.2.{n}\n" for n in hosts)


def mail(author, subject, body="Hello,\r\n\r\nthis is the demo.\r\n"):
    return (f"From: <{author}>\r\nTo: <bob@demo.test>\r\nSubject: {subject}\r\n"
            f"Date: Mon, 02 Mar 2026 10:00:00 +0000\r\nMessage-ID: <{subject.replace(' ', '.')}@demo>\r\n\r\n{body}").encode()


class Differs(Exception):
    """What happened is not what had to."""


class Scene:
    """One client at work; what it sees is checked by the `expect_…` functions, each of which may raise Differs."""

    def __init__(self, bed, source):
        self.bed = bed
        self.source = source
        self.before = bed.delivered()
        self.connections = 0
        self.reply = None

    def connect(self):
        self.connections += 1
        return Client(self.bed.port, self.source)

    def deliver(self, sender, message, recipient="bob@demo.test"):
        with self.connect() as client:
            self.reply = client.deliver("mail.clients.test", sender, recipient, message)
        return self.reply

    def expect_reply(self, code, enhanced, reply=None):
        reply = reply or self.reply
        if reply.code != code or not reply.text.startswith(enhanced):
            raise Differs(f"{reply.code} {reply.text}, not {code} {enhanced}")

    def new_mail(self):
        return [self.bed.read(name) for name in sorted(self.bed.delivered() - self.before)]

    def expect_nothing_delivered(self):
        if self.new_mail():
            raise Differs(f"{self.reply.code} {self.reply.text}, and something was delivered")

    def expect_refused(self, code, enhanced):
        self.expect_reply(code, enhanced)
        self.expect_nothing_delivered()

    def expect_delivered(self, message, *results):
        """250, and exactly these octets behind our two fields, the first of which has these results."""
        self.expect_reply(250, "2.0.0")
        arrived = self.new_mail()
        if len(arrived) != 1 or not arrived[0].endswith(b"\r\n" + message):
            raise Differs("what was delivered is not, octet for octet, what was sent")
        envelope, _, ours = arrived[0].removesuffix(message).partition(b"Authentication-Results: mx.demo.test;")
        names = [line.split(b":")[0] for line in ours.splitlines()[1:] if not line.startswith((b" ", b"\t"))]
        if names != [b"Received"] or b"ADDR=" + self.source.encode() not in envelope:
            raise Differs("on top of the message is not what must be there")
        for result in results:
            if result.encode() not in ours:
                raise Differs(f"{result} is not in Authentication-Results")


# ---- scenes ----

def clean_signed_mail(scene):
    message = scene.bed.sign(mail("alice@example.test", "clean signed mail", ".dots\r\n..stay\r\n and  blanks \r\n"))
    scene.deliver("alice@example.test", message)
    scene.expect_delivered(message, "spf=pass", "dkim=pass", "dmarc=pass")


def broken_signature(scene):
    message = scene.bed.sign(mail("alice@example.test", "broken signature")).replace(b"Hello", b"Pay up")
    scene.deliver("alice@example.test", message)
    scene.expect_delivered(message, "spf=pass", "dkim=fail")


def spf_fail(scene):
    scene.deliver("alice@careless.test", mail("alice@careless.test", "spf fail"))
    scene.expect_refused(550, "5.7.23")


def dmarc_reject(scene):
    scene.deliver("someone@stranger.test", mail("service@bank.test", "dmarc reject"))
    scene.expect_refused(550, "5.7.1")


def dmarc_mailing_list(scene):
    message = mail("customer@bank.test", "from a mailing list")
    scene.deliver("list-bounces@lists.test", message)
    scene.expect_delivered(message, "spf=pass", "dmarc=fail (p=reject dis=quarantine)")


def listed_client(scene):
    scene.deliver("alice@example.test", mail("alice@example.test", "listed client"))
    scene.expect_refused(554, "5.7.1")


def sick_list(scene):
    message = mail("alice@example.test", "a sick list")
    scene.deliver("alice@example.test", message)
    scene.expect_delivered(message, "spf=pass")
    wait_for("an alarm about the list in the log", lambda: "event=dnsbl-disabled" in scene.bed.log())


def dns_in_trouble(scene):
    message = mail("alice@broken.test", "dns in trouble")
    scene.deliver("alice@broken.test", message)
    scene.expect_delivered(message, "spf=temperror", "dmarc=temperror")


def greylisted(scene):
    message = mail("someone@stranger.test", "greylisted then retried")
    scene.deliver("someone@stranger.test", message)
    scene.expect_refused(451, "4.7.1")
    give_up = time.monotonic() + 5
    while scene.deliver("someone@stranger.test", message).code == 451 and time.monotonic() < give_up:
        time.sleep(0.1)
    scene.expect_delivered(message, "spf=none")


def early_talker(scene):
    with scene.connect() as client:
        client.send(b"EHLO bot.clients.test\r\nMAIL FROM:<alice@example.test>\r\n")
        reply = client.read()  # its first line is the banner's, "220-…": bait
        scene.reply = reply._replace(text=reply.text.split("\n")[-1])
        scene.expect_refused(554, "5.5.1")
        if client.read().code != 0:
            raise Differs("the connection stays open")


def smuggling(scene):
    second = b"MAIL FROM:<root@bank.test>\r\nRCPT TO:<bob@demo.test>\r\nDATA\r\nSubject: smuggled\r\n\r\n.\r\n"
    for end in (b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r\n.\r"):
        with scene.connect() as client:
            scene.reply = client.read()
            for line in ("EHLO mail.clients.test", "MAIL FROM:<alice@example.test>", "RCPT TO:<bob@demo.test>", "DATA"):
                scene.reply = client.say(line)
            client.send(mail("alice@example.test", "smuggling") + end + second)
            scene.reply = client.read()
            scene.expect_refused(550, "5.6.11")
            scene.expect_reply(221, "2.0.0", client.say("QUIT"))  # the next reply is already QUIT's


def plaintext_behind_starttls(scene):
    with scene.connect() as client:
        client.read()
        client.say("EHLO mail.clients.test")
        reply = client.starttls(behind=b"EHLO injected.test\r\nMAIL FROM:<injected@example.test>\r\n")
        scene.expect_reply(220, "2.0.0", reply)
        scene.reply = client.say("RCPT TO:<bob@demo.test>")
    scene.expect_refused(503, "5.5.1")


def forged_results(scene):
    honest = mail("alice@example.test", "forged results")
    forged = (b"Authentication-Results: mx.demo.test; dkim=pass header.d=bank.test\r\n",
              b"authentication-results : (sly) \"MX.demo.test\" 1;\r\n\tdmarc=pass header.from=bank.test\r\n")
    other = b"Authentication-Results: elsewhere.test; spf=pass\r\n"
    scene.deliver("alice@example.test", forged[0] + other + forged[1] + honest)
    scene.expect_delivered(other + honest, "spf=pass")


def unknown_user(scene):
    scene.deliver("alice@example.test", mail("alice@example.test", "unknown user"), recipient="nobody@demo.test")
    scene.expect_refused(550, "5.1.1")


# What is played, what must come of it, and from which address.
SCENES = (
    ("clean signed mail", "delivered; SPF, DKIM and DMARC pass", clean_signed_mail, CLIENT % 1),
    ("broken signature", "delivered and marked: dkim=fail", broken_signature, CLIENT % 2),
    ("SPF fail", "550 5.7.23 at RCPT (spf.on_fail: reject)", spf_fail, CLIENT % 3),
    ("DMARC reject", "550 5.7.1: p=reject, and nothing vouches", dmarc_reject, CLIENT % 4),
    ("DMARC, mailing list", "delivered and marked: the list vouches", dmarc_mailing_list, CLIENT % 5),
    ("listed client", "554 5.7.1: the list answers 127.0.0.2", listed_client, CLIENT % 6),
    ("sick list", "delivered: 127.255.255.254 is no listing", sick_list, CLIENT % 7),
    ("DNS in trouble", "delivered and marked: doubt is not guilt", dns_in_trouble, CLIENT % 8),
    ("greylisted, then retried", "451 4.7.1 for a second, then delivered", greylisted, GREYLISTED_CLIENT),
    ("early talker", "554 instead of the greeting", early_talker, CLIENT % 10),
    ("<LF>.<LF> smuggling", "550 5.6.11 each time; never a second message", smuggling, CLIENT % 11),
    ("plaintext behind STARTTLS", "discarded: 503 to RCPT after the handshake", plaintext_behind_starttls, CLIENT % 12),
    ("forged A-R fields", "delivered without the forged fields", forged_results, CLIENT % 13),
    ("unknown user", "the backend's own 550 5.1.1 at RCPT", unknown_user, CLIENT % 14),
)
