"""The control socket, and the verbs that ask by it: status, reload, drain."""

import json
import os
import signal
import socket
import stat

from lib.check import has, same, starts, true, wait_for
from lib.mail import message
from lib.process import Daemon, free_port, run, tail
from lib.world import GOOD, OTHER

FINE, NO, UNREACHABLE, SETTINGS = 0, 1, 69, 78


def controlled(t, **sections):
    """An smtpguard with a control socket, in a folder that its user may write to."""
    guard = t.prepare(**sections)
    guard.settings["admin"]["socket"] = f"{guard.dir}/state/control.sock"
    guard.write()
    return t.start(guard)


def path_of(guard):
    return guard.settings["admin"]["socket"]


def status(guard):
    code, text = guard.cli("status", "--json")
    same(code, FINE, f"the exit code of status, which says {text!r}")
    return json.loads(text)


def test_status(t):
    """status tells of the process, the settings, sessions, messages, backends, store, DNS and lists."""
    lists = [{"zone": "bl.test", "score": 8, "codes": ["127.0.0.2"]}]
    guard = controlled(t, dnsbl={"lists": lists})
    with guard.client(GOOD) as client:
        client.envelope("alice@good.test", t.recipient())
        starts(client.data(message()), "250 ")
        now = status(guard)
        same(now["sessions"], {"open": 1, "begun": 1, "refused": 0, "now": {"idle": 1}}, "sessions")
        client.envelope("alice@good.test", t.recipient())
        with guard.client(OTHER) as other:
            other.ehlo()
            same(status(guard)["sessions"]["now"], {"idle": 1, "transaction": 1}, "what they do")
            has(guard.cli("status")[1], "  now      idle 1, transaction 1\n")
        client.quit()
    same(now["pid"], guard.daemon.process.pid, "the process")
    same((now["workers"], now["silent_workers"], now["draining"]), (2, 0, False), "the process")
    same(now["settings"]["file"], str(guard.file), "the file")
    same(now["settings"]["last_reload_failed"], False, "the reload")
    same(now["listeners"], [{"name": "mx", "address": f"127.0.0.1:{guard.port}", "role": "mx"}], "listeners")
    same((now["messages"]["accept"], now["messages"]["reject"]), (1, 0), "messages")
    same(now["backends"], [{"address": t.postfix.address, "up": True, "opened": 1}], "backends")
    same((now["store"], now["dns"]), ({"available": True, "shared": "no"}, {"sick_workers": 0}), "store and DNS")
    same([one["zone"] for one in now["lists"]], ["bl.test"], "lists")
    code, text = guard.cli("status")
    same(code, FINE, "the exit code")
    for words in (f"process {now['pid']}, up ", "sessions ", "accept 1, reject 0", f"{t.postfix.address} up", "bl.test"):
        has(text, words)


def test_top(t):
    """top shows the status with what happens a second; the daemon may go and come back meanwhile."""
    guard = controlled(t)
    code, text = guard.cli("top", "--once")
    same(code, FINE, "the exit code")
    for words in ("sessions   0 open", "a second   0.0 sessions, accept 0.0, reject 0.0"):
        has(text, words)
    code, text = guard.cli("top", "--json")
    same((code, json.loads(text)["pid"]), (FINE, guard.daemon.process.pid), "the answer as JSON")
    top = Daemon([guard.binary, "top", "--socket", path_of(guard)], guard.dir / "top.log")
    top.start()
    try:
        wait_for(lambda: tail(top.log).count("a second ") >= 2, "the second picture")
        guard.kill()
        wait_for(lambda: "no daemon can be asked" in tail(top.log), "a word about the daemon that has gone")
        guard.start_again()
        wait_for(lambda: f"process {guard.daemon.process.pid}," in tail(top.log), "the daemon that is back")
    finally:
        top.kill()
    same(run(guard.binary, "top", "--once", "--socket", f"{guard.dir}/nothing", check=False)[0], UNREACHABLE, "without one")


