"""Debian's Exim in a jail of its own: it receives for mailboxes, or hands all that it gets to another server."""

import shutil

from lib import certificate
from lib.mailboxes import MailServer
from lib.process import tail
from lib.unpacked import Jail

USER = 101  # Debian-exim, which the binary asks for by name
PROGRAM = "/usr/sbin/exim4"

COMMON = """\
primary_hostname = {name}
exim_user = Debian-exim
exim_group = Debian-exim
spool_directory = /var/spool/exim4
log_file_path = /var/log/exim4/%slog
daemon_smtp_ports = {port}
local_interfaces = 127.0.0.1
smtputf8_advertise_hosts = *
dsn_advertise_hosts = *
host_lookup =
rfc1413_query_timeout = 0s
keep_environment =
tls_certificate = /etc/mail.crt
tls_privatekey = /etc/mail.key
acl_smtp_rcpt = recipient
acl_smtp_data = accept
recipients_max = 1000
begin acl
recipient:
  require verify = recipient
  accept
"""

RECEIVER = COMMON + """\
begin routers
users:
  driver = accept
  domains = example.net : tls.example.net
  local_parts = lsearch;/etc/users
  transport = mailbox
begin transports
mailbox:
  driver = appendfile
  directory = /mail/$local_part_data
  maildir_format
  user = Debian-exim
"""

# The next hop has two ports, {plain} without TLS and {secure} with it, which goes by the recipient's domain.
SENDER = COMMON + """\
begin routers
secure:
  driver = manualroute
  domains = tls.example.net
  route_list = * 127.0.0.1
  self = send
  transport = secure
plain:
  driver = manualroute
  route_list = * 127.0.0.1
  self = send
  transport = plain
begin transports
secure:
  driver = smtp
  port = {secure}
  allow_localhost
  hosts_require_tls = *
  tls_verify_hosts =
  tls_try_verify_hosts =
plain:
  driver = smtp
  port = {plain}
  allow_localhost
  hosts_avoid_tls = *
begin retry
* * F,1h,1m
"""


class Exim(MailServer):
    OWN_FIELDS = rb"Received: .*\n(?:\t.*\n)*"

    def __init__(self, directory, settings=RECEIVER, name="mail.example.net", users=(), **values):
        jail = Jail(directory, "exim4-daemon-light", [PROGRAM], {"root": 0, "Debian-exim": USER})
        super().__init__(jail)
        for folder in ("/var/spool/exim4", "/var/log/exim4", "/mail"):
            jail.folder(folder, owner=USER)
        certificate.make(directory / "etc", "mail", name)
        shutil.chown(directory / "etc/mail.key", USER)
        jail.write("/etc/users", "".join(f"{user}: {user}\n" for user in users))
        jail.write("/etc/exim4/exim4.conf", settings.format(name=name, port=self.port, **values))
        self.log = directory / "var/log/exim4/mainlog"
        self.daemon = jail.daemon(PROGRAM, "-bdf", "-q1m")

    def logs(self):
        return {"Exim": tail(self.log, 20)}
