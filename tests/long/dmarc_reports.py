#!/usr/bin/python3
"""Aggregate reports from the history of OpenDMARC to the mailbox, and what their readers say to them.

A day of messages is imported, merged on three hosts, sent through a backend, received and counted again. Each report
is checked against the rules by which parsedmarc takes reports, validated against its schema (xmllint), listed by
dmarc-cat and stored by Mail::DMARC, where these are installed."""

import collections
import email
import email.policy
import gzip
import ipaddress
import json
import os
import pathlib
import random
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import xml.etree.ElementTree as ET

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "e2e"))
sys.path.insert(0, str(HERE.parent / "lib"))

from lib.process import free_port  # noqa: E402

BUILD = pathlib.Path(os.environ.get("BUILD", "build/release")).resolve()
PROGRAM = BUILD / "smtpguard"
SCHEMAS = pathlib.Path(os.environ.get("SMTPGUARD_CONFORMANCE", HERE.parents[2] / "shared/conformance")) / "dmarc-report"
NAMESPACE = "{urn:ietf:params:xml:ns:dmarc-2.0}"

passed = failed = skipped = 0
TODAY = int(time.time()) // 86400
DAY = TODAY - 1  # the last whole one
DATE = time.strftime("%Y-%m-%d", time.gmtime(DAY * 86400))


def check(what, holds, detail=""):
    global passed, failed
    passed, failed = passed + bool(holds), failed + (not holds)
    if not holds:
        print(f"FAILED {what}: {detail}"[:2000])


def skip(what):
    global skipped
    skipped += 1
    print(f"SKIP: {what}")


def run(*words, stdin=b"", codes=(0,)):
    done = subprocess.run([str(word) for word in words], input=stdin, capture_output=True, timeout=300)
    check(" ".join(map(str, words))[:150], done.returncode in codes,
          f"exit code {done.returncode}: {done.stderr.decode(errors='replace')[-1000:]}")
    return done.stdout


# ---- what is reported ----

RESULTS = {0: "pass", 2: "softfail", 3: "neutral", 4: "temperror", 5: "permerror", 6: "none", 7: "fail"}
ACTIONS = {0: "reject", 2: "none", 4: "quarantine"}


def make_messages(count, seed):
    """Messages as OpenDMARC's history has them; names hold what a stranger may put there."""
    rng = random.Random(seed)
    names = ["", "bounce.example.org", "m\u00fcnchen.example", "a\x01\x02b.example", "<b>&\".example", "]]>.example"]
    sources = [f"192.0.2.{i}" for i in range(50)] + [str(ipaddress.ip_address(f"2001:db8::{i:x}")) for i in range(50)]
    return [{"domain": rng.choice(["example.org", "example.org", "example.com", "many.example"]),
             "ip": rng.choice(sources) if rng.random() < 0.9 else str(ipaddress.ip_address(rng.getrandbits(32))),
             "mfrom": rng.choice(names), "spf": rng.choice(sorted(RESULTS)), "action": rng.choice(sorted(ACTIONS)),
             "dkim_aligned": rng.random() < 0.5, "spf_aligned": rng.random() < 0.5, "dkim": rng.choice(sorted(RESULTS)),
             "selector": rng.choice(["s1", "a" * 60])} for _ in range(count)]


def history_file(messages, host):
    text = []
    for i, m in enumerate(messages):
        text.append(f"job {host}{i:06}\nreporter {host}\nreceived {DAY * 86400 + i % 86400}\nipaddr {m['ip']}\n"
                    f"from {m['domain']}\nmfrom {m['mfrom']}\nspf {m['spf']}\n"
                    f"dkim {m['domain']} {m['selector']} {m['dkim']}\npdomain {m['domain']}\npolicy 15\n"
                    f"rua mailto:dmarc@{m['domain']}\npct 100\nadkim 114\naspf 115\np 113\nsp 0\n"
                    f"align_dkim {4 if m['dkim_aligned'] else 5}\nalign_spf {4 if m['spf_aligned'] else 5}\n"
                    f"arc 7\narc_policy 2 json:[]\naction {m['action']}\n")
    return "".join(text).encode()


def expected(messages, domain):
    """Source, disposition and aligned results of each message, counted."""
    return collections.Counter((m["ip"], ACTIONS[m["action"]], m["dkim_aligned"], m["spf_aligned"])
                               for m in messages if m["domain"] == domain)


def reported(root, space):
    counts = collections.Counter()
    for record in root.iter(f"{space}record"):
        row = record.find(f"{space}row")
        done = row.find(f"{space}policy_evaluated")
        disposition = done.findtext(f"{space}disposition")
        counts[(row.findtext(f"{space}source_ip"), "none" if disposition == "pass" else disposition,
                done.findtext(f"{space}dkim") == "pass", done.findtext(f"{space}spf") == "pass")] += \
            int(row.findtext(f"{space}count"))
    return counts


