"""smtpguard itself: one instance with settings, state and log of its own."""

import http.client
import json
import shutil
import signal

from lib.check import Failed, same, wait_for
from lib.client import Client
from lib.process import Daemon, free_port, listens, run, tail


def base_settings(directory, port, backend, nameserver):
    """Every check is in force as by default, nobody is trusted; what would make tests slow is shorter."""
    return {
        "hostname": "mx.example.net",
        "listen": [{"name": "mx", "address": f"127.0.0.1:{port}", "role": "mx", "tls": "none"}],
        "backends": [{"address": backend}],
        "domains": {"relay": ["example.net"]},
        "networks": [],
        "limits": {
            "spool_dir": f"{directory}/spool",
            "connections": 1000,
            "new_connections_per_client": "10000/1m",
        },
        "dns": {"servers": [nameserver], "timeout": "1s", "tries": 2},
        "screen": {"banner_delay": "0s"},
        "greylist": {"delay": "1s", "window": "1h"},
        "store": {
            "url": f"sqlite:{directory}/state/state.db",
            "local": f"{directory}/state/state.db",
            "timeout": "2s",
        },
        "log": {"format": "json", "level": "debug"},
        "admin": {"http": "", "socket": ""},
        "runtime": {"workers": 2, "user": "nobody", "drain": "20s"},
    }


def merged(settings, sections):
    """Sections that are mappings are merged key by key; anything else takes the place of what was there."""
    result = dict(settings)
    for name, value in sections.items():
        if value is None:
            result.pop(name)
            continue
        mixes = isinstance(value, dict) and isinstance(result.get(name), dict)
        result[name] = merged(result[name], value) if mixes else value
    return result


class Guard:
    def __init__(self, binary, directory, backend, nameserver, sections):
        self.binary = binary
        self.dir = directory
        directory.mkdir()
        for name in ("spool", "state"):
            (directory / name).mkdir()
            shutil.chown(directory / name, "nobody")
        self.port = free_port()
        self.file = directory / "smtpguard.yaml"
        self.log = directory / "smtpguard.log"
        self.settings = merged(base_settings(directory, self.port, backend, nameserver), sections)
        self.write()
        self.killed = False
        self.daemon = Daemon([binary, "run", "-c", self.file], self.log)

    # ---- the process ----

    def write(self):
        """JSON is YAML."""
        self.file.write_text(json.dumps(self.settings, indent=2), encoding="utf-8")

    def start(self):
        self.daemon.start()
        self.daemon.wait_until(lambda: self.events(event="started"), "it listened")
        return self

    def start_again(self):
        """After kill(): a new process with the same settings and state, and a log of its own."""
        self.log.rename(self.log.with_suffix(".before"))
        self.killed = False
        return self.start()

    def stop(self):
        """SIGTERM; every session ends, and nothing is left over (under sanitizers: no leak)."""
        if not self.killed:
            same(self.daemon.stop(), 0, "smtpguard's exit code after SIGTERM")

    def kill(self):
        """SIGKILL, as the power company does it."""
        self.killed = True
        self.daemon.kill()

    def change(self, **sections):
        """New settings, and SIGHUP; returns the event that tells how it went. None takes a section away."""
        before = len(self.reloads())
        self.settings = merged(self.settings, sections)
        self.write()
        self.daemon.send(signal.SIGHUP)
        wait_for(lambda: len(self.reloads()) > before, "the reload")
        return self.reloads()[-1]

    def reloads(self):
        return [line for line in self.events() if line["event"] in ("reload", "reload.failed")]

    # ---- what it says ----

    def events(self, **fields):
        """The log's lines that hold all of these values."""
        return [
            line for line in self.lines() if all(line.get(name) == value for name, value in fields.items())
        ]

    def lines(self):
        if not self.log.exists():
            return []
        complete = self.log.read_bytes().rpartition(b"\n")[0].splitlines()
        return [json.loads(line) for line in complete if line.startswith(b"{")]

    def event(self, **fields):
        """Waits for the one line that holds all of these values."""
        found = wait_for(lambda: self.events(**fields), f"a log line with {fields}")
        if len(found) > 1:
            raise Failed(f"{len(found)} log lines with {fields}")
        return found[0]

    def get(self, path):
        """Status and text of a page on the admin port."""
        connection = http.client.HTTPConnection(self.settings["admin"]["http"], timeout=10)
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()

    def metric(self, name):
        """The value of one line of /metrics: metric('smtpguard_messages_total{action="accept"}')."""
        for line in self.get("/metrics")[1].splitlines():
            if line.startswith(name + " "):
                return float(line.rpartition(" ")[2])
        return 0.0

    def listens(self):
        return listens(self.port)

    def logs(self):
        return {f"smtpguard ({self.dir.name})": tail(self.log, 40)}

    # ---- clients ----

    def client(self, host, **options):
        return Client(self.port, host, **options)

    # ---- the other verbs ----

    def cli(self, *words, stdin=b""):
        """Runs a verb with these settings; returns its exit code and its answer, or else its complaint."""
        code, out, err = run(
            self.binary,
            *words,
            "-c",
            self.file,
            check=False,
            stdin=stdin,
            environment=self.daemon.environment,
        )
        return code, (out or err).decode()
