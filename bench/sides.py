"""The programs that are compared. Each stands on an address of its own in front of the same sink, asks the
same resolver, and makes the same checks: PTR and back, two DNS lists, the sender's domain, SPF (HELO and
MAIL FROM), DKIM, DMARC and the greylist; and writes its log to a file."""
import os
import urllib.request

from rig import HOSTNAME, RELAY_DOMAIN, RESOLVER, SINK, Meter, answers, connects, give, until


class Side:
    greylists = True                                # whether a first try is refused
    listed_reply = "bl1.example"                    # what is said to a client on the first list
    passes = ("dkim=pass", "dmarc=pass", "spf=pass")  # in the fields of what is delivered

    def __init__(self, rig, name, address, program=None):
        self.rig, self.name, self.address, self.program = rig, name, address, program
        self.port = int(address.split(":")[1])
        self.here = f"{rig.here}/{self.port}"
        self.meter = Meter(f"{os.path.basename(rig.here)}-{self.port}")
        self.log = open(f"{self.here}.log", "w")
        self.start()
        until(lambda: answers(address), f"the greeting of {name}")
        self.at_rest_kib = self.meter.memory_kib()

    def run(self, *command):
        return self.meter.start(command, stdout=self.log, stderr=self.log)

    def is_done(self):
        """Whether no mail is on its way to the sink any more."""
        return True


class Floor(Side):
    def start(self):
        self.run(self.program, self.address, f"{RESOLVER}:53", SINK)


SMTPGUARD = """
version: 1
hostname: {hostname}
listen:
  - {{name: mx, address: "{address}", role: mx, tls: starttls}}
backends:
  - {{address: "{sink}"}}
domains: {{relay: [{domain}], recipients: backend}}
networks: []
limits:
  connections: 30000
  connections_per_client: 30000
  new_connections_per_client: 100000/1s
  spool_dir: "{here}"
  spool_memory: {spool_memory}
tls: {{cert: "{rig}/cert.pem", key: "{rig}/key.pem"}}
dns: {{servers: ["{resolver}"], cache_entries: {cache_entries}}}
screen: {{banner_delay: 1s, fcrdns: enforce}}
dnsbl:
  lists:
    - {{zone: bl1.example, score: 8, codes: [127.0.0.2]}}
    - {{zone: bl2.example, score: 8, codes: [127.0.0.2]}}
greylist: {{when: always, delay: 1s, allow_after: 0}}
store: {{url: "sqlite:{here}/state.db", timeout: 2s}}
admin: {{http: "", socket: ""}}
runtime: {{user: nobody}}
"""


class Smtpguard(Side):
    """What is not set is the default. The greylist asks for every client every time, so a row is written."""
    spool_memory, cache_entries, sink = "1M", 100000, SINK
    changes = {}  # settings that are not as in the text above, by their names in the environment

    def start(self):
        give(self.here, "nobody")
        path = self.rig.write(f"{self.here}/smtpguard.yaml", SMTPGUARD.format(
            here=self.here, rig=self.rig.here, hostname=HOSTNAME, domain=RELAY_DOMAIN, address=self.address,
            sink=self.sink, resolver=RESOLVER, spool_memory=self.spool_memory,
            cache_entries=self.cache_entries))
        self.run("env", *(f"SMTPGUARD_{name}={value}" for name, value in self.changes.items()), self.program, "run", "-c", path)


class SmtpguardCounting(Smtpguard):
    """Each message adds to the counters of its author's domain, and lies in the journal before its 250."""
    changes = {"REPORTS__FROM": "dmarc@rcpt.example", "REPORTS__AGGREGATE__ENABLED": "true"}


class SmtpguardWithoutCache(Smtpguard):
    """Each name is asked for anew: what a stream of ever new clients and senders costs."""
    cache_entries = 1


class SmtpguardWithoutHistory(Smtpguard):
    """Decisions are not on record."""
    changes = {"STORE__HISTORY": "0s"}


