"""Mail of our own clients, DKIM-signed on its way out by keys that live as docs/dkim.md tells."""

import contextlib
import re
import shutil
import threading

import dkim
import dns.message
import dns.query

from lib.check import has, same, starts, true, wait_for
from lib.mail import message, signed
from lib.opendkim import Verifier
from lib.postfix import RECEIVER, Postfix, fields_added
from lib.process import free_port
from lib.scripted_dns import ScriptedDns
from lib.world import GOOD, OTHER

OWN, STRANGER = GOOD, OTHER  # who is in `networks`, and who is not
NOT_FOUND = "the DNS does not show the key"


# ---- keys ----


def key_file(directory, name, key):
    """A private key that nobody may read but the user that smtpguard runs as."""
    path = directory / name
    path.write_bytes(key.private)
    path.chmod(0o600)
    shutil.chown(path, "nobody")
    return str(path)


def entry(path, selector, domain="example.org", **more):
    return {"domain": domain, "selector": selector, "key": path, **more}


def one_key(t):
    return {"keys": [entry(key_file(t.dir, "rsa.key", t.world.good_rsa), "rsa")]}


def publish(server, key, *selectors, domain="example.org"):
    for selector in selectors:
        chunks = [key.record[i : i + 250] for i in range(0, len(key.record), 250)]
        server.table[f"{selector}._domainkey.{domain}"] = {"TXT": [chunks]}


# ---- what leaves ----


def outbound(t, sign, backend=None, nameserver=None, **sections):
    """A port for OWN alone. example.net, where Postfix has its users, is as foreign to it as the world."""
    guard = t.prepare(
        backend,
        nameserver,
        networks=[f"{OWN.address}/32"],
        domains={"relay": ["example.com"]},
        dkim={"sign": {"mode": "enforce", **sign}},
        **sections,
    )
    guard.settings["listen"][0]["role"] = "outbound"
    guard.write()
    return t.start(guard)


def send(guard, recipient, mail, sender="carol@example.org", client=None):
    with client or guard.client(OWN) as client:
        client.envelope(sender, recipient)
        starts(client.data(mail), "250 2.0.0 Ok: ")


def sent(t, guard, mail=None, author="carol@example.org"):
    """Sends a message; returns the fields on top of what arrives, and all of it."""
    bob = t.recipient()
    mail = mail or message(sender=author, recipient=bob)
    send(guard, bob, mail, author)
    return arrived(t.postfix.delivery(bob), mail)


def arrived(delivery, mail):
    return fields_added(delivery, mail), delivery.message


def signers(fields):
    """Selector and domain of each signature, in their order."""
    signatures = [field for field in fields if field.startswith("DKIM-Signature:")]
    return [f"{tag(field, 's')} {tag(field, 'd')}" for field in signatures]


def tag(signature, name):
    return re.search(rf"[\s;]{name}=([^;]*)", signature)[1]


def verified(whole, server):
    """Which signatures dkimpy verifies, with keys from this DNS server: "rsa example.org", …"""

    def lookup(name, timeout=5):
        question = dns.message.make_query(name.decode(), "TXT")
        host, port = server.address.split(":")
        answer = dns.query.tcp(question, host, port=int(port), timeout=timeout).answer
        return b"".join(answer[-1][0].strings) if answer else None

    count = len(re.findall(rb"^DKIM-Signature:", whole.partition(b"\r\n\r\n")[0], re.I | re.M))
    good = []
    for index in range(count):
        checked = dkim.DKIM(whole, minkey=1024)
        with contextlib.suppress(dkim.DKIMException):
            if checked.verify(index, dnsfunc=lookup):
                good.append(f"{checked.selector.decode()} {checked.domain.decode()}")
    return good


# ---- signatures ----


def test_two_signatures(t):
    """Outgoing mail gets two signatures and nothing else but Received; OpenDKIM and dkimpy verify both."""
    opendkim = t.start(Verifier(t.dir, t.dns))
    receiver = t.start(
        Postfix(t.dir / "receiver", RECEIVER + f"smtpd_milters = inet:127.0.0.1:{opendkim.port}\n")
    )
    keys = [
        entry(key_file(t.dir, "rsa.key", t.world.good_rsa), "rsa"),
        entry(key_file(t.dir, "ed.key", t.world.good_ed25519), "ed"),
    ]
    guard = outbound(t, {"keys": keys}, receiver)
    mail = message(
        sender='"Carol, of Sales" <Carol@Example.ORG>',
        recipient="u1@example.net",
        subject="Gr\xfc\xdfe,\r\n\tfolded  and spaced ",
        body=b".\r\n..dots \xff\xfe and blanks \t \r\n\r\n\r\n",
    )
    send(guard, "u1@example.net", mail)
    delivery = receiver.delivery("u1@example.net")
    top, whole = arrived(delivery, mail)
    same([field.split(":")[0] for field in top], ["Received"] + 2 * ["DKIM-Signature"], "the fields added")
    same(signers(top), ["rsa example.org", "ed example.org"], "who signed")
    same(verified(whole, t.dns), ["rsa example.org", "ed example.org"], "what dkimpy verified")
    starts(delivery.milter, "Authentication-Results: opendkim.test;")
    results = re.findall(r"dkim=(\w+) .*?header\.s=(\w+)", delivery.milter)
    same(results, [("pass", "rsa"), ("pass", "ed")], "what OpenDKIM verified")
    same(guard.event(event="message")["signed"], "yes", "signed=")