def test_status_tells_of_lists_that_are_off(t):
    """A list that fails its test is shown as off, and so it is in the metrics; after a reload without it, it is neither."""
    lists = [{"zone": zone, "score": 8, "codes": ["127.0.0.2"]} for zone in ("bl.test", "empty.test")]
    guard = controlled(t, dnsbl={"lists": lists}, admin={"http": f"127.0.0.1:{free_port()}"})
    wanted = [{"zone": "bl.test", "off": False}, {"zone": "empty.test", "off": True}]
    wait_for(lambda: status(guard)["lists"] == wanted, "the list to be off")
    wait_for(lambda: guard.metric('smtpguard_dnsbl_off{list="empty.test"}') == 2, "both workers")
    has(guard.cli("status")[1], "empty.test OFF")
    same(guard.change(dnsbl={"lists": lists[:1]})["event"], "reload", "the reload")
    wait_for(lambda: guard.metric('smtpguard_dnsbl_off{list="empty.test"}') == 0, "nobody to miss it")
    same(status(guard)["lists"], wanted[:1], "the lists that are left")


def test_reload_by_order(t):
    """reload says that the new settings are in force, or every fault of theirs, and the old ones stay."""
    guard = controlled(t)
    guard.settings["hostname"] = "mx3.example.net"
    guard.write()
    same(guard.cli("reload"), (FINE, f"{guard.file} is in force\n"), "the reload")
    wait_for(lambda: guard.client(GOOD).greeting.startswith("220 mx3."), "the new name")
    has(guard.event(event="order")["text"], "reload, by user 0, process ")
    good = guard.file.read_text()
    guard.settings["limits"]["recipients"] = 0
    guard.settings["hostname"] = "-"
    guard.write()
    code, text = guard.cli("reload")
    same(code, SETTINGS, "the exit code for faults")
    lines = text.splitlines()
    same(len(lines), 2, "faults")
    for line, key in zip(lines, ("hostname", "limits.recipients")):
        true(line.startswith(f"{guard.file}:") and f": {key}: " in line, f"not FILE:LINE:COL: {key}: {line}")
    same(status(guard)["settings"]["last_reload_failed"], True, "the status")
    code, text = guard.cli("reload", "--json")
    same((code, json.loads(text)["reloaded"], json.loads(text)["faults"]), (SETTINGS, False, lines), "the answer")
    starts(guard.client(GOOD).greeting, "220 mx3.")
    guard.file.write_text(good, encoding="utf-8")
    same(guard.cli("reload")[0], FINE, "the reload of good settings")
    same(status(guard)["settings"]["last_reload_failed"], False, "the status")


def test_drain_by_order(t):
    """drain does what SIGTERM does; status is answered while it lasts, reload is refused, and at the end nobody is there."""
    guard, bob = controlled(t, admin={"http": f"127.0.0.1:{free_port()}"}), t.recipient()
    with guard.client(GOOD) as busy:
        busy.envelope("alice@good.test", bob)
        same(guard.get("/readyz")[0], 200, "/readyz")
        starts(guard.cli("drain")[1], "it drains")
        wait_for(lambda: not guard.listens(), "the listener to close")
        same(status(guard)["draining"], True, "the status")
        has(guard.cli("status")[1], "it drains")
        same(guard.get("/readyz"), (503, "not ready\nit drains: no new sessions\n"), "/readyz")
        same(guard.cli("reload"), (SETTINGS, "the daemon is draining\n"), "the reload")
        starts(guard.cli("drain")[1], "it drains")
        starts(busy.data(message(recipient=bob)), "250 ")
        starts(busy.read(), "421 4.3.2")
    same(guard.daemon.wait(), 0, "the exit code of the daemon")
    code, text = guard.cli("status")
    same(code, UNREACHABLE, "the exit code without a daemon")
    has(text, path_of(guard))
    t.postfix.delivery(bob)


def test_second_stop_does_not_wait(t):
    """A second SIGTERM ends the process, whoever is still there."""
    guard = t.guard()
    with guard.client(GOOD) as client:
        client.envelope("alice@good.test", t.recipient())
        guard.daemon.send(signal.SIGTERM)
        guard.event(event="drain")
        guard.daemon.send(signal.SIGTERM)
        same(guard.daemon.wait(10), 1, "the exit code")
        guard.event(event="stop")
    guard.killed = True  # it has ended already, and not with 0


def as_nobody_else(guard, group):
    """The exit code of status for a user that is neither root nor the daemon's, with this group."""
    words = ["setpriv", "--reuid=12345", f"--regid={group}", "--clear-groups", guard.binary]
    return run(*words, "status", "--socket", path_of(guard), check=False)[0]