class SmtpguardSmallSpool(Smtpguard):
    spool_memory = "64K"


class Counting(Smtpguard):
    """Tells how many questions it has asked the DNS."""

    def start(self):
        self.admin = f"127.0.0.1:{self.port + 1000}"
        self.changes = {**self.changes, "ADMIN__HTTP": self.admin}
        super().start()

    def questions(self):
        with urllib.request.urlopen(f"http://{self.admin}/metrics", timeout=10) as page:
            return sum(float(line.split()[-1]) for line in page.read().decode().splitlines()
                       if line.startswith("smtpguard_dns_queries_total{"))


class CountingWithoutCache(Counting):
    cache_entries = 1


class Screening(Counting):
    """PTR and back, HELO, the sender's domain, SPF and two DNS lists, and nothing else."""
    greylists, passes = False, ("spf=pass",)
    changes = {f"{name}__MODE": "off" for name in ("DKIM", "ARC", "DMARC", "GREYLIST")}


class ScreeningWithoutCache(Screening):
    cache_entries = 1


class Bare(Counting):
    """A proxy that checks nothing but the shape of a message."""
    greylists, listed_reply, passes = False, "", ()
    changes = {**Screening.changes, "SPF__MODE": "off", "DNSBL__MODE": "off",
               **{f"SCREEN__{name}": "off" for name in ("EARLY_TALKER", "HELO", "FCRDNS", "SENDER_DOMAIN")}}


class GreylistAlone(Smtpguard):
    """No check but the greylist, as Postfix with postgrey."""
    changes = {name: value for name, value in Bare.changes.items() if not name.startswith("GREYLIST")}


class GreylistForStrangers(Smtpguard):
    """Every check, without the wait before the banner that clients have who never delivered anything."""
    changes = {"SCREEN__BANNER_DELAY": "0s"}


MAIN_CF = """
compatibility_level = 3.6
queue_directory = {here}/queue
data_directory = {here}/data
maillog_file = {here}/mail.log
maillog_file_prefixes = {here}
myhostname = {hostname}
mydestination =
mynetworks =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
alias_maps =
relay_domains = {domain}
relay_transport = relay:[{sink_ip}]:{sink_port}
smtpd_tls_security_level = may
smtpd_tls_cert_file = {rig}/cert.pem
smtpd_tls_key_file = {rig}/key.pem
default_process_limit = 600
smtpd_client_connection_count_limit = 1000
"""

CHECKS_CF = """
smtpd_helo_required = yes
smtpd_recipient_restrictions = reject_unauth_destination,
    reject_invalid_helo_hostname, reject_non_fqdn_helo_hostname,
    reject_unknown_client_hostname, reject_unknown_sender_domain,
    reject_rbl_client bl1.example, reject_rbl_client bl2.example,
    check_policy_service unix:private/policyd-spf, check_policy_service inet:127.0.0.1:10023
policyd-spf_time_limit = 3600
smtpd_milters = unix:{here}/opendkim/socket, unix:{here}/opendmarc/socket
milter_default_action = tempfail
"""

GREYLISTING_CF = """
smtpd_recipient_restrictions = reject_unauth_destination, check_policy_service inet:127.0.0.1:10024
smtpd_error_sleep_time = 0
smtpd_soft_error_limit = 1000000
smtpd_hard_error_limit = 1000000
"""

BACKEND_CF = """
smtpd_relay_restrictions = reject_unauth_destination
smtpd_authorized_xclient_hosts = {xclient_hosts}
"""

MASTER_CF = """
{address} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
policyd-spf unix - n n - 0 spawn user=policyd-spf argv=/usr/bin/policyd-spf {here}/policyd-spf.conf
"""


