"""A resolver that does wrong in every way that is known: each fault has its documented value (docs/dns.md), in time."""

import concurrent.futures
import json
import time

from lib.check import Failed
from lib.faulty_dns import FaultyDns

TIMEOUT_S, TRIES = 0.3, 2
QUESTION_S = TIMEOUT_S * TRIES
SLACK_S = 3.0  # for a loaded machine; a hang would take 20 s, the deadline of an evaluation

# fault: what SPF, a DNS list and DMARC make of it. An answer that is none is temperror, unanswered, temperror.
GOOD = ("pass", "listed", "found")
DOUBT = ("temperror", "unanswered", "temperror")
FAULTS = {
    "no-fault": GOOD,
    "servfail": DOUBT,
    "refused": DOUBT,
    "no-edns": GOOD,  # asked again without it (RFC 6891 7)
    "no-edns-notimp": GOOD,
    "always-formerr": DOUBT,
    "truncated": GOOD,  # asked again by TCP
    "truncated-dead": DOUBT,
    "truncated-twice": DOUBT,
    "silent": DOUBT,
    "late": DOUBT,
    "wrong-id": DOUBT,
    "forged-first": GOOD,
    "wrong-question": DOUBT,
    "stranger": ("none", "clean", "found"),  # records of others are no answer; DMARC finds that of "test"
    "loop": DOUBT,
    "chain": DOUBT,
    "self": DOUBT,
    "huge": GOOD,
    "many": GOOD,  # what else has a TXT record at that name is no matter (RFC 7208 3.2)
    "long-record": ("permerror", "listed", None),
    "bomb": DOUBT,
    "bomb-self": DOUBT,
    "bomb-forward": DOUBT,
    "nx-with-answer": DOUBT,
    "ttl-top-bit": GOOD,
    "ttl-zero": GOOD,
    "cut": DOUBT,
    "counts-lie": DOUBT,
    "length-lies": DOUBT,
    "garbage": DOUBT,
    "empty": None,  # the right answer is behind it: whoever reads on has it
    "query-back": DOUBT,
}


def asked(guard, *words):
    """The answer as JSON, the exit code, and the seconds it took."""
    begun = time.monotonic()
    code, out = guard.cli("test", *words, "--json")
    if code not in (0, 1, 75):
        raise Failed(f"test {' '.join(words)} ended with {code}: {out}")
    return json.loads(out[out.index("{"):]), code, time.monotonic() - begun


def wrong(what, got, want, seconds, most):
    if want is not None and got != want:
        return f"{what}: {got}, not {want}"
    return f"{what}: took {seconds:.1f} s, with {most:.1f} s allowed" if seconds > most else None


def faults_of_spf(guard, fault, want):
    got, _, seconds = asked(guard, "spf", "--ip", "127.0.9.1", "--helo", "h.test", "--from", f"u@{fault}.test")
    return [wrong(f"SPF of {fault}.test", got["result"], want and want[0], seconds, QUESTION_S + SLACK_S)]


def faults_of_dmarc(guard, fault, want):
    got, _, seconds = asked(guard, "dmarc", f"{fault}.test")
    return [wrong(f"DMARC of {fault}.test", got["result"], want and want[2], seconds, 2 * QUESTION_S + SLACK_S)]


def test_every_fault(t):
    """SPF and DMARC of a domain behind each fault have the documented value within the deadline of a question."""
    server = t.start(FaultyDns(late_s=QUESTION_S * 1.5))
    guard = t.prepare(dns={"servers": [server.address], "timeout": f"{int(TIMEOUT_S * 1000)}ms", "tries": TRIES})
    failures = []
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for check in (faults_of_spf, faults_of_dmarc):
            for result in pool.map(lambda item, check=check: check(guard, *item), FAULTS.items()):
                failures += filter(None, result)
    if failures:
        raise Failed("\n".join(failures))


def test_lists_behind_every_fault(t):
    """A DNS list behind each fault lists nobody but where its answer came; none holds the others beyond its deadline."""
    server = t.start(FaultyDns(late_s=QUESTION_S * 1.5))
    lists = [{"zone": f"{fault}.list.test", "score": 1, "codes": ["127.0.0.2-127.0.0.3"]} for fault in FAULTS]
    guard = t.prepare(dns={"servers": [server.address], "timeout": f"{int(TIMEOUT_S * 1000)}ms", "tries": TRIES},
                      dnsbl={"lists": lists, "deadline": "4s", "reject_score": 100})
    got, _, seconds = asked(guard, "dnsbl", "127.0.9.1")
    results = {entry["zone"].split(".")[0]: entry["result"] for entry in got["lists"]}
    failures = [wrong(f"list {fault}", results[fault], want and want[1], 0, 1) for fault, want in FAULTS.items()]
    failures.append(wrong("all lists", None, None, seconds, 4 + SLACK_S))
    if any(failures):
        raise Failed("\n".join(filter(None, failures)))
