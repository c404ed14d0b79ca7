"""What all sides of the comparison share: a resolver, signed messages, a sink, and the meters."""
import base64
import glob
import json
import os
import pwd
import signal
import socket
import subprocess
import time

RESOLVER, SINK = "127.0.0.1", "127.0.0.1:2600"
HOSTNAME, RELAY_DOMAIN = "mx.rcpt.example", "rcpt.example"
SENDER, SELECTOR = "sender.example", "bench"
AUTHORS = 8               # of the messages: m0.sender.example …
CLIENT_NETWORK = "11.0.0.0/8"  # looks public: some programs check no client of 127/8
CLIENTS, NETWORK = 64, 1  # the clients are 11.1.0.1, 11.1.1.1 … 11.1.63.1
LISTED_NETWORK = 7        # 11.7.*.1 are the same, but on the first DNS list
ADDRESSES = 250           # with names, in both networks
CGROUPS = {"/sys/fs/cgroup/cpuacct": "cpuacct.usage", "/sys/fs/cgroup": "cpu.stat"}  # version 1, version 2


def until(condition, what, seconds=20):
    """Waits for a condition, looking often; a bench that hangs is worse than one that fails."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise SystemExit(f"bench: {what} did not come within {seconds} s")
        time.sleep(0.01)


def give(path, user):
    """A folder of that user."""
    entry = pwd.getpwnam(user)
    os.makedirs(path, exist_ok=True)
    os.chown(path, entry.pw_uid, entry.pw_gid)
    return path


def connects(address, greeting=b""):
    """Whether somebody listens there, and begins with the greeting."""
    host, port = address.split(":")
    try:
        with socket.create_connection((host, int(port)), 5) as connection:
            return connection.recv(len(greeting)) == greeting if greeting else True
    except OSError:
        return False


def answers(address):
    return connects(address, b"220")


class Meter:
    """CPU and memory of a side: by a cgroup of its own where one can be made, else by /proc."""

    def __init__(self, name):
        self.roots, self.group = [], None
        for base, usage in CGROUPS.items():
            if os.path.exists(f"{base}/cgroup.procs"):
                self.group, self.usage = f"{base}/{name}", usage
                break
        try:
            os.mkdir(self.group)
        except (OSError, TypeError):
            self.group = None

    @property
    def way(self):
        return f"cgroups ({self.usage})" if self.group else "/proc"

    def start(self, command, **options):
        """Starts a program whose CPU counts for this side, and that of its children."""
        def join():
            if self.group:
                with open(f"{self.group}/cgroup.procs", "w") as procs:
                    procs.write("0")
        process = subprocess.Popen(command, preexec_fn=join, stdin=subprocess.DEVNULL, **options)
        self.roots.append(process)
        return process

    def trees(self):
        """All that descend from our roots: pid to clock ticks, with those of the children it has buried."""
        parents, ticks = {}, {}
        for path in glob.glob("/proc/[0-9]*/stat"):
            try:
                with open(path) as stat:
                    pid, rest = stat.read().split(" (", 1)
            except OSError:
                continue  # it has ended meanwhile
            fields = rest.rsplit(") ", 1)[1].split()
            parents[int(pid)], ticks[int(pid)] = int(fields[1]), sum(map(int, fields[11:15]))
        ours = {process.pid for process in self.roots}
        while more := {pid for pid, parent in parents.items() if parent in ours} - ours:
            ours |= more
        return {pid: ticks[pid] for pid in ours if pid in ticks}

    def cpu_seconds(self):
        if not self.group:
            return sum(self.trees().values()) / os.sysconf("SC_CLK_TCK")
        with open(f"{self.group}/{self.usage}") as usage:
            text = usage.read()
        return int(text.split()[1]) / 1e6 if text.startswith("usage_usec") else int(text) / 1e9

    def pids(self):
        if not self.group:
            return list(self.trees())
        with open(f"{self.group}/cgroup.procs") as procs:
            return [int(line) for line in procs]

    def memory_kib(self):
        """The sum of the proportional set sizes: a page that n processes share counts 1/n for each."""
        total = 0
        for pid in self.pids():
            try:
                with open(f"/proc/{pid}/smaps_rollup") as rollup:
                    total += sum(int(line.split()[1]) for line in rollup if line.startswith("Pss:"))
            except OSError:
                pass
        return total


# ---- the world in the DNS ----

def txt(name, text):
    pieces = " ".join(f'"{text[at:at + 200]}"' for at in range(0, len(text), 200))
    return f"local-data: '{name}. 3600 IN TXT {pieces}'"


def record(text):
    return f'local-data: "{text}"'


def zone(name):
    return [f'local-zone: "{name}." static',
            record(f"{name}. 3600 IN SOA ns.example. host.example. 1 3600 600 86400 3600")]


def client_records(number, network):
    """A client's name and address, and that it is on the first list when its network is."""
    host, listed = f"c{number}.clients.example.", f"1.{number}.{network}.11.bl1.example."
    lines = [record(f"1.{number}.{network}.11.in-addr.arpa. 3600 IN PTR {host}"),
             record(f"{host} 3600 IN A 11.{network}.{number}.1")]
    return lines + [record(f"{listed} 3600 IN A 127.0.0.2")] if network == LISTED_NETWORK else lines


