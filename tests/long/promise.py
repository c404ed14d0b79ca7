#!/usr/bin/python3
"""The simulation of tests/e2e/test_promise.py, with thousands of sessions. SMTPGUARD_SEED plays a run again."""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def main():
    os.environ.setdefault("SMTPGUARD_SESSIONS", "5000")
    binary = Path(os.environ.get("BUILD", "build/release")) / "smtpguard"
    run = str(ROOT / "tests/e2e/run")
    os.execv(sys.executable, [sys.executable, run, str(binary), "test_the_promise_against_chance"])


main()
