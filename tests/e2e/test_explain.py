"""explain: of each way in which mail is refused or taken, who decided, why, and what the sender can do."""

import json

from lib.check import has, has_not, same, wait_for
from lib.mail import message, signed
from lib.world import BOT, GOOD, LIAR, LISTED, OTHER, SPAM_LIST
from test_history import deliver, session

FINE, NO, USAGE = 0, 1, 64
STRICT = {
    "dnsbl": {"lists": [SPAM_LIST]},
    "spf": {"on_fail": "reject"},
    "screen": {"fcrdns": "enforce"},
    "dmarc": {"reject": "always"},
}


def explained(guard, word):
    """The newest decision about it, as soon as it is on record."""
    wait_for(lambda: guard.cli("explain", word)[0] == FINE, f"a record of {word}")
    return guard.cli("explain", word, "--limit", "1")[1]


def tells(text, *parts):
    """The text has these parts, in this order."""
    for part in parts:
        has(text, part)
        text = text.partition(part)[2]


def test_taken(t):
    """Of a message that was taken: everything that was seen, and the backend's word."""
    guard, bob = t.guard(**STRICT), t.recipient()
    deliver(guard, GOOD, "alice@good.test", bob, signed(message(recipient=bob), t.world.good_rsa, "rsa"), "250 ")
    tells(
        explained(guard, "alice@good.test"),
        "accept, 250 2.0.0",
        f"Client      {GOOD.address}, on the listener mx",
        f"To          <{bob}>",
        "mx.good.test, which has this address",
        '"mx.good.test": a full host name',
        "score 0: 0 of 1 list it",
        "pass for mx.good.test",
        "good.test is there",
        "pass for good.test, whose record has ip4:127.0.1.1",
        "pass for good.test, selector rsa (rsa-sha256, 2048 bits)",
        "_dmarc.good.test says p=reject",
        f"to <{bob}>: 250",
        "to the message: 250 2.0.0 Ok",
        "Nothing: it was taken",
    )


def test_odd_header(t):
    """A Message-ID on two lines is one word, so that no sender adds lines; of more signatures than fit none is denied."""
    guard, bob = t.guard(), t.recipient()
    signature = b"DKIM-Signature: v=1; a=rsa-sha256; d=x.test; s=y; h=from; bh=AAAA; b=AAAA\r\n"
    head = b"Message-ID: <a\r\n    to the message: 550 forged@x>\r\n" + 60 * signature
    deliver(guard, GOOD, "alice@good.test", bob, head + message(recipient=bob), "250 ")
    tells(
        explained(guard, "alice@good.test"),
        "Message-ID  <a    to the message: 550 forged@x>\n\n",
        "for x.test, selector y",
        "DKIM         and 10 more signatures",
    )


def test_refused_at_rcpt(t):
    """A listed client, an SPF fail, a host name that lies, no such user: each is told by sender, recipient or address."""
    guard, bob = t.guard(**STRICT), t.recipient()
    for host, sender, recipient, reply, word, parts in (
        (
            LISTED, "x@listed.test", bob, "554", LISTED.address,
            ("decided by: dnsbl", "bl.test has it (127.0.0.2), score 8", "dnsbl.reject_score is now 8 (default)",
             "The address 127.0.1.3 is on the list bl.test (127.0.0.2)"),
        ),
        (
            OTHER, "x@strict.test", bob, "550 5.7.23", "X@strict.test",
            ("decided by: spf", "fail for strict.test", "its owner explains: 127.0.1.2 does not send for strict.test",
             "spf.on_fail is now reject (", "smtpguard.yaml:", "does not list 127.0.1.2", "(ip4:127.0.1.2)"),
        ),
        (
            LIAR, "x@good.test", bob, "550 5.7.25", LIAR.address,
            ("decided by: fcrdns", "calls itself liar.test, which has other addresses", "let that name have this address"),
        ),
        (
            OTHER, "x@other.test", "nobody@example.net", "550 5.1.1", "nobody@example.net",
            ("decided by: backend", "User unknown", "The mail server behind us said this itself"),
        ),
        (
            OTHER, "x@other.test", "who@where.test", "550 5.7.1", "@where.test",
            ("decided by: relay", "<who@where.test> is not of a domain that we take mail for"),
        ),
    ):
        session(guard, host, (f"MAIL FROM:<{sender}>", "250"), (f"RCPT TO:<{recipient}>", reply))
        tells(explained(guard, word), *parts)