# ---- the rules of parsedmarc, and of others who read reports ----

WORDS = {
    "result dkim": {"none", "pass", "fail", "policy", "neutral", "temperror", "permerror"},
    "result spf": {"none", "pass", "fail", "softfail", "neutral", "temperror", "permerror"},
    "reasons 7489": {"forwarded", "sampled_out", "trusted_forwarder", "mailing_list", "local_policy", "other"},
    "reasons 9990": {"local_policy", "mailing_list", "policy_test_mode", "trusted_forwarder", "other"},
}


def faults_of(xml, shape):
    """What parsedmarc and other readers would not take, as sentences."""
    space = NAMESPACE if shape == "rfc9990" else ""
    faults = []

    def want(holds, what):
        if not holds:
            faults.append(what)

    text = xml.decode("utf-8", errors="strict")
    want(text.startswith('<?xml version="1.0" encoding="UTF-8"?>\n<feedback'), "declaration, newline, <feedback>")
    want("xs:schema" not in text, "no schema inside")
    root = ET.fromstring(text)
    want(root.tag == f"{space}feedback", f"the root is {root.tag}")
    want(root.findtext(f"{space}version") == "1.0", "version 1.0")
    meta = root.find(f"{space}report_metadata")
    for name in ("org_name", "email", "report_id"):
        want(meta.findtext(f"{space}{name}"), f"{name} is empty")
    want(re.fullmatch(r"[A-Za-z0-9.-]+", meta.findtext(f"{space}report_id") or ""), "report_id is a dot-atom")
    begin, end = (meta.findtext(f"{space}date_range/{space}{name}") for name in ("begin", "end"))
    want(begin.isdigit() and end.isdigit() and 0 < int(end) - int(begin) <= 86400, "at most 24 hours, in integers")
    policy = root.find(f"{space}policy_published")
    for name in ("domain", "adkim", "aspf", "p", "sp", "fo"):
        want(policy.findtext(f"{space}{name}"), f"policy_published has no {name}")
    only = {"pct"} if shape == "rfc7489" else {"np", "testing", "discovery_method"}
    names = {child.tag.removeprefix(space) for child in policy}
    want(names == {"domain", "adkim", "aspf", "p", "sp", "fo"} | only, f"policy_published has {names}")
    records = root.findall(f"{space}record")
    want(records, "at least one record")
    seen = set()
    for record in records:
        key = ET.tostring(record)
        key = re.sub(rb"<[^>]*count>\d+</[^>]*count>", b"", key)
        want(key not in seen, "equal rows are one row with a count")
        seen.add(key)
        ipaddress.ip_address(record.findtext(f"{space}row/{space}source_ip"))
        want(int(record.findtext(f"{space}row/{space}count")) > 0, "count")
        done = record.find(f"{space}row/{space}policy_evaluated")
        dispositions = {"none", "quarantine", "reject"} | ({"pass"} if shape == "rfc9990" else set())
        want(done.findtext(f"{space}disposition") in dispositions, "disposition")
        want({done.findtext(f"{space}dkim"), done.findtext(f"{space}spf")} <= {"pass", "fail"}, "pass or fail")
        for reason in done.findall(f"{space}reason"):
            want(reason.findtext(f"{space}type") in WORDS[f"reasons {shape[3:]}"], "reason type")
        want(record.findtext(f"{space}identifiers/{space}header_from"), "header_from")
        want(record.find(f"{space}identifiers/{space}envelope_from") is not None, "envelope_from")
        results = record.find(f"{space}auth_results")
        want(len(results), "auth_results is empty")
        for result in results:
            kind = result.tag.removeprefix(space)
            want(result.findtext(f"{space}result") in WORDS[f"result {kind}"], f"{kind} result")
            want(result.find(f"{space}domain") is not None, f"{kind} domain")
            want(kind != "dkim" or result.find(f"{space}selector") is not None, "dkim selector")
            want(kind != "spf" or shape == "rfc9990" or result.findtext(f"{space}scope") in ("helo", "mfrom"), "scope")
    return sorted(set(faults))


def patched_schema(folder):
    """RFC 7489's pattern takes eight full groups of IPv6 only; everybody sends RFC 5952's form."""
    text = (SCHEMAS / "rfc7489-no-namespace.xsd").read_text()
    patched = text.replace("([A-Fa-f0-9]{1,4}:){7}[A-Fa-f0-9]{1,4}", "[A-Fa-f0-9:.]{2,45}")
    check("the pattern is in the schema", patched != text)
    path = folder / "rfc7489.xsd"
    path.write_text(patched)
    return path


