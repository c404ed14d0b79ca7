"""OpenDKIM as a milter: it signs what the sending Postfix takes, or verifies what the receiving one gets."""

from lib.process import Daemon, free_port, listens, tail

SIGNING = """\
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

VERIFYING = """\
Mode v
AuthservID {name}
AlwaysAddARHeader yes
ResolverConfiguration {resolver}
Socket inet:{port}@127.0.0.1
InternalHosts 192.0.2.1
TemporaryDirectory {dir}
Background no
Syslog no
"""

RESOLVER = """\
server:
  module-config: "iterator"
  do-not-query-localhost: no
forward-zone:
  name: "."
  forward-addr: {address}
"""


class Milter:
    """`settings` has a place for the port, and for what else comes by name."""

    def __init__(self, directory, settings, **values):
        self.port = free_port()
        config = directory / "opendkim.conf"
        config.write_text(settings.format(port=self.port, dir=directory, **values), encoding="ascii")
        self.daemon = Daemon(["opendkim", "-f", "-x", config], directory / "opendkim.log")

    def start(self):
        self.daemon.start()
        self.daemon.wait_until(lambda: listens(self.port), "it listened")
        return self

    def stop(self):
        self.daemon.kill()  # told politely, it takes five seconds

    def logs(self):
        return {"opendkim": tail(self.daemon.log)}


class OpenDkim(Milter):
    """Signs."""

    def __init__(self, directory, domain, selector, key):
        super().__init__(directory, SIGNING, domain=domain, selector=selector, key=key.path)


class Verifier(Milter):
    """Verifies, with the keys that this DNS server has, and says so in Authentication-Results by `name`."""

    name = "opendkim.test"

    def __init__(self, directory, nameserver):
        resolver = directory / "opendkim-resolver.conf"
        address = nameserver.address.replace(":", "@")
        resolver.write_text(RESOLVER.format(address=address), encoding="ascii")
        super().__init__(directory, VERIFYING, name=self.name, resolver=resolver)

