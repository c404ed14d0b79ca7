"""Decisions on record: whatever ends a session leaves one record, whatever happens to the disk."""

import json
import os
import shutil
import stat

from lib.check import has, has_not, same, starts, true, wait_for
from lib.client import trusting
from lib.mail import message, signed
from lib.world import BOT, GOOD, LISTED, OTHER, SPAM_LIST
from test_login import PLAIN, outbound, scripted

FINE, NO, USAGE, BAD_INPUT = 0, 1, 64, 65


def records(guard, *words):
    code, out = guard.cli("history", "--json", *words)
    found = json.loads(out)["records"]
    same(code, FINE if found else NO, "the exit code")
    return found


def recorded(guard, count, *words):
    """Waits until so many are on record."""
    wait_for(lambda: len(records(guard, *words)) >= count, f"{count} records")
    found = records(guard, *words)
    same(len(found), count, "records")
    return found


def folder(guard):
    return guard.dir / "state" / "history"


def deliver(guard, host, sender, recipient, text, reply):
    with guard.client(host) as client:
        client.envelope(sender, recipient)
        starts(client.data(text), reply)


def session(guard, host, *lines):
    """Says lines, and goes. Each is a command and how its reply begins."""
    with guard.client(host) as client:
        client.ehlo()
        for command, reply in lines:
            client.say(command, reply)
        client.say("QUIT", "221")


def test_one_record_each(t):
    """Each transaction leaves one record, and each session that came to none: what was seen, and who decided."""
    guard = t.guard(dnsbl={"lists": [SPAM_LIST]}, spf={"on_fail": "reject"}, runtime={"workers": 1})
    bob = t.recipient()
    text = signed(message(recipient=bob), t.world.good_rsa, "rsa")
    deliver(guard, GOOD, "alice@good.test", bob, text, "250 ")
    session(guard, LISTED, ("MAIL FROM:<x@listed.test>", "250"), (f"RCPT TO:<{bob}>", "554"))
    session(guard, OTHER, ("MAIL FROM:<x@good.test>", "250"), (f"RCPT TO:<{bob}>", "550 5.7.23"))
    session(guard, BOT, ("MAIL FROM:<x@other.test>", "250"))
    session(guard, GOOD, ("MAIL FROM:<>", "250"), ("RCPT TO:<no@where.test>", "550"), ("RSET", "250"), ("MAIL FROM:<>", "250"))
    session(guard, GOOD)
    with guard.client(OTHER) as client:
        client.say("HELO mx.example.net", "550")
    found = recorded(guard, 8)
    same(
        [
            (r["at"], r["client"]["ip"], r.get("verdict", r.get("recipients", [{}])[-1].get("verdict", {})).get("check"))
            for r in found
        ],
        [
            ("message", GOOD.address, None),
            ("rcpt", LISTED.address, "dnsbl"),
            ("rcpt", OTHER.address, "spf"),
            ("mail", BOT.address, None),
            ("rcpt", GOOD.address, "relay"),
            ("mail", GOOD.address, None),
            ("helo", GOOD.address, None),
            ("helo", OTHER.address, "helo"),
        ],
        "what is on record",
    )
    taken, listed, failed = found[:3]
    (to,) = taken["recipients"]
    same((to["to"], to["ours"], to["verdict"]["reply"]), (bob, True, 250), "the recipient")
    same(taken["verdict"]["action"], "accept", "what became of the message")
    same((taken["spf"]["result"], taken["message"]["dmarc"]["result"]), ("pass", "pass"), "SPF and DMARC")
    (signature,) = taken["message"]["dkim"]["signatures"]
    same([signature[key] for key in ("result", "domain", "selector", "bits")], ["pass", "good.test", "rsa", 2048], "DKIM")
    same(taken["message"]["bytes"], len(text), "its size")
    (hit,) = listed["dnsbl"]["lists"]
    same(hit, {"zone": "bl.test", "result": "listed", "score": 8, "code": "127.0.0.2"}, "the list")
    same((failed["spf"]["result"], failed["spf"]["mechanism"]), ("fail", "-all"), "SPF")
    same(found[7]["end"], "client closed", "why a session ended")
    for record in found:
        line = guard.events(id=record["id"])
        true(line or record["at"] == "mail", f"the log knows {record['id']}")


