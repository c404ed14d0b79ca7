"""An SMTP client that says exactly what it is told, from the address it is told: for tests that must misbehave."""
import socket
import ssl
from collections import namedtuple

WAIT_S = 10

Reply = namedtuple("Reply", "code text")  # 550, "5.7.1 Refused by …": lines of a long reply are joined with "\n"


class Client:
    """`Client(port, "127.0.2.1")` is a connection from that address; say() sends a line and reads its reply."""

    def __init__(self, port, source="127.0.0.1"):
        self.socket = socket.create_connection(("127.0.0.1", port), WAIT_S, (source, 0))
        self.stream = self.socket.makefile("rb")

    def __enter__(self):
        return self

    def __exit__(self, *trouble):
        self.close()

    def close(self):
        self.stream.close()
        self.socket.close()

    def send(self, octets):
        self.socket.sendall(octets)

    def read(self):
        """The next reply; code 0 when the server closed the connection instead."""
        texts = []
        while True:
            line = self.stream.readline().decode("latin-1").rstrip("\r\n")
            if not line:
                return Reply(0, "connection closed")
            texts.append(line[4:])
            if line[3:4] != "-":
                return Reply(int(line[:3]), "\n".join(texts))

    def say(self, line):
        self.send(line.encode("latin-1") + b"\r\n")
        return self.read()

    def starttls(self, behind=b""):
        """STARTTLS with `behind` in the same packet, and the handshake; certificates are not looked at."""
        self.send(b"STARTTLS\r\n" + behind)
        reply = self.read()
        if reply.code == 220:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            self.socket = context.wrap_socket(self.socket)
            self.stream = self.socket.makefile("rb")
        return reply

    def message(self, octets):
        """The message behind 354, dots doubled, with its end."""
        if octets.startswith(b"."):
            octets = b"." + octets
        self.send(octets.replace(b"\r\n.", b"\r\n..") + b".\r\n")
        return self.read()

    def deliver(self, helo, sender, recipient, octets):
        """A whole session up to the first refusal; returns the last reply."""
        steps = (lambda: self.read(), lambda: self.say("EHLO " + helo), lambda: self.say(f"MAIL FROM:<{sender}>"),
                 lambda: self.say(f"RCPT TO:<{recipient}>"), lambda: self.say("DATA"), lambda: self.message(octets))
        for step in steps:
            reply = step()
            if reply.code >= 400 or reply.code == 0:
                break
        return reply
