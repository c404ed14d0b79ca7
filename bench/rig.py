"""What all sides of the comparison share: a private network, a resolver, signed messages, a sink, and the counting of CPU
and memory. bench/run uses it; see there for the whole story."""
import glob
import json
import os
import pwd
import signal
import socket
import subprocess
import time

RESOLVER, SINK = "127.0.0.1", "127.0.0.1:2600"
CLIENTS, LISTED_NETWORK = 64, 7  # clients are 127.1.0.1 … 127.1.63.1; 127.7.*.1 are on the first list
SELECTOR, SENDER, HELO = "bench", "sender.example", "mail.sender.example"
HOSTNAME, RELAY_DOMAIN = "mx.rcpt.example", "rcpt.example"


def until(condition, what, seconds=20):
    """Waits for a condition, looking often; a bench that hangs is worse than one that fails."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise SystemExit(f"bench: {what} did not happen within {seconds} s")
        time.sleep(0.01)


def give(path, user):
    """A folder of that user."""
    entry = pwd.getpwnam(user)
    os.makedirs(path, exist_ok=True)
    os.chown(path, entry.pw_uid, entry.pw_gid)
    return path


def answers(address):
    """Whether an SMTP server greets there."""
    host, port = address.split(":")
    try:
        with socket.create_connection((host, int(port)), 5) as connection:
            return connection.recv(3) == b"220"
    except OSError:
        return False


class Meter:
    """CPU and memory of a side: a cgroup of its own where one can be made, else /proc over its process trees."""

    def __init__(self, name):
        self.roots, self.group = [], None
        for base, usage in (("/sys/fs/cgroup/cpuacct", "cpuacct.usage"), ("/sys/fs/cgroup", "cpu.stat")):
            if os.path.exists(f"{base}/cgroup.procs"):
                self.group = f"{base}/smtpguard-bench-{name}"
                self.usage = f"{self.group}/{usage}"
                break
        try:
            os.mkdir(self.group)
        except FileExistsError:
            pass
        except (OSError, TypeError):
            self.group = None

    @property
    def way(self):
        return self.usage if self.group else "/proc"

    def start(self, command, **options):
        """Starts a program whose CPU counts for this side, with all its children."""
        def join():
            if self.group:
                with open(f"{self.group}/cgroup.procs", "w") as procs:
                    procs.write("0")
        process = subprocess.Popen(command, preexec_fn=join, stdin=subprocess.DEVNULL, **options)
        self.roots.append(process)
        return process

    def pids(self):
        if self.group:
            with open(f"{self.group}/cgroup.procs") as procs:
                return [int(line) for line in procs]
        return list(self.trees())

    def trees(self):
        """pid: jiffies of it and its dead children, for all that descend from our roots."""
        parents, jiffies = {}, {}
        for path in glob.glob("/proc/[0-9]*/stat"):
            try:
                with open(path) as stat:
                    pid, rest = stat.read().split(" (", 1)
            except OSError:
                continue
            fields = rest.rsplit(") ", 1)[1].split()
            parents[int(pid)], jiffies[int(pid)] = int(fields[1]), sum(map(int, fields[11:15]))
        ours = {process.pid for process in self.roots}
        while more := {pid for pid, parent in parents.items() if parent in ours} - ours:
            ours |= more
        return {pid: jiffies[pid] for pid in ours if pid in jiffies}

    def cpu_seconds(self):
        if not self.group:
            return sum(self.trees().values()) / os.sysconf("SC_CLK_TCK")
        with open(self.usage) as usage:
            text = usage.read()
        return int(text.split()[1]) / 1e6 if text.startswith("usage_usec") else int(text) / 1e9

    def memory_kib(self, what="Pss:"):
        total = 0
        for pid in self.pids():
            try:
                with open(f"/proc/{pid}/smaps_rollup") as rollup:
                    total += sum(int(line.split()[1]) for line in rollup if line.startswith(what))
            except OSError:
                pass  # it has ended meanwhile
        return total


class Rig:
    """The surroundings, in a folder on a tmpfs of our own namespace."""

    def __init__(self, here, load, openssl="openssl"):
        self.here, self.load_program = here, load
        self.sink = None
        os.chmod(here, 0o755)
        subprocess.run([openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                        "-subj", f"/CN={HOSTNAME}", "-keyout", f"{here}/key.pem", "-out", f"{here}/cert.pem"],
                       check=True, stderr=subprocess.DEVNULL)
        self.start_resolver(self.sign_messages(openssl))

    def write(self, name, text):
        path = f"{self.here}/{name}"
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as file:
            file.write(text)
        return path

    def sign_messages(self, openssl):
        """Eight messages a size, signed by dkimpy; returns the public key for the DNS."""
        import dkim
        key = subprocess.run([openssl, "genrsa", "-traditional", "2048"], check=True, capture_output=True).stdout
        line = "The quick brown fox jumps over the lazy dog,  and then\tit does so again and again.\r\n"
        self.messages = {}
        for size in (2, 20, 200):
            self.messages[size] = []
            for number in range(8):
                header = (f"From: News <news@{SENDER}>\r\nTo: user@{RELAY_DOMAIN}\r\nSubject: Number {number} of {size} kB\r\n"
                          f"Date: Mon, 01 Sep 2025 12:00:00 +0000\r\nMessage-ID: <{size}.{number}@{SENDER}>\r\n"
                          "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n")
                message = (header + line * ((size * 1000 - len(header) - 500) // len(line))).encode()
                signature = dkim.sign(message, SELECTOR.encode(), SENDER.encode(), key, canonicalize=(b"relaxed", b"relaxed"))
                path = f"{self.here}/{size}.{number}.eml"
                with open(path, "wb") as file:
                    file.write(signature + message)
                self.messages[size].append(path)
        public = subprocess.run([openssl, "rsa", "-pubout", "-outform", "DER"], input=key, check=True, capture_output=True).stdout
        import base64
        return base64.b64encode(public).decode()

    def start_resolver(self, public_key):
        """One unbound thread with all names as local data: the same answers, at the same price, for every side."""
        def txt(name, text):
            pieces = " ".join(f'"{text[i:i + 200]}"' for i in range(0, len(text), 200))
            return f"local-data: '{name}. 3600 IN TXT {pieces}'"
        zones = ["sender.example", "clients.example", "bl1.example", "bl2.example", "127.in-addr.arpa", RELAY_DOMAIN]
        data = [f'local-zone: "{zone}." static\nlocal-data: "{zone}. 3600 IN SOA ns.example. host.example. 1 3600 600 86400 3600"'
                for zone in zones]
        data += [f'local-data: "{SENDER}. 3600 IN MX 10 {HELO}."', f'local-data: "{HELO}. 3600 IN A 127.1.0.1"',
                 txt(HELO, "v=spf1 ip4:127.1.0.0/16 ip4:127.7.0.0/16 -all"),
                 txt(SENDER, "v=spf1 include:spf1.sender.example include:spf2.sender.example include:spf3.sender.example -all"),
                 txt(f"spf1.{SENDER}", "v=spf1 ip4:192.0.2.0/24 -all"), txt(f"spf2.{SENDER}", "v=spf1 ip4:198.51.100.0/24 -all"),
                 txt(f"spf3.{SENDER}", "v=spf1 ip4:127.1.0.0/16 ip4:127.7.0.0/16 -all"),
                 txt(f"_dmarc.{SENDER}", f"v=DMARC1; p=reject; rua=mailto:dmarc@{SENDER}"),
                 txt(f"{SELECTOR}._domainkey.{SENDER}", f"v=DKIM1; k=rsa; p={public_key}")]
        for client in range(250):
            data += [f'local-data: "1.{client}.{network}.127.in-addr.arpa. 3600 IN PTR c{client}.clients.example."'
                     for network in (1, LISTED_NETWORK)]
            data += [f'local-data: "c{client}.clients.example. 3600 IN A 127.{network}.{client}.1"' for network in (1, LISTED_NETWORK)]
            data.append(f'local-data: "1.{client}.{LISTED_NETWORK}.127.bl1.example. 3600 IN A 127.0.0.2"')
        path = self.write("unbound.conf", f"""
