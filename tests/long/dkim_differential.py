#!/usr/bin/python3
"""Mutated messages, signed by dkimpy, Mail::DKIM, libopendkim and us, verified by all four as they were signed and after
a journey that changed them. dkim_differential.py [--build DIR] [--count N] [--seed N] [--only NUMBER]

Fails on every verdict about which we disagree with somebody, unless explain() tells why; and when something that was just
signed does not verify. A program that is not installed is left out and counted as skipped."""
import argparse
import base64
import os
import random
import re
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import dkim_messages
import dkim_opendkim

HERE = os.path.dirname(os.path.abspath(__file__))
DOMAIN = "example.org"
KEYS = {"rsa1": "rsa", "rsa2": "rsa", "ed": "ed25519"}
MOST_SHOWN = int(os.environ.get("MOST_SHOWN", "25"))
OVERSIGN = "from,to,subject,reply-to"
SIGNED = [b"from", b"to", b"cc", b"subject", b"date", b"message-id", b"mime-version", b"content-type", b"references",
          b"x-empty", b"x-blank", b"x-long", b"x-8bit", b"comments"]


class Program:
    def knows(self, selector):
        return True

    def explain(self, theirs, ours, message):
        """Why it differs from us and we keep our verdict; None: nobody knows, so somebody is wrong."""
        return None


class Worker(Program):
    """A program that speaks the protocol of dkim_batch.c."""

    def __init__(self, command):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def ask(self, line, message):
        self.process.stdin.write(b"%s %d\n" % (line.encode(), len(message)) + message)
        self.process.stdin.flush()
        length = self.process.stdout.readline()
        if not length:
            raise RuntimeError("%s ended" % self.process.args[0])
        return self.process.stdout.read(int(length))

    def stop(self):
        self.process.stdin.close()
        self.process.wait(10)


class Us(Worker):
    name = "smtpguard"

    def verify(self, message):
        return self.ask("verify", message).decode(errors="replace")

    def sign(self, rng, message, selector, canon):
        field = self.ask("sign %s %s %s" % (selector, canon, OVERSIGN), message)
        return None if field.startswith(b"!") else field

    def verify_chain(self, message):
        return self.ask("arc", message).decode(errors="replace")


class MailDkim(Worker):
    name = "Mail::DKIM"

    def knows(self, selector):
        return KEYS[selector] == "rsa"  # this release knows no Ed25519

    def verify(self, message):
        return self.ask("verify", message).decode(errors="replace")

    def sign(self, rng, message, selector, canon):
        names = b":".join(names_to_sign(rng, message, True)).decode()
        field = self.ask("sign %s %s %s" % (selector, canon, names), message)
        return None if field.startswith(b"!") else field


def count_from(fields):
    return sum(re.match(rb"(?i)from[ \t]*:", field) is not None for field in fields)


def has_blank_before_colon(fields):
    return any(re.match(rb"[!-9;-~]+[ \t]+:", field) for field in fields)


class DkimPy(Program):
    name = "dkimpy"

    def __init__(self, records, keys):
        import dkim
        self.dkim = dkim
        self.keys = keys
        self.records = {(name + ".").encode(): text.encode() for name, text in records.items()}

    def dns(self, name, timeout=5):
        return self.records.get(name)

    def verify(self, message):
        try:
            return "pass" if self.dkim.verify(message, dnsfunc=self.dns) else "fail"
        except self.dkim.DKIMException as fault:
            return "fail %s" % fault

    def sign(self, rng, message, selector, canon):
        header, _, body = canon.encode().partition(b"/")
        try:
            return self.dkim.sign(message, selector.encode(), DOMAIN.encode(), self.keys[selector]["dkimpy"],
                                  canonicalize=(header, body), include_headers=names_to_sign(rng, message, False),
                                  signature_algorithm=b"rsa-sha256" if KEYS[selector] == "rsa" else b"ed25519-sha256")
        except self.dkim.DKIMException:
            return None

    def explain(self, theirs, ours, message):
        fields, _ = dkim_messages.split(message)
        if not ours.startswith("pass"):
            return None
        if count_from(fields) > 1:
            return "a second From above the signed one: the signature holds (RFC 6376 5.4.2); the message is refused for its From"
        if "Unexpected characters" in theirs and has_blank_before_colon(fields):
            return "blanks before a field's colon: it does not read them (RFC 5322 4.5)"
        return None


