"""Behind a balancer: the PROXY protocol, by hand and by a real HAProxy."""

import shutil
import socket
import struct

from lib import certificate
from lib.check import Skipped, has, same, starts, true, wait_for
from lib.client import Client
from lib.mail import message
from lib.process import Daemon, free_port, listens, run
from lib.world import BOT, GOOD, OTHER

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


def version_1(host):
    return f"PROXY TCP4 {host.address} 127.0.0.1 40000 25\r\n".encode()


def version_2(host, command=0x21):
    addresses = socket.inet_aton(host.address) + socket.inet_aton("127.0.0.1") + struct.pack("!HH", 40000, 25)
    note = b"\x04\x00\x03abc"  # a block that we do not know
    return SIGNATURE + struct.pack("!BBH", command, 0x11, len(addresses + note)) + addresses + note


def behind(t, certificates=None, **listen):
    """Connections from 127.0.1.4 (BOT's address, otherwise suspicious) are a balancer's."""
    listen = {"name": "mx", "address": f"127.0.0.1:{free_port()}", "role": "mx", "tls": "none",
              "proxy_protocol": [f"{BOT.address}/32"], **listen}
    return t.guard(listen=[listen], tls=certificates or {})


def port_of(guard):
    return int(guard.settings["listen"][0]["address"].rpartition(":")[2])


def connect(guard):
    return Client(port_of(guard), BOT, greeting=None)


def test_both_versions(t):
    """Who the balancer names is the client: for SPF, for the log, for Postfix; whatever the packets are cut into."""
    guard = behind(t)
    for header in (version_1(GOOD), version_2(GOOD)):
        for cut in (0, 1, 13, len(header) - 1, len(header)):
            bob = t.recipient()
            with connect(guard) as client:
                client.send(header[:cut])
                client.send(header[cut:])
                starts(client.read(), "220 ")
                client.host = GOOD
                client.ehlo()
                client.say("MAIL FROM:<alice@good.test>", "250 ")
                client.say(f"RCPT TO:<{bob}>", "250 ")
                starts(client.data(message(recipient=bob)), "250 ")
                client.quit()
            has(t.postfix.delivery(bob).message, b"spf=pass smtp.mailfrom=alice@good.test")
    same({line["client"] for line in guard.events(event="message")}, {GOOD.address}, "the clients")


def test_header_is_missing(t):
    """A balancer that sends no header, or a broken one, gets 421; so does one that says nothing for five seconds."""
    guard = behind(t)
    for octets in (b"EHLO mx.good.test\r\n", b"PROXY TCP4 1.2.3.4\r\n", b"PROXY " + 200 * b"x", SIGNATURE + 4 * b"\xff"):
        with connect(guard) as client:
            client.send(octets)
            starts(client.read(), "421 4.3.0 A PROXY header was expected")
            true(client.ended(), "the connection stays open")
    with connect(guard) as client:
        starts(client.read(), "421 4.3.0 A PROXY header was expected")


def test_nobody_else_may(t):
    """A header from any other network is no command of SMTP, and changes nothing."""
    guard = behind(t)
    with Client(port_of(guard), OTHER) as client:
        client.send(version_1(GOOD))
        starts(client.read(), "500 5.5.2")
        client.ehlo()
        client.quit()
    same(guard.event(event="session")["client"], OTHER.address, "the client")


def test_health_check(t):
    """A LOCAL header is the balancer's own connection: it is greeted under its own address."""
    guard = behind(t)
    with connect(guard) as client:
        client.send(version_2(GOOD, command=0x20))
        starts(client.read(), "220 ")
        client.quit()
    same(guard.event(event="session")["client"], BOT.address, "the client")


def test_limits_are_the_clients(t):
    """The limits count the clients behind the balancer, not the balancer."""
    guard = behind(t)
    guard.change(limits={"connections_per_client": 2})
    first = [connect(guard) for _ in range(3)]
    for client, greeting in zip(first, ("220 ", "220 ", "421 4.7.0 Too many connections")):
        client.send(version_1(GOOD))
        starts(client.read(), greeting)
    with connect(guard) as client:
        client.send(version_1(OTHER))
        starts(client.read(), "220 ")
    for client in first:
        client.close()


def test_implicit_tls(t):
    """The header comes in plaintext before the handshake, even in one packet with its first message."""
    (t.dir / "tls").mkdir()
    pair = certificate.make(t.dir / "tls", "mx")
    guard = behind(t, {"cert": str(pair.cert), "key": str(pair.key)}, tls="implicit")
    client = connect(guard)
    client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
    client.send(version_2(GOOD))
    client.handshake()
    starts(client.read(), "220 ")
    client.quit()
    client.close()
    same(guard.event(event="session")["client"], GOOD.address, "the client")


