"""Who is at the door: lists of domains, sick lists, a sick resolver, gateways, and the banner's bait."""

import contextlib
import ctypes
import os
import select
import sqlite3
import signal
import threading
import time

from lib.check import Skipped, has, has_not, same, starts, true, wait_for
from lib.mail import message
from lib.nameserver import NameServer
from lib.process import free_port, run
from lib.scripted_dns import ScriptedDns
from lib.world import GOOD, LISTED, OTHER, SPAM_LIST, SPAMMER, Host

NAMES_LIST = {"zone": "names.test", "score": 8, "codes": ["127.0.1.2-127.0.1.6"], "kind": "domains"}
LISTED_NAME = "The name spam.test is listed by names.test (127.0.1.2); ask that list"


def at_rcpt(guard, host, helo, sender, recipient, reply):
    """A session up to RCPT, whose reply begins so; returns that reply."""
    with guard.client(host) as client:
        client.ehlo(helo)
        client.say(f"MAIL FROM:<{sender}>", "250 ")
        return client.say(f"RCPT TO:<{recipient}>", reply)


def deliver(guard, host, recipient, sender="alice@good.test", author=None, reply="250 "):
    with guard.client(host) as client:
        client.envelope(sender, recipient)
        starts(client.data(message(sender=author or sender, recipient=recipient)), reply)


# ---- lists of domains ----


def test_lists_of_domains(t):
    """A listed domain in HELO or MAIL FROM, or above them, is refused at RCPT, and the reply names it."""
    guard, bob = t.guard(dnsbl={"lists": [NAMES_LIST]}), t.recipient()
    for helo, sender in (
        ("spam.test", "alice@good.test"),
        ("mx.spam.test", "alice@good.test"),
        ("MX.Spam.Test", ""),
        ("mx.good.test", "x@spam.test"),
        ("mx.good.test", "x@news.of.SPAM.test"),
        ("[127.0.1.1]", "x@spam.test"),
    ):
        at_rcpt(guard, GOOD, helo, sender, bob, f"554 5.7.1 {LISTED_NAME}")
    at_rcpt(guard, GOOD, "mx.good.test", "alice@good.test", bob, "250 ")
    at_rcpt(guard, GOOD, "spam.test.good.test", "alice@good.test", bob, "250 ")


def test_list_of_domains_by_ptr(t):
    """The name that the PTR of a client's address has counts as well."""
    guard, bob = t.guard(dnsbl={"lists": [NAMES_LIST]}), t.recipient()
    with guard.client(SPAMMER) as client:
        client.ehlo("mx.good.test")
        client.say("MAIL FROM:<alice@good.test>", "250 ")
        client.say("RCPT TO:<postmaster>", "250 ")  # answered when the PTR's name is there
        client.say("RSET", "250 ")
        client.say("MAIL FROM:<alice@good.test>", "250 ")
        client.say(f"RCPT TO:<{bob}>", f"554 5.7.1 {LISTED_NAME}")
    line = guard.event(event="rcpt", check="dnsbl")
    same((line["rdns"], line["rbl"]), ("host.spam.test", 8), "the log line")


def test_list_of_domains_by_from(t):
    """A listed domain in the From field is refused at the message, unless postmaster is to have it."""
    guard, bob = t.guard(dnsbl={"lists": [NAMES_LIST]}, dmarc={"mode": "off"}), t.recipient()
    deliver(guard, GOOD, bob, author="The Bank <x@www.spam.test>", reply=f"554 5.7.1 {LISTED_NAME}")
    same(t.postfix.files(bob), [], "messages for bob")
    line = guard.event(event="message")
    same((line["check"], line["header_from"]), ("dnsbl", "www.spam.test"), "the log line")
    deliver(guard, GOOD, bob, author="spam.test <x@good.test>")
    deliver(guard, GOOD, "postmaster@example.net", author="x@spam.test")


