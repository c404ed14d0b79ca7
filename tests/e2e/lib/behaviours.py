"""Kinds of senders, as greylisting meets them: where each try comes from, and when, until it passes or gives up."""

import heapq
import random
import statistics
import string
from dataclasses import dataclass, field

MINUTE, HOUR, DAY = 60, 3600, 86400
POSTFIX = [300, 600, 1200, 2400, 4000]  # then every 4000 s, for five days: Postfix's own defaults


@dataclass
class Sender:
    name: str
    addresses: list
    mails: list  # (seconds after the beginning, MAIL FROM, RCPT TO)
    host: str = "-"  # the verified name of each address
    spf: bool = False  # passes for the domain of MAIL FROM
    waits: list = field(default_factory=lambda: POSTFIX)  # between tries; the last one holds on
    tries: int = 0  # 0: for five days
    shot: int = 0  # 1: each mail from the next address; 0: each try from any of them


def addresses(block, count):
    """So many addresses, each in a network of its own."""
    return [f"198.{block}.{number}.9" for number in range(count)]


def personal(count, apart, domain):
    """Mail of so many people to as many, one after the other."""
    names = [first + second for first in string.ascii_lowercase for second in string.ascii_lowercase]
    return [(n * apart, f"{names[n]}@{domain}", f"reader{n}@example.net") for n in range(count)]


def newsletter(issues, readers):
    """VERP: each mail of each issue has a sender of its own."""
    return [
        (issue * 7 * DAY + reader, f"list-return-{4711 + issue}-{reader}=example.net@news.test", f"{reader}@example.net")
        for issue in range(issues)
        for reader in range(readers)
    ]


SENDERS = [
    Sender("large provider: 50 addresses in 50 networks, SPF passes", addresses(18, 50), personal(25, 4 * HOUR, "big.test"),
           "mail.out.big.test", True),
    Sender("the same, its customers without SPF, host names verified", addresses(19, 50),
           personal(25, 4 * HOUR, "customer.test"), "mail.out.host.test"),
    Sender("the same, neither SPF nor host names", addresses(20, 50), personal(25, 4 * HOUR, "bare.test")),
    Sender("login code, valid for ten minutes, from such a pool with SPF", addresses(21, 50),
           [(n * DAY, "code@shop.test", f"reader{n}@example.net") for n in range(10)], "mta.shop.test", True,
           [60, 120, 240, 170], 5),
    Sender("newsletter with VERP, four issues to ten readers, no SPF", addresses(22, 1), newsletter(4, 10),
           "mx.news.test", False, [15 * MINUTE]),
    Sender("a small company's server, no SPF", addresses(23, 1), personal(20, 6 * HOUR, "small.test"), "mx.small.test"),
    Sender("bot: one try from each of 200 addresses", addresses(24, 200), personal(200, 10, "forged.test"), tries=1,
           shot=1),
    Sender("bot: tries 100 times at once, ten mails", addresses(25, 1), personal(10, 300, "forged.test"), waits=[1],
           tries=100),
    Sender("bot: waits for ten minutes and comes again, ten mails", addresses(26, 1), personal(10, MINUTE, "forged.test"),
           waits=[10 * MINUTE], tries=2),
]  # fmt: skip


@dataclass
class Outcome:
    """Of one sender's mails before one greylist: how many seconds each of those that came late was late, and how
    many never came."""

    mails: int
    late: list
    lost: int

    def __str__(self):
        words = [f"{len(self.late)} late" if self.late else ""]
        if self.late:
            words.append(f"median {spoken(statistics.median(self.late))}, longest {spoken(max(self.late))}")
        if self.lost:
            words.append(f"{self.lost} never")
        return "; ".join(word for word in words if word) or "none late"


def spoken(seconds):
    return f"{seconds / MINUTE:.0f} min" if seconds < 2 * HOUR else f"{seconds / HOUR:.1f} h"


def next_wait(sender, begun, at, tried):
    """Seconds until the next try, or None."""
    wait = sender.waits[min(tried, len(sender.waits)) - 1]
    if sender.tries:
        return wait if tried < sender.tries else None
    return wait if at + wait - begun <= 5 * DAY else None


def play(sender, begin, passes):
    """Plays a sender's mails from the time `begin` on; passes(time, address, host, spf domain, from, to) says whether a
    try gets through."""
    chance = random.Random(1)
    due = [(begin + start, number, 1) for number, (start, _, _) in enumerate(sender.mails)]
    heapq.heapify(due)
    late, lost = [], 0
    while due:
        at, number, tried = heapq.heappop(due)
        start, mail_from, rcpt_to = sender.mails[number]
        place = number if sender.shot else int(chance.random() * len(sender.addresses))
        spf = mail_from.rpartition("@")[2] if sender.spf else "-"
        if passes(at, sender.addresses[place], sender.host, spf, mail_from, rcpt_to):
            late += [at - begin - start] * (tried > 1)
            continue
        wait = next_wait(sender, begin + start, at, tried)
        if wait is None:
            lost += 1
        else:
            heapq.heappush(due, (at + wait, number, tried + 1))
    return Outcome(len(sender.mails), late, lost)
