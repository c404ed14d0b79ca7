"""The other end of $NOTIFY_SOCKET, as systemd has it."""

import os
import socket

from lib.check import wait_for


class Notified:
    """Hears what the guard tells; `messages` are all so far, each as a dictionary."""

    def __init__(self, guard, abstract=False):
        self.messages = []
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        name = f"@smtpguard-{os.getpid()}-{guard.port}" if abstract else f"{guard.dir}/notify.sock"
        self.socket.bind(name.replace("@", "\0", 1) if abstract else name)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self.socket.setblocking(False)
        if not abstract:
            os.chmod(name, 0o777)
        guard.daemon.environment["NOTIFY_SOCKET"] = name

    def read(self):
        while True:
            try:
                text = self.socket.recv(8192).decode()
            except BlockingIOError:
                return self.messages
            self.messages.append(dict(line.split("=", 1) for line in text.splitlines()))

    def having(self, **fields):
        """Those that hold all of these values."""
        return [one for one in self.read() if all(one.get(name) == value for name, value in fields.items())]

    def wait(self, count=1, **fields):
        """Waits for so many that hold these; returns the last one."""
        return wait_for(lambda: len(self.having(**fields)) >= count and self.having(**fields), f"{fields}")[-1]

    def close(self):
        self.socket.close()
