"""DMARC's counters, and the reports made of them: equal to the message; and who gets none."""

import collections
import concurrent.futures
import email
import email.policy
import gzip
import ipaddress
import json
import os
import re
import shutil
import sqlite3
import subprocess
import time
import xml.etree.ElementTree as ET
from dataclasses import dataclass, replace

from lib.check import Skipped, has, same, starts, true, wait_for
from lib.mail import message, signed
from lib.nameserver import NameServer
from lib.process import free_port, has_ipv6, run
from lib.turned_clock import TurnedClock
from lib.world import BOT, GOOD, GOOD_IPV6, OTHER, Host

DAY_S = 86400
HOST = "reports.example.net"
FROM = f"reports@{HOST}"
RFC9990 = "{urn:ietf:params:xml:ns:dmarc-2.0}"
NAMES = ("header_from", "envelope_from", "envelope_to")


# ---- the domains, and who writes in their names ----


def name_server(t, policies, more=""):
    """The world, and these domains with these DMARC records. 127.0.1.1 and ::1 send for each, and the key of
    good.test signs."""
    key = t.world.zone.partition("rsa._domainkey.good.test.")[2].partition("\n")[0]
    lines = "".join(
        f'{domain}. TXT "v=spf1 ip4:127.0.1.1 ip6:::1 -all"\n{domain}. MX 10 mx.good.test.\n'
        f'_dmarc.{domain}. TXT "v=DMARC1; {policy}"\nrsa._domainkey.{domain}. {key}\n'
        for domain, policy in policies.items()
    )
    number = next(t.numbers)
    return t.start(NameServer(t.dir / f"dns{number}", f"{t.world.zone}\n{lines}{more}\n"))


def consents(host, *domains):
    """`host` takes the reports about these domains."""
    return "".join(f'{domain}._report._dmarc.{host}. TXT "v=DMARC1"\n' for domain in domains)


@dataclass(frozen=True)
class Mail:
    """So many messages like this, and what the report must say: disposition, DKIM, SPF, reason, results."""

    count: int
    host: Host
    sender: str
    author: str
    row: tuple
    signer: str = ""
    changed: bool = False  # after it was signed
    helo: str = ""
    reply: str = "250 "

    def text(self, t, recipient):
        text = message(sender=self.author, recipient=recipient)
        if self.signer:
            text = signed(text, t.world.good_rsa, "rsa", domain=self.signer)
        listed = b"List-Id: Talk of the town <talk.other.test>\r\nSubject: [list] "
        return text.replace(b"Subject: ", listed, 1) if self.changed else text

    def reported(self):
        """The record's key, as rows_of() has it."""
        disposition, dkim, spf, reason, results = self.row
        header_from, envelope_from = (name.rpartition("@")[2] for name in (self.author, self.sender))
        names = (header_from, envelope_from, "example.net")
        return (self.host.address, disposition, dkim, spf, reason, *names, results)


def passing(domain, count=1, host=GOOD, reply="250 "):
    row = ("none", "fail", "pass", "", f"spf=pass ({domain})")
    return Mail(count, host, f"a@{domain}", f"a@{domain}", row, reply=reply)


def forged(domain, disposition, reply="250 ", reason="", count=1):
    """By a host that nobody has named."""
    row = (disposition, "fail", "fail", reason, f"spf=fail ({domain})")
    return Mail(count, OTHER, f"x@{domain}", f"x@{domain}", row, reply=reply)


def own_signature(domain, count):
    row = ("none", "pass", "pass", "", f"dkim=pass ({domain} rsa) spf=pass ({domain})")
    return Mail(count, GOOD, f"a@{domain}", f"a@{domain}", row, signer=domain)


def by_a_list(domain, disposition, reason=""):
    """The list vouches for itself by SPF; the author's signature has not survived it."""
    row = (disposition, "fail", "fail", reason, f"dkim=fail ({domain} rsa) spf=pass (other.test)")
    return Mail(1, OTHER, "bounces@other.test", f"a@{domain}", row, signer=domain, changed=True)


REFUSED = "550 5.7.1 Refused by the DMARC policy of "
NOBODY = ("none", "fail", "fail", "")
MIXED = {
    "watch.test": [
        passing("watch.test", 3),
        own_signature("watch.test", 2),
        *([passing("watch.test", 2, GOOD_IPV6)] if has_ipv6() else []),  # else test_ipv6_client says so
        forged("watch.test", "none"),
        by_a_list("watch.test", "none"),
        # The null sender: SPF is that of HELO, which may be aligned or not.
        Mail(1, OTHER, "", "a@watch.test", (*NOBODY, "spf=none (mx.other.test)")),
        Mail(
            2,
            GOOD,
            "",
            "a@watch.test",
            ("none", "fail", "pass", "", "spf=pass (mx.watch.test)"),
            helo="mx.watch.test",
        ),
        # Somebody else signs.
        Mail(
            2,
            OTHER,
            "x@other.test",
            "a@watch.test",
            (*NOBODY, "dkim=pass (good.test rsa) spf=pass (other.test)"),
            signer="good.test",
        ),
    ],
    "mark.test": [
        own_signature("mark.test", 2),
        forged("mark.test", "quarantine", count=2),
        by_a_list("mark.test", "quarantine"),
    ],
    "refuse.test": [
        own_signature("refuse.test", 3),
        forged("refuse.test", "reject", REFUSED, count=2),
        by_a_list("refuse.test", "quarantine", "mailing_list"),
        # A subdomain, which passes by its parent, or not.
        Mail(
            1,
            GOOD,
            "a@refuse.test",
            "a@news.refuse.test",
            ("none", "fail", "pass", "", "spf=pass (refuse.test)"),
        ),
        Mail(
            1,
            OTHER,
            "x@other.test",
            "a@news.refuse.test",
            ("quarantine", "fail", "fail", "", "spf=pass (other.test)"),
        ),
        # Somebody vouches, but the client has no name.
        Mail(
            1,
            BOT,
            "x@other.test",
            "a@refuse.test",
            ("reject", "fail", "fail", "", "dkim=pass (good.test rsa) spf=fail (other.test)"),
            signer="good.test",
            reply=REFUSED,
        ),
    ],
    "try.test": [forged("try.test", "none", reason="other")],  # p=quarantine; t=y
}
NOT_COUNTED = [
    Mail(1, GOOD, "alice@good.test", "x@quarantine.test", ()),  # nobody asks for reports
    Mail(1, OTHER, "x@other.test", "x@other.test", ()),  # no DMARC
]


