"""Clients that come and go all the time, while something happens to the guard."""

import socket
import threading

from lib.check import same, starts
from lib.mail import message
from lib.world import GOOD


class Crowd:
    """with Crowd(guard, "bob@example.net", senders=3): …; then nobody may have failed, and all that was sent is `sent`."""

    def __init__(self, guard, recipient, senders, visitors=0):
        self.guard, self.recipient = guard, recipient
        self.done = threading.Event()
        self.failures, self.sent, self.visits = [], [], []
        self.people = [threading.Thread(target=self.repeat, args=(self.send, self.sent)) for _ in range(senders)]
        self.people += [threading.Thread(target=self.repeat, args=(self.visit, self.visits)) for _ in range(visitors)]

    def __enter__(self):
        for person in self.people:
            person.start()
        return self

    def __exit__(self, kind, *_):
        self.done.set()
        for person in self.people:
            person.join()
        if kind is None:
            same(self.failures, [], "clients that failed")

    def repeat(self, act, counted):
        while not self.done.wait(0.005):
            try:
                act()
                counted.append(1)
            except Exception as why:
                self.failures.append(why)

    def send(self):
        with self.guard.client(GOOD) as client:
            client.envelope("alice@good.test", self.recipient)
            starts(client.data(message(recipient=self.recipient)), "250 ")
            client.quit()

    def visit(self):
        """Hello and goodbye."""
        with socket.create_connection(("127.0.0.1", self.guard.port), timeout=20) as client, client.makefile("rb") as lines:
            starts(lines.readline().decode(), "220 ")
            client.sendall(b"QUIT\r\n")
            starts(lines.readline().decode(), "221 ")
