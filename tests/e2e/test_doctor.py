"""`smtpguard doctor`: what is wrong with a host, and what to do."""

import json

from lib import certificate
from lib.check import has, same
from lib.process import free_port
from lib.scripted_dns import ScriptedDns

HOST = {"mx.example.net": {"A": ["192.0.2.25"]}, "25.2.0.192.in-addr.arpa": {"PTR": ["mx.example.net"]}}
LIST = {"zone": "bl.test", "score": 8, "codes": ["127.0.0.2-127.0.0.11"]}
WELL = {"2.0.0.127.bl.test": {"A": ["127.0.0.2", "127.0.0.10"]}}


def examined(t, table, **sections):
    """Exit code, and the findings as (level, part, finding, advice); addresses of this machine are left out."""
    server = t.start(ScriptedDns())
    server.table = table
    guard = t.prepare(nameserver=server, **sections)
    code, out = guard.cli("doctor", "--json")
    found = json.loads(out)
    same(found["result"], "sick" if code == 1 else "well", "the result in words")
    return code, [tuple(check[key] for key in ("level", "part", "finding", "advice")) for check in found["checks"]
                  if check["part"] != "names" or "mx.example.net" in check["finding"]]


def finding(findings, part, words):
    """The one finding with these words, as (level, advice)."""
    matching = [entry for entry in findings if entry[1] == part and words in entry[2]]
    same(len(matching), 1, f"findings of {part} with {words!r} in {findings}")
    return matching[0][0], matching[0][3]


def with_tls(t, name="good", **options):
    made = certificate.make(t.dir, name, **options)
    return {"tls": {"cert": str(made.cert), "key": str(made.key)},
            "listen": [{"name": "mx", "address": f"127.0.0.1:{free_port()}", "role": "mx", "tls": "starttls"}]}


def test_doctor_finds_a_well_host(t):
    """On a host where all is well the doctor warns of nothing, and ends with 0."""
    code, findings = examined(t, {**HOST, **WELL}, dnsbl={"lists": [LIST]}, **with_tls(t))
    same([entry for entry in findings if entry[0] != "OK"], [], "complaints")
    same(code, 0, "the exit code")
    for part, words in (("resolver", "on this machine"), ("resolver", "it answers"), ("names", "has an address"),
                        ("names", "192.0.2.25 is mx.example.net, and back"), ("list", "bl.test passes"),
                        ("tls", "names mx.example.net"), ("tls", "fits"), ("tls", "the certificate is good for"), ("store", "can be written by nobody"),
                        ("spool", "can be written by nobody"), ("backend", "XCLIENT"), ("backend", "8BITMIME"), ("backend", "PIPELINING")):
        finding(findings, part, words)


def test_doctor_finds_what_is_wrong(t):
    """Each fault of DNS, names, lists, certificate, files and backend has its line, and what to do about it."""
    table = {**HOST, "mx.example.net": {"AAAA": ["2001:db8::25"]}, "1.0.0.127.bl.test": {"A": ["127.0.0.2"]}}
    backend = t.backend(ehlo="250-backend.test\r\n250 SIZE 1000")
    code, findings = examined(t, table, dnsbl={"lists": [LIST]}, backend=backend,
                              store={"url": f"sqlite:{t.dir}/absent/state.db"}, limits={"spool_dir": str(t.dir)},
                              **with_tls(t, "other", host="other.test"))
    same(code, 1, "the exit code")
    for level, part, words, advice in (
            ("WARN", "list", "it lists 127.0.0.1, and so everybody", "dnsbl.lists"),
            ("WARN", "tls", "does not name mx.example.net", "get one for this name"),
            ("FAIL", "store", "absent: No such file", "install -d -o nobody"),
            ("FAIL", "spool", "is not writable for nobody", "install -d -m 700 -o nobody"),
            ("FAIL", "backend", "does not offer us XCLIENT", "smtpd_authorized_xclient_hosts"),
            ("WARN", "backend", "does not offer 8BITMIME", "8-bit"),
            ("WARN", "backend", "does not offer PIPELINING", "round trips"),
            ("WARN", "backend", "takes 1000 octets a message", "limits.message_size")):
        got, what_to_do = finding(findings, part, words)
        same(got, level, words)
        has(what_to_do, advice)


def test_doctor_when_nobody_answers(t):
    """A resolver and a backend that are not there are failures that are found in time, each with its advice."""
    class Nobody:
        address = f"127.0.0.1:{free_port()}"

    guard = t.prepare(nameserver=Nobody, backend=Nobody, dns={"timeout": "200ms", "tries": 1})
    code, out = guard.cli("doctor")
    same(code, 1, "the exit code")
    has(out, "FAIL  resolver  no answer to a question (")
    has(out, "FAIL  backend   " + Nobody.address + ": Connection refused")
    has(out, "-> start the resolver, or correct dns.servers")
    same(guard.cli("doctor", "--wrong")[0], 64, "the exit code of a wrong option")


def test_doctor_looks_at_reports(t):
    """Who sends reports hears whether their domain has SPF, a DMARC record without rua=, and bounces that come here."""
    reports = {"from": "dmarc@reports.example.net", "aggregate": {"enabled": True}}
    well = {"reports.example.net": {"TXT": ["v=spf1 ip4:192.0.2.25 -all"], "MX": ["10 mx.example.net"]},
            "_dmarc.reports.example.net": {"TXT": ["v=DMARC1; p=reject"]}}
    here = {"relay": ["example.net", "reports.example.net"]}
    _, findings = examined(t, {**HOST, **well}, reports=reports, domains=here)
    same([entry[0] for entry in findings if entry[1] == "reports"], ["OK"] * 3, f"the reports' part of {findings}")
    _, findings = examined(t, HOST, reports=reports)
    for words, advice in (("no SPF record", "names this host"), ("no DMARC record", "without rua="), ("no MX", "leads here")):
        level, what_to_do = finding(findings, "reports", words)
        same(level, "WARN", words)
        has(what_to_do, advice)
    well["_dmarc.reports.example.net"]["TXT"] = ["v=DMARC1; p=reject; rua=mailto:dmarc@reports.example.net"]
    _, findings = examined(t, {**HOST, **well}, reports=reports)
    for words in ("has rua=", "is not taken here"):
        same(finding(findings, "reports", words)[0], "WARN", words)
    _, findings = examined(t, HOST)
    same([entry for entry in findings if entry[1] == "reports"], [], "findings without reports")
