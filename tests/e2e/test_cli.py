"""The verbs that scripts call: their JSON to the letter, their exit codes, against the real DNS."""

import json
import socket
import time

from lib import certificate
from lib.check import has, same, starts, true, wait_for
from lib.client import Client
from lib.mail import message, signed
from lib.process import Daemon, free_port, listens, run
from lib.world import ALLOW_LIST, BOT, BROKEN_LIST, GOOD, LISTED, SPAM_LIST

SPF = "result scope domain mechanism explanation lookups void_lookups reason".split()
DKIM = "result domain selector identity algorithm bits testing reason".split()
ARC = "result instances reason".split()
DMARC = "result from_domain org_domain record_domain policy applied spf_aligned dkim_aligned reason".split()
POLICY = (
    "result record_domain org_domain policy subdomain_policy nonexistent_policy testing adkim aspf "
    "rua ruf queries"
).split()
SERVFAIL_LIST = {**SPAM_LIST, "zone": "bl.servfail.test"}
FINE, NO, USAGE, BAD_INPUT, TEMPORARY, SETTINGS = 0, 1, 64, 65, 75, 78


def test_spf_verb(t):
    """test spf: each result, its exit code, and all keys in their order."""
    guard = t.prepare()
    cases = [  # address, HELO, MAIL FROM, result, scope, mechanism, exit code
        (GOOD.address, "mx.good.test", "alice@good.test", "pass", "mfrom", "ip4:127.0.1.1", FINE),
        (GOOD.address, "mx.good.test", "", "pass", "helo", "a", FINE),
        ("::1", "mx.good.test", "<alice@good.test>", "pass", "mfrom", "ip6:::1", FINE),
        (BOT.address, "bot.test", "alice@good.test", "fail", "mfrom", "-all", NO),
        (GOOD.address, "mx.good.test", "alice@strict.test", "fail", "mfrom", "-all", NO),
        (GOOD.address, "mx.good.test", "alice@soft.test", "softfail", "mfrom", "~all", None),
        (GOOD.address, "mx.good.test", "alice@absent.test", "none", "mfrom", None, None),
        (GOOD.address, "mx.good.test", "alice@wrong.test", "permerror", "mfrom", "default", None),
        (GOOD.address, "mx.good.test", "alice@servfail.test", "temperror", "mfrom", None, TEMPORARY),
    ]
    for ip, helo, sender, result, scope, mechanism, expected in cases:
        code, out = guard.cli("test", "spf", "--json", "--ip", ip, "--helo", helo, "--from", sender)
        got = json.loads(out)
        same(list(got), SPF, "the keys")
        same(
            (got["result"], got["scope"], got["mechanism"]),
            (result, scope, mechanism),
            f"SPF of {sender} from {ip}",
        )
        if expected is not None:
            same(code, expected, f"the exit code for {result}")
    _, out = guard.cli("test", "spf", "--json", "--ip", GOOD.address, "--from", "alice@strict.test")
    same(json.loads(out)["explanation"], "127.0.1.1 does not send for strict.test", "the explanation")


def test_message_verb(t):
    """test message: all results and the field that would be added, for a file or standard input."""
    guard, file = t.prepare(), t.dir / "message"
    mail = signed(message(), t.world.good_rsa, "rsa")
    mail = signed(mail, t.world.good_ed25519, "ed")
    file.write_bytes(mail)
    words = (
        "test",
        "message",
        "--json",
        "--ip",
        GOOD.address,
        "--helo",
        GOOD.name,
        "--from",
        "alice@good.test",
        "--authserv-id",
        "id.example.net",
        "--now",
        str(int(time.time()) + 60),
    )
    code, out = guard.cli(*words, file)
    got = json.loads(out)
    same(code, FINE, "the exit code")
    same(list(got), ["spf", "dkim", "arc", "dmarc", "authentication_results"], "the keys")
    for part, keys in ((got["spf"], SPF), (got["dkim"][0], DKIM), (got["arc"], ARC), (got["dmarc"], DMARC)):
        same(list(part), keys, "the keys")
    same(
        [(d["result"], d["selector"], d["algorithm"], d["bits"]) for d in got["dkim"]],
        [("pass", "ed", "ed25519-sha256", 256), ("pass", "rsa", "rsa-sha256", 2048)],
        "the signatures",
    )
    del got["dmarc"]["reason"]
    same(
        list(got["dmarc"].values()),
        ["pass", "good.test", "good.test", "good.test", "reject", "none", True, True],
        "DMARC",
    )
    starts(got["authentication_results"], "Authentication-Results: id.example.net;")
    same(guard.cli(*words, "-", stdin=mail)[1], out, "the answer for standard input")
    same(json.loads(guard.cli("test", "message", "--json", file)[1])["spf"], None, "SPF without an address")


