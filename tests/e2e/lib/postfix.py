"""A private instance of the real Postfix, which keeps each message in a maildir."""

import pwd
import re
import shutil
from collections import namedtuple

from lib import certificate
from lib.check import Failed, has, same, wait_for
from lib.process import free_port, run, tail

BASE = """\
compatibility_level = 3.6
queue_directory = {dir}/queue
data_directory = {dir}/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
maillog_file = {dir}/maillog
maillog_file_prefixes = {dir}
inet_interfaces = 127.0.0.1
inet_protocols = all
mydestination =
local_recipient_maps =
alias_maps =
alias_database =
smtpd_peername_lookup = no
smtp_host_lookup = native
disable_dns_lookups = yes
message_size_limit = 52428800
virtual_mailbox_limit = 0
mailbox_size_limit = 0
queue_minfree = 0
"""

# The users u1 … u600 and postmaster exist in example.net, and nobody else.
RECEIVER = """\
myhostname = mail.example.net
smtpd_authorized_xclient_hosts = 127.0.0.1
smtpd_relay_restrictions = reject_unauth_destination
local_header_rewrite_clients =
smtpd_tls_security_level = may
smtpd_tls_cert_file = {dir}/mail.crt
smtpd_tls_key_file = {dir}/mail.key
smtpd_tls_loglevel = 1
myorigin = example.net
virtual_mailbox_domains = example.net
virtual_mailbox_maps = texthash:{dir}/users
virtual_mailbox_base = {dir}/mail
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{gid}
"""
USERS = 600

# Hands everything to the next hop, from the address and with the name of {host}; a milter signs it.
SENDING = """\
myhostname = {host.name}
mynetworks = 127.0.0.0/8
relayhost = [127.0.0.1]:{next_hop}
smtp_bind_address = {host.address}
smtpd_milters = inet:127.0.0.1:{milter}
"""

# The same for a next hop with two ports, {plain} without TLS and {secure} with it, which goes by the recipient's domain.
SENDER = """\
myhostname = {name}
mynetworks = 127.0.0.0/8
relayhost = [127.0.0.1]:{plain}
transport_maps = inline:{{{{tls.example.net=smtp:[127.0.0.1]:{secure}}}}}
smtp_tls_security_level = may
"""

SERVICES = """\
127.0.0.1:{port} inet n - n - - smtpd
pickup    unix  n - n 60   1 pickup
cleanup   unix  n - n -    0 cleanup
qmgr      unix  n - n 300  1 qmgr
rewrite   unix  - - n -    - trivial-rewrite
bounce    unix  - - n -    0 bounce
defer     unix  - - n -    0 bounce
trace     unix  - - n -    0 bounce
verify    unix  - - n -    1 verify
flush     unix  n - n 1000 0 flush
proxymap  unix  - - n -    - proxymap
tlsmgr    unix  - - n 1000? 1 tlsmgr
smtp      unix  - - n -    - smtp
error     unix  - - n -    - error
retry     unix  - - n -    - error
virtual   unix  - n n -    - virtual
anvil     unix  - - n -    1 anvil
showq     unix  n - n -    - showq
postlog   unix-dgram n - n - 1 postlogd
"""

Delivery = namedtuple("Delivery", "sender client milter message")


class Postfix:
    """Settings beyond those above come as text for main.cf."""

    def __init__(self, directory, settings=RECEIVER):
        nobody = pwd.getpwnam("nobody")
        self.dir = directory
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        for name in ("", "conf", "queue", "data", "mail"):
            (directory / name).mkdir()
        shutil.chown(directory / "data", "postfix")
        shutil.chown(directory / "mail", "nobody")
        values = {"dir": directory, "uid": nobody.pw_uid, "gid": nobody.pw_gid}
        (directory / "conf/main.cf").write_text((BASE + settings).format(**values), encoding="ascii")
        (directory / "conf/master.cf").write_text(SERVICES.format(port=self.port), encoding="ascii")
        certificate.make(directory, "mail", "mail.example.net")
        names = ["postmaster"] + [f"u{i}" for i in range(1, USERS + 1)]
        (directory / "users").write_text("".join(f"{name}@example.net {name}/\n" for name in names))

    def start(self):
        run("postfix", "-c", self.dir / "conf", "start")
        return self

    def stop(self):
        run("postfix", "-c", self.dir / "conf", "abort", check=False)

    def logs(self):
        return {f"Postfix ({self.dir.name})": tail(self.dir / "maillog", 25)}

    def log(self):
        return (self.dir / "maillog").read_text(errors="replace")

    def logged(self, part):
        """Waits for the line of the log that holds `part`, and returns it."""
        return wait_for(
            lambda: next((line for line in self.log().splitlines() if part in line), None),
            f"{part!r} in Postfix's log",
        )

    def files(self, recipient):
        folder = self.dir / "mail" / recipient.partition("@")[0] / "new"
        return sorted(folder.iterdir()) if folder.is_dir() else []

    def deliveries(self, recipient, count=1):
        """Waits for `count` messages in the mailbox of `recipient`."""
        files = wait_for(
            lambda: len(self.files(recipient)) >= count and self.files(recipient),
            f"{count} messages for {recipient}",
        )
        return [open_delivery(file.read_bytes()) for file in files]

    def message(self, recipient):
        return self.delivery(recipient).message

    def delivery(self, recipient):
        """Waits for the one message in the mailbox of `recipient`."""
        found = self.deliveries(recipient)
        same(len(found), 1, f"messages for {recipient}")
        return found[0]


def open_delivery(raw):
    """Takes off what Postfix has put on top: the delivery agent's three fields, the field of a milter (""
    without one), and its own Received. Its maildirs have LF where the wire has CRLF, which loses nothing: no
    bare CR or LF gets that far."""
    wrapper = re.match(
        rb"Return-Path: <(.*)>\nX-Original-To: .*\nDelivered-To: .*\n"
        rb"((?:Authentication-Results: .*\n(?:[ \t].*\n)*)?)Received: from (.*(?:\n\t.*)*)\n",
        raw,
    )
    if wrapper is None:
        raise Failed(f"not a message that Postfix has delivered: {raw[:300]!r}")
    sender, milter, client = (part.decode() for part in wrapper.groups())
    return Delivery(sender, client, milter, raw[wrapper.end() :].replace(b"\n", b"\r\n"))


def fields_added(delivery, message):
    """Holds that Postfix got the message byte for byte under the fields that were added; returns those."""
    end = len(delivery.message) - len(message)
    same(delivery.message[max(end, 0) :], message, "the message that reached Postfix")
    added = delivery.message[:end].decode("ascii")
    fields = re.split(r"\r\n(?![ \t])", added)
    same(fields.pop(), "", "the end of the fields added")
    has(added, "Received: from ")
    return fields