def test_who_may_order(t):
    """root, the daemon's user and the group of the socket may ask; nobody else, even when the file's mode would let them."""
    guard = controlled(t)
    state, path = guard.dir / "state", path_of(guard)
    state.chmod(0o755)
    about = os.stat(path)
    same(stat.S_IMODE(about.st_mode), 0o660, "the mode of the socket")
    same((about.st_uid, about.st_gid), (65534, 65534), "its owner")
    same(as_nobody_else(guard, 54321), UNREACHABLE, "a stranger, by the file's mode")
    same(as_nobody_else(guard, 65534), FINE, "a member of its group")
    os.chmod(path, 0o666)
    same(as_nobody_else(guard, 54321), NO, "a stranger, by what the kernel knows of him")
    same(guard.cli("status")[0], FINE, "root")


def test_second_daemon(t):
    """A daemon does not take the socket of one that lives; it replaces that of one that was killed."""
    guard = controlled(t)
    second = t.prepare()
    second.settings["admin"]["socket"] = path_of(guard)
    second.write()
    code, _, err = run(second.binary, "run", "-c", second.file, check=False)
    same(code, SETTINGS, "the exit code of the second")
    has(err.decode(), "is in use: another smtpguard")
    same(status(guard)["pid"], guard.daemon.process.pid, "who answers")
    guard.kill()
    guard.start_again()
    same(status(guard)["pid"], guard.daemon.process.pid, "who answers after the kill")


def test_socket_that_cannot_be_made(t):
    """Mail does not wait for the socket: a folder that is not there and cannot be made is a warning."""
    guard = t.guard(admin={"socket": "/proc/nothing/control.sock"})
    has(guard.event(event="control.failed", level="warning")["text"], "/proc/nothing/control.sock")
    guard.client(GOOD).close()
    same(guard.cli("status")[0], UNREACHABLE, "the exit code")
    same(run(guard.binary, "status", "--socket", "", check=False)[0], UNREACHABLE, "that of an empty path")


def test_folder_is_made(t):
    """Started by root, the daemon makes the folder of its socket for its user."""
    guard = t.prepare()
    guard.settings["admin"]["socket"] = f"{guard.dir}/run/control.sock"
    guard.write()
    t.start(guard)
    about = os.stat(guard.dir / "run")
    same((about.st_uid, about.st_gid, stat.S_IMODE(about.st_mode)), (65534, 65534, 0o750), "the folder")
    same(status(guard)["pid"], guard.daemon.process.pid, "who answers")


def test_status_with_settings_that_have_faults(t):
    """status and reload find the daemon though the file that it was started with has faults meanwhile."""
    guard = controlled(t)
    guard.settings["backends"] = []
    guard.write()
    same(status(guard)["pid"], guard.daemon.process.pid, "who answers")
    code, text = guard.cli("reload")
    same(code, SETTINGS, "the exit code")
    has(text, "backends: is empty")


def test_daemon_that_stands_still(t):
    """Of a daemon that does not answer a verb says so, within ten seconds, however many ask."""
    guard = controlled(t)
    guard.daemon.send(signal.SIGSTOP)
    try:
        asking = [Daemon([guard.binary, "status", "--socket", path_of(guard)], guard.dir / f"ask{i}.log") for i in range(24)]
        for one in asking:
            one.start()
        for one in asking:
            same(one.wait(30), UNREACHABLE, "the exit code")
        has(tail(asking[0].log), "it does not answer")
    finally:
        guard.daemon.send(signal.SIGCONT)
    wait_for(lambda: guard.cli("status")[0] == FINE, "the daemon to answer again")


def test_nonsense_on_the_socket(t):
    """What is no order is told so; silent visitors do not keep others out for long, nor hold up the end."""
    guard = controlled(t)
    visitors = [socket.socket(socket.AF_UNIX) for _ in range(16)]
    with visitors[0] as visitor:
        visitor.connect(path_of(guard))
        visitor.sendall(b"frobnicate\n")
        same(json.loads(visitor.makefile().read()), {"error": "there is no such order"}, "the answer")
    for visitor in visitors[1:]:
        visitor.connect(path_of(guard))
    same(guard.cli("status")[0], FINE, "the exit code beside silent ones")
    guard.stop()
    for visitor in visitors:
        visitor.close()