def test_canonicalization_and_expiry(t):
    """Signatures are as dkim.sign.canonicalization, valid and oversign say, and dkimpy verifies them."""
    key = one_key(t)
    for canonical in ("simple/simple", "relaxed/simple", "simple/relaxed"):
        sign = {**key, "canonicalization": canonical, "valid": "7d", "oversign": ["from"]}
        guard = outbound(t, sign)
        top, whole = sent(t, guard)
        same(tag(top[-1], "c"), canonical, "c=")
        same(int(tag(top[-1], "x")) - int(tag(top[-1], "t")), 7 * 86400, "x= beyond t=")
        same(tag(top[-1], "h").count("from"), 2, "From in h=")
        same(tag(top[-1], "h").count("subject"), 1, "Subject in h=")
        same(verified(whole, t.dns), ["rsa example.org"], "what dkimpy verified")
        same(verified(b"From: mallory@example.org\r\n" + whole, t.dns), [], "with a second From")


def test_opendkim_tables(t):
    """OpenDKIM's SigningTable (refile:, *@example.org) and KeyTable work as they are: first match."""
    rsa, ed = key_file(t.dir, "rsa.key", t.world.good_rsa), key_file(t.dir, "ed.key", t.world.good_ed25519)
    (t.dir / "KeyTable").write_text(
        f"# name domain:selector:file\n"
        f"rsa._domainkey.example.org example.org:rsa:{rsa}\n"
        f"ed._domainkey.example.org\texample.org:ed:{ed}\n"
    )
    (t.dir / "SigningTable").write_text(
        "# who key\n\n"
        "news@example.org    ed._domainkey.example.org\n"
        "*@example.org       rsa._domainkey.example.org\n"
    )
    guard = outbound(t, {"signing_table": f"refile:{t.dir}/SigningTable", "key_table": f"{t.dir}/KeyTable"})
    for author, who in (
        ("carol@example.org", ["rsa example.org"]),
        ("CAROL@EXAMPLE.ORG", ["rsa example.org"]),
        ("news@example.org", ["ed example.org"]),
        ("carol@host.example.org", []),
        ("carol@elsewhere.test", []),
    ):
        top, whole = sent(t, guard, author=author)
        same(signers(top), who, f"who signed for {author}")
        same(verified(whole, t.dns), who, f"what dkimpy verified for {author}")


def test_match_patterns(t):
    """A key signs for the authors that its patterns match; without patterns, for those of its own domain."""
    server = t.start(ScriptedDns())
    publish(server, t.world.good_rsa, "all", "news", "two")
    path = key_file(t.dir, "rsa.key", t.world.good_rsa)
    keys = [
        entry(path, "all"),
        entry(path, "news", match=["*@news.example.org"]),
        entry(path, "two", match=["carol@*", "*-bounces@lists.example.org"]),
    ]
    guard = outbound(t, {"keys": keys}, nameserver=server)
    for author, who in (
        ("dave@example.org", ["all"]),
        ("carol@example.org", ["all", "two"]),
        ("dave@news.example.org", ["news"]),
        ("carol@news.example.org", ["news", "two"]),
        ("x-bounces@lists.example.org", ["two"]),
        ("bounces@lists.example.org", []),
    ):
        top, _ = sent(t, guard, author=author)
        same(signers(top), [f"{selector} example.org" for selector in who], f"who signed for {author}")


def test_key_states(t):
    """Of keys that are published, active, retiring and revoked the active one signs; the revoked one needs no
    file any more, and its empty record alarms nobody."""
    server = t.start(ScriptedDns())
    publish(server, t.world.good_rsa, "published", "active", "retiring")
    server.table["revoked._domainkey.example.org"] = {"TXT": [["v=DKIM1; p="]]}
    path = key_file(t.dir, "rsa.key", t.world.good_rsa)
    states = ("published", "active", "retiring", "revoked")
    keys = [entry(path if s != "revoked" else "/nowhere/revoked.private", s, state=s) for s in states]
    guard = outbound(t, {"keys": keys}, nameserver=server)
    wait_for(lambda: len(guard.events(event="dkim-key.seen")) == 3, "a look at three keys")
    names = {line["text"].split(".")[0] for line in guard.events(event="dkim-key.seen")}
    same(names, {"published", "active", "retiring"}, "the keys looked at")
    top, _ = sent(t, guard)
    same(signers(top), ["active example.org"], "who signed")
    same(guard.events(event="dkim-key.unseen"), [], "alarms")


