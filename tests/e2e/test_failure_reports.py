"""Failure reports: one message that failed, told to the owner of its From domain; and when nobody is told."""

import email
import email.policy
import re

from lib.check import has, same, starts, true, wait_for
from lib.mail import message, signed
from lib.world import GOOD, OTHER
from test_reports import name_server

FROM = "reports@reports.example.net"
USER = "bob@example.net"
DSN = 'multipart/report; report-type=delivery-status; boundary="b"'


def reporter(t, dns, backend, failure=None, **sections):
    reports = {"from": FROM, "org_name": "Net", "failure": {"enabled": True, **(failure or {})}}
    return t.guard(backend, dns, greylist={"mode": "off"}, reports={**reports, **sections})


def send(guard, domain, host=OTHER, sender=None, text=None, reply="250 ", to=USER):
    with guard.client(host) as client:
        client.ehlo()
        client.say(f"MAIL FROM:<{f'x@{domain}' if sender is None else sender}>", "250 ")
        client.say(f"RCPT TO:<{to}>", "250 ")
        starts(client.data(text or message(sender=f"x@{domain}")), reply)


def fates(guard, count):
    """{domain: [what became of each report]}, when there are so many."""
    wait_for(lambda: len(guard.events(event="failure-report")) >= count, f"{count} failure reports")
    told = {}
    for line in guard.events(event="failure-report"):
        told.setdefault(line["domain"], []).append(line["action"])
    return told


def reports_at(backend):
    """The reports that the backend got, parsed: (mail, note, {field: [values]}, the message's part)."""
    found = []
    for raw in backend.messages:
        mail = email.message_from_bytes(raw, policy=email.policy.SMTP)
        kind = (mail.get_content_type(), mail.get_param("report-type"))
        if kind != ("multipart/report", "feedback-report"):  # RFC 5965 2
            continue
        note, feedback, about = mail.get_payload()
        kinds = (note.get_content_type(), feedback.get_content_type())
        same(kinds, ("text/plain", "message/feedback-report"), "the first two parts (RFC 5965 2)")
        fields = {}
        # Python reads message/feedback-report as text, or as a message of header fields.
        inner = feedback.get_payload()
        inner = inner[0].as_bytes() if isinstance(inner, list) else feedback.get_payload(decode=True)
        for name, value in email.message_from_bytes(inner.strip() + b"\r\n\r\n").items():
            fields.setdefault(name, []).append(re.sub(r"\s+", " ", value))
        found.append((mail, note, fields, about))
    return found


def test_report_on_a_forged_message(t):
    """What RFC 6591 3.1 and RFC 9991 require is in the mail that the owner of a forged domain gets."""
    backend = t.backend()
    dns = name_server(t, {"watch.test": "p=reject; ruf=mailto:ruf@watch.test"})
    guard = reporter(t, dns, backend, {"redact": False})
    text = message(sender="Boss <ceo@watch.test>", recipient="Bob <bob@example.net>", subject="Pay this")
    send(guard, "watch.test", text=text, reply="550 5.7.1 ")
    same(fates(guard, 1), {"watch.test": ["sent"]}, "what became of it")
    ((mail, note, fields, about),) = reports_at(backend)
    same(
        (mail["From"].addresses[0].addr_spec, mail["To"], mail["Auto-Submitted"]),
        (FROM, "ruf@watch.test", "auto-generated"),
        "From, To, Auto-Submitted",
    )
    has(note.get_content(), "watch.test")
    once = {
        "Feedback-Type": "auth-failure",
        "Version": "1",
        "Auth-Failure": "dmarc",
        "Identity-Alignment": "none",
        "Delivery-Result": "reject",
        "Original-Mail-From": "<x@watch.test>",
        "Original-Rcpt-To": "<bob@example.net>",
        "Source-IP": OTHER.address,
        "Reported-Domain": "watch.test",
        "SPF-DNS": "txt : watch.test",
    }
    for name, value in once.items():
        same(fields.get(name), [value], name)
    starts(fields["User-Agent"][0], "smtpguard/")
    same(len(fields["Arrival-Date"]), 1, "Arrival-Date")
    (results,) = fields["Authentication-Results"]
    has(results, "spf=fail")
    has(results, "dmarc=fail")
    has(results, "header.from=watch.test")
    same(about.get_content_type(), "text/rfc822-headers", "the third part")
    shown = email.message_from_string(about.get_payload(decode=True).decode())
    same((shown["Subject"], shown["From"]), ("Pay this", "Boss <ceo@watch.test>"), "its header fields")
    true("all is well" not in backend.messages[-1].decode(), "the body was sent")
    sender = [line for lines in backend.sessions for line in lines if line.startswith("MAIL FROM:<reports")]
    same(len(sender), 1, "senders")
    starts(sender[0], "MAIL FROM:<reports+ruf=watch.test@reports.example.net>")