def policies(boxes):
    words = {
        "watch.test": "p=none",
        "mark.test": "p=quarantine",
        "refuse.test": "p=reject; sp=quarantine",
        "try.test": "p=quarantine; t=y",
    }
    return {domain: f"{words[domain]}; rua=mailto:{boxes[domain]}" for domain in words}


def mixed_world(t, boxes):
    names = 'mx.watch.test. A 127.0.1.1\nmx.watch.test. TXT "v=spf1 a -all"\nnews.refuse.test. A 127.0.1.1\n'
    return name_server(t, policies(boxes), names + consents("example.net", *MIXED))


def boxes_of(t):
    return {domain: t.recipient() for domain in MIXED}


def expected(mails, hosts=1):
    """The rows of a report, of whose mail `hosts` smtpguards have got all."""
    return collections.Counter({mail.reported(): hosts * mail.count for mail in mails})


def total(domain):
    return sum(mail.count for mail in MIXED[domain])


# ---- a day ----


def reporter(
    t, dns, backend=None, host="mx.example.net", suppress=(), aggregate=None, clock=None, **sections
):
    """An smtpguard that counts; nothing but DMARC decides."""
    if clock is None and time.time() % DAY_S > DAY_S - 60:  # a day that ends meanwhile is two days
        wait_for(lambda: time.time() % DAY_S < 60, "midnight", 70)
    port = free_port()
    guard = t.prepare(
        backend,
        dns,
        hostname=host,
        listen=both_families(port),
        greylist={"mode": "off"},
        reports={
            "from": FROM,
            "org_name": "Exämple <Net>",
            "aggregate": {"enabled": True, "at": "00:00", **(aggregate or {})},
            "suppress": list(suppress),
        },
        **sections,
    )
    guard.port = port
    guard.daemon.environment.update(clock.environment if clock else {})
    return t.start(guard)


def both_families(port):
    listeners = [{"name": "mx", "address": f"127.0.0.1:{port}", "role": "mx", "tls": "none"}]
    if has_ipv6():
        listeners.append({**listeners[0], "name": "mx6", "address": f"[::1]:{port}"})
    return listeners


def play(t, guard, mails, recipient):
    """Each kind of mail in a session of its own, whose replies must be those expected."""
    for mail in mails:
        text = mail.text(t, recipient)
        with guard.client(mail.host) as client:
            client.ehlo(mail.helo or None)
            for _ in range(mail.count):
                client.say(f"MAIL FROM:<{mail.sender}>", "250 ")
                client.say(f"RCPT TO:<{recipient}>", "250 ")
                starts(client.data(text), mail.reply)


def date(days_ago=0):
    return time.strftime("%Y-%m-%d", time.gmtime(time.time() - days_ago * DAY_S))


def answer(guard, *words, code=0, stdin=b""):
    """What a verb answers with --json."""
    got, text = guard.cli(*words, "--json", stdin=stdin)
    same(got, code, f"exit code of {' '.join(words)}: {text}")
    return json.loads(text)


def listed(guard, day):
    """{domain: (messages, accepted, passed, rows)} of a day."""
    code, text = guard.cli("report", "list", "--day", day, "--json")
    true(code in (0, 1), f"report list ended with {code}: {text}")
    return {
        line["domain"]: tuple(line[name] for name in ("messages", "accepted", "passed", "rows"))
        for line in json.loads(text)["domains"]
    }


def sums(domain, hosts=1):
    """What the list must say of a domain, of whose mail `hosts` smtpguards have got all."""
    mails = MIXED[domain]
    accepted = sum(mail.count for mail in mails if mail.reply.startswith("250"))
    passed = sum(mail.count for mail in mails if "pass" in mail.row[1:3])
    return tuple(hosts * number for number in (total(domain), accepted, passed, len(mails)))


def export(guard):
    code, text = guard.cli("report", "export")
    same(code, 0, text)
    return text


def moved(rows, days):
    """An export whose days are so many earlier: the first four octets of each row's key."""
    return re.sub(r"(?m)^[0-9a-f]{8}", lambda m: f"{int(m[0], 16) - days:08x}", rows)


def make_yesterday(guard):
    """What was counted today happened yesterday as well."""
    answer(guard, "report", "import", stdin=moved(export(guard), 1).encode())


def preview(guard, domain, day, form="rfc7489"):
    code, text = guard.cli("report", "preview", "--day", day, "--format", form, domain)
    same(code, 0, text)
    return text.encode()


# ---- a report ----


def rows_of(xml):
    """Its records as {(source, disposition, DKIM, SPF, reason, three names, results): messages}."""
    root = ET.fromstring(xml)
    for element in root.iter():
        element.tag = element.tag.removeprefix(RFC9990)
    rows = collections.Counter()
    for record in root.iter("record"):
        done = [record.findtext(f"row/policy_evaluated/{name}") for name in ("disposition", "dkim", "spf")]
        reason = record.findtext("row/policy_evaluated/reason/type", "")
        names = [record.findtext(f"identifiers/{name}") for name in NAMES]
        results = " ".join(result_of(result) for result in record.find("auth_results"))
        key = (record.findtext("row/source_ip"), *done, reason, *names, results)
        true(key not in rows, f"two rows of {key}")
        rows[key] = int(record.findtext("row/count"))
    return rows


