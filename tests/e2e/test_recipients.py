"""Recipients while the mail server behind us is away: a backup MX that never bounces."""

from lib.backend import Backend
from lib.check import has, has_not, same, starts, wait_for
from lib.mail import message
from lib.process import free_port
from lib.world import GOOD


def rcpt(guard, recipient, reply):
    with guard.client(GOOD) as client:
        client.envelope("alice@good.test")
        return client.say(f"RCPT TO:<{recipient}>", reply)


def without_greylist(t, backend, **domains):
    return t.guard(backend, greylist={"mode": "off"}, domains=domains)


def test_postfix_goes_away(t):
    """Whom Postfix did not know is 550 while it is away, also after a restart of ours; whom it knew, and whom it was never asked for, is 451."""
    bob = t.recipient()
    guard = without_greylist(t, None)
    said = rcpt(guard, "nobody@example.net", "550 5.1.1 ")
    rcpt(guard, bob, "250 ")
    guard.kill()
    guard.settings["backends"] = [{"address": f"127.0.0.1:{free_port()}"}]
    guard.write()
    guard.start_again()
    same(rcpt(guard, "nobody@EXAMPLE.net", "550 5.1.1 "), f"{said} (remembered)", "the answer")
    rcpt(guard, bob, "451 4.3.0 ")
    rcpt(guard, "undecided@example.net", "451 4.3.0 ")
    line = guard.event(event="rcpt", reply=550)
    same((line["action"], line["check"]), ("reject", "backend"), "the refusal in the log")


def test_it_comes_back(t):
    """When the backend is there again its word holds: a user that is new is taken, and no message was lost or bounced meanwhile."""
    port = free_port()
    backend = t.start(Backend(port, rcpt="550 5.1.1 No such user"))
    guard = without_greylist(t, backend)
    guard.change(backends=[{"address": backend.address, "connect_timeout": "1s"}])
    rcpt(guard, "new@example.net", "550 5.1.1 No such user")
    backend.stop()
    rcpt(guard, "new@example.net", "550 5.1.1 No such user (remembered)")
    again = t.start(Backend(port))
    with guard.client(GOOD) as client:
        client.envelope("alice@good.test", "new@example.net")
        starts(client.data(message()), "250 ")
    again.message()
    again.stop()
    rcpt(guard, "new@example.net", "451 4.3.0 ")


def test_any(t):
    """With recipients: any nothing is remembered: while the backend is away everybody is 451."""
    backend = t.backend(rcpt="550 5.1.1 No such user")
    guard = without_greylist(t, backend, recipients="any")
    rcpt(guard, "nobody@example.net", "550 5.1.1 ")
    backend.stop()
    rcpt(guard, "nobody@example.net", "451 4.3.0 ")


def test_file(t):
    """With recipients: file:PATH who is not in it is 550 without the backend's word, whether it is there or not; a change of the file counts at once."""
    listed = t.dir / "recipients"
    listed.write_text("bob@example.net\n", encoding="ascii")
    backend = t.backend()
    guard = without_greylist(t, backend, recipients=f"file:{listed}")
    rcpt(guard, "nobody@example.net", "550 5.1.1 ")
    rcpt(guard, "Bob+lists@Example.net", "250 ")
    rcpt(guard, "postmaster@example.net", "250 ")
    has_not("".join(line for session in backend.sessions for line in session), "nobody@")
    listed.write_text("bob@example.net\nnobody@example.net\n", encoding="ascii")
    wait_for(lambda: guard.reloads(), "the reload")
    rcpt(guard, "nobody@example.net", "250 ")
    backend.stop()
    rcpt(guard, "bob@example.net", "451 4.3.0 ")
    rcpt(guard, "carol@example.net", "550 5.1.1 ")


def test_file_that_is_being_written(t):
    """A file that was emptied, or goes on being written, refuses nobody: what was read before holds until it is whole."""
    listed = t.dir / "recipients"
    listed.write_text("bob@example.net\n", encoding="ascii")
    guard = without_greylist(t, t.backend(), recipients=f"file:{listed}")
    with listed.open("w", encoding="ascii") as file:
        faults = wait_for(lambda: guard.events(event="reload.fault"), "what is wrong with an empty file")
        has(faults[0]["text"], "names nobody: all mail would be refused")
        rcpt(guard, "bob@example.net", "250 ")
        file.write("carol@example.net\nbob@example.net\n")
    wait_for(lambda: guard.events(event="reload"), "the reload")
    rcpt(guard, "bob@example.net", "250 ")
    rcpt(guard, "carol@example.net", "250 ")
