"""replay: decisions on record, made again with other settings."""

import json

from lib.check import has, same
from lib.mail import message, signed
from lib.world import BOT, GOOD, LIAR, LISTED, OTHER, SPAM_LIST
from test_history import deliver, recorded, session

FINE, NO, USAGE, SETTINGS = 0, 1, 64, 78


def replayed(guard, **sections):
    """With these settings instead of the daemon's, which keeps its own; returns what would change."""
    guard.settings, before = {**guard.settings, **sections}, guard.settings
    guard.write()
    code, out = guard.cli("replay", "--json")
    guard.settings = before
    guard.write()
    answer = json.loads(out)
    same(code, NO if answer["changed"] else FINE, "the exit code")
    return answer


def kinds(answer):
    return {(kind["was"], kind["would"]): kind["count"] for kind in answer["kinds"]}


def test_replay(t):
    """With the same settings every decision comes out the same; with others it is told which would not, and how many."""
    guard = t.guard(dnsbl={"lists": [SPAM_LIST]}, spf={"on_fail": "reject"}, greylist={"delay": "240s"}, runtime={"workers": 1})
    bob = t.recipient()
    deliver(guard, GOOD, "alice@good.test", bob, signed(message(recipient=bob), t.world.good_rsa, "rsa"), "250 ")
    deliver(guard, OTHER, "eve@other.test", bob, message(recipient=bob), "250 ")  # marked: its DMARC fails
    session(guard, LISTED, ("MAIL FROM:<x@listed.test>", "250"), (f"RCPT TO:<{bob}>", "554"), ("RCPT TO:<postmaster>", "250"))
    session(guard, OTHER, ("MAIL FROM:<x@strict.test>", "250"), (f"RCPT TO:<{bob}>", "550 5.7.23"))
    session(guard, BOT, ("MAIL FROM:<x@soft.test>", "250"), (f"RCPT TO:<{bob}>", "451 4.7.1"))
    session(guard, LIAR, ("MAIL FROM:<>", "250"), (f"RCPT TO:<{bob}>", "451 4.7.1"))
    session(guard, GOOD, ("MAIL FROM:<>", "250"), ("RCPT TO:<nobody@example.net>", "550"), ("RCPT TO:<a@where.test>", "550"))
    with guard.client(OTHER) as client:
        client.say("HELO mx.example.net", "550")
    recorded(guard, 8)
    answer = replayed(guard)
    same((answer["decisions"], answer["changed"], answer["changes"]), (8, 0, []), "with the same settings")
    same(set(answer["gaps"].values()), {0}, "what was not asked")
    same(
        kinds(replayed(guard, dmarc={"reject": "always"})),
        {("accept marked", "reject dmarc"): 1},
        "DMARC is to refuse",
    )
    answer = replayed(guard, spf={}, dnsbl={"lists": [SPAM_LIST], "reject_score": 9}, greylist={"mode": "off"}, screen={"helo": "off"})
    same(
        kinds(answer),
        {
            ("reject dnsbl", "accept"): 1,
            ("reject spf", "accept"): 1,
            ("greylist greylist", "accept"): 2,
            ("reject helo", "accept"): 1,
        },
        "less is refused",
    )
    same([change["to"] for change in answer["changes"]], [bob] * 4 + [None], "whom it concerns")
    same(kinds(replayed(guard, mode="observe"))[("reject spf", "accept")], 1, "nothing is refused")
    answer = replayed(guard, dnsbl={"lists": [SPAM_LIST, {**SPAM_LIST, "zone": "allow.test"}]})
    same((answer["changed"], answer["gaps"]["dnsbl"]), (0, 7), "a list that is new")


def test_replay_in_words(t):
    """A line for each change, then the sum; without -c, or with faults in the settings, nothing."""
    guard, bob = t.guard(), t.recipient()
    deliver(guard, GOOD, "alice@good.test", bob, message(recipient=bob), "250 ")
    recorded(guard, 1)
    code, out = guard.cli("replay", "--since", "1h")
    same((code, out), (FINE, "1 decisions on record: 1 would be the same, 0 others\n"), "the same")
    guard.settings["domains"] = {"relay": ["example.org"]}
    guard.write()
    code, out = guard.cli("replay")
    change, _, total, kind = out.splitlines()
    for part in (GOOD.address, f"<alice@good.test> to <{bob}> rcpt: accept -> reject relay  550 We do not relay"):
        has(change, part)
    same((code, total), (NO, "1 decisions on record: 0 would be the same, 1 others"), "the sum")
    same(kind, "       1  accept -> reject relay", "the kind")
    guard.settings["domains"] = {"relax": ["example.org"]}
    guard.write()
    same(guard.cli("replay")[0], SETTINGS, "the exit code with faults")
