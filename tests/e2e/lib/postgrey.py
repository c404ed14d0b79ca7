"""Debian's postgrey, asked through its policy socket at whatever time a test says."""

import shutil
import socket

from lib.check import Failed
from lib.process import Daemon, free_port, listens

SECONDS = 20  # for any one answer


class Postgrey:
    """postgrey takes the time of a request from its attribute policy_test_time, so nobody has to wait."""

    def __init__(self, directory, *options):
        self.port = free_port()
        self.folder = directory / "postgrey"
        self.folder.mkdir()
        shutil.chown(self.folder, "postgrey", "postgrey")
        words = ["postgrey", f"--inet=127.0.0.1:{self.port}", f"--dbdir={self.folder}", *options]
        self.daemon = Daemon(words, directory / "postgrey.log")
        self.socket = None

    def start(self):
        self.daemon.start()
        self.daemon.wait_until(lambda: listens(self.port), "it listened")
        self.socket = socket.create_connection(("127.0.0.1", self.port), SECONDS)
        return self

    def stop(self):
        self.socket.close()
        self.daemon.kill()  # on SIGTERM it ends with whatever code Perl finds

    def logs(self):
        return {"postgrey": self.daemon.log.read_text(errors="replace")[-3000:]}

    def passes(self, at, address, sender, recipient, host="unknown"):
        """Whether Postfix would let this recipient pass at this time."""
        request = {
            "request": "smtpd_access_policy",
            "client_address": address,
            "client_name": host,
            "sender": sender,
            "recipient": recipient,
            "policy_test_time": int(at),
        }
        self.socket.sendall("".join(f"{name}={value}\n" for name, value in request.items()).encode() + b"\n")
        action = self.answer()
        return not action.startswith("action=DEFER_IF_PERMIT")

    def answer(self):
        answer = b""
        while not answer.endswith(b"\n\n"):
            try:
                octets = self.socket.recv(4096)
            except TimeoutError:
                raise Failed(f"postgrey did not answer within {SECONDS} s") from None
            if not octets:
                raise Failed("postgrey has closed the connection")
            answer += octets
        return answer.decode().strip()