def test_message_verb_on_a_forgery(t):
    """test message: a forged message fails, and the policy that applies is told."""
    guard = t.prepare()
    forged = signed(message(), t.world.good_rsa, "rsa").replace(b"all is well", b"all is lost")
    code, out = guard.cli(
        "test",
        "message",
        "--json",
        "--ip",
        BOT.address,
        "--helo",
        "bot.test",
        "--from",
        "x@soft.test",
        "-",
        stdin=forged,
    )
    got = json.loads(out)
    same(code, NO, "the exit code")
    same(got["dkim"][0]["result"], "fail", "DKIM")
    same((got["dmarc"]["result"], got["dmarc"]["applied"]), ("fail", "reject"), "DMARC")


def test_dmarc_verb(t):
    """test dmarc: the policy of a domain, of one below it, of one without, and of one whose DNS fails."""
    guard = t.prepare()
    cases = [
        ("good.test", "found", "good.test", FINE),
        ("www.good.test", "found", "good.test", FINE),
        ("other.test", "none", None, NO),
        ("servfail.test", "temperror", None, TEMPORARY),
    ]
    for domain, result, record_domain, expected in cases:
        code, out = guard.cli("test", "dmarc", "--json", domain)
        got = json.loads(out)
        same(list(got), POLICY, "the keys")
        same(
            (got["result"], got["record_domain"], code),
            (result, record_domain, expected),
            f"the policy of {domain}",
        )
    got = json.loads(guard.cli("test", "dmarc", "--json", "mx.good.test")[1])
    same(
        (got["policy"], got["subdomain_policy"], got["rua"], got["adkim"]),
        ("reject", "quarantine", ["mailto:dmarc@good.test"], "r"),
        "the record",
    )
    true(len(got["queries"]) >= 2, "the steps are not told")


def test_dnsbl_verb(t):
    """test dnsbl: what each list says, the score and the verdict."""
    guard = t.prepare(dnsbl={"lists": [SPAM_LIST, ALLOW_LIST, BROKEN_LIST]})
    code, out = guard.cli("test", "dnsbl", "--json", LISTED.address)
    got = json.loads(out)
    same((got["score"], got["verdict"]), (0, "accept"), "the sum")
    same(
        [(entry["zone"], entry["result"], entry["code"]) for entry in got["lists"]],
        [
            ("bl.test", "listed", "127.0.0.2"),
            ("allow.test", "listed", "127.0.0.2"),
            ("broken.test", "error", "127.255.255.254"),
        ],
        "the lists",
    )
    same(code, FINE, "the exit code")
    guard = t.prepare(dnsbl={"lists": [SPAM_LIST]})
    code, out = guard.cli("test", "dnsbl", "--json", LISTED.address)
    same((code, json.loads(out)["verdict"]), (NO, "reject"), "the verdict with one list")


def test_verbs_without_dns(t):
    """A resolver that is not there, one that says nothing, and a domain whose servers fail: each verb ends with 75 in time, and
    tells which of them it is."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        absent, silent_port = free_port(), silent.getsockname()[1]
        servers = {f"127.0.0.1:{absent}": f"127.0.0.1:{absent} does not answer: start it",
                   f"127.0.0.1:{silent_port}": f"127.0.0.1:{silent_port} does not answer: start it",
                   t.dns.address: f"{t.dns.address} answers, but"}
        for server, advice in servers.items():
            guard = t.prepare(dns={"servers": [server], "timeout": "300ms", "tries": 1}, dnsbl={"lists": [SERVFAIL_LIST]})
            for words in (("spf", "--ip", GOOD.address, "--from", "x@servfail.test"), ("dnsbl", GOOD.address),
                          ("helo", "mx.servfail.test", "--ip", GOOD.address), ("dmarc", "servfail.test")):
                begun = time.monotonic()
                code, out, err = run(t.house.binary, "test", *words, "-c", guard.file, check=False)
                same(code, TEMPORARY, f"the exit code of test {' '.join(words)}")
                true(out, f"test {words[0]} says nothing of the result")
                has(err.decode(), advice)
                true(time.monotonic() - begun < 10, f"test {words[0]} took {time.monotonic() - begun:.1f} s")


def test_config_migrate(t):
    """Settings of Postfix, postgrey, OpenDKIM and OpenDMARC become a settings file without a fault."""
    pair = certificate.make(t.dir, "mx")
    postfix = t.dir / "main.cf"
    postfix.write_text(f"""myhostname = mx.example.net