def validate(folder, xml, shape):
    if shutil.which("xmllint") is None or not SCHEMAS.is_dir():
        skip(f"xmllint or the schema of {shape} is not there")
        return
    schema = patched_schema(folder) if shape == "rfc7489" else SCHEMAS / "rfc9990-draft32.xsd"
    path = folder / "report.xml"
    path.write_bytes(xml)
    run("xmllint", "--noout", "--schema", schema, path)


# ---- hosts ----

def preview(store, domain, shape):
    return run(PROGRAM, "report", "preview", "--store", store, "--day", DATE, "--format", shape, "--from",
               "dmarc@reports.example.net", "--org-name", "Exämple <Org>", domain)


def merge_hosts(folder, messages):
    """Three hosts, each with a third of the day; the first one gets the others' rows, twice."""
    stores = [f"sqlite:{folder}/mx{i}.db" for i in range(3)]
    for i, store in enumerate(stores):
        file = folder / f"mx{i}.history"
        file.write_bytes(history_file(messages[i::3], f"mx{i}"))
        run(PROGRAM, "report", "import", "--store", store, "--hostname", f"mx{i}", "--from", "opendmarc", file)
    for store in stores[1:] * 2:
        rows = run(PROGRAM, "report", "export", "--store", store, "--day", DATE)
        run(PROGRAM, "report", "import", "--store", stores[0], stdin=rows)
    check("a file that ends too early is said to", b"" == run(PROGRAM, "report", "import", "--store", stores[0],
                                                           stdin=rows[:-8], codes=(65,)))
    return stores[0]


