#!/usr/bin/python3
"""As dkim_differential.py, with mailauth (npm): messages signed by us and by mailauth, verified by both as they
were signed and after a journey; then the ARC chains of the conformance folder.
dkim_mailauth.py [--build DIR] [--count N] [--seed N] [--only NUMBER]

mailauth is installed by npm to npm/ beside the folder of the build, once. Without node, npm or the registry all of
this is skipped, loudly."""
import argparse
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import dkim_differential as differential
import dkim_messages

HERE = os.path.dirname(os.path.abspath(__file__))
VERSION = "4.13.3"
CONFORMANCE = os.environ.get("SMTPGUARD_CONFORMANCE", "../shared/conformance")


class Skipped(Exception):
    pass


def run(command):
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    except (OSError, subprocess.TimeoutExpired) as why:
        raise Skipped("%s: %s" % (command[0], why))
    if done.returncode != 0:
        raise Skipped("%s: %s" % (" ".join(command[:2]), (done.stderr or done.stdout).strip()[:300]))
    return done.stdout


def install(folder):
    """The folder of modules with this mailauth in it."""
    modules = os.path.join(folder, "node_modules")
    manifest = os.path.join(modules, "mailauth/package.json")
    if not os.path.exists(manifest) or json.load(open(manifest))["version"] != VERSION:
        os.makedirs(folder, exist_ok=True)
        run(["npm", "install", "--prefix", folder, "--ignore-scripts", "--no-save", "--no-audit", "--no-fund",
             "--loglevel=error", "--fetch-retries=1", "mailauth@" + VERSION])
    entry = os.path.join(os.path.abspath(modules), "mailauth/lib/dkim/verify")
    run(["node", "-e", "require(process.argv[1])", entry])
    return modules


class Mailauth(differential.Worker):
    name = "mailauth"

    def verify(self, message):
        return self.ask("verify", message).decode(errors="replace")

    def verify_chain(self, zone, message):
        return self.ask("arc %d" % zone, message).decode(errors="replace")

    def sign(self, rng, message, selector, canon):
        names = b":".join(differential.names_to_sign(rng, message, True)).decode()
        field = self.ask("sign %s %s %s" % (selector, canon, names), message)
        return None if field.startswith(b"!") else field

    def explain(self, theirs, ours, message):
        fields, _ = dkim_messages.split(message)
        if any(re.search(rb"[\xa0\x0b\x0c]", field) for field in fields):
            return "0xA0, VT, FF in a field are blanks to it (JavaScript's \\s), not only SP and HTAB (RFC 6376 2.8)"
        return None


def play_chains(tally, build, theirs, folder, files):
    """Both on each chain; what the suite accepts decides."""
    ours = [differential.us(build, os.path.join(folder, file), []) for file in files]
    for case in json.load(open(os.path.join(folder, "cases.json")))["cases"]:
        zone = files.index(case["dns"])
        with open(os.path.join(folder, case["message"]), "rb") as file:
            message = file.read()
        said, heard = ours[zone].verify_chain(message), theirs.verify_chain(1 + zone, message)
        tally.verdicts += 2
        if said.split()[0] not in case["expect"]:
            tally.disagree(0, case["id"], "the suite, which wants %s" % case["expect"],
                           {"smtpguard": said, "mailauth": heard}, message)
            continue
        tally.passed += 1
        if heard.split()[0] != said.split()[0]:
            tally.because("mailauth", "chain %s: %s, not %s (the suite)" % (case["id"], heard, said))
    for worker in ours:
        worker.stop()


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--build", default=os.environ.get("BUILD", "build/release"))
    options.add_argument("--count", type=int, default=6000)
    options.add_argument("--seed", type=int, default=20260602)
    options.add_argument("--only", type=int)
    options = options.parse_args()
    tally, began = differential.Tally(), time.monotonic()
    try:
        modules = install(os.path.join(os.path.dirname(os.path.abspath(options.build)), "npm"))
    except Skipped as why:
        print("SKIPPED, mailauth cannot be had (it takes Node.js 20, npm and the registry): %s" % why)
        print("0 passed, 0 failed, 1 skipped")
        return 0
    bases = dkim_messages.bases(CONFORMANCE)
    chains = os.path.join(CONFORMANCE, "arc-validation")
    files = ["dns.json", "dns2.json", "dns3.json"] if os.path.isdir(chains) else []
    with tempfile.TemporaryDirectory(prefix="dkim-long-") as folder:
        keys, records = differential.make_keys(folder)
        zones = [os.path.join(folder, "zone.json")] + [os.path.join(chains, file) for file in files]
        with open(zones[0], "w") as file:
            json.dump({name: {"TXT": [[text]]} for name, text in records.items()}, file)
        paths = ["%s=%s" % (selector, key["path"]) for selector, key in keys.items()]
        theirs = Mailauth(["node", os.path.join(HERE, "dkim_mailauth.js"), modules, differential.DOMAIN,
                           ",".join(zones)] + paths)
        everybody = [differential.us(options.build, zones[0], paths), theirs]
        for number in range(options.count) if options.only is None else [options.only]:
            differential.play(tally, number, options.seed, bases, everybody)
        if files:
            play_chains(tally, options.build, theirs, chains, files)
        else:
            print("skipped: the chains of arc-validation are not here")
        for program in everybody:
            program.stop()
    tally.tell()
    print("%d messages from %d bases, signed by smtpguard and mailauth; %d verdicts in %.0f s" % (
        tally.messages, len(bases), tally.verdicts, time.monotonic() - began))
    print("%d passed, %d failed, %d skipped" % (tally.passed, tally.failed, 0 if files else 1))
    return tally.failed > 0


if __name__ == "__main__":
    sys.exit(main())
