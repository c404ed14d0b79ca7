"""What the demo plays against: smtpguard, a sink behind it, a DNS server, all on free ports, all in one folder."""
import base64
import os
import random
import socket
import subprocess
import time

import dkim

from dnsserver import PORTS, DnsServer

START_S = 10

SETTINGS = """
version: 1
hostname: mx.demo.test
listen:
  - {{name: mx, address: "127.0.0.1:{port}", role: mx, tls: starttls}}
backends:
  - {{address: "127.0.0.1:{sink_port}", pass_client: xclient}}
domains: {{relay: [demo.test], recipients: backend}}
networks: []
limits: {{spool_dir: "{folder}"}}
tls: {{cert: "{folder}/cert.pem", key: "{folder}/key.pem"}}
dns: {{servers: ["{dns}"], timeout: 1s, tries: 1}}
screen: {{banner_delay: 250ms}}
dnsbl:
  lists:
    - {{zone: bl.demo.test, score: 8, codes: [127.0.0.2]}}
    - {{zone: sick.demo.test, score: 8, codes: [127.0.0.2], untested: true}}
# Most clients of the demo are none of greylisting's business: it has a scene of its own.
greylist: {{delay: 1s, allow: [127.0.2.0/25]}}
spf: {{on_fail: reject}}
store: {{url: "sqlite:{folder}/state.db"}}
admin: {{http: "", socket: ""}}
runtime: {{workers: 1, user: root}}
"""


def run(*command):
    return subprocess.run(command, check=True, capture_output=True).stdout


def wait_for(what, condition):
    give_up = time.monotonic() + START_S
    while not condition():
        if time.monotonic() > give_up:
            raise RuntimeError(f"{what} does not come")
        time.sleep(0.01)


def free_port():
    while True:
        port = random.choice(PORTS)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return port


class Bed:
    def __init__(self, smtpguard, folder, zone):
        self.smtpguard = smtpguard
        self.folder = folder
        self.maildir = os.path.join(folder, "mail")
        self.log_file = os.path.join(folder, "log")
        self.processes = []
        self.dns = DnsServer(zone).start()
        try:
            self._make_keys()
            self._start_sink()
            self._start_smtpguard()
        except BaseException:
            self.stop()
            raise

    def path(self, name):
        return os.path.join(self.folder, name)

    def _make_keys(self):
        run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
            "-subj", "/CN=mx.demo.test", "-keyout", self.path("key.pem"), "-out", self.path("cert.pem"))
        self.dkim_key = run("openssl", "genrsa", "2048")
        with open(self.path("dkim.pem"), "wb") as file:
            file.write(self.dkim_key)
        public = run("openssl", "rsa", "-in", self.path("dkim.pem"), "-pubout", "-outform", "DER")
        self.dns.add("s1._domainkey.example.test TXT v=DKIM1; k=rsa; p=" + base64.b64encode(public).decode())

    def _start(self, *arguments):
        with open(self.log_file, "ab") as log:
            process = subprocess.Popen([self.smtpguard, *arguments], stdout=log, stderr=log)
        self.processes.append(process)
        return process

    def _start_sink(self):
        port_file = self.path("sink.port")
        sink = self._start("sink", "--listen", "127.0.0.1:0", "--maildir", self.maildir, "--port-file", port_file,
                           "--reject-rcpt", "nobody@*")
        wait_for("the sink", lambda: os.path.exists(port_file) or sink.poll() is not None)
        with open(port_file, encoding="ascii") as file:
            self.sink_port = int(file.read())

    def _start_smtpguard(self):
        self.port = free_port()
        with open(self.path("smtpguard.yaml"), "w", encoding="ascii") as file:
            file.write(SETTINGS.format(port=self.port, sink_port=self.sink_port, folder=self.folder,
                                       dns=self.dns.address))
        server = self._start("run", "-c", self.path("smtpguard.yaml"))
        wait_for("smtpguard", lambda: "event=started" in self.log() or server.poll() is not None)
        if server.poll() is not None:
            raise RuntimeError("smtpguard does not start:\n" + self.log())

    def stop(self):
        for process in reversed(self.processes):
            process.terminate()
            try:
                process.wait(START_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.dns.stop()

    # ---- what a scene uses ----

    def sign(self, message):
        """By Debian's dkimpy, as example.test: we do not verify our own handiwork."""
        return dkim.sign(message, b"s1", b"example.test", self.dkim_key, canonicalize=(b"relaxed", b"relaxed"),
                         include_headers=[b"from", b"to", b"subject", b"date", b"message-id"]) + message

    def delivered(self):
        """Names of the files that the sink has kept: each is there before its 250 is."""
        return set(os.listdir(os.path.join(self.maildir, "new")))

    def read(self, name):
        with open(os.path.join(self.maildir, "new", name), "rb") as file:
            return file.read()

    def explain(self, client):
        """What the record of this client's last message says, as soon as it is written."""
        def ask():
            return subprocess.run([self.smtpguard, "explain", "-c", self.path("smtpguard.yaml"), "--limit", "1", client],
                                  capture_output=True, text=True, encoding="utf-8")
        wait_for("a record", lambda: ask().returncode == 0)
        return ask().stdout

    def log(self):
        with open(self.log_file, encoding="ascii", errors="replace") as file:
            return file.read()
