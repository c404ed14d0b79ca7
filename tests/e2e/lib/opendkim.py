"""OpenDKIM as a milter that signs what the sending Postfix takes."""

from lib.process import Daemon, free_port, listens, tail

SETTINGS = """\
Mode s
Domain {domain}
Selector {selector}
KeyFile {key}
Socket inet:{port}@127.0.0.1
Canonicalization relaxed/simple
InternalHosts 127.0.0.0/8
RequireSafeKeys no
TemporaryDirectory {dir}
Background no
Syslog no
"""


class OpenDkim:
    def __init__(self, directory, domain, selector, key):
        self.port = free_port()
        config = directory / "opendkim.conf"
        config.write_text(
            SETTINGS.format(domain=domain, selector=selector, key=key.path, port=self.port, dir=directory),
            encoding="ascii",
        )
        self.daemon = Daemon(["opendkim", "-f", "-x", config], directory / "opendkim.log")

    def start(self):
        self.daemon.start()
        self.daemon.wait_until(lambda: listens(self.port), "it listened")
        return self

    def stop(self):
        self.daemon.kill()  # told politely, it takes five seconds

    def logs(self):
        return {"opendkim": tail(self.daemon.log)}
