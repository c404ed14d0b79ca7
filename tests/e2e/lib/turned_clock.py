"""A wall clock that a test puts forward and back, for the programs that get its environment (turned_clock.c)."""

import os
import struct
import time

from lib.check import true


class TurnedClock:
    def __init__(self, directory, build):
        library = build / "tests" / "e2e" / "lib" / "turned_clock.so"
        true(library.exists(), f"no {library}: make e2e builds it")
        self.file = directory / "clock"
        self.ahead = 0
        self.write()
        self.environment = {
            "LD_PRELOAD": str(library),
            "TURNED_CLOCK": str(self.file),
            # The sanitizers' library wants to be the first one.
            "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0",
        }

    def now(self):
        return time.time() + self.ahead

    def put(self, unix_s):
        self.ahead = int(unix_s - time.time())
        self.write()

    def write(self):
        """Into the same file, which running programs have mapped."""
        with open(self.file, "r+b" if self.file.exists() else "wb") as file:
            file.write(struct.pack("=q", self.ahead))
