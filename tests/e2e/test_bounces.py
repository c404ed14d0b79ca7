"""Reports of ours that come back to the VERP address: what is learnt of them, and of forged ones."""

import email

from lib.check import has, same, starts, wait_for
from lib.mail import message
from lib.world import GOOD
from test_failure_reports import reports_at, send
from test_reports import FROM, HOST, answer, date, make_yesterday, name_server, passing, play, reporter

POLICY = "p=none; ruf=mailto:ruf@watch.test; rua=mailto:rua@watch.test"
RELAYS = {"relay": ["example.net", HOST]}


def verp(mailbox):
    return f"reports+{mailbox}=watch.test@{HOST}"


def bounce(mail, action="failed", status="5.1.1", **fields):
    """As Postfix writes it; it brings back the header section of `mail`."""
    header = mail.partition(b"\r\n\r\n")[0].decode()
    text = message(
        sender="MAILER-DAEMON@mx.good.test",
        Auto_Submitted="auto-replied",
        **({"Content_Type": 'multipart/report; report-type=delivery-status;\r\n\tboundary="B"'} | fields),
    )
    body = (
        "--B\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\nThis is the mail system.\r\n\r\n"
        "--B\r\nContent-Type: message/delivery-status\r\n\r\n"
        "Reporting-MTA: dns; mx.good.test\r\n\r\n"
        "Final-Recipient: rfc822; somebody@watch.test\r\n"
        f"Action: {action}\r\nStatus: {status}\r\n"
        "Diagnostic-Code: smtp; 550 5.1.1 User unknown\r\n\r\n"
        f"--B\r\nContent-Type: text/rfc822-headers\r\n\r\n{header}\r\n\r\n--B--\r\n"
    )
    return text.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" + body.encode()


def deliver(guard, recipient, text, sender=""):
    with guard.client(GOOD) as client:
        client.ehlo()
        client.say(f"MAIL FROM:<{sender}>", "250 ")
        client.say(f"RCPT TO:<{recipient}>", "250 ")
        starts(client.data(text), "250 ")


def learnt(guard):
    """{whom: refusals} of the suppression list, of what was learnt."""
    rows = answer(guard, "report", "suppress")["suppressed"]
    return {row["whom"]: row["refusals"] for row in rows}


def test_failure_report_comes_back(t):
    """An mx listener counts a failure report's bounce once a day, across restarts; a forged one teaches nothing."""
    backend = t.backend()
    guard = t.guard(
        backend,
        name_server(t, {"watch.test": POLICY}),
        domains=RELAYS,
        greylist={"mode": "off"},
        reports={"from": FROM, "failure": {"enabled": True}},
    )
    send(guard, "watch.test")
    wait_for(lambda: reports_at(backend), "the report")
    (mail,) = (raw for raw in backend.messages if b"X-Report-Token: " in raw)
    token = email.message_from_bytes(mail)["X-Report-Token"]
    forged = mail.replace(token.encode(), b"0123456789abcdef")
    deliver(guard, verp("ruf"), bounce(forged))
    guard.event(event="report.not-ours", to="ruf@watch.test")
    deliver(guard, verp("victim"), bounce(mail))  # the token of another address
    guard.event(event="report.not-ours", to="victim@watch.test")
    deliver(guard, verp("ruf"), bounce(mail, "delayed", "4.4.7"))
    deliver(guard, verp("ruf"), bounce(mail, Content_Type="text/plain"))
    deliver(guard, verp("ruf"), bounce(mail), "x@good.test")  # bounces have the null sender
    deliver(guard, FROM, bounce(mail))
    same(learnt(guard), {}, "what was learnt of forged bounces, and of what is none")
    guard.kill()
    guard.start_again()
    deliver(guard, verp("ruf"), bounce(mail))
    guard.event(event="report.bounced", to="ruf@watch.test")
    deliver(guard, verp("ruf"), bounce(mail))
    wait_for(lambda: len(guard.events(event="report.bounced")) == 2, "the second bounce")
    same(learnt(guard), {"ruf@watch.test": 1}, "what was learnt of two bounces on one day")


def test_aggregate_report_comes_back(t):
    """What `report send` has sent is recognised by the daemon that has the same store."""
    backend = t.backend()
    guard = reporter(t, name_server(t, {"watch.test": POLICY}), backend, domains=RELAYS)
    play(t, guard, [passing("watch.test")], "bob@example.net")
    make_yesterday(guard)
    code, text = guard.cli("report", "send", "--day", date(1))
    same(code, 0, text)
    has(text, "sent")
    (mail,) = (raw for raw in backend.messages if b"X-Report-Token: " in raw)
    deliver(guard, verp("rua"), bounce(mail))
    guard.event(event="report.bounced", to="rua@watch.test")
    same(learnt(guard), {"rua@watch.test": 1}, "what was learnt")
