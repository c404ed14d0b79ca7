"""What a supervisor does: it is told how things stand, and it passes sockets that are open already."""

import ctypes
import json
import os
import socket
import time

from lib.check import Failed, has, same, starts, true, wait_for
from lib.mail import message
from lib.notified import Notified
from lib.process import free_port, listens
from lib.world import GOOD

ACTIVATE = "/usr/bin/systemd-socket-activate"
SEIZE, INTERRUPT, DETACH = 0x4206, 0x4207, 17  # of ptrace(2)


def test_notify(t):
    """Ready when it listens, reloading and ready again however that went, stopping when it drains."""
    guard = t.prepare()
    systemd = Notified(guard)
    t.start(guard)
    has(systemd.wait(READY="1")["STATUS"], "mx.example.net: 1 listener, 2 workers")
    guard.change(limits={"recipients": 99})
    reloading = systemd.wait(RELOADING="1")
    true(abs(int(reloading["MONOTONIC_USEC"]) / 1e6 - time.monotonic()) < 60, "the time of the reload is not now")
    systemd.wait(count=2, READY="1")
    guard.change(limits={"recipients": 0})
    has(systemd.wait(count=3, READY="1")["STATUS"], "the last reload failed")
    guard.stop()
    has(systemd.wait(STOPPING="1")["STATUS"], "drains")
    order = [name for one in systemd.messages for name in one if name in ("READY", "RELOADING", "STOPPING")]
    same(order, ["READY", "RELOADING", "READY", "RELOADING", "READY", "STOPPING"], "what was told")


def test_notify_of_a_failed_start(t):
    """A start that fails never says that it is ready."""
    guard = t.prepare(listen=[{"name": "x", "address": "192.0.2.1:25", "role": "mx", "tls": "none"}])
    systemd = Notified(guard, abstract=True)
    guard.daemon.start()
    same(guard.daemon.wait(), 78, "the exit code")
    same(systemd.having(READY="1"), [], "what was told")


def worker_threads(pid):
    threads = [int(name) for name in os.listdir(f"/proc/{pid}/task")]
    return [tid for tid in threads if open(f"/proc/{pid}/task/{tid}/comm", encoding="ascii").read() == "worker\n"]


def trace(request, tid):
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    if libc.ptrace(request, tid, None, None) != 0:
        raise Failed(f"ptrace: {os.strerror(ctypes.get_errno())}")


def test_watchdog(t):
    """The watchdog is fed as long as every worker turns; not while one of them stands still."""
    guard = t.prepare()
    systemd = Notified(guard, abstract=True)
    guard.daemon.environment["WATCHDOG_USEC"] = "600000"
    guard.settings["admin"]["socket"] = f"{guard.dir}/state/control.sock"
    guard.write()
    t.start(guard)
    systemd.wait(count=3, WATCHDOG="1")
    workers = worker_threads(guard.daemon.process.pid)
    same(len(workers), 2, "workers")
    trace(SEIZE, workers[0])
    trace(INTERRUPT, workers[0])
    os.waitpid(workers[0], 0x40000000)  # __WALL: until it stands

    def is_silent():
        systemd.read()
        systemd.messages.clear()
        time.sleep(0.8)  # four times the pace
        return not systemd.having(WATCHDOG="1")

    wait_for(is_silent, "the watchdog not to be fed")
    same(json.loads(guard.cli("status", "--json")[1])["silent_workers"], 1, "what the status says of it")
    trace(DETACH, workers[0])
    systemd.wait(WATCHDOG="1")


def test_watchdog_of_another(t):
    """A watchdog that is meant for another process is not fed."""
    guard = t.prepare()
    systemd = Notified(guard)
    guard.daemon.environment.update(WATCHDOG_USEC="100000", WATCHDOG_PID="1")
    t.start(guard)
    guard.change(limits={"recipients": 99})
    systemd.wait(count=2, READY="1")
    same(systemd.having(WATCHDOG="1"), [], "what was told")


# ---- sockets that are open already ----


def activated(t, *addresses, names="", **sections):
    """smtpguard with sockets that systemd-socket-activate passes, which starts it for the first who connects."""
    guard = t.prepare(**sections)
    passed = [word for address in addresses for word in ("-l", address.format(guard=guard))]
    if names:
        passed.append(f"--fdname={names}")
    guard.daemon.command[:0] = [ACTIVATE, *passed]
    return guard


def test_socket_activation(t):
    """Sockets that are passed are served, by all workers: mail, /metrics and orders."""
    port = free_port()
    guard = activated(t, "127.0.0.1:{guard.port}", f"127.0.0.1:{port}", "{guard.dir}/control.sock", names="mx:http:orders")
    guard.settings["admin"] = {"http": f"127.0.0.1:{port}", "socket": f"{guard.dir}/control.sock"}
    guard.write()
    t.started.append(guard)
    guard.daemon.start()
    wait_for(lambda: listens(guard.port), "the socket to be there")
    guard.event(event="started")
    bob = t.recipient()
    for _ in range(8):
        with guard.client(GOOD) as client:
            client.envelope("alice@good.test", bob)
            starts(client.data(message(recipient=bob)), "250 ")
            client.quit()
    same(len(t.postfix.deliveries(bob, count=8)), 8, "messages")
    same(guard.get("/healthz"), (200, "ok\n"), "/healthz")
    same(json.loads(guard.cli("status", "--json")[1])["pid"], guard.daemon.process.pid, "who answers")
    same(guard.change(limits={"recipients": 99})["event"], "reload", "the reload")
    guard.client(GOOD).close()


def test_sockets_that_nobody_wants(t):
    """A socket that no listener of the settings is for ends the start, which names it."""
    other = free_port()
    guard = activated(t, "127.0.0.1:{guard.port}", f"127.0.0.1:{other}", names="mx:odd")
    guard.daemon.start()
    wait_for(lambda: listens(guard.port), "the socket to be there")
    same(guard.daemon.wait(), 78, "the exit code")
    has(guard.event(event="start.failed")["text"], f"that the settings do not name: 127.0.0.1 port {other} (odd)")


def test_socket_that_does_not_listen(t):
    """What is passed and is no listening stream socket ends the start."""
    guard = t.prepare()
    guard.daemon.command[:0] = [ACTIVATE, "--datagram", "-l", f"127.0.0.1:{guard.port}"]
    guard.daemon.start()

    def knock():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.sendto(b"x", ("127.0.0.1", guard.port))
        return not guard.daemon.runs()

    wait_for(knock, "the end")
    same(guard.daemon.wait(), 78, "the exit code")
    has(guard.event(event="start.failed")["text"], "was passed, but is no listening socket")
