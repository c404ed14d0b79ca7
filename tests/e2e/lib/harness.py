"""Finds the tests, gives each what it needs, and says what failed and why."""

import concurrent.futures
import contextlib
import importlib
import itertools
import os
import shutil
import sys
import tempfile
import threading
import time
import traceback
from pathlib import Path

from lib.backend import Backend
from lib.check import Skipped
from lib.guard import Guard
from lib.nameserver import NameServer
from lib.postfix import USERS, Postfix
from lib.world import World

ROOT = Path(__file__).resolve().parents[3]
AT_ONCE = 4  # tests mostly wait: for delays, deadlines and signals


class House:
    """What all tests share: the keys, the DNS servers and the Postfix that receives."""

    def __init__(self, binary):
        self.binary = Path(binary).resolve()
        self.dir = Path(tempfile.mkdtemp(prefix="smtpguard-e2e."))
        self.dir.chmod(0o755)  # Postfix and smtpguard go in with users of their own
        self.world = World(self.dir)
        self.dns = NameServer(self.dir / "dns", self.world.zone)
        self.postfix = Postfix(self.dir / "postfix")
        self.users = itertools.count(1)
        self.lock = threading.Lock()

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            for service in (self.dns, self.postfix):
                stack.callback(service.stop)
                service.start()
            self.services = stack.pop_all()
        return self

    def __exit__(self, *_):
        self.services.close()

    def recipient(self):
        with self.lock:
            number = next(self.users)
        if number > USERS:
            raise RuntimeError("no mailbox left: raise USERS in lib/postfix.py")
        return f"u{number}@example.net"


class Test:
    """What a test function gets. Whatever it starts ends with it, and must end well."""

    def __init__(self, house, function):
        self.house, self.function = house, function
        self.name = function.__name__
        self.sentence = " ".join(function.__doc__.split())
        self.dir = house.dir / self.name
        self.world, self.dns, self.postfix = house.world, house.dns, house.postfix
        self.started, self.logs, self.numbers = [], {}, itertools.count(1)
        self.outcome, self.report, self.seconds = "passed", "", 0.0

    # ---- for tests ----

    def guard(self, backend=None, nameserver=None, **sections):
        """Starts smtpguard before Postfix (or another backend), with these sections of the settings."""
        return self.start(self.prepare(backend, nameserver, **sections))

    def prepare(self, backend=None, nameserver=None, **sections):
        directory = self.dir / f"guard{next(self.numbers)}"
        return Guard(
            self.house.binary,
            directory,
            (backend or self.postfix).address,
            (nameserver or self.dns).address,
            sections,
        )

    def backend(self, **answers):
        return self.start(Backend(**answers))

    def start(self, service):
        self.started.append(service)
        return service.start()

    def recipient(self):
        """An address of a user that exists and has no mail yet."""
        return self.house.recipient()

    def conformance(self, suite):
        """The folder of a third-party suite."""
        folder = Path(os.environ.get("SMTPGUARD_CONFORMANCE", ROOT.parent / "shared/conformance")) / suite
        if not folder.is_dir():
            raise Skipped(f"no folder {folder}; set SMTPGUARD_CONFORMANCE")
        return folder

    # ---- for the harness ----

    def run(self):
        begun = time.monotonic()
        self.dir.mkdir()
        self.maillog_begins = len(self.postfix.log())
        try:
            try:
                self.function(self)
            finally:
                self.end()
        except Skipped as why:
            self.outcome, self.report = "skipped", str(why)
        except Exception:
            self.outcome, self.report = "failed", self.explain()
        else:
            shutil.rmtree(self.dir)
        self.seconds = time.monotonic() - begun
        return self

    def end(self):
        """Stops what was started, all of it; one that does not end well fails the test."""
        while self.started:
            service = self.started.pop()
            try:
                service.stop()
            except Exception:
                self.end()
                raise
            finally:
                self.logs.update(service.logs())

    def explain(self):
        parts = ["".join(traceback.format_exc())]
        maillog = self.postfix.log()[self.maillog_begins :].splitlines()
        logs = {**self.logs, "Postfix": "\n".join(maillog[-25:]), **self.dns.logs()}
        parts += [f"--- {name}\n{text.rstrip()}" for name, text in logs.items() if text.strip()]
        return "\n".join(parts)


def find_tests(folder, patterns):
    """The functions test_* of the files test_*.py; with patterns, those whose file or name holds one."""
    for file in sorted(Path(folder).glob("test_*.py")):
        module = importlib.import_module(file.stem)
        for name, function in vars(module).items():
            if not name.startswith("test_") or not callable(function):
                continue
            if not patterns or any(pattern in f"{file.stem}.{name}" for pattern in patterns):
                yield function


def run_all(binary, folder, patterns):
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    functions = list(find_tests(folder, patterns))
    if not functions:
        sys.exit("no such test")
    with House(binary) as house:
        tests = [Test(house, function) for function in functions]
        with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
            for test in pool.map(Test.run, tests):
                counts[test.outcome] += 1
                print(
                    f"{test.outcome.upper() if test.outcome != 'passed' else 'ok':8}{test.seconds:5.1f} s  "
                    f"{test.sentence}",
                    flush=True,
                )
                if test.report:
                    print(f"{test.name}: {test.report}\n", flush=True)
    if counts["failed"]:
        print(f"logs and messages are kept in {house.dir}")
    else:
        shutil.rmtree(house.dir)
    print("{passed} passed, {failed} failed, {skipped} skipped".format(**counts))
    return 1 if counts["failed"] else 0
