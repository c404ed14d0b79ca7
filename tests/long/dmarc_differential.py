#!/usr/bin/python3
"""DMARC by us (RFC 9989) and by mailauth, libopendmarc and Mail::DMARC (RFC 7489), on cases drawn at random where both
standards say the same: an organisational domain that a list of public suffixes knows as well and that has a record, no
psd, np, t or pct. Who disagrees, and why.

    dmarc_differential.py [--cases N] [--seed TEXT]

A disagreement is explained when we say the same as the other one about the case as his known departure makes him see it
(DEPARTURES; docs/dmarc.md tells them). One that is not is a failure, and is printed whole. A program that is not there
is skipped."""
import argparse
import collections
import copy
import json
import os
import random
import re
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
BUILD = os.environ.get("BUILD", "build/release")
sys.path.insert(0, HERE)
sys.dont_write_bytecode = True
import dkim_mailauth  # noqa: E402
import dmarc_opendmarc  # noqa: E402

ORGS = ("alpha.org", "beta.org")
PREFIXES = ("", "", "mail.", "a.mail.", "mailalpha.")


def domain(rng, org=None):
    return rng.choice(PREFIXES) + (org or rng.choice(ORGS))


def record(rng):
    tags = ["v=DMARC1", "p=" + rng.choice(("none", "quarantine", "reject", "reject", "Quarantine"))]
    for tag, values in (("sp", ("none", "quarantine", "reject")), ("adkim", "rs"), ("aspf", "rs"),
                        ("rua", ("mailto:d@alpha.org",)), ("x-new", ("what",))):
        if rng.random() < 0.4:
            tags.append("%s=%s" % (tag, rng.choice(values)))
    between = rng.choice(("; ", ";", " ; "))
    return between.join(tags) + rng.choice(("", ";", "; "))


def case(rng, number):
    names = ["alpha.org", *rng.sample(["mail.alpha.org", "a.mail.alpha.org"], rng.choice((0, 0, 1)))]
    dns = {"_dmarc." + name: {"TXT": [[record(rng)]]} for name in names}
    if rng.random() < 0.05:
        dns["_dmarc.alpha.org"]["TXT"].append(["something else"])
    for name in ("alpha.org", "mail.alpha.org", "a.mail.alpha.org", "mailalpha.alpha.org"):
        dns[name] = {"A": ["192.0.2.1"]}  # so that np= is never meant
    dns["_dmarc.beta.org"] = {"TXT": [["v=DMARC1; p=none"]]}
    results = ("pass", "pass", "fail")
    return {"id": number, "dns": dns, "from": domain(rng, "alpha.org"), "spf": [domain(rng), rng.choice(results)],
            "dkim": [[domain(rng), rng.choice(results)] for _ in range(rng.choice((0, 1, 1, 2)))]}


# ---- the programs ----


class Program:
    """One that speaks the protocol of dmarc_batch.c."""

    def __init__(self, name, *command):
        self.name, self.command = name, command

    def answers(self, tests):
        text = "".join(json.dumps(test) + "\n" for test in tests)
        done = subprocess.run(self.command, input=text.encode(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=True)
        answers = [json.loads(line) for line in done.stdout.decode().splitlines()]
        if [answer["id"] for answer in answers] != [test["id"] for test in tests]:
            raise RuntimeError("%s answered %d of %d cases" % (self.name, len(answers), len(tests)))
        return answers


def mailauth():
    modules = dkim_mailauth.install(os.path.join(os.path.dirname(os.path.abspath(BUILD)), "npm"))
    return Program("mailauth", "node", HERE + "/dmarc_mailauth.js", modules)


def mail_dmarc():
    subprocess.run(["perl", "-MMail::DMARC", "-e1"], check=True, stderr=subprocess.DEVNULL)
    return Program("Mail::DMARC", "perl", HERE + "/dmarc_mail_dmarc.pl")


# ---- who departs, and how ----


def edited(test, pattern, by):
    """The case with each record changed."""
    test = copy.deepcopy(test)
    for name, types in test["dns"].items():
        if name.startswith("_dmarc."):
            types["TXT"] = [[re.sub(pattern, by, piece) for piece in pieces] for pieces in types["TXT"]]
    return test


def without_strict(test):
    return edited(test, r"(adkim|aspf) *= *s", r"\1=r")


def with_loose_names(test):
    """A name below the organisational domain in From, or next to From above or below, is taken for it."""
    author = test["from"]

    def taken(name):
        upper, lower = sorted((author, name), key=len)
        if upper == "alpha.org":
            return author if author == upper and name.endswith("." + upper) else name
        return author if lower.partition(".")[2] == upper else name
    return {**test, "spf": [taken(test["spf"][0]), test["spf"][1]],
            "dkim": [[taken(name), result] for name, result in test["dkim"]]}


def last_signature_hides(test):
    kept = [(name, result) for number, (name, result) in enumerate(test["dkim"])
            if result == "fail" or all(later == "pass" for _, later in test["dkim"][number:])]
    return {**test, "dkim": kept}


DEPARTURES = {
    "mailauth": [("strict alignment is never asked for (RFC 9989 4.4)", without_strict)],
    "libopendmarc": [
        ("under strict alignment some names below or above the one in From are the same (RFC 9989 4.4)", with_loose_names),
        ("a failing signature hides a passing one before it (RFC 9989 4.4.1)", last_signature_hides)],
    "Mail::DMARC": [],
}


def said(answer):
    """What can be compared: that it passed, or what would be done."""
    return answer["result"] if answer["result"] != "fail" else "fail, " + answer.get("policy", "").lower()


def compare(us, other, tests):
    why, failures = collections.Counter(), 0
    ours, theirs = us.answers(tests), other.answers(tests)
    disputes = [(test, our, their) for test, our, their in zip(tests, ours, theirs) if said(our) != said(their)]
    for what, departure in DEPARTURES[other.name]:
        seen = us.answers([departure(test) for test, _, _ in disputes]) if disputes else []
        left = [dispute for dispute, ours_then in zip(disputes, seen) if said(ours_then) != said(dispute[2])]
        why[what] += len(disputes) - len(left)
        disputes = left
    for test, our, their in disputes[:5]:
        print("FAILED: %s says %s, we say %s\n    %s" % (other.name, said(their), said(our), json.dumps(test)))
    failures = len(disputes)
    print("%s: %d cases, %d the same, %d explained, %d not" % (
        other.name, len(tests), len(tests) - sum(why.values()) - failures, sum(why.values()), failures))
    for what, count in why.items():
        print("    %6d  %s" % (count, what))
    return len(tests) - failures, failures


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--cases", type=int, default=8000)
    options.add_argument("--seed", default="9989")
    options = options.parse_args()
    rng = random.Random(options.seed)
    tests = [case(rng, number) for number in range(options.cases)]
    us = Program("smtpguard", BUILD + "/tests/long/dmarc_batch")
    passed = failed = skipped = 0
    for make in (mailauth, dmarc_opendmarc.OpenDmarc, mail_dmarc):
        try:
            other = make()
        except (dkim_mailauth.Skipped, OSError, subprocess.CalledProcessError) as why:
            print("SKIPPED: %s: %s" % (make.__name__, why))
            skipped += 1
            continue
        agreed, not_explained = compare(us, other, tests)
        passed, failed = passed + agreed, failed + not_explained
    print("%d passed, %d failed, %d skipped" % (passed, failed, skipped))
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
