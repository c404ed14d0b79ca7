"""RFC 7208 as the openspf project tests it: its suite, through `smtpguard test spf` and DNS servers."""

import concurrent.futures
import json

from lib.check import Failed, has, same
from lib.nameserver import Nsd
from lib.scripted_dns import ScriptedDns, zone_of

KEYS = "result scope domain mechanism explanation lookups void_lookups reason".split()
# The suite wants a question of theirs to stay without an answer.
SILENT = "alltimeout exists-dnserr exp-dns-error include-temperror nospftxttimeout txttimeout".split()


def ask(guard, server, case, *more):
    _, out = guard.cli(
        "test", "spf", "--json", *more, "--dns", server.address, "--ip", case["host"], "--helo", case["helo"],
        "--from", case["mailfrom"], "--receiver", "receiver.test",
    )  # fmt: skip
    try:
        return json.loads(out)
    except ValueError:
        raise Failed(f"{case['id']}: no JSON, but {out!r}") from None


def fault(case, got):
    """What is wrong with the answer to this case, or None."""
    wanted = "" if case.get("explanation") in (None, "DEFAULT") else case["explanation"]
    if got["result"] not in case["result"]:
        return (
            f"{case['id']} (RFC 7208 {case['spec']}): {got['result']}, not {case['result']}: {got['reason']}"
        )
    if "explanation" in case and got["explanation"] != wanted:
        return f"{case['id']}: explanation {got['explanation']!r}, not {wanted!r}"
    return None


def scenarios(t):
    suite = json.loads((t.conformance("spf-openspf") / "cases.json").read_text(encoding="utf-8"))
    return suite["scenarios"]


def hold(count, wrong):
    if wrong:
        raise Failed(f"{len(wrong)} of {count} cases are wrong:\n" + "\n".join(wrong))


def is_silent(table, step):
    """Did this step of an evaluation ask what the suite wants no answer to?"""
    return any(
        table.get(asked["name"], {}).get("_timeout") and asked["type"] not in table[asked["name"]]
        for asked in step["questions"]
    )


def test_openspf_suite(t):
    """All 203 cases of the openspf suite have the result, and the explanation, that the suite asks for."""
    guard, server = t.prepare(dns={"timeout": "2s", "tries": 1}), t.start(ScriptedDns())
    count, wrong, silent = 0, [], []

    def evaluate(case):
        got = ask(guard, server, case, "--trace")
        same(list(got), [*KEYS, "trace"], f"the keys of {case['id']}")
        if any(is_silent(server.table, step) for step in got["trace"]):
            silent.append(case["id"])
        return fault(case, got)

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for scenario in scenarios(t):
            server.table = scenario["dns"]
            count += len(scenario["tests"])
            wrong += filter(None, pool.map(evaluate, scenario["tests"]))
    same(count, 203, "cases")
    hold(count, wrong)
    same(sorted(silent), SILENT, "the cases in which a question is not answered")


def test_openspf_suite_nsd(t):
    """The cases of the openspf suite that a name server can be made to serve, all but 6, come out through nsd."""
    guard = t.prepare(dns={"timeout": "2s", "tries": 1})
    count, wrong = 0, []
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for number, scenario in enumerate(scenarios(t)):
            server = t.start(Nsd(t.dir / f"nsd{number}", zone_of(scenario["dns"])))
            cases = [case for case in scenario["tests"] if case["id"] not in SILENT]
            answers = list(pool.map(lambda case: ask(guard, server, case), cases))
            for case, got in zip(cases, answers):
                same(list(got), KEYS, f"the keys of {case['id']}")
                wrong += filter(None, [fault(case, got)])
            count += len(cases)
    same(count, 203 - len(SILENT), "cases")
    hold(count, wrong)


def test_steps(t):
    """`test spf` shows each record and each term, what it asked, what was counted, and how it ended."""
    guard, server = t.prepare(), t.start(ScriptedDns())
    server.table = {
        "a.test": {"TXT": [["v=spf1 include:b.test mx -all exp=e.%{d}"]], "MX": [[10, "mx.a.test"]]},
        "b.test": {"TXT": [["v=spf1 a:absent.test ~all"]]},
        "mx.a.test": {"A": ["192.0.2.1"]},
        "e.a.test": {"TXT": [["%{i} is not ours"]]},
    }
    code, out = guard.cli("test", "spf", "--dns", server.address, "--ip", "192.0.2.9", "--from", "<u@a.test>")
    same(code, 1, "the exit code of a fail")
    for line in (
        "result       fail",
        "explanation  192.0.2.9 is not ours",
        "lookups      3 of 10, void 1 of 2",
        "   2  1  include:b.test: no match",
        "             TXT b.test: v=spf1 a:absent.test ~all",
        "   2  1    a:absent.test: no match",
        "               A absent.test: nxdomain",
        "   3  1  mx: no match",
        "             A mx.a.test: 192.0.2.1",
        "   3  1  exp=e.%{d}: found",
    ):
        has(out, f"{line}\n")
