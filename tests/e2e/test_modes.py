"""off, observe, enforce: what each check does, and what it only would have done."""

from lib.check import has, has_not, same, starts, true, wait_for
from lib.mail import message
from lib.postfix import fields_added
from lib.process import free_port
from lib.world import BOT, GOOD, LISTED, LIAR, OTHER, SPAM_LIST

FIERCE = {
    "spf": {"on_fail": "reject", "on_softfail": "reject", "on_permerror": "reject"},
    "dmarc": {"reject": "always", "quarantine": "reject"},
    "screen": {"fcrdns": "enforce", "banner_delay": "300ms"},
    "dnsbl": {"lists": [SPAM_LIST]},
    "greylist": {"when": "always", "delay": "1h", "window": "2h"},
}


def test_observe_refuses_nothing(t):
    """In mode observe the fiercest settings refuse nothing; the log tells what they would have done."""
    guard = t.guard(mode="observe", admin={"http": f"127.0.0.1:{free_port()}"}, **FIERCE)
    cases = [  # client, HELO, MAIL FROM, From, what would have refused
        (GOOD, "mx.good.test", "alice@good.test", "alice@good.test", "rcpt greylist"),
        (LISTED, "mx.listed.test", "x@listed.test", "x@listed.test", "rcpt dnsbl"),
        (BOT, "bot.test", "x@soft.test", "x@soft.test", "rcpt spf"),
        (LIAR, "liar.test", "x@other.test", "x@other.test", "rcpt fcrdns"),
        (GOOD, "mx.good.test", "x@absent.test", "x@absent.test", "rcpt sender-domain"),
        (GOOD, "mx.good.test", "x@wrong.test", "x@wrong.test", "rcpt spf"),
        (GOOD, "mx.example.net", "alice@good.test", "alice@good.test", "helo helo"),
        (OTHER, "mx.other.test", "x@other.test", "alice@good.test", "message dmarc"),
        (OTHER, "mx.other.test", "x@other.test", "x@quarantine.test", "message dmarc"),
        (OTHER, "mx.other.test", "x@other.test", None, "message from"),
    ]
    for host, helo, sender, author, would in cases:
        bob = t.recipient()
        mail = message(sender=author, recipient=bob)
        with guard.client(host) as client:
            client.ehlo(helo)
            client.say(f"MAIL FROM:<{sender}>", "250 ")
            client.say(f"RCPT TO:<{bob}>", "250 ")
            starts(client.data(mail), "250 2.0.0 Ok: ")
        fields_added(t.postfix.delivery(bob), mail)
        moment, check = would.split()
        wait_for(
            lambda: [
                line for line in guard.events(event=moment) if check in line.get("observed", "").split(",")
            ],
            f"a line of {moment} that observed {check}",
        )
        true(guard.metric(f'smtpguard_observed_total{{check="{check}"}}') >= 1, f"no count of {check}")


def test_observe_early_talker(t):
    """An early talker that is only observed is served."""
    guard = t.guard(screen={"early_talker": "observe", "banner_delay": "1s"})
    with guard.client(GOOD, greeting=None) as client:
        client.send(b"EHLO mx.good.test\r\n")
        starts(client.read(), "220")
        starts(client.read(), "250-mx.example.net")
        client.quit()
    same(guard.event(event="connect", level="info")["observed"], "early-talker", "what was observed")


def test_observe_does_not_relay(t):
    """Mode observe lets no stranger relay, and nothing ambiguous through to the backend."""
    guard = t.guard(mode="observe")
    with guard.client(GOOD) as client:
        client.ehlo()
        client.say("MAIL FROM:<alice@good.test>", "250 ")
        client.say("RCPT TO:<bob@elsewhere.test>", "550 5.7.1 We do not relay")
        client.say(f"RCPT TO:<{t.recipient()}>", "250 ")
        client.say("DATA", "354 ")
        client.send(message() + b"\n.\n\r\n.\r\n")
        starts(client.read(), "550 5.6.11 ")


def test_everything_off(t):
    """With all checks off a message from nowhere passes, and Authentication-Results claims nothing."""
    off = {"mode": "off"}
    guard = t.guard(
        dnsbl=off,
        greylist=off,
        spf=off,
        dkim=off,
        dmarc=off,
        screen={"early_talker": "off", "helo": "off", "fcrdns": "off", "sender_domain": "off"},
    )
    bob = t.recipient()
    mail = message(sender="x@absent.test", recipient=bob)
    with guard.client(BOT) as client:
        client.ehlo("mx.example.net")
        client.say("MAIL FROM:<x@absent.test>", "250 ")
        client.say(f"RCPT TO:<{bob}>", "250 ")
        starts(client.data(mail), "250 ")
    verdict, _ = fields_added(t.postfix.delivery(bob), mail)
    for method in ("spf=", "dkim=", "dmarc="):
        has_not(verdict, method)


def test_trusted_networks(t):
    """A client of a trusted network may relay, and is asked nothing."""
    backend = t.backend()
    guard = t.guard(
        backend, networks=["127.0.1.0/24"], dnsbl={"lists": [SPAM_LIST]}, greylist={"when": "always"}
    )
    with guard.client(LISTED) as client:
        client.ehlo("mx.example.net")
        client.say("MAIL FROM:<x@absent.test>", "250 ")
        client.say("RCPT TO:<bob@elsewhere.test>", "250 ")
        starts(client.data(message()), "250 ")
    has_not(backend.message(), b"Authentication-Results")