def test_cut_short(t):
    """A client that goes before the end of its message, a message with a bare LF, a login that fails: how far each came."""
    guard, bob = t.guard(runtime={"workers": 1}), t.recipient()
    with guard.client(GOOD) as client:
        client.envelope("alice@good.test", bob)
        client.say("DATA", "354")
        client.send(b"Subject: half of it\r\n")
    (cut,) = recorded(guard, 1)
    same((cut["at"], cut["end"], cut["recipients"][0]["verdict"]["reply"]), ("data", "client closed", 250), "the first")
    same(records(guard, "--action", "gone"), [cut], "what is gone")
    deliver(guard, GOOD, "alice@good.test", bob, b"Subject: odd\r\n\r\nline\nline\r\n", "550 5.6.11")
    odd = recorded(guard, 2)[1]
    same((odd["at"], odd["message"]["fault"], odd["verdict"]["check"]), ("message", "bare LF", "framing"), "the second")
    guard = outbound(t, scripted(t, auth="535 5.7.8 No"), limits={"errors": 20})
    with guard.client(OTHER) as client:
        client.ehlo()
        client.starttls(trusting())
        client.ehlo()
        client.say(f"AUTH PLAIN {PLAIN}", "535 5.7.8 No")
        client.quit()
    (login,) = recorded(guard, 1)
    same((login["at"], login["failed_logins"], login["client"]["outbound"]), ("auth", 1, True), "the login")
    has_not(json.dumps(login), PLAIN)


def test_flood(t):
    """Of clients beyond the limits so many are recorded as explain anything: a flood pushes nothing else out."""
    guard = t.guard(limits={"connections_per_client": 1}, runtime={"workers": 1})
    with guard.client(GOOD):
        for _ in range(70):
            guard.client(GOOD, greeting="421 4.7.0 Too many connections").close()
    found = recorded(guard, 61, "--limit", "100")
    same([r["at"] for r in found], ["limits"] * 60 + ["connect"], "what is on record")
    same(
        [found[0]["client"]["ip"], found[0]["verdict"]],
        [
            GOOD.address,
            {"action": "drop", "reply": 421, "enhanced": "4.7.0", "check": "connections",
             "text": "Too many connections from your address"},
        ],
        "the first",
    )
    has(guard.cli("explain", GOOD.address, "--limit", "3")[1], "fewer connections to us at the same time")


def test_filters(t):
    """history chooses by time, sender, recipient, client and action; a line each, the newest last."""
    guard = t.guard(dmarc={"reject": "always"}, runtime={"workers": 1})  # records in the order of sessions
    bob, carol = t.recipient(), t.recipient()
    deliver(guard, GOOD, "alice@good.test", bob, message(recipient=bob), "250 ")
    deliver(guard, OTHER, "eve@other.test", carol, message(recipient=carol), "550 5.7.1 Refused by the DMARC")
    session(guard, GOOD, ("MAIL FROM:<>", "250"), (f"RCPT TO:<{bob}>", "250"), (f"RCPT TO:<{carol}>", "250"))
    first, second, third = recorded(guard, 3)
    for words, want in (
        (("--from", "ALICE@good.test"), [first]),
        (("--from", "@other.test"), [second]),
        (("--from", "<>"), [third]),
        (("--to", carol), [second, third]),
        (("--to", "@example.net"), [first, second, third]),
        (("--ip", OTHER.address), [second]),
        (("--ip", "127.0.1.0/24"), [first, second, third]),
        (("--action", "reject"), [second]),
        (("--action", "gone"), [third]),
        (("--limit", "2"), [second, third]),
        (("--since", "1h"), [first, second, third]),
        (("--from", "nobody@good.test"), []),
        (("--ip", "192.0.2.1"), []),
    ):
        same(records(guard, *words), want, " ".join(words))
    code, out = guard.cli("history")
    lines = out.splitlines()
    same((code, len(lines)), (FINE, 3), "the exit code, and lines")
    for part in (second["id"], "reject   550 dmarc", OTHER.address, f"<eve@other.test> to <{carol}>", "Refused by the DMARC"):
        has(lines[1], part)
    has(lines[2], f"<> to <{bob}> and 1 more")
    for words in (("--since", "soon"), ("--limit", "0"), ("--action", "maybe"), ("--ip", "here"), ("more",)):
        same(guard.cli("history", *words)[0], USAGE, f"the exit code of {words}")


