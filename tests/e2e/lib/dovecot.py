"""Dovecot's LMTP server, which delivers into maildirs."""

import pwd
import shutil

from lib.check import same, wait_for
from lib.process import Daemon, free_port, listens, tail

SETTINGS = """\
base_dir = {dir}/run
state_dir = {dir}/run
log_path = {dir}/dovecot.log
protocols = lmtp
listen = 127.0.0.1
ssl = no
mail_location = maildir:{dir}/mail/%n
mail_plugins = quota
first_valid_uid = 1
postmaster_address = postmaster@example.net
hostname = mail.example.net
login_trusted_networks = 127.0.0.0/8
service lmtp {{
  inet_listener lmtp {{
    address = 127.0.0.1
    port = {port}
  }}
  unix_listener {dir}/lmtp.sock {{
    mode = 0666
  }}
}}
service stats {{
  unix_listener stats-writer {{
    mode = 0666
  }}
}}
passdb {{
  driver = passwd-file
  args = {dir}/users
}}
userdb {{
  driver = passwd-file
  args = {dir}/users
}}
plugin {{
  quota = maildir:User quota
}}
quota_full_tempfail = {tempfail}
"""


class Dovecot:
    """Users are bob and carol, and full, whose quota has no room for anything: mail to him is refused, or deferred."""

    def __init__(self, directory, tempfail=False):
        nobody = pwd.getpwnam("nobody")
        self.dir = directory
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.socket = directory / "lmtp.sock"
        for name in ("", "run", "mail"):
            (directory / name).mkdir()
        directory.chmod(0o755)
        shutil.chown(directory / "mail", "nobody")
        settings = SETTINGS.format(dir=directory, port=self.port, tempfail="yes" if tempfail else "no")
        (directory / "dovecot.conf").write_text(settings, encoding="ascii")
        self.ids = f"{nobody.pw_uid}:{nobody.pw_gid}"
        self.write_users(1)
        self.log = directory / "dovecot.log"
        self.daemon = Daemon(["dovecot", "-F", "-c", directory / "dovecot.conf"], directory / "dovecot.out")

    def write_users(self, quota_bytes):
        users = [f"{name}@example.net:{{PLAIN}}x:{self.ids}::{self.dir}/mail/{name}" for name in ("bob", "carol", "full")]
        users[-1] += f"::userdb_quota_rule=*:bytes={quota_bytes}"
        (self.dir / "users").write_text("\n".join(users) + "\n", encoding="ascii")

    def make_room(self):
        """Restarts it with a quota that full can live with."""
        self.stop()
        self.write_users(1000000)
        self.start()

    def start(self):
        self.daemon.start()
        self.daemon.wait_until(lambda: listens(self.port), "it listened")
        return self

    def stop(self):
        self.daemon.stop()

    def logs(self):
        return {"Dovecot": tail(self.log, 25) + tail(self.dir / "dovecot.out", 10)}

    def files(self, user):
        folder = self.dir / "mail" / user / "new"
        return sorted(folder.iterdir()) if folder.is_dir() else []

    def message(self, user):
        """Waits for the one message of this user, as it was on the wire."""
        files = wait_for(lambda: self.files(user), f"a message for {user}")
        same(len(files), 1, f"messages for {user}")
        return files[0].read_bytes().replace(b"\n", b"\r\n")