server:
    interface: {RESOLVER}
    access-control: 127.0.0.0/8 allow
    num-threads: 1
    so-rcvbuf: 4m
    username: ""
    chroot: ""
    directory: "{self.here}"
    pidfile: ""
    use-syslog: no
    module-config: "iterator"
    do-daemonize: no
remote-control:
    control-enable: no
server:
""" + "".join(f"    {line}\n" for entry in data for line in entry.split("\n")))
        with open(f"{self.here}/unbound.log", "w") as log:
            subprocess.Popen(["unbound", "-d", "-c", path], stdout=log, stderr=log)
        query = b"\0\1\1\0\0\1\0\0\0\0\0\0\6sender\7example\0\0\x10\0\1"

        def resolves():
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
                udp.settimeout(0.2)
                try:
                    udp.connect((RESOLVER, 53))
                    udp.send(query)
                    return udp.recv(512)[7] > 0
                except OSError:
                    return False
        until(resolves, "an answer of unbound")

    def start_sink(self, keep=None):
        """Postfix's smtp-sink behind everybody; with `keep` each message becomes a file in that folder."""
        if self.sink:
            self.sink.send_signal(signal.SIGKILL)
            self.sink.wait()
        if keep:
            give(keep, "nobody")
        self.sink = subprocess.Popen(["smtp-sink", "-u", "nobody", "-m", "2000"] + (["-d", f"{keep}/m."] if keep else []) + [SINK, "1000"])
        until(lambda: answers(SINK), "smtp-sink")

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
        command = [self.load_program, "-m", "idle", "-c", "100", "-a", "250", "-N", str(sessions), *options, address]
        holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if holder.stdout.readline().strip() != f"ready {sessions}":
            raise SystemExit(f"bench: {address} did not hold {sessions} sessions")
        return holder
