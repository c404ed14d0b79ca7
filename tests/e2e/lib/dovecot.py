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
"""


class Dovecot:
    """Users are bob and carol, and full, whose quota has no room for anything."""

    def __init__(self, directory):
        nobody = pwd.getpwnam("nobody")
        self.dir = directory
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.socket = directory / "lmtp.sock"
        for name in ("", "run", "mail"):
            (directory / name).mkdir()
        directory.chmod(0o755)
        shutil.chown(directory / "mail", "nobody")
        (directory / "dovecot.conf").write_text(SETTINGS.format(dir=directory, port=self.port), encoding="ascii")
        ids = f"{nobody.pw_uid}:{nobody.pw_gid}"
        users = [f"{name}@example.net:{{PLAIN}}x:{ids}::{directory}/mail/{name}" for name in ("bob", "carol", "full")]
        users[-1] += "::userdb_quota_rule=*:bytes=1"
        (directory / "users").write_text("\n".join(users) + "\n", encoding="ascii")
        self.log = directory / "dovecot.log"
        self.daemon = Daemon(["dovecot", "-F", "-c", directory / "dovecot.conf"], directory / "dovecot.out")

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
