"""What a message costs the DNS: which questions leave, and how often."""

import threading

from lib.check import same, starts, wait_for
from lib.mail import message, signed
from lib.scripted_dns import ScriptedDns, text_of
from lib.world import GOOD, SPAM_LIST

import dns.rdatatype

NAMES_LIST = {"zone": "names.test", "score": 8, "codes": ["127.0.1.2"], "kind": "domains", "untested": True}


class CountingDns(ScriptedDns):
    """Remembers who asked for what."""

    def __init__(self, table):
        super().__init__()
        self.lock = threading.Lock()
        self.asked = []
        self.table = table

    def fill(self, reply, question):
        with self.lock:
            self.asked.append((dns.rdatatype.to_text(question.rdtype), text_of(question.name)))
        return super().fill(reply, question)

    def questions(self):
        """Since the last call; without those for our own name, the canary."""
        with self.lock:
            asked, self.asked = self.asked, []
        return sorted(question for question in asked if question[1] != "mx.example.net")


def usual(key):
    """A sender as there are many: SPF with an include, an MX, DKIM, DMARC, an address with a name."""
    return {
        "usual.test": {"TXT": [["v=spf1 include:_spf.usual.test mx -all"]], "MX": [[10, "mx.usual.test"]]},
        "_spf.usual.test": {"TXT": [["v=spf1 ip4:192.0.2.0/24 ip4:127.0.1.0/24 -all"]]},
        "mx.usual.test": {"A": [GOOD.address]},
        "_dmarc.usual.test": {"TXT": [["v=DMARC1; p=reject"]]},
        "rsa._domainkey.usual.test": {"TXT": [[key.record[:250], key.record[250:]]]},
        "1.1.0.127.in-addr.arpa": {"PTR": ["mx.usual.test"]},
        "2.0.0.127.bl.test": {"A": ["127.0.0.2"]},
    }


def send(t, guard):
    bob = t.recipient()
    mail = message(sender="alice@usual.test", recipient=bob)
    with guard.client(GOOD) as client:
        client.ehlo("mx.usual.test")
        client.say("MAIL FROM:<alice@usual.test>", "250 ")
        client.say(f"RCPT TO:<{bob}>", "250 ")
        starts(client.data(signed(mail, t.world.good_rsa, "rsa", "usual.test")), "250 ")
    guard.event(event="message", to=bob, spf="pass", dkim="pass", dmarc="pass", fcrdns="verified")


def test_questions_of_a_message(t):
    """A usual message through all checks asks the DNS twelve questions, each once; the next one like it asks none."""
    server = CountingDns(usual(t.world.good_rsa))
    t.start(server)
    guard = t.guard(
        nameserver=server,
        dnsbl={"lists": [SPAM_LIST, NAMES_LIST]},
        greylist={"mode": "off"},
        runtime={"workers": 1},
    )
    wait_for(lambda: len(server.asked) >= 3, "the questions of the start: the list's test entries, the canary")
    server.questions()
    send(t, guard)
    same(
        server.questions(),
        sorted(
            [
                ("PTR", "1.1.0.127.in-addr.arpa"),
                ("A", "mx.usual.test"),
                ("A", "1.1.0.127.bl.test"),
                ("TXT", "mx.usual.test"),
                ("TXT", "usual.test"),
                ("TXT", "_spf.usual.test"),
                ("MX", "usual.test"),
                ("A", "mx.usual.test.names.test"),
                ("A", "usual.test.names.test"),
                ("TXT", "rsa._domainkey.usual.test"),
                ("TXT", "_dmarc.usual.test"),
                ("TXT", "_dmarc.test"),
            ]
        ),
        "the questions of the first message",
    )
    send(t, guard)
    same(server.questions(), [], "the questions of the second message")