def sender_records(domain):
    """What a client sends from: SPF with three includes, for it and for the name it greets with."""
    allowed = f"ip4:11.{NETWORK}.0.0/16 ip4:11.{LISTED_NETWORK}.0.0/16"
    includes = " ".join(f"include:spf{part}.{domain}" for part in (1, 2, 3))
    return [record(f"{domain}. 3600 IN MX 10 mail.{domain}."),
            record(f"mail.{domain}. 3600 IN A 11.{NETWORK}.0.1"),
            txt(f"mail.{domain}", f"v=spf1 {allowed} -all"),
            txt(domain, f"v=spf1 {includes} -all"),
            txt(f"spf1.{domain}", "v=spf1 ip4:192.0.2.0/24 -all"),
            txt(f"spf2.{domain}", "v=spf1 ip4:198.51.100.0/24 -all"),
            txt(f"spf3.{domain}", f"v=spf1 {allowed} -all")]


def author_records(domain, public_key):
    """What is in From: a DKIM key, and p=reject."""
    return [txt(f"{SELECTOR}._domainkey.{domain}", f"v=DKIM1; k=rsa; p={public_key}"),
            txt(f"_dmarc.{domain}", f"v=DMARC1; p=reject; rua=mailto:dmarc@{SENDER}")]


def world(public_key):
    """All names, and the lists' test entries (RFC 5782 5)."""
    lines = []
    for name in ("example", SENDER, RELAY_DOMAIN, "clients.example", "bl1.example", "bl2.example",
                 "11.in-addr.arpa"):
        lines += zone(name)
    lines += [record(f"2.0.0.127.{bl}.example. 3600 IN A 127.0.0.2") for bl in ("bl1", "bl2")]
    for number in range(ADDRESSES):
        lines += sender_records(f"s{number}.{SENDER}")
        for network in (NETWORK, LISTED_NETWORK):
            lines += client_records(number, network)
    for number in range(AUTHORS):
        lines += author_records(f"m{number}.{SENDER}", public_key)
    return lines


UNBOUND = """
server:
    interface: {ip}
    access-control: 127.0.0.0/8 allow
    num-threads: 1
    so-rcvbuf: 4m
    username: ""
    chroot: ""
    directory: "{here}"
    pidfile: ""
    use-syslog: no
    do-daemonize: no
    module-config: "iterator"
remote-control:
    control-enable: no
server:
"""


def resolves():
    query = b"\0\1\1\0\0\1\0\0\0\0\0\0\2s0\6sender\7example\0\0\x10\0\1"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.settimeout(0.2)
        try:
            udp.connect((RESOLVER, 53))
            udp.send(query)
            return udp.recv(512)[7] > 0
        except OSError:
            return False


