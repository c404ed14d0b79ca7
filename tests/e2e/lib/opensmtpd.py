"""Debian's OpenSMTPD in a jail of its own: it receives for mailboxes, or hands all that it gets to another server."""

import shutil

from lib import certificate
from lib.mailboxes import MailServer
from lib.process import tail
from lib.unpacked import Jail

QUEUE, OWNER = 102, 103
PROGRAM = "/usr/sbin/smtpd"
CONTROL = "/usr/sbin/smtpctl"
TOOLS = (CONTROL, "/usr/libexec/opensmtpd/mail.maildir", "/bin/sh")

COMMON = """\
smtp max-message-size "50M"
pki "{name}" cert "/etc/mail.crt"
pki "{name}" key "/etc/mail.key"
listen on {host} port {port} hostname "{name}"{tls}
"""

RECEIVER = COMMON + """\
table users file:/etc/users
table addresses file:/etc/addresses
action "keep" maildir "/mail/%{{rcpt.user}}" virtual <users>
match from any for domain "example.net" rcpt-to <addresses> action "keep"
"""

# The next hop has two ports, {plain} without TLS and {secure} with it, which goes by the recipient's domain.
SENDER = COMMON + """\
action "secure" relay host "smtp+tls://127.0.0.1:{secure}" tls no-verify helo "{name}"
action "plain" relay host "smtp+notls://127.0.0.1:{plain}" helo "{name}"
match from any for domain "tls.example.net" action "secure"
match from any for any action "plain"
"""


class OpenSmtpd(MailServer):
    """It offers STARTTLS only when asked to: as Debian 12 builds it, with OpenSSL 3, each handshake of its server fails
    ("missing private key")."""

    OWN_FIELDS = rb"(?:Return-Path: .*\n)?Delivered-To: .*\nReceived: .*\n(?:\t.*\n)*"

    def __init__(self, directory, settings=RECEIVER, name="mail.example.net", users=(), host="127.0.0.1", tls=False, **values):
        owners = {"root": 0, "opensmtpd": 101, "opensmtpq": QUEUE, "vmail": OWNER}
        jail = Jail(directory, "opensmtpd", [PROGRAM, *TOOLS], owners)
        super().__init__(jail, host)
        certificate.make(directory / "etc", "mail", name)
        shutil.chown(directory / "etc/mail.key", "root")
        tls = f' tls pki "{name}"' if tls else ""
        jail.folder("/mail", owner=OWNER)
        jail.folder("/var/run")
        jail.folder("/var/spool/smtpd", mode=0o711)
        jail.write("/etc/users", "".join(f"{user}@example.net vmail\n" for user in users))
        jail.write("/etc/addresses", "".join(f"{user}@example.net\n" for user in users))
        jail.write("/etc/smtpd.conf", settings.format(name=name, host=host, port=self.port, tls=tls, **values))
        self.daemon = jail.daemon(PROGRAM, "-d")

    def logs(self):
        return {"OpenSMTPD": tail(self.daemon.log, 20)}
