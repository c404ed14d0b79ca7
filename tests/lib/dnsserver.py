"""A small DNS server for tests: its zone is text, it can be changed while it runs, and it can fail on purpose.

    from dnsserver import DnsServer
    dns = DnsServer('''
        example.org            MX    10 mx.example.org
        example.org            TXT   v=spf1 ip4:192.0.2.0/24 -all
        *.lists.test           A     127.0.0.2
        broken.test            FAIL  SERVFAIL          # or REFUSED, FORMERR, SILENT (no answer at all)
    ''')
    dns.start()            # on dns.address, e.g. "127.0.0.1:40053": UDP and TCP, each on a thread of its own
    dns.add("new.test TXT v=spf1 -all")
    dns.remove("new.test") # all its records
    dns.asked              # [("example.org", "MX"), …] in the order of arrival
    dns.stop()

One record a line: name, type, and the rest of the line as its data; names without a final dot, in any case. A name
that has nothing, but something below it, exists (NODATA). `*.` stands for any name that does not exist otherwise
(RFC 4592). CNAMEs are followed within the zone. As a program: dnsserver.py IP:PORT ZONEFILE
"""
import ipaddress
import random
import socket
import struct
import sys
import threading

TYPES = {"A": 1, "NS": 2, "CNAME": 5, "SOA": 6, "PTR": 12, "MX": 15, "TXT": 16, "AAAA": 28}
TYPE_NAMES = {number: name for name, number in TYPES.items()}
RCODES = {"OK": 0, "FORMERR": 1, "SERVFAIL": 2, "NXDOMAIN": 3, "REFUSED": 5}
OPT = 41
TTL = 60
UDP_PLAIN = 512  # of an answer to a question without EDNS; what is longer comes by TCP
CNAMES_MAX = 8
PORTS = range(10000, 32000)  # below those that the kernel gives to clients


def packed_name(name):
    labels = [label.encode("utf-8", "surrogateescape") for label in name.split(".") if label]
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def packed_data(kind, data):
    """The RDATA of one record."""
    if kind in ("A", "AAAA"):
        return ipaddress.ip_address(data).packed
    if kind in ("NS", "CNAME", "PTR"):
        return packed_name(data)
    if kind == "MX":
        preference, name = data.split()
        return struct.pack("!H", int(preference)) + packed_name(name)
    if kind == "TXT":
        octets = data.encode("utf-8", "surrogateescape")
        pieces = [octets[i:i + 255] for i in range(0, len(octets), 255)] or [b""]
        return b"".join(bytes([len(piece)]) + piece for piece in pieces)
    if kind == "SOA":
        return packed_name("ns.test") + packed_name("hostmaster.test") + struct.pack("!5I", 1, 3600, 600, 86400, TTL)
    raise ValueError(f"no record type {kind}")


class Question:
    """The first question of a packet; struct.error, IndexError or ValueError when it is none."""

    def __init__(self, packet):
        self.id, self.flags, questions, _, _, additional = struct.unpack_from("!6H", packet)
        if questions != 1 or self.flags & 0x8000:
            raise ValueError("no question")
        labels, at = [], 12
        while packet[at]:
            labels.append(packet[at + 1:at + 1 + packet[at]].decode("utf-8", "surrogateescape"))
            at += 1 + packet[at]
        self.name = ".".join(labels).lower()
        self.type, _ = struct.unpack_from("!2H", packet, at + 1)
        self.raw = packet[12:at + 5]
        self.edns_room = 0
        if additional and packet[at + 5:at + 8] == b"\0" + struct.pack("!H", OPT):
            self.edns_room, = struct.unpack_from("!H", packet, at + 8)


