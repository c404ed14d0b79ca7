"""The table of `make demo`, with real servers: who is let in, who is not, and what reached Postfix."""

import time

from lib.check import has, has_not, same, starts, true, wait_for
from lib.mail import message, signed
from lib.postfix import RECEIVER, Postfix, fields_added
from lib.world import ALLOW_LIST, BOT, BROKEN_LIST, GOOD, LISTED, OTHER, SPAM_LIST

LISTS = {"lists": [SPAM_LIST, ALLOW_LIST, BROKEN_LIST]}


def deliver(guard, host, sender, recipient, text):
    """The reply to the message, after an envelope that was accepted."""
    with guard.client(host) as client:
        client.envelope(sender, recipient)
        reply = client.data(text)
        client.quit()
    return reply


def test_clean_mail_signed_with_rsa(t):
    """Clean mail signed with RSA reaches Postfix byte for byte, under our verdict and our Received field."""
    guard, bob = t.guard(dnsbl=LISTS), t.recipient()
    mail = signed(message(recipient=bob), t.world.good_rsa, "rsa")
    starts(deliver(guard, GOOD, "alice@good.test", bob, mail), "250 2.0.0 Ok: ")
    verdict, received = fields_added(t.postfix.delivery(bob), mail)
    has(verdict, "Authentication-Results: mx.example.net;")
    for word in ("spf=pass", "dkim=pass", "header.d=good.test", "dmarc=pass", "iprev=pass"):
        has(verdict, word)
    has(received, "from mx.good.test (mx.good.test [127.0.1.1])")
    has(received, f"for <{bob}>")


def test_clean_mail_signed_with_ed25519(t):
    """Clean mail with an Ed25519 signature passes by it alone, when it comes through a forwarder."""
    guard, bob = t.guard(), t.recipient()
    mail = signed(message(recipient=bob), t.world.good_ed25519, "ed", canonical=("simple", "simple"))
    starts(deliver(guard, OTHER, "list@other.test", bob, mail), "250 2.0.0 Ok: ")
    verdict, _ = fields_added(t.postfix.delivery(bob), mail)
    has(verdict, "dkim=pass")
    has(verdict, "dmarc=pass")


def test_broken_signature(t):
    """A broken signature is marked dkim=fail, and the mail refused when nobody else vouches for it."""
    guard, bob = t.guard(greylist={"mode": "off"}), t.recipient()
    mail = signed(message(recipient=bob), t.world.good_rsa, "rsa").replace(b"all is well", b"all is lost")
    starts(deliver(guard, GOOD, "alice@good.test", bob, mail), "250 ")  # SPF vouches for it
    verdict, _ = fields_added(t.postfix.delivery(bob), mail)
    has(verdict, "dkim=fail")
    has(verdict, "dmarc=pass")
    starts(deliver(guard, BOT, "", bob, mail), "550 5.7.1 Refused by the DMARC policy of good.test")


def test_spf_fail(t):
    """A host that SPF does not name is refused when the settings say so, and marked when they do not."""
    strict, mild = t.guard(spf={"on_fail": "reject"}), t.guard(greylist={"mode": "off"})
    bob = t.recipient()
    with strict.client(GOOD) as client:
        client.ehlo()
        client.say("MAIL FROM:<alice@strict.test>", "250 ")
        reply = client.say(
            f"RCPT TO:<{bob}>", "550 5.7.23 SPF fail: strict.test does not let this host send its mail"
        )
        has(reply, "127.0.1.1 does not send for strict.test")
    mail = message(sender="alice@strict.test", recipient=bob)
    starts(deliver(mild, GOOD, "alice@strict.test", bob, mail), "250 ")
    verdict, _ = fields_added(t.postfix.delivery(bob), mail)
    has(verdict, "spf=fail")


def test_dmarc_reject(t):
    """A forged From of a domain with p=reject is refused after the message, which Postfix never sees."""
    guard, bob = t.guard(greylist={"mode": "off"}), t.recipient()
    reply = deliver(guard, OTHER, "", bob, message(recipient=bob))
    starts(reply, "550 5.7.1 Refused by the DMARC policy of good.test (p=reject)")
    same(guard.event(event="message")["check"], "dmarc", "the check that decided")
    same(t.postfix.files(bob), [], "mail of bob")
    has_not(t.postfix.log(), f"to=<{bob}>, relay")


def test_quarantine(t):
    """What DMARC quarantines has a field that Postfix's header_checks read; a client's copy of it is taken away."""
    checks = "/^X-Smtpguard-Quarantine: dmarc p=([^ ]+) from=([^ ]+)$/ REDIRECT postmaster@example.net\n"
    (t.dir / "header_checks").write_text(checks)
    backend = t.start(
        Postfix(t.dir / "backend", RECEIVER + f"header_checks = regexp:{t.dir}/header_checks\n")
    )
    guard, bob = t.guard(backend, greylist={"mode": "off"}), t.recipient()
    mark = b"X-Smtpguard-Quarantine: dmarc p=quarantine from=quarantine.test\r\n"
    honest = message(sender="alice@good.test", recipient=bob)
    starts(deliver(guard, GOOD, "alice@good.test", bob, mark + b"x-smtpguard-quarantine :\r\n x\r\n" + honest), "250 ")
    fields_added(backend.delivery(bob), honest)
    forged = message(sender="x@quarantine.test", recipient=bob)
    starts(deliver(guard, OTHER, "x@other.test", bob, forged), "250 ")
    added = fields_added(backend.delivery("postmaster@example.net"), forged)
    same(added[0].encode() + b"\r\n", mark, "the mark")
    has(added[1], "dmarc=fail (p=quarantine dis=quarantine)")