def test_unseen_key(t):
    """A key that the DNS does not show is not used, and the log says so; when it is published, it is used."""
    server = t.start(ScriptedDns())
    guard = outbound(t, one_key(t), nameserver=server)
    alarm = guard.event(event="dkim-key.unseen", level="error")
    has(alarm["text"], "rsa._domainkey.example.org: the name does not exist")
    top, _ = sent(t, guard)
    same(signers(top), [], "who signed")
    has(guard.event(event="message")["signed"], NOT_FOUND)
    publish(server, t.world.sender_rsa, "rsa")
    guard.change()
    wait_for(lambda: "another key" in str(guard.events(event="dkim-key.unseen")), "the second alarm")
    same(signers(sent(t, guard)[0]), [], "who signed with another key in the DNS")
    publish(server, t.world.good_rsa, "rsa")
    guard.change()
    guard.event(event="dkim-key.seen")
    top, whole = sent(t, guard)
    same(verified(whole, server), ["rsa example.org"], "what dkimpy verified")


def test_unseen_key_with_a_warning(t):
    """With unseen: warn the key signs, and the alarm is the same."""
    server = t.start(ScriptedDns())
    guard = outbound(t, {**one_key(t), "unseen": "warn"}, nameserver=server)
    guard.event(event="dkim-key.unseen", level="error")
    same(signers(sent(t, guard)[0]), ["rsa example.org"], "who signed")


def test_dns_trouble_keeps_a_key(t):
    """A DNS that does not answer says nothing about a key: it goes on signing."""
    server = t.start(ScriptedDns())
    server.table["rsa._domainkey.example.org"] = {"_rcode": "SERVFAIL"}
    admin = {"http": f"127.0.0.1:{free_port()}"}
    guard = outbound(t, one_key(t), nameserver=server, admin=admin, runtime={"workers": 1})
    looked = 'smtpguard_dns_queries_total{type="TXT",result="servfail"}'
    wait_for(lambda: guard.metric(looked) >= 1, "a look at the key")
    same(signers(sent(t, guard)[0]), ["rsa example.org"], "who signed")
    same(guard.events(event="dkim-key.unseen"), [], "alarms")


# ---- rollover ----


def rollover(old, new):
    return lambda old_state, new_state: {
        "sign": {"keys": [{**old, "state": old_state}, {**new, "state": new_state}]}
    }


def two_keys(t):
    old = entry(key_file(t.dir, "old.key", t.world.good_rsa), "rsa")
    return old, entry(key_file(t.dir, "new.key", t.world.good_ed25519), "ed")


def test_rollover(t):
    """A reload moves from the old key to the new one; a session that has begun ends with the old one."""
    old, new = two_keys(t)
    states = rollover(old, new)
    guard = outbound(t, states("active", "published")["sign"])
    begun, bob = guard.client(OWN), t.recipient()
    begun.envelope("carol@example.org", bob)
    same(guard.change(dkim=states("retiring", "active"))["event"], "reload", "the reload")
    top, whole = sent(t, guard)
    same(signers(top), ["ed example.org"], "who signs after the reload")
    same(verified(whole, t.dns), ["ed example.org"], "what dkimpy verified")
    mail = message(sender="carol@example.org", recipient=bob)
    with begun:
        starts(begun.data(mail), "250 ")
    top, whole = arrived(t.postfix.delivery(bob), mail)
    same(verified(whole, t.dns), ["rsa example.org"], "what dkimpy verified of the session that had begun")
    same(guard.change(dkim=states("revoked", "active"))["event"], "reload", "the reload")
    same(signers(sent(t, guard)[0]), ["ed example.org"], "who signs at last")