class Rig:
    """The surroundings, in a folder that goes with us."""

    def __init__(self, here, load_program):
        self.here, self.load_program, self.sink = here, load_program, None
        self.log = open(f"{here}/rig.log", "w")
        self.openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                     "-days", "2", "-subj", f"/CN={HOSTNAME}", "-keyout", f"{here}/key.pem",
                     "-out", f"{here}/cert.pem")
        self.start_resolver(self.sign_messages())

    def openssl(self, *arguments, give_it=b""):
        return subprocess.run(["openssl", *arguments], input=give_it, check=True, capture_output=True).stdout

    def write(self, name, text):
        path = os.path.join(self.here, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as file:
            file.write(text)
        return path

    def sign_messages(self):
        """Eight messages a size, in kB, signed once by dkimpy; returns the public key for the DNS."""
        import dkim
        key = self.openssl("genrsa", "-traditional", "2048")
        line = "The quick brown fox jumps over the lazy dog,  and then\tit does so again and again.\r\n"
        self.messages = {2: [], 20: [], 200: []}
        for size, paths in self.messages.items():
            for number in range(AUTHORS):
                author = f"m{number}.{SENDER}"
                header = (f"From: News <news@{author}>\r\nTo: user@{RELAY_DOMAIN}\r\n"
                          f"Subject: {number} of {size} kB\r\nDate: Mon, 01 Sep 2025 12:00:00 +0000\r\n"
                          f"Message-ID: <{size}.{number}@{author}>\r\nMIME-Version: 1.0\r\n"
                          "Content-Type: text/plain; charset=utf-8\r\n\r\n")
                message = (header + line * ((size * 1000 - len(header) - 500) // len(line))).encode()
                signature = dkim.sign(message, SELECTOR.encode(), author.encode(), key,
                                      canonicalize=(b"relaxed", b"relaxed"))
                paths.append(f"{self.here}/{size}.{number}.eml")
                with open(paths[-1], "wb") as file:
                    file.write(signature + message)
        public = self.openssl("rsa", "-pubout", "-outform", "DER", give_it=key)
        return base64.b64encode(public).decode()

    def start_resolver(self, public_key):
        """One unbound thread with all names as local data: the same answers, at the same price, for all."""
        path = self.write("unbound.conf", UNBOUND.format(ip=RESOLVER, here=self.here) +
                          "".join(f"    {line}\n" for line in world(public_key)))
        subprocess.Popen(["unbound", "-d", "-c", path], stdout=self.log, stderr=self.log)
        until(resolves, "an answer of unbound")

    def start_sink(self, keep=None):
        """Postfix's smtp-sink behind everybody; with `keep` each message becomes a file in that folder."""
        if self.sink:
            self.sink.send_signal(signal.SIGKILL)
            self.sink.wait()
        dump = ["-d", f"{give(keep, 'nobody')}/m."] if keep else []
        self.sink = subprocess.Popen(["smtp-sink", "-u", "nobody", "-m", "2000", *dump, SINK, "1000"],
                                     stdout=self.log, stderr=self.log)
        until(lambda: answers(SINK), "the greeting of smtp-sink")

    def load_command(self, address, *options, size=20):
        return [self.load_program, *map(str, options), address, *self.messages[size]]

    def load(self, address, *options, size=20):
        """One run of the load generator; its figures as a dictionary."""
        command = self.load_command(address, *options, size=size)
        done = subprocess.run(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
        if done.returncode != 0:
            raise SystemExit(f"bench: {' '.join(command[:12])} … failed")
        figures = json.loads(done.stdout)
        if figures["failed"]:
            raise SystemExit(f"bench: {figures['failed']} sessions with {address} failed")
        return figures

    def hold(self, address, sessions, *options):
        """Idle sessions; returns the process that holds them until its standard input is closed."""
        command = [self.load_program, "-m", "idle", "-c", "100", "-a", str(ADDRESSES), "-N", str(sessions),
                   *options, address]
        holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if holder.stdout.readline().strip() != f"ready {sessions}":
            raise SystemExit(f"bench: {address} did not hold {sessions} sessions")
        return holder
