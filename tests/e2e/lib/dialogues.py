"""The scripted dialogues of tests/dialogues (its README tells the format), read so that they can be played over a socket."""

import re
from collections import namedtuple

# What the client says, and for what a reply is due: verb is "BODY" for the end of a message and "RESPONSE" within AUTH.
Reply = namedtuple("Reply", "verb expected answer fault")
FLAGS = ("tls", "tls-on", "require-tls", "utf8", "dsn", "chunking", "binary", "requiretls", "no-8bit", "drop-bare", "whole-only")
ESCAPE = re.compile(rb"\\(x[0-9A-Fa-f]{2}|.)")
PLAIN = {b"r": b"\r", b"n": b"\n", b"t": b"\t", b"0": b"\0"}


def unescape(text):
    def octet(match):
        word = match.group(1)
        return bytes([int(word[1:], 16)]) if word[:1] == b"x" and len(word) == 3 else PLAIN.get(word, word)

    return ESCAPE.sub(octet, text)


class Dialogue:
    def __init__(self, name):
        self.name = name
        self.settings = {"size": 10000, "recipients": 3, "errors": 5, "line": 1024}
        self.items = []  # kind and text: C (octets), S, E, A, B, T, G

    def add(self, kind, text):
        if kind == "!":
            key, _, value = text.decode().partition(" ")
            self.settings[key] = True if key in FLAGS else value if key == "auth" else int(value)
        elif kind == "C":
            self.items.append(("C", text + b"\r\n"))
        elif kind == "C<":
            self.items.append(("C", unescape(text)))
        elif kind == "C*":
            count, _, unit = text.partition(b" ")
            self.items.append(("C", unescape(unit) * int(count)))
        elif kind == "S*":
            count, _, reply = text.partition(b" ")
            self.items += [("S", reply.decode())] * int(count)
        else:
            self.items.append((kind, unescape(text) if kind in "AB" else text.decode()))

    def groups(self):
        """What leaves together, and what is due then: ("C", octets) or another item."""
        said = b""
        for kind, text in self.items:
            if kind == "C":
                said += text
                continue
            if said:
                yield "C", said
            said = b""
            yield kind, text
        if said:
            yield "C", said

    def replies(self):
        """Pairs each reply with that for which it is due."""
        said, verb, found, answer, fault = b"", None, [], None, ""
        for kind, text in self.items:
            if kind == "C":
                said += text
            elif kind == "A":
                answer = text.decode()
            elif kind == "E" and text.startswith("MESSAGE"):
                fault = text.split(" ", 1)[1].removeprefix("ok").rstrip("0123456789 ")
            elif kind == "S":
                verb, said = next_unit(said, found[-1] if found else None)
                found.append(Reply(verb, text, answer, fault if verb == "BODY" or verb == "LAST" else ""))
                answer, fault = None, ""
        return found


def next_unit(said, before):
    """The verb of what comes next in what the client has said, and the rest of it."""
    if before is not None and before.expected.startswith("354"):
        end = 3 if said.startswith(b".\r\n") else said.index(b"\r\n.\r\n") + 5
        return "BODY", said[end:]
    if before is not None and before.expected.startswith("334"):
        return "RESPONSE", said.partition(b"\n")[2]
    line, _, rest = said.partition(b"\n")
    words = line.split()
    verb = words[0].upper().decode("latin-1") if words else ""
    if verb == "BDAT" and len(words) > 1 and words[1].isdigit():
        return ("LAST" if len(words) > 2 else "CHUNK"), rest[int(words[1]) :]
    return verb, rest


def read(folder):
    for file in sorted(folder.glob("*.txt")):
        dialogue = None
        for line in file.read_bytes().split(b"\n"):
            if line.startswith(b"== "):
                if dialogue:
                    yield dialogue
                dialogue = Dialogue(f"{file.stem}: {line[3:].decode()}")
            elif line.startswith(b"! "):
                dialogue.add("!", line[2:])
            elif line and not line.startswith(b"#"):
                kind, _, text = line.partition(b":")
                dialogue.add(kind.decode(), text.removeprefix(b" "))
        yield dialogue
