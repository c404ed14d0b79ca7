"""A DNS server that answers from a table, for suites that come with their own DNS data."""

import socketserver
import threading

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from lib.process import free_port

UDP_BYTES = 1232


def text_of(name):
    """A name as the tables write it: lower case, no final dot, one character an octet."""
    return b".".join(name.labels[:-1]).lower().decode("latin-1")


def quoted(chunk):
    return '"' + "".join(c if " " <= c <= "~" and c not in '"\\' else f"\\{ord(c):03d}" for c in chunk) + '"'


def written(kind, value):
    """A record of the table as a zone file writes it."""
    if kind == "TXT":
        return " ".join(map(quoted, value)) or '""'
    if kind == "MX":
        return f"{value[0]} {value[1].rstrip('.')}."
    return value.rstrip(".") + "." if kind in ("CNAME", "PTR") else value


def name_of(text):
    """The opposite of text_of."""
    return dns.name.Name([label.encode("latin-1") for label in text.split(".")] + [b""])


def zone_of(table):
    """The table as a zone file of the root. What no server can be made to do is not in it: `_timeout`."""
    lines = ["$TTL 60", ". SOA ns.invalid. root.invalid. 1 3600 600 86400 60", ". NS ns.invalid."]
    for name, entry in table.items():
        for kind, values in entry.items():
            if not kind.startswith("_") and kind != "SPF":
                lines += [
                    f"{name_of(name)} {kind} {written(kind, value)}"
                    for value in ([values] if kind == "CNAME" else values)
                ]
    return "\n".join(lines) + "\n"


class ScriptedDns:
    """Answers from `table`, which may be changed at any time: {"name": {"TXT": [["chunk", …], …], "A": […]}}.
    An absent name is NXDOMAIN; `_timeout` leaves types that are not listed unanswered, `_rcode` is the answer
    to all."""

    def __init__(self):
        self.table = {}
        server = self

        class Udp(socketserver.BaseRequestHandler):
            def handle(self):
                data, socket = self.request
                reply = server.answer(data, UDP_BYTES)
                if reply:
                    socket.sendto(reply, self.client_address)

        class Tcp(socketserver.StreamRequestHandler):
            def handle(self):
                while length := int.from_bytes(self.rfile.read(2), "big"):
                    reply = server.answer(self.rfile.read(length), 65535)
                    if reply:
                        self.wfile.write(len(reply).to_bytes(2, "big") + reply)

        self.udp = socketserver.ThreadingUDPServer(("127.0.0.1", free_port()), Udp)
        self.address = "127.0.0.1:%d" % self.udp.server_address[1]
        self.tcp = socketserver.ThreadingTCPServer(self.udp.server_address, Tcp)
        self.udp.daemon_threads = self.tcp.daemon_threads = True

    def start(self):
        for server in (self.udp, self.tcp):
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def stop(self):
        for server in (self.udp, self.tcp):
            server.shutdown()
            server.server_close()

    def logs(self):
        return {}

    def answer(self, data, most):
        query = dns.message.from_wire(data)
        reply = dns.message.make_response(query, recursion_available=True)
        if not self.fill(reply, query.question[0]):
            return None
        wire = reply.to_wire(max_size=65535)
        if len(wire) > most:
            reply.answer = []
            reply.flags |= dns.flags.TC
            wire = reply.to_wire()
        return wire

    def fill(self, reply, question):
        """Follows CNAMEs as a resolver does. False: no answer at all."""
        name, kind = question.name, dns.rdatatype.to_text(question.rdtype)
        for _ in range(10):
            entry = self.table.get(text_of(name))
            if entry is None:
                reply.set_rcode(dns.rcode.NXDOMAIN)
                return True
            if "_rcode" in entry:
                reply.set_rcode(dns.rcode.from_text(str(entry["_rcode"])))
                return True
            if kind in entry:
                self.add(reply, name, kind, entry[kind])
                return True
            if "CNAME" not in entry:
                return not entry.get("_timeout")
            self.add(reply, name, "CNAME", [entry["CNAME"]])
            name = dns.name.from_text(entry["CNAME"])
        reply.set_rcode(dns.rcode.SERVFAIL)  # a loop
        return True

    @staticmethod
    def add(reply, name, kind, values):
        records = [
            dns.rdata.from_text(dns.rdataclass.IN, dns.rdatatype.from_text(kind), written(kind, v))
            for v in values
        ]
        reply.answer.append(dns.rrset.from_rdata_list(name, 60, records))