def test_rollover_under_load(t):
    """Rollover while mail flows loses no session, and each message has one signature, which verifies."""
    old, new = two_keys(t)
    states = rollover(old, new)
    guard, bob = outbound(t, states("active", "published")["sign"]), t.recipient()
    mail = message(sender="carol@example.org", recipient=bob)
    counts, failures, done = [0, 0], [], threading.Event()

    def keep_sending(number):
        while not done.is_set():
            try:
                send(guard, bob, mail)
                counts[number] += 1
            except Exception as why:
                failures.append(why)

    senders = [threading.Thread(target=keep_sending, args=(number,)) for number in range(2)]
    for sender in senders:
        sender.start()
    try:
        for step in (("retiring", "active"), ("active", "published")) * 3:
            before = min(counts)
            same(guard.change(dkim=states(*step))["event"], "reload", "the reload")
            wait_for(lambda: failures or min(counts) > before, "a message with the new settings")
    finally:
        done.set()
        for sender in senders:
            sender.join()
    same(failures, [], "sessions that failed")
    used = set()
    for delivery in t.postfix.deliveries(bob, count=sum(counts)):
        top, whole = arrived(delivery, mail)
        same(verified(whole, t.dns), signers(top), "what dkimpy verified")
        same(len(signers(top)), 1, "signatures")
        used.update(signers(top))
    same(used, {"rsa example.org", "ed example.org"}, "who signed")


def test_rollover_that_fails(t):
    """A reload with a key that cannot be read changes nothing: the old key signs on."""
    old, new = two_keys(t)
    states = rollover(old, {**new, "key": f"{t.dir}/absent.key"})
    guard = outbound(t, states("active", "revoked")["sign"])
    same(guard.change(dkim=states("retiring", "active"))["event"], "reload.failed", "the reload")
    has(guard.event(event="reload.fault")["text"], "absent.key cannot be opened")
    same(signers(sent(t, guard)[0]), ["rsa example.org"], "who signs")


# ---- what is not signed ----


def test_not_signed_twice(t):
    """A message with our valid signature gets no second one by that key; a broken one does not count."""
    old, new = two_keys(t)
    guard = outbound(t, {"keys": [old]})
    bob = t.recipient()
    mail = signed(message(sender="carol@example.org", recipient=bob), t.world.good_rsa, "rsa", "example.org")
    top, whole = sent(t, guard, mail)
    same(signers(top), [], "new signatures")
    same(verified(whole, t.dns), ["rsa example.org"], "what dkimpy verified")
    has(guard.event(event="message")["signed"], "already")
    top, whole = sent(t, guard, mail + b"PS: I forgot.\r\n")
    same(signers(top), ["rsa example.org"], "new signatures over a changed message")
    same(verified(whole, t.dns), ["rsa example.org"], "what dkimpy verified of a changed message")
    guard.change(dkim={"sign": {"keys": [old, new]}})
    top, whole = sent(t, guard, mail)
    same(signers(top), ["ed example.org"], "new signatures with another key")
    same(sorted(verified(whole, t.dns)), ["ed example.org", "rsa example.org"], "what dkimpy verified")


def test_without_an_author(t):
    """A message without a From field, or with two, leaves unsigned, and its log line says why."""
    guard = outbound(t, one_key(t))
    for author, why in (
        (None, "there is no From field"),
        ("carol@example.org\r\nFrom: dave@example.org", "more than one From"),
        ("nobody in particular", "a name without an address"),
    ):
        bob = t.recipient()
        mail = message(sender=author, recipient=bob)
        send(guard, bob, mail)
        top, _ = arrived(t.postfix.delivery(bob), mail)
        same(signers(top), [], f"who signed for {author!r}")
        has(guard.event(event="message", to=bob)["signed"], why)


def test_strangers_do_not_relay(t):
    """Who is not of our networks relays nothing through the outbound port, and gets nothing signed there."""
    guard = outbound(t, one_key(t))
    with guard.client(STRANGER) as client:
        client.ehlo()
        client.say("MAIL FROM:<carol@example.org>", "250 ")
        for recipient in (t.recipient(), "someone@elsewhere.test", "someone@example.com", "postmaster"):
            client.say(f"RCPT TO:<{recipient}>", "550 5.7.1 ")
        client.say("DATA", "5")
    same(guard.events(event="message"), [], "messages")


def test_inbound_mail_is_not_signed(t):
    """Mail from the world in our name gets no signature on the port where our own clients' mail is signed."""
    guard = outbound(t, one_key(t))
    guard.change(
        listen=[{"name": "mx", "address": f"127.0.0.1:{guard.port}", "role": "mx", "tls": "none"}],
        domains={"relay": ["example.net"]},
        greylist={"mode": "off"},
    )
    for host, count in ((STRANGER, 0), (OWN, 1)):
        bob = t.recipient()
        with guard.client(host) as client:
            client.envelope("x@other.test", bob)
            starts(client.data(message(sender="carol@example.org", recipient=bob)), "250 ")
        text = t.postfix.delivery(bob).message.decode()
        same(text.count("DKIM-Signature:"), count, f"signatures for {host.name}")
        true(("dkim=none" in text) == (host is STRANGER), "Authentication-Results")
