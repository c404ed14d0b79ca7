"""The greylist verbs beside a running smtpguard, and what they take over from a real postgrey."""

import json
import shutil
import time

from lib.check import has, has_not, same, starts, true
from lib.postgrey import Postgrey
from lib.process import run
from lib.world import BOT

FINE, NO, USAGE, BAD_INPUT, UNREACHABLE = 0, 1, 64, 65, 69
NETWORK = "net:127.0.1.0/24"
ALWAYS = {"when": "always", "delay": "1h", "window": "2h"}


def rcpt(guard, recipient, reply, sender="x@soft.test"):
    with guard.client(BOT) as client:
        client.ehlo()
        client.say(f"MAIL FROM:<{sender}>", "250 ")
        client.say(f"RCPT TO:<{recipient}>", reply)


def entries(guard, *words):
    code, out = guard.cli("greylist", *words, "--json")
    found = json.loads(out)["entries"]
    same(code, FINE if found else NO, "the exit code")
    return found


def test_verbs_beside_the_daemon(t):
    """greylist show, list, allow, forget and stats: a running smtpguard sees each change with the next RCPT."""
    guard, bob = t.guard(greylist=ALWAYS), t.recipient()
    same(entries(guard, "list"), [], "a new greylist")
    begun = int(time.time())
    rcpt(guard, bob, "451 4.7.1 ")
    (entry,) = entries(guard, "show", BOT.address)
    true(begun <= entry["first"] <= time.time(), f"first seen at {entry['first']}")
    same(entry["until"], entry["first"] + 7200, "when it is forgotten")
    same(
        [entry[key] for key in ("client", "sender", "recipient", "state", "passed", "deliveries")],
        [NETWORK, "x@soft.test", bob, "waiting", None, 0],
        "what is known",
    )
    same(entries(guard, "show", bob), [entry], "the recipient's mail")
    same(entries(guard, "show", "X@soft.test"), [entry], "the sender's mail")
    same(entries(guard, "show", "soft.test"), [], "a client that was never here")
    same(entries(guard, "list", "--state", "passed"), [], "what has passed")
    same(guard.cli("greylist", "allow", BOT.address)[0], FINE, "the exit code of allow")
    rcpt(guard, bob, "250 ")
    same([e["state"] for e in entries(guard, "list")], ["allowed", "waiting"], "the list")
    same(len(entries(guard, "list", "--limit", "1")), 1, "the length of a list with a limit")
    code, out = guard.cli("greylist", "stats", "--json")
    counts = {"waiting": 1, "passed": 0, "counted": 0, "trusted": 0, "allowed": 1, "spf": 0, "host": 0, "net": 2}
    same((code, json.loads(out)), (FINE, {**counts, "oldest": entry["first"]}), "the counts")
    code, out = guard.cli("greylist", "forget", "--json", NETWORK)
    same((code, json.loads(out)), (FINE, {"clients": [NETWORK], "forgotten": 2}), "forget")
    same(guard.cli("greylist", "forget", NETWORK)[0], NO, "the exit code of forgetting a stranger")
    rcpt(guard, bob, "451 4.7.1 ")


def test_verbs_for_people(t):
    """The same verbs in words; what they are asked wrongly is said with exit code 64, a missing store with 69."""
    guard, bob = t.guard(greylist=ALWAYS), t.recipient()
    rcpt(guard, bob, "451 4.7.1 ")
    has(guard.cli("greylist", "show", bob)[1], f"{NETWORK}  <x@soft.test> to <{bob}>  passes from ")
    has(guard.cli("greylist", "allow", "good.test")[1], "spf:good.test passes from now on\nhost:good.test passes")
    starts(guard.cli("greylist", "list")[1], "allowed ")
    has(guard.cli("greylist", "stats")[1], "waiting           1  mail that has yet to come again")
    for words in (
        ["allow"],
        ["allow", "10.0.0.0/8"],
        ["allow", bob],
        ["show", "localhost"],
        ["show", "a.test", "b.test"],
        ["list", "--state", "asleep"],
        ["import", "/nowhere"],
        ["import", "--from", "sqlgrey", "/nowhere"],
    ):
        same(guard.cli("greylist", *words)[0], USAGE, f"the exit code of {words}")
    away = t.prepare(store={"url": f"sqlite:{t.dir}/absent/state.db"})
    for words in (["list"], ["stats"], ["allow", "192.0.2.7"], ["import", "--from", "postgrey", "/nowhere"]):
        same(away.cli("greylist", *words)[0], UNREACHABLE, f"the exit code of {words} without a store")


