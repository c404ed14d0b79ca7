"""A client that says exactly what the test says, from the address that the test chooses."""

import socket
import ssl

from lib.check import Failed, starts, true


def trusting():
    """A TLS context that believes any certificate, as clients on port 25 do."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class Client:
    """Replies are text: "250 2.0.0 Ok", the lines of a longer one with a line feed between them; "" is the
    end of the connection."""

    def __init__(self, port, host, greeting="220", tls=None, server="127.0.0.1"):
        self.host = host
        server = "::1" if ":" in host.address else server
        self.socket = socket.create_connection((server, port), timeout=30, source_address=(host.address, 0))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        if tls is not None:
            self.handshake(tls)
        self.greeting = None
        if greeting is not None:
            self.greeting = self.read()
            starts(self.greeting, greeting)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def handshake(self, context=None):
        self.socket = (context or trusting()).wrap_socket(self.socket, server_hostname="mx.example.net")

    # ---- bytes ----

    def send(self, data):
        self.socket.sendall(data)

    def line(self):
        while b"\n" not in self.buffer:
            try:
                data = self.socket.recv(65536)
            except TimeoutError:
                raise Failed(f"no reply from the server in 30 s; so far {self.buffer!r}") from None
            except ConnectionResetError:
                data = b""
            if not data:
                return b""
            self.buffer += data
        line, _, self.buffer = self.buffer.partition(b"\n")
        return line + b"\n"

    def read(self):
        lines = []
        while True:
            line = self.line()
            if line and not line.endswith(b"\r\n"):
                raise Failed(f"a reply line without CRLF: {line!r}")
            text = line.decode("ascii").rstrip("\r\n")
            lines.append(text)
            if text[3:4] != "-":
                return "\n".join(lines)

    # ---- dialogue ----

    def say(self, line, reply=""):
        """Sends a command and returns its reply, which begins with `reply`."""
        self.send(line.encode("latin-1") + b"\r\n")
        answer = self.read()
        starts(answer, reply)
        return answer

    def ehlo(self, name=None):
        return self.say(f"EHLO {name or self.host.name}", "250")

    def starttls(self, context=None):
        self.say("STARTTLS", "220 ")
        self.handshake(context)
        return self.ehlo()

    def envelope(self, sender, *recipients):
        """EHLO, MAIL and RCPT, all of them accepted."""
        self.ehlo()
        self.say(f"MAIL FROM:<{sender}>", "250 ")
        for recipient in recipients:
            self.say(f"RCPT TO:<{recipient}>", "250 ")

    def data(self, message):
        """DATA and the message (bytes with CRLF; the dots are stuffed here); returns the last reply."""
        self.say("DATA", "354 ")
        self.send(stuffed(message))
        return self.read()

    def quit(self):
        self.say("QUIT", "221 ")
        true(self.ended(), "the server goes on after QUIT")

    def ended(self):
        """Whether the server closes the connection without another word."""
        return self.read() == ""


def attempt(guard, host, message):
    """The first reply that is no success, or the last one; the session itself always goes on to its QUIT."""
    with guard.client(host) as client:
        client.ehlo()
        client.say("MAIL FROM:<alice@good.test>", "250 ")
        reply = client.say("RCPT TO:<bob@example.net>")
        if reply.startswith("250"):
            reply = client.data(message)
        client.quit()
    return reply


def stuffed(message):
    text = message.replace(b"\r\n.", b"\r\n..")
    return (
        (b"." if text.startswith(b".") else b"")
        + text
        + (b".\r\n" if text.endswith(b"\r\n") else b"\r\n.\r\n")
    )
