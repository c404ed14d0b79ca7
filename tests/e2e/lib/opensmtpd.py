"""Debian's OpenSMTPD in a jail of its own: it receives for mailboxes, or hands all that it gets to another server."""

from lib.mailboxes import MailServer
from lib.process import tail
from lib.unpacked import Jail

QUEUE, OWNER = 102, 103
PROGRAM = "/usr/sbin/smtpd"
CONTROL = "/usr/sbin/smtpctl"
TOOLS = (CONTROL, "/usr/libexec/opensmtpd/mail.maildir", "/bin/sh")

COMMON = """\
smtp max-message-size "50M"
listen on 127.0.0.1 port {port} hostname "{name}"
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
    """It offers no STARTTLS: as Debian 12 builds it, with OpenSSL 3, each handshake of its server fails ("missing private
    key")."""

    OWN_FIELDS = rb"Return-Path: .*\nDelivered-To: .*\nReceived: .*\n(?:\t.*\n)*"

    def __init__(self, directory, settings=RECEIVER, name="mail.example.net", users=(), **values):
        owners = {"root": 0, "opensmtpd": 101, "opensmtpq": QUEUE, "vmail": OWNER}
        jail = Jail(directory, "opensmtpd", [PROGRAM, *TOOLS], owners)
        super().__init__(jail)
        jail.folder("/mail", owner=OWNER)
        jail.folder("/var/run")
        jail.folder("/var/spool/smtpd", mode=0o711)
        jail.write("/etc/users", "".join(f"{user}@example.net vmail\n" for user in users))
        jail.write("/etc/addresses", "".join(f"{user}@example.net\n" for user in users))
        jail.write("/etc/smtpd.conf", settings.format(name=name, port=self.port, **values))
        self.daemon = jail.daemon(PROGRAM, "-d")

    def logs(self):
        return {"OpenSMTPD": tail(self.daemon.log, 20)}