def test_list_of_domains_that_is_silent(t):
    """A list of domains that does not answer holds nobody longer than dnsbl.deadline, and counts nothing."""
    silent = {**NAMES_LIST, "zone": "silent.test", "untested": True}
    guard = t.guard(dnsbl={"lists": [silent], "deadline": "200ms"}, dns={"timeout": "8s", "tries": 1})
    begun = time.monotonic()
    deliver(guard, GOOD, t.recipient())
    true(time.monotonic() - begun < 6, "the list was waited for")
    same(guard.event(event="message")["rbl"], 0, "the score")


# ---- what is refused to whom ----


def test_postmaster(t):
    """postmaster takes mail of a listed client with listed names, who can so ask why; nobody else does."""
    guard = t.guard(dnsbl={"lists": [SPAM_LIST, NAMES_LIST]})
    for recipient in ("postmaster", "Postmaster@example.net"):
        with guard.client(LISTED) as client:
            client.ehlo()
            client.say("MAIL FROM:<x@spam.test>", "250 ")
            client.say(f"RCPT TO:<{t.recipient()}>", "554 5.7.1 ")
            client.say(f"RCPT TO:<{recipient}>", "250 ")
            starts(client.data(message(sender="x@spam.test", recipient="postmaster@example.net")), "250 ")


def test_query_key_is_secret(t):
    """The customer's key in the name of a list is in no reply and no log line, whatever the list does."""
    key = "0123456789abcdef"
    zones = {name: f"{key}.{name}.list.test" for name in ("paid", "odd", "ended")}
    lists = [{**SPAM_LIST, "zone": zone} for zone in zones.values()]
    lists[1]["score"] = -1  # so that its answer is waited for, however much the others say
    guard = t.guard(
        dnsbl={"lists": lists}, runtime={"workers": 1}, admin={"http": f"127.0.0.1:{free_port()}"}
    )
    has(guard.event(event="dnsbl-sick")["text"], "ended.list.test: it refuses to serve this resolver")
    reply = at_rcpt(guard, LISTED, LISTED.name, "x@listed.test", t.recipient(), "554 5.7.1 ")
    has(reply, "listed by paid.list.test (127.0.0.2)")
    has(guard.event(event="dnsbl-disabled")["text"], "odd.list.test answers 127.0.0.99")
    has_not(guard.log.read_text() + guard.get("/metrics")[1], key)


def test_sick_lists(t):
    """A list that lists everybody, or nobody, or refuses us, fails its test and counts nothing."""
    sick = {
        "everybody.test": "it lists 127.0.0.1, and so everybody",
        "empty.test": "it does not list 127.0.0.2",
        "broken.test": "it refuses to serve this resolver",
    }
    lists = [SPAM_LIST] + [{**SPAM_LIST, "zone": zone} for zone in sick]
    lists += [{**NAMES_LIST, "zone": f"names.{zone}"} for zone in ("everybody.test", "empty.test")]
    guard = t.guard(dnsbl={"lists": lists}, runtime={"workers": 1})
    wait_for(lambda: len(guard.events(event="dnsbl-sick")) == 5, "five sick lists")
    texts = [line["text"] for line in guard.events(event="dnsbl-sick")]
    for zone, why in sick.items():
        true(any(f"list {zone}: {why}" in text for text in texts), f"no line about {zone} in {texts}")
    true(any('it lists "invalid"' in text for text in texts), f"no line about a list of domains in {texts}")
    deliver(guard, GOOD, t.recipient())
    same(guard.event(event="message")["rbl"], 0, "the score of an honest client")
    reply = at_rcpt(guard, LISTED, LISTED.name, "x@listed.test", t.recipient(), "554 5.7.1 ")
    has(reply, "listed by bl.test")


# ---- a sick resolver ----


def ask_many(guard, word, count=24):
    """Mail from many domains that nobody knows, side by side; the codes that RCPT is answered with."""
    clients = [guard.client(GOOD) for _ in range(count)]
    for number, client in enumerate(clients):
        client.send(f"EHLO {GOOD.name}\r\nMAIL FROM:<x@{word}{number}.test>\r\n".encode())
        client.send(b"RCPT TO:<nobody@example.net>\r\n")
    codes = set()
    for client in clients:
        with client:
            codes.add([client.read() for _ in range(3)][-1][:9])
    return codes


