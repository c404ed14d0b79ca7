"""Real DNS on loopback: nsd answers for the world, and unbound resolves in front of it."""

from lib.check import wait_for
from lib.process import Daemon, free_port, tail

import dns.exception
import dns.message
import dns.query

NSD = """\
server:
  ip-address: 127.0.0.1@{port}
  username: ""
  zonesdir: "{dir}"
  xfrdir: "{dir}"
  zonelistfile: "{dir}/zone.list"
  cookie-secret-file: "{dir}/cookies"
  database: ""
  pidfile: ""
  xfrdfile: ""
  server-count: 1
remote-control:
  control-enable: no
zone:
  name: "."
  zonefile: "world.zone"
"""

BROKEN = """\
zone: # has no file: SERVFAIL
  name: "servfail.test"
  zonefile: "absent.zone"
"""

# Names below test. and 127.in-addr.arpa. are answered by unbound itself unless it is told otherwise.
UNBOUND = """\
server:
  interface: 127.0.0.1@{port}
  do-daemonize: no
  username: ""
  chroot: ""
  directory: "{dir}"
  pidfile: ""
  logfile: ""
  use-syslog: no
  module-config: "iterator"
  num-threads: 1
  do-ip6: no
  do-not-query-localhost: no
  local-zone: "test." nodefault
  local-zone: "127.in-addr.arpa." nodefault
  local-zone: "localhost." nodefault
  local-zone: "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.ip6.arpa." nodefault
remote-control:
  control-enable: no
stub-zone:
  name: "."
  stub-addr: 127.0.0.1@{nsd}
  stub-prime: no
stub-zone: # nobody answers there
  name: "silent.test"
  stub-addr: 127.0.0.1@{nobody}
"""


def answers(port, name, kind):
    question = dns.message.make_query(name, kind)
    try:
        return bool(dns.query.udp(question, "127.0.0.1", port=port, timeout=1).answer)
    except (OSError, dns.exception.Timeout):
        return False


class Nsd:
    """Answers from the zone file of the root, and knows nothing else."""

    def __init__(self, directory, zone, more=""):
        self.dir, self.port = directory, free_port()
        self.address = f"127.0.0.1:{self.port}"
        directory.mkdir(exist_ok=True)
        (directory / "world.zone").write_text(zone, encoding="ascii")
        (directory / "nsd.conf").write_text(NSD.format(dir=directory, port=self.port) + more, encoding="ascii")
        self.daemon = Daemon(["nsd", "-d", "-c", directory / "nsd.conf"], directory / "nsd.log")

    def start(self):
        self.daemon.start()
        self.daemon.wait_until(lambda: answers(self.port, ".", "SOA"), "nsd answered")
        return self

    def stop(self):
        self.daemon.kill()

    def logs(self):
        return {"nsd": tail(self.daemon.log, 15)}


class NameServer:
    """`address` is that of unbound. A second one for a test of its own costs a tenth of a second."""

    def __init__(self, directory, zone):
        directory.mkdir()
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.nsd = Nsd(directory, zone, BROKEN)
        (directory / "unbound.conf").write_text(
            UNBOUND.format(dir=directory, port=self.port, nsd=self.nsd.port, nobody=free_port()), encoding="ascii"
        )
        self.unbound = Daemon(["unbound", "-d", "-c", directory / "unbound.conf"], directory / "unbound.log")

    def start(self):
        self.nsd.start()
        self.unbound.start()
        wait_for(lambda: answers(self.port, "good.test", "MX"), "the DNS servers")
        return self

    def stop(self):
        self.unbound.kill()
        self.nsd.stop()

    def logs(self):
        return {**self.nsd.logs(), "unbound": tail(self.unbound.log, 15)}