def result_of(element):
    names = [element.findtext(name) for name in ("domain", "selector") if element.find(name) is not None]
    return f"{element.tag}={element.findtext('result')} ({' '.join(names)})"


def shown(guard, file):
    """The same as `report show` reads it."""
    code, out, err = run(guard.binary, "report", "show", "--json", file, check=False)
    same(code, 0, err)
    columns = ("source_ip", "disposition", "dkim", "spf", "reason", *NAMES, "results")
    records = json.loads(out)["records"]
    return collections.Counter({tuple(row[name] for name in columns): int(row["count"]) for row in records})


def as_rfc9990(mails):
    """That shape has a word for what an enforcing policy let pass, and one for the testing mode."""
    rows = collections.Counter()
    for mail in mails:
        source, disposition, dkim, spf, reason, header_from, *rest = mail.reported()
        if "pass" in (dkim, spf) and not header_from.endswith("watch.test"):
            disposition = "pass"
        reason = "policy_test_mode" if reason == "other" else reason
        rows[(source, disposition, dkim, spf, reason, header_from, *rest)] = mail.count
    return rows


def report_in(raw):
    """The mail, and the name and octets of what is attached."""
    mail = email.message_from_bytes(raw, policy=email.policy.SMTP)
    kinds = [part.get_content_type() for part in mail.walk()]
    same(kinds, ["multipart/mixed", "text/plain", "application/gzip"], "the mail's parts")
    part = list(mail.iter_attachments())[-1]
    return mail, part.get_filename(), part.get_payload(decode=True)


# ---- counting ----


def test_mixed_traffic(t):
    """`report list` and both shapes of `report preview` count each message of mixed traffic into Postfix."""
    guard = reporter(t, mixed_world(t, boxes_of(t)))
    bob, today = t.recipient(), date()
    for mails in (*MIXED.values(), NOT_COUNTED):
        play(t, guard, mails, bob)
    accepted = sum(sums(domain)[1] for domain in MIXED) + len(NOT_COUNTED)
    same(len(t.postfix.deliveries(bob, accepted)), accepted, "messages in the mailbox")
    same(listed(guard, today), {domain: sums(domain) for domain in MIXED}, "report list")
    for domain, mails in MIXED.items():
        for form, wanted in (("rfc7489", expected(mails)), ("rfc9990", as_rfc9990(mails))):
            xml = preview(guard, domain, today, form)
            same(rows_of(xml), wanted, f"{domain} in the shape of {form}")
            file = guard.dir / f"{domain}.xml"
            file.write_bytes(xml)
            same(shown(guard, file), wanted, f"report show of {domain} in the shape of {form}")
            told = answer(guard, "report", "preview", "--day", today, "--format", form, domain)
            same((told["messages"], told["xml"].encode()), (sums(domain)[0], xml), "report preview --json")


def test_ipv6_client(t):
    """A client of IPv6 is counted under its address, in the form of RFC 5952."""
    if not has_ipv6():
        raise Skipped("this machine has no ::1")
    guard, mails = reporter(t, mixed_world(t, boxes_of(t))), [passing("watch.test", 2, GOOD_IPV6)]
    play(t, guard, mails, t.recipient())
    same(rows_of(preview(guard, "watch.test", date())), expected(mails), "the rows")


def test_quarantine_by_refusal(t):
    """Where the settings refuse what p=quarantine asks to mark, the report says reject, by local policy."""
    backend = t.backend()
    guard = reporter(t, mixed_world(t, boxes_of(t)), backend, dmarc={"quarantine": "reject"})
    mail = forged("mark.test", "reject", REFUSED, "local_policy")
    play(t, guard, [mail], "bob@example.net")
    same(rows_of(preview(guard, "mark.test", date())), expected([mail]), "the rows")


def test_backend_refuses(t):
    """A message that the backend refuses is counted, and not as accepted."""
    backend = t.backend(dot="554 5.7.1 I do not like it")
    guard = reporter(t, mixed_world(t, boxes_of(t)), backend)
    play(t, guard, [passing("watch.test", 2, reply="554 5.7.1 ")], "bob@example.net")
    same(listed(guard, date()), {"watch.test": (2, 0, 2, 1)}, "report list")


def test_recording_is_off(t):
    """With reports.aggregate.enabled false nothing is counted."""
    backend = t.backend()
    guard = reporter(t, mixed_world(t, boxes_of(t)), backend, aggregate={"enabled": False})
    play(t, guard, [passing("watch.test", 2)], "bob@example.net")
    code, text = guard.cli("report", "list")
    same((code, text), (1, ""), "report list")


def test_mail_about_reports(t):
    """Reports that come, bounces of ours, and mail in our own name are not counted: it would never end."""
    backend = t.backend()
    words = {"watch.test": "p=none; rua=mailto:x@watch.test", HOST: "p=none; rua=mailto:y@z.test"}
    guard = reporter(
        t, name_server(t, words), backend, domains={"relay": ["example.net", HOST]}
    )
    subject = "Report Domain: example.net Submitter: watch.test Report-ID: <1@watch.test>"
    bounce = 'multipart/report; report-type=delivery-status; boundary="b"'
    ours = "reports+x=watch.test@reports.example.net"
    for recipient, text in (
        ("bob@example.net", message(sender="a@watch.test", subject=subject)),
        ("bob@example.net", message(sender="a@watch.test", Content_Type=bounce)),
        (ours, message(sender="a@watch.test")),
        ("bob@example.net", message(sender=FROM)),
        ("bob@example.net", message(sender="a@watch.test")),  # this one is
    ):
        with guard.client(GOOD) as client:
            client.envelope("a@watch.test", recipient)
            starts(client.data(text), "250 ")
    same(len(backend.messages), 5, "messages at the backend")
    same(listed(guard, date()), {"watch.test": (1, 1, 1, 1)}, "report list")


