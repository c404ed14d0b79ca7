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


class NameServer:
    """`address` is that of unbound. A second one for a test of its own costs a tenth of a second."""

    def __init__(self, directory, zone):
        directory.mkdir()
        nsd, self.port = free_port(), free_port()
        self.address = f"127.0.0.1:{self.port}"
        (directory / "world.zone").write_text(zone, encoding="ascii")
        (directory / "nsd.conf").write_text(NSD.format(dir=directory, port=nsd), encoding="ascii")
        (directory / "unbound.conf").write_text(
            UNBOUND.format(dir=directory, port=self.port, nsd=nsd, nobody=free_port()), encoding="ascii"
        )
        self.nsd = Daemon(["nsd", "-d", "-c", directory / "nsd.conf"], directory / "nsd.log")
        self.unbound = Daemon(["unbound", "-d", "-c", directory / "unbound.conf"], directory / "unbound.log")

    def start(self):
        self.nsd.start()
        self.unbound.start()
        wait_for(self.answers, "the DNS servers")
        return self

    def answers(self):
        question = dns.message.make_query("good.test", "MX")
        try:
            return bool(dns.query.udp(question, "127.0.0.1", port=self.port, timeout=1).answer)
        except (OSError, dns.exception.Timeout):
            return False

    def stop(self):
        for daemon in (self.unbound, self.nsd):
            daemon.kill()

    def logs(self):
        return {"nsd": tail(self.nsd.log, 15), "unbound": tail(self.unbound.log, 15)}
