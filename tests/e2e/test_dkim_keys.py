"""The life of a DKIM key on the command line: made, printed, looked for in the DNS, used."""

import json
import re
import stat

from lib.check import has, same, starts, true
from lib.mail import message
from lib.process import run

FINE, NO, USAGE, BAD_INPUT, TEMPORARY = 0, 1, 64, 65, 75


def dkim(t, *words, stdin=b""):
    code, out, err = run(t.house.binary, "dkim", *words, check=False, stdin=stdin)
    return code, out, err.decode()


def test_genkey(t):
    """dkim genkey: the key in a file of mode 600, the record for a zone file in strings of 255 octets, never over an old key."""
    for kind, octets in (("rsa-2048", 300), ("rsa-4096", 700), ("ed25519", 40)):
        words = ("genkey", "--type", kind, "--domain", "Good.Test", "--selector", kind, "--dir", t.dir)
        code, out, _ = dkim(t, *words, "--json")
        got = json.loads(out)
        same(code, FINE, "the exit code")
        file = t.dir / f"{kind}.private"
        same((got["file"], got["name"]), (str(file), f"{kind}._domainkey.good.test"), "where it is")
        same(stat.S_IMODE(file.stat().st_mode), 0o600, "the mode")
        strings = re.findall(r'"([^"]*)"', got["zone"])
        same("".join(strings), got["record"], "the strings of the zone file")
        true(max(map(len, strings)) <= 255 and len(got["record"]) > octets, "the length of a string")
        old = file.read_bytes()
        same(dkim(t, *words)[0], BAD_INPUT, "the exit code for a key that is there")
        same(file.read_bytes(), old, "the old key")
        code, out, _ = dkim(t, "txt", file, "--json", "--selector", kind, "--domain", "good.test")
        same((code, json.loads(out)["record"]), (FINE, got["record"]), "the record told again")


def test_check(t):
    """dkim check: the world sees the key, another one, none, or the DNS does not answer."""
    guard = t.prepare()
    rsa, other = t.world.good_rsa.path, t.dir / "other.private"
    same(dkim(t, "genkey", "--domain", "good.test", "--selector", "other", "--dir", t.dir)[0], FINE, "the exit code")
    cases = [("good.test", "rsa", rsa, "published", FINE), ("good.test", "rsa", None, "published", FINE),
             ("good.test", "rsa", other, "other-key", NO), ("good.test", "absent", rsa, "unpublished", NO),
             ("servfail.test", "rsa", rsa, "unanswered", TEMPORARY)]
    for domain, selector, key, state, expected in cases:
        words = ["dkim", "check", "--json", "--domain", domain, "--selector", selector] + (["--key", key] if key else [])
        code, out = guard.cli(*words)
        got = json.loads(out)
        same((got["state"], code), (state, expected), f"what the world sees of {selector} at {domain}")
        true(got["reason"] and got["advice"], "no sentence says why")


def test_sign(t):
    """dkim sign: the message with the field on top, octet for octet; it verifies; it is not signed twice."""
    guard = t.prepare()
    mail = message()
    words = ("sign", "--domain", "good.test", "--selector", "rsa", "--key", t.world.good_rsa.path)
    code, out, _ = dkim(t, *words, stdin=mail)
    same(code, FINE, "the exit code")
    true(out.endswith(mail), "the message was changed")
    starts(out.decode("latin-1"), "DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=good.test;")
    _, verdict = guard.cli("test", "message", "--json", "-", stdin=out)
    same([d["result"] for d in json.loads(verdict)["dkim"]], ["pass"], "the signature")
    code, again, err = dkim(t, *words, stdin=out)
    same((code, again), (FINE, out), "signed twice")
    has(err, "carries a valid signature by this key already")
    lf = mail.replace(b"\r\n", b"\n")
    _, out, _ = dkim(t, *words, stdin=lf)
    true(out.endswith(lf) and b"\r" not in out, "a file of LF lines stays one")


def test_wrong_words(t):
    """Options that are missing or wrong are 64, a message without From and a file that is no key are 65."""
    (t.dir / "no.key").write_text("no key\n", encoding="ascii")
    key = t.world.good_rsa.path
    named = ("--domain", "good.test", "--selector", "s")
    for words, expected in ((["genkey"], USAGE), (["genkey", *named, "--type", "dsa"], USAGE), (["check", *named[:2]], USAGE),
                            (["genkey", "--domain", "a b", "--selector", "s"], USAGE), (["sign", *named], USAGE),
                            (["sign", *named, "--key", key, "--canonicalization", "odd"], USAGE), (["txt"], USAGE),
                            (["txt", t.dir / "no.key"], BAD_INPUT), (["txt", t.dir / "absent"], BAD_INPUT),
                            (["genkey", *named, "--dir", t.dir / "absent"], BAD_INPUT),
                            (["sign", *named, "--key", key], BAD_INPUT)):
        code, out, err = dkim(t, *words, stdin=b"Subject: no author\r\n\r\n")
        same((code, out), (expected, b""), f"the exit code and the output of {words}")
        true(err, f"{words} says nothing")