class DnsServer:
    def __init__(self, zone="", ip="127.0.0.1", port=0):
        self.lock = threading.Lock()
        self.records = {}  # name: [(type, data), …]
        self.failures = {}  # name: "SERVFAIL", "SILENT", …
        self.asked = []
        self.add(zone)
        self.udp, self.tcp = self._bind(ip, port)
        self.address = "%s:%d" % (ip, self.udp.getsockname()[1])

    @staticmethod
    def _bind(ip, port):
        """The same port for UDP and TCP; when any will do, until both are free."""
        while True:
            udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                udp.bind((ip, port or random.choice(PORTS)))
                tcp.bind(udp.getsockname())
                tcp.listen(16)
                return udp, tcp
            except OSError:
                udp.close()
                tcp.close()
                if port:
                    raise

    # ---- the zone ----

    def add(self, text):
        with self.lock:
            for line in text.splitlines():
                words = line.split(None, 2)
                if not words or words[0].startswith("#"):
                    continue
                name, kind, data = words[0].lower().rstrip("."), words[1], words[2].strip()
                if kind == "FAIL":
                    self.failures[name] = data.split("#")[0].strip()
                else:
                    packed_data(kind, data)  # complain now, not when somebody asks
                    self.records.setdefault(name, []).append((kind, data))

    def remove(self, name):
        with self.lock:
            self.records.pop(name.lower(), None)
            self.failures.pop(name.lower(), None)

    def _exists(self, name):
        return name in self.records or any(other.endswith("." + name) for other in self.records)

    def _records_of(self, name):
        """The name's records, or those of the wildcard that stands for it, or None when the name does not exist."""
        if self._exists(name):
            return self.records.get(name, [])
        above = name
        while "." in above:
            above = above.split(".", 1)[1]
            if "*." + above in self.records:
                return self.records["*." + above]
            if self._exists(above):
                break  # a wildcard does not reach below a name that exists (RFC 4592 3.3.1)
        return None

    def _look_up(self, name, kind):
        """rcode, and the records of the answer as (name, type, data)."""
        found = []
        for _ in range(CNAMES_MAX):
            records = self._records_of(name)
            if records is None:
                return ("OK" if found else "NXDOMAIN"), found
            wanted = [(name, own, data) for own, data in records if own == kind]
            alias = [data for own, data in records if own == "CNAME"]
            if wanted or not alias:
                return "OK", found + wanted
            found.append((name, "CNAME", alias[0]))
            name = alias[0].lower()
        return "SERVFAIL", []

    # ---- answering ----

    def answer(self, packet, room):
        """The answer to a packet in at most `room` octets (None: by TCP); None for silence."""
        try:
            question = Question(packet)
        except (struct.error, IndexError, ValueError):
            return None
        kind = TYPE_NAMES.get(question.type, "")
        with self.lock:
            self.asked.append((question.name, kind or str(question.type)))
            failure = self.failures.get(question.name)
            rcode, found = (failure, []) if failure else self._look_up(question.name, kind)
        if rcode == "SILENT":
            return None
        body = b"".join(self._packed(*record) for record in found)
        authority = b"" if found or failure else self._packed("", "SOA", "")
        extra = b"\0" + struct.pack("!HHIH", OPT, 1232, 0, 0) if question.edns_room else b""
        truncated = 0
        if room is not None and 12 + len(question.raw + body + authority + extra) > max(question.edns_room, room):
            truncated, found, body, authority = 0x0200, [], b"", b""
        # An answer (0x8000) with authority (0x0400) and recursion (0x0080); RD is repeated.
        flags = 0x8480 | truncated | (question.flags & 0x0100) | RCODES[rcode]
        counts = (1, len(found), 1 if authority else 0, 1 if extra else 0)
        return struct.pack("!6H", question.id, flags, *counts) + question.raw + body + authority + extra

    @staticmethod
    def _packed(name, kind, data):
        rdata = packed_data(kind, data)
        return packed_name(name) + struct.pack("!HHIH", TYPES[kind], 1, TTL, len(rdata)) + rdata

    def _serve_udp(self):
        while True:
            try:
                packet, peer = self.udp.recvfrom(4096)
            except OSError:
                return  # stopped
            answer = self.answer(packet, UDP_PLAIN)
            if answer is not None:
                self.udp.sendto(answer, peer)

    def _serve_tcp(self):
        while True:
            try:
                peer, _ = self.tcp.accept()
            except OSError:
                return
            threading.Thread(target=self._serve_connection, args=(peer,), daemon=True).start()

    def _serve_connection(self, peer):
        with peer, peer.makefile("rb") as stream:
            while True:
                head = stream.read(2)
                if len(head) < 2:
                    return
                answer = self.answer(stream.read(struct.unpack("!H", head)[0]), None)
                if answer is not None:
                    peer.sendall(struct.pack("!H", len(answer)) + answer)

    def start(self):
        for serve in (self._serve_udp, self._serve_tcp):
            threading.Thread(target=serve, daemon=True).start()
        return self

    def stop(self):
        for server in (self.udp, self.tcp):
            try:
                server.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits in it
            except OSError:
                pass  # UDP says that it has no peer, and wakes all the same
            server.close()


def main():
    if len(sys.argv) != 3:
        sys.exit("usage: dnsserver.py IP:PORT ZONEFILE")
    ip, port = sys.argv[1].rsplit(":", 1)
    with open(sys.argv[2], encoding="utf-8", errors="surrogateescape") as zone:
        server = DnsServer(zone.read(), ip, int(port)).start()
    print(server.address, flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
