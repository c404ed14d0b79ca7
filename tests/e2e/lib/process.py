"""Processes that a test starts, and that end with it."""

import os
import random
import signal
import socket
import subprocess

from lib.check import Failed, wait_for


PORTS = random.sample(range(10000, 32000), 20000)  # below those that the kernel gives to clients


def is_free(port, address="127.0.0.1"):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as tcp, socket.socket(family, socket.SOCK_DGRAM) as udp:
            tcp.bind((address, port))
            udp.bind((address, port))
        return True
    except OSError:
        return False  # somebody has it


def free_port(address="127.0.0.1", above=0):
    """A port for TCP and UDP that nobody listens on, and that was not handed out before; and so is the one that many above."""
    while True:
        port = PORTS.pop()
        if above and port + above not in PORTS:
            continue
        if is_free(port, address) and is_free(port + above, address):
            if above:
                PORTS.remove(port + above)
            return port


def has_ipv6():
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
        return True
    except OSError:
        return False


def run(*command, stdin=b"", check=True, seconds=60, environment=None):
    """Runs a command to its end; returns (exit code, standard output, standard error), both as bytes."""
    done = subprocess.run(
        [os.fspath(word) for word in command],
        input=stdin,
        capture_output=True,
        timeout=seconds,
        env={**os.environ, **(environment or {})},
    )
    if check and done.returncode != 0:
        raise Failed(
            f"{' '.join(map(str, command))} ended with {done.returncode}:\n"
            f"{(done.stdout + done.stderr).decode(errors='replace')[-3000:]}"
        )
    return done.returncode, done.stdout, done.stderr


class Daemon:
    """A program in the foreground, in a process group of its own, that writes its log into a file."""

    def __init__(self, command, log):
        self.command = [os.fspath(word) for word in command]
        self.log = log
        self.environment = {}
        self.process = None

    def start(self):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**os.environ, **self.environment},
            )

    def runs(self):
        return self.process is not None and self.process.poll() is None

    def send(self, number):
        self.process.send_signal(number)

    def wait(self, seconds=30):
        """The exit code."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise Failed(f"{self.command[0]} has not ended after {seconds} s") from None

    def stop(self, number=signal.SIGTERM):
        """Ends the process; whatever it leaves behind in its group is killed."""
        if self.process is None:
            return 0
        if self.runs():
            self.send(number)
        try:
            return self.wait()
        finally:
            self.kill()

    def kill(self):
        if self.process is None:
            return
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()

    def wait_until(self, condition, what):
        """Waits for a sign of life; a process that has ended meanwhile will never give one."""

        def ready():
            if condition():
                return True
            if not self.runs():
                raise Failed(
                    f"{self.command[0]} ended with {self.process.returncode} before {what}:\n{tail(self.log)}"
                )
            return False

        wait_for(ready, what)


def listens(port, address="127.0.0.1"):
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
        probe.settimeout(1)
        return probe.connect_ex((address, port)) == 0


def tail(path, lines=60):
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return "".join(file.readlines()[-lines:])
    except OSError:
        return ""
