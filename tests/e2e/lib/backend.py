"""A backend that plays the part a test gives it."""

import socket
import threading

from lib.check import wait_for

HANG, CLOSE = "hang", "close"


class Backend:
    """Answers each step with the text that the test gives for it: Backend(rcpt="450 4.2.0 Later"). A list is used up
    one answer at a time, its last one for good; HANG says nothing more, CLOSE closes the connection."""

    ANSWERS = {
        "banner": "220 backend.test ESMTP", "ehlo": "250-backend.test\r\n250-PIPELINING\r\n250-SIZE 52428800\r\n250 8BITMIME",
        "mail": "250 2.1.0 Ok", "rcpt": "250 2.1.5 Ok", "data": "354 Go ahead", "dot": "250 2.0.0 Taken",
        "rset": "250 2.0.0 Ok", "quit": "221 2.0.0 Bye",
    }

    def __init__(self, **answers):
        self.answers = {**self.ANSWERS, **answers}
        self.sessions = []  # the commands of each connection
        self.messages = []  # as they came, before the dots are taken off
        self.lock = threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"

    def start(self):
        threading.Thread(target=self.accept, daemon=True).start()
        return self

    def stop(self):
        self.listener.close()

    def logs(self):
        return {"backend": "\n".join(" | ".join(commands) for commands in self.sessions)}

    def accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    # ---- a connection ----

    def answer(self, connection, step):
        """Returns whether the connection goes on."""
        with self.lock:
            text = self.answers[step]
            if isinstance(text, list):
                text = text.pop(0) if len(text) > 1 else text[0]
        if text == HANG:
            while connection.recv(65536):
                pass
        if text in (HANG, CLOSE):
            return False
        connection.sendall(text.encode("latin-1") + b"\r\n")
        return True

    def serve(self, connection):
        commands = []
        self.sessions.append(commands)
        try:
            with connection, connection.makefile("rb") as lines:
                if self.answer(connection, "banner"):
                    self.converse(connection, lines, commands)
        except OSError:
            pass

    def converse(self, connection, lines, commands):
        for line in lines:
            commands.append(line.decode("latin-1").rstrip("\r\n"))
            step = commands[-1][:4].lower()
            if not self.answer(connection, step if step in self.answers else "rset"):
                return
            if step == "quit":
                return
            if step == "data" and self.answers["data"] == self.ANSWERS["data"]:
                self.messages.append(b"".join(iter(lines.readline, b".\r\n")))
                if not self.answer(connection, "dot"):
                    return

    def message(self):
        """Waits for the one message."""
        wait_for(lambda: self.messages, "a message at the backend")
        return self.messages[0]
