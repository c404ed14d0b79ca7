"""The same mail before the real postgrey and before our greylist, on clocks that the test turns."""

import subprocess
from pathlib import Path

from lib.check import Skipped, same, true
from lib.postgrey import Postgrey
from lib.behaviours import DAY, SENDERS, Sender, personal, play

BEGIN = 1700000000
DOCUMENT = Path(__file__).parents[2] / "docs" / "greylisting.md"


class Ours:
    """Our rules, policy and store, asked through a pipe (greylist.c)."""

    def __init__(self, t, **settings):
        program = t.house.binary.parent / "tests" / "e2e" / "greylist"
        if not program.exists():
            raise Skipped(f"no {program}; make e2e builds it")
        self.words = []
        self.process = subprocess.Popen(
            [program, f"sqlite:{t.dir}/{len(settings)}.db"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={f"SMTPGUARD_GREYLIST__{name.upper()}": value for name, value in settings.items()},
        )

    def start(self):
        return self

    def stop(self):
        self.process.stdin.close()
        same(self.process.wait(30), 0, "the exit code of greylist")

    def logs(self):
        return {"our last answers": " ".join(self.words[-20:])}

    def passes(self, at, address, host, spf, sender, recipient):
        self.process.stdin.write(f"{at} {address} {host} {spf} {sender} {recipient}\n")
        self.process.stdin.flush()
        word = self.process.stdout.readline().strip()
        true(word, "the greylist has ended")
        self.words.append(word)
        return word not in ("new", "early")


def outcomes(t, senders):
    """Of each sender: before postgrey (without its lists), ours with when: always, ours as it is by default."""
    postgrey = t.start(Postgrey(t.dir, "--whitelist-clients=/dev/null", "--whitelist-recipients=/dev/null"))
    always, suspicious = t.start(Ours(t, when="always")), t.start(Ours(t))

    def asks_postgrey(at, address, host, _, sender, recipient):
        return postgrey.passes(at, address, sender, recipient, "unknown" if host == "-" else host)

    for number, sender in enumerate(senders):
        begin = BEGIN + number * 60 * DAY
        yield sender, [play(sender, begin, ask) for ask in (asks_postgrey, always.passes, suspicious.passes)]


def is_documented(found):
    rows = "\n".join(
        f"| {sender.name} | {len(sender.mails)} | " + " | ".join(map(str, three)) + " |" for sender, three in found
    )
    true(rows in DOCUMENT.read_text(encoding="utf-8"), f"docs/greylisting.md must say:\n{rows}")


def test_senders(t):
    """Pools, newsletters and bots before the real postgrey and ours: docs/greylisting.md tells what comes out."""
    found = list(outcomes(t, SENDERS))
    is_documented(found)
    large, unsigned, _, code, *_, shots, hasty, patient = [three for _, three in found]
    for three in (large, unsigned, code):
        true(max(three[1].late, default=0) <= 15 * 60, "an honest pool waits once, and for one retry of its own")
        true(len(three[1].late) < len(three[0].late) + three[0].lost, "postgrey delays it more often")
    same([three[2].late for three in (large, code)], [[], []], "what is late of senders that are not suspicious")
    same([o.lost for o in shots], [200] * 3, "what bots with one try have delivered")
    same([o.lost for o in hasty[:2]], [10, 10], "what hasty bots have delivered")
    same([o.lost for o in patient], [0, 0, 0], "what is lost of those that wait")


# How some large senders really retry: their networks, the time between tries, the name of their hosts, and whose domain
# SPF passes for. Each is a customer's first mail to us, of which nobody has heard.
LARGE = [
    ("a workspace domain at a mail provider: 12 networks, SPF includes it", 12, "mail-ot1.mailer.test", True, [360, 720, 1500, 3600]),
    ("a tenant of an office suite: another network at each try", 200, "outbound.protection.test", True, [60, 120, 300, 900]),
    ("a cloud's mail service: one pool for all customers, SPF of its own", 60, "a48-109.out.cloud.test", True, [300, 1200]),
    ("a campaign sender with VERP, without SPF for the customer's domain", 40, "o1.em.campaign.test", False, [300, 900]),
    ("a freemail service: names, and no SPF for a forwarder's sender", 30, "sonic.gate.mail.free.test", False, [600, 1800]),
]  # fmt: skip


def test_no_list_of_large_senders(t):
    """A large sender is known after one delivery, wherever it comes from: no list of them is needed."""
    senders = [
        Sender(name, [f"198.{30 + place}.{n}.9" for n in range(networks)], personal(20, 3600, f"c{place}.test"), host, spf, waits)
        for place, (name, networks, host, spf, waits) in enumerate(LARGE)
    ]  # fmt: skip
    found = list(outcomes(t, senders))
    is_documented(found)
    for sender, (postgrey, always, suspicious) in found:
        true(max(always.late, default=0) <= sum(sender.waits[:3]), f"{sender.name} waits {always}")
        true(len(always.late) <= 5, f"{sender.name} is trusted after five deliveries, not {len(always.late)}")
        same((always.lost, suspicious.lost), (0, 0), f"what is lost of {sender.name}")
        true(not sender.spf or not suspicious.late, f"{sender.name} is not suspicious, and waits {suspicious}")
        true(max(postgrey.late) > max(always.late), f"{sender.name} waits longer before postgrey")
