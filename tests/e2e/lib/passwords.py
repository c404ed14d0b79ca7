"""Dovecot as the one that knows the passwords: Postfix asks it (smtpd_sasl_type = dovecot)."""

import signal

from lib.process import Daemon, free_port, listens, tail

SETTINGS = """\
base_dir = {dir}/run
state_dir = {dir}/state
log_path = /dev/stderr
protocols =
ssl = no
disable_plaintext_auth = no
auth_mechanisms = plain login cram-md5 scram-sha-256
passdb {{
  driver = passwd-file
  args = scheme=PLAIN {dir}/users
}}
userdb {{
  driver = static
  args = uid=nobody gid=nogroup home=/nonexistent
}}
service auth {{
  inet_listener {{
    address = 127.0.0.1
    port = {port}
  }}
}}
auth_failure_delay = 0
service anvil {{
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
"""

# For a Postfix (lib/postfix.py) that takes mail from those who have logged in, and from nobody else.
POSTFIX = """\
smtpd_sasl_auth_enable = yes
smtpd_sasl_type = dovecot
smtpd_sasl_path = inet:127.0.0.1:{port}
smtpd_sasl_authenticated_header = yes
smtpd_recipient_restrictions = permit_sasl_authenticated, reject
smtpd_relay_restrictions = permit_sasl_authenticated, reject
"""


class Passwords:
    def __init__(self, directory, **passwords):
        directory.mkdir()
        self.dir = directory
        self.port = free_port()
        (directory / "users").write_text(
            "".join(f"{name}:{password}::::::\n" for name, password in passwords.items())
        )
        conf = directory / "dovecot.conf"
        conf.write_text(SETTINGS.format(dir=directory, port=self.port))
        self.log = directory / "log"
        self.daemon = Daemon(["dovecot", "-F", "-c", conf], self.log)

    def start(self):
        self.daemon.start()
        self.daemon.wait_until(lambda: listens(self.port), "it listened")
        return self

    def stop(self):
        self.daemon.stop(signal.SIGTERM)

    def logs(self):
        return {"Dovecot": tail(self.log, 25)}