class OpenDkim(Program):
    name = "libopendkim"

    def __init__(self, records, keys):
        self.library = dkim_opendkim.OpenDkim(records)
        self.keys = keys

    def verify(self, message):
        return self.library.verify(*dkim_messages.split(message))

    def sign(self, rng, message, selector, canon):
        algorithm = "rsa-sha256" if KEYS[selector] == "rsa" else "ed25519-sha256"
        fields, body = dkim_messages.split(message)
        return self.library.sign(fields, body, self.keys[selector]["opendkim"], DOMAIN, selector, canon, algorithm)


def names_to_sign(rng, message, with_absent):
    fields, _ = dkim_messages.split(message)
    present = [re.split(rb"[ \t]*:", field, 1)[0].lower() for field in fields]
    names = [name for name in present if name in SIGNED and rng.random() < 0.8 and name != b"from"]
    if with_absent and rng.random() < 0.5:
        names.append(rng.choice([b"x-never", b"reply-to", b"subject"]))
    rng.shuffle(names)
    return [b"from"] + names


def make_keys(folder):
    """Private keys as openssl makes them, and the records for the DNS."""
    keys, records = {}, {}
    for selector, kind in KEYS.items():
        path = os.path.join(folder, selector + ".pem")
        kind_options = ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024"] if kind == "rsa" else ["-algorithm", "ed25519"]
        subprocess.run(["openssl", "genpkey", "-out", path] + kind_options, check=True, stderr=subprocess.DEVNULL)
        public = subprocess.run(["openssl", "pkey", "-in", path, "-pubout", "-outform", "DER"], check=True,
                                capture_output=True).stdout
        private = subprocess.run(["openssl", "pkey", "-in", path, "-outform", "DER"], check=True, capture_output=True).stdout
        pem = subprocess.run(["openssl", "pkey", "-in", path, "-traditional"] if kind == "rsa" else ["cat", path], check=True,
                             capture_output=True).stdout
        if kind == "ed25519":  # the last 32 octets of either form are the key
            public = public[-32:]
        keys[selector] = {"path": path, "opendkim": pem,
                          "dkimpy": pem if kind == "rsa" else base64.b64encode(private[-32:])}
        records["%s._domainkey.%s" % (selector, DOMAIN)] = "v=DKIM1; k=%s; p=%s" % (kind, base64.b64encode(public).decode())
    return keys, records


def write_zone(folder, records):
    zone = os.path.join(folder, "zone")
    with open(zone, "w") as file:
        for name, text in records.items():
            file.write('%s TXT "%s"\n' % (name, text))
    return zone


def us(build, zone, paths):
    return Us([os.path.join(build, "tests/long/dkim_batch"), zone, DOMAIN] + paths)


def programs(build, folder, keys, records):
    """Those that are there, and the number of those that are not."""
    zone = write_zone(folder, records)
    paths = ["%s=%s" % (selector, key["path"]) for selector, key in keys.items()]
    rsa = [path for selector, path in zip(keys, paths) if KEYS[selector] == "rsa"]
    found, missing = [us(build, zone, paths)], 0
    for make in (lambda: DkimPy(records, keys), lambda: OpenDkim(records, keys)):
        try:
            found.append(make())
        except (ImportError, OSError) as why:
            print("skipped: %s" % why)
            missing += 1
    if subprocess.run(["perl", "-MMail::DKIM", "-e", "1"], stderr=subprocess.DEVNULL).returncode == 0:
        found.append(MailDkim([os.path.join(HERE, "dkim_mail_dkim.pl"), zone, DOMAIN] + rsa))
    else:
        print("skipped: libmail-dkim-perl is not installed")
        missing += 1
    return found, missing


