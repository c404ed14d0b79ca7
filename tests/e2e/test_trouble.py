"""When the DNS, the store or the disk fails: doubt is not guilt, and mail flows."""

import errno
import shutil
import time

from lib.check import Skipped, has, same, starts, true, wait_for
from lib.mail import message, signed
from lib.nameserver import NameServer
from lib.postfix import fields_added
from lib.process import run
from lib.world import BOT, GOOD, SPAM_LIST

HASTY = {"timeout": "200ms", "tries": 1}


def deliver(guard, host, sender, recipient, text, expect="250 "):
    with guard.client(host) as client:
        client.envelope(sender, recipient)
        starts(client.data(text), expect)


def test_dns_is_down(t):
    """Without any DNS every answer is a temperror, nobody is refused or greylisted for it, and mail flows."""
    nameserver = t.start(NameServer(t.dir / "dns", t.world.zone))
    guard = t.guard(nameserver=nameserver, dns=HASTY, dnsbl={"lists": [SPAM_LIST]})
    bob, eve = t.recipient(), t.recipient()
    mail = signed(message(recipient=bob), t.world.good_rsa, "rsa")
    deliver(guard, GOOD, "alice@good.test", bob, mail)
    nameserver.stop()
    guard.change(dns={"cache_entries": 1000})  # what was cached is forgotten
    deliver(guard, GOOD, "alice@good.test", eve, mail)
    verdict, _ = fields_added(t.postfix.delivery(eve), mail)
    for word in ("spf=temperror", "dkim=temperror", "dmarc=temperror", "iprev=temperror"):
        has(verdict, word)


def test_broken_and_silent_domains(t):
    """SERVFAIL and silence are temperrors: the domain's mail passes, or waits where the settings say so."""
    mild, strict = t.guard(dns=HASTY), t.guard(dns=HASTY, spf={"on_temperror": "defer"})
    for domain in ("servfail.test", "silent.test"):
        bob = t.recipient()
        mail = message(sender=f"x@{domain}", recipient=bob)
        deliver(mild, GOOD, f"x@{domain}", bob, mail)
        verdict, _ = fields_added(t.postfix.delivery(bob), mail)
        has(verdict, "spf=temperror")
        with strict.client(GOOD) as client:
            client.ehlo()
            client.say(f"MAIL FROM:<x@{domain}>", "250 ")
            client.say(f"RCPT TO:<{bob}>", f"451 4.4.3 SPF temperror for {domain}, try again later")


def without_store(t, guard):
    """Mail flows although greylisting, which would be asked about a bot, has no memory."""
    bob = t.recipient()
    mail = message(sender="x@soft.test", recipient=bob)
    deliver(guard, BOT, "x@soft.test", bob, mail)
    fields_added(t.postfix.delivery(bob), mail)


def test_store_folder_is_missing(t):
    """Without the store's folder smtpguard starts, says so, and greylists nobody."""
    guard = t.prepare()
    shutil.rmtree(guard.dir / "state")
    t.start(guard)
    without_store(t, guard)
    has(guard.events(level="error")[0]["text"], "state.db")


def test_store_folder_is_read_only(t):
    """Nor when the folder may not be written."""
    guard = t.prepare()
    shutil.chown(guard.dir / "state", "root")
    (guard.dir / "state").chmod(0o555)
    t.start(guard)
    without_store(t, guard)
    has(guard.events(level="error")[0]["text"], "state.db")


class SmallDisk:
    """A file system of one megabyte in a folder of the user nobody, where one may be mounted."""

    def __init__(self, folder):
        self.folder = folder

    def start(self):
        code, _, why = run("mount", "-t", "tmpfs", "-o", "size=1m,mode=700,uid=nobody", "tmpfs", self.folder, check=False)
        if code != 0:
            raise Skipped(f"no file system can be mounted here: {why.decode().strip()}")
        return self

    def stop(self):
        run("umount", "--lazy", self.folder)

    def logs(self):
        return {}


def hears(guard, reply):
    """A stranger's first mail to somebody new, for which a row is written."""
    with guard.client(BOT) as client:
        client.ehlo()
        client.say("MAIL FROM:<x@soft.test>", "250 ")
        return client.say(f"RCPT TO:<{time.monotonic_ns()}@example.net>").startswith(reply)


def test_store_disk_is_full(t):
    """A full disk makes nobody wait and stops no mail; when there is room again, the greylist works as before."""
    guard = t.prepare(backend=t.backend(), greylist={"delay": "1h", "window": "2h"})
    t.start(SmallDisk(guard.dir / "state"))
    t.start(guard)
    true(hears(guard, "451 "), "a stranger has to wait")
    filler = guard.dir / "state" / "filler"
    with open(filler, "wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError as full:
            same(full.errno, errno.ENOSPC, "why no more can be written")
    wait_for(lambda: hears(guard, "250 "), "the end of greylisting")
    has(guard.event(event="store-unavailable")["text"], "full")
    filler.unlink()
    wait_for(lambda: hears(guard, "451 "), "the return of greylisting")
    guard.event(event="store-available")


def test_store_is_garbage(t):
    """A state file that is no database is moved aside with a word in the log, and greylisting works."""
    guard = t.prepare()
    state = guard.dir / "state" / "state.db"
    state.write_bytes(b"this is not a database " * 1000)
    shutil.chown(state, "nobody")
    t.start(guard)
    with guard.client(BOT) as client:
        client.ehlo()
        client.say("MAIL FROM:<x@soft.test>", "250 ")
        client.say(f"RCPT TO:<{t.recipient()}>", "451 4.7.1 Greylisted")
    has(str([line for line in guard.lines() if line["level"] in ("warning", "error")]), "state.db")


def test_spool_folder_is_missing(t):
    """Without the spool's folder large messages wait at the sender's (452), and small ones pass."""
    guard = t.prepare(limits={"spool_memory": "4K"})
    shutil.rmtree(guard.dir / "spool")
    t.start(guard)
    bob = t.recipient()
    small, large = message(recipient=bob), message(recipient=bob, body=b"x" * 70 + b"\r\n" * 5000)
    deliver(guard, GOOD, "alice@good.test", bob, large, "452 4.3.1 No room for the message")
    deliver(guard, GOOD, "alice@good.test", bob, small)
    fields_added(t.postfix.delivery(bob), small)
    same(len(t.postfix.files(bob)), 1, "messages")