def test_redacted(t):
    """By default the local parts of addresses are replaced, the same one by the same word."""
    backend = t.backend()
    guard = reporter(t, name_server(t, {"watch.test": "p=none; ruf=mailto:ruf@watch.test"}), backend)
    text = message(sender="Boss <ceo@watch.test>", recipient="bob@example.net", Cc="bob@example.net")
    send(guard, "watch.test", text=text)
    fates(guard, 1)
    ((_, _, fields, about),) = reports_at(backend)
    shown = email.message_from_string(about.get_payload(decode=True).decode())
    true(re.fullmatch(r"Boss <x[0-9a-f]{8}@watch\.test>", shown["From"]), f"From: {shown['From']}")
    true(re.fullmatch(r"x[0-9a-f]{8}@example\.net", shown["To"]), f"To: {shown['To']}")
    same(shown["To"], shown["Cc"], "one address, one word")
    true(re.fullmatch(r"<x[0-9a-f]{8}@example\.net>", fields["Original-Rcpt-To"][0]), "Original-Rcpt-To")
    same(fields["Delivery-Result"], ["delivered"], "Delivery-Result")


def test_with_the_body(t):
    """`body: true` sends the message's beginning, too; a broken signature is told by fo=d."""
    backend = t.backend()
    guard = reporter(
        t, name_server(t, {"watch.test": "p=none; fo=d; ruf=mailto:ruf@watch.test"}), backend, {"body": True}
    )
    text = signed(message(sender="a@watch.test"), t.world.good_rsa, "rsa", domain="watch.test")
    send(guard, "watch.test", GOOD, "a@watch.test", text)  # nothing to tell
    send(guard, "watch.test", GOOD, "a@watch.test", text.replace(b"all is well", b"all is lost"))
    same(fates(guard, 1), {"watch.test": ["sent"]}, "what became of it")
    ((_, _, fields, about),) = reports_at(backend)
    same(fields["Auth-Failure"], ["signature"], "Auth-Failure")
    same((fields["DKIM-Domain"], fields["DKIM-Selector"]), (["watch.test"], ["rsa"]), "the signature")
    same(about.get_content_type(), "message/rfc822", "the third part")
    has(about.get_payload()[0].get_payload(), "all is lost")


def test_through_postfix(t):
    """A report goes through Postfix to the mailbox that has consented to take it."""
    box = t.recipient()
    consent = 'watch.test._report._dmarc.example.net. TXT "v=DMARC1"\n'
    guard = reporter(t, name_server(t, {"watch.test": f"p=none; ruf=mailto:{box}"}, consent), None)
    send(guard, "watch.test", to=t.recipient())
    delivery = t.postfix.delivery(box)
    mail = email.message_from_bytes(delivery.message, policy=email.policy.SMTP)
    same(mail.get_content_type(), "multipart/report", "the mail's type")


def test_nobody_is_told(t):
    """Nothing about a public suffix, bounces, machines' mail, reports, without consent, or to the suppressed."""
    backend = t.backend()
    dns = name_server(
        t,
        {
            "suffix.test": "p=none; psd=y; ruf=mailto:ruf@suffix.test",
            "watch.test": "p=none; ruf=mailto:ruf@watch.test",
            "victim.test": "p=none; ruf=mailto:ruf@nobody.test",
            "hushed.test": "p=none; ruf=mailto:ruf@hushed.test",
            "silenced.test": "p=none; ruf=mailto:ruf@silenced.test",
            "last.test": "p=none; ruf=mailto:ruf@last.test",
            "quiet.test": "p=none; rua=mailto:rua@quiet.test",
        },
    )
    guard = reporter(t, dns, backend, suppress=["hushed.test"])
    same(guard.cli("report", "suppress", "ruf@silenced.test")[0], 0, "report suppress")
    send(guard, "suffix.test")
    send(guard, "quiet.test")
    send(guard, "watch.test", GOOD)  # it passes
    send(guard, "watch.test", sender="")
    send(guard, "watch.test", text=message(sender="x@watch.test", Auto_Submitted="auto-replied"))
    send(guard, "watch.test", text=message(sender="x@watch.test", Content_Type=DSN))
    for domain in ("victim.test", "hushed.test", "silenced.test", "last.test"):
        send(guard, domain)
    wanted = {
        "victim.test": ["no-destination"],
        "hushed.test": ["suppressed"],
        "silenced.test": ["suppressed"],
        "last.test": ["sent"],
    }
    same(fates(guard, 4), wanted, "what became of the reports")
    same([fields["Reported-Domain"] for _, _, fields, _ in reports_at(backend)], [["last.test"]], "reports")


def test_limits(t):
    """A domain gets so many an hour, and another one still gets its own."""
    backend = t.backend()
    dns = name_server(t, {f"{name}.test": f"p=none; ruf=mailto:ruf@{name}.test" for name in ("one", "two")})
    guard = reporter(t, dns, backend, {"per_domain_per_hour": 2})
    for domain in (*["one.test"] * 5, "two.test"):
        send(guard, domain)
    told = fates(guard, 6)
    same(sorted(told["one.test"]), ["limited"] * 3 + ["sent"] * 2, "reports to one.test")
    same(told["two.test"], ["sent"], "reports to two.test")
    same(len(reports_at(backend)), 3, "reports at the backend")
