"""A DNS server that does wrong on purpose: a label of the name asked says how."""

import os
import socket
import struct
import threading
import time

from lib.process import free_port

A, CNAME, TXT = 1, 5, 16
FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED = 1, 2, 3, 4, 5
QUESTION_NAME = b"\xc0\x0c"  # a pointer to it


def wire(name):
    return b"".join(bytes([len(label)]) + label for label in name.encode().split(b".") if label) + b"\0"


def record(kind, data, ttl=60, owner=QUESTION_NAME, length=None):
    return owner + struct.pack("!HHIH", kind, 1, ttl, len(data) if length is None else length) + data


def text(value):
    octets = value.encode()
    return b"".join(bytes([len(piece)]) + piece for piece in (octets[i:i + 255] for i in range(0, len(octets), 255)))


class Query:
    def __init__(self, packet, tcp):
        self.id, = struct.unpack_from("!H", packet)
        labels, at = [], 12
        while packet[at]:
            labels.append(packet[at + 1:at + 1 + packet[at]].decode().lower())
            at += 1 + packet[at]
        self.labels = labels
        self.kind, = struct.unpack_from("!H", packet, at + 1)
        self.question = packet[12:at + 5]
        self.edns, self.tcp = packet[11] == 1, tcp

    def answer(self, records=(), rcode=0, flags=0x8180, question=None, question_id=None, count=None):
        head = struct.pack("!6H", self.id if question_id is None else question_id, flags | rcode, 1,
                           len(records) if count is None else count, 0, 0)
        return head + (question or self.question) + b"".join(records)