def test_sick_resolver(t):
    """While the DNS stands still nobody is refused for what it says, and log, /metrics and /readyz tell it;
    when it answers again, refusals are back by themselves."""
    server = t.start(NameServer(t.dir / "dns", t.world.zone))
    guard = t.guard(
        nameserver=server,
        admin={"http": f"127.0.0.1:{free_port()}"},
        dns={"timeout": "1s", "tries": 1},
        dnsbl={"lists": [SPAM_LIST]},
        greylist={"mode": "off"},
        runtime={"workers": 1},
    )
    attempt = (guard, LISTED, LISTED.name, "x@listed.test", t.recipient())
    at_rcpt(*attempt, "554 5.7.1 Your address [127.0.1.3] is listed")
    same(guard.metric("smtpguard_dns_sick"), 0, "sick workers")
    server.unbound.send(signal.SIGSTOP)
    try:
        same(ask_many(guard, "stopped"), {"550 5.1.1"}, "replies without DNS")  # Postfix's: no such user
        has(guard.event(event="dns-sick")["text"], "the DNS does not answer")
        same(guard.metric("smtpguard_dns_sick"), 1, "sick workers")
        status, text = guard.get("/readyz")
        same(status, 200, "/readyz")
        has(text, "the DNS does not answer")
        at_rcpt(*attempt, "250 ")
        guard.event(event="rcpt", client=LISTED.address, observed="dnsbl")
    finally:
        server.unbound.send(signal.SIGCONT)
    words = (f"again{number}x" for number in range(100))
    wait_for(lambda: ask_many(guard, next(words)) and guard.events(event="dns-well"), "dns-well")
    same(guard.metric("smtpguard_dns_sick"), 0, "sick workers")
    at_rcpt(*attempt, "554 5.7.1 Your address [127.0.1.3] is listed")


# ---- a gateway ----

NETWORK_NAMESPACE = 0x40000000  # CLONE_NEWNET
GATEWAY = "10.77.0.1"


def in_a_network_of_its_own(function):
    """Runs the function in a thread with a network of its own, which has loopback and a private address. It
    goes with the last process that was started in it."""
    outcome = []

    def body():
        try:
            if ctypes.CDLL(None, use_errno=True).unshare(NETWORK_NAMESPACE) != 0:
                raise Skipped(f"no network namespace to be had here: {os.strerror(ctypes.get_errno())}")
            run("ip", "link", "set", "lo", "up")
            run("ip", "address", "add", f"{GATEWAY}/32", "dev", "lo")
            function()
        except BaseException as why:
            outcome.append(why)

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    if outcome:
        raise outcome[0]


def test_gateway(t):
    """When unrelated clients all come from one private address, what depends on it is only observed, and the
    operator is told; before, and for other addresses, it is in force."""
    in_a_network_of_its_own(lambda: play_gateway(t))


def play_gateway(t):
    server, backend = t.start(ScriptedDns()), t.backend()
    for address in ("1.0.77.10", "2.0.0.127", "3.1.0.127"):
        server.table[f"{address}.bl.test"] = {"A": ["127.0.0.2"]}
    guard = t.guard(
        backend,
        server,
        dnsbl={"lists": [SPAM_LIST]},
        spf={"mode": "off"},
        greylist={"mode": "off"},
    )
    listed = f"554 5.7.1 Your address [{GATEWAY}] is listed by bl.test"
    names = [f"mx{number}.customer.test" for number in range(20)]  # hosts of one sender count as one,
    names += [f"mx.customer{number}.test" for number in range(7)]  # and seven more make eight
    for name in names:
        at_rcpt(guard, Host(GATEWAY, name), name, "", "bob@example.net", listed)
    same(guard.events(event="gateway"), [], "words about a gateway")
    for name in ("mx.stranger.test", "mx.other.test", "mx.third.test"):  # two may share a hash
        reply = at_rcpt(guard, Host(GATEWAY, name), name, "", "bob@example.net", "")
    starts(reply, "250 ")
    at_rcpt(guard, Host(GATEWAY, "mx.customer.test"), "mx.customer.test", "", "bob@example.net", "250 ")
    event = guard.event(event="gateway", level="error")
    for words in (GATEWAY, "PROXY protocol"):
        has(event["text"], words)
    wait_for(lambda: len(guard.events(event="rcpt", observed="dnsbl,fcrdns")) >= 2, "what was observed")
    at_rcpt(guard, LISTED, LISTED.name, "", "bob@example.net", "554 5.7.1 Your address [127.0.1.3]")


