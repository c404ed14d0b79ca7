"""Who is who: the hosts and keys of world.zone."""

import base64
from collections import namedtuple
from pathlib import Path

import nacl.signing

from lib.process import run

Host = namedtuple("Host", "address name")

GOOD = Host("127.0.1.1", "mx.good.test")  # sends for good.test: SPF, DKIM, DMARC p=reject
GOOD_IPV6 = Host("::1", "mx.good.test")
OTHER = Host("127.0.1.2", "mx.other.test")  # sends for other.test: SPF only
LISTED = Host("127.0.1.3", "mx.listed.test")  # the same for listed.test, but bl.test lists it
BOT = Host("127.0.1.4", "bot.test")  # its address has no name
LIAR = Host("127.0.1.5", "liar.test")  # its address has a name that has another address
SENDER = Host("127.0.1.6", "mx.sender.test")  # where the sending Postfix says it is
SPAMMER = Host("127.0.1.7", "host.spam.test")  # the list of domains names.test has this name

SPAM_LIST = {"zone": "bl.test", "score": 8, "codes": ["127.0.0.2-127.0.0.11"]}
ALLOW_LIST = {"zone": "allow.test", "score": -8, "codes": ["127.0.0.2"]}
BROKEN_LIST = {"zone": "broken.test", "score": 8, "codes": ["127.0.0.2-127.0.0.11"], "untested": True}


def strings(text):
    """A TXT record's text as character-strings of at most 255 octets."""
    return " ".join(f'"{text[i:i + 250]}"' for i in range(0, len(text), 250))


class RsaKey:
    """Made by OpenSSL; `pem` signs, `record` is published."""

    algorithm = b"rsa-sha256"

    def __init__(self, path):
        run("openssl", "genrsa", "-traditional", "-out", path, "2048")
        der = run("openssl", "pkey", "-in", path, "-pubout", "-outform", "DER")[1]
        self.path = path
        self.private = path.read_bytes()
        self.record = "v=DKIM1; k=rsa; p=" + base64.b64encode(der).decode()


class Ed25519Key:
    """Made by libsodium, in the forms that dkimpy and RFC 8463 ask for."""

    algorithm = b"ed25519-sha256"

    def __init__(self):
        key = nacl.signing.SigningKey.generate()
        self.private = base64.b64encode(bytes(key))
        self.record = "v=DKIM1; k=ed25519; p=" + base64.b64encode(bytes(key.verify_key)).decode()


class World:
    """The keys of this run, and the zone that publishes them."""

    def __init__(self, directory):
        self.good_rsa = RsaKey(directory / "good.key")
        self.good_ed25519 = Ed25519Key()
        self.sender_rsa = RsaKey(directory / "sender.key")
        template = (Path(__file__).parent.parent / "world.zone").read_text(encoding="ascii")
        self.zone = template.format(
            good_rsa=strings(self.good_rsa.record),
            good_ed25519=strings(self.good_ed25519.record),
            sender_rsa=strings(self.sender_rsa.record),
        )