# ---- power cuts, and a store that is away ----


def test_killed_after_each_250(t):
    """Killed with SIGKILL 20 times, each time right after the client's 250: not one message is missing."""
    backend = t.backend()
    guard = reporter(t, mixed_world(t, boxes_of(t)), backend, runtime={"workers": 1})
    text = message(sender="a@watch.test")
    for _ in range(20):
        with guard.client(GOOD) as client:
            client.envelope("a@watch.test", "bob@example.net")
            starts(client.data(text), "250 ")
            guard.kill()
        guard.start_again()
    same(listed(guard, date()), {"watch.test": (20, 20, 20, 1)}, "report list")


def test_store_is_away(t):
    """While somebody else holds the store, mail has its 250 within a second; it is counted when he lets go."""
    backend = t.backend()
    guard = reporter(t, mixed_world(t, boxes_of(t)), backend, store={"timeout": "50ms"})
    mails = [passing("watch.test")]
    play(t, guard, mails, "bob@example.net")
    same(listed(guard, date()), {"watch.test": (1, 1, 1, 1)}, "report list")
    holder = sqlite3.connect(guard.dir / "state/state.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with guard.client(GOOD) as client:
        client.ehlo()
        for _ in range(3):
            client.say("MAIL FROM:<a@watch.test>", "250 ")
            client.say("RCPT TO:<bob@example.net>", "250 ")
            client.say("DATA", "354 ")
            begun = time.monotonic()
            client.send(mails[0].text(t, "bob@example.net") + b".\r\n")
            starts(client.read(), "250 ")
            true(time.monotonic() - begun < 1, "the 250 took a second")
    holder.execute("ROLLBACK")
    holder.close()
    wait_for(lambda: listed(guard, date())["watch.test"] == (4, 4, 4, 1), "the counts of what came meanwhile")


def test_import_beside_the_daemon(t):
    """While `report import` and `report list` work on its store the daemon counts on, and nothing is lost."""
    guard = reporter(t, mixed_world(t, boxes_of(t)), t.backend())
    play(t, guard, [passing("watch.test")], "bob@example.net")
    first, *rows, _, _ = export(guard).split("\n")
    rows = [moved(row, days) for days in range(2, 5000) for row in rows]
    file = "\n".join([first, *rows, f"end {len(rows)}", ""]).encode()
    count = 1
    with concurrent.futures.ThreadPoolExecutor() as pool:
        imported = pool.submit(answer, guard, "report", "import", stdin=file)
        while not imported.done():
            play(t, guard, [passing("watch.test", 20)], "bob@example.net")
            code, said = guard.cli("report", "list", "--day", date())
            true(code == 0, f"report list ended with {code}: {said}")
            count += 20
    same(imported.result(), {"rows": len(rows), "news": len(rows)}, "the import")
    wait_for(lambda: listed(guard, date())["watch.test"][0] == count, f"{count} messages in the list")


def test_files_that_are_no_export(t):
    """What is not whole, no export, or of the future is refused with its line and 65, and the store stays as it is."""
    guard = reporter(t, mixed_world(t, boxes_of(t)), t.backend())
    play(t, guard, [passing("watch.test"), own_signature("mark.test", 1)], "bob@example.net")
    counted(guard, date(), {"watch.test": (1, 1, 1, 1), "mark.test": (1, 1, 1, 1)})
    whole = export(guard)
    first, row, *rest = whole.splitlines()
    cases = {  # what is imported: the complaint
        "": "line 0: the file ends too early",
        first + "\n": "line 1: the file ends too early",
        whole.replace("history 2", "history 1"): "line 1: this is no export",
        opendmarc_message(0, "x.test"): "line 1: this is no export",
        whole.replace(row, row + "0"): "line 2: this is no row",
        whole.replace(row, row[:-2] + "00"): "line 2: this is no row",
        whole.replace(row, ""): "line 2: this is no row",
        whole.replace(row, "\0"): "line 2: it is cut",
        whole.replace(row, row * 50): "line 2: it is cut, or too long",
        moved(whole, -3): "line 2: this is no row of the history, or one of the future",
        whole.replace(row + "\n", ""): "rows are missing",
        whole[: whole.index("end ")]: "the file ends too early",
        whole[:-1]: "it is cut",
    }
    for text, complaint in cases.items():
        code, said = guard.cli("report", "import", stdin=text.encode())
        same(code, 65, f"exit code of the import that shall say {complaint}")
        has(said, complaint)
    same(export(guard), whole, "the store afterwards")


def test_expire(t):
    """report expire forgets the days that are older, whole, and no other."""
    guard = reporter(t, mixed_world(t, boxes_of(t)), t.backend())
    play(t, guard, [passing("watch.test")], "bob@example.net")
    counted(guard, date(), {"watch.test": (1, 1, 1, 1)})
    today = export(guard)
    for days in range(1, 6):
        answer(guard, "report", "import", stdin=moved(today, days).encode())
    same(answer(guard, "report", "expire", "--keep", "2"), {"rows": 3 * 3}, "three days of a count, a record and a tally")
    days = [line["day"] for line in answer(guard, "report", "list")["domains"]]
    same(days, [date(2), date(1), date(0)], "the days that are left")
    same(answer(guard, "report", "expire", "--keep", "2"), {"rows": 0}, "the second time")


def opendmarc_message(number, domain, received=None, aligned=4, result=0, action=2):
    """A message of OpenDMARC's history file."""
    received = int(time.time()) - DAY_S if received is None else received
    return (
        f"job {number}\nreporter mx1\nreceived {received}\nipaddr 192.0.2.1\nfrom {domain}\nmfrom {domain}\n"
        f"spf {result}\npdomain {domain}\npolicy 15\nrua mailto:dmarc@{domain}\npct 100\nadkim 114\naspf 115\n"
        f"p 113\nsp 0\nalign_dkim 5\nalign_spf {aligned}\naction {action}\ndkim {domain} s1 2\n"
    )


def test_import_from_opendmarc(t):
    """OpenDMARC's history counts like our own messages: once, though the file comes again, and has grown."""
    guard = t.prepare()
    now = int(time.time())
    file = [
        opendmarc_message(1, "a.test"),
        opendmarc_message(2, "a.test"),
        opendmarc_message(3, "a.test", aligned=5, result=7, action=0),
        opendmarc_message(4, "b.test").replace("rua mailto:dmarc@b.test", "rua -"),
        opendmarc_message(5, "c.test", received=now + 5 * DAY_S),
        "unknown line\n",
    ]
    grown = [*file, opendmarc_message(6, "a.test")]
    for lines, messages, rows in ((file, 5, (3, 2, 2, 2)), (file, 5, (3, 2, 2, 2)), (grown, 6, (4, 3, 3, 2))):
        said = answer(guard, "report", "import", "--from", "opendmarc", "-", stdin="".join(lines).encode())
        same(said, {"messages": messages, "skipped": 2, "rows": 2}, "the import")
        same(listed(guard, date(1)), {"a.test": rows}, "report list")
    names = ("a.test", "a.test", None)
    wanted = {
        ("192.0.2.1", "none", "fail", "pass", "", *names, "dkim=fail (a.test s1) spf=pass (a.test)"): 3,
        ("192.0.2.1", "reject", "fail", "fail", "", *names, "dkim=fail (a.test s1) spf=fail (a.test)"): 1,
    }
    xml = preview(guard, "a.test", date(1))
    same(dict(rows_of(xml)), wanted, "the report")
    policy = ET.fromstring(xml).find("policy_published")
    got = [policy.findtext(name) for name in ("p", "sp", "adkim", "aspf")]
    same(got, ["quarantine", "quarantine", "r", "s"], "the policy")
    code, said = guard.cli("report", "import", "--from", "opendmarc", "-", stdin=b"hello\n")
    same(code, 65, said)


# ---- reports that are sent ----


def check_report(guard, raw, domain, box, wanted, day=None):
    """The mail that brings a domain's report for a day, by default yesterday."""
    mail, name, packed = report_in(raw)
    metadata = ET.fromstring(gzip.decompress(packed)).find("report_metadata")
    begin = (int(time.time()) // DAY_S - 1 if day is None else day) * DAY_S
    report_id = metadata.findtext("report_id")
    subject = f"Report Domain: {domain} Submitter: {HOST} Report-ID: <{report_id}@{HOST}>"
    same(mail["Subject"], subject, "Subject")
    fields = (mail["From"].addresses[0].addr_spec, mail["To"], mail["Auto-Submitted"])
    same(fields, (FROM, box, "auto-generated"), "From, To and Auto-Submitted")
    true(
        re.fullmatch(rf"reports\.example\.net!{domain}!{begin}!{begin + DAY_S - 1}!\w+\.xml\.gz", name),
        f"the file is called {name}",
    )
    same(metadata.findtext("org_name"), "Exämple <Net>", "who reports")
    file = guard.dir / name
    file.write_bytes(packed)
    same(rows_of(gzip.decompress(packed)), wanted, f"the report about {domain}")
    same(shown(guard, file), wanted, f"report show of the report about {domain}")


def fates(said):
    """What `report send` says, as {domain: fate}."""
    return {report["domain"]: report["fate"] for report in said["reports"]}


def test_three_hosts(t):
    """Three hosts count; one merges, and sends one mail a domain through Postfix, equal to the message."""
    boxes = boxes_of(t)
    dns = mixed_world(t, boxes)
    guards = [reporter(t, dns, host=f"mx{i}.example.net") for i in (1, 2, 3)]
    bob, one, yesterday = t.recipient(), guards[0], date(1)
    for mails in MIXED.values():
        play(t, guards[1], [replace(mail, count=1) for mail in mails], bob)
    early = moved(export(guards[1]), 1).encode()
    for mails in MIXED.values():
        play(t, guards[1], [replace(mail, count=mail.count - 1) for mail in mails if mail.count > 1], bob)
        for guard in (guards[0], guards[2]):
            play(t, guard, mails, bob)
    answer(one, "report", "import", stdin=early)  # what is imported may have grown when it comes again
    exports = [moved(export(guard), 1).encode() for guard in guards]
    for rows in exports:
        true(answer(one, "report", "import", stdin=rows)["news"] > 0, "an import without news")
    merged = export(one)
    for rows in exports:
        same(answer(one, "report", "import", stdin=rows)["news"], 0, "news in the second import")
    same(export(one), merged, "the store after the second import")
    same(listed(one, yesterday), {domain: sums(domain, 3) for domain in MIXED}, "report list")
    first, second = (answer(one, "report", "send", "--day", yesterday) for _ in range(2))
    same(fates(first), dict.fromkeys(MIXED, "sent"), "the first sending")
    same(fates(second), dict.fromkeys(MIXED, "finished"), "the second sending")
    status = answer(one, "report", "status", "--day", yesterday)
    same((status["today"], status["sending"]), (len(MIXED), "on"), f"reports begun today, of {status}")
    (day,) = status["days"]
    same((day["day"], day["domains"], day["sent"], day["pending"]), (yesterday, len(MIXED), len(MIXED), 0), "the status")
    for domain, mails in MIXED.items():
        delivery = t.postfix.delivery(boxes[domain])
        user = boxes[domain].partition("@")[0]
        same(delivery.sender, f"reports+{user}=example.net@reports.example.net", "the envelope sender")
        check_report(one, delivery.message, domain, boxes[domain], expected(mails, hosts=3))


def test_two_senders_at_once(t):
    """Two processes that send on one store at the same time send each report once."""
    backend = t.backend()
    domains = [f"d{i}.test" for i in range(30)]
    dns = name_server(t, {domain: f"p=none; rua=mailto:dmarc@{domain}" for domain in domains})
    guard = reporter(t, dns, backend)
    play(t, guard, [passing(domain) for domain in domains], "bob@example.net")
    make_yesterday(guard)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        said = list(pool.map(lambda _: answer(guard, "report", "send"), range(2)))
    same(sum(one["fates"]["sent"] for one in said), len(domains), "reports sent, as both say")
    same(reports_at(backend), sorted(f"dmarc@{domain}" for domain in domains), "reports at the backend")


def reports_at(backend):
    """To whom reports went."""
    return sorted(
        after.removeprefix("RCPT TO:<").removesuffix(">")
        for commands in backend.sessions
        for before, after in zip(commands, commands[1:])
        if before.startswith("MAIL FROM:<reports+")
    )


# ---- every day ----


def next_morning(guard):
    """Today's counts become yesterday's, and smtpguard starts when they are due; returns its log of them."""
    make_yesterday(guard)
    guard.stop()
    guard.start_again()
    guard.event(event="reports")
    return {line["domain"]: line for line in guard.events(event="report")}


def test_daily_sender(t):
    """The daemon itself sends yesterday's reports when they are due, logs each, and sends none again."""
    boxes = boxes_of(t)
    guard = reporter(t, mixed_world(t, boxes))
    bob = t.recipient()
    for mails in MIXED.values():
        play(t, guard, mails, bob)
    lines = next_morning(guard)
    for domain, mails in MIXED.items():
        line = lines[domain]
        same(
            (line["level"], line["action"], line["messages"], line["to"]),
            ("info", "sent", total(domain), boxes[domain]),
            f"the log line of {domain}",
        )
        raw = t.postfix.delivery(boxes[domain]).message
        has(raw.decode(), f"Message-ID: <{line['report_id']}@{HOST}>")
        check_report(guard, raw, domain, boxes[domain], expected(mails))
    has(guard.event(event="reports")["text"], "4 of 4 domains")
    guard.stop()
    guard.start_again()
    has(guard.event(event="reports")["text"], "0 of 4 domains")
    same({line["action"] for line in guard.events(event="report")}, {"finished"}, "the second run")
    same([len(t.postfix.files(box)) for box in boxes.values()], [1] * 4, "mails in the mailboxes")


def let_leases_end(guard):
    """Fifteen minutes go by: what a dead process has leased is free again (`until_unix` of report/lease.c)."""
    with sqlite3.connect(guard.dir / "state/state.db") as file:
        for key, value in file.execute("SELECT key, value FROM rows WHERE tbl = 'report'").fetchall():
            if key.startswith(b"l"):
                passed = value[:16] + (1).to_bytes(8, "little") + value[24:]
                file.execute("UPDATE rows SET value = ? WHERE tbl = 'report' AND key = ?", (passed, key))
    file.close()


def interrupted(t, end):
    """{address: Message-IDs} of 20 domains' reports, while whose sending smtpguard was ended six times like this."""
    backend = t.backend()
    domains = [f"d{i}.test" for i in range(20)]
    dns = name_server(t, {domain: f"p=none; rua=mailto:dmarc@{domain}" for domain in domains})
    guard = reporter(t, dns, backend)
    play(t, guard, [passing(domain) for domain in domains], "bob@example.net")
    make_yesterday(guard)
    guard.stop()
    for _ in range(6):
        before = len(reports_at(backend))
        guard.start_again()
        wait_for(lambda: len(reports_at(backend)) >= min(before + 2, len(domains)), "two more reports")
        end(guard)
    guard.start_again()
    guard.event(event="reports")
    ids = collections.defaultdict(list)
    for raw in backend.messages:
        mail = email.message_from_bytes(raw, policy=email.policy.SMTP)
        if str(mail["Subject"]).startswith("Report Domain:"):
            ids[mail["To"]].append(mail["Message-ID"])
    same(sorted(ids), sorted(f"dmarc@{domain}" for domain in domains), "who has a report")
    return ids


def test_killed_while_sending(t):
    """Killed with SIGKILL again and again while it sends: each report arrives, and twice only as the same one."""

    def kill(guard):
        guard.kill()
        let_leases_end(guard)

    ids = interrupted(t, kill)
    same({to: len(set(names)) for to, names in ids.items()}, dict.fromkeys(ids, 1), "Message-IDs of each")
    true(sum(map(len, ids.values())) <= len(ids) + 6, f"more than one came twice for a kill: {ids}")


def test_stopped_while_sending(t):
    """Stopped again and again while it sends: each report arrives, and none twice."""
    ids = interrupted(t, lambda guard: guard.stop())
    same({to: len(names) for to, names in ids.items()}, dict.fromkeys(ids, 1), "mails to each")


def test_dry_run(t):
    """With dry_run_dir the mails are written there and not sent; after a reload without, they are sent, and not
    again after they were switched off and on."""
    backend, boxes = t.backend(), boxes_of(t)
    folder = t.dir / "dry"
    folder.mkdir()
    shutil.chown(folder, "nobody")
    guard = reporter(t, mixed_world(t, boxes), backend, aggregate={"dry_run_dir": str(folder)})
    for mails in MIXED.values():
        play(t, guard, mails, "bob@example.net")
    lines = next_morning(guard)
    same({line["action"] for line in lines.values()}, {"written"}, "what became of the reports")
    for domain, mails in MIXED.items():
        (file,) = folder.glob(f"*!{domain}!*.eml")
        check_report(guard, file.read_bytes(), domain, boxes[domain], expected(mails))
    same(reports_at(backend), [], "reports at the backend")
    same(guard.change(reports={"aggregate": {"dry_run_dir": ""}})["event"], "reload", "the reload")
    wait_for(lambda: reports_at(backend) == sorted(boxes.values()), "the reports at the backend")
    for enabled in (False, True):
        same(guard.change(reports={"aggregate": {"enabled": enabled}})["event"], "reload", "the reload")
    wait_for(
        lambda: "0 of 4 domains" in guard.events(event="reports")[-1]["text"],
        "a run that finds everything sent",
    )
    same(reports_at(backend), sorted(boxes.values()), "reports at the backend")


def test_who_gets_none(t):
    """No report goes out without consent, or about the suppressed, those refused throughout, or ourselves."""
    cases = {  # domain: rua, what becomes of it
        "own.test": ("dmarc@own.test", "sent"),
        "parent.test": ("dmarc@deep.parent.test", "sent"),
        "agreed.test": ("box@collector.test", "sent"),
        "wild.test": ("box@service.test", "sent"),
        "victim.test": ("box@nobody.test", "no-destination"),
        "other-consent.test": ("box@agreed.test", "no-destination"),
        "unclear.test": ("box@servfail.test", "later"),
        "hushed.test": ("dmarc@hushed.test", "suppressed"),
        "deaf.test": ("dmarc@deaf.test", "suppressed"),
        "silenced.test": ("dmarc@silenced.test", "suppressed"),
        "forged.test": ("dmarc@forged.test", "all-refused"),
        "circle.test": ("dmarc@reports.example.net", "suppressed"),
        "small.test": ("dmarc@small.test!100", "too-large"),
    }
    backend = t.backend()
    dns = name_server(
        t,
        {
            domain: f"p={'reject' if domain == 'forged.test' else 'none'}; rua=mailto:{rua}"
            for domain, (rua, _) in cases.items()
        },
        consents("collector.test", "agreed.test")
        + consents("reports.example.net", "circle.test")
        + '*._report._dmarc.service.test. TXT "v=DMARC1"\n',
    )
    guard = reporter(t, dns, backend, suppress=["hushed.test", "dmarc@deaf.test"])
    said = answer(guard, "report", "suppress", "--reason", "asked us", "silenced.test")
    same(said, {"whom": "silenced.test", "suppressed": True}, "report suppress")
    for domain in cases:
        mail = forged(domain, "reject", REFUSED) if domain == "forged.test" else passing(domain)
        play(t, guard, [mail], "bob@example.net")
    lines = next_morning(guard)
    same(
        {domain: line["action"] for domain, line in lines.items()},
        {domain: fate for domain, (_, fate) in cases.items()},
        "what became of the reports",
    )
    wanted = sorted(rua for rua, fate in cases.values() if fate == "sent")
    same(reports_at(backend), wanted, "reports at the backend")
    states = {"sent": "sent", "too-large": "given-up"}
    list_of_domains = answer(guard, "report", "list", "--day", date(1))["domains"]
    same(
        {line["domain"]: line["state"] for line in list_of_domains},
        {domain: states.get(fate, "-") for domain, (_, fate) in cases.items()},
        "states in report list",
    )


# ---- days that pass ----


def at(day, hour, minute=0):
    return day * DAY_S + hour * 3600 + minute * 60


def named(day):
    return time.strftime("%Y-%m-%d", time.gmtime(day * DAY_S))


def counted(guard, when, wanted):
    """Waits until the counts of a day are these."""
    wait_for(lambda: listed(guard, when) == wanted, f"{wanted} in the list of {guard.dir.name}")


def reported(guard, day, number):
    """Waits until so many runs over this day's domains have ended; what the last one says."""

    def runs():
        return [text for text in (e["text"] for e in guard.events(event="reports")) if named(day) in text]

    wait_for(lambda: len(runs()) >= number, f"run {number} over {named(day)}")
    same(len(runs()), number, f"runs over {named(day)}")
    return runs()[-1]


def test_days_that_pass(t):
    """On a clock that is turned, the reports of three hosts, merged, go out by themselves at the set time, equal to
    the message; once, though the clock is put back; and of days on which the daemon was killed, and off when they were due."""
    clock, boxes, bob = TurnedClock(t.dir, t.house.binary.parent), boxes_of(t), t.recipient()
    day = int(time.time()) // DAY_S + 1
    clock.put(at(day, 12))
    dns, dry = mixed_world(t, boxes), t.dir / "dry"
    dry.mkdir()
    shutil.chown(dry, "nobody")
    guards = [
        reporter(
            t,
            dns,
            host=f"mx{number}.example.net",
            aggregate={"at": "00:30", "dry_run_dir": str(dry) if number > 1 else ""},
            clock=clock,
        )
        for number in (1, 2, 3)
    ]
    sender = guards[0]
    has(reported(sender, day - 1, 1), "0 of 0 domains")
    for guard in guards:
        for mails in MIXED.values():
            play(t, guard, mails, bob)
    for guard in guards:
        counted(guard, named(day), {domain: sums(domain) for domain in MIXED})

    clock.put(at(day + 1, 0, 10))  # the line of cron
    for guard in guards[1:]:
        code, rows = guard.cli("report", "export", "--day", named(day))
        same(code, 0, rows)
        answer(sender, "report", "import", stdin=rows.encode())
    clock.put(at(day + 1, 0, 30) - 1)
    has(reported(sender, day, 1), "4 of 4 domains")
    for domain, mails in MIXED.items():
        raw = t.postfix.delivery(boxes[domain]).message
        check_report(sender, raw, domain, boxes[domain], expected(mails, hosts=3), day)
    moments = {event["ts"] for event in sender.events(event="report", action="sent")}
    true(min(moments) >= f"{named(day + 1)}T00:30:00", f"reports were sent at {moments}")

    clock.put(at(day, 23))
    reported(sender, day - 1, 2)
    clock.put(at(day + 1, 1))
    has(reported(sender, day, 2), "0 of 4 domains")

    play(t, sender, MIXED["watch.test"], bob)
    counted(sender, named(day + 1), {"watch.test": sums("watch.test")})
    clock.put(at(day + 2, 0, 20))
    play(t, sender, MIXED["watch.test"], bob)
    sender.kill()  # before all is counted
    clock.put(at(day + 4, 9))
    sender.start_again()
    for late in (2, 1):
        has(reported(sender, day + late, 1), "1 of 1 domains")
    for delivery in t.postfix.deliveries(boxes["watch.test"], 3):
        (number,) = re.findall(rb"<(\d+)\.\w+@", delivery.message)[:1]
        wanted = expected(MIXED["watch.test"], hosts=3 if int(number) == day * DAY_S else 1)
        check_report(sender, delivery.message, "watch.test", boxes["watch.test"], wanted, int(number) // DAY_S)
    same([len(t.postfix.files(box)) for box in boxes.values()], [3, 1, 1, 1], "mails in the mailboxes")


# ---- readers ----


def schemas(t):
    """RFC 7489's takes only eight full groups for an address of IPv6; everybody writes RFC 5952's form."""
    folder = t.conformance("dmarc-report")
    text = (folder / "rfc7489-no-namespace.xsd").read_text()
    repaired = text.replace("([A-Fa-f0-9]{1,4}:){7}[A-Fa-f0-9]{1,4}", "[A-Fa-f0-9:.]{2,45}")
    true(repaired != text, "the pattern is not in the schema")
    (t.dir / "rfc7489.xsd").write_text(repaired)
    return {"rfc7489": t.dir / "rfc7489.xsd", "rfc9990": folder / "rfc9990-draft32.xsd"}


def test_schemas(t):
    """Reports are valid by the schemas of RFC 7489 and RFC 9990, says xmllint."""
    if shutil.which("xmllint") is None:
        raise Skipped("no xmllint (package libxml2-utils)")
    schema = schemas(t)
    guard = reporter(t, mixed_world(t, boxes_of(t)), t.backend())
    for domain, mails in MIXED.items():
        play(t, guard, mails, "bob@example.net")
        for form in schema:
            file = guard.dir / f"{form}-{domain}.xml"
            file.write_bytes(preview(guard, domain, date(), form))
            run("xmllint", "--noout", "--schema", schema[form], file)


def written(t):
    """Reports about mixed traffic as `report send --dry-run` writes them: {domain: mail}."""
    guard = reporter(t, mixed_world(t, boxes_of(t)), t.backend())
    for mails in MIXED.values():
        play(t, guard, mails, "bob@example.net")
    make_yesterday(guard)
    folder = guard.dir / "dry"
    folder.mkdir()
    said = answer(guard, "report", "send", "--dry-run", str(folder))
    same(fates(said), dict.fromkeys(MIXED, "written"), "fates")
    return {domain: next(folder.glob(f"*!{domain}!*.eml")) for domain in MIXED}


def test_dmarc_cat(t):
    """dmarc-cat lists the sources and counts of each report."""
    if shutil.which("dmarc-cat") is None:
        raise Skipped("no dmarc-cat (package dmarc-cat)")
    for domain, file in written(t).items():
        _, name, packed = report_in(file.read_bytes())
        (t.dir / name).write_bytes(packed)
        # With two jobs dmarc-cat 0.15 mixes up the rows' counts now and then.
        lines = run("dmarc-cat", "-N", "-j", "1", t.dir / name)[1].decode().splitlines()
        true(any(domain in line for line in lines), f"dmarc-cat does not name {domain}: {lines}")
        rows = [line.split() for line in lines if line.startswith(("127.", "::1"))]
        got = sorted((row[0], int(row[1])) for row in rows)
        wanted = sorted((mail.host.address, mail.count) for mail in MIXED[domain])
        same(got, wanted, f"what dmarc-cat lists of {domain}")


def test_mail_dmarc(t):
    """Mail::DMARC takes each mail, and has the same messages in its database."""
    if shutil.which("dmarc_receive") is None:
        raise Skipped("no dmarc_receive (package libmail-dmarc-perl)")
    database = t.dir / "mail-dmarc.db"
    (t.dir / "mail-dmarc.ini").write_text(
        f"[report_store]\nbackend=SQL\ndsn=dbi:SQLite:dbname={database}\n"
        "[dns]\ntimeout=1\nretry=1\n[organization]\n[smtp]\n[report_sending]\n"
    )
    for file in written(t).values():
        receive(t, file)
    got = collections.Counter()
    for address, count, *row in sqlite3.connect(database).execute(
        "SELECT CAST(r.source_ip AS BLOB), r.count, d.domain, r.disposition, r.dkim, r.spf "
        "FROM report_record r JOIN report ON report.id = r.report_id "
        "JOIN domain d ON d.id = report.from_domain_id"
    ):
        got[(str(ipaddress.ip_address(address)), *row)] += count
    wanted = collections.Counter()
    for domain, mails in MIXED.items():
        for mail in mails:
            wanted[(mail.host.address, domain, *mail.row[:3])] += mail.count
    same(got, wanted, "messages in Mail::DMARC's database")


def receive(t, file):
    """It asks the DNS about each domain that it reads of."""
    done = subprocess.run(
        ["dmarc_receive", "--file", file],
        cwd=t.dir,
        capture_output=True,
        timeout=60,
        env={**os.environ, "RES_NAMESERVERS": "127.0.0.1", "RES_OPTIONS": f"port:{t.dns.port} retry:1"},
    )
    said = (done.stdout + done.stderr).decode()
    true(done.returncode == 0 and "rror" not in said, f"dmarc_receive {file}: {said}")
