#!/usr/bin/python3
"""SPF by us, by pyspf and by Mail::SPF, on zones and identities drawn at random: who disagrees, and why.

    spf_differential.py [--cases N] [--seed TEXT]

Each disagreement is put to the other evaluator again with its known departures from RFC 7208 put right, one by one,
then by twos, then all together (the lists are in spf_pyspf.py and spf_mail_spf.pl). One that goes away so is explained,
and docs/spf.md says by which section; one that stays is a failure, and is printed whole.
"""
import argparse
import collections
import itertools
import json
import os
import random
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
BUILD = os.environ.get("BUILD", "build/release")
BATCH = BUILD + "/tests/long/spf_batch"
PERL = ["perl", HERE + "/spf_mail_spf.pl"]
sys.path.insert(0, HERE)
sys.dont_write_bytecode = True
import spf_zones  # noqa: E402


def run(command, tests):
    text = "".join(json.dumps(test) + "\n" for test in tests)
    done = subprocess.run(command, input=text.encode(), stdout=subprocess.PIPE, check=True, cwd=ROOT)
    answers = [json.loads(line) for line in done.stdout.decode("latin-1").splitlines()]
    if [answer["id"] for answer in answers] != [test["id"] for test in tests]:
        raise RuntimeError("%s answered %d of %d cases" % (command[0], len(answers), len(tests)))
    return answers


def with_names_asked(test, answer, seed):
    """Some of the names that macros made exist: else nearly all of them would be void."""
    r = random.Random("%s:%d" % (seed, test["id"]))
    for question in answer["asked"]:
        kind, name = question.split(" ", 1)
        if name.lower() in test["dns"] or not name.isascii() or not name.isprintable():
            continue
        if kind == "A" and r.random() < 0.5:
            test["dns"][name.lower()] = {"A": [r.choice(spf_zones.ADDRESSES4)]}
        elif kind == "AAAA" and r.random() < 0.5:
            test["dns"][name.lower()] = {"AAAA": [r.choice(spf_zones.ADDRESSES6)]}
        elif kind == "TXT" and r.random() < 0.5:
            test["dns"][name.lower()] = {"TXT": [[r.choice(["v=spf1 +all", "v=spf1 -all", "v=spf1 a:%{h} ?all"])]]}
    return test


class Pyspf:
    name = "pyspf"

    def __init__(self):
        import spf_pyspf
        self.evaluator = spf_pyspf
        self.repairs = {name: entry[:2] for name, entry in spf_pyspf.REPAIRS.items()}
        self.modules = {}

    def answers(self, tests, repairs=()):
        if repairs not in self.modules:
            self.modules[repairs] = self.evaluator.load(repairs)
        return [dict(zip(("result", "reason"), self.evaluator.evaluate(self.modules[repairs], test))) for test in tests]


class MailSpf:
    name = "Mail::SPF"

    def __init__(self):
        listed = json.loads(subprocess.run(PERL + ["--list"], stdout=subprocess.PIPE, check=True).stdout)
        self.repairs = {name: (section, what) for name, section, what in listed}

    def answers(self, tests, repairs=()):
        return run(PERL + list(repairs), tests) if tests else []


def explain(evaluator, disputes):
    """{case: repairs} of the fewest repairs after which each case is agreed on; and the cases that stay."""
    names = list(evaluator.repairs)
    reasons = {}
    for sets in ([(name,) for name in names], list(itertools.combinations(names, 2)), [tuple(names)]):
        for repairs in sets:
            left = [(test, ours) for test, ours in disputes if test["id"] not in reasons]
            answers = evaluator.answers([test for test, _ in left], repairs)
            for (test, ours), answer in zip(left, answers):
                if answer["result"] == ours["result"]:
                    reasons[test["id"]] = repairs if len(repairs) < 3 else ("several at once",)
    return reasons


def is_left_open(test):
    """RFC 8616 4 wants that a local part beyond ASCII never matches; older evaluators ask for what it makes."""
    return not test["from"].rpartition("@")[0].isascii()


def show(test, ours, theirs, evaluator):
    print("DISAGREEMENT case %d: %s by us (%s), %s by %s (%s)"
          % (test["id"], ours["result"], ours["reason"], theirs["result"], evaluator.name, theirs.get("reason", "")))
    print("    %s\n    asked: %s" % (json.dumps(test), ", ".join(ours["asked"])))


def compare(evaluator, tests, ours):
    theirs = evaluator.answers(tests)
    disputes = [(test, own) for test, own, other in zip(tests, ours, theirs) if own["result"] != other["result"]]
    reasons = explain(evaluator, disputes)
    counts, failed = collections.Counter(), 0
    for test, own in disputes:
        if test["id"] in reasons:
            counts[" + ".join(reasons[test["id"]])] += 1
        elif is_left_open(test):
            counts["a local part beyond ASCII"] += 1
        else:
            failed += 1
            show(test, own, evaluator.answers([test], tuple(evaluator.repairs))[0], evaluator)
    print("%s: %d of %d agree as it is, %d explained, %d not" % (evaluator.name, len(tests) - len(disputes), len(tests),
                                                                 len(disputes) - failed, failed))
    for name, count in counts.most_common():
        sections = ", ".join(sorted({evaluator.repairs[part][0] for part in name.split(" + ") if part in evaluator.repairs}))
        print("    %5d  %s%s" % (count, name, " (RFC 7208 %s)" % sections if sections else ""))
    return failed


def compare_explanations(evaluator, tests, ours):
    """The text behind exp=, with all departures put right. Ours is ASCII and at most 1024 octets, or none."""
    pairs = [(test, own) for test, own in zip(tests, ours) if own["result"] == "fail" and not is_left_open(test)]
    answers = evaluator.answers([test for test, _ in pairs], tuple(evaluator.repairs))
    compared = failed = 0
    for (test, own), other in zip(pairs, answers):
        if other["result"] != "fail":
            continue
        compared += 1
        if own["explanation"].lower() != other["reason"].lower():  # domains are in any case
            failed += 1
            print("DISAGREEMENT case %d: explanation %r by us, %r by %s" % (test["id"], own["explanation"], other["reason"], evaluator.name))
            print("    %s" % json.dumps(test))
    print("explanations: %d of %d agree" % (compared - failed, compared))
    return failed, compared


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--cases", type=int, default=20000)
    parser.add_argument("--seed", default="smtpguard")
    options = parser.parse_args()
    try:
        evaluators = [Pyspf(), MailSpf()]
    except (ImportError, subprocess.CalledProcessError, FileNotFoundError) as trouble:
        print("SKIP: python3-spf and libmail-spf-perl are needed: %s" % trouble)
        print("0 passed, 0 failed, 1 skipped")
        return 0
    subprocess.run(["make", "--no-print-directory", "BUILD=" + BUILD, BATCH], stdout=subprocess.DEVNULL, check=True, cwd=ROOT)
    tests = [spf_zones.case(options.seed, i) for i in range(options.cases)]
    tests = [with_names_asked(test, answer, options.seed) for test, answer in zip(tests, run([BATCH], tests))]
    ours = run([BATCH], tests)
    print("seed %s: %s" % (options.seed, ", ".join("%d %s" % (n, result) for result, n in
                                                   collections.Counter(a["result"] for a in ours).most_common())))
    failed = sum(compare(evaluator, tests, ours) for evaluator in evaluators)
    wrong, compared = compare_explanations(evaluators[0], tests, ours)
    failed += wrong
    print("%d passed, %d failed, 0 skipped" % (len(tests) * len(evaluators) + compared - failed, failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