class Postfix(Side):
    """An instance of its own, which hands its mail to the sink."""

    def write(self, name, text):
        return self.rig.write(f"{self.here}/{name}", text)

    def start_postfix(self, settings):
        ip, port = SINK.split(":")
        self.write("etc/main.cf", settings + MAIN_CF.format(
            here=self.here, rig=self.rig.here, hostname=HOSTNAME, domain=RELAY_DOMAIN, sink_ip=ip,
            sink_port=port))
        self.write("etc/master.cf", MASTER_CF.format(here=self.here, address=self.address))
        os.makedirs(f"{self.here}/queue")
        give(f"{self.here}/data", "postfix")
        self.run("postfix", "-c", f"{self.here}/etc", "start-fg")

    def is_done(self):
        return not any(files for folder in ("maildrop", "incoming", "active", "deferred")
                       for _, _, files in os.walk(f"{self.here}/queue/{folder}"))


class Greylisting(Postfix):
    """Postfix with postgrey and no other check, and without the pauses for clients whom it tells 450 often."""

    def start(self):
        self.start_postgrey(10024)
        self.start_postfix(GREYLISTING_CF)

    def start_postgrey(self, port):
        self.write("empty", "")
        self.run("postgrey", f"--inet=127.0.0.1:{port}", f"--dbdir={give(f'{self.here}/postgrey', 'postgrey')}",
                 "--delay=1", "--auto-whitelist-clients=0", f"--whitelist-clients={self.here}/empty",
                 f"--whitelist-recipients={self.here}/empty")
        until(lambda: connects(f"127.0.0.1:{port}"), "postgrey")


class Debian(Greylisting):
    """Postfix with postgrey, policyd-spf, OpenDKIM and OpenDMARC, as Debian's packages and their manuals set
    them up, with the exceptions for local clients taken out (here all are local), milters on unix sockets."""

    def start(self):
        self.write("local-hosts", "192.0.2.1\n")
        self.write("policyd-spf.conf", "debugLevel = 1\nTestOnly = 1\nHELO_reject = Fail\n"
                   "Mail_From_reject = Fail\nskip_addresses = 192.0.2.1/32\n")
        self.start_postgrey(10023)
        self.start_milter("opendkim", "-x", f"Mode v\nInternalHosts {self.here}/local-hosts\n"
                          f"Nameservers {RESOLVER}\nAuthservID {HOSTNAME}\nAlwaysAddARHeader yes\n")
        self.start_milter("opendmarc", "-c", f"IgnoreHosts {self.here}/local-hosts\nRejectFailures false\n"
                          f"TrustedAuthservIDs {HOSTNAME}\nAuthservID {HOSTNAME}\n")
        self.start_postfix(CHECKS_CF.format(here=self.here))

    def start_milter(self, program, option, settings):
        folder = give(f"{self.here}/{program}", program)
        path = self.write(f"{program}.conf", f"{settings}UserID {program}\nUMask 000\nSyslog yes\n"
                          f"Socket local:{folder}/socket\nPidFile {folder}/pid\n")
        self.run(program, "-f", option, path)
        until(lambda: os.path.exists(f"{folder}/socket"), f"the socket of {program}")


class Backend(Postfix):
    def __init__(self, rig, name, address, xclient_hosts):
        self.xclient_hosts = xclient_hosts
        super().__init__(rig, name, address)

    def start(self):
        self.start_postfix(BACKEND_CF.format(xclient_hosts=self.xclient_hosts))


class SmtpguardBeforePostfix(Smtpguard):
    """With a real Postfix behind it, which is told the true client by XCLIENT; only smtpguard's CPU counts.
    A Postfix that takes XCLIENT from 127.0.0.1 alone binds a connection to the client that it was told."""
    xclient_hosts = "127.0.0.1"

    def start(self):
        self.sink = f"127.0.0.1:{self.port + 100}"
        self.backend = Backend(self.rig, f"Postfix behind {self.name}", self.sink, self.xclient_hosts)
        super().start()

    def is_done(self):
        return self.backend.is_done()


class SmtpguardBeforeTrustingPostfix(SmtpguardBeforePostfix):
    """A Postfix that takes XCLIENT from everybody who can reach its port: connections serve any client."""
    xclient_hosts = "static:all"
