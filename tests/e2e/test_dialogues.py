"""The dialogues of tests/dialogues once more, over loopback: with the whole program between the client and a backend."""

import json

from lib import certificate, dialogues
from lib.check import Failed, same, starts, true
from lib.client import trusting
from lib.harness import ROOT
from lib.world import GOOD

BYTE_BY_BYTE = 3000  # longer dialogues are said in groups only


def is_played(dialogue):
    """Not over loopback: who is greeted how, what this program's own policy says to EHLO, STARTTLS, MAIL and DATA, and
    settings that the daemon does not have."""
    settings, text = dialogue.settings, b"".join(text for kind, text in dialogue.items if kind == "C")
    asked = [reply for reply in dialogue.replies() if reply.answer is not None]
    return (
        not any(kind == "G" for kind, _ in dialogue.items)
        and all(reply.verb in ("RCPT", "BODY", "LAST", "AUTH", "RESPONSE") for reply in asked)
        and not any(reply.answer.startswith("421") for reply in asked)  # which ends the backend's session, not the client's
        and settings["line"] >= 1024
        and "requiretls" not in settings  # a link that is verified: test_link_tls
        and (b"BDAT" not in text or "chunking" in settings or "binary" in settings)
    )


def ehlo(settings):
    has = [f"SIZE {settings['size']}", "PIPELINING", "ENHANCEDSTATUSCODES"]
    has += [] if "no-8bit" in settings else ["8BITMIME"]
    has += ["SMTPUTF8"] if "utf8" in settings else []
    has += ["DSN"] if "dsn" in settings else []
    has += ["CHUNKING", "BINARYMIME"] if "binary" in settings else []
    has += [f"AUTH {settings['auth']}"] if "auth" in settings else []
    return "".join(f"250-{word}\r\n" for word in ["backend.test", *has]) + "250 HELP"


class Stage:
    """smtpguard and a scripted backend for the dialogues that have these settings in common."""

    def __init__(self, t, pair, settings):
        self.settings = settings
        self.backend = t.backend(ehlo=ehlo(settings))
        self.guard = t.prepare(
            self.backend,
            networks=["127.0.0.0/8"],
            limits={"recipients": settings["recipients"], "errors": settings["errors"], "line": f"{-(-settings['line'] // 1024)}K"},
            screen={"bare_line_ends": "drop" if "drop-bare" in settings else "refuse"},
            tls={"cert": str(pair.cert), "key": str(pair.key)},
        )
        self.guard.settings["listen"][0].update(
            role="outbound" if "auth" in settings else "mx",
            tls="implicit" if "tls-on" in settings
            else "require" if "require-tls" in settings
            else "starttls" if "tls" in settings
            else "none",
        )
        self.guard.settings["runtime"]["workers"] = 1
        self.guard.write()
        self.guard.start()
        self.learn()

    def connect(self):
        return self.guard.client(GOOD, tls=trusting() if "tls-on" in self.settings else None)

    def learn(self):
        """What the backend offers is known once it was spoken to."""
        with self.connect() as client:
            if "require-tls" in self.settings:
                client.ehlo()
                client.starttls()
            client.envelope("a@b.example", "c@d.example")

    def play(self, dialogue, one_by_one):
        replies = dialogue.replies()
        asked = {"rcpt": [], "dot": [], "auth": []}
        for reply in replies:
            step = {"RCPT": "rcpt", "BODY": "dot", "LAST": "dot", "AUTH": "auth", "RESPONSE": "auth"}.get(reply.verb)
            usual = {"rcpt": "250 2.1.5 Ok", "dot": "250 2.0.0 Yes", "auth": "235 2.7.0 Welcome"}.get(step)
            if step and (reply.answer or reply.expected[0] == "2") and not reply.fault:
                asked[step].append(reply.answer or usual)
        bodies = []
        self.backend.script(**{step: answers or None for step, answers in asked.items()})
        with self.connect() as client:
            for kind, text in dialogue.groups():
                if kind == "C":
                    say(client, text, 1 if one_by_one else len(text))
                elif kind == "S":
                    compare(replies.pop(0), client.read())
                elif kind == "T":
                    client.handshake()
                elif kind == "B":
                    bodies.append(text)
                elif kind == "E" and text.startswith("CLOSE"):
                    true(client.ended(), "the session goes on")
        for raw, body in zip(self.backend.messages[-len(bodies) :], bodies):
            true(raw.endswith(body) or raw.replace(b"\r\n.", b"\r\n").endswith(body), f"the backend has {raw!r}, not {body!r}")


def say(client, text, piece):
    for i in range(0, len(text), piece):
        try:
            client.send(text[i : i + piece])
        except OSError:
            return  # the session has ended, as its dialogue may want it


def compare(reply, got):
    got = " | ".join([got.split("\n")[0].replace("-", " ", 1), *(line[4:] for line in got.split("\n")[1:])])
    if reply.verb == "EHLO" and reply.expected.startswith("250 mx"):
        missing = set(reply.expected[4:].split(" | ")) - set(got[4:].split(" | ")) - {"LIMITS"}
        same(missing, set(), "what EHLO lacks")
    elif reply.answer is not None and not reply.fault:
        starts(got, reply.expected)
    else:  # our own words may be others than the engine's test has
        code, _, rest = reply.expected.partition(" ")
        enhanced = rest.split(" ")[0] if rest[:1] in ("2", "4", "5") and "." in rest[:4] else ""
        starts(got, f"{code} {enhanced}".strip())


def test_dialogues(t):
    """Each dialogue that does not need another policy gets the same replies over loopback, in groups and byte by byte."""
    stages, faults, played = {}, [], 0
    pair = certificate.make(t.dir, "mx")
    every = list(dialogues.read(ROOT / "tests/dialogues"))
    for dialogue in every:
        if not is_played(dialogue):
            continue
        key = json.dumps({**dialogue.settings, "whole-only": None}, sort_keys=True)
        if key not in stages:
            stages[key] = Stage(t, pair, dialogue.settings)
        played += 1
        octets = sum(len(text) for kind, text in dialogue.items if kind == "C")
        whole_only = "whole-only" in dialogue.settings or octets > BYTE_BY_BYTE or any(kind == "T" for kind, _ in dialogue.items)
        for one_by_one in (False,) if whole_only else (False, True):
            try:
                stages[key].play(dialogue, one_by_one)
            except (Failed, OSError, ValueError) as why:
                faults.append(f"{dialogue.name}{', byte by byte' if one_by_one else ''}: {why}")
    for stage in stages.values():
        stage.guard.stop()
    print(f"{played} of {len(every)} dialogues, {len(stages)} settings, {len(faults)} faults", flush=True)
    if faults:
        raise Failed("\n".join(faults))