def test_dmarc(t):
    """A DMARC reject says why neither SPF nor DKIM vouches, by the id that the log has, its session's, and Message-ID."""
    guard, bob = t.guard(**STRICT), t.recipient()
    text = signed(message(recipient=bob), t.world.good_rsa, "rsa", domain="other.test")
    deliver(guard, OTHER, "eve@other.test", bob, text, "550 5.7.1 Refused by the DMARC")
    identity = guard.event(event="message")["id"]
    texts = [explained(guard, word) for word in (identity, identity.partition(".")[0].lower(), "<1@good.test>")]
    same([texts[0]] * 2, texts[1:], "the same by each name")
    tells(
        texts[0],
        f"{identity}  ",
        "reject, 550 5.7.1, decided by: dmarc",
        "dmarc.reject is now always (",
        "The owner of good.test asks the world (in the record _dmarc.good.test)",
        "- SPF passes, but for other.test, which is not aligned with good.test",
        "- The DKIM signature of other.test (selector rsa): permerror, there is no key",
        "(d=good.test)",
    )
    code, out = guard.cli("explain", identity, "--json")
    (decision,) = json.loads(out)["decisions"]
    recipient, verdict = decision["answers"]
    same((code, recipient["to"], recipient["reply"], recipient["advice"]), (FINE, bob, 250, []), "the recipient")
    same((verdict["to"], verdict["check"], verdict["reply"]), (None, "dmarc", 550), "the message")
    same(verdict["settings"]["dmarc.mode"], {"value": "enforce", "origin": "default"}, "a setting")
    same(decision["record"]["id"], identity, "the record")
    has(verdict["advice"][0], "The owner of good.test")


def test_greylisted_and_early(t):
    """Who is greylisted hears when to come again; an early talker and an odd HELO what is wrong with them."""
    guard, bob = t.guard(greylist={"delay": "240s"}, screen={"banner_delay": "5s"}), t.recipient()
    with guard.client(BOT, greeting=None) as client:
        client.send(b"EHLO bot.test\r\n")
        client.ended()
    tells(explained(guard, BOT.address), "drop, 554 5.5.1, decided by: early-talker", "the client spoke before it",
          "A mail server waits for the greeting", "look at what runs on 127.0.1.4")
    guard.change(screen={"banner_delay": "0s"})
    session(guard, BOT, ("MAIL FROM:<x@soft.test>", "250"), (f"RCPT TO:<{bob}>", "451 4.7.1"))
    tells(explained(guard, bob), "greylist, 451 4.7.1, decided by: greylist", "none: the address has no PTR record",
          "first seen: it has to come again (asked for the sign against it: rdns)", "greylist.delay is now 240s",
          "come again after 240 seconds (from ")
    with guard.client(OTHER) as client:
        client.say("HELO mx.example.net", "550")
    tells(explained(guard, OTHER.address), "reject, 550 5.7.1, decided by: helo", "our own name or address",
          'It said "mx.example.net"')


def test_nothing(t):
    """Nothing on record is 1, a word that is none 64; without the daemon the records are read all the same."""
    guard, bob = t.guard(log={"privacy": "hash"}), t.recipient()
    code, out = guard.cli("explain", "alice@good.test")
    same(code, NO, "the exit code")
    has(out, "log.privacy hides addresses")
    for words in ((), ("here",), ("a@b.test", "c@d.test"), ("a@b.test", "--limit", "0")):
        same(guard.cli("explain", *words)[0], USAGE, f"the exit code of {words}")
    deliver(guard, GOOD, "alice@good.test", bob, message(recipient=bob), "250 ")
    text = explained(guard, "127.0.1.0/24")
    has_not(text, "alice")
    guard.kill()
    same(guard.cli("explain", GOOD.address), (FINE, text), "what is told without a daemon")