mydestination = $myhostname, example.net, localhost
message_size_limit = 10240000
smtpd_tls_cert_file = {pair.cert}
smtpd_tls_key_file = {pair.key}
smtpd_recipient_restrictions = reject_rbl_client bl.test=127.0.0.2
""", encoding="ascii")
    opendmarc = t.dir / "opendmarc.conf"
    opendmarc.write_text("# as the package has it, and two lines of an operator's\nPidFile /run/opendmarc/opendmarc.pid\n"
                         "PublicSuffixList /usr/share/publicsuffix/public_suffix_list.dat\nSyslog true\n"
                         "AuthservID mx.example.net\nRejectFailures true\n", encoding="ascii")
    files = {"postfix": postfix, "postgrey": "/etc/default/postgrey", "opendkim": "/etc/opendkim.conf",
             "opendmarc": opendmarc}
    options = [word for name, file in files.items() for word in (f"--{name}", str(file))]
    _, text, _ = run(t.house.binary, "config", "migrate", *options)
    settings = t.dir / "migrated.yaml"
    settings.write_bytes(text)
    has(text.decode(), "  when: always   # /etc/default/postgrey: postgrey;")
    has(text.decode(), "- {zone: bl.test, score: 8, codes: [127.0.0.2]}")
    has(text.decode(), "# /etc/opendkim.conf: Syslog (")
    same(run(t.house.binary, "check-config", settings, check=False), (0, b"", b""), "what is wrong with it")
    told = json.loads(run(t.house.binary, "config", "migrate", "--json", *options)[1])
    taken = {row["setting"] for row in told["taken"]}
    true({"hostname", "limits.message_size", "greylist.when", "dmarc.reject"} <= taken, f"taken: {taken}")
    true(all(row["reason"] and row["line"] > 0 for row in told["left"]), "each key that is left has its line and reason")


def test_words_that_are_wrong(t):
    """Wrong verbs and options end with 64, an unreadable message with 65, bad settings with 78."""
    binary = t.house.binary
    for words, expected in (
        (["frobnicate"], USAGE),
        (["test", "spf", "--ip", "nonsense"], USAGE),
        (["test", "dmarc"], USAGE),
        (["run", "--fast"], USAGE),
        (["config", "migrate", "--exim", "/etc/exim4"], USAGE),
        (["config", "migrate", "--opendkim", "/nonexistent"], BAD_INPUT),
        (["test", "message", "/nonexistent"], BAD_INPUT),
        (["run", "-c", "/nonexistent"], SETTINGS),
        (["check-config", "/nonexistent"], SETTINGS),
        (["--help"], FINE),
        (["version"], FINE),
        (["run", "--help"], FINE),
    ):
        code, out, err = run(binary, *words, check=False)
        same(code, expected, f"the exit code of {words}")
        true(out or err, f"{words} says nothing")
        if expected != FINE:
            same(out, b"", "standard output")


def test_check_config(t):
    """check-config is silent about good settings, and names every fault of bad ones with FILE:LINE:COL."""
    guard = t.prepare()
    same(guard.cli("check-config"), (FINE, ""), "good settings")
    guard.file.write_text(
        "hostname: mx.example.net\nhostname: mx2.example.net\ndomains: {relay: example.net, relais: []}\n"
        "limits:\n  idle: 5 minutes\n  errors: many\nscreen: &anchor {helo: perhaps}\n"
    )
    code, out = guard.cli("check-config")
    same(code, SETTINGS, "the exit code")
    for place in (":2:1: ", ":3:31: ", ":5:9: ", ":6:11: ", ":7:9: "):
        has(out, f"{guard.file}{place}")
    has(out, 'did you mean "relay"?')


def test_config_show(t):
    """config show prints every setting, and where it comes from, in a form that can be read again."""
    pair = certificate.make(t.dir, "mx")
    guard = t.prepare(limits={"recipients": 77}, tls={"cert": str(pair.cert), "key": str(pair.key)})
    code, out = guard.cli("config", "show")
    same(code, FINE, "the exit code")
    line = next(line for line in out.splitlines() if line.strip().startswith("recipients: 77"))
    has(line, "smtpguard.yaml:")
    guard.file.write_text(out)
    same(guard.cli("check-config"), (FINE, ""), "what config show printed")


def test_hostile_report(t):
    """report show: whatever a report holds, the terminal that shows it obeys nothing."""
    names = "\u009b31mEvil\u202e&#10;Ltd\u0085\u2028\u00e4"
    file = t.dir / "report.xml"
    file.write_text(
        "<feedback><report_metadata><org_name>%s</org_name></report_metadata><record><row><source_ip>%s</source_ip>"
        "</row><identifiers><header_from>%s</header_from></identifiers></record></feedback>" % (names, names, names),
        encoding="utf-8",
    )
    code, text, _ = run(t.house.binary, "report", "show", file)
    same(code, FINE, "the exit code")
    same(text.decode().count("?31mEvil??Ltd??ä"), 3, "names made harmless")
    code, text, _ = run(t.house.binary, "report", "show", "--json", file)
    has(text.decode(), r"\u009b31mEvil\u202e\u000aLtd\u0085\u2028ä")


def test_sink(t):
    """sink, the recording backend of `make run`, keeps what it gets through smtpguard."""
    port, maildir = free_port(), t.dir / "mail"
    sink = Daemon(
        [t.house.binary, "sink", "--listen", f"127.0.0.1:{port}", "--maildir", maildir], t.dir / "sink.log"
    )
    sink.logs = lambda: {"sink": sink.log.read_text()}
    sink.address = f"127.0.0.1:{port}"
    sink.start()
    t.started.append(sink)
    sink.wait_until(lambda: listens(port), "it listened")
    guard, mail = t.guard(sink), message()
    with Client(guard.port, GOOD) as client:
        client.envelope("alice@good.test", "bob@example.net")
        starts(client.data(mail), "250 ")
    kept = wait_for(lambda: list((maildir / "new").iterdir()), "a message in the sink")
    has(kept[0].read_bytes(), mail)