class Sink:
    """smtpguard's own backend, and the mails that it got."""

    def __init__(self, folder):
        self.folder = folder / "mail"
        self.port = free_port()
        self.process = subprocess.Popen([PROGRAM, "sink", "--listen", f"127.0.0.1:{self.port}", "--maildir", self.folder],
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(500):
            try:
                __import__("socket").create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                time.sleep(0.01)

    def mails(self):
        return [email.message_from_bytes(path.read_bytes(), policy=email.policy.SMTP)
                for path in sorted((self.folder / "new").iterdir())]

    def stop(self):
        self.process.terminate()
        self.process.wait()


def send(store, sink, shape, dns, codes=(0,)):
    said = run(PROGRAM, "report", "send", "--json", "--store", store, "--day", DATE, "--from",
               "dmarc@reports.example.net", "--backend", f"127.0.0.1:{sink.port}", "--dns", dns, "--format", shape,
               codes=codes)
    return json.loads(said)


def attachment(mail):
    parts = list(mail.walk())
    check("multipart/mixed: a note and a gzip file", [part.get_content_type() for part in parts] ==
          ["multipart/mixed", "text/plain", "application/gzip"], mail.as_bytes()[:500])
    check("name= and filename= are the same", parts[2].get_param("name") == parts[2].get_filename())
    check("the note is not a failure report's",
          "A message claiming to be from you has failed" not in parts[1].get_content())
    return parts[2].get_filename(), parts[2].get_payload(decode=True)


def check_mail(mail, messages, shape):
    space = NAMESPACE if shape == "rfc9990" else ""
    name, packed = attachment(mail)
    xml = gzip.decompress(packed)
    root = ET.fromstring(xml)
    domain = root.findtext(f"{space}policy_published/{space}domain")
    report_id = root.findtext(f"{space}report_metadata/{space}report_id")
    check("the subject", mail["Subject"] == f"Report Domain: {domain} Submitter: reports.example.net Report-ID: "
          f"<{report_id}@reports.example.net>", mail["Subject"])
    check("the file name", re.fullmatch(rf"reports\.example\.net!{re.escape(domain)}!{DAY * 86400}!"
                                        rf"{DAY * 86400 + 86399}![A-Za-z0-9]+\.xml\.gz", name), name)
    check("Auto-Submitted", mail["Auto-Submitted"] == "auto-generated")
    check(f"{domain}: the counts are those of the messages", reported(root, space) == expected(messages, domain),
          f"{sum(reported(root, space).values())} of {sum(expected(messages, domain).values())}")
    check(f"{domain}: readers take it", not faults_of(xml, shape), faults_of(xml, shape))
    return name, packed


def by_dmarc_cat(folder, name, packed):
    if shutil.which("dmarc-cat") is None:
        skip("dmarc-cat is not installed")
        return
    path = folder / name
    path.write_bytes(packed)
    said = run("dmarc-cat", "-N", path)  # without looking up the names of addresses
    check("dmarc-cat lists it", b"192.0.2." in said, said[:300])


def by_mail_dmarc(folder, mails):
    if shutil.which("dmarc_receive") is None:
        skip("Mail::DMARC is not installed")
        return
    (folder / "mail-dmarc.ini").write_text(f"[report_store]\nbackend=SQL\ndsn=dbi:SQLite:dbname={folder}/mail-dmarc.db\n"
                                           "[dns]\ntimeout=1\nretry=1\n[organization]\n[smtp]\n[report_sending]\n")
    for i, mail in enumerate(mails):
        path = folder / f"mail{i}.eml"
        path.write_bytes(mail.as_bytes())
        # It asks the DNS about each domain: here, of somebody who answers at once, or not at all.
        done = subprocess.run(["dmarc_receive", "--file", str(path)], cwd=folder, capture_output=True, timeout=120,
                              env={**os.environ, "RES_NAMESERVERS": "127.0.0.1", "RES_OPTIONS": "retry:1 retrans:1"})
        check("Mail::DMARC takes it", done.returncode == 0 and b"rror" not in done.stderr, (done.stdout + done.stderr)[-800:])
    rows = subprocess.run(["perl", "-MDBI", "-e", f'print DBI->connect("dbi:SQLite:dbname={folder}/mail-dmarc.db")'
                           '->selectrow_array("SELECT count(*) FROM report")'], capture_output=True).stdout
    check("Mail::DMARC has stored it", rows == str(len(mails)).encode(), rows)


# ---- the tests ----

def test_day(folder):
    """A day on three hosts, merged, sent, received: equal to the message."""
    messages = make_messages(3000, 1)
    store = merge_hosts(folder, messages)
    dns = f"127.0.0.1:{free_port()}"  # nobody answers there; nobody needs to
    for domain in ("example.org", "example.com", "many.example"):
        for shape in ("rfc7489", "rfc9990"):
            xml = preview(store, domain, shape)
            space = NAMESPACE if shape == "rfc9990" else ""
            check(f"{domain} {shape}: readers take it", not faults_of(xml, shape), faults_of(xml, shape))
            check(f"{domain} {shape}: counts", reported(ET.fromstring(xml), space) == expected(messages, domain))
            check(f"{domain} {shape}: again, it is the same", preview(store, domain, shape) == xml)
            validate(folder, xml, shape)
    sink = Sink(folder)
    try:
        told = send(store, sink, "rfc7489", dns)
        check("three reports are sent", told["fates"]["sent"] == 3, told)
        check("a second run sends nothing", send(store, sink, "rfc7489", dns)["fates"]["finished"] == 3)
        mails = sink.mails()
        check("three mails came", len(mails) == 3, len(mails))
        for mail in mails:
            name, packed = check_mail(mail, messages, "rfc7489")
            by_dmarc_cat(folder, name, packed)
        by_mail_dmarc(folder, mails)
    finally:
        sink.stop()


def test_two_senders(folder):
    """Several processes at once on one store: each report once."""
    store = f"sqlite:{folder}/state.db"
    file = folder / "many.history"
    file.write_bytes(b"".join(history_file([dict(m, domain=f"d{i}.example")], f"h{i}-")
                              for i, m in enumerate(make_messages(40, 2)) if m["action"] != 0))
    run(PROGRAM, "report", "import", "--store", store, "--from", "opendmarc", file)
    sink, dns, told = Sink(folder), f"127.0.0.1:{free_port()}", []
    try:
        workers = [threading.Thread(target=lambda: told.append(send(store, sink, "rfc7489", dns))) for _ in range(3)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        ids = [mail["Message-ID"] for mail in sink.mails()]
        wanted = file.read_bytes().count(b"job ")
        check("each report once", len(ids) == len(set(ids)) == wanted, f"{len(ids)} mails, {len(set(ids))} ids, {wanted}")
        check("and all of them know", sum(t["fates"]["sent"] for t in told) == wanted, told)
    finally:
        sink.stop()


def test_many_rows(folder):
    """10,000 rows; what is beyond is left out, and said to be."""
    store = f"sqlite:{folder}/state.db"
    messages = [dict(m, domain="big.example", ip=f"10.1.{i // 250}.{i % 250}")
                for i, m in enumerate(make_messages(10100, 3))]
    file = folder / "big.history"
    file.write_bytes(history_file(messages, "big"))
    run(PROGRAM, "report", "import", "--store", store, "--from", "opendmarc", file)
    for shape in ("rfc7489", "rfc9990"):
        xml = preview(store, "big.example", shape)
        check("10,000 records", xml.count(b"<record>") == 10000, xml.count(b"<record>"))
        check("readers take it", not faults_of(xml, shape), faults_of(xml, shape))
        validate(folder, xml, shape)


def main():
    if not PROGRAM.exists():
        sys.exit(f"{PROGRAM} is not built")
    for test in (test_day, test_two_senders, test_many_rows):
        with tempfile.TemporaryDirectory() as folder:
            test(pathlib.Path(folder))
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
