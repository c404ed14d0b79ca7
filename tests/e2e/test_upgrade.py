"""SIGUSR2: a new process takes over the sockets, and no client notices."""

import json
import os
import shutil
import signal
import sqlite3

from lib.check import has, same, starts, true, wait_for
from lib.crowd import Crowd
from lib.mail import message
from lib.notified import Notified
from lib.process import free_port, listens
from lib.world import GOOD, OTHER


def upgradable(t, **sections):
    """An smtpguard whose program file is its own, with /metrics and a control socket."""
    guard = t.prepare(**sections)
    program = guard.dir / "smtpguard"
    shutil.copy(guard.binary, program)
    guard.daemon.command[0] = str(program)
    guard.settings["admin"] = {"http": f"127.0.0.1:{free_port()}", "socket": f"{guard.dir}/state/control.sock"}
    guard.write()
    guard.program, guard.processes = program, []
    stop = guard.stop

    def stop_all():
        """The process that has the sockets ends well, and nothing of the others is left."""
        try:
            if not guard.killed and guard.processes:
                os.kill(guard.processes[-1], signal.SIGTERM)
                wait_for(lambda: all(has_ended(pid) for pid in guard.processes), "all processes to end")
                same(len(guard.events(event="stopped")), len(guard.processes) + 1, "ends that were well")
        finally:
            stop()

    guard.stop = stop_all
    return guard


