"""The programs that are compared. Each stands on an address of its own in front of the same sink, asks the same resolver,
and has the same checks: PTR and back, two DNS lists, SPF (HELO and MAIL FROM), DKIM, DMARC, greylist, sender domain."""
import os
import shutil

from rig import HOSTNAME, RELAY_DOMAIN, RESOLVER, SINK, Meter, answers, give, until


class Side:
    name = address = ""

    def __init__(self, rig, run_id):
        self.rig, self.meter = rig, Meter(f"{run_id}-{self.address.split(':')[1]}")
        self.log = open(f"{rig.here}/{self.address}.log", "w+")
        self.start()
        until(lambda: answers(self.address), f"the greeting of {self.name}")

    def run(self, *command, **options):
        return self.meter.start(command, stdout=self.log, stderr=self.log, **options)

    def is_done(self):
        """Whether no mail is left on its way to the sink."""
        return True


class Floor(Side):
    name, address = "floor", "127.0.0.1:2501"

    def __init__(self, rig, run_id, program):
        self.program = program
        super().__init__(rig, run_id)

    def start(self):
        self.run(self.program, self.address, f"{RESOLVER}:53", SINK)


class Smtpguard(Side):
    name, address = "smtpguard", "127.0.0.1:2502"
    settings = ""

    def __init__(self, rig, run_id, program):
        self.program = program
        super().__init__(rig, run_id)

    def start(self):
        here = give(f"{self.rig.here}/{self.name.replace(' ', '-')}", "nobody")
        port = int(self.address.split(":")[1])
        path = self.rig.write(f"{here}/smtpguard.yaml", f"""
version: 1
hostname: {HOSTNAME}
listen:
  - {{name: mx, address: "{self.address}", role: mx, tls: starttls}}
backends:
  - {{address: "{SINK}"}}
domains: {{relay: [{RELAY_DOMAIN}], recipients: backend}}
networks: []
limits:
  connections: 30000
  connections_per_client: 30000
  new_connections_per_client: 100000/1s
  spool_dir: "{here}"
  spool_memory: {self.spool_memory}
tls: {{cert: "{self.rig.here}/cert.pem", key: "{self.rig.here}/key.pem"}}
dns: {{servers: ["{RESOLVER}"], cache_entries: {self.cache_entries}}}
screen: {{banner_delay: 1s, fcrdns: enforce}}
dnsbl:
  lists:
    - {{zone: bl1.example, score: 8, codes: [127.0.0.2]}}
    - {{zone: bl2.example, score: 8, codes: [127.0.0.2]}}
greylist: {{when: always, delay: 1s, allow_after: 0}}
store: {{url: "sqlite:{here}/state.db", timeout: 2s}}
admin: {{http: "127.0.0.1:{port + 1000}"}}
runtime: {{user: nobody}}
""")
        os.chmod(f"{self.rig.here}/key.pem", 0o600)
        self.run(self.program, "run", "-c", path)

    spool_memory, cache_entries = "1M", 100000


class SmtpguardWithoutCache(Smtpguard):
    """Each name is asked for anew: what a stream of ever new clients and senders costs."""
    name, address, cache_entries = "smtpguard without DNS cache", "127.0.0.1:2503", 1


class SmtpguardSmallSpool(Smtpguard):
    """Of each message only 64 kB stay in memory."""
    name, address, spool_memory = "smtpguard with a small spool", "127.0.0.1:2504", "64K"


class Debian(Side):
    """Postfix with postgrey, policyd-spf, OpenDKIM and OpenDMARC, as Debian's packages and their documentation set them up,
    with the exceptions for local clients taken out: here all clients are local."""
    name, address = "Debian stack", "127.0.0.1:2505"

    def start(self):
        self.here = self.rig.here + "/debian"
        os.makedirs(self.here)
        nobody = self.rig.write("debian/local-hosts", "192.0.2.1\n")
        self.start_postgrey()
        self.start_milters(nobody)
        self.start_postfix()

    def start_postgrey(self):
        empty = self.rig.write("debian/empty", "")
        self.run("postgrey", "--inet=127.0.0.1:10023", f"--dbdir={give(self.here + '/postgrey', 'postgrey')}", "--delay=1",
                 "--auto-whitelist-clients=0", f"--whitelist-clients={empty}", f"--whitelist-recipients={empty}")

    def start_milters(self, local_hosts):
        for program, settings in (
                ("opendkim", f"Mode v\nInternalHosts {local_hosts}\nNameservers {RESOLVER}\nAuthservID {HOSTNAME}\n"
                             "AlwaysAddARHeader yes\n"),
                ("opendmarc", f"IgnoreHosts {local_hosts}\nTrustedAuthservIDs {HOSTNAME}\nAuthservID {HOSTNAME}\n"
                              "RejectFailures false\n")):
            folder = give(f"{self.here}/{program}", program)
            path = self.rig.write(f"debian/{program}.conf", f"{settings}UserID {program}\nUMask 000\nSyslog yes\n"
                                  f"Socket local:{folder}/socket\nPidFile {folder}/pid\n")
            self.run(program, "-f", "-x" if program == "opendkim" else "-c", path)

    def start_postfix(self):
        here, milters = self.here, ",".join(f"unix:{self.here}/{name}/socket" for name in ("opendkim", "opendmarc"))
        spf = self.rig.write("debian/policyd-spf.conf", "debugLevel = 1\nTestOnly = 1\nHELO_reject = Fail\n"
                             "Mail_From_reject = Fail\nskip_addresses = 192.0.2.1/32\n")
        self.rig.write("debian/etc/main.cf", f"""
compatibility_level = 3.6
queue_directory = {here}/queue
data_directory = {here}/data
maillog_file = {here}/mail.log
maillog_file_prefixes = {self.rig.here}
myhostname = {HOSTNAME}
mydestination =
mynetworks =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
alias_maps =
relay_domains = {RELAY_DOMAIN}
relay_transport = relay:[127.0.0.1]:{SINK.split(":")[1]}
smtpd_tls_security_level = may
smtpd_tls_cert_file = {self.rig.here}/cert.pem
smtpd_tls_key_file = {self.rig.here}/key.pem
smtpd_helo_required = yes
smtpd_recipient_restrictions = reject_unauth_destination, reject_invalid_helo_hostname, reject_non_fqdn_helo_hostname,
    reject_unknown_client_hostname, reject_unknown_sender_domain, reject_rbl_client bl1.example, reject_rbl_client bl2.example,
    check_policy_service unix:private/policyd-spf, check_policy_service inet:127.0.0.1:10023
policyd-spf_time_limit = 3600
smtpd_milters = {milters}
milter_default_action = tempfail
default_process_limit = 600
smtpd_client_connection_count_limit = 1000
""")
        self.rig.write("debian/etc/master.cf", f"""
{self.address} inet n - n - - smtpd
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
policyd-spf unix - n n - 0 spawn user=policyd-spf argv=/usr/bin/policyd-spf {spf}
""")
        os.makedirs(here + "/queue")
        give(here + "/data", "postfix")
        self.run("postfix", "-c", f"{here}/etc", "start-fg")

    def is_done(self):
        return not any(files for folder in ("maildrop", "incoming", "active", "deferred")
                       for _, _, files in os.walk(f"{self.here}/queue/{folder}"))


def missing_programs():
    needed = ("unbound", "smtp-sink", "postfix", "postgrey", "policyd-spf", "opendkim", "opendmarc", "openssl", "unshare", "ip")
    path = os.environ["PATH"] + ":/usr/sbin:/sbin"
    return [program for program in needed if shutil.which(program, path=path) is None]