def test_listed_client(t):
    """A client on a DNS list is refused at RCPT with the list's name, and Postfix never hears of it."""
    guard, bob = t.guard(dnsbl={"lists": [SPAM_LIST]}), t.recipient()
    with guard.client(LISTED) as client:
        client.ehlo()
        client.say("MAIL FROM:<news@listed.test>", "250 ")
        reply = client.say(
            f"RCPT TO:<{bob}>", "554 5.7.1 Your address [127.0.1.3] is listed by bl.test (127.0.0.2)"
        )
        has(reply, "ask that list how to be removed")
        client.say("DATA", "554 5.5.1 No valid recipients")
    has_not(t.postfix.log(), bob)


def test_allow_list_outweighs(t):
    """Scores add up: with an allow list that knows it, the same client passes."""
    guard, bob = t.guard(dnsbl={"lists": [SPAM_LIST, ALLOW_LIST]}), t.recipient()
    mail = message(sender="news@listed.test", recipient=bob)
    starts(deliver(guard, LISTED, "news@listed.test", bob, mail), "250 ")
    fields_added(t.postfix.delivery(bob), mail)


def test_list_that_refuses_service(t):
    """A list that answers 127.255.255.254 lists nobody: it is disabled with a warning, and mail flows."""
    guard, bob = t.guard(dnsbl={"lists": [BROKEN_LIST]}, runtime={"workers": 1}), t.recipient()
    mail = message(recipient=bob)
    for _ in range(2):
        starts(deliver(guard, GOOD, "alice@good.test", bob, mail), "250 ")
    for delivery in t.postfix.deliveries(bob, count=2):
        fields_added(delivery, mail)
    has(
        guard.event(event="dnsbl-disabled", level="warning")["text"],
        "list broken.test answers 127.255.255.254",
    )


def test_greylisting(t):
    """A suspicious stranger is asked to come again, passes after the delay, and is known from then on."""
    guard, bob = t.guard(greylist={"delay": "2s"}), t.recipient()
    mail = message(sender="hans@soft.test", recipient=bob)

    def attempt(host=BOT):
        with guard.client(host) as client:
            client.ehlo()
            client.say("MAIL FROM:<hans@soft.test>", "250 ")
            reply = client.say(f"RCPT TO:<{bob}>")
            return client.data(mail) if reply.startswith("250") else reply

    begun = time.time()
    starts(attempt(), "451 4.7.1 Greylisted: please try again in 2 seconds")
    same(t.postfix.files(bob), [], "mail of bob before the delay is over")
    wait_for(lambda: attempt().startswith("250 2.0.0 Ok: "), "the delay to be over", seconds=10)
    true(time.time() - begun > 1, "passed before the delay was over")  # the clock has whole seconds
    starts(attempt(), "250 2.0.0 Ok: ")
    for delivery in t.postfix.deliveries(bob, count=2):
        fields_added(delivery, mail)


def test_greylisting_spares_the_honest(t):
    """A client with a name of its own and a passing SPF is never greylisted."""
    guard, bob = t.guard(greylist={"delay": "1h", "window": "2h"}), t.recipient()
    starts(deliver(guard, GOOD, "alice@good.test", bob, message(recipient=bob)), "250 ")


def test_early_talker(t):
    """A client that talks before the banner is refused; one that waits is served, and known to behave."""
    guard, bob = t.guard(screen={"banner_delay": "1s"}), t.recipient()
    with guard.client(GOOD, greeting=None) as client:
        same(client.line(), b"220-mx.example.net ESMTP\r\n")  # bait: who answers it reads no replies
        client.send(b"EHLO mx.good.test\r\n")
        starts(client.read(), "554 5.5.1 You spoke before the greeting")
        true(client.ended(), "the connection stays open")
    starts(deliver(guard, GOOD, "alice@good.test", bob, message(recipient=bob)), "250 ")
    starts(deliver(guard, GOOD, "alice@good.test", bob, message(recipient=bob)), "250 ")
    sessions = wait_for(
        lambda: len(guard.events(event="session")) == 3 and guard.events(event="session"), "three sessions"
    )
    same(
        [line["ms"] >= 1000 for line in sessions],
        [False, True, False],
        f"who waited for the banner, of {sessions}",
    )


def test_forged_authentication_results(t):
    """Authentication-Results that claim to be ours are removed, others are kept, and nothing else moves."""
    guard, bob = t.guard(), t.recipient()
    head, body = message(recipient=bob).split(b"\r\n\r\n", 1)
    forged = [
        b"Authentication-Results: mx.example.net; dkim=pass header.d=bank.test\r\n",
        b"authentication-results:\r\n\t(really)\r\n MX.EXAMPLE.NET. 1; spf=pass\r\n",
        b"Authentication-Results: \"mx.example.net\"; dmarc=pass\r\n",
    ]
    kept = [
        b"Authentication-Results: mx.other.test; spf=pass\r\n",
        b"Authentication-Results: mx.example.net.evil.test; spf=pass\r\n",
    ]
    mixed = forged[0] + kept[0] + head + b"\r\n" + forged[1] + kept[1] + forged[2]
    starts(deliver(guard, GOOD, "alice@good.test", bob, mixed + b"\r\n" + body), "250 ")
    expected = kept[0] + head + b"\r\n" + kept[1] + b"\r\n" + body
    fields_added(t.postfix.delivery(bob), expected)
