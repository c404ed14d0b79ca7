"""RFC 7208 as the openspf project tests it: its suite, through `smtpguard test spf` and a DNS server."""

import concurrent.futures
import json

from lib.check import Failed, same
from lib.scripted_dns import ScriptedDns

KEYS = "result scope domain mechanism explanation lookups void_lookups reason".split()


def evaluate(guard, server, case):
    """What is wrong with the answer to this case, or None."""
    _, out = guard.cli(
        "test",
        "spf",
        "--json",
        "--dns",
        server.address,
        "--ip",
        case["host"],
        "--helo",
        case["helo"],
        "--from",
        case["mailfrom"],
        "--receiver",
        "receiver.test",
    )
    try:
        got = json.loads(out)
    except ValueError:
        return f"{case['id']}: no JSON, but {out!r}"
    wanted = "" if case.get("explanation") in (None, "DEFAULT") else case["explanation"]
    if list(got) != KEYS:
        return f"{case['id']}: keys {list(got)}"
    if got["result"] not in case["result"]:
        return (
            f"{case['id']} (RFC 7208 {case['spec']}): {got['result']}, not {case['result']}: {got['reason']}"
        )
    if "explanation" in case and got["explanation"] != wanted:
        return f"{case['id']}: explanation {got['explanation']!r}, not {wanted!r}"
    return None


def test_openspf_suite(t):
    """All 203 cases of the openspf suite have the result, and the explanation, that the suite asks for."""
    suite = json.loads((t.conformance("spf-openspf") / "cases.json").read_text(encoding="utf-8"))
    guard, server = t.prepare(dns={"timeout": "2s", "tries": 1}), t.start(ScriptedDns())
    count, wrong = 0, []
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for scenario in suite["scenarios"]:
            server.table = scenario["dns"]
            count += len(scenario["tests"])
            wrong += filter(None, pool.map(lambda case: evaluate(guard, server, case), scenario["tests"]))
    same(count, 203, "cases")
    if wrong:
        raise Failed(f"{len(wrong)} of {count} cases are wrong:\n" + "\n".join(wrong))