def test_kill(t):
    """kill -9 loses no record that was written; a line that it cut short is passed over, and spoils no other."""
    guard, bob = t.guard(), t.recipient()
    deliver(guard, GOOD, "alice@good.test", bob, message(recipient=bob), "250 ")
    before = recorded(guard, 1)
    guard.kill()
    same(records(guard), before, "without a daemon")
    (file,) = folder(guard).iterdir()
    with open(file, "ab") as end:
        end.write(b'{"id":"TORN","time":17')
    same(records(guard), before, "with a torn line")
    guard.start_again()
    deliver(guard, GOOD, "alice@good.test", bob, message(recipient=bob), "250 ")
    same(recorded(guard, 2)[0], before[0], "the first record")
    for path, mode in ((file, 0o640), (file.parent, 0o750)):
        same(stat.S_IMODE(os.stat(path).st_mode), mode, f"the mode of {path}")


def test_no_room(t):
    """A folder that cannot be written is said once, and mail flows; when it can again, records come again."""
    guard, bob = t.guard(store={"history": "1d"}), t.recipient()
    deliver(guard, GOOD, "alice@good.test", bob, message(recipient=bob), "250 ")
    recorded(guard, 1)
    shutil.rmtree(folder(guard))
    folder(guard).write_text("in its place")
    for _ in range(3):
        deliver(guard, GOOD, "alice@good.test", bob, message(recipient=bob), "250 ")
    wait_for(lambda: guard.events(event="history-unwritten"), "the alarm")
    same(guard.event(event="history-unwritten")["level"], "error", "the level of the only alarm")
    same(guard.cli("history")[0], BAD_INPUT, "the exit code of history")
    folder(guard).unlink()
    deliver(guard, GOOD, "alice@good.test", bob, message(recipient=bob), "250 ")
    guard.event(event="history-written")
    wait_for(lambda: records(guard), "records since")


def test_off_and_on(t):
    """store.history: 0s keeps nothing and removes what there is; both from a reload on."""
    guard, bob = t.guard(), t.recipient()
    deliver(guard, GOOD, "alice@good.test", bob, message(recipient=bob), "250 ")
    recorded(guard, 1)
    same(guard.change(store={"history": "0s"})["event"], "reload", "the reload")
    wait_for(lambda: not list(folder(guard).iterdir()), "the end of the files")
    deliver(guard, GOOD, "alice@good.test", bob, message(recipient=bob), "250 ")
    same(records(guard), [], "records while it is off")
    same(guard.change(store={"history": "7d"})["event"], "reload", "the reload")
    deliver(guard, GOOD, "alice@good.test", bob, message(recipient=bob), "250 ")
    recorded(guard, 1)


def test_privacy(t):
    """What log.privacy hides is in no record."""
    guard, bob = t.guard(log={"privacy": "domains"}), t.recipient()
    deliver(guard, GOOD, "alice@good.test", bob, message(recipient=bob), "250 ")
    session(guard, GOOD, ("MAIL FROM:<alice@good.test>", "250"), ("RCPT TO:<nobody@example.net>", "550"))
    first, second = recorded(guard, 2)
    same((first["from"], first["recipients"][0]["to"]), ("*@good.test", "*@example.net"), "what is shown")
    (file,) = folder(guard).iterdir()
    for word in ("alice", "nobody", bob.partition("@")[0]):
        has_not(file.read_text(), word)
    has_not(guard.log.read_text(), "nobody")
    starts(second["recipients"][0]["verdict"]["text"], "<*@example.net>: ")
    same(records(guard, "--from", "@good.test"), [first, second], "by domain")


def test_hostile_texts(t):
    """Whatever a client says, a record is one line, and a terminal that shows it obeys nothing."""
    guard, bob = t.guard(), t.recipient()
    sender, evil = '"a\\"b {}\\\\"@good.test', "<\x1b[2J\x07\xff@good.test>"
    deliver(guard, GOOD, sender, bob, message(recipient=bob, Message_ID=evil), "250 ")
    (record,) = recorded(guard, 1)
    same((record["from"], record["message"]["id"]), (sender, evil), "what was said")
    (file,) = folder(guard).iterdir()
    same(len(file.read_bytes().splitlines()), 1, "lines of the file")
    code, out = guard.cli("history")
    same((code, len(out.splitlines())), (FINE, 1), "the exit code, and lines")
    has(out, f"<{sender}>")
    for what in ("\x1b", "\x07"):
        has_not(out, what)