class Tally:
    def __init__(self):
        self.messages = self.verdicts = self.passed = self.failed = 0
        self.reasons = {}

    def because(self, who, reason):
        self.reasons[(who, reason)] = self.reasons.get((who, reason), 0) + 1

    def tell(self):
        for (who, reason), times in sorted(self.reasons.items()):
            print("%6d x %s: %s" % (times, who, reason))

    def disagree(self, number, stage, signer, verdicts, message):
        self.failed += 1
        if self.failed > MOST_SHOWN:
            return
        print("message %d, %s, signed by %s: %s" % (number, stage, signer, verdicts))
        path = os.path.join(tempfile.gettempdir(), "dkim-%d-%s.eml" % (number, stage))
        with open(path, "wb") as file:
            file.write(message)
        print("  it is in %s" % path)


def describe(message):
    algorithm, canon = re.search(rb"a=([a-z0-9-]+)", message), re.search(rb"c=([a-z]+)/", message)
    return "%s, header %s" % (algorithm.group(1).decode(), canon.group(1).decode())


def compare(tally, number, stage, signer, selector, message, everybody):
    asked = [p for p in everybody if p.knows(selector)]
    verdicts = {p.name: p.verify(message) for p in asked}
    ours = verdicts["smtpguard"]
    wrong = False
    if stage == "signed" and not ours.startswith("pass"):
        wrong = signer == "smtpguard"
        if not verdicts[signer].startswith("pass"):
            tally.because(signer, "what it signed, it does not verify itself: %s" % describe(message))
    for program in asked:
        theirs = verdicts[program.name]
        tally.verdicts += 1
        if theirs.startswith("pass") == ours.startswith("pass"):
            continue
        reason = program.explain(theirs, ours, message)
        if reason is None:
            wrong = True
        else:
            tally.because(program.name, reason)
    if wrong:
        tally.disagree(number, stage, signer, verdicts, message)
    else:
        tally.passed += 1


def play(tally, number, seed, bases, everybody):
    rng = random.Random("%d/%d" % (seed, number))
    message = dkim_messages.change(rng, rng.choice(bases), dkim_messages.CHANGES, 5)
    signer = everybody[number % len(everybody)]
    selector = rng.choice([name for name in KEYS if signer.knows(name)])
    canon = "%s/%s" % (rng.choice(["simple", "relaxed"]), rng.choice(["simple", "relaxed"]))
    field = signer.sign(rng, message, selector, canon)
    if field is None:
        tally.because(signer.name, "would not sign")
        return
    tally.messages += 1
    compare(tally, number, "signed", signer.name, selector, field + message, everybody)
    changed = dkim_messages.change(rng, field + message, dkim_messages.JOURNEY, 3)
    compare(tally, number, "changed", signer.name, selector, changed, everybody)


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--build", default=os.environ.get("BUILD", "build/release"))
    options.add_argument("--count", type=int, default=12000)
    options.add_argument("--seed", type=int, default=20260601)
    options.add_argument("--only", type=int)
    options = options.parse_args()
    tally, began = Tally(), time.monotonic()
    bases = dkim_messages.bases(os.environ.get("SMTPGUARD_CONFORMANCE", "../shared/conformance"))
    with tempfile.TemporaryDirectory(prefix="dkim-long-") as folder:
        everybody, missing = programs(options.build, folder, *make_keys(folder))
        numbers = range(options.count) if options.only is None else [options.only]
        for number in numbers:
            play(tally, number, options.seed, bases, everybody)
        for program in everybody:
            if isinstance(program, Worker):
                program.stop()
    tally.tell()
    print("%d messages from %d bases, signed by %s; %d verdicts in %.0f s" % (
        tally.messages, len(bases), ", ".join(p.name for p in everybody), tally.verdicts, time.monotonic() - began))
    print("%d passed, %d failed, %d skipped" % (tally.passed, tally.failed, missing))
    return tally.failed > 0


if __name__ == "__main__":
    sys.exit(main())
