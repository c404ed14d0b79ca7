#!/usr/bin/python3
"""The store for longer than a newcomer waits: killed fifty times under load, and flooded with a million strangers."""
import os
import subprocess
import sys
import tempfile

BUILD = os.environ.get("BUILD", "build/release")


def is_fine(what, *command, **environment):
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=1800)
    print(f"{'ok' if done.returncode == 0 else 'FAILED'}  {what}", flush=True)
    if done.returncode != 0:
        print(done.stdout[-2000:] + done.stderr[-2000:])
    return done.returncode == 0


with tempfile.TemporaryDirectory(prefix="smtpguard-store.") as folder:
    results = [
        is_fine("kill -9 under load, fifty times: the file is whole, and nothing that was answered is lost",
                f"{BUILD}/store/trouble_test", SMTPGUARD_KILLS="50"),
        is_fine("a million strangers from one network push out nobody who is known",
                f"{BUILD}/tests/long/grey_flood", f"{folder}/state.db"),
    ]
print(f"{sum(results)} passed, {len(results) - sum(results)} failed, 0 skipped")
sys.exit(not all(results))