def has_ended(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
            return stat.read().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def in_charge(guard):
    code, text = guard.cli("status", "--json")
    return json.loads(text)["pid"] if code == 0 else None


def replace(guard, script=None):
    """A new program file in the place of the old one, as a package does it: another file of the same name."""
    new = guard.program.with_suffix(".new")
    if script:
        new.write_text(f"#!/bin/sh\n{script}\n", encoding="ascii")
        new.chmod(0o755)
    else:
        shutil.copy(guard.binary, new)
    os.replace(new, guard.program)


def upgrade(guard):
    """Has the next process take over; its number."""
    elder = guard.processes[-1] if guard.processes else guard.daemon.process.pid
    taken = len(guard.events(event="handover"))
    os.kill(elder, signal.SIGUSR2)
    wait_for(lambda: len(guard.events(event="handover")) > taken, "the handover")
    younger = int(guard.events(event="handover")[-1]["text"].split()[1])
    guard.processes.append(younger)
    wait_for(lambda: in_charge(guard) == younger, "the new process to answer")
    return younger


def test_upgrade(t):
    """The new process serves mail, /metrics and orders; a message under way in the old one, and a session at rest, end well."""
    guard, bob = upgradable(t), t.recipient()
    t.start(guard)
    with guard.client(GOOD) as busy, guard.client(OTHER) as idle:
        idle.ehlo()
        busy.envelope("alice@good.test", bob)
        busy.say("DATA", "354 ")
        busy.send(b"From: alice@good.test\r\nMessage-ID: <1@good.test>\r\nSubject: half of")
        replace(guard)
        younger = upgrade(guard)
        with guard.client(GOOD) as fresh:
            fresh.envelope("alice@good.test", bob)
            starts(fresh.data(message(recipient=bob)), "250 ")
            fresh.quit()
        same(guard.metric('smtpguard_messages_total{action="accept"}'), 1, "messages of the new process")
        busy.send(b" it\r\n\r\nthe rest\r\n.\r\n")
        starts(busy.read(), "250 ")
        busy.quit()
        idle.say("NOOP", "250 ")
        idle.envelope("x@other.test", bob)
        idle.quit()
    same(guard.daemon.wait(), 0, "the exit code of the old process")
    same(len(t.postfix.deliveries(bob, count=2)), 2, "messages")
    same(guard.cli("reload")[0], 0, "a reload of the new process")
    same(os.readlink(f"/proc/{younger}/exe"), str(guard.program), "the program file")


def test_old_sessions_have_a_limit(t):
    """Sessions that stay in the old process have runtime.drain, and in a transaction that time again; then it ends."""
    guard = upgradable(t, runtime={"drain": "1s"})
    t.start(guard)
    with guard.client(GOOD) as busy, guard.client(OTHER) as idle:
        idle.ehlo()
        busy.envelope("alice@good.test", t.recipient())
        upgrade(guard)
        starts(idle.read(), "421 4.3.2")
        same(guard.daemon.wait(15), 0, "the exit code of the old process")
        true(busy.ended(), "the transaction goes on")


def test_nobody_is_refused(t):
    """Through three upgrades, with more workers and fewer, no connection is refused or reset and no message is lost."""
    limits = {"connections_per_client": 1000, "new_connections_per_client": "100000/1s"}
    guard, bob = upgradable(t, limits=limits), t.recipient()
    t.start(guard)
    with Crowd(guard, bob, senders=2, visitors=4) as crowd:
        for workers in (2, 4, 1):
            guard.settings["runtime"]["workers"] = workers
            guard.write()
            before = len(crowd.visits), len(crowd.sent)
            upgrade(guard)
            wait_for(lambda: len(crowd.visits) > before[0] + 200 and len(crowd.sent) > before[1], "visits and messages")
    same(len(t.postfix.deliveries(bob, count=len(crowd.sent))), len(crowd.sent), "messages")
    same(guard.daemon.wait(), 0, "the exit code of the first process")

    def on_record():
        records = json.loads(guard.cli("history", "--json", "--limit", "10000")[1])["records"]
        return len({record["id"] for record in records if record["at"] == "message"})

    wait_for(lambda: on_record() == len(crowd.sent), "a record of each message")


def refused(guard, count=1):
    wait_for(lambda: len(guard.events(event="handover.failed")) >= count, "the upgrade to fail")
    return guard.events(event="handover.failed")[-1]["text"]


def test_new_program_that_ends(t):
    """A new program that ends, cannot be run, or does not like the settings changes nothing, and the log says why."""
    guard = upgradable(t)
    systemd = Notified(guard)
    t.start(guard)
    pid = guard.daemon.process.pid
    replace(guard, "exit 3")
    guard.daemon.send(signal.SIGUSR2)
    has(refused(guard), "it ended with 3 before it was ready; this process goes on")
    replace(guard, "kill -9 $$")
    guard.daemon.send(signal.SIGUSR2)
    has(refused(guard, 2), "it ended by signal 9 before it was ready")
    guard.program.write_text("#!/nonexistent\n", encoding="ascii")
    guard.daemon.send(signal.SIGUSR2)
    has(refused(guard, 3), "the program cannot be run")
    guard.program.unlink()
    guard.daemon.send(signal.SIGUSR2)
    has(refused(guard, 4), "cannot be run: No such file or directory")
    replace(guard)
    listeners = guard.settings["listen"]
    guard.settings["listen"] = [*listeners, {"name": "x", "address": "192.0.2.1:25", "role": "mx", "tls": "none"}]
    guard.write()
    guard.daemon.send(signal.SIGUSR2)
    has(refused(guard, 5), "cannot listen on 192.0.2.1 port 25")
    guard.settings["listen"] = []
    guard.write()
    guard.daemon.send(signal.SIGUSR2)
    has(refused(guard, 6), "it ended with 78 before it was ready")
    same(in_charge(guard), pid, "who answers")
    same(guard.get("/healthz"), (200, "ok\n"), "/healthz")
    with guard.client(GOOD) as client:
        client.envelope("alice@good.test", t.recipient())
        starts(client.data(message()), "250 ")
    guard.settings["listen"] = listeners
    guard.write()
    same([one for one in systemd.read() if "MAINPID" in one], [], "what systemd heard")
    upgrade(guard)


def upgrade_that_hangs(guard):
    """Begins one, by a new program that says nothing; its number."""
    number = guard.dir / "state/number"
    replace(guard, f"echo $$ > {number}; exec sleep 600")
    guard.daemon.send(signal.SIGUSR2)
    wait_for(lambda: number.exists() and number.read_text(), "the new program")
    return int(number.read_text())


def test_new_program_that_hangs(t):
    """A new program that says nothing is given up after a while, and killed; meanwhile there is no second one."""
    guard = upgradable(t)
    t.start(guard)
    hanging = upgrade_that_hangs(guard)
    guard.daemon.send(signal.SIGUSR2)
    has(refused(guard), "a new process is being started already")
    guard.client(GOOD).close()
    has(refused(guard, 2), "it was not ready in time; this process goes on")
    wait_for(lambda: has_ended(hanging), "the end of the new program")
    guard.client(GOOD).close()
    replace(guard)
    upgrade(guard)


def test_stop_while_a_new_program_starts(t):
    """SIGTERM wins: the new process that is not ready yet is killed."""
    guard = upgradable(t)
    t.start(guard)
    hanging = upgrade_that_hangs(guard)
    guard.daemon.send(signal.SIGTERM)
    same(guard.daemon.wait(), 0, "the exit code")
    wait_for(lambda: has_ended(hanging), "the end of the new program")


def test_upgrade_with_other_settings(t):
    """The new process has the settings as they are now: a listener that is gone is closed, a new one is there."""
    ports = [free_port() for _ in range(2)]
    both = [{"name": f"n{port}", "address": f"127.0.0.1:{port}", "role": "mx", "tls": "none"} for port in ports]
    guard = upgradable(t)
    first = guard.settings["listen"]
    guard.settings["listen"] = first + both[:1]
    guard.write()
    t.start(guard)
    guard.settings["listen"] = first + both[1:]
    guard.settings["admin"]["http"] = f"127.0.0.1:{free_port()}"
    guard.write()
    upgrade(guard)
    wait_for(lambda: not listens(ports[0]) and listens(ports[1]), "the new listener instead of the old one")
    same(guard.get("/healthz"), (200, "ok\n"), "/healthz at its new address")
    guard.client(GOOD).close()


def has_read_settings(pid, state):
    """Whether a new process, and not the fork that becomes it, has got as far as its store."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as environment:
            begun = b"LISTEN_FDNAMES=" in environment.read()
        return begun and any(os.readlink(f"/proc/{pid}/fd/{fd}") == state for fd in os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return False


def test_reload_while_a_new_program_starts(t):
    """Settings that are put in force when the new process has read those of before are in force there, too."""
    guard = upgradable(t)
    t.start(guard)
    elder, state = guard.daemon.process.pid, f"{guard.dir}/state/state.db"
    with sqlite3.connect(state, isolation_level=None) as lock:
        lock.execute("BEGIN IMMEDIATE")  # so the new process waits for a while, when it has read its settings
        guard.daemon.send(signal.SIGUSR2)
        with open(f"/proc/{elder}/task/{elder}/children", encoding="ascii") as children:
            younger = int(wait_for(lambda: children.seek(0) == 0 and children.read().split(), "the new process")[0])
        wait_for(lambda: has_read_settings(younger, state), "the new process to have read its settings")
        os.kill(younger, signal.SIGSTOP)
        same(guard.events(event="handover"), [], "handovers before the reload")
        lock.execute("COMMIT")
    port = free_port()
    another = {"name": "another", "address": f"127.0.0.1:{port}", "role": "mx", "tls": "none"}
    guard.change(hostname="mx3.example.net", listen=[*guard.settings["listen"], another])
    os.kill(younger, signal.SIGCONT)
    guard.processes.append(younger)
    wait_for(lambda: in_charge(guard) == younger, "the new process to answer")
    wait_for(lambda: guard.client(GOOD).greeting.startswith("220 mx3."), "the new settings")
    true(listens(port), "the new listener is not there")


def test_upgrade_by_order(t):
    """upgrade waits for the new process, and says which it is, or why there is none."""
    guard = upgradable(t)
    t.start(guard)
    first = guard.daemon.process.pid
    code, text = guard.cli("upgrade")
    guard.processes.append(in_charge(guard))
    same((code, text), (0, f"process {guard.processes[-1]} has taken over\n"), "the answer")
    true(guard.processes[-1] != first, "it is the same process")
    replace(guard, "exit 5")
    code, text = guard.cli("upgrade")
    same(code, 1, "the exit code of one that fails")
    same(text, f"smtpguard upgrade: it ended with 5 before it was ready; process {in_charge(guard)} goes on\n", "why")
    has(guard.cli("status")[1], "upgrade    the last one FAILED: it ended with 5")
    guard.program.unlink()
    code, text = guard.cli("upgrade", "--json")
    same((code, json.loads(text)), (1, {"upgraded": False, "pid": guard.processes[-1]}), "one that cannot begin")
    replace(guard)
    code, text = guard.cli("upgrade", "--json")
    guard.processes.append(json.loads(text)["pid"])
    same((code, json.loads(text)["upgraded"]), (0, True), "the answer as JSON")
    same(guard.cli("status")[1].count("FAILED"), 0, "failures that are still told")
    guard.client(GOOD).close()


def test_systemd_follows(t):
    """systemd hears from the old process who is the main one now, and from then on only from that one, watchdog and all."""
    guard = upgradable(t)
    systemd = Notified(guard)
    guard.daemon.environment.update(WATCHDOG_USEC="900000")
    t.start(guard)
    with guard.client(GOOD) as client:
        client.ehlo()
        systemd.wait(WATCHDOG="1")
        younger = upgrade(guard)
        systemd.wait(count=2, READY="1")
        heard = systemd.read()
        at = heard.index({"MAINPID": str(younger)})
        same([one for one in heard[at + 1 :] if "STOPPING" in one], [], "what was told after the change")
        fed = len(systemd.having(WATCHDOG="1"))
        systemd.wait(count=fed + 2, WATCHDOG="1")
        client.quit()
    same(guard.daemon.wait(), 0, "the exit code of the old process")


def test_stop_in_the_middle(t):
    """Told to stop after it has handed over, the old process waits for its sessions as SIGTERM has it."""
    guard, bob = upgradable(t), t.recipient()
    t.start(guard)
    with guard.client(GOOD) as busy:
        busy.envelope("alice@good.test", bob)
        upgrade(guard)
        guard.daemon.send(signal.SIGTERM)
        guard.event(event="drain")
        starts(busy.data(message(recipient=bob)), "250 ")
        starts(busy.read(), "421 4.3.2")
    same(guard.daemon.wait(), 0, "the exit code of the old process")
    t.postfix.delivery(bob)


def test_counters_go_on(t):
    """What both processes count for DMARC reports, side by side and one after the other, is counted once."""
    guard = upgradable(t, reports={"from": "reports@example.net", "aggregate": {"enabled": True, "at": "00:00"}})
    bob = t.recipient()
    t.start(guard)

    def send(client):
        client.envelope("alice@good.test", bob)
        starts(client.data(message(recipient=bob)), "250 ")

    with guard.client(GOOD) as stays:
        send(stays)
        upgrade(guard)
        with guard.client(GOOD) as comes:
            for client in (comes, stays, comes, stays):
                send(client)
            comes.quit()
        stays.quit()
    same(guard.daemon.wait(), 0, "the exit code of the old process")
    upgrade(guard)
    with guard.client(GOOD) as client:
        send(client)
        client.quit()

    def counted():
        return sum(line["messages"] for line in json.loads(guard.cli("report", "list", "--json")[1])["domains"])

    wait_for(lambda: counted() == 6, "six messages to be counted")