HAPROXY = """
global
    maxconn 100
defaults
    mode tcp
    timeout connect 5s
    timeout client 30s
    timeout server 30s
frontend mx
    bind 127.0.0.1:{front}
    default_backend smtpguard
backend smtpguard
    source {balancer}
    server mx1 127.0.0.1:{back} send-proxy-v2
"""


def test_haproxy(t):
    """A real HAProxy in front: each client is itself, and its mail arrives."""
    if shutil.which("haproxy") is None:
        raise Skipped("no haproxy; packaging/install-deps test brings it")
    guard, front = behind(t), free_port()
    settings = t.dir / "haproxy.cfg"
    settings.write_text(HAPROXY.format(front=front, balancer=BOT.address, back=port_of(guard)), encoding="ascii")
    haproxy = Daemon(["haproxy", "-db", "-f", settings], t.dir / "haproxy.log")
    haproxy.start()
    try:
        wait_for(lambda: listens(front), "HAProxy to listen")
        for host, sender in ((GOOD, "alice@good.test"), (OTHER, "x@other.test")):
            bob = t.recipient()
            with Client(front, host) as client:
                client.ehlo()
                client.say(f"MAIL FROM:<{sender}>", "250 ")
                client.say(f"RCPT TO:<{bob}>", "250 ")
                starts(client.data(message(sender=sender, recipient=bob)), "250 ")
                client.quit()
            has(t.postfix.delivery(bob).message, f"spf=pass smtp.mailfrom={sender}".encode())
    finally:
        haproxy.stop()


def test_xclient(t):
    """A proxy in front that may say XCLIENT names its client; what it says is judged as if that client had come itself."""
    listen = {"name": "mx", "address": f"127.0.0.1:{free_port()}", "role": "mx", "tls": "none", "xclient": [f"{BOT.address}/32"]}
    guard = t.guard(listen=[listen])
    for host, sender in ((GOOD, "alice@good.test"), (OTHER, "x@other.test")):
        bob = t.recipient()
        with Client(port_of(guard), BOT) as client:
            has(client.ehlo(), "XCLIENT NAME ADDR")
            client.say("XCLIENT ADDR=[wrong]", "501 5.5.4")
            client.say("MAIL FROM:<>", "250 ")
            client.say(f"XCLIENT ADDR={host.address}", "503 5.5.1")
            client.say("RSET", "250 ")
            client.say(f"XCLIENT ADDR={host.address} PORT=4711 NAME=[UNAVAILABLE]", "220 ")
            client.say("MAIL FROM:<>", "503 5.5.1")  # its EHLO is still due
            client.host = host
            client.ehlo()
            client.say(f"MAIL FROM:<{sender}>", "250 ")
            client.say(f"RCPT TO:<{bob}>", "250 ")
            starts(client.data(message(sender=sender, recipient=bob)), "250 ")
            client.quit()
        has(t.postfix.delivery(bob).message, f"spf=pass smtp.mailfrom={sender}".encode())
    with Client(port_of(guard), OTHER) as client:
        true("XCLIENT" not in client.ehlo(), "it is offered to everybody")
        client.say("XCLIENT ADDR=127.0.1.1", "502 5.5.1")
        client.quit()


def test_xclient_lends_no_rights(t):
    """Whoever was introduced has the rights of its own address: it introduces nobody, and an unknown one relays nothing."""
    front = f"{BOT.address}/32"
    listen = {"name": "mx", "address": f"127.0.0.1:{free_port()}", "role": "mx", "tls": "none", "xclient": [front]}
    guard = t.guard(listen=[listen], networks=[front])
    for address in (GOOD.address, "[UNAVAILABLE]"):
        with Client(port_of(guard), BOT) as client:
            has(client.ehlo(), "XCLIENT")
            client.say(f"XCLIENT ADDR={address}", "220 ")
            true("XCLIENT" not in client.ehlo(GOOD.name), "it is offered to whom was introduced")
            client.say(f"XCLIENT ADDR={BOT.address}", "502 5.5.1")
            client.say("MAIL FROM:<alice@good.test>", "250 ")
            client.say("RCPT TO:<bob@elsewhere.test>", "550 5.7.1 We do not relay")
            client.quit()
    same_again = "2 decisions on record: 2 would be the same"
    wait_for(lambda: guard.cli("replay")[1].startswith(same_again), "records of which replay says so")


def test_swaks_says_xclient(t):
    """swaks, as operators use it to try what a client would get."""
    listen = {"name": "mx", "address": f"127.0.0.1:{free_port()}", "role": "mx", "tls": "none", "xclient": ["127.0.0.1/32"]}
    guard, bob = t.guard(listen=[listen]), t.recipient()
    run("swaks", "--server", f"127.0.0.1:{port_of(guard)}", "--helo", "mx.good.test", "--from", "alice@good.test", "--to", bob,
        "--xclient-addr", GOOD.address)
    has(t.postfix.delivery(bob).message, b"spf=pass smtp.mailfrom=alice@good.test")