# ---- the banner ----


def test_bait(t):
    """A stranger gets the first line of the greeting at once, and its last one when the delay is over."""
    guard = t.guard(screen={"banner_delay": "2s"})
    begun = time.monotonic()
    with guard.client(GOOD, greeting=None) as client:
        same(client.line(), b"220-mx.example.net ESMTP\r\n", "the first line")
        first = time.monotonic()
        starts(client.line().decode(), "220 mx.example.net ")
        last = time.monotonic()
        client.ehlo()
        client.quit()
    true(last - begun > 1.9, f"the last line came after {last - begun:.1f} s")
    true(first - begun < last - first, f"the first line came after {first - begun:.1f} s")


def test_early_talkers(t):
    """Who talks before the last line of the greeting is refused at once and sent away."""
    guard = t.guard(screen={"banner_delay": "30s"})
    for early in (b"EHLO mx.good.test\r\n", b"\r", b"HELO x\r\nMAIL FROM:<>\r\nRCPT TO:<x@example.net>\r\n"):
        with guard.client(GOOD, greeting=None) as client:
            starts(client.line().decode(), "220-")
            client.send(early)
            starts(client.read(), "554 5.5.1 You spoke before the greeting")
            true(client.ended(), "the connection stays open")


def test_good_history_survives_a_restart(t):
    """Who has delivered mail once does not wait at the banner, after a restart neither; strangers do."""
    guard = t.guard()
    deliver(guard, GOOD, t.recipient())
    guard.stop()  # what is to be remembered is written down by then
    guard.settings["screen"]["banner_delay"] = "30s"
    guard.write()
    guard.start_again()
    with guard.client(OTHER, greeting=None) as stranger:
        starts(stranger.line().decode(), "220-")
        with guard.client(GOOD) as client:
            client.quit()
        deliver(guard, GOOD, t.recipient())
        true(not select.select([stranger.socket], [], [], 0)[0], "the stranger did not have to wait")


def test_good_history_ends(t):
    """What a client has earned at the banner lasts 30 days from its last message; then it waits like a stranger."""
    guard = t.guard(runtime={"workers": 1}, greylist={"mode": "off"})
    for host in (GOOD, OTHER):
        deliver(guard, host, t.recipient(), sender="", author="alice@other.test")
    guard.stop()
    file, days = guard.dir / "state/state.db", 24 * 3600
    with contextlib.closing(sqlite3.connect(file)) as store, store:
        ends = dict(store.execute("SELECT CAST(key AS TEXT), expires FROM heap WHERE tbl = 'client'"))
        same(sorted(ends), [GOOD.address, OTHER.address], "the clients that are remembered")
        true(all(29.9 < (end - time.time()) / days <= 30 for end in ends.values()), f"not 30 days: {ends}")
        store.execute("UPDATE heap SET expires = 1 WHERE tbl = 'client' AND CAST(key AS TEXT) = ?", (OTHER.address,))
    guard.settings["screen"]["banner_delay"] = "30s"
    guard.write()
    guard.start_again()
    with guard.client(OTHER, greeting=None) as forgotten:
        starts(forgotten.line().decode(), "220-")
        deliver(guard, GOOD, t.recipient(), sender="", author="alice@other.test")
        true(not select.select([forgotten.socket], [], [], 0)[0], "it did not have to wait")