class FaultyDns:
    """Every name has the record that a policy or a listing takes, behind the fault that one of its labels names. The
    server only ever does what a hostile or broken one may: it never knows what smtpguard makes of it."""

    def __init__(self, late_s):
        self.late_s = late_s
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind(("127.0.0.1", self.port))
        self.tcp = socket.create_server(("127.0.0.1", self.port))
        self.held = []  # connections that never get an answer

    def start(self):
        for serve in (self.serve_udp, self.serve_tcp):
            threading.Thread(target=serve, daemon=True).start()
        return self

    def stop(self):
        for end in (self.udp, self.tcp):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # it has no peer, and wakes all the same
            end.close()
        for connection in self.held:
            connection.close()

    def logs(self):
        return {}

    # ---- carrying ----

    def serve_udp(self):
        while True:
            try:
                packet, peer = self.udp.recvfrom(4096)
            except OSError:
                return
            if not packet:
                return  # stopped
            threading.Thread(target=self.reply_udp, args=(packet, peer), daemon=True).start()

    def reply_udp(self, packet, peer):
        for reply in self.replies(Query(packet, False)):
            try:
                self.udp.sendto(reply, peer)
            except OSError:
                return  # stopped meanwhile

    def serve_tcp(self):
        while True:
            try:
                connection, _ = self.tcp.accept()
            except OSError:
                return
            self.held.append(connection)
            threading.Thread(target=self.reply_tcp, args=(connection,), daemon=True).start()

    def reply_tcp(self, connection):
        """Several questions may come on one connection, and each waits for no other."""
        with connection.makefile("rb") as stream:
            while len(head := stream.read(2)) == 2:
                query = Query(stream.read(int.from_bytes(head, "big")), True)
                for reply in self.replies(query):
                    connection.sendall(struct.pack("!H", len(reply)) + reply)

    # ---- faults ----

    def good(self, query):
        if query.kind == A:
            return record(A, b"\x7f\0\0\2")
        policy = "v=DMARC1; p=reject" if "_dmarc" in query.labels else "v=spf1 +all"
        return record(TXT, text(policy)) if query.kind == TXT else b""

    def replies(self, query):
        for label in query.labels:
            fault = getattr(self, "fault_" + label.replace("-", "_"), None)
            if fault:
                return fault(query)
        return [query.answer([self.good(query)])]

    def fault_servfail(self, query):
        return [query.answer(rcode=SERVFAIL)]

    def fault_refused(self, query):
        return [query.answer(rcode=REFUSED)]

    def fault_no_edns(self, query):
        return [query.answer(rcode=FORMERR) if query.edns else query.answer([self.good(query)])]

    def fault_no_edns_notimp(self, query):
        return [query.answer(rcode=NOTIMP) if query.edns else query.answer([self.good(query)])]

    def fault_always_formerr(self, query):
        return [query.answer(rcode=FORMERR)]

    def fault_truncated(self, query):
        return [query.answer([self.good(query)]) if query.tcp else query.answer(flags=0x8380)]

    def fault_truncated_dead(self, query):
        return [] if query.tcp else [query.answer(flags=0x8380)]

    def fault_truncated_twice(self, query):
        return [query.answer(flags=0x8380)]

    def fault_silent(self, query):
        return []

    def fault_late(self, query):
        time.sleep(self.late_s)
        return [query.answer([self.good(query)])]

    def fault_wrong_id(self, query):
        return [query.answer([self.good(query)], question_id=query.id ^ 1)]

    def fault_forged_first(self, query):
        """A wrong id first, then the right one: the first must not count."""
        evil = query.answer([record(A, b"\x7f\0\0\x63"), record(TXT, text("v=spf1 -all"))], question_id=query.id ^ 1)
        return [evil, query.answer([self.good(query)])]

    def fault_wrong_question(self, query):
        other = wire("elsewhere.test") + query.question[-4:]
        return [query.answer([self.good(query)], question=other)]

    def fault_stranger(self, query):
        """Records of another name than the one that was asked."""
        return [query.answer([record(query.kind, b"\x7f\0\0\2" if query.kind == A else text("v=spf1 +all"), owner=wire("evil.test"))])]

    def fault_loop(self, query):
        return [query.answer([record(CNAME, wire("b.test")), record(CNAME, QUESTION_NAME, owner=wire("b.test"))])]

    def fault_chain(self, query):
        links = [record(CNAME, wire("c0.test"))]
        links += [record(CNAME, wire(f"c{i + 1}.test"), owner=wire(f"c{i}.test")) for i in range(20)]
        return [query.answer(links)]

    def fault_self(self, query):
        return [query.answer([record(CNAME, QUESTION_NAME)])]

    def fault_huge(self, query):
        """64 KiB by TCP, and among it the one record that counts."""
        if not query.tcp:
            return [query.answer(flags=0x8380)]
        filling = [record(query.kind, text("x" * 700) if query.kind == TXT else b"\x7f\0\0\2") for _ in range(80)]
        return [query.answer(filling + [self.good(query)])]

    def fault_many(self, query):
        """All that fits into 64 KiB, and in the end what was asked for."""
        if not query.tcp:
            return [query.answer(flags=0x8380)]
        other = record(TXT, text("a=b")) if query.kind == TXT else self.good(query)
        return [query.answer([other] * 4000 + [self.good(query)])]

    def fault_long_record(self, query):
        """One TXT of 60,000 octets."""
        if not query.tcp:
            return [query.answer(flags=0x8380)]
        policy = "v=DMARC1; p=reject; " if "_dmarc" in query.labels else "v=spf1 "
        return [query.answer([record(query.kind, text(policy + "x" * 60000) if query.kind == TXT else b"\x7f\0\0\2")])]

    def fault_bomb(self, query):
        """Names that are pointers to pointers: to themselves, forward, and in a long stair."""
        at = 12 + len(query.question)
        stair = b"".join(struct.pack("!H", 0xC000 | (12 if i == 0 else at + 2 * (i - 1))) for i in range(200))
        return [query.answer([stair + record(query.kind, b"\x7f\0\0\2", owner=b"")])]

    def fault_bomb_self(self, query):
        at = 12 + len(query.question)
        return [query.answer([record(query.kind, b"\x7f\0\0\2", owner=struct.pack("!H", 0xC000 | at))])]

    def fault_bomb_forward(self, query):
        return [query.answer([record(query.kind, b"\x7f\0\0\2", owner=b"\xff\xff")])]

    def fault_nx_with_answer(self, query):
        return [query.answer([self.good(query)], rcode=NXDOMAIN)]

    def fault_ttl_top_bit(self, query):
        return [query.answer([self.good(query).replace(b"\0\0\0\x3c", b"\xff\xff\xff\xff", 1)])]

    def fault_ttl_zero(self, query):
        return [query.answer([self.good(query).replace(b"\0\0\0\x3c", b"\0\0\0\0", 1)])]

    def fault_cut(self, query):
        return [query.answer([self.good(query)])[:-3]]

    def fault_counts_lie(self, query):
        return [query.answer([self.good(query)], count=65535)]

    def fault_length_lies(self, query):
        return [query.answer([record(query.kind, b"\x7f\0\0\2", length=60000)])]

    def fault_garbage(self, query):
        """Random octets behind the right id, so that they are looked at."""
        return [struct.pack("!H", query.id) + os.urandom(200), query.answer([os.urandom(300)], count=5)]

    def fault_empty(self, query):
        return [b"", b"\0", struct.pack("!H", query.id), query.answer([self.good(query)])]

    def fault_query_back(self, query):
        return [query.answer([self.good(query)], flags=0x0100)]
