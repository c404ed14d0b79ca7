"""A backend that plays the part a test gives it."""

import re
import socket
import ssl
import threading
from collections import namedtuple

from lib.check import same, wait_for

HANG, CLOSE = "hang", "close"

# A message with its envelope, in which addresses have no brackets; its dots are off.
Taken = namedtuple("Taken", "sender recipients octets")

EHLO = "250-backend.test\r\n250-PIPELINING\r\n250-SIZE 52428800\r\n250 8BITMIME"


class Backend:
    """Answers each step with the text that the test gives for it: Backend(rcpt="450 4.2.0 Later"). A list is
    used up one answer at a time, its last one for good; HANG says nothing more, CLOSE closes."""

    LMTP = False  # a "dot" for each recipient that was accepted
    ANSWERS = {
        "banner": "220 backend.test ESMTP",
        "ehlo": EHLO,
        "helo": "250 backend.test",
        "lhlo": EHLO,
        "mail": "250 2.1.0 Ok",
        "rcpt": "250 2.1.5 Ok",
        "data": "354 Go ahead",
        "dot": "250 2.0.0 Taken",
        "rset": "250 2.0.0 Ok",
        "quit": "221 2.0.0 Bye",
    }

    def __init__(self, port=0, **answers):
        self.answers = {**self.ANSWERS, **answers}
        self.sessions = []  # the commands of each connection
        self.messages = []  # as they came, before the dots are taken off
        self.envelopes = []  # for each message, the commands from its MAIL on
        self.connections = []
        self.lock = threading.Lock()
        self.listen(port)

    def listen(self, port):
        self.listener = socket.create_server(("127.0.0.1", port))
        self.port = self.listener.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"

    def start(self):
        threading.Thread(target=self.accept, daemon=True).start()
        return self

    def stop(self):
        try:
            self.listener.shutdown(socket.SHUT_RDWR)  # wakes accept(), which would take one more
        except OSError:
            pass  # stopped before
        self.listener.close()
        self.hang_up()

    def hang_up(self):
        """Closes all connections, as a restart does."""
        for connection in self.connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # closed already

    def logs(self):
        return {"backend": "\n".join(" | ".join(commands) for commands in self.sessions)}

    def accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            if connection.family == socket.AF_INET:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    # ---- a connection ----

    def serve(self, connection):
        commands = []
        with self.lock:
            self.connections.append(connection)
            self.sessions.append(commands)
        try:
            with connection, connection.makefile("rb") as lines:
                self.converse(connection, lines, commands)
        except OSError:
            pass

    def converse(self, connection, lines, commands):
        if self.answer(connection, lines, "banner"):
            self.talk(connection, lines, commands)

    def talk(self, connection, lines, commands):
        goes_on = True
        challenged = False
        while goes_on and (line := lines.readline()):
            commands.append(line.decode("latin-1").rstrip("\r\n"))
            step = commands[-1][:4].lower()
            if challenged and step not in self.answers:
                step = "auth"
            text = self.answer(connection, lines, step) if step != "bdat" else ""
            challenged = text and text.startswith("334")
            if step == "mail":
                recipients = 0
            if step == "rcpt" and text and text.startswith("2"):
                recipients += 1
            if step == "bdat":  # all of a message in one chunk, as smtpguard has it
                self.keep(commands, lines.read(int(commands[-1].split()[1])))
                text = self.answer(connection, lines, "dot")
            if step == "data" and text and text.startswith("354"):
                self.keep(commands, b"".join(iter(lines.readline, b".\r\n")))
                for _ in range(recipients if self.LMTP else 1):
                    text = text and self.answer(connection, lines, "dot")
            goes_on = text and step != "quit"

    def keep(self, commands, message):
        begins = max(i for i, command in enumerate(commands) if command[:4].lower() == "mail")
        with self.lock:
            self.envelopes.append(commands[begins:])
            self.messages.append(message)

    def answer(self, connection, lines, step):
        """The text that was sent; None when there is nothing more to say."""
        with self.lock:
            text = self.answers[step]
            if isinstance(text, list):
                text = text.pop(0) if len(text) > 1 else text[0]
        if text == HANG:
            lines.read()  # until the other side gives up
        if text in (HANG, CLOSE):
            return None
        connection.sendall(text.encode("latin-1") + b"\r\n")
        return text

    def script(self, **answers):
        """From now on these; None: the usual one again."""
        with self.lock:
            for step, text in answers.items():
                self.answers[step] = self.ANSWERS.get(step, "500 5.5.2 What?") if text is None else list(text)

    # ---- what the test asks ----

    def message(self):
        """Waits for the one message."""
        wait_for(lambda: self.messages, "a message at the backend")
        same(len(self.messages), 1, "messages at the backend")
        return self.messages[0]

    def taken(self):
        """What has come so far."""
        with self.lock:
            pairs = list(zip(self.envelopes, self.messages))
        return [opened(commands, message) for commands, message in pairs]


def opened(commands, message):
    addresses = [re.search("<(.*?)>", line)[1].encode("latin-1").decode() for line in commands if "<" in line]
    return Taken(addresses[0], addresses[1:], re.sub(rb"(?m)^\.", b"", message))


class LmtpBackend(Backend):
    LMTP = True


class UnixBackend(Backend):
    """On a Unix socket, which it takes away when it stops."""

    def listen(self, path):
        self.path = path
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        path.chmod(0o666)
        self.listener.listen()
        self.address = f"unix:{path}"

    def stop(self):
        super().stop()
        self.path.unlink(missing_ok=True)


class TlsBackend(Backend):
    """Offers STARTTLS with this certificate, and nothing without."""

    def __init__(self, pair, **answers):
        super().__init__(**answers)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(pair.cert, pair.key)
        self.handshakes = []  # what came of them

    def converse(self, connection, lines, commands):
        connection.sendall(b"220 tls.test ESMTP\r\n")
        commands.append(lines.readline().decode().strip())
        connection.sendall(b"250-tls.test\r\n250 STARTTLS\r\n")
        commands.append(lines.readline().decode().strip())
        if commands[-1] != "STARTTLS":
            return
        connection.sendall(b"220 2.0.0 Go ahead\r\n")
        try:
            with self.context.wrap_socket(connection, server_side=True) as inside, inside.makefile("rb") as text:
                self.handshakes.append("open")
                self.talk(inside, text, commands)
        except ssl.SSLError as why:
            self.handshakes.append(why.reason)
