"""A milter that lets everything pass, and remembers who was said to have sent it (Postfix's MILTER_README)."""

import socket
import struct
import threading

VERSION, NO_STEPS_LEFT_OUT = 6, (0, 0)
NEGOTIATE, MACROS, CONNECT, ABORT, QUIT = b"O", b"D", b"C", b"A", b"Q"


class Milter:
    def __init__(self):
        self.clients = []  # (name, address) of each connection
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]

    def start(self):
        threading.Thread(target=self.accept, daemon=True).start()
        return self

    def stop(self):
        self.listener.close()

    def logs(self):
        return {"milter": repr(self.clients)}

    def accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        with connection, connection.makefile("rb") as packets:
            while length := packets.read(4):
                packet = packets.read(struct.unpack("!I", length)[0])
                command, data = packet[:1], packet[1:]
                if command == NEGOTIATE:
                    self.answer(connection, NEGOTIATE + struct.pack("!3I", VERSION, *NO_STEPS_LEFT_OUT))
                elif command == CONNECT:  # name NUL family port address NUL
                    name, _, rest = data.partition(b"\0")
                    self.clients.append((name.decode(), rest[3:].rstrip(b"\0").decode()))
                if command not in (NEGOTIATE, MACROS, ABORT, QUIT):
                    self.answer(connection, b"c")  # continue

    def answer(self, connection, packet):
        connection.sendall(struct.pack("!I", len(packet)) + packet)
