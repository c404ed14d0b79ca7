"""`smtpguard test helo`: what a HELO name is worth."""

import json

from lib.check import same
from lib.scripted_dns import ScriptedDns

TABLE = {"mx.good.test": {"A": ["127.0.1.1"], "TXT": [["v=spf1 a -all"]]}, "sick.test": {"_rcode": "SERVFAIL"}}

# name: form, verdict, state of its address, whether it is the client's, SPF, exit code
NAMES = {
    "mx.good.test": ("name", "accept", "ok", True, "pass", 0),
    "sick.test": ("name", "accept", "servfail", False, "temperror", 75),
    "absent.test": ("name", "accept", "nxdomain", False, "none", 0),
    "mx.example.net": ("ours", "reject", None, False, None, 1),
    "127.0.1.1": ("bare-address", "reject", None, False, None, 1),
    "[127.0.1.1]": ("literal", "accept", None, False, None, 0),
    "[127.0.1.2]": ("other-literal", "accept", None, False, None, 0),
    "not a name": ("not-a-name", "reject", None, False, None, 1),
    "localhost": ("single-label", "accept", None, False, None, 0),
}


def test_helo_names(t):
    """Each kind of HELO name has its form, its verdict, and what the DNS and SPF say of it."""
    server = t.start(ScriptedDns())
    server.table = TABLE
    guard = t.prepare(nameserver=server)
    for name, wanted in NAMES.items():
        code, out = guard.cli("test", "helo", "--json", name, "--ip", "127.0.1.1")
        got = json.loads(out)
        spf = got["spf"] and got["spf"]["result"]
        same((got["form"], got["verdict"], got["address"], got["is_clients"], spf, code), wanted, f"HELO {name}")
    same(guard.cli("test", "helo", "mx.good.test")[0], 64, "the exit code without --ip")