def test_store_of_a_stopped_daemon(t):
    """A verb of root's before the first start leaves a store that the daemon can use as its own user."""
    guard, bob = t.prepare(greylist=ALWAYS), t.recipient()
    same(guard.cli("greylist", "allow", BOT.address)[0], FINE, "the exit code")
    t.start(guard)
    rcpt(guard, bob, "250 ")
    has_not(str([line["event"] for line in guard.lines()]), "store-unavailable")


def postgrey_of(t, bob, now):
    """A real postgrey that has seen mail: somebody who passed, one who waits, and a client it trusts."""
    postgrey = t.start(Postgrey(t.dir))
    same(postgrey.passes(now - 9000, "127.0.1.200", "x@soft.test", bob), False, "the first try")
    same(postgrey.passes(now - 8000, "127.0.1.201", "x@soft.test", bob), True, "the second try")
    same(postgrey.passes(now - 20, "198.51.100.7", "a/b@example.org", "c/d@example.net"), False, "a first try")
    same(postgrey.passes(now - 10, "2001:db8::7", "", bob), False, "a bounce")
    for hour in range(12):  # five deliveries, an hour apart, each of a new triple that comes twice
        postgrey.passes(now - 90000 + 3600 * hour, "203.0.113.9", f"s{hour}@example.com", bob)
        postgrey.passes(now - 86400 + 3600 * hour, "203.0.113.9", f"s{hour}@example.com", bob)
    return postgrey


def test_import_from_postgrey(t):
    """greylist import reads the database of a postgrey that runs: who passed there is known here at once."""
    guard, bob, now = t.guard(greylist={"when": "always"}), t.recipient(), int(time.time())
    postgrey = postgrey_of(t, bob, now)
    before = sorted((file.name, file.stat().st_mtime_ns) for file in postgrey.folder.iterdir())
    words = ("greylist", "import", "--json", "--from", "postgrey", postgrey.folder)
    code, out = guard.cli(*words)
    got = json.loads(out)
    same((code, got["hashed"], got["odd"]), (FINE, 0, 0), "the import")
    same(got["changed"], got["rows"], "how many rows are new")
    copies = t.dir / "copies"
    copies.mkdir()
    again = run("env", f"TMPDIR={copies}", guard.binary, *words, "-c", guard.file)[1]
    same(json.loads(again)["changed"], 0, "how many are new a second time")
    same(list(copies.iterdir()), [], "what is left of the copy")
    after = sorted((file.name, file.stat().st_mtime_ns) for file in postgrey.folder.iterdir())
    same(after, before, "postgrey's own files")
    rcpt(guard, bob, "250 ")
    same(guard.event(event="rcpt", action="accept")["grey"], "known", "what the greylist said")
    (waiting,) = entries(guard, "show", "198.51.100.7")
    same(
        [waiting[key] for key in ("sender", "recipient", "state", "first")],
        ["a/b@example.org", "c/d@example.net", "waiting", now - 20],
        "one who waits",
    )
    same([e["sender"] for e in entries(guard, "show", "2001:db8::1")], [""], "the bounce")
    same(entries(guard, "show", "203.0.113.1")[0]["state"], "trusted", "the client that postgrey trusts")


def test_import_of_what_is_none(t):
    """Hashes (postgrey --privacy), a broken database and a folder without one are said, with exit code 65."""
    guard, bob, now = t.prepare(), t.recipient(), int(time.time())
    postgrey = t.start(Postgrey(t.dir, "--privacy"))
    postgrey.passes(now - 20, "198.51.100.7", "a@example.org", bob)
    code, out = guard.cli("greylist", "import", "--from", "postgrey", postgrey.folder)
    same(code, BAD_INPUT, "the exit code for hashes")
    has(out, "1 rows are hashes")
    broken = t.dir / "broken"
    shutil.copytree(postgrey.folder, broken, ignore=shutil.ignore_patterns("log.*", "__db*"))
    (broken / "postgrey.db").write_bytes(b"this is no Berkeley DB" * 1000)
    for folder in (broken, t.dir / "absent"):
        code, out = guard.cli("greylist", "import", "--from", "postgrey", folder)
        same(code, BAD_INPUT, f"the exit code for {folder}")
        starts(out.splitlines()[-1], "smtpguard greylist import: ")
