"""A mail server in a jail, with a maildir for each user, in which it has LF where the wire has CRLF."""

import re

from lib.check import Failed, same, wait_for
from lib.process import free_port, listens


class MailServer:
    """Its class makes the jail, and the daemon in it that will listen on `port` of `host`."""

    OWN_FIELDS = rb""  # what this server puts on top of each message

    def __init__(self, jail, host="127.0.0.1"):
        self.root, self.mail = jail.root, jail.path("/mail")
        self.host, self.port = host, free_port()
        self.address = f"{host}:{self.port}"

    def start(self):
        self.daemon.start()
        self.daemon.wait_until(lambda: listens(self.port, self.host), "it listened")
        return self

    def stop(self):
        self.daemon.kill()

    def files(self, recipient):
        folder = self.mail / recipient.partition("@")[0] / "new"
        return sorted(folder.iterdir()) if folder.is_dir() else []

    def message(self, recipient):
        """Waits for the one message of a recipient, and takes off what the server has put on top."""
        files = wait_for(lambda: self.files(recipient), f"a message for {recipient}")
        same(len(files), 1, f"messages for {recipient}")
        raw = files[0].read_bytes()
        own = re.match(self.OWN_FIELDS, raw)
        if own is None:
            raise Failed(f"not a message that this server has delivered: {raw[:300]!r}")
        return raw[own.end():].replace(b"\n", b"\r\n")
